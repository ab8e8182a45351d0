/**
 * The forecaster: for each horizon its own regression by least absolute deviations (`lad.ts`) on what is known at the
 * origin (`features.ts`), and its own intervals from residuals of a rolling origin.
 *
 *   samples ─▶ steps ─▶ link (log, asinh, plain) ─▶ one regression a horizon ─▶ pull towards "no change"
 *                                     residuals on later blocks ─▶ local scale ─▶ quantiles ─▶ intervals ─▶ bounds
 *
 * `fitModel` is the dear part, `predict` the cheap one; a model fitted once may predict from any later history of the
 * same series. No clock, no randomness: the same history gives the same numbers.
 */
import type { DesignOptions, Factor, Shape } from './features.ts'
import { design, shapeOf } from './features.ts'
import { fitLad, solve } from './lad.ts'
import type { Bounds, Link } from './link.ts'
import { boundsOf, chooseLink, linked, unlinked } from './link.ts'
import { findPeriod } from './periods.ts'
import type { StepSeries } from './series.ts'

export interface ForecastOptions {
  /** Minutes ahead, each more than 0. */
  readonly horizons: readonly number[]
  /** Ends the value cannot pass, where they are known. */
  readonly bounds?: Bounds
}

export interface HorizonForecast {
  /** Minutes ahead of the origin. */
  readonly horizon: number
  /** The median: as often above as below. */
  readonly mean: number
  readonly lower80: number
  readonly upper80: number
  readonly lower95: number
  readonly upper95: number
  /** Against the mean of the last half hour; `stable` when inside the middle quarter of the 80 % interval. */
  readonly trend: 'increasing' | 'decreasing' | 'stable'
  /** What the forecast rests on; shares that sum to 1. */
  readonly factors: Readonly<Record<Factor, number>>
  /** `regression` by least absolute deviations, or a baseline that was better or all there is history for. */
  readonly model: 'regression' | 'last-value' | 'same-time-yesterday'
}

/** All that a fit learnt; plain data, fit for JSON. */
export interface ForecastModel {
  readonly link: Link
  /** Ends of the values; null: none. */
  readonly min: number | null
  readonly max: number | null
  /** Zero point and unit on the linked scale. */
  readonly centre: number
  readonly unit: number
  /** Range of the values seen; forecasts go past it by no more than its width. */
  readonly low: number
  readonly high: number
  readonly stepMs: number
  /** Steps in the history of the fit, which decide the columns. */
  readonly steps: number
  readonly samples: number
  readonly shape: Shape
  readonly horizons: readonly HorizonModel[]
}

export interface HorizonModel {
  readonly horizon: number
  /** Steps ahead. */
  readonly k: number
  /** Empty: the last value is the forecast. */
  readonly beta: readonly number[]
  /** Coefficients of the logarithm of the local scale. */
  readonly spread: readonly number[]
  /** Of the residuals, in local scales. */
  readonly quantiles: Quantiles
  readonly factors: Readonly<Record<Factor, number>>
  /** Quantiles of what the baselines miss by, in units. */
  readonly naive: Quantiles
  readonly seasonal: Quantiles | null
}

/** At 2.5, 10, 90 and 97.5 %. */
export type Quantiles = readonly [number, number, number, number]

/** What the fit is made of; the bench takes parts away to see what each brings. */
export interface Tuning {
  /** Learning rows: every step of the newest days, every few of the rest. */
  readonly denseDays: number
  readonly sparseStride: number
  readonly passes: number
  readonly roughPasses: number
  /** Passes where the coefficients of the horizon before are the first guess. */
  readonly warm: { readonly passes: number; readonly roughPasses: number }
  /** Residuals below this, in typical steps, count as squares. */
  readonly foot: number
  readonly ridge: number
  /** Blocks of the rolling origin, at most; each is several horizons long. */
  readonly blocks: number
  readonly design: DesignOptions
  /** Whether a period is looked for. */
  readonly found: boolean
  readonly link: boolean
  readonly shrink: boolean
  readonly localScale: boolean
  /** Share of a horizon that neighbouring residuals have in common. */
  readonly overlap: number
  /** How far the local scale follows its regression, 0 to 1. */
  readonly localShare: number
  /** Levels of the intervals move no further out than this share of their tail. */
  readonly tail: number
}

export const TUNING: Tuning = {
  denseDays: 2,
  sparseStride: 4,
  passes: 3,
  roughPasses: 5,
  warm: { passes: 2, roughPasses: 1 },
  foot: 0.2,
  ridge: 1e-4,
  blocks: 10,
  design: { harmonics: 8, periods: [60, 120] },
  found: true,
  link: true,
  shrink: true,
  localScale: true,
  overlap: 1,
  localShare: 0.7,
  tail: 0.6,
}

const LEVELS = [0.025, 0.1, 0.9, 0.975] as const
/** Fewer rows than this a column: no regression. */
const ROWS_PER_COLUMN = 3
/** Fewer independent residuals: no interval of the regression's own. */
const INDEPENDENT_MIN = 3
const ONLY_DAILY: Readonly<Record<Factor, number>> = { level: 0, trend: 0, daily: 1, weekly: 0, period: 0 }
const ONLY_LEVEL: Readonly<Record<Factor, number>> = { level: 1, trend: 0, daily: 0, weekly: 0, period: 0 }

/** Learns one series. Any finite history is accepted; a constant or very short one gives the last value. */
export function fitModel(series: StepSeries, options: ForecastOptions, tuning: Tuning = TUNING): ForecastModel {
  const { values, firstStep, stepMs } = series
  const n = values.length
  const bounds = boundsOf(values, options.bounds ?? {})
  const link: Link = tuning.link ? chooseLink(values) : { kind: 'plain' }
  const { centre, unit, z, seen, low, high, samples } = standardise(series, link)
  const ks = options.horizons.map((minutes) => Math.max(1, Math.round((minutes * 60_000) / stepMs)))
  const day = Math.round(86_400_000 / stepMs)
  const shape = shapeOf(n, stepMs, tuning.design, tuning.found ? (findPeriod(z, day)?.steps ?? null) : null)
  const frame = design(z, firstStep, stepMs, shape)
  const local = localScales(z, stepMs)
  let start = new Float64Array(0)
  const horizons = options.horizons.map((horizon, h): HorizonModel => {
    const k = ks[h]!
    const kinds = frame.columns
    const p = kinds.length
    const rows = originRows(seen, n, k, stepMs, tuning)
    const plain = lastValueModel(horizon, k, z, seen, rows, day)
    if (rows.length < ROWS_PER_COLUMN * p || low === high) return plain
    const N = rows.length
    const x = new Float64Array(N * p)
    const y = new Float64Array(N)
    for (let r = 0; r < N; r++) {
      const i = rows[r]!
      frame.fill(i, k, x, r * p)
      y[r] = z[i + k]! - z[i]!
    }
    const warm = start.length === p
    if (!warm) start = new Float64Array(p)
    const weight = new Float64Array(N).fill(1)
    const fit = fitLad(
      { x, y, weight, rows: N, columns: p, ...tuning, ...(warm ? tuning.warm : {}) },
      start,
      Math.max(4, Math.min(tuning.blocks, Math.floor(N / (5 * k)))),
      rows,
      k,
    )
    const pull = tuning.shrink ? shrinkage(y, fit.later) : 1
    for (let r = 0; r < N; r++) fit.later[r] = y[r]! - pull * (y[r]! - fit.later[r]!)
    const band = intervals(fit.later, rows, k, local, tuning)
    if (band === null) return plain
    const beta = Array.from(fit.beta, (b) => pull * b)
    return { ...plain, ...band, beta, factors: shares(x, N, p, fit.beta, kinds) }
  })
  return { link, ...bounds, centre, unit, low, high, stepMs, steps: n, samples, shape, horizons }
}

/** One horizon's forecast, and those of the two plain methods it has to beat. */
export interface Candidates {
  readonly own: HorizonForecast
  /** The last value. */
  readonly naive: HorizonForecast
  /** The value at the target's time yesterday; null with too little history. */
  readonly seasonal: HorizonForecast | null
}

/** Forecasts from the end of `series` by a model fitted on the same history or an earlier part of it. */
export function predict(model: ForecastModel, series: StepSeries): HorizonForecast[] {
  return candidates(model, series).map(({ own }) => own)
}

/** As `predict`, with the baselines beside. */
export function candidates(model: ForecastModel, series: StepSeries): Candidates[] {
  const { link, centre, unit } = model
  const n = series.values.length
  const { z } = filled(series, link, centre, unit)
  const frame = design(z, series.firstStep, series.stepMs, model.shape)
  const local = localScales(z, series.stepMs)
  const day = Math.round(86_400_000 / series.stepMs)
  const width = model.high - model.low
  const last = finite(series.values[n - 1]!)
  // A model may meet values outside the range it was fitted on.
  const low = Math.min(model.low, last) - width
  const high = Math.max(model.high, last) + width
  const back = (v: number) => {
    const value = Math.min(high, Math.max(low, finite(unlinked(link, centre + unit * v))))
    return Math.min(model.max ?? Infinity, Math.max(model.min ?? -Infinity, finite(value)))
  }
  const now = z[n - 1]!
  let recent = 0
  const since = Math.max(0, n - 6)
  for (let i = since; i < n; i++) recent += z[i]! / (n - since)
  const row = new Float64Array(frame.columns.length)
  return model.horizons.map(({ horizon, k, beta, spread, quantiles, factors, naive, seasonal }) => {
    const around = (m: number, [q025, q10, q90, q975]: Quantiles, s: number, name: HorizonForecast['model']) => {
      const mean = back(m)
      const lower80 = Math.min(mean, back(m + q10 * s))
      const upper80 = Math.max(mean, back(m + q90 * s))
      const lower95 = Math.min(lower80, back(m + q025 * s))
      const upper95 = Math.max(upper80, back(m + q975 * s))
      const still = (0.25 * (q90 - q10) * s) / 2
      const trend: HorizonForecast['trend'] =
        m - recent > still ? 'increasing' : recent - m > still ? 'decreasing' : 'stable'
      const basis = name === 'regression' ? factors : name === 'same-time-yesterday' ? ONLY_DAILY : ONLY_LEVEL
      return { horizon, mean, lower80, upper80, lower95, upper95, trend, factors: basis, model: name }
    }
    const plain = around(now, naive, 1, 'last-value')
    const then = n - 1 + k - day * Math.ceil(k / day)
    let own = plain
    if (beta.length > 0) {
      frame.fill(n - 1, k, row, 0)
      let change = 0
      for (let j = 0; j < row.length; j++) change += row[j]! * beta[j]!
      own = around(now + finite(change), quantiles, localScale(local, spread, n - 1, k), 'regression')
    }
    return {
      own,
      naive: plain,
      seasonal: seasonal !== null && then >= 0 ? around(z[then]!, seasonal, 1, 'same-time-yesterday') : null,
    }
  })
}

interface Standardised {
  readonly z: Float64Array
  /** 1 where the step had a sample. */
  readonly seen: Uint8Array
}

/** Linked, centred, in units; a gap holds the last value. */
function filled(series: StepSeries, link: Link, centre: number, unit: number): Standardised {
  const n = series.values.length
  const z = new Float64Array(n)
  const seen = new Uint8Array(n)
  let held = 0
  for (let i = 0; i < n; i++)
    if (Number.isFinite(series.values[i]!)) {
      held = i
      break
    }
  let value = (linked(link, series.values[held]!) - centre) / unit
  for (let i = 0; i < n; i++) {
    if (Number.isFinite(series.values[i]!)) {
      value = (linked(link, series.values[i]!) - centre) / unit
      seen[i] = 1
    }
    z[i] = value
  }
  return { z, seen }
}

function standardise(series: StepSeries, link: Link) {
  const { values } = series
  const all = new Float64Array(values.length)
  let count = 0
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) all[count++] = linked(link, values[i]!)
  const v = all.subarray(0, count)
  const steps = new Float64Array(Math.max(0, v.length - 1))
  let meanStep = 0
  for (let i = 0; i < steps.length; i++) {
    steps[i] = Math.abs(v[i + 1]! - v[i]!)
    meanStep += steps[i]! / steps.length
  }
  steps.sort()
  v.sort()
  const centre = v[v.length >> 1]!
  const typical = Math.max(steps[steps.length >> 1] ?? 0, 0.01 * meanStep)
  const unit = typical > 0 && typical < Infinity ? typical : 1
  const low = unlinked(link, v[0]!)
  const high = unlinked(link, v[v.length - 1]!)
  return { centre, unit, low, high, samples: v.length, ...filled(series, link, centre, unit) }
}

/** Origins for learning, oldest first: origin and target must be samples. */
function originRows(seen: Uint8Array, n: number, k: number, stepMs: number, tuning: Tuning): Int32Array {
  const from = Math.min(24, n >> 2)
  const denseFrom = n - Math.floor((tuning.denseDays * 86_400_000) / stepMs)
  const rows: number[] = []
  for (let i = n - 1 - k; i >= from; i -= i > denseFrom ? 1 : tuning.sparseStride)
    if (seen[i] && seen[i + k]) rows.push(i)
  return Int32Array.from(rows.reverse())
}

/**
 * How much of the regression's change to believe, 0 to 1: the factor with the least absolute error on later blocks
 * (a weighted median of ratios).
 */
function shrinkage(y: Float64Array, later: Float64Array): number {
  const ratios = new Float64Array(y.length)
  const weights = new Float64Array(y.length)
  let m = 0
  let total = 0
  for (let r = 0; r < y.length; r++) {
    const predicted = y[r]! - later[r]!
    const weight = Math.abs(predicted)
    if (!(weight > 1e-9)) continue
    ratios[m] = y[r]! / predicted
    weights[m++] = weight
    total += weight
  }
  // Only whether the median lies in [0, 1], and where: what is outside needs no order.
  let below = 0
  const inside: number[] = []
  for (let i = 0; i < m; i++) {
    if (ratios[i]! <= 0) below += weights[i]!
    else if (ratios[i]! < 1) inside.push(i)
  }
  if (m > 0 && below >= total / 2) return 0
  inside.sort((a, b) => ratios[a]! - ratios[b]!)
  for (const i of inside) {
    below += weights[i]!
    if (below >= total / 2) return ratios[i]!
  }
  return 1
}

interface LocalScales {
  readonly fast: Float64Array
  readonly slow: Float64Array
  /** By time of day, running a day past the end; empty without two days. */
  readonly daily: Float64Array
  readonly day: number
  readonly half: number
  readonly z: Float64Array
}

/** How restless the series has been: just now, lately, and at this time on earlier days; as logarithms. */
function localScales(z: Float64Array, stepMs: number): LocalScales {
  const n = z.length
  const fast = new Float64Array(n)
  const slow = new Float64Array(n)
  let a = 1
  let b = 1
  let sum = 0
  const sums = new Float64Array(n + 1)
  for (let i = 0; i < n; i++) {
    const step = i === 0 ? 1 : Math.abs(z[i]! - z[i - 1]!)
    sum += step
    sums[i + 1] = sum
    a += Math.max(0.2, 1 / (i + 1)) * (step - a)
    b += Math.max(0.02, 1 / (i + 1)) * (step - b)
    fast[i] = Math.log(a + 0.1)
    slow[i] = Math.log(b + 0.1)
  }
  const day = Math.round(86_400_000 / stepMs)
  const daily = new Float64Array(n >= 2 * day ? n + day : 0)
  const half = Math.max(1, Math.round(day / 48))
  for (let s = day; s < daily.length; s++) {
    const from = Math.max(0, s - day - half)
    const to = Math.min(n, s - day + half + 1)
    const mean = (sums[to]! - sums[from]!) / (to - from)
    daily[s] = s < 2 * day ? mean : daily[s - day]! + 0.3 * (mean - daily[s - day]!)
  }
  for (let s = 0; s < daily.length; s++) daily[s] = Math.log((s < day ? 1 : daily[s]!) + 0.1)
  return { fast, slow, daily, day, half, z }
}
const SPREAD_COLUMNS = 5

function spreadRow(local: LocalScales, i: number, k: number, out: Float64Array): void {
  const ahead = i + k - local.day * (Math.ceil((k + local.half) / local.day) - 1)
  out[0] = 1
  out[1] = local.fast[i]!
  out[2] = local.slow[i]!
  out[3] = local.daily.length > 0 ? local.daily[Math.max(0, ahead)]! : local.slow[i]!
  out[4] = Math.max(-20, Math.min(20, local.z[i]!)) / 10
}

function localScale(local: LocalScales, spread: readonly number[], i: number, k: number): number {
  if (spread.length === 0) return 1
  const row = new Float64Array(SPREAD_COLUMNS)
  spreadRow(local, i, k, row)
  let sum = 0
  for (let j = 0; j < SPREAD_COLUMNS; j++) sum += row[j]! * spread[j]!
  return Math.exp(Math.max(-20, Math.min(20, sum)))
}

/**
 * Local scale by a regression of log |residual|, then quantiles of the residuals in local scales. `null` when there are
 * too few residuals to know.
 */
function intervals(
  later: Float64Array,
  rows: Int32Array,
  k: number,
  local: LocalScales,
  tuning: Tuning,
): Pick<HorizonModel, 'spread' | 'quantiles'> | null {
  const p = SPREAD_COLUMNS
  const sizes: number[] = []
  for (let r = 0; r < later.length; r++) if (!Number.isNaN(later[r]!)) sizes.push(Math.abs(later[r]!))
  // Neighbouring residuals at k steps share most of their future: so many count as one.
  const independent = sizes.length / (1 + tuning.overlap * k)
  if (independent < INDEPENDENT_MIN) return null
  sizes.sort((a, b) => a - b)
  const foot = 0.1 * (sizes[sizes.length >> 1] ?? 1) + 1e-6
  const gram = new Float64Array(p * p)
  const right = new Float64Array(p)
  const row = new Float64Array(p)
  for (let r = 0; r < later.length; r++) {
    if (Number.isNaN(later[r]!)) continue
    spreadRow(local, rows[r]!, k, row)
    const target = Math.log(Math.abs(later[r]!) + foot)
    for (let j = 0; j < p; j++) {
      right[j] = right[j]! + row[j]! * target
      for (let l = 0; l <= j; l++) gram[j * p + l] = gram[j * p + l]! + row[j]! * row[l]!
    }
  }
  const spread = new Float64Array(p)
  solve(gram, right, p, 0.02, new Float64Array(p * p), spread)
  const list = tuning.localScale ? Array.from(spread, (b) => finite(b * tuning.localShare)) : []
  const ratios = new Float64Array(sizes.length)
  let m = 0
  for (let r = 0; r < later.length; r++) {
    if (!Number.isNaN(later[r]!)) ratios[m++] = later[r]! / localScale(local, list, rows[r]!, k)
  }
  ratios.sort()
  // The levels move outwards as split conformal prediction does for that number of residuals.
  const widen = 1 + 1 / independent
  const q = LEVELS.map((level) => {
    const out = 0.5 + (level - 0.5) * widen
    return (
      widen *
      quantile(ratios, level < 0.5 ? Math.max(out, tuning.tail * level) : Math.min(out, 1 - tuning.tail * (1 - level)))
    )
  })
  return { spread: list, quantiles: q as unknown as Quantiles }
}

/**
 * The last value with the quantiles of its own misses, and yesterday's value with its; where there are too few misses
 * to tell, those of a random walk with the steps seen.
 */
function lastValueModel(
  horizon: number,
  k: number,
  z: Float64Array,
  seen: Uint8Array,
  rows: Int32Array,
  day: number,
): HorizonModel {
  let squares = 0
  let count = 0
  for (let i = 1; i < z.length; i++) {
    if (!seen[i] || !seen[i - 1]) continue
    squares += (z[i]! - z[i - 1]!) ** 2
    count++
  }
  // Few steps say little about the next ones: Gaussian quantiles times 1 + 4/count.
  const wide = count === 0 ? 0 : Math.sqrt((squares / count) * k) * (1 + 4 / count)
  const walk: Quantiles = [-1.96 * wide, -1.2816 * wide, 1.2816 * wide, 1.96 * wide]
  const naive = rows.length >= 10 * k + 50 ? missQuantiles(z, seen, rows, k, k) : null
  return {
    horizon,
    k,
    beta: [],
    spread: [],
    quantiles: walk,
    factors: ONLY_LEVEL,
    naive: naive ?? walk,
    seasonal: missQuantiles(z, seen, rows, k, day * Math.ceil(k / day)),
  }
}

/** Quantiles of z[target] − z[target − lag] over the origins; null with fewer than a hundred. */
function missQuantiles(z: Float64Array, seen: Uint8Array, rows: Int32Array, k: number, lag: number): Quantiles | null {
  const misses = new Float64Array(rows.length)
  let m = 0
  for (let r = 0; r < rows.length; r += rows.length > 600 ? 3 : 1) {
    const target = rows[r]! + k
    if (target >= lag && seen[target - lag]) misses[m++] = z[target]! - z[target - lag]!
  }
  if (m < 100) return null
  const sorted = misses.subarray(0, m).sort()
  return LEVELS.map((level) => quantile(sorted, level)) as unknown as Quantiles
}

/** Mean size of each factor's part of the predicted changes; what stays where it is counts as level. */
function shares(x: Float64Array, rows: number, p: number, beta: Float64Array, kinds: readonly Factor[]) {
  const size: Record<Factor, number> = { level: 0, trend: 0, daily: 0, weekly: 0, period: 0 }
  const of = kinds.map((kind) => FACTORS.indexOf(kind))
  const part = new Float64Array(FACTORS.length)
  const stride = Math.max(1, Math.floor(rows / 100))
  let used = 0
  for (let r = 0; r < rows; r += stride) {
    part.fill(0)
    for (let j = 0; j < p; j++) part[of[j]!] = part[of[j]!]! + x[r * p + j]! * beta[j]!
    for (let f = 0; f < FACTORS.length; f++) size[FACTORS[f]!] += Math.abs(part[f]!)
    used++
  }
  for (const kind of FACTORS) size[kind] /= used
  const total = 1 + size.level + size.trend + size.daily + size.weekly + size.period
  const trend = size.trend / total
  const daily = size.daily / total
  const weekly = size.weekly / total
  const period = size.period / total
  const level = 1 - trend - daily - weekly - period
  return Number.isFinite(total) ? { level, trend, daily, weekly, period } : ONLY_LEVEL
}
const FACTORS = ['level', 'trend', 'daily', 'weekly', 'period'] as const

function quantile(sorted: Float64Array, level: number): number {
  if (sorted.length === 0) return 0
  const x = Math.min(1, Math.max(0, level)) * (sorted.length - 1)
  const i = Math.floor(x)
  return sorted[i]! + (x - i) * ((sorted[i + 1] ?? sorted[i]!) - sorted[i]!)
}

const finite = (v: number): number =>
  Number.isFinite(v) ? v : v === Infinity ? Number.MAX_VALUE : v === -Infinity ? -Number.MAX_VALUE : 0
