/**
 * PromQL text to a checked tree. The official grammar (lezer) gives the structure; values are read from the text
 * itself, types are checked as Prometheus checks them, and every refusal is a `ParseError` in its wording.
 */
import type { SyntaxNode } from '@lezer/common'
import { parser } from '@prometheus-io/lezer-promql'
import type { Millis } from '../../base/time.ts'
import type { Matcher } from '../metrics.ts'
import type {
  Aggregate,
  AggregateOp,
  Binary,
  BinaryOp,
  Call,
  CompiledMatcher,
  Duration,
  Expr,
  Matching,
  MatrixSelector,
  Span,
  Subquery,
  TimeShift,
  ValueType,
  VectorSelector,
} from './ast.ts'
import { isComparison, isSetOperator } from './ast.ts'
import { functionSignatures, nativeHistogramOnly, stepDependent } from './functions.ts'
import { forGrammar, type Lexed, lex, ParseError, quote, unexpected, unknownFunction, unquote } from './lex.ts'
import { compileRegexp, RegexpError } from './regexp.ts'

/** Deeper trees are refused: they would exhaust the stack of whoever walks them. */
const DEPTH_MAX = 500
const TEXT_MAX = 1_000_000
/** Words of an expression; the grammar's parser takes its time over those that make no sense. */
const TOKENS_MAX = 20_000

/** Parses one expression. Throws `ParseError`. */
export function parse(text: string): Expr {
  if (text.length > TEXT_MAX) throw new ParseError('', { from: 0, to: 0 }, 'expression is too long')
  const lexed = lex(text)
  if (lexed.tokens.length > TOKENS_MAX) throw new ParseError('', { from: 0, to: 0 }, 'expression is too long')
  if (lexed.tokens.length > 0 && tooDeep(lexed))
    throw new ParseError(text, { from: 0, to: 0 }, 'expression nests too deeply')
  const tree = parser.parse(forGrammar(text, lexed))
  let broken: number | null = null
  tree.iterate({
    enter: (node) => {
      if (broken === null && node.type.isError) broken = node.from
      return broken === null
    },
  })
  const top = tree.topNode.getChild('Expr')
  if (broken === null && !top) broken = 0
  if (broken !== null || lexed.error) throw syntaxError(text, lexed, broken)
  return new Builder(text).expr(top!)
}

function tooDeep(lexed: Lexed): boolean {
  let depth = 0
  let signs = 0
  for (const token of lexed.tokens) {
    if (token.text === '(') depth++
    else if (token.text === ')') depth--
    signs =
      token.text === '-' || token.text === '+' || token.text === '^' ? signs + 1 : token.kind === 'mark' ? signs : 0
    if (depth > DEPTH_MAX || signs > DEPTH_MAX) return true
  }
  return false
}

/** The grammar's parser cuts its stack somewhat above this, and then finds errors where there are none. */
const OPERATORS_MAX = 400

function syntaxError(text: string, lexed: Lexed, broken: number | null): ParseError {
  const { tokens, error } = lexed
  if (broken !== null && tokens.filter((token) => token.kind === 'operator').length > OPERATORS_MAX)
    return new ParseError(text, { from: 0, to: 0 }, `expression has more than ${OPERATORS_MAX} operators`)
  const index = broken === null ? tokens.length : tokens.findIndex((t) => t.to > broken)
  const missing = unknownFunction(tokens, index < 0 ? tokens.length : index)
  if (missing) return new ParseError(text, missing, `unknown function with name ${quote(missing.text)}`)
  if (error && (index < 0 || index >= tokens.length))
    return new ParseError(text, { from: error.at, to: text.length }, error.reason)
  const at = index < 0 ? tokens.length : index
  if (tokens[at]?.text === ')' && tokens[at - 1]?.text === ',')
    return new ParseError(text, tokens[at - 1]!, 'trailing commas not allowed in function call args')
  const span = tokens[at] ?? { from: text.length, to: text.length }
  return new ParseError(text, tokens.length === 0 ? { from: 0, to: 0 } : span, unexpected(lexed, at))
}

/** Compiles a matcher; throws `RegexpError`. */
export function compileMatcher(matcher: Matcher, dotAll = true): CompiledMatcher {
  const { name, op, value } = matcher
  if (op === '=') return { name, op, value, regexp: null, matches: (v) => v === value }
  if (op === '!=') return { name, op, value, regexp: null, matches: (v) => v !== value }
  const regexp = compileRegexp(value, { dotAll })
  const wanted = op === '=~'
  return { name, op, value, regexp, matches: (v) => regexp.test(v) === wanted }
}

/** A series selector alone, as `match[]` takes it: `up{job="x"}`. Throws `ParseError`. */
export function parseSelector(text: string): VectorSelector {
  const expr = parse(text)
  if (expr.kind !== 'vector' || expr.offset !== 0 || expr.at !== null)
    throw new ParseError(text, expr.span, 'expected a series selector')
  return expr
}

const documented: Readonly<Record<ValueType, string>> = {
  scalar: 'scalar',
  vector: 'instant vector',
  matrix: 'range vector',
  string: 'string',
}

const aggregateWithParam = new Set<AggregateOp>([
  'topk',
  'bottomk',
  'quantile',
  'count_values',
  'limitk',
  'limit_ratio',
])
const notModified: TimeShift = { offset: 0, at: null }

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
}
const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/
/** What fits 63 bits of nanoseconds. */
const DURATION_MAX = 9_223_372_036_854

/** Milliseconds of `1h30m`; an Error says what is wrong with the text. */
export function parseDuration(text: string): Millis {
  if (text === '') throw new Error('empty duration string')
  if (text === '0') return 0
  const found = DURATION.exec(text)
  if (!found) throw new Error(`not a valid duration string: ${quote(text)}`)
  const units = ['y', 'w', 'd', 'h', 'm', 's', 'ms']
  const ms = units.reduce((sum, unit, i) => sum + Number(found[i + 1] ?? 0) * UNITS[unit]!, 0)
  if (ms > DURATION_MAX) throw new Error('duration out of range')
  return ms
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/

/** Milliseconds of a parameter: seconds, or a duration such as `5m`. Null when it is neither. */
export function readDuration(text: string): Millis | null {
  if (DECIMAL.test(text)) {
    const ms = Math.round(Number(text) * 1000)
    return Math.abs(ms) <= DURATION_MAX ? ms : null
  }
  try {
    return parseDuration(text)
  } catch {
    return null
  }
}

/** A number as Go reads it: base prefixes, underscores, leading zero for octal, Inf and NaN. Null when it is none. */
export function parseNumber(text: string): number | null {
  const sign = text[0] === '-' ? -1 : 1
  const body = /^[+-]/.test(text) ? text.slice(1) : text
  if (/^(inf|infinity)$/i.test(body)) return sign * Number.POSITIVE_INFINITY
  if (/^nan$/i.test(body)) return Number.NaN
  const plain = body.replaceAll('_', '')
  if (/^0[xX][0-9a-fA-F]+$/.test(plain)) return sign * Number.parseInt(plain.slice(2), 16)
  if (/^0[oO]?[0-7]+$/.test(plain)) return sign * Number.parseInt(plain.replace(/^0[oO]?/, ''), 8)
  if (/^0[bB][01]+$/.test(plain)) return sign * Number.parseInt(plain.slice(2), 2)
  if (!/^(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(plain)) return null
  return sign * Number(plain)
}

/** What stands in a row of operators. */
type Item =
  | { readonly kind: 'operand'; readonly expr: Expr }
  | { readonly kind: 'sign'; readonly op: string; readonly from: number }
  /** The operator and its matching are read from the grammar's node. */
  | { readonly kind: 'operator'; readonly node: SyntaxNode }

const MODIFIERS = new Set([
  'MatrixSelector',
  'SubqueryExpr',
  'OffsetExpr',
  'StepInvariantExpr',
  'AnchoredExpr',
  'SmoothedExpr',
])

const POWER = 6
const PRECEDENCE: Readonly<Record<string, number>> = {
  or: 1,
  and: 2,
  unless: 2,
  '==': 3,
  '!=': 3,
  '>': 3,
  '<': 3,
  '>=': 3,
  '<=': 3,
  '</': 3,
  '>/': 3,
  '+': 4,
  '-': 4,
  '*': 5,
  '/': 5,
  '%': 5,
  atan2: 5,
  '^': POWER,
}

/** The operator of a binary expression: what follows the first operand, comments aside. */
function operatorOf(node: SyntaxNode): SyntaxNode {
  let operator = node.getChild('Expr')!.nextSibling!
  while (operator.name === 'LineComment') operator = operator.nextSibling!
  return operator
}

class Builder {
  readonly #text: string
  #depth = 0
  constructor(text: string) {
    this.#text = text
  }

  #fail(span: Span, reason: string): never {
    throw new ParseError(this.#text, { from: span.from, to: span.to }, reason)
  }
  #read(node: Span): string {
    return this.#text.slice(node.from, node.to)
  }

  /**
   * The grammar lets a modifier (`offset`, `@`, a range) apply to all that stands before it, and takes a sign into a
   * number before a power. So operands and operators are laid out in a row, and put together again by Prometheus'
   * precedence: modifiers first, then powers, signs, products, sums, comparisons, `and`, `or`.
   */
  expr(node: SyntaxNode): Expr {
    if (++this.#depth > DEPTH_MAX) this.#fail(node, 'expression nests too deeply')
    const row: Item[] = []
    this.#layOut(node, row)
    const made = this.#climb(row, { at: 0 }, 0)
    this.#depth--
    return made
  }

  #layOut(node: SyntaxNode, row: Item[]): void {
    // Operators to the left nest as deep as the row is long: a loop, not a recursion.
    const spine: SyntaxNode[] = []
    let first = node
    while (first.name === 'BinaryExpr' || MODIFIERS.has(first.name)) {
      spine.push(first)
      first = this.#child(first, 'Expr')
    }
    if (first.name === 'UnaryExpr') {
      const op = this.#child(first, 'UnaryOp')
      row.push({ kind: 'sign', op: this.#read(op), from: op.from })
      this.#layOut(this.#child(first, 'Expr'), row)
    } else if (first.name === 'NumberDurationLiteral' && /^[+-]/.test(this.#read(first))) {
      row.push({ kind: 'sign', op: this.#read(first)[0]!, from: first.from })
      const at = first.to - this.#read(first).slice(1).trimStart().length
      row.push({ kind: 'operand', expr: this.#number({ from: at, to: first.to }) })
    } else row.push({ kind: 'operand', expr: this.#primary(first) })
    for (let i = spine.length - 1; i >= 0; i--) {
      const outer = spine[i]!
      if (outer.name === 'BinaryExpr') {
        row.push({ kind: 'operator', node: outer })
        this.#layOut(outer.getChildren('Expr')[1] ?? this.#child(outer, 'second operand'), row)
      } else {
        const last = row.pop()
        if (last?.kind !== 'operand') throw new ParseError(this.#text, outer, `unexpected ${quote(this.#read(outer))}`)
        row.push({ kind: 'operand', expr: this.#modify(outer, last.expr) })
      }
    }
  }

  #modify(node: SyntaxNode, inner: Expr): Expr {
    const span = { from: inner.span.from, to: node.to }
    switch (node.name) {
      case 'MatrixSelector':
        return this.#matrixSelector(node, span, inner)
      case 'SubqueryExpr':
        return this.#subquery(node, span, inner)
      case 'OffsetExpr':
        return this.#offset(node, span, inner)
      case 'StepInvariantExpr':
        return this.#at(node, span, inner)
      default:
        return this.#extended(span, inner, node.name === 'AnchoredExpr' ? 'anchored' : 'smoothed')
    }
  }

  /** Takes from the row what binds at least as tightly as `least`. */
  #climb(row: readonly Item[], place: { at: number }, least: number): Expr {
    const item = row[place.at++]!
    let left: Expr
    if (item.kind === 'sign') {
      const operand = this.#climb(row, place, POWER)
      left = this.#unary({ from: item.from, to: operand.span.to }, item.op, operand)
    } else if (item.kind === 'operand') left = item.expr
    else return this.#fail(item.node, 'unexpected operator')
    for (;;) {
      const next = row[place.at]
      if (next?.kind !== 'operator') return left
      const operator = operatorOf(next.node)
      const op = this.#read(operator).toLowerCase()
      const precedence = PRECEDENCE[op] ?? POWER
      if (precedence < least) return left
      place.at++
      const right = this.#climb(row, place, op === '^' ? precedence : precedence + 1)
      if (op === '</' || op === '>/')
        this.#fail(operator, `operator ${op} works on native histograms, which are not supported`)
      const span = { from: left.span.from, to: right.span.to }
      left = this.#operation(next.node, span, op as BinaryOp, operator, left, right)
    }
  }

  #primary(node: SyntaxNode): Expr {
    const span = { from: node.from, to: node.to }
    switch (node.name) {
      case 'NumberDurationLiteral':
        return this.#number(span)
      case 'StringLiteral':
        return { kind: 'string', span, type: 'string', invariant: true, value: unquote(this.#read(node)) }
      case 'ParenExpr': {
        const expr = this.expr(this.#child(node, 'Expr'))
        return { kind: 'paren', span, type: expr.type, invariant: expr.invariant, expr }
      }
      case 'AggregateExpr':
        return this.#aggregate(node, span)
      case 'FunctionCall':
        return this.#call(node, span)
      case 'VectorSelector':
        return this.#vectorSelector(node, span)
      default:
        return this.#fail(span, `unexpected ${quote(this.#read(node))}`)
    }
  }

  #child(node: SyntaxNode, name: string): SyntaxNode {
    return node.getChild(name) ?? this.#fail(node, `unexpected ${quote(this.#read(node))}`)
  }

  #number(span: Span): Expr {
    const text = this.#read(span).replace(/^([+-])\s+/, '$1')
    const made = (value: number, asDuration: boolean): Expr => ({
      kind: 'number',
      span,
      type: 'scalar',
      invariant: true,
      value,
      asDuration,
    })
    const value = parseNumber(text)
    if (value !== null) return made(value, false)
    const sign = text[0] === '-' ? -1 : 1
    return made((sign * this.#milliseconds(span, text.replace(/^[+-]/, ''))) / 1000, true)
  }

  #milliseconds(span: Span, text: string): Millis {
    try {
      return parseDuration(text)
    } catch (error) {
      return this.#fail(span, (error as Error).message)
    }
  }

  #unary(span: Span, op: string, expr: Expr): Expr {
    if (expr.type !== 'scalar' && expr.type !== 'vector')
      this.#fail(
        span,
        `unary expression only allowed on expressions of type scalar or instant vector, got ${quote(documented[expr.type])}`,
      )
    if (expr.kind === 'number') return { ...expr, span, value: op === '-' ? -expr.value : expr.value }
    return { kind: 'unary', span, type: expr.type, invariant: expr.invariant, op: op as '+' | '-', expr }
  }

  // ------------------------------------------------------------------------------------------- operators

  #operation(node: SyntaxNode, span: Span, op: BinaryOp, operator: Span, left: Expr, right: Expr): Expr {
    const bool = node.getChild('BoolModifier') !== null
    const clause = node.getChild('MatchingModifierClause')
    let matching = this.#matching(op, clause, node.getChild('FillModifier'))
    if (bool && !isComparison(op)) this.#fail(operator, 'bool modifier can only be used on comparison operators')
    if (isComparison(op) && !bool && left.type === 'scalar' && right.type === 'scalar')
      this.#fail(operator, 'comparisons between scalars must use BOOL modifier')
    if (matching.on) {
      const twice = matching.labels.find((label) => matching.include.includes(label))
      if (twice !== undefined)
        this.#fail(operator, `label ${quote(twice)} must not occur in ON and GROUP clause at once`)
    }
    for (const side of [left, right])
      if (side.type !== 'scalar' && side.type !== 'vector')
        this.#fail(side.span, 'binary expression must contain only scalar and instant vector types')
    const filled = matching.fillLeft !== null || matching.fillRight !== null
    if (left.type !== 'vector' || right.type !== 'vector') {
      if (matching.labels.length > 0) this.#fail(span, 'vector matching only allowed between instant vectors')
      if (filled) this.#fail(span, 'filling in missing series only allowed between instant vectors')
      if (isSetOperator(op)) this.#fail(span, `set operator ${quote(op)} not allowed in binary scalar expression`)
    } else if (isSetOperator(op)) {
      if (matching.card !== 'one-to-one') this.#fail(span, `no grouping allowed for ${quote(op)} operation`)
      if (filled) this.#fail(span, 'filling in missing series not allowed for set operators')
      matching = { ...matching, card: 'many-to-many' }
    }
    const both = left.type === 'vector' && right.type === 'vector'
    const made: Binary = {
      kind: 'binary',
      span,
      type: left.type === 'scalar' && right.type === 'scalar' ? 'scalar' : 'vector',
      invariant: left.invariant && right.invariant,
      op,
      left,
      right,
      bool,
      matching: both ? matching : null,
    }
    return made
  }

  #matching(_op: BinaryOp, clause: SyntaxNode | null, fill: SyntaxNode | null): Matching {
    const lists = clause?.getChildren('GroupingLabels') ?? []
    const grouped = clause?.getChild('GroupLeft')
      ? 'many-to-one'
      : clause?.getChild('GroupRight')
        ? 'one-to-many'
        : null
    const both = fill?.getChild('FillClause') ?? null
    const value = (side: SyntaxNode | null | undefined): number | null => {
      const literal = side?.getChild('NumberDurationLiteral')
      if (!literal) return null
      const number = this.#number(literal)
      return number.kind === 'number' ? number.value : null
    }
    return {
      card: grouped ?? 'one-to-one',
      on: clause?.getChild('On') != null,
      labels: lists[0] ? this.#labelList(lists[0]) : [],
      include: grouped && lists[1] ? this.#labelList(lists[1]) : [],
      fillLeft: value(both ?? fill?.getChild('FillLeftClause')),
      fillRight: value(both ?? fill?.getChild('FillRightClause')),
    }
  }

  #labelList(node: SyntaxNode): string[] {
    const names: string[] = []
    for (let child = node.firstChild; child; child = child.nextSibling) {
      if (child.name === 'LabelName') names.push(this.#read(child))
      else if (child.name === 'QuotedLabelName') names.push(unquote(this.#read(child)))
    }
    return names
  }

  // -------------------------------------------------------------------------------- calls and aggregations

  #arguments(node: SyntaxNode): Expr[] {
    return (
      node
        .getChild('FunctionCallBody')
        ?.getChildren('Expr')
        .map((child) => this.expr(child)) ?? []
    )
  }

  #aggregate(node: SyntaxNode, span: Span): Aggregate {
    const op = this.#read(this.#child(node, 'AggregateOp')).toLowerCase() as AggregateOp
    const args = this.#arguments(node)
    const modifier = node.getChild('AggregateModifier')
    const list = modifier?.getChild('GroupingLabels')
    if (args.length === 0) this.#fail(span, 'no arguments for aggregate expression provided')
    const wanted = aggregateWithParam.has(op) ? 2 : 1
    if (args.length !== wanted)
      this.#fail(
        span,
        `wrong number of arguments for aggregate expression provided, expected ${wanted}, got ${args.length}`,
      )
    const expr = args[wanted - 1]!
    const param = wanted === 2 ? args[0]! : null
    this.#expect(expr, 'vector', 'aggregation expression')
    if (param) this.#expect(param, op === 'count_values' ? 'string' : 'scalar', 'aggregation parameter')
    return {
      kind: 'aggregate',
      span,
      type: 'vector',
      invariant: expr.invariant && (param?.invariant ?? true),
      op,
      expr,
      param,
      grouping: list ? this.#labelList(list) : [],
      without: modifier?.getChild('Without') != null,
    }
  }

  #expect(expr: Expr, type: ValueType, where: string): void {
    if (expr.type !== type)
      this.#fail(expr.span, `expected type ${documented[type]} in ${where}, got ${documented[expr.type]}`)
  }

  #call(node: SyntaxNode, span: Span): Call {
    const nameNode = this.#child(node, 'FunctionIdentifier')
    const name = this.#read(nameNode)
    const fn = functionSignatures.get(name)
    if (!fn) return this.#fail(nameNode, `unknown function with name ${quote(name)}`)
    if (nativeHistogramOnly.has(name))
      this.#fail(nameNode, `${name}() works on native histograms, which are not supported`)
    const args = this.#arguments(node)
    const quoted = quote(name)
    if (fn.variadic === 0) {
      if (args.length !== fn.args.length)
        this.#fail(span, `expected ${fn.args.length} argument(s) in call to ${quoted}, got ${args.length}`)
    } else {
      const least = fn.args.length - 1
      const most = fn.variadic < 0 ? Number.POSITIVE_INFINITY : least + fn.variadic
      if (args.length < least)
        this.#fail(span, `expected at least ${least} argument(s) in call to ${quoted}, got ${args.length}`)
      if (args.length > most)
        this.#fail(span, `expected at most ${most} argument(s) in call to ${quoted}, got ${args.length}`)
    }
    args.forEach((arg, i) => {
      const wanted = fn.args[Math.min(i, fn.args.length - 1)]!
      if (arg.type !== wanted)
        this.#fail(
          arg.span,
          `expected type ${documented[wanted]} in call to function ${quoted}, got ${documented[arg.type]}`,
        )
    })
    if (name === 'info' && args[1] && (args[1].kind !== 'vector' || args[1].name !== ''))
      this.#fail(args[1].span, 'expected label selectors only, got vector selector instead')
    return {
      kind: 'call',
      span,
      type: fn.returns,
      invariant: args.every((arg) => arg.invariant) && !stepDependent.has(name),
      fn,
      args,
    }
  }

  // -------------------------------------------------------------------------------------------- selectors

  #vectorSelector(node: SyntaxNode, span: Span): VectorSelector {
    const identifier = node.getChild('Identifier')
    let name = identifier ? this.#read(identifier) : ''
    const matchers: CompiledMatcher[] = []
    const list = node.getChild('LabelMatchers')
    for (let child = list?.firstChild ?? null; child; child = child.nextSibling) {
      if (child.name === 'QuotedLabelName') {
        const quoted = unquote(this.#read(child))
        if (name !== '') this.#fail(span, `metric name must not be set twice: ${quote(name)} or ${quote(quoted)}`)
        if (quoted === '') this.#fail(span, 'metric name must not be empty')
        name = quoted
      } else if (child.name === 'UnquotedLabelMatcher' || child.name === 'QuotedLabelMatcher') {
        matchers.push(this.#matcher(child))
      }
    }
    if (name !== '') {
      const twice = matchers.find((m) => m.name === '__name__')
      if (twice) this.#fail(span, `metric name must not be set twice: ${quote(name)} or ${quote(twice.value)}`)
      matchers.push(compileMatcher({ name: '__name__', op: '=', value: name }))
    } else if (matchers.every((m) => m.matches('')) && !this.#insideInfo(node)) {
      this.#fail(span, 'vector selector must contain at least one non-empty matcher')
    }
    return { kind: 'vector', span, type: 'vector', invariant: false, ...notModified, name, matchers, extended: null }
  }

  /** The second argument of info() names labels to add, and may be empty. */
  #insideInfo(node: SyntaxNode): boolean {
    const call = node.parent?.name === 'FunctionCallBody' ? node.parent.parent : null
    const name = call?.getChild('FunctionIdentifier')
    return name != null && this.#read(name) === 'info'
  }

  #matcher(node: SyntaxNode): CompiledMatcher {
    const label = node.getChild('LabelName') ?? this.#child(node, 'QuotedLabelName')
    const source = this.#read(label)
    const name = label.name === 'LabelName' ? source : unquote(source)
    const op = this.#read(this.#child(node, 'MatchOp')) as Matcher['op']
    const literals = node.getChildren('StringLiteral')
    const value = unquote(this.#read(literals[literals.length - 1]!))
    try {
      return compileMatcher({ name, op, value })
    } catch (error) {
      if (!(error instanceof RegexpError)) throw error
      return this.#fail(node, error.message)
    }
  }

  #matrixSelector(node: SyntaxNode, span: Span, inner: Expr): MatrixSelector {
    const duration = this.#child(node, 'DurationExpr')
    const bracket = { from: inner.span.to, to: span.to }
    if (inner.kind !== 'vector') return this.#fail(bracket, 'ranges only allowed for vector selectors')
    if (inner.offset !== 0) this.#fail(bracket, 'no offset modifiers allowed before range')
    if (inner.at !== null) this.#fail(bracket, 'no @ modifiers allowed before range')
    const range = this.#positive(duration, this.#duration(duration))
    return { kind: 'matrix', span, type: 'matrix', invariant: inner.invariant, selector: inner, range }
  }

  #subquery(node: SyntaxNode, span: Span, expr: Expr): Subquery {
    const [range, step] = node.getChildren('DurationExpr')
    if (expr.type !== 'vector') this.#fail(span, `subquery is only allowed on instant vector, got ${expr.type} instead`)
    return {
      kind: 'subquery',
      span,
      type: 'matrix',
      invariant: false,
      ...notModified,
      expr,
      range: this.#positive(range!, this.#duration(range!)),
      step: step ? this.#positive(step, this.#duration(step)) : null,
    }
  }

  #positive(span: Span, duration: Duration): Duration {
    if (typeof duration === 'number' && duration <= 0) this.#fail(span, 'duration must be greater than 0')
    return duration
  }

  /** A duration, or arithmetic of durations. Plain numbers are seconds. */
  #duration(node: SyntaxNode): Duration {
    const source = this.#read(node)
    if (node.name === 'NumberDurationLiteralInDurationContext') return this.#literalDuration(node, source)
    const parts: Duration[] = []
    let op = ''
    for (let child = node.firstChild; child; child = child.nextSibling) {
      switch (child.name) {
        case 'DurationExpr':
        case 'OffsetDurationExpr':
        case 'NumberDurationLiteralInDurationContext':
          parts.push(this.#duration(child))
          break
        case 'DurationStep':
        case 'DurationRange':
          parts.push({ op: child.name === 'DurationStep' ? 'step' : 'range' })
          break
        case 'LineComment':
          break
        default:
          op = this.#read(child)
      }
    }
    const [left, right] = parts
    if (left === undefined) return this.#literalDuration(node, source)
    if (right === undefined) {
      if (op !== '-') return left
      return typeof left === 'number' ? -left : { op: 'negate', left }
    }
    const name = op as '+' | '-' | '*' | '/' | '%' | '^' | 'min_of' | 'max_of'
    return { op: name, left, right }
  }

  #literalDuration(span: Span, source: string): Millis {
    const number = parseNumber(source)
    if (number === null) return this.#milliseconds(span, source)
    if (!(Math.abs(number) * 1000 <= DURATION_MAX)) this.#fail(span, 'duration out of range')
    return Math.round(number * 1000)
  }

  /** Applies a change to the selector or subquery that a modifier stands behind. */
  #modified(inner: Expr, span: Span, what: string, change: (target: VectorSelector | Subquery) => TimeShift): Expr {
    const invariantWith = (shift: TimeShift) => shift.at !== null
    if (inner.kind === 'vector' || inner.kind === 'subquery') {
      const shift = change(inner)
      return { ...inner, ...shift, span, invariant: invariantWith(shift) }
    }
    if (inner.kind === 'matrix') {
      const shift = change(inner.selector)
      const invariant = invariantWith(shift)
      return { ...inner, span, invariant, selector: { ...inner.selector, ...shift, invariant } }
    }
    return this.#fail(
      inner.span,
      `${what} modifier must be preceded by an instant vector selector or range vector selector or a subquery`,
    )
  }

  #offset(node: SyntaxNode, span: Span, inner: Expr): Expr {
    const offset = this.#duration(this.#child(node, 'OffsetDurationExpr'))
    return this.#modified(inner, span, 'offset', (target) => {
      if (target.offset !== 0) this.#fail(inner.span, 'offset may not be set multiple times')
      return { offset, at: target.at }
    })
  }

  #at(node: SyntaxNode, span: Span, inner: Expr): Expr {
    const preprocessor = node.getChild('AtModifierPreprocessors')
    let at: TimeShift['at']
    if (preprocessor) {
      const word = this.#read(preprocessor).toLowerCase()
      at = word.startsWith('start') ? 'start' : 'end'
    } else {
      // The grammar counts the number's node among expressions, too: it is the last.
      const literal = node.getChildren('NumberDurationLiteral').at(-1)!
      const number = this.#number(literal)
      const seconds = number.kind === 'number' ? number.value : Number.NaN
      if (!(Math.abs(seconds) < 2 ** 63))
        this.#fail(inner.span, `timestamp out of bounds for @ modifier: ${goFixed(seconds)}`)
      at = Math.round(seconds * 1000)
    }
    return this.#modified(inner, span, '@', (target) => {
      if (target.at !== null) this.#fail(inner.span, '@ <timestamp> may not be set multiple times')
      return { offset: target.offset, at }
    })
  }

  #extended(span: Span, inner: Expr, how: 'anchored' | 'smoothed'): Expr {
    const target = inner.kind === 'matrix' ? inner.selector : inner
    if (target.kind === 'subquery') this.#fail(inner.span, `${how} modifier is not supported for subqueries`)
    if (target.kind !== 'vector') return this.#fail(inner.span, `${how} modifier not implemented`)
    if (target.extended !== null && target.extended !== how)
      this.#fail(inner.span, 'anchored and smoothed modifiers cannot be used together')
    const extended = { ...target, extended: how }
    return inner.kind === 'matrix' ? { ...inner, span, selector: extended } : { ...extended, span }
  }
}

/** As Go's %f prints: six decimals, `+Inf`, `NaN`. */
function goFixed(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  return Math.abs(value) < 1e21 ? value.toFixed(6) : BigInt(value).toString().concat('.000000')
}
