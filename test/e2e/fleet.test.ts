/** Instances added and removed below the real front, under load, with processes really killed. Children are tiny ones. */
import { afterEach, describe, expect, test } from 'vitest'
import { endFronts, startFront, until } from '../support/process/fronts.ts'

afterEach(endFronts)

/** On a machine with much else to do a process takes its time to start. */
const WITHIN_MS = 40_000

interface Told {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly pid: number
  readonly readyAt: number | null
  readonly inFlight: number | null
}

async function fleetOf(count: number) {
  const front = await startFront({ env: { TINY_INSTANCES: String(count) } })
  const control = async () => (await front.ask('/')).json
  const instances = async () => ((await control()).processes as Told[]).filter((p) => p.kind === 'instance')
  const ready = async (wanted: number) =>
    until(async () => {
      const all = await instances().catch(() => [])
      return all.length === wanted && all.every((p) => p.state === 'ready')
    }, WITHIN_MS)
  const want = (wanted: number, fence: number) => front.ask(`/instances?wanted=${wanted}&fence=${fence}`)
  await until(async () => (await control().catch(() => null))?.processes !== undefined, WITHIN_MS)
  await ready(count)
  return { front, control, instances, ready, want }
}

describe('instances', () => {
  test('come and go as control wants; everything of the market reaches them', async () => {
    const { front, control, instances, ready, want } = await fleetOf(1)
    expect((await front.ask('/api/v1/markets/x')).json.id).toBe('instance-1')
    expect((await front.ask('/api/v1/marketsx')).json.id).toBe('control')
    await want(3, 5)
    await ready(3)
    expect((await control()).wanted).toEqual({ number: 3, fence: 5 })
    const seen = new Set<string>()
    for (let i = 0; i < 9; i++) seen.add((await front.ask('/api/v1/trades/')).json.id)
    expect([...seen].sort()).toEqual(['instance-1', 'instance-2', 'instance-3'])
    expect((await instances()).every((p) => p.readyAt !== null && p.inFlight === 0)).toBe(true)
    await want(1, 4) // a former owner
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect((await control()).wanted).toEqual({ number: 3, fence: 5 })
    await want(1, 6)
    await ready(1)
    const types = (await control()).events.map((e: { process: string; type: string }) => `${e.process} ${e.type}`)
    expect(types).toEqual(expect.arrayContaining(['instance-3 draining', 'instance-3 drained', 'instance-2 drained']))
    expect(types).not.toContain('instance-3 restarting')
  })

  test('a request under way when its instance has to leave is answered by it', async () => {
    const { front, ready, want } = await fleetOf(2)
    const slow = Array.from({ length: 6 }, () =>
      front.ask('/api/v1/trades/slow?ms=1200', { method: 'POST', body: 'x' }),
    )
    await new Promise((resolve) => setTimeout(resolve, 300))
    await want(1, 1)
    const answers = await Promise.all(slow)
    expect(answers.map((a) => a.status)).toEqual(Array(6).fill(200))
    expect(new Set(answers.map((a) => a.json.id))).toEqual(new Set(['instance-1', 'instance-2']))
    await ready(1)
  })

  test('ten removals under load: no request fails', { timeout: 120_000 }, async () => {
    const { front, ready, want } = await fleetOf(1)
    let stop = false
    const failed: string[] = []
    let answered = 0
    const load = Array.from({ length: 8 }, async (_, i) => {
      while (!stop) {
        const method = i % 2 === 0 ? 'GET' : 'POST'
        const answer = await front
          .ask(`/api/v1/trades/slow?ms=${i}`, { method, ...(method === 'POST' ? { body: 'x'.repeat(500) } : {}) })
          .catch((error: Error) => ({ status: 0, text: error.message }))
        if (answer.status === 200) answered++
        else failed.push(`${method} ${answer.status} ${answer.text}`)
      }
    })
    for (let i = 0; i < 10; i++) {
      await want(2, 2 * i + 1)
      await ready(2)
      await want(1, 2 * i + 2)
      await ready(1)
    }
    stop = true
    await Promise.all(load)
    expect(failed).toEqual([])
    expect(answered).toBeGreaterThan(100)
  })

  test('the number outlives control, and a killed instance comes back', async () => {
    const { control, instances, ready, want } = await fleetOf(1)
    await want(2, 3)
    await ready(2)
    const before = await instances()
    process.kill((await control()).pid, 'SIGKILL')
    await ready(2)
    expect((await control()).wanted).toEqual({ number: 2, fence: 3 })
    expect((await instances()).map((p) => p.pid)).toEqual(before.map((p) => p.pid))
    process.kill(before[1]!.pid, 'SIGKILL')
    await until(async () => {
      const second = (await instances())[1]
      return second?.state === 'ready' && second.pid !== before[1]!.pid
    }, WITHIN_MS)
  })
})
