/**
 * Whole units and what the API shows of them: money as decimal text (two to six decimals), shares as numbers of at most
 * four decimals, prices as numbers of at most six. Nothing is rounded on its way in: what has more decimals is refused.
 */
import { invalid } from '../base/errors.ts'
import type { Money, Price, Shares } from './model.ts'
import { SHARE_UNIT } from './model.ts'

/** `1000.00`, `-0.123456`. */
export function creditsText(money: Money): string {
  const digits = (money < 0n ? -money : money).toString().padStart(7, '0')
  const fraction = digits.slice(-6).replace(/0{1,4}$/, '')
  return `${money < 0n ? '-' : ''}${digits.slice(0, -6)}.${fraction}`
}

export const sharesNumber = (shares: Shares): number => Number(shares) / 10_000
export const priceNumber = (price: Price): number => Number(price) / 1_000_000

/** Value of shares at a price, rounded down. */
export const worthOf = (shares: Shares, price: Price): Money => (shares * price) / SHARE_UNIT

/** Credits a share, rounded to the nearest millionth; 0 for no shares. */
export function averageOf(value: Money, shares: Shares): Price {
  return shares === 0n ? 0n : (value * SHARE_UNIT + shares / 2n) / shares
}

export const sharesOf = (amount: number, path: string): Shares => units(String(amount), 4, path)
export const priceOf = (price: number, path: string): Price => units(String(price), 6, path)
export const moneyOf = (amount: number | string, path: string): Money => units(String(amount), 6, path)
/** Parts of a million. */
export const rateOf = (rate: number, path: string): bigint => units(String(rate), 6, path)

function units(text: string, decimals: number, path: string): bigint {
  const match = /^(\d{1,15})(?:\.(\d+))?$/.exec(text)
  if (!match || (match[2]?.length ?? 0) > decimals) {
    throw invalid([{ path, message: `must be a positive number with at most ${decimals} decimals` }])
  }
  return BigInt(match[1]! + (match[2] ?? '').padEnd(decimals, '0'))
}
