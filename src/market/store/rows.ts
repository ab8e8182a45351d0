/**
 * Rows of the books as rows of tables, and back: one list of columns a table, used by SQLite's statements and by
 * PostgreSQL's alike. A column says where its value comes from and how it is written; whole numbers come back as bigint.
 */

import { DAY, HOUR } from '../../base/time.ts'
import type {
  AccountRow,
  DisputeRow,
  HoldingRow,
  MarketRow,
  OrderRow,
  ProfitRow,
  ScoreRow,
  TradeRow,
  Transfer,
} from '../books.ts'
import type { MarketDraft, MarketId, Price, Resolution, Shares } from '../model.ts'
import type { CategoryBucket, CommandRow, MarketBucket, Sums, UserBucket } from './changes.ts'
import type { MarketsTable, MarketTextsTable, Tables } from './tables.ts'
import { fillsFromWire, fillsToWire } from './wire.ts'

export type Cell = string | number | bigint | null

interface Column<Row> {
  readonly name: string
  /** Of PostgreSQL; SQLite says INTEGER and TEXT of its own. */
  readonly type: 'text' | 'int8'
  of(row: Row): Cell
}

export interface Mapping<Row> {
  readonly table: keyof Tables
  /** What makes a row the same row; null when rows are only ever added. */
  readonly key: readonly string[] | null
  /** Columns that grow by what is written, instead of becoming it. */
  readonly adds: readonly string[]
  /** Columns that never change: an index over them alone is left in peace when its row changes. */
  readonly fixed: readonly string[]
  readonly columns: readonly Column<Row>[]
}

type Cells<Row, T extends keyof Tables, Without extends string = never> = {
  readonly [C in Exclude<keyof Tables[T] & string, Without>]: readonly ['text' | 'int8', (row: Row) => Cell]
}

/** Every column of the table has to be said: what the compiler misses would be a row that lost something. */
function mapping<Row, T extends keyof Tables, Without extends string = never>(
  table: T,
  key: readonly (keyof Tables[T] & string)[] | null,
  cells: Cells<Row, T, Without>,
  { adds = [], fixed = [] }: Partial<Pick<Mapping<Row>, 'adds' | 'fixed'>> = {},
): Mapping<Row> {
  const columns = Object.entries(cells as Record<string, readonly ['text' | 'int8', (row: Row) => Cell]>)
  return {
    table,
    key,
    adds,
    fixed,
    columns: columns.map(([name, [type, of]]) => ({ name, type, of })),
  }
}

const amounts = (list: readonly bigint[]): string => `[${list.join(',')}]`
/** Of whole numbers below 2^53 as of greater ones: JSON's own numbers would round. */
export const amountsFrom = (text: string): readonly bigint[] =>
  text === '[]' ? [] : text.slice(1, -1).split(',').map(BigInt)
const number = (cell: bigint | null): number | null => (cell === null ? null : Number(cell))

export const accounts = mapping<AccountRow, 'accounts'>(
  'accounts',
  ['user_id'],
  {
    user_id: ['text', (r) => r.userId],
    username: ['text', (r) => r.username],
    available: ['int8', (r) => r.available],
    reserved: ['int8', (r) => r.reserved],
    granted: ['int8', (r) => r.granted],
    open_orders: ['int8', (r) => r.openOrders],
    trades: ['int8', (r) => r.trades],
    volume: ['int8', (r) => r.volume],
    profit: ['int8', (r) => r.profit],
    resolved_markets: ['int8', (r) => r.resolvedMarkets],
    won_markets: ['int8', (r) => r.wonMarkets],
    created_at: ['int8', (r) => r.createdAt],
  },
  { fixed: ['username', 'created_at'] },
)

export const accountFrom = (t: Tables['accounts']): AccountRow => ({
  userId: t.user_id as AccountRow['userId'],
  username: t.username,
  available: t.available,
  reserved: t.reserved,
  granted: t.granted,
  openOrders: Number(t.open_orders),
  trades: Number(t.trades),
  volume: t.volume,
  profit: t.profit,
  resolvedMarkets: Number(t.resolved_markets),
  wonMarkets: Number(t.won_markets),
  createdAt: Number(t.created_at),
})

const VOID = -1

function resolutionCell(resolution: Resolution | null): number | null {
  if (resolution === null) return null
  return resolution.kind === 'void' ? VOID : resolution.outcome
}

export function resolutionFrom(cell: bigint | null): Resolution | null {
  if (cell === null) return null
  return Number(cell) === VOID ? { kind: 'void' } : { kind: 'outcome', outcome: Number(cell) }
}

export const markets = mapping<MarketRow, 'markets', 'trending'>(
  'markets',
  ['id'],
  {
    id: ['text', (r) => r.id],
    creator_id: ['text', (r) => r.creatorId],
    category: ['text', (r) => r.draft.category],
    closes_at: ['int8', (r) => r.draft.closesAt],
    liquidity: ['int8', (r) => r.draft.liquidity],
    fee_rate: ['int8', (r) => r.draft.feeRate],
    min_trade: ['int8', (r) => r.draft.minTrade],
    max_trade: ['int8', (r) => r.draft.maxTrade],
    state: ['text', (r) => r.state],
    version: ['int8', (r) => r.version],
    sold: ['text', (r) => amounts(r.sold)],
    prices: ['text', (r) => amounts(r.prices)],
    pool: ['int8', (r) => r.pool],
    escrow: ['int8', (r) => r.escrow],
    fees: ['int8', (r) => r.fees],
    volume: ['int8', (r) => r.volume],
    trades: ['int8', (r) => r.trades],
    traders: ['int8', (r) => r.traders],
    open_orders: ['int8', (r) => r.openOrders],
    created_at: ['int8', (r) => r.createdAt],
    closed_at: ['int8', (r) => r.closedAt],
    resolution: ['int8', (r) => resolutionCell(r.resolution)],
    resolution_source: ['text', (r) => r.resolutionSource],
    resolved_at: ['int8', (r) => r.resolvedAt],
    final_at: ['int8', (r) => r.finalAt],
    paid_at: ['int8', (r) => r.paidAt],
  },
  { fixed: ['creator_id', 'closes_at', 'liquidity', 'fee_rate', 'min_trade', 'max_trade', 'created_at'] },
)

/** What a trade changes of a market; the rest of its columns, and the indexes over them, stay as they are. */
const TRADED = ['version', 'sold', 'prices', 'pool', 'fees', 'volume', 'trades', 'traders', 'open_orders']
export const marketTrading: Pick<Mapping<MarketRow>, 'columns'> = {
  columns: [...TRADED, 'id'].map((name) => markets.columns.find((column) => column.name === name)!),
}
export const tradeMarket = `UPDATE markets SET ${TRADED.map((name) => `${name} = ?`).join(', ')} WHERE id = ?`

export const marketTexts = mapping<MarketRow, 'market_texts', 'seq'>('market_texts', ['id'], {
  id: ['text', (r) => r.id],
  title: ['text', (r) => r.draft.title],
  question: ['text', (r) => r.draft.question],
  description: ['text', (r) => r.draft.description],
  outcomes: ['text', (r) => JSON.stringify(r.draft.outcomes)],
  tags: ['text', (r) => JSON.stringify(r.draft.tags)],
  image_url: ['text', (r) => r.draft.imageUrl],
  resolution_rules: ['text', (r) => r.draft.resolutionRules],
  intended_source: ['text', (r) => r.draft.intendedSource],
  binding: ['text', (r) => (r.draft.binding === null ? null : JSON.stringify(r.draft.binding))],
})

export type MarketRecord = Omit<MarketsTable, 'trending'> & Omit<MarketTextsTable, 'seq'>

export const draftFrom = (t: MarketRecord): MarketDraft => ({
  title: t.title,
  question: t.question,
  description: t.description,
  outcomes: JSON.parse(t.outcomes) as string[],
  category: t.category as MarketDraft['category'],
  tags: JSON.parse(t.tags) as string[],
  imageUrl: t.image_url,
  resolutionRules: t.resolution_rules,
  intendedSource: t.intended_source,
  closesAt: Number(t.closes_at),
  liquidity: t.liquidity,
  feeRate: t.fee_rate,
  minTrade: t.min_trade,
  maxTrade: t.max_trade,
  binding: t.binding === null ? null : (JSON.parse(t.binding) as MarketDraft['binding']),
})

export const marketFrom = (t: MarketRecord): MarketRow => ({
  id: t.id as MarketId,
  creatorId: t.creator_id as MarketRow['creatorId'],
  draft: draftFrom(t),
  state: t.state as MarketRow['state'],
  version: Number(t.version),
  sold: amountsFrom(t.sold) as readonly Shares[],
  prices: amountsFrom(t.prices) as readonly Price[],
  pool: t.pool,
  escrow: t.escrow,
  fees: t.fees,
  volume: t.volume,
  trades: Number(t.trades),
  traders: Number(t.traders),
  openOrders: Number(t.open_orders),
  createdAt: Number(t.created_at),
  closedAt: number(t.closed_at),
  resolution: resolutionFrom(t.resolution),
  resolutionSource: t.resolution_source,
  resolvedAt: number(t.resolved_at),
  finalAt: number(t.final_at),
  paidAt: number(t.paid_at),
})

export const orders = mapping<OrderRow, 'orders'>(
  'orders',
  ['id'],
  {
    id: ['text', (r) => r.id],
    market_id: ['text', (r) => r.marketId],
    user_id: ['text', (r) => r.userId],
    order_type: ['text', (r) => r.orderType],
    side: ['text', (r) => r.side],
    outcome: ['int8', (r) => r.outcome],
    original_shares: ['int8', (r) => r.originalShares],
    remaining_shares: ['int8', (r) => r.remainingShares],
    average_price: ['int8', (r) => r.averagePrice],
    limit_price: ['int8', (r) => r.limit],
    time_in_force: ['text', (r) => r.timeInForce],
    expires_at: ['int8', (r) => r.expiresAt],
    client_order_id: ['text', (r) => r.clientOrderId],
    state: ['text', (r) => r.state],
    created_at: ['int8', (r) => r.createdAt],
    updated_at: ['int8', (r) => r.updatedAt],
    priority: ['int8', (r) => r.priority],
    reserved_money: ['int8', (r) => r.reservedMoney],
    filled_value: ['int8', (r) => r.filledValue],
    fees_paid: ['int8', (r) => r.feesPaid],
  },
  {
    fixed: [
      'market_id',
      'user_id',
      'order_type',
      'side',
      'outcome',
      'original_shares',
      'time_in_force',
      'client_order_id',
      'created_at',
    ],
  },
)

export const orderFrom = (t: Tables['orders']): OrderRow => ({
  id: t.id as OrderRow['id'],
  marketId: t.market_id as MarketId,
  userId: t.user_id as OrderRow['userId'],
  orderType: t.order_type as OrderRow['orderType'],
  side: t.side as OrderRow['side'],
  outcome: Number(t.outcome),
  originalShares: t.original_shares,
  remainingShares: t.remaining_shares,
  averagePrice: t.average_price,
  limit: t.limit_price,
  timeInForce: t.time_in_force as OrderRow['timeInForce'],
  expiresAt: number(t.expires_at),
  clientOrderId: t.client_order_id,
  state: t.state as OrderRow['state'],
  createdAt: Number(t.created_at),
  updatedAt: Number(t.updated_at),
  priority: Number(t.priority),
  reservedMoney: t.reserved_money,
  filledValue: t.filled_value,
  feesPaid: t.fees_paid,
})

export const holdings = mapping<HoldingRow, 'holdings'>(
  'holdings',
  ['user_id', 'market_id', 'outcome'],
  {
    id: ['text', (r) => r.id],
    user_id: ['text', (r) => r.userId],
    market_id: ['text', (r) => r.marketId],
    outcome: ['int8', (r) => r.outcome],
    shares: ['int8', (r) => r.shares],
    reserved: ['int8', (r) => r.reserved],
    cost: ['int8', (r) => r.cost],
    realized: ['int8', (r) => r.realized],
    bought: ['int8', (r) => r.bought],
    sold: ['int8', (r) => r.sold],
    paid: ['int8', (r) => r.paid],
    received: ['int8', (r) => r.received],
    fees: ['int8', (r) => r.fees],
    payout: ['int8', (r) => r.payout],
    trades: ['int8', (r) => r.trades],
    created_at: ['int8', (r) => r.createdAt],
    updated_at: ['int8', (r) => r.updatedAt],
  },
  { fixed: ['id', 'created_at'] },
)

export const holdingFrom = (t: Tables['holdings']): HoldingRow => ({
  id: t.id,
  userId: t.user_id as HoldingRow['userId'],
  marketId: t.market_id as MarketId,
  outcome: Number(t.outcome),
  shares: t.shares,
  reserved: t.reserved,
  cost: t.cost,
  realized: t.realized,
  bought: t.bought,
  sold: t.sold,
  paid: t.paid,
  received: t.received,
  fees: t.fees,
  payout: t.payout,
  trades: Number(t.trades),
  createdAt: Number(t.created_at),
  updatedAt: Number(t.updated_at),
})

export const disputes = mapping<DisputeRow, 'disputes'>(
  'disputes',
  ['id'],
  {
    id: ['text', (r) => r.id],
    market_id: ['text', (r) => r.marketId],
    user_id: ['text', (r) => r.userId],
    dispute_type: ['text', (r) => r.disputeType],
    reason: ['text', (r) => r.reason],
    evidence: ['text', (r) => r.evidence],
    state: ['text', (r) => r.state],
    note: ['text', (r) => r.note],
    created_at: ['int8', (r) => r.createdAt],
    decided_at: ['int8', (r) => r.decidedAt],
  },
  { fixed: ['market_id', 'user_id', 'dispute_type', 'reason', 'evidence', 'created_at'] },
)

export const disputeFrom = (t: Tables['disputes']): DisputeRow => ({
  id: t.id,
  marketId: t.market_id as MarketId,
  userId: t.user_id as DisputeRow['userId'],
  disputeType: t.dispute_type,
  reason: t.reason,
  evidence: t.evidence,
  state: t.state as DisputeRow['state'],
  note: t.note,
  createdAt: Number(t.created_at),
  decidedAt: number(t.decided_at),
})

export const trades = mapping<TradeRow, 'trades'>('trades', null, {
  id: ['text', (r) => r.id],
  role: ['text', (r) => r.role],
  market_id: ['text', (r) => r.marketId],
  user_id: ['text', (r) => r.userId],
  order_id: ['text', (r) => r.orderId],
  side: ['text', (r) => r.side],
  outcome: ['int8', (r) => r.outcome],
  shares: ['int8', (r) => r.shares],
  value: ['int8', (r) => r.value],
  fee: ['int8', (r) => r.fee],
  average_price: ['int8', (r) => r.averagePrice],
  price_after: ['int8', (r) => r.priceAfter],
  prices: ['text', (r) => amounts(r.prices)],
  fills: ['text', (r) => JSON.stringify(fillsToWire(r.fills))],
  created_at: ['int8', (r) => r.createdAt],
  version: ['int8', (r) => r.version],
})

export const tradeFrom = (t: Tables['trades']): TradeRow => ({
  id: t.id as TradeRow['id'],
  role: t.role as TradeRow['role'],
  marketId: t.market_id as MarketId,
  userId: t.user_id as TradeRow['userId'],
  orderId: t.order_id as TradeRow['orderId'],
  side: t.side as TradeRow['side'],
  outcome: Number(t.outcome),
  shares: t.shares,
  value: t.value,
  fee: t.fee,
  averagePrice: t.average_price,
  priceAfter: t.price_after,
  prices: amountsFrom(t.prices),
  fills: fillsFromWire(JSON.parse(t.fills) as ReturnType<typeof fillsToWire>),
  createdAt: Number(t.created_at),
  version: Number(t.version),
})

export const transfers = mapping<Transfer, 'transfers', 'seq'>('transfers', null, {
  asset: ['text', (r) => r.asset],
  market_id: ['text', (r) => r.marketId],
  outcome: ['int8', (r) => r.outcome],
  from_account: ['text', (r) => r.from],
  from_id: ['text', (r) => r.fromId],
  to_account: ['text', (r) => r.to],
  to_id: ['text', (r) => r.toId],
  amount: ['int8', (r) => r.amount],
  reason: ['text', (r) => r.reason],
  trade_id: ['text', (r) => r.tradeId],
  order_id: ['text', (r) => r.orderId],
  at: ['int8', (r) => r.at],
})

export const profits = mapping<ProfitRow, 'profits', 'seq'>('profits', null, {
  user_id: ['text', (r) => r.userId],
  market_id: ['text', (r) => r.marketId],
  outcome: ['int8', (r) => r.outcome],
  kind: ['text', (r) => r.kind],
  amount: ['int8', (r) => r.amount],
  trade_id: ['text', (r) => r.tradeId],
  at: ['int8', (r) => r.at],
})

export const scores = mapping<ScoreRow, 'scores'>('scores', null, {
  user_id: ['text', (r) => r.userId],
  market_id: ['text', (r) => r.marketId],
  profit: ['int8', (r) => r.profit],
  won: ['int8', (r) => (r.won ? 1 : 0)],
  brier: ['int8', (r) => r.brier],
  trades: ['int8', (r) => r.trades],
  at: ['int8', (r) => r.at],
})

const SUMS = ['profit', 'volume', 'trades', 'markets', 'scored', 'won', 'brier']

export const standings = mapping<readonly [userId: string, sums: Sums], 'standings'>(
  'standings',
  ['user_id'],
  {
    user_id: ['text', ([userId]) => userId],
    profit: ['int8', ([, sums]) => sums.profit],
    volume: ['int8', ([, sums]) => sums.volume],
    trades: ['int8', ([, sums]) => sums.trades],
    markets: ['int8', ([, sums]) => sums.markets],
    scored: ['int8', ([, sums]) => sums.scored],
    won: ['int8', ([, sums]) => sums.won],
    brier: ['int8', ([, sums]) => sums.brier],
  },
  { adds: SUMS },
)

/** Of a user who traded and nothing else. */
export const tradeStanding = `UPDATE standings SET volume = volume + ?, trades = trades + ? WHERE user_id = ?`

export const userBuckets = mapping<UserBucket, 'user_buckets'>(
  'user_buckets',
  ['step', 'at', 'user_id'],
  {
    step: ['int8', (b) => b.step],
    at: ['int8', (b) => b.at],
    user_id: ['text', (b) => b.userId],
    profit: ['int8', (b) => b.sums.profit],
    volume: ['int8', (b) => b.sums.volume],
    trades: ['int8', (b) => b.sums.trades],
    markets: ['int8', (b) => b.sums.markets],
    scored: ['int8', (b) => b.sums.scored],
    won: ['int8', (b) => b.sums.won],
    brier: ['int8', (b) => b.sums.brier],
  },
  { adds: SUMS },
)

export const marketBuckets = mapping<MarketBucket, 'market_buckets'>(
  'market_buckets',
  ['market_id', 'step', 'at'],
  {
    market_id: ['text', (b) => b.marketId],
    step: ['int8', (b) => b.step],
    at: ['int8', (b) => b.at],
    volume: ['int8', (b) => b.volume],
    trades: ['int8', (b) => b.trades],
    prices: ['text', (b) => amounts(b.prices)],
  },
  { adds: ['volume', 'trades'] },
)

export const categoryBuckets = mapping<CategoryBucket, 'category_buckets'>(
  'category_buckets',
  ['category', 'at'],
  {
    category: ['text', (b) => b.category],
    at: ['int8', (b) => b.at],
    volume: ['int8', (b) => b.volume],
    trades: ['int8', (b) => b.trades],
  },
  { adds: ['volume', 'trades'] },
)

/**
 * The statement that writes rows: on SQLite `count` of them by positional values, on PostgreSQL any number as one array a
 * column.
 */
export function writing(
  m: Pick<Mapping<never>, 'table' | 'key' | 'adds' | 'fixed' | 'columns'>,
  dialect: 'sqlite' | 'postgres',
  count = 1,
): string {
  const names = m.columns.map((c) => c.name)
  const source =
    dialect === 'sqlite'
      ? `VALUES ${new Array<string>(count).fill(`(${names.map(() => '?').join(', ')})`).join(', ')}`
      : `SELECT * FROM unnest(${m.columns.map((c, i) => `$${i + 1}::${c.type}[]`).join(', ')})`
  const head = `INSERT INTO ${m.table} (${names.join(', ')}) ${source}`
  const { key } = m
  if (key === null) return head
  const set = names
    .filter((name) => !key.includes(name) && !m.fixed.includes(name))
    .map((name) => `${name} = ${m.adds.includes(name) ? `${m.table}.${name} + ` : ''}excluded.${name}`)
  return `${head} ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${set.join(', ')}`
}

/**
 * Takes all that was counted of a market out of the sums again; \`$market\`, \`$creator\` and \`$created\` stand for its id, its
 * creator and when that was. Written once for both databases; each statement is one use of them.
 */
export const takeOut: readonly string[] = [
  ...[HOUR, DAY].flatMap((step) => [
    `INSERT INTO user_buckets (step, at, user_id, profit, volume, trades, markets, scored, won, brier)
     SELECT ${step}, created_at / ${step} * ${step}, user_id, 0, -sum(value), -count(*), 0, 0, 0, 0
     FROM trades WHERE market_id = $market GROUP BY 2, 3
     ON CONFLICT (step, at, user_id) DO UPDATE SET
       volume = user_buckets.volume + excluded.volume, trades = user_buckets.trades + excluded.trades`,
    `INSERT INTO user_buckets (step, at, user_id, profit, volume, trades, markets, scored, won, brier)
     SELECT ${step}, at / ${step} * ${step}, user_id, -sum(amount), 0, 0, 0, 0, 0, 0
     FROM profits WHERE market_id = $market GROUP BY 2, 3
     ON CONFLICT (step, at, user_id) DO UPDATE SET profit = user_buckets.profit + excluded.profit`,
    `UPDATE user_buckets SET markets = markets - 1
     WHERE step = ${step} AND at = $created / ${step} * ${step} AND user_id = $creator`,
  ]),
  `INSERT INTO standings (user_id, profit, volume, trades, markets, scored, won, brier)
   SELECT user_id, 0, -sum(value), -count(*), 0, 0, 0, 0 FROM trades WHERE market_id = $market GROUP BY 1
   ON CONFLICT (user_id) DO UPDATE SET
     volume = standings.volume + excluded.volume, trades = standings.trades + excluded.trades`,
  `INSERT INTO standings (user_id, profit, volume, trades, markets, scored, won, brier)
   SELECT user_id, -sum(amount), 0, 0, 0, 0, 0, 0 FROM profits WHERE market_id = $market GROUP BY 1
   ON CONFLICT (user_id) DO UPDATE SET profit = standings.profit + excluded.profit`,
  `UPDATE standings SET markets = markets - 1 WHERE user_id = $creator`,
]

export const commands = mapping<CommandRow, 'commands', 'seq'>('commands', null, {
  key: ['text', (r) => r.key],
  fingerprint: ['text', (r) => r.fingerprint],
  answer: ['text', (r) => r.answer],
  at: ['int8', (r) => r.at],
})
