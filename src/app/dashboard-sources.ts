/** What the dashboard reads, made from the metrics façade, the query worker, analytics, and what front tells of its processes. */
import type { Alerting } from '../alerting/index.ts'
import { dashboardAlert } from '../alerting/index.ts'
import type { Analytics, Anomaly, Insight } from '../analytics/index.ts'
import type { Clock } from '../base/clock.ts'
import { DAY, MINUTE, toIso } from '../base/time.ts'
import type { DashboardAnomaly, DashboardInsight, DashboardSources, ForecastView } from '../dashboard/index.ts'
import type { Metrics, QueryService } from '../metrics/index.ts'
import { labelsOf, PLATFORM_LABEL, storedName } from '../metrics/index.ts'
import { MARKET, type Scaling, standingOf } from '../scaling/index.ts'
import type { Events } from './events.ts'
import type { Health } from './health.ts'

export interface DashboardSourcesDeps {
  readonly metrics: Pick<Metrics, 'latest'>
  readonly queries: Pick<QueryService, 'call'>
  readonly health: Health
  readonly events: Events
  readonly clock: Clock
  readonly analytics: Pick<Analytics, 'active' | 'lastActivity' | 'anomalies' | 'forecasts' | 'insights'> | null
  readonly alerting: Pick<Alerting, 'engine' | 'store' | 'rules'> | null
  readonly scaling: Pick<Scaling, 'manager' | 'store'> | null
  intervalMs(): number
}

const platform = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }

export function dashboardSources(deps: DashboardSourcesDeps): DashboardSources {
  const { metrics, queries, health, events, clock, analytics, alerting, scaling, intervalMs } = deps
  return {
    async latest(names) {
      const found = await Promise.all(names.map((name) => metrics.latest(labelsOf(storedName(name), platform))))
      const fresh = names.flatMap((name, i) => {
        const sample = found[i]
        if (!sample || !Number.isFinite(sample.value) || sample.time < clock.now() - DAY) return []
        return [[name, { at: sample.time, value: sample.value }] as const]
      })
      return new Map(fresh)
    },
    async range(name, from, to, stepMs) {
      const request = { name: storedName(name), labels: platform, from, until: to, stepMs, seriesMax: 0 }
      const { points } = await queries.call('points', request)
      return { times: points.times, values: points.mean }
    },
    processes: () => health.processes,
    events: (since, until) => events.between(since, until),
    intervalMs,
    ...(analytics ? fromAnalytics(analytics, clock) : {}),
    ...(alerting ? fromAlerting(alerting, clock) : {}),
    ...(scaling ? fromScaling(scaling) : {}),
    engines: () => ({
      ...(analytics ? { analytics: { active: analytics.active, lastActivity: analytics.lastActivity } } : {}),
      ...(alerting
        ? { alerting: { active: alerting.engine.active, lastActivity: alerting.engine.lastEvaluation } }
        : {}),
      ...(scaling ? { scaling: { active: scaling.manager.active, lastActivity: scaling.manager.lastCycle } } : {}),
    }),
  }
}

function fromScaling({ manager, store }: NonNullable<DashboardSourcesDeps['scaling']>) {
  return {
    instances() {
      const { observed, wanted } = manager.view(MARKET)
      const [last] = store.decisions({ target: MARKET, only: 'changes', limit: 1 })
      const lastDecision = last
        ? {
            id: last.id,
            action: last.decision.action,
            target_instances: last.decision.wanted,
            current_instances: last.decision.current,
            reason: last.decision.reason,
            created_at: toIso(last.at),
            status: standingOf(last).status,
          }
        : null
      return { current: observed?.ready ?? null, target: wanted, lastDecision }
    },
  } satisfies Partial<DashboardSources>
}

const ALERTS_MAX = 20

function fromAlerting({ store, rules }: NonNullable<DashboardSourcesDeps['alerting']>, clock: Clock) {
  const sum = (bySeverity: Readonly<Record<string, number>>) => Object.values(bySeverity).reduce((a, b) => a + b, 0)
  return {
    alerts: () =>
      store
        .list({ statuses: ['active', 'acknowledged'], sort: 'needs_attention', limit: ALERTS_MAX })
        .map(dashboardAlert),
    alertCounts: () => ({
      active: sum(store.counts.active),
      acknowledged: sum(store.counts.acknowledged),
      silenced: sum(store.counts.suppressed),
      resolved_today: store.resolvedSince(clock.now() - DAY),
      rules: rules.all().filter((rule) => rule.enabled).length,
    }),
  } satisfies Partial<DashboardSources>
}

/** An insight is of now while one of the last three cycles saw it; it stays listed for a day. */
const INSIGHT_LASTS_MS = 15 * MINUTE

function fromAnalytics(analytics: NonNullable<DashboardSourcesDeps['analytics']>, clock: Clock) {
  return {
    forecasts: (names: readonly string[]) => names.flatMap((name) => newestForecasts(analytics, name)),
    anomalies: (names: readonly string[], since: number, until: number, limit: number) =>
      names
        .flatMap((metricName) => analytics.anomalies.list({ metricName, since, until, limit: 2 * limit }))
        .filter(isFigure)
        .sort((a, b) => b.at - a.at)
        .slice(0, limit)
        .map(anomalyOf),
    insights: () =>
      analytics
        .insights({ limit: 100 })
        .filter((insight) => clock.now() - insight.lastSeenAt < INSIGHT_LASTS_MS)
        .map(insightOf),
  } satisfies Partial<DashboardSources>
}

function newestForecasts({ forecasts }: Pick<Analytics, 'forecasts'>, metricName: string): ForecastView[] {
  const newest = forecasts.latest(metricName)
  const why = newest.some((one) => one.standing === 'withdrawn')
    ? forecasts.quality({ metricName, labels: newest[0]!.labels })
    : []
  return newest.map((one) => ({
    metric: metricName,
    madeAt: one.madeAt,
    horizon: one.horizon,
    target_time: toIso(one.target),
    value: one.value,
    lower: one.lower80,
    upper: one.upper80,
    coverage: 0.8,
    confidence: one.confidence,
    withdrawn:
      one.standing === 'withdrawn'
        ? (why.find((row) => row.horizon === one.horizon)?.why ?? 'a plain guess did better')
        : null,
  }))
}

/** The series behind a figure: the platform's own, and of response time the p95, which has no label more. */
function isFigure({ labels }: Anomaly): boolean {
  const names = Object.keys(labels).filter((name) => name !== '__name__')
  return names.length === 1 && labels[PLATFORM_LABEL[0]] === PLATFORM_LABEL[1]
}

const anomalyOf = (anomaly: Anomaly): DashboardAnomaly => ({
  id: anomaly.id,
  metric_name: anomaly.metricName,
  timestamp: toIso(anomaly.at),
  anomaly_score: anomaly.deviations,
  severity: anomaly.severity,
  actual_value: anomaly.actual,
  expected_value: anomaly.expected,
  view: anomaly.view,
  season: anomaly.season,
  description: anomaly.description,
  feedback: anomaly.feedback && {
    verdict: anomaly.feedback.verdict,
    by: anomaly.feedback.who,
    at: toIso(anomaly.feedback.at),
  },
})

const insightOf = (insight: Insight): DashboardInsight => ({
  id: insight.id,
  type: insight.type,
  category: insight.type,
  title: insight.title,
  message: insight.description,
  confidence: insight.confidence,
  impact: insight.impact,
  recommendations: insight.recommendations,
  evidence_url: `/ops/insights/${encodeURIComponent(insight.id)}`,
  found_by: 'analytics',
  last_seen_at: toIso(insight.lastSeenAt),
})
