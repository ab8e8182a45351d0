/**
 * A turn: one transaction that holds a change of alerts, all that follows from it, and the notices that tell of it. What
 * it has gathered is told (`telling.ts`) before it commits.
 */
import type { Millis } from '../base/time.ts'
import type { Notice } from './notice.ts'
import type { Alert } from './record.ts'
import type { News } from './stages.ts'

/** What one transaction gathers on its way. */
export interface Turn {
  readonly now: Millis
  /** In the order in which it has to be told. */
  readonly news: { alertId: string; event: News['event']; mark: string; late: boolean }[]
  readonly opened: Set<string>
  /** Rules of which an alert ended. */
  readonly closedRules: Set<string>
  readonly closed: Alert[]
  readonly touched: Set<string>
  readonly notices: (Notice & { readonly stands?: readonly string[] })[]
  readonly after: (() => void)[]
  /** How many more alerts sweeps may look at. */
  room: number
  /** The turn only shows whether it could be: at its end it is rolled back, and throws this. */
  takenBack: Error | null
}

/** A turn at its beginning, with room for so many alerts of sweeps. */
export const newTurn = (now: Millis, room: number): Turn => ({
  now,
  news: [],
  opened: new Set(),
  closedRules: new Set(),
  closed: [],
  touched: new Set(),
  notices: [],
  after: [],
  room,
  takenBack: null,
})
