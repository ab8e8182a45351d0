/**
 * Forecasts as they live: made every cycle by the training thread, kept in analytics.db, compared with what came, and
 * withdrawn when plain guesses did better (track-record.ts).
 */
import type { Clock } from '../base/clock.ts'
import { DAY, HOUR, MINUTE, type Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import type { ForecastModel, HorizonForecast } from './forecasters/index.ts'
import { BIN_MS, type ForecastView, type SkillView } from './insights/insight.ts'
import {
  betterGuess,
  confidenceOf,
  emptyRecord,
  errorsOf,
  extend,
  JUDGED_AFTER,
  type Outcome,
  type Standing,
  type TrackRecord,
} from './track-record.ts'
import { type Candidate, type Guesses, outcomeOf, type TrainJob, type TrainResult } from './training.ts'

/**
 * Runs jobs in the training thread, the first first; a job that failed, has nothing to say, or comes when the budget is
 * spent or after `signal` gives null.
 */
export type Train = (
  jobs: readonly TrainJob[],
  budgetMs?: number,
  signal?: AbortSignal,
) => Promise<readonly (TrainResult | null)[]>

export interface ForecastInput {
  readonly metric: string
  readonly times: Float64Array
  readonly values: Float64Array
  readonly min?: number
  readonly max?: number
}

export interface Prediction {
  readonly metricName: string
  /** Minutes. */
  readonly horizon: number
  readonly madeAt: Millis
  readonly target: Millis
  readonly value: number
  readonly lower80: number
  readonly upper80: number
  readonly lower95: number
  readonly upper95: number
  readonly trend: HorizonForecast['trend']
  readonly factors: Readonly<Record<string, number>>
  /** 0 to 1, from the record alone. */
  readonly confidence: number
  readonly model: string
  readonly samples: number
  readonly standing: Standing
}

export interface QualityRow {
  readonly metricName: string
  readonly horizon: number
  readonly origins: number
  readonly error: number | null
  readonly naiveError: number | null
  readonly seasonalError: number | null
  readonly relativeToNaive: number | null
  readonly coverage80: number | null
  readonly coverage95: number | null
  readonly standing: Standing
  readonly inUse: string
  readonly why: string
}

export interface ModelRow {
  readonly metricName: string
  readonly modelType: string
  /** Mean confidence over the horizons. */
  readonly accuracy: number
  readonly lastTrained: Millis | null
  readonly factors: Readonly<Record<string, number>>
}

export interface Forecasts {
  /** Settles what has come true or not, forecasts anew; answers how many predictions were made. */
  cycle(inputs: readonly ForecastInput[], horizons: readonly number[], retrainMs: number, train: Train): Promise<number>
  predictions(filter: { metricName?: string; horizon?: number; limit: number }): Prediction[]
  /** The newest of a metric, by horizon. */
  latest(metricName: string): Prediction[]
  quality(metricName?: string): QualityRow[]
  models(): ModelRow[]
  viewsOf(metricName: string): ForecastView[]
  skillOf(metricName: string): SkillView[]
  countSince(since: Millis): number
}

/** What is stored of a prediction beside its keys. */
interface Stored extends Omit<Prediction, 'metricName' | 'horizon' | 'madeAt' | 'target'> {
  /** The forecaster's own, also while a guess serves in its place: the record goes on. */
  readonly own: Pick<HorizonForecast, 'mean' | 'lower80' | 'upper80' | 'lower95' | 'upper95'>
  readonly guesses: Guesses
}

/** One metric's memory, as JSON in the table `records`. */
interface Memory {
  model: ForecastModel | null
  trainedAt: Millis | null
  /** Targets up to here are settled. */
  settledUntil: Millis
  records: Record<string, TrackRecord>
}

/** Predictions are kept for so long after they were made and after their time came: by then they are settled. */
const KEPT_MS = 2 * DAY
/** Metrics whose models and records are kept, the newest: names may come and go for ever. */
export const MEMORIES_MAX = 1000
/** A forecast older than this is no forecast any more. */
const CURRENT_MS = 15 * MINUTE

export function openForecasts(db: Database, clock: Clock): Forecasts {
  const memories = new Map<string, Memory>()
  for (const row of db.prepare('SELECT metric, state FROM records').iterate() as Iterable<{
    metric: string
    state: Buffer
  }>) {
    memories.set(row.metric, JSON.parse(row.state.toString()) as Memory)
  }
  const insert = db.prepare(
    "INSERT OR REPLACE INTO predictions (metric, labels, horizon, made_at, target, prediction) VALUES (?, '', ?, ?, ?, ?)",
  )
  const due = db.prepare(
    'SELECT horizon, target, prediction FROM predictions WHERE metric = ? AND target > ? AND target <= ?',
  )
  const forget = db.prepare(
    'DELETE FROM records WHERE metric NOT IN (SELECT metric FROM records ORDER BY updated_at DESC LIMIT ?) RETURNING metric',
  )
  const remember = db.prepare("INSERT OR REPLACE INTO records (metric, labels, updated_at, state) VALUES (?, '', ?, ?)")

  const memoryOf = (metric: string): Memory => {
    const known = memories.get(metric)
    if (known) return known
    const fresh: Memory = { model: null, trainedAt: null, settledUntil: 0, records: {} }
    memories.set(metric, fresh)
    return fresh
  }
  const recordOf = (metric: string, horizon: number): TrackRecord =>
    memories.get(metric)?.records[horizon] ?? emptyRecord

  /** Compares stored predictions with the bins that have come since. */
  function settle(input: ForecastInput): void {
    const memory = memoryOf(input.metric)
    const newest = input.times[input.times.length - 1]!
    const actual = new Map<number, number>()
    for (let i = input.times.length - 1; i >= 0 && input.times[i]! > memory.settledUntil; i--) {
      actual.set(input.times[i]!, input.values[i]!)
    }
    const outcomes = new Map<number, Outcome[]>()
    for (const row of due.iterate(input.metric, memory.settledUntil, newest) as Iterable<{
      horizon: number
      target: number
      prediction: string
    }>) {
      const value = actual.get(row.target)
      if (value === undefined) continue
      const { own, guesses } = JSON.parse(row.prediction) as Stored
      outcomes.set(row.horizon, [...(outcomes.get(row.horizon) ?? []), outcomeOf(own, guesses, value)])
    }
    for (const [horizon, made] of outcomes) memory.records[horizon] = extend(recordOf(input.metric, horizon), made)
    memory.settledUntil = newest
  }

  function store(result: TrainResult, now: Millis): number {
    const memory = memoryOf(result.metric)
    memory.model = result.model
    if (result.fitted) memory.trainedAt = now
    for (const { horizon, outcomes } of result.judged) {
      if (recordOf(result.metric, horizon).outcomes.length === 0)
        memory.records[horizon] = extend(emptyRecord, outcomes)
    }
    for (const forecast of result.forecasts) {
      const record = recordOf(result.metric, forecast.horizon)
      insert.run(
        result.metric,
        forecast.horizon,
        now,
        result.origin + Math.max(BIN_MS, Math.round((forecast.horizon * MINUTE) / BIN_MS) * BIN_MS),
        JSON.stringify(stored(forecast, record, result.samples)),
      )
    }
    remember.run(result.metric, now, Buffer.from(JSON.stringify(memory)))
    return result.forecasts.length
  }

  function read(where: string, ...values: (string | number)[]): Prediction[] {
    const rows = db
      .prepare(`SELECT metric, horizon, made_at, target, prediction FROM predictions ${where}`)
      .all(...values)
    return (rows as { metric: string; horizon: number; made_at: number; target: number; prediction: string }[]).map(
      (row) => {
        const { own: _own, guesses: _guesses, ...rest } = JSON.parse(row.prediction) as Stored
        return { metricName: row.metric, horizon: row.horizon, madeAt: row.made_at, target: row.target, ...rest }
      },
    )
  }

  function latest(metricName: string): Prediction[] {
    const made = db.prepare('SELECT max(made_at) AS at FROM predictions WHERE metric = ?').get(metricName) as {
      at: number | null
    }
    if (made.at === null || clock.now() - made.at > CURRENT_MS) return []
    return read('WHERE metric = ? AND made_at = ? ORDER BY horizon', metricName, made.at)
  }

  function quality(metricName?: string): QualityRow[] {
    const rows: QualityRow[] = []
    for (const [metric, memory] of memories) {
      if (metricName !== undefined && metric !== metricName) continue
      for (const [horizon, record] of Object.entries(memory.records)) {
        const e = errorsOf(record.outcomes)
        const relative = e.error === null || !e.naive ? null : e.error / e.naive
        rows.push({
          metricName: metric,
          horizon: Number(horizon),
          origins: e.origins,
          error: e.error,
          naiveError: e.naive,
          seasonalError: e.seasonal,
          relativeToNaive: relative,
          coverage80: e.coverage80,
          coverage95: e.coverage95,
          standing: record.standing,
          inUse: record.standing === 'withdrawn' ? betterGuess(record) : 'forecaster',
          why: reason(record),
        })
      }
    }
    return rows.sort((a, b) => a.metricName.localeCompare(b.metricName) || a.horizon - b.horizon)
  }

  return {
    async cycle(inputs, horizons, retrainMs, train) {
      for (const input of inputs) settle(input)
      const now = clock.now()
      const jobs = inputs.map((input): TrainJob => {
        const memory = memoryOf(input.metric)
        const fresh = memory.model !== null && memory.trainedAt !== null && now - memory.trainedAt < retrainMs
        const sameHorizons =
          memory.model !== null &&
          same(
            memory.model.horizons.map((h) => h.horizon),
            horizons,
          )
        return {
          metric: input.metric,
          times: input.times,
          values: input.values,
          horizons,
          bounds: {
            ...(input.min === undefined ? {} : { min: input.min }),
            ...(input.max === undefined ? {} : { max: input.max }),
          },
          model: fresh && sameHorizons ? memory.model : null,
          judge: horizons.some((h) => recordOf(input.metric, h).outcomes.length === 0),
        }
      })
      const results = await train(jobs)
      return tx(db, () => {
        let made = 0
        for (const result of results) if (result) made += store(result, now)
        for (const { metric } of inputs) if (memories.get(metric)?.model === null) memories.delete(metric)
        for (const { metric } of forget.all(MEMORIES_MAX) as { metric: string }[]) memories.delete(metric)
        db.prepare('DELETE FROM predictions WHERE made_at < ? AND target < ?').run(now - KEPT_MS, now - KEPT_MS)
        return made
      })
    },
    predictions({ metricName, horizon, limit }) {
      const where: string[] = []
      const values: (string | number)[] = []
      if (metricName !== undefined) {
        where.push('metric = ?')
        values.push(metricName)
      }
      if (horizon !== undefined) {
        where.push('horizon = ?')
        values.push(horizon)
      }
      const clause = where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''
      return read(`${clause} ORDER BY made_at DESC, metric, horizon LIMIT ?`, ...values, limit)
    },
    latest,
    quality,
    models() {
      return [...memories].flatMap(([metricName, memory]) => {
        if (!memory.model) return []
        const records = Object.values(memory.records)
        const accuracy =
          records.length === 0 ? 0 : records.reduce((sum, r) => sum + confidenceOf(r), 0) / records.length
        const newest = latest(metricName)[0]
        const withdrawn = records.length > 0 && records.every((r) => r.standing === 'withdrawn')
        return [
          {
            metricName,
            modelType: withdrawn ? `withdrawn: ${betterGuess(records[0]!)}` : (newest?.model ?? 'regression'),
            accuracy,
            lastTrained: memory.trainedAt,
            factors: newest?.factors ?? {},
          },
        ]
      })
    },
    viewsOf(metricName) {
      return latest(metricName)
        .filter((p) => p.standing !== 'withdrawn')
        .map((p) => ({
          horizonMinutes: p.horizon,
          at: p.target,
          value: p.value,
          lower80: p.lower80,
          upper80: p.upper80,
        }))
    },
    skillOf(metricName) {
      return quality(metricName).flatMap((q) =>
        q.relativeToNaive === null
          ? []
          : [{ horizonMinutes: q.horizon, relativeToNaive: q.relativeToNaive, origins: q.origins }],
      )
    },
    countSince: (since) =>
      (
        db
          .prepare('SELECT count(*) AS n FROM predictions WHERE made_at >= ?')
          .get(Math.max(since, clock.now() - HOUR * 48)) as { n: number }
      ).n,
  }
}

/** While withdrawn, the better guess serves, with an interval from its own errors. */
function stored(forecast: Candidate, record: TrackRecord, samples: number): Stored {
  const { mean, lower80, upper80, lower95, upper95, guesses } = forecast
  const { standing } = record
  const rest = {
    confidence: confidenceOf(record),
    samples,
    standing,
    own: { mean, lower80, upper80, lower95, upper95 },
    guesses,
  }
  const guess = betterGuess(record)
  const serving =
    standing !== 'withdrawn' ? forecast : ((guess === 'seasonal_naive' ? forecast.seasonal : null) ?? forecast.naive)
  return {
    value: serving.mean,
    lower80: serving.lower80,
    upper80: serving.upper80,
    lower95: serving.lower95,
    upper95: serving.upper95,
    trend: serving.trend,
    factors: serving.factors,
    model: standing === 'withdrawn' ? `withdrawn: ${guess}` : serving.model,
    ...rest,
  }
}

function reason(record: TrackRecord): string {
  const { origins, error, naive, seasonal } = errorsOf(record.outcomes)
  if (record.standing === 'unproven') return `judged after ${JUDGED_AFTER} outcomes, ${origins} so far`
  const bar = Math.min(naive!, seasonal ?? Number.POSITIVE_INFINITY)
  const guess = betterGuess(record).replace('_', ' ')
  const percent = bar === 0 ? null : Math.round((100 * Math.abs(error! - bar)) / bar)
  const by = percent === null ? '' : ` by ${percent} %`
  return record.standing === 'in_use'
    ? `its error is at or below that of ${guess}${by}, over ${origins} outcomes`
    : `${guess} did better${by} over ${origins} outcomes`
}

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((x, i) => x === b[i])
