/**
 * The contract's JSON of alerting: schemas that validate and document, and the way from the room's values to them and
 * back. Durations are seconds there and milliseconds here; times are ISO 8601 there and milliseconds here.
 */
import Type, { type Static } from 'typebox'
import { type FieldError, invalid } from '../base/errors.ts'
import { fromIso, type Millis, SECOND, toIso } from '../base/time.ts'
import { knownMetric, toObject } from '../metrics/index.ts'
import type { Backtest, RuleOutcome, Suggestion } from './backtest.ts'
import { CHANNEL_TYPES } from './channels/channel.ts'
import type { Explanation } from './explain.ts'
import type { DeliveryStatus, Notice } from './notice.ts'
import { ALERT_STATUSES, type Alert, type TimelineEntry } from './record.ts'
import { CONDITIONS, type Rule, SEVERITIES } from './rule.ts'
import type { RuleDraft, RulePatch } from './rules/rules.ts'
import type { Silence, SilenceMatcher, SilenceSchedule, SilenceState } from './suppress/silence.ts'

export const Time = Type.String({ format: 'date-time' })
export const NullableTime = Type.Union([Time, Type.Null()])
const NullableNumber = Type.Union([Type.Number(), Type.Null()])
const NullableText = Type.Union([Type.String(), Type.Null()])
const line = (most: number) => Type.String({ maxLength: most, pattern: '^[^\\x00-\\x1f\\x7f]*$' })
const name = (most: number) => Type.String({ minLength: 1, maxLength: most, pattern: '^[^\\x00-\\x1f\\x7f]*$' })
const Seconds = (most: number, description = 'Seconds.') => Type.Number({ minimum: 0, maximum: most, description })

export const RuleId = Type.String({ pattern: '^[a-z0-9_-]{1,64}$' })
export const SeveritySchema = Type.Enum([...SEVERITIES])
export const StatusSchema = Type.Enum([...ALERT_STATUSES])
const LabelName = Type.String({ pattern: '^[a-zA-Z_][a-zA-Z0-9_.]{0,199}$' })

// ---------------------------------------------------------------------------------------------------- rules

const DAY_S = 86_400
const NO_DATA = ['keep', 'alert', 'resolve'] as const
const MODES = ['threshold', 'anomaly', 'forecast'] as const
const Mode = Type.Enum([...MODES])
const LabelsOfRule = Type.Record(
  Type.String(),
  Type.Union([
    Type.String({ maxLength: 1024 }),
    Type.Object({ regex: Type.String({ minLength: 1, maxLength: 1024 }) }),
  ]),
  { maxProperties: 20, description: 'Which series: name → value, or {"regex": …}, anchored at both ends.' },
)
const Texts = Type.Record(Type.String(), Type.String({ maxLength: 4096 }), { maxProperties: 30 })

/** Fields of a rule that somebody may set, besides its id. */
const ruleFields = {
  name: name(200),
  description: Type.String({ maxLength: 2000 }),
  metric_name: Type.String({ maxLength: 200, pattern: '^[a-zA-Z0-9_.:-]*$' }),
  labels: LabelsOfRule,
  condition: Type.Enum([...CONDITIONS]),
  threshold: Type.Number(),
  severity: SeveritySchema,
  notification_channels: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 50 }),
  enabled: Type.Boolean(),
  cooldown_period: Seconds(30 * DAY_S),
  tags: Type.Array(name(100), { maxItems: 50 }),
  suppression_rules: Type.Array(RuleId, { maxItems: 50 }),
  for: Seconds(7 * DAY_S, 'Seconds that the condition must hold.'),
  recovery_threshold: Type.Union([Type.Number(), Type.Null()]),
  recover_for: Seconds(7 * DAY_S),
  no_data: Type.Enum([...NO_DATA]),
  mode: Mode,
  horizon: Type.Union([Type.Integer({ minimum: 1, maximum: 1440 }), Type.Null()], {
    description: 'Minutes ahead, for the mode forecast.',
  }),
  expr: Type.Union([Type.String({ minLength: 1, maxLength: 10_000 }), Type.Null()], {
    description: 'A PromQL expression instead of metric and condition: each series of its result is in breach.',
  }),
  window: Type.Number({ minimum: 10, maximum: DAY_S, description: 'Seconds, for change_rate.' }),
  runbook_url: Type.Union([Type.String({ maxLength: 2048, pattern: '^https?://[^\\s]+$' }), Type.Null()]),
  owner: Type.Union([line(200), Type.Null()]),
  provenance: Type.Enum(['default', 'file', 'api', 'ui']),
  extra_labels: Texts,
  annotations: Texts,
}

export const RuleSchema = Type.Object({
  id: RuleId,
  ...ruleFields,
  recovery_threshold: Type.Number(),
  mode: Type.Enum([...MODES, 'expr']),
  unit: Type.String(),
  created_at: Time,
  version: Type.Integer(),
})

const optional = (fields: typeof ruleFields) =>
  Object.fromEntries(Object.entries(fields).map(([key, schema]) => [key, Type.Optional(schema)])) as {
    [K in keyof typeof ruleFields]: ReturnType<typeof Type.Optional<(typeof ruleFields)[K]>>
  }
/** What a client read may be sent back: these are taken and mean nothing. */
const readOnly = {
  created_at: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
  unit: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
}
const Version = Type.Optional(Type.Integer({ minimum: 0, description: 'As If-Match.' }))
const WriteMode = Type.Optional(Type.Enum([...MODES, 'expr']))

export const RuleCreate = Type.Object({
  ...optional(ruleFields),
  ...readOnly,
  id: RuleId,
  name: ruleFields.name,
  description: ruleFields.description,
  severity: ruleFields.severity,
  mode: WriteMode,
  version: Version,
})
export const RuleChange = Type.Object({
  ...optional(ruleFields),
  ...readOnly,
  id: Type.Optional(RuleId),
  mode: WriteMode,
  version: Version,
})
type RuleBody = Static<typeof RuleChange>

export function ruleJson(rule: Rule): Static<typeof RuleSchema> {
  const { source } = rule
  return {
    id: rule.id,
    name: rule.name,
    description: rule.description,
    metric_name: rule.metricName,
    labels: Object.fromEntries(
      rule.labels.map(({ name, equals, regex }) => [name, regex === undefined ? (equals ?? '') : { regex }]),
    ),
    condition: rule.condition,
    threshold: rule.threshold,
    severity: rule.severity,
    notification_channels: [...rule.channels],
    enabled: rule.enabled,
    cooldown_period: rule.cooldownMs / SECOND,
    tags: [...rule.tags],
    suppression_rules: [...rule.suppressedBy],
    for: rule.forMs / SECOND,
    recovery_threshold: rule.recoveryThreshold,
    recover_for: rule.recoverForMs / SECOND,
    no_data: rule.noData,
    mode: source.kind,
    horizon: source.kind === 'forecast' ? source.horizonMinutes : null,
    expr: source.kind === 'expr' ? source.expr : null,
    window: rule.windowMs / SECOND,
    runbook_url: rule.runbookUrl,
    owner: rule.owner,
    provenance: rule.provenance,
    extra_labels: { ...rule.extraLabels },
    annotations: { ...rule.annotations },
    unit: unitOf(rule.metricName),
    created_at: toIso(rule.createdAt),
    version: rule.version,
  }
}

export const unitOf = (metricName: string): string => knownMetric(metricName)?.unit ?? ''

const ms = (seconds: number) => Math.round(seconds * SECOND)

/**
 * What the fields of a body mean. `before`: the rule that they change; fields that are not given stay. Throws 422 where
 * two fields contradict each other.
 */
export function patchOf(body: RuleBody, before: Rule | null): RulePatch {
  const problems: FieldError[] = []
  const out: Record<string, unknown> = {}
  const put = <K extends keyof RuleBody>(
    field: K,
    key: keyof Rule,
    turn: (value: NonNullable<RuleBody[K]>) => unknown = (v) => v,
  ) => {
    const value = body[field]
    if (value !== undefined && value !== null) out[key] = turn(value as NonNullable<RuleBody[K]>)
  }
  put('name', 'name')
  put('description', 'description')
  put('metric_name', 'metricName')
  put('labels', 'labels', (labels) =>
    Object.entries(labels).map(([name, match]) =>
      typeof match === 'string' ? { name, equals: match } : { name, regex: match.regex },
    ),
  )
  put('condition', 'condition')
  put('threshold', 'threshold')
  put('severity', 'severity')
  put('notification_channels', 'channels', (ids) => [...new Set(ids)])
  put('enabled', 'enabled')
  put('cooldown_period', 'cooldownMs', ms)
  put('tags', 'tags', (tags) => [...new Set(tags)])
  put('suppression_rules', 'suppressedBy', (ids) => [...new Set(ids)])
  put('for', 'forMs', ms)
  put('recover_for', 'recoverForMs', ms)
  put('no_data', 'noData')
  put('window', 'windowMs', ms)
  put('extra_labels', 'extraLabels')
  put('annotations', 'annotations')
  if (body.runbook_url !== undefined) out.runbookUrl = body.runbook_url
  if (body.owner !== undefined) out.owner = body.owner
  if (body.provenance === 'ui' || body.provenance === 'api') out.provenance = body.provenance
  for (const label of Object.keys(body.labels ?? {})) {
    if (!/^[a-zA-Z_][a-zA-Z0-9_.]*$/.test(label))
      problems.push({ path: `labels.${label}`, message: 'is no label name' })
  }

  const source = sourceOf(body, before, problems)
  if (source !== null) out.source = source
  const kind = (source ?? before?.source)?.kind ?? 'threshold'
  if (before === null) {
    if (kind !== 'expr') {
      const needed =
        kind === 'anomaly' ? (['metric_name'] as const) : (['metric_name', 'condition', 'threshold'] as const)
      for (const field of needed) if (body[field] === undefined) problems.push({ path: field, message: 'is required' })
    }
  } else if (body.id !== undefined && body.id !== before.id) {
    problems.push({ path: 'id', message: 'cannot be changed' })
  }
  if (kind === 'expr' && out.metricName === undefined && before?.metricName) out.metricName = ''
  // Null: no hysteresis, whatever the threshold is or becomes.
  if (typeof body.recovery_threshold === 'number') out.recoveryThreshold = body.recovery_threshold
  else if (body.recovery_threshold === null) out.recoveryThreshold = body.threshold ?? before?.threshold ?? 0
  if (problems.length > 0) throw invalid(problems)
  return out as RulePatch
}

function sourceOf(body: RuleBody, before: Rule | null, problems: FieldError[]): Rule['source'] | null {
  const { mode, horizon, expr } = body
  if (mode === undefined && horizon == null && expr == null) return null
  const stands = before?.source
  const kind = mode ?? (expr == null ? (horizon == null ? stands?.kind : 'forecast') : 'expr') ?? 'threshold'
  if (expr != null && kind !== 'expr') {
    problems.push({ path: 'expr', message: `contradicts the mode ${kind}` })
    return null
  }
  if (horizon != null && kind !== 'forecast') {
    problems.push({ path: 'horizon', message: `contradicts the mode ${kind}` })
    return null
  }
  switch (kind) {
    case 'expr': {
      const text = expr ?? (stands?.kind === 'expr' ? stands.expr : null)
      if (text === null) problems.push({ path: 'expr', message: 'is required' })
      return { kind, expr: text ?? '' }
    }
    case 'forecast':
      return { kind, horizonMinutes: horizon ?? (stands?.kind === 'forecast' ? stands.horizonMinutes : 30) }
    default:
      return { kind }
  }
}

export function draftOf(body: Static<typeof RuleCreate>): RuleDraft {
  return {
    ...patchOf(body, null),
    id: body.id,
    name: body.name,
    description: body.description,
    severity: body.severity,
  }
}

// --------------------------------------------------------------------------------------------------- alerts

export const AlertSchema = Type.Object({
  id: Type.String(),
  rule_id: Type.String(),
  title: Type.String(),
  message: Type.String(),
  severity: SeveritySchema,
  status: StatusSchema,
  metric_name: Type.String(),
  labels: Type.Record(Type.String(), Type.String()),
  unit: Type.String(),
  current_value: NullableNumber,
  threshold_value: NullableNumber,
  clears_below: NullableNumber,
  clears_above: NullableNumber,
  since: Type.String({ format: 'date-time', description: 'When the breach began.' }),
  triggered_at: Time,
  acknowledged_at: NullableTime,
  resolved_at: NullableTime,
  acknowledged_by: NullableText,
  resolution: Type.Union([Type.String(), Type.Null()], {
    description: 'Why it ended: `recovered`, `resolved_by_hand`.',
  }),
  resolution_notes: NullableText,
  false_positive: Type.Boolean(),
  metadata: Type.Object({ rule_name: Type.String(), condition: Type.String(), tags: Type.Array(Type.String()) }),
  is_test: Type.Boolean(),
  escalation_level: Type.Integer(),
  next_escalation_at: NullableTime,
  flapping: Type.Boolean(),
  suppressed_by: Type.Union([Type.String(), Type.Null()], { description: '`rule:<id>` or `silence:<id>`.' }),
  peak_value: NullableNumber,
  notifications: Type.Array(Type.String(), { description: 'Channels that were told.' }),
  group_key: NullableText,
  runbook_url: NullableText,
  owner: NullableText,
  annotations: Type.Record(Type.String(), Type.String()),
})
export type AlertJson = Static<typeof AlertSchema>

export function alertJson(alert: Alert): AlertJson {
  const { facts } = alert
  const { recoveryThreshold } = facts
  const below = facts.condition === 'lt' || facts.condition === 'lte'
  const hasLimit = facts.source.kind === 'threshold' && facts.condition !== 'eq' && facts.condition !== 'change_rate'
  return {
    id: alert.id,
    rule_id: alert.ruleId,
    title: alert.title,
    message: alert.message,
    severity: alert.severity,
    status: alert.status,
    metric_name: alert.metricName,
    labels: labelsJson(alert),
    unit: facts.unit,
    current_value: alert.value,
    threshold_value: alert.threshold,
    clears_below: hasLimit && !below ? recoveryThreshold : null,
    clears_above: hasLimit && below ? recoveryThreshold : null,
    since: toIso(alert.since),
    triggered_at: toIso(alert.triggeredAt),
    acknowledged_at: iso(alert.acknowledgedAt),
    resolved_at: iso(alert.resolvedAt),
    acknowledged_by: alert.acknowledgedBy,
    resolution: alert.resolution,
    resolution_notes: alert.notes,
    false_positive: alert.falsePositive,
    metadata: { rule_name: facts.ruleName, condition: facts.condition, tags: [...facts.tags] },
    is_test: alert.isTest,
    escalation_level: alert.level,
    next_escalation_at: iso(alert.escalateAt),
    flapping: alert.flapping,
    suppressed_by: alert.suppressedBy,
    peak_value: alert.peak,
    notifications: [...alert.told.channels],
    group_key: alert.groupKey,
    runbook_url: facts.runbookUrl,
    owner: facts.owner,
    annotations: { ...facts.annotations },
  }
}

/** As the dashboard's messages have it. */
export function dashboardAlert(alert: Alert) {
  const json = alertJson(alert)
  return {
    id: json.id,
    rule_id: json.rule_id,
    severity: alert.severity,
    title: json.title,
    message: json.message,
    timestamp: json.triggered_at,
    status: alert.status === 'acknowledged' ? ('acknowledged' as const) : ('active' as const),
    metric_name: json.metric_name,
    unit: json.unit,
    current_value: json.current_value,
    threshold_value: json.threshold_value,
    acknowledged_by: json.acknowledged_by,
    acknowledged_at: json.acknowledged_at,
    next_escalation_at: json.next_escalation_at,
    clears_below: json.clears_below,
    clears_above: json.clears_above,
    flapping: json.flapping,
  }
}

/** Labels of the series and of the rule, without the metric's name. */
function labelsJson({ labels, facts }: Alert): Record<string, string> {
  return { ...toObject(labels), ...facts.extraLabels }
}

export const iso = (at: Millis | null): string | null => (at === null ? null : toIso(at))

export const TimelineSchema = Type.Object({
  at: Time,
  kind: Type.String(),
  detail: Type.Record(Type.String(), Type.Unknown()),
})
export const timelineJson = ({ at, kind, detail }: TimelineEntry) => ({ at: toIso(at), kind, detail: { ...detail } })

// ------------------------------------------------------------------------------------------------- channels

export const ChannelId = Type.String({ pattern: '^[a-z0-9_-]{1,64}$' })
const ChannelConfig = Type.Record(Type.String(), Type.Unknown(), {
  maxProperties: 50,
  description: 'By type; secrets are "***" when read, and stay as they are when "***" is sent back.',
})
export const ChannelSchema = Type.Object({
  id: ChannelId,
  name: Type.String(),
  type: Type.Enum([...CHANNEL_TYPES]),
  config: ChannelConfig,
  enabled: Type.Boolean(),
  severity_filter: Type.Array(SeveritySchema),
  configured: Type.Boolean(),
  missing: Type.Array(Type.String(), { description: 'Settings that are still needed.' }),
  last_success_at: NullableTime,
  last_error: NullableText,
  version: Type.Integer(),
})
const SeverityFilter = Type.Array(SeveritySchema, { maxItems: SEVERITIES.length, description: 'Empty: all.' })
const readOnlyOfChannel = {
  configured: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
  missing: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
  last_success_at: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
  last_error: Type.Optional(Type.Unknown({ description: 'Read-only.' })),
}
export const ChannelCreate = Type.Object({
  ...readOnlyOfChannel,
  id: ChannelId,
  name: name(200),
  type: Type.Enum([...CHANNEL_TYPES]),
  config: ChannelConfig,
  enabled: Type.Boolean({ default: true }),
  severity_filter: Type.Array(SeveritySchema, { maxItems: SEVERITIES.length, description: 'Empty: all.', default: [] }),
  version: Version,
})
export const ChannelChange = Type.Object({
  ...readOnlyOfChannel,
  id: Type.Optional(ChannelId),
  name: Type.Optional(name(200)),
  type: Type.Optional(Type.Enum([...CHANNEL_TYPES])),
  config: Type.Optional(ChannelConfig),
  enabled: Type.Optional(Type.Boolean()),
  severity_filter: Type.Optional(SeverityFilter),
  version: Version,
})

// ------------------------------------------------------------------------------------------------- silences

const Matcher = Type.Object({
  name: LabelName,
  value: Type.String({ maxLength: 1024 }),
  is_regex: Type.Boolean({ default: false }),
  is_equal: Type.Boolean({ default: true }),
})
const Schedule = Type.Object({
  cron: Type.String({ minLength: 9, maxLength: 200, description: 'Five fields; each start begins a silence.' }),
  duration: Type.Number({ minimum: 60, maximum: 7 * DAY_S, description: 'Seconds.' }),
  time_zone: Type.String({ minLength: 1, maxLength: 64, default: 'UTC' }),
})
export const SilenceCreate = Type.Object({
  matchers: Type.Array(Matcher, {
    minItems: 1,
    maxItems: 30,
    description: 'All have to match a label, or alertname, rule_id, metric_name, severity.',
  }),
  starts_at: Type.Optional(Time),
  ends_at: Type.Optional(NullableTime),
  schedule: Type.Optional(Type.Union([Schedule, Type.Null()])),
  until_resolved: Type.Boolean({ default: false }),
  comment: Type.String({ minLength: 1, maxLength: 1000 }),
})
export const SilenceSchema = Type.Object({
  id: Type.String(),
  version: Type.Integer(),
  state: Type.Enum(['pending', 'active', 'expired']),
  matchers: Type.Array(
    Type.Object({ name: Type.String(), value: Type.String(), is_regex: Type.Boolean(), is_equal: Type.Boolean() }),
  ),
  starts_at: Time,
  ends_at: NullableTime,
  schedule: Type.Union([
    Type.Object({ cron: Type.String(), duration: Type.Number(), time_zone: Type.String() }),
    Type.Null(),
  ]),
  until_resolved: Type.Boolean(),
  comment: Type.String(),
  created_by: Type.String(),
  created_at: Time,
  updated_at: Time,
  ended_at: NullableTime,
  hidden: Type.Object(
    {
      total: Type.Integer(),
      open: Type.Integer(),
      alerts: Type.Array(Type.Object({ id: Type.String(), title: Type.String(), status: StatusSchema, at: Time })),
    },
    { description: 'What it hid: counts, and the latest few.' },
  ),
})

export interface SilenceHid {
  readonly total: number
  readonly open: number
  readonly alerts: readonly { readonly alert: Alert; readonly at: Millis }[]
}

export function silenceJson(silence: Silence, state: SilenceState, hid: SilenceHid): Static<typeof SilenceSchema> {
  return {
    id: silence.id,
    version: silence.version,
    state,
    matchers: silence.matchers.map((m) => ({ name: m.name, value: m.value, is_regex: m.isRegex, is_equal: m.isEqual })),
    starts_at: toIso(silence.startsAt),
    ends_at: iso(silence.endsAt),
    schedule: silence.schedule && {
      cron: silence.schedule.cron,
      duration: silence.schedule.durationMs / SECOND,
      time_zone: silence.schedule.timeZone,
    },
    until_resolved: silence.untilResolved,
    comment: silence.comment,
    created_by: silence.createdBy,
    created_at: toIso(silence.createdAt),
    updated_at: toIso(silence.updatedAt),
    ended_at: iso(silence.endedAt),
    hidden: {
      total: hid.total,
      open: hid.open,
      alerts: hid.alerts.map(({ alert, at }) => ({
        id: alert.id,
        title: alert.title,
        status: alert.status,
        at: toIso(at),
      })),
    },
  }
}

export interface SilenceWish {
  readonly matchers: readonly SilenceMatcher[]
  readonly startsAt: Millis
  readonly endsAt: Millis | null
  readonly schedule: SilenceSchedule | null
  readonly untilResolved: boolean
  readonly comment: string
}

/** Throws 422 for a silence that would never begin, never end, or hide everything. */
export function silenceOf(body: Static<typeof SilenceCreate>, now: Millis): SilenceWish {
  const problems: FieldError[] = []
  const startsAt = body.starts_at === undefined ? now : time(body.starts_at, 'starts_at', problems)
  const endsAt = body.ends_at == null ? null : time(body.ends_at, 'ends_at', problems)
  const { schedule = null, until_resolved: untilResolved, comment } = body
  if (endsAt !== null && endsAt <= Math.max(startsAt, now)) {
    problems.push({ path: 'ends_at', message: endsAt <= now ? 'is in the past' : 'must be after starts_at' })
  }
  if (endsAt === null && schedule === null && !untilResolved) {
    problems.push({ path: 'ends_at', message: 'is required, or schedule, or until_resolved' })
  }
  if (untilResolved && schedule !== null) problems.push({ path: 'schedule', message: 'contradicts until_resolved' })
  if (problems.length > 0) throw invalid(problems)
  return {
    matchers: body.matchers.map((m) => ({ name: m.name, value: m.value, isRegex: m.is_regex, isEqual: m.is_equal })),
    startsAt,
    endsAt,
    schedule: schedule && { cron: schedule.cron, durationMs: ms(schedule.duration), timeZone: schedule.time_zone },
    untilResolved,
    comment,
  }
}

/** Reads a time of a body; a problem and 0 where it is none. */
export function time(text: string, path: string, problems: FieldError[]): Millis {
  const at = fromIso(text)
  if (at === null) problems.push({ path, message: 'expected an ISO 8601 time with a zone' })
  return at ?? 0
}

// ----------------------------------------------------------------------------------------------- deliveries

export const DELIVERY_STATUSES = ['waiting', 'delivered', 'dead', 'cancelled'] as const satisfies DeliveryStatus[]
export const DeliverySchema = Type.Object({
  id: Type.String({ description: 'The delivery_id that the receiver sees.' }),
  channel_id: Type.String(),
  event: Type.String(),
  alert_ids: Type.Array(Type.String()),
  title: Type.String(),
  count: Type.Integer(),
  severity: Type.Union([SeveritySchema, Type.Null()]),
  is_test: Type.Boolean(),
  status: Type.Enum([...DELIVERY_STATUSES]),
  attempts: Type.Array(Type.Object({ at: Time, ms: Type.Number(), ok: Type.Boolean(), answer: Type.String() })),
  next_at: NullableTime,
  created_at: Time,
})
export type DeliveryJson = Static<typeof DeliverySchema>

export interface DeliveryLike {
  readonly notice: Notice
  readonly status: DeliveryStatus
  readonly attempts: readonly {
    readonly at: Millis
    readonly ms: number
    readonly ok: boolean
    readonly answer: string
  }[]
  readonly nextAt: Millis | null
}

export function deliveryJson({ notice, status, attempts, nextAt }: DeliveryLike): DeliveryJson {
  return {
    id: notice.id,
    channel_id: notice.channelId,
    event: notice.event,
    alert_ids: notice.alerts.map((alert) => alert.alertId),
    title: notice.alerts[0]?.title ?? '',
    count: notice.count,
    severity: notice.alerts[0]?.severity ?? null,
    is_test: notice.isTest,
    status,
    attempts: attempts.map((attempt) => ({ ...attempt, at: toIso(attempt.at) })),
    next_at: iso(nextAt),
    created_at: toIso(notice.createdAt),
  }
}

// ------------------------------------------------------------------------------------------ why, what if

const Labels = Type.Record(Type.String(), Type.String())
const Point = Type.Object({ t: Time, v: Type.Number() })
const Check = Type.Object({ stage: Type.String(), passed: Type.Boolean(), reason: Type.String() })

export const ExplainSchema = Type.Object({
  alert: AlertSchema,
  summary: Type.String({ description: 'One sentence: what held, for how long, against which limit.' }),
  rule: Type.Union([RuleSchema, Type.Null()], { description: 'As it was when the alert opened.' }),
  samples: Type.Array(Point),
  samples_complete: Type.Boolean({ description: 'False: only the lowest and highest of each stretch are listed.' }),
  threshold: NullableNumber,
  since: Time,
  fired_at: Time,
  duration: Type.Number({ description: 'Seconds for which the breach had lasted when it fired.' }),
  checks: Type.Array(Check, { description: 'What each stage said when it fired.' }),
  decisions: Type.Array(Type.Object({ at: Time, event: Type.String(), checks: Type.Array(Check) })),
  correlated: Type.Array(
    Type.Object({
      metric_name: Type.String(),
      labels: Labels,
      started_at: Time,
      seconds_before: Type.Number({ description: 'Before the breach began; negative after it.' }),
      strength: Type.Number({ minimum: 0, maximum: 1 }),
      description: Type.String(),
    }),
  ),
  threshold_history: Type.Array(
    Type.Object({ at: Time, version: Type.Integer(), threshold: Type.Number(), by: Type.String() }),
  ),
  deliveries: Type.Array(DeliverySchema),
  timeline: Type.Array(TimelineSchema),
})

export function explainJson(
  alert: Alert,
  why: Explanation,
  deliveries: readonly DeliveryLike[],
): Static<typeof ExplainSchema> {
  const checksOf = (verdicts: Explanation['checks'][number]['verdicts']) =>
    verdicts.map(({ stage, passed, reason }) => ({ stage, passed, reason }))
  return {
    alert: alertJson(alert),
    summary: alert.message,
    rule: why.rule && ruleJson(why.rule),
    samples: why.samples.map(({ at, value }) => ({ t: toIso(at), v: value })),
    samples_complete: why.complete,
    threshold: alert.threshold,
    since: toIso(why.since),
    fired_at: toIso(alert.triggeredAt),
    duration: why.heldMs / SECOND,
    checks: checksOf(why.checks[0]?.verdicts ?? []),
    decisions: why.checks.map(({ at, event, verdicts }) => ({ at: toIso(at), event, checks: checksOf(verdicts) })),
    correlated: why.correlated.map(({ metricName, labels, startedAt, strength, description }) => ({
      metric_name: metricName,
      labels: toObject(labels),
      started_at: toIso(startedAt),
      seconds_before: (why.since - startedAt) / SECOND,
      strength,
      description,
    })),
    threshold_history: why.thresholdHistory.map((entry) => ({ ...entry, at: toIso(entry.at) })),
    deliveries: deliveries.map(deliveryJson),
    timeline: why.timeline.map(timelineJson),
  }
}

const OutcomeOfRule = Type.Object({
  episodes: Type.Array(
    Type.Object({
      labels: Labels,
      since: Time,
      from: Time,
      until: Type.Union([Time, Type.Null()], { description: 'Null: it fires at the end of the time asked for.' }),
      peak: NullableNumber,
      flapping: Type.Boolean(),
      resolution: NullableText,
      time_to_notify: Type.Number({ description: 'Seconds from the breach to the notice.' }),
      verdict: Type.Enum(['real', 'noise', 'unknown']),
    }),
    { description: 'Oldest first, at most 500.' },
  ),
  fired: Type.Integer(),
  firing_seconds: Type.Number(),
  flaps: Type.Integer(),
  alerts_per_week: Type.Number(),
  notices: Type.Array(
    Type.Object({
      channel_id: Type.String(),
      firing: Type.Integer(),
      escalated: Type.Integer(),
      resolved: Type.Integer(),
      digests: Type.Integer(),
    }),
  ),
  notices_total: Type.Integer(),
})
export const BacktestSchema = Type.Object({
  since: Time,
  until: Time,
  samples: Type.Integer(),
  matched_series: Type.Integer(),
  rule: OutcomeOfRule,
  stored: Type.Union([OutcomeOfRule, Type.Null()]),
  step: Type.Number({ description: 'Seconds between points.' }),
  series: Type.Array(
    Type.Object({
      labels: Labels,
      points: Type.Array(Type.Object({ t: Time, v: Type.Number(), min: Type.Number(), max: Type.Number() })),
    }),
  ),
})

export function backtestJson(test: Backtest): Static<typeof BacktestSchema> {
  return {
    since: toIso(test.since),
    until: toIso(test.until),
    samples: test.samples,
    matched_series: test.seriesTotal,
    rule: outcomeJson(test.rule),
    stored: test.stored && outcomeJson(test.stored),
    step: test.stepMs / SECOND,
    series: test.series.map(({ labels, times, mean, min, max }) => ({
      labels: toObject(labels),
      points: times.map((at, i) => ({ t: toIso(at), v: mean[i]!, min: min[i]!, max: max[i]! })),
    })),
  }
}

function outcomeJson(outcome: RuleOutcome): Static<typeof OutcomeOfRule> {
  return {
    episodes: outcome.episodes.map((episode) => ({
      labels: toObject(episode.labels),
      since: toIso(episode.since),
      from: toIso(episode.from),
      until: iso(episode.until),
      peak: Number.isFinite(episode.peak) ? episode.peak : null,
      flapping: episode.flapping,
      resolution: episode.resolution,
      time_to_notify: episode.timeToNotifyMs / SECOND,
      verdict: episode.verdict,
    })),
    fired: outcome.episodesTotal,
    firing_seconds: outcome.firingMs / SECOND,
    flaps: outcome.flaps,
    alerts_per_week: outcome.alertsPerWeek,
    notices: outcome.notices.map(({ channelId, ...counts }) => ({ channel_id: channelId, ...counts })),
    notices_total: outcome.notices.reduce((n, c) => n + c.firing + c.escalated + c.resolved + c.digests, 0),
  }
}

export const SuggestionSchema = Type.Object({
  metric_name: Type.String(),
  since: Time,
  until: Time,
  samples: Type.Integer(),
  threshold: Type.Union([Type.Number(), Type.Null()], { description: 'Null: there is no history to learn from.' }),
  alerts_per_week: NullableNumber,
  candidates: Type.Array(
    Type.Object({ threshold: Type.Number(), alerts_per_week: Type.Number(), firing_share: Type.Number() }),
  ),
})

export function suggestionJson(found: Suggestion): Omit<Static<typeof SuggestionSchema>, 'metric_name'> {
  return {
    since: toIso(found.since),
    until: toIso(found.until),
    samples: found.samples,
    threshold: found.threshold,
    alerts_per_week: found.alertsPerWeek,
    candidates: found.candidates.map(({ threshold, alertsPerWeek, firingShare }) => {
      return { threshold, alerts_per_week: alertsPerWeek, firing_share: firingShare }
    }),
  }
}
