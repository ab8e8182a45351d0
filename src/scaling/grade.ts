/**
 * The grade of a decision, given later: what was done against what would have been best, knowing what came. Pure.
 *
 *   done      the count that was decided, from its start-up time on
 *   stayed    the count that was there, left alone
 *   best      the one count that would have cost least
 *
 * All three are played through the same service with the demand that came, over the same window: from the decision to
 * the next one, or as long as the caller says. A decision that cost as much as the best has grade 1.
 */
import type { Millis } from '../base/time.ts'
import { costOf, type Prices, type Service, serve } from './service.ts'

export interface Graded {
  /** Cost of the best count over the cost of the one decided: 1 is as good as knowing the future, 0 the worst. */
  readonly grade: number
  readonly costDone: number
  readonly costStayed: number
  readonly costBest: number
  readonly best: number
  /** Minutes over the limit that the decision avoided (above 0) or caused (below 0) against leaving things alone. */
  readonly violationMinutesAvoided: number
  readonly violationMinutes: number
  /** How much of the window was known, minutes. */
  readonly minutes: number
  readonly sentence: string
}

export interface DecidedCount {
  readonly at: Millis
  /** Ready when it was decided. */
  readonly current: number
  /** Ready plus starting when it was decided. */
  readonly base: number
  readonly wanted: number
  readonly startUpMs: Millis
}

export interface Came {
  readonly at: Millis
  readonly demand: number | null
}

/** The grade of one decision from the demand after it, oldest first; null while nothing has come, or nothing is known. */
export function gradeDecision(
  decided: DecidedCount,
  came: readonly Came[],
  service: Service | null,
  prices: Prices,
  range: { readonly min: number; readonly max: number },
): Graded | null {
  if (service === null) return null
  const rows = came.filter((row): row is { at: Millis; demand: number } => row.demand !== null && row.at > decided.at)
  if (rows.length === 0) return null
  const done = playCount(decided, decided.wanted, rows, service, prices)
  const stayed = playCount(decided, decided.base, rows, service, prices)
  let peak = 0
  for (const row of rows) peak = Math.max(peak, row.demand)
  const most = Math.min(range.max, Math.ceil(peak / (service.rate * service.knee)) + 1)
  let best = { count: decided.wanted, cost: done.cost }
  for (let count = range.min; count <= most; count++) {
    const { cost } = playCount(decided, count, rows, service, prices)
    if (cost < best.cost) best = { count, cost }
  }
  const avoided = (stayed.overS - done.overS) / 60
  const minutes = (rows.at(-1)!.at - decided.at) / 60_000
  const round = (v: number) => Math.round(v * 10) / 10
  return {
    grade: done.cost > 0 ? Math.max(0, Math.min(1, best.cost / done.cost)) : 1,
    costDone: done.cost,
    costStayed: stayed.cost,
    costBest: best.cost,
    best: best.count,
    violationMinutesAvoided: avoided,
    violationMinutes: done.overS / 60,
    minutes,
    sentence:
      `${decided.wanted} for ${round(minutes)} min; ${best.count} would have been best` +
      (avoided > 0
        ? `; ${round(avoided)} min over the limit avoided`
        : avoided < 0
          ? `; ${round(-avoided)} min over the limit caused`
          : ''),
  }
}

function playCount(
  decided: DecidedCount,
  count: number,
  rows: readonly { at: Millis; demand: number }[],
  service: Service,
  prices: Prices,
): { cost: number; overS: number } {
  let before = decided.at
  let waiting = 0
  let cost = 0
  let overS = 0
  for (const row of rows) {
    const seconds = (row.at - before) / 1000
    // What was there before serves until what was asked for is ready; what is taken away is gone at once.
    const started = before >= decided.at + decided.startUpMs
    const ready = started ? count : Math.min(count, decided.current)
    const served = serve(service, ready, row.demand, seconds, waiting)
    waiting = served.backlog
    cost += costOf(prices, count, seconds, served.slow, served.lost)
    if (served.responseMs > service.limitMs) overS += seconds
    before = row.at
  }
  return { cost, overS }
}
