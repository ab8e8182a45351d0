/** Which alerts are posted about what scaling cannot do, and when they end. */
import { afterEach, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { fakeScheduler } from '../base/scheduler.ts'
import { MINUTE, SECOND } from '../base/time.ts'
import type { TargetView } from '../scaling/index.ts'
import { scalingAlerts } from './scaling-alerts.ts'

type Posts = Parameters<Parameters<typeof scalingAlerts>[0]['posted']['post']>[0]

const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

function world() {
  const scheduler = fakeScheduler()
  const state = { problem: null as string | null, active: true, seen: true }
  const posts: Posts[number][] = []
  const start = () => {
    const { cancel } = scalingAlerts({
      manager: {
        get active() {
          return state.active
        },
        targets: () => ['web'],
        view: () => ({ observed: state.seen ? {} : null, problem: state.problem }) as unknown as TargetView,
      },
      posted: { post: async (alerts) => void posts.push(...alerts) },
      scheduler,
      log: silentLog,
    })
    stops.push(cancel)
  }
  const open = () => posts.filter(({ endsAt }) => endsAt === null)
  const ends = () => posts.filter(({ endsAt }) => endsAt !== null)
  return { scheduler, state, start, posts, open, ends }
}

test('a provider that fails for long is an alert of its target, repeated while it lasts, ended when it is well', async () => {
  const { scheduler, state, start, open, ends } = world()
  start()
  await scheduler.run(10 * SECOND)
  state.problem = 'connection refused'
  await scheduler.run(20 * SECOND)
  expect(open()).toEqual([])
  await scheduler.run(20 * SECOND)
  expect(open()).toHaveLength(1)
  expect(Object.fromEntries(open()[0]!.labels)).toEqual({
    alertname: 'scaling_driver_failing',
    service: 'opinion-market',
    severity: 'warning',
    target: 'web',
  })
  expect(open()[0]!.annotations.description).toContain('Connection refused. Scaling')
  // Nobody repeating it for five minutes would end it.
  const before = open().length
  await scheduler.run(5 * MINUTE)
  expect(open().length - before).toBeGreaterThanOrEqual(4)
  const endings = ends().length
  state.problem = null
  await scheduler.run(10 * SECOND)
  expect(ends().length).toBe(endings + 1)
  await scheduler.run(MINUTE)
  expect(ends().length).toBe(endings + 1)
})

test('what fails for a moment wakes nobody', async () => {
  const { scheduler, state, start, open } = world()
  start()
  for (let i = 0; i < 10; i++) {
    state.problem = 'front has not told yet'
    await scheduler.run(20 * SECOND)
    state.problem = null
    await scheduler.run(10 * SECOND)
  }
  expect(open()).toEqual([])
})

test('the first look at a target that is well ends what the last control left open, one that was not seen does not', async () => {
  const { scheduler, state, start, ends } = world()
  state.seen = false
  start()
  await scheduler.run(MINUTE)
  expect(ends()).toEqual([])
  state.seen = true
  await scheduler.run(10 * SECOND)
  expect(ends()).toHaveLength(1)
})

test('stopped, scaling owes nobody anything: the alert ends', async () => {
  const { scheduler, state, start, open, ends } = world()
  start()
  state.problem = 'connection refused'
  await scheduler.run(MINUTE)
  expect(open().length).toBeGreaterThan(0)
  state.active = false
  const before = ends().length
  await scheduler.run(10 * SECOND)
  expect(ends().length).toBe(before + 1)
})
