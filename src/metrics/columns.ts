/**
 * A batch of samples in columns: what every decoder and collector makes and the pipeline takes. Never an object per
 * sample.
 *
 *   labelBytes   … bytes of series 0 … bytes of series 1 …        (canonical or raw label bytes, see labels.ts)
 *   labelStart   [0, 61, …]   labelEnd [61, 122, …]                one entry per series entry
 *   sampleStart  [0, 1, 3, …, sampleCount]                         one more than entries
 *   times        Float64Array, whole milliseconds
 *   values       Float64Array, the bits as they came (the payload of a NaN tells a stale marker from a missing value)
 *
 * A decoder may reuse its arrays from call to call, so lengths are given apart (`entryCount`, `sampleCount`) and the
 * batch is valid only until the next call. The same series may stand in it more than once.
 */

import type { Labels } from './labels.ts'
import { encodeLabels } from './labels.ts'

export interface SampleColumns {
  readonly entryCount: number
  readonly sampleCount: number
  readonly labelBytes: Uint8Array
  readonly labelStart: Uint32Array
  readonly labelEnd: Uint32Array
  readonly sampleStart: Uint32Array
  readonly times: Float64Array
  readonly values: Float64Array
}

/** The bits by which Prometheus marks the end of a series: a NaN of this payload. */
export const STALE_HIGH = 0x7ff00000
export const STALE_LOW = 0x00000002

const bits = new DataView(new ArrayBuffer(8))

/** True for the stale marker alone, not for other NaNs. */
export function isStale(value: number): boolean {
  if (!Number.isNaN(value)) return false
  bits.setFloat64(0, value)
  return bits.getUint32(0) === STALE_HIGH && bits.getUint32(4) === STALE_LOW
}

/** A NaN with the payload of the stale marker. */
export const staleMarker: number = (() => {
  bits.setUint32(0, STALE_HIGH)
  bits.setUint32(4, STALE_LOW)
  return bits.getFloat64(0)
})()

/** Writes the stale marker bit by bit, for engines that would otherwise quieten the NaN on its way. */
export function writeStale(values: Float64Array, index: number): void {
  const view = new DataView(values.buffer, values.byteOffset + index * 8, 8)
  view.setUint32(0, STALE_LOW, true)
  view.setUint32(4, STALE_HIGH, true)
}

/** Builds a batch away from the hot path: collectors, API bodies, imports. */
export class ColumnBuilder {
  #bytes = new Uint8Array(1024)
  #bytesUsed = 0
  #starts: number[] = []
  #ends: number[] = []
  #sampleStarts: number[] = []
  #times: number[] = []
  #values: number[] = []

  /** Opens a series; the samples that follow are its. */
  series(labels: Labels): this {
    return this.seriesBytes(encodeLabels(labels))
  }

  /** The same with canonical bytes that the caller keeps (collectors encode theirs once). */
  seriesBytes(bytes: Uint8Array): this {
    while (this.#bytesUsed + bytes.length > this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2)
      grown.set(this.#bytes)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, this.#bytesUsed)
    this.#starts.push(this.#bytesUsed)
    this.#bytesUsed += bytes.length
    this.#ends.push(this.#bytesUsed)
    this.#sampleStarts.push(this.#times.length)
    return this
  }

  sample(time: number, value: number): this {
    this.#times.push(time)
    this.#values.push(value)
    return this
  }

  get sampleCount(): number {
    return this.#times.length
  }

  /** Plain arrays of their own: may be kept, or moved to another thread. */
  finish(): SampleColumns {
    return {
      entryCount: this.#starts.length,
      sampleCount: this.#times.length,
      labelBytes: this.#bytes.slice(0, this.#bytesUsed),
      labelStart: Uint32Array.from(this.#starts),
      labelEnd: Uint32Array.from(this.#ends),
      sampleStart: Uint32Array.from([...this.#sampleStarts, this.#times.length]),
      times: Float64Array.from(this.#times),
      values: Float64Array.from(this.#values),
    }
  }
}
