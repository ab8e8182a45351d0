/**
 * The market maker: Hanson's logarithmic market scoring rule (R. Hanson, "Combinatorial information market design", 2003),
 * in whole units. With q_i the shares of outcome i that users hold,
 *
 *   C(q) = b ln Σ exp(q_i / b) = max q + F(q)       b = liquidity / ln n       price of i = exp(q_i / b) / Σ exp(q_j / b)
 *
 * F lies between 0 and the liquidity. It is evaluated in doubles by functions.ts and rounded to a whole number of grains of
 * 10^-9 credits (a thousandth of a money unit); max q is exact. So C in grains is a whole number that depends on q alone, at
 * most ERROR_GRAINS from the true one (tested), and everything else is exact:
 *
 *   a buy costs    max(1, ceil((C(after) - C(before) + 2 ERROR_GRAINS) / 1000))     never less than the true cost
 *   a sale brings  max(0, floor((C(before) - C(after) - 2 ERROR_GRAINS) / 1000))    never more
 *
 * Differences of a whole-numbered function telescope: a trade in parts never beats the whole, no round trip gains, and the
 * pool, which begins with the liquidity = C(0), always has at least C(q) >= max q: what it may have to pay. The most that the
 * maker can lose is the liquidity, and its creator has paid that.
 *
 * Numbers here are whole doubles below 2^53: shares in ten-thousandths up to SOLD_MAX, money in millionths up to its hundredfold.
 */
import type { Money, Outcome, Price, Shares, Side } from '../model.ts'
import { expMinus, LN2, ln, log1p } from './functions.ts'

/** Most shares (units) of one outcome that a market may have out: a thousand million whole shares. */
export const SOLD_MAX = 10_000_000_000_000
/** Most liquidity of a market: a million credits, in money units. The error bound is stated for up to it. */
export const LIQUIDITY_MAX = 1_000_000_000_000
/** How far C in grains may be from the true C. */
export const ERROR_GRAINS = 3
const GRAINS = 1000
/** What one unit of a share that came true pays, in money units. */
export const PAYOUT = 100
const PRICE_ONE = 1_000_000

/** The maker of one market while a command is worked out: cheap to make, moved by `move`. */
export class Maker {
  /** Shares out by outcome, in units. */
  readonly sold: number[]
  /** b in share units, and in grains. */
  readonly #b: number
  readonly #bGrains: number
  #rest: number

  constructor(liquidity: Money, sold: readonly Shares[]) {
    const logOutcomes = sold.length === 2 ? LN2 : ln(sold.length)
    const money = Number(liquidity)
    this.#b = money / PAYOUT / logOutcomes
    this.#bGrains = (money * GRAINS) / logOutcomes
    this.sold = []
    for (let i = 0; i < sold.length; i++) this.sold.push(Number(sold[i]))
    this.#rest = this.#restOf()
  }

  /** F in whole grains. */
  #restOf(): number {
    const sold = this.sold
    if (sold.length === 2) {
      const gap = sold[0]! - sold[1]!
      return Math.floor(this.#bGrains * log1p(expMinus((gap < 0 ? -gap : gap) / this.#b)) + 0.5)
    }
    return Math.floor(this.#bGrains * log1p(this.#weightBeside(sold.indexOf(maxOf(sold)), -1)) + 0.5)
  }

  /** Σ exp((q_i - q_of) / b) over all i but `of` and `without`; no q among them may be above q_of. */
  #weightBeside(of: Outcome, without: Outcome): number {
    const top = this.sold[of]!
    let sum = 0
    for (let i = 0; i < this.sold.length; i++) {
      if (i !== of && i !== without) sum += expMinus((top - this.sold[i]!) / this.#b)
    }
    return sum
  }

  /**
   * Sells `shares` units to a buyer, or buys them from a seller; the money units that the buyer pays or the seller gets.
   * The caller keeps what is out between 0 and SOLD_MAX.
   */
  move(side: Side, outcome: Outcome, shares: number): number {
    const topBefore = maxOf(this.sold)
    const restBefore = this.#rest
    this.sold[outcome]! += side === 'buy' ? shares : -shares
    this.#rest = this.#restOf()
    const top = (maxOf(this.sold) - topBefore) * PAYOUT
    const rest = this.#rest - restBefore
    if (side === 'buy') return Math.max(1, top + Math.ceil((rest + 2 * ERROR_GRAINS) / GRAINS))
    return Math.max(0, -top + Math.floor((-rest - 2 * ERROR_GRAINS) / GRAINS))
  }

  /** The same number of every outcome comes (or goes, when negative) against its whole payout: no price changes. */
  moveAll(shares: number): void {
    for (let i = 0; i < this.sold.length; i++) this.sold[i]! += shares
  }

  /**
   * How many units of `outcome` can be bought before its price is above `price` (sold, before it is below), in millionths
   * strictly between 0 and 1,000,000; 0 when it is there already. The last unit may be off by one.
   */
  reach(side: Side, outcome: Outcome, price: number): number {
    const sold = this.sold
    let rival = outcome === 0 ? 1 : 0
    for (let i = 0; i < sold.length; i++) if (i !== outcome && sold[i]! > sold[rival]!) rival = i
    let target = this.#b * ln(price / (PRICE_ONE - price))
    if (sold.length > 2) target += this.#b * log1p(this.#weightBeside(rival, outcome))
    const gap = sold[outcome]! - sold[rival]!
    const units = Math.floor(side === 'buy' ? target - gap : gap - target)
    return units > 0 ? units : 0
  }

  /** Prices in millionths, rounded; together exactly 1,000,000. */
  prices(): Price[] {
    const sold = this.sold
    if (sold.length === 2) {
      const gap = sold[0]! - sold[1]!
      const e = expMinus((gap < 0 ? -gap : gap) / this.#b)
      const low = Math.floor((PRICE_ONE * e) / (1 + e) + 0.5)
      return gap < 0 ? [BigInt(low), BigInt(PRICE_ONE - low)] : [BigInt(PRICE_ONE - low), BigInt(low)]
    }
    const top = maxOf(sold)
    const weights = sold.map((s) => expMinus((top - s) / this.#b))
    let sum = 0
    for (const weight of weights) sum += weight
    const rounded = weights.map((weight) => Math.floor((PRICE_ONE * weight) / sum + 0.5))
    // What rounding left over or short goes to the likeliest, which has the most of it.
    let left = PRICE_ONE
    for (const price of rounded) left -= price
    rounded[sold.indexOf(top)]! += left
    return rounded.map(BigInt)
  }
}

function maxOf(values: readonly number[]): number {
  let max = values[0]!
  for (let i = 1; i < values.length; i++) if (values[i]! > max) max = values[i]!
  return max
}

/** shares * price in money units, rounded down; both in units, exact for shares up to SOLD_MAX. */
export function valueDown(shares: number, price: number): number {
  const whole = Math.floor(shares / 10_000)
  return whole * price + Math.floor(((shares - whole * 10_000) * price) / 10_000)
}

/** shares * price in money units, rounded up. */
export function valueUp(shares: number, price: number): number {
  const whole = Math.floor(shares / 10_000)
  return whole * price + Math.ceil(((shares - whole * 10_000) * price) / 10_000)
}

/** The fee on a value, rounded up; `rate` in millionths up to a million. */
export function feeOn(value: number, rate: number): number {
  const whole = Math.floor(value / 1_000_000)
  return whole * rate + Math.ceil(((value - whole * 1_000_000) * rate) / 1_000_000)
}
