/** The front door of alerting. */
export { alertingTables } from './tables.ts'
