/**
 * Prometheus remote write 1.0: a snappy block holding a protobuf `WriteRequest`
 * (prometheus.io/docs/specs/prw/remote_write_spec, prompb/remote.proto and types.proto), into columns without making
 * a string or an object.
 *
 *   WriteRequest  1 timeseries *        3 metadata * (counted, left out)
 *   TimeSeries    1 label *   2 sample *   3 exemplar *, 4 native histogram * (counted, left out)
 *   Sample        1 value, double   2 timestamp, int64 milliseconds
 *
 * The labels of a series usually stand in one run, which is the range handed on as it is, unread and unchecked: the
 * store looks it up by its bytes, and reads it only when it is new. Labels that are scattered between other fields
 * are joined behind the unpacked body, in the same buffer. Values are copied as bits, so the payload of a NaN lives.
 *
 * The bytes are hostile: each length is checked against the end of what holds it, every loop step consumes a byte,
 * and memory is bounded by `bytesMax` and `samplesMax`.
 */
import { badRequest } from '../../base/errors.ts'
import type { SampleColumns } from '../columns.ts'
import { declaredSize, SLACK, tooLarge, uncompress } from './snappy.ts'

export interface RemoteWriteLimits {
  /** Most bytes of an unpacked body. */
  readonly bytesMax: number
  /** Most samples, and most series entries, of one body. */
  readonly samplesMax: number
}

/** Ten times what Prometheus sends at most by default settings; a body at the limits costs about 80 MB. */
export const remoteWriteLimits: RemoteWriteLimits = { bytesMax: 32 * 1024 * 1024, samplesMax: 1_000_000 }

/** What a body held besides samples. */
export interface Skipped {
  exemplars: number
  histograms: number
  metadata: number
}

export class RemoteWriteDecoder {
  /** Of the last body. */
  readonly skipped: Skipped = { exemplars: 0, histograms: 0, metadata: 0 }
  readonly #limits: RemoteWriteLimits
  #bytes = new Uint8Array(64 * 1024)
  #labelStart = new Uint32Array(2048)
  #labelEnd = new Uint32Array(2048)
  #sampleStart = new Uint32Array(2049)
  #times = new Float64Array(2048)
  #values = new Float64Array(2048)
  /** Length of the unpacked body, plus the scattered labels joined behind it. */
  #used = 0

  constructor(limits: RemoteWriteLimits = remoteWriteLimits) {
    this.#limits = limits
  }

  /** The batch is valid until the next call. Throws `AppError` 400 for a broken body, 413 for one that is too large. */
  decode(body: Uint8Array): SampleColumns {
    const size = declaredSize(body, this.#limits.bytesMax)
    if (this.#bytes.length < size + SLACK) this.#bytes = new Uint8Array(roomFor(size + SLACK))
    uncompress(body, this.#bytes)
    return this.#read(size)
  }

  /** The same for a body that is not compressed; copies it. */
  decodePlain(body: Uint8Array): SampleColumns {
    if (body.length > this.#limits.bytesMax) throw tooLarge(`The body has more than ${this.#limits.bytesMax} bytes.`)
    if (this.#bytes.length < body.length + SLACK) this.#bytes = new Uint8Array(roomFor(body.length + SLACK))
    this.#bytes.set(body)
    return this.#read(body.length)
  }

  #read(size: number): SampleColumns {
    this.#used = size
    const skipped = this.skipped
    skipped.exemplars = 0
    skipped.histograms = 0
    skipped.metadata = 0
    // Locals, not fields: the loop below is the hottest of the program. `bytes` may be replaced by joining labels.
    let bytes = this.#bytes
    let view = new DataView(bytes.buffer)
    let labelStart = this.#labelStart
    let labelEnd = this.#labelEnd
    let sampleStart = this.#sampleStart
    let times = this.#times
    let valueBits = new Uint32Array(this.#values.buffer)
    let entries = 0
    let samples = 0
    let at = 0

    while (at < size) {
      const tag = bytes[at++]!
      if (tag !== 0x0a) {
        if (tag === 0x1a) skipped.metadata++
        at = skipField(bytes, at - 1, size)
        continue
      }
      // One TimeSeries, [at, end).
      let length = bytes[at++]!
      if (length > 127 || at > size) {
        // Two bytes, as nearly every series has them, without a call.
        const more = bytes[at]!
        if (at < size && more > 0 && more < 128) {
          length = (length & 127) | (more << 7)
          at++
        } else {
          length = readLength(bytes, at - 1, size)
          at += lengthSize(length) - 1
        }
      }
      const end = at + length
      if (end > size) throw broken('a series runs past the end', at)
      if (entries === labelStart.length) {
        this.#growEntries(entries)
        labelStart = this.#labelStart
        labelEnd = this.#labelEnd
        sampleStart = this.#sampleStart
      }
      const firstSample = samples
      let from = 0 // the run of labels, [from, to)
      let to = 0
      while (at < end) {
        const field = bytes[at]!
        if (field === 0x0a) {
          const start = at
          at++
          let inner = bytes[at++]!
          if (inner > 127 || at > end) {
            inner = readLength(bytes, at - 1, end)
            at += lengthSize(inner) - 1
          }
          at += inner
          if (at > end) throw broken('a label runs past its series', start)
          if (to === start) to = at
          else if (to === 0) {
            from = start
            to = at
          } else {
            const joined = to - from + at - start
            to = this.#join(from, to, start, at)
            from = to - joined
            bytes = this.#bytes
            view = new DataView(bytes.buffer)
          }
        } else if (field === 0x12) {
          at++
          let inner = bytes[at++]!
          if (inner > 127 || at > end) {
            inner = readLength(bytes, at - 1, end)
            at += lengthSize(inner) - 1
          }
          const stop = at + inner
          if (stop > end) throw broken('a sample runs past its series', at)
          if (samples === times.length) {
            this.#growSamples(samples)
            times = this.#times
            valueBits = new Uint32Array(this.#values.buffer)
          }
          let low = 0
          let high = 0
          let time = 0
          while (at < stop) {
            const part = bytes[at]!
            if (part === 0x09) {
              if (at + 9 > stop) throw broken('a value is cut off', at)
              low = view.getUint32(at + 1, true)
              high = view.getUint32(at + 5, true)
              at += 9
            } else if (part === 0x10) {
              at++
              let lowBits = 0
              let highBits = 0
              let shift = 0
              for (;;) {
                if (at >= stop || shift > 63) throw broken('a timestamp is cut off', at)
                const byte = bytes[at++]!
                if (shift < 28) lowBits |= (byte & 127) << shift
                else if (shift === 28) {
                  lowBits |= (byte & 127) << 28
                  highBits = (byte & 127) >>> 4
                } else highBits |= (byte & 127) << (shift - 32)
                if (byte < 128) break
                shift += 7
              }
              time = (highBits | 0) * 4294967296 + (lowBits >>> 0)
            } else {
              at = skipField(bytes, at, stop)
            }
          }
          times[samples] = time
          valueBits[2 * samples] = low
          valueBits[2 * samples + 1] = high
          samples++
        } else {
          if (field === 0x1a) skipped.exemplars++
          else if (field === 0x22) skipped.histograms++
          at = skipField(bytes, at, end)
        }
      }
      // A series without samples (only exemplars or histograms) is no entry.
      if (samples === firstSample) continue
      labelStart[entries] = from
      labelEnd[entries] = to
      sampleStart[entries] = firstSample
      entries++
    }
    sampleStart[entries] = samples
    return {
      entryCount: entries,
      sampleCount: samples,
      labelBytes: bytes,
      labelStart,
      labelEnd,
      sampleStart,
      times,
      values: this.#values,
    }
  }

  /** Puts the label at [start, stop) behind the run [from, to), moving the run to the end of the buffer if need be. */
  #join(from: number, to: number, start: number, stop: number): number {
    const moves = to !== this.#used
    const needed = this.#used + (moves ? to - from : 0) + (stop - start)
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(roomFor(needed))
      grown.set(this.#bytes.subarray(0, this.#used))
      this.#bytes = grown
    }
    if (moves) {
      this.#bytes.copyWithin(this.#used, from, to)
      this.#used += to - from
    }
    this.#bytes.copyWithin(this.#used, start, stop)
    this.#used += stop - start
    return this.#used
  }

  #growEntries(entries: number): void {
    if (entries >= this.#limits.samplesMax) {
      throw tooLarge(`The body has more than ${this.#limits.samplesMax} series.`)
    }
    const room = Math.min(this.#limits.samplesMax, entries * 2)
    this.#labelStart = grown(this.#labelStart, room)
    this.#labelEnd = grown(this.#labelEnd, room)
    this.#sampleStart = grown(this.#sampleStart, room + 1)
  }

  #growSamples(samples: number): void {
    if (samples >= this.#limits.samplesMax) {
      throw tooLarge(`The body has more than ${this.#limits.samplesMax} samples.`)
    }
    const room = Math.min(this.#limits.samplesMax, samples * 2)
    this.#times = grown(this.#times, room)
    // Copied as bits, not as numbers: a NaN keeps its payload.
    const values = new Float64Array(room)
    new Uint8Array(values.buffer).set(new Uint8Array(this.#values.buffer))
    this.#values = values
  }
}

/** Whole steps, so that bodies of nearly the same size share one buffer. */
const roomFor = (bytes: number) => Math.ceil((bytes * 1.25) / 65536) * 65536

function grown<T extends Uint32Array | Float64Array>(old: T, room: number): T {
  const next = (old instanceof Uint32Array ? new Uint32Array(room) : new Float64Array(room)) as T
  next.set(old)
  return next
}

/** A length of more than one byte, at most 32 bits; the caller advances by `lengthSize`. */
function readLength(bytes: Uint8Array, from: number, end: number): number {
  let value = 0
  let unit = 1
  for (let i = 0; i < 5; i++, unit *= 128) {
    if (from + i >= end) throw broken('a length is cut off', from)
    const byte = bytes[from + i]!
    value += (byte & 127) * unit
    if (byte < 128) {
      // An overlong form would take more bytes than `lengthSize` says.
      if (i > 0 && byte === 0) break
      return value
    }
  }
  throw broken('a length is not readable', from)
}

function lengthSize(length: number): number {
  return length < 128 ? 1 : length < 16384 ? 2 : length < 2097152 ? 3 : length < 268435456 ? 4 : 5
}

/** Past the field whose tag is at `from`: a varint, 8 bytes, a run of bytes, or 4 bytes. */
function skipField(bytes: Uint8Array, from: number, end: number): number {
  let at = from
  const tag = readLength(bytes, at, end)
  at += lengthSize(tag)
  switch (tag & 7) {
    case 0:
      for (let i = 0; i < 10; i++) {
        if (at >= end) break
        if (bytes[at++]! < 128) return at
      }
      throw broken('a number is cut off', from)
    case 1:
      at += 8
      break
    case 2: {
      const length = readLength(bytes, at, end)
      at += lengthSize(length) + length
      break
    }
    case 5:
      at += 4
      break
    default:
      throw broken(`a field of unknown kind ${tag & 7}`, from)
  }
  if (tag < 8) throw broken('a field has the number 0', from)
  if (at > end) throw broken('a field runs past the end', from)
  return at
}

const broken = (what: string, at: number) => badRequest(`remote write: ${what} (byte ${at}).`, 'body_malformed')
