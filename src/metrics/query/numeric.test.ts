import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatTime } from './json.ts'
import { compensatedMean, formatPlain, formatShort, formatValue, quantile, sortValues } from './numeric.ts'
import { xxhash64 } from './xxhash.ts'

const any = fc.double()
const parsed = (text: string) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text))

test('what is printed reads back the same', () => {
  fc.assert(
    fc.property(any, (value) => {
      for (const format of [formatPlain, formatValue, formatShort]) expect(parsed(format(value))).toBe(value)
      expect(formatPlain(value)).not.toMatch(/e/)
      expect(formatValue(value)).not.toMatch(/e[+-]\d$/)
    }),
    { numRuns: 2000 },
  )
})

test.each([
  [0, '0', '0'],
  [-0, '-0', '-0'],
  [1, '1', '1'],
  [0.1, '0.1', '0.1'],
  [1e20, '100000000000000000000', '100000000000000000000'],
  [1e21, '1e+21', '1000000000000000000000'],
  [1.5e-7, '1.5e-07', '0.00000015'],
  [0.000001, '0.000001', '0.000001'],
  [1.7976931348623157e308, '1.7976931348623157e+308', `17976931348623157${'0'.repeat(292)}`],
  [5e-324, '5e-324', `0.${'0'.repeat(323)}5`],
  [Number.NaN, 'NaN', 'NaN'],
  [Infinity, '+Inf', '+Inf'],
  [-Infinity, '-Inf', '-Inf'],
  [123456789012345680, '123456789012345680', '123456789012345680'],
])('%s is printed as Prometheus prints it', (value, inApi, plain) => {
  expect([formatValue(value), formatPlain(value)]).toEqual([inApi, plain])
})

test.each([
  [0, '0'],
  [1000, '1'],
  [1500, '1.500'],
  [1700000000007, '1700000000.007'],
  [-1500, '-1.500'],
])('%i ms is %s', (ms, text) => {
  expect(formatTime(ms)).toBe(text)
})

test('a mean lies between the least and the largest, and forgets nothing', () => {
  const finite = fc.double({ noNaN: true, noDefaultInfinity: true })
  fc.assert(
    fc.property(fc.array(finite, { minLength: 1, maxLength: 30 }), (values) => {
      const mean = compensatedMean(values, 0, values.length)
      const [low, high] = [Math.min(...values), Math.max(...values)]
      const slack = 1e-12 * Math.max(Math.abs(low), Math.abs(high))
      expect(mean).toBeGreaterThanOrEqual(low - slack)
      expect(mean).toBeLessThanOrEqual(high + slack)
    }),
  )
  expect(compensatedMean([1e16, 1, -1e16, 1], 0, 4)).toBe(0.5)
  expect(compensatedMean([1.7e308, 1.7e308, 1.7e308], 0, 3)).toBe(1.7e308)
})

test('quantiles grow with q and are values or lie between two', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer(), { minLength: 1, maxLength: 20 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const sorted = [...values].sort((a, b) => a - b)
        const at = (x: number) => quantile(x, Float64Array.from(values), values.length)
        expect(at(0)).toBe(sorted[0])
        expect(at(1)).toBe(sorted.at(-1))
        expect(at(q)).toBeGreaterThanOrEqual(at(q / 2) - 1e-6)
      },
    ),
  )
  expect(quantile(0.5, Float64Array.of(3, 1, 2, 10), 4)).toBe(2.5)
  expect(quantile(0.5, new Float64Array(0), 0)).toBeNaN()
})

test('NaN sorts first', () => {
  expect([...sortValues(Float64Array.of(2, Number.NaN, -1, Number.NaN, Infinity), 5)]).toEqual([
    Number.NaN,
    Number.NaN,
    -1,
    2,
    Infinity,
  ])
})

// Test vectors of the algorithm's reference implementation, seed 0.
test.each([
  ['', 0xef46db3751d8e999n],
  ['a', 0xd24ec4f1a98c6e5bn],
  ['abc', 0x44bc2cf5ad770999n],
  ['Nobody inspects the spammish repetition', 0xfbcea83c8a378bf1n],
])('xxhash64 of %j', (text, hash) => {
  expect(xxhash64(new TextEncoder().encode(text))).toBe(hash)
})
