/**
 * Token buckets: each key may spend `burst` at once and `perSecond` for ever. Buckets are filled when they are asked;
 * the map is bounded, the key that was idle longest is forgotten first (its bucket is full by then, or nearly).
 */
import type { Clock } from '../base/clock.ts'

export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

export interface RateLimiter {
  /** Spends one. 0 when there was one; otherwise the seconds until there will be. */
  take(key: string, rate: Rate): number
}

export function rateLimiter(clock: Clock, keysMax = 10_000): RateLimiter {
  const buckets = new Map<string, { left: number; at: number }>()
  return {
    take(key, rate) {
      const now = clock.monotonic()
      const bucket = buckets.get(key) ?? { left: rate.burst, at: now }
      bucket.left = Math.min(rate.burst, bucket.left + ((now - bucket.at) / 1000) * rate.perSecond)
      bucket.at = now
      buckets.delete(key)
      buckets.set(key, bucket)
      if (buckets.size > keysMax) buckets.delete(buckets.keys().next().value!)
      if (bucket.left >= 1) {
        bucket.left -= 1
        return 0
      }
      return (1 - bucket.left) / rate.perSecond
    },
  }
}
