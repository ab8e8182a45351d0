/**
 * Periods that a series has beside the day and the week: found from its roll-ups, not configured.
 *
 *   values ─▶ less the mean at each time of day ─▶ clipped ─▶ autocorrelation (by FFT) ─▶ hills ─▶ the whole period
 *
 * A period is a lag at which the series resembles itself, with a valley before it, by more than chance would have it for
 * a series with such a memory (Bartlett's error), and again at twice the lag. Of a period that is no whole number of
 * steps the multiple that fits best is taken (47 minutes come round as 235). What a day's own shape explains is taken out
 * first, so that its fractions are not found as periods of their own.
 */

export interface Period {
  /** Steps of a whole number of rounds: what a profile can have. */
  readonly steps: number
  /** Steps of one round, which need not be whole. */
  readonly round: number
  /** Autocorrelation at that lag, 0 to 1. */
  readonly strength: number
}

/** A period shorter than this cannot be told from the noise of neighbours. */
const STEPS_MIN = 4
/** It must have come round so often. */
const ROUNDS_MIN = 6
/** Resemblance one round apart, and how much of it is lost half-way. */
const STRENGTH_MIN = 0.3
const VALLEY = 0.25
/** Standard errors that the resemblance must exceed: hundreds of lags are looked at. */
const ERRORS_MIN = 4.5
/** Multiples of a found lag that are looked at for where it is exactly; so little less resemblance is as good. */
const MULTIPLES = 6
const AS_WELL = 0.01
/** Values count for at most so many interquartile ranges: one spike is no rhythm. */
const CLIP = 3

/**
 * The strongest period, or null. `values` have no gaps; `day` is a day in steps. Periods that a profile by time of day
 * holds already (the day, its whole fractions of an hour and more) are not looked for when there are two days of values.
 */
export function findPeriod(values: Float64Array, day: number): Period | null {
  const n = values.length
  const longest = Math.floor(n / ROUNDS_MIN)
  if (longest < STEPS_MIN) return null
  const rest = n >= 2 * day ? lessDaily(values, day) : values.slice()
  if (!clip(rest)) return null
  const r = autocorrelations(rest, Math.min(n - 1, (MULTIPLES + 1) * longest))
  const least = Math.max(STRENGTH_MIN, ERRORS_MIN * errorOf(r, n))
  // The resemblance of a slow series to itself falls off slowly: only a hill behind a valley is a rhythm.
  let valley = 1
  let best = 0
  for (let lag = 2; lag <= longest; lag++) {
    valley = Math.min(valley, r[lag - 1]!)
    const here = r[lag]!
    if (lag < STEPS_MIN || here < r[lag - 1]! || here < r[lag + 1]!) continue
    if (here < least || here - valley < VALLEY) continue
    // Multiples of a shorter period resemble as well: a longer one has to do clearly better.
    if (best === 0 || here > r[best]! + 0.1) best = lag
  }
  if (best === 0 || (r[2 * best] ?? 1) < least / 2) return null
  return located(r, best, longest)
}

/** Bartlett's standard error of the autocorrelation at long lags, from the memory at short ones. */
function errorOf(r: Float64Array, n: number): number {
  let sum = 1
  for (let lag = 1; lag < r.length && r[lag]! > 0.05; lag++) sum += 2 * r[lag]! * r[lag]!
  return Math.sqrt(sum / n)
}

/** Where a period near `lag` is exactly, from the hills at its multiples; and the fewest rounds that fit no worse. */
function located(r: Float64Array, lag: number, longest: number): Period {
  const tops = [lag]
  let round = lag
  for (let m = 2; m <= MULTIPLES && (m + 0.5) * lag < r.length; m++) {
    const near = Math.round(m * round)
    let top = near
    for (let at = near - 1; at <= near + 1; at++) if (r[at]! > r[top]!) top = at
    tops.push(top)
    round = top / m
  }
  const usable = tops.filter((top) => top <= longest)
  const most = Math.max(...usable.map((top) => r[top]!))
  const steps = usable.find((top) => r[top]! >= most - AS_WELL)!
  return { steps, round, strength: Math.min(1, r[steps]!) }
}

/** Values less the mean at their time of day. */
function lessDaily(values: Float64Array, day: number): Float64Array {
  const sums = new Float64Array(day)
  const counts = new Float64Array(day)
  for (let i = 0; i < values.length; i++) {
    sums[i % day]! += values[i]!
    counts[i % day]!++
  }
  return values.map((value, i) => value - sums[i % day]! / counts[i % day]!)
}

/** Around the median, in place; false when nothing varies. */
function clip(values: Float64Array): boolean {
  const sorted = values.slice().sort()
  const n = sorted.length
  const middle = sorted[n >> 1]!
  let spread = sorted[Math.floor(0.75 * n)]! - sorted[Math.floor(0.25 * n)]!
  // Mostly the same value: what differs is the rhythm, if there is one.
  if (spread === 0) spread = Math.max(middle - sorted[0]!, sorted[n - 1]! - middle) / CLIP
  if (!(spread > 0 && spread < Infinity)) return false
  const most = CLIP * spread
  for (let i = 0; i < n; i++) values[i] = Math.max(-most, Math.min(most, values[i]! - middle))
  return true
}

/** Autocorrelation at lags 0 to `most`, each over the pairs it has. */
function autocorrelations(values: Float64Array, most: number): Float64Array {
  const n = values.length
  let mean = 0
  for (let i = 0; i < n; i++) mean += values[i]! / n
  let size = 2
  while (size < n + most + 1) size *= 2
  const re = new Float64Array(size)
  const im = new Float64Array(size)
  for (let i = 0; i < n; i++) re[i] = values[i]! - mean
  transform(re, im)
  for (let i = 0; i < size; i++) {
    re[i] = re[i]! * re[i]! + im[i]! * im[i]!
    im[i] = 0
  }
  transform(re, im)
  const r = new Float64Array(most + 1)
  const all = re[0]! / n
  for (let lag = 0; lag <= most; lag++) r[lag] = all > 0 ? re[lag]! / (n - lag) / all : 0
  return r
}

/** Fourier transform in place; the length is a power of two. Twice gives the sequence turned round, times the length. */
function transform(re: Float64Array, im: Float64Array): void {
  const n = re.length
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1
    for (; j & bit; bit >>= 1) j ^= bit
    j ^= bit
    if (i >= j) continue
    const [a, b] = [re[i]!, im[i]!]
    re[i] = re[j]!
    im[i] = im[j]!
    re[j] = a
    im[j] = b
  }
  for (let length = 2; length <= n; length *= 2) {
    const half = length >> 1
    const stepRe = Math.cos((-2 * Math.PI) / length)
    const stepIm = Math.sin((-2 * Math.PI) / length)
    for (let start = 0; start < n; start += length) {
      let wRe = 1
      let wIm = 0
      for (let k = start; k < start + half; k++) {
        const m = k + half
        const tRe = re[m]! * wRe - im[m]! * wIm
        const tIm = re[m]! * wIm + im[m]! * wRe
        re[m] = re[k]! - tRe
        im[m] = im[k]! - tIm
        re[k] = re[k]! + tRe
        im[k] = im[k]! + tIm
        const next = wRe * stepRe - wIm * stepIm
        wIm = wRe * stepIm + wIm * stepRe
        wRe = next
      }
    }
  }
}
