/** Accounts of this platform: in identity.db, or in PostgreSQL where one is configured. */
import type { Millis } from '../../base/time.ts'
import { SECOND } from '../../base/time.ts'
import type { Database } from '../../storage/database.ts'
import type { AccountLimits, Accounts, Trader, TraderRow } from './accounts.ts'
import { createAccounts, sha256, TRADER_BY_TOKEN, traderOf } from './accounts.ts'
import { createPasswords } from './passwords.ts'
import { migratePostgres } from './schema.ts'
import { postgresSql, sqliteSql } from './sql.ts'

/** As every request needs them: without waiting where the database stands in the same process. */
export interface OpenAccounts {
  readonly accounts: Accounts
  byToken(token: string, now: Millis): Trader | null | Promise<Trader | null>
  alive(sessionId: string, now: Millis): boolean | Promise<boolean>
  close(): Promise<void>
}

/**
 * `db`: a connection to identity.db that nothing else writes through; it is closed with the accounts.
 *
 * Rows of tokens are kept as long as nobody has written to the file: SQLite says so by a number, for a tenth of what
 * finding the row costs. So a log-out still holds with the next request, in every process.
 */
export function sqliteAccounts(db: Database, limits: () => AccountLimits): OpenAccounts {
  const sql = sqliteSql(db)
  const kept = new Map<string, TraderRow>()
  const accounts = createAccounts(
    // The number stays the same for what this connection writes itself.
    { ...sql, transaction: (work) => sql.transaction(work).finally(() => kept.clear()) },
    createPasswords(),
    limits,
  )
  const byHash = db.prepare<[Uint8Array], TraderRow>(TRADER_BY_TOKEN)
  const version = db.prepare<[], number>('PRAGMA data_version').pluck()
  let keptVersion: number | undefined

  function rowOf(token: string): TraderRow | undefined {
    const present = version.get()
    if (present !== keptVersion) kept.clear()
    keptVersion = present
    const known = kept.get(token)
    if (known) return known
    const row = byHash.get(sha256(token))
    if (row) {
      if (kept.size >= BELIEVED_MAX) kept.delete(kept.keys().next().value!)
      kept.set(token, row)
    }
    return row
  }
  const session = db.prepare<[string], { at: number }>(
    'SELECT refresh_expires_at AS at FROM trader_sessions WHERE id = ?',
  )
  return {
    accounts,
    byToken: (token, now) => traderOf(rowOf(token), now),
    alive: (sessionId, now) => (session.get(sessionId)?.at ?? 0) > now,
    close: async () => void db.close(),
  }
}

/** How long an answer about a token is believed: an end of a session holds within a second everywhere. */
const BELIEVED_MS = SECOND / 2
const BELIEVED_MAX = 20_000

/** Makes the tables where they are missing. Throws an Error with one sentence when the server cannot be reached. */
export async function postgresAccounts(url: string, limits: () => AccountLimits): Promise<OpenAccounts> {
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({
    connectionString: url,
    max: 5,
    connectionTimeoutMillis: 5 * SECOND,
    types: { getTypeParser: (oid, format) => (oid === 20 ? Number : pg.types.getTypeParser(oid, format as 'text')) },
  })
  // A connection that breaks while it is idle is replaced; the next query says whether the server is there.
  pool.on('error', () => {})
  await migratePostgres(pool)
  const accounts = createAccounts(postgresSql(pool), createPasswords(), limits)
  const believed = new Map<string, { trader: Trader; until: Millis }>()
  /** What ends sessions here is believed at once here. */
  const forgetting =
    <A extends unknown[], R>(work: (...args: A) => Promise<R>) =>
    (...args: A) =>
      work(...args).finally(() => believed.clear())
  return {
    accounts: {
      ...accounts,
      refresh: forgetting(accounts.refresh),
      logOut: forgetting(accounts.logOut),
      changePassword: forgetting(accounts.changePassword),
    },
    byToken(token, now) {
      const known = believed.get(token)
      if (known && known.until > now && known.until - now <= BELIEVED_MS) return known.trader
      return accounts.byToken(token, now).then((trader) => {
        believed.delete(token)
        if (trader) believed.set(token, { trader, until: now + BELIEVED_MS })
        if (believed.size > BELIEVED_MAX) believed.delete(believed.keys().next().value!)
        return trader
      })
    },
    alive: (sessionId, now) => accounts.alive(sessionId, now),
    close: () => pool.end(),
  }
}
