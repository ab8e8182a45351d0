import fc from 'fast-check'
import { expect, test } from 'vitest'
import { meeting, placeIn } from './book.ts'
import type { OrderRow } from './books.ts'
import { plan } from './match.ts'
import { MemoryBooks } from './memory-books.ts'
import type { MarketId, OrderId, Outcome, UserId } from './model.ts'
import type { BookLevel } from './reads.ts'

const id = 'm' as MarketId
const orders = fc.array(
  fc.record({
    outcome: fc.constantFrom(0, 1),
    side: fc.constantFrom('buy', 'sell'),
    // All on the far side of the maker's price of a half, as what rests is.
    away: fc.integer({ min: 1, max: 20 }),
    remainingShares: fc.bigInt({ min: 1n, max: 50_000n }),
  }),
  { maxLength: 30 },
)

test('the first levels of both outcomes are what a taker meets, in that order', () => {
  fc.assert(
    fc.property(orders, fc.constantFrom(0, 1), fc.constantFrom('buy', 'sell'), (given, outcome, side) => {
      const books = new MemoryBooks()
      const rows = given.map(({ away, ...order }, i) => {
        const limit = BigInt(500_000 + (order.side === 'buy' ? -away : away) * 20_000)
        return { ...order, limit, id: `o${i}` as OrderId, priority: i, marketId: id, userId: 'maker' as UserId }
      })
      const open = { state: 'pending', expiresAt: null, clientOrderId: null } as const
      books.apply({
        accounts: [],
        markets: [],
        holdings: [],
        disputes: [],
        orders: rows.map((row) => ({ ...row, ...open }) as unknown as OrderRow),
      })
      const resting = (of: Outcome) => {
        const levels = (wanted: string) => {
          const found = new Map<bigint, BookLevel>()
          for (const { limit, remainingShares } of books.resting(id, of, wanted as 'buy')) {
            const { shares, orders } = found.get(limit!) ?? { shares: 0n, orders: 0 }
            found.set(limit!, { price: limit!, shares: shares + remainingShares, orders: orders + 1 })
          }
          return [...found.values()]
        }
        return { bids: levels('buy'), asks: levels('sell') }
      }
      const book = meeting(resting(outcome), resting(1 - outcome), 100)
      const shown = side === 'buy' ? book.asks : book.bids
      // A taker of more than there is, at a maker that has hardly any liquidity to give in between.
      const market = {
        id,
        prices: [500_000n, 500_000n],
        sold: [10n ** 9n, 10n ** 9n],
        draft: { liquidity: 100_000_000n, feeRate: 0n },
      }
      const taker = { userId: 'taker' as UserId, side: side as 'buy', outcome, shares: 500_000_000, limit: null }
      const met = new Map<bigint, bigint>()
      for (const { order, shares } of plan(books, market as never, taker, 0).legs) {
        if (order === null) continue
        const place = placeIn(outcome, { outcome: order.outcome, side: order.side, limit: order.limit! })
        expect(place.side).toBe(side === 'buy' ? 'asks' : 'bids')
        met.set(place.price, (met.get(place.price) ?? 0n) + BigInt(shares))
      }
      expect(shown.map(({ price, shares }) => [price, shares])).toEqual([...met])
      expect(meeting(resting(outcome), resting(1 - outcome), 2)).toEqual({
        bids: book.bids.slice(0, 2),
        asks: book.asks.slice(0, 2),
      })
    }),
  )
})
