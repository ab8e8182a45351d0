/**
 * `engine scale`: the decisions that run live, on anyone's numbers. One JSON object a line on standard input, one answer
 * a line on standard output:
 *
 *   {"t":15,"instances_ready":2,"instances_starting":0,"metrics":{"cpu_usage":61.5,"memory_usage":48,
 *    "api_response_time_ms":52,"requests_per_second":123},"config":{"step_s":15,"startup_delay_s":60,…}}
 *   {"target":3,"action":"scale_up","trigger":"predictive","reason":"From 2 up to 3 instances: …"}
 *
 * The first line carries `config`; another target is another process. A line that cannot be read is
 * answered with {"error": "one sentence"}, changes nothing, and makes the exit code 1 in the end.
 */
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { messageOf } from '../base/errors.ts'
import { SECOND } from '../base/time.ts'
import { carriedOut, decide, newState, type Observation, type ScalerState, settingsFrom } from '../scaling/index.ts'

export function engineScaleCommand(program: Command): void {
  const engine =
    program.commands.find((command) => command.name() === 'engine') ??
    program.command('engine').description('one engine alone, on standard input and output')
  engine
    .command('scale')
    .description('answer each line of JSON (instances, metrics) with the count of instances that is wanted')
    .addHelpText(
      'after',
      `
Example:
  $ echo '{"t":0,"instances_ready":2,"instances_starting":0,"metrics":{"cpu_usage":95,"requests_per_second":190}}' |
      opinion-market engine scale`,
    )
    .action(run)
}

async function run(): Promise<void> {
  const engine = scaleEngine()
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    if (line.trim() === '') continue
    const answer = engine(line)
    if ('error' in answer) process.exitCode = 1
    if (!process.stdout.write(`${JSON.stringify(answer)}\n`)) {
      await new Promise((resolve) => process.stdout.once('drain', resolve))
    }
  }
}

/** Answers line after line; what is wrong with a line is an answer too, and changes nothing. */
export function scaleEngine(): (line: string) => object {
  let state: ScalerState = newState()
  let settings = settingsFrom({})
  return (line) => {
    try {
      const raw = parsed(line)
      if (typeof raw !== 'object' || raw === null) throw new Error('expected a JSON object')
      const request = raw as Record<string, unknown>
      if (request.config !== undefined) settings = settingsFrom(request.config)
      const { seen, now } = observationFrom(request)
      const outcome = decide(state, seen, settings, now)
      const { decision } = outcome
      state = decision.action === 'maintain' ? outcome.state : carriedOut(outcome.state, decision, now)
      return { target: decision.wanted, action: decision.action, trigger: decision.trigger, reason: decision.reason }
    } catch (error) {
      return { error: messageOf(error) }
    }
  }
}

/** Undefined when it is no JSON. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

function observationFrom(request: Record<string, unknown>): { seen: Observation; now: number } {
  const { t, instances_ready: ready, instances_starting: starting, metrics } = request
  if (!isNumber(t)) throw new Error('t: expected seconds')
  if (!isCount(ready)) throw new Error(`instances_ready: expected a whole number up to ${COUNT_MAX}`)
  if (starting !== undefined && !isCount(starting))
    throw new Error(`instances_starting: expected a whole number up to ${COUNT_MAX}`)
  const values = (typeof metrics === 'object' && metrics !== null ? metrics : {}) as Record<string, unknown>
  const read = (name: string) => (isNumber(values[name]) ? values[name] : null)
  const cpu = read('cpu_usage')
  const memory = read('memory_usage')
  const responseMs = read('api_response_time_ms')
  const demand = read('requests_per_second')
  return {
    now: Math.round(t * SECOND),
    seen: {
      ready,
      starting: starting ?? 0,
      draining: 0,
      wanted: ready + (starting ?? 0),
      demand,
      cpu,
      memory,
      responseMs,
      metrics: { 'system.cpu_usage': cpu },
      forecast: [],
    },
  }
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
/** More than anybody runs: arithmetic over counts is to end. */
const COUNT_MAX = 100_000
const isCount = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= COUNT_MAX
