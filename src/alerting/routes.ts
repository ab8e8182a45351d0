/**
 * The API of alerting (`/api/v1/intelligent-alerting`): alerts and what people do with them, rules, channels, silences,
 * deliveries. Viewers read; operators acknowledge, silence and test; admins change rules and channels.
 *
 * A write and the answer given to its `Idempotency-Key` commit in one transaction. A test sends messages, which cannot
 * be part of one: its alert is, and a repeated request reports what became of that alert's messages.
 */
import Type, { type Static } from 'typebox'
import { AppError, badRequest, conflict, type FieldError, invalid, messageOf, notFound } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { DAY, HOUR, type Millis, SECOND, toIso } from '../base/time.ts'
import type { IdempotencyClaim, Principal, Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import { canonicalName } from '../metrics/index.ts'
import { audit } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import { once } from '../storage/idempotency.ts'
import { alertmanagerRoutes } from './api-v2/routes.ts'
import type { AlertingConfig } from './config.ts'
import type { Doing, Engine } from './engine.ts'
import type { Alerting, AlertingHealth, ChannelView, Delivery, PostedAlerts } from './index.ts'
import { linkRoutes } from './link-page/routes.ts'
import { type Alert, type AlertStatus, rankOf } from './record.ts'
import { type Rule, SEVERITIES, type Severity } from './rule.ts'
import { complete, type Rules } from './rules/rules.ts'
import {
  AlertSchema,
  alertJson,
  BacktestSchema,
  backtestJson,
  ChannelChange,
  ChannelCreate,
  ChannelId,
  ChannelSchema,
  DELIVERY_STATUSES,
  DeliverySchema,
  deliveryJson,
  draftOf,
  ExplainSchema,
  explainJson,
  iso,
  NullableTime,
  patchOf,
  RuleChange,
  RuleCreate,
  RuleId,
  RuleSchema,
  ruleJson,
  SeveritySchema,
  SilenceCreate,
  SilenceSchema,
  StatusSchema,
  SuggestionSchema,
  silenceJson,
  silenceOf,
  suggestionJson,
  Time,
  TimelineSchema,
  time,
  timelineJson,
} from './schemas.ts'
import type { AlertQuery, AlertStore } from './store.ts'
import { CompiledSilence, type Silence, type SilenceState } from './suppress/silence.ts'

export interface AlertingRoutesDeps {
  readonly db: Database
  readonly engine: Engine
  readonly store: AlertStore
  readonly rules: Rules
  readonly delivery: Delivery
  readonly explain: Alerting['explain']
  readonly backtest: Alerting['backtest']
  readonly suggest: Alerting['suggest']
  readonly checkExpr: Alerting['checkExpr']
  readonly posted: PostedAlerts
  readonly scheduler: Scheduler
  readonly config: () => AlertingConfig
  readonly version: string
  readonly startedAt: Millis
  readonly health: () => AlertingHealth
  /** Whether forecasts are made: rules of the mode forecast are still without them. */
  readonly mlEnabled: () => boolean
}

const base = '/api/v1/intelligent-alerting'
const tag = 'alerting'

const Id = Type.Object({ id: Type.String({ minLength: 1, maxLength: 64 }) })
const RuleIdParam = Type.Object({ id: RuleId })
const ChannelIdParam = Type.Object({ id: ChannelId })
const Limit = Type.Integer({ minimum: 1, maximum: 1000, default: 50 })
const Cursor = Type.Optional(Type.String({ maxLength: 500 }))
const Count = Type.Integer({ minimum: 0 })
const BySeverity = Type.Object({ info: Count, warning: Count, critical: Count, emergency: Count })
const etag = (version: number) => ({ etag: `"${version}"` })

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

// --------------------------------------------------------------------------------------------------- engine

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

const sum = (bySeverity: Readonly<Record<Severity, number>>) => SEVERITIES.reduce((n, s) => n + bySeverity[s], 0)

// --------------------------------------------------------------------------------------------------- alerts

const AlertsData = Type.Object({
  alerts: Type.Array(AlertSchema),
  total_count: Type.Integer({ description: 'All that match, not the page alone.' }),
  active_count: Type.Integer({ description: 'Alerts that nobody has acknowledged and nothing hides.' }),
  counts: Type.Object(
    { active: Count, acknowledged: Count, suppressed: Count, resolved: Count, resolved_today: Count },
    { description: 'Of all alerts, whatever the filter. Today is the last 24 hours.' },
  ),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})

function alertRoutes(deps: AlertingRoutesDeps): Route[] {
  const { engine, store, rules, scheduler } = deps
  const { clock } = scheduler
  return [
    route({
      method: 'GET',
      path: `${base}/alerts`,
      access: 'viewer',
      tag,
      summary: 'Alerts, newest first, or those that need somebody first',
      query: Type.Object({
        status: Type.Optional(Type.Array(StatusSchema, { description: 'May be given several times.' })),
        severity: Type.Optional(Type.Array(SeveritySchema, { description: 'May be given several times.' })),
        rule_id: Type.Optional(Type.String({ maxLength: 250 })),
        since: Type.Optional(Time),
        until: Type.Optional(Time),
        sort: Type.Enum(['newest', 'needs_attention'], { default: 'newest' }),
        limit: Limit,
        cursor: Cursor,
      }),
      data: AlertsData,
      handler({ query }) {
        const filter = {
          ...(query.status?.length ? { statuses: unique(query.status) as AlertStatus[] } : {}),
          ...(query.severity?.length ? { severities: unique(query.severity) as Severity[] } : {}),
          ...(query.rule_id === undefined ? {} : { ruleId: query.rule_id }),
          ...period(query),
        }
        const { sort, limit } = query
        const after = query.cursor === undefined ? {} : { after: readCursor(query.cursor) }
        const found = store.list({ ...filter, sort, limit: limit + 1, ...after } as AlertQuery)
        const page = found.slice(0, limit)
        const next = found.length > limit ? writeCursor(page.at(-1)!) : null
        return {
          data: {
            alerts: page.map(alertJson),
            total_count: store.total(filter),
            active_count: sum(store.counts.active),
            counts: {
              active: sum(store.counts.active),
              acknowledged: sum(store.counts.acknowledged),
              suppressed: sum(store.counts.suppressed),
              resolved: sum(store.counts.resolved),
              resolved_today: store.resolvedSince(clock.now() - DAY),
            },
            next_cursor: next,
          },
          ...(next === null ? {} : { nextCursor: next }),
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/alerts/:id`,
      access: 'viewer',
      tag,
      summary: 'One alert with its timeline',
      params: Id,
      data: Type.Object({ ...AlertSchema.properties, timeline: Type.Array(TimelineSchema) }),
      handler({ params }) {
        const alert = mustFind(store, params.id)
        return { data: { ...alertJson(alert), timeline: store.timeline(alert.id).map(timelineJson) } }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/alerts/:id/acknowledge`,
      access: 'operator',
      tag,
      summary: 'Somebody has it: escalation and repeats stop, the alert stays in the list',
      idempotent: true,
      params: Id,
      body: Type.Object({ acknowledged_by: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })) }),
      data: AlertSchema,
      handler(request) {
        const label = request.body.acknowledged_by ?? request.principal!.name
        const alert = engine.acknowledge(request.params.id, label, doing(request))
        return { data: alertJson(alert), message: `Acknowledged by ${alert.acknowledgedBy}.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/alerts/:id/resolve`,
      access: 'operator',
      tag,
      summary: 'Ends an alert by hand; it may come back after the cooldown if the condition still holds',
      idempotent: true,
      params: Id,
      body: Type.Object({
        resolution_notes: Type.Optional(Type.String({ maxLength: 4000 })),
        false_positive: Type.Optional(
          Type.Boolean({ description: 'The verdict; it can also be given, or taken back, for a resolved alert.' }),
        ),
      }),
      data: AlertSchema,
      handler(request) {
        const { resolution_notes: notes = null, false_positive: falsePositive } = request.body
        const alert = engine.resolve(request.params.id, notes, falsePositive, doing(request))
        return { data: alertJson(alert), message: 'The alert is resolved.' }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/alerts/:id/explain`,
      access: 'viewer',
      tag,
      summary: 'Why it fired: samples, limit, what else moved, what each stage said, every delivery with its answer',
      params: Id,
      data: ExplainSchema,
      async handler({ params }) {
        const alert = mustFind(store, params.id)
        return {
          data: explainJson(
            alert,
            await deps.explain(alert),
            deps.delivery.outbox.deliveries({ alertId: alert.id, limit: 200 }),
          ),
        }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/test-alert`,
      access: 'operator',
      tag,
      summary: 'Sends a test of a rule through its channels to the providers',
      idempotent: true,
      body: Type.Object({ rule_id: RuleId }),
      data: Type.Object({
        rule_id: RuleId,
        rule_name: Type.String(),
        test_value: Type.Number(),
        threshold: Type.Number(),
        alert_id: Type.String(),
        deliveries: Type.Array(OutcomeSchema),
      }),
      async handler(request) {
        const { rule_id: id } = request.body
        const { alertId, value, deliveries, leftOut } = engine.test(id, doing(request))
        const rule = rules.get(id)
        const outcomes = await Promise.all(deliveries.map((d) => outcomeOf(deps, d.noticeId, request.signal)))
        const good = outcomes.filter(({ status }) => status === 'delivered').length
        const notSent = leftOut.map(({ id: channel, why }) => {
          return { channel_id: channel, status: 'not_sent' as const, answer: `the channel ${why}`, ms: null }
        })
        return {
          data: {
            rule_id: id,
            rule_name: rule?.name ?? id,
            test_value: value,
            threshold: rule?.threshold ?? 0,
            alert_id: alertId,
            deliveries: [...outcomes, ...notSent],
          },
          message: `${good} of ${outcomes.length} channels took the test.`,
        }
      },
    }),
  ]
}

const OutcomeSchema = Type.Object({
  channel_id: Type.String(),
  status: Type.Enum(['delivered', 'failed', 'waiting', 'not_sent'], {
    description: 'Waiting: no answer within 30 s. Not sent: the channel would not take it, `answer` says why.',
  }),
  answer: Type.String(),
  ms: Type.Union([Type.Number(), Type.Null()]),
})

const OUTCOME_EVERY_MS = 25
const OUTCOME_WITHIN_MS = 30 * SECOND

/** Waits until a notice of a test has been sent, once. */
async function outcomeOf(
  { delivery, scheduler }: AlertingRoutesDeps,
  noticeId: string,
  signal: AbortSignal,
): Promise<Static<typeof OutcomeSchema>> {
  const until = scheduler.clock.monotonic() + OUTCOME_WITHIN_MS
  for (;;) {
    const row = delivery.outbox.delivery(noticeId)
    const last = row?.attempts.at(-1)
    const channel = { channel_id: row?.notice.channelId ?? '' }
    if (row && row.status !== 'waiting') {
      const status = row.status === 'delivered' ? 'delivered' : 'failed'
      return { ...channel, status, answer: last?.answer ?? row.status, ms: last?.ms ?? null }
    }
    if (signal.aborted || scheduler.clock.monotonic() >= until) {
      return { ...channel, status: 'waiting', answer: 'no answer yet', ms: null }
    }
    await new Promise<void>((resolve) => scheduler.after(OUTCOME_EVERY_MS, resolve))
  }
}

function mustFind(store: AlertStore, id: string): Alert {
  const alert = store.get(id)
  if (!alert) throw notFound('alert_not_found', 'There is no alert of that id.')
  return alert
}

const doing = ({ principal, claim }: { principal: Principal | null; claim: IdempotencyClaim | null }): Doing => {
  return { by: principal!.name, claim }
}

const unique = <T>(values: readonly T[]): T[] => [...new Set(values)]

function period(query: { since?: string; until?: string }): { since?: Millis; until?: Millis } {
  const problems: FieldError[] = []
  const since = query.since === undefined ? {} : { since: time(query.since, 'since', problems) }
  const until = query.until === undefined ? {} : { until: time(query.until, 'until', problems) }
  if (problems.length > 0) throw invalid(problems)
  return { ...since, ...until }
}

function writeCursor(alert: Alert): string {
  return Buffer.from(`${rankOf(alert.status, alert.severity)} ${alert.triggeredAt} ${alert.id}`).toString('base64url')
}

function readCursor(text: string): AlertQuery['after'] {
  const parts = /^(\d{1,2}) (\d{1,16}) ([0-9a-z]{1,64})$/.exec(Buffer.from(text, 'base64url').toString())
  if (!parts) throw badRequest('The cursor is not one of this list.', 'cursor_unreadable')
  return { rank: Number(parts[1]), triggeredAt: Number(parts[2]), id: parts[3]! }
}

// ---------------------------------------------------------------------------------------------------- rules

function ruleRoutes(deps: AlertingRoutesDeps): Route[] {
  const { engine, rules } = deps
  const { clock } = deps.scheduler
  const mustFindRule = (id: string): Rule => {
    const rule = rules.get(id)
    if (!rule) throw notFound('rule_not_found', `There is no rule ${id}.`)
    return rule
  }
  /** Throws 422 for an expression that PromQL does not know. */
  const mustRead = async (expr: string | null | undefined) => {
    const problem = expr ? await deps.checkExpr(expr) : null
    if (problem !== null) throw invalid([{ path: 'expr', message: problem }])
  }
  return [
    route({
      method: 'GET',
      path: `${base}/rules`,
      access: 'viewer',
      tag,
      summary: 'All rules',
      query: Type.Object({ enabled_only: Type.Boolean({ default: false }) }),
      data: Type.Object({ rules: Type.Array(RuleSchema), total_count: Count }),
      handler({ query }) {
        const found = rules.all().filter((rule) => rule.enabled || !query.enabled_only)
        return { data: { rules: found.map(ruleJson), total_count: found.length } }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/rules`,
      access: 'admin',
      tag,
      summary: 'Makes a rule',
      idempotent: true,
      status: 201,
      body: RuleCreate,
      data: RuleSchema,
      async handler(request) {
        await mustRead(request.body.expr)
        const rule = engine.createRule(draftOf(request.body), doing(request))
        const message = `The rule ${rule.id} is made.`
        return { status: 201, data: ruleJson(rule), message, headers: etag(rule.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/rules/:id`,
      access: 'viewer',
      tag,
      summary: 'One rule',
      params: RuleIdParam,
      data: RuleSchema,
      handler({ params }) {
        const rule = mustFindRule(params.id)
        return { data: ruleJson(rule), headers: etag(rule.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/rules/:id/versions`,
      access: 'viewer',
      tag,
      summary: 'What a rule was, newest first',
      params: RuleIdParam,
      data: Type.Object({
        versions: Type.Array(
          Type.Object({
            version: Type.Integer(),
            at: Time,
            by: Type.String(),
            rule: Type.Union([RuleSchema, Type.Null()], { description: 'Null: deleted.' }),
          }),
        ),
      }),
      handler({ params }) {
        const versions = rules.versions(params.id)
        if (versions.length === 0) mustFindRule(params.id)
        return {
          data: {
            versions: versions.map(({ version, at, by, rule }) => {
              return { version, at: toIso(at), by, rule: rule && ruleJson(rule) }
            }),
          },
        }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/rules/:id`,
      access: 'admin',
      tag,
      summary: 'Changes fields of a rule; what it watched anew ends its alerts with the reason rule_edited',
      params: RuleIdParam,
      body: RuleChange,
      data: RuleSchema,
      async handler(request) {
        const { params, body, ifMatch } = request
        await mustRead(body.expr)
        const patch = patchOf(body, mustFindRule(params.id))
        const rule = engine.changeRule(params.id, patch, ifMatch ?? body.version ?? null, doing(request))
        return { data: ruleJson(rule), message: `The rule ${rule.id} is changed.`, headers: etag(rule.version) }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/rules/:id`,
      access: 'admin',
      tag,
      summary: 'Deletes a rule; its alerts end with that reason',
      params: RuleIdParam,
      handler(request) {
        engine.deleteRule(request.params.id, request.ifMatch, doing(request))
        return { message: `The rule ${request.params.id} is deleted.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/rules/backtest`,
      access: 'viewer',
      tag,
      summary: 'When a rule would have fired, with what notices, next to the stored rule of that id',
      body: Type.Object({
        rule: Type.Object({
          ...RuleChange.properties,
          id: Type.Optional(RuleId),
        }),
        since: Type.Optional(Time),
        until: Type.Optional(Time),
      }),
      data: BacktestSchema,
      async handler({ body, signal }) {
        await mustRead(body.rule.expr)
        const now = clock.now()
        const { since = now - 7 * DAY, until = now } = period(body)
        if (until <= since) throw invalid([{ path: 'until', message: 'must be after since' }])
        if (until - since > 35 * DAY) throw invalid([{ path: 'since', message: 'at most 35 days before until' }])
        const stored = body.rule.id === undefined ? null : rules.get(body.rule.id)
        const patch = patchOf(body.rule, stored)
        const meant: Rule = stored
          ? merged(stored, patch)
          : complete(
              {
                ...patch,
                id: body.rule.id ?? 'not-stored',
                name: body.rule.name ?? body.rule.metric_name ?? 'Not stored',
                description: body.rule.description ?? '',
                severity: body.rule.severity ?? 'warning',
              },
              now,
            )
        engine.checkRule(meant)
        return { data: backtestJson(await deps.backtest({ rule: meant, stored, since, until, signal })) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/suggested-threshold`,
      access: 'viewer',
      tag,
      summary: 'A threshold for a metric from its history, with the alerts a week to expect',
      query: Type.Object({
        metric_name: Type.String({ minLength: 1, maxLength: 200 }),
        condition: Type.Enum(['gt', 'lt'], { default: 'gt' }),
        for: Type.Number({ minimum: 0, maximum: 7 * 86_400, default: 0, description: 'Seconds.' }),
        days: Type.Integer({ minimum: 1, maximum: 35, default: 7, description: 'How far back to look.' }),
        labels: Type.Optional(Type.String({ maxLength: 4096, description: 'A JSON object, as in a rule.' })),
      }),
      data: SuggestionSchema,
      async handler({ query, signal }) {
        const wish = patchOf(
          {
            metric_name: query.metric_name,
            condition: query.condition,
            threshold: 0,
            for: query.for,
            ...readLabels(query.labels),
          },
          null,
        )
        const rule = complete(
          { ...wish, id: 'not-stored', name: 'Not stored', description: '', severity: 'warning' },
          clock.now(),
        )
        engine.checkRule(rule)
        const until = clock.now()
        const suggestion = await deps.suggest({ rule, since: until - query.days * DAY, until, signal })
        return { data: { metric_name: canonicalName(query.metric_name), ...suggestionJson(suggestion) } }
      },
    }),
  ]
}

/** As a change of the stored rule would make it. */
function merged(stored: Rule, patch: Partial<Rule>): Rule {
  const follows = patch.threshold !== undefined && patch.recoveryThreshold === undefined
  return {
    ...stored,
    ...patch,
    ...(follows && stored.recoveryThreshold === stored.threshold ? { recoveryThreshold: patch.threshold! } : {}),
    ...(patch.metricName === undefined ? {} : { metricName: canonicalName(patch.metricName) }),
  }
}

function readLabels(text: string | undefined) {
  if (text === undefined) return {}
  const wrong = () => invalid([{ path: 'labels', message: 'expected a JSON object: name → value or {"regex": …}' }])
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw wrong()
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong()
  const labels: Record<string, string | { regex: string }> = {}
  for (const [name, match] of Object.entries(value)) {
    const regex = (match as { regex?: unknown } | null)?.regex
    if (typeof match === 'string') labels[name] = match
    else if (typeof regex === 'string' && Object.keys(match as object).length === 1) labels[name] = { regex }
    else throw wrong()
  }
  return { labels }
}

// ------------------------------------------------------------------------------------------------- channels

function channelRoutes(deps: AlertingRoutesDeps): Route[] {
  const { db, delivery, scheduler } = deps
  const { channels } = delivery
  const { clock } = scheduler
  return [
    route({
      method: 'GET',
      path: `${base}/channels`,
      access: 'viewer',
      tag,
      summary: 'All channels, without secrets',
      data: Type.Object({ channels: Type.Array(ChannelSchema), total_count: Count }),
      handler() {
        const all = channels.list().map((record) => channelJson(channels.view(record)))
        return { data: { channels: all, total_count: all.length } }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/channels/:id`,
      access: 'viewer',
      tag,
      summary: 'One channel, without secrets',
      params: ChannelIdParam,
      data: ChannelSchema,
      handler({ params }) {
        const record = channels.record(params.id)
        if (!record) throw noChannel(params.id)
        return { data: channelJson(channels.view(record)), headers: etag(record.version) }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/channels`,
      access: 'admin',
      tag,
      summary: 'Makes a channel',
      idempotent: true,
      status: 201,
      body: ChannelCreate,
      data: Type.Object({
        id: ChannelId,
        name: Type.String(),
        type: Type.String(),
        enabled: Type.Boolean(),
        configured: Type.Boolean(),
        version: Type.Integer(),
      }),
      handler({ body, principal, claim }) {
        const now = clock.now()
        const deed = { who: principal!.name, now, ifMatch: null }
        const { id, name, type, config, enabled, severity_filter: severityFilter } = body
        const data = once(db, claim, now, () => {
          const made = channels.create({ id, name, type, config, enabled, severityFilter }, deed)
          return { id, name, type, enabled: made.enabled, configured: made.configured, version: made.version }
        })
        return { status: 201, data, message: `The channel ${id} is made.`, headers: etag(data.version) }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/channels/:id`,
      access: 'admin',
      tag,
      summary: 'Changes a channel; "***" keeps a secret, null takes a setting away',
      params: ChannelIdParam,
      body: ChannelChange,
      data: ChannelSchema,
      handler({ params, body, ifMatch, principal }) {
        if (body.id !== undefined && body.id !== params.id)
          throw invalid([{ path: 'id', message: 'cannot be changed' }])
        const deed = { who: principal!.name, now: clock.now(), ifMatch: ifMatch ?? body.version ?? null }
        const record = channels.update(
          params.id,
          {
            ...(body.name === undefined ? {} : { name: body.name }),
            ...(body.type === undefined ? {} : { type: body.type }),
            ...(body.config === undefined ? {} : { config: body.config }),
            ...(body.enabled === undefined ? {} : { enabled: body.enabled }),
            ...(body.severity_filter === undefined ? {} : { severityFilter: body.severity_filter }),
          },
          deed,
        )
        return {
          data: channelJson(channels.view(record)),
          message: `The channel ${params.id} is changed.`,
          headers: etag(record.version),
        }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/channels/:id`,
      access: 'admin',
      tag,
      summary: 'Deletes a channel; what waits for it is cancelled',
      params: ChannelIdParam,
      handler({ params, ifMatch, principal }) {
        const { id } = params
        const used = deps.rules.all().filter((rule) => rule.channels.includes(id))
        if (used.length > 0) {
          const names = used.slice(0, 5).map((rule) => rule.id)
          const more = used.length > names.length ? ` and ${used.length - names.length} more` : ''
          throw conflict('channel_in_use', `Rules tell the channel ${id}: ${names.join(', ')}${more}.`)
        }
        channels.remove(id, { who: principal!.name, now: clock.now(), ifMatch })
        return { message: `The channel ${id} is deleted.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/channels/:id/test`,
      access: 'operator',
      tag,
      summary: 'Sends a test message to the provider and reports its answer',
      params: ChannelIdParam,
      data: OutcomeSchema,
      async handler({ params, principal }) {
        if (!channels.record(params.id)) throw noChannel(params.id)
        audit(db, clock.now(), { who: principal!.name, deed: 'channel.tested', what: params.id })
        const outcome = await delivery.testChannel(params.id)
        const words = outcome.status === 'delivered' ? 'took the test' : 'did not take the test'
        return { data: { ...outcome }, message: `The channel ${params.id} ${words}.` }
      },
    }),
  ]
}

const noChannel = (id: string) => notFound('channel_not_found', `There is no channel ${id}.`)

const channelJson = (view: ChannelView): Static<typeof ChannelSchema> => ({
  ...view,
  config: { ...view.config },
  missing: [...view.missing],
  severity_filter: [...view.severity_filter],
})

// ------------------------------------------------------------------------------------------------- silences

const HID_SHOWN = 10

function silenceRoutes({ engine, store, scheduler }: AlertingRoutesDeps): Route[] {
  const { clock } = scheduler
  const json = ({ silence, state }: { silence: Silence; state: SilenceState }) =>
    silenceJson(silence, state, {
      ...store.hiddenCounts(silence.id),
      alerts: store.hidden(silence.id, HID_SHOWN).flatMap(({ alertId, at }) => {
        const alert = store.get(alertId)
        return alert ? [{ alert, at }] : []
      }),
    })
  const find = (id: string): CompiledSilence => {
    const compiled = engine.silence(id)
    if (!compiled) throw notFound('silence_not_found', 'There is no silence of that id.')
    return compiled
  }
  const show = (compiled: CompiledSilence) => json({ silence: compiled.silence, state: compiled.state(clock.now()) })
  return [
    route({
      method: 'GET',
      path: `${base}/silences`,
      access: 'viewer',
      tag,
      summary: 'Silences, newest first, with what they hid',
      query: Type.Object({
        state: Type.Optional(Type.Array(Type.Enum(['pending', 'active', 'expired']))),
        limit: Limit,
        cursor: Cursor,
      }),
      data: Type.Object({
        silences: Type.Array(SilenceSchema),
        total_count: Count,
        next_cursor: Type.Union([Type.String(), Type.Null()]),
      }),
      handler({ query }) {
        const now = clock.now()
        const all = engine
          .silences()
          .map((silence) => ({ silence, state: engine.silence(silence.id)!.state(now) }))
          .filter(({ state }) => query.state === undefined || query.state.includes(state))
          .sort((a, b) => (a.silence.id < b.silence.id ? 1 : -1))
        const rest = query.cursor === undefined ? all : all.filter(({ silence }) => silence.id < query.cursor!)
        const page = rest.slice(0, query.limit)
        const next = rest.length > page.length ? page.at(-1)!.silence.id : null
        return {
          data: { silences: page.map(json), total_count: all.length, next_cursor: next },
          ...(next === null ? {} : { nextCursor: next }),
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/silences/:id`,
      access: 'viewer',
      tag,
      summary: 'One silence, with what it hid',
      params: Id,
      data: SilenceSchema,
      handler({ params }) {
        const compiled = find(params.id)
        return { data: show(compiled), headers: etag(compiled.silence.version) }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/silences`,
      access: 'operator',
      tag,
      summary: 'Silences what matches: shown as suppressed, nobody is told',
      idempotent: true,
      status: 201,
      body: SilenceCreate,
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const by = request.principal!.name
        const wish = silenceOf(request.body, now)
        const stamps = { createdBy: by, createdAt: now, updatedAt: now, endedAt: null }
        const silence = checkedSilence({ id: newId(now), version: 1, ...wish, ...stamps })
        const made = engine.putSilence(silence, 'silence.created', doing(request))
        return { status: 201, data: show(find(made.id)), message: 'The silence is made.', headers: etag(made.version) }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/silences/:id`,
      access: 'operator',
      tag,
      summary: 'Changes a silence that has not ended',
      params: Id,
      body: Type.Object({ ...SilenceCreate.properties, version: Type.Optional(Type.Integer({ minimum: 0 })) }),
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const { version, ...body } = request.body
        const compiled = mustBeAt(find(request.params.id), request.ifMatch ?? version ?? null, now)
        const { silence: before } = compiled
        const wish = silenceOf(
          body.starts_at === undefined ? { ...body, starts_at: toIso(before.startsAt) } : body,
          now,
        )
        const changed = checkedSilence({ ...before, ...wish, version: before.version + 1, updatedAt: now })
        engine.putSilence(changed, 'silence.changed', doing(request))
        return { data: show(find(before.id)), message: 'The silence is changed.', headers: etag(changed.version) }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/silences/:id`,
      access: 'operator',
      tag,
      summary: 'Ends a silence; what it hid and still fires is told',
      params: Id,
      data: SilenceSchema,
      handler(request) {
        const now = clock.now()
        const { silence } = mustBeAt(find(request.params.id), request.ifMatch, now)
        const ended = { ...silence, version: silence.version + 1, updatedAt: now, endedAt: now }
        engine.putSilence(ended, 'silence.ended', doing(request))
        return { data: show(find(silence.id)), message: 'The silence has ended.' }
      },
    }),
  ]
}

function mustBeAt(compiled: CompiledSilence, version: number | null, now: Millis): CompiledSilence {
  const { silence } = compiled
  if (version !== null && version !== silence.version) {
    throw new AppError(412, 'version_stale', `The silence is at version ${silence.version} by now.`)
  }
  if (compiled.state(now) === 'expired') throw conflict('silence_ended', 'The silence has ended already.')
  return compiled
}

/** Throws 422 for a pattern, a schedule or a time zone that is none. */
function checkedSilence(silence: Silence): Silence {
  try {
    new CompiledSilence(silence).state(silence.startsAt)
    return silence
  } catch (error) {
    throw invalid([{ path: silence.schedule ? 'schedule' : 'matchers', message: messageOf(error) }])
  }
}

// ----------------------------------------------------------------------------------------------- deliveries

function deliveryRoutes({ delivery }: AlertingRoutesDeps): Route[] {
  const { outbox } = delivery
  return [
    route({
      method: 'GET',
      path: `${base}/deliveries`,
      access: 'viewer',
      tag,
      summary: 'The outbox, newest first: each attempt, its answer, the next try',
      query: Type.Object({
        alert_id: Type.Optional(Type.String({ maxLength: 64 })),
        channel_id: Type.Optional(Type.String({ maxLength: 64 })),
        status: Type.Optional(Type.Enum([...DELIVERY_STATUSES])),
        limit: Limit,
        cursor: Cursor,
      }),
      data: Type.Object({
        deliveries: Type.Array(DeliverySchema),
        waiting: Count,
        oldest_waiting_at: NullableTime,
        resting: Type.Array(Type.Object({ channel_id: Type.String(), next_try_at: Time, failing: Type.Boolean() }), {
          description: 'Channels that are tried seldom because they failed, or that asked for patience.',
        }),
        next_cursor: Type.Union([Type.String(), Type.Null()]),
      }),
      handler({ query }) {
        const { alert_id: alertId, channel_id: channelId, status, limit, cursor } = query
        if (cursor !== undefined && !/^\d{1,15}$/.test(cursor)) {
          throw badRequest('The cursor is not one of this list.', 'cursor_unreadable')
        }
        const found = outbox.deliveries({
          ...(alertId === undefined ? {} : { alertId }),
          ...(channelId === undefined ? {} : { channelId }),
          ...(status === undefined ? {} : { status }),
          ...(cursor === undefined ? {} : { before: Number(cursor) }),
          limit: limit + 1,
        })
        const page = found.slice(0, limit)
        const next = found.length > limit ? String(page.at(-1)!.seq) : null
        const { waiting, oldestAt, resting } = outbox.state()
        return {
          data: {
            deliveries: page.map(deliveryJson),
            waiting,
            oldest_waiting_at: iso(oldestAt),
            resting: resting.map(({ channelId, nextTryAt, failing }) => {
              return { channel_id: channelId, next_try_at: toIso(nextTryAt), failing }
            }),
            next_cursor: next,
          },
          ...(next === null ? {} : { nextCursor: next }),
        }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/deliveries/:id/retry`,
      access: 'operator',
      tag,
      summary: 'A dead letter is tried again, under the same delivery id',
      params: Id,
      data: DeliverySchema,
      handler({ params }) {
        const delivery = outbox.delivery(params.id)
        if (!delivery) throw notFound('delivery_not_found', 'There is no delivery of that id.')
        if (!outbox.retry(params.id)) {
          throw conflict('delivery_not_dead', `The delivery is ${delivery.status}; only dead ones can be tried again.`)
        }
        return { data: deliveryJson(outbox.delivery(params.id)!), message: 'It is tried again.' }
      },
    }),
  ]
}
