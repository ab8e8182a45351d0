/** Accounts and what the market knows of them, put together: identity and market know nothing of each other here. */
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Route } from '../http/route.ts'
import type { Accounts } from '../identity/index.ts'
import { accountRoutes } from '../identity/routes.ts'
import type { Desk, MarketReads, UserId } from '../market/index.ts'
import { figuresJson } from '../market/index.ts'

export interface TraderRoutesDeps {
  readonly accounts: Accounts
  readonly market: { readonly desk: Desk; readonly reads: MarketReads }
  readonly clock: Clock
  readonly log: Log
  readonly telemetry: Telemetry
}

export function traderRoutes({ accounts, market, clock, log, telemetry }: TraderRoutesDeps): Route[] {
  const registered = telemetry.counter('accounts_registered_total', 'Accounts that were registered.')
  return accountRoutes({
    accounts,
    clock,
    figures: async (id) => figuresJson(await market.reads.account(id as UserId)),
    open: (id, username) => market.desk.open(id, username),
    registered: () => registered.add(),
    warn: (message, fields) => log.warn(message, fields),
  })
}
