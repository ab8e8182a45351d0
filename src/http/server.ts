/**
 * From a list of routes to a running server. What every route has in common is here and nowhere else:
 *
 *   request id ▸ role ▸ rate ▸ origin ▸ media type ▸ size ▸ JSON ▸ schema ▸ handler ▸ envelope       errors: one shape
 *
 * It knows no domain: who a token belongs to is asked of `Authenticator`, what the limits are of `limits()`.
 */
import { createHash } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fastify from 'fastify'
import { AppError, badRequest, forbidden, invalid, notFound, tooMany } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { SECOND } from '../base/time.ts'
import type { Authenticator } from './auth.ts'
import { authorize, principalOf, sameOrigin } from './auth.ts'
import { decompress, parseJson } from './body.ts'
import { serveDirect } from './direct.ts'
import { openApi } from './openapi.ts'
import type { Rate } from './rate-limit.ts'
import { rateLimiter } from './rate-limit.ts'
import { createBodyBudget, receiveBody } from './receive.ts'
import type {
  ForeignShape,
  Principal,
  RawReply,
  Reply,
  RequestContext,
  Route,
  RouteShape,
  SocketShape,
} from './route.ts'
import type { Check } from './schema.ts'
import { checkOf, convertTexts, fillDefaults } from './schema.ts'
import type { Tickets } from './sockets.ts'
import { createSocketHub } from './sockets.ts'

export interface Limits {
  /** Most bytes of a body, where the route says nothing else. */
  readonly bodyBytes: number
  /** Deepest nesting of a JSON body. */
  readonly jsonDepth: number
  /** Requests of one token or session. */
  readonly perPrincipal: Rate
  /** Requests without a token, and refused credentials, of one address. */
  readonly perAddress: Rate
  /** Open WebSockets. */
  readonly sockets: number
}

export interface ServerOptions {
  readonly routes: readonly Route[]
  /** Routes that another process of the platform serves, for the documentation: asked for with its first reader. */
  documents?(): Promise<readonly Route[]>
  readonly authenticator: Authenticator
  readonly tickets: Tickets
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  readonly version: string
  /** Asked on every request, so that a change of configuration holds at once. */
  limits(): Limits
  /** Where people reach the platform, when a reverse proxy stands before front. */
  publicUrl(): string | null
  /** Checks every answer against its own schema, and fails the request if it does not fit: for tests. */
  readonly checkAnswers?: boolean
}

export interface Server {
  /** A Unix socket (made with mode 0600) or a port of 127.0.0.1; returns the address. */
  listen(at: { readonly socketPath: string } | { readonly port: number }): Promise<string>
  /** Waits for open requests, closes sockets with 1012. */
  close(): Promise<void>
}

type AnyRoute = RouteShape<never, never, never, never> & {
  handler(request: RequestContext<unknown, unknown, unknown>): Promise<Reply<unknown>> | Reply<unknown>
}
/** What the stages of every route want of a request. */
type Asked = Pick<FastifyRequest, 'id' | 'method' | 'url' | 'headers' | 'raw'>
interface State {
  principal: Principal | null
  ifMatch: number | null
  key: string | null
}

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cache-control': 'no-store',
}

export async function createServer(options: ServerOptions): Promise<Server> {
  const { authenticator, log, scheduler, telemetry } = options
  const clock = scheduler.clock
  const limiter = rateLimiter(clock)
  const hub = createSocketHub({
    authenticator,
    tickets: options.tickets,
    scheduler,
    log,
    socketsMax: () => options.limits().sockets,
    publicUrl: options.publicUrl,
  })
  telemetry.gauge('opinion_market_sockets_open', 'WebSockets that are open.', {}, () => hub.open)
  const duration = telemetry.histogram(
    'opinion_market_http_request_seconds',
    'Time from the arrival of a request to the end of its answer.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
  )
  const answers = [2, 3, 4, 5].map((digit) =>
    telemetry.counter('opinion_market_http_requests_total', 'Requests answered, by class of status.', {
      code: `${digit}xx`,
    }),
  )

  const states = new WeakMap<Asked, State>()
  const app: FastifyInstance = fastify({
    logger: false,
    // The schemas of routes are checked by `schema.ts`: without these, each start loads and sets up ajv for nothing.
    schemaController: { compilersFactory: { buildValidator: () => noSchema, buildSerializer: () => noSchema } },
    bodyLimit: options.limits().bodyBytes,
    routerOptions: { maxParamLength: 500, ignoreTrailingSlash: true },
    genReqId: (raw) => requestIdOf(raw, clock.now()),
    // Longer than front keeps a connection idle: the side that sends is the side that closes.
    keepAliveTimeout: 120_000,
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => sendError(error, request, reply as FastifyReply),
    clientErrorHandler(error, socket) {
      if (error.code === 'ECONNRESET' || !socket.writable) return
      const large = error.code === 'HPE_HEADER_OVERFLOW'
      const problem = large
        ? new AppError(431, 'headers_too_large', 'The headers are too large.')
        : badRequest('The request is not valid HTTP.')
      const body = JSON.stringify(errorBody(problem, newId(clock.now()), clock.now()))
      const head = `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}\r\nContent-Type: application/json\r\n`
      socket.end(`${head}Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`)
    },
  })
  await app.register(websocket, {
    options: { maxPayload: 64 * 1024, perMessageDeflate: false },
    preClose: (done) => {
      hub.close()
      done()
    },
  })
  app.removeAllContentTypeParsers()
  const budget = createBodyBudget()
  app.addContentTypeParser('*', (request, payload, done) => {
    const limit = request.routeOptions.bodyLimit ?? options.limits().bodyBytes
    receiveBody(payload, limit, budget).then(
      (body) => done(null, body),
      (error) => done(error),
    )
  })

  // Hooks that need not wait call back: a promise for each stage of each request would cost more than the stage.
  app.addHook('onRequest', (request, reply, next) => {
    reply.headers(HEADERS).header('x-request-id', request.id)
    next()
  })
  app.addHook('onResponse', (request, reply, next) => {
    answered(request, reply.statusCode, reply.elapsedTime)
    next()
  })
  function answered(request: Asked, status: number, ms: number) {
    answers[Math.floor(status / 100) - 2]?.add()
    duration.observe(ms / 1000)
    const who = states.get(request)?.principal?.name
    log.debug('request', { requestId: request.id, method: request.method, path: pathOf(request), status, ms, who })
  }
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  app.setNotFoundHandler((request, reply) =>
    sendError(notFound('route_not_found', 'There is no such route.'), request, reply),
  )

  function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply) {
    const problem = isGone(request, error) ? badRequest('The request broke off.', 'broken_off') : asAppError(error)
    if (problem.status >= 500) noteFailure(request, problem, error)
    reply.headers({ ...HEADERS, 'x-request-id': request.id, ...errorHeaders(problem) })
    reply.code(problem.status).type('application/json; charset=utf-8')
    return reply.send(JSON.stringify(errorBody(problem, request.id, clock.now())))
  }

  /**
   * A fault is logged each time. What a room says in its own words (the disk is full) may be said to thousands of
   * requests a second: one line a second for each kind.
   */
  function noteFailure(request: Asked, problem: AppError, error: unknown) {
    const about = {
      requestId: request.id,
      method: request.method,
      path: pathOf(request),
      error: problem.cause ?? error,
    }
    if (problem !== error || problem.cause !== undefined) return log.error('a request failed', about)
    const known = refusals.get(problem.code)
    if (known) known.count++
    else refusals.set(problem.code, { count: 1, about: { ...about, error: problem.message } })
  }
  const refusals = new Map<string, { count: number; about: object }>()
  const telling = scheduler.every(SECOND, () => {
    for (const { count, about } of refusals.values()) log.error('requests were refused', { count, ...about })
    refusals.clear()
  })

  function spend(key: string, rate: Rate): void {
    const wait = limiter.take(key, rate)
    if (wait > 0) throw tooMany('Too many requests.', Math.max(1, Math.ceil(wait)))
  }

  /** Everything that can be refused before the body is read. Waits only where who calls has to be asked elsewhere. */
  function admit(shape: RouteShape<never, never, never, never> | ForeignShape, request: Asked): void | Promise<void> {
    let found: ReturnType<typeof principalOf>
    try {
      found = principalOf(request.headers, authenticator)
    } catch (error) {
      return admitKnown(shape, request, notHeld(shape, request, error))
    }
    if (!(found instanceof Promise)) return admitKnown(shape, request, found)
    return found
      .catch((error: unknown) => notHeld(shape, request, error))
      .then((principal) => admitKnown(shape, request, principal))
  }

  /** A credential that does not hold. A page that is open to all stays open to those whose session has ended. */
  function notHeld(shape: { readonly access: string }, request: Asked, error: unknown): null {
    if (error instanceof AppError && error.status === 401) spend(addressOf(request), options.limits().perAddress)
    if (shape.access !== 'open' || !(error instanceof AppError)) throw error
    return null
  }

  function admitKnown(
    shape: RouteShape<never, never, never, never> | ForeignShape,
    request: Asked,
    principal: Principal | null,
  ): void {
    const headers = request.headers
    const limits = options.limits()
    if (principal) {
      if (!shape.unmetered) spend(principal.credential ?? principal.id, limits.perPrincipal)
    } else spend(addressOf(request), limits.perAddress)
    authorize(principal, shape.access)
    // A browser names the origin of a write by itself; a cookie alone proves no intent, and neither does a log-in.
    const byPage = principal?.via === 'session' || (principal === null && headers.origin !== undefined)
    if (byPage && shape.method !== 'GET' && !sameOrigin(headers, options.publicUrl())) {
      throw forbidden('A write from a page needs the Origin of this platform.', 'foreign_origin')
    }
    states.set(request, { principal, ifMatch: readIfMatch(headers['if-match']), key: readKey(shape, headers) })
  }

  function context<P, Q, B>(
    request: Asked,
    reply: Pick<FastifyReply, 'raw'>,
    params: P,
    query: Q,
    body: B,
    raw: Uint8Array,
  ) {
    const { principal, ifMatch, key } = states.get(request)!
    let gone: AbortController | undefined
    const claim =
      key === null || principal === null
        ? null
        : { key, principalId: principal.id, fingerprint: fingerprintOf(request, raw) }
    return {
      params,
      query,
      body,
      principal,
      requestId: request.id,
      claim,
      ifMatch,
      get signal() {
        if (gone === undefined) {
          const controller = new AbortController()
          gone = controller
          if (reply.raw.destroyed) controller.abort()
          reply.raw.once('close', () => reply.raw.writableFinished || controller.abort())
        }
        return gone.signal
      },
      headers: request.headers,
      url: request.url,
    }
  }

  function addRoute(shape: AnyRoute): void {
    const check = {
      params: shape.params && checkOf(shape.params),
      query: checkOf(shape.query ?? NO_FIELDS),
      body: checkOf(shape.body ?? NO_FIELDS),
      data: options.checkAnswers && shape.data ? checkOf(shape.data) : null,
    }
    const limitBytes = shape.bodyLimitBytes ?? options.limits().bodyBytes
    app.route({
      method: shape.method,
      url: shape.path,
      bodyLimit: limitBytes,
      onRequest(request, _reply, next) {
        const checkType = () => {
          if (shape.method !== 'GET' && !isForm(shape, request)) checkMediaType(request, shape.body !== undefined)
        }
        try {
          const admitted = admit(shape, request)
          if (admitted instanceof Promise) return void admitted.then(checkType).then(() => next(), next)
          checkType()
        } catch (error) {
          return next(error as Error)
        }
        next()
      },
      async handler(request, reply) {
        const params = readTexts(check.params, Object.entries(request.params as Record<string, string>))
        if (params.problems.length > 0) throw notFound('not_found', 'There is nothing of that name.')
        const query = readTexts(check.query, parametersOf(request))
        const raw = (request.body as Uint8Array | undefined) ?? NO_BYTES
        const body = shape.method === 'GET' ? undefined : await readBody(request, raw, limitBytes, shape, check.body)
        if (query.problems.length > 0) throw invalid(query.problems)
        const answer = await shape.handler(context(request, reply, params.value, query.value, body, raw))
        if (check.data) {
          mustFit(check.data, answer.json === undefined ? answer.data : JSON.parse(answer.json), shape.path)
        }
        return send(reply, answer)
      },
    })
  }

  async function readBody(
    request: FastifyRequest,
    raw: Uint8Array,
    limitBytes: number,
    shape: AnyRoute,
    check: Check,
  ): Promise<unknown> {
    const bytes = await decompress(raw, request.headers['content-encoding'], limitBytes)
    let body: unknown = {}
    if (isForm(shape, request)) {
      const text = Buffer.from(bytes).toString()
      if (!text.isWellFormed() || bytes.byteLength > FORM_BYTES_MAX) throw badRequest('The form cannot be read.')
      body = convertTexts(new URLSearchParams(text), check.schema)
    } else if (bytes.byteLength > 0) body = parseJson(bytes, options.limits().jsonDepth)
    else if (check.problems({}).length > 0) throw badRequest('The body is empty; send JSON.', 'not_json')
    const problems = check.problems(body)
    if (problems.length > 0) throw invalid(problems)
    fillDefaults(body, check.schema)
    return shape.body === undefined ? undefined : body
  }

  function send(reply: FastifyReply, answer: Reply<unknown>) {
    if (answer.headers) reply.headers(answer.headers)
    if (answer.nextCursor !== undefined) reply.header('x-next-cursor', answer.nextCursor)
    reply.code(answer.status ?? 200).type('application/json; charset=utf-8')
    const timestamp = clock.now() / 1000
    if (answer.json !== undefined) return reply.send(`{"success":true,"data":${answer.json},"timestamp":${timestamp}}`)
    return reply.send(JSON.stringify({ success: true, data: answer.data, message: answer.message, timestamp }))
  }

  function admitForeign(shape: ForeignShape, request: Asked): void | Promise<void> {
    const checkType = () => {
      if (shape.consumes && shape.consumes.length > 0 && !shape.consumes.includes(mediaTypeOf(request))) {
        throw unsupported(shape.consumes)
      }
    }
    const admitted = admit(shape, request)
    return admitted instanceof Promise ? admitted.then(checkType) : checkType()
  }

  /** Requests of `direct` routes do not come to the framework. */
  function takeDirect(shape: ForeignShape, raw: IncomingMessage, response: ServerResponse): void {
    const began = clock.monotonic()
    const request: Asked = {
      id: requestIdOf(raw, clock.now()),
      method: raw.method!,
      url: raw.url!,
      headers: raw.headers as FastifyRequest['headers'],
      raw,
    }
    response.on('finish', () => answered(request, response.statusCode, clock.monotonic() - began))
    serveDirect(raw, response, {
      shape,
      bodyLimitBytes: shape.bodyLimitBytes ?? options.limits().bodyBytes,
      budget,
      headers: { ...HEADERS, 'x-request-id': request.id },
      admit: () => admitForeign(shape, request),
      run: (body) =>
        shape.foreign(context(request, { raw: response }, {}, new URLSearchParams(queryOf(request)), body, body)),
      failure(error) {
        const problem = isGone(request, error) ? badRequest('The request broke off.', 'broken_off') : asAppError(error)
        if (problem.status >= 500) noteFailure(request, problem, error)
        const own = shape.onError?.(problem, request.id)
        if (own) return { ...own, headers: { ...errorHeaders(problem), ...own.headers } }
        const headers = { ...errorHeaders(problem), 'content-type': 'application/json; charset=utf-8' }
        return { status: problem.status, headers, body: JSON.stringify(errorBody(problem, request.id, clock.now())) }
      },
    })
  }

  function addForeign(shape: ForeignShape): void {
    const own = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
      if (isGone(request, error)) return sendError(error, request, reply)
      const problem = asAppError(error)
      if (problem.status >= 500) noteFailure(request, problem, error)
      return sendRaw(reply.headers(errorHeaders(problem)), shape.onError!(problem, request.id))
    }
    app.route({
      method: shape.method,
      url: shape.path,
      bodyLimit: shape.bodyLimitBytes ?? options.limits().bodyBytes,
      ...(shape.onError ? { errorHandler: own } : {}),
      onRequest: async (request) => admitForeign(shape, request),
      async handler(request, reply) {
        const params = request.params as Record<string, string>
        const raw = (request.body as Uint8Array | undefined) ?? NO_BYTES
        const query = new URLSearchParams(queryOf(request))
        return sendRaw(reply, await shape.foreign(context(request, reply, params, query, raw, raw)))
      },
    })
  }

  function addSocket(shape: SocketShape): void {
    app.route({
      method: 'GET',
      url: shape.path,
      onRequest: async (request) => spend(addressOf(request), options.limits().perAddress),
      handler: async (_request, reply) => {
        reply.header('upgrade', 'websocket')
        throw new AppError(426, 'upgrade_required', 'This is a WebSocket; connect with Upgrade: websocket.')
      },
      wsHandler: (socket, request) => hub.accept(socket, request.raw, shape),
    })
  }

  const document = async () => openApi([...routes, ...((await options.documents?.()) ?? [])], options.version)
  const routes: readonly Route[] = [...options.routes, openApiRoute(document)]
  for (const shape of routes) {
    if (shape.method === 'SOCKET') addSocket(shape)
    else if ('foreign' in shape) addForeign(shape)
    else addRoute(shape as unknown as AnyRoute)
  }

  const direct = new Map<string, ForeignShape>()
  for (const shape of routes) if ('direct' in shape && shape.direct) direct.set(`${shape.method} ${shape.path}`, shape)
  const [framework] = app.server.listeners('request') as [(request: IncomingMessage, response: ServerResponse) => void]
  app.server.removeAllListeners('request')
  app.server.on('request', (request, response) => {
    const shape = direct.get(`${request.method} ${pathOf(request as { url: string })}`)
    if (shape) takeDirect(shape, request, response)
    else framework(request, response)
  })

  return {
    async listen(at) {
      if ('port' in at) return app.listen({ host: '127.0.0.1', port: at.port })
      const address = await app.listen({ path: at.socketPath })
      chmodSync(at.socketPath, 0o600)
      return address
    },
    async close() {
      telling.cancel()
      await app.close()
    },
  }
}

/** The one shape of errors. */
export function errorBody(problem: AppError, requestId: string, now: number) {
  return {
    success: false,
    detail: problem.message,
    error: { code: problem.code, fields: problem.fields, request_id: requestId },
    timestamp: now / 1000,
  }
}

/** A client that goes away in the middle of its body, or of the work for it, is no fault of the platform. */
function isGone({ raw }: Asked, error: unknown): boolean {
  if (raw.destroyed && !raw.complete) return true
  return raw.socket.destroyed && (error as { name?: unknown } | null)?.name === 'AbortError'
}

/** The sentence of an `AppError` may be shown; of anything else nothing is. */
function asAppError(error: unknown): AppError {
  if (error instanceof AppError) return error
  const code = (error as { code?: unknown } | null)?.code
  const status = (error as { statusCode?: unknown } | null)?.statusCode
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new AppError(413, 'body_too_large', 'The body is too large.')
  if (typeof code === 'string' && code.startsWith('FST_') && typeof status === 'number' && status < 500) {
    if (status === 404) return notFound('route_not_found', 'There is no such route.')
    if (status === 415) return new AppError(415, 'unsupported_media_type', 'The Content-Type cannot be read.')
    return new AppError(status, 'bad_request', 'The request cannot be read.')
  }
  return new AppError(500, 'internal_error', 'The platform made a mistake. The log has more under this request id.', {
    cause: error,
  })
}

function errorHeaders(problem: AppError): Record<string, string> {
  const headers: Record<string, string> = {}
  if (problem.status === 401) headers['www-authenticate'] = 'Bearer'
  const wait = problem.retryAfterSeconds ?? (problem.status === 503 ? 5 : undefined)
  if (wait !== undefined) headers['retry-after'] = String(Math.ceil(wait))
  return headers
}

// ------------------------------------------------------------------------------------- parts of a request

function requestIdOf({ headers }: IncomingMessage, now: number): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : newId(now)
}

const NO_FIELDS = { type: 'object', properties: {} }
const NO_BYTES = new Uint8Array(0)

const pathOf = (request: Pick<Asked, 'url'>) => request.url.split('?', 1)[0]!

const NO_PARAMETERS: readonly (readonly [string, string])[] = []

function parametersOf(request: FastifyRequest): Iterable<readonly [string, string]> {
  const query = queryOf(request)
  return query === '' ? NO_PARAMETERS : new URLSearchParams(query)
}

function queryOf(request: Asked): string {
  const at = request.url.indexOf('?')
  return at < 0 ? '' : request.url.slice(at + 1)
}

/** Front overwrites X-Forwarded-For with the address it saw; without front there is only the connection. */
function addressOf(request: Asked): string {
  const forwarded = request.headers['x-forwarded-for']
  return typeof forwarded === 'string' ? forwarded : (request.raw.socket.remoteAddress ?? 'local')
}

function readTexts(check: Check | undefined, entries: Iterable<readonly [string, string]>) {
  if (!check) return { value: Object.fromEntries(entries), problems: [] }
  const value = convertTexts(entries, check.schema)
  const problems = check.problems(value)
  fillDefaults(value, check.schema)
  return { value, problems }
}

function mediaTypeOf(request: Asked): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()
}

const FORM_BYTES_MAX = 16_384
const isForm = (shape: { form?: boolean }, request: FastifyRequest) =>
  shape.form === true && mediaTypeOf(request) === 'application/x-www-form-urlencoded'

const unsupported = (wanted: readonly string[]) =>
  new AppError(415, 'unsupported_media_type', `Send the body as ${wanted.join(' or ')}.`)

function checkMediaType(request: FastifyRequest, wantsBody: boolean): void {
  const type = mediaTypeOf(request)
  const hasBody = request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length']) > 0
  if (type === 'application/json' || /^application\/[\w.-]+\+json$/.test(type)) return
  if (type === '' && !hasBody) return
  // Without a body the type says nothing: `curl -X POST` may or may not send one.
  if (!hasBody && !wantsBody) return
  throw unsupported(['application/json'])
}

function readIfMatch(header: string | undefined): number | null {
  if (header === undefined || header.trim() === '*') return null
  const version = /^\s*(?:W\/)?"?(\d{1,15})"?\s*$/.exec(header)?.[1]
  if (version === undefined) throw badRequest('If-Match has to be the version, such as "3".', 'if_match_unreadable')
  return Number(version)
}

function readKey(shape: { idempotent?: boolean } | object, headers: FastifyRequest['headers']): string | null {
  const key = headers['idempotency-key']
  if (key === undefined || !('idempotent' in shape) || !shape.idempotent) return null
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,255}$/.test(key)) {
    throw badRequest('Idempotency-Key has to be 1 to 255 visible ASCII characters.', 'idempotency_key_unreadable')
  }
  return key
}

function fingerprintOf(request: Asked, raw: Uint8Array): string {
  return createHash('sha256').update(`${request.method} ${request.url}\n`).update(raw).digest('base64url')
}

function mustFit(check: Check, data: unknown, path: string): void {
  // As the client will see it: undefined fields are gone, dates are texts.
  const problems = check.problems(data === undefined ? undefined : JSON.parse(JSON.stringify(data)))
  if (problems.length === 0) return
  throw new Error(`the answer of ${path} does not fit its schema: ${problems.map((p) => `${p.path} ${p.message}`)}`)
}

function sendRaw(reply: FastifyReply, raw: RawReply) {
  reply.code(raw.status).headers(raw.headers)
  return reply.send(
    raw.body instanceof Uint8Array ? Buffer.from(raw.body.buffer, raw.body.byteOffset, raw.body.byteLength) : raw.body,
  )
}

function noSchema(): never {
  throw new Error('no route has a schema of the framework')
}

/** The document is made for its first reader, not at each start. */
function openApiRoute(document: () => Promise<object>): ForeignShape {
  let body: Promise<string> | undefined
  return {
    method: 'GET',
    path: '/api/v1/openapi.json',
    access: 'viewer',
    tag: 'system',
    summary: 'This document',
    async foreign() {
      body ??= document().then((made) => JSON.stringify(made))
      return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8' }, body: await body }
    },
  }
}
