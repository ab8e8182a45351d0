/**
 * Whether analytics is on, in analytics.db, for both of its threads. Kept with the times at which it was off: of a
 * sample that is fed again after a crash it is known what held when it came.
 */
import type { Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'

/** From when until when it was off; null: it still is. */
type Off = readonly [from: Millis, until: Millis | null]

/** Older ones are forgotten: no sample of then is fed again. */
const OFF_MAX = 100

export interface Switch {
  on(): boolean
  /** Durable when it returns. */
  set(on: boolean, now: Millis): void
  /** A question whether it was off at a time, answered by what holds now. */
  wasOff(): (at: Millis) => boolean
}

export function openSwitch(db: Database): Switch {
  const select = db.prepare('SELECT value FROM engine WHERE name = ?').pluck()
  const put = db.prepare('INSERT OR REPLACE INTO engine (name, value) VALUES (?, ?)')
  const on = () => select.get('active') !== 'false'
  const times = () => JSON.parse((select.get('off') as string | undefined) ?? '[]') as readonly Off[]
  return {
    on,
    set(to, now) {
      const before = times()
      const ended = before.map(([from, until]): Off => [from, until ?? now])
      const after = to ? ended : before.at(-1)?.[1] === null ? before : [...ended, [now, null] as const]
      tx(db, () => {
        put.run('off', JSON.stringify(after.slice(-OFF_MAX)))
        put.run('active', String(to))
      })
    },
    wasOff() {
      const all = times()
      return (at) => all.some(([from, until]) => at >= from && (until === null || at < until))
    },
  }
}
