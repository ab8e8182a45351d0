/**
 * Prometheus' query API, so that what speaks to Prometheus speaks to us: under `/api/v1/…` beside the platform's own
 * routes, and the same under `/prometheus/api/v1/…`, which is the URL for a data source. Bodies, statuses and
 * `errorType`s are Prometheus' own. Evaluation happens in query workers; answers arrive as bytes.
 */
import type { Clock } from '../../base/clock.ts'
import { AppError } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import type { ForeignShape, RawReply, RequestContext, Route } from '../../http/route.ts'
import { foreignRoute } from '../../http/route.ts'
import type { QueryService } from '../query-service.ts'
import { QueryStopped } from '../query-service.ts'
import type { ApiAnswer } from './operations.ts'
import { failure, success } from './operations.ts'
import { readDuration } from './parse.ts'

/** What is known of a metric beside its samples. */
export interface MetricMetadata {
  readonly type: string
  readonly help: string
  readonly unit: string
}

export interface QueryRoutesDeps {
  readonly clock: Clock
  readonly queries: Pick<QueryService, 'call'>
  readonly version: string
  /** By stored name. */
  metadata(): ReadonlyMap<string, readonly MetricMetadata[]>
  /** For `/status/runtimeinfo`. */
  readonly startedAt: Millis
  readonly retentionDays: number
}

/** The Prometheus whose rules `DEFAULT_DIALECT` follows; data sources choose their features by it. */
const COMPATIBLE = '2.42.0'
const PREFIXES = ['/api/v1', '/prometheus/api/v1']
const BODY_MAX = 1024 * 1024
const FORM = 'application/x-www-form-urlencoded'

type Request = RequestContext<Record<string, string>, URLSearchParams, Uint8Array>
type Handler = (deps: QueryRoutesDeps, parameters: QueryParameters, request: Request) => Promise<ApiAnswer> | ApiAnswer

export function queryRoutes(deps: QueryRoutesDeps): Route[] {
  const both: readonly Method[] = ['GET', 'POST']
  return [
    ...routes(deps, '/query', both, 'Evaluate a PromQL expression at one moment', instant),
    ...routes(deps, '/query_range', both, 'Evaluate a PromQL expression over a range of time', range),
    ...routes(deps, '/format_query', both, 'A PromQL expression in its one written form', format),
    ...routes(deps, '/series', both, 'Series that match selectors', series),
    ...routes(deps, '/labels', both, 'Names of labels', labels),
    ...routes(deps, '/label/:name/values', ['GET'], 'Values of a label', labelValues),
    ...routes(deps, '/metadata', ['GET'], 'Type, help and unit of metrics', metadata),
    ...routes(deps, '/query_exemplars', both, 'Exemplars; none are stored', exemplars),
    ...routes(deps, '/status/buildinfo', ['GET'], 'Which Prometheus this is compatible with', buildInfo),
    ...routes(deps, '/status/runtimeinfo', ['GET'], 'Since when this runs', runtimeInfo),
    ...(['GET', 'POST', 'PUT', 'DELETE'] as const).map(unknownRoute),
  ]
}

/** Below the URL of the data source all that is said is said in Prometheus' form. */
function unknownRoute(method: 'GET' | 'POST' | 'PUT' | 'DELETE'): Route {
  return foreignRoute({
    method,
    path: '/prometheus/*',
    access: 'viewer',
    tag: 'prometheus',
    summary: 'What is not served of the API of Prometheus',
    documented: false,
    bodyLimitBytes: BODY_MAX,
    foreign: () => reply(failure(404, 'not_found', 'There is no such route.')),
    onError: prometheusError,
  })
}

type Method = 'GET' | 'POST'

function routes(
  deps: QueryRoutesDeps,
  path: string,
  methods: readonly Method[],
  summary: string,
  handler: Handler,
): Route[] {
  return PREFIXES.flatMap((prefix) =>
    methods.map((method) => {
      const shape: ForeignShape = {
        method,
        path: prefix + path,
        access: 'viewer',
        tag: 'prometheus',
        summary,
        documented: prefix === PREFIXES[0] && method === 'GET',
        bodyLimitBytes: BODY_MAX,
        direct: !path.includes(':'),
        async foreign(request) {
          try {
            return reply(await handler(deps, readParameters(request, method), request))
          } catch (error) {
            // Time that its caller set or the configuration did, and a caller who left: no fault to be logged.
            if (error instanceof QueryStopped) return prometheusError(error)
            throw error
          }
        },
        onError: prometheusError,
      }
      return foreignRoute(shape)
    }),
  )
}

const JSON_TYPE = { 'content-type': 'application/json' }
const reply = ({ status, body }: ApiAnswer): RawReply => ({ status, headers: JSON_TYPE, body })

/** Errors of any part of the way, in Prometheus' form. */
export function prometheusError(error: unknown): RawReply {
  if (error instanceof QueryStopped) return reply(failure(503, error.reason, error.message))
  if (error instanceof AppError) return reply(failure(error.status, errorType(error.status), error.message))
  return reply(failure(500, 'internal', 'The platform made a mistake.'))
}

function errorType(status: number): string {
  if (status === 401 || status === 403) return 'unauthorized'
  if (status === 404) return 'not_found'
  if (status === 422) return 'execution'
  if (status === 503 || status === 429) return 'unavailable'
  return status >= 500 ? 'internal' : 'bad_data'
}

// ----------------------------------------------------------------------------------------------- parameters

const badData = (message: string) => new AppError(400, 'bad_data', message)

/** Of the URL and, where there is one, of the form. */
function readParameters(request: Request, method: Method): QueryParameters {
  const all = new URLSearchParams(request.query)
  if (method === 'POST' && request.body.byteLength > 0) {
    const type = request.headers['content-type']
    const given = (Array.isArray(type) ? type[0] : type)?.split(';', 1)[0]?.trim().toLowerCase()
    if (given !== FORM) throw new AppError(415, 'unsupported_media_type', `Send the body as ${FORM}.`)
    for (const [name, value] of new URLSearchParams(new TextDecoder().decode(request.body))) all.append(name, value)
  }
  return new QueryParameters(all)
}

/** The farthest times that can be asked for. */
const TIME_MAX = 8_640_000_000_000_000

class QueryParameters {
  readonly #all: URLSearchParams
  constructor(all: URLSearchParams) {
    this.#all = all
  }

  text(name: string): string {
    return this.#all.get(name) ?? ''
  }
  all(name: string): string[] {
    return this.#all.getAll(name)
  }

  /** Unix seconds with fraction, or RFC 3339. */
  time(name: string, fallback: Millis | null): Millis {
    const text = this.text(name)
    if (text === '' && fallback !== null) return fallback
    const at = parseTime(text)
    if (at === null)
      throw badData(
        `invalid parameter ${JSON.stringify(name)}: cannot parse ${JSON.stringify(text)} to a valid timestamp`,
      )
    return at
  }

  /** Seconds, or a duration such as `5m`; null when it is not given. */
  duration(name: string): Millis | null {
    const text = this.text(name)
    if (text === '') return null
    const ms = readDuration(text)
    if (ms === null)
      throw badData(
        `invalid parameter ${JSON.stringify(name)}: cannot parse ${JSON.stringify(text)} to a valid duration`,
      )
    return ms
  }

  limit(): number {
    const text = this.text('limit')
    if (text === '') return 0
    const limit = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
    if (!Number.isSafeInteger(limit))
      throw badData(`invalid parameter "limit": strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`)
    if (limit < 0) throw badData('invalid parameter "limit": limit must be non-negative')
    return limit
  }

  /** What all kinds of query share. */
  common() {
    const lookbackMs = this.duration('lookback_delta')
    if (lookbackMs !== null && lookbackMs <= 0) throw badData('invalid parameter "lookback_delta": must be positive')
    return { limit: this.limit(), lookbackMs, stats: this.text('stats') !== '' }
  }

  /** Selectors with the time in which their series are looked for: all time when none is given. */
  selection() {
    const start = this.time('start', -TIME_MAX)
    const end = this.time('end', TIME_MAX)
    if (end < start) throw badData('invalid parameter "end": end timestamp must not be before start timestamp')
    return { matches: this.all('match[]'), start, end, limit: this.limit() }
  }
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/
const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/

function parseTime(text: string): Millis | null {
  let ms: number
  if (DECIMAL.test(text)) ms = Math.round(Number(text) * 1000)
  else if (RFC3339.test(text)) ms = Date.parse(text)
  else return null
  return Number.isFinite(ms) && Math.abs(ms) <= TIME_MAX ? ms : null
}

// ------------------------------------------------------------------------------------------------- handlers

function callOptions(parameters: QueryParameters, request: Request) {
  const timeoutMs = parameters.duration('timeout')
  return { signal: request.signal, ...(timeoutMs === null ? {} : { timeoutMs: Math.max(1, timeoutMs) }) }
}

const instant: Handler = ({ clock, queries }, parameters, request) => {
  const time = parameters.time('time', clock.now())
  const args = { text: parameters.text('query'), start: time, end: time, step: 0, ...parameters.common() }
  return queries.call('query', args, callOptions(parameters, request))
}

const range: Handler = ({ queries }, parameters, request) => {
  const start = parameters.time('start', null)
  const end = parameters.time('end', null)
  if (end < start) throw badData('invalid parameter "end": end timestamp must not be before start timestamp')
  const step = parameters.duration('step')
  if (step === null) throw badData('invalid parameter "step": cannot parse "" to a valid duration')
  if (step <= 0)
    throw badData(
      'invalid parameter "step": zero or negative query resolution step widths are not accepted. Try a positive integer',
    )
  const args = { text: parameters.text('query'), start, end, step, ...parameters.common() }
  return queries.call('query', args, callOptions(parameters, request))
}

const format: Handler = ({ queries }, parameters, request) =>
  queries.call('format', parameters.text('query'), callOptions(parameters, request))

const series: Handler = ({ queries }, parameters, request) => {
  const selection = parameters.selection()
  if (selection.matches.length === 0) throw badData('no match[] parameter provided')
  return queries.call('series', selection, callOptions(parameters, request))
}

const labels: Handler = ({ queries }, parameters, request) =>
  queries.call('labels', parameters.selection(), callOptions(parameters, request))

const labelValues: Handler = ({ queries }, parameters, request) => {
  const name = unescapeName(request.params.name ?? '')
  if (name === '' || !name.isWellFormed()) throw badData(`invalid label name: ${JSON.stringify(name)}`)
  return queries.call('labelValues', { ...parameters.selection(), name }, callOptions(parameters, request))
}

/** `U__a_2e_b` is how a name outside the old alphabet stands in a path: `a.b`. */
function unescapeName(name: string): string {
  if (!name.startsWith('U__')) return name
  return name
    .slice(3)
    .replace(/__|_([0-9a-fA-F]{1,6})_/g, (_all, hex?: string) =>
      hex === undefined
        ? '_'
        : Number.parseInt(hex, 16) <= 0x10ffff
          ? String.fromCodePoint(Number.parseInt(hex, 16))
          : '',
    )
}

const metadata: Handler = (deps, parameters) => {
  const wanted = parameters.text('metric')
  const limit = parameters.limit()
  const data: Record<string, readonly MetricMetadata[]> = {}
  let count = 0
  for (const [name, entries] of deps.metadata()) {
    if (wanted !== '' && name !== wanted) continue
    if (limit > 0 && count++ >= limit) break
    data[name] = entries
  }
  return { status: 200, body: success(data) }
}

const exemplars: Handler = () => ({ status: 200, body: success([]) })

const buildInfo: Handler = ({ version }) => {
  const data = {
    version: COMPATIBLE,
    revision: `opinion-market-${version}`,
    branch: '',
    buildUser: '',
    buildDate: '',
    goVersion: '',
  }
  return { status: 200, body: success(data) }
}

const runtimeInfo: Handler = ({ startedAt, retentionDays }) => {
  const started = new Date(startedAt).toISOString()
  const data = {
    startTime: started,
    CWD: '',
    reloadConfigSuccess: true,
    lastConfigTime: started,
    corruptionCount: 0,
    goroutineCount: 0,
    GOMAXPROCS: 0,
    GOMEMLIMIT: 0,
    GOGC: '',
    GODEBUG: '',
    storageRetention: `${retentionDays}d`,
  }
  return { status: 200, body: success(data) }
}
