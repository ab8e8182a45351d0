import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { need } from '../../test/support/need.ts'
import { fakeScheduler, systemScheduler } from '../base/scheduler.ts'
import { eachLine, openLogs } from './front-logs.ts'
import { createLog, performanceLine } from './log.ts'
import { openLogFile } from './log-files.ts'

const root = fs.mkdtempSync(join(tmpdir(), 'logs-'))
afterAll(() => fs.rmSync(root, { recursive: true, force: true }))
const scheduler = systemScheduler((error) => {
  throw error
})
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
async function until(what: () => boolean) {
  for (let i = 0; i < 3000 && !what(); i++) await sleep(10)
  expect(what()).toBe(true)
}

function file(change: Partial<Parameters<typeof openLogFile>[0]> = {}) {
  const folder = fs.mkdtempSync(join(root, 'f-'))
  const troubles: string[] = []
  const log = openLogFile({
    folder,
    name: 'app.log',
    bytesMax: 1e9,
    ageMaxMs: 1e12,
    kept: 3,
    scheduler,
    onTrouble: (what) => void troubles.push(what),
    ...change,
  })
  const text = (name = 'app.log') => {
    const path = join(change.folder ?? folder, name)
    return fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : ''
  }
  return { folder, log, text, troubles }
}

describe('a log file', () => {
  test('has every line in order, and goes on where a former run ended', async () => {
    const { folder, log, text } = file()
    for (let i = 0; i < 1_000; i++) log.write(`${i}\n`)
    await until(() => text().endsWith('\n999\n'))
    expect(text().trim().split('\n')).toEqual(Array.from({ length: 1_000 }, (_, i) => String(i)))
    log.close()
    const again = file({ folder })
    again.log.write('next\n')
    again.log.close()
    expect(text()).toMatch(/999\nnext\n$/)
  })

  test('is put aside when it is full; the oldest go', async () => {
    const { folder, log, text } = file({ bytesMax: 100, kept: 2 })
    for (let i = 0; i < 5; i++) {
      log.write(`${`${i}`.repeat(120)}\n`)
      await until(() => text().startsWith(`${i}`))
    }
    log.close()
    expect(fs.readdirSync(folder).sort()).toEqual(['app.log', 'app.log.1', 'app.log.2'])
    expect([text()[0], text('app.log.1')[0], text('app.log.2')[0]]).toEqual(['4', '3', '2'])
  })

  test('is put aside when it is old', async () => {
    const { log, text } = file({ ageMaxMs: 20 })
    log.write('old\n')
    await until(() => text() === 'old\n')
    await sleep(40)
    log.write('new\n')
    await until(() => text() === 'new\n')
    expect(text('app.log.1')).toBe('old\n')
    log.close()
  })

  test('is made again when somebody moved it away', async () => {
    const { folder, log, text } = file()
    log.write('one\n')
    await until(() => text() === 'one\n')
    fs.renameSync(join(folder, 'app.log'), join(folder, 'moved'))
    log.write('two\n')
    await until(() => text() === 'two\n')
    expect(text('moved')).toBe('one\n')
    log.close()
  })

  test('that cannot be written loses lines, says how many, and works again when it can', {
    timeout: 40_000,
  }, async () => {
    const folder = join(fs.mkdtempSync(join(root, 'b-')), 'logs')
    fs.writeFileSync(folder, 'a file where the folder should be')
    const { log, text, troubles } = file({ folder })
    const line = `${'x'.repeat(1023)}\n`
    for (let i = 0; i < 5_000; i++) log.write(line)
    await until(() => troubles.length === 1)
    expect(troubles[0]).toContain('app.log')
    expect(log.dropped).toBe(5_000 - 4_096)
    fs.rmSync(folder)
    await until(() => text().length > 0 && text().endsWith('"lost":904}\n'))
    expect(
      text()
        .split('\n')
        .filter((l) => l.startsWith('xxx')),
    ).toHaveLength(4_096)
    expect(troubles).toHaveLength(1)
    log.close()
  })

  const canMount = need('root')
  test.skipIf(canMount === null)('survives a full disk', { timeout: 40_000 }, async ({ skip }) => {
    const folder = fs.mkdtempSync(join(root, 'disk-'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'ignore' })
    } catch {
      skip('mounting is not allowed here')
    }
    try {
      const { log, text, troubles } = file({ folder })
      fs.writeFileSync(join(folder, 'filler'), Buffer.alloc(50_000))
      for (let i = 0; i < 40; i++) log.write(`${i}:${'x'.repeat(1_000)}\n`)
      await until(() => troubles.length === 1)
      expect(troubles[0]).toContain('ENOSPC')
      fs.rmSync(join(folder, 'filler'))
      await until(() => text().includes('39:'))
      const numbers = text()
        .trim()
        .split('\n')
        .map((line) => Number(line.split(':')[0]))
      expect(numbers).toEqual(Array.from({ length: 40 }, (_, i) => i))
      log.close()
    } finally {
      execFileSync('umount', [folder])
    }
  })
})

describe('lines of a child', () => {
  async function linesOf(chunks: readonly (string | Buffer)[]): Promise<string[]> {
    const stream = new PassThrough()
    const lines: string[] = []
    eachLine(stream, (line) => void lines.push(line))
    for (const chunk of chunks) stream.write(chunk)
    stream.end()
    await sleep(5)
    return lines
  }

  test('come whole however they arrive', async () => {
    const umlaut = Buffer.from('grün\n')
    expect(await linesOf(['a\nb', 'c\n', umlaut.subarray(0, 3), umlaut.subarray(3), 'last'])).toEqual([
      'a',
      'bc',
      'grün',
      'last',
    ])
  })

  test('are cut when they are too long, and the next one is whole', async () => {
    const [cut, next] = await linesOf([...Array.from({ length: 100 }, () => 'x'.repeat(10_000)), '\nnext\n'])
    expect(cut!.length).toBeLessThan(40_000)
    expect(cut).toMatch(/… cut$/)
    expect(next).toBe('next')
  })
})

describe('all lines of the platform', () => {
  const settings = { level: 'info', console: 'off', fileBytesMax: 1e9, fileAgeMaxMs: 1e12, filesKept: 1 } as const

  test('JSON of a child stands as it is; anything else becomes an entry; a crash is one entry', async () => {
    const folder = fs.mkdtempSync(join(root, 'l-'))
    const logs = openLogs(folder, settings, scheduler)
    const stdout = new PassThrough()
    const stderr = new PassThrough()
    logs.adopt('control', stdout, stderr)
    const own = '{"time":"2026-01-01T00:00:00.000Z","level":"warn","process":"control","message":"own","n":1}'
    stdout.write(`${own}\nplain words\n{"half": \n{"level":"loud","message":"unknown level"}\n`)
    stderr.write('Error: broken\n    at file.js:1\n')
    logs.log.debug('not wanted')
    logs.configure({ ...settings, level: 'debug' })
    logs.log.debug('wanted')
    await sleep(150)
    await logs.close()
    const all = fs.readFileSync(join(folder, 'app.log'), 'utf8').trim().split('\n')
    expect(all).toContain(own)
    const entries = all.map((line) => JSON.parse(line))
    const of = (message: string) => entries.find((entry) => entry.message === message)
    expect(of('plain words')).toMatchObject({ level: 'info', process: 'control' })
    expect(of('{"half": ')).toMatchObject({ level: 'info' })
    expect(of('wanted')).toMatchObject({ level: 'debug', process: 'front' })
    expect(of('not wanted')).toBeUndefined()
    const errors = fs.readFileSync(join(folder, 'error.log'), 'utf8').trim().split('\n')
    expect(errors).toHaveLength(1)
    expect(JSON.parse(errors[0]!)).toMatchObject({ message: 'Error: broken\n    at file.js:1', level: 'error' })
  })
})

test('a log writes whatever it is given', () => {
  const lines: string[] = []
  const log = createLog({ process: 'p', level: 'info', clock: scheduler.clock, write: (line) => void lines.push(line) })
  const circle: Record<string, unknown> = {}
  circle.self = circle
  log.with({ a: 1 }).error('went wrong', { error: new Error('why', { cause: new TypeError('deep') }), big: 10n })
  log.info('circle', { circle })
  log.debug('quiet')
  log.setLevel('error')
  log.info('quiet too')
  const [first, second, ...none] = lines.map((line) => JSON.parse(line))
  expect(first).toMatchObject({
    level: 'error',
    process: 'p',
    a: 1,
    big: '10',
    error: { message: 'why', cause: { message: 'deep' } },
  })
  expect(first.error.stack).toContain('log-files.test')
  expect(second).toMatchObject({ message: 'circle', level: 'info' })
  expect(none).toEqual([])
})

test('once a minute a process says how it fares', async () => {
  const lines: string[] = []
  const fake = fakeScheduler()
  const log = createLog({ process: 'p', level: 'info', clock: fake.clock, write: (line) => void lines.push(line) })
  const line = performanceLine(log, fake, () => ({ connections: 3 }))
  await fake.run(59_000)
  expect(lines).toEqual([])
  await fake.run(61_000)
  line.cancel()
  await fake.run(600_000)
  expect(lines).toHaveLength(2)
  const entry = JSON.parse(lines[0]!)
  expect(entry).toMatchObject({ level: 'info', message: 'performance', tag: 'performance', connections: 3 })
  expect(entry.rss_mb).toBeGreaterThan(10)
  for (const name of ['cpu_percent', 'event_loop_percent', 'heap_used_mb', 'uptime_s']) {
    expect(entry[name]).toBeGreaterThanOrEqual(0)
  }
})
