/**
 * Alerting in the running platform: from a sample to an alert across threads, what a killed tree remembers, rule files
 * as they are saved, why an alert fired, and what a rule would have done.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { eventually, type Platform, type PlatformOptions, sleep, startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN
const api = '/api/v1/intelligent-alerting'

let dir: string
let platform: Platform
const start = async (env: PlatformOptions['env'] = {}) => {
  platform = await startPlatform({ dir, env, ...(main ? { main } : {}) })
}
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'om-test-'))
})
afterEach(async () => {
  await platform.remove()
  rmSync(dir, { recursive: true, force: true })
})

const push = async (metric_name: string, value: number, labels: Record<string, string> = {}, timestamp?: string) => {
  const body = { metric_name, value, labels, ...(timestamp ? { timestamp } : {}) }
  const { status, text } = await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', body)
  if (status !== 200 && status !== 201) throw new Error(text)
}
const rule = (more: Record<string, unknown>) =>
  platform.request('POST', `${api}/rules`, {
    name: 'Test',
    description: 'A test',
    condition: 'gt',
    threshold: 80,
    severity: 'warning',
    ...more,
  })
// biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of an alert
type Seen = any
const alertsOf = async (id: string): Promise<Seen[]> =>
  (await platform.request('GET', `${api}/alerts?rule_id=${id}&limit=1000`)).json.data.alerts
const when = (id: string, check: (alerts: Seen[]) => boolean) => eventually(() => alertsOf(id), check, 20_000)

test('an alert, and one that is about to be, come through a kill of everything as they were', async () => {
  await start()
  await rule({ id: 'plain', metric_name: 'queue_length' })
  await rule({ id: 'patient', metric_name: 'queue_length', for: 6 })
  await push('queue_length', 90, { host: 'a' })
  const [fired] = await when('plain', (alerts) => alerts.length === 1)
  const began = Date.now()
  expect(await alertsOf('patient')).toEqual([])
  await platform.kill()

  await start()
  expect(await alertsOf('plain')).toMatchObject([{ id: fired.id, status: 'active', resolved_at: null }])
  await sleep(Math.max(0, began + 6500 - Date.now()))
  await push('queue_length', 95, { host: 'a' })
  const [late] = await when('patient', (alerts) => alerts.length === 1)
  expect(late.since).toBe(fired.since)
  expect((await alertsOf('plain')).length).toBe(1)
  await push('queue_length', 10, { host: 'a' })
  await when('plain', (alerts) => alerts[0].status === 'resolved')
  await when('patient', (alerts) => alerts[0].status === 'resolved')
})

test('killed at any moment, no breach is lost and none fires twice', { timeout: 300_000 }, async () => {
  await start()
  await rule({ id: 'r', metric_name: 'm', cooldown_period: 0 })
  for (let life = 0; life < 5; life++) {
    const stored: string[] = []
    const pushing = (async () => {
      for (let i = 0; i < 40; i++) {
        const host = `h${life}-${i}`
        await push('m', 90, { host })
        stored.push(host)
      }
    })().catch(() => undefined) // the platform goes away beneath it
    await sleep(50 + life * 60)
    await platform.kill()
    await pushing
    await start()
    const alerts = await when('r', (all) => stored.every((host) => all.some((alert) => alert.labels.host === host)))
    const hosts = alerts.map((alert) => alert.labels.host)
    expect(new Set(hosts).size).toBe(hosts.length)
  }
})

test('rule files of Prometheus are applied as they are saved', { timeout: 90_000 }, async () => {
  mkdirSync(join(dir, 'config', 'rules'), { recursive: true })
  const save = (expr: string) =>
    writeFileSync(
      join(dir, 'config', 'rules', 'rooms.yaml'),
      `groups:
  - name: rooms
    rules:
      - alert: TooHot
        expr: ${expr}
        labels: { severity: critical }
        annotations: { summary: '{{ $labels.room }} has {{ $value | humanize }} degrees' }
`,
    )
  save('temperature > 30')
  await start({ ALERTING_EVALUATION_INTERVAL: '1' })
  await push('temperature', 35, { room: 'kitchen' })
  const [alert] = await when('rooms_toohot', (alerts) => alerts.length === 1)
  expect(alert).toMatchObject({ title: 'kitchen has 35 degrees', severity: 'critical', labels: { room: 'kitchen' } })
  save('temperature > 40')
  const [ended] = await when('rooms_toohot', (alerts) => alerts[0].status === 'resolved')
  expect(ended.resolution).toBe('rule_edited')
  save('temperature >')
  await sleep(3000)
  const kept = await platform.request('GET', `${api}/rules/rooms_toohot`)
  expect(kept.json.data).toMatchObject({ expr: 'temperature > 40', provenance: 'file' })
  rmSync(join(dir, 'config', 'rules', 'rooms.yaml'))
  await eventually(
    () => platform.request('GET', `${api}/rules/rooms_toohot`),
    ({ status }) => status === 404,
  )
})

test('an alert says why, and a backtest says the same of the past', async () => {
  await start()
  await rule({ id: 'r', metric_name: 'm', cooldown_period: 0 })
  const now = Date.now()
  for (const [i, value] of [70, 90, 95, 60, 50, 85, 70].entries()) {
    await push('m', value, { host: 'a' }, new Date(now - (10 - i) * 30_000).toISOString())
  }
  const alerts = await when('r', (all) => all.length === 2 && all.every((alert) => alert.status === 'resolved'))
  const first = alerts.at(-1)
  const { json } = await platform.request('GET', `${api}/alerts/${first.id}/explain`)
  expect(json.data.samples.map((sample: Seen) => sample.v)).toEqual([70, 90, 95, 60, 50, 85, 70])
  const answer = await platform.request('POST', `${api}/rules/backtest`, { rule: { id: 'r', for: 20 } })
  expect(answer.status).toBe(200)
  const { stored, rule: tried } = answer.json.data
  expect(stored.episodes.map((episode: Seen) => [episode.from, episode.until])).toEqual(
    alerts.map((alert) => [alert.triggered_at, alert.resolved_at]).reverse(),
  )
  expect(tried.episodes.length).toBe(2)
  expect(tried.episodes[0].time_to_notify).toBe(20)
})
