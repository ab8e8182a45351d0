/** What a trader holds, and who does best (contract 9.5). */
import Type from 'typebox'
import { notFound } from '../../base/errors.ts'
import type { Principal, Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { creditsText, priceOf, worthOf } from '../amounts.ts'
import type { UserId } from '../model.ts'
import type { MarketReads, Period } from '../reads.ts'
import * as schema from '../schemas.ts'
import type { MarketRouteDeps } from '../surface.ts'
import { figuresJson, paging, positionJson, rankJson, tradeJson } from '../views.ts'

const POSITIONS_MAX = 1_000

export function portfolioRoutes({ desk, reads, clock }: MarketRouteDeps): Route[] {
  const userOf = (principal: Principal | null) => principal!.id as UserId

  async function ownPosition(principal: Principal | null, id: string) {
    const position = await reads.position(userOf(principal), id)
    if (!position) throw notFound('position_not_found', 'There is no such position.')
    return position
  }

  const limit = Type.Integer({ default: 20, minimum: 1, maximum: 100 })
  const data = Type.Array(schema.Rank)
  type By = Parameters<MarketReads['leaderboard']>[0]
  const ranks = async (by: By, period: Period, minimum: number, most: number) =>
    (await reads.leaderboard(by, { period, minimum, limit: most }, clock.now())).map(rankJson)

  const ofPeriod = ([path, by, summary]: readonly [string, By, string]) =>
    route({
      method: 'GET',
      path: `/api/v1/leaderboard/${path}`,
      access: 'open',
      tag: 'leaderboard',
      summary,
      query: Type.Object({
        period: schema.Period,
        limit,
      }),
      data,
      handler: async ({ query }) => ({ data: await ranks(by, query.period, 0, query.limit) }),
    })

  return [
    route({
      method: 'GET',
      path: '/api/v1/positions',
      access: 'trader',
      tag: 'positions',
      summary: 'Own positions',
      query: Type.Object({ active_only: Type.Boolean({ default: true }), ...schema.page(20, 100) }),
      data: schema.PositionList,
      async handler({ query, principal }) {
        const { active_only, skip, limit: most } = query
        const { rows, total } = await reads.positions(userOf(principal), active_only, { skip, limit: most })
        return { data: { positions: rows.map(positionJson), ...paging(skip, most, total) } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/positions/portfolio',
      access: 'trader',
      tag: 'positions',
      summary: 'Balances, the sum of all positions, and those that are active (at most 1000)',
      data: schema.Portfolio,
      async handler({ principal }) {
        const [account, { rows }] = await Promise.all([
          reads.account(userOf(principal)),
          reads.positions(userOf(principal), false, { skip: 0, limit: POSITIONS_MAX }),
        ])
        const { available_balance, reserved_balance, portfolio_value, total_balance } = figuresJson(account)
        const sum = (of: (row: (typeof rows)[number]) => bigint) => rows.reduce((all, row) => all + of(row), 0n)
        const invested = sum((row) => row.cost)
        const unrealized = sum((row) => worthOf(row.shares, row.currentPrice)) - invested
        const realized = sum((row) => row.realized)
        return {
          data: {
            available_balance,
            reserved_balance,
            portfolio_value,
            total_balance,
            total_invested: creditsText(invested),
            unrealized_pnl: creditsText(unrealized),
            realized_pnl: creditsText(realized),
            total_pnl: creditsText(unrealized + realized),
            positions: rows.filter((row) => row.isActive).map(positionJson),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/positions/:id',
      access: 'trader',
      tag: 'positions',
      summary: 'One own position',
      params: schema.Id,
      data: schema.Position,
      handler: async ({ params, principal }) => ({ data: positionJson(await ownPosition(principal, params.id)) }),
    }),
    route({
      method: 'POST',
      path: '/api/v1/positions/:id/close',
      access: 'trader',
      tag: 'positions',
      summary: 'Sell all of a position at the market',
      idempotent: true,
      params: schema.Id,
      body: Type.Object({ min_price: Type.Optional(schema.LimitPrice) }),
      data: schema.Trade,
      async handler({ params, body, principal, claim }) {
        const { marketId, outcome } = await ownPosition(principal, params.id)
        const bound = body.min_price === undefined ? null : priceOf(body.min_price, 'min_price')
        const command = { type: 'close_position', marketId, outcome, limit: bound } as const
        const done = await desk.submit(principal!, command, 'trade', claim)
        return { data: tradeJson(done.trade), message: 'The position is closed.' }
      },
    }),
    ...(
      [
        ['traders', 'profit', 'Who earned most in the period; sign-up grants and void markets are left out'],
        ['volume', 'volume', 'Who traded most in the period'],
        ['markets', 'markets', 'Who opened most markets in the period'],
      ] as const
    ).map(ofPeriod),
    route({
      method: 'GET',
      path: '/api/v1/leaderboard/win-rate',
      access: 'open',
      tag: 'leaderboard',
      summary: 'Who was right most often, over resolved markets',
      query: Type.Object({ min_trades: Type.Integer({ default: 10, minimum: 1, maximum: 1_000_000 }), limit }),
      data,
      handler: async ({ query }) => ({ data: await ranks('win_rate', 'all_time', query.min_trades, query.limit) }),
    }),
    route({
      method: 'GET',
      path: '/api/v1/leaderboard/calibration',
      access: 'open',
      tag: 'leaderboard',
      summary: 'Whose prices were nearest to what came, by Brier score; 0 is best',
      query: Type.Object({ min_markets: Type.Integer({ default: 10, minimum: 1, maximum: 1_000_000 }), limit }),
      data,
      handler: async ({ query }) => ({ data: await ranks('calibration', 'all_time', query.min_markets, query.limit) }),
    }),
  ]
}
