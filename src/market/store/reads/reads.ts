/** Everything that is read of the market, from either database. */
import type { MarketReads } from '../../reads.ts'
import type { Dialect, Sql } from '../sql.ts'
import { leaderboardReads } from './leaderboards.ts'
import { marketReads } from './markets.ts'
import { tradingReads } from './trading.ts'

export function readsOver(db: Sql, dialect: Dialect): MarketReads {
  return { ...marketReads(db, dialect), ...tradingReads(db), ...leaderboardReads(db) }
}
