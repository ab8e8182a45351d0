/**
 * The running platform, killed at random moments while many people trade through front: instances, the writer, or the whole
 * tree. Then what is stored is held against what was answered.
 *   node bench/market-kill-platform.ts [--kills 100] [--commands 10000] [--clients 24] [--seed n]
 *
 * A client asks until it has an answer that is no 5xx, under one Idempotency-Key, as a careful one does; an amendment (PUT)
 * has none and is only asked again. Looked for at the end: every done command answers the same again; every trade, order and
 * dispute that was answered is stored once, and no other is; the ledger is exact, by its rows and by its transfers alone;
 * nobody has more than was granted; each market was paid out once, and each holder once.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import Sqlite from 'better-sqlite3'
import { seededRandom } from '../src/base/random.ts'
import { audit, balancesOf } from '../src/market/ledger/audit.ts'
import { rowsOfFile } from '../test/support/market-store.ts'
import { ADMIN_TOKEN, type Platform, sleep, startPlatform } from '../test/support/platform.ts'

const { values: options } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    commands: { type: 'string', default: '10000' },
    clients: { type: 'string', default: '24' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
  },
})
const [kills, commands, clients] = [Number(options.kills), Number(options.commands), Number(options.clients)]
const random = seededRandom(Number(options.seed))
const print = (line: string) => process.stdout.write(`${line}\n`)
const env = {
  IDENTITY_REGISTRATIONS: '100000',
  MARKET_MARKETS_PER_DAY: '100000',
  MARKET_DISPUTE_WINDOW: '2',
  AUTO_SCALING_MIN_INSTANCES: '2',
  LOG_LEVEL: 'warn',
}
const PASSWORD = 'Korrekt.Pferd'

interface Answered {
  readonly key: string
  readonly who: string
  readonly path: string
  readonly body: object | undefined
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: the bench knows what each route answers
  readonly data: any
}

let platform: Platform = await startPlatform({ env })
const { dir } = platform
/** Nobody asks while the whole tree is down: its port is another one afterwards. */
let down: Promise<void> | null = null
const tokens = new Map<string, string>([['admin', ADMIN_TOKEN]])
const answers: Answered[] = []
const wrong: string[] = []
const lost = { broken: 0, unavailable: 0 }
let asked = 0
let amended = 0

async function once(method: string, path: string, token: string | null, body?: object, key?: string) {
  const response = await fetch(`${platform.url}/api/v1${path}`, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body ? { 'content-type': 'application/json' } : {}),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
    signal: AbortSignal.timeout(30_000),
  })
  const text = await response.text()
  if (response.status === 500) wrong.push(`${method} ${path}: ${text}`)
  return { status: response.status, json: response.status < 500 ? JSON.parse(text) : undefined }
}

/** Asks until there is an answer. */
async function ask(method: string, path: string, token: () => string | null, body?: object, key?: string) {
  for (;;) {
    if (down) await down
    try {
      const answer = await once(method, path, token(), body, key)
      if (answer.status < 500) return answer
      lost.unavailable++
    } catch {
      lost.broken++
    }
    await sleep(10 + random.next() * 40)
  }
}

async function logIn(username: string) {
  const { status, json } = await ask('POST', '/auth/login', () => null, { username, password: PASSWORD })
  if (status !== 200) throw new Error(JSON.stringify(json))
  tokens.set(username, json.data.access_token)
}

async function command(who: string, path: string, body?: object): Promise<Answered> {
  const key = `${options.seed}-${++asked}`
  const post = () => ask('POST', path, () => tokens.get(who)!, body, key)
  let { status, json } = await post()
  if (status === 401 && who !== 'admin') {
    await logIn(who)
    ;({ status, json } = await post())
  }
  if (status === 400 || status === 401 || status === 415) wrong.push(`${path}: ${status} ${JSON.stringify(json)}`)
  const answered = { key, who, path, body, status, data: json?.data }
  answers.push(answered)
  return answered
}

const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next() * list.length)]!
const users = Array.from({ length: clients }, (_, i) => `user-${i}`)
/** Those that are open for all we know, and those that were resolved last. */
const markets: string[] = []
const resolved: string[] = []
const orders: { owner: string; id: string }[] = []

async function openMarket(creator: string) {
  const { status, data } = await command(creator, '/markets', {
    title: 'Dice',
    question: 'What will they show?',
    outcome_a: 'Odd',
    outcome_b: 'Even',
    category: 'other',
    closes_at: new Date(Date.now() + (random.next() < 0.2 ? 15_000 : 3_600_000)).toISOString(),
    total_liquidity: 100 + Math.floor(random.next() * 20),
    min_trade_amount: 0.0001,
  })
  if (status === 201) markets.push(data.id)
}

async function act(who: string): Promise<void> {
  while (markets.length < 6) await openMarket(pick(users))
  const market_id = pick(markets)
  const outcome = pick(['outcome_a', 'outcome_b'])
  const amount = Math.ceil(random.next() * 80_000) / 10_000
  const dice = random.next()
  if (dice < 0.42) {
    const trade_type = random.next() < 0.65 ? 'buy' : 'sell'
    await command(who, '/trades', { market_id, trade_type, outcome, amount })
  } else if (dice < 0.68) {
    const { status, data } = await command(who, '/orders', {
      market_id,
      order_type: 'limit',
      side: random.next() < 0.6 ? 'buy' : 'sell',
      outcome,
      original_amount: amount,
      limit_price: Math.ceil(random.next() * 999) / 1000,
      time_in_force: pick(['gtc', 'gtc', 'gtc', 'gtc', 'ioc', 'fok']),
      ...(random.next() < 0.5 ? { client_order_id: `own-${asked}` } : {}),
    })
    if (status === 201) orders.push({ owner: who, id: data.id })
  } else if (dice < 0.77 && orders.length > 0) {
    const { owner, id } = pick(orders)
    await command(owner, `/orders/${id}/cancel`)
  } else if (dice < 0.82 && orders.length > 0) {
    const { owner, id } = pick(orders)
    const body = { limit_price: Math.ceil(random.next() * 999) / 1000 }
    await ask('PUT', `/orders/${id}`, () => tokens.get(owner)!, body)
    amended++
  } else if (dice < 0.84) await command(who, '/orders/cancel-all', {})
  else if (dice < 0.87) {
    const { json } = await ask('GET', '/positions?limit=100', () => tokens.get(who)!)
    const held = json.data?.positions ?? []
    if (held.length > 0) await command(who, `/positions/${pick<{ id: string }>(held).id}/close`, {})
  } else if (dice < 0.89 && markets.length < 40) await openMarket(who)
  else if (dice < 0.92) {
    // Two at once: one of them resolves it.
    const body = { outcome: random.next() < 0.35 ? 'void' : outcome, resolution_source: 'The dice.' }
    const both = await Promise.all([0, 1].map(() => command('admin', `/markets/${market_id}/resolve`, body)))
    if (both.filter(({ status }) => status === 200).length > 1) wrong.push(`${market_id} was resolved twice`)
    const at = markets.indexOf(market_id)
    if (at >= 0) markets.splice(at, 1)
    if (resolved.unshift(market_id) > 6) resolved.pop()
  } else if (dice < 0.97 && resolved.length > 0) {
    const path = `/markets/${pick(resolved)}/disputes`
    await command(who, path, { dispute_type: 'other', reason: 'The dice were loaded.' })
  } else if (resolved.length > 0) {
    const ended = random.next() < 0.35 ? 'void' : outcome
    await command('admin', `/markets/${pick(resolved)}/decide-disputes`, { outcome: ended, note: 'They were not.' })
  }
}

print(`${kills} kills, ${commands} commands of ${clients} clients, seed ${options.seed}`)
for (const username of users) {
  const account = { username, email: `${username}@bench.invalid`, password: PASSWORD }
  await ask('POST', '/auth/register', () => null, account)
  await logIn(username)
}
for (let i = 0; i < 8; i++) await openMarket(users[i % clients]!)

let over = false
const working = users.map(async (who) => {
  while (!over) await act(who)
})
const killed: Record<string, number> = { instance: 0, 'market-writer': 0, tree: 0 }
for (let kill = 0; kill < kills; kill++) {
  const least = ((kill + 1) * commands) / (kills + 1)
  while (answers.length < least) await sleep(5)
  const dice = random.next()
  const what = dice < 0.4 ? 'instance' : dice < 0.8 ? 'market-writer' : 'tree'
  killed[what]!++
  if (what === 'tree') {
    let up = () => {}
    down = new Promise((resolve) => (up = resolve))
    await platform.kill()
    platform = await startPlatform({ env, dir, readyWithinMs: 120_000 })
    down = null
    up()
  } else {
    const found = platform.processes().filter(({ kind }) => kind === what)
    // One of them, or all at once.
    const those = random.next() < 0.3 ? found : found.slice(0, 1)
    for (const { pid } of those) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // it had ended a moment before
      }
    }
  }
  if (kill % 10 === 9) print(`  kill ${kill + 1}: ${answers.length} answered, ${JSON.stringify(lost)} asked again`)
}
while (answers.length < commands) await sleep(50)
over = true
await Promise.all(working)
await sleep(4_000) // the last payouts

// What was done answers the same again.
const done = answers.filter(({ status }) => status < 300)
const shown = (path: string, data: Answered['data']) =>
  /^\/(trades|orders|positions)/.test(path) ? JSON.stringify(data) : String(data?.id ?? data?.market?.id ?? data)
for (let from = 0; from < done.length; from += 50) {
  await Promise.all(
    done.slice(from, from + 50).map(async ({ key, who, path, body, status, data }) => {
      const again = await ask('POST', path, () => tokens.get(who)!, body, key)
      if (again.status !== status || shown(path, again.json.data) !== shown(path, data))
        wrong.push(
          `${path} ${key}: ${status} ${shown(path, data)} became ${again.status} ${JSON.stringify(again.json)}`,
        )
    }),
  )
}
await platform.stop()

const file = join(dir, 'data', 'market.db')
const stored = await rowsOfFile(file)
const db = new Sqlite(file, { readonly: true })
const disputes = db.prepare<[], string>('SELECT id FROM disputes').pluck().all()
db.close()
wrong.push(...audit(stored).faults)
const balances = balancesOf(stored.transfers)
const money = (account: string, id: string) => balances.get(`money/${account}/${id}`) ?? 0n
for (const row of stored.accounts) {
  if (money('available', row.userId) !== row.available || money('reserved', row.userId) !== row.reserved)
    wrong.push(`account ${row.username} is not what its transfers say`)
  if (row.granted !== 1_000_000_000n) wrong.push(`account ${row.username} was granted ${row.granted}`)
}
for (const { userId, marketId, outcome, shares, reserved } of stored.holdings) {
  const of = (account: string) => balances.get(`shares/${marketId}/${outcome}/${account}/${userId}`) ?? 0n
  if (of('available') !== shares - reserved || of('reserved') !== reserved)
    wrong.push(`a holding in ${marketId} is not what its transfers say`)
}
for (const row of stored.markets) {
  for (const [account, amount] of [
    ['pool', row.pool],
    ['escrow', row.escrow],
    ['fees', row.fees],
  ] as const) {
    if (money(account, row.id) !== amount) wrong.push(`${account} of ${row.id} is not what its transfers say`)
  }
}

/** Each of `told` once in `rows`, and nothing else there. */
function sameThings(what: string, told: readonly string[], rows: readonly string[]) {
  const here = new Map<string, number>()
  for (const id of rows) here.set(id, (here.get(id) ?? 0) + 1)
  const known = new Set(told)
  for (const id of known) if (here.get(id) !== 1) wrong.push(`${what} ${id} is stored ${here.get(id) ?? 0} times`)
  for (const id of here.keys()) if (!known.has(id)) wrong.push(`${what} ${id} was told to nobody`)
  if (known.size !== told.length) wrong.push(`${told.length - known.size} of ${what} were told twice`)
}
const ids = (paths: RegExp) => done.filter(({ path }) => paths.test(path)).map(({ data }) => String(data.id))
const takers = stored.trades.filter((row) => row.role === 'taker')
const alone = takers.filter((row) => row.orderId === null).map((row) => row.id as string)
sameThings('trade', ids(/^\/trades$|^\/positions\/.*\/close$/), alone)
sameThings(
  'order',
  ids(/^\/orders$/),
  stored.orders.map((row) => row.id as string),
)
sameThings(
  'market',
  ids(/^\/markets$/),
  stored.markets.map((row) => row.id as string),
)
sameThings('dispute', ids(/\/disputes$/), disputes)

const paid = Map.groupBy(
  stored.transfers.filter((row) => row.from === 'escrow'),
  (row) => row.marketId,
)
let payouts = 0
for (const row of stored.markets) {
  const out = paid.get(row.id) ?? []
  const into = stored.transfers.filter((t) => t.to === 'escrow' && t.marketId === row.id)
  const sum = (list: typeof out) => list.reduce((all, { amount }) => all + amount, 0n)
  if (into.length > 1) wrong.push(`${row.id} went into escrow ${into.length} times`)
  if (row.paidAt === null ? out.length > 0 : sum(out) !== sum(into))
    wrong.push(`${row.id}: ${sum(into)} came into escrow, ${sum(out)} left it`)
  const holders = out.filter(({ reason }) => reason === 'payout' || reason === 'refund').map(({ toId }) => toId)
  payouts += holders.length
  if (new Set(holders).size !== holders.length) wrong.push(`${row.id} paid a holder twice`)
}
const count = (test: (row: Answered) => boolean) => answers.filter(test).length
const of = (name: string, test: RegExp) =>
  `${count((a) => test.test(a.path) && a.status < 300)} of ${count((a) => test.test(a.path))} ${name}`
print(
  `${answers.length} commands answered (done: ${[
    of('trades', /^\/trades/),
    of('orders', /^\/orders$/),
    of('cancels', /cancel$/),
    of('cancel-alls', /cancel-all$/),
    of('closings of positions', /close$/),
    of('markets', /^\/markets$/),
    of('resolutions', /resolve$/),
    of('disputes', /\/disputes$/),
    of('decisions', /decide/),
  ].join(', ')}), ${amended} amendments`,
)
print(`killed: ${JSON.stringify(killed)}; ${lost.broken} broken answers and ${lost.unavailable} 5xx were asked again`)
print(
  `${stored.transfers.length} transfers, ${stored.trades.length} trades, ${stored.markets.filter((m) => m.paidAt !== null).length} markets paid to ${payouts} holders (${stored.markets.filter((m) => m.resolution?.kind === 'void').length} void)`,
)
print(
  wrong.length === 0
    ? 'nothing lost, nothing doubled, one payout each, the ledger is exact'
    : wrong.slice(0, 50).join('\n'),
)
if (wrong.length === 0) await platform.remove()
else print(`left for a look: ${join(dir, 'data')} (${readdirSync(join(dir, 'data')).join(' ')})`)
process.exit(wrong.length === 0 ? 0 : 1)
