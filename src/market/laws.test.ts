/**
 * The laws of the market under random commands of several users over two markets: whatever is asked, in whatever order, after
 * each step the ledger is exact, nothing is below nothing, the slow reference agrees, and a quote is the trade to the unit.
 * A failure prints its seed and the sequence (not shrunk: each try is long).
 */
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MarketReference, wrongMatching } from '../../test/support/market-reference.ts'
import type { DecideSettings, Effects, OrderRow } from './books.ts'
import type { Answer, Command, TradeDone } from './commands.ts'
import { decide } from './decide.ts'
import { audit, balancesOf } from './ledger/audit.ts'
import { MemoryBooks } from './memory-books.ts'
import type { MarketId, OrderId, Outcome, Side, UserId } from './model.ts'
import { quote } from './trading.ts'

const USERS = ['ann', 'ben', 'cyd'] as UserId[]
const START = 1_000_000

/** A step before it is known what is there: numbers that `commandOf` reads as it needs. */
const steps = fc.array(
  fc.noBias(
    fc.record({
      kind: fc.constantFrom(
        ...Array<string>(10).fill('trade'),
        ...Array<string>(10).fill('limit'),
        ...['market', 'market', 'cancel', 'cancel', 'amend', 'amend', 'cancel_all', 'close_position', 'close_position'],
        ...['wait', 'wait', 'tick', 'suspend', 'resume', 'close', 'resolve', 'void', 'dispute', 'dispute', 'decide'],
      ),
      user: fc.nat(USERS.length - 1),
      market: fc.nat(1),
      outcome: fc.nat(1),
      sell: fc.boolean(),
      shares: fc.oneof(
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: 30 }).map((n) => n * 10_000),
        fc.integer({ min: 1, max: 300_000 }),
      ),
      price: fc.oneof(
        fc.integer({ min: 30, max: 70 }).map((n) => n * 10_000),
        fc.integer({ min: 1, max: 999_999 }),
      ),
      tif: fc.constantFrom('gtc', 'gtc', 'gtc', 'gtc', 'gtc', 'ioc', 'fok'),
      pick: fc.nat(1000),
    }),
  ),
  { minLength: 60, maxLength: 160, size: 'max' },
)
type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never

/** What the sequences reached: a law that was never put to the test has not been held. */
const reached = new Map<string, number>()
const reach = (what: string, times = 1): void => void reached.set(what, (reached.get(what) ?? 0) + times)

function tally(effects: Effects): void {
  reach(effects.done.type)
  const taker = effects.trades.find((t) => t.role === 'taker')
  for (const trade of effects.trades) {
    if (trade.role === 'taker' || taker === undefined) continue
    reach(trade.outcome === taker.outcome ? 'swap' : `pair of ${taker.side}s`)
  }
  if (effects.trades.length > 2) reach('several orders met')
  if (taker !== undefined) {
    reach(`taker with ${[...new Set(taker.fills.map((f) => f.against))].sort().join(' and ')}`)
    if (effects.orders.some((o) => o.state === 'cancelled' && o.userId === taker.userId && o.id !== taker.orderId))
      reach('own order in the way')
  }
  for (const transfer of effects.transfers) reach(transfer.reason)
  for (const order of effects.orders) reach(order.state)
}

/** Like `expect(a).toBe(b)`, for what is compared a million times. */
function same<T>(a: T, b: T): void {
  if (a !== b) expect(a).toBe(b)
}

class World {
  readonly books = new MemoryBooks()
  readonly reference = new MarketReference()
  readonly balances = new Map<string, bigint>()
  readonly markets: MarketId[] = []
  readonly seqs = new Map<MarketId, number>()
  readonly paid = new Set<MarketId>()
  #ids = 0
  now = START
  readonly #window: number

  constructor(window: number, feeRate: bigint) {
    this.#window = window
    for (const userId of USERS) this.run('trader', userId, { type: 'open_account', userId, username: userId })
    for (const creator of [USERS[0]!, USERS[1]!]) {
      const answer = this.run('trader', creator, {
        type: 'create_market',
        draft: {
          title: 'Will it?',
          question: 'Will it rain?',
          description: null,
          outcomes: ['yes', 'no'],
          category: 'weather',
          tags: [],
          imageUrl: null,
          resolutionRules: null,
          intendedSource: null,
          closesAt: START + 5_000,
          liquidity: 200_000_000n,
          feeRate,
          minTrade: 1n,
          maxTrade: 100_000_000n,
          binding: null,
        },
      })
      if (answer.ok && answer.done.type === 'market') this.markets.push(answer.done.marketId)
    }
    for (const marketId of this.markets)
      for (const userId of USERS)
        for (const outcome of [0, 1])
          this.run('trader', userId, {
            type: 'trade',
            marketId,
            side: 'buy',
            outcome,
            shares: 300_000n,
            limit: null,
            version: null,
          })
  }

  /** Decides twice (the second must be equal), commits, and holds every law against what came of it. */
  run(kind: 'trader' | 'admin' | 'system', userId: UserId, command: Command): Answer {
    const { books } = this
    const envelope = { key: 'k', fingerprint: 'f', actor: { userId, kind }, command }
    const first = this.#ids
    const settings: DecideSettings = {
      disputeWindowMs: this.#window,
      marketsPerDay: 10,
      ordersPerUser: 8,
      newId: () => `id${this.#ids++}`,
    }
    const orders: OrderRow[] = [...books.orders()]
    const decision = decide(books, envelope, settings, this.now)
    this.#ids = first
    const again = decide(books, envelope, settings, this.now)
    if (!isDeepStrictEqual(again, decision)) expect(again).toEqual(decision)
    if (!decision.ok) reach(decision.refusal.code)
    if (!decision.ok) return decision
    const { effects } = decision
    expect(wrongMatching(books, orders, effects, this.now)).toEqual([])
    if (command.type === 'trade') this.#checkLimit(command, effects.done)
    if (effects.done.type === 'order' && effects.done.order.orderType === 'limit')
      this.#checkFills(effects.done.order.limit!, effects.done.trade)
    books.apply(effects)
    tally(effects)
    this.reference.follow(books, effects)
    balancesOf(effects.transfers, this.balances)
    for (const event of effects.events) {
      expect(event.seq).toBe((this.seqs.get(event.marketId) ?? 0) + 1)
      this.seqs.set(event.marketId, event.seq)
    }
    for (const row of effects.markets) {
      expect(row.version).toBe(this.seqs.get(row.id) ?? 0)
      const paysNow = effects.transfers.some((t) => t.marketId === row.id && t.reason === 'liquidity_back')
      if (paysNow) {
        expect(this.paid.has(row.id)).toBe(false)
        this.paid.add(row.id)
      }
    }
    this.check()
    return { ok: true, done: effects.done }
  }

  /** No fill of a limit order is beyond its limit by more than the unit that rounding may take. */
  #checkFills(limit: bigint, trade: TradeDone | null): void {
    for (const fill of trade?.fills ?? []) {
      const bound = limit * fill.shares
      const value = fill.value * 10_000n
      if (trade!.side === 'buy') expect(value < bound + 10_000n).toBe(true)
      else expect(value > bound - 10_000n).toBe(true)
    }
  }

  #checkLimit(command: Extract<Command, { type: 'trade' }>, done: object): void {
    const { trade } = done as { trade: { value: bigint; shares: bigint } }
    expect(trade.shares).toBe(command.shares)
    if (command.limit === null) return
    if (command.side === 'buy') expect(trade.value * 10_000n <= command.limit * command.shares).toBe(true)
    else expect(trade.value * 10_000n >= command.limit * command.shares).toBe(true)
  }

  check(): void {
    const { books } = this
    const found = audit({
      accounts: books.accounts.values(),
      markets: books.markets.values(),
      holdings: this.markets.flatMap((id) => [...books.holdings(id)]),
      orders: books.orders(),
    })
    expect(found.faults).toEqual([])
    same(found.issued, 1_000_000_000n * BigInt(books.accounts.size))
    expect(this.reference.differences(books)).toEqual([])
    const balance = (key: string): bigint => this.balances.get(key) ?? 0n
    for (const account of books.accounts.values()) {
      same(balance(`money/available/${account.userId}`), account.available)
      same(balance(`money/reserved/${account.userId}`), account.reserved)
      same(books.openOrders(account.userId, null).length, account.openOrders)
    }
    for (const market of books.markets.values()) {
      same(balance(`money/pool/${market.id}`), market.pool)
      same(balance(`money/escrow/${market.id}`), market.escrow)
      same(balance(`money/fees/${market.id}`), market.fees)
      for (const holding of books.holdings(market.id)) {
        const key = `shares/${market.id}/${holding.outcome}`
        same(balance(`${key}/available/${holding.userId}`), holding.shares - holding.reserved)
        same(balance(`${key}/reserved/${holding.userId}`), holding.reserved)
      }
    }
  }

  step(step: Step): void {
    const { books } = this
    const userId = USERS[step.user]!
    const marketId = this.markets[step.market]!
    const outcome: Outcome = step.outcome
    const side: Side = step.sell ? 'sell' : 'buy'
    // What cannot be sold is asked for now and then; mostly what can.
    const holding = books.holding(userId, marketId, outcome)
    const free = holding === undefined ? 0n : holding.shares - holding.reserved
    const fits = step.sell && free > 0n && step.pick % 8 !== 0
    const shares = fits ? 1n + (BigInt(step.shares) % free) : BigInt(step.shares)
    // Near the market's price, so that orders rest and are met; or anywhere.
    const near = Number(books.market(marketId)!.prices[outcome]) + ((step.price % 60_000) - 30_000)
    const level = step.pick % 2 === 0 ? near : Math.round(near / 20_000) * 20_000
    const limit = BigInt(step.pick % 9 === 0 ? step.price : Math.min(999_999, Math.max(1, level)))
    const mine = [...books.orders()].filter((order) => order.userId === userId)
    const orderId = mine[step.pick % Math.max(1, mine.length)]?.id ?? ('none' as OrderId)
    const timeInForce = step.tif as 'gtc' | 'ioc' | 'fok'
    const place = { type: 'place_order', marketId, side, outcome, shares, timeInForce, clientOrderId: null } as const
    const expiresAt = step.pick % 4 === 0 ? this.now + 1 + step.pick : null
    switch (step.kind) {
      case 'trade': {
        const quoted = quote(books, { marketId, userId, side, outcome, shares }, this.now)
        const bound = step.pick % 3 === 0 ? limit : null
        const answer = this.run('trader', userId, {
          type: 'trade',
          marketId,
          side,
          outcome,
          shares,
          limit: bound,
          version: null,
        })
        if (!answer.ok || answer.done.type !== 'trade' || 'code' in quoted) return
        const { trade } = answer.done
        expect({ value: trade.value, fee: trade.fee, average: trade.averagePrice, after: trade.priceAfter }).toEqual({
          value: quoted.value,
          fee: quoted.fee,
          average: quoted.averagePrice,
          after: quoted.priceAfter,
        })
        return
      }
      case 'limit':
        this.run('trader', userId, { ...place, orderType: 'limit', limit, expiresAt })
        return
      case 'market':
        this.run('trader', userId, { ...place, orderType: 'market', limit: null, expiresAt: null })
        return
      case 'cancel':
        this.run('trader', userId, { type: 'cancel_order', orderId })
        return
      case 'amend':
        this.run('trader', userId, {
          type: 'amend_order',
          orderId,
          limit: step.pick % 5 === 0 ? null : limit,
          expiresAt: step.pick % 2 === 0 ? undefined : expiresAt,
        })
        return
      case 'cancel_all':
        this.run('trader', userId, { type: 'cancel_all', marketId: step.sell ? marketId : null })
        expect(books.openOrders(userId, step.sell ? marketId : null)).toEqual([])
        return
      case 'close_position': {
        const answer = this.run('trader', userId, { type: 'close_position', marketId, outcome, limit: null })
        if (answer.ok) expect(books.holding(userId, marketId, outcome)?.shares).toBe(0n)
        return
      }
      case 'wait':
        this.now += step.pick
        return
      case 'tick':
        this.run('system', userId, { type: 'tick', marketId: step.sell ? marketId : null })
        if (!step.sell) expect(books.due(this.now, null)).toEqual({ closing: [], paying: [], expiring: [] })
        return
      case 'suspend':
      case 'resume':
        if (step.kind === 'resume' || step.pick % 8 === 0)
          this.run('admin', userId, { type: 'suspend_market', marketId, suspended: step.kind === 'suspend' })
        return
      case 'close':
        // Seldom, so that most sequences trade for long.
        if (step.pick % 8 === 0) this.run('trader', userId, { type: 'close_market', marketId })
        return
      case 'resolve':
      case 'void':
        if (step.pick % (this.#window > 0 ? 3 : 12) === 0)
          this.run(step.sell ? 'admin' : 'trader', userId, {
            type: 'resolve_market',
            marketId,
            resolution: step.kind === 'void' ? { kind: 'void' } : { kind: 'outcome', outcome },
            source: 'the gauge',
          })
        return
      case 'dispute':
        this.run('trader', userId, {
          type: 'open_dispute',
          marketId,
          disputeType: 'wrong_outcome',
          reason: 'It did rain.',
          evidence: null,
        })
        return
      case 'decide':
        this.run(step.sell ? 'admin' : 'trader', userId, {
          type: 'decide_disputes',
          marketId,
          resolution: step.pick % 3 === 0 ? { kind: 'void' } : { kind: 'outcome', outcome },
          note: 'The gauge says so.',
        })
    }
  }

  /** Ends both markets; then all money is with users and the house, and nobody holds a share. */
  finish(): void {
    for (const marketId of this.markets)
      this.run('admin', USERS[0]!, {
        type: 'resolve_market',
        marketId,
        resolution: { kind: 'outcome', outcome: 0 },
        source: 'the gauge',
      })
    this.now += 100_000
    for (const marketId of this.markets)
      if (this.books.market(marketId)!.state === 'disputed')
        this.run('admin', USERS[0]!, {
          type: 'decide_disputes',
          marketId,
          resolution: { kind: 'outcome', outcome: 1 },
          note: 'At last.',
        })
    this.run('system', USERS[0]!, { type: 'tick', marketId: null })
    for (const market of this.books.markets.values()) {
      expect(market.paidAt).not.toBeNull()
      expect([market.pool, market.escrow, ...market.sold]).toEqual([0n, 0n, 0n, 0n])
      expect(this.paid.has(market.id) || this.wasShort(market.id)).toBe(true)
    }
    for (const account of this.books.accounts.values()) expect(account.reserved).toBe(0n)
  }

  /** A void market whose pool was short gives nothing back to its creator. */
  wasShort(id: MarketId): boolean {
    return this.books.market(id)!.resolution?.kind === 'void'
  }
}

describe('the laws of the market', () => {
  it.each([
    ['paid at once, no fee', 0, 0n],
    ['paid at once, fee of 2 %', 0, 20_000n],
    ['disputes possible, fee of 10 %', 4_000, 100_000n],
  ])(
    'hold under random commands: %s',
    (_name, window, feeRate) => {
      fc.assert(
        fc.property(steps, (sequence) => {
          const world = new World(window, feeRate)
          for (const step of sequence) world.step(step)
          world.finish()
        }),
        { numRuns: 40, endOnFailure: true },
      )
    },
    120_000,
  )

  it.each([
    ...['swap', 'pair of buys', 'pair of sells', 'several orders met', 'taker with book and maker', 'taker with book'],
    ...['own order in the way', 'pending', 'partially_filled', 'filled', 'cancelled', 'expired', 'cancelled'],
    ...['payout', 'refund', 'escrow', 'liquidity_back', 'dispute', 'ticked', 'release', 'fee'],
    ...['insufficient_shares', 'price_beyond_limit', 'not_fillable', 'market_not_open', 'already_resolved'],
  ])('were put to the test: %s', (what) => {
    expect(reached.get(what) ?? 0).toBeGreaterThan(4)
  })
})
