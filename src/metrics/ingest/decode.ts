/**
 * All formats behind one call: what the pipeline thread runs on a body. Content encodings other than remote write's
 * own are taken off before (main thread, in zlib's threads).
 */
import type { SampleColumns } from '../columns.ts'
import { decodeCsv } from './csv.ts'
import { decodeOtlpJson, decodeOtlpProtobuf, type OtlpResult } from './otlp.ts'
import { RemoteWriteDecoder, type RemoteWriteLimits, remoteWriteLimits } from './remote-write.ts'
import { decodeText, type SeriesCache } from './text.ts'

export type IngestFormat =
  | { readonly kind: 'remote_write' }
  | { readonly kind: 'otlp_json' | 'otlp_protobuf' }
  /** `whole: false` for a part of a file, cut between lines. */
  | { readonly kind: 'prometheus' | 'openmetrics'; readonly whole: boolean }
  | { readonly kind: 'csv'; readonly metric: string | null; readonly header?: string }

export interface Decoded {
  /** Valid until the next call. */
  readonly columns: SampleColumns
  /** What the body held and was left out, by why, in numbers of points. */
  readonly skipped: Readonly<Record<string, number>>
}

export class Decoder {
  readonly #limits: RemoteWriteLimits
  readonly #remoteWrite: RemoteWriteDecoder
  readonly #texts: SeriesCache = new Map()

  constructor(limits: RemoteWriteLimits = remoteWriteLimits) {
    this.#limits = limits
    this.#remoteWrite = new RemoteWriteDecoder(limits)
  }

  /** `now` is the time of samples that bring none. Throws `AppError` 400 for a broken body, 413 for one too large. */
  decode(format: IngestFormat, body: Uint8Array, now: number): Decoded {
    const { samplesMax } = this.#limits
    switch (format.kind) {
      case 'remote_write': {
        const columns = this.#remoteWrite.decode(body)
        const { exemplars, histograms } = this.#remoteWrite.skipped
        return { columns, skipped: nonZero({ exemplars, histograms }) }
      }
      case 'otlp_json':
        return fromOtlp(decodeOtlpJson(body, samplesMax))
      case 'otlp_protobuf':
        return fromOtlp(decodeOtlpProtobuf(body, samplesMax))
      case 'prometheus':
      case 'openmetrics':
        return {
          columns: decodeText(body, format.kind, now, { samplesMax, whole: format.whole }, this.#texts),
          skipped: {},
        }
      case 'csv':
        return { columns: decodeCsv(body, { samplesMax, ...format }), skipped: {} }
    }
  }
}

const fromOtlp = ({ columns, rejected }: OtlpResult): Decoded => ({ columns, skipped: Object.fromEntries(rejected) })

const NOTHING = {}
function nonZero(counts: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const entries = Object.entries(counts).filter(([, n]) => n > 0)
  return entries.length === 0 ? NOTHING : Object.fromEntries(entries)
}
