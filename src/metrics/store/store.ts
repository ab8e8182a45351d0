/**
 * The store as its one writer sees it (the pipeline thread, or a test): series table, WAL, head, segments.
 *
 *   append ─▶ look up series, check every sample ─▶ WAL record (to the system) ─▶ head (readers see it)
 *   commit ─▶ fdatasync ─▶ consumers ─▶ and only then may `append` be answered
 *
 * Nothing here waits: whoever owns the thread groups appends, commits once, and answers them all.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { unavailable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Millis } from '../../base/time.ts'
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import type { SampleColumns } from '../columns.ts'
import { decodeLabels } from '../labels.ts'
import type {
  AppendOptions,
  AppendOutcome,
  AppendReport,
  ColumnReader,
  Refusal,
  SeriesView,
  WalConsumer,
} from '../metrics.ts'
import { ByteReader, ByteWriter } from './bytes.ts'
import type { CompactionJob, CompactionPolicy } from './compact.ts'
import { FILES_A_JOB, planCompaction, planPurge } from './compact.ts'
import type { Work, WorkResult } from './compaction.ts'
import type { DiskOptions } from './disk.ts'
import { Disk, diskDefaults } from './disk.ts'
import { replaceFile } from './files.ts'
import { writeHead } from './flush.ts'
import { Head } from './head.ts'
import type { Manifest } from './manifest.ts'
import { segmentsDir, writeManifest } from './manifest.ts'
import type { LabelLimits } from './raw-labels.ts'
import { openReader } from './reader.ts'
import type { Claim, Samples } from './record.ts'
import { decodeBatch, encodeBatch, samples } from './record.ts'
import { openFiles } from './recover.ts'
import type { SegmentInfo } from './segment.ts'
import { SegmentSet } from './segment-set.ts'
import { BAD_LABELS, SeriesTable, TOO_MANY } from './series.ts'
import { SeriesFile } from './series-file.ts'
import type { StoreShare } from './shared.ts'
import {
  Area,
  CONTROL,
  Control,
  createShare,
  FIGURE,
  LENGTH,
  LINE,
  NEWEST,
  NEWEST_VALUE,
  VALUE_UNKNOWN,
} from './shared.ts'
import { RECORD, RECORD_HEADER, replayWal, Wal } from './wal.ts'

export interface StoreConfig extends LabelLimits {
  /** The directory of the store alone, `DATA_DIR/metrics`. */
  readonly dir: string
  readonly retentionMs: number
  /** Most live series. */
  readonly seriesMax: number
  /** Samples further ahead of the clock are refused. */
  readonly aheadMs: number
  /** A flush is due when the WAL or the head has grown to this, or the oldest sample in the head is this old. */
  readonly walBytesMax: number
  readonly headBytesMax: number
  readonly flushEveryMs: number
  readonly rollupRetentionMs: CompactionPolicy['rollupRetentionMs']
  /** Most bytes of segments; the oldest go. 0: no limit. */
  readonly segmentBytesMax: number
  readonly disk: DiskOptions
}

export const storeDefaults = {
  retentionMs: 15 * DAY,
  seriesMax: 2_000_000,
  aheadMs: 10 * MINUTE,
  walBytesMax: 256 << 20,
  headBytesMax: 512 << 20,
  flushEveryMs: 2 * HOUR,
  rollupRetentionMs: { [5 * MINUTE]: 90 * DAY, [HOUR]: 730 * DAY },
  segmentBytesMax: 0,
  disk: diskDefaults,
  labelsMax: 64,
  nameBytesMax: 256,
  valueBytesMax: 4096,
  seriesBytesMax: 16_384,
} satisfies Omit<StoreConfig, 'dir'>

/** How long an idempotency claim is remembered, and how many bytes of them at most. */
const CLAIM_MS = DAY
const CLAIM_BYTES_MAX = 64 << 20
const PROBLEMS_MAX = 1000
/** Working memory that a batch may leave behind. */
const KEPT_SAMPLES = 65_536
const KEPT_BYTES = 4 << 20
/** A flush works this long at a stretch. */
const STEP_MS = 8
/** At a clean stop a flush that takes longer than this is left: the next start replays the log instead. */
const CLOSE_MS = 3300

const FRESH = 0
const STORED_LATE = 1
const DUPLICATE = 2
const REFUSED = 3

export class Store {
  readonly share: StoreShare
  readonly #config: StoreConfig
  readonly #clock: Clock
  readonly #log: Log
  readonly #consumers: readonly WalConsumer[]
  readonly #control: Control
  readonly #seriesArea: Area
  readonly #table: SeriesTable
  readonly #head: Head
  readonly #wal: Wal
  #record = new ByteWriter(1 << 20)
  /** Samples of the batch in work that passed all checks. */
  #accepted: Samples = samples(4096)
  /** Places of the samples accepted from the batch in work, which the head does not hold yet; made for the first late one. */
  #here: Map<string, number> | null = null
  /** Ids below this stand in the WAL or in `series.dat`. */
  #defined = 0
  /** Ids below this stand in `series.dat`. */
  #saved = 0
  /** Deleted ids that `series.dat` does not know yet. */
  #deleted: number[] = []
  readonly #segments: SegmentSet
  readonly #seriesFile: SeriesFile
  #manifest: Manifest
  #flushing: Promise<void> | null = null
  /** The number that the next segment file gets. */
  #nextFile: number
  readonly #disk: Disk
  /** Segments that hold deleted series, once they were looked for. */
  #held: ReadonlySet<string> | null = null
  /** Segments went: there may be series without any sample. */
  #lookForGone = false
  #restUntil = 0
  #flushedAt: number
  /** Set while closing: a flush then waits for nothing, and ends at this time of the monotonic clock. */
  #hurryUntil: number | null = null
  readonly #claims = new Map<string, Claim>()
  #claimBytes = 0
  /** Batches written and not yet fed to the consumers. */
  #unfed: { position: number; samples: Samples }[] = []
  #reason: Refusal = 'labels'

  constructor(
    config: StoreConfig,
    clock: Clock,
    log: Log,
    consumers: readonly WalConsumer[] | ((series: SeriesView) => readonly WalConsumer[]) = [],
    mode: 'owner' | 'visitor' = 'owner',
  ) {
    this.#config = config
    this.#clock = clock
    this.#log = log
    const owner = mode === 'owner'
    for (const dir of owner ? [path.join(config.dir, 'wal'), segmentsDir(config.dir)] : []) {
      fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
    }
    this.share = createShare(config.dir)
    this.#control = new Control(this.share.control)
    this.#control.figures[FIGURE.retentionMs] = config.retentionMs
    this.#seriesArea = new Area(this.share.series)
    const labels = new Area(this.share.labels)
    this.#table = new SeriesTable(this.#seriesArea, labels, this.#control, config.seriesMax, config)
    this.#head = new Head(
      this.#seriesArea,
      new Area(this.share.blocks),
      new Area(this.share.chunks),
      new Area(this.share.data),
      this.#control,
    )
    this.#flushedAt = clock.monotonic()
    const restore = (id: number, bytes: Uint8Array) => {
      this.#table.restore(id, bytes)
      this.#forget(id)
    }
    const files = openFiles(config.dir, log, restore, owner)
    this.#manifest = files.manifest
    this.#nextFile = files.manifest.next
    this.#disk = new Disk(config.dir, config.disk, clock, log)
    this.#control.figures[FIGURE.damagedFiles] = files.damaged
    this.#table.skipTo(files.seriesCount)
    this.#saved = files.seriesSaved
    this.#seriesFile = new SeriesFile(config.dir, files.manifest.seriesBytes)
    for (const claim of files.claims) this.#remember(claim)
    this.#segments = new SegmentSet(config.dir, this.#control, 8 << 20, (file, what) => {
      this.#control.figures[FIGURE.damagedFiles]!++
      log.error('A segment is damaged; the rest of it stays readable.', { file, what })
    })
    this.#segments.use(this.#manifest.segments)
    const view: SeriesView = {
      labelsOf: (id) => (this.#table.isDead(id) ? [] : decodeLabels(this.#table.bytesOf(id))),
      count: () => this.#table.count,
      newest: (id) => this.#newest(id),
    }
    this.#consumers = typeof consumers === 'function' ? consumers(view) : consumers
    this.#wal = this.#replay(owner)
  }

  /**
   * Checks, logs and stores one batch; readers see it at once, but it is durable, and may be answered, only after
   * `commit`. Throws `AppError` 503 when the disk takes no more; then nothing of the batch is stored.
   */
  append(columns: SampleColumns, options: AppendOptions): AppendOutcome {
    const claim = options.claim
    if (claim) {
      const known = this.#claims.get(claim.key)
      if (known && known.at > this.#clock.now() - CLAIM_MS) {
        return known.fingerprint === claim.fingerprint ? { kind: 'repeated', answer: known.answer } : { kind: 'clash' }
      }
    }
    if (this.#disk.full) throw diskFull()
    const report = this.#checkAll(columns)
    const made = claim ? { ...claim, at: this.#clock.now() } : null
    if (this.#accepted.count > 0 || made) {
      const position = this.#write(made)
      this.#table.publish()
      this.#head.add(this.#accepted)
      this.#feedLater(position)
      if (made) this.#remember(made)
    }
    if (this.#accepted.ids.length > KEPT_SAMPLES) this.#accepted = samples(4096)
    if (this.#record.bytes.length > KEPT_BYTES) this.#record = new ByteWriter(1 << 20)
    return { kind: 'appended', report }
  }

  /** Makes all that was appended durable and feeds the consumers. Throws when the disk fails. */
  commit(): void {
    try {
      this.#wal.sync()
    } catch (error) {
      // Some file systems find out only now that there is no room. Else nobody can say what is on the disk.
      if (!this.#disk.failed(error)) throw error
      this.#wal.sync()
    }
    for (const { position, samples } of this.#unfed) this.#feed(position, samples)
    this.#unfed.length = 0
  }

  /** The newest sample of a series by its canonical bytes, or null. */
  latest(labels: Uint8Array): { readonly time: Millis; readonly value: number } | null {
    const id = this.#table.findCanonical(labels)
    if (id < 0) return null
    const time = this.#newest(id)
    if (time === Number.NEGATIVE_INFINITY) return null
    const place = this.#head.find(id, time) ? this.#head : this.#segments.find(id, time) ? this.#segments : null
    if (!place) return null
    const words = Uint32Array.of(place.foundLow, place.foundHigh)
    return { time, value: new Float64Array(words.buffer)[0]! }
  }

  /** Deletes series with all their data; durable after `commit`. Returns how many there were. */
  deleteSeries(ids: readonly number[]): number {
    const alive = ids.filter((id) => id >= 0 && id < this.#table.count && !this.#table.isDead(id))
    if (alive.length === 0) return 0
    const record = this.#record
    record.length = RECORD_HEADER
    record.varint(alive.length)
    for (const id of alive) record.varint(id)
    this.#writeRecord(RECORD.delete)
    for (const id of alive) this.#kill(id)
    if (this.#manifest.segments.length > 0) this.#manifest = { ...this.#manifest, purge: true }
    this.#held = null
    return alive.length
  }

  /** Figures for telemetry, in shared memory. */
  figures(): void {
    this.#head.figures()
    const { figures } = this.#control
    const { segments } = this.#manifest
    figures[FIGURE.walBytes] = this.#wal.bytes
    figures[FIGURE.liveSeries] = this.#table.live
    figures[FIGURE.headSamples] = this.#head.samples
    figures[FIGURE.heldSamples] = segments.reduce(
      (sum, segment) => sum + (segment.kind === 'raw' ? segment.samples : 0),
      this.#head.samples,
    )
    figures[FIGURE.segments] = segments.length
    figures[FIGURE.diskFull] = this.#disk.full ? 1 : 0
    figures[FIGURE.segmentBytes] = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }

  /** Called every second: looks after the disk. */
  lookAtDisk(): void {
    this.#disk.look()
  }

  /** Whether head or WAL have grown so that a flush is due. */
  get flushDue(): boolean {
    if (this.#flushing || this.#head.samples === 0) return false
    const since = this.#clock.monotonic() - this.#flushedAt
    if (this.#disk.full) {
      // A flush takes a fifth of the room that it frees in the WAL, if that fifth is there.
      return since > MINUTE && this.#head.chunkBytes + this.#head.openBytes < this.#disk.free() / 2
    }
    return (
      this.#wal.bytes > this.#config.walBytesMax ||
      this.#head.chunkBytes + this.#head.openBytes > this.#config.headBytesMax ||
      since > this.#config.flushEveryMs
    )
  }

  /**
   * Moves the head into segments. `pause` is called every few milliseconds of work: it lets the thread do other things.
   * One at a time: a second call waits for the first. Throws what the disk says; then the head is as it was.
   */
  flush(pause: () => Promise<void>): Promise<void> {
    this.#flushing ??= this.#flush(pause)
      .catch((error: unknown) => {
        this.#disk.failed(error)
        throw error
      })
      .finally(() => {
        this.#flushing = null
      })
    return this.#flushing
  }

  async #flush(pause: () => Promise<void>): Promise<void> {
    this.#flushedAt = this.#clock.monotonic()
    this.commit()
    if (this.#wal.next - 1 > this.#manifest.flushed) this.#wal.rotate()
    const flushed = this.#wal.next - 1
    const seriesCount = this.#table.count
    const table = this.#table
    let since = this.#clock.monotonic()
    let installed = false
    const rest = (): Promise<void> | undefined => {
      const now = this.#clock.monotonic()
      if (this.#hurryUntil !== null) {
        if (!installed && now > this.#hurryUntil) throw new FlushLeft()
        return undefined
      }
      if (now - since < STEP_MS) return undefined
      return pause().then(() => {
        since = this.#clock.monotonic()
      })
    }
    const firstFile = this.#nextFile
    this.#nextFile += FILES_A_JOB
    const { segments, tops } = await writeHead({
      dir: this.#config.dir,
      head: this.#head,
      seriesCount,
      alive: (id) => !table.isDead(id),
      labelsOf: (id) => table.bytesOf(id),
      nextFile: firstFile,
      flushed,
      now: this.#clock.now(),
      retentionMs: this.#config.retentionMs,
      pause: rest,
    })
    const deleted = this.#deleted.slice()
    const labelsOf = (id: number) => (table.isDead(id) ? null : table.bytesOf(id))
    await this.#seriesFile.append(this.#saved, seriesCount, labelsOf, deleted, async () => rest())
    this.#saved = seriesCount
    this.#deleted = this.#deleted.slice(deleted.length)
    replaceFile(path.join(this.#config.dir, 'claims.json'), JSON.stringify([...this.#claims.values()]))
    this.#install({
      ...this.#manifest,
      flushed,
      seriesBytes: this.#seriesFile.bytes,
      seriesCount,
      segments: [...this.#manifest.segments, ...segments],
    })
    installed = true
    for (let id = 0; id < seriesCount; id++) {
      if (tops[id] === 0) continue
      this.#head.drop(id, tops[id]!)
      const wait = rest()
      if (wait) await wait
    }
    this.checkpoint()
  }

  /** Makes a list of segments the one that counts. */
  #install(manifest: Manifest): void {
    this.#manifest = { ...manifest, next: this.#nextFile }
    writeManifest(this.#config.dir, this.#manifest)
    this.#segments.use(manifest.segments)
    this.#control.bump(CONTROL.manifest)
  }

  /** Takes segments out of the list, puts others in, and then removes the files; damaged ones are set aside. */
  #replaceSegments(removed: readonly string[], added: readonly SegmentInfo[], damaged: readonly string[]): void {
    const gone = new Set(removed)
    const kept = this.#manifest.segments.filter((segment) => !gone.has(segment.file))
    this.#install({ ...this.#manifest, segments: [...kept, ...added] })
    for (const file of removed) {
      const full = path.join(segmentsDir(this.#config.dir), file)
      if (damaged.includes(file)) fs.renameSync(full, `${full}.damaged`)
      else fs.rmSync(full, { force: true })
    }
    this.#lookForGone = true
  }

  // ----------------------------------------------------------------------------------------------- compaction

  /** The next piece of work for the compaction thread; drops what has passed its retention. Null: nothing to do. */
  nextWork(): Work | null {
    const { dir } = this.#config
    // A clock that leaps ahead must not make everything look old: time is what the samples say, and a day.
    const newest = this.#manifest.segments.reduce((max, segment) => Math.max(max, segment.maxTime), -Infinity)
    const now = Math.min(this.#clock.now(), newest + DAY)
    if (this.#clock.monotonic() < this.#restUntil || this.#disk.full) return null
    const { retentionMs, rollupRetentionMs, segmentBytesMax } = this.#config
    const policy = { retentionMs, rollupRetentionMs, bytesMax: segmentBytesMax || Infinity }
    for (;;) {
      const plan = planCompaction(this.#manifest.segments, policy, now)
      if (plan?.kind === 'expire') {
        this.#log.info('Segments were dropped.', { reason: plan.reason, files: plan.files.length })
        this.#replaceSegments(plan.files, [], [])
        continue
      }
      if (!plan) break
      if (!this.#roomFor(plan.sources)) return null
      return { kind: 'merge', job: this.#job(plan.sources, plan.replaced, now) }
    }
    const files = this.#manifest.segments.map((segment) => segment.file)
    if (this.#manifest.purge) {
      if (this.#held === null) return { kind: 'find_deleted', dir, files }
      const { merge, copies } = planPurge(this.#manifest.segments, this.#held, now)
      if (merge?.kind === 'merge') return { kind: 'merge', job: this.#job(merge.sources, merge.replaced, now) }
      if (copies.length > 0) return { kind: 'copy', job: this.#job([copies[0]!], [], now) }
      this.#install({ ...this.#manifest, purge: false })
    }
    if (this.#lookForGone) {
      this.#lookForGone = false
      return { kind: 'find_present', dir, files, count: this.#table.count, flushed: this.#manifest.flushed }
    }
    return null
  }

  /** Whether these segments can be written anew beside themselves. */
  #roomFor(files: readonly string[]): boolean {
    const wanted = new Set(files)
    const bytes = this.#manifest.segments.reduce((sum, s) => sum + (wanted.has(s.file) ? s.bytes : 0), 0)
    return this.#disk.free() > 2 * bytes + this.#config.disk.reserveBytes
  }

  #job(sources: readonly string[], replaced: readonly string[], now: Millis): CompactionJob {
    const firstFile = this.#nextFile
    this.#nextFile += FILES_A_JOB
    return { dir: this.#config.dir, sources, replaced, firstFile, flushed: this.#manifest.flushed, now }
  }

  /** Takes a result in and answers the next piece of work. */
  worked(work: Work, result: WorkResult): Work | null {
    if (result.kind === 'find_deleted') this.#held = new Set(result.files)
    else if (result.kind === 'find_present') {
      if (work.kind === 'find_present' && work.flushed === this.#manifest.flushed) this.#retire(result.present)
    } else {
      this.#replaceSegments(result.removed, result.added, result.damaged)
      this.#control.figures[FIGURE.damagedFiles]! += result.damaged.length
      this.#held = null
    }
    return this.nextWork()
  }

  /** Work failed: the next try comes later. */
  workFailed(error: string): void {
    this.#log.error('Compaction failed; it is tried again in ten minutes.', { error })
    this.#restUntil = this.#clock.monotonic() + 10 * MINUTE
  }

  /** Forgets series that have no sample anywhere any more. */
  #retire(present: Uint8Array): void {
    const gone: number[] = []
    for (let id = 0; id < present.length; id++) {
      if (!present[id] && !this.#table.isDead(id) && !this.#head.has(id)) gone.push(id)
    }
    const { purge } = this.#manifest
    this.deleteSeries(gone)
    this.commit()
    this.#manifest = { ...this.#manifest, purge }
  }

  /** Lets the consumers make their state durable, and removes WAL files that nobody needs any more. */
  checkpoint(): void {
    let needed = this.#manifest.flushed
    for (const consumer of this.#consumers) {
      try {
        needed = Math.min(needed, consumer.checkpoint())
      } catch (error) {
        needed = -1
        this.#log.error('A consumer of the write-ahead log could not save its state.', {
          consumer: consumer.name,
          error,
        })
      }
    }
    this.#wal.truncate(needed)
  }

  /** Flushes everything that can be flushed in a moment, so that the next start has nothing, or little, to replay. */
  async close(): Promise<void> {
    this.commit()
    this.#hurryUntil = this.#clock.monotonic() + CLOSE_MS
    await this.#flushing?.catch(() => undefined)
    try {
      if (this.#head.samples > 0 || this.#saved < this.#table.count || this.#deleted.length > 0) {
        await this.flush(async () => undefined)
      }
    } catch (error) {
      if (error instanceof FlushLeft)
        this.#log.info('The head is too large for a quick stop; the next start replays it.')
      else this.#log.error('The head could not be flushed; the next start replays it.', { error })
    }
    this.#wal.close()
    for (const consumer of this.#consumers) {
      try {
        await consumer.close?.()
      } catch (error) {
        this.#log.error('A consumer of the write-ahead log could not end well.', { consumer: consumer.name, error })
      }
    }
    this.checkpoint()
    this.#segments.close()
    this.#disk.release()
    // What a compaction that was ended has left behind.
    const known = new Set(this.#manifest.segments.map((segment) => segment.file))
    for (const file of fs.readdirSync(segmentsDir(this.#config.dir))) {
      if (!known.has(file) && !file.endsWith('.damaged')) fs.rmSync(path.join(segmentsDir(this.#config.dir), file))
    }
  }

  // -------------------------------------------------------------------------------------------------- checks

  #checkAll(columns: SampleColumns): AppendReport {
    this.#accepted.count = 0
    try {
      return this.#check(columns)
    } catch (error) {
      this.#forgetAccepted()
      throw error
    }
  }

  /** Nothing of the batch was stored: what the checks noted about its series is looked up again. */
  #forgetAccepted(): void {
    for (let i = 0; i < this.#accepted.count; i++) this.#forget(this.#accepted.ids[i]!)
  }

  /** Fills `#accepted` with what may be stored. */
  #check(columns: SampleColumns): AppendReport {
    const table = this.#table
    const { labelBytes, labelStart, labelEnd, sampleStart, times, values } = columns
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
    const now = this.#clock.now()
    const ahead = now + this.#config.aheadMs
    const floor = now - this.#config.retentionMs
    if (columns.sampleCount > this.#accepted.ids.length) this.#accepted = samples(columns.sampleCount * 2)
    const accepted = this.#accepted
    const { ids, times: acceptedTimes, words: acceptedWords, fresh: acceptedFresh } = accepted
    const problems: { sample: number; reason: Refusal }[] = []
    const refused: Partial<Record<Refusal, number>> = {}
    const refuse = (sample: number, reason: Refusal) => {
      refused[reason] = (refused[reason] ?? 0) + 1
      if (problems.length < PROBLEMS_MAX) problems.push({ sample, reason })
    }
    let count = 0
    let late = 0
    let duplicates = 0
    this.#here = null
    table.begin(labelBytes)
    for (let entry = 0; entry < columns.entryCount; entry++) {
      const from = sampleStart[entry]!
      const to = sampleStart[entry + 1]!
      if (from === to) continue
      let id = table.find(labelStart[entry]!, labelEnd[entry]!)
      if (id < 0) {
        // A series is made only for a sample that will be stored.
        let any = false
        for (let i = from; i < to; i++) any ||= times[i]! <= ahead && times[i]! >= floor
        accepted.count = count
        id = any ? table.resolve(labelStart[entry]!, labelEnd[entry]!) : TOO_MANY
        if (id < 0) {
          for (let i = from; i < to; i++) {
            const time = times[i]!
            if (id === BAD_LABELS) refuse(i, 'labels')
            else refuse(i, time > ahead ? 'too_far_ahead' : time >= floor ? 'cardinality' : 'too_old')
          }
          continue
        }
      }
      const line = id * LINE
      const floats = this.#seriesArea.floats
      const lines = this.#seriesArea.words
      for (let i = from; i < to; i++) {
        const time = times[i]!
        const low = words[2 * i]!
        const high = words[2 * i + 1]!
        let fresh = 1
        if (time > floats[(line >> 1) + NEWEST]! && time <= ahead && time >= floor && time === Math.floor(time)) {
          floats[(line >> 1) + NEWEST] = time
          lines[line + NEWEST_VALUE] = low
          lines[line + NEWEST_VALUE + 1] = high
        } else {
          accepted.count = count
          const verdict = this.#checkOdd(id, time, low, high, ahead, floor)
          if (verdict === REFUSED) {
            refuse(i, this.#reason)
            continue
          }
          if (verdict === DUPLICATE) {
            duplicates++
            continue
          }
          if (verdict === STORED_LATE) {
            late++
            fresh = 0
          }
        }
        ids[count] = id
        acceptedTimes[count] = time
        acceptedWords[2 * count] = low
        acceptedWords[2 * count + 1] = high
        acceptedFresh[count] = fresh
        if (this.#here !== null) this.#here.set(`${id}:${time}`, count)
        count++
      }
    }
    accepted.count = count
    return { accepted: count + duplicates, duplicates, late, refused, problems }
  }

  /** A sample that is not plainly newer than its series. Sets `#reason` when it answers REFUSED. */
  #checkOdd(id: number, time: number, low: number, high: number, ahead: number, floor: number): number {
    if (!(time >= floor) || time !== Math.floor(time)) return this.#refuse('too_old')
    if (time > ahead) return this.#refuse('too_far_ahead')
    const line = id * LINE
    const floats = this.#seriesArea.floats
    const lines = this.#seriesArea.words
    const newest = this.#newest(id)
    if (time > newest) {
      floats[(line >> 1) + NEWEST] = time
      lines[line + NEWEST_VALUE] = low
      lines[line + NEWEST_VALUE + 1] = high
      lines[line + LENGTH]! &= ~VALUE_UNKNOWN
      return FRESH
    }
    if (time === newest && (lines[line + LENGTH]! & VALUE_UNKNOWN) === 0) {
      const same = lines[line + NEWEST_VALUE] === (low | 0) && lines[line + NEWEST_VALUE + 1] === (high | 0)
      return same ? DUPLICATE : this.#refuse('conflict')
    }
    const { count, ids, times, words } = this.#accepted
    if (this.#here === null) {
      this.#here = new Map()
      for (let i = 0; i < count; i++) this.#here.set(`${ids[i]}:${times[i]}`, i)
    }
    const here = this.#here.get(`${id}:${time}`)
    if (here !== undefined) {
      return words[2 * here] === low && words[2 * here + 1] === high ? DUPLICATE : this.#refuse('conflict')
    }
    for (const place of [this.#head, this.#segments]) {
      if (!place.find(id, time)) continue
      return place.foundLow === low && place.foundHigh === high ? DUPLICATE : this.#refuse('conflict')
    }
    return STORED_LATE
  }

  #refuse(reason: Refusal): number {
    this.#reason = reason
    return REFUSED
  }

  /** Time of the newest sample of a series; looks it up where it is not known yet. */
  #newest(id: number): number {
    const at = (id * LINE) / 2 + NEWEST
    const known = this.#seriesArea.floats[at]!
    if (!Number.isNaN(known)) return known
    const newest = Math.max(this.#head.newest(id), this.#segments.newest(id))
    this.#seriesArea.floats[at] = newest
    this.#seriesArea.words[id * LINE + LENGTH]! |= VALUE_UNKNOWN
    return newest
  }

  // ------------------------------------------------------------------------------------------------- writing

  #write(claim: Claim | null): number {
    const accepted = this.#accepted
    const record = this.#record
    record.length = RECORD_HEADER
    const end = this.#table.count
    encodeBatch(record, accepted, this.#defined, end, (id) => this.#table.bytesOf(id), claim)
    try {
      const position = this.#writeRecord(RECORD.batch)
      this.#defined = end
      return position
    } catch (error) {
      this.#forgetAccepted()
      throw error
    }
  }

  #writeRecord(type: number): number {
    try {
      return this.#wal.append(type, this.#record)
    } catch (error) {
      if (this.#disk.failed(error)) throw diskFull()
      this.#log.error('The write-ahead log cannot be written.', { error })
      throw unavailable('The disk takes no samples.', 10, 'disk_failed')
    }
  }

  /** The newest time of a series has to be looked up when it is needed next. */
  #forget(id: number): void {
    this.#seriesArea.floats[(id * LINE) / 2 + NEWEST] = NaN
  }

  #kill(id: number): void {
    this.#table.kill(id)
    this.#head.clear(id)
    this.#deleted.push(id)
  }

  // ----------------------------------------------------------------------------------------------- consumers

  #feedLater(position: number): void {
    if (this.#consumers.length === 0) return
    const { count, ids, times, values, fresh } = this.#accepted
    const copy = values.slice(0, count)
    this.#unfed.push({
      position,
      samples: {
        count,
        ids: ids.slice(0, count),
        times: times.slice(0, count),
        values: copy,
        words: new Uint32Array(copy.buffer),
        fresh: fresh.slice(0, count),
      },
    })
  }

  #feed(
    position: number,
    { count, ids, times, values, fresh }: Samples,
    after?: ReadonlyMap<WalConsumer, number>,
  ): void {
    for (const consumer of this.#consumers) {
      if (after && position <= after.get(consumer)!) continue
      try {
        consumer.apply({ position, count, series: ids, times, values, fresh })
      } catch (error) {
        this.#log.error('A consumer of the write-ahead log failed.', { consumer: consumer.name, position, error })
      }
    }
  }

  #remember(claim: Claim): void {
    this.#claims.set(claim.key, claim)
    this.#claimBytes += claimBytes(claim)
    const oldest = this.#clock.now() - CLAIM_MS
    for (const [key, known] of this.#claims) {
      if (known.at > oldest && this.#claimBytes <= CLAIM_BYTES_MAX) break
      this.#claims.delete(key)
      this.#claimBytes -= claimBytes(known)
    }
  }

  // -------------------------------------------------------------------------------------------------- replay

  /** Puts samples of the WAL into the head. Those that stand there already, from before a crash in a flush, are left out. */
  #restore(batch: Samples): void {
    const { count, ids, times, words } = batch
    if (count > this.#accepted.ids.length) this.#accepted = samples(count * 2)
    const kept = this.#accepted
    const floats = this.#seriesArea.floats
    const table = this.#table
    let n = 0
    for (let i = 0; i < count; i++) {
      const id = ids[i]!
      if (id >= table.count || table.isDead(id)) continue
      const time = times[i]!
      const at = (id * LINE) / 2 + NEWEST
      const late = time <= floats[at]!
      if (!late) floats[at] = time
      else if (this.#head.find(id, time)) continue
      kept.ids[n] = id
      kept.times[n] = time
      kept.words[2 * n] = words[2 * i]!
      kept.words[2 * n + 1] = words[2 * i + 1]!
      kept.fresh[n] = late ? 0 : 1
      n++
    }
    kept.count = n
    this.#head.add(kept)
  }

  #replay(repair: boolean): Wal {
    const batch = samples(4096)
    const after = new Map(this.#consumers.map((consumer) => [consumer, consumer.resumeAfter()] as const))
    const floats = () => this.#seriesArea.floats
    const { flushed } = this.#manifest
    const { next, files, damage } = replayWal(path.join(this.#config.dir, 'wal'), repair, (type, position, payload) => {
      if (type === RECORD.delete) {
        const reader = new ByteReader(payload)
        for (let n = reader.varint(); n > 0; n--) {
          const id = reader.varint()
          if (id < this.#table.count && !this.#table.isDead(id)) this.#kill(id)
        }
        return
      }
      if (type !== RECORD.batch) return
      const claim = decodeBatch(payload, batch, (id, labels) => this.#table.restore(id, labels))
      if (claim) this.#remember(claim)
      if (position > flushed) this.#restore(batch)
      this.#feed(position, batch, after)
    })
    for (const one of damage) this.#log.error('Part of the write-ahead log is damaged; it was set aside.', { ...one })
    this.#control.figures[FIGURE.damagedFiles]! += damage.length
    for (let id = 0; id < this.#table.count; id++) {
      if (floats()[(id * LINE) / 2 + NEWEST] !== Number.NEGATIVE_INFINITY) this.#forget(id)
    }
    this.#defined = this.#table.count
    this.#table.publish()
    const last = Math.max(next - 1, flushed, ...after.values())
    return new Wal(path.join(this.#config.dir, 'wal'), last + 1, files)
  }
}

/**
 * Reads a store that nobody has open (a stopped platform, a backup): nothing on the disk is changed. Replays the WAL
 * into the memory of this thread.
 */
export function openOffline(dir: string, clock: Clock, log: Log): ColumnReader {
  const store = new Store({ ...storeDefaults, dir, retentionMs: Number.MAX_SAFE_INTEGER }, clock, log, [], 'visitor')
  return openReader(store.share, clock)
}

/** A flush was ended because the store closes. */
class FlushLeft extends Error {}

const diskFull = () => unavailable('The disk is full: no samples are taken until there is room.', 10, 'disk_full')

const claimBytes = (claim: Claim) => 200 + 2 * (claim.key.length + claim.answer.length + claim.fingerprint.length)
