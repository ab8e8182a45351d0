/**
 * Operators and configuration on the running platform: the first log-in, tokens made and revoked from another process,
 * idempotency through kill -9, changes of configuration with their history, secrets that never show, and the command
 * line.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Answer, Platform } from '../support/platform.ts'
import { ADMIN_TOKEN, eventually, startPlatform } from '../support/platform.ts'

const main = process.env.OM_TEST_MAIN ?? resolve(import.meta.dirname, '../../dist/main.js')
const start = (options: Parameters<typeof startPlatform>[0] = {}) => startPlatform({ main, ...options })

let platform: Platform
beforeAll(async () => {
  platform = await start({ env: { SMTP_PASSWORD: 'MARKER-smtp-password' } })
})
afterAll(() => platform?.remove())

/** The command line, in the platform's folder. */
function cli(args: readonly string[], env: Record<string, string> = {}) {
  const { dir } = platform
  const run = spawnSync(process.execPath, [main, ...args], {
    cwd: dir,
    env: { PATH: process.env.PATH ?? '', DATA_DIR: join(dir, 'data'), LOG_DIR: join(dir, 'logs'), ...env },
    encoding: 'utf8',
  })
  return { code: run.status, out: run.stdout, err: run.stderr }
}
type Envelope = { data: unknown }
const withToken = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })
const statusWith = async (token: string) => (await fetch(`${platform.url}/api/v1/session`, withToken(token))).status
const data = (answer: Answer) => {
  expect(answer.status, answer.text).toBeLessThan(300)
  return answer.json.data
}

describe('the first start', () => {
  test('prints a link that logs in once; the cookie works for the page alone', async () => {
    const code = /\/login#code=([\w-]+)/.exec(platform.output())?.[1]
    expect(code).toBeDefined()
    expect(platform.output()).toContain('token create --role admin')
    const logIn = () =>
      fetch(`${platform.url}/api/v1/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ code }),
      })
    const first = await logIn()
    expect(first.status).toBe(200)
    const header = first.headers.get('set-cookie')!
    for (const part of [
      `om_session_${new URL(platform.url).port}=`,
      'HttpOnly',
      'SameSite=Strict',
      'Path=/',
      'Max-Age=604800',
    ]) {
      expect(header).toContain(part)
    }
    expect(header).not.toContain('Secure')
    expect((await logIn()).status).toBe(401)

    const cookie = header.split(';')[0]!
    const me = await fetch(`${platform.url}/api/v1/session`, { headers: { cookie } })
    expect(((await me.json()) as Envelope).data).toMatchObject({ name: 'admin', role: 'admin', via: 'session' })
    const write = (origin: Record<string, string>) =>
      fetch(`${platform.url}/api/v1/advanced-dashboard/dashboard/ws-ticket`, {
        method: 'POST',
        headers: { cookie, ...origin },
      })
    expect((await write({})).status).toBe(403)
    expect((await write({ origin: 'http://evil.example' })).status).toBe(403)
    expect((await write({ origin: platform.url })).status).toBe(200)
    const out = await fetch(`${platform.url}/api/v1/session`, {
      method: 'DELETE',
      headers: { cookie, origin: platform.url },
    })
    expect(out.headers.get('set-cookie')).toContain('Max-Age=0')
    expect((await fetch(`${platform.url}/api/v1/session`, { headers: { cookie } })).status).toBe(401)
  })
  test('leaves no file that others may read', () => {
    const files = readdirSync(join(platform.dir, 'data'), { recursive: true, withFileTypes: true })
    const open = files
      .filter((entry) => !entry.isDirectory())
      .filter((entry) => (statSync(join(entry.parentPath, entry.name)).mode & 0o077) !== 0)
    expect(files.length).toBeGreaterThan(5)
    expect(open.map((entry) => entry.name)).toEqual([])
    expect(statSync(join(platform.dir, 'data', 'secret.key')).mode & 0o777).toBe(0o600)
  })
})

describe('/health, /ready, /metrics', () => {
  test('health tells strangers the status alone', async () => {
    const stranger = await (await fetch(`${platform.url}/health`)).json()
    expect(stranger).toEqual({ status: 'healthy' })
    const { json } = await platform.request('GET', '/health')
    expect(json).toMatchObject({ status: 'healthy', service: 'opinion-market', environment: 'production' })
    expect(json.version).toMatch(/^\d+\.\d+\.\d+/)
    expect(json.uptime).toBeGreaterThan(0)
    expect(json.services.control).toEqual({ status: 'healthy' })
    expect(await (await fetch(`${platform.url}/ready`)).json()).toEqual({ status: 'ready' })
  })
  test('metrics are the text format, of every process, each series once', async () => {
    expect((await fetch(`${platform.url}/metrics`)).status).toBe(401)
    const ask = () => platform.request('GET', '/metrics')
    const { text, headers } = await eventually(ask, (answer) => answer.text.includes('process="front"'))
    expect(headers.get('content-type')).toContain('text/plain; version=0.0.4')
    const seen = new Set<string>()
    let family = ''
    for (const line of text.trimEnd().split('\n')) {
      const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
      if (type) {
        expect(seen.has(`family ${type[1]}`), line).toBe(false)
        family = type[1]!
        seen.add(`family ${family}`)
      } else if (!line.startsWith('# HELP ')) {
        const sample = /^([a-zA-Z_:][\w:]*(?:\{(?:\w+="(?:[^"\\\n]|\\[\\n"])*",?)+\})?) (-?[\d.e+-]+|[+-]Inf)$/.exec(
          line,
        )
        expect(sample, line).not.toBe(null)
        expect(line.startsWith(family), `${line} in ${family}`).toBe(true)
        expect(seen.has(sample![1]!), line).toBe(false)
        seen.add(sample![1]!)
      }
    }
  })
})

describe('tokens', () => {
  test('of the command line work at once, and end at once, also open sockets', async () => {
    const made = cli(['token', 'create', '--role', 'viewer', '--name', 'from-cli', '--plain'])
    expect(made).toMatchObject({ code: 0, err: '' })
    expect(made.out).toMatch(/^om_[\w-]{43}\n$/)
    const token = made.out.trim()
    expect(await statusWith(token)).toBe(200)

    const NodeSocket = WebSocket as unknown as new (at: string, options: object) => WebSocket
    const at = `${platform.url.replace('http', 'ws')}/api/v1/advanced-dashboard/ws`
    const socket = new NodeSocket(at, withToken(token))
    await new Promise((done, fail) => {
      socket.addEventListener('open', done)
      socket.addEventListener('error', fail)
    })
    const closed = new Promise<number>((done) => socket.addEventListener('close', (event) => done(event.code)))
    expect(cli(['token', 'revoke', 'from-cli']).code).toBe(0)
    expect(await statusWith(token)).toBe(401)
    expect(await closed).toBe(4401)
    expect(cli(['token', 'list']).out).toMatch(/from-cli.*revoked/)
  })
  test('made by the API are shown once, listed without, and gone after DELETE', async () => {
    const made = data(
      await platform.request('POST', '/api/v1/tokens', {
        name: 'by-api',
        role: 'operator',
        expires_at: '2999-01-01T00:00:00Z',
      }),
    )
    expect(made).toMatchObject({
      name: 'by-api',
      role: 'operator',
      created_by: 'OM_ADMIN_TOKEN',
      expires_at: '2999-01-01T00:00:00.000Z',
    })
    expect(await statusWith(made.token)).toBe(200)
    const list = await platform.request('GET', '/api/v1/tokens')
    expect(list.text).not.toContain(made.token)
    expect(data(list).tokens.some((t: { id: string }) => t.id === made.id)).toBe(true)
    data(await platform.request('DELETE', `/api/v1/tokens/${made.id}`))
    expect(await statusWith(made.token)).toBe(401)
    const past = await platform.request('POST', '/api/v1/tokens', {
      name: 'x',
      role: 'viewer',
      expires_at: '2020-01-01T00:00:00Z',
    })
    expect([past.status, past.json.error.fields[0].path]).toEqual([422, 'expires_at'])
  })
})

describe('idempotency keys', () => {
  const create = (key: string, name: string) =>
    platform.request('POST', '/api/v1/tokens', { name, role: 'viewer' }, { 'idempotency-key': key })
  const named = async (name: string) =>
    data(await platform.request('GET', '/api/v1/tokens')).tokens.filter((t: { name: string }) => t.name === name).length

  test('give the first answer again, also after kill -9 of everything, and clash with another body', async () => {
    const first = data(await create('key-1', 'once'))
    expect(data(await create('key-1', 'once'))).toEqual(first)
    const clash = await create('key-1', 'other')
    expect([clash.status, clash.json.error.code]).toEqual([409, 'idempotency_clash'])
    // The request whose answer nobody saw.
    const lost = create('key-2', 'lost').catch(() => null)
    await platform.kill()
    await lost
    platform = await start({ dir: platform.dir, env: { SMTP_PASSWORD: 'MARKER-smtp-password' } })
    expect(data(await create('key-1', 'once'))).toEqual(first)
    expect(await named('once')).toBe(1)
    data(await create('key-2', 'lost'))
    expect(await named('lost')).toBe(1)
    expect((await create('key-1', 'other')).status).toBe(409)
    expect(platform.output()).not.toContain('#code=')
  })
})

describe('configuration', () => {
  const put = (changes: object, comment = '', headers: Record<string, string> = {}) =>
    platform.request('PUT', '/api/v1/config', { changes, comment }, headers)
  const effective = async (path: string) =>
    data(await platform.request('GET', '/api/v1/config')).values.find((v: { path: string }) => v.path === path)

  test('tells each value and where it came from', async () => {
    expect(await effective('server.port')).toMatchObject({
      value: platform.port,
      source: 'environment',
      detail: 'PORT',
      live: false,
    })
    expect(await effective('log.level')).toMatchObject({ value: 'info', source: 'default', live: true })
    expect(await effective('channels.email.password')).toMatchObject({ value: '***', value_set: true, secret: true })
    expect(await effective('channels.slack.webhook_url')).toMatchObject({ value: null, value_set: false })
  })
  test('changes hold at once, have a history, survive a restart, and roll back', async () => {
    const first = data(await put({ 'log.level': 'debug', 'dashboard.period': 3 }, 'looking for a fault'))
    expect(first).toMatchObject({ by: 'OM_ADMIN_TOKEN', comment: 'looking for a fault' })
    expect(first.changes).toContainEqual({ path: 'log.level', from: null, to: 'debug' })
    expect(await effective('log.level')).toMatchObject({
      value: 'debug',
      source: 'api',
      detail: `version ${first.version}`,
    })
    const stale = await put({ 'log.level': 'warn' }, '', { 'if-match': String(first.version - 1) })
    expect(stale.status).toBe(412)
    const second = data(await put({ 'log.level': null }, 'done', { 'if-match': `"${first.version}"` }))
    expect(second.changes).toEqual([{ path: 'log.level', from: 'debug', to: null }])

    await platform.kill()
    platform = await start({ dir: platform.dir, env: { SMTP_PASSWORD: 'MARKER-smtp-password' } })
    expect((await effective('dashboard.period')).value).toBe(3)
    const { versions } = data(await platform.request('GET', '/api/v1/config/versions?limit=2'))
    expect(versions.map((v: { version: number }) => v.version)).toEqual([second.version, first.version])

    const back = data(
      await platform.request('POST', '/api/v1/config/rollback', { version: first.version, comment: 'again' }),
    )
    expect(back.version).toBe(second.version + 1)
    expect((await effective('log.level')).value).toBe('debug')
    expect((await platform.request('POST', '/api/v1/config/rollback', { version: first.version })).status).toBe(409)
    expect((await platform.request('POST', '/api/v1/config/rollback', { version: 99 })).status).toBe(404)
    data(await platform.request('POST', '/api/v1/config/rollback', { version: 0 }))
    expect((await effective('dashboard.period')).source).toBe('default')
  })
  test('what is wrong is refused with its reason, and changes nothing', async () => {
    const before = data(await platform.request('GET', '/api/v1/config')).version
    const wrong = await put({ 'log.level': 'loud' })
    expect([wrong.status, wrong.json.error.fields]).toEqual([
      422,
      [{ path: 'log.level', message: 'expected one of debug, info, warn, error, got "loud"' }],
    ])
    expect((await put({ 'server.port': 1 })).status).toBe(422)
    expect((await put({ ['__proto__']: 1, 'log.levle': 'info' })).status).toBe(422)
    expect((await put({})).status).toBe(422)
    expect(data(await platform.request('GET', '/api/v1/config')).version).toBe(before)
  })
  test('reaches front', async () => {
    const big = () =>
      platform.request('POST', '/api/v1/advanced-analytics/data-points', [{ metric_name: 'x'.repeat(3000) }])
    expect((await big()).status).not.toBe(413)
    data(await put({ 'edge.ingest_body_bytes_max': 1024 }))
    await eventually(big, (answer) => answer.status === 413)
    data(await put({ 'edge.ingest_body_bytes_max': null }))
    await eventually(big, (answer) => answer.status !== 413)
  })
})

test('no secret shows in any answer, log line, stored file or export', async () => {
  const hook = 'https://hooks.example/MARKER-hook'
  data(await platform.request('PUT', '/api/v1/config', { changes: { 'channels.slack.webhook_url': hook } }))
  await platform.request('PUT', '/api/v1/config', {
    changes: { 'channels.slack.webhook_url': 'MARKER-not-an-address' },
  })
  await platform.request('POST', '/api/v1/session', { token: 'MARKER-token' })
  await platform.request('GET', '/api/v1/config?MARKER-query=1', undefined, { authorization: 'Bearer MARKER-bearer' })
  data(
    await platform.request('PUT', '/api/v1/config', {
      changes: { 'channels.slack.webhook_url': '***', 'log.level': 'debug' },
    }),
  )

  const document = (await platform.request('GET', '/api/v1/openapi.json')).json
  const paths = Object.keys(document.paths).filter((path) => document.paths[path].get && !path.includes('{'))
  for (const path of paths) expect((await platform.request('GET', path)).text, path).not.toContain('MARKER')
  for (const args of [['config', 'show'], ['config', 'show', '--json'], ['check-config'], ['token', 'list']]) {
    const { out, err } = cli(args, { SMTP_PASSWORD: 'MARKER-smtp-password' })
    expect(out + err, args.join(' ')).not.toContain('MARKER')
  }
  expect(platform.output()).not.toContain('MARKER')
  const files = readdirSync(platform.dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  expect(files.length).toBeGreaterThan(5)
  for (const { parentPath, name } of files) {
    const text = readFileSync(join(parentPath, name), 'latin1')
    expect(text.includes('MARKER'), name).toBe(false)
    expect(text.includes(ADMIN_TOKEN), name).toBe(false)
  }
})

test('the audit tells who did what', async () => {
  const { entries } = data(await platform.request('GET', '/api/v1/audit?limit=1000'))
  const deeds = entries.map((entry: { who: string; deed: string }) => `${entry.who} ${entry.deed}`)
  for (const deed of [
    'admin session.opened',
    'admin session.closed',
    'command line token.created',
    'command line token.revoked',
    'OM_ADMIN_TOKEN token.created',
    'OM_ADMIN_TOKEN token.revoked',
    'OM_ADMIN_TOKEN config.changed',
  ]) {
    expect(deeds).toContain(deed)
  }
  const page = data(await platform.request('GET', '/api/v1/audit?limit=2'))
  const next = data(await platform.request('GET', `/api/v1/audit?limit=2&cursor=${page.next_cursor}`))
  expect([...page.entries, ...next.entries]).toEqual(entries.slice(0, 4))
})

describe('the command line', () => {
  test('teaches, and says by its exit code how it went', () => {
    expect(cli(['version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: '' })
    for (const args of [['--help'], ['token', '--help'], ['token', 'create', '--help'], ['serve', '--help']]) {
      const { code, out } = cli(args)
      expect([args, code]).toEqual([args, 0])
      expect(out).toMatch(/opinion-market/)
    }
    for (const args of [
      [],
      ['srve'],
      ['token', 'create'],
      ['token', 'create', '--role', 'king', '--name', 'x'],
      ['token', 'create', '--role', 'viewer', '--name', 'x', '--expires', 'soon'],
      ['token', 'create', '--role', 'viewer', '--name', ''],
      ['token', 'revoke'],
    ]) {
      const { code, err, out } = cli(args)
      expect([args, code]).toEqual([args, 2])
      expect(err + out).not.toMatch(/ at .*\.js:\d+/)
    }
    expect(cli(['srve']).err).toContain('Did you mean serve?')
    expect(cli(['token', 'revoke', 'nobody'])).toEqual({ code: 1, out: '', err: 'There is no such token.\n' })
  })
  test('makes tokens before the first start, and the data directory with them', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'om-cli-'))
    try {
      const env = { DATA_DIR: join(dir, 'data') }
      const { code, out } = cli(['token', 'create', '--role', 'admin', '--name', 'early', '--plain'], env)
      expect(code).toBe(0)
      const other = await start({ dir })
      try {
        const answer = await fetch(`${other.url}/api/v1/session`, withToken(out.trim()))
        expect(((await answer.json()) as Envelope).data).toMatchObject({ name: 'early', role: 'admin' })
        expect(other.output()).toContain('#code=')
        const link = cli(['login-link', '--operator', 'ada', '--role', 'operator'], {
          ...env,
          PORT: String(other.port),
        })
        const code = /^http:\/\/127\.0\.0\.1:\d+\/login#code=([\w-]+)\n$/.exec(link.out)?.[1]
        const login = await other.request('POST', '/api/v1/session', { code })
        expect(login.json.data).toMatchObject({ name: 'ada', role: 'operator', via: 'session' })
      } finally {
        await other.stop()
      }
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
  test('check-config prints everything that is wrong, and serve does not start with it', () => {
    const dir = mkdtempSync(join(tmpdir(), 'om-cli-'))
    try {
      mkdirSync(join(dir, 'config'))
      writeFileSync(join(dir, 'config/alerting.yaml'), 'alerting:\n  evaluation_intervall: 5\n')
      const run = (args: string[]) =>
        spawnSync(process.execPath, [main, ...args], {
          cwd: dir,
          env: { PORT: 'abc', PATH: process.env.PATH ?? '' },
          encoding: 'utf8',
        })
      for (const args of [['check-config'], ['serve']]) {
        const { status, stderr } = run(args)
        expect([args, status]).toEqual([args, 1])
        expect(stderr.trim().split('\n')).toEqual([
          'config/alerting.yaml:2: alerting.evaluation_intervall is not known here; did you mean alerting.evaluation_interval?',
          'environment variable PORT: server.port expected a whole number from 0 to 65535, got "abc"',
        ])
      }
      expect(readdirSync(dir)).toEqual(['config'])
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
})
