/**
 * A rule: which series it watches, when they are in breach, and who hears of it. Every field has its final value here
 * (defaults applied, durations in milliseconds, metric name canonical); `routes.ts` speaks the contract's JSON.
 */
import type { Millis } from '../base/time.ts'

export const SEVERITIES = ['info', 'warning', 'critical', 'emergency'] as const
export type Severity = (typeof SEVERITIES)[number]

export const CONDITIONS = ['gt', 'lt', 'gte', 'lte', 'eq', 'change_rate'] as const
export type Condition = (typeof CONDITIONS)[number]

/** One label that a series must have: an exact value, or a regular expression anchored at both ends. */
export interface LabelMatch {
  readonly name: string
  readonly equals?: string
  readonly regex?: string
}

/** What the rule looks at. */
export type RuleSource =
  /** The samples of a metric. `change_rate` compares the change per minute over `windowMs`. */
  | { readonly kind: 'threshold' }
  /** Fires while the metric is anomalous (score at or above `ANOMALY_ALARM`). */
  | { readonly kind: 'anomaly' }
  /** Fires when the near edge of the forecast's interval breaches, while the forecast has earned its place. */
  | { readonly kind: 'forecast'; readonly horizonMinutes: number }
  /**
   * A PromQL expression: fires for each series of its result; `condition` and `threshold` do not count. Evaluated every
   * `everyMs`, at the latest with all others.
   */
  | { readonly kind: 'expr'; readonly expr: string; readonly everyMs?: number }

/** The score from which on a metric counts as anomalous. */
export const ANOMALY_ALARM = 0.5

export interface Rule {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly source: RuleSource
  /** Canonical name; empty for `expr`. */
  readonly metricName: string
  /** Empty: the series with the platform's own label where such exist, else all of the metric. */
  readonly labels: readonly LabelMatch[]
  readonly condition: Condition
  readonly threshold: number
  readonly severity: Severity
  readonly channels: readonly string[]
  readonly enabled: boolean
  /** Holds back a new alert of the same rule and series after the last one ended. */
  readonly cooldownMs: number
  /** How long the condition must hold before an alert opens. */
  readonly forMs: number
  /** The value must come back beyond this one, on the good side, to count as recovered; `threshold` unless given. */
  readonly recoveryThreshold: number
  /** How long it must stay recovered before the alert resolves. */
  readonly recoverForMs: number
  /** What happens to the alert when samples stop. */
  readonly noData: 'keep' | 'alert' | 'resolve'
  readonly windowMs: number
  readonly tags: readonly string[]
  /** Rules that inhibit this one while they fire. */
  readonly suppressedBy: readonly string[]
  readonly runbookUrl: string | null
  readonly owner: string | null
  readonly provenance: 'default' | 'file' | 'api' | 'ui'
  /** Labels and annotations that a rule file adds; templates of Prometheus. */
  readonly extraLabels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly createdAt: Millis
  readonly version: number
}

/** Where a value stands. Between the threshold and the recovery threshold it neither breaches nor has recovered. */
export type Level = 'breach' | 'between' | 'clear'

/** `eq` compares within this distance. */
export const EQUAL_WITHIN = 0.01

type Judged = Pick<Rule, 'condition' | 'threshold' | 'recoveryThreshold'>

export function levelOf(rule: Judged, value: number): Level {
  if (breaches(rule.condition, value, rule.threshold)) return 'breach'
  if (rule.recoveryThreshold === rule.threshold) return 'clear'
  return breaches(rule.condition, value, rule.recoveryThreshold) ? 'between' : 'clear'
}

/** A missing value (NaN) breaches nothing. */
export function breaches(condition: Condition, value: number, threshold: number): boolean {
  switch (condition) {
    case 'gt':
      return value > threshold
    case 'lt':
      return value < threshold
    case 'gte':
      return value >= threshold
    case 'lte':
      return value <= threshold
    case 'eq':
      return Math.abs(value - threshold) <= EQUAL_WITHIN * (1 + 1e-9) // 1.01 - 1 is a little over 0.01 in binary
    case 'change_rate':
      // The sign of the threshold says which way: above a positive one, below a negative one.
      return threshold >= 0 ? value > threshold : value < threshold
  }
}
