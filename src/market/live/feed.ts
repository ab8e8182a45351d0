/**
 * Who listens to a market, on this instance: a snapshot first, then what happens, each with the market's sequence number.
 *
 *   joining ──snapshot, or what was missed since ?since=──▶ following ──reads too slowly──▶ behind ──has read all──▶ joining
 *                                                                                            └──10 s──▶ closed with 4008
 *
 * The last changes of markets are kept for those who come back after a moment. A snapshot may be ahead of what was
 * heard: each listener has its own number, hears what follows it, and gets a snapshot where a number is missing. A
 * message is made once, whoever gets it, and not before somebody does; large audiences are told in pieces, so that a
 * trade need not wait for the last of them.
 */
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import type { Telemetry } from '../../base/telemetry.ts'
import { SECOND, toIso } from '../../base/time.ts'
import { creditsText, priceNumber, sharesNumber } from '../amounts.ts'
import type { MarketEvent } from '../events.ts'
import type { MarketId } from '../model.ts'
import type { MarketReads } from '../reads.ts'
import { levelsJson, marketJson, outcomeName, resolutionName } from '../views.ts'

/** The part of a socket that is used here. */
export interface Listener {
  send(text: string): void
  close(code: number, reason: string): void
  readonly bufferedAmount: number
}

export interface Feed {
  /** `since`: the last number that the listener has seen. Closes with 4404 where there is no such market. */
  join(marketId: MarketId, listener: Listener, since: number | null): void
  leave(marketId: MarketId, listener: Listener): void
  heard(event: MarketEvent): void
  /** Events may have been missed: everyone gets a snapshot. */
  missed(): void
  readonly listeners: number
  stop(): void
}

export interface FeedOptions {
  readonly reads: Pick<MarketReads, 'market' | 'book'>
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
}

/** Bytes that may wait for a listener before it counts as behind. */
const BEHIND_BYTES = 256 * 1024
const BEHIND_MS = 10 * SECOND
const SWEEP_MS = SECOND / 2
const AGAIN_MS = SECOND / 10
/** Changes of one market, and markets, that are kept for those who come back. */
const KEPT = 256
const KEPT_MARKETS = 2_000
/** Listeners told in one go. */
const PIECE = 500
const BOOK_LEVELS = 20

interface Change {
  readonly seq: number
  readonly event: MarketEvent
  /** Its messages, once they were made. */
  texts: readonly string[] | null
}

interface Room {
  readonly listeners: Map<
    Listener,
    { since: number | null; state: 'joining' | 'following' | 'behind'; behindAt: number }
  >
  /** Changes by their number, oldest first; complete from the first on. */
  kept: Change[]
  /** The last number that was heard; before any was, that of the first snapshot. */
  seq: number | null
  reading: boolean
  /** What is being read now may be from before something that was missed. */
  stale: boolean
}

export function createFeed({ reads, scheduler, log, telemetry }: FeedOptions): Feed {
  const { clock } = scheduler
  const rooms = new Map<MarketId, Room>()
  let listeners = 0
  let stopped = false
  const sent = telemetry.counter('market_live_messages_total', 'Messages to listeners of markets.')
  const skipped = telemetry.counter(
    'market_live_skipped_total',
    'Listeners that fell behind and got a snapshot instead.',
  )
  telemetry.gauge('market_live_listeners', 'Listeners of markets.', {}, () => listeners)
  const pending = new Set<Cancel>()
  const sweeping = scheduler.every(SWEEP_MS, sweep)

  function roomOf(id: MarketId): Room {
    const known = rooms.get(id)
    if (known) {
      rooms.delete(id)
      rooms.set(id, known)
      return known
    }
    const room: Room = { listeners: new Map(), kept: [], seq: null, reading: false, stale: false }
    rooms.set(id, room)
    if (rooms.size > KEPT_MARKETS) {
      for (const [other, { listeners: theirs }] of rooms) {
        if (theirs.size > 0 || other === id) continue
        rooms.delete(other)
        break
      }
    }
    return room
  }

  /** False when it is behind: nothing is sent to it until it has read what waits. */
  function send(room: Room, listener: Listener, texts: readonly string[]): boolean {
    const state = room.listeners.get(listener)
    if (!state) return false
    if (listener.bufferedAmount > BEHIND_BYTES) {
      if (state.state !== 'behind') skipped.add()
      state.state = 'behind'
      state.behindAt = clock.monotonic()
      return false
    }
    for (const text of texts) listener.send(text)
    sent.add(texts.length)
    return true
  }

  function tell(id: MarketId, room: Room, change: Change) {
    const { seq } = change
    const audience = [...room.listeners].filter(([, state]) => state.state === 'following').map(([one]) => one)
    const piece = (from: number) => {
      for (const one of audience.slice(from, from + PIECE)) {
        const state = room.listeners.get(one)
        if (state?.state !== 'following' || seq <= state.since!) continue
        if (seq > state.since! + 1) {
          state.state = 'joining'
          state.since = null
        } else if (send(room, one, textsOf(change))) state.since = seq
      }
      void admit(id, room)
      if (from + PIECE >= audience.length || stopped) return
      const next = scheduler.after(0, () => {
        pending.delete(next)
        piece(from + PIECE)
      })
      pending.add(next)
    }
    piece(0)
  }

  /** Lets those in who wait: with what they have missed, or with a snapshot. */
  async function admit(id: MarketId, room: Room) {
    for (const [listener, state] of room.listeners) {
      const first = room.kept[0]?.seq
      if (state.state !== 'joining' || state.since === null || room.seq === null) continue
      if (state.since > room.seq || (state.since < room.seq && (first === undefined || first > state.since + 1)))
        continue
      const missed = room.kept.filter(({ seq }) => seq > state.since!).flatMap(textsOf)
      state.state = 'following'
      if (missed.length > 0) send(room, listener, missed)
      state.since = room.seq
    }
    if (room.reading || ![...room.listeners.values()].some((state) => state.state === 'joining')) return
    room.reading = true
    try {
      let snapshot: Awaited<ReturnType<typeof snapshotOf>>
      do {
        room.stale = false
        snapshot = await snapshotOf(id)
        if (stopped) return
      } while (room.stale)
      const waiting = [...room.listeners].filter(([, state]) => state.state === 'joining')
      if (snapshot === null) {
        for (const [listener] of waiting) listener.close(4404, 'market_not_found')
        return
      }
      // What was heard while it was read, and is newer, follows it.
      const { seq } = snapshot
      const newer = room.kept.filter((change) => change.seq > seq)
      if (newer.length > 0 && newer[0]!.seq > seq + 1) return later(id, room)
      room.seq ??= seq
      for (const [listener, state] of waiting) {
        state.state = 'following'
        state.since = newer.at(-1)?.seq ?? seq
        send(room, listener, [snapshot.text, ...newer.flatMap(textsOf)])
      }
    } catch (error) {
      log.warn('a snapshot of a market could not be read', { market: id, error })
      for (const [listener, state] of room.listeners)
        if (state.state === 'joining') listener.close(1013, 'try again later')
    } finally {
      room.reading = false
    }
  }

  /** What was read is too old already to be continued. */
  function later(id: MarketId, room: Room) {
    const timer = scheduler.after(AGAIN_MS, () => {
      pending.delete(timer)
      void admit(id, room)
    })
    pending.add(timer)
  }

  async function snapshotOf(id: MarketId): Promise<{ seq: number; text: string } | null> {
    const market = await reads.market(id, clock.now())
    if (!market) return null
    const books = await Promise.all(market.outcomes.map((_, outcome) => reads.book(id, outcome, BOOK_LEVELS)))
    const text = JSON.stringify({
      type: 'snapshot',
      seq: market.version,
      at: toIso(clock.now()),
      market: marketJson(market),
      books: books.map(({ bids, asks }, outcome) => ({
        outcome: outcomeName(outcome),
        bids: levelsJson(bids, null),
        asks: levelsJson(asks, null),
      })),
    })
    return { seq: market.version, text }
  }

  function sweep() {
    const now = clock.monotonic()
    for (const [id, room] of rooms) {
      for (const [listener, state] of room.listeners) {
        if (state.state !== 'behind') continue
        if (listener.bufferedAmount === 0) {
          state.state = 'joining'
          state.since = null
          void admit(id, room)
        } else if (now - state.behindAt > BEHIND_MS) listener.close(4008, 'reads too slowly')
      }
    }
  }

  return {
    join(id, listener, since) {
      const room = roomOf(id)
      room.listeners.set(listener, { since, state: 'joining', behindAt: 0 })
      listeners++
      void admit(id, room)
    },
    leave(id, listener) {
      const room = rooms.get(id)
      if (!room?.listeners.delete(listener)) return
      listeners--
    },
    heard(event) {
      const room = roomOf(event.marketId)
      if (room.seq !== null && event.seq <= room.seq) return
      // Where something was missed, what is kept no longer joins on.
      if (room.seq !== null && event.seq > room.seq + 1) room.kept = []
      room.seq = event.seq
      const change: Change = { seq: event.seq, event, texts: null }
      room.kept.push(change)
      if (room.kept.length > KEPT) room.kept.shift()
      if (room.listeners.size > 0) tell(event.marketId, room, change)
    },
    missed() {
      for (const [id, room] of rooms) {
        room.kept = []
        room.seq = null
        room.stale = room.reading
        for (const state of room.listeners.values()) {
          if (state.state === 'following') state.state = 'joining'
          state.since = null
        }
        void admit(id, room)
      }
    },
    get listeners() {
      return listeners
    },
    stop() {
      stopped = true
      sweeping.cancel()
      for (const timer of pending) timer.cancel()
    },
  }
}

function textsOf(change: Change): readonly string[] {
  change.texts ??= messagesOf(change.event)
  return change.texts
}

/** What an event is to a listener: a trade also moves the price. */
export function messagesOf(event: MarketEvent): string[] {
  const head = { seq: event.seq, at: toIso(event.at) }
  switch (event.type) {
    case 'trade':
      return [
        {
          type: 'trade',
          ...head,
          id: event.tradeId,
          user_id: event.userId,
          trade_type: event.side,
          outcome: outcomeName(event.outcome),
          amount: sharesNumber(event.shares),
          value: creditsText(event.value),
          fee: creditsText(event.fee),
        },
        {
          type: 'price',
          ...head,
          current_price_a: priceNumber(event.prices[0]!),
          current_price_b: priceNumber(event.prices[1]!),
        },
      ].map((message) => JSON.stringify(message))
    case 'book': {
      const levels = event.levels.map((level) => ({
        outcome: outcomeName(level.outcome),
        side: level.side,
        price: priceNumber(level.price),
        amount: sharesNumber(level.shares),
      }))
      return [JSON.stringify({ type: 'book', ...head, levels })]
    }
    case 'state': {
      const resolved_outcome = resolutionName(event.resolution)
      return [JSON.stringify({ type: 'status', ...head, status: event.state, resolved_outcome })]
    }
    case 'created':
    case 'edited':
      return [JSON.stringify({ type: event.type, ...head })]
  }
}
