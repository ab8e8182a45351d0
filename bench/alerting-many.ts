/**
 * The running platform with many active alerts, as a client sees it: `node bench/alerting-many.ts [alerts] [main.js]`.
 * Posts them to Alertmanager's API, then asks over HTTP for what the page asks for, and acknowledges.
 */
import { startPlatform } from '../test/support/platform.ts'

const many = Number(process.argv[2] ?? 100_000)
const main = process.argv[3]
const BATCH = 2000
const TIMES = 60
const API = '/api/v1/intelligent-alerting'
const say = (line: string) => void process.stdout.write(`${line}\n`)

const platform = await startPlatform({ env: { COLLECT_HOST: 'false' }, ...(main ? { main } : {}) })

/** One request; the answer is read whole. */
async function ask(method: string, path: string, body?: unknown) {
  const answer = await platform.request(method, path, body)
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text.slice(0, 300)}`)
  return answer.json
}

async function often(what: string, work: (i: number) => Promise<unknown>): Promise<void> {
  const all: number[] = []
  for (let i = 0; i < TIMES; i++) {
    const began = performance.now()
    await work(i)
    all.push(performance.now() - began)
  }
  all.sort((a, b) => a - b)
  const at = (q: number) => all[Math.min(TIMES - 1, Math.floor(q * TIMES))]!.toFixed(1)
  say(`${what.padEnd(52)} p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, most ${all.at(-1)!.toFixed(1)} ms`)
}

const began = performance.now()
const severities = ['critical', 'warning', 'info', 'page']
for (let n = 0; n < many; n += BATCH) {
  const alerts = Array.from({ length: Math.min(BATCH, many - n) }, (_, i) => ({
    labels: { alertname: `Alert${(n + i) % 500}`, host: `host-${n + i}`, severity: severities[(n + i) % 4] },
    annotations: { summary: `Host ${n + i} is ill` },
    endsAt: new Date(Date.now() + 86_400_000).toISOString(),
  }))
  await ask('POST', '/api/v2/alerts', alerts)
}
say(`${many} alerts opened in ${((performance.now() - began) / 1000).toFixed(1)} s`)

const open = 'status=active&status=acknowledged&status=suppressed&sort=needs_attention'
const list = (query: string) => ask('GET', `${API}/alerts?${query}`)
const first = await list('limit=1000')
const ids = first.data.alerts.map((alert: { id: string }) => alert.id) as string[]
await often('first page, 50 newest', () => list(''))
await often('first page, 50 that need somebody', () => list('sort=needs_attention'))
await often("the page's own list: 200 open ones", () => list(`${open}&limit=200`))
await often('50 critical ones', () => list('severity=critical&status=active&sort=needs_attention'))
let cursor = ''
await often('page after page of 50', async () => {
  const page = await list(`sort=needs_attention${cursor}`)
  cursor = `&cursor=${encodeURIComponent(page.data.next_cursor)}`
})
await often('acknowledging one', (i) =>
  ask('POST', `${API}/alerts/${ids[i]}/acknowledge`, { acknowledged_by: 'bench' }),
)
await often('resolving one', (i) =>
  ask('POST', `${API}/alerts/${ids[TIMES + i]}/resolve`, { resolution_notes: 'bench' }),
)
await often('one alert with its timeline', (i) => ask('GET', `${API}/alerts/${ids[200 + i]}`))
await often('summary', () => ask('GET', `${API}/summary`))
await often('health of alerting', () => ask('GET', `${API}/health`))
await often('silences', () => ask('GET', `${API}/silences`))
await often('deliveries', () => ask('GET', `${API}/deliveries`))
const silence = (name: string, value: string, isRegex = false) => ({
  matchers: [{ name, value, is_regex: isRegex }],
  comment: 'bench',
  ends_at: new Date(Date.now() + 3_600_000).toISOString(),
})
const made: string[] = []
await often('silencing one of them', async (i) => {
  made.push((await ask('POST', `${API}/silences`, silence('host', `host-${9000 + i}`))).data.id)
})
await often('and ending that silence', (i) => ask('DELETE', `${API}/silences/${made[i]}`))
/** Acknowledges one alert after another until `done`, and says how long they took meanwhile. */
async function meanwhile(done: () => Promise<boolean>): Promise<string> {
  const began = performance.now()
  const waits: number[] = []
  while (!(await done())) {
    const since = performance.now()
    await ask('POST', `${API}/alerts/${ids[300 + waits.length]}/acknowledge`, { acknowledged_by: 'bench' })
    waits.push(performance.now() - since)
    await new Promise((go) => setTimeout(go, 50))
  }
  const took = ((performance.now() - began) / 1000).toFixed(1)
  waits.sort((a, b) => a - b)
  const [half, most] = [0.5, 1].map((q) => (waits[Math.ceil(q * (waits.length - 1))] ?? 0).toFixed(0))
  return `${took} s, in which acknowledging took p50 ${half} ms, most ${most} ms`
}
const activeOnes = async () => (await list('status=active&limit=1')).data.total_count as number
for (const [what, text] of [
  ['a tenth of them', '.*7'],
  ['all of them', '.*'],
]) {
  const before = await activeOnes()
  const { data } = await ask('POST', `${API}/silences`, silence('host', text!, true))
  let now = before
  const settled = async () => {
    const last = now
    now = await activeOnes()
    return now === last && now < before
  }
  say(`silencing ${what}: ${await meanwhile(settled)}`)
  await ask('DELETE', `${API}/silences/${data.id}`)
  say(`ending that: ${await meanwhile(async () => (await list('status=suppressed&limit=1')).data.total_count === 0)}`)
}
await platform.remove()
