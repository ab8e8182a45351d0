/**
 * Connections to PostgreSQL. The one file of the market that loads the driver, and `postgres.ts` the one that leads here:
 * a process with the embedded database starts without it.
 */
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Log } from '../../base/log.ts'
import type { Sql } from './sql.ts'
import type { Tables } from './tables.ts'

const INT8 = 20

/** Connections to PostgreSQL; int8 is a bigint. `log` hears of connections that broke while nobody used them. */
export function openPool(url: string, log: Log, connections = 10): pg.Pool {
  const types = {
    getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
      oid === INT8 ? (text: string) => BigInt(text) : pg.types.getTypeParser(oid, format as 'text')) as never,
  }
  const pool = new pg.Pool({
    connectionString: url,
    max: connections,
    types,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: 30_000,
    keepAlive: true,
    application_name: 'opinion-market',
  })
  pool.on('error', (error) => log.warn('a connection to PostgreSQL broke', { why: error.message }))
  return pool
}

export const kyselyOverPool = (pool: pg.Pool): Sql => new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
