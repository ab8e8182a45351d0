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
import { fromIso } from '../base/time.ts'
import {
  type DecideSettings,
  type HistoryRow,
  type SimulationJson,
  settingsFrom,
  simulate,
  simulationJson,
} from '../scaling/index.ts'
import { type ClientOptions, withClient, withClientOptions } from './client.ts'
import { columns, say } from './say.ts'

interface Options extends ClientOptions {
  readonly csv?: string
  readonly policy?: string
  readonly since?: string
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
    .option('--policy <name>', 'the stored policy to simulate; with a CSV it is the plan that is judged')
    .option('--since <time>', 'from here (platform): 2026-01-31T09:30:00Z; 7 days ago when absent')
    .option('--until <time>', 'to here (platform); now when absent')
    .option('--start-up <seconds>', 'with a CSV: how long a start takes', positive, 60)
    .option('--limit <ms>', 'with a CSV: response time that is to be held', positive, 100)
    .option('--min <count>', 'with a CSV: fewest instances', positive, 1)
    .option('--max <count>', 'with a CSV: most instances', positive, 100)
    .option('--price <money>', 'with a CSV: of an instance-hour', positive, 0.1)
    .option('--slow <money>', 'with a CSV: of a million slow requests', positive, 5)
    .option('--lost <money>', 'with a CSV: of a million lost requests', positive, 50)
    .option('--capacity <rps>', 'with a CSV: requests/s of one instance at full CPU; fitted when absent', positive)
    .option('--knee <share>', 'load up to which the limit holds, with --capacity', positive, 0.8)
    .option('--warm <days>', 'with a CSV: learn from the first days without counting them', positive, 0)
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
  const found = simulate(rows, settings, {
    ...(capacity === undefined
      ? {}
      : { service: { rate: capacity, knee: Math.min(0.98, knee), fit: null, limitMs: limit } }),
    countFrom: (rows[0]?.at ?? 0) + options.warm * 86_400_000,
  })
  show(simulationJson(found), options)
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
        ...(options.since === undefined ? {} : { since: options.since }),
        ...(options.until === undefined ? {} : { until: options.until }),
      }),
    )
    show(answer.json?.data as SimulationJson, options)
  })
}

function show(found: SimulationJson, { json, decisions, since }: Options): void {
  const lines = json ? [JSON.stringify(found)] : told(found, decisions ?? false, since ?? '')
  for (const line of lines) say(line)
}

/** A simulation as a person reads it. `asked`: the beginning that was asked for; '' when none was. */
export function told(r: SimulationJson, decisions: boolean, asked = ''): string[] {
  const n = (v: number, digits = 1) => v.toFixed(digits)
  const span = (steps: number) => {
    const minutes = (steps * r.step_seconds) / 60
    return minutes < 120 ? `${n(minutes)} min` : `${n(minutes / 60)} h`
  }
  const row = (name: string, t: SimulationJson['happened']) =>
    t === null
      ? [name, '-', '-', '-', '-', '-', '-']
      : [
          name,
          n(t.instance_hours, t.instance_hours < 10 ? 2 : 1),
          n(t.minutes_over_threshold),
          n(t.cost, 2),
          n(t.cost / r.optimum.cost, 2),
          String(t.actions),
          String(t.flaps),
        ]
  const lines: string[] = []
  if (decisions) {
    const left = r.total_decisions - r.decisions.length
    if (left > 0) lines.push(`(${left} earlier decisions are left out)`)
    lines.push(...r.decisions.map(({ at, reason }) => `${at}  ${reason}`))
  }
  const began = fromIso(asked)
  if (began !== null && Date.parse(r.since) - began > 2 * r.step_seconds * 1000) {
    lines.push(`The history begins at ${r.since}.`)
  }
  lines.push(
    `${r.since} to ${r.until}: ${span(r.steps)} with a demand, in steps of ${r.step_seconds} s`,
    `one instance holds ${n(r.capacity_per_instance)} requests/s and takes ${n(r.start_up_seconds)} s to start`,
    ...columns([
      ['', 'instance-hours', 'min over limit', 'cost', 'x optimum', 'actions', 'flaps'],
      row('policy', r.policy),
      row('happened', r.happened),
      row('HPA 70 %', r.hpa),
      row('optimum', r.optimum),
    ]),
  )
  if (r.happened === null) lines.push('What happened is not known: the history does not hold the count of instances.')
  else if (r.happened_steps < r.steps) {
    lines.push(`What happened is known for ${span(r.happened_steps)} of the ${span(r.steps)}, and sums those alone.`)
  }
  return lines
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
