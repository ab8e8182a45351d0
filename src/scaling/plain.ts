/**
 * Settings out of plain numbers, for decisions without a configured target: `engine scale`, `replay scale` over a file,
 * benches. The policies agree to fewer whenever CPU leaves room, so that the plan is the floor. Pure.
 */
import { SECOND } from '../base/time.ts'
import type { DecideSettings, Policy } from './model.ts'

/** Settings as the first line of `engine scale` carries them; what is left out has a default. Throws one sentence. */
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
