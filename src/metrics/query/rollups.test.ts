/** Windows behind the retention of raw samples, on a reader that has forgotten them and kept roll-ups. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HOUR, MINUTE } from '../../base/time.ts'
import { labelsOf } from '../labels.ts'
import type { Matcher, RollupColumns, SampleBuffer, SeriesColumns } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { Environment } from './context.ts'
import { evaluateQuery } from './evaluate.ts'
import { MemoryReader } from './memory-reader.ts'

/** Reads samples from `since` on; before, roll-ups as the store makes them. */
class Forgetful extends MemoryReader {
  readonly #since: number
  constructor(since: number) {
    super()
    this.#since = since
  }
  override rawSince(): number {
    return this.#since
  }
  override readColumns(matchers: readonly Matcher[], from: number, to: number): SeriesColumns[] {
    return super.readColumns(matchers, from, to).map((series) => ({
      id: series.id,
      labels: series.labels,
      read: (first, last, into) => series.read(Math.max(first, this.#since), last, into),
    }))
  }
  override readRollup(series: SeriesColumns, stepMs: number, from: number, to: number): RollupColumns | null {
    const matchers = series.labels.map(([name, value]): Matcher => ({ name, op: '=', value }))
    const buffer: SampleBuffer = sampleBuffer()
    super.readColumns(matchers, from, to)[0]?.read(Math.floor(from / stepMs) * stepMs, Number.MAX_SAFE_INTEGER, buffer)
    const rows = new Map<number, number[]>()
    for (let i = 0; i < buffer.length; i++) {
      const start = Math.floor(buffer.times[i]! / stepMs) * stepMs
      if (start > to) break
      rows.set(start, [...(rows.get(start) ?? []), buffer.values[i]!])
    }
    const column = (of: (values: number[]) => number) => Float64Array.from([...rows.values()].map(of))
    return {
      stepMs,
      length: rows.size,
      times: Float64Array.from(rows.keys()),
      min: column((values) => Math.min(...values)),
      max: column((values) => Math.max(...values)),
      sum: column((values) => values.reduce((a, b) => a + b, 0)),
      count: column((values) => values.length),
    }
  }
}

const SAMPLES = 1440
/** A sample a minute, seven seconds past it: never at the end of a window. */
function fill(reader: MemoryReader, seed: number): void {
  const times = Float64Array.from({ length: SAMPLES }, (_, k) => k * MINUTE + 7000)
  reader.add(
    labelsOf('m', { job: 'a' }),
    times,
    times.map((t) => Math.sin(t * seed) * 100),
  )
}

function ask(reader: MemoryReader, text: string, start: number, end: number, step: number) {
  const env: Environment = {
    reader,
    dialect: 2,
    lookbackMs: 5 * MINUTE,
    subqueryStepMs: MINUTE,
    limits: { samplesMax: 1e7, seriesMax: 100, stepsMax: 11_000, memoryMax: 1e8, resultMax: 1e8 },
    checkpoint() {},
  }
  const answer = evaluateQuery(env, { text, start, end, step })
  if (answer.kind !== 'matrix') throw new Error(answer.kind)
  const buffer = sampleBuffer()
  const points = answer.series.labels.flatMap((_, i) => {
    answer.series.read(i, buffer)
    return Array.from({ length: buffer.length }, (_x, k) => [buffer.times[k]!, buffer.values[k]!] as const)
  })
  return { points, warnings: answer.context.annotations().warnings }
}

const functions = ['min', 'max', 'sum', 'count', 'avg']

test('windows that begin and end where buckets do are what raw samples would have made them', () => {
  const size = fc.constantFrom(5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR)
  fc.assert(
    fc.property(
      fc.constantFrom(...functions),
      size,
      size,
      fc.integer({ min: 0, max: 20 }),
      fc.integer({ min: 0, max: SAMPLES }),
      fc.integer({ min: 1, max: 99 }),
      (name, range, step, startAt, forgotten, seed) => {
        const [kept, whole] = [new Forgetful(forgotten * MINUTE + 1234), new MemoryReader()]
        fill(kept, seed)
        fill(whole, seed)
        const text = `${name}_over_time(m[${range / MINUTE}m])`
        const start = startAt * HOUR
        const ours = ask(kept, text, start, 24 * HOUR, step)
        const raw = ask(whole, text, start, 24 * HOUR, step)
        expect(ours.points.map(([at]) => at)).toEqual(raw.points.map(([at]) => at))
        ours.points.forEach(([, value], i) => {
          expect(value).toBeCloseTo(raw.points[i]![1], 9)
        })
        expect(ours.warnings).toEqual([])
      },
    ),
    { numRuns: 100 },
  )
})

describe('what roll-ups cannot serve is said', () => {
  const reader = new Forgetful(12 * HOUR)
  fill(reader, 3)
  test.each([
    ['a window elsewhere', 'avg_over_time(m[7m])', 5 * MINUTE],
    ['a step elsewhere', 'avg_over_time(m[5m])', 4 * MINUTE],
    ['another function', 'rate(m[5m])', 5 * MINUTE],
    ['an instant value', 'm', 5 * MINUTE],
  ])('%s', (_what, text, step) => {
    const { points, warnings } = ask(reader, text, 6 * HOUR, 18 * HOUR, step)
    expect(warnings).toEqual([expect.stringMatching(/^PromQL warning: samples before 1970-01-01T12:00:00.000Z/)])
    expect(points.length).toBeGreaterThan(0)
    expect(points.every(([at]) => at >= 12 * HOUR)).toBe(true)
  })

  test.each([
    ['nothing older is asked for', 'rate(m[5m])', 13 * HOUR],
    ['nothing matches', 'rate(nothing[5m])', 6 * HOUR],
  ])('but not when %s', (_what, text, start) => {
    expect(ask(reader, text, start, 18 * HOUR, 7 * MINUTE).warnings).toEqual([])
  })

  test('but not when there never was anything older', () => {
    const young = new Forgetful(12 * HOUR)
    young.add(labelsOf('m', {}), [13 * HOUR], Float64Array.of(1))
    expect(ask(young, 'm', 6 * HOUR, 18 * HOUR, 7 * MINUTE).warnings).toEqual([])
  })
})
