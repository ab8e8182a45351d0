/**
 * One platform a data directory. `DATA_DIR/owner` holds the pid of front, the time that process started (so that a pid
 * which was given to another process since is no false alarm), whether it is stopping, and where it listens, for the
 * command line; it appears whole or not at all. Control holds a lock of the kernel besides (`control.lock`): this one is here to say so early and clearly.
 */
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { Scheduler } from '../base/scheduler.ts'

export interface DirectoryLock {
  /** Tells who looks (`runningAddress`) where the platform is reached on this machine. */
  listens(address: string): void
  /** Tells a platform that wants to start here to wait a moment. */
  leaving(): void
  release(): void
}

/** Somebody else has it; `message` is a sentence for the person who started the program. */
export class DirectoryTaken extends Error {}

const POLL_MS = 100

/** Waits up to `waitMs` for an owner that is stopping. Throws `DirectoryTaken`, or the error of the file system. */
export async function lockDirectory(folder: string, scheduler: Scheduler, waitMs: number): Promise<DirectoryLock> {
  const path = join(folder, 'owner')
  let mine: Owner = { pid: process.pid, started: startTime(process.pid), leaving: false, address: null }
  const aside = `${path}.${process.pid}`
  const until = scheduler.clock.monotonic() + waitMs
  const put = () => fs.writeFileSync(aside, JSON.stringify(mine), { mode: 0o600 })
  const tell = (news: Partial<Owner>) => {
    mine = { ...mine, ...news }
    try {
      put()
      fs.renameSync(aside, path)
    } catch {
      // Only a courtesy: the lock itself is there already.
    }
  }
  try {
    put()
    for (;;) {
      try {
        fs.linkSync(aside, path)
        break
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
      const owner = read(path)
      if (owner && isAlive(owner)) {
        if (!owner.leaving || scheduler.clock.monotonic() >= until) {
          throw new DirectoryTaken(`Another platform (process ${owner.pid}) uses the data directory ${folder}.`)
        }
        await scheduler.sleep(POLL_MS)
      } else if (read(path)?.pid === owner?.pid) fs.rmSync(path, { force: true })
    }
  } finally {
    fs.rmSync(aside, { force: true })
  }
  return {
    listens: (address) => tell({ address }),
    leaving: () => tell({ leaving: true }),
    release() {
      fs.rmSync(path, { force: true })
    },
  }
}

/** Where the platform that runs on this data directory is reached; null when none runs. */
export function runningAddress(folder: string): string | null {
  const owner = read(join(folder, 'owner'))
  return owner && isAlive(owner) ? (owner.address ?? null) : null
}

interface Owner {
  readonly pid: number
  readonly started: string
  readonly leaving: boolean
  readonly address: string | null
}

const isAlive = (owner: Owner) => owner.started !== '' && startTime(owner.pid) === owner.started

function read(path: string): Owner | null {
  try {
    const owner = JSON.parse(fs.readFileSync(path, 'utf8')) as Owner
    return Number.isInteger(owner.pid) && owner.pid > 0 && typeof owner.started === 'string' ? owner : null
  } catch {
    return null
  }
}

/** When a process started, in whatever unit; empty when there is no such process. */
function startTime(pid: number): string {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    // The name in brackets may hold anything; field 3 (state) follows it, field 22 is the start in ticks since boot.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? '' : `${boot} ${fields[19]}`
  } catch {
    if (fs.existsSync('/proc/self')) return ''
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
  } catch {
    return ''
  }
}
