/** Schemas of what the market's routes take and give. Amounts: money as decimal text, shares and prices as numbers. */
import Type from 'typebox'
import { CATEGORIES, MARKET_STATES, ORDER_STATES } from './model.ts'

const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])

/** Text without control characters, line breaks apart. */
const text = (least: number, most: number) =>
  Type.String({ minLength: least, maxLength: most, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$' })

export const Time = Type.String({ format: 'date-time' })
export const TimeGiven = Type.String({ maxLength: 40, description: 'ISO 8601 with a zone.' })
export const Id = Type.Object({ id: Type.String({ maxLength: 80 }) })
export const GivenId = Type.String({ minLength: 1, maxLength: 80 })
export const Money = Type.String({ pattern: '^-?\\d+\\.\\d{2,6}$', description: 'Credits, exact.' })
export const Price = Type.Number({ minimum: 0, maximum: 1, description: 'Credits a share, at most six decimals.' })
export const LimitPrice = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 })
export const Amount = Type.Number({ exclusiveMinimum: 0, maximum: 1e9, description: 'Shares, at most four decimals.' })
export const Shares = Type.Number({ description: 'Shares, at most four decimals.' })
export const OutcomeGiven = Type.Enum(['outcome_a', 'outcome_b'])
export const Side = Type.Enum(['buy', 'sell'])
export const Sort = Type.Enum(['new', 'closing', 'volume', 'trending'], { default: 'new' })
export const Period = Type.Enum(['24h', '7d', '30d', 'all_time'], { default: 'all_time' })
export const Category = Type.Enum([...CATEGORIES])
export const MarketStatus = Type.Enum([...MARKET_STATES])
export const OrderStatus = Type.Enum([...ORDER_STATES])
const Resolved = Type.Enum(['outcome_a', 'outcome_b', 'void'])
const WebAddress = Type.String({ maxLength: 500, pattern: '^https://[^\\s"\'<>\\\\]+$' })
const Tags = Type.Array(text(1, 40), { maxItems: 10 })
const Comparison = Type.Enum(['gt', 'gte', 'lt', 'lte'])

export const page = (fallback: number, most: number) => ({
  skip: Type.Integer({ default: 0, minimum: 0, maximum: 10_000_000 }),
  limit: Type.Integer({ default: fallback, minimum: 1, maximum: most }),
})
export const paged = { total: Type.Integer(), page: Type.Integer(), per_page: Type.Integer() }

export const NewMarket = Type.Object({
  title: text(1, 200),
  question: text(1, 500),
  description: Type.Optional(orNull(text(0, 5_000))),
  outcome_a: text(1, 100),
  outcome_b: text(1, 100),
  category: Category,
  tags: Type.Optional(Tags),
  image_url: Type.Optional(orNull(WebAddress)),
  resolution_rules: Type.Optional(orNull(text(1, 2_000))),
  intended_source: Type.Optional(orNull(text(1, 500))),
  closes_at: TimeGiven,
  total_liquidity: Type.Union(
    [
      Type.Number({ default: 1000, minimum: 100, maximum: 1_000_000 }),
      Type.String({ maxLength: 20, pattern: '^\\d+(\\.\\d{1,6})?$' }),
    ],
    { default: 1000 },
  ),
  fee_rate: Type.Number({ default: 0.02, minimum: 0, maximum: 0.1 }),
  min_trade_amount: Type.Number({ default: 1, minimum: 0.0001, maximum: 1e9 }),
  max_trade_amount: Type.Number({ default: 10_000, minimum: 0.0001, maximum: 1e9 }),
  binding: Type.Optional(
    orNull(
      Type.Object(
        {
          expr: text(1, 1_000),
          comparison: Comparison,
          threshold: Type.Number(),
          at: TimeGiven,
        },
        { description: 'The market resolves itself: at that time the expression is asked over the stored samples.' },
      ),
    ),
  ),
})

export const MarketChanges = Type.Object({
  title: Type.Optional(text(1, 200)),
  description: Type.Optional(orNull(text(0, 5_000))),
  category: Type.Optional(Category),
  tags: Type.Optional(Tags),
  image_url: Type.Optional(orNull(WebAddress)),
})

const marketFields = {
  id: Type.String(),
  title: Type.String(),
  question: Type.String(),
  description: orNull(Type.String()),
  outcome_a: Type.String(),
  outcome_b: Type.String(),
  category: Category,
  tags: Type.Array(Type.String()),
  image_url: orNull(Type.String()),
  resolution_rules: orNull(Type.String()),
  intended_source: orNull(Type.String()),
  closes_at: Time,
  total_liquidity: Money,
  fee_rate: Type.Number(),
  min_trade_amount: Shares,
  max_trade_amount: Shares,
  status: MarketStatus,
  is_active: Type.Boolean(),
  current_price_a: Price,
  current_price_b: Price,
  change_24h: orNull(Type.Number({ description: 'Of the first outcome; null when the market is younger.' })),
  volume_24h: Money,
  volume_total: Money,
  total_trades: Type.Integer(),
  unique_traders: Type.Integer(),
  trending_score: Type.Number({ minimum: 0, maximum: 100 }),
  resolved_outcome: orNull(Resolved),
  resolution_source: orNull(Type.String()),
  resolved_at: orNull(Time),
  final_at: orNull(Type.String({ format: 'date-time', description: 'Until when it may be disputed.' })),
  creator_id: Type.String(),
  created_at: Time,
  version: Type.Integer({ description: 'Grows with each change; a trade can be bound to it.' }),
  binding: orNull(Type.Object({ expr: Type.String(), comparison: Comparison, threshold: Type.Number(), at: Time })),
}
const Holding = Type.Object({ outcome: OutcomeGiven, shares_owned: Shares, current_value: Money })

export const Market = Type.Object({
  ...marketFields,
  sparkline: Type.Optional(Type.Array(Price, { description: 'Of the first outcome over 24 hours; in lists.' })),
  holding: Type.Optional(Type.Array(Holding, { description: 'Own shares, for a trader who is logged in.' })),
})

export const MarketList = Type.Object({
  markets: Type.Array(Market),
  ...paged,
  categories: Type.Record(Type.String(), Type.Integer(), { description: 'Markets in each category.' }),
})

export const Stats = Type.Object({
  total_markets: Type.Integer(),
  active_markets: Type.Integer(),
  total_volume_24h: Money,
  total_volume_all_time: Money,
  most_active_category: orNull(Category),
  trending_markets: Type.Integer({ description: 'Markets with a score of 50 or more.' }),
  categories: Type.Record(Type.String(), Type.Integer()),
})

export const HistoryPoint = Type.Object({ timestamp: Time, price_a: Price, price_b: Price, volume: Money })

export const QuoteAnswer = Type.Object({
  market_id: Type.String(),
  outcome: OutcomeGiven,
  side: Side,
  amount: Shares,
  amount_from_book: Shares,
  amount_from_maker: Shares,
  cost: Money,
  fee: Money,
  total: Type.String({ description: 'Paid for a buy, got for a sell, after the fee.' }),
  average_price: Price,
  price_after: Price,
  profit_if_right: orNull(Money),
  version: Type.Integer({ description: 'A trade with this `version` gets exactly this, or 409.' }),
})

export const Resolve = Type.Object({ outcome: Resolved, resolution_source: text(1, 1_000) })
export const ResolveAnswer = Type.Object({
  market: Market,
  total_paid: Money,
  holders: Type.Integer(),
  final_at: orNull(Type.String({ format: 'date-time', description: 'Payouts are held until then; null: paid.' })),
})
export const Decide = Type.Object({ outcome: Resolved, note: text(1, 1_000) })

export const NewDispute = Type.Object({
  dispute_type: Type.String({ minLength: 1, maxLength: 50, pattern: '^[a-z0-9_]+$' }),
  reason: text(10, 1_000),
  evidence: Type.Optional(orNull(text(1, 2_000))),
})
export const Dispute = Type.Object({
  id: Type.String(),
  market_id: Type.String(),
  user_id: Type.String(),
  dispute_type: Type.String(),
  reason: Type.String(),
  evidence: orNull(Type.String()),
  status: Type.Enum(['open', 'upheld', 'rejected']),
  created_at: Time,
})

export const NewTrade = Type.Object({
  market_id: GivenId,
  trade_type: Side,
  outcome: OutcomeGiven,
  amount: Amount,
  max_price: Type.Optional(LimitPrice),
  min_price: Type.Optional(LimitPrice),
  version: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
})
export const Trade = Type.Object({
  id: Type.String(),
  market_id: Type.String(),
  user_id: Type.String(),
  order_id: orNull(Type.String()),
  trade_type: Side,
  outcome: OutcomeGiven,
  amount: Shares,
  price_per_share: Type.Number({ minimum: 0, maximum: 1, description: 'Average, fees left out.' }),
  value: Type.String({ description: 'Before the fee.' }),
  fee: Money,
  total_value: Type.String({ description: 'Paid for a buy, got for a sell, after the fee.' }),
  price_after: Price,
  amount_from_book: Shares,
  amount_from_maker: Shares,
  created_at: Time,
  version: Type.Integer(),
})
export const TradeList = Type.Object({ trades: Type.Array(Trade), ...paged })

export const NewOrder = Type.Object({
  market_id: GivenId,
  order_type: Type.Enum(['market', 'limit']),
  side: Side,
  outcome: OutcomeGiven,
  original_amount: Amount,
  limit_price: Type.Optional(LimitPrice),
  expires_at: Type.Optional(TimeGiven),
  time_in_force: Type.Optional(Type.Enum(['gtc', 'ioc', 'fok'])),
  client_order_id: Type.Optional(Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\x21-\\x7e]+$' })),
})
export const Order = Type.Object({
  id: Type.String(),
  market_id: Type.String(),
  order_type: Type.Enum(['market', 'limit']),
  side: Side,
  outcome: OutcomeGiven,
  original_amount: Shares,
  remaining_amount: Shares,
  filled_amount: Shares,
  average_fill_price: orNull(Price),
  limit_price: orNull(Price),
  time_in_force: Type.Enum(['gtc', 'ioc', 'fok']),
  expires_at: orNull(Time),
  client_order_id: orNull(Type.String()),
  status: OrderStatus,
  created_at: Time,
  updated_at: Time,
})
export const OrderList = Type.Object({ orders: Type.Array(Order), ...paged })

const Level = Type.Object({
  price: Price,
  amount: Shares,
  total: Type.Number({ description: 'Shares at this price and all better ones.' }),
  orders: Type.Integer(),
  own_amount: Type.Optional(Shares),
})
export const OrderBook = Type.Object({
  market_id: Type.String(),
  outcome: OutcomeGiven,
  bids: Type.Array(Level),
  asks: Type.Array(Level),
  spread: orNull(Type.Number()),
  best_bid: orNull(Price),
  best_ask: orNull(Price),
})

export const Position = Type.Object({
  id: Type.String(),
  market_id: Type.String(),
  outcome: OutcomeGiven,
  shares_owned: Shares,
  shares_reserved: Shares,
  average_price: Type.Number(),
  total_invested: Money,
  current_price: Price,
  current_value: Money,
  unrealized_pnl: Money,
  realized_pnl: Money,
  total_pnl: Money,
  profit_loss_percentage: Type.Number(),
  is_active: Type.Boolean(),
  last_updated: Time,
})
export const PositionList = Type.Object({ positions: Type.Array(Position), ...paged })
export const Portfolio = Type.Object({
  available_balance: Money,
  reserved_balance: Money,
  portfolio_value: Money,
  total_balance: Money,
  total_invested: Money,
  unrealized_pnl: Money,
  realized_pnl: Money,
  total_pnl: Money,
  positions: Type.Array(Position),
})

export const Rank = Type.Object({
  rank: Type.Integer(),
  user_id: Type.String(),
  username: Type.String(),
  profit: Money,
  volume: Money,
  trades: Type.Integer(),
  win_rate: orNull(Type.Number()),
  brier_score: orNull(Type.Number()),
  markets: Type.Integer(),
})
