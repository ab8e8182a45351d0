/**
 * The life of a market, from the creator's liquidity to the last payout.
 *
 *   create ─▶ open ─▶ closed ─▶ resolved ──window over──▶ paid          (window 0: resolved and paid at once)
 *              │ ▲                │   ▲
 *           suspended          dispute │ an admin decides: final, paid at once
 *                                 ▼   │
 *                               disputed
 *
 * With the resolution the whole pool goes into escrow and nobody is paid; when it is final the escrow is paid out once:
 * one credit a winning share (or, void, the net cost), what is left to the creator. Each step refuses by value, then changes.
 */
import type { Millis } from '../base/time.ts'
import { DAY } from '../base/time.ts'
import type { Books, Decision, HoldingRow, MarketRow, OrderRow } from './books.ts'
import { isOpen, stateAt } from './books.ts'
import type { Actor, Command, Refusal } from './commands.ts'
import { moneyText } from './decimals.ts'
import type { Changes, Draft } from './ledger/changes.ts'
import type { MarketDraft, MarketId, Money, Resolution, UserId } from './model.ts'
import { CATEGORIES, MONEY_UNIT, SIGN_UP_GRANT } from './model.ts'
import { LIQUIDITY_MAX, Maker, PAYOUT, SOLD_MAX } from './pricing/lmsr.ts'
import { refuse } from './refuse.ts'
import type { Deciding } from './trading.ts'
import { endOrder } from './trading.ts'

type CommandOf<T extends Command['type']> = Extract<Command, { type: T }>

const LIQUIDITY_MIN = 100n * MONEY_UNIT
const FEE_RATE_MAX = 100_000n

const no = (refusal: Refusal): Decision => ({ ok: false, refusal })
const noMarket = (): Decision => no(refuse('market_not_found', 'There is no such market.'))

export function openAccount(on: Deciding, command: CommandOf<'open_account'>): Decision {
  const { books, changes, now } = on
  const { userId, username } = command
  const there = books.account(userId)
  if (there !== undefined) {
    const effects = changes.effects({ type: 'account', userId, available: there.available, created: false })
    return { ok: true, effects }
  }

  // From here on the account is made.
  changes.addAccount({
    userId,
    username,
    available: 0n,
    reserved: 0n,
    granted: 0n,
    openOrders: 0,
    trades: 0,
    volume: 0n,
    profit: 0n,
    resolvedMarkets: 0,
    wonMarkets: 0,
    createdAt: now,
  })
  changes.money('issuance', null, 'available', userId, SIGN_UP_GRANT, 'grant', NOWHERE)
  return { ok: true, effects: changes.effects({ type: 'account', userId, available: SIGN_UP_GRANT, created: true }) }
}

const NOWHERE = { marketId: null, tradeId: null, orderId: null }

function checkDraft(draft: MarketDraft, now: Millis): Refusal | null {
  if (draft.closesAt <= now) return refuse('closes_in_the_past', 'A market must close in the future.')
  if (draft.outcomes.length !== 2) return refuse('invalid', 'A market has two outcomes.')
  if (draft.outcomes[0] === draft.outcomes[1]) return refuse('invalid', 'The outcomes must differ.')
  if (draft.liquidity < LIQUIDITY_MIN || draft.liquidity > BigInt(LIQUIDITY_MAX))
    return refuse('invalid', 'The liquidity of a market is 100 to 1,000,000 credits.')
  if (draft.feeRate < 0n || draft.feeRate > FEE_RATE_MAX) return refuse('invalid', 'A fee is 0 to 10 per cent.')
  if (draft.minTrade <= 0n || draft.maxTrade <= draft.minTrade)
    return refuse('invalid', 'The greatest trade must be above the least, and the least above 0.')
  if (draft.maxTrade > BigInt(SOLD_MAX)) return refuse('invalid', 'The greatest trade is too large.')
  if (!CATEGORIES.includes(draft.category)) return refuse('invalid', 'There is no such category.')
  if (draft.binding !== null && draft.binding.at < draft.closesAt)
    return refuse('invalid', 'A bound market asks for its samples when it has closed, not before.')
  return null
}

export function createMarket(on: Deciding, command: CommandOf<'create_market'>): Decision {
  const { books, actor, settings, changes, now } = on
  const { draft } = command
  const account = actor.userId === null ? undefined : books.account(actor.userId)
  if (account === undefined) return no(refuse('account_not_found', 'There is no such account.'))
  const refusal =
    checkDraft(draft, now) ??
    (actor.kind === 'trader' && books.marketsMade(account.userId, now - DAY) >= settings.marketsPerDay
      ? refuse('too_many_markets', `At most ${settings.marketsPerDay} markets can be opened in 24 hours.`)
      : null) ??
    (draft.liquidity > account.available
      ? refuse(
          'insufficient_funds',
          `The liquidity is ${moneyText(draft.liquidity)} credits; you have ${moneyText(account.available)}.`,
          { needed: moneyText(draft.liquidity), available: moneyText(account.available) },
        )
      : null)
  if (refusal !== null) return no(refusal)

  // From here on the market is made.
  const id = changes.newId() as MarketId
  const sold = draft.outcomes.map(() => 0n)
  changes.addMarket({
    id,
    creatorId: account.userId,
    draft,
    state: 'open',
    version: 0,
    sold,
    prices: new Maker(draft.liquidity, sold).prices(),
    pool: 0n,
    escrow: 0n,
    fees: 0n,
    volume: 0n,
    trades: 0,
    traders: 0,
    openOrders: 0,
    createdAt: now,
    closedAt: null,
    resolution: null,
    resolutionSource: null,
    resolvedAt: null,
    finalAt: null,
    paidAt: null,
  })
  const belongs = { marketId: id, tradeId: null, orderId: null }
  changes.money('available', account.userId, 'pool', id, draft.liquidity, 'liquidity', belongs)
  changes.event(id, { type: 'created', creatorId: account.userId })
  return marketDone(changes, id)
}

function marketDone(changes: Changes, marketId: MarketId): Decision {
  const { version } = changes.market(marketId)
  return { ok: true, effects: changes.effects({ type: 'market', marketId, version }) }
}

const mayManage = (actor: Actor, market: MarketRow): boolean =>
  actor.kind !== 'trader' || actor.userId === market.creatorId

const notYours = (): Decision => no(refuse('not_yours', 'Only its creator or an administrator may do this.'))
const adminsOnly = (): Decision => no(refuse('not_yours', 'Only an administrator may do this.'))

const isResolved = (market: MarketRow): boolean => market.resolution !== null
const alreadyResolved = (): Decision => no(refuse('already_resolved', 'The market is resolved already.'))

export function editMarket(on: Deciding, command: CommandOf<'edit_market'>): Decision {
  const { books, actor, changes } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (!mayManage(actor, market)) return notYours()
  if (isResolved(market)) return alreadyResolved()
  const { title, description, category, tags, imageUrl } = command.changes
  if (category !== undefined && !CATEGORIES.includes(category))
    return no(refuse('invalid', 'There is no such category.'))

  // From here on the market is edited.
  changes.market(market.id).draft = {
    ...market.draft,
    ...(title !== undefined && { title }),
    ...(description !== undefined && { description }),
    ...(category !== undefined && { category }),
    ...(tags !== undefined && { tags }),
    ...(imageUrl !== undefined && { imageUrl }),
  }
  changes.event(market.id, { type: 'edited' })
  return marketDone(changes, market.id)
}

/** Ends trading by hand, before its time. */
export function closeMarket(on: Deciding, command: CommandOf<'close_market'>): Decision {
  const { books, actor, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (!mayManage(actor, market)) return notYours()
  const state = stateAt(market, now)
  if (state !== 'open' && state !== 'suspended')
    return no(refuse('market_not_open', `The market is ${state.replace('_', ' ')} already.`))

  // From here on the market closes.
  close(on, market, now, 'cancelled')
  return marketDone(changes, market.id)
}

/** Trading is over: orders leave the book, all at once; the state event says that it is empty. */
function close(on: Deciding, market: MarketRow, closedAt: Millis, orders: 'cancelled' | 'expired'): void {
  endOrders(on, market, orders)
  const row = on.changes.market(market.id)
  row.state = 'closed'
  row.closedAt = closedAt
  on.changes.event(market.id, { type: 'state', state: 'closed', resolution: null })
}

function endOrders(on: Deciding, market: MarketRow, state: 'cancelled' | 'expired'): void {
  if (market.openOrders === 0) return
  for (const order of ordersOf(on.books, market)) endOrder(on.changes, order, state, on.now, false)
}

function ordersOf(books: Books, market: MarketRow): OrderRow[] {
  const orders: OrderRow[] = []
  for (let outcome = 0; outcome < market.sold.length; outcome++) {
    orders.push(...books.resting(market.id, outcome, 'buy'), ...books.resting(market.id, outcome, 'sell'))
  }
  return orders
}

/** By administrators: no trades until it is resumed; orders stay, and may be cancelled. */
export function suspendMarket(on: Deciding, command: CommandOf<'suspend_market'>): Decision {
  const { books, actor, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (actor.kind === 'trader') return adminsOnly()
  const state = stateAt(market, now)
  const wanted = command.suspended ? 'suspended' : 'open'
  if (state !== 'open' && state !== 'suspended')
    return no(refuse('market_not_open', `The market is ${state.replace('_', ' ')}.`))
  if (state === wanted) return marketDone(changes, market.id)

  // From here on the market is suspended or resumed.
  changes.market(market.id).state = wanted
  changes.event(market.id, { type: 'state', state: wanted, resolution: null })
  return marketDone(changes, market.id)
}

/** The platform has begun to ask what a bound market's samples say. */
export function verifyMarket(on: Deciding, command: CommandOf<'verify_market'>): Decision {
  const { books, actor, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (actor.kind === 'trader') return adminsOnly()
  if (isResolved(market)) return alreadyResolved()
  if (market.draft.binding === null) return no(refuse('invalid', 'The market is not bound to a metric.'))
  const state = stateAt(market, now)
  if (state === 'pending_verification') return marketDone(changes, market.id)
  if (state !== 'closed') return no(refuse('market_not_closed', 'The market is not closed yet.'))

  // From here on its samples are awaited.
  if (market.state !== 'closed') close(on, market, market.draft.closesAt, 'expired')
  changes.market(market.id).state = 'pending_verification'
  changes.event(market.id, { type: 'state', state: 'pending_verification', resolution: null })
  return marketDone(changes, market.id)
}

function checkResolution(market: MarketRow, resolution: Resolution): Refusal | null {
  if (resolution.kind === 'void') return null
  const { outcome } = resolution
  return Number.isInteger(outcome) && outcome >= 0 && outcome < market.sold.length
    ? null
    : refuse('invalid', 'The market has no such outcome.')
}

export function resolveMarket(on: Deciding, command: CommandOf<'resolve_market'>): Decision {
  const { books, actor, settings, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (!mayManage(actor, market)) return notYours()
  if (isResolved(market)) return alreadyResolved()
  const bad = checkResolution(market, command.resolution)
  if (bad !== null) return no(bad)
  if (actor.kind === 'trader') {
    if (market.draft.binding !== null) return no(refuse('not_yours', 'This market resolves itself, from its samples.'))
    if (stateAt(market, now) !== 'closed')
      return no(refuse('market_not_closed', 'Its creator may resolve a market when it has closed.'))
  }

  // From here on the market is resolved.
  endOrders(on, market, stateAt(market, now) === 'closed' ? 'expired' : 'cancelled')
  const row = changes.market(market.id)
  row.state = 'resolved'
  row.closedAt ??= Math.min(now, market.draft.closesAt)
  row.resolution = command.resolution
  row.resolutionSource = command.source
  row.resolvedAt = now
  const waits = settings.disputeWindowMs > 0
  row.finalAt = waits ? now + settings.disputeWindowMs : now
  const belongs = { marketId: market.id, tradeId: null, orderId: null }
  changes.money('pool', market.id, 'escrow', market.id, row.pool, 'escrow', belongs)
  if (!waits) payOut(on, row)
  changes.event(market.id, { type: 'state', state: 'resolved', resolution: command.resolution })
  return resolvedDone(on, row)
}

function resolvedDone(on: Deciding, market: MarketRow): Decision {
  const due = dues(on.books, market)
  const effects = on.changes.effects({
    type: 'resolved',
    marketId: market.id,
    version: market.version,
    paid: due.total,
    holders: due.holders,
    finalAt: market.paidAt === null ? market.finalAt : null,
  })
  return { ok: true, effects }
}

export function openDispute(on: Deciding, command: CommandOf<'open_dispute'>): Decision {
  const { books, actor, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (!isResolved(market)) return no(refuse('not_resolved', 'The market is not resolved yet.'))
  if (market.paidAt !== null || market.finalAt === null || market.finalAt <= now)
    return no(refuse('dispute_closed', 'The time for disputes is over.'))
  const userId = actor.userId
  if (userId === null || books.account(userId) === undefined)
    return no(refuse('account_not_found', 'There is no such account.'))
  if (!market.sold.some((_, outcome) => (books.holding(userId, market.id, outcome)?.shares ?? 0n) > 0n))
    return no(refuse('not_a_holder', 'Only who holds shares of the market may dispute its resolution.'))
  if (books.disputes(market.id).some((dispute) => dispute.userId === userId))
    return no(refuse('dispute_exists', 'You have disputed this resolution already.'))

  // From here on the resolution is disputed.
  const id = changes.newId()
  changes.dispute({
    id,
    marketId: market.id,
    userId,
    disputeType: command.disputeType,
    reason: command.reason,
    evidence: command.evidence,
    state: 'open',
    note: null,
    createdAt: now,
    decidedAt: null,
  })
  if (market.state !== 'disputed') {
    changes.market(market.id).state = 'disputed'
    changes.event(market.id, { type: 'state', state: 'disputed', resolution: market.resolution })
  }
  return { ok: true, effects: changes.effects({ type: 'dispute', disputeId: id, marketId: market.id }) }
}

/** An administrator's word is final: it pays at once. */
export function decideDisputes(on: Deciding, command: CommandOf<'decide_disputes'>): Decision {
  const { books, actor, changes, now } = on
  const market = books.market(command.marketId)
  if (market === undefined) return noMarket()
  if (actor.kind === 'trader') return adminsOnly()
  if (market.resolution === null) return no(refuse('not_resolved', 'The market is not resolved yet.'))
  if (market.state !== 'disputed') return no(refuse('dispute_closed', 'There is no open dispute.'))
  const bad = checkResolution(market, command.resolution)
  if (bad !== null) return no(bad)

  // From here on the disputes are decided.
  const changed = !sameResolution(market.resolution, command.resolution)
  for (const dispute of books.disputes(market.id)) {
    if (dispute.state !== 'open') continue
    changes.dispute({ ...dispute, state: changed ? 'upheld' : 'rejected', note: command.note, decidedAt: now })
  }
  const row = changes.market(market.id)
  row.state = 'resolved'
  row.resolution = command.resolution
  if (changed) row.resolutionSource = command.note
  row.finalAt = now
  payOut(on, row)
  changes.event(market.id, { type: 'state', state: 'resolved', resolution: command.resolution })
  return resolvedDone(on, row)
}

function sameResolution(a: Resolution, b: Resolution): boolean {
  if (a.kind === 'void' || b.kind === 'void') return a.kind === b.kind
  return a.outcome === b.outcome
}

/** Closes, expires and pays what is due. */
export function tick(on: Deciding, command: CommandOf<'tick'>): Decision {
  const { books, changes, now } = on
  const due = books.due(now, command.marketId)
  let changed = 0
  for (const id of due.closing) {
    const market = books.market(id)
    if (market === undefined || stateAt(market, now) !== 'closed' || market.state === 'closed') continue
    close(on, market, market.draft.closesAt, 'expired')
    changed++
  }
  for (const id of due.expiring) {
    // Closing may have ended it a moment ago.
    const order = books.order(id)
    if (order === undefined || !isOpen(changes.order(id))) continue
    endOrder(changes, order, 'expired', now, true)
    changed++
  }
  changes.bookEvents()
  for (const id of due.paying) {
    const market = books.market(id)
    if (market === undefined || market.state !== 'resolved' || market.paidAt !== null) continue
    if (market.finalAt === null || market.finalAt > now) continue
    payOut(on, changes.market(id))
    changes.event(id, { type: 'state', state: 'resolved', resolution: market.resolution })
    changed++
  }
  return { ok: true, effects: changes.effects({ type: 'ticked', changed }) }
}

interface Dues {
  /** What each user gets that gets anything. */
  readonly perUser: ReadonlyMap<UserId, Money>
  readonly total: Money
  readonly holders: number
  /** Left by rounding of parts: the house's. */
  readonly rounding: Money
}

/**
 * What holders are due by the resolution, out of everything the market has for them. Void: to each user that holds a share,
 * what it paid for shares of this market less what it got for them, when that is more than nothing; fees stay paid. When
 * that is more than there is, each gets its part of what there is, rounded down.
 */
export function dues(books: Books, market: MarketRow): Dues {
  const perUser = new Map<UserId, Money>()
  let total = 0n
  let rounding = 0n
  const { resolution } = market
  if (resolution === null) return { perUser, total, holders: 0, rounding }
  if (resolution.kind === 'outcome') {
    for (const holding of books.holdings(market.id)) {
      if (holding.outcome !== resolution.outcome || holding.shares === 0n) continue
      const amount = holding.shares * BigInt(PAYOUT)
      perUser.set(holding.userId, amount)
      total += amount
    }
    return { perUser, total, holders: perUser.size, rounding }
  }
  const nets = new Map<UserId, { net: Money; holds: boolean }>()
  for (const holding of books.holdings(market.id)) {
    const net = nets.get(holding.userId) ?? { net: 0n, holds: false }
    net.net += holding.paid - holding.received
    net.holds ||= holding.shares > 0n
    nets.set(holding.userId, net)
  }
  let owed = 0n
  for (const { net, holds } of nets.values()) if (holds && net > 0n) owed += net
  const there = poolOf(books, market)
  const short = owed > there
  for (const [userId, { net, holds }] of nets) {
    if (!holds || net <= 0n) continue
    const amount = short ? (net * there) / owed : net
    if (amount === 0n) continue
    perUser.set(userId, amount)
    total += amount
  }
  if (short) rounding = there - total
  return { perUser, total, holders: perUser.size, rounding }
}

/** What the market had for its holders before anything was paid: as the books know it, pool and escrow. */
function poolOf(books: Books, market: MarketRow): Money {
  const stored = books.market(market.id) ?? market
  return stored.pool + stored.escrow
}

/**
 * Pays a resolved market out of its escrow, once: holders, rounding to the house, the rest to the creator. Shares are given
 * back to their market, figures and scores are closed. What a creator won in an own market is a profit only beyond what its
 * maker lost: the rest is own liquidity that came back.
 */
function payOut(on: Deciding, market: Draft<MarketRow>): void {
  const { books, changes, now } = on
  const { id, resolution } = market
  const belongs = { marketId: id, tradeId: null, orderId: null }
  const due = dues(books, market)
  const isVoid = resolution?.kind === 'void'
  for (const [userId, amount] of due.perUser)
    changes.money('escrow', id, 'available', userId, amount, isVoid ? 'refund' : 'payout', belongs)
  changes.money('escrow', id, 'fees', id, due.rounding, 'rounding', belongs)
  const makersLoss = market.draft.liquidity - market.escrow
  changes.money('escrow', id, 'available', market.creatorId, market.escrow, 'liquidity_back', belongs)
  const refunds = new Map(due.perUser)
  const users = new Map<UserId, HoldingRow[]>()
  for (const stored of books.holdings(id)) {
    const holding = changes.holding(stored.userId, id, stored.outcome)
    const held = holding.shares
    const { userId, outcome } = holding
    changes.shares('available', userId, 'issuance', id, outcome, held, 'payout', belongs)
    const ofUser = users.get(userId)
    if (ofUser === undefined) users.set(userId, [holding])
    else ofUser.push(holding)
    if (isVoid) voidHolding(changes, holding, held, refunds)
    else if (held > 0n) {
      const payout = resolution?.kind === 'outcome' && resolution.outcome === outcome ? held * BigInt(PAYOUT) : 0n
      const amount = payout - holding.cost
      holding.payout = payout
      holding.realized += amount
      changes.account(userId).profit += amount
      changes.profit({ userId, marketId: id, outcome, kind: 'payout', amount, tradeId: null, at: now })
    }
    holding.cost = 0n
  }
  if (resolution?.kind === 'outcome') {
    const { outcome } = resolution
    for (const [userId, holdings] of users) {
      let profit = 0n
      for (const holding of holdings) profit += holding.realized
      const own = userId === market.creatorId ? smaller(profit, makersLoss) : 0n
      if (own > 0n) {
        changes.account(userId).profit -= own
        changes.profit({ userId, marketId: id, outcome, kind: 'payout', amount: -own, tradeId: null, at: now })
      }
      score(changes, userId, id, holdings, profit - (own > 0n ? own : 0n), outcome, now)
    }
  }
  market.paidAt = now
}

const smaller = (a: Money, b: Money): Money => (a < b ? a : b)

/** A void market leaves the profits; the refund of a user stands with the first of its holdings that has shares. */
function voidHolding(changes: Changes, holding: Draft<HoldingRow>, held: bigint, refunds: Map<UserId, Money>): void {
  const sales = holding.realized
  if (sales !== 0n) changes.account(holding.userId).profit -= sales
  if (held === 0n) return
  const refund = refunds.get(holding.userId) ?? 0n
  refunds.delete(holding.userId)
  holding.payout = refund
  holding.realized += refund - holding.cost
}

/** How a user did: over all its trades, each outcome's average price is its forecast, weighted by shares. */
function score(
  changes: Changes,
  userId: UserId,
  marketId: MarketId,
  holdings: readonly HoldingRow[],
  profit: Money,
  winner: number,
  now: Millis,
): void {
  let trades = 0
  let weight = 0
  let errors = 0
  for (const holding of holdings) {
    trades += holding.trades
    const shares = Number(holding.bought + holding.sold)
    if (shares === 0) continue
    const price = Number(holding.paid + holding.received) / (shares * PAYOUT)
    const error = price - (holding.outcome === winner ? 1 : 0)
    weight += shares
    errors += shares * error * error
  }
  if (trades === 0) return
  const account = changes.account(userId)
  account.resolvedMarkets++
  if (profit > 0n) account.wonMarkets++
  const brier = Math.floor((errors / weight) * 1_000_000 + 0.5)
  changes.score({ userId, marketId, profit, won: profit > 0n, brier, trades, at: now })
}
