/**
 * Escalation: what happens to an alert that nobody acknowledges.
 *
 *   warning ──timeout──▶ critical ──timeout──▶ emergency ──timeout──▶ emergency, told again …
 *
 * Info does not rise. Each level is told once; emergency repeats. Acknowledging, resolving and suppressing stop it.
 */
import type { Millis } from '../base/time.ts'
import type { Severity } from './rule.ts'

export interface Rise {
  readonly severity: Severity
  /** False: emergency again. */
  readonly higher: boolean
}

const NEXT: Readonly<Record<Severity, Severity | null>> = {
  info: null,
  warning: 'critical',
  critical: 'emergency',
  emergency: 'emergency',
}

/** When an alert of this severity, told at `at`, rises; null: never. */
export function escalatesAt(severity: Severity, at: Millis, timeoutMs: number): Millis | null {
  // Seconds of a configuration times 1000 need not be whole (64.1 is not), and times are stored as whole milliseconds.
  return NEXT[severity] === null ? null : Math.round(at + timeoutMs)
}

/** What to do now with an active alert; null: nothing is due. One level at a time, however long nobody looked. */
export function rise(severity: Severity, escalateAt: Millis | null, now: Millis): Rise | null {
  const next = NEXT[severity]
  if (next === null || escalateAt === null || now < escalateAt) return null
  return { severity: next, higher: next !== severity }
}
