/**
 * Log files, written by front alone: `app.log` has every line, `error.log` those of level error. A file is put aside
 * as `app.log.1` (then `.2` …) when it is too large or too old, and the oldest are removed.
 *
 * Lines are written in batches, off the event loop, in order. A disk that is full or a folder that may not be written
 * never stops anybody: lines wait in bounded memory, the rest is dropped and counted, and the file is tried again; the
 * first line after that says how many were lost.
 */
import * as fs from 'node:fs'
import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { SECOND } from '../base/time.ts'

export interface LogFileOptions {
  readonly folder: string
  readonly name: string
  readonly bytesMax: number
  readonly ageMaxMs: number
  /** How many that were put aside are kept. */
  readonly kept: number
  readonly scheduler: Scheduler
  /** Called when writing fails, once until it works again. */
  onTrouble(what: string): void
}

export interface LogFile {
  /** `line` ends with a newline. */
  write(line: string): void
  /** Writes what waits, at once and synchronously. For the end of the process. */
  close(): void
  readonly dropped: number
}

const WAITING_BYTES_MAX = 4 * 1024 * 1024
const RETRY_MS = 5 * SECOND
/** A batch is written this long after its first line. */
const BATCH_MS = 50

export function openLogFile(options: LogFileOptions): LogFile {
  const path = join(options.folder, options.name)
  const { scheduler } = options
  let fd: number | null = null
  let size = 0
  let bornAt = 0
  let waiting: string[] = []
  let waitingBytes = 0
  let dropped = 0
  let untold = 0
  let busy = false
  let planned = false
  let troubled = false

  function write(line: string) {
    if (waitingBytes + line.length > WAITING_BYTES_MAX) {
      dropped++
      untold++
      return
    }
    waiting.push(line)
    waitingBytes += line.length
    plan(BATCH_MS)
  }

  function plan(ms: number) {
    if (planned || busy) return
    planned = true
    scheduler.after(ms, () => {
      planned = false
      flush()
    })
  }

  function take(): Buffer {
    if (untold > 0) {
      const entry = { time: new Date(scheduler.clock.now()).toISOString(), level: 'warn', process: 'front' }
      waiting.push(`${JSON.stringify({ ...entry, message: 'log lines were lost', lost: untold })}\n`)
      untold = 0
    }
    const batch = Buffer.from(waiting.join(''))
    waiting = []
    waitingBytes = 0
    return batch
  }

  function flush() {
    if (busy || waiting.length === 0) return
    let batch: Buffer
    try {
      prepare()
      batch = take()
    } catch (error) {
      return trouble(error)
    }
    busy = true
    writeAll(fd!, batch, 0, (error, written) => {
      busy = false
      size += written
      if (error) {
        // What is left goes back in front, so that order stays; a line cut in half is written on where it ended.
        const rest = batch.subarray(written).toString()
        waiting.unshift(rest)
        waitingBytes += rest.length
        return trouble(error)
      }
      if (troubled) troubled = false
      if (waiting.length > 0) plan(0)
    })
  }

  /** Opens the file, again when somebody moved it away, and puts it aside when it is its time. */
  function prepare() {
    if (fd !== null && !isStillThere()) shut()
    if (fd !== null && size > 0 && (size >= options.bytesMax || scheduler.clock.now() - bornAt >= options.ageMaxMs)) {
      shut()
      putAside()
    }
    if (fd !== null) return
    fs.mkdirSync(options.folder, { recursive: true })
    fd = fs.openSync(path, 'a', 0o640)
    const stat = fs.fstatSync(fd)
    size = stat.size
    bornAt = size === 0 ? scheduler.clock.now() : stat.birthtimeMs || stat.mtimeMs
  }

  function isStillThere(): boolean {
    try {
      return fs.statSync(path).ino === fs.fstatSync(fd!).ino
    } catch {
      return false
    }
  }

  function putAside() {
    const at = (i: number) => `${path}.${i}`
    fs.rmSync(at(options.kept), { force: true })
    for (let i = options.kept - 1; i >= 1; i--) if (fs.existsSync(at(i))) fs.renameSync(at(i), at(i + 1))
    if (options.kept > 0) fs.renameSync(path, at(1))
    else fs.rmSync(path)
  }

  function shut() {
    if (fd !== null) fs.closeSync(fd)
    fd = null
  }

  function trouble(error: unknown) {
    if (!troubled) options.onTrouble(`${path}: ${messageOf(error)}`)
    troubled = true
    if (fd !== null) {
      try {
        shut()
      } catch {
        fd = null
      }
    }
    plan(RETRY_MS)
  }

  return {
    write,
    close() {
      try {
        if (waiting.length > 0 && !busy) {
          prepare()
          fs.writeSync(fd!, take())
        }
        shut()
      } catch {
        // The disk is full or the folder is gone: the process ends all the same.
      }
    },
    get dropped() {
      return dropped
    },
  }
}

/** `fs.write` may write less than it was given. */
export function writeAll(
  fd: number,
  bytes: Buffer,
  from: number,
  done: (error: Error | null, written: number) => void,
): void {
  fs.write(fd, bytes, from, bytes.length - from, null, (error, count) => {
    if (error) return done(error, from)
    if (from + count >= bytes.length) return done(null, bytes.length)
    writeAll(fd, bytes, from + count, done)
  })
}
