/**
 * Recommendations: what each policy would do now if nothing held it, what the evidence says, and what it would save.
 * They come from the same `decide`, from the proof, and from a simulation over stored history where there is one. Pure.
 */
import type { Millis } from '../base/time.ts'
import { decide, isStuck, type ScalerState } from './decide.ts'
import { short } from './floor.ts'
import { afterStepDown, boundsOf, stepUp } from './limits.ts'
import type { DecideSettings, Observation, Policy } from './model.ts'
import { provenCount, recordLoad } from './proof.ts'
import { type Service, serve, serviceOf } from './service.ts'
import type { Simulation } from './simulate.ts'

/** Contract 4.6. */
export interface Recommendation {
  readonly type: 'scale_up' | 'scale_down'
  readonly policy: string
  readonly metric: string
  readonly currentValue: number
  readonly threshold: number
  readonly recommendedInstances: number
  readonly reason: string
  readonly priority: 'high' | 'medium' | 'low'
  readonly evidence: readonly string[]
  /** Money, or hours of an instance where no currency is set; below 0 it costs. Null when capacity is not known. */
  readonly expectedSavingPerHour: number | null
}

/** From 1.2 times the threshold on it is urgent. */
const HIGH = 1.2

/** What to recommend at `now`; `simulation` is the last one over stored history, or null. */
export function recommend(
  state: ScalerState,
  seen: Observation,
  settings: DecideSettings,
  simulation: Simulation | null,
  now: Millis,
): Recommendation[] {
  const policies = settings.policies.filter((p) => p.enabled)
  const free = { ...settings, pause: null, hold: null }
  const { decision, state: learnt } = decide(state, seen, free, now)
  const base = seen.wanted ?? seen.ready + seen.starting
  const bounds = boundsOf(settings, policies)
  const clamp = (n: number) => Math.max(bounds.min, Math.min(bounds.max, n))
  const service = simulation?.service ?? serviceOf(learnt.planner.capacity, settings.target.limitMs)
  const from = isStuck(learnt.shortage, decision.startUpMs, now) ? base : seen.ready
  const found: Recommendation[] = []

  for (const policy of policies) {
    const value = seen.metrics[policy.metricName] ?? null
    if (value === null || !Number.isFinite(value)) continue
    if (value > policy.scaleUpThreshold) {
      const step = Math.min(Math.max(base, policy.maxInstances), from + stepUp(from, policy.maxStepUp))
      const wanted = clamp(Math.max(base, step))
      if (wanted <= base) continue
      found.push({
        ...told(policy, 'scale_up', value, policy.scaleUpThreshold, wanted),
        priority: value > HIGH * policy.scaleUpThreshold ? 'high' : 'medium',
        evidence: evidenceOf(decision.capacityPerInstance, seen, wanted, simulation),
        expectedSavingPerHour: saving(service, seen, settings, base, wanted),
      })
    }
  }
  // Fewer is what everybody with data has to agree to.
  const voices = policies.filter((p) => Number.isFinite(seen.metrics[p.metricName] ?? Number.NaN))
  const agreed = voices.length > 0 && voices.every((p) => seen.metrics[p.metricName]! < p.scaleDownThreshold)
  if (agreed) {
    const wish = clamp(Math.max(...voices.map((p) => Math.max(p.minInstances, afterStepDown(base, p.maxStepDown)))))
    const load = recordLoad(state.load, seen, now)
    const proof = provenCount(
      load,
      learnt.planner.capacity,
      settings.target.limitMs,
      wish,
      base,
      decision.startUpMs,
      now,
    )
    const wanted = proof === null ? wish : proof.count
    if (wanted < base) {
      const policy = voices[0]!
      const proven = proof === null ? [] : [`the load of the last minutes would have held its limit with ${wanted}`]
      found.push({
        ...told(policy, 'scale_down', seen.metrics[policy.metricName]!, policy.scaleDownThreshold, wanted),
        priority: 'low',
        evidence: [...proven, ...evidenceOf(decision.capacityPerInstance, seen, wanted, simulation)],
        expectedSavingPerHour: saving(service, seen, settings, base, wanted),
      })
    }
  }
  return found
}

function told(policy: Policy, type: Recommendation['type'], value: number, threshold: number, wanted: number) {
  const way = type === 'scale_up' ? 'above' : 'below'
  return {
    type,
    policy: policy.name,
    metric: policy.metricName,
    currentValue: value,
    threshold,
    recommendedInstances: wanted,
    reason: `${policy.metricName} ${short(value)} is ${way} ${short(threshold)}; ${wanted} instances would do.`,
  }
}

function evidenceOf(
  capacity: number | null,
  seen: Observation,
  wanted: number,
  simulation: Simulation | null,
): string[] {
  const found: string[] = []
  if (capacity !== null && seen.demand !== null && wanted > 0) {
    const share = Math.round((100 * seen.demand) / (wanted * capacity))
    found.push(`${short(seen.demand)} requests/s are ${share} % of what ${wanted} hold, ${short(capacity)} each`)
  }
  // Two sums over different times are no evidence.
  if (simulation?.happened && simulation.happenedSteps >= 0.95 * simulation.steps) {
    const { policy, happened } = simulation
    const hours = Math.round((simulation.until - simulation.since) / 3_600_000)
    found.push(
      `over the last ${hours} h the policies would have used ${short(policy.instanceHours)} instance-hours with ` +
        `${short(policy.minutesOverLimit)} min over the limit; it was ${short(happened.instanceHours)} with ` +
        `${short(happened.minutesOverLimit)} min`,
    )
  }
  return found
}

/** What an hour at the present demand costs with one count less what it costs with the other. */
function saving(service: Service | null, seen: Observation, settings: DecideSettings, base: number, wanted: number) {
  if (service === null || seen.demand === null) return null
  const { economics } = settings.target
  const perHour = (count: number) => {
    const served = serve(service, count, seen.demand!, 3600, 0)
    const slow = served.responseMs > service.limitMs ? seen.demand! * 3600 - served.lost : 0
    return (
      count * economics.pricePerInstanceHour +
      (Math.max(0, slow) * economics.slowPerMillion + served.lost * economics.lostPerMillion) / 1e6
    )
  }
  const saved = perHour(base) - perHour(wanted)
  return economics.currency === null ? saved / Math.max(1e-9, economics.pricePerInstanceHour) : saved
}
