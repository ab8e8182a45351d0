/**
 * The platform scales itself: instances of the market through front, by hand and by load, without a failed request;
 * front keeps the number while control is away.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually, type Platform, sleep, startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN
const API = '/api/v1/auto-scaling'
let platform: Platform

const start = (more: { dir?: string } = {}) =>
  startPlatform({
    env: { COLLECT_HOST: 'false', AUTO_SCALING_EVALUATION_INTERVAL: '0.5' },
    ...(main ? { main } : {}),
    ...more,
  })

beforeAll(async () => {
  platform = await start()
  // What the machine of the test does besides is not what is tested.
  for (const name of ['cpu_scaling', 'memory_scaling', 'response_time_scaling', 'throughput_scaling']) {
    expect((await platform.request('PUT', `${API}/policies/${name}`, { enabled: false })).status).toBe(200)
  }
}, 90_000)
afterAll(async () => {
  await platform?.remove()
})

const instances = async () => (await platform.request('GET', `${API}/instances?target=market`)).json.data
const ready = async () => (await instances()).filter(({ state }: { state: string }) => state === 'ready').length
const wish = (target_instances: number, more = {}) =>
  platform.request('POST', `${API}/scale-manual`, { target_instances, ...more })

/** Asks the market again and again, as many users would, until `stop`. */
function users(count: number) {
  let going = true
  const failures: string[] = []
  let answered = 0
  const each = async () => {
    while (going) {
      try {
        const response = await fetch(`${platform.url}/api/v1/markets/?limit=1`)
        await response.text()
        answered++
        if (response.status !== 200) failures.push(`status ${response.status}`)
      } catch (error) {
        failures.push(String(error))
      }
      await sleep(5)
    }
  }
  const all = Array.from({ length: count }, each)
  return {
    async stop() {
      going = false
      await Promise.all(all)
      return { failures, answered }
    },
  }
}

describe('the market', () => {
  test('goes to three and back to one under load, and no request fails', async () => {
    expect((await wish(1, { hold_for: 600 })).status).toBe(200)
    await eventually(instances, (all) => all.length === 1 && all[0].state === 'ready', 60_000)
    const load = users(8)
    const up = await wish(3, { reason: 'a big evening', hold_for: 600 })
    expect([up.status, up.json.data]).toMatchObject([200, { target_instances: 3, previous_instances: 1 }])
    await eventually(ready, (count) => count === 3, 60_000)
    expect(platform.processes().filter(({ kind }) => kind === 'instance').length).toBe(3)
    await sleep(500)
    expect((await wish(1, { hold_for: 600 })).status).toBe(200)
    await eventually(instances, (all) => all.length === 1, 60_000)
    const { failures, answered } = await load.stop()
    expect(failures).toEqual([])
    expect(answered).toBeGreaterThan(50)
    const [last] = (await platform.request('GET', `${API}/decisions?target=market&only=changes&limit=1`)).json.data
    const done = await eventually(
      () => platform.request('GET', `${API}/decisions/${last.id}`),
      ({ json }) => json.data.status === 'done',
    )
    expect(done.json.data).toMatchObject({ action: 'scale_down', current_instances: 3, target_instances: 1 })
  }, 180_000)

  test('front keeps the number while control is away, and control finds it again', async () => {
    expect((await wish(2, { hold_for: 600 })).status).toBe(200)
    await eventually(ready, (count) => count === 2, 60_000)
    const before = platform.processes().filter(({ kind }) => kind === 'instance')
    const control = platform.processes().find(({ kind }) => kind === 'control')!
    process.kill(control.pid, 'SIGKILL')
    await eventually(ready, (count) => count === 2, 60_000)
    const after = platform.processes().filter(({ kind }) => kind === 'instance')
    expect(after.map(({ pid }) => pid).sort()).toEqual(before.map(({ pid }) => pid).sort())
    const { current_instances: current, target_instances: target } = (await platform.request('GET', `${API}/health`))
      .json.data
    expect([current, target]).toEqual([2, 2])
  }, 120_000)

  test('a policy grows it by its load, one step at a time', async () => {
    expect((await wish(1, { hold_for: 0 })).status).toBe(200)
    await eventually(instances, (all) => all.length === 1 && all[0].state === 'ready', 60_000)
    // One that never acted, also when this is run again: a policy that did would wait for the end of its cooldown.
    const name = `growth_${Date.now()}`
    const thresholds = { scale_up_threshold: 3, scale_down_threshold: 1 }
    const policy = { name, metric_name: 'throughput', ...thresholds, cooldown_period: 600 }
    const load = users(4)
    expect((await platform.request('POST', `${API}/policies`, policy)).status).toBe(201)
    const decision = await eventually(
      async () => (await platform.request('GET', `${API}/decisions?action=scale_up&limit=1`)).json.data[0],
      (one) => one?.policy === name,
      60_000,
    )
    expect(decision).toMatchObject({ current_instances: 1, target_instances: 2, trigger: 'reactive' })
    expect(decision.reason).toContain('application.requests_per_second')
    await eventually(ready, (count) => count === 2, 60_000)
    expect((await load.stop()).failures).toEqual([])
    const { policies } = (await platform.request('GET', `${API}/policies`)).json.data
    expect(policies[name].last_action_time).not.toBeNull()
    expect((await platform.request('DELETE', `${API}/policies/${name}`)).status).toBe(200)
  }, 180_000)

  test.each([
    ['a power cut', () => platform.kill()],
    ['an orderly stop', () => platform.stop()],
  ])(
    'after %s of everything there are as many as were last wanted',
    async (_, end) => {
      expect((await wish(3, { hold_for: 0 })).status).toBe(200)
      await eventually(ready, (count) => count === 3, 60_000)
      await end()
      platform = await start({ dir: platform.dir })
      await eventually(ready, (count) => count === 3, 60_000)
      const { current_instances: current, target_instances: target } = (await platform.request('GET', `${API}/health`))
        .json.data
      expect([current, target]).toEqual([3, 3])
    },
    180_000,
  )
})
