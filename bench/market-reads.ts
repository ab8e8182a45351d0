/**
 * Lists and pages of a market with a million trades in 10,000 markets, read as an instance reads them: CPU time a read, and
 * how SQLite finds the rows (a SCAN of a large table would be named).
 *   node bench/market-reads.ts [trades] [markets] [users]
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { risingIds } from '../src/base/id.ts'
import { seededRandom } from '../src/base/random.ts'
import type { Effects, HoldingRow, MarketRow, OrderRow } from '../src/market/books.ts'
import { MemoryBooks } from '../src/market/memory-books.ts'
import { CATEGORIES, type MarketId, type OrderId, type TradeId, type UserId } from '../src/market/model.ts'
import { Changes } from '../src/market/store/changes.ts'
import { openMarketReads } from '../src/market/store/embedded.ts'
import { SqliteStore } from '../src/market/store/sqlite-store.ts'
import { draft } from '../test/support/market-store.ts'

const [tradeCount = 1_000_000, marketCount = 10_000, userCount = 20_000] = process.argv.slice(2).map(Number)
const print = (line: string) => process.stdout.write(`${line}\n`)
const dir = mkdtempSync(join(tmpdir(), 'om-reads-'))
const path = join(dir, 'market.db')
const store = new SqliteStore(path)
store.db.pragma('synchronous = OFF')
const books = new MemoryBooks()
const random = seededRandom(1)
const newId = risingIds()
const now = Date.now()
const DAY = 86_400_000
const start = now - 30 * DAY
const nothing: Effects = {
  done: { type: 'ticked', changed: 0 },
  accounts: [],
  markets: [],
  orders: [],
  holdings: [],
  disputes: [],
  trades: [],
  transfers: [],
  profits: [],
  scores: [],
  events: [],
}
let changes = new Changes()
let gathered = 0
function add(effects: Partial<Effects>) {
  const all = { ...nothing, ...effects }
  changes.add(all, books)
  books.apply(all)
  if (++gathered % 20_000 === 0) flush()
}
function flush() {
  store.commit(changes, now)
  changes = new Changes()
}

const users = Array.from({ length: userCount }, (_, i) => `user-${i}` as UserId)
for (const userId of users) {
  add({
    accounts: [
      {
        userId,
        username: userId,
        available: 1_000_000_000n,
        reserved: 0n,
        granted: 1_000_000_000n,
        openOrders: 0,
        trades: 0,
        volume: 0n,
        profit: 0n,
        resolvedMarkets: 0,
        wonMarkets: 0,
        createdAt: start,
      },
    ],
  })
}
const words = ['rain', 'election', 'price', 'goal', 'launch', 'record', 'summer', 'bridge', 'festival', 'ocean']
const markets: MarketRow[] = []
for (let i = 0; i < marketCount; i++) {
  const createdAt = start + i * 10
  const row: MarketRow = {
    id: newId(createdAt) as MarketId,
    creatorId: users[i % userCount]!,
    draft: draft(now + DAY + Math.floor(random.next() * 30 * DAY), {
      title: `Will ${words[i % 10]} ${words[Math.floor(i / 10) % 10]} number ${i} come?`,
      category: CATEGORIES[i % CATEGORIES.length]!,
    }),
    state: i % 50 === 0 ? 'closed' : 'open',
    version: 1,
    sold: [0n, 0n],
    prices: [500_000n, 500_000n],
    pool: 100_000_000n,
    escrow: 0n,
    fees: 0n,
    volume: 0n,
    trades: 0,
    traders: 0,
    openOrders: 0,
    createdAt,
    closedAt: null,
    resolution: null,
    resolutionSource: null,
    resolvedAt: null,
    finalAt: null,
    paidAt: null,
  }
  markets.push(row)
  add({ markets: [row] })
}
const held = new Map<string, HoldingRow>()
for (let i = 0; i < tradeCount; i++) {
  const at = Math.floor(start + DAY + ((now - start - DAY) * i) / tradeCount)
  // A few markets and users have most of the trades, as it is in life.
  const m = Math.floor(random.next() ** 3 * marketCount)
  const userId = users[Math.floor(random.next() ** 2 * userCount)]!
  const before = markets[m]!
  const value = BigInt(1 + Math.floor(random.next() * 5_000_000))
  const price = BigInt(200_000 + Math.floor(random.next() * 600_000))
  const prices = [price, 1_000_000n - price]
  const market: MarketRow = {
    ...before,
    version: before.version + 1,
    prices,
    volume: before.volume + value,
    trades: before.trades + 1,
  }
  markets[m] = market
  const outcome = i % 2
  const key = `${userId}/${m}/${outcome}`
  const old = held.get(key)
  const holding: HoldingRow = {
    id: old?.id ?? newId(at),
    userId,
    marketId: market.id,
    outcome,
    shares: (old?.shares ?? 0n) + 10_000n,
    reserved: 0n,
    cost: value,
    realized: 0n,
    bought: 10_000n,
    sold: 0n,
    paid: value,
    received: 0n,
    fees: 0n,
    payout: 0n,
    trades: (old?.trades ?? 0) + 1,
    createdAt: at,
    updatedAt: at,
  }
  held.set(key, holding)
  const tradeId = newId(at) as TradeId
  const account = books.account(userId)!
  const orders: OrderRow[] =
    i % 10 > 0
      ? []
      : [
          {
            id: newId(at) as OrderId,
            marketId: market.id,
            userId,
            orderType: 'limit',
            side: outcome === 0 ? 'buy' : 'sell',
            outcome,
            originalShares: 10_000n,
            remainingShares: i % 50 === 0 ? 10_000n : 0n,
            averagePrice: null,
            limit: price - (price % 10_000n),
            timeInForce: 'gtc',
            expiresAt: null,
            clientOrderId: null,
            state: i % 50 === 0 ? 'pending' : 'filled',
            createdAt: at,
            updatedAt: at,
            priority: i,
            reservedMoney: 0n,
            filledValue: 0n,
            feesPaid: 0n,
          },
        ]
  add({
    accounts: [{ ...account, trades: account.trades + 1, volume: account.volume + value }],
    markets: [market],
    holdings: [holding],
    orders,
    trades: [
      {
        id: tradeId,
        role: 'taker',
        marketId: market.id,
        userId,
        orderId: null,
        side: 'buy',
        outcome,
        shares: 10_000n,
        value,
        fee: 0n,
        averagePrice: price,
        priceAfter: price,
        prices,
        fills: [],
        createdAt: at,
        version: market.version,
      },
    ],
    profits:
      i % 4 > 0
        ? []
        : [{ userId, marketId: market.id, outcome, kind: 'sale', amount: value - 2_500_000n, tradeId, at }],
  })
}
flush()
const lively = store.lively(now)
store.refreshTrending(lively, now)
store.db.exec('ANALYZE')
store.close()
print(
  `${tradeCount} trades, ${marketCount} markets, ${held.size} holdings: ${(statSync(path).size / 2 ** 20).toFixed(0)} MiB`,
)

// What is asked of SQLite, to have its plans shown.
const asked = new Map<string, unknown[]>()
const prepare = Sqlite.prototype.prepare
Sqlite.prototype.prepare = function (this: Sqlite.Database, text: string) {
  const statement = prepare.call(this, text)
  const all = statement.all.bind(statement)
  statement.all = ((parameters: unknown[]) => {
    asked.set(text, parameters)
    return all(parameters)
  }) as typeof statement.all
  return statement
} as typeof prepare

const reads = openMarketReads(path)
const page = { skip: 0, limit: 20 }
const filter = { category: null, state: null, trending: false, search: null, sort: 'new' } as const
const [busy, quiet] = [markets[0]!.id, markets[marketCount - 1]!.id]
const cases: [string, number, (i: number) => Promise<unknown>][] = [
  ['market, busy', 300, () => reads.market(busy, now)],
  ['market, any', 300, (i) => reads.market(markets[(i * 37) % marketCount]!.id, now)],
  [
    'quote',
    1000,
    (i) => reads.quote({ marketId: markets[i % 20]!.id, userId: null, side: 'buy', outcome: 0, shares: 50_000n }, now),
  ],
  ['markets, newest', 50, () => reads.markets(filter, page, now)],
  ['markets, page 400', 20, () => reads.markets(filter, { skip: 8000, limit: 20 }, now)],
  ['markets by volume, open', 50, () => reads.markets({ ...filter, sort: 'volume', state: 'open' }, page, now)],
  ['markets trending', 50, () => reads.markets({ ...filter, sort: 'trending', trending: true }, page, now)],
  [
    'markets closing, one category',
    50,
    () => reads.markets({ ...filter, sort: 'closing', category: 'science' }, page, now),
  ],
  ['markets, search of 1 in 10', 50, () => reads.markets({ ...filter, search: 'ocean' }, page, now)],
  ['markets, search of one', 50, () => reads.markets({ ...filter, search: `number ${marketCount - 5}` }, page, now)],
  ['statistics', 20, () => reads.stats(now)],
  ['price history, 24 h', 50, () => reads.priceHistory(busy, 24, 200, now)],
  ['price history, 7 days', 20, () => reads.priceHistory(busy, 168, 200, now)],
  ['price history, all', 20, () => reads.priceHistory(busy, null, 200, now)],
  ['book', 100, () => reads.book(busy, 0, 10)],
  ['trades of a market', 100, () => reads.trades({ marketId: busy }, page)],
  ['trades of a quiet market', 100, () => reads.trades({ marketId: quiet }, page)],
  ['trades of a user', 100, (i) => reads.trades({ userId: users[i]! }, page)],
  ['all trades', 50, () => reads.trades({}, page)],
  ['orders of a user', 100, (i) => reads.orders(users[i]!, {}, page)],
  ['positions of a user', 100, (i) => reads.positions(users[i]!, true, page)],
  ['account', 100, (i) => reads.account(users[i]!)],
  ['profit, 24 h', 10, () => reads.leaderboard('profit', { period: '24h', minimum: 1, limit: 20 }, now)],
  ['profit, 30 days', 5, () => reads.leaderboard('profit', { period: '30d', minimum: 1, limit: 20 }, now)],
  ['volume, all time', 50, () => reads.leaderboard('volume', { period: 'all_time', minimum: 1, limit: 20 }, now)],
]
const scans: string[] = []
for (const [name, times, read] of cases) {
  asked.clear()
  await read(0)
  const cpu = process.cpuUsage()
  for (let i = 0; i < times; i++) await read(i)
  const used = process.cpuUsage(cpu)
  print(`${name.padEnd(32)} ${((used.user + used.system) / 1000 / times).toFixed(3).padStart(9)} ms CPU`)
  const db = new Sqlite(path, { readonly: true })
  for (const [text, parameters] of asked) {
    const plan = prepare.call(db, `EXPLAIN QUERY PLAN ${text}`).all(parameters) as { detail: string }[]
    // In the order of its key, until the page is full: not the whole of it.
    const stopsEarly = /\blimit\b/i.test(text) && !plan.some(({ detail }) => detail.includes('TEMP B-TREE'))
    for (const { detail } of plan) {
      if (stopsEarly) continue
      if (/^SCAN (trades|orders|holdings|transfers|market_buckets|user_buckets|profits)\b/.test(detail)) {
        scans.push(`${name}: ${detail}`)
      }
    }
  }
  db.close()
}
print(scans.length === 0 ? 'no large table is read as a whole' : `read as a whole:\n  ${scans.join('\n  ')}`)
reads.close()
rmSync(dir, { recursive: true, force: true })
