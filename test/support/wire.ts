/**
 * Makes the bodies that foreign senders make: protobuf fields, remote-write requests, snappy blocks. Written apart
 * from the decoders under test, for tests and benches alone.
 */
import type { Labels } from '../../src/metrics/labels.ts'

export type Bytes = Uint8Array

/** A varint of a whole number; negative ones as protobuf's int64 has them, in ten bytes. */
export function varint(value: number | bigint): Bytes {
  let rest = BigInt.asUintN(64, BigInt(value))
  const out: number[] = []
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  out.push(Number(rest))
  return Uint8Array.from(out)
}

export const concat = (...parts: readonly Bytes[]): Bytes => new Uint8Array(Buffer.concat(parts))
const tag = (field: number, wire: number) => varint(field * 8 + wire)

/** Field of wire type 2: a message or bytes. */
export const message = (field: number, ...parts: readonly Bytes[]): Bytes => {
  const body = concat(...parts)
  return concat(tag(field, 2), varint(body.length), body)
}
export const textField = (field: number, value: string): Bytes => message(field, new TextEncoder().encode(value))
export const varintField = (field: number, value: number | bigint): Bytes => concat(tag(field, 0), varint(value))
export const fixed64Field = (field: number, bits: bigint): Bytes => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, bits))
  return concat(tag(field, 1), bytes)
}
export const doubleField = (field: number, value: number): Bytes => {
  const bytes = Buffer.alloc(8)
  bytes.writeDoubleLE(value)
  return concat(tag(field, 1), bytes)
}

export interface WireSeries {
  readonly labels: Labels
  /** Time in ms, value. */
  readonly samples: readonly (readonly [number, number])[]
}

export const labelField = (name: string, value: string): Bytes => message(1, textField(1, name), textField(2, value))
export const sampleField = (time: number, value: number): Bytes =>
  message(2, doubleField(1, value), varintField(2, time))

/** An unpacked `WriteRequest`. */
export function writeRequest(series: readonly WireSeries[]): Bytes {
  return concat(
    ...series.map(({ labels, samples }) =>
      message(1, ...labels.map(([n, v]) => labelField(n, v)), ...samples.map(([t, v]) => sampleField(t, v))),
    ),
  )
}

/**
 * A snappy block. Greedy matching by a table of the last place of each four bytes, over the whole input, so that all
 * three kinds of copies and all lengths of literals come up.
 */
export function snappy(source: Bytes): Bytes {
  const out: Bytes[] = [varint(source.length)]
  const view = new DataView(source.buffer, source.byteOffset, source.length)
  const seen = new Map<number, number>()
  let literal = 0
  let at = 0
  while (at + 4 <= source.length) {
    const word = view.getUint32(at, true)
    const candidate = seen.get(word)
    seen.set(word, at)
    if (candidate === undefined) {
      at++
      continue
    }
    let length = 4
    while (at + length < source.length && source[candidate + length] === source[at + length]) length++
    if (at > literal) out.push(literalElement(source.subarray(literal, at)))
    const offset = at - candidate
    for (let left = length; left > 0; ) {
      const take = left > 64 ? (left < 68 ? 60 : 64) : left
      out.push(copyElement(offset, take))
      left -= take
    }
    at += length
    literal = at
  }
  if (literal < source.length) out.push(literalElement(source.subarray(literal)))
  return concat(...out)
}

/** All of it as one literal: what an incompressible body looks like. */
export const snappyStored = (source: Bytes): Bytes =>
  source.length === 0 ? varint(0) : concat(varint(source.length), literalElement(source))

function literalElement(bytes: Bytes): Bytes {
  const n = bytes.length - 1
  if (n < 60) return concat(Uint8Array.of(n << 2), bytes)
  const size = n < 2 ** 8 ? 1 : n < 2 ** 16 ? 2 : n < 2 ** 24 ? 3 : 4
  const length = Uint8Array.from({ length: size }, (_, i) => Math.floor(n / 2 ** (8 * i)) & 255)
  return concat(Uint8Array.of((59 + size) << 2), length, bytes)
}

function copyElement(offset: number, length: number): Bytes {
  if (length >= 4 && length <= 11 && offset < 2048) {
    return Uint8Array.of(((offset >>> 8) << 5) | ((length - 4) << 2) | 1, offset & 255)
  }
  const tagByte = (length - 1) << 2
  if (offset < 65536) return Uint8Array.of(tagByte | 2, offset & 255, offset >>> 8)
  return Uint8Array.of(tagByte | 3, offset & 255, (offset >>> 8) & 255, (offset >>> 16) & 255, offset >>> 24)
}
