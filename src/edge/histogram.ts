/**
 * Quantiles of durations in fixed memory: a log-linear histogram, as HdrHistogram has it (Tene, 2012).
 *
 * Durations are counted in whole microseconds. Below 256 µs each has a bucket of its own; above, every doubling is cut
 * into 128 equal buckets. A quantile is the middle of its bucket, so it is off by at most 1/256 of itself (0.4 %), or
 * by half a microsecond. Longer than 2^32 µs (71 minutes) counts as that.
 */
const SUB_BITS = 7
const SUB = 1 << SUB_BITS
const MAX_US = 2 ** 32 - 1
const BUCKETS = (32 - SUB_BITS + 1) * SUB

export interface DurationHistogram {
  record(ms: number): void
  readonly count: number
  /** Nearest rank: the least duration that `q` (0 to 1) of all are not above, in ms; null when there is none. */
  quantile(q: number): number | null
  reset(): void
}

export function durationHistogram(): DurationHistogram {
  const counts = new Uint32Array(BUCKETS)
  let count = 0
  return {
    record(ms) {
      counts[bucketOf(Math.min(MAX_US, Math.max(0, Math.floor(ms * 1000))))]!++
      count++
    },
    get count() {
      return count
    },
    quantile(q) {
      if (count === 0) return null
      const rank = Math.max(1, Math.ceil(q * count))
      let seen = 0
      let bucket = 0
      while (bucket < BUCKETS - 1 && seen + counts[bucket]! < rank) seen += counts[bucket++]!
      return middleOf(bucket) / 1000
    },
    reset() {
      counts.fill(0)
      count = 0
    },
  }
}

/** Bucket b of shift s holds [m, m+1) * 2^s with m = b - s * SUB, SUB ≤ m < 2 SUB (from 0 when s is 0). */
function bucketOf(us: number): number {
  const shift = Math.max(0, 31 - Math.clz32(us) - SUB_BITS)
  return shift * SUB + (us >>> shift)
}

function middleOf(bucket: number): number {
  const shift = Math.max(0, Math.floor(bucket / SUB) - 1)
  return (bucket - shift * SUB + 0.5) * 2 ** shift
}
