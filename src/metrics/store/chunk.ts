/**
 * Chunks: up to a few hundred samples of one series in few bytes, bit for bit (NaN payloads, infinities and -0 too).
 * The first and last time stand in the index, not in the chunk.
 *
 *   form u8 (times | values << 4)   count varint   times   values
 *
 *   times    0 regular: nothing          1 irregular: least gap, unit, packed((gap - least) / unit)
 *   values   0 constant: 8 bytes
 *            1 whole: exponent, odd ones, least, unit, packed((n - least) / unit)          value = n / 10^exponent
 *            2 steps: exponent, odd ones, first, least step, unit, packed((step - least) / unit)
 *            3 bits:  high words packed above the least, low words packed without their common trailing zeros
 *   packed   width u8, exceptions varint, bits, exceptions (gap of position, the bits above the width)
 *
 * "Odd ones" are values that are no short decimal (NaN, infinity, -0, …): position and 8 bytes. What a value costs is
 * counted before a form is chosen. Packing with exceptions is after Zukowski et al., "Super-Scalar RAM-CPU Cache
 * Compression" (2006); decimals as scaled integers after Afroozeh et al., "ALP" (2023).
 */
import { FormatError, putSigned, putVarint, varintSize } from './bytes.ts'

/** Most samples in one chunk. */
export const CHUNK_MAX = 1024
/** Room that `encodeChunk` needs for n samples, and slack that a buffer to decode from must have behind the chunk. */
export const chunkRoom = (samples: number): number => 96 + samples * 26
export const DECODE_SLACK = 8

const REGULAR = 0
const IRREGULAR = 1
const CONSTANT = 0
const WHOLE = 1
const STEPS = 2
const BITS = 3

const EXPONENT_MAX = 15
/** Steps of steps must stay below 2^53. */
const WHOLE_LIMIT = 2 ** 50
/** Adding and taking away 1.5 · 2^52 rounds to a whole number, for |x| < 2^51. */
const ROUND = 6755399441055744
const POWER = Float64Array.from({ length: EXPONENT_MAX + 1 }, (_, e) => Number(`1e${e}`))
const TWO = Float64Array.from({ length: 64 }, (_, e) => 2 ** e)

const whole = new Float64Array(CHUNK_MAX)
const shifted = new Float64Array(CHUNK_MAX)
const steps = new Float64Array(CHUNK_MAX)
const odd = new Uint16Array(CHUNK_MAX)
const histogram = new Uint32Array(65)

let bitsOf: Float64Array = new Float64Array(1)
let bits: Uint32Array = new Uint32Array(bitsOf.buffer)
/** The two 32-bit words of each value; the low word of value i is at 2i. */
function wordsOf(values: Float64Array): Uint32Array {
  if (values !== bitsOf) {
    bitsOf = values
    bits = new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
  }
  return bits
}

/**
 * Writes `count` samples (1 to CHUNK_MAX; times ascending, none twice) of `times[from…]`, `values[from…]` to `out` at
 * `at`, where `chunkRoom(count)` bytes must be free. Returns the position behind the chunk.
 */
export function encodeChunk(
  times: Float64Array,
  values: Float64Array,
  from: number,
  count: number,
  out: Uint8Array,
  at: number,
): number {
  const start = at
  at = putVarint(out, at + 1, count)
  let timeForm = REGULAR
  if (count > 2) {
    const gap = times[from + 1]! - times[from]!
    for (let i = 2; i < count; i++) {
      if (times[from + i]! - times[from + i - 1]! !== gap) {
        timeForm = IRREGULAR
        break
      }
    }
    if (timeForm === IRREGULAR) {
      let least = gap
      for (let i = 1; i < count; i++) {
        const d = times[from + i]! - times[from + i - 1]!
        steps[i - 1] = d
        if (d < least) least = d
      }
      const unit = reduce(steps, count - 1, least, shifted)
      at = putVarint(out, at, least)
      at = putVarint(out, at, unit)
      at = pack(shifted, count - 1, out, at)
    }
  }
  const words = wordsOf(values)
  const low = words[2 * from]!
  const high = words[2 * from + 1]!
  let constant = true
  for (let i = from + 1; i < from + count; i++) {
    if (words[2 * i] !== low || words[2 * i + 1] !== high) {
      constant = false
      break
    }
  }
  if (constant) {
    out[start] = timeForm | (CONSTANT << 4)
    at = putWord(out, at, low)
    return putWord(out, at, high)
  }
  const form = encodeValues(values, words, from, count, out, at)
  out[start] = timeForm | (form << 4)
  return encodedEnd
}

let encodedEnd = 0

function encodeValues(
  values: Float64Array,
  words: Uint32Array,
  from: number,
  count: number,
  out: Uint8Array,
  at: number,
): number {
  let exponent = 0
  let power = 1
  let odds = 0
  const oddsMax = count >> 3
  let changed = false
  for (let i = 0; i < count; i++) {
    const value = values[from + i]!
    let n = value * power
    n = n + ROUND - ROUND
    if (!(n / power === value && n < WHOLE_LIMIT && n > -WHOLE_LIMIT) || (n === 0 && words[2 * (from + i) + 1] !== 0)) {
      let found = false
      if (value - value === 0 && value !== 0) {
        for (let e = exponent + 1; e <= EXPONENT_MAX; e++) {
          n = value * POWER[e]!
          if (n >= WHOLE_LIMIT || n <= -WHOLE_LIMIT) break
          n = n + ROUND - ROUND
          if (n / POWER[e]! === value) {
            if (i > 0) changed = true
            exponent = e
            power = POWER[e]!
            found = true
            break
          }
        }
      }
      if (!found) {
        if (odds >= oddsMax) {
          encodedEnd = putBits(words, from, count, out, at)
          return BITS
        }
        odd[odds++] = i
        n = i === 0 ? 0 : whole[i - 1]!
      }
    }
    whole[i] = n
  }
  if (changed) {
    // A later value needed more digits: scale the earlier ones too. One that no longer fits becomes an odd one.
    odds = 0
    for (let i = 0; i < count; i++) {
      const value = values[from + i]!
      const n = value * power + ROUND - ROUND
      if (n / power === value && n < WHOLE_LIMIT && n > -WHOLE_LIMIT && (n !== 0 || words[2 * (from + i) + 1] === 0)) {
        whole[i] = n
        continue
      }
      if (odds >= oddsMax) {
        encodedEnd = putBits(words, from, count, out, at)
        return BITS
      }
      odd[odds++] = i
      whole[i] = i === 0 ? 0 : whole[i - 1]!
    }
  }
  if (odds > 0 && odd[0] === 0) {
    // The filler of leading odd ones is the first true value, so that they widen nothing.
    let k = 0
    while (k < odds && odd[k] === k) k++
    for (let i = 0; i < k; i++) whole[i] = whole[k]!
  }

  let least = whole[0]!
  let leastStep = Infinity
  for (let i = 1; i < count; i++) {
    const n = whole[i]!
    const step = n - whole[i - 1]!
    steps[i - 1] = step
    if (n < least) least = n
    if (step < leastStep) leastStep = step
  }
  const stepUnit = reduce(steps, count - 1, leastStep, steps)
  const stepCost = packedSize(steps, count - 1)
  const unit = reduce(whole, count, least, shifted)
  const wholeCost = packedSize(shifted, count)
  const cost = Math.min(stepCost, wholeCost) + odds * 9 + 12
  if (cost > count * 5) {
    const end = putBits(words, from, count, out, at)
    if (end - at <= cost) {
      encodedEnd = end
      return BITS
    }
    // putBits used the scratch arrays: make them again
    for (let i = 1; i < count; i++) steps[i - 1] = (whole[i]! - whole[i - 1]! - leastStep) / stepUnit
    for (let i = 0; i < count; i++) shifted[i] = (whole[i]! - least) / unit
  }
  out[at++] = exponent
  at = putVarint(out, at, odds)
  for (let k = 0; k < odds; k++) {
    const i = odd[k]!
    at = putVarint(out, at, i)
    at = putWord(out, at, words[2 * (from + i)]!)
    at = putWord(out, at, words[2 * (from + i) + 1]!)
  }
  if (stepCost < wholeCost) {
    at = putSigned(out, at, whole[0]!)
    at = putSigned(out, at, leastStep)
    at = putVarint(out, at, stepUnit)
    encodedEnd = pack(steps, count - 1, out, at)
    return STEPS
  }
  at = putSigned(out, at, least)
  at = putVarint(out, at, unit)
  encodedEnd = pack(shifted, count, out, at)
  return WHOLE
}

function putBits(words: Uint32Array, from: number, count: number, out: Uint8Array, at: number): number {
  let least = 0xffffffff
  let any = 0
  for (let i = from; i < from + count; i++) {
    const high = words[2 * i + 1]!
    if (high < least) least = high
    any |= words[2 * i]!
  }
  for (let i = 0; i < count; i++) shifted[i] = words[2 * (from + i) + 1]! - least
  at = putWord(out, at, least)
  at = pack(shifted, count, out, at)
  const zeros = any === 0 ? 0 : 31 - Math.clz32(any & -any)
  for (let i = 0; i < count; i++) shifted[i] = words[2 * (from + i)]! >>> zeros
  out[at++] = zeros
  return pack(shifted, count, out, at)
}

/** into[i] = (xs[i] - least) / unit with the greatest unit that divides them all; returns the unit (at least 1). */
function reduce(xs: Float64Array, count: number, least: number, into: Float64Array): number {
  let unit = 0
  for (let i = 0; i < count; i++) {
    const x = xs[i]! - least
    into[i] = x
    if (unit === 1 || x === 0) continue
    if (unit === 0) unit = x
    else {
      // Exact for whole numbers below 2^53: a quotient that rounds to a whole number is one.
      const quotient = x / unit
      if (quotient !== Math.floor(quotient)) unit = gcd(unit, x % unit)
    }
  }
  if (unit <= 1) return 1
  for (let i = 0; i < count; i++) into[i] = into[i]! / unit
  return unit
}

function gcd(a: number, b: number): number {
  while (b !== 0) {
    const rest = a % b
    a = b
    b = rest
  }
  return a
}

let bestWidth = 0

/** Bytes that `pack` will take; leaves the width it will use in `bestWidth`. */
function packedSize(xs: Float64Array, count: number): number {
  histogram.fill(0)
  let widest = 0
  for (let i = 0; i < count; i++) {
    const x = xs[i]!
    const width = x < 4294967296 ? 32 - Math.clz32(x) : 64 - Math.clz32(x / 4294967296)
    histogram[width]!++
    if (width > widest) widest = width
  }
  bestWidth = widest
  let best = (count * widest + 7) >> 3
  let above = 0
  const aboveMax = count >> 3
  for (let width = widest - 1; width >= 0; width--) {
    above += histogram[width + 1]!
    if (above > aboveMax) break
    let cost = (count * width + 7) >> 3
    for (let w = width + 1; w <= widest; w++) {
      const n = histogram[w]!
      if (n > 0) cost += n * (1 + Math.floor((w - width + 6) / 7))
    }
    if (cost < best) {
      best = cost
      bestWidth = width
    }
  }
  return best + 2
}

function pack(xs: Float64Array, count: number, out: Uint8Array, at: number): number {
  packedSize(xs, count)
  const width = bestWidth
  const limit = TWO[width]!
  out[at++] = width
  let exceptions = 0
  for (let i = 0; i < count; i++) if (xs[i]! >= limit) exceptions++
  at = putVarint(out, at, exceptions)
  if (width > 0) {
    let buffer = 0
    let used = 0
    if (width <= 24) {
      const mask = limit - 1
      for (let i = 0; i < count; i++) {
        const x = xs[i]!
        const low = (x >>> 0) & mask
        buffer |= low << used
        used += width
        while (used >= 8) {
          out[at++] = buffer & 255
          buffer >>>= 8
          used -= 8
        }
      }
    } else {
      for (let i = 0; i < count; i++) {
        const x = xs[i]!
        const word = x >>> 0
        const above = (x - word) / 4294967296
        for (let done = 0; done < width; done += 24) {
          const take = Math.min(width - done, 24)
          const part = done === 0 ? word & 0xffffff : done === 24 ? (word >>> 24) | (above << 8) : above >>> 16
          buffer |= (part & (TWO[take]! - 1)) << used
          used += take
          while (used >= 8) {
            out[at++] = buffer & 255
            buffer >>>= 8
            used -= 8
          }
        }
      }
    }
    if (used > 0) out[at++] = buffer & 255
  }
  if (exceptions > 0) {
    let last = 0
    for (let i = 0; i < count; i++) {
      const x = xs[i]!
      if (x < limit) continue
      at = putVarint(out, at, i - last)
      at = putVarint(out, at, Math.floor(x / limit))
      last = i
    }
  }
  return at
}

function putWord(out: Uint8Array, at: number, word: number): number {
  out[at] = word
  out[at + 1] = word >>> 8
  out[at + 2] = word >>> 16
  out[at + 3] = word >>> 24
  return at + 4
}

// ---------------------------------------------------------------------------------------------------- decoding

let cursor = 0
let viewed: Uint8Array | null = null
let view: DataView = new DataView(new ArrayBuffer(8))

/** Samples in the chunk at `at`, without decoding it. */
export function chunkCount(bytes: Uint8Array, at: number): number {
  cursor = at + 1
  return getVarint(bytes)
}

/**
 * Decodes the chunk at `at` into `times` and `values` from index `to` on, which must have room for `CHUNK_MAX` more.
 * `bytes` must reach `DECODE_SLACK` beyond the chunk. Throws `FormatError` or `RangeError` when the bytes are damaged,
 * and then the arrays hold nonsense. Returns the count.
 */
export function decodeChunk(
  bytes: Uint8Array,
  at: number,
  firstTime: number,
  lastTime: number,
  times: Float64Array,
  values: Float64Array,
  to: number,
): number {
  const form = bytes[at]!
  cursor = at + 1
  const count = getVarint(bytes)
  if (count < 1 || count > CHUNK_MAX || to + count > values.length) throw new FormatError('chunk: bad count')
  if (bytes !== viewed) {
    viewed = bytes
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  if ((form & 15) === REGULAR) {
    const gap = count > 1 ? (lastTime - firstTime) / (count - 1) : 0
    for (let i = 0; i < count; i++) times[to + i] = firstTime + i * gap
  } else if ((form & 15) === IRREGULAR) {
    const least = getVarint(bytes)
    const unit = getVarint(bytes)
    unpack(bytes, count - 1, times, to + 1)
    let time = firstTime
    times[to] = time
    for (let i = to + 1; i < to + count; i++) {
      time += least + times[i]! * unit
      times[i] = time
    }
  } else throw new FormatError('chunk: unknown form of times')

  switch (form >> 4) {
    case CONSTANT: {
      const words = wordsOf(values)
      const low = view.getUint32(cursor, true)
      const high = view.getUint32(cursor + 4, true)
      for (let i = to; i < to + count; i++) {
        words[2 * i] = low
        words[2 * i + 1] = high
      }
      return count
    }
    case WHOLE:
    case STEPS: {
      const exponent = bytes[cursor++]!
      if (exponent > EXPONENT_MAX) throw new FormatError('chunk: bad exponent')
      const power = POWER[exponent]!
      const odds = getVarint(bytes)
      if (odds > count) throw new FormatError('chunk: bad count of odd values')
      const oddAt = cursor
      for (let k = 0; k < odds; k++) {
        getVarint(bytes)
        cursor += 8
      }
      const end = to + count
      if (form >> 4 === WHOLE) {
        const least = getSigned(bytes)
        const unit = getVarint(bytes)
        unpack(bytes, count, values, to)
        if (power === 1) for (let i = to; i < end; i++) values[i] = least + values[i]! * unit
        else for (let i = to; i < end; i++) values[i] = (least + values[i]! * unit) / power
      } else {
        let n = getSigned(bytes)
        const least = getSigned(bytes)
        const unit = getVarint(bytes)
        values[to] = n / power
        if (isPlain(bytes)) unpackSums(bytes, count - 1, values, to + 1, n, least, unit, power)
        else {
          unpack(bytes, count - 1, values, to + 1)
          for (let i = to + 1; i < end; i++) {
            n += least + values[i]! * unit
            values[i] = n / power
          }
        }
      }
      if (odds > 0) {
        const words = wordsOf(values)
        cursor = oddAt
        for (let k = 0; k < odds; k++) {
          const i = getVarint(bytes)
          if (i >= count) throw new FormatError('chunk: odd value out of place')
          words[2 * (to + i)] = view.getUint32(cursor, true)
          words[2 * (to + i) + 1] = view.getUint32(cursor + 4, true)
          cursor += 8
        }
      }
      return count
    }
    case BITS: {
      const words = wordsOf(values)
      const least = view.getUint32(cursor, true)
      cursor += 4
      unpack(bytes, count, whole, 0)
      for (let i = 0; i < count; i++) words[2 * (to + i) + 1] = whole[i]! + least
      const zeros = bytes[cursor++]! & 31
      unpack(bytes, count, whole, 0)
      for (let i = 0; i < count; i++) words[2 * (to + i)] = whole[i]! << zeros
      return count
    }
    default:
      throw new FormatError('chunk: unknown form of values')
  }
}

function unpack(bytes: Uint8Array, count: number, into: Float64Array, to: number): void {
  const width = bytes[cursor++]!
  if (width > 53) throw new FormatError('chunk: bad width')
  const exceptions = getVarint(bytes)
  if (exceptions > count) throw new FormatError('chunk: bad count of exceptions')
  const dv = view
  let bit = cursor * 8
  const end = to + count
  if (width === 0) into.fill(0, to, end)
  else if (width <= 25) {
    const mask = TWO[width]! - 1
    for (let i = to; i < end; i++) {
      into[i] = (dv.getUint32(bit >>> 3, true) >>> (bit & 7)) & mask
      bit += width
    }
  } else if (width <= 48) {
    const mask = TWO[width - 24]! - 1
    for (let i = to; i < end; i++) {
      const low = (dv.getUint32(bit >>> 3, true) >>> (bit & 7)) & 0xffffff
      const high = ((dv.getUint32((bit >>> 3) + 3, true) >>> (bit & 7)) & mask) >>> 0
      into[i] = low + high * 16777216
      bit += width
    }
  } else {
    const mask = TWO[width - 48]! - 1
    for (let i = to; i < end; i++) {
      const shift = bit & 7
      const low = (dv.getUint32(bit >>> 3, true) >>> shift) & 0xffffff
      const middle = (dv.getUint32((bit >>> 3) + 3, true) >>> shift) & 0xffffff
      const high = (dv.getUint32((bit >>> 3) + 6, true) >>> shift) & mask
      into[i] = low + middle * 16777216 + high * 281474976710656
      bit += width
    }
  }
  cursor += (count * width + 7) >> 3
  if (exceptions > 0) {
    const scale = TWO[width]!
    let i = to
    for (let k = 0; k < exceptions; k++) {
      i += getVarint(bytes)
      if (i >= end) throw new FormatError('chunk: exception out of place')
      into[i] = into[i]! + getVarint(bytes) * scale
    }
  }
}

/** Whether what is packed at the cursor is narrow and has no exceptions, as most is. */
const isPlain = (bytes: Uint8Array): boolean => bytes[cursor]! <= 25 && bytes[cursor + 1] === 0

/** `unpack` of plain steps and their summing in one go. */
function unpackSums(
  bytes: Uint8Array,
  count: number,
  into: Float64Array,
  to: number,
  first: number,
  least: number,
  unit: number,
  power: number,
): void {
  const width = bytes[cursor]!
  const dv = view
  let bit = (cursor + 2) * 8
  const mask = TWO[width]! - 1
  const end = to + count
  let n = first
  if (power === 1) {
    for (let i = to; i < end; i++) {
      n += least + ((dv.getUint32(bit >>> 3, true) >>> (bit & 7)) & mask) * unit
      into[i] = n
      bit += width
    }
  } else {
    for (let i = to; i < end; i++) {
      n += least + ((dv.getUint32(bit >>> 3, true) >>> (bit & 7)) & mask) * unit
      into[i] = n / power
      bit += width
    }
  }
  cursor += 2 + ((count * width + 7) >> 3)
}

function getVarint(bytes: Uint8Array): number {
  const first = bytes[cursor++]!
  if (first < 128) return first
  let value = first & 127
  let scale = 128
  for (let i = 0; i < 7; i++) {
    const byte = bytes[cursor++]
    if (byte === undefined) break
    value += (byte & 127) * scale
    if (byte < 128) return value
    scale *= 128
  }
  throw new FormatError('chunk: varint runs on')
}

function getSigned(bytes: Uint8Array): number {
  const first = bytes[cursor++]!
  let value = first & 63
  if (first >= 128) value += getVarint(bytes) * 64
  return first & 64 ? -value : value
}

/** Bytes of the smallest possible chunk, for checks of an index. */
export const CHUNK_BYTES_MIN = 2 + varintSize(1)
