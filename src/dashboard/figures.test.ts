import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HOUR, MINUTE } from '../base/time.ts'
import { beyondSince, judge, movement, normalOf } from './figures.ts'
import { formatExact, formatNumber, formatValue } from './protocol.ts'
import type { Point } from './sources.ts'

const NOW = Date.UTC(2026, 0, 30, 9, 42, 14)
const WINDOW = 5 * MINUTE

/** A point every ten seconds over two windows: the former at `before`, the latter at `after`. */
const stepped = (before: number, after: number): Point[] =>
  Array.from({ length: 60 }, (_, i) => {
    const at = NOW - 2 * WINDOW + (i + 1) * 10_000
    return { at, value: at > NOW - WINDOW ? after : before }
  })

describe('movement', () => {
  test.each([
    [100, 105, 'stable', 5],
    [100, 105.1, 'increasing', 5.1],
    [100, 94.9, 'decreasing', -5.1],
    [100, 95, 'stable', -5],
    [0, 0, 'stable', 0],
    [0, 1, 'increasing', 1],
    [-10, -12, 'decreasing', -2],
  ])('from %d to %d is %s', (before, after, trend, change) => {
    expect(movement(stepped(before, after), NOW, WINDOW, 'absolute')).toEqual({ trend, change })
  })

  test('a rate changes in per cent; from zero there is none', () => {
    expect(movement(stepped(50, 81), NOW, WINDOW, 'percent')?.change).toBe(62)
    expect(movement(stepped(0, 5), NOW, WINDOW, 'percent')).toEqual({ trend: 'increasing', change: null })
  })

  test('is not known before the former window is half covered', () => {
    const points = stepped(10, 20)
    const young = (ms: number) =>
      movement(
        points.filter((p) => p.at > NOW - WINDOW - ms),
        NOW,
        WINDOW,
        'absolute',
      )
    expect(young(0.4 * WINDOW)).toBeNull()
    expect(young(0.6 * WINDOW)).not.toBeNull()
    expect(movement([], NOW, WINDOW, 'absolute')).toBeNull()
    expect(
      movement(
        points.filter((p) => p.at <= NOW - WINDOW),
        NOW,
        WINDOW,
        'absolute',
      ),
    ).toBeNull()
  })

  test('the same points in the same order of size move the other way when time runs back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 60, maxLength: 60 }),
        (values) => {
          const points = stepped(0, 0).map((p, i) => ({ at: p.at, value: values[i]! }))
          const mirrored = points.map((p, i) => ({ at: p.at, value: values[59 - i]! }))
          const a = movement(points, NOW, WINDOW, 'absolute')!
          const b = movement(mirrored, NOW, WINDOW, 'absolute')!
          expect(a.change).toBeCloseTo(-b.change!, 3)
        },
      ),
    )
  })
})

describe('the normal range', () => {
  const history = (values: readonly number[], stepMs = 5 * MINUTE) => ({
    times: values.map((_, i) => NOW - (values.length - i) * stepMs),
    values,
  })

  test('needs an hour of history', () => {
    expect(normalOf(history(new Array(11).fill(5)))).toBeNull()
    expect(normalOf(history(new Array(12).fill(5)))).toEqual({ lower: 5, upper: 5, median: 5 })
    expect(normalOf(history(new Array(200).fill(5), 1000))).toBeNull()
  })

  test('is not moved by a few wild points', () => {
    const calm = Array.from({ length: 288 }, (_, i) => 50 + (i % 10))
    const wild = calm.map((v, i) => (i % 40 === 0 ? 1e9 : v))
    expect(normalOf(history(wild))).toEqual({ lower: 50, upper: 59, median: 55 })
    expect(normalOf(history(calm))).toMatchObject({ lower: 50, upper: 59 })
  })

  test('lies within what was seen, its median in the middle', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 12, maxLength: 300 }),
        (values) => {
          const { lower, upper, median } = normalOf(history(values))!
          const slack = 1e-3 * Math.max(...values.map(Math.abs)) + 1e-9
          expect(lower).toBeGreaterThanOrEqual(Math.min(...values) - slack)
          expect(upper).toBeLessThanOrEqual(Math.max(...values) + slack)
          expect(lower).toBeLessThanOrEqual(median)
          expect(median).toBeLessThanOrEqual(upper)
        },
      ),
    )
  })
})

describe('limits', () => {
  const over = { warning: 70, critical: 85, side: 'over' } as const
  const under = { warning: 80, critical: 70, side: 'under' } as const
  test.each([
    [over, 70, 'ok', null],
    [over, 70.1, 'warning', 70],
    [over, 85, 'warning', 70],
    [over, 85.1, 'critical', 85],
    [under, 80, 'ok', null],
    [under, 79.9, 'warning', 80],
    [under, 69, 'critical', 70],
  ])('%o: %d is %s', (limits, value, state, limit) => {
    expect(judge(value, limits)).toEqual({ state, limit: limit === null ? null : { value: limit, side: limits.side } })
  })
})

describe('since when', () => {
  const series = (from: number, stepMs: number, values: readonly number[]) => ({
    times: values.map((_, i) => from + i * stepMs),
    values,
  })
  const none = { times: [], values: [], stepMs: 5 * MINUTE }

  test('walks back to the first point beyond the limit', () => {
    const fine = series(NOW - 5 * MINUTE, MINUTE, [10, 90, 90, 90, 90])
    expect(beyondSince(fine, none, 80, 'over', 15 * MINUTE)).toBe(NOW - 4 * MINUTE)
  })

  test('goes on in coarse history where fine history begins beyond the limit', () => {
    const fine = series(NOW - HOUR, MINUTE, new Array(60).fill(90))
    const values = [...new Array(12).fill(10), ...new Array(24).fill(90)]
    const coarse = { ...series(NOW - 3 * HOUR, 5 * MINUTE, values), stepMs: 5 * MINUTE }
    expect(beyondSince(fine, coarse, 80, 'over', 15 * MINUTE)).toBe(NOW - 2 * HOUR)
  })

  test('is not before the first sample, though its coarse bucket begins earlier', () => {
    const fine = series(NOW - 11_000, 1000, new Array(11).fill(90))
    const coarse = { times: [NOW - 4 * MINUTE], values: [90], stepMs: 5 * MINUTE }
    expect(beyondSince(fine, coarse, 80, 'over', 15 * MINUTE)).toBe(NOW - 11_000)
  })

  test('ends at a hole, and is unknown when the newest point is within the limit', () => {
    const holed = { times: [NOW - 2 * HOUR, NOW - MINUTE], values: [90, 90] }
    expect(beyondSince(holed, none, 80, 'over', 15 * MINUTE)).toBe(NOW - MINUTE)
    expect(beyondSince(series(NOW - MINUTE, MINUTE, [10]), none, 80, 'over', 15 * MINUTE)).toBeNull()
    expect(beyondSince(none, none, 80, 'over', 15 * MINUTE)).toBeNull()
  })
})

describe('numbers', () => {
  test.each([
    [82.634, '%', '82.6\u202f%'],
    [5, '%', '5.0\u202f%'],
    [214.4, 'ms', '214\u202fms'],
    [1184, 'req/s', '1,184\u202freq/s'],
    [3.138, 'GiB', '3.14\u202fGiB'],
    [0.351, 'ms', '0.35\u202fms'],
    [-9.61, '%', '\u22129.6\u202f%'],
    [99.96, '%', '100\u202f%'],
    [0, 'req/s', '0\u202freq/s'],
  ])('%d %s', (value, unit, text) => expect(formatValue(value, unit)).toBe(text))

  test('limits stand as they were set', () => {
    expect([70, 72.5, 1500, -5].map(formatExact)).toEqual(['70', '72.5', '1,500', '\u22125'])
    expect(formatNumber(70, '%')).toBe('70.0')
  })
})
