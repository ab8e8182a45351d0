/**
 * Merging of runs: pieces of one series, each ascending in time, that stand one behind the other in a buffer and may
 * overlap. Runs are taken by their first time, so a run only meets the end of what is merged already.
 */
import type { Millis } from '../../base/time.ts'
import type { SampleBuffer } from '../metrics.ts'
import { sampleBuffer } from '../metrics.ts'

/** First and last time, start and end in the buffer. */
export interface Run {
  readonly first: Millis
  readonly last: Millis
  readonly from: number
  readonly to: number
}

const spare = sampleBuffer()
const tail = sampleBuffer()

/** Puts the runs of `into` in order of time, one value a time. Its arrays may become others. */
export function mergeRuns(into: SampleBuffer, runs: Run[]): void {
  let ordered = true
  for (let i = 1; i < runs.length; i++) {
    if (runs[i]!.first <= runs[i - 1]!.last) {
      ordered = false
      break
    }
  }
  if (ordered) return
  runs.sort((a, b) => a.first - b.first || a.from - b.from)
  reserve(spare, into.length)
  const { times, values } = spare
  const words = wordsOf(values)
  const source = wordsOf(into.values)
  let n = 0
  for (const { first, from, to } of runs) {
    if (n === 0 || first > times[n - 1]!) {
      times.set(into.times.subarray(from, to), n)
      values.set(into.values.subarray(from, to), n)
      n += to - from
      continue
    }
    const start = lowerBound(times, n, first)
    const rest = n - start
    reserve(tail, rest)
    tail.times.set(times.subarray(start, n))
    tail.values.set(values.subarray(start, n))
    const old = wordsOf(tail.values)
    n = start
    let a = 0
    let b = from
    while (a < rest || b < to) {
      const ofOld = b >= to || (a < rest && tail.times[a]! <= into.times[b]!)
      const time = ofOld ? tail.times[a]! : into.times[b]!
      const at = ofOld ? a++ : b++
      if (n > start && times[n - 1] === time) continue
      times[n] = time
      words[2 * n] = ofOld ? old[2 * at]! : source[2 * at]!
      words[2 * n + 1] = ofOld ? old[2 * at + 1]! : source[2 * at + 1]!
      n++
    }
  }
  spare.times = into.times
  spare.values = into.values
  into.times = times
  into.values = values
  into.length = n
}

/** Index of the first of ascending times that is not below `time`. */
export function lowerBound(times: Float64Array, count: number, time: Millis): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >> 1
    if (times[middle]! < time) low = middle + 1
    else high = middle
  }
  return low
}

function reserve(buffer: SampleBuffer, count: number): void {
  if (count <= buffer.times.length && count <= buffer.values.length) return
  const capacity = Math.max(count, buffer.times.length * 2)
  buffer.times = new Float64Array(capacity)
  buffer.values = new Float64Array(capacity)
}

/** Values are moved as words: an engine may quieten a NaN that passes through a register as a number. */
const wordsOf = (values: Float64Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
