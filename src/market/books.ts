/**
 * The books of the market: every row that a decision reads and writes, and the list of changes that it gives back.
 *
 *   Books ──decide(books, envelope, settings, now)──▶ a refusal, or Effects ──▶ ONE transaction ──▶ memory, then the answer
 *
 * Rows are immutable; effects carry each changed row as it is afterwards (insert or replace by its id) and each new trade,
 * transfer, profit and score. There is no row that all markets share: fees lie with the market, what was issued lies with
 * the account that got it, so two markets never wait for each other. What holds at any moment, over all rows:
 *
 *   sum(accounts.available + accounts.reserved) + sum(markets.pool + escrow + fees) = sum(accounts.granted)
 *   sum(holdings.shares of one outcome) = markets.sold[outcome]        while the market is not paid out
 *   accounts.reserved = sum(orders.reservedMoney), holdings.reserved = sum(open sell orders' remaining)
 *
 * A store that does not hold everything in memory loads what `footprint` names, in its order of locks, and decides over that.
 * Nothing here reads a clock; keys of envelopes are the store's matter, a decision does not look at them.
 */
import type { Millis } from '../base/time.ts'
import type { Command, Done, Envelope, Fill, OrderView, Refusal } from './commands.ts'
import type { MarketEvent } from './events.ts'
import type {
  MarketDraft,
  MarketId,
  MarketState,
  Money,
  OrderId,
  Outcome,
  Price,
  Resolution,
  Shares,
  Side,
  TradeId,
  UserId,
} from './model.ts'

/** One account a user. Money is never negative. */
export interface AccountRow {
  readonly userId: UserId
  readonly username: string
  readonly available: Money
  /** Held back by resting buy orders. */
  readonly reserved: Money
  /** What was issued to it: the other side of the ledger's sum. */
  readonly granted: Money
  /** How many of its orders rest in books now. */
  readonly openOrders: number
  /** Trades as taker and filled resting orders. */
  readonly trades: number
  /** Value of them, fees left out. Void markets stay in it. */
  readonly volume: Money
  /** Realized: sales and payouts less what the shares had cost with fees. Void markets are taken out when they are paid. */
  readonly profit: Money
  /** Markets traded in that were paid out with an outcome, and those of them that brought a profit. */
  readonly resolvedMarkets: number
  readonly wonMarkets: number
  readonly createdAt: Millis
}

export interface MarketRow {
  readonly id: MarketId
  readonly creatorId: UserId
  readonly draft: MarketDraft
  /** As stored; what it is at a time says `stateAt`: an open market whose time has come is closed, also without a tick. */
  readonly state: MarketState
  /** Sequence number of its last event. */
  readonly version: number
  /** Shares of each outcome that are held by users. */
  readonly sold: readonly Shares[]
  /** Of the market maker, after the last change; they add up to 1,000,000. */
  readonly prices: readonly Price[]
  /** What the maker owns: the liquidity, and what was paid for shares. */
  readonly pool: Money
  /** The pool after resolution, until it may be paid out. */
  readonly escrow: Money
  /** Fees and rounding: the house's. */
  readonly fees: Money
  /** Of takers' trades. */
  readonly volume: Money
  readonly trades: number
  /** Users that ever traded in it. */
  readonly traders: number
  readonly openOrders: number
  readonly createdAt: Millis
  /** When trading ended, if before `draft.closesAt` or noted by a tick. */
  readonly closedAt: Millis | null
  readonly resolution: Resolution | null
  readonly resolutionSource: string | null
  readonly resolvedAt: Millis | null
  /** Until when it may be disputed; then payouts are due. */
  readonly finalAt: Millis | null
  /** When payouts were made; nothing moves money after it. */
  readonly paidAt: Millis | null
}

/** A limit order that rests, or an order of the past. Market orders become rows too, always done. */
export interface OrderRow extends OrderView {
  /** Time priority at the same price: the market's version when it came, or was amended to another price. */
  readonly priority: number
  /** What it holds back of its owner's credit (buys) now; shares held back by a sell are `remainingShares`. */
  readonly reservedMoney: Money
  /** Value of what was filled so far: `averagePrice` is made from it. */
  readonly filledValue: Money
  readonly feesPaid: Money
}

/** What a user has, and has done, in one outcome of one market. Stays when the shares are gone. */
export interface HoldingRow {
  readonly id: string
  readonly userId: UserId
  readonly marketId: MarketId
  readonly outcome: Outcome
  /** All that is held, `reserved` included. */
  readonly shares: Shares
  /** Held back by resting sell orders. */
  readonly reserved: Shares
  /** What the shares now held have cost, fees included. */
  readonly cost: Money
  readonly realized: Money
  /** Over its whole life: shares bought and sold, and their value without fees; fees; payouts. */
  readonly bought: Shares
  readonly sold: Shares
  readonly paid: Money
  readonly received: Money
  readonly fees: Money
  readonly payout: Money
  readonly trades: number
  readonly createdAt: Millis
  readonly updatedAt: Millis
}

export interface DisputeRow {
  readonly id: string
  readonly marketId: MarketId
  readonly userId: UserId
  readonly disputeType: string
  readonly reason: string
  readonly evidence: string | null
  readonly state: 'open' | 'upheld' | 'rejected'
  /** The admin's words, when decided. */
  readonly note: string | null
  readonly createdAt: Millis
  readonly decidedAt: Millis | null
}

/** A trade as its owner sees it. `taker` rows are what a market counts; a filled resting order leaves a `resting` row. */
export interface TradeRow {
  readonly id: TradeId
  readonly role: 'taker' | 'resting'
  readonly marketId: MarketId
  readonly userId: UserId
  readonly orderId: OrderId | null
  readonly side: Side
  readonly outcome: Outcome
  readonly shares: Shares
  readonly value: Money
  readonly fee: Money
  readonly averagePrice: Price
  /** Of its outcome, at the maker, after the whole command. */
  readonly priceAfter: Price
  /** Of all outcomes after it: price history is made from taker rows. */
  readonly prices: readonly Price[]
  readonly fills: readonly Fill[]
  readonly createdAt: Millis
  readonly version: number
}

/** An account of the ledger: a user's money or shares, a market's pool, escrow or fees, or where units come from. */
export type LedgerAccount = 'available' | 'reserved' | 'pool' | 'escrow' | 'fees' | 'issuance'

export type TransferReason =
  | 'grant'
  | 'liquidity'
  | 'reserve'
  | 'release'
  | 'trade'
  | 'fee'
  | 'escrow'
  | 'payout'
  | 'refund'
  | 'liquidity_back'
  | 'rounding'

/**
 * One line of the ledger's only table: `amount` units (more than none) leave one account and reach another. Of money, or of
 * the shares of (`marketId`, `outcome`). `fromId` and `toId` are users for available and reserved, markets for pool, escrow
 * and fees; money is issued to users (`issuance` has no id there), shares are issued by their market.
 */
export interface Transfer {
  readonly asset: 'money' | 'shares'
  readonly marketId: MarketId | null
  readonly outcome: Outcome | null
  readonly from: LedgerAccount
  readonly fromId: UserId | MarketId | null
  readonly to: LedgerAccount
  readonly toId: UserId | MarketId | null
  readonly amount: bigint
  readonly reason: TransferReason
  /** What it belongs to, if it does. */
  readonly tradeId: TradeId | null
  readonly orderId: OrderId | null
  readonly at: Millis
}

/**
 * A realized profit (or loss) of one user at one time: leaderboards of a period add these up. Grants and liquidity never
 * come here. Those of markets that end void are to be left out: `marketId` says which.
 */
export interface ProfitRow {
  readonly userId: UserId
  readonly marketId: MarketId
  readonly outcome: Outcome
  readonly kind: 'sale' | 'payout'
  readonly amount: Money
  readonly tradeId: TradeId | null
  readonly at: Millis
}

/** How a user did in a market that was paid out with an outcome: win rate and calibration are made from these. */
export interface ScoreRow {
  readonly userId: UserId
  readonly marketId: MarketId
  /** All payouts and sales less all that was paid, fees included. */
  readonly profit: Money
  readonly won: boolean
  /** Squared error of the average price of the user's trades as a forecast, in millionths (0 best, 1,000,000 worst). */
  readonly brier: number
  readonly trades: number
  readonly at: Millis
}

/** What ticks have to do. */
export interface Due {
  /** Open or suspended markets whose `closesAt` is not after now. */
  readonly closing: readonly MarketId[]
  /** Resolved markets, not disputed and not paid, whose `finalAt` is not after now. */
  readonly paying: readonly MarketId[]
  /** Resting orders whose `expiresAt` is not after now. */
  readonly expiring: readonly OrderId[]
}

/** What a decision may ask. Answers are complete for what `footprint(command)` names. */
export interface Books {
  account(id: UserId): AccountRow | undefined
  market(id: MarketId): MarketRow | undefined
  order(id: OrderId): OrderRow | undefined
  /** The order that this user gave this name, in whatever state. */
  clientOrder(userId: UserId, clientOrderId: string): OrderRow | undefined
  /** Open orders, best price first, older first at the same price. */
  resting(marketId: MarketId, outcome: Outcome, side: Side): readonly OrderRow[]
  /** Open orders of a user, of one market or of all. */
  openOrders(userId: UserId, marketId: MarketId | null): readonly OrderRow[]
  holding(userId: UserId, marketId: MarketId, outcome: Outcome): HoldingRow | undefined
  /** All holdings of a market, those without shares too. */
  holdings(marketId: MarketId): Iterable<HoldingRow>
  /** All disputes of a market, in whatever state. */
  disputes(marketId: MarketId): readonly DisputeRow[]
  /** How many markets this user created at or after `since`. */
  marketsMade(userId: UserId, since: Millis): number
  /** What is due in one market, or in all. */
  due(now: Millis, marketId: MarketId | null): Due
}

/** Everything that one accepted command changes. Rows appear once, as they are afterwards. */
export interface Effects {
  readonly done: Done
  readonly accounts: readonly AccountRow[]
  readonly markets: readonly MarketRow[]
  readonly orders: readonly OrderRow[]
  readonly holdings: readonly HoldingRow[]
  readonly disputes: readonly DisputeRow[]
  readonly trades: readonly TradeRow[]
  readonly transfers: readonly Transfer[]
  readonly profits: readonly ProfitRow[]
  readonly scores: readonly ScoreRow[]
  /** In order; each raises its market's version by one. */
  readonly events: readonly MarketEvent[]
}

export interface DecideSettings {
  /** How long a new resolution may be disputed, ms; 0 pays at once. */
  readonly disputeWindowMs: number
  readonly marketsPerDay: number
  readonly ordersPerUser: number
  /** A new identifier that sorts by time. */
  readonly newId: (now: Millis) => string
}

export type Decision =
  | { readonly ok: true; readonly effects: Effects }
  | { readonly ok: false; readonly refusal: Refusal }

/** The signature of `decide` in decide.ts: pure, but for the ids it takes from settings. */
export type Decide = (books: Books, envelope: Envelope, settings: DecideSettings, now: Millis) => Decision

/**
 * What a command reads and may change. A store locks and loads in this order: the market rows (by id), their open orders,
 * then accounts (by id) with their holdings. What is named here and is not there is simply absent from the books.
 */
export interface Footprint {
  /** Its row. */
  readonly marketId: MarketId | null
  /** This order, its market and its owner: look the market up first (an order never changes it), then lock. */
  readonly orderId: OrderId | null
  /** This user's account, and what it holds in the market. */
  readonly userId: UserId | null
  /** The order of `userId` with this name. */
  readonly clientOrderId: string | null
  /** The market's open orders, and account and holdings in it of each of their owners: what a trade may meet. */
  readonly book: boolean
  /** All holdings of the market and the account of each holder, and the creator's account. */
  readonly holders: boolean
  /** The market's disputes. */
  readonly disputes: boolean
  /** The markets (or the one named) in which `userId` has open orders, with all open orders of those markets. */
  readonly ordersOfUser: boolean
  /** How many markets `userId` created in the last 24 hours. */
  readonly marketsMade: boolean
  /** A tick of everything: ask the database what is due, and decide a tick of each of those markets. */
  readonly everythingDue: boolean
}

const NOTHING: Footprint = {
  marketId: null,
  orderId: null,
  userId: null,
  clientOrderId: null,
  book: false,
  holders: false,
  disputes: false,
  ordersOfUser: false,
  marketsMade: false,
  everythingDue: false,
}

/** What must be locked and loaded before `command` of `userId` can be decided over books that are not complete. */
export function footprint(command: Command, userId: UserId | null): Footprint {
  switch (command.type) {
    case 'open_account':
      return { ...NOTHING, userId: command.userId }
    case 'create_market':
      return { ...NOTHING, userId, marketsMade: true }
    case 'edit_market':
    case 'suspend_market':
    case 'verify_market':
      return { ...NOTHING, marketId: command.marketId, userId }
    case 'close_market':
      return { ...NOTHING, marketId: command.marketId, userId, book: true }
    case 'resolve_market':
    case 'decide_disputes':
      return { ...NOTHING, marketId: command.marketId, userId, book: true, holders: true, disputes: true }
    case 'open_dispute':
      return { ...NOTHING, marketId: command.marketId, userId, disputes: true }
    case 'trade':
    case 'close_position':
      return { ...NOTHING, marketId: command.marketId, userId, book: true }
    case 'place_order':
      return { ...NOTHING, marketId: command.marketId, userId, clientOrderId: command.clientOrderId, book: true }
    case 'amend_order':
      return { ...NOTHING, orderId: command.orderId, userId, book: true }
    case 'cancel_order':
      return { ...NOTHING, orderId: command.orderId, userId, book: true }
    case 'cancel_all':
      return { ...NOTHING, marketId: command.marketId, userId, ordersOfUser: true }
    case 'tick':
      return command.marketId === null
        ? { ...NOTHING, everythingDue: true }
        : { ...NOTHING, marketId: command.marketId, book: true, holders: true, disputes: true }
  }
}

/** The state of a market at `now`: trading ends at `closesAt`, also when no tick has noted it. */
export function stateAt(market: Pick<MarketRow, 'state' | 'draft'>, now: Millis): MarketState {
  const trading = market.state === 'open' || market.state === 'suspended'
  return trading && market.draft.closesAt <= now ? 'closed' : market.state
}

/** Whether an order rests in the book. */
export function isOpen(order: Pick<OrderView, 'state'>): boolean {
  return order.state === 'pending' || order.state === 'partially_filled'
}
