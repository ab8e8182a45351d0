/**
 * The platform in the place of an Alertmanager: Debian's `amtool` reads and writes, a real Prometheus sends its alerts,
 * and alerts of both kinds stand in one list, under the same silences and over the same channels.
 */
import { execFile, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { need } from '../support/need.ts'
import type { Platform } from '../support/platform.ts'
import { ADMIN_TOKEN, freePort, startPlatform } from '../support/platform.ts'

const amtool = need('amtool')
const prometheus = need('prometheus')
const main = process.env.OM_TEST_MAIN
const API = '/api/v1/intelligent-alerting'

let platform: Platform

beforeAll(async () => {
  platform = await startPlatform({
    env: { COLLECT_HOST: 'false', ALERTING_ALLOW_NETWORKS: '127.0.0.1' },
    ...(main ? { main } : {}),
  })
})
afterAll(async () => {
  await platform?.remove()
})

const post = (body: unknown) => platform.request('POST', '/api/v2/alerts', body)
async function listed(name: string) {
  const { json } = await platform.request('GET', `${API}/alerts?limit=1000`)
  return json.data.alerts.filter((a: { metadata: { rule_name: string } }) => a.metadata.rule_name === name)
}

describe('posted alerts', () => {
  test('open once, are refreshed, end with their end, and open anew', async () => {
    const labels = { alertname: 'Posted', host: 'a', severity: 'page' }
    expect((await post([{ labels, annotations: { summary: 'Host a is down' } }])).status).toBe(200)
    expect((await post([{ labels, annotations: { summary: 'Host a is still down' } }])).status).toBe(200)
    const [alert, more] = await listed('Posted')
    expect(more).toBeUndefined()
    expect(alert).toMatchObject({
      rule_id: 'posted:Posted',
      title: 'Host a is still down',
      severity: 'critical',
      status: 'active',
      labels,
    })
    const past = new Date(Date.now() - 1000).toISOString()
    await post([{ labels, endsAt: past }])
    expect((await listed('Posted'))[0]).toMatchObject({ id: alert.id, status: 'resolved', resolution: 'recovered' })
    await post([{ labels }])
    const now = await listed('Posted')
    expect(now.map((a: { status: string }) => a.status)).toEqual(['active', 'resolved'])
  })

  test('an end of what is not known, and one resolved by hand, open nothing', async () => {
    const labels = { alertname: 'Never' }
    await post([{ labels, endsAt: '2020-01-01T00:00:00Z' }])
    expect(await listed('Never')).toEqual([])
    await post([{ labels }])
    const [{ id }] = await listed('Never')
    const resolved = await platform.request('POST', `${API}/alerts/${id}/resolve`, { resolution_notes: 'a drill' })
    expect(resolved.json.data).toMatchObject({ status: 'resolved', resolution_notes: 'a drill' })
    await post([{ labels }])
    expect(await listed('Never')).toHaveLength(1)
  })

  test('good ones of a batch are taken, the answer names the others', async () => {
    const { status, json } = await post([
      { labels: { 'not a label': 'x' } },
      { labels: { alertname: 'Good' } },
      { labels: {} },
    ])
    expect(status).toBe(400)
    expect(json).toContain('1 alerts were taken, 2 were not')
    expect(json).toContain('at least one label pair required')
    expect(await listed('Good')).toHaveLength(1)
  })

  test.each([
    ['no JSON', '{', 400],
    ['no list', {}, 400],
    ['no labels', [{}], 400],
    ['a label that is no text', [{ labels: { a: 1 } }], 400],
    ['a time that is none', [{ labels: { a: 'b' }, startsAt: 'yesterday' }], 400],
    [
      'an end before the start',
      [{ labels: { a: 'b' }, startsAt: '2026-01-02T00:00:00Z', endsAt: '2026-01-01T00:00:00Z' }],
      400,
    ],
  ])('%s is refused with a sentence', async (_, body, status) => {
    const answer = await post(body)
    expect(answer.status).toBe(status)
    expect(typeof answer.json).toBe('string')
  })

  test('they reach a channel, and their end follows', async () => {
    const got: { event: string; title: string }[] = []
    const server = createServer((request, response) => {
      let text = ''
      request.on('data', (chunk) => {
        text += chunk
      })
      request.on('end', () => {
        got.push(JSON.parse(text))
        response.end('ok')
      })
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const made = await platform.request('POST', `${API}/channels`, {
      id: 'here',
      name: 'Here',
      type: 'webhook',
      config: { url: `http://127.0.0.1:${port}/secret-path` },
    })
    expect(made.status).toBe(201)
    expect(made.text).not.toContain('secret-path')
    const labels = { alertname: 'Told', severity: 'warning' }
    await post([{ labels }])
    await vi.waitFor(() => expect(got.map((n) => n.event)).toEqual(['firing']), { timeout: 30_000 })
    await post([{ labels, endsAt: new Date(Date.now() - 1).toISOString() }])
    await vi.waitFor(() => expect(got.map((n) => n.event)).toEqual(['firing', 'resolved']), { timeout: 30_000 })
    // The receiver has it a moment before the answer is kept.
    const deliveries = await vi.waitFor(
      async () => {
        const answer = await platform.request('GET', `${API}/deliveries?channel_id=here`)
        expect(answer.json.data.deliveries.map((d: { status: string }) => d.status)).toEqual(['delivered', 'delivered'])
        return answer
      },
      { timeout: 30_000 },
    )
    expect(deliveries.text).not.toContain('secret-path')
    const gone = await platform.request('DELETE', `${API}/channels/here`)
    expect(gone.status).toBe(200)
    server.close()
  })

  test('they are there after a kill', async () => {
    await post([{ labels: { alertname: 'Durable' }, annotations: { summary: 'still here' } }])
    const { dir } = platform
    await platform.kill()
    platform = await startPlatform({ dir, env: { COLLECT_HOST: 'false' }, ...(main ? { main } : {}) })
    expect((await listed('Durable'))[0]).toMatchObject({ status: 'active', title: 'still here' })
    await post([{ labels: { alertname: 'Durable' }, annotations: { summary: 'still here' } }])
    expect(await listed('Durable')).toHaveLength(1)
  })
})

describe.skipIf(amtool === null)('amtool', () => {
  const run = promisify(execFile)
  async function tool(...args: string[]): Promise<string> {
    const config = join(platform.dir, 'http.yml')
    writeFileSync(config, `authorization: {type: Bearer, credentials: ${ADMIN_TOKEN}}\n`)
    const { stdout } = await run(amtool!, [
      `--alertmanager.url=${platform.url}`,
      `--http.config.file=${config}`,
      ...args,
    ])
    return stdout.trim()
  }

  test('adds and queries alerts', async () => {
    await tool('alert', 'add', 'Tooled', 'host=web-1', 'severity=critical', '--annotation=summary=added by hand')
    const all = JSON.parse(await tool('alert', 'query', '-o', 'json', 'Tooled'))
    expect(all).toHaveLength(1)
    expect(all[0]).toMatchObject({
      labels: { alertname: 'Tooled', host: 'web-1', severity: 'critical' },
      annotations: { summary: 'added by hand' },
      status: { state: 'active', silencedBy: [], inhibitedBy: [] },
    })
    expect(JSON.parse(await tool('alert', 'query', '-o', 'json', 'Tooled', 'host=~"web-[0-9]"'))).toHaveLength(1)
    expect(JSON.parse(await tool('alert', 'query', '-o', 'json', 'Tooled', 'host!="web-1"'))).toEqual([])
  })

  test('silences, shows what is silenced, expires', async () => {
    await tool('alert', 'add', 'Noisy', 'host=db-1')
    const id = await tool('silence', 'add', 'alertname=Noisy', 'host=~db-.*', '-c', 'moving the database', '-a', 'mira')
    const [silence] = JSON.parse(await tool('silence', 'query', '-o', 'json', 'alertname=Noisy'))
    expect(silence).toMatchObject({
      id,
      comment: 'moving the database',
      createdBy: 'mira',
      status: { state: 'active' },
    })
    const silenced = JSON.parse(await tool('alert', 'query', '-o', 'json', '--silenced', 'Noisy'))
    expect(silenced[0].status).toMatchObject({ state: 'suppressed', silencedBy: [id] })
    expect((await listed('Noisy'))[0]).toMatchObject({ status: 'suppressed', suppressed_by: `silence:${id}` })
    const own = (await platform.request('GET', `${API}/silences/${id}`)).json.data
    expect(own.hidden).toMatchObject({ total: 1, open: 1, alerts: [{ title: 'Noisy' }] })

    await tool('silence', 'update', '-d', '3h', id)
    await tool('silence', 'expire', id)
    expect(JSON.parse(await tool('silence', 'query', '-o', 'json', 'alertname=Noisy'))).toEqual([])
    expect(JSON.parse(await tool('silence', 'query', '--expired', '-o', 'json', 'alertname=Noisy'))).toHaveLength(1)
    expect((await listed('Noisy'))[0]).toMatchObject({ status: 'active', suppressed_by: null })
  })

  test('says what is wrong', async () => {
    await expect(tool('silence', 'add', 'alertname=~"("', '-c', 'x')).rejects.toThrow()
    await expect(tool('silence', 'expire', 'nothing')).rejects.toThrow(/404/)
  })
})

describe.skipIf(prometheus === null)('a Prometheus', () => {
  test('sends its alerts here and ends them', async () => {
    const dir = join(platform.dir, 'prometheus')
    mkdirSync(dir)
    const target = new URL(platform.url).host
    const rule = {
      alert: 'FromPrometheus',
      expr: 'vector(1)',
      labels: { severity: 'info' },
      annotations: { summary: 'one is one' },
    }
    const rules = (list: unknown[]) =>
      writeFileSync(join(dir, 'rules.yml'), JSON.stringify({ groups: [{ name: 'g', interval: '1s', rules: list }] }))
    rules([rule])
    writeFileSync(
      join(dir, 'prometheus.yml'),
      JSON.stringify({
        global: { evaluation_interval: '1s' },
        rule_files: ['rules.yml'],
        alerting: {
          alertmanagers: [{ authorization: { credentials: ADMIN_TOKEN }, static_configs: [{ targets: [target] }] }],
        },
      }),
    )
    const port = await freePort()
    const child = spawn(
      prometheus!,
      [
        `--config.file=${join(dir, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(dir, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--rules.alert.resend-delay=1s',
      ],
      { stdio: 'ignore' },
    )
    try {
      await vi.waitFor(async () => expect(await listed('FromPrometheus')).toHaveLength(1), {
        timeout: 45_000,
        interval: 200,
      })
      expect((await listed('FromPrometheus'))[0]).toMatchObject({
        title: 'one is one',
        severity: 'info',
        status: 'active',
      })
      rules([{ ...rule, expr: 'vector(1) > 2' }])
      child.kill('SIGHUP')
      await vi.waitFor(async () => expect((await listed('FromPrometheus'))[0].status).toBe('resolved'), {
        timeout: 45_000,
        interval: 200,
      })
    } finally {
      const ended = new Promise((done) => child.once('exit', done))
      child.kill('SIGTERM')
      await ended
    }
  })
})
