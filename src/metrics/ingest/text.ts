/**
 * The two text formats that services are scraped in, and files are imported from.
 *
 *   Prometheus text 0.0.4   name{label="value",…} 12.5 1767225600000        time in milliseconds, any blanks between
 *   OpenMetrics 1.0         name{label="value",…} 12.5 1767225600.0 # {…} 1 time in seconds, one blank, `# EOF` last
 *
 * Both take names outside [a-zA-Z_:] in quotes: `{"http.requests", "k8s.pod"="a"} 1`. Comments are checked for form and
 * left out, exemplars likewise. A line that breaks the format fails the whole text with its number: half a scrape
 * would look like series that vanished.
 *
 * `scanText` hands on the series of each line as its own text, unread: a scraper that has seen the text before needs
 * no labels made again. `parseSeries` reads one.
 */
import { AppError, badRequest } from '../../base/errors.ts'
import { ColumnBuilder, type SampleColumns } from '../columns.ts'
import { encodeLabels, type Label, type Labels, METRIC_NAME, sortLabels } from '../labels.ts'

export type TextFormat = 'prometheus' | 'openmetrics'

/** `time` is in milliseconds, or null where the line has none. */
export type OnSample = (series: string, value: number, time: number | null, line: number) => void

export interface TextOptions {
  readonly samplesMax: number
  /** False for a part of a file: OpenMetrics may then lack its `# EOF`. */
  readonly whole?: boolean
}

const decoder = new TextDecoder('utf-8', { fatal: true })

/** Label bytes by the text of a series: the same series come again and again. */
export type SeriesCache = Map<string, Uint8Array>
const CACHE_MAX = 50_000

/** Times absent from the text are `now`. Throws `AppError` 400 with the line, 413 above `samplesMax`. */
export function decodeText(
  body: Uint8Array,
  format: TextFormat,
  now: number,
  options: TextOptions,
  known: SeriesCache = new Map(),
): SampleColumns {
  const builder = new ColumnBuilder()
  let last = ''
  scanText(textOf(body), format, options, (series, value, time, line) => {
    if (series !== last) builder.seriesBytes(known.get(series) ?? remember(known, series, line))
    last = series
    builder.sample(time ?? now, value)
  })
  return builder.finish()
}

function remember(known: SeriesCache, series: string, line: number): Uint8Array {
  const bytes = encodeLabels(parseSeries(series, line))
  if (known.size >= CACHE_MAX) known.clear()
  // A copy: a piece of the text would keep all of it in memory.
  known.set(Buffer.from(series).toString(), bytes)
  return bytes
}

/** UTF-8, or `AppError` 400. */
export function textOf(body: Uint8Array): string {
  try {
    return decoder.decode(body)
  } catch {
    throw badRequest('The text is not UTF-8.', 'body_malformed')
  }
}

const BLANK = 32
const TAB = 9
const QUOTE = 34
const HASH = 35
const OPEN = 123
const CLOSE = 125
const BACKSLASH = 92

/** Calls `onSample` for each sample line. Throws as `decodeText`; reads no labels. */
export function scanText(text: string, format: TextFormat, options: TextOptions, onSample: OnSample): void {
  const strict = format === 'openmetrics'
  let line = 0
  let samples = 0
  let ended = false
  for (let from = 0; from < text.length; ) {
    line++
    let to = text.indexOf('\n', from)
    if (to < 0) {
      to = text.length
      if (strict && options.whole !== false && text.slice(from) !== '# EOF')
        throw broken(line, 'the last line is cut off')
    }
    const start = from
    from = to + 1
    if (ended) throw broken(line, 'nothing may follow "# EOF"')
    let at = start
    if (!strict) {
      at = skipBlanks(text, at, to)
      while (to > at && isBlank(text.charCodeAt(to - 1))) to--
      if (at === to) continue
    } else if (at === to) throw broken(line, 'an empty line')
    if (text.charCodeAt(at) === HASH) {
      if (strict) ended = checkComment(text.slice(at, to), line)
      continue
    }

    // The series: a name, labels in braces, or both. Braces inside quotes do not count.
    const seriesFrom = at
    while (at < to) {
      const c = text.charCodeAt(at)
      if (c === OPEN || isBlank(c)) break
      at++
    }
    let open = at
    if (!strict) open = skipBlanks(text, at, to)
    if (text.charCodeAt(open) === OPEN && open < to) {
      at = endOfBraces(text, open, to)
      if (at < 0) throw broken(line, 'the labels have no end')
    }
    if (at === seriesFrom) throw broken(line, 'expected the name of a series')
    const series = text.slice(seriesFrom, at)

    const valueFrom = between(text, at, to, strict, line)
    const valueTo = endOfWord(text, valueFrom, to)
    const value = parseValue(text, valueFrom, valueTo)
    if (value === null) throw broken(line, `expected a number, got ${shown(text.slice(valueFrom, valueTo))}`)
    at = valueTo
    let time: number | null = null
    if (at < to) {
      const next = between(text, at, to, strict, line)
      if (strict && text.charCodeAt(next) === HASH) at = checkExemplar(text, next, to, line)
      else {
        at = endOfWord(text, next, to)
        time = strict ? secondsToMillis(text.slice(next, at)) : millis(text.slice(next, at))
        if (time === null) throw broken(line, `expected a time, got ${shown(text.slice(next, at))}`)
        if (strict && at < to) {
          const exemplar = between(text, at, to, strict, line)
          if (text.charCodeAt(exemplar) !== HASH) throw broken(line, 'something follows the time')
          at = checkExemplar(text, exemplar, to, line)
        }
      }
      if (at < to) throw broken(line, `something follows the sample: ${shown(text.slice(at, to))}`)
    }
    if (++samples > options.samplesMax) {
      throw new AppError(413, 'body_too_large', `The text has more than ${options.samplesMax} samples.`)
    }
    onSample(series, value, time, line)
  }
  if (strict && !ended && options.whole !== false) throw broken(line + 1, 'expected "# EOF"')
}

const METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/

/** Labels of a series as written: `name{a="b"}`. Throws `AppError` 400 with `line`. */
export function parseSeries(series: string, line = 1): Labels {
  const open = series.indexOf('{')
  let name = (open < 0 ? series : series.slice(0, open)).trimEnd()
  if (name !== '' && !METRIC.test(name)) throw broken(line, `${shown(name)} is not the name of a metric`)
  const labels: Label[] = []
  const seen = new Set<string>()
  if (open >= 0) {
    const end = series.length - 1
    let at = skipBlanks(series, open + 1, end)
    while (at < end) {
      let key: string
      const quoted = series.charCodeAt(at) === QUOTE
      if (quoted) {
        const stop = endOfQuote(series, at, end)
        if (stop < 0) throw broken(line, 'a quote has no end')
        key = unescaped(series.slice(at + 1, stop - 1), line)
        at = skipBlanks(series, stop, end)
      } else {
        const stop = at + series.slice(at, end).search(/[\s=,]|$/)
        key = series.slice(at, stop)
        if (!LABEL.test(key)) throw broken(line, `${shown(key)} is not the name of a label`)
        at = skipBlanks(series, stop, end)
      }
      if (series[at] === '=' && at < end) {
        at = skipBlanks(series, at + 1, end)
        if (series.charCodeAt(at) !== QUOTE) throw broken(line, `the value of ${shown(key)} is not in quotes`)
        const stop = endOfQuote(series, at, end)
        if (stop < 0) throw broken(line, 'a quote has no end')
        if (key === '' || key === METRIC_NAME) throw broken(line, `${shown(key)} may not be the name of a label`)
        if (seen.has(key)) throw broken(line, `the label ${shown(key)} stands twice`)
        seen.add(key)
        const value = unescaped(series.slice(at + 1, stop - 1), line)
        if (value !== '') labels.push([key, value])
        at = skipBlanks(series, stop, end)
      } else if (quoted && name === '') {
        if (key === '') throw broken(line, 'the name of the metric is empty')
        name = key
      } else throw broken(line, `expected "=" after ${shown(key)}`)
      if (at === end) break
      if (series[at] !== ',') throw broken(line, `expected "," or "}" after ${shown(key)}`)
      at = skipBlanks(series, at + 1, end)
    }
  }
  if (name === '') throw broken(line, 'the series has no name')
  labels.push([METRIC_NAME, name])
  return sortLabels(labels)
}

const isBlank = (c: number) => c === BLANK || c === TAB || c === 13

function skipBlanks(text: string, from: number, to: number): number {
  let at = from
  while (at < to && isBlank(text.charCodeAt(at))) at++
  return at
}

function endOfWord(text: string, from: number, to: number): number {
  let at = from
  while (at < to && !isBlank(text.charCodeAt(at))) at++
  return at
}

/** Past what stands between two parts: exactly one blank in OpenMetrics. */
function between(text: string, at: number, to: number, strict: boolean, line: number): number {
  const next = strict ? at + 1 : skipBlanks(text, at, to)
  if (next === at || next > to || (strict && text.charCodeAt(at) !== BLANK)) throw broken(line, 'expected a blank')
  if (next === to || isBlank(text.charCodeAt(next))) throw broken(line, 'expected a number')
  return next
}

/** Past the quote that ends the one at `from`, or -1. */
function endOfQuote(text: string, from: number, to: number): number {
  for (let at = from + 1; at < to; at++) {
    const c = text.charCodeAt(at)
    if (c === BACKSLASH) at++
    else if (c === QUOTE) return at + 1
  }
  return -1
}

/** Past the brace that ends the one at `from`, or -1. */
function endOfBraces(text: string, from: number, to: number): number {
  for (let at = from + 1; at < to; ) {
    const c = text.charCodeAt(at)
    if (c === CLOSE) return at + 1
    if (c === QUOTE) {
      at = endOfQuote(text, at, to)
      if (at < 0) return -1
    } else at++
  }
  return -1
}

function unescaped(text: string, line: number): string {
  if (!text.includes('\\')) return text
  return text.replace(/\\(.?)/gs, (_, c: string) => {
    if (c === 'n') return '\n'
    if (c === '\\' || c === '"') return c
    throw broken(line, `"\\${c}" is no escape`)
  })
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/
const SPECIAL = /^[+-]?(inf|infinity|nan)$/i

function parseValue(text: string, from: number, to: number): number | null {
  const word = text.slice(from, to)
  if (DECIMAL.test(word)) return Number(word)
  if (!SPECIAL.test(word)) return null
  if (word.toLowerCase().endsWith('nan')) return Number.NaN
  return word[0] === '-' ? -Infinity : Infinity
}

const millis = (word: string) => (/^[+-]?\d{1,16}$/.test(word) ? Number(word) : null)
const secondsToMillis = (word: string) => {
  const seconds = DECIMAL.test(word) ? Number(word) : Number.NaN
  return Math.abs(seconds) < 1e13 ? Math.round(seconds * 1000) : null
}

/** True when the comment is `# EOF`. */
function checkComment(comment: string, line: number): boolean {
  if (comment === '# EOF') return true
  if (!/^# (HELP|TYPE|UNIT) \S/.test(comment)) throw broken(line, 'expected "# HELP", "# TYPE", "# UNIT" or "# EOF"')
  return false
}

/** ` # {labels} value [time]` at the `#`; answers where it ends. */
function checkExemplar(text: string, from: number, to: number, line: number): number {
  if (text.charCodeAt(from + 1) !== BLANK || text.charCodeAt(from + 2) !== OPEN) {
    throw broken(line, 'expected an exemplar: "# {labels} value"')
  }
  const end = endOfBraces(text, from + 2, to)
  if (end < 0 || !/^ \S+( \S+)?$/.test(text.slice(end, to))) throw broken(line, 'the exemplar is not whole')
  return to
}

const shown = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
const broken = (line: number, what: string) => badRequest(`line ${line}: ${what}.`, 'body_malformed')
