/**
 * The short way for what comes by the thousand, samples and queries: a foreign route marked `direct`, whose path has no
 * parameters, is answered from Node's own request, past the framework, whose stages cost as much as storing the samples.
 *
 *   request ─▶ admit (role, rate, origin) ─▶ media type ─▶ body into ONE buffer of its own ─▶ `foreign` ─▶ answer
 *
 * What holds for every route holds here: the caller hands in how requests are admitted and how errors look. The buffer
 * belongs to nobody else, so that whoever takes it may move it to another thread.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { BodyBudget } from './receive.ts'
import { receiveBody } from './receive.ts'
import type { ForeignShape, RawReply } from './route.ts'

export interface DirectWay {
  readonly shape: ForeignShape
  readonly bodyLimitBytes: number
  readonly budget: BodyBudget
  /** Throws what refuses the request before its body is read; waits only where who calls has to be asked elsewhere. */
  admit(): void | Promise<void>
  /** Runs the route on the whole body. */
  run(body: Uint8Array): Promise<RawReply> | RawReply
  /** What is answered in place of an error. */
  failure(error: unknown): RawReply
  /** Headers of every answer. */
  readonly headers: Readonly<Record<string, string>>
}

/** Answers the request; never throws. */
export function serveDirect(request: IncomingMessage, response: ServerResponse, way: DirectWay): void {
  const fail = (error: unknown): void => send(response, way, way.failure(error))
  const proceed = () => {
    const body = hasBody(request) ? receiveBody(request, way.bodyLimitBytes, way.budget) : Promise.resolve(NO_BYTES)
    body.then(way.run).then((reply) => send(response, way, reply), fail)
  }
  // A client that goes away in the middle of its body has nobody to answer.
  request.on('error', () => undefined)
  try {
    const admitted = way.admit()
    if (admitted instanceof Promise) admitted.then(proceed, fail)
    else proceed()
  } catch (error) {
    fail(error)
  }
}

const NO_BYTES = new Uint8Array(0)

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function send(response: ServerResponse, way: DirectWay, { status, headers, body }: RawReply): void {
  if (response.destroyed || response.headersSent) return
  const all: Record<string, string | number> = { ...way.headers, ...headers }
  if (body !== null) all['content-length'] = typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
  else if (status !== 204) all['content-length'] = 0
  response.writeHead(status, all)
  response.end(body ?? undefined)
}
