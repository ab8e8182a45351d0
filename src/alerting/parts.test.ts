import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HOUR, MINUTE, SECOND } from '../base/time.ts'
import { escalatesAt, rise } from './escalate.ts'
import { openAlert } from './opening.ts'
import { RateWindow } from './rate.ts'
import { type Alert, rankOf, toldNothing } from './record.ts'
import type { Severity } from './rule.ts'
import { complete } from './rules/rules.ts'
import { judge, type Knowledge, type News, stages } from './stages.ts'
import { admit, flushed, GATHER_MS, hold, newGroup } from './suppress/group.ts'
import { CompiledSilence, type Silence } from './suppress/silence.ts'

const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')

describe('escalation', () => {
  test('its time is a whole millisecond, whatever the configuration says in seconds', () => {
    expect(Number.isInteger(64.1 * SECOND)).toBe(false)
    expect(escalatesAt('warning', 1000, 64.1 * SECOND)).toBe(65_100)
  })
  test.each<[Severity, Severity | null]>([
    ['info', null],
    ['warning', 'critical'],
    ['critical', 'emergency'],
    ['emergency', 'emergency'],
  ])('%s becomes %s', (from, to) => {
    const at = escalatesAt(from, 1000, 60)
    expect(at).toBe(to === null ? null : 1060)
    expect(rise(from, at, 1059)).toBeNull()
    expect(rise(from, at, 1060)?.severity ?? null).toBe(to)
  })
  test('emergency is told again, and no higher', () => {
    expect(rise('emergency', 5, 5)).toEqual({ severity: 'emergency', higher: false })
  })
})

describe('change per minute', () => {
  const rates = (window: number, samples: readonly [number, number][]) => {
    const rate = new RateWindow(window)
    return samples.map(([at, value]) => rate.next(at, value))
  }
  test('is taken over the window', () => {
    const samples = Array.from({ length: 20 }, (_, i): [number, number] => [i * MINUTE, 10 * i])
    expect(rates(5 * MINUTE, samples).slice(1)).toEqual(Array(19).fill(10))
  })
  test('two samples in a row make no storm of a ripple', () => {
    expect(
      rates(5 * MINUTE, [
        [0, 50],
        [1000, 53],
      ])[1],
    ).toBe(3)
  })
  test('a base older than two windows says nothing', () => {
    expect(
      rates(MINUTE, [
        [0, 0],
        [3 * MINUTE, 90],
      ])[1],
    ).toBeNaN()
  })
  test('says when it looked back over all of the window', () => {
    const rate = new RateWindow(MINUTE)
    rate.next(0, 0)
    rate.next(30 * SECOND, 1)
    expect(rate.covered).toBe(false)
    rate.next(60 * SECOND, 2)
    expect(rate.covered).toBe(true)
  })
  test('law: a straight line has its slope, at any pace, with a bounded memory', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 120 }), fc.integer({ min: -50, max: 50 }), (pace, slope) => {
        const rate = new RateWindow(5 * MINUTE)
        let at = 0
        let last = NaN
        for (let i = 0; i < 500; i++, at += pace * SECOND) last = rate.next(at, (slope * at) / MINUTE)
        expect(last).toBeCloseTo(slope, 6)
      }),
    )
  })
})

describe('grouping', () => {
  const limits = { windowMs: 5 * MINUTE, singles: 3 }
  test('the first few are told by themselves, more are held', () => {
    let group = newGroup('g', 0)
    const seen = [1, 1, 1, 1].map((count, i) => {
      const admitted = admit(group, count, limits, i * SECOND)
      group = admitted.group
      return admitted.held
    })
    expect(seen).toEqual([false, false, false, true])
    expect(admit(group, 1, limits, 5 * MINUTE).held).toBe(false)
  })
  test('many at once are held, all of them', () => {
    expect(admit(newGroup('g', 0), 1000, limits, 0).held).toBe(true)
    expect(admit(newGroup('g', 0), 3, limits, 0).held).toBe(false)
  })
  test('without a window nothing is held', () => {
    expect(admit(newGroup('g', 0), 1000, { windowMs: 0, singles: 1 }, 0).held).toBe(false)
  })
  test('a digest gathers for a moment; the next one waits for the window, unless it is urgent', () => {
    let group = hold(newGroup('g', 0), 'warning', limits, 1000)
    expect(group.flushAt).toBe(1000 + GATHER_MS)
    group = flushed(group, group.flushAt!)
    expect(hold(group, 'warning', limits, 10_000).flushAt).toBe(6000 + 5 * MINUTE)
    expect(hold(group, 'critical', limits, 10_000).flushAt).toBe(36_000)
    expect(hold(hold(group, 'warning', limits, 10_000), 'emergency', limits, 11_000).flushAt).toBe(36_000)
  })
  test('a clock that jumps back holds nothing for ever', () => {
    const group = { ...flushed(newGroup('g', HOUR), HOUR), windowAt: HOUR }
    expect(hold(group, 'warning', limits, 0).flushAt).toBe(GATHER_MS)
    expect(admit(group, 1, limits, 0).held).toBe(false)
  })
})

describe('silences', () => {
  const silence = (more: Partial<Silence>): Silence => ({
    id: 's',
    version: 1,
    matchers: [],
    startsAt: 0,
    endsAt: null,
    schedule: null,
    untilResolved: false,
    comment: '',
    createdBy: '',
    createdAt: 0,
    updatedAt: 0,
    endedAt: null,
    ...more,
  })
  const labels = (name: string) => ({ host: 'web-1', severity: 'warning' })[name] ?? ''
  test.each([
    ['host', 'web-1', false, true, true],
    ['host', 'web', false, true, false],
    ['host', 'web.*', true, true, true],
    ['host', 'eb.*', true, true, false],
    ['host', 'web.*', true, false, false],
    ['zone', '', false, true, true],
    ['severity', 'info|warning', true, true, true],
  ] as const)('%s against %s (regex %s, equal %s): %s', (name, value, isRegex, isEqual, expected) => {
    expect(new CompiledSilence(silence({ matchers: [{ name, value, isRegex, isEqual }] })).matches(labels)).toBe(
      expected,
    )
  })
  test.each([
    [{ startsAt: 10 }, 9, 'pending'],
    [{ startsAt: 10 }, 10, 'active'],
    [{ endsAt: 10 }, 10, 'expired'],
    [{ endedAt: 3 }, 10, 'expired'],
  ] as const)('%j at %i is %s', (more, now, state) => {
    expect(new CompiledSilence(silence(more)).state(now)).toBe(state)
  })
  test.each([
    // Every Sunday at 2 in Berlin, for an hour; 2026-03-29 has no 2 o'clock there.
    ['2026-01-04T00:59:59Z', 'pending'],
    ['2026-01-04T01:00:00Z', 'active'],
    ['2026-01-04T01:59:59Z', 'active'],
    ['2026-01-04T02:00:00Z', 'pending'],
    ['2026-07-05T00:30:00Z', 'active'],
    ['2026-07-05T01:30:00Z', 'pending'],
    ['2026-01-05T01:30:00Z', 'pending'],
  ])('a schedule in a zone: at %s %s', (at, state) => {
    const schedule = { cron: '0 2 * * 0', durationMs: HOUR, timeZone: 'Europe/Berlin' }
    expect(new CompiledSilence(silence({ schedule })).state(Date.parse(at))).toBe(state)
  })
  test('law: a schedule says at any moment what it says to somebody who never asked before', () => {
    const crons = ['0 2 * * 0', '*/20 * * * *', '30 2 * * *', '0 22 * * 1-5', '0 0 29 2 *', '0 0 31 2 *']
    const moments = fc.array(fc.integer({ min: Date.UTC(2026, 2, 27), max: Date.UTC(2026, 3, 5) }), { maxLength: 20 })
    const durations = fc.integer({ min: 1, max: 30 * HOUR })
    fc.assert(
      fc.property(fc.constantFrom(...crons), durations, moments, (cron, durationMs, times) => {
        const schedule = { cron, durationMs, timeZone: 'Europe/Berlin' }
        const old = new CompiledSilence(silence({ schedule }))
        for (const now of times) expect(old.state(now)).toBe(new CompiledSilence(silence({ schedule })).state(now))
      }),
      { numRuns: 30 },
    )
  })
  test('law: a look-up by traits misses no alert that matches', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '"', '\\', 'é', '😀', '\n', ''), maxLength: 3 })
    const pattern = fc.oneof(text.map(escaped), fc.constantFrom('a.*', 'a|b', '"+', '(?i)A', 'aé?', '.*'))
    const anyMatcher = fc.record({
      name: fc.constantFrom('host', 'alertname', 'rule_id', 'metric_name', 'team'),
      isEqual: fc.boolean(),
      kind: fc.oneof(
        text.map((value) => ({ value, isRegex: false })),
        pattern.map((value) => ({ value, isRegex: true })),
      ),
    })
    const anyAlert = fc.record({ host: text, alertname: text, rule_id: text, metric_name: text, team: text })
    let matched = 0
    const law = (
      alert: Record<string, string>,
      matchers: { name: string; isEqual: boolean; kind: { value: string; isRegex: boolean } }[],
    ) => {
      const all = matchers.map(({ name, isEqual, kind }) => ({ name, isEqual, ...kind }))
      const one = new CompiledSilence(silence({ matchers: all }))
      if (!one.matches((name) => alert[name] ?? '')) return
      matched++
      const { rule, metric, texts } = one.traits
      if (rule !== null) expect(alert.rule_id).toBe(rule)
      if (metric !== null) expect(alert.metric_name).toBe(metric)
      const { host, team, alertname } = alert
      const stored = JSON.stringify([['host', host]]) + JSON.stringify({ ruleName: alertname, extraLabels: { team } })
      for (const part of texts) expect(stored).toContain(JSON.stringify(part).slice(1, -1))
    }
    fc.assert(fc.property(anyAlert, fc.array(anyMatcher, { minLength: 1, maxLength: 2 }), law), { numRuns: 3000 })
    expect(matched).toBeGreaterThan(100)
  })
  test('what cannot be read is refused', () => {
    const schedule = { cron: '61 * * * *', durationMs: 1, timeZone: 'UTC' }
    expect(() => new CompiledSilence(silence({ schedule }))).toThrow(/schedule/)
    expect(
      () => new CompiledSilence(silence({ schedule: { ...schedule, cron: '* * * * *', timeZone: 'Mars' } })),
    ).toThrow(/schedule/)
    const matchers = [{ name: 'a', value: '(', isRegex: true, isEqual: true }]
    expect(() => new CompiledSilence(silence({ matchers }))).toThrow()
  })
})

describe('stages', () => {
  const alert = {
    id: 'a',
    severity: 'warning',
    told: toldNothing,
    facts: { channels: ['mail', 'pager', 'gone'] },
  } as unknown as Alert
  const world: Knowledge = {
    now: 0,
    inhibitor: () => null,
    silence: () => null,
    group: () => null,
    channel: (id) =>
      id === 'gone'
        ? null
        : { enabled: true, configured: true, severityFilter: id === 'pager' ? ['critical', 'emergency'] : [] },
  }
  const news: News = { alert, event: 'firing', mark: 'firing' }
  const last = (more: Partial<Knowledge>, of: News = news) => judge(of, { ...world, ...more }).at(-1)!

  test('stand in one visible order', () => {
    expect(stages.map((stage) => stage.name)).toEqual(['inhibited', 'silenced', 'grouped', 'deduplicated', 'routed'])
    expect(judge(news, world).map((verdict) => verdict.stage)).toEqual(stages.map((stage) => stage.name))
  })
  test('the first that does not let it pass ends the way', () => {
    expect(last({ inhibitor: () => 'r2', silence: () => 's' })).toMatchObject({ stage: 'inhibited', by: 'rule:r2' })
    expect(last({ silence: () => 's' })).toMatchObject({ stage: 'silenced', by: 'silence:s', passed: false })
    expect(last({ group: () => 'g' })).toMatchObject({ stage: 'grouped', groupKey: 'g', passed: false })
    const said = { ...news, alert: { ...alert, told: { channels: [], marks: ['firing'] } } }
    expect(last({}, said)).toMatchObject({ stage: 'deduplicated', passed: false })
  })
  test('routing says who is told and why others are not', () => {
    const verdict = last({})
    expect(verdict).toMatchObject({ passed: true, channels: ['mail'] })
    expect(verdict.reason).toBe('to mail; pager: does not take warning; gone: does not exist any more')
  })
  test('an end goes to whoever heard of the beginning, whatever hides it', () => {
    const end: News = {
      alert: { ...alert, told: { channels: ['pager'], marks: ['firing'] } },
      event: 'resolved',
      mark: 'resolved',
    }
    expect(last({ inhibitor: () => 'r2', silence: () => 's' }, end)).toMatchObject({
      passed: true,
      channels: ['pager'],
    })
  })
})

test('what needs somebody comes first', () => {
  const order = (['resolved', 'suppressed', 'acknowledged', 'active'] as const).flatMap((status) =>
    (['info', 'emergency', 'warning', 'critical'] as const).map((severity) => ({ status, severity })),
  )
  order.sort((a, b) => rankOf(a.status, a.severity) - rankOf(b.status, b.severity))
  expect(order.slice(0, 5).map(({ status, severity }) => `${status} ${severity}`)).toEqual([
    'active emergency',
    'active critical',
    'active warning',
    'active info',
    'acknowledged emergency',
  ])
})

test('an anomaly is shown as a score against its own alarm, whatever the unit of the metric', () => {
  const draft = {
    id: 'r',
    name: 'Odd CPU',
    description: '',
    severity: 'warning',
    metricName: 'system.cpu_usage',
  } as const
  const rule = complete({ ...draft, source: { kind: 'anomaly' } }, 0)
  const deed = { kind: 'opened', alertId: 'a', at: 0, since: 0, value: 0.9, why: 'breach', flapping: false } as const
  const alert = openAlert({ rule, labels: [], seriesKey: '', deed, escalationMs: 0, now: 0 })
  expect([alert.title, alert.threshold]).toEqual(['Odd CPU: 0.9, limit 0.5', 0.5])
  expect(alert.message).toContain('score 0.9, where 0.5 is an alarm')
})
