/**
 * Stored history for judging: what a target saw, row by row; the simulation of it in a thread of its own, so that a
 * question about last week delays nothing; grades of decisions once it is known what came.
 */
import { Worker } from 'node:worker_threads'
import { AppError, conflict, messageOf, tooMany } from '../base/errors.ts'
import { caller } from '../base/rpc.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { HOUR, MINUTE, type Millis, SECOND } from '../base/time.ts'
import { PLATFORM_LABEL } from '../metrics/index.ts'
import { type Graded, gradeDecision } from './grade.ts'
import type { DecideSettings, Policy } from './model.ts'
import { combineOf, expressionOf, type ScalingSources } from './observe.ts'
import { fitService, type Service, serviceOf } from './service.ts'
import { type HistoryRow, type Simulation, simulate } from './simulate.ts'
import type { ScalingStore, StoredDecision } from './store.ts'
import type { TargetSettings } from './targets.ts'

/** Most steps that a simulation plays: a week by the minute, four weeks by five minutes. */
const ROWS_MAX = 10_500
/** Steps of one read: within what the query engine answers at once. */
const READ_MAX = 5_000

/** Rows of a target at `stepMs`, from the stored samples. */
export async function historyOf(
  target: TargetSettings,
  policies: readonly Policy[],
  sources: ScalingSources,
  from: Millis,
  until: Millis,
  stepMs: Millis,
): Promise<HistoryRow[]> {
  const read = async (name: string, expr = expressionOf(name, target)) => {
    const values: (number | null)[] = []
    for (let at = from; at <= until; at += READ_MAX * stepMs) {
      const end = Math.min(until, at + (READ_MAX - 1) * stepMs)
      values.push(...(await sources.range(expr, combineOf(name, target), at, end, stepMs)))
    }
    return values
  }
  const own = (name: string) => `${name}{${PLATFORM_LABEL[0]}="${PLATFORM_LABEL[1]}",target="${target.name}"}`
  const names = [...new Set(policies.map(({ metricName }) => metricName))]
  const [demand, cpu, responseMs, memory, ready, ...values] = await Promise.all([
    read(target.demand),
    read(target.cpu),
    read(target.responseTime),
    read('system.memory_usage'),
    read('scaling_instances_ready', own('scaling_instances_ready')),
    ...names.map((name) => read(name)),
  ])
  return (demand ?? []).map((value, i) => {
    const count = ready?.[i] ?? null
    return {
      at: from + i * stepMs,
      demand: value,
      cpu: cpu?.[i] ?? null,
      responseMs: responseMs?.[i] ?? null,
      memory: memory?.[i] ?? null,
      ready: count === null ? null : Math.round(count),
      metrics: Object.fromEntries(names.map((name, k) => [name, values[k]?.[i] ?? null])),
    }
  })
}

/** The step of a simulation of a span: that of the cycles, coarser where there would be too many. */
export function stepOf(spanMs: Millis, cycleMs: Millis): Millis {
  const least = Math.max(15 * SECOND, cycleMs)
  return Math.max(least, Math.ceil(spanMs / ROWS_MAX / MINUTE) * MINUTE * Number(spanMs / least > ROWS_MAX))
}

export interface SimulationRequest {
  readonly rows: readonly HistoryRow[]
  readonly settings: DecideSettings
  /** What was learnt of the service as it ran, for a history that does not tell it; null: nothing yet. */
  readonly known: Service | null
}

/** In the thread. A history that does not tell enough is an answer, not a fault. */
export function runSimulation({ rows, settings, known }: SimulationRequest): Simulation | { readonly why: string } {
  try {
    const service = fitService(rows, settings.target.limitMs) ?? known
    return simulate(rows, settings, service === null ? {} : { service })
  } catch (error) {
    const why = messageOf(error)
    if (why.startsWith('history: ')) return { why: why.slice('history: '.length) }
    throw error
  }
}

type Operations = { simulate(request: SimulationRequest): Simulation | { readonly why: string } }

const TIME_MAX_MS = 2 * MINUTE

const WAITING_MAX = 4

/** Plays a history; one at a time. Throws 409 when it does not tell enough, 429 while too many wait. */
export function simulationThread(worker: URL, scheduler: Scheduler) {
  let waiting = 0
  let last: Promise<unknown> = Promise.resolve()
  return (request: SimulationRequest): Promise<Simulation> => {
    if (waiting >= WAITING_MAX) return Promise.reject(tooMany('Other simulations are being made. Try again.', 5))
    waiting++
    const play = () => once(request)
    const mine = last.then(play, play).finally(() => waiting--)
    last = mine.catch(() => {})
    return mine
  }

  async function once(request: SimulationRequest): Promise<Simulation> {
    const thread = new Worker(worker, { name: 'simulation' })
    const remote = caller<Operations>(thread)
    const end = (why: string) => {
      remote.close(why)
      void thread.terminate()
    }
    thread.on('error', (error) => end(messageOf(error)))
    const limit = scheduler.after(TIME_MAX_MS, () => end('The simulation took too long.'))
    try {
      const answer = await remote.call('simulate', request)
      if ('why' in answer) throw conflict('history_insufficient', `The history does not tell: ${answer.why}.`)
      return answer
    } catch (error) {
      if (error instanceof AppError) throw error
      throw new AppError(503, 'simulation_failed', 'The simulation was not finished.', {
        retryAfterSeconds: 30,
        cause: error,
      })
    } finally {
      limit.cancel()
      end('The simulation is over.')
    }
  }
}

/** What came after a decision is looked at for so long, or until the next that changed something. */
const GRADED_MS = HOUR
const GRADE_STEP_MS = 15 * SECOND

/**
 * The grade of a decision whose time has passed: kept with it from then on. Null while it is too early, or while
 * nothing is known of what came.
 */
export async function gradeOf(
  stored: StoredDecision,
  target: TargetSettings,
  settings: DecideSettings,
  store: ScalingStore,
  sources: ScalingSources,
  now: Millis,
): Promise<Graded | null> {
  const known = store.grade(stored.id) as Graded | null
  if (known !== null) return known
  if (stored.decision.action === 'maintain' || stored.decision.capacityPerInstance === null) return null
  const [next] = store
    .decisions({ target: stored.target, only: 'changes', since: stored.at + 1, limit: 1000 })
    .slice(-1)
  const until = Math.min(stored.at + GRADED_MS, next?.at ?? Number.POSITIVE_INFINITY)
  if (now < until + MINUTE) return null
  const service = serviceOf(store.target(stored.target).state.planner.capacity, target.limitMs)
  const rows = await historyOf(target, [], sources, stored.at, until, GRADE_STEP_MS)
  const { decision } = stored
  const grade = gradeDecision(
    {
      at: stored.at,
      current: decision.current,
      base: stored.observation.wanted ?? decision.current + stored.observation.starting,
      wanted: decision.wanted,
      startUpMs: decision.startUpMs,
    },
    rows,
    service,
    settings.target.economics,
    {
      min: Math.max(target.minInstances, settings.globalMin),
      max: Math.min(target.maxInstances, settings.globalMax),
    },
  )
  if (grade !== null) store.putGrade(stored.id, grade, now)
  return grade
}
