/**
 * The detector: every sample of every series, in arrival order, against what that series has shown before. No clock, no
 * randomness, no disk: the same samples in the same order give the same onsets and the same bytes of state.
 *
 *   first stage    a row of ROW_BYTES (at most 200) per series, a fraction of a microsecond a sample
 *     level    beyond the highest and lowest ever, which fade over LONG_MEMORY_MS
 *     jump     a step beyond its return level of RETURN_MS (generalised Pareto tail of steps) and beyond recent ones
 *     drift    the mean of some twenty samples, each counted for at most DRIFT_CLIP deviations, beyond its own extremes
 *     stuck    unchanged for STUCK_FACTOR times the longest stand-still
 *   second stage   a slot of SEASON_BYTES for series within the budget, watched ones, and such as were odd (seasons.ts)
 *     season   distance from the hour's expectation beyond its own extremes; hours that know a value or step hush it
 *
 * A view speaks when a sample is beyond its extremes by MARGIN of their range. Extremes take in only a part of what
 * exceeds them, so an anomaly must come again before it is normal. All views are tested before the sample is learnt.
 *
 *   quiet ──beyond a band──▶ onset, latched ──no sample beyond a band for REARM──▶ quiet
 *
 * Late samples, NaN, infinities step nothing. Why these parts and no others: docs/decisions.
 */
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import type { Onset, Season, View } from './onset.ts'
import { scoreOf, THRESHOLD_DEFAULT } from './onset.ts'
import { SEASON_BYTES, Seasons, WARM } from './seasons.ts'

export interface DetectorOptions {
  /** Robust deviations at which an onset is raised (`ANALYTICS_ANOMALY_THRESHOLD`); 2.5 is the designed rate. */
  readonly threshold?: number
  /** Bytes the second stage may take; series beyond it keep the first stage alone. */
  readonly seasonBytesMax?: number
  /** Milliseconds to add to a time for the operator's wall clock (seasons); UTC without. */
  readonly offsetOf?: (at: number) => number
}

/** Columns of samples, as `AppliedBatch` of the pipeline has them. `fresh` may be left out: all are. */
export interface Samples {
  readonly count: number
  readonly series: Uint32Array
  readonly times: Float64Array
  readonly values: Float64Array
  readonly fresh?: Uint8Array
}

/** An extreme fades towards the mean over this time. */
const LONG_MEMORY_MS = 200 * DAY
/** The same for steps, whose tail is judged by its return level besides. */
const SHORT_MEMORY_MS = 4 * DAY
/** A step as large is expected once in this time. */
const RETURN_MS = 30 * DAY
/** How far beyond the extremes, as part of their range, once a series has been observed for SETTLED_MS. */
const MARGIN = 0.07
/** What is known of extremes grows with the root of the time observed; until then margins are wider by that root. */
const SETTLED_MS = 10 * DAY
/** By how much of its range an extreme grows at once; what creeps outward takes it along by that in GROW_MS. */
const GROW = 1
const GROW_MS = 3 * HOUR
/** Part of the steps that counts as their tail. */
const TAIL = 0.05
/** Below so many mean excesses a step is below the return level, whatever the shape, where samples come each hour or oftener. */
const TAIL_WITHIN = 0.6 * Math.log((TAIL * RETURN_MS) / HOUR)
/** Steps in the tail before it is believed. */
const TAIL_MIN = 10
/** Least weight of a sample in the scale of steps, and of an exceedance in the tail. */
const SCALE_WEIGHT = 0.002
const EXCESS_WEIGHT = 0.01
const QUANTILE_STEP = 0.02
/** Weight of a sample in the drift, and the deviations it may count. */
const DRIFT_WEIGHT = 0.05
const DRIFT_CLIP = 6
/** A sample moves mean and variance by at most this many deviations. */
const MEAN_CLIP = 3
/** The long-run mean looks back this far, and over at least MEAN_SAMPLES. */
const MEAN_MS = 10 * DAY
const MEAN_SAMPLES = 1000
/** A level that holds beyond MEAN_CLIP deviations for this long is the new normal. */
const SHIFT_MS = DAY
const SHIFT_WEIGHT = 0.05
/** Until a series is this old only samples that moved count as seen: standing still shows no band that could be left. */
const YOUNG_MS = DAY
/** Stand-still: at least this many samples, and this many times the longest before. */
const STUCK_MIN = 12
const STUCK_FACTOR = 4
/** Quiet for this long, and this many intervals, before the next onset. */
const REARM_MS = HOUR
const REARM_INTERVALS = 6
/** A gap of more intervals than this is no step; forgetting stops for what exceeds it. */
const GAP_INTERVALS = 10
/** The continuous score remembers evidence for this long. */
const HOLD_MS = 4 * HOUR
/** Evidence counts for at most so many thresholds, so that even the largest anomaly is past within hours. */
const HELD_MAX = 3
/** Scale of deviations from the long-run mean in the continuous score; alone they stay below 0.5. */
const SCORE_DEVIATIONS = 20
/** Absence: at least this long, and this many times the longest gap before. */
const ABSENT_MS = 5 * MINUTE
const ABSENT_FACTOR = 3
/** Larger values square to infinity; nothing measures them. */
const VALUE_MAX = 1e150
/** Bands are never crossed by less than this part of the value: rounding is no event. */
const ROUNDING = 1e-9
const RATIO_MAX = 1000
/** Part of the second stage that is kept for series which were found odd and have no place in it. */
const ODD_SHARE = 0.125

// Float64 columns of a row.
const TIME = 0
const PREV = 1
const RAW = 2
const MEAN = 3
const VARIANCE = 4
const DRIFT = 5
const HIGH = 6
const LOW = 7
const DRIFT_HIGH = 8
const DRIFT_LOW = 9
const STEP_HIGH = 10
const STEP_LOW = 11
const UP = 12 // tail of upward steps: threshold, mean excess, mean squared excess
const DOWN = 15
const SCALE = 18
const HELD = 19
const CROSSED = 20
const WIDTH = 21
// Float32 columns.
const INTERVAL = 0
const GAP = 1
const SHIFT = 2
const AGE = 3
const WIDTH32 = 4
// Uint16 columns.
const SEEN = 0
const RUN = 1
const RUN_MAX = 2
const EXCEEDED_UP = 3
const EXCEEDED_DOWN = 4
const WIDTH16 = 5
const U16_MAX = 65535
// Flags.
const COUNTER = 1
const ENDED = 2
const ABSENT = 4
const WATCHED = 8

/** Bytes of the first stage per series. */
export const ROW_BYTES = WIDTH * 8 + WIDTH32 * 4 + WIDTH16 * 2 + 4 + 1

const VIEW_OF: readonly View[] = ['level', 'jump', 'drift', 'season', 'stuck', 'absent']
const LEVEL_VIEW = 0
const JUMP_VIEW = 1
const DRIFT_VIEW = 2
const SEASON_VIEW = 3
const STUCK_VIEW = 4

export class Detector {
  readonly #ratio: number
  readonly #threshold: number
  readonly #slotsMax: number
  /** Slots that any series may take; the others wait for series that the first stage finds odd. */
  readonly #slotsOpen: number
  #seasons: Seasons
  #capacity = 0
  #rows = new Float64Array(0)
  #rows32 = new Float32Array(0)
  #rows16 = new Uint16Array(0)
  #slots = new Int32Array(0)
  #flags = new Uint8Array(0)

  constructor(options: DetectorOptions = {}) {
    this.#threshold = options.threshold ?? THRESHOLD_DEFAULT
    this.#ratio = this.#threshold / THRESHOLD_DEFAULT
    this.#slotsMax = Math.floor((options.seasonBytesMax ?? 64 * 1024 * 1024) / SEASON_BYTES)
    this.#slotsOpen = this.#slotsMax - Math.floor(this.#slotsMax * ODD_SHARE)
    this.#seasons = new Seasons(options.offsetOf ?? null)
  }

  /** Tells that a series only ever grows (a counter): it is judged by its rate per second. Before its first sample. */
  setCounter(series: number): void {
    this.#reserve(series)
    this.#flags[series]! |= COUNTER
  }

  /** Gives a series a place in the second stage even beyond the budget. */
  watch(series: number): void {
    this.#reserve(series)
    this.#flags[series]! |= WATCHED
    if (this.#rows16[series * WIDTH16 + SEEN]! > 0 && this.#slots[series] === 0)
      this.#slots[series] = this.#seasons.open(this.#rows[series * WIDTH + PREV]!) + 1
  }

  /** Forgets a series (deleted, or judged noise beyond repair); its next sample is its first. */
  forget(series: number): void {
    if (series >= this.#capacity) return
    this.#rows.fill(0, series * WIDTH, (series + 1) * WIDTH)
    this.#rows32.fill(0, series * WIDTH32, (series + 1) * WIDTH32)
    this.#rows16.fill(0, series * WIDTH16, (series + 1) * WIDTH16)
    const slot = this.#slots[series]!
    if (slot > 0) this.#seasons.close(slot - 1)
    this.#slots[series] = 0
    this.#flags[series]! &= COUNTER | WATCHED
  }

  /**
   * Gives places in the second stage that became free (`forget`) to series that have none, those with the lowest ids
   * first. Answers how many.
   */
  seat(): number {
    let seated = 0
    for (let id = 0; id < this.#capacity && this.#seasons.used < this.#slotsOpen; id++) {
      if (this.#slots[id] !== 0 || this.#rows16[id * WIDTH16 + SEEN] === 0) continue
      this.#slots[id] = this.#seasons.open(this.#rows[id * WIDTH + PREV]!) + 1
      seated++
    }
    return seated
  }

  /** Whether a sample of this series was seen since it was last forgotten. */
  knows(series: number): boolean {
    return series < this.#capacity && this.#rows16[series * WIDTH16 + SEEN]! > 0
  }

  /** Whether the state of this series has a place in the second stage. */
  hasSeasons(series: number): boolean {
    return series < this.#capacity && this.#slots[series]! > 0
  }

  /** The continuous score of a series, 0 to 1, as of its newest sample. */
  scoreOf(series: number): number {
    if (series >= this.#capacity) return 0
    const held = this.#rows[series * WIDTH + HELD]!
    return held / (held + 1)
  }

  /** The long-run mean of a series and the band of its level; null while its history is short. */
  bandOf(series: number): { mean: number; lower: number; upper: number } | null {
    if (series >= this.#capacity || this.#rows16[series * WIDTH16 + SEEN]! < WARM) return null
    const at = series * WIDTH
    const high = this.#rows[at + HIGH]!
    const low = this.#rows[at + LOW]!
    const age = this.#rows32[series * WIDTH32 + AGE]!
    const margin = MARGIN * cautionAt(age) * (high - low)
    return { mean: this.#rows[at + MEAN]!, lower: low - margin, upper: high + margin }
  }

  /**
   * Steps every fresh sample, in order; onsets are appended to `onsets`. When `scores` is given, `scores[i]` becomes
   * the continuous score after sample i.
   */
  apply(samples: Samples, onsets: Onset[], scores?: Float64Array): void {
    const { count, series: ids, times, values, fresh } = samples
    let highest = -1
    for (let i = 0; i < count; i++) if (ids[i]! > highest) highest = ids[i]!
    if (highest >= 0) this.#reserve(highest)
    for (let i = 0; i < count; i++) {
      const id = ids[i]!
      if (fresh === undefined || fresh[i] !== 0) this.#step(id, times[i]!, values[i]!, onsets)
      if (scores !== undefined) scores[i] = this.scoreOf(id)
    }
  }

  #step(id: number, at: number, given: number, onsets: Onset[]): void {
    const rows = this.#rows
    const rows16 = this.#rows16
    const rows32 = this.#rows32
    const row = id * WIDTH
    const row16 = id * WIDTH16
    const row32 = id * WIDTH32
    const flags = this.#flags[id]!
    if (!(given < VALUE_MAX && given > -VALUE_MAX)) {
      // Any NaN ends the series until its next sample: it was heard of, so it is not absent.
      if (Number.isNaN(given)) this.#flags[id] = flags | ENDED
      return
    }
    let seen = rows16[row16 + SEEN]!
    const elapsed = at - rows[row + TIME]!
    let value = given
    if (seen > 0 || (flags & COUNTER) !== 0) {
      const first = seen === 0 && rows[row + TIME] === 0
      if (!first && !(elapsed > 0)) return
      if ((flags & COUNTER) !== 0) {
        const raw = rows[row + RAW]!
        rows[row + RAW] = given
        if (first) {
          rows[row + TIME] = at
          return
        }
        // A counter that fell began anew from zero.
        value = (given >= raw ? given - raw : given) / (elapsed / 1000)
      }
    }
    if ((flags & (ENDED | ABSENT)) !== 0) this.#flags[id] = flags & ~(ENDED | ABSENT)

    if (seen === 0) {
      this.#first(id, at, value)
      return
    }

    let interval = rows32[row32 + INTERVAL]!
    const gap = interval > 0 && elapsed > GAP_INTERVALS * interval
    const passed = gap ? GAP_INTERVALS * interval : elapsed
    const mean = rows[row + MEAN]!
    const variance = rows[row + VARIANCE]!
    const deviation = Math.sqrt(variance)
    const previous = rows[row + PREV]!
    const away = value - mean
    const z = deviation > 0 ? away / deviation : away === 0 ? 0 : away > 0 ? DRIFT_CLIP : -DRIFT_CLIP
    const step = value - previous
    const drift =
      rows[row + DRIFT]! +
      DRIFT_WEIGHT * ((z > DRIFT_CLIP ? DRIFT_CLIP : z < -DRIFT_CLIP ? -DRIFT_CLIP : z) - rows[row + DRIFT]!)
    const high = rows[row + HIGH]!
    const low = rows[row + LOW]!
    const range = high - low
    const driftHigh = rows[row + DRIFT_HIGH]!
    const driftLow = rows[row + DRIFT_LOW]!
    const stepHigh = rows[row + STEP_HIGH]!
    const stepLow = rows[row + STEP_LOW]!
    const rounding = ROUNDING * (value > 0 ? value : -value)
    const warm = seen >= WARM
    const slot = this.#slots[id]! - 1
    const seasons = this.#seasons
    if (slot >= 0) seasons.look(slot, at, value, rows32[row32 + AGE]!)

    // Tails of steps: the return level is worked out only for a step that may be beyond it.
    let upLevel = Infinity
    let downLevel = Infinity
    if (!gap) {
      const within = interval <= HOUR ? TAIL_WITHIN : 0
      const over = step - rows[row + UP]!
      if (over > within * rows[row + UP + 1]! && rows16[row16 + EXCEEDED_UP]! >= TAIL_MIN)
        upLevel = returnLevel(rows, row + UP, interval)
      const under = -step - rows[row + DOWN]!
      if (under > within * rows[row + DOWN + 1]! && rows16[row16 + EXCEEDED_DOWN]! >= TAIL_MIN)
        downLevel = returnLevel(rows, row + DOWN, interval)
    }
    let run = 0
    const still = step === 0
    if (still) run = Math.min(U16_MAX, rows16[row16 + RUN]! + 1)

    const age = rows32[row32 + AGE]!
    const caution = cautionAt(age)
    const margin = MARGIN * caution
    let ratio = 0
    let view = -1
    if (warm) {
      if (value > high + rounding || value < low - rounding) {
        const edge = (value > high ? high - mean : mean - low) + margin * range + rounding
        ratio = Math.min(RATIO_MAX, Math.abs(away) / edge)
        view = LEVEL_VIEW
      }
      if (drift > driftHigh || drift < driftLow) {
        const beyond = margin * (driftHigh - driftLow)
        const r = drift > driftHigh ? drift / (driftHigh + beyond) : drift / (driftLow - beyond)
        if (r > ratio && ratio < RATIO_MAX) {
          ratio = r
          view = DRIFT_VIEW
        }
      }
      if (step > upLevel || -step > downLevel) {
        const stepRange = stepHigh - stepLow
        const edge =
          step > 0
            ? Math.max(upLevel, stepHigh + MARGIN * stepRange)
            : Math.max(downLevel, MARGIN * stepRange - stepLow)
        const r = Math.abs(step) / (edge + rounding)
        // A step back towards the mean is a recovery; one that this hour has seen before is a habit.
        if (r > ratio && r > this.#ratio && step * away > 0.5 * step * step)
          if (slot < 0 || !seasons.knowsStep(step, stepRange)) {
            ratio = r
            view = JUMP_VIEW
          }
      }
      if (slot >= 0 && seasons.residuals >= WARM) {
        const residual = seasons.residual
        if (residual > seasons.high || residual < seasons.low) {
          const beyond = this.#beyondSeason(id)
          const r = residual > seasons.high ? residual / (seasons.high + beyond) : residual / (seasons.low - beyond)
          if (r > ratio && (seasons.season === 'week' || !seasons.knowsValue(slot, value, range))) {
            ratio = r
            view = SEASON_VIEW
          }
        }
      }
      if (still && seen >= 2 * WARM && run < seen) {
        const most = Math.max(STUCK_MIN, Math.ceil(STUCK_FACTOR * caution * rows16[row16 + RUN_MAX]!))
        if (run === most) {
          ratio = Math.max(ratio, this.#ratio * 1.001)
          view = STUCK_VIEW
        }
      }
      if (ratio > RATIO_MAX || ratio < 0) ratio = RATIO_MAX
      if (view >= 0 && ratio > this.#ratio) {
        const quiet = at - rows[row + CROSSED]!
        if (!(quiet < Math.max(REARM_MS, REARM_INTERVALS * interval)))
          this.#say(onsets, this.#onset(id, at, value, view, ratio, margin))
        rows[row + CROSSED] = at
      } else ratio = 0
    }

    // From here on the sample is learnt.
    const distance = Math.abs(z) / (SCORE_DEVIATIONS + Math.abs(z))
    const strength = Math.max(distance, Math.min(HELD_MAX, ratio / this.#ratio))
    const held = rows[row + HELD]! / (1 + passed / HOLD_MS)
    rows[row + HELD] = strength > held ? strength : held

    const creep = ratio > 0 ? GROW : Math.min(GROW, passed / GROW_MS)
    if (slot >= 0) seasons.learn(slot, value, step, mean, passed, interval > 0 ? interval : elapsed, GROW)
    const long = 1 / (1 + passed / LONG_MEMORY_MS)
    // A record right after a record is no chance of noise: what creeps outward is taken along slowly.
    const most = warm && range > 0 ? (previous >= high || previous <= low ? creep : GROW) * range : Infinity
    const fadedHigh = mean + (high - mean) * long
    const fadedLow = mean + (low - mean) * long
    rows[row + HIGH] = value > fadedHigh ? Math.min(value, fadedHigh + most) : fadedHigh
    rows[row + LOW] = value < fadedLow ? Math.max(value, fadedLow - most) : fadedLow
    const driftRange = driftHigh - driftLow
    const driftMost = warm && driftRange > 0 ? GROW * driftRange : Infinity
    rows[row + DRIFT] = drift
    rows[row + DRIFT_HIGH] = drift > driftHigh * long ? Math.min(drift, driftHigh * long + driftMost) : driftHigh * long
    rows[row + DRIFT_LOW] = drift < driftLow * long ? Math.max(drift, driftLow * long - driftMost) : driftLow * long

    if (!gap) {
      const short = 1 / (1 + passed / SHORT_MEMORY_MS)
      const stepRange = stepHigh - stepLow
      const stepMost = warm && stepRange > 0 ? GROW * stepRange : Infinity
      rows[row + STEP_HIGH] = step > stepHigh * short ? Math.min(step, stepHigh * short + stepMost) : stepHigh * short
      rows[row + STEP_LOW] = step < stepLow * short ? Math.max(step, stepLow * short - stepMost) : stepLow * short
      // What exceeds the return level is no part of the tail it is judged by; it counts as that level.
      const up = step > upLevel ? upLevel : step
      const down = -step > downLevel ? downLevel : -step
      const size = step > 0 ? up : down
      const weight = Math.max(1 / seen, SCALE_WEIGHT)
      const scale = rows[row + SCALE]! + weight * (Math.abs(size) - rows[row + SCALE]!)
      rows[row + SCALE] = scale
      const move = Math.max(QUANTILE_STEP, 1 / seen) * scale * 2.5
      if (learnTail(rows, row + UP, up, move, rows16[row16 + EXCEEDED_UP]!, seen > 10))
        rows16[row16 + EXCEEDED_UP] = Math.min(U16_MAX, rows16[row16 + EXCEEDED_UP]! + 1)
      if (learnTail(rows, row + DOWN, down, move, rows16[row16 + EXCEEDED_DOWN]!, seen > 10))
        rows16[row16 + EXCEEDED_DOWN] = Math.min(U16_MAX, rows16[row16 + EXCEEDED_DOWN]! + 1)
    }

    let weight = Math.max(1 / (seen + 1), Math.min(1 / MEAN_SAMPLES, passed / MEAN_MS))
    let moved = away
    let shift = rows32[row32 + SHIFT]!
    if (z > MEAN_CLIP) shift = shift > 0 ? shift + passed : passed
    else if (z < -MEAN_CLIP) shift = shift < 0 ? shift - passed : -passed
    else shift = 0
    if (shift > SHIFT_MS || shift < -SHIFT_MS) weight = Math.max(weight, SHIFT_WEIGHT)
    else if (seen > 30 && variance > 0) {
      const clip = MEAN_CLIP * deviation
      moved = away > clip ? clip : away < -clip ? -clip : away
    }
    rows32[row32 + SHIFT] = shift
    rows[row + MEAN] = mean + weight * moved
    rows[row + VARIANCE] = variance + weight * (moved * moved - variance)

    if (!still) {
      const ended = rows16[row16 + RUN]!
      if (ended > rows16[row16 + RUN_MAX]!) rows16[row16 + RUN_MAX] = ended
    }
    rows16[row16 + RUN] = run
    if (seen < U16_MAX && (!still || age >= YOUNG_MS)) seen++
    rows16[row16 + SEEN] = seen
    if (interval === 0) interval = elapsed
    else {
      interval += Math.max(1 / seen, 0.02) * (Math.min(elapsed, 4 * interval) - interval)
      if (elapsed > rows32[row32 + GAP]!) rows32[row32 + GAP] = elapsed
    }
    rows32[row32 + INTERVAL] = interval
    rows32[row32 + AGE] = age + passed
    rows[row + TIME] = at
    rows[row + PREV] = value
  }

  #first(id: number, at: number, value: number): void {
    const row = id * WIDTH
    const rows = this.#rows
    const raw = rows[row + RAW]!
    rows.fill(0, row, row + WIDTH)
    rows[row + RAW] = raw
    rows[row + TIME] = at
    rows[row + PREV] = value
    rows[row + MEAN] = value
    rows[row + HIGH] = value
    rows[row + LOW] = value
    rows[row + CROSSED] = -Infinity
    this.#rows16[id * WIDTH16 + SEEN] = 1
    if (this.#slots[id] === 0 && (this.#seasons.used < this.#slotsOpen || (this.#flags[id]! & WATCHED) !== 0))
      this.#slots[id] = this.#seasons.open(value) + 1
  }

  /** An onset; its series is looked at closely from now on, if there is room. */
  #say(onsets: Onset[], onset: Onset): void {
    onsets.push(onset)
    const { series } = onset
    if (this.#slots[series] === 0 && this.#seasons.used < this.#slotsMax)
      this.#slots[series] = this.#seasons.open(this.#rows[series * WIDTH + PREV]!) + 1
  }

  /** Margin of the distance from the season; of that less may be known than of the series. */
  #beyondSeason(id: number): number {
    const { residuals, high, low } = this.#seasons
    const knownMs = residuals * this.#rows32[id * WIDTH32 + INTERVAL]!
    return MARGIN * cautionAt(Math.min(this.#rows32[id * WIDTH32 + AGE]!, knownMs)) * (high - low)
  }

  #onset(id: number, at: number, value: number, view: number, ratio: number, margin: number): Onset {
    const rows = this.#rows
    const row = id * WIDTH
    const mean = rows[row + MEAN]!
    const beyond = margin * (rows[row + HIGH]! - rows[row + LOW]!)
    let expected = mean
    let lower = rows[row + LOW]! - beyond
    let upper = rows[row + HIGH]! + beyond
    let season: Season = 'none'
    if (view === JUMP_VIEW) {
      const edge = Math.abs(value - rows[row + PREV]!) / ratio
      expected = rows[row + PREV]!
      lower = expected - edge
      upper = expected + edge
    } else if (view === SEASON_VIEW) {
      const around = this.#beyondSeason(id)
      season = this.#seasons.season
      expected = this.#seasons.expected
      lower = expected + this.#seasons.low - around
      upper = expected + this.#seasons.high + around
    } else if (view === DRIFT_VIEW) {
      const deviation = Math.sqrt(rows[row + VARIANCE]!)
      const around = margin * (rows[row + DRIFT_HIGH]! - rows[row + DRIFT_LOW]!)
      lower = mean + deviation * (rows[row + DRIFT_LOW]! - around)
      upper = mean + deviation * (rows[row + DRIFT_HIGH]! + around)
    }
    // The band is where this threshold stands, not the default one.
    lower = expected + this.#ratio * (lower - expected)
    upper = expected + this.#ratio * (upper - expected)
    const deviations = ratio * THRESHOLD_DEFAULT
    return {
      series: id,
      at,
      view: VIEW_OF[view]!,
      season,
      value,
      expected,
      lower,
      upper,
      deviations,
      score: scoreOf(deviations, this.#threshold),
    }
  }

  /**
   * Names the series that have stopped: nothing for ABSENT_FACTOR times the longest gap they have shown and at least
   * ABSENT_MS. A series that was ended by its source (a stale marker) is not absent. Each stop is told once.
   */
  sweep(now: number, onsets: Onset[]): void {
    for (let id = 0; id < this.#capacity; id++) {
      const interval = this.#rows32[id * WIDTH32 + INTERVAL]!
      // Some WARM samples, whether they moved or not.
      const known = interval > 0 && this.#rows32[id * WIDTH32 + AGE]! >= (WARM - 1) * interval
      if (!known || (this.#flags[id]! & (ENDED | ABSENT)) !== 0) continue
      const silence = now - this.#rows[id * WIDTH + TIME]!
      const gap = Math.max(this.#rows32[id * WIDTH32 + GAP]!, interval)
      const most = Math.max(ABSENT_MS, GAP_INTERVALS * interval, ABSENT_FACTOR * gap)
      if (!(silence > most * this.#ratio)) continue
      this.#flags[id]! |= ABSENT
      const deviations = Math.min(RATIO_MAX, silence / most) * THRESHOLD_DEFAULT
      onsets.push({
        series: id,
        at: now,
        view: 'absent',
        season: 'none',
        value: silence,
        expected: interval,
        lower: 0,
        upper: most,
        deviations,
        score: scoreOf(deviations, this.#threshold),
      })
    }
  }

  /** Bytes held: of the first stage, of the second, and series with a place in the second. */
  memory(): { firstStage: number; secondStage: number; withSeasons: number } {
    return {
      firstStage: this.#capacity * ROW_BYTES,
      secondStage: this.#seasons.used * SEASON_BYTES,
      withSeasons: this.#seasons.used,
    }
  }

  /** The whole state as bytes; `restore` of a detector with the same options goes on as if nothing had happened. */
  save(): Uint8Array {
    const season = this.#seasons.save()
    const parts: ArrayBufferView[] = [
      Float64Array.of(FORMAT, this.#capacity, season.anchor.length),
      this.#rows,
      season.anchor,
      season.data,
      this.#rows32,
      this.#slots,
      this.#rows16,
      this.#flags,
    ]
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
    let at = 0
    for (const part of parts) {
      bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at)
      at += part.byteLength
    }
    return bytes
  }

  /** Throws a RangeError when the bytes are of another format or cut short. */
  restore(bytes: Uint8Array): void {
    // Not `slice`: of a Buffer that is a view, at any place of a shared pool.
    const copy = new Uint8Array(bytes)
    if (copy.length < 24) throw new RangeError('detector state: too short')
    const [format, capacity, slots] = new Float64Array(copy.buffer, 0, 3) as unknown as [number, number, number]
    if (format !== FORMAT) throw new RangeError(`detector state: format ${format}, expected ${FORMAT}`)
    const expected = 24 + capacity * ROW_BYTES + slots * SEASON_BYTES
    if (copy.length !== expected) throw new RangeError(`detector state: ${copy.length} bytes, expected ${expected}`)
    let at = 24
    const take = (length: number): ArrayBuffer => {
      const part = copy.buffer.slice(at, at + length)
      at += length
      return part
    }
    this.#capacity = capacity
    this.#rows = new Float64Array(take(capacity * WIDTH * 8))
    const anchor = new Float64Array(take(slots * 8))
    this.#seasons.restore(new Float32Array(take(slots * (SEASON_BYTES - 8))), anchor)
    this.#rows32 = new Float32Array(take(capacity * WIDTH32 * 4))
    this.#slots = new Int32Array(take(capacity * 4))
    this.#rows16 = new Uint16Array(take(capacity * WIDTH16 * 2))
    this.#flags = new Uint8Array(take(capacity))
    this.#seasons.free(this.#slots)
  }

  #reserve(series: number): void {
    if (series < this.#capacity) return
    const capacity = Math.max(64, series + 1, Math.ceil(this.#capacity * 1.5))
    this.#rows = grown(this.#rows, new Float64Array(capacity * WIDTH))
    this.#rows32 = grown(this.#rows32, new Float32Array(capacity * WIDTH32))
    this.#rows16 = grown(this.#rows16, new Uint16Array(capacity * WIDTH16))
    this.#slots = grown(this.#slots, new Int32Array(capacity))
    this.#flags = grown(this.#flags, new Uint8Array(capacity))
    this.#capacity = capacity
  }
}

const FORMAT = 2

function cautionAt(ageMs: number): number {
  return ageMs < SETTLED_MS ? Math.sqrt(SETTLED_MS / ageMs) : 1
}

function grown<T extends Float64Array | Float32Array | Uint16Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from)
  return to
}

/** Return level of RETURN_MS of a tail by the moments of its excesses (generalised Pareto; Hosking and Wallis 1987). */
function returnLevel(rows: Float64Array, at: number, intervalMs: number): number {
  const mean = rows[at + 1]!
  const variance = rows[at + 2]! - mean * mean
  let shape = variance > 0 ? 0.5 * (1 - (mean * mean) / variance) : 0
  shape = shape > 0.4 ? 0.4 : shape < 0 ? 0 : shape
  const scale = mean * (1 - shape)
  const times = Math.max(1, (TAIL * RETURN_MS) / intervalMs)
  const excess = shape < 1e-3 ? scale * Math.log(times) : (scale / shape) * (times ** shape - 1)
  return rows[at]! + excess
}

/** Moves the tail's threshold (a quantile by stochastic approximation) and, beyond it, the moments. True when beyond. */
function learnTail(rows: Float64Array, at: number, size: number, move: number, exceeded: number, counts: boolean) {
  const threshold = rows[at]!
  if (!(size > threshold)) {
    rows[at] = threshold - move * TAIL
    return false
  }
  rows[at] = threshold + move * (1 - TAIL)
  if (!counts) return false
  const excess = size - threshold
  const weight = Math.max(1 / (exceeded + 1), EXCESS_WEIGHT)
  rows[at + 1]! += weight * (excess - rows[at + 1]!)
  rows[at + 2]! += weight * (excess * excess - rows[at + 2]!)
  return true
}
