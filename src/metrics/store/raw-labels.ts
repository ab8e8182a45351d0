/**
 * Label bytes as senders send them (see ../labels.ts), checked and brought into the canonical form without making
 * strings: sorted by the bytes of the name, no name twice, no empty value, `__name__` there, valid UTF-8, within
 * limits. Bounds-checked throughout: the bytes are hostile.
 */
import { isUtf8 } from 'node:buffer'
import { ByteWriter, varintSize } from './bytes.ts'

export interface LabelLimits {
  readonly labelsMax: number
  readonly nameBytesMax: number
  readonly valueBytesMax: number
  readonly seriesBytesMax: number
}

/** Start and end of name and value of each label, four numbers a label. */
let places = new Int32Array(4 * 64)
const writer = new ByteWriter(4096)

/**
 * The canonical bytes (a view, good until the next call; of `bytes` itself when they were canonical already), or
 * null when they break a rule.
 */
export function canonicalise(bytes: Uint8Array, from: number, to: number, limits: LabelLimits): Uint8Array | null {
  const found = parse(bytes, from, to, limits)
  if (found < 0) return null
  if (found & CANONICAL) return bytes.subarray(from, to)
  return encodeSorted(bytes, found >> 1, limits)
}

const CANONICAL = 1
const BAD = -1

/** Fills `places`; number of labels · 2, + 1 when the bytes are canonical as they stand; BAD when they are none. */
function parse(bytes: Uint8Array, from: number, to: number, limits: LabelLimits): number {
  let at = from
  let count = 0
  let canonical = to - from <= limits.seriesBytesMax
  let named = false
  const varint = (end: number): number => {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) return BAD
      const byte = bytes[at++]!
      value |= (byte & 127) << shift
      if (byte < 128) {
        if (byte === 0 && shift > 0) canonical = false
        return value
      }
    }
    return BAD
  }
  while (at < to) {
    if (bytes[at++] !== 0x0a) return BAD
    const size = varint(to)
    if (size === BAD || at + size > to) return BAD
    const end = at + size
    let nameStart = 0
    let nameEnd = 0
    let valueStart = 0
    let valueEnd = 0
    let fields = 0
    while (at < end) {
      const tag = bytes[at++]!
      if ((tag & 7) !== 2) return BAD
      const length = varint(end)
      if (length === BAD || at + length > end) return BAD
      if (tag === 0x0a) {
        nameStart = at
        nameEnd = at + length
        if (fields !== 0) canonical = false
      } else if (tag === 0x12) {
        valueStart = at
        valueEnd = at + length
        if (fields !== 1) canonical = false
      } else canonical = false
      fields++
      at += length
    }
    if (valueEnd === valueStart) {
      canonical = false // an empty value means: no such label
      continue
    }
    const nameLength = nameEnd - nameStart
    if (nameLength === 0 || nameLength > limits.nameBytesMax || valueEnd - valueStart > limits.valueBytesMax) return BAD
    if (count >= limits.labelsMax) return BAD
    if (count * 4 >= places.length) {
      const grown = new Int32Array(places.length * 2)
      grown.set(places)
      places = grown
    }
    if (canonical && count > 0) {
      const p = 4 * (count - 1)
      if (compare(bytes, places[p]!, places[p + 1]!, nameStart, nameEnd) >= 0) canonical = false
    }
    places[4 * count] = nameStart
    places[4 * count + 1] = nameEnd
    places[4 * count + 2] = valueStart
    places[4 * count + 3] = valueEnd
    count++
    if (nameLength === 8 && isMetricName(bytes, nameStart)) named = true
    let seen = 0
    for (let i = nameStart; i < nameEnd; i++) seen |= bytes[i]!
    for (let i = valueStart; i < valueEnd; i++) seen |= bytes[i]!
    if (seen > 127) {
      if (!isUtf8(bytes.subarray(nameStart, nameEnd)) || !isUtf8(bytes.subarray(valueStart, valueEnd))) return BAD
    }
  }
  if (!named) return BAD
  return count * 2 + (canonical ? CANONICAL : 0)
}

/** `__name__` */
function isMetricName(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at] === 95 &&
    bytes[at + 1] === 95 &&
    bytes[at + 2] === 110 &&
    bytes[at + 3] === 97 &&
    bytes[at + 4] === 109 &&
    bytes[at + 5] === 101 &&
    bytes[at + 6] === 95 &&
    bytes[at + 7] === 95
  )
}

function compare(bytes: Uint8Array, a: number, aEnd: number, b: number, bEnd: number): number {
  const n = Math.min(aEnd - a, bEnd - b)
  for (let i = 0; i < n; i++) {
    const d = bytes[a + i]! - bytes[b + i]!
    if (d !== 0) return d
  }
  return aEnd - a - (bEnd - b)
}

function encodeSorted(bytes: Uint8Array, count: number, limits: LabelLimits): Uint8Array | null {
  const order = Array.from({ length: count }, (_, i) => i)
  order.sort((a, b) => compare(bytes, places[4 * a]!, places[4 * a + 1]!, places[4 * b]!, places[4 * b + 1]!))
  writer.length = 0
  for (let k = 0; k < count; k++) {
    const p = 4 * order[k]!
    const name = bytes.subarray(places[p], places[p + 1])
    if (k > 0) {
      const q = 4 * order[k - 1]!
      if (compare(bytes, places[p]!, places[p + 1]!, places[q]!, places[q + 1]!) === 0) return null
    }
    const value = bytes.subarray(places[p + 2], places[p + 3])
    writer.u8(0x0a)
    writer.varint(2 + varintSize(name.length) + name.length + varintSize(value.length) + value.length)
    writer.u8(0x0a)
    writer.varint(name.length)
    writer.raw(name)
    writer.u8(0x12)
    writer.varint(value.length)
    writer.raw(value)
  }
  return writer.length <= limits.seriesBytesMax ? writer.done() : null
}
