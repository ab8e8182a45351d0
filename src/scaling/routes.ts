/**
 * The API of scaling, contract 4. Viewers read; operators scale by hand, pause and start or stop; admins change
 * policies. A write and the answer given to its `Idempotency-Key` commit in one transaction.
 */
import Type, { type Static } from 'typebox'
import { type FieldError, invalid, notFound } from '../base/errors.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { DAY, fromIso, HOUR, MINUTE, type Millis, SECOND, toIso } from '../base/time.ts'
import type { Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import { canonicalName } from '../metrics/index.ts'
import { audit } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import { once, onceLong, type Running } from '../storage/idempotency.ts'
import type { ScalingConfig } from './config.ts'
import type { Scaling } from './index.ts'
import { boundsOf } from './limits.ts'
import type { Manager, TargetView } from './manager.ts'
import type { Action, Policy } from './model.ts'
import { type Policies, policyDefaults, policyProblems } from './policies.ts'
import {
  ActionSchema,
  bareJson,
  Count,
  DecisionSchema,
  decisionJson,
  InstanceSchema,
  instanceJson,
  iso,
  Line,
  NullableCount,
  NullableNumber,
  NullableText,
  NullableTime,
  type PolicyBody,
  PolicyChange,
  PolicyCreate,
  PolicyName,
  PolicySchema,
  patchOf,
  planJson,
  policyJson,
  RecommendationSchema,
  recommendationJson,
  SimulationSchema,
  simulationJson,
  TargetName,
  TargetSchema,
  Time,
  TraceSchema,
  targetJson,
  traceJson,
} from './schemas.ts'
import type { DecisionFilter, ScalingStore } from './store.ts'
import { MARKET } from './targets.ts'

export interface ScalingRoutesDeps {
  readonly db: Database
  readonly manager: Manager
  readonly policies: Policies
  readonly store: ScalingStore
  readonly config: () => ScalingConfig
  readonly scheduler: Scheduler
  readonly timeline: Scaling['timeline']
  readonly simulate: Scaling['simulate']
  readonly recommendations: Scaling['recommendations']
  readonly grade: Scaling['grade']
}

const base = '/api/v1/auto-scaling'
const tag = 'scaling'
const NameParam = Type.Object({ name: PolicyName })
const TargetQuery = Type.Optional(TargetName)
const etag = (version: number) => ({ etag: `"${version}"` })
const PERIOD_MS = 7 * DAY

export function scalingRoutes(deps: ScalingRoutesDeps): Route[] {
  return [
    ...engineRoutes(deps),
    ...judgingRoutes(deps),
    ...policyRoutes(deps),
    ...decisionRoutes(deps),
    ...actingRoutes(deps),
  ]
}

/** Throws 422 for a target that is not there. */
function targetOf({ manager }: ScalingRoutesDeps, name: string | undefined, path = 'target'): string {
  const wanted = name ?? MARKET
  const names = manager.targets()
  if (!names.includes(wanted)) throw invalid([{ path, message: `must be one of ${names.join(', ')}` }])
  return wanted
}

const limitsOf = ({ manager, policies }: ScalingRoutesDeps, name: string) => {
  const enabled = policies.all().filter((policy) => policy.target === name && policy.enabled)
  const { min, max } = boundsOf(manager.settings(name), enabled)
  return { min, max }
}

// ----------------------------------------------------------------------------------------------------- engine

const MetricsSchema = Type.Object({
  scaling_actions_taken: Count,
  successful_scales: Count,
  failed_scales: Count,
  average_scale_time: Type.Number({
    description: 'Seconds from the decision until all are ready; 0 before the first.',
  }),
  cost_savings: Type.Union([Type.Number(), Type.Null()], {
    description:
      'In money over 7 days against standing at the maximum; null without a currency or before there are hours.',
  }),
  success_rate: Type.Number({
    minimum: 0,
    maximum: 100,
    description: 'Of those that came to an end: what was superseded or is under way counts as neither.',
  }),
})

const UsageSchema = Type.Object({
  since: Time,
  instance_hours: Type.Number(),
  baseline_hours: Type.Number({ description: 'Had the most that is allowed stood there all the time.' }),
  saved_percent: NullableNumber,
  cost: Type.Union([Type.Number(), Type.Null()], { description: 'Null without a currency.' }),
  baseline_cost: NullableNumber,
})

function engineRoutes(deps: ScalingRoutesDeps): Route[] {
  const { manager, policies, store, config, scheduler } = deps
  const { clock } = scheduler

  function usage(view: TargetView, since: Millis, now: Millis) {
    const { instanceHours, maximumHours } = store.usage(view.target.name, since, now)
    const { pricePerInstanceHour: price, currency } = view.target.economics
    const money = (hours: number) => (currency === null ? null : hours * price)
    return {
      since: toIso(since),
      instance_hours: instanceHours,
      baseline_hours: maximumHours,
      saved_percent: maximumHours > 0 ? 100 * (1 - instanceHours / maximumHours) : null,
      cost: money(instanceHours),
      baseline_cost: money(maximumHours),
    }
  }

  /** `of`: the target whose actions count; null: those of all. */
  function figures(view: TargetView, of: string | null, now: Millis) {
    const { taken, successful, failed, averageMs } = store.figures(of, now - PERIOD_MS)
    const { cost, baseline_cost } = usage(view, now - PERIOD_MS, now)
    return {
      scaling_actions_taken: taken,
      successful_scales: successful,
      failed_scales: failed,
      average_scale_time: (averageMs ?? 0) / SECOND,
      cost_savings: cost === null || baseline_cost === null ? null : baseline_cost - cost,
      success_rate: successful + failed === 0 ? 100 : (100 * successful) / (successful + failed),
    }
  }

  const lastAction = (policy: Policy) => manager.state(policy.target).policies[policy.name]?.lastActionAt ?? null

  return [
    route({
      method: 'POST',
      path: `${base}/start-scaling`,
      access: 'operator',
      tag,
      summary: 'Starts the evaluation of policies; it stays on over restarts',
      data: Type.Object({ changed: Type.Boolean() }),
      async handler({ principal }) {
        const changed = await manager.setActive(true)
        if (changed) audit(deps.db, clock.now(), { who: principal!.name, deed: 'scaling.started', what: 'scaling' })
        return { data: { changed }, message: changed ? 'Scaling is started.' : 'Scaling was running already.' }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/stop-scaling`,
      access: 'operator',
      tag,
      summary: 'Stops the evaluation of policies after the running cycle; running instances stay',
      data: Type.Object({ changed: Type.Boolean() }),
      async handler({ principal }) {
        const changed = await manager.setActive(false)
        if (changed) audit(deps.db, clock.now(), { who: principal!.name, deed: 'scaling.stopped', what: 'scaling' })
        const message = changed ? 'Scaling is stopped; running instances stay.' : 'Scaling was stopped already.'
        return { data: { changed }, message }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/summary`,
      access: 'viewer',
      tag,
      summary: 'How scaling stands: instances, policies, plan, hours and money',
      query: Type.Object({ target: TargetQuery }),
      data: Type.Object({
        timestamp: Time,
        scaling_active: Type.Boolean(),
        target: TargetName,
        current_instances: NullableCount,
        target_instances: NullableCount,
        policies: Type.Record(
          Type.String(),
          Type.Object({
            enabled: Type.Boolean(),
            metric_name: Type.String(),
            scale_up_threshold: Type.Number(),
            scale_down_threshold: Type.Number(),
            min_instances: Count,
            max_instances: Count,
            cooldown_period: Type.Number(),
            last_action_time: NullableTime,
            current_value: NullableNumber,
            predictive: Type.String(),
          }),
        ),
        recent_decisions: Type.Array(DecisionSchema),
        metrics: MetricsSchema,
        config: Type.Object({
          default_min_instances: Count,
          default_max_instances: Count,
          default_cooldown: Type.Number(),
          scaling_factor: Type.Number(),
          prediction_horizon: Type.Number(),
          confidence_threshold: Type.Number(),
          evaluation_interval: Type.Number(),
        }),
        provider: Type.Object({
          kind: Type.String(),
          state: Type.Enum(['healthy', 'degraded', 'unknown']),
          detail: NullableText,
        }),
        limits: Type.Object({ min: Count, max: Count }),
        limit_ms: Type.Number(),
        demand: Type.Object({ metric: Type.String(), value: NullableNumber, unit: Type.String() }),
        capacity_per_instance: Type.Object({ value: NullableNumber, unit: Type.String() }),
        plan: Type.Array(Type.Object({ t: Time, instances: Type.Number() })),
        ready_in: Type.Union([Type.Number(), Type.Null()], {
          description: 'Seconds until what is being started is ready, as learnt; null when nothing is.',
        }),
        usage: Type.Object({ today: UsageSchema, yesterday: UsageSchema, period: UsageSchema }),
        price_per_instance_hour: NullableNumber,
        currency: NullableText,
        pause: Type.Union([
          Type.Object({ until: NullableTime, by: Type.String(), reason: Type.String() }),
          Type.Null(),
        ]),
        hold: Type.Union([
          Type.Object({ target_instances: Count, until: Time, by: Type.String(), reason: Type.String() }),
          Type.Null(),
        ]),
        last_decision: Type.Union([DecisionSchema, Type.Null()]),
        last_change: Type.Union([DecisionSchema, Type.Null()]),
        targets: Type.Array(TargetSchema),
      }),
      handler({ query }) {
        const now = clock.now()
        const name = targetOf(deps, query.target)
        const view = manager.view(name)
        const { observed, target, last } = view
        const { pause, hold } = manager.settings(name)
        const settings = config()
        const today = Math.floor(now / DAY) * DAY
        const mine = policies.all().filter((policy) => policy.target === name)
        const starting = (observed?.starting ?? 0) > 0
        const since = view.awaiting?.since ?? view.cycleAt ?? now
        const state: 'healthy' | 'degraded' | 'unknown' =
          observed === null ? 'unknown' : view.problem === null ? 'healthy' : 'degraded'
        return {
          data: {
            timestamp: toIso(now),
            scaling_active: manager.active,
            target: name,
            current_instances: observed?.ready ?? null,
            target_instances: view.wanted,
            policies: Object.fromEntries(
              mine.map((policy) => [
                policy.name,
                {
                  enabled: policy.enabled,
                  metric_name: policy.metricName,
                  scale_up_threshold: policy.scaleUpThreshold,
                  scale_down_threshold: policy.scaleDownThreshold,
                  min_instances: policy.minInstances,
                  max_instances: policy.maxInstances,
                  cooldown_period: policy.cooldownPeriod,
                  last_action_time: iso(lastAction(policy)),
                  current_value: view.seen?.metrics[policy.metricName] ?? null,
                  predictive: policy.predictive,
                },
              ]),
            ),
            recent_decisions: store.decisions({ target: name, since: now - HOUR, limit: 100 }).map(decisionJson),
            metrics: figures(view, query.target ?? null, now),
            config: {
              default_min_instances: settings.minInstances,
              default_max_instances: settings.maxInstances,
              default_cooldown: settings.cooldownPeriod,
              scaling_factor: 0.5,
              prediction_horizon: 300,
              confidence_threshold: 0.7,
              evaluation_interval: settings.evaluationInterval,
            },
            provider: {
              kind: target.driver === 'platform' ? 'process' : target.driver,
              state,
              detail: view.problem,
            },
            limits: limitsOf(deps, name),
            limit_ms: target.limitMs,
            demand: { metric: target.demand, value: view.seen?.demand ?? null, unit: 'req/s' },
            capacity_per_instance: { value: last?.capacityPerInstance ?? null, unit: 'req/s' },
            plan: planJson(last),
            ready_in: starting && last ? Math.max(0, since + last.startUpMs - now) / SECOND : null,
            usage: {
              today: usage(view, today, now),
              yesterday: usage(view, today - DAY, now - DAY),
              period: usage(view, now - PERIOD_MS, now),
            },
            price_per_instance_hour: target.economics.currency === null ? null : target.economics.pricePerInstanceHour,
            currency: target.economics.currency,
            pause: pause && { until: iso(pause.until), by: pause.by, reason: pause.reason },
            hold: hold && { target_instances: hold.wanted, until: toIso(hold.until), by: hold.by, reason: hold.reason },
            last_decision: store.decisions({ target: name, limit: 1 }).map(decisionJson)[0] ?? null,
            last_change: store.decisions({ target: name, only: 'changes', limit: 1 }).map(decisionJson)[0] ?? null,
            targets: manager.targets().map((one) => targetJson(manager.view(one), limitsOf(deps, one))),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/timeline`,
      access: 'viewer',
      tag,
      summary: 'Demand, capacity and instances over time, with what is forecast and planned',
      query: Type.Object({
        target: TargetQuery,
        since: Type.Optional(Time),
        until: Type.Optional(Time),
        step: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400, description: 'Seconds.' })),
      }),
      data: TimelineSchema,
      async handler({ query }) {
        const name = targetOf(deps, query.target)
        const now = clock.now()
        const { since = now - 4 * HOUR, until = now } = period(query)
        if (until <= since) throw invalid([{ path: 'until', message: 'must be after since' }])
        const stepMs = query.step === undefined ? niceStep(until - since) : query.step * SECOND
        if ((until - since) / stepMs > POINTS_MAX) {
          throw invalid([
            { path: 'step', message: `must be at least ${Math.ceil((until - since) / stepMs / POINTS_MAX)}` },
          ])
        }
        const points = await deps.timeline(name, Math.ceil(since / stepMs) * stepMs, until, stepMs)
        const { last } = manager.view(name)
        return {
          data: {
            step: stepMs / SECOND,
            points: points.map(({ at, ...values }) => ({ t: toIso(at), ...values })),
            forecast: (last?.forecast ?? []).map(({ at, value, lower, upper, coverage }) => {
              return { target_time: toIso(at), value, lower, upper, coverage }
            }),
            plan: planJson(last),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/metrics`,
      access: 'viewer',
      tag,
      summary: 'What became of the actions of the last 7 days',
      query: Type.Object({ target: TargetQuery }),
      data: MetricsSchema,
      handler({ query }) {
        const view = manager.view(targetOf(deps, query.target))
        return { data: figures(view, query.target ?? null, clock.now()) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/health`,
      access: 'viewer',
      tag,
      summary: 'Whether scaling works, and what it cannot do now',
      data: Type.Object({
        scaling_active: Type.Boolean(),
        current_instances: NullableCount,
        target_instances: NullableCount,
        active_policies: Count,
        total_policies: Count,
        recent_decisions: Count,
        status: Type.Enum(['healthy', 'degraded', 'inactive']),
        problems: Type.Array(Type.String()),
        last_cycle: NullableTime,
      }),
      handler() {
        const market = manager.view(MARKET)
        const all = policies.all()
        const problems = scalingProblems(manager, config(), clock.now())
        const status = !manager.active ? 'inactive' : problems.length > 0 ? 'degraded' : 'healthy'
        return {
          data: {
            scaling_active: manager.active,
            current_instances: market.observed?.ready ?? null,
            target_instances: market.wanted,
            active_policies: all.filter((policy) => policy.enabled).length,
            total_policies: all.length,
            recent_decisions: store.decisionsSince(clock.now() - HOUR),
            status: status as 'healthy' | 'degraded' | 'inactive',
            problems,
            last_cycle: iso(manager.lastCycle),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/instances`,
      access: 'viewer',
      tag,
      summary: 'Each real instance, as its provider tells it',
      query: Type.Object({ target: TargetQuery }),
      data: Type.Array(InstanceSchema),
      handler({ query }) {
        const names = query.target === undefined ? manager.targets() : [targetOf(deps, query.target)]
        const data = names.flatMap((name) =>
          (manager.view(name).observed?.instances ?? []).map((one) => instanceJson(one, name)),
        )
        return { data }
      },
    }),
  ]
}

const POINTS_MAX = 2000
const POINTS_WANTED = 240
const STEPS_S = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400]

function niceStep(spanMs: Millis): Millis {
  return (STEPS_S.find((step) => spanMs / SECOND / step <= POINTS_WANTED) ?? 86_400) * SECOND
}

const TimelineSchema = Type.Object({
  step: Type.Number({ description: 'Seconds.' }),
  points: Type.Array(
    Type.Object({
      t: Time,
      demand: NullableNumber,
      ready: NullableNumber,
      wanted: NullableNumber,
      capacity: Type.Union([Type.Number(), Type.Null()], {
        description: 'What the ready instances served within the limit, as learnt by then.',
      }),
    }),
  ),
  forecast: TraceSchema.properties.forecast,
  plan: TraceSchema.properties.plan,
})

const LATE_CYCLES = 3

/** A sentence for each thing that is not as it should be. */
export function scalingProblems(manager: Manager, config: ScalingConfig, now: Millis): string[] {
  const views = manager.targets().map((name) => manager.view(name))
  const problems = views.flatMap(({ target, problem }) => (problem === null ? [] : [`${target.name}: ${problem}`]))
  const { lastCycle } = manager
  const late = lastCycle === null ? 0 : (now - lastCycle) / SECOND
  if (manager.active && late > LATE_CYCLES * config.evaluationInterval + MINUTE / SECOND) {
    problems.push(`No evaluation for ${Math.round(late)} s.`)
  }
  return problems
}

// --------------------------------------------------------------------------------------------------- policies

function policyRoutes(deps: ScalingRoutesDeps): Route[] {
  const { db, manager, policies, config, scheduler } = deps
  const { clock } = scheduler
  const json = (policy: Policy) =>
    policyJson(policy, manager.state(policy.target).policies[policy.name]?.lastActionAt ?? null)
  return [
    route({
      method: 'GET',
      path: `${base}/policies`,
      access: 'viewer',
      tag,
      summary: 'All policies by name',
      data: Type.Object({ policies: Type.Record(Type.String(), PolicySchema), total_policies: Count }),
      handler() {
        const all = policies.all()
        const named = Object.fromEntries(all.map((policy) => [policy.name, json(policy)]))
        return { data: { policies: named, total_policies: all.length } }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/policies`,
      access: 'admin',
      tag,
      summary: 'Makes a policy',
      idempotent: true,
      status: 201,
      body: PolicyCreate,
      data: PolicySchema,
      handler({ body, claim, principal }) {
        const now = clock.now()
        const made = once(db, claim, now, () => {
          const { name, metric_name, scale_up_threshold, scale_down_threshold } = body
          const needed = {
            name,
            metricName: metric_name,
            scaleUpThreshold: scale_up_threshold,
            scaleDownThreshold: scale_down_threshold,
          }
          const meant = { ...policyDefaults(config().cooldownPeriod), ...needed, ...patchOf(body) }
          return json(policies.create(meant, principal!.name, now))
        })
        return { status: 201, data: made, message: `The policy ${made.name} is made.`, headers: etag(made.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/policies/:name`,
      access: 'viewer',
      tag,
      summary: 'One policy',
      params: NameParam,
      data: PolicySchema,
      handler({ params }) {
        const policy = policies.get(params.name)
        if (!policy) throw notFound('policy_not_found', `There is no policy ${params.name}.`)
        return { data: json(policy), headers: etag(policy.version) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/policies/:name/versions`,
      access: 'viewer',
      tag,
      summary: 'What a policy was, newest first',
      params: NameParam,
      data: Type.Object({
        versions: Type.Array(
          Type.Object({
            version: Type.Integer(),
            at: Time,
            by: Type.String(),
            policy: Type.Union([PolicySchema, Type.Null()], { description: 'Null: deleted.' }),
          }),
        ),
      }),
      handler({ params }) {
        const versions = policies.versions(params.name)
        if (versions.length === 0) throw notFound('policy_not_found', `There is no policy ${params.name}.`)
        return {
          data: {
            versions: versions.map(({ version, at, by, policy }) => {
              return { version, at: toIso(at), by, policy: policy && policyJson(policy, null) }
            }),
          },
        }
      },
    }),
    route({
      method: 'PUT',
      path: `${base}/policies/:name`,
      access: 'admin',
      tag,
      summary: 'Changes fields of a policy',
      params: NameParam,
      body: PolicyChange,
      data: PolicySchema,
      handler({ params, body, ifMatch, principal }) {
        if (body.name !== undefined && body.name !== params.name) {
          throw invalid([{ path: 'name', message: 'cannot be changed' }])
        }
        const changed = policies.change(
          params.name,
          patchOf(body),
          ifMatch ?? body.version ?? null,
          principal!.name,
          clock.now(),
        )
        const message = `The policy ${changed.name} is changed.`
        return { data: json(changed), message, headers: etag(changed.version) }
      },
    }),
    route({
      method: 'DELETE',
      path: `${base}/policies/:name`,
      access: 'admin',
      tag,
      summary: 'Deletes a policy; its instances stay',
      params: NameParam,
      handler({ params, ifMatch, principal }) {
        policies.remove(params.name, ifMatch, principal!.name, clock.now())
        return { message: `The policy ${params.name} is deleted.` }
      },
    }),
  ]
}

const SIMULATE_MAX_MS = 35 * DAY

function judgingRoutes(deps: ScalingRoutesDeps): Route[] {
  const { manager, policies, config, scheduler } = deps
  const { clock } = scheduler

  /** A stored policy with what the body changes, or a new one. */
  function meantBy(body: PolicyBody): Policy {
    const stored = body.name === undefined ? null : policies.get(body.name)
    const patch = patchOf(body)
    const { metricName, scaleUpThreshold, scaleDownThreshold } = { ...stored, ...patch }
    const missing: FieldError[] = []
    const needed = (path: string) => {
      missing.push({ path: `policy.${path}`, message: 'is needed' })
      return 0
    }
    const meant: Policy = {
      ...policyDefaults(config().cooldownPeriod),
      ...stored,
      ...patch,
      name: body.name ?? 'not_stored',
      metricName: canonicalName(metricName ?? String(needed('metric_name'))),
      scaleUpThreshold: scaleUpThreshold ?? needed('scale_up_threshold'),
      scaleDownThreshold: scaleDownThreshold ?? needed('scale_down_threshold'),
    }
    const wrong = policyProblems(meant, manager.targets()).map(({ path, message }) => ({
      path: `policy.${path}`,
      message,
    }))
    const problems = missing.length > 0 ? missing : wrong
    if (problems.length > 0) throw invalid(problems)
    return meant
  }

  return [
    route({
      method: 'POST',
      path: `${base}/policies/simulate`,
      access: 'viewer',
      tag,
      summary:
        "What a policy would have done over stored history, next to what happened, Kubernetes' rule and the optimum",
      body: Type.Object({
        policy: PolicyChange,
        since: Type.Optional(Time),
        until: Type.Optional(Time),
      }),
      data: SimulationSchema,
      async handler({ body }) {
        const now = clock.now()
        const { since = now - PERIOD_MS, until = now } = period(body)
        if (until <= since) throw invalid([{ path: 'until', message: 'must be after since' }])
        if (until - since > SIMULATE_MAX_MS) throw invalid([{ path: 'since', message: 'at most 35 days before until' }])
        const policy = meantBy(body.policy)
        return { data: simulationJson(await deps.simulate(policy, since, Math.min(until, now))) }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/recommendations`,
      access: 'viewer',
      tag,
      summary: 'What is worth doing now, with its evidence',
      query: Type.Object({ target: TargetQuery }),
      data: Type.Object({
        recommendations: Type.Array(RecommendationSchema),
        total_recommendations: Count,
        current_instances: NullableCount,
      }),
      handler({ query }) {
        const name = targetOf(deps, query.target)
        const found = deps.recommendations(name).map(recommendationJson)
        const current = manager.view(name).observed?.ready ?? null
        return {
          data: { recommendations: found, total_recommendations: found.length, current_instances: current },
        }
      },
    }),
  ]
}

// -------------------------------------------------------------------------------------------------- decisions

function decisionRoutes(deps: ScalingRoutesDeps): Route[] {
  const { store } = deps
  return [
    route({
      method: 'GET',
      path: `${base}/decisions`,
      access: 'viewer',
      tag,
      summary: 'Decisions, newest first',
      query: Type.Object({
        limit: Type.Integer({ minimum: 1, maximum: 1000, default: 50 }),
        action: Type.Optional(ActionSchema),
        target: TargetQuery,
        only: Type.Optional(
          Type.Enum(['changes', 'held'], { description: 'Those that changed something, or were held back.' }),
        ),
        since: Type.Optional(Time),
        until: Type.Optional(Time),
        cursor: Type.Optional(Type.String({ pattern: '^[0-9a-z]{26}$' })),
      }),
      data: Type.Array(DecisionSchema),
      handler({ query }) {
        const filter: DecisionFilter = {
          limit: query.limit + 1,
          ...(query.action === undefined ? {} : { action: query.action as Action }),
          ...(query.target === undefined ? {} : { target: query.target }),
          ...(query.only === undefined ? {} : { only: query.only as 'changes' | 'held' }),
          ...(query.cursor === undefined ? {} : { before: query.cursor }),
          ...period(query),
        }
        const found = store.decisions(filter)
        const page = found.slice(0, query.limit)
        return {
          data: page.map(decisionJson),
          ...(found.length > query.limit ? { nextCursor: page.at(-1)!.id } : {}),
        }
      },
    }),
    route({
      method: 'GET',
      path: `${base}/decisions/:id`,
      access: 'viewer',
      tag,
      summary: 'One decision with everything it was made from, and what became of it',
      params: Type.Object({ id: Type.String({ minLength: 1, maxLength: 64 }) }),
      data: TraceSchema,
      async handler({ params }) {
        const stored = store.decision(params.id)
        if (!stored) throw notFound('decision_not_found', 'There is no decision of that id.')
        return { data: traceJson(stored, await deps.grade(stored)) }
      },
    }),
  ]
}

export function period(query: { since?: string; until?: string }): { since?: Millis; until?: Millis } {
  const problems: FieldError[] = []
  const read = (name: 'since' | 'until') => {
    const text = query[name]
    if (text === undefined) return {}
    const at = fromIso(text)
    if (at === null) problems.push({ path: name, message: 'must be a time such as 2026-01-05T09:41:02Z' })
    return { [name]: at ?? 0 }
  }
  const found = { ...read('since'), ...read('until') }
  if (problems.length > 0) throw invalid(problems)
  return found
}

// ----------------------------------------------------------------------------------------------------- acting

const MONTH_S = 31 * 86_400

function actingRoutes(deps: ScalingRoutesDeps): Route[] {
  const { db, manager, config, scheduler } = deps
  const { clock } = scheduler
  const evaluating: Running<Static<typeof DecisionSchema>[]> = new Map()
  return [
    route({
      method: 'POST',
      path: `${base}/scale-manual`,
      access: 'operator',
      tag,
      summary: 'Makes it this many; policies may not undo it for a while',
      idempotent: true,
      body: Type.Object({
        target_instances: Type.Integer({ minimum: 0, maximum: 1000 }),
        reason: Type.String({ minLength: 1, maxLength: 1000, default: 'Manual scaling request' }),
        hold_for: Type.Number({ minimum: 0, maximum: MONTH_S, default: 300, description: 'Seconds.' }),
        target: TargetQuery,
      }),
      data: Type.Object({
        target: TargetName,
        target_instances: Count,
        previous_instances: Count,
        reason: Type.String(),
        decision_id: Type.String(),
        state: Type.String(),
        action: ActionSchema,
        constraints: DecisionSchema.properties.constraints,
      }),
      async handler({ body, claim, principal }) {
        const target = targetOf(deps, body.target)
        const wanted = body.target_instances
        const { min, max } = personLimits(deps, target)
        if (wanted < min || wanted > max) {
          throw invalid([
            { path: 'target_instances', message: `must be from ${min} to ${max}, the limits of ${target}` },
          ])
        }
        await manager.refresh(target)
        const now = clock.now()
        const data = once(db, claim, now, () => {
          const by = principal!.name
          const holdMs = body.hold_for * SECOND
          const { id, decision, previous, status } = manager.manual({ target, wanted, reason: body.reason, holdMs, by })
          const detail = { wanted, reason: body.reason, hold_for: body.hold_for, decision: id }
          audit(db, now, { who: by, deed: 'scaling.manual', what: target, detail })
          return {
            target,
            target_instances: decision.wanted,
            previous_instances: previous,
            reason: body.reason,
            decision_id: id,
            state: status as string,
            action: decision.action,
            constraints: decision.held.map((one) => ({ ...one })),
          }
        })
        const same = data.action === 'maintain'
        const count = `${data.target_instances} ${data.target_instances === 1 ? 'instance' : 'instances'}`
        return { data, message: same ? `${target} has ${count} already.` : `${target} goes to ${count}.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/evaluate-scaling`,
      access: 'operator',
      tag,
      summary: 'Evaluates all policies now; a dry run writes and changes nothing',
      idempotent: true,
      body: Type.Object({ dry_run: Type.Boolean({ default: false }) }),
      data: Type.Array(DecisionSchema),
      async handler({ body, claim }) {
        const data = await onceLong(evaluating, db, claim, clock, async () => {
          const found = await manager.evaluate(body.dry_run)
          const now = clock.now()
          return found.map(({ target, stored, decision }) =>
            stored ? decisionJson(stored) : bareJson(decision, target, now),
          )
        })
        return { data }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/pause`,
      access: 'operator',
      tag,
      summary: 'Nothing is scaled until a time, or until it is resumed; a manual wish still is',
      idempotent: true,
      body: Type.Object({
        until: Type.Optional(NullableTime),
        reason: Line(1000),
        target: Type.Optional(TargetName),
      }),
      data: Type.Object({ target: NullableText, until: NullableTime, by: Type.String(), reason: Type.String() }),
      handler({ body, claim, principal }) {
        const now = clock.now()
        const target = body.target === undefined ? null : targetOf(deps, body.target)
        const { until = null } = period(body.until ? { until: body.until } : {})
        if (until !== null && until <= now) {
          throw invalid([{ path: 'until', message: `must be a time to come; now it is ${toIso(now)}` }])
        }
        const data = once(db, claim, now, () => {
          const by = principal!.name
          manager.pause(target, { until, by, reason: body.reason })
          const detail = { until: iso(until), reason: body.reason }
          audit(db, now, { who: by, deed: 'scaling.paused', what: target ?? 'all targets', detail })
          return { target, until: iso(until), by, reason: body.reason }
        })
        return { data, message: `Scaling is paused${until === null ? '' : ` until ${toIso(until)}`}.` }
      },
    }),
    route({
      method: 'POST',
      path: `${base}/resume`,
      access: 'operator',
      tag,
      summary: 'Ends a pause and what is held by hand',
      idempotent: true,
      body: Type.Object({
        target: Type.Optional(TargetName),
        reason: Type.Optional(Line(1000)),
        until: Type.Optional(NullableTime),
      }),
      handler({ body, claim, principal }) {
        const now = clock.now()
        const target = body.target === undefined ? null : targetOf(deps, body.target)
        once(db, claim, now, () => {
          manager.pause(target, null)
          const detail = { reason: body.reason ?? '' }
          audit(db, now, { who: principal!.name, deed: 'scaling.resumed', what: target ?? 'all targets', detail })
          return {}
        })
        const still = target === null ? null : manager.settings(target).pause
        return {
          message:
            still === null ? 'Scaling goes on.' : `The pause of ${target} is over; it still waits with all targets.`,
        }
      },
    }),
  ]

  /** What a person may ask for: within the global limits and those of the target; nothing only when that is allowed. */
  function personLimits({ manager: all }: ScalingRoutesDeps, name: string): { min: number; max: number } {
    const { target } = all.settings(name)
    const { minInstances, maxInstances } = config()
    return {
      min: Math.max(minInstances, target.minInstances),
      max: Math.min(maxInstances, target.maxInstances),
    }
  }
}
