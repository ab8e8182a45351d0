/**
 * The sentences of the dashboard: headline and insights. Made here and not in the page, so that a notice says the same.
 * Values are means of the last minute: a headline that changes with every sample helps nobody.
 */
import type { Millis } from '../base/time.ts'
import { DAY, HOUR, MINUTE, SECOND, toIso } from '../base/time.ts'
import type { LimitsByFigure, Normal } from './figures.ts'
import { JUDGED, judge, MEANING } from './figures.ts'
import type { DashboardInsight, DashboardProcess, FigureKey, Headline, MetricKey, Trend } from './protocol.ts'
import { formatExact, formatLimit, formatNumber, formatValue, METRIC_KEYS } from './protocol.ts'

export interface Facts {
  readonly now: Millis
  /** The newest samples; null without data. */
  readonly values: Readonly<Record<MetricKey, number | null>>
  /** Means of the last minute; null without data. */
  readonly minute: Readonly<Record<MetricKey, number | null>>
  readonly score: number | null
  /** The metric that takes most from the score. */
  readonly worst: MetricKey | null
  readonly limits: LimitsByFigure
  readonly normals: Readonly<Partial<Record<FigureKey, Normal | null>>>
  readonly trends: Readonly<Record<FigureKey, Trend | null>>
  readonly changes: Readonly<Record<FigureKey, number | null>>
  readonly windowMs: number
  /** Since when each metric is beyond its warning and its critical limit. */
  readonly since: Readonly<Partial<Record<MetricKey, { warning: Millis | null; critical: Millis | null }>>>
  readonly processes: readonly DashboardProcess[]
  readonly freshMs: number
  readonly problem: string | null
  /** Whether alerting runs; null when it is not installed. */
  readonly alerting: boolean | null
}

/** How long a breach lasts before it is the headline. */
const HOLD_MS = 30 * SECOND

const CARDS: readonly FigureKey[] = METRIC_KEYS.filter((key) => key !== 'disk_usage')

export function headlineOf(facts: Facts): Headline {
  const plain = { metric: null, value: null, limit: null, since: null, cause: null, next: null }
  if (facts.problem !== null)
    return { ...plain, status: 'no_data', text: `No data: ${facts.problem}`, next: 'It is tried again every period.' }

  const known = CARDS.filter((key) => facts.minute[key as MetricKey] !== null)
  if (known.length === 0)
    return {
      ...plain,
      status: 'no_data',
      text: `No data: no figure has a sample newer than ${lasting(facts.freshMs)}.`,
      next: 'Figures appear with the first collection.',
    }

  const breaches = JUDGED.flatMap((key) => {
    const value = facts.minute[key]
    const rule = facts.limits[key]
    if (value === null || !rule) return []
    const { state, limit } = judge(value, rule)
    if (!limit || state === 'ok') return []
    const since = facts.since[key]?.[state] ?? facts.now
    return facts.now - (facts.since[key]?.warning ?? facts.now) >= HOLD_MS ? [{ key, value, state, limit, since }] : []
  })
  const worst = breaches.find((b) => b.state === 'critical') ?? breaches[0]
  if (worst) {
    const { unit } = MEANING[worst.key]
    const limit = `${worst.limit.side} the ${formatLimit(worst.limit.value, unit)} limit`
    const others = breaches.filter((b) => b !== worst).map((b) => MEANING[b.key].words)
    const also = others.length > 0 ? `Also beyond a limit: ${list(others)}.` : null
    return {
      status: worst.state === 'critical' ? 'critical' : 'degraded',
      text: `${worst.state === 'critical' ? 'Critical' : 'Degraded'}: ${subject(worst.key, worst.value)}, ${limit} for ${lasting(facts.now - worst.since)}.`,
      metric: worst.key,
      value: worst.value,
      limit: worst.limit.value,
      since: toIso(worst.since),
      cause: sentences([together(facts, worst.key), also]),
      next:
        facts.alerting === true
          ? null
          : `Alerting ${facts.alerting === null ? 'is not installed' : 'is switched off'}: nobody is told of it.`,
    }
  }

  const down = facts.processes.find((p) => p.state === 'backing_off' || p.state === 'stopped')
  if (down)
    return {
      ...plain,
      status: 'degraded',
      text: `Degraded: ${down.id} is not running${down.last_exit ? ` (${down.last_exit})` : ''}.`,
      since: null,
      next:
        down.state === 'backing_off'
          ? `It is started again by itself, so far ${times(down.restarts)}.`
          : 'It was stopped.',
    }

  const silent = CARDS.filter((key) => !known.includes(key)).map((key) => MEANING[key].words)
  const outside = known.filter((key) => {
    const normal = facts.normals[key]
    const value = facts.minute[key as MetricKey]!
    return normal && (value < normal.lower || value > normal.upper)
  })
  const learnt = known.filter((key) => facts.normals[key])
  const normalSentence =
    learnt.length === 0
      ? 'What is normal is known after one hour of history.'
      : outside.length === 0
        ? null
        : `Unusual for the last 24 hours: ${list(outside.map((key) => withValue(facts, key)))}.`
  const brief = JUDGED.flatMap((key) => {
    const value = facts.values[key]
    const rule = facts.limits[key]
    const limit = value === null || !rule ? null : judge(value, rule).limit
    if (value === null || !limit) return []
    const { words, unit } = MEANING[key]
    return [`${words} ${formatValue(value, unit)}, ${limit.side} ${formatLimit(limit.value, unit)}`]
  })
  const all = silent.length === 0 && learnt.length === known.length && outside.length === 0
  return {
    ...plain,
    status: 'healthy',
    text:
      brief.length > 0
        ? `Healthy: nothing has been beyond its limit for ${lasting(HOLD_MS)}.`
        : all
          ? 'Healthy: all figures are within their normal range.'
          : 'Healthy: nothing is beyond its limit.',
    cause: sentences([
      brief.length > 0 ? `Just now: ${brief.join('; ')}.` : null,
      normalSentence,
      silent.length > 0 ? `No data for ${list(silent)}.` : null,
      facts.minute.throughput === null
        ? null
        : `The platform answers ${formatValue(facts.minute.throughput, 'req/s')}.`,
    ]),
  }
}

const CATEGORY: Readonly<Partial<Record<FigureKey, string>>> = {
  memory_usage: 'resources',
  cache_hit_rate: 'cache',
  health_score: 'health',
}

/** The dashboard's own rules of the contract, on the means of the last minute. */
export function insightsOf(facts: Facts): DashboardInsight[] {
  const { cpu_usage: cpu, memory_usage: memory, cache_hit_rate: hit } = facts.minute
  const { score } = facts
  const found: DashboardInsight[] = []
  const add = (
    metric: FigureKey,
    type: string,
    title: string,
    impact: DashboardInsight['impact'],
    confidence: number,
    message: string,
    advice: string,
    evidence: FigureKey = metric,
  ) =>
    found.push({
      id: `${type}:${metric}`,
      type,
      category: CATEGORY[metric] ?? 'performance',
      title,
      message,
      confidence,
      impact,
      recommendations: [advice],
      evidence_url: `/ops/metrics/${MEANING[evidence].name}`,
      found_by: 'dashboard',
      last_seen_at: toIso(facts.now),
    })
  const pct = (value: number) => formatValue(value, '%')
  const mean = 'in the mean of the last minute'

  if (cpu !== null && cpu > 80)
    add(
      'cpu_usage',
      'performance_warning',
      'Performance warning',
      'high',
      0.9,
      `CPU is at ${pct(cpu)} ${mean}, above ${formatLimit(80, '%')}.`,
      'Add capacity, or find what is busy under Metrics.',
    )
  if (memory !== null && memory > 85)
    add(
      'memory_usage',
      'memory_alert',
      'Memory alert',
      'high',
      0.9,
      `Memory is at ${pct(memory)} of its limit ${mean}, above ${formatLimit(85, '%')}.`,
      'Free memory or raise the limit before the system refuses more.',
    )
  if (score !== null && score < 70)
    add(
      'health_score',
      'performance_concern',
      'Performance concern',
      'high',
      0.9,
      `The health score is ${formatExact(score)} of 100, below 70.`,
      'Follow the figure that takes the most points; the health card names it.',
      facts.worst ?? 'health_score',
    )
  if (hit !== null && hit < 70)
    add(
      'cache_hit_rate',
      'cache_optimization',
      'Cache optimization',
      'medium',
      0.85,
      `${pct(hit)} of lookups are answered from the cache, below ${formatLimit(70, '%')}.`,
      'Give the cache more memory, or let entries live longer.',
    )
  if (cpu !== null && cpu < 20)
    add(
      'cpu_usage',
      'optimization_opportunity',
      'Optimization opportunity',
      'low',
      0.8,
      `CPU is at ${pct(cpu)} ${mean}, below ${formatLimit(20, '%')}.`,
      'No action while this is a quiet hour; less capacity would do if it stays so.',
    )
  if (hit !== null && hit > 90)
    add(
      'cache_hit_rate',
      'excellent_performance',
      'Excellent performance',
      'low',
      0.95,
      `${pct(hit)} of lookups are answered from the cache, above ${formatLimit(90, '%')}.`,
      'No action: the cache is large enough.',
    )
  if (score !== null && score > 90)
    add(
      'health_score',
      'system_health',
      'System health',
      'low',
      0.95,
      `The health score is ${formatExact(score)} of 100: ${score === 100 ? 'no figure with data takes a point from it' : 'little is taken from it'}.`,
      'No action.',
    )
  return found
}

/** `40 seconds`, `11 minutes`, `3 hours`, `2 days`. */
export function lasting(ms: number): string {
  const [n, unit] =
    ms < MINUTE
      ? [Math.max(1, Math.round(ms / SECOND)), 'second']
      : ms < HOUR
        ? [Math.floor(ms / MINUTE), 'minute']
        : ms < 2 * DAY
          ? [Math.floor(ms / HOUR), 'hour']
          : [Math.floor(ms / DAY), 'day']
  return `${n} ${unit}${n === 1 ? '' : 's'}`
}

function subject(key: MetricKey, value: number): string {
  const { words, unit } = MEANING[key]
  if (key === 'response_time') return `answers take ${formatValue(value, unit)}`
  return `${words} is at ${formatValue(value, unit)}`
}

function withValue(facts: Facts, key: FigureKey): string {
  return `${MEANING[key].words} ${formatValue(facts.minute[key as MetricKey]!, MEANING[key].unit)}`
}

/** What moved in the same window as the metric of the headline. */
function together(facts: Facts, key: MetricKey): string | null {
  const moved = CARDS.filter((other) => other !== key && facts.trends[other] && facts.trends[other] !== 'stable')
  const said = moved.flatMap((other) => {
    const change = facts.changes[other]
    if (change === null) return []
    const { words, unit, change: kind } = MEANING[other]
    const how =
      kind === 'percent'
        ? formatValue(Math.abs(change), '%')
        : unit === '%'
          ? `${formatNumber(Math.abs(change), '%')} points`
          : formatValue(Math.abs(change), unit)
    return [`${words} ${change > 0 ? 'rose' : 'fell'} by ${how}`]
  })
  if (said.length === 0) return null
  const text = list(said)
  return `In the last ${lasting(facts.windowMs)} ${text}.`
}

function list(parts: readonly string[]): string {
  return parts.length < 2 ? (parts[0] ?? '') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`
}

const sentences = (parts: readonly (string | null)[]) => parts.filter((p) => p !== null).join(' ') || null
const times = (n: number) => (n === 1 ? 'once' : `${n} times`)
