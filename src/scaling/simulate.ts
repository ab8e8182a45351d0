/**
 * Judging a policy before it acts: the `decide` that runs live, over stored history, next to what happened, to the rule
 * of Kubernetes' HPA and to the clairvoyant optimum. Pure.
 *
 *   history: demand, CPU, response time, count ─▶ a service fitted to it (service.ts)
 *   demand, step by step ─▶ service with n instances ─▶ Observation ─▶ decide ─▶ n after its start-up time
 *
 * Demand is what came and does not answer to the count. Memory and metrics that the service does not explain are shown
 * to policies as they were stored.
 */
import type { Millis } from '../base/time.ts'
import { carriedOut, decide, newState, type ScalerState } from './decide.ts'
import type { DecideSettings, Decision, Observation } from './model.ts'
import { optimumOf } from './optimum.ts'
import { costOf, fitService, type Measured, type Service, serve } from './service.ts'

/** One stored cycle. A metric without a sample is null. */
export interface HistoryRow extends Measured {
  readonly at: Millis
  readonly memory?: number | null
  /** Other metrics that policies go by, by their canonical name. */
  readonly metrics?: Readonly<Record<string, number | null>>
}

export interface Totals {
  readonly instanceHours: number
  readonly minutesOverLimit: number
  readonly slowRequests: number
  readonly lostRequests: number
  readonly cost: number
  readonly actions: number
  /** Changes of direction within ten minutes of the change before. */
  readonly flaps: number
}

export interface SimulatedDecision {
  readonly at: Millis
  readonly from: number
  readonly to: number
  readonly decision: Decision
}

export interface SimulatedPoint {
  readonly at: Millis
  readonly demand: number
  readonly ready: number
  readonly wanted: number
  readonly responseMs: number
}

export interface Simulation {
  readonly since: Millis
  readonly until: Millis
  readonly steps: number
  readonly service: Service
  /** Decisions that changed something, oldest first. */
  readonly decisions: readonly SimulatedDecision[]
  readonly points: readonly SimulatedPoint[]
  readonly policy: Totals
  /** Over those of the steps whose count of instances is known; null when it never is. */
  readonly happened: Totals | null
  readonly happenedSteps: number
  /** Seconds from one step to the next, and how long a start took. */
  readonly stepS: number
  readonly startUpMs: Millis
  readonly hpa: Totals
  readonly optimum: Totals
  readonly state: ScalerState
}

export interface SimulateOptions {
  /** Used instead of one fitted to the history: histories without CPU or count need it. */
  readonly service?: Service
  /** What was learnt before; a history of its own is learnt from as it is played. */
  readonly state?: ScalerState
  /** Rows before this time are played and learnt from, and not counted. */
  readonly countFrom?: Millis
}

/** What a controller sees and answers with: the wanted count, ready plus starting. */
type Controller = (seen: Observation, now: Millis) => number

/** Plays the history; an Error with one sentence when it does not hold enough to. */
export function simulate(
  rows: readonly HistoryRow[],
  settings: DecideSettings,
  options: SimulateOptions = {},
): Simulation {
  const usable = filled(rows)
  if (usable.length < 2) throw new Error(`history: it holds fewer than two moments with ${settings.target.demand}`)
  const { target } = settings
  const service = options.service ?? fitService(rows, target.limitMs)
  if (service === null) {
    throw new Error(
      `history: the capacity of one instance cannot be told; it needs ${target.demand}, ${target.cpu} and the count of ` +
        'ready instances at the same moments, under some load',
    )
  }
  const stepS = stepOf(usable)
  const startUpMs = target.startUpMs ?? 60_000
  const bounds = {
    min: Math.max(target.minInstances, settings.globalMin),
    max: Math.min(target.maxInstances, settings.globalMax),
  }
  const world = {
    rows: usable,
    service,
    settings,
    stepS,
    startUpMs,
    countFrom: options.countFrom ?? -Infinity,
    ...bounds,
  }

  let state = options.state ?? newState()
  const decisions: SimulatedDecision[] = []
  const policy = play(world, (seen, now) => {
    const outcome = decide(state, seen, { ...settings, cycleMs: stepS * 1000 }, now)
    const { decision } = outcome
    state = outcome.state
    if (decision.action !== 'maintain') {
      state = carriedOut(state, decision, now)
      if (now >= world.countFrom)
        decisions.push({ at: now, from: seen.ready + seen.starting, to: decision.wanted, decision })
    }
    return decision.wanted
  })
  const hpa = play(world, kubernetesRule(world.min))
  const counted = usable.filter((row) => row.at >= world.countFrom)
  const best = optimumOf(
    counted.map((row) => row.demand),
    service,
    target.economics,
    { ...bounds, startUpMs, stepS },
  )
  return {
    since: counted[0]?.at ?? usable[0]!.at,
    until: usable.at(-1)!.at,
    steps: counted.length,
    service,
    decisions,
    points: policy.points,
    policy: policy.totals,
    ...happenedOf(world),
    stepS,
    startUpMs,
    hpa: hpa.totals,
    optimum: { ...totalsOfCounts(world, counted, best.counts), cost: best.cost },
    state,
  }
}

interface Row extends HistoryRow {
  readonly demand: number
}

interface World {
  readonly rows: readonly Row[]
  readonly service: Service
  readonly settings: DecideSettings
  readonly stepS: number
  readonly startUpMs: number
  readonly countFrom: Millis
  readonly min: number
  readonly max: number
}

const filled = (rows: readonly HistoryRow[]): Row[] =>
  rows.flatMap((row) =>
    row.demand !== null && Number.isFinite(row.demand) ? [{ ...row, demand: Math.max(0, row.demand) }] : [],
  )

/** The usual distance of two rows, s. */
function stepOf(rows: readonly Row[]): number {
  const gaps = rows.slice(1, 200).map((row, i) => row.at - rows[i]!.at)
  gaps.sort((a, b) => a - b)
  return Math.max(1, Math.round(gaps[gaps.length >> 1]! / 1000))
}

/** A controller in charge of the service, from the count that would have been right at first. */
function play(world: World, control: Controller): { totals: Totals; points: SimulatedPoint[] } {
  const { rows, service, stepS, startUpMs } = world
  const { target } = world.settings
  const clamp = (n: number) => Math.max(world.min, Math.min(world.max, n))
  let ready = clamp(rows[0]!.ready ?? Math.ceil(rows[0]!.demand / (service.rate * 0.7)))
  /** Moments at which what was asked for is ready. */
  let starting: Millis[] = []
  let waiting = 0
  const sum = new Sum(world)
  const points: SimulatedPoint[] = []
  for (const row of rows) {
    const began = row.at - stepS * 1000
    while (starting.length > 0 && starting[0]! <= began) {
      starting.shift()
      ready++
    }
    const served = serve(service, ready, row.demand, stepS, waiting)
    waiting = served.backlog
    const there = ready + starting.length
    const wanted = clamp(
      control(
        {
          ready,
          starting: starting.length,
          draining: 0,
          wanted: there,
          demand: row.demand,
          cpu: 100 * served.load,
          memory: row.memory ?? null,
          responseMs: served.responseMs,
          // What answers to the count is played, by whichever name a policy calls it; the rest is as it was stored.
          metrics: {
            'system.memory_usage': row.memory ?? null,
            ...row.metrics,
            'system.cpu_usage': 100 * served.load,
            [target.cpu]: 100 * served.load,
            'application.api_response_time': served.responseMs,
            [target.responseTime]: served.responseMs,
            'application.requests_per_second': row.demand,
            [target.demand]: row.demand,
          },
          forecast: [],
        },
        row.at,
      ),
    )
    if (row.at >= world.countFrom) {
      sum.step(there, served.responseMs, served.slow, served.lost)
      sum.changed(row.at, wanted - there)
      points.push({ at: row.at, demand: row.demand, ready, wanted, responseMs: served.responseMs })
    }
    for (let i = there; i < wanted; i++) starting.push(row.at + startUpMs)
    for (let cut = there - wanted; cut > 0; cut--) {
      // What is still starting goes first: it serves nobody yet.
      if (starting.length > 0) starting = starting.slice(0, -1)
      else ready--
    }
  }
  return { totals: sum.totals(), points }
}

const FLAP_WITHIN_MS = 600_000

class Sum {
  private instanceHours = 0
  private overS = 0
  private slow = 0
  private lost = 0
  private cost = 0
  private actions = 0
  private flaps = 0
  private last: { at: Millis; direction: number } | null = null

  private readonly world: World

  constructor(world: World) {
    this.world = world
  }

  step(paid: number, responseMs: number, slow: number, lost: number): void {
    const { stepS, settings } = this.world
    this.instanceHours += (paid * stepS) / 3600
    if (responseMs > settings.target.limitMs) this.overS += stepS
    this.slow += slow
    this.lost += lost
    this.cost += costOf(settings.target.economics, paid, stepS, slow, lost)
  }

  changed(at: Millis, by: number): void {
    if (by === 0) return
    const direction = Math.sign(by)
    this.actions++
    if (this.last !== null && this.last.direction !== direction && at - this.last.at <= FLAP_WITHIN_MS) this.flaps++
    this.last = { at, direction }
  }

  totals(): Totals {
    return {
      instanceHours: this.instanceHours,
      minutesOverLimit: this.overS / 60,
      slowRequests: this.slow,
      lostRequests: this.lost,
      cost: this.cost,
      actions: this.actions,
      flaps: this.flaps,
    }
  }
}

/** What was measured, with the counts that were there. */
function happenedOf(world: World): Pick<Simulation, 'happened' | 'happenedSteps'> {
  const sum = new Sum(world)
  let before: number | null = null
  let waiting = 0
  let rows = 0
  for (const row of world.rows) {
    if (row.ready === null) continue
    const served = serve(world.service, row.ready, row.demand, world.stepS, waiting)
    waiting = served.backlog
    if (row.at < world.countFrom) continue
    rows++
    // The response time that was measured beats the one a model makes of it.
    const response = row.responseMs ?? served.responseMs
    const over = response > world.settings.target.limitMs
    sum.step(row.ready, response, over ? Math.max(0, row.demand * world.stepS - served.lost) : 0, served.lost)
    if (before !== null) sum.changed(row.at, row.ready - before)
    before = row.ready
  }
  return { happened: rows === 0 ? null : sum.totals(), happenedSteps: rows }
}

function totalsOfCounts(world: World, rows: readonly Row[], counts: Int16Array): Totals {
  const sum = new Sum(world)
  rows.forEach((row, i) => {
    const served = serve(world.service, counts[i]!, row.demand, world.stepS, 0)
    sum.step(counts[i]!, served.responseMs, served.slow, served.lost)
    if (i > 0) sum.changed(row.at, counts[i]! - counts[i - 1]!)
  })
  return sum.totals()
}

/**
 * Kubernetes' HorizontalPodAutoscaler (autoscaling/v2) at 70 % CPU with its defaults: a tolerance of 10 %, pods that are
 * not ready count as idle when growing, at most double or four more at once, and the highest wish of the last five
 * minutes when shrinking.
 */
export function kubernetesRule(min = 1, targetCpu = 70): Controller {
  let wishes: { at: Millis; wanted: number }[] = []
  return (seen, now) => {
    const there = seen.ready + seen.starting
    const ratio = (seen.cpu ?? targetCpu) / targetCpu
    let wanted = there
    if (ratio > 1.1) {
      const diluted = (ratio * seen.ready) / Math.max(1, there)
      wanted = diluted > 1.1 ? Math.ceil(diluted * there) : there
    } else if (ratio < 0.9) wanted = Math.ceil(ratio * seen.ready)
    wishes = [...wishes.filter((w) => w.at > now - 300_000), { at: now, wanted }]
    if (wanted < there) wanted = Math.min(there, Math.max(...wishes.map((w) => w.wanted)))
    return Math.max(min, Math.min(wanted, Math.max(2 * there, there + 4)))
  }
}
