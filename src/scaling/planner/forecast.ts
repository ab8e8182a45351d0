/**
 * Demand in the next minutes: for each of a few horizons a linear regression, learnt online, and the distribution of
 * what it missed. Works on steps of any length, from the first sample on, in constant memory.
 *
 *   demand ─link─▶ z ─▶ features: changes of the last steps, distance to slow means, daily and weekly shape
 *                         │  for each horizon h: recursive least squares with forgetting
 *                         ▼
 *   z(t+h) = z(t) + g_h · w_h · x_h(t) + σ_h(t) · e      e: histogram of past standardised misses, heavy-tailed at first
 *
 * g_h, within 0 and 1, is how much of the regression its latest predictions were worth: a shape that is noise fades to
 * "as now" by itself. Who else forecasts (`heard`) is mixed in by what it would have mended. Beside it "as now" keeps a
 * distribution of its own misses, for when the forecast has not earned its place.
 *
 * σ_h is local: what was missed lately and what is missed on the whole. The link is a logarithm with a small offset:
 * demand grows and shrinks by ratios, and may be 0. Everything is plain JSON; `learn` returns a new model.
 */
import { DAY, HOUR, type Millis } from '../../base/time.ts'

/** Horizons in steps: dense where a start-up time usually ends, sparse where only "will it be needed soon" matters. */
export const HORIZONS = [1, 2, 3, 5, 8, 13, 21, 34] as const
const LAST_HORIZON = 34

export const TUNING = {
  /** Regressions forget half of what they saw within this time. */
  weightsHalfLifeMs: 2 * DAY,
  /** The histogram of misses forgets half within this time. */
  missesHalfLifeMs: 4 * DAY,
  /** The local and the long variance of misses. */
  localHalfLifeMs: 10 * 60_000,
  longHalfLifeMs: DAY,
  localShare: 0.5,
  /** A miss beyond this many σ teaches the regression no more than one at it. */
  huber: 8,
  /** How strongly weights start at zero, in samples. */
  ridge: 0.3,
  /** Offset of the logarithm as a share of the mean demand. */
  offset: 1,
  scaleHalfLifeMs: 1 * DAY,
  scaleRidge: 20,
  learnScale: true,
  /** Weight of a day ago against today's for the daily shape. */
  dayMemory: 0.6,
  hourMemory: 0.9,
  shapeFirst: 0.5,
  useProfile: true,
  /** Weighs the regression against "as now", and others' forecasts, by what they were worth within this time. */
  worthHalfLifeMs: 6 * HOUR,
  stack: true,
}
export type Tuning = typeof TUNING

/** Slow means that features measure the distance to, as half-lives. */
const MEANS_MS = [60_000, 240_000, 900_000, 3_600_000, 4 * 3_600_000]
/** Raw differences z(t-a) − z(t-b), in steps. */
const LAGS: readonly (readonly [number, number])[] = [
  [0, 1],
  [1, 2],
  [2, 4],
  [4, 8],
]
const LAG_LAST = 8
const MOVES_MS = [60_000, 10 * 60_000, DAY]
/**
 * Shapes: the day in five minutes and in single ones, the hour in minutes around its own mean, and by how much each hour
 * of the week stands apart from the day's.
 */
const SHAPES = [
  { periodMs: DAY, bins: 288 },
  { periodMs: DAY, bins: 1440 },
  { periodMs: HOUR, bins: 60 },
  { periodMs: 7 * DAY, bins: 168 },
] as const
const [HOURLY, WEEKLY] = [2, 3]
/** A week that was seen once is an accident. */
const WEEKLY_AFTER_MS = 14 * DAY
const FIXED = 1 + LAGS.length + MEANS_MS.length
/** Features that depend on the horizon: profile ahead against now, and now against its own mean. */
const AHEAD = 5
const WIDTH = FIXED + AHEAD
const SCALE = 9

const E_MAX = 8
const E_STEP = 0.25
export const E_BINS = (2 * E_MAX) / E_STEP + 1
export const eOf = (bin: number) => -E_MAX + bin * E_STEP

/** Mean squares of misses, and their histogram in units of σ. */
interface Misses {
  local: number
  long: number
  misses: number[]
}

/** Sums of a regression through the origin: what came against what was said, in units of σ. */
interface Worth {
  xy: number
  xx: number
}

interface Regression extends Misses {
  /** Weights, and the inverse of the weighted covariance (full, row by row). */
  w: number[]
  p: number[]
  /** Regression of the logarithm of what is missed. */
  sw: number[]
  sp: number[]
  /** Weight behind the variances and the histogram. */
  seen: number
  own: Worth
  heard: Worth
  asNow: Misses
}

/** Mean of z in each part of a period, periods fading; empty until the first part is complete. */
interface Shape {
  bins: (number | null)[]
  now: { bin: number; sum: number; count: number }
}

export interface DemandModel {
  stepMs: number
  at: Millis | null
  level: number
  levelWeight: number
  means: number[]
  /** The newest LAST_HORIZON + LAG_LAST + 1 values of z, oldest first. */
  z: number[]
  /** Features at the newest LAST_HORIZON steps, oldest first. */
  x: number[][]
  /** What others said at the newest LAST_HORIZON steps, on the link's scale, for each horizon; null when nothing. */
  heard: ((number | null)[] | null)[]
  /** When the first sample came: shapes of a week need two. */
  since: Millis | null
  shapes: Shape[]
  regressions: Regression[]
  /** Steps without a gap so far. */
  run: number
  /** Mean squares of the changes from step to step: two minutes, fifteen, a day. */
  moves: number[]
}

export function newDemandModel(stepMs: number): DemandModel {
  return {
    stepMs,
    at: null,
    level: 0,
    levelWeight: 0,
    means: [],
    z: [],
    x: [],
    heard: [],
    since: null,
    shapes: SHAPES.map(() => ({ bins: [], now: { bin: -1, sum: 0, count: 0 } })),
    regressions: HORIZONS.map(() => ({
      w: firstWeights(),
      p: identity(WIDTH, 1 / TUNING.ridge),
      local: 0,
      long: 0,
      sw: new Array<number>(SCALE).fill(0),
      sp: identity(SCALE, 1 / TUNING.scaleRidge),
      seen: 0,
      misses: heavyTailed(),
      own: { xy: 0, xx: 0 },
      heard: { xy: 0, xx: 0 },
      asNow: { local: 0, long: 0, misses: heavyTailed() },
    })),
    run: 0,
    moves: [0, 0, 0],
  }
}

/** Whether a stored model has everything that this code learns; one that has not begins again. */
export const isCurrent = (m: DemandModel): boolean =>
  m.heard !== undefined && m.shapes.length === SHAPES.length && m.regressions[0]?.asNow !== undefined

/** The same demand seen at another pace: shapes and level stay, what was learnt step by step begins again. */
export function rebase(m: DemandModel, stepMs: number): DemandModel {
  return { ...newDemandModel(stepMs), level: m.level, levelWeight: m.levelWeight, since: m.since, shapes: m.shapes }
}

/** Before anything was learnt: as now, and half of what the day did at this minute before. */
function firstWeights(): number[] {
  const w = new Array<number>(WIDTH).fill(0)
  w[FIXED + 3] = TUNING.shapeFirst
  return w
}

function identity(n: number, value: number): number[] {
  const p = new Array<number>(n * n).fill(0)
  for (let i = 0; i < n; i++) p[i * n + i] = value
  return p
}

/** Student's t with 4 degrees of freedom, scaled to variance 1, weighing 30 samples: what to expect of a stranger. */
function heavyTailed(): number[] {
  const h: number[] = []
  let sum = 0
  for (let b = 0; b < E_BINS; b++) {
    const t = eOf(b) * Math.SQRT2
    const v = (1 + (t * t) / 4) ** -2.5
    h.push(v)
    sum += v
  }
  return h.map((v) => (30 * v) / sum)
}

const off = (m: DemandModel, tuning: Tuning) => tuning.offset * m.level + 1e-3
export const linkOf = (m: DemandModel, demand: number, tuning: Tuning = TUNING) =>
  Math.log(Math.max(0, demand) + off(m, tuning))
export const unlink = (m: DemandModel, z: number, tuning: Tuning = TUNING) => Math.max(0, Math.exp(z) - off(m, tuning))

/** What someone else says demand will be, requests/s at a time; null where it says nothing. */
export type Heard = (at: Millis) => number | null
const NOBODY: Heard = () => null

/** The model after one more step of demand. The one passed in is left as it was. */
export function learn(
  before: DemandModel,
  demand: number,
  at: Millis,
  heard: Heard = NOBODY,
  tuning: Tuning = TUNING,
): DemandModel {
  const m: DemandModel = {
    ...before,
    means: before.means.slice(),
    moves: before.moves.slice(),
    z: before.z.slice(),
    x: before.x.slice(),
    heard: before.heard.slice(),
    since: before.since ?? at,
  }
  const steps = m.at === null ? 1 : Math.max(1, Math.round((at - m.at) / m.stepMs))
  m.at = at
  // The level behind the offset: a mean at first, then one that forgets over a day.
  const keepLevel = 0.5 ** (m.stepMs / DAY)
  m.levelWeight = Math.min(m.levelWeight * keepLevel + 1, 1 / (1 - keepLevel))
  m.level += (demand - m.level) / m.levelWeight
  const z = linkOf(m, demand, tuning)
  if (steps > 3) {
    // After a gap the changes before it say nothing about those after it; slow means and shapes do.
    m.z = []
    m.x = []
    m.heard = []
    m.run = 0
  } else {
    // A step or two without a sample: a straight line between.
    const last = m.z.at(-1)
    if (last !== undefined)
      for (let i = 1; i < steps; i++) push(m, last + ((z - last) * i) / steps, at - (steps - i) * m.stepMs, tuning)
  }
  push(m, z, at, tuning)
  const said = HORIZONS.map((h) => {
    const value = heard(at + h * m.stepMs)
    return value === null || !Number.isFinite(value) ? null : linkOf(m, value, tuning)
  })
  if (said.some((v) => v !== null)) m.heard[m.heard.length - 1] = said
  return m
}

function push(m: DemandModel, z: number, at: Millis, tuning: Tuning): void {
  m.z.push(z)
  if (m.z.length > LAST_HORIZON + LAG_LAST + 1) m.z.shift()
  m.run++
  // Learn from what has come true.
  const cloned: Regression[] = []
  for (let i = 0; i < HORIZONS.length; i++) {
    const h = HORIZONS[i]!
    const reg = m.regressions[i]!
    const x = m.x.length >= h ? m.x[m.x.length - h]! : null
    if (x === null || m.z.length <= h) {
      cloned.push(reg)
      continue
    }
    const from = m.z[m.z.length - 1 - h]!
    const said = m.heard[m.heard.length - h]?.[i] ?? null
    cloned.push(update(reg, x, i, z - from, said === null ? null : said - from, m.stepMs, tuning))
  }
  m.regressions = cloned
  for (let k = 0; k < MEANS_MS.length; k++) {
    const keep = 0.5 ** (m.stepMs / MEANS_MS[k]!)
    m.means[k] = m.means[k] === undefined ? z : keep * m.means[k]! + (1 - keep) * z
  }
  if (m.z.length > 1) {
    const d2 = (z - m.z[m.z.length - 2]!) ** 2
    MOVES_MS.forEach((half, k) => {
      const a = Math.max(1 - 0.5 ** (m.stepMs / half), 1 / m.run)
      m.moves[k] = m.moves[k]! + a * (d2 - m.moves[k]!)
    })
  }
  shape(m, z, at, tuning)
  m.x.push(features(m, at, tuning))
  if (m.x.length > LAST_HORIZON) m.x.shift()
  m.heard.push(null)
  if (m.heard.length > LAST_HORIZON) m.heard.shift()
}

/** The shapes after z at `at`. */
function shape(m: DemandModel, z: number, at: Millis, tuning: Tuning): void {
  m.shapes = m.shapes.map((s, k) => {
    const { periodMs, bins } = SHAPES[k]!
    const bin = Math.floor(((at % periodMs) * bins) / periodMs)
    const day = k === WEEKLY ? shapeAt(m, 0, at) : null
    if (k === WEEKLY && day === null) return s
    const value = k === HOURLY ? z - m.means[3]! : k === WEEKLY ? z - day! : z
    const { now } = s
    if (now.bin === bin) return { bins: s.bins, now: { bin, sum: now.sum + value, count: now.count + 1 } }
    let filled = s.bins
    if (now.count > 0) {
      const memory = k === HOURLY ? tuning.hourMemory : tuning.dayMemory
      const mean = now.sum / now.count
      const old = filled[now.bin] ?? null
      filled = filled.length === bins ? filled.slice() : new Array<number | null>(bins).fill(null)
      // Four digits are more than a mean of days knows, and keep the state small.
      filled[now.bin] = Math.round(1e4 * (old === null ? mean : memory * old + (1 - memory) * mean)) / 1e4
    }
    return { bins: filled, now: { bin, sum: value, count: 1 } }
  })
}

function shapeAt(m: DemandModel, k: number, at: Millis): number | null {
  const s = m.shapes[k]!
  if (s.bins.length === 0) return null
  const { periodMs, bins } = SHAPES[k]!
  // A part's mean stands where the middle of its samples is.
  const middle = Math.max(0, 0.5 - (0.5 * m.stepMs * bins) / periodMs)
  const pos = (((at % periodMs) * bins) / periodMs - middle + bins) % bins
  const b = Math.floor(pos)
  const a = s.bins[b] ?? null
  const c = s.bins[(b + 1) % bins] ?? null
  if (a === null || c === null) return a ?? c
  return a + (c - a) * (pos - b)
}

/** The day's shape, with what this hour of the week adds once two weeks are known. */
function dayAt(m: DemandModel, at: Millis): number | null {
  const day = shapeAt(m, 0, at)
  if (day === null || m.since === null || at - m.since < WEEKLY_AFTER_MS) return day
  return day + (shapeAt(m, WEEKLY, at) ?? 0)
}

/** Everything a prediction needs at one moment: fixed features, then AHEAD for each horizon. */
function features(m: DemandModel, at: Millis, tuning: Tuning): number[] {
  const n = m.z.length
  const z = m.z[n - 1]!
  const lag = (a: number) => m.z[Math.max(0, n - 1 - a)]!
  const x = [1]
  for (const [a, b] of LAGS) x.push(lag(a) - lag(b))
  for (const mean of m.means) x.push(mean - z)
  const use = tuning.useProfile
  const shapes = (t: Millis) => (use ? [dayAt(m, t), shapeAt(m, 1, t), shapeAt(m, HOURLY, t)] : [null, null, null])
  const here = shapes(at)
  const past = use ? dayAt(m, at - HOUR) : null
  for (const h of HORIZONS) {
    const there = shapes(at + h * m.stepMs)
    const moved = (k: number) => (here[k] == null || there[k] == null ? 0 : there[k] - here[k])
    x.push(moved(0), here[0] == null || there[0] == null ? 0 : there[0] - z, past == null ? 0 : m.means[3]! - past)
    x.push(moved(1), moved(2))
  }
  x.push(...scaleFeatures(m))
  return x
}

const log = (v: number) => Math.log(v + 1e-6)

/** What tells how far off a prediction may be: how much was moving, how high it stands. */
function scaleFeatures(m: DemandModel): number[] {
  const n = m.z.length
  const z = m.z[n - 1]!
  const lag = (a: number) => m.z[Math.max(0, n - 1 - a)]!
  const long = Math.sqrt(m.moves[2]!) + 1e-6
  const rel = (v: number) => Math.max(-4, Math.min(4, Math.log((v + 0.05 * long) / long)))
  return [
    rel(Math.sqrt(m.moves[0]!)),
    rel(Math.sqrt(m.moves[1]!)),
    rel(Math.abs(lag(0) - lag(1))),
    rel(Math.abs(lag(0) - lag(4)) / 2),
    Math.max(-3, Math.min(3, z - m.means[4]!)),
    z > m.means[2]! ? 1 : 0,
  ]
}

/** The row of the scale's regression for horizon i: one, the horizon's own local scale, then the shared ones. */
function scaleRow(x: readonly number[], i: number, reg: Regression): number[] {
  const at = FIXED + HORIZONS.length * AHEAD
  const long = Math.sqrt(reg.long) + 1e-6
  const steep = Math.abs(x[FIXED + i * AHEAD + 3]!)
  return [1, 0.5 * (log(reg.local) - log(reg.long)), Math.min(3, steep / long), ...x.slice(at)]
}

/** σ before the histogram sees it. */
function sigmaFor(reg: Regression, x: readonly number[], i: number, tuning: Tuning): number {
  if (!tuning.learnScale) return sigmaOf(reg, reg.seen, tuning)
  if (reg.seen < 20) return Math.max(sigmaOf(reg, reg.seen, tuning), 0.05)
  return Math.sqrt(reg.long + 1e-8) * Math.exp(Math.max(-3, Math.min(2, dot(reg.sw, scaleRow(x, i, reg)))))
}

function horizonRow(x: readonly number[], i: number): number[] {
  const row = x.slice(0, FIXED)
  for (let k = 0; k < AHEAD; k++) row.push(x[FIXED + i * AHEAD + k]!)
  return row
}

function dot(a: readonly number[], b: readonly number[]): number {
  let s = 0
  for (let i = 0; i < a.length; i++) s += a[i]! * b[i]!
  return s
}

function sigmaOf(m: Misses, seen: number, tuning: Tuning): number {
  if (seen < 2) return 0.2
  return Math.sqrt(tuning.localShare * m.local + (1 - tuning.localShare) * m.long + 1e-8)
}

function update(
  before: Regression,
  features: readonly number[],
  i: number,
  y: number,
  heard: number | null,
  stepMs: number,
  tuning: Tuning,
): Regression {
  const x = horizonRow(features, i)
  const sigma = sigmaFor(before, features, i, tuning)
  const own = dot(before.w, x)
  const mixed = mix(before, own, heard, tuning)
  const missed = y - mixed
  const kept = shareKept(stepMs, tuning.missesHalfLifeMs)
  const seen = before.seen + 1
  const worthKept = shareKept(stepMs, tuning.worthHalfLifeMs)
  const worth = worthOf(before.own, own, y, sigma, worthKept)
  const ownPart = tuning.stack ? shareOf(before.own) * own : own
  const mended = heard === null ? before.heard : worthOf(before.heard, heard - ownPart, y - ownPart, sigma, worthKept)

  const raw = y - own
  const bounded = Math.max(-tuning.huber * sigma, Math.min(tuning.huber * sigma, raw))
  const [w, p] = rls(before.w, before.p, x, bounded, shareKept(stepMs, tuning.weightsHalfLifeMs), tuning.ridge)
  let { sw, sp } = before
  if (tuning.learnScale && before.seen >= 20) {
    const row = scaleRow(features, i, before)
    const long = Math.sqrt(before.long + 1e-8)
    const target = Math.log((Math.abs(missed) + 0.05 * long) / long) + 0.6
    const miss = Math.max(-3, Math.min(3, target - dot(sw, row)))
    ;[sw, sp] = rls(sw, sp, row, miss, shareKept(stepMs, tuning.scaleHalfLifeMs), tuning.scaleRidge)
  }
  return {
    w,
    p,
    sw,
    sp,
    ...missesAfter(before, missed, sigma, before.seen, kept, stepMs, tuning),
    seen,
    own: worth,
    heard: mended,
    asNow: missesAfter(before.asNow, y, sigmaOf(before.asNow, before.seen, tuning), before.seen, kept, stepMs, tuning),
  }
}

const shareKept = (stepMs: number, halfLifeMs: number) => 0.5 ** (stepMs / halfLifeMs)

/** The change that is expected: the regression's by its worth, and from there towards what others say by theirs. */
function mix(reg: Regression, own: number, heard: number | null, tuning: Tuning): number {
  const part = tuning.stack ? shareOf(reg.own) * own : own
  return heard === null || reg.heard.xx < 1 ? part : part + shareOf(reg.heard) * (heard - part)
}

/** All of it until something speaks against it. */
const shareOf = (worth: Worth) => (worth.xx > 0 ? Math.max(0, Math.min(1, worth.xy / worth.xx)) : 1)

function worthOf(before: Worth, said: number, came: number, sigma: number, kept: number): Worth {
  const [x, y] = [said / sigma, came / sigma]
  // One crowd is not to decide alone.
  const weight = Math.min(1, 4 / Math.max(1e-9, Math.abs(x)), 4 / Math.max(1e-9, Math.abs(y)))
  return { xy: kept * before.xy + weight * x * y, xx: kept * before.xx + weight * x * x }
}

/** Variances and histogram after one more miss; `sigma` is what was expected of it. */
function missesAfter(
  before: Misses,
  missed: number,
  sigma: number,
  seenBefore: number,
  kept: number,
  stepMs: number,
  tuning: Tuning,
): Misses {
  const misses = before.misses.map((v) => v * kept)
  if (seenBefore >= 20) {
    const pos = (Math.max(-E_MAX, Math.min(E_MAX, missed / sigma)) + E_MAX) / E_STEP
    const b = Math.min(E_BINS - 2, Math.floor(pos))
    misses[b] = misses[b]! + 1 - (pos - b)
    misses[b + 1] = misses[b + 1]! + (pos - b)
  }
  const r2 = Math.min(Math.abs(missed), 8 * sigma) ** 2
  const blend = (old: number, halfMs: number) =>
    old + Math.max(1 - shareKept(stepMs, halfMs), 1 / (seenBefore + 1)) * (r2 - old)
  return {
    local: blend(before.local, tuning.localHalfLifeMs),
    long: blend(before.long, tuning.longHalfLifeMs),
    misses,
  }
}

/** One step of recursive least squares with forgetting `f`; `miss` is what the weights were off by. */
function rls(
  w0: readonly number[],
  p0: readonly number[],
  x: readonly number[],
  miss: number,
  f: number,
  ridge: number,
): [number[], number[]] {
  const n = x.length
  const px = new Array<number>(n)
  for (let i = 0; i < n; i++) {
    let s = 0
    for (let j = 0; j < n; j++) s += p0[i * n + j]! * x[j]!
    px[i] = s
  }
  const g = 1 / (f + dot(x, px))
  const w = w0.slice()
  for (let i = 0; i < n; i++) w[i] = w[i]! + px[i]! * g * miss
  const p = p0.slice()
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const v = (p0[i * n + j]! - px[i]! * px[j]! * g) / f
      p[i * n + j] = v
      p[j * n + i] = v
    }
  }
  // A direction that nothing is seen in must not grow without bound, nor the others shrink for it.
  const most = 1e3 / ridge
  for (let i = 0; i < n; i++) {
    if (p[i * n + i]! <= most) continue
    const less = Math.sqrt(most / p[i * n + i]!)
    for (let j = 0; j < n; j++) {
      p[i * n + j] = p[i * n + j]! * less
      p[j * n + i] = p[j * n + i]! * less
    }
  }
  return [w, p]
}

export interface Ahead {
  readonly steps: number
  readonly z: number
  readonly sigma: number
  /** Shares of standardised misses, at eOf(bin); sums to 1. */
  readonly shares: readonly number[]
}

/** The distribution of demand at each horizon. */
export function ahead(m: DemandModel, tuning: Tuning = TUNING): Ahead[] {
  const x = m.x.at(-1)
  const z = m.z.at(-1)
  if (x === undefined || z === undefined) return []
  const said = m.heard.at(-1) ?? null
  return HORIZONS.map((steps, i) => {
    const reg = m.regressions[i]!
    const heard = said?.[i] ?? null
    return {
      steps,
      z: z + mix(reg, dot(reg.w, horizonRow(x, i)), heard === null ? null : heard - z, tuning),
      sigma: sigmaFor(reg, x, i, tuning),
      shares: sharesOf(reg.misses),
    }
  })
}

/** The same without a forecast: demand stays where it is, but for how much it moved within such a time so far. */
export function asNow(m: DemandModel, tuning: Tuning = TUNING): Ahead[] {
  const z = m.z.at(-1)
  if (z === undefined) return []
  return HORIZONS.map((steps, i) => {
    const { asNow: misses, seen } = m.regressions[i]!
    const sigma = sigmaOf(misses, seen, tuning)
    return { steps, z, sigma: seen < 20 ? Math.max(sigma, 0.05) : sigma, shares: sharesOf(misses.misses) }
  })
}

function sharesOf(misses: readonly number[]): number[] {
  let sum = 0
  for (const v of misses) sum += v
  return misses.map((v) => v / sum)
}
