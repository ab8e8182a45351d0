/**
 * The API of alerting (`/api/v1/intelligent-alerting`): alerts and what people do with them, rules, channels, silences,
 * deliveries. Viewers read; operators acknowledge, silence and test; admins change rules and channels.
 *
 * A write and the answer given to its `Idempotency-Key` commit in one transaction. A test sends messages, which cannot
 * be part of one: its alert is, and a repeated request reports what became of that alert's messages.
 */
import Type, { type Static } from 'typebox'
import { HOUR, SECOND, toIso } from '../base/time.ts'
import type { Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import { alertRoutes } from './alerts/routes.ts'
import { alertmanagerRoutes } from './api-v2/routes.ts'
import { channelRoutes, deliveryRoutes } from './deliveries/routes.ts'
import { linkRoutes } from './link-page/routes.ts'
import { SEVERITIES, type Severity } from './rule.ts'
import { ruleRoutes } from './rules/routes.ts'
import { iso, NullableTime, RuleId, Time } from './schemas.ts'
import { silenceRoutes } from './suppress/routes.ts'
import { type AlertingRoutesDeps, BySeverity, base, Count, sum, tag } from './surface.ts'

export function alertingRoutes(deps: AlertingRoutesDeps): Route[] {
  return [
    ...engineRoutes(deps),
    ...alertRoutes(deps),
    ...ruleRoutes(deps),
    ...channelRoutes(deps),
    ...silenceRoutes(deps),
    ...deliveryRoutes(deps),
    ...linkRoutes(deps),
    ...alertmanagerRoutes({ ...deps, evaluationMs: () => deps.config().evaluationInterval * SECOND }),
  ]
}

const StatsSchema = Type.Object({
  alerts_triggered: Count,
  alerts_resolved: Count,
  false_positives: Count,
  notifications_sent: Count,
  average_resolution_time: Type.Number({ description: 'Seconds; 0 before the first.' }),
})
const ActiveSchema = Type.Object({ total: Count, by_severity: BySeverity })

function engineRoutes({
  engine,
  store,
  rules,
  delivery,
  scheduler,
  config: settings,
  mlEnabled,
  health,
}: AlertingRoutesDeps): Route[] {
  const { channels } = delivery
  const { clock } = scheduler
  /** Alerts that are not resolved, whoever has seen them. */
  const active = (): Static<typeof ActiveSchema> => {
    const { active, acknowledged, suppressed } = store.counts
    const bySeverity = Object.fromEntries(
      SEVERITIES.map((s) => [s, active[s] + acknowledged[s] + suppressed[s]]),
    ) as Record<Severity, number>
    return { total: sum(bySeverity), by_severity: bySeverity }
  }
  const stats = (): Static<typeof StatsSchema> => {
    const all = store.stats()
    return {
      alerts_triggered: all.alerts_triggered,
      alerts_resolved: all.alerts_resolved,
      false_positives: all.false_positives,
      notifications_sent: all.notifications_sent,
      average_resolution_time: all.alerts_resolved === 0 ? 0 : all.resolution_ms / all.alerts_resolved / SECOND,
    }
  }
  const counts = () => {
    const all = rules.all()
    return { total_rules: all.length, enabled_rules: all.filter((rule) => rule.enabled).length }
  }
  return [
    route({
      method: 'POST',
      path: `${base}/start-alerting`,
      access: 'operator',
      tag,
      summary: 'Starts the evaluation of rules; it stays on over restarts',
      data: Type.Object({ changed: Type.Boolean() }),
      handler({ principal }) {
        const changed = engine.setActive(true, principal!.name)
        return { data: { changed }, message: changed ? 'Alerting is started.' : 'Alerting was running already.' }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/stop-alerting`,
      access: 'operator',
      tag,
      summary: 'Stops the evaluation of rules; what is in the outbox is still delivered',
      data: Type.Object({ changed: Type.Boolean() }),
      handler({ principal }) {
        const changed = engine.setActive(false, principal!.name)
        return { data: { changed }, message: changed ? 'Alerting is stopped.' : 'Alerting was stopped already.' }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/summary`,
      access: 'viewer',
      tag,
      summary: 'How alerting stands, in figures',
      data: Type.Object({
        timestamp: Time,
        alerting_active: Type.Boolean(),
        last_evaluation: NullableTime,
        active_alerts: ActiveSchema,
        recent_alerts: Count,
        total_rules: Count,
        enabled_rules: Count,
        notification_channels: Count,
        stats: StatsSchema,
        config: Type.Object({
          evaluation_interval: Type.Number(),
          escalation_timeout: Type.Number(),
          max_alerts_per_metric: Count,
          alert_retention_days: Count,
          suppression_window: Type.Number(),
          ml_prediction_enabled: Type.Boolean(),
          anomaly_detection_enabled: Type.Boolean(),
        }),
      }),
      handler() {
        const now = clock.now()
        const config = settings()
        return {
          data: {
            timestamp: toIso(now),
            alerting_active: engine.active,
            last_evaluation: iso(engine.lastEvaluation),
            active_alerts: active(),
            recent_alerts: store.triggeredSince(now - HOUR),
            ...counts(),
            notification_channels: channels.list().length,
            stats: stats(),
            config: {
              evaluation_interval: config.evaluationInterval,
              escalation_timeout: config.escalationTimeout,
              max_alerts_per_metric: config.maxAlertsPerMetric,
              alert_retention_days: config.retentionDays,
              suppression_window: config.suppressionWindow,
              ml_prediction_enabled: mlEnabled(),
              anomaly_detection_enabled: true,
            },
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/stats`,
      access: 'viewer',
      tag,
      summary: 'Counters since the first start',
      data: Type.Object({ stats: StatsSchema, active_alerts: ActiveSchema, total_rules: Count, enabled_rules: Count }),
      handler: () => ({ data: { stats: stats(), active_alerts: active(), ...counts() } }),
    }),
    route({
      method: 'GET',
      path: `${base}/health`,
      access: 'viewer',
      tag,
      summary: 'Whether alerting works, and what it could not deliver',
      data: Type.Object({
        alerting_active: Type.Boolean(),
        last_evaluation: NullableTime,
        active_alerts: Count,
        enabled_rules: Count,
        notification_channels: Count,
        status: Type.Enum(['healthy', 'degraded', 'inactive']),
        problems: Type.Array(Type.String(), { description: 'A sentence for each thing that is not as it should be.' }),
        undeliverable_rules: Type.Array(RuleId, { description: 'Rules that fire and would reach nobody.' }),
      }),
      handler() {
        const { status, problems, undeliverable } = health()
        return {
          data: {
            alerting_active: engine.active,
            last_evaluation: iso(engine.lastEvaluation),
            active_alerts: active().total,
            enabled_rules: counts().enabled_rules,
            notification_channels: channels.list().length,
            status,
            problems: [...problems],
            undeliverable_rules: [...undeliverable],
          },
        }
      },
    }),
  ]
}
