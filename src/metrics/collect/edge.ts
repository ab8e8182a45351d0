/** The platform as its clients see it: a window of front's measurements, as `application.*` readings. */
import type { Reading } from './collector.ts'

/** The part of front's window that becomes series. Quantiles are null in a window without requests. */
export interface RedWindow {
  readonly seconds: number
  readonly requests: number
  /** Answers with status 5xx. */
  readonly errors: number
  readonly p50Ms: number | null
  readonly p95Ms: number | null
  readonly p99Ms: number | null
  readonly connections: number
}

/**
 * The 95th percentile stands plain, the 50th and 99th under the label `quantile`. Without requests the rate is 0, and
 * there is no response time and no error rate: absent, not 0.
 */
export function edgeReadings(window: RedWindow): Reading[] {
  const readings: Reading[] = [{ name: 'application_active_connections', value: window.connections }]
  if (window.seconds > 0) {
    readings.push({ name: 'application_requests_per_second', value: window.requests / window.seconds })
  }
  if (window.requests > 0) {
    readings.push({ name: 'application_error_rate', value: (window.errors / window.requests) * 100 })
  }
  const time = (value: number | null, labels: Readonly<Record<string, string>>) => {
    if (value !== null) readings.push({ name: 'application_api_response_time', labels, value })
  }
  time(window.p95Ms, {})
  time(window.p50Ms, { quantile: '0.5' })
  time(window.p99Ms, { quantile: '0.99' })
  return readings
}
