/**
 * OTLP metrics in protobuf, read into the tree that their JSON has (opentelemetry-proto: collector/metrics/v1,
 * metrics/v1, common/v1): field numbers become the names of JSON, unknown fields are left out. Exponential histograms
 * are only counted by the converter, so of their points nothing is read.
 *
 * Hostile input: each length is checked against what holds it, and nesting, which only attribute values have without
 * end, is bounded.
 */
import { badRequest } from '../../base/errors.ts'

type Plain = 'text' | 'base64' | 'bool' | 'int' | 'double' | 'fixed' | 'sfixed'
/** Kind of a field: a plain one, or a message; `many` for a list (of plain ones packed or not). */
interface Field {
  readonly name: string
  readonly kind: Plain | Message
  readonly many: boolean
}
type Message = () => Readonly<Record<number, Field>>

const one = (name: string, kind: Field['kind']): Field => ({ name, kind, many: false })
const many = (name: string, kind: Field['kind']): Field => ({ name, kind, many: true })

const request: Message = () => ({ 1: many('resourceMetrics', resourceMetrics) })
const resourceMetrics: Message = () => ({ 1: one('resource', resource), 2: many('scopeMetrics', scopeMetrics) })
const resource: Message = () => ({ 1: many('attributes', keyValue) })
const scopeMetrics: Message = () => ({ 2: many('metrics', metric) })
const metric: Message = () => ({
  1: one('name', 'text'),
  3: one('unit', 'text'),
  5: one('gauge', gauge),
  7: one('sum', sum),
  9: one('histogram', histogram),
  10: one('exponentialHistogram', exponential),
  11: one('summary', summary),
})
const gauge: Message = () => ({ 1: many('dataPoints', numberPoint) })
const sum: Message = () => ({
  1: many('dataPoints', numberPoint),
  2: one('aggregationTemporality', 'int'),
  3: one('isMonotonic', 'bool'),
})
const histogram: Message = () => ({
  1: many('dataPoints', histogramPoint),
  2: one('aggregationTemporality', 'int'),
})
const exponential: Message = () => ({ 1: many('dataPoints', () => ({})) })
const summary: Message = () => ({ 1: many('dataPoints', summaryPoint) })
const numberPoint: Message = () => ({
  3: one('timeUnixNano', 'fixed'),
  4: one('asDouble', 'double'),
  6: one('asInt', 'sfixed'),
  7: many('attributes', keyValue),
  8: one('flags', 'int'),
})
const histogramPoint: Message = () => ({
  3: one('timeUnixNano', 'fixed'),
  4: one('count', 'fixed'),
  5: one('sum', 'double'),
  6: many('bucketCounts', 'fixed'),
  7: many('explicitBounds', 'double'),
  9: many('attributes', keyValue),
  10: one('flags', 'int'),
})
const summaryPoint: Message = () => ({
  3: one('timeUnixNano', 'fixed'),
  4: one('count', 'fixed'),
  5: one('sum', 'double'),
  6: many('quantileValues', quantile),
  7: many('attributes', keyValue),
  8: one('flags', 'int'),
})
const quantile: Message = () => ({ 1: one('quantile', 'double'), 2: one('value', 'double') })
const keyValue: Message = () => ({ 1: one('key', 'text'), 2: one('value', anyValue) })
const anyValue: Message = () => ({
  1: one('stringValue', 'text'),
  2: one('boolValue', 'bool'),
  3: one('intValue', 'int'),
  4: one('doubleValue', 'double'),
  5: one('arrayValue', arrayValue),
  6: one('kvlistValue', keyValueList),
  7: one('bytesValue', 'base64'),
})
const arrayValue: Message = () => ({ 1: many('values', anyValue) })
const keyValueList: Message = () => ({ 1: many('values', keyValue) })

const DEPTH_MAX = 32

/** Throws `AppError` 400 with the place. Whole numbers of 64 bits come as bigint. */
export function readOtlpProtobuf(body: Uint8Array): unknown {
  return new Reader(body).message(request, body.length, 0)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const fieldsOf = new Map<Message, Readonly<Record<number, Field>>>()

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  message(kind: Message, end: number, depth: number): Record<string, unknown> {
    if (depth > DEPTH_MAX) throw this.#broken('values are nested too deep')
    let fields = fieldsOf.get(kind)
    if (!fields) {
      fields = kind()
      fieldsOf.set(kind, fields)
    }
    const out: Record<string, unknown> = {}
    while (this.#at < end) {
      const tag = Number(this.#varint(end))
      const wire = tag % 8
      const field = fields[Math.floor(tag / 8)]
      if (!field) {
        this.#skip(wire, end)
        continue
      }
      if (!field.many) {
        out[field.name] = this.#value(field.kind, wire, end, depth)
        continue
      }
      out[field.name] ??= []
      const items = out[field.name] as unknown[]
      const packed = wire === 2 && (field.kind === 'fixed' || field.kind === 'double')
      if (!packed) items.push(this.#value(field.kind, wire, end, depth))
      else for (const stop = this.#length(end); this.#at < stop; ) items.push(this.#value(field.kind, 1, stop, depth))
    }
    return out
  }

  #value(kind: Field['kind'], wire: number, end: number, depth: number): unknown {
    const expected = kind === 'int' || kind === 'bool' ? 0 : kind === 'double' || /fixed$/.test(String(kind)) ? 1 : 2
    if (wire !== expected) throw this.#broken(`a field is of kind ${wire}, not ${expected}`)
    if (wire === 0) {
      const value = this.#varint(end)
      if (kind === 'bool') return value !== 0n
      return Number.isSafeInteger(Number(value)) ? Number(value) : BigInt.asIntN(64, value)
    }
    if (wire === 1) {
      if (this.#at + 8 > end) throw this.#broken('a number is cut off')
      const at = this.#at
      this.#at += 8
      if (kind === 'double') return this.#view.getFloat64(at, true)
      return kind === 'fixed' ? this.#view.getBigUint64(at, true) : this.#view.getBigInt64(at, true)
    }
    const stop = this.#length(end)
    if (typeof kind === 'function') return this.message(kind, stop, depth + 1)
    const bytes = this.#bytes.subarray(this.#at, stop)
    this.#at = stop
    if (kind === 'base64') return Buffer.from(bytes).toString('base64')
    try {
      return utf8.decode(bytes)
    } catch {
      throw this.#broken('a text is not UTF-8')
    }
  }

  #varint(end: number): bigint {
    let low = 0
    for (let i = 0; i < 4; i++) {
      if (this.#at >= end) throw this.#broken('a number is cut off')
      const byte = this.#bytes[this.#at++]!
      low += (byte & 127) * 2 ** (7 * i)
      if (byte < 128) return BigInt(low)
    }
    let value = BigInt(low)
    for (let shift = 28n; shift < 70n; shift += 7n) {
      if (this.#at >= end) throw this.#broken('a number is cut off')
      const byte = this.#bytes[this.#at++]!
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return BigInt.asUintN(64, value)
    }
    throw this.#broken('a number has no end')
  }

  /** Where a field with a length ends. */
  #length(end: number): number {
    const length = Number(this.#varint(end))
    if (this.#at + length > end) throw this.#broken('a field runs past the end')
    return this.#at + length
  }

  #skip(wire: number, end: number): void {
    if (wire === 0) this.#varint(end)
    else if (wire === 2) this.#at = this.#length(end)
    else if (wire === 1 || wire === 5) {
      this.#at += wire === 1 ? 8 : 4
      if (this.#at > end) throw this.#broken('a field runs past the end')
    } else throw this.#broken(`a field of unknown kind ${wire}`)
  }

  #broken(what: string) {
    return badRequest(`OTLP: ${what} (byte ${this.#at}).`, 'body_malformed')
  }
}
