/**
 * A service as a queue: what count of instances gives which response time under which demand. Its numbers are fitted
 * to measurements (`planner/capacity.ts`); proof, simulation, grades and the optimum in hindsight all ask this. Pure.
 *
 * Demand is spread evenly. What does not fit in a step waits; a backlog of more than `BACKLOG_MAX_S` of work is lost.
 */
import { type CapacityModel, type Fit, kneeOf, learnCapacity, newCapacityModel, waitOf } from './planner/capacity.ts'

/** Callers have given up by then. */
const BACKLOG_MAX_S = 10

export interface Service {
  /** Requests/s of one instance at full CPU. */
  readonly rate: number
  /** The largest load that holds the limit. */
  readonly knee: number
  readonly fit: Fit | null
  readonly limitMs: number
}

export interface Prices {
  readonly pricePerInstanceHour: number
  readonly slowPerMillion: number
  readonly lostPerMillion: number
}

export interface Served {
  readonly backlog: number
  readonly responseMs: number
  /** Share of what could be served that was, 0 to 1. */
  readonly load: number
  readonly slow: number
  readonly lost: number
}

/** The service that a learnt capacity describes, or null while too little is known. */
export function serviceOf(capacity: CapacityModel, limitMs: number): Service | null {
  if (capacity.rateWeight < 5) return null
  return { rate: capacity.rate, knee: kneeOf(capacity, limitMs), fit: capacity.fit, limitMs }
}

export interface Measured {
  readonly demand: number | null
  readonly cpu: number | null
  readonly responseMs: number | null
  readonly ready: number | null
}

/** The service that a history of measurements describes, or null when it does not tell. */
export function fitService(rows: Iterable<Measured>, limitMs: number): Service | null {
  let model = newCapacityModel()
  for (const row of rows) if (row.ready !== null) model = learnCapacity(model, { ...row, ready: row.ready })
  return serviceOf(model, limitMs)
}

/** One step of `seconds` with `ready` instances and what waited before it. */
export function serve(service: Service, ready: number, demand: number, seconds: number, waiting: number): Served {
  const capacity = ready * service.rate
  const work = waiting + demand * seconds
  if (capacity <= 0) {
    return { backlog: 0, responseMs: work > 0 ? BACKLOG_MAX_S * 1000 : 0, load: work > 0 ? 1 : 0, slow: 0, lost: work }
  }
  const served = Math.min(work, capacity * seconds)
  const left = work - served
  const backlog = Math.min(left, BACKLOG_MAX_S * capacity)
  const load = Math.min(1, work / (capacity * seconds))
  const { fit, limitMs, knee } = service
  // Without a fit the knee is all that is known: below it the limit holds, above it does not.
  const base =
    fit === null
      ? load <= knee
        ? 0.5 * limitMs
        : limitMs + 1
      : fit.serviceMs * (1 + fit.factor * waitOf(fit.workers, load))
  const responseMs = base + (1000 * backlog) / capacity
  const lost = left - backlog
  const slow = responseMs > limitMs ? Math.max(0, demand * seconds - lost) : 0
  return { backlog, responseMs, load, slow, lost }
}

/** Money for `seconds` of `paid` instances with what was slow and lost. */
export function costOf(prices: Prices, paid: number, seconds: number, slow: number, lost: number): number {
  return (
    (paid * prices.pricePerInstanceHour * seconds) / 3600 +
    (slow * prices.slowPerMillion + lost * prices.lostPerMillion) / 1e6
  )
}
