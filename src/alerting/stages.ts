/**
 * From an alert to a person: the stages that a piece of news passes, in this order. Each is pure and leaves a verdict
 * that `/explain` shows; the first that does not let it pass ends the way.
 */
import type { Millis } from '../base/time.ts'
import type { Alert } from './record.ts'
import type { Severity } from './rule.ts'

/** What there is to tell of an alert. */
export interface News {
  readonly alert: Alert
  readonly event: 'firing' | 'escalated' | 'resolved'
  /** What it is called in `told.marks`: said once. */
  readonly mark: string
}

/** What the stages know of the world, asked for only where it matters. */
export interface Knowledge {
  readonly now: Millis
  /** The rule whose alert inhibits this one. */
  inhibitor(alert: Alert): string | null
  /** The silence that matches this one now. */
  silence(alert: Alert): string | null
  /** The group that holds this piece of news; null: it is told by itself. */
  group(news: News): string | null
  channel(id: string): ChannelFacts | null
}

export interface ChannelFacts {
  readonly enabled: boolean
  readonly configured: boolean
  readonly severityFilter: readonly Severity[]
}

export interface Verdict {
  readonly stage: string
  readonly passed: boolean
  /** For a person. */
  readonly reason: string
  /** Who suppresses it: `rule:…`, `silence:…`. */
  readonly by?: string
  readonly groupKey?: string
  /** Who is told. */
  readonly channels?: readonly string[]
}

type Stage = (news: News, known: Knowledge) => Verdict

const pass = (stage: string, reason: string): Verdict => ({ stage, passed: true, reason })

/** The end of an alert goes to everybody who heard of its beginning, whatever suppresses it by now. */
const isEnd = (news: News) => news.event === 'resolved'

function inhibited(news: News, known: Knowledge): Verdict {
  if (isEnd(news)) return pass('inhibited', 'an end is not inhibited')
  const rule = known.inhibitor(news.alert)
  if (rule === null) return pass('inhibited', 'no inhibiting rule fires')
  return { stage: 'inhibited', passed: false, reason: `rule ${rule} fires`, by: `rule:${rule}` }
}

function silenced(news: News, known: Knowledge): Verdict {
  if (isEnd(news)) return pass('silenced', 'an end is not silenced')
  const silence = known.silence(news.alert)
  if (silence === null) return pass('silenced', 'no silence matches')
  return { stage: 'silenced', passed: false, reason: `silence ${silence} matches`, by: `silence:${silence}` }
}

function grouped(news: News, known: Knowledge): Verdict {
  const groupKey = known.group(news)
  if (groupKey === null) return pass('grouped', 'told by itself')
  return { stage: 'grouped', passed: false, reason: `held for the digest of ${groupKey}`, groupKey }
}

function deduplicated(news: News): Verdict {
  if (!news.alert.told.marks.includes(news.mark)) return pass('deduplicated', 'not said before')
  return { stage: 'deduplicated', passed: false, reason: `said before: ${news.mark}` }
}

function routed(news: News, known: Knowledge): Verdict {
  const channels = routesOf(news, known)
  const chosen = channels.filter((c) => c.why === null).map((c) => c.id)
  const left = channels.filter((c) => c.why !== null).map((c) => `${c.id}: ${c.why}`)
  const reason = [chosen.length > 0 ? `to ${chosen.join(', ')}` : 'to nobody', ...left].join('; ')
  return { stage: 'routed', passed: chosen.length > 0, reason, channels: chosen }
}

/** Each channel that comes into question, and why it is left out (null: it is not). */
export function routesOf(news: News, known: Pick<Knowledge, 'channel'>): { id: string; why: string | null }[] {
  const { alert, event } = news
  const heard = event === 'resolved'
  const ids = heard ? alert.told.channels : alert.facts.channels
  return ids.map((id) => {
    const channel = known.channel(id)
    if (!channel) return { id, why: 'does not exist any more' }
    if (!channel.enabled) return { id, why: 'is disabled' }
    if (!channel.configured) return { id, why: 'is not configured' }
    const { severityFilter } = channel
    const takes = heard || severityFilter.length === 0 || severityFilter.includes(alert.severity)
    return { id, why: takes ? null : `does not take ${alert.severity}` }
  })
}

export const stages: readonly Stage[] = [inhibited, silenced, grouped, deduplicated, routed]

/** Sends news through `through`; the verdicts end with the first that did not let it pass. */
export function judge(news: News, known: Knowledge, through: readonly Stage[] = stages): Verdict[] {
  const verdicts: Verdict[] = []
  for (const stage of through) {
    const verdict = stage(news, known)
    verdicts.push(verdict)
    if (!verdict.passed) break
  }
  return verdicts
}

/** What a digest, which has been held already, still has to pass. */
export const afterHolding: readonly Stage[] = [inhibited, silenced, deduplicated, routed]
