/**
 * Whether alerting works: what is late, failing or wrong, in sentences for a person, and the rules that would reach
 * nobody. Only reads; asked at each request.
 */
import { DAY, type Millis, SECOND, toIso } from '../base/time.ts'
import type { Alerting } from './alerting.ts'
import type { AlertingConfig } from './config.ts'
import type { Heartbeat } from './heartbeat.ts'
import type { Outbox } from './outbox.ts'
import type { Rule } from './rule.ts'
import type { ChannelFacts } from './stages.ts'

export interface AlertingHealth {
  readonly status: 'healthy' | 'degraded' | 'inactive'
  /** A sentence each. */
  readonly problems: readonly string[]
  /** Ids of rules that fire and would reach nobody. */
  readonly undeliverable: readonly string[]
}

export interface HealthDeps {
  readonly alerting: Pick<Alerting, 'engine' | 'rules' | 'ailment' | 'timed' | 'fileProblems'>
  readonly delivery: {
    readonly channels: { record(id: string): ChannelFacts | null }
    readonly outbox: Pick<Outbox, 'state' | 'deliveries'>
    readonly heartbeat: Pick<Heartbeat, 'state'>
  }
  readonly config: () => AlertingConfig
}

/** An evaluation may be so many intervals late. */
const LATE_CYCLES = 3
/** Of each kind of problem. */
const SHOWN = 5
const DEAD_LOOKED_AT = 50

export function alertingHealth({ alerting, delivery, config }: HealthDeps, now: Millis): AlertingHealth {
  const { engine, rules } = alerting
  const all = rules.all()
  const problems = [
    ...(engine.active ? evaluation(alerting, all, config(), now) : []),
    ...some(alerting.fileProblems(), ({ where, message }) => `A rule file is not applied: ${where}: ${message}.`),
    ...faults(engine, now),
    ...deliveryProblems(delivery, now),
  ]
  const undeliverable = undeliverableRules(all, (id) => delivery.channels.record(id))
  const status = engine.active ? (problems.length > 0 ? 'degraded' : 'healthy') : 'inactive'
  return { status, problems, undeliverable }
}

function evaluation(
  { engine, ailment, timed }: HealthDeps['alerting'],
  rules: readonly Rule[],
  { evaluationInterval }: AlertingConfig,
  now: Millis,
): string[] {
  const silent = ailment()
  const late = engine.lastEvaluation === null ? 0 : (now - engine.lastEvaluation) / SECOND
  const failing = rules.flatMap(({ id }) => {
    const error = timed()?.health(id)?.lastError ?? null
    return error === null ? [] : [{ id, error }]
  })
  return [
    ...(silent === null ? [] : [`Nothing is evaluated: ${silent}.`]),
    ...(late > LATE_CYCLES * evaluationInterval ? [`No evaluation for ${Math.round(late)} s.`] : []),
    ...some(failing, ({ id, error }) => `The rule ${id} cannot be evaluated: ${error}`),
  ]
}

/** What alerting itself could not do: a fault of the platform's. */
function faults(engine: Alerting['engine'], now: Millis): string[] {
  const { count, last, unable } = engine.faults(now - DAY)
  const changes = count === 1 ? 'A change of an alert' : `${count} changes of alerts`
  return [
    ...(last === null
      ? []
      : [`${changes} could not be stored within the last day, the last of the rule ${last.rule}: ${last.why}.`]),
    ...some(unable, (what) => `Cannot be done: ${what}.`),
  ]
}

function deliveryProblems({ outbox, heartbeat }: HealthDeps['delivery'], now: Millis): string[] {
  const failing = outbox.state().resting.filter((channel) => channel.failing)
  const dead = outbox
    .deliveries({ status: 'dead', limit: DEAD_LOOKED_AT })
    .find(({ notice }) => !notice.isTest && now - notice.createdAt < DAY)
  const { problem } = heartbeat.state()
  return [
    ...some(
      failing,
      ({ channelId, nextTryAt }) => `The channel ${channelId} fails; the next try is at ${toIso(nextTryAt)}.`,
    ),
    ...(dead ? [`A notice over ${dead.notice.channelId} was given up within the last day; see the deliveries.`] : []),
    ...(problem === null ? [] : [`The heartbeat is not heard: ${problem}.`]),
  ]
}

/** Rules that are enabled, fire, and would reach nobody at the severity that they begin with. */
export function undeliverableRules(rules: readonly Rule[], channel: (id: string) => ChannelFacts | null): string[] {
  const takes = (rule: Rule) => (id: string) => {
    const found = channel(id)
    if (!found?.enabled || !found.configured) return false
    return found.severityFilter.length === 0 || found.severityFilter.includes(rule.severity)
  }
  return rules.filter((rule) => rule.enabled && !rule.channels.some(takes(rule))).map((rule) => rule.id)
}

/** A sentence for each of the first few, and one that counts the rest. */
function some<T>(list: readonly T[], say: (one: T) => string): string[] {
  const said = list.slice(0, SHOWN).map(say)
  return list.length > SHOWN ? [...said, `And ${list.length - SHOWN} more of that kind.`] : said
}

/** The same in one line, for the health of the platform. */
export function serviceOf({ status, problems, undeliverable }: AlertingHealth): {
  status: 'healthy' | 'degraded'
  detail: string
} {
  const ids = undeliverable.slice(0, SHOWN).join(', ')
  const more = undeliverable.length > SHOWN ? ` and ${undeliverable.length - SHOWN} more` : ''
  const nobody = undeliverable.length === 0 ? [] : [`Rules that would reach nobody: ${ids}${more}.`]
  const said = [...problems, ...nobody].join(' ')
  return {
    status: status === 'degraded' ? 'degraded' : 'healthy',
    detail: [status === 'inactive' ? 'off' : 'on', ...(said === '' ? [] : [said])].join('. '),
  }
}
