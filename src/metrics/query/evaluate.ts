/**
 * Evaluates a tree over all steps of a query at once.
 *
 *   expression ──▶ vectors (series known, columns on demand) ──▶ answer, computed series by series as it is written
 *
 * Parts that are the same at every step are evaluated once. Nothing here knows of threads or HTTP.
 */
import type { Millis } from '../../base/time.ts'
import type { Labels } from '../labels.ts'
import type { SampleBuffer } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import { aggregate, textOf } from './aggregate.ts'
import type { Call, Expr, MatrixSelector, Subquery } from './ast.ts'
import { unwrap } from './ast.ts'
import { scalarBinary, vectorScalar, vectorVector } from './binary.ts'
import type { Environment, Grid } from './context.ts'
import { Context, QueryError, timeAt } from './context.ts'
import { histogramFraction, histogramQuantile, histogramQuantiles } from './histogram.ts'
import { info } from './info.ts'
import { compareLabels } from './labelset.ts'
import { parse } from './parse.ts'
import { extendedSamples, rangeFunction } from './range-functions.ts'
import type { Ranges } from './ranges.ts'
import { instantSelector, rangeSelector, subqueryRanges } from './ranges.ts'
import { rolledFunction } from './rollups.ts'
import type { Vector } from './vector.ts'
import { broadcast, columnVector, dropNames, mapColumns, settleNames } from './vector.ts'
import * as functions from './vector-functions.ts'

/** What to evaluate: an instant query has the same start and end and a step of 0. */
export interface Query {
  readonly text: string
  /** Parsed already; else the text is parsed. */
  readonly expr?: Expr
  readonly start: Millis
  readonly end: Millis
  readonly step: Millis
}

/** Series of an answer. Columns are computed when `read` asks: errors can come that late. */
export interface AnswerSeries {
  readonly labels: readonly Labels[]
  /** The samples of one series; empty when it has none, and then it is not part of the answer. */
  read(index: number, into: SampleBuffer): void
}

export type Answer = { readonly context: Context } & (
  | { readonly kind: 'scalar'; readonly time: Millis; readonly value: number }
  | { readonly kind: 'string'; readonly time: Millis; readonly value: string }
  /** One sample each, at the time of evaluation. */
  | { readonly kind: 'vector'; readonly time: Millis; readonly series: AnswerSeries }
  | { readonly kind: 'matrix'; readonly series: AnswerSeries }
)

/** Evaluates a query. Throws `ParseError`, `QueryError`, and `AppError` from the store. */
export function evaluateQuery(env: Environment, query: Query): Answer {
  const expr = query.expr ?? parse(query.text)
  const context = new Context(env, query.text, query)
  const ranged = query.step > 0
  if (ranged && expr.type !== 'scalar' && expr.type !== 'vector')
    throw new QueryError(
      'bad_data',
      `invalid expression type ${JSON.stringify(expr.type === 'matrix' ? 'range vector' : 'string')} for range query, must be Scalar or instant Vector`,
    )
  const count = ranged ? Math.floor((query.end - query.start) / query.step) + 1 : 1
  if (count > env.limits.stepsMax)
    throw new QueryError(
      'bad_data',
      `exceeded maximum resolution of ${env.limits.stepsMax.toLocaleString('en-US')} points per timeseries. Try decreasing the query resolution (?step=XX)`,
    )
  const grid: Grid = { start: query.start, step: query.step, count }
  const evaluator = new Evaluator(context)
  const time = query.start
  switch (expr.type) {
    case 'string':
      return { context, kind: 'string', time, value: textOf(expr) }
    case 'matrix':
      return { context, kind: 'matrix', series: evaluator.samples(expr, grid) }
    case 'scalar': {
      const values = evaluator.scalar(expr, grid)
      if (!ranged) return { context, kind: 'scalar', time, value: values[0]! }
      const column = { values, present: new Uint8Array(count).fill(1) }
      const vector = columnVector([{ labels: [], dropName: false }], [column], true)
      return { context, kind: 'matrix', series: answerOf(context, vector, grid, true) }
    }
    default: {
      const vector = settleNames(context, evaluator.vector(expr, grid), count)
      const series = answerOf(context, vector, grid, ranged)
      return ranged ? { context, kind: 'matrix', series } : { context, kind: 'vector', time, series }
    }
  }
}

function answerOf(ctx: Context, vector: Vector, grid: Grid, sorted: boolean): AnswerSeries {
  const indexes = vector.metrics.map((_, i) => i)
  if (sorted) indexes.sort((a, b) => compareLabels(vector.metrics[a]!.labels, vector.metrics[b]!.labels))
  const column = ctx.column(grid.count)
  return {
    labels: indexes.map((i) => vector.metrics[i]!.labels),
    read(index, into) {
      ctx.env.checkpoint()
      vector.fill(indexes[index]!, column)
      if (into.times.length < grid.count) {
        into.times = new Float64Array(grid.count)
        into.values = new Float64Array(grid.count)
      }
      let length = 0
      for (let k = 0; k < grid.count; k++) {
        if (column.present[k] === 0) continue
        into.times[length] = timeAt(grid, k)
        into.values[length++] = column.values[k]!
      }
      into.length = length
    },
  }
}

class Evaluator {
  readonly #ctx: Context
  constructor(ctx: Context) {
    this.#ctx = ctx
  }

  /** A value for each step. */
  scalar(expr: Expr, grid: Grid): Float64Array {
    const constant = (value: number) => new Float64Array(grid.count).fill(value)
    switch (expr.kind) {
      case 'number':
        return constant(expr.value)
      case 'paren':
        return this.scalar(expr.expr, grid)
      case 'unary': {
        const values = this.scalar(expr.expr, grid)
        return expr.op === '-' ? values.map((value) => -value) : values
      }
      case 'binary':
        return scalarBinary(expr.op, this.scalar(expr.left, grid), this.scalar(expr.right, grid))
      case 'call':
        switch (expr.fn.name) {
          case 'time':
            return constant(0).map((_, k) => timeAt(grid, k) / 1000)
          case 'pi':
            return constant(Math.PI)
          case 'start':
            return constant(this.#ctx.query.start / 1000)
          case 'end':
            return constant(this.#ctx.query.end / 1000)
          case 'range':
            return constant((this.#ctx.query.end - this.#ctx.query.start) / 1000)
          case 'step':
            return constant(this.#ctx.query.step / 1000)
          default: {
            const [arg] = expr.args
            return functions.toScalar(this.#ctx, this.vector(arg!, grid), grid)
          }
        }
      default:
        return this.#ctx.fail(`expected a scalar, got ${expr.type}`)
    }
  }

  vector(expr: Expr, grid: Grid): Vector {
    this.#ctx.env.checkpoint()
    if (expr.invariant && grid.count > 1)
      return broadcast(this.#vector(expr, { start: grid.start, step: grid.step, count: 1 }), grid)
    return this.#vector(expr, grid)
  }

  #vector(expr: Expr, grid: Grid): Vector {
    switch (expr.kind) {
      case 'paren':
        return this.vector(expr.expr, grid)
      case 'vector':
        return instantSelector(this.#ctx, expr, grid)
      case 'unary': {
        const inner = this.vector(expr.expr, grid)
        if (expr.op === '+') return inner
        const negated = mapColumns(inner, ({ values }) => {
          for (let k = 0; k < grid.count; k++) values[k] = -values[k]!
        })
        return dropNames(this.#ctx, negated, grid.count)
      }
      case 'aggregate': {
        const param = expr.param?.type === 'scalar' ? this.scalar(expr.param, grid) : null
        return aggregate(this.#ctx, expr, this.vector(expr.expr, grid), param, grid)
      }
      case 'binary': {
        const { left, right } = expr
        if (left.type === 'scalar')
          return vectorScalar(this.#ctx, expr, this.vector(right, grid), this.scalar(left, grid), true, grid)
        if (right.type === 'scalar')
          return vectorScalar(this.#ctx, expr, this.vector(left, grid), this.scalar(right, grid), false, grid)
        return vectorVector(this.#ctx, expr, this.vector(left, grid), this.vector(right, grid), grid)
      }
      case 'call':
        return this.#call(expr, grid)
      default:
        return this.#ctx.fail(`expected an instant vector, got ${expr.type}`)
    }
  }

  #call(call: Call, grid: Grid): Vector {
    const ctx = this.#ctx
    const { name } = call.fn
    const { args } = call
    const vectorAt = (i: number) => this.vector(args[i]!, grid)
    const scalarAt = (i: number) => this.scalar(args[i]!, grid)
    const range = args.find((arg) => arg.type === 'matrix')
    if (range) {
      const inner = unwrap(range)
      const found =
        inner.kind === 'matrix'
          ? rangeSelector(ctx, inner, grid, (rolled) => rolledFunction(ctx, call, rolled, grid))
          : this.ranges(inner, grid)
      if (!('load' in found)) return found
      const ranges = found
      const params = args.filter((arg) => arg.type === 'scalar').map((arg) => this.scalar(arg, grid))
      const result = rangeFunction(ctx, call, ranges, params, grid)
      return name === 'absent_over_time' ? functions.absent(ctx, result, ranges.matchers, grid) : result
    }
    if (functions.isSimple(name)) {
      if (args.length > 0) return functions.applySimple(ctx, name, vectorAt(0), grid)
      const compute = functions.simpleFunction(name)
      return this.#scalarVector(
        new Float64Array(grid.count).map((_, k) => compute(timeAt(grid, k) / 1000)),
        grid,
      )
    }
    switch (name) {
      case 'vector':
        return this.#scalarVector(scalarAt(0), grid)
      case 'timestamp': {
        const inner = unwrap(args[0]!)
        if (inner.kind !== 'vector') return functions.evaluationTimes(ctx, vectorAt(0), grid)
        return dropNames(ctx, instantSelector(ctx, inner, grid, true), grid.count)
      }
      case 'absent':
        return functions.absent(ctx, vectorAt(0), functions.selectorOf(args[0]!), grid)
      case 'clamp':
        return functions.clamp(ctx, vectorAt(0), scalarAt(1), scalarAt(2), grid)
      case 'clamp_min':
        return functions.clamp(ctx, vectorAt(0), scalarAt(1), filled(grid, Number.POSITIVE_INFINITY), grid)
      case 'clamp_max':
        return functions.clamp(ctx, vectorAt(0), filled(grid, Number.NEGATIVE_INFINITY), scalarAt(1), grid)
      case 'round':
        return functions.round(ctx, vectorAt(0), args[1] ? scalarAt(1) : null, grid)
      case 'sort':
      case 'sort_desc':
        return functions.sortByValue(ctx, vectorAt(0), grid, name === 'sort_desc')
      case 'sort_by_label':
      case 'sort_by_label_desc':
        return functions.sortByLabel(call, vectorAt(0), grid, name === 'sort_by_label_desc')
      case 'label_replace':
        return functions.labelReplace(ctx, call, vectorAt(0), grid)
      case 'label_join':
        return functions.labelJoin(ctx, call, vectorAt(0), grid)
      case 'histogram_quantile':
        return histogramQuantile(ctx, args, scalarAt(0), vectorAt(1), grid)
      case 'histogram_quantiles': {
        const qs = args.slice(2).map((arg) => this.scalar(arg, grid))
        return histogramQuantiles(ctx, args, textOf(args[1]!), qs, vectorAt(0), grid)
      }
      case 'histogram_fraction':
        return histogramFraction(ctx, args, scalarAt(0), scalarAt(1), vectorAt(2), grid)
      case 'info':
        return info(ctx, call, vectorAt(0), grid)
      default:
        return ctx.fail(`function ${name} is not supported`)
    }
  }

  #scalarVector(values: Float64Array, grid: Grid): Vector {
    const column = { values, present: new Uint8Array(grid.count).fill(1) }
    return columnVector([{ labels: [], dropName: false }], [column], true)
  }

  ranges(expr: Expr, grid: Grid): Ranges {
    const inner = unwrap(expr)
    if (inner.kind === 'matrix') return rangeSelector<never>(this.#ctx, inner, grid, () => null)
    if (inner.kind === 'subquery')
      return subqueryRanges(this.#ctx, inner, grid, (child, childGrid) => this.vector(child, childGrid))
    return this.#ctx.fail(`expected a range vector, got ${expr.type}`)
  }

  /** The samples of a range as they are: the answer to an instant query for one. */
  samples(expr: Expr, grid: Grid): AnswerSeries {
    const inner = unwrap(expr) as MatrixSelector | Subquery
    const ranges = this.ranges(inner, grid)
    const end = ranges.first
    const begin = end - ranges.rangeMs
    const order = ranges.metrics
      .map((_, i) => i)
      .sort((a, b) => compareLabels(ranges.metrics[a]!.labels, ranges.metrics[b]!.labels))
    return {
      labels: order.map((i) => ranges.metrics[i]!.labels),
      read: (index, into) => {
        const buffer = ranges.load(order[index]!)
        if (ranges.extended) {
          extendedSamples(buffer, begin, end, ranges.extended === 'smoothed', this.#ctx.env.lookbackMs, into)
          return
        }
        const { times, values, length } = buffer
        if (into.times.length < length) Object.assign(into, sampleBuffer(length))
        into.length = 0
        for (let i = 0; i < length; i++) {
          const time = times[i]!
          if (time > end || time < begin || (time === begin && this.#ctx.dialect === 3)) continue
          into.times[into.length] = time
          into.values[into.length++] = values[i]!
        }
      },
    }
  }
}

const filled = (grid: Grid, value: number) => new Float64Array(grid.count).fill(value)
