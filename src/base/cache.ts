/**
 * Values that were read before, as many as fit into a number of bytes; the one that was asked for longest ago goes first.
 *
 *   const known = cache.get(key)
 *   cache.set(key, value, { bytes, until, tags: ['market 7'] })     cache.drop('market 7') forgets all that carries the tag
 *
 * Whoever puts something in says how large it is: what JavaScript holds cannot be measured. Time is an argument.
 */
import type { Millis } from './time.ts'

export interface CacheEntry {
  /** Of key and value; what an entry itself takes is added. */
  readonly bytes: number
  /** From then on it is not there; never when absent. */
  readonly until?: Millis
  readonly tags?: readonly string[]
}

export interface ByteCache<V> {
  get(key: string, now: Millis): V | undefined
  /** Something larger than a quarter of all there is room for is not kept: it would drive out everything else. */
  set(key: string, value: V, entry: CacheEntry): void
  delete(key: string): void
  /** Forgets every entry that carries the tag. */
  drop(tag: string): void
  clear(): void
  readonly hits: number
  readonly misses: number
  readonly entries: number
  readonly bytes: number
}

/** Map entry, object, and the texts' own headers, about. */
const OVERHEAD_BYTES = 250

interface Held<V> {
  readonly value: V
  readonly bytes: number
  readonly until: Millis
  readonly tags: readonly string[]
}

export function createByteCache<V>(bytesMax: () => number): ByteCache<V> {
  /** In the order of their last use. */
  const all = new Map<string, Held<V>>()
  const tagged = new Map<string, Set<string>>()
  let bytes = 0
  let hits = 0
  let misses = 0

  function remove(key: string, held: Held<V>) {
    all.delete(key)
    bytes -= held.bytes
    for (const tag of held.tags) {
      const keys = tagged.get(tag)!
      keys.delete(key)
      if (keys.size === 0) tagged.delete(tag)
    }
  }

  const cache: ByteCache<V> = {
    get(key, now) {
      const held = all.get(key)
      if (held === undefined || held.until <= now) {
        if (held) remove(key, held)
        misses++
        return undefined
      }
      hits++
      all.delete(key)
      all.set(key, held)
      return held.value
    },
    set(key, value, { bytes: own, until = Number.POSITIVE_INFINITY, tags = [] }) {
      const known = all.get(key)
      if (known) remove(key, known)
      const most = bytesMax()
      const held = { value, bytes: own + OVERHEAD_BYTES, until, tags }
      if (held.bytes > most / 4) return
      all.set(key, held)
      bytes += held.bytes
      for (const tag of tags) {
        const keys = tagged.get(tag)
        if (keys) keys.add(key)
        else tagged.set(tag, new Set([key]))
      }
      for (const [oldest, entry] of all) {
        if (bytes <= most) break
        remove(oldest, entry)
      }
    },
    delete(key) {
      const held = all.get(key)
      if (held) remove(key, held)
    },
    drop(tag) {
      for (const key of [...(tagged.get(tag) ?? [])]) cache.delete(key)
    },
    clear() {
      all.clear()
      tagged.clear()
      bytes = 0
    },
    get hits() {
      return hits
    },
    get misses() {
      return misses
    },
    get entries() {
      return all.size
    },
    get bytes() {
      return bytes
    },
  }
  return cache
}
