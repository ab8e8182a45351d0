/**
 * The little SQL that accounts need, the same on SQLite and PostgreSQL: texts with `?`, rows as plain objects, whole
 * numbers as numbers, bytes as Buffers.
 *
 *   sql.transaction(function* () { const row = yield* get<Row>('SELECT …', id); yield* run('UPDATE …', …) })
 *
 * A transaction is a generator of statements: SQLite runs it through without a pause (one that paused would hold the lock
 * of the file while the same process waits for it elsewhere), PostgreSQL waits after each.
 */
import type { Pool, PoolClient } from 'pg'
import { AppError, unavailable } from '../../base/errors.ts'
import type { Database, Statement } from '../../storage/database.ts'
import { tx } from '../../storage/database.ts'

export type Parameter = string | number | null | Uint8Array

interface Step {
  readonly kind: 'all' | 'run' | 'lock'
  readonly text: string
  readonly parameters: readonly Parameter[]
}
export type Work<T> = Generator<Step, T, unknown>

export function* all<T>(text: string, ...parameters: Parameter[]): Work<T[]> {
  return (yield { kind: 'all', text, parameters }) as T[]
}
export function* get<T>(text: string, ...parameters: Parameter[]): Work<T | undefined> {
  return (yield* all<T>(text, ...parameters))[0]
}
/** Answers how many rows were changed. */
export function* run(text: string, ...parameters: Parameter[]): Work<number> {
  return (yield { kind: 'run', text, parameters }) as number
}
/** Nobody else goes past the same name until the transaction ends. */
export function* lock(name: string): Work<void> {
  yield { kind: 'lock', text: 'SELECT pg_advisory_xact_lock(hashtextextended(?, 0))', parameters: [name] }
}

export interface Sql {
  /** One row, read outside of any transaction. */
  get<T>(text: string, ...parameters: Parameter[]): Promise<T | undefined>
  /** What throws is rolled back. A database that is away or busy is an `AppError` 503. */
  transaction<T>(work: () => Work<T>): Promise<T>
  /** A unique index refused the row. */
  isDuplicate(error: unknown): boolean
}

export function sqliteSql(db: Database): Sql {
  const statements = new Map<string, Statement>()
  const prepared = (text: string) => {
    const known = statements.get(text)
    if (known) return known
    const made = db.prepare(text)
    statements.set(text, made)
    return made
  }
  const take = ({ kind, text, parameters }: Step): unknown => {
    if (kind === 'all') return prepared(text).all(...parameters)
    // Its transactions run one after the other anyhow.
    return kind === 'run' ? prepared(text).run(...parameters).changes : undefined
  }
  return {
    get: async <T>(text: string, ...parameters: Parameter[]) => prepared(text).get(...parameters) as T | undefined,
    transaction: async (work) =>
      tx(db, () => {
        const steps = work()
        let next = steps.next()
        while (!next.done) next = steps.next(take(next.value))
        return next.value
      }),
    isDuplicate: (error) => /^SQLITE_CONSTRAINT_(UNIQUE|PRIMARYKEY)/.test(codeOf(error)),
  }
}

export function postgresSql(pool: Pool): Sql {
  return {
    async get<T>(text: string, ...parameters: Parameter[]) {
      try {
        return (await pool.query(numbered(text), parameters)).rows[0] as T | undefined
      } catch (error) {
        throw asAway(error)
      }
    },
    async transaction(work) {
      let client: PoolClient
      try {
        client = await pool.connect()
      } catch (error) {
        throw asAway(error)
      }
      let broken = false
      try {
        await client.query('BEGIN')
        const steps = work()
        let next = steps.next()
        while (!next.done) {
          const { kind, text, parameters } = next.value
          const result = await client.query(numbered(text), [...parameters])
          next = steps.next(kind === 'all' ? result.rows : (result.rowCount ?? 0))
        }
        await client.query('COMMIT')
        return next.value
      } catch (error) {
        await client.query('ROLLBACK').catch(() => {
          broken = true
        })
        throw asAway(error)
      } finally {
        client.release(broken)
      }
    },
    isDuplicate: (error) => codeOf(error) === '23505',
  }
}

const codeOf = (error: unknown) => String((error as { code?: unknown } | null)?.code ?? '')

/** A connection that fails, a server that stops or takes no more, or a conflict that another try would not have. */
function asAway(error: unknown): unknown {
  if (error instanceof AppError) return error
  const code = codeOf(error)
  const lost = error instanceof Error && /terminated|timeout|ended|connection/i.test(error.message)
  if (/^(08|53|57|40|55P03|E[A-Z]+$)/.test(code) || (code === '' && lost)) {
    return unavailable('The database does not answer. Try again.', 2, 'store_unavailable')
  }
  return error
}

const texts = new Map<string, string>()

/** `?` as PostgreSQL wants it: `$1`, `$2`. No text here holds a literal question mark. */
function numbered(text: string): string {
  let out = texts.get(text)
  if (out === undefined) {
    let n = 0
    out = text.replace(/\?/g, () => `$${++n}`)
    texts.set(text, out)
  }
  return out
}
