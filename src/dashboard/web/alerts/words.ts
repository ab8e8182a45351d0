/** How alerting speaks: conditions, durations, reasons, matchers. */
import { formatExact, formatLimit, formatValue, NARROW } from '../../protocol.ts'
import type { Alert, Condition, Silence } from './types.ts'

export const ABOVE: Readonly<Record<Condition, string>> = {
  gt: 'above',
  gte: 'at or above',
  lt: 'below',
  lte: 'at or below',
  eq: 'equal to',
  change_rate: 'changing faster than',
}

/** `for 2 min`-like durations of settings: `90 s`, `5 min`, `2 h`. */
export function seconds(value: number): string {
  if (value % 3600 === 0 && value > 0) return `${formatExact(value / 3600)}${NARROW}h`
  if (value % 60 === 0 && value > 0) return `${formatExact(value / 60)}${NARROW}min`
  return `${formatExact(value)}${NARROW}s`
}

/** `2 min 5 s`, `3 h 31 min`, `2 d 4 h`. */
export function lasting(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  const two = (a: number, ua: string, b: number, ub: string) =>
    `${a}${NARROW}${ua}${b === 0 ? '' : ` ${b}${NARROW}${ub}`}`
  if (s < 60) return `${s}${NARROW}s`
  if (s < 3600) return two(Math.floor(s / 60), 'min', s % 60, 's')
  if (s < 86_400) return two(Math.floor(s / 3600), 'h', Math.floor((s % 3600) / 60), 'min')
  return two(Math.floor(s / 86_400), 'd', Math.floor((s % 86_400) / 3600), 'h')
}

export const limit = (value: number, unit: string) => (unit === '' ? formatExact(value) : formatLimit(value, unit))
export const figure = (value: number | null, unit: string) => (value === null ? 'no data' : formatValue(value, unit))

const ENDS: Readonly<Record<string, string>> = {
  recovered: 'by itself',
  no_data: 'for want of data',
  resolved_by_hand: 'by hand',
  rule_edited: 'its rule was changed',
  rule_deleted: 'its rule was deleted',
  rule_disabled: 'its rule was disabled',
  series_deleted: 'its series was deleted',
  not_watched: 'its rule watches other series now',
}
export const ended = (alert: Alert) => ENDS[alert.resolution ?? ''] ?? alert.resolution ?? ''

export function suppressor(by: string): { words: string; href: string } {
  const [kind, id = ''] = by.split(/:(.*)/s)
  return kind === 'rule'
    ? { words: `suppressed while ${id} fires`, href: `/ops/rules/${encodeURIComponent(id)}` }
    : { words: 'silenced', href: `/ops/silences#${encodeURIComponent(id)}` }
}

export function matcherText({ name, value, is_regex, is_equal }: Silence['matchers'][number]): string {
  return `${name}${is_equal ? '=' : '!'}${is_regex ? '~' : is_equal ? '' : '='}${JSON.stringify(value)}`
}

export const plural = (n: number, one: string, many = `${one}s`) => `${formatExact(n)} ${n === 1 ? one : many}`

/** Has a rule here; others come from another system. */
export const isOwn = (alert: Alert) => !alert.rule_id.startsWith('posted:')
/** Where an alert without a rule comes from. */
export const sourceOf = (alert: Alert) =>
  alert.labels.service === 'opinion-market'
    ? 'The platform says this about itself.'
    : 'Another system judged this and posted it here.'
export const isBelow = (alert: Alert) => alert.metadata.condition === 'lt' || alert.metadata.condition === 'lte'
