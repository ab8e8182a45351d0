/** An alert as it opens, and what a notice says of one. */
import type { Millis } from '../base/time.ts'
import { apiName, knownMetric, type Labels, labelValue, METRIC_NAME, toObject } from '../metrics/index.ts'
import type { Deed } from './alert.ts'
import { escalatesAt } from './escalate.ts'
import { breachTitle, figure, lasting } from './message.ts'
import type { NoticeAlert } from './notice.ts'
import { type Alert, toldNothing } from './record.ts'
import { ANOMALY_ALARM, type Rule } from './rule.ts'
import { render } from './rules/template.ts'
import type { SilenceLabels } from './suppress/silence.ts'

export interface Opening {
  readonly rule: Rule
  readonly labels: Labels
  readonly seriesKey: string
  readonly deed: Extract<Deed, { kind: 'opened' }>
  readonly escalationMs: number
  readonly now: Millis
  readonly isTest?: boolean
  /** The rule's annotations with their templates filled in, where that is done already. */
  readonly annotations?: Readonly<Record<string, string>>
}

export function openAlert(opening: Opening): Alert {
  const { rule, labels, seriesKey, deed, escalationMs, now, isTest = false } = opening
  const metricName = rule.metricName
  // A score has no unit, and its limit is not the rule's.
  const isScore = rule.source.kind === 'anomaly'
  const unit = isScore ? '' : (knownMetric(metricName)?.unit ?? '')
  const value = finite(deed.value)
  const scope = { labels: toObject(labels), value: deed.value, now }
  const written = Object.entries(rule.annotations).map(([name, text]) => [name, render(text, scope)] as const)
  const annotations = opening.annotations ?? Object.fromEntries(written)
  const extra = Object.entries(rule.extraLabels).map(([name, text]) => [name, render(text, scope)] as const)
  const threshold = rule.source.kind === 'expr' ? null : isScore ? ANOMALY_ALARM : rule.threshold
  const title = annotations.summary || breachTitle(rule.name, value, threshold, unit)
  return {
    id: deed.alertId,
    ruleId: rule.id,
    ruleVersion: rule.version,
    seriesKey,
    status: 'active',
    severity: rule.severity,
    level: 0,
    metricName,
    labels,
    title: isTest ? `[TEST] ${title}` : title,
    message: annotations.description || messageOf(rule, labels, value, unit, deed),
    value,
    threshold,
    peak: value,
    since: deed.since,
    triggeredAt: deed.at,
    acknowledgedAt: null,
    acknowledgedBy: null,
    resolvedAt: null,
    resolution: null,
    notes: null,
    falsePositive: false,
    flapping: deed.flapping,
    suppressedBy: null,
    isTest,
    escalateAt: isTest ? null : escalatesAt(rule.severity, now, escalationMs),
    groupKey: null,
    told: toldNothing,
    facts: {
      ruleName: rule.name,
      condition: rule.condition,
      source: rule.source,
      recoveryThreshold: rule.recoveryThreshold,
      baseSeverity: rule.severity,
      channels: rule.channels,
      tags: rule.tags,
      suppressedBy: rule.suppressedBy,
      unit,
      runbookUrl: rule.runbookUrl ?? annotations.runbook_url ?? null,
      owner: rule.owner,
      extraLabels: Object.fromEntries(extra),
      annotations,
    },
  }
}

/** A sentence or two: what, where, against which limit, since when. */
function messageOf(rule: Rule, labels: Labels, value: number | null, unit: string, deed: Opening['deed']): string {
  const name = rule.metricName || apiName(labelValue(labels, METRIC_NAME)) || rule.name
  const where = seriesText(labels)
  const lasted = deed.at - deed.since
  const held = lasted > 0 ? `, for ${lasting(lasted)} now` : ''
  const flapping = deed.flapping ? ' It comes and goes; it is held open until it has been calm for ten minutes.' : ''
  if (deed.why === 'no_data') return `${name}${where} has sent no sample for ${lasting(lasted)}.${flapping}`
  const shown = value === null ? 'out of range' : figure(value, unit)
  const limit = figure(rule.threshold, unit, true)
  switch (rule.source.kind) {
    case 'expr':
      return `The expression of ${rule.name} holds${where}, with the value ${shown}${held}.${flapping}`
    case 'anomaly':
      return `${name}${where} behaves unlike itself: score ${shown}, where ${ANOMALY_ALARM} is an alarm${held}.${flapping}`
    case 'forecast':
      return `${name}${where} is expected to reach ${shown} within ${rule.source.horizonMinutes} minutes, ${COMPARED[rule.condition]} ${limit}${held}.${flapping}`
    case 'threshold':
      if (rule.condition === 'change_rate') {
        return `${name}${where} changes by ${shown} a minute, beyond ${limit}${held}.${flapping}`
      }
      return `${name}${where} is ${shown}, ${COMPARED[rule.condition]} ${limit}${held}.${flapping}`
  }
}

const COMPARED: Readonly<Record<Rule['condition'], string>> = {
  gt: 'above',
  gte: 'at or above',
  lt: 'below',
  lte: 'at or below',
  eq: 'equal to',
  change_rate: 'beyond',
}

/** ` of instance="a", job="b"`, without the name and the platform's own label. */
function seriesText(labels: Labels): string {
  const shown = labels.filter(
    ([name, value]) => name !== METRIC_NAME && !(name === 'service' && value === 'opinion-market'),
  )
  return shown.length === 0 ? '' : ` of ${shown.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}`
}

/** By which labels a silence knows an alert. */
export function silenceLabels(alert: Alert): SilenceLabels {
  return (name) => {
    switch (name) {
      case 'alertname':
        return alert.facts.ruleName
      case 'rule_id':
        return alert.ruleId
      case 'metric_name':
        return alert.metricName
      case 'severity':
        return alert.facts.extraLabels.severity ?? alert.facts.baseSeverity
      default:
        return alert.facts.extraLabels[name] ?? labelValue(alert.labels, name)
    }
  }
}

export function noticeAlert(alert: Alert, toldBefore: readonly string[] = []): NoticeAlert {
  return {
    alertId: alert.id,
    ruleId: alert.ruleId,
    title: alert.title,
    message: alert.message,
    severity: alert.severity,
    status: alert.status,
    metricName: alert.metricName,
    labels: { ...toObject(alert.labels), ...alert.facts.extraLabels },
    currentValue: alert.value,
    thresholdValue: alert.threshold,
    unit: alert.facts.unit,
    triggeredAt: alert.triggeredAt,
    resolvedAt: alert.resolvedAt,
    runbookUrl: alert.facts.runbookUrl,
    tags: alert.facts.tags,
    ruleName: alert.facts.ruleName,
    condition: alert.facts.condition,
    peakValue: alert.peak,
    resolution: alert.resolution,
    ...(toldBefore.length === 0 ? {} : { toldBefore }),
  }
}

export const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)
