/**
 * The segments that count, as one thread sees them. Looks at the manifest again when it was replaced; opens a file when
 * it is first read, and keeps a bounded number open.
 */
import type { Millis } from '../../base/time.ts'
import { FormatError } from './bytes.ts'
import { CHUNK_MAX, decodeChunk } from './chunk.ts'
import { indexOfTime } from './head.ts'
import { readManifest, segmentsDir } from './manifest.ts'
import type { OnChunk, SegmentInfo } from './segment.ts'
import { Segment, SegmentCache } from './segment.ts'
import type { Control } from './shared.ts'
import { CONTROL } from './shared.ts'

const OPEN_MAX = 128

interface Entry {
  readonly info: SegmentInfo
  open: Segment | null
  usedAt: number
  /** It could not be opened; reported once. */
  bad: boolean
}

export class SegmentSet {
  readonly #dir: string
  readonly #control: Control
  readonly #cache: SegmentCache
  readonly #onDamage: (file: string, what: string) => void
  #generation = -1
  #entries = new Map<string, Entry>()
  /** By first time. */
  #raw: readonly Entry[] = []
  #rollups: readonly Entry[] = []
  #openCount = 0
  #uses = 0
  readonly #times = new Float64Array(CHUNK_MAX)
  readonly #values = new Float64Array(CHUNK_MAX)
  readonly #words = new Uint32Array(this.#values.buffer)
  /** Low and high word of the value that `find` found. */
  foundLow = 0
  foundHigh = 0

  constructor(dir: string, control: Control, cacheBytes: number, onDamage: (file: string, what: string) => void) {
    this.#dir = dir
    this.#control = control
    this.#cache = new SegmentCache(cacheBytes)
    this.#onDamage = onDamage
  }

  /** Follows the manifest. Cheap when nothing changed. */
  refresh(): void {
    while (this.#generation !== this.#control.get(CONTROL.manifest)) {
      this.#generation = this.#control.get(CONTROL.manifest)
      this.use(readManifest(this.#dir)?.segments ?? [])
    }
  }

  /** These count, no others. */
  use(infos: readonly SegmentInfo[]): void {
    const entries = new Map<string, Entry>()
    for (const info of infos) {
      entries.set(info.file, this.#entries.get(info.file) ?? { info, open: null, usedAt: 0, bad: false })
    }
    for (const [file, entry] of this.#entries) if (!entries.has(file)) this.#shut(entry)
    this.#entries = entries
    const all = [...entries.values()].sort((a, b) => a.info.minTime - b.info.minTime)
    this.#raw = all.filter(({ info }) => info.kind === 'raw')
    this.#rollups = all.filter(({ info }) => info.kind === 'rollup')
  }

  close(): void {
    for (const entry of this.#entries.values()) this.#shut(entry)
  }

  /** Calls `onChunk` for each chunk of raw samples that overlaps [from, to]; one that was met twice may come again. */
  read(id: number, from: Millis, to: Millis, onChunk: OnChunk): void {
    this.#each(
      () => this.#raw,
      (info) => info.minTime <= to && info.maxTime >= from,
      (segment) => segment.read(id, from, to, onChunk),
    )
  }

  /** The same for roll-ups of one step; the chunks of a series come in groups, one for each column. False: no such step. */
  readRollups(id: number, stepMs: number, from: Millis, to: Millis, begin: () => void, onChunk: OnChunk): boolean {
    if (!this.#rollups.some(({ info }) => info.stepMs === stepMs)) return false
    this.#each(
      () => {
        begin()
        return this.#rollups
      },
      (info) => info.stepMs === stepMs && info.minTime <= to && info.maxTime >= from,
      (segment) => segment.read(id, from, to, onChunk),
    )
    return true
  }

  /** Time of the newest sample of a series in any segment; -Infinity when there is none. */
  newest(id: number): Millis {
    let newest = Number.NEGATIVE_INFINITY
    this.#each(
      () => this.#raw.toReversed(),
      (info) => info.maxTime > newest,
      (segment) => {
        newest = Math.max(newest, segment.newest(id))
      },
    )
    return newest
  }

  /** Whether a sample of this very time is in a segment; its value is then in `foundLow`, `foundHigh`. */
  find(id: number, time: Millis): boolean {
    let found = false
    this.read(id, time, time, (bytes, at, _length, first, last) => {
      if (found) return
      const count = decodeChunk(bytes, at, first, last, this.#times, this.#values, 0)
      const i = indexOfTime(this.#times, count, time)
      if (i < 0) return
      found = true
      this.foundLow = this.#words[2 * i]!
      this.foundHigh = this.#words[2 * i + 1]!
    })
    return found
  }

  /** All over again when a file went between the manifest and its opening: then there is a newer manifest. */
  #each(
    entries: () => readonly Entry[],
    wanted: (info: SegmentInfo) => boolean,
    work: (segment: Segment) => void,
  ): void {
    for (let tries = 0; ; tries++) {
      try {
        for (const entry of entries()) {
          if (!wanted(entry.info)) continue
          const segment = entry.open ?? this.#open(entry)
          entry.usedAt = ++this.#uses
          if (segment) work(segment)
        }
        return
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries > 100) throw error
        this.refresh()
      }
    }
  }

  #open(entry: Entry): Segment | null {
    if (entry.bad) return null
    const { file } = entry.info
    try {
      const segment = Segment.open(segmentsDir(this.#dir), file, this.#cache)
      segment.onDamage = (what) => this.#onDamage(file, what)
      entry.open = segment
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      entry.bad = true
      this.#onDamage(file, error.message)
      return null
    }
    if (++this.#openCount > OPEN_MAX) {
      let oldest: Entry | null = null
      for (const other of this.#entries.values()) {
        if (other.open && other !== entry && (!oldest || other.usedAt < oldest.usedAt)) oldest = other
      }
      if (oldest) this.#shut(oldest)
    }
    return entry.open
  }

  #shut(entry: Entry): void {
    if (!entry.open) return
    entry.open.close()
    entry.open = null
    this.#openCount--
  }
}
