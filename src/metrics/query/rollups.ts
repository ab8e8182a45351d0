/**
 * Windows that reach behind what is kept of raw samples. Roll-ups hold, for buckets of five minutes or an hour, the
 * least, the largest, the sum and the number of the samples in [t, t + step): enough for five functions, for windows that
 * begin and end where buckets do.
 *
 *     ├─ buckets ─┼─ buckets ─┼─ raw ──────┤        a window: [begin, boundary) from buckets, the rest from raw samples
 *   begin                  boundary       end
 *
 * A window that ends in the time of buckets is [begin, end): whether a sample stood at its very end is no longer known.
 * Every other window sees raw samples alone, and the answer says so in a warning.
 */
import type { Millis } from '../../base/time.ts'
import { HOUR, MINUTE, toIso } from '../../base/time.ts'
import type { RollupColumns, SeriesColumns } from '../metrics.ts'
import type { Call, Span, VectorSelector } from './ast.ts'
import type { Context, Grid } from './context.ts'
import { dropStale } from './context.ts'
import type { Vector } from './vector.ts'
import { dropNames } from './vector.ts'

const STEPS = [HOUR, 5 * MINUTE]
const functions = new Set(['min_over_time', 'max_over_time', 'sum_over_time', 'count_over_time', 'avg_over_time'])

/** What is looked at to find out whether there ever was something older. */
const PROBED_MAX = 3

/** Says that a selector reaches behind what is kept, when there was something. */
export function warnOfMissing(ctx: Context, series: readonly SeriesColumns[], from: Millis, span: Span): void {
  const { reader } = ctx.env
  const since = reader.rawSince()
  if (from >= since || series.length === 0) return
  const rolled = series.slice(0, PROBED_MAX).some((one) => (reader.readRollup(one, HOUR, from, since)?.length ?? 0) > 0)
  if (!rolled) return
  ctx.warn(
    `samples before ${toIso(since)} are kept as roll-ups alone, which serve min, max, sum, count and avg_over_time of windows ` +
      'that begin and end at multiples of 5m; this part of the query sees nothing before',
    span,
  )
}

export interface RolledRange {
  readonly selector: VectorSelector
  readonly series: readonly SeriesColumns[]
  readonly rangeMs: Millis
  /** End of the first window, and how far windows move. */
  readonly first: Millis
  readonly step: Millis
}

/** The function over buckets and raw samples; null when raw samples suffice or buckets do not fit. */
export function rolledFunction(ctx: Context, call: Call, range: RolledRange, grid: Grid): Vector | null {
  const { reader } = ctx.env
  const { series, rangeMs, first, step } = range
  const since = reader.rawSince()
  const from = first - rangeMs
  if (from >= since || !functions.has(call.fn.name)) return null
  const fits = STEPS.filter((size) => [first, step, rangeMs].every((ms) => ms % size === 0))
  const stepMs = fits.find((size) =>
    series.slice(0, PROBED_MAX).some((one) => (reader.readRollup(one, size, from, since)?.length ?? 0) > 0),
  )
  if (stepMs === undefined) return null
  const boundary = Math.ceil(since / stepMs) * stepMs
  const last = first + step * (grid.count - 1)
  const closed = ctx.dialect === 2
  const vector: Vector = {
    metrics: series.map(({ labels }) => ({ labels, dropName: false })),
    nameFree: range.selector.matchers.some((m) => m.name === '__name__' && m.op === '='),
    fill(index, into) {
      const one = series[index]!
      const rows = reader.readRollup(one, stepMs, from, Math.min(last, boundary) - 1)
      ctx.count(rows?.length ?? 0)
      const raw = ctx.read(one, Math.max(from, boundary), last)
      dropStale(raw)
      const window = new Figures()
      let low = 0
      let high = 0
      let row = 0
      for (let k = 0; k < grid.count; k++) {
        const end = first + k * step
        const begin = end - rangeMs
        window.clear()
        if (rows) {
          while (row < rows.length && rows.times[row]! < begin) row++
          for (let r = row; r < rows.length && rows.times[r]! < Math.min(end, boundary); r++) window.bucket(rows, r)
        }
        while (high < raw.length && raw.times[high]! <= end) high++
        while (low < high && (raw.times[low]! < begin || (!closed && raw.times[low] === begin && begin >= boundary)))
          low++
        for (let i = low; i < high; i++) window.sample(raw.values[i]!)
        into.present[k] = window.count > 0 ? 1 : 0
        into.values[k] = window.result(call.fn.name)
      }
    },
  }
  return dropNames(ctx, vector, grid.count)
}

class Figures {
  count = 0
  #sum = 0
  #lost = 0
  #min = Number.NaN
  #max = Number.NaN

  clear(): void {
    this.count = 0
    this.#sum = 0
    this.#lost = 0
    this.#min = Number.NaN
    this.#max = Number.NaN
  }

  bucket(rows: RollupColumns, r: number): void {
    this.count += rows.count[r]!
    this.#add(rows.sum[r]!)
    this.#spread(rows.min[r]!, rows.max[r]!)
  }

  sample(value: number): void {
    this.count++
    this.#add(value)
    this.#spread(value, value)
  }

  #add(value: number): void {
    const total = this.#sum + value
    if (Number.isFinite(total))
      this.#lost += Math.abs(this.#sum) >= Math.abs(value) ? this.#sum - total + value : value - total + this.#sum
    else this.#lost = 0
    this.#sum = total
  }

  #spread(min: number, max: number): void {
    if (min < this.#min || Number.isNaN(this.#min)) this.#min = min
    if (max > this.#max || Number.isNaN(this.#max)) this.#max = max
  }

  result(name: string): number {
    switch (name) {
      case 'count_over_time':
        return this.count
      case 'min_over_time':
        return this.#min
      case 'max_over_time':
        return this.#max
      case 'sum_over_time':
        return this.#sum + this.#lost
      default:
        return (this.#sum + this.#lost) / this.count
    }
  }
}
