/** What the watcher watches: which series, since when, and what it makes of those that fall silent or are deleted. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Rule } from '../../src/alerting/rule.ts'
import type { RuleDraft } from '../../src/alerting/rules/rules.ts'
import { ABSENT_MS, GRACE_MS } from '../../src/alerting/watcher.ts'
import { HOUR, MINUTE, SECOND } from '../../src/base/time.ts'
import { World } from '../support/alerting-world.ts'

const someone = { by: 'test', claim: null }
let world: World
beforeEach(() => {
  world = new World()
  world.channels.set('pager', { enabled: true, configured: true, severityFilter: [] })
})
afterEach(() => world.remove())

function rule(more: Partial<RuleDraft>): Rule {
  const made = world.engine.createRule(
    {
      id: 'r',
      name: 'R',
      description: '',
      severity: 'warning',
      metricName: 'm',
      threshold: 80,
      channels: ['pager'],
      ...more,
    },
    someone,
  )
  world.carry()
  return made
}
const series = (labels: Record<string, string> = {}, name = 'm') =>
  world.series([['__name__', name], ...Object.entries(labels).sort()])
const push = (id: number, value: number) => world.push([{ series: id, at: world.now, value }])
const alerts = () =>
  world.store
    .list({ sort: 'newest', limit: 100 })
    .sort((a, b) => a.triggeredAt - b.triggeredAt || (a.labels.at(-1)![1] < b.labels.at(-1)![1] ? -1 : 1))
    .map(({ labels, status, resolution }) => `${labels.at(-1)![1]} ${status}${resolution ? ` ${resolution}` : ''}`)
async function pass(ms: number): Promise<void> {
  await world.scheduler.run(ms)
  await world.settle()
}

describe('which series', () => {
  test('those that the labels match, each for itself', async () => {
    rule({
      labels: [
        { name: 'host', regex: 'web.*' },
        { name: 'env', equals: 'prod' },
      ],
    })
    const [a, b, c, d] = [
      series({ env: 'prod', host: 'web-1' }),
      series({ env: 'prod', host: 'web-2' }),
      series({ env: 'dev', host: 'web-3' }),
      series({ env: 'prod', host: 'db-web' }),
    ]
    for (const id of [a, b, c, d]) push(id, 90)
    await pass(0)
    expect(alerts()).toEqual(['web-1 active', 'web-2 active'])
  })

  test("without labels all, until the platform has its own; others' alerts end then", async () => {
    rule({})
    push(series({ host: 'a' }), 90)
    await pass(SECOND)
    push(series({ service: 'opinion-market' }), 90)
    push(series({ host: 'b' }), 90)
    await pass(SECOND)
    expect(alerts()).toEqual(['a resolved not_watched', 'opinion-market active'])
  })

  test('a default rule never sees the series of others', async () => {
    rule({ labels: [{ name: 'service', equals: 'opinion-market' }] })
    push(series({ host: 'a' }), 90)
    await pass(SECOND)
    expect(alerts()).toEqual([])
  })

  test('of other metrics nothing', async () => {
    rule({ metricName: 'system.cpu_usage' })
    push(series({ host: 'a' }), 90)
    push(series({ host: 'b' }, 'system_cpu_usage'), 90)
    await pass(SECOND)
    expect(alerts()).toEqual(['b active'])
  })
})

describe('rules that change', () => {
  test('a new rule sees a breach that stands, without another sample', async () => {
    const id = series({ host: 'a' })
    push(id, 90)
    rule({})
    await pass(3 * SECOND)
    expect(alerts()).toEqual(['a active'])
  })

  test('an edit ends what fires, and the new version judges anew', async () => {
    rule({ cooldownMs: 0 })
    const id = series({ host: 'a' })
    push(id, 90)
    await pass(SECOND)
    world.engine.changeRule('r', { threshold: 95 }, null, someone)
    await pass(SECOND)
    push(id, 90)
    await pass(SECOND)
    expect(alerts()).toEqual(['a resolved rule_edited'])
    push(id, 96)
    await pass(SECOND)
    expect(alerts()).toEqual(['a resolved rule_edited', 'a active'])
    world.engine.changeRule('r', { enabled: false }, null, someone)
    await pass(SECOND)
    push(id, 99)
    await pass(SECOND)
    expect(alerts()).toEqual(['a resolved rule_edited', 'a resolved rule_disabled'])
    world.engine.changeRule('r', { enabled: true }, null, someone)
    world.carry()
    push(id, 99)
    await pass(SECOND)
    world.engine.deleteRule('r', null, someone)
    await pass(SECOND)
    expect(alerts().at(-1)).toBe('a resolved rule_deleted')
  })

  test('a patch that changes nothing is no version and ends nothing', async () => {
    const made = rule({})
    push(series({ host: 'a' }), 90)
    await pass(SECOND)
    expect(world.engine.changeRule('r', { threshold: 80 }, made.version, someone).version).toBe(made.version)
    expect(alerts()).toEqual(['a active'])
    expect(() => world.engine.changeRule('r', { threshold: 81 }, made.version + 1, someone)).toThrow(/version/)
  })

  test('what was on its way from an old version counts no more', async () => {
    rule({ cooldownMs: 0 })
    const id = series({ host: 'a' })
    push(id, 90)
    world.engine.changeRule('r', { threshold: 95 }, null, someone)
    await pass(SECOND)
    expect(alerts()).toEqual([])
  })

  test('a hand is quicker than what is on its way', async () => {
    rule({ cooldownMs: HOUR })
    const id = series({ host: 'a' })
    push(id, 90)
    await pass(SECOND)
    push(id, 70) // closes, but has not arrived
    const [alert] = world.store.list({ sort: 'newest', limit: 1 })
    world.engine.resolve(alert!.id, 'seen', undefined, someone)
    await pass(SECOND)
    push(id, 90)
    await pass(SECOND)
    expect(alerts()).toEqual(['a resolved resolved_by_hand'])
    expect(world.store.stats()).toMatchObject({ alerts_triggered: 1, alerts_resolved: 1 })
  })

  test('the right to a new alert after a hand waits for the cooldown, across a crash', async () => {
    rule({ cooldownMs: 10 * MINUTE })
    const id = series({ host: 'a' })
    push(id, 90)
    await pass(SECOND)
    world.engine.resolve(world.store.list({ sort: 'newest', limit: 1 })[0]!.id, null, undefined, someone)
    world.crash(0)
    for (let i = 0; i < 11; i++) {
      push(id, 90)
      await pass(MINUTE)
      expect(alerts().length).toBe(i < 9 ? 1 : 2)
    }
  })
})

describe('silence of a series', () => {
  test.each([
    ['keep', 90, ['a active']],
    ['keep', 70, []],
    ['alert', 70, ['a active']],
    ['alert', 90, ['a active']],
    ['resolve', 90, ['a resolved no_data']],
  ] as const)('no_data %s, at %d: %j', async (noData, value, expected) => {
    rule({ noData })
    const id = series({ host: 'a' })
    for (let i = 0; i < 20; i++) {
      push(id, value)
      await pass(10 * SECOND)
    }
    await pass(ABSENT_MS + 10 * SECOND)
    expect(alerts()).toEqual(expected)
  })

  test('says nothing in the first minutes after a start', async () => {
    rule({ noData: 'resolve' })
    const id = series({ host: 'a' })
    push(id, 90)
    await pass(SECOND)
    world.crash(0)
    await pass(GRACE_MS - 10 * SECOND)
    expect(alerts()).toEqual(['a active'])
  })

  test('of a slow sender is none', async () => {
    rule({ noData: 'alert' })
    const id = series({ host: 'a' })
    for (let i = 0; i < 4; i++) {
      push(id, 70)
      await pass(5 * MINUTE)
    }
    expect(alerts()).toEqual([])
    await pass(11 * MINUTE)
    expect(alerts()).toEqual(['a active']) // three intervals and more
  })

  test('resolves nothing by itself, and neither does a start', async () => {
    rule({})
    push(series({ host: 'a' }), 90)
    await pass(SECOND)
    world.crash(0)
    await pass(3 * HOUR)
    world.crash(0)
    await pass(3 * HOUR)
    expect(alerts()).toEqual(['a active'])
  })
})

test('a series that is deleted ends its alerts, also when that happens while nobody looks', async () => {
  rule({})
  const [a, b] = [series({ host: 'a' }), series({ host: 'b' })]
  push(a, 90)
  push(b, 90)
  await pass(SECOND)
  world.labels[a] = []
  await pass(2 * MINUTE)
  expect(alerts().sort()).toEqual(['a resolved series_deleted', 'b active'])
  world.labels[b] = []
  world.crash(0)
  await pass(10 * SECOND)
  expect(alerts().sort()).toEqual(['a resolved series_deleted', 'b resolved series_deleted'])
})

test('a change per minute that fires is not resolved by the empty window after a start', async () => {
  rule({ condition: 'change_rate', threshold: 5, windowMs: 5 * MINUTE })
  const id = series({ host: 'a' })
  for (let i = 0; i < 10; i++) {
    push(id, 10 * i)
    await pass(MINUTE)
  }
  expect(alerts()).toEqual(['a active'])
  world.truncate()
  world.crash(0)
  for (let i = 0; i < 3; i++) {
    push(id, 100)
    await pass(MINUTE)
  }
  expect(alerts()).toEqual(['a active'])
  for (let i = 0; i < 5; i++) {
    push(id, 100)
    await pass(MINUTE)
  }
  expect(alerts()).toEqual(['a resolved recovered'])
})

test('switched off nothing is judged; switched on again it goes on, and the switch survives', async () => {
  rule({})
  const id = series({ host: 'a' })
  expect(world.engine.setActive(false, 'ann')).toBe(true)
  expect(world.engine.setActive(false, 'ann')).toBe(false)
  world.carry()
  push(id, 90)
  await pass(SECOND)
  expect(alerts()).toEqual([])
  expect(world.store.switch('active')).toBe('0')
  world.engine.setActive(true, 'ann')
  world.carry()
  push(id, 90)
  await pass(SECOND)
  expect(alerts()).toEqual(['a active'])
})

test('samples that come an hour late change the state and page once, together', async () => {
  world.settings = { ...world.settings, groupWindowMs: 5 * MINUTE }
  rule({ cooldownMs: 0 })
  const ids = Array.from({ length: 8 }, (_, i) => series({ host: `h${i}` }))
  for (const [n, value] of [90, 70, 90].entries()) {
    world.push(ids.map((id) => ({ series: id, at: world.now - HOUR + n * MINUTE, value })))
    await pass(0)
  }
  await pass(10 * SECOND)
  const sent = world.db.prepare('SELECT event, count(*) AS n FROM outbox GROUP BY event').all()
  expect(sent).toEqual([{ event: 'digest', n: 1 }])
  expect(alerts().filter((text) => text.endsWith('active')).length).toBe(8)
})

test('a storm is one message that counts it, and so is its end; the hold survives a crash', async () => {
  world.settings = { ...world.settings, groupWindowMs: 5 * MINUTE }
  rule({})
  const ids = Array.from({ length: 1000 }, (_, i) => series({ host: `h${i}` }))
  world.push(ids.map((id) => ({ series: id, at: world.now, value: 90 })))
  await pass(SECOND)
  world.crash(0)
  await pass(10 * SECOND)
  const notices = () =>
    (world.db.prepare('SELECT notice FROM outbox ORDER BY seq').all() as { notice: string }[]).map((row) => {
      const { event, count, alerts: shown } = JSON.parse(row.notice)
      return { event, count, shown: shown.length }
    })
  expect(notices()).toEqual([{ event: 'digest', count: 1000, shown: 20 }])
  world.push(ids.map((id) => ({ series: id, at: world.now, value: 10 })))
  await pass(0)
  await pass(6 * MINUTE)
  expect(notices()).toEqual([
    { event: 'digest', count: 1000, shown: 20 },
    { event: 'digest', count: 1000, shown: 20 },
  ])
})

test('the inhibited is told when its inhibitor ends while it still fires', async () => {
  rule({ id: 'high', severity: 'warning', threshold: 80, suppressedBy: ['critical'] })
  rule({ id: 'critical', severity: 'critical', threshold: 95 })
  const [a, b] = [series({ host: 'a' }), series({ host: 'b' })]
  const told = () =>
    (world.db.prepare('SELECT notice FROM outbox ORDER BY seq').all() as { notice: string }[]).map((row) => {
      const { event, alerts: shown } = JSON.parse(row.notice)
      return `${shown[0].ruleId} of ${shown[0].labels.host} ${event}`
    })
  push(a, 97)
  push(b, 85)
  await pass(SECOND)
  expect(told()).toEqual(['critical of a firing', 'high of b firing'])
  push(a, 90)
  await pass(SECOND)
  expect(told().slice(2)).toEqual(['critical of a resolved', 'high of a firing'])
  push(a, 97)
  await pass(6 * MINUTE)
  push(a, 98)
  await pass(SECOND)
  expect(world.store.openOfRule('high').map(({ status, suppressedBy }) => [status, suppressedBy])).toEqual([
    ['suppressed', 'rule:critical'],
    ['active', null],
  ])
  push(a, 10)
  await pass(SECOND)
  expect(told().slice(-2).sort()).toEqual(['critical of a resolved', 'high of a resolved'])
})
