/** A query worker of control: reads head and segments, evaluates PromQL. */
import { runQueryWorker } from '../metrics/index.ts'

export type { QueryOperations } from '../metrics/index.ts'

runQueryWorker()
