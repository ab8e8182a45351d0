/**
 * The read side of the market: what lists, pages and quotes are made of. Answers are plain data in whole units; the
 * routes turn them into decimals. One implementation a database, one shared contract test; each list is paged and
 * served by an index. Never sees more than is committed, and after an answer to a command never less than that command.
 */
import type { Millis } from '../base/time.ts'
import type { OrderView, TradeDone } from './commands.ts'
import type {
  Category,
  MarketDraft,
  MarketId,
  MarketState,
  Money,
  OrderId,
  OrderState,
  Outcome,
  Price,
  Resolution,
  Shares,
  Side,
  TradeId,
  UserId,
} from './model.ts'

export interface MarketView extends MarketDraft {
  readonly id: MarketId
  readonly creatorId: UserId
  /** As the clock has it: a market whose time has come is closed, also when no job ran. */
  readonly state: MarketState
  /** Grows by one with each committed change of the market: events carry it, quotes are bound to it. */
  readonly version: number
  /** Shares of each outcome that the maker has sold. */
  readonly sold: readonly Shares[]
  readonly prices: readonly Price[]
  readonly createdAt: Millis
  readonly resolution: Resolution | null
  readonly resolutionSource: string | null
  readonly resolvedAt: Millis | null
  /** Until when it may be disputed, or null. */
  readonly finalAt: Millis | null
  readonly volumeTotal: Money
  readonly volume24h: Money
  readonly trades: number
  readonly traders: number
  /** 0 to 100. */
  readonly trendingScore: number
  /** Change of the first outcome's price over 24 h; null when the market is younger. */
  readonly change24h: Price | null
}

export interface MarketFilter {
  readonly category: Category | null
  readonly state: MarketState | null
  readonly trending: boolean
  /** Words, found in title, question, description and tags. */
  readonly search: string | null
  readonly sort: 'new' | 'closing' | 'volume' | 'trending'
}

export interface Page {
  readonly skip: number
  readonly limit: number
}
export interface Paged<T> {
  readonly rows: readonly T[]
  readonly total: number
}

export interface PricePoint {
  readonly at: Millis
  readonly prices: readonly Price[]
  readonly volume: Money
}

export interface BookLevel {
  readonly price: Price
  readonly shares: Shares
  readonly orders: number
}

export interface PositionView {
  readonly id: string
  readonly marketId: MarketId
  readonly outcome: Outcome
  readonly shares: Shares
  /** Held back by resting sell orders. */
  readonly reserved: Shares
  /** What the shares now held have cost, fees included. */
  readonly cost: Money
  readonly realized: Money
  readonly currentPrice: Price
  readonly isActive: boolean
  readonly updatedAt: Millis
}

export interface AccountView {
  readonly userId: UserId
  readonly available: Money
  /** Held back by resting buy orders. */
  readonly reserved: Money
  readonly portfolioValue: Money
  readonly trades: number
  readonly volume: Money
  readonly profit: Money
  /** Of resolved markets; null when none. Per cent. */
  readonly winRate: number | null
  readonly createdAt: Millis
}

export interface DisputeView {
  readonly id: string
  readonly marketId: MarketId
  readonly userId: UserId
  readonly disputeType: string
  readonly reason: string
  readonly evidence: string | null
  readonly state: 'open' | 'upheld' | 'rejected'
  readonly createdAt: Millis
}

export type Period = '24h' | '7d' | '30d' | 'all_time'
export interface Rank {
  readonly userId: UserId
  readonly username: string
  readonly profit: Money
  readonly volume: Money
  readonly trades: number
  readonly winRate: number | null
  readonly brier: number | null
  readonly markets: number
}

export interface Quote {
  readonly version: number
  readonly shares: Shares
  readonly fromBook: Shares
  readonly fromMaker: Shares
  readonly value: Money
  readonly fee: Money
  readonly averagePrice: Price
  readonly priceAfter: Price
}

export interface MarketStats {
  readonly total: number
  readonly active: number
  readonly volume24h: Money
  readonly volumeTotal: Money
  readonly mostActiveCategory: Category | null
  readonly perCategory: Readonly<Partial<Record<Category, number>>>
}

export type QuoteView = (Quote | { readonly invalid: string; readonly detail: string }) & {
  readonly closesAt: Millis
  readonly resting: ReadonlySet<UserId>
}

export interface MarketReads {
  market(id: MarketId, now: Millis): Promise<MarketView | null>
  markets(filter: MarketFilter, page: Page, now: Millis): Promise<Paged<MarketView>>
  /** Markets bound to a metric whose samples can be asked and that are not resolved; the first to close come first. */
  bound(now: Millis, limit: number): Promise<readonly MarketView[]>
  stats(now: Millis): Promise<MarketStats>
  /** `hours` null: the whole life, at a step that gives at most `points` points. */
  priceHistory(id: MarketId, hours: number | null, points: number, now: Millis): Promise<readonly PricePoint[]>
  /**
   * Null when there is no such market; `invalid` when it cannot be traded so, with the refusal the trade would get.
   * `closesAt` is when its market closes by the clock; `resting` are the users whose own orders rest in it at this version:
   * to nobody else it matters who asks, but for the least that may be sold.
   */
  quote(
    request: { marketId: MarketId; userId: UserId | null; side: Side; outcome: Outcome; shares: Shares },
    now: Millis,
  ): Promise<QuoteView | null>
  /** What rests, as it was ordered; what a taker meets says `book.ts`. */
  book(
    id: MarketId,
    outcome: Outcome,
    levels: number,
  ): Promise<{ bids: readonly BookLevel[]; asks: readonly BookLevel[] }>
  trades(filter: { marketId?: MarketId; userId?: UserId }, page: Page): Promise<Paged<TradeDone>>
  trade(id: TradeId): Promise<TradeDone | null>
  orders(userId: UserId, filter: { state?: OrderState; marketId?: MarketId }, page: Page): Promise<Paged<OrderView>>
  order(userId: UserId, id: OrderId): Promise<OrderView | null>
  positions(userId: UserId, activeOnly: boolean, page: Page): Promise<Paged<PositionView>>
  /** What a user holds of one market, by outcome. */
  holdings(userId: UserId, marketId: MarketId): Promise<readonly PositionView[]>
  position(userId: UserId, id: string): Promise<PositionView | null>
  account(userId: UserId): Promise<AccountView | null>
  disputes(id: MarketId, page: Page): Promise<Paged<DisputeView>>
  /** Void markets and sign-up grants are left out; own liquidity returned is no profit. */
  leaderboard(
    by: 'profit' | 'volume' | 'markets' | 'win_rate' | 'calibration',
    options: { period: Period; minimum: number; limit: number },
    now: Millis,
  ): Promise<readonly Rank[]>
}
