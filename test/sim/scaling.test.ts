/** Laws of deciding over whole histories, and the parts that judge it: proof, simulation, optimum, grade, recommendation. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { carriedOut, decide, newState, type ScalerState } from '../../src/scaling/decide.ts'
import { gradeDecision } from '../../src/scaling/grade.ts'
import type { DecideSettings, Observation } from '../../src/scaling/model.ts'
import { optimumOf } from '../../src/scaling/optimum.ts'
import { settingsFrom } from '../../src/scaling/plain.ts'
import { replayLoad } from '../../src/scaling/proof.ts'
import { recommend } from '../../src/scaling/recommend.ts'
import { costOf, fitService, type Service, serve } from '../../src/scaling/service.ts'
import { type HistoryRow, simulate } from '../../src/scaling/simulate.ts'

const STEP = 30_000
const FIT = { serviceMs: 40, workers: 4, factor: 1 }
const SERVICE: Service = { rate: 100, knee: 0.877, fit: FIT, limitMs: 100 }
const PRICES = { pricePerInstanceHour: 0.1, slowPerMillion: 5, lostPerMillion: 50 }

/** Half a day that rises and falls, with a crowd in the middle; `counts` of who was there. */
function history(seed: number, steps = 1440, count = 12, crowds = true): HistoryRow[] {
  const random = seededRandom(seed)
  let waiting = 0
  return Array.from({ length: steps }, (_, i) => {
    const wave = 500 + 300 * Math.sin(i / 120)
    const crowd = crowds && i > 700 && i < 760 ? 500 : 0
    const demand = (wave + crowd) * (0.97 + 0.06 * random.next())
    const served = serve(SERVICE, count, demand, STEP / 1000, waiting)
    waiting = served.backlog
    return {
      at: (i + 1) * STEP,
      demand,
      cpu: 100 * served.load,
      responseMs: served.responseMs,
      ready: count,
      memory: 50,
    }
  })
}

const settings = (over: object = {}): DecideSettings =>
  settingsFrom({ step_s: STEP / 1000, startup_delay_s: 60, min_instances: 2, max_instances: 30, ...over })

describe('laws', () => {
  const observation = fc.record({
    ready: fc.integer({ min: 0, max: 40 }),
    starting: fc.integer({ min: 0, max: 10 }),
    demand: fc.option(fc.double({ min: 0, max: 1e6, noNaN: true })),
    cpu: fc.option(fc.double({ min: 0, max: 100, noNaN: true })),
    responseMs: fc.option(fc.double({ min: 0, max: 1e5, noNaN: true })),
    gap: fc.integer({ min: 1, max: 300 }),
  })
  type Row = {
    ready: number
    starting: number
    demand: number | null
    cpu: number | null
    responseMs: number | null
    gap: number
  }
  const seenOf = (row: Row): Observation => ({
    ...row,
    draining: 0,
    memory: null,
    metrics: { 'system.cpu_usage': row.cpu, 'application.api_response_time': row.responseMs },
    forecast: [],
  })
  const finite = (value: unknown): boolean =>
    typeof value === 'number'
      ? Number.isFinite(value)
      : typeof value !== 'object' || value === null || Object.values(value).every(finite)

  test('always between minimum and maximum, never NaN, the same again, through JSON', () => {
    fc.assert(
      fc.property(
        fc.array(observation, { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 0, max: 5 }),
        (rows, min) => {
          const s = settings({ min_instances: min, max_instances: min + 12 })
          let state: ScalerState = newState()
          let now = 1_700_000_000_000
          for (const row of rows) {
            now += row.gap * 1000
            const first = decide(state, seenOf(row), s, now)
            const again = decide(JSON.parse(JSON.stringify(state)), seenOf(row), s, now)
            expect(JSON.stringify(again)).toBe(JSON.stringify(first))
            const { decision } = first
            expect(decision.wanted).toBeGreaterThanOrEqual(min)
            expect(decision.wanted).toBeLessThanOrEqual(min + 12)
            expect(finite(decision)).toBe(true)
            expect(decision.confidence).toBeGreaterThanOrEqual(0)
            expect(decision.confidence).toBeLessThanOrEqual(1)
            state = decision.action === 'maintain' ? first.state : carriedOut(first.state, decision, now)
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  test('what was recorded, replayed, decides as it did live', () => {
    const s = settings()
    const recorded: { state: string; seen: string; now: number; decision: string }[] = []
    let state: ScalerState = newState()
    let ready = 6
    for (const row of history(5, 400)) {
      const cpu = Math.min(100, row.demand! / ready)
      const seen = seenOf({ ready, starting: 0, demand: row.demand, cpu, responseMs: 50, gap: 0 })
      const outcome = decide(state, seen, s, row.at)
      recorded.push({
        state: JSON.stringify(state),
        seen: JSON.stringify(seen),
        now: row.at,
        decision: JSON.stringify(outcome.decision),
      })
      state = carriedOut(outcome.state, outcome.decision, row.at)
      ready = outcome.decision.wanted
    }
    for (const r of recorded) {
      expect(JSON.stringify(decide(JSON.parse(r.state), JSON.parse(r.seen), s, r.now).decision)).toBe(r.decision)
    }
  })

  test('more demand never wants fewer, whole decisions in any state of half a day', () => {
    const s = settings()
    const states: { state: ScalerState; at: number; ready: number }[] = []
    for (const seed of [7, 8, 9]) {
      let state: ScalerState = newState()
      let ready = 8
      let waiting = 0
      for (const row of history(seed, 900)) {
        const served = serve(SERVICE, ready, row.demand!, STEP / 1000, waiting)
        waiting = served.backlog
        const cpu = 100 * served.load
        const what = { ready, starting: 0, demand: row.demand, cpu, responseMs: served.responseMs, gap: 0 }
        const outcome = decide(state, seenOf(what), s, row.at)
        state = carriedOut(outcome.state, outcome.decision, row.at)
        ready = outcome.decision.wanted
        // In the first hour a fall is news of how much demand moves, and may ask for more than calm does.
        if (row.at > 120 * STEP) states.push({ state, at: row.at, ready })
      }
    }
    fc.assert(
      fc.property(
        fc.nat({ max: states.length - 1 }),
        fc.double({ min: 20, max: 1500, noNaN: true }),
        fc.double({ min: 1.1, max: 3, noNaN: true }),
        (i, demand, more) => {
          const { state, at, ready } = states[i]!
          const wanted = (rate: number) => {
            const served = serve(SERVICE, ready, rate, STEP / 1000, 0)
            const what = { ready, starting: 0, demand: rate, cpu: 100 * served.load, responseMs: served.responseMs }
            return decide(state, seenOf({ ...what, gap: 0 }), s, at + STEP).decision.wanted
          }
          expect(wanted(demand * more)).toBeGreaterThanOrEqual(wanted(demand))
        },
      ),
      { numRuns: 1500 },
    )
  })

  test('a plan that may only show changes nothing; it never scales in by itself', () => {
    const shown = (predictive: 'forecast_only' | 'scale', seed: number) => {
      const base = settings()
      const s = {
        ...base,
        policies: base.policies.map((p) => ({ ...p, predictive, scaleDownThreshold: 0, scaleUpThreshold: 99 })),
      }
      // From too few.
      return simulate(history(seed, 1440, 6), s, { service: SERVICE }).decisions
    }
    expect(shown('forecast_only', 1).filter((d) => d.decision.by === 'plan')).toEqual([])
    const scaled = shown('scale', 1)
    expect(scaled.some((d) => d.decision.trigger === 'predictive')).toBe(true)
    expect(scaled.filter((d) => d.to < d.from)).toEqual([])
    const first = scaled.find((d) => d.decision.trigger === 'predictive')!
    expect(first.at).toBeGreaterThan(60 * STEP)
    // Before its forecast has earned its place the plan is there too: "as now", as a reaction.
    const early = scaled.filter((d) => d.at < 60 * STEP && d.decision.by === 'plan')
    expect(early.map((d) => d.decision.trigger)).toEqual(early.map(() => 'reactive'))
    expect(early.length).toBeGreaterThan(0)
  })

  test('a known event that multiplies demand is prepared for', () => {
    const base = settings()
    const s = (factor: number | null): DecideSettings => ({
      ...base,
      target: {
        ...base.target,
        events: [{ name: 'final', from: 1000 * STEP, until: 1100 * STEP, minimum: null, demandFactor: factor }],
      },
    })
    const at = (d: DecideSettings) =>
      simulate(history(2), d, { service: SERVICE }).points.find((p) => p.at === 1000 * STEP)!.wanted
    expect(at(s(3))).toBeGreaterThan(2 * at(s(null)))
  })
})

describe('proof', () => {
  const load = { at: [0, STEP, 2 * STEP], demand: [300, 400, 300] }
  test.each<[number, boolean]>([
    [3, false],
    [4, false],
    [5, true],
    [6, true],
  ])('the last minutes against %i: holds %s', (count, holds) => {
    expect(replayLoad(load, count, SERVICE).holds).toBe(holds)
  })

  test('a removal that would not have held is held back, and says so', () => {
    const base = settings()
    // A policy that would halve at any load, without a plan.
    const s = {
      ...base,
      policies: [{ ...base.policies[1]!, scaleDownThreshold: 85, scaleUpThreshold: 85, maxStepDown: '50%' as const }],
    }
    const r = simulate(history(3), s, { service: SERVICE })
    const held = r.decisions.flatMap((d) => d.decision.held).filter((h) => h.constraint === 'proof_failed')
    expect(held.length).toBeGreaterThan(0)
    expect(held[0]!.detail).toMatch(/would have come to \d+ ms, the limit is 100 ms/)
    expect(r.policy.minutesOverLimit).toBeLessThan(60)
  })
})

describe('simulation', () => {
  test('fits the service, and the plan stands between the optimum and the rule of Kubernetes', () => {
    // From the first cycle on, with a sudden crowd in it.
    const rows = history(4)
    const fitted = fitService(rows, 100)!
    expect(fitted.rate).toBeCloseTo(100, 0)
    const r = simulate(rows, settings())
    expect(r.optimum.cost).toBeLessThan(r.policy.cost)
    expect(r.policy.cost).toBeLessThan(0.95 * r.hpa.cost)
    expect(r.policy.cost).toBeLessThan(r.happened!.cost)
    expect(r.happened!.instanceHours).toBeCloseTo(12 * 12, 0)
    expect(r.happened!.actions).toBe(0)
    expect(r.points).toHaveLength(r.steps)
    expect(simulate(rows, settings()).decisions).toEqual(r.decisions)
  })

  test('a history that does not tell capacity is refused in words', () => {
    const blind = history(4, 100).map((row) => ({ ...row, cpu: null }))
    expect(() => simulate(blind, settings())).toThrow(/capacity of one instance/)
    expect(() => simulate([], settings())).toThrow(/fewer than two moments with application.requests_per_second/)
  })

  test('the optimum is no dearer than any other plan (small cases, all of them tried)', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 350 }), { minLength: 1, maxLength: 5 }), (demand) => {
        const range = { min: 1, max: 4, startUpMs: 60_000, stepS: 30 }
        const best = optimumOf(demand, SERVICE, PRICES, range)
        const start = (PRICES.pricePerInstanceHour * range.startUpMs) / 3_600_000
        const price = (plan: readonly number[]) =>
          plan.reduce((sum, n, t) => {
            const d = demand[t]!
            const slow = d > n * SERVICE.rate * SERVICE.knee ? Math.min(d, n * SERVICE.rate) * 30 : 0
            const grown = t === 0 ? 0 : Math.max(0, n - plan[t - 1]!)
            return sum + grown * start + costOf(PRICES, n, 30, slow, Math.max(0, d - n * SERVICE.rate) * 30)
          }, 0)
        const plans = demand.reduce<number[][]>((all) => all.flatMap((p) => [1, 2, 3, 4].map((n) => [...p, n])), [[]])
        const tried = Math.min(...plans.map(price))
        expect(best.cost).toBeCloseTo(tried, 9)
        expect(price([...best.counts])).toBeCloseTo(tried, 9)
      }),
      { numRuns: 60 },
    )
  })
})

describe('grade', () => {
  const came = (rate: number) => Array.from({ length: 20 }, (_, i) => ({ at: (i + 1) * STEP, demand: rate }))
  const grade = (base: number, wanted: number, rate: number) =>
    gradeDecision({ at: 0, current: base, base, wanted, startUpMs: 60_000 }, came(rate), SERVICE, PRICES, {
      min: 1,
      max: 20,
    })!

  test('what was right is near 1, too much and too little have less', () => {
    expect(grade(7, 7, 600)).toMatchObject({ grade: 1, best: 7 })
    // From too few, more than enough for a while clears what waits.
    expect(grade(4, 7, 600).grade).toBeGreaterThan(0.85)
    expect(grade(4, 7, 600).best).toBeGreaterThan(7)
    expect(grade(7, 14, 600).grade).toBeLessThan(0.7)
    expect(grade(7, 5, 600).grade).toBeLessThan(0.7)
  })
  test('violation avoided, and caused', () => {
    expect(grade(4, 7, 600).violationMinutesAvoided).toBeGreaterThan(5)
    expect(grade(8, 4, 600).violationMinutesAvoided).toBeLessThan(-5)
    expect(grade(7, 7, 600).violationMinutesAvoided).toBe(0)
  })
  test('nothing came, nothing is said', () => {
    const decided = { at: 0, current: 4, base: 4, wanted: 5, startUpMs: 0 }
    expect(gradeDecision(decided, [], SERVICE, PRICES, { min: 1, max: 9 })).toBeNull()
    expect(gradeDecision(decided, came(5), null, PRICES, { min: 1, max: 9 })).toBeNull()
  })
})

describe('recommendations', () => {
  const r = simulate(history(6), settings())
  const at = (ready: number, cpu: number, demand: number, more: Partial<Observation> = {}, state = r.state) =>
    recommend(
      state,
      {
        ready,
        starting: 0,
        draining: 0,
        demand,
        cpu,
        memory: null,
        responseMs: 50,
        metrics: { 'system.cpu_usage': cpu },
        forecast: [],
        ...more,
      },
      {
        ...settings(),
        policies: [{ ...settings().policies[1]!, scaleUpThreshold: 80, scaleDownThreshold: 30, maxStepDown: '50%' }],
      },
      r,
      1441 * STEP,
    )
  test.each<[number, string | undefined, string | undefined]>([
    [97, 'scale_up', 'high'],
    [85, 'scale_up', 'medium'],
    [50, undefined, undefined],
    [20, 'scale_down', 'low'],
  ])('CPU %i: %s %s', (cpu, type, priority) => {
    const found = at(20, cpu, cpu * 20)[0]
    expect(found?.type).toBe(type)
    expect(found?.priority).toBe(priority)
    if (found !== undefined) expect(found.evidence.length).toBeGreaterThan(0)
    if (type === 'scale_down') expect(found!.expectedSavingPerHour).toBeGreaterThan(0)
  })
  test('where nothing gets ready the step is taken from what is wanted, as a decision takes it', () => {
    expect(at(1, 97, 100, { wanted: 4 }, newState())[0]).toMatchObject({ type: 'scale_up', recommendedInstances: 6 })
    expect(at(1, 97, 100, { wanted: 4, starting: 3 }, newState())).toEqual([])
  })
})
