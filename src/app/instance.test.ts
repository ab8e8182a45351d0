/**
 * The market over HTTP: real instances (two of them, asked in turn), a real writer or a real PostgreSQL behind. Every
 * answer is checked against its published schema.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Caller, MarketWorld } from '../../test/support/market-world.ts'
import { openMarketOf, startMarketWorld } from '../../test/support/market-world.ts'
import { need } from '../../test/support/need.ts'

const postgres = need('postgresql')
const decimal = (text: string) => Math.round(Number(text) * 1e6)

describe.each([
  ['the embedded database', null, true],
  ['PostgreSQL', postgres, postgres !== null],
] as const)('on %s', (_name, url, isThere) => {
  describe.skipIf(!isThere)('', () => {
    let world: MarketWorld
    let alice: Caller
    let bob: Caller
    beforeAll(async () => {
      world = await startMarketWorld({ instances: 2, postgres: url })
      ;[alice, bob] = [await world.trader('alice'), await world.trader('bob')]
    })
    afterAll(async () => {
      await world?.stop()
    })
    const buy = (who: Caller, market_id: string, amount: number, more: object = {}, headers = {}) =>
      who.ask('POST', '/trades', { market_id, trade_type: 'buy', outcome: 'outcome_a', amount, ...more }, headers)

    test('a new account has 1000 credits; its profile shows the market, the public one no money', async () => {
      const carol = await world.trader('carol')
      const own = (await carol.ask('GET', '/users/me')).data
      expect(own).toMatchObject({ username: 'carol', available_balance: '1000.00', total_balance: '1000.00' })
      const shown = (await world.nobody.ask('GET', `/users/${carol.id}`)).data
      expect(Object.keys(shown).sort()).toEqual(
        ['id', 'username', 'bio', 'avatar_url', 'reputation_score', 'total_trades', 'created_at'].sort(),
      )
      const changed = await carol.ask('PUT', '/auth/me', { bio: 'Looks at clouds.' })
      expect(changed.data.bio).toBe('Looks at clouds.')
    })

    test('logging in by form, refreshing, logging out', async () => {
      const response = await fetch(`${world.urls[0]}/api/v1/auth/login`, {
        method: 'POST',
        body: new URLSearchParams({ username: 'alice', password: 'Korrekt.Pferd', grant_type: 'password' }),
      })
      expect(response.status).toBe(200)
      const { data } = (await response.json()) as { data: Record<string, string> }
      expect(data).toMatchObject({ token_type: 'bearer', expires_in: 1800 })
      const with_ = (token: string) => ({ authorization: `Bearer ${token}` })
      const next = (await world.nobody.ask('POST', '/auth/refresh', { refresh_token: data.refresh_token })).data
      expect((await world.nobody.ask('GET', '/users/me', undefined, with_(next.access_token))).status).toBe(200)
      expect((await world.nobody.ask('POST', '/auth/logout', undefined, with_(next.access_token))).status).toBe(200)
      await new Promise((resolve) => setTimeout(resolve, url === null ? 0 : 1000))
      expect((await world.nobody.ask('GET', '/users/me', undefined, with_(next.access_token))).status).toBe(401)
      expect((await world.nobody.ask('GET', '/users/me', undefined, with_(next.access_token))).status).toBe(401)
    })

    test('a market is bound to nothing that can never be asked', async () => {
      const dora = await world.trader('dora')
      const market = { title: 'T', question: 'Q?', outcome_a: 'Yes', outcome_b: 'No', category: 'other' }
      const bind = (expr: string) => {
        const at = '2099-01-01T00:00:00Z'
        const binding = { expr, comparison: 'gt', threshold: 1, at }
        return dora.ask('POST', '/markets', { ...market, closes_at: at, total_liquidity: 100, binding })
      }
      for (const [expr, why] of [
        ['sum(((', 'parse error'],
        ['nosuch(up)', 'nosuch'],
        ['up[5m]', 'matrix'],
        ['"text"', 'string'],
      ] as const) {
        const { status, json } = await bind(expr)
        expect([expr, status, json.error.fields[0].path]).toEqual([expr, 422, 'binding.expr'])
        expect(json.detail).toContain(why)
      }
      expect((await bind('max_over_time(up[5m]) > 0')).status).toBe(201)
    })

    test('a quote is what the trade gets, to the unit, and no other', async () => {
      const id = await openMarketOf(await world.trader())
      const quote = (await alice.ask('GET', `/markets/${id}/quote?outcome=outcome_a&side=buy&amount=12.5`)).data
      const before = decimal((await alice.ask('GET', '/users/me')).data.available_balance)
      const trade = await buy(alice, id, 12.5, { version: quote.version })
      expect(trade.status).toBe(201)
      expect(trade.data).toMatchObject({
        amount: 12.5,
        value: quote.cost,
        fee: quote.fee,
        total_value: quote.total,
        price_per_share: quote.average_price,
        price_after: quote.price_after,
      })
      const after = decimal((await alice.ask('GET', '/users/me')).data.available_balance)
      expect(before - after).toBe(decimal(quote.total))
      const again = await buy(alice, id, 12.5, { version: quote.version })
      expect([again.status, again.code]).toEqual([409, 'quote_changed'])
      // Every instance tells the new price and the new version at once, or a moment later.
      for (let i = 0; i < 2; i++) {
        const market = (await world.nobody.ask('GET', `/markets/${id}`)).data
        expect(market).toMatchObject({ version: trade.data.version, current_price_a: trade.data.price_after })
      }
    })

    test('limits bound the average price; buying more than there is credit for is refused', async () => {
      const id = await openMarketOf(await world.trader())
      const beyond = await buy(alice, id, 100, { max_price: 0.51 })
      expect([beyond.status, beyond.code]).toEqual([409, 'price_beyond_limit'])
      const poor = await buy(alice, id, 9_000)
      expect([poor.status, poor.code]).toEqual([409, 'insufficient_funds'])
      const none = await alice.ask('POST', '/trades', {
        market_id: id,
        trade_type: 'sell',
        outcome: 'outcome_b',
        amount: 1,
      })
      expect([none.status, none.code]).toEqual([409, 'insufficient_shares'])
      const wrong = await buy(alice, id, 1, { min_price: 0.1 })
      expect([wrong.status, wrong.json.error.fields[0].path]).toEqual([422, 'min_price'])
    })

    test.each([
      ['negative', -1],
      ['nothing', 0],
      ['huge', 1e300],
      ['more than a market takes', 20_000],
      ['finer than a share is', 1.00001],
      ['text', '10'],
      ['a list', [10]],
      ['null', null],
    ])('an amount that is %s is 422, and moves nothing', async (_what, amount) => {
      const id = await openMarketOf(await world.trader())
      const answer = await buy(alice, id, amount as number)
      expect(answer.status).toBe(422)
      expect((await world.nobody.ask('GET', `/markets/${id}`)).data.total_trades).toBe(0)
    })

    test('what JSON does not carry exactly is refused before anything happens', async () => {
      const id = await openMarketOf(await world.trader())
      for (const amount of ['1e999', '0x10', '1_0', '+1', 'NaN', 'Infinity']) {
        const text = `{"market_id":"${id}","trade_type":"buy","outcome":"outcome_a","amount":${amount}}`
        expect([400, 422]).toContain((await alice.ask('POST', '/trades', text)).status)
      }
    })

    test('one key, one trade: side by side, on all instances; another body is 409', async () => {
      const id = await openMarketOf(await world.trader())
      const key = { 'idempotency-key': 'trade-7' }
      const answers = await Promise.all(Array.from({ length: 6 }, () => buy(bob, id, 2, {}, key)))
      expect(answers.map((a) => a.status)).toEqual(Array(6).fill(201))
      expect(new Set(answers.map((a) => a.data.id)).size).toBe(1)
      const clash = await buy(bob, id, 3, {}, key)
      expect([clash.status, clash.code]).toEqual([409, 'idempotency_clash'])
      expect((await buy(alice, id, 3, {}, key)).status).toBe(201) // another user's key is another key
      expect((await world.nobody.ask('GET', `/trades?market_id=${id}`)).data.total).toBe(2)
    })

    test('orders rest, are seen in the book, amended, filled and cancelled; only by their owner', async () => {
      const id = await openMarketOf(await world.trader())
      const place = (who: Caller, more: object) =>
        who.ask('POST', '/orders', {
          market_id: id,
          order_type: 'limit',
          side: 'buy',
          outcome: 'outcome_a',
          original_amount: 5,
          limit_price: 0.4,
          ...more,
        })
      const order = await place(alice, { client_order_id: 'mine-1' })
      expect(order.data).toMatchObject({ status: 'pending', remaining_amount: 5, time_in_force: 'gtc' })
      const same = await place(alice, { client_order_id: 'mine-1' })
      expect(same.data.id).toBe(order.data.id)
      const reserved = (await alice.ask('GET', '/users/me')).data.reserved_balance
      expect(decimal(reserved)).toBeGreaterThanOrEqual(2_000_000)
      const book = (await alice.ask('GET', `/orders/market/${id}/orderbook`)).data
      expect(book).toMatchObject({ best_bid: 0.4, best_ask: null, bids: [{ price: 0.4, amount: 5, own_amount: 5 }] })
      const shown = (await bob.ask('GET', `/orders/market/${id}/orderbook`)).data
      expect(shown.bids[0]).toMatchObject({ amount: 5, own_amount: 0 })
      expect((await world.nobody.ask('GET', `/orders/market/${id}/orderbook`)).data.bids[0].own_amount).toBe(undefined)
      for (const [method, path, body] of [
        ['GET', `/orders/${order.data.id}`],
        ['PUT', `/orders/${order.data.id}`, { limit_price: 0.45 }],
        ['POST', `/orders/${order.data.id}/cancel`],
      ] as const) {
        const foreign = await bob.ask(method, path, body)
        expect([method, foreign.status, foreign.code]).toEqual([method, 404, 'order_not_found'])
      }
      const amended = await alice.ask('PUT', `/orders/${order.data.id}`, { limit_price: 0.45 })
      expect(amended.data).toMatchObject({ limit_price: 0.45, status: 'pending' })
      const cancelled = await alice.ask('POST', `/orders/${order.data.id}/cancel`)
      expect(cancelled.data.status).toBe('cancelled')
      const twice = await alice.ask('POST', `/orders/${order.data.id}/cancel`)
      expect([twice.status, twice.code]).toEqual([409, 'order_done'])
      expect((await alice.ask('GET', '/users/me')).data.reserved_balance).toBe('0.00')
      await place(alice, {})
      await place(alice, { limit_price: 0.3 })
      expect((await alice.ask('POST', '/orders/cancel-all', { market_id: id })).data.total_count).toBe(2)
      const list = (await alice.ask('GET', `/orders?market_id=${id}&status=cancelled`)).data
      expect(list.total).toBe(3)
      for (const wrong of [
        { order_type: 'market' },
        { limit_price: undefined },
        { limit_price: 0 },
        { limit_price: 1 },
        { limit_price: 0.1234567 },
        { order_type: 'market', limit_price: undefined, time_in_force: 'gtc' },
        { expires_at: '2020-01-01T00:00:00Z' },
        { expires_at: 'tomorrow' },
      ]) {
        expect([wrong, (await place(alice, wrong)).status]).toEqual([wrong, 422])
      }
    })

    test('positions, portfolio, and selling all of one', async () => {
      const dora = await world.trader()
      const id = await openMarketOf(await world.trader())
      await buy(dora, id, 20)
      const [position] = (await dora.ask('GET', '/positions')).data.positions
      expect(position).toMatchObject({ market_id: id, outcome: 'outcome_a', shares_owned: 20, is_active: true })
      expect((await dora.ask('GET', `/positions/${position.id}`)).data.id).toBe(position.id)
      expect((await bob.ask('GET', `/positions/${position.id}`)).status).toBe(404)
      expect((await bob.ask('POST', `/positions/${position.id}/close`, {})).status).toBe(404)
      const portfolio = (await dora.ask('GET', '/positions/portfolio')).data
      expect(decimal(portfolio.total_balance)).toBe(
        decimal(portfolio.available_balance) + decimal(portfolio.reserved_balance) + decimal(portfolio.portfolio_value),
      )
      expect((await world.nobody.ask('GET', `/markets?search=rain`)).data.markets[0].holding).toBe(undefined)
      const { markets } = (await dora.ask('GET', '/markets?limit=100')).data
      const own = markets.find((m: { id: string }) => m.id === id)
      expect(own.holding).toMatchObject([{ outcome: 'outcome_a', shares_owned: 20 }])
      expect((await dora.ask('GET', `/markets/${id}`)).data.holding).toHaveLength(1)
      const closed = await dora.ask('POST', `/positions/${position.id}/close`, {})
      expect(closed.data).toMatchObject({ trade_type: 'sell', amount: 20 })
      expect((await dora.ask('GET', '/positions')).data.total).toBe(0)
      expect((await dora.ask('GET', '/positions?active_only=false')).data.total).toBe(1)
      // There and back never gains.
      expect(decimal((await dora.ask('GET', '/users/me')).data.available_balance)).toBeLessThan(1_000_000_000)
      expect((await dora.ask('GET', '/trades/user/me')).data.total).toBe(2)
    })

    test('the life of a market: edited, closed, resolved once, disputed by a holder, decided', async () => {
      const [eve, holder] = [await world.trader(), await world.trader()]
      const admin = world.operator('admin')
      const id = await openMarketOf(eve, { resolution_rules: 'Yes: any rain at the station.', intended_source: 'DWD' })
      await buy(holder, id, 10)
      const edit = (who: Caller) => who.ask('PUT', `/markets/${id}`, { title: 'Rain on Tuesday' })
      expect((await edit(bob)).status).toBe(403)
      expect((await edit(world.operator('viewer'))).status).toBe(403)
      expect((await edit(eve)).data).toMatchObject({ title: 'Rain on Tuesday', resolution_rules: expect.any(String) })
      expect((await edit(admin)).status).toBe(200)
      expect((await eve.ask('PUT', `/markets/${id}`, { status: 'resolved' })).status).toBe(422)
      const resolve = (who: Caller, outcome = 'outcome_a') =>
        who.ask('POST', `/markets/${id}/resolve`, { outcome, resolution_source: 'the station' })
      expect((await resolve(eve)).code).toBe('market_not_closed')
      expect((await resolve(bob)).status).toBe(403)
      expect((await eve.ask('POST', `/markets/${id}/close`)).data.status).toBe('closed')
      const late = await buy(holder, id, 1)
      expect([late.status, late.code]).toEqual([409, 'market_not_open'])
      const both = await Promise.all([resolve(eve), resolve(eve), resolve(admin)])
      expect(both.map((a) => a.status).sort()).toEqual([200, 409, 409])
      const dispute = (who: Caller) =>
        who.ask('POST', `/markets/${id}/disputes`, { dispute_type: 'wrong_outcome', reason: 'It did not rain at all.' })
      expect((await dispute(bob)).status).toBe(403)
      expect((await dispute(holder)).data).toMatchObject({ status: 'open', user_id: holder.id })
      expect((await dispute(holder)).code).toBe('dispute_exists')
      expect((await world.nobody.ask('GET', `/markets/${id}/disputes`)).data.total).toBe(1)
      expect((await world.nobody.ask('GET', `/markets/${id}`)).data.status).toBe('disputed')
      const decide = (who: Caller) =>
        who.ask('POST', `/markets/${id}/decide-disputes`, { outcome: 'outcome_b', note: 'It was dry.' })
      expect((await decide(eve)).status).toBe(403)
      expect((await decide(admin)).data.market.resolved_outcome).toBe('outcome_b')
    })

    test('a suspended market takes no trade; only an admin suspends', async () => {
      const id = await openMarketOf(await world.trader())
      const suspend = (who: Caller, suspended: boolean) => who.ask('POST', `/markets/${id}/suspend`, { suspended })
      expect((await suspend(bob, true)).status).toBe(403)
      expect((await suspend(world.operator('operator'), true)).status).toBe(403)
      expect((await suspend(world.operator('admin'), true)).data.status).toBe('suspended')
      expect((await buy(alice, id, 1)).code).toBe('market_not_open')
      expect((await suspend(world.operator('admin'), false)).data.status).toBe('open')
      expect((await buy(alice, id, 1)).status).toBe(201)
    })

    test('lists: words, categories, order, pages; history and statistics', async () => {
      const id = await openMarketOf(await world.trader(), {
        title: 'Zeppelin over Bremen',
        category: 'technology',
        tags: ['airship'],
      })
      await buy(alice, id, 10)
      for (const search of ['zeppelin', 'bremen zeppelin', 'airship']) {
        const found = (await world.nobody.ask('GET', `/markets?search=${encodeURIComponent(search)}`)).data
        expect(found.markets.map((m: { id: string }) => m.id)).toEqual([id])
      }
      const { data } = await world.nobody.ask('GET', '/markets?category=technology&sort=volume&limit=1')
      expect(data).toMatchObject({ total: 1, page: 1, per_page: 1, categories: { technology: 1 } })
      expect(data.markets[0].sparkline.length).toBeGreaterThan(0)
      for (const search of ['"', "'", '*', '%', 'a OR b', '\\', ')(', 'NEAR(', '-']) {
        const odd = await world.nobody.ask('GET', `/markets?search=${encodeURIComponent(search)}`)
        expect([search, odd.status]).toEqual([search, 200])
      }
      for (const path of ['price-history?hours=24', 'price-history?whole=true']) {
        const points = (await world.nobody.ask('GET', `/markets/${id}/${path}`)).data
        expect(points[0].price_a).toBe(0.5)
        expect(points.at(-1).price_a).toBeGreaterThan(0.5)
      }
      const stats = (await world.nobody.ask('GET', '/markets/stats')).data
      expect(stats.total_markets).toBeGreaterThan(1)
      for (const by of ['traders', 'volume', 'markets', 'win-rate', 'calibration']) {
        expect([by, (await world.nobody.ask('GET', `/leaderboard/${by}`)).status]).toEqual([by, 200])
      }
    })

    test.each([
      [{ closes_at: '2020-01-01T00:00:00Z' }, 'closes_in_the_past'],
      [{ closes_at: 'soon' }, 'validation_failed'],
      [{ total_liquidity: 99 }, 'validation_failed'],
      [{ total_liquidity: '99.999999' }, 'validation_failed'],
      [{ total_liquidity: -100 }, 'validation_failed'],
      [{ fee_rate: 0.11 }, 'validation_failed'],
      [{ min_trade_amount: 5, max_trade_amount: 5 }, 'validation_failed'],
      [{ outcome_b: 'Yes' }, 'validation_failed'],
      [{ image_url: 'javascript:alert(1)' }, 'validation_failed'],
      [{ title: 'x'.repeat(201) }, 'validation_failed'],
      [{ status: 'resolved' }, 'validation_failed'],
      [{ binding: { expr: 'up', comparison: 'gt', threshold: 1, at: '2020-01-01T00:00:00Z' } }, 'validation_failed'],
    ])('a market with %o is refused: %s', async (more, code) => {
      await expect(openMarketOf(await world.trader(), more)).rejects.toThrow(code)
    })

    test('a market that is too dear for its creator is refused', async () => {
      await expect(openMarketOf(await world.trader(), { total_liquidity: '1000.000001' })).rejects.toThrow(
        'insufficient_funds',
      )
    })

    test('live: a snapshot, then what happens, numbered; who comes back gets what was missed', async () => {
      const id = await openMarketOf(await world.trader())
      const listen = async (url: string) => {
        const socket = new WebSocket(url)
        const messages: { type: string; seq: number }[] = []
        socket.addEventListener('message', ({ data }) => messages.push(JSON.parse(data)))
        const closed = new Promise<number>((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)))
        return { socket, messages, closed }
      }
      const at = (i: number, more = '') => `${world.urls[i]!.replace('http', 'ws')}/ws/market/${id}${more}`
      const until = async (what: () => boolean) => {
        for (let i = 0; i < 400 && !what(); i++) await new Promise((resolve) => setTimeout(resolve, 20))
        expect(what()).toBe(true)
      }
      const [one, two] = [await listen(at(0)), await listen(at(1))]
      await until(() => one.messages.length > 0 && two.messages.length > 0)
      expect(one.messages[0]).toMatchObject({ type: 'snapshot', market: { id }, books: [{}, {}] })
      const first = (await buy(alice, id, 3)).data
      await until(() => one.messages.length >= 3 && two.messages.length >= 3)
      for (const { messages } of [one, two]) {
        expect(messages.slice(1)).toMatchObject([
          { type: 'trade', seq: first.version, amount: 3 },
          { type: 'price', seq: first.version, current_price_a: first.price_after },
        ])
      }
      one.socket.close()
      await one.closed
      await buy(alice, id, 1)
      await alice.ask('POST', '/orders', {
        market_id: id,
        order_type: 'limit',
        side: 'buy',
        outcome: 'outcome_a',
        original_amount: 5,
        limit_price: 0.4,
      })
      await until(() => two.messages.some((m) => m.type === 'book'))
      const back = await listen(at(0, `?since=${first.version}`))
      await until(() => back.messages.some((m) => m.type === 'book'))
      expect(back.messages).toEqual(two.messages.slice(3))
      const lost = await listen(at(0, '?since=999999'))
      await until(() => lost.messages.length > 0)
      expect(lost.messages[0]!.type).toBe('snapshot')
      const nowhere = await listen(`${world.urls[0]!.replace('http', 'ws')}/ws/market/nowhere`)
      expect(await nowhere.closed).toBe(4404)
      const wrong = await listen(at(0, '?since=x'))
      expect(await wrong.closed).toBe(4400)
    })

    test('reads go through the cache, and are counted', async () => {
      const id = await openMarketOf(await world.trader())
      for (let i = 0; i < 20; i++) await world.nobody.ask('GET', `/markets/${id}`)
      const value = (name: string) => world.telemetry().find((family) => family.name === name)!.samples[0]!.value
      expect(value('market_cache_hits')).toBeGreaterThanOrEqual(9)
      expect(value('market_cache_misses')).toBeGreaterThan(0)
      expect(value('market_cache_entries')).toBeGreaterThan(0)
      expect(value('market_cache_bytes')).toBeGreaterThan(500)
    })

    test('nothing of all that was a fault', () => {
      expect(world.troubles.filter((line) => line.includes('"level":"error"'))).toEqual([])
    })
  })
})
