/**
 * The second stage: what each hour of the day and of the week is used to, learnt from the samples. A series has a slot
 * of STRIDE floats relative to an anchor (its first value here), so that small changes of large values keep their digits.
 *
 *   0      evidence: mean distance from the long-run mean, from the day's profile, from the week's; samples seen
 *   4      residual: highest, lowest, samples seen, the last
 *   8      day[24]      expected value by hour of day
 *   32     week[168]    expected value by hour of week
 *   200    value high[24] · value low[24] · step high[24] · step low[24]      what that hour of day has seen, fading
 *   296    hour, value high, low, step high, low: of the hour that runs, and of the one before
 *   306    period found, hours; 0 while none is
 *
 * A season is used only while it explains the series better than the long-run mean by EVIDENCE. A step or a value that
 * the same hour has seen on days before is no news. Nothing here is configured but the time zone.
 *
 * The week's profile, once filled, is searched for a period that is neither the day nor a fraction of it (periods.ts; 4 to
 * 28 hours). Where there is one, the profile is kept by its phase instead, until it explains the series no longer.
 */
import { DAY, HOUR } from '../../base/time.ts'
import { findPeriod } from '../forecasters/periods.ts'
import type { Season } from './onset.ts'

export const SEASON_BYTES = 307 * 4 + 8

const STRIDE = 307
const E_MEAN = 0
const E_DAY = 1
const E_WEEK = 2
const SEEN = 3
const HIGH = 4
const LOW = 5
const RESIDUALS = 6
const LAST = 7
const DAY_AT = 8
const WEEK_AT = 32
const VALUE_HIGH = 200
const VALUE_LOW = 224
const STEP_HIGH = 248
const STEP_LOW = 272
const NOW = 296
const BEFORE = 301
const PERIOD = 306

/** A season is believed when its mean distance is below this part of the distance from the mean. */
const EVIDENCE = 0.6
/** Nor before it has come round twice. */
const DAY_AFTER_MS = 2 * DAY
const WEEK_AFTER_MS = 14 * DAY
/** A period is kept in phases of about this length. */
const PHASE_HOURS = 0.5
/** A beat may come so much of a round early or late: that far a found period and the clock of its source may err. */
const JITTER = 0.1
/** After a day a found period must be apart from the same hour by so many hours: else it is the day's own. */
const SLIP_HOURS = 0.75
/** Weight of one more day, and of one more week, in a profile. */
const DAY_WEIGHT = 0.3
const WEEK_WEIGHT = 0.4
/** What an hour of day has seen fades by this part a day. */
const FADE = 0.05
/** Margin around what was seen, as part of the range of the series. */
const NEAR = 0.2
/** Extremes of the distance from the season fade over this time. */
const RESIDUAL_MEMORY_MS = 200 * DAY
/** What creeps outward takes an extreme along by its range in this time. */
const CREEP_MS = DAY
/** A sample moves a profile by at most so many mean distances. */
const CLIP = 3
/** Time over which the evidence is averaged. */
const EVIDENCE_MS = 5 * DAY

export class Seasons {
  /** Result of `look`: distance from the season's expectation; NaN while no season is believed. */
  residual = NaN
  season: Season = 'none'
  expected = NaN
  high = NaN
  low = NaN
  residuals = 0
  #data: Float32Array = new Float32Array(0)
  #anchor: Float64Array = new Float64Array(0)
  /** Slots ever opened, and those of them that were given back. */
  #opened = 0
  #freed: number[] = []
  #ordered = true
  #measurable = true
  #at = NaN
  #hour = 0
  #hourOfWeek = 0
  #base = 0
  /** Place in the week's profile, or in that of the period. */
  #weekAt = 0
  #ageMs = 0
  #dayResidual = NaN
  #weekResidual = NaN
  readonly #offsetOf: ((at: number) => number) | null

  /** `offsetOf`: milliseconds to add to a time for the operator's wall clock; none means UTC. */
  constructor(offsetOf: ((at: number) => number) | null = null) {
    this.#offsetOf = offsetOf
  }

  /** Slots that belong to a series. */
  get used(): number {
    return this.#opened - this.#freed.length
  }

  /** Opens a slot; `value` becomes its anchor. */
  open(value: number): number {
    const slot = this.#lowestFree() ?? this.#opened++
    if (this.#opened * STRIDE > this.#data.length) {
      const room = Math.max(64, this.#opened * 2)
      const data = new Float32Array(room * STRIDE)
      data.set(this.#data)
      this.#data = data
      const anchor = new Float64Array(room)
      anchor.set(this.#anchor)
      this.#anchor = anchor
    }
    this.#clear(slot, value)
    return slot
  }

  /** The lowest, so that which slot comes next depends on which are free alone. */
  #lowestFree(): number | undefined {
    if (!this.#ordered) this.#freed.sort((a, b) => b - a)
    this.#ordered = true
    return this.#freed.pop()
  }

  /** Forgets what a slot has learnt; the next value looked at is its anchor. */
  reset(slot: number): void {
    this.#clear(slot, NaN)
  }

  /** Gives a slot back: the next series that opens one gets it. */
  close(slot: number): void {
    this.#clear(slot, NaN)
    this.#freed.push(slot)
    this.#ordered = false
  }

  /** After `restore`: slots that no series owns are free. `owned` holds slot numbers plus one, 0 for none. */
  free(owned: Int32Array): void {
    const taken = new Uint8Array(this.#opened)
    for (const slot of owned) if (slot > 0) taken[slot - 1] = 1
    this.#freed = []
    for (let slot = this.#opened - 1; slot >= 0; slot--) if (taken[slot] === 0) this.#freed.push(slot)
    this.#ordered = true
  }

  #clear(slot: number, anchor: number): void {
    this.#anchor[slot] = anchor
    const base = slot * STRIDE
    this.#data.fill(0, base, base + DAY_AT)
    this.#data.fill(NaN, base + DAY_AT, base + PERIOD)
    this.#data[base + PERIOD] = 0
  }

  /** Looks before learning; `ageMs` is the time observed so far. Sets `residual`, `season`, `expected`, `high`, `low`. */
  look(slot: number, at: number, value: number, ageMs: number): void {
    if (Number.isNaN(this.#anchor[slot]!)) this.#anchor[slot] = value
    const data = this.#data
    const base = slot * STRIDE
    // The samples of a batch mostly share their time.
    if (at !== this.#at) this.#findHour(at)
    const hour = this.#hour
    const period = data[base + PERIOD]!
    const weekAt = WEEK_AT + (period > 0 ? phaseOf(at, period) : this.#hourOfWeek)
    this.#base = base
    this.#ageMs = ageMs
    this.#weekAt = base + weekAt
    const relative = value - this.#anchor[slot]!
    this.#measurable = relative < FLOAT_MAX && relative > -FLOAT_MAX
    if (!this.#measurable) {
      this.residual = NaN
      this.season = 'none'
      return
    }
    const byDay = data[base + DAY_AT + hour]!
    const byWeek = data[base + weekAt]!
    this.#dayResidual = relative - byDay
    this.#weekResidual = relative - byWeek
    const bar = EVIDENCE * data[base + E_MEAN]!
    const week = data[base + E_WEEK]!
    this.residual = NaN
    this.season = 'none'
    if (ageMs >= DAY_AFTER_MS && data[base + E_DAY]! < bar && !Number.isNaN(byDay)) {
      this.residual = this.#dayResidual
      this.season = 'day'
    }
    const old = period > 0 || ageMs >= WEEK_AFTER_MS
    if (old && week < bar && week < data[base + E_DAY]! && !Number.isNaN(byWeek)) {
      this.residual = period > 0 ? this.#fromPhases(base, period, relative) : this.#weekResidual
      this.season = period > 0 ? 'period' : 'week'
    }
    this.expected = value - this.residual
    this.high = data[base + HIGH]!
    this.low = data[base + LOW]!
    this.residuals = data[base + RESIDUALS]!
  }

  /** Distance from what this phase and those beside it are used to: a beat may come a little early or late. */
  #fromPhases(base: number, period: number, relative: number): number {
    const phases = phasesOf(period)
    const here = this.#weekAt - base - WEEK_AT
    let low = Infinity
    let high = -Infinity
    const most = Math.max(1, Math.round(JITTER * phases))
    for (let beside = phases - most; beside <= phases + most; beside++) {
      const value = this.#data[base + WEEK_AT + ((here + beside) % phases)]!
      if (value < low) low = value
      if (value > high) high = value
    }
    return relative > high ? relative - high : relative < low ? relative - low : 0
  }

  #findHour(at: number): void {
    const local = this.#offsetOf === null ? at : at + this.#offsetOf(at)
    const day = Math.floor(local / DAY)
    this.#at = at
    this.#hour = Math.floor((local - day * DAY) / HOUR)
    // The epoch was a Thursday; any fixed weekday may begin the week.
    this.#hourOfWeek = (((day % 7) + 7) % 7) * 24 + this.#hour
  }

  /**
   * True when this hour of day, or one beside it, has seen such a value on days before; of a period, when its phases
   * here expect nearly such a value. Call after `look`.
   */
  knowsValue(slot: number, value: number, range: number): boolean {
    if (this.season === 'period') return Math.abs(this.residual) <= NEAR * range
    return this.#knows(VALUE_HIGH, VALUE_LOW, value - this.#anchor[slot]!, value > this.expected, range)
  }

  /** The same for a step from one sample to the next. */
  knowsStep(step: number, range: number): boolean {
    return this.#knows(STEP_HIGH, STEP_LOW, step, step > 0, range)
  }

  #knows(highs: number, lows: number, value: number, up: boolean, range: number): boolean {
    const data = this.#data
    if (!this.#measurable) return false
    for (let beside = 23; beside <= 25; beside++) {
      const at = this.#base + ((this.#hour + beside) % 24)
      if (up ? data[at + highs]! + NEAR * range >= value : data[at + lows]! - NEAR * range <= value) return true
    }
    return false
  }

  /**
   * Learns the sample that was just looked at. `mean` is the long-run mean before the sample, `passedMs` the time
   * since the sample before, `intervalMs` the usual distance of samples, `grow` how much of its
   * range an extreme may grow by at once.
   */
  learn(
    slot: number,
    value: number,
    step: number,
    mean: number,
    passedMs: number,
    intervalMs: number,
    grow: number,
  ): void {
    if (!this.#measurable) return
    const data = this.#data
    const base = this.#base
    const anchor = this.#anchor[slot]!
    const relative = value - anchor
    const residual = this.residual
    if (!Number.isNaN(residual)) {
      const seen = data[base + RESIDUALS]!
      if (seen === 0) {
        data[base + HIGH] = Math.max(0, residual)
        data[base + LOW] = Math.min(0, residual)
      } else {
        const keep = 1 / (1 + passedMs / RESIDUAL_MEMORY_MS)
        const range = data[base + HIGH]! - data[base + LOW]!
        const last = data[base + LAST]!
        const again = last >= data[base + HIGH]! - 0.25 * range || last <= data[base + LOW]! + 0.25 * range
        const most = seen > WARM && range > 0 ? grow * (again ? Math.min(1, passedMs / CREEP_MS) : 1) * range : Infinity
        const high = data[base + HIGH]! * keep
        const low = data[base + LOW]! * keep
        data[base + HIGH] = residual > high ? Math.min(residual, high + most) : high
        data[base + LOW] = residual < low ? Math.max(residual, low - most) : low
      }
      data[base + LAST] = residual
      data[base + RESIDUALS] = Math.min(seen + 1, 1e6)
    }

    const part = Math.min(1, intervalMs / HOUR)
    const now = base + NOW
    if (data[now] !== this.#hour) {
      // Not all series in the same hour.
      if (slot % 24 === this.#hour) this.#lookForPeriod(base)
      // Two hours late, so that today never vouches for itself.
      const before = base + BEFORE
      const hour = data[before]!
      if (!Number.isNaN(hour)) {
        this.#merge(base + VALUE_HIGH + hour, data[before + 1]!, 1)
        this.#merge(base + VALUE_LOW + hour, data[before + 2]!, -1)
        this.#merge(base + STEP_HIGH + hour, data[before + 3]!, 1)
        this.#merge(base + STEP_LOW + hour, data[before + 4]!, -1)
      }
      data.copyWithin(before, now, now + 5)
      data[now] = this.#hour
      data[now + 1] = relative
      data[now + 2] = relative
      data[now + 3] = step
      data[now + 4] = step
    } else {
      if (relative > data[now + 1]!) data[now + 1] = relative
      if (relative < data[now + 2]!) data[now + 2] = relative
      if (step > data[now + 3]!) data[now + 3] = step
      if (step < data[now + 4]!) data[now + 4] = step
    }

    const spread = data[base + E_MEAN]!
    const seen = data[base + SEEN]!
    const settled = seen > 30
    const away = Math.abs(value - mean)
    const byDay = this.#dayResidual
    const dayAt = base + DAY_AT + this.#hour
    if (!Number.isNaN(byDay)) {
      data[base + SEEN] = Math.min(seen + 1, 1e6)
      const weight = Math.max(1 / (seen + 1), Math.min(0.1, intervalMs / EVIDENCE_MS))
      const most = settled && spread > 0 ? CLIP * spread : Infinity
      data[base + E_MEAN] = spread + weight * (Math.min(away, most) - spread)
      data[base + E_DAY]! += weight * (Math.min(Math.abs(byDay), most) - data[base + E_DAY]!)
      data[dayAt]! += DAY_WEIGHT * part * within(byDay, CLIP * data[base + E_DAY]!)
    } else data[dayAt] = settled ? mean - anchor + within(value - mean, CLIP * spread) : relative
    const byWeek = this.#weekResidual
    const weekAt = this.#weekAt
    const weekPart = data[base + PERIOD]! > 0 ? Math.min(1, intervalMs / (PHASE_HOURS * HOUR)) : part
    if (!Number.isNaN(byWeek)) {
      const week = data[base + E_WEEK]!
      const weight = week === 0 ? 1 : Math.min(0.1, intervalMs / EVIDENCE_MS)
      data[base + E_WEEK] = week + weight * (Math.min(Math.abs(byWeek), CLIP * spread) - week)
      data[weekAt]! += WEEK_WEIGHT * weekPart * within(byWeek, CLIP * week)
    } else data[weekAt] = !Number.isNaN(byDay) ? relative - byDay + within(byDay, CLIP * data[base + E_DAY]!) : relative
  }

  /**
   * Once a day: a period that explains nothing is given up; a week that has just been filled for the first time is
   * searched for one; a week that explains nothing is emptied, so that what began since can be found.
   */
  #lookForPeriod(base: number): void {
    const data = this.#data
    const days = Math.floor(this.#ageMs / DAY)
    const explained = data[base + E_WEEK]! < EVIDENCE * data[base + E_MEAN]!
    if (data[base + PERIOD]! > 0) {
      if (days % 7 === 0 && !explained) this.#keepBy(0, base)
    } else if (days % SEARCH_DAYS === 7) {
      const values = new Float64Array(WEEK_HOURS)
      for (let hour = 0; hour < WEEK_HOURS; hour++) {
        values[hour] = data[base + WEEK_AT + ((this.#hourOfWeek + hour) % WEEK_HOURS)]!
        if (Number.isNaN(values[hour]!)) return
      }
      const period = findPeriod(values, 24)?.round ?? 0
      if (Math.abs(24 - period * Math.round(24 / period)) >= SLIP_HOURS) this.#keepBy(period, base)
    } else if (days % SEARCH_DAYS === 0 && days > 0 && !explained) this.#keepBy(0, base)
  }

  /** Empties the week's profile, to be kept by the phase of a period (hours) or, with 0, by the hour of week. */
  #keepBy(period: number, base: number): void {
    const data = this.#data
    data[base + PERIOD] = period
    data.fill(NaN, base + WEEK_AT, base + WEEK_AT + WEEK_HOURS)
    // No better than the mean until it is shown; how far values lie from it is not known yet.
    data[base + E_WEEK] = data[base + E_MEAN]!
    if (period > 0) data.fill(0, base + HIGH, base + LAST + 1)
  }

  /** Takes an hour's extreme into what the hour of day has seen; `sign` is 1 for highs and -1 for lows. */
  #merge(at: number, value: number, sign: number): void {
    const known = this.#data[at]!
    this.#data[at] = Number.isNaN(known)
      ? value
      : sign * Math.max(sign * value, sign * (known + FADE * (value - known)))
  }

  /** Everything that is kept, to be given to `restore` of a fresh object. */
  save(): { data: Float32Array; anchor: Float64Array } {
    return { data: this.#data.slice(0, this.#opened * STRIDE), anchor: this.#anchor.slice(0, this.#opened) }
  }

  restore(data: Float32Array, anchor: Float64Array): void {
    this.#data = data
    this.#anchor = anchor
    this.#opened = anchor.length
    this.#freed = []
  }
}

/** Beyond it a distance from the anchor is not kept (a float holds 3e38); the first stage still judges the value. */
const FLOAT_MAX = 1e37

/** Samples before a view may speak. */
export const WARM = 50

const WEEK_HOURS = 168
/** A week that explains nothing is emptied after so many days; a week later it is searched for a period. */
const SEARCH_DAYS = 35

/** Number of the phase of a period of so many hours. */
function phaseOf(at: number, hours: number): number {
  const rounds = at / (hours * HOUR)
  return Math.floor((rounds - Math.floor(rounds)) * phasesOf(hours))
}

const phasesOf = (hours: number): number => Math.min(WEEK_HOURS, Math.ceil(hours / PHASE_HOURS))

function within(value: number, most: number): number {
  return value > most ? most : value < -most ? -most : value
}
