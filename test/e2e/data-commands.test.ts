/** `import`, `export`, `series top`, `backup`, `restore` as an operator types them, against the running platform. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ADMIN_TOKEN, eventually, type Platform, sleep, startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN ?? resolve(import.meta.dirname, '../../dist/main.js')
const minute = Math.floor(Date.now() / 60_000) * 60_000
let dir: string
let platform: Platform
const others: Platform[] = []

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'om-data-'))
  platform = await startPlatform({ main })
})
afterAll(async () => {
  for (const one of [platform, ...others]) await one.remove()
  rmSync(dir, { recursive: true })
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Runs the command line beside `of`; `started` sees the process. */
function om(
  args: readonly string[],
  of: { dir: string; port: number },
  started = (_: ChildProcess) => {},
): Promise<Ended> {
  const env = {
    PATH: process.env.PATH,
    PORT: String(of.port),
    DATA_DIR: join(of.dir, 'data'),
    LOG_DIR: join(of.dir, 'logs'),
  }
  const child = spawn(process.execPath, [main, ...args], { cwd: dir, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    err += chunk
  })
  started(child)
  return new Promise((done) => child.on('close', (code) => done({ code, out, err })))
}

async function count(of: Platform, selector: string): Promise<number> {
  const query = encodeURIComponent(`sum(count_over_time(${selector}[14d]))`)
  const { json } = await of.request('GET', `/api/v1/query?query=${query}`)
  return Number(json.data.result[0]?.value[1] ?? 0)
}

describe('import and export', () => {
  test('a CSV file, interrupted, goes on where it was and loses and doubles nothing', async () => {
    const file = join(dir, 'history.csv.gz')
    const lines = ['timestamp,value,host']
    for (let i = 0; i < 120_000; i++) lines.push(`${minute - i * 1000},${i / 7},h${i % 3}`)
    writeFileSync(file, gzipSync(lines.join('\n')))
    const args = ['import', file, '--metric', 'imported']
    const killed = await om(args, platform, async (child) => {
      while (child.exitCode === null && !existsSync(`${file}.progress`)) await sleep(1)
      child.kill('SIGKILL')
    })
    const before = await count(platform, 'imported')
    const again = await om(args, platform)
    expect(again).toMatchObject({ code: 0, err: expect.stringMatching(/^120000 samples stored/) })
    expect(await count(platform, 'imported')).toBe(120_000)
    expect(killed.code === null ? before : 120_000).toBeGreaterThan(0)
    expect(existsSync(`${file}.progress`)).toBe(false)
  })

  test('what is exported and imported elsewhere is exported the same', async () => {
    const file = join(dir, 'odd.om')
    const odd = [
      `{"odd.name","label.x"="quo\\"te, \\\\ and \\n{}"} 0.1 ${minute / 1000 - 1}`,
      `{"odd.name",plain="ü"} -1.7976931348623157e308 ${minute / 1000 - 1}`,
      `odd_special{k="inf"} +Inf ${minute / 1000 - 0.001}`,
      `odd_special{k="nan"} NaN ${minute / 1000}`,
      `odd_special{k="small"} 5e-324 ${minute / 1000}`,
    ]
    writeFileSync(file, `${odd.join('\n')}\n# EOF\n`)
    expect(await om(['import', file], platform)).toMatchObject({ code: 0, err: expect.stringMatching(/^5 samples/) })
    const other = await startPlatform({ main })
    others.push(other)
    for (const ending of ['om', 'csv']) {
      const [first, second] = [join(dir, `first.${ending}`), join(dir, `second.${ending}`)]
      const choice = ['--match', '{__name__=~"odd.*"}', '--since', new Date(minute - 60_000).toISOString()]
      expect(await om(['export', first, ...choice], platform)).toMatchObject({ code: 0 })
      expect(await om(['import', first], other)).toMatchObject({ code: 0 })
      expect(await om(['export', second, ...choice], other)).toMatchObject({ code: 0 })
      expect(readFileSync(second, 'utf8')).toBe(readFileSync(first, 'utf8'))
      expect(readFileSync(first, 'utf8').match(/odd/g)!.length).toBeGreaterThanOrEqual(5)
    }
  })

  test('an export that was killed goes on after its last whole series, and never in another file', async () => {
    const whole = join(dir, 'whole.csv')
    const [since, until] = [minute - 120_000_000, minute]
    const choice = ['--match', 'imported', '--since', new Date(since).toISOString()]
    choice.push('--until', new Date(until).toISOString())
    expect(await om(['export', whole, ...choice], platform)).toMatchObject({ code: 0 })
    const text = readFileSync(whole, 'utf8')
    const second = text.lastIndexOf('\n', text.indexOf('h1')) + 1
    const place = {
      ...{ asked: JSON.stringify(['csv', ['imported'], since, until]), since, until, name: 'imported' },
      ...{ series: 'imported{host="h0"}', bytes: second, samples: 40_000 },
    }
    const file = join(dir, 'resumed.csv')
    writeFileSync(file, `${text.slice(0, second)}2026-01-01T00:0`)
    writeFileSync(`${file}.progress`, JSON.stringify(place))
    const resumed = await om(['export', file, ...choice], platform)
    expect(resumed).toMatchObject({ code: 0, err: expect.stringMatching(/^120000 samples of 1 metrics/) })
    expect(readFileSync(file, 'utf8')).toBe(text)
    writeFileSync(file, 'timestamp,value,labels\n')
    writeFileSync(`${file}.progress`, JSON.stringify(place))
    expect((await om(['export', file, ...choice], platform)).err).toMatch(/--from-start writes over it/)
    expect(readFileSync(file, 'utf8')).toBe('timestamp,value,labels\n')
  })

  test('an export writes over no file that is whole, unless it is told to', async () => {
    const file = join(dir, 'precious.csv')
    writeFileSync(file, 'precious\n')
    const choice = ['--match', 'imported', '--since', new Date(minute - 60_000).toISOString()]
    const refused = await om(['export', file, ...choice], platform)
    expect(refused).toMatchObject({ code: 1, err: `${file} is there already; --from-start writes over it\n` })
    expect(readFileSync(file, 'utf8')).toBe('precious\n')
    expect(existsSync(`${file}.progress`)).toBe(false)
    expect(await om(['export', file, ...choice, '--from-start'], platform)).toMatchObject({ code: 0 })
    expect(readFileSync(file, 'utf8')).toMatch(/^timestamp,value,labels\n/)
    // An empty one (mktemp) has nothing to lose.
    const empty = join(dir, 'empty.csv')
    writeFileSync(empty, '')
    expect(await om(['export', empty, ...choice], platform)).toMatchObject({ code: 0 })
  })

  test('say what is wrong, and where', async () => {
    const file = join(dir, 'bad.csv')
    writeFileSync(file, `${minute},1,a\n${minute},2,b\nsoon,3,c\n`)
    expect(await om(['import', file], platform)).toMatchObject({ code: 1, err: 'line 3: "soon" is not a time.\n' })
    expect((await om(['import', join(dir, 'nobody.csv')], platform)).err).toMatch(/ENOENT/)
    const nowhere = { dir: join(dir, 'nowhere'), port: 1 }
    expect((await om(['export', join(dir, 'x.csv')], nowhere)).err).toMatch(/^a token is needed: --token or OM_TOKEN/)
    const wrong = await om(['export', join(dir, 'x.csv'), '--token', 'om_wrong'], platform)
    expect(wrong).toMatchObject({ code: 1, err: expect.stringMatching(/token is not valid/) })
  })

  test('tokens made for a command are gone after it', async () => {
    const { json } = await platform.request('GET', '/api/v1/tokens')
    const made = (json.data.tokens ?? json.data).filter((t: { name: string }) => /^(import|export) /.test(t.name))
    expect(made.length).toBeGreaterThan(3)
    // That of the killed import could not be taken back; it ends by itself.
    expect(made.filter((t: { revoked_at: string | null }) => t.revoked_at === null).length).toBeLessThanOrEqual(1)
    // As long as the command ran, and some minutes.
    const lives = made.map(
      (t: { created_at: string; expires_at: string }) => Date.parse(t.expires_at) - Date.parse(t.created_at),
    )
    expect(Math.max(...lives)).toBeLessThan(3_600_000)
    expect(Math.min(...lives)).toBeGreaterThan(0)
  })
})

test('series top', async () => {
  const { code, out } = await om(['series', 'top', '--limit', '1000', '--token', ADMIN_TOKEN], platform)
  expect(code).toBe(0)
  expect(out).toMatch(/^\d+ series\n/)
  expect(out).toMatch(/\n3 +[\d.]+ % +imported\n/)
  expect(out).toMatch(/\n\d+ +3 +host\n/)
  const asJson = await om(['series', 'top', '--json'], platform)
  expect(JSON.parse(asJson.out).names).toHaveLength(10)
})

describe('backup and restore', () => {
  test('a backup taken under load holds everything that was answered before it began', async () => {
    const stored: number[] = []
    let over = false
    const pushing = (async () => {
      for (let i = 0; !over; i++) {
        const point = { metric_name: 'pushed', value: i, timestamp: new Date(minute - 3_000_000 + i).toISOString() }
        const { status } = await platform.request('POST', '/api/v1/advanced-analytics/add-data-point', point)
        if (status === 200) stored.push(i)
      }
    })()
    await eventually(
      async () => stored.length,
      (n) => n > 10,
    )
    const target = join(dir, 'backup')
    const before = stored.length
    const made = await om(['backup', target], platform)
    over = true
    await pushing
    expect(made).toMatchObject({ code: 0, err: expect.stringMatching(/^\d+ files, .* bytes in /) })

    const empty = { dir: join(dir, 'restored'), port: 1 }
    expect(await om(['restore', target], empty)).toMatchObject({ code: 0, err: expect.stringMatching(/is in place/) })
    const other = await startPlatform({ main, dir: empty.dir })
    others.push(other)
    expect(await count(other, 'imported')).toBe(120_000)
    expect(await count(other, 'pushed')).toBeGreaterThanOrEqual(before)
    // The tokens came along: the request above was made with one.
  })

  test('a restore takes nobody’s place unasked', async () => {
    const target = join(dir, 'backup')
    expect((await om(['restore', target, '--force'], platform)).err).toMatch(/is in use by process \d+/)
    const full = { dir: join(dir, 'full'), port: 1 }
    expect((await om(['restore', target], full)).code).toBe(0)
    writeFileSync(join(full.dir, 'data', 'mine.txt'), 'kept')
    expect((await om(['restore', target], full)).err).toMatch(/holds data .* --force moves them aside/)
    const forced = await om(['restore', target, '--force'], full)
    expect(forced.code).toBe(0)
    const aside = /What was there is in (.*)\.\n/.exec(forced.err)![1]!
    expect(readFileSync(join(aside, 'mine.txt'), 'utf8')).toBe('kept')
  })

  test('what is no backup, or not a whole one, is refused', async () => {
    const target = join(dir, 'backup')
    expect((await om(['backup', target], platform)).err).toMatch(/is not empty/)
    expect((await om(['backup', join(platform.dir, 'data', 'x')], platform)).err).toMatch(/outside of the data/)
    expect((await om(['restore', dir], platform)).err).toMatch(/is not a backup/)
    rmSync(join(target, 'ops.db'))
    expect((await om(['restore', target], { dir: join(dir, 'r2'), port: 1 })).err).toMatch(
      /ops\.db is missing or not whole/,
    )
    writeFileSync(join(target, 'backup.unfinished'), '')
    expect((await om(['restore', target], { dir: join(dir, 'r2'), port: 1 })).err).toMatch(/unfinished backup/)
    // The unfinished one may be gone on with.
    expect((await om(['backup', target], platform)).code).toBe(0)
    expect((await om(['restore', target], { dir: join(dir, 'r2'), port: 1 })).code).toBe(0)
  })
})
