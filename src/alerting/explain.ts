/**
 * Why an alert fired: the samples around its beginning against its limit, how long the breach had lasted, what each
 * stage said when it was to be told, what else moved at that time, and how the limit has changed over time. Deliveries
 * come from the outbox, which has its own place.
 */
import { HOUR, MINUTE, type Millis } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import { type Evaluate, readSamples, selectorOfSeries } from './history.ts'
import type { Alert, TimelineEntry } from './record.ts'
import type { Rule } from './rule.ts'
import type { RuleVersion } from './rules/rules.ts'
import type { Verdict } from './stages.ts'

/** Another series that moved at about the same time. */
export interface CorrelatedChange {
  readonly metricName: string
  readonly labels: Labels
  readonly startedAt: Millis
  /** 0 to 1. */
  readonly strength: number
  readonly description: string
}

export interface Explanation {
  /** The rule as it was when the alert opened; null where that version is gone. */
  readonly rule: Rule | null
  readonly samples: readonly { readonly at: Millis; readonly value: number }[]
  /** Whether every sample of the time shown is there. */
  readonly complete: boolean
  readonly since: Millis
  /** How long the breach had lasted when the alert opened. */
  readonly heldMs: number
  /** What the stages said, each time that there was something to tell; the latest last. */
  readonly checks: readonly { readonly at: Millis; readonly event: string; readonly verdicts: readonly Verdict[] }[]
  readonly correlated: readonly CorrelatedChange[]
  readonly thresholdHistory: readonly {
    readonly at: Millis
    readonly version: number
    readonly threshold: number
    readonly by: string
  }[]
  readonly timeline: readonly TimelineEntry[]
}

export interface ExplainWorld {
  readonly evaluate: Evaluate
  readonly timeline: readonly TimelineEntry[]
  /** Newest first. */
  readonly versions: readonly RuleVersion[]
  readonly now: Millis
  /** What else changed between these times; absent without analytics. */
  readonly correlated?: (alert: Alert, from: Millis, until: Millis) => Promise<readonly CorrelatedChange[]>
}

const BEFORE_MS = 15 * MINUTE
const AFTER_MS = 5 * MINUTE
const AROUND_MAX_MS = 6 * HOUR
const SAMPLES_SHOWN = 2000

export async function explain(alert: Alert, world: ExplainWorld): Promise<Explanation> {
  const { timeline, versions } = world
  const from = Math.max(alert.since - BEFORE_MS, alert.triggeredAt - AROUND_MAX_MS)
  const end = Math.min(world.now, (alert.resolvedAt ?? world.now) + AFTER_MS, from + AROUND_MAX_MS)
  const [samples, correlated] = await Promise.all([
    samplesOf(alert, from, Math.max(from, end), world),
    world.correlated?.(alert, alert.since - BEFORE_MS, alert.triggeredAt + AFTER_MS) ?? [],
  ])
  return {
    rule: versions.find(({ version }) => version === alert.ruleVersion)?.rule ?? null,
    samples: thinned(samples),
    complete: samples.length <= SAMPLES_SHOWN,
    since: alert.since,
    heldMs: alert.triggeredAt - alert.since,
    checks: timeline.flatMap(({ at, kind, detail }) => {
      const verdicts = detail.verdicts as readonly Verdict[] | undefined
      return verdicts && verdicts.length > 0 ? [{ at, event: String(detail.event ?? kind), verdicts }] : []
    }),
    correlated,
    thresholdHistory: thresholds(versions),
    timeline,
  }
}

/** Of an expression its answers; of anything else the samples of its series. */
async function samplesOf(alert: Alert, from: Millis, until: Millis, { evaluate }: ExplainWorld) {
  const points: { at: Millis; value: number }[] = []
  if (alert.isTest) return points
  const { source } = alert.facts
  if (source.kind === 'expr') {
    const { series } = await evaluate(source.expr, from, until, Math.max(15_000, Math.ceil((until - from) / 1000)))
    const key = JSON.stringify(alert.labels)
    for (const { labels, times, values } of series) {
      if (JSON.stringify(labels) === key) times.forEach((at, i) => void points.push({ at, value: values[i]! }))
    }
  } else {
    const [series] = await readSamples(evaluate, selectorOfSeries(alert.labels), from, until)
    series?.times.forEach((at, i) => void points.push({ at, value: series.values[i]! }))
  }
  return points.filter(({ value }) => Number.isFinite(value))
}

/** At most so many, the lowest and the highest of each stretch. */
function thinned<P extends { readonly value: number }>(points: readonly P[]): P[] {
  if (points.length <= SAMPLES_SHOWN) return [...points]
  const stretch = Math.ceil((2 * points.length) / SAMPLES_SHOWN)
  const kept: P[] = []
  for (let i = 0; i < points.length; i += stretch) {
    const part = points.slice(i, i + stretch)
    const low = part.reduce((a, b) => (b.value < a.value ? b : a))
    const high = part.reduce((a, b) => (b.value > a.value ? b : a))
    kept.push(...(part.indexOf(low) < part.indexOf(high) ? [low, high] : [high, low]))
  }
  return [...new Set(kept)]
}

/** When the limit changed, oldest first. */
function thresholds(versions: readonly RuleVersion[]) {
  const history: { at: Millis; version: number; threshold: number; by: string }[] = []
  for (const { at, version, by, rule } of [...versions].reverse()) {
    if (rule && history.at(-1)?.threshold !== rule.threshold) {
      history.push({ at, version, threshold: rule.threshold, by })
    }
  }
  return history
}
