/**
 * Arithmetic of the figures, without a clock: means of windows, trends, normal ranges, limits. What each metric of the
 * cards is called, measured in and judged by stands here too.
 */
import type { Millis } from '../base/time.ts'
import { HOUR } from '../base/time.ts'
import type { DashboardConfig } from './config.ts'
import type { FigureKey, Limit, MetricKey, ThresholdState, Trend } from './protocol.ts'
import { FIGURE_NAMES } from './protocol.ts'
import type { Point, Points } from './sources.ts'

interface MetricMeaning {
  /** Canonical name. */
  readonly name: string
  /** In the middle of a sentence. */
  readonly words: string
  readonly unit: string
  readonly change: 'absolute' | 'percent'
}

export const MEANING: Readonly<Record<FigureKey, MetricMeaning>> = {
  cpu_usage: { name: FIGURE_NAMES.cpu_usage, words: 'CPU', unit: '%', change: 'absolute' },
  memory_usage: { name: FIGURE_NAMES.memory_usage, words: 'memory', unit: '%', change: 'absolute' },
  cache_hit_rate: { name: FIGURE_NAMES.cache_hit_rate, words: 'cache hit rate', unit: '%', change: 'absolute' },
  response_time: { name: FIGURE_NAMES.response_time, words: 'response time', unit: 'ms', change: 'absolute' },
  throughput: { name: FIGURE_NAMES.throughput, words: 'throughput', unit: 'req/s', change: 'percent' },
  disk_usage: { name: FIGURE_NAMES.disk_usage, words: 'disk', unit: '%', change: 'absolute' },
  health_score: { name: FIGURE_NAMES.health_score, words: 'health score', unit: 'of 100', change: 'absolute' },
}

export interface Limits {
  readonly warning: number
  readonly critical: number
  /** On which side of a limit it is bad. */
  readonly side: Limit['side']
}
export type LimitsByFigure = Readonly<Partial<Record<FigureKey, Limits>>>

export function limitsOf(config: DashboardConfig): LimitsByFigure {
  return {
    cpu_usage: { warning: config.cpuWarning, critical: config.cpuCritical, side: 'over' },
    memory_usage: { warning: config.memoryWarning, critical: config.memoryCritical, side: 'over' },
    response_time: { warning: config.responseWarning, critical: config.responseCritical, side: 'over' },
    cache_hit_rate: { warning: config.hitRateWarning, critical: config.hitRateCritical, side: 'under' },
    health_score: { warning: 70, critical: 40, side: 'under' },
  }
}

const beyond = (value: number, limit: number, side: Limit['side']) => (side === 'over' ? value > limit : value < limit)

/** Which limit a value is beyond. */
export function judge(value: number, limits: Limits): { readonly state: ThresholdState; readonly limit: Limit | null } {
  if (beyond(value, limits.critical, limits.side))
    return { state: 'critical', limit: { value: limits.critical, side: limits.side } }
  if (beyond(value, limits.warning, limits.side))
    return { state: 'warning', limit: { value: limits.warning, side: limits.side } }
  return { state: 'ok', limit: null }
}

/** Mean of the points with from < at ≤ to (NaN without any), their number and the time of the first. */
export function windowMean(points: readonly Point[], from: Millis, to: Millis) {
  const inside = points.filter((point) => point.at > from && point.at <= to)
  let mean = inside.length === 0 ? Number.NaN : 0
  // Divided first: the sum of large values would leave the numbers.
  for (const point of inside) mean += point.value / inside.length
  return { mean, count: inside.length, first: inside[0]?.at ?? Number.POSITIVE_INFINITY }
}

export interface Movement {
  readonly trend: Trend
  /** Null when the former mean is 0 and the change would be in per cent of it. */
  readonly change: number | null
}

/**
 * The last window against the one before it: more than 5 % of the former mean is a movement. Null while the former
 * window is less than half covered, or either holds fewer than two points.
 */
export function movement(
  points: readonly Point[],
  now: Millis,
  windowMs: number,
  kind: 'absolute' | 'percent',
): Movement | null {
  const last = windowMean(points, now - windowMs, now)
  const before = windowMean(points, now - 2 * windowMs, now - windowMs)
  if (last.count < 2 || before.count < 2 || before.first > now - 1.5 * windowMs) return null
  const by = last.mean - before.mean
  // A hair more, so that five per cent to the digit is not more than five per cent.
  const band = 0.05 * Math.abs(before.mean) * (1 + 1e-9)
  const trend: Trend = by > band ? 'increasing' : by < -band ? 'decreasing' : 'stable'
  if (kind === 'absolute') return { trend, change: rounded(by) }
  return { trend, change: before.mean === 0 ? null : rounded((100 * by) / Math.abs(before.mean)) }
}

export interface Normal {
  readonly lower: number
  readonly upper: number
  readonly median: number
}

/** The middle nine tenths of history; null while it spans less than an hour or has fewer than twelve points. */
export function normalOf(points: Points): Normal | null {
  const count = points.times.length
  if (count < 12 || points.times[count - 1]! - points.times[0]! < HOUR - 5 * 60_000) return null
  const sorted = Float64Array.from(points.values).sort()
  const at = (q: number) => {
    const place = q * (count - 1)
    const low = Math.floor(place)
    return sorted[low]! + (place - low) * (sorted[Math.min(low + 1, count - 1)]! - sorted[low]!)
  }
  return { lower: rounded(at(0.05)), upper: rounded(at(0.95)), median: rounded(at(0.5)) }
}

/**
 * Since when the newest points are beyond a limit without a break: walks `fine` back, and whole buckets of `coarse` on
 * from where that begins. A hole of more than `holeMs` ends the walk, for nobody knows what was in it.
 */
export function beyondSince(
  fine: Points,
  coarse: Points & { readonly stepMs: number },
  limit: number,
  side: Limit['side'],
  holeMs: number,
): Millis | null {
  let since: Millis | null = null
  for (let i = fine.times.length - 1; i >= 0; i--) {
    const at = fine.times[i]!
    if (since !== null && since - at > holeMs) return since
    if (!beyond(fine.values[i]!, limit, side)) return since
    since = at
  }
  if (since === null) return null
  for (let i = coarse.times.length - 1; i >= 0; i--) {
    const at = coarse.times[i]!
    // A bucket that reaches into what is known finely says nothing new, and begins before what is in it.
    if (at + coarse.stepMs > since) continue
    if (since - at - coarse.stepMs > holeMs || !beyond(coarse.values[i]!, limit, side)) return since
    since = at
  }
  return since
}

/** Four significant digits: more is noise, and bytes to every client. Finite, whatever was divided. */
export function rounded(value: number): number {
  return value === 0 ? 0 : Number(Math.max(-1e300, Math.min(1e300, value)).toPrecision(4))
}

export const isBeyond = beyond

/** Metrics by which the score and the headline judge. */
export const JUDGED = [
  'response_time',
  'cpu_usage',
  'memory_usage',
  'cache_hit_rate',
] as const satisfies readonly MetricKey[]
