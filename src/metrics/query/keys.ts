/** What can be configured about queries; `metrics/config.ts` takes these keys in. */
import type { ConfigOf } from '../../base/config-key.ts'
import { integer, seconds } from '../../base/config-key.ts'
import type { WorkerLimits } from './operations.ts'

export const queryKeys = {
  queryConcurrency: integer('query.concurrency', 2, {
    min: 1,
    max: 64,
    env: 'QUERY_CONCURRENCY',
    help: 'Queries that run at once, each in a thread of its own; further ones wait.',
  }),
  queryQueueMax: integer('query.queue_max', 100, {
    min: 0,
    max: 10_000,
    help: 'Queries that may wait; further ones are answered with 503.',
  }),
  queryTimeout: seconds('query.timeout', 120, {
    min: 1,
    max: 3600,
    env: 'QUERY_TIMEOUT',
    help: 'Longest time of a query, waiting included; a query may ask for less.',
  }),
  querySamplesMax: integer('query.samples_max', 50_000_000, {
    min: 1000,
    max: 10_000_000_000,
    env: 'QUERY_SAMPLES_MAX',
    help: 'Most samples that one query may read.',
  }),
  querySeriesMax: integer('query.series_max', 200_000, {
    min: 1,
    max: 10_000_000,
    help: 'Most series that one selector may match.',
  }),
  queryStepsMax: integer('query.steps_max', 11_000, {
    min: 1,
    max: 1_000_000,
    help: 'Most steps of a range query.',
  }),
  queryMemoryMax: integer('query.memory_max', 512, {
    min: 16,
    max: 65_536,
    unit: 'MiB',
    help: 'Most memory for the columns of one query.',
  }),
  queryResultMax: integer('query.result_max', 256, {
    min: 1,
    max: 2048,
    unit: 'MiB',
    help: 'Largest answer to a query.',
  }),
  queryLookback: seconds('query.lookback', 300, {
    min: 1,
    max: 86_400,
    help: 'How far back an instant value may lie.',
  }),
  querySubqueryStep: seconds('query.subquery_step', 60, {
    min: 1,
    max: 86_400,
    help: 'Step of a subquery that names none.',
  }),
}

export type QueryConfig = ConfigOf<typeof queryKeys>

/** What the configuration says of a query's size, as the engine counts it. */
export function workerLimits(config: QueryConfig): WorkerLimits {
  return {
    samplesMax: config.querySamplesMax,
    seriesMax: config.querySeriesMax,
    stepsMax: config.queryStepsMax,
    memoryMax: config.queryMemoryMax * 1048576,
    resultMax: config.queryResultMax * 1048576,
    lookbackMs: config.queryLookback * 1000,
    subqueryStepMs: config.querySubqueryStep * 1000,
  }
}

/** The same where there is no configuration. */
export function defaultLimits(): WorkerLimits {
  const entries = Object.entries(queryKeys).map(([key, { fallback }]) => [key, fallback])
  return workerLimits(Object.fromEntries(entries) as QueryConfig)
}
