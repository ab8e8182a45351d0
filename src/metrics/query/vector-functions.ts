/**
 * Functions over instant vectors: mathematics, dates, labels, order.
 */
import { METRIC_NAME } from '../labels.ts'
import { textOf } from './aggregate.ts'
import type { Call, CompiledMatcher, Expr } from './ast.ts'
import { unwrap } from './ast.ts'
import { type CivilDate, civilDate, daysInMonth } from './civil-date.ts'
import type { Column, Context, Grid } from './context.ts'
import { timeAt } from './context.ts'
import type { Metric } from './labelset.ts'
import { compareLabels, isLabelName, labelValueOf, setLabel } from './labelset.ts'
import { compileRegexp, RegexpError } from './regexp.ts'
import type { Vector } from './vector.ts'
import { columnVector, dropNames, emptyVector, mapColumns, relabelled } from './vector.ts'

// -------------------------------------------------------------------------------------------- value by value

const RADIANS = Math.PI

const simple: Readonly<Record<string, (value: number) => number>> = {
  abs: Math.abs,
  ceil: Math.ceil,
  floor: Math.floor,
  exp: Math.exp,
  sqrt: Math.sqrt,
  ln: Math.log,
  log2: Math.log2,
  log10: Math.log10,
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  asin: Math.asin,
  acos: Math.acos,
  atan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  tanh: Math.tanh,
  asinh: Math.asinh,
  acosh: Math.acosh,
  atanh: Math.atanh,
  rad: (value) => (value * RADIANS) / 180,
  deg: (value) => (value * 180) / RADIANS,
  sgn: (value) => (value < 0 ? -1 : value > 0 ? 1 : value),
  ...dates(),
}

/** Dates are those of UTC; the value is in seconds, its fraction cut off. */
function dates(): Record<string, (value: number) => number> {
  const field = (read: (date: CivilDate) => number) => (value: number) => read(civilDate(value))
  return {
    year: field((date) => date.year),
    month: field((date) => date.month),
    day_of_month: field((date) => date.day),
    day_of_week: field((date) => date.weekday),
    day_of_year: field((date) => date.dayOfYear),
    days_in_month: field((date) => daysInMonth(date.year, date.month)),
    hour: field((date) => date.hour),
    minute: field((date) => date.minute),
  }
}

export const isSimple = (name: string): boolean => Object.hasOwn(simple, name)
export const simpleFunction = (name: string): ((value: number) => number) => simple[name]!

/** `name(vector)`: each value by itself. */
export function applySimple(ctx: Context, name: string, vector: Vector, grid: Grid): Vector {
  const compute = simple[name]!
  const mapped = mapColumns(vector, ({ values }) => {
    for (let k = 0; k < grid.count; k++) values[k] = compute(values[k]!)
  })
  return dropNames(ctx, mapped, grid.count)
}

/** As in Go: an infinity that settles the question does so beside NaN, too. */
const larger = (a: number, b: number) =>
  a === Number.POSITIVE_INFINITY || b === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : Math.max(a, b)
const smaller = (a: number, b: number) =>
  a === Number.NEGATIVE_INFINITY || b === Number.NEGATIVE_INFINITY ? Number.NEGATIVE_INFINITY : Math.min(a, b)

/** clamp and its halves. A smallest value above the largest leaves nothing. */
export function clamp(ctx: Context, vector: Vector, low: Float64Array, high: Float64Array, grid: Grid): Vector {
  const mapped = mapColumns(vector, ({ values, present }) => {
    for (let k = 0; k < grid.count; k++) {
      if (high[k]! < low[k]!) present[k] = 0
      else values[k] = larger(low[k]!, smaller(high[k]!, values[k]!))
    }
  })
  return dropNames(ctx, mapped, grid.count)
}

export function round(ctx: Context, vector: Vector, nearest: Float64Array | null, grid: Grid): Vector {
  const mapped = mapColumns(vector, ({ values }) => {
    for (let k = 0; k < grid.count; k++) {
      // The inverse loses less: 0.1 has no exact form, 10 has.
      const inverse = 1 / (nearest ? nearest[k]! : 1)
      values[k] = Math.floor(values[k]! * inverse + 0.5) / inverse
    }
  })
  return dropNames(ctx, mapped, grid.count)
}

/** The time of each step as a value, where a vector has a value: `timestamp()` of a computed vector. */
export function evaluationTimes(ctx: Context, vector: Vector, grid: Grid): Vector {
  const mapped = mapColumns(vector, ({ values }) => {
    for (let k = 0; k < grid.count; k++) values[k] = timeAt(grid, k) / 1000
  })
  return dropNames(ctx, mapped, grid.count)
}

// ------------------------------------------------------------------------------------------- many to one

/** The value of the one series that has one at a step; NaN where none or several have. */
export function toScalar(ctx: Context, vector: Vector, grid: Grid): Float64Array {
  const column = ctx.column(grid.count)
  const result = new Float64Array(grid.count).fill(Number.NaN)
  const seen = new Uint8Array(grid.count)
  for (let i = 0; i < vector.metrics.length; i++) {
    vector.fill(i, column)
    for (let k = 0; k < grid.count; k++) {
      if (column.present[k] === 0) continue
      result[k] = seen[k] === 0 ? column.values[k]! : Number.NaN
      seen[k] = 1
    }
  }
  ctx.release(grid.count * 9)
  return result
}

/** 1 at the steps at which no series has a value. */
export function absent(ctx: Context, vector: Vector, matchers: readonly CompiledMatcher[], grid: Grid): Vector {
  const scratch = ctx.column(grid.count)
  const result: Column = ctx.column(grid.count)
  result.values.fill(1)
  result.present.fill(1)
  let left = grid.count
  for (let i = 0; i < vector.metrics.length && left > 0; i++) {
    vector.fill(i, scratch)
    for (let k = 0; k < grid.count; k++) {
      if (scratch.present[k] === 0 || result.present[k] === 0) continue
      result.present[k] = 0
      left--
    }
  }
  if (left === 0) return emptyVector
  return columnVector([{ labels: absentLabels(matchers), dropName: false }], [result], true)
}

/** Labels that the selector asks to be equal to one value; one that is asked for twice is left out. */
function absentLabels(matchers: readonly CompiledMatcher[]): Metric['labels'] {
  let labels: Metric['labels'] = []
  const seen = new Set<string>()
  for (const { name, op, value } of matchers) {
    if (name === METRIC_NAME) continue
    const first = op === '=' && !seen.has(name)
    if (first) seen.add(name)
    labels = setLabel(labels, name, first ? value : '')
  }
  return labels
}

// ----------------------------------------------------------------------------------------------- labels

export function labelReplace(ctx: Context, call: Call, vector: Vector, grid: Grid): Vector {
  const [target, replacement, source, pattern] = call.args.slice(1).map(textOf) as [string, string, string, string]
  let regexp: ReturnType<typeof compileRegexp>
  try {
    regexp = compileRegexp(pattern, { dotAll: true })
  } catch (error) {
    if (!(error instanceof RegexpError)) throw error
    return ctx.fail(`invalid regular expression in label_replace(): ${pattern}`)
  }
  checkLabelName(ctx, target, 'destination label name in label_replace()')
  const metrics = vector.metrics.map((metric): Metric => {
    const groups = regexp.captures(labelValueOf(metric.labels, source))
    if (!groups) return metric
    const labels = setLabel(metric.labels, target, expand(replacement, groups, regexp.groupNames))
    return { labels, dropName: metric.dropName && target !== METRIC_NAME }
  })
  return relabelled(ctx, vector, metrics, false, grid.count)
}

export function labelJoin(ctx: Context, call: Call, vector: Vector, grid: Grid): Vector {
  const [target, separator, ...sources] = call.args.slice(1).map(textOf) as [string, string, ...string[]]
  for (const source of sources) checkLabelName(ctx, source, 'source label name in label_join()')
  checkLabelName(ctx, target, 'destination label name in label_join()')
  const metrics = vector.metrics.map((metric): Metric => {
    const value = sources.map((source) => labelValueOf(metric.labels, source)).join(separator)
    return { labels: setLabel(metric.labels, target, value), dropName: metric.dropName && target !== METRIC_NAME }
  })
  return relabelled(ctx, vector, metrics, false, grid.count)
}

function checkLabelName(ctx: Context, name: string, what: string): void {
  if (!isLabelName(ctx.dialect, name)) ctx.fail(`invalid ${what}: ${name}`)
}

/** `$1`, `${1}`, `$name`, `$$`: the longest name that can be read; one that no group has is empty. */
function expand(template: string, groups: readonly (string | undefined)[], names: readonly string[]): string {
  return template.replace(/\$(?:\$|(\w+)|\{(\w+)\})/g, (all, bare?: string, braced?: string) => {
    const name = bare ?? braced
    if (name === undefined) return all === '$$' ? '$' : all
    if (/^\d+$/.test(name)) return groups[Number(name)] ?? ''
    const at = names.indexOf(name)
    return at > 0 ? (groups[at] ?? '') : ''
  })
}

// ------------------------------------------------------------------------------------------------ order

/** Instant answers come in this order; over several steps there is none, and the vector stays as it is. */
export function sortByValue(ctx: Context, vector: Vector, grid: Grid, descending: boolean): Vector {
  if (grid.count !== 1) return vector
  const column = ctx.column(1)
  const entries: { index: number; value: number }[] = []
  for (let i = 0; i < vector.metrics.length; i++) {
    vector.fill(i, column)
    if (column.present[0] !== 0) entries.push({ index: i, value: column.values[0]! })
  }
  entries.sort((a, b) => {
    if (Number.isNaN(a.value) || Number.isNaN(b.value))
      return Number(Number.isNaN(a.value)) - Number(Number.isNaN(b.value))
    return descending ? b.value - a.value : a.value - b.value
  })
  return reordered(
    vector,
    entries.map((entry) => entry.index),
  )
}

export function sortByLabel(call: Call, vector: Vector, grid: Grid, descending: boolean): Vector {
  if (grid.count !== 1) return vector
  const names = call.args.slice(1).map(textOf)
  const compare = (a: number, b: number): number => {
    const left = vector.metrics[a]!.labels
    const right = vector.metrics[b]!.labels
    for (const name of names) {
      const order = naturalOrder(labelValueOf(left, name), labelValueOf(right, name))
      if (order !== 0) return order
    }
    return compareLabels(left, right)
  }
  const indexes = vector.metrics.map((_, i) => i).sort((a, b) => (descending ? compare(b, a) : compare(a, b)))
  return reordered(vector, indexes)
}

/** Numbers inside a text by their value: `cpu2` before `cpu10`. */
function naturalOrder(a: string, b: string): number {
  if (a === b) return 0
  const left = a.match(/\d+|\D+/g) ?? []
  const right = b.match(/\d+|\D+/g) ?? []
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const x = left[i]!
    const y = right[i]!
    if (x === y) continue
    if (/^\d/.test(x) && /^\d/.test(y)) {
      const difference = BigInt(x) - BigInt(y)
      if (difference !== 0n) return difference < 0n ? -1 : 1
      return x.length - y.length
    }
    return x < y ? -1 : 1
  }
  return left.length - right.length
}

function reordered(vector: Vector, indexes: readonly number[]): Vector {
  return {
    metrics: indexes.map((i) => vector.metrics[i]!),
    nameFree: vector.nameFree,
    fill: (index, into) => vector.fill(indexes[index]!, into),
  }
}

/** The selector whose labels an absent series would have. */
export function selectorOf(expr: Expr): readonly CompiledMatcher[] {
  const inner = unwrap(expr)
  if (inner.kind === 'vector') return inner.matchers
  return inner.kind === 'matrix' ? inner.selector.matchers : []
}
