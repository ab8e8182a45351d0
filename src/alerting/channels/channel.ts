/**
 * The port behind which every way of telling somebody stands: e-mail, webhook, Slack, SMS. A channel makes the text,
 * speaks the protocol, and says what the provider answered; when to try again is the outbox's business.
 */
import type { Millis } from '../../base/time.ts'
import type { Notice } from '../notice.ts'
import type { Severity } from '../rule.ts'

export const CHANNEL_TYPES = ['email', 'webhook', 'slack', 'sms'] as const
export type ChannelType = (typeof CHANNEL_TYPES)[number]

/** A channel as it is stored; `config` by type, secrets opened only while a message is sent. */
export interface ChannelRecord {
  readonly id: string
  readonly name: string
  readonly type: ChannelType
  readonly config: Readonly<Record<string, unknown>>
  readonly enabled: boolean
  /** All that it needs is given. */
  readonly configured: boolean
  /** Empty: all severities. */
  readonly severityFilter: readonly Severity[]
  readonly lastSuccessAt: Millis | null
  readonly lastError: string | null
  readonly version: number
}

export type SendOutcome =
  | { readonly kind: 'accepted'; readonly answer: string }
  /** A later attempt may succeed: time-out, refused connection, 429, 5xx, an SMTP 4xx. */
  | { readonly kind: 'try_later'; readonly answer: string; readonly retryAfterMs: number | null }
  /** No attempt will succeed as things are: 4xx, an SMTP 5xx, an address that is not allowed. */
  | { readonly kind: 'refused'; readonly answer: string }

export interface Links {
  /** Page of the alert. */
  readonly explain: (alertId: string) => string | null
  /** Signed, one use: acknowledges the alert. */
  readonly acknowledge: (alertId: string) => string | null
}

export interface SendContext {
  readonly now: Millis
  readonly links: Links
  /** Aborted when the platform stops: give up, the outbox tries again after the next start. */
  readonly signal: AbortSignal
}

export interface Channel {
  send(notice: Notice, context: SendContext): Promise<SendOutcome>
}
