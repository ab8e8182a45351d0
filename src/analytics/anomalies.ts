/**
 * Anomalies as people see them: rows that the pipeline thread wrote, the event each belongs to, and what people said of
 * them.
 *
 * A verdict `noise` is a pattern: of that series, by that view, in that direction, up to half again as strong, and, where
 * the detector had learnt a season, around that time of day. Whatever matches is hidden, before and after, until the
 * verdict is taken back; nothing is deleted.
 */
import { DAY, HOUR, type Millis } from '../base/time.ts'
import { apiName, storedName } from '../metrics/index.ts'
import { type Database, tx } from '../storage/database.ts'
import { describeOnset, type Onset, type Season, severityOf, type View } from './detectors/onset.ts'

export interface Verdict {
  readonly verdict: 'real' | 'noise'
  readonly note: string | null
  readonly who: string
  readonly at: Millis
}

export interface Anomaly {
  readonly id: string
  readonly metricName: string
  readonly labels: Readonly<Record<string, string>>
  readonly at: Millis
  /** Robust deviations from the expected value. */
  readonly deviations: number
  /** 0 to 1; 0.5 is the alarm threshold. */
  readonly score: number
  readonly expected: number
  readonly actual: number
  readonly lower: number
  readonly upper: number
  readonly severity: 'low' | 'medium' | 'high'
  readonly view: View
  readonly season: Season
  readonly description: string
  readonly feedback: Verdict | null
  /** The anomaly whose verdict `noise` hides this one. */
  readonly hiddenBy: string | null
  /** The first anomaly of the event, and how many belong to it. */
  readonly event: { readonly id: string; readonly size: number }
}

export interface AnomalyFilter {
  readonly metricName?: string
  readonly severity?: Anomaly['severity']
  readonly since?: Millis
  readonly until?: Millis
  readonly hidden?: boolean
  readonly limit: number
}

/** Anomalies of many series that came together, in the order in which they moved. */
export interface AnomalyEvent {
  readonly id: string
  readonly startedAt: Millis
  readonly lastAt: Millis
  readonly size: number
  /** First mover first; of those within half a minute the strongest first. */
  readonly members: readonly Anomaly[]
}

export interface Effect {
  /** The pattern in words. */
  readonly pattern: string
  /** Anomalies of the last 90 days that the verdict hides, itself among them. */
  readonly hides: readonly string[]
}

export interface Anomalies {
  list(filter: AnomalyFilter): Anomaly[]
  get(id: string): Anomaly | null
  events(since: Millis, limit: number): AnomalyEvent[]
  /** What the verdict `noise` would hide; null for an unknown id. */
  effect(id: string, now: Millis): Effect | null
  /** Records a verdict in place of an earlier one; null for an unknown id. */
  judge(id: string, verdict: Verdict): Effect | null
  /** Takes a verdict back; false when there was none. */
  unjudge(id: string): boolean
  countSince(since: Millis): number
}

interface Row {
  readonly id: string
  readonly event: string
  readonly series: number
  readonly metric: string
  readonly labels: string
  readonly at: number
  readonly view: View
  readonly season: Season
  readonly value: number
  readonly expected: number
  readonly lower: number
  readonly upper: number
  readonly deviations: number
  readonly score: number
  readonly verdict: 'real' | 'noise' | null
  readonly note: string | null
  readonly who: string | null
  readonly judged: number | null
}

interface Pattern {
  readonly series: number
  readonly view: View
  readonly upwards: boolean
  readonly deviationsMax: number
  /** Minutes of the day (UTC) around which it holds; null: at any time. */
  readonly around: number | null
}

type Patterns = ReadonlyMap<number, readonly { readonly anomaly: string; readonly pattern: Pattern }[]>

const STRONGER = 1.5
const AROUND_MS = 2 * HOUR
const SHOWN_EFFECT_MS = 90 * DAY
const EVENT_MEMBERS_MAX = 50
const FIRST_MOVERS_MS = 30_000

const COLUMNS =
  'a.*, f.verdict, f.note, f.who, f.at AS judged ' + 'FROM anomalies a LEFT JOIN feedback f ON f.anomaly = a.id'

export function openAnomalies(db: Database): Anomalies {
  const one = db.prepare(`SELECT ${COLUMNS} WHERE a.id = ?`)
  const count = db.prepare('SELECT count(*) FROM anomalies WHERE event = ?').pluck()
  /** Counted once an answer: an event may have as many members as there are series. */
  const sizes = () => {
    const known = new Map<string, number>()
    return (event: string): number => {
      if (!known.has(event)) known.set(event, count.get(event) as number)
      return known.get(event)!
    }
  }
  /** By series: there may be as many verdicts as anomalies, and each anomaly is held against them. */
  const patterns = (): Patterns => {
    const bySeries = new Map<number, { anomaly: string; pattern: Pattern }[]>()
    const rows = db.prepare("SELECT anomaly, pattern FROM feedback WHERE verdict = 'noise'").iterate()
    for (const row of rows as Iterable<{ anomaly: string; pattern: string }>) {
      const pattern = JSON.parse(row.pattern) as Pattern
      const ofSeries = bySeries.get(pattern.series)
      if (ofSeries) ofSeries.push({ anomaly: row.anomaly, pattern })
      else bySeries.set(pattern.series, [{ anomaly: row.anomaly, pattern }])
    }
    return bySeries
  }
  const hiddenBy = (row: Row, known: Patterns) =>
    row.verdict === 'real'
      ? null
      : (known.get(row.series)?.find(({ pattern }) => matches(pattern, row))?.anomaly ?? null)

  function effectOf(row: Row, now: Millis): Effect {
    const pattern = patternOf(row)
    const before = db
      .prepare(`SELECT ${COLUMNS} WHERE a.series = ? AND a.at >= ? ORDER BY a.at DESC`)
      .all(row.series, now - SHOWN_EFFECT_MS) as Row[]
    // The verdict in question replaces the one that its own row may have now.
    const hides = before
      .filter((b) => (b.id === row.id || b.verdict !== 'real') && matches(pattern, b))
      .map((b) => b.id)
    return { pattern: inWords(pattern, apiName(row.metric)), hides }
  }

  return {
    list(filter) {
      const where: string[] = []
      const values: (string | number)[] = []
      const also = (clause: string, value: string | number | undefined) => {
        if (value === undefined) return
        where.push(clause)
        values.push(value)
      }
      also('a.metric = ?', filter.metricName === undefined ? undefined : storedName(filter.metricName))
      also('a.at >= ?', filter.since)
      also('a.at <= ?', filter.until)
      if (filter.severity) {
        const [low, high] = { low: [0, 3], medium: [3, 4], high: [4, Number.MAX_VALUE] }[filter.severity] as [
          number,
          number,
        ]
        also('a.deviations > ?', low)
        also('a.deviations <= ?', high)
      }
      const known = patterns()
      const found: Anomaly[] = []
      const sizeOf = sizes()
      const text = where.length > 0 ? `WHERE ${where.join(' AND ')}` : ''
      for (const row of db.prepare(`SELECT ${COLUMNS} ${text} ORDER BY a.at DESC, a.id`).iterate(...values)) {
        const hider = hiddenBy(row as Row, known)
        if (hider !== null && !filter.hidden) continue
        found.push(toAnomaly(row as Row, hider, sizeOf))
        if (found.length >= filter.limit) break
      }
      return found
    },
    get(id) {
      const row = one.get(id) as Row | undefined
      return row ? toAnomaly(row, hiddenBy(row, patterns()), sizes()) : null
    },
    events(since, limit) {
      const known = patterns()
      const sizeOf = sizes()
      const ids = db
        .prepare('SELECT event, max(at) AS last FROM anomalies WHERE at >= ? GROUP BY event ORDER BY last DESC LIMIT ?')
        .all(since, limit) as { event: string }[]
      const members = db.prepare(`SELECT ${COLUMNS} WHERE a.event = ? ORDER BY a.at, a.deviations DESC LIMIT ?`)
      return ids.flatMap(({ event }) => {
        const rows = (members.all(event, EVENT_MEMBERS_MAX) as Row[]).filter((row) => hiddenBy(row, known) === null)
        if (rows.length === 0) return []
        const start = Math.floor(rows[0]!.at / FIRST_MOVERS_MS)
        const rank = (row: Row) => Math.floor(row.at / FIRST_MOVERS_MS) - start
        rows.sort((a, b) => rank(a) - rank(b) || b.deviations - a.deviations)
        return [
          {
            id: event,
            startedAt: Math.min(...rows.map((r) => r.at)),
            lastAt: Math.max(...rows.map((r) => r.at)),
            size: sizeOf(event),
            members: rows.map((row) => toAnomaly(row, null, sizeOf)),
          },
        ]
      })
    },
    effect(id, now) {
      const row = one.get(id) as Row | undefined
      return row ? effectOf(row, now) : null
    },
    judge(id, verdict) {
      return tx(db, () => {
        const row = one.get(id) as Row | undefined
        if (!row) return null
        const pattern = patternOf(row)
        db.prepare(
          'INSERT OR REPLACE INTO feedback (anomaly, verdict, note, who, at, pattern) VALUES (?, ?, ?, ?, ?, ?)',
        ).run(id, verdict.verdict, verdict.note, verdict.who, verdict.at, JSON.stringify(pattern))
        if (verdict.verdict === 'real') return { pattern: 'real: nothing is hidden', hides: [] }
        return effectOf(row, verdict.at)
      })
    },
    unjudge: (id) => db.prepare('DELETE FROM feedback WHERE anomaly = ?').run(id).changes > 0,
    countSince: (since) =>
      (db.prepare('SELECT count(*) AS n FROM anomalies WHERE at >= ?').get(since) as { n: number }).n,
  }
}

function patternOf(row: Row): Pattern {
  return {
    series: row.series,
    view: row.view,
    upwards: row.value > row.expected,
    deviationsMax: row.deviations * STRONGER,
    around: row.season === 'none' || row.season === 'period' ? null : Math.floor((row.at % DAY) / 60_000),
  }
}

function matches(pattern: Pattern, row: Row): boolean {
  if (row.series !== pattern.series || row.view !== pattern.view) return false
  if (row.value > row.expected !== pattern.upwards || row.deviations > pattern.deviationsMax) return false
  if (pattern.around === null) return true
  const apart = Math.abs((row.at % DAY) - pattern.around * 60_000)
  return Math.min(apart, DAY - apart) <= AROUND_MS
}

function inWords(pattern: Pattern, metric: string): string {
  const { around } = pattern
  const when =
    around === null
      ? 'at any time'
      : `within 2 h of ${String(Math.floor(around / 60)).padStart(2, '0')}:${String(around % 60).padStart(2, '0')} UTC`
  const way = pattern.view === 'stuck' || pattern.view === 'absent' ? '' : pattern.upwards ? ' upwards' : ' downwards'
  return `${metric}, ${pattern.view}${way}, up to ${pattern.deviationsMax.toFixed(1)} deviations, ${when}`
}

function toAnomaly(row: Row, hiddenBy: string | null, sizeOf: (event: string) => number): Anomaly {
  const onset: Onset = { ...row, series: row.series }
  return {
    id: row.id,
    metricName: apiName(row.metric),
    labels: JSON.parse(row.labels) as Record<string, string>,
    at: row.at,
    deviations: row.deviations,
    score: row.score,
    expected: row.expected,
    actual: row.value,
    lower: row.lower,
    upper: row.upper,
    severity: severityOf(row.deviations),
    view: row.view,
    season: row.season,
    description: describeOnset(onset),
    feedback: row.verdict === null ? null : { verdict: row.verdict, note: row.note, who: row.who!, at: row.judged! },
    hiddenBy,
    event: { id: row.event, size: sizeOf(row.event) },
  }
}
