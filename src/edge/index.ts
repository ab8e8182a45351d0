/** The way in: route table, balancer, proxy, drain, rate-errors-duration. Used by front; knows no domain. */
export type { Balancer } from './balancer.ts'
export { createBalancer } from './balancer.ts'
export type { EdgeConfig } from './config.ts'
export { edgeKeys } from './config.ts'
export type { Edge } from './server.ts'
export { createEdge } from './server.ts'
export { routeTable } from './table.ts'
