/** What becomes of segments in time: merging, roll-ups, retention by age and size, deleted series leaving the disk. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { FakeClock } from '../../base/clock.ts'
import { fakeClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf } from '../labels.ts'
import type { ColumnReader } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import { planCompaction } from './compact.ts'
import { doWork, seriesOf } from './compaction.ts'
import { readManifest, segmentsDir } from './manifest.ts'
import { openReader } from './reader.ts'
import type { SegmentInfo } from './segment.ts'
import type { StoreConfig } from './store.ts'
import { Store, storeDefaults } from './store.ts'

const START = Date.UTC(2026, 5, 1)
const dirs: string[] = []
afterEach(() => {
  for (const dir of dirs.splice(0)) fs.rmSync(dir, { recursive: true })
})

class Bench {
  readonly dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-compact-'))
  readonly clock: FakeClock = fakeClock(START)
  readonly store: Store
  readonly reader: ColumnReader

  constructor(more: Partial<StoreConfig> = {}) {
    dirs.push(this.dir)
    this.store = new Store({ ...storeDefaults, dir: this.dir, ...more }, this.clock, silentLog)
    this.reader = openReader(this.store.share, this.clock)
  }

  /** A sample a minute of each series for so long, flushed every two hours. */
  async live(ms: number, series: readonly string[], valueAt = (time: number) => time / MINUTE): Promise<void> {
    for (const end = this.clock.now() + ms; this.clock.now() < end; ) {
      const builder = new ColumnBuilder()
      for (const name of series) {
        builder.series(labelsOf(name))
        for (let t = 0; t < 2 * HOUR; t += MINUTE) builder.sample(this.clock.now() + t, valueAt(this.clock.now() + t))
      }
      this.clock.advance(2 * HOUR)
      this.store.append(builder.finish(), { source: 'test' })
      this.store.commit()
      await this.store.flush(async () => {})
    }
  }

  async compact(): Promise<void> {
    for (let work = this.store.nextWork(); work; ) {
      work = this.store.worked(work, await doWork(work, seriesOf(this.store.share), () => undefined))
    }
  }

  get segments(): readonly SegmentInfo[] {
    return readManifest(this.dir)!.segments
  }
  get raw(): readonly SegmentInfo[] {
    return this.segments.filter((segment) => segment.kind === 'raw').sort((a, b) => a.minTime - b.minTime)
  }

  read(name: string, from: number, to: number): [number, number][] {
    const buffer = sampleBuffer()
    this.reader.readColumns([{ name: '__name__', op: '=', value: name }], from, to)[0]?.read(from, to, buffer)
    return Array.from({ length: buffer.length }, (_, i) => [buffer.times[i]!, buffer.values[i]!])
  }

  rollup(name: string, step: number, from: number, to: number) {
    const [series] = this.reader.readColumns([{ name: '__name__', op: '=', value: name }], from, to)
    return series ? this.reader.readRollup(series, step, from, to) : null
  }
}

const minutes = (from: number, to: number): [number, number][] => {
  const out: [number, number][] = []
  for (let t = from; t < to; t += MINUTE) out.push([t, t / MINUTE])
  return out
}

describe('compaction', () => {
  test('small segments become one, a finished day one with roll-ups; every sample stays', async () => {
    const bench = new Bench()
    await bench.live(10 * HOUR, ['a', 'b'])
    await bench.compact()
    expect(bench.raw.map(({ level }) => level)).toEqual([0, 0, 0, 0, 0])
    await bench.live(2 * HOUR, ['a', 'b'])
    await bench.compact()
    expect(bench.raw.map(({ level }) => level)).toEqual([1])
    await bench.live(18 * HOUR, ['a', 'b'])
    await bench.compact()
    expect(bench.raw.map(({ level }) => level)).toEqual([2, 0, 0, 0])
    expect(bench.segments.filter(({ kind }) => kind === 'rollup').map(({ stepMs }) => stepMs)).toEqual([
      5 * MINUTE,
      HOUR,
    ])
    expect(bench.read('a', 0, Infinity)).toEqual(minutes(START, START + 30 * HOUR))
    expect(fs.readdirSync(segmentsDir(bench.dir)).sort()).toEqual(bench.segments.map(({ file }) => file).sort())
  })

  test('roll-ups: least, greatest, sum and count of each bucket, NaNs left out', async () => {
    const bench = new Bench()
    await bench.live(28 * HOUR, ['a'], (time) =>
      time % (7 * MINUTE) === 0 ? Number.NaN : time / MINUTE - START / MINUTE,
    )
    await bench.compact()
    for (const step of [5 * MINUTE, HOUR]) {
      const rollup = bench.rollup('a', step, START, START + DAY - 1)!
      expect(rollup.length).toBe(DAY / step)
      for (let i = 0; i < rollup.length; i++) {
        const from = START + i * step
        const values = bench
          .read('a', from, from + step - 1)
          .map(([, value]) => value)
          .filter((value) => !Number.isNaN(value))
        expect([rollup.times[i], rollup.min[i], rollup.max[i], rollup.sum[i], rollup.count[i]]).toEqual([
          from,
          Math.min(...values),
          Math.max(...values),
          values.reduce((sum, value) => sum + value, 0),
          values.length,
        ])
      }
    }
    expect(bench.rollup('a', MINUTE, START, START + DAY)).toBe(null)
    const part = bench.rollup('a', HOUR, START + 90 * MINUTE, START + 3 * HOUR)!
    expect([...part.times]).toEqual([START + HOUR, START + 2 * HOUR, START + 3 * HOUR])
  })

  test('raw samples go after their retention, roll-ups later, and then the series', async () => {
    const bench = new Bench({ retentionMs: 2 * DAY, rollupRetentionMs: { [5 * MINUTE]: 3 * DAY, [HOUR]: 4 * DAY } })
    await bench.live(6 * HOUR, ['old'])
    await bench.live(4 * DAY - 6 * HOUR, ['a'])
    await bench.compact()
    expect(Math.min(...bench.raw.map(({ minTime }) => minTime))).toBe(START + 2 * DAY)
    expect(bench.read('a', 0, Infinity)).toEqual(minutes(bench.clock.now() - 2 * DAY, bench.clock.now()))
    expect(bench.rollup('old', HOUR, START, START + DAY)!.length).toBe(6)
    expect(bench.rollup('old', 5 * MINUTE, START, START + DAY)!.length).toBe(72)
    await bench.live(2 * DAY, ['a'])
    await bench.compact()
    expect(bench.reader.labelValues('__name__', [], 0, 0)).toEqual(['a'])
    expect(bench.rollup('old', HOUR, START, START + DAY)).toBe(null)
  })

  test('a clock that leaps years ahead drops nothing', async () => {
    const bench = new Bench({ retentionMs: 2 * DAY })
    await bench.live(DAY, ['a'])
    bench.clock.advance(1000 * DAY)
    await bench.compact()
    bench.clock.jumpTo(START + DAY)
    expect(bench.read('a', 0, Infinity)).toEqual(minutes(START, START + DAY))
  })

  test('over the limit of bytes the oldest raw segments go', async () => {
    const bench = new Bench({ segmentBytesMax: 20_000 })
    await bench.live(3 * DAY, ['a', 'b', 'c'], (time) => Math.sin(time))
    await bench.compact()
    expect(bench.segments.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(20_000)
    const kept = bench.read('a', 0, Infinity)
    expect(kept.at(-1)![0]).toBe(bench.clock.now() - MINUTE)
    expect(kept.length).toBeLessThan((3 * DAY) / MINUTE)
  })

  test('a deleted series leaves the disk, in raw segments and roll-ups', async () => {
    const bench = new Bench({ retentionMs: DAY })
    await bench.live(3 * DAY, ['a', 'secret'], (time) => Math.sin(time))
    await bench.compact()
    const series = bench.reader.readColumns([{ name: '__name__', op: '=', value: 'secret' }], 0, Infinity)
    const before = bench.segments.reduce((sum, { series }) => sum + series, 0)
    bench.store.deleteSeries(series.map(({ id }) => id))
    bench.store.commit()
    expect(bench.reader.readColumns([{ name: '__name__', op: '=', value: 'secret' }], 0, Infinity)).toEqual([])
    const kept = bench.read('a', 0, Infinity)
    await bench.compact()
    expect(bench.segments.reduce((sum, { series }) => sum + series, 0)).toBe(before / 2)
    expect(bench.read('a', 0, Infinity)).toEqual(kept)
    expect(bench.rollup('a', HOUR, START, START + 3 * DAY)!.length).toBeGreaterThan(24)
    await bench.live(2 * HOUR, ['secret'])
    expect(bench.read('secret', 0, Infinity)).toHaveLength(120)
  })

  test('late samples of a finished day are merged in when they are enough', async () => {
    const bench = new Bench()
    await bench.live(2 * DAY, ['a'])
    await bench.compact()
    const late: [number, number][] = []
    for (let i = 0; i < 4; i++) {
      const builder = new ColumnBuilder().series(labelsOf('a'))
      for (let k = 0; k < 3; k++) {
        late.push([START + (i * 10 + k) * MINUTE + 1, i])
        builder.sample(...late.at(-1)!)
      }
      bench.store.append(builder.finish(), { source: 'test' })
      bench.store.commit()
      await bench.store.flush(async () => {})
      await bench.compact()
      expect(bench.read('a', START, START + DAY - 1)).toEqual(
        [...minutes(START, START + DAY), ...late].sort((a, b) => a[0] - b[0]),
      )
    }
    expect(bench.raw.filter(({ minTime }) => minTime < START + DAY)).toHaveLength(1)
    expect(bench.rollup('a', HOUR, START, START + DAY - 1)!.count[0]).toBe(60 + late.length)
  })

  test('plans nothing for nothing', () => {
    expect(planCompaction([], { retentionMs: DAY, rollupRetentionMs: {}, bytesMax: Infinity }, START)).toBe(null)
  })
})
