import fc from 'fast-check'
import { expect, test } from 'vitest'
import { durationHistogram } from './histogram.ts'

/** What the histogram promises: 1/256 of the value, or half a microsecond (and the part of a µs that is not counted). */
const tolerance = (ms: number) => Math.max(ms / 256, 0.001)

function exactQuantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(1, Math.ceil(q * sorted.length)) - 1]!
}

const durations = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.double({ min: 0, max: 5_000, noNaN: true }),
  fc.double({ min: 0, max: 4_000_000, noNaN: true }),
)

test('any quantile of any durations is the exact one, within the stated error', () => {
  fc.assert(
    fc.property(
      fc.array(durations, { minLength: 1, maxLength: 400 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const histogram = durationHistogram()
        for (const value of values) histogram.record(value)
        const exact = exactQuantile(values, q)
        expect(Math.abs(histogram.quantile(q)! - exact)).toBeLessThanOrEqual(tolerance(exact))
      },
    ),
    { numRuns: 2_000 },
  )
})

test('a window without durations has no quantile, also after a reset', () => {
  const histogram = durationHistogram()
  expect(histogram.quantile(0.5)).toBeNull()
  histogram.record(3)
  expect(histogram.count).toBe(1)
  histogram.reset()
  expect(histogram.quantile(0.99)).toBeNull()
  expect(histogram.count).toBe(0)
})

test('what is longer than it can count is counted as its longest', () => {
  const histogram = durationHistogram()
  histogram.record(1e12)
  histogram.record(-5)
  expect(histogram.quantile(0)).toBeLessThan(0.001)
  expect(histogram.quantile(1)! / 4_294_967).toBeCloseTo(1, 2)
})
