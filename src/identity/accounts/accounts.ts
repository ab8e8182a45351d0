/**
 * Accounts of traders: who they are, their passwords and sessions. On SQLite in identity.db, on PostgreSQL in the
 * market's database; every process asks the rows, so an end of a session holds everywhere with the next request.
 *
 *   register ─▶ user                     log in ─▶ session: access token (30 min) and refresh token (7 days)
 *   refresh  ─▶ both are new, the old ones end;      a refresh token that comes a second time was stolen: the session ends
 *   log out, change of password ─▶ sessions end
 *
 * Tokens are random and kept by their SHA-256 (`docs/decisions/identity.md`); passwords by argon2id. Names are one
 * whatever their case. Time is an argument. Money is none of its business.
 */
import { hash } from 'node:crypto'
import { AppError, conflict, forbidden, invalid, notFound, tooMany, unauthorized } from '../../base/errors.ts'
import { newId } from '../../base/id.ts'
import { secretToken } from '../../base/random.ts'
import type { Millis } from '../../base/time.ts'
import { DAY, MINUTE, SECOND } from '../../base/time.ts'
import type { Passwords } from './passwords.ts'
import { weaknesses } from './passwords.ts'
import type { Sql, Work } from './sql.ts'
import { all, get, lock, run } from './sql.ts'

export const ACCESS_LIFETIME_MS = 30 * MINUTE
export const REFRESH_LIFETIME_MS = 7 * DAY
export const TRADER_TOKEN = 'omt_'
const THROTTLE_WINDOW_MS = 5 * MINUTE
/** Sessions of one user; the oldest ends when there are more. */
const SESSIONS_MAX = 50
const CLEANED_AT_ONCE = 50

export interface User {
  readonly id: string
  readonly username: string
  readonly email: string
  readonly fullName: string | null
  readonly bio: string | null
  readonly avatarUrl: string | null
  readonly createdAt: Millis
  readonly lastLogin: Millis | null
  /** Whether the market knows the account: a crash may lie between the two. */
  readonly opened: boolean
}

export interface Registration {
  readonly username: string
  readonly email: string
  readonly password: string
  readonly fullName: string | null
  readonly bio: string | null
}

export interface Tokens {
  readonly access: string
  readonly refresh: string
  readonly sessionId: string
}

export interface Trader {
  readonly id: string
  readonly username: string
  readonly sessionId: string
}

/** Asked each time, so that a change of configuration holds at once. */
export interface AccountLimits {
  /** Registrations of one address in five minutes. */
  readonly registrations: number
  /** Failed log-ins of one account, and of one address, in five minutes. */
  readonly loginFailures: number
}

export interface Accounts {
  /** Throws 409 for a name or address that is taken, 422 with reasons for a weak password, 429. */
  register(registration: Registration, address: string, now: Millis): Promise<User>
  /** `name` is a user name or an address. Throws 401, always in the same words and after the same work, and 429. */
  logIn(name: string, password: string, address: string, now: Millis): Promise<{ user: User; tokens: Tokens }>
  /** Throws 401; one that was used before ends its session. */
  refresh(token: string, now: Millis): Promise<{ user: User; tokens: Tokens }>
  logOut(sessionId: string): Promise<void>
  /** Ends the other sessions. Throws 403 when `current` is wrong (429 when that often), 422 for a weak one. */
  changePassword(trader: Trader, current: string, next: string, address: string, now: Millis): Promise<void>
  user(id: string): Promise<User | null>
  /** Undefined leaves a field as it is. */
  edit(id: string, changes: Partial<Pick<User, 'fullName' | 'bio' | 'avatarUrl'>>): Promise<User>
  opened(id: string, now: Millis): Promise<void>
  byToken(token: string, now: Millis): Promise<Trader | null>
  alive(sessionId: string, now: Millis): Promise<boolean>
  /** Accounts made since then. */
  signUps(since: Millis): Promise<number>
}

interface UserRow {
  id: string
  username: string
  email: string
  password: string
  full_name: string | null
  bio: string | null
  avatar_url: string | null
  created_at: number
  last_login: number | null
  opened_at: number | null
}

/** What finds the owner of an access token; `identity/accounts/sqlite.ts` asks it without waiting. */
export const TRADER_BY_TOKEN = `SELECT s.id AS session_id, s.access_expires_at, u.id, u.username FROM trader_sessions s
  JOIN users u ON u.id = s.user_id WHERE s.access_hash = ?`
export interface TraderRow {
  session_id: string
  access_expires_at: number
  id: string
  username: string
}

export function traderOf(row: TraderRow | undefined, now: Millis): Trader | null {
  if (!row || row.access_expires_at <= now) return null
  return { id: row.id, username: row.username, sessionId: row.session_id }
}

export function createAccounts(sql: Sql, passwords: Passwords, limits: () => AccountLimits): Accounts {
  /** Takes a place under each subject before the work is done, so that attempts side by side count each other. */
  async function reserve(kind: string, subjects: readonly string[], max: number, now: Millis): Promise<string[]> {
    return sql.transaction(function* () {
      yield* run(
        'DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE at <= ? ORDER BY at LIMIT ?)',
        now - THROTTLE_WINDOW_MS,
        CLEANED_AT_ONCE,
      )
      const places: string[] = []
      for (const subject of [...subjects].sort()) {
        yield* lock(`${kind} ${subject}`)
        const id = newId(now)
        places.push(id)
        yield* run('INSERT INTO attempts (id, kind, subject, at) VALUES (?, ?, ?, ?)', id, kind, subject, now)
        const seen = yield* all<{ at: number }>(
          'SELECT at FROM attempts WHERE kind = ? AND subject = ? AND at > ? ORDER BY at LIMIT ?',
          kind,
          subject,
          now - THROTTLE_WINDOW_MS,
          max + 1,
        )
        if (seen.length <= max) continue
        const wait = Math.ceil((seen[0]!.at + THROTTLE_WINDOW_MS - now) / SECOND)
        throw tooMany('Too many attempts. Wait a little before the next one.', Math.max(1, wait))
      }
      return places
    })
  }
  const release = (places: readonly string[]) =>
    sql.transaction(function* () {
      for (const id of places) yield* run('DELETE FROM attempts WHERE id = ?', id)
    })

  const rowOf = (id: string) => sql.get<UserRow>('SELECT * FROM users WHERE id = ?', id)
  const byName = (name: string) =>
    sql.get<UserRow>(`SELECT * FROM users WHERE ${name.includes('@') ? 'email_key' : 'username_key'} = ?`, keyOf(name))

  function newTokens(sessionId: string) {
    const tokens = { access: TRADER_TOKEN + secretToken(32), refresh: `omr_${secretToken(32)}`, sessionId }
    return { tokens, hashes: [sha256(tokens.access), sha256(tokens.refresh)] as const }
  }

  function* end(where: string, ...parameters: string[]): Work<void> {
    yield* run(
      `DELETE FROM spent_refreshes WHERE session_id IN (SELECT id FROM trader_sessions ${where})`,
      ...parameters,
    )
    yield* run(`DELETE FROM trader_sessions ${where}`, ...parameters)
  }

  return {
    async register({ username, email, password, fullName, bio }, address, now) {
      const reasons = weaknesses(password, [username, email.split('@')[0]!])
      if (reasons.length > 0) throw invalid(reasons.map((message) => ({ path: 'password', message })))
      await reserve('register', [network(address)], limits().registrations, now)
      const stored = await passwords.hash(password)
      const id = newId(now)
      try {
        await sql.transaction(() =>
          run(
            `INSERT INTO users (id, username, username_key, email, email_key, password, full_name, bio, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
            ...[id, username, keyOf(username), email, keyOf(email), stored, fullName, bio, now],
          ),
        )
      } catch (error) {
        if (!sql.isDuplicate(error)) throw error
        throw conflict('account_exists', 'This user name or address is taken.')
      }
      return userOf((await rowOf(id))!)
    },

    async logIn(name, password, address, now) {
      const places = await reserve('login', [`name ${keyOf(name)}`, network(address)], limits().loginFailures, now)
      const row = await byName(name)
      const right = await passwords.verify(row?.password ?? null, password).catch(async (error: unknown) => {
        // Nobody looked at the password: that was no failure of the one who sent it.
        if (error instanceof AppError && error.status === 503) await release(places)
        throw error
      })
      if (!row || !right) throw unauthorized('The name or the password is wrong.', 'credentials_wrong')
      const { tokens, hashes } = newTokens(newId(now))
      await sql.transaction(function* () {
        for (const id of places) yield* run('DELETE FROM attempts WHERE id = ?', id)
        // A password that was changed while this one was looked at ends what it would open.
        const same = yield* get<{ password: string }>('SELECT password FROM users WHERE id = ?', row.id)
        if (same?.password !== row.password) {
          throw unauthorized('The name or the password is wrong.', 'credentials_wrong')
        }
        const over = yield* all<{ id: string }>(
          'SELECT id FROM trader_sessions WHERE refresh_expires_at <= ? ORDER BY refresh_expires_at LIMIT ?',
          now,
          CLEANED_AT_ONCE,
        )
        const own = yield* all<{ id: string }>(
          'SELECT id FROM trader_sessions WHERE user_id = ? ORDER BY created_at DESC, id DESC',
          row.id,
        )
        for (const { id } of [...over, ...own.slice(SESSIONS_MAX - 1)]) yield* end('WHERE id = ?', id)
        yield* run(
          `INSERT INTO trader_sessions
             (id, user_id, created_at, access_hash, access_expires_at, refresh_hash, refresh_expires_at)
           VALUES (?, ?, ?, ?, ?, ?, ?)`,
          ...[tokens.sessionId, row.id, now, hashes[0], now + ACCESS_LIFETIME_MS, hashes[1], now + REFRESH_LIFETIME_MS],
        )
        yield* run('UPDATE users SET last_login = ? WHERE id = ?', now, row.id)
      })
      return { user: userOf({ ...row, last_login: now }), tokens }
    },

    async refresh(token, now) {
      const hash = sha256(token)
      const session = await sql.get<{ id: string; user_id: string; refresh_expires_at: number }>(
        'SELECT id, user_id, refresh_expires_at FROM trader_sessions WHERE refresh_hash = ?',
        hash,
      )
      const made = session && session.refresh_expires_at > now ? newTokens(session.id) : null
      const rotated = await sql.transaction(function* () {
        if (made) {
          const { hashes } = made
          const changed = yield* run(
            `UPDATE trader_sessions SET access_hash = ?, access_expires_at = ?, refresh_hash = ?, refresh_expires_at = ?
             WHERE refresh_hash = ?`,
            ...[hashes[0], now + ACCESS_LIFETIME_MS, hashes[1], now + REFRESH_LIFETIME_MS, hash],
          )
          if (changed === 1) {
            yield* run('INSERT INTO spent_refreshes (hash, session_id) VALUES (?, ?)', hash, session!.id)
            return true
          }
        }
        const spent = yield* get<{ session_id: string }>('SELECT session_id FROM spent_refreshes WHERE hash = ?', hash)
        if (spent) yield* end('WHERE id = ?', spent.session_id)
        return false
      })
      const row = rotated ? await rowOf(session!.user_id) : undefined
      if (!row) throw unauthorized('The session has ended. Log in again.', 'session_ended')
      return { user: userOf(row), tokens: made!.tokens }
    },

    logOut: (sessionId) => sql.transaction(() => end('WHERE id = ?', sessionId)),

    async changePassword(trader, current, next, address, now) {
      const row = await rowOf(trader.id)
      if (!row) throw notFound('account_not_found', 'There is no such account.')
      const places = await reserve(
        'login',
        [`name ${keyOf(row.username)}`, network(address)],
        limits().loginFailures,
        now,
      )
      if (!(await passwords.verify(row.password, current))) {
        throw forbidden('The current password is wrong.', 'credentials_wrong')
      }
      await release(places)
      const reasons = weaknesses(next, [row.username, row.email.split('@')[0]!])
      if (next === current) reasons.push('must be another one than before')
      if (reasons.length > 0) throw invalid(reasons.map((message) => ({ path: 'new_password', message })))
      const stored = await passwords.hash(next)
      await sql.transaction(function* () {
        yield* run('UPDATE users SET password = ? WHERE id = ?', stored, row.id)
        yield* end('WHERE user_id = ? AND id <> ?', row.id, trader.sessionId)
      })
    },

    async user(id) {
      const row = await rowOf(id)
      return row ? userOf(row) : null
    },
    async edit(id, changes) {
      const fields = { full_name: changes.fullName, bio: changes.bio, avatar_url: changes.avatarUrl }
      const given = Object.entries(fields).filter((field): field is [string, string | null] => field[1] !== undefined)
      if (given.length > 0) {
        const names = given.map(([name]) => `${name} = ?`).join(', ')
        await sql.transaction(() => run(`UPDATE users SET ${names} WHERE id = ?`, ...given.map(([, v]) => v), id))
      }
      const row = await rowOf(id)
      if (!row) throw notFound('account_not_found', 'There is no such account.')
      return userOf(row)
    },
    async opened(id, now) {
      await sql.transaction(() => run('UPDATE users SET opened_at = ? WHERE id = ? AND opened_at IS NULL', now, id))
    },
    byToken: async (token, now) => traderOf(await sql.get<TraderRow>(TRADER_BY_TOKEN, sha256(token)), now),
    async alive(sessionId, now) {
      const row = await sql.get<{ at: number }>(
        'SELECT refresh_expires_at AS at FROM trader_sessions WHERE id = ?',
        sessionId,
      )
      return row !== undefined && row.at > now
    },
    async signUps(since) {
      const row = await sql.get<{ n: number }>('SELECT count(*) AS n FROM users WHERE created_at >= ?', since)
      return row!.n
    },
  }
}

const keyOf = (name: string) => name.normalize('NFKC').toLowerCase()

/** Of an IPv6 address the network (/64): one machine has all of its addresses. */
export function network(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').toLowerCase()
  if (!plain.includes(':')) return plain
  const [head = '', tail] = plain.split('%')[0]!.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const all = [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  return `${all
    .slice(0, 4)
    .map((part) => part.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`
}

export function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function userOf(row: UserRow): User {
  return {
    id: row.id,
    username: row.username,
    email: row.email,
    fullName: row.full_name,
    bio: row.bio,
    avatarUrl: row.avatar_url,
    createdAt: row.created_at,
    lastLogin: row.last_login,
    opened: row.opened_at !== null,
  }
}
