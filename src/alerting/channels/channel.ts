/**
 * The port behind which every way of telling somebody stands: e-mail, webhook, Slack, SMS. A channel makes the text,
 * speaks the protocol, and says what the provider answered; when to try again is the outbox's business.
 */
import type { TObject } from 'typebox'
import type { AddressGuard } from '../../base/address.ts'
import type { HttpClient } from '../../base/http-client.ts'
import type { Scheduler } from '../../base/scheduler.ts'
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
  /** Any other page, by its path. */
  readonly page: (path: string) => string | null
}

export interface SendContext {
  readonly now: Millis
  readonly links: Links
  /** Aborted when the platform stops: give up, the outbox tries again after the next start. */
  readonly signal: AbortSignal
}

export interface Channel {
  send(notice: Notice, context: SendContext): Promise<SendOutcome>
  /** Ends kept connections. */
  close?(): void
}

/** What channels are made with. */
export interface ChannelTools {
  readonly http: HttpClient
  readonly guard: AddressGuard
  readonly scheduler: Scheduler
  /** Certificates of authorities (PEM) in place of the system's. */
  readonly trust?: string
}

/** One type of channel: what its settings are, and how it is made from them. */
export interface ChannelKind {
  /** Settings, each with a `description` of what is right. Optional ones are optional here too. */
  readonly schema: TObject
  /** The settings that may be shown; every other one is secret. */
  readonly shown: readonly string[]
  /** Messages under way at once. */
  readonly parallel: number
  /** Names of settings that are missing. */
  missing(config: Readonly<Record<string, unknown>>): string[]
  /** What the schema cannot say: field and what would be right. */
  wrong?(config: Readonly<Record<string, unknown>>): { readonly field: string; readonly message: string } | null
  /** How often a message may fail before it is dead, where the channel says so itself. */
  tries?(config: Readonly<Record<string, unknown>>): number
  open(config: Readonly<Record<string, unknown>>, tools: ChannelTools): Channel
}

/** A channel as the outbox sees it. */
export interface ReadyChannel {
  readonly id: string
  readonly enabled: boolean
  readonly configured: boolean
  readonly severityFilter: readonly Severity[]
  readonly parallel: number
  /** Null: as the policy of all says. */
  readonly tries: number | null
  readonly channel: Channel
  /** Takes secrets and addresses out of what a provider said, and shortens it. */
  scrub(answer: string): string
}

/** Where the outbox finds channels. Its answers hold until `onChange` names the channel. */
export interface ChannelSource {
  ids(): readonly string[]
  get(id: string): ReadyChannel | null
  onChange(listener: (id: string) => void): void
  /** Within the transaction of the outcome. */
  noteSuccess(id: string, at: Millis): void
  noteError(id: string, answer: string): void
}
