/** One contract for both databases: real SQLite files, a real PostgreSQL where there is one, real argon2. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { need } from '../../../test/support/need.ts'
import { newId } from '../../base/id.ts'
import { DAY, MINUTE } from '../../base/time.ts'
import { openIdentityFile } from '../identity.ts'
import { network } from './accounts.ts'
import type { OpenAccounts } from './open.ts'
import { postgresAccounts, sqliteAccounts } from './open.ts'
import { weaknesses } from './passwords.ts'

const start = Date.UTC(2026, 0, 5, 12)
const limits = () => ({ registrations: 5, loginFailures: 10 })
const postgres = need('postgresql')

interface Place {
  /** Each opens the same accounts once more, as another process would. */
  open(): Promise<OpenAccounts>
  drop(): Promise<void>
}

async function sqlitePlace(): Promise<Place> {
  const dir = mkdtempSync(join(tmpdir(), 'accounts-'))
  return {
    open: async () => sqliteAccounts(openIdentityFile(join(dir, 'identity.db')), limits),
    drop: async () => rmSync(dir, { recursive: true, force: true }),
  }
}

async function postgresPlace(): Promise<Place> {
  const name = `accounts_${newId(Date.now())}`
  const admin = new pg.Client({ connectionString: postgres! })
  await admin.connect()
  await admin.query(`CREATE DATABASE ${name}`)
  const url = new URL(postgres!)
  url.pathname = `/${name}`
  return {
    open: () => postgresAccounts(url.href, limits),
    async drop() {
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
      await admin.end()
    },
  }
}

describe.each([
  ['SQLite', sqlitePlace, true],
  ['PostgreSQL', postgresPlace, postgres !== null],
] as const)('accounts on %s', (_name, makePlace, isThere) => {
  describe.skipIf(!isThere)('', () => {
    let place: Place
    let here: OpenAccounts
    let there: OpenAccounts
    let count = 0
    const address = () => `10.0.${Math.floor(count / 250)}.${count++ % 250}`
    const someone = async (at = start) => {
      const name = `user_${count}`
      const registration = { email: `${name}@example.org`, password: 'Korrekt.Pferd', fullName: null, bio: null }
      return here.accounts.register({ username: name, ...registration }, address(), at)
    }
    beforeAll(async () => {
      place = await makePlace()
      // At the same moment, on a database that has nothing yet.
      ;[here, there] = await Promise.all([place.open(), place.open()])
    })
    afterAll(async () => {
      await here?.close()
      await there?.close()
      await place?.drop()
    })

    test('a name and an address are taken once, whatever their case', async () => {
      const user = await someone()
      expect(user).toMatchObject({ opened: false, lastLogin: null, createdAt: start })
      const more = { password: 'Korrekt.Pferd', fullName: null, bio: null }
      const refused = { status: 409, code: 'account_exists', message: 'This user name or address is taken.' }
      const again = { username: user.username.toUpperCase(), email: 'another@example.org', ...more }
      await expect(there.accounts.register(again, address(), start)).rejects.toMatchObject(refused)
      const same = { username: 'another', email: user.email.toUpperCase(), ...more }
      await expect(there.accounts.register(same, address(), start)).rejects.toMatchObject(refused)
    })

    test('of two that want one name at the same moment, one has it', async () => {
      const registration = { username: 'both', email: 'both@example.org', password: 'Korrekt.Pferd' }
      const all = await Promise.allSettled(
        [here, there, here, there].map((one) =>
          one.accounts.register({ ...registration, fullName: null, bio: null }, address(), start),
        ),
      )
      expect(all.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
      for (const one of all) if (one.status === 'rejected') expect(one.reason).toMatchObject({ status: 409 })
    })

    test('a weak password is refused with its reasons, and makes nothing', async () => {
      const registration = { username: 'weakling', email: 'weakling@example.org', fullName: null, bio: null }
      const refused = here.accounts.register({ ...registration, password: 'weakling1' }, address(), start)
      await expect(refused).rejects.toMatchObject({ status: 422, fields: [{ path: 'password' }] })
      await here.accounts.register({ ...registration, password: 'Korrekt.Pferd' }, address(), start)
    })

    test('a session: log in, refresh, log out; every process knows at once', async () => {
      const user = await someone()
      const { tokens } = await here.accounts.logIn(user.email, 'Korrekt.Pferd', address(), start)
      const trader = { id: user.id, username: user.username, sessionId: tokens.sessionId }
      expect(await there.byToken(tokens.access, start)).toEqual(trader)
      expect(await there.byToken(tokens.refresh, start)).toBe(null)
      expect(await there.byToken(tokens.access, start + 30 * MINUTE)).toBe(null)
      const later = start + 29 * MINUTE
      const next = (await there.accounts.refresh(tokens.refresh, later)).tokens
      expect(next.sessionId).toBe(tokens.sessionId)
      expect(await there.byToken(tokens.access, later)).toBe(null)
      expect(await here.byToken(next.access, later + 29 * MINUTE)).toEqual(trader)
      expect(await here.alive(tokens.sessionId, later)).toBe(true)
      // What either of them keeps of the token ends with it.
      expect(await there.byToken(next.access, later)).toEqual(trader)
      await here.accounts.logOut(tokens.sessionId)
      expect(await here.byToken(next.access, later)).toBe(null)
      // What another process has just believed it asks again within a second.
      expect(await there.byToken(next.access, later + 1000)).toBe(null)
      expect(await there.alive(tokens.sessionId, later)).toBe(false)
      await expect(here.accounts.refresh(next.refresh, later)).rejects.toMatchObject({ status: 401 })
    })

    test('a refresh token ends after 7 days', async () => {
      const user = await someone()
      const { tokens } = await here.accounts.logIn(user.username, 'Korrekt.Pferd', address(), start)
      const refused = here.accounts.refresh(tokens.refresh, start + 7 * DAY)
      await expect(refused).rejects.toMatchObject({ status: 401, code: 'session_ended' })
    })

    test('a refresh token that comes a second time ends the session, also much later', async () => {
      const user = await someone()
      const { tokens } = await here.accounts.logIn(user.username, 'Korrekt.Pferd', address(), start)
      const second = (await here.accounts.refresh(tokens.refresh, start)).tokens
      const third = (await here.accounts.refresh(second.refresh, start)).tokens
      await expect(there.accounts.refresh(tokens.refresh, start + DAY)).rejects.toMatchObject({ status: 401 })
      expect(await here.alive(tokens.sessionId, start)).toBe(false)
      expect(await here.byToken(third.access, start + 1000)).toBe(null)
      await expect(here.accounts.refresh(third.refresh, start)).rejects.toMatchObject({ status: 401 })
    })

    test('of many that refresh with one token at the same moment at most one gets a pair', async () => {
      const user = await someone()
      const { tokens } = await here.accounts.logIn(user.username, 'Korrekt.Pferd', address(), start)
      const all = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) => (i % 2 ? here : there).accounts.refresh(tokens.refresh, start)),
      )
      expect(all.filter((one) => one.status === 'fulfilled').length).toBeLessThanOrEqual(1)
      expect(await here.alive(tokens.sessionId, start)).toBe(false)
    })

    test('a wrong password and a name that nobody has are told in the same words', async () => {
      const user = await someone()
      const errors = await Promise.all(
        [user.username, user.email, 'nobody-at-all', 'nobody@example.org'].map((name) =>
          here.accounts.logIn(name, 'wrong password', address(), start).then(
            () => null,
            (error) => ({ status: error.status, code: error.code, message: error.message, fields: error.fields }),
          ),
        ),
      )
      expect(new Set(errors.map((error) => JSON.stringify(error))).size).toBe(1)
      expect(errors[0]).toMatchObject({ status: 401, code: 'credentials_wrong' })
    })

    test('failures are counted for the account over all processes and addresses; a success counts nothing', async () => {
      const user = await someone()
      for (let i = 0; i < 12; i++) await here.accounts.logIn(user.username, 'Korrekt.Pferd', address(), start)
      const tries = await Promise.allSettled(
        Array.from({ length: 14 }, (_, i) =>
          (i % 2 ? here : there).accounts.logIn(user.username, `wrong ${i}`, address(), start),
        ),
      )
      const statuses = tries.map((one) => (one.status === 'rejected' ? one.reason.status : 200)).sort()
      expect(statuses).toEqual([...Array(10).fill(401), ...Array(4).fill(429)])
      // The right password is not looked at either, until the window has passed.
      const right = (at: number) => there.accounts.logIn(user.username, 'Korrekt.Pferd', address(), at)
      await expect(right(start + MINUTE)).rejects.toMatchObject({ status: 429, retryAfterSeconds: 240 })
      await right(start + 5 * MINUTE + 1)
    })

    test('failures are counted for the address over all names; a whole IPv6 network is one', async () => {
      for (let i = 0; i < 10; i++) {
        const from = `2001:db8:1:2::${i}`
        await expect(here.accounts.logIn(`nobody_${i}`, 'x', from, start)).rejects.toMatchObject({ status: 401 })
      }
      const one = here.accounts.logIn('nobody_else', 'x', '2001:db8:1:2:ffff::1', start)
      await expect(one).rejects.toMatchObject({ status: 429 })
      const other = here.accounts.logIn('nobody_else', 'x', '2001:db8:1:3::1', start)
      await expect(other).rejects.toMatchObject({ status: 401 })
    })

    test('five registrations of one address in five minutes', async () => {
      const from = address()
      const register = (i: number, at: number) =>
        (i % 2 ? here : there).accounts.register(
          {
            username: `row_${from.replaceAll('.', '_')}_${i}`.slice(0, 20),
            email: `row${i}-${from}@example.org`,
            password: 'Korrekt.Pferd',
            fullName: null,
            bio: null,
          },
          from,
          at,
        )
      const all = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => register(i, start)))
      expect(all.filter((one) => one.status === 'fulfilled')).toHaveLength(5)
      for (const one of all) if (one.status === 'rejected') expect(one.reason).toMatchObject({ status: 429 })
      await register(9, start + 5 * MINUTE + 1)
    })

    test('a new password ends the other sessions, and needs the old one', async () => {
      const user = await someone()
      const logIn = (password: string) => here.accounts.logIn(user.username, password, address(), start)
      const [own, other] = [await logIn('Korrekt.Pferd'), await logIn('Korrekt.Pferd')]
      const trader = { id: user.id, username: user.username, sessionId: own.tokens.sessionId }
      const change = (current: string, next: string) =>
        there.accounts.changePassword(trader, current, next, address(), start)
      await expect(change('wrong', 'Batterie.Klammer')).rejects.toMatchObject({ status: 403 })
      await expect(change('Korrekt.Pferd', 'password')).rejects.toMatchObject({ status: 422 })
      await expect(change('Korrekt.Pferd', 'Korrekt.Pferd')).rejects.toMatchObject({ status: 422 })
      await change('Korrekt.Pferd', 'Batterie.Klammer')
      expect(await here.alive(own.tokens.sessionId, start)).toBe(true)
      expect(await here.alive(other.tokens.sessionId, start)).toBe(false)
      await expect(logIn('Korrekt.Pferd')).rejects.toMatchObject({ status: 401 })
      await logIn('Batterie.Klammer')
    })

    test('a profile is changed field by field', async () => {
      const user = await someone()
      await here.accounts.edit(user.id, { bio: 'Looks at weather.' })
      await here.accounts.edit(user.id, { fullName: 'A. Person' })
      await here.accounts.opened(user.id, start)
      expect(await there.accounts.user(user.id)).toMatchObject({
        bio: 'Looks at weather.',
        fullName: 'A. Person',
        opened: true,
      })
      expect(await here.accounts.user('nobody')).toBe(null)
      expect(await here.accounts.signUps(start)).toBeGreaterThan(5)
    })
  })
})

test.each([
  ['1.2.3.4', '1.2.3.4'],
  ['::ffff:1.2.3.4', '1.2.3.4'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:0db8:0000:0001:2:3:4:5', '2001:db8:0:1::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('the network of %s', (address, expected) => expect(network(address)).toBe(expected))

test.each([
  ['short', 1],
  ['password', 1],
  ['Password123!', 1],
  ['12345678', 1],
  ['87654321', 1],
  ['aaaaaaaa', 1],
  ['marie-2024', 1],
  ['korrekt pferd', 0],
  ['8f3kQp!x', 0],
])('%s has %d weaknesses or more', (password, least) => {
  const found = weaknesses(password, ['marie'])
  if (least === 0) expect(found).toEqual([])
  else expect(found.length).toBeGreaterThanOrEqual(least)
})
