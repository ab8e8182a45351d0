/**
 * How long a start takes, learnt from starts: the driver's own measurements where it makes them, else the time from
 * asking until one more is ready. Pure.
 */
import type { Millis } from '../../base/time.ts'

const KEPT = 20
/** Slower than four of five starts: a plan that counts on the mean is late every other time. */
const QUANTILE = 0.8
/** Who is not ready by then has failed. */
const GIVEN_UP_MS = 1_800_000

export interface StartUpModel {
  /** Moments at which what is starting now was asked for, oldest first. */
  readonly asked: readonly Millis[]
  /** Ready, and ready or starting, when last looked. */
  readonly ready: number | null
  readonly there: number
  /** The newest durations, ms, oldest first. */
  readonly took: readonly number[]
}

export const newStartUpModel = (): StartUpModel => ({ asked: [], ready: null, there: 0, took: [] })

/** The model after `wanted` were asked for: more are starting from now on, or the newest of them are taken back. */
export function asked(m: StartUpModel, wanted: number, now: Millis): StartUpModel {
  const count = wanted - m.there
  if (count > 0)
    return { ...m, asked: [...m.asked, ...new Array<Millis>(Math.min(count, 1000)).fill(now)].slice(-1000) }
  return { ...m, asked: m.asked.slice(0, Math.max(0, m.asked.length + count)) }
}

export function learnStartUp(
  m: StartUpModel,
  seen: { readonly ready: number; readonly starting: number; readonly startUps?: readonly number[] },
  cycleMs: Millis,
  now: Millis,
): StartUpModel {
  const measured = seen.startUps?.filter((ms) => ms >= 0 && ms < GIVEN_UP_MS) ?? []
  let pending = m.asked.filter((at) => now - at < GIVEN_UP_MS)
  let took = [...m.took, ...measured]
  const more = m.ready === null ? 0 : Math.max(0, seen.ready - m.ready)
  if (more > 0) {
    // It became ready some time in the cycle before; the cycle is added again where it is waited for.
    if (seen.startUps === undefined)
      took = [...took, ...pending.slice(0, more).map((at) => Math.max(0, now - at - cycleMs))]
    pending = pending.slice(more)
  }
  if (pending.length > seen.starting) pending = pending.slice(pending.length - seen.starting)
  return { asked: pending, ready: seen.ready, there: seen.ready + seen.starting, took: took.slice(-KEPT) }
}

/** What a start takes, ms. */
export function startUpOf(m: StartUpModel, priorMs: Millis): Millis {
  if (m.took.length === 0) return priorMs
  const sorted = m.took.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(QUANTILE * sorted.length))]!
}
