/**
 * The head: samples that no segment holds yet, in memory that readers of any thread see (see shared.ts).
 *
 *   open block    newest samples of a series, ascending, 16 bytes each; grows 4 → 16 → 64 → 200 samples
 *   late block    samples that came after a newer one, sorted on arrival
 *   sealed chunks full blocks, compressed; a list, newest first
 *
 * A flush seals what is open, hands the chunks to a segment writer, and drops them when the segment stands in the
 * manifest: at no moment is a sample in neither place, and readers merge one that is in both.
 */
import { CHUNK_MAX, chunkRoom, DECODE_SLACK, decodeChunk, encodeChunk } from './chunk.ts'
import type { Area, Control } from './shared.ts'
import {
  BLOCK,
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
  FIGURE,
  LATE,
  LATE_COUNT,
  LINE,
  VERSION,
  WRITTEN,
} from './shared.ts'

/** Samples of a block by size class; class 0 is no block. */
export const CAPACITY = [0, 4, 16, 64, 200] as const
const TOP = 4
const REGION = 1 << 18

/** One sealed chunk, as a flush takes it. */
export interface SealedChunk {
  readonly at: number
  readonly bytes: number
  readonly count: number
  readonly first: number
  readonly last: number
}

export class Head {
  readonly #series: Area
  readonly #blocks: Area
  readonly #chunks: Area
  readonly data: Area
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
    this.data = data
    this.#control = control
    this.#openBytesMax = openBytesMax
  }

  /** Appends a sample that is newer than all of its series. Readers see it after `publish`. */
  append(id: number, time: number, low: number, high: number): void {
    const line = id * LINE
    let words = this.#series.words
    let count = words[line + WRITTEN]!
    if (count === CAPACITY[words[line + CLASSES]! & 255]) {
      this.#makeRoom(id)
      words = this.#series.words
      count = words[line + WRITTEN]!
    }
    const at = words[line + BLOCK]! + count
    this.#blocks.floats[2 * at] = time
    const out = this.#blocks.words
    out[4 * at + 2] = low
    out[4 * at + 3] = high
    words[line + WRITTEN] = count + 1
    this.samples++
  }

  /** Lets readers see what was appended to the first `count` of `ids`. */
  publish(ids: Uint32Array, count: number): void {
    this.#control.fence()
    const words = this.#series.words
    for (let i = 0; i < count; i++) {
      const line = ids[i]! * LINE
      words[line + COUNT] = words[line + WRITTEN]!
    }
  }

  /** Stores a sample older than the newest one; its time must not be stored yet. */
  insertLate(id: number, time: number, low: number, high: number): void {
    const line = id * LINE
    const words = this.#series.words
    let kind = (words[line + CLASSES]! >> 8) & 255
    const count = words[line + LATE_COUNT]!
    this.#touch(line)
    this.samples++
    if (count === CAPACITY[kind]) {
      if (kind < this.#topClass()) {
        const from = words[line + LATE]!
        const to = this.#allocate(kind + 1)
        this.#copyBlock(from, to, count)
        if (kind > 0) this.#free(from, kind)
        kind++
        words[line + LATE] = to
        words[line + CLASSES] = (words[line + CLASSES]! & 255) | (kind << 8)
      } else {
        this.#sealBlock(line, words[line + LATE]!, count)
        words[line + LATE_COUNT] = 0
      }
    }
    const block = words[line + LATE]!
    const floats = this.#blocks.floats
    const out = this.#blocks.words
    let i = words[line + LATE_COUNT]!
    while (i > 0 && floats[2 * (block + i - 1)]! > time) i--
    out.copyWithin(4 * (block + i + 1), 4 * (block + i), 4 * (block + words[line + LATE_COUNT]!))
    floats[2 * (block + i)] = time
    out[4 * (block + i) + 2] = low
    out[4 * (block + i) + 3] = high
    words[line + LATE_COUNT]!++
    this.#touch(line)
  }

  /** Whether a sample of this very time is in the head; its value is then in `foundLow`, `foundHigh`. */
  find(id: number, time: number): boolean {
    const line = id * LINE
    const words = this.#series.words
    if (this.#findInBlock(words[line + BLOCK]!, words[line + WRITTEN]!, time)) return true
    if (this.#findInBlock(words[line + LATE]!, words[line + LATE_COUNT]!, time)) return true
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
    const count = words[line + WRITTEN]!
    if (count > 0) newest = this.#blocks.floats[2 * (words[line + BLOCK]! + count - 1)]!
    const late = words[line + LATE_COUNT]!
    if (late > 0) newest = Math.max(newest, this.#blocks.floats[2 * (words[line + LATE]! + late - 1)]!)
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
    const late = words[line + LATE_COUNT]!
    const open = words[line + WRITTEN]!
    if (late > 0 || open > 0) {
      this.#touch(line)
      if (late > 0) {
        this.#sealBlock(line, words[line + LATE]!, late)
        this.#free(words[line + LATE]!, (words[line + CLASSES]! >> 8) & 255)
        words[line + LATE_COUNT] = 0
        words[line + CLASSES]! &= 255
      }
      if (open > 0) {
        this.#sealBlock(line, words[line + BLOCK]!, open)
        words[line + COUNT] = 0
        words[line + WRITTEN] = 0
        // A block that stays nearly empty between two flushes is given back.
        const kind = words[line + CLASSES]! & 255
        if (kind > 1 && open <= CAPACITY[kind - 1]!) {
          this.#free(words[line + BLOCK]!, kind)
          words[line + CLASSES]! &= ~255
        }
      }
      this.#touch(line)
    }
    return words[line + CHUNK]!
  }

  /** The chunks from `top` (an answer of `seal`) on, by their first time. */
  chunksOf(top: number): SealedChunk[] {
    const lines = this.#chunks.words
    const found: SealedChunk[] = []
    for (let chunk = top - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) {
      const at = chunk * CHUNK_LINE
      found.push({
        at: lines[at + CHUNK_AT]! >>> 0,
        bytes: lines[at + CHUNK_BYTES]!,
        count: lines[at + CHUNK_COUNT]!,
        first: this.#chunks.floats[chunk * 4 + CHUNK_FIRST]!,
        last: this.#chunks.floats[chunk * 4 + CHUNK_LAST]!,
      })
    }
    return found.length > 1 ? found.sort((a, b) => a.first - b.first) : found
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
    this.samples -= words[line + WRITTEN]! + words[line + LATE_COUNT]!
    const open = words[line + CLASSES]! & 255
    const late = (words[line + CLASSES]! >> 8) & 255
    if (open > 0) this.#free(words[line + BLOCK]!, open)
    if (late > 0) this.#free(words[line + LATE]!, late)
    words[line + CLASSES] = 0
    words[line + COUNT] = 0
    words[line + WRITTEN] = 0
    words[line + LATE_COUNT] = 0
    this.#touch(line)
    this.drop(id, words[line + CHUNK]!)
  }

  /** Whether a series has anything here. */
  has(id: number): boolean {
    const words = this.#series.words
    const line = id * LINE
    return (words[line + CHUNK]! | words[line + WRITTEN]! | words[line + LATE_COUNT]!) !== 0
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

  #makeRoom(id: number): void {
    const line = id * LINE
    const words = this.#series.words
    const kind = words[line + CLASSES]! & 255
    const count = words[line + WRITTEN]!
    const block = words[line + BLOCK]!
    const top = this.#topClass()
    this.#touch(line)
    if (kind < top) {
      const to = this.#allocate(kind + 1)
      this.#copyBlock(block, to, count)
      if (kind > 0) this.#free(block, kind)
      words[line + BLOCK] = to
      words[line + CLASSES] = (words[line + CLASSES]! & ~255) | (kind + 1)
    } else {
      this.#sealBlock(line, block, count)
      words[line + WRITTEN] = 0
      words[line + COUNT] = 0
      if (kind > top) {
        this.#free(block, kind)
        words[line + BLOCK] = this.#allocate(1)
        words[line + CLASSES] = (words[line + CLASSES]! & ~255) | 1
      }
    }
    this.#touch(line)
  }

  #copyBlock(from: number, to: number, count: number): void {
    this.#blocks.words.copyWithin(4 * to, 4 * from, 4 * (from + count))
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

  /** Compresses a block into a new chunk at the front of the series' list. */
  #sealBlock(line: number, block: number, count: number): void {
    const floats = this.#blocks.floats
    const from = this.#blocks.words
    const times = this.#times
    const to = new Int32Array(this.#values.buffer)
    for (let i = 0; i < count; i++) {
      const at = block + i
      times[i] = floats[2 * at]!
      to[2 * i] = from[4 * at + 2]!
      to[2 * i + 1] = from[4 * at + 3]!
    }
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
