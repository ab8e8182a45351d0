/** Absence through watcher and engine together: what `no_data` says, at its time, and what the next sample says. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { World } from '../../test/support/alerting-world.ts'
import { SECOND } from '../base/time.ts'

const someone = { by: 'ann', claim: null }
let world: World
beforeEach(() => {
  world = new World()
})
afterEach(() => world.remove())

test.each([
  ['keep', 90, ['active null'], ['resolved recovered']],
  ['alert', 1, ['active null'], ['resolved recovered']],
  ['resolve', 90, ['resolved no_data'], ['resolved no_data']],
] as const)('no_data %s', async (noData, value, afterSilence, afterSample) => {
  const draft = { name: 'R', description: '', metricName: 'm', condition: 'gt', threshold: 50, cooldownMs: 0 } as const
  world.engine.createRule({ ...draft, id: 'r', severity: 'info', channels: [], noData }, someone)
  world.carry()
  const series = world.series([['__name__', 'm']])
  const push = async (v: number) => {
    world.push([{ series, at: world.now, value: v }])
    await world.settle()
  }
  const alerts = () => world.store.list({ sort: 'newest', limit: 9 }).map((a) => `${a.status} ${a.resolution}`)
  for (let i = 0; i < 120; i++) {
    await push(value)
    await world.scheduler.run(2 * SECOND)
  }
  expect(alerts()).toEqual(value === 1 ? [] : ['active null'])
  for (let i = 0; i < 90; i++) {
    await world.scheduler.run(SECOND)
    await world.settle()
  }
  expect(alerts()).toEqual(afterSilence)
  await push(1)
  await world.scheduler.run(SECOND)
  await world.settle()
  expect(alerts()).toEqual(afterSample)
})
