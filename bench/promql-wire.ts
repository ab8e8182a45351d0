/** Sends series to a remote-write receiver, value bits as they are (a stale marker is told from NaN by them). */
import type { Labels } from '../src/metrics/labels.ts'
import { concat, fixed64Field, labelField, message, snappy, varintField } from '../test/support/wire.ts'

export interface SentSeries {
  readonly labels: Labels
  readonly times: Float64Array
  readonly values: Float64Array
}

/** A receiver refuses what is an hour older than the newest sample it has: all series go in slices of time. */
const SLICE_MS = 20 * 60_000
const SERIES_A_BODY = 250

export async function remoteWrite(
  url: string,
  series: readonly SentSeries[],
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const first = Math.min(...series.map((s) => s.times[0] ?? Number.POSITIVE_INFINITY))
  const last = Math.max(...series.map((s) => s.times.at(-1) ?? Number.NEGATIVE_INFINITY))
  for (let from = first; from <= last; from += SLICE_MS) {
    for (let begin = 0; begin < series.length; begin += SERIES_A_BODY) {
      const parts = series.slice(begin, begin + SERIES_A_BODY).flatMap((s) => encode(s, from, from + SLICE_MS))
      if (parts.length === 0) continue
      const answer = await fetch(url, {
        method: 'POST',
        headers: {
          'content-encoding': 'snappy',
          'content-type': 'application/x-protobuf',
          'x-prometheus-remote-write-version': '0.1.0',
          ...headers,
        },
        body: new Uint8Array(snappy(concat(...parts))),
      })
      if (!answer.ok) throw new Error(`remote write: ${answer.status} ${await answer.text()}`)
    }
  }
}

function encode({ labels, times, values }: SentSeries, from: number, until: number): Uint8Array[] {
  const bits = new BigUint64Array(values.buffer, values.byteOffset, values.length)
  const samples: Uint8Array[] = []
  for (let i = 0; i < times.length; i++) {
    const time = times[i]!
    if (time >= from && time < until) samples.push(message(2, fixed64Field(1, bits[i]!), varintField(2, time)))
  }
  return samples.length === 0 ? [] : [message(1, ...labels.map(([n, v]) => labelField(n, v)), ...samples)]
}
