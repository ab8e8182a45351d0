/**
 * Lets the population live on a running platform, through its public API alone: logs traders in, opens markets, trades at
 * a rate, resolves what has closed, opens the next. One clock decides when the next act is due (exponential gaps, so acts
 * come as calls do); an act that the platform refuses (credit, limits) is counted as refused, one that it fails as failed.
 */
import type { Random } from '../../base/random.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { MINUTE, SECOND, toIso } from '../../base/time.ts'
import { type Api, ApiFailure, type Session } from './api.ts'
import { type Act, act, gauss, type Kind, kindOf, logistic, type Seen, walk } from './population.ts'
import { LONG, type Question, SHORT } from './questions.ts'

export interface Figures {
  acts: number
  refused: number
  failed: number
  trades: number
  orders: number
  opened: number
  resolved: number
}

export interface RunOptions {
  readonly api: Api
  readonly accounts: readonly { readonly username: string; readonly password: string }[]
  /** Acts a second, all traders together. */
  readonly rate: number
  /** Most requests under way; acts beyond them are put off. */
  readonly concurrency: number
  /** Markets that stay open for days. */
  readonly markets: number
  /** Open short markets too, and resolve and renew them. */
  readonly renews: boolean
  readonly random: Random
  readonly scheduler: Scheduler
  readonly signal: AbortSignal
  onProgress?(done: number, of: number, what: string): void
}

interface Trader {
  readonly session: Session
  readonly kind: Kind
  credit: number
  readonly shares: Map<string, [number, number]>
  orders: number
  /** When its wallet was read last; acts make it older at once. */
  readAt: number
}

interface Known {
  seen: Seen
  readonly title: string
  readonly creator: Trader | null
  readonly short: Question | null
  readonly popularity: number
  readonly closesAt: number
  readonly truth: number
  readonly truthAt: number
  readonly past: readonly { at: number; price: number }[]
}

const LOOK_MS = 2 * SECOND
const WALLET_MS = 60 * SECOND
const MOMENTUM_MS = 3 * MINUTE
/** Traders that are asked for one act before it is left out. */
const ASKED_MAX = 20

/** Runs until `signal` is aborted; the figures grow while it does. */
export function populate(options: RunOptions): { readonly figures: Figures; readonly done: Promise<void> } {
  const figures: Figures = { acts: 0, refused: 0, failed: 0, trades: 0, orders: 0, opened: 0, resolved: 0 }
  return { figures, done: live(options, figures) }
}

async function live(options: RunOptions, figures: Figures): Promise<void> {
  const { api, random, scheduler, signal } = options
  const now = () => scheduler.clock.now()
  const traders: Trader[] = []
  for (const [i, account] of options.accounts.entries()) {
    if (signal.aborted) return
    const session = await api.logIn(account.username, account.password)
    traders.push({ session, kind: kindOf(i), credit: 0, shares: new Map(), orders: 0, readAt: -Infinity })
    options.onProgress?.(i + 1, options.accounts.length, 'traders logged in')
  }

  const known = new Map<string, Known>()
  await look()
  const missing = LONG.slice(0, options.markets).filter(
    ({ title }) => ![...known.values()].some((k) => k.title === title),
  )
  for (const [i, question] of missing.entries()) {
    if (signal.aborted) return
    await open(question, traders[i % traders.length]!, false)
    options.onProgress?.(i + 1, missing.length, 'markets opened')
  }

  let underWay = 0
  let looking = false
  const looks = scheduler.every(LOOK_MS, () => {
    if (looking) return
    looking = true
    void watch(look().then(() => (options.renews ? renew() : undefined))).finally(() => {
      looking = false
    })
  })
  try {
    const gap = () => (-Math.log(1 - random.next()) * SECOND) / options.rate
    let due = scheduler.clock.monotonic() + gap()
    while (!signal.aborted) {
      const wait = due - scheduler.clock.monotonic()
      if (wait > 0.5) {
        await scheduler.sleep(Math.min(wait, 250))
        continue
      }
      // Behind by more than a second: the platform is slower than the rate, and nobody wants to catch up in one burst.
      due = (wait < -SECOND ? scheduler.clock.monotonic() : due) + gap()
      if (underWay >= options.concurrency) {
        await scheduler.sleep(1)
        continue
      }
      underWay++
      void watch(step()).finally(() => {
        underWay--
      })
    }
    while (underWay > 0) await scheduler.sleep(20)
  } finally {
    looks.cancel()
  }

  async function watch(work: Promise<unknown>): Promise<void> {
    try {
      await work
    } catch (error) {
      if (error instanceof ApiFailure && error.status >= 400 && error.status < 500) figures.refused++
      else if (!signal.aborted) figures.failed++
    }
  }

  async function look(): Promise<void> {
    const listed = await api.markets()
    const at = now()
    for (const market of listed) {
      const before = known.get(market.id)
      const creator = traders.find(({ session }) => session.userId === market.creator_id) ?? null
      const past = [...(before?.past ?? []), { at, price: market.current_price_a }]
      while (past.length > 2 && past[1]!.at < at - MOMENTUM_MS) past.shift()
      const seen: Seen = {
        id: market.id,
        price: market.current_price_a,
        before: past[0]!.price,
        liquidity: Number(market.total_liquidity),
        minTrade: market.min_trade_amount,
        maxTrade: market.max_trade_amount,
      }
      const entry: Known = {
        title: market.title,
        creator,
        short: creator ? (SHORT.find(({ title }) => title === market.title) ?? null) : null,
        popularity: before?.popularity ?? 0.2 + random.next() ** 2,
        closesAt: Date.parse(market.closes_at),
        truth: before ? walk(before.truth, (at - before.truthAt) / SECOND, random) : 1.2 * gauss(random),
        truthAt: at,
        seen,
        past,
      }
      known.set(market.id, entry)
    }
    const ids = new Set(listed.map(({ id }) => id))
    for (const [id, entry] of known) if (!ids.has(id) && !(entry.short && entry.creator)) known.delete(id)
  }

  /** What closed is resolved by its creator, as the truth has it; then the question is asked again. */
  async function renew(): Promise<void> {
    const at = now()
    for (const [id, entry] of known) {
      if (!entry.short || !entry.creator || entry.closesAt > at) continue
      known.delete(id)
      const outcome = random.next() < logistic(entry.truth) ? 'outcome_a' : 'outcome_b'
      await api.resolve(entry.creator.session, id, outcome, 'demo: what the simulated world came to')
      figures.resolved++
    }
    for (const question of SHORT) {
      const isOpen = [...known.values()].some(({ short }) => short === question)
      if (!isOpen) await open(question, traders[Math.floor(random.next() * traders.length)]!, true)
    }
  }

  async function open(question: Question, creator: Trader, short: boolean): Promise<void> {
    const closesAt = toIso(now() + question.lasts * SECOND)
    await api.openMarket(creator.session, question, closesAt)
    creator.readAt = -Infinity
    figures.opened++
    if (short) await look()
  }

  /** One act: who has nothing to do leaves it to the next, so that the rate is that of acts, not of looks. */
  async function step(): Promise<void> {
    for (let asked = 0; asked < ASKED_MAX; asked++) {
      const market = pick()
      const trader = traders[Math.floor(random.next() * traders.length)]
      if (!market || !trader) return
      await readWallet(trader)
      const shares = trader.shares.get(market.seen.id) ?? [0, 0]
      const wallet = { credit: trader.credit, shares, orders: trader.orders }
      const chosen = act(trader.kind, market.seen, wallet, market.truth, random)
      if (!chosen) continue
      figures.acts++
      return carryOut(trader, market, chosen)
    }
  }

  function pick(): Known | null {
    const at = now()
    const open = [...known.values()].filter(({ closesAt }) => closesAt > at)
    let dice = random.next() * open.reduce((sum, { popularity }) => sum + popularity, 0)
    for (const market of open) {
      dice -= market.popularity
      if (dice <= 0) return market
    }
    return open.at(-1) ?? null
  }

  async function readWallet(trader: Trader): Promise<void> {
    if (now() - trader.readAt < WALLET_MS) return
    trader.readAt = now()
    const { credit, shares, orders } = await api.wallet(trader.session)
    trader.credit = credit
    trader.orders = orders
    trader.shares.clear()
    for (const { marketId, outcome, free } of shares) {
      const both = trader.shares.get(marketId) ?? [0, 0]
      both[outcome] = free
      trader.shares.set(marketId, both)
    }
  }

  async function carryOut(trader: Trader, market: Known, chosen: Act): Promise<void> {
    try {
      if (chosen.type === 'cancel') {
        await api.cancelOne(trader.session, market.seen.id)
        trader.orders = Math.max(0, trader.orders - 1)
        return
      }
      if (chosen.type === 'order') {
        const expiresAt = toIso(now() + chosen.lasts * SECOND)
        await api.order(trader.session, { ...chosen, marketId: market.seen.id, expiresAt })
        figures.orders++
        trader.orders++
        trader.readAt = Math.min(trader.readAt, now() - WALLET_MS / 2)
        return
      }
      const trade = await api.trade(trader.session, { ...chosen, marketId: market.seen.id })
      figures.trades++
      const outcome = chosen.outcome === 'outcome_a' ? 0 : 1
      const sign = chosen.side === 'buy' ? 1 : -1
      const both = trader.shares.get(market.seen.id) ?? [0, 0]
      both[outcome] = Math.max(0, both[outcome] + sign * chosen.amount)
      trader.shares.set(market.seen.id, both)
      trader.credit -= sign * trade.value + trade.fee
      market.seen = { ...market.seen, price: outcome === 0 ? trade.priceAfter : 1 - trade.priceAfter }
    } catch (error) {
      // What it believed about its wallet may be wrong: it looks again before the next act.
      trader.readAt = -Infinity
      throw error
    }
  }
}
