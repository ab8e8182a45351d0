/**
 * The clock, passed in wherever time is read. Pure code takes `now` as an argument instead.
 * This file is the only one that asks the machine for the time.
 */
import type { Millis } from './time.ts'

export interface Clock {
  /** Wall time. May jump; never measure a duration with it. */
  now(): Millis
  /** Milliseconds with fraction since an arbitrary moment; never goes back. */
  monotonic(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}

/** A clock that stands until a test moves it. */
export interface FakeClock extends Clock {
  advance(ms: number): void
  /** Sets wall time alone, as an operator or NTP would. */
  jumpTo(at: Millis): void
}

export function fakeClock(start: Millis = Date.UTC(2026, 0, 1)): FakeClock {
  let wall = start
  let mono = 0
  return {
    now: () => wall,
    monotonic: () => mono,
    advance(ms) {
      wall += ms
      mono += ms
    },
    jumpTo(at) {
      wall = at
    },
  }
}
