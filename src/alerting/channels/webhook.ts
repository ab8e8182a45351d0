/**
 * Webhook: the notice as JSON to an address of the operator's choice. Any 2xx is success.
 *
 *   X-Signature: t=<unix seconds>,v1=<hex>      v1 = HMAC-SHA-256(signing_secret, "<t>.<body>"), body as sent
 *   X-Delivery-Id: <delivery_id>                the same for every attempt: drop what you have seen
 *
 * A receiver computes v1 anew, compares in constant time, and refuses a `t` that is more than some minutes old. The
 * signature is there when a signing secret is set.
 */
import { createHmac } from 'node:crypto'
import Type from 'typebox'
import { toIso } from '../../base/time.ts'
import { type Message, messageOf } from '../message.ts'
import type { Notice, NoticeAlert } from '../notice.ts'
import type { Channel, ChannelKind, ChannelTools } from './channel.ts'
import { outcomeOfAnswer, outcomeOfError } from './http-outcome.ts'
import { httpUrl } from './settings.ts'

interface WebhookConfig {
  readonly url: string
  readonly timeout?: number
  readonly retry_attempts?: number
  readonly signing_secret?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Headers that are not the operator's to set. */
const OWN_HEADERS =
  /^(host|content-length|transfer-encoding|connection|upgrade|expect|te|trailer|x-signature|x-delivery-id)$/i

export const webhookKind: ChannelKind = {
  schema: Type.Object({
    url: Type.Optional(httpUrl),
    timeout: Type.Optional(
      Type.Number({ minimum: 0.1, maximum: 60, description: 'a number of seconds from 0.1 to 60', default: 10 }),
    ),
    retry_attempts: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100, description: 'a whole number from 0 to 100', default: 3 }),
    ),
    signing_secret: Type.Optional(
      Type.String({ minLength: 1, maxLength: 512, description: 'a text of 1 to 512 characters' }),
    ),
    headers: Type.Optional(
      Type.Record(
        Type.String({ pattern: "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$" }),
        Type.String({ maxLength: 4096, pattern: '^[\\x20-\\x7e\\t]*$' }),
        { maxProperties: 32, description: 'names of headers with their values, in visible ASCII', default: {} },
      ),
    ),
  }),
  shown: ['timeout', 'retry_attempts'],
  parallel: 32,
  missing: (config) => (config.url ? [] : ['url']),
  wrong(config) {
    const name = Object.keys(config.headers ?? {}).find((header) => OWN_HEADERS.test(header))
    return name === undefined ? null : { field: 'headers', message: `${name} cannot be set` }
  },
  tries: (config) => 1 + Number(config.retry_attempts ?? 3),
  open: (config, tools) => webhook(config as unknown as WebhookConfig, tools),
}

function webhook(config: WebhookConfig, { http }: ChannelTools): Channel {
  const url = new URL(config.url)
  const timeoutMs = (config.timeout ?? 10) * 1000
  return {
    async send(notice, { now, links, signal }) {
      const body = JSON.stringify(bodyOf(notice, messageOf(notice, links, now)))
      const headers = {
        ...config.headers,
        'content-type': 'application/json',
        'x-delivery-id': notice.id,
        ...(config.signing_secret ? { 'x-signature': signature(config.signing_secret, body, now) } : {}),
        ...(url.username || url.password ? { authorization: basic(url) } : {}),
      }
      try {
        return outcomeOfAnswer(await http.request(url, { method: 'POST', headers, body, timeoutMs, signal }), now)
      } catch (error) {
        return outcomeOfError(error)
      }
    },
  }
}

/** See the head of this file. `now` in milliseconds. */
export function signature(secret: string, body: string, now: number): string {
  const t = Math.floor(now / 1000)
  return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`
}

const basic = (url: URL) =>
  `Basic ${Buffer.from(`${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`).toString('base64')}`

function bodyOf(notice: Notice, message: Message): Record<string, unknown> {
  const first = notice.alerts[0]!
  return {
    delivery_id: notice.id,
    event: notice.isTest ? 'test' : notice.event,
    ...alertOf(first),
    title: message.title,
    message: message.sentences.join(' '),
    explain_url: message.explainUrl,
    acknowledge_url: message.acknowledgeUrl,
    is_test: notice.isTest,
    created_at: toIso(notice.createdAt),
    late_seconds: Math.round(message.lateMs / 1000),
    ...(notice.event === 'digest' ? { count: notice.count, alerts: notice.alerts.map(alertOf) } : {}),
  }
}

function alertOf(alert: NoticeAlert): Record<string, unknown> {
  return {
    alert_id: alert.alertId,
    title: alert.title,
    message: alert.message,
    severity: alert.severity,
    status: alert.status,
    metric_name: alert.metricName,
    current_value: alert.currentValue,
    threshold_value: alert.thresholdValue,
    peak_value: alert.peakValue ?? null,
    triggered_at: toIso(alert.triggeredAt),
    resolved_at: alert.resolvedAt === null ? null : toIso(alert.resolvedAt),
    metadata: {
      rule_id: alert.ruleId,
      rule_name: alert.ruleName,
      condition: alert.condition,
      tags: alert.tags,
      labels: alert.labels,
      unit: alert.unit,
      runbook_url: alert.runbookUrl,
      resolution: alert.resolution ?? null,
    },
  }
}
