/**
 * `engine scale`: the decisions that run live, on anyone's numbers. One JSON object a line on standard input, one answer
 * a line on standard output:
 *
 *   {"t":15,"instances_ready":2,"instances_starting":0,"metrics":{"cpu_usage":61.5,"memory_usage":48,
 *    "api_response_time_ms":52,"requests_per_second":123},"config":{"step_s":15,"startup_delay_s":60,…}}
 *   {"target":3,"action":"scale_up","trigger":"predictive","reason":"From 2 up to 3 instances: …"}
 *
 * The first line carries `config`; another target is another process. The policies agree to fewer whenever CPU
 * leaves room, so that the plan is the floor. A line that cannot be read gives {"error": …}.
 */
import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { messageOf } from '../base/errors.ts'
import { SECOND } from '../base/time.ts'
import {
  carriedOut,
  type DecideSettings,
  decide,
  newState,
  type Observation,
  type Policy,
  type ScalerState,
} from '../scaling/index.ts'

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
    if (!process.stdout.write(`${JSON.stringify(engine(line))}\n`)) {
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
      const raw: unknown = JSON.parse(line)
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

function observationFrom(request: Record<string, unknown>): { seen: Observation; now: number } {
  const { t, instances_ready: ready, instances_starting: starting, metrics } = request
  if (!isNumber(t)) throw new Error('t: expected seconds')
  if (!isCount(ready)) throw new Error('instances_ready: expected a whole number')
  if (starting !== undefined && !isCount(starting)) throw new Error('instances_starting: expected a whole number')
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

/** Settings as the first line of `engine scale` carries them; what is left out has a default. */
export function settingsFrom(raw: unknown): DecideSettings {
  const config = (typeof raw === 'object' && raw !== null ? raw : {}) as Record<string, unknown>
  const read = (name: string, without: number) => {
    const value = config[name]
    if (value === undefined) return without
    if (!isNumber(value) || value < 0) throw new Error(`config.${name}: expected a number of 0 or more`)
    return value
  }
  const min = Math.floor(read('min_instances', 1))
  const max = Math.max(min, Math.floor(read('max_instances', 100)))
  const cycleMs = Math.round(read('step_s', 0) * SECOND)
  return {
    ...(cycleMs > 0 ? { cycleMs } : {}),
    globalMin: min,
    globalMax: max,
    pause: null,
    hold: null,
    target: {
      name: 'engine',
      driver: 'process',
      minInstances: min,
      maxInstances: max,
      limitMs: read('slo_ms', 100),
      startUpMs: read('startup_delay_s', 60) * SECOND,
      demand: 'application.requests_per_second',
      cpu: 'system.cpu_usage',
      responseTime: 'application.api_response_time',
      economics: {
        pricePerInstanceHour: read('price_per_instance_hour', 0.1),
        slowPerMillion: read('slow_per_million', 5),
        lostPerMillion: read('lost_per_million', 50),
        currency: null,
      },
      schedules: [],
      events: [],
    },
    policies: [
      // The plan may go as far as it likes at once; CPU alone, should the plan be too low, goes in steps of a half.
      policy('plan_scaling', min, max, { scaleUpThreshold: 100, maxStepUp: max, predictive: 'scale' }),
      policy('cpu_scaling', min, max, { scaleUpThreshold: 95, maxStepUp: '50%', predictive: 'off' }),
    ],
  }
}

function policy(
  name: string,
  min: number,
  max: number,
  over: Pick<Policy, 'scaleUpThreshold' | 'maxStepUp' | 'predictive'>,
): Policy {
  return {
    name,
    target: 'engine',
    metricName: 'system.cpu_usage',
    scaleDownThreshold: 90,
    minInstances: min,
    maxInstances: max,
    cooldownPeriod: 0,
    enabled: true,
    breachFor: 0,
    clearFor: 0,
    maxStepDown: max,
    onMissingMetric: 'hold',
    fallbackInstances: null,
    version: 1,
    ...over,
  }
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0
