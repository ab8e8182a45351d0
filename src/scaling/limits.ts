/**
 * What holds a count whoever wishes it: steps in whole instances, minimum and maximum, moments of a schedule. Pure.
 */
import { Cron } from 'croner'
import type { Millis } from '../base/time.ts'
import type { DecideSettings, Policy, Schedule, Step } from './model.ts'

/** How many instances one step up from `count` may add: a share is rounded up, and is one at least. */
export function stepUp(count: number, step: Step): number {
  if (typeof step === 'number') return Math.max(0, Math.floor(step))
  return Math.max(1, Math.ceil(count * shareOf(step)))
}

/** The count after one step down from `count`: rounded down, not below 0. */
export function afterStepDown(count: number, step: Step): number {
  if (typeof step === 'number') return Math.max(0, count - Math.max(0, Math.floor(step)))
  return Math.max(0, Math.floor(count * (1 - shareOf(step))))
}

const shareOf = (step: `${number}%`) => Math.max(0, Number.parseFloat(step)) / 100

export interface Bounds {
  readonly min: number
  readonly max: number
  /** Who set them, for the sentence. */
  readonly minBy: string
  readonly maxBy: string
}

/**
 * Minimum and maximum of a target now: the strictest of the target, the global clamp and the minimum of every enabled
 * policy. A maximum beats a minimum. A policy's maximum binds what that policy wishes, not the others.
 */
export function boundsOf(settings: DecideSettings, policies: readonly Policy[]): Bounds {
  let { min, minBy } = { min: Math.max(0, settings.target.minInstances), minBy: `target ${settings.target.name}` }
  if (settings.globalMin > min) [min, minBy] = [settings.globalMin, 'AUTO_SCALING_MIN_INSTANCES']
  for (const p of policies) if (p.minInstances > min) [min, minBy] = [p.minInstances, `policy ${p.name}`]
  let { max, maxBy } = { max: settings.target.maxInstances, maxBy: `target ${settings.target.name}` }
  if (settings.globalMax < max) [max, maxBy] = [settings.globalMax, 'AUTO_SCALING_MAX_INSTANCES']
  max = Math.max(0, max)
  return min > max ? { min: max, max, minBy: maxBy, maxBy } : { min, max, minBy, maxBy }
}

const crons = new Map<string, Cron | null>()
const CRONS_KEPT = 256

/** A cron expression that was understood once is kept; null when it is none. */
function cronOf(schedule: Schedule): Cron | null {
  const key = `${schedule.timeZone}\n${schedule.cron}`
  const known = crons.get(key)
  if (known !== undefined) return known
  let cron: Cron | null
  try {
    cron = new Cron(schedule.cron, { timezone: schedule.timeZone, paused: true })
    cron.nextRun(new Date(0))
  } catch {
    cron = null
  }
  if (crons.size >= CRONS_KEPT) crons.clear()
  crons.set(key, cron)
  return cron
}

/** Whether croner understands the schedule's expression and time zone. */
export const isSchedule = (schedule: Pick<Schedule, 'cron' | 'timeZone'>): boolean =>
  cronOf({ name: '', minimum: 0, lastsMs: 0, ...schedule }) !== null

/**
 * The moment the schedule is in force for at `now`, or null. It is in force from `leadMs` before its moment, so that
 * what has to start is ready when the moment comes, until `lastsMs` after it.
 */
export function scheduleMoment(schedule: Schedule, now: Millis, leadMs: Millis): Millis | null {
  const cron = cronOf(schedule)
  if (cron === null) return null
  // croner's "next" is strictly later than what it is given, in whole seconds.
  const first = cron.nextRun(new Date(now - schedule.lastsMs - 1000))?.getTime()
  if (first === undefined) return null
  if (first + schedule.lastsMs > now) return first <= now + leadMs ? first : null
  const second = cron.nextRun(new Date(now - 1000))?.getTime()
  return second !== undefined && second <= now + leadMs ? second : null
}
