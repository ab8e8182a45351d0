/** Reads of markets: pages, lists, statistics, price history. */
import { type SelectQueryBuilder, sql } from 'kysely'
import { DAY, HOUR, MINUTE, type Millis } from '../../../base/time.ts'
import { stateAt } from '../../books.ts'
import { CATEGORIES, type Category, type MarketId, type Price } from '../../model.ts'
import type { MarketFilter, MarketReads, MarketStats, MarketView, Paged, PricePoint } from '../../reads.ts'
import { amountsFrom, type MarketRecord, marketFrom } from '../rows.ts'
import type { Dialect, Sql } from '../sql.ts'
import type { Tables } from '../tables.ts'
import { since } from './window.ts'

const WORDS_MAX = 10
/** Minutes are kept for longer than this; hours for ever. */
const MINUTES_SURE_MS = 8 * DAY
const CERTAIN: Price = 1_000_000n

type MarketParts = Pick<MarketReads, 'market' | 'markets' | 'bound' | 'stats' | 'priceHistory'>

export function marketReads(db: Sql, dialect: Dialect): MarketParts {
  async function views(ids: readonly string[], now: Millis): Promise<MarketView[]> {
    if (ids.length === 0) return []
    const { fromId, minute, minuteId, hour } = since(now - DAY)
    // What it was a day ago: minutes are kept for days, hours for ever.
    const before = minute - MINUTE
    const bucket = (step: number, at: Millis) =>
      sql<string | null>`(SELECT b.prices FROM market_buckets AS b WHERE b.market_id = markets.id AND b.step = ${step}
        AND b.at <= ${at} ORDER BY b.at DESC LIMIT 1)`
    const records = await db
      .selectFrom('markets')
      .innerJoin('market_texts', 'market_texts.id', 'markets.id')
      .selectAll(['markets', 'market_texts'])
      .select([
        sql<bigint>`CAST(
          coalesce((SELECT sum(b.volume) FROM market_buckets AS b WHERE b.market_id = markets.id AND b.step = ${HOUR}
            AND b.at >= ${hour}), 0)
          + coalesce((SELECT sum(b.volume) FROM market_buckets AS b WHERE b.market_id = markets.id AND b.step = ${MINUTE}
            AND b.at >= ${minute} AND b.at < ${hour}), 0)
          + coalesce((SELECT sum(t.value) FROM trades AS t WHERE t.market_id = markets.id AND t.id >= ${fromId}
            AND t.id < ${minuteId} AND t.role = 'taker'), 0) AS bigint)`.as('volume_24h'),
        sql<string | null>`coalesce(${bucket(MINUTE, before)}, ${bucket(HOUR, before - HOUR)})`.as('prices_then'),
      ])
      .where('markets.id', 'in', ids)
      .execute()
    const byId = new Map(records.map((record) => [record.id, viewOf(record, now)]))
    return ids.flatMap((id) => byId.get(id as MarketId) ?? [])
  }

  return {
    async market(id, now) {
      return (await views([id], now))[0] ?? null
    },

    async markets(filter, page, now): Promise<Paged<MarketView>> {
      const found = filtered(db, dialect, filter, now)
      if (found === null) return { rows: [], total: 0 }
      const [ids, counted] = await Promise.all([
        sorted(found.select('markets.id'), filter).offset(page.skip).limit(page.limit).execute(),
        found.select((e) => e.fn.countAll<bigint>().as('total')).executeTakeFirstOrThrow(),
      ])
      return {
        rows: await views(
          ids.map((row) => row.id),
          now,
        ),
        total: Number(counted.total),
      }
    },

    async bound(now, limit) {
      const found = await db
        .selectFrom('markets')
        .innerJoin('market_texts', 'market_texts.id', 'markets.id')
        .select('markets.id')
        .where('market_texts.binding', 'is not', null)
        .where('markets.state', 'in', ['open', 'closed', 'pending_verification'])
        .where('markets.closes_at', '<=', BigInt(now))
        .where(
          dialect === 'sqlite'
            ? sql<boolean>`json_extract(market_texts.binding, '$.at') <= ${now}`
            : sql<boolean>`(market_texts.binding::json ->> 'at')::int8 <= ${now}`,
        )
        .orderBy('markets.closes_at')
        .limit(limit)
        .execute()
      return views(
        found.map((row) => row.id),
        now,
      )
    },

    async stats(now): Promise<MarketStats> {
      const window = since(now - DAY)
      const [counts, buckets, edge] = await Promise.all([
        db
          .selectFrom('markets')
          .select((e) => [
            'category',
            e.fn.countAll<bigint>().as('markets'),
            sql<bigint>`CAST(coalesce(sum(volume), 0) AS bigint)`.as('volume'),
            sql<bigint>`CAST(sum(CASE WHEN state = 'open' AND closes_at > ${now} THEN 1 ELSE 0 END) AS bigint)`.as(
              'active',
            ),
          ])
          .groupBy('category')
          .execute(),
        db
          .selectFrom('category_buckets')
          .select(['category', sql<bigint>`CAST(sum(volume) AS bigint)`.as('volume')])
          .where('at', '>=', BigInt(window.minute))
          .groupBy('category')
          .execute(),
        db
          .selectFrom('trades')
          .innerJoin('markets', 'markets.id', 'trades.market_id')
          .select(['markets.category', sql<bigint>`CAST(sum(trades.value) AS bigint)`.as('volume')])
          .where('trades.id', '>=', window.fromId)
          .where('trades.id', '<', window.minuteId)
          .where('trades.role', '=', 'taker')
          .groupBy('markets.category')
          .execute(),
      ])
      const fresh = new Map<string, bigint>()
      for (const { category, volume } of [...buckets, ...edge]) {
        fresh.set(category, (fresh.get(category) ?? 0n) + volume)
      }
      let mostActive: Category | null = null
      let volume24h = 0n
      for (const category of CATEGORIES) {
        const volume = fresh.get(category) ?? 0n
        volume24h += volume
        if (volume > (mostActive === null ? 0n : (fresh.get(mostActive) ?? 0n))) mostActive = category
      }
      return {
        total: counts.reduce((sum, row) => sum + Number(row.markets), 0),
        active: counts.reduce((sum, row) => sum + Number(row.active), 0),
        volume24h,
        volumeTotal: counts.reduce((sum, row) => sum + row.volume, 0n),
        mostActiveCategory: mostActive,
        perCategory: Object.fromEntries(counts.map((row) => [row.category, Number(row.markets)])),
      }
    },

    async priceHistory(id, hours, points, now): Promise<readonly PricePoint[]> {
      const market = await db.selectFrom('markets').selectAll().where('id', '=', id).executeTakeFirst()
      if (market === undefined) return []
      const from = Math.max(Number(market.created_at), hours === null ? 0 : now - hours * HOUR)
      // Steps of whole minutes, or of whole hours where minutes are not kept: at most `points` of them.
      const least = Math.max((now - from) / Math.max(1, points - 1), 1)
      const unit = least > HOUR || now - from > MINUTES_SURE_MS ? HOUR : MINUTE
      const step = Math.ceil(least / unit) * unit
      const last = (step: number, until: Millis) =>
        db
          .selectFrom('market_buckets')
          .select('prices')
          .where('market_id', '=', id)
          .where('step', '=', BigInt(step))
          .where('at', '<', BigInt(until))
          .orderBy('at', 'desc')
          .limit(1)
          .executeTakeFirst()
      // The hour in which it begins may hold what came after: of that hour the minutes are asked first.
      const [before, buckets] = await Promise.all([
        last(unit, from - (from % unit)).then((found) => found ?? last(HOUR, from - (from % HOUR))),
        db
          .selectFrom('market_buckets')
          .select(['at', 'prices', 'volume'])
          .where('market_id', '=', id)
          .where('step', '=', BigInt(unit))
          .where('at', '>=', BigInt(from - (from % unit)))
          .orderBy('at')
          .execute(),
      ])
      const points_: { at: Millis; prices: string; volume: bigint }[] = []
      for (const { at, prices, volume } of buckets) {
        const end = Math.min(now, Math.ceil((Number(at) + unit) / step) * step)
        const last = points_.at(-1)
        if (last?.at === end) {
          last.prices = prices
          last.volume += volume
        } else points_.push({ at: end, prices, volume })
      }
      const first: PricePoint = {
        at: from,
        prices: before === undefined ? evenPrices(amountsFrom(market.prices).length) : amountsFrom(before.prices),
        volume: 0n,
      }
      return [first, ...points_.map(({ at, prices, volume }) => ({ at, prices: amountsFrom(prices), volume }))]
    },
  }
}

const evenPrices = (outcomes: number): Price[] => new Array<Price>(outcomes).fill(CERTAIN / BigInt(outcomes))

function viewOf(
  record: MarketRecord & { trending: bigint; volume_24h: bigint; prices_then: string | null },
  now: Millis,
): MarketView {
  const row = marketFrom(record)
  const young = row.createdAt > now - DAY
  const then = record.prices_then === null ? evenPrices(row.prices.length) : amountsFrom(record.prices_then)
  return {
    ...row.draft,
    id: row.id,
    creatorId: row.creatorId,
    state: stateAt(row, now),
    version: row.version,
    sold: row.sold,
    prices: row.prices,
    createdAt: row.createdAt,
    resolution: row.resolution,
    resolutionSource: row.resolutionSource,
    resolvedAt: row.resolvedAt,
    finalAt: row.finalAt,
    volumeTotal: row.volume,
    volume24h: record.volume_24h,
    trades: row.trades,
    traders: row.traders,
    trendingScore: Number(record.trending),
    change24h: young ? null : row.prices[0]! - then[0]!,
  }
}

/** From which score on a market is among the trending ones. */
const TRENDING = 50n

/** Null when nothing can match. */
function filtered(db: Sql, dialect: Dialect, filter: MarketFilter, now: Millis) {
  let query = db.selectFrom('markets')
  if (filter.category !== null) query = query.where('category', '=', filter.category)
  if (filter.trending) query = query.where('trending', '>=', TRENDING)
  if (filter.state !== null) {
    const at = BigInt(now)
    const { state } = filter
    if (state === 'closed') {
      query = query.where((e) =>
        e.or([e('state', '=', 'closed'), e.and([e('state', 'in', ['open', 'suspended']), e('closes_at', '<=', at)])]),
      )
    } else if (state === 'open' || state === 'suspended') {
      query = query.where('state', '=', state).where('closes_at', '>', at)
    } else query = query.where('state', '=', state)
  }
  if (filter.search !== null) {
    const words = (filter.search.match(/[\p{L}\p{N}]+/gu) ?? []).slice(0, WORDS_MAX)
    if (words.length === 0) return null
    const ids =
      dialect === 'sqlite'
        ? sql<string>`(SELECT id FROM market_texts WHERE seq IN
            (SELECT rowid FROM market_search WHERE market_search MATCH ${words.map((w) => `"${w}"*`).join(' ')}))`
        : sql<string>`(SELECT id FROM market_texts
            WHERE words @@ to_tsquery('simple', ${words.map((w) => `${w}:*`).join(' & ')}))`
    query = query.where('markets.id', 'in', ids)
  }
  return query
}

function sorted<O>(query: SelectQueryBuilder<Tables, 'markets', O>, filter: MarketFilter) {
  switch (filter.sort) {
    case 'new':
      return query.orderBy('markets.id', 'desc')
    case 'closing':
      return query.orderBy('closes_at').orderBy('markets.id')
    case 'volume':
      return query.orderBy('volume', 'desc').orderBy('markets.id', 'desc')
    case 'trending':
      return query.orderBy('trending', 'desc').orderBy('markets.id', 'desc')
  }
}
