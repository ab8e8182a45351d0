/**
 * Deciding: one target, one cycle, one decision. Pure: state, observation, settings and time in; state and decision out.
 *
 *   policies ─▶ wishes ┐                                    ┌ pause, manual hold
 *   schedules, events ─┼─▶ the largest wins; down only when ├ minimum, maximum
 *   the plan ──────────┘   every policy with data agrees    └ proof before removal ─▶ wanted, and what held it back
 *
 * Nothing is carried out here. Who carries a decision out tells it with `carriedOut`: cooldowns begin there.
 */
import { type Millis, toIso } from '../base/time.ts'
import { NEW_POLICY, type PolicyState, short, type Wish, wishOf } from './floor.ts'
import { boundsOf, scheduleMoment, stepUp } from './limits.ts'
import type { Action, DecideSettings, Decision, Held, Observation, Policy, Proposal } from './model.ts'
import { responseAt } from './planner/capacity.ts'
import { newPlannerState, type Planned, type PlannerState, planAhead, plannerTold } from './planner/planner.ts'
import { type LoadRecord, newLoadRecord, provenCount, recordLoad } from './proof.ts'

/** All that a target has learnt and remembers; plain JSON, stored with each decision's cycle. */
export interface ScalerState {
  readonly version: 1
  /** What was last carried out, and when; null before the first action. */
  readonly wanted: number | null
  readonly lastAction: { readonly at: Millis; readonly action: Action } | null
  /** Moments at which the direction changed within the last hour. */
  readonly turns: readonly Millis[]
  readonly policies: Readonly<Record<string, PolicyState>>
  readonly planner: PlannerState
  /** The load of the last minutes, for the proof before a removal. */
  readonly load: LoadRecord
  /** Demand before each known event that multiplies it. */
  readonly events: Readonly<Record<string, number>>
  /** Null or absent while as many are ready as are wanted. */
  readonly shortage?: Shortage | null
}

/** Fewer are ready than wanted. */
export interface Shortage {
  /** Since when, without one that got ready meanwhile. */
  readonly since: Millis
  /** When one was lost, got ready, or one more was asked for; null: all are missing since the first look. */
  readonly movedAt: Millis | null
  readonly ready: number
  readonly base: number
}

/** The state of a target nobody has watched yet. */
export function newState(): ScalerState {
  return {
    version: 1,
    wanted: null,
    lastAction: null,
    turns: [],
    policies: {},
    planner: newPlannerState(),
    load: newLoadRecord(),
    events: {},
    shortage: null,
  }
}

/** The state after a time in which nobody looked: each policy's breach or calm has to stand anew. */
export function afterGap(state: ScalerState): ScalerState {
  const policies = Object.entries(state.policies).map(([name, one]) => [
    name,
    { ...one, breachSince: null, clearSince: null },
  ])
  return { ...state, policies: Object.fromEntries(policies) }
}

export interface Outcome {
  readonly state: ScalerState
  readonly decision: Decision
}

export type Decide = (state: ScalerState, seen: Observation, settings: DecideSettings, now: Millis) => Outcome

/** How long a provider may still report instances that it was told to remove, ms. */
const REMOVAL_SEEN_WITHIN_MS = 120_000
const TURNS_WINDOW_MS = 3_600_000
/** Instances that are not ready after so many times what a start takes are not counted on any more. */
const START_UPS_AWAITED = 2
/** From this many changes of direction within an hour on, shrinking waits longer. */
const TURNS_FREE = 4

/** One decision for one target at `now`. Never throws; never wants a count outside minimum and maximum. */
export const decide: Decide = (state, seen, settings, now) => {
  const policies = settings.policies.filter((p) => p.enabled)
  const base = baseOf(state, seen, now)
  const bounds = boundsOf(settings, policies)
  const held: Held[] = []

  // What is learnt, whoever decides.
  const planned = planAhead(state.planner, seen, settings, base, bounds, now)
  const { startUpMs } = planned
  const load = recordLoad(state.load, seen, now)
  const shortage = shortageOf(state, seen, base, now)
  const stuck = isStuck(shortage, startUpMs, now)

  // What everybody wishes.
  const wishes = policies.map((policy) =>
    wishOf(
      policy,
      state.policies[policy.name] ?? NEW_POLICY,
      seen,
      { ready: seen.ready, base, stuck },
      state.lastAction?.at ?? null,
      now,
    ),
  )
  const events = eventDemands(state.events, seen, settings, now)
  const scheduled = [
    ...schedulesOf(settings, now, startUpMs),
    ...eventFloors(events, settings, planned.capacity, now, startUpMs),
    ...planOf(planned, policies, base, held),
  ]
  const proposals: Proposal[] = [...wishes.map((w) => w.proposal), ...scheduled]
  for (const wish of wishes) held.push(...wish.held)

  // One wish of all.
  const winner = winnerOf(wishes, policies, scheduled, base, held, planned.plan?.confidence ?? 1)
  let { wanted, by, trigger, why, confidence } = winner

  // What holds it, from the weakest to what nothing may break.
  if (wanted < base) {
    const waitMs = turningWait(state, policies, now)
    if (waitMs > 0) {
      const detail = `direction changed ${state.turns.length} times within an hour; shrinks in ${Math.ceil(waitMs / 1000)} s`
      held.push({ constraint: 'stabilization', detail, from: wanted, to: base })
      wanted = base
    }
  }
  if (wanted < base) {
    const proof = provenCount(
      load,
      planned.state.capacity,
      settings.target.limitMs,
      Math.max(wanted, bounds.min),
      base,
      startUpMs,
      now,
    )
    if (proof !== null && proof.count > wanted && proof.count > bounds.min) {
      held.push({ constraint: 'proof_failed', detail: proof.why, from: wanted, to: proof.count })
      wanted = proof.count
    }
  }
  if (settings.pause !== null && (settings.pause.until === null || settings.pause.until > now)) {
    const until = settings.pause.until === null ? '' : ` until ${toIso(settings.pause.until)}`
    const detail = `paused by ${settings.pause.by}${until}: ${settings.pause.reason}`
    held.push({ constraint: 'paused', detail, from: wanted, to: base })
    wanted = base
  }
  if (settings.hold !== null && settings.hold.until > now) {
    const detail = `${settings.hold.by} holds ${settings.hold.wanted}: ${settings.hold.reason}`
    if (wanted !== settings.hold.wanted) {
      held.push({ constraint: 'manual_hold', detail, from: wanted, to: settings.hold.wanted })
    }
    wanted = settings.hold.wanted
    by = settings.hold.by
    trigger = 'manual'
    why = wanted === base ? detail : settings.hold.reason
    confidence = 1
    proposals.push({ by, wanted, trigger, why: settings.hold.reason, inputs: {}, counted: true })
  }
  if (wanted < bounds.min) {
    held.push({ constraint: 'min', detail: `${bounds.minBy}: at least ${bounds.min}`, from: wanted, to: bounds.min })
    if (trigger === 'reactive' && wanted === base) [by, why] = [bounds.minBy, `at least ${bounds.min} are to be there`]
    wanted = bounds.min
  }
  if (wanted > bounds.max) {
    held.push({ constraint: 'max', detail: `${bounds.maxBy}: at most ${bounds.max}`, from: wanted, to: bounds.max })
    wanted = bounds.max
  }

  const action: Action = wanted > base ? 'scale_up' : wanted < base ? 'scale_down' : 'maintain'
  return {
    state: {
      ...state,
      turns: state.turns.filter((at) => at > now - TURNS_WINDOW_MS),
      policies: Object.fromEntries(policies.map((p, i) => [p.name, wishes[i]!.state])),
      planner: planned.state,
      load,
      events,
      shortage,
    },
    decision: {
      action,
      current: seen.ready,
      wanted,
      trigger,
      by,
      reason: sentence(action, base, wanted, why, held),
      confidence,
      proposals,
      held,
      inputs: inputsOf(seen, settings),
      forecast: planned.plan?.forecast ?? seen.forecast,
      plan: planned.plan?.points ?? [],
      capacityPerInstance: planned.capacity,
      startUpMs,
      expected: expectedOf(planned, seen, settings, base, wanted),
    },
  }
}

/**
 * What is remembered once an action was carried out: cooldowns begin now, for the policies that wished it. A failed
 * action is not told here, and starts none.
 */
export function carriedOut(
  state: ScalerState,
  done: Pick<Decision, 'action' | 'wanted' | 'by' | 'proposals'>,
  now: Millis,
): ScalerState {
  if (done.action === 'maintain') return { ...state, wanted: done.wanted }
  const turned = state.lastAction !== null && state.lastAction.action !== done.action
  // Everybody agreed to fewer; more was the wish of those who wanted more than there was.
  const wished = new Set(
    done.action === 'scale_down'
      ? Object.keys(state.policies)
      : done.proposals.filter((p) => p.counted && p.wanted >= done.wanted).map((p) => p.by),
  )
  wished.add(done.by)
  return {
    ...state,
    wanted: done.wanted,
    planner: plannerTold(state.planner, done.wanted, now),
    lastAction: { at: now, action: done.action },
    turns: turned ? [...state.turns, now] : state.turns,
    policies: Object.fromEntries(
      Object.entries(state.policies).map(([name, p]) => [name, wished.has(name) ? { ...p, lastActionAt: now } : p]),
    ),
  }
}

/**
 * The count that "no change" means. What was wanted stays wanted when an instance is lost; what somebody else added
 * stays; what is being removed does not come back.
 */
function baseOf(state: ScalerState, seen: Observation, now: Millis): number {
  if (seen.wanted !== null && seen.wanted !== undefined) return seen.wanted
  const there = seen.ready + seen.starting
  if (state.wanted === null) return there
  const removing = state.lastAction?.action === 'scale_down' && now - state.lastAction.at < REMOVAL_SEEN_WITHIN_MS
  return removing ? state.wanted : Math.max(there, state.wanted)
}

/** What is missing of `base`, and when something last happened about it. */
function shortageOf(state: ScalerState, { ready, starting }: Observation, base: number, now: Millis): Shortage | null {
  if (ready >= base) return null
  const before = state.shortage ?? null
  if (before === null) {
    // What was there and is missing now is replaced; of what was missing from the first look on nothing is known.
    const expected = starting > 0 || state.planner.at !== null
    return { since: now, movedAt: expected ? now : null, ready, base }
  }
  const gained = ready > before.ready
  const asked = base > before.base
  return { since: gained ? now : before.since, movedAt: gained || asked ? now : before.movedAt, ready, base }
}

/** Whether fewer are ready than wanted and nothing moved within the time that starts take: no more are to be expected. */
export function isStuck(shortage: Shortage | null | undefined, startUpMs: Millis, now: Millis): boolean {
  if (!shortage) return false
  return shortage.movedAt === null || now - shortage.movedAt >= START_UPS_AWAITED * startUpMs
}

interface Winner {
  readonly wanted: number
  readonly by: string
  readonly trigger: Proposal['trigger']
  readonly why: string
  readonly confidence: number
}

/** The largest wish; a smaller count than now only when every policy with data wishes one. */
function winnerOf(
  wishes: readonly Wish[],
  policies: readonly Policy[],
  floors: readonly Proposal[],
  base: number,
  held: Held[],
  planConfidence: number,
): Winner {
  const voices = wishes.filter((w) => w.voice !== 'silent')
  const shrink = voices.length > 0 && voices.every((w) => w.voice === 'down')
  const why = policies.length === 0 ? 'no policy is enabled for it' : 'no policy has data'
  let best: Winner = { wanted: base, by: 'nobody', trigger: 'reactive', why, confidence: 0 }
  let first = true
  wishes.forEach((wish, i) => {
    if (wish.voice === 'silent') return
    const { by, trigger, why } = wish.proposal
    const policy = policies[i]!
    let wanted = wish.proposal.wanted
    // A policy's own maximum binds its wish; it never makes it shrink what others need.
    const most = Math.max(policy.maxInstances, Math.min(base, wanted))
    if (wanted > most) {
      held.push({ constraint: 'max', detail: `policy ${by}: at most ${most}`, from: wanted, to: most })
      wanted = most
    }
    if (wanted < policy.minInstances && wish.voice === 'down') {
      const least = Math.min(base, policy.minInstances)
      if (least !== wanted) {
        held.push({ constraint: 'min', detail: `policy ${by}: at least ${least}`, from: wanted, to: least })
      }
      wanted = least
    }
    if (!shrink && wanted < base) return
    if (first || wanted > best.wanted) best = { wanted, by, trigger, why, confidence: wish.confidence }
    first = false
  })
  for (const p of floors) {
    if (p.counted && p.wanted > best.wanted) best = { ...p, confidence: p.by === 'plan' ? planConfidence : 1 }
  }
  return best
}

/** Schedules and events that hold a minimum now, or will when something started now is ready. */
function schedulesOf(settings: DecideSettings, now: Millis, leadMs: Millis): Proposal[] {
  const floor = (by: string, wanted: number, why: string): Proposal => ({
    by,
    wanted,
    trigger: 'schedule',
    why,
    inputs: { minimum: wanted },
    counted: true,
  })
  const found: Proposal[] = []
  for (const schedule of settings.target.schedules) {
    const at = scheduleMoment(schedule, now, leadMs)
    if (at === null) continue
    const when = toIso(at)
    found.push(
      floor(schedule.name, schedule.minimum, `schedule "${schedule.cron}": at least ${schedule.minimum} from ${when}`),
    )
  }
  for (const event of settings.target.events) {
    if (event.minimum === null || now < event.from - leadMs || now >= event.until) continue
    found.push(floor(event.name, event.minimum, `event ${event.name}: at least ${event.minimum}`))
  }
  return found
}

/** Demand as it was before each event that is to multiply it. */
function eventDemands(before: ScalerState['events'], seen: Observation, settings: DecideSettings, now: Millis) {
  const events: Record<string, number> = {}
  for (const event of settings.target.events) {
    if (event.demandFactor === null || now >= event.until) continue
    const demand = now < event.from ? (seen.demand ?? before[event.name]) : before[event.name]
    if (demand !== undefined) events[event.name] = demand
  }
  return events
}

/** After an event has begun, demand itself tells; until then what was there before it, multiplied. */
const EVENT_BEGINS_MS = 600_000

function eventFloors(
  demands: ScalerState['events'],
  settings: DecideSettings,
  capacity: number | null,
  now: Millis,
  leadMs: Millis,
): Proposal[] {
  if (capacity === null) return []
  return settings.target.events.flatMap((event) => {
    const demand = demands[event.name]
    if (event.demandFactor === null || demand === undefined) return []
    if (now < event.from - leadMs || now >= Math.min(event.until, event.from + EVENT_BEGINS_MS)) return []
    const wanted = Math.ceil((demand * event.demandFactor) / capacity)
    const why = `event ${event.name}: ${event.demandFactor} times the ${short(demand)} requests/s before it`
    return [
      {
        by: event.name,
        wanted,
        trigger: 'schedule',
        why,
        inputs: { demand, factor: event.demandFactor },
        counted: true,
      },
    ]
  })
}

/**
 * The plan as a proposal: a floor, that counts when a policy lets it. Made of a forecast that has earned its place it is
 * predictive; made of "as now" it reacts as policies do, in what an instance is known to hold.
 */
function planOf(planned: Planned, policies: readonly Policy[], base: number, held: Held[]): Proposal[] {
  const { plan } = planned
  const leading = policies.find((p) => p.predictive === 'scale')
  if (plan === null || !policies.some((p) => p.predictive !== 'off')) return []
  const counted = leading !== undefined
  let { wanted } = plan
  if (counted && wanted > base) {
    const most = Math.max(base, Math.min(leading.maxInstances, base + stepUp(base, leading.maxStepUp)))
    if (wanted > most) {
      const constraint = most === leading.maxInstances ? 'max' : 'max_step'
      held.push({ constraint, detail: `policy ${leading.name}: at most ${most} at once`, from: wanted, to: most })
      wanted = most
    }
  }
  const trigger = plan.earned ? 'predictive' : 'reactive'
  const note = plan.earned ? '' : ' (as now: the forecast has not earned its place)'
  return [{ by: 'plan', wanted, trigger, why: plan.why + note, inputs: plan.inputs, counted }]
}

function expectedOf(planned: Planned, seen: Observation, settings: DecideSettings, base: number, wanted: number) {
  const { rate, fit } = planned.state.capacity
  const costPerHour = (wanted - base) * settings.target.economics.pricePerInstanceHour
  if (seen.demand === null || planned.capacity === null || wanted === 0) {
    return { costPerHour, performance: null, utilization: null }
  }
  const load = (n: number) => seen.demand! / (n * rate)
  const performance =
    fit === null || base === 0
      ? null
      : 100 * (1 - responseAt(fit, Math.min(0.98, load(wanted))) / responseAt(fit, Math.min(0.98, load(base))))
  return { costPerHour, performance, utilization: 100 * load(wanted) }
}

/** How long shrinking still waits because the direction changed often: one more cooldown for each change too many. */
function turningWait(state: ScalerState, policies: readonly Policy[], now: Millis): Millis {
  const recent = state.turns.filter((at) => at > now - TURNS_WINDOW_MS)
  const over = recent.length - TURNS_FREE
  if (over <= 0 || state.lastAction === null) return 0
  const cooldownMs = 1000 * Math.max(0, ...policies.map((p) => p.cooldownPeriod))
  return Math.max(0, state.lastAction.at + (1 + over) * cooldownMs - now)
}

function inputsOf(seen: Observation, settings: DecideSettings): Record<string, number | null> {
  return {
    instances_ready: seen.ready,
    instances_starting: seen.starting,
    instances_draining: seen.draining,
    [settings.target.demand]: seen.demand,
    [settings.target.cpu]: seen.cpu,
    [settings.target.responseTime]: seen.responseMs,
    ...seen.metrics,
  }
}

const plural = (n: number) => (n === 1 ? '1 instance' : `${n} instances`)

function sentence(action: Action, base: number, wanted: number, why: string, held: readonly Held[]): string {
  const what =
    action === 'maintain'
      ? `Stays at ${plural(base)}`
      : action === 'scale_up'
        ? `From ${base} up to ${plural(wanted)}`
        : `From ${base} down to ${plural(wanted)}`
  // The last one that made it what it is. Who holds it by hand said why already.
  const first = held.findLast((h) => h.from !== h.to && h.to === wanted && h.constraint !== 'manual_hold')
  return `${what}: ${why}${first === undefined ? '' : `; ${first.detail}`}.`
}
