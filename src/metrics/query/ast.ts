/**
 * The tree of a PromQL expression, checked for types and ready to evaluate. Times are milliseconds; `span` is where
 * the node stands in the text, in UTF-16 units.
 */
import type { Millis } from '../../base/time.ts'
import type { Matcher } from '../metrics.ts'
import type { FunctionSignature, ValueType } from './functions.ts'
import type { Regexp } from './regexp.ts'

export type { ValueType }

export interface Span {
  readonly from: number
  readonly to: number
}

/** A matcher with its expression compiled. */
export interface CompiledMatcher extends Matcher {
  readonly regexp: Regexp | null
  matches(value: string): boolean
}

/** Milliseconds, or an expression over the step and range of the query, known when it is planned. */
export type Duration =
  | number
  | { readonly op: 'step' | 'range' }
  | {
      readonly op: '+' | '-' | '*' | '/' | '%' | '^' | 'min_of' | 'max_of'
      readonly left: Duration
      readonly right: Duration
    }
  | { readonly op: 'negate'; readonly left: Duration }

export interface TimeShift {
  readonly offset: Duration
  /** `@`: evaluation at this moment whatever the step. */
  readonly at: Millis | 'start' | 'end' | null
}

interface Base {
  readonly span: Span
  readonly type: ValueType
  /** The same at every step of a query: evaluated once. */
  readonly invariant: boolean
}

export interface NumberLiteral extends Base {
  readonly kind: 'number'
  readonly value: number
  /** Written as a duration: `5m`. */
  readonly asDuration: boolean
}
export interface StringLiteral extends Base {
  readonly kind: 'string'
  readonly value: string
}
export interface VectorSelector extends Base, TimeShift {
  readonly kind: 'vector'
  readonly name: string
  /** The name's matcher included, last. */
  readonly matchers: readonly CompiledMatcher[]
  readonly extended: 'anchored' | 'smoothed' | null
}
export interface MatrixSelector extends Base {
  readonly kind: 'matrix'
  readonly selector: VectorSelector
  readonly range: Duration
}
export interface Subquery extends Base, TimeShift {
  readonly kind: 'subquery'
  readonly expr: Expr
  readonly range: Duration
  /** Null: the default interval. */
  readonly step: Duration | null
}
export interface Paren extends Base {
  readonly kind: 'paren'
  readonly expr: Expr
}
export interface Unary extends Base {
  readonly kind: 'unary'
  readonly op: '+' | '-'
  readonly expr: Expr
}
export interface Call extends Base {
  readonly kind: 'call'
  readonly fn: FunctionSignature
  readonly args: readonly Expr[]
}
export type AggregateOp =
  | 'sum'
  | 'avg'
  | 'count'
  | 'min'
  | 'max'
  | 'group'
  | 'stddev'
  | 'stdvar'
  | 'topk'
  | 'bottomk'
  | 'count_values'
  | 'quantile'
  | 'limitk'
  | 'limit_ratio'
export interface Aggregate extends Base {
  readonly kind: 'aggregate'
  readonly op: AggregateOp
  readonly expr: Expr
  readonly param: Expr | null
  readonly grouping: readonly string[]
  readonly without: boolean
}

export type ArithmeticOp = '+' | '-' | '*' | '/' | '%' | '^' | 'atan2'
export type ComparisonOp = '==' | '!=' | '>' | '<' | '>=' | '<='
export type SetOp = 'and' | 'or' | 'unless'
export type BinaryOp = ArithmeticOp | ComparisonOp | SetOp

export interface Matching {
  readonly card: 'one-to-one' | 'many-to-one' | 'one-to-many' | 'many-to-many'
  /** `on` rather than `ignoring`. */
  readonly on: boolean
  readonly labels: readonly string[]
  /** Labels that `group_left` and `group_right` take over from the one side. */
  readonly include: readonly string[]
  /** Values for series without a partner; null where they are left out. */
  readonly fillLeft: number | null
  readonly fillRight: number | null
}
export interface Binary extends Base {
  readonly kind: 'binary'
  readonly op: BinaryOp
  readonly left: Expr
  readonly right: Expr
  readonly bool: boolean
  /** Null where a scalar takes part. */
  readonly matching: Matching | null
}

export type Expr =
  | NumberLiteral
  | StringLiteral
  | VectorSelector
  | MatrixSelector
  | Subquery
  | Paren
  | Unary
  | Call
  | Aggregate
  | Binary

export const comparisons: ReadonlySet<string> = new Set(['==', '!=', '>', '<', '>=', '<='])
export const setOperators: ReadonlySet<string> = new Set(['and', 'or', 'unless'])
export const isComparison = (op: BinaryOp): op is ComparisonOp => comparisons.has(op)
export const isSetOperator = (op: BinaryOp): op is SetOp => setOperators.has(op)

/** What is inside parentheses. */
export function unwrap(expr: Expr): Expr {
  let inner = expr
  while (inner.kind === 'paren') inner = inner.expr
  return inner
}

/** Every selector of an expression, in the order of its text. */
export function selectorsOf(expr: Expr): VectorSelector[] {
  switch (expr.kind) {
    case 'vector':
      return [expr]
    case 'matrix':
      return [expr.selector]
    case 'subquery':
    case 'paren':
    case 'unary':
      return selectorsOf(expr.expr)
    case 'call':
      return expr.args.flatMap(selectorsOf)
    case 'aggregate':
      return [...(expr.param ? selectorsOf(expr.param) : []), ...selectorsOf(expr.expr)]
    case 'binary':
      return [...selectorsOf(expr.left), ...selectorsOf(expr.right)]
    default:
      return []
  }
}
