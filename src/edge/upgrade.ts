/**
 * A WebSocket through front: the handshake goes to a process as a request, then bytes flow both ways with back-pressure.
 * Front reads no message; it follows the frames that go to the client only to know where a close frame of its own may
 * stand (1012, when the process is gone or leaves), so that the client reconnects at once.
 */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import type { FrontAnswer } from './answers.ts'
import { errorAnswer, rawAnswer, rawHead } from './answers.ts'
import type { Target, Upgraded } from './balancer.ts'
import { closeFrame, frameBoundary } from './frames.ts'
import { toClient, toUpstream } from './headers.ts'
import type { ProxyContext } from './proxy.ts'
import { AWAY_WAIT_MS, RETRY_PAUSE_MS, UNSENT } from './proxy.ts'
import type { EdgeRoute } from './table.ts'

/** How long the handshake may take a process to answer. */
const HANDSHAKE_MS = 10_000
/** After our close frame the client has this long to close its side. */
const CLOSE_WAIT_MS = 1_000

export interface IncomingUpgrade {
  readonly request: IncomingMessage
  readonly client: Socket
  /** What the client sent behind its handshake. */
  readonly head: Buffer
  readonly route: EdgeRoute
  readonly path: string
  readonly requestId: string
}

export function proxyUpgrade(context: ProxyContext, incoming: IncomingUpgrade): void {
  const { request, client, route, requestId } = incoming
  const { scheduler } = context
  const until = scheduler.clock.monotonic() + AWAY_WAIT_MS
  const gone = new AbortController()
  client.once('close', () => gone.abort())
  client.on('error', () => client.destroy())
  client.setKeepAlive(true, 60_000)
  open()

  async function open() {
    const left = until - scheduler.clock.monotonic()
    const target = left > 0 ? await context.balancer.waitFor(route.kind, left, gone.signal) : null
    if (gone.signal.aborted) return
    if (!target) return unavailable()
    let upstream: ClientRequest
    try {
      upstream = httpRequest({
        socketPath: target.socketPath,
        agent: false,
        method: 'GET',
        path: incoming.path,
        setHost: false,
        headers: toUpstream(request, requestId, true),
      })
    } catch {
      const detail = 'The address in the request is not a valid one.'
      return refuse(errorAnswer(scheduler.clock.now(), requestId, 400, 'bad_request', detail))
    }
    const drop = () => void upstream.destroy()
    const late = scheduler.after(HANDSHAKE_MS, drop)
    gone.signal.addEventListener('abort', drop, { once: true })
    const over = () => {
      late.cancel()
      gone.signal.removeEventListener('abort', drop)
    }
    upstream.on('error', (error: NodeJS.ErrnoException) => {
      over()
      if (UNSENT.has(error.code ?? '')) scheduler.after(RETRY_PAUSE_MS, open)
      else unavailable()
    })
    upstream.on('response', (answer) => {
      over()
      client.write(rawHead(answer.statusCode!, toClient(answer, requestId, true)))
      answer.pipe(client)
    })
    upstream.on('upgrade', (answer, connection, first) => {
      over()
      if (client.destroyed) return connection.destroy()
      const headers = toClient(answer, requestId, false)
      client.write(rawHead(101, [...headers, 'Connection', 'Upgrade', 'Upgrade', 'websocket']))
      join(context, target, client, connection as Socket, incoming.head, first)
    })
    upstream.end()
  }

  function refuse(answer: FrontAnswer) {
    if (!client.destroyed) client.end(rawAnswer(answer, requestId))
  }

  function unavailable() {
    const detail = 'This part of the platform is starting again; try once more in a moment.'
    refuse(errorAnswer(scheduler.clock.now(), requestId, 503, 'unavailable', detail, 1))
  }
}

function join(context: ProxyContext, target: Target, client: Socket, process: Socket, up: Buffer, down: Buffer) {
  const toClientFrames = frameBoundary()
  const forward = (chunk: Buffer) => {
    toClientFrames.pass(chunk)
    if (!client.write(chunk)) process.pause()
  }
  let closing = false
  const self: Upgraded = {
    close(code, reason) {
      if (closing) return
      closing = true
      target.sockets.delete(self)
      process.removeListener('data', forward)
      if (toClientFrames.atBoundary && !toClientFrames.closed) client.end(closeFrame(code, reason))
      else client.end()
      context.scheduler.after(CLOSE_WAIT_MS, () => {
        client.destroy()
        process.destroy()
      })
    },
  }
  target.sockets.add(self)
  process.on('error', () => process.destroy())
  process.on('data', forward)
  client.on('drain', () => process.resume())
  // The process went away without a word, unless a close frame went by.
  process.on('close', () => self.close(1012, 'service restart'))
  client.on('close', () => {
    target.sockets.delete(self)
    process.destroy()
  })
  if (up.length > 0) process.write(up)
  if (down.length > 0) forward(down)
  client.pipe(process)
}
