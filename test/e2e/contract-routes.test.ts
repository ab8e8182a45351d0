/**
 * The contract's checklist 2 and 3 over every route that the running platform publishes: no token 401, too small a role
 * 403, unknown id 404, wrong type and unknown field 422, malformed JSON 400, nothing 5xx; and every answer fits the
 * published schema. A route that is added later is tested without a change here.
 */
import fc from 'fast-check'
import { Compile } from 'typebox/schema'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Platform } from '../support/platform.ts'
import { startPlatform } from '../support/platform.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))

type Schema = { readonly [keyword: string]: unknown }
interface Operation {
  readonly method: string
  readonly path: string
  readonly role: string
  readonly foreign: boolean
  readonly socket: boolean
  /** Its body may also be a form. */
  readonly form: boolean
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: Schema }[]
  readonly body: Schema | undefined
  readonly responses: Readonly<Record<string, { content?: { 'application/json'?: { schema: Schema } } }>>
}

let platform: Platform
const operations: Operation[] = []
let error: ReturnType<typeof Compile>
const tokens: Record<string, string> = {}

beforeAll(async () => {
  const main = process.env.OM_TEST_MAIN
  platform = await startPlatform({ ...(main ? { main } : {}), env: { SLACK_WEBHOOK_URL: 'https://hooks.example/x' } })
  const { json: document } = await platform.request('GET', '/api/v1/openapi.json')
  error = Compile(document.components.schemas.Error)
  for (const [path, methods] of Object.entries<Record<string, Schema>>(document.paths)) {
    for (const [method, operation] of Object.entries<Schema>(methods)) {
      const responses = operation.responses as Operation['responses']
      const body = operation.requestBody as { content: { 'application/json'?: { schema: Schema } } } | undefined
      operations.push({
        method: method.toUpperCase(),
        path,
        role: operation['x-role'] as string,
        foreign: 'default' in responses,
        socket: '101' in responses,
        parameters: (operation.parameters ?? []) as Operation['parameters'],
        form: Object.hasOwn(body?.content ?? {}, 'application/x-www-form-urlencoded'),
        body: body?.content['application/json']?.schema,
        responses,
      })
    }
  }
  for (const role of ['viewer', 'operator', 'admin']) {
    tokens[role] = (await platform.request('POST', '/api/v1/tokens', { name: role, role })).json.data.token
  }
  const trader = { username: 'trader', password: 'Korrekt.Pferd' }
  await platform.request('POST', '/api/v1/auth/register', { ...trader, email: 'trader@example.org' })
  tokens.trader = (await platform.request('POST', '/api/v1/auth/login', trader)).json.data.access_token
})
afterAll(() => platform?.remove())

interface Sent {
  readonly token?: string | null
  readonly text?: string | Uint8Array
  readonly query?: string
  readonly headers?: Record<string, string>
}

/** Sends, and checks what holds for every answer of every route. */
async function send(
  operation: Operation,
  { token = tokens[operation.role === 'trader' ? 'trader' : 'admin']!, text, query = '', headers = {} }: Sent = {},
) {
  const path = operation.path.replace(/\{\w+\}/g, 'no-such-thing')
  const response = await fetch(platform.url + path + query, {
    method: operation.method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(text === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(text === undefined ? {} : { body: text as string }),
    redirect: 'manual',
  })
  const answer = await response.text()
  const name = `${operation.method} ${path}${query} ${response.status} ${answer.slice(0, 300)}`
  expect(response.status, name).toBeLessThan(500)
  expect(response.headers.get('x-request-id'), name).toBeTruthy()
  if (operation.foreign || operation.socket) return { status: response.status, answer, name }
  expect(response.headers.get('content-type'), name).toContain('application/json')
  const json = JSON.parse(answer)
  if (response.status >= 400) {
    expect(error.Errors(json)[1], name).toEqual([])
    expect(Object.keys(operation.responses), name).toContain(String(response.status))
  } else {
    const schema = operation.responses[response.status]?.content?.['application/json']?.schema
    expect(schema, `${name}: a status that is not published`).toBeDefined()
    expect(Compile(schema!).Errors(json)[1], name).toEqual([])
  }
  return { status: response.status, answer, name, json }
}

const lower: Readonly<Record<string, string>> = {
  admin: 'operator',
  operator: 'viewer',
  trader: 'admin',
  trader_or_admin: 'operator',
  viewer: 'trader',
}
const own = () => operations.filter((o) => !o.foreign && !o.socket)
const writes = () => own().filter((o) => o.method !== 'GET')
const withBody = () => own().filter((o) => o.body !== undefined)
/** Ends what later tests need. */
const isLogout = (o: Operation) =>
  (o.method === 'DELETE' && o.path === '/api/v1/session') || o.path === '/api/v1/auth/logout'

test('every name in a path is a parameter of it, and none is told twice', () => {
  for (const { method, path, parameters } of operations) {
    const names = [...path.matchAll(/\{(\w+)\}/g)].map((found) => found[1])
    const inPath = parameters.filter((one) => one.in === 'path').map((one) => one.name)
    expect(inPath, `${method} ${path}`).toEqual(names)
    const all = parameters.map((one) => `${one.in} ${one.name}`)
    expect(new Set(all).size, `${method} ${path}`).toBe(all.length)
  }
})

test('the document lists what there is', () => {
  expect(own().length).toBeGreaterThan(10)
  const paths = operations.map((o) => o.path)
  for (const path of ['/health', '/ready', '/metrics', '/api/v1/openapi.json', '/api/v1/config', '/api/v1/tokens']) {
    expect(paths).toContain(path)
  }
})

test('every /api route needs a token but log-in, registration and the market for everybody to read', () => {
  const open = operations.filter((o) => o.role === 'open' && o.path.startsWith('/api/'))
  // The page's HTML shell holds no data.
  const named = open.map((o) => `${o.method} ${o.path}`).filter((o) => !o.includes('/dashboard/advanced'))
  expect(named.filter((o) => o.startsWith('GET ')).sort()).toEqual([
    'GET /api/v1/leaderboard/calibration',
    'GET /api/v1/leaderboard/markets',
    'GET /api/v1/leaderboard/traders',
    'GET /api/v1/leaderboard/volume',
    'GET /api/v1/leaderboard/win-rate',
    'GET /api/v1/markets',
    'GET /api/v1/markets/stats',
    'GET /api/v1/markets/trending',
    'GET /api/v1/markets/{id}',
    'GET /api/v1/markets/{id}/disputes',
    'GET /api/v1/markets/{id}/price-history',
    'GET /api/v1/markets/{id}/quote',
    'GET /api/v1/orders/market/{id}/orderbook',
    'GET /api/v1/trades',
    'GET /api/v1/trades/{id}',
    'GET /api/v1/users/{id}',
  ])
  expect(named.filter((o) => !o.startsWith('GET ')).sort()).toEqual([
    'POST /api/v1/auth/login',
    'POST /api/v1/auth/refresh',
    'POST /api/v1/auth/register',
    'POST /api/v1/session',
  ])
})

test('no token and a wrong token are 401, with WWW-Authenticate', async () => {
  for (const operation of operations.filter((o) => o.role !== 'open' && !o.socket)) {
    for (const token of [null, 'om_wrong']) {
      const { status, name } = await send(operation, { token, ...(operation.method === 'GET' ? {} : { text: '{' }) })
      expect(status, name).toBe(401)
    }
  }
})

test('too small a role is 403, before anything of the request is looked at', async () => {
  for (const operation of operations.filter((o) => lower[o.role] && !o.socket)) {
    const text = operation.method === 'GET' ? {} : { text: '{' }
    const { status, name } = await send(operation, { token: tokens[lower[operation.role]!]!, ...text })
    expect(status, name).toBe(403)
  }
})

test('malformed JSON is 400, another media type 415', async () => {
  for (const operation of writes()) {
    if (isLogout(operation)) continue
    const broken = await send(operation, { text: '{"a":' })
    expect(broken.status, broken.name).toBe(400)
    const form = await send(operation, {
      text: 'a=1',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    })
    expect(form.status, form.name).toBe(operation.form ? 422 : 415)
    if (operation.body) {
      const nested = await send(operation, { text: `${'['.repeat(50_000)}${']'.repeat(50_000)}` })
      expect(nested.status, nested.name).toBe(400)
    }
  }
})

test('an unknown field is 422, and so is each field of a wrong type', async () => {
  for (const operation of writes()) {
    if (isLogout(operation)) continue
    if (operation.body === undefined) {
      const { status, name } = await send(operation, { text: '{"no_such_field":1}' })
      expect(status, name).toBe(422)
      continue
    }
    const body = sample(operation.body)
    if (operation.body.type !== 'object') {
      const { status, name } = await send(operation, { text: '{}' })
      expect(status, name).toBe(422)
      continue
    }
    const known = body as Record<string, unknown>
    const unknown = await send(operation, { text: JSON.stringify({ ...known, no_such_field: 1 }) })
    expect(unknown.status, unknown.name).toBe(422)
    expect(unknown.json.error.fields.map((f: { path: string }) => f.path)).toContain('no_such_field')
    for (const [field, schema] of Object.entries((operation.body.properties ?? {}) as Record<string, Schema>)) {
      const wrong = schema.type === 'object' || schema.type === 'array' ? 7 : { an: ['object'] }
      if (Object.keys(schema).filter((k) => k !== 'description').length === 0) continue // takes anything
      const { status, name, json } = await send(operation, { text: JSON.stringify({ ...known, [field]: wrong }) })
      expect(status, name).toBe(422)
      expect(
        json.error.fields.some((f: { path: string }) => f.path.startsWith(field)),
        name,
      ).toBe(true)
    }
    for (const field of (operation.body.required ?? []) as string[]) {
      const { [field]: _, ...rest } = known
      const { status, name } = await send(operation, { text: JSON.stringify(rest) })
      expect(status, name).toBe(422)
    }
  }
})

test('an unknown id is 404', async () => {
  for (const operation of own().filter((o) => o.path.includes('{'))) {
    const text = operation.body ? { text: JSON.stringify(sample(operation.body)) } : {}
    const needed = operation.parameters.filter((p) => p.in === 'query' && p.required)
    const query = `?${needed.map((p) => `${p.name}=${sample(p.schema)}`).join('&')}`
    const { status, name } = await send(operation, { ...text, ...(needed.length > 0 ? { query } : {}) })
    expect(status, name).toBe(404)
  }
})

test('parameters: unknown 422, unreadable 400, out of range 422, twice 400', async () => {
  for (const operation of own().filter((o) => o.method === 'GET' && !o.path.includes('{'))) {
    const parameters = operation.parameters.filter((p) => p.in === 'query')
    const needed = parameters
      .filter((p) => p.required)
      .map((p) => `${p.name}=${encodeURIComponent(String(sample(p.schema)))}`)
    const ask = (more: string) => send(operation, { query: `?${[...needed, more].join('&')}` })
    const plain = await send(operation, { query: needed.length > 0 ? `?${needed.join('&')}` : '' })
    expect(plain.status, plain.name).toBe(200)
    const unknown = await ask('no_such_parameter=1')
    expect(unknown.status, unknown.name).toBe(422)
    for (const { name, schema, required } of parameters) {
      if (required || (schema.type !== 'integer' && schema.type !== 'number')) continue
      expect((await ask(`${name}=abc`)).status, `${operation.path} ${name}`).toBe(400)
      expect((await ask(`${name}=1&${name}=2`)).status, `${operation.path} ${name}`).toBe(400)
      if (typeof schema.minimum === 'number') {
        expect((await ask(`${name}=${schema.minimum - 1}`)).status, `${operation.path} ${name}`).toBe(422)
      }
    }
  }
})

test('a body that is too large is 413', async () => {
  const operation = operations.find((o) => o.path === '/api/v1/tokens' && o.method === 'POST')!
  const { status } = await send(operation, { text: JSON.stringify({ name: 'x'.repeat(2_000_000), role: 'viewer' }) })
  expect(status).toBe(413)
})

test(`nothing that anybody sends is answered with 5xx (seed ${seed})`, { timeout: 120_000 }, async () => {
  const targets = operations.filter((o) => o.method !== 'GET' && !o.socket && !isLogout(o))
  // Of all fields that any route knows, so that bodies get past the first look.
  const fields = [...new Set(withBody().flatMap((o) => Object.keys((o.body!.properties ?? {}) as object)))]
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom(
      -1,
      0,
      1e300,
      '',
      'admin',
      '***',
      '../..',
      '\u0000',
      'x'.repeat(5000),
      '2026-01-01T00:00:00Z',
      [[]],
      {},
    ),
  )
  const body = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 8 }).map((o) => JSON.stringify(o)),
    },
    {
      weight: 1,
      arbitrary: fc
        .array(fc.dictionary(fc.constantFrom(...fields), value), { maxLength: 4 })
        .map((o) => JSON.stringify(o)),
    },
    { weight: 1, arbitrary: fc.json() },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) },
  )
  const type = fc.constantFrom(
    'application/json',
    'application/json',
    'application/json',
    'application/x-protobuf',
    'text/plain',
    '',
  )
  const encoding = fc.constantFrom(undefined, undefined, undefined, 'gzip', 'snappy', 'zstd', 'x')
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...targets),
      body,
      type,
      encoding,
      async (operation, text, contentType, packed) => {
        const headers = { 'content-type': contentType, ...(packed ? { 'content-encoding': packed } : {}) }
        await send(operation, { text, headers })
      },
    ),
    { seed, numRuns: 600 },
  )
  expect((await platform.request('GET', '/ready')).status).toBe(200)
})

describe('addresses', () => {
  test.each([
    '/nowhere',
    '/api/v1/../../etc/passwd',
    '/api/v1/tokens/%2e%2e',
    '/api/v1/tokens/%00',
    '/%ff',
    '/api/v1/config?%',
    '/api/v1/audit?cursor=%00',
    `/${'a'.repeat(5000)}`,
    '/api/v1/tokens/constructor',
    '/__proto__',
  ])('%s is harmless', async (path) => {
    const answer = await platform.request('GET', path)
    expect(answer.status).toBeLessThan(500)
    if (answer.status >= 400 && answer.json) expect(error.Check(answer.json)).toBe(true)
  })
  test('methods that a path does not know are 404, in the one shape', async () => {
    for (const method of ['PATCH', 'OPTIONS', 'POST']) {
      const answer = await platform.request(method, '/api/v1/config')
      expect([method, answer.status, answer.json?.error?.code]).toEqual([method, 404, 'route_not_found'])
    }
  })
})

/** A value that fits the schema, as small as may be. */
function sample(schema: Schema): unknown {
  if (schema.default !== undefined) return schema.default
  if ('const' in schema) return schema.const
  if (Array.isArray(schema.enum)) return schema.enum[0]
  if (Array.isArray(schema.anyOf)) return sample(schema.anyOf[0] as Schema)
  if (schema.type === 'object') {
    const properties = (schema.properties ?? {}) as Record<string, Schema>
    const required = (schema.required ?? []) as string[]
    if (required.length === 0 && typeof schema.minProperties === 'number') return { 'log.level': 'info' }
    return Object.fromEntries(required.map((name) => [name, sample(properties[name]!)]))
  }
  if (schema.type === 'array')
    return Array.from({ length: (schema.minItems as number | undefined) ?? 0 }, () => sample(schema.items as Schema))
  if (schema.type === 'integer' || schema.type === 'number') {
    return schema.minimum ?? (typeof schema.exclusiveMinimum === 'number' ? schema.exclusiveMinimum + 0.5 : 0)
  }
  if (schema.type === 'boolean') return false
  if (schema.type === 'string')
    return schema.format === 'date-time'
      ? '2026-01-01T00:00:00Z'
      : 'a'.repeat(Math.max(1, Number(schema.minLength ?? 1)))
  return null
}
