/**
 * The routes of metrics and analytics on a real server, over the real store with its pipeline thread, in one process:
 * for tests of what clients see. Tokens are `token-viewer`, `token-operator`, `token-admin`.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pointNotes, pointNotesTable } from '../../src/analytics/index.ts'
import { analyticsRoutes } from '../../src/analytics/routes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { systemScheduler } from '../../src/base/scheduler.ts'
import { createTelemetry } from '../../src/base/telemetry.ts'
import type { Principal, Role } from '../../src/http/route.ts'
import { createServer } from '../../src/http/server.ts'
import { createTickets } from '../../src/http/sockets.ts'
import { openReader, readPoints, startMetrics } from '../../src/metrics/index.ts'
import { queryOperations } from '../../src/metrics/query/operations.ts'
import { metricsRoutes } from '../../src/metrics/routes.ts'
import { openDatabase } from '../../src/storage/database.ts'

export interface MetricsServer {
  readonly url: string
  /** Every sample of a metric: `name{label="value"} value @time`. */
  samples(name: string): string[]
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Called>
  stop(): Promise<void>
}
export interface Called {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever the answer holds, looked at by the test
  readonly json: any
}

export async function startMetricsServer(limits: { seriesMax?: number } = {}): Promise<MetricsServer> {
  const dir = mkdtempSync(join(tmpdir(), 'om-metrics-'))
  const scheduler = systemScheduler((error) => {
    throw error
  })
  const telemetry = createTelemetry()
  const metrics = await startMetrics({
    dir: join(dir, 'metrics'),
    config: {
      retentionBytes: 0,
      rollup5mDays: 90,
      rollup1hDays: 730,
      retentionDays: 15,
      seriesMax: limits.seriesMax ?? 100_000,
      labelsMax: 64,
      labelNameBytesMax: 256,
      labelValueBytesMax: 4096,
    },
    clock: systemClock,
    log: silentLog,
    telemetry,
    workers: {
      pipeline: new URL('../../src/app/pipeline-worker.ts', import.meta.url),
      compaction: new URL('../../src/app/compaction-worker.ts', import.meta.url),
    },
    onFailure(error) {
      throw error
    },
  })
  const reader = openReader(metrics.share, systemClock)
  const queries = queryOperations({
    reader,
    flag: new Int32Array(1),
    limits: () => ({
      samplesMax: 1e7,
      seriesMax: 1e5,
      stepsMax: 11_000,
      memoryMax: 256 << 20,
      resultMax: 64 << 20,
      lookbackMs: 300_000,
      subqueryStepMs: 60_000,
    }),
    monotonic: () => systemClock.monotonic(),
  })
  const db = openDatabase(join(dir, 'ops.db'), { synchronous: 'FULL', migrations: [pointNotesTable] })
  const notes = pointNotes(db)
  const server = await createServer({
    routes: [
      ...metricsRoutes({
        clock: systemClock,
        metrics,
        telemetry,
        queries: { call: async (operation, args) => queries[operation](args as never) as never },
        version: 'test',
        metadata: () => new Map(),
        startedAt: 0,
        retentionDays: 15,
        targets: () => [],
      }),
      ...analyticsRoutes({
        clock: systemClock,
        appender: metrics,
        notes,
        points: async (request) => readPoints(reader, request),
      }),
    ],
    authenticator: {
      byToken: (token) => principal(/^token-(viewer|operator|admin)$/.exec(token)?.[1] as Role | undefined),
      bySession: () => null,
      alive: () => true,
    },
    tickets: createTickets(systemClock),
    scheduler,
    log: silentLog,
    telemetry,
    version: 'test',
    limits: () => ({
      bodyBytes: 1 << 20,
      jsonDepth: 64,
      perPrincipal: { perSecond: 1e6, burst: 1e6 },
      perAddress: { perSecond: 1e6, burst: 1e6 },
      sockets: 10,
    }),
    publicUrl: () => null,
    checkAnswers: true,
  })
  const url = await server.listen({ port: 0 })
  return {
    url,
    samples(name) {
      const out: string[] = []
      const buffer = { length: 0, times: new Float64Array(16), values: new Float64Array(16) }
      for (const series of reader.readColumns([{ name: '__name__', op: '=', value: name }], 0, Date.now() + 1e9)) {
        const labels = series.labels.filter(([n]) => n !== '__name__').map(([n, v]) => `${n}="${v}"`)
        series.read(0, Date.now() + 1e9, buffer)
        for (let i = 0; i < buffer.length; i++) {
          out.push(`${name}{${labels.join(',')}} ${buffer.values[i]} @${buffer.times[i]}`)
        }
      }
      return out
    },
    async call(method, path, body, headers = {}) {
      const raw = body instanceof Uint8Array || typeof body === 'string'
      const type: Record<string, string> = body === undefined || raw ? {} : { 'content-type': 'application/json' }
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: 'Bearer token-admin', ...type, ...headers },
        ...(body === undefined ? {} : { body: (raw ? body : JSON.stringify(body)) as string }),
      })
      const text = await response.text()
      const isJson = (response.headers.get('content-type') ?? '').startsWith('application/json')
      return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : null }
    },
    async stop() {
      await server.close()
      await metrics.stop()
      db.close()
      rmSync(dir, { recursive: true })
    },
  }
}

const principal = (role: Role | undefined): Principal | null =>
  role === undefined ? null : { id: `id-${role}`, name: role, role, via: 'token', credential: `c-${role}` }
