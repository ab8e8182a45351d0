/**
 * The ledger at work: the changes of one command, as it makes them. It holds a working copy of each row that is touched and
 * the transfers that led there; `rows` hands them over as effects. Everything was checked before the first change, so a
 * transfer cannot be refused here: one that would leave less than nothing is a fault of the program, and throws.
 *
 * Double entry: each change of an amount is one transfer between two accounts, made by `money` or `shares`; nothing else
 * writes the fields that hold amounts.
 */
import type { Millis } from '../../base/time.ts'
import type {
  AccountRow,
  Books,
  DisputeRow,
  Effects,
  HoldingRow,
  LedgerAccount,
  MarketRow,
  OrderRow,
  ProfitRow,
  ScoreRow,
  TradeRow,
  Transfer,
  TransferReason,
} from '../books.ts'
import { isOpen } from '../books.ts'
import type { Done } from '../commands.ts'
import type { MarketEvent } from '../events.ts'
import type { MarketId, Money, OrderId, Outcome, Price, Shares, Side, TradeId, UserId } from '../model.ts'

export type Draft<T> = { -readonly [K in keyof T]: T[K] }

/** What a transfer belongs to. */
export interface Belongs {
  readonly marketId: MarketId | null
  readonly tradeId: TradeId | null
  readonly orderId: OrderId | null
}

type EventBody<T> = T extends unknown ? Omit<T, 'marketId' | 'seq' | 'at'> : never
type BookLevel = { outcome: Outcome; side: Side; price: Price; shares: Shares }

/** Rows by id, in the order of their first touch. Most commands touch one or two: a list is searched until it is long. */
class Touched<K, V> {
  readonly rows: V[] = []
  readonly #keys: K[] = []
  #index: Map<K, number> | null = null

  get(key: K): V | undefined {
    if (this.#index !== null) {
      const at = this.#index.get(key)
      return at === undefined ? undefined : this.rows[at]
    }
    for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] === key) return this.rows[i]
    return undefined
  }

  set(key: K, row: V): void {
    const at = this.#index === null ? this.#keys.indexOf(key) : (this.#index.get(key) ?? -1)
    if (at >= 0) {
      this.rows[at] = row
      return
    }
    this.#keys.push(key)
    this.rows.push(row)
    if (this.#index !== null) this.#index.set(key, this.rows.length - 1)
    else if (this.rows.length > 8) this.#index = new Map(this.#keys.map((known, i) => [known, i]))
  }
}

/** A transfer that its accounts cannot bear: a fault of the program, never of a request. */
export class LedgerFault extends Error {}

export class Changes {
  readonly #books: Books
  readonly #now: Millis
  readonly #accounts = new Touched<UserId, Draft<AccountRow>>()
  readonly #markets = new Touched<MarketId, Draft<MarketRow>>()
  readonly #orders = new Touched<OrderId, Draft<OrderRow>>()
  readonly #holdings = new Touched<UserId, Draft<HoldingRow>[]>()
  #disputes: DisputeRow[] | null = null
  readonly #trades: TradeRow[] = []
  readonly #transfers: Transfer[] = []
  #profits: ProfitRow[] | null = null
  #scores: ScoreRow[] | null = null
  readonly #events: MarketEvent[] = []
  readonly #newId: (now: Millis) => string
  /** Orders whose level of the book has changed, as they were or are. */
  #touched: OrderRow[] | null = null

  constructor(books: Books, newId: (now: Millis) => string, now: Millis) {
    this.#books = books
    this.#newId = newId
    this.#now = now
  }

  newId(): string {
    return this.#newId(this.#now)
  }

  /** The working copy of an account that is there. */
  account(id: UserId): Draft<AccountRow> {
    let row = this.#accounts.get(id)
    if (row === undefined) {
      const stored = this.#books.account(id)
      if (stored === undefined) throw new LedgerFault(`account ${id} is not in the books`)
      row = { ...stored }
      this.#accounts.set(id, row)
    }
    return row
  }

  addAccount(row: AccountRow): void {
    this.#accounts.set(row.userId, { ...row })
  }

  /** The working copy of a market that is there. */
  market(id: MarketId): Draft<MarketRow> {
    let row = this.#markets.get(id)
    if (row === undefined) {
      const stored = this.#books.market(id)
      if (stored === undefined) throw new LedgerFault(`market ${id} is not in the books`)
      row = { ...stored }
      this.#markets.set(id, row)
    }
    return row
  }

  addMarket(row: MarketRow): void {
    this.#markets.set(row.id, { ...row })
  }

  /** The working copy of an order that is there. */
  order(id: OrderId): Draft<OrderRow> {
    let row = this.#orders.get(id)
    if (row === undefined) {
      const stored = this.#books.order(id)
      if (stored === undefined) throw new LedgerFault(`order ${id} is not in the books`)
      row = { ...stored }
      this.#orders.set(id, row)
    }
    return row
  }

  addOrder(row: OrderRow): Draft<OrderRow> {
    const draft = { ...row }
    this.#orders.set(row.id, draft)
    return draft
  }

  /** The working copy of what a user holds; a row without anything when there was none. Counts new traders of a market. */
  holding(userId: UserId, marketId: MarketId, outcome: Outcome): Draft<HoldingRow> {
    let rows = this.#holdings.get(userId)
    if (rows === undefined) {
      rows = []
      this.#holdings.set(userId, rows)
    }
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      if (row.outcome === outcome && row.marketId === marketId) return row
    }
    const stored = this.#books.holding(userId, marketId, outcome)
    const row: Draft<HoldingRow> =
      stored === undefined ? this.#emptyHolding(userId, marketId, outcome) : { ...stored, updatedAt: this.#now }
    if (stored === undefined && this.#isNewTrader(userId, marketId, rows)) this.market(marketId).traders++
    rows.push(row)
    return row
  }

  #isNewTrader(userId: UserId, marketId: MarketId, touched: readonly HoldingRow[]): boolean {
    if (touched.some((row) => row.marketId === marketId)) return false
    const outcomes = this.market(marketId).sold.length
    for (let o = 0; o < outcomes; o++) if (this.#books.holding(userId, marketId, o) !== undefined) return false
    return true
  }

  #emptyHolding(userId: UserId, marketId: MarketId, outcome: Outcome): Draft<HoldingRow> {
    return {
      id: this.newId(),
      userId,
      marketId,
      outcome,
      shares: 0n,
      reserved: 0n,
      cost: 0n,
      realized: 0n,
      bought: 0n,
      sold: 0n,
      paid: 0n,
      received: 0n,
      fees: 0n,
      payout: 0n,
      trades: 0,
      createdAt: this.#now,
      updatedAt: this.#now,
    }
  }

  /** Moves money; nothing when the amount is 0. */
  money(
    from: LedgerAccount,
    fromId: UserId | MarketId | null,
    to: LedgerAccount,
    toId: UserId | MarketId | null,
    amount: Money,
    reason: TransferReason,
    belongs: Belongs,
  ): void {
    if (amount === 0n) return
    if (amount < 0n) throw new LedgerFault(`a transfer of ${amount} from ${from} ${fromId}`)
    this.#add(from, fromId, -amount, toId)
    this.#add(to, toId, amount, fromId)
    this.#transfers.push({
      asset: 'money',
      marketId: belongs.marketId,
      outcome: null,
      from,
      fromId,
      to,
      toId,
      amount,
      reason,
      tradeId: belongs.tradeId,
      orderId: belongs.orderId,
      at: this.#now,
    })
  }

  #add(account: LedgerAccount, id: UserId | MarketId | null, amount: Money, other: UserId | MarketId | null): void {
    let left: Money
    switch (account) {
      case 'available':
        left = this.account(id as UserId).available += amount
        break
      case 'reserved':
        left = this.account(id as UserId).reserved += amount
        break
      case 'pool':
        left = this.market(id as MarketId).pool += amount
        break
      case 'escrow':
        left = this.market(id as MarketId).escrow += amount
        break
      case 'fees':
        left = this.market(id as MarketId).fees += amount
        break
      case 'issuance':
        left = this.account(other as UserId).granted -= amount
        break
    }
    if (left < 0n) throw new LedgerFault(`${account} of ${id} would be ${left}`)
  }

  /** Moves shares of one outcome between users' accounts and their market's issuance; nothing when there are none. */
  shares(
    from: LedgerAccount,
    fromId: UserId | MarketId,
    to: LedgerAccount,
    toId: UserId | MarketId,
    outcome: Outcome,
    amount: Shares,
    reason: TransferReason,
    belongs: Belongs & { readonly marketId: MarketId },
  ): void {
    if (amount === 0n) return
    if (amount < 0n) throw new LedgerFault(`a transfer of ${amount} shares from ${from} ${fromId}`)
    this.#addShares(from, fromId, belongs.marketId, outcome, -amount)
    this.#addShares(to, toId, belongs.marketId, outcome, amount)
    this.#transfers.push({
      asset: 'shares',
      marketId: belongs.marketId,
      outcome,
      from,
      fromId,
      to,
      toId,
      amount,
      reason,
      tradeId: belongs.tradeId,
      orderId: belongs.orderId,
      at: this.#now,
    })
  }

  #addShares(
    account: LedgerAccount,
    id: UserId | MarketId,
    marketId: MarketId,
    outcome: Outcome,
    amount: Shares,
  ): void {
    if (account === 'issuance') {
      const market = this.market(marketId)
      const sold = market.sold.slice()
      sold[outcome]! -= amount
      market.sold = sold
      if (sold[outcome]! < 0n) throw new LedgerFault(`sold of ${marketId} would be ${sold[outcome]}`)
      return
    }
    const holding = this.holding(id as UserId, marketId, outcome)
    holding.shares += amount
    if (account === 'reserved') holding.reserved += amount
    if (holding.reserved < 0n || holding.shares < holding.reserved)
      throw new LedgerFault(`${account} shares of ${id} in ${marketId} would be ${holding.shares}, ${holding.reserved}`)
  }

  trade(row: TradeRow): void {
    this.#trades.push(row)
  }

  profit(row: ProfitRow): void {
    this.#profits ??= []
    this.#profits.push(row)
  }

  score(row: ScoreRow): void {
    this.#scores ??= []
    this.#scores.push(row)
  }

  dispute(row: DisputeRow): void {
    this.#disputes ??= []
    this.#disputes.push(row)
  }

  /** The level of the book at which this order rests has changed. */
  touch(order: OrderRow): void {
    this.#touched ??= []
    this.#touched.push({ ...order })
  }

  /** Adds an event with the market's next version. */
  event(marketId: MarketId, body: EventBody<MarketEvent>): void {
    const market = this.market(marketId)
    market.version++
    this.#events.push({ marketId, seq: market.version, at: this.#now, ...body } as MarketEvent)
  }

  /** Adds the events of the levels that were touched, if any. */
  bookEvents(): void {
    if (this.#touched === null) return
    const changed = new Map<string, Shares>()
    for (const row of this.#orders.rows) {
      if (!isOpen(row)) continue
      const key = levelKey(row)
      changed.set(key, (changed.get(key) ?? 0n) + row.remainingShares)
    }
    const seen = new Set<string>()
    const levels = new Map<MarketId, BookLevel[]>()
    for (const order of this.#touched) {
      const key = levelKey(order)
      if (seen.has(key)) continue
      seen.add(key)
      const shares = this.#untouchedShares(order) + (changed.get(key) ?? 0n)
      const level = { outcome: order.outcome, side: order.side, price: order.limit!, shares }
      const of = levels.get(order.marketId)
      if (of === undefined) levels.set(order.marketId, [level])
      else of.push(level)
    }
    for (const [marketId, of] of levels) this.event(marketId, { type: 'book', levels: of })
  }

  /** What rests at the level of an order and has no working copy here. */
  #untouchedShares(level: OrderRow): Shares {
    const side = this.#books.resting(level.marketId, level.outcome, level.side)
    let shares = 0n
    for (let i = firstAtLevel(side, level.side, level.limit!); i < side.length; i++) {
      const row = side[i]!
      if (row.limit !== level.limit) break
      if (this.#orders.get(row.id) === undefined) shares += row.remainingShares
    }
    return shares
  }

  effects(done: Done): Effects {
    return {
      done,
      accounts: this.#accounts.rows,
      markets: this.#markets.rows,
      orders: this.#orders.rows,
      holdings: this.#holdings.rows.length === 1 ? this.#holdings.rows[0]! : this.#holdings.rows.flat(),
      disputes: this.#disputes ?? [],
      trades: this.#trades,
      transfers: this.#transfers,
      profits: this.#profits ?? [],
      scores: this.#scores ?? [],
      events: this.#events,
    }
  }
}

function levelKey(order: OrderRow): string {
  return `${order.marketId}/${order.outcome}/${order.side}/${order.limit}`
}

/** Index of the first order of a sorted side that is not at a better price than `limit`. */
function firstAtLevel(side: readonly OrderRow[], of: Side, limit: Price): number {
  let from = 0
  let to = side.length
  while (from < to) {
    const middle = (from + to) >> 1
    const price = side[middle]!.limit!
    if (of === 'buy' ? price > limit : price < limit) from = middle + 1
    else to = middle
  }
  return from
}
