/** Trades and orders as routes (contract 9.4). A price never comes from a client: it may only give a limit. */
import Type from 'typebox'
import { invalid, notFound } from '../../base/errors.ts'
import { fromIso, toIso } from '../../base/time.ts'
import type { Principal, Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { priceOf, sharesOf } from '../amounts.ts'
import { bookOf, placeIn } from '../book.ts'
import type { MarketId, OrderId, TradeId, UserId } from '../model.ts'
import { bookText } from '../reading.ts'
import * as schema from '../schemas.ts'
import type { MarketRouteDeps } from '../surface.ts'
import { orderJson, outcomeOf, paging, tradeJson } from '../views.ts'

const OWN_ORDERS_MAX = 1_000

export function tradingRoutes({ desk, reads, reading, clock }: MarketRouteDeps): Route[] {
  const userOf = (principal: Principal | null) => principal!.id as UserId
  const noOrder = () => notFound('order_not_found', 'There is no such order.')

  const expiry = (text: string | null | undefined) => {
    if (text === undefined || text === null) return text ?? null
    const at = fromIso(text)
    if (at === null || at <= clock.now()) {
      throw invalid([{ path: 'expires_at', message: `must be a time in the future, such as ${toIso(clock.now())}` }])
    }
    return at
  }

  /** Shares of the asker's open orders by price. */
  async function ownLevels(userId: UserId, marketId: MarketId, outcome: number) {
    const own = { bids: new Map<bigint, bigint>(), asks: new Map<bigint, bigint>() }
    for (const state of ['pending', 'partially_filled'] as const) {
      const { rows } = await reads.orders(userId, { state, marketId }, { skip: 0, limit: OWN_ORDERS_MAX })
      for (const { side, outcome: of, limit, remainingShares } of rows) {
        if (limit === null) continue
        const place = placeIn(outcome, { side, outcome: of, limit })
        own[place.side].set(place.price, (own[place.side].get(place.price) ?? 0n) + remainingShares)
      }
    }
    return own
  }

  return [
    route({
      method: 'POST',
      path: '/api/v1/trades',
      access: 'trader',
      tag: 'trades',
      summary: 'Buy or sell shares now, at the better of book and market maker',
      idempotent: true,
      status: 201,
      body: schema.NewTrade,
      data: schema.Trade,
      async handler({ body, principal, claim }) {
        const other = body.trade_type === 'buy' ? 'min_price' : 'max_price'
        if (body[other] !== undefined) {
          throw invalid([{ path: other, message: `is not for a ${body.trade_type}` }])
        }
        const given = body.trade_type === 'buy' ? body.max_price : body.min_price
        const path = body.trade_type === 'buy' ? 'max_price' : 'min_price'
        const done = await desk.submit(
          principal!,
          {
            type: 'trade',
            marketId: body.market_id as MarketId,
            side: body.trade_type,
            outcome: outcomeOf(body.outcome),
            shares: sharesOf(body.amount, 'amount'),
            limit: given === undefined ? null : priceOf(given, path),
            version: body.version ?? null,
          },
          'trade',
          claim,
        )
        return { status: 201, data: tradeJson(done.trade) }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/trades',
      access: 'open',
      tag: 'trades',
      summary: 'The public feed of trades, newest first, of a market or a user',
      query: Type.Object({
        market_id: Type.Optional(schema.GivenId),
        user_id: Type.Optional(schema.GivenId),
        ...schema.page(20, 100),
      }),
      data: schema.TradeList,
      async handler({ query }) {
        const { market_id, user_id, skip, limit } = query
        const filter = {
          ...(market_id === undefined ? {} : { marketId: market_id as MarketId }),
          ...(user_id === undefined ? {} : { userId: user_id as UserId }),
        }
        const { rows, total } = await reads.trades(filter, { skip, limit })
        return { data: { trades: rows.map(tradeJson), ...paging(skip, limit, total) } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/trades/user/me',
      access: 'trader',
      tag: 'trades',
      summary: 'Own trades, newest first',
      query: Type.Object({ market_id: Type.Optional(schema.GivenId), ...schema.page(20, 100) }),
      data: schema.TradeList,
      async handler({ query, principal }) {
        const { market_id, skip, limit } = query
        const filter = {
          userId: userOf(principal),
          ...(market_id === undefined ? {} : { marketId: market_id as MarketId }),
        }
        const { rows, total } = await reads.trades(filter, { skip, limit })
        return { data: { trades: rows.map(tradeJson), ...paging(skip, limit, total) } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/trades/:id',
      access: 'open',
      tag: 'trades',
      summary: 'One trade',
      params: schema.Id,
      data: schema.Trade,
      async handler({ params }) {
        const trade = await reads.trade(params.id as TradeId)
        if (!trade) throw notFound('trade_not_found', 'There is no such trade.')
        return { data: tradeJson(trade) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/orders',
      access: 'trader',
      tag: 'orders',
      summary: 'Place an order; what rests reserves its credit or shares',
      idempotent: true,
      status: 201,
      body: schema.NewOrder,
      data: schema.Order,
      async handler({ body, principal, claim }) {
        const isLimit = body.order_type === 'limit'
        if (isLimit !== (body.limit_price !== undefined)) {
          const message = isLimit ? 'is required for a limit order' : 'is for limit orders'
          throw invalid([{ path: 'limit_price', message }])
        }
        if (!isLimit && body.time_in_force === 'gtc') {
          throw invalid([{ path: 'time_in_force', message: 'a market order does not rest: ioc or fok' }])
        }
        if (body.expires_at !== undefined && (!isLimit || (body.time_in_force ?? 'gtc') !== 'gtc')) {
          throw invalid([{ path: 'expires_at', message: 'is for orders that rest' }])
        }
        const done = await desk.submit(
          principal!,
          {
            type: 'place_order',
            marketId: body.market_id as MarketId,
            orderType: body.order_type,
            side: body.side,
            outcome: outcomeOf(body.outcome),
            shares: sharesOf(body.original_amount, 'original_amount'),
            limit: body.limit_price === undefined ? null : priceOf(body.limit_price, 'limit_price'),
            timeInForce: body.time_in_force ?? (isLimit ? 'gtc' : 'ioc'),
            expiresAt: expiry(body.expires_at),
            clientOrderId: body.client_order_id ?? null,
          },
          'order',
          claim,
        )
        return { status: 201, data: orderJson(done.order) }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/orders',
      access: 'trader',
      tag: 'orders',
      summary: 'Own orders, newest first',
      query: Type.Object({
        status: Type.Optional(schema.OrderStatus),
        market_id: Type.Optional(schema.GivenId),
        ...schema.page(20, 100),
      }),
      data: schema.OrderList,
      async handler({ query, principal }) {
        const { status, market_id, skip, limit } = query
        const filter = {
          ...(status === undefined ? {} : { state: status }),
          ...(market_id === undefined ? {} : { marketId: market_id as MarketId }),
        }
        const { rows, total } = await reads.orders(userOf(principal), filter, { skip, limit })
        return { data: { orders: rows.map(orderJson), ...paging(skip, limit, total) } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/orders/cancel-all',
      access: 'trader',
      tag: 'orders',
      summary: 'Cancel all own open orders, of one market or of all',
      idempotent: true,
      body: Type.Object({ market_id: Type.Optional(schema.GivenId) }),
      data: Type.Object({ cancelled: Type.Array(Type.String()), total_count: Type.Integer() }),
      async handler({ body, principal, claim }) {
        const marketId = (body.market_id as MarketId | undefined) ?? null
        const { orders } = await desk.submit(principal!, { type: 'cancel_all', marketId }, 'cancelled', claim)
        return { data: { cancelled: [...orders], total_count: orders.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/orders/:id',
      access: 'trader',
      tag: 'orders',
      summary: 'One own order',
      params: schema.Id,
      data: schema.Order,
      async handler({ params, principal }) {
        const order = await reads.order(userOf(principal), params.id as OrderId)
        if (!order) throw noOrder()
        return { data: orderJson(order) }
      },
    }),
    route({
      method: 'PUT',
      path: '/api/v1/orders/:id',
      access: 'trader',
      tag: 'orders',
      summary: 'Change the limit or the expiry of an own order that rests; another price loses its place in time',
      params: schema.Id,
      body: Type.Object({
        limit_price: Type.Optional(schema.LimitPrice),
        expires_at: Type.Optional(Type.Union([schema.TimeGiven, Type.Null()])),
      }),
      data: schema.Order,
      async handler({ params, body, principal }) {
        const orderId = params.id as OrderId
        if (!(await reads.order(userOf(principal), orderId))) throw noOrder()
        const done = await desk.submit(
          principal!,
          {
            type: 'amend_order',
            orderId,
            limit: body.limit_price === undefined ? null : priceOf(body.limit_price, 'limit_price'),
            expiresAt: body.expires_at === undefined ? undefined : expiry(body.expires_at),
          },
          'order',
        )
        return { data: orderJson(done.order), message: 'The order was changed.' }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/orders/:id/cancel',
      access: 'trader',
      tag: 'orders',
      summary: 'Cancel an own order; what it reserved is free again',
      idempotent: true,
      params: schema.Id,
      data: schema.Order,
      async handler({ params, principal, claim }) {
        const orderId = params.id as OrderId
        const done = await desk.submit(principal!, { type: 'cancel_order', orderId }, 'order', claim)
        return { data: orderJson(done.order), message: 'The order is cancelled.' }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/orders/market/:id/orderbook',
      access: 'open',
      tag: 'orders',
      summary:
        'The book of an outcome as a taker meets it, orders of the other outcome included; own shares at a level when logged in',
      params: schema.Id,
      query: Type.Object({
        levels: Type.Integer({ default: 10, minimum: 1, maximum: 50 }),
        outcome: Type.Union([Type.Literal('outcome_a'), Type.Literal('outcome_b')], { default: 'outcome_a' }),
      }),
      data: schema.OrderBook,
      async handler({ params, query, principal }) {
        const id = params.id as MarketId
        const outcome = outcomeOf(query.outcome)
        const shared = await reading.book(id, outcome, query.levels)
        if (shared === null) throw notFound('market_not_found', 'There is no such market.')
        if (principal?.role !== 'trader') return { json: shared }
        const [book, own] = await Promise.all([
          bookOf(reads, id, outcome, query.levels),
          ownLevels(userOf(principal), id, outcome),
        ])
        return { json: bookText(id, outcome, book, own) }
      },
    }),
  ]
}
