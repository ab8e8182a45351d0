/** Routes of the platform as a whole: health, its own metrics, and tickets for sockets. */
import Type from 'typebox'
import type { Clock } from '../base/clock.ts'
import type { TelemetryFamily } from '../base/telemetry.ts'
import { EXPOSITION_TYPE, exposition } from '../http/exposition.ts'
import type { Principal, RawReply, Route } from '../http/route.ts'
import { foreignRoute, route } from '../http/route.ts'
import type { Tickets } from '../http/sockets.ts'
import { TICKET_LIFETIME_MS } from '../http/sockets.ts'
import type { Health } from './health.ts'
import { VERSION } from './version.ts'

export interface SystemRoutesDeps {
  readonly clock: Clock
  readonly health: Health
  readonly tickets: Tickets
  readonly environment: string
  /** Families of all processes, each sample with its `process`. */
  telemetry(): readonly TelemetryFamily[]
}

export function systemRoutes({ clock, health, tickets, environment, telemetry }: SystemRoutesDeps): Route[] {
  return [
    foreignRoute({
      method: 'GET',
      path: '/health',
      access: 'open',
      tag: 'system',
      summary: 'How the platform is; without a token only `status`. 503 when unhealthy',
      foreign({ principal }) {
        const { status, services, uptime } = health.report()
        const timestamp = clock.now() / 1000
        const all = { status, service: 'opinion-market', version: VERSION, environment, timestamp, uptime, services }
        return json(status === 'unhealthy' ? 503 : 200, mayRead(principal) ? all : { status })
      },
    }),
    foreignRoute({
      method: 'GET',
      path: '/ready',
      access: 'open',
      tag: 'system',
      summary: 'Whether every process can do its work; 503 until then',
      foreign() {
        const ready = health.allReady()
        return json(ready ? 200 : 503, { status: ready ? 'ready' : 'not_ready' })
      },
    }),
    foreignRoute({
      method: 'GET',
      path: '/metrics',
      access: 'viewer',
      tag: 'system',
      summary: 'What the platform measures of itself, all processes, as Prometheus text',
      foreign: () => ({ status: 200, headers: { 'content-type': EXPOSITION_TYPE }, body: exposition(telemetry()) }),
    }),
    route({
      method: 'POST',
      path: '/api/v1/advanced-dashboard/dashboard/ws-ticket',
      access: 'viewer',
      tag: 'dashboard',
      summary: 'A one-time ticket for a WebSocket: connect with ?ticket= within 30 seconds',
      data: Type.Object({ ticket: Type.String(), expires_in: Type.Integer({ description: 'Seconds.' }) }),
      handler: ({ principal }) => ({
        data: { ticket: tickets.issue(principal!), expires_in: TICKET_LIFETIME_MS / 1000 },
      }),
    }),
  ]
}

const mayRead = (principal: Principal | null) => principal !== null && principal.role !== 'trader'

function json(status: number, body: object): RawReply {
  const retry = status === 503 ? { 'retry-after': '5' } : {}
  return {
    status,
    headers: { 'content-type': 'application/json; charset=utf-8', ...retry },
    body: JSON.stringify(body),
  }
}
