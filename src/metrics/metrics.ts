/**
 * The metrics room as others see it: what can be appended, read and watched. The types here are the contract between
 * the threads of control; who runs where is drawn in ARCHITECTURE.md.
 *
 *   ingest, collectors ──append──▶ pipeline thread (WAL, head, consumers) ──shared columns──▶ query workers
 *                                        │ flush                                                 ▲
 *                                        └──────────▶ segments on disk ──────────────────────────┘
 */
import type { Millis } from '../base/time.ts'
import type { SampleColumns } from './columns.ts'
import type { Labels } from './labels.ts'

// ---------------------------------------------------------------------------------------------- appending

/** Why a sample was not stored. */
export type Refusal =
  /** Another value is stored for this series and time. */
  | 'conflict'
  /** Older than retention reaches. */
  | 'too_old'
  /** More than ten minutes ahead of the clock. */
  | 'too_far_ahead'
  /** One series more than the limit. */
  | 'cardinality'
  /** No name, a label twice or unsorted beyond repair, too many or too long labels, not UTF-8. */
  | 'labels'

export interface AppendReport {
  /** Stored, equal duplicates included. */
  readonly accepted: number
  readonly duplicates: number
  /** Stored, but older than the state of its series: nothing live was stepped by it. */
  readonly late: number
  readonly refused: Readonly<Partial<Record<Refusal, number>>>
  /** The first refused samples (at most 1,000): index of the sample in the batch, and why. */
  readonly problems: readonly { readonly sample: number; readonly reason: Refusal }[]
}

export interface AppendOptions {
  /** Who sends, for the counters: `api`, `remote_write`, `otlp`, `scrape`, `host`, `runtime`, `edge`, `import`. */
  readonly source: string
  /**
   * An idempotency key and the answer to give again: written to the WAL in the same record as the samples. A claim
   * whose key is known is not appended; its first answer comes back instead.
   */
  readonly claim?: { readonly key: string; readonly fingerprint: string; readonly answer: string }
}

export type AppendOutcome =
  | { readonly kind: 'appended'; readonly report: AppendReport }
  | { readonly kind: 'repeated'; readonly answer: string }
  /** The same key with another body. */
  | { readonly kind: 'clash' }

export interface Appender {
  /**
   * Stores a batch. Resolves after the WAL is on disk (group fsync) and every reader sees the samples. Refused
   * samples do not fail the good ones. Rejects with `AppError` 503 when overloaded or the disk is full.
   */
  append(columns: SampleColumns, options: AppendOptions): Promise<AppendOutcome>
}

// ------------------------------------------------------------------------------------------------ reading

export interface Matcher {
  readonly name: string
  readonly op: '=' | '!=' | '=~' | '!~'
  readonly value: string
}

/** Reused from read to read: the reader grows it as needed. `times[i]`, `values[i]` are good for i < length. */
export interface SampleBuffer {
  length: number
  times: Float64Array
  values: Float64Array
}

export const sampleBuffer = (capacity = 1024): SampleBuffer => ({
  length: 0,
  times: new Float64Array(capacity),
  values: new Float64Array(capacity),
})

/** One matched series. Nothing is decoded before `read`. */
export interface SeriesColumns {
  readonly id: number
  readonly labels: Labels
  /**
   * Samples with from ≤ time ≤ to, ascending in time, head, segments and backfill merged, one value a time; stale
   * markers included. Replaces what `into` held.
   */
  read(from: Millis, to: Millis, into: SampleBuffer): void
}

/** Roll-ups of one series: a row per bucket that has samples; `times` are the buckets' starts. */
export interface RollupColumns {
  readonly stepMs: number
  readonly length: number
  readonly times: Float64Array
  readonly min: Float64Array
  readonly max: Float64Array
  readonly sum: Float64Array
  readonly count: Float64Array
}

export interface ReadLimits {
  /** Most series a selector may match; more is an `AppError` 422 `too_many_series`. */
  readonly seriesMax: number
}

/**
 * Synchronous reading, for query and training workers. A Prometheus-compatible cluster can serve it as well.
 * Matching follows Prometheus: regular expressions are anchored, an absent label equals the empty value.
 */
export interface ColumnReader {
  /** The array may be the same for the same selection, and is not to be changed. */
  readColumns(matchers: readonly Matcher[], from: Millis, to: Millis, limits?: ReadLimits): readonly SeriesColumns[]
  /** Names of labels of the matched series; all when `matchers` is empty. Sorted. */
  labelNames(matchers: readonly Matcher[], from: Millis, to: Millis): string[]
  /** Values of one label. Sorted. */
  labelValues(name: string, matchers: readonly Matcher[], from: Millis, to: Millis): string[]
  /** Roll-ups where raw samples have passed their retention; null when there are none at this step. */
  readRollup(series: SeriesColumns, stepMs: number, from: Millis, to: Millis): RollupColumns | null
  /** Does beforehand what the first reads would have to: the index of labels, files of the last day, compiled code. */
  prepare?(): void
  /** The oldest time for which raw samples are kept. */
  rawSince(): Millis
  /** What the labels of live series cost; absent where a store cannot tell. */
  cardinality?(): Cardinality
}

/** How many series each name of a label, and each of its values, has. */
export interface Cardinality {
  names(): readonly { readonly name: string; readonly series: number; readonly values: number }[]
  values(name: string): ReadonlyMap<string, number>
}

// ----------------------------------------------------------------------------------------------- consuming

/** The series table as consumers see it. */
export interface SeriesView {
  /** Empty for a series that was deleted. */
  labelsOf(series: number): Labels
  /** Ids below this were given away. */
  count(): number
  /** Time of the newest sample; -Infinity where there is none. Looks into segments: not for every sample. */
  newest(series: number): Millis
}

/**
 * What the pipeline hands to its consumers (detector, watchers, …) for each batch, in the order of the WAL. Columns of
 * equal length `count`; a series' id is a small whole number that never changes. `fresh[i]` is 0 for samples that are
 * late or duplicates: stored, but they step nothing.
 */
export interface AppliedBatch {
  readonly position: number
  readonly count: number
  readonly series: Uint32Array
  readonly times: Float64Array
  readonly values: Float64Array
  readonly fresh: Uint8Array
}

/**
 * A consumer of the WAL. It keeps the position it has applied in the same transaction as its state, and is fed again
 * from there after a crash; the WAL is truncated only behind the slowest consumer.
 */
export interface WalConsumer {
  readonly name: string
  /** Position of the last batch in the consumer's durable state; -1 when it has none. Asked once, at start. */
  resumeAfter(): number
  apply(batch: AppliedBatch): void
  /** Called on a timer and before truncation: make the state durable, answer the position it covers. */
  checkpoint(): number
  /** A clean stop: save everything, so that the next start has nothing to feed again. One `checkpoint` follows. */
  close?(): void | Promise<void>
}
