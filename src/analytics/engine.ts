/**
 * The analytics engine in control's main thread: every 300 s one cycle reads the watched metrics, lets the training
 * thread forecast them, and finds insights. Detection goes on by itself in the pipeline thread (live.ts); here its notes
 * arrive and become metrics.
 *
 *   every 300 s: points of each watched metric ─▶ forecasts (training thread) ─▶ insights ─▶ analytics.db
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
  apiName,
  ColumnBuilder,
  type KnownMetric,
  labelsOf,
  PLATFORM_LABEL,
  type PointsAnswer,
  type PointsRequest,
  storedName,
} from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import { type Anomalies, openAnomalies } from './anomalies.ts'
import { type ForecastInput, type Forecasts, openForecasts, type Train } from './forecasting.ts'
import { findInsights } from './insights/find.ts'
import { BIN_MS, FORGET_AFTER_MS, type Impact, type Insight, type MetricView, merge } from './insights/insight.ts'
import type { AnalyticsNote } from './live.ts'
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
  /** Stored names of metrics that are one series each: what can be forecast beside the platform's own. */
  readonly names: () => Promise<readonly string[]>
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
  /** Somebody looks at this metric: it is forecast before others, and insights look at it. */
  asked(metricName: string): void
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
/** Metrics beside the platform's own that one cycle forecasts at most. */
const OTHERS_MAX = 200
const ASKED_MAX = 1000
const ownNames = new Set(watchedMetrics.map((metric) => metric.name))
/** Half an hour of history: with less, no interval would be honest. */
const BINS_MIN = 6
/** A metric whose newest full bin began longer ago than this is not forecast. */
const STALE_MS = 4 * BIN_MS

export function startAnalytics(deps: AnalyticsDeps): Analytics {
  const { db, scheduler, log, telemetry } = deps
  const { clock } = scheduler
  const anomalies = openAnomalies(db)
  const forecasts = openForecasts(db, clock)
  let insights = loadInsights(db)
  let active = readSwitch(db)
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
  /** When somebody last looked at a metric. */
  const askedAt = new Map<string, Millis>()
  let turn = 0

  const cycles = telemetry.counter('analytics_cycles_total', 'Cycles of the analytics engine.')
  const detected = telemetry.counter('analytics_anomalies_total', 'Anomalies detected.')
  telemetry.gauge('analytics_insights', 'Insights that are published.', {}, () => insights.length)

  async function readView(
    { name, unit }: Pick<KnownMetric, 'name' | 'unit'>,
    labels: Readonly<Record<string, string>>,
    now: Millis,
  ): Promise<{ view: MetricView; samples: number } | null> {
    const request = { name: storedName(name), labels, seriesMax: 0 }
    const [bins, newest] = await Promise.all([
      deps.points({ ...request, from: now - READ_MS, until: now, stepMs: BIN_MS }),
      deps.points({ ...request, from: now - 2 * RECENT_POINTS * 15_000, until: now, stepMs: 5000 }),
    ])
    const { points } = bins
    if (points.length === 0) return null
    let samples = 0
    for (let i = 0; i < points.length; i++) samples += points.count[i]!
    const view: MetricView = {
      name,
      unit,
      recent: [...newest.points.mean.subarray(Math.max(0, newest.points.length - RECENT_POINTS), newest.points.length)],
      binTimes: points.times.subarray(0, points.length),
      binValues: points.mean.subarray(0, points.length),
      limit: limitOf(name),
      forecasts: [],
      skill: [],
    }
    return { view, samples }
  }

  /** Metrics beside the platform's own: those somebody looked at first, then the rest in turns. */
  async function others(now: Millis): Promise<string[]> {
    for (const [name, at] of askedAt) if (now - at > DAY) askedAt.delete(name)
    const all = (await deps.names()).map(apiName).filter((name) => !ownNames.has(name))
    const asked = all.filter((name) => askedAt.has(name)).sort((a, b) => askedAt.get(b)! - askedAt.get(a)!)
    const rest = all.filter((name) => !askedAt.has(name)).sort()
    const room = Math.max(0, Math.min(rest.length, OTHERS_MAX - asked.length))
    const inTurn = Array.from({ length: room }, (_, i) => rest[(turn + i) % rest.length]!)
    turn = rest.length === 0 ? 0 : (turn + room) % rest.length
    return [...asked.slice(0, OTHERS_MAX), ...inTurn]
  }

  async function runCycle(): Promise<void> {
    const now = clock.now()
    const settings = deps.settings()
    const { signal } = halting
    const views = new Map<string, MetricView>()
    const counts: Record<string, number> = {}
    const inputs: ForecastInput[] = []
    const take = async (
      metric: Pick<KnownMetric, 'name' | 'unit' | 'min' | 'max'>,
      labels: Readonly<Record<string, string>>,
    ) => {
      if (signal.aborted) return
      const read = await readView(metric, labels, now)
      if (!read) return
      counts[metric.name] = read.samples
      views.set(metric.name, read.view)
      // The running bin is not full yet: its mean would be one of another length.
      const full = read.view.binTimes.findLastIndex((t) => t + BIN_MS <= now) + 1
      if (read.samples < settings.minDataPoints || full < BINS_MIN) return
      // What has stopped coming has no future to tell.
      if (now - read.view.binTimes[full - 1]! > STALE_MS) return
      inputs.push({
        metric: metric.name,
        times: read.view.binTimes.subarray(0, full),
        values: read.view.binValues.subarray(0, full),
        ...(metric.min === undefined ? {} : { min: metric.min }),
        ...(metric.max === undefined ? {} : { max: metric.max }),
      })
    }
    for (const metric of watchedMetrics) await take(metric, { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] })
    for (const name of await others(now)) await take({ name, unit: '' }, {})
    if (signal.aborted) return
    dataPointsByMetric = counts
    if (settings.mlEnabled) {
      const budgetMs = (settings.trainingBudget / 100) * CYCLE_MS
      const made = await forecasts.cycle(inputs, settings.predictionHorizons, settings.retrainInterval * 1000, (jobs) =>
        deps.train(jobs, budgetMs, signal),
      )
      predictionsGenerated += made
      for (const [name, view] of views) {
        views.set(name, { ...view, forecasts: forecasts.viewsOf(name), skill: forecasts.skillOf(name) })
      }
    }
    const before = new Set(insights.map((i) => i.key))
    const looked = new Map([...views].filter(([name]) => ownNames.has(name) || askedAt.has(name)))
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
      writeSwitch(db, true)
      active = true
      plan()
      return true
    },
    async stop() {
      if (!active) return false
      writeSwitch(db, false)
      active = false
      await halt()
      return true
    },
    cycle,
    asked(metricName) {
      if (askedAt.size >= ASKED_MAX && !askedAt.has(metricName)) askedAt.delete(askedAt.keys().next().value!)
      askedAt.set(metricName, clock.now())
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
      for (const { host, series, anomalous } of note.hosts) {
        const labels = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1], ...(host === '' ? {} : { host }) }
        builder.series(labelsOf('analytics_anomaly_rate', labels)).sample(note.at, (100 * anomalous) / series)
      }
      deps.appender.append(builder.finish(), { source: 'analytics' }).catch((error: unknown) => {
        log.warn('the anomaly rate could not be stored', { error })
      })
    },
    close: halt,
  }
}

function readSwitch(db: Database): boolean {
  const row = db.prepare("SELECT value FROM engine WHERE name = 'active'").get() as { value: string } | undefined
  return row?.value !== 'false'
}

function writeSwitch(db: Database, on: boolean): void {
  db.prepare("INSERT OR REPLACE INTO engine (name, value) VALUES ('active', ?)").run(String(on))
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
