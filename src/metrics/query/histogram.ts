/**
 * Classic histograms: series whose label `le` is the upper bound of a bucket and whose value counts all that was at
 * most so large. Quantiles and fractions interpolate linearly inside a bucket.
 */
import type { Expr } from './ast.ts'
import type { Column, Context, Grid } from './context.ts'
import type { Metric } from './labelset.ts'
import { keyOf, setLabel, withoutName } from './labelset.ts'
import { quote } from './lex.ts'
import { formatShort, formatValue } from './numeric.ts'
import type { Vector } from './vector.ts'
import { dropNames } from './vector.ts'

const BUCKET_LABEL = 'le'

/** Counts at one step, by bound; bounds ascend once `prepare` has run. */
export interface Buckets {
  length: number
  readonly bounds: Float64Array
  readonly counts: Float64Array
}

interface Histogram {
  readonly metric: Metric
  readonly members: { readonly index: number; readonly bound: number }[]
}

/** As Go's ParseFloat: null for what is none. */
function parseBound(text: string): number | null {
  if (/^[+-]?(inf|infinity)$/i.test(text)) return text[0] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text)
  return /^nan$/i.test(text) ? Number.NaN : null
}

function histogramsOf(ctx: Context, vector: Vector, span: Expr['span']): Histogram[] {
  const found = new Map<string, Histogram>()
  vector.metrics.forEach((metric, index) => {
    const le = metric.labels.find(([name]) => name === BUCKET_LABEL)?.[1] ?? ''
    const bound = parseBound(le)
    if (bound === null) {
      const name = ctx.dialect === 3 ? metric.labels.find(([label]) => label === '__name__')?.[1] : undefined
      const of = name === undefined ? '' : ` for metric name ${quote(name)}`
      ctx.warn(`bucket label "le" is missing or has a malformed value of ${quote(le)}${of}`, span)
      return
    }
    const labels = setLabel(ctx.dialect === 3 ? metric.labels : withoutName(metric.labels), BUCKET_LABEL, '')
    // Buckets of one histogram share all labels but `le`; in Prometheus 2, their names may differ.
    const key = keyOf(labels)
    const known = found.get(key)
    if (known) known.members.push({ index, bound })
    else found.set(key, { metric: { labels, dropName: metric.dropName }, members: [{ index, bound }] })
  })
  return [...found.values()]
}

/** Null: no value at this step. */
type Measure = (buckets: Buckets, step: number, histogram: Histogram) => number | null

function overHistograms(
  ctx: Context,
  vector: Vector,
  span: Expr['span'],
  grid: Grid,
  measures: readonly { readonly measure: Measure; readonly metric: (metric: Metric) => Metric }[],
): Vector {
  const histograms = histogramsOf(ctx, vector, span)
  const fill = (index: number, into: Column) => {
    const histogram = histograms[Math.trunc(index / measures.length)]!
    const { measure } = measures[index % measures.length]!
    const columns = histogram.members.map(({ index: member }) => {
      const column = ctx.column(grid.count)
      vector.fill(member, column)
      return column
    })
    const size = columns.length
    const buckets: Buckets = { length: 0, bounds: new Float64Array(size), counts: new Float64Array(size) }
    for (let k = 0; k < grid.count; k++) {
      buckets.length = 0
      for (let b = 0; b < size; b++) {
        if (columns[b]!.present[k] === 0) continue
        buckets.bounds[buckets.length] = histogram.members[b]!.bound
        buckets.counts[buckets.length++] = columns[b]!.values[k]!
      }
      const value = buckets.length > 0 ? measure(buckets, k, histogram) : null
      into.present[k] = value === null ? 0 : 1
      if (value !== null) into.values[k] = value
    }
    ctx.release(size * grid.count * 9)
  }
  const metrics = histograms.flatMap((histogram) => measures.map(({ metric }) => metric(histogram.metric)))
  return dropNames(ctx, { metrics, nameFree: false, fill }, grid.count)
}

const sameMetric = (metric: Metric) => metric

export function histogramQuantile(
  ctx: Context,
  args: readonly Expr[],
  q: Float64Array,
  vector: Vector,
  grid: Grid,
): Vector {
  warnQuantiles(ctx, q, args[0]!.span)
  const measure = quantileMeasure(ctx, args[1]!.span, (k) => q[k]!)
  return overHistograms(ctx, vector, args[1]!.span, grid, [{ measure, metric: sameMetric }])
}

export function histogramQuantiles(
  ctx: Context,
  args: readonly Expr[],
  label: string,
  qs: readonly Float64Array[],
  vector: Vector,
  grid: Grid,
): Vector {
  // Each quantile is a label value, so that one that changes from step to step is several series.
  const measures = qs.flatMap((q, i) => {
    warnQuantiles(ctx, q, args[i + 2]!.span)
    return [...new Set(q)].map((value) => {
      const measure = quantileMeasure(ctx, args[1]!.span, (k) => (Object.is(q[k], value) ? value : null))
      const metric = (m: Metric) => ({ ...m, labels: setLabel(m.labels, label, openMetricsNumber(value)) })
      return { measure, metric }
    })
  })
  return overHistograms(ctx, vector, args[0]!.span, grid, measures)
}

/** 1 as `1.0`, as OpenMetrics writes label values. */
function openMetricsNumber(value: number): string {
  const text = formatValue(value)
  return /^-?\d+$/.test(text) ? `${text}.0` : text
}

function warnQuantiles(ctx: Context, q: Float64Array, span: Expr['span']): void {
  for (const value of new Set(q))
    if (!(value >= 0 && value <= 1))
      ctx.warn(`quantile value should be between 0 and 1, got ${formatShort(value)}`, span)
}

function quantileMeasure(ctx: Context, span: Expr['span'], q: (step: number) => number | null): Measure {
  return (buckets, step, histogram) => {
    const wanted = q(step)
    if (wanted === null) return null
    const { value, forced } = bucketQuantile(wanted, buckets)
    if (forced) {
      const name = ctx.dialect === 3 ? histogram.metric.labels.find(([l]) => l === '__name__')?.[1] : undefined
      ctx.info(
        'input to histogram_quantile needed to be fixed for monotonicity ' +
          '(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)' +
          (name === undefined ? '' : ` for metric name ${quote(name)}`),
        span,
      )
    }
    return value
  }
}

export function histogramFraction(
  ctx: Context,
  args: readonly Expr[],
  lower: Float64Array,
  upper: Float64Array,
  vector: Vector,
  grid: Grid,
): Vector {
  const measure: Measure = (buckets, step) => bucketFraction(lower[step]!, upper[step]!, buckets)
  return overHistograms(ctx, vector, args[2]!.span, grid, [{ measure, metric: sameMetric }])
}

/** Counts that differ by no more than rounding can explain. */
const ROUNDING = 1e-12

/** Sorts by bound, adds up equal bounds, and takes back any fall of the count. True when a real fall was taken back. */
function prepare(buckets: Buckets): boolean {
  const order = Array.from({ length: buckets.length }, (_, i) => i).sort(
    (a, b) => buckets.bounds[a]! - buckets.bounds[b]!,
  )
  const sorted = order.map((i) => [buckets.bounds[i]!, buckets.counts[i]!] as const)
  let length = 0
  for (const [bound, count] of sorted) {
    if (length > 0 && buckets.bounds[length - 1] === bound) buckets.counts[length - 1]! += count
    else {
      buckets.bounds[length] = bound
      buckets.counts[length++] = count
    }
  }
  buckets.length = length
  let forced = false
  let before = buckets.counts[0]!
  for (let i = 1; i < length; i++) {
    const count = buckets.counts[i]!
    if (count === before) continue
    const close = Math.abs(count - before) <= ROUNDING * (Math.abs(count) + Math.abs(before))
    if (close || count < before) {
      buckets.counts[i] = before
      if (!close) forced = true
    } else before = count
  }
  return forced
}

export function bucketQuantile(q: number, buckets: Buckets): { value: number; forced: boolean } {
  const plain = (value: number) => ({ value, forced: false })
  if (Number.isNaN(q)) return plain(Number.NaN)
  if (q < 0) return plain(Number.NEGATIVE_INFINITY)
  if (q > 1) return plain(Number.POSITIVE_INFINITY)
  let largest = Number.NEGATIVE_INFINITY
  for (let i = 0; i < buckets.length; i++) largest = Math.max(largest, buckets.bounds[i]!)
  if (largest !== Number.POSITIVE_INFINITY) return plain(Number.NaN)
  const forced = prepare(buckets)
  const { bounds, counts, length } = buckets
  if (length < 2) return plain(Number.NaN)
  const observations = counts[length - 1]!
  if (observations === 0) return plain(Number.NaN)
  let rank = q * observations
  let b = 0
  while (b < length - 1 && !(counts[b]! >= rank)) b++
  if (b === length - 1) return { value: bounds[length - 2]!, forced }
  if (b === 0 && bounds[0]! <= 0) return { value: bounds[0]!, forced }
  let start = 0
  let count = counts[b]!
  if (b > 0) {
    start = bounds[b - 1]!
    count -= counts[b - 1]!
    rank -= counts[b - 1]!
  }
  return { value: start + (bounds[b]! - start) * (rank / count), forced }
}

/** The share of observations between two values. */
export function bucketFraction(lower: number, upper: number, buckets: Buckets): number {
  prepare(buckets)
  const { bounds, counts, length } = buckets
  if (length === 0 || bounds[length - 1] !== Number.POSITIVE_INFINITY) return Number.NaN
  const total = counts[length - 1]!
  if (total === 0 || Number.isNaN(lower) || Number.isNaN(upper)) return Number.NaN
  if (lower >= upper) return 0
  let rank = 0
  let lowerRank = -1
  let upperRank = -1
  for (let b = 0; b < length; b++) {
    // A first bucket with a positive bound begins at zero, one with a negative bound has no lower end.
    const begin = b > 0 ? bounds[b - 1]! : bounds[0]! > 0 ? 0 : Number.NEGATIVE_INFINITY
    const end = bounds[b]!
    const inside = (value: number) =>
      begin === Number.NEGATIVE_INFINITY ? counts[b]! : rank + ((counts[b]! - rank) * (value - begin)) / (end - begin)
    if (lowerRank < 0 && begin >= lower) lowerRank = rank
    if (upperRank < 0 && begin >= upper) upperRank = rank
    if (lowerRank < 0 && begin < lower && end > lower) lowerRank = inside(lower)
    if (upperRank < 0 && begin < upper && end > upper) upperRank = inside(upper)
    if (lowerRank >= 0 && upperRank >= 0) break
    rank = counts[b]!
  }
  if (lowerRank < 0 || lowerRank > total) lowerRank = total
  if (upperRank < 0 || upperRank > total) upperRank = total
  return (upperRank - lowerRank) / total
}
