/** Laws of the forecasts: what must hold of any history, and what must be learnt from histories with a known shape. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { design, shapeOf } from './features.ts'
import { candidates, type ForecastModel, fitModel, type HorizonForecast, predict, stepSeries } from './index.ts'

const STEP = 300_000
const DAY = 288
const HORIZONS = [15, 30, 60, 120]
const START = Date.UTC(2024, 0, 1)

const seriesOf = (values: readonly number[], start = START) =>
  stepSeries(
    values.map((_, i) => start + i * STEP),
    values,
    STEP,
  )!
const forecast = (values: readonly number[], bounds = {}) => {
  const series = seriesOf(values)
  return predict(fitModel(series, { horizons: HORIZONS, bounds }), series)
}
const numbers = (f: HorizonForecast) => [f.lower95, f.lower80, f.mean, f.upper80, f.upper95]

/** Reproducible noise in [-1, 1). */
function noise(seed: number): () => number {
  let s = seed >>> 0
  return () => {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0
    return s / 2 ** 31 - 1
  }
}
/** Two weeks or less with a day's shape, a drift, noise and spikes. */
const shaped = fc.record({
  steps: fc.integer({ min: 6, max: 3 * DAY }),
  seed: fc.integer({ min: 1, max: 1e9 }),
  day: fc.double({ min: 0, max: 50, noNaN: true }),
  level: fc.double({ min: -200, max: 200, noNaN: true }),
  spikes: fc.double({ min: 0, max: 0.1, noNaN: true }),
})
function valuesOf(s: typeof shaped extends fc.Arbitrary<infer T> ? T : never): number[] {
  const next = noise(s.seed)
  return Array.from({ length: s.steps }, (_, i) => {
    const spike = Math.abs(next()) < s.spikes ? 80 : 0
    return s.level + s.day * Math.sin((2 * Math.PI * i) / DAY) + 5 * next() + spike
  })
}

describe('any history', () => {
  const anyValue = fc.oneof(
    fc.double(),
    fc.double({ min: -1e3, max: 1e3 }),
    fc.constantFrom(0, 1, 100, -0, 1e308, -1e308, 5e-324, NaN, Infinity),
  )
  test('is answered with finite, ordered numbers and shares that sum to one', () => {
    fc.assert(
      fc.property(fc.array(anyValue, { minLength: 1, maxLength: 400 }), (values) => {
        fc.pre(values.some(Number.isFinite))
        for (const f of forecast(values)) {
          const q = numbers(f)
          expect(q.every(Number.isFinite), JSON.stringify(f)).toBe(true)
          for (let i = 1; i < q.length; i++) expect(q[i]!).toBeGreaterThanOrEqual(q[i - 1]!)
          expect(Object.values(f.factors).reduce((a, b) => a + b)).toBeCloseTo(1, 9)
          for (const share of Object.values(f.factors)) expect(share).toBeGreaterThanOrEqual(-1e-9)
        }
      }),
      { numRuns: 150 },
    )
  })
  test('and of any age, step and horizons', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 4e9 }), fc.double({ min: -1e6, max: 1e6, noNaN: true })), {
          minLength: 1,
          maxLength: 60,
        }),
        fc.integer({ min: 1, max: 1440 }),
        fc.array(fc.integer({ min: 1, max: 10_080 }), { minLength: 1, maxLength: 6 }),
        (points, stepMinutes, horizons) => {
          const sorted = [...points].sort((a, b) => a[0] - b[0])
          const series = stepSeries(
            sorted.map(([t]) => t * 1000),
            sorted.map(([, v]) => v),
            stepMinutes * 60_000,
          )!
          for (const { own, naive, seasonal } of candidates(fitModel(series, { horizons }), series)) {
            for (const f of [own, naive, ...(seasonal ? [seasonal] : [])]) {
              const q = [f.lower95, f.lower80, f.mean, f.upper80, f.upper95]
              expect(q.every(Number.isFinite)).toBe(true)
              for (let i = 1; i < q.length; i++) expect(q[i]!, JSON.stringify(f)).toBeGreaterThanOrEqual(q[i - 1]!)
            }
          }
        },
      ),
      { numRuns: 60 },
    )
  })
  test('gives the same forecasts again, and from a model that went through JSON', () => {
    fc.assert(
      fc.property(shaped, (s) => {
        const series = seriesOf(valuesOf(s))
        const model = fitModel(series, { horizons: HORIZONS })
        const kept = JSON.parse(JSON.stringify(model)) as ForecastModel
        expect(predict(kept, series)).toEqual(predict(model, series))
        expect(fitModel(series, { horizons: HORIZONS })).toEqual(model)
      }),
      { numRuns: 20 },
    )
  })
  test('what a forecast looks at is all past: later values change no row', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 400, max: 9 * DAY }),
        fc.integer({ min: 0, max: 399 }),
        fc.integer({ min: 1, max: DAY + 40 }),
        fc.integer({ min: 1, max: 1e9 }),
        (steps, back, k, seed) => {
          const next = noise(seed)
          const values = Float64Array.from({ length: steps }, next)
          const shape = shapeOf(steps, STEP, { harmonics: 4, periods: [60, 120] }, 7 + (seed % 60))
          const origin = steps - 1 - back
          const changed = values.map((v, i) => (i > origin ? v + 100 : v))
          const [before, after] = [values, changed].map((v) => {
            const { columns, fill } = design(v, 17, STEP, shape)
            const row = new Float64Array(columns.length)
            fill(origin, k, row, 0)
            return row
          })
          expect(after).toEqual(before)
        },
      ),
      { numRuns: 60 },
    )
  })
})

describe('units do not matter', () => {
  const close = (
    a: readonly HorizonForecast[],
    b: readonly HorizonForecast[],
    map: (v: number) => number,
    by: number,
  ) => {
    const size = Math.max(...a.flatMap((f) => numbers(f).map((v) => Math.abs(map(v)))), by)
    a.forEach((f, h) => {
      numbers(f).forEach((v, i) => {
        expect(Math.abs(map(v) - numbers(b[h]!)[i]!)).toBeLessThan(1e-5 * size)
      })
    })
  }
  test('series that go below zero: any scale and shift that keeps them there', () => {
    fc.assert(
      fc.property(
        shaped,
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.integer({ min: -90, max: 0 }),
        (s, by, shift) => {
          const values = valuesOf({ ...s, level: -20 })
          fc.pre(Math.min(...values) < -1)
          const map = (v: number) => by * v + shift * by
          close(forecast(values), forecast(values.map(map)), map, by)
        },
      ),
      { numRuns: 25 },
    )
  })
  test('series above zero: any scale', () => {
    fc.assert(
      fc.property(shaped, fc.double({ min: 0.001, max: 1e6, noNaN: true }), (s, by) => {
        const values = valuesOf({ ...s, level: 300 })
        close(forecast(values), forecast(values.map((v) => v * by)), (v) => v * by, by)
      }),
      { numRuns: 25 },
    )
  })
})

describe('what is learnt', () => {
  test('a day’s shape: far better than the last value, and named', () => {
    const next = noise(1)
    const at = (i: number) => 100 + 60 * Math.sin((2 * Math.PI * i) / DAY)
    const values = Array.from({ length: 6 * DAY + 40 }, (_, i) => at(i) + 2 * next())
    const f = forecast(values)[3]!
    const target = at(values.length - 1 + 24)
    expect(Math.abs(f.mean - target)).toBeLessThan(0.2 * Math.abs(values.at(-1)! - target))
    expect(f.factors.daily + f.factors.trend + f.factors.level).toBeGreaterThan(0.9)
    expect(f.model).toBe('regression')
  })
  test('a rhythm that is neither hour, day nor week: found, named, and forecast', () => {
    const next = noise(7)
    const at = (i: number) => 50 + 30 * Math.sin((2 * Math.PI * i) / 85)
    const values = Array.from({ length: 5 * DAY }, (_, i) => at(i) + 2 * next())
    const series = seriesOf(values)
    const model = fitModel(series, { horizons: HORIZONS })
    expect(model.shape.found! % 85).toBe(0)
    const f = predict(model, series)[3]!
    expect(f.factors.period).toBeGreaterThan(0.1)
    const target = at(values.length - 1 + 24)
    expect(Math.abs(f.mean - target)).toBeLessThan(0.2 * Math.abs(values.at(-1)! - target))
  })
  test('each horizon is a computation of its own', () => {
    const values = Array.from({ length: 2 * DAY }, (_, i) => 100 + 60 * Math.sin((2 * Math.PI * i) / DAY))
    expect(new Set(forecast(values).map((f) => f.mean)).size).toBe(4)
  })
  test('its weights are its own, near what they are alone, and farther is wider', () => {
    const next = noise(11)
    let walk = 0
    const values = Array.from({ length: 7 * DAY }, (_, i) => {
      walk += next()
      return 100 + 60 * Math.sin((2 * Math.PI * i) / DAY) + 5 * next() + walk
    })
    const series = seriesOf(values)
    const model = fitModel(series, { horizons: HORIZONS })
    expect(new Set(model.horizons.map(({ beta }) => JSON.stringify([...beta]))).size).toBe(4)
    const made = predict(model, series)
    for (const f of made) {
      const [alone] = predict(fitModel(series, { horizons: [f.horizon] }), series)
      expect(Math.abs(alone!.mean - f.mean)).toBeLessThan(0.15 * (f.upper80 - f.lower80))
    }
    const widths = made.map((f) => f.upper80 - f.lower80)
    expect(widths).toEqual([...widths].sort((x, y) => x - y))
  })
  test('a counter goes on counting', () => {
    const next = noise(2)
    let sum = 0
    const values = Array.from({ length: 600 }, () => (sum += 10 + next()))
    for (const f of forecast(values)) {
      const truth = values.at(-1)! + 10 * (f.horizon / 5)
      expect(Math.abs(f.mean - truth)).toBeLessThan(0.2 * (truth - values.at(-1)!))
      expect(f.trend).toBe('increasing')
    }
  })
  test('outliers in the history do not carry the forecast away', () => {
    const next = noise(3)
    const clean = Array.from({ length: 2 * DAY }, () => 50 + next())
    const dirty = clean.map((v, i) => (i % 50 === 17 ? 1e6 : v))
    for (const f of forecast(dirty)) expect(Math.abs(f.mean - 50)).toBeLessThan(3)
  })
  test('a new level is believed within three hours', () => {
    const next = noise(4)
    const values = Array.from({ length: 4 * DAY }, (_, i) => (i < 4 * DAY - 36 ? 50 : 90) + next())
    for (const f of forecast(values)) expect(Math.abs(f.mean - 90)).toBeLessThan(8)
  })
  test('gaps are not learnt from', () => {
    const next = noise(5)
    const values = Array.from({ length: 3 * DAY }, (_, i) => (i > DAY && i < 2 * DAY ? NaN : 100 + next()))
    for (const f of forecast(values)) expect(Math.abs(f.mean - 100)).toBeLessThan(2)
  })
  test.each([
    ['no change at all', Array.from({ length: 500 }, () => 7)],
    ['one sample', [7]],
  ])('%s: the last value, and it says so', (_, values) => {
    for (const f of forecast(values)) {
      expect(f).toMatchObject({ mean: 7, lower80: 7, upper95: 7, trend: 'stable', model: 'last-value' })
    }
  })
})

describe('intervals', () => {
  /** Share of targets inside over many origins of a noisy day-shaped series. */
  const coverage = (history: number, hours: number) => {
    let inside80 = 0
    let inside95 = 0
    let count = 0
    for (let seed = 1; seed <= 24; seed++) {
      const next = noise(seed * 7919)
      const values = Array.from(
        { length: history + hours * 12 },
        (_, i) => 100 + 30 * Math.sin((2 * Math.PI * i) / DAY) + 8 * (next() + next() + next()),
      )
      const series = seriesOf(values.slice(0, history))
      for (const f of predict(fitModel(series, { horizons: HORIZONS }), series)) {
        const truth = values[history - 1 + f.horizon / 5]!
        inside80 += Number(truth >= f.lower80 && truth <= f.upper80)
        inside95 += Number(truth >= f.lower95 && truth <= f.upper95)
        count++
      }
    }
    return [inside80 / count, inside95 / count] as const
  }
  test('cover what they say with a week of history', () => {
    const [c80, c95] = coverage(7 * DAY, 2)
    expect(c80).toBeGreaterThan(0.68)
    expect(c80).toBeLessThan(0.92)
    expect(c95).toBeGreaterThan(0.88)
  })
  test('are no narrower than they ought to be with half an hour', () => {
    const [c80, c95] = coverage(6, 2)
    expect(c80).toBeGreaterThan(0.8)
    expect(c95).toBeGreaterThan(0.85)
  })
  test('stay inside given and inferred ends', () => {
    const next = noise(6)
    const busy = Array.from({ length: 2 * DAY }, () => Math.min(100, Math.max(0, 90 + 30 * next())))
    for (const f of forecast(busy)) {
      expect(f.lower95).toBeGreaterThanOrEqual(0)
      expect(f.upper95).toBeLessThanOrEqual(100)
    }
    for (const f of forecast(busy, { min: 20, max: 95 })) {
      expect(f.lower95).toBeGreaterThanOrEqual(20)
      expect(f.upper95).toBeLessThanOrEqual(95)
    }
  })
  test('of the baselines stand beside', () => {
    const next = noise(7)
    const values = Array.from({ length: 3 * DAY }, (_, i) => 50 + 10 * Math.sin((2 * Math.PI * i) / DAY) + next())
    const series = seriesOf(values)
    for (const { own, naive, seasonal } of candidates(fitModel(series, { horizons: HORIZONS }), series)) {
      expect(naive.mean).toBeCloseTo(values.at(-1)!, 6)
      expect(seasonal!.mean).toBeCloseTo(values[values.length - 1 + own.horizon / 5 - DAY]!, 6)
      expect(own.upper80 - own.lower80).toBeLessThan(naive.upper80 - naive.lower80)
    }
  })
})

describe('a model fitted once', () => {
  test('predicts from later histories, also across the length where the columns would change', () => {
    const next = noise(8)
    const values = Array.from({ length: 3 * DAY }, (_, i) => 100 + 40 * Math.sin((2 * Math.PI * i) / DAY) + next())
    const first = seriesOf(values.slice(0, DAY))
    const model = fitModel(first, { horizons: HORIZONS })
    const later = seriesOf(values)
    for (const f of predict(model, later)) {
      expect(f.model).toBe(
        model.horizons.find((h) => h.horizon === f.horizon)!.beta.length > 0 ? 'regression' : 'last-value',
      )
      expect(Math.abs(f.mean - 100)).toBeLessThan(80)
    }
  })
})
