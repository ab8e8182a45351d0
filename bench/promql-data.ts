/**
 * Data for the PromQL benches: ten families in the manner of node and request metrics (counters, gauges, constants),
 * and what is awkward: resets, gaps, stale markers, NaN, infinities, classic histograms, names that differ alone.
 * The same for the same seed.
 */
import { writeStale } from '../src/metrics/columns.ts'
import type { Labels } from '../src/metrics/labels.ts'
import { labelsOf } from '../src/metrics/labels.ts'

export interface BenchSeries {
  readonly labels: Labels
  readonly times: Float64Array
  readonly values: Float64Array
}

export interface BenchData {
  readonly start: number
  readonly end: number
  readonly stepMs: number
  readonly series: readonly BenchSeries[]
}

export const FAMILIES = [
  ['http_requests_total', 'counter'],
  ['node_network_receive_bytes_total', 'bytes'],
  ['process_cpu_seconds_total', 'cpu'],
  ['node_cpu_utilization_ratio', 'ratio'],
  ['http_request_latency_seconds', 'latency'],
  ['node_memory_used_bytes', 'pages'],
  ['node_temperature_celsius', 'degrees'],
  ['queue_depth', 'walk'],
  ['node_filesystem_size_bytes', 'constant'],
  ['up', 'one'],
] as const

const REGIONS = ['eu-west-1', 'us-east-1', 'ap-south-1', 'us-west-2']

/** A small generator (xorshift32), so that runs can be repeated. */
function generator(seed: number): () => number {
  let x = seed >>> 0 || 1
  return () => {
    x ^= x << 13
    x >>>= 0
    x ^= x >>> 17
    x ^= x << 5
    x >>>= 0
    return x / 4294967296
  }
}

export interface DataOptions {
  /** Time of the first sample. */
  readonly start: number
  /** Series of each family; five devices an instance. */
  readonly perFamily: number
  readonly ticks: number
  readonly seed?: number
  /** Add the awkward series. */
  readonly awkward?: boolean
}

export function makeData({ start, perFamily, ticks, seed = 42, awkward = true }: DataOptions): BenchData {
  const stepMs = 15_000
  const series: BenchSeries[] = []
  FAMILIES.forEach(([name, kind], family) => {
    for (let k = 0; k < perFamily; k++) {
      const instance = Math.floor(k / 5)
      const labels = labelsOf(name, {
        instance: `10.0.${instance >> 5}.${instance & 31}:9100`,
        job: `job-${instance % 10}`,
        env: instance % 7 ? 'prod' : 'staging',
        region: REGIONS[instance % 4]!,
        device: `dev${k % 5}`,
      })
      const random = generator(Math.imul(family * perFamily + k + 1, 2654435761) ^ seed)
      series.push({ labels, ...column(ticks, start, stepMs, values(kind, random)) })
    }
  })
  if (awkward) series.push(...awkwardSeries(ticks, start, stepMs, seed))
  return { start, end: start + (ticks - 1) * stepMs, stepMs, series }
}

function values(kind: (typeof FAMILIES)[number][1], random: () => number): (tick: number) => number {
  const base = random()
  let state = Math.floor(random() * 1e6)
  return (tick) => {
    const day = Math.sin(tick / 917 + base)
    const noise = random() + random() + random() - 1.5
    switch (kind) {
      case 'counter':
        state += Math.max(0, Math.round((20 + 10 * day) * base * 15 + noise * 20))
        return state
      case 'bytes':
        state += Math.max(0, Math.round((2e5 + 1e5 * day) * base * 15 * (1 + 0.4 * noise)))
        return state
      case 'cpu':
        state = Math.round((state + Math.max(0, 3 + 2 * day + noise) * base) * 100) / 100
        return state
      case 'ratio':
        return Math.min(1, Math.max(0, 0.35 + 0.2 * day + 0.2 * base + 0.08 * noise))
      case 'latency':
        return Math.round(1e6 * Math.max(0.0005, (0.04 + 0.015 * day) * (0.5 + base) * (1 + 0.5 * noise))) / 1e6
      case 'pages':
        return 4096 * Math.round((1e6 + 3e5 * day + 2e5 * base) * (1 + 0.01 * noise))
      case 'degrees':
        return Math.round((45 + 8 * day + 10 * base + 1.5 * noise) * 10) / 10
      case 'walk':
        state = Math.min(500, Math.max(0, (state > 500 ? 50 : state) + Math.round(noise * 3)))
        return state
      case 'constant':
        return 4096 * Math.round(1e7 * (1 + base))
      default:
        return 1
    }
  }
}

/** Null: no sample at this tick. */
type Value = number | 'stale' | null

function column(ticks: number, start: number, stepMs: number, value: (tick: number) => Value, jitterMs = 0) {
  const times: number[] = []
  const kept = new Float64Array(ticks)
  for (let tick = 0; tick < ticks; tick++) {
    const next = value(tick)
    if (next === null) continue
    if (next === 'stale') writeStale(kept, times.length)
    else kept[times.length] = next
    times.push(start + tick * stepMs + (jitterMs === 0 ? 0 : ((tick * 7919) % jitterMs) | 0))
  }
  return { times: Float64Array.from(times), values: kept.subarray(0, times.length) }
}

const BOUNDS = ['0.005', '0.01', '0.025', '0.05', '0.1', '0.25', '0.5', '1', '2.5', '+Inf']

function awkwardSeries(ticks: number, start: number, stepMs: number, seed: number): BenchSeries[] {
  const random = generator(seed ^ 0x9e3779b9)
  const made: BenchSeries[] = []
  const add = (name: string, labels: Record<string, string>, value: (tick: number) => Value, jitterMs = 0) =>
    made.push({ labels: labelsOf(name, labels), ...column(ticks, start, stepMs, value, jitterMs) })
  for (let n = 0; n < 6; n++) {
    let counter = 100 * n
    add('restarting_total', { pod: `p${n}`, job: 'restarting' }, (tick) => {
      counter = tick % (40 + 7 * n) === 39 ? 0 : counter + Math.floor(random() * 9)
      return counter
    })
    add('gappy', { pod: `p${n}`, job: 'gappy' }, (tick) =>
      (tick + n * 11) % 60 < 25 ? null : Math.round(1000 * random()) / 8,
    )
    add('jittery', { pod: `p${n}`, job: 'jittery' }, () => random() * 100 - 50, 9000)
    add('leaving', { pod: `p${n}`, job: 'leaving' }, (tick) => {
      const phase = (tick + n * 13) % 80
      return phase < 50 ? phase * random() : phase === 50 ? 'stale' : null
    })
    add('strange', { pod: `p${n}`, job: 'strange' }, (tick) => {
      const phase = (tick + n) % 17
      if (phase === 3) return Number.NaN
      if (phase === 7) return Number.POSITIVE_INFINITY
      if (phase === 11) return Number.NEGATIVE_INFINITY
      return phase === 13 ? 0 : random() * 10 ** (n * 4 - 10)
    })
    add('twin_a', { pod: `p${n}` }, (tick) => tick + n)
    add('twin_b', { pod: `p${n}` }, (tick) => tick * 2 + n)
    add('signed', { pod: `p${n}`, sign: n % 2 ? 'plus' : 'minus' }, (tick) => Math.sin(tick / 9 + n) * 1e3)
  }
  add('late_total', { pod: 'p0' }, (tick) => (tick < ticks / 2 ? null : tick * 3))
  add('once', { pod: 'p0' }, (tick) => (tick === Math.floor(ticks / 3) ? 7 : null))
  for (let n = 0; n < 4; n++) {
    const counts = BOUNDS.map(() => 0)
    const rows: number[][] = []
    for (let tick = 0; tick < ticks; tick++) {
      for (let i = 0; i < 20; i++) {
        const seen = -Math.log(1 - random()) * 0.05 * (n + 1)
        BOUNDS.forEach((bound, b) => {
          if (bound === '+Inf' || seen <= Number(bound)) counts[b]!++
        })
      }
      rows.push([...counts])
    }
    BOUNDS.forEach((le, b) => {
      add('request_seconds_bucket', { le, pod: `p${n}`, job: 'histograms' }, (tick) => rows[tick]![b]!)
    })
    add('request_seconds_count', { pod: `p${n}`, job: 'histograms' }, (tick) => rows[tick]!.at(-1)!)
  }
  return made
}
