/**
 * All lines of the platform meet here: front's own, and what its children write.
 *
 *   child's stdout: JSON lines ────────────────┐
 *   child's stderr: crashes, as one entry each ─┼─▶ app.log, error.log (level error), console
 *   front's own log ───────────────────────────┘
 *
 * The console shows readable lines to a person, or the JSON where configuration says so. A console that nobody reads (a stopped terminal, a full pipe) loses lines; it never stops the platform.
 */
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { Clock } from '../base/clock.ts'
import type { LogLevel } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { toIso } from '../base/time.ts'
import type { ProcessLog } from './log.ts'
import { createLog, LEVELS } from './log.ts'
import { openLogFile, writeAll } from './log-files.ts'

export interface LogSettings {
  readonly level: LogLevel
  readonly console: 'readable' | 'json' | 'off'
  readonly fileBytesMax: number
  readonly fileAgeMaxMs: number
  readonly filesKept: number
}

export interface FrontLogs {
  readonly log: ProcessLog
  configure(settings: LogSettings): void
  /** Takes over what a child writes. */
  adopt(process: string, stdout: Readable, stderr: Readable): void
  /** Lines for the person at the console alone, as they are, never in a file. */
  notice(lines: readonly string[]): void
  close(): Promise<void>
}

/** A longer line is cut: nothing a child writes may fill memory. */
const LINE_BYTES_MAX = 32 * 1024
/** What comes on stderr within this time is one entry: a stack trace reads as one. */
const CRASH_GATHER_MS = 50
const CONSOLE_WAITING_MAX = 1024 * 1024

export function openLogs(folder: string, first: LogSettings, scheduler: Scheduler): FrontLogs {
  let settings = first
  const console = openConsole(1, scheduler)
  const file = (name: string) =>
    openLogFile({
      folder,
      name,
      bytesMax: settings.fileBytesMax,
      ageMaxMs: settings.fileAgeMaxMs,
      kept: settings.filesKept,
      scheduler,
      onTrouble: (what) =>
        console.write(`The log cannot be written: ${what}. It is tried again; nothing else stops.\n`),
    })
  const all = file('app.log')
  const errors = file('error.log')

  const isTerminal = Boolean(process.stdout.isTTY)
  function write(line: string, entry: LogEntry) {
    all.write(line)
    if (entry.level === 'error') errors.write(line)
    if (settings.console === 'off') return
    console.write(settings.console === 'readable' ? readable(entry, isTerminal) : line)
  }

  function foreign(process: string, level: LogLevel, message: string) {
    const entry: LogEntry = { time: toIso(scheduler.clock.now()), level, process, message }
    write(`${JSON.stringify(entry)}\n`, entry)
  }

  const log = createLog({
    process: 'front',
    level: settings.level,
    clock: scheduler.clock as Clock,
    write: (line) => write(line, JSON.parse(line) as LogEntry),
  })

  return {
    log,
    configure(next) {
      settings = next
      log.setLevel(next.level)
    },
    adopt(process, stdout, stderr) {
      eachLine(stdout, (line) => {
        const entry = parsed(line)
        if (entry) write(`${line}\n`, entry)
        else if (line.trim() !== '') foreign(process, 'info', line)
      })
      let crash: string[] = []
      eachLine(stderr, (line) => {
        if (crash.length === 0) {
          scheduler.after(CRASH_GATHER_MS, () => {
            foreign(process, 'error', crash.join('\n').trim().slice(0, LINE_BYTES_MAX))
            crash = []
          })
        }
        if (crash.length < 200) crash.push(line)
      })
    },
    notice(lines) {
      console.write(`${lines.join('\n')}\n`)
    },
    async close() {
      await console.close()
      all.close()
      errors.close()
    },
  }
}

interface LogEntry {
  readonly time: string
  readonly level: LogLevel
  readonly process: string
  readonly message: string
  readonly [field: string]: unknown
}

function parsed(line: string): LogEntry | null {
  if (!line.startsWith('{')) return null
  try {
    const entry = JSON.parse(line) as LogEntry
    return typeof entry.message === 'string' && Object.hasOwn(LEVELS, entry.level) ? entry : null
  } catch {
    return null
  }
}

/** Calls for each line, without its newline; a line over the limit comes cut, the rest of it is thrown away. */
export function eachLine(stream: Readable, take: (line: string) => void): void {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  let skipping = false
  const part = (text: string) => {
    if (!skipping) rest += text
    if (rest.length > LINE_BYTES_MAX) {
      rest = `${rest.slice(0, LINE_BYTES_MAX)} … cut`
      skipping = true
    }
  }
  stream.on('data', (chunk: Buffer) => {
    const pieces = decoder.write(chunk).split('\n')
    for (let i = 0; i < pieces.length; i++) {
      part(pieces[i]!)
      if (i === pieces.length - 1) break
      take(rest)
      rest = ''
      skipping = false
    }
  })
  stream.on('end', () => {
    if (rest !== '') take(rest)
  })
  stream.on('error', () => {})
}

const COLOURS: Readonly<Record<LogLevel, number>> = { debug: 90, info: 36, warn: 33, error: 31 }

/** `09:30:00 warn  control  message  key=value` */
function readable(entry: LogEntry, colour: boolean): string {
  const { time, level, process, message, ...fields } = entry
  const paint = (text: string, code: number) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text)
  const local = new Date(time)
  const clock = Number.isNaN(local.getTime()) ? '' : local.toTimeString().slice(0, 8)
  const more = Object.entries(fields).map(([name, value]) => `${name}=${visible(shown(value))}`)
  const head = `${paint(clock, 90)} ${paint(level.padEnd(5), COLOURS[level])} ${process.padEnd(8)} ${visible(message)}`
  return `${more.length === 0 ? head : `${head}  ${paint(more.join(' '), 90)}`}\n`
}

/** Control characters of a terminal must not come out of a log line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const visible = (text: string) => text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd')

function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'stack' in value) return String(value.stack)
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Writes to a file descriptor off the event loop, one batch at a time; what does not fit is lost. */
function openConsole(fd: number, scheduler: Scheduler) {
  let waiting = ''
  let busy = false
  let broken = false
  function flush() {
    if (busy || waiting === '') return
    busy = true
    const batch = Buffer.from(waiting)
    waiting = ''
    writeAll(fd, batch, 0, (error) => {
      busy = false
      // EAGAIN: a pipe that somebody made non-blocking is full. Anything else: nobody reads any more.
      if (error && (error as NodeJS.ErrnoException).code !== 'EAGAIN') broken = true
      flush()
    })
  }
  return {
    write(text: string) {
      if (broken || waiting.length + text.length > CONSOLE_WAITING_MAX) return
      waiting += text
      flush()
    },
    /** Waits a moment for what is on its way. */
    async close() {
      for (let i = 0; i < 20 && (busy || waiting !== '') && !broken; i++) await scheduler.sleep(10)
    },
  }
}
