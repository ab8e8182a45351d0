/**
 * The book of an outcome as a taker meets it: what rests in it, and what rests in the other one seen from here.
 *
 *   a sell of B at l is met by sellers of A at 1 - l (a pair is given back): a bid         a buy of B at l: an ask at 1 - l
 *
 * The live feed tells levels as they rest; who follows it sees the other side in the same way.
 */
import type { MarketId, Outcome, Price, Side } from './model.ts'
import type { BookLevel, MarketReads } from './reads.ts'

export interface Book {
  readonly bids: readonly BookLevel[]
  readonly asks: readonly BookLevel[]
}

const ONE: Price = 1_000_000n

/** Where an order that rests stands in the book of `outcome`, of two. */
export function placeIn(
  outcome: Outcome,
  order: { readonly outcome: Outcome; readonly side: Side; readonly limit: Price },
): { readonly side: 'bids' | 'asks'; readonly price: Price } {
  if (order.outcome === outcome) return { side: order.side === 'buy' ? 'bids' : 'asks', price: order.limit }
  return { side: order.side === 'sell' ? 'bids' : 'asks', price: ONE - order.limit }
}

/** `here` and `there`: what rests in an outcome and in the other one, at least `levels` of each side, best first. */
export function meeting(here: Book, there: Book, levels: number): Book {
  const side = (
    direct: readonly BookLevel[],
    across: readonly BookLevel[],
    isBetter: (a: Price, b: Price) => boolean,
  ) => {
    const merged: BookLevel[] = []
    for (let i = 0, j = 0; merged.length < levels; ) {
      const level = direct[i]
      const mirrored = across[j] && { ...across[j]!, price: ONE - across[j]!.price }
      if (level === undefined && mirrored === undefined) break
      if (level !== undefined && mirrored !== undefined && level.price === mirrored.price) {
        i++
        j++
        const { price } = level
        merged.push({ price, shares: level.shares + mirrored.shares, orders: level.orders + mirrored.orders })
      } else if (mirrored === undefined || (level !== undefined && isBetter(level.price, mirrored.price))) {
        i++
        merged.push(level!)
      } else {
        j++
        merged.push(mirrored)
      }
    }
    return merged
  }
  return {
    bids: side(here.bids, there.asks, (a, b) => a > b),
    asks: side(here.asks, there.bids, (a, b) => a < b),
  }
}

/** Reads it; `outcome` is one of two. */
export async function bookOf(
  reads: Pick<MarketReads, 'book'>,
  id: MarketId,
  outcome: Outcome,
  levels: number,
): Promise<Book> {
  const [here, there] = await Promise.all([reads.book(id, outcome, levels), reads.book(id, 1 - outcome, levels)])
  return meeting(here, there, levels)
}
