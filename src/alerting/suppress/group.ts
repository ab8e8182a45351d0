/**
 * Grouping: a storm is one message that counts it.
 *
 *   the first few alerts of a group within a window       each told by itself, at once
 *   more of them, or many at once                         held; told together as a digest
 *   late ones (a source that catches up after a gap)      held; told together
 *
 * An alert that was told with its group stays with it: its rises and its end come in digests of that group, and so can
 * overtake nothing.
 */
import { MINUTE, type Millis, SECOND } from '../../base/time.ts'
import type { Severity } from '../rule.ts'

export interface Group {
  readonly key: string
  /** Start of the window that counts `told`. */
  readonly windowAt: Millis
  /** Alerts of this window told one by one. */
  readonly told: number
  /** When the last digest went out. */
  readonly digestAt: Millis | null
  /** When what is held is told; null: nothing is held. */
  readonly flushAt: Millis | null
}

export interface GroupLimits {
  /** 0: every alert is told by itself. */
  readonly windowMs: number
  /** How many of a group are told one by one within a window. */
  readonly singles: number
}

/** A digest waits this long for the rest of the storm. */
export const GATHER_MS = 5 * SECOND
/** In a storm that goes on, critical alerts wait no longer than this for the next digest. */
export const URGENT_MS = 30 * SECOND
/** More alerts than this within a minute are a storm, whatever rules they come from. */
export const STORM_LIMIT = 50
export const STORM_MS = MINUTE
export const STORM = 'storm'
/** An alert that opens so long after its sample was taken is told with the others that come late. */
export const LATE_MS = 10 * MINUTE
export const LATE = 'late'

export const newGroup = (key: string, now: Millis): Group => ({
  key,
  windowAt: now,
  told: 0,
  digestAt: null,
  flushAt: null,
})

/** Takes `count` new alerts of a group at once: all are told by themselves, or all are held. */
export function admit(group: Group, count: number, limits: GroupLimits, now: Millis): { held: boolean; group: Group } {
  if (limits.windowMs === 0) return { held: false, group }
  const over = now - group.windowAt >= limits.windowMs || now < group.windowAt
  const current = over && group.flushAt === null ? { ...group, windowAt: now, told: 0 } : group
  if (current.flushAt === null && current.told + count <= limits.singles) {
    return { held: false, group: { ...current, told: current.told + count } }
  }
  return { held: true, group: current }
}

/** A group that holds something of this severity: when it is told. */
export function hold(group: Group, severity: Severity, limits: GroupLimits, now: Millis): Group {
  const urgent = severity === 'critical' || severity === 'emergency'
  const since = group.digestAt === null || now < group.digestAt ? Number.POSITIVE_INFINITY : now - group.digestAt
  const pause = urgent ? Math.min(URGENT_MS, limits.windowMs) : limits.windowMs
  const at = since >= pause ? now + GATHER_MS : now + Math.max(GATHER_MS, pause - since)
  return { ...group, flushAt: group.flushAt === null ? at : Math.min(group.flushAt, at) }
}

export function flushed(group: Group, now: Millis): Group {
  return { ...group, flushAt: null, digestAt: now }
}
