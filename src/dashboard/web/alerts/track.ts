/** One series from the store as the charts want it. */
import { call } from '../api.ts'
import { useAsked } from '../asked.tsx'
import type { Track } from '../series.ts'

interface Points {
  readonly points: readonly { readonly t: string; readonly v: number }[]
  readonly unit: string
}

interface SeriesProps {
  readonly metric: string
  readonly labels: Readonly<Record<string, string>>
  /** Asked anew each time. */
  readonly from: () => number
  readonly to: () => number
  readonly everyMs: number
}

const POINTS = 240
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400]

/** Means of the series with just these labels. */
export function useSeries({ metric, labels, from, to, everyMs }: SeriesProps) {
  const what = `series ${metric} ${JSON.stringify(labels)}`
  return useAsked(what, everyMs, async (signal) => {
    const [since, until] = [from(), to()]
    const step = STEPS.find((s) => (until - since) / 1000 / s <= POINTS) ?? 86_400
    const query = new URLSearchParams({
      metric_name: metric,
      labels: JSON.stringify(labels),
      since: new Date(since).toISOString(),
      until: new Date(until).toISOString(),
      step: String(step),
    })
    const { points } = await call<Points>('GET', `/api/v1/advanced-analytics/series?${query}`, undefined, signal)
    return { track: trackOf(points, since, until, step * 1000), until }
  })
}

/** Means, and with them the lowest and the highest where the points have them. */
export function trackOf(
  points: readonly { readonly t: string; readonly v: number; readonly min?: number; readonly max?: number }[],
  since: number,
  until: number,
  stepMs: number,
): Track {
  const from = Math.floor(since / stepMs) * stepMs
  const empty = () => new Array<number | null>(Math.max(1, Math.floor((until - from) / stepMs) + 1)).fill(null)
  const [mean, low, high] = [empty(), empty(), empty()]
  for (const { t, v, min = v, max = v } of points) {
    const place = Math.round((Date.parse(t) - from) / stepMs)
    if (place < 0 || place >= mean.length) continue
    mean[place] = v
    low[place] = min
    high[place] = max
  }
  return { from, stepMs, length: mean.length, series: { mean, low, high } }
}
