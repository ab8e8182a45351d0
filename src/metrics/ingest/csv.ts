/**
 * CSV as people export it: `timestamp,value[,labels]`, one sample a line (RFC 4180 quoting).
 *
 *   2026-01-01T00:00:00Z,12.5,"{host=""a"",env=""prod""}"      labels as PromQL writes them, with or without a name
 *   1767225600,13                                             seconds; from 1e11 on, milliseconds
 *
 * A first line that begins with `timestamp` names the columns and may put them in another order. Further columns that
 * it names are labels, one each; `metric` or `name` is the name of the metric.
 */
import { AppError, badRequest } from '../../base/errors.ts'
import { fromIso } from '../../base/time.ts'
import { ColumnBuilder, type SampleColumns } from '../columns.ts'
import { encodeLabels, type Label, labelValue, METRIC_NAME, sortLabels } from '../labels.ts'
import { parseSeries, textOf } from './text.ts'

export interface CsvOptions {
  readonly samplesMax: number
  /** Name of the metric where a line has none. */
  readonly metric: string | null
  /** The names of columns, when `body` is a later part of a file whose first line was read before. */
  readonly header?: string
}

/** Throws `AppError` 400 with the line, 413 above `samplesMax`. */
export function decodeCsv(body: Uint8Array, options: CsvOptions): SampleColumns {
  const text = textOf(body)
  const builder = new ColumnBuilder()
  const known = new Map<string, Uint8Array>()
  let columns = options.header === undefined ? DEFAULT : columnsOf(splitLine(options.header, 1), 1)
  let line = 0
  let samples = 0
  for (let from = 0; from < text.length; ) {
    line++
    let to = text.indexOf('\n', from)
    if (to < 0) to = text.length
    const row = text.slice(from, to).trim()
    from = to + 1
    if (row === '' || row.startsWith('#')) continue
    const fields = splitLine(row, line)
    if (samples === 0 && isHeader(fields)) {
      columns = columnsOf(fields, line)
      continue
    }
    const time = parseTime(fields[columns.time])
    if (time === null) throw broken(line, `${shown(fields[columns.time])} is not a time`)
    const number = fields[columns.value]?.trim() ?? ''
    if (!/^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|NaN|[+-]?Inf(inity)?)$/i.test(number)) {
      throw broken(line, `${shown(number)} is not a number`)
    }
    const key = fields.filter((_, i) => i !== columns.time && i !== columns.value).join('\n')
    let bytes = known.get(key)
    if (!bytes) {
      bytes = labelsOfRow(fields, columns, options.metric, line)
      known.set(key, bytes)
    }
    if (++samples > options.samplesMax) {
      throw new AppError(413, 'body_too_large', `The text has more than ${options.samplesMax} samples.`)
    }
    builder.seriesBytes(bytes).sample(time, numberOf(number))
  }
  return builder.finish()
}

/** Whether a line names columns. */
export const isCsvHeader = (line: string): boolean => isHeader(splitLine(line.trim(), 1))

interface Columns {
  readonly time: number
  readonly value: number
  /** -1 where there is no such column. */
  readonly labels: number
  readonly name: number
  readonly named: readonly (readonly [column: number, label: string])[]
}

const DEFAULT: Columns = { time: 0, value: 1, labels: 2, name: -1, named: [] }
const isHeader = (fields: readonly string[]) => fields.some((f) => /^(timestamp|time)$/i.test(f.trim()))

function columnsOf(fields: readonly string[], line: number): Columns {
  const names = fields.map((f) => f.trim())
  const find = (pattern: RegExp) => names.findIndex((name) => pattern.test(name))
  const [time, value] = [find(/^(timestamp|time)$/i), find(/^value$/i)]
  if (time < 0 || value < 0) throw broken(line, 'the first line has to name the columns timestamp and value')
  const [labels, name] = [find(/^labels$/i), find(/^(metric|name|metric_name|__name__)$/i)]
  const named = names.flatMap((label, i) => ([time, value, labels, name].includes(i) ? [] : [[i, label] as const]))
  return { time, value, labels, name, named }
}

function labelsOfRow(fields: readonly string[], columns: Columns, metric: string | null, line: number): Uint8Array {
  const written = columns.labels < 0 ? '' : (fields[columns.labels]?.trim() ?? '')
  const name = (columns.name < 0 ? '' : (fields[columns.name]?.trim() ?? '')) || metric || ''
  const labels: Label[] = []
  if (written !== '') {
    // Braces may be missing, and so may the name: a placeholder lets the one reader of labels serve.
    const series = written.includes('{') ? written : /=/.test(written) ? `{${written}}` : written
    const own = series.startsWith('{') && !/^\{\s*"(\\.|[^"\\])*"\s*[,}]/.test(series)
    const parsed = parseSeries(own ? `_${series}` : series, line)
    for (const label of parsed) if (!own || label[0] !== METRIC_NAME) labels.push(label)
  }
  for (const [column, label] of columns.named) {
    const value = fields[column] ?? ''
    if (value !== '' && label !== '') labels.push([label, value])
  }
  if (labelValue(labels, METRIC_NAME) === '') {
    if (name === '') throw broken(line, 'the sample has no metric name')
    labels.push([METRIC_NAME, name])
  }
  return encodeLabels(sortLabels(labels))
}

/** ISO with a zone, or epoch in seconds (below 1e11) or milliseconds. */
function parseTime(field: string | undefined): number | null {
  const text = field?.trim() ?? ''
  if (!/^-?\d+(\.\d+)?$/.test(text)) return fromIso(text)
  const n = Number(text)
  return Math.round(Math.abs(n) < 1e11 ? n * 1000 : n)
}

function numberOf(text: string): number {
  if (/^nan$/i.test(text)) return Number.NaN
  if (/inf/i.test(text)) return text.startsWith('-') ? -Infinity : Infinity
  return Number(text)
}

function splitLine(line: string, number: number): string[] {
  if (!line.includes('"')) return line.split(',')
  const fields: string[] = []
  let at = 0
  for (;;) {
    if (line[at] === '"') {
      let field = ''
      for (;;) {
        const end = line.indexOf('"', at + 1)
        if (end < 0) throw broken(number, 'a quote has no end')
        field += line.slice(at + 1, end)
        at = end + 1
        if (line[at] !== '"') break
        field += '"'
      }
      fields.push(field)
      if (at < line.length && line[at] !== ',') throw broken(number, 'something follows a quote')
    } else {
      const end = line.indexOf(',', at)
      fields.push(line.slice(at, end < 0 ? line.length : end))
      at = end < 0 ? line.length : end
    }
    if (at >= line.length) return fields
    at++
  }
}

const shown = (text: string | undefined) => JSON.stringify((text ?? '').slice(0, 60))
const broken = (line: number, what: string) => badRequest(`line ${line}: ${what}.`, 'body_malformed')
