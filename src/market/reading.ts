/**
 * Reads of markets and prices, through a cache of so many bytes that lives on events.
 *
 *   ask ─▶ there? ─yes─▶ JSON text, at once              event of a market ─▶ all that was made from it is forgotten
 *            └─no─▶ read once, however many ask ─▶ kept, unless the market changed meanwhile
 *
 * What time alone changes (a market closes, volumes slide) is bounded by a short life. Lists are forgotten when a market is
 * made, edited or changes its state; what trades change in them (prices, volumes) is at most LIST_MS old.
 */
import type { ByteCache } from '../base/cache.ts'
import type { Clock } from '../base/clock.ts'
import { MINUTE, SECOND } from '../base/time.ts'
import { creditsText, priceNumber } from './amounts.ts'
import { type Book, bookOf } from './book.ts'
import type { MarketEvent } from './events.ts'
import type { MarketId, Outcome, Shares, Side, UserId } from './model.ts'
import type { MarketFilter, MarketReads, MarketView, Page, QuoteView } from './reads.ts'
import { heldJson, levelsJson, marketJson, pointJson, quoteJson } from './views.ts'

type Maybe<T> = T | Promise<T>

const andThen = <T, R>(value: Maybe<T>, next: (value: T) => Maybe<R>): Maybe<R> =>
  value instanceof Promise ? value.then(next) : next(value)

/** A market of a list, ready to be shown: `json` may get more fields put at its end. */
export interface ListedMarket {
  readonly id: MarketId
  readonly json: string
}
export interface MarketListing {
  readonly rows: readonly ListedMarket[]
  readonly total: number
}

export interface QuoteRequest {
  readonly marketId: MarketId
  readonly userId: UserId | null
  readonly side: Side
  readonly outcome: Outcome
  readonly shares: Shares
}

/** A quote as JSON text, or why there is none. */
export type QuoteText = string | { readonly invalid: string; readonly detail: string }

interface KeptQuote {
  readonly text: QuoteText
  readonly resting: QuoteView['resting']
}

export interface Reading {
  market(id: MarketId): Maybe<string | null>
  /** What a user holds of a market, a list as JSON text. */
  holding(userId: UserId, id: MarketId): Maybe<string>
  list(filter: MarketFilter, page: Page): Maybe<MarketListing>
  trending(limit: number): Maybe<string>
  stats(): Maybe<{ readonly json: string; readonly categories: string }>
  /** `hours` null: the whole life. Null when there is no such market. */
  history(id: MarketId, hours: number | null): Maybe<string | null>
  quote(request: QuoteRequest): Maybe<QuoteText | null>
  book(id: MarketId, outcome: Outcome, levels: number): Maybe<string | null>
  heard(event: MarketEvent): void
  /** Nothing that was made from this market is good any more. */
  changed(id: MarketId): void
  /** Events may have been missed. */
  forgetAll(): void
}

/** For how long what slides with time may be told as it was. */
const MARKET_MS = 2 * SECOND
const LIST_MS = SECOND
const HISTORY_MS = 10 * SECOND
const SPARKLINE_MS = MINUTE
/** Time changes nothing of what is held: only commands do, and each of them has an event. */
const HOLDING_MS = MINUTE
/** Of one user in a set of them. */
const RESTING_BYTES = 60
export const HISTORY_POINTS = 300
const SPARKLINE_POINTS = 24
const TRENDING_LEAST = 50
const LISTS = 'lists'

interface Flight {
  readonly tag: string
  /** The market changed while it was read. */
  stale: boolean
  readonly answer: Promise<unknown>
}

interface Kept<T> {
  readonly value: T
  readonly bytes: number
  readonly until: number
}

export function createReading(reads: MarketReads, cache: ByteCache<unknown>, clock: Clock): Reading {
  const flights = new Map<string, Flight>()

  function through<T>(key: string, tag: string, load: () => Promise<Kept<T>>): Maybe<T> {
    const known = cache.get(key, clock.now())
    if (known !== undefined) return known as T
    const under = flights.get(key)
    if (under && !under.stale) return under.answer as Promise<T>
    const answer = load().then(
      ({ value, bytes, until }) => {
        if (flights.get(key) === flight) flights.delete(key)
        if (!flight.stale) cache.set(key, value, { bytes: bytes + key.length, until, tags: [tag] })
        return value
      },
      (error: unknown) => {
        if (flights.get(key) === flight) flights.delete(key)
        throw error
      },
    )
    const flight: Flight = { tag, stale: false, answer }
    flights.set(key, flight)
    return answer
  }

  function drop(tag: string) {
    cache.drop(tag)
    for (const flight of flights.values()) if (flight.tag === tag) flight.stale = true
  }

  /** A market that is open closes by the clock: nothing made from it may outlive that. */
  const lives = (now: number, ms: number, market?: { readonly closesAt: number } | null) =>
    market && market.closesAt > now ? Math.min(now + ms, market.closesAt) : now + ms
  const kept = <T extends string | null>(value: T, until: number): Kept<T> => ({
    value,
    bytes: value === null ? 8 : value.length,
    until,
  })

  const sparkline = (id: MarketId): Maybe<string> =>
    through(`spark ${id}`, `spark ${id}`, async () => {
      const now = clock.now()
      const points = await reads.priceHistory(id, 24, SPARKLINE_POINTS, now)
      return kept(JSON.stringify(points.map((point) => priceNumber(point.prices[0]!))), now + SPARKLINE_MS)
    })

  function quoteOf(request: QuoteRequest): Maybe<KeptQuote | null> {
    const { marketId, userId, side, outcome, shares } = request
    return through(`quote ${side} ${outcome} ${shares} ${userId} ${marketId}`, marketId, async () => {
      const now = clock.now()
      const quote = await reads.quote(request, now)
      if (quote === null) return { value: null, bytes: 8, until: lives(now, MARKET_MS) }
      const { resting } = quote
      const text = 'invalid' in quote ? quote : JSON.stringify(quoteJson(quote, marketId, side, outcome))
      const bytes = (typeof text === 'string' ? text.length : 200) + RESTING_BYTES * resting.size
      return { value: { text, resting }, bytes, until: lives(now, MARKET_MS, quote) }
    })
  }

  /** Refused to somebody who holds nothing; a holder may sell all of it, however little. */
  const refusedSale = (quote: KeptQuote, side: Side) => side === 'sell' && typeof quote.text !== 'string'

  async function listed(market: MarketView): Promise<ListedMarket> {
    const json = JSON.stringify(marketJson(market))
    return { id: market.id, json: `${json.slice(0, -1)},"sparkline":${await sparkline(market.id)}}` }
  }

  return {
    market: (id) =>
      through(`market ${id}`, id, async () => {
        const now = clock.now()
        const market = await reads.market(id, now)
        return kept(market && JSON.stringify(marketJson(market)), lives(now, MARKET_MS, market))
      }),
    holding: (userId, id) =>
      through(`holding ${userId} ${id}`, id, async () => {
        const held = await reads.holdings(userId, id)
        return kept(JSON.stringify(held.map(heldJson)), clock.now() + HOLDING_MS)
      }),
    list: (filter, page) =>
      through(`list ${JSON.stringify([filter, page])}`, LISTS, async () => {
        const now = clock.now()
        const { rows, total } = await reads.markets(filter, page, now)
        const value = { rows: await Promise.all(rows.map(listed)), total }
        const bytes = value.rows.reduce((sum, row) => sum + row.json.length + 100, 100)
        return {
          value,
          bytes,
          until: rows.reduce((until, row) => Math.min(until, lives(now, LIST_MS, row)), now + LIST_MS),
        }
      }),
    trending: (limit) =>
      through(`trending ${limit}`, LISTS, async () => {
        const now = clock.now()
        const filter: MarketFilter = { category: null, state: null, trending: true, search: null, sort: 'trending' }
        const { rows } = await reads.markets(filter, { skip: 0, limit }, now)
        const hot = await Promise.all(rows.filter((row) => row.trendingScore >= TRENDING_LEAST).map(listed))
        return kept(`[${hot.map((row) => row.json)}]`, now + LIST_MS)
      }),
    stats: () =>
      through('stats', LISTS, async () => {
        const now = clock.now()
        const stats = await reads.stats(now)
        const filter: MarketFilter = { category: null, state: null, trending: true, search: null, sort: 'trending' }
        const trending = await reads.markets(filter, { skip: 0, limit: 1 }, now)
        const categories = JSON.stringify(stats.perCategory)
        const json = JSON.stringify({
          total_markets: stats.total,
          active_markets: stats.active,
          total_volume_24h: creditsText(stats.volume24h),
          total_volume_all_time: creditsText(stats.volumeTotal),
          most_active_category: stats.mostActiveCategory,
          trending_markets: trending.total,
          categories: stats.perCategory,
        })
        return { value: { json, categories }, bytes: json.length + categories.length, until: now + LIST_MS }
      }),
    history: (id, hours) =>
      through(`history ${hours} ${id}`, id, async () => {
        const now = clock.now()
        const market = await reads.market(id, now)
        if (!market) return kept(null, lives(now, LIST_MS))
        const points = await reads.priceHistory(id, hours, HISTORY_POINTS, now)
        return kept(JSON.stringify(points.map(pointJson)), now + HISTORY_MS)
      }),
    // To most who ask it is the same quote: only own orders in the way, and the whole of an own holding, make another.
    quote: (request) =>
      andThen(quoteOf({ ...request, userId: null }), (shared) => {
        const { userId, side } = request
        const isOwn = shared !== null && userId !== null && (shared.resting.has(userId) || refusedSale(shared, side))
        return isOwn ? andThen(quoteOf(request), (own) => own?.text ?? null) : (shared?.text ?? null)
      }),
    book: (id, outcome, levels) =>
      through(`book ${outcome} ${levels} ${id}`, id, async () => {
        const now = clock.now()
        const market = await reads.market(id, now)
        if (!market) return kept(null, lives(now, LIST_MS))
        return kept(
          bookText(id, outcome, await bookOf(reads, id, outcome, levels), null),
          lives(now, MARKET_MS, market),
        )
      }),
    heard(event) {
      drop(event.marketId)
      if (event.type === 'created' || event.type === 'edited' || event.type === 'state') drop(LISTS)
    },
    changed(id) {
      drop(id)
      drop(LISTS)
    },
    forgetAll() {
      cache.clear()
      for (const flight of flights.values()) flight.stale = true
    },
  }
}

/** A book as JSON text; `own` are the asker's shares by price, on both sides. */
export function bookText(
  id: MarketId,
  outcome: Outcome,
  { bids, asks }: Book,
  own: { readonly bids: ReadonlyMap<bigint, bigint>; readonly asks: ReadonlyMap<bigint, bigint> } | null,
): string {
  const bid = bids[0]?.price ?? null
  const ask = asks[0]?.price ?? null
  return JSON.stringify({
    market_id: id,
    outcome: outcome === 0 ? 'outcome_a' : 'outcome_b',
    bids: levelsJson(bids, own?.bids ?? null),
    asks: levelsJson(asks, own?.asks ?? null),
    spread: bid === null || ask === null ? null : priceNumber(ask - bid),
    best_bid: bid === null ? null : priceNumber(bid),
    best_ask: ask === null ? null : priceNumber(ask),
  })
}
