/** The simulated traders: what they want is possible, and the informed bring the price to the truth. */
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../base/random.ts'
import { act, KINDS, kindOf, logistic, logit, type Seen, walk } from './population.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))
const market: Seen = { id: 'm', price: 0.5, before: 0.5, liquidity: 200, minTrade: 1, maxTrade: 10_000 }

describe(`population, seed ${seed}`, () => {
  test.each(KINDS)('%s traders ask for nothing that they cannot have', (kind) => {
    const random = seededRandom(seed)
    for (let i = 0; i < 5_000; i++) {
      const price = 0.01 + 0.98 * random.next()
      const seen = { ...market, price, before: Math.min(0.99, Math.max(0.01, price + 0.1 * (random.next() - 0.5))) }
      const wallet = {
        credit: 500 * random.next() ** 3,
        shares: [40 * random.next() ** 2, 40 * random.next() ** 2] as const,
        orders: i % 3,
      }
      const chosen = act(kind, seen, wallet, 2 * random.next() - 1, random)
      if (chosen === null || chosen.type === 'cancel') continue
      expect(chosen.amount).toBeGreaterThanOrEqual(seen.minTrade)
      const held = wallet.shares[chosen.outcome === 'outcome_a' ? 0 : 1]
      if (chosen.side === 'sell') expect(chosen.amount).toBeLessThanOrEqual(held)
      else if (chosen.type === 'order') expect(chosen.amount * chosen.price).toBeLessThan(wallet.credit)
    }
  })

  test('the informed bring the price to the truth', () => {
    const random = seededRandom(seed)
    const truth = logit(0.8)
    const b = market.liquidity / Math.LN2
    let price = 0.5
    for (let i = 0; i < 200; i++) {
      const wallet = { credit: 1_000, shares: [0, 0] as const, orders: 0 }
      const chosen = act('informed', { ...market, price }, wallet, truth, random)
      if (chosen?.type !== 'trade') continue
      price = logistic(logit(price) + ((chosen.outcome === 'outcome_a' ? 1 : -1) * chosen.amount) / b)
    }
    expect(price).toBeGreaterThan(0.65)
    expect(price).toBeLessThan(0.92)
  })

  test('the truth stays in reach, whatever the step of time', () => {
    const random = seededRandom(seed)
    for (const seconds of [2, 600, 100_000]) {
      let x = 0
      let most = 0
      for (let i = 0; i < 10_000; i++) {
        x = walk(x, seconds, random)
        most = Math.max(most, Math.abs(x))
      }
      expect(most).toBeLessThan(8)
    }
  })

  test('every kind is there among the first six', () => {
    expect(new Set([0, 1, 2, 3, 4, 5].map(kindOf))).toEqual(new Set(KINDS))
  })
})
