/** The pool of query workers over a real store with its threads, and Prometheus' API on a real server before it. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RouteServer, serveRoutes } from '../../test/support/route-server.ts'
import { systemClock } from '../base/clock.ts'
import type { ConfigKey, ConfigOf } from '../base/config-key.ts'
import type { Log } from '../base/log.ts'
import { silentLog } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { ColumnBuilder } from './columns.ts'
import { metricsKeys } from './config.ts'
import { labelsOf } from './labels.ts'
import type { QueryConfig } from './query/keys.ts'
import { queryKeys } from './query/keys.ts'
import { queryRoutes } from './query/routes.ts'
import type { QueryService } from './query-service.ts'
import { QueryStopped, startQueries } from './query-service.ts'
import type { Metrics } from './service.ts'
import { startMetrics } from './service.ts'

const fallbacks = <K extends Record<string, ConfigKey<unknown>>>(keys: K) =>
  Object.fromEntries(Object.entries(keys).map(([key, { fallback }]) => [key, fallback])) as ConfigOf<K>
const defaults = fallbacks(queryKeys)
const scheduler = systemScheduler((error) => {
  throw error
})
const at = (file: string) => new URL(`../app/${file}.ts`, import.meta.url)
const now = Math.floor(systemClock.now() / 60_000) * 60_000
const SERIES = 200
const TICKS = 240

let dir: string
let metrics: Metrics
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'om-query-'))
  metrics = await startMetrics({
    dir,
    config: fallbacks(metricsKeys),
    clock: systemClock,
    log: silentLog,
    telemetry: createTelemetry(),
    workers: { pipeline: at('pipeline-worker'), compaction: at('compaction-worker') },
    onFailure(error) {
      throw error
    },
  })
  const batch = new ColumnBuilder()
  for (let i = 0; i < SERIES; i++) {
    batch.series(labelsOf('m_total', { i: String(i), half: String(i % 2) }))
    for (let k = 0; k < TICKS; k++) batch.sample(now - (TICKS - k) * 15_000, k * (i + 1))
  }
  batch.series(labelsOf('odd.name', { 'a b': 'c"d\n' })).sample(now - 1000, 1e-9)
  await metrics.append(batch.finish(), { source: 'api' })
})
afterAll(async () => {
  await metrics.stop()
  rmSync(dir, { recursive: true })
})

async function withQueries<T>(
  change: Partial<QueryConfig>,
  work: (queries: QueryService, warnings: string[]) => Promise<T>,
  worker = at('query-worker'),
  more: Partial<Parameters<typeof startQueries>[0]> = {},
): Promise<T> {
  const warnings: string[] = []
  const log: Log = { ...silentLog, warn: (message) => warnings.push(message), with: () => log }
  const queries = startQueries({
    share: metrics.share,
    worker,
    scheduler,
    log,
    telemetry: createTelemetry(),
    config: () => ({ ...defaults, ...change }),
    ...more,
  })
  try {
    return await work(queries, warnings)
  } finally {
    await queries.stop()
  }
}

const range = (text: string, step = 15_000) => ({
  text,
  start: now - TICKS * 15_000,
  end: now,
  step,
  limit: 0,
  lookbackMs: null,
  stats: false,
})
const instant = (text: string) => ({ ...range(text, 0), start: now })
const json = (answer: { body: Uint8Array }) => JSON.parse(Buffer.from(answer.body).toString())
/** Runs for minutes: each of many steps sorts a window of many values. */
const long = 'sum(quantile_over_time(0.5, (vector(time()) * 7919 % 1000)[1h:5ms]))'

describe('the pool', () => {
  test('answers, and other rooms get columns', () =>
    withQueries({}, async (queries) => {
      const { data } = json(await queries.call('query', instant('sum by (half) (m_total)')))
      expect(data.result.map((s: { value: [number, string] }) => s.value[1])).toEqual([
        String((TICKS - 1) * 10_000),
        String((TICKS - 1) * 10_100),
      ])
      const evaluated = await queries.call('evaluate', range('avg(m_total)', 60_000))
      expect(evaluated.series).toHaveLength(1)
      expect(evaluated.series[0]!.times).toBeInstanceOf(Float64Array)
      expect(evaluated.series[0]!.times.length).toBe(61)
      await expect(queries.call('evaluate', instant('sum('))).rejects.toMatchObject({ status: 422 })
    }))

  test('starts a second worker only for a query that has waited for a while', () => {
    const held: (() => void | Promise<void>)[] = []
    let ahead = 0
    const telemetry = createTelemetry()
    const workers = () =>
      telemetry.snapshot().find(({ name }) => name === 'opinion_market_query_workers')?.samples[0]?.value
    const patient: Scheduler = {
      ...scheduler,
      clock: { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() + ahead },
      after(ms, task) {
        if (ms >= 1000) return scheduler.after(ms, task)
        held.push(task)
        return { cancel() {} }
      },
    }
    return withQueries(
      {},
      async (queries) => {
        // The first stands and is ready.
        await queries.call('query', instant('1'))
        const client = new AbortController()
        const first = queries.call('query', range(long), { signal: client.signal }).catch((error) => error)
        const second = queries.call('query', instant('count(m_total)'))
        expect(workers()).toBe(1)
        expect(held).toHaveLength(1)
        ahead = 10_000
        void held[0]!()
        expect(json(await second).data.result[0].value[1]).toBe(String(SERIES))
        expect(workers()).toBe(2)
        client.abort()
        expect(await first).toBeInstanceOf(QueryStopped)
      },
      at('query-worker'),
      { scheduler: patient, telemetry },
    )
  })

  test.each([1, 3])('with %i workers all that wait get their turn, and their own answer', (queryConcurrency) =>
    withQueries({ queryConcurrency }, async (queries) => {
      const done: number[] = []
      await Promise.all(
        Array.from({ length: 12 }, async (_, i) => {
          const { data } = json(await queries.call('query', instant(`vector(${i})`)))
          expect(data.result[0].value[1]).toBe(String(i))
          done.push(i)
        }),
      )
      const inOrder = Array.from({ length: 12 }, (_, i) => i)
      expect(queryConcurrency === 1 ? done : [...done].sort((a, b) => a - b)).toEqual(inOrder)
    }),
  )

  test('more than may wait are refused at once', () =>
    withQueries({ queryConcurrency: 1, queryQueueMax: 2 }, async (queries) => {
      const calls = Array.from({ length: 6 }, () => queries.call('query', instant('1')))
      const results = await Promise.allSettled(calls)
      const refused = results.flatMap((r) => (r.status === 'rejected' ? [r.reason] : []))
      expect(refused.length).toBeGreaterThan(0)
      for (const reason of refused) expect(reason).toMatchObject({ status: 503, code: 'too_many_queries' })
      expect(results.filter((r) => r.status === 'fulfilled').length).toBeGreaterThanOrEqual(3)
    }))

  test('one whose time is over or whose client is gone stops within its work and leaves its worker to the next', () =>
    withQueries({ queryConcurrency: 1 }, async (queries, warnings) => {
      // The worker stands before the time begins.
      await queries.call('query', instant('1'))
      const late = queries.call('query', range(long, 60_000), { timeoutMs: 300 })
      await expect(late).rejects.toMatchObject({ reason: 'timeout', status: 503 })
      await expect(late).rejects.toThrow('query timed out in expression evaluation')
      const gone = new AbortController()
      const left = queries.call('query', range(long, 60_000), { signal: gone.signal })
      setTimeout(() => gone.abort(), 50)
      const next = queries.call('query', instant('vector(7)'))
      await expect(left).rejects.toMatchObject({ reason: 'canceled' })
      expect(json(await next).data.result[0].value[1]).toBe('7')
      expect(warnings).toEqual([])
    }))

  test('one that does not listen is ended with its worker, and the next one has another', async () => {
    const deaf = `import { parentPort } from 'node:worker_threads'
      parentPort.on('message', ({ id, args }) => {
        if (args?.text === 'deaf') for (;;);
        parentPort.postMessage({ rpc: 'reply', id, value: { status: 200, body: new Uint8Array(1) } })
      })`
    const worker = new URL(`data:text/javascript,${encodeURIComponent(deaf)}`)
    await withQueries(
      { queryConcurrency: 1 },
      async (queries, warnings) => {
        // The worker stands before the time begins.
        await queries.call('query', instant('1'))
        const call = queries.call('query', instant('deaf'), { timeoutMs: 200 })
        const next = queries.call('query', instant('other'))
        await expect(call).rejects.toMatchObject({ reason: 'timeout', status: 503 })
        expect((await next).status).toBe(200)
        expect(warnings).toEqual(['a query worker did not stop and is replaced'])
      },
      worker,
    )
  })

  test('what nobody waits for goes after the others, one at a time, and goes all the same', () =>
    withQueries({ queryConcurrency: 3 }, async (queries) => {
      const endless = new AbortController()
      const running = queries.call('query', range(long, 60_000), { signal: endless.signal }).catch(() => null)
      // There is a second worker, and it is free.
      await queries.call('query', instant('1'))
      const order: string[] = []
      const own = ['first', 'second'].map((name) =>
        queries.call('query', instant('1'), { background: true }).then(() => order.push(name)),
      )
      await queries.call('query', instant('2')).then(() => order.push('asked'))
      await Promise.all(own)
      expect(order).toEqual(['asked', 'first', 'second'])
      endless.abort()
      await running
    }))

  test('a worker that fails before it is ready refuses the query that it was for', () =>
    withQueries(
      { queryConcurrency: 1 },
      async (queries) => {
        await expect(queries.call('query', instant('1'))).rejects.toMatchObject({ status: 503 })
        await expect(queries.call('query', instant('1'))).rejects.toMatchObject({ status: 503 })
      },
      new URL(`data:text/javascript,${encodeURIComponent('throw new Error("broken")')}`),
    ))

  test('waiting counts as time of the query', () =>
    withQueries({ queryConcurrency: 1 }, async (queries) => {
      await queries.call('query', instant('1'))
      const first = queries.call('query', range(long, 60_000), { timeoutMs: 500 })
      const waiting = queries.call('query', instant('1'), { timeoutMs: 100 })
      await expect(waiting).rejects.toThrow('query timed out in query queue')
      await expect(first).rejects.toBeInstanceOf(QueryStopped)
    }))

  test('what is over a limit is answered as such, and the next query runs', () =>
    withQueries({ querySamplesMax: 1000, queryResultMax: 1, queryMemoryMax: 16 }, async (queries) => {
      const samples = await queries.call('query', range('m_total'))
      expect(samples.status).toBe(422)
      expect(json(samples)).toMatchObject({ status: 'error', errorType: 'execution' })
      expect(json(samples).error).toContain('more than 1000 samples')
      const result = await queries.call(
        'query',
        range('label_replace(vector(1), "a", "b", "", "") or vector(time())', 400),
      )
      expect(result.status).toBe(200)
      expect((await queries.call('query', instant('1'))).status).toBe(200)
    }))

  test('an answer that is too large is none', () =>
    withQueries({ queryResultMax: 1 }, async (queries) => {
      const answer = await queries.call('query', range('m_total', 1000))
      expect(json(answer).error).toBe('the answer is larger than the limit of 1 MiB')
    }))
})

// ------------------------------------------------------------------------------------------------------ HTTP

describe('the API of Prometheus', () => {
  const faults: string[] = []
  const log: Log = { ...silentLog, error: (message) => faults.push(message), with: () => log }
  let server: RouteServer
  let queries: QueryService
  let url: string
  beforeAll(async () => {
    queries = startQueries({
      share: metrics.share,
      worker: at('query-worker'),
      scheduler,
      log: silentLog,
      telemetry: createTelemetry(),
      config: () => defaults,
    })
    server = await serveRoutes(
      queryRoutes({
        clock: systemClock,
        queries,
        version: '1.2.3',
        metadata: () => new Map([['m_total', [{ type: 'counter', help: 'Things.', unit: '' }]]]),
        startedAt: now,
        retentionDays: 15,
      }),
      log,
    )
    url = server.url
  })
  afterAll(async () => {
    await server.stop()
    await queries.stop()
  })

  async function ask(path: string, init: RequestInit = {}, token = 'token-viewer') {
    const answer = await fetch(url + path, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } })
    // biome-ignore lint/suspicious/noExplicitAny: whatever the answer holds, looked at by the test
    return { status: answer.status, type: answer.headers.get('content-type'), json: (await answer.json()) as any }
  }
  const q = (parameters: Record<string, string>) => new URLSearchParams(parameters).toString()

  test.each(['/api/v1', '/prometheus/api/v1'])('queries under %s, as GET and as form', async (prefix) => {
    const parameters = { query: 'm_total{i="1"}', time: String(now / 1000) }
    const got = await ask(`${prefix}/query?${q(parameters)}`)
    expect(got).toMatchObject({ status: 200, type: 'application/json' })
    expect(got.json).toEqual({
      status: 'success',
      data: {
        resultType: 'vector',
        result: [{ metric: { __name__: 'm_total', half: '1', i: '1' }, value: [now / 1000, String(2 * (TICKS - 1))] }],
      },
    })
    const posted = await ask(`${prefix}/query`, { method: 'POST', body: new URLSearchParams(parameters) })
    expect(posted.json).toEqual(got.json)
    const inUrl = await ask(`${prefix}/query?${q(parameters)}`, { method: 'POST' })
    expect(inUrl.json).toEqual(got.json)
  })

  test('a range, with times by number and by date', async () => {
    const start = new Date(now - 60_000).toISOString()
    const { json } = await ask(
      `/api/v1/query_range?${q({ query: 'time()', start, end: String(now / 1000), step: '30s' })}`,
    )
    const seconds = now / 1000
    expect(json.data).toEqual({
      resultType: 'matrix',
      result: [
        {
          metric: {},
          values: [seconds - 60, seconds - 30, seconds].map((t) => [t, String(t)]),
        },
      ],
    })
  })

  test.each([
    ['1', 'scalar', [1.5, '1']],
    ['"text"', 'string', [1.5, 'text']],
    ['1/0', 'scalar', [1.5, '+Inf']],
    ['-1/0', 'scalar', [1.5, '-Inf']],
    ['NaN', 'scalar', [1.5, 'NaN']],
    ['1e-7', 'scalar', [1.5, '1e-07']],
    ['1e21', 'scalar', [1.5, '1e+21']],
    ['-0', 'scalar', [1.5, '-0']],
  ])('%s is a %s', async (query, resultType, result) => {
    const { json } = await ask(`/api/v1/query?${q({ query, time: '1.5' })}`)
    expect(json.data).toEqual({ resultType, result })
  })

  test('names outside the old alphabet', async () => {
    const time = String(now / 1000)
    const { json } = await ask(`/api/v1/query?${q({ query: '{"odd.name"}', time })}`)
    expect(json.data.result).toEqual([
      { metric: { __name__: 'odd.name', 'a b': 'c"d\n' }, value: [now / 1000, '1e-09'] },
    ])
    expect((await ask(`/api/v1/label/U__a_20_b/values`)).json.data).toEqual(['c"d\n'])
  })

  test('series, labels and their values', async () => {
    const match = { 'match[]': 'm_total{i=~"1|2"}' }
    expect((await ask(`/api/v1/series?${q(match)}`)).json.data).toEqual([
      { __name__: 'm_total', half: '0', i: '2' },
      { __name__: 'm_total', half: '1', i: '1' },
    ])
    expect((await ask(`/api/v1/series?${q({ ...match, limit: '1' })}`)).json).toMatchObject({
      data: [{ i: '2' }],
      warnings: ['results truncated due to limit'],
    })
    expect((await ask(`/api/v1/labels?${q(match)}`)).json.data).toEqual(['__name__', 'half', 'i'])
    expect((await ask('/api/v1/labels')).json.data).toContain('a b')
    expect((await ask('/api/v1/labels', { method: 'POST', body: new URLSearchParams(match) })).json.data).toHaveLength(
      3,
    )
    expect((await ask(`/api/v1/label/i/values?${q(match)}`)).json.data).toEqual(['1', '2'])
    expect((await ask('/api/v1/label/__name__/values')).json.data).toContain('m_total')
    expect((await ask('/api/v1/label/nothing/values')).json.data).toEqual([])
  })

  test('what Grafana asks first', async () => {
    expect((await ask('/prometheus/api/v1/status/buildinfo')).json.data).toMatchObject({
      version: '2.42.0',
      revision: 'opinion-market-1.2.3',
    })
    expect((await ask('/prometheus/api/v1/metadata')).json.data).toEqual({
      m_total: [{ type: 'counter', help: 'Things.', unit: '' }],
    })
    expect((await ask('/api/v1/metadata?metric=other')).json.data).toEqual({})
    expect((await ask('/api/v1/status/runtimeinfo')).json.data.storageRetention).toBe('15d')
    expect((await ask('/api/v1/query_exemplars?query=up&start=1&end=2')).json.data).toEqual([])
    expect((await ask(`/api/v1/format_query?${q({ query: 'sum(x)by(a)' })}`)).json.data).toBe('sum by (a) (x)')
  })

  test('limit, lookback_delta, stats, warnings and infos', async () => {
    const time = String(now / 1000)
    const cut = (await ask(`/api/v1/query?${q({ query: 'm_total', time, limit: '3' })}`)).json
    expect(cut.data.result).toHaveLength(3)
    expect(cut.warnings).toEqual(['results truncated due to limit'])
    const late = { query: 'm_total{i="1"}', time: String(now / 1000 + 100) }
    expect((await ask(`/api/v1/query?${q(late)}`)).json.data.result).toHaveLength(1)
    expect((await ask(`/api/v1/query?${q({ ...late, lookback_delta: '1m' })}`)).json.data.result).toEqual([])
    const stats = (await ask(`/api/v1/query?${q({ query: 'm_total{i="1"}', time, stats: 'all' })}`)).json.data.stats
    expect(stats.samples.totalQueryableSamples).toBeGreaterThan(0)
    expect(stats.timings.execTotalTime).toBeGreaterThan(0)
    const noted = (
      await ask(`/api/v1/query?${q({ query: 'quantile(2, rate({__name__="odd.name"}[5m]) or m_total)', time })}`)
    ).json
    expect(noted.warnings).toEqual(['PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)'])
  })

  test.each<[string, Record<string, string>, number, string, string]>([
    [
      '/query',
      { query: 'sum(' },
      400,
      'bad_data',
      'invalid parameter "query": 1:5: parse error: unclosed left parenthesis',
    ],
    ['/query', {}, 400, 'bad_data', 'invalid parameter "query": 1:1: parse error: no expression found in input'],
    [
      '/query',
      { query: '1', time: 'x' },
      400,
      'bad_data',
      'invalid parameter "time": cannot parse "x" to a valid timestamp',
    ],
    [
      '/query',
      { query: '1', timeout: 'x' },
      400,
      'bad_data',
      'invalid parameter "timeout": cannot parse "x" to a valid duration',
    ],
    ['/query', { query: '1', limit: '-1' }, 400, 'bad_data', 'invalid parameter "limit": limit must be non-negative'],
    ['/query', { query: 'topk(1e30, m_total)' }, 422, 'execution', 'Scalar value 1e+30 overflows int64'],
    [
      '/query_range',
      { query: '1', start: '2', end: '1', step: '1' },
      400,
      'bad_data',
      'invalid parameter "end": end timestamp must not be before start timestamp',
    ],
    [
      '/query_range',
      { query: '1', start: '1', end: '2', step: '0' },
      400,
      'bad_data',
      'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer',
    ],
    [
      '/query_range',
      { query: '1', start: '0', end: '100000', step: '1' },
      400,
      'bad_data',
      'exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)',
    ],
    [
      '/query_range',
      { query: 'm_total[5m]', start: '1', end: '2', step: '1' },
      400,
      'bad_data',
      'invalid expression type "range vector" for range query, must be Scalar or instant Vector',
    ],
    ['/series', {}, 400, 'bad_data', 'no match[] parameter provided'],
    [
      '/series',
      { 'match[]': 'x[' },
      400,
      'bad_data',
      'invalid parameter "match[]": 1:3: parse error: unclosed left bracket',
    ],
  ])('%s with %j is %i %s', async (path, parameters, status, errorType, error) => {
    for (const prefix of ['/api/v1', '/prometheus/api/v1']) {
      const answer = await ask(`${prefix}${path}?${q(parameters)}`)
      expect(answer.status).toBe(status)
      expect(answer.json).toEqual({ status: 'error', errorType, error })
    }
  })

  test('what is not served below the URL of a data source is 404 in the same form', async () => {
    for (const path of ['/prometheus/api/v1/nothing', '/prometheus/graph', '/prometheus/api/v2/query?query=1']) {
      const answer = await ask(path)
      expect(answer.status).toBe(404)
      expect(answer.json).toEqual({ status: 'error', errorType: 'not_found', error: 'There is no such route.' })
    }
    expect((await ask('/prometheus/api/v1/nothing', { method: 'POST' })).json).toMatchObject({ errorType: 'not_found' })
    expect((await ask('/prometheus/api/v1/query?query=1')).status).toBe(200)
  })

  test('a time-out is 503, and no fault', async () => {
    faults.length = 0
    const parameters = {
      query: long,
      start: String(now / 1000 - 3600),
      end: String(now / 1000),
      step: '60',
      timeout: '200ms',
    }
    const answer = await ask(`/api/v1/query_range?${q(parameters)}`)
    expect(answer.status).toBe(503)
    expect(answer.json).toEqual({
      status: 'error',
      errorType: 'timeout',
      error: 'query timed out in expression evaluation',
    })
    // What is refused is told to the log once a second.
    await new Promise((done) => setTimeout(done, 1200))
    expect(faults).toEqual([])
  })

  test('who may not is told so in the same form', async () => {
    const path = `/api/v1/query?${q({ query: '1' })}`
    expect((await ask(path, {}, 'wrong')).json).toMatchObject({ status: 'error', errorType: 'unauthorized' })
    expect((await ask(path, {}, 'token-trader')).status).toBe(403)
    expect((await ask(path, {}, 'token-admin')).status).toBe(200)
  })

  test('a body that is no form is refused', async () => {
    const headers = { 'content-type': 'application/json' }
    const answer = await ask('/api/v1/query', { method: 'POST', headers, body: '{"query":"1"}' })
    expect(answer.status).toBe(415)
    expect(answer.json.status).toBe('error')
  })

  test('while a large answer is made, the main thread answers others', async () => {
    const large = ask(
      `/api/v1/query_range?${q({ query: 'm_total', start: String(now / 1000 - 3600), end: String(now / 1000), step: '1' })}`,
    )
    let finished = false
    void large.then(() => {
      finished = true
    })
    let answered = 0
    while (!finished && answered < 500) {
      expect((await ask('/api/v1/status/buildinfo')).status).toBe(200)
      answered++
    }
    const { json } = await large
    expect(json.data.result).toHaveLength(SERIES)
    expect(answered).toBeGreaterThan(2)
  })
})
