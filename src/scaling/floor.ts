/**
 * The reactive floor: what each policy wishes from the value of its own metric, and how long that value has stood where
 * it stands. Pure.
 *
 *   value > up threshold   for breach_for  ──▶ one step up from what is ready (what is coming counts towards it), or from
 *                                              what is wanted once nothing more is coming
 *   value < down threshold for clear_for   ──▶ one step down from what is wanted
 *   in between, or not long enough         ──▶ what is wanted now
 *   no value                               ──▶ no voice, or `fallback_instances` when there are fewer
 */
import type { Millis } from '../base/time.ts'
import { afterStepDown, stepUp } from './limits.ts'
import type { Held, Observation, Policy, Proposal } from './model.ts'

/** What is remembered of a policy between cycles. */
export interface PolicyState {
  readonly breachSince: Millis | null
  readonly clearSince: Millis | null
  /** When an action that this policy wished was carried out; what `last_action_time` shows. */
  readonly lastActionAt: Millis | null
  /** The last value, and the variance of its changes from cycle to cycle. */
  readonly last: number | null
  readonly variance: number
}

export const NEW_POLICY: PolicyState = {
  breachSince: null,
  clearSince: null,
  lastActionAt: null,
  last: null,
  variance: 0,
}

export interface Wish {
  readonly proposal: Proposal
  readonly state: PolicyState
  /** `silent`: without data, has no say in whether there may be fewer. */
  readonly voice: 'up' | 'down' | 'keep' | 'silent'
  /** How sure the metric is beyond its threshold, given how much it moves from cycle to cycle. */
  readonly confidence: number
  readonly held: readonly Held[]
}

export interface Counts {
  /** What the provider reports as ready. */
  readonly ready: number
  /** What is wanted now: what maintains. */
  readonly base: number
  /** Fewer are ready than wanted, and no more of them are to be expected by now. */
  readonly stuck: boolean
}

/**
 * What one enabled policy wishes. `lastDownBlock` is the latest action of any kind on the target: after growing or
 * shrinking for one policy, another must not shrink it within its own cooldown.
 */
export function wishOf(
  policy: Policy,
  before: PolicyState,
  seen: Observation,
  counts: Counts,
  lastAnyAction: Millis | null,
  now: Millis,
): Wish {
  const raw = seen.metrics[policy.metricName] ?? null
  const value = raw !== null && Number.isFinite(raw) ? raw : null
  if (value === null) return missing(policy, before, counts)

  const breached = value > policy.scaleUpThreshold
  const clear = value < policy.scaleDownThreshold
  const state: PolicyState = {
    breachSince: breached ? (before.breachSince ?? now) : null,
    clearSince: clear ? (before.clearSince ?? now) : null,
    lastActionAt: before.lastActionAt,
    last: value,
    variance: before.last === null ? 0 : 0.9 * before.variance + 0.1 * (value - before.last) ** 2,
  }
  const inputs = {
    [policy.metricName]: value,
    scale_up_threshold: policy.scaleUpThreshold,
    scale_down_threshold: policy.scaleDownThreshold,
  }
  const say = (
    voice: Wish['voice'],
    wanted: number,
    why: string,
    held: readonly Held[] = [],
    threshold = policy.scaleUpThreshold,
  ): Wish => ({
    proposal: { by: policy.name, wanted, trigger: 'reactive', why, inputs, counted: true },
    state,
    voice,
    confidence: normalCdf(Math.abs(value - threshold) / Math.sqrt(state.variance + 1e-12)),
    held,
  })
  const shown = `${policy.metricName} ${short(value)}`

  if (breached) {
    const { ready, base, stuck } = counts
    const from = stuck ? base : ready
    const wished = Math.max(base, from + stepUp(from, policy.maxStepUp))
    const note = stuck ? ` (${ready} of ${base} wanted are ready, and no more are coming)` : ''
    const why = `${shown} is above ${short(policy.scaleUpThreshold)}${note}`
    const stoodS = (now - state.breachSince!) / 1000
    if (stoodS < policy.breachFor) {
      const detail = `above for ${short(stoodS)} s of ${short(policy.breachFor)} s`
      return say('keep', counts.base, why, heldIf('stabilization', detail, wished, counts.base, policy))
    }
    const waitS = leftOf(policy.cooldownPeriod, before.lastActionAt, now)
    if (waitS > 0) {
      const detail = `cools down for another ${short(waitS)} s`
      return say('keep', counts.base, why, heldIf('cooldown', detail, wished, counts.base, policy))
    }
    return say('up', wished, why)
  }
  if (clear) {
    const wished = Math.min(counts.base, afterStepDown(counts.base, policy.maxStepDown))
    const why = `${shown} is below ${short(policy.scaleDownThreshold)}`
    const stoodS = (now - state.clearSince!) / 1000
    if (stoodS < policy.clearFor) {
      const detail = `below for ${short(stoodS)} s of ${short(policy.clearFor)} s`
      return say('keep', counts.base, why, heldIf('stabilization', detail, wished, counts.base, policy))
    }
    const waitS = leftOf(policy.cooldownPeriod, lastAnyAction, now)
    if (waitS > 0) {
      const detail = `cools down for another ${short(waitS)} s`
      return say('keep', counts.base, why, heldIf('cooldown', detail, wished, counts.base, policy))
    }
    return say('down', wished, why, [], policy.scaleDownThreshold)
  }
  return say(
    'keep',
    counts.base,
    `${shown} is between ${short(policy.scaleDownThreshold)} and ${short(policy.scaleUpThreshold)}`,
  )
}

function missing(policy: Policy, before: PolicyState, counts: Counts): Wish {
  const fallback = policy.onMissingMetric === 'fallback' ? policy.fallbackInstances : null
  // Blind, a target may grow to what the policy calls safe; it never shrinks.
  const wanted = fallback === null ? counts.base : Math.max(counts.base, fallback)
  const why =
    fallback === null
      ? `${policy.metricName} has no fresh sample; nothing is changed for it`
      : `${policy.metricName} has no fresh sample; at least ${fallback} instances until it is back`
  return {
    proposal: {
      by: policy.name,
      wanted,
      trigger: fallback === null ? 'reactive' : 'fallback',
      why,
      inputs: { [policy.metricName]: null },
      counted: true,
    },
    state: { ...before, breachSince: null, clearSince: null },
    voice: wanted > counts.base ? 'up' : 'silent',
    confidence: 0,
    held: [{ constraint: 'missing_metric', detail: why, from: wanted, to: wanted }],
  }
}

function heldIf(constraint: Held['constraint'], detail: string, from: number, to: number, policy: Policy): Held[] {
  return from === to ? [] : [{ constraint, detail: `${policy.name} ${detail}`, from, to }]
}

/** Seconds until `lastAt + periodS`; 0 when it has passed or nothing happened yet. */
function leftOf(periodS: number, lastAt: Millis | null, now: Millis): number {
  return lastAt === null ? 0 : Math.max(0, periodS - (now - lastAt) / 1000)
}

/** A number for a sentence: three significant digits below 1000, whole above. */
export function short(value: number): string {
  return Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)))
}

/** Φ(z) by Abramowitz and Stegun 7.1.26; within 1e-7. */
export function normalCdf(z: number): number {
  const x = Math.abs(z) / Math.SQRT2
  const t = 1 / (1 + 0.3275911 * x)
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  const erf = 1 - poly * Math.exp(-x * x)
  return z >= 0 ? (1 + erf) / 2 : (1 - erf) / 2
}
