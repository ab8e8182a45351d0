/**
 * Alerts that another system judges, a Prometheus above all, and posts here again and again while they fire.
 *
 *   post, not known ──▶ open ──post──▶ refreshed ──▶ `endsAt` reached, or nothing posted for the time-out ──▶ resolved
 *
 * From there on they are alerts like all others: silenced, grouped, told, escalated, acknowledged. What is posted has
 * no rule here; its rule id is `posted:` and the alert's name, its channels are all that there are, each with its own
 * severity filter. When an alert ends is durable; after a start nothing ends before its source had time to speak again.
 */
import { hash } from 'node:crypto'
import { newId } from '../../base/id.ts'
import { afterInput, type Cancel, type Scheduler } from '../../base/scheduler.ts'
import { DAY, MINUTE, type Millis, SECOND } from '../../base/time.ts'
import { type Label, type Labels, labelValue, sortLabels } from '../../metrics/index.ts'
import type { Database } from '../../storage/database.ts'
import type { Engine, Posting } from '../engine.ts'
import { escalatesAt } from '../escalate.ts'
import { type Alert, toldNothing } from '../record.ts'
import type { Severity } from '../rule.ts'
import { seriesKey } from '../series.ts'
import type { AlertStore } from '../store.ts'

/** A migration: what is known of posted alerts beside the alerts themselves. */
export const postedTable = `
  CREATE TABLE alert_posted (
    series TEXT PRIMARY KEY,     -- key of the labels
    alert TEXT NOT NULL, ends_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, generator_url TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX alert_posted_ends ON alert_posted (ends_at);
  CREATE INDEX alert_posted_alert ON alert_posted (alert);
`

/** One alert as it was posted; labels sorted, without empty values. */
export interface PostedAlert {
  readonly labels: Labels
  readonly annotations: Readonly<Record<string, string>>
  readonly startsAt: Millis | null
  readonly endsAt: Millis | null
  readonly generatorUrl: string
}

export interface PostedFacts {
  readonly endsAt: Millis
  readonly updatedAt: Millis
  readonly generatorUrl: string
}

export interface PostedOptions {
  readonly db: Database
  readonly engine: Engine
  readonly store: AlertStore
  readonly scheduler: Scheduler
  /** Ids of all channels. */
  readonly channels: () => readonly string[]
  readonly escalationMs: () => number
}

export interface PostedAlerts {
  /** Takes a batch. Alerts of one batch change together, in portions of some hundred. */
  post(alerts: readonly PostedAlert[]): Promise<void>
  facts(alert: Alert): PostedFacts | null
  stop(): void
}

/** An alert without an end that is not posted again within this time has ended. */
export const RESOLVE_TIMEOUT_MS = 5 * MINUTE
/** What somebody has resolved by hand does not come back at once with the next post. */
const HAND_MS = 5 * MINUTE
const AT_ONCE = 200
const ENDED_AT_ONCE = 500
const KEPT_MS = DAY
export const POSTED = 'posted:'

interface Row {
  readonly series: string
  readonly alert: string
  readonly ends_at: number
  readonly updated_at: number
  readonly generator_url: string
}

/** A request that is not answered yet; `from`: how many of its alerts are taken. */
interface Waiting {
  readonly alerts: readonly PostedAlert[]
  from: number
  readonly done: () => void
  readonly fail: (error: unknown) => void
}

export function postedAlerts(options: PostedOptions): PostedAlerts {
  const { db, engine, store, scheduler } = options
  const { clock } = scheduler
  const startedAt = clock.now()
  let waiting: Waiting[] = []
  const rowOf = db.prepare<[string], Row>('SELECT * FROM alert_posted WHERE series = ?')
  const rowOfAlert = db.prepare<[string], Row>('SELECT * FROM alert_posted WHERE alert = ?')
  const put = db.prepare(
    'INSERT OR REPLACE INTO alert_posted (series, alert, ends_at, updated_at, generator_url) VALUES (?, ?, ?, ?, ?)',
  )
  const over = db.prepare<[number, number], Row>(
    'SELECT p.* FROM alert_posted p JOIN alerts a ON a.id = p.alert ' +
      'WHERE p.ends_at <= ? AND a.resolved_at IS NULL LIMIT ?',
  )
  const forget = db.prepare(
    'DELETE FROM alert_posted WHERE ends_at < ? AND alert NOT IN (SELECT id FROM alerts WHERE resolved_at IS NULL)',
  )

  function take(posted: PostedAlert, posting: Posting, now: Millis): void {
    const key = seriesKey(posted.labels)
    const row = rowOf.get(key)
    const known = row ? store.get(row.alert) : null
    const open = known && known.resolvedAt === null ? known : null
    if (posted.endsAt !== null && posted.endsAt <= now) {
      if (open) posting.end(open.id, now)
      return
    }
    if (known?.resolution === 'resolved_by_hand' && now - known.resolvedAt! < HAND_MS) return
    const endsAt = posted.endsAt ?? now + RESOLVE_TIMEOUT_MS
    if (open) {
      const next = { ...open, ...wordsOf(posted), facts: { ...open.facts, annotations: posted.annotations } }
      if (JSON.stringify(next) !== JSON.stringify(open)) posting.change(open, next)
      put.run(key, open.id, endsAt, now, posted.generatorUrl)
      return
    }
    const alert = alertOf(posted, key, now)
    put.run(key, alert.id, endsAt, now, posted.generatorUrl)
    posting.open(alert, { why: 'posted', since: alert.since, generator_url: posted.generatorUrl })
  }

  function alertOf(posted: PostedAlert, key: string, now: Millis): Alert {
    const name = labelValue(posted.labels, 'alertname') || 'alert'
    const said = labelValue(posted.labels, 'severity')
    const severity = severityOf(said)
    const runbook = posted.annotations.runbook_url ?? ''
    return {
      id: newId(now),
      ruleId: `${POSTED}${name}`.slice(0, 240),
      ruleVersion: 0,
      seriesKey: key,
      status: 'active',
      severity,
      level: 0,
      metricName: '',
      labels: posted.labels,
      ...wordsOf(posted),
      value: null,
      threshold: null,
      peak: null,
      since: Math.min(posted.startsAt ?? now, now),
      triggeredAt: now,
      acknowledgedAt: null,
      acknowledgedBy: null,
      resolvedAt: null,
      resolution: null,
      notes: null,
      falsePositive: false,
      flapping: false,
      suppressedBy: null,
      isTest: false,
      escalateAt: escalatesAt(severity, now, options.escalationMs()),
      groupKey: null,
      told: toldNothing,
      facts: {
        ruleName: name,
        condition: 'gt',
        source: { kind: 'expr', expr: '' },
        recoveryThreshold: 0,
        baseSeverity: severity,
        channels: options.channels(),
        tags: [],
        suppressedBy: [],
        unit: '',
        runbookUrl: /^https?:\/\/\S+$/.test(runbook) ? runbook : null,
        owner: null,
        // A silence asks for the severity as it was posted.
        extraLabels: said === '' ? {} : { severity: said },
        annotations: posted.annotations,
      },
    }
  }

  /** Ends what was not posted again. */
  function look(): void {
    const now = clock.now()
    if (now - startedAt < RESOLVE_TIMEOUT_MS) return
    const rows = over.all(now, ENDED_AT_ONCE)
    if (rows.length > 0) {
      engine.posted((posting) => {
        for (const { alert } of rows) posting.end(alert, now)
      })
    }
    forget.run(now - KEPT_MS)
  }

  /**
   * Takes what waits, as one turn that waits for the disk once, and answers. Requests that arrive while a commit holds up
   * everybody are one turn then, so that a slow disk does not make a queue.
   */
  function takeWaiting(): void {
    const parts: { post: Waiting; until: number }[] = []
    let room = AT_ONCE
    for (const post of waiting) {
      if (room === 0) break
      const until = Math.min(post.alerts.length, post.from + room)
      room -= until - post.from
      parts.push({ post, until })
    }
    const takeParts = (some: typeof parts) => {
      const now = clock.now()
      engine.posted((posting) => {
        for (const { post, until } of some)
          for (const alert of post.alerts.slice(post.from, until)) take(alert, posting, now)
      })
      for (const { post, until } of some) post.from = until
    }
    try {
      takeParts(parts)
    } catch (error) {
      // What is wrong with one is no answer to the others.
      for (const part of parts) {
        try {
          if (parts.length === 1) throw error
          takeParts([part])
        } catch (own) {
          part.post.from = part.post.alerts.length
          part.post.fail(own)
        }
      }
    }
    const through = waiting.filter(({ alerts, from }) => from === alerts.length)
    waiting = waiting.filter(({ alerts, from }) => from < alerts.length)
    for (const { done } of through) done()
    if (waiting.length > 0) scheduler.after(0, takeWaiting)
  }

  const timer: Cancel = scheduler.every(5 * SECOND, look)
  return {
    post(alerts) {
      if (alerts.length === 0) return Promise.resolve()
      return new Promise((done, fail) => {
        waiting.push({ alerts, from: 0, done, fail })
        if (waiting.length === 1) afterInput(takeWaiting)
      })
    },
    facts(alert) {
      const row = alert.ruleId.startsWith(POSTED) ? rowOfAlert.get(alert.id) : undefined
      return row ? { endsAt: row.ends_at, updatedAt: row.updated_at, generatorUrl: row.generator_url } : null
    },
    stop: () => timer.cancel(),
  }
}

/** Title and message: the annotations that everybody writes, else the labels. */
function wordsOf({ labels, annotations }: PostedAlert): { title: string; message: string } {
  const name = labelValue(labels, 'alertname') || 'Alert'
  const rest = labels.filter(([label]) => label !== 'alertname' && label !== 'severity')
  const where =
    rest.length === 0 ? '' : ` of ${rest.map(([label, value]) => `${label}=${JSON.stringify(value)}`).join(', ')}`
  const title = annotations.summary || annotations.title || name
  const message = annotations.description || annotations.message || `${name}${where} fires.`
  return { title: title.slice(0, 500), message: message.slice(0, 4000) }
}

const SEVERITY_WORDS: Readonly<Record<string, Severity>> = {
  info: 'info',
  informational: 'info',
  notice: 'info',
  none: 'info',
  warning: 'warning',
  warn: 'warning',
  ticket: 'warning',
  critical: 'critical',
  error: 'critical',
  page: 'critical',
  high: 'critical',
  emergency: 'emergency',
  fatal: 'emergency',
  disaster: 'emergency',
}

/** What is said elsewhere in our four words; a warning where it says nothing that we know. */
export function severityOf(word: string): Severity {
  return SEVERITY_WORDS[word.toLowerCase()] ?? 'warning'
}

/** From name and value; empty values mean "no such label". */
export function labelsOfPost(labels: Readonly<Record<string, string>>): Labels {
  return sortLabels(Object.entries(labels).filter(([, value]) => value !== '') as unknown as Label[])
}

/** By which others know these labels again; 16 hexadecimal digits. */
export function fingerprint(labels: Readonly<Record<string, string>>): string {
  return hash('sha256', JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))), 'hex').slice(0, 16)
}
