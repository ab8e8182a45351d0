/** What the dashboard answers over HTTP: the page and its assets, the summary, the events, the socket. */
import Type from 'typebox'
import type { Clock } from '../base/clock.ts'
import { badRequest, notFound, unavailable } from '../base/errors.ts'
import type { Millis } from '../base/time.ts'
import { DAY, fromIso } from '../base/time.ts'
import type { RawReply, Route } from '../http/route.ts'
import { foreignRoute, route } from '../http/route.ts'
import type { WebAssets } from './assets.ts'
import { loadAssets, negotiated } from './assets.ts'
import type { Dashboard } from './dashboard.ts'
import type { DashboardSummary } from './protocol.ts'
import { DEFAULT_RANGE, FIGURE_KEYS, isRange, METRIC_KEYS } from './protocol.ts'

export interface DashboardRoutesDeps {
  readonly dashboard: Dashboard
  readonly clock: Clock
  /** The built page; from beside the program unless a test brings its own. */
  readonly assets?: WebAssets
}

const BASE = '/api/v1/advanced-dashboard'
const TAG = 'Dashboard'

/** Paths that serve the page; it finds its own view by the address. */
const PAGES = [
  '/',
  '/login',
  '/ops',
  '/ops/metrics',
  '/ops/metrics/:name',
  '/ops/insights',
  '/ops/insights/:id',
  '/ops/alerts',
  '/ops/alerts/:id',
  '/ops/scaling',
  '/ops/scaling/policies',
  '/ops/scaling/policies/:id',
  '/ops/scaling/decisions/:id',
  '/ops/rules',
  '/ops/rules/:id',
  '/ops/channels',
  '/ops/silences',
  '/ops/deliveries',
  `${BASE}/dashboard/advanced`,
]

/**
 * Nothing but the platform's own files: no inline script or style, no foreign host, no frame around it, and no HTML made
 * from text.
 */
const SECURITY = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()])
const Time = Type.String({ format: 'date-time' })
const perKey = <T extends Parameters<typeof Type.Union>[0][number]>(keys: readonly string[], schema: T) =>
  Type.Object(Object.fromEntries(keys.map((key) => [key, schema])))

const Limit = Type.Object({
  value: Type.Number(),
  side: Type.Union([Type.Literal('over'), Type.Literal('under')]),
})
const Level = Type.Union([Type.Literal('low'), Type.Literal('medium'), Type.Literal('high')])
const TrendName = Type.Union([Type.Literal('increasing'), Type.Literal('decreasing'), Type.Literal('stable')])
const Event = Type.Object({
  id: Type.String(),
  timestamp: Time,
  type: Type.String(),
  title: Type.String(),
  detail: Type.String(),
  subject: Type.String(),
})

/** The summary as OpenAPI shows it; `protocol.ts` says what each field means. */
const Summary = Type.Unsafe<DashboardSummary>(
  Type.Object({
    timestamp: Time,
    metrics: perKey(METRIC_KEYS, Nullable(Type.Number())),
    performance_score: Nullable(Type.Number({ minimum: 0, maximum: 100 })),
    score_parts: Type.Array(Type.Object({ metric: Type.String(), points: Type.Number(), why: Type.String() })),
    trends: perKey(FIGURE_KEYS, Nullable(TrendName)),
    figures: perKey(
      FIGURE_KEYS,
      Type.Object({
        unit: Type.String(),
        change: Nullable(Type.Number()),
        change_kind: Type.Union([Type.Literal('absolute'), Type.Literal('percent')]),
        change_window: Type.Number({ description: 'Seconds.' }),
        normal: Nullable(Type.Object({ lower: Type.Number(), upper: Type.Number() })),
        threshold_state: Nullable(Type.Union([Type.Literal('ok'), Type.Literal('warning'), Type.Literal('critical')])),
        limits: Nullable(Type.Object({ warning: Type.Number(), critical: Type.Number(), side: Limit.properties.side })),
        limit: Nullable(Limit),
        last_sample_at: Nullable(Time),
        last_value: Nullable(Type.Number()),
        silence: Nullable(Type.String()),
      }),
    ),
    headline: Type.Object({
      status: Type.Union([
        Type.Literal('healthy'),
        Type.Literal('degraded'),
        Type.Literal('critical'),
        Type.Literal('no_data'),
      ]),
      text: Type.String(),
      metric: Nullable(Type.String()),
      value: Nullable(Type.Number()),
      limit: Nullable(Type.Number()),
      since: Nullable(Time),
      cause: Nullable(Type.String()),
      next: Nullable(Type.String()),
    }),
    forecast: perKey(
      FIGURE_KEYS,
      Type.Array(
        Type.Object({
          horizon: Type.Number({ description: 'Minutes.' }),
          target_time: Time,
          value: Type.Number(),
          lower: Type.Number(),
          upper: Type.Number(),
          coverage: Type.Number({ minimum: 0, maximum: 1 }),
          confidence: Type.Number({ minimum: 0, maximum: 1 }),
          withdrawn: Nullable(Type.String({ description: 'Why it has not earned its place.' })),
        }),
      ),
    ),
    anomalies: Type.Array(
      Type.Object({
        id: Type.String(),
        metric_name: Type.String(),
        timestamp: Time,
        anomaly_score: Type.Number({ minimum: 0 }),
        severity: Level,
        actual_value: Type.Number(),
        expected_value: Type.Number(),
        view: Type.String(),
        season: Type.String(),
        description: Type.String(),
        feedback: Nullable(
          Type.Object({
            verdict: Type.Union([Type.Literal('real'), Type.Literal('noise')]),
            by: Type.String(),
            at: Time,
          }),
        ),
      }),
    ),
    ai_insights: Type.Array(
      Type.Object({
        id: Type.String(),
        type: Type.String(),
        category: Type.String(),
        title: Type.String(),
        message: Type.String(),
        confidence: Type.Number({ minimum: 0, maximum: 1 }),
        impact: Level,
        recommendations: Type.Array(Type.String()),
        evidence_url: Type.String(),
        found_by: Type.Union([Type.Literal('analytics'), Type.Literal('dashboard')]),
        last_seen_at: Time,
      }),
    ),
    alerts: Type.Array(
      Type.Object({
        id: Type.String(),
        rule_id: Type.String(),
        severity: Type.String(),
        title: Type.String(),
        message: Type.String(),
        timestamp: Time,
        status: Type.String(),
        metric_name: Type.String(),
        unit: Type.String(),
        current_value: Nullable(Type.Number()),
        threshold_value: Nullable(Type.Number()),
        acknowledged_by: Nullable(Type.String()),
        acknowledged_at: Nullable(Time),
        next_escalation_at: Nullable(Time),
        clears_below: Nullable(Type.Number()),
        clears_above: Nullable(Type.Number()),
        flapping: Type.Boolean(),
      }),
    ),
    alert_counts: Nullable(
      Type.Object({
        active: Type.Integer(),
        acknowledged: Type.Integer(),
        silenced: Type.Integer(),
        resolved_today: Type.Integer(),
        rules: Type.Integer(),
      }),
    ),
    monitoring_active: Type.Boolean(),
    optimization_active: Type.Boolean(),
    instances: Type.Object({
      current: Nullable(Type.Integer()),
      target: Nullable(Type.Integer()),
      last_decision: Nullable(
        Type.Object({
          id: Type.String(),
          action: Type.Enum(['scale_up', 'scale_down', 'maintain']),
          target_instances: Type.Integer(),
          current_instances: Type.Integer(),
          reason: Type.String(),
          created_at: Time,
          status: Type.String(),
        }),
      ),
    }),
    processes: Type.Array(
      Type.Object({
        id: Type.String(),
        kind: Type.String(),
        state: Type.String(),
        started_at: Nullable(Time),
        restarts: Type.Integer(),
        last_exit: Nullable(Type.String()),
      }),
    ),
    engines: Type.Array(
      Type.Object({
        name: Type.String(),
        state: Type.Union([
          Type.Literal('active'),
          Type.Literal('silent'),
          Type.Literal('stopped'),
          Type.Literal('not_installed'),
        ]),
        last_activity: Nullable(Time),
      }),
    ),
    interval: Type.Number({ description: 'Seconds between two collections.' }),
    fresh_for: Type.Number({ description: 'Seconds after which a metric without a sample has no data.' }),
    problem: Nullable(Type.String()),
    active_connections: Type.Integer({ minimum: 0 }),
  }),
)

export function dashboardRoutes(deps: DashboardRoutesDeps): Route[] {
  const { dashboard, clock } = deps
  const assets = deps.assets ?? loadAssets()

  return [
    ...PAGES.map((path) =>
      foreignRoute({
        method: 'GET',
        path,
        access: 'open',
        tag: TAG,
        summary: 'The page',
        documented: path.startsWith(BASE),
        foreign: () => page(assets),
      }),
    ),
    foreignRoute({
      method: 'GET',
      path: '/assets/:name',
      access: 'open',
      tag: TAG,
      summary: 'A script or style of the page',
      documented: false,
      foreign: ({ params, headers }) => asset(assets, params.name ?? '', headers['accept-encoding']),
    }),
    route({
      method: 'GET',
      path: `${BASE}/dashboard/summary`,
      access: 'viewer',
      tag: TAG,
      summary: 'Figures, trends, headline, insights and alerts as the page shows them now',
      data: Summary,
      handler: async () => ({ data: await dashboard.summary() }),
    }),
    route({
      method: 'GET',
      path: `${BASE}/events`,
      access: 'viewer',
      tag: TAG,
      summary: 'What happened to the platform: restarts of processes, newest first',
      query: Type.Object({
        since: Type.Optional(Type.String({ description: 'ISO 8601; a day before `until` unless given.' })),
        until: Type.Optional(Type.String({ description: 'ISO 8601; now unless given.' })),
        type: Type.Optional(Type.String({ maxLength: 64 })),
        limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100 }),
      }),
      data: Type.Array(Event),
      handler({ query }) {
        const until = time('until', query.until) ?? clock.now()
        const since = time('since', query.since) ?? until - DAY
        const events = dashboard.events(since, until, query.type ?? null)
        return { data: events.reverse().slice(0, query.limit) }
      },
    }),
    {
      method: 'SOCKET',
      path: `${BASE}/ws`,
      access: 'viewer',
      tag: TAG,
      summary: 'A snapshot, then one update each period',
      socket(socket, { url }) {
        const range = new URL(url, 'http://platform').searchParams.get('range')
        dashboard.connect(socket, isRange(range) ? range : DEFAULT_RANGE)
      },
    },
  ]
}

function time(name: string, text: string | undefined): Millis | null {
  if (text === undefined) return null
  const at = fromIso(text)
  if (at === null) throw badRequest(`${name}: expected a time like 2026-01-31T09:30:00.000Z`)
  return at
}

function page(assets: WebAssets): RawReply {
  if (assets.shell === null)
    throw unavailable('The page was not built; run the build and start again.', 60, 'page_missing')
  return {
    status: 200,
    headers: { ...SECURITY, 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache' },
    body: assets.shell,
  }
}

function asset(assets: WebAssets, name: string, accept: string | string[] | undefined): RawReply {
  const found = assets.files.get(name)
  if (!found) throw notFound('asset_not_found', 'There is no such file.')
  const { body, encoding } = negotiated(found, String(accept ?? ''))
  return {
    status: 200,
    headers: {
      'content-type': found.type,
      'cache-control': 'public, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      vary: 'accept-encoding',
      ...(encoding ? { 'content-encoding': encoding } : {}),
    },
    body,
  }
}
