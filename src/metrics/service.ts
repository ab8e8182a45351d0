/**
 * Metrics as control's main thread holds them: starts the pipeline thread, hands bodies and batches over, counts what
 * became of them, and gives other threads what they need to read.
 *
 *   const metrics = await startMetrics({ … })      resolves when the WAL is replayed
 *   await metrics.ingest({ kind: 'remote_write' }, body, { source: 'remote_write' })
 *   new Worker(queryWorker, { workerData: { share: metrics.share } })      there: openReader(share, clock)
 *   await metrics.stop()
 */
import { MessageChannel, type Transferable, Worker } from 'node:worker_threads'
import type { Clock } from '../base/clock.ts'
import { AppError, messageOf, unavailable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { caller } from '../base/rpc.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import { DAY, HOUR, MINUTE } from '../base/time.ts'
import type { SampleColumns } from './columns.ts'
import type { MetricsConfig } from './config.ts'
import type { IngestFormat } from './ingest/decode.ts'
import type { Labels } from './labels.ts'
import { encodeLabels } from './labels.ts'
import type { Appender, AppendOptions, AppendOutcome } from './metrics.ts'
import type { CompactionOperations, Work, WorkResult } from './store/compaction.ts'
import type {
  PipelineNote,
  PipelineOperations,
  PipelineReplies,
  PipelineRequest,
  PipelineStart,
} from './store/pipeline.ts'
import type { StoreShare } from './store/shared.ts'
import { Control, FIGURE } from './store/shared.ts'
import type { StoreConfig } from './store/store.ts'
import { storeDefaults } from './store/store.ts'

/** Waiting for the pipeline at most; more is refused with 503. */
const WAITING_BYTES_MAX = 64 << 20
const WAITING_MAX = 4096

export interface MetricsOptions {
  /** The directory of the store alone. */
  readonly dir: string
  readonly config: Pick<
    MetricsConfig,
    | 'retentionDays'
    | 'retentionBytes'
    | 'rollup5mDays'
    | 'rollup1hDays'
    | 'seriesMax'
    | 'labelsMax'
    | 'labelNameBytesMax'
    | 'labelValueBytesMax'
  >
  readonly clock: Clock
  readonly log: Log
  readonly telemetry: Telemetry
  readonly workers: { readonly pipeline: URL; readonly compaction: URL }
  /** For the composition of consumers in the pipeline thread, which gets it as `ConsumerContext.data`. */
  readonly consumers?: { readonly data: unknown; readonly transfer: readonly Transferable[] }
  /** The pipeline thread ended by itself: control should end too, and be started again. */
  readonly onFailure: (error: Error) => void
}

export type IngestOutcome = AppendOutcome & {
  /** What the body held and was left out, by why, in numbers of points. */
  readonly skipped: Readonly<Record<string, number>>
}

export interface Metrics extends Appender {
  /**
   * Decodes a body in the pipeline thread and stores it, with the promises of `append`. The body is moved when it owns
   * its memory: do not use it afterwards. Rejects with `AppError` 400 or 413 for a body that is no such format.
   */
  ingest(format: IngestFormat, body: Uint8Array, options: AppendOptions): Promise<IngestOutcome>
  /** For `openReader` in any thread of this process. */
  readonly share: StoreShare
  /** The newest sample of one series, null when it has none. */
  latest(labels: Labels): Promise<{ readonly time: Millis; readonly value: number } | null>
  /** Deletes series with all their samples, durably. Answers how many of the ids were live. */
  deleteSeries(ids: readonly number[]): Promise<number>
  /** Moves the head into segments now. */
  flush(): Promise<void>
  /** Everything answered is durable; ends the threads. */
  stop(): Promise<void>
}

export async function startMetrics(options: MetricsOptions): Promise<Metrics> {
  const { log, telemetry } = options
  const counts = counters(telemetry)
  const { port1: data, port2 } = new MessageChannel()
  const { consumers } = options
  const start: PipelineStart = { config: storeConfig(options), data: port2, consumers: consumers?.data }
  const worker = new Worker(options.workers.pipeline, {
    workerData: start,
    transferList: [port2, ...(consumers?.transfer ?? [])],
    name: 'pipeline',
  })
  const waiting = new Map<number, Waiting>()
  let waitingBytes = 0
  let next = 1
  let stopping = false
  const pipeline = caller<PipelineOperations>(worker)

  const gone = (why: string) => {
    pipeline.close(why)
    for (const call of waiting.values()) call.reject(unavailable(why))
    waiting.clear()
    data.close()
  }
  const share = await new Promise<StoreShare>((resolve, reject) => {
    worker.on('message', (message: PipelineNote | { ready: StoreShare } | { rpc: string }) => {
      if ('ready' in message) resolve(message.ready)
      else if ('note' in message && message.note === 'work') void compact(message.work)
      else if ('note' in message && message.note === 'log') log[message.level](message.message, message.fields)
    })
    worker.on('error', (error) => {
      reject(error)
      gone('The metrics pipeline has failed.')
      if (!stopping) options.onFailure(error)
    })
    worker.on('exit', (code) => {
      reject(new Error(`the pipeline thread ended with ${code}`))
      if (!stopping && code === 0) options.onFailure(new Error('the pipeline thread ended'))
      gone('The metrics pipeline has ended.')
    })
  })
  gauges(telemetry, new Control(share.control))

  let compactor: Worker | null = null
  /** Starts the compaction thread, keeps it while there is work, ends it. */
  async function compact(first: Work): Promise<void> {
    if (stopping) return
    const thread = new Worker(options.workers.compaction, { workerData: { share }, name: 'compaction' })
    const calls = caller<CompactionOperations>(thread)
    compactor = thread
    thread.on('error', (error) => calls.close(messageOf(error)))
    thread.on('exit', () => calls.close('the compaction thread ended'))
    for (let work: Work | null = first; work !== null && !stopping; ) {
      try {
        const result: WorkResult = await calls.call('run', work)
        work = await pipeline.call('worked', { work, result })
      } catch (error) {
        if (stopping) break
        work = await pipeline.call('worked', { work: work!, error: messageOf(error) }).catch(() => null)
      }
    }
    compactor = null
    await thread.terminate()
  }

  data.on('message', ({ replies, syncMs }: PipelineReplies) => {
    counts.sync.observe(syncMs / 1000)
    for (const reply of replies) {
      const call = waiting.get(reply.id)
      if (!call) continue
      waiting.delete(reply.id)
      waitingBytes -= call.bytes
      if (reply.failure) {
        const { status, code, message, fields, retryAfterSeconds } = reply.failure
        counts.failed(call.source)
        const more = retryAfterSeconds === undefined ? {} : { retryAfterSeconds }
        call.reject(new AppError(status, code, message, { fields, ...more }))
      } else {
        counts.outcome(call.source, reply.outcome!)
        call.resolve({ ...reply.outcome!, skipped: reply.skipped ?? {} })
      }
    }
  })

  const send = (request: Omit<PipelineRequest, 'id'>, bytes: number, move: readonly ArrayBuffer[]) => {
    if (stopping) return Promise.reject(unavailable('The platform is stopping.'))
    if (waiting.size >= WAITING_MAX || waitingBytes + bytes > WAITING_BYTES_MAX) {
      return Promise.reject(unavailable('More samples are waiting than can be stored now.', 1, 'overloaded'))
    }
    return new Promise<IngestOutcome>((resolve, reject) => {
      const id = next++
      waitingBytes += bytes
      waiting.set(id, { resolve, reject, bytes, source: request.options.source })
      data.postMessage({ id, ...request }, move)
    })
  }

  return {
    share,
    append(columns: SampleColumns, appendOptions) {
      const bytes = columns.labelBytes.length + columns.sampleCount * 16
      return send({ columns, options: appendOptions }, bytes, [])
    },
    ingest(format, body, appendOptions) {
      const own = ownBytes(body)
      return send({ format, body: own, options: appendOptions }, own.length, [own.buffer])
    },
    latest: (labels) => pipeline.call('latest', encodeLabels(labels)),
    flush: () => pipeline.call('flush', null),
    deleteSeries: (ids) => pipeline.call('delete', ids),
    async stop() {
      if (stopping) return
      stopping = true
      await compactor?.terminate()
      await pipeline.call('stop', null)
      await worker.terminate()
    },
  }
}

interface Waiting {
  readonly resolve: (outcome: IngestOutcome) => void
  readonly reject: (error: unknown) => void
  readonly bytes: number
  readonly source: string
}

/** The bytes in a buffer of their own, which can be moved; a copy where they share one (Node pools small ones). */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes
  const whole = buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength
  return whole ? new Uint8Array(buffer) : new Uint8Array(bytes)
}

function storeConfig({ dir, config }: MetricsOptions): StoreConfig {
  return {
    ...storeDefaults,
    dir,
    retentionMs: config.retentionDays * DAY,
    segmentBytesMax: config.retentionBytes,
    rollupRetentionMs: { [5 * MINUTE]: config.rollup5mDays * DAY, [HOUR]: config.rollup1hDays * DAY },
    seriesMax: config.seriesMax,
    labelsMax: config.labelsMax,
    nameBytesMax: config.labelNameBytesMax,
    valueBytesMax: config.labelValueBytesMax,
  }
}

function counters(telemetry: Telemetry) {
  const of = (name: string, help: string) => (labels: Readonly<Record<string, string>>) =>
    telemetry.counter(name, help, labels)
  const accepted = of('metrics_samples_accepted_total', 'Samples stored, equal duplicates included.')
  const duplicates = of('metrics_samples_duplicate_total', 'Samples that were stored already with the same value.')
  const late = of('metrics_samples_late_total', 'Samples stored that were older than their series.')
  const refused = of('metrics_samples_refused_total', 'Samples not stored, by reason.')
  const failed = of('metrics_bodies_failed_total', 'Bodies that could not be read or stored.')
  return {
    sync: telemetry.histogram(
      'metrics_wal_sync_seconds',
      'Time to make a group of batches durable.',
      [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5],
    ),
    failed: (source: string) => failed({ source }).add(),
    outcome(source: string, outcome: AppendOutcome) {
      if (outcome.kind !== 'appended') return
      const { report } = outcome
      accepted({ source }).add(report.accepted)
      if (report.duplicates > 0) duplicates({ source }).add(report.duplicates)
      if (report.late > 0) late({ source }).add(report.late)
      for (const reason in report.refused)
        refused({ source, reason }).add(report.refused[reason as keyof typeof report.refused])
    },
  }
}

function gauges(telemetry: Telemetry, control: Control): void {
  const gauge = (name: string, help: string, figure: number) =>
    telemetry.gauge(name, help, {}, () => control.figures[figure]!)
  gauge('metrics_series', 'Series known.', FIGURE.liveSeries)
  gauge('metrics_samples_held', 'Raw samples held in memory and segments.', FIGURE.heldSamples)
  gauge('metrics_head_chunks', 'Sealed chunks in memory.', FIGURE.headChunks)
  gauge('metrics_head_bytes', 'Bytes of samples in memory.', FIGURE.headBytes)
  gauge('metrics_wal_bytes', 'Bytes of the write-ahead log.', FIGURE.walBytes)
  gauge('metrics_segments', 'Segment files.', FIGURE.segments)
  gauge('metrics_segment_bytes', 'Bytes of segment files.', FIGURE.segmentBytes)
  gauge('metrics_disk_full', '1 while the disk takes no more samples.', FIGURE.diskFull)
  gauge('metrics_damaged_files', 'Files set aside because they are damaged.', FIGURE.damagedFiles)
}
