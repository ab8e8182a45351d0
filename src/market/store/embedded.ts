/**
 * The market of an instance on the embedded database: commands go to the market-writer, reads to market.db itself, which
 * the instance opens once the writer has made it. Until then reads are refused with 503.
 */
import type Sqlite from 'better-sqlite3'
import { unavailable } from '../../base/errors.ts'
import type { MarketReads } from '../reads.ts'
import { connectWriter } from './client.ts'
import type { EmbeddedOptions, OpenMarket } from './market.ts'
import { readsOver } from './reads/reads.ts'
import { readSqlite } from './sql.ts'
import { sqliteMigrations } from './tables.ts'

/** Nothing waits for the writer to be there. */
export function openEmbeddedMarket(options: EmbeddedOptions): OpenMarket & {
  readonly commands: ReturnType<typeof connectWriter>
} {
  const commands = connectWriter(options)
  const reads = openMarketReads(options.path)
  return {
    commands,
    reads,
    async close() {
      await commands.close()
      reads.close()
    },
  }
}

/** Reads of market.db. Each is refused with 503 as long as the writer has not made the file, or has another format. */
export function openMarketReads(path: string): MarketReads & { close(): void } {
  let open: { readonly reads: MarketReads; readonly db: Sqlite.Database } | null = null
  const ready = (): MarketReads => {
    if (open !== null) return open.reads
    let db: Sqlite.Database | null = null
    try {
      const read = readSqlite(path)
      db = read.db
      const format = db.pragma('user_version', { simple: true })
      if (format !== sqliteMigrations.length) throw new Error(`its format is ${format}`)
      open = { reads: readsOver(read.sql, 'sqlite'), db }
      return open.reads
    } catch {
      db?.close()
      throw unavailable('The market is not there yet.', 2, 'market_unavailable')
    }
  }
  return {
    market: async (...a) => ready().market(...a),
    markets: async (...a) => ready().markets(...a),
    bound: async (...a) => ready().bound(...a),
    stats: async (...a) => ready().stats(...a),
    priceHistory: async (...a) => ready().priceHistory(...a),
    quote: async (...a) => ready().quote(...a),
    book: async (...a) => ready().book(...a),
    trades: async (...a) => ready().trades(...a),
    trade: async (...a) => ready().trade(...a),
    orders: async (...a) => ready().orders(...a),
    order: async (...a) => ready().order(...a),
    positions: async (...a) => ready().positions(...a),
    holdings: async (...a) => ready().holdings(...a),
    position: async (...a) => ready().position(...a),
    account: async (...a) => ready().account(...a),
    disputes: async (...a) => ready().disputes(...a),
    leaderboard: async (...a) => ready().leaderboard(...a),
    close: () => void open?.db.close(),
  }
}
