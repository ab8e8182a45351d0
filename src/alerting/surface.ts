/** What the routes of alerting have in common. */
import Type from 'typebox'
import { type FieldError, invalid } from '../base/errors.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Millis } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import type { Claim } from '../storage/idempotency.ts'
import type { AlertingConfig } from './config.ts'
import type { Doing, Engine } from './engine.ts'
import type { Alerting, AlertingHealth, Delivery, PostedAlerts } from './index.ts'
import { SEVERITIES, type Severity } from './rule.ts'
import type { Rules } from './rules/rules.ts'
import { ChannelId, RuleId, time } from './schemas.ts'
import type { AlertStore } from './store.ts'

/** What the routes of alerting work with. */
export interface AlertingRoutesDeps {
  readonly db: Database
  readonly engine: Engine
  readonly store: AlertStore
  readonly rules: Rules
  readonly delivery: Delivery
  readonly explain: Alerting['explain']
  readonly backtest: Alerting['backtest']
  readonly suggest: Alerting['suggest']
  readonly checkExpr: Alerting['checkExpr']
  readonly posted: PostedAlerts
  readonly scheduler: Scheduler
  readonly config: () => AlertingConfig
  readonly version: string
  readonly startedAt: Millis
  readonly health: () => AlertingHealth
  /** Whether forecasts are made: rules of the mode forecast are still without them. */
  readonly mlEnabled: () => boolean
}

export const base = '/api/v1/intelligent-alerting'
export const tag = 'alerting'

export const Id = Type.Object({ id: Type.String({ minLength: 1, maxLength: 64 }) })
export const RuleIdParam = Type.Object({ id: RuleId })
export const ChannelIdParam = Type.Object({ id: ChannelId })
export const Limit = Type.Integer({ minimum: 1, maximum: 1000, default: 50 })
export const Cursor = Type.Optional(Type.String({ maxLength: 500 }))
export const Count = Type.Integer({ minimum: 0 })
export const BySeverity = Type.Object({ info: Count, warning: Count, critical: Count, emergency: Count })
export const etag = (version: number) => ({ etag: `"${version}"` })

/** Who asks, and the key by which a repetition of the request is known. */
export function doing({ principal, claim }: { principal: { name: string } | null; claim: Claim | null }): Doing {
  return { by: principal!.name, claim }
}

export const unique = <T>(values: readonly T[]): T[] => [...new Set(values)]

export function period(query: { since?: string; until?: string }): { since?: Millis; until?: Millis } {
  const problems: FieldError[] = []
  const since = query.since === undefined ? {} : { since: time(query.since, 'since', problems) }
  const until = query.until === undefined ? {} : { until: time(query.until, 'until', problems) }
  if (problems.length > 0) throw invalid(problems)
  return { ...since, ...until }
}

/** Alerts of all severities. */
export const sum = (bySeverity: Readonly<Record<Severity, number>>) => SEVERITIES.reduce((n, s) => n + bySeverity[s], 0)
