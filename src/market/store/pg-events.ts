/**
 * Events of all instances on PostgreSQL: each transaction leaves its events in a row and names it in a notification, which
 * the database hands to everyone in the order of commits.
 *
 *   away ──connect, LISTEN──▶ catching up (rows that were missed; notifications wait) ──▶ listening ──broken──▶ away
 *
 * Rows are kept for a quarter of an hour. Who was away for longer is told `missed`. The connection also carries the lock
 * of the duties that one instance does for all: with the connection the lock is gone.
 */
import pg from 'pg'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import { MINUTE, SECOND } from '../../base/time.ts'
import type { MarketEvent } from '../events.ts'
import type { MarketListener } from './client.ts'
import { LOCK_SPACE, LOCKS } from './pg-schema.ts'
import { eventFromWire, eventToWire, type Wired } from './wire.ts'

export const EVENTS_KEPT_MS = 15 * MINUTE
/** Rows this much older than the last one heard may have been committed after it. */
const OVERLAP_MS = MINUTE
const RECONNECT_MS = 500
/** PostgreSQL carries up to 8,000 bytes; what is longer is read from its row. */
const PAYLOAD_MAX = 7_500

export interface PostgresEvents {
  subscribe(listener: MarketListener): () => void
  /** Whether this process does what one does for all: ticks, cleaning. Asks for it when nobody does. */
  onDuty(): Promise<boolean>
  close(): Promise<void>
}

/** The statement that a transaction leaves its events with, and its values. */
export function leaveEvents(events: readonly MarketEvent[], channel: string, at: number) {
  const body = JSON.stringify(events.map(eventToWire))
  const text = `WITH left_events AS (INSERT INTO events (body, at) VALUES ($1, $2) RETURNING id)
    SELECT pg_notify($3, id || ' ' || $4) FROM left_events`
  return { text, values: [body, at, channel, Buffer.byteLength(body) <= PAYLOAD_MAX ? body : ''] }
}

/** Resolves when it listens. Rejects with what the first connection failed with. */
export async function listenToEvents(options: {
  readonly url: string
  readonly channel: string
  readonly scheduler: Scheduler
  readonly log: Log
}): Promise<PostgresEvents> {
  const { scheduler, log, channel } = options
  const { clock } = scheduler
  const listeners = new Set<MarketListener>()
  /** Rows that were told, by their id, and when. */
  const told = new Map<string, number>()
  let client: pg.Client | null = null
  let closed = false
  let onDuty = false
  let reconnect: Cancel | null = null
  /** Wall time until which nothing was missed. */
  let heardUntil = 0

  const tell = (work: (listener: MarketListener) => void) => {
    for (const listener of listeners) {
      try {
        work(listener)
      } catch (error) {
        log.error('a listener to the market failed', { error })
      }
    }
  }
  function take(id: string, body: string) {
    if (told.has(id)) return
    told.set(id, clock.now())
    if (told.size > 10_000) {
      for (const [old, at] of told) {
        if (clock.now() - at < 2 * OVERLAP_MS) break
        told.delete(old)
      }
    }
    const events = JSON.parse(body) as readonly Wired<MarketEvent>[]
    for (const event of events) tell((listener) => listener.event(eventFromWire(event)))
  }

  async function connect() {
    const c = new pg.Client({
      connectionString: options.url,
      keepAlive: true,
      application_name: 'opinion-market-events',
    })
    let waiting: string[] | null = []
    // One after the other, also those that have to be read from their row.
    let order = Promise.resolve()
    const hear = (payload: string) => {
      const space = payload.indexOf(' ')
      const id = payload.slice(0, space)
      const body = payload.slice(space + 1)
      order = order
        .then(async () => {
          if (body !== '') return take(id, body)
          const { rows } = await c.query<{ body: string }>('SELECT body FROM events WHERE id = $1', [id])
          if (rows[0]) take(id, rows[0].body)
        })
        .catch((error: unknown) => log.warn('events of the market could not be read', { why: messageOf(error) }))
    }
    c.on('notification', ({ payload = '' }) => (waiting === null ? hear(payload) : void waiting.push(payload)))
    c.on('error', (error) => log.warn('the connection to the events of PostgreSQL broke', { why: error.message }))
    c.on('end', () => {
      if (client !== c) return
      client = null
      onDuty = false
      heardUntil = clock.now()
      if (!closed) again()
    })
    try {
      await c.connect()
      await c.query(`LISTEN ${pg.escapeIdentifier(channel)}`)
      const now = clock.now()
      if (now - heardUntil > EVENTS_KEPT_MS - OVERLAP_MS) tell((listener) => listener.missed())
      else {
        const { rows } = await c.query<{ id: string; body: string }>(
          'SELECT id, body FROM events WHERE at >= $1 ORDER BY events.id',
          [heardUntil - OVERLAP_MS],
        )
        for (const row of rows) take(row.id, row.body)
      }
      client = c
      for (const payload of waiting) hear(payload)
      waiting = null
    } catch (error) {
      await c.end().catch(() => {})
      throw error
    }
  }
  function again() {
    reconnect = scheduler.after(RECONNECT_MS, () =>
      connect().catch((error: unknown) => {
        log.warn('the events of PostgreSQL cannot be listened to', { why: messageOf(error) })
        if (!closed) again()
      }),
    )
  }
  await connect()

  return {
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async onDuty() {
      if (client === null) return false
      if (!onDuty) {
        const { rows } = await client.query<{ got: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS got', [
          LOCK_SPACE,
          LOCKS.duties,
        ])
        onDuty = rows[0]?.got === true
        if (onDuty) log.info('this process keeps the market’s time from now on')
      }
      return onDuty
    },
    async close() {
      closed = true
      reconnect?.cancel()
      const c = client
      client = null
      await c?.end().catch(() => {})
    },
  }
}

export const DUTY_MS = SECOND
