/**
 * Functions over windows of samples: rates, regressions and everything `_over_time`. One loop moves the window from
 * step to step along a series; a function sees the samples of its window in place, as from ≤ i < to.
 */
import type { Millis } from '../../base/time.ts'
import { METRIC_NAME } from '../labels.ts'
import type { SampleBuffer } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { Call } from './ast.ts'
import type { Column, Context, Grid } from './context.ts'
import { timeAt } from './context.ts'
import { keepsName } from './functions.ts'
import { labelValueOf } from './labelset.ts'
import { quote } from './lex.ts'
import { compensatedMean, formatShort, quantile } from './numeric.ts'
import type { Ranges } from './ranges.ts'
import { firstFrom, firstPast } from './ranges.ts'
import type { Vector } from './vector.ts'
import { dropNames } from './vector.ts'

/** The window at one step. Times in milliseconds. */
interface Window {
  readonly times: Float64Array
  readonly values: Float64Array
  /** Samples of the series, beyond the window, too. */
  readonly length: number
  from: number
  to: number
  /** Bounds in time, whether or not there are samples. */
  begin: Millis
  end: Millis
  /** The step itself: differs from `end` by offset and `@`. */
  at: Millis
  step: number
}

interface RangeFunction {
  /** With fewer samples the step has no value. */
  readonly least: 1 | 2
  compute(window: Window): number
  /** Called once for each series. */
  prepare?(values: Float64Array, length: number): void
}

/** Parameters are a value a step. */
type Make = (ctx: Context, rangeMs: Millis, params: readonly Float64Array[]) => RangeFunction

const each =
  (compute: (window: Window) => number, least: 1 | 2 = 1): Make =>
  () => ({ least, compute })

/** Where a counter went down: so a window's resets are found without looking at its samples again. */
class Resets {
  #at = new Int32Array(16)
  #count = 0
  #next = 0

  prepare(values: Float64Array, length: number): void {
    this.#count = 0
    this.#next = 0
    let before = values[0]!
    for (let i = 1; i < length; i++) {
      const value = values[i]!
      const down = value < before
      before = value
      if (!down) continue
      if (this.#count === this.#at.length) {
        const grown = new Int32Array(this.#at.length * 2)
        grown.set(this.#at)
        this.#at = grown
      }
      this.#at[this.#count++] = i
    }
  }

  /** Adds to `start` the value before each reset inside the window. Windows may only move forward. */
  correct(start: number, { values, from, to }: Window): number {
    while (this.#next < this.#count && this.#at[this.#next]! <= from) this.#next++
    let result = start
    for (let r = this.#next; r < this.#count && this.#at[r]! < to; r++) result += values[this.#at[r]! - 1]!
    return result
  }
}

/**
 * rate, increase, delta: the difference over the window's samples, carried on to the window's bounds where the samples
 * come near them (within 1.1 times their mean distance), else by half that distance; a counter never below zero.
 */
function extrapolated(counter: boolean, perSecond: boolean): Make {
  return (ctx, rangeMs) => {
    const resets = new Resets()
    const toZeroFirst = ctx.dialect === 2
    return {
      least: 2,
      prepare: counter ? (values, length) => resets.prepare(values, length) : () => {},
      compute(w) {
        const { times, values, from, to } = w
        const first = values[from]!
        const last = to - 1
        let result = values[last]! - first
        if (counter) result = resets.correct(result, w)
        let toStart = (times[from]! - w.begin) / 1000
        let toEnd = (w.end - times[last]!) / 1000
        const sampled = (times[last]! - times[from]!) / 1000
        const mean = sampled / (last - from)
        const near = mean * 1.1
        const zeroAt = counter && result > 0 && first >= 0 ? sampled * (first / result) : Number.POSITIVE_INFINITY
        if (toZeroFirst && zeroAt < toStart) toStart = zeroAt
        if (!(toStart < near)) toStart = mean / 2
        if (!toZeroFirst && zeroAt < toStart) toStart = zeroAt
        if (!(toEnd < near)) toEnd = mean / 2
        let factor = (sampled + toStart + toEnd) / sampled
        if (perSecond) factor /= rangeMs / 1000
        return result * factor
      },
    }
  }
}

/** irate, idelta: between the last two samples. */
function instantChange(perSecond: boolean): Make {
  return each(({ times, values, to }) => {
    const last = values[to - 1]!
    const before = values[to - 2]!
    const change = perSecond && last < before ? last : last - before
    return perSecond ? change / ((times[to - 1]! - times[to - 2]!) / 1000) : change
  }, 2)
}

const line = { slope: 0, intercept: 0 }

/** Least squares over the window, the intercept at `origin`; into `line`. */
function regress({ times, values, from, to }: Window, origin: Millis): void {
  const initial = values[from]!
  let constant = true
  let n = 0
  let sumX = 0
  let lostX = 0
  let sumY = 0
  let lostY = 0
  let sumXY = 0
  let lostXY = 0
  let sumXX = 0
  let lostXX = 0
  for (let i = from; i < to; i++) {
    const y = values[i]!
    const x = (times[i]! - origin) / 1e3
    if (constant && i > from && y !== initial) constant = false
    n++
    let total = sumX + x
    lostX += Math.abs(sumX) >= Math.abs(x) ? sumX - total + x : x - total + sumX
    sumX = total
    total = sumY + y
    lostY += Math.abs(sumY) >= Math.abs(y) ? sumY - total + y : y - total + sumY
    sumY = total
    const xy = x * y
    total = sumXY + xy
    lostXY += Math.abs(sumXY) >= Math.abs(xy) ? sumXY - total + xy : xy - total + sumXY
    sumXY = total
    const xx = x * x
    total = sumXX + xx
    lostXX += Math.abs(sumXX) >= Math.abs(xx) ? sumXX - total + xx : xx - total + sumXX
    sumXX = total
  }
  if (constant) {
    line.slope = Number.isFinite(initial) ? 0 : Number.NaN
    line.intercept = Number.isFinite(initial) ? initial : Number.NaN
    return
  }
  sumX += lostX
  sumY += lostY
  sumXY += lostXY
  sumXX += lostXX
  const covariance = sumXY - (sumX * sumY) / n
  const variance = sumXX - (sumX * sumX) / n
  line.slope = covariance / variance
  line.intercept = sumY / n - (line.slope * sumX) / n
}

/** Holt's linear trend method, with the smoothing and trend factors between 0 and 1. */
const smoothing: Make = (_ctx, _range, params) => ({
  least: 2,
  compute({ values, from, to, step }) {
    const sf = params[0]![step]!
    const tf = params[1]![step]!
    let s0 = 0
    let s1 = values[from]!
    let b = values[from + 1]! - values[from]!
    for (let i = from + 1; i < to; i++) {
      const x = sf * values[i]!
      if (i > from + 1) b = tf * (s1 - s0) + (1 - tf) * b
      const y = (1 - sf) * (s1 + b)
      s0 = s1
      s1 = x + y
    }
    return s1
  },
})

function extreme(better: (value: number, best: number) => boolean, time: boolean): Make {
  return each(({ times, values, from, to }) => {
    let at = from
    for (let i = from; i < to; i++) if (better(values[i]!, values[at]!) || Number.isNaN(values[at]!)) at = i
    return time ? times[at]! / 1000 : values[at]!
  })
}

function variance({ values, from, to }: Window): number {
  let count = 0
  let mean = 0
  let lostMean = 0
  let squares = 0
  let lostSquares = 0
  for (let i = from; i < to; i++) {
    const value = values[i]!
    count++
    const delta = value - (mean + lostMean)
    const share = delta / count
    let total = mean + share
    lostMean += Math.abs(mean) >= Math.abs(share) ? mean - total + share : share - total + mean
    mean = total
    const square = delta * (value - (mean + lostMean))
    total = squares + square
    lostSquares += Math.abs(squares) >= Math.abs(square) ? squares - total + square : square - total + squares
    squares = total
  }
  return (squares + lostSquares) / count
}

/** A copy of a window that may be sorted. */
let sortBuffer = new Float64Array(256)
function copyWindow({ values, from, to }: Window): Float64Array {
  if (sortBuffer.length < to - from) sortBuffer = new Float64Array((to - from) * 2)
  sortBuffer.set(values.subarray(from, to))
  return sortBuffer
}

function compensatedSum({ values, from, to }: Window): number {
  let sum = 0
  let lost = 0
  for (let i = from; i < to; i++) {
    const value = values[i]!
    const total = sum + value
    lost += Math.abs(sum) >= Math.abs(value) ? sum - total + value : value - total + sum
    sum = total
  }
  return Number.isFinite(sum) ? sum + lost : sum
}

const table: Readonly<Record<string, Make>> = {
  rate: extrapolated(true, true),
  increase: extrapolated(true, false),
  delta: extrapolated(false, false),
  irate: instantChange(true),
  idelta: instantChange(false),
  deriv: each((w) => {
    regress(w, w.times[w.from]!)
    return line.slope
  }, 2),
  predict_linear: (_ctx, _range, params) => ({
    least: 2,
    compute(w) {
      regress(w, w.at)
      return line.slope * params[0]![w.step]! + line.intercept
    },
  }),
  holt_winters: smoothing,
  double_exponential_smoothing: smoothing,
  resets: each(({ values, from, to }) => {
    let count = 0
    for (let i = from + 1; i < to; i++) if (values[i]! < values[i - 1]!) count++
    return count
  }),
  changes: each(({ values, from, to }) => {
    let count = 0
    for (let i = from + 1; i < to; i++) {
      const value = values[i]!
      const before = values[i - 1]!
      if (value !== before && !(Number.isNaN(value) && Number.isNaN(before))) count++
    }
    return count
  }),
  count_over_time: each(({ from, to }) => to - from),
  present_over_time: each(() => 1),
  absent_over_time: each(() => 1),
  sum_over_time: each(compensatedSum),
  avg_over_time: each(({ values, from, to }) => compensatedMean(values, from, to)),
  min_over_time: extreme((value, best) => value < best, false),
  max_over_time: extreme((value, best) => value > best, false),
  ts_of_min_over_time: extreme((value, best) => value <= best, true),
  ts_of_max_over_time: extreme((value, best) => value >= best, true),
  first_over_time: each(({ values, from }) => values[from]!),
  last_over_time: each(({ values, to }) => values[to - 1]!),
  ts_of_first_over_time: each(({ times, from }) => times[from]! / 1000),
  ts_of_last_over_time: each(({ times, to }) => times[to - 1]! / 1000),
  stdvar_over_time: each(variance),
  stddev_over_time: each((w) => Math.sqrt(variance(w))),
  quantile_over_time: (_ctx, _range, params) => ({
    least: 1,
    compute: (w) => quantile(params[0]![w.step]!, copyWindow(w), w.to - w.from),
  }),
  mad_over_time: each((w) => {
    const n = w.to - w.from
    const median = quantile(0.5, copyWindow(w), n)
    for (let i = 0; i < n; i++) sortBuffer[i] = Math.abs(w.values[w.from + i]! - median)
    return quantile(0.5, sortBuffer, n)
  }),
}

/** After so many samples in windows, whether the query is to stop is looked at within a series, too. */
const SAMPLES_UNCHECKED = 100_000

/** Evaluates a call whose argument is a range. `params` are its scalar arguments in order. */
export function rangeFunction(
  ctx: Context,
  call: Call,
  ranges: Ranges,
  params: readonly Float64Array[],
  grid: Grid,
): Vector {
  const { name } = call.fn
  const range = call.args.find((arg) => arg.type === 'matrix')!
  if (ranges.extended) return extendedFunction(ctx, call, ranges, grid)
  const made = table[name]!(ctx, ranges.rangeMs, params)
  const closed = ctx.dialect === 2
  let checked = false
  let noted = ''
  const vector: Vector = {
    metrics: ranges.metrics,
    nameFree: ranges.nameFree,
    fill(index, into) {
      if (!checked) checkParameters(ctx, call, params, grid)
      checked = true
      const { times, values, length } = ranges.load(index)
      made.prepare?.(values, length)
      const w: Window = { times, values, length, from: 0, to: 0, begin: 0, end: 0, at: 0, step: 0 }
      let walked = 0
      let from = 0
      let to = 0
      let strideFrom = 0
      let strideTo = 0
      for (let k = 0; k < grid.count; k++) {
        const end = ranges.first + k * ranges.step
        const begin = end - ranges.rangeMs
        const nextTo = firstPast(times, to, length, end, strideTo)
        strideTo = nextTo - to
        to = nextTo
        const nextFrom = closed
          ? firstFrom(times, from, to, begin, strideFrom)
          : firstPast(times, from, to, begin, strideFrom)
        strideFrom = nextFrom - from
        from = nextFrom
        w.from = from
        w.to = to
        if (to - from < made.least) {
          into.present[k] = 0
          continue
        }
        w.begin = begin
        w.end = end
        w.at = timeAt(grid, k)
        w.step = k
        into.present[k] = 1
        into.values[k] = made.compute(w)
        walked += to - from
        if (walked > SAMPLES_UNCHECKED) {
          walked = 0
          ctx.env.checkpoint()
        }
      }
      if (name === 'rate' || name === 'increase')
        noted = noteNonCounter(ctx, ranges, index, into, grid.count, range.span, noted)
    },
  }
  // Of absent_over_time only the presence counts: two series that are the same without their names do no harm.
  return keepsName.has(name) || name === 'absent_over_time' ? vector : dropNames(ctx, vector, grid.count)
}

function checkParameters(ctx: Context, call: Call, params: readonly Float64Array[], grid: Grid): void {
  const { name } = call.fn
  if (name === 'holt_winters' || name === 'double_exponential_smoothing') {
    for (let k = 0; k < grid.count; k++) {
      const sf = params[0]![k]!
      const tf = params[1]![k]!
      if (sf <= 0 || sf >= 1) ctx.fail(`invalid smoothing factor. Expected: 0 < sf < 1, got: ${sf.toFixed(6)}`)
      if (tf <= 0 || tf >= 1) ctx.fail(`invalid trend factor. Expected: 0 < tf < 1, got: ${tf.toFixed(6)}`)
    }
  }
  if (name === 'quantile_over_time') {
    for (let k = 0; k < grid.count; k++) {
      const q = params[0]![k]!
      if (!(q >= 0 && q <= 1))
        ctx.warn(`quantile value should be between 0 and 1, got ${formatShort(q)}`, call.args[0]!.span)
    }
  }
}

const counterSuffix = /_(total|sum|count|bucket)$/

/** `noted`: the name that needs no further look, mostly that of the series before. Returns what it then is. */
function noteNonCounter(
  ctx: Context,
  ranges: Ranges,
  index: number,
  column: Column,
  count: number,
  span: Call['span'],
  noted: string,
): string {
  const name = labelValueOf(ranges.metrics[index]!.labels, METRIC_NAME)
  if (name === noted) return noted
  if (name === '' || counterSuffix.test(name)) return name
  const first = column.present.indexOf(1)
  if (first < 0 || first >= count) return noted
  ctx.info(`metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ${quote(name)}`, span)
  return name
}

// ------------------------------------------------------------------------------- anchored and smoothed ranges

const anchoredFunctions = ['changes', 'delta', 'increase', 'rate', 'resets']
const smoothedFunctions = ['delta', 'increase', 'rate']

/** A straight line at `at` between samples i and i+1; a counter that went down rises from zero. */
function interpolate(times: Float64Array, values: Float64Array, i: number, at: Millis, counter: boolean): number {
  const right = values[i + 1]!
  const left = counter && right < values[i]! ? 0 : values[i]!
  return left + ((right - left) * (at - times[i]!)) / (times[i + 1]! - times[i]!)
}

/**
 * rate, increase, delta, resets and changes over a range that reaches past its bounds: `anchored` counts from the last
 * sample at or before the begin, `smoothed` from values interpolated at begin and end. Nothing is extrapolated.
 */
function extendedFunction(ctx: Context, call: Call, ranges: Ranges, grid: Grid): Vector {
  const { name } = call.fn
  const smoothed = ranges.extended === 'smoothed'
  const allowed = smoothed ? smoothedFunctions : anchoredFunctions
  if (!allowed.includes(name))
    ctx.fail(`${ranges.extended} modifier can only be used with: ${allowed.join(', ')} - not with ${name}`)
  const counter = name !== 'delta'
  const lookback = ctx.env.lookbackMs
  const vector: Vector = {
    metrics: ranges.metrics,
    nameFree: ranges.nameFree,
    fill(index, into) {
      const { times, values, length } = ranges.load(index)
      let low = 0
      let high = 0
      for (let k = 0; k < grid.count; k++) {
        into.present[k] = 0
        const end = ranges.first + k * ranges.step
        const begin = end - ranges.rangeMs
        const reach = smoothed ? end + lookback : end
        while (low < length && times[low]! <= begin - lookback) low++
        if (high < low) high = low
        while (high < length && times[high]! <= reach) high++
        const value = extendedValue(times, values, low, high, begin, end, name, smoothed, counter)
        if (value === null) continue
        into.present[k] = 1
        into.values[k] = name === 'rate' ? value / (ranges.rangeMs / 1000) : value
      }
    },
  }
  return dropNames(ctx, vector, grid.count)
}

function extendedValue(
  times: Float64Array,
  values: Float64Array,
  low: number,
  high: number,
  begin: Millis,
  end: Millis,
  name: string,
  smoothed: boolean,
  counter: boolean,
): number | null {
  if (high <= low) return null
  let last = high - 1
  let first = low
  while (first < last && times[first + 1]! <= begin) first++
  if (smoothed) {
    last = low
    while (last < high - 1 && times[last]! < end) last++
  }
  if (times[last]! <= begin) return null
  if (name === 'resets' || name === 'changes') {
    let count = 0
    for (let i = first + 1; i <= last; i++) {
      const value = values[i]!
      const before = values[i - 1]!
      if (name === 'resets' ? value < before : value !== before && !(Number.isNaN(value) && Number.isNaN(before)))
        count++
    }
    return count
  }
  const left =
    smoothed && times[first]! < begin && first + 1 < high
      ? interpolate(times, values, first, begin, counter)
      : values[first]!
  const right =
    smoothed && last > low && times[last]! > end ? interpolate(times, values, last - 1, end, counter) : values[last]!
  let result = right - left
  if (!counter) return result
  let before = left
  const from = times[first]! <= begin ? first + 1 : first
  const to = times[last]! >= end ? last - 1 : last
  for (let i = from; i <= to; i++) {
    if (values[i]! < before) result += before
    before = values[i]!
  }
  if (right < before) result += before
  return result
}

/** The samples of an anchored or smoothed range as they are: those between its ends, and one made at each end. */
export function extendedSamples(
  { times, values, length }: SampleBuffer,
  begin: Millis,
  end: Millis,
  smoothed: boolean,
  lookback: Millis,
  into: SampleBuffer,
): void {
  into.length = 0
  if (into.times.length < length + 2) Object.assign(into, sampleBuffer(length + 2))
  let low = 0
  while (low < length && times[low]! <= begin - lookback) low++
  let high = low
  while (high < length && times[high]! <= (smoothed ? end + lookback : end)) high++
  if (high === low) return
  let first = low
  while (first < high - 1 && times[first + 1]! <= begin) first++
  let last = high - 1
  if (smoothed) {
    last = low
    while (last < high - 1 && times[last]! < end) last++
  }
  if (times[last]! <= begin) return
  const put = (time: Millis, value: number) => {
    into.times[into.length] = time
    into.values[into.length++] = value
  }
  const between = smoothed && times[first]! < begin && first + 1 < high
  put(begin, between ? interpolate(times, values, first, begin, false) : values[first]!)
  for (let i = first; i <= last; i++) if (times[i]! > begin && times[i]! < end) put(times[i]!, values[i]!)
  const past = smoothed && last > low && times[last]! > end
  put(end, past ? interpolate(times, values, last - 1, end, false) : values[last]!)
}
