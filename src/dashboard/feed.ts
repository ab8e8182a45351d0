/**
 * The feed: one step turns what was read into the message that every dashboard gets. Pure: no clock, no store, no
 * socket. `hub.ts` sends the message, `dashboard.ts` reads the sources and calls `step` once a period.
 *
 *   (state, input, now) ─▶ (state, message)
 *
 * While nobody looks no step is made. The first step after a pause carries `refill`, stored history from which trends,
 * normal ranges and "for 11 minutes" come, so what a step says never depends on who was looking before, nor on how long
 * this process runs.
 */
import type { Millis } from '../base/time.ts'
import { HOUR, MINUTE, toIso } from '../base/time.ts'
import type { LimitsByFigure, Movement, Normal } from './figures.ts'
import { beyondSince, isBeyond, JUDGED, judge, MEANING, movement, normalOf, rounded, windowMean } from './figures.ts'
import type {
  AlertCounts,
  DashboardAlert,
  DashboardAnomaly,
  DashboardInsight,
  DashboardProcess,
  DashboardState,
  Engine,
  Figure,
  FigureKey,
  ForecastPoint,
  MetricKey,
  Trend,
  Update,
} from './protocol.ts'
import { FIGURE_KEYS, INSIGHTS_MAX, METRIC_KEYS } from './protocol.ts'
import { scoreOf } from './score.ts'
import type { EngineView, ForecastView, InstancesView, Point, Points, ProcessView } from './sources.ts'
import type { Facts } from './words.ts'
import { headlineOf, insightsOf, lasting } from './words.ts'

/** A metric without a sample for this many intervals has no data. */
export const INTERVALS_FRESH = 3
/** Steps of the history that a refill brings. */
export const FINE_STEP_MS = 15_000
export const COARSE_STEP_MS = 5 * MINUTE
/** Three cycles of analytics. */
const FORECAST_LASTS_MS = 15 * MINUTE

export interface FeedSettings {
  readonly windowMs: number
  readonly intervalMs: number
  readonly limits: LimitsByFigure
}

/** Stored history of each metric: `fine` over the last hour (or two windows), `coarse` over the last 24 h. */
export type Refill = Readonly<Record<MetricKey, { readonly fine: Points; readonly coarse: Points }>>

export interface FeedInput {
  /** The newest stored sample of each metric. */
  readonly samples: Readonly<Partial<Record<MetricKey, Point>>>
  readonly refill: Refill | null
  readonly processes: readonly ProcessView[]
  readonly engines: Engines
  readonly forecasts: readonly ForecastView[]
  readonly anomalies: readonly DashboardAnomaly[]
  readonly insights: readonly DashboardInsight[]
  readonly alerts: readonly DashboardAlert[]
  readonly alertCounts: AlertCounts | null
  /** Null while nothing counts instances. */
  readonly instances: InstancesView | null
  /** Why nothing could be read, as a clause; null when all is well. */
  readonly problem: string | null
}

type Engines = Readonly<Partial<Record<Engine['name'], EngineView>>>

interface Since {
  readonly warning: Millis | null
  readonly critical: Millis | null
}

export interface FeedState {
  /** Of the last message. */
  readonly seq: number
  readonly at: Millis | null
  /** Points of the last two windows, ascending. */
  readonly recent: Readonly<Record<FigureKey, readonly Point[]>>
  readonly newest: Readonly<Partial<Record<MetricKey, Point>>>
  readonly normals: Readonly<Partial<Record<FigureKey, Normal | null>>>
  readonly since: Readonly<Partial<Record<MetricKey, Since>>>
}

const each = <K extends string, T>(keys: readonly K[], make: (key: K) => T) =>
  Object.fromEntries(keys.map((key) => [key, make(key)])) as Record<K, T>

export const emptyFeed: FeedState = {
  seq: 0,
  at: null,
  recent: each(FIGURE_KEYS, () => []),
  newest: {},
  normals: {},
  since: {},
}

export function step(
  state: FeedState,
  input: FeedInput,
  settings: FeedSettings,
  now: Millis,
): { readonly state: FeedState; readonly message: Update } {
  const { windowMs, limits } = settings
  const freshMs = INTERVALS_FRESH * settings.intervalMs
  const newest = { ...state.newest, ...input.samples }
  const normals = input.refill ? normalsOf(input.refill, limits) : state.normals
  const usual = each(METRIC_KEYS, (key) => normals[key]?.median ?? null)

  const recent: Record<FigureKey, readonly Point[]> = { ...state.recent }
  for (const key of METRIC_KEYS) {
    const known = input.refill ? pointsOf(input.refill[key].fine) : recent[key]
    recent[key] = appended(known, newest[key], now - 2 * windowMs, now)
  }

  const values = each(METRIC_KEYS, (key) => {
    const sample = newest[key]
    return sample && now - sample.at <= freshMs ? rounded(sample.value) : null
  })
  const minute = each(METRIC_KEYS, (key) => {
    if (values[key] === null) return null
    const { mean } = windowMean(recent[key], now - MINUTE, now)
    return Number.isNaN(mean) ? values[key] : rounded(mean)
  })
  const { score, parts } = scoreOf(minute, limits, usual)
  const scores = input.refill ? scoresOf(input.refill, limits, usual) : recent.health_score
  recent.health_score = appended(
    scores,
    score === null ? undefined : { at: now, value: score },
    now - 2 * windowMs,
    now,
  )

  const moved = each(FIGURE_KEYS, (key): Movement | null =>
    (key === 'health_score' ? score : values[key]) === null
      ? null
      : movement(recent[key], now, windowMs, MEANING[key].change),
  )
  const since = sinceOf(state, input, minute, settings, now)
  const processes = input.processes.map(shown)
  const trends = each(FIGURE_KEYS, (key): Trend | null => moved[key]?.trend ?? null)
  const changes = each(FIGURE_KEYS, (key) => moved[key]?.change ?? null)
  const facts: Facts = {
    now,
    values,
    minute,
    score,
    worst: parts[0]?.metric ?? null,
    limits,
    normals,
    trends,
    changes,
    windowMs,
    since,
    processes,
    freshMs,
    problem: input.problem,
    alerting: input.engines.alerting?.active ?? null,
  }

  const figures = each(FIGURE_KEYS, (key): Figure => {
    const value = key === 'health_score' ? score : values[key]
    const rule = limits[key]
    const last = key === 'health_score' ? recent.health_score.at(-1) : newest[key]
    const normal = normals[key]
    const verdict = value === null || !rule ? null : judge(value, rule)
    return {
      unit: MEANING[key].unit,
      change: changes[key],
      change_kind: MEANING[key].change,
      change_window: windowMs / 1000,
      normal: normal ? { lower: normal.lower, upper: normal.upper } : null,
      threshold_state: verdict?.state ?? null,
      limits: rule ?? null,
      limit: verdict?.limit ?? null,
      last_sample_at: last ? toIso(last.at) : null,
      last_value: last ? rounded(last.value) : null,
      silence: value === null ? silenceOf(key, last, values, now) : null,
    }
  })

  const collected = Math.max(...METRIC_KEYS.map((key) => newest[key]?.at ?? Number.NEGATIVE_INFINITY))
  const monitoring = METRIC_KEYS.some((key) => values[key] !== null)
  const body: DashboardState = {
    timestamp: toIso(now),
    metrics: values,
    performance_score: score,
    score_parts: parts,
    trends,
    figures,
    headline: headlineOf(facts),
    forecast: each(FIGURE_KEYS, (key) => forecastOf(MEANING[key].name, input.forecasts, now)),
    anomalies: input.anomalies,
    ai_insights: ranked(toldOnce(insightsOf(facts), input.insights)),
    alerts: input.alerts,
    alert_counts: input.alertCounts,
    monitoring_active: monitoring,
    optimization_active: input.engines.optimizer?.active ?? false,
    instances: instancesOf(processes, input.instances),
    processes,
    engines: enginesOf(monitoring, collected, input.engines),
    interval: settings.intervalMs / 1000,
    fresh_for: freshMs / 1000,
    problem: input.problem,
  }
  const seq = state.seq + 1
  return {
    state: { seq, at: now, recent, newest, normals, since },
    message: { type: 'update', seq, ...body },
  }
}

/** What was forecast for later than now; a forecast made longer ago says nothing any more. */
function forecastOf(name: string, forecasts: readonly ForecastView[], now: Millis): ForecastPoint[] {
  return forecasts
    .filter((one) => one.metric === name && now - one.madeAt < FORECAST_LASTS_MS && Date.parse(one.target_time) > now)
    .sort((a, b) => a.horizon - b.horizon)
    .map(({ metric: _metric, madeAt: _madeAt, ...point }) => ({
      ...point,
      value: rounded(point.value),
      lower: rounded(point.lower),
      upper: rounded(point.upper),
    }))
}

const IMPACT = { high: 2, medium: 1, low: 0 } as const

/** What is said of the score now stands for what the last cycle of analytics said of it. */
function toldOnce(own: readonly DashboardInsight[], found: readonly DashboardInsight[]): DashboardInsight[] {
  const ofScore = own.some((insight) => insight.id.endsWith(':health_score'))
  return [...found.filter((insight) => !ofScore || insight.type !== 'performance'), ...own]
}

/** The strongest first, of those the newest; the weakest are left out where there are too many. */
function ranked(insights: readonly DashboardInsight[]): DashboardInsight[] {
  return insights
    .toSorted(
      (a, b) =>
        IMPACT[b.impact] - IMPACT[a.impact] ||
        b.confidence - a.confidence ||
        (a.last_seen_at < b.last_seen_at ? 1 : a.last_seen_at > b.last_seen_at ? -1 : 0),
    )
    .slice(0, INSIGHTS_MAX)
}

/** Points of a bucketed history, dated at the middle of their bucket. */
function pointsOf(points: Points): Point[] {
  return Array.from(points.times, (at, i) => ({ at: at + FINE_STEP_MS / 2, value: points.values[i]! }))
}

/** Adds a point that is newer than all others, and lets go of what is too old (or lies ahead, after a clock jumped). */
function appended(points: readonly Point[], point: Point | undefined, from: Millis, now: Millis): readonly Point[] {
  const kept = points.filter((p) => p.at > from && p.at <= now)
  const last = kept.at(-1)
  if (!point || point.at <= from || point.at > now || (last && point.at <= last.at)) return kept
  return [...kept, point]
}

function normalsOf(refill: Refill, limits: LimitsByFigure): Readonly<Partial<Record<FigureKey, Normal | null>>> {
  const normals: Partial<Record<FigureKey, Normal | null>> = {}
  for (const key of METRIC_KEYS) normals[key] = normalOf(refill[key].coarse)
  const usual = each(METRIC_KEYS, (key) => normals[key]?.median ?? null)
  normals.health_score = normalOf(
    scoreHistory(
      each(METRIC_KEYS, (key) => refill[key].coarse),
      limits,
      usual,
    ),
  )
  return normals
}

function scoresOf(refill: Refill, limits: LimitsByFigure, usual: Readonly<Record<MetricKey, number | null>>): Point[] {
  return pointsOf(
    scoreHistory(
      each(METRIC_KEYS, (key) => refill[key].fine),
      limits,
      usual,
    ),
  )
}

/** The score that each bucket's values give: the same rule on stored history. */
export function scoreHistory(
  series: Readonly<Partial<Record<MetricKey, Points>>>,
  limits: LimitsByFigure,
  usual: Readonly<Partial<Record<MetricKey, number | null>>>,
): { readonly times: readonly Millis[]; readonly values: readonly number[] } {
  const rows = new Map<Millis, Partial<Record<MetricKey, number>>>()
  for (const key of JUDGED) {
    const points = series[key]
    if (!points) continue
    for (let i = 0; i < points.times.length; i++) {
      const row = rows.get(points.times[i]!) ?? {}
      row[key] = points.values[i]!
      rows.set(points.times[i]!, row)
    }
  }
  const times = [...rows.keys()].sort((a, b) => a - b)
  return { times, values: times.map((at) => scoreOf(rows.get(at)!, limits, usual).score ?? 0) }
}

/** Since when each metric is beyond its limits: kept while it lasts, found in history after a pause. */
function sinceOf(
  state: FeedState,
  input: FeedInput,
  minute: Readonly<Record<MetricKey, number | null>>,
  settings: FeedSettings,
  now: Millis,
): FeedState['since'] {
  const since: Partial<Record<MetricKey, Since>> = {}
  for (const key of JUDGED) {
    const value = minute[key]
    const rule = settings.limits[key]
    if (value === null || !rule) continue
    const from = (limit: number, before: Millis | null): Millis | null => {
      if (!isBeyond(value, limit, rule.side)) return null
      const history = input.refill?.[key]
      const found = history
        ? beyondSince(history.fine, { ...history.coarse, stepMs: COARSE_STEP_MS }, limit, rule.side, HOUR / 4)
        : null
      return Math.min(before ?? now, found ?? now)
    }
    const before = state.at !== null && now >= state.at && now - state.at < MINUTE ? state.since[key] : undefined
    since[key] = {
      warning: from(rule.warning, before?.warning ?? null),
      critical: from(rule.critical, before?.critical ?? null),
    }
  }
  return since
}

function silenceOf(
  key: FigureKey,
  last: Point | undefined,
  values: Readonly<Record<MetricKey, number | null>>,
  now: Millis,
): string {
  if (key === 'health_score') return 'none of its figures has data'
  if (key === 'response_time' && values.throughput === 0) return 'no requests'
  if (!last) return 'never measured'
  return `silent for ${lasting(now - last.at)}`
}

/**
 * Instances are the processes that serve the market; without any there is nothing to count. Those that run here are
 * counted as they are now: what scaling saw may be a cycle old.
 */
function instancesOf(
  processes: readonly DashboardProcess[],
  scaled: InstancesView | null,
): DashboardState['instances'] {
  const instances = processes.filter((p) => p.kind === 'instance')
  const ready = instances.filter((p) => p.state === 'ready').length
  const current = instances.length === 0 ? (scaled?.current ?? null) : ready
  return { current, target: scaled?.target ?? null, last_decision: scaled?.lastDecision ?? null }
}

/** Only what is built in may call itself active. */
function enginesOf(monitoring: boolean, collected: Millis, built: Engines): Engine[] {
  const collection: Engine = {
    name: 'collection',
    state: monitoring ? 'active' : 'silent',
    last_activity: Number.isFinite(collected) ? toIso(collected) : null,
  }
  const others = (['analytics', 'alerting', 'scaling', 'optimizer'] as const).map((name): Engine => {
    const engine = built[name]
    if (!engine) return { name, state: 'not_installed', last_activity: null }
    const last_activity = engine.lastActivity === null ? null : toIso(engine.lastActivity)
    return { name, state: engine.active ? 'active' : 'stopped', last_activity }
  })
  return [collection, ...others]
}

function shown(process: ProcessView): DashboardProcess {
  return {
    id: process.id,
    kind: process.kind,
    state: process.state,
    started_at: process.startedAt === null ? null : toIso(process.startedAt),
    restarts: process.restarts,
    last_exit: process.lastExit,
  }
}
