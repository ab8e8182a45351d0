/** The market's things as the API shows them: from whole units to the fields of the contract (9.2 to 9.5). Pure. */
import type { Millis } from '../base/time.ts'
import { toIso } from '../base/time.ts'
import { averageOf, creditsText, priceNumber, sharesNumber, worthOf } from './amounts.ts'
import type { OrderView, TradeDone } from './commands.ts'
import type { Outcome, Resolution } from './model.ts'
import type { AccountView, BookLevel, DisputeView, MarketView, PositionView, PricePoint, Quote, Rank } from './reads.ts'

const OUTCOMES = ['outcome_a', 'outcome_b'] as const
export type OutcomeName = (typeof OUTCOMES)[number]

export const outcomeName = (outcome: Outcome): OutcomeName => OUTCOMES[outcome]!
export const outcomeOf = (name: OutcomeName): Outcome => OUTCOMES.indexOf(name)
export const resolutionName = (resolution: Resolution | null) =>
  resolution === null ? null : resolution.kind === 'void' ? ('void' as const) : outcomeName(resolution.outcome)
export const resolutionOf = (name: OutcomeName | 'void'): Resolution =>
  name === 'void' ? { kind: 'void' } : { kind: 'outcome', outcome: outcomeOf(name) }

export const timeOrNull = (at: Millis | null) => (at === null ? null : toIso(at))
const priceOrNull = (price: bigint | null) => (price === null ? null : priceNumber(price))

/** An own holding, as it stands beside a market. */
export const heldJson = (position: PositionView) => ({
  outcome: outcomeName(position.outcome),
  shares_owned: sharesNumber(position.shares),
  current_value: creditsText(worthOf(position.shares, position.currentPrice)),
})

export function marketJson(market: MarketView) {
  const { binding } = market
  return {
    id: market.id,
    title: market.title,
    question: market.question,
    description: market.description,
    outcome_a: market.outcomes[0]!,
    outcome_b: market.outcomes[1]!,
    category: market.category,
    tags: [...market.tags],
    image_url: market.imageUrl,
    resolution_rules: market.resolutionRules,
    intended_source: market.intendedSource,
    closes_at: toIso(market.closesAt),
    total_liquidity: creditsText(market.liquidity),
    fee_rate: Number(market.feeRate) / 1e6,
    min_trade_amount: sharesNumber(market.minTrade),
    max_trade_amount: sharesNumber(market.maxTrade),
    status: market.state,
    is_active: market.state === 'open',
    current_price_a: priceNumber(market.prices[0]!),
    current_price_b: priceNumber(market.prices[1]!),
    change_24h: priceOrNull(market.change24h),
    volume_24h: creditsText(market.volume24h),
    volume_total: creditsText(market.volumeTotal),
    total_trades: market.trades,
    unique_traders: market.traders,
    trending_score: market.trendingScore,
    resolved_outcome: resolutionName(market.resolution),
    resolution_source: market.resolutionSource,
    resolved_at: timeOrNull(market.resolvedAt),
    final_at: timeOrNull(market.finalAt),
    creator_id: market.creatorId,
    created_at: toIso(market.createdAt),
    version: market.version,
    binding: binding && {
      expr: binding.expr,
      comparison: binding.comparison,
      threshold: binding.threshold,
      at: toIso(binding.at),
    },
  }
}

export function tradeJson(trade: TradeDone) {
  const fromBook = trade.fills.reduce((sum, fill) => (fill.against === 'book' ? sum + fill.shares : sum), 0n)
  const gross = trade.value
  return {
    id: trade.id,
    market_id: trade.marketId,
    user_id: trade.userId,
    order_id: trade.orderId,
    trade_type: trade.side,
    outcome: outcomeName(trade.outcome),
    amount: sharesNumber(trade.shares),
    price_per_share: priceNumber(trade.averagePrice),
    value: creditsText(gross),
    fee: creditsText(trade.fee),
    total_value: creditsText(trade.side === 'buy' ? gross + trade.fee : gross - trade.fee),
    price_after: priceNumber(trade.priceAfter),
    amount_from_book: sharesNumber(fromBook),
    amount_from_maker: sharesNumber(trade.shares - fromBook),
    created_at: toIso(trade.createdAt),
    version: trade.version,
  }
}

export function orderJson(order: OrderView) {
  return {
    id: order.id,
    market_id: order.marketId,
    order_type: order.orderType,
    side: order.side,
    outcome: outcomeName(order.outcome),
    original_amount: sharesNumber(order.originalShares),
    remaining_amount: sharesNumber(order.remainingShares),
    filled_amount: sharesNumber(order.originalShares - order.remainingShares),
    average_fill_price: priceOrNull(order.averagePrice),
    limit_price: priceOrNull(order.limit),
    time_in_force: order.timeInForce,
    expires_at: timeOrNull(order.expiresAt),
    client_order_id: order.clientOrderId,
    status: order.state,
    created_at: toIso(order.createdAt),
    updated_at: toIso(order.updatedAt),
  }
}

export function quoteJson(quote: Quote, marketId: string, side: 'buy' | 'sell', outcome: Outcome) {
  const total = side === 'buy' ? quote.value + quote.fee : quote.value - quote.fee
  return {
    market_id: marketId,
    outcome: outcomeName(outcome),
    side,
    amount: sharesNumber(quote.shares),
    amount_from_book: sharesNumber(quote.fromBook),
    amount_from_maker: sharesNumber(quote.fromMaker),
    cost: creditsText(quote.value),
    fee: creditsText(quote.fee),
    total: creditsText(total),
    average_price: priceNumber(quote.averagePrice),
    price_after: priceNumber(quote.priceAfter),
    /** Of a buy, should its outcome come true: one credit a share less what was paid. */
    profit_if_right: side === 'buy' ? creditsText(quote.shares * 100n - total) : null,
    version: quote.version,
  }
}

/** `total`: shares at this price and all better ones. `own` by price, of whoever asks. */
export function levelsJson(levels: readonly BookLevel[], own: ReadonlyMap<bigint, bigint> | null) {
  let total = 0n
  return levels.map((level) => {
    total += level.shares
    return {
      price: priceNumber(level.price),
      amount: sharesNumber(level.shares),
      total: sharesNumber(total),
      orders: level.orders,
      ...(own === null ? {} : { own_amount: sharesNumber(own.get(level.price) ?? 0n) }),
    }
  })
}

export function pointJson(point: PricePoint) {
  return {
    timestamp: toIso(point.at),
    price_a: priceNumber(point.prices[0]!),
    price_b: priceNumber(point.prices[1]!),
    volume: creditsText(point.volume),
  }
}

export function positionJson(position: PositionView) {
  const value = worthOf(position.shares, position.currentPrice)
  const unrealized = value - position.cost
  const total = unrealized + position.realized
  return {
    id: position.id,
    market_id: position.marketId,
    outcome: outcomeName(position.outcome),
    shares_owned: sharesNumber(position.shares),
    shares_reserved: sharesNumber(position.reserved),
    average_price: priceNumber(averageOf(position.cost, position.shares)),
    total_invested: creditsText(position.cost),
    current_price: priceNumber(position.currentPrice),
    current_value: creditsText(value),
    unrealized_pnl: creditsText(unrealized),
    realized_pnl: creditsText(position.realized),
    total_pnl: creditsText(total),
    profit_loss_percentage: position.cost === 0n ? 0 : Number((unrealized * 10_000n) / position.cost) / 100,
    is_active: position.isActive,
    last_updated: toIso(position.updatedAt),
  }
}

export function disputeJson(dispute: DisputeView) {
  return {
    id: dispute.id,
    market_id: dispute.marketId,
    user_id: dispute.userId,
    dispute_type: dispute.disputeType,
    reason: dispute.reason,
    evidence: dispute.evidence,
    status: dispute.state,
    created_at: toIso(dispute.createdAt),
  }
}

export function rankJson(rank: Rank, index: number) {
  return {
    rank: index + 1,
    user_id: rank.userId,
    username: rank.username,
    profit: creditsText(rank.profit),
    volume: creditsText(rank.volume),
    trades: rank.trades,
    win_rate: rank.winRate,
    brier_score: rank.brier,
    markets: rank.markets,
  }
}

/** An account as profiles show it; one that the market does not know yet has nothing. */
export function figuresJson(account: AccountView | null) {
  const { available, reserved, portfolioValue, trades, volume, profit, winRate } = account ?? {
    available: 0n,
    reserved: 0n,
    portfolioValue: 0n,
    trades: 0,
    volume: 0n,
    profit: 0n,
    winRate: null,
  }
  return {
    available_balance: creditsText(available),
    reserved_balance: creditsText(reserved),
    portfolio_value: creditsText(portfolioValue),
    total_balance: creditsText(available + reserved + portfolioValue),
    total_trades: trades,
    total_volume: creditsText(volume),
    total_profit: creditsText(profit),
    win_rate: winRate,
    reputation_score: reputation(winRate, trades),
  }
}

/** Trades after which a win rate counts as much as the fifty per cent that nothing is known by. */
const REPUTATION_TRADES = 20

/** 0 to 100: the win rate, drawn towards 50 while there are few trades; 0 before the first. */
export function reputation(winRate: number | null, trades: number): number {
  if (trades === 0) return 0
  const weight = winRate === null ? 0 : trades / (trades + REPUTATION_TRADES)
  return Math.round((50 + weight * ((winRate ?? 50) - 50)) * 10) / 10
}

export const paging = (skip: number, limit: number, total: number) => ({
  total,
  page: Math.floor(skip / limit) + 1,
  per_page: limit,
})
