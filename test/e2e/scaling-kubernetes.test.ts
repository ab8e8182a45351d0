/**
 * The platform scales a Deployment over the API of Kubernetes, also where nobody makes its pods: what is wanted is
 * written, what is ready is what the server says.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually, type Platform, startPlatform } from '../support/platform.ts'
import { type ApiServer, startApiServer } from '../support/scaling/api-server.ts'

const API = '/api/v1/auto-scaling'
let server: ApiServer
let platform: Platform
let telling: NodeJS.Timeout

beforeAll(async () => {
  server = await startApiServer()
  server.bare = true
  server.objects.deployment.replicas = 1
  const dir = mkdtempSync(join(tmpdir(), 'om-kubernetes-'))
  const kubeconfig = join(dir, 'kubeconfig')
  const cluster = { server: server.url, 'certificate-authority-data': Buffer.from(server.ca).toString('base64') }
  const config = {
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: { token: server.token } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
    'current-context': 'x',
  }
  writeFileSync(kubeconfig, JSON.stringify(config))
  const target = { name: 'web', max_instances: 6, demand: 'web_rps', kubernetes: { deployment: 'web', kubeconfig } }
  mkdirSync(join(dir, 'config'))
  writeFileSync(
    join(dir, 'config', 'scaling.yaml'),
    JSON.stringify({ scaling: { enabled: true, evaluation_interval: 0.5, targets: [target] } }),
  )
  platform = await startPlatform({
    dir,
    env: { COLLECT_HOST: 'false' },
    ...(process.env.OM_TEST_MAIN ? { main: process.env.OM_TEST_MAIN } : {}),
  })
  telling = setInterval(() => {
    const point = [{ metric_name: 'web_rps', value: 500 }]
    void platform.request('POST', '/api/v1/advanced-analytics/data-points', point).catch(() => {})
  }, 500)
}, 120_000)
afterAll(async () => {
  clearInterval(telling)
  await platform?.remove()
  await server?.close()
})

const web = async () => {
  const { targets } = (await platform.request('GET', `${API}/summary?target=web`)).json.data
  return targets.find(({ name }: { name: string }) => name === 'web')
}
const replicas = async () => server.objects.deployment.replicas

test('grows where nothing gets ready, one step within a cooldown; what is ready is what the server says', async () => {
  const before = await replicas()
  const name = `load_${Date.now()}`
  const thresholds = { scale_up_threshold: 100, scale_down_threshold: 10 }
  const policy = { name, target: 'web', metric_name: 'web_rps', ...thresholds, max_step_up: 1, cooldown_period: 3600 }
  expect((await platform.request('POST', `${API}/policies`, policy)).status).toBe(201)
  await eventually(replicas, (count) => count === before + 1, 240_000)
  const [last] = (await platform.request('GET', `${API}/decisions?target=web&only=changes&limit=1`)).json.data
  const counts = { current_instances: 0, target_instances: before + 1 }
  expect(last).toMatchObject({ policy: name, trigger: 'reactive', ...counts })
  expect(last.reason).toContain(`0 of ${before} wanted are ready`)
  const now = await eventually(web, (one) => one.target_instances === before + 1, 60_000)
  expect(now).toMatchObject({ current_instances: 0, starting: 0 })
  expect((await platform.request('DELETE', `${API}/policies/${name}`)).status).toBe(200)
}, 300_000)

test('what is asked for by hand is counted when its pods are ready', async () => {
  server.bare = false
  const wish = { target: 'web', target_instances: 3, hold_for: 600 }
  expect((await platform.request('POST', `${API}/scale-manual`, wish)).status).toBe(200)
  await eventually(web, (now) => now.current_instances === 3 && now.problem === null, 60_000)
  expect(await replicas()).toBe(3)
}, 120_000)
