/**
 * How many instances are worth their money: the price of an instance against the expected price of slow and lost
 * requests, over the distribution of demand at each step ahead. Pure arithmetic, no state.
 *
 *   now   1 2 3 …   D   D+1 …      steps
 *   ├─────────────┼──────┤ what is asked for now is ready from D+1 on, and paid from now
 *   │ keep what is there while holding it until it is needed again costs less than starting it again
 *                        │ start now what is needed at D+1: what is needed later can be started later
 */
import { type Ahead, E_BINS, eOf } from './forecast.ts'

export interface Weighing {
  readonly stepMs: number
  readonly startUpSteps: number
  /** Requests/s of one instance at full CPU, and the load that still holds the limit. */
  readonly rate: number
  readonly knee: number
  /** Requests waiting now. */
  readonly backlog: number
  readonly price: { readonly instanceHour: number; readonly slowPerMillion: number; readonly lostPerMillion: number }
  readonly min: number
  readonly max: number
  readonly ready: number
  /** Steps until each starting instance is ready. */
  readonly starting: readonly number[]
  /** Turns a value of the link's scale into requests/s. */
  readonly unlink: (z: number) => number
  readonly tuning?: Partial<typeof WEIGH>
}

export const WEIGH = {
  /** Steps over which holding is weighed. */
  horizon: 34,
  /** Requests behind an overload wait too: slow requests are multiplied by 1 + this × (demand / capacity − 1). */
  overloadFollows: 4,
  /** Share of overload that is still queued rather than lost. */
  queued: 0.4,
  /** Steps in which a backlog is to be gone. */
  drainSteps: 2,
  /** What is started is not removed at once: its pay beside the start-up time, ms of an instance. */
  heldAfterStartMs: 900_000,
  /** What starting again costs beside its time: cold caches, connections that move; ms of an instance. */
  againMs: 10_000,
}

/** Expected cost of a step with `n` serving: `costs[n - from]`. */
function expectedCosts(
  dist: Ahead,
  w: Weighing,
  extra: number,
  from: number,
  to: number,
  t: typeof WEIGH,
): Float64Array {
  const out = new Float64Array(to - from + 1)
  const seconds = w.stepMs / 1000
  const slow = (w.price.slowPerMillion * seconds) / 1e6
  const lost = (w.price.lostPerMillion * seconds) / 1e6
  for (let b = 0; b < E_BINS; b++) {
    const share = dist.shares[b]!
    if (share < 1e-6) continue
    // The share lies evenly between the edges of its bin, so that costs do not jump with demand.
    const low = w.unlink(dist.z + dist.sigma * (eOf(b) - 0.125)) + extra
    const high = w.unlink(dist.z + dist.sigma * (eOf(b) + 0.125)) + extra
    const v = (low + high) / 2
    for (let n = from; n <= to; n++) {
      const holds = n * w.rate * w.knee
      if (holds >= high) break
      const beyond = share * (holds <= low ? 1 : (high - holds) / (high - low))
      const over = n === 0 ? 1 : Math.min(1, Math.max(0, v / (n * w.rate) - 1))
      const cost = slow * v * (1 + t.overloadFollows * over) + lost * Math.max(0, v - n * w.rate * (1 + t.queued))
      out[n - from]! += beyond * cost
    }
  }
  return out
}

export interface Weighed {
  readonly wanted: number
  /** Expected money saved against staying, over the horizon. */
  readonly gain: number
  /** The count that costs least at each horizon, were it there. */
  readonly needed: readonly { readonly steps: number; readonly instances: number }[]
}

export function weigh(dists: readonly Ahead[], w: Weighing): Weighed {
  const t = { ...WEIGH, ...w.tuning }
  const base = w.ready + w.starting.length
  if (dists.length === 0 || !(w.rate > 0)) return { wanted: base, gain: 0, needed: [] }
  const c = (w.price.instanceHour * w.stepMs) / 3_600_000
  const extraAt = (h: number) => (h <= w.startUpSteps + t.drainSteps ? w.backlog / (w.stepMs / 1000) / t.drainSteps : 0)
  // Counts worth looking at: up to what the far tail needs.
  let top = base
  for (const d of dists) {
    if (d.steps > w.startUpSteps + 1 && d.steps > 8) continue
    top = Math.max(top, Math.ceil((w.unlink(d.z + 8 * d.sigma) + extraAt(d.steps)) / (w.rate * w.knee)))
  }
  // Weighed as if twice as many could be had: where even the most is too few, money would say that none is worth it.
  const most = Math.max(base, w.min, Math.min(w.max, 4 * base + 10))
  top = Math.max(base, w.min, Math.min(top, 2 * most))
  const from = Math.min(w.min, base)
  const H = t.horizon
  const at = dists.map((d) => expectedCosts(d, w, extraAt(d.steps), from, top, t))
  // Between two horizons costs are interpolated.
  const slow = (h: number, n: number): number => {
    let i = 0
    while (i < dists.length - 1 && dists[i + 1]!.steps <= h) i++
    const a = dists[i]!.steps
    const k = n - from
    if (i === dists.length - 1 || h <= a) return at[i]![k]!
    const f = (h - a) / (dists[i + 1]!.steps - a)
    return at[i]![k]! * (1 - f) + at[i + 1]![k]! * f
  }
  const servingAt = (h: number, n: number) => {
    let ready = w.ready
    for (const s of w.starting) if (s < h) ready++
    return Math.max(from, Math.min(n, ready))
  }
  const net = (h: number, n: number) => slow(h, servingAt(h, n)) + c * n
  const netStarted = (h: number, n: number) => slow(h, n) + c * n

  const cheapest = dists.map((d, i) => {
    let instances = Math.max(from, w.min)
    for (let n = instances; n <= top; n++) {
      if (at[i]![n - from]! + c * n < at[i]![instances - from]! + c * instances) instances = n
    }
    return { steps: d.steps, instances }
  })

  // Up.
  const lead = w.startUpSteps + 1
  let needed = base
  let least = Infinity
  for (let n = Math.max(base, w.min); n <= top; n++) {
    const cost = netStarted(lead, n)
    if (cost < least) {
      least = cost
      needed = n
    }
  }
  let bestUp = base
  let bestGain = 0
  for (let n = base + 1; n <= needed; n++) {
    let sum = (w.startUpSteps + t.heldAfterStartMs / w.stepMs) * c * (n - base)
    let gain = -Infinity
    for (let h = lead; h <= Math.max(H, lead + 8); h++) {
      sum += netStarted(h, n) - netStarted(h, base)
      gain = Math.max(gain, -sum)
    }
    if (gain > bestGain) {
      bestGain = gain
      bestUp = n
    }
  }
  if (bestUp > base) return { wanted: Math.min(bestUp, most), gain: bestGain, needed: cheapest }

  // Down, one at a time, as long as holding the last one until it is needed again costs more than starting it again.
  // What is needed at every step until a start would be ready stays.
  const stays = cheapest.reduce((least, p) => (p.steps <= lead ? Math.min(least, p.instances) : least), base)
  let down = base
  let saved = 0
  for (let n = base - 1; n >= Math.max(w.min, stays); n--) {
    let hold = Infinity
    let sum = 0
    let run = 0
    let again = 0
    for (let h = 1; h <= H; h++) {
      const d = net(h, n + 1) - net(h, n)
      sum += d
      hold = Math.min(hold, sum)
      if (h >= lead) {
        run = Math.min(0, run) + d
        again = Math.min(again, run + (w.startUpSteps + t.againMs / w.stepMs) * c)
      }
    }
    if (hold <= again) break
    saved += hold - again
    down = n
  }
  return { wanted: down, gain: saved, needed: cheapest }
}
