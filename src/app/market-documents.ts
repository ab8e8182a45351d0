/** The market's routes for the API's documentation, which control publishes: the same lists that an instance serves. */
import { createTelemetry } from '../base/telemetry.ts'
import type { Route } from '../http/route.ts'
import type { MarketRouteDeps } from '../market/routes.ts'
import { marketRoutes } from '../market/routes.ts'
import type { TraderRoutesDeps } from './trader-routes.ts'
import { traderRoutes } from './trader-routes.ts'

/** Their handlers are never called: what they would need is not there. */
export function marketDocuments(): Route[] {
  const accounts = traderRoutes({ telemetry: createTelemetry() } as TraderRoutesDeps)
  return [...accounts, ...marketRoutes({} as MarketRouteDeps)]
}
