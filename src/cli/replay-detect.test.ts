import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { replayDetectCommand } from './replay-detect.ts'

let dir: string
let said: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'replay-'))
  said = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    said += text
    return true
  })
})

afterEach(() => {
  vi.restoreAllMocks()
  rmSync(dir, { recursive: true })
})

async function replay(...args: string[]): Promise<void> {
  const program = new Command().exitOverride().configureOutput({ writeErr: () => {} })
  replayDetectCommand(program)
  await program.parseAsync(['replay', 'detect', '--in', join(dir, 'in'), '--out', join(dir, 'out'), ...args], {
    from: 'user',
  })
}

function put(name: string, text: string): void {
  mkdirSync(join(dir, 'in', name, '..'), { recursive: true })
  writeFileSync(join(dir, 'in', name), text)
}

const rows = (name: string) =>
  readFileSync(join(dir, 'out', name), 'utf8')
    .trimEnd()
    .split('\n')

/** A noise-free wave every five minutes with one spike; times as the argument writes them. */
function wave(stampOf: (at: number) => string): string {
  const start = Date.UTC(2014, 3, 10, 0, 4)
  const lines = Array.from({ length: 1000 }, (_, i) => {
    const value = i === 800 ? 500 : 10 + ((i * 7) % 13)
    return `${stampOf(start + i * 300_000)},${value},0`
  })
  return `timestamp,value,label\n${lines.join('\n')}\n`
}

test('a row for every row, in the same folders, the stamps as they stood; an onset where the spike is', async () => {
  const stamps = {
    plain: (at: number) => new Date(at).toISOString().slice(0, 19).replace('T', ' '),
    iso: (at: number) => new Date(at).toISOString(),
    seconds: (at: number) => `${at / 1000}`,
    millis: (at: number) => `${at}`,
  }
  for (const [name, stampOf] of Object.entries(stamps)) put(`a/${name}/x.csv`, wave(stampOf))
  await replay('--explain')
  for (const name of Object.keys(stamps)) {
    const out = rows(`a/${name}/x.csv`)
    expect(out).toHaveLength(1001)
    expect(out[0]).toBe('timestamp,value,anomaly_score')
    const given = readFileSync(join(dir, 'in', `a/${name}/x.csv`), 'utf8').split('\n')
    expect(out[1]!.split(',').slice(0, 2)).toEqual(given[1]!.split(',').slice(0, 2))
    const hits = out.slice(1).flatMap((line, i) => (Number(line.split(',')[2]) >= 0.5 ? [i] : []))
    expect(hits).toEqual([800])
  }
  expect(said).toMatch(/x\.csv {2}2014-04-12T18:44:00\.000Z {2}500 is above everything remembered/)
  expect(said).toMatch(/4 files, 4000 rows, 4 onsets/)
})

test('the score stream falls off after an anomaly instead of at once', async () => {
  put(
    'x.csv',
    wave((at) => `${at}`),
  )
  await replay('--stream', 'score')
  const scores = rows('x.csv')
    .slice(1)
    .map((line) => Number(line.split(',')[2]))
  expect(Math.max(...scores.slice(0, 800))).toBeLessThan(0.5)
  expect(scores[800]).toBeGreaterThanOrEqual(0.5)
  expect(scores[801]).toBeGreaterThan(0.5)
  expect(scores[801]).toBeLessThan(scores[800]!)
})

test('rows without a value, late and repeated rows get a score as well', async () => {
  put(
    'x.csv',
    'timestamp,value\n2020-01-01 00:00:00,1\n2020-01-01 00:05:00,\n2020-01-01 00:05:00,NaN\n2019-01-01 00:00:00,7\n',
  )
  await replay()
  expect(
    rows('x.csv')
      .slice(1)
      .map((line) => line.split(',')[2]),
  ).toEqual(['0', '0', '0', '0'])
})

test('what cannot be read is named with its place', async () => {
  put('bad.csv', 'timestamp,value\n2020-01-01 00:00:00,1\nyesterday,2\n')
  await expect(replay()).rejects.toThrow(/bad\.csv:3: "yesterday" is not a time/)
  put('bad.csv', 'when,what\n1,2\n')
  await expect(replay()).rejects.toThrow(/bad\.csv: the first row must name the columns timestamp and value/)
  await expect(replay('--stream', 'nonsense')).rejects.toThrow(/Allowed choices are alerts, score/)
  rmSync(join(dir, 'in', 'bad.csv'))
  await expect(replay()).rejects.toThrow(/no CSV files/)
})
