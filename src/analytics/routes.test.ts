/** Data points in and points of series out, over a real server and store. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MetricsServer, startMetricsServer } from '../../test/support/metrics-server.ts'

let server: MetricsServer
beforeAll(async () => {
  server = await startMetricsServer()
})
afterAll(() => server.stop())

const base = '/api/v1/advanced-analytics'
const minute = Math.floor(Date.now() / 60_000) * 60_000
const iso = (at: number) => new Date(at).toISOString()
const add = (body: object, headers = {}) => server.call('POST', `${base}/add-data-point`, body, headers)
const series = (query: Record<string, string>) => server.call('GET', `${base}/series?${new URLSearchParams(query)}`)

describe('add-data-point', () => {
  test('stores the point and answers it', async () => {
    const before = Date.now()
    const { status, json } = await add({ metric_name: 'cpu_usage', value: 75.5, metadata: { source: 'system' } })
    expect(status).toBe(200)
    expect(json.data).toMatchObject({ metric_name: 'system.cpu_usage', value: 75.5, metadata: { source: 'system' } })
    expect(Date.parse(json.data.timestamp)).toBeGreaterThanOrEqual(before)
    expect(server.samples('system_cpu_usage')).toEqual([`system_cpu_usage{} 75.5 @${Date.parse(json.data.timestamp)}`])
  })

  test.each(['response_time', 'application.api_response_time', 'application_api_response_time'])(
    '%s is one and the same metric',
    async (metric_name) => {
      const { json } = await add({ metric_name, value: 1, timestamp: iso(minute), labels: { host: 'a' } })
      expect(json.data.metric_name).toBe('application.api_response_time')
      expect(server.samples('application_api_response_time')).toEqual([
        `application_api_response_time{host="a"} 1 @${minute}`,
      ])
    },
  )

  test('an equal duplicate is accepted, another value for the same time is a 409', async () => {
    const point = { metric_name: 'dup', value: 1, timestamp: iso(minute) }
    expect((await add(point)).status).toBe(200)
    expect((await add(point)).status).toBe(200)
    const clash = await add({ ...point, value: 2 })
    expect([clash.status, clash.json.error.code]).toEqual([409, 'sample_conflict'])
    expect(server.samples('dup')).toEqual([`dup{} 1 @${minute}`])
  })

  const good = { metric_name: 'm', value: 1 }
  test.each<[object, string]>([
    [{ value: 1 }, 'metric_name'],
    [{ ...good, metric_name: '' }, 'metric_name'],
    [{ ...good, metric_name: 'a b' }, 'metric_name'],
    [{ ...good, metric_name: 'x'.repeat(201) }, 'metric_name'],
    [{ ...good, value: '1' }, 'value'],
    [{ ...good, value: null }, 'value'],
    [{ ...good, vlaue: 1 }, 'vlaue'],
    [{ ...good, timestamp: 'yesterday' }, 'timestamp'],
    [{ ...good, timestamp: '2026-01-01T00:00:00' }, 'timestamp'],
    [{ ...good, timestamp: iso(Date.now() + 3_600_000) }, 'timestamp'],
    [{ ...good, timestamp: '1990-01-01T00:00:00Z' }, 'timestamp'],
    [{ ...good, labels: { a: 1 } }, 'labels.a'],
    [{ ...good, labels: { __name__: 'x' } }, 'labels.__name__'],
    [{ ...good, labels: Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`l${i}`, 'x'])) }, 'labels'],
    [{ ...good, metadata: { x: 'y'.repeat(4096) } }, 'metadata'],
    [{ ...good, metadata: 'x' }, 'metadata'],
  ])('%j is refused with 422', async (body, path) => {
    const { status, json } = await add(body)
    expect(status).toBe(422)
    expect(json.error.fields.map((f: { path: string }) => f.path)).toContain(path)
  })

  test('needs an operator', async () => {
    expect((await add(good, { authorization: 'Bearer token-viewer' })).status).toBe(403)
    expect((await add(good, { authorization: 'Bearer token-operator' })).status).toBe(200)
  })

  test('an old sample is stored, and changes nothing that is newer', async () => {
    await add({ metric_name: 'late', value: 2, timestamp: iso(minute) })
    expect((await add({ metric_name: 'late', value: 1, timestamp: iso(minute - 1_800_000) })).status).toBe(200)
    expect(server.samples('late')).toEqual([`late{} 1 @${minute - 1_800_000}`, `late{} 2 @${minute}`])
  })
})

describe('Idempotency-Key', () => {
  const key = (text: string) => ({ 'idempotency-key': text })

  test('the same request again gives the first answer, and stores nothing new', async () => {
    const point = { metric_name: 'idem', value: 1 }
    const first = await add(point, key('k1'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    const second = await add(point, key('k1'))
    expect(second.json.data).toEqual(first.json.data)
    expect(server.samples('idem')).toHaveLength(1)
    expect((await add(point, key('k2'))).status).toBe(200)
    expect(server.samples('idem')).toHaveLength(2)
  })

  test('the same key with another request is a 409', async () => {
    await add({ metric_name: 'idem_clash', value: 1 }, key('k3'))
    const other = await add({ metric_name: 'idem_clash', value: 2 }, key('k3'))
    expect([other.status, other.json.error.code]).toEqual([409, 'idempotency_clash'])
    expect(server.samples('idem_clash')).toHaveLength(1)
  })

  test('keys of two callers have nothing to do with each other', async () => {
    await add({ metric_name: 'idem_two', value: 1 }, key('k4'))
    const other = await add(
      { metric_name: 'idem_two', value: 2 },
      { ...key('k4'), authorization: 'Bearer token-operator' },
    )
    expect(other.status).toBe(200)
  })

  test('a refusal is the same again', async () => {
    await add({ metric_name: 'idem_409', value: 1, timestamp: iso(minute) })
    for (const _ of [1, 2]) {
      expect((await add({ metric_name: 'idem_409', value: 2, timestamp: iso(minute) }, key('k5'))).status).toBe(409)
    }
  })

  test('batches alike', async () => {
    const body = [
      { metric_name: 'idem_batch', value: 1 },
      { metric_name: 'idem_batch', value: 'x' },
    ]
    const first = await server.call('POST', `${base}/data-points`, body, key('k6'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    const second = await server.call('POST', `${base}/data-points`, body, key('k6'))
    expect(second.json.data).toEqual(first.json.data)
    expect(server.samples('idem_batch')).toHaveLength(1)
  })
})

describe('data-points', () => {
  const push = (body: unknown) => server.call('POST', `${base}/data-points`, body)

  test('bad ones are told apart, the others are stored', async () => {
    await add({ metric_name: 'batch', value: 1, timestamp: iso(minute) })
    const { status, json } = await push([
      { metric_name: 'batch', value: 1, timestamp: iso(minute) },
      { metric_name: 'batch', value: 2, timestamp: iso(minute) },
      { metric_name: 'batch', value: Number.MAX_VALUE, timestamp: iso(minute + 1) },
      { metric_name: 'batch' },
      'x',
      { metric_name: 'batch', value: 1, timestamp: 'soon' },
      { metric_name: 'batch', value: 1, timestamp: iso(minute + 86_400_000) },
    ])
    expect(status).toBe(200)
    expect(json.data.accepted).toBe(2)
    expect(json.data.rejected.map((r: { index: number }) => r.index)).toEqual([1, 3, 4, 5, 6])
    expect(json.data.rejected.map((r: { message: string }) => r.message)).toEqual([
      expect.stringMatching(/Another value/),
      expect.stringMatching(/value: is required/),
      expect.stringMatching(/expected an object/),
      expect.stringMatching(/timestamp/),
      expect.stringMatching(/10 minutes ahead/),
    ])
    expect(server.samples('batch')).toEqual([`batch{} 1 @${minute}`, `batch{} ${Number.MAX_VALUE} @${minute + 1}`])
  })

  test('ten thousand at once, more are refused', async () => {
    const points = Array.from({ length: 10_001 }, (_, i) => ({
      metric_name: 'many',
      value: i,
      timestamp: iso(minute - i * 100),
      labels: { shard: String(i % 7) },
    }))
    expect((await push(points)).status).toBe(422)
    const { json } = await push(points.slice(1))
    expect(json.data).toEqual({ accepted: 10_000, rejected: [] })
    expect(server.samples('many')).toHaveLength(10_000)
    // All of them again with other values: each is a conflict, and each is told.
    const again = await push(points.slice(1).map((p) => ({ ...p, value: -1 })))
    expect(again.json.data.accepted).toBe(0)
    expect(again.json.data.rejected).toHaveLength(10_000)
  })

  test('none is fine, no list is not', async () => {
    expect((await push([])).json.data).toEqual({ accepted: 0, rejected: [] })
    expect((await push({})).status).toBe(422)
  })
})

describe('series', () => {
  test('buckets with mean, lowest, highest and number', async () => {
    const at = [0, 10, 59, 60].map((s) => minute - 600_000 + s * 1000)
    for (const [i, t] of at.entries()) await add({ metric_name: 'chart', value: i + 1, timestamp: iso(t) })
    const { json } = await series({
      metric_name: 'chart',
      since: iso(minute - 600_000),
      until: iso(minute),
      step: '60',
    })
    expect(json.data.points).toEqual([
      { t: iso(minute - 600_000), v: 2, min: 1, max: 3, count: 3 },
      { t: iso(minute - 540_000), v: 4, min: 4, max: 4, count: 1 },
    ])
    expect(json.data).toMatchObject({ metric_name: 'chart', unit: '', step: 60, matched_series: 1 })
  })

  test('the platform’s own series is what the name alone means; labels choose others', async () => {
    const own = { service: 'opinion-market' }
    for (const [labels, value] of [
      [own, 10],
      [{ host: 'a' }, 20],
      [{ host: 'b' }, 40],
      [{ ...own, process: 'x' }, 5],
    ] as const) {
      await add({ metric_name: 'memory_usage', value, labels, timestamp: iso(minute) })
    }
    const ask = async (more: Record<string, string>) =>
      (await series({ metric_name: 'memory_usage', until: iso(minute), ...more })).json.data
    const plain = await ask({})
    expect(plain).toMatchObject({ metric_name: 'system.memory_usage', unit: '%', matched_series: 4 })
    expect(plain.points).toMatchObject([{ v: 10, count: 1 }])
    expect(plain.series.map((s: { labels: object }) => s.labels)).toHaveLength(4)
    expect((await ask({ labels: '{"host":"b"}' })).points).toMatchObject([{ v: 40 }])
    expect((await ask({ labels: '{"host":""}' })).points).toMatchObject([{ v: 10 }])
  })

  test('without the platform’s series all are merged; its labelled ones before others', async () => {
    for (const [host, value] of [
      ['a', 1],
      ['b', 3],
    ] as const) {
      await add({ metric_name: 'merged', value, labels: { host }, timestamp: iso(minute) })
    }
    const merged = await series({ metric_name: 'merged', until: iso(minute) })
    expect(merged.json.data.points).toMatchObject([{ v: 2, min: 1, max: 3, count: 2 }])
    await add({
      metric_name: 'merged',
      value: 8,
      labels: { service: 'opinion-market', process: 'x' },
      timestamp: iso(minute),
    })
    expect((await series({ metric_name: 'merged', until: iso(minute) })).json.data.points).toMatchObject([{ v: 8 }])
  })

  test('metadata comes back with its point', async () => {
    const point = { metric_name: 'noted', value: 1, timestamp: iso(minute), labels: { host: 'a' } }
    await add({ ...point, metadata: { deploy: 'v1', nested: [1, { a: null }] } })
    const query = { metric_name: 'noted', labels: '{"host":"a"}', metadata: 'true' }
    const { json } = await series(query)
    expect(json.data.metadata).toEqual([{ t: iso(minute), metadata: { deploy: 'v1', nested: [1, { a: null }] } }])
    expect((await series({ metric_name: 'noted' })).json.data.metadata).toBeUndefined()
    // A refused point leaves the note of the stored one alone.
    await add({ ...point, value: 2, metadata: { deploy: 'v2' } })
    expect((await series(query)).json.data.metadata).toHaveLength(1)
  })

  test('a metric without samples has no points', async () => {
    const { status, json } = await series({ metric_name: 'nobody' })
    expect(status).toBe(200)
    expect(json.data).toMatchObject({ points: [], series: [], matched_series: 0 })
  })

  test.each<[Record<string, string>, number]>([
    [{}, 422],
    [{ metric_name: 'a b' }, 422],
    [{ metric_name: 'a', since: 'x' }, 422],
    [{ metric_name: 'a', since: iso(minute), until: iso(minute - 1) }, 422],
    [{ metric_name: 'a', step: '0' }, 422],
    [{ metric_name: 'a', step: 'x' }, 400],
    [{ metric_name: 'a', since: iso(minute - 86_400_000), step: '1' }, 422],
    [{ metric_name: 'a', since: '1990-01-01T00:00:00Z' }, 422],
    [{ metric_name: 'a', labels: '{' }, 400],
    [{ metric_name: 'a', labels: '[1]' }, 422],
    [{ metric_name: 'a', more: '1' }, 422],
  ])('%j: %i', async (query, status) => expect((await series(query)).status).toBe(status))

  test('a day is answered with a step that gives a few hundred points', async () => {
    const { json } = await series({ metric_name: 'many', since: iso(minute - 86_400_000) })
    expect(json.data.step).toBe(300)
  })
})
