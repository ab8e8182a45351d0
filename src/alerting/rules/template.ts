/**
 * Templates of labels and annotations as Prometheus rule files have them: Go's text/template, as far as alerts use it.
 *
 *   {{ $labels.instance }}  {{ .Labels.job }}  {{ $value | humanize }}  {{ printf "%.2f" $value }}
 *   {{ if eq $labels.env "prod" }}…{{ else }}…{{ end }}     {{ with .Labels.a }}{{ . }}{{ end }}
 *
 * Functions: humanize, humanize1024, humanizeDuration, humanizePercentage, humanizeTimestamp, printf, print, title,
 * toUpper, toLower, stripPort, stripDomain, match, safeHtml, len, eq, ne, lt, le, gt, ge, and, or, not.
 * What cannot be read is an error at the check of a file; at the time of an alert it stays in the text as it stands,
 * for a notice with a flaw is better than none.
 */
import { messageOf } from '../../base/errors.ts'
import { compileRegexp } from '../../metrics/index.ts'

export interface TemplateScope {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The text with everything in braces replaced; parts that cannot be read stay as they are. */
export function render(template: string, scope: TemplateScope): string {
  if (!template.includes('{{')) return template
  try {
    return run(parseTemplate(template), scope)
  } catch {
    return template
  }
}

/** Why a template cannot be read; null when it can. */
export function templateProblem(template: string): string | null {
  try {
    parseTemplate(template)
    return null
  } catch (error) {
    return messageOf(error)
  }
}

// ------------------------------------------------------------------------------------------------- reading

type Expr =
  | { readonly kind: 'literal'; readonly value: Value }
  | { readonly kind: 'path'; readonly root: string; readonly fields: readonly string[] }
  | { readonly kind: 'call'; readonly name: string; readonly args: readonly Expr[] }

type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'output'; readonly expr: Expr }
  | { readonly kind: 'set'; readonly name: string; readonly expr: Expr }
  | {
      readonly kind: 'if' | 'with'
      readonly test: Expr
      readonly then: readonly Part[]
      readonly otherwise: readonly Part[]
    }

type Value = string | number | boolean | Readonly<Record<string, string>>

function parseTemplate(template: string): Part[] {
  const pieces: { readonly action: boolean; text: string }[] = []
  let at = 0
  for (;;) {
    const open = template.indexOf('{{', at)
    if (open < 0) break
    const close = template.indexOf('}}', open)
    if (close < 0) throw new Error('a {{ has no }}')
    let text = template.slice(at, open)
    let action = template.slice(open + 2, close)
    if (action.startsWith('- ')) {
      text = text.trimEnd()
      action = action.slice(1)
    }
    at = close + 2
    if (action.endsWith(' -')) {
      action = action.slice(0, -1)
      while (at < template.length && /\s/.test(template[at]!)) at++
    }
    pieces.push({ action: false, text }, { action: true, text: action.trim() })
  }
  pieces.push({ action: false, text: template.slice(at) })
  let next = 0
  /** Parts up to one of these words, which is left to be read. */
  const until = (...ends: string[]): Part[] => {
    const parts: Part[] = []
    for (; next < pieces.length; next++) {
      const { action, text } = pieces[next]!
      if (!action) {
        if (text !== '') parts.push({ kind: 'text', text })
        continue
      }
      const word = /^[a-z]+/.exec(text)?.[0] ?? ''
      if (ends.includes(word)) return parts
      if (text.startsWith('/*')) continue
      if (word === 'if' || word === 'with') parts.push(branch(word, text.slice(word.length)))
      else if (['else', 'end', 'range', 'template', 'define', 'block'].includes(word)) {
        throw new Error(`{{ ${text} }} cannot stand here`)
      } else {
        const set = /^\$(\w+)\s*:?=\s*(.*)$/s.exec(text)
        if (set) parts.push({ kind: 'set', name: set[1]!, expr: parseExpr(set[2]!) })
        else parts.push({ kind: 'output', expr: parseExpr(text) })
      }
    }
    if (ends.length > 0) throw new Error('an {{ if }} or {{ with }} has no {{ end }}')
    return parts
  }
  const branch = (kind: 'if' | 'with', test: string): Part => {
    next++
    const then = until('else', 'end')
    const word = pieces[next]!.text
    if (word === 'end') return { kind, test: parseExpr(test), then, otherwise: [] }
    const chained = /^else\s+if\b(.*)$/s.exec(word)
    if (chained) return { kind, test: parseExpr(test), then, otherwise: [branch('if', chained[1]!)] }
    next++
    const otherwise = until('end')
    return { kind, test: parseExpr(test), then, otherwise }
  }
  return until()
}

const TOKEN =
  /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|\$?\.?[A-Za-z_][\w.]*|[$.]|[()|])/y

function parseExpr(text: string): Expr {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  let end = 0
  for (let found = TOKEN.exec(text); found; found = TOKEN.exec(text)) {
    tokens.push(found[1]!)
    end = TOKEN.lastIndex
  }
  if (text.slice(end).trim() !== '') throw new Error(`cannot read ${JSON.stringify(text.slice(end).trim())}`)
  let next = 0
  const pipeline = (): Expr => {
    let expr = command(null)
    while (tokens[next] === '|') {
      next++
      expr = command(expr)
    }
    return expr
  }
  /** A function with its arguments, or one value; what came down the pipe is the last argument. */
  const command = (piped: Expr | null): Expr => {
    const token = tokens[next]
    if (token === undefined) throw new Error('an expression is missing')
    if (/^[A-Za-z_]\w*$/.test(token) && !['true', 'false'].includes(token)) {
      if (!Object.hasOwn(FUNCTIONS, token)) throw new Error(`there is no function ${token}`)
      next++
      const args: Expr[] = []
      while (next < tokens.length && tokens[next] !== '|' && tokens[next] !== ')') args.push(operand())
      return { kind: 'call', name: token, args: piped ? [...args, piped] : args }
    }
    const value = operand()
    if (piped || (next < tokens.length && tokens[next] !== '|' && tokens[next] !== ')')) {
      throw new Error(`${token} is no function`)
    }
    return value
  }
  const operand = (): Expr => {
    const token = tokens[next++]!
    if (token === '(') {
      const inner = pipeline()
      if (tokens[next++] !== ')') throw new Error('a bracket is not closed')
      return inner
    }
    if (token.startsWith('"')) return { kind: 'literal', value: JSON.parse(token) as string }
    if (token.startsWith('`')) return { kind: 'literal', value: token.slice(1, -1) }
    if (token === 'true' || token === 'false') return { kind: 'literal', value: token === 'true' }
    if (/^[-+.]?\d/.test(token)) return { kind: 'literal', value: Number(token) }
    if (token.startsWith('$') || token.startsWith('.')) {
      const [root = '', ...fields] = token.startsWith('.')
        ? ['', ...token.slice(1).split('.')]
        : token.slice(1).split('.')
      return { kind: 'path', root, fields: fields.filter((field) => field !== '') }
    }
    if (Object.hasOwn(FUNCTIONS, token)) return { kind: 'call', name: token, args: [] }
    throw new Error(`cannot read ${JSON.stringify(token)}`)
  }
  const expr = pipeline()
  if (next < tokens.length) throw new Error(`cannot read ${JSON.stringify(tokens[next])}`)
  return expr
}

// ------------------------------------------------------------------------------------------------- running

function run(parts: readonly Part[], scope: TemplateScope): string {
  const variables = new Map<string, Value>([
    ['labels', scope.labels],
    ['value', scope.value],
    ['externalLabels', {}],
    ['externalURL', ''],
  ])
  const root: Readonly<Record<string, Value>> = {
    Labels: scope.labels,
    Value: scope.value,
    ExternalLabels: {},
    ExternalURL: '',
  }
  const write = (list: readonly Part[], dot: Value | null): string => list.map((part) => one(part, dot)).join('')
  const one = (part: Part, dot: Value | null): string => {
    switch (part.kind) {
      case 'text':
        return part.text
      case 'output':
        return textOf(value(part.expr, dot))
      case 'set':
        variables.set(part.name, value(part.expr, dot))
        return ''
      default: {
        const test = value(part.test, dot)
        return truth(test) ? write(part.then, part.kind === 'with' ? test : dot) : write(part.otherwise, dot)
      }
    }
  }
  const value = (expr: Expr, dot: Value | null): Value => {
    switch (expr.kind) {
      case 'literal':
        return expr.value
      case 'call':
        return FUNCTIONS[expr.name]!(...expr.args.map((arg) => value(arg, dot)))
      case 'path': {
        let at: Value | undefined
        let { fields } = expr
        if (expr.root === '' && dot !== null) at = dot
        else if (expr.root === '') {
          at = Object.hasOwn(root, fields[0] ?? '') ? root[fields[0]!]! : ''
          fields = fields.slice(1)
        } else at = variables.get(expr.root) ?? ''
        for (const field of fields) at = typeof at === 'object' && Object.hasOwn(at, field) ? at[field]! : ''
        return at
      }
    }
  }
  return write(parts, null)
}

const truth = (value: Value) =>
  typeof value === 'object' ? Object.keys(value).length > 0 : value !== '' && value !== 0 && value !== false

/** As Go prints it: `%v`. */
function textOf(value: Value): string {
  if (typeof value === 'number') return goNumber(value)
  if (typeof value === 'object') {
    const pairs = Object.entries(value).map(([name, text]) => `${name}:${text}`)
    return `map[${pairs.join(' ')}]`
  }
  return String(value)
}

/** A float in Go's `%v`: exponents from 21 digits on, and written with two digits. */
function goNumber(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  const text =
    Math.abs(value) >= 1e21 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential() : String(value)
  return text.replace(/e([+-])(\d)$/, 'e$10$2')
}

const numberOf = (value: Value | undefined) => (typeof value === 'number' ? value : Number(value))

/** Four significant figures, as `%.4g` writes them. */
function significant(value: number): string {
  if (!Number.isFinite(value)) return goNumber(value)
  const exponent = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(Number(value.toPrecision(4)))))
  if (exponent < -4 || exponent >= 4) {
    const [digits, power] = value.toExponential(3).split('e') as [string, string]
    return `${trimZeros(digits)}e${power[0]}${power.slice(1).padStart(2, '0')}`
  }
  return trimZeros(value.toPrecision(4))
}
const trimZeros = (text: string) => (text.includes('.') ? text.replace(/\.?0+$/, '') : text)

function scaled(value: number, base: number, larger: readonly string[], smaller: readonly string[]): string {
  if (value === 0 || !Number.isFinite(value)) return significant(value)
  let rest = value
  let prefix = ''
  if (Math.abs(rest) >= 1) {
    for (const unit of larger) {
      if (Math.abs(rest) < base) break
      prefix = unit
      rest /= base
    }
  } else {
    for (const unit of smaller) {
      if (Math.abs(rest) >= 1) break
      prefix = unit
      rest *= base
    }
  }
  return significant(rest) + prefix
}

const LARGER = ['k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y']
const SMALLER = ['m', 'u', 'n', 'p', 'f', 'a', 'z', 'y']
const BINARY = ['ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei', 'Zi', 'Yi']

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return significant(seconds)
  if (seconds === 0) return '0s'
  const sign = seconds < 0 ? '-' : ''
  const size = Math.abs(seconds)
  if (size < 1) return `${scaled(seconds, 1000, LARGER, SMALLER)}s`
  const whole = Math.trunc(size)
  const [d, h, m, s] = [
    Math.trunc(whole / 86_400),
    Math.trunc(whole / 3600) % 24,
    Math.trunc(whole / 60) % 60,
    whole % 60,
  ]
  if (d > 0) return `${sign}${d}d ${h}h ${m}m ${s}s`
  if (h > 0) return `${sign}${h}h ${m}m ${s}s`
  if (m > 0) return `${sign}${m}m ${s}s`
  return `${significant(seconds)}s`
}

function printf(format: Value, ...args: Value[]): string {
  let next = 0
  return textOf(format).replace(/%([-+ #0]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])/g, (whole, flags, width, precision, verb) => {
    if (verb === '%') return '%'
    const arg = args[next++]
    if (arg === undefined) return `%!${verb}(MISSING)`
    const text = verbText(verb, arg, precision === undefined ? null : Number(precision)) ?? whole
    const signed = flags.includes('+') && typeof arg === 'number' && arg >= 0 ? `+${text}` : text
    if (width === undefined) return signed
    if (flags.includes('-')) return signed.padEnd(Number(width))
    return signed.padStart(Number(width), flags.includes('0') ? '0' : ' ')
  })
}

function verbText(verb: string, arg: Value, precision: number | null): string | null {
  const digits = Math.min(precision ?? 6, 100)
  switch (verb) {
    case 'v':
      return textOf(arg)
    case 's':
      return precision === null ? textOf(arg) : textOf(arg).slice(0, precision)
    case 'q':
      return JSON.stringify(textOf(arg))
    case 'd':
      return String(Math.trunc(numberOf(arg)))
    case 'f':
    case 'F':
      return Number.isFinite(numberOf(arg)) ? numberOf(arg).toFixed(digits) : goNumber(numberOf(arg))
    case 'e':
      return numberOf(arg)
        .toExponential(digits)
        .replace(/e([+-])(\d)$/, 'e$10$2')
    case 'g':
      return precision === null
        ? goNumber(numberOf(arg))
        : goNumber(Number(numberOf(arg).toPrecision(Math.max(1, digits))))
    case 't':
      return String(arg === true)
    case 'x':
      return Math.trunc(numberOf(arg)).toString(16)
    default:
      return null
  }
}

const compare = (a: Value | undefined, b: Value | undefined): number => {
  if (typeof a === 'number' || typeof b === 'number') return numberOf(a) - numberOf(b)
  return textOf(a ?? '') < textOf(b ?? '') ? -1 : textOf(a ?? '') > textOf(b ?? '') ? 1 : 0
}

const FUNCTIONS: Readonly<Record<string, (...args: Value[]) => Value>> = {
  humanize: (v) => scaled(numberOf(v), 1000, LARGER, SMALLER),
  humanize1024: (v) => (Math.abs(numberOf(v)) <= 1 ? significant(numberOf(v)) : scaled(numberOf(v), 1024, BINARY, [])),
  humanizeDuration: (v) => duration(numberOf(v)),
  humanizePercentage: (v) => `${significant(numberOf(v) * 100)}%`,
  humanizeTimestamp: (v) => {
    const at = new Date(numberOf(v) * 1000)
    return Number.isNaN(at.getTime()) ? textOf(v ?? '') : `${at.toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC`
  },
  printf: (format, ...args) => printf(format ?? '', ...args),
  print: (...args) => args.map(textOf).join(''),
  title: (v) =>
    textOf(v ?? '').replace(/(^|\s)(\S)/g, (_, space: string, letter: string) => space + letter.toUpperCase()),
  toUpper: (v) => textOf(v ?? '').toUpperCase(),
  toLower: (v) => textOf(v ?? '').toLowerCase(),
  stripPort: (v) => textOf(v ?? '').replace(/^\[(.*)\]:\d+$|:\d+$/, '$1'),
  stripDomain: (v) => {
    const host = textOf(v ?? '')
    return /^[\d.:[\]]+$/.test(host) ? host : host.replace(/^([^.:]+)\.[^:]*/, '$1')
  },
  match: (pattern, v) => compileRegexp(`.*(?:${textOf(pattern ?? '')}).*`, { dotAll: true }).test(textOf(v ?? '')),
  safeHtml: (v) => v ?? '',
  len: (v) => (typeof v === 'object' ? Object.keys(v).length : textOf(v ?? '').length),
  not: (v) => !truth(v ?? ''),
  and: (...args) => args.find((v) => !truth(v)) ?? args.at(-1) ?? '',
  or: (...args) => args.find((v) => truth(v)) ?? args.at(-1) ?? '',
  eq: (a, ...rest) => rest.some((b) => compare(a, b) === 0),
  ne: (a, b) => compare(a, b) !== 0,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
}
