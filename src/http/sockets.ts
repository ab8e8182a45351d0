/**
 * WebSockets: authentication, limits, heartbeat, and the end of a socket whose token was revoked.
 *
 * A browser cannot set a header on a socket; it has its session cookie, or takes a one-time ticket (30 s) that stands
 * in the address instead of the token. A socket that may not be is closed with 4401, 4403 or 1013 before its room
 * sees it.
 */
import type { IncomingMessage } from 'node:http'
import type { Clock } from '../base/clock.ts'
import { AppError, forbidden, tooMany } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { secretToken } from '../base/random.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { SECOND } from '../base/time.ts'
import type { Authenticator, MaybePromise } from './auth.ts'
import { andThen, authorize, principalOf, sameOrigin } from './auth.ts'
import type { Principal, Socket, SocketShape } from './route.ts'

export const TICKET_LIFETIME_MS = 30 * SECOND
const TICKETS_MAX = 10_000
const HEARTBEAT_MS = 30 * SECOND
const REVOCATION_MS = 500

export interface Tickets {
  issue(principal: Principal): string
  /** Who it was issued to, once; null when unknown, used or older than 30 s. */
  redeem(ticket: string): Principal | null
}

export function createTickets(clock: Clock): Tickets {
  const open = new Map<string, { principal: Principal; until: number }>()
  return {
    issue(principal) {
      const now = clock.monotonic()
      for (const [ticket, { until }] of open) {
        if (until > now) break // they stand in the order of issue
        open.delete(ticket)
      }
      if (open.size >= TICKETS_MAX) throw tooMany('Too many tickets are open.', 5)
      const ticket = secretToken(24)
      open.set(ticket, { principal, until: now + TICKET_LIFETIME_MS })
      return ticket
    },
    redeem(ticket) {
      const found = open.get(ticket)
      open.delete(ticket)
      return found && found.until > clock.monotonic() ? found.principal : null
    },
  }
}

type SocketData = Buffer | ArrayBuffer | Buffer[]

/** The part of a socket of `ws` that is used here. */
export interface RawSocket {
  readonly bufferedAmount: number
  send(data: string | Uint8Array): void
  close(code: number, reason: string): void
  ping(): void
  terminate(): void
  on(event: 'message', listener: (data: SocketData) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'close' | 'pong', listener: () => void): unknown
}

export interface SocketHub {
  /** Takes over a socket that was just upgraded. */
  accept(socket: RawSocket, request: IncomingMessage, shape: SocketShape): void
  readonly open: number
  /** Closes all with 1012: the service restarts. */
  close(): void
}

export interface SocketHubOptions {
  readonly authenticator: Authenticator
  readonly tickets: Tickets
  readonly scheduler: Scheduler
  readonly log: Log
  socketsMax(): number
  publicUrl(): string | null
}

export function createSocketHub(options: SocketHubOptions): SocketHub {
  const { authenticator, tickets, scheduler, log } = options
  const all = new Map<RawSocket, { principal: Principal | null; alive: boolean }>()

  const heartbeat = scheduler.every(HEARTBEAT_MS, () => {
    for (const [socket, state] of all) {
      if (!state.alive) socket.terminate()
      else {
        state.alive = false
        socket.ping()
      }
    }
  })
  const revocation = scheduler.every(REVOCATION_MS, async () => {
    const checked = new Map<string, MaybePromise<boolean>>()
    for (const { principal } of all.values()) {
      const credential = principal?.credential
      if (credential !== undefined && !checked.has(credential)) checked.set(credential, authenticator.alive(credential))
    }
    const ended = new Set<string>()
    for (const [credential, alive] of checked) if (!(await alive)) ended.add(credential)
    if (ended.size === 0) return
    for (const [socket, { principal }] of all) {
      if (ended.has(principal?.credential ?? '')) socket.close(4401, 'the token or session has ended')
    }
  })

  function principal(request: IncomingMessage): MaybePromise<Principal | null> {
    const ticket = new URL(request.url ?? '/', 'http://localhost').searchParams.get('ticket')
    if (ticket !== null) {
      const holder = tickets.redeem(ticket)
      if (holder?.credential === undefined) return holder
      return andThen(authenticator.alive(holder.credential), (alive) => (alive ? holder : null))
    }
    return andThen(principalOf(request.headers, authenticator), (found) => {
      if (found?.via === 'session' && !sameOrigin(request.headers, options.publicUrl())) {
        throw forbidden('The page comes from another origin.')
      }
      return found
    })
  }

  function refuse(socket: RawSocket, error: unknown) {
    if (!(error instanceof AppError)) log.error('a socket could not be authenticated', { error })
    if (error instanceof AppError && error.status === 403) socket.close(4403, error.code)
    else if (error instanceof AppError) socket.close(4401, error.code)
    else socket.close(1011, 'internal error')
  }

  return {
    accept(socket, request, shape) {
      socket.on('error', (error) => log.debug('a socket failed', { error }))
      try {
        const who = principal(request)
        if (who instanceof Promise)
          who.then((late) => admit(socket, request, shape, late)).catch((e) => refuse(socket, e))
        else admit(socket, request, shape, who)
      } catch (error) {
        refuse(socket, error)
      }
    },
    get open() {
      return all.size
    },
    close() {
      heartbeat.cancel()
      revocation.cancel()
      for (const socket of all.keys()) socket.close(1012, 'the service restarts')
    },
  }

  function admit(socket: RawSocket, request: IncomingMessage, shape: SocketShape, who: Principal | null) {
    authorize(who, shape.access)
    if (all.size >= options.socketsMax()) {
      socket.close(1013, 'too many connections')
      return
    }
    const state = { principal: who, alive: true }
    all.set(socket, state)
    socket.on('pong', () => {
      state.alive = true
    })
    socket.on('close', () => all.delete(socket))
    try {
      // The ticket is used up; a room has no business with it.
      shape.socket(asSocket(socket, log), {
        principal: who,
        url: (request.url ?? '/').replace(/([?&]ticket=)[^&]*/, '$1'),
      })
    } catch (error) {
      log.error('a socket could not be served', { error, path: shape.path })
      socket.close(1011, 'internal error')
    }
  }
}

/** The part of `ws` that rooms use. A listener that throws closes its own socket, nothing else. */
function asSocket(socket: RawSocket, log: Log): Socket {
  return {
    send: (data) => socket.send(data),
    close: (code, reason) => socket.close(code, reason),
    get bufferedAmount() {
      return socket.bufferedAmount
    },
    on(event: 'message' | 'close', listener: (data: Uint8Array) => void) {
      if (event === 'close') socket.on('close', () => listener(new Uint8Array(0)))
      else
        socket.on('message', (data: SocketData) => {
          try {
            listener(bytesOf(data))
          } catch (error) {
            log.error('a message on a socket failed', { error })
            socket.close(1011, 'internal error')
          }
        })
    },
  }
}

function bytesOf(data: SocketData): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data)
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data
}
