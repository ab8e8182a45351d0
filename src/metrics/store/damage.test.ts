/** Files cut off, bit by bit wrong, missing or full: what can be read stays readable, the rest is reported. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { fakeClock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { MINUTE, SECOND } from '../../base/time.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf, labelValue } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import { Disk } from './disk.ts'
import { readManifest, segmentsDir, writeManifest } from './manifest.ts'
import { openReader } from './reader.ts'
import type { StoreConfig } from './store.ts'
import { Store, storeDefaults } from './store.ts'

const START = Date.UTC(2026, 5, 1)
const cleanUp: (() => void)[] = []
afterEach(() => {
  for (const step of cleanUp.splice(0).reverse()) step()
})
function scratch(): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-damage-'))
  cleanUp.push(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}
const clock = fakeClock(START)
const open = (dir: string, log: Log = silentLog, more: Partial<StoreConfig> = {}) =>
  new Store({ ...storeDefaults, dir, ...more }, clock, log)
const noPause = async () => {}

/** A log that remembers its errors. */
function listening(): { log: Log; errors: string[] } {
  const errors: string[] = []
  const log: Log = { ...silentLog, error: (message) => void errors.push(message), with: () => log }
  return { log, errors }
}

function append(store: Store, name: string, samples: readonly [number, number][]): void {
  const builder = new ColumnBuilder().series(labelsOf('m', { name }))
  for (const [time, value] of samples) builder.sample(time, value)
  store.append(builder.finish(), { source: 'test' })
  store.commit()
}
function readAll(store: Store): Record<string, [number, number][]> {
  const found: Record<string, [number, number][]> = {}
  const buffer = sampleBuffer()
  for (const series of openReader(store.share, clock).readColumns([], 0, Infinity)) {
    series.read(0, Infinity, buffer)
    const samples = Array.from({ length: buffer.length }, (_, i): [number, number] => [
      buffer.times[i]!,
      buffer.values[i]!,
    ])
    if (samples.length > 0) found[labelValue(series.labels, 'name')] = samples
  }
  return found
}
const walFiles = (dir: string) => fs.readdirSync(path.join(dir, 'wal')).filter((name) => name.endsWith('.wal'))
const copyOf = (dir: string) => {
  const to = scratch()
  fs.cpSync(dir, to, { recursive: true })
  return to
}

describe('the write-ahead log', () => {
  test('cut off at any byte of its last record: all records before it are there', () => {
    const dir = scratch()
    const store = open(dir)
    append(store, 'a', [[START, 1]])
    append(store, 'b', [[START, 2]])
    const [file] = walFiles(dir)
    const whole = fs.statSync(path.join(dir, 'wal', file!)).size
    append(store, 'c', [[START, 3]])
    const bytes = fs.readFileSync(path.join(dir, 'wal', file!))
    for (let size = whole; size <= bytes.length; size++) {
      const torn = copyOf(dir)
      fs.writeFileSync(path.join(torn, 'wal', file!), bytes.subarray(0, size))
      const { log, errors } = listening()
      const again = open(torn, log)
      const expected = { a: [[START, 1]], b: [[START, 2]], ...(size === bytes.length ? { c: [[START, 3]] } : {}) }
      expect(readAll(again)).toEqual(expected)
      expect(errors).toEqual([])
      // What follows stands behind the cut, and is read by the next start.
      append(again, 'd', [[START, 4]])
      expect(readAll(open(torn))).toEqual({ ...expected, d: [[START, 4]] })
    }
  })

  test('a wrong byte anywhere: records beside it are there, the damage is reported and set aside', () => {
    const dir = scratch()
    const store = open(dir)
    append(store, 'a', [[START, 1]])
    const [file] = walFiles(dir)
    const from = fs.statSync(path.join(dir, 'wal', file!)).size
    append(store, 'b', [[START, 2]])
    const to = fs.statSync(path.join(dir, 'wal', file!)).size
    append(store, 'c', [[START, 3]])
    for (let at = from; at < to; at++) {
      const damaged = copyOf(dir)
      const full = path.join(damaged, 'wal', file!)
      const bytes = fs.readFileSync(full)
      bytes[at]! ^= 1 << (at % 8)
      fs.writeFileSync(full, bytes)
      const { log, errors } = listening()
      expect(readAll(open(damaged, log))).toEqual({ a: [[START, 1]], c: [[START, 3]] })
      expect(errors).toHaveLength(1)
      expect(fs.existsSync(`${full}.damaged`)).toBe(true)
    }
  })
})

describe('segments', () => {
  const names = ['a', 'b', 'c', 'd']
  const samplesOf = (name: string): [number, number][] =>
    Array.from({ length: 300 }, (_, i) => [START - (300 - i) * 15 * SECOND, Math.sin(i + name.charCodeAt(0))])

  async function filled(): Promise<string> {
    const dir = scratch()
    const store = open(dir)
    for (const name of names) append(store, name, samplesOf(name))
    await store.flush(noPause)
    append(store, 'live', [[START, 1]])
    await store.close()
    return dir
  }

  test('a wrong byte anywhere never crashes, and never gives a wrong value', async () => {
    const dir = await filled()
    const file = path.join(segmentsDir(dir), readManifest(dir)!.segments[0]!.file)
    const good = fs.readFileSync(file)
    const random = seededRandom(11)
    for (let round = 0; round < 150; round++) {
      const at =
        round < 60 ? round : round < 120 ? good.length - 1 - (round - 60) : Math.floor(random.next() * good.length)
      const damaged = copyOf(dir)
      const bytes = Buffer.from(good)
      bytes[at]! ^= 1 + Math.floor(random.next() * 255)
      fs.writeFileSync(path.join(segmentsDir(damaged), path.basename(file)), bytes)
      const { log, errors } = listening()
      const store = open(damaged, log)
      const found = readAll(store)
      expect(found.live).toEqual([[START, 1]])
      for (const name of names) if (found[name]) expect(found[name]).toEqual(samplesOf(name))
      if (names.some((name) => !found[name])) {
        store.figures()
        const reported = errors.length + new Float64Array(store.share.control, 512, 64)[8]!
        expect(reported).toBeGreaterThan(0)
      }
      await store.close()
    }
  })

  test('half-written, missing, or without manifest and list of series: the rest is there', async () => {
    const dir = await filled()
    const { file } = readManifest(dir)!.segments[0]!
    const all = Object.fromEntries([...names.map((name) => [name, samplesOf(name)]), ['live', [[START, 1]]]])

    const half = copyOf(dir)
    fs.truncateSync(path.join(segmentsDir(half), file), 1000)
    const one = listening()
    expect(readAll(open(half, one.log))).toEqual({ live: [[START, 1]] })
    expect(one.errors).toHaveLength(1)
    expect(fs.existsSync(path.join(segmentsDir(half), `${file}.damaged`))).toBe(true)
    const after = listening()
    expect(readAll(open(half, after.log))).toEqual({ live: [[START, 1]] })
    expect(after.errors).toEqual([])

    const missing = copyOf(dir)
    fs.rmSync(path.join(segmentsDir(missing), file))
    expect(readAll(open(missing))).toEqual({ live: [[START, 1]] })

    for (const lost of [['manifest.json'], ['series.dat'], ['manifest.json', 'series.dat']]) {
      const bare = copyOf(dir)
      for (const name of lost) fs.rmSync(path.join(bare, name))
      const { log, errors } = listening()
      const store = open(bare, log)
      expect(readAll(store), lost.join()).toEqual(all)
      expect(errors.length).toBeGreaterThan(0)
      append(store, 'a', [[START, 9]])
      await store.close()
      const again = listening()
      expect(readAll(open(bare, again.log))).toEqual({ ...all, a: [...samplesOf('a'), [START, 9]] })
      expect(again.errors).toEqual([])
    }
    for (let at = 0; at < fs.statSync(path.join(dir, 'series.dat')).size; at += 7) {
      const damaged = copyOf(dir)
      const bytes = fs.readFileSync(path.join(damaged, 'series.dat'))
      bytes[at]! ^= 255
      fs.writeFileSync(path.join(damaged, 'series.dat'), bytes)
      const { log, errors } = listening()
      expect(readAll(open(damaged, log)), `byte ${at}: ${errors.join()}`).toEqual(all)
    }
  })

  test('a file of a newer format stops the start and says so', async () => {
    const dir = await filled()
    const manifest = { ...readManifest(dir)!, version: 99 }
    writeManifest(dir, manifest)
    expect(() => open(dir)).toThrow(/newer version/)
  })
})

describe('a full disk', () => {
  /** A file system of its own of this size, or null where the test may not mount one. */
  function smallDisk(bytes: number): string | null {
    const dir = scratch()
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', dir], { stdio: 'ignore' })
    } catch {
      return null
    }
    cleanUp.push(() => execFileSync('umount', ['-l', dir]))
    return dir
  }

  test('a log that cannot be written refuses the batch whole, and takes the next when it can', () => {
    const dir = scratch()
    const store = open(dir)
    // Every write to this device fails for want of room.
    const log = path.join(dir, 'wal', '0000000000000000.wal')
    fs.symlinkSync('/dev/full', log)
    expect(() => append(store, 'a', [[START, 1]])).toThrow(/disk is full/)
    expect(() => append(store, 'a', [[START, 1]])).toThrow(/disk is full/)
    expect(readAll(store)).toEqual({})
    fs.rmSync(log, { force: true })
    for (let i = 0; i < 20; i++) store.lookAtDisk()
    append(store, 'a', [[START, 1]])
    expect(readAll(store)).toEqual({ a: [[START, 1]] })
    expect(readAll(open(dir))).toEqual({ a: [[START, 1]] })
  })

  test('refuses, keeps reading, loses nothing that was answered, and recovers by itself', async (context) => {
    const size = 3 << 20
    const dir = smallDisk(size)
    if (dir === null) return context.skip('this needs the right to mount a file system')
    const disk = { ballastBytes: 1 << 20, reserveBytes: 256 << 10, ballastAfterMs: 0 }
    const { log, errors } = listening()
    const store = open(dir, log, { disk })
    for (let i = 0; i < 5; i++) store.lookAtDisk()
    expect(fs.statSync(path.join(dir, 'ballast.tmp')).size).toBe(size / 8)
    const answered: [number, number][] = []
    const random = seededRandom(3)
    let refused = 0
    for (let batch = 0; refused < 3 && batch < 4000; batch++) {
      const samples: [number, number][] = Array.from({ length: 2000 }, (_, i) => [
        START - 20 * 60 * MINUTE + batch * 2000 + i,
        Math.floor(random.next() * 10),
      ])
      try {
        append(store, 'a', samples)
        answered.push(...samples)
      } catch (error) {
        expect(error).toMatchObject({ status: 503, code: 'disk_full', retryAfterSeconds: 10 })
        refused++
      }
    }
    expect(refused).toBe(3)
    expect(errors).toHaveLength(1)
    expect(readAll(store).a).toEqual(answered)
    expect(fs.existsSync(path.join(dir, 'ballast.tmp'))).toBe(false)
    fs.writeFileSync(path.join(dir, 'another.db'), new Uint8Array(256 << 10)) // what the ballast is for
    fs.rmSync(path.join(dir, 'another.db'))
    store.lookAtDisk()
    expect(() => append(store, 'a', [[START, 1]])).toThrow(/disk is full/)
    expect(readAll(open(dir)).a).toEqual(answered)

    await store.flush(noPause) // frees the log
    for (let i = 0; i < 5; i++) store.lookAtDisk()
    append(store, 'a', [[START, 1]])
    expect(readAll(store).a).toEqual([...answered, [START, 1]])
    await store.close()
    expect(readAll(open(dir)).a).toEqual([...answered, [START, 1]])
  })

  test('a disk smaller than the usual ballast fills, and recovers by itself', (context) => {
    const dir = smallDisk(16 << 20)
    if (dir === null) return context.skip('this needs the right to mount a file system')
    const store = open(dir)
    const hog = path.join(dir, 'hog')
    fs.writeFileSync(hog, new Uint8Array(31 << 19))
    store.lookAtDisk()
    expect(() => append(store, 'a', [[START, 1]])).toThrow(/disk is full/)
    fs.rmSync(hog)
    for (let i = 0; i < 5; i++) store.lookAtDisk()
    append(store, 'a', [[START, 1]])
    expect(readAll(store)).toEqual({ a: [[START, 1]] })
  })

  test('the ballast is made in steps, kept, released and made again', () => {
    const dir = scratch()
    const disk = new Disk(dir, { ballastBytes: 10 << 20, reserveBytes: 1, ballastAfterMs: 0 }, clock, silentLog)
    const size = () =>
      fs.existsSync(path.join(dir, 'ballast.tmp')) ? fs.statSync(path.join(dir, 'ballast.tmp')).size : 0
    disk.look()
    expect(size()).toBe(4 << 20)
    disk.look()
    disk.look()
    disk.look()
    expect(size()).toBe(10 << 20)
    expect(disk.failed(new Error('something else'))).toBe(false)
    expect(disk.full).toBe(false)
    expect(disk.failed(Object.assign(new Error('no space'), { code: 'ENOSPC' }))).toBe(true)
    expect([disk.full, size()]).toEqual([true, 0])
    for (let i = 0; i < 3; i++) disk.look()
    expect([disk.full, size()]).toEqual([false, 10 << 20])
  })
})
