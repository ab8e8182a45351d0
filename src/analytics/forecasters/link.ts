/**
 * The scale on which a series is modelled, and the ends its values cannot pass. Non-negative series are modelled as
 * logarithms (their spikes and daily swings are ratios), series with negative values by the inverse hyperbolic sine
 * around their median (long tails pulled in, the middle straight), counters and constants as they are. All three are
 * monotone, so quantiles carry over.
 */

export interface Bounds {
  readonly min?: number | undefined
  readonly max?: number | undefined
}

export type Link =
  | { readonly kind: 'log'; readonly offset: number }
  | { readonly kind: 'asinh'; readonly centre: number; readonly width: number }
  | { readonly kind: 'plain' }

/** From the samples alone; NaN is a gap. */
export function chooseLink(values: Float64Array): Link {
  const finite = new Float64Array(values.length)
  let n = 0
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i]!)) finite[n++] = values[i]!
  const sorted = finite.subarray(0, n).sort()
  if (n < 8 || sorted[0] === sorted[n - 1] || isCounter(values)) return { kind: 'plain' }
  if (sorted[0]! >= 0) {
    let middle = sorted[n >> 1]!
    if (middle <= 0) for (let i = 0; i < n; i++) middle += sorted[i]! / n
    if (middle <= 0) return { kind: 'plain' }
    return { kind: 'log', offset: OFFSET_SHARE * middle }
  }
  const width = sorted[Math.floor(0.75 * (n - 1))]! - sorted[Math.floor(0.25 * (n - 1))]!
  if (!(width > 0 && width < Infinity)) return { kind: 'plain' }
  return { kind: 'asinh', centre: sorted[n >> 1]!, width: ASINH_WIDTHS * width }
}

const OFFSET_SHARE = 0.05
const ASINH_WIDTHS = 3

export function linked(link: Link, value: number): number {
  if (link.kind === 'log') return Math.log(Math.max(value, 0) + link.offset)
  if (link.kind === 'asinh') return Math.asinh((value - link.centre) / link.width)
  return value
}

export function unlinked(link: Link, value: number): number {
  if (link.kind === 'log') return Math.exp(value) - link.offset
  if (link.kind === 'asinh') return Math.sinh(value) * link.width + link.centre
  return value
}

/**
 * Given ends come first. From the history alone: never below zero means not below zero; a ceiling of exactly 1 or
 * 100 that one sample in a hundred touches and none passes is a ceiling.
 */
export function boundsOf(
  values: Float64Array,
  given: Bounds,
): { readonly min: number | null; readonly max: number | null } {
  let low = Infinity
  let high = -Infinity
  let n = 0
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (!Number.isFinite(v)) continue
    n++
    if (v < low) low = v
    if (v > high) high = v
  }
  let touching = 0
  if (high === 1 || high === 100) for (let i = 0; i < values.length; i++) if (values[i] === high) touching++
  const ceiling = low >= 0 && low < high && touching >= 3 && touching >= 0.01 * n ? high : null
  return { min: given.min ?? (low >= 0 ? 0 : null), max: given.max ?? ceiling }
}

/** Rises in nearly every step and falls, if ever, only by starting again from about zero. */
export function isCounter(values: Float64Array): boolean {
  let previous = NaN
  let ups = 0
  let falls = 0
  let resets = 0
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (!Number.isFinite(v)) continue
    if (v > previous) ups++
    else if (v < previous) {
      falls++
      if (v >= 0 && v < 0.1 * previous) resets++
    }
    previous = v
  }
  return ups >= 8 && falls === resets && falls * 50 <= ups
}
