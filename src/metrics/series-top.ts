/** What costs most series: by name of the metric, by name of a label, by one value of one label. */

import { AppError } from '../base/errors.ts'
import { METRIC_NAME } from './labels.ts'
import type { ColumnReader } from './metrics.ts'

export interface SeriesTop {
  readonly series: number
  readonly names: readonly { readonly name: string; readonly series: number }[]
  /** Labels by how many values they have: what makes series multiply. */
  readonly labels: readonly { readonly label: string; readonly values: number; readonly series: number }[]
  /** Single values by how many series they are in. */
  readonly pairs: readonly { readonly label: string; readonly value: string; readonly series: number }[]
}

/** Looks at every label of every series: tens of milliseconds for a million series and label. Throws 422. */
export function seriesTop(reader: ColumnReader, limit: number): SeriesTop {
  const cardinality = reader.cardinality?.()
  if (!cardinality) throw new AppError(422, 'not_supported', 'This store does not count its labels.')
  const names = [...cardinality.values(METRIC_NAME)].map(([name, series]) => ({ name, series }))
  const labels = cardinality
    .names()
    .filter(({ name, series }) => name !== METRIC_NAME && series > 0)
    .map(({ name, series, values }) => ({ label: name, values, series }))
  const pairs: { label: string; value: string; series: number }[] = []
  for (const { label } of labels) {
    for (const [value, series] of cardinality.values(label)) pairs.push({ label, value, series })
    // Kept short on the way: a label may have a value for each series.
    if (pairs.length > 100_000) pairs.splice(0, pairs.length, ...most(pairs, limit, (p) => p.series))
  }
  return {
    series: names.reduce((sum, name) => sum + name.series, 0),
    names: most(names, limit, (n) => n.series),
    labels: most(labels, limit, (l) => l.values),
    pairs: most(pairs, limit, (p) => p.series),
  }
}

const most = <T>(items: readonly T[], limit: number, by: (item: T) => number): T[] =>
  items.toSorted((a, b) => by(b) - by(a)).slice(0, limit)
