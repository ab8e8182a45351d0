import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Deed, FLAP_CALM_MS, FLAP_OPENS, type Input, idle, RECENT_MS, step, type Watch } from './alert.ts'
import { type Condition, levelOf, type Rule } from './rule.ts'

const base: Rule = {
  id: 'r',
  name: 'R',
  description: '',
  source: { kind: 'threshold' },
  metricName: 'x',
  labels: [],
  condition: 'gt',
  threshold: 80,
  severity: 'warning',
  channels: [],
  enabled: true,
  cooldownMs: 0,
  forMs: 0,
  recoveryThreshold: 80,
  recoverForMs: 0,
  noData: 'keep',
  windowMs: 300_000,
  tags: [],
  suppressedBy: [],
  runbookUrl: null,
  owner: null,
  provenance: 'api',
  extraLabels: {},
  annotations: {},
  createdAt: 0,
  version: 1,
}
const rule = (more: Partial<Rule>): Rule => ({ ...base, recoveryThreshold: more.threshold ?? 80, ...more })

/** Runs inputs at their own times; answers the deeds in short and the last watch. */
function run(r: Rule, inputs: readonly (Input & { now?: number })[], start: Watch = idle) {
  let watch = start
  let ids = 0
  const deeds: Deed[] = []
  for (const input of inputs) {
    const now = input.now ?? ('at' in input ? input.at : 0)
    const stepped = step(r, watch, input, now, () => `a${++ids}`)
    watch = stepped.watch
    deeds.push(...stepped.deeds)
  }
  return { watch, told: deeds.map((d) => `${d.kind} ${d.alertId} @${d.at} ${d.why}`) }
}
const v = (at: number, value: number): Input => ({ kind: 'value', at, value })

describe('levels', () => {
  test.each<[Condition, number, number, number, string]>([
    ['gt', 80, 80, 80, 'clear'],
    ['gt', 80, 80, 80.1, 'breach'],
    ['gt', 80, 75, 77, 'between'],
    ['gt', 80, 75, 75, 'clear'],
    ['gte', 80, 80, 80, 'breach'],
    ['lt', 70, 75, 72, 'between'],
    ['lt', 70, 75, 69, 'breach'],
    ['lte', 70, 70, 70, 'breach'],
    ['eq', 1, 1, 1.01, 'breach'],
    ['eq', 1, 1, 1.02, 'clear'],
    ['change_rate', 5, 5, 6, 'breach'],
    ['change_rate', -5, -5, -6, 'breach'],
    ['change_rate', -5, -5, 6, 'clear'],
    ['gt', 80, 80, Number.NaN, 'clear'],
  ])('%s %d (recovers at %d): %d is %s', (condition, threshold, recoveryThreshold, value, level) => {
    expect(levelOf({ condition, threshold, recoveryThreshold }, value)).toBe(level)
  })
})

describe('opening and closing', () => {
  test('at once when there is nothing to wait for', () => {
    expect(run(base, [v(0, 81), v(5, 90), v(10, 80)]).told).toEqual(['opened a1 @0 breach', 'closed a1 @10 recovered'])
  })

  test.each([
    [59_999, 'pending'],
    [60_000, 'firing'],
  ])('`for` of a minute, %i ms in breach: %s', (ms, kind) => {
    expect(run(rule({ forMs: 60_000 }), [v(0, 81), v(ms, 81)]).watch.kind).toBe(kind)
  })

  test('one good sample starts `for` anew', () => {
    const { watch } = run(rule({ forMs: 60_000 }), [v(0, 81), v(50_000, 79), v(55_000, 81), v(100_000, 81)])
    expect(watch).toMatchObject({ kind: 'pending', since: 55_000 })
  })

  test('a tick completes `for` while the newest sample is recent, never after a gap', () => {
    const waiting = rule({ forMs: 60_000 })
    const tick = (now: number) => [v(0, 81), { kind: 'tick', at: 0, value: 81, now }] as const
    expect(run(waiting, tick(60_000)).watch.kind).toBe('firing')
    expect(run(rule({ forMs: RECENT_MS + 1 }), tick(RECENT_MS + 1)).watch.kind).toBe('pending')
  })

  test('hysteresis: between the thresholds nothing moves, in either direction', () => {
    const r = rule({ recoveryThreshold: 75 })
    expect(run(r, [v(0, 77)]).watch.kind).toBe('idle')
    expect(run(r, [v(0, 81), v(1, 77), v(2, 76)]).watch.kind).toBe('firing')
    expect(run(r, [v(0, 81), v(1, 75)]).told).toHaveLength(2)
  })

  test('recovery has to last, and a relapse starts it anew', () => {
    const r = rule({ recoverForMs: 100 })
    expect(run(r, [v(0, 81), v(10, 70), v(109, 70), v(110, 70)]).told[1]).toBe('closed a1 @110 recovered')
    expect(run(r, [v(0, 81), v(10, 70), v(50, 81), v(120, 70), v(219, 70)]).watch.kind).toBe('firing')
  })

  test('cooldown holds back the next alert, and it opens when the time is over', () => {
    const r = rule({ cooldownMs: 1000 })
    const { told } = run(r, [v(0, 81), v(10, 70), v(20, 81), v(1009, 81), v(1010, 81)])
    expect(told).toEqual(['opened a1 @0 breach', 'closed a1 @10 recovered', 'opened a2 @1010 breach'])
  })

  test('the worst value is kept', () => {
    const { watch } = run(base, [v(0, 81), v(1, 95), v(2, 85)])
    expect(watch).toMatchObject({ peak: 95 })
    expect(run(rule({ condition: 'lt', threshold: 70 }), [v(0, 60), v(1, 40), v(2, 50)]).watch).toMatchObject({
      peak: 40,
    })
  })
})

describe('missing data', () => {
  const absent = (now: number): Input & { now: number } => ({ kind: 'absent', at: 0, now })
  test.each([
    ['keep', 'firing', 1],
    ['alert', 'firing', 1],
    ['resolve', 'idle', 2],
  ] as const)('%s, while firing: %s', (noData, kind, deeds) => {
    const { watch, told } = run(rule({ noData }), [v(0, 81), absent(500_000)])
    expect([watch.kind, told.length]).toEqual([kind, deeds])
  })
  test.each([
    ['keep', 'idle'],
    ['alert', 'firing'],
    ['resolve', 'idle'],
  ] as const)('%s, while idle: %s', (noData, kind) => {
    expect(run(rule({ noData }), [v(0, 70), absent(500_000)]).watch.kind).toBe(kind)
  })
  test('an alert for want of data resolves when good data come back', () => {
    expect(run(rule({ noData: 'alert' }), [absent(500_000), v(600_000, 70)]).told).toEqual([
      'opened a1 @500000 no_data',
      'closed a1 @600000 recovered',
    ])
  })
  test('a level that is given counts, whatever the value', () => {
    const there = (at: number, level: 'breach' | 'clear'): Input => ({ kind: 'value', at, value: 0, level })
    expect(run(base, [there(0, 'breach'), there(5, 'breach'), there(10, 'clear')]).told).toEqual([
      'opened a1 @0 breach',
      'closed a1 @10 recovered',
    ])
  })
  test('NaN is no value', () => {
    expect(run(base, [v(0, 81), v(1, Number.NaN)]).watch.kind).toBe('firing')
  })
})

describe('flapping', () => {
  const flips = Array.from({ length: FLAP_OPENS }, (_, i) => [v(i * 1000, 81), v(i * 1000 + 500, 70)]).flat()

  test('after so many openings it is held, told once, and resolves after calm', () => {
    const { told, watch } = run(base, flips)
    expect(watch).toMatchObject({ kind: 'firing', flapping: true })
    expect(told).toHaveLength(2 * FLAP_OPENS - 1)
    const start = (FLAP_OPENS - 1) * 1000 + 500
    expect(run(base, [...flips, v(start + FLAP_CALM_MS - 1, 70)]).watch.kind).toBe('firing')
    expect(run(base, [...flips, v(start + FLAP_CALM_MS, 70)]).watch.kind).toBe('idle')
  })

  test('openings far apart do not count together', () => {
    const slow = flips.map((input) => ({ ...input, at: (input as { at: number }).at * 1500 }) as Input)
    expect(run(base, slow).watch).toMatchObject({ kind: 'idle' })
  })
})

test('an end closes with its reason, and only what fires', () => {
  expect(run(base, [v(0, 81), { kind: 'end', why: 'rule_edited', now: 9 }]).told[1]).toBe('closed a1 @9 rule_edited')
  expect(run(rule({ forMs: 99 }), [v(0, 81), { kind: 'end', why: 'rule_edited', now: 9 }])).toMatchObject({
    told: [],
    watch: { kind: 'idle' },
  })
})

test('laws: openings and closings alternate, each closing names its opening, nothing opens without a breach', () => {
  const value = fc.double({ min: 60, max: 100, noNaN: true })
  const inputs = fc.array(fc.tuple(fc.integer({ min: 1, max: 120_000 }), value, fc.boolean()), { maxLength: 80 })
  const rules = fc.record({
    forMs: fc.constantFrom(0, 60_000, 300_000),
    recoverForMs: fc.constantFrom(0, 60_000),
    cooldownMs: fc.constantFrom(0, 300_000),
    recoveryThreshold: fc.constantFrom(80, 75),
  })
  fc.assert(
    fc.property(rules, inputs, (more, steps) => {
      const r = rule(more)
      let watch: Watch = idle
      let at = 0
      let last = Number.NaN
      let open: string | null = null
      let ids = 0
      for (const [gap, x, isTick] of steps) {
        const now = at + gap
        const input: Input = isTick ? { kind: 'tick', at, value: last } : { kind: 'value', at: now, value: x }
        if (!isTick) {
          at = now
          last = x
        }
        const stepped = step(r, watch, input, now, () => `a${++ids}`)
        for (const deed of stepped.deeds) {
          if (deed.kind === 'opened') {
            expect(open).toBeNull()
            expect(levelOf(r, deed.value)).toBe('breach')
            expect(deed.at - deed.since).toBeGreaterThanOrEqual(r.forMs)
            open = deed.alertId
          } else {
            expect(deed.alertId).toBe(open)
            open = null
          }
        }
        watch = stepped.watch
        expect(watch.kind === 'firing').toBe(open !== null)
      }
    }),
    { numRuns: 500 },
  )
})
