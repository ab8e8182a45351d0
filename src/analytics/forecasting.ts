/**
 * Forecasts as they live: made every cycle by the training thread, kept in analytics.db, compared with what came, and
 * withdrawn when plain guesses did better (track-record.ts).
 */
import type { Clock } from '../base/clock.ts'
import { HOUR, MINUTE, type Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import type { ForecastModel, HorizonForecast } from './forecasters/index.ts'
import { BIN_MS, type ForecastView, type SkillView } from './insights/insight.ts'
import { type LabelPairs, labelsText, platformText, type SeriesId, shown } from './series-id.ts'
import {
  betterGuess,
  confidenceOf,
  emptyRecord,
  errorsOf,
  extend,
  JUDGED_AFTER,
  type Outcome,
  type PackedRecord,
  pack,
  type Standing,
  type TrackRecord,
  unpack,
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

export interface ForecastInput extends SeriesId {
  readonly times: Float64Array
  readonly values: Float64Array
  readonly min?: number
  readonly max?: number
}

export interface Prediction {
  readonly metricName: string
  /** Of the series, without its name. */
  readonly labels: LabelPairs
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
  readonly labels: LabelPairs
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
  readonly labels: LabelPairs
  /** The name alone where that means this series, else with its labels. */
  readonly shown: string
  readonly modelType: string
  /** Mean confidence over the horizons. */
  readonly accuracy: number
  readonly lastTrained: Millis | null
  readonly factors: Readonly<Record<string, number>>
}

/** One series as it is expected to go on. */
export interface SeriesForecast extends SeriesId {
  readonly madeAt: Millis
  /** By horizon, the nearest first. */
  readonly horizons: readonly {
    /** Minutes ahead of when it was made. */
    readonly horizon: number
    /** The time that is forecast. */
    readonly target: Millis
    readonly value: number
    readonly lower80: number
    readonly upper80: number
    readonly lower95: number
    readonly upper95: number
    /** 0 to 1, from the record alone. */
    readonly confidence: number
    /** Why a plain guess stands here in the forecaster's place; null while the forecaster earns its place. */
    readonly withdrawn: string | null
  }[]
}

export interface SeriesFilter {
  readonly metricName?: string
  readonly labels?: LabelPairs
}

export interface Forecasts {
  /** Settles what has come true or not, forecasts anew; answers how many predictions were made. */
  cycle(inputs: readonly ForecastInput[], horizons: readonly number[], retrainMs: number, train: Train): Promise<number>
  predictions(filter: SeriesFilter & { horizon?: number; limit: number }): Prediction[]
  /** The newest of a series, by horizon; without labels of the series that the name alone means. */
  latest(metricName: string, labels?: LabelPairs): Prediction[]
  /** The newest of every series of a metric. */
  latestOfAll(metricName: string): Prediction[]
  /** The front door for other rooms: null when there is no forecast that is still one. */
  forecast(metricName: string, labels?: LabelPairs): SeriesForecast | null
  quality(filter?: SeriesFilter): QualityRow[]
  models(): ModelRow[]
  viewsOf(series: SeriesId): ForecastView[]
  skillOf(series: SeriesId): SkillView[]
  countSince(since: Millis): number
}

/** What is stored of a prediction beside its keys. */
interface Stored extends Omit<Prediction, 'metricName' | 'labels' | 'horizon' | 'madeAt' | 'target'> {
  /** The forecaster's own, also while a guess serves in its place: the record goes on. */
  readonly own: Pick<HorizonForecast, 'mean' | 'lower80' | 'upper80' | 'lower95' | 'upper95'>
  readonly guesses: Guesses
}

/** What is known of one series. */
interface Memory {
  readonly metric: string
  readonly labels: LabelPairs
  /** `labels` as they are stored. */
  readonly text: string
  model: ForecastModel | null
  trainedAt: Millis | null
  /** Targets up to here are settled. */
  settledUntil: Millis
  records: Record<string, TrackRecord>
}

/** The same as JSON in the table `records`. */
interface StoredMemory extends Pick<Memory, 'model' | 'trainedAt' | 'settledUntil'> {
  readonly records: Record<string, PackedRecord>
}

/** Predictions are kept for so long after they were made and after their time came: by then they are settled. */
const KEPT_MS = 6 * HOUR
/** Series whose models and records are kept, the newest: names may come and go for ever. */
export const MEMORIES_MAX = 1000
/** A forecast older than this is no forecast any more. */
const CURRENT_MS = 15 * MINUTE

export function openForecasts(db: Database, clock: Clock): Forecasts {
  /** By metric, then by the text of the labels. */
  const memories = new Map<string, Map<string, Memory>>()
  for (const row of db.prepare('SELECT metric, labels, state FROM records').iterate() as Iterable<{
    metric: string
    labels: string
    state: Buffer
  }>) {
    const { records, ...rest } = JSON.parse(row.state.toString()) as StoredMemory
    const memory = memoryOf(row.metric, JSON.parse(row.labels) as LabelPairs)
    Object.assign(memory, rest)
    for (const horizon in records) memory.records[horizon] = unpack(records[horizon]!)
  }
  const insert = db.prepare(
    'INSERT OR REPLACE INTO predictions (metric, labels, horizon, made_at, target, prediction) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const due = db.prepare(
    'SELECT horizon, target, prediction FROM predictions WHERE metric = ? AND labels = ? AND target > ? AND target <= ?',
  )
  const forget = db.prepare(
    'DELETE FROM records WHERE (metric, labels) NOT IN ' +
      '(SELECT metric, labels FROM records ORDER BY updated_at DESC LIMIT ?) RETURNING metric, labels',
  )
  const remember = db.prepare('INSERT OR REPLACE INTO records (metric, labels, updated_at, state) VALUES (?, ?, ?, ?)')
  const newestOf = db.prepare('SELECT max(made_at) FROM predictions WHERE metric = ? AND labels = ?').pluck()

  function memoryOf(metric: string, labels: LabelPairs): Memory {
    const text = labelsText(labels)
    const ofMetric = memories.get(metric) ?? new Map<string, Memory>()
    memories.set(metric, ofMetric)
    const known = ofMetric.get(text)
    if (known) return known
    const fresh: Memory = { metric, labels, text, model: null, trainedAt: null, settledUntil: 0, records: {} }
    ofMetric.set(text, fresh)
    return fresh
  }
  function drop(metric: string, text: string): void {
    const ofMetric = memories.get(metric)
    ofMetric?.delete(text)
    if (ofMetric?.size === 0) memories.delete(metric)
  }
  const recordOf = (memory: Memory, horizon: number): TrackRecord => memory.records[horizon] ?? emptyRecord

  /** The series that a metric's name alone means: the platform's own, or the only one. */
  function meant(metric: string): string | null {
    const ofMetric = memories.get(metric)
    if (!ofMetric) return null
    if (ofMetric.has(platformText)) return platformText
    return ofMetric.size === 1 ? [...ofMetric.keys()][0]! : null
  }

  function* known(filter: SeriesFilter = {}): Iterable<Memory> {
    const text = filter.labels && labelsText(filter.labels)
    const metrics = filter.metricName === undefined ? memories.values() : [memories.get(filter.metricName)]
    for (const ofMetric of metrics) {
      for (const memory of ofMetric?.values() ?? []) if (text === undefined || memory.text === text) yield memory
    }
  }

  /** Compares stored predictions with the bins that have come since. */
  function settle(input: ForecastInput): void {
    const memory = memoryOf(input.metric, input.labels)
    const newest = input.times[input.times.length - 1]!
    const actual = new Map<number, number>()
    for (let i = input.times.length - 1; i >= 0 && input.times[i]! > memory.settledUntil; i--) {
      actual.set(input.times[i]!, input.values[i]!)
    }
    const outcomes = new Map<number, Outcome[]>()
    for (const row of due.iterate(memory.metric, memory.text, memory.settledUntil, newest) as Iterable<{
      horizon: number
      target: number
      prediction: string
    }>) {
      const value = actual.get(row.target)
      if (value === undefined) continue
      const { own, guesses } = JSON.parse(row.prediction) as Stored
      outcomes.set(row.horizon, [...(outcomes.get(row.horizon) ?? []), outcomeOf(own, guesses, value)])
    }
    for (const [horizon, made] of outcomes) memory.records[horizon] = extend(recordOf(memory, horizon), made)
    memory.settledUntil = newest
  }

  function store(memory: Memory, result: TrainResult, now: Millis): number {
    memory.model = result.model
    if (result.fitted) memory.trainedAt = now
    for (const { horizon, outcomes } of result.judged) {
      if (recordOf(memory, horizon).outcomes.length === 0) memory.records[horizon] = extend(emptyRecord, outcomes)
    }
    for (const forecast of result.forecasts) {
      const record = recordOf(memory, forecast.horizon)
      insert.run(
        memory.metric,
        memory.text,
        forecast.horizon,
        now,
        result.origin + Math.max(BIN_MS, Math.round((forecast.horizon * MINUTE) / BIN_MS) * BIN_MS),
        JSON.stringify(stored(forecast, record, result.samples)),
      )
    }
    const { model, trainedAt, settledUntil } = memory
    const records: Record<string, PackedRecord> = {}
    for (const horizon in memory.records) records[horizon] = pack(memory.records[horizon]!)
    const state: StoredMemory = { model, trainedAt, settledUntil, records }
    remember.run(memory.metric, memory.text, now, Buffer.from(JSON.stringify(state)))
    return result.forecasts.length
  }

  function read(where: string, ...values: (string | number)[]): Prediction[] {
    const rows = db
      .prepare(`SELECT metric, labels, horizon, made_at, target, prediction FROM predictions ${where}`)
      .all(...values) as {
      metric: string
      labels: string
      horizon: number
      made_at: number
      target: number
      prediction: string
    }[]
    return rows.map((row) => {
      const { own: _own, guesses: _guesses, ...rest } = JSON.parse(row.prediction) as Stored
      return {
        metricName: row.metric,
        labels: JSON.parse(row.labels) as LabelPairs,
        horizon: row.horizon,
        madeAt: row.made_at,
        target: row.target,
        ...rest,
      }
    })
  }

  function newest(metric: string, text: string): Prediction[] {
    const madeAt = newestOf.get(metric, text) as number | null
    if (madeAt === null || clock.now() - madeAt > CURRENT_MS) return []
    return read('WHERE metric = ? AND labels = ? AND made_at = ? ORDER BY horizon', metric, text, madeAt)
  }

  function latest(metricName: string, labels?: LabelPairs): Prediction[] {
    const text = labels ? labelsText(labels) : meant(metricName)
    return text === null ? [] : newest(metricName, text)
  }

  function quality(filter: SeriesFilter = {}): QualityRow[] {
    const rows: QualityRow[] = []
    for (const memory of known(filter)) {
      for (const [horizon, record] of Object.entries(memory.records)) {
        const e = errorsOf(record.outcomes)
        const relative = e.error === null || !e.naive ? null : e.error / e.naive
        rows.push({
          metricName: memory.metric,
          labels: memory.labels,
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
    return rows.sort(
      (a, b) =>
        a.metricName.localeCompare(b.metricName) ||
        labelsText(a.labels).localeCompare(labelsText(b.labels)) ||
        a.horizon - b.horizon,
    )
  }

  return {
    async cycle(inputs, horizons, retrainMs, train) {
      for (const input of inputs) settle(input)
      const now = clock.now()
      const jobs = inputs.map((input): TrainJob => {
        const memory = memoryOf(input.metric, input.labels)
        const fresh = memory.model !== null && memory.trainedAt !== null && now - memory.trainedAt < retrainMs
        const sameHorizons =
          memory.model !== null &&
          same(
            memory.model.horizons.map((h) => h.horizon),
            horizons,
          )
        return {
          metric: shown(input),
          times: input.times,
          values: input.values,
          horizons,
          bounds: {
            ...(input.min === undefined ? {} : { min: input.min }),
            ...(input.max === undefined ? {} : { max: input.max }),
          },
          model: fresh && sameHorizons ? memory.model : null,
          judge: horizons.some((h) => recordOf(memory, h).outcomes.length === 0),
        }
      })
      const results = await train(jobs)
      return tx(db, () => {
        let made = 0
        for (const [i, { metric, labels }] of inputs.entries()) {
          const memory = memoryOf(metric, labels)
          const result = results[i]
          if (result) made += store(memory, result, now)
          if (memory.model === null) drop(metric, memory.text)
        }
        for (const row of forget.all(MEMORIES_MAX) as { metric: string; labels: string }[]) drop(row.metric, row.labels)
        db.prepare('DELETE FROM predictions WHERE made_at < ? AND target < ?').run(now - KEPT_MS, now - KEPT_MS)
        return made
      })
    },
    predictions({ metricName, labels, horizon, limit }) {
      const where: string[] = []
      const values: (string | number)[] = []
      const also = (clause: string, value: string | number | undefined) => {
        if (value === undefined) return
        where.push(clause)
        values.push(value)
      }
      also('metric = ?', metricName)
      also('labels = ?', labels && labelsText(labels))
      also('horizon = ?', horizon)
      const clause = where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''
      return read(`${clause} ORDER BY made_at DESC, metric, labels, horizon LIMIT ?`, ...values, limit)
    },
    latest,
    latestOfAll: (metricName) => [...known({ metricName })].flatMap(({ text }) => newest(metricName, text)),
    forecast(metricName, labels) {
      const found = latest(metricName, labels)
      if (found.length === 0) return null
      const { labels: own, madeAt } = found[0]!
      const records = memoryOf(metricName, own)
      return {
        metric: metricName,
        labels: own,
        madeAt,
        horizons: found.map(({ horizon, target, value, lower80, upper80, lower95, upper95, confidence, standing }) => ({
          ...{ horizon, target, value, lower80, upper80, lower95, upper95, confidence },
          withdrawn: standing === 'withdrawn' ? reason(recordOf(records, horizon)) : null,
        })),
      }
    },
    quality,
    models() {
      return [...known()].flatMap((memory) => {
        if (!memory.model) return []
        const records = Object.values(memory.records)
        const accuracy =
          records.length === 0 ? 0 : records.reduce((sum, r) => sum + confidenceOf(r), 0) / records.length
        const [made] = newest(memory.metric, memory.text)
        const withdrawn = records.length > 0 && records.every((r) => r.standing === 'withdrawn')
        return [
          {
            metricName: memory.metric,
            labels: memory.labels,
            shown: meant(memory.metric) === memory.text ? memory.metric : shown(memory),
            modelType: withdrawn ? `withdrawn: ${betterGuess(records[0]!)}` : (made?.model ?? 'regression'),
            accuracy,
            lastTrained: memory.trainedAt,
            factors: made?.factors ?? {},
          },
        ]
      })
    },
    viewsOf({ metric, labels }) {
      return latest(metric, labels)
        .filter((p) => p.standing !== 'withdrawn')
        .map((p) => ({
          horizonMinutes: p.horizon,
          at: p.target,
          value: p.value,
          lower80: p.lower80,
          upper80: p.upper80,
        }))
    },
    skillOf({ metric, labels }) {
      return quality({ metricName: metric, labels }).flatMap((q) =>
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
