/** The API of metrics: what comes in, what is known about it, and Prometheus' query API. */
import type { Route } from '../http/route.ts'
import { type IngestRoutesDeps, ingestRoutes } from './ingest/routes.ts'
import { type QueryRoutesDeps, queryRoutes } from './query/routes.ts'

export interface MetricsRoutesDeps extends IngestRoutesDeps, QueryRoutesDeps {}

export function metricsRoutes(deps: MetricsRoutesDeps): Route[] {
  return [...ingestRoutes(deps), ...queryRoutes(deps)]
}
