/** A copy of the store, taken while it is written and flushed, holds everything that was answered before it began. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import { copyStore } from './backup.ts'
import { openReader } from './reader.ts'
import { Store, storeDefaults } from './store.ts'

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'om-copy-'))
afterEach(() => fs.rmSync(root, { recursive: true, force: true }))

const SERIES = 40
const names = Array.from({ length: SERIES }, (_, i) => labelsOf('m', { i: String(i) }))
const open = (dir: string) => new Store({ ...storeDefaults, dir }, systemClock, silentLog)
const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))

function write(store: Store, at: number): void {
  const builder = new ColumnBuilder()
  for (const labels of names) builder.series(labels).sample(at, at)
  store.append(builder.finish(), { source: 'test' })
  store.commit()
}

function timesOf(store: Store): number[][] {
  const buffer = sampleBuffer()
  return openReader(store.share, systemClock)
    .readColumns([{ name: '__name__', op: '=', value: 'm' }], 0, Date.now() + 1e6)
    .map((series) => {
      series.read(0, Date.now() + 1e6, buffer)
      return [...buffer.times.subarray(0, buffer.length)]
    })
}

test('under writes and flushes', async () => {
  const dir = path.join(root, 'live')
  const store = open(dir)
  const first = Date.now() - 3_000_000
  let at = first
  let over = false
  const writing = (async () => {
    while (!over) {
      for (let i = 0; i < 5; i++) write(store, at++)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })()
  let flushes = 0
  const flushing = (async () => {
    while (!over) {
      await store.flush(breathe)
      flushes++
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
  })()
  for (let n = 0; n < 6; n++) {
    await new Promise((resolve) => setTimeout(resolve, 20 * n))
    const answered = at
    const copy = path.join(root, `copy-${n}`)
    const bytes = await copyStore(dir, copy, { copies: n % 2 === 0, onProgress: () => {} })
    expect(bytes).toBeGreaterThan(0)
    const opened = open(copy)
    const times = timesOf(opened)
    expect(times).toHaveLength(SERIES)
    for (const of of times) {
      expect(of.length).toBeGreaterThanOrEqual(answered - first)
      // Without a gap, from the first on.
      expect(of.at(-1)! - first).toBe(of.length - 1)
    }
    await opened.close()
  }
  over = true
  await Promise.all([writing, flushing])
  expect(flushes).toBeGreaterThan(2)
  await store.close()
})

test('an earlier attempt is gone on with, and what it had too much is gone', async () => {
  const dir = path.join(root, 'live2')
  const store = open(dir)
  write(store, Date.now())
  await store.flush(breathe)
  const copy = path.join(root, 'copy2')
  fs.mkdirSync(path.join(copy, 'segments'), { recursive: true })
  fs.writeFileSync(path.join(copy, 'segments', '0000000099.seg'), 'of a merged segment')
  const [segment] = fs.readdirSync(path.join(dir, 'segments'))
  fs.writeFileSync(path.join(copy, 'segments', segment!), 'half')
  await copyStore(dir, copy, { copies: false, onProgress: () => {} })
  expect(fs.readdirSync(path.join(copy, 'segments'))).toEqual([segment])
  // A link: the same file.
  expect(fs.statSync(path.join(copy, 'segments', segment!)).ino).toBe(
    fs.statSync(path.join(dir, 'segments', segment!)).ino,
  )
  await store.close()
})
