/**
 * What scaling remembers, in ops.db. A decision, what had been learnt when it was made, and what is wanted by it are
 * one transaction; what becomes of it are steps that are added, never changed.
 *
 *   planned ──▶ executing ──▶ done
 *      │            └───────▶ failed ──(tried again)──▶ executing …
 *      └──────┴──▶ suppressed (superseded before it was carried out, or before all were ready)
 */
import { newId } from '../base/id.ts'
import { DAY, HOUR, MINUTE, type Millis } from '../base/time.ts'
import { type Database, tx } from '../storage/database.ts'
import { newState, type ScalerState } from './decide.ts'
import type { LedgerRow, ProcessLedger } from './drivers/driver.ts'
import type { Action, Decision, DecisionStatus, ManualHold, Observation, Pause } from './model.ts'

/** What a decision was made from, beside what stands in it. */
export interface DecisionRecord {
  readonly decision: Decision
  readonly observation: Observation
  /** Name → version of every enabled policy. */
  readonly policies: Readonly<Record<string, number>>
  /** Version of the platform that decided. */
  readonly engine: string
}

export interface Step {
  readonly at: Millis
  readonly status: DecisionStatus
  readonly detail: string | null
}

export interface StoredDecision extends DecisionRecord {
  readonly id: string
  readonly target: string
  readonly at: Millis
  readonly steps: readonly Step[]
}

/** Where a target stands. */
export interface TargetRow {
  readonly name: string
  readonly state: ScalerState
  /** What is to be; null before anything was decided. */
  readonly wanted: number | null
  readonly fence: number
  readonly decision: string | null
  /** Whether that was carried out. */
  readonly settled: boolean
  readonly cycleAt: Millis | null
}

export interface DecisionFilter {
  readonly target?: string
  readonly action?: Action
  /** `changes`: not `maintain`; `held`: held back by something. */
  readonly only?: 'changes' | 'held'
  readonly since?: Millis
  readonly until?: Millis
  /** Id of the last decision of the former page. */
  readonly before?: string
  readonly limit: number
}

export interface Usage {
  /** Of what ran, whether it served or not. */
  readonly instanceHours: number
  /** Of the most that was allowed, over the same time: what standing at the maximum would have used. */
  readonly maximumHours: number
  /** How much of the time was seen. */
  readonly seenHours: number
}

export interface ScalingFigures {
  /** Those that the provider took, or did not: what came to an end, was superseded meanwhile, or is under way. */
  readonly taken: number
  readonly successful: number
  readonly failed: number
  /** From the decision until ready, ms; null before the first. */
  readonly averageMs: number | null
}

export type ScalingStore = ReturnType<typeof openScalingStore>

const MAINTAIN_KEPT_MS = 7 * DAY
const CHECKPOINT_EVERY_MS = HOUR
const CHECKPOINTS_KEPT_MS = 14 * DAY
/** What a crash may lose of the hours. */
const USAGE_EVERY_MS = MINUTE
const USAGE_KEPT_MS = 400 * DAY

interface Row {
  readonly id: string
  readonly target: string
  readonly at: number
  readonly record: string
}

export function openScalingStore(db: Database) {
  const sql = {
    decide: db.prepare(
      'INSERT INTO scaling_decisions (id, target, at, action, held, record) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    step: db.prepare('INSERT INTO scaling_steps (decision, at, status, detail) VALUES (?, ?, ?, ?)'),
    steps: db.prepare<[string], Step>('SELECT at, status, detail FROM scaling_steps WHERE decision = ? ORDER BY id'),
    one: db.prepare<[string], Row>('SELECT id, target, at, record FROM scaling_decisions WHERE id = ?'),
    target: db.prepare<[string], Record<string, unknown>>('SELECT * FROM scaling_targets WHERE name = ?'),
    putTarget: db.prepare(
      `INSERT OR REPLACE INTO scaling_targets (name, state, wanted, fence, decision, settled, cycle_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ),
    checkpoint: db.prepare('INSERT OR REPLACE INTO scaling_checkpoints (target, at, state) VALUES (?, ?, ?)'),
    usage: db.prepare(
      `INSERT INTO scaling_usage (target, hour, instance_ms, seen_ms, max_ms) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET instance_ms = instance_ms + excluded.instance_ms,
         seen_ms = seen_ms + excluded.seen_ms, max_ms = max_ms + excluded.max_ms`,
    ),
    usageOf: db.prepare<[string, number, number], { instances: number; seen: number; max: number }>(
      `SELECT coalesce(sum(instance_ms), 0) AS instances, coalesce(sum(seen_ms), 0) AS seen,
         coalesce(sum(max_ms), 0) AS max FROM scaling_usage WHERE target = ? AND hour >= ? AND hour < ?`,
    ),
    figures: db.prepare<[string | null, string | null, number], { status: string; n: number; ms: number | null }>(
      `SELECT s.status AS status, count(*) AS n, avg(s.at - d.at) AS ms FROM scaling_steps s
       JOIN scaling_decisions d ON d.id = s.decision
       WHERE (? IS NULL OR d.target = ?) AND s.at >= ? AND d.action <> 'maintain'
         AND s.id = (SELECT max(id) FROM scaling_steps WHERE decision = s.decision)
         AND (s.status IN ('executing', 'done', 'failed') OR s.status = 'suppressed'
           AND EXISTS (SELECT 1 FROM scaling_steps WHERE decision = s.decision AND status = 'executing'))
       GROUP BY s.status`,
    ),
    getSwitch: db.prepare<[string], { value: string }>('SELECT value FROM scaling_switches WHERE name = ?'),
    setSwitch: db.prepare('INSERT OR REPLACE INTO scaling_switches (name, value) VALUES (?, ?)'),
    dropSwitch: db.prepare('DELETE FROM scaling_switches WHERE name = ?'),
    forgetSteps: db.prepare(
      `DELETE FROM scaling_steps WHERE decision IN
         (SELECT id FROM scaling_decisions WHERE (at < ? OR (at < ? AND action = 'maintain')) LIMIT 500)`,
    ),
    forget: db.prepare(
      `DELETE FROM scaling_decisions WHERE id IN
         (SELECT id FROM scaling_decisions WHERE (at < ? OR (at < ? AND action = 'maintain')) LIMIT 500)`,
    ),
    forgetCheckpoints: db.prepare('DELETE FROM scaling_checkpoints WHERE at < ?'),
    forgetUsage: db.prepare('DELETE FROM scaling_usage WHERE hour < ?'),
    grade: db.prepare<[string], { grade: string }>('SELECT grade FROM scaling_grades WHERE decision = ?'),
    putGrade: db.prepare('INSERT OR REPLACE INTO scaling_grades (decision, at, grade) VALUES (?, ?, ?)'),
  }
  const checkpointed = new Map<string, Millis>()
  const gathered = new Map<string, { target: string; hour: Millis; instances: number; seen: number; max: number }>()
  let writtenAt = Number.NEGATIVE_INFINITY

  function flushUsage(): void {
    tx(db, () => {
      for (const { target, hour, instances, seen, max } of gathered.values()) {
        sql.usage.run(target, hour, instances, seen, max)
      }
    })
    gathered.clear()
  }

  const read = (row: Row): StoredDecision => {
    const record = JSON.parse(row.record) as DecisionRecord
    return { id: row.id, target: row.target, at: row.at, ...record, steps: sql.steps.all(row.id) }
  }

  function getTarget(name: string): TargetRow {
    const row = sql.target.get(name)
    if (!row) {
      return { name, state: newState(), wanted: null, fence: 0, decision: null, settled: true, cycleAt: null }
    }
    return {
      name,
      state: JSON.parse(row.state as string) as ScalerState,
      wanted: row.wanted as number | null,
      fence: row.fence as number,
      decision: row.decision as string | null,
      settled: row.settled === 1,
      cycleAt: row.cycle_at as number | null,
    }
  }

  function putTarget(row: TargetRow): void {
    const state = JSON.stringify(row.state)
    sql.putTarget.run(row.name, state, row.wanted, row.fence, row.decision, row.settled ? 1 : 0, row.cycleAt)
    const last = checkpointed.get(row.name)
    if (row.cycleAt === null || (last !== undefined && row.cycleAt - last < CHECKPOINT_EVERY_MS)) return
    checkpointed.set(row.name, row.cycleAt)
    sql.checkpoint.run(row.name, row.cycleAt, state)
  }

  const flag = <T>(name: string): T | null => {
    const row = sql.getSwitch.get(name)
    return row ? (JSON.parse(row.value) as T) : null
  }
  const setFlag = (name: string, value: unknown) => {
    if (value === null) sql.dropSwitch.run(name)
    else sql.setSwitch.run(name, JSON.stringify(value))
  }

  return {
    db,
    target: getTarget,
    putTarget,

    /**
     * Takes the lease: every write of an owner carries its fence, and a provider refuses a smaller one. In one process
     * it is held by whoever holds the lock of the data directory.
     */
    nextFence(): number {
      return tx(db, () => {
        const fence = (flag<number>('fence') ?? 0) + 1
        setFlag('fence', fence)
        return fence
      })
    },

    /** Adds a decision with its first step. Part of the caller's transaction. Answers its id. */
    addDecision(target: string, record: DecisionRecord, status: DecisionStatus, now: Millis): string {
      const id = newId(now)
      const { action, held } = record.decision
      const heldBack = held.some(({ from, to }) => from !== to)
      sql.decide.run(id, target, now, action, heldBack ? 1 : 0, JSON.stringify(record))
      sql.step.run(id, now, status, null)
      return id
    },
    addStep(decision: string, status: DecisionStatus, detail: string | null, now: Millis): void {
      sql.step.run(decision, now, status, detail)
    },
    decision(id: string): StoredDecision | null {
      const row = sql.one.get(id)
      return row ? read(row) : null
    },
    /** Newest first. */
    decisions(filter: DecisionFilter): StoredDecision[] {
      const { target, action, only, since, until, before, limit } = filter
      const where = ['1 = 1']
      const values: unknown[] = []
      const add = (clause: string, value: unknown) => {
        where.push(clause)
        values.push(value)
      }
      if (target !== undefined) add('target = ?', target)
      if (action !== undefined) add('action = ?', action)
      if (only === 'changes') where.push(`action IN ('scale_up', 'scale_down')`)
      if (only === 'held') where.push('held = 1')
      if (since !== undefined) add('at >= ?', since)
      if (until !== undefined) add('at < ?', until)
      if (before !== undefined) add('id < ?', before)
      const text = `SELECT id, target, at, record FROM scaling_decisions WHERE ${where.join(' AND ')} ORDER BY id DESC LIMIT ?`
      return db
        .prepare<unknown[], Row>(text)
        .all(...values, limit)
        .map(read)
    },
    decisionsSince(since: Millis): number {
      return db
        .prepare<[number], { n: number }>('SELECT count(*) AS n FROM scaling_decisions WHERE at >= ?')
        .get(since)!.n
    },
    lastDecision(target: string): StoredDecision | null {
      return this.decisions({ target, limit: 1 })[0] ?? null
    },

    /** Actions on a target, or on all, that were carried out, or failed, since a moment. */
    figures(target: string | null, since: Millis): ScalingFigures {
      const rows = sql.figures.all(target, target, since)
      const of = (status: string) => rows.find((row) => row.status === status)
      const successful = of('done')?.n ?? 0
      const failed = of('failed')?.n ?? 0
      const taken = rows.reduce((sum, { n }) => sum + n, 0)
      return { taken, successful, failed, averageMs: of('done')?.ms ?? null }
    },

    /**
     * Adds `ms` during which `instances` ran and `maximum` were allowed. Gathered, and written once a minute or by
     * `flushUsage`: a commit at every look costs more than what a crash loses. `usage` knows of both.
     */
    addUsage(target: string, now: Millis, ms: number, instances: number, maximum: number): void {
      const hour = Math.floor(now / HOUR) * HOUR
      const key = `${target} ${hour}`
      const sum = gathered.get(key) ?? { target, hour, instances: 0, seen: 0, max: 0 }
      sum.instances += Math.round(ms * instances)
      sum.seen += Math.round(ms)
      sum.max += Math.round(ms * maximum)
      gathered.set(key, sum)
      if (now >= writtenAt && now - writtenAt < USAGE_EVERY_MS) return
      writtenAt = now
      flushUsage()
    },
    flushUsage,
    usage(target: string, since: Millis, until: Millis): Usage {
      const from = Math.floor(since / HOUR) * HOUR
      const sum = { ...sql.usageOf.get(target, from, until)! }
      for (const { target: of, hour, instances, seen, max } of gathered.values()) {
        if (of !== target || hour < from || hour >= until) continue
        sum.instances += instances
        sum.seen += seen
        sum.max += max
      }
      return { instanceHours: sum.instances / HOUR, maximumHours: sum.max / HOUR, seenHours: sum.seen / HOUR }
    },

    active: () => flag<boolean>('active'),
    setActive: (active: boolean) => setFlag('active', active),
    /** Of one target; that of all when there is no own one. */
    pause(target: string, now: Millis): Pause | null {
      for (const name of [`pause/${target}`, 'pause']) {
        const pause = flag<Pause>(name)
        if (pause !== null && (pause.until === null || pause.until > now)) return pause
      }
      return null
    },
    /** `target` null: all. Ending the pause of all ends those of each as well. */
    setPause(target: string | null, pause: Pause | null): void {
      if (target === null && pause === null) db.prepare("DELETE FROM scaling_switches WHERE name LIKE 'pause/%'").run()
      setFlag(target === null ? 'pause' : `pause/${target}`, pause)
    },
    hold(target: string, now: Millis): ManualHold | null {
      const hold = flag<ManualHold>(`hold/${target}`)
      return hold !== null && hold.until > now ? hold : null
    },
    setHold: (target: string, hold: ManualHold | null) => setFlag(`hold/${target}`, hold),

    grade(decision: string): unknown {
      const row = sql.grade.get(decision)
      return row ? JSON.parse(row.grade) : null
    },
    putGrade: (decision: string, grade: unknown, now: Millis) =>
      void sql.putGrade.run(decision, now, JSON.stringify(grade)),

    /** Forgets what is older than it has to be kept, some rows at a time. */
    clean(retentionMs: number, now: Millis): void {
      tx(db, () => {
        sql.forgetSteps.run(now - retentionMs, now - MAINTAIN_KEPT_MS)
        sql.forget.run(now - retentionMs, now - MAINTAIN_KEPT_MS)
        sql.forgetCheckpoints.run(now - CHECKPOINTS_KEPT_MS)
        sql.forgetUsage.run(now - USAGE_KEPT_MS)
      })
    },

    ledger(target: string): ProcessLedger {
      const rows = db.prepare<[string], { row: string }>('SELECT row FROM scaling_processes WHERE target = ?')
      const put = db.prepare('INSERT OR REPLACE INTO scaling_processes (id, target, row) VALUES (?, ?, ?)')
      const remove = db.prepare('DELETE FROM scaling_processes WHERE id = ?')
      const wanted = db.prepare<[string], { wanted: number; fence: number }>(
        'SELECT wanted, fence FROM scaling_processes_wanted WHERE target = ?',
      )
      const setWanted = db.prepare(
        'INSERT OR REPLACE INTO scaling_processes_wanted (target, wanted, fence) VALUES (?, ?, ?)',
      )
      let known = wanted.get(target) ?? null
      return {
        wanted: () => known,
        setWanted(count, fence) {
          setWanted.run(target, count, fence)
          known = { wanted: count, fence }
        },
        rows: () => rows.all(target).map(({ row }) => JSON.parse(row) as LedgerRow),
        put: (row) => void put.run(row.id, target, JSON.stringify(row)),
        remove: (id) => void remove.run(id),
      }
    },
  }
}
