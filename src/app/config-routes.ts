/** The API of configuration, for admins: every effective value and its source, changes, versions, the audit. */
import Type from 'typebox'
import type { Clock } from '../base/clock.ts'
import type { Config } from '../config/index.ts'
import type { RequestContext, Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import type { AuditRow } from '../storage/audit.ts'
import type { ConfigStore } from './config-store.ts'

export interface ConfigRoutesDeps {
  readonly config: Config
  readonly store: ConfigStore
  readonly clock: Clock
  /** Rows of every audit, newest first. */
  audit(limit: number, before?: string): AuditRow[]
}

const Time = Type.String({ format: 'date-time' })
const Comment = Type.String({ maxLength: 500, default: '', description: 'Why: somebody will ask.' })
const Value = Type.Object({
  path: Type.String(),
  value: Type.Unknown({ description: 'Secrets are "***".' }),
  value_set: Type.Optional(Type.Boolean({ description: 'For secrets: whether there is one.' })),
  source: Type.Enum(['default', 'file', '.env', 'environment', 'api']),
  detail: Type.String({ description: 'The line, the variable, or the version that set it.' }),
  default: Type.Unknown(),
  expected: Type.String(),
  help: Type.String(),
  live: Type.Boolean({ description: 'Can be changed here, without a restart.' }),
  secret: Type.Boolean(),
  variable: Type.Union([Type.String(), Type.Null()]),
  file: Type.String(),
})
const Version = Type.Object({
  version: Type.Integer(),
  at: Time,
  by: Type.String(),
  comment: Type.String(),
  changes: Type.Array(Type.Object({ path: Type.String(), from: Type.Unknown(), to: Type.Unknown() })),
})
const Audit = Type.Object({
  id: Type.String(),
  at: Time,
  who: Type.String(),
  deed: Type.String(),
  what: Type.String(),
  detail: Type.Record(Type.String(), Type.Unknown()),
})
const Limit = Type.Integer({ minimum: 1, maximum: 1000, default: 50 })

export function configRoutes({ config, store, clock, audit }: ConfigRoutesDeps): Route[] {
  const options = (request: RequestContext<unknown, unknown, { comment: string }>) => ({
    by: request.principal!.name,
    comment: request.body.comment,
    now: clock.now(),
    ifMatch: request.ifMatch,
    claim: request.claim,
  })
  return [
    route({
      method: 'GET',
      path: '/api/v1/config',
      access: 'admin',
      tag: 'configuration',
      summary: 'Every effective value and where it came from',
      data: Type.Object({ version: Type.Integer(), values: Type.Array(Value) }),
      handler: () => ({
        data: { version: config.current.version, values: config.describe() },
        headers: { etag: `"${config.current.version}"` },
      }),
    }),
    route({
      method: 'PUT',
      path: '/api/v1/config',
      access: 'admin',
      tag: 'configuration',
      summary: 'Change values while running; null takes a change back. If-Match holds the version',
      body: Type.Object({
        changes: Type.Record(Type.String(), Type.Unknown(), {
          minProperties: 1,
          maxProperties: 200,
          description: 'Path to value, such as {"log.level": "debug"}.',
        }),
        comment: Comment,
      }),
      data: Version,
      handler(request) {
        const version = store.change(request.body.changes, options(request))
        return { data: version, message: `The configuration is at version ${version.version}.` }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/config/versions',
      access: 'admin',
      tag: 'configuration',
      summary: 'Changes, newest first: who, when, why, from what to what',
      query: Type.Object({ limit: Limit, cursor: Type.Optional(Type.Integer({ minimum: 1 })) }),
      data: Type.Object({ versions: Type.Array(Version), next_cursor: Type.Optional(Type.String()) }),
      handler({ query }) {
        const versions = store.versions(query.limit, query.cursor)
        const last = versions.at(-1)?.version
        const more = versions.length === query.limit && last !== undefined && last > 1
        return { data: { versions, ...(more ? { next_cursor: String(last) } : {}) } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/config/rollback',
      access: 'admin',
      tag: 'configuration',
      summary: 'Take the values of an earlier version again, as a new version; 0 takes back every change',
      idempotent: true,
      body: Type.Object({ version: Type.Integer({ minimum: 0 }), comment: Comment }),
      data: Version,
      handler(request) {
        const version = store.rollback(request.body.version, options(request))
        return { data: version, message: `The configuration is at version ${version.version}.` }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/audit',
      access: 'admin',
      tag: 'configuration',
      summary: 'Who did what: tokens, sessions, configuration; newest first',
      query: Type.Object({ limit: Limit, cursor: Type.Optional(Type.String({ pattern: '^[0-9a-z]{26}$' })) }),
      data: Type.Object({ entries: Type.Array(Audit), next_cursor: Type.Optional(Type.String()) }),
      handler({ query }) {
        const entries = audit(query.limit, query.cursor)
        const last = entries.at(-1)?.id
        return { data: { entries, ...(entries.length === query.limit && last ? { next_cursor: last } : {}) } }
      },
    }),
  ]
}
