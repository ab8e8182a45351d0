/**
 * The market on the running platform: processes really killed under trades, instances wanted by scaling, series in the
 * store, a market that resolves itself from them, and every route called as somebody who may not.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Answer, Platform } from '../support/platform.ts'
import { eventually, startPlatform } from '../support/platform.ts'

let platform: Platform
let alice: Trader
let bob: Trader

interface Trader {
  readonly id: string
  readonly token: string
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
}

const env = { IDENTITY_REGISTRATIONS: '10000', MARKET_DISPUTE_WINDOW: '0', COLLECT_INTERVAL: '1' }

async function trader(name: string): Promise<Trader> {
  const account = { username: name, password: 'Korrekt.Pferd' }
  const made = await platform.request('POST', '/api/v1/auth/register', { ...account, email: `${name}@example.org` })
  if (made.status !== 201 && made.status !== 409) throw new Error(made.text)
  const { data } = (await platform.request('POST', '/api/v1/auth/login', account)).json
  const own = { authorization: `Bearer ${data.access_token}` }
  const ask: Trader['ask'] = (method, path, body, headers = {}) =>
    platform.request(method, `/api/v1${path}`, body, { ...own, ...headers })
  return { id: (await ask('GET', '/users/me')).json.data.id, token: data.access_token, ask }
}

async function openMarket(creator: Trader, more: object = {}): Promise<string> {
  const made = await creator.ask('POST', '/markets', {
    title: 'Rain',
    question: 'Will it rain?',
    outcome_a: 'Yes',
    outcome_b: 'No',
    category: 'weather',
    closes_at: '2099-01-01T00:00:00Z',
    total_liquidity: 100,
    ...more,
  })
  if (made.status !== 201) throw new Error(made.text)
  return made.json.data.id
}

const pidOf = (kind: string) => platform.processes().find((p) => p.kind === kind)!.pid
const money = (text: string) => Math.round(Number(text) * 1e6)
const balance = async (who: Trader) => money((await who.ask('GET', '/users/me')).json.data.available_balance)

beforeAll(async () => {
  platform = await startPlatform({ env })
  alice = await trader('alice')
  bob = await trader('bob')
})
afterAll(() => platform?.remove())

describe('a process that is killed while people trade', () => {
  /**
   * Trades with a key each, repeated until answered, as a careful client does; then every trade that was answered is there
   * once, and the balance is what the answers say.
   */
  async function tradesAround(kill: () => void) {
    const who = await trader(`t${Math.random().toString(36).slice(2, 12)}`)
    const id = await openMarket(alice.id === who.id ? bob : who, { total_liquidity: 100 })
    const before = await balance(who)
    const done = new Map<string, { total_value: string; id: string }>()
    const worker = async (n: number) => {
      for (let i = 0; i < 12; i++) {
        const key = `k-${n}-${i}`
        for (let tries = 0; !done.has(key); tries++) {
          if (tries > 100) throw new Error(`${key} was never answered`)
          const body = { market_id: id, trade_type: 'buy', outcome: n % 2 ? 'outcome_a' : 'outcome_b', amount: 1 }
          const answer = await who.ask('POST', '/trades', body, { 'idempotency-key': key }).catch(() => null)
          if (answer?.status === 201) done.set(key, answer.json.data)
          else if (answer && answer.status < 500) throw new Error(answer.text)
          else await new Promise((resolve) => setTimeout(resolve, 50))
        }
        if (n === 0 && i === 4) kill()
      }
    }
    await Promise.all([0, 1, 2, 3].map(worker))
    const { total, trades } = (await who.ask('GET', `/trades?market_id=${id}&limit=100`)).json.data
    expect(total).toBe(48)
    const ids = [...done.values()].map((trade) => trade.id)
    expect(new Set(ids)).toEqual(new Set(trades.map((t: { id: string }) => t.id)))
    expect(new Set(ids).size).toBe(48)
    const paid = [...done.values()].reduce((sum, trade) => sum + money(trade.total_value), 0)
    expect(before - (await balance(who))).toBe(paid)
  }

  test.each(['instance', 'market-writer', 'control'])(
    '%s: nothing answered is lost, nothing is doubled',
    async (kind) => {
      const others = platform.processes().filter((p) => p.kind !== kind)
      const pid = pidOf(kind)
      await tradesAround(() => process.kill(pid, 'SIGKILL'))
      await eventually(
        async () => platform.processes(),
        (all) => all.some((p) => p.kind === kind && p.pid !== pid),
      )
      const now = platform.processes().map((p) => p.pid)
      for (const other of others) expect(now).toContain(other.pid)
      await eventually(
        () => platform.request('GET', '/ready'),
        ({ status }) => status === 200,
      )
    },
  )

  test('the whole tree: what was answered is there when it is started again', async () => {
    const id = await openMarket(await trader('tree'))
    const answered: string[] = []
    const load = (async () => {
      for (let i = 0; i < 500; i++) {
        const body = { market_id: id, trade_type: 'buy', outcome: 'outcome_a', amount: 1 }
        const answer = await bob.ask('POST', '/trades', body).catch(() => null)
        if (answer?.status !== 201) return
        answered.push(answer.json.data.id)
      }
    })()
    while (answered.length < 20) await new Promise((resolve) => setTimeout(resolve, 5))
    await platform.kill()
    await load
    platform = await startPlatform({ env, dir: platform.dir })
    // Sessions outlive it too.
    const own = { authorization: `Bearer ${bob.token}` }
    bob = {
      ...bob,
      ask: (method, path, body, headers = {}) =>
        platform.request(method, `/api/v1${path}`, body, { ...own, ...headers }),
    }
    alice = await trader('alice')
    for (const trade of answered) expect((await bob.ask('GET', `/trades/${trade}`)).status).toBe(200)
  })
})

test('an instance that hangs holds up nothing of control, and goes on when it can', async () => {
  const pid = pidOf('instance')
  process.kill(pid, 'SIGSTOP')
  try {
    const waiting = platform.request('GET', '/api/v1/markets')
    const point = { metric_name: 'while_it_hangs', value: 1 }
    for (let i = 0; i < 20; i++) {
      expect((await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', point)).status).toBe(200)
      expect((await platform.request('GET', '/metrics')).status).toBe(200)
    }
    // Longer than control waits for what an instance measures: the others are still measured.
    await eventually(
      () => platform.request('GET', '/metrics'),
      ({ text }) => !text.includes('process="instance-1"') && text.includes('process="market-writer"'),
    )
    process.kill(pid, 'SIGCONT')
    expect((await waiting).status).toBe(200)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
})

test('what the market does is in the store, as series of the platform', async () => {
  const id = await openMarket(alice)
  const trade = async (type: 'buy' | 'sell') => {
    const body = { market_id: id, trade_type: type, outcome: 'outcome_a', amount: 1 }
    expect((await bob.ask('POST', '/trades', body)).status).toBe(201)
  }
  await trade('buy')
  /**
   * What happened before a process was first asked, or asked again after it was silent, is in no rate: people go on until
   * a collection has seen them.
   */
  const goOn = async () => {
    await trade('buy')
    await trade('sell')
    for (let i = 0; i < 5; i++) await platform.request('GET', `/api/v1/markets/${id}`)
  }
  const value = async (query: string) => {
    const answer = await platform.request('GET', `/api/v1/query?query=${encodeURIComponent(query)}`)
    return answer.json.data?.result?.[0]?.value?.[1] as string | undefined
  }
  for (const query of [
    'cache_hit_rate{service="opinion-market"}',
    'cache_entry_count{service="opinion-market"} > 0',
    'cache_memory_usage{service="opinion-market"} > 0',
    'database_transaction_rate{service="opinion-market"}',
    'max_over_time(database_query_time{service="opinion-market"}[1m]) > 0',
    'sum(market_trades_total{service="opinion-market"}) > 0',
    'sum(market_volume_total{service="opinion-market"}) > 0',
    'market_active_traders{service="opinion-market",window="5m"} > 0',
    'market_active_traders{service="opinion-market",window="24h"} > 0',
    'market_open_interest{service="opinion-market"} > 0',
    'market_ledger_imbalance{service="opinion-market"} == 0',
    'process_resident_memory_bytes{process="instance-1"} > 0',
  ]) {
    await eventually(
      async () => {
        await goOn()
        return value(query)
      },
      (found) => found !== undefined,
      30_000,
    )
  }
  // A process that was slow to answer is left out of one look.
  await eventually(
    () => platform.request('GET', '/metrics'),
    ({ text }) =>
      /^market_cache_hits\{process="instance-1"\} \d+/m.test(text) &&
      /^market_trades_total\{process="market-writer"\} \d+/m.test(text),
    30_000,
  )
  await eventually(
    () => platform.request('GET', '/health'),
    ({ json }) => json.services.market.status === 'healthy',
    30_000,
  )
})

test('a market bound to samples closes, asks them, and pays by itself; without samples it is void', async () => {
  const at = Date.now() + 2_500
  const when = new Date(at).toISOString()
  const bound = (expr: string) =>
    openMarket(alice, { closes_at: when, binding: { expr, comparison: 'gte', threshold: 7, at: when } })
  const [yes, nothing] = [await bound('max_over_time(rainfall[1h])'), await bound('no_such_series')]
  const point = { metric_name: 'rainfall', value: 9.5 }
  expect((await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', point)).status).toBe(200)
  const before = await balance(bob)
  const bet = await bob.ask('POST', '/trades', { market_id: yes, trade_type: 'buy', outcome: 'outcome_a', amount: 4 })
  expect(bet.status).toBe(201)
  // Its creator has no say.
  await eventually(
    () => alice.ask('GET', `/markets/${yes}`),
    ({ json }) => json.data.status !== 'open',
  )
  const own = await alice.ask('POST', `/markets/${yes}/resolve`, { outcome: 'outcome_b', resolution_source: 'me' })
  expect(own.status).toBe(403)
  process.kill(pidOf('control'), 'SIGKILL')
  const market = await eventually(
    async () => (await bob.ask('GET', `/markets/${yes}`)).json.data,
    (data) => data.status === 'resolved',
    60_000,
  )
  expect(market).toMatchObject({ resolved_outcome: 'outcome_a', resolution_source: expect.stringContaining('9.5') })
  expect(await balance(bob)).toBe(before - money(bet.json.data.total_value) + 4_000_000)
  const void_ = await eventually(
    async () => (await bob.ask('GET', `/markets/${nothing}`)).json.data,
    (data) => data.status === 'resolved',
    60_000,
  )
  expect(void_).toMatchObject({ resolved_outcome: 'void', resolution_source: expect.stringContaining('no samples') })
})

test('races of selling, cancelling and resolving: one payout each, nothing from nothing', async () => {
  const people = await Promise.all(Array.from({ length: 4 }, (_, i) => trader(`racer_${i}`)))
  const start = await Promise.all(people.map(balance))
  const creator = await trader('race_creator')
  const all = start.reduce((sum, one) => sum + one, 0) + (await balance(creator))
  for (let round = 0; round < 5; round++) {
    const id = await openMarket(creator, { fee_rate: 0 })
    const orders: { who: Trader; id: string }[] = []
    for (const who of people) {
      await who.ask('POST', '/trades', { market_id: id, trade_type: 'buy', outcome: 'outcome_a', amount: 10 })
      const order = {
        market_id: id,
        order_type: 'limit',
        side: 'sell',
        outcome: 'outcome_a',
        original_amount: 5,
        limit_price: 0.9,
      }
      orders.push({ who, id: (await who.ask('POST', '/orders', order)).json.data.id })
    }
    await creator.ask('POST', `/markets/${id}/close`)
    const answers = await Promise.all([
      ...orders.map(({ who, id: order }) => who.ask('POST', `/orders/${order}/cancel`)),
      ...people.map((who) =>
        who.ask('POST', '/trades', { market_id: id, trade_type: 'sell', outcome: 'outcome_a', amount: 10 }),
      ),
      ...[0, 1, 2].map(() =>
        creator.ask('POST', `/markets/${id}/resolve`, { outcome: 'outcome_a', resolution_source: 'dice' }),
      ),
      platform.request('POST', `/api/v1/markets/${id}/resolve`, { outcome: 'void', resolution_source: 'admin' }),
    ])
    for (const { status, text } of answers) expect([200, 201, 409], text).toContain(status)
    expect(answers.slice(-4).filter(({ status }) => status === 200)).toHaveLength(1)
  }
  await eventually(
    async () => (await Promise.all([...people, creator].map(balance))).reduce((sum, one) => sum + one, 0),
    // Rounding goes to the house: some millionths, never more than there was.
    (now) => now <= all && now > all - 1_000,
  )
  const imbalance = (await platform.request('GET', '/metrics')).text
  expect(imbalance).toMatch(/^market_ledger_imbalance\{process="market-writer"\} 0$/m)
})

describe('every route of the market and of accounts', () => {
  interface Route {
    readonly method: string
    readonly path: string
    readonly role: string
    readonly body: unknown
  }
  let routes: Route[] = []
  /** Ids of things that are alice's. */
  const own: Record<string, string> = {}
  beforeAll(async () => {
    const document = (await platform.request('GET', '/api/v1/openapi.json')).json
    const market = /^\/api\/v1\/(auth|users|markets|trades|orders|positions|leaderboard)\b/
    routes = Object.entries<Record<string, Record<string, unknown>>>(document.paths).flatMap(([path, methods]) =>
      market.test(path)
        ? Object.entries(methods).map(([method, operation]) => ({
            method: method.toUpperCase(),
            path,
            role: String(operation['x-role']),
            body: bodies[`${method.toUpperCase()} ${path.slice(7)}`] ?? {},
          }))
        : [],
    )
    own.market = await openMarket(alice)
    await alice.ask('POST', '/trades', { market_id: own.market, trade_type: 'buy', outcome: 'outcome_a', amount: 5 })
    const order = { order_type: 'limit', side: 'buy', outcome: 'outcome_b', original_amount: 5, limit_price: 0.1 }
    own.order = (await alice.ask('POST', '/orders', { market_id: own.market, ...order })).json.data.id
    own.position = (await alice.ask('GET', '/positions?limit=100')).json.data.positions[0].id
    for (const [name, id] of Object.entries(own)) expect([name, id]).toEqual([name, expect.any(String)])
  })
  const bodies: Record<string, unknown> = {
    'PUT /markets/{id}': { title: 'Mine now' },
    'POST /markets/{id}/resolve': { outcome: 'outcome_a', resolution_source: 'me' },
    'POST /markets/{id}/suspend': { suspended: true },
    'POST /markets/{id}/decide-disputes': { outcome: 'outcome_a', note: 'me' },
    'POST /markets/{id}/disputes': { dispute_type: 'wrong', reason: 'It was otherwise.' },
    'PUT /orders/{id}': { limit_price: 0.9 },
  }
  const real = (path: string) => {
    const id = path.includes('/orders/{id}') ? own.order : path.includes('/positions/') ? own.position : own.market
    return path.replace('{id}', id!)
  }
  const call = (route: Route, token: string | null) =>
    fetch(platform.url + real(route.path), {
      method: route.method,
      headers: {
        'content-type': 'application/json',
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(route.method === 'GET' ? {} : { body: JSON.stringify(route.body) }),
    })

  test('as nobody, and with a token that is none: 401, unless it is for everybody to read', async () => {
    expect(routes.length).toBeGreaterThan(35)
    for (const route of routes.filter(({ role }) => role !== 'open')) {
      for (const token of [null, 'omt_wrong', 'omr_wrong', alice.token.slice(0, -1)]) {
        const { status } = await call(route, token)
        expect([route.method, route.path, status]).toEqual([route.method, route.path, 401])
      }
    }
  })

  test('as a viewer or operator of the platform: 403', async () => {
    for (const role of ['viewer', 'operator']) {
      const made = await platform.request('POST', '/api/v1/tokens', { name: `market ${role}`, role })
      for (const route of routes.filter(({ role }) => role !== 'open')) {
        const { status } = await call(route, made.json.data.token)
        expect([role, route.method, route.path, status]).toEqual([role, route.method, route.path, 403])
      }
    }
  })

  test('as another trader: what is not theirs stays as it is', async () => {
    const before = await Promise.all([
      alice.ask('GET', `/orders/${own.order}`),
      alice.ask('GET', `/positions/${own.position}`),
      alice.ask('GET', `/markets/${own.market}`),
    ])
    for (const route of routes.filter((r) => r.path.includes('{id}') && r.role !== 'open')) {
      const { status } = await call(route, bob.token)
      expect([route.method, route.path, [403, 404, 409].includes(status)]).toEqual([route.method, route.path, true])
    }
    const after = await Promise.all([
      alice.ask('GET', `/orders/${own.order}`),
      alice.ask('GET', `/positions/${own.position}`),
      alice.ask('GET', `/markets/${own.market}`),
    ])
    expect(after.map(({ json }) => json.data)).toEqual(before.map(({ json }) => json.data))
  })

  test('no answer of any open route tells a secret of an account', async () => {
    for (const route of routes.filter(({ method, role }) => method === 'GET' && role === 'open')) {
      const text = await (await call(route, null)).text()
      expect(text).not.toMatch(/@example\.org|argon2|omt_|omr_|"available_balance"/)
    }
  })

  test('a trader has no role anywhere else', async () => {
    for (const path of ['/config', '/tokens', '/audit', '/advanced-analytics/summary']) {
      expect([path, (await alice.ask('GET', path)).status]).toEqual([path, 403])
    }
  })
})
