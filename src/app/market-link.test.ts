import { expect, test } from 'vitest'
import type { TelemetryFamily } from '../base/telemetry.ts'
import { createSums } from './market-link.ts'

const family = (values: Record<string, number>): TelemetryFamily[] =>
  Object.entries(values).map(([name, value]) => ({
    name,
    help: '',
    type: 'gauge',
    samples: [{ name, labels: {}, value }],
  }))
const instance = (hits: number, misses: number, bytes = 0) =>
  family({ market_cache_hits: hits, market_cache_misses: misses, market_cache_entries: 3, market_cache_bytes: bytes })

test('rates are of what was counted since, over all instances; sums of what is there now', () => {
  const sums = createSums()
  const at = (ms: number, all: Record<string, TelemetryFamily[]>) =>
    Object.fromEntries(sums(new Map(Object.entries(all)), ms).map(({ name, value }) => [name, value]))
  expect(at(0, { a: instance(100, 100, 2 ** 20), b: instance(5, 5) })).toEqual({
    cache_entry_count: 6,
    cache_memory_usage: 1,
  })
  expect(at(5_000, { a: instance(190, 110), b: instance(5, 5) })).toMatchObject({ cache_hit_rate: 90 })
  // Nothing more was looked up: the rate is that of the last minute, and after it there is none, which is not 0.
  expect(at(10_000, { a: instance(190, 110), b: instance(5, 5) }).cache_hit_rate).toBe(90)
  expect(at(65_000, { a: instance(190, 110), b: instance(5, 5) }).cache_hit_rate).toBe(undefined)
  // One started again and counts from zero; one is new, and its past is not of this window.
  expect(at(70_000, { a: instance(3, 1), b: instance(5, 5), c: instance(1000, 0) })).toMatchObject({
    cache_hit_rate: 75,
  })
  expect(at(75_000, { a: instance(3, 97), b: instance(5, 5), c: instance(1000, 0) })).toMatchObject({
    cache_hit_rate: 3,
  })
  expect(at(140_000, {})).toEqual({})
})

test('what the database does comes from the commits of its writer', () => {
  const sums = createSums()
  const writer = (count: number, sum: number) =>
    new Map([['market-writer', family({ market_commit_seconds_count: count, market_commit_seconds_sum: sum })]])
  sums(writer(10, 1), 0)
  expect(sums(writer(110, 1.2), 5_000)).toEqual([
    { name: 'database_transaction_rate', value: 20 },
    { name: 'database_query_time', value: expect.closeTo(2) },
  ])
  expect(sums(writer(110, 1.2), 10_000)).toEqual([{ name: 'database_transaction_rate', value: 0 }])
})
