/**
 * Decompression of Snappy's block format (github.com/google/snappy, format_description.txt), as remote write uses it:
 * a varint with the size, then literals and copies. The input is hostile: every element is checked against both ends
 * before a byte moves, and nothing is allocated here.
 *
 *   tag & 3   0 literal (tag >> 2) + 1 bytes follow, or a length of 1 to 4 bytes does
 *             1 copy of 4 to 11 bytes, offset of 11 bits
 *             2 copy of 1 to 64 bytes, offset of 16 bits
 *             3 copy of 1 to 64 bytes, offset of 32 bits
 *
 * Short runs are moved sixteen bytes at a time, as two 64-bit words (which V8 keeps in registers), and may write up to
 * SLACK bytes past their end, into room that the next element overwrites: the target must be that much longer than the
 * declared size. A loop over eight bytes costs half as much again: where it ends cannot be predicted.
 */
import { AppError, badRequest } from '../../base/errors.ts'

/** How much longer than the declared size a target has to be. */
export const SLACK = 64

/** No element makes more than 64 bytes of 3, so a larger promise is a lie that need not be allocated for. */
const RATIO_MAX = 22

/**
 * Decompresses `source` into `target`, which holds at least `declaredSize(source, …) + SLACK` bytes. Answers the
 * number of bytes made; `target` past them holds rubbish. Throws `AppError` 400.
 */
export function uncompress(source: Uint8Array, target: Uint8Array): number {
  const from = new DataView(source.buffer, source.byteOffset, source.length)
  const to = new DataView(target.buffer, target.byteOffset, target.length)
  const end = source.length
  const header = readHeader(source)
  const size = header.size
  if (target.length < size + SLACK) throw new RangeError('snappy: the target is too small')
  let at = header.length
  let out = 0
  while (at < end) {
    const tag = source[at++]!
    let length = (tag >>> 2) + 1
    if ((tag & 3) === 0) {
      if (length > 60) {
        const bytes = length - 60
        if (at + bytes > end) throw broken('a literal is cut off', at)
        length = 1
        for (let i = 0; i < bytes; i++) length += source[at++]! * 2 ** (8 * i)
      }
      if (at + length > end) throw broken('a literal runs past the end', at)
      if (out + length > size) throw broken('there is more than the declared size', at)
      if (length <= 16 && at + 16 <= end) {
        to.setBigUint64(out, from.getBigUint64(at, true), true)
        to.setBigUint64(out + 8, from.getBigUint64(at + 8, true), true)
      } else if (length < 64) {
        for (let i = 0; i < length; i++) target[out + i] = source[at + i]!
      } else {
        target.set(source.subarray(at, at + length), out)
      }
      at += length
      out += length
      continue
    }
    let offset: number
    if ((tag & 3) === 1) {
      if (at + 1 > end) throw broken('a copy is cut off', at)
      length = ((tag >>> 2) & 7) + 4
      offset = ((tag >>> 5) << 8) | source[at++]!
    } else if ((tag & 3) === 2) {
      if (at + 2 > end) throw broken('a copy is cut off', at)
      offset = from.getUint16(at, true)
      at += 2
    } else {
      if (at + 4 > end) throw broken('a copy is cut off', at)
      offset = from.getUint32(at, true)
      at += 4
    }
    if (offset === 0 || offset > out) throw broken('a copy reaches before the start', at)
    if (out + length > size) throw broken('there is more than the declared size', at)
    const stop = out + length
    if (offset >= 8) {
      // Word after word: a copy may reach into what it has just written.
      const back = out - offset
      to.setBigUint64(out, to.getBigUint64(back, true), true)
      to.setBigUint64(out + 8, to.getBigUint64(back + 8, true), true)
      if (length > 16) {
        to.setBigUint64(out + 16, to.getBigUint64(back + 16, true), true)
        to.setBigUint64(out + 24, to.getBigUint64(back + 24, true), true)
        if (length > 32) {
          to.setBigUint64(out + 32, to.getBigUint64(back + 32, true), true)
          to.setBigUint64(out + 40, to.getBigUint64(back + 40, true), true)
          to.setBigUint64(out + 48, to.getBigUint64(back + 48, true), true)
          to.setBigUint64(out + 56, to.getBigUint64(back + 56, true), true)
        }
      }
    } else {
      for (let i = out; i < stop; i++) target[i] = target[i - offset]!
    }
    out = stop
  }
  if (out !== size) throw broken(`${out} bytes came of ${size} declared`, at)
  return size
}

/** The size that `source` claims to have unpacked. Throws `AppError` 400, or 413 when it is more than `bytesMax`. */
export function declaredSize(source: Uint8Array, bytesMax: number): number {
  const { size } = readHeader(source)
  if (size > source.length * RATIO_MAX) throw broken(`${source.length} bytes cannot unpack to ${size}`, 0)
  if (size > bytesMax) throw tooLarge(`The body unpacks to ${size} bytes; at most ${bytesMax} are taken.`)
  return size
}

function readHeader(source: Uint8Array): { size: number; length: number } {
  let size = 0
  for (let i = 0; i < 5 && i < source.length; i++) {
    const byte = source[i]!
    size += (byte & 127) * 2 ** (7 * i)
    if (byte < 128) {
      if (size > 0xffffffff) break
      return { size, length: i + 1 }
    }
  }
  throw broken('the size at its start is not readable', 0)
}

const broken = (what: string, at: number) => badRequest(`snappy: ${what} (byte ${at}).`, 'body_malformed')

/** 413: the sender should make smaller bodies. */
export const tooLarge = (detail: string) => new AppError(413, 'body_too_large', detail)
