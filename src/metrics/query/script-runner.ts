/**
 * Runs test scripts (see `script.ts`) against the engine. Each instant expectation is also held against the middle step of a
 * range query and against the same expression pinned to its moment with `@`, which must not change it.
 */
import { staleMarker, writeStale } from '../columns.ts'
import type { Labels } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import type { Expr } from './ast.ts'
import type { Dialect, Environment, Limits } from './context.ts'
import { type Answer, evaluateQuery, type Query } from './evaluate.ts'
import { stepDependent } from './functions.ts'
import { compareLabels, formatSeries, keyOf, labelValueOf } from './labelset.ts'
import { ParseError } from './lex.ts'
import { MemoryReader } from './memory-reader.ts'
import { formatShort } from './numeric.ts'
import { parse } from './parse.ts'
import type { EvalCommand, Expectation, ScriptSeries, SequenceValue } from './script.ts'
import { parseScript } from './script.ts'

export interface ScriptFailure {
  readonly line: number
  readonly expression: string
  readonly reason: string
}

export interface ScriptReport {
  readonly dialect: Dialect
  readonly passed: number
  /** Evaluations that need native histograms. */
  readonly skipped: number
  readonly failures: readonly ScriptFailure[]
}

export interface ScriptOptions {
  /** `auto`: by the rules of Prometheus 2 and 3 in turn; the script passes if it passes by either. */
  readonly dialect: Dialect | 'auto'
}

const limits: Limits = {
  samplesMax: 50_000_000,
  seriesMax: 100_000,
  stepsMax: 11_000,
  memoryMax: 1 << 30,
  resultMax: 1 << 30,
}

/** Runs all commands of a script; failures do not stop it. Throws `ScriptError` for one that cannot be read. */
export function runScript(text: string, options: ScriptOptions): ScriptReport {
  if (options.dialect !== 'auto') return runWith(text, options.dialect)
  const second = runWith(text, 2)
  if (second.failures.length === 0) return second
  const third = runWith(text, 3)
  return third.failures.length < second.failures.length ? third : second
}

function runWith(text: string, dialect: Dialect): ScriptReport {
  const reader = new MemoryReader()
  const env: Environment = {
    reader,
    dialect,
    lookbackMs: 300_000,
    subqueryStepMs: 60_000,
    limits,
    checkpoint() {},
  }
  const failures: ScriptFailure[] = []
  let native: Labels[] = []
  let passed = 0
  let skipped = 0
  for (const command of parseScript(text)) {
    if (command.kind === 'clear') {
      reader.clear()
      native = []
    } else if (command.kind === 'load') {
      for (const series of command.series) {
        load(reader, series, command.step)
        if (series.values.includes('histogram')) native.push(series.labels)
        const base = command.nativeToo
          ? labelValueOf(series.labels, '__name__').replace(/_(bucket|sum|count)$/, '')
          : ''
        if (base !== '')
          native.push(
            series.labels.filter(([n]) => n !== 'le').map(([n, v]) => [n, n === '__name__' ? base : v] as const),
          )
      }
    } else {
      const expr = read(command.text)
      if (needsHistograms(command, expr, native)) {
        skipped++
        continue
      }
      const reason = expr instanceof ParseError ? failed(command, expr.message, '') : check(env, command, expr)
      if (reason === null) passed++
      else failures.push({ line: command.line, expression: command.text, reason })
    }
  }
  return { dialect, passed, skipped, failures }
}

function load(reader: MemoryReader, series: ScriptSeries, step: number): void {
  const times: number[] = []
  const values = new Float64Array(series.values.length)
  series.values.forEach((value, i) => {
    if (value === 'none' || value === 'histogram') return
    if (value === 'stale') writeStale(values, times.length)
    else values[times.length] = value
    times.push(i * step)
  })
  reader.add(series.labels, times, values)
}

/** Whether it uses what the engine refuses: series of native histograms, or functions of them. */
function needsHistograms(command: EvalCommand, expr: Expr | ParseError, native: readonly Labels[]): boolean {
  if (command.expected.kind === 'series' && command.expected.series.some((s) => s.values.includes('histogram')))
    return true
  if (expr instanceof ParseError) return /native histograms, which are not supported/.test(expr.message)
  let touched = false
  walk(expr, (node) => {
    if (node.kind !== 'vector') return
    touched ||= native.some((labels) => node.matchers.every((m) => m.matches(labelValueOf(labels, m.name))))
  })
  return touched
}

function read(text: string): Expr | ParseError {
  try {
    return parse(text)
  } catch (error) {
    if (error instanceof ParseError) return error
    throw error
  }
}

function walk(expr: Expr, visit: (node: Expr) => void): void {
  visit(expr)
  switch (expr.kind) {
    case 'paren':
    case 'unary':
    case 'subquery':
      walk(expr.expr, visit)
      break
    case 'matrix':
      walk(expr.selector, visit)
      break
    case 'binary':
      walk(expr.left, visit)
      walk(expr.right, visit)
      break
    case 'aggregate':
      walk(expr.expr, visit)
      if (expr.param) walk(expr.param, visit)
      break
    case 'call':
      for (const arg of expr.args) walk(arg, visit)
  }
}

// ------------------------------------------------------------------------------------------------ checking

/** What an answer holds, read out. */
interface Found {
  readonly kind: Answer['kind']
  readonly value: number
  readonly text: string
  readonly series: readonly { readonly labels: Labels; readonly samples: readonly (readonly [number, number])[] }[]
  readonly warnings: readonly string[]
  readonly infos: readonly string[]
}

function evaluate(env: Environment, query: Query): Found {
  const answer = evaluateQuery(env, query)
  const series: { labels: Labels; samples: [number, number][] }[] = []
  if (answer.kind === 'vector' || answer.kind === 'matrix') {
    const buffer = sampleBuffer()
    answer.series.labels.forEach((labels, i) => {
      answer.series.read(i, buffer)
      const samples: [number, number][] = []
      for (let k = 0; k < buffer.length; k++) samples.push([buffer.times[k]!, buffer.values[k]!])
      if (samples.length > 0) series.push({ labels, samples })
    })
  }
  return {
    kind: answer.kind,
    value: answer.kind === 'scalar' ? answer.value : Number.NaN,
    text: answer.kind === 'string' ? answer.value : '',
    series,
    ...answer.context.annotations(),
  }
}

/** What means something else in another query. */
const QUERY_BOUND = /\b(start|end|range|step)\(\)/

/** Null when all is as expected. */
function check(env: Environment, command: EvalCommand, expr: Expr): string | null {
  const queries: { query: Query; what: string }[] = [{ query: command, what: '' }]
  if (command.step === 0 && !QUERY_BOUND.test(command.text)) {
    const pinned = pin(expr, command.start)
    if (pinned)
      for (const at of [-10 * command.start - 1000, 0, Math.trunc(command.start / 5), 10 * command.start])
        queries.push({
          query: { text: command.text, expr: pinned, start: at, end: at, step: 0 },
          what: ` (pinned with @, evaluated at ${at} ms)`,
        })
  }
  for (const { query, what } of queries) {
    let found: Found
    try {
      found = evaluate(env, query)
    } catch (error) {
      const reason = failed(command, (error as Error).message, what)
      if (reason !== null) return reason
      continue
    }
    if (command.fail) return `expected an error, got none${what}`
    const problem = annotationProblem(command, found) ?? compare(command, found)
    if (problem) return problem + what
    if (command.step > 0 || command.rangeAnswer || command.expected.kind === 'string') continue
    if (QUERY_BOUND.test(command.text) || command.ordered) continue
    const middle = query.start
    let ranged: Found
    try {
      ranged = evaluate(env, { ...query, start: middle - 60_000, end: middle + 60_000, step: 60_000 })
    } catch (error) {
      return `failed: ${(error as Error).message}${what} (as a step of a range)`
    }
    const series = ranged.series
      .map((s) => ({ labels: s.labels, samples: s.samples.filter(([time]) => time === middle) }))
      .filter((s) => s.samples.length > 0)
    const again: Found =
      found.kind === 'scalar'
        ? { ...ranged, kind: 'scalar', value: series[0]?.samples[0]?.[1] ?? Number.NaN }
        : { ...ranged, kind: 'vector', series }
    const other = compare(command, again)
    if (other) return `${other}${what} (as a step of a range)`
  }
  return null
}

/** Null when this is the failure that is expected. */
function failed({ fail }: EvalCommand, message: string, what: string): string | null {
  if (!fail) return `failed: ${message}${what}`
  return satisfies(fail, message) ? null : `expected error ${wanted(fail)}, got: ${message}${what}`
}

const satisfies = (expectation: Expectation, text: string) =>
  expectation.pattern ? expectation.pattern.test(text) : expectation.message === text.trim()
const wanted = (expectation: Expectation) =>
  expectation.pattern ? `matching ${expectation.pattern.source}` : JSON.stringify(expectation.message)

function annotationProblem(command: EvalCommand, found: Found): string | null {
  const of = (what: string, expected: readonly Expectation[], got: readonly string[], none: boolean): string | null => {
    if (none && got.length > 0) return `unexpected ${what} annotations: ${got.join('; ')}`
    if (expected.length === 0) return null
    const missing = expected.find((e) => !got.some((text) => satisfies(e, text)))
    if (missing) return `expected ${what} annotation ${wanted(missing)}, got ${got.join('; ') || 'none'}`
    const extra = got.find((text) => !expected.some((e) => satisfies(e, text)))
    return extra === undefined ? null : `unexpected ${what} annotation: ${extra}`
  }
  return (
    of('warn', command.warn, found.warnings, command.noWarn) ?? of('info', command.info, found.infos, command.noInfo)
  )
}

const TOLERANCE = 0.000001
const SMALLEST_NORMAL = 2.2250738585072014e-308

/** Equal but for rounding: NaN equals NaN, and what is tiny is compared absolutely. */
export function almostEqual(a: number, b: number, tolerance = TOLERANCE): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b)
  if (a === b) return true
  const sum = Math.abs(a) + Math.abs(b)
  const difference = Math.abs(a - b)
  if (a === 0 || b === 0 || sum < SMALLEST_NORMAL) return difference < tolerance * SMALLEST_NORMAL
  return difference / Math.min(sum, Number.MAX_VALUE) < tolerance
}

function compare(command: EvalCommand, found: Found): string | null {
  const { expected } = command
  if (expected.kind === 'scalar') {
    if (found.kind !== 'scalar') return `expected scalar ${formatShort(expected.value)}, got a ${found.kind}`
    return almostEqual(expected.value, found.value)
      ? null
      : `expected scalar ${formatShort(expected.value)}, got ${formatShort(found.value)}`
  }
  if (expected.kind === 'string')
    return found.kind === 'string' && found.text === expected.value
      ? null
      : `expected string ${JSON.stringify(expected.value)}, got ${found.kind} ${JSON.stringify(found.text)}`
  if (found.kind === 'scalar' || found.kind === 'string') return `expected series, got a ${found.kind}`
  const instant = found.kind === 'vector'
  const places = new Map(expected.series.map((series, i) => [keyOf(series.labels), i]))
  const seen = new Set<number>()
  let previous: Labels | null = null
  for (const [position, series] of found.series.entries()) {
    if (!instant) {
      if (previous && compareLabels(previous, series.labels) > 0) return 'series of a range are not sorted by labels'
      previous = series.labels
    }
    const place = places.get(keyOf(series.labels))
    const got = series.samples.map(([time, value]) => `${formatShort(value)} @${time}`).join(' ')
    if (place === undefined) return `unexpected ${formatSeries(series.labels)} with ${got}`
    seen.add(place)
    const wantedSeries = expected.series[place]!
    if (instant) {
      if (command.ordered && place !== position)
        return `expected ${formatSeries(series.labels)} at position ${place + 1}, it is at ${position + 1}`
      const value = numberOf(wantedSeries.values[0] ?? 'none')
      if (value === null || !almostEqual(value, series.samples[0]![1]))
        return `expected ${value === null ? 'no value' : formatShort(value)} for ${formatSeries(series.labels)}, got ${got}`
      continue
    }
    const problem = compareSamples(command, wantedSeries, series.samples)
    if (problem) return `${formatSeries(series.labels)}: ${problem} (has ${got})`
  }
  const missing = expected.series.find(
    (series, i) => !seen.has(i) && (instant || series.values.some((value) => value !== 'none')),
  )
  return missing ? `expected ${formatSeries(missing.labels)} was not found` : null
}

function compareSamples(
  command: EvalCommand,
  expected: ScriptSeries,
  samples: readonly (readonly [number, number])[],
): string | null {
  const { start, end, step } = command.rangeAnswer ?? command
  const points: [number, number][] = []
  for (const [i, value] of expected.values.entries()) {
    const time = start + i * step
    if (time > end) return `expected ${expected.values.length} points, but the range cannot have as many`
    const number = numberOf(value)
    if (number !== null) points.push([time, number])
  }
  if (points.length !== samples.length) return `expected ${points.length} points, got ${samples.length}`
  for (const [i, [time, value]] of points.entries()) {
    const [gotTime, got] = samples[i]!
    if (time !== gotTime) return `expected point ${i} at ${time} ms, it is at ${gotTime} ms`
    if (!almostEqual(value, got)) return `expected ${formatShort(value)} at ${time} ms, got ${formatShort(got)}`
  }
  return null
}

function numberOf(value: SequenceValue): number | null {
  if (value === 'stale') return staleMarker
  return typeof value === 'number' ? value : null
}

/** The expression with `@ at` on every selector and subquery that has none; null where that would change its meaning. */
function pin(expr: Expr, at: number): Expr | null {
  let safe = true
  const change = (node: Expr): Expr => {
    switch (node.kind) {
      case 'vector':
        return node.at === null ? { ...node, at, invariant: true } : node
      case 'matrix':
        return { ...node, selector: change(node.selector) as typeof node.selector, invariant: true }
      case 'subquery':
        return node.at === null ? { ...node, at, invariant: true } : node
      case 'paren':
      case 'unary':
        return { ...node, expr: change(node.expr) }
      case 'binary':
        return { ...node, left: change(node.left), right: change(node.right) }
      case 'aggregate':
        return { ...node, expr: change(node.expr), param: node.param ? change(node.param) : null }
      case 'call':
        if (stepDependent.has(node.fn.name)) safe = false
        return { ...node, args: node.args.map(change) }
      default:
        return node
    }
  }
  walk(expr, (node) => {
    if (node.kind === 'call' && stepDependent.has(node.fn.name)) safe = false
  })
  const changed = change(expr)
  return safe ? changed : null
}
