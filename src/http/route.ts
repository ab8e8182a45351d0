/**
 * What a room says of one of its routes. `http/server.ts` turns a list of these into a running server: it validates
 * with the schemas, checks the role, wraps the answer in the envelope, shapes errors, and writes OpenAPI from them.
 *
 *   export function analyticsRoutes(deps): Route[] {
 *     return [route({ method: 'GET', path: '/api/v1/advanced-analytics/series', access: 'viewer', … })]
 *   }
 *
 * Objects in schemas are closed (an unknown field is a 422) unless they say `additionalProperties` themselves. A
 * property with a `default` may be left out and is filled in, so declare it without `Type.Optional`.
 */
import type { Static, TObject, TSchema } from 'typebox'

export type Role = 'viewer' | 'operator' | 'admin' | 'trader'
/**
 * The least role that may call; `open` needs no token. admin ⊃ operator ⊃ viewer; `trader` stands beside them, for what
 * only somebody with an account in the market can do; `trader_or_admin` is for what an admin may do there as well.
 */
export type Access = 'open' | 'authenticated' | 'trader_or_admin' | Role

/** Who calls, as the auth hook found out. */
export interface Principal {
  readonly id: string
  readonly name: string
  readonly role: Role
  readonly via: 'token' | 'session'
  /** Names the token or session itself, so that an open socket can be closed when it ends. No secret. */
  readonly credential?: string
}

/**
 * An `Idempotency-Key` that came with the request. Whoever makes the effect stores it in the same transaction:
 * `storage/idempotency.ts` for databases, `AppendOptions.claim` for samples.
 */
export interface IdempotencyClaim {
  readonly key: string
  readonly principalId: string
  /** Route and body, hashed; another hash under the same key is a 409. */
  readonly fingerprint: string
}

export interface RequestContext<P, Q, B> {
  readonly params: P
  readonly query: Q
  readonly body: B
  /** Null only on `open` routes called without a token. */
  readonly principal: Principal | null
  readonly requestId: string
  readonly claim: IdempotencyClaim | null
  /** The version of `If-Match`, when given. */
  readonly ifMatch: number | null
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Path with query string, as sent. */
  readonly url: string
}

/** The envelope's parts. `data: undefined` makes a message-only answer. */
export interface Reply<D> {
  readonly status?: number
  readonly data?: D
  /** `data` as JSON text that was made before (from a cache), in its place. */
  readonly json?: string
  readonly message?: string
  readonly headers?: Readonly<Record<string, string>>
  /** For lists; sent as `X-Next-Cursor`. */
  readonly nextCursor?: string
}

/** For pages, protocols of others and ready-made JSON: sent as it is. */
export interface RawReply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array | null
}

export interface RouteShape<P extends TObject, Q extends TObject, B extends TSchema, D extends TSchema> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** With `:name` for parameters. */
  readonly path: string
  readonly access: Access
  readonly tag: string
  readonly summary: string
  readonly params?: P
  readonly query?: Q
  readonly body?: B
  /** Schema of `data`; absent for message-only routes. */
  readonly data?: D
  /** The body may also come as a form: fields by name, converted as query parameters are. */
  readonly form?: boolean
  /** Status of success for the documentation; 200 when absent. */
  readonly status?: 200 | 201 | 202
  /** Takes `Idempotency-Key` (every POST that creates or moves something). */
  readonly idempotent?: boolean
  /** Most bytes of body, after decompression; the server's default when absent. */
  readonly bodyLimitBytes?: number
  /**
   * Not counted against the rate of its caller. For samples: their senders lose or hold back what a 429 refuses, and
   * overload of the store has its own 503.
   */
  readonly unmetered?: boolean
  /** False: leave it out of OpenAPI (pages). */
  readonly documented?: boolean
  handler(request: RequestContext<Static<P>, Static<Q>, Static<B>>): Promise<Reply<Static<D>>> | Reply<Static<D>>
}

/**
 * A route of a foreign protocol or a page: the body comes as bytes, the answer goes as it is, and `onError` shapes
 * errors the way that protocol wants them (the platform's shape when absent).
 */
export interface ForeignShape {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly access: Access
  readonly tag: string
  readonly summary: string
  /** Media types taken; others are 415. Empty: none is checked. */
  readonly consumes?: readonly string[]
  readonly bodyLimitBytes?: number
  readonly unmetered?: boolean
  readonly documented?: boolean
  /** For requests that come by the thousand: answered past the framework (`direct.ts`). No parameters in the path. */
  readonly direct?: boolean
  foreign(request: RequestContext<Record<string, string>, URLSearchParams, Uint8Array>): Promise<RawReply> | RawReply
  onError?(error: unknown, requestId: string): RawReply
}

/** The part of a WebSocket that rooms use. */
export interface Socket {
  send(data: string | Uint8Array): void
  close(code: number, reason: string): void
  /** Bytes accepted by `send` and not yet taken by the network: how a slow client is seen. */
  readonly bufferedAmount: number
  on(event: 'message', listener: (data: Uint8Array) => void): void
  on(event: 'close', listener: () => void): void
}

/**
 * A WebSocket. The server authenticates it (Authorization header; session cookie with origin check; or `?ticket=` from
 * a one-time ticket) and closes with 4401 or 4403 where that fails, before the room sees it.
 */
export interface SocketShape {
  readonly method: 'SOCKET'
  readonly path: string
  readonly access: Access
  readonly tag: string
  readonly summary: string
  /** What may stand in the query beside a ticket: name to what it means. */
  readonly inQuery?: Readonly<Record<string, string>>
  socket(socket: Socket, request: { readonly principal: Principal | null; readonly url: string }): void
}

// biome-ignore lint/suspicious/noExplicitAny: routes of all shapes stand in one list; `route` checks each
export type Route = RouteShape<any, any, any, any> | ForeignShape | SocketShape

/** Gives the handler the types of its schemas. */
export function route<P extends TObject, Q extends TObject, B extends TSchema, D extends TSchema>(
  shape: RouteShape<P, Q, B, D>,
): Route {
  return shape
}

export const foreignRoute = (shape: ForeignShape): Route => shape
