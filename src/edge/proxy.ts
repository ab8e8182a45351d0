/**
 * One request through front to a process and back.
 *
 *   picking ──▶ sending (the client's body goes up) ──▶ waiting (for the answer) ──▶ answering ──▶ done
 *      ▲                                                   │
 *      └── nothing was sent, or it may be repeated ────────┘
 *
 * Large bodies and answers stream, with back-pressure. A request is tried again only while no answer has begun, and only when
 * nothing of it was sent, or its method is idempotent, or it carries an `Idempotency-Key`; a body must be small enough
 * to be held for that. A client that goes away takes its request to the process with it.
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http'
import { request as httpRequest } from 'node:http'
import type { Scheduler } from '../base/scheduler.ts'
import type { FrontAnswer } from './answers.ts'
import { errorAnswer, sendAnswer, statusAnswer } from './answers.ts'
import type { Balancer, Target } from './balancer.ts'
import type { EdgeConfig } from './config.ts'
import { toClient, toUpstream } from './headers.ts'
import type { EdgeRoute } from './table.ts'

/** What all requests share. */
export interface ProxyContext {
  readonly balancer: Balancer
  readonly scheduler: Scheduler
  config(): EdgeConfig
  /** True while front stops: connections end with their answer. */
  stopping(): boolean
  /** Front answered itself, in place of a process. */
  answered(incoming: Incoming, status: number): void
  /** A request is over. `status` 0: its client went away first. `broken`: the answer stopped half-way by our fault. */
  record(route: EdgeRoute, status: number, ms: number, broken: boolean): void
  retried(): void
}

/** A request that front has read the headers of. */
export interface Incoming {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly route: EdgeRoute
  /** Path and query, as the process gets them. */
  readonly path: string
  readonly requestId: string
  /** The client waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean
}

/** A request under way. */
export interface Exchange {
  readonly request: IncomingMessage
  /** Ends it when the client or the process has gone quiet. Called about once a second. */
  sweep(monotonic: number): void
}

/** How long a request waits for a process that is away, in all. */
export const AWAY_WAIT_MS = 2_000
/** Pause before the same process is asked again: its end may not be known here yet. */
export const RETRY_PAUSE_MS = 50
/** Most times that a request which may have arrived is sent. */
const REPEATS_MAX = 3
/** Largest body that is held until it is whole. */
const HELD_BYTES_MAX = 64 * 1024
/** How long, after an early answer, what the client still sends is thrown away, so that it gets to read the answer. */
const DISCARD_MS = 2_000
const MONITORING_ANSWER_MS = 10_000
const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'])
/** Errors of `connect`: the request has not left front. EAGAIN: the process has too many connections to accept. */
export const UNSENT: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT', 'EAGAIN'])

export function proxyRequest(context: ProxyContext, incoming: Incoming, done: (exchange: Exchange) => void): Exchange {
  const { request, response, route, requestId, expectsContinue } = incoming
  const { balancer, scheduler } = context
  const { socket } = request
  const limit = route.body === 'ingest' ? context.config().ingestBodyBytesMax : context.config().bodyBytesMax
  const isChunked = request.headers['transfer-encoding'] !== undefined
  const length = Number(request.headers['content-length'] ?? 0)
  const hasBody = isChunked || length > 0
  const mayRepeat = IDEMPOTENT.has(request.method!) || request.headers['idempotency-key'] !== undefined
  // A small body goes up in one piece once it is whole: half the cost of a stream, no process waits for a slow client,
  // and one that is just going away can be left for another.
  const isHeld = hasBody && !isChunked && length <= HELD_BYTES_MAX

  const began = scheduler.clock.monotonic()
  let phase: 'picking' | 'sending' | 'waiting' | 'answering' | 'done' = 'picking'
  let target: Target | null = null
  let upstream: ClientRequest | null = null
  let held: Buffer | null = null
  let waiting: AbortController | null = null
  let repeats = 0
  let broken = false
  /** For the sweep: bytes that had passed on the client's connection, and when the number or the phase last changed. */
  let bytesSeen = 0
  let changedAt = began

  const exchange: Exchange = { request, sweep }
  response.on('close', end)
  if (length > limit) answer(tooLarge())
  else if (isHeld) hold()
  else pick()
  return exchange

  function enter(next: typeof phase) {
    phase = next
    changedAt = scheduler.clock.monotonic()
  }

  // ---------------------------------------------------------------------------------------------- the way up

  function hold() {
    enter('sending')
    if (expectsContinue) response.writeContinue()
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      held = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
      if (phase === 'sending') pick()
    })
  }

  function pick() {
    enter('picking')
    const found = balancer.pick(route.kind)
    if (found) return send(found)
    if (route.monitoring) return answer(statusAnswer(incoming.path) ?? away())
    const left = AWAY_WAIT_MS - (scheduler.clock.monotonic() - began)
    if (left <= 0) return answer(away())
    waiting = new AbortController()
    balancer.waitFor(route.kind, left, waiting.signal).then((late) => {
      waiting = null
      if (phase !== 'picking') return
      if (late) send(late)
      else answer(away())
    })
  }

  function send(to: Target) {
    let own: ClientRequest
    try {
      own = httpRequest({
        socketPath: to.socketPath,
        agent: to.agent,
        method: request.method,
        path: incoming.path,
        setHost: false,
        headers: toUpstream(request, requestId),
      })
    } catch {
      // The parser lets through what the writer refuses: a tab in the path.
      const detail = 'The address in the request is not a valid one.'
      return answer(errorAnswer(scheduler.clock.now(), requestId, 400, 'bad_request', detail))
    }
    upstream = own
    target = to
    to.inFlight++
    own.on('response', (reply) => {
      if (upstream === own) relay(reply)
      else reply.resume()
    })
    own.on('error', (error: NodeJS.ErrnoException) => {
      if (upstream === own) failed(to, error)
    })
    if (held || !hasBody) {
      enter('waiting')
      own.end(held ?? undefined)
      return
    }
    enter('sending')
    // The body starts only on a connection that stands: until then another process can be asked.
    own.on('socket', (connection) => {
      const start = () => upstream === own && stream(own)
      if (connection.connecting) connection.once('connect', start)
      else start()
    })
  }

  function stream(to: ClientRequest) {
    if (expectsContinue) response.writeContinue()
    if (isChunked) {
      let bytes = 0
      request.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > limit && upstream === to) {
          dropUpstream()
          if (response.headersSent) cut()
          else answer(tooLarge())
        }
      })
    }
    request.on('end', () => phase === 'sending' && enter('waiting'))
    request.pipe(to)
  }

  function failed(at: Target, error: NodeJS.ErrnoException) {
    if (phase === 'answering') return // the answer's own end tells
    const begun = hasBody && !held && request.readableDidRead
    const unsent = UNSENT.has(error.code ?? '')
    dropUpstream()
    if (route.monitoring) return answer(statusAnswer(incoming.path) ?? away())
    const isLate = scheduler.clock.monotonic() - began >= AWAY_WAIT_MS
    if (begun || (unsent ? isLate : !mayRepeat || ++repeats >= REPEATS_MAX)) return answer(away())
    context.retried()
    enter('picking')
    const other = balancer.pick(route.kind, at)
    if (other) send(other)
    else {
      scheduler.after(RETRY_PAUSE_MS, () => {
        if (phase === 'picking') pick()
      })
    }
  }

  // -------------------------------------------------------------------------------------------- the way back

  function relay(reply: IncomingMessage) {
    enter('answering')
    const headers = toClient(reply, requestId, context.stopping())
    response.writeHead(reply.statusCode!, reply.statusMessage, headers)
    reply.on('close', () => reply.complete || cut())
    const bytes = Number(reply.headers['content-length'] ?? Number.NaN)
    if (bytes <= HELD_BYTES_MAX) holdAnswer(reply)
    else reply.pipe(response)
    reply.on('end', () => request.complete || discard())
  }

  /** A small answer goes back in one piece, as a small body goes up. */
  function holdAnswer(reply: IncomingMessage) {
    let whole: Buffer | undefined
    reply.on('data', (chunk: Buffer) => {
      whole = whole === undefined ? chunk : Buffer.concat([whole, chunk])
    })
    reply.on('end', () => response.end(whole))
  }

  /** Front's own answer. */
  function answer(what: FrontAnswer) {
    if (phase === 'done') return
    enter('answering')
    const early = hasBody && !request.complete
    context.answered(incoming, what.status)
    sendAnswer(response, what, requestId, context.stopping() || (early && expectsContinue))
    if (early) discard()
  }

  /** The answer is whole before the body is: the rest is of no use to anybody. */
  function discard() {
    if (upstream) request.unpipe(upstream)
    request.resume()
    scheduler.after(DISCARD_MS, () => {
      if (!request.complete) socket.destroy()
    })
  }

  function cut() {
    if (phase === 'done') return
    broken = true
    response.destroy()
  }

  // ------------------------------------------------------------------------------------------------ the end

  function dropUpstream() {
    const dropped = upstream
    upstream = null
    if (dropped) {
      request.unpipe(dropped)
      dropped.destroy()
    }
    if (target) target.inFlight--
    target = null
  }

  function end() {
    phase = 'done'
    waiting?.abort()
    // What ended well on both sides has given its connection back to the agent; anything else is broken off.
    if (response.writableFinished && upstream?.writableFinished) upstream = null
    dropUpstream()
    const status = response.headersSent ? response.statusCode : 0
    context.record(route, status, scheduler.clock.monotonic() - began, broken)
    done(exchange)
  }

  function sweep(monotonic: number) {
    const bytes = socket.bytesRead + socket.bytesWritten
    if (bytes !== bytesSeen) {
      bytesSeen = bytes
      changedAt = monotonic
    }
    const quietMs = monotonic - changedAt
    const config = context.config()
    const clientIsSlow = phase === 'answering' ? response.writableNeedDrain : !upstream?.writableNeedDrain
    if (phase === 'sending' && clientIsSlow && quietMs > config.bodyIdleTimeout * 1000) {
      dropUpstream()
      answer(errorAnswer(scheduler.clock.now(), requestId, 408, 'body_too_slow', 'The body did not come in time.'))
    } else if (phase === 'answering' && clientIsSlow && quietMs > config.bodyIdleTimeout * 1000) {
      response.destroy()
    } else if (phase !== 'picking' && phase !== 'done' && quietMs > answerMs(config)) {
      if (phase === 'answering') return cut()
      dropUpstream()
      if (route.monitoring) return answer(statusAnswer(incoming.path) ?? away())
      const detail = 'This part of the platform did not answer in time.'
      answer(errorAnswer(scheduler.clock.now(), requestId, 504, 'answer_too_slow', detail, 5))
    }
  }

  /** Monitoring wants to know that a process is stuck, not to hang with it. */
  function answerMs(config: EdgeConfig): number {
    return Math.min(config.answerTimeout * 1000, route.monitoring ? MONITORING_ANSWER_MS : Infinity)
  }

  function away(): FrontAnswer {
    const detail = 'This part of the platform is starting again; try once more in a moment.'
    return errorAnswer(scheduler.clock.now(), requestId, 503, 'unavailable', detail, 1)
  }

  function tooLarge(): FrontAnswer {
    const detail = `The body is larger than ${limit} bytes.`
    return errorAnswer(scheduler.clock.now(), requestId, 413, 'body_too_large', detail)
  }
}
