/** Other threads read while the store works, and processes die by kill -9: nothing that was answered is ever missing. */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterEach, expect, test } from 'vitest'
import type { LoopData } from '../../../test/support/reader-loop.ts'
import { fakeClock, systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { HOUR } from '../../base/time.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf, labelValue } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import { doWork, seriesOf } from './compaction.ts'
import { openReader } from './reader.ts'
import { openOffline, Store, storeDefaults } from './store.ts'

const support = (name: string) => new URL(`../../../test/support/${name}`, import.meta.url)
const dirs: string[] = []
const scratch = () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-crash-'))
  dirs.push(dir)
  return dir
}
afterEach(() => {
  for (const dir of dirs.splice(0)) fs.rmSync(dir, { recursive: true })
})

test('a reader in another thread misses nothing and sees nothing wrong, through flushes and compactions', async () => {
  const start = Math.floor(systemClock.now() / HOUR) * HOUR - 48 * HOUR
  const store = new Store({ ...storeDefaults, dir: scratch() }, systemClock, silentLog)
  const progress = new Int32Array(new SharedArrayBuffer(8))
  const data: LoopData = { share: store.share, progress, start }
  const reader = new Worker(support('reader-loop.ts'), { workerData: data })
  const found = new Promise<{ looks: number; problem: string | null }>((resolve, reject) => {
    reader.on('message', resolve)
    reader.on('error', reject)
  })
  const keys = Array.from({ length: 20 }, (_, i) => labelsOf('m', { i: String(i) }))
  const rest = () => new Promise<void>((resolve) => setImmediate(resolve))
  for (let tick = 0; tick < 3000; ) {
    for (const end = tick + 300; tick < end; tick++) {
      const builder = new ColumnBuilder()
      for (const [i, labels] of keys.entries()) builder.series(labels).sample(start + tick * 1000, i * 1_000_000 + tick)
      store.append(builder.finish(), { source: 'test' })
      Atomics.store(progress, 0, tick + 1)
    }
    const flush = store.flush(rest)
    await rest()
    await flush
    const work = store.nextWork()
    if (work) store.worked(work, await doWork(work, seriesOf(store.share), () => undefined))
  }
  Atomics.store(progress, 1, 1)
  const { looks, problem } = await found
  expect(problem).toBe(null)
  expect(looks).toBeGreaterThan(100)
  await store.close()
})

test('kill -9 while writing and flushing: every sample that was answered is there, with its value', async () => {
  const dir = scratch()
  let next = 0
  let start = 0
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [support('store-child.ts').pathname, dir, String(next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    const gone = new Promise((resolve) => child.on('close', resolve))
    await new Promise<void>((resolve) => {
      child.stdout.on('data', (text: Buffer) => {
        out += text
        if (out.split('\n').length > 60 + 25 * round) resolve()
      })
      child.on('close', () => resolve())
    })
    child.kill('SIGKILL')
    await gone
    const whole = out.slice(0, out.lastIndexOf('\n')).split('\n')
    const [first, answered] = whole.at(-1)!.split(' ').map(Number) as [number, number]
    start ||= first
    const reader = openOffline(dir, fakeClock(first + 24 * HOUR), silentLog)
    const buffer = sampleBuffer()
    const series = reader.readColumns([], 0, Infinity)
    expect(series).toHaveLength(50)
    for (const one of series) {
      one.read(0, Infinity, buffer)
      const i = Number(labelValue(one.labels, 'i'))
      expect(buffer.length).toBeGreaterThan(answered)
      for (let t = 0; t < buffer.length; t++) {
        if (buffer.times[t] !== start + t * 1000 || buffer.values[t] !== i * 1_000_000 + t) {
          throw new Error(`series ${i}, sample ${t}: ${buffer.times[t]} ${buffer.values[t]}`)
        }
      }
      next = buffer.length
    }
  }
})

test('a store is read while nobody has it open, and not changed by that', async () => {
  const dir = scratch()
  const clock = fakeClock()
  const store = new Store({ ...storeDefaults, dir }, clock, silentLog)
  const put = (value: number) => {
    store.append(
      new ColumnBuilder()
        .series(labelsOf('m'))
        .sample(clock.now() + value, value)
        .finish(),
      { source: 'x' },
    )
    store.commit()
  }
  put(1)
  await store.flush(async () => {})
  put(2)
  const files = () =>
    fs.readdirSync(dir, { recursive: true }).map((file) => [file, fs.statSync(path.join(dir, String(file))).mtimeMs])
  const before = files()
  const buffer = sampleBuffer()
  for (const reader of [openOffline(dir, clock, silentLog), openReader(store.share, clock)]) {
    reader.readColumns([], 0, Infinity)[0]!.read(0, Infinity, buffer)
    expect([...buffer.values.subarray(0, buffer.length)]).toEqual([1, 2])
  }
  expect(files()).toEqual(before)
  expect(openOffline(path.join(dir, 'nothing'), clock, silentLog).readColumns([], 0, Infinity)).toEqual([])
})
