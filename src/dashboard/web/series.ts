/**
 * Evenly spaced history on the page, pure. A snapshot brings it; each update moves the window on and puts the newest
 * samples into their places. What was not measured stays null: a hole is never bridged.
 */
import type { History } from '../protocol.ts'

export interface Track {
  /** Time of the first point, ms. */
  readonly from: number
  readonly stepMs: number
  readonly length: number
  readonly series: Readonly<Record<string, readonly (number | null)[]>>
}

export interface Sample {
  readonly at: number
  readonly value: number
}

export interface Gap {
  readonly from: number
  readonly to: number
}

export function trackOf(history: History): Track {
  const lengths = Object.values(history.series).map((values) => values.length)
  return {
    from: Date.parse(history.from),
    stepMs: history.step * 1000,
    length: Math.max(0, ...lengths),
    series: history.series,
  }
}

/** End of the last bucket. */
export const endOf = (track: Track) => track.from + track.length * track.stepMs

/**
 * Moves the window so that `now` lies in its last bucket, and puts samples into theirs. How many samples the mean of a
 * growing bucket stands for follows from the interval between them; the next snapshot brings the exact mean.
 */
export function extended(
  track: Track,
  now: number,
  samples: Readonly<Record<string, Sample>>,
  intervalMs: number,
): Track {
  if (track.length === 0) return track
  const ahead = Math.max(0, Math.floor((now - track.from) / track.stepMs) - track.length + 1)
  const by = Math.min(track.length, ahead)
  const from = track.from + ahead * track.stepMs
  const series: Record<string, readonly (number | null)[]> = {}
  let changed = by > 0
  for (const key of Object.keys(track.series)) {
    const old = track.series[key]!
    const sample = samples[key]
    const place = sample ? Math.floor((sample.at - from) / track.stepMs) : -1
    if (by === 0 && (place < 0 || place >= track.length)) {
      series[key] = old
      continue
    }
    const values = [...old.slice(by), ...new Array<null>(by).fill(null)]
    if (sample && place >= 0 && place < values.length) {
      const before = values[place]
      const held = Math.max(1, Math.floor((sample.at - from - place * track.stepMs) / intervalMs))
      values[place] = (before ?? null) === null ? sample.value : (before! * held + sample.value) / (held + 1)
    }
    series[key] = values
    changed = true
  }
  return changed ? { ...track, from, series } : track
}

/**
 * Where a figure was not measured, between its first point and the end of the window: at least `leastMs` without a
 * point. Where `or` has points the figure had nothing to say (no requests, so no response time): no gap.
 */
export function gapsOf(track: Track, key: string, leastMs: number, or?: string): Gap[] {
  const values = track.series[key] ?? []
  const others = or ? track.series[or] : undefined
  const gaps: Gap[] = []
  let begin = -1
  let started = false
  for (let i = 0; i <= values.length; i++) {
    const measured = i < values.length && (values[i] !== null || (others?.[i] ?? null) !== null)
    if (i < values.length && !measured) {
      if (started && begin < 0) begin = i
      continue
    }
    if (begin >= 0 && (i - begin) * track.stepMs >= leastMs) {
      gaps.push({ from: track.from + begin * track.stepMs, to: track.from + i * track.stepMs })
    }
    begin = -1
    started ||= measured
  }
  return gaps
}

/** Gaps of several figures as one list without overlaps. */
export function merged(gaps: readonly Gap[]): Gap[] {
  const out: Gap[] = []
  for (const gap of [...gaps].sort((a, b) => a.from - b.from)) {
    const last = out.at(-1)
    if (last && gap.from <= last.to) out[out.length - 1] = { from: last.from, to: Math.max(last.to, gap.to) }
    else out.push(gap)
  }
  return out
}

/** Lowest, highest and newest of what is there; null when nothing is. */
export function extent(values: readonly (number | null)[]): { min: number; max: number; last: number } | null {
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  let last = Number.NaN
  for (const value of values) {
    if (value === null) continue
    if (value < min) min = value
    if (value > max) max = value
    last = value
  }
  return Number.isNaN(last) ? null : { min, max, last }
}

/** A round step so that about `count` of them cover `span`. */
export function niceStep(span: number, count: number): number {
  const rough = span / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const factor = [1, 2, 2.5, 5, 10].find((f) => f * power >= rough * 0.999) ?? 10
  return factor * power
}
