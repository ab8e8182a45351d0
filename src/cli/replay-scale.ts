/**
 * `replay scale`: what the policies would have done over a history, by the code that decides live, next to what
 * happened, to Kubernetes' HPA rule and to the clairvoyant optimum.
 *
 *   --csv FILE   columns t (or timestamp), rps (or demand), and where known cpu, memory, response_ms, instances
 *   without      asks the running platform over its stored history (`POST /api/v1/auto-scaling/policies/simulate`)
 *
 * A CSV without CPU or count does not tell what one instance can do; `--capacity` and `--knee` say it then.
 */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import { fromIso, toIso } from '../base/time.ts'
import {
  type DecideSettings,
  type HistoryRow,
  type Simulation,
  settingsFrom,
  simulate,
  type Totals,
} from '../scaling/index.ts'
import { type ClientOptions, withClient, withClientOptions } from './client.ts'
import { say, table } from './say.ts'

interface Options extends ClientOptions {
  readonly csv?: string
  readonly policy?: string
  readonly since: string
  readonly until?: string
  readonly startUp: number
  readonly limit: number
  readonly min: number
  readonly max: number
  readonly price: number
  readonly slow: number
  readonly lost: number
  readonly capacity?: number
  readonly knee: number
  readonly warm: number
  readonly decisions?: boolean
  readonly json?: boolean
}

export function replayScaleCommand(program: Command): void {
  const replay =
    program.commands.find((command) => command.name() === 'replay') ??
    program.command('replay').description('run recorded data through the engines that run live')
  withClientOptions(replay.command('scale'))
    .description('what the policies would have done over a history: instance-hours, minutes over the limit, cost')
    .option('--csv <file>', 'a recorded history; the running platform is asked when absent')
    .option('--policy <name>', 'the stored policy to simulate; all of its target with a CSV: the plan')
    .option('--since <time>', 'from here (platform): 2026-01-31T09:30:00Z', '')
    .option('--until <time>', 'to here (platform); now when absent')
    .option('--start-up <seconds>', 'how long a start takes', positive, 60)
    .option('--limit <ms>', 'response time that is to be held', positive, 100)
    .option('--min <count>', 'fewest instances', positive, 1)
    .option('--max <count>', 'most instances', positive, 100)
    .option('--price <money>', 'of an instance-hour', positive, 0.1)
    .option('--slow <money>', 'of a million slow requests', positive, 5)
    .option('--lost <money>', 'of a million lost requests', positive, 50)
    .option('--capacity <rps>', 'requests/s of one instance at full CPU; fitted when absent', positive)
    .option('--knee <share>', 'load up to which the limit holds, with --capacity', positive, 0.8)
    .option('--warm <days>', 'learn from the first days without counting them', positive, 0)
    .option('--decisions', 'print every decision that changed something')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Examples:
  $ opinion-market replay scale --since 2026-01-24T00:00:00Z --policy cpu_scaling
  $ opinion-market replay scale --csv history.csv --start-up 90 --decisions
  $ opinion-market replay scale --csv requests.csv --capacity 100 --warm 7`,
    )
    .action(run)
}

async function run(options: Options): Promise<void> {
  if (options.csv === undefined) return askPlatform(options)
  const rows = readHistory(textOf(options.csv), options.csv)
  const settings: DecideSettings = settingsFrom({
    startup_delay_s: options.startUp,
    slo_ms: options.limit,
    min_instances: options.min,
    max_instances: options.max,
    price_per_instance_hour: options.price,
    slow_per_million: options.slow,
    lost_per_million: options.lost,
  })
  const { capacity, knee, limit } = options
  const result = simulate(rows, settings, {
    ...(capacity === undefined
      ? {}
      : { service: { rate: capacity, knee: Math.min(0.98, knee), fit: null, limitMs: limit } }),
    countFrom: (rows[0]?.at ?? 0) + options.warm * 86_400_000,
  })
  if (options.json) return say(JSON.stringify(summaryOf(result)))
  print(result, options.decisions ?? false)
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new Error(`${file} cannot be read: ${code === 'ENOENT' ? 'there is no such file' : code}`)
  }
}

async function askPlatform(options: Options): Promise<void> {
  if (options.policy === undefined) throw new Error('--policy: the name of a stored policy, or --csv with a history')
  const name = options.policy
  await withClient(options, 'operator', 'replay scale', async (client) => {
    const list = await client.good('GET', '/api/v1/auto-scaling/policies')
    const policy: unknown = list.json?.data?.policies?.[name]
    if (policy === undefined) throw new Error(`no policy is called ${name}`)
    const answer = await client.good(
      'POST',
      '/api/v1/auto-scaling/policies/simulate',
      JSON.stringify({
        policy,
        ...(options.since === '' ? {} : { since: options.since }),
        ...(options.until === undefined ? {} : { until: options.until }),
      }),
    )
    say(JSON.stringify(answer.json?.data ?? answer.json, null, options.json ? 0 : 2))
  })
}

const summaryOf = (r: Simulation) => ({
  since: toIso(r.since),
  until: toIso(r.until),
  steps: r.steps,
  capacity_per_instance: r.service.rate * r.service.knee,
  policy: r.policy,
  happened: r.happened,
  hpa: r.hpa,
  optimum: r.optimum,
  decisions: r.decisions.map((d) => ({ at: toIso(d.at), from: d.from, to: d.to, reason: d.decision.reason })),
})

function print(r: Simulation, decisions: boolean): void {
  if (decisions) for (const d of r.decisions) say(`${toIso(d.at)}  ${d.decision.reason}`)
  const n = (v: number, digits = 1) => v.toFixed(digits)
  const row = (name: string, t: Totals | null) =>
    t === null
      ? [name, '-', '-', '-', '-', '-', '-']
      : [
          name,
          n(t.instanceHours),
          n(t.minutesOverLimit),
          n(t.cost, 2),
          n(t.cost / r.optimum.cost, 2),
          String(t.actions),
          String(t.flaps),
        ]
  say(`${toIso(r.since)} to ${toIso(r.until)}, ${n(r.service.rate * r.service.knee)} requests/s an instance`)
  table([
    ['', 'instance-hours', 'min over limit', 'cost', 'x optimum', 'actions', 'flaps'],
    row('policy', r.policy),
    row('happened', r.happened),
    row('HPA 70 %', r.hpa),
    row('optimum', r.optimum),
  ])
}

const NAMES = {
  at: ['t', 'timestamp', 'time'],
  demand: ['rps', 'demand', 'requests_per_second'],
  cpu: ['cpu', 'cpu_usage'],
  memory: ['memory', 'memory_usage'],
  responseMs: ['response_ms', 'latency_ms', 'api_response_time_ms'],
  ready: ['instances', 'ready', 'instances_ready'],
}

/** Rows of a CSV with a header; times are epoch seconds, milliseconds or ISO 8601, and have to grow. */
export function readHistory(text: string, name: string): HistoryRow[] {
  const lines = text.trim().split(/\r?\n/)
  const header = (lines.shift() ?? '').split(',').map((h) => h.trim().toLowerCase())
  const column = (names: readonly string[]) => header.findIndex((h) => names.includes(h))
  const at = column(NAMES.at)
  const demand = column(NAMES.demand)
  if (at < 0 || demand < 0) throw new Error(`${name}: expected a header with the columns t and rps`)
  const [cpu, memory, response, ready] = [NAMES.cpu, NAMES.memory, NAMES.responseMs, NAMES.ready].map(column)
  let last = -Infinity
  return lines.map((line, i) => {
    const cells = line.split(',')
    const time = readTime(cells[at] ?? '')
    if (time === null || time <= last)
      throw new Error(`${name}:${i + 2}: expected a later time, got ${JSON.stringify(cells[at])}`)
    last = time
    const value = (index: number | undefined) => {
      const cell = index === undefined || index < 0 ? '' : (cells[index] ?? '').trim()
      const number = cell === '' ? Number.NaN : Number(cell)
      return Number.isFinite(number) ? number : null
    }
    return {
      at: time,
      demand: value(demand),
      cpu: value(cpu),
      memory: value(memory),
      responseMs: value(response),
      ready: value(ready),
    }
  })
}

function readTime(cell: string): number | null {
  const number = Number(cell)
  if (cell.trim() !== '' && Number.isFinite(number)) return number > 1e11 ? number : number * 1000
  return fromIso(cell.trim())
}

function positive(text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('expected a number of 0 or more')
  return value
}
