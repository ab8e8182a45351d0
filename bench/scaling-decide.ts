/**
 * What each part of the plan brings, how much each constant matters, and whether any of it was fitted to the traces it
 * was looked at with: the live `decide` in simulation, over a folder of request rates (`t,rps`) or made-up ones.
 *
 *   node bench/scaling-decide.ts [--dir ../shared/judges/scaling/traces15s] [--start-up 60] [--days 3] [--count 2]
 *                                [--what parts|constants|synthetic|plain] [--seed 1] [--keep FILE]
 *
 * An instance has 4 workers of 40 ms and a limit of 100 ms, which `decide` is not told. The last `--count` of the last
 * `--days` days are counted. x optimum is cost over the clairvoyant optimum, geometric mean over traces. `constants`
 * halves and doubles each constant, and then leaves one trace out at a time: the setting that is best on the others is
 * used on the one left out; what stands in the file of `--keep` is not run again, so that it may be done in pieces.
 * `synthetic` needs no files: flash crowds, days, steps, noise, a cold start.
 */
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Random, seededRandom } from '../src/base/random.ts'
import { DAY } from '../src/base/time.ts'
import { settingsFrom } from '../src/scaling/plain.ts'
import { CAPACITY, responseAt } from '../src/scaling/planner/capacity.ts'
import { TUNING } from '../src/scaling/planner/forecast.ts'
import { PLANNER } from '../src/scaling/planner/planner.ts'
import { WEIGH } from '../src/scaling/planner/weigh.ts'
import { PROOF } from '../src/scaling/proof.ts'
import { type HistoryRow, simulate, type Totals } from '../src/scaling/simulate.ts'

const { values: args } = parseArgs({
  options: {
    dir: { type: 'string', default: '../shared/judges/scaling/traces15s' },
    'start-up': { type: 'string', default: '60' },
    days: { type: 'string', default: '3' },
    count: { type: 'string', default: '2' },
    what: { type: 'string', default: 'plain' },
    seed: { type: 'string', default: '1' },
    keep: { type: 'string' },
  },
})

const FIT = { serviceMs: 40, workers: 4, factor: 1 }
const LIMIT_MS = 100
const SERVICE = { rate: 100, fit: FIT, limitMs: LIMIT_MS, knee: kneeOfFit() }
const STEP_MS = 15_000

function kneeOfFit(): number {
  let knee = 0.5
  while (responseAt(FIT, knee + 0.001) <= LIMIT_MS) knee += 0.001
  return knee
}

interface Trace {
  readonly name: string
  readonly rows: readonly HistoryRow[]
}

interface Change {
  readonly name: string
  readonly apply: () => void
}

// biome-ignore format: a table
const PARTS: readonly Change[] = [
  { name: 'all parts', apply: () => {} },
  { name: 'forecast: without daily, hourly shape', apply: () => { TUNING.useProfile = false } },
  { name: 'forecast: without a learnt scale of misses', apply: () => { TUNING.learnScale = false } },
  { name: 'forecast: logarithm without offset', apply: () => { TUNING.offset = 0.02 } },
  { name: 'plan: without holding a surplus', apply: () => { PLANNER.holdInstanceMs = 0 } },
  { name: 'plan: starts are not weighed with their hold', apply: () => { WEIGH.heldAfterStartMs = 0 } },
  { name: 'plan: a backlog is not looked at', apply: () => { WEIGH.drainSteps = 1e9 } },
  { name: 'knee: never fitted', apply: () => { CAPACITY.fitAfter = Infinity } },
  { name: 'proof over 5 min', apply: () => { PROOF.windowMinMs = 300_000 } },
  { name: 'plan: starting again costs its time only', apply: () => { WEIGH.againMs = 0 } },
  { name: 'forecast: never weighed against "as now"', apply: () => { TUNING.stack = false } },
  { name: 'no forecast: "as now" always', apply: () => { PLANNER.earnedAfter = Infinity } },
]

const CONSTANTS: readonly (readonly [string, Record<string, unknown>, string])[] = [
  ['offset', TUNING, 'offset'],
  ['weightsHalfLife', TUNING, 'weightsHalfLifeMs'],
  ['missesHalfLife', TUNING, 'missesHalfLifeMs'],
  ['scaleHalfLife', TUNING, 'scaleHalfLifeMs'],
  ['localHalfLife', TUNING, 'localHalfLifeMs'],
  ['huber', TUNING, 'huber'],
  ['holdInstance', PLANNER, 'holdInstanceMs'],
  ['giveBack', PLANNER, 'giveBack'],
  ['heldAfterStart', WEIGH, 'heldAfterStartMs'],
  ['again', WEIGH, 'againMs'],
  ['overloadFollows', WEIGH, 'overloadFollows'],
  ['worthHalfLife', TUNING, 'worthHalfLifeMs'],
  ['rateMemory', CAPACITY, 'rateMemory'],
]

function main(): void {
  const traces = args.what === 'synthetic' ? synthetic(Number(args.seed)) : files(args.dir)
  const startUpS = Number(args['start-up'])
  print(`${traces.length} traces, start-up ${startUpS} s, the last ${args.count} of ${args.days} days counted`)
  print(`| | x optimum | ${traces.map((t) => t.name).join(' | ')} | over limit % | flaps |`)
  print(`|---|---|${'---|'.repeat(traces.length)}---|---|`)
  if (args.what === 'parts')
    for (const change of PARTS)
      row(
        change.name,
        changed(change.apply, () => runAll(traces, startUpS)),
      )
  else if (args.what === 'constants') constants(traces, startUpS)
  else {
    const results = runAll(traces, startUpS)
    row('plan', results)
    row(
      'HPA 70 %',
      results.map((r) => ({ ...r, totals: r.hpa })),
    )
  }
}

interface Result {
  readonly totals: Totals
  readonly hpa: Totals
  readonly optimum: number
  readonly minutes: number
}

function runAll(traces: readonly Trace[], startUpS: number): Result[] {
  const settings = settingsFrom({
    step_s: STEP_MS / 1000,
    startup_delay_s: startUpS,
    slo_ms: LIMIT_MS,
    min_instances: 2,
  })
  return traces.map(({ rows }) => {
    const countFrom = rows.at(-1)!.at - Number(args.count) * DAY
    const r = simulate(rows, settings, { service: SERVICE, countFrom })
    return { totals: r.policy, hpa: r.hpa, optimum: r.optimum.cost, minutes: (r.until - r.since) / 60_000 }
  })
}

const ratio = (r: Result) => r.totals.cost / r.optimum
const geometric = (values: readonly number[]) => Math.exp(values.reduce((s, v) => s + Math.log(v), 0) / values.length)
const mean = (values: readonly number[]) => values.reduce((s, v) => s + v, 0) / values.length

function row(name: string, results: readonly Result[]): void {
  const over = mean(results.map((r) => (100 * r.totals.minutesOverLimit) / r.minutes))
  const flaps = mean(results.map((r) => r.totals.flaps))
  const each = results.map((r) => ratio(r).toFixed(2)).join(' | ')
  print(
    `| ${name} | ${geometric(results.map(ratio)).toFixed(3)} | ${each} | ${over.toFixed(2)} | ${flaps.toFixed(0)} |`,
  )
}

/** Runs with constants changed, and puts them back. */
function changed<T>(apply: () => void, work: () => T): T {
  const all: Record<string, unknown>[] = [TUNING, PLANNER, WEIGH, CAPACITY, PROOF]
  const before = all.map((o) => ({ ...o }))
  apply()
  try {
    return work()
  } finally {
    all.forEach((o, i) => {
      Object.assign(o, before[i])
    })
  }
}

/** The results of a setting, from the file of `--keep` where they stand there. */
function kept(name: string, work: () => Result[]): Result[] {
  if (args.keep === undefined) return work()
  const key = `${name} ${args['start-up']} ${args.days} ${args.count}`
  const lines = existsSync(args.keep) ? readFileSync(args.keep, 'utf8').trim().split('\n') : []
  const found = lines
    .map((line) => JSON.parse(line) as { key: string; results: Result[] })
    .find((one) => one.key === key)
  if (found) return found.results
  const results = work()
  appendFileSync(args.keep, `${JSON.stringify({ key, results })}\n`)
  return results
}

function constants(traces: readonly Trace[], startUpS: number): void {
  const plain = kept('as it is', () => runAll(traces, startUpS))
  row('as it is', plain)
  const all: { name: string; ratios: number[] }[] = [{ name: 'as it is', ratios: plain.map(ratio) }]
  for (const [name, owner, key] of CONSTANTS) {
    for (const factor of [0.5, 2]) {
      const apply = () => {
        owner[key] = (owner[key] as number) * factor
      }
      const results = kept(`${name} × ${factor}`, () => changed(apply, () => runAll(traces, startUpS)))
      row(`${name} × ${factor}`, results)
      all.push({ name: `${name} × ${factor}`, ratios: results.map(ratio) })
    }
  }
  // Leave one out: who chooses on the others, and what that choice does where it was not looked at.
  const left = traces.map((_, k) => {
    const others = (r: { ratios: number[] }) => geometric(r.ratios.filter((_, i) => i !== k))
    return all.reduce((best, r) => (others(r) < others(best) ? r : best))
  })
  const chosen = left.map((r, k) => r.ratios[k]!)
  print(`\nleave one out: ${traces.map((t, k) => `${t.name} ${chosen[k]!.toFixed(2)} (${left[k]!.name})`).join(', ')}`)
  print(`geometric mean ${geometric(chosen).toFixed(3)}, as it is ${geometric(plain.map(ratio)).toFixed(3)}`)
}

function files(dir: string): Trace[] {
  return readdirSync(dir)
    .filter((f) => f.endsWith('.csv'))
    .sort()
    .map((f) => {
      const lines = readFileSync(join(dir, f), 'utf8').trim().split('\n').slice(1)
      const rows = lines.map((line): HistoryRow => {
        const [t, rps] = line.split(',').map(Number)
        return blank(t! * 1000 + STEP_MS, rps!)
      })
      return { name: f.replace('.csv', ''), rows: rows.slice(-Math.round((Number(args.days) * DAY) / STEP_MS)) }
    })
}

const blank = (at: number, demand: number): HistoryRow => ({ at, demand, cpu: null, responseMs: null, ready: null })

/** Demand of five kinds, each of `--days` days; the cold start has no day before it counts. */
function synthetic(seed: number): Trace[] {
  const steps = Math.round((Number(args.days) * DAY) / STEP_MS)
  const make = (name: string, k: number, rate: (i: number, hour: number, r: Random) => number): Trace => {
    const random = seededRandom(seed * 100 + k)
    return {
      name,
      rows: Array.from({ length: steps }, (_, i) => {
        const mean = Math.max(0, rate(i, (i * STEP_MS) / 3_600_000, random))
        // Arrivals of a step are Poisson around their rate; at these counts a normal one.
        const seconds = STEP_MS / 1000
        return blank((i + 1) * STEP_MS, Math.max(0, mean + gauss(random) * Math.sqrt(mean / seconds)))
      }),
    }
  }
  const day = (hour: number) => 600 + 400 * Math.sin(((hour - 9) / 24) * 2 * Math.PI)
  let crowd = 0
  let level = 500
  let drift = 0
  return [
    make('day', 1, (_, hour) => day(hour) * (hour % 24 >= 9 && hour % 24 < 9.5 ? 1.5 : 1)),
    make('flash crowds', 2, (_, hour, r) => {
      if (r.next() < 1 / 2000) crowd = 500 + 1500 * r.next()
      crowd *= 0.985
      return 0.5 * day(hour) + crowd
    }),
    make('steps', 3, (_, __, r) => {
      if (r.next() < 1 / 480) level = 200 + 1200 * r.next()
      return level
    }),
    make('noise', 4, (_, hour, r) => day(hour) * Math.exp(0.25 * gauss(r))),
    make('drift', 5, (_, __, r) => {
      drift = 0.9995 * drift + 0.01 * gauss(r)
      return 700 * Math.exp(drift)
    }),
  ]
}

function gauss(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

main()
