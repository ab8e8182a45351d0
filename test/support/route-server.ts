/** Routes on a real server without the rest of the platform. Tokens are `token-viewer`, `token-operator` and so on. */
import { systemClock } from '../../src/base/clock.ts'
import type { Log } from '../../src/base/log.ts'
import { silentLog } from '../../src/base/log.ts'
import { systemScheduler } from '../../src/base/scheduler.ts'
import { createTelemetry } from '../../src/base/telemetry.ts'
import type { Role, Route } from '../../src/http/route.ts'
import { createServer } from '../../src/http/server.ts'
import { createTickets } from '../../src/http/sockets.ts'

export interface RouteServer {
  readonly url: string
  stop(): Promise<void>
}

export async function serveRoutes(routes: readonly Route[], log: Log = silentLog): Promise<RouteServer> {
  const scheduler = systemScheduler((error) => {
    throw error
  })
  const server = await createServer({
    routes,
    authenticator: {
      byToken(token) {
        const role = /^token-(viewer|operator|admin|trader)$/.exec(token)?.[1] as Role | undefined
        return role ? { id: token, name: token, role, via: 'token', credential: token } : null
      },
      bySession: () => null,
      alive: () => true,
    },
    tickets: createTickets(systemClock),
    scheduler,
    log,
    telemetry: createTelemetry(),
    version: 'test',
    limits: () => ({
      bodyBytes: 1 << 20,
      jsonDepth: 64,
      perPrincipal: { perSecond: 1e6, burst: 1e6 },
      perAddress: { perSecond: 1e6, burst: 1e6 },
      sockets: 10,
    }),
    publicUrl: () => null,
  })
  const url = await server.listen({ port: 0 })
  return { url, stop: () => server.close() }
}
