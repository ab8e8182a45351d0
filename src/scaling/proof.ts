/**
 * Proof before removal: the load of the last minutes, run against the smaller count in a queue model that was fitted to
 * measured response times. What would not have held its limit is not removed. Pure.
 *
 *   samples of demand ─▶ service.ts with the smaller count, backlog carried ─▶ response time within the limit, always?
 */
import type { Millis } from '../base/time.ts'
import type { Observation } from './model.ts'
import type { CapacityModel } from './planner/capacity.ts'
import { type Service, serve, serviceOf } from './service.ts'

/** How far back a proof looks: as long as a start takes, for that is how long a mistake lasts, and within these. */
export const PROOF = {
  windowMinMs: 60_000,
  windowMaxMs: 300_000,
  /** With fewer samples of demand than this nothing is removed. */
  samplesMin: 10,
}

export interface LoadRecord {
  readonly at: readonly Millis[]
  readonly demand: readonly number[]
  /** Samples ever seen, as far as it matters. */
  readonly seen: number
}

export const newLoadRecord = (): LoadRecord => ({ at: [], demand: [], seen: 0 })

/** The record after a cycle; without a demand sample it is left alone. */
export function recordLoad(record: LoadRecord, seen: Pick<Observation, 'demand'>, now: Millis): LoadRecord {
  if (seen.demand === null || !Number.isFinite(seen.demand)) return record
  let from = 0
  while (from < record.at.length && record.at[from]! < now - PROOF.windowMaxMs) from++
  return {
    at: [...record.at.slice(from), now],
    demand: [...record.demand.slice(from), Math.max(0, seen.demand)],
    seen: Math.min(1000, record.seen + 1),
  }
}

export interface Replayed {
  readonly holds: boolean
  readonly worstMs: number
  readonly worstAt: Millis
}

/** The load run against `count` instances. */
export function replayLoad(load: Pick<LoadRecord, 'at' | 'demand'>, count: number, service: Service): Replayed {
  let backlog = 0
  let worst = { worstMs: 0, worstAt: load.at[0] ?? 0 }
  for (let i = 0; i < load.at.length; i++) {
    // A sample tells of the time before it; the first one's interval is taken to be as long as the next.
    const before = i > 0 ? load.at[i - 1]! : 2 * load.at[0]! - (load.at[1] ?? load.at[0]!)
    const seconds = Math.max(1, (load.at[i]! - before) / 1000)
    const served = serve(service, count, load.demand[i]!, seconds, backlog)
    backlog = served.backlog
    if (served.responseMs > worst.worstMs) worst = { worstMs: served.responseMs, worstAt: load.at[i]! }
  }
  return { ...worst, holds: worst.worstMs <= service.limitMs }
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
  const service = serviceOf(capacity, limitMs)
  if (load.seen > 0 && load.seen < PROOF.samplesMin) {
    return { count: base, why: `demand has been watched for ${load.seen} cycles of ${PROOF.samplesMin}` }
  }
  // Idle from the first moment on, or without CPU or demand: nothing to fit a model to.
  if (service === null) return null
  const windowMs = Math.max(PROOF.windowMinMs, Math.min(PROOF.windowMaxMs, startUpMs))
  let from = 0
  while (from < load.at.length && load.at[from]! <= now - windowMs) from++
  const recent = { at: load.at.slice(from), demand: load.demand.slice(from) }
  if (recent.at.length === 0) return null
  let why = ''
  for (let count = wanted; count < base; count++) {
    const replayed = replayLoad(recent, count, service)
    if (replayed.holds) return { count, why }
    const ms = Math.round(replayed.worstMs)
    why = `with ${count} the last ${Math.round(windowMs / 1000)} s would have come to ${ms} ms, the limit is ${limitMs} ms`
  }
  return { count: base, why }
}
