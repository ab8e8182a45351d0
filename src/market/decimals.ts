/** Whole units as decimal text, for people and for JSON: money and prices with six places, shares with four. */
import type { Money, Price, Shares } from './model.ts'

function decimal(units: bigint, places: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(places + 1, '0')
  return `${units < 0n ? '-' : ''}${digits.slice(0, -places)}.${digits.slice(-places)}`
}

/** `12.500000`, in credits. */
export const moneyText = (units: Money): string => decimal(units, 6)
/** `3.0000`, in shares. */
export const sharesText = (units: Shares): string => decimal(units, 4)
/** `0.550000`, in credits a share. */
export const priceText = (units: Price): string => decimal(units, 6)
