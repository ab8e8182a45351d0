/**
 * Section 4 of the contract over the running platform: policies and their versions, what is refused and with which
 * words, acting by hand, pauses, what stays after a kill.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Answer, eventually } from '../support/platform.ts'
import { startWorld, type World } from '../support/scaling/world.ts'

let world: World

beforeAll(async () => {
  world = await startWorld({
    workers: 2,
    serviceMs: 20,
    startMs: 0,
    evaluationSeconds: 1,
    maxInstances: 5,
    policies: [],
    ...(process.env.OM_TEST_MAIN ? { platform: { main: process.env.OM_TEST_MAIN } } : {}),
  })
  await eventually(
    () => world.counts(),
    ({ ready, wanted }) => ready === 1 && wanted === 1,
    30_000,
  )
}, 90_000)
afterAll(async () => {
  await world?.remove()
})

const get = (path: string) => world.api('GET', path)
const post = (path: string, body: unknown = {}) => world.api('POST', path, body)
const send = (method: string, path: string, body: unknown, headers: Record<string, string>) =>
  world.platform.request(method, `/api/v1/auto-scaling${path}`, body, headers)
const refused = ({ status, json }: Answer) => [
  status,
  json.error.code,
  json.error.fields.map((f: { path: string }) => f.path),
]
const queue = {
  name: 'queue',
  target: 'web',
  metric_name: 'queue_length',
  scale_up_threshold: 100,
  scale_down_threshold: 10,
}

describe('policies', () => {
  test('four are there from the start, with the limits of the contract', async () => {
    const { policies, total_policies: total } = (await get('/policies')).json.data
    expect(total).toBe(4)
    const limits = Object.values(policies as Record<string, Record<string, unknown>>).map((p) => [
      p.name,
      p.metric_name,
      p.scale_up_threshold,
      p.scale_down_threshold,
      p.min_instances,
      p.max_instances,
      p.cooldown_period,
    ])
    expect(limits).toEqual([
      ['cpu_scaling', 'system.cpu_usage', 80, 30, 1, 10, 300],
      ['memory_scaling', 'system.memory_usage', 85, 40, 1, 10, 300],
      ['response_time_scaling', 'application.api_response_time', 100, 50, 1, 10, 300],
      ['throughput_scaling', 'application.requests_per_second', 1000, 500, 1, 10, 300],
    ])
    expect(policies.cpu_scaling).toMatchObject({
      enabled: true,
      breach_for: 0,
      clear_for: 300,
      max_step_up: '50%',
      max_step_down: '50%',
      predictive: 'forecast_only',
      on_missing_metric: 'hold',
      last_action_time: null,
    })
  })

  test('is made, found by its alias, changed under If-Match, deleted; versions stay', async () => {
    const name = `queue_${Date.now()}`
    const path = `/policies/${name}`
    const made = await post('/policies', { ...queue, name, metric_name: 'cpu_usage' })
    expect([made.status, made.json.data.metric_name, made.headers.get('etag')]).toEqual([
      201,
      'system.cpu_usage',
      '"1"',
    ])
    expect(refused(await post('/policies', { ...queue, name }))).toEqual([409, 'policy_exists', []])
    const changed = await send('PUT', path, { scale_up_threshold: 90 }, { 'if-match': '"1"' })
    expect([changed.status, changed.json.data.version]).toEqual([200, 2])
    const stale = await send('PUT', path, { scale_up_threshold: 95 }, { 'if-match': '"1"' })
    expect([stale.status, stale.json.error.code]).toEqual([412, 'version_stale'])
    expect((await send('DELETE', path, undefined, { 'if-match': '"1"' })).status).toBe(412)
    expect((await world.api('DELETE', path)).status).toBe(200)
    expect(refused(await world.api('DELETE', path))).toEqual([404, 'policy_not_found', []])
    const { versions } = (await get(`${path}/versions`)).json.data
    expect(versions.map((v: { version: number; policy: unknown }) => [v.version, v.policy === null])).toEqual([
      [3, true],
      [2, false],
      [1, false],
    ])
  })

  test.each([
    ['up not above down', { scale_up_threshold: 10 }, 'scale_up_threshold'],
    ['fewest above most', { min_instances: 4, max_instances: 3 }, 'max_instances'],
    ['no such target', { target: 'nowhere' }, 'target'],
    ['a step of nothing', { max_step_up: '0%' }, 'max_step_up'],
    ['a fallback without its number', { on_missing_metric: 'fallback' }, 'fallback_instances'],
    ['an unknown field', { treshold: 3 }, 'treshold'],
    ['a threshold that is text', { scale_up_threshold: '80' }, 'scale_up_threshold'],
    ['a name with capitals', { name: 'Queue' }, 'name'],
    ['a negative minimum', { min_instances: -1 }, 'min_instances'],
  ])('%s is refused', async (_, patch, path) => {
    const [status, code, paths] = refused(await post('/policies', { ...queue, ...patch }))
    expect([status, code]).toEqual([422, 'validation_failed'])
    expect(paths).toContain(path)
  })

  test('a maximum above the global one is taken', async () => {
    const name = `wide_${Date.now()}`
    const made = await post('/policies', { ...queue, name, max_instances: 900 })
    expect([made.status, made.json.data.max_instances]).toEqual([201, 900])
    await world.api('DELETE', `/policies/${name}`)
  })
})

describe('by hand', () => {
  test('goes where it is told, holds it, and says what it did', async () => {
    await post('/scale-manual', { target: 'web', target_instances: 1, hold_for: 600 })
    await eventually(
      () => world.counts(),
      ({ ready, draining }) => ready === 1 && draining === 0,
      30_000,
    )
    const answer = await post('/scale-manual', { target: 'web', target_instances: 3, reason: 'a game', hold_for: 600 })
    expect([answer.status, answer.json.data]).toMatchObject([
      200,
      { target_instances: 3, previous_instances: 1, reason: 'a game', state: 'executing', action: 'scale_up' },
    ])
    await eventually(
      () => world.counts(),
      ({ ready }) => ready === 3,
      30_000,
    )
    const trace = await eventually(
      () => get(`/decisions/${answer.json.data.decision_id}`),
      ({ json }) => json.data.status === 'done',
      30_000,
    )
    expect(trace.json.data).toMatchObject({ trigger: 'manual', confidence: 1, error: null, grade: null })
    expect(trace.json.data.ready_at).not.toBeNull()
    const same = await post('/scale-manual', { target: 'web', target_instances: 3 })
    expect([same.status, same.json.data.action]).toEqual([200, 'maintain'])
    const { hold } = (await get('/summary?target=web')).json.data
    expect(hold).toMatchObject({ target_instances: 3 })
  })

  test.each([
    ['more than the limit', { target_instances: 6 }],
    ['nothing, where that is not allowed', { target_instances: 0 }],
    ['half an instance', { target_instances: 1.5 }],
  ])('%s is refused', async (_, body) => {
    const [status, , paths] = refused(await post('/scale-manual', { target: 'web', ...body }))
    expect([status, paths]).toEqual([422, ['target_instances']])
  })

  test('the same key gives the same answer, and acts once', async () => {
    const key = { 'idempotency-key': 'manual-1' }
    const body = { target: 'web', target_instances: 2, hold_for: 600 }
    const first = await send('POST', '/scale-manual', body, key)
    const second = await send('POST', '/scale-manual', body, key)
    expect(second.json.data).toEqual(first.json.data)
    expect((await send('POST', '/scale-manual', { ...body, target_instances: 4 }, key)).status).toBe(409)
    await eventually(
      () => world.counts(),
      ({ ready, draining }) => ready === 2 && draining === 0,
      20_000,
    )
  })
})

describe('switches', () => {
  test('start and stop say whether they changed anything; it stays off over a kill', async () => {
    await post('/start-scaling')
    expect((await post('/start-scaling')).json.data.changed).toBe(false)
    expect((await post('/stop-scaling')).json.data.changed).toBe(true)
    expect((await post('/stop-scaling')).json.data.changed).toBe(false)
    expect((await get('/health')).json.data.status).toBe('inactive')
    expect(refused(await post('/evaluate-scaling'))).toEqual([409, 'scaling_inactive', []])
    const dry = await post('/evaluate-scaling', { dry_run: true })
    expect(dry.json.data.map((d: { target: string; id: null }) => [d.target, d.id])).toContainEqual(['web', null])
    const control = world.platform.processes().find(({ kind }) => kind === 'control')!
    process.kill(control.pid, 'SIGKILL')
    const health = await eventually(
      () => get('/health'),
      ({ status }) => status === 200,
      30_000,
    )
    expect(health.json.data.scaling_active).toBe(false)
    // What was set before the kill is there, and so are the instances.
    expect((await get('/summary?target=web')).json.data.hold).toMatchObject({ target_instances: 2 })
    await eventually(
      () => world.counts(),
      ({ ready }) => ready === 2,
      20_000,
    )
    expect((await post('/start-scaling')).json.data.changed).toBe(true)
  })

  test('an evaluation that is asked for again under its key is the same one', async () => {
    await post('/start-scaling')
    const key = { 'idempotency-key': `evaluate-${Date.now()}` }
    const evaluate = (body: object) => send('POST', '/evaluate-scaling', body, key)
    const ids = ({ json }: Answer) => json.data.map((d: { id: string }) => d.id)
    const [first, second] = await Promise.all([evaluate({}), evaluate({})])
    expect(ids(first).length).toBeGreaterThan(0)
    expect([ids(second), ids(await evaluate({}))]).toEqual([ids(first), ids(first)])
    expect((await evaluate({ dry_run: true })).status).toBe(409)
  })

  test('a pause wants a reason and a time to come', async () => {
    expect(refused(await post('/pause'))).toEqual([422, 'validation_failed', ['reason']])
    const past = { reason: 'x', until: '2020-01-01T00:00:00Z' }
    expect(refused(await post('/pause', past))).toEqual([422, 'validation_failed', ['until']])
    const wrong = await post('/pause', { reason: 'x', until: 'tomorrow' })
    expect([wrong.status, wrong.json.error.fields]).toEqual([
      422,
      [{ path: 'until', message: 'expected a time such as 2026-01-05T09:41:02Z or null' }],
    ])
    expect((await post('/pause', { reason: 'a deployment' })).status).toBe(200)
    expect((await get('/summary?target=web')).json.data.pause).toMatchObject({ reason: 'a deployment', until: null })
    expect((await post('/resume')).status).toBe(200)
    expect((await get('/summary?target=web')).json.data.pause).toBeNull()
  })
})

describe('reading', () => {
  test('decisions come newest first, page by page', async () => {
    const first = await get('/decisions?limit=2')
    expect(first.json.data.length).toBe(2)
    const cursor = first.headers.get('x-next-cursor')
    const second = await get(`/decisions?limit=2&cursor=${cursor}`)
    const times = [...first.json.data, ...second.json.data].map((d: { created_at: string }) => d.created_at)
    expect(times).toEqual([...times].sort().reverse())
    expect(new Set([...first.json.data, ...second.json.data].map((d: { id: string }) => d.id)).size).toBe(4)
    const ups = (await get('/decisions?action=scale_up')).json.data
    expect(ups.every((d: { action: string }) => d.action === 'scale_up')).toBe(true)
    expect((await get('/decisions?action=sideways')).status).toBe(422)
    expect((await get('/decisions/nothing')).status).toBe(404)
  })

  test('instances are those that run', async () => {
    const rows = await eventually(
      async () => (await get('/instances?target=web')).json.data,
      (all) => all.length === 2 && all.every(({ state }: { state: string }) => state === 'ready'),
      30_000,
    )
    expect(rows.map((r: { state: string; provider: string }) => [r.state, r.provider])).toEqual([
      ['ready', 'process'],
      ['ready', 'process'],
    ])
    expect(refused(await get('/instances?target=nowhere'))).toEqual([422, 'validation_failed', ['target']])
  })

  test('summary, metrics, recommendations and timeline have what the pages need', async () => {
    const summary = (await get('/summary')).json.data
    expect(summary.config).toMatchObject({
      default_min_instances: 1,
      default_max_instances: 5,
      default_cooldown: 300,
      scaling_factor: 0.5,
      prediction_horizon: 300,
      confidence_threshold: 0.7,
    })
    expect([summary.currency, summary.price_per_instance_hour, summary.metrics.cost_savings]).toEqual([
      null,
      null,
      null,
    ])
    expect(summary.targets.map((t: { name: string }) => t.name)).toEqual(['market', 'web'])
    expect((await get('/metrics')).json.data.successful_scales).toBeGreaterThanOrEqual(2)
    expect((await get('/recommendations?target=web')).json.data).toMatchObject({ current_instances: 2 })
    const timeline = (await get('/timeline?target=web')).json.data
    expect(timeline.points.length).toBeGreaterThan(10)
    expect(refused(await get('/timeline?step=1&since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z'))).toEqual([
      422,
      'validation_failed',
      ['step'],
    ])
  })

  test('a simulation says what it would have done, or that the history does not tell', async () => {
    const policy = { ...queue, name: 'not-stored' }
    const before = { since: '2020-01-01T00:00:00Z', until: '2020-01-02T00:00:00Z' }
    const empty = await post('/policies/simulate', { policy, ...before })
    expect([empty.status, empty.json.error.code]).toEqual([409, 'history_insufficient'])
    expect(refused(await post('/policies/simulate', { policy: { name: 'x' } }))[0]).toBe(422)
    // An hour of a service of 100 requests/s an instance, as it would have been stored.
    const at = (i: number) => new Date(Date.now() - (240 - i) * 15_000).toISOString()
    const demand = (i: number) => 60 + 120 * Math.max(0, Math.sin(i / 40))
    const points = Array.from({ length: 240 }, (_, i) => [
      { metric_name: 'web_requests_per_second', value: demand(i), timestamp: at(i) },
      { metric_name: 'web_cpu_usage', value: Math.min(100, demand(i) / 3), timestamp: at(i) },
      { metric_name: 'web_response_time', value: demand(i) > 270 ? 400 : 40, timestamp: at(i) },
      {
        metric_name: 'scaling_instances_ready',
        value: 3,
        timestamp: at(i),
        labels: { service: 'opinion-market', target: 'web' },
      },
    ]).flat()
    await world.platform.request('POST', '/api/v1/advanced-analytics/data-points', points)
    const answer = await post('/policies/simulate', {
      policy: {
        ...queue,
        metric_name: 'web_requests_per_second',
        scale_up_threshold: 90,
        scale_down_threshold: 40,
        cooldown_period: 60,
      },
      since: at(0),
    })
    expect([answer.status, answer.text.slice(0, 300)]).toEqual([200, expect.any(String)])
    const { data } = answer.json
    expect(data.steps).toBeGreaterThan(100)
    expect(data.total_decisions).toBeGreaterThan(0)
    expect(data.instance_hours).toBeGreaterThan(0)
    expect(data.optimum.cost).toBeLessThanOrEqual(data.policy.cost)
    expect(data.points.length).toBeGreaterThan(50)
  })
})
