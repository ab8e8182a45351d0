/**
 * All open dashboards, and how one message reaches them.
 *
 *   join ─▶ wants a snapshot ──sent──▶ live ──buffer full──▶ skipped ──drained──▶ live (newest state; the page sees the gap)
 *                ▲────────────asks────────┘                     └──too often──▶ closed 1013
 *
 * A message is encoded once by the caller; every client gets the same text, and each at most once. Sending stops every
 * few milliseconds to let others run, so a thousand dashboards delay nobody, and one that does not read holds back
 * nothing but itself: what waits for it is bounded.
 */
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Counter } from '../base/telemetry.ts'
import type { ClientMessage, Range } from './protocol.ts'
import { CLOSE, isRange } from './protocol.ts'

/** The part of a WebSocket that the hub uses. */
export interface ClientSocket {
  send(data: string): void
  close(code: number, reason: string): void
  readonly bufferedAmount: number
  on(event: 'message', listener: (data: Uint8Array) => void): void
  on(event: 'close', listener: () => void): void
}

/** A text to send, with the `seq` that it carries. */
export interface Encoded {
  readonly seq: number
  readonly text: string
}

export interface HubOptions {
  readonly scheduler: Scheduler
  readonly log: Log
  readonly clientsMax: () => number
  /** The newest state as a snapshot over `range`; not complete while its history could not be read. */
  readonly snapshot: (range: Range) => Promise<Encoded & { readonly complete: boolean }>
  /** Messages sent, messages not sent to a slow client, clients closed for slowness. */
  readonly sent: Counter
  readonly skipped: Counter
  readonly closed: Counter
  /** Called when the first client came, and when the last one left. */
  readonly watched: (watched: boolean) => void
}

export interface Hub {
  readonly size: number
  join(socket: ClientSocket, range: Range): void
  /** Resolves when every client was sent to or skipped. */
  broadcast(message: Encoded): Promise<void>
  close(): void
}

/** Bytes waiting for one client above which it is skipped. */
const BUFFER_MAX = 64 * 1024
/** Periods in a row that a client may be skipped before it is closed. */
const SKIPS_MAX = 15
/** A client that asks more often than this waits for the next period. */
const ASK_EVERY_MS = 250
const CLIENT_MESSAGE_MAX = 1024
/** How long sending may hold the event loop. */
const SLICE_MS = 3

interface Client {
  readonly socket: ClientSocket
  range: Range
  /** Asked for a snapshot, and none is on its way. */
  wants: boolean
  servedAt: number
  /** `seq` of the newest message sent; -1 before the first snapshot. */
  seq: number
  skipped: number
}

export function createHub(options: HubOptions): Hub {
  const { scheduler } = options
  const clients = new Set<Client>()
  const asking = new Set<Client>()
  const serving = new Set<Range>()

  function leave(client: Client) {
    asking.delete(client)
    if (clients.delete(client) && clients.size === 0) options.watched(false)
  }

  function send(client: Client, message: Encoded) {
    client.seq = message.seq
    options.sent.add()
    client.socket.send(message.text)
  }

  /** Runs `work` for each, stopping every few milliseconds to let the event loop turn. */
  async function paced(targets: Iterable<Client>, work: (client: Client) => void) {
    let sliceEnds = scheduler.clock.monotonic() + SLICE_MS
    let n = 0
    for (const client of targets) {
      if (clients.has(client)) work(client)
      if (++n % 16 === 0 && scheduler.clock.monotonic() > sliceEnds) {
        await scheduler.sleep(1)
        sliceEnds = scheduler.clock.monotonic() + SLICE_MS
      }
    }
  }

  /** A snapshot for all that ask for this range: encoded once, and a slow reading of one range delays no other. */
  async function serve(range: Range) {
    if (serving.has(range)) return
    serving.add(range)
    let served: Client[] = []
    try {
      for (;;) {
        served = [...asking].filter((client) => client.range === range)
        if (served.length === 0) return
        for (const client of served) {
          asking.delete(client)
          client.wants = false
        }
        const message = await options.snapshot(range)
        await paced(served, (client) => {
          if (client.range !== range) return
          // What is missing comes with a later period.
          if (!message.complete) client.wants = true
          client.servedAt = scheduler.clock.monotonic()
          // A broadcast may have overtaken what was encoded: the client must not go back in time.
          if (message.seq >= client.seq) send(client, message)
          else ask(client)
        })
      }
    } catch (error) {
      // Whoever asked is served with the next period.
      for (const client of served) client.wants = true
      options.log.error('a snapshot of the dashboard could not be made', { error })
    } finally {
      serving.delete(range)
    }
  }

  function ask(client: Client) {
    client.wants = true
    const soon = scheduler.clock.monotonic() - client.servedAt < ASK_EVERY_MS
    if (soon || client.socket.bufferedAmount > BUFFER_MAX) return // the next period sees to it
    asking.add(client)
    scheduler.after(0, () => void serve(client.range))
  }

  function heard(client: Client, data: Uint8Array) {
    const message = data.length <= CLIENT_MESSAGE_MAX ? parsed(data) : null
    if (!message) return client.socket.close(CLOSE.policy, 'not understood')
    if (message.type !== 'snapshot') return
    if (isRange(message.range)) client.range = message.range
    ask(client)
  }

  return {
    get size() {
      return clients.size
    },
    join(socket, range) {
      if (clients.size >= options.clientsMax()) return socket.close(CLOSE.tryLater, 'too many dashboards are open')
      const client: Client = { socket, range, wants: true, servedAt: Number.NEGATIVE_INFINITY, seq: -1, skipped: 0 }
      clients.add(client)
      socket.on('message', (data) => heard(client, data))
      socket.on('close', () => leave(client))
      if (clients.size === 1) options.watched(true)
      ask(client)
    },
    async broadcast(message) {
      await paced([...clients], (client) => {
        if (client.socket.bufferedAmount > BUFFER_MAX) {
          options.skipped.add()
          if (++client.skipped < SKIPS_MAX) return
          options.closed.add()
          leave(client)
          return client.socket.close(CLOSE.tryLater, 'reads too slowly')
        }
        client.skipped = 0
        if (client.seq >= 0 && client.seq < message.seq) send(client, message)
        if (client.wants) asking.add(client)
      })
      for (const range of new Set([...asking].map((client) => client.range))) {
        scheduler.after(0, () => void serve(range))
      }
    },
    close() {
      for (const client of [...clients]) {
        leave(client)
        client.socket.close(CLOSE.goingAway, 'the platform stops')
      }
    },
  }
}

const decoder = new TextDecoder()

function parsed(data: Uint8Array): ClientMessage | null {
  try {
    const value: unknown = JSON.parse(decoder.decode(data))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as ClientMessage) : null
  } catch {
    return null
  }
}
