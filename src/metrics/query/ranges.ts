/**
 * Selectors: how stored samples become columns. An instant selector takes the newest sample at or before each step,
 * no older than the lookback; a range selector gives each step a window of samples.
 */
import type { Millis } from '../../base/time.ts'
import type { SampleBuffer, SeriesColumns } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { CompiledMatcher, Expr, MatrixSelector, Subquery, VectorSelector } from './ast.ts'
import type { Column, Context, Grid } from './context.ts'
import { dropStale, isStaleAt } from './context.ts'
import type { Metric } from './labelset.ts'
import { compareLabels } from './labelset.ts'
import type { RolledRange } from './rollups.ts'
import { warnOfMissing } from './rollups.ts'
import type { Vector } from './vector.ts'

interface Selected {
  readonly series: readonly SeriesColumns[]
  readonly metrics: readonly Metric[]
}

/** Selections that were put in order before. */
const ordered = new WeakMap<readonly SeriesColumns[], Selected>()

/**
 * Matched series in order of their labels, as Prometheus has them: it shows in instant answers, in which of equal values
 * `topk` takes, and in the last digits of sums.
 */
function selectSeries(ctx: Context, selector: VectorSelector, from: Millis, to: Millis): Selected {
  const found = ctx.select(selector.matchers, from, to)
  const known = ordered.get(found)
  if (known) return known
  const keyed = found.map((series) => ({ series, labels: series.labels }))
  keyed.sort((a, b) => compareLabels(a.labels, b.labels))
  const selected = {
    series: keyed.map(({ series }) => series),
    metrics: keyed.map(({ labels }) => ({ labels, dropName: false })),
  }
  ordered.set(found, selected)
  return selected
}

/** The name is the same for all, so it tells none apart. */
export const oneName = (matchers: readonly CompiledMatcher[]): boolean =>
  matchers.some((m) => m.name === '__name__' && m.op === '=')

/** `timestamps`: the samples' times in seconds in place of their values, for `timestamp()`. */
export function instantSelector(ctx: Context, selector: VectorSelector, grid: Grid, timestamps = false): Vector {
  if (selector.extended === 'anchored') ctx.fail('anchored modifier can only be used with range selectors')
  const { first, step } = ctx.reference(selector, grid)
  const last = first + step * (grid.count - 1)
  const lookback = ctx.env.lookbackMs
  const smoothed = selector.extended === 'smoothed'
  const from = first - lookback
  const to = smoothed ? last + lookback : last
  const { series, metrics } = selectSeries(ctx, selector, from, to)
  warnOfMissing(ctx, series, first, selector.span)
  const closed = ctx.dialect === 2
  return {
    metrics,
    nameFree: oneName(selector.matchers),
    fill(index, into) {
      const buffer = ctx.read(series[index]!, from, to)
      if (smoothed) {
        dropStale(buffer)
        smoothColumn(buffer, first, step, grid.count, lookback, into)
        return
      }
      const { times, values, length } = buffer
      const out = into.values
      const present = into.present
      let next = 0
      let stride = 0
      for (let k = 0; k < grid.count; k++) {
        const at = first + k * step
        const past = firstPast(times, next, length, at, stride)
        stride = past - next
        next = past
        const i = next - 1
        const oldest = at - lookback
        if (i < 0 || times[i]! < oldest || (!closed && times[i] === oldest) || isStaleAt(values, i)) {
          present[k] = 0
          continue
        }
        present[k] = 1
        out[k] = timestamps ? times[i]! / 1000 : values[i]!
      }
    },
  }
}

/**
 * Index of the first of ascending times, from `at` on and below `length`, that is later than `time`. `stride` is how far
 * the last such search went: steps and scrapes are mostly regular, so all but one of as many are jumped over.
 */
export function firstPast(times: Float64Array, at: number, length: number, time: Millis, stride: number): number {
  let next = at
  if (stride > 2) {
    const guess = at + stride - 1
    if (guess < length && times[guess - 1]! <= time) next = guess
  }
  while (next < length && times[next]! <= time) next++
  return next
}

/** The same for the first that is not earlier than `time`. */
export function firstFrom(times: Float64Array, at: number, length: number, time: Millis, stride: number): number {
  let next = at
  if (stride > 2) {
    const guess = at + stride - 1
    if (guess < length && times[guess - 1]! < time) next = guess
  }
  while (next < length && times[next]! < time) next++
  return next
}

/** A straight line between the samples on either side; the last value where there is no later one. */
function smoothColumn(
  buffer: SampleBuffer,
  first: Millis,
  step: Millis,
  count: number,
  lookback: Millis,
  into: Column,
): void {
  const { times, values, length } = buffer
  let next = 0
  for (let k = 0; k < count; k++) {
    const at = first + k * step
    while (next < length && times[next]! < at) next++
    const before = next - 1
    into.present[k] = 0
    if (next < length && times[next] === at) {
      into.present[k] = 1
      into.values[k] = values[next]!
      continue
    }
    if (before < 0 || times[before]! <= at - lookback) continue
    into.present[k] = 1
    const reachable = next < length && times[next]! <= at + lookback
    into.values[k] = reachable
      ? values[before]! + ((values[next]! - values[before]!) * (at - times[before]!)) / (times[next]! - times[before]!)
      : values[before]!
  }
}

/** A window of samples for each step and series. */
export interface Ranges {
  readonly metrics: readonly Metric[]
  readonly nameFree: boolean
  readonly rangeMs: Millis
  /** End of the window at step 0, and how far it moves from step to step. */
  readonly first: Millis
  readonly step: Millis
  readonly extended: VectorSelector['extended']
  /** Equality matchers of the selector, for `absent_over_time`; empty for a subquery. */
  readonly matchers: readonly CompiledMatcher[]
  /** All samples of one series that any window can hold, without stale markers. Good until the next call. */
  load(index: number): SampleBuffer
}

/** With `rolled`, roll-ups may serve what raw samples no longer can: its answer is then the result. */
export function rangeSelector<T>(
  ctx: Context,
  matrix: MatrixSelector,
  grid: Grid,
  rolled: (range: RolledRange) => T | null,
): Ranges | T {
  const { selector } = matrix
  const rangeMs = ctx.positiveDuration(matrix.range)
  const { first, step } = ctx.reference(selector, grid)
  const last = first + step * (grid.count - 1)
  const from = first - rangeMs - (selector.extended ? ctx.env.lookbackMs : 0)
  const to = last + (selector.extended === 'smoothed' ? ctx.env.lookbackMs : 0)
  const { series, metrics } = selectSeries(ctx, selector, from, to)
  const served = selector.extended ? null : rolled({ selector, series, rangeMs, first, step })
  if (served) return served
  warnOfMissing(ctx, series, from, matrix.span)
  return {
    metrics,
    nameFree: oneName(selector.matchers),
    rangeMs,
    first,
    step,
    extended: selector.extended,
    matchers: selector.matchers,
    load(index) {
      const buffer = ctx.read(series[index]!, from, to)
      dropStale(buffer)
      return buffer
    },
  }
}

/** A subquery's steps are the multiples of its interval that lie in the window. */
export function subqueryRanges(
  ctx: Context,
  subquery: Subquery,
  grid: Grid,
  evaluate: (expr: Expr, grid: Grid) => Vector,
): Ranges {
  const rangeMs = ctx.positiveDuration(subquery.range)
  const interval = subquery.step === null ? ctx.env.subqueryStepMs : ctx.positiveDuration(subquery.step)
  const { first, step } = ctx.reference(subquery, grid)
  const last = first + step * (grid.count - 1)
  const from = first - rangeMs
  let start = interval * Math.trunc(from / interval)
  if (ctx.dialect === 2 ? start < from : start <= from) start += interval
  const count = last < start ? 0 : Math.floor((last - start) / interval) + 1
  if (count > ctx.env.limits.stepsMax * 1000)
    ctx.fail(`a subquery of ${count} steps is more than the limit of ${ctx.env.limits.stepsMax * 1000}`)
  const inner: Grid = { start, step: interval, count }
  const vector = count === 0 ? null : evaluate(subquery.expr, inner)
  const column = ctx.column(count)
  const buffer = sampleBuffer(Math.max(1, count))
  ctx.reserve(count * 16)
  return {
    metrics: vector?.metrics ?? [],
    nameFree: vector?.nameFree ?? true,
    rangeMs,
    first,
    step,
    extended: null,
    matchers: [],
    load(index) {
      ctx.env.checkpoint()
      vector!.fill(index, column)
      let length = 0
      for (let k = 0; k < count; k++) {
        if (column.present[k] === 0) continue
        buffer.times[length] = start + k * interval
        buffer.values[length] = column.values[k]!
        length++
      }
      buffer.length = length
      return buffer
    },
  }
}
