/**
 * The main thread's side of training: a thread started when there is work and ended after it, so that models cost no
 * memory between cycles. A job that fails or takes too long costs only its own forecast.
 */
import { Worker } from 'node:worker_threads'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { caller } from '../base/rpc.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Train } from './forecasting.ts'
import type { TrainJob, TrainResult } from './training.ts'

/** For all jobs of a cycle; then the thread is ended, whatever it does. */
const TIME_MAX_MS = 120_000

type TrainingOperations = { train(job: TrainJob): TrainResult | null }

export function trainingThread(worker: URL, scheduler: Scheduler, log: Log): Train {
  return async (jobs, budgetMs = TIME_MAX_MS, signal) => {
    if (jobs.length === 0) return []
    const thread = new Worker(worker, { name: 'training' })
    const remote = caller<TrainingOperations>(thread)
    const end = (why: string) => {
      remote.close(why)
      void thread.terminate()
    }
    thread.on('error', (error) => end(messageOf(error)))
    const limit = scheduler.after(TIME_MAX_MS, () => end('Training took too long.'))
    try {
      const results: (TrainResult | null)[] = []
      const started = scheduler.clock.monotonic()
      for (const job of jobs) {
        if (signal?.aborted || scheduler.clock.monotonic() - started > budgetMs) {
          results.push(null)
          continue
        }
        try {
          results.push(await remote.call('train', job))
        } catch (error) {
          log.warn('a metric could not be forecast', { metric: job.metric, why: messageOf(error) })
          results.push(null)
        }
      }
      return results
    } finally {
      limit.cancel()
      end('Training is over.')
    }
  }
}
