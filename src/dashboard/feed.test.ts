import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HOUR, MINUTE, SECOND, toIso } from '../base/time.ts'
import { dashboardKeys } from './config.ts'
import type { FeedInput, FeedSettings, FeedState, Refill } from './feed.ts'
import { COARSE_STEP_MS, emptyFeed, FINE_STEP_MS, step } from './feed.ts'
import { limitsOf } from './figures.ts'
import type { DashboardInsight, MetricKey, Update } from './protocol.ts'
import { FIGURE_KEYS, INSIGHTS_MAX, METRIC_KEYS } from './protocol.ts'
import type { ForecastView, Point, Points, ProcessView } from './sources.ts'

const NOW = Date.UTC(2026, 0, 30, 9, 42, 14)
const settings: FeedSettings = {
  windowMs: 5 * MINUTE,
  intervalMs: 5 * SECOND,
  limits: limitsOf(
    Object.fromEntries(Object.entries(dashboardKeys).map(([name, key]) => [name, key.fallback])) as never,
  ),
}
const none: Points = { times: [], values: [] }
const empty = Object.fromEntries(METRIC_KEYS.map((key) => [key, { fine: none, coarse: none }])) as unknown as Refill

const input = (samples: FeedInput['samples'] = {}, more: Partial<FeedInput> = {}): FeedInput => ({
  samples,
  refill: null,
  processes: [],
  engines: {},
  forecasts: [],
  anomalies: [],
  insights: [],
  alerts: [],
  alertCounts: null,
  instances: null,
  problem: null,
  ...more,
})

const bucketed = (from: number, to: number, stepMs: number, value: (at: number) => number): Points => {
  const times: number[] = []
  for (let at = Math.ceil(from / stepMs) * stepMs; at <= to; at += stepMs) times.push(at)
  return { times, values: times.map(value) }
}

/** Stored history of some metrics, as a function of time. */
function refillOf(at: number, metrics: Partial<Record<MetricKey, (at: number) => number>>): Refill {
  const filled = Object.entries(metrics).map(([key, value]) => [
    key,
    {
      fine: bucketed(at - HOUR, at, FINE_STEP_MS, value),
      coarse: bucketed(at - 24 * HOUR, at, COARSE_STEP_MS, value),
    },
  ])
  return { ...empty, ...Object.fromEntries(filled) }
}

/** Steps every two seconds with a sample every five, from `from` on. */
function run(
  state: FeedState,
  from: number,
  seconds: number,
  value: (at: number) => number,
  key: MetricKey = 'cpu_usage',
) {
  const messages: Update[] = []
  for (let at = from; at <= from + seconds * SECOND; at += 2 * SECOND) {
    const sampled = Math.floor(at / 5000) * 5000
    const next = step(state, input({ [key]: { at: sampled, value: value(sampled) } }), settings, at)
    state = next.state
    messages.push(next.message)
  }
  return { state, messages, last: messages.at(-1)! }
}

describe('no data', () => {
  test('is null everywhere, never 0', () => {
    const { message } = step(emptyFeed, input({}, { refill: empty }), settings, NOW)
    expect(Object.values(message.metrics)).toEqual(METRIC_KEYS.map(() => null))
    expect(message.performance_score).toBeNull()
    expect(Object.values(message.trends)).toEqual(FIGURE_KEYS.map(() => null))
    expect(message.monitoring_active).toBe(false)
    expect(message.headline).toMatchObject({ status: 'no_data', metric: null })
    expect(message.figures.cpu_usage).toMatchObject({ last_sample_at: null, silence: 'never measured', normal: null })
    expect(message.ai_insights).toEqual([])
    expect(message.alerts).toEqual([])
  })

  test.each([
    [15, 42],
    [15.001, null],
  ])('a sample %d s old has value %s', (age, value) => {
    const at = NOW - age * SECOND
    const { message } = step(emptyFeed, input({ cpu_usage: { at, value: 42 } }), settings, NOW)
    expect(message.metrics.cpu_usage).toBe(value)
    expect(message.figures.cpu_usage).toMatchObject({ last_sample_at: toIso(at), last_value: 42 })
  })

  test('what fell silent keeps its last value and time, loses its trend, and the others go on', () => {
    const first = step(emptyFeed, input({ cpu_usage: { at: NOW, value: 42 } }), settings, NOW)
    const later = NOW + 19 * MINUTE
    const { message } = step(first.state, input({ memory_usage: { at: later, value: 61 } }), settings, later)
    expect(message.metrics).toMatchObject({ cpu_usage: null, memory_usage: 61 })
    expect(message.figures.cpu_usage).toMatchObject({ last_value: 42, silence: 'silent for 19 minutes' })
    expect(message.trends.cpu_usage).toBeNull()
  })

  test('no requests is said to be no requests', () => {
    const { message } = step(emptyFeed, input({ throughput: { at: NOW, value: 0 } }), settings, NOW)
    expect(message.metrics.throughput).toBe(0)
    expect(message.figures.response_time.silence).toBe('no requests')
  })

  test('a store that does not answer is the headline, and what was known stays until it is old', () => {
    const first = step(emptyFeed, input({ cpu_usage: { at: NOW, value: 42 } }), settings, NOW)
    const { message } = step(first.state, input({}, { problem: 'the store does not answer.' }), settings, NOW + 2000)
    expect(message.headline.text).toBe('No data: the store does not answer.')
    expect(message.problem).not.toBeNull()
    expect(message.metrics.cpu_usage).toBe(42)
  })
})

describe('trends', () => {
  test('come from stored history at the first step after a pause', () => {
    const rising = (at: number) => (at > NOW - 5 * MINUTE ? 60 : 30)
    const { message } = step(
      emptyFeed,
      input({ cpu_usage: { at: NOW, value: 60 } }, { refill: refillOf(NOW, { cpu_usage: rising }) }),
      settings,
      NOW,
    )
    expect(message.trends.cpu_usage).toBe('increasing')
    expect(message.figures.cpu_usage.change).toBeCloseTo(30, 0)
    expect(message.figures.cpu_usage.change_window).toBe(300)
  })

  test('are the same whether somebody looked all the time or has just come', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 30, max: 90 }), (a, b) => {
        const value = (at: number) => (at > NOW - 4 * MINUTE ? b : a + 20)
        const watched = run(emptyFeed, NOW - 12 * MINUTE, 12 * 60, value)
        const came = step(
          emptyFeed,
          input({ cpu_usage: { at: NOW - 4000, value: b } }, { refill: refillOf(NOW, { cpu_usage: value }) }),
          settings,
          NOW,
        )
        expect(came.message.trends.cpu_usage).toBe(watched.last.trends.cpu_usage)
        expect(came.message.figures.cpu_usage.change).toBeCloseTo(watched.last.figures.cpu_usage.change!, -1)
      }),
      { numRuns: 20 },
    )
  })

  test('of throughput are in per cent', () => {
    const { last } = run(emptyFeed, NOW, 600, (at) => (at < NOW + 5 * MINUTE ? 100 : 162), 'throughput')
    expect(last.figures.throughput).toMatchObject({ change_kind: 'percent', change: 62 })
  })
})

describe('the headline', () => {
  const cpu = (value: number, refill: Refill | null = null, more: Partial<FeedInput> = {}) =>
    input({ cpu_usage: { at: NOW, value } }, { refill, ...more })

  test('is about what lasts, not about one sample', () => {
    expect(step(emptyFeed, cpu(99), settings, NOW).message.headline.status).toBe('healthy')
    expect(step(emptyFeed, cpu(99), settings, NOW).message.figures.cpu_usage.threshold_state).toBe('critical')
    const { last } = run(emptyFeed, NOW, 40, () => 99)
    expect(last.headline).toMatchObject({ status: 'critical', metric: 'cpu_usage', value: 99, limit: 85 })
  })

  test('says since when, from history that nobody watched', () => {
    const over = (at: number) => (at >= NOW - 11.5 * MINUTE ? 82 : 40)
    const { headline } = step(emptyFeed, cpu(82, refillOf(NOW, { cpu_usage: over })), settings, NOW).message
    expect(headline.text).toBe('Degraded: CPU is at 82.0\u202f%, over the 70\u202f% limit for 11 minutes.')
    expect(Math.abs(Date.parse(headline.since!) - (NOW - 11.5 * MINUTE))).toBeLessThanOrEqual(FINE_STEP_MS)
  })

  test('names response time before the others', () => {
    let state = emptyFeed
    let message: Update | null = null
    for (let at = NOW; at <= NOW + MINUTE; at += 2000) {
      const samples: Partial<Record<MetricKey, Point>> = {
        cpu_usage: { at, value: 90 },
        response_time: { at, value: 214 },
      }
      ;({ state, message } = step(state, input(samples), settings, at))
    }
    expect(message!.headline.text).toMatch(/^Critical: answers take 214\u202fms, over the 200\u202fms limit for /)
    expect(message!.headline.cause).toContain('Also beyond a limit: CPU.')
  })

  test('a process that is down is a degraded platform', () => {
    const down: ProcessView = {
      id: 'market-writer',
      kind: 'market-writer',
      state: 'backing_off',
      startedAt: null,
      restarts: 3,
      lastExit: 'exit 1',
    }
    const { headline } = step(emptyFeed, cpu(10, null, { processes: [down] }), settings, NOW).message
    expect(headline).toMatchObject({ status: 'degraded', text: 'Degraded: market-writer is not running (exit 1).' })
  })

  test('all six in their normal range', () => {
    const constant: Partial<Record<MetricKey, (at: number) => number>> = {
      cpu_usage: () => 50,
      memory_usage: () => 60,
      cache_hit_rate: () => 95,
      response_time: () => 20,
      throughput: () => 700,
    }
    const samples = Object.fromEntries(Object.entries(constant).map(([k, v]) => [k, { at: NOW, value: v(NOW) }]))
    const { message } = step(emptyFeed, input(samples, { refill: refillOf(NOW, constant) }), settings, NOW)
    expect(message.headline.text).toBe('Healthy: all figures are within their normal range.')
    expect(message.figures.health_score.normal).toEqual({ lower: 100, upper: 100 })
    expect(message.performance_score).toBe(100)
  })
})

describe('instances', () => {
  const process = (id: string, kind: string, state: ProcessView['state']): ProcessView => ({
    id,
    kind,
    state,
    startedAt: NOW,
    restarts: 0,
    lastExit: null,
  })
  const counted = (given: Partial<FeedInput>) => step(emptyFeed, input({}, given), settings, NOW).message.instances

  test('are those of the market as they are now, beside what scaling wants and did last', () => {
    const processes = [
      process('control', 'control', 'ready'),
      process('instance-1', 'instance', 'ready'),
      process('instance-2', 'instance', 'starting'),
    ]
    const lastDecision = {
      id: 'd',
      action: 'scale_up',
      current_instances: 1,
      target_instances: 2,
      reason: 'CPU is high.',
      created_at: toIso(NOW),
      status: 'executing',
    } as const
    const seen = { current: 2, target: 2, lastDecision }
    expect(counted({ processes, instances: seen })).toEqual({ current: 1, target: 2, last_decision: lastDecision })
    expect(counted({ processes })).toEqual({ current: 1, target: null, last_decision: null })
    expect(counted({ processes: [processes[0]!], instances: seen })).toMatchObject({ current: 2, target: 2 })
    expect(counted({ processes: [processes[0]!] })).toMatchObject({ current: null, target: null })
  })
})

describe('engines', () => {
  test('only what is built in may call itself active, and alerting says whether somebody is told', () => {
    const engines = { alerting: { active: true, lastActivity: NOW }, analytics: { active: false, lastActivity: null } }
    const states = (given: FeedInput['engines']) =>
      step(emptyFeed, input({ cpu_usage: { at: NOW, value: 1 } }, { engines: given }), settings, NOW).message.engines
    expect(states({}).map((e) => e.state)).toEqual(['active', ...new Array(4).fill('not_installed')])
    expect(states(engines).map((e) => e.state)).toEqual([
      'active',
      'stopped',
      'active',
      'not_installed',
      'not_installed',
    ])
    const hot = refillOf(NOW, { cpu_usage: () => 99 })
    const next = (given: FeedInput['engines']) =>
      step(emptyFeed, input({ cpu_usage: { at: NOW, value: 99 } }, { engines: given, refill: hot }), settings, NOW)
        .message.headline.next
    expect(next({})).toBe('Alerting is not installed: nobody is told of it.')
    expect(next({ alerting: { active: false, lastActivity: null } })).toContain('switched off')
    expect(next(engines)).toBeNull()
  })
})

describe('insights', () => {
  test.each<[Partial<Record<MetricKey, number>>, string[]]>([
    [{ cpu_usage: 81 }, ['performance_warning']],
    [{ cpu_usage: 80 }, []],
    [{ cpu_usage: 19 }, ['optimization_opportunity', 'system_health']],
    [{ cache_hit_rate: 91, cpu_usage: 50 }, ['excellent_performance', 'system_health']],
    [{ cache_hit_rate: 69 }, ['cache_optimization']],
    [{ memory_usage: 86 }, ['memory_alert']],
    [{ cpu_usage: 99, memory_usage: 99 }, ['performance_warning', 'memory_alert', 'performance_concern']],
  ])('%o gives %o', (values, types) => {
    const samples = Object.fromEntries(Object.entries(values).map(([k, value]) => [k, { at: NOW, value }]))
    const { message } = step(emptyFeed, input(samples), settings, NOW)
    expect(message.ai_insights.map((i) => i.type).sort()).toEqual([...types].sort())
    for (const { confidence } of message.ai_insights) expect(confidence).toBeGreaterThanOrEqual(0.8)
  })
})

describe('whatever happens', () => {
  const sample = fc.record({
    key: fc.constantFrom(...METRIC_KEYS),
    age: fc.integer({ min: -20_000, max: 200_000 }),
    value: fc.oneof(fc.double({ min: 0, max: 200, noNaN: true }), fc.constantFrom(0, 1e308, -1e308)),
  })
  const beat = fc.record({
    wait: fc.oneof(fc.constant(2000), fc.integer({ min: -3_600_000, max: 3_600_000 })),
    samples: fc.array(sample, { maxLength: 6 }),
    refill: fc.boolean(),
    problem: fc.boolean(),
  })

  test('seq grows by one, every number is finite, and state stays bounded', () => {
    fc.assert(
      fc.property(fc.array(beat, { minLength: 1, maxLength: 60 }), (beats) => {
        let state = emptyFeed
        let at = NOW
        for (const { wait, samples, refill, problem } of beats) {
          at += wait
          const given = Object.fromEntries(samples.map((s) => [s.key, { at: at - s.age, value: s.value }]))
          const before = state.seq
          const next = step(
            state,
            input(given, {
              refill: refill ? refillOf(at, { cpu_usage: (t) => (t / 1000) % 100 }) : null,
              problem: problem ? 'it is broken.' : null,
            }),
            settings,
            at,
          )
          state = next.state
          expect(next.message.seq).toBe(before + 1)
          expect(state.seq).toBe(before + 1)
          // JSON turns what is not finite into null where the type says number: look at the numbers themselves.
          JSON.stringify(next.message, (_key, value) => {
            if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`not finite: ${value}`)
            return value
          })
          expect(next.message.headline.text).toMatch(/^(Healthy|Degraded|Critical|No data): .+\.$/)
          for (const key of FIGURE_KEYS) expect(state.recent[key].length).toBeLessThanOrEqual(400)
        }
      }),
      { numRuns: 200 },
    )
  })
})

describe('what analytics brings', () => {
  const forecast = (horizon: number, more: Partial<ForecastView> = {}): ForecastView => ({
    metric: 'system.cpu_usage',
    madeAt: NOW,
    horizon,
    target_time: toIso(NOW + horizon * MINUTE),
    value: 74.123456,
    lower: 66,
    upper: 83,
    coverage: 0.8,
    confidence: 0.9,
    withdrawn: null,
    ...more,
  })
  const insight = (id: string, more: Partial<DashboardInsight> = {}): DashboardInsight => ({
    id,
    type: 'capacity',
    category: 'capacity',
    title: id,
    message: '',
    confidence: 0.9,
    impact: 'medium',
    recommendations: [],
    evidence_url: `/ops/insights/${id}`,
    found_by: 'analytics',
    last_seen_at: toIso(NOW),
    ...more,
  })
  const messageAt = (at: number, more: Partial<FeedInput>) => step(emptyFeed, input({}, more), settings, at).message

  test('forecasts stand at their figure, nearest first, rounded; withdrawn ones say why', () => {
    const forecasts = [forecast(30, { withdrawn: 'naive did better' }), forecast(15), forecast(15, { metric: 'other' })]
    const { forecast: shown } = messageAt(NOW, { forecasts })
    expect(shown.cpu_usage.map((point) => [point.horizon, point.value, point.withdrawn])).toEqual([
      [15, 74.12, null],
      [30, 74.12, 'naive did better'],
    ])
    expect(Object.keys(shown.cpu_usage[0]!).sort()).toEqual(
      ['confidence', 'coverage', 'horizon', 'lower', 'target_time', 'upper', 'value', 'withdrawn'].sort(),
    )
    expect(Object.keys(shown).sort()).toEqual([...FIGURE_KEYS].sort())
    expect(shown.memory_usage).toEqual([])
  })

  test('what was forecast for a moment that is over, or too long ago, is gone', () => {
    const forecasts = [forecast(5), forecast(60)]
    const horizons = (at: number) => messageAt(at, { forecasts }).forecast.cpu_usage.map((point) => point.horizon)
    expect(horizons(NOW + 4 * MINUTE)).toEqual([5, 60])
    expect(horizons(NOW + 5 * MINUTE)).toEqual([60])
    expect(horizons(NOW + 15 * MINUTE)).toEqual([])
  })

  test('insights: the strongest first, of those the newest; never more than the page has room for', () => {
    const many = Array.from({ length: 30 }, (_, i) => insight(`low ${i}`, { impact: 'low' }))
    const older = insight('older', { last_seen_at: toIso(NOW - MINUTE) })
    const { ai_insights } = messageAt(NOW, {
      insights: [...many, older, insight('newer'), insight('high', { impact: 'high' })],
    })
    expect(ai_insights).toHaveLength(INSIGHTS_MAX)
    expect(ai_insights.slice(0, 3).map((one) => one.id)).toEqual(['high', 'newer', 'older'])
  })

  test('says when the engine had its last cycle', () => {
    const analytics = { active: true, lastActivity: NOW - MINUTE }
    const { engines } = messageAt(NOW, { engines: { analytics } })
    expect(engines.find((one) => one.name === 'analytics')).toEqual({
      name: 'analytics',
      state: 'active',
      last_activity: toIso(NOW - MINUTE),
    })
  })
})
