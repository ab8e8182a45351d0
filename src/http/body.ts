/**
 * Bodies of requests: decompression with a limit, and JSON that cannot hurt (depth, invalid UTF-8, numbers beyond a
 * double, `__proto__`).
 */
import { isUtf8 } from 'node:buffer'
import { promisify } from 'node:util'
import { brotliDecompress, gunzip, inflate, zstdDecompress } from 'node:zlib'
import { AppError, badRequest, invalid } from '../base/errors.ts'

const decoders = {
  gzip: promisify(gunzip),
  'x-gzip': promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
  zstd: promisify(zstdDecompress),
} as const

export const tooLarge = (limitBytes: number) =>
  new AppError(413, 'body_too_large', `The body is larger than ${limitBytes} bytes.`)

/**
 * The body behind its `Content-Encoding` (one of gzip, deflate, br, zstd, identity). A body that would grow beyond
 * `limitBytes` is an `AppError` 413, another encoding 415, damaged data 400.
 */
export async function decompress(
  body: Uint8Array,
  encoding: string | undefined,
  limitBytes: number,
): Promise<Uint8Array> {
  const name = encoding?.trim().toLowerCase() ?? 'identity'
  if (name === 'identity' || name === '') {
    if (body.byteLength > limitBytes) throw tooLarge(limitBytes)
    return body
  }
  if (!Object.hasOwn(decoders, name)) {
    throw new AppError(
      415,
      'unknown_encoding',
      'This Content-Encoding is not understood: use gzip, deflate, br or zstd.',
    )
  }
  try {
    return await decoders[name as keyof typeof decoders](body, { maxOutputLength: limitBytes })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limitBytes)
    throw badRequest(`The body is not valid ${name}.`, 'body_unreadable')
  }
}

/** Parses JSON; throws `AppError` 400 for what is not JSON, 422 for what JSON cannot carry safely. */
export function parseJson(body: Uint8Array, depthMax: number): unknown {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (!isUtf8(bytes)) throw badRequest('The body is not valid UTF-8.', 'not_json')
  if (isDeeper(bytes, depthMax)) throw badRequest(`The body is nested more than ${depthMax} deep.`, 'too_deep')
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const position = /at position (\d+)/.exec((error as Error).message)?.[1]
    throw badRequest(`The body is not valid JSON${position ? ` (at character ${position})` : ''}.`, 'not_json')
  }
  if (SUSPICIOUS.test(text)) refuseUnsafe(value, '')
  return value
}

/** Text that may hold `__proto__` (also escaped), NUL, half a character, or a number beyond a double. */
const SUSPICIOUS = /__proto__|\\u(?:005f|0000|d[89a-f])|[0-9][eE]\+?[0-9]{3}|[0-9]{300}/i

function refuseUnsafe(value: unknown, path: string): void {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw invalid([{ path, message: 'must be a finite number' }])
  }
  // It has no UTF-8: what is stored would not be what was sent.
  if (typeof value === 'string' && !value.isWellFormed()) {
    throw invalid([{ path, message: 'holds half a character (a lone surrogate)' }])
  }
  // Not every database can store it.
  if (typeof value === 'string' && value.includes('\0')) {
    throw invalid([{ path, message: 'holds the character NUL' }])
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    const at = path === '' ? key : `${path}.${key}`
    if (!key.isWellFormed()) throw invalid([{ path, message: 'has a name with half a character (a lone surrogate)' }])
    if (key.includes('\0')) throw invalid([{ path, message: 'has a name with the character NUL' }])
    if (key === '__proto__') throw invalid([{ path: at, message: 'is not allowed as a name' }])
    refuseUnsafe(inner, at)
  }
}

/** Counts brackets outside of texts, before anything recursive sees the body. */
function isDeeper(bytes: Uint8Array, depthMax: number): boolean {
  let depth = 0
  let inText = false
  for (let i = 0; i < bytes.length; i++) {
    const c = bytes[i]!
    if (inText) {
      if (c === 0x5c) i++
      else if (c === 0x22) inText = false
    } else if (c === 0x22) inText = true
    else if (c === 0x7b || c === 0x5b) {
      if (++depth > depthMax) return true
    } else if (c === 0x7d || c === 0x5d) depth--
  }
  return false
}
