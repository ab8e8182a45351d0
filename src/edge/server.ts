/**
 * The way in: one HTTP server for all clients. It finds the kind of process for each path, hands the request on
 * (`proxy.ts`, `upgrade.ts`), keeps the limits (connections, headers, bodies, slow clients) and measures what clients see.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { errorAnswer, rawAnswer, sendAnswer } from './answers.ts'
import type { Balancer } from './balancer.ts'
import type { EdgeConfig } from './config.ts'
import { givenRequestId } from './headers.ts'
import type { Exchange, ProxyContext } from './proxy.ts'
import { proxyRequest } from './proxy.ts'
import type { RedWindow } from './red.ts'
import { createRed } from './red.ts'
import type { RouteTable } from './table.ts'
import { proxyUpgrade } from './upgrade.ts'

export interface EdgeOptions {
  readonly config: EdgeConfig
  readonly table: RouteTable
  readonly balancer: Balancer
  readonly telemetry: Telemetry
  readonly scheduler: Scheduler
  readonly log: Log
}

export interface Edge {
  /** Port 0 takes a free one; answers the port taken. Rejects with the error of `listen` (EADDRINUSE, EACCES, …). */
  listen(host: string, port: number): Promise<number>
  /** Live limits take effect with the next request; the others were fixed at start. */
  configure(config: EdgeConfig): void
  /** Ends the window of rate, errors and duration, and starts the next. */
  closeWindow(): RedWindow & { readonly connections: number }
  /** For a log line: what is open now. */
  figures(): Readonly<Record<string, number>>
  /**
   * Takes no new connection, lets requests under way finish, closes WebSockets with 1012. What is not done after
   * `limitMs` is cut off.
   */
  stop(limitMs: number): Promise<void>
}

const SWEEP_MS = 1_000
const STOP_POLL_MS = 20

export function createEdge(options: EdgeOptions): Edge {
  const { table, balancer, telemetry, scheduler, log } = options
  const { clock } = scheduler
  let config = options.config
  let stopping = false
  const exchanges = new Set<Exchange>()
  const red = createRed(telemetry, clock.monotonic())
  const retries = telemetry.counter('edge_retries_total', 'Requests that were sent to a process once more.')
  const malformed = telemetry.counter('edge_malformed_total', 'Requests that were no HTTP, too large or too slow.')
  const refused = telemetry.counter('edge_connections_refused_total', 'Connections over the limit.')
  const upgrades = telemetry.counter('edge_upgrades_total', 'WebSockets asked for.')

  const context: ProxyContext = {
    balancer,
    scheduler,
    config: () => config,
    stopping: () => stopping,
    record: (route, status, ms, broken) => red.record(status, ms, route.monitoring, broken),
    retried: () => retries.add(),
    answered(incoming, status) {
      if (status < 500) return
      const { requestId, path, request } = incoming
      // Without the query: it may hold what is for the process alone.
      const example = { status, request_id: requestId, method: request.method, path: path.split('?')[0]!.slice(0, 200) }
      troubles = { count: (troubles?.count ?? 0) + 1, example: troubles?.example ?? example }
    },
  }
  /** What front had to answer itself since the last look: one line a second, however many there were. */
  let troubles: { count: number; example: Readonly<Record<string, unknown>> } | null = null
  // A unique id a request without a call to the random source: one of the process, and a count.
  const idPrefix = newId(clock.now())
  let requests = 0
  const requestIdOf = (request: IncomingMessage) =>
    givenRequestId(request) ?? `${idPrefix}-${(++requests).toString(36)}`

  const server: Server = createServer({
    maxHeaderSize: config.headerBytesMax,
    headersTimeout: config.headersTimeout * 1000,
    requestTimeout: Math.max(config.requestTimeout, config.headersTimeout) * 1000,
    keepAliveTimeout: config.keepAliveTimeout * 1000,
    connectionsCheckingInterval: 1_000,
    shouldUpgradeCallback: isWebSocket,
    // A missing Host is refused below, in the form of every other refusal.
    requireHostHeader: false,
  })
  server.maxConnections = config.connectionsMax
  server.on('request', (request, response) => take(request, response, false))
  server.on('checkContinue', (request, response) => take(request, response, true))
  server.on('upgrade', (request, socket, head) => takeUpgrade(request, socket as Socket, head))
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => answerMalformed(error, socket as Socket))
  server.on('drop', () => {
    refused.add()
    full = true
  })

  let connections = 0
  server.on('connection', (socket) => {
    connections++
    socket.on('close', () => connections--)
  })
  const sockets = () => balancer.targets().reduce((sum, target) => sum + target.sockets.size, 0)
  telemetry.gauge('edge_connections', 'Client connections open now.', {}, () => connections)
  telemetry.gauge('edge_websockets', 'WebSockets open now.', {}, sockets)
  telemetry.gauge('edge_requests_in_flight', 'Requests under way.', {}, () => exchanges.size)
  telemetry.gauge('edge_requests_waiting', 'Requests that wait for a process to come back.', {}, () => balancer.waiting)

  /** Somebody was refused: connections that wait for nothing make room. */
  let full = false
  const sweeping = scheduler.every(SWEEP_MS, () => {
    if (full) server.closeIdleConnections()
    full = false
    const now = clock.monotonic()
    for (const exchange of exchanges) exchange.sweep(now)
    if (troubles) log.warn('front answered in place of a process', { count: troubles.count, ...troubles.example })
    troubles = null
  })

  function take(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) {
    const requestId = requestIdOf(request)
    const path = pathOf(request.url!)
    const route = path === null ? null : table.find(path)
    const hostless = request.headers.host === undefined && request.httpVersion === '1.1'
    if (path === null || route === null || hostless) {
      const detail = hostless
        ? 'The request has no Host header.'
        : 'The address in the request is not one of this server.'
      return sendAnswer(response, errorAnswer(clock.now(), requestId, 400, 'bad_request', detail), requestId, true)
    }
    const incoming = { request, response, route, path, requestId, expectsContinue }
    exchanges.add(proxyRequest(context, incoming, (exchange) => exchanges.delete(exchange)))
  }

  function takeUpgrade(request: IncomingMessage, client: Socket, head: Buffer) {
    upgrades.add()
    const requestId = requestIdOf(request)
    const path = pathOf(request.url!)
    const route = path === null ? null : table.find(path)
    if (path === null || route === null || stopping || !isWebSocket(request)) {
      const answer = errorAnswer(clock.now(), requestId, 400, 'bad_request', 'Only a WebSocket can be opened here.')
      client.on('error', () => client.destroy())
      client.end(rawAnswer(answer, requestId))
      return
    }
    proxyUpgrade(context, { request, client, head, route, path, requestId })
  }

  function answerMalformed(error: NodeJS.ErrnoException, socket: Socket) {
    malformed.add()
    // Behind a request whose answer is under way nothing may be written: it would become part of that answer.
    const busy = [...exchanges].some((exchange) => exchange.request.socket === socket)
    if (!socket.writable || busy || error.code === 'ECONNRESET') return socket.destroy()
    const requestId = `${idPrefix}-${(++requests).toString(36)}`
    const [status, code, detail] = MALFORMED[error.code ?? ''] ?? [
      400,
      'bad_request',
      'This is not a valid HTTP request.',
    ]
    socket.end(rawAnswer(errorAnswer(clock.now(), requestId, status, code, detail), requestId))
    // One that goes on sending does not keep the connection.
    scheduler.after(1_000, () => void socket.destroy())
  }

  return {
    listen(host, port) {
      return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port, backlog: 4_096 }, () => {
          server.removeListener('error', reject)
          // An error of a listening server (no more file handles) is not the end: the next accept may work.
          server.on('error', () => refused.add())
          resolve((server.address() as AddressInfo).port)
        })
      })
    },
    configure(next) {
      config = next
      server.maxConnections = next.connectionsMax
    },
    closeWindow: () => ({ ...red.close(clock.now(), clock.monotonic()), connections }),
    figures: () => ({ connections, websockets: sockets(), requests_in_flight: exchanges.size }),
    async stop(limitMs) {
      stopping = true
      const until = clock.monotonic() + limitMs
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      for (const target of balancer.targets())
        for (const socket of target.sockets) socket.close(1012, 'service restart')
      while (exchanges.size > 0 && clock.monotonic() < until) await scheduler.sleep(STOP_POLL_MS)
      server.closeIdleConnections()
      // Sockets that have upgraded are none of the server's: closing them is in hand.
      const left = scheduler.after(Math.max(100, until - clock.monotonic()), () => server.closeAllConnections())
      await Promise.race([closed, scheduler.sleep(Math.max(200, until - clock.monotonic()))])
      left.cancel()
      server.closeAllConnections()
      sweeping.cancel()
    },
  }
}

const MALFORMED: Readonly<Record<string, readonly [number, string, string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'headers_too_large', 'The headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, 'body_too_large', 'The extensions of the chunks are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'request_too_slow', 'The request did not come in time.'],
}

function isWebSocket(request: IncomingMessage): boolean {
  return request.method === 'GET' && request.headers.upgrade?.toLowerCase() === 'websocket'
}

/** Path and query of a request line: `/a?b`, or of the absolute form `http://host/a?b`. Null for anything else. */
function pathOf(url: string): string | null {
  if (url.startsWith('/')) return url
  const absolute = /^https?:\/\/[^/?#]*([/?][^#]*)?$/i.exec(url)
  if (!absolute) return null
  const rest = absolute[1] ?? '/'
  return rest.startsWith('/') ? rest : `/${rest}`
}
