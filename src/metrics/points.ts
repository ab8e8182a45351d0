/**
 * Points of series in buckets: what charts ask for. One bucket holds the mean, lowest, highest and number of the
 * samples in [t, t + step); a bucket without samples is absent. Stale markers, other NaNs and infinities are no points.
 * Where raw samples have passed their retention, roll-ups serve.
 *
 * Runs in the query worker, on `ColumnReader`; answers are plain columns that can be moved between threads.
 */
import type { Millis } from '../base/time.ts'
import { HOUR, MINUTE } from '../base/time.ts'
import type { Labels } from './labels.ts'
import { labelValue, METRIC_NAME } from './labels.ts'
import type { ColumnReader, Matcher, RollupColumns, SeriesColumns } from './metrics.ts'
import { sampleBuffer } from './metrics.ts'
import { PLATFORM_LABEL } from './names.ts'

export interface PointsRequest {
  /** Stored name. */
  readonly name: string
  /** Labels that have to be so. */
  readonly labels: Readonly<Record<string, string>>
  readonly from: Millis
  /** Inclusive. */
  readonly until: Millis
  readonly stepMs: number
  /** Most series answered one by one; the merged points are of all. */
  readonly seriesMax: number
}

export interface PointColumns {
  readonly length: number
  /** Starts of buckets, ascending. */
  readonly times: Float64Array
  readonly mean: Float64Array
  readonly min: Float64Array
  readonly max: Float64Array
  readonly count: Float64Array
}

export interface PointsAnswer {
  /**
   * What the name alone means: the platform's own plain series (`service="opinion-market"` and no other label) if
   * there is such a one, else the platform's own merged, else all that matched merged.
   */
  readonly points: PointColumns
  readonly series: readonly { readonly labels: Labels; readonly points: PointColumns }[]
  /** How many series matched. */
  readonly matched: number
}

/** Most buckets that a request may span. */
export const BUCKETS_MAX = 11_000
/** More matched series than this cannot be merged for a chart. */
const MATCHED_MAX = 10_000

/** Throws `AppError` 422 `too_many_series`. The caller has checked that the span has at most `BUCKETS_MAX` buckets. */
export function readPoints(reader: ColumnReader, request: PointsRequest): PointsAnswer {
  const { from, until, stepMs } = request
  const matchers: Matcher[] = [{ name: METRIC_NAME, op: '=', value: request.name }]
  for (const name in request.labels) matchers.push({ name, op: '=', value: request.labels[name]! })
  const matched = reader.readColumns(matchers, from, until, { seriesMax: MATCHED_MAX })

  const first = Math.floor(from / stepMs) * stepMs
  const buckets = Math.floor((until - first) / stepMs) + 1
  const all = new Buckets(first, stepMs, buckets)
  const platform = new Buckets(first, stepMs, buckets)
  const own = new Buckets(first, stepMs, buckets)
  const answers: { labels: Labels; points: PointColumns }[] = []
  let plain: PointColumns | null = null
  for (const series of matched) {
    own.clear()
    fill(own, reader, series, from, until)
    if (own.empty) continue
    all.add(own)
    const isPlatform = labelValue(series.labels, PLATFORM_LABEL[0]) === PLATFORM_LABEL[1]
    const isPlain = isPlatform && series.labels.length === 2
    if (isPlatform) platform.add(own)
    if (!isPlain && answers.length >= request.seriesMax) continue
    const points = own.finish()
    if (isPlain) plain = points
    if (answers.length < request.seriesMax) answers.push({ labels: series.labels, points })
  }
  return { points: plain ?? (platform.empty ? all : platform).finish(), series: answers, matched: matched.length }
}

const raw = sampleBuffer()

function fill(into: Buckets, reader: ColumnReader, series: SeriesColumns, from: Millis, until: Millis): void {
  const rawSince = reader.rawSince()
  if (from < rawSince) {
    const old = rollup(reader, series, into.stepMs, from, Math.min(until, rawSince - 1))
    for (let i = 0; old && i < old.length; i++) {
      into.put(old.times[i]!, old.sum[i]!, old.min[i]!, old.max[i]!, old.count[i]!)
    }
  }
  series.read(Math.max(from, rawSince), until, raw)
  for (let i = 0; i < raw.length; i++) {
    const value = raw.values[i]!
    if (Number.isFinite(value)) into.put(raw.times[i]!, value, value, value, 1)
  }
}

/** The coarsest roll-up that is not coarser than the step; the finest when all are. */
function rollup(
  reader: ColumnReader,
  series: SeriesColumns,
  stepMs: number,
  from: Millis,
  to: Millis,
): RollupColumns | null {
  for (const step of stepMs >= HOUR ? [HOUR, 5 * MINUTE] : [5 * MINUTE, HOUR]) {
    const found = reader.readRollup(series, step, from, to)
    if (found) return found
  }
  return null
}

/** Sums by bucket; dense, as a chart asks for a few hundred. */
class Buckets {
  readonly stepMs: number
  readonly #first: Millis
  readonly #sum: Float64Array
  readonly #min: Float64Array
  readonly #max: Float64Array
  readonly #count: Float64Array
  empty = true

  constructor(first: Millis, stepMs: number, buckets: number) {
    this.#first = first
    this.stepMs = stepMs
    this.#sum = new Float64Array(buckets)
    this.#min = new Float64Array(buckets)
    this.#max = new Float64Array(buckets)
    this.#count = new Float64Array(buckets)
  }

  clear(): void {
    this.#count.fill(0)
    this.empty = true
  }

  put(time: Millis, sum: number, min: number, max: number, count: number): void {
    this.#putAt(Math.floor((time - this.#first) / this.stepMs), sum, min, max, count)
  }

  add(other: Buckets): void {
    for (let i = 0; i < other.#count.length; i++) {
      if (other.#count[i]! > 0) this.#putAt(i, other.#sum[i]!, other.#min[i]!, other.#max[i]!, other.#count[i]!)
    }
  }

  #putAt(i: number, sum: number, min: number, max: number, count: number): void {
    if (i < 0 || i >= this.#count.length) return
    if (this.#count[i] === 0) {
      this.#sum[i] = sum
      this.#min[i] = min
      this.#max[i] = max
    } else {
      this.#sum[i]! += sum
      if (min < this.#min[i]!) this.#min[i] = min
      if (max > this.#max[i]!) this.#max[i] = max
    }
    this.#count[i]! += count
    this.empty = false
  }

  finish(): PointColumns {
    const filled: number[] = []
    for (let i = 0; i < this.#count.length; i++) if (this.#count[i]! > 0) filled.push(i)
    const pick = (of: (i: number) => number) => Float64Array.from(filled, of)
    return {
      length: filled.length,
      times: pick((i) => this.#first + i * this.stepMs),
      // The sum of large values may pass the largest double; their mean cannot leave [min, max].
      mean: pick((i) => Math.min(this.#max[i]!, Math.max(this.#min[i]!, this.#sum[i]! / this.#count[i]!))),
      min: pick((i) => this.#min[i]!),
      max: pick((i) => this.#max[i]!),
      count: pick((i) => this.#count[i]!),
    }
  }
}
