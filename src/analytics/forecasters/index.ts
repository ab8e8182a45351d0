/** Forecasts: histories to steps, steps to a model, a model to forecasts with intervals. */
export type { ForecastModel, ForecastOptions, HorizonForecast } from './model.ts'
export { fitModel, predict } from './model.ts'
export type { StepSeries } from './series.ts'
export { stepSeries } from './series.ts'
