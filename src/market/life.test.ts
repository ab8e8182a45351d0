/** The life of markets and orders by example: who may what and when, what is refused and why, and what is paid. */
import { beforeEach, describe, expect, it } from 'vitest'
import type { DecideSettings } from './books.ts'
import type { Answer, Command, Done } from './commands.ts'
import { decide } from './decide.ts'
import { MemoryBooks } from './memory-books.ts'
import type { MarketDraft, MarketId, OrderId, Outcome, Side, UserId } from './model.ts'
import { quote } from './trading.ts'

const [ann, ben, cyd] = ['ann', 'ben', 'cyd'] as [UserId, UserId, UserId]
const CREDIT = 1_000_000n
const SHARE = 10_000n
const DAY = 86_400_000
const CLOSES = 10 * DAY

let books: MemoryBooks
let now: number
let window: number
let ids = 0

function ask(userId: UserId, command: Command, kind: 'trader' | 'admin' | 'system' = 'trader'): Answer {
  const settings: DecideSettings = {
    disputeWindowMs: window,
    marketsPerDay: 2,
    ordersPerUser: 3,
    newId: () => `id${String(ids++).padStart(6, '0')}`,
  }
  const decision = decide(books, { key: '', fingerprint: '', actor: { userId, kind }, command }, settings, now)
  if (!decision.ok) return decision
  books.apply(decision.effects)
  return { ok: true, done: decision.effects.done }
}

function does<T extends Done['type']>(type: T, answer: Answer): Extract<Done, { type: T }> {
  if (!answer.ok) throw new Error(`${answer.refusal.code}: ${answer.refusal.detail}`)
  if (answer.done.type !== type) throw new Error(`a ${answer.done.type}, not a ${type}`)
  return answer.done as Extract<Done, { type: T }>
}

const refusal = (answer: Answer): string | null => (answer.ok ? null : answer.refusal.code)

const draft = (changes: Partial<MarketDraft> = {}): MarketDraft => ({
  title: 'Rain',
  question: 'Will it rain on Friday?',
  description: null,
  outcomes: ['yes', 'no'],
  category: 'weather',
  tags: [],
  imageUrl: null,
  resolutionRules: null,
  intendedSource: null,
  closesAt: CLOSES,
  liquidity: 100n * CREDIT,
  feeRate: 20_000n,
  minTrade: SHARE,
  maxTrade: 10_000n * SHARE,
  binding: null,
  ...changes,
})

const create = (changes: Partial<MarketDraft> = {}, userId = ann): MarketId =>
  does('market', ask(userId, { type: 'create_market', draft: draft(changes) })).marketId

const trade = (
  userId: UserId,
  marketId: MarketId,
  side: Side,
  outcome: Outcome,
  shares: bigint,
  limit: bigint | null = null,
) => ask(userId, { type: 'trade', marketId, side, outcome, shares: shares * SHARE, limit, version: null })

function limitOrder(
  userId: UserId,
  marketId: MarketId,
  side: Side,
  outcome: Outcome,
  shares: bigint,
  limit: bigint,
  more: Partial<Extract<Command, { type: 'place_order' }>> = {},
): Answer {
  return ask(userId, {
    type: 'place_order',
    marketId,
    orderType: 'limit',
    side,
    outcome,
    shares: shares * SHARE,
    limit,
    timeInForce: 'gtc',
    expiresAt: null,
    clientOrderId: null,
    ...more,
  })
}

const resolve = (userId: UserId, marketId: MarketId, outcome: Outcome | 'void', kind: 'trader' | 'admin' = 'trader') =>
  ask(
    userId,
    {
      type: 'resolve_market',
      marketId,
      resolution: outcome === 'void' ? { kind: 'void' } : { kind: 'outcome', outcome },
      source: 'the gauge',
    },
    kind,
  )

const money = (userId: UserId): bigint => books.account(userId)!.available
const orderOf = (answer: Answer) => does('order', answer).order

beforeEach(() => {
  books = new MemoryBooks()
  now = DAY
  window = 0
  for (const userId of [ann, ben, cyd]) ask(userId, { type: 'open_account', userId, username: userId })
})

describe('accounts and creation', () => {
  it('an account is given its grant once', () => {
    expect(money(ann)).toBe(1_000n * CREDIT)
    expect(does('account', ask(ann, { type: 'open_account', userId: ann, username: 'ann' })).created).toBe(false)
    expect(money(ann)).toBe(1_000n * CREDIT)
  })

  it('the creator pays the liquidity', () => {
    const id = create()
    expect(money(ann)).toBe(900n * CREDIT)
    expect(books.market(id)).toMatchObject({
      pool: 100n * CREDIT,
      prices: [500_000n, 500_000n],
      state: 'open',
      version: 1,
    })
  })

  it.each([
    ['closes_in_the_past', { closesAt: DAY }],
    ['insufficient_funds', { liquidity: 1_001n * CREDIT }],
    ['invalid', { liquidity: 99n * CREDIT }],
    ['invalid', { feeRate: 100_001n }],
    ['invalid', { maxTrade: SHARE }],
    ['invalid', { minTrade: 0n }],
    ['invalid', { outcomes: ['yes'] }],
    ['invalid', { outcomes: ['yes', 'no', 'perhaps'] }],
    ['invalid', { outcomes: ['yes', 'yes'] }],
  ])('refused as %s: %o', (code, changes) => {
    expect(refusal(ask(ann, { type: 'create_market', draft: draft(changes) }))).toBe(code)
    expect(money(ann)).toBe(1_000n * CREDIT)
  })

  it('only so many in 24 hours', () => {
    create()
    create()
    expect(refusal(ask(ann, { type: 'create_market', draft: draft() }))).toBe('too_many_markets')
    create({}, ben)
    now += DAY + 1
    create()
  })
})

describe('trades', () => {
  it('the price of the maker by the textbook: 10 shares at a liquidity of 100', () => {
    const id = create()
    const { trade: done } = does('trade', trade(ben, id, 'buy', 0, 10n))
    // b = 100 / ln 2; C(10, 0) - C(0, 0) = 5.0866..., and 2 % of it, both rounded up.
    const b = 100 / Math.LN2
    const cost = b * Math.log((Math.exp(10 / b) + 1) / 2)
    expect(done.value).toBe(BigInt(Math.ceil(cost * 1e6)))
    expect(done.fee).toBe((done.value * 20_000n + 999_999n) / 1_000_000n)
    expect(money(ben)).toBe(1_000n * CREDIT - done.value - done.fee)
    expect(books.market(id)!.fees).toBe(done.fee)
    expect(books.holding(ben, id, 0)).toMatchObject({ shares: 10n * SHARE, cost: done.value + done.fee, realized: 0n })
    expect(books.market(id)).toMatchObject({ traders: 1, trades: 1, volume: done.value })
  })

  it('a quoted average price holds as the limit of the trade; a millionth less does not', () => {
    const id = create()
    const quoted = quote(books, { marketId: id, userId: ben, side: 'buy', outcome: 1, shares: 7n * SHARE }, now)
    if ('code' in quoted) throw new Error(quoted.detail)
    expect(refusal(trade(ben, id, 'buy', 1, 7n, quoted.averagePrice - 1n))).toBe('price_beyond_limit')
    expect(does('trade', trade(ben, id, 'buy', 1, 7n, quoted.averagePrice)).trade.value).toBe(quoted.value)
    const sale = quote(books, { marketId: id, userId: ben, side: 'sell', outcome: 1, shares: 7n * SHARE }, now)
    if ('code' in sale) throw new Error(sale.detail)
    expect(refusal(trade(ben, id, 'sell', 1, 7n, sale.averagePrice + 1n))).toBe('price_beyond_limit')
    expect(does('trade', trade(ben, id, 'sell', 1, 7n, sale.averagePrice)).trade.value).toBe(sale.value)
  })

  it('refusals, in their order', () => {
    const id = create()
    const none = 'none' as MarketId
    expect(refusal(trade('nobody' as UserId, none, 'buy', 0, 1n))).toBe('account_not_found')
    expect(refusal(trade(ben, none, 'buy', 0, 1n))).toBe('market_not_found')
    expect(refusal(trade(ben, id, 'buy', 2, 1n))).toBe('invalid')
    expect(refusal(trade(ben, id, 'buy', -1, 1n))).toBe('invalid')
    expect(refusal(trade(ben, id, 'buy', 0, 0n))).toBe('amount_below_minimum')
    expect(refusal(trade(ben, id, 'buy', 0, -5n))).toBe('amount_below_minimum')
    expect(refusal(trade(ben, id, 'buy', 0, 10_001n))).toBe('amount_above_maximum')
    expect(refusal(trade(ben, id, 'sell', 0, 1n))).toBe('insufficient_shares')
    expect(refusal(trade(ben, id, 'buy', 0, 5_000n))).toBe('insufficient_funds')
    const versioned = { type: 'trade', marketId: id, side: 'buy', outcome: 0, shares: SHARE, limit: null } as const
    expect(refusal(ask(ben, { ...versioned, version: 7 }))).toBe('quote_changed')
    does('trade', ask(ben, { ...versioned, version: 1 }))
    now = CLOSES
    expect(refusal(trade(ben, id, 'buy', 0, 1n))).toBe('market_not_open')
    expect(books.market(id)!.state).toBe('open')
  })

  it('what is left of a holding can be sold, below the least trade too', () => {
    const id = create()
    const buy = { type: 'trade', marketId: id, outcome: 0, limit: null, version: null } as const
    does('trade', ask(ben, { ...buy, side: 'buy', shares: 25_000n }))
    does('trade', ask(ben, { ...buy, side: 'sell', shares: 20_000n }))
    expect(refusal(ask(ben, { ...buy, side: 'sell', shares: 4_000n }))).toBe('amount_below_minimum')
    does('trade', ask(ben, { ...buy, side: 'sell', shares: 5_000n }))
    expect(books.holding(ben, id, 0)).toMatchObject({ shares: 0n, cost: 0n })
    expect(books.account(ben)!.profit).toBe(money(ben) - 1_000n * CREDIT)
  })
})

describe('orders', () => {
  it('a resting buy holds back its credit and is met when its price comes: by a sale, and by a buy of the other outcome', () => {
    const id = create({ feeRate: 0n })
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 450_000n))
    expect(order.state).toBe('pending')
    expect(books.account(ben)).toMatchObject({ available: 995_500_000n, reserved: 4_500_000n, openOrders: 1 })
    // Buying `no` brings `yes` down to 0.45, where ben is: 0.45 of ben and 0.55 of cyd make a pair.
    const { trade: done } = does('trade', trade(cyd, id, 'buy', 1, 40n))
    const met = done.fills.find((fill) => fill.against === 'book')!
    expect(met).toMatchObject({ shares: 10n * SHARE, value: 5_500_000n, counterparty: ben })
    expect(books.order(order.id)).toMatchObject({ state: 'filled', averagePrice: 450_000n, reservedMoney: 0n })
    expect(books.holding(ben, id, 0)).toMatchObject({ shares: 10n * SHARE, cost: 4_500_000n })
    expect(books.account(ben)).toMatchObject({ available: 995_500_000n, reserved: 0n, openOrders: 0 })
    // And by a sale: ben's next order is above the maker.
    expect(books.market(id)!.prices[0]! < 450_000n).toBe(true)
    does('order', limitOrder(ben, id, 'sell', 0, 4n, 460_000n))
    const bought = does('trade', trade(cyd, id, 'buy', 0, 60n)).trade
    expect(bought.fills.find((fill) => fill.against === 'book')).toMatchObject({
      shares: 4n * SHARE,
      value: 1_840_000n,
    })
  })

  it('price first, then time; a change of limit goes to the end of the line, a change of expiry does not', () => {
    const id = create({ feeRate: 0n })
    const first = orderOf(limitOrder(ben, id, 'buy', 0, 5n, 450_000n)).id
    const second = orderOf(limitOrder(cyd, id, 'buy', 0, 5n, 450_000n)).id
    const better = orderOf(limitOrder(cyd, id, 'buy', 0, 5n, 460_000n)).id
    const line = (): OrderId[] => books.resting(id, 0, 'buy').map((order) => order.id)
    expect(line()).toEqual([better, first, second])
    does('order', ask(ben, { type: 'amend_order', orderId: first, limit: null, expiresAt: CLOSES }))
    expect(line()).toEqual([better, first, second])
    does('order', ask(ben, { type: 'amend_order', orderId: first, limit: 440_000n, expiresAt: undefined }))
    does('order', ask(ben, { type: 'amend_order', orderId: first, limit: 450_000n, expiresAt: undefined }))
    expect(line()).toEqual([better, second, first])
    expect(books.account(ben)!.reserved).toBe(2_250_000n)
    does('trade', trade(ann, id, 'buy', 1, 60n))
    expect([better, second, first].map((orderId) => books.order(orderId)!.state)).toEqual([
      'filled',
      'filled',
      'filled',
    ])
  })

  it('amending across the price trades at once', () => {
    const id = create({ feeRate: 0n })
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 5n, 450_000n))
    const amended = does(
      'order',
      ask(ben, { type: 'amend_order', orderId: order.id, limit: 600_000n, expiresAt: undefined }),
    )
    expect(amended.order).toMatchObject({ id: order.id, state: 'filled', remainingShares: 0n })
    expect(amended.trade!.shares).toBe(5n * SHARE)
    expect(books.account(ben)).toMatchObject({ reserved: 0n, openOrders: 0 })
  })

  it('ioc leaves nothing behind, fok takes all or nothing', () => {
    const id = create()
    expect(refusal(limitOrder(ben, id, 'buy', 0, 500n, 520_000n, { timeInForce: 'fok' }))).toBe('not_fillable')
    const ioc = orderOf(limitOrder(ben, id, 'buy', 0, 500n, 520_000n, { timeInForce: 'ioc' }))
    expect(ioc.state).toBe('cancelled')
    expect(ioc.remainingShares > 0n && ioc.remainingShares < 500n * SHARE).toBe(true)
    expect(books.account(ben)!.reserved).toBe(0n)
    // The maker has come to the limit, to the millionth.
    expect(books.market(id)!.prices[0]).toBe(520_000n)
    const fok = orderOf(limitOrder(ben, id, 'buy', 0, 5n, 600_000n, { timeInForce: 'fok' }))
    expect(fok.state).toBe('filled')
  })

  it('nobody trades with oneself: the own order in the way is cancelled', () => {
    const id = create({ feeRate: 0n })
    const own = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 450_000n))
    const { trade: done } = does('trade', trade(ben, id, 'buy', 1, 40n))
    expect(done.fills.every((fill) => fill.against === 'maker')).toBe(true)
    expect(books.order(own.id)!.state).toBe('cancelled')
    expect(books.account(ben)!.reserved).toBe(0n)
  })

  it('expires, with and without a tick', () => {
    const id = create({ feeRate: 0n })
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 450_000n, { expiresAt: now + 1000 }))
    now += 1000
    // No tick ran: it is passed, and what meets it puts it out.
    const { trade: done } = does('trade', trade(cyd, id, 'buy', 1, 40n))
    expect(done.fills.length).toBe(1)
    expect(books.order(order.id)!.state).toBe('expired')
    const another = orderOf(limitOrder(ben, id, 'buy', 1, 10n, 450_000n, { expiresAt: now + 1000 }))
    // A quote that met it is a quote no more when it has expired, though no event has said so.
    const asked = { marketId: id, side: 'buy', outcome: 0, shares: 90n * SHARE } as const
    const quoted = quote(books, { ...asked, userId: cyd }, now)
    if ('code' in quoted) throw new Error(quoted.detail)
    expect(quoted.fromBook).toBe(10n * SHARE)
    now += 1000
    expect(refusal(ask(cyd, { type: 'trade', ...asked, limit: null, version: quoted.version }))).toBe('quote_changed')
    expect(does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system')).changed).toBe(1)
    expect(does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system')).changed).toBe(0)
    expect(books.order(another.id)!.state).toBe('expired')
    expect(books.account(ben)!.reserved).toBe(0n)
  })

  it('refusals', () => {
    const id = create()
    expect(refusal(limitOrder(ben, id, 'buy', 0, 10n, 0n))).toBe('invalid')
    expect(refusal(limitOrder(ben, id, 'buy', 0, 10n, 1_000_000n))).toBe('invalid')
    expect(refusal(limitOrder(ben, id, 'buy', 0, 10n, 400_000n, { expiresAt: now }))).toBe('invalid')
    expect(refusal(limitOrder(ben, id, 'sell', 0, 10n, 600_000n))).toBe('insufficient_shares')
    expect(refusal(limitOrder(ben, id, 'buy', 0, 9_999n, 400_000n))).toBe('insufficient_funds')
    const named = { clientOrderId: 'mine' }
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 400_000n, named))
    expect(refusal(limitOrder(ben, id, 'buy', 0, 10n, 400_000n, named))).toBe('idempotency_clash')
    does('order', limitOrder(cyd, id, 'buy', 0, 10n, 400_000n, named))
    does('order', limitOrder(ben, id, 'buy', 0, 10n, 400_000n))
    does('order', limitOrder(ben, id, 'buy', 0, 10n, 400_000n))
    expect(refusal(limitOrder(ben, id, 'buy', 0, 10n, 400_000n))).toBe('too_many_orders')
    expect(refusal(ask(cyd, { type: 'cancel_order', orderId: order.id }))).toBe('order_not_found')
    does('order', ask(ben, { type: 'cancel_order', orderId: order.id }))
    expect(refusal(ask(ben, { type: 'cancel_order', orderId: order.id }))).toBe('order_done')
    expect(does('cancelled', ask(ben, { type: 'cancel_all', marketId: null })).orders.length).toBe(2)
    expect(books.account(ben)).toMatchObject({ reserved: 0n, openOrders: 0, available: 1_000n * CREDIT })
  })

  it('closing a position cancels its sells and sells all', () => {
    const id = create({ feeRate: 0n })
    does('trade', trade(ben, id, 'buy', 0, 20n))
    does('order', limitOrder(ben, id, 'sell', 0, 15n, 900_000n))
    expect(refusal(trade(ben, id, 'sell', 0, 20n))).toBe('insufficient_shares')
    expect(refusal(ask(cyd, { type: 'close_position', marketId: id, outcome: 0, limit: null }))).toBe(
      'position_not_found',
    )
    does('trade', ask(ben, { type: 'close_position', marketId: id, outcome: 0, limit: null }))
    expect(books.holding(ben, id, 0)).toMatchObject({ shares: 0n, reserved: 0n })
    expect(books.account(ben)!.openOrders).toBe(0)
  })
})

describe('resolution', () => {
  it('pays a credit a share, once; what is left is the creator’s and no profit', () => {
    const id = create()
    does('trade', trade(ben, id, 'buy', 0, 30n))
    does('trade', trade(cyd, id, 'buy', 1, 10n))
    const before = money(ben)
    const pool = books.market(id)!.pool
    expect(refusal(resolve(ann, id, 0))).toBe('market_not_closed')
    expect(refusal(resolve(ben, id, 0))).toBe('not_yours')
    now = CLOSES
    expect(does('resolved', resolve(ann, id, 0))).toMatchObject({ paid: 30n * CREDIT, holders: 1, finalAt: null })
    expect(money(ben)).toBe(before + 30n * CREDIT)
    expect(money(ann)).toBe(900n * CREDIT + pool - 30n * CREDIT)
    expect(books.account(ann)!.profit).toBe(0n)
    expect(books.account(ben)).toMatchObject({
      resolvedMarkets: 1,
      wonMarkets: 1,
      profit: money(ben) - 1_000n * CREDIT,
    })
    expect(books.account(cyd)).toMatchObject({
      resolvedMarkets: 1,
      wonMarkets: 0,
      profit: money(cyd) - 1_000n * CREDIT,
    })
    expect(refusal(resolve(ann, id, 0))).toBe('already_resolved')
    expect(refusal(resolve(ann, id, 1, 'admin'))).toBe('already_resolved')
    expect(money(ben)).toBe(before + 30n * CREDIT)
  })

  it('own liquidity that comes back as winnings is no profit either', () => {
    const id = create({ feeRate: 0n })
    does('trade', trade(ann, id, 'buy', 0, 100n))
    const before = 1_000n * CREDIT
    now = CLOSES
    does('resolved', resolve(ann, id, 0))
    // Nobody else was there: all that the shares brought was the creator's own.
    expect(money(ann)).toBe(before)
    expect(books.account(ann)).toMatchObject({ profit: 0n, resolvedMarkets: 1, wonMarkets: 0 })
    // What others lost to it is.
    now = DAY
    const other = create({ feeRate: 0n })
    const { value } = does('trade', trade(ben, other, 'buy', 1, 50n)).trade
    does('trade', trade(ann, other, 'buy', 0, 100n))
    now = CLOSES
    does('resolved', resolve(ann, other, 0))
    expect(books.account(ann)).toMatchObject({ profit: value, wonMarkets: 1 })
    expect(money(ann)).toBe(before + value)
  })

  it('an administrator resolves at any time; open orders are given back', () => {
    const id = create()
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 400_000n))
    does('resolved', resolve(cyd, id, 1, 'admin'))
    expect(books.order(order.id)!.state).toBe('cancelled')
    expect(books.account(ben)).toMatchObject({ available: 1_000n * CREDIT, reserved: 0n })
  })

  it('void gives the net cost back, fees stay paid', () => {
    const id = create()
    const { trade: a } = does('trade', trade(ben, id, 'buy', 0, 30n))
    const { trade: b } = does('trade', trade(ben, id, 'sell', 0, 10n))
    does('resolved', resolve(cyd, id, 'void', 'admin'))
    expect(money(ben)).toBe(1_000n * CREDIT - a.fee - b.fee)
    expect(money(ann)).toBe(1_000n * CREDIT)
    expect(books.account(ben)).toMatchObject({ profit: 0n, resolvedMarkets: 0 })
  })

  it('void gives nothing to who holds nothing any more', () => {
    const id = create({ feeRate: 0n })
    does('trade', trade(ben, id, 'buy', 0, 30n))
    does('trade', trade(cyd, id, 'buy', 1, 90n))
    does('trade', trade(ben, id, 'sell', 0, 30n))
    const left = money(ben)
    expect(left < 1_000n * CREDIT).toBe(true)
    does('resolved', resolve(cyd, id, 'void', 'admin'))
    expect(money(ben)).toBe(left)
    expect(money(cyd)).toBe(1_000n * CREDIT)
  })

  it('void is pro rata when sales at a profit have left the pool short; rounding goes to the house', () => {
    // Whoever sells dear after others bought takes it out of the pool: 1,000 credits of each are spent at 100 of liquidity.
    const id = create({ feeRate: 0n })
    does('trade', trade(ben, id, 'buy', 0, 600n))
    does('trade', trade(cyd, id, 'buy', 0, 900n))
    does('trade', trade(ben, id, 'sell', 0, 600n))
    does('trade', trade(ben, id, 'buy', 1, 700n))
    does('trade', trade(ann, id, 'buy', 1, 800n))
    does('trade', trade(ben, id, 'sell', 1, 700n))
    const net = (userId: UserId): bigint =>
      [0, 1].reduce((sum, o) => {
        const row = books.holding(userId, id, o)
        return sum + (row === undefined ? 0n : row.paid - row.received)
      }, 0n)
    const owed = net(ann) + net(cyd)
    const { pool } = books.market(id)!
    expect(net(ben) < -100n * CREDIT).toBe(true)
    expect(owed > pool).toBe(true)
    const before = { ann: money(ann), cyd: money(cyd), ben: money(ben) }
    does('resolved', resolve(cyd, id, 'void', 'admin'))
    expect(money(ann) - before.ann).toBe((net(ann) * pool) / owed)
    expect(money(cyd) - before.cyd).toBe((net(cyd) * pool) / owed)
    expect(money(ben)).toBe(before.ben)
    expect(books.market(id)).toMatchObject({ pool: 0n, escrow: 0n })
    expect(books.market(id)!.fees).toBe(pool - (net(ann) * pool) / owed - (net(cyd) * pool) / owed)
  })

  it('payouts wait for the window, then a tick pays them once', () => {
    window = 7 * DAY
    const id = create()
    does('trade', trade(ben, id, 'buy', 0, 30n))
    const before = money(ben)
    now = CLOSES
    expect(does('resolved', resolve(ann, id, 0)).finalAt).toBe(CLOSES + 7 * DAY)
    expect(books.market(id)).toMatchObject({ pool: 0n, paidAt: null })
    expect(money(ben)).toBe(before)
    now += 7 * DAY - 1
    does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system'))
    expect(money(ben)).toBe(before)
    now += 1
    expect(refusal(ask(ben, disputeOf(id)))).toBe('dispute_closed')
    expect(does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system')).changed).toBe(1)
    expect(money(ben)).toBe(before + 30n * CREDIT)
    expect(does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system')).changed).toBe(0)
  })

  it('a dispute holds payouts until an administrator decides, whose word is paid at once', () => {
    window = 7 * DAY
    const id = create()
    does('trade', trade(ben, id, 'buy', 0, 30n))
    does('trade', trade(cyd, id, 'buy', 1, 10n))
    const before = { ben: money(ben), cyd: money(cyd) }
    expect(refusal(ask(cyd, disputeOf(id)))).toBe('not_resolved')
    now = CLOSES
    does('resolved', resolve(ann, id, 1))
    expect(refusal(ask(ann, disputeOf(id)))).toBe('not_a_holder')
    does('dispute', ask(ben, disputeOf(id)))
    expect(refusal(ask(ben, disputeOf(id)))).toBe('dispute_exists')
    does('dispute', ask(cyd, disputeOf(id)))
    expect(books.market(id)!.state).toBe('disputed')
    now += 30 * DAY
    does('ticked', ask(ann, { type: 'tick', marketId: null }, 'system'))
    expect(money(cyd)).toBe(before.cyd)
    const decision: Command = {
      type: 'decide_disputes',
      marketId: id,
      resolution: { kind: 'outcome', outcome: 0 },
      note: 'It did rain.',
    }
    expect(refusal(ask(ann, decision))).toBe('not_yours')
    expect(does('resolved', ask(cyd, decision, 'admin'))).toMatchObject({ paid: 30n * CREDIT, finalAt: null })
    expect({ ben: money(ben), cyd: money(cyd) }).toEqual({ ben: before.ben + 30n * CREDIT, cyd: before.cyd })
    expect(books.disputes(id).map((dispute) => dispute.state)).toEqual(['upheld', 'upheld'])
    expect(refusal(ask(cyd, decision, 'admin'))).toBe('dispute_closed')
  })

  it('calibration: the average price of the trades against what came', () => {
    const id = create({ feeRate: 0n, liquidity: 500n * CREDIT })
    const { trade: done } = does('trade', trade(ben, id, 'buy', 0, 100n))
    const settings: DecideSettings = { disputeWindowMs: 0, marketsPerDay: 1, ordersPerUser: 1, newId: () => 'x' }
    const command: Command = {
      type: 'resolve_market',
      marketId: id,
      resolution: { kind: 'outcome', outcome: 1 },
      source: 'the gauge',
    }
    const actor = { userId: cyd, kind: 'admin' } as const
    const decision = decide(books, { key: '', fingerprint: '', actor, command }, settings, now)
    if (!decision.ok) throw new Error(decision.refusal.detail)
    const price = Number(done.value) / 100 / 1e6
    expect(decision.effects.scores).toEqual([
      {
        userId: ben,
        marketId: id,
        profit: -done.value,
        won: false,
        brier: Math.round(price * price * 1e6),
        trades: 1,
        at: now,
      },
    ])
    expect(decision.effects.profits).toMatchObject([{ userId: ben, kind: 'payout', amount: -done.value }])
  })
})

describe('states', () => {
  it('suspended: no trades, but orders can be cancelled; resumed: as before', () => {
    const id = create()
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 400_000n))
    expect(refusal(ask(ann, { type: 'suspend_market', marketId: id, suspended: true }))).toBe('not_yours')
    does('market', ask(ann, { type: 'suspend_market', marketId: id, suspended: true }, 'admin'))
    expect(refusal(trade(ben, id, 'buy', 0, 1n))).toBe('market_not_open')
    expect(refusal(ask(ben, { type: 'amend_order', orderId: order.id, limit: 410_000n, expiresAt: undefined }))).toBe(
      'market_not_open',
    )
    does('order', ask(ben, { type: 'cancel_order', orderId: order.id }))
    does('market', ask(ann, { type: 'suspend_market', marketId: id, suspended: false }, 'admin'))
    does('trade', trade(ben, id, 'buy', 0, 1n))
  })

  it('closing time: a tick notes it and gives orders back', () => {
    const id = create()
    const order = orderOf(limitOrder(ben, id, 'buy', 0, 10n, 400_000n))
    now = CLOSES
    expect(does('ticked', ask(ann, { type: 'tick', marketId: id }, 'system')).changed).toBe(1)
    expect(books.market(id)).toMatchObject({ state: 'closed', closedAt: CLOSES, openOrders: 0 })
    expect(books.order(order.id)!.state).toBe('expired')
    expect(refusal(ask(ann, { type: 'suspend_market', marketId: id, suspended: true }, 'admin'))).toBe(
      'market_not_open',
    )
  })

  it('closed by hand, then resolved by its creator', () => {
    const id = create()
    expect(refusal(ask(ben, { type: 'close_market', marketId: id }))).toBe('not_yours')
    does('market', ask(ann, { type: 'close_market', marketId: id }))
    expect(refusal(trade(ben, id, 'buy', 0, 1n))).toBe('market_not_open')
    does('resolved', resolve(ann, id, 0))
  })

  it('a bound market is not its creator’s to resolve', () => {
    const binding = { expr: 'up', comparison: 'gt', threshold: 0, at: CLOSES } as const
    const id = create({ binding })
    now = CLOSES
    expect(refusal(resolve(ann, id, 0))).toBe('not_yours')
    does('market', ask(ann, { type: 'verify_market', marketId: id }, 'system'))
    expect(books.market(id)!.state).toBe('pending_verification')
    does('resolved', resolve(ann, id, 'void', 'admin'))
  })

  it('editing keeps what is about money', () => {
    const id = create()
    const changes = { title: 'Rain again', tags: ['rain'] }
    expect(refusal(ask(ben, { type: 'edit_market', marketId: id, changes }))).toBe('not_yours')
    does('market', ask(ann, { type: 'edit_market', marketId: id, changes }))
    expect(books.market(id)!.draft).toEqual({ ...draft(), ...changes })
    expect(books.market(id)!.version).toBe(2)
  })
})

function disputeOf(marketId: MarketId): Command {
  return {
    type: 'open_dispute',
    marketId,
    disputeType: 'wrong_outcome',
    reason: 'It did rain on Friday.',
    evidence: null,
  }
}
