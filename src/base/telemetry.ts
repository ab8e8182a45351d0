/**
 * What a process measures of itself. Counters, gauges and histograms live in one registry a process; a snapshot is
 * plain data, so that front and workers can send theirs to control, which writes them as series
 * (`service="opinion-market"`) and renders `/metrics`.
 *
 * Names are in the underscore form of PromQL. Labels are fixed when the instrument is made: no label may ever come
 * from user input, so the number of series is bounded by the code.
 */
export type TelemetryLabels = Readonly<Record<string, string>>

export interface Counter {
  add(n?: number): void
}
export interface Gauge {
  set(value: number): void
}
export interface Histogram {
  observe(value: number): void
}

export interface TelemetrySample {
  readonly name: string
  readonly labels: TelemetryLabels
  readonly value: number
}
export interface TelemetryFamily {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** For a histogram the `_bucket`, `_sum` and `_count` samples. */
  readonly samples: readonly TelemetrySample[]
}

export interface Telemetry {
  counter(name: string, help: string, labels?: TelemetryLabels): Counter
  /** With `read`, the gauge is asked when a snapshot is taken; `null` means no value now, and no sample. */
  gauge(name: string, help: string, labels?: TelemetryLabels, read?: () => number | null): Gauge
  /** `bounds` ascending, without infinity. */
  histogram(name: string, help: string, bounds: readonly number[], labels?: TelemetryLabels): Histogram
  snapshot(): TelemetryFamily[]
}

interface Instrument {
  readonly labels: TelemetryLabels
  readonly handle: Counter | Gauge | Histogram
  read(name: string): TelemetrySample[]
}
interface Family {
  readonly help: string
  readonly type: TelemetryFamily['type']
  readonly instruments: Map<string, Instrument>
}

export function createTelemetry(): Telemetry {
  const families = new Map<string, Family>()

  function instrument<H extends Counter | Gauge | Histogram>(
    name: string,
    help: string,
    type: Family['type'],
    labels: TelemetryLabels,
    make: () => { handle: H; read: Instrument['read'] },
  ): H {
    const family = families.get(name) ?? { help, type, instruments: new Map<string, Instrument>() }
    if (family.type !== type) throw new Error(`telemetry ${name} is a ${family.type}, not a ${type}`)
    families.set(name, family)
    const key = JSON.stringify(Object.entries(labels).sort())
    const known = family.instruments.get(key)
    if (known) return known.handle as H
    const made = make()
    family.instruments.set(key, { labels, handle: made.handle, read: made.read })
    return made.handle
  }

  return {
    counter(name, help, labels = {}) {
      return instrument(name, help, 'counter', labels, () => {
        let total = 0
        return {
          handle: {
            add(n = 1) {
              total += n
            },
          },
          read: () => [{ name, labels, value: total }],
        }
      })
    },
    gauge(name, help, labels = {}, read) {
      return instrument(name, help, 'gauge', labels, () => {
        let value: number | null = null
        return {
          handle: {
            set(v: number) {
              value = v
            },
          },
          read() {
            const now = read ? read() : value
            return now === null || !Number.isFinite(now) ? [] : [{ name, labels, value: now }]
          },
        }
      })
    },
    histogram(name, help, bounds, labels = {}) {
      return instrument(name, help, 'histogram', labels, () => {
        const counts = new Float64Array(bounds.length + 1)
        let sum = 0
        return {
          handle: {
            observe(value: number) {
              let i = 0
              while (i < bounds.length && value > bounds[i]!) i++
              counts[i]!++
              sum += value
            },
          },
          read() {
            const samples: TelemetrySample[] = []
            let cumulative = 0
            for (let i = 0; i <= bounds.length; i++) {
              cumulative += counts[i]!
              const le = i < bounds.length ? String(bounds[i]) : '+Inf'
              samples.push({ name: `${name}_bucket`, labels: { ...labels, le }, value: cumulative })
            }
            samples.push({ name: `${name}_sum`, labels, value: sum })
            samples.push({ name: `${name}_count`, labels, value: cumulative })
            return samples
          },
        }
      })
    },
    snapshot() {
      return [...families].map(([name, family]) => ({
        name,
        help: family.help,
        type: family.type,
        samples: [...family.instruments.values()].flatMap((i) => i.read(name)),
      }))
    },
  }
}
