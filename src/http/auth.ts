/**
 * Who calls: the Authorization header first, then the session cookie. The room that knows tokens and sessions is
 * handed in as `Authenticator`; this file knows headers, roles and origins.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { forbidden, unauthorized } from '../base/errors.ts'
import type { Access, Principal, Role } from './route.ts'

/** A promise only where the answer comes from another machine: a request that need not wait does not. */
export type MaybePromise<T> = T | Promise<T>

export interface Authenticator {
  /** Null when the token is unknown, expired or revoked. Asked anew for each request. */
  byToken(token: string): MaybePromise<Principal | null>
  bySession(cookie: string): MaybePromise<Principal | null>
  /** Whether the token or session behind an open socket still holds. */
  alive(credential: string): MaybePromise<boolean>
}

/** Goes on with a value, at once when it is there. */
export function andThen<T, R>(value: MaybePromise<T>, next: (value: T) => R): MaybePromise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/**
 * The name of the session cookie. Browsers keep cookies by host whatever the port: of several platforms on one machine
 * each needs a name of its own.
 */
export function sessionCookie(headers: Headers): string {
  const port = /:(\d+)$/.exec(hostOf(headers) ?? '')?.[1]
  return port === undefined ? 'om_session' : `om_session_${port}`
}

/** The principal of a request, or null when it brings no credential. A credential that does not hold is a 401. */
export function principalOf(
  headers: IncomingHttpHeaders,
  authenticator: Authenticator,
): MaybePromise<Principal | null> {
  const authorization = headers.authorization
  if (authorization !== undefined) {
    const token = /^Bearer +([\x21-\x7e]{1,512}) *$/i.exec(authorization)?.[1]
    return andThen(token === undefined ? null : authenticator.byToken(token), (principal) => {
      if (!principal) throw unauthorized('The token is not valid.', 'token_not_valid')
      return principal
    })
  }
  const cookie = readCookie(headers.cookie, sessionCookie(headers))
  if (cookie === null) return null
  return andThen(authenticator.bySession(cookie), (principal) => {
    if (!principal) throw unauthorized('The session has ended. Log in again.', 'session_ended')
    return principal
  })
}

const includes: Readonly<Record<Role, readonly Access[]>> = {
  viewer: ['viewer'],
  operator: ['viewer', 'operator'],
  admin: ['viewer', 'operator', 'admin', 'trader_or_admin'],
  trader: ['trader', 'trader_or_admin'],
}

/** Throws 401 or 403 unless the principal may do what needs `access`. */
export function authorize(principal: Principal | null, access: Access): void {
  if (access === 'open') return
  if (!principal) throw unauthorized('Send a token: Authorization: Bearer <token>.')
  if (access !== 'authenticated' && !includes[principal.role].includes(access)) {
    throw forbidden(`This needs the role ${access.replaceAll('_', ' ')}; you are ${principal.role}.`)
  }
}

/**
 * Whether the Origin header names the platform itself. `publicUrl` is what is configured where a reverse proxy stands
 * before front and changes the host.
 */
export function sameOrigin(headers: IncomingHttpHeaders, publicUrl: string | null): boolean {
  const origin = headers.origin
  if (origin === undefined || !URL.canParse(origin)) return false
  const host = new URL(origin).host
  if (publicUrl !== null && URL.canParse(publicUrl) && new URL(publicUrl).host === host) return true
  return host === hostOf(headers)?.toLowerCase()
}

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** The host that the client asked for: front says it, and in front's absence the request itself. */
function hostOf(headers: Headers): string | undefined {
  const host = headers['x-forwarded-host'] ?? headers.host
  return typeof host === 'string' ? host : undefined
}

/** The value of one cookie of the header. */
export function readCookie(header: string | undefined, name: string): string | null {
  for (const part of header?.split(';') ?? []) {
    const at = part.indexOf('=')
    if (at > 0 && part.slice(0, at).trim() === name) return part.slice(at + 1).trim()
  }
  return null
}
