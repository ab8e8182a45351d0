/**
 * XXH64 with seed 0, after the algorithm's public description (Y. Collet, xxHash fast digest algorithm). Used only to place series
 * for `limit_ratio`, so plain 64-bit arithmetic is fast enough.
 */
const P1 = 11400714785074694791n
const P2 = 14029467366897019727n
const P3 = 1609587929392839161n
const P4 = 9650029242287828579n
const P5 = 2870177450012600261n
const MASK = (1n << 64n) - 1n

const rotate = (x: bigint, bits: bigint) => ((x << bits) | (x >> (64n - bits))) & MASK
const round = (acc: bigint, lane: bigint) => (rotate((acc + lane * P2) & MASK, 31n) * P1) & MASK
const merge = (acc: bigint, value: bigint) => ((acc ^ round(0n, value)) * P1 + P4) & MASK

export function xxhash64(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  let hash: bigint
  if (bytes.length >= 32) {
    let a = (P1 + P2) & MASK
    let b = P2
    let c = 0n
    let d = -P1 & MASK
    for (; at + 32 <= bytes.length; at += 32) {
      a = round(a, view.getBigUint64(at, true))
      b = round(b, view.getBigUint64(at + 8, true))
      c = round(c, view.getBigUint64(at + 16, true))
      d = round(d, view.getBigUint64(at + 24, true))
    }
    hash = (rotate(a, 1n) + rotate(b, 7n) + rotate(c, 12n) + rotate(d, 18n)) & MASK
    for (const lane of [a, b, c, d]) hash = merge(hash, lane)
  } else hash = P5
  hash = (hash + BigInt(bytes.length)) & MASK
  for (; at + 8 <= bytes.length; at += 8)
    hash = (rotate(hash ^ round(0n, view.getBigUint64(at, true)), 27n) * P1 + P4) & MASK
  for (; at + 4 <= bytes.length; at += 4)
    hash = (rotate(hash ^ ((BigInt(view.getUint32(at, true)) * P1) & MASK), 23n) * P2 + P3) & MASK
  for (; at < bytes.length; at++) hash = (rotate(hash ^ ((BigInt(bytes[at]!) * P5) & MASK), 11n) * P1) & MASK
  hash = ((hash ^ (hash >> 33n)) * P2) & MASK
  hash = ((hash ^ (hash >> 29n)) * P3) & MASK
  return hash ^ (hash >> 32n)
}
