/**
 * Trades and orders: the checks of each command in a fixed order, then one line after which nothing can fail, then the
 * postings. A refusal has changed nothing.
 *
 *   order   pending ──fill──▶ partially_filled ──fill──▶ filled
 *             └───────────────────┴──cancel, end of market──▶ cancelled      ──its time, closing time──▶ expired
 *
 * Only `gtc` limit orders rest. A resting buy holds back remaining * limit, rounded up; a resting sell its shares.
 */
import type { Millis } from '../base/time.ts'
import type { Books, DecideSettings, Decision, MarketRow, OrderRow } from './books.ts'
import { isOpen, stateAt } from './books.ts'
import type { Actor, Command, Fill, OrderView, Refusal, TradeDone } from './commands.ts'
import { moneyText, priceText, sharesText } from './decimals.ts'
import type { Changes } from './ledger/changes.ts'
import type { Plan, Taker } from './match.ts'
import { averagePrice, plan } from './match.ts'
import type { MarketId, Money, OrderId, OrderState, Outcome, Price, Shares, Side, TradeId, UserId } from './model.ts'
import { SOLD_MAX } from './pricing/lmsr.ts'
import type { Quote } from './reads.ts'
import { refuse } from './refuse.ts'

type CommandOf<T extends Command['type']> = Extract<Command, { type: T }>

export interface Deciding {
  readonly books: Books
  readonly actor: Actor
  readonly settings: DecideSettings
  readonly now: Millis
  readonly changes: Changes
}

/** What a resting buy of `shares` at `limit` holds back, rounded up. */
export function reserveFor(shares: Shares, limit: Price): Money {
  return (shares * limit + 9_999n) / 10_000n
}

/** The market, when its trading is on. */
function openMarket(books: Books, id: MarketId, now: Millis): MarketRow | Refusal {
  const market = books.market(id)
  if (market === undefined) return refuse('market_not_found', 'There is no such market.')
  const state = stateAt(market, now)
  if (state !== 'open')
    return refuse('market_not_open', `The market is ${state.replace('_', ' ')}: it takes no trades.`)
  return market
}

const isRefusal = (value: object): value is Refusal => 'code' in value

/** Outcome and amount as the market takes them. `all`: the whole of a holding may be sold, however little or much. */
function checkAmount(market: MarketRow, outcome: Outcome, shares: Shares, all: boolean): Refusal | null {
  if (!Number.isInteger(outcome) || outcome < 0 || outcome >= market.sold.length)
    return refuse('invalid', 'The market has no such outcome.')
  const { minTrade, maxTrade } = market.draft
  if (shares <= 0n || (!all && shares < minTrade))
    return refuse('amount_below_minimum', `The least that can be traded is ${sharesText(minTrade)} shares.`, {
      minimum: sharesText(minTrade),
    })
  if ((!all && shares > maxTrade) || shares > BigInt(SOLD_MAX))
    return refuse('amount_above_maximum', `The most that can be traded at once is ${sharesText(maxTrade)} shares.`, {
      maximum: sharesText(maxTrade),
    })
  return null
}

function checkLimit(limit: Price | null): Refusal | null {
  return limit !== null && (limit <= 0n || limit >= 1_000_000n)
    ? refuse('invalid', 'A limit price lies between 0.000001 and 0.999999.')
    : null
}

/** Shares that are there and not held back. */
function freeShares(books: Books, userId: UserId, marketId: MarketId, outcome: Outcome): Shares {
  const holding = books.holding(userId, marketId, outcome)
  return holding === undefined ? 0n : holding.shares - holding.reserved
}

function checkShares(free: Shares, shares: Shares): Refusal | null {
  return shares > free
    ? refuse('insufficient_shares', `You have ${sharesText(free)} shares that can be sold.`, {
        available: sharesText(free),
        needed: sharesText(shares),
      })
    : null
}

/** What the account lacks for a buy, if anything. `freed` is credit that the command itself releases. */
function checkFunds(available: Money, freed: Money, needed: Money): Refusal | null {
  return needed > available + freed
    ? refuse(
        'insufficient_funds',
        `This takes ${moneyText(needed)} credits; you have ${moneyText(available + freed)}.`,
        {
          available: moneyText(available + freed),
          needed: moneyText(needed),
        },
      )
    : null
}

/** Credit that a plan sets free before it is paid: own buys in its way. */
function freedBy(found: Plan): Money {
  let freed = 0n
  for (const order of found.own) freed += order.reservedMoney
  return freed
}

function checkPlan(found: Plan): Refusal | null {
  return found.tooMany ? refuse('amount_above_maximum', 'The market cannot have so many shares out.') : null
}

/** The average price against the bound that the trader set; fees left out. */
function checkAverage(found: Plan, side: Side, limit: Price | null): Refusal | null {
  if (limit === null || found.shares === 0) return null
  const value = BigInt(found.value) * 10_000n
  const bound = limit * BigInt(found.shares)
  if (side === 'buy' ? value <= bound : value >= bound) return null
  const average = averagePrice(side, BigInt(found.value), BigInt(found.shares))
  return refuse(
    'price_beyond_limit',
    `The average price would be ${priceText(average)}, ${side === 'buy' ? 'above' : 'below'} your limit of ${priceText(limit)}.`,
    { average: priceText(average), limit: priceText(limit) },
  )
}

/** A trade at the market: all of it, or nothing. */
export function trade(on: Deciding, command: CommandOf<'trade'>): Decision {
  return marketTrade(on, { ...command, cancelFirst: [], all: false, order: null })
}

/** Sells all of one outcome; own resting sells of it are cancelled first. */
export function closePosition(on: Deciding, command: CommandOf<'close_position'>): Decision {
  const { books, actor, now } = on
  const userId = actor.userId
  if (userId === null || books.account(userId) === undefined) return noAccount()
  const market = openMarket(books, command.marketId, now)
  if (isRefusal(market)) return { ok: false, refusal: market }
  const holding = books.holding(userId, command.marketId, command.outcome)
  if (holding === undefined || holding.shares === 0n)
    return { ok: false, refusal: refuse('position_not_found', 'You hold no shares of this outcome.') }
  const cancelFirst = books
    .openOrders(userId, command.marketId)
    .filter((order) => order.side === 'sell' && order.outcome === command.outcome)
  return marketTrade(on, {
    marketId: command.marketId,
    side: 'sell',
    outcome: command.outcome,
    shares: holding.shares,
    limit: command.limit,
    version: null,
    cancelFirst,
    all: true,
    order: null,
  })
}

interface MarketTrade {
  readonly marketId: MarketId
  readonly side: Side
  readonly outcome: Outcome
  readonly shares: Shares
  readonly limit: Price | null
  readonly version: number | null
  readonly cancelFirst: readonly OrderRow[]
  /** All of a holding: no least or greatest amount. */
  readonly all: boolean
  /** The order that asked for it, of type market. */
  readonly order: CommandOf<'place_order'> | null
}

const noAccount = (): Decision => ({ ok: false, refusal: refuse('account_not_found', 'There is no such account.') })

function marketTrade(on: Deciding, asked: MarketTrade): Decision {
  const { books, actor, now, changes } = on
  const userId = actor.userId
  const account = userId === null ? undefined : books.account(userId)
  if (userId === null || account === undefined) return noAccount()
  const market = openMarket(books, asked.marketId, now)
  if (isRefusal(market)) return { ok: false, refusal: market }
  const free =
    asked.side === 'sell' && !asked.all ? freeShares(books, userId, asked.marketId, asked.outcome) : asked.shares
  const whole = asked.all || (asked.side === 'sell' && asked.shares === free)
  const refusal =
    checkAmount(market, asked.outcome, asked.shares, whole) ??
    checkLimit(asked.limit) ??
    (asked.version !== null && asked.version !== market.version
      ? refuse('quote_changed', 'The market has moved since this quote.', { version: market.version })
      : null) ??
    (asked.side === 'sell' ? checkShares(free, asked.shares) : null)
  if (refusal !== null) return { ok: false, refusal }
  const taker: Taker = { userId, side: asked.side, outcome: asked.outcome, shares: Number(asked.shares), limit: null }
  const found = plan(books, market, taker, now)
  const late =
    checkPlan(found) ??
    // What a quote met may have expired since, with no event yet: it would be another trade at the same version.
    (asked.version !== null && found.expired.length > 0
      ? refuse('quote_changed', 'The market has moved since this quote.', { version: market.version })
      : null) ??
    checkAverage(found, asked.side, asked.limit) ??
    (asked.side === 'buy'
      ? checkFunds(account.available, freedBy(found), BigInt(found.value) + BigInt(found.fee))
      : null)
  if (late !== null) return { ok: false, refusal: late }

  // From here on the trade happens.
  for (const order of asked.cancelFirst) endOrder(changes, order, 'cancelled', now, true)
  const tradeId = changes.newId() as TradeId
  let order: OrderView | null = null
  let orderId: OrderId | null = null
  if (asked.order !== null) {
    orderId = changes.newId() as OrderId
    order = filledMarketOrder(orderId, userId, asked.order, found, now)
    changes.addOrder({
      ...order,
      priority: 0,
      reservedMoney: 0n,
      filledValue: BigInt(found.value),
      feesPaid: BigInt(found.fee),
    })
  }
  const done = post(on, market.id, taker, found, tradeId, orderId)
  changes.bookEvents()
  if (order !== null) return { ok: true, effects: changes.effects({ type: 'order', order, trade: done }) }
  return { ok: true, effects: changes.effects({ type: 'trade', trade: done }) }
}

function filledMarketOrder(
  id: OrderId,
  userId: UserId,
  asked: CommandOf<'place_order'>,
  found: Plan,
  now: Millis,
): OrderView {
  return {
    id,
    marketId: asked.marketId,
    userId,
    orderType: 'market',
    side: asked.side,
    outcome: asked.outcome,
    originalShares: asked.shares,
    remainingShares: 0n,
    averagePrice: averagePrice(asked.side, BigInt(found.value), BigInt(found.shares)),
    limit: asked.limit,
    timeInForce: asked.timeInForce,
    expiresAt: asked.expiresAt,
    clientOrderId: asked.clientOrderId,
    state: 'filled',
    createdAt: now,
    updatedAt: now,
  }
}

export function placeOrder(on: Deciding, command: CommandOf<'place_order'>): Decision {
  const { books, actor, now } = on
  const userId = actor.userId
  if (userId === null || books.account(userId) === undefined) return noAccount()
  if (command.clientOrderId !== null && books.clientOrder(userId, command.clientOrderId) !== undefined)
    return {
      ok: false,
      refusal: refuse('idempotency_clash', 'Another order of yours has this client_order_id.'),
    }
  if (command.expiresAt !== null && command.expiresAt <= now)
    return { ok: false, refusal: refuse('invalid', 'The order would have expired already.') }
  if (command.orderType === 'market')
    return marketTrade(on, { ...command, version: null, cancelFirst: [], all: false, order: command })
  if (command.limit === null) return { ok: false, refusal: refuse('invalid', 'A limit order needs a limit price.') }
  return limitOrder(on, {
    userId,
    marketId: command.marketId,
    side: command.side,
    outcome: command.outcome,
    shares: command.shares,
    limit: command.limit,
    timeInForce: command.timeInForce,
    expiresAt: command.expiresAt,
    clientOrderId: command.clientOrderId,
    amends: null,
  })
}

interface LimitOrder {
  readonly userId: UserId
  readonly marketId: MarketId
  readonly side: Side
  readonly outcome: Outcome
  readonly shares: Shares
  readonly limit: Price
  readonly timeInForce: OrderView['timeInForce']
  readonly expiresAt: Millis | null
  readonly clientOrderId: string | null
  /** The resting order that this takes the place of, under the same id. */
  readonly amends: OrderRow | null
}

/** Takes what crosses, and lets the rest wait (gtc), go (ioc) or refuses the whole (fok). */
function limitOrder(on: Deciding, asked: LimitOrder): Decision {
  const { books, now, changes, settings } = on
  const { userId, side, outcome, amends } = asked
  const account = books.account(userId)
  if (account === undefined) return noAccount()
  const market = openMarket(books, asked.marketId, now)
  if (isRefusal(market)) return { ok: false, refusal: market }
  const held = amends === null || side === 'buy' ? 0n : amends.remainingShares
  const free = side === 'sell' ? freeShares(books, userId, market.id, outcome) + held : 0n
  const refusal =
    checkAmount(market, outcome, asked.shares, amends !== null || (side === 'sell' && asked.shares === free)) ??
    checkLimit(asked.limit) ??
    (side === 'sell' ? checkShares(free, asked.shares) : null)
  if (refusal !== null) return { ok: false, refusal }
  const taker: Taker = { userId, side, outcome, shares: Number(asked.shares), limit: asked.limit }
  const found = plan(books, market, taker, now)
  const left = asked.shares - BigInt(found.shares)
  const rests = left > 0n && asked.timeInForce === 'gtc'
  const reserve = rests && side === 'buy' ? reserveFor(left, asked.limit) : 0n
  const late =
    checkPlan(found) ??
    (asked.timeInForce === 'fok' && left > 0n
      ? refuse('not_fillable', `Only ${sharesText(BigInt(found.shares))} shares can be had within this limit now.`, {
          fillable: sharesText(BigInt(found.shares)),
        })
      : null) ??
    (side === 'buy'
      ? checkFunds(
          account.available,
          freedBy(found) + (amends?.reservedMoney ?? 0n),
          BigInt(found.value) + BigInt(found.fee) + reserve,
        )
      : null) ??
    (rests && amends === null && account.openOrders - found.own.length >= settings.ordersPerUser
      ? refuse('too_many_orders', `At most ${settings.ordersPerUser} orders may rest at once.`)
      : null)
  if (late !== null) return { ok: false, refusal: late }

  // From here on the order is taken.
  const id = amends?.id ?? (changes.newId() as OrderId)
  if (amends !== null) endOrder(changes, amends, 'cancelled', now, true)
  const before = amends === null ? { filled: 0n, value: 0n, fees: 0n } : filledOf(amends)
  const filled = before.filled + BigInt(found.shares)
  const filledValue = before.value + BigInt(found.value)
  const row = changes.addOrder({
    id,
    marketId: market.id,
    userId,
    orderType: 'limit',
    side,
    outcome,
    originalShares: amends?.originalShares ?? asked.shares,
    remainingShares: left,
    averagePrice: filled === 0n ? null : averagePrice(side, filledValue, filled),
    limit: asked.limit,
    timeInForce: asked.timeInForce,
    expiresAt: asked.expiresAt,
    clientOrderId: asked.clientOrderId,
    state: left === 0n ? 'filled' : !rests ? 'cancelled' : filled === 0n ? 'pending' : 'partially_filled',
    createdAt: amends?.createdAt ?? now,
    updatedAt: now,
    priority: market.version + 1,
    reservedMoney: 0n,
    filledValue,
    feesPaid: before.fees + BigInt(found.fee),
  })
  const done = found.shares > 0 ? post(on, market.id, taker, found, changes.newId() as TradeId, id) : null
  if (found.shares === 0) clearTheWay(on, found)
  if (rests) {
    const belongs = { marketId: market.id, tradeId: null, orderId: id }
    row.reservedMoney = reserve
    changes.money('available', userId, 'reserved', userId, reserve, 'reserve', belongs)
    if (side === 'sell') changes.shares('available', userId, 'reserved', userId, outcome, left, 'reserve', belongs)
    changes.account(userId).openOrders++
    changes.market(market.id).openOrders++
    changes.touch(row)
  }
  changes.bookEvents()
  return { ok: true, effects: changes.effects({ type: 'order', order: viewOf(row), trade: done }) }
}

function filledOf(order: OrderRow): { filled: Shares; value: Money; fees: Money } {
  return { filled: order.originalShares - order.remainingShares, value: order.filledValue, fees: order.feesPaid }
}

/** Another limit loses the order's place in the queue and may trade at once; another expiry alone keeps it. */
export function amendOrder(on: Deciding, command: CommandOf<'amend_order'>): Decision {
  const { books, actor, now, changes } = on
  const order = books.order(command.orderId)
  if (order === undefined || order.userId !== actor.userId) return noOrder()
  if (!isOpen(order) || order.limit === null) return orderDone(order)
  const expiresAt = command.expiresAt === undefined ? order.expiresAt : command.expiresAt
  if (order.expiresAt !== null && order.expiresAt <= now) return orderDone({ state: 'expired' })
  if (expiresAt !== null && expiresAt <= now)
    return { ok: false, refusal: refuse('invalid', 'The order would have expired already.') }
  if (command.limit !== null && command.limit !== order.limit)
    return limitOrder(on, {
      userId: order.userId,
      marketId: order.marketId,
      side: order.side,
      outcome: order.outcome,
      shares: order.remainingShares,
      limit: command.limit,
      timeInForce: order.timeInForce,
      expiresAt,
      clientOrderId: order.clientOrderId,
      amends: order,
    })
  const market = openMarket(books, order.marketId, now)
  if (isRefusal(market)) return { ok: false, refusal: market }

  // From here on the order is amended.
  const row = changes.order(order.id)
  row.expiresAt = expiresAt
  row.updatedAt = now
  return { ok: true, effects: changes.effects({ type: 'order', order: viewOf(row), trade: null }) }
}

const noOrder = (): Decision => ({ ok: false, refusal: refuse('order_not_found', 'There is no such order.') })
const orderDone = (order: { readonly state: OrderState }): Decision => ({
  ok: false,
  refusal: refuse('order_done', `The order is ${order.state.replace('_', ' ')} already.`),
})

/** Possible in any state of the market: what is held back is its owner's. */
export function cancelOrder(on: Deciding, command: CommandOf<'cancel_order'>): Decision {
  const order = on.books.order(command.orderId)
  if (order === undefined || order.userId !== on.actor.userId) return noOrder()
  if (!isOpen(order)) return orderDone(order)

  // From here on the order is cancelled.
  endOrder(on.changes, order, 'cancelled', on.now, true)
  on.changes.bookEvents()
  const row = viewOf(on.changes.order(order.id))
  return { ok: true, effects: on.changes.effects({ type: 'order', order: row, trade: null }) }
}

export function cancelAll(on: Deciding, command: CommandOf<'cancel_all'>): Decision {
  const { books, actor, changes, now } = on
  const userId = actor.userId
  if (userId === null || books.account(userId) === undefined) return noAccount()
  if (command.marketId !== null && books.market(command.marketId) === undefined)
    return { ok: false, refusal: refuse('market_not_found', 'There is no such market.') }
  const orders = books.openOrders(userId, command.marketId)

  // From here on the orders are cancelled.
  for (const order of orders) endOrder(changes, order, 'cancelled', now, true)
  changes.bookEvents()
  return { ok: true, effects: changes.effects({ type: 'cancelled', orders: orders.map((order) => order.id) }) }
}

/** Takes a resting order out of the book and gives back what it holds. `touch`: its level is told to who watches the book. */
export function endOrder(
  changes: Changes,
  order: OrderRow,
  state: 'cancelled' | 'expired',
  now: Millis,
  touch: boolean,
): void {
  const row = changes.order(order.id)
  if (touch) changes.touch(row)
  const belongs = { marketId: order.marketId, tradeId: null, orderId: order.id }
  const { userId, outcome } = order
  changes.money('reserved', userId, 'available', userId, row.reservedMoney, 'release', belongs)
  if (order.side === 'sell')
    changes.shares('reserved', userId, 'available', userId, outcome, row.remainingShares, 'release', belongs)
  row.reservedMoney = 0n
  row.state = state
  row.updatedAt = now
  changes.account(userId).openOrders--
  changes.market(order.marketId).openOrders--
}

function clearTheWay(on: Deciding, found: Plan): void {
  for (const order of found.expired) endOrder(on.changes, order, 'expired', on.now, true)
  for (const order of found.own) endOrder(on.changes, order, 'cancelled', on.now, true)
}

/** Posts a plan: money, shares, fees, both sides' figures, trades and the event. Everything was checked. */
function post(
  on: Deciding,
  marketId: MarketId,
  taker: Taker,
  found: Plan,
  tradeId: TradeId,
  orderId: OrderId | null,
): TradeDone {
  const { changes, now } = on
  const { side, outcome } = taker
  const userId = taker.userId!
  clearTheWay(on, found)
  const fills: Fill[] = []
  const belongs = { marketId, tradeId, orderId }
  // The trade's event raises the version by one.
  const version = changes.market(marketId).version + 1
  for (let i = 0; i < found.legs.length; i++) {
    const leg = found.legs[i]!
    const shares = BigInt(leg.shares)
    const value = BigInt(leg.value)
    const fee = BigInt(leg.fee)
    if (leg.order === null || leg.kind === 'pair') {
      if (side === 'buy') {
        changes.money('available', userId, 'pool', marketId, value, 'trade', belongs)
        changes.shares('issuance', marketId, 'available', userId, outcome, shares, 'trade', belongs)
      } else {
        changes.shares('available', userId, 'issuance', marketId, outcome, shares, 'trade', belongs)
        changes.money('pool', marketId, 'available', userId, value, 'trade', belongs)
      }
    } else if (side === 'buy') {
      changes.money('available', userId, 'available', leg.order.userId, value, 'trade', belongs)
      changes.shares('reserved', leg.order.userId, 'available', userId, outcome, shares, 'trade', belongs)
    } else {
      changes.shares('available', userId, 'available', leg.order.userId, outcome, shares, 'trade', belongs)
      changes.money('reserved', leg.order.userId, 'available', userId, value, 'trade', belongs)
    }
    changes.money('available', userId, 'fees', marketId, fee, 'fee', belongs)
    if (leg.order !== null)
      fillResting(on, leg.order, leg.kind === 'pair', shares, BigInt(leg.orderValue), found, tradeId, version, userId)
    fills.push({
      tradeId,
      against: leg.order === null ? 'maker' : 'book',
      counterparty: leg.order === null ? null : leg.order.userId,
      shares,
      value,
      fee,
    })
  }
  const shares = BigInt(found.shares)
  const value = BigInt(found.value)
  const fee = BigInt(found.fee)
  figures(on, userId, marketId, outcome, side, shares, value, fee, tradeId)
  const market = changes.market(marketId)
  market.prices = found.prices
  market.volume += value
  market.trades++
  const done: TradeDone = {
    id: tradeId,
    marketId,
    userId,
    orderId,
    side,
    outcome,
    shares,
    value,
    fee,
    averagePrice: averagePrice(side, value, shares),
    priceAfter: found.prices[outcome]!,
    fills,
    createdAt: now,
    version,
  }
  changes.trade({ ...done, role: 'taker', prices: found.prices })
  changes.event(marketId, {
    type: 'trade',
    tradeId,
    userId,
    side,
    outcome,
    shares,
    value,
    fee,
    prices: found.prices,
    sold: market.sold,
  })
  return done
}

/** The other side of a fill: the resting order gets smaller, its owner gets what was ordered, and a trade of its own. */
function fillResting(
  on: Deciding,
  resting: OrderRow,
  pair: boolean,
  shares: Shares,
  value: Money,
  found: Plan,
  takerTradeId: TradeId,
  version: number,
  counterparty: UserId,
): void {
  const { changes, now } = on
  const { marketId, userId, outcome, side } = resting
  const order = changes.order(resting.id)
  const tradeId = changes.newId() as TradeId
  const belongs = { marketId, tradeId, orderId: order.id }
  if (pair && side === 'buy') {
    changes.money('reserved', userId, 'pool', marketId, value, 'trade', belongs)
    changes.shares('issuance', marketId, 'available', userId, outcome, shares, 'trade', belongs)
  } else if (pair) {
    changes.shares('reserved', userId, 'issuance', marketId, outcome, shares, 'trade', belongs)
    changes.money('pool', marketId, 'available', userId, value, 'trade', belongs)
  }
  order.remainingShares -= shares
  order.filledValue += value
  order.averagePrice = averagePrice(side, order.filledValue, order.originalShares - order.remainingShares)
  order.updatedAt = now
  if (side === 'buy') {
    // What rounding up held back beyond what the rest needs goes back with the fill.
    const needed = reserveFor(order.remainingShares, order.limit!)
    const back = order.reservedMoney - value - needed
    changes.money('reserved', userId, 'available', userId, back, 'release', belongs)
    order.reservedMoney = needed
  }
  if (order.remainingShares === 0n) {
    order.state = 'filled'
    changes.account(userId).openOrders--
    changes.market(marketId).openOrders--
  } else order.state = 'partially_filled'
  changes.touch(order)
  figures(on, userId, marketId, outcome, side, shares, value, 0n, tradeId)
  changes.trade({
    id: tradeId,
    role: 'resting',
    marketId,
    userId,
    orderId: order.id,
    side,
    outcome,
    shares,
    value,
    fee: 0n,
    averagePrice: averagePrice(side, value, shares),
    priceAfter: found.prices[outcome]!,
    prices: found.prices,
    fills: [{ tradeId: takerTradeId, against: 'book', counterparty, shares, value, fee: 0n }],
    createdAt: now,
    version,
  })
}

/** What a trade does to the figures of the holding and its owner; shares and money have moved already. */
function figures(
  on: Deciding,
  userId: UserId,
  marketId: MarketId,
  outcome: Outcome,
  side: Side,
  shares: Shares,
  value: Money,
  fee: Money,
  tradeId: TradeId,
): void {
  const { changes, now } = on
  const holding = changes.holding(userId, marketId, outcome)
  const account = changes.account(userId)
  holding.trades++
  holding.fees += fee
  account.trades++
  account.volume += value
  if (side === 'buy') {
    holding.bought += shares
    holding.paid += value
    holding.cost += value + fee
    return
  }
  // The shares are gone: what is left of them plus what was sold is what the cost was for.
  const cost = (holding.cost * shares) / (holding.shares + shares)
  const amount = value - fee - cost
  holding.sold += shares
  holding.received += value
  holding.cost -= cost
  holding.realized += amount
  account.profit += amount
  changes.profit({ userId, marketId, outcome, kind: 'sale', amount, tradeId, at: now })
}

/** An order as its owner sees it. */
export function viewOf(row: OrderRow): OrderView {
  const { priority: _p, reservedMoney: _r, filledValue: _v, feesPaid: _f, ...view } = row
  return view
}

/** What a trade would be now, to the unit; or the refusal it would get. Funds and holdings are not looked at. */
export function quote(
  books: Books,
  asked: {
    readonly marketId: MarketId
    readonly userId: UserId | null
    readonly side: Side
    readonly outcome: Outcome
    readonly shares: Shares
  },
  now: Millis,
): Quote | Refusal {
  const market = openMarket(books, asked.marketId, now)
  if (isRefusal(market)) return market
  const free =
    asked.userId !== null && asked.side === 'sell' ? freeShares(books, asked.userId, market.id, asked.outcome) : null
  const refusal = checkAmount(market, asked.outcome, asked.shares, asked.shares === free)
  if (refusal !== null) return refusal
  if (asked.side === 'sell' && asked.shares > market.sold[asked.outcome]!)
    return refuse('insufficient_shares', 'Nobody holds so many shares of this outcome.')
  const found = plan(books, market, { ...asked, shares: Number(asked.shares), limit: null }, now)
  const late = checkPlan(found)
  if (late !== null) return late
  const value = BigInt(found.value)
  return {
    version: market.version,
    shares: asked.shares,
    fromBook: BigInt(found.shares - found.fromMaker),
    fromMaker: BigInt(found.fromMaker),
    value,
    fee: BigInt(found.fee),
    averagePrice: averagePrice(asked.side, value, asked.shares),
    priceAfter: found.prices[asked.outcome]!,
  }
}
