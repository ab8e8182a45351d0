/** The API of analytics, so far: data points in, points of a series out. */
import Type from 'typebox'
import type { Clock } from '../base/clock.ts'
import { invalid } from '../base/errors.ts'
import { DAY, fromIso, MINUTE, type Millis, SECOND, toIso } from '../base/time.ts'
import type { Route } from '../http/route.ts'
import { route } from '../http/route.ts'
import { checkOf } from '../http/schema.ts'
import {
  BUCKETS_MAX,
  canonicalName,
  knownMetric,
  labelsOf,
  type PointColumns,
  type PointsAnswer,
  type PointsRequest,
  storedName,
  toObject,
} from '../metrics/index.ts'
import { checkPoint, type DataPointBody, type Point, type PointSinks, pushPoints, refusal } from './data-points.ts'
import { labelsFrom } from './labels-text.ts'

export { engineRoutes } from './surface/routes.ts'

export interface AnalyticsRoutesDeps extends PointSinks {
  readonly clock: Clock
  /** Runs `readPoints` where the store can be read. */
  points(request: PointsRequest): Promise<PointsAnswer>
}

const Metric = Type.String({ minLength: 1, maxLength: 200, pattern: '^[a-zA-Z0-9_.:-]+$' })
const Labels = Type.Record(Type.String(), Type.String({ maxLength: 1024 }), { maxProperties: 10 })
const Metadata = Type.Record(Type.String(), Type.Unknown())
const Time = Type.String({ format: 'date-time' })

const DataPoint = Type.Object({
  metric_name: Metric,
  value: Type.Number(),
  metadata: Type.Optional(Metadata),
  timestamp: Type.Optional(Time),
  labels: Type.Optional(Labels),
})
const StoredPoint = Type.Object({
  metric_name: Type.String(),
  value: Type.Number(),
  metadata: Metadata,
  timestamp: Time,
  labels: Labels,
})
const ChartPoint = Type.Object({
  t: Time,
  v: Type.Number({ description: 'Mean of the samples in [t, t + step).' }),
  min: Type.Number(),
  max: Type.Number(),
  count: Type.Integer(),
})

export function analyticsRoutes(deps: AnalyticsRoutesDeps): Route[] {
  return [addDataPoint(deps), dataPoints(deps), series(deps)]
}

const addDataPoint = (deps: AnalyticsRoutesDeps) =>
  route({
    method: 'POST',
    path: '/api/v1/advanced-analytics/add-data-point',
    access: 'operator',
    tag: 'analytics',
    summary: 'Stores one data point',
    unmetered: true,
    idempotent: true,
    body: DataPoint,
    data: StoredPoint,
    async handler({ body, claim }) {
      const checked = checkPoint(body)
      if ('problems' in checked) throw invalid(checked.problems)
      const { now, refused } = await pushPoints(deps, [checked.point], deps.clock.now(), claim)
      const reason = refused.get(0)
      if (reason) throw refusal(reason)
      const { value, metadata = {}, labels = {} } = body
      const timestamp = toIso(checked.point.at ?? now)
      const data = { metric_name: canonicalName(body.metric_name), value, metadata, timestamp, labels }
      return { data, message: 'The data point is stored.' }
    },
  })

const POINTS_MAX = 10_000

const dataPoints = (deps: AnalyticsRoutesDeps) => {
  const pointCheck = checkOf(DataPoint)
  return route({
    method: 'POST',
    path: '/api/v1/advanced-analytics/data-points',
    access: 'operator',
    tag: 'analytics',
    summary: 'Stores up to 10,000 data points; bad ones are told apart, the others are stored',
    unmetered: true,
    idempotent: true,
    bodyLimitBytes: 16 * 1024 * 1024,
    // Each entry is checked on its own, so that one bad point does not refuse the others.
    body: Type.Array(Type.Unknown({ description: 'A data point, as for add-data-point.' }), { maxItems: POINTS_MAX }),
    data: Type.Object({
      accepted: Type.Integer(),
      rejected: Type.Array(Type.Object({ index: Type.Integer(), message: Type.String() })),
    }),
    async handler({ body, claim }) {
      const points: Point[] = []
      const places: number[] = []
      const rejected: { index: number; message: string }[] = []
      for (const [index, item] of body.entries()) {
        const shape = pointCheck.problems(item)
        const checked = shape.length > 0 ? { problems: shape } : checkPoint(item as DataPointBody)
        if ('problems' in checked) {
          rejected.push({ index, message: checked.problems.map((p) => `${p.path}: ${p.message}`).join('; ') })
        } else {
          points.push(checked.point)
          places.push(index)
        }
      }
      const { refused } = await pushPoints(deps, points, deps.clock.now(), claim)
      for (const [i, reason] of refused) rejected.push({ index: places[i]!, message: refusal(reason).message })
      rejected.sort((a, b) => a.index - b.index)
      const accepted = body.length - rejected.length
      return { data: { accepted, rejected }, message: `${accepted} of ${body.length} data points are stored.` }
    },
  })
}

/** Most series answered one by one. */
const SERIES_MAX = 100
/** Points that a chart gets when it names no step. */
const CHART_POINTS = 300
const STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400]

const series = (deps: AnalyticsRoutesDeps) =>
  route({
    method: 'GET',
    path: '/api/v1/advanced-analytics/series',
    access: 'viewer',
    tag: 'analytics',
    summary: 'Points of a metric for a chart, merged and series by series',
    query: Type.Object({
      metric_name: Metric,
      since: Type.Optional(Time),
      until: Type.Optional(Time),
      step: Type.Optional(Type.Number({ minimum: 1, maximum: 31 * 86_400, description: 'Seconds.' })),
      labels: Type.Optional(
        Type.String({ maxLength: 4096, description: 'A JSON object: only series with these labels.' }),
      ),
      metadata: Type.Optional(
        Type.Boolean({ description: 'Also the metadata that was pushed with points of exactly these labels.' }),
      ),
    }),
    data: Type.Object({
      metric_name: Type.String(),
      unit: Type.String(),
      step: Type.Number({ description: 'Seconds.' }),
      points: Type.Array(ChartPoint),
      series: Type.Array(Type.Object({ labels: Labels, points: Type.Array(ChartPoint) })),
      matched_series: Type.Integer(),
      metadata: Type.Optional(Type.Array(Type.Object({ t: Time, metadata: Metadata }))),
    }),
    async handler({ query }) {
      const now = deps.clock.now()
      const until = timeOf('until', query.until) ?? now
      const from = timeOf('since', query.since) ?? until - 60 * MINUTE
      if (from > until) throw invalid([{ path: 'since', message: 'must not be after until' }])
      if (until - from > 5 * 366 * DAY) throw invalid([{ path: 'since', message: 'the window may have five years' }])
      const stepMs = query.step === undefined ? stepFor(until - from) : Math.round(query.step * SECOND)
      if ((until - from) / stepMs > BUCKETS_MAX - 2) {
        throw invalid([{ path: 'step', message: `gives more than ${BUCKETS_MAX} points; take a larger one` }])
      }
      const name = storedName(query.metric_name)
      const labels = query.labels === undefined ? {} : labelsFrom(query.labels)
      const answer = await deps.points({ name, labels, from, until, stepMs, seriesMax: SERIES_MAX })
      // Points in series are bounded together: many series get fewer of them each the longer the window is.
      const room = Math.max(1, Math.floor((4 * BUCKETS_MAX) / Math.max(1, (until - from) / stepMs)))
      const canonical = canonicalName(query.metric_name)
      const notes = query.metadata ? deps.notes.list(labelsOf(name, labels), from, until, 1000) : null
      return {
        data: {
          metric_name: canonical,
          unit: knownMetric(canonical)?.unit ?? '',
          step: stepMs / SECOND,
          points: pointsOf(answer.points),
          series: answer.series.slice(0, room).map((s) => ({ labels: toObject(s.labels), points: pointsOf(s.points) })),
          matched_series: answer.matched,
          ...(notes ? { metadata: notes.map(({ at, metadata }) => ({ t: toIso(at), metadata })) } : {}),
        },
      }
    },
  })

function timeOf(path: string, text: string | undefined): Millis | null {
  if (text === undefined) return null
  const at = fromIso(text)
  if (at === null) throw invalid([{ path, message: 'expected an ISO 8601 time with its zone' }])
  return at
}

function stepFor(spanMs: number): number {
  const seconds = spanMs / SECOND / CHART_POINTS
  const step = STEPS.find((s) => s >= seconds) ?? Math.ceil(seconds / 86_400) * 86_400
  return step * SECOND
}

function pointsOf(columns: PointColumns) {
  return Array.from({ length: columns.length }, (_, i) => ({
    t: toIso(columns.times[i]!),
    v: columns.mean[i]!,
    min: columns.min[i]!,
    max: columns.max[i]!,
    count: columns.count[i]!,
  }))
}
