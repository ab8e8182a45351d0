/**
 * Simulated traders: what each of them would do next, given what it sees. Pure: randomness comes in, and nothing is sent.
 *
 *   informed   has an own, noisy look at the truth and trades towards it, at most a tenth of its credit at once
 *   noisy      does anything: small trades either way, limit orders around the price, cancels, sales
 *   momentum   buys what has just risen, sells when it stops
 *
 * The truth of a market is a random walk in log-odds that only the informed can see; so prices mean something, move for a
 * reason, and the crowd can be judged (`bench/` drives the same population). Amounts are credits and shares as plain numbers,
 * cut to what the API takes; the platform itself counts in whole units.
 */
import type { Random } from '../../base/random.ts'

export const KINDS = ['informed', 'noisy', 'momentum'] as const
export type Kind = (typeof KINDS)[number]

/** A market as everybody sees it. */
export interface Seen {
  readonly id: string
  /** Price of the first outcome, 0 to 1. */
  readonly price: number
  /** The price some minutes ago; equal to `price` while nothing is known. */
  readonly before: number
  readonly liquidity: number
  readonly minTrade: number
  readonly maxTrade: number
}

/** What a trader has: credit that is free, and free shares of either outcome of the market it looks at. */
export interface Wallet {
  readonly credit: number
  readonly shares: readonly [number, number]
  readonly orders: number
}

export type Outcome = 'outcome_a' | 'outcome_b'
export type Act =
  | { readonly type: 'trade'; readonly side: 'buy' | 'sell'; readonly outcome: Outcome; readonly amount: number }
  | {
      readonly type: 'order'
      readonly side: 'buy' | 'sell'
      readonly outcome: Outcome
      readonly amount: number
      readonly price: number
      /** Seconds until it expires. */
      readonly lasts: number
    }
  | { readonly type: 'cancel' }

/** Half informed and momentum, half noise: enough opinion that prices follow, enough noise that they are not the truth. */
export function kindOf(index: number): Kind {
  return (['informed', 'noisy', 'momentum', 'noisy', 'informed', 'noisy'] as const)[index % 6]!
}

/** A step of the truth: log-odds after `seconds` more, pulled gently back so that it does not run away in a day. */
export function walk(logOdds: number, seconds: number, random: Random): number {
  const pull = Math.exp(-seconds / 7_200)
  return logOdds * pull + 1.2 * Math.sqrt(1 - pull * pull) * gauss(random)
}

/** What the trader does about this market now; null when nothing is worth it. `truth` is its log-odds. */
export function act(kind: Kind, seen: Seen, wallet: Wallet, truth: number, random: Random): Act | null {
  if (kind === 'informed') return informed(seen, wallet, truth + 0.3 * gauss(random))
  return kind === 'momentum' ? momentum(seen, wallet, random) : noisy(seen, wallet, random)
}

/** Part of the way to its belief: more would tell everybody else, and cost more than it is worth. */
const INFORMED_PART = 0.35
/** Differences smaller than this do not pay for the fee. */
const INFORMED_EDGE = 0.03

function informed(seen: Seen, wallet: Wallet, belief: number): Act | null {
  const gap = logistic(belief) - seen.price
  if (Math.abs(gap) < INFORMED_EDGE) return null
  // LMSR: so many shares move the log-odds by that much (b = liquidity / ln 2).
  const shares = (seen.liquidity / Math.LN2) * Math.abs(belief - logit(seen.price)) * INFORMED_PART
  const likes = gap > 0 ? 0 : 1
  const held = wallet.shares[1 - likes]!
  if (held >= seen.minTrade) return sell(seen, 1 - likes, Math.min(held, shares))
  return buy(seen, wallet, likes, shares)
}

function momentum(seen: Seen, wallet: Wallet, random: Random): Act | null {
  const rise = seen.price - seen.before
  if (Math.abs(rise) < 0.01) {
    const held = wallet.shares[0] >= wallet.shares[1] ? 0 : 1
    return wallet.shares[held]! >= seen.minTrade && random.next() < 0.3 ? sell(seen, held, wallet.shares[held]!) : null
  }
  const likes = rise > 0 ? 0 : 1
  const held = wallet.shares[1 - likes]!
  if (held >= seen.minTrade) return sell(seen, 1 - likes, held)
  return buy(seen, wallet, likes, 4 + 16 * random.next())
}

function noisy(seen: Seen, wallet: Wallet, random: Random): Act | null {
  const outcome = random.next() < 0.5 ? 0 : 1
  const held = wallet.shares[outcome]!
  const dice = random.next()
  if (dice < 0.08 && wallet.orders > 0) return { type: 'cancel' }
  if (dice < 0.3 && held >= seen.minTrade) return sell(seen, outcome, held * (0.2 + 0.8 * random.next()))
  const amount = 1 + 9 * random.next() ** 2
  if (dice < 0.6) {
    const price = outcome === 0 ? seen.price : 1 - seen.price
    const sells = held >= seen.minTrade && random.next() < 0.5
    const away = 0.005 + 0.06 * random.next()
    const limit = Math.min(0.99, Math.max(0.01, Math.round((price + (sells ? away : -away)) * 1000) / 1000))
    if (!sells && limit * amount * 1.1 > wallet.credit) return null
    const size = cut(Math.min(sells ? held : amount, seen.maxTrade))
    const lasts = Math.round(120 + 1_500 * random.next())
    if (size < seen.minTrade) return null
    return { type: 'order', side: sells ? 'sell' : 'buy', outcome: name(outcome), amount: size, price: limit, lasts }
  }
  return buy(seen, wallet, outcome, amount)
}

function buy(seen: Seen, wallet: Wallet, outcome: number, shares: number): Act | null {
  const price = Math.max(0.02, outcome === 0 ? seen.price : 1 - seen.price)
  const amount = cut(Math.min(shares, (wallet.credit * 0.1) / price, seen.maxTrade))
  return amount >= seen.minTrade ? { type: 'trade', side: 'buy', outcome: name(outcome), amount } : null
}

function sell(seen: Seen, outcome: number, shares: number): Act | null {
  const amount = cut(Math.min(shares, seen.maxTrade))
  return amount >= seen.minTrade ? { type: 'trade', side: 'sell', outcome: name(outcome), amount } : null
}

const name = (outcome: number): Outcome => (outcome === 0 ? 'outcome_a' : 'outcome_b')
/** Down to hundredths of a share: never more than is held. */
const cut = (shares: number) => Math.floor(shares * 100 + 1e-9) / 100
export const logistic = (x: number) => 1 / (1 + Math.exp(-x))
export const logit = (p: number) => Math.log(clamp(p) / (1 - clamp(p)))
const clamp = (p: number) => Math.min(0.999, Math.max(0.001, p))

/** Box and Muller. */
export function gauss(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}
