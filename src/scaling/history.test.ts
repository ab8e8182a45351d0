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

test('a history that does not tell what one instance holds is judged with what was learnt as it ran', () => {
  expect(runSimulation({ rows, settings, known: null })).toEqual({ why: expect.stringContaining('capacity') })
  const known = { rate: 50, knee: 0.8, fit: null, limitMs: 100 }
  const answer = runSimulation({ rows, settings, known })
  expect(answer).toMatchObject({ service: known, policy: { actions: 1 } })
})
