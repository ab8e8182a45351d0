/**
 * What a forecast may look at: one row per origin and horizon, each number relative to the value at the origin (so
 * that adding a constant to the series changes nothing) and in units of the series' own typical step.
 *
 *   level    short lags, rolling means, the same minute of earlier hours
 *   trend    the constant and the means over a third of a day and more
 *   daily    yesterday at the target's time, a profile smoothed over the days, harmonics of the day
 *   weekly   last week at the target's time
 *   period   the profile of a period that was found in the series (periods.ts)
 *
 * A row reads values at or before its origin only. Which columns exist depends on the length of the history and on the
 * period found in it at the fit.
 */
export type Factor = 'level' | 'trend' | 'daily' | 'weekly' | 'period'

export interface DesignOptions {
  readonly harmonics: number
  /** Periods, in minutes, whose recent profile is a column. */
  readonly periods: readonly number[]
}

/** Which columns there are: decided at the fit, kept with the model. */
export interface Shape {
  readonly lags: readonly number[]
  readonly means: readonly number[]
  /** Steps of the short periods. */
  readonly rounds: readonly number[]
  /** Steps of the period that was found; null: none. */
  readonly found: number | null
  readonly daily: boolean
  readonly weekly: boolean
  readonly harmonics: number
}

export interface Design {
  /** What each column belongs to; the same at every horizon, an even number. */
  readonly columns: readonly Factor[]
  /** Writes the row of origin `i`, horizon `k` steps, into `out` from `start` on. */
  fill(i: number, k: number, out: Float64Array, start: number): void
}

const LAGS = [1, 2, 3, 4, 5, 6, 8, 11]
const MEANS = [3, 6, 12, 24, 48, 96, 288]
const SLOW_MEAN = 96
const DAY_MINUTES = 1440
/** Weight of the newest day in the daily profile, of the newest round in a short one. */
const PROFILE_GAIN = 0.15
const PROFILE_HALF_WIDTH_MINUTES = 10

/** Columns that a history of `steps` steps can teach; `found` is the period in it, in steps. */
export function shapeOf(steps: number, stepMs: number, options: DesignOptions, found: number | null = null): Shape {
  const day = stepsOf(DAY_MINUTES, stepMs)
  const daily = day >= 24 && steps >= day * 1.2
  const rounds = options.periods.map((m) => stepsOf(m, stepMs)).filter((period) => period >= 3 && steps >= period * 6)
  return {
    lags: LAGS.filter((lag) => lag * 16 <= steps),
    means: MEANS.filter((width) => width * 8 <= steps),
    rounds,
    found: found !== null && found !== day && !rounds.some((period) => period % found === 0) ? found : null,
    daily,
    weekly: daily && steps >= 8 * day,
    harmonics: !daily || steps < 2 * day ? 0 : steps < 4 * day ? Math.min(4, options.harmonics) : options.harmonics,
  }
}

/**
 * `values` without gaps, centred and in units of the typical step (so sums lose no digits). `firstStep` numbers the
 * steps since the epoch. Windows count steps, seasons count minutes.
 */
export function design(values: Float64Array, firstStep: number, stepMs: number, shape: Shape): Design {
  const { lags, means, daily, weekly, harmonics } = shape
  const day = stepsOf(DAY_MINUTES, stepMs)
  const week = 7 * day
  const half = Math.floor((PROFILE_HALF_WIDTH_MINUTES * 60_000) / stepMs)
  const sums = prefixSums(values)
  const profile = daily ? seasonProfile(values, sums, day, half, day) : new Float64Array(0)
  const periods = shape.found === null ? shape.rounds : [...shape.rounds, shape.found]
  const rounds = periods.map((period) => ({ period, profile: seasonProfile(values, sums, period, 0, period) }))
  const sine = new Float64Array(day)
  for (let i = 0; i < day; i++) sine[i] = Math.sin((2 * Math.PI * i) / day)
  const quarter = day / 4
  const phase0 = ((firstStep % day) + day) % day

  const columns: Factor[] = ['trend']
  for (const _ of lags) columns.push('level')
  for (const width of means) columns.push(width >= SLOW_MEAN ? 'trend' : 'level')
  for (const _ of shape.rounds) columns.push('level', 'level')
  if (shape.found !== null) columns.push('period', 'period')
  if (daily) columns.push('daily', 'daily', 'daily', 'daily')
  if (weekly) columns.push('weekly', 'weekly')
  for (let q = 0; q < 2 * harmonics; q++) columns.push('daily')
  const padded = columns.length % 2 === 1
  if (padded) columns.push('level')

  const fill = (i: number, k: number, out: Float64Array, start: number): void => {
    const now = values[i]!
    let at = start
    out[at++] = 1
    for (let j = 0; j < lags.length; j++) {
      const from = i - lags[j]!
      out[at++] = values[from < 0 ? 0 : from]! - now
    }
    for (let j = 0; j < means.length; j++) {
      const from = Math.max(0, i + 1 - means[j]!)
      out[at++] = (sums[i + 1]! - sums[from]!) / (i + 1 - from) - now
    }
    for (let j = 0; j < rounds.length; j++) {
      const round = rounds[j]!
      // Same phase as the target, within one period of the origin: known at the origin.
      const ahead = k % round.period
      out[at++] = round.profile[i]! - now
      // A whole number of rounds ahead: the same as the column before.
      out[at++] = ahead === 0 ? 0 : round.profile[i + ahead]! - now
    }
    if (daily) {
      // The newest day on which all that the column reads is past.
      const then = i + k - day * Math.ceil((k + half) / day)
      const known = then >= 0
      const same = i - day >= 0
      out[at++] = known ? values[then]! - now : 0
      out[at++] = same ? values[i - day]! - now : 0
      out[at++] = known ? profile[then + day]! - now : 0
      out[at++] = same ? profile[i]! - now : 0
    }
    if (weekly) {
      const lastWeek = i + k - week * Math.ceil(k / week)
      const then = lastWeek >= 0 ? lastWeek : i + k - day * Math.ceil(k / day)
      const same = i - week >= 0 ? i - week : i - day
      out[at++] = then >= 0 ? values[then]! - now : 0
      out[at++] = same >= 0 ? values[same]! - now : 0
    }
    const phase = phase0 + i + k
    for (let q = 1; q <= harmonics; q++) {
      out[at++] = sine[(q * phase) % day]!
      out[at++] = sine[Math.round(q * phase + quarter) % day]!
    }
    if (padded) out[at] = 0
  }
  return { columns, fill }
}

const stepsOf = (minutes: number, stepMs: number): number => Math.max(1, Math.round((minutes * 60_000) / stepMs))

function prefixSums(values: Float64Array): Float64Array {
  const sums = new Float64Array(values.length + 1)
  for (let i = 0; i < values.length; i++) sums[i + 1] = sums[i]! + values[i]!
  return sums
}

/**
 * At [s], what earlier rounds of `period` steps say about step s: an exponential mean over rounds of the values at
 * the same phase, averaged over `half` steps on both sides. Reads no value after s − period + half; runs `ahead`
 * steps past the end.
 */
function seasonProfile(
  values: Float64Array,
  sums: Float64Array,
  period: number,
  half: number,
  ahead: number,
): Float64Array {
  const n = values.length
  const out = new Float64Array(n + ahead)
  for (let s = 0; s < out.length; s++) {
    if (s < period) {
      out[s] = values[0]!
      continue
    }
    const from = Math.max(0, s - period - half)
    const to = Math.min(n, s - period + half + 1)
    const mean = (sums[to]! - sums[from]!) / (to - from)
    out[s] = s < 2 * period ? mean : out[s - period]! + PROFILE_GAIN * (mean - out[s - period]!)
  }
  return out
}
