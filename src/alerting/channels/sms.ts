/**
 * SMS by a gateway over HTTP, one request for each number.
 *
 *   format json     POST {from, to, text, delivery_id}, Authorization: Bearer <api_key>
 *   format twilio   POST From=…&To=…&Body=… as a form, basic authentication with `account` and the key: Twilio and
 *                   what speaks like it (gateway_url is the whole address of the account's Messages.json)
 */
import Type from 'typebox'
import { type Message, messageOf } from '../message.ts'
import type { Channel, ChannelKind, ChannelTools, SendOutcome } from './channel.ts'
import { outcomeOfAnswer, outcomeOfError } from './http-outcome.ts'
import { httpUrl, shortText } from './settings.ts'

interface SmsConfig {
  readonly gateway_url: string
  readonly api_key: string
  readonly from: string
  readonly to: string | readonly string[]
  readonly format?: 'json' | 'twilio'
  readonly account?: string
}

const TIMEOUT_MS = 15_000
/** Three parts of a long message in the alphabet of SMS. */
const TEXT_MAX = 459

const phone = Type.String({ pattern: '^\\+?[0-9 ()-]{3,32}$', description: 'a telephone number, such as +14155550100' })

export const smsKind: ChannelKind = {
  schema: Type.Object({
    gateway_url: Type.Optional(httpUrl),
    api_key: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, description: 'a text' })),
    from: Type.Optional({ ...shortText, description: 'a number or a name of the sender' }),
    to: Type.Optional(
      Type.Union([phone, Type.Array(phone, { minItems: 1, maxItems: 50 })], {
        description: 'a telephone number, such as +14155550100, or a list of them',
      }),
    ),
    format: Type.Optional(
      Type.Union([Type.Literal('json'), Type.Literal('twilio')], { description: 'json or twilio', default: 'json' }),
    ),
    account: Type.Optional({ ...shortText, description: 'the account at a Twilio-compatible gateway' }),
  }),
  shown: ['gateway_url', 'from', 'to', 'format', 'account'],
  parallel: 4,
  missing(config) {
    const needed = ['gateway_url', 'api_key', 'from', 'to', ...(config.format === 'twilio' ? ['account'] : [])]
    return needed.filter((name) => !config[name] || (Array.isArray(config[name]) && config[name].length === 0))
  },
  wrong(config) {
    if (typeof config.gateway_url !== 'string') return null
    const url = new URL(config.gateway_url)
    return url.username || url.password || url.search
      ? { field: 'gateway_url', message: 'expected no password and no query in it: secrets belong into api_key' }
      : null
  },
  open: (config, tools) => sms(config as unknown as SmsConfig, tools),
}

function sms(config: SmsConfig, { http }: ChannelTools): Channel {
  const url = new URL(config.gateway_url)
  const numbers = typeof config.to === 'string' ? [config.to] : config.to
  /** Numbers that got a notice whose other numbers have to be tried again. */
  const told = new Map<string, Set<string>>()
  return {
    async send(notice, { now, links, signal }) {
      const text = textOf(messageOf(notice, links, now))
      const done = told.get(notice.id) ?? new Set<string>()
      let last: SendOutcome = { kind: 'accepted', answer: 'accepted before' }
      let failed: SendOutcome | null = null
      for (const to of numbers) {
        if (done.has(to)) continue
        const { body, headers } = formOf(config, to, text, notice.id)
        try {
          const answer = await http.request(url, { method: 'POST', headers, body, timeoutMs: TIMEOUT_MS, signal })
          last = outcomeOfAnswer(answer, now)
        } catch (error) {
          last = outcomeOfError(error)
        }
        if (last.kind === 'accepted') done.add(to)
        // A number that may still be reached decides; one that never will is said, and holds up nobody.
        else if (failed === null || last.kind === 'try_later') failed = last
      }
      told.delete(notice.id)
      if (failed === null) return last
      if (failed.kind === 'refused' && done.size > 0) {
        return { kind: 'accepted', answer: `${done.size} of ${numbers.length} numbers; refused: ${failed.answer}` }
      }
      if (done.size > 0) {
        told.set(notice.id, done)
        for (const id of told.keys()) if (told.size > REMEMBERED) told.delete(id)
      }
      return failed
    },
  }
}

const REMEMBERED = 1000

function formOf(config: SmsConfig, to: string, text: string, deliveryId: string) {
  if (config.format === 'twilio') {
    const key = Buffer.from(`${config.account}:${config.api_key}`).toString('base64')
    return {
      body: new URLSearchParams({ From: config.from, To: to, Body: text }).toString(),
      headers: { authorization: `Basic ${key}`, 'content-type': 'application/x-www-form-urlencoded' },
    }
  }
  return {
    body: JSON.stringify({ from: config.from, to, text, delivery_id: deliveryId }),
    headers: {
      authorization: `Bearer ${config.api_key}`,
      'content-type': 'application/json',
      'x-delivery-id': deliveryId,
    },
  }
}

/** Title, the first sentence that fits, and the link to acknowledge: what a person needs on the way. */
function textOf(message: Message): string {
  const link = message.acknowledgeUrl ?? message.explainUrl
  const room = TEXT_MAX - (link === null ? 0 : link.length + 1)
  const late = message.sentences.filter((s) => /^This (notice|is a test)/.test(s))
  const said = [`[${message.severity.toUpperCase()}] ${message.title}`, ...message.lines.slice(0, 3), ...late].join(
    '\n',
  )
  const cut = said.length > room ? `${said.slice(0, Math.max(0, room - 3))}...` : said
  return link === null ? cut : `${cut}\n${link}`
}
