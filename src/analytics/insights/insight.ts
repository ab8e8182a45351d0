/**
 * Insights: what is true about the metrics right now, with the numbers, and one advice that can be followed.
 *
 *   views of metrics ──findInsights──▶ findings ──merge──▶ insights (one a key: updated while seen, never repeated)
 *
 * A finding is what one cycle saw. An insight is a finding with a life: when it was first and last seen, and how often.
 * Everything here is pure; the engine reads the metrics and stores the insights.
 */
import type { Millis } from '../../base/time.ts'

export type Impact = 'low' | 'medium' | 'high'
export type InsightType = 'performance' | 'cache' | 'resources' | 'capacity' | 'change' | 'pattern' | 'forecast'

/** Evidence: values, windows and thresholds, and the points of a small chart where there is one. */
export interface Evidence {
  readonly [name: string]: number | string | readonly (readonly [time: Millis, value: number])[]
}

export interface Finding {
  /** What makes two findings the same: `limit:system.disk_usage`. */
  readonly key: string
  readonly type: InsightType
  readonly title: string
  readonly description: string
  /** 0 to 1. */
  readonly confidence: number
  readonly impact: Impact
  readonly recommendations: readonly string[]
  readonly evidence: Evidence
}

export interface Insight extends Finding {
  readonly id: string
  readonly createdAt: Millis
  readonly lastSeenAt: Millis
  /** Cycles that saw it. */
  readonly occurrences: number
}

/** One forecast of a metric, as insights need it. */
export interface ForecastView {
  readonly horizonMinutes: number
  readonly at: Millis
  readonly value: number
  readonly lower80: number
  readonly upper80: number
}

/** How well a metric could be forecast: mean absolute error over that of "it stays as it is"; below 1 is skill. */
export interface SkillView {
  readonly horizonMinutes: number
  readonly relativeToNaive: number
  readonly origins: number
}

/** One metric as a cycle sees it. Arrays ascend in time; `bins` are 5-minute means without the gaps. */
export interface MetricView {
  /** Canonical name. */
  readonly name: string
  readonly unit: string
  /** The newest raw values, at most 10. */
  readonly recent: readonly number[]
  readonly binTimes: Float64Array
  readonly binValues: Float64Array
  /** Value that must not be reached, and from which side it is approached. */
  readonly limit: { readonly value: number; readonly side: 'above' | 'below' } | null
  readonly forecasts: readonly ForecastView[]
  readonly skill: readonly SkillView[]
}

export const BIN_MS = 300_000

/** How long an insight that is no longer seen stays listed. */
export const FORGET_AFTER_MS = 24 * 3_600_000

/**
 * Joins what was known with what a cycle found: the same key is updated in place, a new key becomes an insight, one
 * not seen for a day is dropped. Findings below `confidenceMin` are not published.
 */
export function merge(
  known: readonly Insight[],
  findings: readonly Finding[],
  confidenceMin: number,
  now: Millis,
  newId: (now: Millis) => string,
): Insight[] {
  const kept = new Map(known.filter((i) => now - i.lastSeenAt <= FORGET_AFTER_MS).map((i) => [i.key, i]))
  for (const finding of findings) {
    if (finding.confidence < confidenceMin) continue
    const before = kept.get(finding.key)
    kept.set(finding.key, {
      ...finding,
      id: before?.id ?? newId(now),
      createdAt: before?.createdAt ?? now,
      lastSeenAt: now,
      occurrences: (before?.occurrences ?? 0) + 1,
    })
  }
  return [...kept.values()].sort((a, b) => b.lastSeenAt - a.lastSeenAt || rank[b.impact] - rank[a.impact])
}

const rank: Record<Impact, number> = { low: 0, medium: 1, high: 2 }
