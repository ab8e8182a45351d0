/** The shell of scaling on a real database with a provider that does as it is told: what is written, sent, and sent again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { ConfigOf } from '../base/config-key.ts'
import { silentLog } from '../base/log.ts'
import { type FakeScheduler, fakeScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { HOUR, MINUTE, SECOND } from '../base/time.ts'
import { auditTable } from '../storage/audit.ts'
import { type Database, openDatabase } from '../storage/database.ts'
import { scalingKeys } from './config.ts'
import { type Driver, Fenced } from './drivers/driver.ts'
import { type ScalingEvent, startManager } from './manager.ts'
import type { InstanceView } from './model.ts'
import { openPolicies } from './policies.ts'
import { standingOf } from './schemas.ts'
import { openScalingStore } from './store.ts'
import { scalingTables } from './tables.ts'
import { parseTargets } from './targets.ts'

const defaults = Object.fromEntries(Object.entries(scalingKeys).map(([name, key]) => [name, key.fallback])) as ConfigOf<
  typeof scalingKeys
>
const [web] = parseTargets([
  { name: 'web', min_instances: 1, max_instances: 10, webhook: { url: 'https://example.org/' }, demand: 'rps' },
])

/** A provider: what it was told is there at once. */
function provider(ready = 1) {
  const told: { wanted: number; fence: number }[] = []
  const state = { ready, refuses: null as Error | null, silent: null as Error | null, conflict: null as string | null }
  const driver: Driver = {
    kind: 'webhook',
    async observe() {
      if (state.silent) throw state.silent
      const instances: InstanceView[] = []
      const { ready: count, conflict } = state
      return { at: 0, ready: count, starting: 0, draining: 0, wanted: count, instances, conflict, trouble: null }
    },
    async scale(wanted, fence) {
      if (state.refuses) throw state.refuses
      told.push({ wanted, fence })
      state.ready = wanted
    },
    async close() {},
  }
  return { driver, state, told }
}

const folders: string[] = []
const databases: Database[] = []
afterEach(() => {
  for (const db of databases.splice(0)) db.close()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

interface WorldOptions {
  path?: string
  scheduler?: FakeScheduler
  provider?: ReturnType<typeof provider>
  driver?: 'platform'
}

function world(options: WorldOptions = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'om-manager-'))
  folders.push(folder)
  const path = options.path ?? join(folder, 'ops.db')
  const db = openDatabase(path, { synchronous: 'NORMAL', migrations: [auditTable, scalingTables] })
  databases.push(db)
  const scheduler = options.scheduler ?? fakeScheduler()
  const store = openScalingStore(db)
  const policies = openPolicies(db, ['web'], 300, scheduler.clock.now())
  for (const { name } of policies.all()) if (name !== 'load') policies.remove(name, null, 'test', 0)
  if (!policies.get('load')) {
    policies.create(
      {
        name: 'load',
        target: 'web',
        metricName: 'rps',
        scaleUpThreshold: 100,
        scaleDownThreshold: 10,
        minInstances: 1,
        maxInstances: 10,
        cooldownPeriod: 300,
        enabled: true,
        breachFor: 0,
        clearFor: 0,
        maxStepUp: 1,
        maxStepDown: 1,
        predictive: 'off',
        onMissingMetric: 'hold',
        fallbackInstances: null,
        version: 1,
      },
      'test',
      scheduler.clock.now(),
    )
  }
  const metrics: { rps: number | null } = { rps: 50 }
  const limits: { maxInstances?: number } = {}
  const events: ScalingEvent[] = []
  const telemetry = createTelemetry()
  const made = options.provider ?? provider()
  const start = () =>
    startManager({
      store,
      policies,
      targets: [{ ...web!, driver: options.driver ?? web!.driver }],
      driver: () => made.driver,
      sources: {
        read: async (expr) => (expr === 'rps' ? metrics.rps : null),
        range: async () => [],
        forecast: () => [],
      },
      config: () => ({ ...defaults, ...limits }),
      scheduler,
      log: silentLog,
      telemetry,
      version: 'test',
      onEvent: (event) => events.push(event),
    })
  const figure = (name: string) =>
    telemetry
      .snapshot()
      .find((family) => family.name === name)
      ?.samples.reduce((sum, { value }) => sum + value, 0)
  const changes = () => store.decisions({ target: 'web', only: 'changes', limit: 100 })
  const parts = { path, db, scheduler, store, policies, metrics, limits, events, telemetry }
  return { ...parts, start, provider: made, figure, changes }
}

describe('a cycle', () => {
  test('decides, writes down, acts, and begins the cooldown', async () => {
    const { scheduler, metrics, start, provider: made, changes, events, store } = world()
    metrics.rps = 150
    const manager = start()
    await scheduler.run(2 * SECOND)
    expect(made.told).toEqual([{ wanted: 2, fence: 1 }])
    const [first] = changes()
    expect(first!.decision).toMatchObject({ action: 'scale_up', current: 1, wanted: 2, by: 'load' })
    expect(first!.observation).toMatchObject({ ready: 1, demand: 150, cpu: null })
    expect(first!.policies).toEqual({ load: 1 })
    expect(first!.steps.map(({ status }) => status)).toEqual(['planned', 'executing', 'done'])
    expect(events.map(({ action }) => action)).toEqual(['grows to 2'])
    await scheduler.run(4 * MINUTE)
    expect(made.told.length).toBe(1)
    const held = store.decisions({ only: 'held', limit: 1 })[0]!
    expect(held.decision.held[0]).toMatchObject({ constraint: 'cooldown', from: 3, to: 2 })
    expect(standingOf(held).status).toBe('suppressed')
    await scheduler.run(2 * MINUTE)
    expect(made.told.map(({ wanted }) => wanted)).toEqual([2, 3])
    await manager.close()
  })

  test('without a fresh sample it holds', async () => {
    const { scheduler, metrics, start, provider: made, changes } = world({ provider: provider(4) })
    metrics.rps = null
    const manager = start()
    await scheduler.run(HOUR)
    expect([made.told, changes()]).toEqual([[], []])
    await manager.close()
  })

  test('stopped, nothing is evaluated; it stays so for the next control', async () => {
    const { scheduler, metrics, start, provider: made, store } = world()
    metrics.rps = 150
    const manager = start()
    expect(await manager.setActive(false)).toBe(true)
    expect(await manager.setActive(false)).toBe(false)
    await scheduler.run(HOUR)
    await manager.close()
    const next = start()
    await scheduler.run(HOUR)
    expect([next.active, made.told, store.decisions({ limit: 10 })]).toEqual([false, [], []])
    await next.close()
  })
})

describe('a provider that fails', () => {
  test('does not take it: failed, tried again with back-off, no cooldown, then done', async () => {
    const { scheduler, metrics, start, provider: made, changes, events, figure, store } = world()
    metrics.rps = 150
    made.state.refuses = new Error('quota is used up')
    const manager = start()
    await scheduler.run(20 * SECOND)
    const failed = changes()[0]!
    // At once, after 1, 3, 7 and 15 s.
    expect(failed.steps.map(({ status }) => status)).toEqual([
      'planned',
      'failed',
      'failed',
      'failed',
      'failed',
      'failed',
    ])
    expect(standingOf(failed)).toMatchObject({ status: 'failed', error: 'quota is used up', executedAt: null })
    expect(store.target('web').state.lastAction).toBeNull()
    expect(figure('scaling_actions_failed_total')).toBe(5)
    expect(figure('scaling_driver_failing')).toBe(1)
    expect(events.filter(({ action }) => action === 'could not be scaled').length).toBe(1)
    expect(manager.view('web').problem).toMatch(/failed/)
    made.state.refuses = null
    await scheduler.run(15 * SECOND)
    expect(made.told).toEqual([{ wanted: 2, fence: 1 }])
    expect(standingOf(changes()[0]!).status).toBe('done')
    expect(store.target('web').state.lastAction?.action).toBe('scale_up')
    expect(figure('scaling_driver_failing')).toBe(0)
    expect(store.figures('web', 0)).toMatchObject({ taken: 1, successful: 1, failed: 0 })
    expect(store.figures(null, 0)).toMatchObject({ taken: 1, successful: 1 })
    expect(store.figures('another', 0)).toMatchObject({ taken: 0, averageMs: null })
    await manager.close()
  })

  test('what is not wanted any more is not sent any more', async () => {
    const { scheduler, metrics, start, provider: made, changes } = world()
    metrics.rps = 150
    made.state.refuses = new Error('not now')
    const manager = start()
    await scheduler.run(10 * SECOND)
    metrics.rps = 50
    await scheduler.run(2 * MINUTE)
    made.state.refuses = null
    await scheduler.run(10 * MINUTE)
    expect(made.told).toEqual([])
    expect(standingOf(changes().at(-1)!).status).toBe('suppressed')
    await manager.close()
  })

  test('takes what is asked and nothing gets ready: it is said, and ends by itself', async () => {
    const { scheduler, metrics, start, provider: made, figure, events } = world()
    const { observe } = made.driver
    Object.assign(made.driver, {
      observe: async () => ({ ...(await observe.call(made.driver)), ready: Math.min(1, made.state.ready) }),
    })
    const manager = start()
    await scheduler.run(MINUTE)
    metrics.rps = 150
    await scheduler.run(4 * MINUTE)
    metrics.rps = 50
    expect([made.told.at(-1)?.wanted, manager.view('web').problem]).toEqual([2, null])
    await scheduler.run(3 * MINUTE)
    expect(manager.view('web').problem).toMatch(/^2 are wanted, 1 ready, and none got ready since \d{4}-/)
    expect(figure('scaling_driver_failing')).toBe(1)
    Object.assign(made.driver, { observe })
    await scheduler.run(MINUTE)
    expect([manager.view('web').problem, figure('scaling_driver_failing')]).toEqual([null, 0])
    expect(events.filter(({ action }) => action === 'has fewer than it wants').length).toBe(1)
    await manager.close()
  })

  test('does not answer: nothing is decided, it is counted, said once, and goes on by itself', async () => {
    const { scheduler, metrics, start, provider: made, figure, events, store } = world()
    metrics.rps = 150
    made.state.silent = new Error('connection refused')
    const manager = start()
    await scheduler.run(5 * MINUTE)
    expect(store.decisions({ limit: 10 })).toEqual([])
    expect(figure('scaling_driver_errors_total')).toBeGreaterThanOrEqual(5)
    expect(events.map(({ detail }) => detail)).toEqual(['connection refused'])
    made.state.silent = null
    await scheduler.run(2 * MINUTE)
    expect(made.told.length).toBe(1)
    await manager.close()
  })

  test('is held by somebody else: the target is left alone, and the decision says who', async () => {
    const { scheduler, metrics, start, provider: made, store } = world()
    metrics.rps = 150
    made.state.conflict = 'an HPA also scales it'
    const manager = start()
    await scheduler.run(MINUTE)
    expect(made.told).toEqual([])
    const { decision } = store.lastDecision('web')!
    expect(decision).toMatchObject({ action: 'maintain', wanted: 1 })
    expect(decision.held.at(-1)).toMatchObject({
      constraint: 'driver',
      detail: 'an HPA also scales it',
      from: 2,
      to: 1,
    })
    await manager.close()
  })

  test('is held by somebody else: a person is told as well, and nothing is changed', async () => {
    const { scheduler, start, provider: made, store } = world()
    made.state.conflict = 'an HPA also scales it'
    const manager = start()
    await scheduler.run(SECOND)
    await manager.refresh('web')
    const wish = { target: 'web', wanted: 3, reason: 'a game', holdMs: MINUTE, by: 'mira' }
    expect(() => manager.manual(wish)).toThrow(/^An HPA also scales it\.$/)
    expect([made.told, store.hold('web', scheduler.clock.now())]).toEqual([[], null])
    await manager.close()
  })

  test('is slow: the other targets are evaluated as ever', async () => {
    const { scheduler, store, policies, telemetry } = world()
    const never = new Promise<never>(() => {})
    const hanging: Driver = { ...provider().driver, observe: () => never, close: async () => {} }
    startManager({
      store,
      policies,
      targets: [web!, { ...web!, name: 'hanging' }],
      driver: ({ name }) => (name === 'web' ? provider().driver : hanging),
      sources: { read: async () => 50, range: async () => [], forecast: () => [] },
      config: () => defaults,
      scheduler,
      log: silentLog,
      telemetry,
      version: 'test',
      onEvent: () => {},
    })
    // Time moves although a cycle never ends: what is due is not waited for.
    for (let i = 0; i < 600; i++) {
      void scheduler.run(SECOND)
      await new Promise((done) => setImmediate(done))
    }
    expect(store.decisions({ target: 'web', limit: 100 }).length).toBeGreaterThanOrEqual(9)
    expect(store.decisions({ target: 'hanging', limit: 100 })).toEqual([])
  })

  test('has seen a newer owner: this one stops trying', async () => {
    const { scheduler, metrics, start, provider: made } = world()
    metrics.rps = 150
    let tries = 0
    Object.assign(made.driver, {
      async scale(_wanted: number, fence: number) {
        tries++
        throw new Fenced(9, fence)
      },
    })
    const manager = start()
    await scheduler.run(30 * SECOND)
    expect(tries).toBe(1)
    await manager.close()
  })
})

describe('a control that was killed', () => {
  test('between writing down and acting: the next one sends it, with a larger fence', async () => {
    const first = world()
    first.metrics.rps = 150
    first.provider.state.refuses = new Error('killed before it was sent')
    const gone = first.start()
    await first.scheduler.run(500)
    await gone.close()
    const [decision] = first.changes()
    expect(first.store.target('web')).toMatchObject({ wanted: 2, settled: false, decision: decision!.id })
    const healthy = provider()
    const next = world({ path: first.path, scheduler: first.scheduler, provider: healthy })
    next.metrics.rps = 50
    next.store.setActive(false)
    const manager = next.start()
    await first.scheduler.run(5 * SECOND)
    expect(healthy.told).toEqual([{ wanted: 2, fence: 2 }])
    expect(standingOf(next.store.decision(decision!.id)!).executedAt).not.toBeNull()
    await manager.close()
  })

  test('after acting: nothing is sent again, and the end of the action is seen', async () => {
    const slow = provider()
    Object.assign(slow.driver, {
      async scale(wanted: number, fence: number) {
        slow.told.push({ wanted, fence })
      },
    })
    const first = world({ provider: slow })
    first.metrics.rps = 150
    const gone = first.start()
    await first.scheduler.run(3 * SECOND)
    await gone.close()
    expect(standingOf(first.changes()[0]!).status).toBe('executing')
    const next = world({ path: first.path, scheduler: first.scheduler, provider: slow })
    next.store.setActive(false)
    const manager = next.start()
    await first.scheduler.run(3 * SECOND)
    slow.state.ready = 2
    await first.scheduler.run(3 * SECOND)
    expect(slow.told.length).toBe(1)
    expect(standingOf(next.changes()[0]!).status).toBe('done')
    await manager.close()
  })
})

describe('after a restart of everything', () => {
  /** Front: it keeps one until it is told, and answers only some time after its start. */
  function front() {
    const made = provider()
    const { driver } = made
    const { observe } = driver
    const answers = { after: 2 }
    Object.assign(driver, {
      async observe() {
        if (answers.after-- > 0) throw new Error('front has not told yet')
        return { ...(await observe.call(driver)), wanted: made.told.at(-1)?.wanted ?? null }
      },
    })
    return made
  }

  async function lived(rps: number, wanted: number) {
    const first = world({ driver: 'platform', provider: front() })
    first.metrics.rps = rps
    const gone = first.start()
    await first.scheduler.run(5 * SECOND)
    await gone.refresh('web')
    gone.manual({ target: 'web', wanted, reason: 'a game', holdMs: 0, by: 'mira' })
    await first.scheduler.run(3 * SECOND)
    await gone.close()
    expect(first.provider.state.ready).toBe(wanted)
    return first
  }

  test.each([true, false])('front is told the last number wanted again, once (scaling on: %s)', async (active) => {
    const { path, scheduler } = await lived(50, 3)
    const next = world({ path, scheduler, driver: 'platform', provider: front() })
    next.store.setActive(active)
    const manager = next.start()
    await scheduler.run(5 * MINUTE)
    expect(next.provider.told).toEqual([{ wanted: 3, fence: 2 }])
    expect(manager.view('web')).toMatchObject({ wanted: 3, observed: { ready: 3 } })
    expect(next.changes().length).toBe(1)
    await manager.close()
  })

  test('never more than what is allowed by now', async () => {
    const { path, scheduler } = await lived(50, 8)
    const next = world({ path, scheduler, driver: 'platform', provider: front() })
    next.limits.maxInstances = 5
    const manager = next.start()
    await scheduler.run(MINUTE)
    expect(next.provider.told[0]).toEqual({ wanted: 5, fence: 2 })
    await manager.close()
  })

  test('a front that does not take it is asked again', async () => {
    const { path, scheduler } = await lived(50, 3)
    const next = world({ path, scheduler, driver: 'platform', provider: front() })
    next.provider.state.refuses = new Error('busy')
    const manager = next.start()
    await scheduler.run(10 * SECOND)
    expect(next.provider.told).toEqual([])
    expect(manager.view('web').problem).toMatch(/tries to scale it failed/)
    next.provider.state.refuses = null
    await scheduler.run(20 * SECOND)
    expect(next.provider.told).toEqual([{ wanted: 3, fence: 2 }])
    expect(manager.view('web').problem).toBeNull()
    await manager.close()
  })

  test('how a metric stood before does not count for the time in which nobody looked', async () => {
    const first = world()
    first.policies.change('load', { clearFor: 300 }, null, 'test', 0)
    first.metrics.rps = 50
    first.provider.state.ready = 4
    const gone = first.start()
    await first.scheduler.run(5 * SECOND)
    first.metrics.rps = 5
    await first.scheduler.run(3 * MINUTE)
    await gone.close()
    expect(first.provider.told).toEqual([])
    const { path, scheduler } = first
    await scheduler.run(30 * MINUTE)
    const next = world({ path, scheduler, provider: first.provider })
    next.metrics.rps = 5
    const manager = next.start()
    await scheduler.run(5 * SECOND)
    const [held] = next.store.decisions({ target: 'web', limit: 1 })[0]!.decision.held
    expect(held).toMatchObject({ constraint: 'stabilization', detail: 'load below for 0 s of 300 s' })
    await scheduler.run(10 * MINUTE)
    expect(first.provider.told[0]).toMatchObject({ wanted: 3 })
    await manager.close()
  })

  test('where nobody ever wanted any, front keeps its own number', async () => {
    const { scheduler, start, provider: made } = world({ driver: 'platform', provider: front() })
    const manager = start()
    await scheduler.run(5 * MINUTE)
    expect(made.told).toEqual([])
    await manager.close()
  })
})

test('an action that another one supersedes before all were ready was not a success', async () => {
  const slow = provider()
  Object.assign(slow.driver, {
    async scale(wanted: number, fence: number) {
      slow.told.push({ wanted, fence })
    },
  })
  const { scheduler, metrics, start, store, changes } = world({ provider: slow })
  metrics.rps = 150
  const manager = start()
  await scheduler.run(3 * SECOND)
  expect(store.figures('web', 0)).toMatchObject({ taken: 1, successful: 0, failed: 0 })
  await manager.refresh('web')
  manager.manual({ target: 'web', wanted: 4, reason: 'a game', holdMs: 10 * MINUTE, by: 'mira' })
  await scheduler.run(20 * SECOND)
  slow.state.ready = 4
  await scheduler.run(5 * SECOND)
  const [second, first] = changes()
  expect(standingOf(first!)).toMatchObject({ status: 'suppressed', readyAt: null, error: null })
  expect(first!.steps.at(-1)!.detail).toBe(`superseded by ${second!.id} before all were ready`)
  expect(standingOf(second!).status).toBe('done')
  expect(store.figures('web', 0)).toMatchObject({ taken: 2, successful: 1, failed: 0 })
  await manager.close()
})

describe('a person', () => {
  const manual = { target: 'web', wanted: 5, reason: 'a game', holdMs: 10 * MINUTE, by: 'mira' }

  test('says how many: it is so, and policies do not undo it while it is held', async () => {
    const { scheduler, metrics, start, provider: made, changes } = world()
    metrics.rps = 5
    const manager = start()
    await scheduler.run(SECOND)
    await manager.refresh('web')
    expect(manager.manual(manual)).toMatchObject({ previous: 1, status: 'executing' })
    await scheduler.run(9 * MINUTE)
    expect(made.state.ready).toBe(5)
    expect(changes()[0]!.decision).toMatchObject({ trigger: 'manual', by: 'mira', confidence: 1 })
    await scheduler.run(20 * MINUTE)
    expect(made.state.ready).toBeLessThan(5)
    await manager.close()
  })

  test('pauses: nothing is scaled until it is over, but what is set by hand', async () => {
    const { scheduler, metrics, start, provider: made } = world()
    metrics.rps = 150
    const manager = start()
    manager.pause(null, { until: scheduler.clock.now() + 30 * MINUTE, by: 'mira', reason: 'a deployment' })
    await scheduler.run(20 * MINUTE)
    expect(made.told).toEqual([])
    await manager.refresh('web')
    manager.manual({ ...manual, wanted: 3, holdMs: 0 })
    await scheduler.run(2 * MINUTE)
    expect(made.told.map(({ wanted }) => wanted)).toEqual([3])
    await scheduler.run(20 * MINUTE)
    expect(made.told.length).toBeGreaterThan(1)
    await manager.close()
  })
})

test('hours are counted while they are seen, beside those of the maximum', async () => {
  const { scheduler, start, store, provider: made } = world({ provider: provider(2) })
  const manager = start()
  await scheduler.run(2 * HOUR)
  made.state.silent = new Error('away')
  await scheduler.run(2 * HOUR)
  const { instanceHours, maximumHours, seenHours } = store.usage('web', 0, scheduler.clock.now() + HOUR)
  expect(seenHours).toBeGreaterThan(1.9)
  expect(seenHours).toBeLessThan(2.1)
  expect(instanceHours / seenHours).toBeCloseTo(2, 1)
  expect(maximumHours / seenHours).toBeCloseTo(10, 1)
  await manager.close()
})

test('hours are answered as they are counted, and written once a minute and at the end', async () => {
  const { path, scheduler, start, store } = world({ driver: 'platform', provider: provider(2) })
  const onDisk = () => {
    const db = openDatabase(path, { synchronous: 'NORMAL', migrations: [auditTable, scalingTables] })
    databases.push(db)
    return openScalingStore(db).usage('web', 0, scheduler.clock.now() + HOUR).seenHours
  }
  const counted = () => store.usage('web', 0, scheduler.clock.now() + HOUR).seenHours
  const manager = start()
  await scheduler.run(100 * SECOND)
  expect(counted() * 3600).toBeCloseTo(100, -1)
  expect([onDisk() < counted(), onDisk() > 0]).toEqual([true, true])
  await manager.close()
  expect([onDisk(), counted()]).toEqual([counted(), counted()])
})

test('old decisions are forgotten: those that changed nothing first', async () => {
  const { scheduler, metrics, start, store } = world()
  metrics.rps = 150
  const manager = start()
  await scheduler.run(10 * MINUTE)
  await manager.setActive(false)
  const changes = store.decisions({ only: 'changes', limit: 100 }).length
  expect(store.decisions({ limit: 1000 }).length).toBeGreaterThan(changes)
  await scheduler.run(8 * 24 * HOUR)
  expect(store.decisions({ limit: 1000 }).length).toBe(changes)
  expect(store.decisions({ limit: 1000 }).every(({ steps }) => steps.length > 0)).toBe(true)
  await manager.close()
})
