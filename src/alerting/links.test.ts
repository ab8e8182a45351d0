/** Links that acknowledge: signed, for a time, once. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { beforeEach, expect, test } from 'vitest'
import { type Database, openDatabase, tx } from '../storage/database.ts'
import { type SecretBox, secretBox } from '../storage/secrets.ts'
import { type AcknowledgeLinks, acknowledgeLinks, LINK_LIFETIME_MS } from './links.ts'
import { deliveryTables } from './outbox-store.ts'
import { alertingTables } from './tables.ts'

let db: Database
let box: SecretBox
let links: AcknowledgeLinks
const now = Date.UTC(2026, 0, 1)

beforeEach(() => {
  db = openDatabase(':memory:', { synchronous: 'NORMAL', migrations: [alertingTables, deliveryTables] })
  box = secretBox(randomBytes(32))
  links = acknowledgeLinks(db, box)
})

test('is good until it is used, and looking does not use it', () => {
  const token = links.create('a1', 'd1', now)
  expect(links.create('a1', 'd1', now)).toBe(token)
  expect(token).toMatch(/^[A-Za-z0-9_.-]+$/)
  const good = { kind: 'good', alertId: 'a1', deliveryId: 'd1', expiresAt: now + LINK_LIFETIME_MS }
  expect([links.check(token, now), links.check(token, now), links.redeem(token, now)]).toEqual([good, good, good])
  expect([links.check(token, now).kind, links.redeem(token, now).kind]).toEqual(['used', 'used'])
  expect(links.redeem(links.create('a1', 'd2', now), now).kind).toBe('good')
})

test('ends with its time', () => {
  const token = links.create('a1', 'd1', now)
  expect(links.redeem(token, now + LINK_LIFETIME_MS).kind).toBe('expired')
  expect(links.redeem(token, now + LINK_LIFETIME_MS - 1).kind).toBe('good')
})

test('an acknowledgement that fails leaves the link as it was', () => {
  const token = links.create('a1', 'd1', now)
  expect(() =>
    tx(db, () => {
      links.redeem(token, now)
      throw new Error('no')
    }),
  ).toThrow('no')
  expect(links.check(token, now).kind).toBe('good')
})

test('outlives a restart, and is worth nothing under another key', () => {
  const token = links.create('a1', 'd1', now)
  expect(acknowledgeLinks(db, box).check(token, now).kind).toBe('good')
  expect(acknowledgeLinks(db, secretBox(randomBytes(32))).check(token, now).kind).toBe('forged')
})

test('no other text is good, whatever it is', () => {
  const token = links.create('a1', 'd1', now)
  fc.assert(
    fc.property(fc.nat(token.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, char) => {
      const other = token.slice(0, at) + char + token.slice(at + 1)
      // The last character of base64 has bits that say nothing.
      const same = Buffer.from(other.split('.')[1] ?? '', 'base64url').equals(
        Buffer.from(token.split('.')[1]!, 'base64url'),
      )
      if (other.split('.')[0] !== token.split('.')[0] || !same) expect(links.check(other, now).kind).toBe('forged')
    }),
  )
  fc.assert(
    fc.property(fc.string({ maxLength: 2000 }), (text) => {
      expect(links.check(text, now).kind).toBe('forged')
    }),
  )
})
