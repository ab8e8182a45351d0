/** From a sample to the receiver, over the whole platform, also when it is killed at any moment. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { alertWhileKilling } from '../support/alert-killing.ts'
import { ok, type Receiver, startAlerting, startReceiver } from '../support/notices.ts'
import { eventually, type Platform } from '../support/platform.ts'

const ALERTING = '/api/v1/intelligent-alerting'

describe('delivery', () => {
  let receiver: Receiver
  let platform: Platform
  beforeAll(async () => {
    receiver = await startReceiver()
    platform = await startAlerting(receiver)
  })
  afterAll(async () => {
    await platform?.remove()
    await receiver?.close()
  })

  const push = async (n: string, value: number) =>
    ok(
      await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', {
        metric_name: 'delivery_test',
        labels: { n },
        value,
      }),
      'add-data-point',
    )
  const of = (n: string) => receiver.received.filter((r) => r.n === n)

  test('a breach is told, and its end after it', async () => {
    await push('one', 90)
    await receiver.until(() => of('one').length === 1, 10_000)
    await push('one', 10)
    await receiver.until(() => of('one').length === 2, 10_000)
    const [firing, resolved] = of('one')
    expect(firing).toMatchObject({
      event: 'firing',
      severity: 'warning',
      body: { current_value: 90, threshold_value: 50 },
    })
    expect(resolved).toMatchObject({ event: 'resolved', alertId: firing!.alertId, body: { status: 'resolved' } })
    expect(resolved!.body.title).toMatch(/^Resolved: Delivery test after .*, peak 90$/)
    expect(resolved!.id).not.toBe(firing!.id)
  })

  test('a refused notice is dead, shown, and told over another channel; the summary counts what arrived', async () => {
    const other = await startReceiver()
    const config = { url: other.url }
    ok(
      await platform.request('POST', `${ALERTING}/channels`, { id: 'other', name: 'O', type: 'webhook', config }),
      'channel',
    )
    const before = ok(await platform.request('GET', `${ALERTING}/summary`), 'summary').json.data.stats
      .notifications_sent
    receiver.answer = () => 403
    await push('dead', 90)
    await other.until(() => other.received.length === 1, 10_000)
    receiver.answer = () => 200
    expect(other.received[0]!.body.title).toContain('Channel hook does not deliver')
    const dead = ok(await platform.request('GET', `${ALERTING}/deliveries?status=dead`), 'deliveries')
    expect(JSON.stringify(dead.json.data)).toContain('403')
    await eventually(
      () => platform.request('GET', `${ALERTING}/summary`),
      ({ json }) => json.data.stats.notifications_sent === before + 1,
    )
    ok(await platform.request('DELETE', `${ALERTING}/channels/other`), 'delete')
    await other.close()
  })

  test('a channel test goes all the way and says what the provider said', async () => {
    receiver.answer = () => 418
    const answer = ok(await platform.request('POST', `${ALERTING}/channels/hook/test`, {}), 'test')
    expect(JSON.stringify(answer.json.data)).toContain("418 I'm a Teapot")
    receiver.answer = () => 200
    const good = ok(await platform.request('POST', `${ALERTING}/channels/hook/test`, {}), 'test')
    expect(good.json.data).toMatchObject({ channel_id: 'hook', status: 'delivered' })
    expect(receiver.received.at(-1)!.body).toMatchObject({
      event: 'test',
      is_test: true,
      title: expect.stringMatching(/^\[TEST\]/),
    })
  })

  test('an internal address that is not allowed gets nothing', async () => {
    const config = { url: 'http://169.254.169.254/latest/meta-data' }
    ok(
      await platform.request('POST', `${ALERTING}/channels`, { id: 'in', name: 'I', type: 'webhook', config }),
      'channel',
    )
    const answer = ok(await platform.request('POST', `${ALERTING}/channels/in/test`, {}), 'test')
    expect(answer.json.data).toMatchObject({ status: 'failed', answer: expect.stringContaining('internal network') })
  })

  test('no secret of a channel is in an answer, a log, or the database', async () => {
    const marker = (name: string) => `marker-${name}-7f3a`
    const secrets = ['path', 'query', 'sign', 'header', 'pass', 'slack', 'api'].map(marker)
    const [path, query, sign, header, pass, slack, api] = secrets as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ]
    const base = receiver.url.replace('/hook', '')
    const channels = [
      {
        id: 's1',
        type: 'webhook',
        config: { url: `${base}/${path}?k=${query}`, signing_secret: sign, headers: { 'X-Key': header } },
      },
      { id: 's2', type: 'slack', config: { webhook_url: `${base}/${slack}` } },
      {
        id: 's3',
        type: 'email',
        config: {
          smtp_server: '127.0.0.1',
          smtp_port: 1,
          username: 'me',
          password: pass,
          from_email: 'a@shop.example',
          to_emails: ['b@shop.example'],
        },
      },
      { id: 's4', type: 'sms', config: { gateway_url: `${base}/sms`, api_key: api, from: 'Ops', to: '+14155550100' } },
    ]
    const seen: string[] = []
    const call = async (...request: Parameters<Platform['request']>) => {
      const answer = await platform.request(...request)
      seen.push(answer.text)
      return answer
    }
    for (const channel of channels) ok(await call('POST', `${ALERTING}/channels`, { name: 'S', ...channel }), 'channel')
    receiver.answer = () => 500
    for (const { id } of channels) await call('POST', `${ALERTING}/channels/${id}/test`, {})
    receiver.answer = () => 200
    await call('GET', `${ALERTING}/channels`)
    await call('GET', `${ALERTING}/deliveries?limit=1000`)
    await call('PUT', `${ALERTING}/channels/s1`, { config: { url: `nonsense ${path}` } })
    await call('GET', '/api/v1/audit')
    const files = [join(platform.dir, 'logs'), join(platform.dir, 'data')].flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => readFileSync(join(folder, entry.name), 'latin1')),
    )
    for (const secret of secrets) {
      expect(seen.some((text) => text.includes(secret))).toBe(false)
      expect(files.some((text) => text.includes(secret))).toBe(false)
      expect(platform.output()).not.toContain(secret)
    }
    // "***" sent back keeps what was there.
    ok(
      await call('PUT', `${ALERTING}/channels/s1`, { name: 'T', config: { url: '***', signing_secret: '***' } }),
      'put',
    )
    ok(await call('POST', `${ALERTING}/channels/s1/test`, {}), 'test')
    const { body } = receiver.received.at(-1)!
    expect(body.event).toBe('test')
  })
})

test('killed at random moments: no notice is lost, none out of order, doubles only under one delivery id', async () => {
  const seed = Math.floor(Math.random() * 1e9)
  const outcome = await alertWhileKilling({ kills: 6, seed })
  expect(outcome.wrong, `seed ${seed}`).toEqual([])
  expect(outcome.series).toBeGreaterThan(10)
}, 180_000)
