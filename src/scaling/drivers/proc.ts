/**
 * Processes as Linux shows them under /proc: whether one still lives, and whether it is the same one. A number alone
 * says nothing, as numbers are given anew: number, start time (in ticks since boot) and boot together do.
 */
import { readdirSync, readFileSync } from 'node:fs'
import type { ProcessName } from './driver.ts'

export interface ProcessUsage {
  /** Of all time, in seconds of one core. */
  readonly cpuSeconds: number
  readonly memoryBytes: number | null
}

interface Stat {
  readonly state: string
  readonly session: number
  readonly startTicks: number
  readonly cpuTicks: number
}

/** USER_HZ, which Linux fixes for what it shows to programs. */
const TICKS_PER_SECOND = 100

/** The id of this boot of the machine; null where there is no /proc. */
export function bootId(): string | null {
  return text('/proc/sys/kernel/random/boot_id')?.trim() ?? null
}

/** The full name of a process that lives now; null when it does not, or is a zombie. */
export function nameOf(pid: number, boot: string): ProcessName | null {
  const stat = statOf(pid)
  return stat === null || stat.state === 'Z' || stat.state === 'X' ? null : { pid, startTicks: stat.startTicks, boot }
}

export function isAlive(name: ProcessName, boot: string): boolean {
  return name.boot === boot && nameOf(name.pid, boot)?.startTicks === name.startTicks
}

export function usageOf(pid: number): ProcessUsage | null {
  const stat = statOf(pid)
  if (stat === null) return null
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(text(`/proc/${pid}/status`) ?? '')?.[1]
  return { cpuSeconds: stat.cpuTicks / TICKS_PER_SECOND, memoryBytes: kib === undefined ? null : Number(kib) * 1024 }
}

/** What a process uses, as it is shown: per cent of one core since the look before, bytes. Null: not known. */
export interface Use {
  readonly cpu: number | null
  readonly memory: number | null
}

/** Looks are worth it so far apart; in between the last one stands. */
const USE_EVERY_MS = 5_000

/** Measures processes by their names, which outlive a pid: another pid under the same name starts anew. */
export class UseMeter {
  readonly #seen = new Map<string, { pid: number; at: number; usage: ProcessUsage; use: Use }>()

  /** `monotonicMs`: now. */
  read(name: string, pid: number, monotonicMs: number): Use {
    const before = this.#seen.get(name)
    const same = before?.pid === pid ? before : null
    if (same && monotonicMs - same.at < USE_EVERY_MS) return same.use
    const usage = usageOf(pid)
    if (usage === null) return { cpu: null, memory: null }
    const cpu = same && (100_000 * (usage.cpuSeconds - same.usage.cpuSeconds)) / (monotonicMs - same.at)
    const use = { cpu, memory: usage.memoryBytes }
    this.#seen.set(name, { pid, at: monotonicMs, usage, use })
    return use
  }

  /** Forgets all but these. */
  keep(names: ReadonlySet<string>): void {
    for (const name of this.#seen.keys()) if (!names.has(name)) this.#seen.delete(name)
  }
}

/**
 * Processes that lead a session and were started with `variable` in their environment, by its value. Those of other
 * users cannot be read and are left out.
 */
export function leadersWith(variable: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const entry of entries()) {
    const pid = Number(entry)
    const environment = Number.isInteger(pid) ? text(`/proc/${pid}/environ`) : null
    const line = environment?.split('\0').find((one) => one.startsWith(`${variable}=`))
    if (line === undefined) continue
    const stat = statOf(pid)
    if (stat !== null && stat.session === pid && stat.state !== 'Z') found.set(line.slice(variable.length + 1), pid)
  }
  return found
}

function statOf(pid: number): Stat | null {
  const line = text(`/proc/${pid}/stat`)
  if (line === null) return null
  // The name stands in brackets and may hold anything, brackets too: what counts comes after the last one.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
  return {
    state: fields[0] ?? 'X',
    session: Number(fields[3]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
    startTicks: Number(fields[19]),
  }
}

function entries(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  } catch {
    return []
  }
}

function text(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return null
  }
}
