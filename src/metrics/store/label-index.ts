/**
 * The index of labels, built by each reader for itself from the shared table of series, and only as far as new series
 * came since the last look.
 *
 *   name ─▶ column: ids ascending, and for each the number of its value        (one entry per series with that label)
 *           values: number ─▶ text; bytes ─▶ number by a hash table with a check of the bytes
 *
 * A selector scans the columns it names (1 ms for a million entries) and remembers the ids of equal matchers.
 */
import { FormatError } from './bytes.ts'
import type { Matches } from './matcher.ts'
import { hashBytes } from './series.ts'
import type { Area } from './shared.ts'
import { DEAD, LABEL, LENGTH, LENGTH_MASK, LINE } from './shared.ts'

const decoder = new TextDecoder()
const POSTINGS_MAX = 64
/** From so many values on each is searched for, not looked for at every series. */
const MANY_VALUES = 64

/** Bytes that stand in the label area, numbered in order of first sight. */
class Symbols {
  readonly #labels: Area
  #at: Float64Array = new Float64Array(16)
  #length = new Uint32Array(16)
  #hash = new Int32Array(16)
  #slots = new Int32Array(64)
  #texts: (string | undefined)[] = []
  count = 0

  constructor(labels: Area) {
    this.#labels = labels
  }

  /** The number of these bytes; makes one, or -1 when `make` is false. */
  number(view: DataView, bytes: Uint8Array, at: number, length: number, make: boolean): number {
    const hash = hashBytes(view, bytes, at, length, 7)
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (; ; slot = (slot + 1) & mask) {
      const symbol = this.#slots[slot]! - 1
      if (symbol < 0) break
      if (this.#hash[symbol] !== hash || this.#length[symbol] !== length) continue
      const start = this.#at[symbol]!
      const own = this.#labels.bytes
      let i = 0
      while (i < length && own[start + i] === bytes[at + i]) i++
      if (i === length) return symbol
    }
    if (!make) return -1
    const symbol = this.count++
    if (symbol === this.#at.length) {
      this.#at = grown(this.#at, new Float64Array(symbol * 2))
      this.#length = grown(this.#length, new Uint32Array(symbol * 2))
      this.#hash = grown(this.#hash, new Int32Array(symbol * 2))
    }
    this.#at[symbol] = at
    this.#length[symbol] = length
    this.#hash[symbol] = hash
    this.#slots[slot] = symbol + 1
    if (this.count * 2 > this.#slots.length) {
      const wider = this.#slots.length * 2
      this.#slots = new Int32Array(wider)
      for (let s = 0; s < this.count; s++) {
        let free = this.#hash[s]! & (wider - 1)
        while (this.#slots[free] !== 0) free = (free + 1) & (wider - 1)
        this.#slots[free] = s + 1
      }
    }
    return symbol
  }

  text(symbol: number): string {
    const known = this.#texts[symbol]
    if (known !== undefined) return known
    const at = this.#at[symbol]!
    const text = decoder.decode(this.#labels.bytes.slice(at, at + this.#length[symbol]!))
    if (symbol < 65_536) this.#texts[symbol] = text // enough for what is asked often
    return text
  }
}

const grown = <T extends Float64Array | Uint32Array | Int32Array>(old: T, wider: T): T => {
  wider.set(old)
  return wider
}

/** Series that have one label, ascending by id. */
class Column {
  readonly name: string
  readonly values: Symbols
  /** Null while the ids are `first`, `first + 1`, … without a gap. */
  #ids: Uint32Array | null = null
  #first = 0
  #symbols = new Uint32Array(16)
  count = 0
  readonly #postings = new Map<number, { ids: number[]; seen: number }>()

  constructor(name: string, labels: Area) {
    this.name = name
    this.values = new Symbols(labels)
  }

  add(id: number, symbol: number): void {
    if (this.count === 0) this.#first = id
    if (this.count === this.#symbols.length) {
      this.#symbols = grown(this.#symbols, new Uint32Array(this.count * 2))
      if (this.#ids) this.#ids = grown(this.#ids, new Uint32Array(this.count * 2))
    }
    if (this.#ids === null && id !== this.#first + this.count) {
      this.#ids = new Uint32Array(this.#symbols.length)
      for (let i = 0; i < this.count; i++) this.#ids[i] = this.#first + i
    }
    if (this.#ids) this.#ids[this.count] = id
    this.#symbols[this.count++] = symbol
  }

  idAt(i: number): number {
    return this.#ids ? this.#ids[i]! : this.#first + i
  }

  /** Number of the value of series `id`, -1 when it has no such label. */
  symbolOf(id: number): number {
    if (this.#ids === null) {
      const i = id - this.#first
      return i >= 0 && i < this.count ? this.#symbols[i]! : -1
    }
    let low = 0
    let high = this.count - 1
    while (low <= high) {
      const middle = (low + high) >> 1
      const found = this.#ids[middle]!
      if (found === id) return this.#symbols[middle]!
      if (found < id) low = middle + 1
      else high = middle - 1
    }
    return -1
  }

  symbolAt(i: number): number {
    return this.#symbols[i]!
  }

  /** Ids whose value is `symbol`, ascending; remembered. Not to be changed. */
  idsOf(symbol: number): readonly number[] {
    let known = this.#postings.get(symbol)
    if (!known) {
      if (this.#postings.size >= POSTINGS_MAX) this.#postings.delete(this.#postings.keys().next().value!)
      known = { ids: [], seen: 0 }
    } else this.#postings.delete(symbol)
    this.#postings.set(symbol, known)
    const symbols = this.#symbols
    if (this.values.count >= MANY_VALUES) {
      // Few have this one: the engine's own search is quick from the first time on, a loop only once it is compiled.
      let i = symbols.indexOf(symbol, known.seen)
      for (; i >= 0 && i < this.count; i = symbols.indexOf(symbol, i + 1)) known.ids.push(this.idAt(i))
    } else {
      for (let i = known.seen; i < this.count; i++) if (symbols[i] === symbol) known.ids.push(this.idAt(i))
    }
    known.seen = this.count
    return known.ids
  }

  /** Ids whose value's number is marked. */
  idsOfAny(marked: Uint8Array): number[] {
    const ids: number[] = []
    const symbols = this.#symbols
    for (let i = 0; i < this.count; i++) if (marked[symbols[i]!]) ids.push(this.idAt(i))
    return ids
  }
}

export class LabelIndex {
  readonly #series: Area
  readonly #labels: Area
  readonly #names: Symbols
  readonly #columns: Column[] = []
  #view: DataView = new DataView(new ArrayBuffer(8))
  #viewed: Uint8Array | null = null
  /** Series seen so far: ids below. */
  count = 0

  constructor(series: Area, labels: Area) {
    this.#series = series
    this.#labels = labels
    this.#names = new Symbols(labels)
  }

  /** Takes in series up to `count` (as published). */
  extend(count: number): void {
    if (count <= this.count) return
    this.#series.refresh()
    this.#labels.refresh()
    for (let id = this.count; id < count; id++) {
      this.#walk(id, (nameAt, nameLength, valueAt, valueLength) => {
        const name = this.#names.number(this.#view, this.#labels.bytes, nameAt, nameLength, true)
        this.#columns[name] ??= new Column(this.#names.text(name), this.#labels)
        const column = this.#columns[name]
        column.add(id, column.values.number(this.#view, this.#labels.bytes, valueAt, valueLength, true))
      })
    }
    this.count = count
  }

  /** Live series that fulfil every matcher, ascending. */
  select(matches: readonly Matches[]): number[] {
    let ids: readonly number[] | null = null
    const rest: { column: Column | undefined; match: Matches; marked: Uint8Array | null; symbol: number }[] = []
    for (const match of matches) {
      const column = this.#column(match.name)
      if (match.equal !== null && match.equal !== '') {
        if (!column) return []
        const symbol = this.#symbol(column, match.equal)
        if (symbol < 0) return []
        rest.push({ column, match, marked: null, symbol })
      } else rest.push({ column, match, marked: column ? this.#mark(column, match) : null, symbol: -1 })
    }
    // Equal matchers first, those of labels with many values before: they leave the fewest series. Then those that an
    // absent label does not fulfil.
    const rank = ({ column, match, symbol }: (typeof rest)[number]) =>
      symbol >= 0 ? -column!.values.count : match.absent ? 2 : 1
    rest.sort((a, b) => rank(a) - rank(b))
    for (const { column, match, marked, symbol } of rest) {
      if (ids === null) {
        if (symbol >= 0) ids = column!.idsOf(symbol)
        else if (!match.absent) ids = column ? column.idsOfAny(marked!) : []
        else {
          const all: number[] = []
          for (let id = 0; id < this.count; id++) all.push(id)
          ids = all.filter((id) => {
            const found = column ? column.symbolOf(id) : -1
            return found < 0 || marked![found] === 1
          })
        }
        continue
      }
      if (symbol >= 0) ids = ids.filter((id) => column!.symbolOf(id) === symbol)
      else if (column) {
        ids = ids.filter((id) => {
          const found = column.symbolOf(id)
          return found < 0 ? match.absent : marked![found] === 1
        })
      } else if (!match.absent) ids = []
    }
    if (ids === null) {
      const all: number[] = []
      for (let id = 0; id < this.count; id++) all.push(id)
      ids = all
    }
    this.#series.refresh()
    const words = this.#series.words
    return ids.filter(
      (id) =>
        (words[id * LINE + LENGTH]! & (DEAD | LENGTH_MASK)) < DEAD && (words[id * LINE + LENGTH]! & LENGTH_MASK) > 0,
    )
  }

  /** Labels of a series, sorted by name. */
  labelsOf(id: number): readonly (readonly [string, string])[] {
    const labels: [string, string][] = []
    this.#walk(id, (nameAt, nameLength, valueAt, valueLength) => {
      const name = this.#names.number(this.#view, this.#labels.bytes, nameAt, nameLength, false)
      const column = this.#columns[name]!
      const value = column.values.number(this.#view, this.#labels.bytes, valueAt, valueLength, false)
      labels.push([column.name, column.values.text(value)])
    })
    return labels
  }

  /** Every name with the number of its series. */
  names(): { name: string; series: number; values: number }[] {
    return this.#columns.map(({ name }) => {
      const values = this.values(name)
      let series = 0
      for (const count of values.values()) series += count
      return { name, series, values: values.size }
    })
  }

  /** Values of `name` among `ids` (all series when null), unsorted, with the number of series of each. */
  values(name: string, ids: readonly number[] | null = null): Map<string, number> {
    const found = new Map<string, number>()
    const column = this.#column(name)
    if (!column) return found
    const counts = new Uint32Array(column.values.count)
    const words = this.#series.words
    if (ids === null) {
      for (let i = 0; i < column.count; i++) {
        if ((words[column.idAt(i) * LINE + LENGTH]! & DEAD) === 0) counts[column.symbolAt(i)]!++
      }
    } else {
      for (const id of ids) {
        const symbol = column.symbolOf(id)
        if (symbol >= 0) counts[symbol]!++
      }
    }
    for (let symbol = 0; symbol < counts.length; symbol++) {
      if (counts[symbol]! > 0) found.set(column.values.text(symbol), counts[symbol]!)
    }
    return found
  }

  /** Names of labels that any of `ids` has. */
  namesOf(ids: readonly number[]): string[] {
    return this.#columns.filter((column) => ids.some((id) => column.symbolOf(id) >= 0)).map((column) => column.name)
  }

  #mark(column: Column, match: Matches): Uint8Array {
    const marked = new Uint8Array(column.values.count)
    if (match.anyOf !== null) {
      for (const value of match.anyOf) {
        const symbol = this.#symbol(column, value)
        if (symbol >= 0) marked[symbol] = 1
      }
      return marked
    }
    for (let symbol = 0; symbol < marked.length; symbol++)
      marked[symbol] = match.test(column.values.text(symbol)) ? 1 : 0
    return marked
  }

  #column(name: string): Column | undefined {
    const bytes = Buffer.from(name)
    const number = this.#names.number(
      new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      bytes,
      0,
      bytes.length,
      false,
    )
    return number < 0 ? undefined : this.#columns[number]
  }

  #symbol(column: Column, value: string): number {
    const bytes = Buffer.from(value)
    return column.values.number(
      new DataView(bytes.buffer, bytes.byteOffset, bytes.length),
      bytes,
      0,
      bytes.length,
      false,
    )
  }

  #walk(id: number, label: (nameAt: number, nameLength: number, valueAt: number, valueLength: number) => void): void {
    const bytes = this.#labels.bytes
    if (bytes !== this.#viewed) {
      this.#viewed = bytes
      this.#view = new DataView(bytes.buffer, 0, bytes.length)
    }
    const words = this.#series.words
    let at = words[id * LINE + LABEL]! * 4
    const end = at + (words[id * LINE + LENGTH]! & LENGTH_MASK)
    const varint = (): number => {
      let value = 0
      let shift = 0
      for (; shift < 28; shift += 7) {
        const byte = bytes[at++]!
        value |= (byte & 127) << shift
        if (byte < 128) return value
      }
      throw new FormatError('label: length runs on')
    }
    while (at < end) {
      at++
      varint()
      at++
      const nameLength = varint()
      const nameAt = at
      at += nameLength + 1
      const valueLength = varint()
      label(nameAt, nameLength, at, valueLength)
      at += valueLength
    }
  }
}
