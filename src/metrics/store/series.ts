/**
 * The table of series: label bytes → id. Ids are dense, given in order of first arrival, and never change or return.
 *
 * Looking up makes no string: the series that followed the previous one last time is tried first (senders repeat
 * themselves), then a hash table with a check of the bytes. Bytes that are not canonical are brought into canonical
 * form once and remembered as an alias of their series, within bounds.
 */
import { randomBytes } from 'node:crypto'
import type { LabelLimits } from './raw-labels.ts'
import { canonicalise } from './raw-labels.ts'
import type { Area, Control } from './shared.ts'
import { AFTER, CONTROL, DEAD, LABEL, LENGTH, LENGTH_MASK, LINE, NEWEST } from './shared.ts'

export const UNKNOWN = -1
export const BAD_LABELS = -2
export const TOO_MANY = -3

const ALIASES_MAX = 200_000
const ALIAS_BYTES_MAX = 32 << 20

export class SeriesTable {
  readonly #series: Area
  readonly #labels: Area
  readonly #control: Control
  /** Most live series; may change while running. */
  limit: number
  #limits: LabelLimits
  #labelEnd = 0
  count = 0
  live = 0
  /** Pairs of (id + 1, hash); open addressing, at most half full. */
  #slots = new Int32Array(2 * 1024)
  #mask = 1023
  #used = 0
  readonly #seed = randomBytes(4).readInt32LE()
  #aliases = new Aliases()
  #lastBytes: Uint8Array | null = null
  #view: DataView = new DataView(new ArrayBuffer(8))
  #previous = -1

  constructor(series: Area, labels: Area, control: Control, limit: number, limits: LabelLimits) {
    this.#series = series
    this.#labels = labels
    this.#control = control
    this.limit = limit
    this.#limits = limits
  }

  /** Before the first look-up of a batch: `bytes` may hold something new at an old place. */
  begin(bytes: Uint8Array): void {
    if (bytes !== this.#lastBytes) {
      this.#lastBytes = bytes
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    }
    this.#previous = -1
  }

  /** Id of the series whose bytes stand at [start, end) of the batch, or UNKNOWN. */
  find(start: number, end: number): number {
    const words = this.#series.words
    const length = end - start
    const previous = this.#previous
    if (previous >= 0) {
      const likely = words[previous * LINE + AFTER]! - 1
      if (
        likely >= 0 &&
        (words[likely * LINE + LENGTH]! & (LENGTH_MASK | DEAD)) === length &&
        this.#same(likely, start, length)
      ) {
        this.#previous = likely
        return likely
      }
    }
    const hash = hashBytes(this.#view, this.#lastBytes!, start, length, this.#seed)
    let id = this.#probe(hash, start, length)
    if (id < 0) {
      id = this.#aliases.find(this.#lastBytes!, start, length, hash)
      if (id < 0) return UNKNOWN
    }
    if (previous >= 0) words[previous * LINE + AFTER] = id + 1
    this.#previous = id
    return id
  }

  /**
   * Finds or makes the series of bytes that `find` did not know. BAD_LABELS when they break a rule, TOO_MANY when
   * there is no room for one more. Not published to readers before `publish`.
   */
  resolve(start: number, end: number): number {
    const bytes = this.#lastBytes!
    const canonical = canonicalise(bytes, start, end, this.#limits)
    if (canonical === null) return BAD_LABELS
    const previous = this.#previous
    let id: number
    if (canonical.buffer === bytes.buffer) {
      if (this.live >= this.limit) return TOO_MANY
      id = this.#insert(canonical, hashBytes(this.#view, bytes, start, end - start, this.#seed))
    } else {
      id = this.findCanonical(canonical)
      if (id < 0) {
        if (this.live >= this.limit) return TOO_MANY
        const view = new DataView(canonical.buffer, canonical.byteOffset, canonical.length)
        id = this.#insert(canonical, hashBytes(view, canonical, 0, canonical.length, this.#seed))
      }
      if (id >= 0) {
        const hash = hashBytes(this.#view, bytes, start, end - start, this.#seed)
        this.#aliases.add(bytes, start, end - start, hash, id)
      }
    }
    if (id < 0) return id
    if (previous >= 0) this.#series.words[previous * LINE + AFTER] = id + 1
    this.#previous = id
    return id
  }

  /** Id of canonical bytes, or UNKNOWN. */
  findCanonical(bytes: Uint8Array): number {
    const keptBytes = this.#lastBytes
    const keptView = this.#view
    this.#lastBytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const hash = hashBytes(this.#view, bytes, 0, bytes.length, this.#seed)
    const id = this.#probe(hash, 0, bytes.length)
    this.#lastBytes = keptBytes
    this.#view = keptView
    return id
  }

  /** At start: series `id` as the files have it. Ids come ascending; those left out are dead, known ones are kept. */
  restore(id: number, bytes: Uint8Array): void {
    if (this.count > id) return
    while (this.count < id) this.#insertDead()
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#insert(bytes, hashBytes(view, bytes, 0, bytes.length, this.#seed))
  }

  /** At start: ids below `count` are used up. */
  skipTo(count: number): void {
    while (this.count < count) this.#insertDead()
  }

  /** Lets readers see all series made so far. */
  publish(): void {
    this.#control.set(CONTROL.series, this.count)
  }

  /** The label bytes of a series; a view of shared memory. */
  bytesOf(id: number): Uint8Array {
    const words = this.#series.words
    const start = words[id * LINE + LABEL]! * 4
    return this.#labels.bytes.subarray(start, start + (words[id * LINE + LENGTH]! & LENGTH_MASK))
  }

  isDead(id: number): boolean {
    const length = this.#series.words[id * LINE + LENGTH]!
    return length === 0 || (length & DEAD) !== 0
  }

  /** Forgets a series: its labels will make a new one. */
  kill(id: number): void {
    const words = this.#series.words
    const line = id * LINE
    if (this.isDead(id)) return
    const bytes = this.bytesOf(id)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    let slot = hashBytes(view, bytes, 0, bytes.length, this.#seed) & this.#mask
    while (this.#slots[2 * slot] !== id + 1) slot = (slot + 1) & this.#mask
    this.#remove(slot)
    words[line + LENGTH]! |= DEAD
    this.live--
    this.#aliases.clear()
    this.#control.bump(CONTROL.deleted)
  }

  /** Whether the bytes of the batch are those of a series; four at a time. */
  #same(id: number, start: number, length: number): boolean {
    const labels = this.#labels.words
    const view = this.#view
    let word = this.#series.words[id * LINE + LABEL]!
    let at = start
    for (const stop = start + length - 3; at < stop; at += 4) {
      if (labels[word++] !== view.getInt32(at, true)) return false
    }
    const own = this.#labels.bytes
    const bytes = this.#lastBytes!
    for (let k = word * 4, end = start + length; at < end; at++, k++) if (own[k] !== bytes[at]) return false
    return true
  }

  #probe(hash: number, start: number, length: number): number {
    const slots = this.#slots
    for (let slot = hash & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const id = slots[2 * slot]! - 1
      if (id < 0) return UNKNOWN
      if (slots[2 * slot + 1] !== hash) continue
      if ((this.#series.words[id * LINE + LENGTH]! & LENGTH_MASK) === length && this.#same(id, start, length)) return id
    }
  }

  #insert(bytes: Uint8Array, hash: number): number {
    const id = this.count
    const end = this.#labelEnd + bytes.length
    try {
      this.#series.ensure((id + 1) * LINE * 4)
      this.#labels.ensure(end + 8)
    } catch (error) {
      if (error instanceof RangeError) return TOO_MANY // the reserve of addresses is used up
      throw error
    }
    this.#labels.bytes.set(bytes, this.#labelEnd)
    const words = this.#series.words
    words[id * LINE + LABEL] = this.#labelEnd / 4
    words[id * LINE + LENGTH] = bytes.length
    this.#series.floats[id * (LINE / 2) + NEWEST] = -Infinity
    this.#labelEnd = Math.ceil(end / 4) * 4
    this.count++
    this.live++
    if (++this.#used * 2 > this.#mask) this.#rehash()
    this.#put(id, hash)
    return id
  }

  /** An id without a series has a line of zeros, which costs no memory. */
  #insertDead(): void {
    this.count++
    this.#series.ensure(this.count * LINE * 4)
  }

  #put(id: number, hash: number): void {
    let slot = hash & this.#mask
    while (this.#slots[2 * slot] !== 0) slot = (slot + 1) & this.#mask
    this.#slots[2 * slot] = id + 1
    this.#slots[2 * slot + 1] = hash
  }

  /** Takes an entry out and closes the gap (Knuth 6.4, algorithm R). */
  #remove(slot: number): void {
    const slots = this.#slots
    let hole = slot
    this.#used--
    for (let next = (hole + 1) & this.#mask; slots[2 * next] !== 0; next = (next + 1) & this.#mask) {
      const home = slots[2 * next + 1]! & this.#mask
      if (((next - home) & this.#mask) < ((next - hole) & this.#mask)) continue
      slots[2 * hole] = slots[2 * next]!
      slots[2 * hole + 1] = slots[2 * next + 1]!
      hole = next
    }
    slots[2 * hole] = 0
    slots[2 * hole + 1] = 0
  }

  #rehash(): void {
    const old = this.#slots
    this.#slots = new Int32Array(old.length * 2)
    this.#mask = this.#slots.length / 2 - 1
    for (let i = 0; i < old.length; i += 2) if (old[i] !== 0) this.#put(old[i]! - 1, old[i + 1]!)
  }
}

/** Raw forms of series; forgotten all at once when they grow too many. */
class Aliases {
  readonly #ids = new Map<number, { bytes: Uint8Array; id: number }[]>()
  #count = 0
  #size = 0

  find(bytes: Uint8Array, start: number, length: number, hash: number): number {
    if (this.#count === 0) return UNKNOWN
    for (const entry of this.#ids.get(hash) ?? []) {
      if (entry.bytes.length !== length) continue
      let i = 0
      while (i < length && entry.bytes[i] === bytes[start + i]) i++
      if (i === length) return entry.id
    }
    return UNKNOWN
  }

  add(bytes: Uint8Array, start: number, length: number, hash: number, id: number): void {
    if (this.#count >= ALIASES_MAX || this.#size + length > ALIAS_BYTES_MAX) this.clear()
    const entry = { bytes: bytes.slice(start, start + length), id }
    const same = this.#ids.get(hash)
    if (same) same.push(entry)
    else this.#ids.set(hash, [entry])
    this.#count++
    this.#size += length
  }

  clear(): void {
    this.#ids.clear()
    this.#count = 0
    this.#size = 0
  }
}

/** MurmurHash3, 32 bits (Austin Appleby, public domain), seeded per process. */
export function hashBytes(view: DataView, bytes: Uint8Array, start: number, length: number, seed: number): number {
  let h = seed
  let at = start
  for (const stop = start + length - 3; at < stop; at += 4) {
    let k = Math.imul(view.getInt32(at, true), 0xcc9e2d51)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, 0x1b873593)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  let k = 0
  for (let shift = 0; at < start + length; at++, shift += 8) k ^= bytes[at]! << shift
  k = Math.imul(k, 0xcc9e2d51)
  k = (k << 15) | (k >>> 17)
  h ^= Math.imul(k, 0x1b873593)
  h ^= length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
