/**
 * Headers on their way through front, as the flat lists `[name, value, name, value]` that node:http takes and gives, so
 * that doubles and spelling stay. Hop-by-hop headers (RFC 9110, 7.6.1) end here.
 */
import type { IncomingMessage } from 'node:http'

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/** Without these a body would have no end, and what follows it would be read as another request. */
const KEPT = new Set(['content-length', 'host'])

const NONE: readonly string[] = []

/** Names in `Connection: a, b` are hop-by-hop as well. */
function named(connection: string | undefined): readonly string[] {
  // As nearly everybody says it; what it names ends here anyhow.
  if (connection === undefined || connection === 'keep-alive' || connection.length > 1_000) return NONE
  const names = connection.split(',').map((name) => name.trim().toLowerCase())
  return names.filter((name) => !KEPT.has(name))
}

const BODILESS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

/** The headers of a request as a process of the platform gets them. */
export function toUpstream(request: IncomingMessage, requestId: string, keepUpgrade = false): string[] {
  const raw = request.rawHeaders
  const dropped = named(request.headers.connection)
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    if (HOP_BY_HOP.has(name) || name === 'expect' || name === 'x-request-id' || name === 'forwarded') continue
    if (name.startsWith('x-forwarded-') || name === 'x-real-ip' || dropped.includes(name)) continue
    headers.push(raw[i]!, raw[i + 1]!)
  }
  headers.push(
    'X-Request-Id',
    requestId,
    'X-Forwarded-For',
    request.socket.remoteAddress ?? '',
    'X-Forwarded-Proto',
    'http',
  )
  if (request.headers.host !== undefined) headers.push('X-Forwarded-Host', request.headers.host)
  // HTTP/1.0 has none (health checks of old balancers); a process is asked in HTTP/1.1, which needs one.
  else headers.push('Host', 'localhost')
  if (keepUpgrade) headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket')
  else if (request.headers['transfer-encoding'] !== undefined) headers.push('Transfer-Encoding', 'chunked')
  // Left to itself, Node would announce a body in chunks for every POST that has none.
  else if (request.headers['content-length'] === undefined && !BODILESS.has(request.method!)) {
    headers.push('Content-Length', '0')
  }
  return headers
}

/** The headers of an answer as the client gets them. */
export function toClient(answer: IncomingMessage, requestId: string, close: boolean): string[] {
  const raw = answer.rawHeaders
  const dropped = named(answer.headers.connection)
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase()
    if (HOP_BY_HOP.has(name) || name === 'x-request-id' || dropped.includes(name)) continue
    headers.push(raw[i]!, raw[i + 1]!)
  }
  headers.push('X-Request-Id', requestId)
  if (close) headers.push('Connection', 'close')
  return headers
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/

/** The client's id where it is sane. */
export function givenRequestId(request: IncomingMessage): string | null {
  const given = request.headers['x-request-id']
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : null
}
