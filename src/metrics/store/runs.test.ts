import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sampleBuffer } from '../metrics.ts'
import { mergeRuns } from './runs.ts'

test('runs become one, ascending, one value a time', () => {
  const run = fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 20 }).map((times) => times.sort((a, b) => a - b))
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), (runs) => {
      const all = runs.flat()
      const into = sampleBuffer(all.length + 1)
      into.times.set(all)
      into.values.set(all.map((time) => time * 2)) // what is stored twice has the same value
      into.length = all.length
      let from = 0
      mergeRuns(
        into,
        runs.map((times) => {
          from += times.length
          return { first: times[0]!, last: times.at(-1)!, from: from - times.length, to: from }
        }),
      )
      const expected = runs.length > 1 ? [...new Set(all)].sort((a, b) => a - b) : all
      expect([...into.times.subarray(0, into.length)]).toEqual(expected)
      expect([...into.values.subarray(0, into.length)]).toEqual(expected.map((time) => time * 2))
    }),
    { numRuns: 500 },
  )
})
