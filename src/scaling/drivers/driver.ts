/**
 * The port that every driver fills: how many there are, and make it this many. One shared contract test
 * (`driver.contract.ts`) runs against all of them.
 *
 * `scale` says what is wanted and returns once the provider has taken it; what becomes of it is seen by `observe`. It
 * carries a fencing token: a driver refuses one that is smaller than the largest it has seen, so that a control that
 * lost its lease cannot undo what its successor decided.
 */
import type { Millis } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'

export interface Observed {
  readonly at: Millis
  /** What the provider reports as ready, never what was asked. */
  readonly ready: number
  readonly starting: number
  readonly draining: number
  /** What the provider was last told; null when it does not know. */
  readonly wanted: number | null
  readonly instances: readonly InstanceView[]
  /** Something an operator has to know: "an HPA of the same name also scales this Deployment". */
  readonly conflict: string | null
}

export interface Driver {
  readonly kind: 'platform' | 'process' | 'kubernetes' | 'webhook'
  /** Throws an Error with one sentence when the provider cannot be asked. */
  observe(): Promise<Observed>
  /** Idempotent. Throws an Error with one sentence when it was not taken. */
  scale(wanted: number, fence: number): Promise<void>
  /** Lets go of the provider; what runs stays running. */
  close(): Promise<void>
}
