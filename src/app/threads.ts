/**
 * Worker threads that are started again when they end: a query that takes too much memory costs its own answers (503),
 * never the platform.
 */
import { Worker } from 'node:worker_threads'
import type { Log } from '../base/log.ts'
import type { Caller, Operations } from '../base/rpc.ts'
import { caller } from '../base/rpc.ts'
import type { Scheduler } from '../base/scheduler.ts'

/** A file beside this one, compiled or not. */
export const beside = (name: string) => new URL(`./${name}${import.meta.url.slice(-3)}`, import.meta.url)

export interface KeptThread<O extends Operations> {
  readonly call: Caller<O>['call']
  readonly restarts: number
  stop(): Promise<void>
}

export interface ThreadOptions {
  /** For the log and the debugger. */
  readonly name: string
  readonly file: URL
  readonly data: unknown
  readonly memoryMaxMb: number
  readonly scheduler: Scheduler
  readonly log: Log
}

const RESTART_MS = 500

/** Starts the thread; calls made while it is away are refused with 503. */
export function keepThread<O extends Operations>(options: ThreadOptions): KeptThread<O> {
  const { name, scheduler, log } = options
  let restarts = 0
  let stopping = false
  let worker: Worker
  let calls: Caller<O>
  start()

  function start() {
    worker = new Worker(options.file, {
      name,
      workerData: options.data,
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMaxMb },
    })
    const own = caller<O>(worker)
    calls = own
    worker.on('error', (error) => log.error('a thread failed', { thread: name, error }))
    worker.on('exit', (code) => {
      own.close(`The ${name} thread has ended; it is started again.`)
      if (stopping) return
      restarts++
      log.warn('a thread ended and is started again', { thread: name, code, restarts })
      scheduler.after(RESTART_MS, () => {
        if (!stopping) start()
      })
    })
  }

  return {
    call: (op, args, transfer) => calls.call(op, args, transfer),
    get restarts() {
      return restarts
    },
    async stop() {
      stopping = true
      await worker.terminate()
    },
  }
}
