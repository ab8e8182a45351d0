/** Foreign protocols over a real server and store: what senders are answered, and what is stored. */
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type MetricsServer, startMetricsServer } from '../../../test/support/metrics-server.ts'
import {
  concat,
  doubleField,
  fixed64Field,
  labelField,
  message,
  snappy,
  textField,
  varint,
  writeRequest,
} from '../../../test/support/wire.ts'
import { labelsOf } from '../labels.ts'

let server: MetricsServer
const now = Date.now()
beforeAll(async () => {
  server = await startMetricsServer()
})
afterAll(() => server.stop())

const write = (body: Uint8Array, headers = {}) =>
  server.call('POST', '/api/v1/write', body, {
    'content-encoding': 'snappy',
    'content-type': 'application/x-protobuf',
    'x-prometheus-remote-write-version': '0.1.0',
    ...headers,
  })
const series = (name: string, samples: [number, number][], labels = {}) => ({ labels: labelsOf(name, labels), samples })

describe('remote write', () => {
  test('is stored before it is answered', async () => {
    const answer = await write(
      snappy(writeRequest([series('rw_a', [[now, 1.5]], { job: 'x' }), series('rw_b', [[now, 2]])])),
    )
    expect(answer.status).toBe(204)
    expect(answer.text).toBe('')
    expect(server.samples('rw_a')).toEqual([`rw_a{job="x"} 1.5 @${now}`])
    expect(server.samples('rw_b')).toEqual([`rw_b{} 2 @${now}`])
  })

  test('a sender that repeats itself is fine', async () => {
    const body = snappy(writeRequest([series('rw_twice', [[now, 1]])]))
    expect((await write(body)).status).toBe(204)
    expect((await write(body)).status).toBe(204)
    expect(server.samples('rw_twice')).toHaveLength(1)
  })

  test('labels that are not in order are the same series', async () => {
    const sample = message(2, doubleField(1, 1), concat(varint(16), varint(now)))
    await write(
      snappy(message(1, labelField('z', '1'), labelField('__name__', 'rw_order'), labelField('empty', ''), sample)),
    )
    await write(snappy(writeRequest([series('rw_order', [[now + 1, 2]], { z: '1' })])))
    expect(server.samples('rw_order')).toEqual([`rw_order{z="1"} 1 @${now}`, `rw_order{z="1"} 2 @${now + 1}`])
  })

  test('the good part of a body is stored, and the rest is told with a 400', async () => {
    await write(snappy(writeRequest([series('rw_part', [[now, 1]])])))
    const answer = await write(
      snappy(
        writeRequest([
          series('rw_part', [
            [now, 2],
            [now + 1, 3],
          ]),
          series('rw_ahead', [[now + 3_600_000, 1]]),
          series('', [[now, 1]]),
        ]),
      ),
    )
    expect(answer.status).toBe(400)
    expect(answer.text).toMatch(/^1 sample is stored, refused are: /)
    expect(answer.text).toMatch(/1 with another value than is stored/)
    expect(answer.text).toMatch(/1 more than 10 minutes ahead/)
    expect(answer.text).toMatch(/1 with labels that are not valid or over a limit/)
    expect(server.samples('rw_part')).toEqual([`rw_part{} 1 @${now}`, `rw_part{} 3 @${now + 1}`])
  })

  test('over the limit of series is a 400 too: a 429 would block the sender for ever', async () => {
    const small = await startMetricsServer({ seriesMax: 100 })
    try {
      const many = Array.from({ length: 300 }, (_, i) => series('rw_many', [[now, i]], { i: String(i) }))
      const headers = { 'content-encoding': 'snappy' }
      const answer = await small.call('POST', '/api/v1/write', snappy(writeRequest(many)), headers)
      expect(answer.status).toBe(400)
      expect(answer.text).toBe('100 samples are stored, refused are: 200 over the limit of series\n')
      expect(small.samples('rw_many')).toHaveLength(100)
    } finally {
      await small.stop()
    }
  })

  test.each([
    ['garbage', Buffer.from('garbage'), {}, 400],
    ['nothing', Buffer.alloc(0), {}, 400],
    ['a promise of a gigabyte', concat(varint(2 ** 30), new Uint8Array(100)), {}, 400],
    ['another encoding', Buffer.from('x'), { 'content-encoding': 'gzip' }, 415],
    [
      'remote write 2.0',
      Buffer.from('x'),
      { 'content-type': 'application/x-protobuf;proto=io.prometheus.write.v2.Request' },
      415,
    ],
  ])('%s is refused', async (_, body, headers, status) => {
    const answer = await write(body, headers)
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain/)
  })

  test('needs an operator', async () => {
    const body = snappy(writeRequest([]))
    expect((await write(body, { authorization: 'Bearer token-viewer' })).status).toBe(403)
    expect((await write(body, { authorization: 'Bearer nobody' })).status).toBe(401)
    expect((await write(body, { authorization: 'Bearer token-operator' })).status).toBe(204)
  })

  test('a sender that stalls, or goes away half-way, harms nobody', async () => {
    const { hostname, port } = new URL(server.url)
    const half = `POST /api/v1/write HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-admin\r\nContent-Length: 1000\r\n\r\nabc`
    const sockets = Array.from({ length: 20 }, () => connect(Number(port), hostname).on('error', () => {}))
    for (const socket of sockets) socket.write(half)
    expect((await write(snappy(writeRequest([series('rw_calm', [[now, 1]])])))).status).not.toBe(503)
    for (const socket of sockets) socket.destroy()
    expect((await write(snappy(writeRequest([])))).status).toBe(204)
  })
})

describe('OTLP', () => {
  const gauge = (name: string, points: object[]) => ({
    resourceMetrics: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
        scopeMetrics: [{ metrics: [{ name, gauge: { dataPoints: points } }] }],
      },
    ],
  })
  const nanos = `${now}000000`

  test('JSON, plain and in gzip', async () => {
    const answer = await server.call('POST', '/v1/metrics', gauge('otlp.a', [{ timeUnixNano: nanos, asDouble: 2 }]))
    expect([answer.status, answer.json]).toEqual([200, {}])
    expect(server.samples('otlp_a')).toEqual([`otlp_a{job="shop"} 2 @${now}`])
    const packed = gzipSync(JSON.stringify(gauge('otlp.b', [{ timeUnixNano: nanos, asInt: '3' }])))
    const headers = { 'content-type': 'application/json; charset=utf-8', 'content-encoding': 'gzip' }
    expect((await server.call('POST', '/v1/metrics', packed, headers)).status).toBe(200)
    expect(server.samples('otlp_b')).toHaveLength(1)
  })

  test('tells what it did not take', async () => {
    const points = [{ timeUnixNano: nanos, asInt: 1 }, { asInt: 1 }, { timeUnixNano: nanos, asInt: 2 }]
    const { status, json } = await server.call('POST', '/v1/metrics', gauge('otlp.c', points))
    expect(status).toBe(200)
    expect(json.partialSuccess.rejectedDataPoints).toBe('2')
    expect(json.partialSuccess.errorMessage).toMatch(/1 no time, 1 with another value/)
  })

  test('protobuf is answered in protobuf', async () => {
    const point = (bits: bigint) => message(1, fixed64Field(3, bits), doubleField(4, 7))
    const body = message(1, message(2, message(2, textField(1, 'otlp.d'), message(5, point(BigInt(nanos)), point(0n)))))
    const answer = await fetch(`${server.url}/v1/metrics`, {
      method: 'POST',
      headers: { authorization: 'Bearer token-operator', 'content-type': 'application/x-protobuf' },
      body: body as Uint8Array<ArrayBuffer>,
    })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toBe('application/x-protobuf')
    const why = textField(2, '1 no time')
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(Buffer.from(message(1, concat(Uint8Array.of(8, 1), why))))
    expect(server.samples('otlp_d')).toEqual([`otlp_d{} 7 @${now}`])
  })

  test.each([
    ['not JSON', '{', 'application/json', 400],
    ['not protobuf', '\n\x7f', 'application/x-protobuf', 400],
    ['text', 'x', 'text/plain', 415],
  ])('%s is refused', async (_, body, type, status) => {
    const answer = await server.call('POST', '/v1/metrics', body, { 'content-type': type })
    expect(answer.status).toBe(status)
    if (status === 400) expect(answer.json).toMatchObject({ code: 3, message: expect.stringMatching(/./) })
  })

  test('a bomb is not unpacked to its end', async () => {
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }
    const answer = await server.call('POST', '/v1/metrics', gzipSync(Buffer.alloc(64 << 20, 32)), headers)
    expect(answer.status).toBe(413)
  })
})

describe('import', () => {
  test('text, OpenMetrics and CSV', async () => {
    const text = await server.call('POST', '/api/v1/import?format=prometheus', `im_a{x="y"} 1 ${now}\n`)
    expect(text.json.data).toEqual({ accepted: 1, duplicates: 0, late: 0, refused: {} })
    expect(server.samples('im_a')).toEqual([`im_a{x="y"} 1 @${now}`])
    await server.call('POST', '/api/v1/import?format=openmetrics&part=1', `im_b 1 ${now / 1000}\n`)
    expect(server.samples('im_b')).toHaveLength(1)
    await server.call('POST', '/api/v1/import?format=csv&metric=im_c', `${now},3\n`)
    expect(server.samples('im_c')).toEqual([`im_c{} 3 @${now}`])
  })
  test.each([
    ['?format=xml', ''],
    ['?format=openmetrics', 'a 1\n'],
    ['?format=csv', `${now},3\n`],
  ])('%s %j is refused', async (query, body) => {
    const answer = await server.call('POST', `/api/v1/import${query}`, body)
    expect([answer.status, answer.json.success]).toEqual([400, false])
  })
})

test('sources are counted apart', async () => {
  const { json } = await server.call('GET', '/api/v1/metrics/sources', undefined, {
    authorization: 'Bearer token-viewer',
  })
  const sources = Object.fromEntries(json.data.map((s: { source: string }) => [s.source, s]))
  expect(Object.keys(sources)).toEqual(['import', 'otlp', 'remote_write'])
  expect(sources.remote_write.refused).toMatchObject({ conflict: 1, too_far_ahead: 1, labels: 1 })
  expect(sources.remote_write.accepted).toBeGreaterThan(5)
  expect(sources.import).toMatchObject({ accepted: 3, refused: {} })
})

test('what costs most', async () => {
  const headers = { authorization: 'Bearer token-viewer' }
  const all = (await server.call('GET', '/api/v1/metrics/series/top?limit=1000', undefined, headers)).json.data
  expect(all.names).toContainEqual({ name: 'rw_order', series: 1 })
  expect(all.labels).toContainEqual({ label: 'job', values: 2, series: 4 })
  expect(all.pairs).toContainEqual({ label: 'job', value: 'shop', series: 3 })
  expect(all.series).toBe(all.names.length)
  const { names, labels, pairs } = (await server.call('GET', '/api/v1/metrics/series/top?limit=1')).json.data
  expect([names.length, labels.length, pairs.length]).toEqual([1, 1, 1])
  expect(pairs[0]).toEqual({ label: 'job', value: 'shop', series: 3 })
})

describe('deleting', () => {
  test('takes whole series, and nothing else', async () => {
    const rows = ['a', 'b', 'c'].map((x) => series('rw_delete', [[now, 1]], { x }))
    await write(snappy(writeRequest(rows)))
    const answer = await server.call(
      'DELETE',
      `/api/v1/metrics/series?match=${encodeURIComponent('rw_delete{x=~"a|b"}')}`,
    )
    expect(answer.json.data).toEqual({ deleted: 2 })
    expect(server.samples('rw_delete')).toEqual([`rw_delete{x="c"} 1 @${now}`])
    await server.call('POST', '/api/v1/admin/tsdb/delete_series?match[]=rw_delete&match[]=nobody')
    expect(server.samples('rw_delete')).toEqual([])
    // What comes again begins anew.
    await write(snappy(writeRequest([series('rw_delete', [[now + 1, 2]], { x: 'a' })])))
    expect(server.samples('rw_delete')).toEqual([`rw_delete{x="a"} 2 @${now + 1}`])
  })

  test.each([
    ['POST', '/api/v1/admin/tsdb/delete_series?match[]=up', 204],
    ['POST', '/api/v1/admin/tsdb/delete_series', 400],
    ['POST', '/api/v1/admin/tsdb/delete_series?match[]=up&start=1', 400],
    ['POST', '/api/v1/admin/tsdb/delete_series?match[]=up{', 400],
    ['DELETE', '/api/v1/metrics/series?match=up', 200],
    ['DELETE', '/api/v1/metrics/series?match={}', 400],
    ['DELETE', '/api/v1/metrics/series', 422],
  ])('%s %s: %i', async (method, path, status) => {
    expect((await server.call(method, path)).status).toBe(status)
    expect((await server.call(method, path, undefined, { authorization: 'Bearer token-operator' })).status).toBe(403)
  })
  test('takes selectors from a form', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    expect(
      (await server.call('POST', '/api/v1/admin/tsdb/delete_series', 'match[]=up&match[]=a{b="c"}', form)).status,
    ).toBe(204)
  })
})
