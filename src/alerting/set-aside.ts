/**
 * Changes of alerts that can never be written. A full disk passes, and everything waits for it in its order; a fault of
 * the platform's own does not, and must not keep all other alerts from being told. Such a change is kept here as it is,
 * said in the health of alerting, and told to whom its rule tells.
 */
import { AppError } from '../base/errors.ts'
import { newId } from '../base/id.ts'
import type { Millis } from '../base/time.ts'
import { toObject } from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import type { Notice } from './notice.ts'
import type { Rule } from './rule.ts'
import type { ChannelFacts } from './stages.ts'
import type { Change } from './wire.ts'

export const setAsideTable = `
  CREATE TABLE alert_set_aside (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, rule TEXT NOT NULL, series TEXT NOT NULL,
    change TEXT NOT NULL, -- JSON Change
    why TEXT NOT NULL
  ) STRICT;
  CREATE INDEX alert_set_aside_at ON alert_set_aside (at);
`

/** A change that cannot be written, and what the attempt said. */
export interface Faulty {
  readonly change: Change
  readonly why: string
}

/** Whether an error comes from a store that will write again: full, busy, not reachable. */
export const isPassing = (error: unknown): boolean => error instanceof AppError && error.status === 503

/**
 * Finds the changes that cannot be written, by halving. `attempt` answers why some cannot be written together, null when
 * they can; it must leave nothing behind. Changes that fail only together are all faulty. With one faulty change of n
 * this takes about 2 log2 n attempts.
 */
export function findFaulty(changes: readonly Change[], attempt: (some: readonly Change[]) => string | null): Faulty[] {
  const why = attempt(changes)
  if (why === null) return []
  if (changes.length === 1) return [{ change: changes[0]!, why }]
  const half = changes.length >> 1
  const found = [...findFaulty(changes.slice(0, half), attempt), ...findFaulty(changes.slice(half), attempt)]
  return found.length > 0 ? found : changes.map((change) => ({ change, why }))
}

/** Keeps what is faulty; in the transaction that goes on without it. */
export function keepFaulty(db: Database, faulty: readonly Faulty[], now: Millis): void {
  const insert = db.prepare('INSERT INTO alert_set_aside (at, rule, series, change, why) VALUES (?, ?, ?, ?, ?)')
  for (const { change, why } of faulty) insert.run(now, change.rule, change.key, JSON.stringify(change), why)
}

export interface SetAside {
  /** How many since the time asked for. */
  readonly count: number
  readonly last: { readonly at: Millis; readonly rule: string; readonly why: string } | null
}

/** What was set aside since `from`. */
export function setAsideSince(db: Database, from: Millis): SetAside {
  const { n } = db.prepare('SELECT count(*) AS n FROM alert_set_aside WHERE at >= ?').get(from) as { n: number }
  const last = db.prepare('SELECT at, rule, why FROM alert_set_aside WHERE at >= ? ORDER BY id DESC LIMIT 1').get(from)
  return { count: n, last: (last as SetAside['last'] | undefined) ?? null }
}

export function forgetSetAside(db: Database, before: Millis): void {
  db.prepare('DELETE FROM alert_set_aside WHERE at < ?').run(before)
}

/**
 * What the people of a rule are told: that an alert began or ended and could not be kept. A change that opens and ends
 * nothing is told to nobody. One notice a channel of the rule.
 */
export function noticesOfFaulty(
  rule: Rule,
  faulty: readonly Faulty[],
  channel: (id: string) => ChannelFacts | null,
  now: Millis,
): Notice[] {
  const deeds = faulty.flatMap(({ change, why }) => change.deeds.map((deed) => ({ deed, why, labels: change.labels })))
  const [first] = deeds
  if (!first) return []
  const { deed, why, labels } = first
  const what = deed.kind === 'opened' ? 'began' : 'ended'
  const more = deeds.length > 1 ? ` ${deeds.length - 1} more changes of this rule as well.` : ''
  const takers = rule.channels.filter((id) => {
    const facts = channel(id)
    return facts?.enabled && facts.configured
  })
  return takers.map((channelId) => ({
    id: newId(now),
    channelId,
    event: 'firing',
    count: deeds.length,
    orderKey: `set-aside:${rule.id}`,
    isTest: false,
    createdAt: now,
    alerts: [
      {
        alertId: `set-aside-${rule.id}`,
        page: '/ops/alerts',
        ruleId: rule.id,
        ruleName: rule.name,
        title: `${rule.name}: an alert ${what} and could not be stored`,
        message:
          `An alert of the rule ${rule.name} ${what}, and the platform could not store it (${why}).${more} ` +
          'It is not in the list of alerts: look at the metric itself.',
        severity: rule.severity,
        status: 'active',
        metricName: rule.metricName,
        labels: toObject(labels),
        currentValue: Number.isFinite(deed.value) ? deed.value : null,
        thresholdValue: rule.threshold,
        unit: '',
        triggeredAt: now,
        resolvedAt: null,
        runbookUrl: rule.runbookUrl,
        tags: rule.tags,
        condition: rule.condition,
      },
    ],
  }))
}
