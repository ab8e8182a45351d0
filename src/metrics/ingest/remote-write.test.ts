/** Remote write and snappy against an encoder of their own, as laws: what goes in comes out, and nothing breaks them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Bytes,
  concat,
  doubleField,
  fixed64Field,
  labelField,
  message,
  sampleField,
  snappy,
  snappyStored,
  textField,
  varint,
  varintField,
  type WireSeries,
  writeRequest,
} from '../../../test/support/wire.ts'
import { AppError } from '../../base/errors.ts'
import { isStale, type SampleColumns, STALE_HIGH, STALE_LOW } from '../columns.ts'
import { decodeLabels, encodeLabels, type Labels, labelsOf } from '../labels.ts'
import { RemoteWriteDecoder } from './remote-write.ts'
import { declaredSize, SLACK, uncompress } from './snappy.ts'

const decoder = new RemoteWriteDecoder()
const up = labelsOf('up', { job: 'node' })

interface Row {
  readonly labels: Labels
  readonly samples: readonly (readonly [time: number, bits: string])[]
}

/** Values as bits: NaNs of different payloads differ. */
function rowsOf(columns: SampleColumns): Row[] {
  const bits = new BigUint64Array(columns.values.buffer, columns.values.byteOffset, columns.sampleCount)
  return Array.from({ length: columns.entryCount }, (_, e) => {
    const samples: [number, string][] = []
    for (let i = columns.sampleStart[e]!; i < columns.sampleStart[e + 1]!; i++) {
      samples.push([columns.times[i]!, bits[i]!.toString(16)])
    }
    return { labels: decodeLabels(columns.labelBytes, columns.labelStart[e]!, columns.labelEnd[e]!), samples }
  })
}
const bitsOf = (value: number) => {
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  return view.getBigUint64(0).toString(16)
}
const rowsFrom = (series: readonly WireSeries[]): Row[] =>
  series
    .filter((s) => s.samples.length > 0)
    .map(({ labels, samples }) => ({ labels, samples: samples.map(([t, v]) => [t, bitsOf(v)] as const) }))

const text = fc.string({ unit: 'grapheme', maxLength: 200 })
const anyLabels = fc
  .uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 20 }), text), { maxLength: 12, selector: ([n]) => n })
  .map((pairs) => pairs.sort(([a], [b]) => (a < b ? -1 : 1)) as Labels)
const anyTime = fc.oneof(fc.integer({ min: 1.7e12, max: 1.9e12 }), fc.maxSafeInteger())
const anySeries: fc.Arbitrary<WireSeries> = fc.record({
  labels: anyLabels,
  samples: fc.array(fc.tuple(anyTime, fc.double()), { maxLength: 5 }),
})

describe('snappy', () => {
  const unpack = (body: Bytes) => {
    const target = new Uint8Array(declaredSize(body, 1 << 24) + SLACK)
    return target.subarray(0, uncompress(body, target))
  }

  test('gives back what was packed', () => {
    const repetitive = fc
      .array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 80 }), fc.integer({ min: 1, max: 60 })))
      .map((runs) => concat(...runs.flatMap(([bytes, n]) => Array.from({ length: n }, () => bytes))))
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 3000 }), repetitive), (bytes) => {
        expect(Buffer.compare(unpack(snappy(bytes)), bytes)).toBe(0)
        expect(Buffer.compare(unpack(snappyStored(bytes)), bytes)).toBe(0)
      }),
    )
  })

  test('copies from more than 64 KiB back', () => {
    const head = Uint8Array.from({ length: 100 }, (_, i) => i * 7)
    const noise = Uint8Array.from({ length: 70_000 }, (_, i) => (i * i * 31 + (i >> 3)) & 255)
    const bytes = concat(head, noise, head)
    expect(Buffer.compare(unpack(snappy(bytes)), bytes)).toBe(0)
  })

  test.each([
    ['no header', Uint8Array.of(), /size/],
    ['an endless header', Uint8Array.of(255, 255, 255, 255, 255, 255), /size/],
    ['more declared than can come', concat(varint(1000), Uint8Array.of(0, 65)), /cannot unpack/],
    ['less than declared', concat(varint(5), Uint8Array.of(0, 65)), /1 bytes came of 5/],
    ['a literal past the end', concat(varint(5), Uint8Array.of(16, 65)), /runs past the end/],
    ['a literal length cut off', concat(varint(20), Uint8Array.of(61 << 2, 1)), /cut off/],
    ['a huge literal length', concat(varint(20), Uint8Array.of(63 << 2, 255, 255, 255, 255, 1)), /past the end/],
    ['a copy before the start', concat(varint(8), Uint8Array.of(0, 65, 1, 2)), /before the start/],
    ['a copy from here', concat(varint(8), Uint8Array.of(0, 65, 1, 0)), /before the start/],
    ['a copy past the size', concat(varint(3), Uint8Array.of(0, 65, 1, 1)), /more than the declared/],
    ['a copy cut off', concat(varint(30), Uint8Array.of(0, 65, 2, 1)), /cut off/],
  ])('refuses %s', (_, body, why) => {
    expect(() => unpack(body)).toThrow(why)
    expect(() => unpack(body)).toThrow(AppError)
  })

  test('refuses a size above the limit with 413, before allocating', () => {
    const body = concat(varint(1000), new Uint8Array(1000))
    expect(() => declaredSize(body, 999)).toThrow(expect.objectContaining({ status: 413 }))
  })
})

describe('remote write', () => {
  test('gives back what was sent, bit by bit', () => {
    fc.assert(
      fc.property(fc.array(anySeries, { maxLength: 30 }), (series) => {
        expect(rowsOf(decoder.decode(snappy(writeRequest(series))))).toEqual(rowsFrom(series))
      }),
    )
  })

  test('hands canonical labels on as they are', () => {
    const columns = decoder.decode(snappy(writeRequest([{ labels: up, samples: [[1, 2]] }])))
    const range = columns.labelBytes.subarray(columns.labelStart[0], columns.labelEnd[0])
    expect(Buffer.compare(range, encodeLabels(up))).toBe(0)
  })

  test('keeps the stale marker apart from other NaNs', () => {
    const stale = (BigInt(STALE_HIGH) << 32n) | BigInt(STALE_LOW)
    const label = labelField('__name__', 'up')
    const body = message(
      1,
      label,
      message(2, fixed64Field(1, stale), varintField(2, 5)),
      message(2, doubleField(1, NaN), varintField(2, 6)),
    )
    const columns = decoder.decode(snappyStored(body))
    expect(isStale(columns.values[0]!)).toBe(true)
    expect(isStale(columns.values[1]!)).toBe(false)
    expect(columns.values[1]).toBeNaN()
  })

  test('reads fields in any order, absent ones as zero, and negative times', () => {
    const [a, b, c] = [labelField('__name__', 'm'), labelField('x', '1'), labelField('y', 'ü'.repeat(90))]
    const body = concat(
      message(1, message(2, varintField(2, -7), doubleField(1, 1.5)), a, message(2), b, c),
      message(1, a, sampleField(3, 4), b, sampleField(5, 6), c),
    )
    const labels = [['__name__', 'm'] as const, ['x', '1'] as const, ['y', 'ü'.repeat(90)] as const]
    expect(rowsOf(decoder.decode(snappy(body)))).toEqual([
      {
        labels,
        samples: [
          [-7, bitsOf(1.5)],
          [0, '0'],
        ],
      },
      {
        labels,
        samples: [
          [3, bitsOf(4)],
          [5, bitsOf(6)],
        ],
      },
    ])
  })

  test('joins scattered labels of many series without mixing them', () => {
    const series = Array.from({ length: 500 }, (_, i) => labelsOf(`m${i}`, { a: 'x'.repeat(i % 200), z: String(i) }))
    const body = concat(
      ...series.map((labels, i) =>
        message(1, ...labels.flatMap(([n, v]) => [labelField(n, v), ...(i % 3 ? [sampleField(i, i)] : [])])),
      ),
    )
    const expected = series.filter((_, i) => i % 3)
    expect(rowsOf(new RemoteWriteDecoder().decode(snappy(body))).map((row) => row.labels)).toEqual(expected)
  })

  test('counts what it leaves out', () => {
    const label = labelField('__name__', 'm')
    const body = concat(
      message(1, label, sampleField(1, 1), message(3, doubleField(2, 1)), message(4, varintField(1, 1))),
      message(1, label, message(4, varintField(1, 1))),
      message(3, varintField(1, 1), textField(2, 'm')),
      textField(99, 'unknown'),
    )
    expect(decoder.decode(snappy(body)).entryCount).toBe(1)
    expect(decoder.skipped).toEqual({ exemplars: 1, histograms: 2, metadata: 1 })
  })

  test('keeps to its limits', () => {
    const small = new RemoteWriteDecoder({ bytesMax: 4096, samplesMax: 3000 })
    const tooLarge = expect.objectContaining({ status: 413 })
    expect(() => small.decode(snappyStored(new Uint8Array(5000)))).toThrow(tooLarge)
    const many = new RemoteWriteDecoder({ bytesMax: 1 << 20, samplesMax: 3000 })
    expect(() => many.decode(snappyStored(message(1, ...Array.from({ length: 3001 }, () => message(2)))))).toThrow(
      tooLarge,
    )
    const entries = concat(...Array.from({ length: 3001 }, () => message(1, message(2))))
    expect(() => many.decode(snappyStored(entries))).toThrow(tooLarge)
    expect(many.decode(snappyStored(entries.subarray(4))).entryCount).toBe(3000)
  })

  test('says where a body is broken', () => {
    const good = writeRequest([{ labels: up, samples: [[1, 2]] }])
    for (let cut = 1; cut < good.length; cut++) {
      expect(() => decoder.decode(snappyStored(good.subarray(0, cut)))).toThrow(/\(byte \d+\)/)
    }
  })

  test('any mutation of a good body is refused or read, never anything else', () => {
    const mutation = fc.tuple(fc.nat(), fc.constantFrom('set', 'insert', 'delete', 'double'), fc.nat(255))
    fc.assert(
      fc.property(
        fc.array(anySeries, { minLength: 1, maxLength: 8 }),
        fc.array(mutation, { maxLength: 6 }),
        fc.boolean(),
        (series, mutations, packed) => {
          const plain = writeRequest(series)
          let bytes = Buffer.from(packed ? snappy(plain) : plain)
          for (const [place, kind, byte] of mutations) {
            const at = place % (bytes.length + 1)
            const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
            if (kind === 'set' && at < bytes.length) bytes[at] = byte
            else if (kind === 'insert') bytes = Buffer.concat([head, Buffer.of(byte), tail])
            else if (kind === 'delete') bytes = Buffer.concat([head, tail.subarray(1 + (byte & 7))])
            else bytes = Buffer.concat([head, tail.subarray(0, byte), tail])
          }
          readsOrRefuses(() => decoder.decode(packed ? bytes : snappyStored(bytes)))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

/** A clean refusal, or columns whose every range lies inside its array. */
function readsOrRefuses(decode: () => SampleColumns): void {
  let columns: SampleColumns
  try {
    columns = decode()
  } catch (error) {
    if (!(error instanceof AppError) || error.status >= 500) throw error
    return
  }
  expect(columns.sampleStart[columns.entryCount]).toBe(columns.sampleCount)
  for (let e = 0; e < columns.entryCount; e++) {
    expect(columns.labelEnd[e]!).toBeLessThanOrEqual(columns.labelBytes.length)
    expect(columns.labelStart[e]!).toBeLessThanOrEqual(columns.labelEnd[e]!)
    expect(columns.sampleStart[e]!).toBeLessThanOrEqual(columns.sampleStart[e + 1]!)
  }
}
