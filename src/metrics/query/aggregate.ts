/**
 * Aggregations. Which series belong to which group is settled once; a group's column is then computed from its
 * members' columns one after the other, so that `sum by (job)` over a thousand series holds two columns, not a thousand.
 */
import { METRIC_NAME } from '../labels.ts'
import type { Aggregate, AggregateOp, Expr } from './ast.ts'
import type { Column, Context, Dialect, Grid } from './context.ts'
import type { Metric } from './labelset.ts'
import { compareLabels, Grouping, isLabelName, keyOf, setLabel } from './labelset.ts'
import { quote } from './lex.ts'
import { formatPlain, formatShort, quantile } from './numeric.ts'
import type { Vector } from './vector.ts'
import { columnVector, emptyVector, materialise } from './vector.ts'
import { xxhash64 } from './xxhash.ts'

interface Group {
  readonly labels: Metric['labels']
  dropName: boolean
  readonly members: number[]
}

/** `param` is the aggregation's scalar argument, a value a step. */
export function aggregate(
  ctx: Context,
  expr: Aggregate,
  input: Vector,
  param: Float64Array | null,
  grid: Grid,
): Vector {
  switch (expr.op) {
    case 'topk':
    case 'bottomk':
    case 'limitk':
    case 'limit_ratio':
      return pick(ctx, expr, input, param!, grid)
    case 'count_values':
      return countValues(ctx, expr, input, grid)
    case 'quantile':
      return quantiles(ctx, expr, input, param!, grid)
    default:
      return fold(ctx, expr, input, grid)
  }
}

/** The last grouping of series, kept with them: a selector's are the same ones as long as its selection is. */
const grouped = new WeakMap<readonly Metric[], { readonly by: string; readonly groups: readonly Group[] }>()

function groupsOf(expr: Aggregate, input: Vector): readonly Group[] {
  const by = JSON.stringify([expr.without, ...expr.grouping])
  const known = grouped.get(input.metrics)
  if (known?.by === by) return known.groups
  const grouping = new Grouping(expr.grouping, expr.without)
  const groups = new Map<string, Group>()
  input.metrics.forEach((metric, i) => {
    const key = grouping.key(metric.labels)
    const group = groups.get(key)
    if (group) {
      group.members.push(i)
      if (metric.dropName) group.dropName = true
    } else groups.set(key, { labels: grouping.labels(metric.labels), dropName: metric.dropName, members: [i] })
  })
  const made = [...groups.values()]
  grouped.set(input.metrics, { by, groups: made })
  return made
}

const groupVector = (expr: Aggregate, groups: readonly Group[], fill: Vector['fill']): Vector => ({
  metrics: groups,
  nameFree: expr.without || !expr.grouping.includes(METRIC_NAME),
  fill,
})

// --------------------------------------------------------------------------------- one value from many, in passing

/** What an aggregation keeps for each step beside the result itself. */
interface Fold {
  begin(count: number): void
  /** One member's column into the group's. */
  add(member: Column, into: Column, count: number): void
  end(into: Column, count: number): void
}

function fold(ctx: Context, expr: Aggregate, input: Vector, grid: Grid): Vector {
  const groups = groupsOf(expr, input)
  const member = ctx.column(grid.count)
  ctx.reserve(grid.count * 24)
  const folding = folds[expr.op]!(grid.count, ctx.dialect)
  return groupVector(expr, groups, (index, into) => {
    into.present.fill(0, 0, grid.count)
    folding.begin(grid.count)
    for (const i of groups[index]!.members) {
      input.fill(i, member)
      folding.add(member, into, grid.count)
    }
    folding.end(into, grid.count)
  })
}

const folds: Readonly<Partial<Record<AggregateOp, (count: number, dialect: Dialect) => Fold>>> = {
  sum: (steps, dialect) => (dialect === 2 ? plainSums() : compensatedSums(steps)),
  avg: (steps, dialect) => (dialect === 2 ? runningMeans(steps) : compensatedMeans(steps)),
  count() {
    return {
      begin: () => {},
      add(member, into, count) {
        for (let k = 0; k < count; k++) {
          if (member.present[k] === 0) continue
          if (into.present[k] === 0) into.values[k] = 0
          into.present[k] = 1
          into.values[k]!++
        }
      },
      end: () => {},
    }
  },
  group() {
    return {
      begin: () => {},
      add(member, into, count) {
        for (let k = 0; k < count; k++) {
          if (member.present[k] === 0) continue
          into.present[k] = 1
          into.values[k] = 1
        }
      },
      end: () => {},
    }
  },
  min: () => extreme((value, best) => value < best),
  max: () => extreme((value, best) => value > best),
  stdvar: (steps, dialect) => deviation(steps, dialect, false),
  stddev: (steps, dialect) => deviation(steps, dialect, true),
}

/** Added one to the other, as Prometheus 2 does: rounding included, so that differences of sums agree with it. */
function plainSums(): Fold {
  return {
    begin: () => {},
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        if (into.present[k] === 0) {
          into.present[k] = 1
          into.values[k] = member.values[k]!
        } else into.values[k]! += member.values[k]!
      }
    },
    end: () => {},
  }
}

function compensatedSums(steps: number): Fold {
  const lost = new Float64Array(steps)
  return {
    begin: () => {},
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        const value = member.values[k]!
        if (into.present[k] === 0) {
          into.present[k] = 1
          into.values[k] = value
          lost[k] = 0
          continue
        }
        const sum = into.values[k]!
        const total = sum + value
        if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) lost[k] = 0
        else lost[k]! += Math.abs(sum) >= Math.abs(value) ? sum - total + value : value - total + sum
        into.values[k] = total
      }
    },
    end(into, count) {
      for (let k = 0; k < count; k++) into.values[k]! += lost[k]!
    },
  }
}

/** The mean moved by each value, as Prometheus 2 does it. */
function runningMeans(steps: number): Fold {
  const counts = new Float64Array(steps)
  const isInfinite = (value: number) => value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY
  return {
    begin: () => {},
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        const value = member.values[k]!
        if (into.present[k] === 0) {
          into.present[k] = 1
          into.values[k] = value
          counts[k] = 1
          continue
        }
        const n = ++counts[k]!
        const mean = into.values[k]!
        // An infinite mean stays what it is, unless the other infinity or NaN comes.
        if (isInfinite(mean) && (value === mean || (!isInfinite(value) && !Number.isNaN(value)))) continue
        into.values[k] = mean + (value / n - mean / n)
      }
    },
    end: () => {},
  }
}

function compensatedMeans(steps: number): Fold {
  const lost = new Float64Array(steps)
  const counts = new Float64Array(steps)
  // Once the sum would pass the largest number, `into` holds the mean itself.
  const incremental = new Uint8Array(steps)
  const compensate = (k: number, base: number, value: number): number => {
    const total = base + value
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) lost[k] = 0
    else lost[k]! += Math.abs(base) >= Math.abs(value) ? base - total + value : value - total + base
    return total
  }
  return {
    begin(count) {
      incremental.fill(0, 0, count)
    },
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        const value = member.values[k]!
        if (into.present[k] === 0) {
          into.present[k] = 1
          into.values[k] = value
          lost[k] = 0
          counts[k] = 1
          continue
        }
        const n = ++counts[k]!
        const sum = into.values[k]!
        if (incremental[k] === 0) {
          const total = sum + value
          if (total !== Number.POSITIVE_INFINITY && total !== Number.NEGATIVE_INFINITY) {
            into.values[k] = compensate(k, sum, value)
            continue
          }
          incremental[k] = 1
          into.values[k] = sum / (n - 1)
          lost[k]! /= n - 1
        }
        const share = (n - 1) / n
        lost[k]! *= share
        into.values[k] = compensate(k, share * into.values[k]!, value / n)
      }
    },
    end(into, count) {
      for (let k = 0; k < count; k++) {
        const n = counts[k]!
        const value = into.values[k]!
        into.values[k] = incremental[k] === 1 ? value + lost[k]! : value / n + lost[k]! / n
      }
    },
  }
}

function extreme(better: (value: number, best: number) => boolean): Fold {
  return {
    begin: () => {},
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        const value = member.values[k]!
        const best = into.values[k]!
        if (into.present[k] === 0 || better(value, best) || Number.isNaN(best)) into.values[k] = value
        into.present[k] = 1
      }
    },
    end: () => {},
  }
}

/** Welford's running variance. */
function deviation(steps: number, dialect: Dialect, root: boolean): Fold {
  const counts = new Float64Array(steps)
  const means = new Float64Array(steps)
  return {
    begin: () => {},
    add(member, into, count) {
      for (let k = 0; k < count; k++) {
        if (member.present[k] === 0) continue
        const value = member.values[k]!
        if (into.present[k] === 0) {
          into.present[k] = 1
          // One infinite value alone deviates by nothing in Prometheus 2.
          into.values[k] = dialect === 2 || Number.isFinite(value) ? 0 : Number.NaN
          counts[k] = 1
          means[k] = value
          continue
        }
        const delta = value - means[k]!
        means[k]! += delta / ++counts[k]!
        into.values[k]! += delta * (value - means[k]!)
      }
    },
    end(into, count) {
      for (let k = 0; k < count; k++) {
        const result = into.values[k]! / counts[k]!
        into.values[k] = root ? Math.sqrt(result) : result
      }
    },
  }
}

function quantiles(ctx: Context, expr: Aggregate, input: Vector, param: Float64Array, grid: Grid): Vector {
  for (const q of distinct(param))
    if (!(q >= 0 && q <= 1))
      ctx.warn(`quantile value should be between 0 and 1, got ${formatShort(q)}`, expr.param!.span)
  const groups = groupsOf(expr, input)
  const member = ctx.column(grid.count)
  return groupVector(expr, groups, (index, into) => {
    const { members } = groups[index]!
    const size = members.length
    ctx.reserve(grid.count * (size + 1) * 8)
    // Values of a step stand side by side, so that each is sorted in place.
    const values = new Float64Array(grid.count * size)
    const counts = new Int32Array(grid.count)
    for (const i of members) {
      input.fill(i, member)
      for (let k = 0; k < grid.count; k++)
        if (member.present[k] !== 0) values[k * size + counts[k]!++] = member.values[k]!
    }
    for (let k = 0; k < grid.count; k++) {
      into.present[k] = counts[k]! > 0 ? 1 : 0
      if (counts[k]! > 0)
        into.values[k] = quantile(param[k]!, values.subarray(k * size, k * size + counts[k]!), counts[k]!)
    }
    ctx.release(grid.count * (size + 1) * 8)
  })
}

const distinct = (values: Float64Array): Set<number> => new Set(values)

// ------------------------------------------------------------------------------------------- some of the series

const INT64_MAX = 2 ** 63

/** topk, bottomk, limitk, limit_ratio: series as they came, at the steps where they are chosen. */
function pick(ctx: Context, expr: Aggregate, unordered: Vector, param: Float64Array, grid: Grid): Vector {
  // Of equal values the first is taken: first in the order of labels.
  const input = inOrder(unordered)
  const { op } = expr
  const params = [...distinct(param)]
  const most = params.reduce((a, b) => (b > a ? b : a), Number.NEGATIVE_INFINITY)
  if (op === 'limit_ratio') {
    if (params.every((r) => r === 0)) return emptyVector
    if (params.some((r) => Number.isNaN(r))) ctx.fail('Ratio value is NaN')
    const least = params.reduce((a, b) => (b < a ? b : a), Number.POSITIVE_INFINITY)
    const warn = (got: number, to: number) =>
      ctx.warn(`ratio value should be between -1 and 1, got ${formatShort(got)}, capping to ${to}`, expr.param!.span)
    if (most > 1) warn(most, 1)
    if (least < -1) warn(least, -1)
  } else {
    if (most < 1 && !params.some((k) => Number.isNaN(k))) return emptyVector
    if (params.some((k) => Number.isNaN(k))) ctx.fail('Parameter value is NaN')
    for (const k of params) {
      if (k <= -INT64_MAX) ctx.fail(`Scalar value ${formatShort(k)} underflows int64`)
      if (k >= INT64_MAX) ctx.fail(`Scalar value ${formatShort(k)} overflows int64`)
    }
  }
  if (op === 'limit_ratio') return ratio(input, param, grid)
  const groups = groupsOf(expr, input)
  const columns = materialise(ctx, input, grid.count)
  const chosen = columns.map(() => new Uint8Array(grid.count))
  const order: number[] = []
  for (let k = 0; k < grid.count; k++) {
    const wanted = Math.trunc(param[k]!)
    if (wanted < 1) continue
    for (const group of groups) {
      const picked =
        op === 'limitk'
          ? group.members.filter((i) => columns[i]!.present[k] !== 0).slice(0, wanted)
          : largest(group.members, columns, k, wanted, op === 'topk', ctx.dialect === 2)
      for (const i of picked) chosen[i]![k] = 1
      if (grid.count === 1) order.push(...picked)
    }
    ctx.env.checkpoint()
  }
  // An instant answer comes in order of value; over several steps there is no such order.
  const indexes = grid.count === 1 ? order : columns.map((_, i) => i)
  return columnVector(
    indexes.map((i) => input.metrics[i]!),
    indexes.map((i) => ({ values: columns[i]!.values, present: chosen[i]! })),
    input.nameFree,
  )
}

function inOrder(vector: Vector): Vector {
  const indexes = vector.metrics.map((_, i) => i)
  indexes.sort((a, b) => compareLabels(vector.metrics[a]!.labels, vector.metrics[b]!.labels))
  return {
    metrics: indexes.map((i) => vector.metrics[i]!),
    nameFree: vector.nameFree,
    fill: (index, into) => vector.fill(indexes[index]!, into),
  }
}

/**
 * The `wanted` members with the largest (or smallest) values at a step, the first of them first; NaN is chosen last.
 * A binary heap with the weakest chosen on top. Which of equal values is taken follows from how the heap is kept, so it is kept
 * as Prometheus keeps it: `older`, by taking the weakest out and the new one in; since then by putting it in its place.
 */
function largest(
  members: readonly number[],
  columns: readonly Column[],
  k: number,
  wanted: number,
  top: boolean,
  older: boolean,
): number[] {
  const heap: number[] = []
  const valueAt = (i: number) => columns[i]!.values[k]!
  const weaker = (a: number, b: number) => {
    const x = valueAt(a)
    const y = valueAt(b)
    return Number.isNaN(x) || (top ? x < y : x > y)
  }
  const swap = (a: number, b: number) => {
    const held = heap[a]!
    heap[a] = heap[b]!
    heap[b] = held
  }
  const up = (from: number) => {
    let j = from
    while (j > 0) {
      const parent = (j - 1) >> 1
      if (!weaker(heap[j]!, heap[parent]!)) break
      swap(parent, j)
      j = parent
    }
  }
  const down = () => {
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && weaker(heap[child + 1]!, heap[child]!)) child++
      if (!weaker(heap[child]!, heap[i]!)) break
      swap(i, child)
      i = child
    }
  }
  for (const i of members) {
    if (columns[i]!.present[k] === 0) continue
    if (heap.length < wanted) {
      heap.push(i)
      up(heap.length - 1)
      continue
    }
    const value = valueAt(i)
    const weakest = valueAt(heap[0]!)
    const better = top ? weakest < value : weakest > value
    if (!better && !(Number.isNaN(weakest) && (older || !Number.isNaN(value)))) continue
    if (older && heap.length > 1) {
      heap[0] = heap.pop()!
      down()
      heap.push(i)
      up(heap.length - 1)
    } else {
      heap[0] = i
      down()
    }
  }
  if (heap.length > INSERTION_MAX)
    return heap.sort((a, b) => {
      const x = valueAt(a)
      const y = valueAt(b)
      if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y))
      return top ? y - x : x - y
    })
  // Few are sorted by insertion, as Go sorts them: it shows in the order of several NaN.
  for (let i = 1; i < heap.length; i++) for (let j = i; j > 0 && weaker(heap[j - 1]!, heap[j]!); j--) swap(j, j - 1)
  return heap
}

const INSERTION_MAX = 12

/** A fixed share of the series, by a hash of their labels, so that r and r-1 are each other's complement. */
function ratio(input: Vector, param: Float64Array, grid: Grid): Vector {
  return {
    metrics: input.metrics,
    nameFree: input.nameFree,
    fill(index, into) {
      input.fill(index, into)
      const place = hashPlace(input.metrics[index]!)
      for (let k = 0; k < grid.count; k++) {
        const r = Math.max(-1, Math.min(1, param[k]!))
        if (!(r >= 0 ? place < r : place >= 1 + r) || r === 0) into.present[k] = 0
      }
    },
  }
}

const encoder = new TextEncoder()

/** Where the series stands between 0 and 1: a hash of its names and values, each with its length before it. */
function hashPlace(metric: Metric): number {
  const bytes: number[] = []
  for (const text of metric.labels.flat()) {
    const encoded = encoder.encode(text)
    const size = encoded.length
    if (size < 255) bytes.push(size)
    else bytes.push(255, size & 255, (size >> 8) & 255, (size >> 16) & 255)
    for (const byte of encoded) bytes.push(byte)
  }
  return Number(xxhash64(Uint8Array.from(bytes))) / 2 ** 64
}

function countValues(ctx: Context, expr: Aggregate, input: Vector, grid: Grid): Vector {
  const label = textOf(expr.param!)
  if (!isLabelName(ctx.dialect, label)) ctx.fail(`invalid label name ${quote(label)}`)
  const grouping = new Grouping(expr.without ? expr.grouping : [...expr.grouping, label], expr.without)
  const found = new Map<string, { metric: Metric; column: Column }>()
  const member = ctx.column(grid.count)
  for (let i = 0; i < input.metrics.length; i++) {
    input.fill(i, member)
    const byValue = new Map<number, Column>()
    for (let k = 0; k < grid.count; k++) {
      if (member.present[k] === 0) continue
      const value = member.values[k]!
      // Zero has two forms that a map takes for one, though they print differently.
      const known = Object.is(value, -0) ? undefined : byValue.get(value)
      const column = known ?? columnFor(input.metrics[i]!, value)
      if (!Object.is(value, -0)) byValue.set(value, column)
      if (column.present[k] === 0) column.values[k] = 0
      column.present[k] = 1
      column.values[k]!++
    }
  }
  function columnFor(metric: Metric, value: number): Column {
    const labels = setLabel(metric.labels, label, formatPlain(value))
    const group = grouping.labels(labels)
    const key = keyOf(group)
    const known = found.get(key)
    if (known) return known.column
    if (found.size >= ctx.env.limits.seriesMax) ctx.fail(`count_values would make more than ${found.size} series`)
    const column = ctx.column(grid.count)
    found.set(key, { metric: { labels: group, dropName: false }, column })
    return column
  }
  ctx.release(grid.count * 9)
  const all = [...found.values()]
  return columnVector(
    all.map((entry) => entry.metric),
    all.map((entry) => entry.column),
    expr.without || !expr.grouping.includes(METRIC_NAME),
  )
}

/** The text of a literal, in parentheses or not. */
export function textOf(expr: Expr): string {
  let inner = expr
  while (inner.kind === 'paren') inner = inner.expr
  return inner.kind === 'string' ? inner.value : ''
}
