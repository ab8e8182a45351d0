/**
 * CPU of the engine and its JSON, without HTTP and storage, on 1,000 series of 600 samples a family:
 *   node bench/promql-speed.ts [--runs 50] [--profile]
 * Prints milliseconds of CPU a query. The whole platform is measured by `bench/load.ts query`.
 */
import { parseArgs } from 'node:util'
import { MemoryReader } from '../src/metrics/query/memory-reader.ts'
import { queryOperations } from '../src/metrics/query/operations.ts'
import { FAMILIES, makeData } from './promql-data.ts'

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '50' } } })

const start = 1_700_000_000_000 - (1_700_000_000_000 % 300_000)
const data = makeData({ start, perFamily: 1000, ticks: 600, awkward: false })
const reader = new MemoryReader()
for (const { labels, times, values } of data.series) reader.add(labels, times, values)
const operations = queryOperations({
  reader,
  flag: new Int32Array(new SharedArrayBuffer(4)),
  monotonic: () => performance.now(),
  limits: () => ({
    samplesMax: 1e9,
    seriesMax: 1e6,
    stepsMax: 11_000,
    memoryMax: 2 ** 31,
    resultMax: 2 ** 30,
    lookbackMs: 300_000,
    subqueryStepMs: 60_000,
  }),
})

const names = FAMILIES.map(([name]) => name)
const one = (i: number) => {
  const instance = i % 200
  return `${names[i % 8]}{instance="10.0.${instance >> 5}.${instance & 31}:9100",device="dev${i % 5}"}`
}
const cases: [string, number, (i: number) => string][] = [
  ['one series, step 15 s', 15, one],
  ['one series, step 5 m', 300, one],
  ['avg by (job), 1,000 series, step 5 m', 300, (i) => `avg by (job) (${names[i % 8]})`],
  ['avg by (job), 1,000 series, step 15 s', 15, (i) => `avg by (job) (${names[i % 8]})`],
  ['sum by (job) (rate[5m]), step 5 m', 300, (i) => `sum by (job) (rate(${names[i % 3]}[5m]))`],
  ['sum by (job) (rate[5m]), step 15 s', 15, (i) => `sum by (job) (rate(${names[i % 3]}[5m]))`],
  ['1,000 series printed, step 15 s', 15, (i) => names[i % 8]!],
  ['topk(5), step 15 s', 15, (i) => `topk(5, ${names[i % 8]})`],
  ['a / b, 1,000 series each, step 15 s', 15, () => `${names[5]} / ${names[8]}`.replace(/ \/ /, ' / ignoring (x) ')],
  ['quantile_over_time[1h], step 1 m', 60, (i) => `quantile_over_time(0.9, ${names[3 + (i % 4)]}[1h])`],
]
for (const [title, step, make] of cases) {
  const runs = Number(options.runs)
  let bytes = 0
  const run = (i: number) => {
    const args = { text: make(i), start: data.start, end: data.end, step: step * 1000 }
    bytes = operations.query({ ...args, limit: 0, lookbackMs: null, stats: false }).body.length
  }
  for (let i = 0; i < 5; i++) run(i)
  const before = process.cpuUsage()
  for (let i = 0; i < runs; i++) run(i)
  const { user, system } = process.cpuUsage(before)
  process.stdout.write(`${((user + system) / 1000 / runs).toFixed(2).padStart(9)} ms  ${title}  (${bytes} bytes)\n`)
}
