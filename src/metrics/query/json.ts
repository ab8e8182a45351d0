/**
 * Answers as JSON bytes in the form of Prometheus' API, made in the query worker, so that the main thread only passes
 * them on. Series are computed, printed and forgotten one by one.
 */
import type { Labels } from '../labels.ts'
import type { SampleBuffer } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'
import type { Context } from './context.ts'
import { QueryError } from './context.ts'
import type { Answer, AnswerSeries } from './evaluate.ts'
import { formatValue } from './numeric.ts'

/** UTF-8 bytes that grow up to a limit. */
export class JsonWriter {
  #bytes: Buffer = Buffer.allocUnsafeSlow(64 * 1024)
  #length = 0
  readonly #max: number

  constructor(bytesMax: number) {
    this.#max = bytesMax
  }

  write(text: string): void {
    // A UTF-16 unit is at most three bytes.
    const most = this.#length + text.length * 3
    if (most > this.#bytes.length) this.#grow(most)
    this.#length += this.#bytes.write(text, this.#length)
    if (this.#length > this.#max)
      throw new QueryError('execution', `the answer is larger than the limit of ${Math.round(this.#max / 1048576)} MiB`)
  }

  #grow(needed: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(grown, 0, 0, this.#length)
    this.#bytes = grown
  }

  /** Bytes in a buffer of their own, which can be moved. */
  finish(): Uint8Array<ArrayBuffer> {
    const exact = this.#bytes.buffer as ArrayBuffer
    return new Uint8Array(exact, 0, this.#length)
  }
}

/** Seconds with three decimals where they are needed: `1700000000`, `1700000000.250`. */
export function formatTime(ms: number): string {
  if (ms % 1000 === 0) return String(ms / 1000)
  const sign = ms < 0 ? '-' : ''
  const whole = Math.abs(Math.round(ms))
  return `${sign}${Math.floor(whole / 1000)}.${String(whole % 1000).padStart(3, '0')}`
}

export function metricJson(labels: Labels): string {
  let text = '{'
  for (const [name, value] of labels) {
    if (text.length > 1) text += ','
    text += `${JSON.stringify(name)}:${JSON.stringify(value)}`
  }
  return `${text}}`
}

export interface AnswerOptions {
  /** Most series; more are left out with a warning. 0: all. */
  readonly limit: number
  readonly stats: ((context: Context) => object) | null
  readonly bytesMax: number
}

/** The body of a successful answer. Throws what computing the series throws. */
export function answerJson(answer: Answer, options: AnswerOptions): Uint8Array<ArrayBuffer> {
  const out = new JsonWriter(options.bytesMax)
  const { context } = answer
  const warnings: string[] = []
  out.write(`{"status":"success","data":{"resultType":"${answer.kind}","result":`)
  switch (answer.kind) {
    case 'scalar':
      out.write(`[${formatTime(answer.time)},"${formatValue(answer.value)}"]`)
      break
    case 'string':
      out.write(`[${formatTime(answer.time)},${JSON.stringify(answer.value)}]`)
      break
    default: {
      const whole = writeSeries(out, answer.series, answer.kind === 'vector', options.limit)
      if (!whole) warnings.push('results truncated due to limit')
    }
  }
  if (options.stats) out.write(`,"stats":${JSON.stringify(options.stats(context))}`)
  out.write('}')
  const shown = context.shownAnnotations()
  warnings.push(...shown.warnings)
  if (warnings.length > 0) out.write(`,"warnings":${JSON.stringify(warnings)}`)
  if (shown.infos.length > 0) out.write(`,"infos":${JSON.stringify(shown.infos)}`)
  out.write('}')
  return out.finish()
}

/** False when the limit cut series off. */
function writeSeries(out: JsonWriter, series: AnswerSeries, single: boolean, limit: number): boolean {
  const buffer = sampleBuffer()
  const times = new Map<number, string>()
  let written = 0
  out.write('[')
  for (let i = 0; i < series.labels.length; i++) {
    series.read(i, buffer)
    if (buffer.length === 0) continue
    if (limit > 0 && written === limit) {
      out.write(']')
      return false
    }
    const head = `${written === 0 ? '' : ','}{"metric":${metricJson(series.labels[i]!)},`
    if (single) out.write(`${head}"value":[${formatTime(buffer.times[0]!)},"${formatValue(buffer.values[0]!)}"]}`)
    else {
      out.write(`${head}"values":[`)
      writeSamples(out, buffer, times)
      out.write(']}')
    }
    written++
  }
  out.write(']')
  return true
}

/** Texts of times kept from series to series, which mostly share them. */
const TIMES_MAX = 20_000
/** Samples joined to one text before they are written. */
const BATCH = 512

function writeSamples(out: JsonWriter, { times, values, length }: SampleBuffer, known: Map<number, string>): void {
  let text = ''
  for (let k = 0; k < length; k++) {
    const time = times[k]!
    let head = known.get(time)
    if (head === undefined) {
      if (known.size >= TIMES_MAX) known.clear()
      head = `[${formatTime(time)},"`
      known.set(time, head)
    }
    text += `${k === 0 ? '' : ','}${head}${formatValue(values[k]!)}"]`
    if ((k + 1) % BATCH === 0) {
      out.write(text)
      text = ''
    }
  }
  out.write(text)
}
