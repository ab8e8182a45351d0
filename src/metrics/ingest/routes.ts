/**
 * The ways in for foreign protocols, and what an operator asks about them.
 *
 *   POST /api/v1/write         Prometheus remote write 1.0       POST /api/v1/import   text, OpenMetrics or CSV
 *   POST /v1/metrics           OTLP/HTTP, JSON or protobuf       GET  …/metrics/sources, …/targets, …/series/top
 *
 * What is refused of a body never blocks its sender: the good part is stored and the answer, 400, says what was left
 * out and why; a sender does not repeat a 400. 429 and 503 are for overload alone, and are repeated.
 */
import Type from 'typebox'
import type { Clock } from '../../base/clock.ts'
import { AppError, badRequest, messageOf } from '../../base/errors.ts'
import type { Telemetry, TelemetryFamily } from '../../base/telemetry.ts'
import { toIso } from '../../base/time.ts'
import { decompress } from '../../http/body.ts'
import type { RawReply, RequestContext, Route } from '../../http/route.ts'
import { foreignRoute, route } from '../../http/route.ts'
import type { TargetStatus } from '../collect/scrape.ts'
import type { QueryService } from '../query-service.ts'
import type { Metrics } from '../service.ts'
import type { IngestFormat } from './decode.ts'

export interface IngestRoutesDeps {
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'ingest' | 'deleteSeries'>
  readonly queries: Pick<QueryService, 'call'>
  /** What this process measures of itself: the counters of sources are among it. */
  readonly telemetry: Pick<Telemetry, 'snapshot'>
  targets(): readonly TargetStatus[]
}

/** Bytes of a body as it comes; decoders have limits of their own for what it unpacks to. */
const BODY_MAX = 32 * 1024 * 1024
/** OTLP and text are unpacked before they are read. */
const UNPACKED_MAX = 16 * 1024 * 1024

export function ingestRoutes(deps: IngestRoutesDeps): Route[] {
  return [
    remoteWrite(deps),
    otlp(deps),
    importRoute(deps),
    deleteLikePrometheus(deps),
    deleteSeries(deps),
    sources(deps),
    seriesTop(deps),
    targets(deps),
  ]
}

/** Without an idempotency key a body is always stored, never a repetition. */
async function ingested(deps: IngestRoutesDeps, format: IngestFormat, body: Uint8Array, source: string) {
  const outcome = await deps.metrics.ingest(format, body, { source })
  if (outcome.kind !== 'appended') throw new Error(`a body without a claim came out as ${outcome.kind}`)
  return outcome
}

type ForeignRequest = RequestContext<Record<string, string>, URLSearchParams, Uint8Array>

const plain = (status: number, body: string): RawReply => ({
  status,
  headers: { 'content-type': 'text/plain; charset=utf-8' },
  body: `${body}\n`,
})

// --------------------------------------------------------------------------------------------- remote write

const remoteWrite = (deps: IngestRoutesDeps) =>
  foreignRoute({
    method: 'POST',
    path: '/api/v1/write',
    access: 'operator',
    tag: 'metrics',
    summary: 'Prometheus remote write 1.0',
    unmetered: true,
    direct: true,
    bodyLimitBytes: BODY_MAX,
    async foreign({ headers, body }) {
      checkRemoteWriteHeaders(headers)
      const { report } = await ingested(deps, { kind: 'remote_write' }, body, 'remote_write')
      const left = Object.entries(report.refused).filter(([, n]) => n > 0)
      if (left.length === 0) return { status: 204, headers: {}, body: null }
      const reasons = left.map(([reason, n]) => `${n} ${REASONS[reason] ?? reason}`).join(', ')
      const stored = report.accepted === 1 ? '1 sample is stored' : `${report.accepted} samples are stored`
      return plain(400, `${stored}, refused are: ${reasons}`)
    },
    onError: (error) => plain(statusOf(error), messageOf(error)),
  })

const REASONS: Readonly<Record<string, string>> = {
  conflict: 'with another value than is stored for their time',
  too_old: 'older than what is kept',
  too_far_ahead: 'more than 10 minutes ahead',
  cardinality: 'over the limit of series',
  labels: 'with labels that are not valid or over a limit',
}

/** Senders are lenient about headers, so we are; only what is surely another protocol is refused, as the spec asks. */
function checkRemoteWriteHeaders(headers: ForeignRequest['headers']): void {
  const encoding = headers['content-encoding']
  if (encoding !== undefined && encoding !== 'snappy') {
    throw new AppError(415, 'unsupported_encoding', 'Remote write has to be compressed with snappy.')
  }
  const type = headers['content-type']
  if (typeof type === 'string' && /proto=io\.prometheus\.write\.v2/.test(type)) {
    throw new AppError(415, 'unsupported_media_type', 'Remote write 2.0 is not spoken here; use 1.0.')
  }
}

const statusOf = (error: unknown) => (error instanceof AppError ? error.status : 500)

// ----------------------------------------------------------------------------------------------------- OTLP

const otlp = (deps: IngestRoutesDeps) =>
  foreignRoute({
    method: 'POST',
    path: '/v1/metrics',
    access: 'operator',
    tag: 'metrics',
    summary: 'OpenTelemetry metrics: OTLP/HTTP, JSON or protobuf',
    unmetered: true,
    consumes: ['application/json', 'application/x-protobuf'],
    bodyLimitBytes: BODY_MAX,
    async foreign({ headers, body }) {
      const json = isJson(headers)
      const unpacked = await decompress(body, headerText(headers['content-encoding']), UNPACKED_MAX)
      const format: IngestFormat = { kind: json ? 'otlp_json' : 'otlp_protobuf' }
      const { report, skipped } = await ingested(deps, format, unpacked, 'otlp')
      const left = [...Object.entries(skipped), ...Object.entries(report.refused)].filter(([, n]) => n > 0)
      const rejected = left.reduce((sum, [, n]) => sum + n, 0)
      const why = left.map(([reason, n]) => `${n} ${REASONS[reason] ?? reason}`).join(', ')
      return json
        ? jsonReply(
            200,
            rejected > 0 ? { partialSuccess: { rejectedDataPoints: String(rejected), errorMessage: why } } : {},
          )
        : protobufReply(200, partialSuccess(rejected, why))
    },
    // google.rpc.Status, as OTLP asks; senders read the status and Retry-After.
    onError: (error) => jsonReply(statusOf(error), { code: rpcCode(statusOf(error)), message: messageOf(error) }),
  })

const isJson = (headers: ForeignRequest['headers']) =>
  /^application\/json\b/i.test(headerText(headers['content-type']) ?? '')
const headerText = (header: string | string[] | undefined) => (Array.isArray(header) ? header[0] : header)

const jsonReply = (status: number, value: unknown): RawReply => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
})
const protobufReply = (status: number, body: Uint8Array): RawReply => ({
  status,
  headers: { 'content-type': 'application/x-protobuf' },
  body,
})

/** ExportMetricsServiceResponse { partial_success = 1 { rejected_data_points = 1, error_message = 2 } } */
function partialSuccess(rejected: number, why: string): Uint8Array {
  if (rejected === 0) return new Uint8Array(0)
  const text = Buffer.from(why)
  const inner = [0x08, ...varint(rejected), 0x12, ...varint(text.length), ...text]
  return Uint8Array.from([0x0a, ...varint(inner.length), ...inner])
}

function varint(value: number): number[] {
  const out: number[] = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128)
  return [...out, rest]
}

/** Codes of google.rpc: INVALID_ARGUMENT, PERMISSION_DENIED, UNAVAILABLE, … */
function rpcCode(status: number): number {
  const codes: Readonly<Record<number, number>> = { 400: 3, 401: 16, 403: 7, 413: 3, 415: 3, 429: 8, 503: 14 }
  return codes[status] ?? 13
}

// --------------------------------------------------------------------------------------------------- import

const importRoute = (deps: IngestRoutesDeps) =>
  foreignRoute({
    method: 'POST',
    path: '/api/v1/import',
    access: 'operator',
    tag: 'metrics',
    summary:
      'Samples from a file or a part of one: ?format=openmetrics|prometheus|csv, for CSV also metric= and header=',
    unmetered: true,
    bodyLimitBytes: BODY_MAX,
    async foreign({ headers, query, body }) {
      const unpacked = await decompress(body, headerText(headers['content-encoding']), UNPACKED_MAX)
      const { report } = await ingested(deps, importFormat(query), unpacked, 'import')
      const { accepted, duplicates, late, refused } = report
      const data = { accepted, duplicates, late, refused }
      return jsonReply(200, { success: true, data, timestamp: deps.clock.now() / 1000 })
    },
  })

function importFormat(query: URLSearchParams): IngestFormat {
  const format = query.get('format')
  if (format === 'openmetrics' || format === 'prometheus') {
    return { kind: format, whole: query.get('part') === null }
  }
  if (format !== 'csv') throw badRequest('The parameter format is openmetrics, prometheus or csv.')
  const header = query.get('header')
  return { kind: 'csv', metric: query.get('metric'), ...(header === null ? {} : { header }) }
}

// ------------------------------------------------------------------------------------------------- deleting

/** Deletes what any of the selectors matches, with all samples; answers how many series there were. */
async function deleteMatched({ metrics, queries }: IngestRoutesDeps, selectors: readonly string[]): Promise<number> {
  return metrics.deleteSeries(await queries.call('ids', selectors))
}

const deleteLikePrometheus = (deps: IngestRoutesDeps) =>
  foreignRoute({
    method: 'POST',
    path: '/api/v1/admin/tsdb/delete_series',
    access: 'admin',
    tag: 'metrics',
    summary: 'Deletes series and their samples, as Prometheus does: match[] may repeat',
    async foreign({ query, body, headers }) {
      const form = /^application\/x-www-form-urlencoded\b/.test(headerText(headers['content-type']) ?? '')
      const parameters = [...query.entries(), ...(form ? new URLSearchParams(Buffer.from(body).toString()) : [])]
      if (parameters.some(([name]) => name === 'start' || name === 'end')) {
        throw badRequest('Whole series are deleted here: start and end are not taken.')
      }
      const selectors = parameters.filter(([name]) => name === 'match[]').map(([, text]) => text)
      if (selectors.length === 0) throw badRequest('The parameter match[] is missing.')
      await deleteMatched(deps, selectors)
      return { status: 204, headers: {}, body: null }
    },
    onError: (error) => jsonReply(statusOf(error), { status: 'error', errorType: 'bad_data', error: messageOf(error) }),
  })

const deleteSeries = (deps: IngestRoutesDeps) =>
  route({
    method: 'DELETE',
    path: '/api/v1/metrics/series',
    access: 'admin',
    tag: 'metrics',
    summary: 'Deletes series with all their samples',
    query: Type.Object({
      match: Type.String({ minLength: 1, maxLength: 4096, description: 'As PromQL selects them.' }),
    }),
    data: Type.Object({ deleted: Type.Integer() }),
    async handler({ query }) {
      const deleted = await deleteMatched(deps, [query.match])
      return { data: { deleted }, message: `${deleted} series are deleted.` }
    },
  })

// -------------------------------------------------------------------------------------------- what is known

const Count = Type.Integer()

const sources = (deps: IngestRoutesDeps) =>
  route({
    method: 'GET',
    path: '/api/v1/metrics/sources',
    access: 'viewer',
    tag: 'metrics',
    summary: 'Where samples come from: accepted, late and refused since the start',
    data: Type.Array(
      Type.Object({
        source: Type.String(),
        accepted: Count,
        duplicates: Count,
        late: Count,
        refused: Type.Record(Type.String(), Count),
      }),
    ),
    handler: () => ({ data: sourcesOf(deps.telemetry.snapshot()) }),
  })

/** The counters that `service.ts` keeps, by source. */
function sourcesOf(families: readonly TelemetryFamily[]) {
  const bySource = new Map<string, Map<string, number>>()
  for (const family of families) {
    const kind = /^metrics_samples_(accepted|duplicate|late|refused)_total$/.exec(family.name)?.[1]
    if (kind === undefined) continue
    for (const { labels, value } of family.samples) {
      const source = bySource.get(labels.source!) ?? new Map<string, number>()
      bySource.set(labels.source!, source)
      source.set(kind === 'refused' ? `refused ${labels.reason}` : kind, value)
    }
  }
  return [...bySource]
    .map(([source, counts]) => {
      const refused = [...counts].flatMap(([kind, n]) =>
        kind.startsWith('refused ') ? [[kind.slice(8), n] as const] : [],
      )
      return {
        source,
        accepted: counts.get('accepted') ?? 0,
        duplicates: counts.get('duplicate') ?? 0,
        late: counts.get('late') ?? 0,
        refused: Object.fromEntries(refused),
      }
    })
    .sort((a, b) => (a.source < b.source ? -1 : 1))
}

const seriesTop = (deps: IngestRoutesDeps) =>
  route({
    method: 'GET',
    path: '/api/v1/metrics/series/top',
    access: 'viewer',
    tag: 'metrics',
    summary: 'The names and labels that cost most series',
    query: Type.Object({ limit: Type.Integer({ minimum: 1, maximum: 1000, default: 20 }) }),
    data: Type.Object({
      series: Count,
      names: Type.Array(Type.Object({ name: Type.String(), series: Count })),
      labels: Type.Array(Type.Object({ label: Type.String(), values: Count, series: Count })),
      pairs: Type.Array(Type.Object({ label: Type.String(), value: Type.String(), series: Count })),
    }),
    async handler({ query }) {
      const { series, names, labels, pairs } = await deps.queries.call('top', query.limit)
      return { data: { series, names: [...names], labels: [...labels], pairs: [...pairs] } }
    },
  })

const NullableNumber = Type.Union([Type.Number(), Type.Null()])
const NullableText = Type.Union([Type.String(), Type.Null()])

const targets = (deps: IngestRoutesDeps) =>
  route({
    method: 'GET',
    path: '/api/v1/metrics/targets',
    access: 'viewer',
    tag: 'metrics',
    summary: 'Services that are scraped, and how they are',
    data: Type.Array(
      Type.Object({
        job: Type.String(),
        url: Type.String(),
        labels: Type.Record(Type.String(), Type.String()),
        health: Type.Union([Type.Literal('unknown'), Type.Literal('up'), Type.Literal('down')]),
        last_scrape: NullableText,
        duration_ms: NullableNumber,
        samples: NullableNumber,
        error: NullableText,
      }),
    ),
    handler() {
      const data = deps.targets().map((target) => ({
        job: target.job,
        url: target.url,
        labels: { ...target.labels },
        health: target.health,
        last_scrape: target.lastScrape === null ? null : toIso(target.lastScrape),
        duration_ms: target.durationMs,
        samples: target.samples,
        error: target.error,
      }))
      return { data }
    },
  })
