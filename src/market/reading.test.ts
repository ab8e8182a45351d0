/** The cache of an instance: what may be shared between those who ask, and what may not. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { TestStore } from '../../test/support/market-store.ts'
import { draft, writerInProcess } from '../../test/support/market-store.ts'
import { createByteCache } from '../base/cache.ts'
import { fakeClock } from '../base/clock.ts'
import type { MarketId, Shares, Side, UserId } from './model.ts'
import { createReading } from './reading.ts'
import { Client } from './store/store.contract.ts'

let store: TestStore
let id: MarketId
beforeAll(async () => {
  store = await writerInProcess()
})
afterAll(() => store?.close())

async function someone(name: string): Promise<Client> {
  const userId = name as UserId
  const client = new Client(() => store, { userId, kind: 'trader' })
  await client.does('account', { type: 'open_account', userId, username: name })
  return client
}

function quotes() {
  const cache = createByteCache<unknown>(() => 1 << 20)
  const reading = createReading(store.reads, cache, fakeClock(store.now()))
  const quote = async (userId: UserId | null, side: Side, shares: Shares) => {
    const found = await reading.quote({ marketId: id, userId, side, outcome: 0, shares })
    return typeof found === 'string' ? (JSON.parse(found) as { cost: string; amount_from_book: number }) : found
  }
  return { cache, quote }
}

test('a quote is made once for all to whom it is the same', async () => {
  const [creator, maker, taker, other] = await Promise.all(['ann', 'ben', 'cyd', 'dan'].map(someone))
  const closesAt = store.now() + 1e9
  id = (await creator!.does('market', { type: 'create_market', draft: draft(closesAt) })).marketId
  await maker!.trade(id, 'buy', 0, 50)
  const { prices } = (await store.reads.market(id, store.now()))!
  await maker!.order(id, 'sell', 0, 20, Number(prices[0]) + 1_000)

  const { cache, quote } = quotes()
  const anybody = await quote(null, 'buy', 400_000n)
  expect(anybody).toMatchObject({ amount_from_book: 20 })
  const entries = cache.entries
  for (const { id: userId } of [taker!, other!]) expect(await quote(userId, 'buy', 400_000n)).toEqual(anybody)
  expect(cache.entries).toBe(entries)

  // One's own order is no counterpart: it would be cancelled.
  const own = await quote(maker!.id, 'buy', 400_000n)
  expect(own).toMatchObject({ amount_from_book: 0 })
  const { trade } = await maker!.trade(id, 'buy', 0, 40)
  expect(own).toMatchObject({ cost: (Number(trade.value) / 1e6).toFixed(6) })
})

test('less than the least may be sold by whoever holds no more', async () => {
  const holder = await someone('eve')
  await holder.trade(id, 'buy', 0, 2)
  const sell = { type: 'trade', marketId: id, side: 'sell', outcome: 0, limit: null, version: null } as const
  await holder.does('trade', { ...sell, shares: 15_000n })
  const { quote } = quotes()
  expect(await quote(null, 'sell', 5_000n)).toMatchObject({ invalid: 'amount_below_minimum' })
  expect(await quote('cyd' as UserId, 'sell', 5_000n)).toMatchObject({ invalid: 'amount_below_minimum' })
  const own = await quote(holder.id, 'sell', 5_000n)
  const { trade } = await holder.does('trade', { ...sell, shares: 5_000n })
  expect(own).toMatchObject({ cost: (Number(trade.value) / 1e6).toFixed(6) })
})
