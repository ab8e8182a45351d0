/** The market as routes (contract 9.2 to 9.5), all of them: for the server of an instance, and for the documentation. */
import type { Route } from '../http/route.ts'
import { catalogRoutes } from './catalog/routes.ts'
import { liveRoutes } from './live/routes.ts'
import { portfolioRoutes } from './portfolio/routes.ts'
import type { MarketRouteDeps } from './surface.ts'
import { tradingRoutes } from './trading/routes.ts'

export type { MarketRouteDeps } from './surface.ts'

export function marketRoutes(deps: MarketRouteDeps): Route[] {
  return [...catalogRoutes(deps), ...tradingRoutes(deps), ...portfolioRoutes(deps), ...liveRoutes(deps)]
}
