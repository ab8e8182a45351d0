/** The API of the analytics engine: what it saw, what it expects, what it makes of it, and whether it can be believed. */
import Type from 'typebox'
import type { Clock } from '../../base/clock.ts'
import { badRequest, notFound } from '../../base/errors.ts'
import { fromIso, HOUR, type Millis, toIso } from '../../base/time.ts'
import type { Route } from '../../http/route.ts'
import { route } from '../../http/route.ts'
import { canonicalName } from '../../metrics/index.ts'
import type { Anomaly, AnomalyEvent } from '../anomalies.ts'
import type { Analytics, AnalyticsSettings } from '../engine.ts'
import type { Prediction, SeriesFilter } from '../forecasting.ts'
import type { Insight } from '../insights/insight.ts'
import { labelsFrom } from '../labels-text.ts'
import { metricOf } from '../series-id.ts'

export interface EngineRoutesDeps {
  readonly analytics: Analytics
  readonly clock: Clock
  readonly settings: () => AnalyticsSettings
}

const base = '/api/v1/advanced-analytics'
const tag = 'analytics'

const Time = Type.String({ format: 'date-time' })
const NullableTime = Type.Union([Time, Type.Null()])
const Fraction = Type.Number({ minimum: 0, maximum: 1 })
const Count = Type.Integer({ minimum: 0 })
const limit = (byDefault: number) => Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: byDefault }))
const MetricName = Type.Optional(Type.String({ minLength: 1, maxLength: 200 }))
const Level = Type.Union([Type.Literal('low'), Type.Literal('medium'), Type.Literal('high')])
const Labels = Type.Record(Type.String(), Type.String())
const LabelsText = Type.Optional(
  Type.String({ maxLength: 4096, description: 'A JSON object: only the series with exactly these labels.' }),
)

const PredictionSchema = Type.Object({
  metric_name: Type.String(),
  labels: Labels,
  predicted_value: Type.Number(),
  confidence: Fraction,
  time_horizon: Type.Integer(),
  trend: Type.Union([Type.Literal('increasing'), Type.Literal('decreasing'), Type.Literal('stable')]),
  factors: Type.Record(Type.String(), Fraction),
  created_at: Time,
  target_time: Time,
  lower: Type.Number({ description: 'Lower end of the 80 % interval.' }),
  upper: Type.Number({ description: 'Upper end of the 80 % interval.' }),
  coverage: Fraction,
  lower_95: Type.Number(),
  upper_95: Type.Number(),
  model: Type.String({ description: 'What made it; `withdrawn:` in front when a plain baseline did better so far.' }),
  samples_used: Count,
})

const InsightSchema = Type.Object({
  id: Type.String(),
  key: Type.String(),
  insight_type: Type.String(),
  title: Type.String(),
  description: Type.String(),
  confidence: Fraction,
  impact: Level,
  recommendations: Type.Array(Type.String()),
  data_points: Type.Record(Type.String(), Type.Unknown()),
  created_at: Time,
  last_seen_at: Time,
  occurrences: Count,
})

const Feedback = Type.Object({
  verdict: Type.Union([Type.Literal('real'), Type.Literal('noise')]),
  note: Type.Union([Type.String(), Type.Null()]),
  by: Type.String(),
  at: Time,
})
const AnomalySchema = Type.Object({
  id: Type.String(),
  metric_name: Type.String(),
  labels: Labels,
  anomaly_score: Type.Number({ minimum: 0, description: 'Robust deviations from the expected value.' }),
  score: Type.Number({ minimum: 0, maximum: 1, description: 'Calibrated: 0.5 is the alarm threshold everywhere.' }),
  is_anomaly: Type.Boolean(),
  expected_value: Type.Number(),
  actual_value: Type.Number(),
  lower: Type.Number(),
  upper: Type.Number(),
  severity: Level,
  description: Type.String(),
  timestamp: Time,
  season: Type.String(),
  view: Type.String({ description: 'Which look at the series raised it.' }),
  feedback: Type.Union([Feedback, Type.Null()]),
  hidden_by: Type.Union([Type.String(), Type.Null()]),
  event: Type.Object({ id: Type.String(), size: Count }),
})

export function engineRoutes(deps: EngineRoutesDeps): Route[] {
  return [
    start(deps),
    stop(deps),
    summary(deps),
    predictions(deps),
    insights(deps),
    anomalies(deps),
    anomaly(deps),
    anomalyEvents(deps),
    feedback(deps),
    takeBack(deps),
    models(deps),
    quality(deps),
    performance(deps),
    health(deps),
    generate(deps),
    detect(deps),
    sync(deps),
  ]
}

const Changed = Type.Object({ changed: Type.Boolean() })

const start = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/start-analytics`,
    access: 'operator',
    tag,
    summary: 'Turns the engine on; it stays on across restarts',
    idempotent: true,
    data: Changed,
    handler() {
      const changed = analytics.start()
      return { data: { changed }, message: changed ? 'Analytics is on.' : 'Analytics was on already.' }
    },
  })

const stop = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/stop-analytics`,
    access: 'operator',
    tag,
    summary:
      'Turns the engine off: no forecast, insight or anomaly until it is on again; what is known is kept, learning goes on',
    idempotent: true,
    data: Changed,
    async handler() {
      const changed = await analytics.stop()
      return { data: { changed }, message: changed ? 'Analytics is off.' : 'Analytics was off already.' }
    },
  })

const summary = ({ analytics, clock, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/summary`,
    access: 'viewer',
    tag,
    summary: 'The state of the engine in numbers',
    data: Type.Object({
      timestamp: Time,
      analytics_active: Type.Boolean(),
      data_points_collected: Count,
      models_trained: Count,
      recent_predictions: Count,
      recent_insights: Count,
      recent_anomalies: Count,
      performance_metrics: Type.Object({
        predictions_generated: Count,
        insights_generated: Count,
        anomalies_detected: Count,
        model_accuracy: Type.Record(Type.String(), Fraction),
      }),
      ml_available: Type.Boolean(),
      config: Type.Object({
        prediction_horizons: Type.Array(Type.Integer()),
        anomaly_threshold: Type.Number(),
        min_data_points: Count,
        model_retrain_interval: Type.Number(),
        insight_confidence_threshold: Fraction,
      }),
    }),
    handler() {
      const now = clock.now()
      const config = settings()
      const models = analytics.forecasts.models()
      const counts = analytics.counts()
      const recent = analytics.insights({ limit: 1000 }).filter((i) => i.lastSeenAt >= now - HOUR)
      return {
        data: {
          timestamp: toIso(now),
          analytics_active: analytics.active,
          data_points_collected: analytics.samplesHeld,
          models_trained: models.length,
          recent_predictions: analytics.forecasts.countSince(now - HOUR),
          recent_insights: recent.length,
          recent_anomalies: analytics.anomalies.countSince(now - HOUR),
          performance_metrics: {
            predictions_generated: counts.predictionsGenerated,
            insights_generated: counts.insightsGenerated,
            anomalies_detected: counts.anomaliesDetected,
            model_accuracy: Object.fromEntries(models.map((m) => [m.shown, m.accuracy])),
          },
          ml_available: config.mlEnabled,
          config: {
            prediction_horizons: [...config.predictionHorizons],
            anomaly_threshold: config.anomalyThreshold,
            min_data_points: config.minDataPoints,
            model_retrain_interval: config.retrainInterval,
            insight_confidence_threshold: config.insightConfidence,
          },
        },
      }
    },
  })

const predictions = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/predictions`,
    access: 'viewer',
    tag,
    summary: 'Forecasts, newest first',
    query: Type.Object({
      metric_name: MetricName,
      labels: LabelsText,
      horizon: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_080, description: 'Minutes ahead.' })),
      limit: limit(50),
    }),
    data: Type.Array(PredictionSchema),
    handler({ query }) {
      const series = seriesOf(query)
      if (series.metricName !== undefined) analytics.asked(series.metricName, series.labels)
      const found = analytics.forecasts.predictions({
        ...series,
        ...(query.horizon === undefined ? {} : { horizon: query.horizon }),
        limit: query.limit ?? 50,
      })
      return { data: found.map(predictionJson) }
    },
  })

const insights = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/insights`,
    access: 'viewer',
    tag,
    summary: 'Insights, the last seen first',
    query: Type.Object({
      insight_type: Type.Optional(Type.String({ minLength: 1, maxLength: 50 })),
      impact: Type.Optional(Level),
      limit: limit(20),
    }),
    data: Type.Array(InsightSchema),
    handler({ query }) {
      const found = analytics.insights({
        ...(query.insight_type === undefined ? {} : { type: query.insight_type }),
        ...(query.impact === undefined ? {} : { impact: query.impact }),
        limit: query.limit ?? 20,
      })
      return { data: found.map(insightJson) }
    },
  })

const anomalies = ({ analytics, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/anomalies`,
    access: 'viewer',
    tag,
    summary: 'Anomalies, newest first',
    query: Type.Object({
      metric_name: MetricName,
      severity: Type.Optional(Level),
      since: Type.Optional(Type.String()),
      until: Type.Optional(Type.String()),
      include_hidden: Type.Optional(Type.Boolean({ default: false })),
      limit: limit(50),
    }),
    data: Type.Array(AnomalySchema),
    handler({ query }) {
      const found = analytics.anomalies.list({
        ...(query.metric_name === undefined ? {} : { metricName: canonicalName(query.metric_name) }),
        ...(query.severity === undefined ? {} : { severity: query.severity }),
        ...window(query),
        hidden: query.include_hidden ?? false,
        limit: query.limit ?? 50,
      })
      return { data: found.map((a) => anomalyJson(a, settings().anomalyThreshold)) }
    },
  })

const anomalyEvents = ({ analytics, clock, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/anomaly-events`,
    access: 'viewer',
    tag,
    summary: 'Anomalies that came together, as one event each: what moved first stands first',
    query: Type.Object({ since: Type.Optional(Type.String()), limit: limit(20) }),
    data: Type.Array(
      Type.Object({
        id: Type.String(),
        started_at: Time,
        last_at: Time,
        size: Count,
        anomalies: Type.Array(AnomalySchema),
      }),
    ),
    handler({ query }) {
      const since = window(query).since ?? clock.now() - 24 * HOUR
      const json = (event: AnomalyEvent) => ({
        id: event.id,
        started_at: toIso(event.startedAt),
        last_at: toIso(event.lastAt),
        size: event.size,
        anomalies: event.members.map((a) => anomalyJson(a, settings().anomalyThreshold)),
      })
      return { data: analytics.anomalies.events(since, query.limit ?? 20).map(json) }
    },
  })

const Id = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
const unknownAnomaly = (id: string) => notFound('anomaly_not_found', `There is no anomaly ${id}.`)

const WithEffect = Type.Object({
  ...AnomalySchema.properties,
  effect: Type.Object({
    pattern: Type.String(),
    hides: Type.Array(Type.String(), { description: 'Ids of the last 90 days, its own among them.' }),
  }),
})

const anomaly = ({ analytics, clock, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/anomalies/:id`,
    access: 'viewer',
    tag,
    summary: 'One anomaly, with what the verdict noise would hide',
    params: Id,
    data: WithEffect,
    handler({ params }) {
      const found = analytics.anomalies.get(params.id)
      const effect = analytics.anomalies.effect(params.id, clock.now())
      if (!found || !effect) throw unknownAnomaly(params.id)
      const json = anomalyJson(found, settings().anomalyThreshold)
      return { data: { ...json, effect: { pattern: effect.pattern, hides: [...effect.hides] } } }
    },
  })

const feedback = ({ analytics, clock, settings }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/anomalies/:id/feedback`,
    access: 'operator',
    tag,
    summary: 'Says whether an anomaly was real or noise; noise hides the pattern until it is taken back',
    idempotent: true,
    params: Id,
    body: Type.Object({
      verdict: Type.Union([Type.Literal('real'), Type.Literal('noise')]),
      note: Type.Optional(Type.String({ maxLength: 1000 })),
    }),
    data: WithEffect,
    handler({ params, body, principal }) {
      const verdict = { ...body, note: body.note ?? null, who: principal!.name, at: clock.now() }
      const effect = analytics.anomalies.judge(params.id, verdict)
      if (!effect) throw unknownAnomaly(params.id)
      const anomaly = anomalyJson(analytics.anomalies.get(params.id)!, settings().anomalyThreshold)
      const message =
        body.verdict === 'real'
          ? 'Noted as real.'
          : `Noted as noise; it hides ${effect.hides.length} of the last 90 days.`
      return { data: { ...anomaly, effect: { pattern: effect.pattern, hides: [...effect.hides] } }, message }
    },
  })

const takeBack = ({ analytics, settings }: EngineRoutesDeps) =>
  route({
    method: 'DELETE',
    path: `${base}/anomalies/:id/feedback`,
    access: 'operator',
    tag,
    summary: 'Takes a verdict back; what it hid is shown again',
    params: Id,
    data: AnomalySchema,
    handler({ params }) {
      const anomaly = analytics.anomalies.get(params.id)
      if (!anomaly) throw unknownAnomaly(params.id)
      if (!analytics.anomalies.unjudge(params.id)) {
        throw notFound('feedback_not_found', `Nobody has judged the anomaly ${params.id}.`)
      }
      const after = anomalyJson(analytics.anomalies.get(params.id)!, settings().anomalyThreshold)
      return { data: after, message: 'The verdict is taken back.' }
    },
  })

const models = ({ analytics, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/models`,
    access: 'viewer',
    tag,
    summary: 'What was learnt of each metric, and how right it was',
    data: Type.Object({
      total_models: Count,
      models: Type.Record(
        Type.String(),
        Type.Object({
          metric_name: Type.String(),
          labels: Labels,
          model_type: Type.String(),
          accuracy: Fraction,
          last_trained: NullableTime,
          feature_importance: Type.Record(Type.String(), Fraction),
        }),
      ),
      ml_available: Type.Boolean(),
    }),
    handler() {
      const all = analytics.forecasts.models()
      const json = all.map(
        (m) =>
          [
            m.shown,
            {
              metric_name: m.metricName,
              labels: { ...m.labels },
              model_type: m.modelType,
              accuracy: m.accuracy,
              last_trained: m.lastTrained === null ? null : toIso(m.lastTrained),
              feature_importance: { ...m.factors },
            },
          ] as const,
      )
      const data = { total_models: all.length, models: Object.fromEntries(json), ml_available: settings().mlEnabled }
      return { data }
    },
  })

const NullableNumber = Type.Union([Type.Number(), Type.Null()])

const quality = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/forecast-quality`,
    access: 'viewer',
    tag,
    summary: 'Rolling error and interval coverage per metric and horizon, beside plain baselines',
    query: Type.Object({ metric_name: MetricName, labels: LabelsText }),
    data: Type.Array(
      Type.Object({
        metric_name: Type.String(),
        labels: Labels,
        horizon: Type.Integer(),
        origins: Count,
        mean_absolute_error: NullableNumber,
        naive_error: NullableNumber,
        seasonal_naive_error: NullableNumber,
        relative_to_naive: NullableNumber,
        coverage_80: NullableNumber,
        coverage_95: NullableNumber,
        in_use: Type.String({ description: 'What the forecast is made by now.' }),
        why: Type.String(),
      }),
    ),
    handler({ query }) {
      return {
        data: analytics.forecasts.quality(seriesOf(query)).map((q) => ({
          metric_name: q.metricName,
          labels: { ...q.labels },
          horizon: q.horizon,
          origins: q.origins,
          mean_absolute_error: q.error,
          naive_error: q.naiveError,
          seasonal_naive_error: q.seasonalError,
          relative_to_naive: q.relativeToNaive,
          coverage_80: q.coverage80,
          coverage_95: q.coverage95,
          in_use: q.inUse,
          why: q.why,
        })),
      }
    },
  })

const performance = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/performance-metrics`,
    access: 'viewer',
    tag,
    summary: 'What the engine did since its start',
    data: Type.Object({
      predictions_generated: Count,
      insights_generated: Count,
      anomalies_detected: Count,
      model_accuracy: Type.Record(Type.String(), Fraction),
      data_points_by_metric: Type.Record(Type.String(), Count),
    }),
    handler() {
      const counts = analytics.counts()
      return {
        data: {
          predictions_generated: counts.predictionsGenerated,
          insights_generated: counts.insightsGenerated,
          anomalies_detected: counts.anomaliesDetected,
          model_accuracy: Object.fromEntries(analytics.forecasts.models().map((m) => [m.shown, m.accuracy])),
          data_points_by_metric: { ...counts.dataPointsByMetric },
        },
      }
    },
  })

const health = ({ analytics, clock, settings }: EngineRoutesDeps) =>
  route({
    method: 'GET',
    path: `${base}/health`,
    access: 'viewer',
    tag,
    summary: 'Whether the engine runs, and when it last did',
    data: Type.Object({
      analytics_active: Type.Boolean(),
      data_points_collected: Count,
      models_trained: Count,
      ml_available: Type.Boolean(),
      uptime: Type.Number({ minimum: 0 }),
      last_activity: NullableTime,
    }),
    handler: () => ({
      data: {
        analytics_active: analytics.active,
        data_points_collected: analytics.samplesHeld,
        models_trained: analytics.forecasts.models().length,
        ml_available: settings().mlEnabled,
        uptime: Math.max(0, clock.now() - analytics.startedAt) / 1000,
        last_activity: analytics.lastActivity === null ? null : toIso(analytics.lastActivity),
      },
    }),
  })

const generate = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/generate-insights`,
    access: 'operator',
    tag,
    summary: 'Runs a cycle of forecasts and insights now',
    idempotent: true,
    status: 202,
    handler() {
      void analytics.cycle()
      return { status: 202, message: 'A cycle has started; insights are updated when it ends.' }
    },
  })

const detect = ({ analytics }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/detect-anomalies`,
    access: 'operator',
    tag,
    summary: 'Detection runs on every sample as it arrives; this starts a cycle over what it found',
    idempotent: true,
    status: 202,
    handler() {
      void analytics.cycle()
      return { status: 202, message: 'Every stored sample has been looked at on arrival; a cycle has started.' }
    },
  })

const sync = ({ analytics, clock }: EngineRoutesDeps) =>
  route({
    method: 'POST',
    path: `${base}/sync-performance-data`,
    access: 'operator',
    tag,
    summary: 'Reads the platform’s own metrics into the engine now',
    idempotent: true,
    data: Type.Object({ metrics_synced: Count, timestamp: Time }),
    async handler() {
      await analytics.cycle()
      const synced = Object.keys(analytics.counts().dataPointsByMetric).length
      return {
        data: { metrics_synced: synced, timestamp: toIso(clock.now()) },
        message: `${synced} metrics were read.`,
      }
    },
  })

// ------------------------------------------------------------------------------------------------------ JSON

function window(query: { since?: string; until?: string }): { since?: Millis; until?: Millis } {
  const time = (name: string, text: string | undefined) => {
    if (text === undefined) return {}
    const at = fromIso(text)
    if (at === null)
      throw badRequest(`${name}: expected a time such as 2026-01-31T09:30:00Z, got ${JSON.stringify(text)}`)
    return { [name]: at }
  }
  return { ...time('since', query.since), ...time('until', query.until) }
}

/** The series that a query is about. */
function seriesOf(query: { metric_name?: string; labels?: string }): SeriesFilter {
  return {
    ...(query.metric_name === undefined ? {} : { metricName: metricOf(query.metric_name) }),
    ...(query.labels === undefined ? {} : { labels: labelsFrom(query.labels) }),
  }
}

const predictionJson = (p: Prediction) => ({
  metric_name: p.metricName,
  labels: { ...p.labels },
  predicted_value: p.value,
  confidence: p.confidence,
  time_horizon: p.horizon,
  trend: p.trend,
  factors: { ...p.factors },
  created_at: toIso(p.madeAt),
  target_time: toIso(p.target),
  lower: p.lower80,
  upper: p.upper80,
  coverage: 0.8,
  lower_95: p.lower95,
  upper_95: p.upper95,
  model: p.model,
  samples_used: p.samples,
})

const insightJson = (i: Insight) => ({
  id: i.id,
  key: i.key,
  insight_type: i.type,
  title: i.title,
  description: i.description,
  confidence: i.confidence,
  impact: i.impact,
  recommendations: [...i.recommendations],
  data_points: { ...i.evidence },
  created_at: toIso(i.createdAt),
  last_seen_at: toIso(i.lastSeenAt),
  occurrences: i.occurrences,
})

const anomalyJson = (a: Anomaly, threshold: number) => ({
  id: a.id,
  metric_name: a.metricName,
  labels: { ...a.labels },
  anomaly_score: a.deviations,
  score: a.score,
  is_anomaly: a.deviations >= threshold,
  expected_value: a.expected,
  actual_value: a.actual,
  lower: a.lower,
  upper: a.upper,
  severity: a.severity,
  description: a.description,
  timestamp: toIso(a.at),
  season: a.season,
  view: a.view,
  feedback:
    a.feedback === null
      ? null
      : { verdict: a.feedback.verdict, note: a.feedback.note, by: a.feedback.who, at: toIso(a.feedback.at) },
  hidden_by: a.hiddenBy,
  event: { ...a.event },
})
