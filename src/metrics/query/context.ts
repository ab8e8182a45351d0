/**
 * What one query carries while it is evaluated: where it reads, by whose rules, what it may use, and what it found
 * worth saying. Everything here is for one worker thread and one query.
 */
import type { Millis } from '../../base/time.ts'
import { STALE_HIGH, STALE_LOW } from '../columns.ts'
import type { ColumnReader, SampleBuffer, SeriesColumns } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { CompiledMatcher, Duration, Span, TimeShift } from './ast.ts'
import { position } from './lex.ts'

/**
 * Whose rules hold where Prometheus 2 and 3 differ:
 *   windows  2: [t-range, t]     3: (t-range, t]; the same for lookback
 *   names    2: dropped by the function that changes the value     3: dropped when the query ends
 * and in what a rate extrapolates to and when matching complains.
 */
export type Dialect = 2 | 3
/** The rules of the platform: those of the Prometheus that most installations ran when it was made. */
export const DEFAULT_DIALECT: Dialect = 2

/** The times of evaluation: start, start + step, …, `count` of them. */
export interface Grid {
  readonly start: Millis
  readonly step: Millis
  readonly count: number
}

export const timeAt = (grid: Grid, k: number): Millis => grid.start + k * grid.step
export const lastTime = (grid: Grid): Millis => timeAt(grid, grid.count - 1)

/** A value a step. Where `present` is 0 there is none; the value is then meaningless. */
export interface Column {
  readonly values: Float64Array
  readonly present: Uint8Array
}

export interface Limits {
  /** Samples read from the store. */
  readonly samplesMax: number
  /** Series that one selector may match. */
  readonly seriesMax: number
  /** Steps of a range query, and of a subquery a thousand times as many. */
  readonly stepsMax: number
  /** Bytes of columns held at once. */
  readonly memoryMax: number
  /** Bytes of the answer. */
  readonly resultMax: number
}

export type QueryErrorType = 'bad_data' | 'execution' | 'timeout' | 'canceled'

/** A query that could not be answered. The types are those of Prometheus' API. */
export class QueryError extends Error {
  readonly type: QueryErrorType
  constructor(type: QueryErrorType, message: string) {
    super(message)
    this.type = type
  }
}

export interface Environment {
  readonly reader: ColumnReader
  readonly dialect: Dialect
  /** How far an instant selector looks back. */
  readonly lookbackMs: Millis
  /** The step of a subquery that names none. */
  readonly subqueryStepMs: Millis
  readonly limits: Limits
  /** Throws when the query is to end before its time: cancelled or out of time. Asked at least once a series. */
  checkpoint(): void
}

const ANNOTATIONS_MAX = 10

export class Context {
  readonly env: Environment
  readonly dialect: Dialect
  readonly text: string
  readonly query: { readonly start: Millis; readonly end: Millis; readonly step: Millis }
  /** Shared by all reads: what stands in it is good until the next read. */
  readonly samples: SampleBuffer = sampleBuffer()
  samplesRead = 0
  seriesRead = 0
  memory = 0
  peakMemory = 0
  readonly #warnings = new Map<string, string>()
  readonly #infos = new Map<string, string>()

  constructor(env: Environment, text: string, query: { start: Millis; end: Millis; step: Millis }) {
    this.env = env
    this.dialect = env.dialect
    this.text = text
    this.query = query
  }

  // ------------------------------------------------------------------------------------------- messages

  fail(message: string): never {
    throw new QueryError('execution', message)
  }
  warn(message: string, span: Span | null): void {
    const text = `PromQL warning: ${message}`
    if (!this.#warnings.has(text)) this.#warnings.set(text, this.#placed(text, span))
  }
  info(message: string, span: Span | null): void {
    const text = `PromQL info: ${message}`
    if (!this.#infos.has(text)) this.#infos.set(text, this.#placed(text, span))
  }
  #placed(text: string, span: Span | null): string {
    return span ? `${text} (${position(this.text, span.from)})` : text
  }
  /** Without positions, as test scripts compare them. */
  annotations(): { warnings: string[]; infos: string[] } {
    return { warnings: [...this.#warnings.keys()], infos: [...this.#infos.keys()] }
  }
  /** With positions, at most ten of each, as the API shows them. */
  shownAnnotations(): { warnings: string[]; infos: string[] } {
    const some = (all: ReadonlyMap<string, string>, what: string) => {
      const shown = [...all.values()].slice(0, ANNOTATIONS_MAX)
      if (all.size > ANNOTATIONS_MAX) shown.push(`${all.size - ANNOTATIONS_MAX} more ${what} annotations omitted`)
      return shown
    }
    return { warnings: some(this.#warnings, 'warning'), infos: some(this.#infos, 'info') }
  }

  // --------------------------------------------------------------------------------------------- memory

  /** A column of `count` steps, counted against the limit; `release` gives it back. */
  column(count: number): Column {
    this.reserve(count * 9)
    return { values: new Float64Array(count), present: new Uint8Array(count) }
  }
  reserve(bytes: number): void {
    this.memory += bytes
    if (this.memory > this.peakMemory) this.peakMemory = this.memory
    if (this.memory > this.env.limits.memoryMax)
      this.fail(
        'query processing would load too many samples into memory in query execution: ' +
          `more than ${Math.round(this.env.limits.memoryMax / 1048576)} MiB of columns`,
      )
  }
  release(bytes: number): void {
    this.memory -= bytes
  }

  // --------------------------------------------------------------------------------------------- reading

  select(matchers: readonly CompiledMatcher[], from: Millis, to: Millis): readonly SeriesColumns[] {
    this.env.checkpoint()
    const found = this.env.reader.readColumns(matchers, from, to, { seriesMax: this.env.limits.seriesMax })
    this.seriesRead += found.length
    if (found.length > this.env.limits.seriesMax)
      this.fail(`expanding series: the selector matches more than ${this.env.limits.seriesMax} series`)
    return found
  }

  /** Reads into the shared buffer, stale markers included. */
  read(series: SeriesColumns, from: Millis, to: Millis): SampleBuffer {
    this.env.checkpoint()
    const buffer = this.samples
    series.read(from, to, buffer)
    this.count(buffer.length)
    return buffer
  }

  count(samples: number): void {
    this.samplesRead += samples
    if (this.samplesRead > this.env.limits.samplesMax)
      this.fail(
        'query processing would load too many samples into memory in query execution: ' +
          `more than ${this.env.limits.samplesMax} samples`,
      )
  }

  // ------------------------------------------------------------------------------------------------ time

  /** Milliseconds of a duration; expressions over step() and range() become known here. */
  duration(duration: Duration): Millis {
    const ms = this.#evaluate(duration)
    if (!Number.isFinite(ms)) return this.fail('duration expression does not give a finite duration')
    return Math.round(ms)
  }
  positiveDuration(duration: Duration): Millis {
    const ms = this.duration(duration)
    if (ms <= 0) this.fail('duration must be greater than 0')
    return ms
  }

  #evaluate(duration: Duration): number {
    if (typeof duration === 'number') return duration
    if (duration.op === 'step') return this.query.step
    if (duration.op === 'range') return this.query.end - this.query.start
    if (duration.op === 'negate') return -this.#evaluate(duration.left)
    if (!('right' in duration)) return 0
    // Arithmetic is on seconds, as plain numbers in durations are.
    const left = this.#evaluate(duration.left) / 1000
    const right = this.#evaluate(duration.right) / 1000
    switch (duration.op) {
      case '+':
        return (left + right) * 1000
      case '-':
        return (left - right) * 1000
      case '*':
        return left * right * 1000
      case '/':
        if (right === 0) this.fail('division by zero')
        return (left / right) * 1000
      case '%':
        if (right === 0) this.fail('modulo by zero')
        return (left % right) * 1000
      case '^':
        return left ** right * 1000
      case 'min_of':
        return Math.min(left, right) * 1000
      default:
        return Math.max(left, right) * 1000
    }
  }

  /** The moment that a selector refers to at each step: a fixed one, or the step's own, less the offset. */
  reference(shift: TimeShift, grid: Grid): { readonly first: Millis; readonly step: Millis } {
    const offset = this.duration(shift.offset)
    if (shift.at === null) return { first: grid.start - offset, step: grid.step }
    const at = shift.at === 'start' ? this.query.start : shift.at === 'end' ? this.query.end : shift.at
    return { first: at - offset, step: 0 }
  }
}

/** Takes stale markers out of a buffer, in place. */
export function dropStale(buffer: SampleBuffer): void {
  const { times, values, length } = buffer
  let kept = 0
  while (kept < length && !Number.isNaN(values[kept]!)) kept++
  if (kept === length) return
  const bits = wordsOf(values)
  for (let i = kept; i < length; i++) {
    const value = values[i]!
    if (bits[2 * i] === STALE_LOW && bits[2 * i + 1] === STALE_HIGH) continue
    if (kept !== i) {
      times[kept] = times[i]!
      values[kept] = value
    }
    kept++
  }
  buffer.length = kept
}

/** Whether the value at `index` is the stale marker: told by its bits, not by its being no number. */
export function isStaleAt(values: Float64Array, index: number): boolean {
  if (!Number.isNaN(values[index])) return false
  const words = wordsOf(values)
  return words[2 * index] === STALE_LOW && words[2 * index + 1] === STALE_HIGH
}

const wordsOf = (values: Float64Array) => new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
