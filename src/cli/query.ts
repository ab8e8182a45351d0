/**
 * `query`: PromQL against the running platform or the data of a stopped one, and `query test`: scripts in Prometheus' test
 * format against the engine alone. An answer goes to stdout, what Prometheus calls warnings and infos to stderr.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { InvalidArgumentError, Option } from 'commander'
import { runningAddress } from '../app/front-lock.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { fromIso, toIso } from '../base/time.ts'
import { type ClientOptions, commandScheduler, withClient, withClientOptions } from './client.ts'
import { say, table } from './say.ts'

type Format = 'table' | 'json' | 'csv'
interface QueryOptions extends ClientOptions {
  readonly time?: number
  readonly start?: number
  readonly end?: number
  readonly step?: number
  readonly dataDir?: string
  readonly format: Format
}

/** Steps of a range when `--step` does not say. */
const STEPS = 250

export function queryCommands(program: Command): void {
  const query = withClientOptions(program.command('query'))
    .description('ask in PromQL')
    .argument('<expression>', 'a PromQL expression')
    .option('--time <time>', 'the moment of an instant query; now when absent', readTime)
    .option('--start <time>', 'asks over a range from here', readTime)
    .option('--end <time>', 'to here; now when absent', readTime)
    .option('--step <duration>', `in steps of this, such as 30s; about ${STEPS} steps when absent`, readStep)
    .option('--data-dir <folder>', 'asks the data of a stopped platform, or a backup, rather than a running one')
    .addOption(
      new Option('--format <format>', 'how the answer is printed').choices(['table', 'json', 'csv']).default('table'),
    )
    .addHelpText(
      'after',
      `
Times are 2026-01-31T09:30:00Z, Unix seconds, now, or back from now: -1h.

Examples:
  $ opinion-market query 'system_cpu_usage'
  $ opinion-market query 'sum by (job) (rate(http_requests_total[5m]))' --start -6h --step 5m
  $ opinion-market query 'up == 0' --format csv
  $ opinion-market query 'count({job="web"})' --time 2026-01-31T09:30:00Z --data-dir /var/backups/data
  $ opinion-market query test rules/*.test`,
    )
    .action(async (expression: string, options: QueryOptions) => {
      const times = timesOf(options)
      const { dataDir } = options
      const ask = dataDir === undefined ? askPlatform(options) : askFolder(dataDir)
      print(await ask(expression, times), options.format)
    })

  query
    .command('test')
    .description("run scripts in Prometheus' test format (load, eval, expect)")
    .argument('<file...>', 'scripts')
    .addOption(
      new Option(
        '--rules <version>',
        'whose rules hold: of Prometheus 2 or 3; auto takes those by which the script passes',
      )
        .choices(['auto', '2', '3'])
        .default('auto'),
    )
    .option('--quiet', 'print failures alone')
    .action(async (files: string[], options: { rules: 'auto' | '2' | '3'; quiet?: boolean }) => {
      if (!(await runScripts(files, options))) process.exitCode = 1
    })
}

async function runScripts(
  files: readonly string[],
  options: { rules: 'auto' | '2' | '3'; quiet?: boolean },
): Promise<boolean> {
  const { runScript } = await import('../metrics/index.ts')
  const dialect = options.rules === 'auto' ? 'auto' : options.rules === '2' ? 2 : 3
  let good = true
  for (const file of files) {
    try {
      const report = runScript(readFileSync(file, 'utf8'), { dialect })
      const failed = report.failures.length
      const skipped = report.skipped > 0 ? `, ${report.skipped} skipped (native histograms)` : ''
      if (failed > 0) good = false
      if (failed > 0 || !options.quiet)
        say(
          `${failed === 0 ? 'ok    ' : 'FAILED'} ${file}: ${report.passed} passed, ${failed} failed${skipped} ` +
            `(rules of Prometheus ${report.dialect})`,
        )
      for (const { line, expression, reason } of report.failures) {
        say(`  ${file}:${line}: ${expression}`)
        say(`      ${reason}`)
      }
    } catch (error) {
      good = false
      say(`FAILED ${file}: ${messageOf(error)}`)
    }
  }
  return good
}

// ----------------------------------------------------------------------------------------------------- asking

/** Milliseconds; a step of 0 asks for one moment. */
interface Times {
  readonly start: number
  readonly end: number
  readonly step: number
}

type Ask = (text: string, times: Times) => Promise<string>

const askPlatform =
  (options: QueryOptions): Ask =>
  (text, { start, end, step }) =>
    withClient(options, 'viewer', 'query', async (client) => {
      const times = step === 0 ? { time: start } : { start, end, step }
      const parameters = new URLSearchParams({ query: text })
      for (const [name, ms] of Object.entries(times)) parameters.set(name, String(ms / 1000))
      return (await client.good('GET', `/api/v1/${step === 0 ? 'query' : 'query_range'}?${parameters}`)).text
    })

const askFolder =
  (folder: string): Ask =>
  async (text, times) => {
    const { openQueriesOffline } = await import('../metrics/index.ts')
    const store = join(folder, 'metrics')
    if (!existsSync(store)) throw new Error(`${folder} is no data directory: it has no folder "metrics"`)
    if (runningAddress(folder) !== null)
      throw new Error(`a platform runs on ${folder}: leave --data-dir out, and it answers itself`)
    const operations = openQueriesOffline(store, commandScheduler.clock, shownLog)
    const answer = operations.query({ text, ...times, limit: 0, lookbackMs: null, stats: false })
    const body = new TextDecoder().decode(answer.body)
    if (answer.status !== 200) throw new Error((JSON.parse(body) as { error: string }).error)
    return body
  }

/** What is wrong with the files goes to stderr. */
const shownLog: Log = {
  debug() {},
  info() {},
  warn: (message) => process.stderr.write(`${message}\n`),
  error: (message) => process.stderr.write(`${message}\n`),
  with: () => shownLog,
}

function timesOf({ time, start, end, step }: QueryOptions): Times {
  const now = commandScheduler.clock.now()
  if (start === undefined) {
    if (end !== undefined || step !== undefined) throw new Error('--end and --step need --start')
    return { start: time ?? now, end: time ?? now, step: 0 }
  }
  if (time !== undefined) throw new Error('--time is for one moment, --start for a range')
  const until = end ?? now
  if (until < start) throw new Error('--end is before --start')
  return { start, end: until, step: step ?? Math.max(1, Math.ceil((until - start) / 1000 / STEPS)) * 1000 }
}

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** Milliseconds of `1h30m`; null when it is no duration. */
function durationOf(text: string): number | null {
  const part = /(\d+(?:\.\d+)?)(ms|[smhdw])/g
  if (text === '' || text.replaceAll(part, '') !== '') return null
  return [...text.matchAll(part)].reduce((sum, [, count, unit]) => sum + Number(count) * UNITS[unit!]!, 0)
}

function readTime(text: string): number {
  const now = commandScheduler.clock.now()
  if (text === 'now') return now
  const back = /^(?:now)?-(.+)$/.exec(text)
  const duration = back ? durationOf(back[1]!) : null
  if (duration !== null) return now - duration
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1000)
  const at = fromIso(text)
  if (at !== null) return at
  throw new InvalidArgumentError('Expected 2026-01-31T09:30:00Z, Unix seconds, now, or -1h.')
}

function readStep(text: string): number {
  const step = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : durationOf(text)
  if (step !== null && step >= 1) return step
  throw new InvalidArgumentError('Expected seconds, or a duration such as 30s or 5m.')
}

// --------------------------------------------------------------------------------------------------- printing

interface ApiSeries {
  readonly metric: Readonly<Record<string, string>>
  readonly value?: readonly [number, string]
  readonly values?: readonly (readonly [number, string])[]
}
interface ApiAnswer {
  readonly data: { readonly resultType: string; readonly result: readonly ApiSeries[] | readonly [number, string] }
  readonly warnings?: readonly string[]
  readonly infos?: readonly string[]
}

function print(text: string, format: Format): void {
  const answer = JSON.parse(text) as ApiAnswer
  for (const note of [...(answer.warnings ?? []), ...(answer.infos ?? [])]) process.stderr.write(`${note}\n`)
  if (format === 'json') {
    say(text)
    return
  }
  const { resultType, result } = answer.data
  const series: readonly ApiSeries[] =
    resultType === 'scalar' || resultType === 'string'
      ? [{ metric: {}, value: result as [number, string] }]
      : (result as ApiSeries[])
  if (format === 'csv') printCsv(series)
  else printTable(series)
}

const samplesOf = ({ value, values }: ApiSeries) => values ?? (value ? [value] : [])
const timeOf = (seconds: number) => toIso(Math.round(seconds * 1000))

function printTable(series: readonly ApiSeries[]): void {
  if (series.length === 0) {
    say('Nothing matches.')
    return
  }
  if (series.every(({ value }) => value)) {
    table([['VALUE', 'SERIES'], ...series.map((s) => [s.value![1], nameOf(s.metric)])])
    return
  }
  series.forEach((one, i) => {
    if (i > 0) say('')
    say(nameOf(one.metric))
    for (const [at, value] of samplesOf(one)) say(`  ${timeOf(at)}  ${value}`)
  })
}

function printCsv(series: readonly ApiSeries[]): void {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort()
  say(['time', 'value', ...labels].map(csvCell).join(','))
  for (const one of series) {
    const cells = labels.map((label) => csvCell(one.metric[label] ?? ''))
    for (const [at, value] of samplesOf(one)) say([timeOf(at), value, ...cells].join(','))
  }
}

const csvCell = (text: string) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

function nameOf({ __name__: name = '', ...labels }: Readonly<Record<string, string>>): string {
  const inner = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`)
  return inner.length === 0 && name !== '' ? name : `${name}{${inner.join(', ')}}`
}
