/**
 * Silences over many alerts: what they hide and tell in bounded turns, through kills between them, and that one holds
 * from the first moment of a new life.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { World } from '../../test/support/alerting-world.ts'
import { newId } from '../base/id.ts'
import { HOUR, MINUTE, SECOND } from '../base/time.ts'
import type { Silence } from './suppress/silence.ts'

const MANY = 130
const someone = { by: 'ann', claim: null }

let world: World
beforeEach(() => {
  world = new World()
  world.sweptAtOnce = 20
  world.crash(0)
  world.channels.set('mail', { enabled: true, configured: true, severityFilter: [] })
  const draft = { name: 'R', description: '', metricName: 'm', condition: 'gt', threshold: 50, cooldownMs: 0 } as const
  world.engine.createRule({ ...draft, id: 'r', severity: 'info', channels: ['mail'] }, someone)
  world.carry()
})
afterEach(() => world.remove())

const silenceOf = (more: Partial<Silence> = {}): Silence => ({
  id: newId(world.now),
  version: 1,
  matchers: [{ name: 'host', value: 'h.*', isRegex: true, isEqual: true }],
  startsAt: world.now,
  endsAt: world.now + 10 * HOUR,
  schedule: null,
  untilResolved: false,
  comment: 'work',
  createdBy: 'ann',
  createdAt: world.now,
  updatedAt: world.now,
  endedAt: null,
  ...more,
})
const silence = (more: Partial<Silence> = {}) => world.engine.putSilence(silenceOf(more), 'silence.created', someone)
const end = (made: Silence) =>
  world.engine.putSilence({ ...made, version: made.version + 1, endedAt: world.now }, 'silence.ended', someone)

async function fire(n: number): Promise<number[]> {
  const from = world.labels.length
  const series = Array.from({ length: n }, (_, i) =>
    world.series([
      ['__name__', 'm'],
      ['host', `h${from + i}`],
    ]),
  )
  world.push(series.map((id) => ({ series: id, at: world.now, value: 60 })))
  await world.settle()
  return series
}
const count = (status: string) =>
  (world.db.prepare('SELECT count(*) AS n FROM alerts WHERE status = ?').get(status) as { n: number }).n
const told = (event: string) =>
  (
    world.db
      .prepare('SELECT count(*) AS n FROM outbox o JOIN outbox_alerts a ON a.notice = o.id WHERE o.event = ?')
      .get(event) as { n: number }
  ).n

test('a silence hides many alerts a few at a time, goes on after a kill, and its end tells each of them once', async () => {
  await fire(MANY)
  expect(told('firing')).toBe(MANY)
  const made = silence()
  expect(count('suppressed')).toBe(20)
  await world.scheduler.run(10)
  const before = count('suppressed')
  expect(before).toBeGreaterThan(20)
  expect(before).toBeLessThan(MANY)
  world.crash(0)
  await world.scheduler.run(SECOND)
  expect([count('active'), count('suppressed')]).toEqual([0, MANY])
  expect(world.store.hiddenCounts(made.id)).toEqual({ total: MANY, open: MANY })
  expect(told('firing')).toBe(MANY)

  end(made)
  await world.scheduler.run(10)
  expect(count('active')).toBeGreaterThan(20)
  expect(count('active')).toBeLessThan(MANY)
  expect(told('firing')).toBe(MANY + count('active'))
  world.crash(0)
  await world.scheduler.run(SECOND)
  expect([count('active'), count('suppressed')]).toEqual([MANY, 0])
  expect(told('firing')).toBe(2 * MANY)
})

test('a full disk between two turns of a sweep leaves nothing out', async () => {
  const hosts = await fire(MANY)
  const made = silence()
  await world.scheduler.run(2 * SECOND)
  world.failures = 1
  expect(() => end(made)).toThrow('cannot write')
  expect(count('suppressed')).toBe(MANY)
  end(made)
  world.failures = 2
  await world.scheduler.run(10 * SECOND)
  expect([count('active'), told('firing')]).toEqual([MANY, 2 * MANY])
  world.push(hosts.map((id) => ({ series: id, at: world.now, value: 0 })))
  await world.settle()
  expect(told('resolved')).toBe(MANY)
})

test('until all is resolved waits until it knows what there is', async () => {
  const hosts = await fire(MANY)
  const made = silence({ endsAt: null, untilResolved: true })
  // The first ones, which are hidden already, end before the others are seen.
  const first = hosts.slice(0, 20)
  world.push(first.map((id) => ({ series: id, at: world.now, value: 0 })))
  await world.settle()
  await world.scheduler.run(2 * SECOND)
  expect(count('suppressed')).toBe(MANY - 20)
  world.push(hosts.map((id) => ({ series: id, at: world.now, value: 0 })))
  await world.settle()
  await world.scheduler.run(2 * SECOND)
  expect(world.engine.silence(made.id)!.silence.endedAt).not.toBeNull()
})

test('a silence that hides nothing yet holds from the first moment of the next life', async () => {
  silence()
  world.crash(0)
  await fire(1)
  expect([count('suppressed'), told('firing')]).toEqual([1, 0])
})

test('a silence holds right after something that was refused', async () => {
  const [host] = await fire(1)
  world.push([{ series: host!, at: world.now, value: 0 }])
  await world.settle()
  silence()
  world.failures = 1
  expect(() => world.engine.test('r', someone)).toThrow('cannot write')
  await fire(1)
  expect([count('suppressed'), told('firing')]).toEqual([1, 1])
})

test('what a changed silence does not match any more is told, and what it matches now is hidden', async () => {
  await fire(30)
  const made = silence({ matchers: [{ name: 'host', value: 'h[0-9]', isRegex: true, isEqual: true }] })
  await world.scheduler.run(SECOND)
  expect(count('suppressed')).toBe(10)
  const matchers = [{ name: 'host', value: 'h1.', isRegex: true, isEqual: true }]
  world.engine.putSilence({ ...made, version: 2, matchers }, 'silence.changed', someone)
  await world.scheduler.run(SECOND)
  expect([count('suppressed'), count('active')]).toEqual([10, 20])
  expect(told('firing')).toBe(40)
})

test('what an inhibiting rule hid is told in bounded turns when that ends', async () => {
  const draft = { name: 'B', description: '', metricName: 'up', condition: 'gt', threshold: 50, cooldownMs: 0 } as const
  world.engine.createRule({ ...draft, id: 'boss', severity: 'info', channels: ['mail'] }, someone)
  world.engine.changeRule('r', { suppressedBy: ['boss'] }, null, someone)
  world.carry()
  const boss = world.series([['__name__', 'up']])
  world.push([{ series: boss, at: world.now, value: 60 }])
  await world.settle()
  await fire(MANY)
  expect(count('suppressed')).toBe(MANY)
  world.push([{ series: boss, at: world.now, value: 0 }])
  world.carry()
  expect(count('suppressed')).toBe(MANY - 20)
  world.crash(0)
  await world.scheduler.run(MINUTE)
  expect([count('suppressed'), count('active')]).toEqual([0, MANY])
  expect(told('firing')).toBe(1 + MANY)
})
