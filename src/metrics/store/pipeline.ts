/**
 * The pipeline thread: takes bodies and batches, decodes, stores, and answers them in groups.
 *
 *   main ──{id, columns | body}──▶ decode ─▶ Store.append ┐ as long as more is waiting
 *   main ◀──[{id, outcome}, …]──── Store.commit ◀─────────┘ one fdatasync for the whole group
 *
 * When the disk fails to make a group durable, nobody can say what of it is on disk: the thread ends, control with it,
 * and the next start reads what there is.
 */
import type { MessagePort } from 'node:worker_threads'
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../base/clock.ts'
import type { FieldError } from '../../base/errors.ts'
import { AppError, messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import { answer } from '../../base/rpc.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import type { SampleColumns } from '../columns.ts'
import type { IngestFormat } from '../ingest/decode.ts'
import { Decoder } from '../ingest/decode.ts'
import type { AppendOptions, AppendOutcome, SeriesView, WalConsumer } from '../metrics.ts'
import type { Work, WorkResult } from './compaction.ts'
import type { StoreConfig } from './store.ts'
import { Store } from './store.ts'

/** After this long, what was stored so far is answered before more is taken. */
const GROUP_MS = 10
const MAINTAIN_MS = 1000
const CHECKPOINT_MS = 10_000
const PLAN_MS = 60_000
const DELETE_AT_ONCE = 2000

export interface PipelineStart {
  readonly config: StoreConfig
  readonly data: MessagePort
  /** What the composition of consumers wants to know. */
  readonly consumers: unknown
}

export interface PipelineRequest {
  readonly id: number
  readonly options: AppendOptions
  readonly columns?: SampleColumns
  readonly format?: IngestFormat
  readonly body?: Uint8Array
}

export interface WireFailure {
  readonly status: number
  readonly code: string
  readonly message: string
  readonly fields: readonly FieldError[]
  readonly retryAfterSeconds: number | undefined
}

export interface PipelineReply {
  readonly id: number
  readonly outcome?: AppendOutcome
  readonly skipped?: Readonly<Record<string, number>>
  readonly failure?: WireFailure
}

export interface PipelineReplies {
  readonly replies: readonly PipelineReply[]
  /** How long the group's fsync took. */
  readonly syncMs: number
}

export type PipelineNote =
  /** Work for the compaction thread. */
  | { readonly note: 'work'; readonly work: Work }
  | {
      readonly note: 'log'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }

/** What consumers are made from. */
export interface ConsumerContext extends SeriesView {
  /** As given to `startMetrics`. */
  readonly data: unknown
  readonly log: Log
  readonly scheduler: Scheduler
}

/** Calls that main makes now and then. */
export type PipelineOperations = {
  latest(labels: Uint8Array): { time: number; value: number } | null
  flush(args: null): Promise<void>
  /** What became of work for the compaction thread; answers the next piece. */
  worked(done: { readonly work: Work; readonly result?: WorkResult; readonly error?: string }): Work | null
  /** Answers how many series there were, when their end is durable. */
  delete(ids: readonly number[]): Promise<number>
  /** Ends the store: all is durable and in segments. */
  stop(args: null): Promise<void>
}

/** Runs the thread until it is told to stop; the body of `app/pipeline-worker.ts`. */
export function runPipeline(makeConsumers: (context: ConsumerContext) => readonly WalConsumer[] = () => []): void {
  const port = parentPort!
  const { config, data, consumers } = workerData as PipelineStart
  const log = portLog((note) => port.postMessage(note), {})
  const scheduler = systemScheduler((error) => log.error('A timer of the pipeline failed.', { error }))
  const { clock } = scheduler
  const store = new Store(config, systemClock, log, (series) =>
    makeConsumers({ ...series, data: consumers, log, scheduler }),
  )
  const decoder = new Decoder()
  let replies: PipelineReply[] = []

  const take = ({ id, options, columns, format, body }: PipelineRequest) => {
    try {
      if (columns) replies.push({ id, outcome: store.append(columns, options) })
      else {
        const decoded = decoder.decode(format!, body!, clock.now())
        replies.push({ id, outcome: store.append(decoded.columns, options), skipped: decoded.skipped })
      }
    } catch (error) {
      if (!(error instanceof AppError)) log.error('A batch could not be stored.', { error })
      replies.push({ id, failure: toWire(error) })
    }
  }
  const commit = () => {
    const started = clock.monotonic()
    store.commit()
    const done: PipelineReplies = { replies, syncMs: clock.monotonic() - started }
    replies = []
    data.postMessage(done)
  }
  const takeMore = (ms: number) => {
    for (const started = clock.monotonic(); clock.monotonic() - started < ms; ) {
      const next = receiveMessageOnPort(data) as { message: PipelineRequest } | undefined
      if (!next) break
      take(next.message)
    }
    commit()
  }
  data.on('message', (first: PipelineRequest) => {
    take(first)
    takeMore(GROUP_MS)
  })
  const rest = () => scheduler.sleep(1)
  const maintain = scheduler.every(MAINTAIN_MS, async () => {
    store.lookAtDisk()
    store.figures()
    if (store.flushDue) await store.flush(rest)
  })
  let working = false
  const plan = scheduler.every(PLAN_MS, () => {
    if (working) return
    const work = store.nextWork()
    if (!work) return
    working = true
    port.postMessage({ note: 'work', work } satisfies PipelineNote)
  })
  const checkpoint = scheduler.every(CHECKPOINT_MS, () => store.checkpoint())
  const operations: PipelineOperations = {
    latest: (labels) => store.latest(labels),
    flush: () => store.flush(rest),
    worked({ work, result, error }) {
      const next = result ? store.worked(work, result) : null
      if (error !== undefined) store.workFailed(error)
      working = next !== null
      return next
    },
    delete: async (ids) => {
      let count = 0
      for (let from = 0; from < ids.length; from += DELETE_AT_ONCE) {
        count += store.deleteSeries(ids.slice(from, from + DELETE_AT_ONCE))
        store.commit()
        await rest()
      }
      return count
    },
    stop: async () => {
      maintain.cancel()
      plan.cancel()
      checkpoint.cancel()
      takeMore(Number.POSITIVE_INFINITY) // what was sent before the end is stored and answered
      data.removeAllListeners('message')
      await store.close()
      data.close()
    },
  }
  answer(port, operations)
  port.postMessage({ ready: store.share })
}

function toWire(error: unknown): WireFailure {
  if (error instanceof AppError) {
    const { status, code, message, fields, retryAfterSeconds } = error
    return { status, code, message, fields, retryAfterSeconds }
  }
  return { status: 500, code: 'internal', message: messageOf(error), fields: [], retryAfterSeconds: undefined }
}

/** A log that sends its lines to the main thread. */
export function portLog(post: (note: PipelineNote) => void, bound: Readonly<Record<string, unknown>>): Log {
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      const all: Record<string, unknown> = { ...bound, ...fields }
      if (all.error instanceof Error)
        all.error = { name: all.error.name, message: all.error.message, stack: all.error.stack }
      post({ note: 'log', level, message, fields: all })
    }
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => portLog(post, { ...bound, ...fields }),
  }
}
