import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../base/random.ts'
import { DAY, HOUR } from '../../base/time.ts'
import { findInsights } from './find.ts'
import { BIN_MS, type Finding, FORGET_AFTER_MS, type Insight, type MetricView, merge } from './insight.ts'
import { autocorrelation, strongestShift, theilSen } from './statistics.ts'
import { quantity, significant, span } from './words.ts'

const NOW = Date.UTC(2026, 0, 30, 9, 42)

/** A normal deviate of a seed (Box and Muller). */
function normal(seed: number): () => number {
  const random = seededRandom(seed)
  return () => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}

function view(name: string, values: readonly number[], more: Partial<MetricView> = {}): [string, MetricView] {
  const last = Math.floor(NOW / BIN_MS) * BIN_MS
  return [
    name,
    {
      name,
      unit: '%',
      recent: values.slice(-10),
      binTimes: Float64Array.from(values, (_, i) => last - (values.length - 1 - i) * BIN_MS),
      binValues: Float64Array.from(values),
      limit: null,
      forecasts: [],
      skill: [],
      ...more,
    },
  ]
}
const titles = (...views: [string, MetricView][]) => findInsights(new Map(views), NOW).map((f) => f.title)
const flat = (value: number) => Array<number>(10).fill(value)

describe('means of the last 10 points', () => {
  test.each<[string, [string, MetricView][], string[]]>([
    ['no data', [], []],
    ['score 95', [view('performance_score', flat(95))], ['Excellent System Performance']],
    ['score 90', [view('performance_score', flat(90))], []],
    ['score 69', [view('performance_score', flat(69))], ['Performance Needs Attention']],
    ['hit rate 86', [view('cache.hit_rate', flat(86))], ['Optimal Cache Performance']],
    ['hit rate 59', [view('cache.hit_rate', flat(59))], ['Cache Optimization Needed']],
    ['CPU alone says nothing of both', [view('system.cpu_usage', flat(99))], []],
    [
      'both high',
      [view('system.cpu_usage', flat(81)), view('system.memory_usage', flat(81))],
      ['High Resource Utilization'],
    ],
    [
      'both low',
      [view('system.cpu_usage', flat(10)), view('system.memory_usage', flat(49))],
      ['Low Resource Utilization'],
    ],
    ['CPU low, memory not', [view('system.cpu_usage', flat(10)), view('system.memory_usage', flat(50))], []],
  ])('%s', (_, views, expected) => expect(titles(...views)).toEqual(expected))
})

describe('time until a limit', () => {
  const limit = { value: 100, side: 'above' } as const

  test('a disk that fills at 0.5 % an hour with noise', () => {
    const noise = normal(1)
    const values = Array.from({ length: 288 }, (_, i) => 70 + (i / 12) * 0.5 + noise() * 0.1)
    const [found] = findInsights(new Map([view('system.disk_usage', values, { limit })]), NOW)
    expect(found!.title).toMatch(/^Disk usage reaches 100\u202f% in about (35|36|37)(\.5)? h$/)
    expect(found!.confidence).toBeGreaterThan(0.9)
    expect(Date.parse(found!.evidence.earliest as string)).toBeLessThan(Date.parse(found!.evidence.latest as string))
  })

  test('free space that falls', () => {
    const values = Array.from({ length: 288 }, (_, i) => 50 - (i / 12) * 1)
    const low = { limit: { value: 0, side: 'below' } as const, unit: 'GiB' }
    expect(titles(view('system.disk_free', values, low))[0]).toMatch(
      /^Free disk space reaches 0\u202fGiB in about 26 h$/,
    )
  })

  test('noise, a standing value and a falling one reach nothing', () => {
    const noise = normal(2)
    const still = Array.from({ length: 288 }, () => 70 + noise())
    const falling = Array.from({ length: 288 }, (_, i) => 70 - i * 0.01)
    for (const values of [still, flat(70).concat(still), falling]) {
      expect(titles(view('system.disk_usage', values, { limit }))).toEqual([])
    }
  })
})

describe('level changes', () => {
  const step = (seed: number, at: number, from: number, to: number) => {
    const noise = normal(seed)
    return Array.from({ length: 288 }, (_, i) => (i < at ? from : to) + noise())
  }

  test('what moved together is told together, the first named', () => {
    const found = findInsights(
      new Map([
        view('application.api_response_time', step(1, 200, 90, 140), { unit: 'ms' }),
        view('application.requests_per_second', step(2, 199, 100, 160), { unit: 'req/s' }),
        view('system.memory_usage', step(3, 60, 40, 55)),
      ]),
      NOW,
    ).filter((f) => f.type === 'change')
    expect(found).toHaveLength(2)
    expect(found[0]!.evidence.together).not.toBe('')
    expect(found[0]!.recommendations[0]).toContain('Throughput')
    expect(found[1]!.description).toContain('No other metric')
  })

  test('noise of any autocorrelation seldom looks like a step', () => {
    let told = 0
    for (let seed = 1; seed <= 200; seed++) {
      const noise = normal(seed)
      const rho = (seed % 4) * 0.3
      let level = 0
      const values = Array.from({ length: 288 }, () => (level = rho * level + noise()))
      told += titles(view('x', values)).length
    }
    expect(told).toBeLessThanOrEqual(4)
  })

  test('a daily wave and a ramp are no steps', () => {
    const noise = normal(9)
    const wave = Array.from({ length: 288 }, (_, i) => 50 + 30 * Math.sin((i / 288) * 2 * Math.PI) + noise())
    const ramp = Array.from({ length: 288 }, (_, i) => i / 4 + noise())
    expect(titles(view('x', wave))).toEqual([])
    expect(titles(view('x', ramp))).toEqual([])
  })
})

describe('daily patterns', () => {
  test('a day that repeats is found, with its hours', () => {
    const noise = normal(5)
    const last = Math.floor(NOW / BIN_MS) * BIN_MS
    const values = Array.from({ length: 5 * 288 }, (_, i) => {
      const at = last - (5 * 288 - 1 - i) * BIN_MS
      return 50 + 30 * Math.cos(((at % DAY) / DAY) * 2 * Math.PI - Math.PI) + noise() * 5
    })
    const found = findInsights(new Map([view('x', values)]), NOW).find((f) => f.type === 'pattern')
    expect(found!.description).toMatch(/highest around (11|12):00 UTC/)
    expect(found!.description).toMatch(/lowest around (23|00):00 UTC/)
  })

  const made = (days: number, valueAt: (at: number, noise: number) => number, seed = 5) => {
    const noise = normal(seed)
    const last = Math.floor(NOW / BIN_MS) * BIN_MS
    return Array.from({ length: days * 288 }, (_, i) => valueAt(last - (days * 288 - 1 - i) * BIN_MS, noise()))
  }
  const patternTitles = (values: readonly number[]) =>
    findInsights(new Map([view('x', values)]), NOW)
      .filter((f) => f.type === 'pattern')
      .map((f) => f.title)
  const wave = (at: number, ms: number) => Math.cos((2 * Math.PI * at) / ms)

  test.each<[string, number, (at: number, noise: number) => number, string[]]>([
    ['a job every 50 minutes', 3, (at, e) => (at % (50 * 60_000) < BIN_MS ? 40 : 5) + e, ['x repeats every 50 min']],
    [
      'a job every 47 minutes, which is no whole number of bins',
      5,
      (at, e) => 10 * wave(at, 47 * 60_000) + e,
      ['x repeats every 47 min'],
    ],
    [
      'a day and seven hours',
      10,
      (at, e) => 50 + 30 * wave(at, DAY) + 12 * wave(at, 7 * HOUR) + e,
      ['x repeats every day', 'x repeats every 7 h'],
    ],
    ['an hour', 1, (at, e) => (at % HOUR < BIN_MS ? 20 : 0) + e, ['x repeats every 60 min']],
    [
      'quiet weekends',
      14,
      (at, e) => ((Math.floor(at / DAY) + 4) % 7 === 0 || (Math.floor(at / DAY) + 4) % 7 === 6 ? 10 : 50) + e,
      ['x differs by the day of the week'],
    ],
    ['a day alone is no week and no other period', 14, (at, e) => 50 + 30 * wave(at, DAY) + e, ['x repeats every day']],
  ])('%s', (_, days, valueAt, expected) => expect(patternTitles(made(days, valueAt))).toEqual(expected))

  test('noise and a slow wander are no pattern', () => {
    for (let seed = 1; seed <= 30; seed++) {
      const noise = normal(seed)
      let level = 0
      const values = Array.from({ length: 5 * 288 }, () => (level = 0.999 * level + noise()))
      expect(findInsights(new Map([view('x', values)]), NOW).filter((f) => f.type === 'pattern')).toEqual([])
    }
  })
})

describe('forecasts', () => {
  const limit = { value: 80, side: 'above' } as const
  const forecast = (lower80: number) => [
    { horizonMinutes: 30, at: NOW + 30 * 60_000, value: lower80 + 5, lower80, upper80: lower80 + 10 },
  ]

  test('only a band wholly beyond the limit is a warning, and only while the value is not there yet', () => {
    expect(titles(view('system.cpu_usage', flat(60), { limit, forecasts: forecast(81) }))).toHaveLength(1)
    expect(titles(view('system.cpu_usage', flat(60), { limit, forecasts: forecast(79) }))).toEqual([])
    expect(titles(view('system.cpu_usage', flat(85), { limit, forecasts: forecast(81) }))).toEqual([])
  })

  test('a metric without skill at any horizon says so', () => {
    const skill = (relativeToNaive: number) => [{ horizonMinutes: 15, relativeToNaive, origins: 60 }]
    expect(titles(view('x', flat(1), { skill: skill(1.1) }))).toEqual(['x cannot be forecast so far'])
    expect(titles(view('x', flat(1), { skill: skill(0.9) }))).toEqual([])
  })
})

describe('life of an insight', () => {
  const finding: Finding = {
    key: 'k',
    type: 'performance',
    title: 't',
    description: 'd',
    confidence: 0.8,
    impact: 'low',
    recommendations: [],
    evidence: {},
  }
  let ids = 0
  const id = () => `id-${++ids}`

  test('the same finding is updated, not repeated; weak ones are not published; unseen ones are forgotten', () => {
    let known: Insight[] = merge([], [finding, { ...finding, key: 'weak', confidence: 0.6 }], 0.7, NOW, id)
    expect(known).toHaveLength(1)
    known = merge(known, [{ ...finding, title: 'newer' }], 0.7, NOW + HOUR, id)
    expect(known).toMatchObject([{ title: 'newer', occurrences: 2, createdAt: NOW, lastSeenAt: NOW + HOUR }])
    expect(merge(known, [], 0.7, NOW + HOUR + FORGET_AFTER_MS, id)).toHaveLength(1)
    expect(merge(known, [], 0.7, NOW + HOUR + FORGET_AFTER_MS + 1, id)).toEqual([])
  })
})

test('no numbers make a finder fail', () => {
  const value = fc.oneof(fc.double({ noNaN: true, min: -1e12, max: 1e12 }), fc.constant(0), fc.constant(1))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 400 }), (values) => {
      const limit = { value: 100, side: 'above' } as const
      for (const finding of findInsights(new Map([view('x', values, { limit })]), NOW)) {
        expect(finding.confidence >= 0 && finding.confidence <= 1).toBe(true)
        expect(JSON.stringify(finding)).not.toContain('null')
        expect(finding.title + finding.description).not.toMatch(/NaN|Infinity/)
      }
    }),
    { numRuns: 200 },
  )
})

describe('statistics', () => {
  test('the line of exact points is exact', () => {
    const t = Float64Array.from({ length: 50 }, (_, i) => i)
    const line = theilSen(
      t,
      t.map((x) => 3 + 2 * x),
    )!
    expect(line.slope).toBeCloseTo(2, 12)
    expect(line.level).toBeCloseTo(101, 10)
  })
  test('a constant correlates with nothing and never shifts', () => {
    expect(autocorrelation(flat(3), 1)).toBe(0)
    expect(strongestShift(Array(100).fill(3))).toBeNull()
  })
})

test.each([
  [significant(82.64), '82.6'],
  [significant(1184.4), '1,184'],
  [significant(-9.63), '\u22129.63'],
  [significant(0.00123), '0.00123'],
  [significant(0), '0'],
  [quantity(60, ''), '60'],
  [span(30_000), '1 min'],
  [span(5 * HOUR), '5 h'],
  [span(4 * DAY), '4 days'],
])('%s reads %s', (said, expected) => expect(said).toBe(expected))
