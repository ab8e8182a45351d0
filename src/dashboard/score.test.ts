import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { dashboardKeys } from './config.ts'
import type { LimitsByFigure } from './figures.ts'
import { limitsOf } from './figures.ts'
import type { MetricKey } from './protocol.ts'
import type { Values } from './score.ts'
import { scoreOf } from './score.ts'

const limits: LimitsByFigure = limitsOf(
  Object.fromEntries(Object.entries(dashboardKeys).map(([name, key]) => [name, key.fallback])) as never,
)

describe('the health score', () => {
  test.each<[string, Values, number | null]>([
    ['no metric at all', {}, null],
    ['only metrics without data', { cpu_usage: null, memory_usage: null }, null],
    ['all well', { cpu_usage: 50, memory_usage: 60, response_time: 20, cache_hit_rate: 95 }, 100],
    [
      'a limit that is met is not passed',
      { cpu_usage: 70, memory_usage: 75, response_time: 100, cache_hit_rate: 80 },
      100,
    ],
    ['CPU warns', { cpu_usage: 71 }, 90],
    ['CPU critical', { cpu_usage: 86 }, 80],
    ['memory warns', { memory_usage: 76 }, 90],
    ['memory critical', { memory_usage: 91 }, 80],
    ['response time warns', { response_time: 101 }, 90],
    ['response time critical', { response_time: 201 }, 80],
    ['hit rate warns', { cache_hit_rate: 79 }, 90],
    ['hit rate critical', { cache_hit_rate: 69 }, 80],
    ['all critical', { cpu_usage: 99, memory_usage: 99, response_time: 999, cache_hit_rate: 1 }, 20],
    ['absent metrics do not count', { cpu_usage: 86, memory_usage: null }, 80],
    ['throughput and disk take nothing', { throughput: 0, disk_usage: 100 }, null],
  ])('%s', (_, values, score) => expect(scoreOf(values, limits).score).toBe(score))

  test('five points more for a fifth worse than usual, on the worse side alone', () => {
    const usual = { cpu_usage: 40, cache_hit_rate: 95 }
    expect(scoreOf({ cpu_usage: 48 }, limits, usual).score).toBe(100)
    expect(scoreOf({ cpu_usage: 48.1 }, limits, usual).score).toBe(95)
    expect(scoreOf({ cpu_usage: 10 }, limits, usual).score).toBe(100)
    expect(scoreOf({ cache_hit_rate: 75 }, limits, usual)).toEqual({
      score: 85,
      parts: [
        {
          metric: 'cache_hit_rate',
          points: -15,
          why: 'cache hit rate 75.0\u202f%, under 80\u202f%, below its usual 95.0\u202f%',
        },
      ],
    })
  })

  test('stays within 0 and 100, is what its parts leave, and never rises when a metric gets worse', () => {
    const value = fc.option(fc.double({ min: 0, max: 100, noNaN: true }), { nil: null })
    const values = fc.record({
      cpu_usage: value,
      memory_usage: value,
      response_time: fc.option(fc.double({ min: 0, max: 1000, noNaN: true }), { nil: null }),
      cache_hit_rate: value,
    })
    fc.assert(
      fc.property(
        values,
        values,
        fc.constantFrom<MetricKey>('cpu_usage', 'memory_usage', 'response_time'),
        (v, usual, key) => {
          const { score, parts } = scoreOf(v, limits, usual)
          if (score === null) {
            expect(Object.values(v)).toEqual([null, null, null, null])
            return
          }
          expect(score).toBe(Math.max(0, 100 + parts.reduce((sum, p) => sum + p.points, 0)))
          expect(score).toBeGreaterThanOrEqual(0)
          const before = v[key as keyof typeof v]
          if (before !== null)
            expect(scoreOf({ ...v, [key]: before + 50 }, limits, usual).score).toBeLessThanOrEqual(score)
        },
      ),
    )
  })
})
