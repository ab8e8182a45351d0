/**
 * Alerts, watches, silences and groups in ops.db: rows to values and back. No decision is made here; whoever calls
 * holds the transaction, so that a change and all that it causes commit together.
 *
 * Lists are read by (status, severity), newest first, along one index and merged: a page costs the same with ten alerts
 * as with a hundred thousand. How many there are of each is counted as rows change.
 */
import type { Millis } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import type { Database, Statement } from '../storage/database.ts'
import type { CloseReason, Watch } from './alert.ts'
import {
  ALERT_STATUSES,
  type Alert,
  type AlertStatus,
  rankOf,
  type TimelineEntry,
  type TimelineKind,
} from './record.ts'
import { SEVERITIES, type Severity } from './rule.ts'
import type { Group } from './suppress/group.ts'
import type { Silence, SilenceTraits } from './suppress/silence.ts'
import type { Change, StoredWatch } from './wire.ts'

export interface AlertQuery {
  readonly statuses?: readonly AlertStatus[]
  readonly severities?: readonly Severity[]
  readonly ruleId?: string
  readonly since?: Millis
  readonly until?: Millis
  readonly sort: 'newest' | 'needs_attention'
  readonly limit: number
  /** Of the last alert of the page before. */
  readonly after?: AlertCursor
}

export interface AlertCursor {
  readonly rank: number
  readonly triggeredAt: Millis
  readonly id: string
}

/** How many alerts there are by status and severity; tests are not counted. */
export type AlertCounts = Readonly<Record<AlertStatus, Readonly<Record<Severity, number>>>>

export interface HeldNews {
  readonly alertId: string
  readonly event: 'firing' | 'escalated' | 'resolved'
  readonly at: Millis
}

export const STATS = [
  'alerts_triggered',
  'alerts_resolved',
  'false_positives',
  'notifications_sent',
  'resolution_ms',
] as const
export type Stat = (typeof STATS)[number]

const COLUMNS = [
  'id',
  'rule',
  'series',
  'rule_version',
  'status',
  'severity',
  'level',
  'metric',
  'labels',
  'title',
  'message',
  'value',
  'threshold',
  'peak',
  'since',
  'triggered_at',
  'acknowledged_at',
  'acknowledged_by',
  'resolved_at',
  'resolution',
  'notes',
  'false_positive',
  'flapping',
  'suppressed_by',
  'is_test',
  'escalate_at',
  'group_key',
  'told',
  'facts',
] as const

const BY_RULE = { index: 'alerts_rule', behind: 'id > ?', order: 'id' }
const BY_TIME = { index: 'alerts_listed', behind: '(triggered_at, id) > (?, ?)', order: 'triggered_at, id' }

export class AlertStore {
  readonly db: Database
  readonly #statements = new Map<string, Statement<unknown[]>>()
  #counts = zeroCounts()

  constructor(db: Database) {
    this.db = db
    this.recount()
  }

  #run(sql: string, ...values: unknown[]): number {
    return this.#prepare(sql).run(...values).changes
  }
  #get<T>(sql: string, ...values: unknown[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined
  }
  #all<T>(sql: string, ...values: unknown[]): T[] {
    return this.#prepare(sql).all(...values) as T[]
  }
  #prepare(sql: string): Statement<unknown[]> {
    let statement = this.#statements.get(sql)
    if (!statement) {
      statement = this.db.prepare<unknown[]>(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  // -------------------------------------------------------------------------------------------------- alerts

  insert(alert: Alert): void {
    const marks = COLUMNS.map(() => '?').join(', ')
    this.#run(`INSERT INTO alerts (${COLUMNS.join(', ')}) VALUES (${marks})`, ...rowOf(alert))
    this.#count(alert, 1)
  }

  /** Writes all of an alert; `before` is what stands there now. */
  update(before: Alert, alert: Alert): void {
    const set = COLUMNS.slice(1).map((column) => `${column} = ?`)
    this.#run(`UPDATE alerts SET ${set.join(', ')} WHERE id = ?`, ...rowOf(alert).slice(1), alert.id)
    this.#count(before, -1)
    this.#count(alert, 1)
  }

  get(id: string): Alert | null {
    const row = this.#get<AlertRow>('SELECT * FROM alerts WHERE id = ?', id)
    return row ? alertOf(row) : null
  }

  /** The open alert of a rule and series. */
  openOf(ruleId: string, seriesKey: string): Alert | null {
    const row = this.#get<AlertRow>(
      'SELECT * FROM alerts WHERE rule = ? AND series = ? AND resolved_at IS NULL AND is_test = 0',
      ruleId,
      seriesKey,
    )
    return row ? alertOf(row) : null
  }

  /** Open alerts of a rule, tests left out. */
  openOfRule(ruleId: string): Alert[] {
    return this.#all<AlertRow>(
      'SELECT * FROM alerts WHERE rule = ? AND resolved_at IS NULL AND is_test = 0',
      ruleId,
    ).map(alertOf)
  }

  hasOpen(ruleId: string, seriesKey: string | null): boolean {
    const more = seriesKey === null ? '' : ' AND series = ?'
    const sql = `SELECT 1 FROM alerts WHERE rule = ?${more} AND resolved_at IS NULL AND is_test = 0 LIMIT 1`
    return this.#get(sql, ruleId, ...(seriesKey === null ? [] : [seriesKey])) !== undefined
  }

  /**
   * Alerts that may match a silence, tests left out, page by page: none that matches is missing. The pages of a rule go
   * along its index by id, those of all rules by severity and time; both cost what they give, however many there are.
   */
  silenceable(
    status: AlertStatus,
    severity: Severity,
    { rule, metric, texts }: SilenceTraits,
    after: Pick<Alert, 'triggeredAt' | 'id'> | null,
    limit: number,
  ): Alert[] {
    const held = texts.map((text) => JSON.stringify(text).slice(1, -1))
    const { index, behind, order } = rule === null ? BY_TIME : BY_RULE
    const where = [
      'status = ? AND severity = ? AND is_test = 0',
      ...(rule === null ? [] : ['rule = ?']),
      ...(metric === null ? [] : ['metric = ?']),
      ...held.map(() => '(instr(labels, ?) > 0 OR instr(facts, ?) > 0)'),
      ...(after === null ? [] : [behind]),
    ]
    const known = [rule, metric].filter((value) => value !== null)
    const place = after === null ? [] : rule === null ? [after.triggeredAt, after.id] : [after.id]
    const sql = `SELECT * FROM alerts INDEXED BY ${index} WHERE ${where.join(' AND ')} ORDER BY ${order} LIMIT ?`
    const sought = held.flatMap((text) => [text, text])
    return this.#all<AlertRow>(sql, status, severity, ...known, ...sought, ...place, limit).map(alertOf)
  }

  /** Alerts that it suppresses, by id, behind `after`. */
  suppressedBy(by: string, after: string, limit: number): Alert[] {
    return this.#all<AlertRow>(
      "SELECT * FROM alerts WHERE suppressed_by = ? AND status = 'suppressed' AND id > ? ORDER BY id LIMIT ?",
      by,
      after,
      limit,
    ).map(alertOf)
  }

  suppressors(): string[] {
    return this.#all<{ by: string }>(
      'SELECT DISTINCT suppressed_by AS by FROM alerts WHERE suppressed_by IS NOT NULL',
    ).map((row) => row.by)
  }

  dueToRise(now: Millis, limit: number): Alert[] {
    return this.#all<AlertRow>(
      'SELECT * FROM alerts WHERE escalate_at <= ? ORDER BY escalate_at LIMIT ?',
      now,
      limit,
    ).map(alertOf)
  }

  openTests(before: Millis): Alert[] {
    return this.#all<AlertRow>(
      'SELECT * FROM alerts WHERE is_test = 1 AND resolved_at IS NULL AND triggered_at <= ?',
      before,
    ).map(alertOf)
  }

  /** What people did with alerts of a series that were open between these times. */
  verdicts(seriesKey: string, from: Millis, until: Millis): { falsePositive: boolean; acknowledged: boolean }[] {
    return this.#all<{ falsePositive: number; acknowledged: number }>(
      'SELECT false_positive AS falsePositive, acknowledged_at IS NOT NULL AS acknowledged FROM alerts ' +
        'WHERE series = ? AND triggered_at <= ? AND (resolved_at IS NULL OR resolved_at >= ?) AND is_test = 0',
      seriesKey,
      until,
      from,
    ).map((row) => ({ falsePositive: row.falsePositive === 1, acknowledged: row.acknowledged === 1 }))
  }

  /** Figures of an alert that still fires. */
  figure(id: string, value: number, peak: number): void {
    this.#run('UPDATE alerts SET value = ?, peak = ? WHERE id = ? AND resolved_at IS NULL', value, peak, id)
  }

  /** A page, in the order asked for. */
  list(query: AlertQuery): Alert[] {
    const { sort, limit, after } = query
    const kinds = (query.statuses ?? ALERT_STATUSES)
      .flatMap((status) => (query.severities ?? SEVERITIES).map((severity) => ({ status, severity })))
      .map((kind) => ({ ...kind, rank: rankOf(kind.status, kind.severity) }))
      .sort((a, b) => a.rank - b.rank)
    const conditions = ['status = ? AND severity = ? AND is_test = 0']
    const values: unknown[] = []
    const where = (condition: string, ...more: unknown[]) => {
      conditions.push(condition)
      values.push(...more)
    }
    if (query.ruleId !== undefined) where('rule = ?', query.ruleId)
    if (query.since !== undefined) where('triggered_at >= ?', query.since)
    if (query.until !== undefined) where('triggered_at <= ?', query.until)
    const select = (kind: { status: string; severity: string; rank: number }, most: number) => {
      const behind = after && (sort === 'newest' || kind.rank === after.rank)
      const sql =
        `SELECT * FROM alerts WHERE ${conditions.join(' AND ')}` +
        `${behind ? ' AND (triggered_at, id) < (?, ?)' : ''} ORDER BY triggered_at DESC, id DESC LIMIT ?`
      const page = behind ? [after.triggeredAt, after.id] : []
      return this.#all<AlertRow>(sql, kind.status, kind.severity, ...values, ...page, most).map(alertOf)
    }
    if (sort === 'needs_attention') {
      const found: Alert[] = []
      for (const kind of kinds) {
        if (after && kind.rank < after.rank) continue
        if (found.length < limit) found.push(...select(kind, limit - found.length))
      }
      return found
    }
    return kinds
      .flatMap((kind) => select(kind, limit))
      .sort((a, b) => b.triggeredAt - a.triggeredAt || (a.id < b.id ? 1 : -1))
      .slice(0, limit)
  }

  /** How many match, whatever the page. */
  total(query: Pick<AlertQuery, 'statuses' | 'severities' | 'ruleId' | 'since' | 'until'>): number {
    const { statuses = ALERT_STATUSES, severities = SEVERITIES, ruleId, since, until } = query
    if (ruleId === undefined && since === undefined && until === undefined) {
      return statuses.reduce((sum, status) => sum + severities.reduce((n, s) => n + this.#counts[status][s], 0), 0)
    }
    const sql =
      'SELECT count(*) AS n FROM alerts WHERE is_test = 0 AND triggered_at BETWEEN ? AND ?' +
      ` AND (? IS NULL OR rule = ?) AND status IN (${statuses.map(() => '?').join()})` +
      ` AND severity IN (${severities.map(() => '?').join()})`
    const rule = ruleId ?? null
    return this.#get<{ n: number }>(
      sql,
      since ?? 0,
      until ?? Number.MAX_SAFE_INTEGER,
      rule,
      rule,
      ...statuses,
      ...severities,
    )!.n
  }

  get counts(): AlertCounts {
    return this.#counts
  }

  /** Counts anew; after a transaction that was rolled back. */
  recount(): void {
    this.#counts = zeroCounts()
    const rows = this.db
      .prepare('SELECT status, severity, count(*) AS n FROM alerts WHERE is_test = 0 GROUP BY status, severity')
      .all() as { status: AlertStatus; severity: Severity; n: number }[]
    for (const { status, severity, n } of rows) this.#counts[status][severity] = n
  }

  triggeredSince(at: Millis): number {
    return this.#get<{ n: number }>('SELECT count(*) AS n FROM alerts WHERE triggered_at >= ? AND is_test = 0', at)!.n
  }

  resolvedSince(at: Millis): number {
    return this.#get<{ n: number }>('SELECT count(*) AS n FROM alerts WHERE resolved_at >= ? AND is_test = 0', at)!.n
  }

  #count(alert: Alert, by: 1 | -1): void {
    if (!alert.isTest) this.#counts[alert.status][alert.severity] += by
  }

  // ------------------------------------------------------------------------------------------------ timeline

  note(alertId: string, at: Millis, kind: TimelineKind, detail: TimelineEntry['detail']): void {
    this.#run(
      'INSERT INTO alert_timeline (alert, at, kind, detail) VALUES (?, ?, ?, ?)',
      alertId,
      at,
      kind,
      JSON.stringify(detail),
    )
  }

  /** Oldest first. */
  timeline(alertId: string): TimelineEntry[] {
    return this.#all<{ at: number; kind: TimelineKind; detail: string }>(
      'SELECT at, kind, detail FROM alert_timeline WHERE alert = ? ORDER BY id',
      alertId,
    ).map((row) => ({ ...row, detail: JSON.parse(row.detail) }))
  }

  // ------------------------------------------------------------------------------------------------- watches

  position(): number {
    return this.#get<{ position: number }>('SELECT position FROM alert_watcher')?.position ?? -1
  }

  setPosition(position: number): void {
    this.#run('INSERT OR REPLACE INTO alert_watcher (id, position) VALUES (0, ?)', position)
  }

  putWatch({ rule, version, labels, key, generation, watch }: Omit<Change, 'deeds'>): void {
    if (watch.kind === 'idle' && watch.endedAt === null && watch.opens.length === 0 && generation === 0) {
      this.#run('DELETE FROM alert_watches WHERE rule = ? AND series = ?', rule, key)
      return
    }
    this.#run(
      'INSERT OR REPLACE INTO alert_watches (rule, series, rule_version, generation, labels, watch) VALUES (?, ?, ?, ?, ?, ?)',
      rule,
      key,
      version,
      generation,
      JSON.stringify(labels),
      watchJson(watch),
    )
  }

  watch(rule: string, key: string): (StoredWatch & { version: number }) | null {
    const row = this.#get<WatchRow>('SELECT * FROM alert_watches WHERE rule = ? AND series = ?', rule, key)
    return row ? watchOf(row) : null
  }

  watchesOf(rule: string): (StoredWatch & { version: number })[] {
    return this.#all<WatchRow>('SELECT * FROM alert_watches WHERE rule = ?', rule).map(watchOf)
  }

  watches(): (StoredWatch & { version: number })[] {
    return this.#all<WatchRow>('SELECT * FROM alert_watches').map(watchOf)
  }

  deleteWatches(rule: string): void {
    this.#run('DELETE FROM alert_watches WHERE rule = ?', rule)
  }

  // ------------------------------------------------------------------------------------------ silences, groups

  putSilence(silence: Silence): void {
    this.#run(
      'INSERT OR REPLACE INTO alert_silences (id, version, ended_at, silence) VALUES (?, ?, ?, ?)',
      silence.id,
      silence.version,
      silence.endedAt,
      JSON.stringify(silence),
    )
  }

  silences(): Silence[] {
    return this.#all<{ silence: string }>('SELECT silence FROM alert_silences ORDER BY id').map((row) =>
      JSON.parse(row.silence),
    )
  }

  deleteSilence(id: string): void {
    this.#run('DELETE FROM alert_hidden WHERE silence = ?', id)
    this.#run('DELETE FROM alert_silences WHERE id = ?', id)
  }

  hide(silence: string, alert: string, at: Millis): void {
    this.#run('INSERT OR IGNORE INTO alert_hidden (silence, alert, at) VALUES (?, ?, ?)', silence, alert, at)
  }

  /** Alerts that a silence hid, the latest first. */
  hidden(silence: string, limit: number): { alertId: string; at: Millis }[] {
    return this.#all(
      'SELECT alert AS alertId, at FROM alert_hidden WHERE silence = ? ORDER BY at DESC LIMIT ?',
      silence,
      limit,
    )
  }

  /** How many alerts a silence hid, and how many of them are open. */
  hiddenCounts(silence: string): { total: number; open: number } {
    return this.#get(
      'SELECT count(*) AS total, count(CASE WHEN a.resolved_at IS NULL THEN 1 END) AS open ' +
        'FROM alert_hidden h JOIN alerts a ON a.id = h.alert WHERE h.silence = ?',
      silence,
    )!
  }

  /** Whether a silence hid anything, and whether any of that is open. */
  hides(silence: string): { some: boolean; open: boolean } {
    const some = this.#get('SELECT 1 FROM alert_hidden WHERE silence = ? LIMIT 1', silence) !== undefined
    const sql =
      'SELECT 1 FROM alert_hidden h JOIN alerts a ON a.id = h.alert WHERE h.silence = ? AND a.resolved_at IS NULL LIMIT 1'
    return { some, open: some && this.#get(sql, silence) !== undefined }
  }

  /** Rows written so far, also those of transactions that were rolled back. */
  written(): number {
    return this.#get<{ n: number }>('SELECT total_changes() AS n')!.n
  }

  group(key: string): Group | null {
    const row = this.#get<GroupRow>('SELECT * FROM alert_groups WHERE key = ?', key)
    return row ? groupOf(row) : null
  }

  putGroup({ key, windowAt, told, digestAt, flushAt }: Group): void {
    this.#run(
      'INSERT OR REPLACE INTO alert_groups (key, window_at, told, digest_at, flush_at) VALUES (?, ?, ?, ?, ?)',
      key,
      windowAt,
      told,
      digestAt,
      flushAt,
    )
  }

  groupsToFlush(now: Millis): Group[] {
    return this.#all<GroupRow>('SELECT * FROM alert_groups WHERE flush_at <= ?', now).map(groupOf)
  }

  groups(): Group[] {
    return this.#all<GroupRow>('SELECT * FROM alert_groups').map(groupOf)
  }

  forgetGroups(before: Millis): void {
    this.#run(
      'DELETE FROM alert_groups WHERE flush_at IS NULL AND window_at < ? AND (digest_at IS NULL OR digest_at < ?)',
      before,
      before,
    )
  }

  holdNews(groupKey: string, news: HeldNews): void {
    this.#run(
      'INSERT OR IGNORE INTO alert_held (group_key, alert, event, at) VALUES (?, ?, ?, ?)',
      groupKey,
      news.alertId,
      news.event,
      news.at,
    )
  }

  /** What a group holds, the oldest first, whole alerts at most `limit`. */
  held(groupKey: string, limit: number): HeldNews[] {
    return this.#all(
      'SELECT alert AS alertId, event, at FROM alert_held WHERE group_key = ? AND alert IN ' +
        '(SELECT DISTINCT alert FROM alert_held WHERE group_key = ? ORDER BY alert LIMIT ?) ORDER BY alert, at',
      groupKey,
      groupKey,
      limit,
    )
  }

  release(groupKey: string, alertId: string): void {
    this.#run('DELETE FROM alert_held WHERE group_key = ? AND alert = ?', groupKey, alertId)
  }

  isHeld(groupKey: string, alertId: string): boolean {
    return (
      this.#get('SELECT 1 FROM alert_held WHERE group_key = ? AND alert = ? LIMIT 1', groupKey, alertId) !== undefined
    )
  }

  holds(groupKey: string): boolean {
    return this.#get('SELECT 1 FROM alert_held WHERE group_key = ? LIMIT 1', groupKey) !== undefined
  }

  // --------------------------------------------------------------------------------------- counters, switches

  addStat(name: Stat, by: number): void {
    this.#run(
      'INSERT INTO alert_stats VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value',
      name,
      by,
    )
  }

  stats(): Record<Stat, number> {
    const all = Object.fromEntries(STATS.map((name) => [name, 0])) as Record<Stat, number>
    for (const { name, value } of this.#all<{ name: Stat; value: number }>('SELECT * FROM alert_stats'))
      all[name] = value
    return all
  }

  switch(name: string): string | null {
    return this.#get<{ value: string }>('SELECT value FROM alert_engine WHERE name = ?', name)?.value ?? null
  }

  setSwitch(name: string, value: string): void {
    this.#run('INSERT OR REPLACE INTO alert_engine (name, value) VALUES (?, ?)', name, value)
  }

  /** Removes what is older than retention, at most `limit` alerts and as many deliveries. Answers how many it removed. */
  clean(before: Millis, limit: number): number {
    const alerts = this.#all<{ id: string }>('SELECT id FROM alerts WHERE resolved_at < ? LIMIT ?', before, limit)
    for (const { id } of alerts) {
      const alert = this.get(id)!
      this.#run('DELETE FROM alert_timeline WHERE alert = ?', id)
      this.#run('DELETE FROM alert_hidden WHERE alert = ?', id)
      this.#run('DELETE FROM outbox_alerts WHERE alert = ?', id)
      this.#run('DELETE FROM alerts WHERE id = ?', id)
      this.#count(alert, -1)
    }
    const notices = this.#all<{ id: string }>('SELECT id FROM outbox WHERE done_at < ? LIMIT ?', before, limit)
    for (const { id } of notices) {
      this.#run('DELETE FROM outbox_alerts WHERE notice = ?', id)
      this.#run('DELETE FROM outbox WHERE id = ?', id)
    }
    return alerts.length + notices.length
  }
}

export const cursorOf = (alert: Alert): AlertCursor => ({
  rank: rankOf(alert.status, alert.severity),
  triggeredAt: alert.triggeredAt,
  id: alert.id,
})

interface AlertRow {
  readonly id: string
  readonly rule: string
  readonly series: string
  readonly rule_version: number
  readonly status: AlertStatus
  readonly severity: Severity
  readonly level: number
  readonly metric: string
  readonly labels: string
  readonly title: string
  readonly message: string
  readonly value: number | null
  readonly threshold: number | null
  readonly peak: number | null
  readonly since: number
  readonly triggered_at: number
  readonly acknowledged_at: number | null
  readonly acknowledged_by: string | null
  readonly resolved_at: number | null
  readonly resolution: CloseReason | null
  readonly notes: string | null
  readonly false_positive: number
  readonly flapping: number
  readonly suppressed_by: string | null
  readonly is_test: number
  readonly escalate_at: number | null
  readonly group_key: string | null
  readonly told: string
  readonly facts: string
}

function alertOf(row: AlertRow): Alert {
  return {
    id: row.id,
    ruleId: row.rule,
    ruleVersion: row.rule_version,
    seriesKey: row.series,
    status: row.status,
    severity: row.severity,
    level: row.level,
    metricName: row.metric,
    labels: JSON.parse(row.labels) as Labels,
    title: row.title,
    message: row.message,
    value: row.value,
    threshold: row.threshold,
    peak: row.peak,
    since: row.since,
    triggeredAt: row.triggered_at,
    acknowledgedAt: row.acknowledged_at,
    acknowledgedBy: row.acknowledged_by,
    resolvedAt: row.resolved_at,
    resolution: row.resolution,
    notes: row.notes,
    falsePositive: row.false_positive === 1,
    flapping: row.flapping === 1,
    suppressedBy: row.suppressed_by,
    isTest: row.is_test === 1,
    escalateAt: row.escalate_at,
    groupKey: row.group_key,
    told: JSON.parse(row.told) as Alert['told'],
    facts: JSON.parse(row.facts) as Alert['facts'],
  }
}

/** In the order of COLUMNS. */
function rowOf(alert: Alert): unknown[] {
  return [
    alert.id,
    alert.ruleId,
    alert.seriesKey,
    alert.ruleVersion,
    alert.status,
    alert.severity,
    alert.level,
    alert.metricName,
    JSON.stringify(alert.labels),
    alert.title,
    alert.message,
    alert.value,
    alert.threshold,
    alert.peak,
    alert.since,
    alert.triggeredAt,
    alert.acknowledgedAt,
    alert.acknowledgedBy,
    alert.resolvedAt,
    alert.resolution,
    alert.notes,
    alert.falsePositive ? 1 : 0,
    alert.flapping ? 1 : 0,
    alert.suppressedBy,
    alert.isTest ? 1 : 0,
    alert.escalateAt,
    alert.groupKey,
    JSON.stringify(alert.told),
    JSON.stringify(alert.facts),
  ]
}

interface WatchRow {
  readonly rule: string
  readonly series: string
  readonly rule_version: number
  readonly generation: number
  readonly labels: string
  readonly watch: string
}

function watchOf(row: WatchRow): StoredWatch & { version: number } {
  return {
    rule: row.rule,
    key: row.series,
    version: row.rule_version,
    generation: row.generation,
    labels: JSON.parse(row.labels) as Labels,
    watch: readWatch(row.watch),
  }
}

/** A peak that is not there yet (an alert for want of data) is NaN in memory, null in JSON. */
const watchJson = (watch: Watch) => JSON.stringify(watch)

function readWatch(text: string): Watch {
  const watch = JSON.parse(text) as Watch
  return watch.kind === 'firing' ? { ...watch, peak: watch.peak ?? Number.NaN } : watch
}

interface GroupRow {
  readonly key: string
  readonly window_at: number
  readonly told: number
  readonly digest_at: number | null
  readonly flush_at: number | null
}

const groupOf = (row: GroupRow): Group => ({
  key: row.key,
  windowAt: row.window_at,
  told: row.told,
  digestAt: row.digest_at,
  flushAt: row.flush_at,
})

function zeroCounts(): Record<AlertStatus, Record<Severity, number>> {
  const zero = () => ({ info: 0, warning: 0, critical: 0, emergency: 0 })
  return { active: zero(), acknowledged: zero(), suppressed: zero(), resolved: zero() }
}
