/**
 * The change of a series per minute over a window: from the newest sample that is at least a window old (or else the
 * oldest known) to the present one. Holds at most 64 samples, evenly spread, whatever the sender's pace.
 *
 *   rate = (value − base) / elapsed minutes       elapsed at least a minute (or the window, when that is shorter), so
 *                                                 that two samples in a row do not make a storm of a ripple
 */
import type { Millis } from '../base/time.ts'
import { MINUTE } from '../base/time.ts'

const SLOTS = 64

export class RateWindow {
  readonly #windowMs: number
  readonly #times = new Float64Array(SLOTS)
  readonly #values = new Float64Array(SLOTS)
  #first = 0
  #length = 0
  /** Whether the last rate looked back over the whole window. */
  covered = false

  constructor(windowMs: number) {
    this.#windowMs = windowMs
  }

  /** Takes a sample and answers the rate; NaN for the first one. Times come ascending. */
  next(at: Millis, value: number): number {
    // The base is the newest sample as old as the window; one older than two windows says nothing any more.
    while (this.#length > 1 && this.#at(1) <= at - this.#windowMs) this.#drop()
    while (this.#length > 0 && this.#at(0) < at - 2 * this.#windowMs) this.#drop()
    let rate = NaN
    this.covered = false
    if (this.#length > 0) {
      const elapsed = at - this.#at(0)
      rate = (value - this.#values[this.#first]!) / (Math.max(elapsed, Math.min(MINUTE, this.#windowMs)) / MINUTE)
      this.covered = elapsed >= this.#windowMs * 0.9
    }
    const spacing = this.#windowMs / (SLOTS / 2)
    if (this.#length === 0 || at - this.#at(this.#length - 1) >= spacing) this.#push(at, value)
    return rate
  }

  #at(i: number): Millis {
    return this.#times[(this.#first + i) % SLOTS]!
  }

  #drop(): void {
    this.#first = (this.#first + 1) % SLOTS
    this.#length--
  }

  #push(at: Millis, value: number): void {
    if (this.#length === SLOTS) this.#drop()
    const slot = (this.#first + this.#length) % SLOTS
    this.#times[slot] = at
    this.#values[slot] = value
    this.#length++
  }
}
