/**
 * A forecast earns its place: what became of the latest forecasts of one metric at one horizon, beside three plain
 * guesses made at the same moments: it stays as it is (naive), it is as it was a day ago (seasonal naive), it is the
 * mean of the last day. Pure: outcomes in, a verdict out.
 *
 *   unproven ──JUDGED_AFTER outcomes──▶ in use ◀──beats both naive guesses──▶ withdrawn (the better guess serves)
 */
export interface Outcome {
  /** Absolute error of the forecast's median. */
  readonly error: number
  readonly naive: number
  /** Null while there is no value of a day ago. */
  readonly seasonal: number | null
  readonly mean: number
  readonly in80: boolean
  readonly in95: boolean
}

/** The newest outcomes, at most OUTCOMES_MAX, oldest first; plain JSON. */
export interface TrackRecord {
  readonly outcomes: readonly Outcome[]
  readonly standing: Standing
}
export type Standing = 'unproven' | 'in_use' | 'withdrawn'

/** A day of five-minute origins. */
export const OUTCOMES_MAX = 288
export const JUDGED_AFTER = 24
/** A verdict changes only by more than this part, so that it does not flip at every outcome. */
const CLEARLY = 0.02

export const emptyRecord: TrackRecord = { outcomes: [], standing: 'unproven' }

export function extend(record: TrackRecord, outcomes: readonly Outcome[]): TrackRecord {
  const kept = [...record.outcomes, ...outcomes.map(shortened)].slice(-OUTCOMES_MAX)
  return { outcomes: kept, standing: standingOf(record.standing, kept) }
}

/** Five digits are kept, so that a stored record is the same one. */
function shortened(outcome: Outcome): Outcome {
  const short = (value: number) => Number(value.toPrecision(5))
  const { error, naive, seasonal, mean } = outcome
  return {
    ...outcome,
    error: short(error),
    naive: short(naive),
    seasonal: seasonal === null ? null : short(seasonal),
    mean: short(mean),
  }
}

function standingOf(before: Standing, outcomes: readonly Outcome[]): Standing {
  if (outcomes.length < JUDGED_AFTER) return 'unproven'
  const { error, naive, seasonal } = errorsOf(outcomes)
  const bar = Math.min(naive!, seasonal ?? Number.POSITIVE_INFINITY)
  if (before === 'in_use') return error! > bar * (1 + CLEARLY) ? 'withdrawn' : 'in_use'
  if (before === 'withdrawn') return error! < bar * (1 - CLEARLY) ? 'in_use' : 'withdrawn'
  return error! <= bar ? 'in_use' : 'withdrawn'
}

/** A record as it is stored: five numbers an outcome. */
export interface PackedRecord {
  readonly standing: Standing
  /** error, naive, seasonal, mean, and the intervals that held it (1: of 80 %, 2: of 95 %). */
  readonly outcomes: readonly (number | null)[]
}

export function pack(record: TrackRecord): PackedRecord {
  const row = (o: Outcome) => [o.error, o.naive, o.seasonal, o.mean, Number(o.in80) + 2 * Number(o.in95)]
  return { standing: record.standing, outcomes: record.outcomes.flatMap(row) }
}

export function unpack({ standing, outcomes }: PackedRecord): TrackRecord {
  const made: Outcome[] = []
  for (let i = 0; i + 4 < outcomes.length; i += 5) {
    const held = outcomes[i + 4]!
    made.push({
      error: outcomes[i]!,
      naive: outcomes[i + 1]!,
      seasonal: outcomes[i + 2]!,
      mean: outcomes[i + 3]!,
      in80: (held & 1) !== 0,
      in95: (held & 2) !== 0,
    })
  }
  return { outcomes: made, standing }
}

export interface Errors {
  readonly origins: number
  readonly error: number | null
  readonly naive: number | null
  /** Null unless every counted outcome had a value of a day ago. */
  readonly seasonal: number | null
  readonly mean: number | null
  readonly coverage80: number | null
  readonly coverage95: number | null
}

/** Mean absolute errors and coverage of the intervals; nulls of an empty record. */
export function errorsOf(outcomes: readonly Outcome[]): Errors {
  const n = outcomes.length
  if (n === 0) {
    return { origins: 0, error: null, naive: null, seasonal: null, mean: null, coverage80: null, coverage95: null }
  }
  const average = (of: (o: Outcome) => number) => outcomes.reduce((sum, o) => sum + of(o) / n, 0)
  const allSeasonal = outcomes.every((o) => o.seasonal !== null)
  return {
    origins: n,
    error: average((o) => o.error),
    naive: average((o) => o.naive),
    seasonal: allSeasonal ? average((o) => o.seasonal!) : null,
    mean: average((o) => o.mean),
    coverage80: average((o) => Number(o.in80)),
    coverage95: average((o) => Number(o.in95)),
  }
}

/**
 * How far a forecast may be trusted, from its record alone: the share of the error of "it is the mean of the last day"
 * that it saved, 0 to 1; 0 while unproven. A metric that never moves is forecast fully.
 */
export function confidenceOf(record: TrackRecord): number {
  if (record.standing === 'unproven') return 0
  const { error, mean, naive, seasonal } = errorsOf(record.outcomes)
  const used = record.standing === 'in_use' ? error! : Math.min(naive!, seasonal ?? Number.POSITIVE_INFINITY)
  if (mean === 0) return used === 0 ? 1 : 0
  return Math.min(1, Math.max(0, 1 - used / mean!))
}

/** Which guess serves while the forecast is withdrawn. */
export function betterGuess(record: TrackRecord): 'naive' | 'seasonal_naive' {
  const { naive, seasonal } = errorsOf(record.outcomes)
  return seasonal !== null && seasonal < naive! ? 'seasonal_naive' : 'naive'
}
