/**
 * `info()`: adds to series the labels of info metrics (by default `target_info`) that share `instance` and `job`.
 */
import type { Label, Labels } from '../labels.ts'
import { METRIC_NAME } from '../labels.ts'
import type { Call, Expr, TimeShift } from './ast.ts'
import type { Column, Context, Grid } from './context.ts'
import { Grouping, keyOf, labelValueOf, setLabel } from './labelset.ts'
import { compileMatcher } from './parse.ts'
import { instantSelector } from './ranges.ts'
import type { Vector } from './vector.ts'
import { columnVector, materialise } from './vector.ts'

const identifying = ['instance', 'job']
const DEFAULT_NAME = 'target_info'

export function info(ctx: Context, call: Call, vector: Vector, grid: Grid): Vector {
  const selector = call.args[1]?.kind === 'vector' ? call.args[1] : null
  const wanted = selector?.matchers ?? []
  const byName = wanted.filter((m) => m.name === METRIC_NAME)
  const nameMatchers =
    byName.length > 0 ? byName : [compileMatcher({ name: METRIC_NAME, op: '=', value: DEFAULT_NAME })]
  const dataMatchers = wanted.filter((m) => m.name !== METRIC_NAME)
  const isInfo = (labels: Labels) => nameMatchers.every((m) => m.matches(labelValueOf(labels, METRIC_NAME)))
  const infoSelector = {
    kind: 'vector' as const,
    span: call.span,
    type: 'vector' as const,
    invariant: false,
    ...shiftOf(call.args[0]!),
    name: '',
    matchers: [...nameMatchers, ...dataMatchers.filter((m) => !m.matches(''))],
    extended: null,
  }
  const infos = instantSelector(ctx, infoSelector, grid)
  const stamps = instantSelector(ctx, infoSelector, grid, true)
  const infoTimes = materialise(ctx, stamps, grid.count)
  const grouping = new Grouping(identifying, false)
  const bySource = new Map<string, number[]>()
  infos.metrics.forEach((metric, i) => {
    const key = grouping.key(metric.labels)
    const list = bySource.get(key)
    if (list) list.push(i)
    else bySource.set(key, [i])
  })
  const results = new Map<string, { labels: Labels; dropName: boolean; column: Column }>()
  const scratch = ctx.column(grid.count)
  const added = new Set(dataMatchers.map((m) => m.name))
  vector.metrics.forEach((metric, i) => {
    vector.fill(i, scratch)
    const candidates = isInfo(metric.labels) ? [] : (bySource.get(grouping.key(metric.labels)) ?? [])
    const plain = isInfo(metric.labels)
    let lastIds = ''
    let labels: Labels | null = plain ? metric.labels : null
    for (let k = 0; k < grid.count; k++) {
      if (scratch.present[k] === 0) continue
      if (!plain) {
        const newest = newestByName(ctx, infos, infoTimes, candidates, k)
        const ids = newest.join()
        if (k === 0 || ids !== lastIds || labels === null) labels = joined(ctx, metric.labels, infos, newest)
        lastIds = ids
      }
      // Without the labels that were asked for, and unless they may be empty, the series is left out.
      if (!plain && dataMatchers.some((m) => !m.matches(labelValueOf(labels!, m.name)))) continue
      const key = keyOf(labels!)
      let result = results.get(key)
      if (!result) {
        result = { labels: labels!, dropName: metric.dropName, column: ctx.column(grid.count) }
        results.set(key, result)
      }
      if (result.column.present[k] !== 0) ctx.fail('vector cannot contain metrics with the same labelset')
      result.column.present[k] = 1
      result.column.values[k] = scratch.values[k]!
    }
  })
  function joined(context: Context, base: Labels, source: Vector, newest: readonly number[]): Labels {
    let labels = base
    const from = new Map<string, string>()
    for (const i of newest) {
      for (const [name, value] of source.metrics[i]!.labels as readonly Label[]) {
        if (name === METRIC_NAME || identifying.includes(name) || labelValueOf(base, name) !== '') continue
        if (added.size > 0 && !added.has(name)) continue
        const known = from.get(name)
        if (known !== undefined && known !== value) context.fail(`conflicting label: ${name}`)
        from.set(name, value)
        labels = setLabel(labels, name, value)
      }
    }
    return labels
  }
  const all = [...results.values()]
  return columnVector(
    all.map(({ labels, dropName }) => ({ labels, dropName })),
    all.map(({ column }) => column),
    false,
  )
}

/** Info metrics are read at the moment of what they are added to: of its first selector. */
function shiftOf(expr: Expr): TimeShift {
  switch (expr.kind) {
    case 'vector':
      return { offset: expr.offset, at: expr.at }
    case 'matrix':
      return shiftOf(expr.selector)
    case 'paren':
    case 'unary':
    case 'aggregate':
      return shiftOf(expr.expr)
    case 'binary':
      return shiftOf(expr.left.type === 'vector' ? expr.left : expr.right)
    case 'call': {
      const arg = expr.args.find((a) => a.type === 'vector' || a.type === 'matrix')
      return arg ? shiftOf(arg) : { offset: 0, at: null }
    }
    case 'subquery':
      return { offset: expr.offset, at: expr.at }
    default:
      return { offset: 0, at: null }
  }
}

/** Of the info series with one name, the one with the newest sample counts. */
function newestByName(
  ctx: Context,
  infos: Vector,
  times: readonly Column[],
  candidates: readonly number[],
  k: number,
): number[] {
  const best = new Map<string, number>()
  for (const i of candidates) {
    if (times[i]!.present[k] === 0) continue
    const name = labelValueOf(infos.metrics[i]!.labels, METRIC_NAME)
    const known = best.get(name)
    if (known === undefined || times[i]!.values[k]! > times[known]!.values[k]!) best.set(name, i)
    else if (times[i]!.values[k] === times[known]!.values[k]) ctx.fail(`found duplicate series for info metric ${name}`)
  }
  return [...best.values()]
}
