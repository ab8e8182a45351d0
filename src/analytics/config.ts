/** What can be configured of analytics. */
import type { ConfigOf } from '../base/config-key.ts'
import { bool, integer, integers, number, seconds, text } from '../base/config-key.ts'
import { err, ok } from '../base/result.ts'
import { isTimeZone } from './zone.ts'

const horizons = integers('analytics.prediction_horizons', [15, 30, 60, 120], {
  env: 'ANALYTICS_PREDICTION_HORIZONS',
  live: true,
  min: 1,
  max: 10_080,
  help: 'How far forecasts look ahead, in minutes.',
})
const timeZone = text('analytics.time_zone', 'UTC', {
  pattern: /^[A-Za-z0-9_+\-/]{1,64}$/,
  expected: 'a time zone such as Europe/Vienna',
  help: 'The zone whose days and weeks are learnt as seasons.',
})

export const analyticsKeys = {
  mlEnabled: bool('analytics.ml_enabled', true, {
    env: 'ANALYTICS_ML_ENABLED',
    live: true,
    help: 'Whether models are trained and forecasts are made.',
  }),
  predictionHorizons: {
    ...horizons,
    parse(raw: unknown) {
      const parsed = horizons.parse(raw)
      return parsed.ok ? ok([...new Set(parsed.value)]) : parsed
    },
  } as typeof horizons,
  anomalyThreshold: number('analytics.anomaly_threshold', 2.5, {
    env: 'ANALYTICS_ANOMALY_THRESHOLD',
    min: 0.5,
    max: 100,
    unit: 'deviations',
    help: 'Distance from the expected value from which a sample is an anomaly; 2.5 is the designed false-alarm rate.',
  }),
  minDataPoints: integer('analytics.min_data_points', 50, {
    live: true,
    min: 10,
    max: 100_000,
    help: 'Samples that a metric needs before a model is trained.',
  }),
  retrainInterval: seconds('analytics.model_retrain_interval', 3600, {
    live: true,
    min: 300,
    max: 604_800,
    help: 'Time between two trainings of a model; forecasts are made every five minutes all the same.',
  }),
  trainingBudget: number('analytics.training_budget', 5, {
    live: true,
    min: 0.1,
    max: 100,
    unit: 'per cent',
    help: 'Share of one core that training may take; the metrics people look at come first.',
  }),
  insightConfidence: number('analytics.insight_confidence_threshold', 0.7, {
    live: true,
    min: 0,
    max: 1,
    help: 'Weaker insights are not published.',
  }),
  timeZone: {
    ...timeZone,
    parse(raw: unknown) {
      const parsed = timeZone.parse(raw)
      return parsed.ok && !isTimeZone(parsed.value) ? err(timeZone.expected) : parsed
    },
  } as typeof timeZone,
  seasonMemory: integer('analytics.season_memory_mib', 64, {
    min: 0,
    max: 65_536,
    unit: 'MiB',
    help: 'Memory for learnt seasons, about 1.2 KiB a series; series beyond it are watched without seasons.',
  }),
} as const

export type AnalyticsConfig = ConfigOf<typeof analyticsKeys>
