/** The segments that count, as one thread has them open; looks at the manifest again when it was replaced. */
import type { Millis } from '../../base/time.ts'
import { CHUNK_MAX, decodeChunk } from './chunk.ts'
import { indexOfTime } from './head.ts'
import type { Manifest } from './manifest.ts'
import { readManifest, segmentsDir } from './manifest.ts'
import type { OnChunk, SegmentInfo } from './segment.ts'
import { Segment, SegmentCache } from './segment.ts'
import type { Control } from './shared.ts'
import { CONTROL } from './shared.ts'

export class SegmentSet {
  readonly #dir: string
  readonly #control: Control
  readonly #cache: SegmentCache
  readonly #onDamage: (file: string, what: string) => void
  #generation = -1
  #open = new Map<string, Segment>()
  /** Raw segments, by first time. */
  raw: readonly Segment[] = []
  rollups: readonly Segment[] = []
  readonly #times = new Float64Array(CHUNK_MAX)
  readonly #values = new Float64Array(CHUNK_MAX)
  readonly #words = new Uint32Array(this.#values.buffer)
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
    for (let tries = 0; this.#generation !== this.#control.get(CONTROL.manifest); tries++) {
      const generation = this.#control.get(CONTROL.manifest)
      const manifest = readManifest(this.#dir)
      try {
        this.use(manifest?.segments ?? [])
        this.#generation = generation
      } catch (error) {
        // A file that went between manifest and opening: there is a newer manifest.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || tries > 100) throw error
      }
    }
  }

  /** Opens these and closes all others. */
  use(infos: Manifest['segments']): void {
    const open = new Map<string, Segment>()
    for (const info of infos) open.set(info.file, this.#open.get(info.file) ?? this.#openOne(info))
    for (const [file, segment] of this.#open) if (!open.has(file)) segment.close()
    this.#open = open
    const all = [...open.values()].sort((a, b) => a.info.minTime - b.info.minTime)
    this.raw = all.filter((segment) => segment.info.kind === 'raw')
    this.rollups = all.filter((segment) => segment.info.kind === 'rollup')
  }

  close(): void {
    for (const segment of this.#open.values()) segment.close()
    this.#open.clear()
  }

  read(id: number, from: Millis, to: Millis, onChunk: OnChunk): void {
    for (const segment of this.raw) segment.read(id, from, to, onChunk)
  }

  /** Time of the newest sample of a series in any segment; -Infinity when there is none. */
  newest(id: number): Millis {
    let newest = Number.NEGATIVE_INFINITY
    for (const segment of this.raw) if (segment.info.maxTime > newest) newest = Math.max(newest, segment.newest(id))
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

  #openOne(info: SegmentInfo): Segment {
    const segment = Segment.open(segmentsDir(this.#dir), info.file, this.#cache)
    segment.onDamage = (what) => this.#onDamage(info.file, what)
    return segment
  }
}
