/**
 * Timers behind a port, so that a simulation can run a month in a second.
 *   every(ms, work)  runs work each `ms`, never two at once: a run that takes longer skips the beats it missed
 *   after(ms, work)  once
 * Errors of `work` go to `onError`; they never end the process nor the timer.
 */
import type { Clock, FakeClock } from './clock.ts'
import { fakeClock, systemClock } from './clock.ts'
import type { Millis } from './time.ts'

export interface Cancel {
  cancel(): void
}

export interface Scheduler {
  readonly clock: Clock
  every(ms: number, work: () => void | Promise<void>): Cancel
  after(ms: number, work: () => void | Promise<void>): Cancel
  sleep(ms: number): Promise<void>
}

export function systemScheduler(onError: (error: unknown) => void): Scheduler {
  const run = async (work: () => void | Promise<void>) => {
    try {
      await work()
    } catch (error) {
      onError(error)
    }
  }
  return {
    clock: systemClock,
    every(ms, work) {
      let busy = false
      const timer = setInterval(async () => {
        if (busy) return
        busy = true
        await run(work)
        busy = false
      }, ms)
      return { cancel: () => clearInterval(timer) }
    },
    after(ms, work) {
      const timer = setTimeout(() => run(work), ms)
      return { cancel: () => clearTimeout(timer) }
    },
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  }
}

/** Runs `work` when all input that has arrived by now is taken in: what then waits can be done as one group. */
export function afterInput(work: () => void): void {
  setImmediate(work)
}

/** A scheduler whose time stands still until `run` moves it. Work due at the same moment runs in order of planning. */
export interface FakeScheduler extends Scheduler {
  readonly clock: FakeClock
  /** Moves time on by `ms`, running all that falls due on the way, each at its own moment. */
  run(ms: number): Promise<void>
}

export function fakeScheduler(start?: Millis): FakeScheduler {
  const clock = fakeClock(start)
  let order = 0
  const due: { at: number; order: number; work: () => void | Promise<void>; gone: boolean }[] = []
  const plan = (ms: number, work: () => void | Promise<void>) => {
    const entry = { at: clock.monotonic() + ms, order: order++, work, gone: false }
    due.push(entry)
    return entry
  }
  return {
    clock,
    after(ms, work) {
      const entry = plan(ms, work)
      return {
        cancel() {
          entry.gone = true
        },
      }
    },
    every(ms, work) {
      let stopped = false
      let entry = plan(ms, beat)
      async function beat() {
        await work()
        if (!stopped) entry = plan(ms, beat)
      }
      return {
        cancel() {
          stopped = true
          entry.gone = true
        },
      }
    },
    sleep(ms) {
      return new Promise((resolve) => {
        plan(ms, resolve)
      })
    },
    async run(ms) {
      const end = clock.monotonic() + ms
      for (;;) {
        due.sort((a, b) => a.at - b.at || a.order - b.order)
        const next = due[0]
        if (!next || next.at > end) break
        due.shift()
        clock.advance(Math.max(0, next.at - clock.monotonic()))
        if (!next.gone) await next.work()
        await Promise.resolve()
      }
      clock.advance(end - clock.monotonic())
    },
  }
}
