/**
 * Breaches and recoveries of many series while the whole platform is killed and started again; then every notice has to
 * have come: for each series one alert, its firing before its end, doubles only under the same delivery id.
 */
import { seededRandom } from '../../src/base/random.ts'
import { ALERT_ENV, startAlerting, startReceiver } from './notices.ts'
import { ADMIN_TOKEN, type Platform, type PlatformOptions, sleep, startPlatform } from './platform.ts'

export interface AlertKillingOutcome {
  readonly series: number
  readonly kills: number
  readonly received: number
  /** Notices that came more than once, under the same delivery id. */
  readonly doubles: number
  /** What must not be, in words; empty when all is well. */
  readonly wrong: string[]
}

export async function alertWhileKilling(options: {
  kills: number
  seed: number
  /** Most milliseconds between a start and the next kill. */
  lifeMs?: number
  platform?: PlatformOptions
  onKill?: (kill: number, received: number) => void
}): Promise<AlertKillingOutcome> {
  const random = seededRandom(options.seed)
  const receiver = await startReceiver()
  // Some answers get lost, some attempts fail: the outbox has something to hold.
  receiver.answer = () => (random.next() < 0.05 ? null : random.next() < 0.1 ? 503 : 200)
  const env = { ...options.platform?.env, ALERTING_ESCALATION_TIMEOUT: '10' }
  // A busy machine starts slowly; how fast is not the question here.
  const how: PlatformOptions = { readyWithinMs: 120_000, ...options.platform, env }
  let platform = await startAlerting(receiver, how)
  const { dir } = platform
  await platform.request('PUT', '/api/v1/intelligent-alerting/channels/hook', { config: { retry_attempts: 100 } })
  const done = new Set<string>()
  let over = false

  async function push(n: string, value: number, at: number): Promise<void> {
    const body = { metric_name: 'delivery_test', labels: { n }, value, timestamp: new Date(at).toISOString() }
    for (;;) {
      try {
        const response = await fetch(`${platform.url}/api/v1/advanced-analytics/add-data-point`, {
          method: 'POST',
          headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(5000),
        })
        const text = await response.text()
        if (response.ok) return
        if (response.status !== 503 && response.status !== 502)
          throw new Error(`unexpected ${response.status}: ${text}`)
      } catch (error) {
        if (error instanceof Error && error.message.startsWith('unexpected')) throw error
      }
      await sleep(10)
    }
  }

  /** One series after the other: a breach, a while, a recovery. Some last until they escalate. */
  async function client(c: number): Promise<void> {
    for (let i = 0; !over; i++) {
      const n = `${c}-${i}`
      const at = Date.now()
      await push(n, 90, at)
      await sleep(random.next() < 0.02 ? 12_000 : random.next() * 300)
      await push(n, 10, Math.max(at + 1, Date.now()))
      done.add(n)
    }
  }
  const clients = Array.from({ length: 4 }, (_, c) => client(c))
  for (let kill = 0; kill < options.kills; kill++) {
    await sleep(50 + random.next() * (options.lifeMs ?? 1500))
    await platform.kill()
    options.onKill?.(kill, receiver.received.length)
    platform = await startAgain(dir, how)
  }
  await sleep(500)
  over = true
  await Promise.all(clients)
  receiver.answer = () => 200
  const ended = () => new Set(receiver.received.filter((r) => r.event === 'resolved').map((r) => r.n))
  // A client of the last moments may wait for the breaker; an error is said below, series by series.
  await receiver.until(() => [...done].every((n) => ended().has(n)), 120_000).catch(() => {})
  await sleep(1000)

  const wrong: string[] = []
  for (const n of done) {
    const mine = receiver.received.filter((r) => r.n === n)
    const kinds = (event: string) => mine.filter((r) => r.event === event)
    const ids = (event: string) => new Set(kinds(event).map((r) => r.id))
    if (ids('firing').size !== 1) wrong.push(`${n}: ${ids('firing').size} firing notices`)
    if (ids('resolved').size !== 1) wrong.push(`${n}: ${ids('resolved').size} resolve notices`)
    if (new Set(mine.map((r) => r.alertId)).size !== 1) wrong.push(`${n}: more than one alert`)
    const last = mine.findLastIndex((r) => r.event === 'firing' || r.event === 'escalated')
    const end = mine.findIndex((r) => r.event === 'resolved')
    if (end !== -1 && last > end) wrong.push(`${n}: told of its end before its beginning`)
    for (const [severity, all] of Map.groupBy(kinds('escalated'), (r) => r.severity)) {
      const times = new Set(all.map((r) => r.id)).size
      if (severity === 'critical' && times > 1) wrong.push(`${n}: risen to critical ${times} times`)
    }
  }
  const received = receiver.received.length
  const doubles = received - new Set(receiver.received.map((r) => r.id)).size
  await platform.remove()
  await receiver.close()
  return { series: done.size, kills: options.kills, received, doubles, wrong }
}

async function startAgain(dir: string, options: PlatformOptions): Promise<Platform> {
  return startPlatform({ ...options, env: { ...ALERT_ENV, ...options.env }, dir })
}
