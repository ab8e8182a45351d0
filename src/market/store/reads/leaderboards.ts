/**
 * Who did best, over all time or in a sliding window: whole days and hours from their buckets, the beginning of the window
 * from single rows. Void markets are in neither.
 */
import { type RawBuilder, sql } from 'kysely'
import { DAY, HOUR, type Millis } from '../../../base/time.ts'
import type { UserId } from '../../model.ts'
import type { MarketReads, Period, Rank } from '../../reads.ts'
import type { Sql } from '../sql.ts'
import type { UserSums } from '../tables.ts'
import { since } from './window.ts'

type By = Parameters<MarketReads['leaderboard']>[0]
type SumsOfUser = UserSums & { user_id: string }

const DAYS: Readonly<Record<Exclude<Period, 'all_time'>, number>> = { '24h': 1, '7d': 7, '30d': 30 }
/** Ratios are compared in millionths, as whole numbers. */
const SCALE = sql`1000000`

/** What is ranked, best first, and who takes part: somebody who did nothing of it is no rank. */
const boards: Readonly<Record<By, { order: RawBuilder<unknown>; takesPart(minimum: number): RawBuilder<unknown> }>> = {
  // Who was paid in the period earned in it, also without a trade in it.
  profit: {
    order: sql`profit DESC`,
    takesPart: (minimum) => sql`(trades >= ${Math.max(1, minimum)} OR profit <> 0)`,
  },
  volume: { order: sql`volume DESC`, takesPart: (minimum) => sql`trades >= ${Math.max(1, minimum)}` },
  markets: { order: sql`markets DESC`, takesPart: (minimum) => sql`markets >= ${Math.max(1, minimum)}` },
  win_rate: {
    order: sql`won * ${SCALE} / scored DESC, scored DESC`,
    takesPart: (minimum) => sql`scored > 0 AND trades >= ${minimum}`,
  },
  calibration: {
    order: sql`brier / scored, scored DESC`,
    takesPart: (minimum) => sql`scored >= ${Math.max(1, minimum)}`,
  },
}

export function leaderboardReads(db: Sql): Pick<MarketReads, 'leaderboard'> {
  return {
    async leaderboard(by, { period, minimum, limit }, now): Promise<readonly Rank[]> {
      const { order, takesPart } = boards[by]
      const sums = period === 'all_time' ? sql`standings` : sql`(${sumsSince(now - DAYS[period] * DAY)}) AS sums`
      const { rows } = await sql<SumsOfUser & { username: string | null }>`
        SELECT best.*, accounts.username FROM (
          SELECT user_id, profit, volume, trades, markets, scored, won, brier FROM ${sums}
          WHERE ${takesPart(minimum)} ORDER BY ${order}, user_id LIMIT ${limit}
        ) AS best LEFT JOIN accounts ON accounts.user_id = best.user_id
        ORDER BY ${order}, best.user_id`.execute(db)
      return rows.map((row) => ({
        userId: row.user_id as UserId,
        username: row.username ?? '',
        profit: row.profit,
        volume: row.volume,
        trades: Number(row.trades),
        winRate: row.scored === 0n ? null : (100 * Number(row.won)) / Number(row.scored),
        brier: row.scored === 0n ? null : Number(row.brier) / Number(row.scored) / 1e6,
        markets: Number(row.markets),
      }))
    },
  }
}

/** Sums of each user who did anything at or after `from`. */
function sumsSince(from: Millis): RawBuilder<SumsOfUser> {
  const { fromId, hour, hourId, day } = since(from)
  const counted = (marketId: string) =>
    sql`NOT EXISTS (SELECT 1 FROM markets WHERE markets.id = ${sql.ref(marketId)} AND resolution = -1 AND paid_at IS NOT NULL)`
  const of = (column: string) => sql`CAST(sum(${sql.ref(column)}) AS bigint) AS ${sql.ref(column)}`
  return sql`
    SELECT user_id, ${of('profit')}, ${of('volume')}, ${of('trades')}, ${of('markets')}, ${of('scored')}, ${of('won')},
      ${of('brier')}
    FROM (
      SELECT user_id, profit, volume, trades, markets, scored, won, brier FROM user_buckets
        WHERE step = ${DAY} AND at >= ${day}
      UNION ALL SELECT user_id, profit, volume, trades, markets, scored, won, brier FROM user_buckets
        WHERE step = ${HOUR} AND at >= ${hour} AND at < ${day}
      UNION ALL SELECT user_id, 0, value, 1, 0, 0, 0, 0 FROM trades
        WHERE id >= ${fromId} AND id < ${hourId} AND ${counted('trades.market_id')}
      UNION ALL SELECT user_id, amount, 0, 0, 0, 0, 0, 0 FROM profits
        WHERE at >= ${from} AND at < ${hour} AND ${counted('profits.market_id')}
      UNION ALL SELECT user_id, 0, 0, 0, 0, 1, won, brier FROM scores WHERE at >= ${from} AND at < ${hour}
      UNION ALL SELECT creator_id, 0, 0, 0, 1, 0, 0, 0 FROM markets
        WHERE id >= ${fromId} AND id < ${hourId} AND (resolution IS NULL OR resolution <> -1 OR paid_at IS NULL)
    ) AS parts GROUP BY user_id`
}
