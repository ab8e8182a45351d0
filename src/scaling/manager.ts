/**
 * The shell around deciding: looks, decides, writes down, acts, and watches what becomes of it.
 *
 *   every cycle, for each target:   observe ─▶ read metrics ─▶ decide ─▶ ONE transaction: decision, what was learnt,
 *                                                                        what is wanted with its fence, event
 *                                   ─▶ driver.scale ─▶ step "executing" ─▶ … ready ─▶ step "done"
 *
 * What is wanted stands on disk before anybody is told: a control that is killed in between sends it again after its
 * start. A provider that does not take it is asked again after 1 s, 2 s, 4 s … 5 min; that is a failed action, and
 * starts no cooldown. Everything of one target happens in its lane, one thing after the other.
 */
import { conflict, messageOf, unavailable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { DAY, MINUTE, type Millis, SECOND, toIso } from '../base/time.ts'
import { tx } from '../storage/database.ts'
import type { ScalingConfig } from './config.ts'
import { afterGap, carriedOut, decide, type ScalerState } from './decide.ts'
import { type Driver, Fenced, type Observed, Unmanaged } from './drivers/driver.ts'
import { boundsOf } from './limits.ts'
import type { DecideSettings, Decision, DecisionStatus, ManualHold, Observation, Pause, Target } from './model.ts'
import { observationOf, type ScalingSources } from './observe.ts'
import type { Policies } from './policies.ts'
import type { ScalingStore, StoredDecision } from './store.ts'
import type { TargetSettings } from './targets.ts'

export interface ScalingEvent {
  readonly at: Millis
  readonly target: string
  /** `grows to 4`, `could not be scaled`, `paused`: what the chart says after the target's name. */
  readonly action: string
  readonly detail: string
}

export interface ManagerDeps {
  readonly store: ScalingStore
  readonly policies: Policies
  readonly targets: readonly TargetSettings[]
  readonly driver: (target: TargetSettings) => Driver
  readonly sources: ScalingSources
  readonly config: () => ScalingConfig
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  /** Kept with every decision. */
  readonly version: string
  /** Written in the transaction of what it tells. */
  readonly onEvent: (event: ScalingEvent) => void
}

/** A target as it is now. */
export interface TargetView {
  readonly settings: TargetSettings
  readonly target: Target
  /** Null until the driver has answered once. */
  readonly observed: Observed | null
  /** What is to be: of the last decision, else what the provider was told. */
  readonly wanted: number | null
  /** Why nothing can be done about it now; null when all is well. */
  readonly problem: string | null
  readonly cycleAt: Millis | null
  /** Since when the last action is under way, and when it began; null when nothing is. */
  readonly awaiting: { readonly decision: string; readonly since: Millis } | null
  readonly seen: Observation | null
  readonly last: Decision | null
}

export interface ManualRequest {
  readonly target: string
  readonly wanted: number
  readonly reason: string
  readonly holdMs: Millis
  readonly by: string
}

export interface Manual {
  readonly id: string
  readonly decision: Decision
  readonly previous: number
  readonly status: DecisionStatus
}

interface Live {
  readonly settings: TargetSettings
  driver: Driver | null
  observed: Observed | null
  seen: Observation | null
  last: Decision | null
  /** Why the driver, or a metric, gives nothing. */
  driverProblem: string | null
  /** What is wanted and does not come, as of the last cycle. */
  lacking: string | null
  failures: number
  nextTryAt: number
  retry: Cancel | null
  awaiting: { decision: string; action: Decision['action']; wanted: number; since: Millis } | null
  usedAt: number | null
  /** Whether front may have to be told again what was wanted before everything ended. */
  toRemind: boolean
  /** Its cycle that runs now. */
  cycle: Promise<void> | null
  /** Instances that were seen ready, by id and since when; null before the first look. */
  known: Set<string> | null
  /** How long starts took that ended since the last cycle, ms. */
  startUps: number[]
  lane: Promise<unknown>
  readonly count: Instruments
}

interface Instruments {
  readonly decisions: Record<Decision['action'], { add(): void }>
  readonly failed: { add(): void }
  readonly driverErrors: { add(): void }
}

const WATCH_MS = SECOND
/** So many intervals without a look are a gap. */
const LOOKS_MISSED = 3
/** An action whose instances are not ready after so long has failed. */
const READY_WITHIN_MS = 15 * MINUTE
const RETRY_MS = SECOND
const RETRY_MAX_MS = 5 * MINUTE
const STARTS_KEPT = 100
/** What is not ready after so long, and after so many times what a start takes, is said to be missing. */
const LACKING_AFTER_MS = 5 * MINUTE
const LACKING_START_UPS = 3
const CLEAN_EVERY_MS = 10 * MINUTE
/** A gap in watching longer than this was not seen: nothing is said of what ran meanwhile. */
const UNSEEN_MS = 5 * MINUTE

export type Manager = ReturnType<typeof startManager>

export function startManager(deps: ManagerDeps) {
  const { store, policies, sources, config, scheduler, log, telemetry } = deps
  const { clock } = scheduler
  const fence = store.nextFence()
  const all = new Map<string, Live>(deps.targets.map((settings) => [settings.name, liveOf(settings)]))
  let cycling: Cancel | null = null
  let lastCycle: Millis | null = null
  let stopped = false
  const problems = new Set<string>()

  for (const live of all.values()) void lane(live, () => resume(live))
  const watching = scheduler.every(WATCH_MS, watchAll)
  const cleaning = scheduler.every(CLEAN_EVERY_MS, () => store.clean(config().retentionDays * DAY, clock.now()))
  if (isActive()) arm(0)

  // ------------------------------------------------------------------------------------------------ making

  function liveOf(settings: TargetSettings): Live {
    const labels = { target: settings.name }
    const decided = (action: Decision['action']) =>
      telemetry.counter('scaling_decisions_total', 'Decisions of scaling.', { ...labels, action })
    const gauge = (name: string, help: string, read: (live: Live) => number | null) =>
      telemetry.gauge(name, help, labels, () => read(live))
    const live: Live = {
      settings,
      driver: null,
      observed: null,
      seen: null,
      last: null,
      driverProblem: null,
      lacking: null,
      failures: 0,
      nextTryAt: 0,
      retry: null,
      awaiting: null,
      usedAt: null,
      toRemind: settings.driver === 'platform',
      cycle: null,
      known: null,
      startUps: [],
      lane: Promise.resolve(),
      count: {
        decisions: { scale_up: decided('scale_up'), scale_down: decided('scale_down'), maintain: decided('maintain') },
        failed: telemetry.counter('scaling_actions_failed_total', 'Actions that a provider did not take.', labels),
        driverErrors: telemetry.counter(
          'scaling_driver_errors_total',
          'Questions that a provider did not answer.',
          labels,
        ),
      },
    }
    gauge(
      'scaling_instances_ready',
      'Instances that the provider reports as ready.',
      (one) => one.observed?.ready ?? null,
    )
    gauge('scaling_instances_starting', 'Instances that are being started.', (one) => one.observed?.starting ?? null)
    gauge('scaling_instances_wanted', 'Instances that are to be there.', (one) => wantedOf(one))
    gauge('scaling_driver_failing', '1 while the provider does not answer, take or keep what is asked.', (one) =>
      (one.driverProblem ?? one.observed?.trouble ?? one.lacking) === null && one.failures === 0 ? 0 : 1,
    )
    gauge(
      'scaling_capacity_per_instance',
      'Requests/s that one instance serves within the limit, as learnt.',
      (one) => one.last?.capacityPerInstance ?? null,
    )
    gauge('scaling_cost_per_hour', 'What the ready instances cost an hour.', (one) =>
      one.observed === null ? null : one.observed.ready * targetOf(settings).economics.pricePerInstanceHour,
    )
    return live
  }

  function targetOf(settings: TargetSettings): Target {
    const { pricePerInstanceHour, slowPerMillion, lostPerMillion, currency } = config()
    const own = settings.economics
    return {
      ...settings,
      economics: {
        pricePerInstanceHour: own.pricePerInstanceHour ?? pricePerInstanceHour,
        slowPerMillion: own.slowPerMillion ?? slowPerMillion,
        lostPerMillion: own.lostPerMillion ?? lostPerMillion,
        currency: own.currency ?? currency,
      },
    }
  }

  function settingsOf(settings: TargetSettings, now: Millis): DecideSettings {
    const { minInstances, maxInstances } = config()
    return {
      target: targetOf(settings),
      policies: policies.all().filter(({ target }) => target === settings.name),
      globalMin: minInstances,
      globalMax: maxInstances,
      pause: store.pause(settings.name, now),
      hold: store.hold(settings.name, now),
      cycleMs: config().evaluationInterval * SECOND,
    }
  }

  /** What was under way when the last control ended is sent again: to the provider it is the same wish. */
  async function resume(live: Live): Promise<void> {
    const last = store.lastDecision(live.settings.name)
    if (last) live.last = last.decision
    const row = store.target(live.settings.name)
    if (row.decision !== null && row.wanted !== null) {
      const decision = store.decision(row.decision)
      if (row.settled && decision?.steps.at(-1)?.status === 'executing') {
        const { action, wanted } = decision.decision
        live.awaiting = { decision: decision.id, action, wanted, since: decision.steps.at(-1)!.at }
      }
    }
    await look(live).catch(() => {})
    if (!row.settled) await attempt(live)
    else await remind(live)
  }

  /**
   * After a restart of everything front begins with the fewest: it is told the last number wanted again, once it has said
   * that nobody told it any. It never begins anew while this control lives.
   */
  async function remind(live: Live): Promise<void> {
    if (stopped || !live.toRemind || live.observed === null || clock.monotonic() < live.nextTryAt) return
    const row = store.target(live.settings.name)
    if (live.observed.wanted !== null || row.wanted === null || !row.settled) {
      live.toRemind = false
      return
    }
    const settings = settingsOf(live.settings, clock.now())
    const enabled = settings.policies.filter((policy) => policy.enabled)
    const { min, max } = boundsOf(settings, enabled)
    try {
      await live.driver!.scale(Math.min(max, Math.max(min, row.wanted)), fence)
      live.toRemind = false
      live.failures = 0
      live.nextTryAt = 0
    } catch (error) {
      const againInMs = failedAgain(live)
      log.warn('the last number wanted was not taken', { target: live.settings.name, why: messageOf(error), againInMs })
    }
    await look(live).catch(() => {})
  }

  /** One thing after the other; what failed does not stop what comes next. */
  function lane<T>(live: Live, work: () => Promise<T>): Promise<T> {
    const next = live.lane.then(work, work)
    live.lane = next.catch(() => {})
    return next
  }

  // ------------------------------------------------------------------------------------------------ looking

  async function look(live: Live): Promise<Observed> {
    try {
      live.driver ??= deps.driver(live.settings)
      const observed = await live.driver.observe()
      if (live.driverProblem !== null) {
        log.info('the provider of a target answers again', { target: live.settings.name })
        live.driverProblem = null
      }
      live.observed = observed
      learnStarts(live, observed)
      account(live, observed)
      settle(live, observed)
      return observed
    } catch (error) {
      if (error instanceof Unmanaged) throw error
      live.count.driverErrors.add()
      if (live.driverProblem === null) {
        const now = clock.now()
        log.warn('the provider of a target gives nothing', { target: live.settings.name, why: messageOf(error) })
        deps.onEvent({
          at: now,
          target: live.settings.name,
          action: 'has a provider that fails',
          detail: messageOf(error),
        })
      }
      live.driverProblem = messageOf(error)
      throw error
    }
  }

  /** A start that ended since the last look tells how long one takes. Those that control did not see begin tell it too. */
  function learnStarts(live: Live, observed: Observed): void {
    const ready = observed.instances.filter(({ state, readyAt }) => state === 'ready' && readyAt !== null)
    const { known } = live
    live.known = new Set(ready.map(({ id, readyAt }) => `${id} ${readyAt}`))
    if (known === null) return
    for (const { id, readyAt, startedAt } of ready) {
      if (startedAt !== null && !known.has(`${id} ${readyAt}`)) live.startUps.push(Math.max(0, readyAt! - startedAt))
    }
    live.startUps.splice(0, live.startUps.length - STARTS_KEPT)
  }

  /** Adds what ran since the last look to the hours of the target. */
  function account(live: Live, observed: Observed): void {
    const now = clock.monotonic()
    const { usedAt } = live
    if (usedAt !== null && now - usedAt < WATCH_MS * 5) return
    live.usedAt = now
    if (usedAt === null || now - usedAt > UNSEEN_MS) return
    const most = Math.min(config().maxInstances, live.settings.maxInstances)
    const there = observed.ready + observed.starting + observed.draining
    store.addUsage(live.settings.name, clock.now(), now - usedAt, there, most)
  }

  /** Whether what was under way is there now. */
  function settle(live: Live, observed: Observed): void {
    const { awaiting } = live
    if (awaiting === null) return
    const now = clock.now()
    const reached =
      awaiting.action === 'scale_up'
        ? observed.ready >= awaiting.wanted
        : observed.ready + observed.draining + observed.starting <= awaiting.wanted
    if (reached) {
      live.awaiting = null
      store.addStep(awaiting.decision, 'done', null, now)
    } else if (now - awaiting.since >= READY_WITHIN_MS) {
      live.awaiting = null
      tx(store.db, () => {
        const detail = `not there within ${READY_WITHIN_MS / MINUTE} min`
        store.addStep(awaiting.decision, 'failed', detail, now)
        deps.onEvent({ at: now, target: live.settings.name, action: 'did not get ready', detail })
      })
    }
  }

  async function watchAll(): Promise<void> {
    await Promise.all(
      [...all.values()].map(async (live) => {
        const near = live.settings.driver === 'platform' || live.settings.driver === 'process'
        if (stopped || (!near && live.awaiting === null)) return
        // What is near answers at once: it is not to wait for a cycle that waits for its metrics.
        await (near ? look(live) : lane(live, () => look(live))).catch(() => {})
        if (live.toRemind && live.observed !== null) await lane(live, () => remind(live))
      }),
    )
  }

  // ------------------------------------------------------------------------------------------------ cycles

  function arm(ms: Millis): void {
    cycling?.cancel()
    cycling = scheduler.after(ms, () => {
      arm(config().evaluationInterval * SECOND)
      return cycleAll()
    })
  }

  /** Each target for itself: one whose provider is slow misses its turn, and holds up nobody else. */
  async function cycleAll(): Promise<void> {
    await Promise.all([...all.values()].map((live) => live.cycle ?? begin(live)))
  }

  function begin(live: Live): Promise<void> {
    const ended = lane(live, () => cycle(live))
      .then(
        () => {},
        (error: unknown) => {
          if (live.driverProblem === null && !(error instanceof Unmanaged))
            log.error('a cycle of scaling failed', { target: live.settings.name, error })
        },
      )
      .finally(() => {
        live.cycle = null
        lastCycle = clock.now()
      })
    live.cycle = ended
    return ended
  }

  /** Resolves when no cycle runs any more. */
  async function quiet(): Promise<void> {
    await Promise.all([...all.values()].map(({ cycle: running }) => running))
  }

  async function evaluate(live: Live) {
    const observed = await look(live)
    const now = clock.now()
    const settings = settingsOf(live.settings, now)
    const enabled = settings.policies.filter((policy) => policy.enabled)
    const maxAgeMs = config().metricMaxAge * SECOND
    const problem = (name: string, why: string) => {
      const line = `${live.settings.name}: ${name}: ${why}`
      if (!problems.has(line)) log.warn('a metric of scaling cannot be read', { target: live.settings.name, name, why })
      problems.add(line)
      if (problems.size > 100) problems.clear()
    }
    const read = await observationOf(live.settings, observed, enabled, sources, maxAgeMs, now, problem)
    const seen = live.startUps.length === 0 ? read : { ...read, startUps: [...live.startUps] }
    const row = store.target(live.settings.name)
    // Nobody looked for a while: how the metrics stood before says nothing of how they stood meanwhile.
    const gap = row.cycleAt !== null && now - row.cycleAt > LOOKS_MISSED * config().evaluationInterval * SECOND
    const outcome = decide(gap ? afterGap(row.state) : row.state, seen, settings, now)
    const decision =
      observed.conflict === null ? outcome.decision : leftAlone(outcome.decision, seen, observed.conflict)
    return { now, row, seen, state: outcome.state, decision, enabled }
  }

  async function cycle(live: Live): Promise<StoredDecision | null> {
    const { now, row, seen, state, decision, enabled } = await evaluate(live)
    live.seen = seen
    live.last = decision
    live.startUps = []
    const lackedBefore = live.lacking !== null
    live.lacking = lackOf(state, decision.startUpMs, now)
    live.count.decisions[decision.action].add()
    const acts = decision.action !== 'maintain'
    const versions = Object.fromEntries(enabled.map(({ name, version }) => [name, version]))
    const id = tx(store.db, () => {
      const record = { decision, observation: seen, policies: versions, engine: deps.version }
      const made = store.addDecision(live.settings.name, record, statusOf(decision), now)
      supersede(live, row.settled ? null : row.decision, made, now)
      store.putTarget({
        ...row,
        state,
        cycleAt: now,
        settled: !acts,
        ...(acts ? { wanted: decision.wanted, fence, decision: made } : {}),
      })
      if (acts) tell(live, decision, now)
      if (live.lacking !== null && !lackedBefore) {
        deps.onEvent({ at: now, target: live.settings.name, action: 'has fewer than it wants', detail: live.lacking })
      }
      return made
    })
    if (acts && clock.monotonic() >= live.nextTryAt) await attempt(live)
    else if (!acts) live.failures = 0
    return store.decision(id)
  }

  /** What an earlier decision still wanted is not wanted any more. Part of the caller's transaction. */
  function supersede(live: Live, unsettled: string | null, by: string, now: Millis): void {
    if (unsettled !== null) store.addStep(unsettled, 'suppressed', `superseded by ${by}`, now)
    live.retry?.cancel()
    live.retry = null
  }

  function tell(live: Live, decision: Decision, now: Millis): void {
    const { action, wanted, reason } = decision
    const verb = action === 'scale_up' ? 'grows' : 'shrinks'
    deps.onEvent({ at: now, target: live.settings.name, action: `${verb} to ${wanted}`, detail: reason })
  }

  // ------------------------------------------------------------------------------------------------ acting

  /** Carries out what is wanted and was not carried out yet. */
  async function attempt(live: Live): Promise<void> {
    const row = store.target(live.settings.name)
    if (stopped || row.settled || row.wanted === null || row.decision === null) return
    const decided = store.decision(row.decision)
    try {
      live.driver ??= deps.driver(live.settings)
      await live.driver.scale(row.wanted, fence)
    } catch (error) {
      failedToAct(live, row.decision, error)
      return
    }
    const now = clock.now()
    live.failures = 0
    live.nextTryAt = 0
    tx(store.db, () => {
      const { awaiting } = live
      if (awaiting !== null && awaiting.decision !== row.decision) {
        store.addStep(awaiting.decision, 'suppressed', `superseded by ${row.decision} before all were ready`, now)
      }
      store.addStep(row.decision!, 'executing', null, now)
      const latest = store.target(live.settings.name)
      const state = decided === null ? latest.state : carriedOut(latest.state, decided.decision, now)
      store.putTarget({ ...latest, state, settled: true, fence })
    })
    const action = decided?.decision.action ?? 'maintain'
    live.awaiting = { decision: row.decision, action, wanted: row.wanted, since: now }
    await look(live).catch(() => {})
  }

  /** Answers how long to wait before the next try, ms. */
  function failedAgain(live: Live): Millis {
    const wait = Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** live.failures)
    live.failures++
    live.nextTryAt = clock.monotonic() + wait
    return wait
  }

  function failedToAct(live: Live, decision: string, error: unknown): void {
    const now = clock.now()
    const first = live.failures === 0
    const wait = failedAgain(live)
    live.count.failed.add()
    log.warn('a target could not be scaled', { target: live.settings.name, why: messageOf(error), againInMs: wait })
    tx(store.db, () => {
      store.addStep(decision, 'failed', messageOf(error), now)
      // Said when it begins; the series and the decision go on saying it.
      if (first)
        deps.onEvent({ at: now, target: live.settings.name, action: 'could not be scaled', detail: messageOf(error) })
    })
    if (error instanceof Fenced) {
      live.driverProblem = messageOf(error)
      return
    }
    live.retry?.cancel()
    live.retry = scheduler.after(wait, () => lane(live, () => attempt(live)))
  }

  // ---------------------------------------------------------------------------------------------- from outside

  function isActive(): boolean {
    return store.active() ?? config().enabled
  }

  const wantedOf = (live: Live): number | null => {
    const row = store.target(live.settings.name)
    if (!row.settled) return row.wanted
    return live.observed?.wanted ?? row.wanted ?? live.observed?.ready ?? null
  }

  function must(name: string): Live {
    const live = all.get(name)
    if (!live) throw new RangeError(`there is no target ${name}`)
    return live
  }

  return {
    get active() {
      return isActive()
    },
    get lastCycle() {
      return lastCycle
    },
    targets: () => [...all.keys()],

    view(name: string): TargetView {
      const live = must(name)
      const { settings, observed, awaiting, seen, last } = live
      const row = store.target(name)
      const trying = live.failures > 0 ? `The last ${live.failures} tries to scale it failed.` : null
      return {
        settings,
        target: targetOf(settings),
        observed,
        wanted: wantedOf(live),
        problem: live.driverProblem ?? observed?.conflict ?? observed?.trouble ?? live.lacking ?? trying,
        cycleAt: row.cycleAt,
        awaiting: awaiting && { decision: awaiting.decision, since: awaiting.since },
        seen,
        last,
      }
    },

    settings: (name: string): DecideSettings => settingsOf(must(name).settings, clock.now()),
    state: (name: string) => store.target(name).state,

    /** Answers whether that changed anything. Stopping returns after the running cycle has ended. */
    async setActive(active: boolean): Promise<boolean> {
      const changed = isActive() !== active
      store.setActive(active)
      if (!changed) return false
      if (active) arm(0)
      else {
        cycling?.cancel()
        cycling = null
        await quiet()
      }
      return true
    },

    /** One evaluation of all targets now. `dryRun`: nothing is written and nobody is told. */
    async evaluate(
      dryRun: boolean,
    ): Promise<readonly { target: string; stored: StoredDecision | null; decision: Decision }[]> {
      if (!dryRun && !isActive()) throw conflict('scaling_inactive', 'Scaling is stopped; only a dry run is possible.')
      const results = await Promise.all(
        [...all.values()].map((live) =>
          lane(live, async () => {
            const target = live.settings.name
            if (dryRun) return { target, stored: null, decision: (await evaluate(live)).decision }
            const stored = await cycle(live)
            return stored && { target, stored, decision: stored.decision }
          }).catch((error: unknown) => {
            if (live.driverProblem === null && !(error instanceof Unmanaged)) throw error
            return null
          }),
        ),
      )
      return results.filter((one) => one !== null)
    },

    /** Looks at the provider now; for what follows in the same breath. Throws 503 when it does not answer. */
    async refresh(name: string): Promise<void> {
      const live = must(name)
      await lane(live, () => look(live)).catch((error: unknown) => {
        throw unavailable(`The provider of ${name} does not answer: ${messageOf(error)}.`, 10, 'provider_unavailable')
      })
    },

    /**
     * A person's wish, written down with its hold in the caller's transaction; it is carried out right after. Call
     * `refresh` before. Throws 409 where somebody else decides about the target as well, and would undo it.
     */
    manual({ target, wanted, reason, holdMs, by }: ManualRequest): Manual {
      const live = must(target)
      const now = clock.now()
      const { observed } = live
      if (observed === null) throw unavailable(`The provider of ${target} does not answer.`, 10, 'provider_unavailable')
      if (observed.conflict !== null) throw conflict('target_conflict', `${sentenceOf(observed.conflict)}.`)
      const hold: ManualHold = { wanted, until: now + Math.max(holdMs, 1), by, reason }
      const row = store.target(target)
      const seen = { ...blind, ready: observed.ready, starting: observed.starting, draining: observed.draining }
      const settings = settingsOf(live.settings, now)
      const base = { ...seen, wanted: observed.wanted }
      const { decision } = decide(row.state, base, { ...settings, hold, policies: settings.policies }, now)
      const acts = decision.action !== 'maintain'
      const id = tx(store.db, () => {
        const record = { decision, observation: base, policies: {}, engine: deps.version }
        const made = store.addDecision(target, record, acts ? 'planned' : 'done', now)
        supersede(live, row.settled ? null : row.decision, made, now)
        store.setHold(target, holdMs > 0 ? hold : null)
        const next = acts ? { wanted: decision.wanted, fence, decision: made } : {}
        store.putTarget({ ...row, settled: !acts, ...next })
        if (acts) tell(live, decision, now)
        return made
      })
      live.count.decisions[decision.action].add()
      live.last = decision
      if (acts) void lane(live, () => attempt(live))
      return { id, decision, previous: observed.ready, status: acts ? 'executing' : 'done' }
    },

    /** `target` null: all. Part of the caller's transaction. */
    pause(target: string | null, pause: Pause | null): void {
      const now = clock.now()
      store.setPause(target, pause)
      if (pause === null) for (const name of target === null ? all.keys() : [target]) store.setHold(name, null)
      for (const name of target === null ? all.keys() : [target]) {
        const until = pause?.until ? ` until ${toIso(pause.until)}` : ''
        const detail = pause ? `by ${pause.by}${until}: ${pause.reason}` : ''
        deps.onEvent({ at: now, target: name, action: pause ? 'paused' : 'resumed', detail })
      }
    },

    async close(): Promise<void> {
      stopped = true
      cycling?.cancel()
      watching.cancel()
      cleaning.cancel()
      await quiet()
      for (const live of all.values()) {
        live.retry?.cancel()
        await live.lane
        await live.driver?.close()
      }
      store.flushUsage()
    },
  }
}

/** What has been missing for much longer than a start takes; null when nothing has. */
function lackOf({ shortage }: ScalerState, startUpMs: Millis, now: Millis): string | null {
  if (!shortage || now - shortage.since < Math.max(LACKING_AFTER_MS, LACKING_START_UPS * startUpMs)) return null
  return `${shortage.base} are wanted, ${shortage.ready} ready, and none got ready since ${toIso(shortage.since)}`
}

const sentenceOf = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

const blind: Observation = {
  ready: 0,
  starting: 0,
  draining: 0,
  wanted: null,
  demand: null,
  cpu: null,
  memory: null,
  responseMs: null,
  metrics: {},
  forecast: [],
}

/** A decision about a target that somebody else decides about as well: it is left as it is. */
function leftAlone(decision: Decision, seen: Observation, conflict: string): Decision {
  const base = seen.wanted ?? seen.ready + seen.starting
  return {
    ...decision,
    action: 'maintain',
    wanted: base,
    reason: `Stays at ${base}: ${conflict}.`,
    held: [...decision.held, { constraint: 'driver', detail: conflict, from: decision.wanted, to: base }],
  }
}

function statusOf({ action, held }: Decision): DecisionStatus {
  if (action !== 'maintain') return 'planned'
  return held.some(({ from, to }) => from !== to) ? 'suppressed' : 'done'
}
