/**
 * The market's core in memory, one core, no disk: pricing alone, ledger and pricing together (price a trade at the maker,
 * post money, shares and fee as double entry), and whole decisions with their effects applied.
 *
 *   node bench/market-core.ts [trades]
 *
 * Prints trades a CPU-second of this process (user and system time), the median of five rounds.
 */
import { cpuUsage } from 'node:process'
import { seededRandom } from '../src/base/random.ts'
import type { DecideSettings, Effects } from '../src/market/books.ts'
import type { Command } from '../src/market/commands.ts'
import { decide } from '../src/market/decide.ts'
import { audit } from '../src/market/ledger/audit.ts'
import { Changes } from '../src/market/ledger/changes.ts'
import { MemoryBooks } from '../src/market/memory-books.ts'
import type { MarketId, Side, UserId } from '../src/market/model.ts'
import { feeOn, Maker } from '../src/market/pricing/lmsr.ts'

const ROUNDS = 5
const TRADES = Number(process.argv[2] ?? 200_000)
const USERS = 1_000
const MARKETS = 100
const NOW = 1_000_000
let nextId = 0
const settings: DecideSettings = {
  disputeWindowMs: 0,
  marketsPerDay: 1_000_000,
  ordersPerUser: 1_000,
  newId: () => `i${nextId++}`,
}

function must(books: MemoryBooks, userId: UserId, command: Command, kind: 'trader' | 'system' = 'trader'): Effects {
  const decision = decide(books, { key: '', fingerprint: '', actor: { userId, kind }, command }, settings, NOW)
  if (!decision.ok) throw new Error(decision.refusal.detail)
  books.apply(decision.effects)
  return decision.effects
}

/** Users with credit, markets with liquidity; each user begins with some shares of both outcomes of a market. */
function world(): { books: MemoryBooks; users: UserId[]; markets: MarketId[] } {
  const books = new MemoryBooks()
  const users: UserId[] = []
  const markets: MarketId[] = []
  for (let i = 0; i < USERS; i++) {
    const userId = `u${i}` as UserId
    users.push(userId)
    must(books, userId, { type: 'open_account', userId, username: `user${i}` })
  }
  for (let i = 0; i < MARKETS; i++) {
    const done = must(books, users[i]!, {
      type: 'create_market',
      draft: {
        title: 'bench',
        question: 'bench?',
        description: null,
        outcomes: ['yes', 'no'],
        category: 'other',
        tags: [],
        imageUrl: null,
        resolutionRules: null,
        intendedSource: null,
        closesAt: NOW * 2,
        liquidity: 500_000_000n,
        feeRate: 0n,
        minTrade: 10_000n,
        maxTrade: 100_000_000n,
        binding: null,
      },
    }).done
    if (done.type === 'market') markets.push(done.marketId)
  }
  return { books, users, markets }
}

function report(name: string, bar: string, round: () => number): void {
  const rates: number[] = []
  for (let i = 0; i <= ROUNDS; i++) {
    const before = cpuUsage()
    const done = round()
    const used = cpuUsage(before)
    if (i > 0) rates.push(done / ((used.user + used.system) / 1e6))
  }
  rates.sort((a, b) => a - b)
  const median = rates[ROUNDS >> 1]!
  process.stdout.write(
    `${name.padEnd(44)} ${Math.round(median).toLocaleString('en').padStart(10)} /CPU-s  (${Math.round(rates[0]!).toLocaleString('en')} to ${Math.round(rates.at(-1)!).toLocaleString('en')})  ${bar}\n`,
  )
}

const random = seededRandom(7)

report('pricing: a quote of the maker', '', () => {
  const maker = new Maker(500_000_000n, [0n, 0n])
  let paid = 0
  for (let i = 0; i < TRADES * 5; i++) {
    const side: Side = i % 2 === 0 ? 'buy' : 'sell'
    paid += maker.move(side, 0, 10_000 + ((i >> 1) % 90_000))
  }
  if (!(paid > 0)) throw new Error('nothing was priced')
  return TRADES * 5
})

report('ledger and pricing: trades with the maker', 'bar 500,000', () => {
  const { books, users, markets } = world()
  for (let i = 0; i < TRADES; i++) {
    const userId = users[i % USERS]!
    const marketId = markets[(i * 7) % MARKETS]!
    const market = books.market(marketId)!
    const holding = books.holding(userId, marketId, 0)
    const side: Side = holding === undefined || holding.shares < 10_000n ? 'buy' : 'sell'
    const maker = new Maker(market.draft.liquidity, market.sold)
    const value = maker.move(side, 0, 10_000)
    const fee = BigInt(feeOn(value, 20_000))
    const changes = new Changes(books, settings.newId, NOW)
    const belongs = { marketId, tradeId: null, orderId: null }
    if (side === 'buy') {
      changes.money('available', userId, 'pool', marketId, BigInt(value), 'trade', belongs)
      changes.shares('issuance', marketId, 'available', userId, 0, 10_000n, 'trade', belongs)
    } else {
      changes.shares('available', userId, 'issuance', marketId, 0, 10_000n, 'trade', belongs)
      changes.money('pool', marketId, 'available', userId, BigInt(value), 'trade', belongs)
    }
    changes.money('available', userId, 'fees', marketId, fee, 'fee', belongs)
    changes.market(marketId).prices = maker.prices()
    books.apply(changes.effects({ type: 'ticked', changed: 1 }))
  }
  check(books)
  return TRADES
})

report('decide and apply: trades with the maker', '', () => {
  const { books, users, markets } = world()
  for (let i = 0; i < TRADES; i++) {
    const userId = users[i % USERS]!
    const marketId = markets[(i * 7) % MARKETS]!
    const holding = books.holding(userId, marketId, 0)
    const side: Side = holding === undefined || holding.shares < 10_000n ? 'buy' : 'sell'
    must(books, userId, { type: 'trade', marketId, side, outcome: 0, shares: 10_000n, limit: null, version: null })
  }
  check(books)
  return TRADES
})

report('decide and apply: orders, half of them filled', '', () => {
  const { books, users, markets } = world()
  let done = 0
  for (let i = 0; i < TRADES; i++) {
    const userId = users[Math.floor(random.next() * USERS)]!
    const marketId = markets[(i * 7) % MARKETS]!
    const limit = BigInt(400_000 + Math.floor(random.next() * 200_000))
    const command: Command = {
      type: 'place_order',
      marketId,
      orderType: 'limit',
      side: 'buy',
      outcome: i & 1,
      shares: 10_000n,
      limit,
      timeInForce: 'gtc',
      expiresAt: null,
      clientOrderId: null,
    }
    const actor = { userId, kind: 'trader' } as const
    const decision = decide(books, { key: '', fingerprint: '', actor, command }, settings, NOW)
    if (decision.ok) books.apply(decision.effects)
    else must(books, userId, { type: 'cancel_all', marketId: null })
    done++
  }
  check(books)
  return done
})

function check(books: MemoryBooks): void {
  const holdings = [...books.markets.keys()].flatMap((id) => [...books.holdings(id)])
  const found = audit({
    accounts: books.accounts.values(),
    markets: books.markets.values(),
    holdings,
    orders: books.orders(),
  })
  if (found.faults.length > 0) throw new Error(found.faults[0])
}
