/**
 * What a trade would meet: the better of the maker and the book, all the way. Nothing is changed here, so a quote and the
 * trade that follows it are one and the same computation.
 *
 *   taker buys outcome A   ── the maker, whose price rises with each unit, up to the next order's price
 *                          ── sells of A resting at l                       for l                  (shares change hands)
 *                          ── buys of B resting at l, when there are two    for 1 - l     (a pair is made: both pay 1)
 *   taker sells outcome A  ── the maker, buys of A at l, and sells of B at 1 - l            (a pair is given back for 1)
 *
 * An order at the maker's price goes first, then the older order. Making or giving back pairs leaves the maker's prices as
 * they are. So after any trade no order rests on the wrong side of the maker's price: an order is met when its price comes,
 * whoever brought it there.
 *
 * A taker's own resting order in the way is cancelled and the trade goes on past it: nobody trades with oneself. What of an
 * order's value is no whole unit is at the taker's cost. Only takers pay fees. All maker units of one command are one fill,
 * priced from where the maker stood to where it ends.
 */
import type { Millis } from '../base/time.ts'
import type { Books, MarketRow, OrderRow } from './books.ts'
import type { Outcome, Price, Side, UserId } from './model.ts'
import { feeOn, Maker, PAYOUT, SOLD_MAX, valueDown, valueUp } from './pricing/lmsr.ts'

export interface Taker {
  readonly userId: UserId | null
  readonly side: Side
  readonly outcome: Outcome
  /** Units wanted, 1 to SOLD_MAX. */
  readonly shares: number
  /** No unit at a worse price than this; null takes them all. */
  readonly limit: Price | null
}

/** One exchange of the plan. All numbers are whole units. */
export interface Leg {
  /** The resting order, or null for the maker. */
  readonly order: OrderRow | null
  /** `swap`: shares change hands; `pair`: each side gets (or gives back) its outcome against the pool. */
  readonly kind: 'maker' | 'swap' | 'pair'
  readonly shares: number
  /** What the taker pays or gets, the fee left out. */
  readonly value: number
  readonly fee: number
  /** What the owner of the order pays or gets. */
  readonly orderValue: number
}

export interface Plan {
  readonly legs: readonly Leg[]
  readonly shares: number
  readonly value: number
  readonly fee: number
  readonly fromMaker: number
  /** Own orders in the way, to be cancelled. */
  readonly own: readonly OrderRow[]
  /** Orders in the way whose time is over. */
  readonly expired: readonly OrderRow[]
  /** Where the maker ends. */
  readonly prices: readonly Price[]
  /** More of an outcome would be out than a market can have. */
  readonly tooMany: boolean
}

/** Whether `price` is no worse for a taker of `side` than `limit`. */
function within(side: Side, price: number, limit: number): boolean {
  return side === 'buy' ? price <= limit : price >= limit
}

/** The orders that a taker can meet, best price for the taker first, older first at the same price. */
class Counter {
  readonly #side: Side
  readonly #direct: readonly OrderRow[]
  readonly #pairs: readonly OrderRow[]
  #nextDirect = 0
  #nextPair = 0

  constructor(books: Books, market: MarketRow, side: Side, outcome: Outcome) {
    this.#side = side
    this.#direct = books.resting(market.id, outcome, side === 'buy' ? 'sell' : 'buy')
    this.#pairs = market.sold.length === 2 ? books.resting(market.id, 1 - outcome, side) : []
  }

  /** The best order not passed yet. */
  best(): { readonly order: OrderRow; readonly price: number; readonly kind: 'swap' | 'pair' } | null {
    const direct = this.#direct[this.#nextDirect]
    const pair = this.#pairs[this.#nextPair]
    if (direct === undefined && pair === undefined) return null
    const directPrice = direct === undefined ? 0 : Number(direct.limit)
    const pairPrice = pair === undefined ? 0 : 1_000_000 - Number(pair.limit)
    const takeDirect =
      pair === undefined ||
      (direct !== undefined &&
        (directPrice === pairPrice ? direct.priority < pair.priority : within(this.#side, directPrice, pairPrice)))
    return takeDirect
      ? { order: direct!, price: directPrice, kind: 'swap' }
      : { order: pair, price: pairPrice, kind: 'pair' }
  }

  pass(kind: 'swap' | 'pair'): void {
    if (kind === 'swap') this.#nextDirect++
    else this.#nextPair++
  }
}

/** Works out a trade in an open market. Sellers have the shares: the caller checks it. */
export function plan(books: Books, market: MarketRow, taker: Taker, now: Millis): Plan {
  const { side, outcome } = taker
  const feeRate = Number(market.draft.feeRate)
  const limit = taker.limit === null ? null : Number(taker.limit)
  const maker = new Maker(market.draft.liquidity, market.sold)
  const counter = new Counter(books, market, side, outcome)
  const legs: Leg[] = []
  const own: OrderRow[] = []
  const expired: OrderRow[] = []
  // `maker.sold` runs along; its value is asked for once, at the end.
  let fromMaker = 0
  let left = taker.shares
  let pairs = 0
  while (left > 0) {
    let next = counter.best()
    if (next !== null && limit !== null && !within(side, next.price, limit)) next = null
    if (next !== null && next.order.expiresAt !== null && next.order.expiresAt <= now) {
      expired.push(next.order)
      counter.pass(next.kind)
      continue
    }
    const until = next === null ? limit : next.price
    let units = left
    if (until !== null) units = Math.min(left, maker.reach(side, outcome, until) - fromMaker)
    if (units > 0) {
      fromMaker += units
      left -= units
    }
    if (next === null) break
    if (left === 0) break
    counter.pass(next.kind)
    if (next.order.userId === taker.userId) {
      own.push(next.order)
      continue
    }
    const shares = Math.min(left, Number(next.order.remainingShares))
    const price = Number(next.order.limit)
    left -= shares
    if (next.kind === 'swap') {
      const value = side === 'buy' ? valueUp(shares, price) : valueDown(shares, price)
      legs.push({ order: next.order, kind: 'swap', shares, value, fee: feeOn(value, feeRate), orderValue: value })
    } else {
      pairs += shares
      const orderValue = side === 'buy' ? valueDown(shares, price) : valueUp(shares, price)
      const value = shares * PAYOUT - orderValue
      legs.push({ order: next.order, kind: 'pair', shares, value, fee: feeOn(value, feeRate), orderValue })
    }
  }
  let prices = market.prices
  if (fromMaker > 0) {
    const value = maker.move(side, outcome, fromMaker)
    // The last grain of rounding may put a handful of units beyond a limit: they are left.
    const beyond =
      limit !== null && (side === 'buy' ? value > valueUp(fromMaker, limit) : value < valueDown(fromMaker, limit))
    if (beyond) fromMaker = 0
    else {
      legs.push({ order: null, kind: 'maker', shares: fromMaker, value, fee: feeOn(value, feeRate), orderValue: 0 })
      prices = maker.prices()
    }
  }
  let shares = 0
  let value = 0
  let fee = 0
  for (let i = 0; i < legs.length; i++) {
    const leg = legs[i]!
    shares += leg.shares
    value += leg.value
    fee += leg.fee
  }
  const out = side === 'buy' ? maker.sold[outcome]! + pairs : 0
  const outBeside = side === 'buy' && pairs > 0 ? maker.sold[1 - outcome]! + pairs : 0
  return {
    legs,
    shares,
    value,
    fee,
    fromMaker,
    own,
    expired,
    prices,
    tooMany: out > SOLD_MAX || outBeside > SOLD_MAX,
  }
}

/** Average price in millionths, rounded against the taker: it holds as a limit of that very trade. */
export function averagePrice(side: Side, value: bigint, shares: bigint): Price {
  if (shares === 0n) return 0n
  return side === 'buy' ? (value * 10_000n + shares - 1n) / shares : (value * 10_000n) / shares
}
