/**
 * Notices: what is told to people, from the moment that an alert changes to the provider's answer.
 *
 *   deed ─▶ stages (inhibited, silenced, grouped, deduplicated, routed) ─▶ notices ─▶ outbox row ─▶ channel ─▶ answer
 *
 * A notice goes into the outbox in the transaction of the change that it tells of. Its id is what the receiver sees as
 * `delivery_id`: the same for every attempt, so that doubles can be dropped.
 */
import type { Millis } from '../base/time.ts'
import type { CloseReason } from './alert.ts'
import type { Severity } from './rule.ts'

export const EVENTS = ['firing', 'escalated', 'resolved', 'test', 'digest'] as const
export type NoticeEvent = (typeof EVENTS)[number]

/** What a message says of one alert. Plain data: it is stored as it is, and every channel makes its text from it. */
export interface NoticeAlert {
  readonly alertId: string
  readonly ruleId: string
  readonly title: string
  readonly message: string
  readonly severity: Severity
  readonly status: 'active' | 'acknowledged' | 'resolved' | 'suppressed'
  readonly metricName: string
  /** Labels of the series. */
  readonly labels: Readonly<Record<string, string>>
  /** Null when there is no value: no data. */
  readonly currentValue: number | null
  readonly thresholdValue: number | null
  readonly unit: string
  readonly triggeredAt: Millis
  readonly resolvedAt: Millis | null
  readonly runbookUrl: string | null
  readonly tags: readonly string[]
  readonly ruleName: string
  readonly condition: string
  /** The worst value so far. */
  readonly peakValue?: number | null
  /** Why it ended; absent while it fires. */
  readonly resolution?: CloseReason | null
  /** Path of the page to look at, where this is no alert that has one: `/ops/deliveries`. */
  readonly page?: string
  /** Ids of the channels that were told before a rise, to no effect. */
  readonly toldBefore?: readonly string[]
}

export interface Notice {
  /** `delivery_id`. */
  readonly id: string
  readonly channelId: string
  readonly event: NoticeEvent
  /** One alert; for a digest the alerts that it counts, the worst first, at most 20. */
  readonly alerts: readonly NoticeAlert[]
  /** How many alerts the notice stands for. */
  readonly count: number
  /** Notices of one order key and channel are delivered one after the other, oldest first: the alert, or the group. */
  readonly orderKey: string
  readonly isTest: boolean
  readonly createdAt: Millis
}

/** What became of one attempt. */
export interface Attempt {
  readonly at: Millis
  readonly ms: number
  readonly ok: boolean
  /** The provider's own words, shortened, without secrets: `250 2.0.0 Ok: queued as 4F1`, `429 Too Many Requests`. */
  readonly answer: string
}

/**
 *   waiting ──attempt──▶ delivered
 *      ▲ │ retry later
 *      └─┘──no try left, or a refusal that no retry mends──▶ dead (told through another channel)
 *   cancelled: the channel was deleted or disabled
 */
export type DeliveryStatus = 'waiting' | 'delivered' | 'dead' | 'cancelled'

export interface Delivery {
  readonly notice: Notice
  readonly status: DeliveryStatus
  readonly attempts: readonly Attempt[]
  /** When the next attempt is due; null when there is none. */
  readonly nextAt: Millis | null
}
