/** Stored samples of the series that a rule watches, read through the query worker, window by window. */
import { AppError } from '../base/errors.ts'
import { HOUR, type Millis } from '../base/time.ts'
import { type Evaluated, type Labels, METRIC_NAME, sortLabels } from '../metrics/index.ts'
import type { LabelMatch, Rule } from './rule.ts'
import { watchedOf } from './rules/timed.ts'
import { seriesKey, storedMetric } from './series.ts'

export interface SeriesHistory {
  readonly labels: Labels
  readonly times: Float64Array
  readonly values: Float64Array
}

/** Evaluates a PromQL expression: at one time, or over a range with a step. */
export type Evaluate = (
  expr: string,
  from: Millis,
  until: Millis,
  stepMs: number,
  signal?: AbortSignal,
) => Promise<Evaluated>

/** Most samples that one look into history reads. */
export const SAMPLES_MAX = 5_000_000
const SERIES_MAX = 1000

/** PromQL of the series that a rule's labels name. */
export function selectorOf(rule: Pick<Rule, 'metricName' | 'labels'>): string {
  const matcher = ({ name, equals, regex }: LabelMatch) =>
    regex === undefined ? `${quoted(name)}=${quoted(equals ?? '')}` : `${quoted(name)}=~${quoted(regex)}`
  return `{${[`${METRIC_NAME}=${quoted(storedMetric(rule))}`, ...rule.labels.map(matcher)].join(',')}}`
}

/** PromQL of one series. */
export function selectorOfSeries(labels: Labels): string {
  return `{${labels.map(([name, value]) => `${name === METRIC_NAME ? name : quoted(name)}=${quoted(value)}`).join(',')}}`
}

/** A text as PromQL writes it between quotes. */
const quoted = (text: string) => JSON.stringify(text)

/** Samples of the series that a rule watches, from ≤ time ≤ until. Throws `AppError` 422 for too many. */
export async function readHistory(
  evaluate: Evaluate,
  rule: Pick<Rule, 'metricName' | 'labels'> & Rule,
  from: Millis,
  until: Millis,
  signal?: AbortSignal,
): Promise<SeriesHistory[]> {
  const parts = await readSamples(evaluate, selectorOf(rule), from, until, signal)
  return watchedOf(rule, parts)
}

/** The same by a selector. */
export async function readSamples(
  evaluate: Evaluate,
  selector: string,
  from: Millis,
  until: Millis,
  signal?: AbortSignal,
): Promise<SeriesHistory[]> {
  const found = new Map<string, { labels: Labels; times: Float64Array[]; values: Float64Array[] }>()
  let samples = 0
  // (from, until] by windows that end where the next begins: a range selector leaves its left end out.
  for (let start = from - 1; start < until; start += 6 * HOUR) {
    const end = Math.min(until, start + 6 * HOUR)
    const { series } = await evaluate(`${selector}[${end - start}ms]`, end, end, 0, signal)
    for (const { labels: pairs, times, values } of series) {
      const labels = sortLabels([...pairs])
      const key = seriesKey(labels)
      const known = found.get(key) ?? { labels, times: [], values: [] }
      found.set(key, known)
      known.times.push(times)
      known.values.push(values)
      samples += times.length
    }
    if (samples > SAMPLES_MAX || found.size > SERIES_MAX) {
      throw new AppError(
        422,
        'too_much_history',
        `These series hold more than can be looked at (${SAMPLES_MAX} samples, ${SERIES_MAX} series): choose a shorter time or more labels.`,
      )
    }
  }
  return [...found.values()].map(({ labels, times, values }) => ({
    labels,
    times: joined(times),
    values: joined(values),
  }))
}

function joined(parts: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
