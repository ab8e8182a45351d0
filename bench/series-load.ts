/**
 * Remote-write bodies as monitoring sends them: ten families of series, counters, gauges with few and many digits,
 * constants. The same seed, the same bodies.
 */
import { seededRandom } from '../src/base/random.ts'
import { encodeLabels, labelsOf } from '../src/metrics/labels.ts'

export const families = [
  'http_requests_total',
  'bytes_total',
  'cpu_seconds_total',
  'ratio',
  'latency_seconds',
  'memory_bytes',
  'celsius',
  'depth',
  'size_bytes',
  'up',
]

export interface SeriesLoad {
  /** One sample at `time` (ms) of each of the series from ≤ i < to, as a remote-write body. */
  body(from: number, to: number, time: number): Uint8Array
}

export function seriesLoad(series: number): SeriesLoad {
  const random = seededRandom(7)
  const state = Float64Array.from({ length: series }, () => Math.floor(random.next() * 1e6))
  const noise = () => random.next() + random.next() + random.next() - 1.5
  const set = (i: number, value: number): number => {
    state[i] = value
    return value
  }
  function nextValue(i: number): number {
    switch (Math.floor((i * families.length) / series)) {
      case 0:
        return set(i, state[i]! + Math.max(0, Math.round(150 + noise() * 20)))
      case 1:
        return set(i, state[i]! + Math.max(0, Math.round(1.5e6 * (1 + 0.4 * noise()))))
      case 2:
        return set(i, Math.round((state[i]! + Math.max(0, 3 + noise())) * 100) / 100)
      case 3:
        return Math.min(1, Math.max(0, 0.5 + 0.08 * noise()))
      case 4:
        return Math.round(1e6 * Math.max(0.0005, 0.04 * (1 + 0.5 * noise()))) / 1e6
      case 5:
        return 4096 * Math.round(1e6 * (1 + 0.01 * noise()))
      case 6:
        return Math.round((45 + 1.5 * noise()) * 10) / 10
      case 7:
        return set(i, Math.min(500, Math.max(0, (state[i]! > 500 ? 50 : state[i]!) + Math.round(noise() * 3))))
      case 8:
        return 4096 * 12_345_678
      default:
        return 1
    }
  }
  const labelBytes = Array.from({ length: series }, (_, i) => {
    const instance = Math.floor((i % 1000) / 5)
    return encodeLabels(
      labelsOf(families[Math.floor((i * families.length) / series)]!, {
        instance: `10.${i % 7}.${instance >> 5}.${instance & 31}:9100`,
        job: `job-${instance % 10}`,
        env: instance % 7 ? 'prod' : 'staging',
        region: 'eu-west-1',
        device: `dev${i}`,
      }),
    )
  })

  /** A remote-write body: protobuf in a snappy block of literals. */
  function body(from: number, to: number, time: number): Uint8Array {
    const out = Buffer.alloc((to - from) * 260)
    let at = 0
    const varint = (n: number) => {
      let rest = n
      while (rest >= 128) {
        out[at++] = (rest % 128) | 128
        rest = Math.floor(rest / 128)
      }
      out[at++] = rest
    }
    for (let i = from; i < to; i++) {
      const labels = labelBytes[i]!
      out[at++] = 0x0a
      varint(labels.length + 18)
      out.set(labels, at)
      at += labels.length
      out[at++] = 0x12
      out[at++] = 16
      out[at++] = 0x09
      out.writeDoubleLE(nextValue(i), at)
      at += 8
      out[at++] = 0x10
      varint(time)
    }
    const raw = out.subarray(0, at)
    const packed = Buffer.alloc(at + 64 + Math.ceil(at / 65_536) * 4)
    let to2 = 0
    let rest = at
    while (rest >= 128) {
      packed[to2++] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    packed[to2++] = rest
    for (let from2 = 0; from2 < at; from2 += 65_536) {
      const length = Math.min(65_536, at - from2)
      packed[to2++] = 61 << 2
      packed.writeUInt16LE(length - 1, to2)
      to2 += 2
      packed.set(raw.subarray(from2, from2 + length), to2)
      to2 += length
    }
    return packed.subarray(0, to2)
  }
  return { body }
}
