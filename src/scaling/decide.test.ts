/** The rules of deciding, one row each: what is there, what is seen, what is wanted and what held it back. */
import { describe, expect, test } from 'vitest'
import { carriedOut, decide, newState, type ScalerState } from './decide.ts'
import { afterStepDown, isSchedule, scheduleMoment, stepUp } from './limits.ts'
import type { Constraint, DecideSettings, Decision, Observation, Policy, Target } from './model.ts'

const T0 = Date.UTC(2026, 2, 2, 9, 0, 0)

const target: Target = {
  name: 'market',
  driver: 'process',
  minInstances: 1,
  maxInstances: 100,
  limitMs: 100,
  demand: 'demand',
  cpu: 'cpu',
  responseTime: 'response',
  economics: { pricePerInstanceHour: 0.1, slowPerMillion: 5, lostPerMillion: 50, currency: null },
  schedules: [],
  events: [],
}

const policy = (over: Partial<Policy> = {}): Policy => ({
  name: 'cpu_scaling',
  target: 'market',
  metricName: 'system.cpu_usage',
  scaleUpThreshold: 80,
  scaleDownThreshold: 30,
  minInstances: 1,
  maxInstances: 10,
  cooldownPeriod: 300,
  enabled: true,
  breachFor: 0,
  clearFor: 0,
  maxStepUp: '50%',
  maxStepDown: '50%',
  predictive: 'off',
  onMissingMetric: 'hold',
  fallbackInstances: null,
  version: 1,
  ...over,
})

const settings = (over: Partial<DecideSettings> = {}): DecideSettings => ({
  target,
  policies: [policy()],
  globalMin: 1,
  globalMax: 20,
  pause: null,
  hold: null,
  ...over,
})

const seen = (ready: number, cpu: number | null, over: Partial<Observation> = {}): Observation => ({
  ready,
  starting: 0,
  draining: 0,
  demand: null,
  cpu,
  memory: null,
  responseMs: null,
  metrics: { 'system.cpu_usage': cpu },
  forecast: [],
  ...over,
})

const constraints = (d: Decision): Constraint[] => d.held.map((h) => h.constraint)

/** Cycles of 60 s with the same observation; decisions are carried out unless said. */
function run(cycles: number, what: Observation, s: DecideSettings, from = newState(), at = T0) {
  let state: ScalerState = from
  let decision!: Decision
  let now = at
  for (let i = 0; i < cycles; i++, now += 60_000) {
    ;({ state, decision } = decide(state, what, s, now))
    if (decision.action !== 'maintain') state = carriedOut(state, decision, now)
  }
  return { state, decision, now }
}

describe('one policy', () => {
  test.each<[number, number | null, number, Constraint[]]>([
    // ready, CPU, wanted, held
    [1, 90, 2, []],
    [2, 90, 3, []],
    [3, 90, 5, []],
    [4, 90, 6, []],
    [3, 80, 3, []],
    [3, 30, 3, []],
    [3, 20, 1, []],
    [4, 20, 2, []],
    [1, 20, 1, ['min']],
    [9, 90, 10, ['max']],
    [4, null, 4, ['missing_metric']],
    [4, Number.NaN, 4, ['missing_metric']],
    [0, 50, 1, ['min']],
  ])('%i ready at %s %% wants %i (%j)', (ready, cpu, wanted, held) => {
    const { decision } = decide(newState(), seen(ready, cpu), settings(), T0)
    expect(decision.wanted).toBe(wanted)
    expect(decision.current).toBe(ready)
    expect(constraints(decision)).toEqual(held)
    expect(decision.action).toBe(wanted > ready ? 'scale_up' : wanted < ready ? 'scale_down' : 'maintain')
  })

  test('what is starting counts towards the wish', () => {
    expect(decide(newState(), seen(2, 90, { starting: 1 }), settings(), T0).decision.wanted).toBe(3)
    expect(decide(newState(), seen(2, 90, { starting: 1 }), settings(), T0).decision.action).toBe('maintain')
  })

  describe('fewer ready than wanted', () => {
    const short = (ready: number, wanted: number, starting: number) => seen(ready, 90, { wanted, starting })
    const grown = (ready: number, wanted: number, starting: number, cycles: number, from = newState()) =>
      run(cycles, short(ready, wanted, starting), settings(), from)

    test('what is starting is waited for: as long as two starts take, then the step is taken from what is wanted', () => {
      expect(grown(2, 4, 2, 2).decision).toMatchObject({ action: 'maintain', current: 2, wanted: 4 })
      const { decision } = grown(2, 4, 2, 3)
      expect(decision).toMatchObject({ action: 'scale_up', current: 2, wanted: 6 })
      expect(decision.reason).toContain('2 of 4 wanted are ready, and no more are coming')
    })

    test('one that gets ready gives the others their time again', () => {
      const first = grown(1, 4, 3, 2)
      expect(run(2, short(2, 4, 2), settings(), first.state, first.now).decision.wanted).toBe(4)
    })

    test('missing from the first look on, with nothing being started: nothing is waited for', () => {
      expect(grown(0, 1, 0, 1).decision).toMatchObject({ action: 'scale_up', current: 0, wanted: 2 })
    })

    test('one that was lost is replaced, not counted twice', () => {
      const before = run(2, seen(3, 70, { wanted: 3 }), settings())
      expect(run(2, short(2, 3, 0), settings(), before.state, before.now).decision.wanted).toBe(3)
    })

    test('never more than one step within the cooldown, and never beyond the limits', () => {
      let state = newState()
      let wanted = 1
      const steps: number[] = []
      for (let now = T0; now < T0 + 3_600_000; now += 15_000) {
        const outcome = decide(state, short(0, wanted, wanted), settings(), now)
        state = outcome.state
        if (outcome.decision.action === 'maintain') continue
        expect(now - (state.lastAction?.at ?? 0)).toBeGreaterThanOrEqual(300_000)
        state = carriedOut(state, outcome.decision, now)
        wanted = outcome.decision.wanted
        steps.push(wanted)
      }
      expect(steps).toEqual([2, 3, 5, 8, 10])
    })
  })

  test('a value has to stand beyond its threshold for as long as the policy says', () => {
    const s = settings({ policies: [policy({ breachFor: 120, clearFor: 120 })] })
    expect(run(1, seen(2, 90), s).decision.held[0]).toMatchObject({ constraint: 'stabilization', from: 3, to: 2 })
    expect(run(2, seen(2, 90), s).decision.action).toBe('maintain')
    expect(run(3, seen(2, 90), s).decision.wanted).toBe(3)
    expect(run(2, seen(4, 10), s).decision.wanted).toBe(4)
    expect(run(3, seen(4, 10), s).decision.wanted).toBe(2)
    const broken = run(1, seen(2, 50), s, run(2, seen(2, 90), s).state, T0 + 120_000)
    expect(run(1, seen(2, 90), s, broken.state, broken.now).decision.action).toBe('maintain')
  })

  test('its cooldown begins when an action was carried out, not when one was thought of', () => {
    const first = decide(newState(), seen(2, 90), settings(), T0)
    expect(first.state.policies.cpu_scaling?.lastActionAt).toBeNull()
    const failed = decide(first.state, seen(2, 90), settings(), T0 + 60_000)
    expect(failed.decision.wanted).toBe(3)
    const done = carriedOut(first.state, first.decision, T0)
    expect(done.policies.cpu_scaling?.lastActionAt).toBe(T0)
    const again = decide(done, seen(3, 90), settings(), T0 + 299_000).decision
    expect(again.wanted).toBe(3)
    expect(again.held[0]).toMatchObject({ constraint: 'cooldown', from: 5, to: 3 })
    expect(decide(done, seen(3, 90), settings(), T0 + 300_000).decision.wanted).toBe(5)
    expect(decide(done, seen(3, 10), settings(), T0 + 299_000).decision.wanted).toBe(3)
    expect(decide(done, seen(3, 10), settings(), T0 + 300_000).decision.wanted).toBe(1)
  })

  test('a missing metric falls back to more, never to fewer', () => {
    const s = settings({ policies: [policy({ onMissingMetric: 'fallback', fallbackInstances: 4 })] })
    const up = decide(newState(), seen(2, null), s, T0).decision
    expect([up.wanted, up.trigger]).toEqual([4, 'fallback'])
    expect(decide(newState(), seen(6, null), s, T0).decision.wanted).toBe(6)
  })

  test('steps are whole instances', () => {
    expect([1, 2, 3, 5].map((n) => stepUp(n, '50%'))).toEqual([1, 1, 2, 3])
    expect([1, 2, 3, 5].map((n) => afterStepDown(n, '50%'))).toEqual([0, 1, 1, 2])
    expect([stepUp(0, '50%'), stepUp(4, 3), afterStepDown(2, 3)]).toEqual([1, 3, 0])
  })
})

describe('policies together', () => {
  const memory = policy({ name: 'memory_scaling', metricName: 'memory', scaleUpThreshold: 85, scaleDownThreshold: 40 })
  const both = settings({ policies: [policy(), { ...memory, maxStepUp: '100%' }] })
  const at = (ready: number, cpu: number | null, mem: number | null) =>
    decide(newState(), seen(ready, cpu, { metrics: { 'system.cpu_usage': cpu, memory: mem } }), both, T0).decision

  test.each<[number | null, number | null, number, string]>([
    [90, 50, 6, 'cpu_scaling'],
    [50, 90, 8, 'memory_scaling'],
    [90, 90, 8, 'memory_scaling'],
    [10, 10, 2, 'cpu_scaling'],
    [10, 50, 4, 'memory_scaling'],
    [10, 90, 8, 'memory_scaling'],
    [10, null, 2, 'cpu_scaling'],
    [null, null, 4, 'nobody'],
  ])('4 ready, CPU %s, memory %s: %i by %s', (cpu, mem, wanted, by) => {
    const d = at(4, cpu, mem)
    expect(d.wanted).toBe(wanted)
    if (wanted !== 4) expect(d.by).toBe(by)
    expect(d.proposals.map((p) => p.by)).toEqual(['cpu_scaling', 'memory_scaling'])
  })

  test('what grew for one is not shrunk by another within its cooldown', () => {
    const up = decide(newState(), seen(4, 90), both, T0)
    const done = carriedOut(up.state, up.decision, T0)
    expect(done.policies.memory_scaling?.lastActionAt).toBeNull()
    const calm = seen(6, 10, { metrics: { 'system.cpu_usage': 10, memory: 10 } })
    expect(decide(done, calm, both, T0 + 200_000).decision.wanted).toBe(6)
    expect(decide(done, calm, both, T0 + 300_000).decision.wanted).toBe(3)
  })

  test('a policy that is off has no say', () => {
    const s = settings({ policies: [policy(), { ...memory, enabled: false, minInstances: 5 }] })
    expect(decide(newState(), seen(4, 10), s, T0).decision.wanted).toBe(2)
  })

  test("a policy's maximum binds its own wish, and shrinks nothing", () => {
    const s = settings({ policies: [policy({ maxInstances: 5 })] })
    expect(decide(newState(), seen(4, 90), s, T0).decision.wanted).toBe(5)
    expect(decide(newState(), seen(8, 90), s, T0).decision.wanted).toBe(8)
  })
})

describe('what holds a count', () => {
  test('the global clamp, and the decision says so', () => {
    const s = settings({ policies: [policy({ maxInstances: 50 })], globalMax: 5 })
    const d = decide(newState(), seen(4, 90), s, T0).decision
    expect(d.wanted).toBe(5)
    expect(d.held[0]).toMatchObject({ constraint: 'max', from: 6, to: 5 })
    expect(d.reason).toContain('AUTO_SCALING_MAX_INSTANCES')
    expect(decide(newState(), seen(9, 50), s, T0).decision.wanted).toBe(5)
  })

  test('pause, until it is over; a person may still say a number', () => {
    const pause = { until: T0 + 60_000, by: 'ann', reason: 'migration' }
    const d = decide(newState(), seen(4, 90), settings({ pause }), T0).decision
    expect([d.wanted, constraints(d)]).toEqual([4, ['paused']])
    expect(decide(newState(), seen(4, 90), settings({ pause }), T0 + 60_000).decision.wanted).toBe(6)
    const hold = { wanted: 3, until: T0 + 300_000, by: 'ann', reason: 'test' }
    expect(decide(newState(), seen(4, 90), settings({ pause, hold }), T0).decision.wanted).toBe(3)
  })

  test('a manual hold, until it is over, within the clamp', () => {
    const hold = { wanted: 3, until: T0 + 300_000, by: 'ann', reason: 'demo' }
    const d = decide(newState(), seen(4, 90), settings({ hold }), T0).decision
    expect([d.wanted, d.trigger, d.by, d.confidence]).toEqual([3, 'manual', 'ann', 1])
    expect(d.held).toMatchObject([{ constraint: 'manual_hold', from: 6, to: 3 }])
    expect(decide(newState(), seen(4, 90), settings({ hold }), T0 + 300_000).decision.wanted).toBe(6)
    expect(decide(newState(), seen(4, 90), settings({ hold: { ...hold, wanted: 99 } }), T0).decision.wanted).toBe(20)
  })

  test('what is done by hand is said once, and so is what is held by hand', () => {
    const hold = { wanted: 3, until: T0 + 300_000, by: 'ann', reason: 'demo' }
    const reason = (ready: number) => decide(newState(), seen(ready, 50), settings({ hold }), T0).decision.reason
    expect(reason(4)).toBe('From 4 down to 3 instances: demo.')
    expect(reason(3)).toBe('Stays at 3 instances: ann holds 3: demo.')
  })

  test('a target without a policy says so', () => {
    const reason = (policies: Policy[]) => decide(newState(), seen(3, 50), settings({ policies }), T0).decision.reason
    expect(reason([])).toBe('Stays at 3 instances: no policy is enabled for it.')
    expect(reason([policy({ enabled: false })])).toBe('Stays at 3 instances: no policy is enabled for it.')
    expect(reason([policy({ metricName: 'other' })])).toBe('Stays at 3 instances: no policy has data.')
  })

  test('a lost instance stays wanted, an added one is kept, one being removed does not come back', () => {
    const up = decide(newState(), seen(2, 90), settings(), T0)
    const three = carriedOut(up.state, up.decision, T0)
    expect(decide(three, seen(2, 50), settings(), T0 + 60_000).decision).toMatchObject({
      wanted: 3,
      action: 'maintain',
    })
    expect(decide(three, seen(5, 50), settings(), T0 + 60_000).decision.wanted).toBe(5)
    const down = decide(newState(), seen(4, 10), settings(), T0)
    const two = carriedOut(down.state, down.decision, T0)
    expect(decide(two, seen(4, 50), settings(), T0 + 60_000).decision.wanted).toBe(2)
    expect(decide(newState(), seen(1, 50, { wanted: 3 }), settings(), T0).decision.wanted).toBe(3)
  })

  test('flapping makes shrinking wait', () => {
    const s = settings({ policies: [policy({ cooldownPeriod: 60 })] })
    let state = newState()
    let turns = 0
    for (let i = 0; i < 60; i++) {
      const now = T0 + i * 60_000
      const ready = state.wanted ?? 4
      const d = decide(state, seen(ready, i % 2 === 0 ? 95 : 5), s, now)
      state = d.decision.action === 'maintain' ? d.state : carriedOut(d.state, d.decision, now)
      turns = Math.max(turns, state.turns.length)
    }
    expect(turns).toBeGreaterThan(4)
    expect(turns).toBeLessThan(20)
  })
})

describe('schedules and events', () => {
  const nineToFive = {
    name: 'office',
    cron: '0 9 * * 1-5',
    timeZone: 'Europe/Berlin',
    minimum: 5,
    lastsMs: 8 * 3_600_000,
  }
  const nine = Date.UTC(2026, 2, 2, 8, 0, 0)

  test.each([
    [nine - 120_000, null],
    [nine - 60_000, nine],
    [nine, nine],
    [nine + 3_600_000, nine],
    [nine + 8 * 3_600_000 - 1, nine],
    [nine + 8 * 3_600_000, null],
    [Date.UTC(2026, 2, 7, 8, 30), null],
    [Date.UTC(2026, 5, 1, 7, 30), Date.UTC(2026, 5, 1, 7, 0)],
  ])('at %i the moment in force is %s', (now, moment) => {
    expect(scheduleMoment(nineToFive, now, 60_000)).toBe(moment)
  })

  test('a schedule holds its minimum, and nothing else', () => {
    const s = settings({ target: { ...target, schedules: [nineToFive] } })
    const d = decide(newState(), seen(2, 50), s, nine + 1000).decision
    expect([d.wanted, d.trigger, d.by]).toEqual([5, 'schedule', 'office'])
    expect(decide(newState(), seen(5, 10), s, nine + 1000).decision.wanted).toBe(5)
    expect(decide(newState(), seen(8, 10), s, nine + 1000).decision.wanted).toBe(5)
    expect(decide(newState(), seen(8, 90), s, nine + 1000).decision.wanted).toBe(10)
  })

  test('an expression that is none is refused, and holds nothing', () => {
    expect(isSchedule({ cron: 'every day', timeZone: 'UTC' })).toBe(false)
    expect(isSchedule({ cron: '0 9 * * *', timeZone: 'Mars/Olympus' })).toBe(false)
    expect(scheduleMoment({ ...nineToFive, cron: 'nonsense' }, nine, 0)).toBeNull()
  })

  test('a known event holds its minimum from a start-up time before it', () => {
    const event = { name: 'final', from: T0 + 60_000, until: T0 + 600_000, minimum: 7, demandFactor: null }
    const s = settings({ target: { ...target, events: [event] } })
    expect(decide(newState(), seen(2, 50), s, T0 - 1).decision.wanted).toBe(2)
    expect(decide(newState(), seen(2, 50), s, T0).decision).toMatchObject({ wanted: 7, by: 'final' })
    expect(decide(newState(), seen(7, 10), s, T0 + 599_000).decision.wanted).toBe(7)
    expect(decide(newState(), seen(7, 10), s, T0 + 600_000).decision.wanted).toBe(3)
  })
})
