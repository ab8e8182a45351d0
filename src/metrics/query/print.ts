/** An expression as text again, in the one form that Prometheus would print: for `format_query`. */
import type { Duration, Expr, Matching, TimeShift, VectorSelector } from './ast.ts'
import { isComparison } from './ast.ts'
import { quote } from './lex.ts'
import { formatShort } from './numeric.ts'

const NAME = /^[A-Za-z_:][A-Za-z0-9_:]*$/
const LABEL = /^[A-Za-z_][A-Za-z0-9_]*$/

export function print(expr: Expr): string {
  switch (expr.kind) {
    case 'number':
      return expr.asDuration ? printMillis(expr.value * 1000) : formatShort(expr.value)
    case 'string':
      return quote(expr.value)
    case 'paren':
      return `(${print(expr.expr)})`
    case 'unary':
      return expr.op + print(expr.expr)
    case 'vector':
      return printSelector(expr) + printShift(expr)
    case 'matrix':
      return `${printSelector(expr.selector)}[${printDuration(expr.range)}]${printShift(expr.selector)}`
    case 'subquery': {
      const step = expr.step === null ? '' : printDuration(expr.step)
      return `${print(expr.expr)}[${printDuration(expr.range)}:${step}]${printShift(expr)}`
    }
    case 'call':
      return `${expr.fn.name}(${expr.args.map(print).join(', ')})`
    case 'aggregate': {
      const args = (expr.param ? [expr.param, expr.expr] : [expr.expr]).map(print).join(', ')
      const names = expr.grouping.map(printLabel).join(', ')
      const grouping = expr.without ? ` without (${names}) ` : expr.grouping.length > 0 ? ` by (${names}) ` : ''
      return `${expr.op}${grouping}(${args})`
    }
    default: {
      const bool = expr.bool && isComparison(expr.op) ? ' bool' : ''
      const matching = expr.matching ? printMatching(expr.matching) : ''
      return `${print(expr.left)} ${expr.op}${bool}${matching} ${print(expr.right)}`
    }
  }
}

function printMatching({ card, on, labels, include, fillLeft, fillRight }: Matching): string {
  const grouped = card === 'many-to-one' ? 'group_left' : card === 'one-to-many' ? 'group_right' : null
  let text = ''
  if (on || labels.length > 0 || grouped) text += ` ${on ? 'on' : 'ignoring'} (${labels.map(printLabel).join(', ')})`
  if (grouped) text += ` ${grouped} (${include.map(printLabel).join(', ')})`
  if (fillLeft !== null && fillLeft === fillRight) return `${text} fill (${formatShort(fillLeft)})`
  if (fillLeft !== null) text += ` fill_left (${formatShort(fillLeft)})`
  if (fillRight !== null) text += ` fill_right (${formatShort(fillRight)})`
  return text
}

const printLabel = (label: string) => (LABEL.test(label) ? label : quote(label))

/** A selector without its shift in time. */
export function printSelector({ name, matchers, extended }: VectorSelector): string {
  const plain = NAME.test(name)
  const inner = matchers
    .filter((matcher) => name === '' || matcher.name !== '__name__')
    .map((matcher) => `${printLabel(matcher.name)}${matcher.op}${quote(matcher.value)}`)
  if (name !== '' && !plain) inner.unshift(quote(name))
  const braces = inner.length > 0 || !plain ? `{${inner.join(',')}}` : ''
  return `${plain ? name : ''}${braces}${extended ? ` ${extended}` : ''}`
}

function printShift({ offset, at }: TimeShift): string {
  let text = ''
  if (at === 'start' || at === 'end') text += ` @ ${at}()`
  else if (at !== null) text += ` @ ${(at / 1000).toFixed(3)}`
  if (offset === 0) return text
  if (typeof offset === 'number' && offset < 0) return `${text} offset -${printMillis(-offset)}`
  return `${text} offset ${printDuration(offset)}`
}

function printDuration(duration: Duration): string {
  if (typeof duration === 'number') return printMillis(duration)
  if (duration.op === 'step' || duration.op === 'range') return `${duration.op}()`
  if (duration.op === 'negate') return `-${printDuration(duration.left)}`
  if (!('right' in duration)) return ''
  const { op, left, right } = duration
  if (op === 'min_of' || op === 'max_of') return `${op}(${printDuration(left)}, ${printDuration(right)})`
  return `(${printDuration(left)} ${op} ${printDuration(right)})`
}

/** `1h30m`; weeks and years only where they come out even, as Prometheus prints them. */
function printMillis(ms: number): string {
  if (ms === 0) return '0s'
  const sign = ms < 0 ? '-' : ''
  let left = Math.round(Math.abs(ms))
  let text = ''
  const units = [
    ['y', 31_536_000_000, true],
    ['w', 604_800_000, true],
    ['d', 86_400_000, false],
    ['h', 3_600_000, false],
    ['m', 60_000, false],
    ['s', 1000, false],
    ['ms', 1, false],
  ] as const
  for (const [unit, size, exact] of units) {
    if (exact && left % size !== 0) continue
    const count = Math.floor(left / size)
    if (count > 0) text += count + unit
    left -= count * size
  }
  return sign + text
}
