/**
 * What Node measures of each of the platform's processes, from their telemetry (`base/runtime.ts`): every sample as
 * it is, and for the two figures that cards and rules know, the worst process as the plain series.
 */
import type { TelemetryFamily } from '../../base/telemetry.ts'
import type { Reading } from './collector.ts'

const worst = ['runtime_event_loop_lag', 'runtime_gc_frequency']

/** Readings of all families, several of one name among them. A sample that carries no label of its own stays as it is. */
export function telemetryReadings(families: readonly TelemetryFamily[]): Reading[] {
  const samples = families.flatMap((family) => family.samples)
  const readings: Reading[] = samples.map(({ name, labels, value }) => ({ name, labels, value }))
  for (const name of worst) {
    const values = families.flatMap((family) => (family.name === name ? family.samples.map((s) => s.value) : []))
    if (values.length > 0) readings.push({ name, value: Math.max(...values) })
  }
  return readings
}
