/** The API of accounts (contract 9.1): register, log in and out, tokens, profiles. Figures of money come from the market. */
import Type from 'typebox'
import type { Clock } from '../../base/clock.ts'
import { notFound } from '../../base/errors.ts'
import { toIso } from '../../base/time.ts'
import type { Principal, RequestContext, Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import type { Accounts, Tokens, Trader, User } from './accounts.ts'
import { ACCESS_LIFETIME_MS } from './accounts.ts'

/** What the market knows of an account. Money as decimal strings. */
export interface Figures {
  readonly available_balance: string
  readonly reserved_balance: string
  readonly portfolio_value: string
  readonly total_balance: string
  readonly total_trades: number
  readonly total_volume: string
  readonly total_profit: string
  readonly win_rate: number | null
  readonly reputation_score: number
}

export interface AccountRoutesDeps {
  readonly accounts: Accounts
  readonly clock: Clock
  figures(userId: string): Promise<Figures>
  /** Makes the account in the market; harmless when it is there. Rejects with 503 when the market is away. */
  open(userId: string, username: string): Promise<void>
  registered(): void
  warn(message: string, fields: Readonly<Record<string, unknown>>): void
}

const Time = Type.String({ format: 'date-time' })
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const Money = Type.String({ pattern: '^-?\\d+\\.\\d{2,6}$', description: 'Credits, exact.' })
const Text = (most: number) => Type.String({ maxLength: most, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\u007f]*$' })
const WebAddress = Type.String({ maxLength: 500, pattern: '^https://[^\\s"\'<>\\\\]+$' })
const Password = Type.String({ minLength: 1, maxLength: 256 })

const Profile = Type.Object({
  id: Type.String(),
  username: Type.String(),
  email: Type.String(),
  full_name: orNull(Type.String()),
  bio: orNull(Type.String()),
  avatar_url: orNull(Type.String()),
  available_balance: Money,
  reserved_balance: Money,
  portfolio_value: Money,
  total_balance: Money,
  total_trades: Type.Integer(),
  total_volume: Money,
  total_profit: Money,
  win_rate: orNull(Type.Number({ description: 'Per cent of resolved markets that brought a profit; null: none yet.' })),
  reputation_score: Type.Number({
    description: '0 to 100: the win rate, drawn towards 50 while there are few trades; 0 before the first.',
  }),
  created_at: Time,
  last_login: orNull(Time),
})

const PublicProfile = Type.Object({
  id: Type.String(),
  username: Type.String(),
  bio: orNull(Type.String()),
  avatar_url: orNull(Type.String()),
  reputation_score: Type.Number(),
  total_trades: Type.Integer(),
  created_at: Time,
})

const TokenPair = Type.Object({
  access_token: Type.String(),
  refresh_token: Type.String(),
  token_type: Type.Literal('bearer'),
  expires_in: Type.Integer({ description: 'Seconds.' }),
})

const Changes = Type.Object({
  full_name: Type.Optional(orNull(Text(100))),
  bio: Type.Optional(orNull(Text(500))),
  avatar_url: Type.Optional(orNull(WebAddress)),
})

export function accountRoutes(deps: AccountRoutesDeps): Route[] {
  type Headers = RequestContext<never, never, never>['headers']
  /** Front says it; without front the process is asked by its own tests alone. */
  const addressOf = (headers: Headers) => String(headers['x-forwarded-for'] ?? 'local')

  async function profileOf(user: User) {
    return {
      id: user.id,
      username: user.username,
      email: user.email,
      full_name: user.fullName,
      bio: user.bio,
      avatar_url: user.avatarUrl,
      ...(await deps.figures(user.id)),
      created_at: toIso(user.createdAt),
      last_login: user.lastLogin === null ? null : toIso(user.lastLogin),
    }
  }
  async function own(principal: Principal | null): Promise<User> {
    const user = await deps.accounts.user(principal!.id)
    if (!user) throw notFound('account_not_found', 'There is no such account.')
    return user
  }
  /** A crash may lie between account and market; the next log-in mends it. */
  async function open(user: User): Promise<void> {
    if (user.opened) return
    try {
      await deps.open(user.id, user.username)
      await deps.accounts.opened(user.id, deps.clock.now())
    } catch (error) {
      deps.warn('an account could not be opened in the market yet', { user: user.id, error })
    }
  }
  const pair = ({ access, refresh }: Tokens) => ({
    access_token: access,
    refresh_token: refresh,
    token_type: 'bearer' as const,
    expires_in: ACCESS_LIFETIME_MS / 1000,
  })

  const profile = ['/api/v1/auth/me', '/api/v1/users/me'].flatMap((path) => [
    route({
      method: 'GET',
      path,
      access: 'trader',
      tag: 'accounts',
      summary: 'Own profile, with balances',
      data: Profile,
      handler: async ({ principal }) => ({ data: await profileOf(await own(principal)) }),
    }),
    route({
      method: 'PUT',
      path,
      access: 'trader',
      tag: 'accounts',
      summary: 'Change the own profile; null takes a text away',
      body: Changes,
      data: Profile,
      async handler({ principal, body }) {
        const changes = {
          ...(body.full_name === undefined ? {} : { fullName: body.full_name }),
          ...(body.bio === undefined ? {} : { bio: body.bio }),
          ...(body.avatar_url === undefined ? {} : { avatarUrl: body.avatar_url }),
        }
        const user = await deps.accounts.edit(principal!.id, changes)
        return { data: await profileOf(user), message: 'Your profile was changed.' }
      },
    }),
  ])

  return [
    route({
      method: 'POST',
      path: '/api/v1/auth/register',
      access: 'open',
      tag: 'accounts',
      summary: 'Make an account; it starts with 1000 credits of play money',
      status: 201,
      body: Type.Object({
        username: Type.String({ minLength: 3, maxLength: 20, pattern: '^[A-Za-z0-9_-]+$' }),
        email: Type.String({ maxLength: 254, pattern: '^[^\\s@"<>\\\\]{1,64}@[A-Za-z0-9.-]+\\.[A-Za-z]{2,63}$' }),
        password: Type.String({ minLength: 8, maxLength: 256 }),
        full_name: Type.Optional(orNull(Text(100))),
        bio: Type.Optional(orNull(Text(500))),
      }),
      data: Profile,
      async handler({ body, headers }) {
        const { username, email, password, full_name = null, bio = null } = body
        const registration = { username, email, password, fullName: full_name, bio }
        const user = await deps.accounts.register(registration, addressOf(headers), deps.clock.now())
        deps.registered()
        await open(user)
        return { status: 201, data: await profileOf(user), message: `Welcome, ${user.username}.` }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/auth/login',
      access: 'open',
      tag: 'accounts',
      summary: 'Log in with user name or address, and password; JSON or a form',
      form: true,
      body: Type.Object({
        username: Type.String({ minLength: 1, maxLength: 254 }),
        password: Password,
        grant_type: Type.Optional(Type.Literal('password')),
        scope: Type.Optional(Type.String({ maxLength: 200 })),
      }),
      data: TokenPair,
      async handler({ body, headers }) {
        const { user, tokens } = await deps.accounts.logIn(
          body.username,
          body.password,
          addressOf(headers),
          deps.clock.now(),
        )
        await open(user)
        return { data: pair(tokens), message: `Welcome, ${user.username}.` }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/auth/refresh',
      access: 'open',
      tag: 'accounts',
      summary: 'A new pair of tokens; the old pair ends. A refresh token that comes twice ends its session',
      body: Type.Object({ refresh_token: Type.String({ minLength: 1, maxLength: 200 }) }),
      data: TokenPair,
      async handler({ body }) {
        const { tokens } = await deps.accounts.refresh(body.refresh_token, deps.clock.now())
        return { data: pair(tokens) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/auth/logout',
      access: 'trader',
      tag: 'accounts',
      summary: 'End this session; its tokens stop working everywhere',
      async handler({ principal }) {
        await deps.accounts.logOut(sessionOf(principal!))
        return { message: 'Logged out.' }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/auth/change-password',
      access: 'trader',
      tag: 'accounts',
      summary: 'Change the password; all other sessions end',
      body: Type.Object({ current_password: Password, new_password: Type.String({ minLength: 8, maxLength: 256 }) }),
      async handler({ principal, body, headers }) {
        const trader: Trader = { id: principal!.id, username: principal!.name, sessionId: sessionOf(principal!) }
        const { accounts, clock } = deps
        await accounts.changePassword(trader, body.current_password, body.new_password, addressOf(headers), clock.now())
        return { message: 'The password was changed; your other sessions have ended.' }
      },
    }),
    ...profile,
    route({
      method: 'GET',
      path: '/api/v1/users/:id',
      access: 'open',
      tag: 'accounts',
      summary: 'The public profile of a user',
      params: Type.Object({ id: Type.String({ maxLength: 64 }) }),
      data: PublicProfile,
      async handler({ params }) {
        const user = await deps.accounts.user(params.id)
        if (!user) throw notFound('account_not_found', 'There is no such account.')
        const { reputation_score, total_trades } = await deps.figures(user.id)
        return {
          data: {
            id: user.id,
            username: user.username,
            bio: user.bio,
            avatar_url: user.avatarUrl,
            reputation_score,
            total_trades,
            created_at: toIso(user.createdAt),
          },
        }
      },
    }),
  ]
}

/** Credentials of traders carry this mark: an operator's are plain ids. */
const MARK = 'trader:'
const sessionOf = (principal: Principal) => principal.credential!.slice(MARK.length)

/** A trader as the server knows callers. */
export function principalOfTrader(trader: Trader): Principal {
  return { id: trader.id, name: trader.username, role: 'trader', via: 'token', credential: MARK + trader.sessionId }
}

/** The session behind a credential, or null when it is not a trader's. */
export const traderSession = (credential: string) =>
  credential.startsWith(MARK) ? credential.slice(MARK.length) : null
