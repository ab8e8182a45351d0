/** The planner's parts against services and demands that are known: what it learns, what it weighs, what it may never do. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../base/random.ts'
import { settingsFrom } from '../plain.ts'
import { type CapacityModel, kneeOf, learnCapacity, newCapacityModel, responseAt } from './capacity.ts'
import { ahead, asNow, type DemandModel, learn, newDemandModel, rebase, unlink } from './forecast.ts'
import { newPlannerState, PLANNER, type PlannerState, planAhead } from './planner.ts'
import { asked, learnStartUp, newStartUpModel, startUpOf } from './start-up.ts'
import { type Weighing, weigh } from './weigh.ts'

const STEP = 15_000

const gauss = (r: { next(): number }) => Math.sqrt(-2 * Math.log(1 - r.next())) * Math.cos(2 * Math.PI * r.next())

describe('capacity', () => {
  /** A service that is measured with noise of the meters, at loads that move. */
  function measured(fit: { serviceMs: number; workers: number; factor: number }, seed: number, noise: number) {
    const random = seededRandom(seed)
    const rate = (1000 * fit.workers) / fit.serviceMs
    let m: CapacityModel = newCapacityModel()
    for (let i = 0; i < 3000; i++) {
      const rho = 0.25 + 0.68 * random.next()
      const ready = 2 + Math.floor(8 * random.next())
      m = learnCapacity(m, {
        ready,
        demand: rho * ready * rate,
        cpu: 100 * rho * (1 + noise * gauss(random)),
        responseMs: responseAt(fit, rho) * (1 + noise * gauss(random)),
      })
    }
    return { m, rate }
  }

  test.each([
    [1, 10, 50, 0.02],
    [4, 40, 100, 0.02],
    [4, 40, 100, 0.1],
    [16, 25, 60, 0.05],
    [64, 100, 150, 0.05],
  ])('%i workers of %i ms, limit %i ms, noise %s: rate and knee', (workers, serviceMs, limitMs, noise) => {
    const fit = { workers, serviceMs, factor: 1 }
    const { m, rate } = measured(fit, 7, noise)
    expect(m.rate / rate).toBeGreaterThan(0.96)
    expect(m.rate / rate).toBeLessThan(1.04)
    const truth = kneeOf({ ...m, fit }, limitMs)
    expect(Math.abs(kneeOf(m, limitMs) - truth)).toBeLessThan(0.05)
  })

  test('a backlog or a hiccup is not taken for capacity', () => {
    const { m } = measured({ workers: 4, serviceMs: 40, factor: 1 }, 3, 0.02)
    let after = m
    for (let i = 0; i < 20; i++) after = learnCapacity(after, { ready: 4, demand: 900, cpu: 100, responseMs: 9000 })
    for (let i = 0; i < 3; i++) after = learnCapacity(after, { ready: 4, demand: 4000, cpu: 20, responseMs: 40 })
    expect(Math.abs(after.rate / m.rate - 1)).toBeLessThan(0.02)
    expect(Math.abs(kneeOf(after, 100) - kneeOf(m, 100))).toBeLessThan(0.03)
  })

  test('nothing measured, nothing learnt', () => {
    const m = newCapacityModel()
    for (const seen of [
      { ready: 0, demand: 10, cpu: 50, responseMs: 50 },
      { ready: 2, demand: null, cpu: 50, responseMs: 50 },
      { ready: 2, demand: 10, cpu: null, responseMs: 50 },
      { ready: 2, demand: 0, cpu: 0, responseMs: null },
    ]) {
      expect(learnCapacity(m, seen)).toEqual(m)
    }
  })
})

describe('start-up', () => {
  test.each([15_000, 60_000, 180_000])('of %i ms is learnt from what becomes ready, to a cycle', (truth) => {
    let m = newStartUpModel()
    let starting: number[] = []
    let ready = 2
    for (let t = 0; t < 3_600_000; t += STEP) {
      while (starting.length > 0 && starting[0]! <= t - STEP) {
        starting.shift()
        ready++
      }
      m = learnStartUp(m, { ready, starting: starting.length }, STEP, t)
      if (t % 600_000 === 0) {
        m = asked(m, ready + starting.length + 1, t)
        starting.push(t + truth)
      }
      if (t % 600_000 === 450_000 && ready > 2) ready--
      starting = starting.slice()
    }
    expect(startUpOf(m, 1)).toBeGreaterThanOrEqual(truth - STEP)
    expect(startUpOf(m, 1)).toBeLessThanOrEqual(truth + STEP)
  })

  test("the driver's own measurements are taken as they are; before any, what the target says", () => {
    const m = learnStartUp(newStartUpModel(), { ready: 2, starting: 0, startUps: [20_000, 30_000] }, STEP, 0)
    expect(startUpOf(m, 1)).toBe(30_000)
    expect(startUpOf(newStartUpModel(), 45_000)).toBe(45_000)
  })
})

describe('forecast', () => {
  function fed(steps: number, rate: (i: number) => number, stepMs = STEP): DemandModel {
    let m = newDemandModel(stepMs)
    for (let i = 0; i < steps; i++) m = learn(m, rate(i), i * stepMs)
    return m
  }
  const upper = (m: DemandModel, k: number, q: number) => {
    const d = ahead(m)[k]!
    let sum = 0
    const bin = d.shares.findIndex((s) => {
      sum += s
      return sum >= q
    })
    return unlink(m, d.z + d.sigma * (-8 + 0.25 * bin))
  }

  test.each([15_000, 60_000])('a ramp goes on, seen every %i ms', (stepMs) => {
    // Up and down for a while, so that a ramp is known; then in the middle of one.
    const wave = (i: number) => 300 + 20 * Math.abs(((i + 30) % 60) - 30)
    const m = fed(1230 - 10, wave, stepMs)
    const now = wave(1219)
    const to = wave(1224)
    expect(to).toBeGreaterThan(now)
    expect(upper(m, 3, 0.5)).toBeGreaterThan(now + 0.4 * (to - now))
  })

  test('intervals hold about as often as they say', () => {
    const random = seededRandom(11)
    let m = newDemandModel(STEP)
    let z = 0
    let inside = 0
    let n = 0
    const due: { at: number; upper: number }[] = []
    for (let i = 0; i < 6000; i++) {
      z = 0.98 * z + 0.05 * gauss(random)
      const demand = 400 * Math.exp(z)
      while (due.length > 0 && due[0]!.at === i) {
        n++
        if (demand <= due.shift()!.upper) inside++
      }
      m = learn(m, demand, i * STEP)
      if (i > 1000) due.push({ at: i + 5, upper: upper(m, 3, 0.95) })
    }
    expect(inside / n).toBeGreaterThan(0.92)
    expect(inside / n).toBeLessThan(0.985)
  })

  test('a jump at the same minute of every day is expected, at another pace too', () => {
    const daily = (i: number) => 300 + (i % 1440 >= 540 && i % 1440 < 600 ? 400 : 0) + ((i * 7919) % 31)
    const m = fed(1440 * 4 + 538, daily, 60_000)
    expect(upper(m, 3, 0.9)).toBeGreaterThan(550)
    const again = learn(rebase(m, 15_000), 300, (1440 * 4 + 538) * 60_000)
    expect(again.shapes).toHaveLength(m.shapes.length)
    expect(again.shapes[1]!.bins[545]).toBe(m.shapes[1]!.bins[545])
  })

  test('Sunday is not Monday, once two weeks are known', () => {
    const minute = 60_000
    const weekly = (i: number) => {
      const day = Math.floor(i / 1440) % 7
      const busy = i % 1440 >= 540 && i % 1440 < 900 ? 1 : 0
      return 300 + busy * (day < 5 ? 600 : 60) + ((i * 7919) % 31)
    }
    // Saturday, a minute before the ramp of other days: the third week knows better than the second.
    const ramp = (week: number) => (week * 7 + 5) * 1440 + 537
    const [early, late] = [ramp(1), ramp(2)]
    const step = 5 * minute
    const at = (until: number) => {
      let m = newDemandModel(step)
      for (let i = 0; i <= until; i += 5) m = learn(m, weekly(i), i * minute)
      return m
    }
    const truth = weekly(late + 15)
    const miss = (m: DemandModel) => Math.abs(upper(m, 2, 0.5) - truth)
    expect(miss(at(late))).toBeLessThan(0.7 * miss(at(early)))
  })

  test("another's forecast is used for what it mends, and not once it says nothing", () => {
    const random = seededRandom(5)
    const jumps = Array.from({ length: 3000 }, () => 200 + 800 * random.next())
    // A new level every ten steps, which nobody can know but who was told.
    const rate = (i: number) => jumps[Math.floor(i / 10)]!
    const at = (told: (i: number) => number | null, from = 0, before?: DemandModel) => {
      let m = before ?? newDemandModel(STEP)
      for (let i = from; i < from + 2008; i++) m = learn(m, rate(i), i * STEP, (t) => told(Math.round(t / STEP)))
      return m
    }
    const alone = at(() => null)
    const helped = at(rate)
    const noise = at(() => 5000 * random.next())
    // Over many moments: how far off the middle of what is expected a few steps on is.
    const off = (m: DemandModel, told: (i: number) => number | null) => {
      let sum = 0
      for (let i = 2008; i < 2108; i++) {
        m = learn(m, rate(i), i * STEP, (t) => told(Math.round(t / STEP)))
        sum += Math.abs(Math.log(upper(m, 3, 0.5) / rate(i + 5)))
      }
      return sum / 100
    }
    expect(off(helped, rate)).toBeLessThan(0.3 * off(alone, () => null))
    expect(off(noise, () => 5000 * random.next())).toBeLessThan(1.1 * off(alone, () => null))
    const withdrawn = learn(helped, rate(2008), 2008 * STEP)
    const without = learn(alone, rate(2008), 2008 * STEP)
    expect(ahead(withdrawn)[3]!.z).toBeCloseTo(ahead(without)[3]!.z, 1)
  })

  test('a shape that turns to noise fades to "as now"', () => {
    const random = seededRandom(8)
    // Two days of a strict rhythm, then a walk that has none.
    let level = Math.log(500)
    let m = newDemandModel(STEP)
    for (let i = 0; i < 2 * 5760; i++) m = learn(m, 500 + 300 * Math.sin(i / 20), i * STEP)
    let [own, now, n] = [0, 0, 0]
    const due: { at: number; own: number; now: number }[] = []
    for (let i = 2 * 5760; i < 4 * 5760; i++) {
      level += 0.03 * gauss(random) + 0.01 * (Math.log(500) - level)
      const demand = Math.exp(level)
      while (due[0]?.at === i) {
        const d = due.shift()!
        own += Math.abs(demand - d.own)
        now += Math.abs(demand - d.now)
        n++
      }
      m = learn(m, demand, i * STEP)
      if (i > 3 * 5760) due.push({ at: i + 5, own: unlink(m, ahead(m)[3]!.z), now: unlink(m, asNow(m)[3]!.z) })
    }
    expect(n).toBeGreaterThan(5000)
    expect(own / now).toBeLessThan(1.1)
  })

  test('from the first sample on, through gaps and nothing, all is finite; a model is left as it was', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.double({ min: 0, max: 1e7, noNaN: true }), fc.integer({ min: 1, max: 50 })), {
          maxLength: 120,
        }),
        (steps) => {
          let m = newDemandModel(STEP)
          let at = 0
          for (const [demand, gap] of steps) {
            at += gap * STEP
            const before = JSON.stringify(m)
            const next = learn(m, demand, at)
            expect(JSON.stringify(m)).toBe(before)
            m = JSON.parse(JSON.stringify(next))
            expect(ahead(m)).toEqual(ahead(next))
            for (const d of [...ahead(m), ...asNow(m)]) {
              expect(Number.isFinite(d.z)).toBe(true)
              expect(d.sigma).toBeGreaterThan(0)
            }
          }
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('weighing', () => {
  const dist = (median: number, sigma: number) =>
    [1, 2, 3, 5, 8, 13, 21, 34].map((steps) => ({
      steps,
      z: Math.log(median),
      sigma: sigma * Math.sqrt(steps / 5),
      shares: shares(),
    }))
  function shares(): number[] {
    const all = Array.from({ length: 65 }, (_, b) => Math.exp(-((-8 + 0.25 * b) ** 2) / 2))
    const sum = all.reduce((s, v) => s + v, 0)
    return all.map((v) => v / sum)
  }
  const weighing = (over: Partial<Weighing> = {}): Weighing => ({
    stepMs: STEP,
    startUpSteps: 4,
    rate: 100,
    knee: 0.88,
    backlog: 0,
    price: { instanceHour: 0.1, slowPerMillion: 5, lostPerMillion: 50 },
    min: 1,
    max: 100,
    ready: 5,
    starting: [],
    unlink: Math.exp,
    ...over,
  })

  test('a sure demand gets what it needs, an unsure one more', () => {
    expect(weigh(dist(800, 0.001), weighing()).wanted).toBe(10)
    expect(weigh(dist(800, 0.1), weighing()).wanted).toBeGreaterThan(11)
    expect(weigh(dist(800, 0.001), weighing({ ready: 20 })).wanted).toBe(10)
  })

  test('dear instances are bought more rarely, dear waiting makes for more', () => {
    const count = (instanceHour: number, slowPerMillion: number) =>
      weigh(dist(800, 0.2), weighing({ price: { instanceHour, slowPerMillion, lostPerMillion: 50 } })).wanted
    expect(count(1, 5)).toBeLessThan(count(0.1, 5))
    expect(count(0.1, 50)).toBeGreaterThan(count(0.1, 5))
  })

  test('who is starting is counted, who waits asks for more', () => {
    expect(weigh(dist(800, 0.001), weighing({ starting: [1, 1, 2, 3, 3] })).wanted).toBe(10)
    expect(weigh(dist(800, 0.001), weighing({ backlog: 6000 })).wanted).toBeGreaterThan(10)
  })

  // What is unsure lies on a grid of a quarter deviation: in one of some ten thousand cases a little more demand falls on it
  // so that one instance fewer is the cheapest.
  test('more demand never wants fewer, but for one where the grid is coarse; always within bounds', () => {
    fc.assert(
      fc.property(
        fc.record({
          median: fc.double({ min: 1, max: 20_000, noNaN: true }),
          more: fc.double({ min: 1.1, max: 3, noNaN: true }),
          sigma: fc.double({ min: 0.001, max: 0.8, noNaN: true }),
          ready: fc.integer({ min: 0, max: 60 }),
          starting: fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 10 }),
          startUpSteps: fc.integer({ min: 0, max: 20 }),
          /** Of what is ready; who waits longer is gone. */
          waitS: fc.double({ min: 0, max: 10, noNaN: true }),
          min: fc.integer({ min: 0, max: 5 }),
        }),
        ({ median, more, sigma, waitS, ...over }) => {
          const w = weighing({ ...over, backlog: waitS * over.ready * 100 })
          const less = weigh(dist(median, sigma), w).wanted
          const greater = weigh(dist(median * more, sigma), w).wanted
          expect(greater).toBeGreaterThanOrEqual(more < 1.5 ? less - 1 : less)
          for (const n of [less, greater]) {
            expect(Number.isInteger(n)).toBe(true)
            expect(n).toBeLessThanOrEqual(Math.max(w.max, w.ready + w.starting.length))
          }
        },
      ),
      { numRuns: 1500 },
    )
  })
})

describe('plan', () => {
  const { target } = settingsFrom({ startup_delay_s: 60 })
  const settings = { ...settingsFrom({ step_s: 15, startup_delay_s: 60 }), target, cycleMs: STEP }
  /** Planned for what `demand` brings, with ten there that hold 100 requests/s each. */
  function planned(state: PlannerState, demand: number, i: number) {
    const ready = 10
    const seen = {
      ready,
      starting: 0,
      draining: 0,
      demand,
      cpu: Math.min(100, demand / ready),
      memory: null,
      responseMs: responseAt({ serviceMs: 40, workers: 4, factor: 1 }, Math.min(0.98, demand / (100 * ready))),
      metrics: {},
      forecast: [],
    }
    return planAhead(state, seen, settings, ready, { min: 1, max: 100 }, i * STEP)
  }

  test('from the first minutes on there is one, "as now"; the forecast takes its place, and loses it later than it earned it', () => {
    const random = seededRandom(2)
    let state = newPlannerState()
    let first = -1
    let earnedAt = -1
    for (let i = 0; i < 2000; i++) {
      const { state: next, plan } = planned(state, 400 + 200 * Math.sin(i / 15) + 5 * gauss(random), i)
      state = next
      if (plan !== null && first < 0) first = i
      if (plan?.earned && earnedAt < 0) earnedAt = i
    }
    expect(first).toBeLessThan(20)
    expect(earnedAt).toBeGreaterThanOrEqual(PLANNER.earnedAfter)
    expect(state.record.earned).toBe(true)
    const with_ = (error: number, earned: boolean) =>
      planned({ ...state, record: { ...state.record, error, errorAsNow: 10, earned } }, 400, 2000).plan!
    expect([with_(11.5, true).earned, with_(11.5, false).earned]).toEqual([true, false])
    expect([with_(13, true).earned, with_(10, false).earned]).toEqual([false, true])
    // Without its place the plan is no worse than "as now" with a margin: never none, never below demand.
    const lost = with_(20, true)
    expect(lost.why).toContain('now')
    expect(lost.points[0]!.instances).toBeGreaterThanOrEqual(5)
  })
})
