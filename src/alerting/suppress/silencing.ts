/**
 * Silences at work: which hold, what each hides, and what its end tells; the end of an inhibition tells in the same way.
 * What concerns many alerts is a sweep, done a bounded part a turn.
 */
import type { Millis } from '../../base/time.ts'
import { escalatesAt } from '../escalate.ts'
import { silenceLabels } from '../opening.ts'
import type { Alert } from '../record.ts'
import { SEVERITIES, type Severity } from '../rule.ts'
import type { AlertStore } from '../store.ts'
import type { Telling } from '../telling.ts'
import type { Turn } from '../turn.ts'
import { CompiledSilence, type Silence } from './silence.ts'

/** Hiding what a silence matches: what is left to look at, and behind which alert. */
interface Hiding {
  readonly kind: 'hide'
  readonly silence: string
  readonly kinds: (readonly ['active' | 'acknowledged', Severity])[]
  after: Pick<Alert, 'triggeredAt' | 'id'> | null
}
/** Telling what `by` suppressed. */
interface Releasing {
  readonly kind: 'release'
  readonly by: string
  after: string
}
/**
 * A change of many alerts that would hold up everybody else as one turn. Each alert changes in one transaction with the
 * notices about it; which alerts are left is seen from the alerts themselves, so that a new start goes on with it.
 */
export type Sweep = Hiding | Releasing

const newHiding = (silence: string): Hiding => ({
  kind: 'hide',
  silence,
  kinds: (['active', 'acknowledged'] as const).flatMap((status) =>
    SEVERITIES.map((severity) => [status, severity] as const),
  ),
  after: null,
})
const newReleasing = (by: string): Releasing => ({ kind: 'release', by, after: '' })
const nameOf = (sweep: Sweep) => (sweep.kind === 'hide' ? `hide ${sweep.silence}` : `release ${sweep.by}`)

export interface SilencingOptions {
  readonly store: AlertStore
  readonly telling: Pick<Telling, 'suppress' | 'inhibitorOf'>
  readonly escalationMs: () => Millis
}

export class Silencing {
  readonly #store: AlertStore
  readonly #telling: SilencingOptions['telling']
  readonly #escalationMs: () => Millis
  #silences = new Map<string, CompiledSilence>()
  #active = new Set<string>()
  /** What is under way with many alerts, the oldest first. */
  readonly #sweeps: Sweep[] = []

  constructor({ store, telling, escalationMs }: SilencingOptions) {
    this.#store = store
    this.#telling = telling
    this.#escalationMs = escalationMs
  }

  /** Makes all of it what the store says: at a start, and after a transaction that was rolled back. */
  read(now: Millis): void {
    this.#silences = new Map(this.#store.silences().map((silence) => [silence.id, new CompiledSilence(silence)]))
    // A silence holds from the first moment on. What began or ended while nobody looked, or was not done with, is looked
    // through again: to hide what is hidden already changes nothing.
    this.#active = this.#activeAt(now)
    this.#sweeps.splice(0, Number.POSITIVE_INFINITY)
    for (const id of this.#active) this.#sweeps.push(newHiding(id))
    for (const by of this.#store.suppressors()) {
      const silence = by.startsWith('silence:') ? by.slice('silence:'.length) : null
      if (silence === null || !this.#active.has(silence)) this.#sweeps.push(newReleasing(by))
    }
  }

  list(): Silence[] {
    return [...this.#silences.values()].map((compiled) => compiled.silence)
  }

  get(id: string): CompiledSilence | null {
    return this.#silences.get(id) ?? null
  }

  /** Which silence hides an alert now. */
  of(alert: Alert): string | null {
    for (const id of this.#active) if (this.#silences.get(id)!.matches(silenceLabels(alert))) return id
    return null
  }

  /** Writes a silence, new or changed; it holds at once. */
  put(compiled: CompiledSilence, turn: Turn): void {
    const { silence } = compiled
    this.#store.putSilence(silence)
    this.#silences.set(silence.id, compiled)
    const before = this.#active.has(silence.id)
    this.turn(turn)
    // One that holds as before may match others now.
    if (before && this.#active.has(silence.id)) {
      this.#start(newHiding(silence.id), turn)
      this.#start(newReleasing(`silence:${silence.id}`), turn)
    }
  }

  /** Whether some silence begins or ends now. */
  isDue(now: Millis): boolean {
    return [...this.#silences.values()].some((s) => (s.state(now) === 'active') !== this.#active.has(s.silence.id))
  }

  /** Removes what has ended before. */
  forget(before: Millis): void {
    for (const [id, { silence }] of this.#silences) {
      const ended = silence.endedAt ?? silence.endsAt
      if (ended === null || ended > before) continue
      this.#store.deleteSilence(id)
      this.#silences.delete(id)
    }
  }

  /** An alert of a rule has ended: what it inhibited may be told. */
  endInhibition(ruleId: string, turn: Turn): void {
    this.#start(newReleasing(`rule:${ruleId}`), turn)
  }

  /** The sweep that is to go on. */
  get underWay(): Sweep | null {
    return this.#sweeps[0] ?? null
  }

  /** Lets silences begin and end. */
  turn(turn: Turn): void {
    const active = this.#activeAt(turn.now)
    const begun = [...active].filter((id) => !this.#active.has(id))
    const ended = [...this.#active].filter((id) => !active.has(id))
    this.#active = active
    for (const id of begun) this.#start(newHiding(id), turn)
    for (const id of ended) this.#start(newReleasing(`silence:${id}`), turn)
  }

  #activeAt(now: Millis): Set<string> {
    return new Set([...this.#silences].flatMap(([id, compiled]) => (compiled.state(now) === 'active' ? [id] : [])))
  }

  /** A silence until all is resolved ends with the last alert that it hid. */
  endUntilResolved(turn: Turn): void {
    for (const id of this.#active) {
      const compiled = this.#silences.get(id)!
      if (!compiled.silence.untilResolved) continue
      if (turn.closed.some((alert) => compiled.matches(silenceLabels(alert)))) this.#endIfResolved(id, turn)
    }
  }

  #endIfResolved(id: string, turn: Turn): void {
    const { silence } = this.#silences.get(id)!
    // It does not know yet what there is to hide.
    if (this.#sweeps.some((sweep) => sweep.kind === 'hide' && sweep.silence === id)) return
    const { some, open } = this.#store.hides(id)
    if (!some || open) return
    const ended = { ...silence, endedAt: turn.now, version: silence.version + 1 }
    this.#store.putSilence(ended)
    this.#silences.set(id, new CompiledSilence(ended))
  }

  /** The first alerts of a sweep are of this turn, so that a small one is done with it. */
  #start(sweep: Sweep, turn: Turn): void {
    const same = this.#sweeps.findIndex((other) => nameOf(other) === nameOf(sweep))
    if (same >= 0) this.#sweeps.splice(same, 1)
    this.#sweeps.push(sweep)
    this.advance(sweep, turn)
  }

  /** Goes on with a sweep as far as the turn may; takes it off the list when it is through. */
  advance(sweep: Sweep, turn: Turn): void {
    const through = sweep.kind === 'hide' ? this.#hideMore(sweep, turn) : this.#releaseMore(sweep, turn)
    if (!through) return
    this.#sweeps.splice(this.#sweeps.indexOf(sweep), 1)
    if (sweep.kind === 'hide' && this.#silences.get(sweep.silence)?.silence.untilResolved) {
      this.#endIfResolved(sweep.silence, turn)
    }
  }

  /** Hides what a silence matches; true: all of it. What opens meanwhile is hidden as it opens. */
  #hideMore(sweep: Hiding, turn: Turn): boolean {
    const silence = this.#silences.get(sweep.silence)
    if (!silence || !this.#active.has(sweep.silence)) return true
    while (sweep.kinds.length > 0) {
      if (turn.room <= 0) return false
      const [status, severity] = sweep.kinds[0]!
      const room = turn.room
      const page = this.#store.silenceable(status, severity, silence.traits, sweep.after, room)
      turn.room -= page.length
      for (const alert of page) {
        if (!silence.matches(silenceLabels(alert))) continue
        if (status === 'active') this.#telling.suppress(alert, `silence:${sweep.silence}`, turn)
        else this.#store.hide(sweep.silence, alert.id, turn.now)
      }
      if (page.length < room) sweep.kinds.shift()
      sweep.after = page.length < room ? null : page.at(-1)!
    }
    return true
  }

  /** What suppressed these alerts is over: those that nothing else suppresses are told. True: all of them. */
  #releaseMore(sweep: Releasing, turn: Turn): boolean {
    const { by } = sweep
    const escalationMs = this.#escalationMs()
    for (;;) {
      if (turn.room <= 0) return false
      const room = turn.room
      const page = this.#store.suppressedBy(by, sweep.after, room)
      turn.room -= page.length
      for (const before of page) {
        const inhibitor = this.#telling.inhibitorOf(before)
        const silence = inhibitor === null ? this.of(before) : null
        const next = inhibitor !== null ? `rule:${inhibitor}` : silence !== null ? `silence:${silence}` : null
        if (next === by) continue
        if (next !== null) {
          this.#telling.suppress(before, next, turn)
          continue
        }
        const escalateAt = escalatesAt(before.severity, turn.now, escalationMs)
        this.#store.update(before, { ...before, status: 'active', suppressedBy: null, escalateAt })
        this.#store.note(before.id, turn.now, 'released', { by })
        turn.touched.add(before.id)
        turn.news.push({ alertId: before.id, event: 'firing', mark: `firing after ${by} @${turn.now}`, late: false })
      }
      if (page.length < room) return true
      sweep.after = page.at(-1)!.id
    }
  }
}
