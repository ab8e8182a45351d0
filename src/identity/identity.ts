/**
 * Operators, tokens, sessions and login links, in identity.db.
 *
 *   token      om_<32 random bytes>      for programs; has a role of its own, may expire, may be revoked
 *   link       /login#code=<32 bytes>    one use, makes a session of an operator; the code stands in the fragment, which
 *                                        a browser never sends, so it reaches no log
 *   session    cookie <32 random bytes>  of an operator, or of the token it was opened with (and ends with that)
 *
 * Only SHA-256 of these are stored; they are random enough that no slow hash is needed. Every request reads its row,
 * so a revocation holds at once in every process that opens the file. The command line opens it too, running server
 * or not. Time is an argument.
 */
import { timingSafeEqual, hash as wholeHash } from 'node:crypto'
import { conflict, notFound, unauthorized } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import { secretToken } from '../base/random.ts'
import type { Millis } from '../base/time.ts'
import { HOUR, MINUTE, SECOND, toIso } from '../base/time.ts'
import { audit, auditTable } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import { openDatabase, tx } from '../storage/database.ts'
import type { Claim } from '../storage/idempotency.ts'
import { idempotencyTable, once } from '../storage/idempotency.ts'
import type { SecretBox } from '../storage/secrets.ts'
import { accountTables } from './accounts/schema.ts'

export type Role = 'viewer' | 'operator' | 'admin'
export const ROLES: readonly Role[] = ['viewer', 'operator', 'admin']

/** Who calls; the same shape as `Principal` of `http/route.ts`. */
export interface Caller {
  readonly id: string
  readonly name: string
  readonly role: Role
  readonly via: 'token' | 'session'
  readonly credential: string
}

/** A token as it may be shown. */
export interface TokenView {
  readonly id: string
  readonly name: string
  readonly role: Role
  /** The first characters, to recognise it by. */
  readonly prefix: string
  readonly created_at: string
  readonly created_by: string
  readonly expires_at: string | null
  /** To five minutes. */
  readonly last_used_at: string | null
  readonly revoked_at: string | null
}

export interface NewToken {
  readonly name: string
  readonly role: Role
  readonly expiresAt?: Millis | null
}

export interface SessionTimes {
  readonly idleMs: number
  readonly lifetimeMs: number
}

export interface Identity {
  // -------------------------------------------------------------------------------- asked on every request
  byToken(token: string, now: Millis): Caller | null
  bySession(cookie: string, now: Millis): Caller | null
  alive(credential: string, now: Millis): boolean

  // ------------------------------------------------------------------------------------------------ tokens
  /** `secret` is the token itself, shown this once. With a claim, a repeated request gets the same answer. */
  createToken(token: NewToken, by: string, now: Millis, claim?: Claim | null): { token: TokenView; secret: string }
  /** Has a token that is not revoked end later, by its id: for whoever made it and still needs it. */
  extendToken(id: string, expiresAt: Millis): void
  tokens(): TokenView[]
  /** By id, or by name where just one unrevoked token has it. Revoking twice is fine. Throws 404 and 409. */
  revokeToken(idOrName: string, by: string, now: Millis): TokenView

  // ---------------------------------------------------------------------------------- operators and sessions
  /** Makes the operator `admin` and, when given, the first token, if there is no operator yet. True if there was none. */
  firstStart(adminToken: string | null, now: Millis): boolean
  /** A code for one log-in of the operator, who is made when there is none of that name. */
  createLoginCode(operator: string, role: Role, lifetimeMs: number, by: string, now: Millis): string
  /** Opens a session; throws 401 when code or token do not hold. `cookie` is shown this once. */
  logIn(proof: { code: string } | { token: string }, now: Millis): { cookie: string; caller: Caller }
  logOut(credential: string, now: Millis): void

  readonly db: Database
  close(): void
}

const migrations = [
  `CREATE TABLE operators (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL, created_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE tokens (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, prefix TEXT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
    created_at INTEGER NOT NULL, created_by TEXT NOT NULL, expires_at INTEGER, last_used_at INTEGER, revoked_at INTEGER
  ) STRICT;
  CREATE TABLE login_codes (
    hash BLOB PRIMARY KEY, operator TEXT NOT NULL REFERENCES operators (id), expires_at INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, operator TEXT REFERENCES operators (id),
    token TEXT REFERENCES tokens (id), created_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL
  ) STRICT;`,
  idempotencyTable,
  auditTable,
  accountTables,
]

/** A connection to identity.db, which is made where it is missing. Throws an Error with one sentence. */
export const openIdentityFile = (path: string): Database => openDatabase(path, { synchronous: 'FULL', migrations })

const TOKEN_TOUCH_MS = 5 * MINUTE
const SESSION_TOUCH_MS = MINUTE
export const FIRST_LINK_MS = 24 * HOUR
export const LINK_MS = 10 * MINUTE

interface TokenRow {
  id: string
  hash: Uint8Array
  prefix: string
  name: string
  role: Role
  created_at: number
  created_by: string
  expires_at: number | null
  last_used_at: number | null
  revoked_at: number | null
}
interface SessionRow {
  id: string
  hash: Uint8Array
  operator: string | null
  token: string | null
  created_at: number
  last_used_at: number
  name: string
  role: Role
}

/**
 * Opens or creates identity.db. `box` seals answers that show a new token, kept for their idempotency key; `times` is
 * asked each time, so that a change of configuration holds for sessions that are open.
 */
export function openIdentity(path: string, box: SecretBox, times: () => SessionTimes): Identity {
  const db = openIdentityFile(path)
  const tokenByHash = db.prepare<[Uint8Array], TokenRow>('SELECT * FROM tokens WHERE hash = ?')
  const tokenById = db.prepare<[string], TokenRow>('SELECT * FROM tokens WHERE id = ?')
  const touchToken = db.prepare('UPDATE tokens SET last_used_at = ? WHERE id = ?')
  const sessionColumns = `SELECT s.*, coalesce(o.name, t.name) AS name, coalesce(o.role, t.role) AS role FROM sessions s
    LEFT JOIN operators o ON o.id = s.operator LEFT JOIN tokens t ON t.id = s.token`
  const sessionByHash = db.prepare<[Uint8Array], SessionRow>(`${sessionColumns} WHERE s.hash = ?`)
  const sessionById = db.prepare<[string], SessionRow>(`${sessionColumns} WHERE s.id = ?`)
  const touchSession = db.prepare('UPDATE sessions SET last_used_at = ? WHERE id = ?')

  const holds = (row: TokenRow, now: Millis) =>
    row.revoked_at === null && (row.expires_at === null || row.expires_at > now)
  const tokenOf = (session: SessionRow) => (session.token === null ? null : (tokenById.get(session.token) ?? null))

  function sessionHolds(row: SessionRow, now: Millis): boolean {
    const { idleMs, lifetimeMs } = times()
    if (now >= row.created_at + lifetimeMs || now >= row.last_used_at + idleMs) return false
    const token = tokenOf(row)
    return token === null || holds(token, now)
  }

  /** When something was used last is worth no error: a locked file or a full disk leave the old time. */
  function touch(statement: typeof touchToken, id: string, now: Millis) {
    try {
      statement.run(now, id)
    } catch {
      return
    }
  }

  function insertToken(token: NewToken, secret: string, by: string, now: Millis): TokenView {
    const id = newId(now)
    db.prepare(
      `INSERT INTO tokens (id, hash, prefix, name, role, created_at, created_by, expires_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    ).run(id, sha256(secret), secret.slice(0, 7), token.name, token.role, now, by, token.expiresAt ?? null)
    audit(db, now, {
      who: by,
      deed: 'token.created',
      what: id,
      detail: { name: token.name, role: token.role, expires_at: token.expiresAt ?? null },
    })
    return tokenView(tokenById.get(id)!)
  }

  function operatorId(name: string, role: Role, now: Millis): string {
    const known = db.prepare<[string], { id: string }>('SELECT id FROM operators WHERE name = ?').get(name)
    if (known) return known.id
    const id = newId(now)
    db.prepare('INSERT INTO operators (id, name, role, created_at) VALUES (?, ?, ?, ?)').run(id, name, role, now)
    return id
  }

  const identity: Identity = {
    db,
    byToken(token, now) {
      const hash = sha256(token)
      const row = tokenByHash.get(hash)
      if (!row || !timingSafeEqual(hash, row.hash) || !holds(row, now)) return null
      if (now - (row.last_used_at ?? 0) >= TOKEN_TOUCH_MS) touch(touchToken, row.id, now)
      return { id: row.id, name: row.name, role: row.role, via: 'token', credential: row.id }
    },
    bySession(cookie, now) {
      const hash = sha256(cookie)
      const row = sessionByHash.get(hash)
      if (!row || !timingSafeEqual(hash, row.hash) || !sessionHolds(row, now)) return null
      if (now - row.last_used_at >= Math.min(SESSION_TOUCH_MS, times().idleMs / 4)) touch(touchSession, row.id, now)
      return callerOf(row)
    },
    alive(credential, now) {
      const token = tokenById.get(credential)
      if (token) return holds(token, now)
      const session = sessionById.get(credential)
      if (!session || !sessionHolds(session, now)) return false
      // An open socket is use: a page that only listens does not run into the idle limit.
      if (now - session.last_used_at >= Math.min(SESSION_TOUCH_MS, times().idleMs / 4))
        touch(touchSession, session.id, now)
      return true
    },

    createToken(token, by, now, claim = null) {
      const make = () => {
        const secret = `om_${secretToken(32)}`
        return { token: insertToken(token, secret, by, now), secret }
      }
      return once(db, claim, now, make, box)
    },
    extendToken(id, expiresAt) {
      db.prepare('UPDATE tokens SET expires_at = ? WHERE id = ? AND expires_at < ? AND revoked_at IS NULL').run(
        expiresAt,
        id,
        expiresAt,
      )
    },
    tokens: () => db.prepare<[], TokenRow>('SELECT * FROM tokens ORDER BY created_at DESC, id').all().map(tokenView),
    revokeToken(idOrName, by, now) {
      return tx(db, () => {
        const row = tokenById.get(idOrName) ?? tokenOfName(idOrName)
        if (row.revoked_at === null) {
          db.prepare('UPDATE tokens SET revoked_at = ? WHERE id = ?').run(now, row.id)
          db.prepare('DELETE FROM sessions WHERE token = ?').run(row.id)
          audit(db, now, { who: by, deed: 'token.revoked', what: row.id, detail: { name: row.name } })
        }
        return tokenView(tokenById.get(row.id)!)
      })
    },

    firstStart(adminToken, now) {
      return tx(db, () => {
        if (db.prepare('SELECT 1 FROM operators').get()) return false
        operatorId('admin', 'admin', now)
        if (adminToken !== null && !tokenByHash.get(sha256(adminToken))) {
          insertToken({ name: 'OM_ADMIN_TOKEN', role: 'admin' }, adminToken, 'first start', now)
        }
        return true
      })
    },
    createLoginCode(operator, role, lifetimeMs, by, now) {
      return tx(db, () => {
        const code = secretToken(32)
        const id = operatorId(operator, role, now)
        db.prepare('DELETE FROM login_codes WHERE expires_at <= ?').run(now)
        db.prepare('INSERT INTO login_codes (hash, operator, expires_at) VALUES (?, ?, ?)').run(
          sha256(code),
          id,
          now + lifetimeMs,
        )
        audit(db, now, { who: by, deed: 'login_link.created', what: id, detail: { operator } })
        return code
      })
    },
    logIn(proof, now) {
      return tx(db, () => {
        const owner = 'code' in proof ? { operator: redeem(proof.code, now) } : { token: tokenHeld(proof.token, now) }
        const cookie = secretToken(32)
        const id = newId(now)
        db.prepare('DELETE FROM sessions WHERE created_at <= ? OR last_used_at <= ?').run(
          now - times().lifetimeMs,
          now - times().idleMs,
        )
        db.prepare(
          'INSERT INTO sessions (id, hash, operator, token, created_at, last_used_at) VALUES (?, ?, ?, ?, ?, ?)',
        ).run(id, sha256(cookie), owner.operator ?? null, owner.token ?? null, now, now)
        const caller = callerOf(sessionById.get(id)!)
        audit(db, now, { who: caller.name, deed: 'session.opened', what: id })
        return { cookie, caller }
      })
    },
    logOut(credential, now) {
      tx(db, () => {
        const row = sessionById.get(credential)
        if (!row) return
        db.prepare('DELETE FROM sessions WHERE id = ?').run(credential)
        audit(db, now, { who: row.name, deed: 'session.closed', what: row.id })
      })
    },
    close: () => db.close(),
  }
  return identity

  function tokenOfName(name: string): TokenRow {
    const rows = db.prepare<[string], TokenRow>('SELECT * FROM tokens WHERE name = ? AND revoked_at IS NULL').all(name)
    if (rows.length > 1) throw conflict('token_ambiguous', `${rows.length} tokens are named ${name}: give the id.`)
    if (!rows[0]) throw notFound('token_not_found', 'There is no such token.')
    return rows[0]
  }

  function redeem(code: string, now: Millis): string {
    const row = db
      .prepare<[Uint8Array], { operator: string; expires_at: number }>(
        'DELETE FROM login_codes WHERE hash = ? RETURNING operator, expires_at',
      )
      .get(sha256(code))
    if (row && row.expires_at > now) return row.operator
    throw unauthorized(
      'This login link was used or has expired: `opinion-market login-link` makes a new one.',
      'link_used',
    )
  }

  function tokenHeld(token: string, now: Millis): string {
    const row = tokenByHash.get(sha256(token))
    if (row && holds(row, now)) return row.id
    throw unauthorized('The token is not valid.', 'token_not_valid')
  }
}

function callerOf(row: SessionRow): Caller {
  return {
    id: row.operator ?? row.token!,
    name: row.name,
    role: row.role,
    via: 'session',
    credential: row.id,
  }
}

function tokenView(row: TokenRow): TokenView {
  const time = (at: number | null) => (at === null ? null : toIso(at))
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    prefix: row.prefix,
    created_at: toIso(row.created_at),
    created_by: row.created_by,
    expires_at: time(row.expires_at),
    last_used_at: time(row.last_used_at),
    revoked_at: time(row.revoked_at),
  }
}

function sha256(text: string): Buffer {
  return wholeHash('sha256', text, 'buffer')
}

/** `90d`, `12h`, `30m` in milliseconds; null when it is not such a text. */
export function parseLifetime(text: string): number | null {
  const match = /^(\d{1,6})([smhd])$/.exec(text)
  if (!match) return null
  const unit = { s: SECOND, m: MINUTE, h: HOUR, d: 24 * HOUR }[match[2] as 's' | 'm' | 'h' | 'd']
  return Number(match[1]) * unit
}
