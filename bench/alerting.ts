/**
 * Evaluations of watches per second of CPU, over the cost of ingest: `node bench/alerting.ts [seconds]`.
 *
 * 10,000 series get one sample a second through the real store (WAL, fsync, head); 5,000 threshold rules watch them. The
 * same samples go through a store without a watcher first, and what that costs is taken off. Runs: how many watches a
 * sample meets (1 or 50), and how many of the samples breach (none, one in a thousand, one in twenty).
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Rule } from '../src/alerting/rule.ts'
import { complete } from '../src/alerting/rules/rules.ts'
import { Watcher } from '../src/alerting/watcher.ts'
import type { FromWatcher, ToWatcher } from '../src/alerting/wire.ts'
import { systemClock } from '../src/base/clock.ts'
import { silentLog } from '../src/base/log.ts'
import { seededRandom } from '../src/base/random.ts'
import { systemScheduler } from '../src/base/scheduler.ts'
import { ColumnBuilder } from '../src/metrics/columns.ts'
import { encodeLabels, labelsOf } from '../src/metrics/labels.ts'
import type { SeriesView } from '../src/metrics/metrics.ts'
import { Store, storeDefaults } from '../src/metrics/store/store.ts'

const SERIES = 10_000
const RULES = 5_000
const rounds = Number(process.argv[2] ?? 60)

function run(rules: readonly Rule[], metrics: number, breaching: number) {
  const dir = mkdtempSync(join(tmpdir(), 'om-bench-alerting-'))
  const random = seededRandom(1)
  let hear: (message: ToWatcher) => void = () => {}
  let changes = 0
  const queue: (() => void)[] = []
  const scheduler = systemScheduler((error) => {
    throw error
  })
  const watcher = (series: SeriesView) =>
    new Watcher({
      start: { position: -1, rules, watches: [], enabled: true },
      series,
      scheduler,
      log: silentLog,
      port: {
        postMessage(message: FromWatcher) {
          if (message.kind !== 'group') return
          else {
            changes += message.changes.length
            queue.push(() => hear({ kind: 'done', seq: message.seq }))
          }
        },
        on: (_, listener) => {
          hear = listener
        },
      },
    })
  const watchers: Watcher[] = []
  const store = new Store({ ...storeDefaults, dir }, systemClock, silentLog, (series) => {
    if (rules.length === 0) return []
    watchers.push(watcher(series))
    return watchers
  })
  const bytes = Array.from({ length: SERIES }, (_, i) =>
    encodeLabels(labelsOf(`metric_${i % metrics}`, { host: `h${Math.floor(i / metrics)}`, job: 'bench' })),
  )
  const batches = Array.from({ length: rounds + 5 }, (_, round) => {
    const builder = new ColumnBuilder()
    for (let i = 0; i < SERIES; i++) {
      const value = random.next() < breaching ? 95 : random.next() * 80
      builder.seriesBytes(bytes[i]!).sample(Date.now() - 300_000 + round * 1000, value)
    }
    return builder.finish()
  })
  const push = (round: number) => {
    store.append(batches[round]!, { source: 'bench' })
    store.commit()
    for (const done of queue.splice(0)) done()
  }
  for (let i = 0; i < 5; i++) push(i)
  const before = process.cpuUsage()
  const changesBefore = changes
  for (let i = 5; i < rounds + 5; i++) push(i)
  const used = process.cpuUsage(before)
  for (const one of watchers) void one.close()
  rmSync(dir, { recursive: true, force: true })
  return { seconds: (used.user + used.system) / 1e6, changes: changes - changesBefore }
}

const rulesOf = (metrics: number, perSample: number) =>
  Array.from({ length: RULES }, (_, i) => {
    // One watch a sample: each rule has two hosts of its own; fifty: every series of its metric.
    const hosts = perSample > 1 ? [] : [`h${2 * Math.floor(i / metrics)}`, `h${2 * Math.floor(i / metrics) + 1}`]
    return complete(
      {
        id: `rule_${i}`,
        name: `Rule ${i}`,
        description: '',
        severity: 'warning',
        metricName: `metric_${i % metrics}`,
        labels: [
          { name: 'job', equals: 'bench' },
          ...(hosts.length > 0 ? [{ name: 'host', regex: hosts.join('|') }] : []),
        ],
        condition: 'gt',
        threshold: 90,
        cooldownMs: 0,
      },
      0,
    )
  })

process.stdout.write(`${SERIES} series, ${RULES} rules, ${rounds} rounds; CPU seconds of this process\n`)
for (const breaching of [0, 0.001, 0.05]) {
  for (const [metrics, perSample] of [
    [1000, 1],
    [100, 50],
  ] as const) {
    const rules = rulesOf(metrics, perSample)
    const alone = run([], metrics, breaching).seconds
    const { seconds, changes } = run(rules, metrics, breaching)
    const evaluations = rounds * SERIES * perSample
    const cost = seconds - alone
    const rate = cost < 0.02 ? 'too little to measure' : `${(evaluations / cost / 1e6).toFixed(2)} M a CPU-second`
    process.stdout.write(
      `${String(breaching * 100).padStart(4)} % in breach, ${String(perSample).padStart(2)} a sample: ` +
        `ingest ${alone.toFixed(2)} s, with alerting ${seconds.toFixed(2)} s, ${evaluations / 1e6} M evaluations, ` +
        `${changes} changes: ${rate} over ingest\n`,
    )
  }
}
