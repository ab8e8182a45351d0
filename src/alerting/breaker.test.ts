/** The breaker as arithmetic. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { seededRandom } from '../base/random.ts'
import { afterFailure, afterWait, type Breaker, closed, FAILURES, permits } from './breaker.ts'

const random = seededRandom(1)
const failing = (times: number, now = 0) => {
  let breaker: Breaker = closed
  for (let i = 0; i < times; i++) breaker = afterFailure(breaker, now, random)
  return breaker
}

test('opens after so many failures in a row, and lets one through when its time is over', () => {
  expect(permits(failing(FAILURES - 1), 8, 0)).toBe(8)
  const open = failing(FAILURES)
  if (open.kind !== 'open') throw new Error('not open')
  expect([permits(open, 8, 0), permits(open, 8, open.until - 1), permits(open, 8, open.until)]).toEqual([0, 0, 1])
})

test('failures that were under way when it opened change nothing; a failed probe shuts it for longer', () => {
  const open = failing(FAILURES)
  if (open.kind !== 'open') throw new Error('not open')
  expect(failing(FAILURES + 20)).toMatchObject({ openMs: open.openMs })
  expect(afterFailure(open, open.until, random)).toMatchObject({ kind: 'open', openMs: open.openMs * 2 })
})

test('patience is kept to, and never cut short by a smaller wish', () => {
  const waiting = afterWait(closed, 30_000, 0)
  expect([permits(waiting, 8, 29_999), permits(waiting, 8, 30_000)]).toEqual([0, 1])
  expect(afterWait(waiting, 1000, 0)).toBe(waiting)
})

test('never shut for more than five minutes by failures, whatever happens', () => {
  const step = fc.record({ wait: fc.nat(600_000), fails: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      let now = 0
      let breaker: Breaker = closed
      for (const { wait, fails } of steps) {
        now += wait
        breaker = fails ? afterFailure(breaker, now, random) : closed
        if (breaker.kind === 'open') expect(breaker.until - now).toBeLessThanOrEqual(300_000)
      }
    }),
  )
})
