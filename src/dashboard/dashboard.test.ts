import { describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { fakeScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { HOUR, MINUTE, SECOND } from '../base/time.ts'
import { dashboardKeys } from './config.ts'
import { createDashboard } from './dashboard.ts'
import type { ClientSocket } from './hub.ts'
import type { ServerMessage, Snapshot, Update } from './protocol.ts'
import type { DashboardSources } from './sources.ts'

const START = Date.UTC(2026, 0, 30, 9, 42, 14)
const config = Object.fromEntries(Object.entries(dashboardKeys).map(([name, key]) => [name, key.fallback])) as never

/** A store in which CPU was sampled every 5 s for a day, and how often it was asked. */
function started() {
  const scheduler = fakeScheduler(START)
  const asked = { latest: 0, range: 0 }
  const store = { fails: false, hangs: false }
  const cpu = (at: number) => (at > START - 5 * MINUTE ? 60 : 30)
  const sources: DashboardSources = {
    async latest() {
      asked.latest++
      if (store.fails) throw new Error('the store is gone')
      const at = Math.floor(scheduler.clock.now() / 5000) * 5000
      return new Map([['system.cpu_usage', { at, value: cpu(at) }]])
    },
    async range(name, from, to, stepMs) {
      asked.range++
      if (store.fails) throw new Error('the store is gone')
      if (store.hangs) await new Promise(() => {})
      const times: number[] = []
      if (name === 'system.cpu_usage') {
        for (let at = Math.ceil(from / stepMs) * stepMs; at <= to; at += stepMs) times.push(at)
      }
      return { times, values: times.map(cpu) }
    },
    processes: () => [],
    events: (since, until) =>
      [
        { at: START - MINUTE, type: 'process', subject: 'control', action: 'restarting', detail: 'exit 1' },
        { at: START - MINUTE + 1, type: 'process', subject: 'control', action: 'ready', detail: 'after 1 s' },
      ].filter((e) => e.at >= since && e.at <= until),
    intervalMs: () => 5 * SECOND,
  }
  const dashboard = createDashboard({
    sources,
    scheduler,
    config: () => config,
    log: silentLog,
    telemetry: createTelemetry(),
  })
  return { dashboard, scheduler, asked, store }
}

function client() {
  const got: ServerMessage[] = []
  const ends: (() => void)[] = []
  const closed: number[] = []
  const socket: ClientSocket = {
    send: (text) => void got.push(JSON.parse(text)),
    close(code) {
      closed.push(code)
      for (const end of ends) end()
    },
    bufferedAmount: 0,
    on(event: 'message' | 'close', listener: (data: Uint8Array) => void) {
      if (event === 'close') ends.push(() => listener(new Uint8Array()))
    },
  }
  return { socket, got, closed, leaves: () => ends.forEach((end) => void end()) }
}

/** Fake time in small steps, so that what waits for an answer gets its turn. */
async function pass(scheduler: ReturnType<typeof fakeScheduler>, ms: number) {
  for (let left = ms; left > 0; left -= 100) {
    await scheduler.run(Math.min(100, left))
    await new Promise((done) => setImmediate(done))
  }
}

describe('the running dashboard', () => {
  test('reads nothing while nobody looks, before and after', async () => {
    const { dashboard, scheduler, asked } = started()
    await pass(scheduler, MINUTE)
    expect(asked).toEqual({ latest: 0, range: 0 })
    const a = client()
    dashboard.connect(a.socket, '3h')
    await pass(scheduler, 10 * SECOND)
    expect(asked.latest).toBeGreaterThanOrEqual(4)
    a.leaves()
    await pass(scheduler, 3 * SECOND)
    const before = { ...asked }
    await pass(scheduler, MINUTE)
    expect(asked).toEqual(before)
  })

  test('has one producer, however many look', async () => {
    const { dashboard, scheduler, asked } = started()
    const all = Array.from({ length: 40 }, client)
    for (const { socket } of all) dashboard.connect(socket, '3h')
    await pass(scheduler, 20 * SECOND)
    expect(asked.latest).toBeLessThanOrEqual(11)
    const sequences = all.map(({ got }) => got.map((m) => m.seq))
    for (const seqs of sequences) expect(seqs).toEqual(sequences[0])
    expect(sequences[0]!.length).toBeGreaterThanOrEqual(9)
  })

  test('who comes first sees trends from stored history at once', async () => {
    const { dashboard, scheduler } = started()
    const a = client()
    dashboard.connect(a.socket, '1h')
    await pass(scheduler, SECOND)
    const snapshot = a.got[0] as Snapshot
    expect(snapshot.trends.cpu_usage).toBe('increasing')
    expect(snapshot.figures.cpu_usage.normal).not.toBeNull()
    expect(snapshot.history.series.cpu_usage).toHaveLength(240)
    expect(snapshot.history.series.memory_usage!.every((v) => v === null)).toBe(true)
    expect(snapshot.recent.series.health_score).toHaveLength(60)
    expect(snapshot.events.map((e) => e.title)).toEqual(['control ready'])
    expect(dashboard.events(START - HOUR, START, null).map((e) => e.title)).toEqual([
      'control restarting',
      'control ready',
    ])
  })

  test('a reader that hangs holds back neither snapshot nor values; history follows when it can be read', async () => {
    const { dashboard, scheduler, store } = started()
    store.hangs = true
    const a = client()
    dashboard.connect(a.socket, '3h')
    await pass(scheduler, 10 * SECOND)
    expect(a.got[0]).toMatchObject({ type: 'snapshot', history: { series: {} }, metrics: { cpu_usage: 60 } })
    expect(a.got.filter((m) => m.type === 'update').length).toBeGreaterThanOrEqual(3)
  })

  test('a store that is gone is said, and recovers', async () => {
    const { dashboard, scheduler, store } = started()
    store.fails = true
    const a = client()
    dashboard.connect(a.socket, '3h')
    await pass(scheduler, 5 * SECOND)
    expect(a.got.at(-1)!.headline).toMatchObject({
      status: 'no_data',
      text: 'No data: the store of metrics does not answer.',
    })
    store.fails = false
    await pass(scheduler, 8 * SECOND)
    expect(a.got.at(-1)!.metrics.cpu_usage).toBe(60)
    const last = a.got.findLast((m) => m.type === 'snapshot') as Snapshot
    expect(last.history.series.cpu_usage).toHaveLength(360)
    expect(a.got.at(-1)!.trends.cpu_usage).toBe('increasing')
  })

  test('the summary is the last message when that is fresh, a new one when nobody looks', async () => {
    const { dashboard, scheduler, asked } = started()
    const first = dashboard.summary()
    await pass(scheduler, 500)
    expect((await first).metrics.cpu_usage).toBe(60)
    await dashboard.summary()
    expect(asked.latest).toBe(1)
    await pass(scheduler, 3 * SECOND)
    const later = dashboard.summary()
    await pass(scheduler, 500)
    expect(Date.parse((await later).timestamp)).toBeGreaterThan(Date.parse((await first).timestamp))
    expect(await later).toMatchObject({ active_connections: 0 })
  })

  test('stopping closes every socket and ends the beat', async () => {
    const { dashboard, scheduler, asked } = started()
    const a = client()
    dashboard.connect(a.socket, '3h')
    await pass(scheduler, 3 * SECOND)
    dashboard.stop()
    expect(a.closed).toEqual([1001])
    const before = asked.latest
    await pass(scheduler, 10 * SECOND)
    expect(asked.latest).toBe(before)
    expect((a.got.at(-1) as Update).type).toBe('update')
  })
})
