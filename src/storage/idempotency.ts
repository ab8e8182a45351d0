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

const contextOf = ({ principalId, key }: Claim) => `idempotency/${principalId}/${key}`
const clash = () => conflict('idempotency_clash', 'This Idempotency-Key was used for another request.')

/** The answer that was given to a claim; null when none was. Throws 409 when the key came with another request. */
function answerOf<T>(db: Database, claim: Claim, now: Millis, box?: SecretBox): { readonly answer: T } | null {
  const known = db
    .prepare<[string, string, number], { fingerprint: string; answer: string }>(
      'SELECT fingerprint, answer FROM idempotency WHERE principal = ? AND key = ? AND at >= ?',
    )
    .get(claim.principalId, claim.key, now - LIFETIME)
  if (!known) return null
  if (known.fingerprint !== claim.fingerprint) throw clash()
  return { answer: JSON.parse(box ? box.open(known.answer, contextOf(claim)) : known.answer) as T }
}

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
    const known = answerOf<T>(db, claim, now, box)
    if (known !== null) return known.answer
    const answer = effect()
    const text = JSON.stringify(answer)
    db.prepare(
      'INSERT OR REPLACE INTO idempotency (principal, key, fingerprint, answer, at) VALUES (?, ?, ?, ?, ?)',
    ).run(claim.principalId, claim.key, claim.fingerprint, box ? box.seal(text, contextOf(claim)) : text, now)
    return answer
  })
}

/** Effects under way, by claim. */
export type Running<T> = Map<string, { readonly fingerprint: string; readonly answer: Promise<T> }>

/**
 * As `once`, for an effect that takes longer than a transaction: the same claim at the same time is one effect, later it
 * gets the first answer again. After a crash before the answer was kept the effect runs again, which it has to bear.
 */
export async function onceLong<T>(
  running: Running<T>,
  db: Database,
  claim: Claim | null,
  clock: { now(): Millis },
  effect: () => Promise<T>,
): Promise<T> {
  if (claim === null) return effect()
  const known = answerOf<T>(db, claim, clock.now())
  if (known !== null) return known.answer
  const id = `${claim.principalId}/${claim.key}`
  const same = running.get(id)
  if (same !== undefined) {
    if (same.fingerprint !== claim.fingerprint) throw clash()
    return same.answer
  }
  const answer = effect().then((made) => once(db, claim, clock.now(), () => made))
  running.set(id, { fingerprint: claim.fingerprint, answer })
  try {
    return await answer
  } finally {
    running.delete(id)
  }
}
