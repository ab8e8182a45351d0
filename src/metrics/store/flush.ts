/**
 * A flush moves the head into segments, a few milliseconds at a time, while samples keep coming:
 *
 *   new WAL file ─▶ per series: seal, write its chunks ─▶ sync segments, series, claims ─▶ manifest
 *   ─▶ readers are told ─▶ per series: drop what was written from the head ─▶ old WAL files go
 *
 * Until the manifest is replaced nothing has happened; a crash before that replays the WAL.
 */
import type { Millis } from '../../base/time.ts'
import { DAY, HOUR } from '../../base/time.ts'
import type { Head } from './head.ts'
import { segmentName, segmentsDir } from './manifest.ts'
import type { SegmentInfo } from './segment.ts'
import { SegmentWriter } from './segment.ts'

/** Samples older than this are backfill: they get segments of their own, by day, so that retention finds them. */
const BACKFILL_MS = 12 * HOUR
/** Most segments written at once. */
const PARTITIONS_MAX = 24

export interface FlushInput {
  readonly dir: string
  readonly head: Head
  /** Series to flush: ids below. */
  readonly seriesCount: number
  readonly alive: (id: number) => boolean
  readonly labelsOf: (id: number) => Uint8Array
  /** Number of the first new file. */
  readonly nextFile: number
  readonly flushed: number
  readonly now: Millis
  readonly retentionMs: number
  /** Called every few series: waits when the thread is needed for something else. */
  readonly pause: () => Promise<void> | undefined
}

export interface Flushed {
  readonly segments: readonly SegmentInfo[]
  /** By series: the newest chunk that was written, for `Head.drop`. */
  readonly tops: Int32Array
}

/** Writes the segments; the head still holds everything. What the disk refuses is thrown, and nothing remains. */
export async function writeHead(input: FlushInput): Promise<Flushed> {
  const { head, seriesCount, now } = input
  const tops = new Int32Array(seriesCount)
  const writers = new Map<number, SegmentWriter>()
  const width = Math.max(DAY, Math.ceil(input.retentionMs / DAY / PARTITIONS_MAX) * DAY)
  let nextFile = input.nextFile
  const partition = (last: Millis) => (last > now - BACKFILL_MS ? Infinity : Math.floor(last / width))
  const writerOf = (key: number): SegmentWriter => {
    let writer = writers.get(key)
    if (!writer) {
      writer = new SegmentWriter(segmentsDir(input.dir), segmentName(nextFile++))
      writers.set(key, writer)
    }
    return writer
  }
  try {
    for (let id = 0; id < seriesCount; id++) {
      if (!head.has(id) || !input.alive(id)) continue
      const top = head.seal(id)
      tops[id] = top
      const chunks = head.chunksOf(top)
      const labels = input.labelsOf(id)
      // Nearly always all are of one partition; else each partition takes its own.
      for (let from = 0; from < chunks.length; from++) {
        const key = partition(chunks.last(from))
        let before = 0
        while (before < from && partition(chunks.last(before)) !== key) before++
        if (before < from) continue
        const writer = writerOf(key)
        writer.beginSeries(id, labels)
        for (let i = from; i < chunks.length; i++) {
          if (partition(chunks.last(i)) !== key) continue
          const { bytes } = head.data
          writer.addChunk(bytes, chunks.at(i), chunks.bytes(i), chunks.count(i), chunks.first(i), chunks.last(i))
        }
        writer.endSeries()
      }
      const wait = input.pause()
      if (wait) await wait
    }
    const segments: SegmentInfo[] = []
    for (const [key, writer] of writers) {
      segments.push(
        await writer.finish({ kind: 'raw', stepMs: 0, level: 0, flushed: input.flushed, sources: [] }, input.pause),
      )
      writers.delete(key)
    }
    return { segments, tops }
  } catch (error) {
    for (const writer of writers.values()) writer.abandon()
    throw error
  }
}
