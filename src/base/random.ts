/** Randomness, passed in like the clock, so that a test can repeat a run by its seed. */
import { randomBytes } from 'node:crypto'

export interface Random {
  /** Uniform in [0, 1). */
  next(): number
}

/** For jitter and sampling. Secrets come from `secretToken`. */
export const systemRandom: Random = { next: () => Math.random() }

/** Mulberry32: small, fast, seeded; for tests and simulations, never for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return {
    next() {
      state = (state + 0x6d2b79f5) >>> 0
      let z = Math.imul(state ^ (state >>> 15), 1 | state)
      z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z
      return ((z ^ (z >>> 14)) >>> 0) / 4294967296
    },
  }
}

/** `bytes` of secure randomness as base64url. */
export function secretToken(bytes = 32): string {
  return randomBytes(bytes).toString('base64url')
}
