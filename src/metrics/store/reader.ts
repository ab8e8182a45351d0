/**
 * Reads head and segments from any thread. The head comes first, then the list of segments: a flush puts samples into
 * a segment before it takes them out of the head, so none is missed, and one that was met twice is merged.
 */

import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import type { Labels } from '../labels.ts'
import type { ColumnReader, Matcher, ReadLimits, RollupColumns, SampleBuffer, SeriesColumns } from '../metrics.ts'
import { CHUNK_MAX, decodeChunk } from './chunk.ts'
import { LabelIndex } from './label-index.ts'
import { prepare } from './matcher.ts'
import type { StoreShare } from './shared.ts'
import {
  Area,
  BLOCK,
  CHUNK,
  CHUNK_AT,
  CHUNK_COUNT,
  CHUNK_FIRST,
  CHUNK_LAST,
  CHUNK_LINE,
  CHUNK_NEXT,
  CONTROL,
  COUNT,
  Control,
  FIGURE,
  LATE,
  LATE_COUNT,
  LINE,
  VERSION,
} from './shared.ts'

const LABELS_MAX = 50_000

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
  readonly #labelsOf = new Map<number, Labels>()
  readonly #barrier = new Int32Array(new SharedArrayBuffer(4))
  /** Runs found of the series in work: first time, start and end in the buffer. */
  readonly #runs: { first: number; last: number; from: number; to: number }[] = []
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
  }

  readColumns(matchers: readonly Matcher[], _from: Millis, _to: Millis, limits?: ReadLimits): SeriesColumns[] {
    const ids = this.#select(matchers)
    if (limits && ids.length > limits.seriesMax) {
      throw new AppError(
        422,
        'too_many_series',
        `The selector matches ${ids.length} series, more than the limit of ${limits.seriesMax}.`,
      )
    }
    return ids.map((id) => new Series(this, id))
  }

  labelNames(matchers: readonly Matcher[], _from: Millis, _to: Millis): string[] {
    const ids = this.#select(matchers)
    return this.#index.namesOf(ids).sort()
  }

  labelValues(name: string, matchers: readonly Matcher[], _from: Millis, _to: Millis): string[] {
    const ids = this.#select(matchers)
    return [...this.#index.values(name, matchers.length === 0 ? null : ids).keys()].sort()
  }

  readRollup(_series: SeriesColumns, _stepMs: number, _from: Millis, _to: Millis): RollupColumns | null {
    return null
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

  read(id: number, from: Millis, to: Millis, into: SampleBuffer): void {
    const since = Math.max(from, this.rawSince())
    this.#readHead(id, since, to, into)
    this.#merge(into)
    clip(into, since, to)
  }

  #select(matchers: readonly Matcher[]): number[] {
    this.#index.extend(this.#control.get(CONTROL.series))
    return this.#index.select(matchers.map(prepare))
  }

  /** Fills `into` with the runs of the head, each ascending, and `#runs` with where they stand. */
  #readHead(id: number, from: Millis, to: Millis, into: SampleBuffer): void {
    const line = id * LINE
    const words = this.#series.words
    for (;;) {
      const version = Atomics.load(words, line + VERSION)
      if ((version & 1) === 1) continue
      this.#runs.length = 0
      into.length = 0
      let torn = false
      try {
        this.#blocks.refresh()
        this.#chunks.refresh()
        this.#data.refresh()
        const open = Atomics.load(words, line + COUNT)
        this.#readChunks(words[line + CHUNK]!, from, to, into)
        this.#copyBlock(words[line + LATE]!, words[line + LATE_COUNT]!, from, to, into)
        this.#copyBlock(words[line + BLOCK]!, open, from, to, into)
      } catch (error) {
        torn = true
        Atomics.add(this.#barrier, 0, 1)
        if (Atomics.load(words, line + VERSION) === version) throw error
      }
      Atomics.add(this.#barrier, 0, 1) // what was read above was read before the version below
      if (!torn && Atomics.load(words, line + VERSION) === version) return
    }
  }

  #readChunks(top: number, from: Millis, to: Millis, into: SampleBuffer): void {
    const lines = this.#chunks.words
    const floats = this.#chunks.floats
    let steps = 0
    for (let chunk = top - 1; chunk >= 0; chunk = lines[chunk * CHUNK_LINE + CHUNK_NEXT]! - 1) {
      if (++steps > 10_000_000) throw new RangeError('list of chunks runs in a circle')
      const first = floats[chunk * 4 + CHUNK_FIRST]!
      const last = floats[chunk * 4 + CHUNK_LAST]!
      if (last < from || first > to) continue
      ensure(into, into.length + Math.min(lines[chunk * CHUNK_LINE + CHUNK_COUNT]! + 1, CHUNK_MAX))
      const at = lines[chunk * CHUNK_LINE + CHUNK_AT]! >>> 0
      const count = decodeChunk(this.#data.bytes, at, first, last, into.times, into.values, into.length)
      this.#run(into, count)
    }
  }

  #copyBlock(block: number, count: number, from: Millis, to: Millis, into: SampleBuffer): void {
    if (count === 0) return
    const floats = this.#blocks.floats
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high) >> 1
      if (floats[2 * (block + middle)]! < from) low = middle + 1
      else high = middle
    }
    if (low === count || floats[2 * (block + low)]! > to) return
    ensure(into, into.length + count - low)
    const { times } = into
    const words = this.#wordsIn(into.values)
    const source = this.#blocks.words
    let n = into.length
    for (let i = low; i < count; i++) {
      const at = block + i
      times[n] = floats[2 * at]!
      words[2 * n] = source[4 * at + 2]!
      words[2 * n + 1] = source[4 * at + 3]!
      n++
    }
    this.#run(into, n - into.length)
  }

  #run(into: SampleBuffer, count: number): void {
    if (count === 0) return
    const from = into.length
    into.length += count
    this.#runs.push({ first: into.times[from]!, last: into.times[into.length - 1]!, from, to: into.length })
  }

  /** Puts the runs in order of time, one value a time. */
  #merge(into: SampleBuffer): void {
    const runs = this.#runs
    let ordered = true
    for (let i = 1; i < runs.length; i++) {
      if (runs[i]!.first <= runs[i - 1]!.last) {
        ordered = false
        break
      }
    }
    if (ordered) return
    runs.sort((a, b) => a.first - b.first || a.from - b.from)
    const times = new Float64Array(into.times.length)
    const values = new Float64Array(into.values.length)
    let overlap = false
    for (let i = 1; i < runs.length; i++) overlap ||= runs[i]!.first <= runs[i - 1]!.last
    let n = 0
    if (!overlap) {
      for (const run of runs) {
        times.set(into.times.subarray(run.from, run.to), n)
        values.set(into.values.subarray(run.from, run.to), n)
        n += run.to - run.from
      }
    } else {
      const order = new Uint32Array(into.length)
      for (let i = 0; i < order.length; i++) order[i] = i
      const all = into.times
      order.sort((a, b) => all[a]! - all[b]! || a - b)
      const from = this.#wordsIn(into.values)
      const out = new Uint32Array(values.buffer)
      for (const i of order) {
        if (n > 0 && times[n - 1] === all[i]!) continue
        times[n] = all[i]!
        out[2 * n] = from[2 * i]!
        out[2 * n + 1] = from[2 * i + 1]!
        n++
      }
    }
    into.times = times
    into.values = values
    into.length = n
  }

  #wordsIn(values: Float64Array): Uint32Array {
    if (values !== this.#wordsOf) {
      this.#wordsOf = values
      this.#words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
    }
    return this.#words
  }
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
  let end = into.length
  while (end > 0 && times[end - 1]! > to) end--
  let start = 0
  while (start < end && times[start]! < from) start++
  if (start > 0) {
    times.copyWithin(0, start, end)
    into.values.copyWithin(0, start, end)
  }
  into.length = end - start
}
