import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backOff } from './back-off.ts'
import { ago, between, change, moment, short, spoken } from './format.ts'
import type { Track } from './series.ts'
import { endOf, extended, extent, gapsOf, merged, niceStep, trackOf } from './series.ts'

const T0 = Date.UTC(2026, 0, 30, 9, 0)
const track = (values: readonly (number | null)[], more: Record<string, readonly (number | null)[]> = {}): Track => ({
  from: T0,
  stepMs: 15_000,
  length: values.length,
  series: { cpu: values, ...more },
})

describe('a track', () => {
  test('comes from a history', () => {
    expect(trackOf({ from: '2026-01-30T09:00:00.000Z', step: 15, series: { cpu_usage: [1, null] } })).toEqual({
      from: T0,
      stepMs: 15_000,
      length: 2,
      series: { cpu_usage: [1, null] },
    })
    expect(trackOf({ from: '2026-01-30T09:00:00.000Z', step: 15, series: {} }).length).toBe(0)
  })

  test('moves on with time and takes samples into their places', () => {
    const old = track([1, 2, 3, 4])
    const moved = extended(old, T0 + 4 * 15_000 + 100, { cpu: { at: T0 + 4 * 15_000, value: 5 } }, 5000)
    expect(moved.from).toBe(T0 + 15_000)
    expect(moved.series.cpu).toEqual([2, 3, 4, 5])
    const silent = extended(moved, T0 + 6 * 15_000, {}, 5000)
    expect(silent.series.cpu).toEqual([4, 5, null, null])
    expect(old.series.cpu).toEqual([1, 2, 3, 4])
  })

  test('means a growing bucket over the samples it stands for', () => {
    let t = track([null])
    for (const [i, value] of [10, 20, 60].entries())
      t = extended(t, T0 + i * 5000, { cpu: { at: T0 + i * 5000, value } }, 5000)
    expect(t.series.cpu![0]).toBeCloseTo(30)
  })

  test('keeps its length, ends at now, and never invents a point', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.integer({ min: 0, max: 100 }), { nil: null }), { minLength: 1, maxLength: 50 }),
        fc.integer({ min: 0, max: 5_000_000 }),
        fc.option(fc.integer({ min: -1_000_000, max: 6_000_000 }), { nil: null }),
        (values, later, sampleAt) => {
          const now = T0 + (values.length - 1) * 15_000 + later
          const samples = sampleAt === null ? {} : { cpu: { at: T0 + sampleAt, value: 50 } }
          const next = extended(track(values), now, samples, 5000)
          expect(next.series.cpu).toHaveLength(values.length)
          expect(endOf(next)).toBeGreaterThan(now)
          expect(endOf(next) - next.stepMs).toBeLessThanOrEqual(now)
          const known = values.filter((v) => v !== null).length + (sampleAt === null ? 0 : 1)
          expect(next.series.cpu!.filter((v) => v !== null).length).toBeLessThanOrEqual(known)
        },
      ),
    )
  })
})

describe('gaps', () => {
  const at = (i: number) => T0 + i * 15_000
  test.each([
    ['nothing before the first point is a gap', [null, null, 1, 2], []],
    ['a hole is', [1, null, null, 2], [[1, 3]]],
    ['the end is, until now', [1, 2, null, null], [[2, 4]]],
    ['one bucket can be too short', [1, null, 2, 3], []],
    ['without any point there is none', [null, null, null, null], []],
  ])('%s', (_, values, gaps) => {
    const found = gapsOf(track(values), 'cpu', 30_000)
    expect(found).toEqual(gaps.map(([from, to]) => ({ from: at(from!), to: at(to!) })))
  })

  test('where the other has points there was nothing to say', () => {
    const t = track([1, null, null, null, null, 2], { rate: [3, 0, 0, null, null, 1] })
    expect(gapsOf(t, 'cpu', 30_000, 'rate')).toEqual([{ from: at(3), to: at(5) }])
  })

  test('merge without overlap', () => {
    const gap = (from: number, to: number) => ({ from, to })
    expect(merged([gap(5, 9), gap(1, 3), gap(2, 4), gap(9, 10)])).toEqual([gap(1, 4), gap(5, 10)])
  })
})

describe('small things', () => {
  test('extent leaves holes out', () => {
    expect(extent([null, 3, 1, null])).toEqual({ min: 1, max: 3, last: 1 })
    expect(extent([null])).toBeNull()
  })

  test('steps are round and about as many as asked', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e9, noNaN: true }), (span) => {
        const step = niceStep(span, 4)
        expect(span / step).toBeLessThanOrEqual(4.01)
        expect(span / step).toBeGreaterThan(1.5)
      }),
    )
  })

  test('tries wait longer and longer, at most half a minute, never at one beat', () => {
    expect([1, 2, 3, 4, 5, 6, 50].map((n) => backOff(n, 1))).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
    expect(backOff(1, 0)).toBe(500)
  })

  test('words for time', () => {
    expect([400, 8000, 660_000, 7_200_000, 200_000_000].map(short)).toEqual([
      '0\u202fs',
      '8\u202fs',
      '11\u202fmin',
      '2\u202fh',
      '2\u202fd',
    ])
    expect([400, 840_000, 3_600_000].map(spoken)).toEqual(['1 second', '14 minutes', '1 hour'])
    expect(ago(T0, T0 + 8000)).toBe('8\u202fs ago')
    expect(ago(T0, T0 + 90_000_000)).toBe('30 Jan 09:00')
    expect(moment(T0, T0 + 1000)).toBe('09:00')
    expect(moment(T0, T0 + 86_400_000)).toBe('30 Jan 09:00')
  })

  test.each([
    [{ change: 31.4, change_kind: 'absolute', unit: '%' }, '+31.4'],
    [{ change: -9.62, change_kind: 'absolute', unit: '%' }, '\u22129.6'],
    [{ change: 62, change_kind: 'percent', unit: 'req/s' }, '+62.0\u202f%'],
    [{ change: 0.001, change_kind: 'absolute', unit: 'ms' }, '0'],
    [{ change: -0.01, change_kind: 'absolute', unit: '%' }, '0'],
    [{ change: null, change_kind: 'absolute', unit: '%' }, null],
  ] as const)('%o is %s', (figure, text) => expect(change(figure)).toBe(text))

  test('ranges have one unit and one number when both are the same', () => {
    expect(between(44.31, 61.02, '%')).toBe('44.3–61.0')
    expect(between(100, 100)).toBe('100')
  })
})
