/** Answers that front gives itself: the platform's one error shape, and /health and /ready while control is away. */
import type { ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Millis } from '../base/time.ts'

export interface FrontAnswer {
  readonly status: number
  readonly body: string
  readonly retryAfterSeconds?: number
}

/** `detail` is one plain sentence, safe to show. */
export function errorAnswer(
  now: Millis,
  requestId: string,
  status: number,
  code: string,
  detail: string,
  retryAfterSeconds?: number,
): FrontAnswer {
  const error = { code, fields: [], request_id: requestId }
  const body = JSON.stringify({ success: false, detail, error, timestamp: now / 1000 })
  return retryAfterSeconds === undefined ? { status, body } : { status, body, retryAfterSeconds }
}

/** What monitoring hears while the process that knows is away; null for any other path. */
export function statusAnswer(path: string): FrontAnswer | null {
  const status = /^\/health([/?]|$)/.test(path) ? 'unhealthy' : /^\/ready([/?]|$)/.test(path) ? 'not_ready' : null
  return status ? { status: 503, body: JSON.stringify({ status }), retryAfterSeconds: 1 } : null
}

export function headersOf(answer: FrontAnswer, requestId: string, close: boolean): string[] {
  const headers = [
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    `${Buffer.byteLength(answer.body)}`,
  ]
  headers.push('Cache-Control', 'no-store', 'X-Request-Id', requestId)
  if (answer.retryAfterSeconds !== undefined) headers.push('Retry-After', String(answer.retryAfterSeconds))
  if (close) headers.push('Connection', 'close')
  return headers
}

export function sendAnswer(response: ServerResponse, answer: FrontAnswer, requestId: string, close: boolean): void {
  response.writeHead(answer.status, headersOf(answer, requestId, close))
  response.end(answer.body)
}

/** Status line and headers for a socket that node:http no longer speaks for. */
export function rawHead(status: number, headers: readonly string[]): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}\r\n`
  for (let i = 0; i < headers.length; i += 2) head += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${head}\r\n`
}

export function rawAnswer(answer: FrontAnswer, requestId: string): string {
  return rawHead(answer.status, headersOf(answer, requestId, true)) + answer.body
}
