/**
 * What each part of the detector brings: every part taken out in turn, both judges asked again.
 *
 *   node bench/detect-ablation.ts [folder of the judges, ../shared/judges/detection]
 *
 * A part is taken out in a copy of the source, so the product carries no switches for it; a change of the source that a
 * row no longer fits stops the run.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Detector } from '../src/analytics/detectors/detector.ts'
import type { Onset } from '../src/analytics/detectors/onset.ts'

type Change = readonly [from: string, to: string]
const judges = resolve(process.argv[2] ?? '../shared/judges/detection')
const source = resolve(import.meta.dirname, '../src/analytics/detectors')
const work = mkdtempSync(join(tmpdir(), 'detect-'))

const LEVEL: Change = ['if (value > high + rounding || value < low - rounding) {', 'if (false) {']
const JUMP: Change = ['if (step > upLevel || -step > downLevel) {', 'if (false) {']
const DRIFT: Change = ['if (drift > driftHigh || drift < driftLow) {', 'if (false) {']
const SEASON: Change = ['if (slot >= 0 && seasons.residuals >= WARM) {', 'if (false) {']
const STUCK: Change = ['if (still && seen >= 2 * WARM && run < seen) {', 'if (false) {']

const parts: readonly (readonly [name: string, ...changes: Change[]])[] = [
  ['all parts'],
  ['without level', LEVEL],
  ['without jump', JUMP],
  ['without drift', DRIFT],
  ['without season', SEASON],
  ['without stuck', STUCK],
  ['no periods but day and week', ['if (slot % 24 === this.#hour) ', 'if (false) ']],
  ['level alone', JUMP, DRIFT, SEASON, STUCK],
  ['no second stage', ['64 * 1024 * 1024', '0']],
  ['no habits of the hour', ['const at = this.#base + ((this.#hour + beside) % 24)', 'continue']],
  ['no caution while young', ['const SETTLED_MS = 10 * DAY', 'const SETTLED_MS = 1']],
  ['young: standing still counts as seen', ['(!still || age >= YOUNG_MS)', 'true']],
  ['no margin', ['const MARGIN = 0.07', 'const MARGIN = 0']],
  ['extremes take in all at once', ['const GROW = 1\n', 'const GROW = Infinity\n']],
  ['extremes never fade', ['const LONG_MEMORY_MS = 200 * DAY', 'const LONG_MEMORY_MS = Infinity']],
  ['steps: no return level', ['const RETURN_MS = 30 * DAY', 'const RETURN_MS = 1']],
  ['steps: no memory of recent ones', ['const SHORT_MEMORY_MS = 4 * DAY', 'const SHORT_MEMORY_MS = 1']],
  ['steps back count too', ['step * away > 0.5 * step * step', 'true']],
  ['drift: spikes count in full', ['const DRIFT_CLIP = 6', 'const DRIFT_CLIP = 1e9']],
  [
    'creeping is taken in at once',
    ['const GROW_MS = 3 * HOUR', 'const GROW_MS = 1'],
    ['const CREEP_MS = DAY', 'const CREEP_MS = 1'],
  ],
  ['mean: nothing clipped', ['const MEAN_CLIP = 3', 'const MEAN_CLIP = Infinity']],
  ['score: no hold', ['const HOLD_MS = 4 * HOUR', 'const HOLD_MS = 1']],
  ['score: onsets alone', ['const SCORE_DEVIATIONS = 20', 'const SCORE_DEVIATIONS = Infinity']],
  ['score: distance alone', ['Math.min(HELD_MAX, ratio / this.#ratio)', '0']],
]

process.stdout.write(
  '| Part | NAB standard | FA/d | VUS-PR | cloud event F1 | FA/d | VUS-PR |\n|---|---|---|---|---|---|---|\n',
)
try {
  for (const [index, [name, ...changes]] of parts.entries()) {
    const made = await variant(index, changes)
    const nab = judge(made, 'nab-dev/data', ['--nab', join(judges, 'nab-dev')])
    const cloud = judge(made, 'cloud-monitoring-dev', [
      '--labelled',
      join(judges, 'cloud-monitoring-dev'),
      '--probation',
      '0.1',
    ])
    const cells = [
      nab.standard.toFixed(1),
      nab.alarms.toFixed(3),
      nab.vus.toFixed(3),
      cloud.f1.toFixed(3),
      cloud.alarms.toFixed(3),
      cloud.vus.toFixed(3),
    ]
    process.stdout.write(`| ${name} | ${cells.join(' | ')} |\n`)
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}

async function variant(index: number, changes: readonly Change[]): Promise<typeof Detector> {
  const dir = join(work, String(index))
  mkdirSync(dir)
  const files = new Map(
    ['detector.ts', 'seasons.ts', 'onset.ts'].map((name) => [name, readFileSync(join(source, name), 'utf8')]),
  )
  for (const [from, to] of changes) {
    const name = [...files.keys()].find((file) => files.get(file)!.includes(from))
    if (name === undefined) throw new Error(`the source has no longer: ${from}`)
    files.set(name, files.get(name)!.replace(from, to))
  }
  const base = pathToFileURL(resolve(source, '../../base')).href
  const forecasters = pathToFileURL(resolve(source, '../forecasters')).href
  for (const [name, text] of files)
    writeFileSync(
      join(dir, name),
      text.replaceAll("'../../base/", `'${base}/`).replaceAll("'../forecasters/", `'${forecasters}/`),
    )
  const module = (await import(pathToFileURL(join(dir, 'detector.ts')).href)) as { Detector: typeof Detector }
  return module.Detector
}

interface Verdict {
  readonly standard: number
  readonly f1: number
  readonly alarms: number
  readonly vus: number
}

function judge(Made: typeof Detector, data: string, options: readonly string[]): Verdict {
  const alerts = join(work, 'alerts')
  const scores = join(work, 'scores')
  for (const file of readdirSync(join(judges, data), { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.csv')) continue
    const rows = readFileSync(join(judges, data, file), 'utf8')
      .split(/\r?\n/)
      .slice(1)
      .filter((line) => line !== '')
    const cells = rows.map((line) => line.split(','))
    const times = Float64Array.from(cells, ([stamp]) => Date.parse(`${stamp!.replace(' ', 'T')}Z`))
    const count = rows.length
    const score = new Float64Array(count)
    const onsets: Onset[] = []
    const values = Float64Array.from(cells, ([, value]) => Number(value))
    new Made().apply({ count, series: new Uint32Array(count), times, values }, onsets, score)
    const alert = new Float64Array(count)
    for (const onset of onsets) alert[times.indexOf(onset.at)] = onset.score
    for (const [dir, column] of [
      [alerts, alert],
      [scores, score],
    ] as const) {
      mkdirSync(dirname(join(dir, file)), { recursive: true })
      const lines = cells.map(([stamp, value], i) => `${stamp},${value},${column[i]}`)
      writeFileSync(join(dir, file), `timestamp,value,anomaly_score\n${lines.join('\n')}\n`)
    }
  }
  const ask = (results: string, more: readonly string[]) => {
    const json = join(work, 'verdict.json')
    execFileSync(process.execPath, [
      join(judges, 'score.mjs'),
      ...options,
      '--results',
      results,
      '--json',
      json,
      ...more,
    ])
    return JSON.parse(readFileSync(json, 'utf8'))
  }
  const onAlerts = ask(alerts, ['--no-vus'])
  const onScores = ask(scores, [])
  for (const dir of [alerts, scores]) rmSync(dir, { recursive: true })
  return {
    standard: onAlerts.nab.standard.atFixed,
    f1: onAlerts.fixed.eventF1,
    alarms: onAlerts.fixed.falseAlarmsPerDay,
    vus: onScores.fixed.vusPR,
  }
}
