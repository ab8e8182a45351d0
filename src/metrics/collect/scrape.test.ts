/** Scraping of real servers, well-behaved and otherwise. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type RecordingAppender, recordingAppender } from '../../../test/support/recording.ts'
import { silentLog } from '../../base/log.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import { labelsOf } from '../labels.ts'
import { Scraper, withTarget } from './scrape.ts'
import { parseScrapeJobs, type ScrapeJob } from './scrape-config.ts'

type Answer = (request: http.IncomingMessage, response: http.ServerResponse) => void

let dir: string
let appender: RecordingAppender
let scraper: Scraper
let server: http.Server
let answer: Answer

const text =
  (body: string, type = 'text/plain; version=0.0.4'): Answer =>
  (_, response) =>
    response.setHeader('content-type', type).end(body)

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'scrape-'))
  appender = recordingAppender()
  const scheduler = systemScheduler((error) => {
    throw error
  })
  scraper = new Scraper({ appender, scheduler, log: silentLog })
  server = http.createServer((request, response) => answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  await scraper.stop()
  server.closeAllConnections()
  server.close()
  rmSync(dir, { recursive: true })
})

const address = () => `127.0.0.1:${(server.address() as AddressInfo).port}`

/** A job as configuration gives it, but faster than configuration allows. */
function job(more: object = {}, fast: Partial<ScrapeJob> = {}): ScrapeJob {
  const [parsed] = parseScrapeJobs([{ name: 'shop', urls: [`http://${address()}/metrics`], ...more }])
  return { ...parsed!, intervalMs: 50, timeoutMs: 1500, ...fast }
}

const seen = (pattern: RegExp) => appender.lines.filter((line) => pattern.test(line))
const until = (pattern: RegExp) => vi.waitUntil(() => seen(pattern)[0], { timeout: 5000, interval: 5 })
const status = () => scraper.status()[0]!

describe('a good target', () => {
  test('gives its samples, and is up', async () => {
    answer = text('# TYPE hits counter\nhits{path="/a"} 3\nhits{path="/b"} 4 1767225600000\n')
    await scraper.configure([job({ labels: { env: 'prod' } })])
    await until(/^scrape up\{/)
    const target = `env="prod",instance="${address()}",job="shop"`
    expect(appender.lines[0]).toMatch(`scrape hits{${target},path="/a"} 3 @`)
    expect(appender.lines[1]).toBe(`scrape hits{${target},path="/b"} 4 @1767225600000`)
    expect(seen(/^scrape up/)[0]).toMatch(`up{${target}} 1 @`)
    expect(seen(/samples_scraped/)[0]).toMatch(/ 2 @/)
    expect(seen(/duration_seconds/)[0]).toMatch(/ 0\.\d+ @/)
    expect(status()).toMatchObject({ job: 'shop', health: 'up', samples: 2, error: null })
  })

  test('may speak OpenMetrics, in gzip', async () => {
    answer = (request, response) => {
      expect(request.headers.accept).toMatch(/openmetrics/)
      response.setHeader('content-type', 'application/openmetrics-text; version=1.0.0; charset=utf-8')
      response.setHeader('content-encoding', 'gzip').end(gzipSync('a_total 1 1767225600.5\n# EOF\n'))
    }
    await scraper.configure([job()])
    expect(await until(/ a_total/)).toMatch(/ 1 @1767225600500$/)
  })

  test('may lose the right to its own times', async () => {
    answer = text('a 1 1767225600000\n')
    await scraper.configure([job({ honor_timestamps: false })])
    expect(await until(/ a\{/)).not.toMatch(/@1767225600000/)
  })

  test('is asked with its token or password', async () => {
    writeFileSync(join(dir, 'token'), 'from-file\n')
    const asked = new Set<string | undefined>()
    answer = (request, response) => {
      asked.add(request.headers.authorization)
      text('a 1\n')(request, response)
    }
    await scraper.configure([
      job({ bearer_token: 'secret' }),
      job({ name: 'b', bearer_token_file: join(dir, 'token') }),
      job({ name: 'c', basic_auth: { username: 'u', password: 'p' } }),
    ])
    await vi.waitUntil(() => asked.size === 3, { timeout: 5000 })
    expect([...asked].sort()).toEqual(['Basic dTpw', 'Bearer from-file', 'Bearer secret'])
    expect(JSON.stringify(scraper.status())).not.toMatch(/secret|from-file/)
  })
})

describe('series end with a stale marker', () => {
  test('when they vanish from the answer; those with times of their own do not', async () => {
    answer = text('a 1\nb 2\nc 3 1767225600000\n')
    await scraper.configure([job()])
    await until(/ b\{.* 2 @/)
    answer = text('a 1\n')
    await until(/ b\{.*stale/)
    await vi.waitUntil(() => seen(/^scrape up/).length > 4, { timeout: 5000 })
    expect(seen(/ b\{.*stale/)).toHaveLength(1)
    expect(seen(/(a|c)\{.*stale/)).toEqual([])
  })

  test('when the target fails, and come back with it', async () => {
    answer = text('a 1\n')
    await scraper.configure([job()])
    await until(/ a\{/)
    answer = text('a 1\nnew 1\nbroken line\n')
    await until(/up\{.* 0 @/)
    expect(await until(/ a\{.*stale/)).toBeDefined()
    expect(status()).toMatchObject({
      health: 'down',
      samples: 0,
      error: expect.stringMatching(/^line 3: expected a number/),
    })
    expect(seen(/ new\{/)).toEqual([]) // neither a value nor an end: none of it was stored
    answer = text('a 5\n')
    await until(/ a\{.* 5 @/)
    expect(status().health).toBe('up')
  })

  test('when the target goes away', async () => {
    answer = text('a 1\n')
    await scraper.configure([job()])
    await until(/^scrape up/)
    await scraper.configure([])
    expect(seen(/stale/).map((line) => /^scrape (\w+)/.exec(line)![1])).toEqual(
      expect.arrayContaining(['a', 'up', 'scrape_duration_seconds', 'scrape_samples_scraped']),
    )
    expect(scraper.status()).toEqual([])
    const before = appender.lines.length
    await new Promise((resolve) => setTimeout(resolve, 120))
    expect(appender.lines).toHaveLength(before)
  })

  test('but not when the platform stops', async () => {
    answer = text('a 1\n')
    await scraper.configure([job()])
    await until(/^scrape up/)
    await scraper.stop()
    expect(seen(/stale/)).toEqual([])
  })
})

describe('a bad target is down, and says why', () => {
  const cases: [string, Answer, RegExp][] = [
    ['no answer', () => {}, /no whole answer within/],
    ['an answer that never ends', (_, response) => void response.write('a 1\n'), /no whole answer within/],
    [
      'half an answer',
      (_, r) => void r.writeHead(200, { 'content-length': 99 }).write('a 1\n', () => r.destroy()),
      /cut off|aborted|hang up/,
    ],
    ['garbage', (_, response) => void response.end(Buffer.from([0xff, 0xfe, 0, 1, 2])), /not UTF-8/],
    ['HTML', text('<html>\n'), /expected a/],
    ['an error', (_, response) => void response.writeHead(500).end('a 1\n'), /status 500/],
    ['a way elsewhere', (_, response) => void response.writeHead(302, { location: '/b' }).end(), /status 302/],
    [
      'another encoding',
      (_, response) => void response.writeHead(200, { 'content-encoding': 'zstd' }).end('a 1\n'),
      /encoding/,
    ],
    [
      'broken gzip',
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('a 1\n'),
      /incorrect header/,
    ],
    ['too many samples', text('a 1\n'.repeat(200)), /more than 100 samples/],
    ['OpenMetrics without an end', text('a 1\n', 'application/openmetrics-text'), /# EOF/],
  ]
  test.each(cases)('%s', async (_, how, why) => {
    answer = how
    await scraper.configure([job({ sample_limit: 100 }, { timeoutMs: 200 })])
    await until(/up\{.* 0 @/)
    expect(status().error).toMatch(why)
    expect(seen(/ a\{/)).toEqual([])
  })

  test('a hundred megabytes, plain or packed, are not read to the end', async () => {
    let sent = 0
    const chunk = Buffer.alloc(1 << 20, 'a 1\n')
    answer = (_, response) => {
      const more = (): void => {
        while (sent < 100 && !response.destroyed) {
          sent++
          if (!response.write(chunk)) return void response.once('drain', more)
        }
        response.end()
      }
      more()
    }
    await scraper.configure([job({ size_limit: 4 << 20 }, { timeoutMs: 5000 })])
    await until(/up\{.* 0 @/)
    expect(status().error).toMatch(/more than 4194304 bytes/)
    expect(sent).toBeLessThan(60)
    const bomb = gzipSync(Buffer.alloc(100 << 20))
    answer = (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
    const before = seen(/up\{/).length
    await vi.waitUntil(() => seen(/up\{/).length > before + 1, { timeout: 20_000 })
    expect(status().error).toMatch(/more than 4194304 bytes/)
  })

  test('nobody at home', async () => {
    await scraper.configure([{ ...job(), urls: ['http://127.0.0.1:1/metrics'] }])
    await until(/up\{.* 0 @/)
    expect(status().error).toMatch(/ECONNREFUSED/)
  })

  test('one that hangs delays no other', async () => {
    answer = (request, response) => {
      if (request.url === '/metrics') text('a 1\n')(request, response)
    }
    const hanging = job({ name: 'slow', urls: [`http://${address()}/hang`] }, { timeoutMs: 60_000 })
    await scraper.configure([hanging, job()])
    await vi.waitUntil(() => seen(/ a\{/).length > 3, { timeout: 5000 })
    expect(scraper.status().map((target) => target.health)).toEqual(['unknown', 'up'])
  })
})

test('lists of targets are read from files, and a half-written one loses none', async () => {
  const file = join(dir, 'list.json')
  answer = (request, response) => text(`path{is="${request.url}"} 1\n`)(request, response)
  const found = { ...job(), urls: [], files: [join(dir, '*.json')] }
  writeFileSync(
    file,
    JSON.stringify([{ targets: [address()], labels: { env: 'x', __metrics_path__: '/own', __hidden: 'y' } }]),
  )
  await scraper.configure([found])
  expect(await until(/ path\{/)).toMatch(`path{env="x",instance="${address()}",is="/own",job="shop"} 1`)
  writeFileSync(file, '[{"targets": ["')
  await scraper.configure([found])
  expect(scraper.status()).toHaveLength(1)
  writeFileSync(join(dir, 'other.json'), '[{"targets": ["a:1", "b:2"]}]')
  await scraper.configure([found])
  expect(scraper.status()).toHaveLength(3)
  writeFileSync(file, '[]')
  await scraper.configure([found])
  expect(scraper.status().map((target) => target.url)).toEqual(['http://a:1/metrics', 'http://b:2/metrics'])
  expect(seen(/ path\{.*stale/)).toHaveLength(1)
})

const openssl = (() => {
  try {
    return execFileSync('openssl', ['version']).length > 0
  } catch {
    return false
  }
})()

test.skipIf(!openssl)('TLS: a certificate has to be trusted, or explicitly not', async () => {
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const make = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=localhost',
  ]
  execFileSync('openssl', [...make, '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  })
  const { readFileSync } = await import('node:fs')
  const secure = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, r) => void r.end('a 1\n'))
  await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve))
  const urls = [`https://127.0.0.1:${(secure.address() as AddressInfo).port}/metrics`]
  try {
    const fast = { timeoutMs: 1000 }
    await scraper.configure([
      job({ name: 'plain', urls }, fast),
      job({ name: 'ca', urls, tls: { ca_file: cert, server_name: 'localhost' } }, fast),
      job({ name: 'blind', urls, tls: { insecure_skip_verify: true } }, fast),
    ])
    await vi.waitUntil(() => scraper.status().every((target) => target.health !== 'unknown'), { timeout: 5000 })
    const health = Object.fromEntries(scraper.status().map((target) => [target.job, target.health]))
    expect(health).toEqual({ plain: 'down', ca: 'up', blind: 'up' })
  } finally {
    secure.closeAllConnections()
    secure.close()
  }
})

describe('labels of a target', () => {
  const target = { job: 'shop', instance: 'a:1' }
  test.each([
    [{ x: '1' }, false, { instance: 'a:1', job: 'shop', x: '1' }],
    [{ job: 'own' }, false, { exported_job: 'own', instance: 'a:1', job: 'shop' }],
    [{ job: 'own' }, true, { instance: 'a:1', job: 'own' }],
    [
      { job: 'own', exported_job: 'x' },
      false,
      { exported_exported_job: 'own', exported_job: 'x', instance: 'a:1', job: 'shop' },
    ],
    [{ toString: 'x' }, false, { instance: 'a:1', job: 'shop', toString: 'x' }],
  ])('%j, honoured: %s', (own, honored, expected) => {
    expect(withTarget(labelsOf('m', own as never), target, honored)).toEqual(labelsOf('m', expected as never))
  })
})

describe('configuration says what is wrong', () => {
  const good = { name: 'a', urls: ['http://a:1/metrics'] }
  test.each([
    ['x', 'a list of targets'],
    [[1], '[0]: an object'],
    [[{ urls: [] }], '[0].name: a text'],
    [[{ name: 'a' }], '[0].urls: at least one address, or files'],
    [[{ ...good, urls: ['a:1'] }], '[0].urls[0]: an address with http or https'],
    [[{ ...good, urls: ['http://u:p@a:1'] }], '[0].urls[0]: no password in it; use basic_auth'],
    [[{ ...good, interval: 0 }], '[0].interval: a number from 1 to 3600'],
    [[{ ...good, interval: 5, timeout: 6 }], '[0].timeout: a number from 0.1 to 5'],
    [[{ ...good, labels: { 'a-b': 'x' } }], '[0].labels.a-b: a name of letters, digits and _'],
    [[{ ...good, basic_auth: {} }], '[0].basic_auth.username: a text'],
    [[{ ...good, tls: { ca: 'x' } }], '[0].tls.ca: no such setting'],
    [[{ ...good, intervall: 5 }], '[0].intervall: no such setting'],
    [[good, good], 'every name once; "a" stands twice'],
  ])('%j', (raw, message) => expect(() => parseScrapeJobs(raw)).toThrow(message))
  test('none is fine', () => expect(parseScrapeJobs(null)).toEqual([]))
})
