/**
 * Says as an alert what scaling cannot do: a provider that fails, instances that end after their start, another
 * autoscaler on the same object. One alert per target, through the door where other systems post theirs; from there on
 * it is an alert like all others: silenced, told, escalated, acknowledged.
 *
 *   well ──a problem for HOLD_MS──▶ posted, and again each minute ──no problem any more──▶ ended
 *
 * Nothing is kept here: after a start the first look at a target that is well ends what the last control left open.
 */
import type { PostedAlerts } from '../alerting/index.ts'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { MINUTE, type Millis, SECOND } from '../base/time.ts'
import { type Label, PLATFORM_LABEL, sortLabels } from '../metrics/index.ts'
import type { Manager } from '../scaling/index.ts'

export interface ScalingAlertsOptions {
  readonly manager: Pick<Manager, 'active' | 'targets' | 'view'>
  readonly posted: Pick<PostedAlerts, 'post'>
  readonly scheduler: Scheduler
  readonly log: Log
}

export const SCALING_ALERT = 'scaling_driver_failing'
const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
const LOOK_MS = 5 * SECOND
/** A provider that is back by then is not worth waking somebody. */
const HOLD_MS = 30 * SECOND
/** Posted alerts end when nobody repeats them for five minutes. */
const REPEAT_MS = MINUTE

interface Seen {
  since: Millis | null
  /** What was posted last, and when; null: nothing is open, `undefined`: not known yet. */
  said: { readonly problem: string; readonly at: number } | null | undefined
}

/** Looks at all targets every few seconds. */
export function scalingAlerts({ manager, posted, scheduler, log }: ScalingAlertsOptions): Cancel {
  const { clock } = scheduler
  const targets = new Map<string, Seen>(manager.targets().map((name) => [name, { since: null, said: undefined }]))

  async function look(): Promise<void> {
    for (const [name, seen] of targets) {
      const { observed, problem } = manager.view(name)
      const now = clock.now()
      if (problem !== null && manager.active) {
        seen.since ??= now
        const due = seen.said?.problem !== problem || clock.monotonic() - seen.said.at >= REPEAT_MS
        if (now - seen.since < HOLD_MS || !due) continue
        await post(name, problem, seen.since, null)
        seen.said = { problem, at: clock.monotonic() }
      } else if (seen.said !== null && (observed !== null || !manager.active)) {
        await post(name, '', now, now)
        Object.assign(seen, { since: null, said: null })
      } else seen.since = null
    }
  }

  function post(target: string, problem: string, startsAt: Millis, endsAt: Millis | null): Promise<void> {
    const labels: Label[] = [['alertname', SCALING_ALERT], PLATFORM_LABEL, ['severity', 'warning'], ['target', target]]
    const annotations = {
      summary: `${target} cannot be scaled as it should`,
      description: `${sentence(problem)} Scaling tries again by itself; until then ${target} keeps the instances it has.`,
    }
    return posted.post([{ labels: sortLabels(labels), annotations, startsAt, endsAt, generatorUrl: '' }])
  }

  return scheduler.every(LOOK_MS, () =>
    look().catch((error: unknown) => log.error('what scaling cannot do is not told', { why: messageOf(error) })),
  )
}
