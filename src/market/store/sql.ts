/**
 * The market's tables through kysely, on either database. A query is written once; where SQL differs (full text, the
 * lateral join that one of them lacks) `Dialect` says so. Every whole number is 64 bits wide on both: it comes back as a
 * bigint, also a count, and is made a number by whoever knows that it fits.
 */
import Sqlite from 'better-sqlite3'
import { Kysely, SqliteDialect } from 'kysely'
import { AppError, unavailable } from '../../base/errors.ts'
import type { Tables } from './tables.ts'

export type Dialect = 'sqlite' | 'postgres'
export type Sql = Kysely<Tables>

/** A connection of an instance to market.db, for reading alone. Throws an Error when the file is not there. */
export function readSqlite(path: string): { readonly sql: Sql; readonly db: Sqlite.Database } {
  const db = new Sqlite(path, { readonly: true, fileMustExist: true, timeout: 5_000 })
  db.pragma('query_only = ON')
  db.pragma('cache_size = -16000')
  return { sql: kyselyOver(db), db }
}

/** Keeps the statements it has prepared: a query that is asked again costs no parsing. */
export function kyselyOver(db: Sqlite.Database): Sql {
  const statements = new Map<string, Sqlite.Statement>()
  const database = {
    close: () => db.close(),
    prepare(text: string) {
      let statement = statements.get(text)
      if (statement === undefined) {
        statement = db.prepare(text).safeIntegers(true)
        // A list of ids has as many texts as it has lengths: bounded by pages, and by this.
        if (statements.size >= 500) statements.clear()
        statements.set(text, statement)
      }
      return statement as unknown as {
        readonly reader: boolean
        all(parameters: readonly unknown[]): unknown[]
        run(parameters: readonly unknown[]): { changes: number | bigint; lastInsertRowid: number | bigint }
        iterate(parameters: readonly unknown[]): IterableIterator<unknown>
      }
    },
  }
  return new Kysely<Tables>({ dialect: new SqliteDialect({ database }) })
}

const names = new Map<string, string>()

/** A statement that each connection parses and plans once. For texts of our own, of which there are few. */
export function prepared(text: string, values: readonly unknown[]) {
  let name = names.get(text)
  if (name === undefined) {
    name = `m${names.size}`
    names.set(text, name)
  }
  return { name, text, values: values as unknown[] }
}

export function pgCode(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'string' ? code : null
}

/** Two transactions were in each other's way; done again, it may well work. */
export function isCollision(error: unknown): boolean {
  const code = pgCode(error)
  // serialization_failure, deadlock_detected, unique_violation (the same key, or the same account, at the same moment)
  return code === '40001' || code === '40P01' || code === '23505'
}

/** What a database that is away, full or shutting down says becomes 503; everything else is handed back. */
export function asAway(error: unknown): unknown {
  if (error instanceof AppError) return error
  const code = pgCode(error)
  const text = error instanceof Error ? error.message : ''
  const away =
    (code !== null && /^(08|53|57|58|XX)/.test(code)) ||
    (code !== null && /^E[A-Z]+$/.test(code)) ||
    /timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error/.test(text)
  return away ? unavailable('The database of the market cannot be reached.', 2, 'market_unavailable') : error
}
