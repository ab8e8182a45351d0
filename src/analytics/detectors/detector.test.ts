import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DAY, HOUR, MINUTE, SECOND } from '../../base/time.ts'
import { Detector, ROW_BYTES } from './detector.ts'
import type { Onset } from './onset.ts'
import { describeOnset, scoreOf, severityOf } from './onset.ts'
import { SEASON_BYTES } from './seasons.ts'

const START = Date.UTC(2026, 0, 5)

interface Stream {
  readonly times: Float64Array
  readonly values: Float64Array
}

/** Numbers that look like chance and are the same every time. */
function numbers(seed: number): () => number {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 0x1_0000_0000
  }
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random())
}

function stream(count: number, stepMs: number, valueAt: (i: number, at: number) => number): Stream {
  const times = Float64Array.from({ length: count }, (_, i) => START + i * stepMs)
  return { times, values: times.map((at, i) => valueAt(i, at)) }
}

function run(
  { times, values }: Stream,
  detector = new Detector(),
  series = 0,
): { onsets: Onset[]; scores: Float64Array } {
  const onsets: Onset[] = []
  const scores = new Float64Array(times.length)
  const ids = new Uint32Array(times.length).fill(series)
  detector.apply({ count: times.length, series: ids, times, values }, onsets, scores)
  return { onsets, scores }
}

/** Noise with whatever else series do: seasons, shifts, spikes, stand-stills, gaps. */
const anyStream: fc.Arbitrary<Stream> = fc
  .record({
    seed: fc.integer({ min: 1, max: 1e9 }),
    count: fc.integer({ min: 60, max: 1500 }),
    stepMs: fc.constantFrom(15 * SECOND, MINUTE, 5 * MINUTE, HOUR),
    season: fc.constantFrom(0, 5),
    spikes: fc.constantFrom(0, 0.01),
    stills: fc.constantFrom(0, 0.02),
    gaps: fc.constantFrom(0, 0.005),
  })
  .map(({ seed, count, stepMs, season, spikes, stills, gaps }) => {
    const random = numbers(seed)
    let still = 0
    let last = 0
    let at = START
    const times = new Float64Array(count)
    const values = new Float64Array(count)
    for (let i = 0; i < count; i++) {
      if (random() < stills) still = Math.floor(random() * 60)
      if (still-- <= 0) {
        last = normal(random) + season * Math.sin((2 * Math.PI * at) / DAY)
        if (random() < spikes) last += 30 * normal(random)
      }
      times[i] = at
      values[i] = last
      at += stepMs * (random() < gaps ? 200 : 1)
    }
    return { times, values }
  })

/** Any numbers at all, times that repeat and run backwards. */
const anyRubbish: fc.Arbitrary<Stream> = fc
  .array(
    fc.tuple(
      fc.integer({ min: -5, max: 100 }),
      fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -Infinity, 0, 1e308, -1e149, 5e-324), fc.integer()),
    ),
    { minLength: 1, maxLength: 400 },
  )
  .map((pairs) => {
    let at = START
    const times = Float64Array.from(pairs, ([step]) => {
      at += step * MINUTE
      return at
    })
    return { times, values: Float64Array.from(pairs, ([, value]) => value) }
  })

const what = (onsets: readonly Onset[]) => onsets.map(({ at, view }) => `${at} ${view}`)

describe('laws', () => {
  test('whatever comes, scores lie in [0, 1] and onsets are well formed', () => {
    fc.assert(
      fc.property(fc.oneof(anyStream, anyRubbish), fc.constantFrom(0.5, 2.5, 6), (input, threshold) => {
        const { onsets, scores } = run(input, new Detector({ threshold }))
        for (const score of scores) expect(score >= 0 && score <= 1).toBe(true)
        for (const onset of onsets) {
          expect(onset.score).toBeGreaterThanOrEqual(0.5)
          expect(onset.score).toBeLessThanOrEqual(1)
          expect(onset.deviations).toBeGreaterThanOrEqual(threshold)
          expect(Number.isFinite(onset.expected) && onset.lower <= onset.upper).toBe(true)
          expect(describeOnset(onset)).not.toMatch(/NaN|undefined/)
        }
      }),
    )
  })

  test('the unit of the values does not matter', () => {
    const change = fc.record({
      scale: fc.constantFrom(-8, -1, 0.001, 3, 1e6),
      shift: fc.integer({ min: -50, max: 50 }),
    })
    fc.assert(
      fc.property(anyStream, change, (input, { scale, shift }) => {
        const other = { times: input.times, values: input.values.map((value) => scale * (value + shift)) }
        const [one, two] = [run(input), run(other)]
        // A rounding may move a score by next to nothing; an onset exactly on its edge is left out of the comparison.
        const clear = (onsets: Onset[]) => what(onsets.filter(({ deviations }) => deviations > 2.501))
        if (one.onsets.length === two.onsets.length) {
          expect(clear(two.onsets)).toEqual(clear(one.onsets))
          one.scores.forEach((score, i) => void expect(two.scores[i]).toBeCloseTo(score, 2))
        } else
          expect(Math.abs(one.onsets.length - two.onsets.length)).toBeLessThanOrEqual(edgeCases(one.onsets, two.onsets))
      }),
    )
  })

  test('what comes later changes nothing said before', () => {
    fc.assert(
      fc.property(anyStream, fc.double({ min: 0, max: 1, noNaN: true }), (input, part) => {
        const cut = Math.floor(part * input.times.length)
        const whole = run(input)
        const prefix = run({ times: input.times.slice(0, cut), values: input.values.slice(0, cut) })
        expect(whole.scores.slice(0, cut)).toEqual(prefix.scores)
        expect(whole.onsets.slice(0, prefix.onsets.length)).toEqual(prefix.onsets)
      }),
    )
  })

  test('saved and restored in the middle equals uninterrupted, to the byte', () => {
    fc.assert(
      fc.property(anyStream, anyStream, fc.double({ min: 0, max: 1, noNaN: true }), (a, b, part) => {
        const [whole, before, after] = [new Detector(), new Detector(), new Detector()]
        run(b, whole, 7)
        run(b, before, 7)
        const cut = Math.floor(part * a.times.length)
        const uninterrupted = run(a, whole, 3)
        const first = run({ times: a.times.slice(0, cut), values: a.values.slice(0, cut) }, before, 3)
        after.restore(before.save())
        const second = run({ times: a.times.slice(cut), values: a.values.slice(cut) }, after, 3)
        expect([...first.onsets, ...second.onsets]).toEqual(uninterrupted.onsets)
        expect([...first.scores, ...second.scores]).toEqual([...uninterrupted.scores])
        expect(after.save()).toEqual(whole.save())
      }),
      { numRuns: 50 },
    )
  })

  test('a replay in any batches equals live, and series do not touch each other', () => {
    fc.assert(
      fc.property(anyStream, anyStream, fc.integer({ min: 1, max: 97 }), (a, b, size) => {
        // Live: both series in one arrival order, in batches; apart: each for itself at once.
        const order: [series: number, at: number, value: number][] = []
        for (let i = 0; i < Math.max(a.times.length, b.times.length); i++) {
          if (i < a.times.length) order.push([0, a.times[i]!, a.values[i]!])
          if (i < b.times.length) order.push([1, b.times[i]!, b.values[i]!])
        }
        const live = new Detector()
        const onsets: Onset[] = []
        for (let from = 0; from < order.length; from += size) {
          const batch = order.slice(from, from + size)
          live.apply(
            {
              count: batch.length,
              series: Uint32Array.from(batch, ([series]) => series),
              times: Float64Array.from(batch, ([, at]) => at),
              values: Float64Array.from(batch, ([, , value]) => value),
            },
            onsets,
          )
        }
        expect(onsets.filter(({ series }) => series === 0)).toEqual(run(a).onsets)
        expect(onsets.filter(({ series }) => series === 1)).toEqual(run(b, new Detector(), 1).onsets)
      }),
      { numRuns: 50 },
    )
  })

  test('late samples, duplicates, NaN and infinities step nothing', () => {
    fc.assert(
      fc.property(anyStream, fc.integer({ min: 1, max: 1e9 }), (input, seed) => {
        const random = numbers(seed)
        const times: number[] = []
        const values: number[] = []
        input.times.forEach((at, i) => {
          times.push(at)
          values.push(input.values[i]!)
          if (random() > 0.2) return
          const [late, value] = [random() < 0.5, [NaN, Infinity, -Infinity, 999][Math.floor(random() * 4)]!]
          times.push(late || value === 999 ? at - Math.floor(random() * 3) * MINUTE : at + 1)
          values.push(value)
        })
        const disturbed = run({ times: Float64Array.from(times), values: Float64Array.from(values) })
        expect(disturbed.onsets).toEqual(run(input).onsets)
      }),
    )
  })

  test('samples that are not fresh step nothing', () => {
    const input = stream(500, MINUTE, (i) => i % 7)
    const detector = new Detector()
    run(input, detector)
    const before = detector.save()
    const onsets: Onset[] = []
    const count = 1
    const fresh = new Uint8Array(1)
    detector.apply(
      { count, series: new Uint32Array(1), times: Float64Array.of(START + DAY), values: Float64Array.of(1e9), fresh },
      onsets,
    )
    expect(onsets).toEqual([])
    expect(detector.save()).toEqual(before)
  })
})

function edgeCases(...all: Onset[][]): number {
  return all.flat().filter(({ deviations }) => deviations <= 2.501).length
}

describe('what is odd is said once', () => {
  const noise = (seed: number) => {
    const random = numbers(seed)
    return () => 100 + normal(random)
  }

  test('a spike in noise', () => {
    const next = noise(1)
    const { onsets, scores } = run(stream(2000, MINUTE, (i) => next() + (i === 1500 ? 60 : 0)))
    expect(what(onsets)).toEqual([`${START + 1500 * MINUTE} level`])
    expect(onsets[0]).toMatchObject({ value: expect.closeTo(160, -1), expected: expect.closeTo(100, 0) })
    expect(onsets[0]!.upper).toBeLessThan(130)
    expect(describeOnset(onsets[0]!)).toMatch(
      /^\d+(\.\d+)? is above everything remembered of this series \(.*about (99|100)/,
    )
    expect(scores[1500]).toBeGreaterThan(0.5)
    expect(Math.max(...scores.slice(0, 1500))).toBeLessThan(0.5)
    expect(scores[1500 + 600]! ?? scores.at(-1)).toBeLessThan(0.5)
  })

  test('a new level, which is normal a day and some samples later', () => {
    const next = noise(2)
    const { onsets, scores } = run(stream(4 * 1440, MINUTE, (i) => next() + (i >= 1440 ? 50 : 0)))
    expect(onsets).toHaveLength(1)
    expect(onsets[0]!.at).toBe(START + DAY)
    expect(scores[1440]).toBeGreaterThan(0.5)
    expect(Math.max(...scores.slice(3 * 1440))).toBeLessThan(0.2)
  })

  test('an anomaly that comes every hour becomes normal, and does not blind the detector to a larger one', () => {
    const next = noise(3)
    const { onsets } = run(
      stream(6000, MINUTE, (i) => next() + (i > 2000 && i % 60 === 0 ? 40 : 0) + (i === 5555 ? 300 : 0)),
    )
    expect(onsets.length).toBeGreaterThanOrEqual(2)
    expect(onsets.length).toBeLessThanOrEqual(6)
    expect(onsets.at(-1)!.at).toBe(START + 5555 * MINUTE)
  })

  test('a series that stands still, having always moved', () => {
    const next = noise(4)
    const { onsets } = run(stream(2000, MINUTE, (i) => (i >= 1500 ? 100 : next())))
    expect(onsets.map(({ view }) => view)).toEqual(['stuck'])
    expect(onsets[0]!.at - START).toBeLessThan(1600 * MINUTE)
  })

  test('a constant says nothing; its first change is said', () => {
    expect(run(stream(5000, MINUTE, () => 42)).onsets).toEqual([])
    const { onsets } = run(stream(5000, MINUTE, (i) => (i < 4000 ? 42 : 43)))
    expect(what(onsets)).toEqual([`${START + 4000 * MINUTE} level`])
  })

  test('a constant of less than a day shows no band: its first change is none, a far larger one is', () => {
    const young = (later: (i: number) => number) => run(stream(3000, MINUTE, (i) => (i < 600 ? 42 : later(i)))).onsets
    expect(young(() => 43)).toEqual([])
    expect(young((i) => 42 + Math.min(4, Math.floor((i - 600) / 200)))).toEqual([])
    const next = noise(6)
    expect(young(() => next())).toEqual([])
    expect(what(young((i) => (i < 2900 ? 43 : 99)))).toEqual([`${START + 2900 * MINUTE} level`])
  })

  test('a missing daily peak is unusual for its hour, though the value is not', () => {
    const random = numbers(5)
    const missing = 12 * 288
    const { onsets } = run(
      stream(14 * 288, 5 * MINUTE, (i, at) => {
        const height = i >= missing && i < missing + 288 ? 20 : 100
        return 500 + height * Math.sin((2 * Math.PI * at) / DAY) + 3 * normal(random)
      }),
    )
    const season = onsets.filter(({ view }) => view === 'season')
    expect(season.length).toBeGreaterThanOrEqual(1)
    expect(season[0]).toMatchObject({ season: 'day' })
    expect(season[0]!.at).toBeGreaterThanOrEqual(START + missing * 5 * MINUTE)
    expect(describeOnset(season[0]!)).toMatch(/unusual for this hour of the day: expected/)
  })

  test.each([7.3, 10, 17])('a rhythm of %s hours is found: a peak that is missing is said, once', (hours) => {
    const random = numbers(55)
    const round = hours * HOUR
    const missing = START + Math.ceil((18 * DAY) / round) * round
    const { onsets } = run(
      stream(22 * 288, 5 * MINUTE, (_, at) => {
        const phase = ((at - START) % round) / round
        const peak = phase > 0.4 && phase < 0.8 && !(at > missing && at < missing + round)
        return (peak ? 60 : 10) + normal(random)
      }),
    )
    const said = onsets.filter(({ at }) => at > START + 12 * DAY)
    expect(said.map(({ season }) => season)).toEqual(['period'])
    expect(said[0]!.at).toBeGreaterThan(missing)
    expect(said[0]!.at).toBeLessThan(missing + round)
    expect(describeOnset(said[0]!)).toMatch(/unusual for this point of its rhythm: expected/)
  })

  test('a spike at the same hour of every day is a habit', () => {
    const random = numbers(6)
    const { onsets } = run(
      stream(20 * 288, 5 * MINUTE, (i) => normal(random) + (i % 288 === 100 ? 50 + 3 * normal(random) : 0)),
    )
    expect(onsets.filter(({ at }) => at > START + 5 * DAY).length).toBeLessThanOrEqual(1)
  })

  test('a counter is judged by its rate; its reset is none of its anomalies', () => {
    const random = numbers(7)
    let total = 0
    const input = stream(3000, 15 * SECOND, (i) => {
      if (i === 2000) total = 0
      total += 50 + 10 * random() + (i === 2500 ? 5000 : 0)
      return total
    })
    const detector = new Detector()
    detector.setCounter(0)
    const { onsets } = run(input, detector)
    expect(onsets.map(({ at }) => at)).toEqual([START + 2500 * 15 * SECOND])
    expect(onsets[0]!.expected).toBeCloseTo(55 / 15, 0)
  })

  test('the step across a gap is no jump', () => {
    const next = noise(8)
    const before = stream(2000, MINUTE, () => next())
    const times = before.times.map((at, i) => (i >= 1000 ? at + 3 * DAY : at))
    expect(run({ times, values: before.values }).onsets).toEqual([])
  })

  test('a clock that jumped ahead and back: samples step nothing until time has caught up', () => {
    const next = noise(9)
    const input = stream(1500, MINUTE, () => next())
    input.times[1000] = input.times[1000]! + 10 * MINUTE
    const { onsets, scores } = run(input)
    expect(onsets).toEqual([])
    expect(scores[1005]).toBe(scores[1000])
    expect(scores[1012]).not.toBe(scores[1000])
  })
})

describe('absence', () => {
  const next = numbers(10)
  const input = stream(500, 15 * SECOND, () => next())
  const end = input.times.at(-1)!

  test('is told once, and again only after the series came back', () => {
    const detector = new Detector()
    run(input, detector)
    const onsets: Onset[] = []
    detector.sweep(end + MINUTE, onsets)
    expect(onsets).toEqual([])
    detector.sweep(end + 6 * MINUTE, onsets)
    detector.sweep(end + 7 * MINUTE, onsets)
    expect(onsets).toHaveLength(1)
    expect(onsets[0]).toMatchObject({ view: 'absent', value: 6 * MINUTE, expected: 15 * SECOND })
    expect(describeOnset(onsets[0]!)).toMatch(/^No sample since 6 minutes; they usually come every 15 seconds/)
    run({ times: Float64Array.of(end + HOUR), values: Float64Array.of(1) }, detector)
    detector.sweep(end + 30 * HOUR, onsets)
    expect(onsets).toHaveLength(2)
  })

  test('is not told of a series that its source ended, nor of one that has shown such gaps', () => {
    const ended = new Detector()
    run(input, ended)
    run({ times: Float64Array.of(end + MINUTE), values: Float64Array.of(NaN) }, ended)
    const onsets: Onset[] = []
    ended.sweep(end + DAY, onsets)
    const gappy = new Detector()
    run({ times: input.times.map((at, i) => at + (i > 250 ? HOUR : 0)), values: input.values }, gappy)
    gappy.sweep(end + 3 * HOUR, onsets)
    expect(onsets).toEqual([])
  })
})

describe('budget and state', () => {
  test('a series takes at most 200 bytes, and 1.5 KB with seasons', () => {
    expect(ROW_BYTES).toBeLessThanOrEqual(200)
    expect(ROW_BYTES + SEASON_BYTES).toBeLessThanOrEqual(1536)
  })

  test('beyond the budget a series keeps the first stage, unless it is watched', () => {
    const detector = new Detector({ seasonBytesMax: 10 * SEASON_BYTES })
    detector.watch(50)
    for (let series = 0; series < 60; series++)
      run(
        stream(3, MINUTE, (i) => i),
        detector,
        series,
      )
    expect(detector.memory().withSeasons).toBe(10)
    detector.watch(40)
    detector.watch(40)
    detector.watch(3)
    expect(detector.memory().withSeasons).toBe(11)
  })

  test('a part of the budget is kept for series that were found odd', () => {
    const detector = new Detector({ seasonBytesMax: 8 * SEASON_BYTES })
    const odd = stream(300, MINUTE, (i) => (i === 250 ? 1e4 : i % 7))
    const plain = stream(300, MINUTE, (i) => i % 7)
    for (let series = 0; series < 20; series++) run(series === 15 || series === 18 ? odd : plain, detector, series)
    const seated = Array.from({ length: 20 }, (_, id) => id).filter((id) => detector.hasSeasons(id))
    expect(seated).toEqual([0, 1, 2, 3, 4, 5, 6, 15])
  })

  test('a forgotten series begins anew', () => {
    const detector = new Detector()
    const input = stream(1000, MINUTE, (i) => i % 5)
    run(input, detector)
    detector.forget(0)
    expect(detector.bandOf(0)).toBeNull()
    expect(run({ times: Float64Array.of(START + 2 * DAY), values: Float64Array.of(1e6) }, detector).onsets).toEqual([])
  })

  test('the places of forgotten series go to those that wait, the same after a restart', () => {
    const detector = new Detector({ seasonBytesMax: 3 * SEASON_BYTES })
    const feed = (d: Detector, series: number) =>
      run(
        stream(3, MINUTE, (i) => i),
        d,
        series,
      )
    for (let series = 0; series < 6; series++) feed(detector, series)
    const seated = (d: Detector) => [0, 1, 2, 3, 4, 5, 6].filter((series) => d.hasSeasons(series))
    expect(seated(detector)).toEqual([0, 1, 2])
    expect(detector.seat()).toBe(0)
    detector.forget(2)
    detector.forget(0)
    expect(detector.memory().withSeasons).toBe(1)
    const restarted = new Detector({ seasonBytesMax: 3 * SEASON_BYTES })
    restarted.restore(detector.save())
    expect(restarted.memory().withSeasons).toBe(1)
    for (const d of [detector, restarted]) {
      feed(d, 6)
      expect(d.seat()).toBe(1)
      expect(seated(d)).toEqual([1, 3, 6])
    }
    expect(restarted.save()).toEqual(detector.save())
  })

  test('bytes that lie in the middle of a Buffer are read as well', () => {
    const detector = new Detector()
    run(
      stream(10, MINUTE, (i) => i),
      detector,
    )
    const bytes = detector.save()
    const restored = new Detector()
    restored.restore(Buffer.concat([Buffer.alloc(5), bytes]).subarray(5))
    expect(restored.save()).toEqual(bytes)
  })

  test('bytes of another format or length are refused', () => {
    const detector = new Detector()
    run(
      stream(10, MINUTE, (i) => i),
      detector,
    )
    const bytes = detector.save()
    expect(() => new Detector().restore(bytes.slice(0, 10))).toThrow(RangeError)
    expect(() => new Detector().restore(bytes.slice(0, -1))).toThrow(RangeError)
    expect(() => new Detector().restore(new Uint8Array(bytes.length))).toThrow(/format 0/)
  })
})

describe('rate of false alarms', () => {
  // What 0.5 promises of noise whose kind does not change: at most about one in ten days and series of light tails from
  // the first hour on, of heavy tails after a week.
  test.each([
    ['independent', 0, 0.15, () => (_: number, e: number) => e],
    ['slow', 0, 0.15, () => (last: number, e: number) => 0.97 * last + e],
    ['heavy', 7, 0.2, () => (_: number, e: number) => Math.exp(0.5 * e)],
  ])('%s noise from day %i on: below %f a day', (_, fromDay, most, kind) => {
    const random = numbers(11)
    const detector = new Detector()
    let count = 0
    const [series, days] = [20, 14]
    for (let id = 0; id < series; id++) {
      const next = kind()
      let last = 0
      count += run(
        stream(days * 288, 5 * MINUTE, () => {
          last = next(last, normal(random))
          return last
        }),
        detector,
        id,
      ).onsets.filter(({ at }) => at >= START + fromDay * DAY).length
    }
    expect(count / (series * (days - fromDay))).toBeLessThan(most)
  })
})

test('the contract: 2.5 deviations are 0.5, severities above 2.5, 3 and 4', () => {
  expect(scoreOf(2.5)).toBe(0.5)
  expect(scoreOf(4, 4)).toBe(0.5)
  expect(scoreOf(Infinity)).toBe(1)
  expect([2.6, 3, 3.1, 4, 4.1].map(severityOf)).toEqual(['low', 'low', 'medium', 'medium', 'high'])
})
