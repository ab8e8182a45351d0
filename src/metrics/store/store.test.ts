/**
 * The store against a model that anybody can read: a map of maps. Random histories of batches (in order, late,
 * duplicate, contradicting, too old, too far ahead), flushes, crashes, stops, deletions and time going by.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { fakeClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../base/time.ts'
import type { SampleColumns } from '../columns.ts'
import { ColumnBuilder } from '../columns.ts'
import type { Labels } from '../labels.ts'
import { encodeLabels, labelsOf, labelValue } from '../labels.ts'
import type { AppliedBatch, Refusal, WalConsumer } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import { doWork, seriesOf } from './compaction.ts'
import { openReader } from './reader.ts'
import type { StoreConfig } from './store.ts'
import { Store, storeDefaults } from './store.ts'

const RETENTION = 3 * DAY
const dirs: string[] = []
const scratch = () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-store-'))
  dirs.push(dir)
  return dir
}
afterEach(() => {
  for (const dir of dirs.splice(0)) fs.rmSync(dir, { recursive: true })
})
const configOf = (dir: string, more: Partial<StoreConfig> = {}): StoreConfig => ({
  ...storeDefaults,
  dir,
  retentionMs: RETENTION,
  ...more,
})
const at = (time: number, value: number) => ({ time, value })
const batchOf = (series: Labels, ...samples: { time: number; value: number }[]): SampleColumns => {
  const builder = new ColumnBuilder().series(series)
  for (const { time, value } of samples) builder.sample(time, value)
  return builder.finish()
}

const SERIES = Array.from({ length: 6 }, (_, i) => labelsOf('m', { i: String(i), half: String(i % 2) }))
type Command =
  | { do: 'append'; samples: { series: number; back: number; value: number }[] }
  | { do: 'run'; series: number; count: number; step: number; value: number }
  | { do: 'flush' | 'crash' | 'stop' | 'checkpoint' | 'compact' }
  | { do: 'delete'; series: number }
  | { do: 'wait'; ms: number }

const sample = fc.record({
  series: fc.nat(SERIES.length - 1),
  // Relative to the clock: mostly about now, some in the hours before, some beyond retention or ahead.
  back: fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 20 }).map((n) => n * SECOND) },
    { weight: 2, arbitrary: fc.integer({ min: 0, max: 200 }).map((n) => n * MINUTE) },
    { weight: 1, arbitrary: fc.integer({ min: -20 * MINUTE, max: RETENTION + DAY }) },
  ),
  value: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.double()),
})
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('append' as const), samples: fc.array(sample, { maxLength: 30 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('run' as const),
      series: fc.nat(SERIES.length - 1),
      count: fc.integer({ min: 1, max: 700 }),
      step: fc.integer({ min: 1, max: 2000 }),
      value: fc.double({ noNaN: true, min: 0, max: 100 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('flush' as const, 'crash' as const, 'stop' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('checkpoint' as const, 'compact' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), series: fc.nat(SERIES.length - 1) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('wait' as const),
      ms: fc.oneof(fc.integer({ min: 0, max: 4 * HOUR }), fc.integer({ min: 0, max: DAY })),
    }),
  },
)

/** What a consumer's database would hold: state and position, changed together. */
interface Disk {
  position: number
  fed: Map<string, number>
}

function consumerOn(disk: { saved: Disk }): WalConsumer {
  const live: Disk = { position: disk.saved.position, fed: new Map(disk.saved.fed) }
  return {
    name: 'test',
    resumeAfter: () => disk.saved.position,
    apply(batch: AppliedBatch) {
      expect(batch.position).toBeGreaterThan(live.position)
      live.position = batch.position
      for (let i = 0; i < batch.count; i++) {
        const key = `${batch.series[i]}:${batch.times[i]}`
        live.fed.set(key, (live.fed.get(key) ?? 0) + 1)
      }
    },
    checkpoint() {
      disk.saved = { position: live.position, fed: new Map(live.fed) }
      return live.position
    },
  }
}

/** Does all the work that the compaction thread would. */
async function compact(store: Store): Promise<number> {
  let done = 0
  for (let work = store.nextWork(); work; done++) {
    if (done > 100) throw new Error('compaction does not come to an end')
    work = store.worked(work, await doWork(work, seriesOf(store.share), () => undefined))
  }
  return done
}

async function run(commands: readonly Command[], endWith: 'crash' | 'stop'): Promise<void> {
  const dir = scratch()
  const clock = fakeClock(Date.UTC(2026, 5, 1))
  const disk: { saved: Disk } = { saved: { position: -1, fed: new Map() } }
  const open = () => new Store(configOf(dir), clock, silentLog, [consumerOn(disk)])
  let store = open()
  let reader = openReader(store.share, clock)
  const model = SERIES.map(() => new Map<number, number>())
  const stored = { count: 0 }
  const noPause = async () => {}

  const append = (samples: readonly { series: number; time: number; value: number }[]) => {
    const builder = new ColumnBuilder()
    for (const one of samples) builder.series(SERIES[one.series]!).sample(one.time, one.value)
    const expected = { accepted: 0, duplicates: 0, refused: {} as Partial<Record<Refusal, number>> }
    const now = clock.now()
    for (const { series, time, value } of samples) {
      const known = model[series]!
      const refuse = (reason: Refusal) => {
        expected.refused[reason] = (expected.refused[reason] ?? 0) + 1
      }
      if (time < now - RETENTION) refuse('too_old')
      else if (time > now + 10 * MINUTE) refuse('too_far_ahead')
      else if (!known.has(time)) {
        known.set(time, value)
        expected.accepted++
        stored.count++
      } else if (Object.is(known.get(time), value)) {
        expected.accepted++
        expected.duplicates++
      } else refuse('conflict')
    }
    const outcome = store.append(builder.finish(), { source: 'test' })
    store.commit()
    expect(outcome).toMatchObject({ kind: 'appended', report: expected })
  }
  const check = () => {
    const now = clock.now()
    const buffer = sampleBuffer(1)
    const found = new Map(
      reader
        .readColumns([{ name: '__name__', op: '=', value: 'm' }], 0, now)
        .map((s) => [labelValue(s.labels, 'i'), s]),
    )
    for (const [i, known] of model.entries()) {
      for (const [from, to] of [
        [0, now + HOUR],
        [now - 3 * HOUR, now - 10 * MINUTE],
      ] as const) {
        const expected = [...known].filter(([time]) => time >= Math.max(from, now - RETENTION) && time <= to)
        expected.sort((a, b) => a[0] - b[0])
        buffer.length = 0
        found.get(String(i))?.read(from, to, buffer)
        expect([...buffer.times.subarray(0, buffer.length)]).toEqual(expected.map(([time]) => time))
        expect([...buffer.values.subarray(0, buffer.length)]).toEqual(expected.map(([, value]) => value))
      }
    }
  }
  const reopen = () => {
    store = open()
    reader = openReader(store.share, clock)
  }
  for (const one of [...commands, { do: endWith } as Command]) {
    switch (one.do) {
      case 'append':
        append(one.samples.map(({ series, back, value }) => ({ series, time: clock.now() - back, value })))
        break
      case 'run':
        append(
          Array.from({ length: one.count }, (_, k) => ({
            series: one.series,
            time: clock.now() + k * one.step,
            value: one.value + (k % 7),
          })),
        )
        break
      case 'flush':
        await store.flush(noPause)
        break
      case 'compact':
        await compact(store)
        break
      case 'checkpoint':
        store.checkpoint()
        break
      case 'stop':
        await store.close()
        reopen()
        break
      case 'crash':
        reopen()
        break
      case 'delete': {
        const ids = reader
          .readColumns([{ name: 'i', op: '=', value: String(one.series) }], 0, clock.now())
          .map((series) => series.id)
        expect(store.deleteSeries(ids)).toBe(ids.length)
        store.commit()
        model[one.series]!.clear()
        break
      }
      case 'wait':
        clock.advance(one.ms)
        break
    }
    check()
  }
  store.checkpoint()
  expect(disk.saved.fed.size).toBe(stored.count)
  for (const times of disk.saved.fed.values()) expect(times).toBe(1)
}

describe('store', () => {
  test('agrees with a map of maps, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 1, maxLength: 25 }), fc.constantFrom('crash', 'stop'), run),
      { numRuns: 60 },
    )
  }, 120_000)

  test('answers of claims are given again, also after a flush and a crash', async () => {
    const dir = scratch()
    const clock = fakeClock()
    let store = new Store(configOf(dir), clock, silentLog)
    const series = labelsOf('m')
    const claim = { key: 'k', fingerprint: 'f', answer: 'a' }
    const send = (fingerprint: string) => {
      const outcome = store.append(batchOf(series, at(clock.now(), 1)), {
        source: 'api',
        claim: { ...claim, fingerprint },
      })
      store.commit()
      return outcome
    }
    expect(send('f').kind).toBe('appended')
    for (const step of ['none', 'crash', 'flush and crash', 'stop']) {
      if (step.includes('flush')) await store.flush(async () => {})
      if (step === 'stop') await store.close()
      if (step !== 'none') store = new Store(configOf(dir), clock, silentLog)
      clock.advance(HOUR)
      expect(send('f')).toEqual({ kind: 'repeated', answer: 'a' })
      expect(send('other')).toEqual({ kind: 'clash' })
    }
    clock.advance(DAY)
    expect(send('other').kind).toBe('appended')
  })

  test('a consumer that ends in its own time is waited for, and then nothing is left to feed', async () => {
    const dir = scratch()
    const clock = fakeClock()
    let live = -1
    let saved = -1
    const slow = (): WalConsumer => ({
      name: 'slow',
      resumeAfter: () => saved,
      apply: (batch) => {
        expect(batch.position).toBe(live + 1)
        live = batch.position
      },
      checkpoint: () => saved,
      close: async () => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        saved = live
      },
    })
    for (let round = 1; round <= 3; round++) {
      const store = new Store(configOf(dir), clock, silentLog, [slow()])
      store.append(batchOf(labelsOf('m'), at(clock.now() + round, round)), { source: 'test' })
      await store.close()
      expect(saved).toBe(round - 1)
      expect(fs.readdirSync(path.join(dir, 'wal'))).toEqual([])
    }
  })

  test('keeps the payload of every NaN, infinities and -0, in head and segment', async () => {
    const dir = scratch()
    const clock = fakeClock()
    const store = new Store(configOf(dir), clock, silentLog)
    const bits = Uint32Array.of(
      2,
      0x7ff00000,
      0,
      0x7ff80000,
      1,
      0xfff80000,
      0,
      0x7ff00000,
      0,
      0xfff00000,
      0,
      0x80000000,
      0,
      0,
    )
    const columns = batchOf(labelsOf('m'), ...Array.from({ length: 7 }, (_, i) => at(clock.now() + i, 0)))
    new Uint32Array(columns.values.buffer).set(bits)
    store.append(columns, { source: 'test' })
    store.commit()
    const reader = openReader(store.share, clock)
    for (const step of ['head', 'segment']) {
      if (step === 'segment') await store.flush(async () => {})
      const buffer = sampleBuffer()
      reader.readColumns([], 0, clock.now())[0]!.read(0, clock.now() + 10, buffer)
      expect(new Uint32Array(buffer.values.buffer, 0, 14)).toEqual(bits)
      expect(store.append(columns, { source: 'test' })).toMatchObject({ report: { duplicates: 7, accepted: 7 } })
    }
  })

  test('labels that break a rule are refused, the rest of the batch is stored', () => {
    const clock = fakeClock()
    const store = new Store(configOf(scratch(), { seriesMax: 3 }), clock, silentLog)
    const raw = (...labels: [string, string][]) => encodeLabels(labels)
    const builder = new ColumnBuilder()
    const bad = [
      raw(['a', 'x']), // no name
      raw(['__name__', 'm'], ['a', 'x'], ['a', 'y']), // twice
      raw(['__name__', 'm'], ['a', 'x'.repeat(5000)]),
      raw(['__name__', 'm'], ['', 'x']),
      raw(...Array.from({ length: 70 }, (_, i): [string, string] => [`l${i}`, 'x']), ['__name__', 'm']),
      Uint8Array.of(0x0a, 5, 0x0a, 1),
      Uint8Array.of(...raw(['__name__', 'm']), 0x0a, 6, 0x0a, 1, 0x61, 0x12, 1, 0xff), // not UTF-8
      new Uint8Array(0),
    ]
    for (const bytes of bad) builder.seriesBytes(bytes).sample(clock.now(), 1)
    builder.seriesBytes(raw(['__name__', 'ok'], ['β', 'Ω🙂'])).sample(clock.now(), 2)
    const outcome = store.append(builder.finish(), { source: 'test' })
    expect(outcome).toMatchObject({ report: { accepted: 1, refused: { labels: bad.length } } })
    // The same labels unsorted, and with an empty one: the same series.
    const again = new ColumnBuilder()
    again.seriesBytes(raw(['β', 'Ω🙂'], ['__name__', 'ok'])).sample(clock.now() + 1, 3)
    again.seriesBytes(raw(['__name__', 'ok'], ['empty', ''], ['β', 'Ω🙂'])).sample(clock.now() + 2, 4)
    again.seriesBytes(raw(['β', 'Ω🙂'], ['__name__', 'ok'])).sample(clock.now() + 3, 5)
    again.series(labelsOf('n1')).sample(clock.now(), 1)
    again.series(labelsOf('n2')).sample(clock.now(), 1)
    again.series(labelsOf('n3')).sample(clock.now(), 1)
    again.series(labelsOf('n1')).sample(clock.now() + 1, 2)
    expect(store.append(again.finish(), { source: 'test' })).toMatchObject({
      report: { accepted: 6, refused: { cardinality: 1 }, problems: [{ sample: 5, reason: 'cardinality' }] },
    })
    const reader = openReader(store.share, clock)
    const [series] = reader.readColumns([{ name: 'β', op: '=~', value: 'Ω.' }], 0, clock.now())
    const buffer = sampleBuffer()
    series!.read(0, clock.now() + 10, buffer)
    expect([...buffer.values.subarray(0, buffer.length)]).toEqual([2, 3, 4, 5])
    expect(reader.labelNames([], 0, 0)).toEqual(['__name__', 'β'])
    expect(reader.labelValues('__name__', [], 0, 0)).toEqual(['n1', 'n2', 'ok'])
  })

  test('a clock that jumps refuses nothing that is stored, and late samples step nothing', () => {
    const clock = fakeClock()
    const fed: number[] = []
    const consumer: WalConsumer = {
      name: 'test',
      resumeAfter: () => -1,
      apply: (batch) => fed.push(...batch.fresh),
      checkpoint: () => -1,
    }
    const store = new Store(configOf(scratch()), clock, silentLog, [consumer])
    const start = clock.now()
    const send = (time: number) => {
      const outcome = store.append(batchOf(labelsOf('m'), at(time, 1)), { source: 'test' })
      store.commit()
      return outcome.kind === 'appended' ? outcome.report : null
    }
    expect(send(start)).toMatchObject({ accepted: 1, late: 0 })
    clock.jumpTo(start + 2 * HOUR)
    expect(send(start + 2 * HOUR)).toMatchObject({ accepted: 1, late: 0 })
    clock.jumpTo(start + MINUTE)
    expect(send(start + MINUTE)).toMatchObject({ accepted: 1, late: 1 })
    expect(send(start + 20 * MINUTE)).toMatchObject({ accepted: 0, refused: { too_far_ahead: 1 } })
    clock.jumpTo(start + 3 * HOUR)
    expect(send(start + 3 * HOUR)).toMatchObject({ accepted: 1, late: 0 })
    expect(fed).toEqual([1, 1, 0, 1])
  })
})

test('a clean stop that would take too long leaves its flush: the next start finds every sample in the log', async () => {
  const dir = scratch()
  const clock = fakeClock(Date.UTC(2026, 0, 1))
  /** Each look at the clock takes a second. */
  const monotonic = () => {
    clock.advance(SECOND)
    return clock.monotonic()
  }
  const slow = { ...clock, now: () => clock.now(), monotonic }
  const said: string[] = []
  const log = {
    ...silentLog,
    info: (line: string) => void said.push(line),
    error: (line: string) => void said.push(line),
  }
  const store = new Store(configOf(dir), slow, log)
  const now = clock.now()
  for (const series of SERIES) store.append(batchOf(series, at(now, 1), at(now + 1, 2)), { source: 'test' })
  await store.close()
  expect(said).toEqual(['The head is too large for a quick stop; the next start replays it.'])
  expect(fs.readdirSync(path.join(dir, 'segments'))).toEqual([])

  const next = new Store(configOf(dir), clock, silentLog)
  const buffer = sampleBuffer()
  const found = openReader(next.share, clock).readColumns([{ name: '__name__', op: '=', value: 'm' }], 0, Infinity)
  expect(found).toHaveLength(SERIES.length)
  for (const series of found) {
    series.read(0, Infinity, buffer)
    expect([...buffer.values.subarray(0, buffer.length)]).toEqual([1, 2])
  }
  await next.close()
  expect(fs.readdirSync(path.join(dir, 'segments'))).toHaveLength(1)
})
