/**
 * What a transaction has to write: the effects of one command, or of a batch of them. Rows that change again and again
 * within a batch (a busy market, its traders) are written once, as they are at its end; sums are gathered and added once.
 *
 *   for each command:  changes.add(effects, books, …) ─▶ books.apply(effects)
 *   at the end:        ONE transaction writes changes: rows, added rows, sums, and takes void markets out of the sums
 *
 * Pure: both databases write the same thing.
 */
import { DAY, HOUR, MINUTE, type Millis } from '../../base/time.ts'
import type { AccountRow, Books, DisputeRow, Effects, HoldingRow, MarketRow, OrderRow } from '../books.ts'
import type { MarketEvent } from '../events.ts'
import type { Category, MarketId, OrderId, UserId } from '../model.ts'

/** A command that was decided, with what it was answered. */
export interface CommandRow {
  readonly key: string
  readonly fingerprint: string
  readonly answer: string
  readonly at: Millis
}

export interface Sums {
  profit: bigint
  volume: bigint
  trades: number
  markets: number
  scored: number
  won: number
  brier: number
}

export interface MarketBucket {
  readonly marketId: MarketId
  readonly step: number
  readonly at: Millis
  volume: bigint
  trades: number
  prices: readonly bigint[]
}

export interface CategoryBucket {
  readonly category: Category
  readonly at: Millis
  volume: bigint
  trades: number
}

export interface UserBucket {
  readonly userId: UserId
  readonly step: number
  readonly at: Millis
  readonly sums: Sums
}

/** Whether what happened to a market was trading alone. */
function onlyTraded(before: MarketRow, after: MarketRow): boolean {
  return (
    before.draft === after.draft &&
    before.state === after.state &&
    before.escrow === after.escrow &&
    before.closedAt === after.closedAt &&
    before.resolution === after.resolution &&
    before.resolutionSource === after.resolutionSource &&
    before.resolvedAt === after.resolvedAt &&
    before.finalAt === after.finalAt &&
    before.paidAt === after.paidAt
  )
}

export const bucketOf = (at: Millis, step: number): Millis => at - (at % step)

export class Changes {
  readonly accounts = new Map<UserId, AccountRow>()
  readonly markets = new Map<MarketId, MarketRow>()
  /** Those of `markets` that have changed by more than trading. */
  readonly remade = new Set<MarketId>()
  /** Those of `markets` whose words are new or were edited. */
  readonly texts = new Map<MarketId, MarketRow>()
  readonly orders = new Map<OrderId, OrderRow>()
  readonly holdings = new Map<string, HoldingRow>()
  readonly disputes = new Map<string, DisputeRow>()
  readonly trades: Effects['trades'][number][] = []
  readonly transfers: Effects['transfers'][number][] = []
  readonly profits: Effects['profits'][number][] = []
  readonly scores: Effects['scores'][number][] = []
  readonly events: MarketEvent[] = []
  readonly commands: CommandRow[] = []
  /** Markets that were paid out as void: what was counted of them is taken out of the sums. */
  readonly voided: MarketRow[] = []
  readonly standings = new Map<UserId, Sums>()
  readonly userBuckets = new Map<string, UserBucket>()
  readonly marketBuckets = new Map<string, MarketBucket>()
  readonly categoryBuckets = new Map<string, CategoryBucket>()
  /** Of `orders`, by owner and by the name that the owner gave. */
  readonly #named = new Map<string, OrderRow>()
  signUps = 0

  clientOrder(userId: UserId, clientOrderId: string): OrderRow | undefined {
    return this.#named.get(`${userId}/${clientOrderId}`)
  }

  get isEmpty(): boolean {
    const rows = this.accounts.size + this.markets.size + this.orders.size + this.holdings.size + this.disputes.size
    return rows + this.commands.length === 0
  }

  /** `books` are as they were when `effects` were decided. */
  add(effects: Effects, books: Books): void {
    if (effects.done.type === 'account' && effects.done.created) this.signUps++
    for (const row of effects.accounts) this.accounts.set(row.userId, row)
    for (const row of effects.markets) {
      const before = books.market(row.id)
      if (before === undefined || !onlyTraded(before, row)) this.remade.add(row.id)
      if (before === undefined || before.draft !== row.draft) this.texts.set(row.id, row)
      if (before === undefined) this.#count(row.creatorId, row.createdAt).forEach((sums) => void sums.markets++)
      if (row.paidAt !== null && before?.paidAt === null && row.resolution?.kind === 'void') this.voided.push(row)
      this.markets.set(row.id, row)
    }
    for (const row of effects.orders) {
      this.orders.set(row.id, row)
      if (row.clientOrderId !== null) this.#named.set(`${row.userId}/${row.clientOrderId}`, row)
    }
    for (const row of effects.holdings) this.holdings.set(row.id, row)
    for (const row of effects.disputes) this.disputes.set(row.id, row)
    for (const row of effects.trades) {
      this.trades.push(row)
      for (const sums of this.#count(row.userId, row.createdAt)) {
        sums.volume += row.value
        sums.trades++
      }
      if (row.role === 'taker') {
        const market = this.markets.get(row.marketId) ?? books.market(row.marketId)
        if (market !== undefined) this.#traded(row, market.draft.category)
      }
    }
    for (const row of effects.transfers) this.transfers.push(row)
    for (const row of effects.profits) {
      this.profits.push(row)
      for (const sums of this.#count(row.userId, row.at)) sums.profit += row.amount
    }
    for (const row of effects.scores) {
      this.scores.push(row)
      for (const sums of this.#count(row.userId, row.at)) {
        sums.scored++
        sums.won += row.won ? 1 : 0
        sums.brier += row.brier
      }
    }
    for (const event of effects.events) this.events.push(event)
  }

  #traded(row: Effects['trades'][number], category: Category): void {
    for (const step of [MINUTE, HOUR]) {
      const at = bucketOf(row.createdAt, step)
      const key = `${row.marketId}/${step}/${at}`
      const bucket = this.marketBuckets.get(key)
      if (bucket === undefined) {
        const { marketId, value, prices } = row
        this.marketBuckets.set(key, { marketId, step, at, volume: value, trades: 1, prices })
      } else {
        bucket.volume += row.value
        bucket.trades++
        bucket.prices = row.prices
      }
    }
    const at = bucketOf(row.createdAt, MINUTE)
    const key = `${category}/${at}`
    const bucket = this.categoryBuckets.get(key)
    if (bucket === undefined) this.categoryBuckets.set(key, { category, at, volume: row.value, trades: 1 })
    else {
      bucket.volume += row.value
      bucket.trades++
    }
  }

  /** The sums that something of this user at this time belongs to: its hour, its day, all time. */
  #count(userId: UserId, time: Millis): readonly Sums[] {
    let standing = this.standings.get(userId)
    if (standing === undefined) {
      standing = noSums()
      this.standings.set(userId, standing)
    }
    return [standing, this.#bucket(userId, HOUR, time), this.#bucket(userId, DAY, time)]
  }

  #bucket(userId: UserId, step: number, time: Millis): Sums {
    const at = bucketOf(time, step)
    const key = `${userId}/${step}/${at}`
    let bucket = this.userBuckets.get(key)
    if (bucket === undefined) {
      bucket = { userId, step, at, sums: noSums() }
      this.userBuckets.set(key, bucket)
    }
    return bucket.sums
  }
}

const noSums = (): Sums => ({ profit: 0n, volume: 0n, trades: 0, markets: 0, scored: 0, won: 0, brier: 0 })
