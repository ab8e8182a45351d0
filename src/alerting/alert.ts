/**
 * The life of an alert: one watch for each rule and series it watches, moved by one pure function.
 *
 *            breach                held for `for`, cooled down
 *   idle ───────────▶ pending ───────────────────────────────▶ firing ──┐ recovered for `recover_for`
 *    ▲                  │ not in breach                          │       │ (longer while flapping)
 *    └──────────────────┴────────────────────────────────────────┴───────┘
 *
 * Time is the time of samples; a tick moves a watch only as far as its newest sample is recent, so a restart or a gap in
 * collection opens nothing and resolves nothing. Acknowledging, escalation and silences do not move a watch: they are
 * facts of the alert (see escalate.ts, suppress/), and nothing here sends a message.
 */
import type { Millis } from '../base/time.ts'
import { type Level, levelOf, type Rule } from './rule.ts'

export type Watch =
  | { readonly kind: 'idle'; readonly endedAt: Millis | null; readonly opens: readonly Millis[] }
  | {
      readonly kind: 'pending'
      /** Time of the first sample in breach. */
      readonly since: Millis
      readonly endedAt: Millis | null
      readonly opens: readonly Millis[]
    }
  | {
      readonly kind: 'firing'
      readonly alertId: string
      readonly since: Millis
      /** Time of the first sample of the present recovery; null while not recovered. */
      readonly clearSince: Millis | null
      readonly peak: number
      readonly flapping: boolean
      readonly opens: readonly Millis[]
    }

export const idle: Watch = { kind: 'idle', endedAt: null, opens: [] }

export type Input =
  /**
   * A sample, or what a rule derives from samples (a change per minute, a near edge, a score). `level` is given where
   * the value does not say by itself where it stands: an expression breaches by being there.
   */
  | { readonly kind: 'value'; readonly at: Millis; readonly value: number; readonly level?: Level }
  /** Time has passed; `at` and `value` are those of the newest sample. */
  | { readonly kind: 'tick'; readonly at: Millis; readonly value: number; readonly level?: Level }
  /** No sample since `at`, for longer than the series' own rhythm explains. */
  | { readonly kind: 'absent'; readonly at: Millis }
  /** The rule or the series is no more what it was, or a person ended the alert. */
  | { readonly kind: 'end'; readonly why: EndReason }

export type EndReason =
  | 'resolved_by_hand'
  | 'rule_edited'
  | 'rule_deleted'
  | 'rule_disabled'
  | 'series_deleted'
  /** The rule is now bound to other series. */
  | 'not_watched'
export type OpenReason = 'breach' | 'no_data'
export type CloseReason = EndReason | 'recovered' | 'no_data'

/** What a step did, for the store and the stages behind it. */
export type Deed =
  | {
      readonly kind: 'opened'
      readonly alertId: string
      readonly at: Millis
      /** When the breach began. */
      readonly since: Millis
      /** NaN when it opened for want of data. */
      readonly value: number
      readonly why: OpenReason
      readonly flapping: boolean
    }
  | {
      readonly kind: 'closed'
      readonly alertId: string
      readonly at: Millis
      readonly value: number
      readonly why: CloseReason
    }

export interface Stepped {
  readonly watch: Watch
  readonly deeds: readonly Deed[]
}

/** So many openings within the window make an alert flap; it then has to stay recovered for the calm time to resolve. */
export const FLAP_OPENS = 4
export const FLAP_WINDOW_MS = 3_600_000
export const FLAP_CALM_MS = 600_000

/** How old the newest sample may be for a tick to move its watch. */
export const RECENT_MS = 90_000

/** Moves one watch. `newId` gives the id of an alert that opens. */
export function step(rule: Rule, watch: Watch, input: Input, now: Millis, newId: () => string): Stepped {
  switch (input.kind) {
    case 'value':
      return Number.isNaN(input.value) ? stay(watch) : onValue(rule, watch, input, input.at, now, newId)
    case 'tick':
      // What the newest sample said still holds, up to now, while it is recent.
      return Number.isNaN(input.value) || now - input.at > RECENT_MS
        ? stay(watch)
        : onValue(rule, watch, input, Math.max(input.at, now), now, newId)
    case 'absent':
      return onAbsent(rule, watch, input.at, now, newId)
    case 'end':
      return onEnd(watch, input.why, now)
  }
}

const stay = (watch: Watch): Stepped => ({ watch, deeds: [] })

/** `at` is when the value was taken, `until` up to when it is known to hold. */
function onValue(
  rule: Rule,
  watch: Watch,
  { at, value, level = levelOf(rule, value) }: { at: Millis; value: number; level?: Level },
  until: Millis,
  now: Millis,
  newId: () => string,
): Stepped {
  if (watch.kind === 'firing') return whileFiring(rule, watch, level, at, value, until)
  if (level !== 'breach') {
    return watch.kind === 'idle' ? stay(watch) : stay({ kind: 'idle', endedAt: watch.endedAt, opens: watch.opens })
  }
  const since = watch.kind === 'pending' ? watch.since : at
  const held = until - since >= rule.forMs
  const cooled = watch.endedAt === null || now - watch.endedAt >= rule.cooldownMs
  if (held && cooled) return open(watch, until, since, value, 'breach', newId)
  return watch.kind === 'pending'
    ? stay(watch)
    : stay({ kind: 'pending', since, endedAt: watch.endedAt, opens: watch.opens })
}

function open(
  watch: Exclude<Watch, { kind: 'firing' }>,
  at: Millis,
  since: Millis,
  value: number,
  why: OpenReason,
  newId: () => string,
): Stepped {
  const opens = [...watch.opens.filter((t) => at - t < FLAP_WINDOW_MS), at].slice(-FLAP_OPENS)
  const flapping = opens.length >= FLAP_OPENS
  const alertId = newId()
  return {
    watch: { kind: 'firing', alertId, since: at, clearSince: null, peak: value, flapping, opens },
    deeds: [{ kind: 'opened', alertId, at, since, value, why, flapping }],
  }
}

function whileFiring(
  rule: Rule,
  watch: Extract<Watch, { kind: 'firing' }>,
  level: Level,
  at: Millis,
  value: number,
  until: Millis,
): Stepped {
  const peak = worse(rule, value, watch.peak) ? value : watch.peak
  if (level !== 'clear') {
    return watch.clearSince === null && peak === watch.peak ? stay(watch) : stay({ ...watch, clearSince: null, peak })
  }
  const clearSince = watch.clearSince ?? at
  const needed = watch.flapping ? Math.max(rule.recoverForMs, FLAP_CALM_MS) : rule.recoverForMs
  if (until - clearSince < needed) return clearSince === watch.clearSince ? stay(watch) : stay({ ...watch, clearSince })
  return {
    watch: { kind: 'idle', endedAt: until, opens: watch.opens },
    deeds: [{ kind: 'closed', alertId: watch.alertId, at: until, value, why: 'recovered' }],
  }
}

/** Farther from good than the worst so far. An alert that opened for want of data has no peak yet. */
function worse(rule: Rule, value: number, peak: number): boolean {
  if (Number.isNaN(peak)) return true
  switch (rule.condition) {
    case 'lt':
    case 'lte':
      return value < peak
    case 'change_rate':
      return rule.threshold >= 0 ? value > peak : value < peak
    case 'eq':
      return false
    default:
      return value > peak
  }
}

function onAbsent(rule: Rule, watch: Watch, at: Millis, now: Millis, newId: () => string): Stepped {
  if (rule.noData === 'alert' && watch.kind !== 'firing') {
    const cooled = watch.endedAt === null || now - watch.endedAt >= rule.cooldownMs
    return cooled ? open(watch, now, at, Number.NaN, 'no_data', newId) : stay(watch)
  }
  if (rule.noData === 'resolve' && watch.kind === 'firing') {
    return {
      watch: { kind: 'idle', endedAt: now, opens: watch.opens },
      deeds: [{ kind: 'closed', alertId: watch.alertId, at: now, value: Number.NaN, why: 'no_data' }],
    }
  }
  return stay(watch)
}

function onEnd(watch: Watch, why: EndReason, now: Millis): Stepped {
  if (watch.kind !== 'firing')
    return stay(watch.kind === 'idle' ? watch : { kind: 'idle', endedAt: watch.endedAt, opens: watch.opens })
  return {
    watch: { kind: 'idle', endedAt: now, opens: watch.opens },
    deeds: [{ kind: 'closed', alertId: watch.alertId, at: now, value: Number.NaN, why }],
  }
}
