/** Slack: an incoming webhook, one attachment: colour, title, text, and the figures as fields. */
import Type from 'typebox'
import { type Message, messageOf } from '../message.ts'
import type { Notice } from '../notice.ts'
import type { Channel, ChannelKind, ChannelTools } from './channel.ts'
import { outcomeOfAnswer, outcomeOfError } from './http-outcome.ts'
import { httpUrl, shortText } from './settings.ts'

interface SlackConfig {
  readonly webhook_url: string
  readonly channel?: string
  readonly username?: string
}

const TIMEOUT_MS = 10_000

export const slackKind: ChannelKind = {
  schema: Type.Object({
    webhook_url: Type.Optional(httpUrl),
    channel: Type.Optional({ ...shortText, default: '#alerts' }),
    username: Type.Optional({ ...shortText, default: 'AlertBot' }),
  }),
  shown: ['channel', 'username'],
  parallel: 16,
  missing: (config) => (config.webhook_url ? [] : ['webhook_url']),
  open: (config, tools) => slack(config as unknown as SlackConfig, tools),
}

function slack(config: SlackConfig, { http }: ChannelTools): Channel {
  const url = new URL(config.webhook_url)
  return {
    async send(notice, { now, links, signal }) {
      const body = JSON.stringify({
        channel: config.channel ?? '#alerts',
        username: config.username ?? 'AlertBot',
        attachments: [attachmentOf(notice, messageOf(notice, links, now))],
      })
      const headers = { 'content-type': 'application/json; charset=utf-8', 'x-delivery-id': notice.id }
      try {
        const answer = await http.request(url, { method: 'POST', headers, body, timeoutMs: TIMEOUT_MS, signal })
        return outcomeOfAnswer(answer, now)
      } catch (error) {
        return outcomeOfError(error)
      }
    },
  }
}

const COLOURS = { info: '#2f6feb', warning: '#d18b00', critical: '#d1242f', emergency: '#8b0f1a' } as const
const RESOLVED = '#2da44e'

function attachmentOf(notice: Notice, message: Message): Record<string, unknown> {
  const over = notice.alerts.every((alert) => alert.status === 'resolved')
  const links = [
    message.acknowledgeUrl === null ? null : `<${message.acknowledgeUrl}|Acknowledge>`,
    message.explainUrl === null ? null : `<${message.explainUrl}|Why>`,
    message.runbookUrl === null ? null : `<${escaped(message.runbookUrl)}|Runbook>`,
  ].filter((link) => link !== null)
  const shown = message.facts.filter(({ name }) => SHOWN.includes(name))
  const series = message.facts.filter(({ name }) => name === 'Series').map(({ value }) => value)
  const text = [...message.sentences, ...series, ...message.lines.map((line) => `• ${line}`)].map(escaped)
  return {
    color: over ? RESOLVED : COLOURS[message.severity],
    fallback: escaped(message.title),
    title: escaped(message.title),
    ...(message.explainUrl === null ? {} : { title_link: message.explainUrl }),
    text: [...text, ...(links.length > 0 ? [links.join('   ')] : [])].join('\n'),
    fields: shown.map(({ name, value }) => ({ title: name, value: escaped(value), short: true })),
    footer: `delivery ${notice.id}`,
    ts: Math.floor(notice.createdAt / 1000),
  }
}

const SHOWN = ['Severity', 'Metric', 'Current Value', 'Threshold']

/** Slack's three control characters. */
function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;')
}
