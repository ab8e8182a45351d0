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
