/**
 * A change that can never be written keeps no other alert from being told; a store that is full does. The database itself
 * refuses, by triggers.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { World } from '../../test/support/alerting-world.ts'
import { DAY, HOUR, SECOND } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import { findFaulty } from './set-aside.ts'
import type { Change } from './wire.ts'

const someone = { by: 'ann', claim: null }

let world: World
beforeEach(() => {
  world = new World()
  world.channels.set('mail', { enabled: true, configured: true, severityFilter: [] })
  const draft = { name: 'R', description: '', metricName: 'm', condition: 'gt', threshold: 50, cooldownMs: 0 } as const
  world.engine.createRule({ ...draft, id: 'r', severity: 'warning', channels: ['mail'] }, someone)
  world.carry()
})
afterEach(() => world.remove())

const labelsOf = (host: string): Labels => [
  ['__name__', 'm'],
  ['host', host],
]
const push = (series: readonly number[], value: number) =>
  world.push(series.map((id) => ({ series: id, at: world.now, value })))
const refuse = (what: string, when: string) =>
  world.db.exec(
    `CREATE TRIGGER refused BEFORE ${what} ON alerts WHEN ${when} BEGIN SELECT RAISE(ABORT, 'of its own'); END`,
  )
const hosts = (status: string) =>
  world.db
    .prepare('SELECT labels FROM alerts WHERE status = ? ORDER BY labels')
    .all(status)
    .map((row) => (JSON.parse((row as { labels: string }).labels) as Labels).find(([name]) => name === 'host')![1])
const told = (like: string) =>
  (world.db.prepare('SELECT count(*) AS n FROM outbox WHERE order_key LIKE ?').get(like) as { n: number }).n

test('what can never be written is set aside and told, and all behind it goes on', async () => {
  const series = ['a', 'b', 'c', 'd'].map((host) => world.series(labelsOf(host)))
  refuse('INSERT', 'NEW.labels LIKE \'%"c"%\'')
  push(series, 60)
  await world.settle()
  expect(hosts('active')).toEqual([])
  const later = world.series(labelsOf('later'))
  push([later], 60)
  await world.settle()
  await world.scheduler.run(10 * SECOND)
  await world.settle()
  expect(hosts('active')).toEqual(['a', 'b', 'd', 'later'])
  expect(world.stuck).toBe(false)
  const { count, last } = world.engine.faults(world.now - DAY)
  expect([count, last]).toEqual([1, expect.objectContaining({ rule: 'r', why: 'of its own' })])
  expect([told('set-aside:%'), told('%')]).toEqual([1, 5])

  // After a restart nothing of it happens twice, and the others end as ever.
  world.crash(0)
  push([...series, later], 0)
  await world.settle()
  expect(hosts('resolved')).toEqual(['a', 'b', 'd', 'later'])
  expect(world.engine.faults(world.now - DAY).count).toBe(1)
})

test('while the store is full nothing is set aside, however long it lasts', async () => {
  const series = world.series(labelsOf('a'))
  world.failures = 60
  push([series], 60)
  await world.settle()
  await world.scheduler.run(50 * SECOND)
  expect([hosts('active'), world.stuck]).toEqual([[], true])
  await world.scheduler.run(20 * SECOND)
  expect([hosts('active'), world.engine.faults(0).count]).toEqual([['a'], 0])
})

test('one alert that cannot rise keeps no other from rising, and is said', async () => {
  push(
    ['a', 'b', 'c'].map((host) => world.series(labelsOf(host))),
    60,
  )
  await world.settle()
  refuse('UPDATE', 'NEW.level > 0 AND NEW.labels LIKE \'%"b"%\'')
  await world.scheduler.run(HOUR / 2 + 5 * SECOND)
  const levels = world.db.prepare('SELECT level FROM alerts ORDER BY labels').all()
  expect(levels).toEqual([{ level: 1 }, { level: 0 }, { level: 1 }])
  expect(told('%')).toBe(5)
  expect(world.engine.faults(0).unable).toEqual([expect.stringContaining('of its own')])
  world.db.exec('DROP TRIGGER refused')
  await world.scheduler.run(2 * SECOND)
  expect([told('%'), world.engine.faults(0).unable]).toEqual([6, []])
})

test('the faulty ones are found among many, those that fail only together as well', () => {
  const changes = Array.from({ length: 1000 }, (_, i) => ({ key: `${i}` }) as Change)
  let attempts = 0
  const found = findFaulty(changes, (some) => {
    attempts++
    return some.some(({ key }) => key === '17' || key === '801') ? 'bad' : null
  })
  expect(found.map(({ change }) => change.key)).toEqual(['17', '801'])
  expect(attempts).toBeLessThan(50)
  const pair = findFaulty(changes.slice(0, 4), (some) => (some.length > 1 ? 'together' : null))
  expect(pair).toHaveLength(4)
})
