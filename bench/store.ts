/**
 * What the store costs by itself: remote-write bodies (made here, before the clock starts) through decoder, checks,
 * WAL with fsync, head, and at the end the flush; then bytes on disk, a restart and reads. CPU time of this process.
 *
 *   node bench/store.ts [--series 10000] [--ticks 600] [--batch 2000] [--reads] [--dir DIR]
 *
 * Values follow ten families as monitoring knows them: counters, gauges with few and many digits, constants.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import type { Log } from '../src/base/log.ts'
import { seededRandom } from '../src/base/random.ts'
import { RemoteWriteDecoder } from '../src/metrics/ingest/remote-write.ts'
import { encodeLabels, labelsOf } from '../src/metrics/labels.ts'
import { sampleBuffer } from '../src/metrics/metrics.ts'
import { openReader } from '../src/metrics/store/reader.ts'
import { Store, storeDefaults } from '../src/metrics/store/store.ts'

const { values: args } = parseArgs({
  options: {
    series: { type: 'string', default: '10000' },
    ticks: { type: 'string', default: '600' },
    batch: { type: 'string', default: '2000' },
    dir: { type: 'string' },
    reads: { type: 'boolean', default: false },
  },
})
const series = Number(args.series)
const ticks = Number(args.ticks)
const batch = Number(args.batch)
const say = (line: string) => process.stdout.write(`${line}\n`)
const log: Log = {
  debug() {},
  info: say,
  warn: say,
  error: (m, f) => say(`${m} ${JSON.stringify(f)}`),
  with: () => log,
}

const families = [
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

const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
const perSecond = (n: number, seconds: number) =>
  `${(n / seconds / 1e6).toFixed(2)}M/CPU-s, ${((seconds / n) * 1e9).toFixed(0)} ns`
const rss = () => `${(process.memoryUsage.rss() / 1e6).toFixed(0)} MB RSS`

const dir = args.dir ?? fs.mkdtempSync(path.join(os.tmpdir(), 'om-bench-'))
const config = { ...storeDefaults, dir }
const start = Math.floor(Date.now() / 15_000) * 15_000 - ticks * 15_000
let store = new Store(config, systemClock, log)
const decoder = new RemoteWriteDecoder()
let decode = 0
let append = 0
let commit = 0
let first = 0
let decodeAlone = 0
for (let tick = 0; tick < ticks; tick++) {
  const bodies: Uint8Array[] = []
  for (let from = 0; from < series; from += batch) {
    bodies.push(body(from, Math.min(series, from + batch), start + tick * 15_000))
  }
  if (tick % 10 === 1) {
    const t = cpu()
    for (const bytes of bodies) decoder.decode(bytes)
    decodeAlone += cpu() - t
  }
  const t = cpu()
  for (const bytes of bodies) {
    const columns = decoder.decode(bytes)
    const outcome = store.append(columns, { source: 'remote_write' })
    if (outcome.kind !== 'appended' || outcome.report.accepted !== columns.sampleCount)
      throw new Error('not all accepted')
  }
  const done = cpu()
  store.commit()
  append += done - t
  commit += cpu() - done
  if (tick === 0) first = cpu() - t
}
decode = decodeAlone * (ticks / Math.ceil((ticks - 1) / 10))
append -= decode
const total = series * ticks
say(`${series} series x ${ticks}: ${total} samples`)
say(`new series  ${perSecond(series, first)}`)
say(`decode      ${perSecond(total, decode)}`)
say(`store       ${perSecond(total, append)}`)
say(`fsync       ${perSecond(total, commit)}`)
say(`together    ${perSecond(total, decode + append + commit)}   ${rss()}`)
const reads = (what: string) => {
  if (!args.reads) return
  const t = cpu()
  const reader = openReader(store.share, systemClock)
  reader.readColumns([{ name: 'job', op: '=', value: 'none' }], 0, Infinity)
  say(`index       ${((cpu() - t) * 1000).toFixed(1)} ms`)
  const buffer = sampleBuffer()
  for (const [name, value] of [
    ['device', `dev${series >> 1}`],
    ['device', `dev${series >> 2}`],
    ['instance', '10.3.0.7:9100'],
  ] as const) {
    const t0 = cpu()
    const found = reader.readColumns(
      [
        { name: '__name__', op: '=', value: families[Math.floor((5 * families.length) / 10)]! },
        { name, op: '=', value },
        { name: 'env', op: '=~', value: 'prod|staging' },
      ],
      0,
      Infinity,
    )
    say(`selective   ${((cpu() - t0) * 1000).toFixed(2)} ms for ${found.length} of ${series}`)
  }
  for (let round = 0; round < 6; round++) {
    const t0 = cpu()
    const found = reader.readColumns(
      [{ name: '__name__', op: '=', value: families[round % 2 === 0 ? 6 : 3]! }],
      0,
      Infinity,
    )
    const t1 = cpu()
    let samples = 0
    for (const one of found) {
      one.read(0, Infinity, buffer)
      samples += buffer.length
    }
    const t2 = cpu()
    for (const one of found) one.labels.length
    const t3 = cpu()
    say(
      `${what}  select ${((t1 - t0) * 1000).toFixed(2)} ms, read ${((t2 - t1) * 1000).toFixed(2)} ms for ${found.length} x ${samples / found.length} (${(((t2 - t1) / samples) * 1e9).toFixed(1)} ns), labels ${((t3 - t2) * 1000).toFixed(2)} ms`,
    )
  }
}
reads('head')
let t = cpu()
const replayed = new Store({ ...config }, systemClock, log)
say(`replay      ${(cpu() - t).toFixed(2)} CPU-s after a crash`)
store = replayed
t = cpu()
let since = cpu()
let longest = 0
await store.flush(async () => {
  longest = Math.max(longest, cpu() - since)
  await new Promise((resolve) => setImmediate(resolve))
  since = cpu()
})
longest = Math.max(longest, cpu() - since)
say(`flush       ${(cpu() - t).toFixed(2)} CPU-s, at most ${(longest * 1000).toFixed(0)} ms at a stretch`)
reads('file')
await store.close()
let bytes = 0
for (const entry of fs.readdirSync(dir, { recursive: true, withFileTypes: true })) {
  if (entry.isFile()) bytes += fs.statSync(path.join(entry.parentPath, entry.name)).size
}
say(`disk        ${(bytes / total).toFixed(3)} bytes a sample`)
t = cpu()
store = new Store(config, systemClock, log)
say(`restart     ${(cpu() - t).toFixed(3)} CPU-s after a clean stop   ${rss()}`)
await store.close()
if (!args.dir) fs.rmSync(dir, { recursive: true })
