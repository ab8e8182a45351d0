/**
 * The engine of alerting in control's main thread. Everything that happens to alerts is a turn: one transaction that
 * holds the change, all that follows from it, and the notices that tell of it.
 *
 *   watcher's group ─┐
 *   timed rules ─────┤                                          ┌─▶ rows of watches, alerts, timeline
 *   people ──────────┼─▶ turn: deeds ─▶ inhibition ─▶ stages ───┼─▶ outbox
 *   time ────────────┘                                          └─▶ the WAL position that all this covers
 *
 * Groups of the watcher are applied in order and answered when they are durable; one that the store cannot take (a full
 * disk) is tried again until it can. A change that fails for itself, again and again, is set aside (`set-aside.ts`), so
 * that it keeps nobody else's alert from being told. Whatever a turn has changed in memory is read anew when its
 * transaction fails.
 */
import { conflict, messageOf, notFound } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { HOUR, type Millis, SECOND } from '../base/time.ts'
import { audit } from '../storage/audit.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import { type Claim, once } from '../storage/idempotency.ts'
import { type CloseReason, type Deed, type EndReason, step } from './alert.ts'
import { enqueue } from './enqueue.ts'
import { escalatesAt, rise } from './escalate.ts'
import { finite, noticeAlert, openAlert } from './opening.ts'
import type { Alert } from './record.ts'
import type { Rule } from './rule.ts'
import { complete, type RuleDraft, type RulePatch, type Rules } from './rules/rules.ts'
import {
  type Faulty,
  findFaulty,
  forgetSetAside,
  isPassing,
  keepFaulty,
  noticesOfFaulty,
  type SetAside,
  setAsideSince,
} from './set-aside.ts'
import { type ChannelFacts, routesOf } from './stages.ts'
import type { AlertStore } from './store.ts'
import { LATE_MS } from './suppress/group.ts'
import { CompiledSilence, type Silence } from './suppress/silence.ts'
import { Silencing } from './suppress/silencing.ts'
import { type GroupingSettings, Telling } from './telling.ts'
import { newTurn, type Turn } from './turn.ts'
import type { Change, Group, StoredWatch, ToWatcher } from './wire.ts'

export interface EngineSettings extends GroupingSettings {
  readonly escalationMs: number
  readonly retentionMs: number
}

export interface EngineOptions {
  readonly db: Database
  readonly store: AlertStore
  readonly rules: Rules
  readonly scheduler: Scheduler
  readonly log: Log
  readonly settings: () => EngineSettings
  readonly channel: (id: string) => ChannelFacts | null
  /** To the pipeline thread. */
  readonly toWatcher: (message: ToWatcher) => void
  /** A rule that is evaluated by timer came, changed, or went (null); its watches are in the store. */
  readonly onTimedRule: (id: string, rule: Rule | null) => void
  /** A person has moved a watch of such a rule. */
  readonly onTimedWatch: (watch: StoredWatch) => void
  /** Rows were put into the outbox. */
  readonly onNotices: () => void
  /** Alerts that changed, after they are durable. */
  readonly onAlerts: (ids: readonly string[]) => void
  /** Alerts that one turn of a sweep looks at. */
  readonly sweptAtOnce?: number
}

/** Who does something, and the key by which a repetition is known: it gets the first answer again. */
export interface Doing {
  readonly by: string
  readonly claim: Claim | null
}

const TICK_MS = SECOND
const CLEAN_EVERY = 60
const CLEANED_AT_ONCE = 500
const RISES_AT_ONCE = 500
/** Changes of the watcher that are committed together, when they wait. */
const CHANGES_AT_ONCE = 1000
const RETRY_MS = SECOND
/** So often a group is tried that fails for another reason than the store's, before what fails in it is set aside. */
const TRIES = 5
/** A turn of so many holds up the main thread for some 15 ms. */
const SWEPT_AT_ONCE = 200
const SWEEP_PAUSE_MS = 5
/** A test alert ends by itself after this long. */
const TEST_MS = 60 * SECOND

export class Engine {
  readonly #options: EngineOptions
  readonly #store: AlertStore
  readonly #rules: Rules
  readonly #timers: Cancel[] = []
  readonly #queue: Group[] = []
  #working = false
  /** Failures in a row of the group that is first, for other reasons than the store's. */
  #failures = 0
  /** What fails of the group that is first, for itself: it is left out of it. */
  #faulty: readonly Faulty[] = []
  /** Its changes can be written, its figures cannot: they are left out, the next ones replace them. */
  #withoutFigures = false
  /** Deeds of time that fail for themselves, and why, at the last tick. */
  #unable: readonly string[] = []
  #stopped = false
  /** `rule key`: how often a person has moved the watch; those never moved are left out. */
  #generations = new Map<string, number>()
  /** Rules that the watcher has. */
  readonly #watched: Set<string>
  readonly #silencing: Silencing
  readonly #telling: Telling
  #sweeping: Cancel | null = null
  #active: boolean
  #ticks = 0
  /** Turns inside the transactions of others, not known to be durable yet. */
  readonly #unfollowed: { readonly token: string; readonly turn: Turn }[] = []
  /** When alerting was last seen at work; null: not yet. */
  lastEvaluation: Millis | null = null

  constructor(options: EngineOptions, active: boolean) {
    this.#options = options
    this.#store = options.store
    this.#rules = options.rules
    this.#active = active
    const { store, rules, settings, channel } = options
    this.#telling = new Telling({ store, rules, settings, channel, silenceOf: (alert) => this.#silencing.of(alert) })
    this.#silencing = new Silencing({
      store,
      telling: this.#telling,
      escalationMs: () => settings().escalationMs,
    })
    this.#watched = new Set(this.#rules.all().flatMap((rule) => (rule.enabled && isWatched(rule) ? [rule.id] : [])))
    this.#readState()
  }

  /** Starts the timers: escalation, silences, digests, cleaning. */
  start(): void {
    const { scheduler } = this.#options
    this.#timers.push(scheduler.every(TICK_MS, () => this.tick()))
    this.#sweepOn(0)
  }

  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers) timer.cancel()
    this.#sweeping?.cancel()
  }

  get active(): boolean {
    return this.#active
  }

  /** Switches evaluation and escalation; answers whether that changed anything. Survives a restart. */
  setActive(active: boolean, by: string): boolean {
    if (active === this.#active) return false
    const now = this.#now()
    this.#turn((turn) => {
      this.#store.setSwitch('active', active ? '1' : '0')
      audit(this.#options.db, now, {
        who: by,
        deed: active ? 'alerting.started' : 'alerting.stopped',
        what: 'alerting',
      })
      turn.after.push(() => {
        this.#active = active
        this.#options.toWatcher({ kind: 'enabled', enabled: active })
      })
    })
    return true
  }

  // ------------------------------------------------------------------------------------------------- watcher

  /** Takes a group of the watcher; it is applied in its order, at once when nothing else waits. */
  receive(group: Group): void {
    this.#queue.push(group)
    if (!this.#working) this.#work()
  }

  #work(): void {
    const { scheduler, toWatcher } = this.#options
    this.#working = true
    const batch = this.#nextGroups()
    try {
      this.#turn((turn) => {
        for (const group of batch) this.#applyGroup(group, turn)
        this.#setAside(this.#faulty, turn)
        this.#store.setPosition(batch.at(-1)!.position)
      })
      this.#queue.splice(0, batch.length)
      this.#failures = 0
      this.#faulty = []
      this.#withoutFigures = false
      toWatcher({ kind: 'done', seq: batch.at(-1)!.seq })
    } catch (error) {
      this.#notWritten(batch, error)
      scheduler.after(RETRY_MS, () => this.#again())
      return
    }
    if (this.#queue.length > 0) scheduler.after(0, () => this.#again())
    else this.#working = false
  }

  /** What is written together: as much as one turn may, or one group alone once something in it has failed. */
  #nextGroups(): Group[] {
    const batch: Group[] = []
    let changes = 0
    for (const group of this.#queue) {
      if (batch.length > 0 && (this.#failures > 0 || changes + group.changes.length > CHANGES_AT_ONCE)) break
      batch.push(group)
      changes += group.changes.length
    }
    return batch
  }

  #applyGroup(group: Group, turn: Turn): void {
    const left = new Set(this.#faulty.map(({ change }) => change))
    for (const change of group.changes) if (!left.has(change)) this.#apply(change, turn)
    if (this.#withoutFigures) return
    for (const { alertId, value, peak } of group.figures) {
      this.#store.figure(alertId, value, Number.isNaN(peak) ? value : peak)
    }
  }

  #notWritten(batch: readonly Group[], error: unknown): void {
    const { log } = this.#options
    log.error('Changes of alerts cannot be written; they are tried again.', { why: messageOf(error), error })
    if (isPassing(error)) return
    this.#failures++
    if (this.#failures < TRIES) return
    try {
      this.#faulty = findFaulty(batch[0]!.changes, (some) => this.#whyNot(some))
      this.#withoutFigures = this.#faulty.length === 0
    } catch (passing) {
      log.error('What fails cannot be looked for at the moment.', { why: messageOf(passing) })
    }
  }

  /** Why these changes cannot be written together, null: they can. Changes nothing; throws while the store cannot write. */
  #whyNot(changes: readonly Change[]): string | null {
    const tried = new Error('taken back')
    try {
      this.#turn((turn) => {
        for (const change of changes) this.#apply(change, turn)
        turn.takenBack = tried
      })
    } catch (error) {
      if (error === tried) return null
      if (isPassing(error)) throw error
      return messageOf(error)
    }
    return null
  }

  #setAside(faulty: readonly Faulty[], turn: Turn): void {
    if (faulty.length === 0) return
    const { db, log, channel } = this.#options
    keepFaulty(db, faulty, turn.now)
    for (const ruleId of new Set(faulty.map(({ change }) => change.rule))) {
      const its = faulty.filter(({ change }) => change.rule === ruleId)
      const { why } = its[0]!
      audit(db, turn.now, { who: 'platform', deed: 'alert.set_aside', what: ruleId, detail: { n: its.length, why } })
      log.error('Changes of alerts are set aside: they cannot be written.', { rule: ruleId, count: its.length, why })
      const rule = this.#rules.get(ruleId)
      if (rule) turn.notices.push(...noticesOfFaulty(rule, its, channel, turn.now))
    }
  }

  /** What could not be written since `from`, and what fails at the moment each time that it is tried. */
  faults(from: Millis): SetAside & { readonly unable: readonly string[] } {
    return { ...setAsideSince(this.#options.db, from), unable: this.#unable }
  }

  #again(): void {
    if (this.#stopped) return
    this.#work()
  }

  /** Changes of timed rules; throws what the database says, then nothing has changed. */
  applyTimed(changes: readonly Change[]): void {
    if (changes.length === 0) return
    this.#turn((turn) => {
      for (const change of changes) this.#apply(change, turn)
    })
  }

  #apply(change: Change, turn: Turn): void {
    const rule = this.#rules.get(change.rule)
    if (!rule || rule.version !== change.version || !rule.enabled) return
    if ((this.#generations.get(watchKey(change.rule, change.key)) ?? 0) !== change.generation) return
    this.#store.putWatch(change)
    for (const deed of change.deeds) {
      if (deed.kind === 'opened') this.#open(rule, change, deed, turn)
      else this.#close(deed, turn)
    }
  }

  #open(rule: Rule, { labels, key, annotations }: Change, deed: Extract<Deed, { kind: 'opened' }>, turn: Turn): void {
    const { escalationMs } = this.#options.settings()
    const given = annotations === undefined ? {} : { annotations }
    const alert = openAlert({ rule, labels, seriesKey: key, deed, escalationMs, now: turn.now, ...given })
    const detail = {
      why: deed.why,
      since: deed.since,
      value: finite(deed.value),
      threshold: alert.threshold,
      condition: rule.condition,
      for_ms: rule.forMs,
      rule_version: rule.version,
      flapping: deed.flapping,
    }
    this.#begin(alert, detail, turn.now - deed.at > LATE_MS, turn)
  }

  #begin(alert: Alert, detail: Readonly<Record<string, unknown>>, late: boolean, turn: Turn): void {
    this.#store.insert(alert)
    this.#store.addStat('alerts_triggered', 1)
    this.#store.note(alert.id, alert.triggeredAt, 'opened', detail)
    turn.opened.add(alert.id)
    turn.touched.add(alert.id)
    turn.news.push({ alertId: alert.id, event: 'firing', mark: 'firing', late })
  }

  /** Alerts that another system judges: one turn, and what follows from it is as for the platform's own. */
  posted<T>(work: (posted: Posting) => T): T {
    return this.#turn((turn) =>
      work({
        open: (alert, detail) => this.#begin(alert, detail, false, turn),
        change: (before, alert) => {
          this.#store.update(before, alert)
          turn.touched.add(alert.id)
        },
        end: (alertId, at) => void this.#close({ alertId, at, value: Number.NaN, why: 'recovered' }, turn),
      }),
    )
  }

  #close({ alertId, at, value, why }: CloseDeed, turn: Turn, more: Partial<Alert> = {}): Alert | null {
    const before = this.#store.get(alertId)
    if (!before || before.resolvedAt !== null) return null
    const alert: Alert = {
      ...before,
      status: 'resolved',
      // A sample's time may be ahead of the clock, or a hand quicker than the sample that opened it.
      resolvedAt: Math.max(at, before.triggeredAt),
      resolution: why,
      value: finite(value) ?? before.value,
      suppressedBy: null,
      escalateAt: null,
      ...more,
    }
    this.#store.update(before, alert)
    this.#store.note(alertId, alert.resolvedAt!, 'closed', { why, value: finite(value) })
    turn.touched.add(alertId)
    if (alert.isTest) return alert
    this.#store.addStat('alerts_resolved', 1)
    this.#store.addStat('resolution_ms', alert.resolvedAt! - alert.triggeredAt)
    turn.closedRules.add(alert.ruleId)
    turn.closed.push(alert)
    turn.news.push({ alertId, event: 'resolved', mark: 'resolved', late: false })
    return alert
  }

  // -------------------------------------------------------------------------------------------------- people

  /** Throws 404, and 409 for a resolved alert. A second time changes nothing. */
  acknowledge(id: string, label: string, { by, claim }: Doing): Alert {
    return this.#once(claim, (turn) => {
      const { now } = turn
      const before = this.#known(id)
      if (before.resolvedAt !== null) throw conflict('alert_resolved', 'The alert is resolved already.')
      if (before.status === 'acknowledged') return before
      const alert: Alert = {
        ...before,
        status: 'acknowledged',
        acknowledgedAt: now,
        acknowledgedBy: label,
        suppressedBy: null,
        escalateAt: null,
      }
      this.#store.update(before, alert)
      this.#store.note(id, now, 'acknowledged', { by: label, user: by })
      audit(this.#options.db, now, { who: by, deed: 'alert.acknowledged', what: id, detail: { label } })
      turn.touched.add(id)
      return alert
    })
  }

  /** Throws 404, and 409 for a resolved alert, unless only the verdict on it changes. */
  resolve(id: string, notes: string | null, falsePositive: boolean | undefined, { by, claim }: Doing): Alert {
    return this.#once(claim, (turn) => {
      const { now } = turn
      const before = this.#known(id)
      const verdict = falsePositive ?? before.falsePositive
      if (verdict !== before.falsePositive && !before.isTest) this.#store.addStat('false_positives', verdict ? 1 : -1)
      const said = { notes: notes ?? before.notes, falsePositive: verdict }
      audit(this.#options.db, now, { who: by, deed: 'alert.resolved', what: id, detail: { false_positive: verdict } })
      if (before.resolvedAt !== null) {
        if (falsePositive === undefined || falsePositive === before.falsePositive) {
          throw conflict('alert_resolved', 'The alert is resolved already.')
        }
        const alert = { ...before, ...said }
        this.#store.update(before, alert)
        turn.touched.add(id)
        return alert
      }
      this.#endWatch(before, now, turn)
      return this.#close({ alertId: id, at: now, value: Number.NaN, why: 'resolved_by_hand' }, turn, said)!
    })
  }

  /** The watch behind an alert that a person has ended. */
  #endWatch({ ruleId, seriesKey, id }: Alert, now: Millis, turn: Turn): void {
    const rule = this.#rules.get(ruleId)
    const stored = this.#store.watch(ruleId, seriesKey)
    if (!rule || stored?.watch.kind !== 'firing' || stored.watch.alertId !== id) return
    const { watch } = step(rule, stored.watch, { kind: 'end', why: 'resolved_by_hand' }, now, () => '')
    const moved = { ...stored, watch, generation: stored.generation + 1 }
    this.#store.putWatch(moved)
    turn.after.push(() => {
      this.#generations.set(watchKey(ruleId, seriesKey), moved.generation)
      if (isWatched(rule)) this.#options.toWatcher({ kind: 'watch', watch: moved })
      else this.#options.onTimedWatch(moved)
    })
  }

  #known(id: string): Alert {
    const alert = this.#store.get(id)
    if (!alert) throw notFound('alert_not_found', `There is no alert ${id}.`)
    return alert
  }

  // --------------------------------------------------------------------------------------------------- rules

  /** Throws 409 where the id exists, 422 for what a schema cannot say. */
  createRule(draft: RuleDraft, { by, claim }: Doing): Rule {
    return this.#once(claim, (turn) => {
      const rule = this.#rules.create(draft, by, turn.now, this.#channelExists)
      turn.after.push(() => this.#announce(rule.id, rule, []))
      return rule
    })
  }

  /** A new version, unless nothing changes; what fires by the old one ends. Throws 404, 412, 422. */
  changeRule(id: string, patch: RulePatch, ifMatch: number | null, { by, claim }: Doing): Rule {
    return this.#once(claim, (turn) => {
      const before = this.#rules.get(id)
      const rule = this.#rules.change(id, patch, by, turn.now, { ifMatch, channels: this.#channelExists })
      if (!before || rule.version === before.version) return rule
      const watches = this.#endRule(before, rule, rule.enabled ? 'rule_edited' : 'rule_disabled', turn.now, turn)
      turn.after.push(() => this.#announce(id, rule, watches))
      return rule
    })
  }

  /** Throws 404, 412. */
  deleteRule(id: string, ifMatch: number | null, { by, claim }: Doing): void {
    this.#once(claim, (turn) => {
      const rule = this.#rules.delete(id, by, turn.now, ifMatch)
      this.#endRule(rule, null, 'rule_deleted', turn.now, turn)
      turn.after.push(() => this.#announce(id, null, []))
      return null
    })
  }

  /** Throws 422 for what is wrong with a rule that is not stored. */
  checkRule(rule: Rule): void {
    this.#rules.check(rule, this.#channelExists)
  }

  /**
   * Makes the rules of files these, in one transaction: new ones come, changed ones change, those that are neither among
   * them nor kept go. `given` says which file gave which, for the next start.
   */
  applyFiles(drafts: readonly RuleDraft[], kept: ReadonlySet<string>, given: string): void {
    const by = { by: 'rule file', claim: null }
    const wanted = new Map(drafts.map((draft) => [draft.id, draft]))
    this.#turn((turn) => {
      for (const { id, provenance } of this.#rules.all()) {
        if (provenance === 'file' && !wanted.has(id) && !kept.has(id)) this.deleteRule(id, null, by)
      }
      for (const draft of drafts) {
        if (!this.#rules.get(draft.id)) this.createRule(draft, by)
        else {
          const { id: _id, version: _version, createdAt: _created, ...patch } = complete(draft, turn.now)
          this.changeRule(draft.id, patch, null, by)
        }
      }
      this.#store.setSwitch('rule_files', given)
    })
  }

  #channelExists = (id: string): boolean => this.#options.channel(id) !== null

  /** Ends what fires by `rule`; answers where its watches stand under `next`. */
  #endRule(rule: Rule, next: Rule | null, why: EndReason, now: Millis, turn: Turn): StoredWatch[] {
    const kept: StoredWatch[] = []
    for (const stored of this.#store.watchesOf(rule.id)) {
      const { watch, deeds } = step(rule, stored.watch, { kind: 'end', why }, now, () => '')
      for (const deed of deeds) if (deed.kind === 'closed') this.#close(deed, turn)
      kept.push({ ...stored, watch })
    }
    for (const alert of this.#store.openOfRule(rule.id)) {
      this.#close({ alertId: alert.id, at: now, value: Number.NaN, why }, turn)
    }
    this.#store.deleteWatches(rule.id)
    if (!next) return []
    for (const stored of kept) this.#store.putWatch({ ...stored, version: next.version })
    return kept
  }

  #announce(id: string, rule: Rule | null, watches: readonly StoredWatch[]): void {
    const watched = rule?.enabled && isWatched(rule) ? rule : null
    const timed = rule?.enabled && !isWatched(rule) ? rule : null
    if (watched || this.#watched.has(id)) {
      this.#options.toWatcher({ kind: 'rule', id, rule: watched, watches: watched ? watches : [] })
    }
    if (watched) this.#watched.add(id)
    else this.#watched.delete(id)
    this.#options.onTimedRule(id, timed)
  }

  // ------------------------------------------------------------------------------------------------ silences

  silences(): Silence[] {
    return this.#silencing.list()
  }

  silence(id: string): CompiledSilence | null {
    return this.#silencing.get(id)
  }

  /** Writes a silence, new or changed; it holds at once. Throws what `CompiledSilence` says of a bad one. */
  putSilence(
    silence: Silence,
    deed: 'silence.created' | 'silence.changed' | 'silence.ended',
    { by, claim }: Doing,
  ): Silence {
    const compiled = new CompiledSilence(silence)
    return this.#once(claim, (turn) => {
      this.#silencing.put(compiled, turn)
      audit(this.#options.db, turn.now, { who: by, deed, what: silence.id, detail: { comment: silence.comment } })
      return silence
    })
  }

  /** Goes on with what is left, a bounded turn at a time, and lets others have theirs between. */
  #sweepOn(inMs: Millis): void {
    if (!this.#silencing.underWay || this.#sweeping || this.#stopped) return
    this.#sweeping = this.#options.scheduler.after(inMs, () => {
      this.#sweeping = null
      const sweep = this.#silencing.underWay
      if (!sweep || this.#stopped) return
      try {
        this.#turn((turn) => this.#silencing.advance(sweep, turn))
      } catch (error) {
        const { log } = this.#options
        log.error('Alerts cannot be silenced or told; it is tried again.', { why: messageOf(error), error })
        this.#sweepOn(RETRY_MS)
      }
    })
  }

  // ----------------------------------------------------------------------------------------------------- time

  /** What time brings; called every second. */
  tick(): void {
    const now = this.#now()
    this.#ticks++
    const { log } = this.#options
    try {
      const moved = this.#silencing.isDue(now)
      const due = this.#active ? this.#store.dueToRise(now, RISES_AT_ONCE) : []
      const groups = this.#store.groupsToFlush(now)
      const tests = this.#store.openTests(now - TEST_MS)
      this.#unable = this.#do([
        ...(moved ? [{ what: 'silences', deed: (turn: Turn) => this.#silencing.turn(turn) }] : []),
        ...due.map(({ id }) => ({ what: `escalation of alert ${id}`, deed: (turn: Turn) => this.#rise(id, turn) })),
        ...tests.map(({ id }) => ({
          what: `end of test alert ${id}`,
          deed: (turn: Turn) => {
            this.#close({ alertId: id, at: now, value: Number.NaN, why: 'recovered' }, turn)
          },
        })),
        ...groups.map((group) => ({
          what: `digest of ${group.key}`,
          deed: (turn: Turn) => this.#telling.flush(group, turn),
        })),
      ])
      if (this.#ticks % CLEAN_EVERY === 0) this.#clean(now)
    } catch (error) {
      log.error('A turn of alerting failed; it is tried again.', { why: messageOf(error), error })
    }
  }

  /**
   * Does all in one turn. When that fails for another reason than the store's, each in a turn of its own, so that one
   * that cannot be done holds up no other; answers those that failed, and why. Throws while the store cannot write.
   */
  #do(deeds: readonly { readonly what: string; readonly deed: (turn: Turn) => void }[]): string[] {
    if (deeds.length === 0) return []
    try {
      this.#turn((turn) => {
        for (const { deed } of deeds) deed(turn)
      })
      return []
    } catch (error) {
      if (isPassing(error)) throw error
    }
    return deeds.flatMap(({ what, deed }) => {
      try {
        this.#turn(deed)
        return []
      } catch (error) {
        if (isPassing(error)) throw error
        this.#options.log.error('A part of a turn of alerting failed; it is tried again.', { what, error })
        return [`${what}: ${messageOf(error)}`]
      }
    })
  }

  #rise(id: string, turn: Turn): void {
    const before = this.#store.get(id)
    if (before?.status !== 'active') return
    const { escalationMs } = this.#options.settings()
    const up = rise(before.severity, before.escalateAt, turn.now)
    if (!up) return
    const level = before.level + (up.higher ? 1 : 0)
    const escalateAt = escalatesAt(up.severity, turn.now, escalationMs)
    const alert: Alert = { ...before, severity: up.severity, level, escalateAt }
    this.#store.update(before, alert)
    this.#store.note(id, turn.now, 'escalated', { from: before.severity, to: up.severity, level })
    turn.touched.add(id)
    const mark = up.higher ? `escalated ${level}` : `escalated ${level} @${turn.now}`
    turn.news.push({ alertId: id, event: 'escalated', mark, late: false })
  }

  #clean(now: Millis): void {
    const { retentionMs } = this.#options.settings()
    this.#turn(() => {
      this.#store.clean(now - retentionMs, CLEANED_AT_ONCE)
      this.#store.forgetGroups(now - 24 * HOUR)
      forgetSetAside(this.#options.db, now - retentionMs)
      this.#silencing.forget(now - retentionMs)
    })
  }

  // --------------------------------------------------------------------------------------------------- turns

  /** A turn that a person makes, once per claim. */
  #once<T>(claim: Claim | null, work: (turn: Turn) => T): T {
    return this.#turn((turn) => once(this.#options.db, claim, turn.now, () => work(turn)))
  }

  /** Runs `work` and all that follows from it in one transaction. */
  #turn<T>(work: (turn: Turn) => T): T {
    const { db } = this.#options
    const inside = db.inTransaction
    const turn = newTurn(this.#now(), this.#options.sweptAtOnce ?? SWEPT_AT_ONCE)
    const written = this.#store.written()
    let result: T
    try {
      result = tx(db, () => {
        const value = work(turn)
        this.#conclude(turn)
        enqueue(db, turn.notices)
        if (turn.takenBack) throw turn.takenBack
        if (inside) this.#later(turn)
        return value
      })
    } catch (error) {
      // What was refused before it wrote anything has changed nothing in memory either.
      if (this.#store.written() !== written) this.#recover()
      throw error
    }
    if (!inside) this.#follow(turn)
    return result
  }

  /** Inside the transaction of a caller: what follows waits until that has committed, which a token in it shows. */
  #later(turn: Turn): void {
    const token = newId(turn.now)
    this.#store.setSwitch('turn', token)
    if (this.#unfollowed.length === 0) {
      queueMicrotask(() => {
        const turns = this.#unfollowed.splice(0)
        if (this.#store.switch('turn') === turns.at(-1)!.token) for (const { turn } of turns) this.#follow(turn)
        else this.#recover()
      })
    }
    this.#unfollowed.push({ token, turn })
  }

  /** What a turn that is durable sets off. */
  #follow(turn: Turn): void {
    const { onNotices, onAlerts, log } = this.#options
    for (const after of turn.after) {
      try {
        after()
      } catch (error) {
        log.error('What follows a change of alerts failed.', { error })
      }
    }
    if (turn.notices.length > 0) onNotices()
    if (turn.touched.size > 0) onAlerts([...turn.touched])
    this.#sweepOn(SWEEP_PAUSE_MS)
  }

  /** A transaction was rolled back: what it changed in memory is read anew. */
  #recover(): void {
    this.#rules.reload()
    this.#store.recount()
    this.#readState()
  }

  #conclude(turn: Turn): void {
    this.#telling.inhibit(turn)
    for (const ruleId of turn.closedRules) this.#silencing.endInhibition(ruleId, turn)
    if (turn.closed.length > 0) this.#silencing.endUntilResolved(turn)
    this.#telling.tellAll(turn)
  }

  // --------------------------------------------------------------------------------------------------- tests

  /**
   * A test of a rule: an alert marked as such and the notices of it, to every channel that the rule would tell, past silences,
   * inhibition and grouping. It ends by itself and counts nowhere. Throws 404.
   */
  test(ruleId: string, { by, claim }: Doing): TestStarted {
    return this.#once(claim, (turn) => {
      const { now } = turn
      const rule = this.#rules.get(ruleId)
      if (!rule) throw notFound('rule_not_found', `There is no rule ${ruleId}.`)
      const value = testValue(rule)
      const alertId = newId(now)
      const deed = { kind: 'opened', alertId, at: now, since: now, value, why: 'breach', flapping: false } as const
      const labels = [['__name__', rule.metricName || 'test']] as const
      const opened = openAlert({ rule, labels, seriesKey: 'test', deed, escalationMs: 0, now, isTest: true })
      const routes = routesOf({ alert: opened, event: 'firing', mark: 'test' }, this.#telling.knowledge(now))
      const channels = routes.filter((route) => route.why === null).map((route) => route.id)
      const alert: Alert = { ...opened, told: { channels, marks: ['test'] } }
      this.#store.insert(alert)
      this.#store.note(alertId, now, 'opened', { test: true, value })
      this.#store.note(alertId, now, 'told', { event: 'test', channels })
      audit(this.#options.db, now, { who: by, deed: 'rule.tested', what: ruleId, detail: { alert: alertId } })
      const deliveries = channels.map((channelId) => ({ channelId, noticeId: newId(now) }))
      for (const { channelId, noticeId } of deliveries) {
        turn.notices.push({
          id: noticeId,
          channelId,
          event: 'test',
          alerts: [noticeAlert(alert)],
          count: 1,
          orderKey: alertId,
          isTest: true,
          createdAt: now,
        })
      }
      turn.touched.add(alertId)
      return { alertId, value, deliveries, leftOut: routes.filter((route) => route.why !== null) }
    })
  }

  // --------------------------------------------------------------------------------------------------- state

  #readState(): void {
    this.#generations = new Map()
    for (const { rule, key, generation } of this.#store.watches()) {
      if (generation > 0) this.#generations.set(watchKey(rule, key), generation)
    }
    this.#silencing.read(this.#now())
  }

  #now(): Millis {
    return this.#options.scheduler.clock.now()
  }
}

/** What may be done with alerts of another system within one turn. */
export interface Posting {
  open(alert: Alert, detail: Readonly<Record<string, unknown>>): void
  change(before: Alert, alert: Alert): void
  end(alertId: string, at: Millis): void
}

export interface TestStarted {
  readonly alertId: string
  readonly value: number
  readonly deliveries: readonly { readonly channelId: string; readonly noticeId: string }[]
  /** Channels of the rule that are not tested, and why. */
  readonly leftOut: readonly { readonly id: string; readonly why: string | null }[]
}

type CloseDeed = { readonly alertId: string; readonly at: Millis; readonly value: number; readonly why: CloseReason }

const watchKey = (rule: string, key: string) => `${rule} ${key}`

/** Whether the watcher in the pipeline thread evaluates it. */
export const isWatched = (rule: Rule): boolean => rule.source.kind === 'threshold'

/** A value that breaches the rule's own condition. */
export function testValue({ condition, threshold }: Pick<Rule, 'condition' | 'threshold'>): number {
  const beyond = Math.max(1, Math.abs(threshold) * 0.1)
  switch (condition) {
    case 'lt':
    case 'lte':
      return threshold - beyond
    case 'eq':
      return threshold
    case 'change_rate':
      return threshold >= 0 ? threshold + beyond : threshold - beyond
    default:
      return threshold + beyond
  }
}
