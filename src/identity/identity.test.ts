/** Identity on a real file: tokens, sessions, links, and that no secret is ever stored. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import type { AppError } from '../base/errors.ts'
import { DAY, HOUR, MINUTE } from '../base/time.ts'
import { auditRows } from '../storage/audit.ts'
import { secretBox } from '../storage/secrets.ts'
import type { Identity } from './identity.ts'
import { openIdentity, parseLifetime } from './identity.ts'

const root = mkdtempSync(join(tmpdir(), 'om-identity-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let runs = 0
let dir = ''
let identity: Identity
const times = { idleMs: HOUR, lifetimeMs: 10 * HOUR }
const open = () => openIdentity(join(dir, 'identity.db'), secretBox(Buffer.alloc(32, 7)), () => times)
beforeEach(() => {
  dir = join(root, String(++runs))
  identity = open()
})
const NOW = Date.UTC(2026, 0, 1)
const statusOf = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    return (error as AppError).status
  }
  return 200
}
const everyByte = () =>
  readdirSync(dir)
    .map((name) => readFileSync(join(dir, name), 'latin1'))
    .join()

describe('tokens', () => {
  test('hold until they expire or are revoked', () => {
    const forever = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW)
    const short = identity.createToken({ name: 'b', role: 'admin', expiresAt: NOW + HOUR }, 'ada', NOW)
    expect(forever.secret).toMatch(/^om_[\w-]{43}$/)
    expect(identity.byToken(forever.secret, NOW)).toEqual({
      id: forever.token.id,
      name: 'a',
      role: 'viewer',
      via: 'token',
      credential: forever.token.id,
    })
    expect(identity.byToken(short.secret, NOW + HOUR - 1)?.role).toBe('admin')
    expect(identity.byToken(short.secret, NOW + HOUR)).toBe(null)
    identity.revokeToken(forever.token.id, 'ada', NOW)
    expect(identity.byToken(forever.secret, NOW)).toBe(null)
    expect(identity.alive(forever.token.id, NOW)).toBe(false)
    expect(identity.revokeToken(forever.token.id, 'ada', NOW + 5).revoked_at).toBe('2026-01-01T00:00:00.000Z')
  })
  test('may end later for who still needs them, as long as nobody revoked them, and never earlier', () => {
    const other = open()
    const { token, secret } = identity.createToken({ name: 'a', role: 'viewer', expiresAt: NOW + MINUTE }, 'ada', NOW)
    expect(other.byToken(secret, NOW + HOUR)).toBe(null)
    identity.extendToken(token.id, NOW + 2 * HOUR)
    identity.extendToken(token.id, NOW + MINUTE)
    expect(other.byToken(secret, NOW + HOUR)?.name).toBe('a')
    identity.revokeToken(token.id, 'ada', NOW + HOUR)
    identity.extendToken(token.id, NOW + 3 * HOUR)
    expect(other.byToken(secret, NOW + HOUR)).toBe(null)
    other.close()
  })
  test('a revocation holds at once for everyone who has the file open', () => {
    const other = open()
    const { token, secret } = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW)
    expect(other.byToken(secret, NOW)?.name).toBe('a')
    identity.revokeToken(token.id, 'ada', NOW)
    expect(other.byToken(secret, NOW)).toBe(null)
    other.close()
  })
  test('are found by name where just one that holds has it', () => {
    identity.createToken({ name: 'ci', role: 'viewer' }, 'ada', NOW)
    identity.createToken({ name: 'ci', role: 'viewer' }, 'ada', NOW)
    expect(statusOf(() => identity.revokeToken('ci', 'ada', NOW))).toBe(409)
    identity.revokeToken(identity.tokens()[0]!.id, 'ada', NOW)
    expect(identity.revokeToken('ci', 'ada', NOW).name).toBe('ci')
    expect(statusOf(() => identity.revokeToken('ci', 'ada', NOW))).toBe(404)
  })
  test('tell when they were used last, to five minutes', () => {
    const { secret } = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW)
    expect(identity.tokens()[0]!.last_used_at).toBe(null)
    identity.byToken(secret, NOW + 1000)
    identity.byToken(secret, NOW + 2000)
    expect(identity.tokens()[0]!.last_used_at).toBe('2026-01-01T00:00:01.000Z')
    identity.byToken(secret, NOW + 6 * MINUTE)
    expect(identity.tokens()[0]!.last_used_at).toBe('2026-01-01T00:06:00.000Z')
  })
  test('a repeated request gets the same token, which is nowhere stored in the clear', () => {
    const claim = { key: 'k', principalId: 'p', fingerprint: 'f' }
    const first = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW, claim)
    expect(identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW, claim)).toEqual(first)
    expect(identity.tokens()).toHaveLength(1)
    expect(everyByte()).not.toContain(first.secret)
    expect(everyByte()).not.toContain(first.secret.slice(10))
  })
  test('nothing that is not a token is one', () => {
    const { secret } = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW)
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constant(secret.slice(1)), fc.constant(`${secret} `)), (text) => {
        expect(identity.byToken(text, NOW)).toBe(null)
      }),
    )
  })
})

describe('the first start', () => {
  test('makes an admin and takes OM_ADMIN_TOKEN, once', () => {
    expect(identity.firstStart('sixteen-characters', NOW)).toBe(true)
    expect(identity.byToken('sixteen-characters', NOW)).toMatchObject({ role: 'admin', name: 'OM_ADMIN_TOKEN' })
    expect(identity.firstStart('another-one-of-sixteen', NOW)).toBe(false)
    expect(identity.byToken('another-one-of-sixteen', NOW)).toBe(null)
    identity.revokeToken('OM_ADMIN_TOKEN', 'ada', NOW)
    expect(identity.firstStart('sixteen-characters', NOW)).toBe(false)
    expect(identity.byToken('sixteen-characters', NOW)).toBe(null)
  })
  test('comes after tokens that the command line made before it', () => {
    identity.createToken({ name: 'a', role: 'admin' }, 'command line', NOW)
    expect(identity.firstStart(null, NOW)).toBe(true)
  })
})

describe('login links and sessions', () => {
  test('a link is good for one log-in and its time', () => {
    const code = identity.createLoginCode('admin', 'admin', 10 * MINUTE, 'cli', NOW)
    const { cookie, caller } = identity.logIn({ code }, NOW)
    expect(caller).toMatchObject({ name: 'admin', role: 'admin', via: 'session' })
    expect(identity.bySession(cookie, NOW)).toEqual(caller)
    expect(statusOf(() => identity.logIn({ code }, NOW))).toBe(401)
    const late = identity.createLoginCode('admin', 'admin', 10 * MINUTE, 'cli', NOW)
    expect(statusOf(() => identity.logIn({ code: late }, NOW + 10 * MINUTE))).toBe(401)
    expect(everyByte()).not.toContain(cookie)
    expect(everyByte()).not.toContain(code)
  })
  test('an operator keeps the role of the first link', () => {
    identity.logIn({ code: identity.createLoginCode('bob', 'viewer', MINUTE, 'cli', NOW) }, NOW)
    const again = identity.logIn({ code: identity.createLoginCode('bob', 'admin', MINUTE, 'cli', NOW) }, NOW)
    expect(again.caller.role).toBe('viewer')
  })
  test('a session ends when it is idle, when it is old, and when its owner logs out', () => {
    const start = () => identity.logIn({ code: identity.createLoginCode('admin', 'admin', DAY, 'cli', NOW) }, NOW)
    const idle = start()
    expect(identity.bySession(idle.cookie, NOW + HOUR)).toBe(null)
    const used = start()
    for (let at = NOW; at < NOW + 10 * HOUR; at += 30 * MINUTE) {
      expect(identity.bySession(used.cookie, at)).not.toBe(null)
    }
    expect(identity.bySession(used.cookie, NOW + 10 * HOUR)).toBe(null)
    const open = start()
    for (let at = NOW; at < NOW + 5 * HOUR; at += 30 * MINUTE)
      expect(identity.alive(open.caller.credential, at)).toBe(true)
    const left = start()
    identity.logOut(left.caller.credential, NOW)
    expect(identity.bySession(left.cookie, NOW)).toBe(null)
    expect(identity.alive(left.caller.credential, NOW)).toBe(false)
  })
  test('a session that a token opened ends with the token', () => {
    const { token, secret } = identity.createToken({ name: 'a', role: 'operator', expiresAt: NOW + HOUR }, 'ada', NOW)
    expect(statusOf(() => identity.logIn({ token: 'wrong' }, NOW))).toBe(401)
    const first = identity.logIn({ token: secret }, NOW)
    expect(first.caller).toMatchObject({ id: token.id, name: 'a', role: 'operator', via: 'session' })
    identity.bySession(first.cookie, NOW + 50 * MINUTE)
    expect(identity.bySession(first.cookie, NOW + HOUR)).toBe(null)
    const second = identity.logIn({ token: secret }, NOW)
    identity.revokeToken(token.id, 'ada', NOW)
    expect(identity.bySession(second.cookie, NOW)).toBe(null)
  })
})

test('the audit has every deed, and no secret', () => {
  const { token, secret } = identity.createToken({ name: 'a', role: 'viewer' }, 'ada', NOW)
  identity.revokeToken(token.id, 'bob', NOW + 1)
  const code = identity.createLoginCode('admin', 'admin', MINUTE, 'cli', NOW + 2)
  const { cookie, caller } = identity.logIn({ code }, NOW + 3)
  identity.logOut(caller.credential, NOW + 4)
  const rows = auditRows(identity.db, 10)
  expect(rows.map((row) => `${row.who} ${row.deed}`)).toEqual([
    'admin session.closed',
    'admin session.opened',
    'cli login_link.created',
    'bob token.revoked',
    'ada token.created',
  ])
  for (const hidden of [secret, code, cookie]) expect(JSON.stringify(rows)).not.toContain(hidden)
})

test.each([
  ['90d', 90 * DAY],
  ['12h', 12 * HOUR],
  ['30m', 30 * MINUTE],
  ['0s', 0],
  ['', null],
  ['5', null],
  ['-1d', null],
  ['1.5h', null],
  ['9999999d', null],
])('a lifetime of %s', (text, ms) => expect(parseLifetime(text)).toBe(ms))
