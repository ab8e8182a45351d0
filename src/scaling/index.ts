/** The front door of scaling. */
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import type { ScalingConfig } from './config.ts'
import { type DriverTools, driversOf } from './drivers/drivers.ts'
import { type Manager, type ScalingEvent, startManager } from './manager.ts'
import type { ScalingSources } from './observe.ts'
import { openPolicies, type Policies } from './policies.ts'
import { openScalingStore, type ScalingStore } from './store.ts'
import { withMarket } from './targets.ts'
import { type TimelinePoint, timelineOf } from './timeline.ts'

export { carriedOut, type Decide, decide, newState, type Outcome, type ScalerState } from './decide.ts'
export type { PlatformInstance, PlatformPort, Told } from './drivers/platform.ts'
export { type DecidedCount, type Graded, gradeDecision } from './grade.ts'
export { isSchedule } from './limits.ts'
export type { Manager, ScalingEvent, TargetView } from './manager.ts'
export type * from './model.ts'
export type { Combine, ScalingSources } from './observe.ts'
export type { Policies } from './policies.ts'
export { type Recommendation, recommend } from './recommend.ts'
export { standingOf } from './schemas.ts'
export { fitService, type Service, serviceOf } from './service.ts'
export {
  type HistoryRow,
  type SimulatedDecision,
  type SimulatedPoint,
  type SimulateOptions,
  type Simulation,
  simulate,
  type Totals,
} from './simulate.ts'
export type { ScalingStore, StoredDecision } from './store.ts'
export { scalingTables } from './tables.ts'
export { MARKET } from './targets.ts'

export interface ScalingOptions extends Pick<DriverTools, 'platform' | 'environment' | 'place' | 'scheduler' | 'log'> {
  readonly db: Database
  readonly sources: ScalingSources
  readonly config: () => ScalingConfig
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  readonly version: string
  /** Written in the transaction of what it tells. */
  readonly onEvent: (event: ScalingEvent) => void
}

export interface Scaling {
  readonly manager: Manager
  readonly policies: Policies
  readonly store: ScalingStore
  /** Demand, instances and capacity of a target at `from`, `from + stepMs`, … `until`. */
  timeline(target: string, from: Millis, until: Millis, stepMs: Millis): Promise<TimelinePoint[]>
  close(): Promise<void>
}

/** Opens what scaling remembers and begins its cycles, when it is on. */
export function startScaling(options: ScalingOptions): Scaling {
  const { db, scheduler, log, config } = options
  const targets = withMarket(config().targets)
  const store = openScalingStore(db)
  const names = targets.map(({ name }) => name)
  const policies = openPolicies(db, names, config().cooldownPeriod, scheduler.clock.now())
  const drivers = driversOf({
    ...options,
    ledger: (target) => store.ledger(target),
    allowNetworks: () => config().allowNetworks,
    webhookSecret: () => config().webhookSecret,
    onProcessEvent(target, { instance, type, detail }) {
      log.info('an instance of a target', { target, instance, what: type, detail })
    },
  })
  const manager = startManager({ ...options, store, policies, targets, driver: (target) => drivers.make(target) })
  return {
    manager,
    policies,
    store,
    timeline: (name, from, until, stepMs) =>
      timelineOf(manager.view(name).settings, options.sources, from, until, stepMs),
    async close() {
      await manager.close()
      drivers.close()
    },
  }
}
