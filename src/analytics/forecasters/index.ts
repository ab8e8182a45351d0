/** Forecasts: samples to steps, steps to a model, a model to forecasts with intervals, baselines beside. */
export type { Candidates, ForecastModel, ForecastOptions, HorizonForecast } from './model.ts'
export { candidates, fitModel, predict } from './model.ts'
export { findPeriod, type Period } from './periods.ts'
export type { StepSeries } from './series.ts'
export { stepSeries } from './series.ts'
