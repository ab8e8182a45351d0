/**
 * The payload of a batch record in the WAL:
 *
 *   flags u8   [claim: length varint, JSON]
 *   definitions varint, each: id varint, length varint, label bytes
 *   samples varint   ids: signed (id - previous - 1)   times: f64, then signed differences   fresh: bits   values: 8 bytes each
 *
 * Flags: 1 all samples are fresh (no bits follow), 2 all have the first one's time, 4 there is a claim. Definitions of
 * series stand in the first record that follows their making, so the log can always be read from its start.
 */
import type { ByteWriter } from './bytes.ts'
import { ByteReader, FormatError, putSigned } from './bytes.ts'

const ALL_FRESH = 1
const ONE_TIME = 2
const CLAIMED = 4

export interface Claim {
  readonly key: string
  readonly fingerprint: string
  readonly answer: string
  /** When it was made, milliseconds. */
  readonly at: number
}

/** Samples in columns; `count` of each are good. `words` are the two words of each value, low first. */
export interface Samples {
  count: number
  ids: Uint32Array
  times: Float64Array
  values: Float64Array
  words: Uint32Array
  fresh: Uint8Array
}

export function samples(capacity: number): Samples {
  const values = new Float64Array(capacity)
  return {
    count: 0,
    ids: new Uint32Array(capacity),
    times: new Float64Array(capacity),
    values,
    words: new Uint32Array(values.buffer),
    fresh: new Uint8Array(capacity),
  }
}

export function encodeBatch(
  out: ByteWriter,
  batch: Samples,
  defineFrom: number,
  defineTo: number,
  labelsOf: (id: number) => Uint8Array,
  claim: Claim | null,
): void {
  const { count, ids, times, fresh } = batch
  let allFresh = 1
  let oneTime = true
  const first = count > 0 ? times[0]! : 0
  for (let i = 0; i < count; i++) {
    allFresh &= fresh[i]!
    if (times[i] !== first) oneTime = false
  }
  out.u8((allFresh ? ALL_FRESH : 0) | (oneTime ? ONE_TIME : 0) | (claim ? CLAIMED : 0))
  if (claim) {
    const text = new TextEncoder().encode(JSON.stringify(claim))
    out.varint(text.length)
    out.raw(text)
  }
  out.varint(defineTo - defineFrom)
  for (let id = defineFrom; id < defineTo; id++) {
    const labels = labelsOf(id)
    out.varint(id)
    out.varint(labels.length)
    out.raw(labels)
  }
  out.varint(count)
  const bytes = out.reserve(count * 26 + 16)
  let at = out.length
  let previous = -1
  for (let i = 0; i < count; i++) {
    const id = ids[i]!
    at = putSigned(bytes, at, id - previous - 1)
    previous = id
  }
  out.length = at
  out.f64(first)
  at = out.length
  if (!oneTime) {
    let time = first
    for (let i = 0; i < count; i++) {
      at = putSigned(bytes, at, times[i]! - time)
      time = times[i]!
    }
  }
  if (!allFresh) {
    for (let i = 0; i < count; i += 8) {
      let bits = 0
      for (let k = 0; k < 8 && i + k < count; k++) bits |= fresh[i + k]! << k
      bytes[at++] = bits
    }
  }
  out.length = at
  out.raw(new Uint8Array(batch.values.buffer, batch.values.byteOffset, count * 8))
}

/** Fills `into` (its arrays are replaced when too small) and tells definitions; returns the claim, if any. */
export function decodeBatch(
  payload: Uint8Array,
  into: Samples,
  onDefinition: (id: number, labels: Uint8Array) => void,
): Claim | null {
  const reader = new ByteReader(payload)
  const flags = reader.u8()
  let claim: Claim | null = null
  if (flags & CLAIMED) claim = JSON.parse(new TextDecoder().decode(reader.raw(reader.varint()))) as Claim
  for (let n = reader.varint(); n > 0; n--) {
    const id = reader.varint()
    onDefinition(id, reader.raw(reader.varint()))
  }
  const count = reader.varint()
  if (count * 9 > reader.left) throw new FormatError('batch: more samples than bytes')
  if (count > into.ids.length) Object.assign(into, samples(Math.max(count, into.ids.length * 2)))
  const { ids, times, fresh } = into
  let previous = -1
  for (let i = 0; i < count; i++) {
    previous += reader.signed() + 1
    ids[i] = previous
  }
  let time = reader.f64()
  if (flags & ONE_TIME) times.fill(time, 0, count)
  else {
    for (let i = 0; i < count; i++) {
      time += reader.signed()
      times[i] = time
    }
  }
  if (flags & ALL_FRESH) fresh.fill(1, 0, count)
  else {
    const bits = reader.raw((count + 7) >> 3)
    for (let i = 0; i < count; i++) fresh[i] = (bits[i >> 3]! >> (i & 7)) & 1
  }
  new Uint8Array(into.values.buffer, into.values.byteOffset).set(reader.raw(count * 8))
  into.count = count
  return claim
}
