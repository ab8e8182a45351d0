/**
 * The contract's JSON of scaling: schemas that validate and document, and the way from the room's values to them and
 * back. Times are ISO 8601 there and milliseconds here; durations of policies are seconds in both.
 */
import Type, { type Static } from 'typebox'
import { type Millis, SECOND, toIso } from '../base/time.ts'
import type { Graded } from './grade.ts'
import type { TargetView } from './manager.ts'
import { ACTIONS, type Decision, type InstanceView, type Policy, type Step } from './model.ts'
import type { Recommendation } from './recommend.ts'
import type { Simulation, Totals } from './simulate.ts'
import type { StoredDecision } from './store.ts'

export const Time = Type.String({ format: 'date-time' })
export const NullableTime = Type.Union([Time, Type.Null()])
export const NullableNumber = Type.Union([Type.Number(), Type.Null()])
export const NullableText = Type.Union([Type.String(), Type.Null()])
export const Count = Type.Integer({ minimum: 0 })
export const NullableCount = Type.Union([Count, Type.Null()])
export const Line = (most: number) => Type.String({ minLength: 1, maxLength: most, pattern: '^[^\\x00-\\x1f\\x7f]*$' })
export const PolicyName = Type.String({ pattern: '^[a-z0-9_-]{1,64}$' })
export const TargetName = Type.String({ pattern: '^[a-z0-9_-]{1,64}$' })
export const ActionSchema = Type.Enum([...ACTIONS])

export const iso = (at: Millis | null): string | null => (at === null ? null : toIso(at))

// --------------------------------------------------------------------------------------------------- policies

const COUNT_MAX = 1000
const DAY_S = 86_400
const StepSchema = Type.Union(
  [Type.Integer({ minimum: 1, maximum: COUNT_MAX }), Type.String({ pattern: '^[0-9.]{1,8}%$' })],
  {
    description: 'A number of instances, or a share such as "50%": rounded up for steps up, down for steps down.',
  },
)

const fields = {
  target: TargetName,
  metric_name: Type.String({ minLength: 1, maxLength: 200, pattern: '^[a-zA-Z0-9_.:-]+$' }),
  scale_up_threshold: Type.Number(),
  scale_down_threshold: Type.Number(),
  min_instances: Type.Integer({ minimum: 0, maximum: COUNT_MAX }),
  max_instances: Type.Integer({ minimum: 0, maximum: COUNT_MAX }),
  cooldown_period: Type.Number({ minimum: 0, maximum: 7 * DAY_S, description: 'Seconds.' }),
  enabled: Type.Boolean(),
  breach_for: Type.Number({ minimum: 0, maximum: DAY_S, description: 'Seconds beyond the upper threshold.' }),
  clear_for: Type.Number({ minimum: 0, maximum: DAY_S, description: 'Seconds below the lower threshold.' }),
  max_step_up: StepSchema,
  max_step_down: StepSchema,
  predictive: Type.Enum(['off', 'forecast_only', 'scale']),
  on_missing_metric: Type.Enum(['hold', 'fallback']),
  fallback_instances: Type.Union([Type.Integer({ minimum: 0, maximum: COUNT_MAX }), Type.Null()]),
}

export const PolicySchema = Type.Object({
  name: PolicyName,
  ...fields,
  last_action_time: NullableTime,
  version: Type.Integer(),
})

const optional = Type.Partial(Type.Object(fields)).properties
/** A new policy: what is not said has the default of contract 4.2. */
export const PolicyCreate = Type.Object({
  ...optional,
  name: PolicyName,
  metric_name: fields.metric_name,
  scale_up_threshold: fields.scale_up_threshold,
  scale_down_threshold: fields.scale_down_threshold,
})
export const PolicyChange = Type.Object({
  ...optional,
  name: Type.Optional(PolicyName),
  last_action_time: Type.Optional(NullableTime),
  version: Type.Optional(Type.Integer()),
})
export type PolicyBody = Static<typeof PolicyChange>

/** The fields that a body says, in the room's names. */
export function patchOf(body: PolicyBody): Partial<Policy> {
  const patch = {
    target: body.target,
    metricName: body.metric_name,
    scaleUpThreshold: body.scale_up_threshold,
    scaleDownThreshold: body.scale_down_threshold,
    minInstances: body.min_instances,
    maxInstances: body.max_instances,
    cooldownPeriod: body.cooldown_period,
    enabled: body.enabled,
    breachFor: body.breach_for,
    clearFor: body.clear_for,
    maxStepUp: body.max_step_up as Step | undefined,
    maxStepDown: body.max_step_down as Step | undefined,
    predictive: body.predictive,
    onMissingMetric: body.on_missing_metric,
    fallbackInstances: body.fallback_instances,
  }
  return Object.fromEntries(Object.entries(patch).filter(([, value]) => value !== undefined)) as Partial<Policy>
}

export function policyJson(policy: Policy, lastActionAt: Millis | null): Static<typeof PolicySchema> {
  return {
    name: policy.name,
    target: policy.target,
    metric_name: policy.metricName,
    scale_up_threshold: policy.scaleUpThreshold,
    scale_down_threshold: policy.scaleDownThreshold,
    min_instances: policy.minInstances,
    max_instances: policy.maxInstances,
    cooldown_period: policy.cooldownPeriod,
    enabled: policy.enabled,
    breach_for: policy.breachFor,
    clear_for: policy.clearFor,
    max_step_up: policy.maxStepUp,
    max_step_down: policy.maxStepDown,
    predictive: policy.predictive,
    on_missing_metric: policy.onMissingMetric,
    fallback_instances: policy.fallbackInstances,
    last_action_time: iso(lastActionAt),
    version: policy.version,
  }
}

// -------------------------------------------------------------------------------------------------- decisions

const Numbers = Type.Record(Type.String(), NullableNumber)
const ForecastSchema = Type.Object({
  target_time: Time,
  value: Type.Number(),
  lower: Type.Number(),
  upper: Type.Number(),
  coverage: Type.Number(),
})

export const DecisionSchema = Type.Object({
  id: NullableText,
  target: TargetName,
  action: ActionSchema,
  target_instances: Count,
  current_instances: Count,
  reason: Type.String(),
  confidence: Type.Number({ minimum: 0, maximum: 1 }),
  metrics: Type.Record(Type.String(), Type.Number()),
  predicted_impact: Type.Object({
    cost_change: Type.Union([Type.Number(), Type.Null()], { description: 'Per hour.' }),
    performance_change: Type.Union([Type.Number(), Type.Null()], { description: 'Per cent.' }),
    resource_utilization: Type.Union([Type.Number(), Type.Null()], { description: 'Per cent.' }),
  }),
  created_at: Time,
  policy: Type.String({ description: 'The policy, plan, schedule or person that won.' }),
  trigger: Type.Enum(['reactive', 'predictive', 'manual', 'schedule', 'fallback']),
  proposals: Type.Array(
    Type.Object({
      by: Type.String(),
      wanted: Type.Integer(),
      trigger: Type.String(),
      reason: Type.String(),
      inputs: Numbers,
      counted: Type.Boolean({ description: 'False: for show alone, as a forecast that has not earned its place.' }),
    }),
  ),
  constraints: Type.Array(
    Type.Object({ constraint: Type.String(), detail: Type.String(), from: Type.Integer(), to: Type.Integer() }),
  ),
  status: Type.Enum(['planned', 'executing', 'done', 'failed', 'suppressed']),
  executed_at: NullableTime,
  ready_at: NullableTime,
  error: NullableText,
})

/** Where a decision stands, from its steps. */
export function standingOf(decision: Pick<StoredDecision, 'steps'>): {
  status: StoredDecision['steps'][number]['status']
  executedAt: Millis | null
  readyAt: Millis | null
  error: string | null
} {
  const { steps } = decision
  const last = steps.at(-1)
  const executed = steps.findLast(({ status }) => status === 'executing')
  const done =
    executed && steps.find(({ status, detail, at }) => status === 'done' && detail === null && at >= executed.at)
  return {
    status: last?.status ?? 'planned',
    executedAt: executed?.at ?? null,
    readyAt: done?.at ?? null,
    error: last?.status === 'failed' ? last.detail : null,
  }
}

export function decisionJson(stored: StoredDecision): Static<typeof DecisionSchema> {
  const { status, executedAt, readyAt, error } = standingOf(stored)
  return {
    ...bareJson(stored.decision, stored.target, stored.at),
    id: stored.id,
    status,
    executed_at: iso(executedAt),
    ready_at: iso(readyAt),
    error,
  }
}

/** A decision that nobody wrote down: of a dry run. */
export function bareJson(decision: Decision, target: string, at: Millis): Static<typeof DecisionSchema> {
  const { expected } = decision
  return {
    id: null,
    target,
    action: decision.action,
    target_instances: decision.wanted,
    current_instances: decision.current,
    reason: decision.reason,
    confidence: Math.min(1, Math.max(0, decision.confidence)),
    metrics: Object.fromEntries(Object.entries(decision.inputs).filter(([, value]) => value !== null)) as Record<
      string,
      number
    >,
    predicted_impact: {
      cost_change: expected.costPerHour,
      performance_change: expected.performance,
      resource_utilization: expected.utilization,
    },
    created_at: toIso(at),
    policy: decision.by,
    trigger: decision.trigger,
    proposals: decision.proposals.map(({ by, wanted, trigger, why, inputs, counted }) => {
      return { by, wanted, trigger, reason: why, inputs: { ...inputs }, counted }
    }),
    constraints: decision.held.map((one) => ({ ...one })),
    status: 'planned',
    executed_at: null,
    ready_at: null,
    error: null,
  }
}

export const GradeSchema = Type.Union([
  Type.Object({
    grade: Type.Number({
      description: 'Cost of the best count over that of the decided one: 1 is as good as hindsight.',
    }),
    cost: Type.Number(),
    cost_unchanged: Type.Number({ description: 'Had nothing been changed.' }),
    cost_best: Type.Number(),
    best_instances: Count,
    violation_minutes_avoided: Type.Number({ description: 'Below 0: caused.' }),
    violation_minutes: Type.Number(),
    minutes: Type.Number({ description: 'How long it was looked at.' }),
    sentence: Type.String(),
  }),
  Type.Null(),
])

export const TraceSchema = Type.Object({
  ...DecisionSchema.properties,
  inputs: Numbers,
  forecast: Type.Array(ForecastSchema),
  plan: Type.Array(Type.Object({ t: Time, instances: Type.Number() })),
  capacity_per_instance: NullableNumber,
  start_up: Type.Number({ description: 'Seconds that an instance takes to get ready, as learnt.' }),
  observation: Type.Object({
    ready: Count,
    starting: Count,
    draining: Count,
    wanted: NullableCount,
    demand: NullableNumber,
    cpu: NullableNumber,
    memory: NullableNumber,
    response_ms: NullableNumber,
  }),
  steps: Type.Array(Type.Object({ at: Time, status: Type.String(), detail: NullableText })),
  policy_versions: Type.Record(Type.String(), Type.Integer()),
  engine: Type.String({ description: 'The version of the platform that decided.' }),
  grade: GradeSchema,
})

export function traceJson(stored: StoredDecision, grade: Graded | null): Static<typeof TraceSchema> {
  const { decision, observation } = stored
  return {
    ...decisionJson(stored),
    inputs: { ...decision.inputs },
    forecast: decision.forecast.map(({ at, value, lower, upper, coverage }) => {
      return { target_time: toIso(at), value, lower, upper, coverage }
    }),
    plan: planJson(decision),
    capacity_per_instance: decision.capacityPerInstance,
    start_up: decision.startUpMs / SECOND,
    observation: {
      ready: observation.ready,
      starting: observation.starting,
      draining: observation.draining,
      wanted: observation.wanted ?? null,
      demand: observation.demand,
      cpu: observation.cpu,
      memory: observation.memory,
      response_ms: observation.responseMs,
    },
    steps: stored.steps.map(({ at, status, detail }) => ({ at: toIso(at), status, detail })),
    policy_versions: { ...stored.policies },
    engine: stored.engine,
    grade: gradeJson(grade),
  }
}

export const planJson = (decision: Decision | null) =>
  (decision?.plan ?? []).map(({ at, instances }) => ({ t: toIso(at), instances }))

// -------------------------------------------------------------------------------------------------- instances

export const InstanceSchema = Type.Object({
  id: Type.String(),
  target: TargetName,
  provider: Type.String(),
  state: Type.Enum(['starting', 'ready', 'draining', 'backing_off', 'stopped', 'failed']),
  started_at: NullableTime,
  ready_at: NullableTime,
  cpu: Type.Union([Type.Number(), Type.Null()], { description: 'Per cent of one core.' }),
  memory: Type.Union([Type.Number(), Type.Null()], { description: 'Bytes.' }),
  in_flight: NullableNumber,
})

export function instanceJson(one: InstanceView, target: string): Static<typeof InstanceSchema> {
  return {
    id: one.id,
    target,
    provider: one.provider,
    state: one.state,
    started_at: iso(one.startedAt),
    ready_at: iso(one.readyAt),
    cpu: one.cpu,
    memory: one.memory,
    in_flight: one.inFlight,
  }
}

// ---------------------------------------------------------------------------------------------------- targets

export const TargetSchema = Type.Object({
  name: TargetName,
  provider: Type.Enum(['platform', 'process', 'kubernetes', 'webhook']),
  current_instances: NullableCount,
  target_instances: NullableCount,
  starting: Count,
  draining: Count,
  failed: Count,
  min_instances: Count,
  max_instances: Count,
  limit_ms: Type.Number(),
  demand: Type.String(),
  problem: NullableText,
  last_cycle: NullableTime,
})

/** `limits`: the strictest of target and platform. */
export function targetJson(view: TargetView, limits: { min: number; max: number }): Static<typeof TargetSchema> {
  const { observed, target } = view
  const failed = observed?.instances.filter(({ state }) => state === 'failed' || state === 'backing_off').length ?? 0
  return {
    name: target.name,
    provider: target.driver,
    current_instances: observed?.ready ?? null,
    target_instances: view.wanted,
    starting: observed?.starting ?? 0,
    draining: observed?.draining ?? 0,
    failed,
    min_instances: limits.min,
    max_instances: limits.max,
    limit_ms: target.limitMs,
    demand: target.demand,
    problem: view.problem,
    last_cycle: iso(view.cycleAt),
  }
}

// ------------------------------------------------------------------------------------------------- simulation

const TotalsSchema = Type.Object({
  instance_hours: Type.Number(),
  minutes_over_threshold: Type.Number({ description: 'Over the response time that users are to get.' }),
  slow_requests: Type.Number(),
  lost_requests: Type.Number(),
  cost: Type.Number({ description: 'Of instances, slow and lost requests, by the configured prices.' }),
  actions: Count,
  flaps: Count,
})

export const SimulationSchema = Type.Object({
  since: Time,
  until: Time,
  steps: Count,
  capacity_per_instance: Type.Number({ description: 'Requests/s within the limit, fitted to the history.' }),
  instance_hours: Type.Number(),
  minutes_over_threshold: Type.Number(),
  decisions: Type.Array(
    Type.Object({ at: Time, from: Type.Integer(), to: Type.Integer(), trigger: Type.String(), reason: Type.String() }),
  ),
  total_decisions: Count,
  policy: TotalsSchema,
  happened: Type.Union([TotalsSchema, Type.Null()], { description: 'Null: the history does not hold the count.' }),
  happened_steps: Type.Integer({ minimum: 0, description: 'Of the steps, those whose count is known.' }),
  step_seconds: Type.Number({ description: 'From one step to the next.' }),
  start_up_seconds: Type.Number({ description: 'How long a start takes, as learnt.' }),
  hpa: TotalsSchema,
  optimum: TotalsSchema,
  step: Type.Number({ description: 'Seconds between two points.' }),
  points: Type.Array(
    Type.Object({
      t: Time,
      demand: Type.Number(),
      ready: Type.Number(),
      wanted: Type.Number(),
      response_ms: Type.Number(),
    }),
  ),
})

const totalsJson = (totals: Totals): Static<typeof TotalsSchema> => ({
  instance_hours: totals.instanceHours,
  minutes_over_threshold: totals.minutesOverLimit,
  slow_requests: totals.slowRequests,
  lost_requests: totals.lostRequests,
  cost: totals.cost,
  actions: totals.actions,
  flaps: totals.flaps,
})

const SIMULATED_SHOWN = 500

export type SimulationJson = Static<typeof SimulationSchema>

export function simulationJson(found: Simulation): SimulationJson {
  const every = Math.max(1, Math.ceil(found.points.length / SIMULATED_SHOWN))
  const points = found.points.filter((_, i) => i % every === 0)
  const step = points.length > 1 ? (points[1]!.at - points[0]!.at) / SECOND : 0
  return {
    since: toIso(found.since),
    until: toIso(found.until),
    steps: found.steps,
    capacity_per_instance: found.service.rate * found.service.knee,
    instance_hours: found.policy.instanceHours,
    minutes_over_threshold: found.policy.minutesOverLimit,
    decisions: found.decisions.slice(-SIMULATED_SHOWN).map(({ at, from, to, decision }) => {
      return { at: toIso(at), from, to, trigger: decision.trigger, reason: decision.reason }
    }),
    total_decisions: found.decisions.length,
    policy: totalsJson(found.policy),
    happened: found.happened && totalsJson(found.happened),
    happened_steps: found.happenedSteps,
    step_seconds: found.stepS,
    start_up_seconds: found.startUpMs / SECOND,
    hpa: totalsJson(found.hpa),
    optimum: totalsJson(found.optimum),
    step,
    points: points.map(({ at, demand, ready, wanted, responseMs }) => {
      return { t: toIso(at), demand, ready, wanted, response_ms: responseMs }
    }),
  }
}

export const RecommendationSchema = Type.Object({
  type: Type.Enum(['scale_up', 'scale_down']),
  policy: Type.String(),
  metric: Type.String(),
  current_value: Type.Number(),
  threshold: Type.Number(),
  recommended_instances: Count,
  reason: Type.String(),
  priority: Type.Enum(['high', 'medium', 'low']),
  evidence: Type.Array(Type.String()),
  expected_saving_per_hour: Type.Union([Type.Number(), Type.Null()], {
    description: 'Money, or instance-hours without a currency; below 0 it costs. Null while capacity is not known.',
  }),
})

export const recommendationJson = (one: Recommendation): Static<typeof RecommendationSchema> => ({
  type: one.type,
  policy: one.policy,
  metric: one.metric,
  current_value: one.currentValue,
  threshold: one.threshold,
  recommended_instances: one.recommendedInstances,
  reason: one.reason,
  priority: one.priority,
  evidence: [...one.evidence],
  expected_saving_per_hour: one.expectedSavingPerHour,
})

export function gradeJson(grade: Graded | null): Static<typeof GradeSchema> {
  if (grade === null) return null
  return {
    grade: grade.grade,
    cost: grade.costDone,
    cost_unchanged: grade.costStayed,
    cost_best: grade.costBest,
    best_instances: grade.best,
    violation_minutes_avoided: grade.violationMinutesAvoided,
    violation_minutes: grade.violationMinutes,
    minutes: grade.minutes,
    sentence: grade.sentence,
  }
}
