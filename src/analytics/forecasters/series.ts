/**
 * A series as the forecasters see it: one value per step, NaN for a step without a sample. Long histories are cut to
 * the newest two weeks.
 */
import type { Millis } from '../../base/time.ts'

export interface StepSeries {
  /** One value per step, oldest first; NaN is a gap. The last one is a value. */
  readonly values: Float64Array
  /** Number of the first step since the epoch: its time divided by `stepMs`. */
  readonly firstStep: number
  readonly stepMs: number
}

export const HISTORY_MS = 14 * 24 * 3_600_000

/**
 * Samples, in order of time, to steps: the mean of each step's samples. Values that are not finite are skipped; gaps
 * stay. `null` when there is no sample.
 */
export function stepSeries(
  times: ArrayLike<Millis>,
  samples: ArrayLike<number>,
  stepMs: number,
  historyMs: number = HISTORY_MS,
): StepSeries | null {
  let last = -1
  for (let i = samples.length - 1; i >= 0 && last < 0; i--) {
    if (Number.isFinite(samples[i]!) && Number.isFinite(times[i]!)) last = i
  }
  if (last < 0) return null
  const newest = Math.floor(times[last]! / stepMs)
  const oldestAllowed = newest - Math.floor(historyMs / stepMs) + 1
  let oldest = newest
  for (let i = 0; i <= last; i++) {
    const step = Math.floor(times[i]! / stepMs)
    if (step >= oldestAllowed && step < oldest && Number.isFinite(samples[i]!)) oldest = step
  }
  const values = new Float64Array(newest - oldest + 1)
  const counts = new Uint32Array(values.length)
  for (let i = 0; i <= last; i++) {
    const at = Math.floor(times[i]! / stepMs) - oldest
    if (!(at >= 0 && at < values.length) || !Number.isFinite(samples[i]!)) continue
    // A running mean, so that huge values do not overflow their sum.
    counts[at] = counts[at]! + 1
    values[at] = values[at]! + (samples[i]! / counts[at]! - values[at]! / counts[at]!)
  }
  for (let i = 0; i < values.length; i++) if (counts[i] === 0) values[i] = NaN
  return { values, firstStep: oldest, stepMs }
}
