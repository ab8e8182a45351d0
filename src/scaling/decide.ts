/**
 * Deciding: one target, one cycle, one decision. Pure: state, observation, settings and time in; state and decision out.
 */
import type { Millis } from '../base/time.ts'
import type { DecideSettings, Decision, Observation } from './model.ts'

/** All that a target has learnt and remembers; plain JSON, stored with each decision's cycle. */
export interface ScalerState {
  readonly version: 1
}

/** The state of a target nobody has watched yet. */
export function newState(): ScalerState {
  return { version: 1 }
}

export interface Outcome {
  readonly state: ScalerState
  readonly decision: Decision
}

export type Decide = (state: ScalerState, seen: Observation, settings: DecideSettings, now: Millis) => Outcome
