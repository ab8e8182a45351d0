/** Judging over stored history: what is known when the history is young. */
import { expect, test } from 'vitest'
import { MINUTE } from '../base/time.ts'
import { runSimulation } from './history.ts'
import type { DecideSettings } from './model.ts'
import { policyDefaults } from './policies.ts'
import type { HistoryRow } from './simulate.ts'
import { parseTargets } from './targets.ts'

const [web] = parseTargets([{ name: 'web', demand: 'rps', webhook: { url: 'https://example.org/' } }])
const settings: DecideSettings = {
  target: {
    ...web!,
    economics: { pricePerInstanceHour: 0.1, slowPerMillion: 5, lostPerMillion: 50, currency: null },
  },
  policies: [
    {
      ...policyDefaults(60),
      name: 'load',
      target: 'web',
      metricName: 'rps',
      scaleUpThreshold: 60,
      scaleDownThreshold: 20,
    },
  ],
  globalMin: 1,
  globalMax: 10,
  pause: null,
  hold: null,
  cycleMs: MINUTE,
}
/** Three minutes without CPU: demand alone does not tell what one instance holds. */
const rows: HistoryRow[] = [30, 80, 40].map((demand, i) => {
  return { at: i * MINUTE, demand, cpu: null, responseMs: null, ready: 1, metrics: { rps: demand } }
})

test('a policy on the CPU of its target is judged by the CPU of the count that it makes, not by the one that was', () => {
  const busy = Array.from({ length: 60 }, (_, i): HistoryRow => {
    return { at: i * MINUTE, demand: 60, cpu: 95, responseMs: null, ready: 1, metrics: { web_cpu: 95 } }
  })
  const target = { ...settings.target, cpu: 'web_cpu' }
  const policies = [{ ...settings.policies[0]!, metricName: 'web_cpu', scaleUpThreshold: 80, scaleDownThreshold: 5 }]
  const known = { rate: 60, knee: 0.8, fit: null, limitMs: 100 }
  const answer = runSimulation({ rows: busy, settings: { ...settings, target, policies }, known })
  expect(answer).toMatchObject({ policy: { actions: 1 }, decisions: [{ from: 1, to: 2 }] })
})

test('what happened is summed where the count is known, and says over how much', () => {
  const known = { rate: 50, knee: 0.8, fit: null, limitMs: 100 }
  const half = rows.map((row, i) => ({ ...row, ready: i < 2 ? 3 : null }))
  const answer = runSimulation({ rows: half, settings, known })
  expect(answer).toMatchObject({ steps: 3, happenedSteps: 2, stepS: 60 })
  expect('happened' in answer && answer.happened!.instanceHours).toBeCloseTo(0.1, 9)
})

test('a history without demand says which metric is missing', () => {
  const empty = rows.map((row) => ({ ...row, demand: null }))
  expect(runSimulation({ rows: empty, settings, known: null })).toEqual({
    why: expect.stringMatching(/moments with rps/),
  })
})

test('a history that does not tell what one instance holds is judged with what was learnt as it ran', () => {
  expect(runSimulation({ rows, settings, known: null })).toEqual({ why: expect.stringContaining('capacity') })
  const known = { rate: 50, knee: 0.8, fit: null, limitMs: 100 }
  const answer = runSimulation({ rows, settings, known })
  expect(answer).toMatchObject({ service: known, policy: { actions: 1 } })
})
