/**
 * The compaction thread: does one piece of work after another for the pipeline thread, at low priority and with rests,
 * and is ended when there is none. It reads immutable files and writes new ones; whether they count is not its matter.
 */
import os from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { silentLog } from '../../base/log.ts'
import { answer } from '../../base/rpc.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import type { CompactionJob, CompactionResult, SeriesLookup } from './compact.ts'
import { copySegment, runCompaction } from './compact.ts'
import { segmentsDir } from './manifest.ts'
import { Segment, SegmentCache } from './segment.ts'
import type { StoreShare } from './shared.ts'
import { Area, DEAD, LABEL, LENGTH, LENGTH_MASK, LINE } from './shared.ts'

/** Works so long, then rests so long. */
const WORK_MS = 10
const REST_MS = 10

export type Work =
  | { readonly kind: 'merge' | 'copy'; readonly job: CompactionJob }
  /** Which files still hold deleted series? */
  | { readonly kind: 'find_deleted'; readonly dir: string; readonly files: readonly string[] }
  /** Which series are in any of these files? A byte for each id below `count`. */
  | {
      readonly kind: 'find_present'
      readonly dir: string
      readonly files: readonly string[]
      readonly count: number
      /** WAL position of the manifest that was asked about. */
      readonly flushed: number
    }

export type WorkResult =
  | ({ readonly kind: 'merge' | 'copy' } & CompactionResult)
  | { readonly kind: 'find_deleted'; readonly files: readonly string[] }
  | { readonly kind: 'find_present'; readonly present: Uint8Array }

export type CompactionOperations = {
  run(work: Work): Promise<WorkResult>
}

/** Runs the thread; the body of `app/compaction-worker.ts`. */
export function runCompactionWorker(): void {
  const { share } = workerData as { share: StoreShare }
  try {
    os.setPriority(0, os.constants.priority.PRIORITY_LOW) // on Linux this is the thread, not the process
  } catch {
    // not everywhere allowed
  }
  const scheduler = systemScheduler((error) => silentLog.error('', { error }))
  let since = scheduler.clock.monotonic()
  const pause = () => {
    if (scheduler.clock.monotonic() - since < WORK_MS) return undefined
    return scheduler.sleep(REST_MS).then(() => {
      since = scheduler.clock.monotonic()
    })
  }
  const operations: CompactionOperations = { run: (work) => doWork(work, seriesOf(share), pause) }
  answer(parentPort!, operations)
}

/** Series as the shared table has them. */
export function seriesOf(share: StoreShare): SeriesLookup {
  const series = new Area(share.series)
  const labels = new Area(share.labels)
  const length = (id: number): number => {
    if ((id + 1) * LINE * 4 > series.size) series.refresh()
    return series.words[id * LINE + LENGTH] ?? 0
  }
  return {
    alive: (id) => (length(id) & LENGTH_MASK) > 0 && (length(id) & DEAD) === 0,
    labelsOf(id) {
      const bytes = length(id) & LENGTH_MASK
      const at = series.words[id * LINE + LABEL]! * 4
      if (at + bytes > labels.size) labels.refresh()
      return labels.bytes.subarray(at, at + bytes)
    },
  }
}

export async function doWork(
  work: Work,
  series: SeriesLookup,
  pause: () => Promise<void> | undefined,
): Promise<WorkResult> {
  switch (work.kind) {
    case 'merge':
      return { kind: work.kind, ...(await runCompaction(work.job, series, pause)) }
    case 'copy':
      return { kind: work.kind, ...(await copySegment(work.job, series, pause)) }
    case 'find_deleted': {
      const files: string[] = []
      for (const file of work.files) {
        for (const id of idsOf(work.dir, file)) {
          if (series.alive(id)) continue
          files.push(file)
          break
        }
        await pause()
      }
      return { kind: work.kind, files }
    }
    case 'find_present': {
      const present = new Uint8Array(work.count)
      for (const file of work.files) {
        for (const id of idsOf(work.dir, file)) present[id] = 1
        await pause()
      }
      return { kind: work.kind, present }
    }
  }
}

function* idsOf(dir: string, file: string): Generator<number> {
  const segment = Segment.open(segmentsDir(dir), file, new SegmentCache(1 << 20))
  try {
    yield* segment.ids()
  } finally {
    segment.close()
  }
}
