/**
 * The functions of templates, and how Go writes values: what `template.ts` calls by name. A function throws where Go's
 * would; the template then stays in the text as it stands.
 */
import { type Millis, SECOND } from '../../base/time.ts'
import { compileRegexp } from '../../metrics/index.ts'
import { durationMs } from './duration.ts'

export type Value = string | number | boolean | readonly Value[] | { readonly [name: string]: Value }

/** What functions know of the world. */
export interface World {
  readonly now: Millis
  /** Series of an instant query: `{Labels, Value}` each. */
  query(expr: string): readonly Value[]
}

export type TemplateFunction = (args: readonly Value[], world: World) => Value

export const truth = (value: Value) =>
  typeof value === 'object' ? Object.keys(value).length > 0 : value !== '' && value !== 0 && value !== false

/** As Go prints it: `%v`. */
export function textOf(value: Value): string {
  if (typeof value === 'number') return goNumber(value)
  if (Array.isArray(value)) return `[${value.map(textOf).join(' ')}]`
  if (typeof value === 'object') {
    const pairs = Object.entries(value).map(([name, inner]) => `${name}:${textOf(inner)}`)
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

type Plain = (...args: Value[]) => Value

const PLAIN: Readonly<Record<string, Plain>> = {
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
  reReplaceAll: (pattern, by, v) => replaced(textOf(pattern ?? ''), textOf(by ?? ''), textOf(v ?? '')),
  safeHtml: (v) => v ?? '',
  println: (...args) => `${args.map(textOf).join(' ')}\n`,
  urlquery: (...args) => encodeURIComponent(args.map(textOf).join('')).replace(/%20/g, '+'),
  parseDuration: (v) => {
    const ms = durationMs(textOf(v ?? ''))
    if (ms === null) throw new Error('not a duration')
    return ms / SECOND
  },
  index: (v, ...path) => path.reduce<Value>((at, key) => memberOf(at, textOf(key)), v ?? ''),
  first: (v) => {
    const [one] = listOf(v)
    if (one === undefined) throw new Error('first of an empty list')
    return one
  },
  value: (v) => memberOf(v ?? '', 'Value'),
  label: (name, v) => memberOf(memberOf(v ?? '', 'Labels'), textOf(name ?? '')),
  strvalue: (v) => memberOf(memberOf(v ?? '', 'Labels'), '__value__'),
  sortByLabel: (name, v) => {
    const by = (one: Value) => textOf(memberOf(memberOf(one, 'Labels'), textOf(name ?? '')))
    return [...listOf(v)].sort((a, b) => (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0))
  },
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

/** The functions by name; those of Prometheus that ask the world stand here. */
export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  ...Object.fromEntries(
    Object.entries(PLAIN).map(([name, plain]) => [name, (args: readonly Value[]) => plain(...args)]),
  ),
  query: ([expr], world) => world.query(textOf(expr ?? '')),
  now: (_, world) => world.now / SECOND,
  externalURL: () => '',
  pathPrefix: () => '',
  graphLink: ([expr]) => `/graph?g0.expr=${encodeURIComponent(textOf(expr ?? ''))}&g0.tab=0`,
  tableLink: ([expr]) => `/graph?g0.expr=${encodeURIComponent(textOf(expr ?? ''))}&g0.tab=1`,
}

export const listOf = (value: Value | undefined): readonly Value[] => (Array.isArray(value) ? value : [])

/** A field of a struct or a map, an element of a list; empty text where there is none. */
export function memberOf(value: Value, name: string): Value {
  if (Array.isArray(value)) return value[Number(name)] ?? ''
  if (typeof value !== 'object' || !Object.hasOwn(value, name)) return ''
  return (value as { readonly [name: string]: Value })[name]!
}

const REPLACED_MAX = 1000

/** Every match of the pattern replaced; `$1`, `${1}` and `${name}` stand for its groups. */
function replaced(pattern: string, by: string, text: string): string {
  const finder = compileRegexp(`(?s:(.*?))(${pattern})(?s:(.*))`)
  let rest = text
  let out = ''
  for (let n = 0; n < REPLACED_MAX; n++) {
    const found = finder.captures(rest)
    if (!found) break
    const [before = '', match = ''] = found.slice(1)
    const group = (name: string) => {
      const number = /^\d+$/.test(name) ? Number(name) + 2 : finder.groupNames.indexOf(name)
      return number < 2 || number >= found.length - 1 ? '' : (found[number] ?? '')
    }
    out +=
      before +
      by.replace(/\$(?:\$|(\w+)|\{(\w+)\})/g, (_, plain, braced) =>
        (plain ?? braced) === undefined ? '$' : group(plain ?? braced),
      )
    rest = found.at(-1) ?? ''
    if (match !== '') continue
    if (rest === '') break
    out += rest[0]
    rest = rest.slice(1)
  }
  return out + rest
}
