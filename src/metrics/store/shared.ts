/**
 * Memory that the pipeline thread writes and any thread reads: growable SharedArrayBuffers, so that a structure grows
 * in place (address room is reserved, memory is not), nothing is copied and nobody has to be told.
 *
 *   control   64 counters (see CONTROL) and 64 figures (see FIGURE)
 *   series    one line of 64 bytes per series id (see the words below)
 *   labels    canonical label bytes, each at a multiple of 4
 *   blocks    open samples, 16 bytes each: time, value; blocks of several sizes (see head.ts)
 *   chunks    32 bytes per sealed chunk of the head: next, place in `data`, bytes, count, first time, last time
 *   data      bytes of sealed chunks
 *
 * One writer. A reader takes a series' line like this: version (even, else again), what it needs, version again; the
 * writer makes the version odd while it moves anything. Appending moves nothing: the sample is written first, then the
 * published count, with a fence between the two for a whole batch.
 */

/** Words of a series' line. */
export const LINE = 16
export const VERSION = 0
/** Start of the label bytes, in units of 4. */
export const LABEL = 1
/** Length of the label bytes (24 bits) and flags. */
export const LENGTH = 2
/** Tail: the block of the newest samples, in units of a sample. */
export const TAIL = 3
/** Samples of the tail that readers may see. */
export const COUNT = 4
/** Samples of the tail that the writer has written. */
export const WRITTEN = 5
/** Newest sealed chunk + 1; 0: none. */
export const CHUNK = 6
/** Body: the block of the samples before the tail. */
export const BODY = 7
/** Block of late samples, sorted by time. */
export const LATE = 8
/** Samples of the late block in the low 16 bits, of the body in the high 16. */
export const COUNTS = 9
/** Size classes: tail in the low byte, late block, body. */
export const CLASSES = 10
/** Writer only: the series that came after this one in the last batch, + 1. */
export const AFTER = 11
/** Writer only: time of the newest sample, as a float of the line; NaN: look into the segments. */
export const NEWEST = 6
/** Writer only: value of the newest sample. */
export const NEWEST_VALUE = 14

export const LENGTH_MASK = 0xffffff
/** Deleted: its data are gone, its id is never used again. */
export const DEAD = 1 << 24
/** Writer only: the value of the newest sample is not in the line. */
export const VALUE_UNKNOWN = 1 << 25

/** Words of a chunk's description. */
export const CHUNK_LINE = 8
export const CHUNK_NEXT = 0
export const CHUNK_AT = 1
export const CHUNK_BYTES = 2
export const CHUNK_COUNT = 3
/** As floats of the line. */
export const CHUNK_FIRST = 2
export const CHUNK_LAST = 3

export const CONTROL = {
  /** Series ids in use: 0 … n - 1. */
  series: 0,
  /** Goes up when the list of segments changes. */
  manifest: 1,
  /** Goes up when series were deleted. */
  deleted: 2,
  /** Written for its fence alone. */
  fence: 3,
} as const

/** Figures that the pipeline keeps for telemetry; read without ceremony. */
export const FIGURE = {
  headSamples: 0,
  headChunks: 1,
  headBytes: 2,
  walBytes: 3,
  segmentBytes: 4,
  segments: 5,
  liveSeries: 6,
  diskFull: 7,
  damagedFiles: 8,
  openBytes: 9,
  /** How long raw samples are kept, ms; set by the pipeline, may change. */
  retentionMs: 10,
  /** Raw samples in head and segments; late ones stand in both a while. */
  heldSamples: 11,
} as const

/** What a reader in another thread needs; may be sent in any message. */
export interface StoreShare {
  /** The metrics directory. */
  readonly dir: string
  readonly control: SharedArrayBuffer
  readonly series: SharedArrayBuffer
  readonly labels: SharedArrayBuffer
  readonly blocks: SharedArrayBuffer
  readonly chunks: SharedArrayBuffer
  readonly data: SharedArrayBuffer
}

const GiB = 2 ** 30

export function createShare(dir: string): StoreShare {
  const area = (bytesMax: number) => new SharedArrayBuffer(65_536, { maxByteLength: bytesMax })
  return {
    dir,
    control: new SharedArrayBuffer(1024),
    series: area(4 * GiB),
    labels: area(4 * GiB),
    blocks: area(16 * GiB),
    chunks: area(2 * GiB),
    data: area(4 * GiB),
  }
}

/** Views of one growing buffer. Fixed-length views are as fast as plain arrays; `refresh` after the buffer grew. */
export class Area {
  readonly buffer: SharedArrayBuffer
  bytes!: Uint8Array
  words!: Int32Array
  floats!: Float64Array
  size = -1

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.refresh()
  }

  refresh(): void {
    const size = this.buffer.byteLength
    if (size === this.size) return
    this.size = size
    this.bytes = new Uint8Array(this.buffer, 0, size)
    this.words = new Int32Array(this.buffer, 0, size >> 2)
    this.floats = new Float64Array(this.buffer, 0, size >> 3)
  }

  /** Writer only: at least `bytes` long. Throws RangeError when the reserve is used up. */
  ensure(bytes: number): void {
    if (bytes <= this.size) return
    const step = 65_536
    const wanted = Math.max(bytes, Math.min(this.size + (this.size >> 2), this.size + (64 << 20)))
    this.buffer.grow(Math.min(Math.ceil(wanted / step) * step, this.buffer.maxByteLength))
    this.refresh()
    if (bytes > this.size) throw new RangeError('the store has used up its reserve of addresses')
  }
}

export class Control {
  readonly words: Int32Array
  readonly figures: Float64Array
  constructor(buffer: SharedArrayBuffer) {
    this.words = new Int32Array(buffer, 0, 64)
    this.figures = new Float64Array(buffer, 512, 64)
  }
  get(which: number): number {
    return Atomics.load(this.words, which)
  }
  set(which: number, value: number): void {
    Atomics.store(this.words, which, value)
  }
  bump(which: number): void {
    Atomics.add(this.words, which, 1)
  }
  /** What was written before stands before what is written after, for every thread. */
  fence(): void {
    Atomics.add(this.words, CONTROL.fence, 1)
  }
}
