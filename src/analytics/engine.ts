/**
 * The analytics engine in control's main thread: every 300 s one cycle reads the watched metrics, lets the training
 * thread forecast them, and finds insights. Detection goes on by itself in the pipeline thread (live.ts); here its notes
 * arrive and become metrics.
 *
 *   every 300 s: points of each chosen series ─▶ forecasts (training thread) ─▶ insights ─▶ analytics.db
 *
 * Chosen are the platform's own series, then those somebody looks at, then all others in turns (choice.ts).
 *
 * Whether the engine is on survives a restart. Off, no cycle runs; samples are still detected and stored, so that
 * nothing has to be learnt again.
 */
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { DAY, HOUR, type Millis } from '../base/time.ts'
import {
  type Appender,
  ColumnBuilder,
  type KnownMetric,
  labelsOf,
  METRIC_NAME,
  PLATFORM_LABEL,
  type PointColumns,
  type PointsAnswer,
  type PointsRequest,
  storedName,
  toObject,
} from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import { type Anomalies, openAnomalies } from './anomalies.ts'
import { openChoice, type SeriesList } from './choice.ts'
import { type ForecastInput, type Forecasts, openForecasts, type SeriesForecast, type Train } from './forecasting.ts'
import { findInsights } from './insights/find.ts'
import { BIN_MS, FORGET_AFTER_MS, type Impact, type Insight, type MetricView, merge } from './insights/insight.ts'
import type { AnalyticsNote } from './live.ts'
import { type LabelPairs, labelsText, metricOf, platformLabels, type SeriesId, shown } from './series-id.ts'
import { openSwitch } from './switch.ts'
import { limitOf, watchedMetrics } from './watched.ts'

export interface AnalyticsSettings {
  readonly mlEnabled: boolean
  readonly predictionHorizons: readonly number[]
  readonly anomalyThreshold: number
  readonly minDataPoints: number
  readonly retrainInterval: number
  readonly insightConfidence: number
  /** Share of one core that training may take, in per cent. */
  readonly trainingBudget: number
}

export interface AnalyticsDeps {
  readonly db: Database
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  readonly appender: Appender
  readonly settings: () => AnalyticsSettings
  /** Runs `readPoints` where the store can be read. */
  readonly points: (request: PointsRequest) => Promise<PointsAnswer>
  /** Fits and forecasts in the training thread. */
  readonly train: Train
  /** Which series there are: what can be forecast beside the platform's own. */
  readonly list: SeriesList
  /** Samples that the store holds. */
  readonly samplesHeld: () => number
}

export interface AnalyticsCounts {
  readonly predictionsGenerated: number
  readonly insightsGenerated: number
  readonly anomaliesDetected: number
  readonly dataPointsByMetric: Readonly<Record<string, number>>
}

export interface Analytics {
  readonly active: boolean
  readonly startedAt: Millis
  /** End of the last real cycle; null before the first. */
  readonly lastActivity: Millis | null
  readonly anomalies: Anomalies
  readonly forecasts: Forecasts
  readonly samplesHeld: number
  /** False when it was on already. */
  start(): boolean
  /** Cuts the running cycle short and resolves after it has ended; false when it was off already. */
  stop(): Promise<boolean>
  /** One cycle now; joins one that runs. */
  cycle(): Promise<void>
  insights(filter: { type?: string; impact?: Impact; limit: number }): Insight[]
  /** Somebody looks at this metric, or at one series of it: it is forecast before others, and insights look at it. */
  asked(metricName: string, labels?: LabelPairs): void
  /**
   * What is expected of a series, for other rooms; without labels of the series that the name alone means. Null before
   * the first forecast and when the newest is too old; asking has the series forecast before others from then on.
   */
  forecast(metricName: string, labels?: LabelPairs): SeriesForecast | null
  counts(): AnalyticsCounts
  /** From the pipeline thread. */
  note(note: AnalyticsNote): void
  /** Stops for the end of the process; whether it was on is kept. */
  close(): Promise<void>
}

const CYCLE_MS = 300_000
/** The first cycle after a start comes soon, so that the page is not empty for minutes. */
const FIRST_CYCLE_MS = 15_000
/** Bins are read this long after they end, so that the last samples are in. */
const READ_MS = 14 * DAY
const RECENT_POINTS = 10
/** Of a metric that somebody looks at, insights look at so many series. */
const SERIES_LOOKED_AT = 5
/** A series is looked for by its labels among those that have them and more. */
const SERIES_MAX = 100
const ownNames = new Set(watchedMetrics.map((metric) => metric.name))
/** Half an hour of history: with less, no interval would be honest. */
const BINS_MIN = 6
/** A metric whose newest full bin began longer ago than this is not forecast. */
const STALE_MS = 4 * BIN_MS

interface Read {
  readonly series: SeriesId
  readonly view: MetricView
  readonly samples: number
}

/** The points of exactly this series. */
function pointsOf(answer: PointsAnswer, { metric, labels }: SeriesId): PointColumns | null {
  if (ownNames.has(metric)) return answer.points
  const wanted = labelsText(labels)
  const found = answer.series.find((one) => {
    const { [METRIC_NAME]: _name, ...rest } = toObject(one.labels)
    return labelsText(rest) === wanted
  })
  return found?.points ?? null
}

export function startAnalytics(deps: AnalyticsDeps): Analytics {
  const { db, scheduler, log, telemetry } = deps
  const { clock } = scheduler
  const anomalies = openAnomalies(db)
  const forecasts = openForecasts(db, clock)
  let insights = loadInsights(db)
  const power = openSwitch(db)
  let active = power.on()
  let lastActivity: Millis | null = null
  let running: Promise<void> | null = null
  let timers: Cancel[] = []
  /** Cuts the running cycle short. */
  let halting = new AbortController()
  let predictionsGenerated = 0
  let insightsGenerated = 0
  let anomaliesDetected = 0
  let dataPointsByMetric: Readonly<Record<string, number>> = {}
  const startedAt = clock.now()
  const choice = openChoice(deps.list, ownNames)

  const cycles = telemetry.counter('analytics_cycles_total', 'Cycles of the analytics engine.')
  const detected = telemetry.counter('analytics_anomalies_total', 'Anomalies detected.')
  telemetry.gauge('analytics_insights', 'Insights that are published.', {}, () => insights.length)

  async function readView(series: SeriesId, unit: string, now: Millis): Promise<Read | null> {
    const { metric, labels } = series
    const request = { name: storedName(metric), labels, seriesMax: ownNames.has(metric) ? 0 : SERIES_MAX }
    const [bins, newest] = await Promise.all([
      deps.points({ ...request, from: now - READ_MS, until: now, stepMs: BIN_MS }),
      deps.points({ ...request, from: now - 2 * RECENT_POINTS * 15_000, until: now, stepMs: 5000 }),
    ])
    const points = pointsOf(bins, series)
    if (!points || points.length === 0) return null
    const recent = pointsOf(newest, series)
    let samples = 0
    for (let i = 0; i < points.length; i++) samples += points.count[i]!
    const view: MetricView = {
      name: shown(series),
      unit,
      recent: recent ? [...recent.mean.subarray(Math.max(0, recent.length - RECENT_POINTS), recent.length)] : [],
      binTimes: points.times.subarray(0, points.length),
      binValues: points.mean.subarray(0, points.length),
      limit: limitOf(metric),
      forecasts: [],
      skill: [],
    }
    return { series, view, samples }
  }

  async function runCycle(): Promise<void> {
    const now = clock.now()
    const settings = deps.settings()
    const { signal } = halting
    const reads: Read[] = []
    const counts = new Map<string, number>()
    const inputs: ForecastInput[] = []
    const take = async (metric: Pick<KnownMetric, 'name' | 'unit' | 'min' | 'max'>, labels: LabelPairs) => {
      if (signal.aborted) return
      const series = { metric: metric.name, labels }
      const read = await readView(series, metric.unit, now)
      if (!read) return
      counts.set(metric.name, (counts.get(metric.name) ?? 0) + read.samples)
      reads.push(read)
      // The running bin is not full yet: its mean would be one of another length.
      const full = read.view.binTimes.findLastIndex((t) => t + BIN_MS <= now) + 1
      if (read.samples < settings.minDataPoints || full < BINS_MIN) return
      // What has stopped coming has no future to tell.
      if (now - read.view.binTimes[full - 1]! > STALE_MS) return
      inputs.push({
        ...series,
        times: read.view.binTimes.subarray(0, full),
        values: read.view.binValues.subarray(0, full),
        ...(metric.min === undefined ? {} : { min: metric.min }),
        ...(metric.max === undefined ? {} : { max: metric.max }),
      })
    }
    for (const metric of watchedMetrics) await take(metric, platformLabels)
    for (const { metric, labels } of await choice.next(now)) await take({ name: metric, unit: '' }, labels)
    if (signal.aborted) return
    dataPointsByMetric = Object.fromEntries(counts)
    if (settings.mlEnabled) {
      const budgetMs = (settings.trainingBudget / 100) * CYCLE_MS
      const made = await forecasts.cycle(inputs, settings.predictionHorizons, settings.retrainInterval * 1000, (jobs) =>
        deps.train(jobs, budgetMs, signal),
      )
      predictionsGenerated += made
    }
    const looked = new Map<string, MetricView>()
    const seen = new Map<string, number>()
    for (const { series, view } of reads) {
      const so = seen.get(series.metric) ?? 0
      if (!ownNames.has(series.metric) && (!choice.isAsked(series) || so >= SERIES_LOOKED_AT)) continue
      seen.set(series.metric, so + 1)
      const known = settings.mlEnabled
        ? { forecasts: forecasts.viewsOf(series), skill: forecasts.skillOf(series) }
        : { forecasts: [], skill: [] }
      looked.set(view.name, { ...view, ...known })
    }
    const before = new Set(insights.map((i) => i.key))
    insights = merge(insights, findInsights(looked, now), settings.insightConfidence, now, newId)
    insightsGenerated += insights.filter((i) => !before.has(i.key)).length
    saveInsights(db, insights, now)
    cycles.add()
    lastActivity = clock.now()
  }

  function cycle(): Promise<void> {
    running ??= runCycle()
      .catch((error: unknown) => log.error('a cycle of analytics failed', { error }))
      .finally(() => {
        running = null
      })
    return running
  }

  function plan() {
    timers = [scheduler.after(FIRST_CYCLE_MS, cycle), scheduler.every(CYCLE_MS, cycle)]
  }
  async function halt() {
    for (const timer of timers) timer.cancel()
    timers = []
    halting.abort()
    await running
    halting = new AbortController()
  }
  if (active) plan()

  return {
    get active() {
      return active
    },
    startedAt,
    get lastActivity() {
      return lastActivity
    },
    anomalies,
    forecasts,
    get samplesHeld() {
      return deps.samplesHeld()
    },
    start() {
      if (active) return false
      power.set(true, clock.now())
      active = true
      plan()
      return true
    },
    async stop() {
      if (!active) return false
      power.set(false, clock.now())
      active = false
      await halt()
      return true
    },
    cycle,
    asked: (metricName, labels) => choice.ask(metricOf(metricName), labels, clock.now()),
    forecast(metricName, labels) {
      const metric = metricOf(metricName)
      choice.ask(metric, labels, clock.now())
      return forecasts.forecast(metric, labels)
    },
    insights({ type, impact, limit }) {
      return insights
        .filter((i) => (type === undefined || i.type === type) && (impact === undefined || i.impact === impact))
        .slice(0, limit)
    },
    counts: () => ({ predictionsGenerated, insightsGenerated, anomaliesDetected, dataPointsByMetric }),
    note(note) {
      if (note.kind === 'anomalies') {
        anomaliesDetected += note.ids.length
        detected.add(note.ids.length)
        return
      }
      const builder = new ColumnBuilder()
      const own = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }
      if (note.kind === 'scores') {
        for (const { metric, score } of note.scores) {
          builder.series(labelsOf('analytics_anomaly_score', { ...own, metric })).sample(note.at, score)
        }
      } else {
        for (const { host, series, anomalous } of note.hosts) {
          const labels = { ...own, ...(host === '' ? {} : { host }) }
          builder.series(labelsOf('analytics_anomaly_rate', labels)).sample(note.at, (100 * anomalous) / series)
        }
      }
      deps.appender.append(builder.finish(), { source: 'analytics' }).catch((error: unknown) => {
        log.warn('the scores and rates of anomalies could not be stored', { error })
      })
    },
    close: halt,
  }
}

function loadInsights(db: Database): Insight[] {
  const rows = db.prepare('SELECT insight FROM insights ORDER BY last_seen DESC').all() as { insight: string }[]
  return rows.map((row) => JSON.parse(row.insight) as Insight)
}

function saveInsights(db: Database, insights: readonly Insight[], now: Millis): void {
  tx(db, () => {
    db.prepare('DELETE FROM insights WHERE last_seen < ?').run(now - FORGET_AFTER_MS - HOUR)
    const put = db.prepare('INSERT OR REPLACE INTO insights (key, last_seen, insight) VALUES (?, ?, ?)')
    for (const insight of insights) put.run(insight.key, insight.lastSeenAt, JSON.stringify(insight))
  })
}
