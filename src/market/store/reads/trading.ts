/** Reads of trades, orders, positions, accounts and books; and the quote, which is what the trade itself would compute. */
import { sql } from 'kysely'
import { type BookRows, MemoryBooks } from '../../memory-books.ts'
import type { MarketId, Money, OrderId, Outcome, Price, Shares, UserId } from '../../model.ts'
import type { BookLevel, MarketReads, PositionView } from '../../reads.ts'
import { quote, viewOf } from '../../trading.ts'
import {
  accountFrom,
  amountsFrom,
  disputeFrom,
  holdingFrom,
  marketFrom,
  orderFrom,
  resolutionFrom,
  tradeFrom,
} from '../rows.ts'
import type { Sql } from '../sql.ts'
import type { Tables } from '../tables.ts'

type TradingParts = Pick<
  MarketReads,
  | 'quote'
  | 'book'
  | 'trades'
  | 'trade'
  | 'orders'
  | 'order'
  | 'positions'
  | 'holdings'
  | 'position'
  | 'account'
  | 'disputes'
>

/** Said in full, not as parameters: only then a planner knows that the index over open orders has them all. */
const OPEN = sql<boolean>`state IN ('pending', 'partially_filled')`
const ONE: Price = 1_000_000n
/** Markets whose books are kept for quotes; each is asked for its version before it is used. */
const BOOKS_KEPT = 200
/** A market with more open orders than this is read anew for each quote. */
const ORDERS_KEPT = 2_000

/** A market as quotes need it, at one version. */
interface QuoteBooks {
  readonly books: MemoryBooks
  /** Whose orders rest. */
  readonly resting: ReadonlySet<UserId>
}

export function tradingReads(db: Sql): TradingParts {
  const kept = new Map<MarketId, QuoteBooks>()

  // Asked for each quote: built once.
  const version = db.selectFrom('markets').select('version').where('id', '=', '').compile()
  async function versionOf(id: MarketId): Promise<number | undefined> {
    const { rows } = await db.executeQuery<{ version: bigint }>({ ...version, parameters: [id] })
    return rows[0] && Number(rows[0].version)
  }

  /** The market and its open orders, all of one version. */
  async function booksOf(id: MarketId): Promise<QuoteBooks | null> {
    const known = kept.get(id)
    if (known !== undefined) {
      if ((await versionOf(id)) === known.books.market(id)?.version) return known
      kept.delete(id)
    }
    for (;;) {
      const market = await db
        .selectFrom('markets')
        .innerJoin('market_texts', 'market_texts.id', 'markets.id')
        .selectAll(['markets', 'market_texts'])
        .where('markets.id', '=', id)
        .executeTakeFirst()
      if (market === undefined) return null
      const orders = await db.selectFrom('orders').selectAll().where('market_id', '=', id).where(OPEN).execute()
      if ((await versionOf(id)) !== Number(market.version)) continue // changed while it was read: both have to be of one moment
      const books = new MemoryBooks()
      books.apply({ ...NO_ROWS, markets: [marketFrom(market)], orders: orders.map(orderFrom) })
      const found = { books, resting: new Set(orders.map((order) => order.user_id as UserId)) }
      if (orders.length <= ORDERS_KEPT) {
        if (kept.size >= BOOKS_KEPT) kept.delete(kept.keys().next().value!)
        kept.set(id, found)
      }
      return found
    }
  }

  async function levels(id: MarketId, outcome: Outcome, side: 'buy' | 'sell', most: number): Promise<BookLevel[]> {
    const found = await db
      .selectFrom('orders')
      .select((e) => [
        'limit_price',
        sql<bigint>`CAST(sum(remaining_shares) AS bigint)`.as('shares'),
        e.fn.countAll<bigint>().as('orders'),
      ])
      .where('market_id', '=', id)
      .where('outcome', '=', BigInt(outcome))
      .where('side', '=', side)
      .where(OPEN)
      .groupBy('limit_price')
      .orderBy('limit_price', side === 'buy' ? 'desc' : 'asc')
      .limit(most)
      .execute()
    return found.map(({ limit_price, shares, orders }) => ({ price: limit_price!, shares, orders: Number(orders) }))
  }

  const holdingsWithPrices = () =>
    db
      .selectFrom('holdings')
      .innerJoin('markets', 'markets.id', 'holdings.market_id')
      .selectAll('holdings')
      .select(['markets.prices as market_prices', 'markets.resolution as market_resolution'])

  return {
    async quote(request, now) {
      const known = await booksOf(request.marketId)
      if (known === null) return null
      const { books, resting } = known
      if (request.side === 'sell' && request.userId !== null) {
        const held = await db
          .selectFrom('holdings')
          .selectAll()
          .where('market_id', '=', request.marketId)
          .where('user_id', '=', request.userId)
          .where('outcome', '=', BigInt(Math.trunc(request.outcome)))
          .executeTakeFirst()
        if (held !== undefined) books.apply({ ...NO_ROWS, holdings: [holdingFrom(held)] })
      }
      const found = quote(books, request, now)
      const { closesAt } = books.market(request.marketId)!.draft
      return 'code' in found
        ? { invalid: found.code, detail: found.detail, closesAt, resting }
        : { ...found, closesAt, resting }
    },

    async book(id, outcome, most) {
      const [bids, asks] = await Promise.all([levels(id, outcome, 'buy', most), levels(id, outcome, 'sell', most)])
      return { bids, asks }
    },

    async trades({ marketId, userId }, page) {
      let query = db.selectFrom('trades').selectAll()
      if (marketId !== undefined) query = query.where('market_id', '=', marketId)
      if (userId !== undefined) query = query.where('user_id', '=', userId)
      // A market's list has each trade once: as its taker made it.
      else query = query.where('role', '=', 'taker')
      const [found, total] = await Promise.all([
        query.orderBy('id', 'desc').offset(page.skip).limit(page.limit).execute(),
        countTrades(db, marketId, userId),
      ])
      return { rows: found.map(tradeOf), total }
    },

    async trade(id) {
      const found = await db.selectFrom('trades').selectAll().where('id', '=', id).executeTakeFirst()
      return found === undefined ? null : tradeOf(found)
    },

    async orders(userId, filter, page) {
      let query = db.selectFrom('orders').where('user_id', '=', userId)
      if (filter.state !== undefined) query = query.where('state', '=', filter.state)
      if (filter.marketId !== undefined) query = query.where('market_id', '=', filter.marketId)
      const [found, counted] = await Promise.all([
        query.selectAll().orderBy('id', 'desc').offset(page.skip).limit(page.limit).execute(),
        query.select((e) => e.fn.countAll<bigint>().as('total')).executeTakeFirstOrThrow(),
      ])
      return { rows: found.map((record) => viewOf(orderFrom(record))), total: Number(counted.total) }
    },

    async order(userId, id: OrderId) {
      const found = await db
        .selectFrom('orders')
        .selectAll()
        .where('id', '=', id)
        .where('user_id', '=', userId)
        .executeTakeFirst()
      return found === undefined ? null : viewOf(orderFrom(found))
    },

    async positions(userId, activeOnly, page) {
      const active = sql<boolean>`shares > 0`
      let query = holdingsWithPrices().where('user_id', '=', userId)
      let counting = db.selectFrom('holdings').where('user_id', '=', userId)
      if (activeOnly) {
        query = query.where(active)
        counting = counting.where(active)
      }
      const [found, counted] = await Promise.all([
        query.orderBy('market_id', 'desc').orderBy('outcome').offset(page.skip).limit(page.limit).execute(),
        counting.select((e) => e.fn.countAll<bigint>().as('total')).executeTakeFirstOrThrow(),
      ])
      return { rows: found.map(positionOf), total: Number(counted.total) }
    },

    async holdings(userId, marketId) {
      const found = await holdingsWithPrices()
        .where('user_id', '=', userId)
        .where('market_id', '=', marketId)
        .where(sql<boolean>`shares > 0`)
        .orderBy('outcome')
        .execute()
      return found.map(positionOf)
    },

    async position(userId, id) {
      const found = await holdingsWithPrices()
        .where('holdings.id', '=', id)
        .where('user_id', '=', userId)
        .executeTakeFirst()
      return found === undefined ? null : positionOf(found)
    },

    async account(userId: UserId) {
      const [found, held] = await Promise.all([
        db.selectFrom('accounts').selectAll().where('user_id', '=', userId).executeTakeFirst(),
        holdingsWithPrices().where('user_id', '=', userId).where(sql<boolean>`shares > 0`).execute(),
      ])
      if (found === undefined) return null
      const account = accountFrom(found)
      let portfolioValue: Money = 0n
      for (const record of held) portfolioValue += worth(record.shares, priceOf(record))
      return {
        userId,
        available: account.available,
        reserved: account.reserved,
        portfolioValue,
        trades: account.trades,
        volume: account.volume,
        profit: account.profit,
        winRate: account.resolvedMarkets === 0 ? null : (100 * account.wonMarkets) / account.resolvedMarkets,
        createdAt: account.createdAt,
      }
    },

    async disputes(id, page) {
      const [found, counted] = await Promise.all([
        db
          .selectFrom('disputes')
          .selectAll()
          .where('market_id', '=', id)
          .orderBy('id', 'desc')
          .offset(page.skip)
          .limit(page.limit)
          .execute(),
        db
          .selectFrom('disputes')
          .select((e) => e.fn.countAll<bigint>().as('total'))
          .where('market_id', '=', id)
          .executeTakeFirstOrThrow(),
      ])
      const rows = found.map((record) => {
        const { note: _note, decidedAt: _decidedAt, ...view } = disputeFrom(record)
        return view
      })
      return { rows, total: Number(counted.total) }
    },
  }
}

const NO_ROWS: BookRows = { accounts: [], markets: [], orders: [], holdings: [], disputes: [] }

/** From sums that are kept with each market, user and holding: never a count over all trades. */
async function countTrades(db: Sql, marketId?: MarketId, userId?: UserId): Promise<number> {
  const sum = sql<bigint>`CAST(coalesce(sum(trades), 0) AS bigint)`.as('total')
  if (userId === undefined) {
    let query = db.selectFrom('markets').select(sum)
    if (marketId !== undefined) query = query.where('id', '=', marketId)
    return Number((await query.executeTakeFirstOrThrow()).total)
  }
  if (marketId === undefined) {
    const { total } = await db
      .selectFrom('accounts')
      .select(sum)
      .where('user_id', '=', userId)
      .executeTakeFirstOrThrow()
    return Number(total)
  }
  const { total } = await db
    .selectFrom('holdings')
    .select(sum)
    .where('market_id', '=', marketId)
    .where('user_id', '=', userId)
    .executeTakeFirstOrThrow()
  return Number(total)
}

function tradeOf(record: Tables['trades']) {
  const { role: _role, prices: _prices, ...trade } = tradeFrom(record)
  return trade
}

type HoldingWithPrices = Tables['holdings'] & { market_prices: string; market_resolution: bigint | null }

/** What a share is worth now: at the maker's price, or what it pays once its market is resolved. */
function priceOf(record: HoldingWithPrices): Price {
  const resolution = resolutionFrom(record.market_resolution)
  const outcome = Number(record.outcome)
  if (resolution?.kind === 'outcome') return resolution.outcome === outcome ? ONE : 0n
  return amountsFrom(record.market_prices)[outcome]!
}

const worth = (shares: Shares, price: Price): Money => (shares * price) / 10_000n

function positionOf(record: HoldingWithPrices): PositionView {
  const row = holdingFrom(record)
  return {
    id: row.id,
    marketId: row.marketId,
    outcome: row.outcome,
    shares: row.shares,
    reserved: row.reserved,
    cost: row.cost,
    realized: row.realized,
    currentPrice: priceOf(record),
    isActive: row.shares > 0n,
    updatedAt: row.updatedAt,
  }
}
