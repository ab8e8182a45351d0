/**
 * Queries as control's main thread sees them: a pool of query workers, each with one query at a time.
 *
 *   call ─▶ worker that is free and ready? ─▶ runs ─▶ answer
 *              │ no                  └─ out of time, or the client is gone ─▶ flag ─▶ (a second later) the worker is replaced
 *              └─▶ waits, up to a limit and its timeout; after a while for one more worker, as long as there may be more
 *
 * A worker is told to stop by a word of shared memory that it looks at between series. One that does not listen is ended,
 * which frees all that its query held, and another is started when it is needed. Until a new worker is ready its query
 * waits, and takes an older one that is free before.
 *
 * What the platform asks for its own use, with nobody waiting, goes in the gaps: one call at a time, while no other query
 * runs or did a moment ago, but never later than a while after it was asked.
 */
import { Worker } from 'node:worker_threads'
import { AppError, messageOf, unavailable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Caller } from '../base/rpc.ts'
import { caller } from '../base/rpc.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { QueryConfig } from './query/keys.ts'
import { workerLimits } from './query/keys.ts'
import type { QueryOperations } from './query/operations.ts'
import { CANCELLED, RUN, TIMED_OUT } from './query/operations.ts'
import type { QueryWorkerData, QueryWorkerOperations } from './query/worker.ts'
import type { StoreShare } from './store/shared.ts'

/** How long a worker may take to notice the flag. */
const GRACE_MS = 1000

/** Heap of a worker's own, for the index of series and what is left of labels; columns lie outside of V8's heap. */
const HEAP_MIB = 1024

/** The first worker is there, and quick, before the first query: it starts this long after `prepare`. */
const EARLY_MS = 1000

/**
 * A query waits this long for the workers there are before another one is started, which costs 0.3 CPU-s and 15 MB for
 * as long as the platform runs: two short queries at the same moment are no reason.
 */
const PATIENCE_MS = 500
/** So long after another query the platform's own calls wait for the next one, … */
const QUIET_MS = 200
/** … and so long at most. */
const HELD_MS = 2000

export interface CallOptions {
  /** Nobody waits for it: other queries go first. */
  readonly background?: boolean
  /** Aborted when nobody waits for the answer any more. */
  readonly signal?: AbortSignal
  /** Less than the configured time. */
  readonly timeoutMs?: number
}

type Operation = keyof QueryOperations
type Answer<K extends Operation> = Awaited<ReturnType<QueryOperations[K]>>

export interface QueryService {
  /**
   * Runs an operation in a worker. Rejects with `QueryStopped` when its time is over or the caller is gone, with 503
   * when too many wait, and with what the operation throws.
   */
  call<K extends Operation>(
    operation: K,
    args: Parameters<QueryOperations[K]>[0],
    options?: CallOptions,
  ): Promise<Answer<K>>
  /** Has a worker started before the first query, once the caller has nothing more urgent to start. */
  prepare(): void
  stop(): Promise<void>
}

/** A query that was ended before its answer. */
export class QueryStopped extends AppError {
  readonly reason: 'timeout' | 'canceled'
  constructor(reason: 'timeout' | 'canceled', where: string) {
    super(503, reason, reason === 'timeout' ? `query timed out in ${where}` : `query was canceled in ${where}`)
    this.reason = reason
  }
}

const stopped = (reason: 'timeout' | 'canceled') => new QueryStopped(reason, 'expression evaluation')

export interface QueryServiceOptions {
  readonly share: StoreShare
  readonly worker: URL
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  config(): QueryConfig
}

interface Member {
  readonly thread: Worker
  readonly calls: Caller<QueryWorkerOperations>
  readonly flag: Int32Array
  /** It runs a query, or is being made ready for its first. */
  busy: boolean
  job: Job | null
}

interface Job {
  readonly operation: Operation
  readonly args: never
  readonly background: boolean
  /** When it was called, on the monotonic clock. */
  readonly since: number
  /** What ended it before its answer. */
  ended: 'timeout' | 'canceled' | null
  member: Member | null
  resolve(value: unknown): void
  reject(error: unknown): void
}

export function startQueries(options: QueryServiceOptions): QueryService {
  const { scheduler, log, telemetry } = options
  const { clock } = scheduler
  const members = new Set<Member>()
  const queue: Job[] = []
  let stopping = false
  let early: Cancel | null = null
  let patience: Cancel | null = null
  /** When the last query that somebody waits for began or ended. */
  let asked = Number.NEGATIVE_INFINITY
  let waking: Cancel | null = null

  const seconds = telemetry.histogram(
    'opinion_market_query_seconds',
    'Time of queries, waiting included.',
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120],
  )
  const ended = (outcome: string) =>
    telemetry.counter('opinion_market_queries_total', 'Queries, by what became of them.', { outcome })
  const replaced = telemetry.counter(
    'opinion_market_query_workers_replaced_total',
    'Query workers that had to be ended.',
  )
  telemetry.gauge('opinion_market_queries_waiting', 'Queries that wait for a worker.', {}, () => queue.length)
  telemetry.gauge('opinion_market_queries_running', 'Queries that run.', {}, () => running())
  telemetry.gauge('opinion_market_query_workers', 'Query workers, idle ones included.', {}, () => members.size)
  const running = () => [...members].filter((member) => member.job !== null).length

  function start(): Member {
    const shared = new SharedArrayBuffer(4)
    const workerData: QueryWorkerData = { share: options.share, flag: shared, limits: workerLimits(options.config()) }
    const resourceLimits = { maxOldGenerationSizeMb: HEAP_MIB + options.config().queryMemoryMax }
    const thread = new Worker(options.worker, { workerData, name: 'query', resourceLimits })
    const member: Member = {
      thread,
      calls: caller<QueryWorkerOperations>(thread),
      flag: new Int32Array(shared),
      busy: true,
      job: null,
    }
    members.add(member)
    member.calls.call('prepare', undefined).then(
      () => released(member),
      (error) => {
        if (!members.has(member) || stopping) return
        log.warn('a query worker could not be made ready', { error })
        released(member)
      },
    )
    thread.on('error', (error) => {
      log.error('a query worker failed', { error })
      dismiss(member, messageOf(error))
    })
    thread.on('exit', () => dismiss(member, 'the query worker has ended'))
    return member
  }

  function dismiss(member: Member, why: string): void {
    if (!members.delete(member)) return
    member.calls.close(why)
    void member.thread.terminate()
    // It was being made ready for this one, which is not to wait for the next that may fail.
    if (member.busy && member.job === null) queue.shift()?.reject(unavailable(why))
    if (!stopping) dispatch()
  }

  function dispatch(): void {
    while (!stopping) {
      const job = nextJob()
      if (!job) return
      const free = [...members].find((member) => !member.busy)
      if (!free) {
        needWorker(job)
        return
      }
      queue.splice(queue.indexOf(job), 1)
      run(job, free)
    }
  }

  /** Starts one more when there may be more, the job has waited for a while and none is being made ready already. */
  function needWorker(job: Job): void {
    if (members.size >= options.config().queryConcurrency) return
    if (members.size > 0) {
      if ([...members].some((member) => member.job === null)) return
      const wait = job.since + PATIENCE_MS - clock.monotonic()
      if (wait > 0) {
        dispatchIn(wait)
        return
      }
    }
    start()
  }

  function dispatchIn(ms: number): void {
    patience ??= scheduler.after(ms, () => {
      patience = null
      dispatch()
    })
  }

  /** The first that somebody waits for; one of the platform's own when its time has come. */
  function nextJob(): Job | null {
    const own = [...members].some((member) => member.job?.background) ? undefined : queue.find((job) => job.background)
    const now = clock.monotonic()
    const overdue = own !== undefined && now - own.since >= HELD_MS
    if (overdue) return own
    const first = queue.find((job) => !job.background)
    if (first || !own) return first ?? null
    const held = own.since + HELD_MS
    const until = running() > 0 ? held : Math.min(held, asked + QUIET_MS)
    if (until <= now) return own
    waking?.cancel()
    waking = scheduler.after(until - now, dispatch)
    return null
  }

  function released(member: Member): void {
    if (member.job && !member.job.background) asked = clock.monotonic()
    member.busy = false
    member.job = null
    dispatch()
  }

  async function run(job: Job, member: Member): Promise<void> {
    member.busy = true
    member.job = job
    job.member = member
    if (!job.background) asked = clock.monotonic()
    Atomics.store(member.flag, 0, RUN)
    try {
      job.resolve(await member.calls.call(job.operation, job.args))
    } catch (error) {
      job.reject(error)
    } finally {
      released(member)
    }
  }

  /** Ends a job: in the queue at once, in a worker as soon as that notices, or with the worker. */
  function end(job: Job, reason: 'timeout' | 'canceled'): Cancel | null {
    if (job.ended) return null
    job.ended = reason
    const place = queue.indexOf(job)
    if (place >= 0) {
      queue.splice(place, 1)
      job.reject(new QueryStopped(reason, 'query queue'))
      return null
    }
    const { member } = job
    if (!member) return null
    Atomics.store(member.flag, 0, reason === 'timeout' ? TIMED_OUT : CANCELLED)
    return scheduler.after(GRACE_MS, () => {
      log.warn('a query worker did not stop and is replaced', { operation: job.operation, reason })
      replaced.add()
      dismiss(member, 'stopped')
      job.reject(stopped(reason))
    })
  }

  return {
    call(operation, args, { signal, timeoutMs, background = false } = {}) {
      const config = options.config()
      if (stopping) return Promise.reject(unavailable('The platform is stopping.'))
      const waiting = queue.filter((job) => job.background === background).length
      // As many as there are workers, or will be in a moment, do not wait.
      const runsSoon = Math.max(0, config.queryConcurrency - running())
      if (waiting >= config.queryQueueMax + runsSoon) {
        ended('refused').add()
        return Promise.reject(unavailable('Too many queries wait already.', 1, 'too_many_queries'))
      }
      const began = clock.monotonic()
      const limit = Math.min(config.queryTimeout * 1000, timeoutMs ?? Number.POSITIVE_INFINITY)
      return new Promise((resolve, reject) => {
        let grace: Cancel | null = null
        let done = false
        const finish = (outcome: string) => {
          if (done) return
          done = true
          timer.cancel()
          grace?.cancel()
          signal?.removeEventListener('abort', gone)
          seconds.observe((clock.monotonic() - began) / 1000)
          ended(outcome).add()
        }
        const job: Job = {
          operation,
          args: args as never,
          background,
          since: began,
          ended: null,
          member: null,
          resolve(value) {
            finish(job.ended ?? 'answered')
            if (job.ended) reject(stopped(job.ended))
            else resolve(value as never)
          },
          reject(error) {
            finish(job.ended ?? 'failed')
            reject(job.ended && !(error instanceof QueryStopped) ? stopped(job.ended) : error)
          },
        }
        const gone = () => {
          grace = end(job, 'canceled')
        }
        const timer = scheduler.after(limit, () => {
          grace = end(job, 'timeout')
        })
        signal?.addEventListener('abort', gone, { once: true })
        queue.push(job)
        if (signal?.aborted) gone()
        dispatch()
      })
    },
    prepare() {
      early ??= scheduler.after(EARLY_MS, () => {
        if (members.size === 0 && !stopping) start()
      })
    },
    async stop() {
      stopping = true
      early?.cancel()
      patience?.cancel()
      waking?.cancel()
      for (const job of queue.splice(0)) job.reject(unavailable('The platform is stopping.'))
      await Promise.all(
        [...members].map(({ thread, calls }) => {
          calls.close('The platform is stopping.')
          return thread.terminate()
        }),
      )
      members.clear()
    },
  }
}
