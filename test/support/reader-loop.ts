/**
 * A thread that reads all series over and over while another writes. Series i has at tick t the sample
 * (start + t seconds, i · 1,000,000 + t). Reports the first thing that is not so, or how often it looked.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../src/base/clock.ts'
import { labelValue } from '../../src/metrics/labels.ts'
import { sampleBuffer } from '../../src/metrics/metrics.ts'
import { openReader } from '../../src/metrics/store/reader.ts'
import type { StoreShare } from '../../src/metrics/store/shared.ts'

export interface LoopData {
  readonly share: StoreShare
  /** [0] ticks that were answered, [1] 1: stop. */
  readonly progress: Int32Array
  readonly start: number
}

const { share, progress, start } = workerData as LoopData
const reader = openReader(share, systemClock)
const buffer = sampleBuffer()
let looks = 0
let problem: string | null = null
while (Atomics.load(progress, 1) === 0 && problem === null) {
  for (const series of reader.readColumns([{ name: '__name__', op: '=', value: 'm' }], 0, Infinity)) {
    const answered = Atomics.load(progress, 0)
    series.read(0, Infinity, buffer)
    const i = Number(labelValue(series.labels, 'i'))
    if (buffer.length < answered) problem = `series ${i} has ${buffer.length} samples, answered were ${answered}`
    for (let t = 0; t < buffer.length; t++) {
      if (buffer.times[t] !== start + t * 1000 || buffer.values[t] !== i * 1_000_000 + t) {
        problem = `series ${i}, sample ${t}: ${buffer.times[t]} ${buffer.values[t]}`
        break
      }
    }
    looks++
  }
}
parentPort!.postMessage({ looks, problem })
