/**
 * Reading and writing of the store's own binary forms: little-endian, varints of up to 53 bits. A reader never leaves
 * its range: whatever the bytes say, it answers or throws `FormatError`.
 */

/** The bytes are not what their format promises. */
export class FormatError extends Error {
  override name = 'FormatError'
}

/** The file was written by a newer version of this program: to be left alone, not repaired. */
export class NewerFormatError extends Error {
  override name = 'NewerFormatError'
  constructor(what: string, version: number) {
    super(`${what} was written by a newer version of this program (format ${version})`)
  }
}

export class ByteWriter {
  bytes: Uint8Array
  #view: DataView
  length = 0

  constructor(capacity = 1 << 16) {
    this.bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.bytes.buffer)
  }

  /** Room for `more` bytes; returns the buffer to write into directly (advance `length` oneself). */
  reserve(more: number): Uint8Array {
    const need = this.length + more
    if (need > this.bytes.length) {
      const grown = new Uint8Array(Math.max(need, this.bytes.length * 2))
      grown.set(this.bytes.subarray(0, this.length))
      this.bytes = grown
      this.#view = new DataView(grown.buffer)
    }
    return this.bytes
  }

  u8(value: number): void {
    this.reserve(1)[this.length++] = value
  }
  u16(value: number): void {
    this.reserve(2)
    this.#view.setUint16(this.length, value, true)
    this.length += 2
  }
  u32(value: number): void {
    this.reserve(4)
    this.#view.setUint32(this.length, value, true)
    this.length += 4
  }
  f64(value: number): void {
    this.reserve(8)
    this.#view.setFloat64(this.length, value, true)
    this.length += 8
  }
  varint(value: number): void {
    this.reserve(8)
    this.length = putVarint(this.bytes, this.length, value)
  }
  /** Whole number of either sign, |value| < 2^53. */
  signed(value: number): void {
    this.reserve(9)
    this.length = putSigned(this.bytes, this.length, value)
  }
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length).set(bytes, this.length)
    this.length += bytes.length
  }
  /** What was written; a view, good until the next write. */
  done(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }
}

export class ByteReader {
  readonly bytes: Uint8Array
  readonly #view: DataView
  at: number
  readonly end: number

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.at = at
    this.end = end
  }

  get left(): number {
    return this.end - this.at
  }
  #take(size: number): number {
    const at = this.at
    if (size < 0 || at + size > this.end) throw new FormatError('ends too early')
    this.at = at + size
    return at
  }
  u8(): number {
    return this.bytes[this.#take(1)]!
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2), true)
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }
  f64(): number {
    return this.#view.getFloat64(this.#take(8), true)
  }
  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = this.u8()
      value += (byte & 127) * scale
      if (byte < 128) return value
      scale *= 128
    }
    throw new FormatError('varint too long')
  }
  signed(): number {
    const first = this.u8()
    let value = first & 63
    if (first >= 128) value += this.varint() * 64
    return first & 64 ? -value : value
  }
  raw(size: number): Uint8Array {
    const at = this.#take(size)
    return this.bytes.subarray(at, at + size)
  }
}

/** Writes a whole number 0 ≤ value < 2^53 in 1 to 8 bytes; returns the position behind it. */
export function putVarint(out: Uint8Array, at: number, value: number): number {
  let rest = value
  while (rest >= 0x10000000) {
    out[at++] = (rest % 128) | 128
    rest = Math.floor(rest / 128)
  }
  while (rest > 127) {
    out[at++] = (rest & 127) | 128
    rest >>>= 7
  }
  out[at++] = rest
  return at
}

/** First byte: 6 bits, sign, continuation; then a varint. */
export function putSigned(out: Uint8Array, at: number, value: number): number {
  const sign = value < 0 ? 64 : 0
  const size = value < 0 ? -value : value
  const low = size % 64
  if (size < 64) {
    out[at++] = low | sign
    return at
  }
  out[at++] = low | sign | 128
  return putVarint(out, at, Math.floor(size / 64))
}

export function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) size++
  return size
}
