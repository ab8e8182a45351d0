/** The dashboard's summary, events and socket over the real program, as a client that is no browser sees them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ServerMessage, Snapshot, Update } from '../../src/dashboard/protocol.ts'
import { FIGURE_KEYS, METRIC_KEYS } from '../../src/dashboard/protocol.ts'
import type { DashboardSocket } from '../support/dashboard-socket.ts'
import { dashboardSocket } from '../support/dashboard-socket.ts'
import type { Platform } from '../support/platform.ts'
import { ADMIN_TOKEN, eventually, startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN
const SUMMARY = '/api/v1/advanced-dashboard/dashboard/summary'
const EVENTS = '/api/v1/advanced-dashboard/events'

describe('the dashboard', () => {
  let platform: Platform
  beforeAll(async () => {
    platform = await startPlatform({ env: { COLLECT_INTERVAL: '1' }, ...(main ? { main } : {}) })
    await eventually(
      () => platform.request('GET', SUMMARY),
      (answer) => answer.json.data.metrics.cpu_usage !== null,
    )
  })
  afterAll(() => platform?.remove())

  const open = (query = '', token: string | null = ADMIN_TOKEN) => dashboardSocket(platform.url, query, token)

  /** The next snapshot with its history: on a busy machine one may come without, and again when it is read. */
  async function whole(socket: DashboardSocket, message: ServerMessage): Promise<Snapshot> {
    while (message.type !== 'snapshot' || !message.history.series.cpu_usage) message = await socket.next()
    return message
  }

  test('summary has the fields of the contract, measured values and nothing invented', async () => {
    const { status, json } = await platform.request('GET', SUMMARY)
    expect(status).toBe(200)
    const { data } = json
    expect(Object.keys(data.metrics).sort()).toEqual([...METRIC_KEYS].sort())
    expect(Object.keys(data.trends).sort()).toEqual([...FIGURE_KEYS].sort())
    expect(data.metrics.cpu_usage).toBeGreaterThanOrEqual(0)
    expect(data.metrics.memory_usage).toBeGreaterThan(0)
    expect(data.metrics.cache_hit_rate).toBeNull()
    expect(data.figures.cpu_usage.normal).toBeNull()
    expect(Date.parse(data.figures.cpu_usage.last_sample_at)).toBeGreaterThan(Date.now() - 15_000)
    expect(data).toMatchObject({ monitoring_active: true, optimization_active: false, problem: null })
    expect(Number.isInteger(data.active_connections)).toBe(true)
    // A busy machine may well fire the platform's own rules; what does is a rule's alert and nothing else.
    for (const alert of data.alerts) expect(alert).toMatchObject({ rule_id: expect.any(String), status: 'active' })
    expect(data.headline.text).toMatch(/^(Healthy|Degraded|Critical): /)
  })

  test('needs a viewer, and refuses what it does not know', async () => {
    const bare = (path: string) => platform.request('GET', path, undefined, { authorization: '' }).then((a) => a.status)
    expect(await bare(SUMMARY)).toBe(401)
    expect(await bare(EVENTS)).toBe(401)
    expect((await platform.request('GET', `${EVENTS}?since=yesterday`)).status).toBe(400)
    expect((await platform.request('GET', `${EVENTS}?sinse=x`)).status).toBe(422)
    expect((await platform.request('GET', `${EVENTS}?limit=0`)).status).toBe(422)
    const without = await open('', null)
    expect(await without.closed).toMatchObject({ code: 4401 })
    const wrong = await open('', 'om_wrong')
    expect(await wrong.closed).toMatchObject({ code: 4401 })
  })

  test('one ticket opens one socket', async () => {
    const made = await platform.request('POST', '/api/v1/advanced-dashboard/dashboard/ws-ticket')
    const { ticket } = made.json.data
    const first = await open(`?ticket=${ticket}`, null)
    expect((await first.next()).type).toBe('snapshot')
    const second = await open(`?ticket=${ticket}`, null)
    expect(await second.closed).toMatchObject({ code: 4401 })
    first.close()
  })

  test('a snapshot comes first, with the history of its range; then an update each period, seq by one', async () => {
    const socket = await open('?range=1h')
    const first = await socket.next()
    expect(first.type).toBe('snapshot')
    const snapshot = await whole(socket, first)
    expect(snapshot).toMatchObject({ range: '1h', history: { step: 15 }, recent: { step: 60 } })
    const { cpu_usage: cpu, response_time: response } = snapshot.history.series
    expect(cpu).toHaveLength(response!.length)
    expect(cpu!.filter((v) => v !== null).length).toBeGreaterThan(0)
    expect(snapshot.events.map((e) => e.title)).toContain('control ready')
    const started = performance.now()
    const updates = [await socket.next(), await socket.next(), await socket.next()]
    expect(updates.map((m) => [m.type, m.seq])).toEqual([1, 2, 3].map((n) => ['update', snapshot.seq + n]))
    expect(performance.now() - started).toBeGreaterThan(3500)
    socket.send({ type: 'snapshot', range: '7d' })
    const week = await whole(socket, await socket.next())
    expect(week).toMatchObject({ range: '7d', history: { step: 1800 } })
    expect(week.seq).toBeGreaterThanOrEqual(updates[2]!.seq)
    socket.close()
  })

  test('fifty dashboards get the same messages, each once', async () => {
    const sockets = await Promise.all(Array.from({ length: 50 }, () => open()))
    const texts = await Promise.all(
      sockets.map(async (socket) => {
        await socket.next()
        return [await socket.text(), await socket.text(), await socket.text()]
      }),
    )
    const sequences = texts.map((three) => three.map((text) => (JSON.parse(text) as Update).seq))
    for (const [a, b, c] of sequences) expect([b! - a!, c! - b!]).toEqual([1, 1])
    const bySeq = new Map<number, Set<string>>()
    for (const text of texts.flat()) {
      const { seq } = JSON.parse(text) as Update
      bySeq.set(seq, (bySeq.get(seq) ?? new Set()).add(text))
    }
    for (const [, versions] of bySeq) expect(versions.size).toBe(1)
    expect((await platform.request('GET', SUMMARY)).json.data.active_connections).toBe(50)
    for (const socket of sockets) socket.close()
    await eventually(
      () => platform.request('GET', SUMMARY),
      (answer) => answer.json.data.active_connections === 0,
    )
  })

  test('nonsense on a socket ends that socket alone', async () => {
    const [bad, good] = [await open(), await open()]
    await Promise.all([bad.next(), good.next()])
    bad.raw('{"type":')
    expect(await bad.closed).toMatchObject({ code: 1008 })
    expect((await good.next()).type).toBe('update')
    good.close()
  })

  test('events tell what happened to processes, newest first, within their window', async () => {
    const all = (await platform.request('GET', EVENTS)).json.data as {
      timestamp: string
      title: string
      type: string
    }[]
    expect(all.map((e) => e.title)).toContain('control started')
    expect(all.map((e) => e.timestamp)).toEqual(
      all
        .map((e) => e.timestamp)
        .sort()
        .reverse(),
    )
    const none = await platform.request('GET', `${EVENTS}?type=scaling`)
    expect(none.json.data).toEqual([])
    const past = await platform.request('GET', `${EVENTS}?until=2020-01-01T00:00:00.000Z`)
    expect(past.json.data).toEqual([])
    expect((await platform.request('GET', `${EVENTS}?limit=1`)).json.data).toHaveLength(1)
  })

  test('the page and its assets: open, small, compressed, kept for ever', async () => {
    const shell = await fetch(`${platform.url}/api/v1/advanced-dashboard/dashboard/advanced`)
    expect(shell.status).toBe(200)
    const policy = shell.headers.get('content-security-policy')!
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(policy).not.toMatch(/unsafe|\*|http/)
    expect(shell.headers.get('x-content-type-options')).toBe('nosniff')
    expect(shell.headers.get('referrer-policy')).toBe('no-referrer')
    const html = await shell.text()
    expect(html).not.toMatch(/<script[^>]*>[^<]|<style|style=|\son\w+=|https?:\/\//)
    const names = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map((m) => m[1]!)
    expect(names.length).toBeGreaterThanOrEqual(2)
    let gzipped = 0
    for (const name of names) {
      for (const encoding of ['gzip', 'br', 'identity']) {
        const asset = await fetch(platform.url + name, { headers: { 'accept-encoding': encoding } })
        expect(asset.status).toBe(200)
        expect(asset.headers.get('content-encoding') ?? 'identity').toBe(encoding)
        expect(asset.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
        if (encoding === 'gzip') gzipped += Number(asset.headers.get('content-length'))
        await asset.arrayBuffer()
      }
    }
    expect(gzipped).toBeGreaterThan(10_000)
    expect(gzipped).toBeLessThan(80_000)
    expect((await fetch(`${platform.url}/assets/..%2findex.html`)).status).toBe(404)
    expect((await fetch(`${platform.url}/assets/nothing.js`)).status).toBe(404)
  })
})
