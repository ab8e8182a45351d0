/**
 * What the dashboard's server and its page say to each other: the messages of the WebSocket and the summary.
 * The page imports this file and no other of the server: types, constants, and how both write a number.
 *
 *   page ──{type:'snapshot', range}──▶ server      asked at a gap in `seq`, or for another range
 *   page ◀──snapshot (whole state and chart history)── server      first, and when asked
 *   page ◀──update (whole state)── server          one a period, the same bytes for everybody
 *
 * Names follow the API contract (snake_case); times are ISO 8601 in UTC; a value that is not known is null, never 0.
 */

/** The keys of `metrics`, in the order of the cards; `disk_usage` has no card. */
export const METRIC_KEYS = [
  'cpu_usage',
  'memory_usage',
  'cache_hit_rate',
  'response_time',
  'throughput',
  'disk_usage',
] as const
export type MetricKey = (typeof METRIC_KEYS)[number]

/** What has a trend, a normal range and a history: the metrics and the health score made from them. */
export const FIGURE_KEYS = [...METRIC_KEYS, 'health_score'] as const
export type FigureKey = (typeof FIGURE_KEYS)[number]

/** The six cards, in order. */
export const CARD_KEYS = [
  'cpu_usage',
  'memory_usage',
  'cache_hit_rate',
  'response_time',
  'throughput',
  'health_score',
] as const satisfies readonly FigureKey[]
export type CardKey = (typeof CARD_KEYS)[number]

/** Ranges of the charts, with the step of their points in seconds. */
export const RANGES = {
  '1h': { seconds: 3_600, step: 15 },
  '3h': { seconds: 10_800, step: 30 },
  '24h': { seconds: 86_400, step: 300 },
  '7d': { seconds: 604_800, step: 1_800 },
} as const
export type Range = keyof typeof RANGES
export const RANGE_NAMES = Object.keys(RANGES) as Range[]
export const DEFAULT_RANGE: Range = '3h'
export const isRange = (text: unknown): text is Range => typeof text === 'string' && Object.hasOwn(RANGES, text)

/** Close codes of the socket, as the contract has them. */
export const CLOSE = { notAuthenticated: 4401, role: 4403, tryLater: 1013, goingAway: 1001, policy: 1008 } as const

/** Most insights and most anomalies of one message. */
export const INSIGHTS_MAX = 12
export const ANOMALIES_MAX = 100
/** Of an update: it comes every two seconds. */
export const RECENT_ANOMALIES_MAX = 20

/** The canonical name behind each figure. */
export const FIGURE_NAMES: Readonly<Record<FigureKey, string>> = {
  cpu_usage: 'system.cpu_usage',
  memory_usage: 'system.memory_usage',
  cache_hit_rate: 'cache.hit_rate',
  response_time: 'application.api_response_time',
  throughput: 'application.requests_per_second',
  disk_usage: 'system.disk_usage',
  health_score: 'performance_score',
}

/** Seconds without a message after which what is shown is called stale. */
export const STALE_AFTER_S = 6

export type Trend = 'increasing' | 'decreasing' | 'stable'
export type ThresholdState = 'ok' | 'warning' | 'critical'
export type HeadlineStatus = 'healthy' | 'degraded' | 'critical' | 'no_data'

/** A value against its limits: which one it is beyond, if any. */
export interface Limit {
  readonly value: number
  readonly side: 'over' | 'under'
}

/** All that is known of one metric beside its value. */
export interface Figure {
  readonly unit: string
  /** Mean of the last window less the mean of the one before; null while one of them is not covered. */
  readonly change: number | null
  /** `change` is in the metric's own unit, or in per cent of the former mean. */
  readonly change_kind: 'absolute' | 'percent'
  /** Seconds of one window. */
  readonly change_window: number
  /** From stored history of the same metric (the last 24 h); null while there is less than an hour of it. */
  readonly normal: { readonly lower: number; readonly upper: number } | null
  readonly threshold_state: ThresholdState | null
  /** Its limits, where it has any. */
  readonly limits: { readonly warning: number; readonly critical: number; readonly side: Limit['side'] } | null
  /** The limit the value is beyond; else null. */
  readonly limit: Limit | null
  /** Time of the newest stored sample, however old; null when there never was one. */
  readonly last_sample_at: string | null
  readonly last_value: number | null
  /** Why there is no value now, in a few words; null when there is one. */
  readonly silence: string | null
}

export interface Headline {
  readonly status: HeadlineStatus
  /** The sentence for people: "Degraded: answers take 214 ms, over the 200 ms limit for 11 minutes." */
  readonly text: string
  /** The figure it is about, when it is about one. */
  readonly metric: FigureKey | null
  readonly value: number | null
  readonly limit: number | null
  readonly since: string | null
  /** What changed with it. */
  readonly cause: string | null
  /** What happens next. */
  readonly next: string | null
}

export interface ScorePart {
  readonly metric: MetricKey
  /** Points taken from 100; negative. */
  readonly points: number
  readonly why: string
}

export interface DashboardInsight {
  readonly id: string
  /** `performance_warning`, `optimization_opportunity`, … */
  readonly type: string
  /** `performance`, `resources`, `cache`, `health`. */
  readonly category: string
  readonly title: string
  /** What is true, with the numbers. */
  readonly message: string
  /** 0–1. */
  readonly confidence: number
  readonly impact: 'low' | 'medium' | 'high'
  readonly recommendations: readonly string[]
  /** The page with the numbers behind it. */
  readonly evidence_url: string
  /** Who found it: the engine in its last cycles, or the dashboard from the means of the last minute. */
  readonly found_by: 'analytics' | 'dashboard'
  readonly last_seen_at: string
}

/** What a metric is expected to be at one moment ahead. */
export interface ForecastPoint {
  /** Minutes ahead of the moment at which it was made. */
  readonly horizon: number
  readonly target_time: string
  /** Median. */
  readonly value: number
  readonly lower: number
  readonly upper: number
  /** Share of outcomes that the interval is made to hold, 0–1. */
  readonly coverage: number
  /** 0–1, from the record of such forecasts. */
  readonly confidence: number
  /** Why it is not to be used, as a sentence: it has not earned its place; null when it has. */
  readonly withdrawn: string | null
}

/** How far an anomaly is from what was expected. */
export type Level = 'low' | 'medium' | 'high'

/** An anomaly of one of the figures; names as in the API of analytics. None that a verdict hides is ever sent. */
export interface DashboardAnomaly {
  readonly id: string
  readonly metric_name: string
  readonly timestamp: string
  /** Robust deviations from the expected value. */
  readonly anomaly_score: number
  readonly severity: Level
  readonly actual_value: number
  readonly expected_value: number
  /** Which look at the series raised it: `level`, `jump`, `drift`, `season`, `stuck`, `absent`. */
  readonly view: string
  readonly season: string
  readonly description: string
  readonly feedback: { readonly verdict: 'real' | 'noise'; readonly by: string; readonly at: string } | null
}

/** An alert that is not over. None is ever sent before alerting is installed. */
export interface DashboardAlert {
  readonly id: string
  readonly rule_id: string
  readonly severity: 'info' | 'warning' | 'critical' | 'emergency'
  readonly title: string
  readonly message: string
  /** When it fired. */
  readonly timestamp: string
  readonly status: 'active' | 'acknowledged'
  readonly metric_name: string
  readonly unit: string
  readonly current_value: number | null
  readonly threshold_value: number | null
  readonly acknowledged_by: string | null
  readonly acknowledged_at: string | null
  /** When it rises by a severity, or is told again, unless somebody acknowledges it. */
  readonly next_escalation_at: string | null
  readonly clears_below: number | null
  readonly clears_above: number | null
  /** It comes and goes, and is held open until it has been calm. */
  readonly flapping: boolean
}

/** All alerts by state, whatever stands in the list. */
export interface AlertCounts {
  /** Nobody has them. */
  readonly active: number
  readonly acknowledged: number
  readonly silenced: number
  readonly resolved_today: number
  /** Rules that watch. */
  readonly rules: number
}

/** A process of the platform. */
export interface DashboardProcess {
  readonly id: string
  readonly kind: string
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped'
  readonly started_at: string | null
  readonly restarts: number
  readonly last_exit: string | null
}

export interface DashboardEvent {
  readonly id: string
  readonly timestamp: string
  /** What kind of thing happened; `process` today, later `scaling`, `deployment`, `market`. */
  readonly type: string
  /** One short phrase: "control restarted". */
  readonly title: string
  readonly detail: string
  /** Who or what it happened to. */
  readonly subject: string
}

/** An engine of the platform, for the foot of the page. */
export interface Engine {
  readonly name: 'collection' | 'analytics' | 'alerting' | 'scaling' | 'optimizer'
  readonly state: 'active' | 'silent' | 'stopped' | 'not_installed'
  /** When it last did something. */
  readonly last_activity: string | null
}

/** The state that `update`, `snapshot` and the summary share. */
export interface DashboardState {
  readonly timestamp: string
  readonly metrics: Readonly<Record<MetricKey, number | null>>
  readonly performance_score: number | null
  readonly score_parts: readonly ScorePart[]
  readonly trends: Readonly<Record<FigureKey, Trend | null>>
  readonly figures: Readonly<Record<FigureKey, Figure>>
  readonly headline: Headline
  /** Nearest first; empty where nothing was forecast lately. */
  readonly forecast: Readonly<Record<FigureKey, readonly ForecastPoint[]>>
  /** Anomalies of the figures in the last hour, newest first; a snapshot has those of its range. */
  readonly anomalies: readonly DashboardAnomaly[]
  /** Strongest first, then newest; at most `INSIGHTS_MAX`. */
  readonly ai_insights: readonly DashboardInsight[]
  /** Those that need somebody first, at most 20. */
  readonly alerts: readonly DashboardAlert[]
  /** Null while alerting is not installed. */
  readonly alert_counts: AlertCounts | null
  readonly monitoring_active: boolean
  readonly optimization_active: boolean
  /** `current` and `target` are null while no instances are managed. */
  readonly instances: {
    readonly current: number | null
    readonly target: number | null
    readonly last_decision: LastDecision | null
  }
  readonly processes: readonly DashboardProcess[]
  readonly engines: readonly Engine[]
  /** Seconds between two collections, and after how many a metric without a sample has no data. */
  readonly interval: number
  readonly fresh_for: number
  /** A fault of the feed itself that the page has to say (the store cannot be read). */
  readonly problem: string | null
}

/** The newest decision that changed how many instances there are. */
export interface LastDecision {
  readonly id: string
  readonly action: 'scale_up' | 'scale_down' | 'maintain'
  readonly target_instances: number
  readonly current_instances: number
  readonly reason: string
  readonly created_at: string
  readonly status: string
}

/** Evenly spaced points; `null` where nothing was stored. The last point may still be growing. */
export interface History {
  /** Time of the first point. */
  readonly from: string
  /** Seconds between points. */
  readonly step: number
  readonly series: Readonly<Partial<Record<FigureKey, readonly (number | null)[]>>>
}

export interface Update extends DashboardState {
  readonly type: 'update'
  readonly seq: number
}

export interface Snapshot extends DashboardState {
  readonly type: 'snapshot'
  readonly seq: number
  readonly range: Range
  /** For the charts, over `range`. */
  readonly history: History
  /** For the spark lines: the last hour by the minute. */
  readonly recent: History
  /** Events inside the range, oldest first; `anomalies` are those inside it too. */
  readonly events: readonly DashboardEvent[]
}

export type ServerMessage = Update | Snapshot

export interface ClientMessage {
  readonly type: 'snapshot'
  readonly range?: Range
}

export interface DashboardSummary extends DashboardState {
  /** Open sockets of the dashboard. */
  readonly active_connections: number
}

/** Narrow no-break space, between a number and its unit. */
export const NARROW = '\u202f'

const grouped = (digits: number) =>
  new Intl.NumberFormat('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
/** By places after the point; made when first used: each takes a start milliseconds. */
const formats: Intl.NumberFormat[] = []

/** Three significant figures: `82.6`, `214`, `1,184`, `0.35`; per cent with at most one decimal; a true minus. */
export function formatNumber(value: number, unit = ''): string {
  const size = Math.abs(value)
  const digits = size >= 99.95 || size === 0 ? 0 : size >= 9.995 || unit === '%' || unit === 'points' ? 1 : 2
  formats[digits] ??= grouped(digits)
  return formats[digits].format(value).replace('-', '\u2212')
}

/** A number as somebody set or counted it (a limit, a score): `70`, `72.5`, `1,500`. */
export function formatExact(value: number): string {
  return new Intl.NumberFormat('en-US', { maximumSignificantDigits: 15 }).format(value).replace('-', '\u2212')
}

/** A limit with its unit: `200 ms`. */
export const formatLimit = (value: number, unit: string): string => `${formatExact(value)}${NARROW}${unit}`

/** A number with its unit: `82.6 %`, `214 ms`. */
export function formatValue(value: number, unit: string): string {
  return unit === '' ? formatNumber(value) : `${formatNumber(value, unit)}${NARROW}${unit}`
}
