/**
 * OpenTelemetry metrics (opentelemetry.io/docs/specs/otlp, opentelemetry-proto metrics/v1), as JSON or protobuf, into
 * columns. Names and labels are translated as Prometheus does it (opentelemetry.io/docs/specs/otel/compatibility/
 * prometheus_and_openmetrics): what is not a letter, digit or underscore becomes one, units become suffixes
 * (`http.server.duration` in `s` → `http_server_duration_seconds`), monotonic sums end in `_total`.
 *
 *   resource   service.namespace/service.name → job, service.instance.id → instance, the rest → `target_info`
 *   gauge, sum          one series a point             histogram   _bucket{le}, _sum, _count
 *   summary             {quantile}, _sum, _count       no recorded value → stale marker
 *
 * Refused, counted and told to the sender: delta temporality (this store keeps what was counted, not what changed),
 * exponential histograms, points without a time. Unknown fields are left out, as OTLP asks.
 */
import { AppError, badRequest } from '../../base/errors.ts'
import { ColumnBuilder, type SampleColumns, staleMarker, writeStale } from '../columns.ts'
import { type Labels, labelsOf } from '../labels.ts'
import { labelName, metricName } from './otlp-names.ts'
import { readOtlpProtobuf } from './otlp-protobuf.ts'

export interface OtlpResult {
  readonly columns: SampleColumns
  /** Data points left out, by why. */
  readonly rejected: ReadonlyMap<string, number>
}

export function decodeOtlpJson(body: Uint8Array, samplesMax: number): OtlpResult {
  let tree: unknown
  try {
    tree = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch {
    throw badRequest('The body is not JSON.', 'body_malformed')
  }
  return convert(tree, samplesMax)
}

export function decodeOtlpProtobuf(body: Uint8Array, samplesMax: number): OtlpResult {
  return convert(readOtlpProtobuf(body), samplesMax)
}

type Tree = Readonly<Record<string, unknown>>

/** `tree` is an ExportMetricsServiceRequest, of JSON or of protobuf; nothing in it is believed. */
function convert(tree: unknown, samplesMax: number): OtlpResult {
  const out = new Output(samplesMax)
  for (const resourceMetrics of list(object(tree, ''), 'resourceMetrics')) {
    const resource = new Resource(list(object(resourceMetrics.resource ?? {}, 'resource'), 'attributes'))
    out.latest = 0
    for (const scope of list(resourceMetrics, 'scopeMetrics')) {
      for (const metric of list(scope, 'metrics')) convertMetric(metric, resource, out)
    }
    const info = resource.info()
    if (info && out.latest > 0) out.put(info, out.latest, 1)
  }
  return out.finish()
}

function convertMetric(metric: Tree, resource: Resource, out: Output): void {
  const name = text(metric.name)
  const unit = text(metric.unit)
  const points = (kind: unknown) => list(object(kind, 'metric'), 'dataPoints')
  if (metric.gauge != null) {
    const stored = metricName(name, unit, unit === '1' ? 'ratio' : null)
    for (const point of points(metric.gauge)) numberPoint(point, stored, resource, out)
  } else if (metric.sum != null) {
    const sum = object(metric.sum, 'sum')
    const stored = metricName(name, unit, sum.isMonotonic === true ? 'total' : null)
    for (const point of points(sum)) {
      if (isCumulative(sum)) numberPoint(point, stored, resource, out)
      else out.reject('delta temporality')
    }
  } else if (metric.histogram != null) {
    const histogram = object(metric.histogram, 'histogram')
    const stored = metricName(name, unit, null)
    for (const point of points(histogram)) {
      if (isCumulative(histogram)) histogramPoint(point, stored, resource, out)
      else out.reject('delta temporality')
    }
  } else if (metric.summary != null) {
    const stored = metricName(name, unit, null)
    for (const point of points(metric.summary)) summaryPoint(point, stored, resource, out)
  } else if (metric.exponentialHistogram != null) {
    for (const _ of points(metric.exponentialHistogram)) out.reject('exponential histogram')
  }
}

/** AGGREGATION_TEMPORALITY_CUMULATIVE; the name instead of the number is what some senders write. */
const isCumulative = ({ aggregationTemporality: kind }: Tree) =>
  kind === 2 || kind === 'AGGREGATION_TEMPORALITY_CUMULATIVE'

function numberPoint(point: Tree, name: string, resource: Resource, out: Output): void {
  const at = out.timeOf(point)
  if (at === null) return
  const labels = resource.labelsFor(name, list(point, 'attributes'), {})
  const value = point.asDouble ?? point.asInt
  if (hasNoValue(point)) out.put(labels, at, null)
  else if (value == null) out.reject('no value')
  else out.put(labels, at, number(value, 'value'))
}

function histogramPoint(point: Tree, name: string, resource: Resource, out: Output): void {
  const at = out.timeOf(point)
  if (at === null) return
  const attributes = list(point, 'attributes')
  const bounds = plainList(point, 'explicitBounds').map((bound) => number(bound, 'explicitBounds'))
  const counts = plainList(point, 'bucketCounts').map((count) => number(count, 'bucketCounts'))
  if (counts.length + bounds.length > 0 && counts.length !== bounds.length + 1) {
    out.reject('histogram without matching bounds')
    return
  }
  const gone = hasNoValue(point)
  const total = number(point.count ?? 0, 'count')
  const put = (suffix: string, extra: Readonly<Record<string, string>>, value: number) =>
    out.put(resource.labelsFor(`${name}${suffix}`, attributes, extra), at, gone ? null : value)
  let cumulative = 0
  for (const [i, bound] of bounds.entries()) {
    cumulative += counts[i]!
    put('_bucket', { le: boundText(bound) }, cumulative)
  }
  put('_bucket', { le: '+Inf' }, total)
  put('_count', {}, total)
  if (point.sum != null) put('_sum', {}, number(point.sum, 'sum'))
}

function summaryPoint(point: Tree, name: string, resource: Resource, out: Output): void {
  const at = out.timeOf(point)
  if (at === null) return
  const attributes = list(point, 'attributes')
  const gone = hasNoValue(point)
  const put = (suffix: string, extra: Readonly<Record<string, string>>, value: unknown) =>
    out.put(resource.labelsFor(`${name}${suffix}`, attributes, extra), at, gone ? null : number(value ?? 0, 'value'))
  for (const part of list(point, 'quantileValues')) {
    put('', { quantile: boundText(number(part.quantile ?? 0, 'quantile')) }, part.value)
  }
  put('_count', {}, point.count)
  put('_sum', {}, point.sum)
}

/** DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK. */
const hasNoValue = (point: Tree) => (number(point.flags ?? 0, 'flags') & 1) === 1

/** As Prometheus writes bounds and quantiles: never with an exponent. */
function boundText(bound: number): string {
  if (bound === Infinity) return '+Inf'
  const short = String(bound)
  const parts = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(short)
  if (!parts) return short
  const [, sign, first, rest = '', exponent] = parts
  const digits = `${first}${rest}`
  const shift = Number(exponent)
  return shift < 0 ? `${sign}0.${'0'.repeat(-shift - 1)}${digits}` : `${sign}${digits.padEnd(shift + 1, '0')}`
}

// ------------------------------------------------------------------------------------------------- resource

/** Labels that all series of a resource share. */
class Resource {
  readonly #own: Record<string, string> = {}
  readonly #rest: Readonly<Record<string, string>>

  constructor(attributes: readonly Tree[]) {
    const rest: Tree[] = []
    const service = new Map<string, string>()
    for (const attribute of attributes) {
      const key = text(attribute.key)
      if (/^service\.(name|namespace|instance\.id)$/.test(key)) service.set(key, valueText(attribute.value))
      else rest.push(attribute)
    }
    const name = service.get('service.name')
    const namespace = service.get('service.namespace')
    const instance = service.get('service.instance.id')
    if (name) this.#own.job = namespace ? `${namespace}/${name}` : name
    if (instance) this.#own.instance = instance
    this.#rest = attributeLabels(rest)
  }

  labelsFor(name: string, attributes: readonly Tree[], extra: Readonly<Record<string, string>>): Labels {
    return labelsOf(name, { ...this.#own, ...attributeLabels(attributes), ...extra })
  }

  /** Labels of `target_info`; null where nobody could find it, or it would say nothing. */
  info(): Labels | null {
    if (Object.keys(this.#own).length === 0 || Object.keys(this.#rest).length === 0) return null
    return labelsOf('target_info', { ...this.#rest, ...this.#own })
  }
}

/** Attributes whose names become one and the same share it, their values joined in the order of their names. */
function attributeLabels(attributes: readonly Tree[]): Record<string, string> {
  const labels: Record<string, string> = Object.create(null)
  const sorted =
    attributes.length > 1 ? attributes.toSorted((a, b) => (text(a.key) < text(b.key) ? -1 : 1)) : attributes
  for (const attribute of sorted) {
    const name = labelName(text(attribute.key))
    if (name === '') continue
    const value = valueText(attribute.value)
    labels[name] = labels[name] === undefined ? value : `${labels[name]};${value}`
  }
  return labels
}

/** AnyValue as text: texts as they are, numbers and booleans as JSON has them, lists and maps as JSON. */
function valueText(value: unknown): string {
  const plain = plainValue(value, 0)
  return typeof plain === 'string' ? plain : JSON.stringify(plain)
}

/** As a number where that is exact. */
function wholeNumber(value: unknown): unknown {
  const exact = number(value, 'intValue')
  return Number.isSafeInteger(exact) ? exact : String(value)
}

const DEPTH_MAX = 8

function plainValue(raw: unknown, depth: number): unknown {
  if (typeof raw !== 'object' || raw === null || depth > DEPTH_MAX) return ''
  const value = raw as Tree
  if (value.stringValue != null) return text(value.stringValue)
  if (value.boolValue != null) return value.boolValue === true
  if (value.intValue != null) return wholeNumber(value.intValue)
  if (value.doubleValue != null) return number(value.doubleValue, 'doubleValue')
  if (value.bytesValue != null) return text(value.bytesValue)
  if (value.arrayValue != null) {
    return plainList(object(value.arrayValue, 'arrayValue'), 'values').map((item) => plainValue(item, depth + 1))
  }
  if (value.kvlistValue != null) {
    const pairs = list(object(value.kvlistValue, 'kvlistValue'), 'values')
    return Object.fromEntries(pairs.map((pair) => [text(pair.key), plainValue(pair.value, depth + 1)]))
  }
  return ''
}

// --------------------------------------------------------------------------------------------------- output

class Output {
  /** Newest time of the current resource. */
  latest = 0
  readonly #builder = new ColumnBuilder()
  readonly #stale: number[] = []
  readonly #rejected = new Map<string, number>()
  readonly #samplesMax: number

  constructor(samplesMax: number) {
    this.#samplesMax = samplesMax
  }

  /** `value` null ends the series. */
  put(labels: Labels, at: number, value: number | null): void {
    if (this.#builder.sampleCount >= this.#samplesMax) {
      throw new AppError(413, 'body_too_large', `The body has more than ${this.#samplesMax} samples.`)
    }
    if (at > this.latest) this.latest = at
    if (value === null) this.#stale.push(this.#builder.sampleCount)
    this.#builder.series(labels).sample(at, value ?? staleMarker)
  }

  reject(why: string): void {
    this.#rejected.set(why, (this.#rejected.get(why) ?? 0) + 1)
  }

  /** Milliseconds of the point; null, and rejected, when it has no time. */
  timeOf(point: Tree): number | null {
    const nanos = point.timeUnixNano
    let at = 0
    if (typeof nanos === 'bigint') at = Number(nanos / 1_000_000n)
    else if (typeof nanos === 'string' && /^\d{1,20}$/.test(nanos)) at = Number(BigInt(nanos) / 1_000_000n)
    else if (typeof nanos === 'number') at = Math.floor(nanos / 1e6)
    else if (nanos != null) throw malformed('timeUnixNano', 'a whole number')
    if (at > 0) return at
    this.reject('no time')
    return null
  }

  finish(): OtlpResult {
    const columns = this.#builder.finish()
    for (const index of this.#stale) writeStale(columns.values, index)
    return { columns, rejected: this.#rejected }
  }
}

// ------------------------------------------------------------------------------------- reading what is unknown

const malformed = (where: string, right: string) =>
  badRequest(`OTLP: ${where === '' ? 'the body' : where}: expected ${right}.`, 'body_malformed')

function object(value: unknown, where: string): Tree {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(where, 'an object')
  return value as Tree
}

function plainList(from: Tree, field: string): readonly unknown[] {
  const value = from[field]
  if (value == null) return []
  if (!Array.isArray(value)) throw malformed(field, 'a list')
  return value
}

function list(from: Tree, field: string): readonly Tree[] {
  const items = plainList(from, field)
  for (const item of items) object(item, field)
  return items as readonly Tree[]
}

function text(value: unknown): string {
  if (value == null) return ''
  if (typeof value !== 'string') throw malformed('a name or text', 'a text')
  return value
}

/** Numbers of 64 bits come as texts in JSON; so do those that JSON cannot write. */
function number(value: unknown, where: string): number {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  if (typeof value === 'string') {
    if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value) || /^(NaN|-?Infinity)$/.test(value)) return Number(value)
  }
  throw malformed(where, 'a number')
}
