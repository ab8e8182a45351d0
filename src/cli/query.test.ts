/** `query` as it is typed: against a server with the real store, against a folder of a stopped one, and over scripts. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startMetricsServer } from '../../test/support/metrics-server.ts'
import { systemClock } from '../base/clock.ts'
import { silentLog } from '../base/log.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { ColumnBuilder, labelsOf, startMetrics } from '../metrics/index.ts'
import { queryCommands } from './query.ts'

const MINUTE = 60_000
const now = Math.floor(Date.now() / MINUTE) * MINUTE
const iso = (at: number) => new Date(at).toISOString()

let dir: string
let said: string
let noted: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'query-'))
  said = ''
  noted = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    said += text
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    noted += text
    return true
  })
})
afterEach(() => {
  vi.restoreAllMocks()
  process.exitCode = undefined
  rmSync(dir, { recursive: true })
})

async function query(...args: string[]): Promise<string> {
  said = ''
  noted = ''
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} })
  queryCommands(program)
  for (const command of program.commands) command.exitOverride().configureOutput({ writeErr: () => {} })
  await program.parseAsync(['query', ...args], { from: 'user' })
  return said
}

test('a running platform answers as table, CSV and JSON', async () => {
  const server = await startMetricsServer()
  try {
    const lines = [0, 1, 2].map((k) => `room_c{room="a,b"} ${k + 0.5} ${now - (2 - k) * MINUTE}`)
    await server.call('POST', '/api/v1/import?format=prometheus', `${lines.join('\n')}\n`)
    const ask = (...args: string[]) => query(...args, '--url', server.url, '--token', 'token-viewer')

    expect(await ask('room_c', '--time', iso(now))).toBe('VALUE  SERIES\n2.5    room_c{room="a,b"}\n')
    expect(await ask('nothing_c')).toBe('Nothing matches.\n')
    const range = ['--start', iso(now - 2 * MINUTE), '--end', iso(now), '--step', '1m30s']
    expect(await ask('room_c', ...range)).toBe(
      `room_c{room="a,b"}\n  ${iso(now - 2 * MINUTE)}  0.5\n  ${iso(now - MINUTE / 2)}  1.5\n`,
    )
    expect(await ask('room_c', '--time', String(now / 1000), '--format', 'csv')).toBe(
      `time,value,__name__,room\n${iso(now)},2.5,room_c,"a,b"\n`,
    )
    expect(JSON.parse(await ask('time()', '--time', String(now / 1000), '--format', 'json'))).toEqual({
      status: 'success',
      data: { resultType: 'scalar', result: [now / 1000, String(now / 1000)] },
    })
    await ask('quantile(2, room_c)')
    expect(noted).toContain('quantile value should be between 0 and 1')
    await expect(ask('sum(')).rejects.toThrow('unclosed left parenthesis')
  } finally {
    await server.stop()
  }
})

test('the folder of a stopped platform answers, and stays as it is', async () => {
  const at = (file: string) => new URL(`../app/${file}.ts`, import.meta.url)
  const metrics = await startMetrics({
    dir: join(dir, 'metrics'),
    config: {
      retentionBytes: 0,
      rollup5mDays: 90,
      rollup1hDays: 730,
      retentionDays: 15,
      seriesMax: 1000,
      labelsMax: 64,
      labelNameBytesMax: 256,
      labelValueBytesMax: 4096,
    },
    clock: systemClock,
    log: silentLog,
    telemetry: createTelemetry(),
    workers: { pipeline: at('pipeline-worker'), compaction: at('compaction-worker') },
    onFailure(error) {
      throw error
    },
  })
  const batch = new ColumnBuilder()
  for (const room of ['a', 'b']) {
    batch.series(labelsOf('room_c', { room }))
    for (let k = 0; k < 10; k++) batch.sample(now - (9 - k) * MINUTE, k)
  }
  await metrics.append(batch.finish(), { source: 'api' })
  await metrics.stop()

  const files = () =>
    readdirSync(dir, { recursive: true, encoding: 'utf8' })
      .sort()
      .map((name) => [name, statSync(join(dir, name)).size, statSync(join(dir, name)).mtimeMs])
  const before = files()
  const answer = await query('sum(rate(room_c[5m])) * 60', '--time', iso(now), '--data-dir', dir)
  expect(answer).toBe('VALUE  SERIES\n2      {}\n')
  expect(files()).toEqual(before)

  await expect(query('sum(', '--data-dir', dir)).rejects.toThrow('unclosed left parenthesis')
  await expect(query('1', '--data-dir', join(dir, 'metrics'))).rejects.toThrow('is no data directory')
  expect(existsSync(join(dir, 'owner'))).toBe(false)
})

test.each([
  [['1', '--step', 'soon'], /--step/],
  [['1', '--start', 'yesterday'], /--start/],
  [['1', '--end', 'now'], /need --start/],
  [['1', '--start', '-1h', '--time', 'now'], /one moment/],
  [['1', '--start', '-1h', '--end', '-2h'], /before --start/],
])('%j is refused before anything is asked', async (args, message) => {
  await expect(query(...args, '--url', 'http://127.0.0.1:1', '--token', 'x')).rejects.toThrow(message)
})

test('scripts pass or fail, by the exit code', async () => {
  const good = join(dir, 'good.test')
  const bad = join(dir, 'bad.test')
  const load = 'load 1m\n  m{a="x"} 1+1x5\n\n'
  writeFileSync(good, `${load}eval instant at 3m m\n  m{a="x"} 4\n`)
  writeFileSync(bad, `${load}eval instant at 3m m\n  m{a="x"} 5\n`)
  expect(await query('test', good)).toBe(`ok     ${good}: 1 passed, 0 failed (rules of Prometheus 2)\n`)
  expect(process.exitCode).toBeUndefined()
  expect(await query('test', '--quiet', good, bad)).toContain(`${bad}:4: m\n`)
  expect(process.exitCode).toBe(1)
})
