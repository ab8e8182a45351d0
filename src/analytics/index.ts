/** The front door of analytics. */
export type { PointNote, PointNotes } from './point-notes.ts'
export { pointNotes, pointNotesTable } from './point-notes.ts'
