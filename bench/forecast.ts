/**
 * What each part of the forecaster brings: rolling origins over a folder of CSV files (`timestamp,value`, five-minute
 * steps), with parts taken away one at a time, and the CPU time of a fit with its forecasts.
 *
 *   node bench/forecast.ts [--dir ../shared/judges/forecast/series5m] [--origins 24] [--history 4032] [--only NAME]
 *
 * relNaive: error against the last value's, geometric mean over horizons and series. MASE and pinball are in units of
 * the history's mean absolute step. Origins lie evenly in the newest week, or in the newest 40 % if that is less.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stepSeries } from '../src/analytics/forecasters/index.ts'
import { fitModel, predict, TUNING, type Tuning } from '../src/analytics/forecasters/model.ts'

const STEP_MS = 300_000
const HORIZONS = [15, 30, 60, 120]
const VARIANTS: readonly (readonly [string, Partial<Tuning>])[] = [
  ['all parts', {}],
  ['without the link (values as they are)', { link: false }],
  ['without harmonics of the day', { design: { ...TUNING.design, harmonics: 0 } }],
  ['with 3 harmonics instead of 8', { design: { ...TUNING.design, harmonics: 3 } }],
  ['without hourly and two-hourly profiles', { design: { ...TUNING.design, periods: [] } }],
  ['without a period found in the series', { found: false }],
  ['without the pull towards the last value', { shrink: false }],
  ['without the local scale of intervals', { localScale: false }],
  ['levels of intervals not moved outwards', { overlap: 0 }],
  ['every row of two weeks alike', { sparseStride: 1 }],
  ['half the old rows', { sparseStride: 8 }],
  ['least squares instead of least absolute deviations', { foot: 1e9 }],
  ['four times the passes', { passes: 12, roughPasses: 0, warm: { passes: 12, roughPasses: 0 } }],
]

const { values: args } = parseArgs({
  options: {
    dir: { type: 'string', default: '../shared/judges/forecast/series5m' },
    origins: { type: 'string', default: '24' },
    history: { type: 'string', default: '4032' },
    only: { type: 'string' },
  },
})

function main(): void {
  const files = readdirSync(args.dir).filter((f) => f.endsWith('.csv'))
  const all = files.map((f) => read(join(args.dir, f)))
  print(`${files.length} series, ${args.origins} origins, ${args.history} steps of history`)
  print('| part | relNaive | MASE | pinball | cover 80/95 | ms CPU |\n|---|---|---|---|---|---|')
  for (const [name, change] of VARIANTS) {
    if (args.only && !name.includes(args.only)) continue
    const r = evaluate(all, { ...TUNING, ...change })
    const f = (v: number) => v.toFixed(3)
    print(`| ${name} | ${f(r.rel)} | ${f(r.mase)} | ${f(r.pinball)} | ${f(r.c80)} / ${f(r.c95)} | ${r.ms.toFixed(1)} |`)
  }
}

type Points = readonly (readonly [number, number])[]

function read(file: string): Points {
  return readFileSync(file, 'utf8')
    .trim()
    .split(/\r?\n/)
    .slice(1)
    .map((line) => line.split(','))
    .map(([t, v]) => [/^\d+$/.test(t!) ? Number(t) * 1000 : Date.parse(`${t!.replace(' ', 'T')}Z`), Number(v)] as const)
}

function evaluate(all: readonly Points[], tuning: Tuning) {
  const count = Number(args.origins)
  const sum = { rel: 0, mase: 0, pinball: 0, c80: 0, c95: 0 }
  let fits = 0
  const cpu = process.cpuUsage()
  for (const points of all) {
    const region = Math.min(2016, Math.floor(points.length * 0.4))
    const first = points.length - region - 1
    const last = points.length - 25
    const errors = HORIZONS.map(() => 0)
    const naive = HORIZONS.map(() => 0)
    const one = { pinball: 0, c80: 0, c95: 0 }
    for (let k = 0; k < count; k++) {
      const origin = Math.round(first + (k * (last - first)) / Math.max(1, count - 1))
      const past = points.slice(Math.max(0, origin + 1 - Number(args.history)), origin + 1)
      let unit = 0
      for (let i = 1; i < past.length; i++) unit += Math.abs(past[i]![1] - past[i - 1]![1]) / (past.length - 1)
      const series = stepSeries(
        past.map(([t]) => t),
        past.map(([, v]) => v),
        STEP_MS,
      )!
      const forecasts = predict(fitModel(series, { horizons: HORIZONS }, tuning), series)
      fits++
      forecasts.forEach((f, h) => {
        const y = points[origin + f.horizon / 5]![1]
        errors[h] = errors[h]! + Math.abs(y - f.mean) / unit / count
        naive[h] = naive[h]! + Math.abs(y - past.at(-1)![1]) / unit / count
        const loss = (q: number, level: number) => (y >= q ? level * (y - q) : (1 - level) * (q - y))
        const five =
          loss(f.lower95, 0.025) +
          loss(f.lower80, 0.1) +
          loss(f.mean, 0.5) +
          loss(f.upper80, 0.9) +
          loss(f.upper95, 0.975)
        one.pinball += (2 * five) / 5 / unit / count / HORIZONS.length
        one.c80 += Number(y >= f.lower80 && y <= f.upper80) / count / HORIZONS.length
        one.c95 += Number(y >= f.lower95 && y <= f.upper95) / count / HORIZONS.length
      })
    }
    for (let h = 0; h < HORIZONS.length; h++) {
      sum.mase += errors[h]! / HORIZONS.length / all.length
      sum.rel += Math.log(Math.max(1e-3, errors[h]! / Math.max(1e-12, naive[h]!))) / HORIZONS.length / all.length
    }
    sum.pinball += one.pinball / all.length
    sum.c80 += one.c80 / all.length
    sum.c95 += one.c95 / all.length
  }
  const used = process.cpuUsage(cpu)
  return { ...sum, rel: Math.exp(sum.rel), ms: (used.user + used.system) / 1000 / fits }
}

const print = (text: string) => process.stdout.write(`${text}\n`)

main()
