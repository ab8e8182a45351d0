/**
 * What the detector says: an onset, the moment a series left the band it had kept to, and the words for it. Pure data;
 * who stores, groups or sends it decides elsewhere.
 *
 *   deviations   distance from the expected value, in units in which the edge of the band is THRESHOLD_DEFAULT away
 *   score        deviations / (deviations + threshold): 0.5 at the alarm threshold, towards 1 beyond
 */
import type { Millis } from '../../base/time.ts'

/** `ANALYTICS_ANOMALY_THRESHOLD` as it comes: at this many deviations the bands are as they were designed. */
export const THRESHOLD_DEFAULT = 2.5

/** Which look at the series raised it. */
export type View =
  /** The value itself is beyond everything kept in memory. */
  | 'level'
  /** The step from the sample before. */
  | 'jump'
  /** The average of some twenty samples, single spikes discounted. */
  | 'drift'
  /** The distance from what this hour of day or week is used to. */
  | 'season'
  /** The value has not changed for far longer than ever before. */
  | 'stuck'
  /** No sample has come for far longer than ever before. */
  | 'absent'

export const VIEWS: readonly View[] = ['level', 'jump', 'drift', 'season', 'stuck', 'absent']

/** What the expectation rests on; `period` is one that was found in the data. */
export type Season = 'none' | 'day' | 'week' | 'period'

export interface Onset {
  /** Id of the series, as the store gave it. */
  readonly series: number
  /** Time of the sample; for `absent` the time of the sweep that missed it. */
  readonly at: Millis
  readonly view: View
  readonly season: Season
  /** The sample (of a counter: its rate per second). */
  readonly value: number
  readonly expected: number
  /** The band within which the view would not have spoken. */
  readonly lower: number
  readonly upper: number
  readonly deviations: number
  /** 0 to 1; at least 0.5. */
  readonly score: number
}

/** The contract's severity of an anomaly by its deviations. */
export function severityOf(deviations: number): 'low' | 'medium' | 'high' {
  if (deviations > 4) return 'high'
  return deviations > 3 ? 'medium' : 'low'
}

/** The calibrated score: 0.5 at `threshold` deviations. */
export function scoreOf(deviations: number, threshold: number = THRESHOLD_DEFAULT): number {
  if (deviations === Infinity) return 1
  return deviations / (deviations + threshold)
}

const number = (value: number): string =>
  Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : `${+value.toFixed(3)}`

function duration(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  if (minutes < 1) return `${Math.round(ms / 1000)} seconds`
  if (minutes < 120) return `${minutes} minutes`
  const hours = Math.round(minutes / 60)
  return hours < 48 ? `${hours} hours` : `${Math.round(hours / 24)} days`
}

/** One sentence for a person: what was seen, what was expected, which view says so. */
export function describeOnset(onset: Onset): string {
  const { value, expected, lower, upper } = onset
  const band = `${number(lower)} to ${number(upper)}`
  switch (onset.view) {
    case 'level':
      return `${number(value)} is ${value > expected ? 'above' : 'below'} everything remembered of this series (${band}; usually about ${number(expected)}).`
    case 'jump':
      return `It ${value > expected ? 'rose' : 'fell'} from ${number(expected)} to ${number(value)} in one step; from there ${band} would have been usual.`
    case 'drift':
      return `The average of the latest samples left the range it has kept to; the value is ${number(value)}, usually about ${number(expected)} (${band}).`
    case 'season':
      return `${number(value)} is unusual for this ${onset.season === 'period' ? 'point of its rhythm' : `hour of the ${onset.season}`}: expected ${number(expected)} (${band}).`
    case 'stuck':
      return `The value has stood at ${number(value)} for far longer than ever before.`
    case 'absent':
      return `No sample since ${duration(value)}; they usually come every ${duration(expected)}, and never later than ${duration(upper)}.`
  }
}
