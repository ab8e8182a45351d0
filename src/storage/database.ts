/**
 * Opening SQLite files: the pragmas, the migrations, transactions.
 *
 *   const db = openDatabase(path, { synchronous: 'FULL', migrations: [createTokens, addExpiry] })
 *   tx(db, () => { … })          one immediate transaction; what threw is rolled back
 *
 * A file's format version (`user_version`) is the number of migrations it has seen. Migrations go forward only, each in
 * a transaction of its own; several processes may open a new file at the same moment. WAL mode: readers never wait for
 * a writer. FULL synchronises each commit to the disk; NORMAL may lose the last commits when the machine (not the
 * process) dies.
 */
import { mkdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import Sqlite from 'better-sqlite3'
import { AppError, messageOf, unavailable } from '../base/errors.ts'

export type Database = Sqlite.Database
export type { Statement } from 'better-sqlite3'

/** SQL, or work that needs more than SQL. What has been released never changes; new migrations go to the end. */
export type Migration = string | ((db: Database) => void)

export interface OpenOptions {
  readonly synchronous: 'FULL' | 'NORMAL'
  readonly migrations: readonly Migration[]
  /** How long a statement waits for another process's writing. */
  readonly busyTimeoutMs?: number
}

/** Opens or creates the file and its folder. Throws an Error with one sentence for an operator. */
export function openDatabase(path: string, options: OpenOptions): Database {
  if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  let db: Database
  try {
    db = new Sqlite(path, { timeout: options.busyTimeoutMs ?? 5_000 })
  } catch (error) {
    throw new Error(`cannot open ${path}: ${messageOf(error)}`, { cause: error })
  }
  try {
    db.pragma('journal_mode = WAL')
    db.pragma(`synchronous = ${options.synchronous}`)
    db.pragma('foreign_keys = ON')
    db.pragma('journal_size_limit = 67108864')
    migrate(db, basename(path), options.migrations)
    return db
  } catch (error) {
    db.close()
    if (sqliteCode(error) === 'SQLITE_NOTADB') throw new Error(`${path} is not a database, or it is damaged`)
    throw error
  }
}

function migrate(db: Database, name: string, migrations: readonly Migration[]): void {
  const version = () => db.pragma('user_version', { simple: true }) as number
  while (version() !== migrations.length) {
    if (version() > migrations.length) {
      throw new Error(
        `${name} has format ${version()}, this version of Opinion Market knows formats up to ${migrations.length}: ` +
          'start the newer version, or restore a backup made by this one',
      )
    }
    db.transaction(() => {
      const next = migrations[version()] // another process may have been faster
      if (next === undefined) return
      if (typeof next === 'string') db.exec(next)
      else next(db)
      db.pragma(`user_version = ${version() + 1}`)
    }).immediate()
  }
}

/**
 * Runs `work` in one immediate transaction and returns its value. Inside another `tx` it becomes a part of that one.
 * A database that stays locked or a full disk is an `AppError` 503: the caller may try again.
 */
export function tx<T>(db: Database, work: () => T): T {
  try {
    return db.inTransaction ? work() : db.transaction(work).immediate()
  } catch (error) {
    throw asUnavailable(error)
  }
}

/** Turns SQLite's "busy", "full" and input/output errors into 503; hands everything else back. */
export function asUnavailable(error: unknown): unknown {
  const code = sqliteCode(error)
  if (code === null || error instanceof AppError) return error
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return unavailable('The store is busy. Try again.', 1, 'store_busy')
  if (/^SQLITE_(FULL|IOERR|READONLY|CANTOPEN)/.test(code)) {
    return new AppError(503, 'store_unavailable', 'The store cannot write at the moment.', {
      retryAfterSeconds: 10,
      cause: error,
    })
  }
  return error
}

function sqliteCode(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : null
}
