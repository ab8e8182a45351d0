/** The front door of metrics. */
export type { SampleColumns } from './columns.ts'
export { ColumnBuilder, isStale, staleMarker } from './columns.ts'
export type { Label, Labels } from './labels.ts'
export { decodeLabels, encodeLabels, labelsOf, labelValue, METRIC_NAME, toObject } from './labels.ts'
export * from './metrics.ts'
export * from './names.ts'
export type { PointColumns, PointsAnswer, PointsRequest } from './points.ts'
export { BUCKETS_MAX, readPoints } from './points.ts'
