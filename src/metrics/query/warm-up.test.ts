/** What warms a worker up has to be queries that are answered: a mistake there would show nowhere else. */
import { expect, test } from 'vitest'
import { queryKeys } from './keys.ts'
import type { ApiAnswer } from './operations.ts'
import { warmUp } from './warm-up.ts'

test('every query of the warm-up is answered with series, one at a time', async () => {
  const limits = { samplesMax: 1e6, seriesMax: 1e3, stepsMax: queryKeys.queryStepsMax.fallback, memoryMax: 1 << 28 }
  const answers: ApiAnswer[] = []
  let waiting: (() => ApiAnswer) | null = null
  warmUp({ ...limits, resultMax: 1 << 20, lookbackMs: 300_000, subqueryStepMs: 60_000 }, (next) => {
    expect(waiting).toBeNull()
    waiting = next
  })
  while (waiting) {
    const next: () => ApiAnswer = waiting
    waiting = null
    answers.push(next())
  }
  expect(answers.length).toBeGreaterThan(100)
  for (const { status, body } of answers) {
    expect(status).toBe(200)
    expect(JSON.parse(Buffer.from(body).toString()).data.result.length).toBeGreaterThan(0)
  }
})
