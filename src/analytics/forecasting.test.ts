/** Forecasts on a real database: made, settled, withdrawn, restored; the engine's switch and cycles. */
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { seededRandom } from '../base/random.ts'
import { type FakeScheduler, fakeScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { DAY, HOUR, MINUTE } from '../base/time.ts'
import { labelsOf, type PointsAnswer, type PointsRequest } from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { openAnalytics } from './database.ts'
import { type AnalyticsSettings, startAnalytics } from './engine.ts'
import { type ForecastInput, MEMORIES_MAX, openForecasts, type Train } from './forecasting.ts'
import { BIN_MS } from './insights/insight.ts'
import type { LabelPairs } from './series-id.ts'
import {
  betterGuess,
  confidenceOf,
  emptyRecord,
  errorsOf,
  extend,
  JUDGED_AFTER,
  OUTCOMES_MAX,
  type Outcome,
} from './track-record.ts'
import { type TrainResult, train } from './training.ts'

const START = Date.UTC(2026, 0, 5)
const HORIZONS = [15, 30, 60, 120]
const inline: Train = async (jobs) => jobs.map((job) => train(job))

const outcome = (error: number, more: Partial<Outcome> = {}): Outcome => ({
  error,
  naive: 1,
  seasonal: 2,
  mean: 4,
  in80: true,
  in95: true,
  ...more,
})
const times = <T>(n: number, value: T): T[] => Array<T>(n).fill(value)

describe('the record of a forecast', () => {
  test('nothing is believed before enough outcomes', () => {
    const record = extend(emptyRecord, times(JUDGED_AFTER - 1, outcome(0)))
    expect(record.standing).toBe('unproven')
    expect(confidenceOf(record)).toBe(0)
    expect(extend(record, [outcome(0)]).standing).toBe('in_use')
  })

  test('a better plain guess takes its place, and gives it back', () => {
    const good = extend(emptyRecord, times(OUTCOMES_MAX, outcome(0.5)))
    expect(confidenceOf(good)).toBeCloseTo(1 - 0.5 / 4)
    const bad = extend(good, times(OUTCOMES_MAX, outcome(1.5)))
    expect([bad.standing, betterGuess(bad)]).toEqual(['withdrawn', 'naive'])
    expect(confidenceOf(bad)).toBeCloseTo(1 - 1 / 4)
    expect(extend(bad, times(OUTCOMES_MAX, outcome(0.5))).standing).toBe('in_use')
    const seasonal = extend(emptyRecord, times(JUDGED_AFTER, outcome(1.5, { naive: 3, seasonal: 1 })))
    expect(betterGuess(seasonal)).toBe('seasonal_naive')
  })

  test('a hair of a difference does not flip the verdict', () => {
    const record = extend(emptyRecord, times(OUTCOMES_MAX, outcome(0.999)))
    expect(extend(record, times(OUTCOMES_MAX, outcome(1.01))).standing).toBe('in_use')
    expect(extend(record, times(OUTCOMES_MAX, outcome(1.03))).standing).toBe('withdrawn')
  })

  test('without a day of history there is no seasonal guess', () => {
    expect(errorsOf([outcome(1), outcome(1, { seasonal: null })]).seasonal).toBeNull()
  })

  test('confidence stays in [0, 1]', () => {
    const positive = fc.double({ min: 0, max: 1e9, noNaN: true })
    const any = fc.record({
      error: positive,
      naive: positive,
      seasonal: fc.option(positive),
      mean: positive,
      in80: fc.boolean(),
      in95: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(any, { maxLength: 60 }), (outcomes) => {
        const c = confidenceOf(extend(emptyRecord, outcomes))
        expect(c >= 0 && c <= 1).toBe(true)
      }),
    )
  })
})

/** Days of a daily wave with a little noise, up to `until`. */
function wave(metric: string, days: number, until: number, seed = 1, labels: LabelPairs = {}): ForecastInput {
  const random = seededRandom(seed)
  const n = (days * DAY) / BIN_MS
  const at = Float64Array.from({ length: n }, (_, i) => until - (n - i) * BIN_MS)
  return {
    metric,
    labels,
    times: at,
    values: at.map((t) => 50 + 20 * Math.sin((2 * Math.PI * t) / DAY) + random.next()),
    min: 0,
    max: 100,
  }
}

describe('training', () => {
  const job = (input: ForecastInput) => ({
    ...input,
    horizons: HORIZONS,
    bounds: { min: 0, max: 100 },
    model: null,
    judge: true,
  })

  test('a daily wave is forecast far better than by guesses, judged on data held out', () => {
    const result = train(job(wave('m', 5, START)))!
    expect(result.origin).toBe(START - BIN_MS)
    for (const { outcomes } of result.judged) {
      const { error, naive, origins } = errorsOf(outcomes)
      expect(origins).toBeGreaterThan(40)
      expect(error!).toBeLessThan(naive!)
    }
    const [first, , , last] = result.forecasts
    expect(last!.mean).not.toBeCloseTo(first!.mean, 0)
    expect(last!.guesses.seasonal).toBeCloseTo(
      50 + 20 * Math.sin((2 * Math.PI * (START - BIN_MS + 2 * HOUR)) / DAY),
      -0.5,
    )
  })

  test('half an hour of history is enough to say something, with no record', () => {
    const result = train(job(wave('m', 6 / 288, START)))!
    expect(result.judged).toEqual([])
    for (const f of result.forecasts) expect(f.lower95 <= f.lower80 && f.upper80 <= f.upper95).toBe(true)
  })

  test('no values, no forecast', () => {
    expect(train(job({ metric: 'm', labels: {}, times: new Float64Array(), values: new Float64Array() }))).toBeNull()
  })
})

describe('forecasts', () => {
  let db: Database
  let scheduler: FakeScheduler
  beforeEach(() => {
    db = openAnalytics(':memory:')
    scheduler = fakeScheduler(START)
  })
  afterEach(() => {
    db.close()
  })

  test('are made, read back, settled when their time has come, and remembered', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    expect(await forecasts.cycle([wave('system.cpu_usage', 5, START)], HORIZONS, HOUR, inline)).toBe(4)
    const made = forecasts.latest('system.cpu_usage')
    expect(made.map((p) => p.horizon)).toEqual(HORIZONS)
    expect(made.map((p) => (p.target - START + BIN_MS) / MINUTE)).toEqual(HORIZONS)
    expect(new Set(made.map((p) => p.value)).size).toBe(4)
    const before = forecasts.quality()[0]!.origins

    for (let k = 1; k <= 3; k++) {
      scheduler.clock.advance(BIN_MS)
      await forecasts.cycle([wave('system.cpu_usage', 5, START + k * BIN_MS)], HORIZONS, HOUR, inline)
    }
    const [row] = forecasts.quality({ metricName: 'system.cpu_usage' })
    expect(row).toMatchObject({ horizon: 15, origins: before + 1, standing: 'in_use', inUse: 'forecaster' })
    const again = openForecasts(db, scheduler.clock)
    expect(again.quality()).toEqual(forecasts.quality())
    expect(again.models()[0]!.accuracy).toBeGreaterThan(0.5)
    expect(again.predictions({ horizon: 60, limit: 2 })).toHaveLength(2)
  })

  test('a model is trained again only when it is time; the same bin settles nothing twice', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    const fitted: boolean[] = []
    const counting: Train = async (jobs) => {
      fitted.push(...jobs.map((job) => job.model === null))
      return inline(jobs)
    }
    const input = wave('m', 2, START)
    await forecasts.cycle([input], HORIZONS, HOUR, counting)
    const { origins } = forecasts.quality()[0]!
    await forecasts.cycle([input], HORIZONS, HOUR, counting)
    expect(forecasts.quality()[0]!.origins).toBe(origins)
    await forecasts.cycle([input], [15, 45], HOUR, counting)
    scheduler.clock.advance(HOUR)
    await forecasts.cycle([input], [15, 45], HOUR, counting)
    expect(fitted).toEqual([true, false, true, true])
  })

  test('names that come and go leave no more than the newest memories behind', async () => {
    db.exec(`
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${MEMORIES_MAX + 5})
      INSERT INTO records SELECT 'old' || i, '{}', i, CAST('{"model":null,"trainedAt":null,"settledUntil":0,"records":{}}' AS BLOB) FROM n`)
    const forecasts = openForecasts(db, scheduler.clock)
    await forecasts.cycle([wave('m', 2, START)], HORIZONS, HOUR, inline)
    expect(db.prepare('SELECT count(*) FROM records').pluck().get()).toBe(MEMORIES_MAX)
    expect(db.prepare('SELECT metric FROM records ORDER BY updated_at LIMIT 1').pluck().get()).toBe('old7')
    expect(forecasts.models().map((m) => m.metricName)).toEqual(['m'])
  })

  test('a forecast of a week is kept until its time has come, and settled then', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    const week = 7 * DAY
    const unjudged: Train = async (jobs) => jobs.map((job) => train({ ...job, judge: false }))
    await forecasts.cycle([wave('m', 3, START)], [week / MINUTE], HOUR, unjudged)
    for (const passed of [3 * DAY, week]) {
      scheduler.clock.jumpTo(START + passed)
      await forecasts.cycle([wave('m', 3, START + passed)], [week / MINUTE], HOUR, unjudged)
    }
    expect(forecasts.quality({ metricName: 'm' })).toMatchObject([{ origins: 1 }])
    scheduler.clock.jumpTo(START + 20 * DAY)
    await forecasts.cycle([], HORIZONS, HOUR, inline)
    expect(forecasts.predictions({ limit: 10 })).toEqual([])
  })

  test('series of one metric are forecast each, and named by their labels', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    const of = (host: string, seed: number, up: number) => {
      const input = wave('load', 5, START, seed, { host })
      return { ...input, max: 2000, values: input.values.map((v) => v + up) }
    }
    await forecasts.cycle([of('a', 1, 0), of('b', 2, 1000)], HORIZONS, HOUR, inline)
    expect(forecasts.latest('load')).toEqual([])
    expect(forecasts.forecast('load')).toBeNull()
    const b = forecasts.forecast('load', { host: 'b' })!
    expect(b).toMatchObject({ metric: 'load', labels: { host: 'b' }, madeAt: START })
    expect(b.horizons.map((h) => h.horizon)).toEqual(HORIZONS)
    expect(b.horizons[0]).toMatchObject({ withdrawn: null })
    expect(b.horizons[0]!.lower80).toBeGreaterThan(500)
    expect(forecasts.latestOfAll('load')).toHaveLength(8)
    expect(forecasts.models().map((m) => m.shown)).toEqual(['load{host="a"}', 'load{host="b"}'])
    expect(forecasts.quality({ metricName: 'load', labels: { host: 'a' } })).toHaveLength(4)
    expect(forecasts.predictions({ metricName: 'load', labels: { host: 'a' }, limit: 50 })).toHaveLength(4)
    expect(forecasts.predictions({ metricName: 'load', limit: 50 })).toHaveLength(8)
    const again = openForecasts(db, scheduler.clock)
    expect(again.models()).toEqual(forecasts.models())
    await again.cycle([wave('load', 2, START, 3, { service: 'opinion-market' })], HORIZONS, HOUR, inline)
    expect(again.forecast('load')!.labels).toEqual({ service: 'opinion-market' })
  })

  test('a forecaster that guesses worse steps down, and says so', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    const wrong: Train = async (jobs) =>
      jobs.map((job) => {
        const result = train({ ...job, judge: false })!
        const off = result.forecasts.map((f) => ({
          ...f,
          mean: f.mean + 30,
          lower80: f.lower80 + 30,
          upper80: f.upper80 + 30,
        }))
        return { ...result, forecasts: off } satisfies TrainResult
      })
    for (let k = 0; k <= JUDGED_AFTER + 4; k++) {
      await forecasts.cycle([wave('m', 2, START + k * BIN_MS)], [15], HOUR, wrong)
      scheduler.clock.advance(BIN_MS)
    }
    const [row] = forecasts.quality({ metricName: 'm' })
    expect(row).toMatchObject({ standing: 'withdrawn', inUse: expect.stringContaining('naive') })
    expect(row!.why).toContain('did better')
    const [newest] = forecasts.latest('m')
    expect(newest!.model).toMatch(/^withdrawn: (seasonal_)?naive$/)
    expect(forecasts.viewsOf({ metric: 'm', labels: {} })).toEqual([])
    expect(forecasts.forecast('m')!.horizons[0]!.withdrawn).toBe(row!.why)
  })

  test('an old forecast is no forecast', async () => {
    const forecasts = openForecasts(db, scheduler.clock)
    await forecasts.cycle([wave('m', 2, START)], HORIZONS, HOUR, inline)
    scheduler.clock.advance(16 * MINUTE)
    expect(forecasts.latest('m')).toEqual([])
    expect(forecasts.predictions({ limit: 10 })).toHaveLength(4)
  })
})

describe('the engine', () => {
  const settings: AnalyticsSettings = {
    mlEnabled: true,
    predictionHorizons: HORIZONS,
    anomalyThreshold: 2.5,
    minDataPoints: 50,
    retrainInterval: 3600,
    insightConfidence: 0.7,
    trainingBudget: 5,
  }
  let db: Database
  let scheduler: FakeScheduler
  let asked: PointsRequest[]
  let silent = false
  let names: string[] = []
  let seriesOf: Record<string, number> = {}
  let config = settings
  beforeEach(() => {
    db = openAnalytics(':memory:')
    scheduler = fakeScheduler(START)
    asked = []
    silent = false
    names = []
    seriesOf = {}
    config = settings
    training = inline
  })
  afterEach(() => {
    db.close()
  })

  /** A store that knows only a busy CPU and memory. */
  async function points(request: PointsRequest): Promise<PointsAnswer> {
    asked.push(request)
    const known = !silent && (/^system_(cpu|memory)_usage$/.test(request.name) || names.includes(request.name))
    // Other names are young, so that hundreds of them are trained quickly.
    const most = names.includes(request.name) ? 60 : 4032
    const n = known ? Math.min(most, Math.floor((request.until - request.from) / request.stepMs)) : 0
    const columns = {
      length: n,
      times: Float64Array.from({ length: n }, (_, i) => request.until - (n - i) * request.stepMs),
      mean: new Float64Array(n).fill(90),
      min: new Float64Array(n).fill(90),
      max: new Float64Array(n).fill(90),
      count: new Float64Array(n).fill(1),
    }
    const series = known ? [{ labels: labelsOf(request.name, request.labels), points: columns }] : []
    return { points: columns, series, matched: series.length }
  }
  let training: Train = inline
  const stored: string[] = []
  const start = () =>
    startAnalytics({
      db,
      scheduler,
      log: silentLog,
      telemetry: createTelemetry(),
      appender: {
        async append(columns, options) {
          stored.push(`${options.source} ${[...columns.values]}`)
          return { kind: 'appended', report: { accepted: 1, duplicates: 0, late: 0, refused: {}, problems: [] } }
        },
      },
      settings: () => config,
      points,
      train: (jobs, budgetMs, signal) => training(jobs, budgetMs, signal),
      list: {
        names: async () => names,
        of: async (name, limit) =>
          Array.from({ length: Math.min(limit, seriesOf[name] ?? 1) }, (_, i): LabelPairs => ({ n: String(i) })),
      },
      samplesHeld: () => 7,
    })

  test('a cycle comes soon after the start, then every five minutes', async () => {
    const engine = start()
    await scheduler.run(20_000)
    expect(engine.insights({ limit: 10 }).map((i) => i.title)).toContain('High Resource Utilization')
    expect(engine.forecasts.latest('system.cpu_usage')).toHaveLength(4)
    expect(engine.counts()).toMatchObject({ insightsGenerated: 1, predictionsGenerated: 8 })
    expect(engine.counts().dataPointsByMetric).toHaveProperty('system.memory_usage')
    expect(asked.every((request) => request.labels.service === 'opinion-market')).toBe(true)
    expect(engine.insights({ type: 'cache', limit: 10 })).toEqual([])
    await scheduler.run(300_000)
    expect(engine.counts().predictionsGenerated).toBe(16)
    await engine.close()
  })

  test('off and on are kept across a restart; a second start changes nothing', async () => {
    let engine = start()
    expect(engine.start()).toBe(false)
    expect(await engine.stop()).toBe(true)
    expect(await engine.stop()).toBe(false)
    engine = start()
    expect(engine.active).toBe(false)
    asked = []
    await scheduler.run(30 * MINUTE)
    expect(asked).toEqual([])
    expect(engine.start()).toBe(true)
    expect(start().active).toBe(true)
  })

  test('insights survive a restart and are updated, not repeated', async () => {
    let engine = start()
    await engine.cycle()
    const [first] = engine.insights({ limit: 1 })
    await engine.close()
    engine = start()
    scheduler.clock.advance(MINUTE)
    await engine.cycle()
    expect(engine.insights({ limit: 10 })).toMatchObject([{ id: first!.id, occurrences: 2 }])
  })

  test('training gets its budget, and a stop cuts it short', async () => {
    config = { ...settings, trainingBudget: 2 }
    const budgets: (number | undefined)[] = []
    const aborted = () =>
      new Promise<void>((resolve) => {
        training = (jobs, budgetMs, signal) => {
          budgets.push(budgetMs)
          resolve()
          return new Promise((done) => signal!.addEventListener('abort', () => done(jobs.map(() => null))))
        }
      })
    const reached = aborted()
    const engine = start()
    void engine.cycle()
    await reached
    expect(budgets).toEqual([6000])
    await engine.stop()
    expect(engine.counts().predictionsGenerated).toBe(0)
    training = inline
    engine.start()
    await engine.cycle()
    expect(engine.counts().predictionsGenerated).toBe(8)
    await engine.close()
  })

  test('switched off by configuration no model is trained; without data nothing is said', async () => {
    config = { ...settings, mlEnabled: false }
    const engine = start()
    await engine.cycle()
    expect(engine.forecasts.models()).toEqual([])
    silent = true
    db.exec('DELETE FROM insights')
    const other = start()
    await other.cycle()
    expect(other.insights({ limit: 10 })).toEqual([])
    expect(other.lastActivity).toBe(START)
  })

  test('other metrics are forecast too: those somebody looks at first, the rest in turns', async () => {
    names = Array.from({ length: 250 }, (_, i) => `m${String(i).padStart(3, '0')}`)
    const engine = start()
    engine.asked('m249')
    await engine.cycle()
    const forecast = (name: string) => engine.forecasts.latest(name).length > 0
    expect(names.filter(forecast)).toHaveLength(200)
    expect([forecast('m249'), forecast('m240')]).toEqual([true, false])
    await engine.cycle()
    expect(names.filter(forecast)).toHaveLength(250)
  })

  test('of a metric of many series, those somebody looks at first, the others in turns', async () => {
    names = ['a', 'many', 'z']
    seriesOf = { many: 300 }
    const engine = start()
    expect(engine.forecast('z', { n: '0' })).toBeNull()
    engine.asked('many', { n: '299' })
    await engine.cycle()
    expect(engine.forecast('z', { n: '0' })).not.toBeNull()
    const made = () => new Set(engine.forecasts.latestOfAll('many').map((p) => p.labels.n))
    expect([made().size, made().has('299'), made().has('250')]).toEqual([197 + 1, true, false])
    await engine.cycle()
    expect(made().size).toBe(300)
  })

  test('names that every object knows are names like others', async () => {
    names = ['constructor', 'toString', '__proto__']
    seriesOf = Object.create(null)
    const engine = start()
    for (const name of names) engine.asked(name)
    await engine.cycle()
    const { dataPointsByMetric } = engine.counts()
    for (const name of names) {
      expect(Object.getOwnPropertyDescriptor(dataPointsByMetric, name)?.value).toBe(60)
      expect(engine.forecasts.latest(name)).toHaveLength(HORIZONS.length)
    }
    expect(engine.insights({ limit: 100 }).some((i) => /undefined|NaN|native/.test(JSON.stringify(i)))).toBe(false)
  })

  test('rates and scores of anomalies become metrics', async () => {
    const engine = start()
    engine.note({
      kind: 'rates',
      at: START,
      hosts: [
        { host: '', series: 4, anomalous: 1 },
        { host: 'a', series: 2, anomalous: 1 },
      ],
    })
    engine.note({ kind: 'anomalies', ids: ['x', 'y'] })
    expect(stored.at(-1)).toBe('analytics 25,50')
    engine.note({ kind: 'scores', at: START, scores: [{ metric: 'system.cpu_usage', score: 0.75 }] })
    expect(stored.at(-1)).toBe('analytics 0.75')
    expect(engine.counts().anomaliesDetected).toBe(2)
  })
})
