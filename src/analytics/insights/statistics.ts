/** The few robust statistics that insights rest on. Plain arrays in, nothing kept. */

/** Quantile by linear interpolation of an ascending array; NaN of an empty one. */
export function quantileOfSorted(sorted: ArrayLike<number>, p: number): number {
  const n = sorted.length
  if (n === 0) return Number.NaN
  const at = p * (n - 1)
  const low = Math.floor(at)
  const a = sorted[low]!
  const b = sorted[Math.min(n - 1, low + 1)]!
  return a + (b - a) * (at - low)
}

export function median(values: ArrayLike<number>): number {
  return quantileOfSorted(Float64Array.from(values).sort(), 0.5)
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return values.length === 0 ? Number.NaN : sum / values.length
}

/** Standard deviation from the median absolute deviation (1.4826 for the normal law). */
export function robustDeviation(values: ArrayLike<number>): number {
  const centre = median(values)
  return 1.4826 * median(Float64Array.from(values, (v) => Math.abs(v - centre)))
}

export interface Trend {
  /** Per millisecond. */
  readonly slope: number
  /** Ends of the 90 % interval of the slope. */
  readonly slopeLow: number
  readonly slopeHigh: number
  /** The line's value at the last time. */
  readonly level: number
}

/**
 * Theil–Sen line with Sen's rank interval (Sen 1968, JASA 63:1379), on at most 200 points spread over the input: the
 * variance of Kendall's score is inflated by the lag-one autocorrelation of the residuals (Hamed & Rao 1998), as
 * neighbouring metric values are not independent. Null for fewer than 12 points.
 */
export function theilSen(times: ArrayLike<number>, values: ArrayLike<number>): Trend | null {
  const n = Math.min(200, times.length)
  if (n < 12) return null
  const pick = (i: number) => Math.round((i * (times.length - 1)) / (n - 1))
  const t = Float64Array.from({ length: n }, (_, i) => times[pick(i)]!)
  const v = Float64Array.from({ length: n }, (_, i) => values[pick(i)]!)
  const slopes = new Float64Array((n * (n - 1)) / 2)
  let k = 0
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) slopes[k++] = (v[j]! - v[i]!) / (t[j]! - t[i]!)
  slopes.sort()
  const slope = quantileOfSorted(slopes, 0.5)
  const offset = median(v.map((value, i) => value - slope * t[i]!))
  const residuals = v.map((value, i) => value - slope * t[i]! - offset)
  const rho = Math.max(0, autocorrelation(residuals, 1))
  const inflation = (1 + rho) / (1 - Math.min(rho, 0.95))
  const deviation = Math.sqrt(((n * (n - 1) * (2 * n + 5)) / 18) * inflation)
  const reach = (1.645 * deviation) / 2 / slopes.length
  return {
    slope,
    slopeLow: quantileOfSorted(slopes, Math.max(0, 0.5 - reach)),
    slopeHigh: quantileOfSorted(slopes, Math.min(1, 0.5 + reach)),
    level: offset + slope * t[n - 1]!,
  }
}

/** Autocorrelation at `lag`, 0 for a constant. */
export function autocorrelation(values: ArrayLike<number>, lag: number): number {
  const n = values.length
  const centre = mean(values)
  let square = 0
  let product = 0
  for (let i = 0; i < n; i++) {
    const d = values[i]! - centre
    square += d * d
    if (i >= lag) product += d * (values[i - lag]! - centre)
  }
  return square === 0 ? 0 : product / square
}

export interface Shift {
  /** Index of the first value at the new level. */
  readonly index: number
  readonly before: number
  readonly after: number
  /** Difference of the levels in robust deviations of the values around them. */
  readonly size: number
  /** Share of permutations that a shift this strong does not come from, 0 to 1. */
  readonly confidence: number
}

/**
 * The strongest shift of the level: the split that maximises the CUSUM of ranks (Pettitt 1979, Applied Statistics
 * 28:126), with its approximate significance, corrected for autocorrelation by the effective number of values. Both
 * sides must hold at least `sideMin` values. Null when there are too few values or nothing varies.
 */
export function strongestShift(values: ArrayLike<number>, sideMin = 12): Shift | null {
  const n = values.length
  if (n < 2 * sideMin) return null
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => values[a]! - values[b]!)
  const ranks = new Float64Array(n)
  for (let i = 0; i < n; ) {
    let j = i
    while (j + 1 < n && values[order[j + 1]!] === values[order[i]!]) j++
    for (let k = i; k <= j; k++) ranks[order[k]!] = (i + j) / 2 + 1
    i = j + 1
  }
  let running = 0
  let best = 0
  let index = -1
  for (let i = 0; i < n - sideMin; i++) {
    running += ranks[i]!
    if (i + 1 < sideMin) continue
    const score = Math.abs(2 * running - (i + 1) * (n + 1))
    if (score > best) {
      best = score
      index = i + 1
    }
  }
  if (index < 0) return null
  const left = Float64Array.from({ length: index }, (_, i) => values[i]!)
  const right = Float64Array.from({ length: n - index }, (_, i) => values[index + i]!)
  const before = median(left)
  const after = median(right)
  const residuals = Float64Array.from({ length: n }, (_, i) => values[i]! - (i < index ? before : after))
  const spread = robustDeviation(residuals)
  if (spread === 0 && before === after) return null
  const rho = Math.min(0.95, Math.max(0, autocorrelation(residuals, 1)))
  const effective = n * ((1 - rho) / (1 + rho))
  const strength = (best / (n * n)) * effective
  const p = 2 * Math.exp((-6 * strength * strength) / Math.max(1, effective))
  const size = spread === 0 ? Number.POSITIVE_INFINITY : Math.abs(after - before) / spread
  return { index, before, after, size, confidence: Math.max(0, 1 - p) }
}
