/** What happened to the platform (a process started, ended, …), kept in ops.db for the charts and for the morning after. */
import type { Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'

export const eventsTable = `
  CREATE TABLE events (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL, action TEXT NOT NULL,
    detail TEXT NOT NULL
  ) STRICT;
  CREATE INDEX events_at ON events (at);`

export interface PlatformEvent {
  readonly at: Millis
  /** `process`. */
  readonly type: string
  readonly subject: string
  /** `started`, `exited`. */
  readonly action: string
  readonly detail: string
}

export interface Events {
  add(event: PlatformEvent): void
  /** Oldest first; the latest `EVENTS_SHOWN` of the window. */
  between(since: Millis, until: Millis): PlatformEvent[]
}

const EVENTS_KEPT = 10_000
const EVENTS_SHOWN = 1_000

export function openEvents(db: Database): Events {
  const insert = db.prepare('INSERT INTO events (at, type, subject, action, detail) VALUES (?, ?, ?, ?, ?)')
  const clean = db.prepare('DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?')
  const select = db.prepare<[number, number, number], PlatformEvent>(
    'SELECT at, type, subject, action, detail FROM events WHERE at BETWEEN ? AND ? ORDER BY at DESC, id DESC LIMIT ?',
  )
  return {
    add({ at, type, subject, action, detail }) {
      insert.run(at, type, subject, action, detail)
      clean.run(EVENTS_KEPT)
    },
    between: (since, until) => select.all(since, until, EVENTS_SHOWN).reverse(),
  }
}
