/** The collector and its sources: independent of each other, and honest about what is not there. */
import { describe, expect, test } from 'vitest'
import { recordingAppender } from '../../../test/support/recording.ts'
import { silentLog } from '../../base/log.ts'
import { fakeScheduler } from '../../base/scheduler.ts'
import { createTelemetry } from '../../base/telemetry.ts'
import { Collector, type Reading } from './collector.ts'
import { edgeReadings } from './edge.ts'
import { telemetryReadings } from './runtime.ts'

const T = Date.UTC(2026, 0, 1)

function setUp() {
  const scheduler = fakeScheduler(T)
  const telemetry = createTelemetry()
  const appender = recordingAppender()
  const collector = new Collector({ appender, scheduler, telemetry, log: silentLog, intervalMs: 5000 })
  const failures = () => telemetry.snapshot().flatMap((f) => f.samples.map((s) => `${s.labels.source} ${s.value}`))
  /** Moves time on step by step, and lets what was started come to its end after each. */
  const pass = async (ms: number) => {
    for (let left = ms; left >= 0; left -= 1000) {
      await scheduler.run(Math.min(left, 1000))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { pass, appender, collector, failures }
}

describe('the collector', () => {
  test('asks at once and at every interval, and marks what is the platform’s own', async () => {
    const { pass, appender, collector } = setUp()
    let n = 0
    collector.add({
      name: 'host',
      collect: () => [
        { name: 'a', value: ++n },
        { name: 'b', labels: { x: 'y' }, value: 0 },
      ],
    })
    await pass(10_000)
    expect(appender.lines).toEqual(
      [
        'host a{service="opinion-market"} 1 @0',
        'host b{service="opinion-market",x="y"} 0 @0',
        'host a{service="opinion-market"} 2 @5000',
        'host b{service="opinion-market",x="y"} 0 @5000',
        'host a{service="opinion-market"} 3 @10000',
        'host b{service="opinion-market",x="y"} 0 @10000',
      ].map((line) => line.replace(/@(\d+)/, (_, ms) => `@${T + Number(ms)}`)),
    )
    collector.stop()
    await pass(60_000)
    expect(n).toBe(3)
  })

  test('a source that hangs or fails delays no other, and is not asked again before it answers', async () => {
    const { pass, appender, collector, failures } = setUp()
    let asked = 0
    let release: (readings: Reading[]) => void = () => {}
    collector.add({
      name: 'stuck',
      collect: () => {
        asked++
        return new Promise((resolve) => {
          release = resolve
        })
      },
    })
    collector.add({
      name: 'broken',
      collect: () => {
        throw new Error('no')
      },
    })
    collector.add({ name: 'good', collect: () => [{ name: 'a', value: 1 }] })
    await pass(20_000)
    expect(asked).toBe(1)
    expect(appender.lines).toHaveLength(5)
    expect(failures()).toEqual(['stuck 1', 'broken 5', 'good 0'])
    release([{ name: 'late', value: 1 }])
    await pass(5000)
    expect(asked).toBe(2)
  })

  test('stores no number that is none', async () => {
    const { appender, collector } = setUp()
    await collector.record('x', T, [
      { name: 'a', value: Number.NaN },
      { name: 'b', value: 1 },
    ])
    await collector.record('x', T, [])
    expect(appender.lines).toEqual([`x b{service="opinion-market"} 1 @${T}`])
  })
})

describe('windows of front', () => {
  const window = { seconds: 5, requests: 40, errors: 2, p50Ms: 3, p95Ms: 20, p99Ms: 90, connections: 7 }
  const told = (readings: readonly Reading[]) => readings.map((r) => `${r.name}${r.labels?.quantile ?? ''} ${r.value}`)

  test('become rate, errors, duration', () => {
    expect(told(edgeReadings(window))).toEqual([
      'application_active_connections 7',
      'application_requests_per_second 8',
      'application_error_rate 5',
      'application_api_response_time 20',
      'application_api_response_time0.5 3',
      'application_api_response_time0.99 90',
    ])
  })
  test('without requests have no error rate and no duration', () => {
    const quiet = { ...window, requests: 0, errors: 0, p50Ms: null, p95Ms: null, p99Ms: null }
    expect(told(edgeReadings(quiet))).toEqual(['application_active_connections 7', 'application_requests_per_second 0'])
  })
})

test('the plain series of the event loop is that of the worst process', () => {
  const gauge = (name: string, values: Record<string, number>) => ({
    name,
    help: '',
    type: 'gauge' as const,
    samples: Object.entries(values).map(([process, value]) => ({ name, labels: { process }, value })),
  })
  const readings = telemetryReadings([
    // Each process brings its own family of the name.
    gauge('runtime_event_loop_lag', { control: 4 }),
    gauge('runtime_heap_used_bytes', { front: 10 }),
    gauge('runtime_event_loop_lag', { front: 1 }),
    gauge('runtime_gc_frequency', {}),
  ])
  expect(readings.map((r) => `${r.name}/${r.labels?.process ?? ''} ${r.value}`)).toEqual([
    'runtime_event_loop_lag/control 4',
    'runtime_heap_used_bytes/front 10',
    'runtime_event_loop_lag/front 1',
    'runtime_event_loop_lag/ 4',
  ])
})
