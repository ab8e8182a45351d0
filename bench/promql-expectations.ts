/**
 * Writes what Prometheus answers under the `eval` lines of a test script that have nothing under them yet, so that
 * expectations come from Prometheus and not from the engine under test.
 *   node bench/promql-expectations.ts FILE [--port 18610] [--all]      --all: also under those that have something
 * Needs `prometheus` in PATH. Follow it with a look at each line.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { writeStale } from '../src/metrics/columns.ts'
import type { Labels } from '../src/metrics/labels.ts'
import { labelsOf } from '../src/metrics/labels.ts'
import { formatSeries } from '../src/metrics/query/labelset.ts'
import type { EvalCommand, ScriptSeries } from '../src/metrics/query/script.ts'
import { parseScript } from '../src/metrics/query/script.ts'
import { remoteWrite } from './promql-wire.ts'

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string', default: '18610' }, all: { type: 'boolean', default: false } },
})
const file = positionals[0]!
const base = `http://127.0.0.1:${options.port}`

interface Running {
  readonly process: ChildProcess
  readonly dir: string
}

async function start(): Promise<Running> {
  const dir = mkdtempSync(join(tmpdir(), 'om-expect-'))
  writeFileSync(join(dir, 'prometheus.yml'), 'global: {evaluation_interval: 1m}\n')
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(dir, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=127.0.0.1:${options.port}`,
      '--storage.tsdb.retention.time=100y',
      '--web.enable-remote-write-receiver',
      '--log.level=error',
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  )
  for (let i = 0; i < 100; i++) {
    try {
      if ((await fetch(`${base}/-/ready`)).ok) break
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return { process: child, dir }
}

async function stop({ process: child, dir }: Running): Promise<void> {
  child.kill('SIGTERM')
  await new Promise((resolve) => child.once('exit', resolve))
  rmSync(dir, { recursive: true, force: true })
}

async function load(series: readonly ScriptSeries[], step: number): Promise<void> {
  const sent = series.map(({ labels, values }) => {
    const times: number[] = []
    const column = new Float64Array(values.length)
    values.forEach((value, i) => {
      if (value === 'none' || value === 'histogram') return
      if (value === 'stale') writeStale(column, times.length)
      else column[times.length] = value
      times.push(i * step)
    })
    return { labels, times: Float64Array.from(times), values: column }
  })
  await remoteWrite(`${base}/api/v1/write`, sent)
}

interface Result {
  readonly metric: Record<string, string>
  readonly value?: [number, string]
  readonly values?: [number, string][]
}

async function expectations(command: EvalCommand): Promise<string[]> {
  const instant = command.step === 0
  const seconds = (ms: number) => String(ms / 1000)
  const parameters: Record<string, string> = instant
    ? { query: command.text, time: seconds(command.start) }
    : { query: command.text, start: seconds(command.start), end: seconds(command.end), step: seconds(command.step) }
  const answer = await fetch(`${base}/api/v1/${instant ? 'query' : 'query_range'}`, {
    method: 'POST',
    body: new URLSearchParams(parameters),
  })
  const json = (await answer.json()) as {
    status: string
    error?: string
    data?: { resultType: string; result: unknown }
  }
  if (json.status === 'error') return [`${command.fail ? 'expected_fail_message' : '#'} ${json.error}`]
  const { resultType, result } = json.data!
  if (resultType === 'scalar') return [(result as [number, string])[1]]
  if (resultType === 'string') return [`expect string ${JSON.stringify((result as [number, string])[1])}`]
  const lines = (result as Result[]).map(({ metric, value, values }) => {
    if (value) return `${nameOf(metric)} ${value[1]}`
    const at = new Map(values!.map(([time, text]) => [Math.round(time * 1000), text]))
    const row: string[] = []
    for (let t = command.start; t <= command.end; t += command.step) row.push(at.get(t) ?? '_')
    return `${nameOf(metric)} ${row.join(' ')}`
  })
  return command.ordered ? lines : lines.sort()
}

function nameOf(metric: Record<string, string>): string {
  const { __name__: name = null, ...rest } = metric
  const labels: Labels = labelsOf(name, rest)
  return labels.length === 0 ? '{}' : formatSeries(labels)
}

const text = readFileSync(file, 'utf8')
const lines = text.split('\n')
const commands = parseScript(text)
const filled = new Map<number, string[]>()
let running = await start()
try {
  for (const command of commands) {
    if (command.kind === 'clear') {
      await stop(running)
      running = await start()
    } else if (command.kind === 'load') await load(command.series, command.step)
    else {
      const next = lines[command.line]?.trim() ?? ''
      if (next !== '' && !options.all) continue
      filled.set(command.line, await expectations(command))
    }
  }
} finally {
  await stop(running)
}
const out: string[] = []
lines.forEach((line, i) => {
  out.push(line)
  for (const added of filled.get(i + 1) ?? []) out.push(`  ${added}`)
})
writeFileSync(file, out.join('\n'))
process.stdout.write(`${file}: ${filled.size} filled in\n`)
