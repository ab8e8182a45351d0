/** Laws of the server's parts: depth of bodies, token buckets, the exposition format, schemas made strict. */
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import Type from 'typebox'
import { describe, expect, test } from 'vitest'
import { fakeClock } from '../base/clock.ts'
import type { AppError } from '../base/errors.ts'
import type { TelemetryFamily } from '../base/telemetry.ts'
import { decompress, parseJson } from './body.ts'
import { exposition, labelled } from './exposition.ts'
import { rateLimiter } from './rate-limit.ts'
import { checkOf, convertTexts } from './schema.ts'
import { createTickets } from './sockets.ts'

const codeOf = (work: () => unknown): string | null => {
  try {
    work()
    return null
  } catch (error) {
    return (error as AppError).code
  }
}

describe('bodies', () => {
  const depth = (value: unknown): number =>
    typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0

  test('are refused as too deep exactly when they are', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: 0, max: 6 }), (value, depthMax) => {
        const code = codeOf(() => parseJson(Buffer.from(JSON.stringify(value)), depthMax))
        if (code !== 'validation_failed') expect(code).toBe(depth(value) > depthMax ? 'too_deep' : null)
      }),
    )
  })
  test('come out as JSON.parse has them, whatever is in their texts', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value)
        fc.pre(!/__proto__|\\u0000/.test(text))
        expect(parseJson(Buffer.from(text), 100)).toEqual(JSON.parse(text))
      }),
    )
  })
  test('are never unpacked beyond their limit', async () => {
    const bytes = Buffer.alloc(10_000, 1)
    for (const [encoding, packed] of [
      ['gzip', gzipSync(bytes)],
      ['zstd', zstdCompressSync(bytes)],
      ['identity', bytes],
    ] as const) {
      expect((await decompress(packed, encoding, 10_000)).byteLength).toBe(10_000)
      await expect(decompress(packed, encoding, 9_999)).rejects.toMatchObject({ status: 413 })
    }
    await expect(decompress(bytes, 'gzip', 10_000)).rejects.toMatchObject({ status: 400 })
    await expect(decompress(bytes, 'compress', 10_000)).rejects.toMatchObject({ status: 415 })
  })
})

describe('token buckets', () => {
  test('let through at most burst and rate, and lose nothing of it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 200 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 10 }),
        (pauses, burst, perSecond) => {
          const clock = fakeClock()
          const limiter = rateLimiter(clock)
          let passed = 0
          let waited = 0
          for (const pause of pauses) {
            clock.advance(pause)
            waited += pause
            const wait = limiter.take('a', { perSecond, burst })
            if (wait === 0) passed++
            else {
              expect(wait).toBeLessThanOrEqual(1 / perSecond + 1e-6)
              clock.advance(wait * 1000)
              waited += wait * 1000
              expect(limiter.take('a', { perSecond, burst })).toBeLessThan(1e-6)
              passed++
            }
          }
          expect(passed).toBeLessThanOrEqual(burst + (waited / 1000) * perSecond + 1e-3)
        },
      ),
    )
  })
  test('forget who was idle longest', () => {
    const limiter = rateLimiter(fakeClock(), 2)
    const rate = { perSecond: 0.001, burst: 1 }
    expect(limiter.take('a', rate)).toBe(0)
    expect(limiter.take('b', rate)).toBe(0)
    expect(limiter.take('a', rate)).toBeGreaterThan(0)
    expect(limiter.take('c', rate)).toBe(0)
    expect(limiter.take('a', rate)).toBeGreaterThan(0)
    expect(limiter.take('b', rate)).toBe(0)
  })
})

test('a ticket is good once, for 30 seconds', () => {
  const clock = fakeClock()
  const tickets = createTickets(clock)
  const who = { id: 'a', name: 'a', role: 'viewer', via: 'token' } as const
  const one = tickets.issue(who)
  expect(tickets.redeem(one)).toEqual(who)
  expect(tickets.redeem(one)).toBe(null)
  const two = tickets.issue(who)
  clock.advance(30_000)
  expect(tickets.redeem(two)).toBe(null)
  for (let i = 0; i < 10_000; i++) tickets.issue(who)
  expect(codeOf(() => tickets.issue(who))).toBe('too_many_requests')
  clock.advance(30_000)
  expect(tickets.redeem(tickets.issue(who))).toEqual(who)
})

describe('exposition', () => {
  const counter = (help: string, value: number, labels = {}): TelemetryFamily => ({
    name: 'a_total',
    help,
    type: 'counter',
    samples: [{ name: 'a_total', labels, value }],
  })
  test('has a family once, with the samples of all processes', () => {
    const text = exposition([
      ...labelled([counter('Things\nof \\ two lines.', 1)], { process: 'front' }),
      ...labelled([counter('x', 2, { process: 'control/pipeline' })], { process: 'control' }),
      { name: 'empty', help: '', type: 'gauge', samples: [] },
    ])
    expect(text).toBe(
      '# HELP a_total Things\\nof \\\\ two lines.\n# TYPE a_total counter\n' +
        'a_total{process="front"} 1\na_total{process="control/pipeline"} 2\n',
    )
  })
  test('escapes any value of a label so that it can be read back', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('"', '\\', '\n', 'n', 'é', '}', ',') }), (value) => {
        const line = exposition([counter('', 1, { v: value })]).split('\n')[2]!
        const inside = /^a_total\{v="((?:[^"\\]|\\.)*)"\} 1$/.exec(line)?.[1]
        expect(inside?.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c))).toBe(value)
      }),
    )
  })
})

describe('schemas', () => {
  test('of parts that belong together are closed as a whole', () => {
    const both = checkOf(Type.Intersect([Type.Object({ a: Type.Number() }), Type.Object({ b: Type.Number() })]))
    expect(both.problems({ a: 1, b: 2 })).toEqual([])
    expect(both.problems({ a: 1, b: 2, c: 3 })).not.toEqual([])
  })
  test('leave open what says so itself', () => {
    const open = checkOf(Type.Object({ a: Type.Number() }, { additionalProperties: true }))
    expect(open.problems({ a: 1, c: 3 })).toEqual([])
    const nested = checkOf(Type.Object({ a: Type.Object({ b: Type.Optional(Type.Number()) }) }))
    expect(nested.problems({ a: { c: 1 } })).toEqual([{ path: 'a.c', message: 'is not known' }])
  })
  test('say what a time looks like, also where there may be none', () => {
    const time = Type.String({ format: 'date-time' })
    const { problems } = checkOf(Type.Object({ at: time, until: Type.Union([time, Type.Null()]) }))
    expect(problems({ at: '2026-01-05T09:41:02Z', until: null })).toEqual([])
    expect(problems({ at: 'now', until: 'tomorrow' })).toEqual([
      { path: 'at', message: 'must be a time such as 2026-01-05T09:41:02Z' },
      { path: 'until', message: 'expected a time such as 2026-01-05T09:41:02Z or null' },
    ])
  })
  test('convert only what they name', () => {
    const schema = { properties: { n: { type: 'number' }, b: { type: 'boolean' }, s: { type: 'string' } } }
    expect({
      ...convertTexts(
        [
          ['n', '1e3'],
          ['b', '0'],
          ['s', '5'],
          ['x', '7'],
        ],
        schema,
      ),
    }).toEqual({ n: 1000, b: false, s: '5', x: '7' })
    for (const text of ['', ' 1', '1_000', 'Infinity', '0x1', '1e400', '٣']) {
      expect([text, codeOf(() => convertTexts([['n', text]], schema))]).toEqual([text, 'parameter_unreadable'])
    }
  })
})
