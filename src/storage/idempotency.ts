/**
 * Idempotency keys: the effect of a request and the answer that was given commit in one transaction, so that a client
 * which lost the answer may send the request again, also after a crash.
 *
 *   return once(db, request.claim, clock.now(), () => { …effect…; return { status: 201, data } })
 *
 * A key belongs to the principal that sent it and lives 24 hours. The same key with another request is a 409.
 */
import { conflict } from '../base/errors.ts'
import type { Millis } from '../base/time.ts'
import { DAY } from '../base/time.ts'
import type { Database } from './database.ts'
import { tx } from './database.ts'
import type { SecretBox } from './secrets.ts'

/** As it came with the request (`http/route.ts` makes it). */
export interface Claim {
  readonly key: string
  readonly principalId: string
  readonly fingerprint: string
}

/** A migration for every database whose effects can be claimed. */
export const idempotencyTable = `
  CREATE TABLE idempotency (
    principal TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, answer TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_at ON idempotency (at);`

const LIFETIME = DAY
/** Rows removed with each new one: more than one, so that the table shrinks after a burst. */
const CLEANED_AT_ONCE = 20

/**
 * Runs `effect` in one transaction, once per claim: a known claim gets its first answer again. The answer has to be
 * plain JSON. With `box` it is stored sealed (an answer that shows a new secret).
 */
export function once<T>(db: Database, claim: Claim | null, now: Millis, effect: () => T, box?: SecretBox): T {
  return tx(db, () => {
    if (claim === null) return effect()
    db.prepare(
      'DELETE FROM idempotency WHERE (principal, key) IN (SELECT principal, key FROM idempotency WHERE at < ? LIMIT ?)',
    ).run(now - LIFETIME, CLEANED_AT_ONCE)
    const known = db
      .prepare('SELECT fingerprint, answer FROM idempotency WHERE principal = ? AND key = ? AND at >= ?')
      .get(claim.principalId, claim.key, now - LIFETIME) as { fingerprint: string; answer: string } | undefined
    const context = `idempotency/${claim.principalId}/${claim.key}`
    if (known) {
      if (known.fingerprint !== claim.fingerprint) {
        throw conflict('idempotency_clash', 'This Idempotency-Key was used for another request.')
      }
      return JSON.parse(box ? box.open(known.answer, context) : known.answer) as T
    }
    const answer = effect()
    const text = JSON.stringify(answer)
    db.prepare(
      'INSERT OR REPLACE INTO idempotency (principal, key, fingerprint, answer, at) VALUES (?, ?, ?, ?, ?)',
    ).run(claim.principalId, claim.key, claim.fingerprint, box ? box.seal(text, context) : text, now)
    return answer
  })
}
