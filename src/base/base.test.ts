import { MessageChannel } from 'node:worker_threads'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bool, integer, integers, number, oneOf, optionalText } from './config-key.ts'
import { AppError, conflict, invalid } from './errors.ts'
import { newId } from './id.ts'
import { seededRandom } from './random.ts'
import { answer, caller, Transfer } from './rpc.ts'
import { fakeScheduler } from './scheduler.ts'
import { createTelemetry } from './telemetry.ts'
import { fromIso, toIso } from './time.ts'

describe('time', () => {
  test.each([
    ['2025-01-31T09:30:00.000Z', Date.UTC(2025, 0, 31, 9, 30)],
    ['2025-01-31T09:30:00+01:00', Date.UTC(2025, 0, 31, 8, 30)],
    ['2025-01-31', null],
    ['2025-01-31T09:30:00', null],
    ['yesterday', null],
    ['2025-13-31T09:30:00Z', null],
  ])('%s', (text, at) => expect(fromIso(text)).toBe(at))

  test('there and back', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 4e12 }), (at) => fromIso(toIso(at)) === at))
  })
})

describe('ids', () => {
  test('sort by time and never repeat', () => {
    const ids = Array.from({ length: 5000 }, (_, i) => newId(1_700_000_000_000 + Math.floor(i / 100)))
    expect(new Set(ids).size).toBe(ids.length)
    const heads = ids.map((id) => id.slice(0, 10))
    expect([...heads].sort()).toEqual(heads)
  })
})

describe('random', () => {
  test('the same seed gives the same run, in [0, 1)', () => {
    const a = seededRandom(7)
    const b = seededRandom(7)
    for (let i = 0; i < 1000; i++) {
      const value = a.next()
      expect(value).toBe(b.next())
      expect(value >= 0 && value < 1).toBe(true)
    }
  })
})

describe('fake scheduler', () => {
  test('runs each at its own moment, in order', async () => {
    const scheduler = fakeScheduler(0)
    const seen: string[] = []
    scheduler.every(100, () => void seen.push(`every@${scheduler.clock.now()}`))
    scheduler.after(150, () => void seen.push(`after@${scheduler.clock.now()}`))
    const gone = scheduler.after(160, () => void seen.push('never'))
    gone.cancel()
    await scheduler.run(300)
    expect(seen).toEqual(['every@100', 'after@150', 'every@200', 'every@300'])
    expect(scheduler.clock.now()).toBe(300)
  })
})

describe('telemetry', () => {
  test('counts, gauges and buckets', () => {
    const telemetry = createTelemetry()
    telemetry.counter('c_total', 'help', { a: '1' }).add(2)
    telemetry.counter('c_total', 'help', { a: '1' }).add()
    telemetry.gauge('g', 'help', {}, () => null)
    telemetry.gauge('h', 'help').set(4)
    const histogram = telemetry.histogram('d', 'help', [1, 2])
    for (const v of [0.5, 1, 1.5, 9]) histogram.observe(v)
    const families = Object.fromEntries(telemetry.snapshot().map((f) => [f.name, f.samples]))
    expect(families.c_total).toEqual([{ name: 'c_total', labels: { a: '1' }, value: 3 }])
    expect(families.g).toEqual([])
    expect(families.h).toEqual([{ name: 'h', labels: {}, value: 4 }])
    expect(families.d!.map((s) => [s.name, s.labels.le ?? '', s.value])).toEqual([
      ['d_bucket', '1', 2],
      ['d_bucket', '2', 3],
      ['d_bucket', '+Inf', 4],
      ['d_sum', '', 12],
      ['d_count', '', 4],
    ])
  })

  test('one name has one type', () => {
    const telemetry = createTelemetry()
    telemetry.counter('x', 'help')
    expect(() => telemetry.gauge('x', 'help')).toThrow('x is a counter')
  })
})

describe('configuration keys', () => {
  const help = { help: 'h' }
  test.each([
    [integer('a', 1, { ...help, min: 1, max: 10 }), '7', 7],
    [integer('a', 1, { ...help, min: 1, max: 10 }), '7.5', 'a whole number from 1 to 10'],
    [integer('a', 1, { ...help, min: 1, max: 10 }), 11, 'a whole number from 1 to 10'],
    [integer('a', 1, { ...help, min: 1, max: 10 }), '', 'a whole number from 1 to 10'],
    [number('a', 1, { ...help, min: 0, max: 9, unit: 'seconds' }), '2.5', 2.5],
    [number('a', 1, { ...help, min: 0, max: 9, unit: 'seconds' }), 'NaN', 'a number of seconds from 0 to 9'],
    [number('a', 1, { ...help, min: 0, max: 9, unit: 'seconds' }), '0x10', 'a number of seconds from 0 to 9'],
    [bool('a', true, help), 'OFF', false],
    [bool('a', true, help), 'maybe', 'true or false'],
    [oneOf('a', 'x', ['x', 'y'], help), 'y', 'y'],
    [oneOf('a', 'x', ['x', 'y'], help), 'z', 'one of x, y'],
    [optionalText('a', help), '', null],
    [integers('a', [1], { ...help, min: 1, max: 99 }), '15, 30,60', [15, 30, 60]],
    [integers('a', [1], { ...help, min: 1, max: 99 }), [5, 6], [5, 6]],
    [integers('a', [1], { ...help, min: 1, max: 99 }), '15,', 'whole numbers from 1 to 99, separated by commas'],
  ])('%#: %o of %o', (key, raw, expected) => {
    const result = key.parse(raw)
    expect(result.ok ? result.value : result.error).toEqual(expected)
  })
})

describe('calls between threads', () => {
  function pair() {
    const { port1, port2 } = new MessageChannel()
    answer(port2, {
      double: (n: number) => n * 2,
      bytes: (n: number) => {
        const made = new Uint8Array(n)
        return new Transfer(made, [made.buffer])
      },
      refuse: () => {
        throw invalid([{ path: 'value', message: 'expected a number' }])
      },
      fault: () => {
        throw new Error('boom')
      },
      never: () => new Promise<number>(() => {}),
    })
    const remote = caller<{
      double(n: number): number
      bytes(n: number): Transfer<Uint8Array>
      refuse(n: null): never
      fault(n: null): never
      never(n: null): Promise<number>
    }>(port1)
    return { remote, end: () => port1.close() }
  }

  test('values, moved buffers, refusals and faults cross whole', async () => {
    const { remote, end } = pair()
    expect(await remote.call('double', 21)).toBe(42)
    expect((await remote.call('bytes', 9)).length).toBe(9)
    await expect(remote.call('refuse', null)).rejects.toMatchObject({
      status: 422,
      code: 'validation_failed',
      fields: [{ path: 'value', message: 'expected a number' }],
    })
    await expect(remote.call('fault', null)).rejects.toThrow('boom')
    end()
  })

  test('nobody waits for the dead', async () => {
    const { remote, end } = pair()
    const waiting = remote.call('never', null)
    remote.close('The worker is gone.')
    await expect(waiting).rejects.toMatchObject({ status: 503 })
    await expect(remote.call('double', 1)).rejects.toMatchObject({ status: 503 })
    expect(remote.open).toBe(0)
    end()
  })
})

test('errors carry what the client may see', () => {
  const error = conflict('rule_exists', 'A rule with this id exists.')
  expect(error).toBeInstanceOf(AppError)
  expect([error.status, error.code, error.message]).toEqual([409, 'rule_exists', 'A rule with this id exists.'])
  expect(invalid([]).message).toBe('The request is not valid.')
})
