/**
 * The lock of a data directory: an exclusive SQLite lock on a file of its own, held by the kernel for as long as the
 * process lives and gone the moment it dies, however it dies. Nothing is ever left to clean up by hand.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import Sqlite from 'better-sqlite3'
import type { Scheduler } from '../base/scheduler.ts'

export interface DirectoryLock {
  release(): void
}

/**
 * Takes the lock, waiting up to `waitMs` for a predecessor that is on its way out. Rejects with an Error that names
 * the holder.
 */
export async function lockDirectory(path: string, scheduler: Scheduler, waitMs = 5_000): Promise<DirectoryLock> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const db = new Sqlite(path, { timeout: 0 })
  db.pragma('locking_mode = EXCLUSIVE')
  const until = scheduler.clock.monotonic() + waitMs
  for (;;) {
    try {
      db.exec('BEGIN EXCLUSIVE; COMMIT')
      return { release: () => db.close() }
    } catch (error) {
      if ((error as { code?: string }).code !== 'SQLITE_BUSY') throw error
      if (scheduler.clock.monotonic() >= until) {
        db.close()
        const holder = holderOf(path)
        const who = holder === null ? 'another process' : `process ${holder}`
        throw new Error(`${dirname(path)} is in use by ${who}: stop it, or choose another DATA_DIR`)
      }
    }
    await scheduler.sleep(50)
  }
}

/** The process that holds a lock on the file, as the kernel says; null where it does not say. */
function holderOf(path: string): number | null {
  try {
    const inode = String(statSync(path).ino)
    const line = readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .find((l) => l.includes(' WRITE ') && l.includes(`:${inode} `))
    const pid = Number(line?.trim().split(/\s+/)[4])
    return Number.isInteger(pid) && pid > 0 ? pid : null
  } catch {
    return null
  }
}
