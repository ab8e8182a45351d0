/**
 * Compaction: what becomes of segments in time.
 *
 *   flush (level 0, 2 h) ─ six of them ─▶ level 1, cut at midnight UTC ─ day over ─▶ level 2: one a day + roll-ups
 *                                                                 raw: until retention        roll-ups: longer
 *
 * `planCompaction` decides, purely; `runCompaction` does one job of it in a thread of its own, series by series, and
 * changes nothing that counts: the pipeline thread puts the result into the manifest. Deleted series are left behind.
 * Samples that late data brought to a finished day are merged in when they are enough to be worth it.
 */
import type { Millis } from '../../base/time.ts'
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import { sampleBuffer } from '../metrics.ts'
import { ByteWriter, FormatError } from './bytes.ts'
import { CHUNK_MAX, chunkCount, chunkRoom, DECODE_SLACK, decodeChunk, encodeChunk } from './chunk.ts'
import { segmentName, segmentsDir } from './manifest.ts'
import type { Run } from './runs.ts'
import { mergeRuns } from './runs.ts'
import type { SegmentInfo } from './segment.ts'
import { Segment, SegmentCache, SegmentWriter } from './segment.ts'

/** Widths of roll-ups. */
export const ROLLUP_STEPS = [5 * MINUTE, HOUR] as const
/** Columns of a roll-up, in the order of their chunks. */
export const ROLLUP_COLUMNS = ['min', 'max', 'sum', 'count'] as const

/** A day is over when nothing is expected for it any more. */
const DAY_SETTLES_MS = 3 * HOUR
const SMALL_MERGE = 6
/** A finished day is merged again for this many late segments, or for this part of its bytes. */
const LATE_MERGE = 4
const LATE_PART = 0.1
/** Samples of a chunk that compaction makes. */
const CHUNK_SAMPLES = 240
/** Chunks are taken over as they are when they hold at least this many on average. */
const WELL_FILLED = 120
/** A series is merged in groups of about so many samples. */
const GROUP_SAMPLES = 200_000
/** File numbers that a job may use. */
export const FILES_A_JOB = 4096

export interface CompactionPolicy {
  readonly retentionMs: number
  /** Of roll-ups, by step. */
  readonly rollupRetentionMs: Readonly<Record<number, number>>
  /** Most bytes of all segments; the oldest raw ones go first. Infinity: no limit. */
  readonly bytesMax: number
}

export type CompactionPlan =
  /** These have passed their retention. */
  | { readonly kind: 'expire'; readonly files: readonly string[]; readonly reason: 'age' | 'size' }
  /** Merge `sources`; `replaced` roll-ups are made anew. */
  | { readonly kind: 'merge'; readonly sources: readonly string[]; readonly replaced: readonly string[] }

export interface CompactionJob {
  readonly dir: string
  readonly sources: readonly string[]
  readonly replaced: readonly string[]
  readonly firstFile: number
  readonly flushed: number
  readonly now: Millis
}

export interface CompactionResult {
  readonly added: readonly SegmentInfo[]
  readonly removed: readonly string[]
  /** Of these some pages were damaged: they are set aside, not deleted. */
  readonly damaged: readonly string[]
}

const dayOf = (time: Millis) => Math.floor(time / DAY)
const isOver = (day: number, now: Millis) => (day + 1) * DAY + DAY_SETTLES_MS <= now

/** The next thing to do; null when all is well. */
export function planCompaction(
  segments: readonly SegmentInfo[],
  policy: CompactionPolicy,
  now: Millis,
): CompactionPlan | null {
  const raw = segments.filter((segment) => segment.kind === 'raw')
  const rollups = segments.filter((segment) => segment.kind === 'rollup')
  const daily = (segment: SegmentInfo) => segment.level >= 2

  const old = segments.filter((segment) => {
    if (segment.kind === 'raw') return daily(segment) && segment.maxTime < now - policy.retentionMs
    return segment.maxTime + segment.stepMs < now - (policy.rollupRetentionMs[segment.stepMs] ?? 0)
  })
  if (old.length > 0) return { kind: 'expire', files: old.map((segment) => segment.file), reason: 'age' }

  let bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  if (bytes > policy.bytesMax) {
    const files: string[] = []
    const byAge = [...segments].sort((a, b) => (a.kind === b.kind ? a.maxTime - b.maxTime : a.kind === 'raw' ? -1 : 1))
    for (const segment of byAge) {
      if (bytes <= policy.bytesMax) break
      files.push(segment.file)
      bytes -= segment.bytes
    }
    return { kind: 'expire', files, reason: 'size' }
  }

  const days = byDay(raw)
  for (const day of [...days.keys()].sort((a, b) => a - b)) {
    const found = days.get(day)!
    if (!isOver(day, now)) break
    const extra = found.filter((segment) => !daily(segment))
    const whole = found.reduce((sum, segment) => sum + segment.bytes, 0)
    const extraBytes = extra.reduce((sum, segment) => sum + segment.bytes, 0)
    const due =
      extra.length === found.length || // never merged
      found.length - extra.length > 1 ||
      extra.length >= LATE_MERGE ||
      extraBytes >= whole * LATE_PART ||
      (extra.length > 0 && (day + 1) * DAY < now - policy.retentionMs)
    if (!due || (extra.length === 0 && found.length === 1)) continue
    return merge(closure(found, days, now), rollups, now)
  }

  const small = raw.filter((segment) => segment.level === 0 && !isOver(dayOf(segment.maxTime), now))
  if (small.length >= SMALL_MERGE) return merge(closure(small, days, now), rollups, now)
  return null
}

function byDay(segments: readonly SegmentInfo[]): Map<number, SegmentInfo[]> {
  const days = new Map<number, SegmentInfo[]>()
  for (const segment of segments) {
    for (let day = dayOf(segment.minTime); day <= dayOf(segment.maxTime); day++) {
      const found = days.get(day)
      if (found) found.push(segment)
      else days.set(day, [segment])
    }
  }
  return days
}

/** With a finished day that is touched come all its segments: it is written as one. */
function closure(start: readonly SegmentInfo[], days: ReadonlyMap<number, SegmentInfo[]>, now: Millis): SegmentInfo[] {
  const all = new Set(start)
  for (const segment of all) {
    for (let day = dayOf(segment.minTime); day <= dayOf(segment.maxTime); day++) {
      if (isOver(day, now)) for (const other of days.get(day) ?? []) all.add(other)
    }
  }
  return [...all]
}

function merge(sources: readonly SegmentInfo[], rollups: readonly SegmentInfo[], now: Millis): CompactionPlan {
  const days = new Set<number>()
  for (const { minTime, maxTime } of sources) {
    for (let day = dayOf(minTime); day <= dayOf(maxTime); day++) if (isOver(day, now)) days.add(day)
  }
  const replaced = rollups.filter((segment) => days.has(dayOf(segment.minTime)))
  return {
    kind: 'merge',
    sources: sources.map((segment) => segment.file),
    replaced: replaced.map((segment) => segment.file),
  }
}

/**
 * Segments in `held` still hold deleted series: what to write anew. Raw ones are merged with their days (which makes
 * the roll-ups of these days anew); roll-ups whose raw samples are gone are copied.
 */
export function planPurge(
  segments: readonly SegmentInfo[],
  held: ReadonlySet<string>,
  now: Millis,
): { readonly merge: CompactionPlan | null; readonly copies: readonly string[] } {
  const raw = segments.filter((segment) => segment.kind === 'raw')
  const rollups = segments.filter((segment) => segment.kind === 'rollup')
  const days = byDay(raw)
  const first = raw.find((segment) => held.has(segment.file))
  if (first) return { merge: merge(closure([first], days, now), rollups, now), copies: [] }
  const copies = rollups.filter((segment) => held.has(segment.file)).map((segment) => segment.file)
  return { merge: null, copies }
}

// ---------------------------------------------------------------------------------------------------- the work

/** Series as the table has them now. */
export interface SeriesLookup {
  alive(this: void, id: number): boolean
  labelsOf(id: number): Uint8Array
}

/**
 * Merges the sources of a job into one segment for each day, and roll-ups for the days that are over. `pause` is
 * called after each series. What the disk refuses is thrown, and nothing remains.
 */
export async function runCompaction(
  job: CompactionJob,
  series: SeriesLookup,
  pause: () => Promise<void> | undefined,
): Promise<CompactionResult> {
  const sources = new Sources(job.dir, job.sources)
  const merger = new Merger(job)
  try {
    for (const id of sources.series(series.alive)) {
      const chunks = new ChunkList()
      for (const segment of sources.segments) segment.read(id, -Infinity, Infinity, chunks.take)
      if (!merger.add(id, series.labelsOf(id), chunks)) sources.damagedAll = true
      const wait = pause()
      if (wait) await wait
    }
    return { added: await merger.finish(pause), removed: [...job.sources, ...job.replaced], damaged: sources.damaged() }
  } catch (error) {
    merger.abandon()
    throw error
  } finally {
    sources.close()
  }
}

/** Writes one roll-up segment anew without its deleted series. */
export async function copySegment(
  job: CompactionJob,
  series: SeriesLookup,
  pause: () => Promise<void> | undefined,
): Promise<CompactionResult> {
  const sources = new Sources(job.dir, job.sources)
  const writer = new SegmentWriter(segmentsDir(job.dir), segmentName(job.firstFile))
  try {
    for (const id of sources.series(series.alive)) {
      writer.beginSeries(id, series.labelsOf(id))
      for (const segment of sources.segments) {
        segment.read(id, -Infinity, Infinity, (bytes, at, length, first, last) => {
          writer.addChunk(bytes, at, length, chunkCount(bytes, at), first, last)
        })
      }
      writer.endSeries()
      const wait = pause()
      if (wait) await wait
    }
    const { kind, stepMs, level } = sources.segments[0]!.info
    const added: SegmentInfo[] = []
    if (writer.series === 0) writer.abandon()
    else added.push(await writer.finish({ kind, stepMs, level, flushed: job.flushed, sources: job.sources }, pause))
    return { added, removed: job.sources, damaged: sources.damaged() }
  } catch (error) {
    writer.abandon()
    throw error
  } finally {
    sources.close()
  }
}

/** The segments a job reads. */
class Sources {
  readonly segments: readonly Segment[]
  readonly #damaged = new Set<string>()
  damagedAll = false

  constructor(dir: string, files: readonly string[]) {
    const cache = new SegmentCache(8 << 20)
    const segments: Segment[] = []
    for (const file of files) {
      const segment = Segment.open(segmentsDir(dir), file, cache)
      segment.onDamage = () => this.#damaged.add(file)
      segments.push(segment)
    }
    this.segments = segments.sort((a, b) => a.info.minTime - b.info.minTime)
  }

  /** All live series, ascending. */
  *series(alive: (id: number) => boolean): Generator<number> {
    const streams = this.segments.map((segment) => {
      const rest = segment.ids()
      return { next: rest.next(), rest }
    })
    for (;;) {
      let least = Infinity
      for (const { next } of streams) if (!next.done && next.value < least) least = next.value
      if (least === Infinity) return
      for (const stream of streams) {
        while (!stream.next.done && stream.next.value === least) stream.next = stream.rest.next()
      }
      if (alive(least)) yield least
    }
  }

  damaged(): string[] {
    return this.damagedAll ? this.segments.map((segment) => segment.info.file) : [...this.#damaged]
  }

  close(): void {
    for (const segment of this.segments) segment.close()
  }
}

interface Piece {
  readonly at: number
  readonly length: number
  readonly count: number
  readonly first: Millis
  readonly last: Millis
}

/** The chunks of one series, copied together. */
class ChunkList {
  readonly #bytes = new ByteWriter(4096)
  readonly pieces: Piece[] = []

  readonly take = (bytes: Uint8Array, at: number, length: number, first: Millis, last: Millis): void => {
    this.pieces.push({ at: this.#bytes.length, length, count: chunkCount(bytes, at), first, last })
    this.#bytes.raw(bytes.subarray(at, at + length))
  }

  /** With slack to decode from. */
  get bytes(): Uint8Array {
    return this.#bytes.reserve(DECODE_SLACK)
  }
}

interface DayWriter {
  readonly raw: SegmentWriter
  readonly rollups: readonly { readonly maker: RollupMaker; readonly writer: SegmentWriter }[]
}

/** Writes merged series, each day into its own segments. */
class Merger {
  readonly #job: CompactionJob
  readonly #days = new Map<number, DayWriter>()
  #nextFile: number
  readonly #buffer = sampleBuffer(2 * GROUP_SAMPLES)
  readonly #scratch = new Uint8Array(chunkRoom(CHUNK_MAX) + DECODE_SLACK)

  constructor(job: CompactionJob) {
    this.#job = job
    this.#nextFile = job.firstFile
  }

  /** False when a chunk could not be read; the others are written. */
  add(id: number, labels: Uint8Array, chunks: ChunkList): boolean {
    const { pieces, bytes } = chunks
    let good = true
    let day = Number.NaN
    pieces.sort((a, b) => a.first - b.first)
    for (let from = 0; from < pieces.length; ) {
      // A group ends where no chunk reaches over, so that one series of any size is merged in little memory.
      let to = from
      let samples = 0
      let last = -Infinity
      while (to < pieces.length && (samples < GROUP_SAMPLES || pieces[to]!.first <= last)) {
        samples += pieces[to]!.count
        last = Math.max(last, pieces[to]!.last)
        to++
      }
      const group = pieces.slice(from, to)
      if (!this.#decode(bytes, group, samples)) good = false
      const { times, values, length: count } = this.#buffer
      for (let start = 0; start < count; ) {
        const today = dayOf(times[start]!)
        let end = start + 1
        while (end < count && times[end]! < (today + 1) * DAY) end++
        if (today !== day) {
          this.#endDay(day)
          this.#beginDay(today, id, labels)
          day = today
        }
        const { raw, rollups } = this.#days.get(day)!
        this.#writeRaw(raw, bytes, start, end, good ? group : [])
        for (const { maker } of rollups) maker.add(times, values, start, end)
        start = end
      }
      from = to
    }
    this.#endDay(day)
    return good
  }

  async finish(pause: () => Promise<void> | undefined): Promise<SegmentInfo[]> {
    const { flushed, now, sources, replaced } = this.#job
    const added: SegmentInfo[] = []
    const from = [...sources, ...replaced]
    for (const [day, { raw, rollups }] of this.#days) {
      const level = isOver(day, now) ? 2 : 1
      added.push(await raw.finish({ kind: 'raw', stepMs: 0, level, flushed, sources: from }, pause))
      for (const { maker, writer } of rollups) {
        if (writer.series === 0) writer.abandon()
        else
          added.push(
            await writer.finish({ kind: 'rollup', stepMs: maker.stepMs, level: 2, flushed, sources: from }, pause),
          )
      }
      this.#days.delete(day)
    }
    return added
  }

  abandon(): void {
    for (const { raw, rollups } of this.#days.values()) {
      raw.abandon()
      for (const { writer } of rollups) writer.abandon()
    }
  }

  #beginDay(day: number, id: number, labels: Uint8Array): void {
    let found = this.#days.get(day)
    if (!found) {
      const writer = () => {
        if (this.#nextFile >= this.#job.firstFile + FILES_A_JOB) throw new Error('a compaction of too many days')
        return new SegmentWriter(segmentsDir(this.#job.dir), segmentName(this.#nextFile++))
      }
      const steps = isOver(day, this.#job.now) ? ROLLUP_STEPS : []
      found = { raw: writer(), rollups: steps.map((stepMs) => ({ maker: new RollupMaker(stepMs), writer: writer() })) }
      this.#days.set(day, found)
    }
    found.raw.beginSeries(id, labels)
    for (const { maker } of found.rollups) maker.begin(id, labels)
  }

  #endDay(day: number): void {
    const writers = this.#days.get(day)
    writers?.raw.endSeries()
    for (const { maker, writer } of writers?.rollups ?? []) maker.write(writer, this.#scratch)
  }

  /** All samples in order, one value a time, in `#buffer`; false when some are lost. */
  #decode(bytes: Uint8Array, pieces: readonly Piece[], total: number): boolean {
    const into = this.#buffer
    if (total + CHUNK_MAX > into.times.length) {
      into.times = new Float64Array(total + CHUNK_MAX)
      into.values = new Float64Array(total + CHUNK_MAX)
    }
    into.length = 0
    const runs: Run[] = []
    let good = true
    for (const { at, first, last } of pieces) {
      const from = into.length
      try {
        into.length += decodeChunk(bytes, at, first, last, into.times, into.values, from)
        runs.push({ first, last, from, to: into.length })
      } catch (error) {
        if (!(error instanceof FormatError || error instanceof RangeError)) throw error
        good = false
      }
    }
    mergeRuns(into, runs)
    return good
  }

  /** Takes well-filled chunks over as they are, makes new ones else. */
  #writeRaw(writer: SegmentWriter, bytes: Uint8Array, from: number, to: number, pieces: readonly Piece[]): void {
    const { times, values } = this.#buffer
    const own = pieces.filter(({ first, last }) => last >= times[from]! && first <= times[to - 1]!)
    const apart = own.every((piece, i) => i === 0 || piece.first > own[i - 1]!.last)
    const inside = own.length > 0 && own[0]!.first >= times[from]! && own.at(-1)!.last <= times[to - 1]!
    if (apart && inside && to - from >= own.length * WELL_FILLED) {
      for (const { at, length, count, first, last } of own) writer.addChunk(bytes, at, length, count, first, last)
      return
    }
    writeChunks(writer, times, [values], from, to, this.#scratch)
  }
}

/** Chunks of about equal size of samples [from, to); of each column one. */
function writeChunks(
  writer: SegmentWriter,
  times: Float64Array,
  columns: readonly Float64Array[],
  from: number,
  to: number,
  scratch: Uint8Array,
): void {
  const chunks = Math.ceil((to - from) / CHUNK_SAMPLES)
  for (let c = 0; c < chunks; c++) {
    const start = from + Math.floor(((to - from) * c) / chunks)
    const end = from + Math.floor(((to - from) * (c + 1)) / chunks)
    for (const column of columns) {
      const size = encodeChunk(times, column, start, end - start, scratch, 0)
      writer.addChunk(scratch, 0, size, end - start, times[start]!, times[end - 1]!)
    }
  }
}

/** Buckets of one series and day: NaNs (stale markers too) are left out, a bucket without samples is absent. */
class RollupMaker {
  readonly stepMs: number
  readonly #starts: Float64Array
  readonly #columns: readonly Float64Array[]
  #count = 0
  #id = 0
  #labels: Uint8Array = new Uint8Array(0)

  constructor(stepMs: number) {
    this.stepMs = stepMs
    this.#starts = new Float64Array(DAY / stepMs)
    this.#columns = ROLLUP_COLUMNS.map(() => new Float64Array(DAY / stepMs))
  }

  begin(id: number, labels: Uint8Array): void {
    this.#id = id
    this.#labels = labels
    this.#count = 0
  }

  add(times: Float64Array, values: Float64Array, from: number, to: number): void {
    const [min, max, sum, count] = this.#columns as [Float64Array, Float64Array, Float64Array, Float64Array]
    const { stepMs } = this
    let n = this.#count
    for (let i = from; i < to; i++) {
      const value = values[i]!
      if (Number.isNaN(value)) continue
      const start = Math.floor(times[i]! / stepMs) * stepMs
      if (n === 0 || this.#starts[n - 1] !== start) {
        this.#starts[n] = start
        min[n] = value
        max[n] = value
        sum[n] = value
        count[n] = 1
        n++
        continue
      }
      if (value < min[n - 1]!) min[n - 1] = value
      if (value > max[n - 1]!) max[n - 1] = value
      sum[n - 1]! += value
      count[n - 1]!++
    }
    this.#count = n
  }

  write(writer: SegmentWriter, scratch: Uint8Array): void {
    if (this.#count === 0) return
    writer.beginSeries(this.#id, this.#labels)
    writeChunks(writer, this.#starts, this.#columns, 0, this.#count, scratch)
    writer.endSeries()
  }
}
