/**
 * What the training thread does for each metric: fit when it is time, forecast from the newest history, and, before
 * there is a record of live forecasts, make one on held-out data: a model fitted on all but the last part forecasts from
 * origins in that part, so that it is judged on later data than it was trained on.
 *
 * Pure computing on columns; the thread around it is `app/training-worker.ts`.
 */
import type { Millis } from '../base/time.ts'
import { DAY, MINUTE } from '../base/time.ts'
import {
  candidates,
  type ForecastModel,
  fitModel,
  type HorizonForecast,
  predict,
  type StepSeries,
  stepSeries,
} from './forecasters/index.ts'
import { BIN_MS } from './insights/insight.ts'
import type { Outcome } from './track-record.ts'

export interface TrainJob {
  readonly metric: string
  /** Starts of five-minute bins, ascending, gaps left out; the last bin is full. */
  readonly times: Float64Array
  readonly values: Float64Array
  readonly horizons: readonly number[]
  readonly bounds: { readonly min?: number; readonly max?: number }
  /** The model in use; null: fit one. */
  readonly model: ForecastModel | null
  /** Whether a record is wanted. */
  readonly judge: boolean
}

/** What plain guesses say at the same moment. */
export interface Guesses {
  readonly naive: number
  readonly seasonal: number | null
  readonly mean: number
}

/** The forecaster's own forecast, and what serves in its place when it is withdrawn. */
export interface Candidate extends HorizonForecast {
  readonly guesses: Guesses
  readonly naive: HorizonForecast
  readonly seasonal: HorizonForecast | null
}

export interface TrainResult {
  readonly metric: string
  readonly model: ForecastModel
  readonly fitted: boolean
  /** Start of the newest bin: the origin. */
  readonly origin: Millis
  readonly samples: number
  readonly forecasts: readonly Candidate[]
  /** By horizon. */
  readonly judged: readonly { readonly horizon: number; readonly outcomes: readonly Outcome[] }[]
}

/** Origins in the held-out part, and how much of the history that is at most. */
const ORIGINS = 48
const HELD_OUT = 0.3
const BINS_A_DAY = DAY / BIN_MS
/** With less history than this no part can be spared for judging. */
const JUDGE_FROM_BINS = 72

/** Null when there is nothing to forecast from. */
export function train(job: TrainJob): TrainResult | null {
  const series = stepSeries(job.times, job.values, BIN_MS)
  if (!series) return null
  const options = { horizons: job.horizons, bounds: job.bounds }
  const model = job.model ?? fitModel(series, options)
  const last = series.values.length - 1
  return {
    metric: job.metric,
    model,
    fitted: job.model === null,
    origin: (series.firstStep + last) * BIN_MS,
    samples: series.values.reduce((n, v) => n + Number(!Number.isNaN(v)), 0),
    forecasts: candidates(model, series).map(({ own, naive, seasonal }) => ({
      ...own,
      guesses: guessesAt(series.values, last, steps(own.horizon)),
      naive,
      seasonal,
    })),
    judged: job.judge ? judge(series, job) : [],
  }
}

const steps = (horizonMinutes: number) => Math.max(1, Math.round((horizonMinutes * MINUTE) / BIN_MS))

function judge(series: StepSeries, job: TrainJob): TrainResult['judged'] {
  const { values } = series
  const n = values.length
  if (n < JUDGE_FROM_BINS) return []
  const first = n - Math.min(BINS_A_DAY, Math.floor(n * HELD_OUT))
  const until = (end: number): StepSeries => ({ ...series, values: values.subarray(0, end + 1) })
  const known = lastValue(values, first)
  if (known < 12) return []
  const model = fitModel(until(known), { horizons: job.horizons, bounds: job.bounds })
  const outcomes = new Map<number, Outcome[]>(job.horizons.map((h) => [h, []]))
  // Where the part is short every step of it is an origin, none twice.
  const origins = Math.min(ORIGINS, n - 1 - first)
  for (let k = 0; k < origins; k++) {
    const origin = first + Math.floor((k * (n - 1 - first)) / origins)
    if (Number.isNaN(values[origin]!)) continue
    for (const forecast of predict(model, until(origin))) {
      const target = origin + steps(forecast.horizon)
      const actual = target < n ? values[target]! : Number.NaN
      if (Number.isNaN(actual)) continue
      outcomes
        .get(forecast.horizon)
        ?.push(outcomeOf(forecast, guessesAt(values, origin, steps(forecast.horizon)), actual))
    }
  }
  return [...outcomes].map(([horizon, made]) => ({ horizon, outcomes: made }))
}

function lastValue(values: Float64Array, before: number): number {
  let at = before - 1
  while (at >= 0 && Number.isNaN(values[at]!)) at--
  return at
}

export function outcomeOf(
  forecast: Pick<HorizonForecast, 'mean' | 'lower80' | 'upper80' | 'lower95' | 'upper95'>,
  guesses: Guesses,
  actual: number,
): Outcome {
  return {
    error: Math.abs(forecast.mean - actual),
    naive: Math.abs(guesses.naive - actual),
    seasonal: guesses.seasonal === null ? null : Math.abs(guesses.seasonal - actual),
    mean: Math.abs(guesses.mean - actual),
    in80: actual >= forecast.lower80 && actual <= forecast.upper80,
    in95: actual >= forecast.lower95 && actual <= forecast.upper95,
  }
}

/** `values[origin]` is a value. */
function guessesAt(values: Float64Array, origin: number, ahead: number): Guesses {
  const dayAgo = values[origin + ahead - BINS_A_DAY * Math.max(1, Math.ceil(ahead / BINS_A_DAY))]
  let sum = 0
  let count = 0
  for (let i = Math.max(0, origin - BINS_A_DAY + 1); i <= origin; i++) {
    if (Number.isNaN(values[i]!)) continue
    count++
    sum += (values[i]! - sum) / count
  }
  return { naive: values[origin]!, seasonal: dayAgo === undefined || Number.isNaN(dayAgo) ? null : dayAgo, mean: sum }
}
