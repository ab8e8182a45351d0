/** The API of metrics: what comes in, and what is known about it. */
import type { Route } from '../http/route.ts'
import { type IngestRoutesDeps, ingestRoutes } from './ingest/routes.ts'

export type MetricsRoutesDeps = IngestRoutesDeps

export function metricsRoutes(deps: MetricsRoutesDeps): Route[] {
  return [...ingestRoutes(deps)]
}

export { type QueryRoutesDeps, queryRoutes } from './query/routes.ts'
