/** The API of identity: the session of the page, and tokens. */
import Type from 'typebox'
import type { Clock } from '../base/clock.ts'
import { invalid } from '../base/errors.ts'
import { fromIso, toIso } from '../base/time.ts'
import { sessionCookie } from '../http/auth.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import type { Identity, SessionTimes } from './identity.ts'

export interface IdentityRoutesDeps {
  readonly identity: Identity
  readonly clock: Clock
  times(): SessionTimes
  /** Whether people reach the platform by https: the cookie is for that alone then. */
  secure(): boolean
}

const Role = Type.Union([Type.Literal('viewer'), Type.Literal('operator'), Type.Literal('admin')])
const Time = Type.String({ format: 'date-time' })
const NullableTime = Type.Union([Time, Type.Null()])

const Token = Type.Object({
  id: Type.String(),
  name: Type.String(),
  role: Role,
  prefix: Type.String({ description: 'The first characters, to recognise it by.' }),
  created_at: Time,
  created_by: Type.String(),
  expires_at: NullableTime,
  last_used_at: NullableTime,
  revoked_at: NullableTime,
})
const Me = Type.Object({
  id: Type.String(),
  name: Type.String(),
  role: Type.Union([Role, Type.Literal('trader')]),
  via: Type.Union([Type.Literal('token'), Type.Literal('session')]),
})

export function identityRoutes({ identity, clock, times, secure }: IdentityRoutesDeps): Route[] {
  type Headers = RequestContext<never, never, never>['headers']
  const setCookie = (headers: Headers, value: string, maxAge: number) =>
    `${sessionCookie(headers)}=${value}; Path=/; Max-Age=${maxAge}; HttpOnly; SameSite=Strict${secure() ? '; Secure' : ''}`
  return [
    route({
      method: 'POST',
      path: '/api/v1/session',
      access: 'open',
      tag: 'identity',
      summary: 'Log in with the code of a login link, or with a token; sets the session cookie',
      body: Type.Object({
        code: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
        token: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })),
      }),
      data: Me,
      handler({ body, headers }) {
        if ((body.code === undefined) === (body.token === undefined)) {
          throw invalid([{ path: 'code', message: 'give either code or token' }])
        }
        const proof = body.code === undefined ? { token: body.token! } : { code: body.code }
        const { cookie, caller } = identity.logIn(proof, clock.now())
        const { id, name, role, via } = caller
        const age = Math.floor(times().lifetimeMs / 1000)
        return {
          data: { id, name, role, via },
          message: `Welcome, ${name}.`,
          headers: { 'set-cookie': setCookie(headers, cookie, age) },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/session',
      access: 'authenticated',
      tag: 'identity',
      summary: 'Who am I',
      data: Me,
      handler({ principal }) {
        const { id, name, role, via } = principal!
        return { data: { id, name, role, via } }
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/session',
      access: 'authenticated',
      tag: 'identity',
      summary: 'Log out',
      handler({ principal, headers }) {
        if (principal?.via === 'session') identity.logOut(principal.credential!, clock.now())
        return { message: 'Logged out.', headers: { 'set-cookie': setCookie(headers, '', 0) } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/tokens',
      access: 'admin',
      tag: 'identity',
      summary: 'All tokens, revoked ones included; never the tokens themselves',
      data: Type.Object({ tokens: Type.Array(Token), total_count: Type.Integer() }),
      handler() {
        const tokens = identity.tokens()
        return { data: { tokens, total_count: tokens.length } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/tokens',
      access: 'admin',
      tag: 'identity',
      summary: 'Make a token; the answer is the only place that ever shows it',
      idempotent: true,
      status: 201,
      body: Type.Object({
        name: Type.String({ minLength: 1, maxLength: 100, pattern: '^[^\\u0000-\\u001f\\u007f]*$' }),
        role: Role,
        expires_at: Type.Optional(
          Type.String({ maxLength: 40, description: 'ISO 8601 with a zone; never when absent.' }),
        ),
      }),
      data: Type.Object({ ...Token.properties, token: Type.String() }),
      handler({ body, principal, claim }) {
        const expiresAt = body.expires_at === undefined ? null : fromIso(body.expires_at)
        if (body.expires_at !== undefined && (expiresAt === null || expiresAt <= clock.now())) {
          throw invalid([
            { path: 'expires_at', message: `must be a time in the future, such as ${toIso(clock.now())}` },
          ])
        }
        const made = identity.createToken(
          { name: body.name, role: body.role, expiresAt },
          principal!.name,
          clock.now(),
          claim,
        )
        return {
          status: 201,
          data: { ...made.token, token: made.secret },
          message: 'Keep the token: it is never shown again.',
        }
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/tokens/:id',
      access: 'admin',
      tag: 'identity',
      summary: 'Revoke a token; it stops working at once, its sessions and sockets too',
      params: Type.Object({ id: Type.String() }),
      data: Token,
      handler({ params, principal }) {
        const token = identity.revokeToken(params.id, principal!.name, clock.now())
        return { data: token, message: `The token ${token.name} is revoked.` }
      },
    }),
  ]
}

export type { AccountRoutesDeps, Figures } from './accounts/routes.ts'
export { accountRoutes, principalOfTrader, traderSession } from './accounts/routes.ts'
