/**
 * A backtest says what the live rule did: the same random samples through the running watcher and engine, and through
 * the backtest. A failing seed is printed and repeats.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { backtest, episodesOf, suggest } from '../../src/alerting/backtest.ts'
import { type Evaluate, selectorOf, selectorOfSeries } from '../../src/alerting/history.ts'
import type { Rule } from '../../src/alerting/rule.ts'
import { complete } from '../../src/alerting/rules/rules.ts'
import { seededRandom } from '../../src/base/random.ts'
import { DAY, HOUR, MINUTE, SECOND } from '../../src/base/time.ts'
import type { Labels } from '../../src/metrics/index.ts'
import { World } from '../support/alerting-world.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))

let world: World
afterEach(() => world?.remove())

const draft = {
  id: 'r',
  name: 'R',
  description: '',
  severity: 'warning',
  metricName: 'm',
  threshold: 70,
  channels: ['mail', 'pager'],
} as const

const variants: readonly Partial<Rule>[] = [
  {},
  { cooldownMs: 0, forMs: 32_000 },
  { cooldownMs: 0, recoveryThreshold: 55, recoverForMs: 45_000 },
  { forMs: 12_500, recoverForMs: 10_000, cooldownMs: 300_000 },
  { condition: 'lt', threshold: 30, cooldownMs: 0 },
  { condition: 'change_rate', threshold: 12, windowMs: 60_000, cooldownMs: 0 },
]

describe(`backtest, seed ${seed}`, () => {
  test.each(variants.map((more, i) => [i, more] as const))('variant %i fires as the rule did', async (i, more) => {
    const random = seededRandom(seed + i)
    world = new World()
    world.channels.set('mail', { enabled: true, configured: true, severityFilter: [] })
    world.channels.set('pager', { enabled: true, configured: true, severityFilter: ['critical', 'emergency'] })
    const rule = world.engine.createRule({ ...draft, ...more }, { by: 'test', claim: null })
    world.carry()
    const labels: Labels = [['__name__', 'm']]
    const series = world.series(labels)
    const from = world.now
    const times: number[] = []
    const values: number[] = []
    let value = 50
    for (let step = 0; step < 1500; step++) {
      value = random.next() < 0.05 ? random.next() * 100 : Math.min(100, Math.max(0, value + random.next() * 20 - 10))
      world.push([{ series, at: world.now, value }])
      times.push(world.now)
      values.push(value)
      world.carry()
      // The engine hears within a second, as it does from a thread beside it.
      const seconds = (random.next() < 0.01 ? 60 : 1 + Math.floor(random.next() * 4)) * 5
      for (let second = 0; second < seconds; second++) {
        await world.scheduler.run(SECOND)
        world.carry()
      }
    }
    await world.settle()
    const live = world.store
      .list({ sort: 'newest', limit: 10_000 })
      .map((alert) => ({ from: alert.triggeredAt, until: alert.resolvedAt, flapping: alert.flapping }))
      .reverse()
    const history = { labels, times: Float64Array.from(times), values: Float64Array.from(values) }
    const told = episodesOf(rule, history, world.now).map(({ from, until, flapping }) => ({ from, until, flapping }))
    expect(live.length).toBeGreaterThan(3)
    expect(told).toEqual(live)

    // And with the notices that went out, where nobody grouped or acknowledged.
    const evaluate: Evaluate = async (expr, __, until) => {
      const start = until - Number(/\[(\d+)ms\]$/.exec(expr)![1])
      const within = times.map((at, n) => ({ at, value: values[n]! })).filter(({ at }) => at > start && at <= until)
      const columns = {
        times: Float64Array.from(within, (s) => s.at),
        values: Float64Array.from(within, (s) => s.value),
      }
      return { kind: 'matrix', warnings: [], series: within.length > 0 ? [{ labels, ...columns }] : [] }
    }
    const result = await backtest(
      { rule, stored: rule, since: from, until: world.now },
      {
        evaluate,
        channel: (id) => world.channels.get(id) ?? null,
        escalationMs: world.settings.escalationMs,
        limits: { windowMs: 0, singles: 5 },
        intervalMs: 30 * SECOND,
        verdictOf: () => 'unknown',
      },
    )
    expect(result.samples).toBe(times.length)
    expect(result.rule.episodesTotal).toBe(live.length)
    expect(result.stored).toEqual(result.rule)
    const sent = world.db.prepare('SELECT channel, event, count(*) AS n FROM outbox GROUP BY channel, event').all() as {
      channel: string
      event: 'firing' | 'resolved' | 'escalated'
      n: number
    }[]
    for (const { channelId, digests, ...told } of result.rule.notices) {
      const {
        firing = 0,
        escalated = 0,
        resolved = 0,
      } = Object.fromEntries(sent.flatMap(({ channel, event, n }) => (channel === channelId ? [[event, n]] : [])))
      expect({ channelId, ...told }).toEqual({ channelId, firing, escalated, resolved })
      expect(digests).toBe(0)
    }
  })

  test('a storm is told in digests, as it would have been', async () => {
    world = new World()
    const rule = complete({ ...draft, cooldownMs: 0 }, 0)
    const start = Date.UTC(2026, 0, 1)
    const storm: Evaluate = async (_, __, until) => ({
      kind: 'matrix',
      warnings: [],
      series: Array.from({ length: 300 }, (_, n) => ({
        labels: [
          ['__name__', 'm'],
          ['host', `h${n}`],
        ],
        times: Float64Array.of(start + MINUTE),
        values: Float64Array.of(until > start + MINUTE ? 90 : 0),
      })),
    })
    const { rule: outcome } = await backtest(
      { rule, stored: null, since: start, until: start + HOUR },
      {
        evaluate: storm,
        channel: () => ({ enabled: true, configured: true, severityFilter: [] }),
        escalationMs: DAY,
        limits: { windowMs: 5 * MINUTE, singles: 5 },
        intervalMs: 30 * SECOND,
        verdictOf: () => 'noise',
      },
    )
    expect(outcome.episodesTotal).toBe(300)
    expect(outcome.notices).toEqual([
      { channelId: 'mail', firing: 0, escalated: 0, resolved: 0, digests: 1 },
      { channelId: 'pager', firing: 0, escalated: 0, resolved: 0, digests: 1 },
    ])
    expect(outcome.episodes[0]!.verdict).toBe('noise')
  })

  test.each(['gt', 'lt'] as const)('a suggested threshold brings the alerts it promises (%s)', async (condition) => {
    const random = seededRandom(seed)
    const start = Date.UTC(2026, 0, 1)
    const count = (14 * DAY) / MINUTE
    const labels: Labels = [['__name__', 'm']]
    const all = Float64Array.from({ length: count }, (_, i) => {
      const spike = i % 5000 < 5 ? 40 : 0
      return 50 + 10 * Math.sin(i / 200) + random.next() * 5 + (condition === 'gt' ? spike : -spike)
    })
    const evaluate: Evaluate = async (_, __, until) => {
      const first = Math.max(0, Math.ceil((until - 6 * HOUR - start) / MINUTE))
      const last = Math.min(count, Math.floor((until - start) / MINUTE) + 1)
      const values = all.slice(first, last)
      return {
        kind: 'matrix',
        warnings: [],
        series: [{ labels, times: Float64Array.from(values, (_, i) => start + (first + i) * MINUTE), values }],
      }
    }
    const rule = complete({ ...draft, condition, cooldownMs: 0 }, 0)
    const until = start + 14 * DAY - 1
    const found = await suggest({ rule, since: start, until }, evaluate)
    expect(found.samples).toBe(count)
    expect(found.alertsPerWeek).toBeLessThanOrEqual(2)
    const tried = { ...rule, threshold: found.threshold!, recoveryThreshold: found.threshold! }
    const times = Float64Array.from(all, (_, i) => start + i * MINUTE)
    expect(episodesOf(tried, { labels, times, values: all }, until).length / 2).toBeCloseTo(found.alertsPerWeek!, 2)
    const rates = found.candidates.map((candidate) => candidate.alertsPerWeek)
    expect(rates.at(-1)).toBe(0)
  })
})

test('selectors hold whatever labels hold', () => {
  expect(selectorOf({ metricName: 'system.cpu_usage', labels: [{ name: 'a b', regex: 'x"|\\d' }] })).toBe(
    '{__name__="system_cpu_usage","a b"=~"x\\"|\\\\d"}',
  )
  expect(
    selectorOfSeries([
      ['__name__', 'm'],
      ['path', 'C:\\"x"\n'],
    ]),
  ).toBe('{__name__="m","path"="C:\\\\\\"x\\"\\n"}')
})
