/** Markets as routes (contract 9.2): lists, one, its life, its prices, its disputes. Public reads are open. */
import Type from 'typebox'
import { invalid, notFound } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import { fromIso, toIso } from '../../base/time.ts'
import type { Principal, Reply, Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { creditsText, moneyOf, rateOf, sharesOf } from '../amounts.ts'
import type { RefusalCode } from '../commands.ts'
import type { MarketDraft, MarketId, UserId } from '../model.ts'
import { refused } from '../refused.ts'
import * as schema from '../schemas.ts'
import type { MarketRouteDeps } from '../surface.ts'
import { disputeJson, heldJson, marketJson, outcomeOf, paging, resolutionOf } from '../views.ts'

const TAG = 'markets'
const HOLDINGS_MAX = 500

export function catalogRoutes({ desk, reads, reading, clock, checkExpression }: MarketRouteDeps): Route[] {
  const noMarket = () => notFound('market_not_found', 'There is no such market.')

  async function present(id: string) {
    const market = await reads.market(id as MarketId, clock.now())
    if (!market) throw noMarket()
    return market
  }

  /** Own shares by market, of a trader who is logged in. */
  async function holdings(principal: Principal | null): Promise<ReadonlyMap<string, string> | null> {
    if (principal?.role !== 'trader') return null
    const { rows } = await reads.positions(principal.id as UserId, true, { skip: 0, limit: HOLDINGS_MAX })
    const all = new Map<string, object[]>()
    for (const position of rows) {
      const held = all.get(position.marketId) ?? []
      held.push(heldJson(position))
      all.set(position.marketId, held)
    }
    return new Map([...all].map(([id, held]) => [id, JSON.stringify(held)]))
  }

  function draftOf(body: Type.Static<typeof schema.NewMarket>): MarketDraft {
    const closesAt = time(body.closes_at, 'closes_at')
    const binding = body.binding ? { ...body.binding, at: time(body.binding.at, 'binding.at') } : null
    if (binding && binding.at < closesAt) {
      throw invalid([{ path: 'binding.at', message: 'must not be before closes_at: nobody may trade on the answer' }])
    }
    const [minTrade, maxTrade] = [
      sharesOf(body.min_trade_amount, 'min_trade_amount'),
      sharesOf(body.max_trade_amount, 'max_trade_amount'),
    ]
    if (maxTrade <= minTrade)
      throw invalid([{ path: 'max_trade_amount', message: 'must be more than min_trade_amount' }])
    if (body.outcome_a === body.outcome_b) throw invalid([{ path: 'outcome_b', message: 'must differ from outcome_a' }])
    const liquidity = moneyOf(body.total_liquidity, 'total_liquidity')
    if (liquidity < 100_000_000n || liquidity > 1_000_000_000_000n) {
      throw invalid([{ path: 'total_liquidity', message: 'must be from 100 to 1000000' }])
    }
    return {
      title: body.title,
      question: body.question,
      description: body.description ?? null,
      outcomes: [body.outcome_a, body.outcome_b],
      category: body.category,
      tags: body.tags ?? [],
      imageUrl: body.image_url ?? null,
      resolutionRules: body.resolution_rules ?? null,
      intendedSource: body.intended_source ?? null,
      closesAt,
      liquidity,
      feeRate: rateOf(body.fee_rate, 'fee_rate'),
      minTrade,
      maxTrade,
      binding,
    }
  }

  const time = (text: string, path: string): Millis => {
    const at = fromIso(text)
    if (at === null) throw invalid([{ path, message: `must be a time such as ${toIso(clock.now())}` }])
    return at
  }

  return [
    route({
      method: 'GET',
      path: '/api/v1/markets',
      access: 'open',
      tag: TAG,
      summary: 'Markets, by category, status or words; with own holdings for a trader who is logged in',
      query: Type.Object({
        ...schema.page(20, 100),
        category: Type.Optional(schema.Category),
        status: Type.Optional(schema.MarketStatus),
        trending: Type.Boolean({ default: false }),
        search: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })),
        sort: schema.Sort,
      }),
      data: schema.MarketList,
      async handler({ query, principal }) {
        const { skip, limit, category = null, status = null, trending, search = null, sort } = query
        const filter = { category, state: status, trending, search, sort }
        const [{ rows, total }, { categories }, held] = await Promise.all([
          reading.list(filter, { skip, limit }),
          reading.stats(),
          holdings(principal),
        ])
        const markets = rows.map(({ id, json }) =>
          held === null ? json : `${json.slice(0, -1)},"holding":${held.get(id) ?? '[]'}}`,
        )
        const page = JSON.stringify(paging(skip, limit, total)).slice(1, -1)
        return { json: `{"markets":[${markets}],${page},"categories":${categories}}` }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets',
      access: 'trader',
      tag: TAG,
      summary: 'Open a market; its liquidity is paid from the own balance',
      idempotent: true,
      status: 201,
      body: schema.NewMarket,
      data: schema.Market,
      async handler({ body, principal, claim }) {
        const draft = draftOf(body)
        const why = draft.binding && (await checkExpression(draft.binding.expr))
        if (why !== null) throw invalid([{ path: 'binding.expr', message: `cannot be asked: ${why}` }])
        const done = await desk.submit(principal!, { type: 'create_market', draft }, 'market', claim)
        const market = marketJson(await present(done.marketId))
        return { status: 201, data: market, message: `The market is open until ${market.closes_at}.` }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/trending',
      access: 'open',
      tag: TAG,
      summary: 'Markets with a trending score of 50 or more, highest first',
      query: Type.Object({ limit: Type.Integer({ default: 10, minimum: 1, maximum: 50 }) }),
      data: Type.Array(schema.Market),
      handler: async ({ query }) => ({ json: await reading.trending(query.limit) }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/stats',
      access: 'open',
      tag: TAG,
      summary: 'Totals over all markets',
      data: schema.Stats,
      handler: async () => ({ json: (await reading.stats()).json }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/:id',
      access: 'open',
      tag: TAG,
      summary: 'One market; with the own holding for a trader who is logged in',
      params: schema.Id,
      data: schema.Market,
      handler({ params, principal }): Reply<never> | Promise<Reply<never>> {
        const answer = (json: string | null): Reply<never> => {
          if (json === null) throw noMarket()
          return { json }
        }
        const id = params.id as MarketId
        const json = reading.market(id)
        if (principal?.role !== 'trader') return json instanceof Promise ? json.then(answer) : answer(json)
        const held = reading.holding(principal.id as UserId, id)
        const both = (market: string | null, own: string) =>
          answer(market && `${market.slice(0, -1)},"holding":${own}}`)
        // What is held in memory is answered in the same turn.
        if (typeof held === 'string' && !(json instanceof Promise)) return both(json, held)
        return Promise.all([json, held]).then(([market, own]) => both(market, own))
      },
    }),
    route({
      method: 'PUT',
      path: '/api/v1/markets/:id',
      access: 'trader_or_admin',
      tag: TAG,
      summary: 'Edit a market: its creator or an admin; status and outcome are not set here',
      params: schema.Id,
      body: schema.MarketChanges,
      data: schema.Market,
      async handler({ params, body, principal }) {
        await present(params.id)
        const { image_url, ...rest } = body
        const changes = { ...rest, ...(image_url === undefined ? {} : { imageUrl: image_url }) }
        const marketId = params.id as MarketId
        await desk.submit(principal!, { type: 'edit_market', marketId, changes }, 'market')
        return { data: marketJson(await present(marketId)), message: 'The market was changed.' }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/:id/price-history',
      access: 'open',
      tag: TAG,
      summary: 'Prices over some hours or the whole life, at a step that gives at most 300 points',
      params: schema.Id,
      query: Type.Object({
        hours: Type.Integer({ default: 24, minimum: 1, maximum: 168 }),
        whole: Type.Boolean({ default: false, description: 'The whole life; `hours` is left alone.' }),
      }),
      data: Type.Array(schema.HistoryPoint),
      async handler({ params, query }) {
        const json = await reading.history(params.id as MarketId, query.whole ? null : query.hours)
        if (json === null) throw noMarket()
        return { json }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/:id/quote',
      access: 'open',
      tag: TAG,
      summary: 'What a trade would cost now; a trade with its `version` gets exactly this, or 409',
      params: schema.Id,
      query: Type.Object({ outcome: schema.OutcomeGiven, side: schema.Side, amount: schema.Amount }),
      data: schema.QuoteAnswer,
      handler({ params, query, principal }): Reply<never> | Promise<Reply<never>> {
        const answer = (quote: Awaited<ReturnType<typeof reading.quote>>): Reply<never> => {
          if (quote === null) throw noMarket()
          if (typeof quote === 'string') return { json: quote }
          throw refused({ code: quote.invalid as RefusalCode, detail: quote.detail })
        }
        const quote = reading.quote({
          marketId: params.id as MarketId,
          userId: principal?.role === 'trader' ? (principal.id as UserId) : null,
          side: query.side,
          outcome: outcomeOf(query.outcome),
          shares: sharesOf(query.amount, 'amount'),
        })
        return quote instanceof Promise ? quote.then(answer) : answer(quote)
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets/:id/close',
      access: 'trader_or_admin',
      tag: TAG,
      summary: 'Close a market before its time: its creator or an admin',
      idempotent: true,
      params: schema.Id,
      data: schema.Market,
      async handler({ params, principal, claim }) {
        const marketId = params.id as MarketId
        await desk.submit(principal!, { type: 'close_market', marketId }, 'market', claim)
        return { data: marketJson(await present(marketId)), message: 'The market is closed.' }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets/:id/suspend',
      access: 'admin',
      tag: TAG,
      summary: 'Suspend a market, or let it go on',
      idempotent: true,
      params: schema.Id,
      body: Type.Object({ suspended: Type.Boolean() }),
      data: schema.Market,
      async handler({ params, body, principal, claim }) {
        const marketId = params.id as MarketId
        const { suspended } = body
        await desk.submit(principal!, { type: 'suspend_market', marketId, suspended }, 'market', claim)
        const message = suspended ? 'The market is suspended.' : 'The market goes on.'
        return { data: marketJson(await present(marketId)), message }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets/:id/resolve',
      access: 'trader_or_admin',
      tag: TAG,
      summary: 'Say how it ended: its creator after the close, or an admin',
      idempotent: true,
      params: schema.Id,
      body: schema.Resolve,
      data: schema.ResolveAnswer,
      async handler({ params, body, principal, claim }) {
        const marketId = params.id as MarketId
        const resolution = resolutionOf(body.outcome)
        const source = body.resolution_source
        const command = { type: 'resolve_market', marketId, resolution, source } as const
        const done = await desk.submit(principal!, command, 'resolved', claim)
        const final = done.finalAt === null ? null : toIso(done.finalAt)
        return {
          data: {
            market: marketJson(await present(marketId)),
            total_paid: creditsText(done.paid),
            holders: done.holders,
            final_at: final,
          },
          message: final === null ? 'Resolved; payouts are made.' : `Resolved; payouts are held until ${final}.`,
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/markets/:id/disputes',
      access: 'open',
      tag: TAG,
      summary: 'Disputes of a resolution, newest first',
      params: schema.Id,
      query: Type.Object(schema.page(20, 100)),
      data: Type.Object({ disputes: Type.Array(schema.Dispute), ...schema.paged }),
      async handler({ params, query }) {
        const { id } = await present(params.id)
        const { rows, total } = await reads.disputes(id, query)
        return { data: { disputes: rows.map(disputeJson), ...paging(query.skip, query.limit, total) } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets/:id/disputes',
      access: 'trader',
      tag: TAG,
      summary: 'Dispute a resolution: holders, once each, within the dispute window',
      idempotent: true,
      status: 201,
      params: schema.Id,
      body: schema.NewDispute,
      data: schema.Dispute,
      async handler({ params, body, principal, claim }) {
        const { id } = await present(params.id)
        const { dispute_type: disputeType, reason, evidence = null } = body
        const command = { type: 'open_dispute', marketId: id, disputeType, reason, evidence } as const
        const { disputeId } = await desk.submit(principal!, command, 'dispute', claim)
        const data = {
          id: disputeId,
          market_id: id,
          user_id: principal!.id,
          dispute_type: disputeType,
          reason,
          evidence,
          status: 'open' as const,
          created_at: toIso(clock.now()),
        }
        const stored = (await reads.disputes(id, { skip: 0, limit: 100 })).rows.find((row) => row.id === disputeId)
        return { status: 201, data: stored ? disputeJson(stored) : data, message: 'The dispute is open.' }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/markets/:id/decide-disputes',
      access: 'admin',
      tag: TAG,
      summary: 'Decide the open disputes: the resolution stands, or another one takes its place',
      idempotent: true,
      params: schema.Id,
      body: schema.Decide,
      data: schema.ResolveAnswer,
      async handler({ params, body, principal, claim }) {
        const marketId = params.id as MarketId
        const resolution = resolutionOf(body.outcome)
        const command = { type: 'decide_disputes', marketId, resolution, note: body.note } as const
        const done = await desk.submit(principal!, command, 'resolved', claim)
        return {
          data: {
            market: marketJson(await present(marketId)),
            total_paid: creditsText(done.paid),
            holders: done.holders,
            final_at: done.finalAt === null ? null : toIso(done.finalAt),
          },
          message: 'The disputes are decided.',
        }
      },
    }),
  ]
}
