import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ColumnBuilder, isStale, staleMarker, writeStale } from './columns.ts'
import type { Label } from './labels.ts'
import { decodeLabels, encodeLabels, labelsOf, sortLabels, toObject } from './labels.ts'
import { apiName, canonicalName, knownMetrics, storedName } from './names.ts'

describe('names', () => {
  test.each([
    ['cpu_usage', 'system.cpu_usage', 'system_cpu_usage'],
    ['system.cpu_usage', 'system.cpu_usage', 'system_cpu_usage'],
    ['system_cpu_usage', 'system.cpu_usage', 'system_cpu_usage'],
    ['response_time', 'application.api_response_time', 'application_api_response_time'],
    ['health_score', 'performance_score', 'performance_score'],
    ['orders.created', 'orders.created', 'orders_created'],
    ['queue-depth:mean', 'queue-depth:mean', 'queue-depth:mean'],
  ])('%s', (given, canonical, stored) => {
    expect(canonicalName(given)).toBe(canonical)
    expect(storedName(given)).toBe(stored)
  })

  test('every known name comes back from its stored form', () => {
    for (const metric of knownMetrics) {
      expect(apiName(storedName(metric.name))).toBe(metric.name)
      for (const alias of metric.aliases) expect(canonicalName(alias)).toBe(metric.name)
    }
  })
})

describe('labels', () => {
  const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 })

  test('canonical bytes give the labels back', () => {
    const arbitrary = fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 12 })
    fc.assert(
      fc.property(arbitrary, (pairs) => {
        const labels = sortLabels(pairs as unknown as Label[])
        expect(decodeLabels(encodeLabels(labels))).toEqual(labels)
      }),
    )
  })

  test('no bytes crash the reader: labels or an Error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          decodeLabels(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(Error)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('an empty value is no label', () => {
    const labels = labelsOf('up', { job: 'a', none: '' })
    expect(labels).toEqual([
      ['__name__', 'up'],
      ['job', 'a'],
    ])
    expect(toObject(labels)).toEqual({ job: 'a' })
  })
})

describe('columns', () => {
  test('a stale marker is told from any other NaN', () => {
    expect(isStale(Number.NaN)).toBe(false)
    expect(isStale(0)).toBe(false)
    expect(isStale(staleMarker)).toBe(true)
    const values = new Float64Array(3)
    writeStale(values, 1)
    expect(isStale(values[1]!)).toBe(true)
  })

  test('a batch holds what was put in', () => {
    const columns = new ColumnBuilder()
      .series(labelsOf('a'))
      .sample(1, 10)
      .series(labelsOf('b', { x: 'y' }))
      .sample(1, 20)
      .sample(2, 21)
      .finish()
    expect(columns.entryCount).toBe(2)
    expect(columns.sampleCount).toBe(3)
    expect([...columns.sampleStart]).toEqual([0, 1, 3])
    const second = decodeLabels(columns.labelBytes, columns.labelStart[1], columns.labelEnd[1])
    expect(second).toEqual(labelsOf('b', { x: 'y' }))
    expect([...columns.values]).toEqual([10, 20, 21])
  })

  test('a batch of many series outgrows its first buffer', () => {
    const builder = new ColumnBuilder()
    for (let i = 0; i < 500; i++) builder.series(labelsOf('m', { i: String(i) })).sample(i, i)
    const columns = builder.finish()
    expect(decodeLabels(columns.labelBytes, columns.labelStart[499], columns.labelEnd[499])).toEqual(
      labelsOf('m', { i: '499' }),
    )
  })
})
