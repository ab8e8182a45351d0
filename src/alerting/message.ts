/**
 * What a notice says, made once for all channels: title, sentences, facts, links. A channel only gives it its form.
 * A title says what, value and limit; an end says how long it lasted and the worst value; a rise says who did not
 * react; a digest counts; a late notice says how late it is.
 */
import { lazy } from '../base/lazy.ts'
import type { Millis } from '../base/time.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../base/time.ts'
import type { CloseReason } from './alert.ts'
import type { Links } from './channels/channel.ts'
import type { Notice, NoticeAlert } from './notice.ts'
import type { Severity } from './rule.ts'

export interface Message {
  /** The worst of the alerts. */
  readonly severity: Severity
  /** `Slow response time: 214 ms, limit 200 ms`; a test begins with `[TEST]`. */
  readonly title: string
  /** Whole sentences, each for itself. */
  readonly sentences: readonly string[]
  /** Severity, metric, value, limit and the like; empty for a digest. */
  readonly facts: readonly { readonly name: string; readonly value: string }[]
  /** The alerts of a digest, a line each. */
  readonly lines: readonly string[]
  readonly explainUrl: string | null
  readonly acknowledgeUrl: string | null
  readonly runbookUrl: string | null
  /** How late it is; 0 when it is in time. */
  readonly lateMs: number
}

/** A notice that waited longer than this says so. */
export const LATE_AFTER_MS = MINUTE

export function messageOf(notice: Notice, links: Links, now: Millis): Message {
  const first = notice.alerts[0]
  if (!first) throw new Error(`the notice ${notice.id} tells of no alert`)
  const digest = notice.event === 'digest'
  const waited = now - notice.createdAt
  const lateMs = waited > LATE_AFTER_MS ? waited : 0
  const page = first.page ?? (digest ? '/ops/alerts' : null)
  const open = first.status === 'active' && page === null && !notice.isTest
  const sentences = [
    ...(digest ? [] : sentencesOf(notice, first)),
    ...(notice.isTest ? ['This is a test: nothing is wrong.'] : []),
    ...(lateMs > 0 ? [`This notice is ${lasting(lateMs)} late.`] : []),
  ]
  return {
    severity: first.severity,
    title: (notice.isTest && !/^\[TEST\]/.test(first.title) ? '[TEST] ' : '') + titleOf(notice, first),
    sentences,
    facts: digest ? [] : factsOf(first),
    lines: digest ? linesOf(notice) : [],
    explainUrl: page === null ? links.explain(first.alertId) : links.page(page),
    acknowledgeUrl: open ? links.acknowledge(first.alertId) : null,
    runbookUrl: digest ? null : first.runbookUrl,
    lateMs,
  }
}

/** `Slow response time: 214 ms, limit 200 ms`: the title of an alert, and of the notice that it fires. */
export function breachTitle(name: string, value: number | null, threshold: number | null, unit: string): string {
  const limit = threshold === null ? '' : `limit ${figure(threshold, unit, true)}`
  if (value === null) return limit === '' ? `${name}: no data` : `${name}: no data, ${limit}`
  return `${name}: ${[figure(value, unit), limit].filter((part) => part !== '').join(', ')}`
}

function titleOf(notice: Notice, alert: NoticeAlert): string {
  switch (notice.event) {
    case 'resolved':
      return endTitle(alert)
    case 'escalated':
      return `${alert.title}, not acknowledged for ${lasting(notice.createdAt - alert.triggeredAt)}`
    case 'digest':
      return digestTitle(notice, alert)
    default:
      return alert.title
  }
}

function endTitle(alert: NoticeAlert): string {
  const after = alert.resolvedAt === null ? '' : ` after ${lasting(alert.resolvedAt - alert.triggeredAt)}`
  const peak = alert.peakValue ?? null
  const worst = peak === null ? '' : `, ${lower(alert) ? 'lowest' : 'peak'} ${figure(peak, alert.unit)}`
  return `Resolved: ${alert.ruleName}${after}${worst}`
}

function digestTitle(notice: Notice, worst: NoticeAlert): string {
  const { alerts, count } = notice
  const ended = alerts.filter((alert) => alert.status === 'resolved').length
  const what = `${count.toLocaleString('en-US')} ${count === 1 ? 'alert' : 'alerts'}`
  if (ended === alerts.length) return `${what} resolved`
  if (count > alerts.length) return `${what}, the worst: ${worst.title}`
  const counts = (['emergency', 'critical', 'warning', 'info'] as const).flatMap((severity) => {
    const n = alerts.filter((alert) => alert.status !== 'resolved' && alert.severity === severity).length
    return n === 0 ? [] : [`${n} ${severity}`]
  })
  return `${what}: ${[...counts, ...(ended > 0 ? [`${ended} resolved`] : [])].join(', ')}`
}

function linesOf({ alerts, count }: Notice): string[] {
  const lines = alerts.map((alert) =>
    alert.status === 'resolved' ? endTitle(alert) : `${alert.severity}: ${alert.title}${seriesOf(alert)}`,
  )
  return count > alerts.length ? [...lines, `and ${(count - alerts.length).toLocaleString('en-US')} more`] : lines
}

function sentencesOf(notice: Notice, alert: NoticeAlert): string[] {
  const since = `since ${clockTime(alert.triggeredAt)}`
  if (notice.event === 'resolved') {
    const period =
      alert.resolvedAt === null ? since : `${clockTime(alert.triggeredAt)} to ${clockTime(alert.resolvedAt)}`
    const value =
      alert.currentValue === null
        ? ''
        : ` ${alert.metricName || 'The value'} is ${figure(alert.currentValue, alert.unit)} now.`
    return [`${ENDED[alert.resolution ?? 'recovered']} It fired from ${period}.${value}`]
  }
  if (notice.event === 'escalated') {
    const told = alert.toldBefore ?? []
    const who = told.length > 0 ? ` Told before: ${told.join(', ')}.` : ''
    return [alert.message, `Nobody has acknowledged it ${since}; it is ${alert.severity} now.${who}`]
  }
  return [alert.message]
}

const ENDED: Readonly<Record<CloseReason, string>> = {
  recovered: 'It is back within its limit.',
  no_data: 'It ended for want of data.',
  resolved_by_hand: 'It was resolved by hand.',
  rule_edited: 'It ended because its rule was changed.',
  rule_deleted: 'It ended because its rule was deleted.',
  rule_disabled: 'It ended because its rule was disabled.',
  series_deleted: 'It ended because its series was deleted.',
  not_watched: 'It ended because its rule no longer watches this series.',
}

function factsOf(alert: NoticeAlert): { name: string; value: string }[] {
  const value = alert.currentValue === null ? 'no data' : figure(alert.currentValue, alert.unit)
  const threshold = alert.thresholdValue === null ? '–' : figure(alert.thresholdValue, alert.unit, true)
  const labels = seriesOf(alert).trim()
  return [
    { name: 'Severity', value: alert.severity },
    { name: 'Metric', value: alert.metricName || alert.ruleName },
    { name: 'Current Value', value },
    { name: 'Threshold', value: threshold },
    { name: 'Since', value: clockTime(alert.triggeredAt) },
    ...(labels === '' ? [] : [{ name: 'Series', value: labels }]),
    ...(alert.tags.length === 0 ? [] : [{ name: 'Tags', value: alert.tags.join(', ') }]),
  ]
}

/** ` {host="a", job="b"}`, without the metric's name and the platform's own label. */
function seriesOf(alert: NoticeAlert): string {
  const labels = Object.entries(alert.labels).filter(
    ([name, value]) => name !== '__name__' && !(name === 'service' && value === 'opinion-market'),
  )
  return labels.length === 0 ? '' : ` {${labels.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')}}`
}

const lower = (alert: NoticeAlert) => alert.condition === 'lt' || alert.condition === 'lte'

const formats = lazy(() => ({
  digits: [0, 1, 2].map((n) => new Intl.NumberFormat('en-US', { maximumFractionDigits: n })),
  exact: new Intl.NumberFormat('en-US', { maximumSignificantDigits: 15 }),
  small: new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 }),
}))

/** Three figures and the unit: `82.6 %`, `214 ms`, `1,184 req/s`; a limit as it was set. Plain spaces: mail and SMS. */
export function figure(value: number, unit: string, asSet = false): string {
  const size = Math.abs(value)
  const places = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2
  const { digits, exact, small } = formats()
  const format = asSet ? exact : size > 0 && size < 0.995 ? small : digits[places]!
  return unit === '' ? format.format(value) : `${format.format(value)} ${unit}`
}

/** `40 s`, `12 min`, `3 h 5 min`, `2 days`. */
export function lasting(ms: number): string {
  if (ms < MINUTE) return `${Math.max(0, Math.round(ms / SECOND))} s`
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min`
  if (ms >= 2 * DAY) return `${Math.floor(ms / DAY)} days`
  const minutes = Math.floor((ms % HOUR) / MINUTE)
  return `${Math.floor(ms / HOUR)} h${minutes === 0 ? '' : ` ${minutes} min`}`
}

/** `2026-11-23 09:41:02 UTC` */
function clockTime(at: Millis): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
