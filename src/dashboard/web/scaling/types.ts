/** What the API of scaling answers, as far as the pages use it. */
export const API = '/api/v1/auto-scaling'

export type Action = 'scale_up' | 'scale_down' | 'maintain'
export type Status = 'planned' | 'executing' | 'done' | 'failed' | 'suppressed'

export interface Decision {
  readonly id: string
  readonly target: string
  readonly action: Action
  readonly target_instances: number
  readonly current_instances: number
  readonly reason: string
  readonly confidence: number
  readonly metrics: Readonly<Record<string, number>>
  readonly predicted_impact: {
    readonly cost_change: number | null
    readonly performance_change: number | null
    readonly resource_utilization: number | null
  }
  readonly created_at: string
  readonly policy: string
  readonly trigger: string
  readonly proposals: readonly {
    readonly by: string
    readonly wanted: number
    readonly trigger: string
    readonly reason: string
    readonly counted: boolean
  }[]
  readonly constraints: readonly {
    readonly constraint: string
    readonly detail: string
    readonly from: number
    readonly to: number
  }[]
  readonly status: Status
  readonly executed_at: string | null
  readonly ready_at: string | null
  readonly error: string | null
}

export interface Forecast {
  readonly target_time: string
  readonly value: number
  readonly lower: number
  readonly upper: number
}

export interface Trace extends Decision {
  readonly inputs: Readonly<Record<string, number | null>>
  readonly forecast: readonly Forecast[]
  readonly capacity_per_instance: number | null
  readonly start_up: number
  readonly steps: readonly { readonly at: string; readonly status: Status; readonly detail: string | null }[]
  readonly policy_versions: Readonly<Record<string, number>>
  readonly engine: string
  readonly grade: { readonly grade: number; readonly sentence: string } | null
}

export interface Target {
  readonly name: string
  readonly provider: 'platform' | 'process' | 'kubernetes' | 'webhook'
  readonly current_instances: number | null
  readonly target_instances: number | null
  readonly starting: number
  readonly draining: number
  readonly failed: number
  readonly problem: string | null
}

interface Usage {
  readonly instance_hours: number
  readonly baseline_hours: number
  readonly saved_percent: number | null
  readonly cost: number | null
  readonly baseline_cost: number | null
}

export interface PolicySummary {
  readonly enabled: boolean
  readonly metric_name: string
  readonly scale_up_threshold: number
  readonly scale_down_threshold: number
  readonly current_value: number | null
  readonly predictive: string
  readonly last_action_time: string | null
}

export interface Summary {
  readonly scaling_active: boolean
  readonly target: string
  readonly current_instances: number | null
  readonly target_instances: number | null
  readonly policies: Readonly<Record<string, PolicySummary>>
  readonly metrics: {
    readonly successful_scales: number
    readonly failed_scales: number
    readonly average_scale_time: number
  }
  readonly provider: { readonly kind: string; readonly state: string; readonly detail: string | null }
  readonly limits: { readonly min: number; readonly max: number }
  readonly limit_ms: number
  readonly demand: { readonly metric: string; readonly value: number | null; readonly unit: string }
  readonly capacity_per_instance: { readonly value: number | null; readonly unit: string }
  readonly ready_in: number | null
  readonly usage: { readonly today: Usage; readonly yesterday: Usage; readonly period: Usage }
  readonly currency: string | null
  readonly pause: { readonly until: string | null; readonly by: string; readonly reason: string } | null
  readonly hold: {
    readonly target_instances: number
    readonly until: string
    readonly by: string
    readonly reason: string
  } | null
  readonly last_decision: Decision | null
  readonly last_change: Decision | null
  readonly targets: readonly Target[]
}

export interface Instance {
  readonly id: string
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped' | 'failed'
  readonly started_at: string | null
  readonly cpu: number | null
  readonly memory: number | null
  readonly in_flight: number | null
}

export interface Timeline {
  readonly step: number
  readonly points: readonly {
    readonly t: string
    readonly demand: number | null
    readonly ready: number | null
    readonly wanted: number | null
    readonly capacity: number | null
  }[]
  readonly forecast: readonly Forecast[]
}

export interface Policy {
  readonly name: string
  readonly target: string
  readonly metric_name: string
  readonly scale_up_threshold: number
  readonly scale_down_threshold: number
  readonly min_instances: number
  readonly max_instances: number
  readonly cooldown_period: number
  readonly enabled: boolean
  readonly breach_for: number
  readonly clear_for: number
  readonly max_step_up: number | string
  readonly max_step_down: number | string
  readonly predictive: 'off' | 'forecast_only' | 'scale'
  readonly on_missing_metric: 'hold' | 'fallback'
  readonly fallback_instances: number | null
  readonly last_action_time: string | null
  readonly version: number
}
