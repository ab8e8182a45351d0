/**
 * The market maker by rational arithmetic with sixty digits: slow, simple and independent of the product's own evaluation,
 * which is held against it. Values are bigints scaled by ONE.
 */
export const ONE = 10n ** 60n

/** e^-x for x of 0 and more: the series of a small part, squared up. */
export function expMinus(x: bigint): bigint {
  if (x > 400n * ONE) return 0n
  const halvings = 64n
  const small = x >> halvings
  let term = ONE
  let sum = ONE
  for (let k = 1n; k < 8n; k++) {
    term = (-term * small) / (ONE * k)
    sum += term
  }
  // e^-x is (e^-small)^(2^64); working with 40 digits more keeps what squaring doubles.
  const more = 10n ** 40n
  let value = sum * more
  const one = ONE * more
  for (let i = 0n; i < halvings; i++) value = (value * value) / one
  return value / more
}

/** ln v for v above 0, by the series of the area tangent after halving to near 1. */
export function ln(v: bigint): bigint {
  let reduced = v
  let k = 0n
  while (reduced > (ONE * 3n) / 2n) {
    reduced /= 2n
    k++
  }
  while (reduced < (ONE * 3n) / 4n) {
    reduced *= 2n
    k--
  }
  return atanhTwice(((reduced - ONE) * ONE) / (reduced + ONE)) + k * LN2
}

function atanhTwice(s: bigint): bigint {
  const square = (s * s) / ONE
  let power = s
  let sum = 0n
  for (let n = 1n; power !== 0n; n += 2n) {
    sum += power / n
    power = (power * square) / ONE
  }
  return 2n * sum
}

const LN2 = atanhTwice(ONE / 3n)

/** C(q) in money units, scaled by ONE: b ln Σ exp(q_i / b), b = liquidity / ln n. Liquidity in money units, q in share units. */
export function costFunction(liquidity: bigint, sold: readonly bigint[]): bigint {
  const logN = ln(BigInt(sold.length) * ONE)
  const b = (liquidity * ONE * ONE) / logN
  const top = sold.reduce((a, x) => (x > a ? x : a))
  let sum = 0n
  for (const q of sold) sum += expMinus(((top - q) * 100n * ONE * ONE) / b)
  return top * 100n * ONE + (b * ln(sum)) / ONE
}

/** Price of an outcome, scaled by ONE. */
export function price(liquidity: bigint, sold: readonly bigint[], outcome: number): bigint {
  const b = (liquidity * ONE * ONE) / ln(BigInt(sold.length) * ONE)
  const top = sold.reduce((a, x) => (x > a ? x : a))
  const weights = sold.map((q) => expMinus(((top - q) * 100n * ONE * ONE) / b))
  return (weights[outcome]! * ONE) / weights.reduce((a, x) => a + x)
}
