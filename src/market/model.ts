/**
 * The things of the market, as every part of it speaks of them. Amounts are whole units, never floating point:
 * money in millionths of a credit, shares in ten-thousandths of a share. Prices are what pricing computes from them; they
 * are shown, bound and compared in millionths.
 *
 *   market   open ──closes_at, or by hand──▶ closed ──resolve──▶ resolved (payout held in escrow while it may be disputed)
 *              │                                  └──dispute──▶ disputed ──decided──▶ resolved
 *              ├──suspend──▶ suspended ──resume──▶ open          resolved with `void` gives the net cost back
 *              └ a market bound to a metric resolves itself; while its samples are asked for: pending_verification
 *
 * Nothing here reads a clock or a database.
 */
import type { Millis } from '../base/time.ts'

declare const brand: unique symbol
type Branded<T, B extends string> = T & { readonly [brand]: B }

export type UserId = Branded<string, 'user'>
export type MarketId = Branded<string, 'market'>
export type OrderId = Branded<string, 'order'>
export type TradeId = Branded<string, 'trade'>

/** Millionths of a credit. */
export type Money = bigint
/** Ten-thousandths of a share. A share of the outcome that came true pays one credit. */
export type Shares = bigint
/** Credits a share, in millionths, 0 to 1,000,000. */
export type Price = bigint

export const MONEY_UNIT = 1_000_000n
export const SHARE_UNIT = 10_000n
/** What a new account is given, from issuance. */
export const SIGN_UP_GRANT: Money = 1_000n * MONEY_UNIT

/** Position in `Market.outcomes`. The API calls 0 `outcome_a` and 1 `outcome_b`; there are two of them today. */
export type Outcome = number
export type Side = 'buy' | 'sell'

export const CATEGORIES = [
  'politics',
  'sports',
  'entertainment',
  'technology',
  'business',
  'science',
  'crypto',
  'weather',
  'health',
  'education',
  'other',
] as const
export type Category = (typeof CATEGORIES)[number]

export const MARKET_STATES = ['open', 'closed', 'resolved', 'disputed', 'suspended', 'pending_verification'] as const
export type MarketState = (typeof MARKET_STATES)[number]

export const ORDER_STATES = ['pending', 'partially_filled', 'filled', 'cancelled', 'rejected', 'expired'] as const
export type OrderState = (typeof ORDER_STATES)[number]
export type TimeInForce = 'gtc' | 'ioc' | 'fok'

/** A question that stored samples answer: at `at`, `expr` is asked over the samples up to then. */
export interface MetricBinding {
  /** PromQL, one series or a scalar. */
  readonly expr: string
  readonly comparison: 'gt' | 'gte' | 'lt' | 'lte'
  readonly threshold: number
  readonly at: Millis
}

/** What a creator writes. Lengths and ranges are checked by the route's schema; money by the command. */
export interface MarketDraft {
  readonly title: string
  readonly question: string
  readonly description: string | null
  readonly outcomes: readonly string[]
  readonly category: Category
  readonly tags: readonly string[]
  readonly imageUrl: string | null
  /** What makes each outcome come true, and where that will be read. */
  readonly resolutionRules: string | null
  readonly intendedSource: string | null
  readonly closesAt: Millis
  /** Paid by the creator; the most that the market maker can lose. LMSR's b is liquidity / ln(outcomes). */
  readonly liquidity: Money
  /** Parts of a million: 20,000 is 2 %. */
  readonly feeRate: bigint
  readonly minTrade: Shares
  readonly maxTrade: Shares
  readonly binding: MetricBinding | null
}

/** How it ended: the winning outcome, or everybody's net cost back. */
export type Resolution = { readonly kind: 'outcome'; readonly outcome: Outcome } | { readonly kind: 'void' }
