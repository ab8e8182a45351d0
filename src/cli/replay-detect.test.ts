import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
  put('bad.csv', 'timestamp,value\n2020-01-01 00:00:00,many\n')
  await expect(replay()).rejects.toThrow(/bad\.csv:2: "many" is not a number/)
  for (const stamp of ['row 5', '2014-13-40', '2014-04-10 lunch', '']) {
    put('bad.csv', `timestamp,value\n${stamp},1\n`)
    await expect(replay()).rejects.toThrow(/bad\.csv:2: .* is not a time/)
  }
  expect(readdirSync(join(dir, 'out'))).toEqual([])
  put('bad.csv', '')
  await expect(replay()).rejects.toThrow(/bad\.csv: the first row must name/)
  put('bad.csv', 'when,what\n1,2\n')
  await expect(replay()).rejects.toThrow(/bad\.csv: the first row must name the columns timestamp and value/)
  await expect(replay('--stream', 'nonsense')).rejects.toThrow(/Allowed choices are alerts, score/)
  rmSync(join(dir, 'in', 'bad.csv'))
  await expect(replay()).rejects.toThrow(/no CSV files/)
})

test('quoted cells, a byte order mark, offsets and numbers of any writing are read', async () => {
  put('q.csv', '\ufeff"label","Timestamp","value"\r\n"a, b","2020-01-01 00:00:00+02","1.5e0"\r\n,2020-01-02,.5\r\n')
  put('n.csv', 'timestamp,value\n1.5e9,1\n-5,\n1500000060.5,null\n')
  await replay()
  expect(rows('q.csv').slice(1)).toEqual(['2020-01-01 00:00:00+02,1.5e0,0', '2020-01-02,.5,0'])
  expect(rows('n.csv').slice(1)).toEqual(['1.5e9,1,0', '-5,,0', '1500000060.5,null,0'])
})

test('an onset is at the row that raised it, not at an empty one of the same time, wherever batches end', async () => {
  const lines = Array.from({ length: 25_000 }, (_, i) => `${1_400_000_000 + i * 60},${10 + ((i * 7) % 13)}`)
  lines[19_999] = `${1_400_000_000 + 20_000 * 60},`
  lines[20_000] = `${1_400_000_000 + 20_000 * 60},900`
  put('x.csv', `timestamp,value\n${lines.join('\n')}\n`)
  await replay()
  const hits = rows('x.csv')
    .slice(1)
    .flatMap((line, i) => (line.endsWith(',0') ? [] : [i]))
  expect(hits).toEqual([20_000])
})

test('the files that are read are never written over, and what was written is not read', async () => {
  const text = wave((at) => `${at}`)
  put('x.csv', text)
  await expect(replay('--out', join(dir, 'in'))).rejects.toThrow(/--out must be another folder/)
  await replay('--out', join(dir, 'in', 'out'))
  await replay('--out', join(dir, 'in', 'out'))
  expect(said).toMatch(/1 files, 1000 rows[\s\S]*1 files, 1000 rows/)
  expect(readFileSync(join(dir, 'in', 'x.csv'), 'utf8')).toBe(text)
})
