/** What became of the notice of a test, and how long its sender waits to hear. */
import Type, { type Static } from 'typebox'
import { SECOND } from '../../base/time.ts'
import type { AlertingRoutesDeps } from '../surface.ts'

export const OutcomeSchema = Type.Object({
  channel_id: Type.String(),
  status: Type.Enum(['delivered', 'failed', 'waiting', 'not_sent'], {
    description: 'Waiting: no answer within 30 s. Not sent: the channel would not take it, `answer` says why.',
  }),
  answer: Type.String(),
  ms: Type.Union([Type.Number(), Type.Null()]),
})

const OUTCOME_EVERY_MS = 25
const OUTCOME_WITHIN_MS = 30 * SECOND

/** Waits until a notice of a test has been sent, once. */
export async function outcomeOf(
  { delivery, scheduler }: AlertingRoutesDeps,
  noticeId: string,
  signal: AbortSignal,
): Promise<Static<typeof OutcomeSchema>> {
  const until = scheduler.clock.monotonic() + OUTCOME_WITHIN_MS
  for (;;) {
    const row = delivery.outbox.delivery(noticeId)
    const last = row?.attempts.at(-1)
    const channel = { channel_id: row?.notice.channelId ?? '' }
    if (row && row.status !== 'waiting') {
      const status = row.status === 'delivered' ? 'delivered' : 'failed'
      return { ...channel, status, answer: last?.answer ?? row.status, ms: last?.ms ?? null }
    }
    if (signal.aborted || scheduler.clock.monotonic() >= until) {
      return { ...channel, status: 'waiting', answer: 'no answer yet', ms: null }
    }
    await new Promise<void>((resolve) => scheduler.after(OUTCOME_EVERY_MS, resolve))
  }
}
