/** Channels as they are stored: defaults from the configuration, secrets sealed, changes at once. */
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { AppError } from '../../base/errors.ts'
import { silentLog } from '../../base/log.ts'
import { seededRandom } from '../../base/random.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import { createTelemetry } from '../../base/telemetry.ts'
import { auditTable } from '../../storage/audit.ts'
import { type Database, openDatabase } from '../../storage/database.ts'
import { secretBox } from '../../storage/secrets.ts'
import { type AlertingConfig, alertingKeys } from '../config.ts'
import { deliveryTables } from '../outbox-store.ts'
import { alertingTables } from '../tables.ts'
import type { ChannelInput, Channels } from './channels.ts'
import { type Delivery, startDelivery } from './delivery.ts'

const deed = { who: 'me', now: 1000, ifMatch: null }
const hook: ChannelInput = {
  id: 'hook',
  name: 'Hook',
  type: 'webhook',
  config: {
    url: 'https://hooks.example/secret-path?k=v',
    signing_secret: 'sign-me',
    headers: { 'X-Key': 'header-secret' },
  },
  enabled: true,
  severityFilter: [],
}

let db: Database
let config: AlertingConfig
let delivery: Delivery
let channels: Channels
let key: Uint8Array
const logged: unknown[] = []

function open(): void {
  delivery = startDelivery({
    db,
    box: secretBox(key),
    config: () => config,
    scheduler: systemScheduler((error) => {
      throw error
    }),
    random: seededRandom(1),
    log: { ...silentLog, warn: (...line) => void logged.push(line), error: (...line) => void logged.push(line) },
    telemetry: createTelemetry(),
    baseUrl: () => 'https://om.example',
    ailment: () => null,
  })
  channels = delivery.channels
}

beforeEach(() => {
  db = openDatabase(':memory:', { synchronous: 'NORMAL', migrations: [alertingTables, deliveryTables, auditTable] })
  key = randomBytes(32)
  const fallbacks = Object.entries(alertingKeys).map(([name, { fallback }]) => [name, fallback])
  config = { ...(Object.fromEntries(fallbacks) as unknown as AlertingConfig), allowNetworks: ['127.0.0.1'] }
  logged.length = 0
  open()
})
afterEach(() => delivery.stop())

function failure(work: () => unknown): AppError {
  try {
    work()
  } catch (error) {
    return error as AppError
  }
  throw new Error('nothing was thrown')
}

describe('default channels', () => {
  test('are there, disabled and not configured', () => {
    expect(
      channels
        .list()
        .map(({ id, type, enabled, configured, severityFilter }) => [id, type, enabled, configured, severityFilter]),
    ).toEqual([
      ['email', 'email', false, false, ['warning', 'critical', 'emergency']],
      ['slack', 'slack', false, false, ['critical', 'emergency']],
      ['webhook', 'webhook', false, false, ['critical', 'emergency']],
    ])
  })

  test('take what the configuration gives, and what was set through the API wins, field by field', () => {
    config = {
      ...config,
      emailEnabled: true,
      smtpServer: 'mail.example',
      smtpUsername: 'ops@shop.example',
      smtpPassword: 'pw',
    }
    delivery.configurationChanged()
    expect(channels.record('email')).toMatchObject({ enabled: true, configured: false })
    channels.update('email', { config: { to_emails: ['me@shop.example'], smtp_port: 2525 } }, deed)
    config = { ...config, smtpServer: 'other.example', smtpPort: 465 }
    expect(channels.record('email')).toMatchObject({
      enabled: true,
      configured: true,
      version: 2,
      config: { smtp_server: 'other.example', smtp_port: 2525, from_email: 'ops@shop.example', password: 'pw' },
    })
  })

  test('cannot be deleted or made twice', () => {
    expect(failure(() => channels.remove('slack', deed))).toMatchObject({ status: 409, code: 'channel_is_default' })
    expect(failure(() => channels.create({ ...hook, id: 'webhook' }, deed))).toMatchObject({ status: 409 })
  })
})

describe('secrets', () => {
  test('are never shown, and never stored in the open', () => {
    const view = channels.view(channels.create(hook, deed))
    expect(view.config).toEqual({
      url: '***',
      url_set: true,
      timeout: 10,
      retry_attempts: 3,
      signing_secret: '***',
      signing_secret_set: true,
      headers: { 'X-Key': '***' },
      headers_set: true,
    })
    const stored = JSON.stringify([
      db.prepare('SELECT * FROM alert_channels').all(),
      db.prepare('SELECT * FROM audit').all(),
    ])
    for (const secret of ['secret-path', 'sign-me', 'header-secret']) {
      expect(stored).not.toContain(secret)
      expect(stored).not.toContain(Buffer.from(secret).toString('base64'))
    }
  })

  test('stay when a view is sent back, and go with null', () => {
    const { config: shown } = channels.view(channels.create(hook, deed))
    const kept = channels.update('hook', { config: shown }, deed)
    expect(kept.config).toEqual({ ...hook.config, timeout: 10, retry_attempts: 3 })
    const changed = channels.update(
      'hook',
      { config: { signing_secret: null, headers: { 'X-Key': '***', 'X-New': 'n' } } },
      deed,
    )
    expect(changed.config).toMatchObject({ headers: { 'X-Key': 'header-secret', 'X-New': 'n' } })
    expect(changed.config.signing_secret).toBeUndefined()
    expect(channels.view(changed).config).toMatchObject({ signing_secret: null, signing_secret_set: false })
  })

  test('outlive a restart; under another key they count as missing, and it is said', async () => {
    channels.create(hook, deed)
    await delivery.stop()
    open()
    expect(channels.record('hook')).toMatchObject({ configured: true, config: hook.config })
    await delivery.stop()
    key = randomBytes(32)
    open()
    expect(channels.record('hook')).toMatchObject({ configured: false })
    expect(JSON.stringify(logged)).toContain('give it again')
  })

  test('are taken out of what a provider says', () => {
    channels.create(hook, deed)
    const { scrub } = channels.get('hook')!
    const said = scrub(
      '404 https://hooks.example/secret-path?k=v, sign-me\r\nheader-secret /secret-path and /secret-path?k=v',
    )
    expect(said).toBe('404 ***, *** *** *** and ***')
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom('sign-me', 'header-secret', '/secret-path'),
        fc.string(),
        (a, secret, b) => {
          const text = scrub(`${a}${secret}${b}`)
          expect(text).not.toContain(secret)
          expect(text.length).toBeLessThanOrEqual(300)
        },
      ),
    )
  })
})

describe('a wrong channel is refused with the field that is wrong', () => {
  test.each<[string, Partial<ChannelInput>, string]>([
    ['an unknown setting', { config: { ...hook.config, treshold: 1 } }, 'config.treshold'],
    ['no address', { config: { url: 'ftp://x' } }, 'config.url'],
    ['an address that is none', { config: { url: 'http://[' } }, 'config.url'],
    ['a time-out of no time', { config: { url: 'http://x', timeout: 0 } }, 'config.timeout'],
    ['a header of ours', { config: { url: 'http://x', headers: { Host: 'y' } } }, 'config.headers'],
    ['a header with a line break', { config: { url: 'http://x', headers: { A: 'b\r\nC: d' } } }, 'config.headers'],
    ['a header without a name', { config: { url: 'http://x', headers: { '': 'b' } } }, 'config.headers'],
    ['a text for a number', { type: 'email', config: { smtp_port: '25' } }, 'config.smtp_port'],
    ['no list of recipients', { type: 'email', config: { to_emails: 'a@b' } }, 'config.to_emails'],
    ['a recipient with a line break', { type: 'email', config: { to_emails: ['a@b\r\nx'] } }, 'config.to_emails'],
    ['a host with a space', { type: 'email', config: { smtp_server: 'a b' } }, 'config.smtp_server'],
    [
      'a secret in the gateway address',
      { type: 'sms', config: { gateway_url: 'https://x/?key=1' } },
      'config.gateway_url',
    ],
    ['a number that is none', { type: 'sms', config: { to: 'me' } }, 'config.to'],
    ['a channel of no type', { type: 'pigeon' as never }, 'type'],
  ])('%s', (_, more, path) => {
    const error = failure(() => channels.create({ ...hook, ...more }, deed))
    expect(error).toMatchObject({ status: 422 })
    expect(error.fields.map((field) => field.path)).toContain(path)
    expect(channels.record('hook')).toBeNull()
  })

  test('any settings are stored or refused, never a fault', () => {
    const types = fc.constantFrom('email', 'webhook', 'slack', 'sms')
    const names = fc.constantFrom(
      'url',
      'headers',
      'timeout',
      'to',
      'to_emails',
      'password',
      'gateway_url',
      'url_set',
      '__proto__',
      'x',
    )
    fc.assert(
      fc.property(types, fc.dictionary(names, fc.anything()), (type, settings) => {
        const plain = JSON.parse(JSON.stringify(settings))
        try {
          const made = channels.create({ ...hook, type: type as 'sms', config: plain }, deed)
          channels.view(made)
          channels.get('hook')
          channels.remove('hook', deed)
        } catch (error) {
          expect((error as AppError).status).toBe(422)
        }
      }),
      { numRuns: 500 },
    )
  })
})

test('versions: a stale change is refused', () => {
  channels.create(hook, deed)
  expect(channels.update('hook', { name: 'N' }, { ...deed, ifMatch: 1 })).toMatchObject({ version: 2, name: 'N' })
  expect(failure(() => channels.update('hook', {}, { ...deed, ifMatch: 1 }))).toMatchObject({ status: 412 })
  expect(failure(() => channels.remove('hook', { ...deed, ifMatch: 1 }))).toMatchObject({ status: 412 })
  expect(failure(() => channels.update('hook', { type: 'sms' }, deed))).toMatchObject({ status: 409 })
  expect(failure(() => channels.update('nobody', {}, deed))).toMatchObject({ status: 404 })
})

describe('against a server', () => {
  let server: Server
  let asked: string[]
  let status: number
  let url: string
  beforeEach(async () => {
    asked = []
    status = 200
    server = createServer((request, response) => {
      asked.push(request.url!)
      response.writeHead(status).end()
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  })
  afterEach(() => {
    server.closeAllConnections()
    server.close()
  })

  test('a test goes where the newest settings say, and is remembered', async () => {
    channels.create({ ...hook, config: { url: `${url}/one` } }, deed)
    expect(await delivery.testChannel('hook')).toMatchObject({ status: 'delivered', answer: '200 OK' })
    channels.update('hook', { config: { url: `${url}/two` } }, deed)
    status = 404
    expect(await delivery.testChannel('hook')).toMatchObject({ status: 'failed', answer: '404 Not Found' })
    expect(asked).toEqual(['/one', '/two'])
    const view = channels.view(channels.record('hook')!)
    expect(view.last_success_at).toMatch(/Z$/)
    expect(view.last_error).toBe('404 Not Found')
    await expect(delivery.testChannel('nobody')).rejects.toMatchObject({ status: 404 })
  })

  test('a network that is allowed no more is closed at once', async () => {
    channels.create({ ...hook, config: { url } }, deed)
    expect(await delivery.testChannel('hook')).toMatchObject({ status: 'delivered' })
    config = { ...config, allowNetworks: [] }
    delivery.configurationChanged()
    expect(await delivery.testChannel('hook')).toMatchObject({ status: 'failed' })
    expect(asked).toHaveLength(1)
  })

  test('the heart beats while it is wanted, and stops with its reason', async () => {
    const until = async (check: () => boolean) => {
      for (let i = 0; i < 200 && !check(); i++) await new Promise((done) => setTimeout(done, 20))
      expect(check()).toBe(true)
    }
    expect(delivery.heartbeat.state()).toEqual({ wanted: false, lastBeatAt: null, problem: null })
    config = { ...config, heartbeatUrl: `${url}/beat-secret`, heartbeatInterval: 0.05 }
    delivery.configurationChanged()
    await until(() => asked.length >= 3)
    expect(delivery.heartbeat.state()).toMatchObject({ wanted: true, problem: null })
    status = 500
    await until(() => delivery.heartbeat.state().problem === 'answered 500')
    expect(JSON.stringify(logged)).not.toContain('beat-secret')
    config = { ...config, heartbeatUrl: null }
    delivery.configurationChanged()
    await new Promise((done) => setTimeout(done, 100))
    const beats = asked.length
    await new Promise((done) => setTimeout(done, 200))
    expect(asked).toHaveLength(beats)
  })
})
