/**
 * Binary operators. Between two vectors, series are paired by the labels that `on` or `ignoring` leaves. Where every
 * group has one series on its one side, pairs are computed as they are asked for; otherwise, and for what complains, step by
 * step over columns that are all there.
 */
import type { Binary, BinaryOp, Matching } from './ast.ts'
import { isComparison } from './ast.ts'
import type { Column, Context, Grid } from './context.ts'
import type { Metric } from './labelset.ts'
import { compareLabels, formatLabels, Grouping, keyOf, setLabel, withoutDescription, withoutName } from './labelset.ts'
import type { Vector } from './vector.ts'
import { columnVector, dropNames, emptyVector, mapColumns, materialise, relabelled } from './vector.ts'

/** As math.Pow in Go: JavaScript has NaN for powers of one. */
function power(base: number, exponent: number): number {
  if (base === 1 || exponent === 0) return 1
  if (base === -1 && !Number.isFinite(exponent) && !Number.isNaN(exponent)) return 1
  return base ** exponent
}

const arithmetic: Readonly<Record<string, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '%': (a, b) => a % b,
  '^': power,
  atan2: Math.atan2,
}

const comparison: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '>': (a, b) => a > b,
  '<': (a, b) => a < b,
  '>=': (a, b) => a >= b,
  '<=': (a, b) => a <= b,
}

/** The result is no longer what the name says. Prometheus 2 forgot atan2. */
const changesMeaning = (ctx: Context, op: BinaryOp): boolean =>
  !isComparison(op) && (op !== 'atan2' || ctx.dialect === 3)

export function scalarBinary(op: BinaryOp, left: Float64Array, right: Float64Array): Float64Array {
  const compute = arithmetic[op]
  if (compute) return left.map((value, k) => compute(value, right[k]!))
  const compare = comparison[op]!
  return left.map((value, k) => (compare(value, right[k]!) ? 1 : 0))
}

/** `swapped`: the scalar stands on the left. */
export function vectorScalar(
  ctx: Context,
  expr: Binary,
  vector: Vector,
  scalar: Float64Array,
  swapped: boolean,
  grid: Grid,
): Vector {
  const { op, bool } = expr
  const compute = arithmetic[op]
  if (compute) {
    const mapped = mapColumns(vector, ({ values }) => {
      if (swapped) for (let k = 0; k < grid.count; k++) values[k] = compute(scalar[k]!, values[k]!)
      else for (let k = 0; k < grid.count; k++) values[k] = compute(values[k]!, scalar[k]!)
    })
    return changesMeaning(ctx, op) ? dropNames(ctx, mapped, grid.count) : mapped
  }
  const compare = comparison[op]!
  const compared = mapColumns(vector, ({ values, present }) => {
    for (let k = 0; k < grid.count; k++) {
      const kept = swapped ? compare(scalar[k]!, values[k]!) : compare(values[k]!, scalar[k]!)
      if (bool) values[k] = kept ? 1 : 0
      else if (!kept) present[k] = 0
    }
  })
  return bool ? dropNames(ctx, compared, grid.count) : compared
}

/** Series of both sides that share the labels matched on. */
interface Match {
  readonly many: number[]
  readonly one: number[]
}

export function vectorVector(ctx: Context, expr: Binary, left: Vector, right: Vector, grid: Grid): Vector {
  const matching = expr.matching!
  switch (expr.op) {
    case 'and':
    case 'unless':
      return intersect(ctx, matching, left, right, grid, expr.op === 'and')
    case 'or':
      return union(ctx, matching, left, right, grid)
    default:
      return paired(ctx, expr, matching, left, right, grid)
  }
}

const groupingOf = (matching: Matching) => new Grouping(matching.labels, !matching.on)

// ------------------------------------------------------------------------------------------------- sets

/** Steps at which any series of a group has a value, by the group's key. */
function presence(ctx: Context, grouping: Grouping, vector: Vector, count: number): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>()
  const scratch = ctx.column(count)
  vector.metrics.forEach((metric, i) => {
    const key = grouping.key(metric.labels)
    let steps = found.get(key)
    if (!steps) {
      ctx.reserve(count)
      steps = new Uint8Array(count)
      found.set(key, steps)
    }
    vector.fill(i, scratch)
    for (let k = 0; k < count; k++) steps[k]! |= scratch.present[k]!
  })
  ctx.release(count * 9)
  return found
}

function intersect(ctx: Context, matching: Matching, left: Vector, right: Vector, grid: Grid, wanted: boolean): Vector {
  const grouping = groupingOf(matching)
  const steps = presence(ctx, grouping, right, grid.count)
  const keys = left.metrics.map((metric) => grouping.key(metric.labels))
  const kept = left.metrics.map((_, i) => i).filter((i) => !wanted || steps.has(keys[i]!))
  return {
    metrics: kept.map((i) => left.metrics[i]!),
    nameFree: left.nameFree,
    fill(index, into) {
      const i = kept[index]!
      left.fill(i, into)
      const other = steps.get(keys[i]!)
      if (!other) return
      for (let k = 0; k < grid.count; k++) if ((other[k] !== 0) !== wanted) into.present[k] = 0
    },
  }
}

function union(ctx: Context, matching: Matching, left: Vector, right: Vector, grid: Grid): Vector {
  const grouping = groupingOf(matching)
  const steps = presence(ctx, grouping, left, grid.count)
  const size = left.metrics.length
  const keys = right.metrics.map((metric) => grouping.key(metric.labels))
  const joined: Vector = {
    metrics: [...left.metrics, ...right.metrics],
    nameFree: false,
    fill(index, into) {
      if (index < size) {
        left.fill(index, into)
        return
      }
      right.fill(index - size, into)
      const taken = steps.get(keys[index - size]!)
      if (!taken) return
      for (let k = 0; k < grid.count; k++) if (taken[k] !== 0) into.present[k] = 0
    },
  }
  return relabelled(ctx, joined, joined.metrics, false, grid.count)
}

// ---------------------------------------------------------------------------------- arithmetic and comparison

function paired(ctx: Context, expr: Binary, matching: Matching, left: Vector, right: Vector, grid: Grid): Vector {
  const swapped = matching.card === 'one-to-many'
  const many = swapped ? right : left
  const one = swapped ? left : right
  const filled = matching.fillLeft !== null || matching.fillRight !== null
  if (!filled && (many.metrics.length === 0 || one.metrics.length === 0)) return emptyVector
  const grouping = groupingOf(matching)
  const matches = new Map<string, Match>()
  many.metrics.forEach((metric, i) => {
    const key = grouping.key(metric.labels)
    const match = matches.get(key)
    if (match) match.many.push(i)
    else matches.set(key, { many: [i], one: [] })
  })
  one.metrics.forEach((metric, i) => {
    const key = grouping.key(metric.labels)
    const match = matches.get(key)
    if (match) match.one.push(i)
    else matches.set(key, { many: [], one: [i] })
  })
  const pairing: Pairing = { ctx, expr, matching, many, one, swapped, grid }
  if (!filled) {
    const direct = directPairs(pairing, [...matches.values()])
    if (direct) return direct
  }
  return stepwise(pairing, [...matches.values()], grouping)
}

interface Pairing {
  readonly ctx: Context
  readonly expr: Binary
  readonly matching: Matching
  readonly many: Vector
  readonly one: Vector
  /** `many` is the right side. */
  readonly swapped: boolean
  readonly grid: Grid
}

/** The labels of a result. */
function resultMetric({ ctx, expr, matching }: Pairing, many: Metric, one: Metric): Metric {
  let labels = many.labels
  const comparing = isComparison(expr.op)
  if (ctx.dialect === 3) labels = changesMeaning(ctx, expr.op) ? withoutDescription(labels) : labels
  else if (changesMeaning(ctx, expr.op) || expr.bool) labels = withoutName(labels)
  if (matching.card === 'one-to-one') labels = labels.filter(([name]) => matching.labels.includes(name) === matching.on)
  for (const name of matching.include) labels = setLabel(labels, name, one.labels.find(([n]) => n === name)?.[1] ?? '')
  return { labels, dropName: comparing && (many.dropName || (expr.bool && ctx.dialect === 3)) }
}

/** Computes many's column with one's, into many's. */
function combine({ expr, swapped, grid }: Pairing, many: Column, one: Column): void {
  const compute = arithmetic[expr.op]
  const { values, present } = many
  if (compute) {
    for (let k = 0; k < grid.count; k++) {
      if (one.present[k] === 0) present[k] = 0
      else values[k] = swapped ? compute(one.values[k]!, values[k]!) : compute(values[k]!, one.values[k]!)
    }
    return
  }
  const compare = comparison[expr.op]!
  for (let k = 0; k < grid.count; k++) {
    if (one.present[k] === 0) {
      present[k] = 0
      continue
    }
    const a = swapped ? one.values[k]! : values[k]!
    const b = swapped ? values[k]! : one.values[k]!
    const kept = compare(a, b)
    if (expr.bool) values[k] = kept ? 1 : 0
    else if (kept) values[k] = a
    else present[k] = 0
  }
}

/** One partner each, and no result twice: nothing can complain, nothing needs to be held. Null when it is not so. */
function directPairs(pairing: Pairing, matches: readonly Match[]): Vector | null {
  const { ctx, matching, many, one, grid } = pairing
  const pairs: { readonly many: number; readonly one: number; readonly shared: boolean }[] = []
  for (const match of matches) {
    if (match.one.length > 1) return null
    if (match.one.length === 0 || match.many.length === 0) continue
    if (match.many.length > 1 && matching.card === 'one-to-one') return null
    for (const i of match.many) pairs.push({ many: i, one: match.one[0]!, shared: match.many.length > 1 })
  }
  const metrics = pairs.map((pair) => resultMetric(pairing, many.metrics[pair.many]!, one.metrics[pair.one]!))
  if (matching.card !== 'one-to-one' && new Set(metrics.map((m) => keyOf(m.labels))).size < metrics.length) return null
  const scratch = ctx.column(grid.count)
  // A column that many series need is computed once.
  let held = -1
  return {
    metrics,
    nameFree: matching.card === 'one-to-one' || !metrics.some((m) => m.labels.some(([name]) => name === '__name__')),
    fill(index, into) {
      const pair = pairs[index]!
      if (!pair.shared || held !== pair.one) one.fill(pair.one, scratch)
      held = pair.one
      many.fill(pair.many, into)
      combine(pairing, into, scratch)
    },
  }
}

/** Step by step over all columns, as the definition has it, with every complaint that it makes. */
function stepwise(pairing: Pairing, matches: readonly Match[], grouping: Grouping): Vector {
  const { ctx, expr, matching, many, one, swapped, grid } = pairing
  const count = grid.count
  const manyColumns = materialise(ctx, many, count)
  const oneColumns = materialise(ctx, one, count)
  const anywhere = (columns: readonly Column[], k: number) => columns.some((column) => column.present[k] !== 0)
  const manyFill = swapped ? matching.fillRight : matching.fillLeft
  const oneFill = swapped ? matching.fillLeft : matching.fillRight
  const compute = arithmetic[expr.op]
  const compare = comparison[expr.op]
  const results = new Map<string, { metric: Metric; column: Column }>()
  const known = new Map<string, { metric: Metric; key: string }>()
  const resultFor = (a: Metric, b: Metric, ids: string) => {
    let found = known.get(ids)
    if (!found) {
      const metric = resultMetric(pairing, a, b)
      found = { metric, key: keyOf(metric.labels) }
      known.set(ids, found)
    }
    return found
  }
  const duplicates = (a: Metric, b: Metric): never => {
    const group = grouping.labels(b.labels)
    const side = swapped ? 'left' : 'right'
    return ctx.fail(
      `found duplicate series for the match group ${formatLabels(group)} on the ${side} hand-side of the operation: ` +
        `[${formatLabels(b.labels)}, ${formatLabels(a.labels)}]` +
        ';many-to-many matching not allowed: matching labels must be unique on one side',
    )
  }
  // In order of labels, so that of several duplicates the one that is complained of is Prometheus'.
  const ordered = matches
    .flatMap((match, m) => match.one.map((index) => ({ index, m })))
    .sort((a, b) => compareLabels(one.metrics[a.index]!.labels, one.metrics[b.index]!.labels))
  const partners = new Int32Array(matches.length)
  for (let k = 0; k < count; k++) {
    ctx.env.checkpoint()
    const someMany = anywhere(manyColumns, k)
    const someOne = anywhere(oneColumns, k)
    if (!someMany && !someOne) continue
    if ((!someMany || !someOne) && manyFill === null && oneFill === null) continue
    partners.fill(-1)
    for (const { index, m } of ordered) {
      if (oneColumns[index]!.present[k] === 0) continue
      if (partners[m]! >= 0) duplicates(one.metrics[partners[m]!]!, one.metrics[index]!)
      partners[m] = index
    }
    for (const [m, match] of matches.entries()) {
      const partner = partners[m]!
      const seen = new Set<string>()
      let matched = false
      const pair = (i: number, j: number) => {
        const source = match.many.length > 0 ? many.metrics[match.many[0]!]! : one.metrics[match.one[0]!]!
        const filler: Metric = { labels: grouping.labels(source.labels), dropName: false }
        const x = i >= 0 ? manyColumns[i]!.values[k]! : manyFill!
        const y = j >= 0 ? oneColumns[j]!.values[k]! : oneFill!
        const a = swapped ? y : x
        const b = swapped ? x : y
        const keep = compute ? true : compare!(a, b)
        if (!keep && !expr.bool && ctx.dialect === 2) return
        const { metric, key } = resultFor(
          i >= 0 ? many.metrics[i]! : filler,
          j >= 0 ? one.metrics[j]! : filler,
          `${i} ${j} ${i < 0 || j < 0 ? keyOf(filler.labels) : ''}`,
        )
        if (matching.card === 'one-to-one') {
          if (matched)
            ctx.fail('multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)')
        } else if (seen.has(key)) {
          ctx.fail('multiple matches for labels: grouping labels must ensure unique matches')
        }
        matched = true
        seen.add(key)
        if (!keep && !expr.bool) return
        let result = results.get(key)
        if (!result) {
          result = { metric, column: ctx.column(count) }
          results.set(key, result)
        }
        if (result.column.present[k] !== 0) ctx.fail('vector cannot contain metrics with the same labelset')
        result.column.present[k] = 1
        result.column.values[k] = compute ? compute(a, b) : expr.bool ? (keep ? 1 : 0) : a
      }
      if (partner >= 0 || oneFill !== null)
        for (const i of match.many) if (manyColumns[i]!.present[k] !== 0) pair(i, partner)
      if (partner >= 0 && !matched && manyFill !== null) pair(-1, partner)
    }
  }
  const all = [...results.values()]
  return columnVector(
    all.map((entry) => entry.metric),
    all.map((entry) => entry.column),
    false,
  )
}
