/**
 * Chart history for snapshots, read from the store. Clients that connect in the same moment share one reading: what was
 * read is good for a third of a step.
 */
import type { Clock } from '../base/clock.ts'
import type { Millis } from '../base/time.ts'
import { MINUTE, SECOND, toIso } from '../base/time.ts'
import { scoreHistory } from './feed.ts'
import type { LimitsByFigure } from './figures.ts'
import { MEANING, rounded } from './figures.ts'
import type { FigureKey, History, MetricKey, Range } from './protocol.ts'
import { METRIC_KEYS, RANGES } from './protocol.ts'
import type { DashboardSources, Points } from './sources.ts'

/** What the charts draw, and throughput, by which a quiet hour is told from a gap. */
const CHART_KEYS: readonly MetricKey[] = ['cpu_usage', 'memory_usage', 'cache_hit_rate', 'response_time', 'throughput']

export interface HistoryReader {
  /** Over the range, at its step. */
  chart(range: Range): Promise<History>
  /** The last hour by the minute, for the spark lines, the health score with it. */
  recent(limits: LimitsByFigure, usual: Readonly<Partial<Record<MetricKey, number | null>>>): Promise<History>
}

export function createHistory(sources: DashboardSources, clock: Clock): HistoryReader {
  const kept = new Map<string, { until: number; readonly value: Promise<unknown> }>()

  /** One reading at a time for each key; its answer serves all for `forMs` after it came. */
  function cached<T>(key: string, forMs: number, read: () => Promise<T>): Promise<T> {
    const known = kept.get(key)
    if (known && known.until > clock.monotonic()) return known.value as Promise<T>
    const value = read()
    const entry = { until: Number.POSITIVE_INFINITY, value }
    kept.set(key, entry)
    value.then(
      () => {
        entry.until = clock.monotonic() + forMs
      },
      () => kept.delete(key),
    )
    return value
  }

  async function read(keys: readonly MetricKey[], seconds: number, step: number) {
    const stepMs = step * SECOND
    const to = clock.now()
    const from = Math.floor((to - seconds * SECOND) / stepMs) * stepMs + stepMs
    const points = await Promise.all(keys.map((key) => sources.range(MEANING[key].name, from, to, stepMs)))
    const length = Math.floor((to - from) / stepMs) + 1
    return { from, stepMs, length, points: new Map(keys.map((key, i) => [key, points[i]!])) }
  }

  return {
    chart(range) {
      const { seconds, step } = RANGES[range]
      return cached(range, Math.min(30, step / 3) * SECOND, async () => {
        const { from, stepMs, length, points } = await read(CHART_KEYS, seconds, step)
        const series: Partial<Record<FigureKey, (number | null)[]>> = {}
        for (const [key, found] of points) series[key] = spaced(found, from, stepMs, length)
        return { from: toIso(from), step, series }
      })
    },
    recent(limits, usual) {
      return cached('recent', 10 * SECOND, async () => {
        const { from, stepMs, length, points } = await read(METRIC_KEYS, 3_600, MINUTE / SECOND)
        const series: Partial<Record<FigureKey, (number | null)[]>> = {}
        for (const [key, found] of points) series[key] = spaced(found, from, stepMs, length)
        series.health_score = spaced(scoreHistory(Object.fromEntries(points), limits, usual), from, stepMs, length)
        return { from: toIso(from), step: stepMs / SECOND, series }
      })
    },
  }
}

function spaced(points: Points, from: Millis, stepMs: number, length: number): (number | null)[] {
  const values = new Array<number | null>(length).fill(null)
  for (let i = 0; i < points.times.length; i++) {
    const place = Math.round((points.times[i]! - from) / stepMs)
    if (place >= 0 && place < length) values[place] = rounded(points.values[i]!)
  }
  return values
}
