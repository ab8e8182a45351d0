/** The score as a series: the same rule as on the page, absent without data. */
import { expect, test } from 'vitest'
import { fakeScheduler } from '../base/scheduler.ts'
import { HOUR, MINUTE } from '../base/time.ts'
import type { DashboardConfig } from './config.ts'
import { MEANING } from './figures.ts'
import type { Point, Points } from './sources.ts'
import { createScorer } from './stored-score.ts'

const NOW = Date.UTC(2026, 0, 5, 12)
const config = {
  cpuWarning: 70,
  cpuCritical: 85,
  memoryWarning: 75,
  memoryCritical: 90,
  responseWarning: 100,
  responseCritical: 200,
  hitRateWarning: 80,
  hitRateCritical: 70,
} as DashboardConfig

function scorer() {
  const { clock } = fakeScheduler(NOW)
  const newest = new Map<string, Point>()
  let day: Points = { times: [], values: [] }
  let reads = 0
  const read = createScorer({
    clock,
    config: () => config,
    sources: {
      latest: async () => newest,
      range: async () => {
        reads++
        return day
      },
      intervalMs: () => 5000,
    },
  })
  const put = (key: 'cpu_usage' | 'memory_usage', value: number) =>
    newest.set(MEANING[key].name, { at: clock.now(), value })
  return {
    clock,
    read,
    put,
    reads: () => reads,
    usually(value: number) {
      const times = Array.from({ length: 36 }, (_, i) => NOW - 3 * HOUR + i * 5 * MINUTE)
      day = { times, values: times.map(() => value) }
    },
  }
}

test('no data is no score; a metric that went silent does not count', async () => {
  const { clock, read, put } = scorer()
  expect(await read()).toBeNull()
  put('cpu_usage', 95)
  expect(await read()).toBe(80)
  clock.advance(20_000)
  expect(await read()).toBeNull()
})

test('limits take 10 and 20, what is a fifth worse than usual takes 5', async () => {
  const { read, put, usually } = scorer()
  usually(50)
  put('cpu_usage', 75)
  put('memory_usage', 55)
  expect(await read()).toBe(90)
  expect(await read()).toBe(85)
})

test('it is the mean of the last minute that counts, and history is not read at every round', async () => {
  const { clock, read, put, reads } = scorer()
  for (let i = 0; i < 12; i++) {
    put('cpu_usage', i === 11 ? 99 : 20)
    expect(await read()).toBe(100)
    clock.advance(5000)
  }
  const before = reads()
  put('cpu_usage', 20)
  await read()
  expect(reads()).toBe(before)
})
