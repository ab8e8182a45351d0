/** Alerts and what people do with them. */
import Type from 'typebox'
import { badRequest, notFound } from '../../base/errors.ts'
import { DAY } from '../../base/time.ts'
import type { Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { type Alert, type AlertStatus, rankOf } from '../record.ts'
import type { Severity } from '../rule.ts'
import {
  AlertSchema,
  alertJson,
  ExplainSchema,
  explainJson,
  RuleId,
  SeveritySchema,
  StatusSchema,
  Time,
  TimelineSchema,
  timelineJson,
} from '../schemas.ts'
import type { AlertQuery, AlertStore } from '../store.ts'
import { type AlertingRoutesDeps, base, Count, Cursor, doing, Id, Limit, period, sum, tag, unique } from '../surface.ts'
import { OutcomeSchema, outcomeOf } from './outcome.ts'

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

export function alertRoutes(deps: AlertingRoutesDeps): Route[] {
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

function mustFind(store: AlertStore, id: string): Alert {
  const alert = store.get(id)
  if (!alert) throw notFound('alert_not_found', 'There is no alert of that id.')
  return alert
}

function writeCursor(alert: Alert): string {
  return Buffer.from(`${rankOf(alert.status, alert.severity)} ${alert.triggeredAt} ${alert.id}`).toString('base64url')
}

function readCursor(text: string): AlertQuery['after'] {
  const parts = /^(\d{1,2}) (\d{1,16}) ([0-9a-z]{1,64})$/.exec(Buffer.from(text, 'base64url').toString())
  if (!parts) throw badRequest('The cursor is not one of this list.', 'cursor_unreadable')
  return { rank: Number(parts[1]), triggeredAt: Number(parts[2]), id: parts[3]! }
}
