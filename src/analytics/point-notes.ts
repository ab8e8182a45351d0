/**
 * The metadata of pushed data points: a small JSON object a person hung on one sample ("after the deployment"). The
 * samples themselves are in the metric store, which knows only numbers; a note is found by series and time.
 *
 * A note is written after its sample is stored and before the request is answered: what was answered is there. When
 * the process dies in between, nobody was answered, and the repeated request writes the note again.
 */
import type { Millis } from '../base/time.ts'
import { encodeLabels, type Labels } from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'

export interface PointNote {
  readonly labels: Labels
  readonly at: Millis
  readonly metadata: Readonly<Record<string, unknown>>
}

export interface PointNotes {
  /** Writes all or none; a point's newer note replaces the older. Throws `AppError` 503 when the disk refuses. */
  put(notes: readonly PointNote[]): void
  /** Newest first. */
  list(labels: Labels, from: Millis, until: Millis, limit: number): PointNote[]
}

/** A migration of ops.db. */
export const pointNotesTable = `
  CREATE TABLE point_notes (
    id INTEGER PRIMARY KEY, series BLOB NOT NULL, at INTEGER NOT NULL, metadata TEXT NOT NULL, UNIQUE (series, at)
  ) STRICT`

/** Rows removed with each new one: more than one, so that a lowered limit is reached in time. */
const CLEANED_AT_ONCE = 2

/** Notes kept, about 250 MB of them at most on average; the oldest written go first. */
const NOTES_MAX = 1_000_000

export function pointNotes(db: Database, notesMax = NOTES_MAX): PointNotes {
  // A new row has the largest id, so that the oldest written have the smallest and go first.
  const insert = db.prepare('INSERT OR REPLACE INTO point_notes (series, at, metadata) VALUES (?, ?, ?)')
  const span = db.prepare('SELECT max(id) - min(id) + 1 AS rows FROM point_notes')
  const clean = db.prepare('DELETE FROM point_notes WHERE id IN (SELECT id FROM point_notes ORDER BY id LIMIT ?)')
  const select = db.prepare(
    'SELECT at, metadata FROM point_notes WHERE series = ? AND at BETWEEN ? AND ? ORDER BY at DESC LIMIT ?',
  )
  return {
    put(notes) {
      if (notes.length === 0) return
      tx(db, () => {
        for (const { labels, at, metadata } of notes) {
          insert.run(Buffer.from(encodeLabels(labels)), at, JSON.stringify(metadata))
        }
        const { rows } = span.get() as { rows: number }
        const over = rows - notesMax
        if (over > 0) clean.run(Math.min(over, notes.length * CLEANED_AT_ONCE))
      })
    },
    list(labels, from, until, limit) {
      const rows = select.all(Buffer.from(encodeLabels(labels)), from, until, limit) as {
        at: number
        metadata: string
      }[]
      return rows.map((row) => ({ labels, at: row.at, metadata: JSON.parse(row.metadata) as Record<string, unknown> }))
    },
  }
}
