/**
 * Series in memory, read as the store is read: what test scripts load, and what stands in for the store in tests.
 */
import type { Millis } from '../../base/time.ts'
import type { Labels } from '../labels.ts'
import type { ColumnReader, Matcher, ReadLimits, RollupColumns, SampleBuffer, SeriesColumns } from '../metrics.ts'
import { keyOf, labelValueOf } from './labelset.ts'
import { compileMatcher } from './parse.ts'

interface Stored {
  readonly id: number
  readonly labels: Labels
  length: number
  times: Float64Array
  values: Float64Array
}

export class MemoryReader implements ColumnReader {
  readonly #series = new Map<string, Stored>()

  clear(): void {
    this.#series.clear()
  }

  /** Adds samples of one series, in any order; the later of two with the same time stands. */
  add(labels: Labels, times: readonly number[] | Float64Array, values: Float64Array): void {
    const key = keyOf(labels)
    const known = this.#series.get(key)
    const before = known?.length ?? 0
    const merged = new Map<number, number>()
    const allTimes = new Float64Array(before + times.length)
    const allValues = new Float64Array(before + times.length)
    if (known) {
      allTimes.set(known.times.subarray(0, before))
      allValues.set(known.values.subarray(0, before))
    }
    allTimes.set(times, before)
    // As bits, for the stale marker's sake.
    allValues.set(values.subarray(0, times.length), before)
    for (const [i, time] of allTimes.entries()) merged.set(time, i)
    const order = [...merged.entries()].sort((a, b) => a[0] - b[0])
    const stored: Stored = {
      id: known?.id ?? this.#series.size + 1,
      labels,
      length: order.length,
      times: new Float64Array(order.length),
      values: new Float64Array(order.length),
    }
    order.forEach(([time, i], at) => {
      stored.times[at] = time
      stored.values.set(allValues.subarray(i, i + 1), at)
    })
    this.#series.set(key, stored)
  }

  readColumns(matchers: readonly Matcher[], from: Millis, to: Millis, _limits?: ReadLimits): SeriesColumns[] {
    return this.#matching(matchers, from, to).map((stored) => ({
      id: stored.id,
      labels: stored.labels,
      read: (first: Millis, last: Millis, into: SampleBuffer) => {
        const begin = lowerBound(stored.times, stored.length, first)
        let end = begin
        while (end < stored.length && stored.times[end]! <= last) end++
        if (into.times.length < end - begin) {
          into.times = new Float64Array(end - begin)
          into.values = new Float64Array(end - begin)
        }
        into.times.set(stored.times.subarray(begin, end))
        into.values.set(stored.values.subarray(begin, end))
        into.length = end - begin
      },
    }))
  }

  labelNames(matchers: readonly Matcher[], from: Millis, to: Millis): string[] {
    const names = this.#matching(matchers, from, to).flatMap((stored) => stored.labels.map(([name]) => name))
    return [...new Set(names)].sort()
  }

  labelValues(name: string, matchers: readonly Matcher[], from: Millis, to: Millis): string[] {
    const values = this.#matching(matchers, from, to).map((stored) => labelValueOf(stored.labels, name))
    return [...new Set(values)].filter((value) => value !== '').sort()
  }

  readRollup(_series: SeriesColumns, _stepMs: number, _from: Millis, _to: Millis): RollupColumns | null {
    return null
  }

  rawSince(): Millis {
    return Number.NEGATIVE_INFINITY
  }

  #matching(matchers: readonly Matcher[], from: Millis, to: Millis): Stored[] {
    const compiled = matchers.map((matcher) => compileMatcher(matcher))
    return [...this.#series.values()].filter((stored) => {
      if (stored.length === 0 || stored.times[0]! > to || stored.times[stored.length - 1]! < from) return false
      return compiled.every((matcher) => matcher.matches(labelValueOf(stored.labels, matcher.name)))
    })
  }
}

function lowerBound(times: Float64Array, length: number, wanted: number): number {
  let low = 0
  let high = length
  while (low < high) {
    const middle = (low + high) >> 1
    if (times[middle]! < wanted) low = middle + 1
    else high = middle
  }
  return low
}
