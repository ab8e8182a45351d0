/**
 * The circuit breaker of a channel: a provider that is down is asked seldom, by one message at a time.
 *
 *   closed ──FAILURES in a row──▶ open ──time over──▶ one probe ──accepted──▶ closed
 *      ▲  "wait" (Retry-After) ──▶  ▲                     │
 *      └─accepted                   └─────failed, longer──┘
 *
 * Time is monotonic and handed in; the state is plain data.
 */
import type { Random } from '../base/random.ts'
import { MINUTE, SECOND } from '../base/time.ts'

export type Breaker =
  | { readonly kind: 'closed'; readonly failures: number }
  /** `until` is when a probe may go; `openMs` how long it was shut this time. */
  | { readonly kind: 'open'; readonly until: number; readonly openMs: number }

export const closed: Breaker = { kind: 'closed', failures: 0 }

/** Failures in a row that open it. */
export const FAILURES = 5
const FIRST_MS = 10 * SECOND
const MOST_MS = 5 * MINUTE

/** How many messages may be under way now, of `parallel`. */
export function permits(breaker: Breaker, parallel: number, now: number): number {
  if (breaker.kind === 'closed') return parallel
  return now >= breaker.until ? 1 : 0
}

export function afterFailure(breaker: Breaker, now: number, random: Random): Breaker {
  if (breaker.kind === 'closed') {
    const failures = breaker.failures + 1
    return failures < FAILURES ? { kind: 'closed', failures } : opened(FIRST_MS, now, random)
  }
  // Messages that were under way when it opened fail as well: they prove nothing new.
  return now < breaker.until ? breaker : opened(Math.min(MOST_MS, Math.max(FIRST_MS, breaker.openMs * 2)), now, random)
}

/** The provider asks for patience: it is alive, and says when. */
export function afterWait(breaker: Breaker, waitMs: number, now: number): Breaker {
  const until = now + waitMs
  if (breaker.kind === 'open' && breaker.until >= until) return breaker
  return { kind: 'open', until, openMs: 0 }
}

/** Between half and all of `openMs`, so that many channels do not probe at once. */
function opened(openMs: number, now: number, random: Random): Breaker {
  return { kind: 'open', until: now + openMs * (0.5 + random.next() / 2), openMs }
}
