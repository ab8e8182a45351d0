/**
 * Reads head and segments from any thread. The head comes first, then the list of segments: a flush puts samples into
 * a segment before it takes them out of the head, so none is missed, and one that was met twice is merged.
 */

import type { Clock } from '../../base/clock.ts'
import { AppError, unavailable } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import { DAY } from '../../base/time.ts'
import type { Labels } from '../labels.ts'
import type {
  Cardinality,
  ColumnReader,
  Matcher,
  ReadLimits,
  RollupColumns,
  SampleBuffer,
  SeriesColumns,
} from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import { CHUNK_MAX, chunkCount, decodeChunk } from './chunk.ts'
import { ROLLUP_COLUMNS } from './compact.ts'
import { LabelIndex } from './label-index.ts'
import { prepare } from './matcher.ts'
import type { Run } from './runs.ts'
import { lowerBound, mergeRuns } from './runs.ts'
import type { OnChunk } from './segment.ts'
import { SegmentSet } from './segment-set.ts'
import { Selections } from './selections.ts'
import type { StoreShare } from './shared.ts'
import {
  Area,
  BODY,
  CHUNK,
  CHUNK_AT,
  CHUNK_COUNT,
  CHUNK_FIRST,
  CHUNK_LAST,
  CHUNK_LINE,
  CHUNK_NEXT,
  CONTROL,
  COUNT,
  COUNTS,
  Control,
  FIGURE,
  LATE,
  LINE,
  TAIL,
  VERSION,
} from './shared.ts'

const CHUNKS_MAX = 10_000_000
const TRIES_MAX = 100_000_000
const LABELS_MAX = 50_000
/** Series that are looked up and read when a reader is made ready. */
const TRIED = 64
/** Pages and indexes of segments that a reader keeps. */
const CACHE_BYTES = 48 << 20

/** A reader for this thread. It keeps an index and small caches of its own. */
export function openReader(share: StoreShare, clock: Clock): ColumnReader {
  return new StoreReader(share, clock)
}

class StoreReader implements ColumnReader {
  readonly #control: Control
  readonly #series: Area
  readonly #labels: Area
  readonly #blocks: Area
  readonly #chunks: Area
  readonly #data: Area
  readonly #index: LabelIndex
  readonly #clock: Clock
  readonly #selections = new Selections()
  readonly #labelsOf = new Map<number, Labels>()
  readonly #barrier = new Int32Array(new SharedArrayBuffer(4))
  readonly #segments: SegmentSet
  /** What the head has of the series in work, and the runs of it, each ascending. */
  readonly #head = sampleBuffer()
  readonly #headRuns: Run[] = []
  readonly #runs: Run[] = []
  #order = new Int32Array(64)
  #wordsOf: Float64Array | null = null
  #words: Uint32Array = new Uint32Array(2)

  constructor(share: StoreShare, clock: Clock) {
    this.#clock = clock
    this.#control = new Control(share.control)
    this.#series = new Area(share.series)
    this.#labels = new Area(share.labels)
    this.#blocks = new Area(share.blocks)
    this.#chunks = new Area(share.chunks)
    this.#data = new Area(share.data)
    this.#index = new LabelIndex(this.#series, this.#labels)
    this.#segments = new SegmentSet(share.dir, this.#control, CACHE_BYTES, () => {
      this.#control.figures[FIGURE.damagedFiles]!++
    })
  }

  readColumns(matchers: readonly Matcher[], _from: Millis, _to: Millis, limits?: ReadLimits): readonly SeriesColumns[] {
    const series = this.#control.get(CONTROL.series)
    const deleted = this.#control.get(CONTROL.deleted)
    const known = this.#selections.find(matchers, series, deleted)
    if (known) {
      refuseTooMany(known.length, limits)
      return known
    }
    const ids = this.#select(matchers)
    refuseTooMany(ids.length, limits)
    const found = ids.map((id) => new Series(this, id))
    this.#selections.keep(matchers, series, deleted, found)
    return found
  }

  labelNames(matchers: readonly Matcher[], _from: Millis, _to: Millis): string[] {
    const ids = this.#select(matchers)
    return this.#index.namesOf(ids).sort()
  }

  labelValues(name: string, matchers: readonly Matcher[], _from: Millis, _to: Millis): string[] {
    const ids = this.#select(matchers)
    return [...this.#index.values(name, matchers.length === 0 ? null : ids).keys()].sort()
  }

  readRollup(series: SeriesColumns, stepMs: number, from: Millis, to: Millis): RollupColumns | null {
    this.#segments.refresh()
    const start = Math.floor(from / stepMs) * stepMs
    const columns = ROLLUP_COLUMNS.map(() => sampleBuffer())
    // The chunks of a series come in fours, one for each column; a four that damage left incomplete is dropped.
    let column = 0
    let since = Number.NaN
    let whole = 0
    const settle = (length: number) => {
      for (const into of columns) into.length = length
      whole = length
      column = 0
    }
    const take: OnChunk = (bytes, at, _length, first, last) => {
      if (column > 0 && first !== since) settle(whole)
      since = first
      const into = columns[column]!
      ensure(into, into.length + chunkCount(bytes, at))
      into.length += decodeChunk(bytes, at, first, last, into.times, into.values, into.length)
      if (++column === columns.length) settle(into.length)
    }
    if (!this.#segments.readRollups(series.id, stepMs, start, to, () => settle(0), take)) return null
    settle(whole)
    for (const into of columns) clip(into, start, to)
    const [min, max, sum, count] = columns.map((into) => into.values.subarray(0, into.length))
    const { times, length } = columns[0]!
    return { stepMs, length, times: times.subarray(0, length), min: min!, max: max!, sum: sum!, count: count! }
  }

  prepare(): void {
    const count = this.#control.get(CONTROL.series)
    this.#index.extend(count)
    const until = this.#clock.now()
    const buffer = sampleBuffer()
    for (let id = 0; id < count; id += Math.ceil(count / TRIED)) {
      const labels = this.#index.labelsOf(id)
      if (labels.length === 0) continue
      for (const found of this.#select(labels.map(([name, value]) => ({ name, op: '=', value }))))
        this.read(found, until - DAY, until, buffer)
    }
  }

  cardinality(): Cardinality {
    this.#index.extend(this.#control.get(CONTROL.series))
    return this.#index
  }

  rawSince(): Millis {
    return this.#clock.now() - this.#control.figures[FIGURE.retentionMs]!
  }

  labelsOf(id: number): Labels {
    let labels = this.#labelsOf.get(id)
    if (!labels) {
      if (this.#labelsOf.size >= LABELS_MAX) this.#labelsOf.clear()
      labels = this.#index.labelsOf(id)
      this.#labelsOf.set(id, labels)
    }
    return labels
  }

  /** See `SeriesColumns.read`. */
  read(id: number, from: Millis, to: Millis, into: SampleBuffer): void {
    const since = Math.max(from, this.rawSince())
    this.#readHead(id, since, to)
    this.#segments.refresh()
    this.#runs.length = 0
    into.length = 0
    this.#segments.read(id, since, to, (bytes, at, _length, first, last) => {
      ensure(into, into.length + Math.min(chunkCount(bytes, at), CHUNK_MAX))
      const count = decodeChunk(bytes, at, first, last, into.times, into.values, into.length)
      this.#runs.push({ first, last, from: into.length, to: into.length + count })
      into.length += count
    })
    const head = this.#head
    if (into.length === 0) {
      // Nothing of the files: the head's arrays are handed over as they are.
      const { times, values } = into
      into.times = head.times
      into.values = head.values
      into.length = head.length
      head.times = times
      head.values = values
      this.#runs.push(...this.#headRuns)
    } else if (head.length > 0) {
      const base = into.length
      ensure(into, base + head.length)
      into.times.set(head.times.subarray(0, head.length), base)
      into.values.set(head.values.subarray(0, head.length), base)
      into.length += head.length
      for (const { first, last, from, to } of this.#headRuns)
        this.#runs.push({ first, last, from: from + base, to: to + base })
    }
    mergeRuns(into, this.#runs)
    clip(into, since, to)
  }

  #select(matchers: readonly Matcher[]): number[] {
    this.#index.extend(this.#control.get(CONTROL.series))
    return this.#index.select(matchers.map(prepare))
  }

  /** Fills `#head` and `#headRuns`, oldest chunk first. */
  #readHead(id: number, from: Millis, to: Millis): void {
    this.#series.refresh()
    const line = id * LINE
    const words = this.#series.words
    for (let tries = 0; ; tries++) {
      // The writer moves things in microseconds; one that died in between must not hold us for ever.
      if (tries > TRIES_MAX) throw unavailable('The metrics pipeline does not answer.')
      const version = Atomics.load(words, line + VERSION)
      if ((version & 1) === 1) continue
      this.#headRuns.length = 0
      this.#head.length = 0
      let torn = false
      try {
        const open = Atomics.load(words, line + COUNT)
        const counts = words[line + COUNTS]!
        const top = words[line + CHUNK]!
        if ((open | counts | top) === 0) return
        this.#blocks.refresh()
        this.#chunks.refresh()
        this.#data.refresh()
        if (top > 0) this.#readChunks(top, from, to)
        if (counts !== 0) {
          this.#copyBlock(words[line + LATE]!, counts & 0xffff, from, to)
          this.#copyBlock(words[line + BODY]!, counts >>> 16, from, to)
        }
        this.#copyBlock(words[line + TAIL]!, open, from, to)
      } catch (error) {
        torn = true
        Atomics.add(this.#barrier, 0, 1)
        if (Atomics.load(words, line + VERSION) === version) throw error
      }
      Atomics.add(this.#barrier, 0, 1) // what was read above was read before the version below
      if (!torn && Atomics.load(words, line + VERSION) === version) return
    }
  }

  #readChunks(top: number, from: Millis, to: Millis): void {
    const lines = this.#chunks.words
    const floats = this.#chunks.floats
    let found = 0
    let steps = 0
    for (let chunk = top - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) {
      if (++steps > CHUNKS_MAX) throw new RangeError('the list of chunks runs in a circle')
      if (floats[chunk * 4 + CHUNK_LAST]! < from || floats[chunk * 4 + CHUNK_FIRST]! > to) continue
      if (found === this.#order.length) {
        const longer = new Int32Array(found * 2)
        longer.set(this.#order)
        this.#order = longer
      }
      this.#order[found++] = chunk
    }
    const into = this.#head
    for (let i = found - 1; i >= 0; i--) {
      const chunk = this.#order[i]!
      ensure(into, into.length + Math.min(lines[chunk * CHUNK_LINE + CHUNK_COUNT]!, CHUNK_MAX))
      const at = lines[chunk * CHUNK_LINE + CHUNK_AT]! >>> 0
      const first = floats[chunk * 4 + CHUNK_FIRST]!
      const last = floats[chunk * 4 + CHUNK_LAST]!
      this.#run(decodeChunk(this.#data.bytes, at, first, last, into.times, into.values, into.length))
    }
  }

  #copyBlock(block: number, count: number, from: Millis, to: Millis): void {
    if (count === 0) return
    const floats = this.#blocks.floats
    let low = 0
    // Mostly all of it is wanted, and to look into its middle costs a miss of the cache.
    let high = floats[2 * block]! >= from ? 0 : count
    while (low < high) {
      const middle = (low + high) >> 1
      if (floats[2 * (block + middle)]! < from) low = middle + 1
      else high = middle
    }
    if (low === count || floats[2 * (block + low)]! > to) return
    const into = this.#head
    ensure(into, into.length + count - low)
    const { times } = into
    const words = this.#wordsIn(into.values)
    const source = this.#blocks.words
    let n = into.length
    let word = 2 * n
    const end = 2 * (block + count)
    for (let at = 2 * (block + low); at < end; at += 2) {
      times[n++] = floats[at]!
      words[word++] = source[2 * at + 2]!
      words[word++] = source[2 * at + 3]!
    }
    this.#run(n - into.length)
  }

  #run(count: number): void {
    const { times, length } = this.#head
    this.#head.length += count
    this.#headRuns.push({ first: times[length]!, last: times[length + count - 1]!, from: length, to: length + count })
  }

  #wordsIn(values: Float64Array): Uint32Array {
    if (values !== this.#wordsOf) {
      this.#wordsOf = values
      this.#words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
    }
    return this.#words
  }
}

function refuseTooMany(count: number, limits: ReadLimits | undefined): void {
  if (limits && count > limits.seriesMax)
    throw new AppError(
      422,
      'too_many_series',
      `The selector matches ${count} series, more than the limit of ${limits.seriesMax}.`,
    )
}

class Series implements SeriesColumns {
  readonly #reader: StoreReader
  readonly id: number
  constructor(reader: StoreReader, id: number) {
    this.#reader = reader
    this.id = id
  }
  get labels(): Labels {
    return this.#reader.labelsOf(this.id)
  }
  read(from: Millis, to: Millis, into: SampleBuffer): void {
    this.#reader.read(this.id, from, to, into)
  }
}

function ensure(into: SampleBuffer, count: number): void {
  if (count <= into.times.length && count <= into.values.length) return
  const capacity = Math.max(count, into.times.length * 2, 64)
  const times = new Float64Array(capacity)
  const values = new Float64Array(capacity)
  times.set(into.times.subarray(0, into.length))
  values.set(into.values.subarray(0, into.length))
  into.times = times
  into.values = values
}

/** Cuts off what lies outside [from, to]. */
function clip(into: SampleBuffer, from: Millis, to: Millis): void {
  const { times } = into
  const start = lowerBound(times, into.length, from)
  const end = lowerBound(times, into.length, Math.floor(to) + 1)
  if (start > 0) {
    times.copyWithin(0, start, end)
    into.values.copyWithin(0, start, end)
  }
  into.length = Math.max(0, end - start)
}
