/**
 * What every store of the market has to hold: the same for the writer in this process, for the writer as a process that
 * is killed, and for PostgreSQL. `time` says whether the store's clock can be put forward.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { draft, type TestStore } from '../../../test/support/market-store.ts'
import { seededRandom } from '../../base/random.ts'
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import type { Actor, Answer, Command, Done, Envelope } from '../commands.ts'
import type { MarketEvent } from '../events.ts'
import { audit, balancesOf } from '../ledger/audit.ts'
import type { MarketDraft, MarketId, Outcome, Side, UserId } from '../model.ts'
import type { MarketFilter } from '../reads.ts'

let unique = 0
const next = () => `${process.pid}-${++unique}-${Math.random().toString(36).slice(2, 8)}`

export const everything: MarketFilter = { category: null, state: null, trending: false, search: null, sort: 'new' }

/** Somebody who asks. */
export class Client {
  readonly #store: () => TestStore
  readonly actor: Actor
  constructor(store: () => TestStore, actor: Actor) {
    this.#store = store
    this.actor = actor
  }
  get id(): UserId {
    return this.actor.userId!
  }
  envelope(command: Command, key: string = next()): Envelope {
    return {
      key,
      fingerprint: JSON.stringify(command, (_, v) => (typeof v === 'bigint' ? String(v) : v)),
      actor: this.actor,
      command,
    }
  }
  ask(command: Command, key?: string): Promise<Answer> {
    return this.#store().commands.submit(this.envelope(command, key))
  }
  /** The answer to what has to work. */
  async does<T extends Done['type']>(type: T, command: Command, key?: string): Promise<Extract<Done, { type: T }>> {
    const answer = await this.ask(command, key)
    if (!answer.ok) throw new Error(`${command.type} was refused: ${answer.refusal.code}, ${answer.refusal.detail}`)
    expect(answer.done.type).toBe(type)
    return answer.done as Extract<Done, { type: T }>
  }
  async refused(command: Command, key?: string): Promise<string> {
    const answer = await this.ask(command, key)
    return answer.ok ? 'not refused' : answer.refusal.code
  }
  trade(marketId: MarketId, side: Side, outcome: Outcome, shares: number, key?: string) {
    return this.does(
      'trade',
      { type: 'trade', marketId, side, outcome, shares: BigInt(shares) * 10_000n, limit: null, version: null },
      key,
    )
  }
  order(marketId: MarketId, side: Side, outcome: Outcome, shares: number, limit: number, more = {}) {
    return this.does('order', {
      type: 'place_order',
      marketId,
      orderType: 'limit',
      side,
      outcome,
      shares: BigInt(shares) * 10_000n,
      limit: BigInt(limit),
      timeInForce: 'gtc',
      expiresAt: null,
      clientOrderId: null,
      ...more,
    })
  }
}

export async function checkBooks(store: TestStore): Promise<void> {
  const rows = await store.rows()
  expect(audit(rows).faults).toEqual([])
  const balances = balancesOf(rows.transfers)
  const of = (account: string, id: string) => balances.get(`money/${account}/${id}`) ?? 0n
  for (const row of rows.accounts) {
    expect([row.userId, of('available', row.userId), of('reserved', row.userId)]).toEqual([
      row.userId,
      row.available,
      row.reserved,
    ])
  }
  for (const row of rows.markets) {
    expect([row.id, of('pool', row.id), of('escrow', row.id), of('fees', row.id)]).toEqual([
      row.id,
      row.pool,
      row.escrow,
      row.fees,
    ])
  }
}

export function testMarketStore(name: string, open: () => Promise<TestStore>, can: { time: boolean }): void {
  describe(name, () => {
    let store: TestStore
    const at = () => store
    const admin = () => new Client(at, { userId: null, kind: 'admin' })
    async function someone(): Promise<Client> {
      const userId = `u-${next()}` as UserId
      const client = new Client(at, { userId, kind: 'trader' })
      await client.does('account', { type: 'open_account', userId, username: userId })
      return client
    }
    async function market(creator: Client, changes: Partial<MarketDraft> = {}): Promise<MarketId> {
      const done = await creator.does('market', {
        type: 'create_market',
        draft: draft(store.now() + 40 * DAY, changes),
      })
      return done.marketId
    }
    const available = async (client: Client) => (await store.reads.account(client.id))!.available

    beforeAll(async () => {
      store = await open()
    })
    afterAll(async () => {
      await checkBooks(store)
      await store.close()
    })

    test('opens an account once, with its grant', async () => {
      const client = await someone()
      const again = await client.does('account', { type: 'open_account', userId: client.id, username: 'other' })
      expect(again.created).toBe(false)
      expect(await store.reads.account(client.id)).toMatchObject({ available: 1_000_000_000n, reserved: 0n, trades: 0 })
    })

    test('opens an account once when two ask at the same moment', async () => {
      const userId = `u-${next()}` as UserId
      const client = new Client(at, { userId, kind: 'trader' })
      const all = await Promise.all(
        Array.from({ length: 8 }, () => client.does('account', { type: 'open_account', userId, username: 'x' })),
      )
      expect(all.filter((done) => done.created)).toHaveLength(1)
      expect(await available(client)).toBe(1_000_000_000n)
    })

    test('trades as it quoted, to the unit, and shows it at once', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const id = await market(creator)
      const shares = 123_456n
      const quote = await store.reads.quote(
        { marketId: id, userId: buyer.id, side: 'buy', outcome: 0, shares },
        store.now(),
      )
      if (quote === null || 'invalid' in quote) throw new Error(JSON.stringify(quote))
      const { trade } = await buyer.does('trade', {
        type: 'trade',
        marketId: id,
        side: 'buy',
        outcome: 0,
        shares,
        limit: quote.averagePrice,
        version: quote.version,
      })
      expect(trade).toMatchObject({
        shares,
        value: quote.value,
        fee: quote.fee,
        averagePrice: quote.averagePrice,
        priceAfter: quote.priceAfter,
      })
      expect(await available(buyer)).toBe(1_000_000_000n - quote.value - quote.fee)
      const view = (await store.reads.market(id, store.now()))!
      expect(view).toMatchObject({
        version: trade.version,
        trades: 1,
        traders: 1,
        volumeTotal: quote.value,
        volume24h: quote.value,
        state: 'open',
        title: 'Will it rain?',
        tags: ['rain', 'hamburg'],
        change24h: null,
      })
      expect(view.prices[0]).toBe(quote.priceAfter)
      expect(await store.reads.trade(trade.id)).toEqual(trade)
      expect(await store.reads.trades({ marketId: id }, { skip: 0, limit: 10 })).toEqual({ rows: [trade], total: 1 })
      const { rows, total } = await store.reads.positions(buyer.id, true, { skip: 0, limit: 10 })
      expect(total).toBe(1)
      expect(rows[0]).toMatchObject({ shares, cost: quote.value + quote.fee, isActive: true, marketId: id })
      expect(await store.reads.position(buyer.id, rows[0]!.id)).toEqual(rows[0])
      expect(await store.reads.position(creator.id, rows[0]!.id)).toBeNull()
      expect(await store.reads.holdings(buyer.id, id)).toEqual(rows)
      expect(await store.reads.holdings(creator.id, id)).toEqual([])
    })

    test('quotes what the book and the maker give together', async () => {
      const [creator, maker, taker] = [await someone(), await someone(), await someone()]
      const id = await market(creator)
      await maker.trade(id, 'buy', 0, 50)
      const { prices } = (await store.reads.market(id, store.now()))!
      await maker.order(id, 'sell', 0, 20, Number(prices[0]) + 1_000)
      const ask = { marketId: id, userId: taker.id, side: 'buy', outcome: 0, shares: 400_000n } as const
      const quote = await store.reads.quote(ask, store.now())
      expect(quote?.resting).toEqual(new Set([maker.id]))
      const { trade } = await taker.trade(id, 'buy', 0, 40)
      expect(quote).toMatchObject({ value: trade.value, fee: trade.fee, fromBook: 200_000n })
      expect(trade.fills.map((fill) => fill.against).sort()).toEqual(['book', 'maker'])
      // The owner of the order sees its part of it as a trade of their own.
      expect((await store.reads.trades({ userId: maker.id }, { skip: 0, limit: 10 })).total).toBe(2)
      expect(await store.reads.quote({ ...ask, shares: 1n }, store.now())).toMatchObject({
        invalid: 'amount_below_minimum',
      })
      expect(await store.reads.quote({ ...ask, marketId: 'none' as MarketId }, store.now())).toBeNull()
    })

    test('answers a key as it did the first time, and refuses it for anything else', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const id = await market(creator)
      const key = next()
      const first = await buyer.trade(id, 'buy', 1, 5, key)
      const left = await available(buyer)
      expect(await buyer.trade(id, 'buy', 1, 5, key)).toEqual(first)
      expect(await available(buyer)).toBe(left)
      const other: Command = { type: 'cancel_all', marketId: null }
      expect(await buyer.refused(other, key)).toBe('idempotency_clash')
      store = await store.again()
      expect(await buyer.trade(id, 'buy', 1, 5, key)).toEqual(first)
      expect(await available(buyer)).toBe(left)
    })

    test('does once what is asked many times at one moment', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const id = await market(creator)
      const key = next()
      const all = await Promise.all(Array.from({ length: 24 }, () => buyer.trade(id, 'buy', 0, 3, key)))
      expect(new Set(all.map((done) => done.trade.id)).size).toBe(1)
      expect((await store.reads.trades({ userId: buyer.id }, { skip: 0, limit: 10 })).total).toBe(1)
    })

    test('keeps what it was told when it ends, and refusals change nothing', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const id = await market(creator)
      await buyer.trade(id, 'buy', 0, 10)
      await buyer.order(id, 'buy', 0, 5, 100_000, { clientOrderId: 'mine' })
      expect(await buyer.refused({ type: 'close_market', marketId: id })).toBe('not_yours')
      const before = [await store.reads.market(id, 0), await store.reads.account(buyer.id)]
      store = await store.again()
      expect([await store.reads.market(id, 0), await store.reads.account(buyer.id)]).toEqual(before)
      const [order] = (await store.reads.orders(buyer.id, { state: 'pending' }, { skip: 0, limit: 10 })).rows
      expect(order).toMatchObject({ clientOrderId: 'mine', limit: 100_000n, remainingShares: 50_000n })
      const ended = await buyer.does('order', { type: 'cancel_order', orderId: order!.id })
      expect(ended.order).toMatchObject({ id: order!.id, state: 'cancelled' })
      expect(await buyer.refused({ type: 'cancel_order', orderId: order!.id })).toBe('order_done')
      expect(await store.reads.order(buyer.id, order!.id)).toMatchObject({ state: 'cancelled' })
      expect(await store.reads.order(creator.id, order!.id)).toBeNull()
    })

    test('finds a client’s order by its name, also when it is done', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const id = await market(creator)
      const { order } = await buyer.order(id, 'buy', 0, 5, 100_000, { clientOrderId: 'n1' })
      await buyer.does('cancelled', { type: 'cancel_all', marketId: null })
      const again = await buyer.ask({
        type: 'place_order',
        marketId: id,
        orderType: 'limit',
        side: 'buy',
        outcome: 0,
        shares: 50_000n,
        limit: 100_000n,
        timeInForce: 'gtc',
        expiresAt: null,
        clientOrderId: 'n1',
      })
      if (again.ok) expect(again.done).toMatchObject({ type: 'order', order: { id: order.id } })
      expect((await store.reads.orders(buyer.id, {}, { skip: 0, limit: 10 })).total).toBe(1)
    })

    test('shows the book by levels and orders by state and market', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const [id, other] = [await market(creator), await market(creator)]
      for (const limit of [300_000, 200_000, 300_000, 100_000]) await buyer.order(id, 'buy', 0, 2, limit)
      await buyer.order(other, 'buy', 1, 2, 100_000)
      const { bids, asks } = await store.reads.book(id, 0, 2)
      expect(bids).toEqual([
        { price: 300_000n, shares: 40_000n, orders: 2 },
        { price: 200_000n, shares: 20_000n, orders: 1 },
      ])
      expect(asks).toEqual([])
      const page = { skip: 1, limit: 2 }
      const mine = await store.reads.orders(buyer.id, { marketId: id }, page)
      expect([mine.total, mine.rows.length]).toEqual([4, 2])
      const done = await buyer.does('cancelled', { type: 'cancel_all', marketId: id })
      expect(done.orders).toHaveLength(4)
      expect((await store.reads.orders(buyer.id, { state: 'pending' }, page)).total).toBe(1)
      expect((await store.reads.book(id, 0, 10)).bids).toEqual([])
    })

    test('64 clients at once: every trade counted, nothing from nothing, versions without a gap', async () => {
      const creator = await someone()
      const markets = [await market(creator), await market(creator)]
      const clients = await Promise.all(Array.from({ length: 64 }, someone))
      const events: MarketEvent[] = []
      const end = store.commands.subscribe({ event: (event) => void events.push(event), missed: () => {} })
      const first = await Promise.all(markets.map((id) => store.reads.market(id, 0)))
      await Promise.all(
        clients.map(async (client, i) => {
          for (let n = 0; n < 4; n++) {
            const id = markets[(i + n) % 2]!
            if (n === 3) await client.trade(id, 'sell', i % 2, 1)
            else if (n === 2)
              await client.order(id, i % 3 === 0 ? 'sell' : 'buy', i % 2, 1, i % 3 === 0 ? 700_000 : 300_000)
            else await client.trade(id, 'buy', i % 2, 2 + (i % 5))
          }
        }),
      )
      const last = await Promise.all(markets.map((id) => store.reads.market(id, 0)))
      await expect
        .poll(() => events.filter((e) => markets.includes(e.marketId)).length)
        .toBe(last.reduce((sum, m, i) => sum + m!.version - first[i]!.version, 0))
      end()
      for (const [i, id] of markets.entries()) {
        const seqs = events.filter((e) => e.marketId === id).map((e) => e.seq)
        expect(seqs).toEqual(seqs.map((_, n) => first[i]!.version + 1 + n))
        const { rows, total } = await store.reads.trades({ marketId: id }, { skip: 0, limit: 1000 })
        expect([rows.length, last[i]!.trades]).toEqual([total, total])
        expect(rows.reduce((sum, trade) => sum + trade.value, 0n)).toBe(last[i]!.volumeTotal)
      }
      await checkBooks(store)
    })

    test('nobody spends a credit twice', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      const ids = [await market(creator), await market(creator), await market(creator)]
      const all = await Promise.all(
        Array.from({ length: 30 }, (_, i) =>
          buyer.ask({
            type: 'trade',
            marketId: ids[i % 3]!,
            side: 'buy',
            outcome: 0,
            shares: 1_000_000n,
            limit: null,
            version: null,
          }),
        ),
      )
      const spent = all.reduce(
        (sum, a) => sum + (a.ok && a.done.type === 'trade' ? a.done.trade.value + a.done.trade.fee : 0n),
        0n,
      )
      expect(all.some((a) => !a.ok && a.refusal.code === 'insufficient_funds')).toBe(true)
      expect(await available(buyer)).toBe(1_000_000_000n - spent)
    })

    test('resolves, holds payouts while it may be disputed, pays once what is decided', async () => {
      const [creator, winner, loser] = [await someone(), await someone(), await someone()]
      store.settings.disputeWindowMs = can.time ? DAY : 0
      const id = await market(creator)
      await winner.trade(id, 'buy', 0, 10)
      await loser.trade(id, 'buy', 1, 10)
      await loser.order(id, 'buy', 1, 5, 100_000)
      const before = await available(winner)
      await admin().does('market', { type: 'close_market', marketId: id })
      const resolved = await admin().does('resolved', {
        type: 'resolve_market',
        marketId: id,
        resolution: { kind: 'outcome', outcome: 0 },
        source: 'the weather service',
      })
      if (can.time) {
        expect(resolved.finalAt).not.toBeNull()
        expect(await available(winner)).toBe(before)
        await loser.does('dispute', {
          type: 'open_dispute',
          marketId: id,
          disputeType: 'wrong_outcome',
          reason: 'it was dry',
          evidence: null,
        })
        expect((await store.reads.market(id, store.now()))!.state).toBe('disputed')
        expect((await store.reads.disputes(id, { skip: 0, limit: 10 })).rows[0]).toMatchObject({ state: 'open' })
        await admin().does('resolved', {
          type: 'decide_disputes',
          marketId: id,
          resolution: { kind: 'outcome', outcome: 0 },
          note: 'it rained',
        })
        expect((await store.reads.disputes(id, { skip: 0, limit: 10 })).rows[0]).toMatchObject({ state: 'rejected' })
      }
      expect(await available(winner)).toBe(before + 10_000_000n)
      expect(
        await winner.refused({
          type: 'trade',
          marketId: id,
          side: 'buy',
          outcome: 0,
          shares: 10_000n,
          limit: null,
          version: null,
        }),
      ).toBe('market_not_open')
      expect(await store.reads.account(winner.id)).toMatchObject({ winRate: 100, portfolioValue: 0n })
      expect(await store.reads.account(loser.id)).toMatchObject({ winRate: 0, reserved: 0n })
      expect((await store.reads.market(id, store.now()))!.resolutionSource).toBe('the weather service')
      expect((await store.reads.positions(winner.id, true, { skip: 0, limit: 10 })).total).toBe(0)
      expect((await store.reads.positions(winner.id, false, { skip: 0, limit: 10 })).total).toBe(1)
      store.settings.disputeWindowMs = 0
    })

    test.runIf(can.time)('closes, expires and pays by itself when the time has come', async () => {
      const [creator, buyer] = [await someone(), await someone()]
      store.settings.disputeWindowMs = HOUR
      const id = await market(creator, { closesAt: store.now() + 2 * HOUR })
      await buyer.trade(id, 'buy', 0, 10)
      const { order } = await buyer.order(id, 'buy', 0, 5, 100_000, { expiresAt: store.now() + HOUR })
      const late = await buyer.order(id, 'buy', 0, 5, 100_000)
      store.shift(HOUR + MINUTE)
      await expect
        .poll(async () => (await store.reads.order(buyer.id, order.id))!.state, { timeout: 20_000 })
        .toBe('expired')
      store.shift(HOUR)
      expect((await store.reads.market(id, store.now()))!.state).toBe('closed')
      expect(
        await buyer.refused({
          type: 'trade',
          marketId: id,
          side: 'buy',
          outcome: 0,
          shares: 10_000n,
          limit: null,
          version: null,
        }),
      ).toBe('market_not_open')
      await expect
        .poll(async () => (await store.reads.order(buyer.id, late.order.id))!.state, { timeout: 20_000 })
        .not.toBe('pending')
      await creator.does('resolved', {
        type: 'resolve_market',
        marketId: id,
        resolution: { kind: 'outcome', outcome: 0 },
        source: 'seen',
      })
      const before = await available(buyer)
      store.shift(HOUR + MINUTE)
      await expect.poll(() => available(buyer), { timeout: 20_000 }).toBe(before + 10_000_000n)
      store.settings.disputeWindowMs = 0
    })

    test('lists markets page by page, filtered, sorted and searched', async () => {
      const creator = await someone()
      const rich = await someone()
      const word = `w${next().replaceAll('-', '')}`
      const made: MarketId[] = []
      for (let i = 0; i < 9; i++) {
        const who = i < 5 ? creator : rich
        made.push(
          await market(who, {
            title: `${word} Frage ${i} Über Äpfel`,
            category: i % 2 === 0 ? 'sports' : 'science',
            tags: i === 3 ? ['seltenes-wort'] : [],
            closesAt: store.now() + (10 - i) * DAY,
          }),
        )
      }
      const buyer = await someone()
      await buyer.trade(made[4]!, 'buy', 0, 40)
      await buyer.trade(made[7]!, 'buy', 0, 20)
      const search = { ...everything, search: word }
      const list = async (filter: MarketFilter, skip = 0, limit = 20) => {
        const { rows, total } = await store.reads.markets(filter, { skip, limit }, store.now())
        return { ids: rows.map((m) => m.id), total }
      }
      const newest = [...made].reverse()
      expect(await list(search)).toEqual({ ids: newest, total: 9 })
      const pages = await Promise.all([0, 4, 8, 12].map((skip) => list(search, skip, 4)))
      expect(pages.flatMap((p) => p.ids)).toEqual(newest)
      expect(pages.every((p) => p.total === 9)).toBe(true)
      expect((await list({ ...search, sort: 'closing' })).ids).toEqual(newest)
      expect((await list({ ...search, sort: 'volume' })).ids.slice(0, 2)).toEqual([made[4], made[7]])
      expect((await list({ ...search, category: 'science' })).total).toBe(4)
      expect((await list({ ...search, search: `${word} über` })).total).toBe(9)
      expect((await list({ ...search, search: `${word} selten` })).ids).toEqual([made[3]])
      expect((await list({ ...search, search: `${word} hamburg 5` })).ids).toEqual([made[5]])
      await creator.does('market', { type: 'edit_market', marketId: made[0]!, changes: { title: `${word} Neuigkeit` } })
      expect((await list({ ...search, search: `${word} neuigk` })).ids).toEqual([made[0]])
      expect((await list({ ...search, search: `${word} frage 0` })).total).toBe(0)
      for (const odd of [
        '"',
        "' OR 1=1 --",
        '* NEAR(',
        'a AND NOT',
        '%',
        '\\',
        ':',
        '!!!',
        `${word}" OR "x`,
        '(',
        '&|!<->',
        '\u0000',
      ]) {
        expect((await list({ ...search, search: odd })).total).toBeGreaterThanOrEqual(0)
      }
      await admin().does('market', { type: 'close_market', marketId: made[1]! })
      expect((await list({ ...search, state: 'closed' })).ids).toEqual([made[1]])
      expect((await list({ ...search, state: 'open' })).total).toBe(8)
      const stats = await store.reads.stats(store.now())
      expect(stats.total).toBeGreaterThanOrEqual(9)
      expect(stats.active).toBeLessThan(stats.total)
      expect(stats.perCategory.science).toBeGreaterThanOrEqual(4)
    })

    test.runIf(can.time)('sums of sliding windows are those of the single trades', async () => {
      const seed = Math.floor(Math.random() * 1e9)
      const random = seededRandom(seed)
      const creator = await someone()
      const traders = await Promise.all(Array.from({ length: 4 }, someone))
      const ids = [await market(creator), await market(creator), await market(creator)]
      for (let i = 0; i < 50; i++) {
        const trader = traders[Math.floor(random.next() * traders.length)]!
        const id = ids[Math.floor(random.next() * ids.length)]!
        await trader.trade(id, 'buy', i % 2, 1 + Math.floor(random.next() * 9))
        if (random.next() < 0.4) {
          const [held] = (await store.reads.positions(trader.id, true, { skip: 0, limit: 1 })).rows
          if (held)
            await trader.ask({ type: 'close_position', marketId: held.marketId, outcome: held.outcome, limit: null })
        }
        store.shift(Math.floor(random.next() * 3 * HOUR))
      }
      await admin().does('market', { type: 'close_market', marketId: ids[2]! })
      await admin().does('resolved', {
        type: 'resolve_market',
        marketId: ids[2]!,
        resolution: { kind: 'void' },
        source: 'void',
      })
      await admin().does('market', { type: 'close_market', marketId: ids[1]! })
      await admin().does('resolved', {
        type: 'resolve_market',
        marketId: ids[1]!,
        resolution: { kind: 'outcome', outcome: 1 },
        source: 'seen',
      })
      const { trades, profits } = await store.rows()
      const now = store.now()
      for (const id of ids) {
        const fresh = trades.filter((t) => t.marketId === id && t.role === 'taker' && t.createdAt >= now - DAY)
        const view = (await store.reads.market(id, now))!
        expect([seed, view.volume24h]).toEqual([seed, fresh.reduce((sum, t) => sum + t.value, 0n)])
        const before = trades
          .filter((t) => t.marketId === id && t.role === 'taker' && t.createdAt < now - DAY - MINUTE)
          .at(-1)
        if (before && !trades.some((t) => t.marketId === id && Math.abs(t.createdAt - (now - DAY)) < 2 * MINUTE)) {
          expect([seed, view.change24h]).toEqual([seed, view.prices[0]! - before.prices[0]!])
        }
      }
      for (const [period, ms] of [
        ['24h', DAY],
        ['7d', 7 * DAY],
        ['all_time', 1e15],
      ] as const) {
        const board = await store.reads.leaderboard('profit', { period, minimum: 1, limit: 1000 }, now)
        for (const trader of traders) {
          const mine = trades.filter((t) => t.userId === trader.id && t.marketId !== ids[2] && t.createdAt >= now - ms)
          const gained = profits.filter((p) => p.userId === trader.id && p.marketId !== ids[2] && p.at >= now - ms)
          const rank = board.find((r) => r.userId === trader.id)
          expect([seed, period, rank?.trades ?? 0]).toEqual([seed, period, mine.length])
          if (rank === undefined) continue
          expect([seed, rank.volume]).toEqual([seed, mine.reduce((sum, t) => sum + t.value, 0n)])
          expect([seed, rank.profit]).toEqual([seed, gained.reduce((sum, p) => sum + p.amount, 0n)])
        }
        const ranked = board.map((r) => r.profit)
        expect(ranked).toEqual([...ranked].sort((a, b) => (a < b ? 1 : a > b ? -1 : 0)))
      }
      const creators = await store.reads.leaderboard('markets', { period: '7d', minimum: 1, limit: 1000 }, now)
      expect(creators.find((r) => r.userId === creator.id)?.markets ?? 0).toBe(2)
      const wins = await store.reads.leaderboard('win_rate', { period: '24h', minimum: 1, limit: 1000 }, now)
      expect(wins.every((r) => r.winRate !== null && r.winRate >= 0 && r.winRate <= 100)).toBe(true)
      const skill = await store.reads.leaderboard('calibration', { period: 'all_time', minimum: 1, limit: 1000 }, now)
      expect(skill.length).toBeGreaterThan(0)
      expect(skill.every((r) => r.brier !== null && r.brier >= 0 && r.brier <= 1)).toBe(true)

      const history = await store.reads.priceHistory(ids[0]!, 168, 50, now)
      expect(history.length).toBeLessThanOrEqual(50)
      expect(history.at(-1)!.prices).toEqual((await store.reads.market(ids[0]!, now))!.prices)
      expect(history.map((p) => p.at)).toEqual(history.map((p) => p.at).sort((a, b) => a - b))
      const all = await store.reads.priceHistory(ids[0]!, null, 20, now)
      expect(all.length).toBeLessThanOrEqual(20)
      expect(all[0]!.prices).toEqual([500_000n, 500_000n])
      const volume = all.reduce((sum, p) => sum + p.volume, 0n)
      expect(volume).toBe((await store.reads.market(ids[0]!, now))!.volumeTotal)
    })

    test.runIf(can.time)('who is paid in a period is on its board, also without a trade in it', async () => {
      const creator = await someone()
      const trader = await someone()
      const id = await market(creator)
      await trader.trade(id, 'buy', 1, 30)
      store.shift(2 * DAY)
      await admin().does('market', { type: 'close_market', marketId: id })
      const resolution = { kind: 'outcome', outcome: 1 } as const
      await admin().does('resolved', { type: 'resolve_market', marketId: id, resolution, source: 'seen' })
      const options = { period: '24h', minimum: 0, limit: 1000 } as const
      const board = await store.reads.leaderboard('profit', options, store.now())
      const { profit } = (await store.reads.account(trader.id))!
      expect(profit).toBeGreaterThan(0n)
      expect(board.find((rank) => rank.userId === trader.id)).toMatchObject({ profit, trades: 0 })
    })

    test.runIf(can.time)('bound markets whose time is far off keep nobody else waiting', async () => {
      const creator = await someone()
      const closesAt = store.now() + HOUR
      const bind = (at: number) => ({ expr: 'up', comparison: 'gt', threshold: 0, at }) as const
      const far = await market(creator, { closesAt, binding: bind(closesAt + 30 * DAY) })
      const near = await market(creator, { closesAt: closesAt + 1, binding: bind(closesAt + 2) })
      store.shift(2 * HOUR)
      const due = (await store.reads.bound(store.now(), 1000)).map((row) => row.id)
      expect(due).toContain(near)
      expect(due).not.toContain(far)
    })

    test('says nothing of what is not there', async () => {
      const page = { skip: 0, limit: 10 }
      const none = 'nothing' as MarketId
      expect(await store.reads.market(none, store.now())).toBeNull()
      expect(await store.reads.priceHistory(none, 24, 10, store.now())).toEqual([])
      expect(await store.reads.account('nobody' as UserId)).toBeNull()
      expect(await store.reads.trades({ userId: 'nobody' as UserId }, page)).toEqual({ rows: [], total: 0 })
      expect(await store.reads.trades({ userId: 'nobody' as UserId, marketId: none }, page)).toEqual({
        rows: [],
        total: 0,
      })
      expect(await store.reads.trades({ marketId: none }, page)).toEqual({ rows: [], total: 0 })
      expect(await store.reads.book(none, 0, 5)).toEqual({ bids: [], asks: [] })
    })
  })
}
