/**
 * `replay detect`: runs anyone's CSV files through the detector that watches live series, each file a series of its
 * own, each row seen once and in order. Nothing is configured per file.
 *
 *   in    DIR/any/folders/name.csv     a header row with `timestamp` and `value`; other columns are left alone
 *   out   DIR/any/folders/name.csv     timestamp,value,anomaly_score: a row for every row, the timestamp as it stood
 *
 * Stream `alerts` is 0 but at onsets, where it is 0.5 or more; stream `score` is the continuous score.
 */
import { closeSync, createReadStream, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { InvalidArgumentError, Option } from 'commander'
import { Detector, describeOnset, type Onset } from '../analytics/index.ts'
import { toIso } from '../base/time.ts'
import { say } from './say.ts'

interface Options {
  readonly in: string
  readonly out: string
  readonly stream: 'alerts' | 'score'
  readonly threshold?: number
  readonly counter?: boolean
  readonly explain?: boolean
}

export function replayDetectCommand(program: Command): void {
  const replay =
    program.commands.find((command) => command.name() === 'replay') ??
    program.command('replay').description('run recorded data through the engines that run live')
  replay
    .command('detect')
    .description('score every row of CSV files with the anomaly detector')
    .requiredOption('--in <dir>', 'folder of CSV files with the columns timestamp and value; sub-folders are walked')
    .requiredOption('--out <dir>', 'folder to write timestamp,value,anomaly_score to, under the same names')
    .addOption(
      new Option('--stream <stream>', 'alerts: 0.5 or more at onsets, else 0; score: the continuous score')
        .choices(['alerts', 'score'])
        .default('alerts'),
    )
    .option('--threshold <deviations>', 'ANALYTICS_ANOMALY_THRESHOLD; 2.5 without', readThreshold)
    .option('--counter', 'the values only ever grow: judge their rate')
    .option('--explain', 'print every onset in words')
    .addHelpText(
      'after',
      `
Timestamps may be epoch seconds or milliseconds, ISO 8601, or "2014-04-10 00:04:00" (UTC).

Examples:
  $ opinion-market replay detect --in data --out results
  $ opinion-market replay detect --in data --out scores --stream score`,
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  const [from, to] = [resolve(options.in), resolve(options.out)]
  if (from === to) throw new Error('--out must be another folder than --in: the files would be written over')
  // What an earlier run wrote into a folder below is no input.
  const files = csvFiles(from).filter((file) => !file.startsWith(to + sep))
  if (files.length === 0) throw new Error(`${options.in}: no CSV files`)
  let rows = 0
  let found = 0
  for (const file of files) {
    const name = relative(from, file)
    const target = join(to, name)
    mkdirSync(dirname(target), { recursive: true })
    const done = await replayFile(file, target, options)
    if (options.explain) for (const onset of done.onsets) say(`${name}  ${toIso(onset.at)}  ${describeOnset(onset)}`)
    rows += done.rows
    found += done.onsets.length
  }
  say(`${files.length} files, ${rows} rows, ${found} onsets; written to ${options.out}`)
}

/** Rows that are judged and written together: a file of any size takes no more memory than these. */
const BATCH_ROWS = 10_000

interface Row {
  readonly stamp: string
  readonly raw: string
  readonly at: number
  readonly value: number
}

/** The target appears when it is whole; what cannot be read leaves none. */
async function replayFile(file: string, target: string, options: Options): Promise<{ rows: number; onsets: Onset[] }> {
  const detector = new Detector(options.threshold === undefined ? {} : { threshold: options.threshold })
  if (options.counter) detector.setCounter(0)
  const onsets: Onset[] = []
  let rows = 0
  const part = `${target}.part`
  const out = openSync(part, 'w')
  try {
    writeSync(out, 'timestamp,value,anomaly_score\n')
    let batch: Row[] = []
    const flush = () => {
      const scores = judge(detector, batch, onsets, options.stream)
      writeSync(out, batch.map(({ stamp, raw }, i) => `${stamp},${raw},${scores[i]}\n`).join(''))
      rows += batch.length
      batch = []
    }
    for await (const row of rowsOf(file)) {
      batch.push(row)
      if (batch.length === BATCH_ROWS) flush()
    }
    flush()
    renameSync(part, target)
  } finally {
    closeSync(out)
    rmSync(part, { force: true })
  }
  return { rows, onsets }
}

/** Steps the detector through the rows; onsets are appended. The answer is the stream that was asked for. */
function judge(detector: Detector, rows: readonly Row[], onsets: Onset[], stream: Options['stream']): Float64Array {
  const count = rows.length
  const scores = new Float64Array(count)
  const before = onsets.length
  const times = Float64Array.from(rows, ({ at }) => at)
  const values = Float64Array.from(rows, ({ value }) => value)
  detector.apply({ count, series: new Uint32Array(count), times, values }, onsets, scores)
  if (stream === 'score') return scores
  scores.fill(0)
  let row = 0
  for (const onset of onsets.slice(before)) {
    while (row < count && (times[row] !== onset.at || !Number.isFinite(values[row]!))) row++
    scores[row] = onset.score
  }
  return scores
}

function csvFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.csv'))
    .map((entry) => resolve(entry.parentPath, entry.name))
    .sort()
}

/** The rows of a file, one after the other. Throws what is wrong, with its place. */
async function* rowsOf(file: string): AsyncGenerator<Row> {
  let number = 0
  let timeAt = -1
  let valueAt = -1
  for await (const line of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
    number++
    if (number > 1 && line.trim() === '') continue
    const cells = cellsOf(line)
    if (number === 1) {
      const head = cells.map((name) => name.toLowerCase())
      timeAt = head.indexOf('timestamp')
      valueAt = head.indexOf('value')
      if (timeAt < 0 || valueAt < 0) break
      continue
    }
    const stamp = cells[timeAt] ?? ''
    const raw = cells[valueAt] ?? ''
    const at = readTime(stamp)
    if (Number.isNaN(at)) throw new Error(`${file}:${number}: ${JSON.stringify(stamp)} is not a time`)
    const value = readValue(raw)
    if (value === null) throw new Error(`${file}:${number}: ${JSON.stringify(raw)} is not a number`)
    yield { stamp, raw, at, value }
  }
  if (timeAt < 0 || valueAt < 0) {
    throw new Error(`${file}: the first row must name the columns timestamp and value`)
  }
}

/** Cells of a line, without the quotes and spaces around them. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',').map((cell) => cell.trim())
  const cells: string[] = []
  for (const [, quoted, plain] of line.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*))[^,]*(?:,|$)/g)) {
    cells.push((quoted?.replaceAll('""', '"') ?? plain ?? '').trim())
  }
  return cells
}

const ISO = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?))? ?(Z|[+-]\d\d(?::?\d\d)?)?$/i

/** Milliseconds of a time stamp; NaN when it is none. Beyond 1e11 a plain number is milliseconds already. */
function readTime(stamp: string): number {
  if (NUMBER.test(stamp)) return Math.abs(Number(stamp)) > 1e11 ? Number(stamp) : Number(stamp) * 1000
  const parts = ISO.exec(stamp)
  if (!parts) return NaN
  const [, day, time = '00:00', zone = 'Z'] = parts
  const offset = zone.length === 3 ? `${zone}:00` : zone.toUpperCase()
  return Date.parse(`${day}T${time}${offset}`)
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
/** How programs write that there is no value. */
const NO_VALUE = /^(?:|[+-]?nan|n\/?a|null|none|[+-]?inf(?:inity)?)$/i

/** NaN for no value, null for what is neither a value nor none. */
function readValue(text: string): number | null {
  if (NUMBER.test(text)) return Number(text)
  return NO_VALUE.test(text) ? NaN : null
}

function readThreshold(text: string): number {
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('expected a number above 0, such as 2.5')
  return value
}
