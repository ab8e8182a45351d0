/**
 * A small world around alerting: the real watcher, engine and database, a list in place of the write-ahead log, a wire
 * whose messages move when the test says so, and a power switch. What is not on the disk when it is pulled is gone.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { Engine, type EngineSettings, isWatched } from '../../src/alerting/engine.ts'
import { deliveryTables, setAsideTable } from '../../src/alerting/index.ts'
import { Rules } from '../../src/alerting/rules/rules.ts'
import type { ChannelFacts } from '../../src/alerting/stages.ts'
import { AlertStore } from '../../src/alerting/store.ts'
import { alertingTables } from '../../src/alerting/tables.ts'
import { Watcher } from '../../src/alerting/watcher.ts'
import type { FromWatcher, Group, ToWatcher } from '../../src/alerting/wire.ts'
import { silentLog } from '../../src/base/log.ts'
import { type FakeScheduler, fakeScheduler, type Scheduler } from '../../src/base/scheduler.ts'
import { DAY, HOUR } from '../../src/base/time.ts'
import type { AppliedBatch, Labels } from '../../src/metrics/index.ts'
import { auditTable } from '../../src/storage/audit.ts'
import { type Database, openDatabase } from '../../src/storage/database.ts'
import { idempotencyTable } from '../../src/storage/idempotency.ts'

export interface Sample {
  readonly series: number
  readonly at: number
  readonly value: number
}

export class World {
  readonly scheduler: FakeScheduler = fakeScheduler(Date.UTC(2026, 0, 1))
  readonly dir = mkdtempSync(join(tmpdir(), 'om-alerting-'))
  readonly labels: Labels[] = []
  readonly channels = new Map<string, ChannelFacts>()
  settings: EngineSettings = { escalationMs: HOUR / 2, groupWindowMs: 0, singles: 5, retentionMs: 400 * DAY }
  /** Alerts that a sweep looks at in one turn; null: as many as live. From the next start on. */
  sweptAtOnce: number | null = null
  /** Thrown in the next turns, before they commit. */
  failures = 0
  db!: Database
  store!: AlertStore
  rules!: Rules
  engine!: Engine
  watcher!: Watcher
  /** Messages on their way, and whether a sample or the clock caused them. */
  up: { readonly message: FromWatcher; readonly byClock: boolean }[] = []
  down: ToWatcher[] = []
  lives = 0
  #wal: AppliedBatch[] = []
  #position = -1
  #life = { over: false }
  #hear: (message: ToWatcher) => void = () => {}
  #applying = false
  #received = 0
  #done = 0

  constructor() {
    this.start()
  }

  get now(): number {
    return this.scheduler.clock.now()
  }

  series(labels: Labels): number {
    this.labels.push(labels)
    return this.labels.length - 1
  }

  /** Starts everything on what is on the disk; the log is fed again from where the disk stands. */
  start(): readonly AppliedBatch[] {
    this.lives++
    this.#received = 0
    this.#done = 0
    const life = { over: false }
    this.#life = life
    this.db = openDatabase(join(this.dir, 'ops.db'), {
      synchronous: 'NORMAL', // no machine loses power here, and processes lose nothing by it
      migrations: [auditTable, idempotencyTable, alertingTables, deliveryTables, setAsideTable],
    })
    this.store = new AlertStore(this.db)
    this.rules = new Rules(this.db)
    const scheduler = mortal(this.scheduler, life)
    const timed = () => {}
    this.engine = new Engine(
      {
        db: this.db,
        store: this.store,
        rules: this.rules,
        scheduler,
        log: silentLog,
        settings: () => this.settings,
        channel: (id) => {
          if (this.failures > 0 && this.db.inTransaction) {
            this.failures--
            throw new Sqlite.SqliteError('database or disk is full', 'SQLITE_FULL')
          }
          return this.channels.get(id) ?? null
        },
        toWatcher: (message) => {
          if (message.kind === 'done') this.#done = message.seq
          this.down.push(message)
        },
        onTimedRule: timed,
        onTimedWatch: timed,
        onNotices: () => {},
        onAlerts: () => {},
        ...(this.sweptAtOnce === null ? {} : { sweptAtOnce: this.sweptAtOnce }),
      },
      true,
    )
    const rules = this.rules.all().filter((rule) => rule.enabled && isWatched(rule))
    this.watcher = new Watcher({
      start: { position: this.store.position(), rules, watches: this.store.watches(), enabled: true },
      port: {
        postMessage: (message) => {
          if (message.kind === 'group') this.up.push({ message: structuredClone(message), byClock: !this.#applying })
        },
        on: (_, listener) => {
          this.#hear = listener
        },
      },
      series: {
        labelsOf: (id) => this.labels[id] ?? [],
        count: () => this.labels.length,
        newest: () => Number.NEGATIVE_INFINITY,
      },
      scheduler,
      log: silentLog,
    })
    const after = this.watcher.resumeAfter()
    const again = this.#wal.filter((batch) => batch.position > after)
    for (const batch of again) this.#feed(batch)
    this.engine.start()
    return again
  }

  /** Whether the engine has taken groups that it could not write yet. */
  get stuck(): boolean {
    return this.#received !== this.#done
  }

  /** The power goes. What the last `lose` messages of samples said never arrived; those of the clock did. */
  crash(lose: number): readonly AppliedBatch[] {
    const fixed = this.up.findLastIndex(({ byClock }) => byClock) + 1
    const arrived = Math.max(fixed, this.up.length - lose)
    for (const { message } of this.up.splice(0, arrived)) if (message.kind === 'group') this.#receive(message)
    this.#life.over = true
    this.watcher.close()
    this.engine.stop()
    this.db.close()
    this.up = []
    this.down = []
    return this.start()
  }

  push(samples: readonly Sample[]): void {
    const batch: AppliedBatch = {
      position: ++this.#position,
      count: samples.length,
      series: Uint32Array.from(samples, (s) => s.series),
      times: Float64Array.from(samples, (s) => s.at),
      values: Float64Array.from(samples, (s) => s.value),
      fresh: new Uint8Array(samples.length).fill(1),
    }
    this.#wal.push(batch)
    this.#feed(batch)
  }

  /** As the store does now and then: what the watcher says is covered is gone from the log for good. */
  truncate(): void {
    const covered = this.watcher.checkpoint()
    this.#wal = this.#wal.filter((batch) => batch.position > covered)
  }

  /** Moves messages: `n` each way. */
  carry(n = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < n && this.up.length > 0; i++) {
      const { message } = this.up.shift()!
      if (message.kind === 'group') this.#receive(message)
    }
    for (let i = 0; i < n && this.down.length > 0; i++) this.#hear(structuredClone(this.down.shift()!))
  }

  /** Until nothing is on its way any more. */
  async settle(): Promise<void> {
    for (let i = 0; i < 100 && (this.up.length > 0 || this.down.length > 0); i++) {
      this.carry()
      await this.scheduler.run(0)
    }
  }

  remove(): void {
    this.#life.over = true
    this.watcher.close()
    this.engine.stop()
    this.db.close()
    rmSync(this.dir, { recursive: true, force: true })
  }

  #receive(group: Group): void {
    this.#received = group.seq
    this.engine.receive(group)
  }

  #feed(batch: AppliedBatch): void {
    this.#applying = true
    this.watcher.apply(batch)
    this.#applying = false
  }
}

/** A scheduler whose work ends with the life that planned it. */
function mortal(scheduler: Scheduler, life: { readonly over: boolean }): Scheduler {
  const alive = (work: () => void | Promise<void>) => () => (life.over ? undefined : work())
  // As the machine's: monotonic time has fractions, and what is stored is whole milliseconds all the same.
  let reads = 0
  const { clock } = scheduler
  return {
    clock: { now: () => clock.now(), monotonic: () => clock.monotonic() + ++reads / 65_536 },
    every: (ms, work) => scheduler.every(ms, alive(work)),
    after: (ms, work) => scheduler.after(ms, alive(work)),
    sleep: (ms) => scheduler.sleep(ms),
  }
}
