/**
 * exp and log from additions, multiplications and divisions alone. IEEE 754 fixes the result of those to the bit, so every
 * machine, engine and version computes the same price; Math.exp and Math.log are left to the implementation.
 *
 * Bounds (relative error, tested against rational arithmetic): `expMinus` and `log1p` 2^-50, `ln` 2^-50 of max(1, |ln v|).
 */

/** ln 2 in two parts: the first has 20 trailing zero bits, so that a small whole multiple of it is exact. */
const LN2_HIGH = 0.6931471803691238
const LN2_LOW = 1.9082149292705877e-10
export const LN2 = Math.LN2
const SQRT2 = Math.SQRT2

/** 2^-k, exact. */
const HALVES = new Float64Array(1100)
for (let k = 0, value = 1; k < HALVES.length; k++, value /= 2) HALVES[k] = value

/** e^-x for x of 0 and more. Below 1e-300 it is 0: no price, cost or bound can tell. */
export function expMinus(x: number): number {
  if (x > 690) return 0
  const k = Math.floor(x / LN2 + 0.5)
  // x = k ln 2 + r, |r| <= 0.35; e^-x = 2^-k e^-r by its series up to r^13.
  const r = k * LN2_HIGH - x + k * LN2_LOW
  const series =
    1 +
    r *
      (1 +
        r *
          (1 / 2 +
            r *
              (1 / 6 +
                r *
                  (1 / 24 +
                    r *
                      (1 / 120 +
                        r *
                          (1 / 720 +
                            r *
                              (1 / 5040 +
                                r *
                                  (1 / 40320 +
                                    r *
                                      (1 / 362880 +
                                        r *
                                          (1 / 3628800 +
                                            r * (1 / 39916800 + r * (1 / 479001600 + r / 6227020800))))))))))))
  return series * HALVES[k]!
}

/** ln((1 + s) / (1 - s)) for |s| <= 0.172: twice the series of the area tangent, up to s^21. */
function twiceAtanh(s: number): number {
  const z = s * s
  const tail =
    1 / 3 +
    z *
      (1 / 5 +
        z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * (1 / 15 + z * (1 / 17 + z * (1 / 19 + z / 21))))))))
  return 2 * s + 2 * s * z * tail
}

/** ln(1 + y) for y of 0 and more. */
export function log1p(y: number): number {
  if (y <= SQRT2 - 1) return twiceAtanh(y / (2 + y))
  if (y <= 1) return LN2 + twiceAtanh((y - 1) / (y + 3))
  return ln(1 + y)
}

/** ln v for v above 0. Meant for 1e-12 to 1e12: it halves and doubles its way to 1. */
export function ln(v: number): number {
  let k = 0
  let reduced = v
  while (reduced > SQRT2) {
    reduced /= 2
    k++
  }
  while (reduced < SQRT2 / 2) {
    reduced *= 2
    k--
  }
  return k * LN2_HIGH + (k * LN2_LOW + twiceAtanh((reduced - 1) / (reduced + 1)))
}
