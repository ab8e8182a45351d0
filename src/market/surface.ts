/** What the market's routes are given. */
import type { Clock } from '../base/clock.ts'
import type { Desk } from './desk.ts'
import type { Feed } from './live/feed.ts'
import type { Reading } from './reading.ts'
import type { MarketReads } from './reads.ts'

export interface MarketRouteDeps {
  readonly desk: Desk
  readonly reads: MarketReads
  readonly reading: Reading
  readonly feed: Feed
  readonly clock: Clock
  /** Why an expression never gives a value to compare, in a sentence; null when it can. */
  checkExpression(expr: string): Promise<string | null>
}
