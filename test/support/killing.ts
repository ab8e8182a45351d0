/** Pushes points through the public API while the platform is killed and started again, then looks for each of them. */
import { seededRandom } from '../../src/base/random.ts'
import { ADMIN_TOKEN, type Platform, sleep, startPlatform } from './platform.ts'

export interface KillingOutcome {
  readonly platform: Platform
  readonly acknowledged: number
  /** Acknowledged points that are gone, and those with another value: `metric@time`. */
  readonly missing: string[]
  readonly wrong: string[]
  readonly restartMs: number[]
}

export async function pushWhileKilling(options: {
  kills: number
  seed: number
  clients?: number
  /** Most milliseconds between a start and the next kill. */
  lifeMs?: number
  onKill?: (kill: number, acknowledged: number) => void
}): Promise<KillingOutcome> {
  const random = seededRandom(options.seed)
  const clients = options.clients ?? 4
  const base = Date.now() - 30 * 60_000
  const known = new Map<string, Map<number, number>>()
  let acknowledged = 0
  let platform = await startPlatform()
  const restartMs = [platform.readyMs]
  let url = platform.url
  let over = false

  async function client(n: number) {
    const metric = `kill_test_${n}`
    const mine = new Map<number, number>()
    known.set(metric, mine)
    for (let i = 0; !over; i++) {
      // Every third write is a batch; times never repeat, so a lost answer cannot make a conflict later.
      const points = Array.from({ length: i % 3 === 2 ? 20 : 1 }, (_, k) => ({
        metric_name: metric,
        value: Math.round(random.next() * 1e9) / 1e3,
        timestamp: new Date(base + i * 100 + k).toISOString(),
      }))
      const path = points.length === 1 ? 'add-data-point' : 'data-points'
      try {
        const response = await fetch(`${url}/api/v1/advanced-analytics/${path}`, {
          method: 'POST',
          headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
          body: JSON.stringify(points.length === 1 ? points[0] : points),
          signal: AbortSignal.timeout(5000),
        })
        const text = await response.text()
        if (!response.ok) {
          if (response.status !== 503) throw new Error(`unexpected ${response.status}: ${text}`)
          await sleep(20)
          continue
        }
        for (const point of points) mine.set(Date.parse(point.timestamp), point.value)
        acknowledged += points.length
      } catch (error) {
        if (error instanceof Error && error.message.startsWith('unexpected')) throw error
        await sleep(10)
      }
    }
  }
  const work = Array.from({ length: clients }, (_, n) => client(n))

  for (let kill = 0; kill < options.kills; kill++) {
    await sleep(50 + random.next() * (options.lifeMs ?? 1000))
    await platform.kill()
    options.onKill?.(kill, acknowledged)
    platform = await startPlatform({ dir: platform.dir })
    restartMs.push(platform.readyMs)
    url = platform.url
  }
  await sleep(200)
  over = true
  await Promise.all(work)

  const missing: string[] = []
  const wrong: string[] = []
  for (const [metric, points] of known) {
    const stored = await readAll(platform, metric)
    for (const [time, value] of points) {
      if (!stored.has(time)) missing.push(`${metric}@${time}`)
      else if (stored.get(time) !== value) wrong.push(`${metric}@${time}`)
    }
  }
  return { platform, acknowledged, missing, wrong, restartMs }
}

/** All raw samples of one metric: a range vector over everything. */
async function readAll(platform: Platform, metric: string): Promise<Map<number, number>> {
  const at = (Date.now() + 600_000) / 1000
  const answer = await platform.request('GET', `/api/v1/query?query=${metric}[2h]&time=${at}`)
  if (answer.status !== 200) throw new Error(`reading ${metric}: ${answer.status} ${answer.text.slice(0, 300)}`)
  const points = new Map<number, number>()
  for (const series of answer.json.data.result) {
    for (const [t, v] of series.values) points.set(Math.round(t * 1000), Number(v))
  }
  return points
}
