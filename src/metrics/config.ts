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
