/**
 * What can be asked of the market, and what is answered: the whole of its write side. Instances send commands; on the
 * embedded database the market-writer decides them one after the other, on PostgreSQL each in a transaction. Both run
 * the same pure decision, so both give the same answers.
 *
 *   instance ─▶ Command (with a key) ─▶ decide(books, command, now) ─▶ refusal, or effects ─▶ one transaction ─▶ Answer
 *
 * `key` makes a command happen once: the same key gives the answer that was committed, also after its connection broke. A
 * client's Idempotency-Key or client_order_id becomes a key (with the user, so that no two people share one); else the
 * instance makes one and repeats it when it has to ask again. Roles were checked by the route; ownership is checked here.
 */
import type { Millis } from '../base/time.ts'
import type {
  MarketDraft,
  MarketId,
  Money,
  OrderId,
  OrderState,
  Outcome,
  Price,
  Resolution,
  Shares,
  Side,
  TimeInForce,
  TradeId,
  UserId,
} from './model.ts'

/** Who asks. `admin` may do what only creators may; `system` is the platform itself (bound markets, timers). */
export interface Actor {
  readonly userId: UserId | null
  readonly kind: 'trader' | 'admin' | 'system'
}

export type Command =
  /** Makes the account and issues the grant; an account that is there stays as it is. */
  | { readonly type: 'open_account'; readonly userId: UserId; readonly username: string }
  | { readonly type: 'create_market'; readonly draft: MarketDraft }
  | {
      readonly type: 'edit_market'
      readonly marketId: MarketId
      readonly changes: Partial<Pick<MarketDraft, 'title' | 'description' | 'category' | 'tags' | 'imageUrl'>>
    }
  | { readonly type: 'close_market'; readonly marketId: MarketId }
  | { readonly type: 'suspend_market'; readonly marketId: MarketId; readonly suspended: boolean }
  | {
      readonly type: 'resolve_market'
      readonly marketId: MarketId
      readonly resolution: Resolution
      readonly source: string
    }
  | {
      readonly type: 'open_dispute'
      readonly marketId: MarketId
      readonly disputeType: string
      readonly reason: string
      readonly evidence: string | null
    }
  /** An admin's word on all open disputes of a market: the resolution stands, or another one takes its place. */
  | {
      readonly type: 'decide_disputes'
      readonly marketId: MarketId
      readonly resolution: Resolution
      readonly note: string
    }
  | {
      readonly type: 'trade'
      readonly marketId: MarketId
      readonly side: Side
      readonly outcome: Outcome
      readonly shares: Shares
      /** Bound of the average price a share, fees left out: the most for a buy, the least for a sell. */
      readonly limit: Price | null
      /** Trade against exactly this version of the market (a quote's), else refuse with `quote_changed`. */
      readonly version: number | null
    }
  | {
      readonly type: 'place_order'
      readonly marketId: MarketId
      readonly orderType: 'market' | 'limit'
      readonly side: Side
      readonly outcome: Outcome
      readonly shares: Shares
      readonly limit: Price | null
      readonly timeInForce: TimeInForce
      readonly expiresAt: Millis | null
      readonly clientOrderId: string | null
    }
  | {
      readonly type: 'amend_order'
      readonly orderId: OrderId
      readonly limit: Price | null
      /** Undefined leaves it, null takes it away. */
      readonly expiresAt: Millis | null | undefined
    }
  | { readonly type: 'cancel_order'; readonly orderId: OrderId }
  | { readonly type: 'cancel_all'; readonly marketId: MarketId | null }
  /** Sells all that the actor holds of one outcome, at the market. */
  | {
      readonly type: 'close_position'
      readonly marketId: MarketId
      readonly outcome: Outcome
      readonly limit: Price | null
    }
  /** The platform begins to ask for the samples of a bound market: `pending_verification` until it is resolved. */
  | { readonly type: 'verify_market'; readonly marketId: MarketId }
  /**
   * By timer: closes what is due, expires orders, pays out what may no longer be disputed. Harmless when nothing is. Of one
   * market, or of all.
   */
  | { readonly type: 'tick'; readonly marketId: MarketId | null }

export interface Envelope {
  /** At most 200 characters; unique for what is meant. */
  readonly key: string
  /** Hash of what was asked: the same key with another one is refused as `idempotency_clash`. */
  readonly fingerprint: string
  readonly actor: Actor
  readonly command: Command
}

/** Why not. The route turns it into a status: `codes` in refusals.ts. `detail` is one sentence, safe to show. */
export interface Refusal {
  readonly code: RefusalCode
  readonly detail: string
  /** Numbers that help: what was needed, what is there. Money and shares as decimal strings. */
  readonly facts?: Readonly<Record<string, string | number>>
}

export type RefusalCode =
  | 'idempotency_clash'
  | 'account_not_found'
  | 'market_not_found'
  | 'order_not_found'
  | 'position_not_found'
  | 'not_yours'
  | 'market_not_open'
  | 'market_not_closed'
  | 'already_resolved'
  | 'not_resolved'
  | 'dispute_closed'
  | 'dispute_exists'
  | 'not_a_holder'
  | 'insufficient_funds'
  | 'insufficient_shares'
  | 'amount_below_minimum'
  | 'amount_above_maximum'
  | 'price_beyond_limit'
  | 'quote_changed'
  | 'not_fillable'
  | 'order_done'
  | 'too_many_orders'
  | 'too_many_markets'
  | 'closes_in_the_past'
  | 'invalid'

/** One exchange between a taker and the maker or a resting order. Money is exact; `fee` is what the taker paid on it. */
export interface Fill {
  readonly tradeId: TradeId
  readonly against: 'maker' | 'book'
  readonly counterparty: UserId | null
  readonly shares: Shares
  /** Before the fee: paid for a buy, got for a sell. */
  readonly value: Money
  readonly fee: Money
}

/** A trade as its owner sees it: all fills of one command together. */
export interface TradeDone {
  readonly id: TradeId
  readonly marketId: MarketId
  readonly userId: UserId
  readonly orderId: OrderId | null
  readonly side: Side
  readonly outcome: Outcome
  readonly shares: Shares
  readonly value: Money
  readonly fee: Money
  readonly averagePrice: Price
  readonly priceAfter: Price
  readonly fills: readonly Fill[]
  readonly createdAt: Millis
  readonly version: number
}

export interface OrderView {
  readonly id: OrderId
  readonly marketId: MarketId
  readonly userId: UserId
  readonly orderType: 'market' | 'limit'
  readonly side: Side
  readonly outcome: Outcome
  readonly originalShares: Shares
  readonly remainingShares: Shares
  readonly averagePrice: Price | null
  readonly limit: Price | null
  readonly timeInForce: TimeInForce
  readonly expiresAt: Millis | null
  readonly clientOrderId: string | null
  readonly state: OrderState
  readonly createdAt: Millis
  readonly updatedAt: Millis
}

export type Done =
  | { readonly type: 'account'; readonly userId: UserId; readonly available: Money; readonly created: boolean }
  | { readonly type: 'market'; readonly marketId: MarketId; readonly version: number }
  | {
      readonly type: 'resolved'
      readonly marketId: MarketId
      readonly version: number
      readonly paid: Money
      readonly holders: number
      /** Payouts are held until then; null when they are paid already. */
      readonly finalAt: Millis | null
    }
  | { readonly type: 'dispute'; readonly disputeId: string; readonly marketId: MarketId }
  | { readonly type: 'trade'; readonly trade: TradeDone }
  | { readonly type: 'order'; readonly order: OrderView; readonly trade: TradeDone | null }
  | { readonly type: 'cancelled'; readonly orders: readonly OrderId[] }
  | { readonly type: 'ticked'; readonly changed: number }

export type Answer = { readonly ok: true; readonly done: Done } | { readonly ok: false; readonly refusal: Refusal }

/** The write side as routes, demo and tests see it; one implementation a database, one shared contract test. */
export interface MarketCommands {
  /** Resolves once the effects are durable. Rejects with an AppError 503 when nobody can decide now. */
  submit(envelope: Envelope): Promise<Answer>
  close(): Promise<void>
}
