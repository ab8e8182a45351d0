/**
 * Demand in the next minutes: for each of a few horizons a linear regression, learnt online, and the distribution of
 * what it missed. Works on steps of any length, from the first sample on, in constant memory.
 *
 *   demand ─link─▶ z ─▶ features: changes of the last steps, distance to slow means, daily and weekly shape
 *                         │  for each horizon h: recursive least squares with forgetting
 *                         ▼
 *   z(t+h) = z(t) + w_h · x_h(t) + σ_h(t) · e      e: histogram of past standardised misses, heavy-tailed at first
 *
 * σ_h is local: what was missed lately and what is missed on the whole. The link is a logarithm with a small offset:
 * demand grows and shrinks by ratios, and may be 0. Everything is plain JSON; `learn` returns a new model.
 */
import { DAY, type Millis } from '../../base/time.ts'

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
/** Shapes: the day in five minutes and in single ones, the hour in minutes around its own mean. */
const SHAPES = [
  { periodMs: DAY, bins: 288 },
  { periodMs: DAY, bins: 1440 },
  { periodMs: 3_600_000, bins: 60 },
] as const
const FIXED = 1 + LAGS.length + MEANS_MS.length
/** Features that depend on the horizon: profile ahead against now, and now against its own mean. */
const AHEAD = 5
const WIDTH = FIXED + AHEAD
const SCALE = 9

const E_MAX = 8
const E_STEP = 0.25
export const E_BINS = (2 * E_MAX) / E_STEP + 1
export const eOf = (bin: number) => -E_MAX + bin * E_STEP

interface Regression {
  /** Weights, and the inverse of the weighted covariance (full, row by row). */
  w: number[]
  p: number[]
  local: number
  long: number
  /** Regression of the logarithm of what is missed. */
  sw: number[]
  sp: number[]
  /** Weight behind the variances and the histogram. */
  seen: number
  misses: number[]
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
    })),
    run: 0,
    moves: [0, 0, 0],
  }
}

/** The same demand seen at another pace: shapes and level stay, what was learnt step by step begins again. */
export function rebase(m: DemandModel, stepMs: number): DemandModel {
  return { ...newDemandModel(stepMs), level: m.level, levelWeight: m.levelWeight, shapes: m.shapes }
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

/** The model after one more step of demand. The one passed in is left as it was. */
export function learn(before: DemandModel, demand: number, at: Millis, tuning: Tuning = TUNING): DemandModel {
  const m: DemandModel = {
    ...before,
    means: before.means.slice(),
    moves: before.moves.slice(),
    z: before.z.slice(),
    x: before.x.slice(),
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
    m.run = 0
  } else {
    // A step or two without a sample: a straight line between.
    const last = m.z.at(-1)
    if (last !== undefined)
      for (let i = 1; i < steps; i++) push(m, last + ((z - last) * i) / steps, at - (steps - i) * m.stepMs, tuning)
  }
  push(m, z, at, tuning)
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
    cloned.push(update(reg, x, i, z - m.z[m.z.length - 1 - h]!, m.stepMs, tuning))
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
}

/** The shapes after z at `at`. */
function shape(m: DemandModel, z: number, at: Millis, tuning: Tuning): void {
  m.shapes = m.shapes.map((s, k) => {
    const { periodMs, bins } = SHAPES[k]!
    const bin = Math.floor(((at % periodMs) * bins) / periodMs)
    const value = k === 2 ? z - m.means[3]! : z
    const { now } = s
    if (now.bin === bin) return { bins: s.bins, now: { bin, sum: now.sum + value, count: now.count + 1 } }
    let filled = s.bins
    if (now.count > 0) {
      const memory = k === 2 ? tuning.hourMemory : tuning.dayMemory
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

/** Everything a prediction needs at one moment: fixed features, then AHEAD for each horizon. */
function features(m: DemandModel, at: Millis, tuning: Tuning): number[] {
  const n = m.z.length
  const z = m.z[n - 1]!
  const lag = (a: number) => m.z[Math.max(0, n - 1 - a)]!
  const x = [1]
  for (const [a, b] of LAGS) x.push(lag(a) - lag(b))
  for (const mean of m.means) x.push(mean - z)
  const use = tuning.useProfile
  const here = SHAPES.map((_, k) => (use ? shapeAt(m, k, at) : null))
  const past = use ? shapeAt(m, 0, at - 3_600_000) : null
  for (const h of HORIZONS) {
    const there = here.map((v, k) => (v === null ? null : shapeAt(m, k, at + h * m.stepMs)))
    const moved = (k: number) => (here[k] == null || there[k] == null ? 0 : there[k] - here[k])
    x.push(moved(0), here[0] == null || there[0] == null ? 0 : there[0] - z, past === null ? 0 : m.means[3]! - past)
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
  if (!tuning.learnScale) return sigmaOf(reg, tuning)
  if (reg.seen < 20) return Math.max(sigmaOf(reg, tuning), 0.05)
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

function sigmaOf(reg: Regression, tuning: Tuning): number {
  if (reg.seen < 2) return 0.2
  return Math.sqrt(tuning.localShare * reg.local + (1 - tuning.localShare) * reg.long + 1e-8)
}

function update(
  before: Regression,
  features: readonly number[],
  i: number,
  y: number,
  stepMs: number,
  tuning: Tuning,
): Regression {
  const x = horizonRow(features, i)
  const sigma = sigmaFor(before, features, i, tuning)
  const raw = y - dot(before.w, x)
  const e = raw / sigma
  // The histogram first: what was missed by those who did not know.
  const keep = 0.5 ** (stepMs / tuning.missesHalfLifeMs)
  const misses = before.misses.slice()
  for (let b = 0; b < E_BINS; b++) misses[b] = misses[b]! * keep
  if (before.seen >= 20) {
    const pos = (Math.max(-E_MAX, Math.min(E_MAX, e)) + E_MAX) / E_STEP
    const b = Math.min(E_BINS - 2, Math.floor(pos))
    misses[b] = misses[b]! + 1 - (pos - b)
    misses[b + 1] = misses[b + 1]! + (pos - b)
  }
  const bounded = Math.max(-tuning.huber * sigma, Math.min(tuning.huber * sigma, raw))
  const [w, p] = rls(before.w, before.p, x, bounded, 0.5 ** (stepMs / tuning.weightsHalfLifeMs), tuning.ridge)
  let { sw, sp } = before
  if (tuning.learnScale && before.seen >= 20) {
    const row = scaleRow(features, i, before)
    const long = Math.sqrt(before.long + 1e-8)
    const target = Math.log((Math.abs(raw) + 0.05 * long) / long) + 0.6
    const miss = Math.max(-3, Math.min(3, target - dot(sw, row)))
    ;[sw, sp] = rls(sw, sp, row, miss, 0.5 ** (stepMs / tuning.scaleHalfLifeMs), tuning.scaleRidge)
  }
  const r2 = Math.min(Math.abs(raw), 8 * sigma) ** 2
  const seen = before.seen + 1
  const blend = (old: number, halfMs: number) => {
    const k = Math.max(1 - 0.5 ** (stepMs / halfMs), 1 / seen)
    return old + k * (r2 - old)
  }
  return {
    w,
    p,
    sw,
    sp,
    local: blend(before.local, tuning.localHalfLifeMs),
    long: blend(before.long, tuning.longHalfLifeMs),
    seen,
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
  let trace = 0
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      const v = (p0[i * n + j]! - px[i]! * px[j]! * g) / f
      p[i * n + j] = v
      p[j * n + i] = v
    }
    trace += p[i * n + i]!
  }
  // Directions that nothing was seen in must not grow without bound.
  const most = (n * 1e3) / ridge
  if (trace > most) for (let i = 0; i < p.length; i++) p[i] = (p[i]! * most) / trace
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
  return HORIZONS.map((steps, i) => {
    const reg = m.regressions[i]!
    let sum = 0
    for (const v of reg.misses) sum += v
    return {
      steps,
      z: z + dot(reg.w, horizonRow(x, i)),
      sigma: sigmaFor(reg, x, i, tuning),
      shares: reg.misses.map((v) => v / sum),
    }
  })
}
