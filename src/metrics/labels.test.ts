/** Canonical bytes of labels, against an encoder written apart. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { concat, labelField } from '../../test/support/wire.ts'
import { decodeLabels, encodeLabels } from './labels.ts'

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc.string({ unit: 'binary', maxLength: 20 }),
  // Halves of surrogate pairs, which no sender writes but a program may hold.
  fc.array(fc.constantFrom('\ud800', '\udfff', 'a', '😀', 'ü'), { maxLength: 8 }).map((parts) => parts.join('')),
)

test('bytes are those of protobuf, whatever the texts are', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text), { maxLength: 6 }), (labels) => {
      const bytes = encodeLabels(labels)
      expect(Buffer.compare(bytes, concat(...labels.map(([name, value]) => labelField(name, value))))).toBe(0)
      const whole = (s: string) => s.toWellFormed()
      expect(decodeLabels(bytes)).toEqual(labels.map(([name, value]) => [whole(name), whole(value)]))
    }),
    { numRuns: 500 },
  )
})
