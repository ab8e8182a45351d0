/** A copy of a database as it is at one moment, while other processes write it. */
import { rmSync } from 'node:fs'
import Sqlite from 'better-sqlite3'

/** Pages in one step: all of them, because a database that is written between two steps is begun anew. */
const ALL = 0x7fffffff

/** Copies `from` to `to` by SQLite's online backup; `to` is replaced. The copy is in one file. Throws an Error. */
export async function backupDatabase(from: string, to: string): Promise<void> {
  for (const ending of ['', '-wal', '-shm', '-journal']) rmSync(to + ending, { force: true })
  const db = new Sqlite(from, { fileMustExist: true, timeout: 5000 })
  try {
    await db.backup(to, { progress: () => ALL })
  } finally {
    db.close()
  }
  const copy = new Sqlite(to, { fileMustExist: true })
  try {
    // One file, without a WAL beside it; and it has to be sound.
    copy.pragma('journal_mode = DELETE')
    const verdict = copy.pragma('quick_check', { simple: true })
    if (verdict !== 'ok') throw new Error(`${from} is damaged: ${verdict}`)
  } finally {
    copy.close()
  }
}
