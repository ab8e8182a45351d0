/**
 * The clairvoyant optimum: the cheapest counts for a demand that is known whole, by an exact dynamic programme over the
 * ready count. Starting costs its start-up time, stopping nothing; what exceeds capacity is lost, not carried. A lower
 * bound to measure against, nothing anybody could do. Pure.
 */
import { costOf, type Prices, type Service } from './service.ts'

export interface Optimum {
  readonly cost: number
  /** Ready counts, one for each step. */
  readonly counts: Int16Array
}

/** Steps are of equal length; counts beyond what the largest demand needs are not looked at. */
export function optimumOf(
  demand: ArrayLike<number>,
  service: Service,
  prices: Prices,
  range: { readonly min: number; readonly max: number; readonly startUpMs: number; readonly stepS: number },
): Optimum {
  const { min, stepS } = range
  let peak = 0
  for (let t = 0; t < demand.length; t++) peak = Math.max(peak, demand[t]!)
  const most = Math.max(min, Math.min(range.max, Math.ceil(peak / (service.rate * service.knee)) + 1))
  const width = most - min + 1
  const start = (prices.pricePerInstanceHour * range.startUpMs) / 3_600_000
  const choice = new Int16Array(demand.length * width)
  let ahead = new Float64Array(width)
  let now = new Float64Array(width)
  const cost = new Float64Array(width)
  for (let t = demand.length - 1; t >= 0; t--) {
    for (let k = 0; k < width; k++) cost[k] = stepCost(min + k, demand[t]!) + ahead[k]!
    // The cheapest at or below is free to go to; each one more is a start.
    let best = 0
    for (let k = 0; k < width; k++) {
      if (cost[k]! < cost[best]!) best = k
      now[k] = cost[best]!
      choice[t * width + k] = best
    }
    let above = width - 1
    for (let k = width - 1; k >= 0; k--) {
      if (cost[k]! + start * k < cost[above]! + start * above) above = k
      const grown = cost[above]! + start * (above - k)
      if (grown < now[k]!) {
        now[k] = grown
        choice[t * width + k] = above
      }
    }
    ;[ahead, now] = [now, ahead]
  }
  let at = 0
  for (let k = 1; k < width; k++) if (ahead[k]! < ahead[at]!) at = k
  const total = ahead[at] ?? 0
  const counts = new Int16Array(demand.length)
  for (let t = 0; t < demand.length; t++) {
    at = choice[t * width + at]!
    counts[t] = min + at
  }
  return { cost: total, counts }

  function stepCost(n: number, wanted: number): number {
    const capacity = n * service.rate
    const slow = wanted > capacity * service.knee ? Math.min(wanted, capacity) * stepS : 0
    return costOf(prices, n, stepS, slow, Math.max(0, wanted - capacity) * stepS)
  }
}
