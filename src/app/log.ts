/**
 * The log of a process: one JSON object a line, `{"time", "level", "process", "message", …fields}`.
 *
 * A child writes its lines to stdout, a pipe to front; front is the only one that writes files (`log-files.ts`).
 * `docs/decisions/` says why this is not pino.
 */
import type { Clock } from '../base/clock.ts'
import type { Log, LogLevel } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { MINUTE, toIso } from '../base/time.ts'

export interface ProcessLog extends Log {
  /** Takes effect at once, also for logs made by `with`. */
  setLevel(level: LogLevel): void
}

export interface LogOptions {
  /** `front`, `control`. */
  readonly process: string
  readonly level: LogLevel
  readonly clock: Clock
  /** Takes one line, its newline included. */
  write(line: string): void
}

export const LEVELS: Readonly<Record<LogLevel, number>> = { debug: 10, info: 20, warn: 30, error: 40 }

export function createLog(options: LogOptions): ProcessLog {
  const shared = { least: LEVELS[options.level] }
  return logWith(options, shared, {})
}

/** A child's log: to stdout, which front reads. */
export function childLog(process: string, level: LogLevel, clock: Clock): ProcessLog {
  return createLog({ process, level, clock, write: (line) => void globalThis.process.stdout.write(line) })
}

function logWith(options: LogOptions, shared: { least: number }, fixed: Readonly<Record<string, unknown>>): ProcessLog {
  const at = (level: LogLevel) => (message: string, fields?: Readonly<Record<string, unknown>>) => {
    if (LEVELS[level] < shared.least) return
    const head = { time: toIso(options.clock.now()), level, process: options.process, message }
    options.write(`${lineOf({ ...head, ...fixed, ...fields })}\n`)
  }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => logWith(options, shared, { ...fixed, ...fields }),
    setLevel(level) {
      shared.least = LEVELS[level]
    },
  }
}

/** Never throws: a field that cannot be written is named instead. */
function lineOf(entry: Readonly<Record<string, unknown>>): string {
  try {
    return JSON.stringify(entry, (_, value) => (value instanceof Error ? errorFields(value) : plain(value)))
  } catch {
    return JSON.stringify({ ...entry, fields: 'not serialisable' }, ['time', 'level', 'process', 'message', 'fields'])
  }
}

const plain = (value: unknown) => (typeof value === 'bigint' ? value.toString() : value)

function errorFields(error: Error): Record<string, unknown> {
  const { code } = error as NodeJS.ErrnoException
  const fields: Record<string, unknown> = { name: error.name, message: error.message, stack: error.stack }
  if (code !== undefined) fields.code = code
  if (error.cause !== undefined) fields.cause = error.cause
  return fields
}

/**
 * Writes a line a minute, tagged `performance`: CPU and memory of this process, how busy its event loop was, and what
 * `more` adds. Every process of the platform writes its own.
 */
export function performanceLine(
  log: Log,
  scheduler: Scheduler,
  more: () => Readonly<Record<string, unknown>> = () => ({}),
): Cancel {
  const tagged = log.with({ tag: 'performance' })
  let cpu = process.cpuUsage()
  let loop = performance.eventLoopUtilization()
  let at = scheduler.clock.monotonic()
  return scheduler.every(MINUTE, () => {
    const now = scheduler.clock.monotonic()
    const used = process.cpuUsage(cpu)
    const busy = performance.eventLoopUtilization(loop)
    const memory = process.memoryUsage()
    tagged.info('performance', {
      cpu_percent: round(((used.user + used.system) / 1000 / (now - at)) * 100),
      event_loop_percent: round(busy.utilization * 100),
      rss_mb: round(memory.rss / 2 ** 20),
      heap_used_mb: round(memory.heapUsed / 2 ** 20),
      external_mb: round(memory.external / 2 ** 20),
      uptime_s: Math.round(process.uptime()),
      ...more(),
    })
    cpu = process.cpuUsage()
    loop = performance.eventLoopUtilization()
    at = now
  })
}

const round = (value: number) => Math.round(value * 100) / 100
