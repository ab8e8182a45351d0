/**
 * Silences: alerts that match are shown as suppressed, and nobody is told. What a silence hid is kept; when it ends and
 * an alert still fires, that is told.
 *
 *   from ───────────── until            once
 *   ▐█▌   ▐█▌   ▐█▌   ▐█▌              by a schedule: each time the cron pattern comes, for `durationMs`, in its zone
 *   from ───── last matching alert resolved        `untilResolved`
 */
import { Cron } from 'croner'
import { messageOf } from '../../base/errors.ts'
import type { Millis } from '../../base/time.ts'
import { compileRegexp } from '../../metrics/index.ts'

export interface SilenceMatcher {
  /** A label, or `alertname`, `rule_id`, `metric_name`, `severity`. */
  readonly name: string
  readonly value: string
  readonly isRegex: boolean
  /** False: everything else matches. */
  readonly isEqual: boolean
}

export interface SilenceSchedule {
  /** Five fields, as cron has them; each start is the beginning of `durationMs` of silence. */
  readonly cron: string
  readonly durationMs: number
  /** `Europe/Berlin`. */
  readonly timeZone: string
}

export interface Silence {
  readonly id: string
  readonly version: number
  readonly matchers: readonly SilenceMatcher[]
  readonly startsAt: Millis
  /** Null: no end is set. */
  readonly endsAt: Millis | null
  readonly schedule: SilenceSchedule | null
  readonly untilResolved: boolean
  readonly comment: string
  readonly createdBy: string
  readonly createdAt: Millis
  readonly updatedAt: Millis
  /** When it was ended, by hand or because all it matched is resolved; null: it was not. */
  readonly endedAt: Millis | null
}

export type SilenceState = 'pending' | 'active' | 'expired'

/** Labels by which a silence knows an alert. */
export type SilenceLabels = (name: string) => string

/** What every alert that a silence matches has: for a look-up that needs not see all. */
export interface SilenceTraits {
  readonly rule: string | null
  readonly metric: string | null
  /** Texts that stand in its labels or in those of its rule. */
  readonly texts: readonly string[]
}

/** A silence, compiled. Throws an Error with one sentence where a pattern, schedule or zone is none. */
export class CompiledSilence {
  readonly silence: Silence
  readonly traits: SilenceTraits
  readonly #tests: ((labels: SilenceLabels) => boolean)[]
  readonly #cron: Cron | null
  /** What the schedule says from `from` to before `until`: to ask it costs too much to be done every second. */
  #said = { from: 0, until: 0, active: false }

  constructor(silence: Silence) {
    this.silence = silence
    this.#tests = silence.matchers.map(({ name, value, isRegex, isEqual }) => {
      const regexp = isRegex ? compileRegexp(value, { dotAll: true }) : null
      return (labels) => (regexp ? regexp.test(labels(name)) : labels(name) === value) === isEqual
    })
    this.#cron = silence.schedule && cronOf(silence.schedule)
    this.traits = traitsOf(silence.matchers)
  }

  matches(labels: SilenceLabels): boolean {
    return this.#tests.every((test) => test(labels))
  }

  state(now: Millis): SilenceState {
    const { startsAt, endsAt, endedAt, schedule } = this.silence
    if (endedAt !== null || (endsAt !== null && now >= endsAt)) return 'expired'
    if (now < startsAt) return 'pending'
    if (!this.#cron) return 'active'
    if (now < this.#said.from || now >= this.#said.until) this.#said = this.#ask(this.#cron, schedule!.durationMs, now)
    return this.#said.active ? 'active' : 'pending'
  }

  #ask(cron: Cron, durationMs: number, from: Millis) {
    // A start later than `durationMs` ago has not run out.
    const start = cron.nextRun(new Date(from - durationMs))?.getTime() ?? Number.POSITIVE_INFINITY
    return start <= from ? { from, until: start + durationMs, active: true } : { from, until: start, active: false }
  }
}

function traitsOf(matchers: readonly SilenceMatcher[]): SilenceTraits {
  let rule: string | null = null
  let metric: string | null = null
  const texts: string[] = []
  for (const { name, value, isRegex, isEqual } of matchers) {
    if (!isEqual) continue
    const regexp = isRegex ? compileRegexp(value, { dotAll: true }) : null
    const text = regexp ? (regexp.literals?.length === 1 ? regexp.literals[0]! : regexp.prefix) : value
    if (!isRegex && name === 'rule_id') rule = value
    else if (!isRegex && name === 'metric_name') metric = value
    else if (text !== '' && name !== 'rule_id' && name !== 'metric_name') texts.push(text)
  }
  return { rule, metric, texts }
}

function cronOf({ cron, timeZone }: SilenceSchedule): Cron {
  try {
    const made = new Cron(cron, { timezone: timeZone, paused: true, mode: '5-part' })
    made.nextRun(new Date(0)) // it finds out only here whether there is such a zone
    return made
  } catch (error) {
    throw new Error(`the schedule cannot be read: ${messageOf(error)}`)
  }
}
