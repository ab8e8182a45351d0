/**
 * The plan: how many instances the money says, a start-up time before they are needed. Pure; its state is plain JSON.
 *
 *   demand ──▶ forecast.ts  distribution at each horizon ┐
 *   load, response time ─▶ capacity.ts  rate, knee ──────┼─▶ weigh.ts ─▶ fewer? hold first ─▶ Plan
 *   starts ──▶ start-up.ts  time to ready ───────────────┘
 *
 * A forecast earns its place by its own record: what it said a start-up time ago against what came, and against what
 * "as now" would have said. Without it, from the first minutes on, the plan is made of "as now" and of how far demand has
 * moved within such a time: what was learnt of capacity, start-up and money is no worse for it. Fewer are planned only once holding the surplus has cost as much as `HOLD_INSTANCE_MS`
 * says: a large surplus is given back soon, a small one late, and a count that goes up and down is left alone.
 */
import { HOUR, type Millis } from '../../base/time.ts'
import type { DecideSettings, DemandForecast, Observation, PlanPoint } from '../model.ts'
import { type CapacityModel, kneeOf, learnCapacity, newCapacityModel, responseAt } from './capacity.ts'
import {
  type Ahead,
  ahead,
  asNow,
  type DemandModel,
  eOf,
  type Heard,
  isCurrent,
  learn,
  newDemandModel,
  rebase,
  unlink,
} from './forecast.ts'
import { asked, learnStartUp, newStartUpModel, type StartUpModel, startUpOf } from './start-up.ts'
import { weigh } from './weigh.ts'

export const PLANNER = {
  /** What a surplus may cost before it is given back, in time of one instance. */
  holdInstanceMs: 300_000,
  /** Of the way from the highest wish while holding to the newest, how much is gone at once. */
  giveBack: 0.5,
  startUpPriorMs: 60_000,
  /** A forecast counts after this many of its predictions have come true or not. */
  earnedAfter: 60,
  /** Its error may be this multiple of the error of "as now" to earn its place, and this one before it loses it. */
  earnedRatio: 1.05,
  lostRatio: 1.25,
  recordHalfLifeMs: 6 * HOUR,
  cycleGuessMs: 60_000,
}

interface Pending {
  readonly at: Millis
  readonly value: number
  readonly now: number
  readonly upper: number
}

/** How forecasts at start-up time did, newest weighing most. */
export interface ForecastRecord {
  readonly scored: number
  readonly error: number
  readonly errorAsNow: number
  readonly covered: number
  readonly earned: boolean
}

export interface PlannerState {
  readonly demand: DemandModel | null
  readonly capacity: CapacityModel
  readonly startUp: StartUpModel
  readonly at: Millis | null
  readonly surplus: { readonly instanceMs: number; readonly peak: number }
  readonly record: ForecastRecord
  readonly pending: readonly Pending[]
}

export function newPlannerState(): PlannerState {
  return {
    demand: null,
    capacity: newCapacityModel(),
    startUp: newStartUpModel(),
    at: null,
    surplus: { instanceMs: 0, peak: 0 },
    record: { scored: 0, error: 0, errorAsNow: 0, covered: 1, earned: false },
    pending: [],
  }
}

export interface Plan {
  readonly wanted: number
  /** What the money says before holding. */
  readonly weighed: number
  readonly why: string
  /** Whether it is made of the forecast; else of "as now". */
  readonly earned: boolean
  /** Probability that demand at start-up time is beyond what is there now (up), or within what is planned (else). */
  readonly confidence: number
  readonly inputs: Readonly<Record<string, number | null>>
  readonly forecast: readonly DemandForecast[]
  readonly points: readonly PlanPoint[]
}

export interface Planned {
  readonly state: PlannerState
  readonly plan: Plan | null
  readonly startUpMs: Millis
  /** Requests/s that one instance serves within the limit. */
  readonly capacity: number | null
  readonly knee: number
}

/** Learns from what is seen, and plans for `base` instances that are wanted now. */
export function planAhead(
  before: PlannerState,
  seen: Observation,
  settings: DecideSettings,
  base: number,
  bounds: { readonly min: number; readonly max: number },
  now: Millis,
): Planned {
  const { target } = settings
  const gapMs = before.at === null ? null : now - before.at
  const cycleMs = settings.cycleMs ?? before.demand?.stepMs ?? roundedCycle(gapMs) ?? PLANNER.cycleGuessMs
  const startUp = learnStartUp(before.startUp, seen, cycleMs, now)
  const startUpMs = startUpOf(startUp, target.startUpMs ?? PLANNER.startUpPriorMs)
  const capacity = learnCapacity(before.capacity, seen)
  const knee = kneeOf(capacity, target.limitMs)
  const known = capacity.rateWeight >= 5 ? capacity.rate : null

  let { record, pending } = before
  let demand = before.demand !== null && isCurrent(before.demand) ? before.demand : null
  const value = seen.demand !== null && Number.isFinite(seen.demand) ? Math.max(0, seen.demand) : null
  if (value !== null) {
    if (demand === null) demand = newDemandModel(cycleMs)
    else if (demand.stepMs !== cycleMs) demand = rebase(demand, cycleMs)
    if (demand.at === null || now > demand.at) demand = learn(demand, value, now, heardFrom(seen.forecast))
    ;({ record, pending } = scored(record, pending, value, cycleMs, now))
  }
  const state: PlannerState = { ...before, demand, capacity, startUp, at: now, record, pending }
  const answer = { startUpMs, capacity: known === null ? null : known * knee, knee }
  if (value === null || demand === null || known === null) {
    return { ...answer, state: { ...state, surplus: { instanceMs: 0, peak: 0 } }, plan: null }
  }

  const forecast = ahead(demand)
  const { earned } = record
  const dists = earned ? forecast : asNow(demand)
  const model = demand
  const startUpSteps = Math.ceil(startUpMs / cycleMs)
  const remaining = (at: Millis) => Math.max(0, Math.ceil((at + startUpMs - now) / cycleMs))
  const coming = startUp.asked.slice(-seen.starting || startUp.asked.length).map(remaining)
  // What is wanted and neither ready nor known to be starting is as far away as a start.
  while (seen.ready + coming.length < base) coming.push(startUpSteps)
  const { economics } = target
  const result = weigh(dists, {
    stepMs: cycleMs,
    startUpSteps,
    rate: known,
    knee,
    backlog: backlogOf(seen, capacity, target.limitMs),
    price: {
      instanceHour: economics.pricePerInstanceHour,
      slowPerMillion: economics.slowPerMillion,
      lostPerMillion: economics.lostPerMillion,
    },
    min: bounds.min,
    max: bounds.max,
    ready: Math.min(seen.ready, base),
    starting: coming.slice(0, Math.max(0, base - seen.ready)),
    unlink: (z) => unlink(model, z),
  })
  const { wanted, surplus } = held(before.surplus, result.wanted, base, cycleMs)

  const lead = interpolate(dists, startUpSteps + 1)
  const at = (q: number) => unlink(model, quantile(lead, q))
  // The forecast is watched whether or not it is planned by.
  const said = interpolate(forecast, startUpSteps + 1)
  const next: Pending = {
    at: now + (startUpSteps + 1) * cycleMs,
    value: unlink(model, quantile(said, 0.5)),
    now: value,
    upper: unlink(model, quantile(said, 0.95)),
  }
  const enough = Math.max(wanted, 0) * known * knee
  const there = base * known * knee
  const within = shareBelow(lead, (z) => unlink(model, z), wanted > base ? there : enough)
  const seconds = Math.round((startUpMs + cycleMs) / 1000)
  const round = (v: number) => (v < 10 ? Math.round(v * 10) / 10 : Math.round(v))
  const why =
    (earned
      ? `${round(at(0.5))} requests/s in ${seconds} s (95 %: up to ${round(at(0.95))})`
      : `${round(value)} requests/s now, in ${seconds} s up to ${round(at(0.95))} (95 %)`) +
    `, one instance holds ${round(known * knee)}` +
    (result.wanted < wanted ? `; ${base - result.wanted} to spare are held a while` : '')
  return {
    ...answer,
    state: { ...state, surplus, pending: [...pending, next].slice(-200) },
    plan: {
      wanted,
      weighed: result.wanted,
      why,
      earned,
      confidence: wanted > base ? 1 - within : within,
      inputs: {
        demand: value,
        demand_ahead: at(0.5),
        demand_ahead_95: at(0.95),
        capacity_per_instance: known * knee,
        start_up_s: startUpMs / 1000,
        gain: result.gain,
        forecast_error: record.error,
        as_now_error: record.errorAsNow,
        forecast_coverage: record.covered,
      },
      forecast: dists.map((d) => ({
        at: now + d.steps * cycleMs,
        value: unlink(model, quantile(d, 0.5)),
        lower: unlink(model, quantile(d, 0.1)),
        upper: unlink(model, quantile(d, 0.9)),
        coverage: 0.8,
      })),
      points: result.needed.map((p) => ({
        at: now + p.steps * cycleMs,
        instances: Math.max(bounds.min, Math.min(bounds.max, p.instances)),
      })),
    },
  }
}

/** What the planner remembers when a decision was carried out. */
export function plannerTold(state: PlannerState, wanted: number, now: Millis): PlannerState {
  return { ...state, startUp: asked(state.startUp, wanted, now), surplus: { instanceMs: 0, peak: 0 } }
}

/** A whole number of seconds between one and ten minutes' cycles, or null. */
function roundedCycle(gapMs: number | null): number | null {
  if (gapMs === null || gapMs < 500 || gapMs > 600_000) return null
  return Math.max(1000, Math.round(gapMs / 1000) * 1000)
}

/** Fewer only when the surplus has cost enough; then half of the way at once, from the highest wish meanwhile. */
function held(before: PlannerState['surplus'], wished: number, base: number, cycleMs: Millis) {
  if (wished >= base) return { wanted: wished, surplus: { instanceMs: 0, peak: 0 } }
  const instanceMs = before.instanceMs + (base - wished) * cycleMs
  const peak = Math.max(before.peak, wished)
  if (instanceMs < PLANNER.holdInstanceMs) return { wanted: base, surplus: { instanceMs, peak } }
  return {
    wanted: Math.min(base, Math.round(peak - PLANNER.giveBack * (peak - wished))),
    surplus: { instanceMs, peak },
  }
}

/** Requests waiting: what a response time beyond that of a full house has to be explained by. */
function backlogOf(seen: Observation, capacity: CapacityModel, limitMs: number): number {
  if (seen.cpu === null || seen.cpu < 97 || seen.responseMs === null) return 0
  const full = capacity.fit === null ? limitMs : Math.min(limitMs, responseAt(capacity.fit, 0.9))
  return (Math.min(10_000, Math.max(0, seen.responseMs - full)) / 1000) * seen.ready * capacity.rate
}

function scored(record: ForecastRecord, pending: readonly Pending[], value: number, cycleMs: Millis, now: Millis) {
  const keep = 0.5 ** (cycleMs / PLANNER.recordHalfLifeMs)
  let next = record
  const left: Pending[] = []
  for (const p of pending) {
    if (p.at > now + cycleMs / 2) left.push(p)
    else if (p.at > now - cycleMs / 2) {
      const share = Math.max(1 - keep, 1 / (next.scored + 1))
      const blend = (old: number, fresh: number) => old + share * (fresh - old)
      const scores = {
        scored: next.scored + 1,
        error: blend(next.error, Math.abs(value - p.value)),
        errorAsNow: blend(next.errorAsNow, Math.abs(value - p.now)),
        covered: blend(next.covered, value <= p.upper ? 1 : 0),
      }
      // Its error alone: an interval that is too low is no reason to go without.
      const ratio = next.earned ? PLANNER.lostRatio : PLANNER.earnedRatio
      const earned = scores.scored >= PLANNER.earnedAfter && scores.error <= ratio * scores.errorAsNow + 1e-9
      next = { ...scores, earned }
    }
  }
  return { record: next, pending: left }
}

/** Another's forecast at a time between two of those it gave; it says nothing beyond them. */
function heardFrom(forecast: readonly DemandForecast[]): Heard | undefined {
  if (forecast.length === 0) return undefined
  const points = forecast.toSorted((a, b) => a.at - b.at)
  return (at) => {
    const i = points.findIndex((p) => p.at >= at)
    if (i < 0) return null
    const after = points[i]!
    if (after.at === at) return after.value
    const before = points[i - 1]
    if (before === undefined) return null
    return before.value + ((after.value - before.value) * (at - before.at)) / (after.at - before.at)
  }
}

function interpolate(dists: readonly Ahead[], steps: number): Ahead {
  let i = 0
  while (i < dists.length - 1 && dists[i + 1]!.steps <= steps) i++
  const a = dists[i]!
  const b = dists[i + 1]
  if (b === undefined || a.steps >= steps) return a
  const f = (steps - a.steps) / (b.steps - a.steps)
  return {
    steps,
    z: a.z + f * (b.z - a.z),
    sigma: a.sigma + f * (b.sigma - a.sigma),
    shares: f < 0.5 ? a.shares : b.shares,
  }
}

/** The value below which `q` of the distribution lies, on the link's scale. */
function quantile(d: Ahead, q: number): number {
  let sum = 0
  for (let b = 0; b < d.shares.length; b++) {
    const share = d.shares[b]!
    if (sum + share >= q) return d.z + d.sigma * (eOf(b) + 0.25 * ((q - sum) / share - 0.5))
    sum += share
  }
  return d.z + d.sigma * eOf(d.shares.length - 1)
}

function shareBelow(d: Ahead, unlinked: (z: number) => number, limit: number): number {
  let sum = 0
  for (let b = 0; b < d.shares.length; b++) if (unlinked(d.z + d.sigma * eOf(b)) <= limit) sum += d.shares[b]!
  return Math.min(1, sum)
}
