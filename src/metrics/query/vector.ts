/**
 * An instant vector over all steps of a query: its series are known at once, their columns are computed when asked
 * for, one at a time, into the asker's column. So a chain of operators holds one column each, not the whole vector.
 */
import { METRIC_NAME } from '../labels.ts'
import type { Column, Context, Grid } from './context.ts'
import type { Metric } from './labelset.ts'
import { keyOf, withoutDescription, withoutName } from './labelset.ts'

export interface Vector {
  readonly metrics: readonly Metric[]
  /** No two series differ by their name alone: dropping names cannot make two the same. */
  readonly nameFree: boolean
  /** Writes the column of one series: `values` and `present`, for every step. Any order, any number of times. */
  fill(index: number, into: Column): void
}

export const emptyVector: Vector = { metrics: [], nameFree: true, fill() {} }

/** The same series with their values changed in place by `change`. */
export function mapColumns(vector: Vector, change: (column: Column) => void): Vector {
  return {
    metrics: vector.metrics,
    nameFree: vector.nameFree,
    fill(index, into) {
      vector.fill(index, into)
      change(into)
    },
  }
}

/** The name no longer describes the values: it goes at once (Prometheus 2), or when the query ends (3). */
export function dropNames(ctx: Context, vector: Vector, count: number): Vector {
  if (ctx.dialect === 3) {
    const metrics = vector.metrics.map((m) => (m.dropName ? m : { labels: m.labels, dropName: true }))
    return { metrics, nameFree: vector.nameFree, fill: vector.fill }
  }
  return relabelled(ctx, vector, nameless(vector.metrics), vector.nameFree, count)
}

/** Kept with the series they were made from: those of a selector are the same ones as long as its selection is. */
const namelessOf = new WeakMap<readonly Metric[], readonly Metric[]>()

function nameless(metrics: readonly Metric[]): readonly Metric[] {
  let made = namelessOf.get(metrics)
  if (!made) {
    made = metrics.map((m) => ({ labels: withoutName(m.labels), dropName: false }))
    namelessOf.set(metrics, made)
  }
  return made
}

/** Drops the names that are still to go. */
export function settleNames(ctx: Context, vector: Vector, count: number): Vector {
  if (!vector.metrics.some((m) => m.dropName)) return vector
  const metrics = vector.metrics.map((m) =>
    m.dropName ? { labels: withoutDescription(m.labels), dropName: false } : m,
  )
  return relabelled(ctx, vector, metrics, false, count)
}

const SAME_LABELS = 'vector cannot contain metrics with the same labelset'

/**
 * The vector under other labels. Series that become the same are one series if they never have a value at the same
 * step, an error if they do. `distinct`: the caller knows that none become the same.
 */
export function relabelled(
  ctx: Context,
  vector: Vector,
  metrics: readonly Metric[],
  distinct: boolean,
  count: number,
): Vector {
  const nameFree = distinct && vector.nameFree
  const fill = (index: number, into: Column) => vector.fill(index, into)
  if (distinct) return { metrics, nameFree: nameFree || !hasNames(metrics), fill }
  const groups = new Map<string, number[]>()
  metrics.forEach((metric, i) => {
    const key = keyOf(metric.labels)
    const group = groups.get(key)
    if (group) group.push(i)
    else groups.set(key, [i])
  })
  const free = !hasNames(metrics)
  if (groups.size === metrics.length) return { metrics, nameFree: free, fill }
  // Merged at once, though nobody may ask for them: what cannot be merged is an error all the same.
  const members = [...groups.values()]
  const scratch = ctx.column(count)
  const merged = members.map((group) => {
    if (group.length === 1) return null
    const column = ctx.column(count)
    vector.fill(group[0]!, column)
    for (let m = 1; m < group.length; m++) {
      vector.fill(group[m]!, scratch)
      for (let k = 0; k < count; k++) {
        if (scratch.present[k] === 0) continue
        if (column.present[k] !== 0) ctx.fail(SAME_LABELS)
        column.present[k] = 1
        column.values[k] = scratch.values[k]!
      }
    }
    return column
  })
  return {
    metrics: members.map((group) => metrics[group[0]!]!),
    nameFree: free,
    fill(index, into) {
      const column = merged[index]
      if (!column) {
        vector.fill(members[index]![0]!, into)
        return
      }
      into.values.set(column.values)
      into.present.set(column.present)
    },
  }
}

const hasNames = (metrics: readonly Metric[]) => metrics.some((m) => m.labels.some(([name]) => name === METRIC_NAME))

/** Computes all columns at once, for operators that look at several series at a step. */
export function materialise(ctx: Context, vector: Vector, count: number): Column[] {
  return vector.metrics.map((_, i) => {
    const column = ctx.column(count)
    vector.fill(i, column)
    return column
  })
}

export function releaseColumns(ctx: Context, columns: readonly Column[]): void {
  for (const column of columns) ctx.release(column.values.length * 9)
}

/** A vector of columns that are there already. */
export function columnVector(metrics: readonly Metric[], columns: readonly Column[], nameFree: boolean): Vector {
  return {
    metrics,
    nameFree,
    fill(index, into) {
      const column = columns[index]!
      into.values.set(column.values)
      into.present.set(column.present)
    },
  }
}

/** What was evaluated at one step stands for all steps. */
export function broadcast(vector: Vector, grid: Grid): Vector {
  const one: Column = { values: new Float64Array(1), present: new Uint8Array(1) }
  return {
    metrics: vector.metrics,
    nameFree: vector.nameFree,
    fill(index, into) {
      vector.fill(index, one)
      into.values.fill(one.values[0]!, 0, grid.count)
      into.present.fill(one.present[0]!, 0, grid.count)
    },
  }
}
