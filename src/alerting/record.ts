/** An alert as it is stored and shown: what the watch's deeds made, and what people and time have added to it. */
import type { Millis } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import type { CloseReason } from './alert.ts'
import type { Condition, RuleSource, Severity } from './rule.ts'

export const ALERT_STATUSES = ['active', 'acknowledged', 'suppressed', 'resolved'] as const
export type AlertStatus = (typeof ALERT_STATUSES)[number]

/** What the rule said when the alert opened; a later version of the rule changes nothing of it. */
export interface AlertFacts {
  readonly ruleName: string
  readonly condition: Condition
  readonly source: RuleSource
  readonly recoveryThreshold: number
  readonly baseSeverity: Severity
  readonly channels: readonly string[]
  readonly tags: readonly string[]
  readonly suppressedBy: readonly string[]
  readonly unit: string
  readonly runbookUrl: string | null
  readonly owner: string | null
  /** Labels that the rule adds; a silence sees them beside the series' own. */
  readonly extraLabels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export interface Alert {
  readonly id: string
  readonly ruleId: string
  readonly ruleVersion: number
  /** See `seriesKey`. */
  readonly seriesKey: string
  readonly status: AlertStatus
  readonly severity: Severity
  /** How often it has risen. */
  readonly level: number
  /** Canonical name; '' for expressions. */
  readonly metricName: string
  /** Of the series, its name among them. */
  readonly labels: Labels
  readonly title: string
  readonly message: string
  /** The newest value known; null: none. */
  readonly value: number | null
  readonly threshold: number | null
  readonly peak: number | null
  /** When the breach began. */
  readonly since: Millis
  readonly triggeredAt: Millis
  readonly acknowledgedAt: Millis | null
  readonly acknowledgedBy: string | null
  readonly resolvedAt: Millis | null
  readonly resolution: CloseReason | null
  readonly notes: string | null
  readonly falsePositive: boolean
  readonly flapping: boolean
  /** `rule:cpu_critical`, `silence:01j…`. */
  readonly suppressedBy: string | null
  readonly isTest: boolean
  readonly escalateAt: Millis | null
  /** The group that it is told with; null: it is told by itself. */
  readonly groupKey: string | null
  readonly told: Told
  readonly facts: AlertFacts
}

/** What has been said of an alert. */
export interface Told {
  /** Channels that got its firing, or a rise. */
  readonly channels: readonly string[]
  /** What was said, so that it is not said again: `firing`, `escalated 1`, `resolved`; the latest few. */
  readonly marks: readonly string[]
}

export const toldNothing: Told = { channels: [], marks: [] }

const SEVERITY_RANK: Readonly<Record<Severity, number>> = { emergency: 0, critical: 1, warning: 2, info: 3 }

/** Smaller needs somebody sooner: by status first, by severity within it. */
export function rankOf(status: AlertStatus, severity: Severity): number {
  const byStatus = { active: 0, acknowledged: 10, suppressed: 20, resolved: 30 }[status]
  return byStatus + SEVERITY_RANK[severity]
}

export type TimelineKind =
  | 'opened'
  | 'suppressed'
  | 'released'
  | 'told'
  | 'held_back'
  | 'escalated'
  | 'acknowledged'
  | 'closed'

export interface TimelineEntry {
  readonly at: Millis
  readonly kind: TimelineKind
  readonly detail: Readonly<Record<string, unknown>>
}
