/** What can be configured about metrics. */
import type { ConfigOf } from '../base/config-key.ts'
import { integer, number } from '../base/config-key.ts'
import { collectKeys } from './collect/keys.ts'
import { queryKeys } from './query/keys.ts'

export const metricsKeys = {
  ...collectKeys,
  ...queryKeys,
  retentionDays: number('metrics.retention_days', 15, {
    min: 0.01,
    max: 3650,
    unit: 'days',
    env: 'METRICS_RETENTION_DAYS',
    help: 'How long raw samples are kept.',
  }),
  retentionBytes: integer('metrics.retention_bytes', 0, {
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    unit: 'bytes',
    env: 'METRICS_RETENTION_BYTES',
    help: 'Most bytes of segments; beyond, the oldest samples go. 0: no limit.',
  }),
  rollup5mDays: number('metrics.rollup_5m_days', 90, {
    min: 0.01,
    max: 36_500,
    unit: 'days',
    help: 'How long roll-ups of 5 minutes are kept.',
  }),
  rollup1hDays: number('metrics.rollup_1h_days', 730, {
    min: 0.01,
    max: 36_500,
    unit: 'days',
    help: 'How long roll-ups of an hour are kept.',
  }),
  seriesMax: integer('metrics.series_max', 2_000_000, {
    min: 1,
    max: 10_000_000,
    env: 'METRICS_SERIES_MAX',
    help: 'Most series; samples of further ones are refused and counted.',
  }),
  labelsMax: integer('metrics.labels_max', 64, { min: 1, max: 1000, help: 'Most labels of one series.' }),
  labelNameBytesMax: integer('metrics.label_name_bytes_max', 256, {
    min: 16,
    max: 4096,
    unit: 'bytes',
    help: 'Longest name of a label.',
  }),
  labelValueBytesMax: integer('metrics.label_value_bytes_max', 4096, {
    min: 16,
    max: 65_536,
    unit: 'bytes',
    help: 'Longest value of a label.',
  }),
}

export type MetricsConfig = ConfigOf<typeof metricsKeys>
