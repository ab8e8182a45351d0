/**
 * What the store costs by itself: remote-write bodies (made here, before the clock starts) through decoder, checks,
 * WAL with fsync, head, and at the end the flush; then bytes on disk, a restart and reads. CPU time of this process.
 *
 *   node bench/store.ts [--series 10000] [--ticks 600] [--batch 2000] [--reads] [--dir DIR]
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import type { Log } from '../src/base/log.ts'
import { RemoteWriteDecoder } from '../src/metrics/ingest/remote-write.ts'
import { sampleBuffer } from '../src/metrics/metrics.ts'
import { openReader } from '../src/metrics/store/reader.ts'
import { Store, storeDefaults } from '../src/metrics/store/store.ts'
import { families, seriesLoad } from './series-load.ts'

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

const { body } = seriesLoad(series)

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
