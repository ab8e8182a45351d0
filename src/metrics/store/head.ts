/**
 * The head: samples that no segment holds yet, in memory that readers of any thread see (see shared.ts).
 *
 *   tail          newest samples of a series, ascending; 4, then 16. Tails of many series share a page of memory: a
 *                 batch that touches each series once would otherwise miss the TLB for each sample
 *   body          what the tail held before; 48, then 192
 *   late block    samples that came after a newer one, sorted on arrival; 4 to 192
 *   sealed chunks full blocks, compressed; a list, newest first
 *
 * A flush seals what is open, hands the chunks to a segment writer, and drops them when the segment stands in the
 * manifest: at no moment is a sample in neither place, and readers merge one that is in both.
 */
import { CHUNK_MAX, chunkRoom, DECODE_SLACK, decodeChunk, encodeChunk } from './chunk.ts'
import type { Samples } from './record.ts'
import type { Area, Control } from './shared.ts'
import {
  BODY,
  CHUNK,
  CHUNK_AT,
  CHUNK_BYTES,
  CHUNK_COUNT,
  CHUNK_FIRST,
  CHUNK_LAST,
  CHUNK_LINE,
  CHUNK_NEXT,
  CLASSES,
  COUNT,
  COUNTS,
  FIGURE,
  LATE,
  LINE,
  TAIL,
  VERSION,
  WRITTEN,
} from './shared.ts'

/** Samples of a block by size class; class 0 is no block. */
const CAPACITY = [0, 4, 16, 48, 192] as const
const TAIL_TOP = 2
const TOP = 4
const REGION = 1 << 18

/** Sealed chunks of one series in columns, by their first time; filled anew for each series. */
export class ChunkTable {
  length = 0
  /** Chunk numbers, and what each is. */
  #order = new Int32Array(64)
  readonly #lines: Area

  constructor(lines: Area) {
    this.#lines = lines
  }

  push(chunk: number): void {
    if (this.length === this.#order.length) {
      const longer = new Int32Array(this.length * 2)
      longer.set(this.#order)
      this.#order = longer
    }
    this.#order[this.length++] = chunk
  }

  /** They come newest first; most lists are in order when they are turned round. */
  sort(): void {
    const order = this.#order
    order.subarray(0, this.length).reverse()
    for (let i = 1; i < this.length; i++) {
      const chunk = order[i]!
      const first = this.#lines.floats[chunk * 4 + CHUNK_FIRST]!
      let k = i
      for (; k > 0 && this.#lines.floats[order[k - 1]! * 4 + CHUNK_FIRST]! > first; k--) order[k] = order[k - 1]!
      order[k] = chunk
    }
  }

  at(i: number): number {
    return this.#lines.words[this.#order[i]! * CHUNK_LINE + CHUNK_AT]! >>> 0
  }
  bytes(i: number): number {
    return this.#lines.words[this.#order[i]! * CHUNK_LINE + CHUNK_BYTES]!
  }
  count(i: number): number {
    return this.#lines.words[this.#order[i]! * CHUNK_LINE + CHUNK_COUNT]!
  }
  first(i: number): number {
    return this.#lines.floats[this.#order[i]! * 4 + CHUNK_FIRST]!
  }
  last(i: number): number {
    return this.#lines.floats[this.#order[i]! * 4 + CHUNK_LAST]!
  }
}

export class Head {
  readonly #series: Area
  readonly #blocks: Area
  readonly #chunks: Area
  readonly data: Area
  readonly #table: ChunkTable
  readonly #control: Control
  /** Above this, blocks are sealed before they are full, so that many series fit. */
  readonly #openBytesMax: number
  #blockEnd = 0
  #freeBlocks: number[][] = [[], [], [], [], []]
  #openBytes = 0
  #chunkEnd = 0
  #freeChunk = 0
  chunkCount = 0
  chunkBytes = 0
  samples = 0
  /** Region in use and where in it; live chunks of each region; regions that are free. */
  #region = -1
  #regionAt = REGION
  #regionLive: number[] = []
  #freeRegions: number[] = []
  #times = new Float64Array(CHUNK_MAX)
  #values = new Float64Array(CHUNK_MAX)
  #words = new Int32Array(this.#values.buffer)
  #scratch = new Uint8Array(chunkRoom(CHUNK_MAX) + DECODE_SLACK)
  /** Low and high word of the value that `find` found. */
  foundLow = 0
  foundHigh = 0
  #decoded = -1
  #decodedCount = 0
  #decodedTimes = new Float64Array(CHUNK_MAX)
  #decodedValues = new Float64Array(CHUNK_MAX)
  #decodedWords = new Uint32Array(this.#decodedValues.buffer)

  constructor(series: Area, blocks: Area, chunks: Area, data: Area, control: Control, openBytesMax = 256 << 20) {
    this.#series = series
    this.#blocks = blocks
    this.#chunks = chunks
    this.#table = new ChunkTable(chunks)
    this.data = data
    this.#control = control
    this.#openBytesMax = openBytesMax
  }

  /**
   * Stores samples: fresh ones, newer than all of their series, and late ones, whose times must not be stored yet.
   * Readers see all of them when this returns.
   */
  add(samples: Samples): void {
    const { count, ids, times, words: values, fresh } = samples
    let lines = this.#series.words
    let floats = this.#blocks.floats
    let words = this.#blocks.words
    for (let i = 0; i < count; i++) {
      const line = ids[i]! * LINE
      if (fresh[i] === 0) {
        this.#insertLate(ids[i]!, times[i]!, values[2 * i]!, values[2 * i + 1]!)
        floats = this.#blocks.floats
        words = this.#blocks.words
        continue
      }
      let written = lines[line + WRITTEN]!
      if (written === CAPACITY[lines[line + CLASSES]! & 255]) {
        this.#makeRoom(line)
        lines = this.#series.words
        floats = this.#blocks.floats
        words = this.#blocks.words
        written = lines[line + WRITTEN]!
      }
      const at = lines[line + TAIL]! + written
      floats[2 * at] = times[i]!
      words[4 * at + 2] = values[2 * i]!
      words[4 * at + 3] = values[2 * i + 1]!
      lines[line + WRITTEN] = written + 1
    }
    this.samples += count
    // Samples first, then their number: no reader in any thread sees it the other way.
    this.#control.fence()
    for (let i = 0; i < count; i++) {
      const line = ids[i]! * LINE
      lines[line + COUNT] = lines[line + WRITTEN]!
    }
  }

  /** Stores a sample older than the newest one; its time must not be stored yet. */
  #insertLate(id: number, time: number, low: number, high: number): void {
    const line = id * LINE
    const words = this.#series.words
    const kind = (words[line + CLASSES]! >> 8) & 255
    let count = words[line + COUNTS]! & 0xffff
    this.#touch(line)
    if (count === CAPACITY[kind]) {
      if (kind < this.#topClass()) {
        const from = words[line + LATE]!
        const to = this.#allocate(kind + 1)
        this.#copy(from, to, count)
        this.#free(from, kind)
        words[line + LATE] = to
        this.#setClass(line, 8, kind + 1)
      } else {
        this.#seal(line, this.#gather(words[line + LATE]!, count, 0))
        count = 0
      }
    }
    const block = words[line + LATE]!
    const floats = this.#blocks.floats
    const out = this.#blocks.words
    let i = count
    while (i > 0 && floats[2 * (block + i - 1)]! > time) i--
    out.copyWithin(4 * (block + i + 1), 4 * (block + i), 4 * (block + count))
    floats[2 * (block + i)] = time
    out[4 * (block + i) + 2] = low
    out[4 * (block + i) + 3] = high
    words[line + COUNTS] = (words[line + COUNTS]! & ~0xffff) | (count + 1)
    this.#touch(line)
  }

  /** Whether a sample of this very time is in the head; its value is then in `foundLow`, `foundHigh`. */
  find(id: number, time: number): boolean {
    const line = id * LINE
    const words = this.#series.words
    if (this.#findInBlock(words[line + TAIL]!, words[line + WRITTEN]!, time)) return true
    if (this.#findInBlock(words[line + BODY]!, words[line + COUNTS]! >>> 16, time)) return true
    if (this.#findInBlock(words[line + LATE]!, words[line + COUNTS]! & 0xffff, time)) return true
    const lines = this.#chunks.words
    const floats = this.#chunks.floats
    for (let chunk = words[line + CHUNK]! - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) {
      const first = floats[chunk * 4 + CHUNK_FIRST]!
      const last = floats[chunk * 4 + CHUNK_LAST]!
      if (time < first || time > last) continue
      if (this.#decoded !== chunk) {
        const at = lines[chunk * CHUNK_LINE + CHUNK_AT]! >>> 0
        this.#decodedCount = decodeChunk(this.data.bytes, at, first, last, this.#decodedTimes, this.#decodedValues, 0)
        this.#decoded = chunk
      }
      const i = indexOfTime(this.#decodedTimes, this.#decodedCount, time)
      if (i >= 0) {
        this.foundLow = this.#decodedWords[2 * i]!
        this.foundHigh = this.#decodedWords[2 * i + 1]!
        return true
      }
    }
    return false
  }

  /** Time of the newest sample of the series in the head; -Infinity when it has none here. */
  newest(id: number): number {
    const line = id * LINE
    const words = this.#series.words
    let newest = Number.NEGATIVE_INFINITY
    const last = (block: number, count: number) => {
      if (count > 0) newest = Math.max(newest, this.#blocks.floats[2 * (block + count - 1)]!)
    }
    last(words[line + TAIL]!, words[line + WRITTEN]!)
    last(words[line + BODY]!, words[line + COUNTS]! >>> 16)
    last(words[line + LATE]!, words[line + COUNTS]! & 0xffff)
    const lines = this.#chunks.words
    for (let chunk = words[line + CHUNK]! - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) {
      newest = Math.max(newest, this.#chunks.floats[chunk * 4 + CHUNK_LAST]!)
    }
    return newest
  }

  /** Seals what is open of one series. Returns its newest chunk + 1, for `chunksOf` and `drop`; 0 when it has none. */
  seal(id: number): number {
    const line = id * LINE
    const words = this.#series.words
    const late = words[line + COUNTS]! & 0xffff
    const body = words[line + COUNTS]! >>> 16
    const tail = words[line + WRITTEN]!
    if (late + body + tail === 0) return words[line + CHUNK]!
    this.#touch(line)
    if (late > 0) this.#seal(line, this.#gather(words[line + LATE]!, late, 0))
    if (body + tail > 0) {
      const count = this.#gather(words[line + BODY]!, body, 0)
      this.#seal(line, this.#gather(words[line + TAIL]!, tail, count))
    }
    words[line + COUNT] = 0
    words[line + WRITTEN] = 0
    words[line + COUNTS] = 0
    this.#freeClass(line, LATE, 8)
    // A body that is not filled between two flushes is given back.
    if (((words[line + CLASSES]! >> 16) & 255) < TOP || body < CAPACITY[TOP - 1]!) this.#freeClass(line, BODY, 16)
    this.#touch(line)
    return words[line + CHUNK]!
  }

  /** The chunks from `top` (an answer of `seal`) on, by their first time; good until the next call. */
  chunksOf(top: number): ChunkTable {
    const table = this.#table
    table.length = 0
    const lines = this.#chunks.words
    for (let chunk = top - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) table.push(chunk)
    table.sort()
    return table
  }

  /** Takes the chunk `top` and all older ones out of the head. */
  drop(id: number, top: number): void {
    if (top === 0) return
    const line = id * LINE
    const words = this.#series.words
    const lines = this.#chunks.words
    let chunk = words[line + CHUNK]!
    let before = 0
    while (chunk !== top && chunk !== 0) {
      before = chunk
      chunk = lines[(chunk - 1) * CHUNK_LINE + CHUNK_NEXT]!
    }
    if (chunk === 0) return // the series was dropped meanwhile
    this.#touch(line)
    if (before === 0) words[line + CHUNK] = 0
    else lines[(before - 1) * CHUNK_LINE + CHUNK_NEXT] = 0
    while (chunk !== 0) {
      const next = lines[(chunk - 1) * CHUNK_LINE + CHUNK_NEXT]!
      this.#freeChunkLine(chunk - 1)
      chunk = next
    }
    this.#touch(line)
  }

  /** Takes everything of a series out of the head. */
  clear(id: number): void {
    const line = id * LINE
    const words = this.#series.words
    this.#touch(line)
    const counts = words[line + COUNTS]!
    this.samples -= words[line + WRITTEN]! + (counts & 0xffff) + (counts >>> 16)
    words[line + COUNT] = 0
    words[line + WRITTEN] = 0
    words[line + COUNTS] = 0
    this.#freeClass(line, TAIL, 0)
    this.#freeClass(line, LATE, 8)
    this.#freeClass(line, BODY, 16)
    this.#touch(line)
    this.drop(id, words[line + CHUNK]!)
  }

  /** Whether a series has anything here. */
  has(id: number): boolean {
    const words = this.#series.words
    const line = id * LINE
    return (words[line + CHUNK]! | words[line + WRITTEN]! | words[line + COUNTS]!) !== 0
  }

  get openBytes(): number {
    return this.#openBytes
  }

  figures(): void {
    const { figures } = this.#control
    figures[FIGURE.headChunks] = this.chunkCount
    figures[FIGURE.headBytes] = this.chunkBytes + this.#openBytes
    figures[FIGURE.openBytes] = this.#openBytes
  }

  /** Odd while the line changes, even after. */
  #touch(line: number): void {
    Atomics.add(this.#series.words, line + VERSION, 1)
  }

  #topClass(): number {
    if (this.#openBytes < this.#openBytesMax) return TOP
    return this.#openBytes < 2 * this.#openBytesMax ? TOP - 1 : TOP - 2
  }

  /** The tail is full: a longer tail, or its samples go to the body, or all of it becomes a chunk. */
  #makeRoom(line: number): void {
    const words = this.#series.words
    const kind = words[line + CLASSES]! & 255
    const count = words[line + WRITTEN]!
    const tail = words[line + TAIL]!
    this.#touch(line)
    if (kind < TAIL_TOP) {
      const to = this.#allocate(kind + 1)
      this.#copy(tail, to, count)
      this.#free(tail, kind)
      words[line + TAIL] = to
      this.#setClass(line, 0, kind + 1)
    } else {
      const bodyKind = (words[line + CLASSES]! >> 16) & 255
      const body = words[line + COUNTS]! >>> 16
      if (body + count <= CAPACITY[bodyKind]!) this.#copy(tail, words[line + BODY]! + body, count)
      else if (bodyKind < this.#topClass() && this.#topClass() > TAIL_TOP) {
        const wider = Math.max(TAIL_TOP + 1, bodyKind + 1)
        const to = this.#allocate(wider)
        this.#copy(words[line + BODY]!, to, body)
        this.#copy(tail, to + body, count)
        this.#free(words[line + BODY]!, bodyKind)
        words[line + BODY] = to
        this.#setClass(line, 16, wider)
      } else {
        this.#seal(line, this.#gather(tail, count, this.#gather(words[line + BODY]!, body, 0)))
        words[line + COUNTS]! &= 0xffff
        if (bodyKind > this.#topClass()) this.#freeClass(line, BODY, 16)
        words[line + COUNT] = 0
        words[line + WRITTEN] = 0
        this.#touch(line)
        return
      }
      words[line + COUNTS] = (words[line + COUNTS]! & 0xffff) | ((body + count) << 16)
      words[line + COUNT] = 0
      words[line + WRITTEN] = 0
    }
    this.#touch(line)
  }

  #setClass(line: number, shift: number, kind: number): void {
    const words = this.#series.words
    words[line + CLASSES] = (words[line + CLASSES]! & ~(255 << shift)) | (kind << shift)
  }

  #freeClass(line: number, block: number, shift: number): void {
    const words = this.#series.words
    this.#free(words[line + block]!, (words[line + CLASSES]! >> shift) & 255)
    words[line + CLASSES]! &= ~(255 << shift)
  }

  #copy(from: number, to: number, count: number): void {
    if (count > 0) this.#blocks.words.copyWithin(4 * to, 4 * from, 4 * (from + count))
  }

  #allocate(kind: number): number {
    const size = CAPACITY[kind]!
    this.#openBytes += size * 16
    const free = this.#freeBlocks[kind]!.pop()
    if (free !== undefined) return free
    const at = this.#blockEnd
    this.#blockEnd += size
    this.#blocks.ensure(this.#blockEnd * 16)
    return at
  }

  #free(block: number, kind: number): void {
    if (kind === 0) return
    this.#openBytes -= CAPACITY[kind]! * 16
    this.#freeBlocks[kind]!.push(block)
  }

  #findInBlock(block: number, count: number, time: number): boolean {
    const floats = this.#blocks.floats
    let low = 0
    let high = count - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const t = floats[2 * (block + middle)]!
      if (t === time) {
        this.foundLow = this.#blocks.words[4 * (block + middle) + 2]! >>> 0
        this.foundHigh = this.#blocks.words[4 * (block + middle) + 3]! >>> 0
        return true
      }
      if (t < time) low = middle + 1
      else high = middle - 1
    }
    return false
  }

  /** Copies samples of a block to `#times`, `#values` from index `to` on; returns the index behind them. */
  #gather(block: number, count: number, to: number): number {
    const floats = this.#blocks.floats
    const from = this.#blocks.words
    const times = this.#times
    const words = this.#words
    for (let i = 0; i < count; i++) {
      const at = block + i
      times[to + i] = floats[2 * at]!
      words[2 * (to + i)] = from[4 * at + 2]!
      words[2 * (to + i) + 1] = from[4 * at + 3]!
    }
    return to + count
  }

  /** Compresses what was gathered into a new chunk at the front of the series' list. */
  #seal(line: number, count: number): void {
    const times = this.#times
    const size = encodeChunk(times, this.#values, 0, count, this.#scratch, 0)
    const at = this.#allocateData(size)
    this.data.bytes.set(this.#scratch.subarray(0, size), at)
    let chunk = this.#freeChunk - 1
    if (chunk >= 0) this.#freeChunk = this.#chunks.words[chunk * CHUNK_LINE + CHUNK_NEXT]!
    else {
      chunk = this.#chunkEnd++
      this.#chunks.ensure(this.#chunkEnd * CHUNK_LINE * 4)
    }
    const lines = this.#chunks.words
    const words = this.#series.words
    lines[chunk * CHUNK_LINE + CHUNK_NEXT] = words[line + CHUNK]!
    lines[chunk * CHUNK_LINE + CHUNK_AT] = at
    lines[chunk * CHUNK_LINE + CHUNK_BYTES] = size
    lines[chunk * CHUNK_LINE + CHUNK_COUNT] = count
    this.#chunks.floats[chunk * 4 + CHUNK_FIRST] = times[0]!
    this.#chunks.floats[chunk * 4 + CHUNK_LAST] = times[count - 1]!
    words[line + CHUNK] = chunk + 1
    this.chunkCount++
    this.chunkBytes += size
    if (this.#decoded === chunk) this.#decoded = -1
  }

  #allocateData(size: number): number {
    if (this.#regionAt + size > REGION) {
      const free = this.#freeRegions.pop()
      if (free !== undefined) this.#region = free
      else {
        this.#region = this.#regionLive.length
        this.#regionLive.push(0)
        this.data.ensure((this.#region + 1) * REGION + DECODE_SLACK)
      }
      this.#regionAt = 0
    }
    const at = this.#region * REGION + this.#regionAt
    this.#regionAt += size
    this.#regionLive[this.#region]!++
    return at
  }

  #freeChunkLine(chunk: number): void {
    const lines = this.#chunks.words
    const at = chunk * CHUNK_LINE
    const region = Math.floor((lines[at + CHUNK_AT]! >>> 0) / REGION)
    this.chunkCount--
    this.chunkBytes -= lines[at + CHUNK_BYTES]!
    this.samples -= lines[at + CHUNK_COUNT]!
    if (--this.#regionLive[region]! === 0) {
      if (region === this.#region) this.#regionAt = 0
      else this.#freeRegions.push(region)
    }
    lines[at + CHUNK_NEXT] = this.#freeChunk
    this.#freeChunk = chunk + 1
    if (this.#decoded === chunk) this.#decoded = -1
  }
}

/** Index of `time` among ascending times, or -1. */
export function indexOfTime(times: Float64Array, count: number, time: number): number {
  let low = 0
  let high = count - 1
  while (low <= high) {
    const middle = (low + high) >> 1
    const t = times[middle]!
    if (t === time) return middle
    if (t < time) low = middle + 1
    else high = middle - 1
  }
  return -1
}
