/**
 * E-mail by SMTP, as text and HTML, over kept connections. The subject is `[SEVERITY] title`; the Message-ID is made
 * from the delivery id, so that a mail program shows a double once, and all mails of one alert are one thread.
 *
 *   security auto        TLS from the start on port 465; else STARTTLS where the server offers it, and a password is
 *                        sent without it only to this machine itself
 *            tls         TLS from the start
 *            starttls    STARTTLS, or nothing is sent
 *            none        neither, password or not
 */
import { connect, type Socket } from 'node:net'
import type { NodemailerError, SMTPPoolOptions, SMTPSentMessageInfo, Transporter } from 'nodemailer'
import Type from 'typebox'
import { AddressRefused } from '../../base/address.ts'
import { type Message, messageOf } from '../message.ts'
import type { Notice } from '../notice.ts'
import type { Channel, ChannelKind, ChannelTools, SendOutcome } from './channel.ts'
import { shortText } from './settings.ts'

interface EmailConfig {
  readonly smtp_server: string
  readonly smtp_port?: number
  readonly username?: string
  readonly password?: string
  readonly from_email: string
  readonly to_emails: readonly string[]
  readonly security?: 'auto' | 'tls' | 'starttls' | 'none'
}

const CONNECTIONS = 5
const CONNECT_MS = 10_000
/** The whole of one mail. */
const TIMEOUT_MS = 30_000
/** A kept connection ends before most servers would end it. */
const IDLE_MS = 30_000

const address = Type.String({
  pattern: '^[^\\s@<>,;:"\\x00-\\x1f\\x7f]{1,64}@[A-Za-z0-9._-]{1,253}$',
  description: 'an address such as ops@example.org',
})

export const emailKind: ChannelKind = {
  schema: Type.Object({
    smtp_server: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9.:_-]{1,253}$', description: 'a host name, such as smtp.example.org' }),
    ),
    smtp_port: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 65_535, description: 'a whole number from 1 to 65535', default: 587 }),
    ),
    username: Type.Optional(shortText),
    password: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, description: 'a text' })),
    from_email: Type.Optional(address),
    to_emails: Type.Optional(
      Type.Array(address, { minItems: 1, maxItems: 100, description: 'a list of addresses such as ops@example.org' }),
    ),
    security: Type.Optional(
      Type.Union([Type.Literal('auto'), Type.Literal('tls'), Type.Literal('starttls'), Type.Literal('none')], {
        description: 'auto, tls, starttls or none',
        default: 'auto',
      }),
    ),
  }),
  shown: ['smtp_server', 'smtp_port', 'username', 'from_email', 'to_emails', 'security'],
  parallel: CONNECTIONS,
  missing(config) {
    const empty = (name: string) => !config[name] || (Array.isArray(config[name]) && config[name].length === 0)
    return ['smtp_server', 'from_email', 'to_emails'].filter(empty)
  },
  open: (config, tools) => email(config as unknown as EmailConfig, tools),
}

function email(config: EmailConfig, tools: ChannelTools): Channel {
  const { scheduler } = tools
  const domain = config.from_email.split('@')[1]!
  let pool: Promise<Transporter<SMTPSentMessageInfo>> | null = null
  /** Recipients that got a mail which has to go again to others. */
  const told = new Map<string, readonly string[]>()

  return {
    async send(notice, { now, links, signal }) {
      const message = messageOf(notice, links, now)
      pool ??= openPool(config, tools)
      const limit = new AbortController()
      const timer = scheduler.after(TIMEOUT_MS, () => limit.abort())
      const before = told.get(notice.id) ?? []
      const recipients = config.to_emails.filter((to) => !before.includes(to))
      try {
        const info = await (await pool).sendMail({
          from: config.from_email,
          to: [...config.to_emails],
          envelope: { from: config.from_email, to: recipients },
          subject: `[${message.severity.toUpperCase()}] ${message.title}`,
          text: textOf(message),
          html: htmlOf(message),
          messageId: `<${notice.id}@${domain}>`,
          references: `<${thread(notice)}@${domain}>`,
          headers: { 'X-Delivery-Id': notice.id, 'Auto-Submitted': 'auto-generated' },
          priority: message.severity === 'emergency' || message.severity === 'critical' ? 'high' : 'normal',
          signal: AbortSignal.any([signal, limit.signal]),
          disableFileAccess: true,
          disableUrlAccess: true,
        })
        const later = (info.rejectedErrors ?? []).filter((error) => (error.responseCode ?? 0) < 500)
        told.delete(notice.id)
        if (later.length > 0) {
          told.set(notice.id, [...before, ...info.accepted.map(String)])
          for (const id of told.keys()) if (told.size > REMEMBERED) told.delete(id)
          return { kind: 'try_later', answer: later[0]!.response ?? later[0]!.message, retryAfterMs: null }
        }
        const refused = info.rejected.length > 0 ? ` (${info.rejected.length} of ${recipients.length} refused)` : ''
        return { kind: 'accepted', answer: info.response + refused }
      } catch (error) {
        if (limit.signal.aborted) {
          return { kind: 'try_later', answer: `no answer within ${TIMEOUT_MS / 1000} s`, retryAfterMs: null }
        }
        return outcomeOf(error)
      } finally {
        timer.cancel()
      }
    },
    close() {
      void pool?.then((open) => open.close()).catch(() => {})
    },
  }
}

const REMEMBERED = 1000

async function openPool(config: EmailConfig, tools: ChannelTools): Promise<Transporter<SMTPSentMessageInfo>> {
  const { default: nodemailer } = await import('nodemailer')
  const port = config.smtp_port ?? 587
  const security = config.security ?? 'auto'
  const options: SMTPPoolOptions & { pool: true } = {
    pool: true,
    host: config.smtp_server,
    port,
    secure: security === 'tls' || (security === 'auto' && port === 465),
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    ...(config.username ? { auth: { user: config.username, pass: config.password ?? '' } } : {}),
    ...(tools.trust === undefined ? {} : { tls: { ca: tools.trust } }),
    maxConnections: CONNECTIONS,
    maxRequeues: 1,
    idleTimeout: IDLE_MS,
    connectionTimeout: CONNECT_MS,
    greetingTimeout: CONNECT_MS,
    socketTimeout: TIMEOUT_MS,
    maxResponseSize: 65_536,
    getSocket(_, done) {
      open(config.smtp_server, port, tools).then(
        (connection) => {
          const guarded = security === 'auto' && Boolean(config.username) && !isThisMachine(connection)
          done(null, { connection, ...(guarded ? { requireTLS: true } : {}) })
        },
        (error: Error) => done(error),
      )
    },
  }
  return nodemailer.createTransport(options)
}

/** A connection to an address that the guard passed. */
function open(host: string, port: number, { guard, scheduler }: ChannelTools): Promise<Socket> {
  return new Promise((resolve, reject) => {
    guard.check(host)
    const socket = connect({ host, port, lookup: guard.lookup })
    const timer = scheduler.after(CONNECT_MS, () => {
      socket.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`))
    })
    const failed = (error: Error) => {
      timer.cancel()
      reject(error)
    }
    socket.once('error', failed)
    socket.once('connect', () => {
      timer.cancel()
      socket.off('error', failed)
      resolve(socket)
    })
  })
}

const isThisMachine = (socket: Socket) => /^(127\.|::1$|::ffff:127\.)/.test(socket.remoteAddress ?? '')

function outcomeOf(error: unknown): SendOutcome {
  if (error instanceof AddressRefused) return { kind: 'refused', answer: error.message }
  const { responseCode = 0, response, message, code } = error as NodemailerError
  const answer = response ?? (message || 'the connection failed')
  if (responseCode >= 500 && code !== 'ETLS') return { kind: 'refused', answer }
  if (code === 'ECONFIG' || code === 'ENOAUTH') return { kind: 'refused', answer }
  const hint = code === 'ETLS' && /STARTTLS/.test(message) ? ' (security: none would send unprotected)' : ''
  return { kind: 'try_later', answer: answer + hint, retryAfterMs: null }
}

/** All mails of one alert, or of one group, are one conversation. */
const thread = (notice: Notice) => notice.orderKey.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 100)

function linksOf(message: Message): [string, string][] {
  const links: [string, string | null][] = [
    ['Acknowledge', message.acknowledgeUrl],
    ['Why', message.explainUrl],
    ['Runbook', message.runbookUrl],
  ]
  return links.filter((link): link is [string, string] => link[1] !== null)
}

function textOf(message: Message): string {
  const facts = message.facts.map(({ name, value }) => `${`${name}:`.padEnd(16)}${value}`)
  const links = linksOf(message).map(([name, url]) => `${name}: ${url}`)
  const parts = [[message.title], message.sentences, message.lines.map((line) => `- ${line}`), facts, links]
  return `${parts
    .filter((part) => part.length > 0)
    .map((part) => part.join('\n'))
    .join('\n\n')}\n`
}

const COLOURS = { info: '#2f6feb', warning: '#9a6700', critical: '#cf222e', emergency: '#82071e' } as const

function htmlOf(message: Message): string {
  const paragraph = (text: string) => `<p style="margin:0 0 12px">${escaped(text)}</p>`
  const cell = 'style="padding:4px 16px 4px 0;border-top:1px solid #d8dee4;text-align:left;font-weight:normal"'
  const rows = message.facts.map(
    ({ name, value }) => `<tr><th ${cell} scope="row">${escaped(name)}</th><td ${cell}>${escaped(value)}</td></tr>`,
  )
  const items = message.lines.map((line) => `<li>${escaped(line)}</li>`)
  const links = linksOf(message).map(([name, url]) => `<a href="${escaped(url)}">${name}</a>`)
  return [
    '<!doctype html><html lang="en"><body style="font:14px/1.5 system-ui,sans-serif;color:#1f2328;max-width:640px">',
    `<p style="margin:0 0 4px;color:${COLOURS[message.severity]};font-weight:600">${message.severity}</p>`,
    `<h1 style="margin:0 0 12px;font-size:18px">${escaped(message.title)}</h1>`,
    ...message.sentences.map(paragraph),
    ...(items.length > 0 ? [`<ul>${items.join('')}</ul>`] : []),
    ...(rows.length > 0 ? [`<table style="border-collapse:collapse;margin:0 0 12px">${rows.join('')}</table>`] : []),
    ...(links.length > 0 ? [`<p>${links.join(' &nbsp; ')}</p>`] : []),
    '</body></html>',
  ].join('\n')
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
}
