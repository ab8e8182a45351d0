/**
 * The tables on PostgreSQL: made and changed by whoever comes first, under a lock, each step in a transaction. They are
 * in the first schema of the connection's `search_path`.
 */
import type pg from 'pg'
import { postgresMigrations } from './tables.ts'

/** Held by whoever migrates; also the space of the other locks of the market. */
export const LOCK_SPACE = 1_332_572_001
export const LOCKS = { migrate: 1, duties: 2, account: 3 } as const

/** Rejects with an Error of one sentence when the database was made by a newer version. */
export async function migratePostgres(pool: pg.Pool): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock($1, $2)', [LOCK_SPACE, LOCKS.migrate])
    await client.query('CREATE TABLE IF NOT EXISTS market_format (version INTEGER NOT NULL)')
    const { rows } = await client.query<{ version: number }>('SELECT version FROM market_format')
    const version = rows[0]?.version ?? 0
    if (version > postgresMigrations.length) {
      throw new Error(
        `the market's database has format ${version}, this version of Opinion Market knows formats up to ` +
          `${postgresMigrations.length}: start the newer version`,
      )
    }
    for (const step of postgresMigrations.slice(version)) await client.query(step)
    if (version < postgresMigrations.length) {
      await client.query('DELETE FROM market_format')
      await client.query('INSERT INTO market_format VALUES ($1)', [postgresMigrations.length])
    }
    await client.query('COMMIT')
    client.release()
  } catch (error) {
    client.release(error instanceof Error ? error : true)
    throw error
  }
}
