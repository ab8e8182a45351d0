/** Rules: written, tried over history, tested. */
import Type from 'typebox'
import { invalid, notFound } from '../../base/errors.ts'
import { DAY, toIso } from '../../base/time.ts'
import type { Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { canonicalName } from '../../metrics/index.ts'
import type { Rule } from '../rule.ts'
import {
  BacktestSchema,
  backtestJson,
  draftOf,
  patchOf,
  RuleChange,
  RuleCreate,
  RuleId,
  RuleSchema,
  ruleJson,
  SuggestionSchema,
  suggestionJson,
  Time,
} from '../schemas.ts'
import { type AlertingRoutesDeps, base, Count, doing, etag, period, RuleIdParam, tag } from '../surface.ts'
import { complete } from './rules.ts'

export function ruleRoutes(deps: AlertingRoutesDeps): Route[] {
  const { engine, rules } = deps
  const { clock } = deps.scheduler
  const mustFindRule = (id: string): Rule => {
    const rule = rules.get(id)
    if (!rule) throw notFound('rule_not_found', `There is no rule ${id}.`)
    return rule
  }
  /** Throws 422 for an expression that PromQL does not know. */
  const mustRead = async (expr: string | null | undefined) => {
    const problem = expr ? await deps.checkExpr(expr) : null
    if (problem !== null) throw invalid([{ path: 'expr', message: problem }])
  }
  return [
    route({
      method: 'GET',
      path: `${base}/rules`,
      access: 'viewer',
      tag,
      summary: 'All rules',
      query: Type.Object({ enabled_only: Type.Boolean({ default: false }) }),
      data: Type.Object({ rules: Type.Array(RuleSchema), total_count: Count }),
      handler({ query }) {
        const found = rules.all().filter((rule) => rule.enabled || !query.enabled_only)
        return { data: { rules: found.map(ruleJson), total_count: found.length } }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/rules`,
      access: 'admin',
      tag,
      summary: 'Makes a rule',
      idempotent: true,
      status: 201,
      body: RuleCreate,
      data: RuleSchema,
      async handler(request) {
        await mustRead(request.body.expr)
        const rule = engine.createRule(draftOf(request.body), doing(request))
        const message = `The rule ${rule.id} is made.`
        return { status: 201, data: ruleJson(rule), message, headers: etag(rule.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/rules/:id`,
      access: 'viewer',
      tag,
      summary: 'One rule',
      params: RuleIdParam,
      data: RuleSchema,
      handler({ params }) {
        const rule = mustFindRule(params.id)
        return { data: ruleJson(rule), headers: etag(rule.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/rules/:id/versions`,
      access: 'viewer',
      tag,
      summary: 'What a rule was, newest first',
      params: RuleIdParam,
      data: Type.Object({
        versions: Type.Array(
          Type.Object({
            version: Type.Integer(),
            at: Time,
            by: Type.String(),
            rule: Type.Union([RuleSchema, Type.Null()], { description: 'Null: deleted.' }),
          }),
        ),
      }),
      handler({ params }) {
        const versions = rules.versions(params.id)
        if (versions.length === 0) mustFindRule(params.id)
        return {
          data: {
            versions: versions.map(({ version, at, by, rule }) => {
              return { version, at: toIso(at), by, rule: rule && ruleJson(rule) }
            }),
          },
        }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/rules/:id`,
      access: 'admin',
      tag,
      summary: 'Changes fields of a rule; what it watched anew ends its alerts with the reason rule_edited',
      params: RuleIdParam,
      body: RuleChange,
      data: RuleSchema,
      async handler(request) {
        const { params, body, ifMatch } = request
        await mustRead(body.expr)
        const patch = patchOf(body, mustFindRule(params.id))
        const rule = engine.changeRule(params.id, patch, ifMatch ?? body.version ?? null, doing(request))
        return { data: ruleJson(rule), message: `The rule ${rule.id} is changed.`, headers: etag(rule.version) }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/rules/:id`,
      access: 'admin',
      tag,
      summary: 'Deletes a rule; its alerts end with that reason',
      params: RuleIdParam,
      handler(request) {
        engine.deleteRule(request.params.id, request.ifMatch, doing(request))
        return { message: `The rule ${request.params.id} is deleted.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/rules/backtest`,
      access: 'viewer',
      tag,
      summary: 'When a rule would have fired, with what notices, next to the stored rule of that id',
      body: Type.Object({
        rule: Type.Object({
          ...RuleChange.properties,
          id: Type.Optional(RuleId),
        }),
        since: Type.Optional(Time),
        until: Type.Optional(Time),
      }),
      data: BacktestSchema,
      async handler({ body, signal }) {
        await mustRead(body.rule.expr)
        const now = clock.now()
        const { since = now - 7 * DAY, until = now } = period(body)
        if (until <= since) throw invalid([{ path: 'until', message: 'must be after since' }])
        if (until - since > 35 * DAY) throw invalid([{ path: 'since', message: 'at most 35 days before until' }])
        const stored = body.rule.id === undefined ? null : rules.get(body.rule.id)
        const patch = patchOf(body.rule, stored)
        const meant: Rule = stored
          ? merged(stored, patch)
          : complete(
              {
                ...patch,
                id: body.rule.id ?? 'not-stored',
                name: body.rule.name ?? body.rule.metric_name ?? 'Not stored',
                description: body.rule.description ?? '',
                severity: body.rule.severity ?? 'warning',
              },
              now,
            )
        engine.checkRule(meant)
        return { data: backtestJson(await deps.backtest({ rule: meant, stored, since, until, signal })) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/suggested-threshold`,
      access: 'viewer',
      tag,
      summary: 'A threshold for a metric from its history, with the alerts a week to expect',
      query: Type.Object({
        metric_name: Type.String({ minLength: 1, maxLength: 200 }),
        condition: Type.Enum(['gt', 'lt'], { default: 'gt' }),
        for: Type.Number({ minimum: 0, maximum: 7 * 86_400, default: 0, description: 'Seconds.' }),
        days: Type.Integer({ minimum: 1, maximum: 35, default: 7, description: 'How far back to look.' }),
        labels: Type.Optional(Type.String({ maxLength: 4096, description: 'A JSON object, as in a rule.' })),
      }),
      data: SuggestionSchema,
      async handler({ query, signal }) {
        const wish = patchOf(
          {
            metric_name: query.metric_name,
            condition: query.condition,
            threshold: 0,
            for: query.for,
            ...readLabels(query.labels),
          },
          null,
        )
        const rule = complete(
          { ...wish, id: 'not-stored', name: 'Not stored', description: '', severity: 'warning' },
          clock.now(),
        )
        engine.checkRule(rule)
        const until = clock.now()
        const suggestion = await deps.suggest({ rule, since: until - query.days * DAY, until, signal })
        return { data: { metric_name: canonicalName(query.metric_name), ...suggestionJson(suggestion) } }
      },
    }),
  ]
}

/** As a change of the stored rule would make it. */
function merged(stored: Rule, patch: Partial<Rule>): Rule {
  const follows = patch.threshold !== undefined && patch.recoveryThreshold === undefined
  return {
    ...stored,
    ...patch,
    ...(follows && stored.recoveryThreshold === stored.threshold ? { recoveryThreshold: patch.threshold! } : {}),
    ...(patch.metricName === undefined ? {} : { metricName: canonicalName(patch.metricName) }),
  }
}

function readLabels(text: string | undefined) {
  if (text === undefined) return {}
  const wrong = () => invalid([{ path: 'labels', message: 'expected a JSON object: name → value or {"regex": …}' }])
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw wrong()
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong()
  const labels: Record<string, string | { regex: string }> = {}
  for (const [name, match] of Object.entries(value)) {
    const regex = (match as { regex?: unknown } | null)?.regex
    if (typeof match === 'string') labels[name] = match
    else if (typeof regex === 'string' && Object.keys(match as object).length === 1) labels[name] = { regex }
    else throw wrong()
  }
  return { labels }
}
