/**
 * What the dashboard reads. The room never opens a store or a process table itself: control hands these in, made from
 * the metrics façade, the query worker and what front tells of its children.
 */
import type { Millis } from '../base/time.ts'
import type {
  AlertCounts,
  DashboardAlert,
  DashboardAnomaly,
  DashboardInsight,
  Engine,
  ForecastPoint,
  LastDecision,
} from './protocol.ts'

export interface Point {
  readonly at: Millis
  readonly value: number
}

/** Points in ascending time; `times[i]` is the start of a bucket, `values[i]` the mean of the samples in it. */
export interface Points {
  readonly times: ArrayLike<number>
  readonly values: ArrayLike<number>
}

/** A process as front sees it. */
export interface ProcessView {
  readonly id: string
  readonly kind: string
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped'
  readonly startedAt: Millis | null
  readonly restarts: number
  readonly lastExit: string | null
}

/** Something that happened, as the charts mark it. */
export interface EventView {
  readonly at: Millis
  /** `process`, `scaling`; later `deployment`, `market`. */
  readonly type: string
  readonly subject: string
  /** `restarting`, `exited`: a verb for the title. */
  readonly action: string
  readonly detail: string
}

/** An engine that is built in. */
export interface EngineView {
  readonly active: boolean
  /** End of its last real cycle. */
  readonly lastActivity: Millis | null
}

/** How many instances there are and are to be, and the newest decision that changed something. */
export interface InstancesView {
  readonly current: number | null
  readonly target: number | null
  readonly lastDecision: LastDecision | null
}

/** A forecast of one metric at one horizon, the newest that was made. */
export interface ForecastView extends ForecastPoint {
  readonly metric: string
  readonly madeAt: Millis
}

/**
 * Names are canonical (`system.cpu_usage`). They mean the platform's own series (`service="opinion-market"`); of
 * response time, the p95.
 */
export interface DashboardSources {
  /** The newest stored sample of each metric, at most 24 h old; a metric without one is absent. */
  latest(names: readonly string[]): Promise<ReadonlyMap<string, Point>>
  /** Means over buckets of `stepMs`, aligned to multiples of it, from ≤ start ≤ to; buckets without samples are absent. */
  range(name: string, from: Millis, to: Millis, stepMs: number): Promise<Points>
  processes(): readonly ProcessView[]
  /** Oldest first. */
  events(since: Millis, until: Millis): readonly EventView[]
  /** Milliseconds between two collections of the platform's own metrics. */
  intervalMs(): number
  /** Engines beside collection; one that is absent is shown as not installed. */
  engines?(): Readonly<Partial<Record<Engine['name'], EngineView>>>
  /** The newest forecasts of these metrics, withdrawn ones among them. */
  forecasts?(names: readonly string[]): readonly ForecastView[]
  /** Anomalies of these metrics that no verdict hides, newest first, at most `limit`. */
  anomalies?(names: readonly string[], since: Millis, until: Millis, limit: number): readonly DashboardAnomaly[]
  /** What analytics found in its last cycles. */
  insights?(): readonly DashboardInsight[]
  /** Alerts that are not over and not hidden, those that need somebody first. */
  alerts?(): readonly DashboardAlert[]
  alertCounts?(): AlertCounts
  /** Of the platform's own instances. */
  instances?(): InstancesView
}
