/** What the API of alerting answers, as far as the page reads it. */
export const API = '/api/v1/intelligent-alerting'

export const SEVERITIES = ['info', 'warning', 'critical', 'emergency'] as const
export type Severity = (typeof SEVERITIES)[number]

export interface Alert {
  readonly id: string
  readonly rule_id: string
  readonly title: string
  readonly message: string
  readonly severity: Severity
  readonly status: 'active' | 'acknowledged' | 'resolved' | 'suppressed'
  readonly metric_name: string
  readonly labels: Readonly<Record<string, string>>
  readonly unit: string
  readonly current_value: number | null
  readonly threshold_value: number | null
  readonly clears_below: number | null
  readonly clears_above: number | null
  readonly since: string
  readonly triggered_at: string
  readonly acknowledged_at: string | null
  readonly resolved_at: string | null
  readonly acknowledged_by: string | null
  readonly resolution: string | null
  readonly resolution_notes: string | null
  readonly false_positive: boolean
  readonly metadata: { readonly rule_name: string; readonly condition: Condition; readonly tags: readonly string[] }
  readonly is_test: boolean
  readonly escalation_level: number
  readonly next_escalation_at: string | null
  readonly flapping: boolean
  readonly suppressed_by: string | null
  readonly peak_value: number | null
  readonly notifications: readonly string[]
  readonly group_key: string | null
  readonly runbook_url: string | null
  readonly owner: string | null
  readonly annotations: Readonly<Record<string, string>>
}

export interface AlertsAnswer {
  readonly alerts: readonly Alert[]
  readonly total_count: number
  readonly active_count: number
  readonly counts: Readonly<Record<Alert['status'] | 'resolved_today', number>>
  readonly next_cursor: string | null
}

export interface TimelineEntry {
  readonly at: string
  readonly kind: string
  readonly detail: Readonly<Record<string, unknown>>
}

export interface AlertDetail extends Alert {
  readonly timeline: readonly TimelineEntry[]
}

export interface Explanation {
  readonly correlated: readonly {
    readonly metric_name: string
    readonly labels: Readonly<Record<string, string>>
    readonly started_at: string
    readonly seconds_before: number
    readonly strength: number
    readonly description: string
  }[]
}

export interface Delivery {
  readonly id: string
  readonly channel_id: string
  readonly event: string
  readonly alert_ids: readonly string[]
  readonly title: string
  readonly count: number
  readonly severity: Severity | null
  readonly is_test: boolean
  readonly status: 'waiting' | 'delivered' | 'dead' | 'cancelled'
  readonly attempts: readonly {
    readonly at: string
    readonly ms: number
    readonly ok: boolean
    readonly answer: string
  }[]
  readonly next_at: string | null
  readonly created_at: string
}

export interface DeliveriesAnswer {
  readonly deliveries: readonly Delivery[]
  readonly waiting: number
  readonly oldest_waiting_at: string | null
  readonly resting: readonly { readonly channel_id: string; readonly next_try_at: string; readonly failing: boolean }[]
  readonly next_cursor: string | null
}

export const CONDITIONS = ['gt', 'gte', 'lt', 'lte', 'eq', 'change_rate'] as const
export type Condition = (typeof CONDITIONS)[number]

export interface Rule {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly metric_name: string
  readonly labels: Readonly<Record<string, string | { readonly regex: string }>>
  readonly condition: Condition
  readonly threshold: number
  readonly severity: Severity
  readonly notification_channels: readonly string[]
  readonly enabled: boolean
  readonly cooldown_period: number
  readonly tags: readonly string[]
  readonly suppression_rules: readonly string[]
  readonly for: number
  readonly recovery_threshold: number
  readonly recover_for: number
  readonly no_data: 'keep' | 'alert' | 'resolve'
  readonly mode: 'threshold' | 'anomaly' | 'forecast' | 'expr'
  readonly horizon: number | null
  readonly expr: string | null
  readonly window: number
  readonly runbook_url: string | null
  readonly owner: string | null
  readonly provenance: string
  readonly unit: string
  readonly version: number
}

export interface Channel {
  readonly id: string
  readonly name: string
  readonly type: 'email' | 'webhook' | 'slack' | 'sms'
  readonly config: Readonly<Record<string, unknown>>
  readonly enabled: boolean
  readonly severity_filter: readonly Severity[]
  readonly configured: boolean
  readonly missing: readonly string[]
  readonly last_success_at: string | null
  readonly last_error: string | null
  readonly version: number
}

export interface Silence {
  readonly id: string
  readonly version: number
  readonly state: 'pending' | 'active' | 'expired'
  readonly matchers: readonly {
    readonly name: string
    readonly value: string
    readonly is_regex: boolean
    readonly is_equal: boolean
  }[]
  readonly starts_at: string
  readonly ends_at: string | null
  readonly schedule: { readonly cron: string; readonly duration: number; readonly time_zone: string } | null
  readonly until_resolved: boolean
  readonly comment: string
  readonly created_by: string
  readonly ended_at: string | null
  readonly hidden: {
    readonly total: number
    readonly open: number
    readonly alerts: readonly {
      readonly id: string
      readonly title: string
      readonly status: Alert['status']
      readonly at: string
    }[]
  }
}

export interface Outcome {
  readonly channel_id: string
  readonly status: 'delivered' | 'failed' | 'waiting' | 'not_sent'
  readonly answer: string
  readonly ms: number | null
}
