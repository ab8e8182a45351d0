/** The Prometheus text format 0.0.4 of what processes measure of themselves. */
import type { TelemetryFamily, TelemetryLabels } from '../base/telemetry.ts'

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** Families of one name (one from each process) become one; the caller sees to it that their labels differ. */
export function exposition(families: readonly TelemetryFamily[]): string {
  const byName = new Map<string, TelemetryFamily[]>()
  for (const family of families) byName.set(family.name, [...(byName.get(family.name) ?? []), family])
  const lines: string[] = []
  for (const [name, parts] of [...byName].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (parts.every((part) => part.samples.length === 0)) continue
    lines.push(`# HELP ${name} ${parts[0]!.help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`)
    lines.push(`# TYPE ${name} ${parts[0]!.type}`)
    for (const sample of parts.flatMap((part) => part.samples)) {
      lines.push(`${sample.name}${labelText(sample.labels)} ${numberText(sample.value)}`)
    }
  }
  return `${lines.join('\n')}\n`
}

/** The families with more labels on each sample (which process they come from); a sample's own labels win. */
export function labelled(families: readonly TelemetryFamily[], extra: TelemetryLabels): TelemetryFamily[] {
  return families.map((family) => ({
    ...family,
    samples: family.samples.map((sample) => ({ ...sample, labels: { ...extra, ...sample.labels } })),
  }))
}

function labelText(labels: TelemetryLabels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

const escaped = (value: string) => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value)
}
