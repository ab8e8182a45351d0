/**
 * The link in a message that acknowledges an alert: signed, good for some days, used once.
 *
 *   token = base64url(alert id, delivery id, expiry) . base64url(HMAC-SHA-256)
 *
 * Who opens the link sees a page that asks (`check`); only the button on it acts (`redeem`), so that a mail scanner that
 * follows links acknowledges nothing. `redeem` belongs into the transaction of the acknowledgement: both happen, or
 * neither. The link of a notice is the same in every attempt to deliver it.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Millis } from '../base/time.ts'
import { DAY } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import type { SecretBox } from '../storage/secrets.ts'

export type LinkState =
  | { readonly kind: 'good'; readonly alertId: string; readonly deliveryId: string; readonly expiresAt: Millis }
  | { readonly kind: 'forged' | 'expired' | 'used' }

export interface AcknowledgeLinks {
  /** The token for an alert in a notice that was made at `at`. */
  create(alertId: string, deliveryId: string, at: Millis): string
  /** What a token is worth, without using it. */
  check(token: string, now: Millis): LinkState
  /** The same, and uses it up when it is good. */
  redeem(token: string, now: Millis): LinkState
}

/** How long after its notice a link is good. */
export const LINK_LIFETIME_MS = 3 * DAY
const TOKEN_MAX = 1024
const FORGED: LinkState = { kind: 'forged' }

/** The key is made at the first use and stored sealed. */
export function acknowledgeLinks(db: Database, box: SecretBox): AcknowledgeLinks {
  const key = tx(db, () => keyOf(db, box))
  const used = db.prepare('SELECT 1 FROM alert_links_used WHERE link = ?')
  const use = db.prepare('INSERT INTO alert_links_used (link, expires_at) VALUES (?, ?)')
  const forget = db.prepare('DELETE FROM alert_links_used WHERE expires_at < ?')

  const sign = (payload: string) => createHmac('sha256', key).update(`acknowledge.${payload}`).digest()

  function check(token: string, now: Millis): LinkState {
    const [payload = '', mac = '', more] = token.length > TOKEN_MAX ? [] : token.split('.')
    const given = Buffer.from(mac, 'base64url')
    const right = sign(payload)
    if (more !== undefined || given.length !== right.length || !timingSafeEqual(given, right)) return FORGED
    const [alertId, deliveryId, expiresAt] = JSON.parse(Buffer.from(payload, 'base64url').toString()) as [
      string,
      string,
      number,
    ]
    if (now >= expiresAt) return { kind: 'expired' }
    if (used.get(linkOf(alertId, deliveryId))) return { kind: 'used' }
    return { kind: 'good', alertId, deliveryId, expiresAt }
  }

  return {
    create(alertId, deliveryId, at) {
      const payload = Buffer.from(JSON.stringify([alertId, deliveryId, at + LINK_LIFETIME_MS])).toString('base64url')
      return `${payload}.${sign(payload).toString('base64url')}`
    },
    check,
    redeem(token, now) {
      return tx(db, () => {
        const state = check(token, now)
        if (state.kind !== 'good') return state
        forget.run(now)
        use.run(linkOf(state.alertId, state.deliveryId), state.expiresAt)
        return state
      })
    },
  }
}

const linkOf = (alertId: string, deliveryId: string) => JSON.stringify([alertId, deliveryId])

function keyOf(db: Database, box: SecretBox): Buffer {
  const row = db.prepare('SELECT sealed FROM alert_link_key WHERE id = 0').get() as { sealed: string } | undefined
  const context = 'alerting/acknowledge-links'
  try {
    if (row) return Buffer.from(box.open(row.sealed, context), 'base64url')
  } catch {
    // Sealed with another key of the platform: links that are out are worth nothing any more.
  }
  const key = randomBytes(32)
  const sealed = box.seal(key.toString('base64url'), context)
  db.prepare('INSERT OR REPLACE INTO alert_link_key (id, sealed) VALUES (0, ?)').run(sealed)
  return key
}
