/** The four channels against the contract of all, and what each has of its own. */
import { createHmac } from 'node:crypto'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { afterEach, describe, expect, test } from 'vitest'
import { addressGuard } from '../../base/address.ts'
import { createHttpClient } from '../../base/http-client.ts'
import { systemScheduler } from '../../base/scheduler.ts'
import {
  aNotice,
  type Behaviour,
  context,
  type Harness,
  type Taken,
  type TestServer,
  testChannel,
} from './channel.contract.ts'
import type { ChannelKind } from './channel.ts'
import { emailKind } from './email.ts'
import { slackKind } from './slack.ts'
import { smsKind } from './sms.ts'
import { signature, webhookKind } from './webhook.ts'

type Tls = { cert: string; key: string } | null

async function listening(
  server: net.Server,
): Promise<{ port: number; connections: () => number; close: () => Promise<void> }> {
  const sockets = new Set<net.Socket>()
  let connections = 0
  server.on('connection', (socket: net.Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as net.AddressInfo).port,
    connections: () => connections,
    close() {
      for (const socket of sockets) socket.destroy()
      return new Promise((done) => server.close(() => done()))
    },
  }
}

async function httpServer(behaviour: Behaviour, tls: Tls, answer?: (r: IncomingMessage, s: ServerResponse) => void) {
  const taken: Taken[] = []
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      taken.push({ text: Buffer.concat(chunks).toString(), headers: request.headers })
      if (answer) answer(request, response)
      else if (behaviour === 'accepts') response.writeHead(202).end('thanks')
      else if (behaviour === 'is busy') response.writeHead(429, { 'retry-after': '7' }).end('slow down')
      else if (behaviour === 'is broken') response.writeHead(500).end('oops')
      else if (behaviour === 'refuses') response.writeHead(403).end('invalid_token')
      else if (behaviour === 'closes half-way') {
        request.socket.write('HTTP/1.1 2')
        request.socket.destroySoon()
      }
    })
  }
  const server = tls ? https.createServer(tls, handle) : http.createServer(handle)
  return { taken, ...(await listening(server)) }
}

async function smtpServer(behaviour: Behaviour, tls: Tls, more: SMTPServerOptions = {}): Promise<TestServer> {
  const taken: Taken[] = []
  if (behaviour === 'is silent') return { taken, ...(await listening(net.createServer())) }
  if (behaviour === 'closes half-way') {
    const server = net.createServer((socket) => {
      socket.write('220 hello\r\n')
      socket.on('data', (data) => {
        if (/^EHLO/.test(data.toString())) socket.write('250 hello\r\n')
        else socket.destroy()
      })
    })
    return { taken, ...(await listening(server)) }
  }
  const refusal = (code: number) => Object.assign(new Error('not now'), { responseCode: code })
  const smtp = new SMTPServer({
    ...(tls ? { ...tls } : { disabledCommands: ['STARTTLS'] }),
    authOptional: true,
    logger: false,
    closeTimeout: 20,
    onMailFrom: (_, __, done) => done(behaviour === 'is busy' ? refusal(451) : null),
    onRcptTo: (_, __, done) => done(behaviour === 'refuses' ? refusal(550) : null),
    onData(stream, session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        if (behaviour === 'is broken') return done(refusal(554))
        const to = session.envelope.rcptTo.map(({ address }) => address)
        taken.push({
          text: decoded(Buffer.concat(chunks).toString()),
          headers: { to, user: session.user, secure: String(session.secure) },
        })
        done(null, 'queued as 1')
      })
    },
    ...more,
  })
  smtp.on('error', () => {})
  // Its own way to close: a raw socket destroyed beneath a handshake takes Node 24 down.
  const close = () => new Promise<void>((done) => smtp.close(() => done()))
  return { taken, ...(await listening(smtp.server)), close }
}

/** Quoted-printable as text. */
const decoded = (mail: string) =>
  Buffer.from(
    mail.replace(/=\r\n/g, '').replace(/=([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  ).toString()

const https_ = (tls: boolean, port: number, path: string) => `${tls ? 'https' : 'http'}://127.0.0.1:${port}${path}`

const webhook: Harness = {
  kind: webhookKind,
  serve: (behaviour, tls) => httpServer(behaviour, tls),
  config: (port, tls) => ({ url: https_(tls, port, '/hook?key=topsecret'), signing_secret: 'sign-me' }),
}
const slack: Harness = {
  kind: slackKind,
  serve: (behaviour, tls) => httpServer(behaviour, tls),
  config: (port, tls) => ({ webhook_url: https_(tls, port, '/services/T0/B0/topsecret') }),
}
const sms: Harness = {
  kind: smsKind,
  serve: (behaviour, tls) => httpServer(behaviour, tls),
  config: (port, tls) => ({
    gateway_url: https_(tls, port, '/messages'),
    api_key: 'topsecret',
    from: 'Ops',
    to: '+14155550100',
  }),
}
const email: Harness = {
  kind: emailKind,
  serve: smtpServer,
  config: (port, tls) => ({
    smtp_server: '127.0.0.1',
    smtp_port: port,
    from_email: 'alerts@shop.example',
    to_emails: ['ops@shop.example', 'lead@shop.example'],
    security: tls ? 'starttls' : 'auto',
  }),
  lacks: ['Retry-After', 'try later when broken'],
}

testChannel('webhook', webhook)
testChannel('slack', slack)
testChannel('sms', sms)
testChannel('email', email)
testChannel('email, TLS from the start', {
  ...email,
  serve: (behaviour, tls) => smtpServer(behaviour, tls, tls ? { secure: true, ...tls } : {}),
  config: (port, tls) => ({ ...email.config(port, tls), security: tls ? 'tls' : 'none' }),
})

const undo: (() => void | Promise<void>)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

function opened(kind: ChannelKind, config: Record<string, unknown>) {
  const scheduler = systemScheduler(() => {})
  const guard = addressGuard(() => ['127.0.0.1'])
  const http = createHttpClient(guard, scheduler)
  const channel = kind.open(config, { http, guard, scheduler })
  undo.push(
    () => http.close(),
    () => channel.close?.(),
  )
  return channel
}

async function served<S extends { close(): Promise<void> }>(starting: Promise<S>): Promise<S> {
  const server = await starting
  undo.push(() => server.close())
  return server
}

describe('webhook', () => {
  test('body, headers and signature are those of the contract', async () => {
    const server = await served(httpServer('accepts', null))
    const config = { ...webhook.config(server.port, false), headers: { 'X-Team': 'ops' } }
    await opened(webhookKind, config).send(aNotice('01id'), context())
    const { text, headers } = server.taken[0]!
    expect(JSON.parse(text)).toMatchObject({
      delivery_id: '01id',
      event: 'firing',
      alert_id: 'a1',
      title: 'Slow response time: 214 ms, limit 200 ms',
      message: 'It was above 200 ms for 20 s.',
      severity: 'critical',
      status: 'active',
      metric_name: 'application.api_response_time',
      current_value: 214,
      threshold_value: 200,
      triggered_at: '2025-10-09T08:53:20.000Z',
      explain_url: 'https://om.example/ops/alerts/a1',
      metadata: { rule_name: 'Slow response time', condition: 'gt', tags: ['application'] },
    })
    expect(headers).toMatchObject({ 'x-team': 'ops', 'x-delivery-id': '01id', 'content-type': 'application/json' })
    const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(headers['x-signature']))!
    expect(v1).toBe(createHmac('sha256', 'sign-me').update(`${t}.${text}`).digest('hex'))
    expect(signature('sign-me', text, Number(t) * 1000)).toBe(headers['x-signature'])
  })

  test('no signature without a secret, credentials of the address as basic authentication', async () => {
    const server = await served(httpServer('accepts', null))
    await opened(webhookKind, { url: `http://me:p%40ss@127.0.0.1:${server.port}/` }).send(aNotice(), context())
    expect(server.taken[0]!.headers['x-signature']).toBeUndefined()
    expect(server.taken[0]!.headers.authorization).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`)
  })

  test.each([200, 201, 204, 299])('%i is success', async (status) => {
    const server = await served(httpServer('accepts', null, (_, response) => response.writeHead(status).end()))
    const outcome = await opened(webhookKind, webhook.config(server.port, false)).send(aNotice(), context())
    expect(outcome.kind).toBe('accepted')
  })

  test('a redirect is not followed', async () => {
    const inner = await served(httpServer('accepts', null))
    const to = `http://127.0.0.1:${inner.port}/`
    const server = await served(httpServer('accepts', null, (_, r) => r.writeHead(307, { location: to }).end()))
    const outcome = await opened(webhookKind, webhook.config(server.port, false)).send(aNotice(), context())
    expect(outcome).toMatchObject({ kind: 'refused', answer: expect.stringContaining('not followed') })
    expect(inner.taken).toHaveLength(0)
  })

  test('an endless answer is success after its first bytes', async () => {
    const server = await served(
      httpServer('accepts', null, (_, response) => {
        const pour = () => {
          while (response.write('x'.repeat(65_536)));
        }
        response.writeHead(200)
        response.on('drain', pour)
        pour()
      }),
    )
    const outcome = await opened(webhookKind, webhook.config(server.port, false)).send(aNotice(), context())
    expect(outcome.kind).toBe('accepted')
    expect(outcome.answer.length).toBeLessThan(3000)
  })

  test('a kept connection that the server had closed costs no attempt', async () => {
    const server = await served(
      httpServer('accepts', null, (_, response) => {
        response.writeHead(200).end()
        response.on('close', () => response.socket?.destroy())
      }),
    )
    const channel = opened(webhookKind, webhook.config(server.port, false))
    for (let i = 0; i < 20; i++) expect((await channel.send(aNotice(`d${i}`), context())).kind).toBe('accepted')
  })
})

test('slack: one attachment with colour, title, text and four fields; markup in it is text', async () => {
  const server = await served(httpServer('accepts', null))
  await opened(slackKind, slack.config(server.port, false)).send(aNotice(), context())
  const body = JSON.parse(server.taken[0]!.text)
  expect(body).toMatchObject({ channel: '#alerts', username: 'AlertBot' })
  expect(body.attachments).toHaveLength(1)
  const [attachment] = body.attachments
  expect(attachment).toMatchObject({ color: expect.stringMatching(/^#/), title: expect.stringContaining('214 ms') })
  expect(attachment.fields.map((f: { title: string; value: string }) => [f.title, f.value])).toEqual([
    ['Severity', 'critical'],
    ['Metric', 'application.api_response_time'],
    ['Current Value', '214 ms'],
    ['Threshold', '200 ms'],
  ])
  expect(attachment.text).toContain('&lt;b&gt;')
  expect(attachment.text).toContain('<https://om.example/acknowledge/a1.token|Acknowledge>')
})

describe('sms', () => {
  test('Twilio speaks forms and basic authentication', async () => {
    const server = await served(httpServer('accepts', null))
    const config = { ...sms.config(server.port, false), format: 'twilio', account: 'AC1' }
    await opened(smsKind, config).send(aNotice(), context())
    const { text, headers } = server.taken[0]!
    const form = new URLSearchParams(text)
    expect([form.get('From'), form.get('To')]).toEqual(['Ops', '+14155550100'])
    expect(form.get('Body')).toMatch(/^\[CRITICAL\] Slow response time/)
    expect(headers.authorization).toBe(`Basic ${Buffer.from('AC1:topsecret').toString('base64')}`)
  })

  test('after a failure for one number, those that got it are not told again', async () => {
    let down = true
    const server = await served(
      httpServer('accepts', null, (_, response) => {
        const to = JSON.parse(server.taken.at(-1)!.text).to
        response.writeHead(to === '+222' && down ? 503 : 200).end()
      }),
    )
    const channel = opened(smsKind, { ...sms.config(server.port, false), to: ['+111', '+222', '+333'] })
    expect((await channel.send(aNotice(), context())).kind).toBe('try_later')
    down = false
    expect((await channel.send(aNotice(), context())).kind).toBe('accepted')
    expect(server.taken.map((t) => JSON.parse(t.text).to)).toEqual(['+111', '+222', '+333', '+222'])
  })
})

describe('email', () => {
  test('subject, text and HTML, one thread for an alert, the delivery id as message id', async () => {
    const server = await served(smtpServer('accepts', null))
    await opened(emailKind, email.config(server.port, false)).send(aNotice('01id'), context())
    const { text, headers } = server.taken[0]!
    expect(text).toMatch(/^Subject: \[CRITICAL\] Slow response time: 214 ms, limit 200\s+ms\r?$/m)
    expect(text).toContain('Message-ID: <01id@shop.example>')
    expect(text).toContain('References: <alert-a1@shop.example>')
    expect(text).toContain('Content-Type: text/plain')
    expect(text).toContain('Content-Type: text/html')
    expect(text).toContain('&#60;b&#62;')
    expect(headers.to).toEqual(['ops@shop.example', 'lead@shop.example'])
  })

  test.each([
    ['the right password', 'pw', 'accepted'],
    ['a wrong password', 'no', 'refused'],
  ])('%s', async (_, password, kind) => {
    const server = await served(
      smtpServer('accepts', null, {
        authOptional: false,
        allowInsecureAuth: true,
        onAuth: (auth, __, done) =>
          auth.password === 'pw' ? done(null, { user: auth.username! }) : done(new Error('bad credentials')),
      }),
    )
    const config = { ...email.config(server.port, false), username: 'me', password }
    const outcome = await opened(emailKind, config).send(aNotice(), context())
    expect(outcome).toMatchObject({ kind, answer: expect.stringMatching(kind === 'accepted' ? /^250/ : /^535/) })
  })

  test('one recipient that will never do holds up nobody; one that may is tried again alone', async () => {
    const busy = new Set(['lead@shop.example'])
    const server = await served(
      smtpServer('accepts', null, {
        onRcptTo({ address }, _, done) {
          const code = address.startsWith('gone') ? 550 : busy.has(address) ? 450 : 0
          done(code ? Object.assign(new Error('no'), { responseCode: code }) : null)
        },
      }),
    )
    const to_emails = ['ops@shop.example', 'gone@shop.example', 'lead@shop.example']
    const channel = opened(emailKind, { ...email.config(server.port, false), to_emails })
    expect((await channel.send(aNotice(), context())).kind).toBe('try_later')
    busy.clear()
    expect(await channel.send(aNotice(), context())).toMatchObject({ kind: 'accepted' })
    expect(server.taken.map((t) => t.headers.to)).toEqual([['ops@shop.example'], ['lead@shop.example']])
  })

  test('starttls asked for and not offered: nothing is sent', async () => {
    const server = await served(smtpServer('accepts', null))
    const config = { ...email.config(server.port, false), security: 'starttls' }
    expect(await opened(emailKind, config).send(aNotice(), context())).toMatchObject({ kind: 'try_later' })
    expect(server.taken).toHaveLength(0)
  })
})
