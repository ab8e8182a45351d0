/**
 * Rate, errors and duration as clients of front see them, in windows of a few seconds.
 *
 * A request counts when its answer is complete or its client has gone; its duration is the time from its headers to
 * then. An error is an answer 5xx, or one that broke off. Kept out, so that they drown nothing: the life of WebSockets,
 * and what monitoring asks (/health, /ready, /metrics), which has a counter of its own.
 */
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import { durationHistogram } from './histogram.ts'

/** One window; a window without requests has null quantiles. */
export interface RedWindow {
  /** End of the window. */
  readonly at: Millis
  readonly seconds: number
  readonly requests: number
  /** Answers with status 5xx, and answers that broke off. */
  readonly errors: number
  readonly p50Ms: number | null
  readonly p95Ms: number | null
  readonly p99Ms: number | null
}

export interface Red {
  /** `status` 0: the client went away before an answer. */
  record(status: number, ms: number, monitoring: boolean, broken: boolean): void
  /** Ends the window and starts the next. */
  close(at: Millis, monotonic: number): RedWindow
}

const CLASSES = ['aborted', '1xx', '2xx', '3xx', '4xx', '5xx'] as const

export function createRed(telemetry: Telemetry, startedMonotonic: number): Red {
  const histogram = durationHistogram()
  let errors = 0
  let since = startedMonotonic
  const counters = (group: string) =>
    CLASSES.map((status) =>
      telemetry.counter('edge_requests_total', 'Requests answered, by class of status.', { group, status }),
    )
  const service = counters('service')
  const monitors = counters('monitoring')
  const brokenTotal = telemetry.counter('edge_answers_broken_total', 'Answers that broke off half-way.')
  const duration = telemetry.histogram(
    'edge_request_duration_seconds',
    'Time from the headers of a request to the end of its answer; monitoring left out.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  )
  return {
    record(status, ms, monitoring, broken) {
      const counter = (monitoring ? monitors : service)[Math.min(5, Math.floor(status / 100))]
      counter?.add()
      if (broken) brokenTotal.add()
      if (monitoring) return
      histogram.record(ms)
      duration.observe(ms / 1000)
      if (status >= 500 || broken) errors++
    },
    close(at, monotonic) {
      const window: RedWindow = {
        at,
        seconds: (monotonic - since) / 1000,
        requests: histogram.count,
        errors,
        p50Ms: histogram.quantile(0.5),
        p95Ms: histogram.quantile(0.95),
        p99Ms: histogram.quantile(0.99),
      }
      histogram.reset()
      errors = 0
      since = monotonic
      return window
    },
  }
}
