/** A kept selection is the same array, and never one that a series has joined or left since. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { fakeClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf } from '../labels.ts'
import type { Matcher, SeriesColumns } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import { openReader } from './reader.ts'
import { Selections } from './selections.ts'
import { Store, storeDefaults } from './store.ts'

const matcher = (value: string): Matcher => ({ name: '__name__', op: '=', value })
const series = (count: number): SeriesColumns[] =>
  Array.from({ length: count }, (_, id) => ({ id, labels: [], read() {} }))

test('a selection is kept until a series comes or goes', () => {
  const selections = new Selections()
  const found = series(3)
  selections.keep([matcher('a')], 3, 0, found)
  expect(selections.find([matcher('a')], 3, 0)).toBe(found)
  expect(selections.find([{ ...matcher('a'), op: '!=' }], 3, 0)).toBeNull()
  expect(selections.find([matcher('a')], 4, 0)).toBeNull()
  selections.keep([matcher('a')], 4, 0, found)
  expect(selections.find([matcher('a')], 4, 1)).toBeNull()
})

test('what was asked longest ago goes first, and what is too large is not kept', () => {
  const selections = new Selections()
  const [first, second, third] = [series(20_000), series(20_000), series(20_000)]
  selections.keep([matcher('a')], 1, 0, first)
  selections.keep([matcher('b')], 1, 0, second)
  expect(selections.find([matcher('a')], 1, 0)).toBe(first)
  selections.keep([matcher('c')], 1, 0, third)
  expect(selections.find([matcher('b')], 1, 0)).toBeNull()
  expect(selections.find([matcher('a')], 1, 0)).toBe(first)
  expect(selections.find([matcher('c')], 1, 0)).toBe(third)
  selections.keep([matcher('d')], 1, 0, series(50_001))
  expect(selections.find([matcher('d')], 1, 0)).toBeNull()
})

test('a reader sees series that came and does not see those that were deleted', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-selections-'))
  const clock = fakeClock(1_700_000_000_000)
  const store = new Store({ ...storeDefaults, dir }, clock, silentLog)
  const add = (i: string) => {
    const columns = new ColumnBuilder().series(labelsOf('m', { i })).sample(clock.now(), Number(i)).finish()
    store.append(columns, { source: 'test' })
    store.commit()
  }
  try {
    const reader = openReader(store.share, clock)
    const ids = () => reader.readColumns([matcher('m')], 0, clock.now()).map(({ id }) => id)
    reader.prepare?.()
    add('1')
    reader.prepare?.()
    expect(ids()).toHaveLength(1)
    const again = reader.readColumns([matcher('m')], 0, clock.now())
    expect(reader.readColumns([matcher('m')], 0, clock.now())).toBe(again)
    add('2')
    const [one, two] = ids()
    expect(two).toBeDefined()
    store.deleteSeries([one!])
    reader.prepare?.()
    expect(ids()).toEqual([two])
    const buffer = sampleBuffer(1)
    reader.readColumns([matcher('m')], 0, clock.now())[0]!.read(0, clock.now(), buffer)
    expect([buffer.length, buffer.values[0]]).toEqual([1, 2])
  } finally {
    await store.close()
    fs.rmSync(dir, { recursive: true })
  }
})

test.each([3, 100])('of %i values each finds the series that have it, old and new', async (values) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-selections-'))
  const clock = fakeClock(1_700_000_000_000)
  const store = new Store({ ...storeDefaults, dir }, clock, silentLog)
  const add = (half: string) => {
    const batch = new ColumnBuilder()
    for (let i = 0; i < values; i++) batch.series(labelsOf('m', { i: String(i), half })).sample(clock.now(), i)
    store.append(batch.finish(), { source: 'test' })
    store.commit()
  }
  try {
    const reader = openReader(store.share, clock)
    const found = (i: number) => reader.readColumns([{ name: 'i', op: '=', value: String(i) }], 0, clock.now()).length
    const all = Array.from({ length: values }, (_, i) => i)
    add('a')
    expect(all.map(found)).toEqual(all.map(() => 1))
    add('b')
    expect(all.map(found)).toEqual(all.map(() => 2))
  } finally {
    await store.close()
    fs.rmSync(dir, { recursive: true })
  }
})
