/**
 * Which series of a metric: its canonical name and its labels without the name. As text (`key`), labels stand in order,
 * so that the same series has the same text; as a person reads it (`shown`), `name{a="b"}`.
 */
import { apiName, PLATFORM_LABEL, storedName } from '../metrics/index.ts'

export type LabelPairs = Readonly<Record<string, string>>

export interface SeriesId {
  /** Canonical name of the metric. */
  readonly metric: string
  /** Without the name. */
  readonly labels: LabelPairs
}

/** Labels of the platform's own plain series: what a metric's name alone means where there is such a one. */
export const platformLabels: LabelPairs = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }

/** A metric's name as forecasts are kept by it, from any way to write it: an alias, dots, underscores. */
export const metricOf = (name: string): string => apiName(storedName(name))

/** Labels as text, the same for the same labels in any order. */
export function labelsText(labels: LabelPairs): string {
  return JSON.stringify(Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))))
}

export const platformText = labelsText(platformLabels)

/** `name{a="b"}`, or the name alone for a series without labels and for the platform's own. */
export function shown({ metric, labels }: SeriesId): string {
  const pairs = Object.entries(labels)
  if (pairs.length === 0 || labelsText(labels) === platformText) return metric
  return `${metric}{${pairs.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(',')}}`
}
