/**
 * What happened to a market, in the order it was committed: what sockets, caches and telemetry of every instance live on.
 * `seq` is the market's version after the change; a gap means events were missed, and the reader takes a snapshot.
 */
import type { Millis } from '../base/time.ts'
import type {
  MarketId,
  MarketState,
  Money,
  Outcome,
  Price,
  Resolution,
  Shares,
  Side,
  TradeId,
  UserId,
} from './model.ts'

export type MarketEvent = { readonly marketId: MarketId; readonly seq: number; readonly at: Millis } & (
  | { readonly type: 'created'; readonly creatorId: UserId }
  | { readonly type: 'edited' }
  | {
      readonly type: 'trade'
      readonly tradeId: TradeId
      readonly userId: UserId
      readonly side: Side
      readonly outcome: Outcome
      readonly shares: Shares
      readonly value: Money
      readonly fee: Money
      readonly prices: readonly Price[]
      readonly sold: readonly Shares[]
    }
  /** Levels of the book that changed; no shares left means that the level is gone. */
  | {
      readonly type: 'book'
      readonly levels: readonly { outcome: Outcome; side: Side; price: Price; shares: Shares }[]
    }
  | { readonly type: 'state'; readonly state: MarketState; readonly resolution: Resolution | null }
)
