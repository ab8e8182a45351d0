/** Periods found in series, and none where there is none. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../base/random.ts'
import { findPeriod } from './periods.ts'

const DAY = 288
const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))

function normal(seedOf: number): () => number {
  const random = seededRandom(seedOf)
  return () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}
const made = (n: number, valueAt: (i: number) => number) => Float64Array.from({ length: n }, (_, i) => valueAt(i))

describe(`periods (seed ${seed})`, () => {
  test('a wave of any period is found, whatever the unit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 7, max: 130 }).filter((period) => DAY % period !== 0),
        fc.constantFrom(1, 1e-9, 1e9),
        fc.double({ min: -1e3, max: 1e3, noNaN: true }),
        (period, unit, level) => {
          const noise = normal(seed + period)
          const values = made(1600, (i) => unit * (level + 10 * Math.sin((2 * Math.PI * i) / period) + noise()))
          const found = findPeriod(values, DAY)!
          const rounds = Math.round(found.steps / period)
          // Closer to a fraction of the day than n values can tell apart (1/n, Rayleigh), the day's own shape takes a part of it.
          const ofDay = Math.abs(1 / period - Math.round(DAY / period) / DAY) < 1 / values.length
          const blur = ofDay ? period ** 2 / values.length : 0
          expect(Math.abs(found.steps - rounds * period)).toBeLessThanOrEqual((2 + blur) * rounds)
          expect(Math.abs(found.round - period)).toBeLessThanOrEqual(Math.max(1, 0.02 * period) + blur)
          expect(found.strength).toBeGreaterThan(0.6)
        },
      ),
      { seed, numRuns: 60 },
    )
  })

  test('noise of any memory has none, nor has a constant, a ramp, a day, a step', () => {
    for (let k = 0; k < 120; k++) {
      const noise = normal(seed + k)
      const memory = [0, 0.5, 0.8, 0.9, 0.97, 0.99][k % 6]!
      let level = 0
      const values = made([300, 1000, 4032][k % 3]!, () => (level = memory * level + noise()))
      expect(findPeriod(values, DAY), `memory ${memory}, run ${k}`).toBeNull()
    }
    const noise = normal(seed)
    expect(
      findPeriod(
        made(2000, () => 42),
        DAY,
      ),
    ).toBeNull()
    expect(
      findPeriod(
        made(2000, (i) => i),
        DAY,
      ),
    ).toBeNull()
    expect(
      findPeriod(
        made(2000, (i) => (i < 1000 ? 0 : 50) + noise()),
        DAY,
      ),
    ).toBeNull()
    expect(
      findPeriod(
        made(2000, (i) => 20 * Math.sin((2 * Math.PI * i) / DAY) + noise()),
        DAY,
      ),
    ).toBeNull()
    expect(findPeriod(new Float64Array(3), DAY)).toBeNull()
  })
})
