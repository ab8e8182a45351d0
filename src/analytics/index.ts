/** The front door of analytics. */
import { type Database, openDatabase } from '../storage/database.ts'
import { type PointNotes, pointNotes, pointNotesMigration } from './point-notes.ts'

export type { PointNote, PointNotes } from './point-notes.ts'

export interface Analytics {
  readonly notes: PointNotes
  close(): void
}

/** Opens analytics' own database file. `config` is asked on use, so that a change holds at once. */
export function openAnalytics(path: string, config: () => { readonly pointMetadataMax: number }): Analytics {
  const db: Database = openDatabase(path, { synchronous: 'FULL', migrations: [pointNotesMigration] })
  return { notes: pointNotes(db, () => config().pointMetadataMax), close: () => db.close() }
}
