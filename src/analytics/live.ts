/**
 * Detection as samples arrive: the consumer of the WAL that steps the detector in the pipeline thread.
 *
 *   batch ─▶ detector ─▶ onsets ─▶ event they belong to ─▶ rows in analytics.db ─▶ told to the main thread
 *                           ▲
 *   sweep every 30 s ───────┘ (series that stopped)
 *
 * Onsets are written a moment after they are raised; the detector's state, which is large, now and then, to a file of
 * its own together with the WAL position it covers (state-file.ts). After a crash the samples behind that position are stepped
 * again: they raise the same ids, and what is there already is left alone. So a restart relearns nothing and repeats no
 * alarm. While analytics is off the detector goes on learning and nothing is said of it.
 */
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { HOUR, MINUTE, type Millis } from '../base/time.ts'
import {
  type AppliedBatch,
  knownMetric,
  type Labels,
  labelValue,
  METRIC_NAME,
  PLATFORM_LABEL,
  toObject,
  type WalConsumer,
} from '../metrics/index.ts'
import type { Database } from '../storage/database.ts'
import { tx } from '../storage/database.ts'
import { Detector, type DetectorOptions } from './detectors/detector.ts'
import type { Onset } from './detectors/onset.ts'
import { warmUp } from './detectors/warm-up.ts'
import { readState, writeState } from './state-file.ts'
import { openSwitch, type Switch } from './switch.ts'

export interface LiveOptions {
  readonly db: Database
  /** Path of the file of state. */
  readonly stateFile: string
  readonly detector: DetectorOptions
  readonly log: Log
  readonly scheduler: Scheduler
  /** Labels of a series that the pipeline knows. */
  readonly labelsOf: (series: number) => Labels
  /** Hears what was written. */
  readonly tell: (note: AnalyticsNote) => void
}

/** What the pipeline thread tells the main thread. */
export type AnalyticsNote =
  | { readonly kind: 'anomalies'; readonly ids: readonly string[] }
  /** Per host (label `instance`, or `host`, or none) and for all (''): series seen lately, and those with an onset. */
  | { readonly kind: 'rates'; readonly at: Millis; readonly hosts: readonly HostRate[] }
  /** The continuous scores of the platform's own metrics. */
  | { readonly kind: 'scores'; readonly at: Millis; readonly scores: readonly MetricScore[] }

export interface MetricScore {
  /** Canonical name. */
  readonly metric: string
  /** 0 to 1. */
  readonly score: number
}

export interface HostRate {
  readonly host: string
  readonly series: number
  readonly anomalous: number
}

/** Onsets at most so far apart belong to one event. */
export const EVENT_GAP_MS = 5 * MINUTE
const SWEEP_MS = 30_000
/** After a start, sources need this long to come back before their absence means anything. */
const SETTLE_MS = 10 * MINUTE
const RATES_MS = MINUTE
/** A host's rate counts the series with an onset within this time. */
const RATE_WINDOW_MS = 15 * MINUTE
const HOSTS_MAX = 1000
/** A series without a sample for so long has no score. */
const SCORE_FRESH_MS = 5 * MINUTE
/** Series looked at in RATES_MS for whether they still exist. */
const LOOKED_AT = 20_000
/** State is saved at most once in this time, and so seldom that writing it stays below this many bytes a second. */
const SAVE_MS = MINUTE
const SAVE_BYTES_PER_SECOND = 200_000
const SAVE_MS_MAX = 15 * MINUTE
/** An event ends after this time at the latest: with many series some onset always comes soon enough. */
const EVENT_MAX_MS = HOUR
/** Onsets are written together, at most so often: a transaction each batch costs as much as judging it. */
export const WRITE_MS = 500
/** Anomalies that could not be written wait; they are tried again after this time. */
const RETRY_MS = 5000
const WAITING_MAX = 100_000
const UNMET = 0
/** The first batch of so many samples is worth compiling for. */
const WARM_UP_BATCH = 500
/** So many do not wait for their turn. */
const ONSETS_MAX = 10_000
/** Rows of anomalies that are kept, besides those that somebody judged. */
const ANOMALIES_MAX = 200_000

/** What detection itself says as metrics is not judged again: each anomaly would be told twice. */
const OWN_SAYINGS = /^analytics_anomaly_/
/** Counters by the habit of their names: only ever growing, so they are judged by their rate. */
const COUNTER = /_(total|count|sum|bucket|created)$/

export class LiveDetector implements WalConsumer {
  readonly name = 'detector'
  readonly #options: LiveOptions
  readonly #detector: Detector
  readonly #timers: Cancel[]
  /** Absence counts from SETTLE_MS after this, on the monotonic clock. */
  #settling: number
  #sweptAt: Millis
  readonly #insert
  readonly #stored
  readonly #switch: Switch
  #position: number
  #savedPosition: number
  #savedAt = Number.NEGATIVE_INFINITY
  #warm = false
  /** One more than the largest id seen: a series beyond is new. */
  #known = 0
  /** Series below it were looked at in this round of `#reclaim`. */
  #lookedAt = 0
  /** Raised and not written yet. */
  #onsets: Onset[] = []
  #retryAt = Number.NEGATIVE_INFINITY
  #event: { id: string; startedAt: Millis; lastAt: Millis } | null
  /** One more than the host number of each series (UNMET: not asked for its labels yet), and the time of its last onset. */
  #hostOf = new Uint16Array(1024)
  #onsetAt = new Float64Array(1024)
  #seenAt = new Float64Array(1024)
  /** The platform's own plain series of known metrics, by id. */
  readonly #own = new Map<number, string>()
  readonly #hosts: string[] = ['']
  readonly #hostNumbers = new Map<string, number>([['', 0]])

  constructor(options: LiveOptions) {
    this.#options = options
    const { db, scheduler } = options
    this.#detector = new Detector(options.detector)
    this.#insert = db.prepare(
      'INSERT OR IGNORE INTO anomalies (id, event, series, metric, labels, at, view, season, value, expected, lower, ' +
        'upper, deviations, score) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
    )
    // A row of the series at that sample or later: the sample is fed again, and was judged then.
    this.#stored = db.prepare(
      "SELECT e.event, (SELECT min(at) FROM anomalies WHERE event = e.event) AS startedAt FROM anomalies e WHERE id = ? OR (series = ? AND at >= ? AND view <> 'absent') ORDER BY at LIMIT 1",
    )
    this.#switch = openSwitch(db)
    this.#position = this.#restore()
    this.#savedPosition = this.#position
    this.#event =
      (db
        .prepare(
          'SELECT event AS id, (SELECT min(at) FROM anomalies WHERE event = e.event) AS startedAt, at AS lastAt ' +
            'FROM anomalies e ORDER BY at DESC LIMIT 1',
        )
        .get() as { id: string; startedAt: number; lastAt: number } | undefined) ?? null
    this.#settling = scheduler.clock.monotonic()
    this.#sweptAt = scheduler.clock.now()
    this.#timers = [
      scheduler.every(WRITE_MS, () => this.#tryWrite()),
      scheduler.every(SWEEP_MS, () => this.#sweep()),
      scheduler.every(RATES_MS, () => this.#minutely()),
    ]
  }

  resumeAfter(): number {
    return this.#savedPosition
  }

  apply(batch: AppliedBatch): void {
    const { series, times, fresh, count } = batch
    if (!this.#warm && count >= WARM_UP_BATCH) {
      this.#warm = true
      warmUp()
    }
    for (let i = 0; i < count; i++) {
      const id = series[i]!
      if (id >= this.#known) this.#reach(id)
      if (this.#hostOf[id] === UNMET) this.#meet(id)
      if (fresh[i] === 1) this.#seenAt[id] = times[i]!
    }
    this.#detector.apply(batch, this.#onsets)
    this.#position = batch.position
    if (this.#onsets.length > ONSETS_MAX) this.#tryWrite()
  }

  checkpoint(): number {
    const { clock } = this.#options.scheduler
    const { firstStage, secondStage } = this.#detector.memory()
    const due = Math.min(SAVE_MS_MAX, Math.max(SAVE_MS, ((firstStage + secondStage) / SAVE_BYTES_PER_SECOND) * 1000))
    if (this.#position !== this.#savedPosition && clock.monotonic() - this.#savedAt >= due) this.#save()
    return this.#savedPosition
  }

  /** Saves whatever is not saved, for a clean stop. */
  close(): void {
    for (const timer of this.#timers) timer.cancel()
    if (this.#position !== this.#savedPosition) this.#save()
  }

  memory(): { firstStage: number; secondStage: number; withSeasons: number } {
    return this.#detector.memory()
  }

  #restore(): number {
    const { stateFile, log } = this.#options
    try {
      const saved = readState(stateFile)
      if (!saved) return -1
      this.#detector.restore(saved.state)
      return saved.position
    } catch (error) {
      // Another version's state, or a damaged one: learning anew is better than not starting.
      log.warn('The state of detection could not be read; every series is learnt anew.', { why: messageOf(error) })
      return -1
    }
  }

  /** The state must not cover what is not written: without the rows it throws, and the WAL is kept. */
  #save(): void {
    const { db, stateFile, scheduler } = this.#options
    if (this.#onsets.length > 0) this.#write()
    writeState(stateFile, this.#position, this.#detector.save())
    this.#savedPosition = this.#position
    this.#savedAt = scheduler.clock.monotonic()
    db.prepare(
      'DELETE FROM anomalies WHERE at < (SELECT at FROM anomalies ORDER BY at DESC LIMIT 1 OFFSET ?) ' +
        'AND id NOT IN (SELECT anomaly FROM feedback)',
    ).run(ANOMALIES_MAX)
  }

  /** A series is seen for the first time since the start. */
  #meet(id: number): void {
    const labels = this.#options.labelsOf(id)
    const name = labelValue(labels, METRIC_NAME)
    if (COUNTER.test(name)) this.#detector.setCounter(id)
    if (labels.length === 2 && labelValue(labels, PLATFORM_LABEL[0]) === PLATFORM_LABEL[1]) {
      const known = knownMetric(name)
      if (known) {
        this.#own.set(id, known.name)
        this.#detector.watch(id)
      }
    }
    this.#hostOf[id] = 1 + this.#hostNumber(labelValue(labels, 'instance') || labelValue(labels, 'host'))
  }

  /** Only series that send something are met: after a start with a million others that costs nothing. */
  #reach(id: number): void {
    if (id >= this.#hostOf.length) this.#grow(id + 1)
    this.#known = id + 1
  }

  #hostNumber(host: string): number {
    const known = this.#hostNumbers.get(host)
    if (known !== undefined) return known
    if (this.#hosts.length >= HOSTS_MAX) return 0
    this.#hosts.push(host)
    this.#hostNumbers.set(host, this.#hosts.length - 1)
    return this.#hosts.length - 1
  }

  #grow(needed: number): void {
    const size = Math.max(needed, this.#hostOf.length * 2)
    const grown = <A extends Uint16Array | Float64Array>(made: A, from: A): A => {
      made.set(from as never)
      return made
    }
    this.#hostOf = grown(new Uint16Array(size), this.#hostOf)
    this.#onsetAt = grown(new Float64Array(size), this.#onsetAt)
    this.#seenAt = grown(new Float64Array(size), this.#seenAt)
  }

  /** What a full or busy disk refuses now waits for the next time. */
  #tryWrite(): void {
    const { log, scheduler } = this.#options
    if (this.#onsets.length === 0 || scheduler.clock.monotonic() < this.#retryAt) return
    try {
      this.#write()
    } catch (error) {
      this.#retryAt = scheduler.clock.monotonic() + RETRY_MS
      log.error('Anomalies could not be written; they are kept and tried again.', {
        waiting: this.#onsets.length,
        error,
      })
      this.#onsets = this.#onsets.slice(-WAITING_MAX)
    }
  }

  #write(): void {
    const ids: string[] = []
    let event = this.#event
    tx(this.#options.db, () => {
      const wasOff = this.#switch.wasOff()
      for (const onset of this.#onsets) {
        const labels = this.#options.labelsOf(onset.series)
        if (labels.length === 0) {
          // Deleted: it will not come again.
          this.#detector.forget(onset.series)
          continue
        }
        if (OWN_SAYINGS.test(labelValue(labels, METRIC_NAME))) continue
        if (wasOff(onset.at)) continue
        const id = anomalyId(onset)
        this.#onsetAt[onset.series] = onset.at
        const { at } = onset
        const stored = this.#stored.get(id, onset.series, at) as { event: string; startedAt: number } | undefined
        if (stored) {
          const lastAt = event?.id === stored.event ? Math.max(event.lastAt, at) : at
          event = { id: stored.event, startedAt: stored.startedAt, lastAt }
          continue
        }
        const apart = event === null || Math.abs(at - event.lastAt) > EVENT_GAP_MS
        if (event === null || apart || at - event.startedAt > EVENT_MAX_MS) event = { id, startedAt: at, lastAt: at }
        else event = { ...event, lastAt: Math.max(event.lastAt, at) }
        const { changes } = this.#insert.run(
          id,
          event.id,
          onset.series,
          labelValue(labels, METRIC_NAME),
          JSON.stringify(toObject(labels)),
          onset.at,
          onset.view,
          onset.season,
          ...[onset.value, onset.expected, onset.lower, onset.upper, onset.deviations, onset.score].map(finite),
        )
        if (changes > 0) ids.push(id)
      }
    })
    this.#onsets = []
    this.#event = event
    if (ids.length > 0) this.#options.tell({ kind: 'anomalies', ids })
  }

  #sweep(): void {
    const { clock } = this.#options.scheduler
    const now = clock.now()
    const moved = now - this.#sweptAt
    this.#sweptAt = now
    // The clock was set, or this process stood still: what looks silent only could not be heard.
    if (moved < 0 || moved > 4 * SWEEP_MS) this.#settling = clock.monotonic()
    if (clock.monotonic() - this.#settling >= SETTLE_MS) this.#detector.sweep(now, this.#onsets)
    this.#tryWrite()
  }

  #minutely(): void {
    if (this.#switch.on()) {
      this.#rates()
      this.#scores()
    }
    this.#reclaim()
  }

  #scores(): void {
    const at = this.#options.scheduler.clock.now()
    const scores: MetricScore[] = []
    for (const [id, metric] of this.#own) {
      if (at - this.#seenAt[id]! <= SCORE_FRESH_MS) scores.push({ metric, score: this.#detector.scoreOf(id) })
    }
    if (scores.length > 0) this.#options.tell({ kind: 'scores', at, scores })
  }

  /** Series that were deleted are forgotten; their places in the second stage go to series that wait for one. */
  #reclaim(): void {
    if (this.#lookedAt >= this.#known) this.#lookedAt = 0
    const until = Math.min(this.#known, this.#lookedAt + LOOKED_AT)
    let freed = 0
    for (let id = this.#lookedAt; id < until; id++) {
      if (!this.#detector.knows(id) || this.#options.labelsOf(id).length > 0) continue
      this.#detector.forget(id)
      freed++
    }
    this.#lookedAt = until
    if (freed > 0) this.#detector.seat()
  }

  #rates(): void {
    const now = this.#options.scheduler.clock.now()
    const series = new Uint32Array(this.#hosts.length)
    const anomalous = new Uint32Array(this.#hosts.length)
    for (let id = 0; id < this.#known; id++) {
      if (now - this.#seenAt[id]! > RATE_WINDOW_MS) continue
      if (this.#hostOf[id] === UNMET) continue
      const host = this.#hostOf[id]! - 1
      series[host]!++
      if (now - this.#onsetAt[id]! <= RATE_WINDOW_MS) anomalous[host]!++
    }
    const all = { host: '', series: sum(series), anomalous: sum(anomalous) }
    const hosts = this.#hosts
      .map((host, i) => ({ host, series: series[i]!, anomalous: anomalous[i]! }))
      .filter((h) => h.host !== '' && h.series > 0)
    if (all.series > 0) this.#options.tell({ kind: 'rates', at: now, hosts: [all, ...hosts] })
  }
}

/** The same samples give the same id; an absence has that of the last sample before it, whenever it is noticed. */
export function anomalyId(onset: Pick<Onset, 'series' | 'at' | 'view' | 'value'>): string {
  const at = onset.view === 'absent' ? onset.at - onset.value : onset.at
  return `an-${at.toString(36)}-${onset.series.toString(36)}-${onset.view}`
}

/** SQLite has no infinities in REAL columns that JSON could show; the ends of doubles stand for them. */
const finite = (value: number) => (Number.isNaN(value) ? 0 : Math.max(-1e300, Math.min(1e300, value)))

const sum = (values: Uint32Array) => values.reduce((a, b) => a + b, 0)
