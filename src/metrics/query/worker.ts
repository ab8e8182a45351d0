/** A query worker's side of its thread: opens the store for reading and answers calls until it is ended. */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../base/clock.ts'
import { answer, Transfer } from '../../base/rpc.ts'
import { openReader } from '../store/reader.ts'
import type { StoreShare } from '../store/shared.ts'
import { defaultLimits } from './keys.ts'
import type { ApiAnswer, QueryOperations, WorkerLimits } from './operations.ts'
import { queryOperations } from './operations.ts'
import { warmUp } from './warm-up.ts'

export interface QueryWorkerData {
  readonly share: StoreShare
  /** One word; see `operations.ts`. None: nobody will tell it to stop. */
  readonly flag?: SharedArrayBuffer
  /** The defaults of the configuration when absent. */
  readonly limits?: WorkerLimits
}

/** Operations as they are called across threads: bytes are moved, not copied. */
export type QueryWorkerOperations = {
  [K in keyof QueryOperations]: (
    args: Parameters<QueryOperations[K]>[0],
  ) => ReturnType<QueryOperations[K]> | Transfer<ReturnType<QueryOperations[K]>>
}

export function runQueryWorker(): void {
  const { share, flag = new SharedArrayBuffer(4), limits = defaultLimits() } = workerData as QueryWorkerData
  const operations = queryOperations({
    reader: openReader(share, systemClock),
    flag: new Int32Array(flag),
    limits: () => limits,
    monotonic: () => systemClock.monotonic(),
  })
  const moved =
    <A>(work: (args: A) => ApiAnswer) =>
    (args: A) => {
      const made = work(args)
      return new Transfer(made, [made.body.buffer])
    }
  answer(parentPort!, {
    query: moved(operations.query),
    series: moved(operations.series),
    labels: moved(operations.labels),
    labelValues: moved(operations.labelValues),
    format: moved(operations.format),
    evaluate: operations.evaluate,
    prepare: operations.prepare,
    points: operations.points,
    top: operations.top,
    ids: operations.ids,
    selectors: operations.selectors,
  } satisfies QueryWorkerOperations)
  warmUp(limits, setImmediate)
}
