/**
 * The outbox in ops.db: rows to values and back, and the writes of the one dispatcher. Each write of the dispatcher
 * carries its fencing token: the last to start holds the outbox, and whoever held it before writes nothing any more.
 *
 *   waiting, claim NULL          nobody is at it; due at `next_at`
 *   waiting, claim n             the dispatcher with token n is sending it; found at a start: nobody knows how it ended
 *   delivered, dead, cancelled   done
 */
import type { Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import type { Attempt, Delivery, DeliveryStatus, Notice } from './notice.ts'

/** A migration: what the dispatcher needs beside the outbox itself. */
export const deliveryTables = `
  ALTER TABLE outbox ADD COLUMN claim INTEGER;                       -- token of the dispatcher that is sending it
  ALTER TABLE outbox ADD COLUMN claimed_at INTEGER;
  ALTER TABLE outbox ADD COLUMN failures INTEGER NOT NULL DEFAULT 0; -- attempts that count towards its death
  CREATE INDEX outbox_ready ON outbox (channel, next_at, seq) WHERE status = 'waiting' AND claim IS NULL;
  DROP INDEX outbox_due;
  CREATE INDEX outbox_tests ON outbox (seq) WHERE status = 'waiting' AND claim IS NULL AND is_test = 1;
  CREATE INDEX outbox_dead ON outbox (channel, done_at) WHERE status = 'dead';
  CREATE TABLE outbox_owner (id INTEGER PRIMARY KEY CHECK (id = 0), token INTEGER NOT NULL) STRICT;
  INSERT INTO outbox_owner (id, token) VALUES (0, 0);
  CREATE TABLE alert_link_key (id INTEGER PRIMARY KEY CHECK (id = 0), sealed TEXT NOT NULL) STRICT;
  CREATE TABLE alert_links_used (link TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX alert_links_expired ON alert_links_used (expires_at);
`

/** A row that is to be sent. */
export interface Due {
  readonly seq: number
  readonly notice: Notice
  /** Attempts so far, this one not counted. */
  readonly tries: number
  readonly failures: number
}

/** What became of an attempt. */
export interface Settled {
  readonly due: Due
  readonly attempt: Attempt
  readonly status: DeliveryStatus
  readonly failures: number
  readonly nextAt: Millis | null
}

export interface DeliveryFilter {
  readonly alertId?: string
  readonly channelId?: string
  readonly status?: DeliveryStatus
  /** `seq` of the last one of the page before. */
  readonly before?: number
  readonly limit: number
}

export interface DeliveryRow extends Delivery {
  readonly seq: number
  /** All attempts, also those that are no longer listed. */
  readonly tries: number
  readonly underWay: boolean
  readonly doneAt: Millis | null
}

/** Attempts that a row remembers; `tries` counts all. */
const ATTEMPTS_KEPT = 20
const MARK = "status = 'waiting' AND claim IS NULL"

interface Row {
  readonly seq: number
  readonly id: string
  readonly notice: string
  readonly status: DeliveryStatus
  readonly tries: number
  readonly failures: number
  readonly attempts: string
  readonly next_at: number | null
  readonly done_at: number | null
  readonly claim: number | null
  readonly claimed_at: number | null
}

export class OutboxLost extends Error {
  constructor() {
    super('another process has taken over the outbox')
  }
}

export function outboxStore(db: Database) {
  const prepare = <P extends unknown[], R = Row>(sql: string) => db.prepare<P, R>(sql)
  const takeOwner = prepare<[], { token: number }>('UPDATE outbox_owner SET token = token + 1 RETURNING token')
  const owner = prepare<[], { token: number }>('SELECT token FROM outbox_owner')
  const claimed = prepare<[]>("SELECT * FROM outbox WHERE status = 'waiting' AND claim IS NOT NULL")
  const ready = prepare<[string, number, number]>(
    `SELECT * FROM outbox AS o WHERE ${MARK} AND channel = ? AND next_at <= ? AND is_test = 0 AND NOT EXISTS (
       SELECT 1 FROM outbox AS p WHERE p.status = 'waiting' AND p.channel = o.channel AND p.order_key = o.order_key
         AND p.seq < o.seq)
     ORDER BY next_at, seq LIMIT ?`,
  )
  const tests = prepare<[]>(`SELECT * FROM outbox WHERE ${MARK} AND is_test = 1 ORDER BY seq LIMIT 100`)
  const next = prepare<[string, number], { at: number | null }>(
    `SELECT min(next_at) AS at FROM outbox WHERE ${MARK} AND channel = ? AND next_at > ?`,
  )
  const byId = prepare<[string]>('SELECT * FROM outbox WHERE id = ?')
  const claim = prepare<[number, number, number]>(
    'UPDATE outbox SET claim = ?, claimed_at = ?, tries = tries + 1 WHERE seq = ?',
  )
  const attemptsOf = prepare<[number], { attempts: string }>('SELECT attempts FROM outbox WHERE seq = ?')
  const settle = prepare<[string, string, number, number | null, number | null, number]>(
    'UPDATE outbox SET status = ?, attempts = ?, failures = ?, next_at = ?, done_at = ?, claim = NULL WHERE seq = ?',
  )
  const behind = prepare<[number, string, string, number, number]>(
    `UPDATE outbox SET next_at = ? WHERE ${MARK} AND channel = ? AND order_key = ? AND seq > ? AND next_at < ?`,
  )
  const cancel = prepare<[number, string]>(
    `UPDATE outbox SET status = 'cancelled', next_at = NULL, done_at = ? WHERE ${MARK} AND channel = ? AND is_test = 0`,
  )
  const dueNow = prepare<[number, string, number]>(
    `UPDATE outbox SET next_at = ? WHERE ${MARK} AND channel = ? AND next_at > ?`,
  )
  const shift = prepare<[number, number, number]>(
    `UPDATE outbox SET next_at = max(?, next_at - ?) WHERE ${MARK} AND next_at > ?`,
  )
  const stranded = prepare<[], { channel: string }>(
    `SELECT DISTINCT channel FROM outbox WHERE ${MARK} AND channel NOT IN (SELECT id FROM alert_channels)`,
  )
  const revive = prepare<[number, string]>(
    "UPDATE outbox SET status = 'waiting', next_at = ?, failures = 0, done_at = NULL WHERE id = ? AND status = 'dead'",
  )
  const sent = prepare<[number]>(
    "INSERT INTO alert_stats (name, value) VALUES ('notifications_sent', ?) " +
      'ON CONFLICT (name) DO UPDATE SET value = value + excluded.value',
  )
  const deadSince = prepare<[string, number], { n: number }>(
    "SELECT count(*) AS n FROM outbox WHERE status = 'dead' AND channel = ? AND done_at > ? AND is_test = 0",
  )
  const lastOf = prepare<[string], { at: number | null }>(
    'SELECT max(created_at) AS at FROM outbox WHERE order_key = ?',
  )
  const toldOf = prepare<[string, number], { channel: string }>(
    'SELECT DISTINCT channel FROM outbox WHERE order_key = ? AND created_at >= ?',
  )
  const waiting = prepare<[], { n: number; oldest: number | null }>(
    "SELECT count(*) AS n, min(created_at) AS oldest FROM outbox WHERE status = 'waiting' AND is_test = 0",
  )
  const old = prepare<[number, number], { id: string }>(
    'DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE done_at < ? LIMIT ?) RETURNING id',
  )
  const unlink = prepare<[string]>('DELETE FROM outbox_alerts WHERE notice = ?')

  return {
    db,

    /** Becomes the owner. Rows that a former owner was sending wait again; each remembers an attempt without answer. */
    takeOver(now: Millis): number {
      const { token } = takeOwner.get()!
      for (const row of claimed.all()) {
        const attempt = { at: row.claimed_at ?? now, ms: 0, ok: false, answer: 'no answer known: the platform ended' }
        settle.run('waiting', withAttempt(row.attempts, attempt), row.failures, now, null, row.seq)
      }
      return token
    },

    /** Throws `OutboxLost` when somebody else is the owner by now. */
    assertOwner(token: number): void {
      if (owner.get()!.token !== token) throw new OutboxLost()
    },

    /** What may be sent over a channel now, oldest due first: of each order key only the first row that waits. */
    ready: (channelId: string, now: Millis, limit: number): Due[] => ready.all(channelId, now, limit).map(dueOf),
    readyTests: (): Due[] => tests.all().map(dueOf),
    /** When the next row of a channel falls due; null: none does. */
    nextAt: (channelId: string, now: Millis): Millis | null => next.get(channelId, now)?.at ?? null,

    claim(token: number, rows: readonly Due[], now: Millis): void {
      for (const { seq } of rows) claim.run(token, now, seq)
    },

    settle({ due, attempt, status, failures, nextAt }: Settled): void {
      const { attempts } = attemptsOf.get(due.seq)!
      const doneAt = status === 'waiting' ? null : attempt.at + attempt.ms
      settle.run(status, withAttempt(attempts, attempt), failures, nextAt, doneAt, due.seq)
      // Rows behind it wait as long: they are not looked at in vain.
      if (nextAt !== null) behind.run(nextAt, due.notice.channelId, due.notice.orderKey, due.seq, nextAt)
    },

    /** Ends what waits for a channel; tests go on. Answers how many. */
    cancel: (channelId: string, now: Millis): number => cancel.run(now, channelId).changes,
    /** Makes everything that waits for a channel due. */
    dueNow: (channelId: string, now: Millis): void => void dueNow.run(now, channelId, now),
    /** The wall clock went back by `ms`: what is due later is due as much sooner. */
    shift: (now: Millis, ms: number): void => void shift.run(now, ms, now),
    /** Channels that something waits for and that do not exist. */
    stranded: (): string[] => stranded.all().map(({ channel }) => channel),
    /** A dead row waits again. */
    revive: (id: string, now: Millis): boolean => revive.run(now, id).changes > 0,
    countSent: (n: number): void => void sent.run(n),

    deadSince: (channelId: string, since: Millis): number => deadSince.get(channelId, since)!.n,
    /** When something was last put into the outbox with this order key, and for which channels since a time. */
    lastWith: (orderKey: string): Millis | null => lastOf.get(orderKey)?.at ?? null,
    toldWith: (orderKey: string, since: Millis): string[] => toldOf.all(orderKey, since).map(({ channel }) => channel),

    waiting: () => waiting.get()!,
    get(id: string): DeliveryRow | null {
      const row = byId.get(id)
      return row ? deliveryOf(row) : null
    },
    list: (filter: DeliveryFilter): DeliveryRow[] => listDeliveries(db, filter),
    /** Removes up to `limit` rows that were done before `before`; answers how many. */
    forget(before: Millis, limit: number): number {
      const ids = old.all(before, limit)
      for (const { id } of ids) unlink.run(id)
      return ids.length
    },
  }
}

export type OutboxStore = ReturnType<typeof outboxStore>

/** Newest first. */
function listDeliveries(db: Database, { alertId, channelId, status, before, limit }: DeliveryFilter): DeliveryRow[] {
  const where: string[] = []
  const values: unknown[] = []
  const add = (condition: string, value: unknown) => {
    if (value === undefined) return
    where.push(condition)
    values.push(value)
  }
  add('id IN (SELECT notice FROM outbox_alerts WHERE alert = ?)', alertId)
  add('channel = ?', channelId)
  add('status = ?', status)
  add('seq < ?', before)
  const condition = where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''
  return db
    .prepare<unknown[], Row>(`SELECT * FROM outbox ${condition} ORDER BY seq DESC LIMIT ?`)
    .all(...values, limit)
    .map(deliveryOf)
}

const noticeOf = (row: Row) => JSON.parse(row.notice) as Notice

function dueOf(row: Row): Due {
  return { seq: row.seq, notice: noticeOf(row), tries: row.tries, failures: row.failures }
}

function deliveryOf(row: Row): DeliveryRow {
  return {
    seq: row.seq,
    notice: noticeOf(row),
    status: row.status,
    attempts: JSON.parse(row.attempts) as Attempt[],
    nextAt: row.next_at,
    tries: row.tries,
    underWay: row.claim !== null,
    doneAt: row.done_at,
  }
}

function withAttempt(attempts: string, attempt: Attempt): string {
  const all = [...(JSON.parse(attempts) as Attempt[]), attempt]
  return JSON.stringify(all.slice(-ATTEMPTS_KEPT))
}
