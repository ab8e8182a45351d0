/**
 * Into the outbox: notices become rows in the transaction of the change that they tell of. `outbox.ts` delivers them.
 */
import type { Database } from '../storage/database.ts'
import type { Notice } from './notice.ts'

/** Writes notices as waiting, due at once. `alerts` are all that a notice stands for, which a digest does not list. */
export function enqueue(db: Database, notices: readonly (Notice & { readonly stands?: readonly string[] })[]): void {
  if (notices.length === 0) return
  const insert = db.prepare(
    'INSERT INTO outbox (id, channel, order_key, event, notice, is_test, status, next_at, created_at) ' +
      "VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?, ?)",
  )
  const link = db.prepare('INSERT OR IGNORE INTO outbox_alerts (alert, notice) VALUES (?, ?)')
  for (const { stands, ...notice } of notices) {
    insert.run(
      notice.id,
      notice.channelId,
      notice.orderKey,
      notice.event,
      JSON.stringify(notice),
      notice.isTest ? 1 : 0,
      notice.createdAt,
      notice.createdAt,
    )
    for (const alert of stands ?? notice.alerts.map((a) => a.alertId)) link.run(alert, notice.id)
  }
}
