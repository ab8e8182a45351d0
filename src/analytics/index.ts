/** The front door of analytics. */
export { type Anomalies, type Anomaly, type AnomalyEvent, openAnomalies } from './anomalies.ts'
export type { SeriesList } from './choice.ts'
export { openAnalytics } from './database.ts'
export { Detector, type DetectorOptions, type Samples } from './detectors/detector.ts'
export {
  describeOnset,
  type Onset,
  type Season,
  scoreOf,
  severityOf,
  THRESHOLD_DEFAULT,
  type View,
} from './detectors/onset.ts'
export { type Analytics, type AnalyticsSettings, startAnalytics } from './engine.ts'
export {
  candidates,
  type ForecastModel,
  type ForecastOptions,
  fitModel,
  type HorizonForecast,
  predict,
  type StepSeries,
  stepSeries,
} from './forecasters/index.ts'
export type { Forecasts, Prediction, QualityRow, SeriesForecast } from './forecasting.ts'
export type { Insight } from './insights/insight.ts'
export { type AnalyticsNote, LiveDetector, type LiveOptions } from './live.ts'
export type { PointNote, PointNotes } from './point-notes.ts'
export { pointNotes, pointNotesTable } from './point-notes.ts'
export type { LabelPairs, SeriesId } from './series-id.ts'
export { type TrainJob, train } from './training.ts'
export { trainingThread } from './training-thread.ts'
export { isTimeZone, zoneOffset } from './zone.ts'
