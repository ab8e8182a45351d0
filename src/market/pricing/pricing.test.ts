/** Pricing against rational arithmetic with sixty digits, and its laws over random markets of two to five outcomes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as exact from '../../../test/support/exact-lmsr.ts'
import { expMinus, ln, log1p } from './functions.ts'
import { ERROR_GRAINS, feeOn, LIQUIDITY_MAX, Maker, SOLD_MAX, valueDown, valueUp } from './lmsr.ts'

const { ONE } = exact

/** A double as the rational it is, scaled by ONE (all but 1e-60 of it). */
function scaled(x: number): bigint {
  let shift = 0
  let whole = x
  while (!Number.isInteger(whole)) {
    whole *= 2
    shift++
  }
  return (BigInt(whole) * ONE) >> BigInt(shift)
}

/** |computed - true| / |true| in units of 2^-53. */
function errorOf(computed: number, truth: bigint): number {
  const gap = scaled(computed) - truth
  return Number(((gap < 0n ? -gap : gap) * 2n ** 53n * 1000n) / (truth < 0n ? -truth : truth)) / 1000
}

describe('functions', () => {
  const inRange = (min: number, max: number) => fc.double({ min, max, noNaN: true })

  it('e^-x is within 2^-50 of the truth', () => {
    fc.assert(
      fc.property(fc.oneof(inRange(0, 1), inRange(0, 40)), (x) => {
        expect(errorOf(expMinus(x), exact.expMinus(scaled(x)))).toBeLessThan(8)
      }),
      { numRuns: 400 },
    )
    expect(expMinus(0)).toBe(1)
    expect(expMinus(1e6)).toBe(0)
  })

  it('ln(1 + y) is within 2^-50 of the truth', () => {
    fc.assert(
      fc.property(fc.oneof(inRange(1e-15, 1e-6), inRange(1e-6, 1), inRange(1, 20)), (y) => {
        expect(errorOf(log1p(y), exact.ln(ONE + scaled(y)))).toBeLessThan(8)
      }),
      { numRuns: 400 },
    )
    expect(log1p(0)).toBe(0)
  })

  it('ln v is within 2^-50 of max(1, |ln v|)', () => {
    fc.assert(
      fc.property(fc.oneof(inRange(1e-6, 2), inRange(1, 1e6)), (v) => {
        const truth = exact.ln(scaled(v))
        const gap = scaled(ln(v)) - truth
        const size = truth < 0n ? -truth : truth
        const error = Number(((gap < 0n ? -gap : gap) * 2n ** 53n) / (size > ONE ? size : ONE))
        expect(error).toBeLessThanOrEqual(8)
      }),
      { numRuns: 400 },
    )
  })

  it('gives the same bits as when this was written', () => {
    expect([expMinus(0.1), expMinus(1), expMinus(33.3), log1p(0.3), log1p(0.99), ln(0.07), ln(123456)]).toEqual([
      0.9048374180359595, 0.36787944117144233, 3.4513877443742162e-15, 0.26236426446749106, 0.688134638736401,
      -2.659260036932778, 11.7236400962654,
    ])
  })
})

const liquidities = fc.oneof(
  fc.bigInt({ min: 100_000_000n, max: BigInt(LIQUIDITY_MAX) }),
  fc.constantFrom(100_000_000n, BigInt(LIQUIDITY_MAX)),
)
/** Shares out: alike, near, and as far apart as a market can be. */
const outs = (n: number) =>
  fc.oneof(
    fc.array(fc.integer({ min: 0, max: 50_000_000 }), { minLength: n, maxLength: n }),
    fc.array(fc.integer({ min: 0, max: SOLD_MAX }), { minLength: n, maxLength: n }),
    fc.integer({ min: 0, max: SOLD_MAX }).map((x) => Array.from({ length: n }, (_, i) => (i === 0 ? x : 0))),
  )
const markets = fc
  .integer({ min: 2, max: 5 })
  .chain((n) => fc.record({ liquidity: liquidities, sold: outs(n), outcome: fc.nat(n - 1) }))
const amounts = fc.oneof(
  fc.integer({ min: 1, max: 50 }),
  fc.integer({ min: 1, max: 100_000_000 }),
  fc.integer({ min: 1, max: SOLD_MAX }),
)
const makerOf = (m: { liquidity: bigint; sold: number[] }): Maker => new Maker(m.liquidity, m.sold.map(BigInt))

describe('the maker', () => {
  it('never sells below the true cost, nor buys above it, and is at most a unit and two errors off', () => {
    const off = (ONE * BigInt(1000 + 4 * ERROR_GRAINS)) / 1000n
    fc.assert(
      fc.property(markets, amounts, (m, amount) => {
        const before = exact.costFunction(m.liquidity, m.sold.map(BigInt))
        const more = m.sold.map((q, i) => BigInt(i === m.outcome ? q + amount : q))
        const truth = exact.costFunction(m.liquidity, more) - before
        const cost = BigInt(makerOf(m).move('buy', m.outcome, amount)) * ONE
        expect(cost >= truth).toBe(true)
        // The least that anything costs is one unit.
        expect(cost - truth <= off || cost === ONE).toBe(true)
        const less = Math.min(amount, m.sold[m.outcome]!)
        if (less === 0) return
        const rest = m.sold.map((q, i) => BigInt(i === m.outcome ? q - less : q))
        const worth = before - exact.costFunction(m.liquidity, rest)
        const got = BigInt(makerOf(m).move('sell', m.outcome, less)) * ONE
        expect(got <= worth).toBe(true)
        expect(worth - got <= off).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('sells no part of a trade cheaper, and buys none dearer, than the whole', () => {
    fc.assert(
      fc.property(
        markets,
        amounts,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
        (m, all, cuts) => {
          const points = [0, ...cuts.map((c) => Math.floor(c * all)).sort((a, b) => a - b), all]
          const parts = points
            .slice(1)
            .map((p, i) => p - points[i]!)
            .filter((p) => p > 0)
          const whole = makerOf(m)
          const split = makerOf(m)
          const cost = whole.move('buy', m.outcome, all)
          let costs = 0
          for (const part of parts) costs += split.move('buy', m.outcome, part)
          expect(costs).toBeGreaterThanOrEqual(cost)
          const back = whole.move('sell', m.outcome, all)
          let backs = 0
          for (const part of parts) backs += split.move('sell', m.outcome, part)
          expect(backs).toBeLessThanOrEqual(back)
          // And there and back never gains.
          expect(back).toBeLessThanOrEqual(cost)
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('has what it may have to pay after any trades, and loses at most the liquidity', () => {
    const steps = fc.array(fc.tuple(fc.boolean(), fc.nat(4), amounts), { maxLength: 40 })
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 5 }), liquidities, steps, (n, liquidity, trades) => {
        const maker = new Maker(
          liquidity,
          Array.from({ length: n }, () => 0n),
        )
        let pool = Number(liquidity)
        for (const [buys, which, amount] of trades) {
          const outcome = which % n
          const out = maker.sold[outcome]!
          const shares = buys ? Math.min(amount, SOLD_MAX - out) : Math.min(amount, out)
          if (shares === 0) continue
          const value = maker.move(buys ? 'buy' : 'sell', outcome, shares)
          pool += buys ? value : -value
          expect(pool).toBeGreaterThanOrEqual(Math.max(...maker.sold) * 100)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('shows prices within half a millionth of the truth; they make one', () => {
    fc.assert(
      fc.property(markets, (m) => {
        const prices = makerOf(m).prices()
        expect(prices.reduce((a, x) => a + x)).toBe(1_000_000n)
        prices.forEach((price, i) => {
          const truth = exact.price(m.liquidity, m.sold.map(BigInt), i)
          const gap = price * (ONE / 1_000_000n) - truth
          // The likeliest of several takes what rounding left of the others.
          const halves = BigInt(m.sold.length)
          expect((gap < 0n ? -gap : gap) <= (halves * ONE) / 2_000_000n + ONE / 10n ** 12n).toBe(true)
        })
      }),
      { numRuns: 300 },
    )
  })

  it('knows how far a price reaches: not beyond it, and the next unit but one is', () => {
    fc.assert(
      fc.property(markets, fc.integer({ min: 1, max: 999_999 }), fc.constantFrom('buy', 'sell'), (m, limit, side) => {
        const units = makerOf(m).reach(side as 'buy' | 'sell', m.outcome, limit)
        const bound = (BigInt(limit) * ONE) / 1_000_000n
        const sign = side === 'buy' ? 1 : -1
        const at = (shares: number): bigint =>
          exact.price(
            m.liquidity,
            m.sold.map((q, i) => BigInt(i === m.outcome ? q + sign * shares : q)),
            m.outcome,
          )
        const isBeyond = (p: bigint): boolean => (side === 'buy' ? p > bound : p < bound)
        if (units > 1) expect(isBeyond(at(units - 1))).toBe(false)
        expect(isBeyond(at(units + 2))).toBe(true)
      }),
      { numRuns: 200 },
    )
  })
})

it('values and fees in doubles are those of whole arithmetic', () => {
  fc.assert(
    fc.property(
      amounts,
      fc.integer({ min: 1, max: 999_999 }),
      fc.integer({ min: 0, max: 100_000 }),
      (shares, price, rate) => {
        const product = BigInt(shares) * BigInt(price)
        expect(BigInt(valueDown(shares, price))).toBe(product / 10_000n)
        expect(BigInt(valueUp(shares, price))).toBe((product + 9_999n) / 10_000n)
        const value = shares * 100
        expect(BigInt(feeOn(value, rate))).toBe((BigInt(value) * BigInt(rate) + 999_999n) / 1_000_000n)
      },
    ),
    { numRuns: 2000 },
  )
})
