import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { DashboardAnomaly, ForecastPoint } from '../protocol.ts'
import { RECENT_ANOMALIES_MAX } from '../protocol.ts'
import { aheadOf, renewed, withdrawnWhy } from './forecast.ts'

const NOW = Date.UTC(2026, 0, 30, 9, 42)
const MIN = 60_000
const HOUR = 60 * MIN

const point = (horizon: number, more: Partial<ForecastPoint> = {}): ForecastPoint => ({
  horizon,
  target_time: new Date(NOW + horizon * MIN).toISOString(),
  value: horizon,
  lower: horizon - 1,
  upper: horizon + 1,
  coverage: 0.8,
  confidence: 0.9,
  withdrawn: null,
  ...more,
})
const four = [15, 30, 60, 120].map((horizon) => point(horizon))

describe('what of a forecast is drawn', () => {
  test.each([
    [1 * HOUR, [15, 30]],
    [3 * HOUR, [15, 30, 60]],
    [24 * HOUR, [15, 30, 60, 120]],
  ])('over %d ms of history the horizons up to half of it', (range, horizons) => {
    expect(aheadOf(four, NOW, range).map((knot) => knot.value)).toEqual(horizons)
  })

  test('nothing that is over, nothing that is withdrawn; nearest first', () => {
    const points = [point(60), point(30, { withdrawn: 'naive did better' }), point(15)]
    expect(aheadOf(points, NOW + 16 * MIN, 3 * HOUR)).toEqual([{ at: NOW + 60 * MIN, value: 60, lower: 59, upper: 61 }])
    expect(aheadOf(points, NOW, 3 * HOUR).map((knot) => knot.value)).toEqual([15, 60])
  })

  test('a withdrawn one says why, once nothing else is left', () => {
    const [first, second] = [point(15, { withdrawn: 'naive did better' }), point(30)]
    expect(withdrawnWhy([first, second], NOW)).toBeNull()
    expect(withdrawnWhy([first], NOW)).toBe('naive did better')
    expect(withdrawnWhy([first], NOW + 16 * MIN)).toBeNull()
    expect(withdrawnWhy([], NOW)).toBeNull()
  })
})

const anomaly = (minutesAgo: number, feedback: DashboardAnomaly['feedback'] = null): DashboardAnomaly => ({
  id: `at-${minutesAgo}`,
  metric_name: 'system.cpu_usage',
  timestamp: new Date(NOW - minutesAgo * MIN).toISOString(),
  anomaly_score: 3,
  severity: 'low',
  actual_value: 1,
  expected_value: 0,
  view: 'level',
  season: 'none',
  description: '',
  feedback,
})
const ids = (list: readonly DashboardAnomaly[]) => list.map((one) => one.id)

describe('anomalies of the charts after an update', () => {
  test('a new one comes first; one of the last hour that is no longer there was hidden; older ones stay', () => {
    const before = [anomaly(10), anomaly(50), anomaly(70)]
    expect(ids(renewed(before, [anomaly(1), anomaly(50)], NOW))).toEqual(['at-1', 'at-50', 'at-70'])
  })

  test('an update that is full says nothing of what is older than its oldest', () => {
    const recent = Array.from({ length: RECENT_ANOMALIES_MAX }, (_, i) => anomaly(i + 1))
    expect(ids(renewed([anomaly(30)], recent, NOW)).at(-1)).toBe('at-30')
    expect(ids(renewed([anomaly(30)], recent.slice(1), NOW)).at(-1)).toBe(`at-${RECENT_ANOMALIES_MAX}`)
  })

  test('is the same list when nothing changed, and another when a verdict did', () => {
    const before = [anomaly(10), anomaly(70)]
    expect(renewed(before, [anomaly(10)], NOW)).toBe(before)
    const real = { verdict: 'real', by: 'mk', at: new Date(NOW).toISOString() } as const
    expect(renewed(before, [anomaly(10, real)], NOW)[0]!.feedback).toEqual(real)
  })

  test('holds each once, newest first, whatever came before', () => {
    const list = fc
      .uniqueArray(fc.integer({ min: 0, max: 300 }), { maxLength: 40 })
      .map((ages) => ages.sort((a, b) => a - b).map((age) => anomaly(age)))
    fc.assert(
      fc.property(list, list, (before, all) => {
        const recent = all.filter((one) => NOW - Date.parse(one.timestamp) <= HOUR).slice(0, RECENT_ANOMALIES_MAX)
        const after = renewed(before, recent, NOW)
        expect(new Set(ids(after)).size).toBe(after.length)
        expect(after.map((one) => one.timestamp)).toEqual(
          after
            .map((one) => one.timestamp)
            .sort()
            .reverse(),
        )
        expect(ids(after)).toEqual(expect.arrayContaining(ids(recent)))
      }),
    )
  })
})
