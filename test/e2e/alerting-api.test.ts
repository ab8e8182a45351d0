/**
 * Section 7 of the contract over the running platform: rules, alerts and what people do with them, channels, silences,
 * deliveries, tests to the provider; what is refused, and with which words; what is answered stays after a kill.
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Answer, Platform } from '../support/platform.ts'
import { startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN
const API = '/api/v1/intelligent-alerting'
const env = { COLLECT_HOST: 'false', ALERTING_ALLOW_NETWORKS: '127.0.0.1' }
const SECRETS = {
  path: 'hook-path-8f3a',
  signing: 'signing-secret-71c2',
  header: 'header-value-55d0',
  smtp: 'smtp-pass-90ab',
}

let platform: Platform
let provider: Server
let url: string
const received: { event: string; title: string; current_value: number | null }[] = []

beforeAll(async () => {
  provider = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      received.push(JSON.parse(text))
      response.statusCode = request.url?.includes('broken') ? 403 : 200
      response.end('ok')
    })
  })
  await new Promise<void>((done) => provider.listen(0, '127.0.0.1', done))
  url = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`
  platform = await startPlatform({ env, ...(main ? { main } : {}) })
  for (const rule of (await get('/rules')).json.data.rules) await put(`/rules/${rule.id}`, { enabled: false })
})
afterAll(async () => {
  await platform?.remove()
  provider?.close()
})

const get = (path: string) => platform.request('GET', API + path)
const post = (path: string, body?: unknown, headers?: Record<string, string>) =>
  platform.request('POST', API + path, body ?? {}, headers)
const put = (path: string, body: unknown, headers?: Record<string, string>) =>
  platform.request('PUT', API + path, body, headers)
const del = (path: string, headers?: Record<string, string>) =>
  platform.request('DELETE', API + path, undefined, headers)
const push = (metric_name: string, value: number, labels = {}) =>
  platform.request('POST', '/api/v1/advanced-analytics/add-data-point', { metric_name, value, labels })
const refused = ({ status, json }: Answer) => [
  status,
  json.error.code,
  json.error.fields.map((f: { path: string }) => f.path),
]
const rule = (id: string, more: object = {}) => ({
  id,
  name: `Rule ${id}`,
  description: 'For a test.',
  metric_name: `test_${id}`,
  condition: 'gt',
  threshold: 10,
  severity: 'warning',
  notification_channels: [],
  ...more,
})
/** The open alert of a rule, once it is there. */
async function alertOf(ruleId: string) {
  return vi.waitFor(async () => {
    const { json } = await get(`/alerts?rule_id=${ruleId}&status=active&status=acknowledged&status=suppressed`)
    expect(json.data.alerts).not.toEqual([])
    return json.data.alerts[0]
  }, 30_000)
}

describe('rules', () => {
  test('the six of the document are there', async () => {
    const { json } = await get('/rules')
    expect(json.data.total_count).toBe(6)
    expect(json.data.rules.map((r: { id: string }) => r.id).sort()).toEqual([
      'cache_hit_rate_low',
      'cpu_critical',
      'cpu_high',
      'disk_space_low',
      'memory_high',
      'response_time_slow',
    ])
    expect((await get('/rules?enabled_only=true')).json.data.total_count).toBe(0)
  })

  test('made with defaults, aliases mean the same metric, a second one is a 409', async () => {
    const made = await post('/rules', { ...rule('cpu_mine'), metric_name: 'cpu_usage' })
    expect(made.status).toBe(201)
    expect(made.headers.get('etag')).toBe('"1"')
    expect(made.json.data).toMatchObject({
      id: 'cpu_mine',
      metric_name: 'system.cpu_usage',
      enabled: true,
      cooldown_period: 300,
      for: 0,
      recovery_threshold: 10,
      no_data: 'keep',
      mode: 'threshold',
      window: 300,
      tags: [],
      suppression_rules: [],
      provenance: 'api',
      version: 1,
    })
    expect(refused(await post('/rules', rule('cpu_mine')))).toEqual([409, 'rule_exists', []])
    expect((await del('/rules/cpu_mine')).status).toBe(200)
    expect(refused(await get('/rules/cpu_mine'))).toEqual([404, 'rule_not_found', []])
  })

  test.each([
    ['a misspelt field', { treshold: 3 }, ['treshold']],
    ['another condition', { condition: 'above' }, ['condition']],
    ['another severity', { severity: 'bad' }, ['severity']],
    ['a channel that is not there', { notification_channels: ['email', 'nobody'] }, ['notification_channels.1']],
    ['no threshold', { threshold: undefined }, ['threshold']],
    ['a text as threshold', { threshold: '10' }, ['threshold']],
    ['a recovery on the bad side', { recovery_threshold: 11 }, ['recovery_threshold']],
    ['a pattern that is none', { labels: { host: { regex: '(' } } }, ['labels']],
    ['an expression beside a mode', { mode: 'threshold', expr: 'up == 0' }, ['expr']],
    [
      'an expression that is none',
      { metric_name: undefined, condition: undefined, threshold: undefined, expr: 'sum(up' },
      ['expr'],
    ],
    ['a horizon without a forecast', { horizon: 30, mode: 'threshold' }, ['horizon']],
    ['a negative time', { for: -1 }, ['for']],
    ['an id with spaces', { id: 'my rule' }, ['id']],
    ['itself as parent', { suppression_rules: ['wrong'] }, ['suppression_rules.0']],
  ])('%s is a 422 that names the field', async (_, more, fields) => {
    expect(refused(await post('/rules', { ...rule('wrong'), ...more }))).toEqual([422, 'validation_failed', fields])
    expect((await get('/rules/wrong')).status).toBe(404)
  })

  test('a change needs the version when it names one; what was read can be sent back; versions stay', async () => {
    const { data } = (await post('/rules', rule('versions'))).json
    expect(refused(await put('/rules/versions', { threshold: 11 }, { 'if-match': '"7"' }))).toEqual([
      412,
      'version_stale',
      [],
    ])
    expect(refused(await put('/rules/versions', { threshold: 11, version: 7 }))).toEqual([412, 'version_stale', []])
    const changed = await put('/rules/versions', { ...data, threshold: 12 }, { 'if-match': '"1"' })
    expect(changed.json.data).toMatchObject({ threshold: 12, version: 2 })
    // A recovery threshold that was the threshold itself came back with what was read: it is 10 now, and stays.
    expect(changed.json.data.recovery_threshold).toBe(10)
    expect((await put('/rules/versions', { threshold: 12 })).json.data.version).toBe(2)
    const { versions } = (await get('/rules/versions/versions')).json.data
    expect(
      versions.map((v: { version: number; rule: { threshold: number } }) => [v.version, v.rule.threshold]),
    ).toEqual([
      [2, 12],
      [1, 10],
    ])
    expect(refused(await del('/rules/versions', { 'if-match': '"1"' }))).toEqual([412, 'version_stale', []])
    expect((await del('/rules/versions', { 'if-match': '"2"' })).status).toBe(200)
    expect((await get('/rules/versions/versions')).json.data.versions[0].rule).toBeNull()
  })

  test('the same key makes one rule; with another body it is a 409', async () => {
    const key = { 'idempotency-key': 'once' }
    const first = await post('/rules', rule('keyed'), key)
    const again = await post('/rules', rule('keyed'), key)
    expect([first.status, again.status]).toEqual([201, 201])
    expect(again.json.data).toEqual(first.json.data)
    expect(refused(await post('/rules', rule('keyed', { threshold: 1 }), key))).toEqual([409, 'idempotency_clash', []])
  })

  test('a backtest tells when it would have fired, next to the stored rule', async () => {
    await post('/rules', rule('history', { threshold: 50 }))
    const start = Date.now() - 30 * 60_000
    const points = Array.from({ length: 120 }, (_, i) => {
      const value = i % 40 < 4 ? 60 + (i % 40) : 20
      return { metric_name: 'test_history', value, timestamp: new Date(start + i * 10_000).toISOString() }
    })
    await platform.request('POST', '/api/v1/advanced-analytics/data-points', points)
    const { json } = await post('/rules/backtest', { rule: { id: 'history', threshold: 62.5, cooldown_period: 0 } })
    expect(json.data).toMatchObject({ samples: 120, matched_series: 1, rule: { fired: 3 } })
    // The pause of 300 s after the first leaves the others apart by more than that.
    expect(json.data.stored.fired).toBe(3)
    expect(json.data.stored.episodes[0].since).toBe(points[0]!.timestamp)
    expect(json.data.rule.episodes[0]).toMatchObject({ since: points[3]!.timestamp, peak: 63 })
    expect(json.data.series[0].points.length).toBeGreaterThan(0)
    const none = await post('/rules/backtest', { rule: rule('unheard') })
    expect(none.json.data).toMatchObject({ samples: 0, stored: null, rule: { fired: 0, notices: [] } })
    expect(refused(await post('/rules/backtest', { rule: { id: 'history', condition: 'no' } }))[0]).toBe(422)
    const suggested = await get('/suggested-threshold?metric_name=test_history')
    expect(suggested.json.data).toMatchObject({ metric_name: 'test_history', samples: 120 })
    expect(suggested.json.data.threshold).toBeGreaterThanOrEqual(60)
  })
})

describe('alerts', () => {
  test('fire, are acknowledged and resolve by themselves, through a kill; both notices come', async () => {
    const channel = { id: 'kept', name: 'Kept', type: 'webhook', config: { url } }
    expect((await post('/channels', channel)).status).toBe(201)
    await post('/rules', rule('life', { recovery_threshold: 5, notification_channels: ['kept'], for: 0 }))
    const before = received.length
    await push('test_life', 20, { host: 'a' })
    const alert = await alertOf('life')
    expect(alert).toMatchObject({
      status: 'active',
      severity: 'warning',
      title: 'Rule life: 20, limit 10',
      current_value: 20,
      threshold_value: 10,
      clears_below: 5,
      clears_above: null,
      labels: { host: 'a' },
      metadata: { rule_name: 'Rule life', condition: 'gt', tags: [] },
      is_test: false,
      acknowledged_by: null,
      escalation_level: 0,
      notifications: ['kept'],
    })
    expect(Date.parse(alert.next_escalation_at) - Date.parse(alert.triggered_at)).toBeGreaterThan(1_790_000)
    const acknowledged = await post(`/alerts/${alert.id}/acknowledge`, { acknowledged_by: 'Mira' })
    expect(acknowledged.json.data).toMatchObject({
      status: 'acknowledged',
      acknowledged_by: 'Mira',
      next_escalation_at: null,
    })
    const { dir } = platform
    await platform.kill()
    platform = await startPlatform({ dir, env, ...(main ? { main } : {}) })
    expect((await get(`/alerts/${alert.id}`)).json.data).toMatchObject({
      status: 'acknowledged',
      acknowledged_by: 'Mira',
    })
    // Between the threshold and the recovery threshold nothing changes.
    await push('test_life', 7, { host: 'a' })
    await push('test_life', 4, { host: 'a' })
    await vi.waitFor(async () => {
      expect((await get(`/alerts/${alert.id}`)).json.data).toMatchObject({
        status: 'resolved',
        resolution: 'recovered',
      })
    }, 30_000)
    await vi.waitFor(() => {
      const events = [...new Set(received.slice(before).map((notice) => notice.event))]
      expect(events).toEqual(['firing', 'resolved'])
    }, 30_000)
    expect(refused(await post(`/alerts/${alert.id}/acknowledge`, { acknowledged_by: 'late' }))).toEqual([
      409,
      'alert_resolved',
      [],
    ])
    expect(refused(await post(`/alerts/${alert.id}/resolve`, { resolution_notes: '' }))).toEqual([
      409,
      'alert_resolved',
      [],
    ])
    // The verdict on it may still change.
    const noise = await post(`/alerts/${alert.id}/resolve`, { resolution_notes: 'a drill', false_positive: true })
    expect(noise.json.data).toMatchObject({
      false_positive: true,
      resolution_notes: 'a drill',
      resolution: 'recovered',
    })
    const kinds = (await get(`/alerts/${alert.id}`)).json.data.timeline.map((entry: { kind: string }) => entry.kind)
    expect(kinds).toEqual(['opened', 'told', 'acknowledged', 'closed', 'told'])
  })

  test('explained: samples, limit, stages, deliveries, history of the limit', async () => {
    const { alerts } = (await get('/alerts?rule_id=life')).json.data
    const { json } = await get(`/alerts/${alerts[0].id}/explain`)
    expect(json.data).toMatchObject({
      threshold: 10,
      duration: 0,
      samples_complete: true,
      rule: { id: 'life', version: 1 },
    })
    expect(json.data.samples.map((sample: { v: number }) => sample.v)).toEqual([20, 7, 4])
    expect(json.data.checks.map((c: { stage: string; passed: boolean }) => [c.stage, c.passed])).toEqual([
      ['inhibited', true],
      ['silenced', true],
      ['grouped', true],
      ['deduplicated', true],
      ['routed', true],
    ])
    expect(json.data.deliveries.map((d: { event: string }) => d.event)).toEqual(['resolved', 'firing'])
    expect(json.data.threshold_history).toMatchObject([{ version: 1, threshold: 10 }])
  })

  test('a list goes on by its cursor, each alert once; those that need somebody come first', async () => {
    await post('/rules', rule('pages', { severity: 'info' }))
    await post('/rules', rule('worse', { severity: 'critical' }))
    for (let i = 0; i < 7; i++) await push('test_pages', 20, { n: String(i) })
    await push('test_worse', 20)
    await alertOf('worse')
    const acknowledged = await alertOf('pages')
    await post(`/alerts/${acknowledged.id}/acknowledge`, { acknowledged_by: 'somebody' })
    for (const sort of ['newest', 'needs_attention']) {
      const seen: { id: string; rule_id: string; status: string }[] = []
      let cursor = ''
      for (;;) {
        const { json, headers } = await get(`/alerts?status=active&status=acknowledged&sort=${sort}&limit=3${cursor}`)
        seen.push(...json.data.alerts)
        expect(json.data.total_count).toBe(8)
        expect(json.data.active_count).toBe(7)
        expect(headers.get('x-next-cursor')).toBe(json.data.next_cursor)
        if (json.data.next_cursor === null) break
        cursor = `&cursor=${json.data.next_cursor}`
      }
      expect(new Set(seen.map((a) => a.id)).size).toBe(8)
      if (sort === 'needs_attention') expect([seen[0]!.rule_id, seen.at(-1)!.id]).toEqual(['worse', acknowledged.id])
    }
    expect((await get('/alerts?severity=critical&status=active')).json.data.total_count).toBe(1)
    expect(refused(await get('/alerts?cursor=nothing'))[0]).toBe(400)
    expect(refused(await get('/alerts?status=broken'))[0]).toBe(422)
    expect(refused(await get('/alerts/nothing'))).toEqual([404, 'alert_not_found', []])
    const summary = (await get('/summary')).json.data
    expect(summary.active_alerts).toEqual({ total: 8, by_severity: { info: 7, warning: 0, critical: 1, emergency: 0 } })
    expect(summary.config).toMatchObject({ evaluation_interval: 30, escalation_timeout: 1800, suppression_window: 300 })
    expect((await get('/stats')).json.data.active_alerts).toEqual(summary.active_alerts)
  })

  test('deleting or editing a rule ends its alerts with that reason', async () => {
    const pages = await alertOf('pages')
    await put('/rules/pages', { threshold: 15 })
    expect((await get(`/alerts/${pages.id}`)).json.data).toMatchObject({
      status: 'resolved',
      resolution: 'rule_edited',
    })
    const worse = await alertOf('worse')
    await del('/rules/worse')
    expect((await get(`/alerts/${worse.id}`)).json.data).toMatchObject({
      status: 'resolved',
      resolution: 'rule_deleted',
    })
  })

  test('alerting is stopped and started, idempotently, over a restart', async () => {
    expect((await post('/start-alerting')).json.data).toEqual({ changed: false })
    expect((await post('/stop-alerting')).json.data).toEqual({ changed: true })
    expect((await get('/health')).json.data).toMatchObject({ alerting_active: false, status: 'inactive' })
    const { dir } = platform
    await platform.kill()
    platform = await startPlatform({ dir, env, ...(main ? { main } : {}) })
    expect((await get('/health')).json.data.alerting_active).toBe(false)
    expect((await post('/start-alerting')).json.data).toEqual({ changed: true })
    expect((await get('/health')).json.data).toMatchObject({ alerting_active: true, status: 'healthy' })
  })
})

describe('channels', () => {
  const secret = {
    id: 'secretive',
    name: 'Secretive',
    type: 'webhook',
    config: {
      url: 'set in the test',
      signing_secret: SECRETS.signing,
      headers: { 'X-Key': SECRETS.header },
    },
  }
  const holdsSecret = (text: string) => Object.values(SECRETS).filter((value) => text.includes(value))

  test('no answer and no log line holds a secret; "***" keeps it', async () => {
    secret.config.url = `${url}/${SECRETS.path}`
    const made = await post('/channels', secret)
    expect([made.status, made.json.data]).toEqual([
      201,
      { id: 'secretive', name: 'Secretive', type: 'webhook', enabled: true, configured: true, version: 1 },
    ])
    const shown = await get('/channels/secretive')
    expect(shown.json.data.config).toMatchObject({
      url: '***',
      url_set: true,
      signing_secret: '***',
      signing_secret_set: true,
    })
    expect(shown.json.data.config.headers).toEqual({ 'X-Key': '***' })
    const back = await put('/channels/secretive', { ...shown.json.data, name: 'Renamed' })
    expect(back.json.data).toMatchObject({ name: 'Renamed', configured: true, version: 2 })
    const tested = await post('/channels/secretive/test')
    expect(tested.json.data).toMatchObject({ channel_id: 'secretive', status: 'delivered', answer: '200 OK ok' })
    expect(received.at(-1)!.event).toBe('test')
    const all = [made, shown, back, tested, await get('/channels'), await get('/deliveries?channel_id=secretive')]
    expect(all.flatMap((answer) => holdsSecret(answer.text))).toEqual([])
    const { json } = await platform.request('GET', '/api/v1/audit?limit=100')
    expect(holdsSecret(JSON.stringify(json))).toEqual([])
    expect(holdsSecret(platform.output())).toEqual([])
  })

  test('a provider that refuses is told with its words', async () => {
    await put('/channels/secretive', { config: { url: `${url}/broken/${SECRETS.path}` } })
    const { json, text } = await post('/channels/secretive/test')
    expect(json.data).toMatchObject({ status: 'failed', answer: '403 Forbidden ok' })
    expect(holdsSecret(text)).toEqual([])
    expect((await get('/channels/secretive')).json.data.last_error).toContain('403')
  })

  test('an internal address that is not allowed is not asked', async () => {
    const made = await post('/channels', {
      id: 'inside',
      name: 'Inside',
      type: 'webhook',
      config: { url: 'http://10.0.0.1/' },
    })
    expect(made.status).toBe(201)
    const { json } = await post('/channels/inside/test')
    expect(json.data.status).toBe('failed')
    expect(json.data.answer).toContain('internal network')
    expect((await del('/channels/inside')).status).toBe(200)
  })

  test.each([
    ['an unknown setting', { config: { urll: 'http://example.org' } }, ['config.urll']],
    ['a setting of a wrong kind', { config: { url: 7 } }, ['config.url']],
    ['another type', { type: 'pigeon' }, ['type']],
    ['an unknown field', { colour: 'red' }, ['colour']],
    ['a severity that is none', { severity_filter: ['bad'] }, ['severity_filter.0']],
  ])('%s is a 422 that names the field', async (_, more, fields) => {
    const body = { id: 'wrong', name: 'Wrong', type: 'webhook', config: { url: 'https://example.org' }, ...more }
    expect(refused(await post('/channels', body))).toEqual([422, 'validation_failed', fields])
  })

  test('what exists, what is used and what comes with the platform stays', async () => {
    expect(refused(await post('/channels', secret))).toEqual([409, 'channel_exists', []])
    expect(refused(await del('/channels/kept'))).toEqual([409, 'channel_in_use', []])
    expect(refused(await put('/channels/nothing', { name: 'x' }))).toEqual([404, 'channel_not_found', []])
    expect(refused(await post('/channels/nothing/test'))).toEqual([404, 'channel_not_found', []])
    expect(refused(await put('/channels/secretive', { name: 'x' }, { 'if-match': '"1"' }))).toEqual([
      412,
      'version_stale',
      [],
    ])
    expect((await del('/channels/secretive')).status).toBe(200)
    expect((await get('/channels/secretive')).status).toBe(404)
  })
})

describe('tests of a rule', () => {
  test.each([
    ['lt', 70, (value: number) => value < 70],
    ['gt', 80, (value: number) => value > 80],
    ['eq', 5, (value: number) => value === 5],
    ['change_rate', -3, (value: number) => value < -3],
  ])(
    '%s %d: the value breaches its own condition, and goes to the provider',
    async (condition, threshold, breaches) => {
      const id = `tested_${condition}`
      await post('/rules', rule(id, { condition, threshold, notification_channels: ['kept', 'slack'] }))
      const { json } = await post('/test-alert', { rule_id: id })
      expect(json.data).toMatchObject({ rule_id: id, rule_name: `Rule ${id}`, threshold })
      expect(json.data.test_value).toSatisfy(breaches)
      expect(json.data.deliveries).toMatchObject([
        { channel_id: 'kept', status: 'delivered', answer: '200 OK ok' },
        { channel_id: 'slack', status: 'not_sent' },
      ])
      expect(received.at(-1)).toMatchObject({ event: 'test', current_value: json.data.test_value })
      expect(received.at(-1)!.title).toContain('[TEST]')
      expect((await get(`/alerts/${json.data.alert_id}`)).json.data.is_test).toBe(true)
      expect((await get(`/alerts?rule_id=${id}`)).json.data.total_count).toBe(0)
    },
  )

  test('the same key sends one test', async () => {
    const key = { 'idempotency-key': 'one test' }
    const [first, again] = [
      await post('/test-alert', { rule_id: 'tested_gt' }, key),
      await post('/test-alert', { rule_id: 'tested_gt' }, key),
    ]
    expect(again.json.data).toEqual(first.json.data)
    expect(refused(await post('/test-alert', { rule_id: 'nothing' }))).toEqual([404, 'rule_not_found', []])
  })

  test('rules that would reach nobody are named by health', async () => {
    const { undeliverable_rules: lost } = (await get('/health')).json.data
    expect(lost).toContain('keyed')
    expect(lost).not.toContain('tested_gt')
    expect(lost).not.toContain('cpu_high')
  })
})

describe('silences', () => {
  const silence = (more: object = {}) => ({
    matchers: [{ name: 'rule_id', value: 'hushed' }],
    ends_at: new Date(Date.now() + 3_600_000).toISOString(),
    comment: 'a test',
    ...more,
  })

  test('hides, says what it hid, and tells when it ends', async () => {
    await post('/rules', rule('hushed', { notification_channels: ['kept'] }))
    const made = await post('/silences', silence())
    expect(made.status).toBe(201)
    expect(made.json.data).toMatchObject({ state: 'active', version: 1, hidden: { total: 0, open: 0, alerts: [] } })
    const before = received.length
    await push('test_hushed', 20)
    const alert = await alertOf('hushed')
    expect(alert).toMatchObject({
      status: 'suppressed',
      suppressed_by: `silence:${made.json.data.id}`,
      notifications: [],
    })
    const shown = (await get('/silences')).json.data.silences[0]
    expect(shown.hidden).toMatchObject({ total: 1, open: 1, alerts: [{ id: alert.id, status: 'suppressed' }] })
    expect(received.length).toBe(before)
    const ended = await del(`/silences/${shown.id}`)
    expect(ended.json.data).toMatchObject({ state: 'expired', version: 2 })
    await vi.waitFor(() => expect(received.slice(before).map((n) => n.event)).toEqual(['firing']), 30_000)
    expect(refused(await del(`/silences/${shown.id}`))).toEqual([409, 'silence_ended', []])
    expect(refused(await del('/silences/nothing'))).toEqual([404, 'silence_not_found', []])
  })

  test('by a schedule in its zone, or until all it hides is resolved', async () => {
    const schedule = { cron: '0 2 * * *', duration: 3600, time_zone: 'Europe/Berlin' }
    const { json } = await post('/silences', silence({ ends_at: null, schedule }))
    expect(json.data).toMatchObject({ schedule, ends_at: null })
    const until = await post('/silences', silence({ ends_at: undefined, until_resolved: true }))
    expect(until.json.data).toMatchObject({ until_resolved: true, state: 'active' })
    const changed = await put(
      `/silences/${json.data.id}`,
      { ...silence({ comment: 'another' }) },
      { 'if-match': '"1"' },
    )
    expect(changed.json.data).toMatchObject({ comment: 'another', schedule: null, version: 2 })
    expect(refused(await put(`/silences/${json.data.id}`, silence(), { 'if-match': '"1"' }))).toEqual([
      412,
      'version_stale',
      [],
    ])
  })

  test.each([
    ['no matcher', { matchers: [] }, ['matchers']],
    ['an end in the past', { ends_at: '2020-01-01T00:00:00Z' }, ['ends_at']],
    ['no end at all', { ends_at: null }, ['ends_at']],
    ['a time without a zone', { ends_at: '2030-01-01T00:00:00' }, ['ends_at']],
    ['a pattern that is none', { matchers: [{ name: 'a', value: '(', is_regex: true }] }, ['matchers']],
    ['a zone that is none', { schedule: { cron: '0 2 * * *', duration: 60, time_zone: 'Mars/Base' } }, ['schedule']],
    ['a schedule that is none', { schedule: { cron: '99 99 * * *', duration: 60 } }, ['schedule']],
    ['no reason', { comment: '' }, ['comment']],
  ])('%s is a 422', async (_, more, fields) => {
    expect(refused(await post('/silences', silence(more)))).toEqual([422, 'validation_failed', fields])
  })
})

describe('deliveries', () => {
  test('by alert, channel and status, and by page', async () => {
    const { json } = await get('/deliveries?channel_id=kept&limit=2')
    expect(json.data.deliveries).toHaveLength(2)
    expect(json.data.deliveries[0].attempts[0]).toMatchObject({ ok: true, answer: '200 OK ok' })
    const next = await get(`/deliveries?channel_id=kept&limit=1000&cursor=${json.data.next_cursor}`)
    const ids = [...json.data.deliveries, ...next.json.data.deliveries].map((d: { id: string }) => d.id)
    expect(new Set(ids).size).toBe(ids.length)
    expect(
      (await get('/deliveries?status=dead')).json.data.deliveries.every((d: { is_test: boolean }) => d.is_test),
    ).toBe(true)
    expect(refused(await post(`/deliveries/${ids[0]}/retry`))).toEqual([409, 'delivery_not_dead', []])
    expect(refused(await post('/deliveries/nothing/retry'))).toEqual([404, 'delivery_not_found', []])
  })
})
