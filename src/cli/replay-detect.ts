/**
 * `replay detect`: runs anyone's CSV files through the detector that watches live series, each file a series of its
 * own, each row seen once and in order. Nothing is configured per file.
 *
 *   in    DIR/any/folders/name.csv     a header row with `timestamp` and `value`; other columns are left alone
 *   out   DIR/any/folders/name.csv     timestamp,value,anomaly_score: a row for every row, the timestamp as it stood
 *
 * Stream `alerts` is 0 but at onsets, where it is 0.5 or more; stream `score` is the continuous score.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
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

function run(options: Options): void {
  const files = csvFiles(options.in)
  if (files.length === 0) throw new Error(`${options.in}: no CSV files`)
  let rows = 0
  let found = 0
  for (const file of files) {
    const table = readTable(file)
    const { scores, onsets } = detect(table, options)
    const name = relative(resolve(options.in), file)
    const target = join(options.out, name)
    mkdirSync(dirname(target), { recursive: true })
    const lines = table.stamps.map((stamp, i) => `${stamp},${table.raw[i]},${scores[i]}`)
    writeFileSync(target, `timestamp,value,anomaly_score\n${lines.join('\n')}\n`)
    if (options.explain) for (const onset of onsets) say(`${name}  ${toIso(onset.at)}  ${describeOnset(onset)}`)
    rows += scores.length
    found += onsets.length
  }
  say(`${files.length} files, ${rows} rows, ${found} onsets; written to ${options.out}`)
}

interface Table {
  readonly stamps: string[]
  readonly raw: string[]
  readonly times: Float64Array
  readonly values: Float64Array
}

function detect(table: Table, options: Options): { scores: Float64Array; onsets: Onset[] } {
  const detector = new Detector(options.threshold === undefined ? {} : { threshold: options.threshold })
  if (options.counter) detector.setCounter(0)
  const count = table.times.length
  const scores = new Float64Array(count)
  const onsets: Onset[] = []
  detector.apply({ count, series: new Uint32Array(count), times: table.times, values: table.values }, onsets, scores)
  if (options.stream === 'alerts') {
    scores.fill(0)
    let row = 0
    for (const onset of onsets) {
      while (table.times[row] !== onset.at) row++
      scores[row] = onset.score
    }
  }
  return { scores, onsets }
}

function csvFiles(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.csv'))
    .map((entry) => resolve(entry.parentPath, entry.name))
    .sort()
}

function readTable(file: string): Table {
  const lines = readFileSync(file, 'utf8').split(/\r?\n/)
  const head = (lines[0] ?? '').split(',').map((name) => name.trim().toLowerCase())
  const timeAt = head.indexOf('timestamp')
  const valueAt = head.indexOf('value')
  if (timeAt < 0 || valueAt < 0) throw new Error(`${file}: the first row must name the columns timestamp and value`)
  const stamps: string[] = []
  const raw: string[] = []
  const times: number[] = []
  for (let i = 1; i < lines.length; i++) {
    if (lines[i] === '') continue
    const cells = lines[i]!.split(',')
    const stamp = cells[timeAt] ?? ''
    const at = readTime(stamp)
    if (Number.isNaN(at)) throw new Error(`${file}:${i + 1}: ${JSON.stringify(stamp)} is not a time`)
    stamps.push(stamp)
    raw.push(cells[valueAt] ?? '')
    times.push(at)
  }
  const values = raw.map((cell) => (cell.trim() === '' ? NaN : Number(cell)))
  return { stamps, raw, times: Float64Array.from(times), values: Float64Array.from(values) }
}

/** Milliseconds of a time stamp; NaN when it is none. Beyond 1e11 a plain number is milliseconds already. */
function readTime(text: string): number {
  const stamp = text.trim().replace(/^"|"$/g, '')
  if (/^\d+(\.\d+)?$/.test(stamp)) return Number(stamp) > 1e11 ? Number(stamp) : Number(stamp) * 1000
  const zoned = /[zZ]$|[+-]\d\d:?\d\d$/.test(stamp)
  return Date.parse(stamp.replace(' ', 'T') + (zoned ? '' : 'Z'))
}

function readThreshold(text: string): number {
  const value = Number(text)
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError('expected a number above 0, such as 2.5')
  return value
}
