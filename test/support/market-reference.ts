/**
 * A slow, exact second opinion on the market: it never looks at transfers, reservations or plans, only at what was asked and
 * answered, and says with plain sums what every user and market must have. Matching is judged by its result: over the book
 * as it was before, with exact prices, was there a better way?
 */
import type { Books, Effects, OrderRow } from '../../src/market/books.ts'
import { isOpen } from '../../src/market/books.ts'
import type { MarketId, UserId } from '../../src/market/model.ts'
import { costFunction, ONE, price } from './exact-lmsr.ts'

interface Held {
  readonly shares: bigint[]
  /** Paid for shares less got for them, fees left out. */
  net: bigint
}

interface RefMarket {
  readonly creatorId: UserId
  readonly liquidity: bigint
  /** All that came in less what went out, fees left out. */
  pool: bigint
  fees: bigint
  readonly held: Map<UserId, Held>
  paid: boolean
}

export class MarketReference {
  readonly #money = new Map<UserId, bigint>()
  readonly #markets = new Map<MarketId, RefMarket>()

  /** Follows what was committed. */
  follow(books: Books, effects: Effects): void {
    const { done } = effects
    if (done.type === 'account' && done.created) this.#money.set(done.userId, 1_000_000_000n)
    for (const event of effects.events) {
      if (event.type !== 'created') continue
      const { liquidity, outcomes } = books.market(event.marketId)!.draft
      if (outcomes.length !== 2) throw new Error('two outcomes')
      this.#markets.set(event.marketId, {
        creatorId: event.creatorId,
        liquidity,
        pool: liquidity,
        fees: 0n,
        held: new Map(),
        paid: false,
      })
      this.#give(event.creatorId, -liquidity)
    }
    for (const trade of effects.trades) {
      const market = this.#markets.get(trade.marketId)!
      const held = market.held.get(trade.userId) ?? { shares: [0n, 0n], net: 0n }
      market.held.set(trade.userId, held)
      const sign = trade.side === 'buy' ? 1n : -1n
      this.#give(trade.userId, -sign * trade.value - trade.fee)
      market.pool += sign * trade.value
      market.fees += trade.fee
      held.shares[trade.outcome]! += sign * trade.shares
      held.net += sign * trade.value
    }
    for (const row of effects.markets) {
      const market = this.#markets.get(row.id)!
      if (row.paidAt === null || market.paid) continue
      market.paid = true
      this.#pay(market, row.resolution!)
    }
  }

  #pay(market: RefMarket, resolution: { kind: string; outcome?: number }): void {
    const owed: [UserId, bigint][] = []
    let sum = 0n
    for (const [userId, held] of market.held) {
      const holds = held.shares.some((s) => s > 0n)
      let due = 0n
      if (resolution.kind === 'outcome') due = held.shares[resolution.outcome!]! * 100n
      else if (holds && held.net > 0n) due = held.net
      owed.push([userId, due])
      sum += due
      held.shares.fill(0n)
    }
    const there = market.pool
    for (const [userId, due] of owed) {
      const gets = sum > there ? (due * there) / sum : due
      this.#give(userId, gets)
      market.pool -= gets
    }
    if (sum > there) market.fees += market.pool
    else this.#give(market.creatorId, market.pool)
    market.pool = 0n
  }

  #give(userId: UserId, amount: bigint): void {
    this.#money.set(userId, (this.#money.get(userId) ?? 0n) + amount)
  }

  /** What the books have otherwise, as sentences. */
  differences(books: Books): string[] {
    const found: string[] = []
    for (const [userId, money] of this.#money) {
      const account = books.account(userId)!
      const there = account.available + account.reserved
      if (there !== money) found.push(`${userId} has ${there}, should have ${money}`)
      if (there < 0n) found.push(`${userId} is below nothing`)
    }
    for (const [id, market] of this.#markets) {
      const row = books.market(id)!
      if (row.pool + row.escrow !== market.pool)
        found.push(`${id} has ${row.pool + row.escrow}, should have ${market.pool}`)
      if (row.fees !== market.fees) found.push(`${id} has fees of ${row.fees}, should have ${market.fees}`)
      for (const [userId, held] of market.held)
        held.shares.forEach((shares, outcome) => {
          const there = books.holding(userId, id, outcome)?.shares ?? 0n
          if (there !== shares) found.push(`${userId} has ${there} of ${id}/${outcome}, should have ${shares}`)
        })
    }
    return found
  }
}

interface Met {
  readonly order: OrderRow
  /** What a taker of this side pays (gets) a share, in millionths. */
  readonly price: bigint
}

/**
 * What is wrong with the trades of one command: `orders` is the book before it, `effects` what it did. Orders must have been
 * met best price first and older first; no order left may be better than the maker's last price, and the maker must have
 * sold (bought) all that was better than the last order met. Prices by rational arithmetic, to a millionth.
 */
export function wrongMatching(books: Books, orders: readonly OrderRow[], effects: Effects, now: number): string[] {
  const wrong: string[] = []
  const taker = effects.trades.find((t) => t.role === 'taker')
  if (taker === undefined) return wrong
  const { marketId, side, outcome } = taker
  const market = books.market(marketId)!
  const sign = side === 'buy' ? 1n : -1n
  const counter: Met[] = []
  for (const order of orders) {
    if (order.marketId !== marketId || !isOpen(order) || order.userId === taker.userId) continue
    if (order.expiresAt !== null && order.expiresAt <= now) continue
    if (order.outcome === outcome && order.side !== side) counter.push({ order, price: order.limit! })
    if (order.outcome !== outcome && order.side === side) counter.push({ order, price: 1_000_000n - order.limit! })
  }
  counter.sort((a, b) => {
    if (a.price !== b.price) return sign * (a.price - b.price) < 0n ? -1 : 1
    return a.order.priority - b.order.priority
  })
  const met = effects.trades.filter((t) => t.role === 'resting').map((t) => t.orderId)
  const expected = counter.slice(0, met.length).map((c) => c.order.id)
  if (met.join() !== expected.join()) wrong.push(`met ${met.join()}, in line were ${expected.join()}`)
  // Every order met but the last is used up.
  met.slice(0, -1).forEach((id) => {
    if (effects.orders.find((o) => o.id === id)?.remainingShares !== 0n) wrong.push(`${id} was passed with shares left`)
  })
  const makerFill = taker.fills.find((f) => f.against === 'maker')
  const after = effects.markets.find((m) => m.id === marketId)!
  const gapBefore = market.sold[outcome]! - market.sold[1 - outcome]!
  const gapAfter = after.sold[outcome]! - after.sold[1 - outcome]!
  const moved = sign * (gapAfter - gapBefore)
  if (moved !== (makerFill?.shares ?? 0n)) wrong.push(`the maker moved by ${moved}, filled ${makerFill?.shares}`)
  const { liquidity } = market.draft
  const millionth = ONE / 1_000_000n
  const last = price(liquidity, [after.sold[0]!, after.sold[1]!], outcome)
  const lastMet = counter[met.length - 1]
  // Two units further the maker must be beyond the order that was met after it. (Of a limit order, the last grain of
  // rounding may have left the maker's few units: nothing is said then.)
  const leftByRounding = makerFill === undefined && taker.orderId !== null
  if (lastMet !== undefined && !leftByRounding) {
    const further = [0n, 0n]
    further[outcome] = (gapAfter > 0n ? gapAfter : 0n) + (side === 'buy' ? 2n : 0n)
    further[1 - outcome] = (gapAfter < 0n ? -gapAfter : 0n) + (side === 'buy' ? 0n : 2n)
    const beyond = price(liquidity, further, outcome)
    if (sign * (beyond - lastMet.price * millionth) < 0n)
      wrong.push(`the maker was cheaper than ${lastMet.order.id} and was not used up`)
  }
  const unmet = counter[met.length]
  if (unmet !== undefined && makerFill !== undefined) {
    const past = sign * (last - unmet.price * millionth)
    const oneUnit = (100n * ONE) / liquidity
    if (past > oneUnit + ONE / 10n ** 15n) wrong.push(`the maker went beyond ${unmet.order.id}, which was better`)
  }
  if (makerFill !== undefined) {
    const before = [gapBefore > 0n ? gapBefore : 0n, gapBefore < 0n ? -gapBefore : 0n]
    const start = outcome === 0 ? before : [before[1]!, before[0]!]
    const end = start.slice()
    end[outcome]! += sign * makerFill.shares
    const lift = end[outcome]! < 0n ? -end[outcome]! : 0n
    const exact =
      costFunction(
        liquidity,
        end.map((q) => q + lift),
      ) -
      lift * 100n * ONE -
      costFunction(liquidity, start)
    const off = makerFill.value * ONE - sign * exact
    if (sign * off < 0n || sign * off > ONE + ONE / 50n) wrong.push(`the maker took ${makerFill.value}, exact ${exact}`)
  }
  return wrong
}
