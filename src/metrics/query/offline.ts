/** Queries of a store that nobody has open (a stopped platform, a backup), in this thread and without a time limit. */
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { openOffline } from '../store/store.ts'
import { defaultLimits } from './keys.ts'
import type { QueryOperations } from './operations.ts'
import { queryOperations } from './operations.ts'

/** `folder` is the store's own. Nothing there is changed. Throws what reading the store throws. */
export function openQueriesOffline(folder: string, clock: Clock, log: Log): QueryOperations {
  const limits = defaultLimits()
  return queryOperations({
    reader: openOffline(folder, clock, log),
    flag: new Int32Array(1),
    limits: () => limits,
    monotonic: () => clock.monotonic(),
  })
}
