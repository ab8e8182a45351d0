/**
 * What a query worker does when asked: evaluates, lists series and labels, reads points. One call at a time; `flag` is
 * how the main thread tells it to stop. Answers for the Prometheus API are bytes that need no more work.
 */
import { AppError, messageOf } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import type { ColumnReader, Matcher } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { PointsAnswer, PointsRequest } from '../points.ts'
import { readPoints } from '../points.ts'
import { type SeriesTop, seriesTop } from '../series-top.ts'
import { selectorsOf } from './ast.ts'
import type { Context, Environment, Limits, QueryErrorType } from './context.ts'
import { DEFAULT_DIALECT, QueryError } from './context.ts'
import { evaluateQuery } from './evaluate.ts'
import { answerJson, JsonWriter, metricJson } from './json.ts'
import { compareLabels } from './labelset.ts'
import { ParseError } from './lex.ts'
import { parse, parseSelector } from './parse.ts'
import { print, printSelector } from './print.ts'

/** What the flag says. */
export const RUN = 0
export const CANCELLED = 1
export const TIMED_OUT = 2

export interface WorkerLimits extends Limits {
  readonly lookbackMs: Millis
  readonly subqueryStepMs: Millis
}

/** An HTTP answer, ready to send. */
export interface ApiAnswer {
  readonly status: number
  readonly body: Uint8Array<ArrayBuffer>
}

export interface QueryArgs {
  readonly text: string
  readonly start: Millis
  readonly end: Millis
  /** 0: an instant query. */
  readonly step: Millis
  /** Most series in the answer; 0: all. */
  readonly limit: number
  readonly lookbackMs: Millis | null
  readonly stats: boolean
}

export interface SelectArgs {
  /** Texts of selectors; a series has to match one. None: all series. */
  readonly matches: readonly string[]
  readonly start: Millis
  readonly end: Millis
  readonly limit: number
}

/** A series of an answer as columns, for other rooms: only the steps that have a value. */
export interface EvaluatedSeries {
  readonly labels: readonly (readonly [string, string])[]
  readonly times: Float64Array
  readonly values: Float64Array
}

export interface Evaluated {
  readonly kind: 'scalar' | 'string' | 'vector' | 'matrix'
  readonly series: readonly EvaluatedSeries[]
  readonly warnings: readonly string[]
}

export interface OperationsOptions {
  readonly reader: ColumnReader
  /** One 32-bit word: RUN, CANCELLED or TIMED_OUT. */
  readonly flag: Int32Array
  limits(): WorkerLimits
  /** Milliseconds, for statistics. */
  monotonic(): number
}

export type QueryOperations = ReturnType<typeof queryOperations>

export function queryOperations(options: OperationsOptions) {
  const { reader, flag } = options
  const checkpoint = () => {
    const word = Atomics.load(flag, 0)
    if (word === CANCELLED) throw new QueryError('canceled', 'query was canceled in expression evaluation')
    if (word === TIMED_OUT) throw new QueryError('timeout', 'query timed out in expression evaluation')
  }
  const environment = (lookbackMs: Millis | null): Environment => {
    const limits = options.limits()
    return {
      reader,
      dialect: DEFAULT_DIALECT,
      lookbackMs: lookbackMs ?? limits.lookbackMs,
      subqueryStepMs: limits.subqueryStepMs,
      limits,
      checkpoint,
    }
  }

  /** Matched series, each once, sorted. */
  function matched(args: SelectArgs) {
    const selectors = args.matches.map((text) => parameter('match[]', () => parseSelector(text)).matchers)
    const found = new Map<number, readonly (readonly [string, string])[]>()
    for (const matchers of selectors) {
      checkpoint()
      for (const series of reader.readColumns(matchers, args.start, args.end, options.limits()))
        found.set(series.id, series.labels)
    }
    return [...found.values()].sort(compareLabels)
  }

  /** Names or values of all selectors together, sorted. */
  function union(args: SelectArgs, read: (matchers: readonly Matcher[]) => string[]): ApiAnswer {
    const selectors = args.matches.map((text) => parameter('match[]', () => parseSelector(text)).matchers)
    const all = new Set<string>()
    for (const matchers of selectors.length === 0 ? [[]] : selectors) {
      checkpoint()
      for (const text of read(matchers)) all.add(text)
    }
    const sorted = [...all].sort()
    const cut = args.limit > 0 && sorted.length > args.limit
    return list(cut ? sorted.slice(0, args.limit) : sorted, JSON.stringify, cut)
  }

  function list<T>(items: readonly T[], one: (item: T) => string, cut: boolean): ApiAnswer {
    const out = new JsonWriter(options.limits().resultMax)
    out.write('{"status":"success","data":[')
    items.forEach((item, i) => {
      out.write((i === 0 ? '' : ',') + one(item))
    })
    out.write(cut ? '],"warnings":["results truncated due to limit"]}' : ']}')
    return { status: 200, body: out.finish() }
  }

  return {
    query(args: QueryArgs): ApiAnswer {
      return answered(() => {
        const began = options.monotonic()
        const expr = parameter('query', () => parse(args.text))
        const parsed = options.monotonic()
        const answer = evaluateQuery(environment(args.lookbackMs), { ...args, expr })
        const stats = (context: Context) => statistics(context, began, parsed, options.monotonic())
        const body = answerJson(answer, {
          limit: args.limit,
          stats: args.stats ? stats : null,
          bytesMax: options.limits().resultMax,
        })
        return { status: 200, body }
      })
    },

    series(args: SelectArgs): ApiAnswer {
      return answered(() => {
        const all = matched(args)
        const cut = args.limit > 0 && all.length > args.limit
        return list(cut ? all.slice(0, args.limit) : all, metricJson, cut)
      })
    },

    labels: (args: SelectArgs): ApiAnswer =>
      answered(() => union(args, (matchers) => reader.labelNames(matchers, args.start, args.end))),

    labelValues: ({ name, ...args }: SelectArgs & { readonly name: string }): ApiAnswer =>
      answered(() => union(args, (matchers) => reader.labelValues(name, matchers, args.start, args.end))),

    format(text: string): ApiAnswer {
      return answered(() => ({ status: 200, body: success(print(parameter('query', () => parse(text)))) }))
    },

    /** Texts of the selectors in an expression, without their shifts in time. Throws `AppError` 422. */
    selectors(text: string): string[] {
      try {
        return [...new Set(selectorsOf(parse(text)).map(printSelector))]
      } catch (error) {
        if (error instanceof ParseError) throw new AppError(422, 'query_unreadable', error.message)
        throw error
      }
    },

    /** For other rooms. Throws `AppError` 422. */
    evaluate(args: QueryArgs): Evaluated {
      try {
        return evaluated(args)
      } catch (error) {
        if (error instanceof ParseError) throw new AppError(422, 'query_unreadable', error.message)
        if (error instanceof QueryError)
          throw new AppError(error.type === 'timeout' ? 503 : 422, 'query_failed', error.message)
        throw error
      }
    },

    /** Makes the reader ready, before the first query. */
    prepare: (): void => reader.prepare?.(),

    points: (request: PointsRequest): PointsAnswer => readPoints(reader, request),

    /** Ids of all series that any of the selectors matches. Throws `AppError` 400 for one that cannot be read. */
    ids(matches: readonly string[]): number[] {
      const found = new Set<number>()
      for (const text of matches) {
        for (const { id } of reader.readColumns(matchersOf(text), 0, Number.MAX_SAFE_INTEGER)) found.add(id)
      }
      return [...found]
    },

    /** The `limit` names and labels that cost most series. */
    top: (limit: number): SeriesTop => seriesTop(reader, limit),
  }

  function evaluated(args: QueryArgs): Evaluated {
    const answer = evaluateQuery(environment(args.lookbackMs), args)
    const { context, kind } = answer
    const column = (value: number, time: Millis) => ({
      labels: [],
      times: Float64Array.of(time),
      values: Float64Array.of(value),
    })
    const series: EvaluatedSeries[] = []
    if (answer.kind === 'scalar') series.push(column(answer.value, answer.time))
    else if (answer.kind !== 'string') {
      const own = sampleBuffer(16)
      answer.series.labels.forEach((labels, i) => {
        answer.series.read(i, own)
        if (own.length === 0) return
        context.reserve(own.length * 16)
        series.push({ labels, times: own.times.slice(0, own.length), values: own.values.slice(0, own.length) })
      })
    }
    return { kind, series, warnings: context.shownAnnotations().warnings }
  }
}

function matchersOf(text: string): readonly Matcher[] {
  try {
    return parseSelector(text).matchers
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    throw new AppError(400, 'selector_unreadable', `The selector cannot be read: ${error.message}`)
  }
}

/** A parameter that cannot be read. */
class ParameterError extends Error {}

function parameter<T>(name: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof ParseError)) throw error
    throw new ParameterError(`invalid parameter ${JSON.stringify(name)}: ${error.message}`)
  }
}

const statusOf: Readonly<Record<QueryErrorType, number>> = {
  bad_data: 400,
  execution: 422,
  timeout: 503,
  canceled: 503,
}

/** Errors as Prometheus answers them; a fault of ours goes on as it is. */
function answered(work: () => ApiAnswer): ApiAnswer {
  try {
    return work()
  } catch (error) {
    if (error instanceof ParameterError) return failure(400, 'bad_data', error.message)
    if (error instanceof QueryError) return failure(statusOf[error.type], error.type, error.message)
    if (error instanceof AppError)
      return failure(error.status, error.status === 400 ? 'bad_data' : 'execution', error.message)
    if (error instanceof RangeError && /call stack/i.test(messageOf(error)))
      return failure(422, 'execution', 'the expression nests too deeply')
    throw error
  }
}

const encoder = new TextEncoder()

/** The body of an error in Prometheus' form. */
export function failure(status: number, errorType: string, message: string): ApiAnswer {
  return { status, body: encoder.encode(JSON.stringify({ status: 'error', errorType, error: message })) }
}

export function success(data: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify({ status: 'success', data }))
}

function statistics(context: Context, began: number, parsed: number, now: number): object {
  const seconds = (ms: number) => ms / 1000
  return {
    timings: {
      evalTotalTime: seconds(now - began),
      resultSortTime: 0,
      queryPreparationTime: seconds(parsed - began),
      innerEvalTime: seconds(now - parsed),
      execQueueTime: 0,
      execTotalTime: seconds(now - began),
    },
    samples: { totalQueryableSamples: context.samplesRead, peakSamples: Math.round(context.peakMemory / 9) },
  }
}
