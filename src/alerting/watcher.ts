/**
 * The watcher: threshold rules against samples as they arrive, in the pipeline thread.
 *
 *   series ──first, count──▶ its watches, side by side:  op │ threshold │ state │ rule
 *                                                          │
 *   sample: idle and not in breach, firing and in breach ──┴─▶ nothing more; anything else ─▶ `step` (alert.ts)
 *
 * A series is matched with the rules when its first sample after a start or a change of rules arrives, or by the timer,
 * whichever comes first. What a step changes goes to the engine in groups, with the position of the WAL; a checkpoint
 * covers what the engine has made durable. Fed again after a crash, the same samples make the same steps: `step` sees
 * only sample times here, except in ticks, and what a tick changed is in a group or never happened.
 *
 * Absence is judged by arrival on this process' own clock, never in the first minutes after a start.
 */
import { newId } from '../base/id.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { DAY, MINUTE, type Millis, SECOND } from '../base/time.ts'
import type { AppliedBatch, Labels, SeriesView, WalConsumer } from '../metrics/index.ts'
import { type Deed, type EndReason, type Input, idle, RECENT_MS, step, type Watch } from './alert.ts'
import { RateWindow } from './rate.ts'
import { breaches, EQUAL_WITHIN, type Rule } from './rule.ts'
import { isPlatform, labelTest, metricOf, seriesKey, storedMetric } from './series.ts'
import type { Change, Figure, FromWatcher, StoredWatch, ToWatcher, WatcherStart } from './wire.ts'

/** The engine's end of the wire. */
export interface WatcherPort {
  postMessage(message: FromWatcher): void
  on(event: 'message', listener: (message: ToWatcher) => void): unknown
}

export interface WatcherOptions {
  readonly start: WatcherStart
  readonly port: WatcherPort
  readonly series: SeriesView
  readonly scheduler: Scheduler
  readonly log: Log
}

const TICK_MS = SECOND
const ALIVE_EVERY = 5
const DELETED_EVERY = 60
/** Sources get this long after a start before their absence means anything. */
export const GRACE_MS = 3 * MINUTE
/** No sample for longer than this, and than three of the series' own intervals, is absence. */
export const ABSENT_MS = MINUTE
/** The same where the intervals are not known: of a series with one sample since the start, or none. */
export const ABSENT_UNKNOWN_MS = 10 * MINUTE
/** A series without a sample for so long before a start is not waited for. */
const FORGOTTEN_MS = DAY
/** A tick matches series with rules for so long at most. */
const MEET_MS = 5
const FIGURES_MAX = 5000
/** How long a clean stop waits for the engine. */
const SETTLE_MS = 2_000
/** More changes than this waiting for the engine: better to end, and be fed again from what is durable. */
const WAITING_MAX = 500_000

const IDLE = 0
const PENDING = 1
const FIRING = 2
const RECOVERING = 3

const UNMET = 0
const UNWATCHED = -1

const GT = 0
const LT = 1
const GTE = 2
const LTE = 3
const EQ = 4
const RATE = 5
const OPS = { gt: GT, lt: LT, gte: GTE, lte: LTE, eq: EQ, change_rate: RATE } as const

interface Compiled {
  readonly rule: Rule
  readonly matches: (labels: Labels) => boolean
  /** Bound to the platform's own series where such exist. */
  readonly byDefault: boolean
}

/** A watch that is not as it was born. */
interface Live {
  readonly rule: number
  readonly series: number
  readonly labels: Labels
  readonly key: string
  watch: Watch
  generation: number
  rate: RateWindow | null
}

const liveKey = (rule: number, series: number) => rule * 2 ** 32 + series
const storedKey = (rule: string, key: string) => `${rule} ${key}`

export class Watcher implements WalConsumer {
  readonly name = 'watcher'
  readonly #options: WatcherOptions
  readonly #timer: Cancel
  readonly #startedAt: number
  #enabled: boolean
  #position: number
  #acknowledged: number
  #seq = 0
  #waiting: { seq: number; position: number; changes: number }[] = []
  #waitingChanges = 0
  #changes: Change[] = []
  #evaluations = 0
  #ticks = 0

  /** By rule number, which a rule id keeps while the thread runs. */
  readonly #rules: (Compiled | null)[] = []
  readonly #ruleNumbers = new Map<string, number>()
  #byMetric = new Map<string, number[]>()
  /** Metrics that have a series of the platform's own; looked for once a rule needs to know. */
  readonly #platformMetrics = new Set<string>()
  #platformKnown = false
  readonly #live = new Map<number, Live>()
  readonly #liveByKey = new Map<string, Live>()
  /** Watches of the store whose series were not met yet, by rule id and key. */
  readonly #stored = new Map<string, StoredWatch>()

  // By series.
  #first = new Int32Array(1024)
  #count = new Int32Array(1024)
  #newestAt = new Float64Array(1024).fill(Number.NaN)
  #newestValue = new Float64Array(1024).fill(Number.NaN)
  #arrivedAt = new Float64Array(1024).fill(Number.NaN)
  #interval = new Float64Array(1024)
  /** All ids below were met since the last change of rules. */
  #swept = 0

  // By watch.
  /** One more than there are: 0 means unmet. */
  #watches = 1
  #op = new Uint8Array(1024)
  #threshold = new Float64Array(1024)
  #state = new Uint8Array(1024)
  #peak = new Float64Array(1024)
  #rule = new Int32Array(1024)
  #series = new Int32Array(1024)
  /** Watches that time may move. */
  #moving = new Set<number>()
  /** Watches of rules that mind absence. */
  #minding: number[] = []
  #whenSettled: (() => void) | null = null
  /** Firing watches with a newer value than the engine knows. */
  readonly #fresh = new Set<number>()

  constructor(options: WatcherOptions) {
    this.#options = options
    const { start, scheduler, port } = options
    this.#position = start.position
    this.#acknowledged = start.position
    this.#enabled = start.enabled
    this.#startedAt = scheduler.clock.monotonic()
    for (const watch of start.watches) this.#stored.set(storedKey(watch.rule, watch.key), watch)
    for (const rule of start.rules) this.#compile(rule.id, rule)
    this.#begin()
    port.on('message', (message) => this.#hear(message))
    this.#timer = scheduler.every(TICK_MS, () => this.#tick())
  }

  resumeAfter(): number {
    return this.#position
  }

  apply(batch: AppliedBatch): void {
    const { series, times, values, fresh, count } = batch
    if (this.#enabled) {
      const now = this.#options.scheduler.clock.monotonic()
      for (let i = 0; i < count; i++) {
        if (fresh[i] === 0) continue
        const id = series[i]!
        if (id >= this.#first.length) this.#growSeries(id + 1)
        let first = this.#first[id]!
        if (first === UNMET) first = this.#meet(id)
        const value = values[i]!
        if (Number.isNaN(value)) continue
        const at = times[i]!
        if (first === UNWATCHED) {
          this.#newestAt[id] = at
          this.#newestValue[id] = value
          continue
        }
        const gap = at - this.#newestAt[id]!
        if (!Number.isNaN(gap)) {
          const known = this.#interval[id]!
          this.#interval[id] = known === 0 ? gap : known + (gap - known) * 0.2
        }
        this.#newestAt[id] = at
        this.#newestValue[id] = value
        this.#arrivedAt[id] = now
        const end = first + this.#count[id]!
        this.#evaluations += end - first
        for (let w = first; w < end; w++) this.#evaluate(w, at, value)
      }
    }
    this.#position = batch.position
    if (this.#changes.length > 0) this.#post()
  }

  checkpoint(): number {
    // Nothing on its way: all that was applied has left its mark, or none.
    const settled = this.#waiting.length === 0
    if (settled && (this.#position !== this.#acknowledged || this.#fresh.size > 0)) this.#post(this.#figures())
    return settled ? this.#position : this.#acknowledged
  }

  /** Waits a moment for the engine to take what is on its way, so that the next start has nothing to feed again. */
  async close(): Promise<void> {
    this.#timer.cancel()
    if (this.#waiting.length === 0) return
    await new Promise<void>((resolve) => {
      this.#whenSettled = resolve
      this.#options.scheduler.after(SETTLE_MS, resolve)
    })
  }

  // ---------------------------------------------------------------------------------------------- evaluation

  #evaluate(w: number, at: Millis, value: number): void {
    const threshold = this.#threshold[w]!
    let breach: boolean
    switch (this.#op[w]) {
      case GT:
        breach = value > threshold
        break
      case LT:
        breach = value < threshold
        break
      case GTE:
        breach = value >= threshold
        break
      case LTE:
        breach = value <= threshold
        break
      case EQ:
        breach = Math.abs(value - threshold) <= EQUAL_WITHIN * (1 + 1e-9)
        break
      default:
        this.#evaluateRate(w, at, value)
        return
    }
    const state = this.#state[w]
    if (!breach && state === IDLE) return
    if (breach && state === FIRING) this.#worsen(w, value)
    else this.#step(w, { kind: 'value', at, value }, at)
  }

  #evaluateRate(w: number, at: Millis, value: number): void {
    const live = this.#liveOf(w)
    const { rule } = this.#rules[this.#rule[w]!]!
    live.rate ??= new RateWindow(rule.windowMs)
    const rate = live.rate.next(at, value)
    if (Number.isNaN(rate)) return
    const breach = breaches('change_rate', rate, rule.threshold)
    const state = this.#state[w]
    if (!breach && state === IDLE) return
    if (breach && state === FIRING) this.#worsen(w, rate)
    // After a restart the window fills anew: until then a small rate says nothing about recovery.
    else if (breach || live.rate.covered) this.#step(w, { kind: 'value', at, value: rate }, at)
  }

  #worsen(w: number, value: number): void {
    const peak = this.#peak[w]!
    const op = this.#op[w]
    const lower = op === LT || op === LTE || (op === RATE && this.#threshold[w]! < 0)
    if (Number.isNaN(peak) || (op !== EQ && (lower ? value < peak : value > peak))) this.#peak[w] = value
    this.#fresh.add(w)
  }

  #step(w: number, input: Input, now: Millis): void {
    const live = this.#liveOf(w)
    const { rule } = this.#rules[live.rule]!
    const before: Watch = live.watch.kind === 'firing' ? { ...live.watch, peak: this.#peak[w]! } : live.watch
    const { watch, deeds } = step(rule, before, input, now, () => newId(this.#options.scheduler.clock.now()))
    if (watch === before) return
    live.watch = watch
    this.#take(w, watch)
    this.#note(live, deeds)
  }

  /** Brings the columns in line with the watch. */
  #take(w: number, watch: Watch): void {
    const state = stateOf(watch)
    this.#state[w] = state
    if (watch.kind === 'firing') {
      this.#peak[w] = watch.peak
      this.#fresh.add(w)
    } else this.#fresh.delete(w)
    if (state === PENDING || state === RECOVERING) this.#moving.add(w)
    else this.#moving.delete(w)
  }

  #liveOf(w: number): Live {
    const rule = this.#rule[w]!
    const series = this.#series[w]!
    const known = this.#live.get(liveKey(rule, series))
    if (known) return known
    const labels = this.#options.series.labelsOf(series)
    return this.#addLive({ rule, series, labels, key: seriesKey(labels), watch: idle, generation: 0, rate: null })
  }

  #addLive(live: Live): Live {
    this.#live.set(liveKey(live.rule, live.series), live)
    this.#liveByKey.set(storedKey(this.#rules[live.rule]!.rule.id, live.key), live)
    return live
  }

  #dropLive(live: Live, ruleId: string): void {
    this.#live.delete(liveKey(live.rule, live.series))
    this.#liveByKey.delete(storedKey(ruleId, live.key))
  }

  #note({ rule: number, labels, key, watch, generation }: Live, deeds: readonly Deed[]): void {
    const { rule } = this.#rules[number]!
    this.#changes.push({ rule: rule.id, version: rule.version, labels, key, generation, watch, deeds })
  }

  /** Ends a watch for a reason that is not in the samples. */
  #end(live: Live, why: EndReason, now: Millis): void {
    const { watch, deeds } = step(this.#rules[live.rule]!.rule, live.watch, { kind: 'end', why }, now, () => '')
    if (watch === live.watch) return
    live.watch = watch
    const w = this.#watchOf(live)
    if (w > 0) this.#take(w, watch)
    this.#note(live, deeds)
  }

  /** The place of a watch in the columns; 0 while its series was not met. */
  #watchOf({ rule, series }: Live): number {
    const first = series < this.#first.length ? this.#first[series]! : UNMET
    if (first <= 0) return 0
    for (let w = first; w < first + this.#count[series]!; w++) if (this.#rule[w] === rule) return w
    return 0
  }

  // ---------------------------------------------------------------------------------------------------- time

  #tick(): void {
    const { clock } = this.#options.scheduler
    const since = clock.monotonic()
    this.#ticks++
    if (this.#enabled) {
      const now = clock.now()
      while (this.#swept < this.#options.series.count() && clock.monotonic() - since < MEET_MS) {
        for (let n = 0; n < 64 && this.#swept < this.#options.series.count(); n++) this.#sweep(this.#swept++)
      }
      if (this.#swept >= this.#options.series.count() && this.#stored.size > 0) this.#endLost(now)
      for (const w of this.#moving) this.#tickOne(w, now)
      if (since - this.#startedAt >= GRACE_MS && this.#ticks % ALIVE_EVERY === 0) this.#findAbsent(since, now)
      if (this.#ticks % DELETED_EVERY === 0) this.#endDeleted(now)
    }
    if (this.#changes.length > 0) this.#post()
    if (this.#ticks % ALIVE_EVERY === 0) {
      const { port } = this.#options
      port.postMessage({
        kind: 'alive',
        at: clock.now(),
        evaluations: this.#evaluations,
        watches: this.#watches - 1,
      })
    }
  }

  #tickOne(w: number, now: Millis): void {
    const id = this.#series[w]!
    // A rate of some time ago is not the rate of now.
    if (this.#op[w] === RATE) return
    this.#step(w, { kind: 'tick', at: this.#newestAt[id]!, value: this.#newestValue[id]! }, now)
  }

  #findAbsent(monotonic: number, now: Millis): void {
    for (const w of this.#minding) {
      const id = this.#series[w]!
      const arrived = this.#arrivedAt[id]!
      const interval = this.#interval[id]!
      const patience = interval === 0 ? ABSENT_UNKNOWN_MS : Math.max(ABSENT_MS, 3 * interval)
      // A comparison with NaN is false: a series that nobody waits for.
      if (monotonic - arrived > patience)
        this.#step(w, { kind: 'absent', at: Math.round(now - (monotonic - arrived)) }, now)
    }
  }

  /** Watches of series that are no more end. */
  #endDeleted(now: Millis): void {
    for (const live of this.#live.values()) {
      if (live.watch.kind === 'idle') continue
      if (this.#options.series.labelsOf(live.series).length === 0) this.#end(live, 'series_deleted', now)
    }
  }

  /** The same for stored watches whose series no sweep has found. */
  #endLost(now: Millis): void {
    for (const [at, { rule: id, key, labels, watch: stored, generation }] of this.#stored) {
      this.#stored.delete(at)
      const compiled = this.#rules[this.#ruleNumbers.get(id) ?? -1]
      if (!compiled) continue
      const { rule } = compiled
      const { watch, deeds } = step(rule, stored, { kind: 'end', why: 'series_deleted' }, now, () => '')
      if (watch !== stored)
        this.#changes.push({ rule: id, version: rule.version, labels, key, generation, watch, deeds })
    }
  }

  // --------------------------------------------------------------------------------------------------- rules

  #compile(id: string, rule: Rule | null): void {
    let number = this.#ruleNumbers.get(id)
    if (number === undefined) {
      number = this.#rules.length
      this.#ruleNumbers.set(id, number)
    }
    this.#rules[number] = rule && { rule, matches: labelTest(rule.labels), byDefault: rule.labels.length === 0 }
  }

  /** Forgets which watches stand where: every series is matched anew when it is met next. */
  #begin(): void {
    for (const live of this.#live.values()) {
      const w = this.#watchOf(live)
      if (w > 0 && live.watch.kind === 'firing') live.watch = { ...live.watch, peak: this.#peak[w]! }
    }
    this.#byMetric = new Map()
    this.#rules.forEach((compiled, number) => {
      if (!compiled) return
      const metric = storedMetric(compiled.rule)
      const numbers = this.#byMetric.get(metric)
      if (numbers) numbers.push(number)
      else this.#byMetric.set(metric, [number])
    })
    this.#first.fill(UNMET)
    this.#watches = 1
    this.#moving.clear()
    this.#minding = []
    this.#fresh.clear()
    this.#swept = 0
    this.#learnPlatformMetrics()
  }

  /** Rules without labels have to know whether the platform has series of the metric before they meet any other. */
  #learnPlatformMetrics(): void {
    if (this.#platformKnown || !this.#rules.some((compiled) => compiled?.byDefault)) return
    this.#platformKnown = true
    const { series } = this.#options
    for (let id = 0; id < series.count(); id++) {
      const labels = series.labelsOf(id)
      if (isPlatform(labels)) this.#platformMetrics.add(metricOf(labels))
    }
  }

  /** Finds the watches of a series; answers the first's place. */
  #meet(id: number): number {
    const labels = this.#options.series.labelsOf(id)
    const metric = metricOf(labels)
    const own = isPlatform(labels)
    if (own && this.#platformKnown && !this.#platformMetrics.has(metric)) this.#firstOfPlatform(metric)
    const first = this.#watches
    const bound = this.#platformMetrics.has(metric)
    for (const number of this.#byMetric.get(metric) ?? []) {
      const { rule, matches, byDefault } = this.#rules[number]!
      if (byDefault ? bound && !own : !matches(labels)) continue
      if (this.#watches >= this.#op.length) this.#growWatches()
      const w = this.#watches++
      this.#op[w] = OPS[rule.condition]
      this.#threshold[w] = rule.threshold
      this.#rule[w] = number
      this.#series[w] = id
      const live = this.#live.get(liveKey(number, id)) ?? this.#restore(number, id, labels)
      this.#take(w, live?.watch ?? idle)
      if (rule.noData !== 'keep') this.#mind(w, id)
    }
    this.#count[id] = this.#watches - first
    const place = this.#watches > first ? first : UNWATCHED
    this.#first[id] = place
    return place
  }

  /** A watch of the store meets its series. */
  #restore(number: number, id: number, labels: Labels): Live | null {
    if (this.#stored.size === 0) return null
    const key = seriesKey(labels)
    const at = storedKey(this.#rules[number]!.rule.id, key)
    const stored = this.#stored.get(at)
    if (!stored) return null
    this.#stored.delete(at)
    const { watch, generation } = stored
    return this.#addLive({ rule: number, series: id, labels, key, watch, generation, rate: null })
  }

  #mind(w: number, id: number): void {
    this.#minding.push(w)
    if (!Number.isNaN(this.#arrivedAt[id]!)) return
    const { series, scheduler } = this.#options
    if (series.newest(id) > scheduler.clock.now() - FORGOTTEN_MS) this.#arrivedAt[id] = this.#startedAt
  }

  /** The platform has begun to measure a metric itself: rules without labels leave the series of others. */
  #firstOfPlatform(metric: string): void {
    this.#platformMetrics.add(metric)
    const now = this.#options.scheduler.clock.now()
    for (const number of this.#byMetric.get(metric) ?? []) {
      const compiled = this.#rules[number]!
      if (!compiled.byDefault) continue
      for (const live of this.#live.values()) {
        if (live.rule !== number || isPlatform(live.labels)) continue
        this.#end(live, 'not_watched', now)
        this.#dropLive(live, compiled.rule.id)
      }
    }
    for (let id = 0; id < this.#first.length; id++) {
      if (this.#first[id]! > 0 && metricOf(this.#options.series.labelsOf(id)) === metric) this.#unwatch(id)
    }
  }

  /** Takes a series' watches away until it is met again. */
  #unwatch(id: number): void {
    for (let w = this.#first[id]!; w < this.#first[id]! + this.#count[id]!; w++) {
      this.#moving.delete(w)
      this.#fresh.delete(w)
    }
    this.#minding = this.#minding.filter((w) => this.#series[w] !== id)
    this.#first[id] = UNMET
    this.#swept = Math.min(this.#swept, id)
  }

  /** Meets a series by the timer; what it said last counts for rules that are new. */
  #sweep(id: number): void {
    if (id >= this.#first.length) this.#growSeries(id + 1)
    if (this.#first[id] !== UNMET) return
    const first = this.#meet(id)
    const at = this.#newestAt[id]!
    if (first === UNWATCHED || !(this.#options.scheduler.clock.now() - at <= RECENT_MS)) return
    for (let w = first; w < first + this.#count[id]!; w++) this.#evaluate(w, at, this.#newestValue[id]!)
  }

  // ---------------------------------------------------------------------------------------------- the engine

  /** How firing alerts stand that have a newer value; the rest comes with the next checkpoint. */
  #figures(): Figure[] {
    const figures: Figure[] = []
    for (const w of this.#fresh) {
      if (figures.length >= FIGURES_MAX) break
      this.#fresh.delete(w)
      const { watch } = this.#liveOf(w)
      const value = this.#newestValue[this.#series[w]!]!
      if (watch.kind === 'firing' && !Number.isNaN(value) && this.#op[w] !== RATE) {
        figures.push({ alertId: watch.alertId, value, peak: this.#peak[w]! })
      }
    }
    return figures
  }

  #post(figures: readonly Figure[] = []): void {
    const seq = ++this.#seq
    const changes = this.#changes
    this.#changes = []
    this.#waiting.push({ seq, position: this.#position, changes: changes.length })
    this.#waitingChanges += changes.length
    this.#options.port.postMessage({ kind: 'group', seq, position: this.#position, changes, figures })
    if (this.#waitingChanges <= WAITING_MAX) return
    const error = new Error('alerting cannot keep up: its store takes no changes')
    queueMicrotask(() => {
      throw error // ends the thread, and with it control, which is started anew
    })
  }

  #hear(message: ToWatcher): void {
    switch (message.kind) {
      case 'done':
        while (this.#waiting.length > 0 && this.#waiting[0]!.seq <= message.seq) {
          const { position, changes } = this.#waiting.shift()!
          this.#acknowledged = position
          this.#waitingChanges -= changes
        }
        if (this.#waiting.length === 0) this.#whenSettled?.()
        break
      case 'enabled':
        this.#enabled = message.enabled
        break
      case 'rule': {
        const number = this.#ruleNumbers.get(message.id)
        for (const live of this.#live.values()) if (live.rule === number) this.#dropLive(live, message.id)
        for (const [at, stored] of this.#stored) if (stored.rule === message.id) this.#stored.delete(at)
        for (const watch of message.watches) this.#stored.set(storedKey(watch.rule, watch.key), watch)
        this.#compile(message.id, message.rule)
        this.#begin()
        break
      }
      case 'watch': {
        const { rule, key, watch, generation } = message.watch
        const live = this.#liveByKey.get(storedKey(rule, key))
        if (live) {
          live.watch = watch
          live.generation = generation
          const w = this.#watchOf(live)
          if (w > 0) this.#take(w, watch)
        } else {
          this.#stored.set(storedKey(rule, key), message.watch)
          this.#begin()
        }
      }
    }
  }

  // ------------------------------------------------------------------------------------------------- columns

  #growSeries(needed: number): void {
    const size = Math.max(needed, this.#first.length * 2)
    this.#first = grown(new Int32Array(size), this.#first)
    this.#count = grown(new Int32Array(size), this.#count)
    this.#newestAt = grown(new Float64Array(size).fill(Number.NaN), this.#newestAt)
    this.#newestValue = grown(new Float64Array(size).fill(Number.NaN), this.#newestValue)
    this.#arrivedAt = grown(new Float64Array(size).fill(Number.NaN), this.#arrivedAt)
    this.#interval = grown(new Float64Array(size), this.#interval)
  }

  #growWatches(): void {
    const size = this.#op.length * 2
    this.#op = grown(new Uint8Array(size), this.#op)
    this.#threshold = grown(new Float64Array(size), this.#threshold)
    this.#state = grown(new Uint8Array(size), this.#state)
    this.#peak = grown(new Float64Array(size), this.#peak)
    this.#rule = grown(new Int32Array(size), this.#rule)
    this.#series = grown(new Int32Array(size), this.#series)
  }
}

function stateOf(watch: Watch): number {
  if (watch.kind === 'idle') return IDLE
  if (watch.kind === 'pending') return PENDING
  return watch.clearSince === null ? FIRING : RECOVERING
}

function grown<A extends Uint8Array | Int32Array | Float64Array>(made: A, from: A): A {
  made.set(from as never)
  return made
}
