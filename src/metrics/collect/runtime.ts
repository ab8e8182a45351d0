/**
 * What Node measures of each of the platform's processes, from their telemetry (`base/runtime.ts`): every sample as
 * it is, and for the two figures that cards and rules know, the worst process as the plain series.
 */
import type { TelemetryFamily } from '../../base/telemetry.ts'
import type { Reading } from './collector.ts'

const worst = ['runtime_event_loop_lag', 'runtime_gc_frequency']

/** Readings of all families. A sample that carries no label of its own stays as it is. */
export function telemetryReadings(families: readonly TelemetryFamily[]): Reading[] {
  const readings: Reading[] = []
  for (const family of families) {
    const first = readings.length
    for (const { name, labels, value } of family.samples) readings.push({ name, labels, value })
    if (!worst.includes(family.name)) continue
    const values = readings.slice(first).map((reading) => reading.value)
    if (values.length > 0) readings.push({ name: family.name, value: Math.max(...values) })
  }
  return readings
}
