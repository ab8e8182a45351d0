/**
 * Labels and their canonical bytes.
 *
 * A series is its labels, `__name__` among them. In memory they are pairs sorted by name; on the wire, in the WAL and
 * as the key of the series table they are the protobuf form that Prometheus remote write uses for the label part of
 * one TimeSeries (repeated field 1, each a message of name = 1 and value = 2), sorted by name:
 *
 *   0a LEN  0a NLEN name…  12 VLEN value…   ← one label
 *
 * So the bytes of a well-behaved sender are the key as they stand, and are looked up without making a string.
 */
export type Label = readonly [name: string, value: string]
/** Sorted by name (by code unit), names unique, no empty value. */
export type Labels = readonly Label[]

export const METRIC_NAME = '__name__'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** From an object; drops empty values, which mean "no such label". */
export function labelsOf(name: string | null, rest: Readonly<Record<string, string>> = {}): Labels {
  const pairs: Label[] = name === null ? [] : [[METRIC_NAME, name]]
  for (const key in rest) if (rest[key] !== '' && key !== METRIC_NAME) pairs.push([key, rest[key]!])
  return pairs.sort(byName)
}

export function sortLabels(pairs: Label[]): Labels {
  return pairs.sort(byName)
}

function byName(a: Label, b: Label): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0
}

export function labelValue(labels: Labels, name: string): string {
  for (const label of labels) if (label[0] === name) return label[1]
  return ''
}

/** Without `__name__`, as an object; the form of the platform's API. */
export function toObject(labels: Labels): Record<string, string> {
  const object: Record<string, string> = {}
  for (const [name, value] of labels) if (name !== METRIC_NAME) object[name] = value
  return object
}

export function encodeLabels(labels: Labels): Uint8Array {
  let size = 0
  for (const [name, value] of labels) {
    const inner = labelSize(utf8Size(name), utf8Size(value))
    size += 1 + varintSize(inner) + inner
  }
  const out = new Uint8Array(size)
  let at = 0
  const varint = (n: number) => {
    while (n > 127) {
      out[at++] = (n & 127) | 128
      n >>>= 7
    }
    out[at++] = n
  }
  const text = (tag: number, chars: string, bytes: number) => {
    out[at++] = tag
    varint(bytes)
    // Nearly all of it is ASCII, and short: a loop is a tenth of the encoder's price.
    if (bytes === chars.length) for (let i = 0; i < bytes; i++) out[at + i] = chars.charCodeAt(i)
    else encoder.encodeInto(chars, out.subarray(at, at + bytes))
    at += bytes
  }
  for (const [name, value] of labels) {
    const nameSize = utf8Size(name)
    const valueSize = utf8Size(value)
    out[at++] = 0x0a
    varint(labelSize(nameSize, valueSize))
    text(0x0a, name, nameSize)
    text(0x12, value, valueSize)
  }
  return out
}

/** Bytes of a text in UTF-8; half a surrogate pair becomes U+FFFD, as the encoder does it. */
function utf8Size(text: string): number {
  let size = text.length
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c < 0x80) continue
    size += c < 0x800 ? 1 : 2
    // A pair has four bytes: two more than its units.
    if (c >= 0xd800 && c < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) i++
  }
  return size
}

const labelSize = (name: number, value: number) => 2 + varintSize(name) + name + varintSize(value) + value

function varintSize(n: number): number {
  let size = 1
  while (n > 127) {
    n >>>= 7
    size++
  }
  return size
}

/**
 * Labels of `bytes[from, to)` in the order found; tolerant of unknown fields inside a label, as protobuf is.
 * Throws an Error when the bytes are not labels or not UTF-8.
 */
export function decodeLabels(bytes: Uint8Array, from = 0, to = bytes.length): Label[] {
  const labels: Label[] = []
  let at = from
  const varint = (end: number): number => {
    let value = 0
    let shift = 0
    for (;;) {
      if (at >= end || shift > 28) throw new Error('label: length runs past the end')
      const byte = bytes[at++]!
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
      shift += 7
    }
  }
  while (at < to) {
    if (bytes[at++] !== 0x0a) throw new Error('label: expected field 1')
    const end = varint(to) + at
    if (end > to) throw new Error('label: runs past the end')
    let name = ''
    let value = ''
    while (at < end) {
      const tag = bytes[at++]!
      if ((tag & 7) !== 2) throw new Error('label: expected a text')
      const length = varint(end)
      if (at + length > end) throw new Error('label: text runs past the end')
      const text = bytes.subarray(at, at + length)
      if (tag === 0x0a) name = decoder.decode(text)
      else if (tag === 0x12) value = decoder.decode(text)
      at += length
    }
    labels.push([name, value])
  }
  return labels
}
