/**
 * Proof before removal: the load of the last minutes, run against the smaller count in a queue model that was fitted to
 * measured response times. What would not have held its limit is not removed. Pure.
 *
 *   backlog(t+1) = max(0, backlog(t) + demand − count · rate)      in each interval between two samples
 *   response(t)  = S · (1 + k · W(c, load)) + backlog / (count · rate)    must stay within the limit, always
 */
import type { Millis } from '../base/time.ts'
import type { Observation } from './model.ts'
import { type CapacityModel, type Fit, kneeOf, waitOf } from './planner/capacity.ts'

/** How far back a proof looks: as long as a start takes, for that is how long a mistake lasts, and within these. */
export const PROOF = { windowMinMs: 60_000, windowMaxMs: 300_000 }

export interface LoadRecord {
  readonly at: readonly Millis[]
  readonly demand: readonly number[]
}

export const newLoadRecord = (): LoadRecord => ({ at: [], demand: [] })

/** The record after a cycle; without a demand sample it is left alone. */
export function recordLoad(record: LoadRecord, seen: Pick<Observation, 'demand'>, now: Millis): LoadRecord {
  if (seen.demand === null || !Number.isFinite(seen.demand)) return record
  let from = 0
  while (from < record.at.length && record.at[from]! < now - PROOF.windowMaxMs) from++
  return { at: [...record.at.slice(from), now], demand: [...record.demand.slice(from), Math.max(0, seen.demand)] }
}

export interface Replayed {
  readonly holds: boolean
  readonly worstMs: number
  readonly worstAt: Millis
}

/** The load run against `count` instances. */
export function replayLoad(
  load: LoadRecord,
  count: number,
  model: { readonly rate: number; readonly fit: Fit | null; readonly knee: number },
  limitMs: number,
): Replayed {
  let backlog = 0
  let worst = { holds: true, worstMs: 0, worstAt: load.at[0] ?? 0 }
  for (let i = 0; i < load.at.length; i++) {
    // A sample tells of the time before it; the first one's interval is taken to be as long as the next.
    const from = i === 0 ? load.at[0]! - ((load.at[1] ?? load.at[0]!) - load.at[0]!) : load.at[i - 1]!
    const seconds = Math.max(1, (load.at[i]! - from) / 1000)
    const capacity = count * model.rate
    const demand = load.demand[i]!
    if (capacity <= 0) {
      if (demand > 0) return { holds: false, worstMs: Infinity, worstAt: load.at[i]! }
      continue
    }
    const rho = Math.min(1, (demand + backlog / seconds) / capacity)
    backlog = Math.max(0, backlog + (demand - capacity) * seconds)
    const base =
      model.fit === null
        ? rho <= model.knee
          ? 0
          : limitMs + 1
        : model.fit.serviceMs * (1 + model.fit.factor * waitOf(model.fit.workers, rho))
    const response = base + (1000 * backlog) / capacity
    if (response > worst.worstMs)
      worst = { holds: worst.holds && response <= limitMs, worstMs: response, worstAt: load.at[i]! }
  }
  return worst
}

/**
 * The smallest count from `wanted` up to `base` that would have held; null when nothing was measured to prove it with,
 * and then nothing speaks against what the policies wish.
 */
export function provenCount(
  load: LoadRecord,
  capacity: CapacityModel,
  limitMs: number,
  wanted: number,
  base: number,
  startUpMs: Millis,
  now: Millis,
): { readonly count: number; readonly why: string } | null {
  if (capacity.rateWeight < 5 || load.at.length === 0) return null
  const windowMs = Math.max(PROOF.windowMinMs, Math.min(PROOF.windowMaxMs, startUpMs))
  let from = 0
  while (from < load.at.length && load.at[from]! <= now - windowMs) from++
  const recent = { at: load.at.slice(from), demand: load.demand.slice(from) }
  if (recent.at.length === 0) return null
  const model = { rate: capacity.rate, fit: capacity.fit, knee: kneeOf(capacity, limitMs) }
  let why = ''
  for (let count = wanted; count < base; count++) {
    const replayed = replayLoad(recent, count, model, limitMs)
    if (replayed.holds) return { count, why }
    const ms = Number.isFinite(replayed.worstMs) ? `${Math.round(replayed.worstMs)} ms` : 'without end'
    why = `with ${count} the last ${Math.round(windowMs / 1000)} s would have come to ${ms}, the limit is ${limitMs} ms`
  }
  return { count: base, why }
}
