/**
 * The part of the platform's public API that simulated traders use, over kept connections. Sessions renew themselves.
 * Money comes as decimal strings and is read as numbers here: for deciding what to do next, nothing else.
 */
import http from 'node:http'
import type { Scheduler } from '../../base/scheduler.ts'
import { SECOND } from '../../base/time.ts'
import type { Question } from './questions.ts'

/** The platform said no; `status` as it came. */
export class ApiFailure extends Error {
  readonly status: number
  constructor(status: number, detail: string) {
    super(detail)
    this.status = status
  }
}

export interface Session {
  readonly username: string
  readonly userId: string
  access: string
  refresh: string
  /** By the scheduler's clock. */
  until: number
  renewing: Promise<void> | null
}

export interface Listed {
  readonly id: string
  readonly title: string
  readonly creator_id: string
  readonly closes_at: string
  readonly current_price_a: number
  readonly total_liquidity: string
  readonly min_trade_amount: number
  readonly max_trade_amount: number
}

export type Api = ReturnType<typeof createApi>

export function createApi(url: string, scheduler: Scheduler, connections: number) {
  const base = new URL(url)
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections })

  // biome-ignore lint/suspicious/noExplicitAny: whatever the route answers; each method below knows its shape
  function call(method: string, path: string, body: object | null, token: string | null): Promise<any> {
    return new Promise((resolve, reject) => {
      const text = body === null ? null : JSON.stringify(body)
      const request = http.request(
        {
          agent,
          method,
          host: base.hostname,
          port: base.port,
          path,
          timeout: 30 * SECOND,
          headers: {
            ...(token === null ? {} : { authorization: `Bearer ${token}` }),
            ...(text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          },
        },
        (response) => {
          const parts: Buffer[] = []
          response.on('data', (part: Buffer) => parts.push(part))
          response.on('error', reject)
          response.on('end', () => {
            const status = response.statusCode ?? 0
            const answer = parsed(Buffer.concat(parts).toString())
            if (status >= 200 && status < 300) resolve(answer?.data)
            else reject(new ApiFailure(status, String(answer?.detail ?? `status ${status}`)))
          })
        },
      )
      request.on('timeout', () => request.destroy(new Error('no answer within 30 s')))
      request.on('error', reject)
      request.end(text)
    })
  }

  function take(session: Session, answer: { access_token: string; refresh_token: string; expires_in: number }) {
    session.access = answer.access_token
    session.refresh = answer.refresh_token
    session.until = scheduler.clock.now() + answer.expires_in * SECOND * 0.8
  }

  async function as(session: Session, method: string, path: string, body: object | null = null) {
    if (scheduler.clock.now() > session.until) {
      session.renewing ??= call('POST', '/api/v1/auth/refresh', { refresh_token: session.refresh }, null)
        .then((answer) => take(session, answer))
        .finally(() => {
          session.renewing = null
        })
      await session.renewing
    }
    return call(method, path, body, session.access)
  }

  return {
    async logIn(username: string, password: string): Promise<Session> {
      const answer = await call('POST', '/api/v1/auth/login', { username, password }, null)
      const { id } = await call('GET', '/api/v1/auth/me', null, answer.access_token)
      const session: Session = { username, userId: id, access: '', refresh: '', until: 0, renewing: null }
      take(session, answer)
      return session
    },
    async markets(): Promise<readonly Listed[]> {
      return (await call('GET', '/api/v1/markets?status=open&limit=100', null, null)).markets
    },
    openMarket: (session: Session, asked: Question, closesAt: string) =>
      as(session, 'POST', '/api/v1/markets', {
        title: asked.title,
        question: asked.question,
        outcome_a: asked.outcomes[0],
        outcome_b: asked.outcomes[1],
        category: asked.category,
        tags: asked.tags,
        closes_at: closesAt,
        total_liquidity: asked.liquidity,
      }),
    resolve: (session: Session, marketId: string, outcome: string, source: string) =>
      as(session, 'POST', `/api/v1/markets/${marketId}/resolve`, { outcome, resolution_source: source }),
    async wallet(session: Session) {
      const [me, held, resting] = await Promise.all([
        as(session, 'GET', '/api/v1/auth/me'),
        as(session, 'GET', '/api/v1/positions?limit=100'),
        as(session, 'GET', '/api/v1/orders?status=pending&limit=100'),
      ])
      type Position = { market_id: string; outcome: string; shares_owned: number; shares_reserved?: number }
      return {
        credit: Number(me.available_balance),
        orders: resting.orders.length as number,
        shares: (held.positions as Position[]).map((position) => ({
          marketId: position.market_id,
          outcome: position.outcome === 'outcome_a' ? (0 as const) : (1 as const),
          free: position.shares_owned - (position.shares_reserved ?? 0),
        })),
      }
    },
    async trade(session: Session, what: { marketId: string; side: string; outcome: string; amount: number }) {
      const { marketId, side, outcome, amount } = what
      const trade = await as(session, 'POST', '/api/v1/trades', {
        market_id: marketId,
        trade_type: side,
        outcome,
        amount,
      })
      return { value: Number(trade.total_value), fee: Number(trade.fee), priceAfter: Number(trade.price_after) }
    },
    order: (
      session: Session,
      what: { marketId: string; side: string; outcome: string; amount: number; price: number; expiresAt: string },
    ) =>
      as(session, 'POST', '/api/v1/orders', {
        market_id: what.marketId,
        order_type: 'limit',
        side: what.side,
        outcome: what.outcome,
        original_amount: what.amount,
        limit_price: what.price,
        expires_at: what.expiresAt,
        time_in_force: 'gtc',
      }),
    async cancelOne(session: Session, marketId: string): Promise<void> {
      const { orders } = await as(session, 'GET', `/api/v1/orders?status=pending&market_id=${marketId}&limit=1`)
      if (orders[0]) await as(session, 'POST', `/api/v1/orders/${orders[0].id}/cancel`)
    },
    close: () => agent.destroy(),
  }
}

// biome-ignore lint/suspicious/noExplicitAny: what came over the wire
function parsed(text: string): any {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
