/**
 * What a cycle knows of a target: what its driver sees, and the newest samples of what it is judged by. A metric without
 * a fresh sample is null, never 0.
 *
 * The platform's own target is bound to the platform's own series (`service="opinion-market"`), so that another
 * service's CPU never scales it. For other targets the well-known names mean the target's own expressions.
 */
import { AppError } from '../base/errors.ts'
import type { Millis } from '../base/time.ts'
import { canonicalName, knownMetric, PLATFORM_LABEL, storedName } from '../metrics/index.ts'
import type { Observed } from './drivers/driver.ts'
import type { DemandForecast, Observation, Policy } from './model.ts'
import { MARKET, type TargetSettings } from './targets.ts'

/** How several series under one expression become one number. */
export type Combine = 'sum' | 'mean' | 'max'

/** Metrics and analytics, as control hands them in. */
export interface ScalingSources {
  /**
   * The value of an expression at `at`, of samples not older than `maxAgeMs`; null where there is none. A plain series
   * (no labels but the platform's) stands for its name; several are combined.
   */
  read(expr: string, combine: Combine, maxAgeMs: Millis, at: Millis): Promise<number | null>
  /** Values by the step, for charts and replays; null where there is none. */
  range(
    expr: string,
    combine: Combine,
    from: Millis,
    until: Millis,
    stepMs: Millis,
  ): Promise<readonly (number | null)[]>
  /** Forecasts of a stored name that have earned their place; with `all`, those that have not as well. */
  forecast(name: string): readonly DemandForecast[]
}

const PLAIN = /^[a-zA-Z_:][a-zA-Z0-9_:.]*$/

/** The expression behind a name that a policy or a target gives. */
export function expressionOf(name: string, target: TargetSettings): string {
  if (!PLAIN.test(name)) return name
  const canonical = canonicalName(name)
  if (target.name === MARKET) {
    const stored = storedName(canonical)
    return knownMetric(canonical) ? `${stored}{${PLATFORM_LABEL[0]}="${PLATFORM_LABEL[1]}"}` : stored
  }
  if (canonical === 'system.cpu_usage') return plainOr(target.cpu)
  if (canonical === 'application.requests_per_second') return plainOr(target.demand)
  if (canonical === 'application.api_response_time') return plainOr(target.responseTime)
  if (canonical === 'system.memory_usage') return `${target.name.replaceAll('-', '_')}_memory_usage`
  return plainOr(canonical)
}

const plainOr = (text: string) => (PLAIN.test(text) ? storedName(text) : text)

export function combineOf(name: string, target: TargetSettings): Combine {
  const canonical = canonicalName(name)
  if (name === target.demand || canonical === 'application.requests_per_second') return 'sum'
  if (name === target.responseTime || canonical === 'application.api_response_time') return 'max'
  return 'mean'
}

function meanCpu({ instances }: Observed): number | null {
  const values = instances.flatMap(({ state, cpu }) => (state === 'ready' && cpu !== null ? [cpu] : []))
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length
}

/** The observation of one cycle. An expression that cannot be evaluated is a missing metric, and told to `onProblem`. */
export async function observationOf(
  target: TargetSettings,
  observed: Observed,
  policies: readonly Policy[],
  sources: ScalingSources,
  maxAgeMs: Millis,
  at: Millis,
  onProblem: (name: string, why: string) => void,
): Promise<Observation> {
  const asked = new Map<string, Promise<number | null>>()
  // Where nobody pushes the CPU of a target, its driver may measure it, instance by instance.
  const measured = meanCpu(observed)
  const read = async (name: string): Promise<number | null> => {
    const isCpu = expressionOf(name, target) === expressionOf(target.cpu, target)
    return (await stored(name)) ?? (isCpu ? measured : null)
  }
  const stored = (name: string): Promise<number | null> => {
    const expr = expressionOf(name, target)
    let answer = asked.get(expr)
    if (!answer) {
      answer = sources.read(expr, combineOf(name, target), maxAgeMs, at).catch((error: unknown) => {
        onProblem(name, error instanceof AppError ? error.message : 'the samples cannot be read')
        return null
      })
      asked.set(expr, answer)
    }
    return answer
  }
  const names = [...new Set(policies.map(({ metricName }) => metricName))]
  const [demand, cpu, responseMs, memory, ...values] = await Promise.all([
    read(target.demand),
    read(target.cpu),
    read(target.responseTime),
    read('system.memory_usage'),
    ...names.map(read),
  ])
  const plain = PLAIN.test(target.demand) ? storedName(target.demand) : null
  return {
    ready: observed.ready,
    starting: observed.starting,
    draining: observed.draining,
    wanted: observed.wanted,
    demand: demand ?? null,
    cpu: cpu ?? null,
    memory: memory ?? null,
    responseMs: responseMs ?? null,
    metrics: Object.fromEntries(names.map((name, i) => [name, values[i] ?? null])),
    forecast: plain === null ? [] : sources.forecast(plain),
  }
}
