import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FormatError } from './bytes.ts'
import { CHUNK_MAX, chunkCount, chunkRoom, DECODE_SLACK, decodeChunk, encodeChunk } from './chunk.ts'

const words = (values: Float64Array) => new Uint32Array(values.buffer, values.byteOffset, values.length * 2)

/** Doubles of every kind, by their two words, so that payloads of NaNs come too. */
const anyBits = fc.tuple(fc.nat(0xffffffff), fc.nat(0xffffffff))
const special = fc.constantFrom<readonly [number, number]>(
  [0x00000002, 0x7ff00000], // stale marker
  [0, 0x7ff80000],
  [1, 0xfff80000],
  [0, 0x7ff00000], // +Inf
  [0, 0xfff00000], // -Inf
  [0, 0x80000000], // -0
  [0, 0],
  [1, 0], // smallest
  [0xffffffff, 0x7fefffff], // greatest
)
const ofNumber = (value: number): readonly [number, number] => {
  const w = words(Float64Array.of(value))
  return [w[0]!, w[1]!]
}
const decimal = fc.tuple(fc.integer({ min: -1e9, max: 1e9 }), fc.integer({ min: 0, max: 12 })).map(([n, e]) => {
  return ofNumber(n / Number(`1e${e}`))
})
const value = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -1000, max: 1000 }).map(ofNumber) },
  { weight: 3, arbitrary: decimal },
  { weight: 1, arbitrary: fc.double().map(ofNumber) },
  { weight: 1, arbitrary: fc.maxSafeInteger().map(ofNumber) },
  { weight: 1, arbitrary: anyBits },
  { weight: 1, arbitrary: special },
)
const oneKind = fc.oneof(
  fc.array(value, { minLength: 1, maxLength: 300 }),
  fc.array(fc.integer({ min: 0, max: 50 }).map(ofNumber), { minLength: 1, maxLength: 300 }),
  fc.array(decimal, { minLength: 1, maxLength: 300 }),
  fc.array(fc.double({ noNaN: true, min: 0, max: 1 }).map(ofNumber), { minLength: 1, maxLength: 300 }),
  fc.array(fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 0, max: 9 }).map(ofNumber) }, special), {
    minLength: 1,
    maxLength: 300,
  }),
)
const gaps = fc.oneof(
  fc.constant(15_000).map(() => () => 15_000),
  fc.array(fc.integer({ min: 14_990, max: 15_010 }), { minLength: 1 }).map((g) => (i: number) => g[i % g.length]!),
  fc
    .array(fc.oneof(fc.constant(15_000), fc.integer({ min: 1, max: 1e12 })), { minLength: 1, maxLength: 300 })
    .map((g) => (i: number) => g[i % g.length]!),
)

function roundTrip(bits: readonly (readonly [number, number])[], gap: (i: number) => number, start: number) {
  const count = bits.length
  const values = new Float64Array(count)
  const times = new Float64Array(count)
  const w = words(values)
  for (let i = 0; i < count; i++) {
    times[i] = i === 0 ? start : times[i - 1]! + gap(i)
    w[2 * i] = bits[i]![0]
    w[2 * i + 1] = bits[i]![1]
  }
  const at = 5
  const out = new Uint8Array(at + chunkRoom(count) + DECODE_SLACK)
  const end = encodeChunk(times, values, 0, count, out, at)
  expect(end).toBeLessThanOrEqual(at + chunkRoom(count))
  expect(chunkCount(out, at)).toBe(count)
  const outTimes = new Float64Array(count + 3)
  const outValues = new Float64Array(count + 3)
  const bytes = out.slice(0, end + DECODE_SLACK)
  expect(decodeChunk(bytes, at, times[0]!, times[count - 1]!, outTimes, outValues, 3)).toBe(count)
  expect(outTimes.slice(3)).toEqual(times)
  expect(words(outValues).slice(6)).toEqual(w)
  return { bytes, at, end, times }
}

describe('chunk', () => {
  test('gives back every bit', () => {
    fc.assert(
      fc.property(oneKind, gaps, fc.integer({ min: 0, max: 4e12 }), (bits, gap, start) => {
        roundTrip(bits, gap, start)
      }),
      { numRuns: 1500 },
    )
  })

  test('longest chunk of the widest values', () => {
    const bits = Array.from({ length: CHUNK_MAX }, (_, i): [number, number] => [
      (i * 2654435761) >>> 0,
      (i * 40503 * 65537) >>> 0,
    ])
    roundTrip(bits, (i) => 1 + ((i * 7919) % 1e6), 1)
  })

  test.each([
    ['a constant', (_: number) => 4096e7, 12],
    ['a counter', (i: number) => i * 1000, 20],
    ['one digit', (i: number) => Math.round(450 + 30 * Math.sin(i)) / 10, 200],
    ['pages', (i: number) => 4096 * (1e6 + ((i * 7919) % 200)), 230],
    ['one outlier', (i: number) => (i === 77 ? 1e6 : i % 8), 100],
  ])('%s is small', (_, f, bytesMax) => {
    const { at, end } = roundTrip(
      Array.from({ length: 200 }, (_, i) => ofNumber(f(i))),
      () => 15_000,
      1.7e12,
    )
    expect(end - at).toBeLessThanOrEqual(bytesMax)
  })

  test('damaged bytes give an error or nonsense, never more than was asked for', () => {
    fc.assert(
      fc.property(
        oneKind,
        gaps,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 5 }),
        (bits, gap, hits) => {
          const { bytes, at, end, times } = roundTrip(bits, gap, 1e12)
          for (const [where, byte] of hits) bytes[at + (where % (end - at))] = byte
          const out = new Float64Array(CHUNK_MAX)
          try {
            const n = decodeChunk(bytes, at, times[0]!, times.at(-1)!, out, new Float64Array(CHUNK_MAX), 0)
            expect(n).toBeLessThanOrEqual(CHUNK_MAX)
          } catch (error) {
            expect(error instanceof FormatError || error instanceof RangeError).toBe(true)
          }
        },
      ),
      { numRuns: 1500 },
    )
  })
})
