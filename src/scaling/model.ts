/**
 * The things of scaling, as every part of it speaks of them.
 *
 *   every cycle, for each target:
 *     driver.observe() ┐
 *     stored samples   ├─▶ Observation ─▶ decide(state, observation, settings, now) ─▶ { state, decision }
 *     forecast         ┘                        │ pure: scaling/decide.ts                │
 *                                               ▼                                        ▼
 *                                    stored with everything it was made from     actuate: driver.scale(n, fence)
 *
 * A target is something with a count. Live cycles, simulation over stored history, the judge's JSON lines and tests
 * run the same `decide`. Nothing here reads a clock, a database or a socket.
 */
import type { Millis } from '../base/time.ts'

export const ACTIONS = ['scale_up', 'scale_down', 'maintain'] as const
export type Action = (typeof ACTIONS)[number]
export type Trigger = 'reactive' | 'predictive' | 'manual' | 'schedule' | 'fallback'
export type Constraint =
  | 'cooldown'
  | 'stabilization'
  | 'min'
  | 'max'
  | 'max_step'
  | 'missing_metric'
  | 'paused'
  | 'manual_hold'
  /** The load of the last minutes would not have held its limit with one instance less. */
  | 'proof_failed'
  /** The driver does not tell what is there, or another controller holds the target. */
  | 'driver'
export type DecisionStatus = 'planned' | 'executing' | 'done' | 'failed' | 'suppressed'

/** A count, or a share of what is there, rounded up for steps up and down for steps down. */
export type Step = number | `${number}%`

/** Contract 4.2. Durations in seconds. */
export interface Policy {
  readonly name: string
  /** The target it belongs to; `market` unless said. */
  readonly target: string
  readonly metricName: string
  readonly scaleUpThreshold: number
  readonly scaleDownThreshold: number
  readonly minInstances: number
  readonly maxInstances: number
  readonly cooldownPeriod: number
  readonly enabled: boolean
  readonly breachFor: number
  readonly clearFor: number
  readonly maxStepUp: Step
  readonly maxStepDown: Step
  readonly predictive: 'off' | 'forecast_only' | 'scale'
  readonly onMissingMetric: 'hold' | 'fallback'
  readonly fallbackInstances: number | null
  readonly version: number
}

/** At least `minimum` instances from each `cron` moment on, for `lastsMs`. */
export interface Schedule {
  readonly name: string
  readonly cron: string
  readonly timeZone: string
  readonly minimum: number
  readonly lastsMs: number
}

/** Something that is known to come: demand is multiplied, or a minimum held. */
export interface KnownEvent {
  readonly name: string
  readonly from: Millis
  readonly until: Millis
  readonly minimum: number | null
  readonly demandFactor: number | null
}

/** What money says: shrinking saves the first, being too small costs the others. */
export interface Economics {
  readonly pricePerInstanceHour: number
  readonly slowPerMillion: number
  readonly lostPerMillion: number
  /** Null: hours and per cent are shown instead of money. The figures above then weigh, and are not shown. */
  readonly currency: string | null
}

export interface Target {
  readonly name: string
  readonly driver: 'platform' | 'process' | 'kubernetes' | 'webhook'
  readonly minInstances: number
  readonly maxInstances: number
  /** Response time that users are to get, ms; what proof and the planner hold. */
  readonly limitMs: number
  /** Stored names or PromQL of the target's demand (requests/s), CPU (% of one instance), response time (ms). */
  readonly demand: string
  readonly cpu: string
  readonly responseTime: string
  readonly economics: Economics
  /** What a start is thought to take until some were seen, ms; a minute unless said. */
  readonly startUpMs?: number
  readonly schedules: readonly Schedule[]
  readonly events: readonly KnownEvent[]
}

export interface InstanceView {
  readonly id: string
  readonly provider: string
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped' | 'failed'
  readonly startedAt: Millis | null
  readonly readyAt: Millis | null
  /** Per cent of one core, bytes, requests under way; null where nobody measures it. */
  readonly cpu: number | null
  readonly memory: number | null
  readonly inFlight: number | null
}

/** Demand at a horizon, with its interval; levels are those of the forecaster. */
export interface DemandForecast {
  readonly at: Millis
  readonly value: number
  readonly lower: number
  readonly upper: number
  readonly coverage: number
}

/** What a cycle knows. A metric without a fresh sample is null: never 0, never the last value. */
export interface Observation {
  readonly ready: number
  readonly starting: number
  readonly draining: number
  /** What the provider was last told; null or absent when it does not know: then what was carried out is remembered. */
  readonly wanted?: number | null
  readonly demand: number | null
  readonly cpu: number | null
  readonly memory: number | null
  readonly responseMs: number | null
  /** How long starts took that ended since the last cycle, ms, when the driver measures it. */
  readonly startUps?: readonly number[]
  /** By the policy's metric name, canonical. */
  readonly metrics: Readonly<Record<string, number | null>>
  /** The engine of analytics' own forecasts, when they have earned their place; the planner also makes its own. */
  readonly forecast: readonly DemandForecast[]
}

export interface Proposal {
  readonly by: string
  readonly wanted: number
  readonly trigger: Trigger
  /** One sentence with metric, value and threshold. */
  readonly why: string
  readonly inputs: Readonly<Record<string, number | null>>
  /** False: for show only, as a forecast that has not earned its place. */
  readonly counted: boolean
}

export interface Held {
  readonly constraint: Constraint
  readonly detail: string
  /** What it would have been without. */
  readonly from: number
  readonly to: number
}

export interface PlanPoint {
  readonly at: Millis
  readonly instances: number
}

/** One decision of one cycle of one target, whole: what `/decisions/{id}` shows and a replay is compared with. */
export interface Decision {
  readonly action: Action
  readonly current: number
  readonly wanted: number
  readonly trigger: Trigger
  /** The policy, plan, schedule or person that won. */
  readonly by: string
  readonly reason: string
  readonly confidence: number
  readonly proposals: readonly Proposal[]
  readonly held: readonly Held[]
  readonly inputs: Readonly<Record<string, number | null>>
  readonly forecast: readonly DemandForecast[]
  /** Instances that the plan would have ready at later moments, as far as its forecast reaches; empty without one. */
  readonly plan: readonly PlanPoint[]
  /** Requests/s that one instance serves within the limit; null until it has been learnt. */
  readonly capacityPerInstance: number | null
  readonly startUpMs: number
  readonly expected: {
    readonly costPerHour: number | null
    readonly performance: number | null
    readonly utilization: number | null
  }
}

export interface ManualHold {
  readonly wanted: number
  readonly until: Millis
  readonly by: string
  readonly reason: string
}
export interface Pause {
  readonly until: Millis | null
  readonly by: string
  readonly reason: string
}

export interface DecideSettings {
  readonly target: Target
  readonly policies: readonly Policy[]
  /** The global clamp: AUTO_SCALING_MIN_INSTANCES and AUTO_SCALING_MAX_INSTANCES. */
  readonly globalMin: number
  readonly globalMax: number
  readonly pause: Pause | null
  readonly hold: ManualHold | null
  /** Time from cycle to cycle, ms; without it the planner goes by the times it is called at. */
  readonly cycleMs?: number
}
