/**
 * Makes a new query worker quick before its first query: the usual shapes of queries are asked of a few made-up series,
 * one at a time and only while nobody else asks, until V8 has compiled what they run through.
 */
import { MemoryReader } from './memory-reader.ts'
import type { ApiAnswer, WorkerLimits } from './operations.ts'
import { queryOperations } from './operations.ts'

const ROUNDS = 175
const SERIES = 8
const SAMPLES = 240
const SPACING = 15_000

const TEXTS = [
  'warm_up{job="0"}',
  'avg by (job) (warm_up)',
  'sum by (job) (rate(warm_up[5m]))',
  'max_over_time(warm_up{job=~"[0-3]"}[5m]) / 2 > 1',
  'warm_up + on (job) warm_up',
  'last_over_time(warm_up{job=~"0|1|other",job!=""}[1h])',
  'topk(3, warm_up)',
]
/** Every sample, few steps, one moment: asked in turn. */
const STEPS = [SPACING, 20 * SPACING, 0]

/** `later` is handed the next query and calls it when the thread has nothing better to do. */
export function warmUp(limits: WorkerLimits, later: (next: () => ApiAnswer) => void): void {
  const operations = queryOperations({
    reader: madeUp(),
    flag: new Int32Array(1),
    limits: () => limits,
    monotonic: () => 0,
  })
  let round = 0
  const next = () => {
    const text = TEXTS[round % TEXTS.length]!
    const step = STEPS[round % STEPS.length]!
    const end = SAMPLES * SPACING
    const answer = operations.query({
      text,
      start: step === 0 ? end : 0,
      end,
      step,
      limit: 0,
      lookbackMs: null,
      stats: false,
    })
    round += 1
    if (round < ROUNDS) later(next)
    return answer
  }
  later(next)
}

function madeUp(): MemoryReader {
  const reader = new MemoryReader()
  const times = Float64Array.from({ length: SAMPLES }, (_, i) => i * SPACING)
  for (let s = 0; s < SERIES; s++) {
    const labels = [
      ['__name__', 'warm_up'],
      ['job', String(s)],
    ] as const
    reader.add(
      labels,
      times,
      times.map((time) => time / 7 + s),
    )
  }
  return reader
}
