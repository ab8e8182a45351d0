/** The front door of scaling. */
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { DAY, HOUR, type Millis, SECOND } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import type { ScalingConfig } from './config.ts'
import { type DriverTools, driversOf } from './drivers/drivers.ts'
import type { Graded } from './grade.ts'
import { gradeOf, historyOf, simulationThread, stepOf } from './history.ts'
import { type Manager, type ScalingEvent, startManager } from './manager.ts'
import type { DecideSettings, Policy } from './model.ts'
import type { ScalingSources } from './observe.ts'
import { PLANNER } from './planner/planner.ts'
import { startUpOf } from './planner/start-up.ts'
import { openPolicies, type Policies } from './policies.ts'
import { type Recommendation, recommend } from './recommend.ts'
import { serviceOf } from './service.ts'
import type { Simulation } from './simulate.ts'

import { openScalingStore, type ScalingStore, type StoredDecision } from './store.ts'
import { type TargetSettings, withMarket } from './targets.ts'
import { type TimelinePoint, timelineOf } from './timeline.ts'

export { carriedOut, type Decide, decide, newState, type Outcome, type ScalerState } from './decide.ts'
export type { PlatformInstance, PlatformPort, Told } from './drivers/platform.ts'
export { type DecidedCount, type Graded, gradeDecision } from './grade.ts'
export { runSimulation } from './history.ts'
export { isSchedule } from './limits.ts'
export type { Manager, ScalingEvent, TargetView } from './manager.ts'
export type * from './model.ts'
export type { Combine, ScalingSources } from './observe.ts'
export { settingsFrom } from './plain.ts'
export type { Policies } from './policies.ts'
export { type Recommendation, recommend } from './recommend.ts'
export { type SimulationJson, simulationJson, standingOf } from './schemas.ts'
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
  /** The file of the simulation thread. */
  readonly simulationWorker: URL
  /** Written in the transaction of what it tells. */
  readonly onEvent: (event: ScalingEvent) => void
}

export interface Scaling {
  readonly manager: Manager
  readonly policies: Policies
  readonly store: ScalingStore
  /** Demand, instances and capacity of a target at `from`, `from + stepMs`, … `until`. */
  timeline(target: string, from: Millis, until: Millis, stepMs: Millis): Promise<TimelinePoint[]>
  /** What a policy alone would have done. Throws 409 when the history does not tell enough. */
  simulate(policy: Policy, since: Millis, until: Millis): Promise<Simulation>
  /** What is worth doing now, by the policies of a target. */
  recommendations(target: string): Recommendation[]
  grade(decision: StoredDecision): Promise<Graded | null>
  close(): Promise<void>
}

const SIMULATED_EVERY_MS = 6 * HOUR
const SIMULATED_MS = 7 * DAY

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
  const play = simulationThread(options.simulationWorker, scheduler)
  const judged = new Map<string, { at: Millis; simulation: Simulation | null }>()
  async function simulateIn(target: TargetSettings, settings: DecideSettings, since: Millis, until: Millis) {
    const cycleMs = config().evaluationInterval * SECOND
    const read = (from: Millis, step: Millis) => {
      return historyOf(target, settings.policies, options.sources, Math.ceil(from / step) * step, until, step)
    }
    let stepMs = stepOf(until - since, cycleMs)
    let rows = await read(since, stepMs)
    // A history that is shorter than what was asked for is played in the finer steps that it allows.
    const begins = Math.max(since, (rows.find(({ demand }) => demand !== null)?.at ?? until) - stepMs)
    const finer = stepOf(until - begins, cycleMs)
    if (finer < stepMs) {
      stepMs = finer
      rows = await read(begins, stepMs)
    }
    const { planner } = manager.state(target.name)
    const known = serviceOf(planner.capacity, target.limitMs)
    const startUpMs = startUpOf(planner.startUp, settings.target.startUpMs ?? PLANNER.startUpPriorMs)
    const played = { ...settings, target: { ...settings.target, startUpMs }, pause: null, hold: null, cycleMs: stepMs }
    return play({ rows, known, settings: played })
  }
  return {
    manager,
    policies,
    store,
    async simulate(policy, since, until) {
      const { settings } = manager.view(policy.target)
      return simulateIn(
        settings,
        { ...manager.settings(policy.target), policies: [{ ...policy, enabled: true }] },
        since,
        until,
      )
    },
    recommendations(name) {
      const { seen } = manager.view(name)
      if (seen === null) return []
      const now = scheduler.clock.now()
      const known = judged.get(name)
      if (known === undefined || now - known.at > SIMULATED_EVERY_MS) {
        judged.set(name, { at: now, simulation: known?.simulation ?? null })
        // Evidence of the last week comes with the next question.
        void simulateIn(manager.view(name).settings, manager.settings(name), now - SIMULATED_MS, now).then(
          (simulation) => judged.set(name, { at: now, simulation }),
          () => {},
        )
      }
      return recommend(manager.state(name), seen, manager.settings(name), known?.simulation ?? null, now)
    },
    grade: (decision) =>
      gradeOf(
        decision,
        manager.view(decision.target).settings,
        manager.settings(decision.target),
        store,
        options.sources,
        scheduler.clock.now(),
      ),
    timeline: (name, from, until, stepMs) =>
      timelineOf(manager.view(name).settings, options.sources, from, until, stepMs),
    async close() {
      await manager.close()
      drivers.close()
    },
  }
}
