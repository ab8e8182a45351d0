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
  /** Somebody else decides here as well, so that nothing is changed: "an HPA also scales this Deployment". */
  readonly conflict: string | null
  /** What an operator has to know besides: "instances end soon after their start". */
  readonly trouble: string | null
}

export interface Driver {
  readonly kind: 'platform' | 'process' | 'kubernetes' | 'webhook'
  /** Throws an Error with one sentence when the provider cannot be asked. */
  observe(): Promise<Observed>
  /** Idempotent. Throws an Error with one sentence when it was not taken. */
  scale(wanted: number, fence: number): Promise<void>
  /** Lets go of the provider. What runs stays running, but for a driver that was told to end its own with itself. */
  close(): Promise<void>
}

/** A token smaller than one that was seen: somebody newer decides now. */
export class Fenced extends Error {
  /** `seen`: the larger token; null when the provider did not tell it. */
  constructor(seen: number | null, given: number) {
    super(`a newer owner decides about this target (its token is ${seen ?? 'larger'}, this one ${given})`)
    this.name = 'Fenced'
  }
}

/** Throws `Fenced` for a token that is too small, a RangeError for a count that is none. */
export function checkWanted(wanted: number, fence: number, seen: number): void {
  if (!Number.isSafeInteger(wanted) || wanted < 0) throw new RangeError(`not a number of instances: ${wanted}`)
  if (fence < seen) throw new Fenced(seen, fence)
}

/** Nothing keeps instances of this target here: not a fault, there is just nothing to see and nothing to do. */
export class Unmanaged extends Error {}

/** Counts by state, for an answer of `observe`. */
export function countsOf(
  instances: readonly InstanceView[],
): Pick<Observed, 'ready' | 'starting' | 'draining' | 'instances'> {
  const of = (...states: InstanceView['state'][]) => instances.filter(({ state }) => states.includes(state)).length
  return { ready: of('ready'), starting: of('starting', 'backing_off'), draining: of('draining'), instances }
}

// ------------------------------------------------------------ the ledger of the process driver

/** What names a process for good. */
export interface ProcessName {
  readonly pid: number
  /** Field 22 of /proc/PID/stat. */
  readonly startTicks: number
  readonly boot: string
}

/** An instance as it stands in the ledger. */
export interface LedgerRow {
  readonly id: string
  readonly port: number
  /** Null from before the spawn until right after it. */
  readonly process: ProcessName | null
  readonly startedAt: Millis
  readonly readyAt: Millis | null
  readonly draining: boolean
}

/** Where a target's instances are written down, durably, before anything is done. */
export interface ProcessLedger {
  wanted(): { readonly wanted: number; readonly fence: number } | null
  setWanted(wanted: number, fence: number): void
  rows(): readonly LedgerRow[]
  put(row: LedgerRow): void
  remove(id: string): void
}
