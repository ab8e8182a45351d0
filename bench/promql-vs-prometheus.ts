/**
 * Runs some two hundred varied queries against the engine and against Prometheus on the same data, and prints every difference
 * beyond 1e-12 relative. Exit code 1 when there is one.
 *   node bench/promql-vs-prometheus.ts [--port 18600] [--series 100] [--ticks 480] [--seed 42] [--random N] [--show QUERY]
 *   … --platform http://127.0.0.1:8000 --token TOKEN      a running, empty platform in place of the engine alone
 * With --random, N expressions made at random take the place of the written ones.
 * Needs `prometheus` in PATH (Debian: prometheus). It is started on a temporary folder and stopped again.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MemoryReader } from '../src/metrics/query/memory-reader.ts'
import type { ApiAnswer } from '../src/metrics/query/operations.ts'
import { queryOperations } from '../src/metrics/query/operations.ts'
import type { BenchData } from './promql-data.ts'
import { makeData } from './promql-data.ts'
import { queries as written } from './promql-queries.ts'
import { randomQueries } from './promql-random.ts'
import { remoteWrite } from './promql-wire.ts'

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '18600' },
    series: { type: 'string', default: '100' },
    ticks: { type: 'string', default: '480' },
    seed: { type: 'string', default: '42' },
    random: { type: 'string' },
    show: { type: 'string' },
    platform: { type: 'string' },
    token: { type: 'string' },
  },
})

const queries = options.random ? randomQueries(Number(options.random), Number(options.seed)) : written

interface Sample {
  readonly metric: Record<string, string>
  readonly value?: [number, string]
  readonly values?: [number, string][]
}
interface Answer {
  readonly status: string
  readonly error?: string
  readonly data?: { readonly resultType: string; readonly result: unknown }
}
type Ask = (path: 'query' | 'query_range', parameters: Record<string, string>) => Promise<Answer>

const TOLERANCE = 1e-12
const say = (...parts: readonly unknown[]) => process.stdout.write(`${parts.join('')}\n`)

function relative(a: number, b: number): number {
  if (Object.is(a, b) || a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0
  if (!Number.isFinite(a) || !Number.isFinite(b)) return Number.POSITIVE_INFINITY
  return Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b))
}

const number = (text: string) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text))

/** What differs, at most a few lines. */
function differences(ours: Answer, theirs: Answer, ordered: boolean): string[] {
  if (ours.status !== theirs.status)
    return [`status ${ours.status} (${ours.error ?? ''}), Prometheus ${theirs.status} (${theirs.error ?? ''})`]
  if (ours.status === 'error') return []
  if (ours.data!.resultType !== theirs.data!.resultType)
    return [`type ${ours.data!.resultType}, Prometheus ${theirs.data!.resultType}`]
  if (ours.data!.resultType === 'scalar' || ours.data!.resultType === 'string') {
    const [a, b] = [ours.data!.result as [number, string], theirs.data!.result as [number, string]]
    return relative(number(a[1]), number(b[1])) > TOLERANCE || a[0] !== b[0] ? [`${a} and ${b}`] : []
  }
  const keyOf = (metric: Record<string, string>) => JSON.stringify(Object.entries(metric).sort())
  const mine = ours.data!.result as Sample[]
  const other = theirs.data!.result as Sample[]
  const found: string[] = []
  if (ordered && mine.map((s) => keyOf(s.metric)).join() !== other.map((s) => keyOf(s.metric)).join())
    found.push('the order of series differs')
  const known = new Map(mine.map((s) => [keyOf(s.metric), s]))
  for (const theirSeries of other) {
    const key = keyOf(theirSeries.metric)
    const ourSeries = known.get(key)
    known.delete(key)
    if (!ourSeries) {
      found.push(`missing ${key}`)
      continue
    }
    const a = ourSeries.values ?? [ourSeries.value!]
    const b = theirSeries.values ?? [theirSeries.value!]
    if (a.length !== b.length) {
      found.push(`${key}: ${a.length} points, Prometheus ${b.length}`)
      continue
    }
    const worst = a.findIndex(([time, value], i) => {
      const [theirTime, theirValue] = b[i]!
      return time !== theirTime || relative(number(value), number(theirValue)) > TOLERANCE
    })
    if (worst >= 0) found.push(`${key}: ${a[worst]}, Prometheus ${b[worst]}`)
  }
  for (const key of known.keys()) found.push(`not in Prometheus: ${key}`)
  return found
}

async function main(): Promise<void> {
  const now = Math.floor(Date.now() / 60_000) * 60_000
  const ticks = Number(options.ticks)
  const data = makeData({
    start: now - ticks * 15_000 - 60_000,
    perFamily: Number(options.series),
    ticks,
    seed: Number(options.seed),
  })
  const samples = data.series.reduce((sum, s) => sum + s.times.length, 0)
  say(`${data.series.length} series, ${samples} samples, seed ${options.seed}`)
  const dir = mkdtempSync(join(tmpdir(), 'om-promql-'))
  writeFileSync(join(dir, 'prometheus.yml'), 'global: {evaluation_interval: 1m}\n')
  const base = `http://127.0.0.1:${options.port}`
  const prometheus = spawn(
    'prometheus',
    [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${options.port}`,
      '--web.enable-remote-write-receiver',
      '--log.level=error',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  try {
    await ready(`${base}/-/ready`)
    await remoteWrite(`${base}/api/v1/write`, data.series)
    const theirs: Ask = (path, parameters) => ask(`${base}/api/v1/${path}`, parameters, {})
    const ours = options.platform ? await platform(data) : engine(data)
    await compare(data, ours, theirs)
  } finally {
    prometheus.kill('SIGTERM')
    await new Promise((resolve) => prometheus.once('exit', resolve))
    rmSync(dir, { recursive: true, force: true })
  }
}

async function compare(data: BenchData, ours: Ask, theirs: Ask): Promise<void> {
  const end = data.end / 1000
  const start = data.start / 1000
  const middle = Math.round((start + end) / 2)
  let asked = 0
  let different = 0
  for (const query of options.show ? [options.show] : queries) {
    const forms: ['query' | 'query_range', Record<string, string>][] = [
      ['query', { query, time: String(end) }],
      ['query', { query, time: String(middle + 0.5) }],
      ['query_range', { query, start: String(start), end: String(end), step: '60' }],
      ['query_range', { query, start: String(start + 7.25), end: String(end + 400), step: '37' }],
    ]
    for (const [path, parameters] of forms) {
      const [mine, other] = await Promise.all([ours(path, parameters), theirs(path, parameters)])
      asked++
      const found = differences(mine, other, path === 'query' && /^(sort|topk|bottomk)/.test(query))
      if (options.show) say(JSON.stringify(mine).slice(0, 2000), '\n', JSON.stringify(other).slice(0, 2000))
      if (found.length === 0) continue
      different++
      say(`${query}   (${path} ${new URLSearchParams(parameters).toString().replace(/&?query=[^&]*/, '')})`)
      for (const line of found.slice(0, 3)) say(`    ${line}`)
      if (found.length > 3) say(`    and ${found.length - 3} more`)
    }
  }
  say(`${queries.length} queries, ${asked} evaluations, ${different} differ by more than ${TOLERANCE}`)
  if (different > 0) process.exitCode = 1
}

/** The engine alone, over series in memory. */
function engine(data: BenchData): Ask {
  const reader = new MemoryReader()
  for (const { labels, times, values } of data.series) reader.add(labels, times, values)
  const operations = queryOperations({
    reader,
    flag: new Int32Array(new SharedArrayBuffer(4)),
    monotonic: () => performance.now(),
    limits: () => ({
      samplesMax: 1e9,
      seriesMax: 1e6,
      stepsMax: 11_000,
      memoryMax: 2 ** 31,
      resultMax: 2 ** 30,
      lookbackMs: 300_000,
      subqueryStepMs: 60_000,
    }),
  })
  const ms = (text: string) => Math.round(Number(text) * 1000)
  return async (path, p) => {
    const instant = path === 'query'
    const answer: ApiAnswer = operations.query({
      text: p.query!,
      start: ms(instant ? p.time! : p.start!),
      end: ms(instant ? p.time! : p.end!),
      step: instant ? 0 : ms(p.step!),
      limit: 0,
      lookbackMs: null,
      stats: false,
    })
    return JSON.parse(Buffer.from(answer.body).toString()) as Answer
  }
}

async function platform(data: BenchData): Promise<Ask> {
  const headers = options.token ? { authorization: `Bearer ${options.token}` } : {}
  await remoteWrite(`${options.platform}/api/v1/write`, data.series, headers)
  return (path, parameters) => ask(`${options.platform}/api/v1/${path}`, parameters, headers)
}

async function ask(url: string, parameters: Record<string, string>, headers: Record<string, string>): Promise<Answer> {
  const answer = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(parameters) })
  return (await answer.json()) as Answer
}

async function ready(url: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    try {
      if ((await fetch(url)).ok) return
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  throw new Error(`${url} does not become ready`)
}

await main()
