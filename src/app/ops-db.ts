/** ops.db: what operating the platform leaves behind. */
import { alertingTables, deliveryTables, postedTable, setAsideTable } from '../alerting/index.ts'
import { pointNotesTable } from '../analytics/index.ts'
import { scalingTables } from '../scaling/index.ts'
import { auditTable } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import { openDatabase } from '../storage/database.ts'
import { idempotencyTable } from '../storage/idempotency.ts'
import { configVersionsTable } from './config-store.ts'
import { eventsTable } from './events.ts'

/** New tables go to the end. */
const migrations = [
  configVersionsTable,
  idempotencyTable,
  auditTable,
  eventsTable,
  pointNotesTable,
  alertingTables,
  deliveryTables,
  postedTable,
  scalingTables,
  setAsideTable,
]

export function openOps(path: string): Database {
  return openDatabase(path, { synchronous: 'FULL', migrations })
}
