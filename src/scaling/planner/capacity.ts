/**
 * What one instance can do, learnt from what is seen: requests/s at full CPU, and how far it may be loaded before its
 * response time passes the limit. Worker count and service time are not told.
 *
 *   rate        demand / (ready · CPU share), while neither idle nor saturated; a mean that forgets slowly
 *   knee        response times by load, in bins of 2 %; fitted by  S + k · W(c, ρ) · S  with Erlang's C for c workers
 *
 * The fit is by least squares over a grid of c; k takes up what is not Poisson or not exponential. Pure.
 */

export const CAPACITY = {
  /** Samples that the mean of the rate remembers. */
  rateMemory: 400,
  binWidth: 0.02,
  /** Samples that a bin's mean remembers. */
  binMemory: 60,
  /** Load that is thought to hold before anything was learnt. */
  kneePrior: 0.75,
  /** The limit is to hold with this share of it to spare: means hide what is above them. */
  limitShare: 1,
  /** Samples between two fits of the knee. */
  fitAfter: 20,
  workers: [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 48, 64],
}

const BINS = 55

export interface CapacityModel {
  rate: number
  rateWeight: number
  /** Mean response time, ms, and weight, by load. */
  latency: number[]
  weight: number[]
  fit: Fit | null
  sinceFit: number
}

export interface Fit {
  readonly serviceMs: number
  readonly workers: number
  readonly factor: number
}

export function newCapacityModel(): CapacityModel {
  return {
    rate: 0,
    rateWeight: 0,
    latency: new Array(BINS).fill(0),
    weight: new Array(BINS).fill(0),
    fit: null,
    sinceFit: 0,
  }
}

/** Probability that an arrival waits, c workers at `a` erlangs. */
export function erlangC(c: number, a: number): number {
  let b = 1
  for (let k = 1; k <= c; k++) b = (a * b) / (k + a * b)
  const rho = a / c
  return b / (1 - rho * (1 - b))
}

/** Mean wait in units of the mean service time. */
export function waitOf(c: number, rho: number): number {
  if (rho <= 0) return 0
  const r = Math.min(rho, 0.98)
  return erlangC(c, c * r) / (c * (1 - r))
}

export function learnCapacity(
  before: CapacityModel,
  seen: { ready: number; demand: number | null; cpu: number | null; responseMs: number | null },
): CapacityModel {
  const { ready, demand, cpu, responseMs } = seen
  if (ready <= 0 || demand === null || cpu === null || !(demand > 0)) return before
  const m: CapacityModel = { ...before }
  const load = cpu / 100
  if (load > 0.15 && load < 0.95) {
    const rate = demand / (ready * load)
    // A backlog being worked off or a hiccup of the meter: nothing that far off is believed at once.
    const believed = m.rateWeight < 10 ? rate : Math.max(m.rate * 0.8, Math.min(m.rate * 1.25, rate))
    m.rateWeight = Math.min(CAPACITY.rateMemory, m.rateWeight + 1)
    m.rate += (believed - m.rate) / m.rateWeight
  }
  if (m.rate > 0 && m.rateWeight >= 5 && responseMs !== null && responseMs > 0) {
    const rho = demand / (ready * m.rate)
    const bin = Math.floor(rho / CAPACITY.binWidth)
    // Response time with a backlog from before says nothing about the load now.
    if (bin < BINS && Math.abs(load - rho) < 0.1) {
      m.latency = m.latency.slice()
      m.weight = m.weight.slice()
      m.weight[bin] = Math.min(CAPACITY.binMemory, m.weight[bin]! + 1)
      m.latency[bin] = m.latency[bin]! + (responseMs - m.latency[bin]!) / m.weight[bin]!
      m.sinceFit++
    }
  }
  if (m.sinceFit >= CAPACITY.fitAfter) {
    m.fit = fitKnee(m)
    m.sinceFit = 0
  }
  return m
}

/** Least squares over the bins; null while there is too little to tell. */
export function fitKnee(m: CapacityModel): Fit | null {
  let total = 0
  for (const w of m.weight) total += w
  if (total < 20) return null
  let best: Fit | null = null
  let bestError = Infinity
  for (const c of CAPACITY.workers) {
    // y = S · (1 + k · W): linear in S and S·k. Relative errors, so that slow bins do not drown fast ones. k is pulled
    // towards 1, which is Poisson arrivals and exponential service.
    let s11 = 0
    let s12 = 0
    let s22 = 0
    let y1 = 0
    let y2 = 0
    for (let b = 0; b < BINS; b++) {
      const weight = m.weight[b]!
      const rho = (b + 0.5) * CAPACITY.binWidth
      if (weight === 0 || rho > 0.97) continue
      const y = m.latency[b]!
      const wait = waitOf(c, rho)
      const g = weight / (y * y)
      s11 += g
      s12 += g * wait
      s22 += g * wait * wait
      y1 += g * y
      y2 += g * y * wait
    }
    const det = s11 * s22 - s12 * s12
    if (!(s11 > 0)) continue
    let serviceMs = y1 / s11
    let slope = serviceMs
    if (det > 1e-9 * s11 * s22) {
      serviceMs = (y1 * s22 - y2 * s12) / det
      slope = (y2 * s11 - y1 * s12) / det
    }
    if (!(serviceMs > 0)) continue
    const factor = Math.max(0.2, Math.min(5, slope / serviceMs))
    let error = 0.5 * Math.log(factor) ** 2
    for (let b = 0; b < BINS; b++) {
      const weight = m.weight[b]!
      const rho = (b + 0.5) * CAPACITY.binWidth
      if (weight === 0 || rho > 0.97) continue
      const y = m.latency[b]!
      error += weight * ((serviceMs * (1 + factor * waitOf(c, rho))) / y - 1) ** 2
    }
    if (error < bestError) {
      bestError = error
      best = { serviceMs, workers: c, factor }
    }
  }
  return best
}

/** Mean response time at a load, ms. */
export const responseAt = (fit: Fit, rho: number) => fit.serviceMs * (1 + fit.factor * waitOf(fit.workers, rho))

/** The largest load that holds the limit; the prior before anything was learnt. */
export function kneeOf(m: CapacityModel, limitMs: number): number {
  if (m.fit === null) return CAPACITY.kneePrior
  const limit = limitMs * CAPACITY.limitShare
  if (responseAt(m.fit, 0.1) > limit) return CAPACITY.kneePrior
  let lo = 0.1
  let hi = 0.98
  for (let i = 0; i < 30; i++) {
    const mid = (lo + hi) / 2
    if (responseAt(m.fit, mid) <= limit) lo = mid
    else hi = mid
  }
  return lo
}
