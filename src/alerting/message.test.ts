/** What notices say. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DAY, HOUR, MINUTE } from '../base/time.ts'
import { breachTitle, figure, lasting, messageOf } from './message.ts'
import { EVENTS, type Notice, type NoticeAlert } from './notice.ts'

const at = Date.UTC(2026, 0, 5, 9, 41, 2)
const links = {
  explain: (id: string) => `/e/${id}`,
  acknowledge: (id: string) => `/a/${id}`,
  page: (path: string) => `/at${path}`,
}

const alert = (more: Partial<NoticeAlert> = {}): NoticeAlert => ({
  alertId: 'a1',
  ruleId: 'slow',
  title: 'Slow response time: 214 ms, limit 200 ms',
  message: 'It was above 200 ms for 20 s.',
  severity: 'warning',
  status: 'active',
  metricName: 'application.api_response_time',
  labels: { service: 'opinion-market', zone: 'a' },
  currentValue: 214,
  thresholdValue: 200,
  unit: 'ms',
  triggeredAt: at,
  resolvedAt: null,
  runbookUrl: null,
  tags: [],
  ruleName: 'Slow response time',
  condition: 'gt',
  ...more,
})
const notice = (more: Partial<Notice> = {}, ...alerts: NoticeAlert[]): Notice => {
  const all = alerts.length > 0 ? alerts : [alert()]
  const rest = { count: all.length, orderKey: 'a1', isTest: false, createdAt: at }
  return { id: 'd', channelId: 'c', event: 'firing', alerts: all, ...rest, ...more }
}
const say = (n: Notice, now = n.createdAt) => messageOf(n, links, now)

describe('titles', () => {
  test.each<[string, Notice, string]>([
    ['a breach', notice(), 'Slow response time: 214 ms, limit 200 ms'],
    ['a test', notice({ event: 'test', isTest: true }), '[TEST] Slow response time: 214 ms, limit 200 ms'],
    [
      'an end',
      notice({ event: 'resolved' }, alert({ status: 'resolved', resolvedAt: at + 12 * MINUTE, peakValue: 340 })),
      'Resolved: Slow response time after 12 min, peak 340 ms',
    ],
    [
      'an end of something that was too low',
      notice({ event: 'resolved' }, alert({ condition: 'lt', resolvedAt: at + HOUR, peakValue: 61.2, unit: '%' })),
      'Resolved: Slow response time after 1 h, lowest 61.2 %',
    ],
    [
      'a rise',
      notice({ event: 'escalated', createdAt: at + 30 * MINUTE }, alert({ severity: 'critical' })),
      'Slow response time: 214 ms, limit 200 ms, not acknowledged for 30 min',
    ],
    [
      'a digest',
      notice({ event: 'digest' }, alert({ severity: 'critical' }), alert(), alert(), alert({ status: 'resolved' })),
      '4 alerts: 1 critical, 2 warning, 1 resolved',
    ],
    [
      'a storm',
      notice({ event: 'digest', count: 1184 }),
      '1,184 alerts, the worst: Slow response time: 214 ms, limit 200 ms',
    ],
    ['a digest of ends', notice({ event: 'digest', count: 2 }, alert({ status: 'resolved' })), '2 alerts resolved'],
  ])('%s', (_, said, title) => expect(say(said).title).toBe(title))
})

test('an end says why and from when to when', () => {
  const ended = alert({ status: 'resolved', resolvedAt: at + MINUTE, resolution: 'rule_deleted', currentValue: 180 })
  expect(say(notice({ event: 'resolved' }, ended)).sentences).toEqual([
    'It ended because its rule was deleted. It fired from 2026-01-05 09:41:02 UTC to 2026-01-05 09:42:02 UTC. ' +
      'application.api_response_time is 180 ms now.',
  ])
})

test('a rise says who did not react', () => {
  const risen = alert({ severity: 'critical', toldBefore: ['email', 'slack'] })
  expect(say(notice({ event: 'escalated', createdAt: at + HOUR }, risen)).sentences.join(' ')).toContain(
    'Nobody has acknowledged it since 2026-01-05 09:41:02 UTC; it is critical now. Told before: email, slack.',
  )
})

test('a late notice says how late, one in time does not', () => {
  expect(say(notice(), at + MINUTE)).toMatchObject({ lateMs: 0, sentences: ['It was above 200 ms for 20 s.'] })
  expect(say(notice(), at + 3 * HOUR + 5 * MINUTE).sentences).toContain('This notice is 3 h 5 min late.')
})

test('only what still fires can be acknowledged', () => {
  expect(say(notice()).acknowledgeUrl).toBe('/a/a1')
  for (const status of ['resolved', 'acknowledged', 'suppressed'] as const) {
    expect(say(notice({}, alert({ status }))).acknowledgeUrl).toBeNull()
  }
  expect(say(notice({ event: 'digest', count: 9 })).acknowledgeUrl).toBeNull()
  expect(say(notice({ isTest: true })).acknowledgeUrl).toBeNull()
})

test('what is no alert of the list leads to another page, and cannot be acknowledged', () => {
  const dead = alert({ alertId: 'undelivered-mail', page: '/ops/deliveries' })
  expect(say(notice({}, dead))).toMatchObject({ explainUrl: '/at/ops/deliveries', acknowledgeUrl: null })
  expect(say(notice({ event: 'digest', count: 9 })).explainUrl).toBe('/at/ops/alerts')
})

test("facts name the figures and the series, without the platform's own label", () => {
  expect(say(notice()).facts).toEqual([
    { name: 'Severity', value: 'warning' },
    { name: 'Metric', value: 'application.api_response_time' },
    { name: 'Current Value', value: '214 ms' },
    { name: 'Threshold', value: '200 ms' },
    { name: 'Since', value: '2026-01-05 09:41:02 UTC' },
    { name: 'Series', value: '{zone="a"}' },
  ])
})

test.each([
  [0, '%', '0 %'],
  [82.64, '%', '82.6 %'],
  [213.7, 'ms', '214 ms'],
  [1184.3, 'req/s', '1,184 req/s'],
  [3.1049, 'GiB', '3.1 GiB'],
  [0.01234, '', '0.0123'],
  [-12.34, '', '-12.3'],
  [1e-9, '', '0.000000001'],
])('%d in %j is %j', (value, unit, text) => expect(figure(value, unit)).toBe(text))

test.each([
  [0, '0 s'],
  [59_499, '59 s'],
  [MINUTE, '1 min'],
  [HOUR + 5 * MINUTE, '1 h 5 min'],
  [26 * HOUR, '26 h'],
  [3 * DAY, '3 days'],
])('%d ms last %j', (ms, text) => expect(lasting(ms)).toBe(text))

test('a breach without a value or without a limit', () => {
  expect(breachTitle('R', null, 200, 'ms')).toBe('R: no data, limit 200 ms')
  expect(breachTitle('R', null, null, 'ms')).toBe('R: no data')
  expect(breachTitle('R', 3, null, '')).toBe('R: 3')
  expect(breachTitle('R', 214, 200, 'ms')).toBe('R: 214 ms, limit 200 ms')
})

test('any notice can be said', () => {
  const number = fc.oneof(fc.double({ noNaN: true }), fc.constant(null))
  const any = fc.record({
    event: fc.constantFrom(...EVENTS),
    value: number,
    threshold: number,
    peak: number,
    title: fc.string(),
    resolved: fc.boolean(),
    late: fc.nat(),
  })
  fc.assert(
    fc.property(any, ({ event, value, threshold, peak, title, resolved, late }) => {
      const status = resolved ? 'resolved' : 'active'
      const one = alert({ title, currentValue: value, thresholdValue: threshold, peakValue: peak, status })
      const message = say(notice({ event }, one), at + late)
      expect(message.title).not.toMatch(/undefined|NaN|null/)
      expect(message.sentences.join(' ')).not.toMatch(/undefined|NaN/)
    }),
  )
})
