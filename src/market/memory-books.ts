/**
 * The books in memory: what the writer decides over, and what tests and benches use. Rows are kept as they came;
 * `apply` puts the rows of effects in place and keeps the indexes:
 *
 *   market ─▶ outcome × side ─▶ open orders, sorted by price and priority     (an array: the best is first)
 *   market ─▶ user ─▶ holdings by outcome          user ─▶ open orders          user ─▶ times of the markets it made
 *
 * With `past`, what is done is dropped from memory (closed orders, holdings and disputes of markets that are paid out) and
 * asked there; without it everything stays.
 */
import type { Millis } from '../base/time.ts'
import type { AccountRow, Books, DisputeRow, Due, Effects, HoldingRow, MarketRow, OrderRow } from './books.ts'
import { isOpen } from './books.ts'
import type { MarketId, OrderId, Outcome, Price, Side, UserId } from './model.ts'

/** The rows of effects, without what is only written down (trades, transfers, profits, scores, events). */
export type BookRows = Pick<Effects, 'accounts' | 'markets' | 'orders' | 'holdings' | 'disputes'>

/** Where closed orders are found when memory does not keep them. */
export interface PastOrders {
  order(id: OrderId): OrderRow | undefined
  clientOrder(userId: UserId, clientOrderId: string): OrderRow | undefined
}

interface MarketBook {
  /** By outcome * 2 + (0 buy, 1 sell). */
  readonly sides: OrderRow[][]
  readonly holders: Map<UserId, (HoldingRow | undefined)[]>
  disputes: DisputeRow[]
}

const NO_ORDERS: readonly OrderRow[] = []
const NOTHING_DUE: Due = { closing: [], paying: [], expiring: [] }
const NEVER = Number.POSITIVE_INFINITY

export class MemoryBooks implements Books {
  readonly accounts = new Map<UserId, AccountRow>()
  readonly markets = new Map<MarketId, MarketRow>()
  readonly #orders = new Map<OrderId, OrderRow>()
  readonly #byClientId = new Map<UserId, Map<string, OrderRow>>()
  readonly #openOf = new Map<UserId, Map<OrderId, OrderRow>>()
  readonly #books = new Map<MarketId, MarketBook>()
  readonly #made = new Map<UserId, Millis[]>()
  readonly #unpaid = new Set<MarketId>()
  readonly #expiring = new Map<OrderId, OrderRow>()
  readonly #past: PastOrders | null
  /** Nothing is due before it: a lower bound that spares a tick the scan. */
  #quietUntil: Millis = NEVER

  constructor(past: PastOrders | null = null) {
    this.#past = past
  }

  account(id: UserId): AccountRow | undefined {
    return this.accounts.get(id)
  }

  market(id: MarketId): MarketRow | undefined {
    return this.markets.get(id)
  }

  order(id: OrderId): OrderRow | undefined {
    return this.#orders.get(id) ?? this.#past?.order(id)
  }

  clientOrder(userId: UserId, clientOrderId: string): OrderRow | undefined {
    return this.#byClientId.get(userId)?.get(clientOrderId) ?? this.#past?.clientOrder(userId, clientOrderId)
  }

  resting(marketId: MarketId, outcome: Outcome, side: Side): readonly OrderRow[] {
    return this.#books.get(marketId)?.sides[sideIndex(outcome, side)] ?? NO_ORDERS
  }

  openOrders(userId: UserId, marketId: MarketId | null): readonly OrderRow[] {
    const all = this.#openOf.get(userId)
    if (all === undefined) return NO_ORDERS
    const rows = [...all.values()]
    return marketId === null ? rows : rows.filter((row) => row.marketId === marketId)
  }

  holding(userId: UserId, marketId: MarketId, outcome: Outcome): HoldingRow | undefined {
    return this.#books.get(marketId)?.holders.get(userId)?.[outcome]
  }

  *holdings(marketId: MarketId): Iterable<HoldingRow> {
    for (const rows of this.#books.get(marketId)?.holders.values() ?? []) {
      for (const row of rows) if (row !== undefined) yield row
    }
  }

  disputes(marketId: MarketId): readonly DisputeRow[] {
    return this.#books.get(marketId)?.disputes ?? []
  }

  marketsMade(userId: UserId, since: Millis): number {
    const times = this.#made.get(userId) ?? []
    let count = 0
    for (let i = times.length - 1; i >= 0 && times[i]! >= since; i--) count++
    return count
  }

  due(now: Millis, marketId: MarketId | null): Due {
    if (now < this.#quietUntil) return NOTHING_DUE
    const due = { closing: [] as MarketId[], paying: [] as MarketId[], expiring: [] as OrderId[] }
    let quietUntil = NEVER
    for (const id of marketId === null ? this.#unpaid : [marketId]) {
      const market = this.markets.get(id)
      if (market === undefined) continue
      const at = marketDueAt(market)
      quietUntil = Math.min(quietUntil, at)
      if (at <= now) (market.state === 'resolved' ? due.paying : due.closing).push(id)
    }
    for (const order of this.#expiring.values()) {
      const at = order.expiresAt ?? NEVER
      quietUntil = Math.min(quietUntil, at)
      if (at <= now && (marketId === null || order.marketId === marketId)) due.expiring.push(order.id)
    }
    if (marketId === null) this.#quietUntil = quietUntil
    return due
  }

  /** Every order in memory: all that are open, and with no `past` all that ever were. */
  orders(): Iterable<OrderRow> {
    return this.#orders.values()
  }

  /** Puts rows in place: those of effects that are durable, or of a database at the start. Cannot fail. */
  apply(rows: BookRows): void {
    for (const row of rows.accounts) this.accounts.set(row.userId, row)
    for (const row of rows.markets) this.#putMarket(row)
    for (const row of rows.orders) this.#putOrder(row)
    for (const row of rows.holdings) this.#putHolding(row)
    for (const row of rows.disputes) {
      const book = this.#book(row.marketId)
      book.disputes = [...book.disputes.filter((other) => other.id !== row.id), row]
    }
    if (this.#past !== null) for (const row of rows.markets) if (row.paidAt !== null) this.#books.delete(row.id)
  }

  #putMarket(row: MarketRow): void {
    if (!this.markets.has(row.id)) {
      const times = this.#made.get(row.creatorId)
      if (times === undefined) this.#made.set(row.creatorId, [row.createdAt])
      else
        times.splice(
          bisect(times, (at) => at <= row.createdAt),
          0,
          row.createdAt,
        )
    }
    this.markets.set(row.id, row)
    if (row.paidAt === null) this.#unpaid.add(row.id)
    else this.#unpaid.delete(row.id)
    const at = marketDueAt(row)
    if (at < this.#quietUntil) this.#quietUntil = at
  }

  #putOrder(row: OrderRow): void {
    const before = this.#orders.get(row.id)
    const wasOpen = before !== undefined && isOpen(before)
    const open = isOpen(row)
    if (wasOpen || open) {
      const side = this.#side(row)
      const at = wasOpen ? placeOf(side, before) : -1
      if (wasOpen && open && before.limit === row.limit && before.priority === row.priority) side[at] = row
      else {
        if (wasOpen) side.splice(at, 1)
        if (open) side.splice(placeOf(side, row), 0, row)
      }
    }
    let openOfUser = this.#openOf.get(row.userId)
    if (open) {
      if (openOfUser === undefined) {
        openOfUser = new Map()
        this.#openOf.set(row.userId, openOfUser)
      }
      openOfUser.set(row.id, row)
      if (row.expiresAt === null) this.#expiring.delete(row.id)
      else {
        this.#expiring.set(row.id, row)
        if (row.expiresAt < this.#quietUntil) this.#quietUntil = row.expiresAt
      }
    } else if (wasOpen) {
      openOfUser?.delete(row.id)
      if (openOfUser?.size === 0) this.#openOf.delete(row.userId)
      this.#expiring.delete(row.id)
    }
    const kept = open || this.#past === null
    if (kept) this.#orders.set(row.id, row)
    else this.#orders.delete(row.id)
    if (row.clientOrderId !== null) {
      let named = this.#byClientId.get(row.userId)
      if (kept) {
        if (named === undefined) {
          named = new Map()
          this.#byClientId.set(row.userId, named)
        }
        named.set(row.clientOrderId, row)
      } else {
        named?.delete(row.clientOrderId)
        if (named?.size === 0) this.#byClientId.delete(row.userId)
      }
    }
  }

  #putHolding(row: HoldingRow): void {
    const holders = this.#book(row.marketId).holders
    const rows = holders.get(row.userId)
    if (rows === undefined) {
      const fresh: (HoldingRow | undefined)[] = []
      for (let outcome = 0; outcome < row.outcome; outcome++) fresh.push(undefined)
      fresh.push(row)
      holders.set(row.userId, fresh)
      return
    }
    while (rows.length < row.outcome) rows.push(undefined)
    rows[row.outcome] = row
  }

  #book(marketId: MarketId): MarketBook {
    let book = this.#books.get(marketId)
    if (book === undefined) {
      book = { sides: [], holders: new Map(), disputes: [] }
      this.#books.set(marketId, book)
    }
    return book
  }

  #side(row: OrderRow): OrderRow[] {
    const sides = this.#book(row.marketId).sides
    const index = sideIndex(row.outcome, row.side)
    while (sides.length <= index) sides.push([])
    return sides[index]!
  }
}

function sideIndex(outcome: Outcome, side: Side): number {
  return outcome * 2 + (side === 'buy' ? 0 : 1)
}

function marketDueAt(market: MarketRow): Millis {
  if (market.state === 'open' || market.state === 'suspended') return market.draft.closesAt
  return market.state === 'resolved' && market.paidAt === null ? (market.finalAt ?? NEVER) : NEVER
}

/** Whether `a` is served before `b` on their side of the book: by price, then by time. */
export function servedBefore(a: OrderRow, b: OrderRow): boolean {
  const priceA: Price = a.limit!
  const priceB: Price = b.limit!
  if (priceA !== priceB) return a.side === 'buy' ? priceA > priceB : priceA < priceB
  return a.priority < b.priority
}

/** Where a row is, or belongs, in its side. Priorities within a market are unique. */
function placeOf(side: readonly OrderRow[], row: OrderRow): number {
  return bisect(side, (other) => servedBefore(other, row))
}

/** The first index whose item is not `before`. */
function bisect<T>(items: readonly T[], before: (item: T) => boolean): number {
  let from = 0
  let to = items.length
  while (from < to) {
    const middle = (from + to) >> 1
    if (before(items[middle]!)) from = middle + 1
    else to = middle
  }
  return from
}
