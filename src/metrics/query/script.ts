/**
 * Prometheus' test scripts as data: `load` with series in their short notation, `clear`, and `eval` with what is
 * expected of it, in the forms of Prometheus 2 (`eval_fail`, `eval_ordered`) and 3 (`expect …`).
 */
import type { Millis } from '../../base/time.ts'
import type { Label, Labels } from '../labels.ts'
import { METRIC_NAME, sortLabels } from '../labels.ts'
import { keyOf } from './labelset.ts'
import { lex, type Token, unquote } from './lex.ts'
import { parseDuration, parseNumber } from './parse.ts'

/** A value of a sequence: a number, none, the stale marker, or a native histogram, which are not supported. */
export type SequenceValue = number | 'none' | 'stale' | 'histogram'

export interface ScriptSeries {
  readonly labels: Labels
  readonly values: readonly SequenceValue[]
}

export interface Expectation {
  readonly pattern: RegExp | null
  /** The message in full, when there is no pattern. */
  readonly message: string | null
}

export type Expected =
  | { readonly kind: 'scalar'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  /** In the order of the script. */
  | { readonly kind: 'series'; readonly series: readonly ScriptSeries[] }

export interface EvalCommand {
  readonly kind: 'eval'
  readonly line: number
  readonly text: string
  /** Step 0: an instant query. */
  readonly start: Millis
  readonly end: Millis
  readonly step: Millis
  readonly ordered: boolean
  readonly fail: Expectation | null
  readonly warn: readonly Expectation[]
  readonly info: readonly Expectation[]
  readonly noWarn: boolean
  readonly noInfo: boolean
  /** Times of the samples where an instant query is expected to give a range. */
  readonly rangeAnswer: { readonly start: Millis; readonly end: Millis; readonly step: Millis } | null
  readonly expected: Expected
}

export type Command =
  | { readonly kind: 'clear'; readonly line: number }
  | {
      readonly kind: 'load'
      readonly line: number
      readonly step: Millis
      readonly series: readonly ScriptSeries[]
      /** Prometheus would make native histograms of the classic ones as well. */
      readonly nativeToo: boolean
    }
  | EvalCommand

/** A line that is not understood. */
export class ScriptError extends Error {
  readonly line: number
  constructor(line: number, reason: string) {
    super(`line ${line}: ${reason}`)
    this.line = line
  }
}

const EVAL_INSTANT = /^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(\S+)\s+)?(.+)$/
const EVAL_RANGE = /^eval(?:_(fail|warn|info))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$/
const EXPECT = /^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.*))?$/
const EXPECT_RANGE = /^expect range vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)$/

/** True for scripts in the form of Prometheus 3, which alone has `expect` lines. */
export function usesExpect(text: string): boolean {
  return /^\s*expect\s/m.test(text)
}

/** Throws `ScriptError`. */
export function parseScript(text: string): Command[] {
  const lines = text.split('\n').map((line) => (line.trim().startsWith('#') ? '' : line.trim()))
  const commands: Command[] = []
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!
    if (line === '') continue
    const block: { text: string; line: number }[] = []
    const word = line.split(/\s/, 1)[0]!.toLowerCase()
    if (word !== 'clear')
      while (i + 1 < lines.length && lines[i + 1] !== '') block.push({ text: lines[++i]!, line: i + 1 })
    const at = i + 1 - block.length
    if (word === 'clear') commands.push({ kind: 'clear', line: at })
    else if (word.startsWith('load')) commands.push(parseLoad(line, at, block))
    else if (word.startsWith('eval')) {
      const { command, used } = parseEval(line, at, block)
      commands.push(command)
      // A number or a failure's message ends the block: what follows is a command again.
      i -= block.length - used
    } else throw new ScriptError(at, `invalid command ${JSON.stringify(line)}`)
  }
  return commands
}

interface Line {
  readonly text: string
  readonly line: number
}

function duration(line: number, text: string): Millis {
  try {
    return text.startsWith('-') ? -parseDuration(text.slice(1)) : parseDuration(text)
  } catch (error) {
    throw new ScriptError(line, (error as Error).message)
  }
}

function parseLoad(text: string, line: number, block: readonly Line[]): Command {
  const found = /^load(_with_nhcb)?\s+(\S+)$/i.exec(text)
  if (!found) throw new ScriptError(line, 'invalid load command. (load[_with_nhcb] <step:duration>)')
  const series = block.filter((entry) => !/@st\s/.test(entry.text)).map((entry) => parseSeries(entry.text, entry.line))
  return { kind: 'load', line, step: duration(line, found[2]!), series, nativeToo: found[1] !== undefined }
}

function parseEval(text: string, line: number, block: readonly Line[]): { command: EvalCommand; used: number } {
  const range = EVAL_RANGE.exec(text)
  const instant = EVAL_INSTANT.exec(text)
  const found = range ?? instant
  if (!found)
    throw new ScriptError(
      line,
      "invalid evaluation command. Must be either 'eval[_fail|_warn|_ordered|_info] instant [at <offset:duration>] <query>' or 'eval[_fail|_warn|_info] range from <from> to <to> step <step> <query>'",
    )
  const mode = found[1]
  const query = range ? range[5]! : instant![3]!
  const start = range ? duration(line, range[2]!) : duration(line, instant![2] ?? '0')
  const end = range ? duration(line, range[3]!) : start
  const step = range ? duration(line, range[4]!) : 0
  if (end < start) throw new ScriptError(line, 'invalid test definition, end timestamp is before start timestamp')

  let ordered = mode === 'ordered'
  let fail: Expectation | null = mode === 'fail' ? anything : null
  const warn: Expectation[] = mode === 'warn' ? [anything] : []
  const infos: Expectation[] = mode === 'info' ? [anything] : []
  let noWarn = false
  let noInfo = false
  let rangeAnswer: EvalCommand['rangeAnswer'] = null
  let scalar: number | null = null
  let string: string | null = null
  const series: ScriptSeries[] = []
  let used = 0
  for (const entry of block) {
    used++
    const old = /^expected_fail_(message|regexp)\s*(.*)$/.exec(entry.text)
    if (old && fail) {
      fail = expectation(old[1] === 'regexp' ? 'regex' : 'msg', old[2]!, entry.line)
      break
    }
    const window = EXPECT_RANGE.exec(entry.text)
    if (window) {
      const [from, to, by] = window.slice(1).map((part) => duration(entry.line, part)) as [number, number, number]
      rangeAnswer = { start: from, end: to, step: by }
      continue
    }
    if (entry.text.startsWith('expect string')) {
      string = quotedString(entry.text.slice('expect string'.length).trim(), entry.line)
      continue
    }
    if (/^expect\s/.test(entry.text)) {
      const expect = EXPECT.exec(entry.text)
      if (!expect)
        throw new ScriptError(
          entry.line,
          'invalid expect statement, must match `expect <type> <match_type>: <string>` format',
        )
      const wanted = expectation(expect[2], expect[3] ?? '', entry.line)
      if (expect[1] === 'ordered') ordered = true
      else if (expect[1] === 'fail') {
        if (fail && fail !== anything)
          throw new ScriptError(entry.line, 'invalid expect lines, multiple expect fail lines are not allowed')
        fail = wanted
      } else if (expect[1] === 'warn') warn.push(wanted)
      else if (expect[1] === 'info') infos.push(wanted)
      else if (expect[1] === 'no_warn') noWarn = true
      else noInfo = true
      if (noWarn && warn.length > 0)
        throw new ScriptError(entry.line, 'invalid expect lines, warn and no_warn cannot be used together')
      if (noInfo && infos.length > 0)
        throw new ScriptError(entry.line, 'invalid expect lines, info and no_info cannot be used together')
      continue
    }
    const number = parseNumber(entry.text)
    if (number !== null) {
      scalar = number
      break
    }
    const parsed = parseSeries(entry.text, entry.line)
    if (parsed.values.length > 1 && !range && !rangeAnswer)
      throw new ScriptError(
        entry.line,
        "expecting multiple values in instant evaluation not allowed. consider using 'expect range vector' directive to enable a range vector result for an instant query",
      )
    series.push(parsed)
  }
  const expected: Expected =
    string !== null
      ? { kind: 'string', value: string }
      : scalar !== null
        ? { kind: 'scalar', value: scalar }
        : { kind: 'series', series }
  const command: EvalCommand = {
    kind: 'eval',
    line,
    text: query,
    start,
    end,
    step,
    ordered,
    fail,
    warn,
    info: infos,
    noWarn,
    noInfo,
    rangeAnswer,
    expected,
  }
  return { command, used }
}

const anything: Expectation = { pattern: /^/, message: null }

function expectation(how: string | undefined, text: string, line: number): Expectation {
  if (how === undefined) return anything
  if (how === 'msg') return { pattern: null, message: text.trim() }
  try {
    return { pattern: new RegExp(text.trim()), message: null }
  } catch {
    throw new ScriptError(line, `invalid regex ${text.trim()}`)
  }
}

function quotedString(text: string, line: number): string {
  const lexed = lex(text)
  const token = lexed.tokens[0]
  if (lexed.error || lexed.tokens.length !== 1 || token?.kind !== 'string')
    throw new ScriptError(line, 'expected string literal not valid - check that the string is correctly quoted')
  return unquote(token.text)
}

// ------------------------------------------------------------------------------------------------- series

const NUMBER = '(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][+-]?\\d+)?|[iI][nN][fF]|[nN][aA][nN]'
const ITEM = new RegExp(`^([+-]?(?:${NUMBER})|stale)(?:([+-](?:${NUMBER}))?x(\\d+))?$`)
const REPEAT_MAX = 10_000_000

/** `name{label="value"} 1 2 _ 3+1x4 stale`. */
export function parseSeries(text: string, line: number): ScriptSeries {
  const end = endOfMetric(text)
  const labels = parseLabels(text.slice(0, end), line)
  const rest = text.slice(end).trim()
  const values: SequenceValue[] = []
  // A histogram's notation has spaces of its own.
  for (const item of rest.match(/\{\{.*?\}\}\S*|\S+/g) ?? []) {
    if (item.startsWith('{{')) {
      const repeated = /x(\d+)$/.exec(item)
      const count = repeated ? Number(repeated[1]) + 1 : 1
      for (let i = 0; i < Math.min(count, REPEAT_MAX); i++) values.push('histogram')
      continue
    }
    const blank = /^_(?:x(\d+))?$/.exec(item)
    if (blank) {
      for (let i = 0; i < Number(blank[1] ?? 1); i++) values.push('none')
      continue
    }
    const found = ITEM.exec(item)
    if (!found) throw new ScriptError(line, `unexpected ${JSON.stringify(item)} in series values`)
    const times = found[3] === undefined ? 0 : Number(found[3])
    if (times > REPEAT_MAX) throw new ScriptError(line, `more than ${REPEAT_MAX} values`)
    if (found[1] === 'stale') {
      for (let i = 0; i <= times; i++) values.push('stale')
      continue
    }
    let value = decimal(found[1]!)
    const change = found[2] === undefined ? 0 : decimal(found[2])
    for (let i = 0; i <= times; i++) {
      values.push(value)
      value += change
    }
  }
  return { labels, values }
}

/** Without Go's base prefixes, which sequences do not have. */
function decimal(text: string): number {
  const sign = text.startsWith('-') ? -1 : 1
  const body = text.replace(/^[+-]/, '')
  if (/^inf$/i.test(body)) return sign * Number.POSITIVE_INFINITY
  return /^nan$/i.test(body) ? Number.NaN : sign * Number(body)
}

function endOfMetric(text: string): number {
  let at = /^[A-Za-z_:][A-Za-z0-9_:]*/.exec(text)?.[0].length ?? 0
  if (text[at] !== '{' || text.startsWith('{{', at)) return at
  let close = ''
  for (at++; at < text.length; at++) {
    const char = text[at]!
    if (close !== '') {
      if (char === '\\' && close !== '`') at++
      else if (char === close) close = ''
    } else if (char === '"' || char === "'" || char === '`') close = char
    else if (char === '}') return at + 1
  }
  return at
}

function parseLabels(text: string, line: number): Labels {
  const brace = text.indexOf('{')
  const name = brace < 0 ? text : text.slice(0, brace)
  const labels: Label[] = name === '' ? [] : [[METRIC_NAME, name]]
  if (brace >= 0) {
    const lexed = lex(text.slice(brace))
    if (lexed.error) throw new ScriptError(line, lexed.error.reason)
    const { tokens } = lexed
    const textOf = (token: Token) => (token.kind === 'string' ? unquote(token.text) : token.text)
    for (let i = 1; i < tokens.length - 1; i++) {
      const label = tokens[i]!
      if (label.text === ',') continue
      if (label.kind === 'string' && tokens[i + 1]?.text !== '=') labels.push([METRIC_NAME, unquote(label.text)])
      else if (tokens[i + 1]?.text === '=' && tokens[i + 2]?.kind === 'string') {
        labels.push([textOf(label), unquote(tokens[i + 2]!.text)])
        i += 2
      } else throw new ScriptError(line, `unexpected ${JSON.stringify(label.text)} in label set`)
    }
  }
  const set = labels.filter(([, value]) => value !== '')
  const sorted = sortLabels(set)
  if (new Set(sorted.map(([label]) => label)).size !== sorted.length)
    throw new ScriptError(line, `label set contains a label twice: ${keyOf(sorted)}`)
  return sorted
}
