/**
 * From what happened in a turn to what is told of it: inhibition, the stages, digests. Writes what each stage said to the
 * timelines, and puts notices into the turn.
 */
import { newId } from '../base/id.ts'
import { type Millis, SECOND } from '../base/time.ts'
import type { Notice, NoticeEvent } from './notice.ts'
import { noticeAlert } from './opening.ts'
import { type Alert, rankOf } from './record.ts'
import type { Rules } from './rules/rules.ts'
import { afterHolding, type ChannelFacts, judge, type Knowledge, type News, routesOf, type Verdict } from './stages.ts'
import type { AlertStore } from './store.ts'
import {
  admit,
  flushed,
  hold,
  LATE,
  type Group as NewsGroup,
  newGroup,
  STORM,
  STORM_LIMIT,
  STORM_MS,
} from './suppress/group.ts'
import type { Turn } from './turn.ts'

/** Whole alerts that one digest stands for. */
const DIGEST_MAX = 10_000
const DIGEST_SHOWN = 20
const MARKS_MAX = 50
/** What a digest had no room for is told this much later. */
const REST_MS = SECOND

/** How alerts of a metric are told together; a window of 0 does not group. */
export interface GroupingSettings {
  readonly groupWindowMs: Millis
  /** Alerts of a metric told one by one within the window. */
  readonly singles: number
}

export interface TellingOptions {
  readonly store: AlertStore
  readonly rules: Rules
  readonly settings: () => GroupingSettings
  readonly channel: (id: string) => ChannelFacts | null
  /** Which silence hides an alert now. */
  readonly silenceOf: (alert: Alert) => string | null
}

export class Telling {
  readonly #store: AlertStore
  readonly #rules: Rules
  readonly #settings: () => GroupingSettings
  readonly #channel: (id: string) => ChannelFacts | null
  readonly #silenceOf: (alert: Alert) => string | null

  constructor({ store, rules, settings, channel, silenceOf }: TellingOptions) {
    this.#store = store
    this.#rules = rules
    this.#settings = settings
    this.#channel = channel
    this.#silenceOf = silenceOf
  }

  /** Judges the news of the turn in their order, and makes the notices of those that pass. */
  tellAll(turn: Turn): void {
    const held = this.#holding(turn)
    for (const { alertId, event, mark } of turn.news) {
      const alert = this.#store.get(alertId)!
      const news: News = { alert, event, mark }
      const known: Knowledge = {
        ...this.knowledge(turn.now),
        group: () => (event === 'firing' ? (held.get(alertId) ?? null) : alert.groupKey),
      }
      this.#tell(news, judge(news, known), turn)
    }
  }

  knowledge(now: Millis): Omit<Knowledge, 'group'> {
    return {
      now,
      inhibitor: (alert) => this.inhibitorOf(alert),
      silence: (alert) => this.#silenceOf(alert),
      channel: this.#channel,
    }
  }

  /**
   * Which rule inhibits an alert now. A rule of the same metric inhibits the same series alone (one host's critical
   * alert hides that host's warning), a rule of another metric all of them.
   */
  inhibitorOf(alert: Alert): string | null {
    for (const id of alert.facts.suppressedBy) {
      const same = this.#rules.get(id)?.metricName === alert.metricName && alert.metricName !== ''
      if (this.#store.hasOpen(id, same ? alert.seriesKey : null)) return id
    }
    return null
  }

  /** Alerts that were told already, and are inhibited by what has opened now. */
  inhibit(turn: Turn): void {
    const rules = new Set([...turn.opened].map((id) => this.#store.get(id)!.ruleId))
    for (const ruleId of rules) {
      for (const inhibited of this.#rules.inhibitedBy(ruleId)) {
        for (const alert of this.#store.openOfRule(inhibited)) {
          if (alert.status !== 'active' || turn.opened.has(alert.id)) continue
          const by = this.inhibitorOf(alert)
          if (by !== null) this.suppress(alert, `rule:${by}`, turn)
        }
      }
    }
  }

  suppress(before: Alert, by: string, turn: Turn, verdicts: readonly Verdict[] = []): void {
    const alert: Alert = { ...before, status: 'suppressed', suppressedBy: by, escalateAt: null }
    this.#store.update(before, alert)
    this.#store.note(alert.id, turn.now, 'suppressed', { by, verdicts })
    if (by.startsWith('silence:')) this.#store.hide(by.slice('silence:'.length), alert.id, turn.now)
    turn.touched.add(alert.id)
  }

  /** Decides for all alerts that begin in this turn who of them is held, and for which digest. */
  #holding(turn: Turn): Map<string, string> {
    const { groupWindowMs, singles } = this.#settings()
    const limits = { windowMs: groupWindowMs, singles }
    const held = new Map<string, string>()
    const byGroup = new Map<string, Alert[]>()
    for (const { alertId, event, late } of turn.news) {
      if (event !== 'firing') continue
      const alert = this.#store.get(alertId)!
      // What is suppressed counts for no storm.
      if (this.inhibitorOf(alert) !== null || this.#silenceOf(alert) !== null) continue
      if (late) held.set(alertId, LATE)
      else if (alert.groupKey !== null) held.set(alertId, alert.groupKey)
      // Told by itself before it was suppressed: it stays so, and nothing overtakes anything.
      else if (alert.told.marks.length > 0) continue
      else {
        const key = alert.metricName === '' ? `rule:${alert.ruleId}` : `metric:${alert.metricName}`
        const list = byGroup.get(key)
        if (list) list.push(alert)
        else byGroup.set(key, [alert])
      }
    }
    const single: Alert[] = []
    for (const [key, alerts] of byGroup) {
      const admitted = admit(this.#store.group(key) ?? newGroup(key, turn.now), alerts.length, limits, turn.now)
      this.#store.putGroup(admitted.group)
      if (admitted.held) for (const { id } of alerts) held.set(id, key)
      else single.push(...alerts)
    }
    if (single.length > 0 && groupWindowMs > 0) {
      const storm = { windowMs: STORM_MS, singles: STORM_LIMIT }
      const admitted = admit(this.#store.group(STORM) ?? newGroup(STORM, turn.now), single.length, storm, turn.now)
      this.#store.putGroup(admitted.group)
      if (admitted.held) for (const { id } of single) held.set(id, STORM)
    }
    return held
  }

  /** Does what the verdicts say. */
  #tell(news: News, verdicts: readonly Verdict[], turn: Turn): void {
    const { alert, event } = news
    const last = verdicts.at(-1)!
    turn.touched.add(alert.id)
    if (last.by !== undefined) {
      if (alert.status === 'active') this.suppress(alert, last.by, turn, verdicts)
      return
    }
    if (last.groupKey !== undefined) {
      this.#hold(news, last.groupKey, verdicts, turn)
      return
    }
    const channels = last.passed ? last.channels! : []
    this.#store.note(alert.id, turn.now, last.passed ? 'told' : 'held_back', { event, channels, verdicts })
    if (!last.passed) return
    this.#markTold(alert, channels, news.mark)
    const before = event === 'escalated' ? alert.told.channels : []
    for (const channelId of channels) {
      turn.notices.push({
        id: newId(turn.now),
        channelId,
        event,
        alerts: [noticeAlert(alert, before)],
        count: 1,
        orderKey: alert.id,
        isTest: false,
        createdAt: turn.now,
      })
    }
  }

  #markTold(before: Alert, channels: readonly string[], mark: string): void {
    const told = {
      channels: [...new Set([...before.told.channels, ...channels])],
      marks: [...before.told.marks, mark].slice(-MARKS_MAX),
    }
    this.#store.update(before, { ...before, told })
  }

  #hold({ alert, event }: News, groupKey: string, verdicts: readonly Verdict[], turn: Turn): void {
    const { groupWindowMs, singles } = this.#settings()
    // An end that nobody heard the beginning of needs no telling, unless the beginning waits for the same digest.
    if (event === 'resolved' && alert.told.channels.length === 0 && !this.#store.isHeld(groupKey, alert.id)) return
    this.#store.holdNews(groupKey, { alertId: alert.id, event, at: turn.now })
    const group = this.#store.group(groupKey) ?? newGroup(groupKey, turn.now)
    this.#store.putGroup(hold(group, alert.severity, { windowMs: groupWindowMs, singles }, turn.now))
    if (alert.groupKey !== groupKey) this.#store.update(alert, { ...alert, groupKey })
    this.#store.note(alert.id, turn.now, 'held_back', { event, verdicts })
  }

  /** Tells what a group holds, one message a channel. */
  flush(group: NewsGroup, turn: Turn): void {
    const known = { ...this.knowledge(turn.now), group: () => null }
    const events = new Map<string, News['event'][]>()
    for (const { alertId, event } of this.#store.held(group.key, DIGEST_MAX)) {
      events.set(alertId, [...(events.get(alertId) ?? []), event]) // three at most
    }
    const byChannel = new Map<string, { alert: Alert; event: News['event'] }[]>()
    for (const [alertId, list] of events) {
      this.#store.release(group.key, alertId)
      const alert = this.#store.get(alertId)
      if (!alert) continue
      const begins = list.find((event) => event !== 'resolved')
      const event = begins ?? 'resolved'
      // The end of something suppressed meanwhile is told only where its beginning was.
      if (alert.status === 'suppressed') continue
      const mark = event === 'resolved' ? 'resolved' : `${event} in ${group.key} @${turn.now}`
      const news: News = { alert, event, mark }
      const verdicts =
        alert.resolvedAt !== null && begins ? [routedVerdict(news, known)] : judge(news, known, afterHolding)
      const last = verdicts.at(-1)!
      if (last.by !== undefined && alert.status === 'active') this.suppress(alert, last.by, turn, verdicts)
      if (!last.passed) {
        if (last.by === undefined) this.#store.note(alertId, turn.now, 'held_back', { event, verdicts })
        continue
      }
      this.#markTold(alert, last.channels!, mark)
      this.#store.note(alertId, turn.now, 'told', { event, digest: group.key, channels: last.channels, verdicts })
      turn.touched.add(alertId)
      const shown = alert.resolvedAt !== null ? 'resolved' : event
      for (const id of last.channels!) {
        const list = byChannel.get(id)
        if (list) list.push({ alert, event: shown })
        else byChannel.set(id, [{ alert, event: shown }])
      }
    }
    for (const [channelId, told] of byChannel) turn.notices.push(this.#digest(group.key, channelId, told, turn))
    const rest = this.#store.holds(group.key)
    this.#store.putGroup(rest ? { ...flushed(group, turn.now), flushAt: turn.now + REST_MS } : flushed(group, turn.now))
  }

  #digest(
    key: string,
    channelId: string,
    told: readonly { alert: Alert; event: News['event'] }[],
    turn: Turn,
  ): Notice & { readonly stands: readonly string[] } {
    const worst = [...told].sort(
      ({ alert: a }, { alert: b }) =>
        rankOf(a.status, a.severity) - rankOf(b.status, b.severity) || b.triggeredAt - a.triggeredAt,
    )
    const event: NoticeEvent = told.length === 1 ? told[0]!.event : 'digest'
    return {
      id: newId(turn.now),
      channelId,
      event,
      alerts: worst.slice(0, DIGEST_SHOWN).map(({ alert }) => noticeAlert(alert)),
      count: told.length,
      orderKey: `group:${key}`,
      isTest: false,
      createdAt: turn.now,
      stands: told.map(({ alert }) => alert.id),
    }
  }
}

/** An alert that ended while its beginning was held goes where that would have gone, and where it was told before. */
function routedVerdict(news: News, known: Pick<Knowledge, 'channel'>): Verdict {
  const routes = [...routesOf(news, known), ...routesOf({ ...news, event: 'resolved' }, known)]
  const channels = [...new Set(routes.filter((route) => route.why === null).map((route) => route.id))]
  return { stage: 'routed', passed: channels.length > 0, reason: 'began and ended while it was held', channels }
}
