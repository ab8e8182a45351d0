import fc from 'fast-check'
import { expect, test } from 'vitest'
import { closeFrame, frameBoundary } from './frames.ts'

/** A frame with any header that the protocol allows; the length in the shortest of the three forms. */
function frame(opcode: number, masked: boolean, payload: number): Buffer {
  const length =
    payload < 126
      ? [payload]
      : payload < 65_536
        ? [126, payload >> 8, payload & 255]
        : [127, 0, 0, 0, 0, 0, ...[16, 8, 0].map((s) => (payload >> s) & 255)]
  length[0]! |= masked ? 0x80 : 0
  return Buffer.concat([
    Buffer.from([0x80 | opcode, ...length]),
    Buffer.alloc(masked ? 4 : 0, 7),
    Buffer.alloc(payload, 0x88),
  ])
}

const anyFrame = fc
  .record({
    opcode: fc.constantFrom(0, 1, 2, 9, 10),
    masked: fc.boolean(),
    payload: fc.oneof(fc.integer({ min: 0, max: 130 }), fc.constantFrom(65_535, 65_536, 70_000)),
  })
  .map(({ opcode, masked, payload }) => frame(opcode, masked, payload))

test('it stands between frames exactly where frames end, however the bytes are cut', () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { minLength: 1, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1, maxLength: 40 }),
      (frames, cuts) => {
        const all = Buffer.concat(frames)
        const ends = new Set<number>([0])
        for (const [i] of frames.entries()) ends.add(Buffer.concat(frames.slice(0, i + 1)).length)
        const boundary = frameBoundary()
        let at = 0
        for (let i = 0; at < all.length; i++) {
          const next = Math.min(all.length, at + cuts[i % cuts.length]!)
          boundary.pass(all.subarray(at, next))
          at = next
          expect(boundary.atBoundary).toBe(ends.has(at))
        }
        expect(boundary.closed).toBe(false)
      },
    ),
    { numRuns: 300 },
  )
})

test('a close frame is seen, and the one that front sends is one', () => {
  const boundary = frameBoundary()
  const close = closeFrame(1012, 'service restart')
  boundary.pass(close.subarray(0, 1))
  expect(boundary.closed).toBe(false)
  boundary.pass(close.subarray(1))
  expect(boundary.closed).toBe(true)
  expect(boundary.atBoundary).toBe(true)
  expect(close.readUInt16BE(2)).toBe(1012)
})
