/**
 * An instance's side of the socket to the market-writer: commands go out pipelined, answers come back in any order.
 *
 *   away ──connect──▶ greeting ──hello──▶ connected ──close──▶ away      unanswered commands are asked again, same key
 *
 * A command is given up with 503 when the writer was away, or silent, for a few seconds. Giving up says nothing about
 * what the writer did: the caller asks again with the same key and gets what was committed. Events come in the order of
 * their commit; after each connection `missed` says that some may have been lost.
 */
import { createConnection, type Socket } from 'node:net'
import { AppError, unavailable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import type { TelemetryFamily } from '../../base/telemetry.ts'
import type { Answer, Envelope, MarketCommands } from '../commands.ts'
import type { MarketEvent } from '../events.ts'
import { lineReader } from './lines.ts'
import {
  answerFromWire,
  envelopeToWire,
  eventFromWire,
  type FromWriter,
  LINE_MAX,
  PROTOCOL,
  type Wired,
} from './wire.ts'

/** Who wants to hear what is committed. What a listener throws is logged and hurts no other. */
export interface MarketListener {
  event(event: MarketEvent): void
  /** Events may have been lost before now: what was built from them has to be read anew. */
  missed(): void
}

/** The write side together with its events, as an instance has it on either database. */
export interface MarketConnection extends MarketCommands {
  /** Answers how to end it. */
  subscribe(listener: MarketListener): () => void
  /** Whether commands would be decided now. */
  readonly connected: boolean
}

export interface WriterConnection extends MarketConnection {
  /** What the writer measures of itself. Rejects with an AppError 503 when it is away. */
  telemetry(): Promise<readonly TelemetryFamily[]>
}

export interface ConnectOptions {
  readonly socketPath: string
  /** The name of this process in the writer's log: `instance-2`. */
  readonly name: string
  readonly scheduler: Scheduler
  readonly random: Random
  readonly log: Log
  /** Nobody here listens: the writer sends no events. */
  readonly quiet?: boolean
  /** How long a command waits for a writer that is away or silent. */
  readonly patienceMs?: number
}

const PATIENCE_MS = 4_000
const RETRY_AFTER_SECONDS = 2
const RECONNECT_MS = [10, 20, 50, 100, 200, 400]
const LOOK_MS = 250
/** Commands under way at once; more is overload, and refused. */
const OPEN_MAX = 20_000

interface Open {
  readonly line: string
  readonly since: number
  take(message: { readonly answer: Wired<Answer> } | { readonly telemetry: readonly TelemetryFamily[] }): void
  reject(error: Error): void
}

/** Connects in the background; nothing waits for the writer to be there. */
export function connectWriter(options: ConnectOptions): WriterConnection {
  const { scheduler, random, log } = options
  const { clock } = scheduler
  const patienceMs = options.patienceMs ?? PATIENCE_MS
  const open = new Map<number, Open>()
  const listeners = new Set<MarketListener>()
  let nextId = 1
  let socket: Socket | null = null
  let connected = false
  let closed = false
  let failures = 0
  let awaySince = clock.monotonic()
  let reconnect: Cancel | null = null
  let outgoing: string[] = []

  function connect() {
    reconnect = null
    const s = createConnection(options.socketPath)
    socket = s
    s.setEncoding('utf8')
    s.on('connect', () => s.write(`${JSON.stringify({ hello: PROTOCOL, name: options.name, quiet: options.quiet })}\n`))
    const take = lineReader(LINE_MAX, (line) => hear(JSON.parse(line) as FromWriter))
    s.on('data', (chunk) => {
      try {
        take(String(chunk))
      } catch (error) {
        log.error('the market-writer said something that is not understood', { error })
        s.destroy()
      }
    })
    s.on('error', () => {}) // `close` follows
    s.on('close', () => {
      if (socket !== s) return
      socket = null
      if (connected) {
        awaySince = clock.monotonic()
        log.warn('the connection to the market-writer ended', { unanswered: open.size })
      }
      connected = false
      outgoing = []
      if (closed) return
      const wait = RECONNECT_MS[Math.min(failures++, RECONNECT_MS.length - 1)]!
      reconnect = scheduler.after(wait * (0.75 + random.next() / 2), connect)
    })
  }

  function hear(message: FromWriter) {
    if ('events' in message) {
      for (const event of message.events) tell((listener) => listener.event(eventFromWire(event)))
    } else if ('hello' in message) {
      if (message.hello !== PROTOCOL) throw new Error(`it speaks protocol ${message.hello}, not ${PROTOCOL}`)
      connected = true
      failures = 0
      tell((listener) => listener.missed())
      for (const { line } of open.values()) send(line)
    } else {
      const command = open.get(message.id)
      if (!command) return // given up already
      open.delete(message.id)
      if ('failure' in message) {
        const { status, code, detail, retryAfterSeconds } = message.failure
        command.reject(new AppError(status, code, detail, retryAfterSeconds === null ? {} : { retryAfterSeconds }))
      } else command.take(message)
    }
  }

  function tell(work: (listener: MarketListener) => void) {
    for (const listener of listeners) {
      try {
        work(listener)
      } catch (error) {
        log.error('a listener to the market failed', { error })
      }
    }
  }

  /** All that is said in one turn of the event loop leaves in one write. */
  function send(line: string) {
    if (outgoing.push(line) > 1) return
    queueMicrotask(() => {
      const lines = outgoing
      outgoing = []
      if (connected && lines.length > 0) socket?.write(lines.join(''))
    })
  }

  function ask<T>(what: object, take: (message: Parameters<Open['take']>[0], resolve: (value: T) => void) => void) {
    if (closed) return Promise.reject(unavailable('The market is being stopped.', RETRY_AFTER_SECONDS))
    if (!connected && clock.monotonic() - awaySince > patienceMs) return Promise.reject(away())
    if (open.size >= OPEN_MAX) {
      return Promise.reject(unavailable('The market has more to do than it can.', 1, 'market_overloaded'))
    }
    const id = nextId++
    const line = `${JSON.stringify({ id, ...what })}\n`
    if (line.length > LINE_MAX) return Promise.reject(new AppError(413, 'too_large', 'The command is too large.'))
    return new Promise<T>((resolve, reject) => {
      open.set(id, { line, since: clock.monotonic(), take: (message) => take(message, resolve), reject })
      if (connected) send(line)
    })
  }

  const look = scheduler.every(LOOK_MS, () => {
    const now = clock.monotonic()
    for (const [id, command] of open) {
      if (now - command.since < patienceMs) break // later ones are younger
      open.delete(id)
      command.reject(away())
    }
  })
  connect()

  return {
    get connected() {
      return connected
    },
    submit: (envelope: Envelope) =>
      ask({ ask: envelopeToWire(envelope) }, (message, resolve: (answer: Answer) => void) => {
        if ('answer' in message) resolve(answerFromWire(message.answer))
      }),
    telemetry: () =>
      ask({ telemetry: true }, (message, resolve: (families: readonly TelemetryFamily[]) => void) => {
        if ('telemetry' in message) resolve(message.telemetry)
      }),
    subscribe(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async close() {
      closed = true
      look.cancel()
      reconnect?.cancel()
      socket?.destroy()
      for (const command of open.values()) command.reject(unavailable('The market is being stopped.'))
      open.clear()
    },
  }
}

const away = () =>
  unavailable(
    'The market cannot take this now. Ask again with the same Idempotency-Key.',
    RETRY_AFTER_SECONDS,
    'market_unavailable',
  )
