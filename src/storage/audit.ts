/**
 * Who did what: a table that rooms write in the transaction of the deed itself. Rows are never changed; `detail` never
 * holds a secret.
 */
import { newId } from '../base/id.ts'
import type { Millis } from '../base/time.ts'
import { toIso } from '../base/time.ts'
import type { Database } from './database.ts'

/** A migration for every database whose deeds are recorded. */
export const auditTable = `
  CREATE TABLE audit (
    id TEXT PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, deed TEXT NOT NULL, what TEXT NOT NULL,
    detail TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;`

export interface Deed {
  /** Name of the principal, or `command line`. */
  readonly who: string
  /** `token.created`, `config.changed`. */
  readonly deed: string
  /** Id of what it was done to. */
  readonly what: string
  readonly detail?: Readonly<Record<string, unknown>>
}

export interface AuditRow extends Deed {
  readonly id: string
  readonly at: string
  readonly detail: Record<string, unknown>
}

export function audit(db: Database, now: Millis, deed: Deed): void {
  db.prepare('INSERT INTO audit (id, at, who, deed, what, detail) VALUES (?, ?, ?, ?, ?, ?)').run(
    newId(now),
    now,
    deed.who,
    deed.deed,
    deed.what,
    JSON.stringify(deed.detail ?? {}),
  )
}

/** The latest rows, newest first; `before` is the id of the last row of the former page. */
export function auditRows(db: Database, limit: number, before?: string): AuditRow[] {
  const rows = db
    .prepare('SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?')
    .all(before ?? '~', limit) as (Omit<AuditRow, 'at' | 'detail'> & { at: number; detail: string })[]
  return rows.map((row) => ({ ...row, at: toIso(row.at), detail: JSON.parse(row.detail) }))
}
