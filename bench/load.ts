/**
 * Runs the load harness against the platform and, for the ratio in the same run, against Prometheus and
 * VictoriaMetrics where they are installed.
 *   node bench/load.ts ingest [--workload w2] [--runs 3] [--peers prometheus,victoria-metrics] [more of the harness]
 *   node bench/load.ts crash | query | idle
 * LOAD_HARNESS names the folder of the harness; `../shared/judges/load` unless told otherwise.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const harness = resolve(process.env.LOAD_HARNESS ?? '../shared/judges/load')
const args = process.argv.slice(2)
const scenario = args.shift() ?? 'ingest'
const at = args.indexOf('--peers')
const peers = at < 0 ? [] : args.splice(at, 2)[1]!.split(',')

if (!existsSync(join(harness, 'bench.mjs'))) {
  process.stderr.write(`No load harness in ${harness}; set LOAD_HARNESS to its folder.\n`)
  process.exit(2)
}
for (const target of ['opinion-market', ...peers]) {
  process.stdout.write(`== ${target}\n`)
  const file = join(harness, 'targets', `${target}.json`)
  const work = mkdtempSync(join(tmpdir(), 'om-load-'))
  const command = [join(harness, 'bench.mjs'), scenario, '--target', file, '--work', work, ...args]
  const { status } = spawnSync('taskset', ['-c', '1', process.execPath, ...command], { stdio: 'inherit' })
  if (status !== 0) process.exit(status ?? 1)
}
