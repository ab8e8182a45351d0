/**
 * The health score as a series: read at every round of collection, so that rules, detection and insights have it whether
 * or not somebody looks at the page. The same rule as on the page (score.ts): means of the last minute against the limits
 * of now and the medians of the last day. Null, and no sample, while no figure has data.
 */
import type { Clock } from '../base/clock.ts'
import type { Millis } from '../base/time.ts'
import { DAY, MINUTE } from '../base/time.ts'
import type { DashboardConfig } from './config.ts'
import { COARSE_STEP_MS, INTERVALS_FRESH } from './feed.ts'
import { JUDGED, limitsOf, MEANING, normalOf, windowMean } from './figures.ts'
import type { MetricKey } from './protocol.ts'
import { scoreOf } from './score.ts'
import type { DashboardSources, Point } from './sources.ts'

export interface ScorerDeps {
  readonly sources: Pick<DashboardSources, 'latest' | 'range' | 'intervalMs'>
  readonly clock: Clock
  readonly config: () => DashboardConfig
}

/** The medians are read anew after this time. */
const USUAL_MS = 15 * MINUTE

/** Answers the score of now, 0 to 100; null without data. Each call takes the newest samples into the last minute. */
export function createScorer({ sources, clock, config }: ScorerDeps): () => Promise<number | null> {
  const lately = new Map<MetricKey, Point[]>()
  let usual: Partial<Record<MetricKey, number | null>> = {}
  let usualAt = Number.NEGATIVE_INFINITY
  let reading = false

  /** Beside the score: what reads history may be busy. */
  async function readUsual(now: Millis): Promise<void> {
    reading = true
    const medians = await Promise.all(
      JUDGED.map(async (key) => {
        const day = await sources.range(MEANING[key].name, now - DAY, now, COARSE_STEP_MS)
        return [key, normalOf(day)?.median ?? null] as const
      }),
    )
    usual = Object.fromEntries(medians)
    usualAt = clock.monotonic()
  }

  return async () => {
    const now = clock.now()
    if (!reading && clock.monotonic() - usualAt > USUAL_MS) {
      readUsual(now)
        // What cannot be read now is tried again with the next score.
        .catch(() => {})
        .finally(() => {
          reading = false
        })
    }
    const newest = await sources.latest(JUDGED.map((key) => MEANING[key].name))
    const freshMs = INTERVALS_FRESH * sources.intervalMs()
    const values: Partial<Record<MetricKey, number | null>> = {}
    for (const key of JUDGED) {
      const points = (lately.get(key) ?? []).filter(({ at }) => at > now - MINUTE && at <= now)
      const sample = newest.get(MEANING[key].name)
      if (sample && sample.at > (points.at(-1)?.at ?? Number.NEGATIVE_INFINITY)) points.push(sample)
      lately.set(key, points)
      if (!sample || now - sample.at > freshMs) continue
      const { mean } = windowMean(points, now - MINUTE, now)
      values[key] = Number.isNaN(mean) ? sample.value : mean
    }
    return scoreOf(values, limitsOf(config()), usual).score
  }
}
