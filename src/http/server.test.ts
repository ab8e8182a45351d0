/** The server with routes of the test, over real sockets: what every route of the platform has in common. */
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import Type from 'typebox'
import { Compile } from 'typebox/schema'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { AppError, conflict, unavailable } from '../base/errors.ts'
import { silentLog } from '../base/log.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import type { Authenticator } from './auth.ts'
import { errorSchema } from './openapi.ts'
import type { IdempotencyClaim, Principal, Role, Route } from './route.ts'
import { foreignRoute, route } from './route.ts'
import type { Limits, Server } from './server.ts'
import { createServer } from './server.ts'
import { createTickets } from './sockets.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))
const revoked = new Set<string>()
const principal = (role: Role, via: Principal['via']): Principal => ({
  id: `id-${role}`,
  name: role,
  role,
  via,
  credential: `credential-${role}`,
})
const authenticator: Authenticator = {
  byToken: (t) => (/^token-(viewer|operator|admin|trader)$/.test(t) ? principal(t.slice(6) as Role, 'token') : null),
  bySession: (c) => (c === 'session-operator' ? principal('operator', 'session') : null),
  alive: (credential) => !revoked.has(credential),
}
let limits: Limits
const roomyLimits: Limits = {
  bodyBytes: 100_000,
  jsonDepth: 20,
  perPrincipal: { perSecond: 1e6, burst: 1e6 },
  perAddress: { perSecond: 1e6, burst: 1e6 },
  sockets: 3,
}

const seen: { claim: IdempotencyClaim | null; ifMatch: number | null; aborted: boolean | null } = {
  claim: null,
  ifMatch: null,
  aborted: null,
}
let release = () => {}

const echo = (path: string, direct: boolean) =>
  foreignRoute({
    method: 'POST',
    path,
    access: 'operator',
    tag: 't',
    summary: 's',
    consumes: ['application/x-protobuf'],
    bodyLimitBytes: 1000,
    unmetered: true,
    direct,
    foreign({ body, query }) {
      if (body.length === 0) throw new AppError(400, 'empty', 'no body')
      return { status: 200, headers: { 'content-type': 'text/plain' }, body: `${body.length} ${query.get('a')}` }
    },
    onError: (error) => ({
      status: (error as AppError).status,
      headers: { 'content-type': 'text/plain' },
      body: `foreign: ${(error as AppError).code}`,
    }),
  })

const routes: Route[] = [
  route({
    method: 'POST',
    path: '/things/:id',
    access: 'operator',
    tag: 't',
    summary: 's',
    idempotent: true,
    params: Type.Object({ id: Type.String({ pattern: '^[a-z]+$' }) }),
    body: Type.Object({
      metric_name: Type.String({ minLength: 1, maxLength: 20 }),
      value: Type.Number({ minimum: -100, maximum: 100 }),
      kind: Type.Union([Type.Literal('one'), Type.Literal('two')], { default: 'one' }),
      labels: Type.Optional(Type.Record(Type.String(), Type.String())),
      parts: Type.Optional(Type.Array(Type.Object({ size: Type.Integer(), unit: Type.String({ default: 'MiB' }) }))),
      metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    }),
    handler(request) {
      seen.claim = request.claim
      seen.ifMatch = request.ifMatch
      return { data: { ...request.body, id: request.params.id }, message: 'Stored.' }
    },
  }),
  route({
    method: 'GET',
    path: '/things',
    access: 'viewer',
    tag: 't',
    summary: 's',
    query: Type.Object({
      limit: Type.Integer({ minimum: 1, maximum: 1000, default: 50 }),
      active: Type.Optional(Type.Boolean()),
      name: Type.Optional(Type.Array(Type.String())),
    }),
    data: Type.Array(Type.Unknown()),
    handler: ({ query }) => ({ data: [query], nextCursor: 'abc' }),
  }),
  route({
    method: 'POST',
    path: '/start',
    access: 'operator',
    tag: 't',
    summary: 's',
    handler: () => ({ message: 'Started.' }),
  }),
  route({
    method: 'POST',
    path: '/open',
    access: 'open',
    tag: 't',
    summary: 's',
    handler: () => ({ message: 'Open.' }),
  }),
  route({
    method: 'GET',
    path: '/fails/:how',
    access: 'open',
    tag: 't',
    summary: 's',
    handler({ params }) {
      const { how } = params as { how: string }
      if (how === 'conflict') throw conflict('exists', 'It exists.')
      if (how === 'down') throw unavailable('The store is down.', 7)
      if (how === 'stale') throw new AppError(412, 'stale', 'Stale.')
      throw new Error('secret /etc/path SELECT * FROM users')
    },
  }),
  route({
    method: 'GET',
    path: '/slow',
    access: 'open',
    tag: 't',
    summary: 's',
    async handler({ signal }) {
      await new Promise<void>((done) => {
        release = done
        signal.addEventListener('abort', () => done())
      })
      seen.aborted = signal.aborted
      return { message: 'x' }
    },
  }),
  echo('/foreign', false),
  echo('/direct', true),
  foreignRoute({
    method: 'GET',
    path: '/page',
    access: 'open',
    tag: 't',
    summary: 's',
    documented: false,
    foreign: ({ principal: who }) => ({
      status: 200,
      headers: { 'content-type': 'text/html', 'content-security-policy': "default-src 'self'" },
      body: `<p>${who?.name ?? 'nobody'}</p>`,
    }),
  }),
  {
    method: 'SOCKET',
    path: '/ws',
    access: 'operator',
    tag: 't',
    summary: 's',
    socket(socket, { principal: who, url }) {
      socket.send(JSON.stringify({ who: who?.name, url }))
      socket.on('message', (data) => {
        if (data.length === 0) throw new Error('a fault of the room')
        socket.send(new TextDecoder().decode(data))
      })
    },
  },
]

/** What the server held to be its own fault. */
const faults: string[] = []
let server: Server
let url: string
beforeAll(async () => {
  limits = roomyLimits
  const scheduler = systemScheduler((error) => {
    throw error
  })
  const tickets = createTickets(scheduler.clock)
  routes.push(
    route({
      method: 'POST',
      path: '/ticket',
      access: 'viewer',
      tag: 't',
      summary: 's',
      data: Type.Object({ ticket: Type.String() }),
      handler: ({ principal: who }) => ({ data: { ticket: tickets.issue(who!) } }),
    }),
  )
  server = await createServer({
    routes,
    authenticator,
    tickets,
    scheduler,
    log: { ...silentLog, error: (message: string) => void faults.push(message) },
    telemetry: createTelemetry(),
    version: '1',
    limits: () => limits,
    publicUrl: () => null,
    checkAnswers: true,
  })
  url = await server.listen({ port: 0 })
})
afterAll(() => server.close())

const errorCheck = Compile(errorSchema)

interface Sent {
  method?: string
  token?: string | null
  body?: unknown
  raw?: string | Uint8Array
  headers?: Record<string, string>
}

/** Every answer that is not 2xx has to be of the one shape. */
async function call(path: string, { method = 'GET', token = 'token-operator', body, raw, headers = {} }: Sent = {}) {
  const text = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(text === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(text === undefined ? {} : { body: text as string }),
  })
  const answer = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect
  const json: any = isJson && answer !== '' ? JSON.parse(answer) : undefined
  if (isJson && !response.ok) {
    expect(errorCheck.Errors(json)[1]).toEqual([])
    expect(json.error.request_id).toBe(response.headers.get('x-request-id'))
  }
  return { status: response.status, headers: response.headers, text: answer, json }
}
const post = (path: string, body: unknown, more: Sent = {}) => call(path, { method: 'POST', body, ...more })
const good = { metric_name: 'cpu', value: 1 }

describe('answers', () => {
  test('come in the envelope, with defaults filled in at every depth', async () => {
    const { status, json, headers } = await post('/things/a', { ...good, parts: [{ size: 1 }] })
    expect(status).toBe(200)
    expect(json).toEqual({
      success: true,
      data: { ...good, kind: 'one', parts: [{ size: 1, unit: 'MiB' }], id: 'a' },
      message: 'Stored.',
      timestamp: expect.any(Number),
    })
    expect(json.timestamp).toBeGreaterThan(1.7e9)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('cache-control')).toBe('no-store')
  })
  test('convert query parameters, and refuse what cannot be read', async () => {
    const { json, headers } = await call('/things?active=true&name=a&name=b')
    expect(json.data).toEqual([{ limit: 50, active: true, name: ['a', 'b'] }])
    expect(headers.get('x-next-cursor')).toBe('abc')
    for (const query of [
      'limit=abc',
      'limit=',
      'limit=0x10',
      'active=maybe',
      'limit=1&limit=2',
      'limit=1e999',
      'name=a%00',
    ]) {
      expect([query, (await call(`/things?${query}`)).status]).toEqual([query, 400])
    }
    for (const query of ['limit=0', 'limit=1001', 'limit=1.5', 'lmit=3', '__proto__=1', 'constructor=1']) {
      expect([query, (await call(`/things?${query}`)).status]).toEqual([query, 422])
    }
    expect((await call('/things?lmit=3')).json.error.fields[0].message).toContain('did you mean "limit"')
  })
  test('echo a request id that is harmless, and replace any other', async () => {
    expect((await call('/things', { headers: { 'x-request-id': 'abc-1' } })).headers.get('x-request-id')).toBe('abc-1')
    const replaced = await call('/things', { headers: { 'x-request-id': 'a b"c' } })
    expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-z]{26}$/)
  })
  test('of pages go as they are, and keep their own policy', async () => {
    const page = await call('/page', { token: null })
    expect(page.text).toBe('<p>nobody</p>')
    expect(page.headers.get('content-security-policy')).toBe("default-src 'self'")
    expect((await call('/page', { token: 'wrong' })).text).toBe('<p>nobody</p>')
    expect((await call('/page', { method: 'HEAD' })).status).toBe(200)
  })
})

describe('errors', () => {
  test.each([
    ['/fails/conflict', 409, 'exists'],
    ['/fails/stale', 412, 'stale'],
    ['/fails/down', 503, 'unavailable'],
    ['/fails/fault', 500, 'internal_error'],
    ['/nowhere', 404, 'route_not_found'],
    ['/things/%zz', 400, 'bad_request'],
    ['/start', 404, 'route_not_found'],
  ])('%s is %i', async (path, status, code) => {
    const answer = await call(path, { token: null })
    expect([answer.status, answer.json.error.code]).toEqual([status, code])
  })
  test('a fault shows nothing of itself', async () => {
    const { text } = await call('/fails/fault')
    expect(text).not.toMatch(/secret|etc|SELECT|stack|\.ts/)
  })
  test('503 says when to come again', async () => {
    expect((await call('/fails/down')).headers.get('retry-after')).toBe('7')
  })
  test('bytes that are not HTTP get the shape too', async () => {
    const { port } = new URL(url)
    const text = await new Promise<string>((done) => {
      let got = ''
      const socket = connect(Number(port), '127.0.0.1', () => socket.write('GARBAGE\r\n\r\n'))
      socket.on('data', (data) => {
        got += data
      })
      socket.on('close', () => done(got))
    })
    expect(text).toMatch(/^HTTP\/1\.1 400/)
    expect(errorCheck.Check(JSON.parse(text.split('\r\n\r\n')[1]!))).toBe(true)
  })
})

describe('roles', () => {
  test('no token, a wrong token, too small a role', async () => {
    for (const token of [null, 'wrong', '']) {
      const { status, headers } = await post('/things/a', good, { token })
      expect([status, headers.get('www-authenticate')]).toEqual([401, 'Bearer'])
    }
    expect((await post('/things/a', good, { token: 'token-viewer' })).status).toBe(403)
    expect((await post('/things/a', good, { token: 'token-trader' })).status).toBe(403)
    expect((await post('/things/a', good, { token: 'token-admin' })).status).toBe(200)
    expect((await call('/things', { token: 'token-trader' })).status).toBe(403)
    expect((await post('/things/a', good, { token: null, headers: { authorization: 'Basic eDp5' } })).status).toBe(401)
  })
  test('are looked at before the body is', async () => {
    expect((await call('/things/a', { method: 'POST', token: null, raw: '{{{' })).status).toBe(401)
    expect((await call('/things/a', { method: 'POST', token: 'token-viewer', raw: '{{{' })).status).toBe(403)
  })
  test('a write with a cookie needs the origin of the platform', async () => {
    const cookie = { cookie: `a=b; om_session_${new URL(url).port}=session-operator` }
    const { host } = new URL(url)
    expect((await call('/things', { token: null, headers: cookie })).status).toBe(200)
    expect((await post('/things/a', good, { token: null, headers: cookie })).json.error.code).toBe('foreign_origin')
    const foreign = { ...cookie, origin: 'http://evil.example' }
    expect((await post('/things/a', good, { token: null, headers: foreign })).status).toBe(403)
    for (const origin of ['null', 'garbage', `http://${host}.evil.example`]) {
      expect((await post('/things/a', good, { token: null, headers: { ...cookie, origin } })).status).toBe(403)
    }
    const own = { ...cookie, origin: `http://${host}` }
    expect((await post('/things/a', good, { token: null, headers: own })).status).toBe(200)
    expect(
      (await call('/things', { token: null, headers: { cookie: cookie.cookie.replace('-operator', '-old') } })).status,
    ).toBe(401)
    // Beside it on this machine runs another platform, and the browser sends both cookies to both.
    const both = { cookie: `om_session_1=session-old; ${cookie.cookie}; om_session=session-old` }
    expect((await call('/things', { token: null, headers: both })).status).toBe(200)
    // An open write (a log-in) that a foreign page sends for its visitor.
    const open = (headers: Record<string, string>) => post('/open', {}, { token: null, headers })
    expect((await open({})).status).toBe(200)
    expect((await open({ origin: `http://${host}` })).status).toBe(200)
    expect((await open({ origin: 'http://evil.example' })).status).toBe(403)
  })
})

describe('bodies', () => {
  test.each(
    [
      ['', 400],
      ['{', 400],
      ['nothing', 400],
      ['"\ud800"', 422],
      ['[]', 422],
      ['null', 422],
      ['{"metric_name":"cpu","value":"1"}', 422],
      ['{"metric_name":"cpu","value":1,"treshold":2}', 422],
      ['{"metric_name":"cpu","value":1e999}', 422],
      ['{"metric_name":"cpu","value":NaN}', 400],
      ['{"metric_name":"cpu","value":1,"metadata":{"a":[1e400]}}', 422],
      ['{"metric_name":"cpu","value":1,"metadata":{"__proto__":{"x":1}}}', 422],
      ['{"metric_name":"cpu","value":1,"labels":{"half":"\\ud800"}}', 422],
      ['{"metric_name":"cpu","value":1,"labels":{"\\udc00\\ud800":"halves"}}', 422],
      ['{"metric_name":"cpu","value":1,"labels":{"whole":"\\ud83d\\ude00"}}', 200],
      ['{"metric_name":"cpu","value":1,"metadata":{"\\u005f_proto__":1}}', 422],
      ['{"__proto__":{"value":1},"metric_name":"cpu"}', 422],
      ['{"metric_name":"a\\u0000b","value":1}', 422],
      ['{"metric_name":"cpu","value":1,"metadata":{"a\\u0000":1}}', 422],
      ['{"metric_name":"cpu","value":1,"labels":{"a\\nb":3}}', 422],
      ['{"metric_name":"cpu","value":1,"parts":[{"size":1,"shape":2}]}', 422],
      ['{"metric_name":"","value":1}', 422],
      ['{"value":1}', 422],
      ['{"metric_name":"cpu","value":101}', 422],
      ['{"metric_name":"cpu","value":1,"kind":"three"}', 422],
      [`{"metric_name":"cpu","value":1,"metadata":{"a":${'['.repeat(21)}${']'.repeat(21)}}}`, 400],
      [`{"metric_name":"cpu","value":1,"metadata":{"a":"${'['.repeat(500)}"}}`, 200],
      [`${'['.repeat(45_000)}${']'.repeat(45_000)}`, 400],
      [`{"metric_name":"${'x'.repeat(100_000)}","value":1}`, 413],
    ].map(([raw, status]) => [String(raw).slice(0, 60), raw as string, status as number] as const),
  )('%s', async (_, raw, status) => {
    expect((await call('/things/a', { method: 'POST', raw })).status).toBe(status)
  })
  test('that are not UTF-8 are 400', async () => {
    expect((await call('/things/a', { method: 'POST', raw: Uint8Array.of(0x22, 0xff, 0x22) })).status).toBe(400)
  })
  test('of another type are 415, also without a type', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'gar bage']) {
      const answer = await call('/things/a', { method: 'POST', raw: '{}', headers: { 'content-type': type } })
      expect([type, answer.status]).toEqual([type, 415])
    }
    const utf8 = await post('/things/a', good, { headers: { 'content-type': 'application/json; charset=utf-8' } })
    expect(utf8.status).toBe(200)
  })
  test('may be packed, and are limited unpacked', async () => {
    const packed = gzipSync(JSON.stringify(good))
    const gzip = { 'content-encoding': 'gzip' }
    expect((await call('/things/a', { method: 'POST', raw: packed, headers: gzip })).status).toBe(200)
    const bomb = gzipSync(Buffer.alloc(50_000_000, 0x20))
    expect(bomb.length).toBeLessThan(100_000)
    expect((await call('/things/a', { method: 'POST', raw: bomb, headers: gzip })).status).toBe(413)
    expect((await call('/things/a', { method: 'POST', raw: '{}', headers: gzip })).status).toBe(400)
    const other = { 'content-encoding': 'lzma' }
    expect((await call('/things/a', { method: 'POST', raw: '{}', headers: other })).status).toBe(415)
    const nasty = { 'content-encoding': 'constructor' }
    expect((await call('/things/a', { method: 'POST', raw: '{}', headers: nasty })).status).toBe(415)
  })
  test('are not needed where there is nothing to say', async () => {
    expect((await call('/start', { method: 'POST' })).status).toBe(200)
    expect((await post('/start', {})).status).toBe(200)
    expect((await post('/start', { x: 1 })).status).toBe(422)
    expect((await call('/start', { method: 'POST', raw: '{' })).status).toBe(400)
    expect((await call('/start', { method: 'POST', headers: { 'content-type': 'text/plain' } })).status).toBe(200)
  })
  test('what was wrong is said field by field, in words', async () => {
    const body = { metric_nam: 'cpu', value: 'x', kind: 'three', parts: [{ size: 1.5 }] }
    const { json } = await post('/things/a', body)
    const said = Object.fromEntries(
      json.error.fields.map((f: { path: string; message: string }) => [f.path, f.message]),
    )
    expect(said).toEqual({
      metric_name: 'is required',
      metric_nam: 'is not known; did you mean "metric_name"?',
      value: 'expected a number',
      kind: 'expected "one" or "two"',
      'parts.0.size': 'expected a whole number',
    })
    expect((await post('/things/a', { ...good, value: 101 })).json.detail).toBe('value: must be at most 100')
    expect((await post('/things/a', { ...good, metric_name: '' })).json.detail).toContain('at least 1 characters')
  })
  test(`no body whatever is answered with 5xx (seed ${seed})`, async () => {
    const anything = fc.oneof(
      fc.json().map((raw) => raw as string),
      fc.string(),
      fc.uint8Array({ maxLength: 200 }),
      fc
        .record(
          {
            metric_name: fc.anything(),
            value: fc.oneof(fc.double(), fc.anything()),
            labels: fc.anything({ withNullPrototype: false }),
            metadata: fc.object({ maxDepth: 5 }),
            parts: fc.array(fc.anything()),
          },
          { requiredKeys: [] },
        )
        .map((value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? v.toString() : v)) ?? ''),
    )
    await fc.assert(
      fc.asyncProperty(anything, async (raw) => {
        const { status } = await call('/things/a', { method: 'POST', raw })
        expect([200, 400, 413, 422]).toContain(status)
      }),
      { seed, numRuns: 300 },
    )
  })
})

describe('headers', () => {
  test('If-Match is the version', async () => {
    for (const [header, version] of [
      ['3', 3],
      ['"4"', 4],
      ['W/"5"', 5],
      ['*', null],
    ] as const) {
      await post('/things/a', good, { headers: { 'if-match': header } })
      expect(seen.ifMatch).toBe(version)
    }
    expect((await post('/things/a', good, { headers: { 'if-match': '"x"' } })).status).toBe(400)
  })
  test('a claim is of the principal, and tells requests apart', async () => {
    const claimOf = async (path: string, body: unknown) => {
      await post(path, body, { headers: { 'idempotency-key': 'k1' } })
      return seen.claim!
    }
    const first = await claimOf('/things/a', good)
    expect(first).toEqual({ key: 'k1', principalId: 'id-operator', fingerprint: expect.any(String) })
    expect(await claimOf('/things/a', good)).toEqual(first)
    expect((await claimOf('/things/b', good)).fingerprint).not.toBe(first.fingerprint)
    expect((await claimOf('/things/a', { ...good, value: 2 })).fingerprint).not.toBe(first.fingerprint)
    for (const key of ['x'.repeat(256), 'a b', '\u00e9']) {
      expect((await post('/things/a', good, { headers: { 'idempotency-key': key } })).status).toBe(400)
    }
    await post('/things/a', good)
    expect(seen.claim).toBe(null)
  })
})

test('a handler hears that its client is gone', async () => {
  const client = new AbortController()
  seen.aborted = null
  const gone = fetch(`${url}/slow`, { signal: client.signal }).catch(() => 'gone')
  await new Promise((done) => setTimeout(done, 100))
  client.abort()
  expect(await gone).toBe('gone')
  await expect.poll(() => seen.aborted).toBe(true)

  seen.aborted = null
  const stays = fetch(`${url}/slow`)
  await new Promise((done) => setTimeout(done, 100))
  release()
  expect((await stays).status).toBe(200)
  expect(seen.aborted).toBe(false)
})

test('a body that breaks off is no fault of the platform', async () => {
  faults.length = 0
  for (const path of ['/things/a', '/foreign']) {
    const type = path === '/foreign' ? 'application/x-protobuf' : 'application/json'
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-operator\r\nContent-Type: ${type}\r\n`
    socket.write(`${head}Content-Length: 100\r\n\r\n{"metric_name":`)
    await new Promise((done) => setTimeout(done, 100))
    socket.destroy()
  }
  await new Promise((done) => setTimeout(done, 100))
  expect(faults).toEqual([])
  expect((await call('/fails/else', { token: null })).status).toBe(500)
  expect(faults).toEqual(['a request failed'])
})

test('what a room refuses in its own words is logged once a second, not once a request', async () => {
  faults.length = 0
  for (let i = 0; i < 20; i++) expect((await call('/fails/down', { token: null })).status).toBe(503)
  await expect.poll(() => faults).toContain('requests were refused')
  expect(faults.length).toBeLessThan(20)
})

test('too many requests of one token or address are 429, others go on', async () => {
  limits = { ...roomyLimits, perPrincipal: { perSecond: 0.5, burst: 3 }, perAddress: { perSecond: 0.5, burst: 2 } }
  try {
    const admin = { token: 'token-admin' }
    const statuses: number[] = []
    for (let i = 0; i < 5; i++) statuses.push((await call('/things', admin)).status)
    expect(statuses).toEqual([200, 200, 200, 429, 429])
    expect(Number((await call('/things', admin)).headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect((await call('/things', { token: 'token-viewer' })).status).toBe(200)
    // Samples are never refused so: their senders would lose them.
    const samples = { method: 'POST', raw: 'x', headers: { 'content-type': 'application/x-protobuf' } }
    for (let i = 0; i < 5; i++) expect((await call('/foreign', { ...admin, ...samples })).status).toBe(200)
    // Guessing tokens spends the address; each address has its own.
    const guess = (from: string) => call('/things', { token: 'guess', headers: { 'x-forwarded-for': from } })
    expect([(await guess('10.0.0.1')).status, (await guess('10.0.0.1')).status]).toEqual([401, 401])
    expect((await guess('10.0.0.1')).status).toBe(429)
    expect((await guess('10.0.0.2')).status).toBe(401)
  } finally {
    limits = roomyLimits
  }
})

describe.each(['/foreign', '/direct'])('foreign routes: %s', (path) => {
  const send = (more: Sent) => call(`${path}?a=1`, { method: 'POST', ...more })
  const proto = { 'content-type': 'application/x-protobuf' }
  test('get bytes and shape their errors', async () => {
    expect((await send({ raw: Uint8Array.of(1, 2, 3), headers: proto })).text).toBe('3 1')
    expect((await send({ headers: proto })).text).toBe('foreign: empty')
    expect((await send({ raw: new Uint8Array(1001), headers: proto })).text).toBe('foreign: body_too_large')
    expect((await send({ raw: '{}' })).text).toBe('foreign: unsupported_media_type')
    expect((await send({ raw: '{}', token: null })).text).toBe('foreign: not_authenticated')
  })
})

describe('sockets', () => {
  // Node's WebSocket takes headers, the browser's type does not say so.
  const NodeSocket = WebSocket as unknown as new (at: string, options: object) => WebSocket
  const open = (path: string, headers: Record<string, string> = {}) =>
    new NodeSocket(url.replace('http', 'ws') + path, { headers })
  const token = (role: string) => ({ authorization: `Bearer token-${role}` })
  const closed = (socket: WebSocket) =>
    new Promise<number>((done) => socket.addEventListener('close', (e) => done(e.code)))
  const message = (socket: WebSocket) =>
    new Promise<string>((done) => socket.addEventListener('message', (e) => done(String(e.data)), { once: true }))

  test('are closed before the room sees them when they may not be', async () => {
    expect(await closed(open('/ws'))).toBe(4401)
    expect(await closed(open('/ws', { authorization: 'Bearer wrong' }))).toBe(4401)
    expect(await closed(open('/ws?ticket=wrong'))).toBe(4401)
    expect(await closed(open('/ws', token('viewer')))).toBe(4403)
    const cookie = { cookie: `om_session_${new URL(url).port}=session-operator` }
    expect(await closed(open('/ws', { ...cookie, origin: 'http://evil.example' }))).toBe(4403)
    expect(await closed(open('/ws', cookie))).toBe(4403)
  })
  test('open with a token, a cookie of the same origin, or a ticket, once', async () => {
    const { host } = new URL(url)
    const byCookie = open('/ws', {
      cookie: `om_session_${new URL(url).port}=session-operator`,
      origin: `http://${host}`,
    })
    expect(JSON.parse(await message(byCookie)).who).toBe('operator')
    byCookie.close()
    const { ticket } = (await post('/ticket', {}, { token: 'token-admin' })).json.data
    const byTicket = open(`/ws?ticket=${ticket}&range=1h`)
    const hello = JSON.parse(await message(byTicket))
    expect(hello.who).toBe('admin')
    expect(hello.url).not.toContain(ticket)
    expect(hello.url).toContain('range=1h')
    expect(await closed(open(`/ws?ticket=${ticket}`))).toBe(4401)
    byTicket.send('hello')
    expect(await message(byTicket)).toBe('hello')
    byTicket.send('')
    expect(await closed(byTicket)).toBe(1011)
    expect((await call('/things')).status).toBe(200)
  })
  test('more than the limit are closed with 1013', async () => {
    const three = [1, 2, 3].map(() => open('/ws', token('operator')))
    await Promise.all(three.map(message))
    expect(await closed(open('/ws', token('operator')))).toBe(1013)
    for (const socket of three) socket.close()
    await Promise.all(three.map(closed))
  })
  test('end when their token is revoked', async () => {
    const socket = open('/ws', token('admin'))
    await message(socket)
    revoked.add('credential-admin')
    expect(await closed(socket)).toBe(4401)
    revoked.clear()
  })
  test('a plain request is told to upgrade', async () => {
    expect((await call('/ws')).status).toBe(426)
  })
})

test('OpenAPI tells each route, its role and its schemas', async () => {
  const { json } = await call('/api/v1/openapi.json')
  expect(json.openapi).toBe('3.1.0')
  expect(Object.keys(json.paths).sort()).toEqual([
    '/api/v1/openapi.json',
    '/direct',
    '/fails/{how}',
    '/foreign',
    '/open',
    '/slow',
    '/start',
    '/things',
    '/things/{id}',
    '/ticket',
    '/ws',
  ])
  const { post: operation } = json.paths['/things/{id}']
  expect(operation['x-role']).toBe('operator')
  expect(operation.requestBody.content['application/json'].schema.additionalProperties).toBe(false)
  expect(operation.requestBody.content['application/json'].schema.required).toEqual(['metric_name', 'value'])
  expect(operation.parameters.map((p: { name: string }) => p.name)).toEqual(['id', 'Idempotency-Key'])
  expect(json.paths['/things'].get.parameters[0]).toMatchObject({ name: 'limit', in: 'query', required: false })
})
