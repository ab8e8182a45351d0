/**
 * Least absolute deviations by iteratively reweighted least squares (Schlossmacher 1973), for a few dozen columns.
 * The design is row-major in one Float64Array, rows in order of time. The last pass adds the normal equations up block
 * by block and solves them at each block's end, so that every later block is predicted by coefficients that never saw
 * it: a rolling origin for the price of one fit.
 */

export interface LadInput {
  /** Rows by columns, row-major; column 0 is the constant and is not shrunk. */
  readonly x: Float64Array
  readonly y: Float64Array
  /** Weight of each row, 0 or more. */
  readonly weight: Float64Array
  readonly rows: number
  /** An even number; a column of zeros gets coefficient 0. */
  readonly columns: number
  /** Residuals below this size (in units of y) count as squared errors: the smooth foot of the absolute value. */
  readonly foot: number
  /** Ridge as a share of each column's own weight. */
  readonly ridge: number
  readonly passes: number
  /** Passes on every third row that come first and only bring the coefficients near. */
  readonly roughPasses: number
}

export interface LadFit {
  readonly beta: Float64Array
  /** y minus the prediction of coefficients learnt from earlier blocks alone; NaN where there were too few rows. */
  readonly later: Float64Array
}

/**
 * Fits `x·beta ≈ y`. `start` is the first guess; it is changed in place and returned as `beta`. `blocks` cuts the rows
 * for the rolling residuals; blocks in the first 40 % of the rows are for training alone. `position` is the step of
 * each row's origin and `gap` the horizon in steps: an origin from which the last training target lay in the future
 * gets no residual.
 */
export function fitLad(
  input: LadInput,
  start: Float64Array,
  blocks: number,
  position: Int32Array,
  gap: number,
): LadFit {
  const { x, y, weight, rows, columns, foot, ridge, passes, roughPasses } = input
  const gram = new Float64Array(columns * columns)
  const right = new Float64Array(columns)
  const w = new Float64Array(rows)
  const factor = new Float64Array(columns * columns)
  const beta = start
  for (let pass = 0; pass < roughPasses + passes; pass++) {
    const stride = pass < roughPasses ? 3 : 1
    for (let i = 0; i < rows; i += stride) {
      w[i] = weight[i]! / Math.max(Math.abs(residual(x, y, i, columns, beta)), foot)
    }
    gram.fill(0)
    right.fill(0)
    if (pass < roughPasses + passes - 1) {
      addRows(x, y, w, 0, rows, stride, columns, gram, right)
      solve(gram, right, columns, ridge, factor, beta)
    }
  }
  const later = new Float64Array(rows).fill(NaN)
  const past = new Float64Array(columns)
  const first = Math.max(2 * columns, Math.floor(rows * 0.4))
  let end = 0
  for (let b = 0; b < blocks; b++) {
    const begin = end
    end = b === blocks - 1 ? rows : Math.floor((rows * (b + 1)) / blocks)
    if (begin >= first) {
      solve(gram, right, columns, ridge, factor, past)
      const known = position[begin - 1]! + gap
      for (let i = begin; i < end; i++) {
        if (position[i]! >= known) later[i] = residual(x, y, i, columns, past)
      }
    }
    addRows(x, y, w, begin, end, 1, columns, gram, right)
  }
  solve(gram, right, columns, ridge, factor, beta)
  return { beta, later }
}

function residual(x: Float64Array, y: Float64Array, row: number, columns: number, beta: Float64Array): number {
  let sum = y[row]!
  const base = row * columns
  for (let j = 0; j < columns; j++) sum -= x[base + j]! * beta[j]!
  return sum
}

/**
 * Adds rows [from, to) to the lower triangle of `gram`, and to `right`. Tiles of four rows by two columns, so that
 * what is loaded is used often; the columns must be even in number, and cells just above the diagonal get filled too.
 */
function addRows(
  x: Float64Array,
  y: Float64Array,
  w: Float64Array,
  from: number,
  to: number,
  stride: number,
  columns: number,
  gram: Float64Array,
  right: Float64Array,
): void {
  for (let i = from; i < to; i += 4 * stride) {
    const b0 = i * columns
    // Past the end the first row stands in, with weight 0.
    const b1 = i + stride < to ? (i + stride) * columns : b0
    const b2 = i + 2 * stride < to ? (i + 2 * stride) * columns : b0
    const b3 = i + 3 * stride < to ? (i + 3 * stride) * columns : b0
    const w0 = w[i]!
    const w1 = b1 === b0 ? 0 : w[i + stride]!
    const w2 = b2 === b0 ? 0 : w[i + 2 * stride]!
    const w3 = b3 === b0 ? 0 : w[i + 3 * stride]!
    const y0 = y[i]!
    const y1 = b1 === b0 ? 0 : y[i + stride]!
    const y2 = b2 === b0 ? 0 : y[i + 2 * stride]!
    const y3 = b3 === b0 ? 0 : y[i + 3 * stride]!
    for (let j = 0; j < columns; j += 2) {
      const a0 = w0 * x[b0 + j]!
      const a1 = w1 * x[b1 + j]!
      const a2 = w2 * x[b2 + j]!
      const a3 = w3 * x[b3 + j]!
      const c0 = w0 * x[b0 + j + 1]!
      const c1 = w1 * x[b1 + j + 1]!
      const c2 = w2 * x[b2 + j + 1]!
      const c3 = w3 * x[b3 + j + 1]!
      right[j] = right[j]! + (a0 * y0 + a1 * y1 + (a2 * y2 + a3 * y3))
      right[j + 1] = right[j + 1]! + (c0 * y0 + c1 * y1 + (c2 * y2 + c3 * y3))
      const g = j * columns
      const h = g + columns
      for (let l = 0; l <= j + 1; l++) {
        const x0 = x[b0 + l]!
        const x1 = x[b1 + l]!
        const x2 = x[b2 + l]!
        const x3 = x[b3 + l]!
        gram[g + l] = gram[g + l]! + (a0 * x0 + a1 * x1 + (a2 * x2 + a3 * x3))
        gram[h + l] = gram[h + l]! + (c0 * x0 + c1 * x1 + (c2 * x2 + c3 * x3))
      }
    }
  }
}

/** Cholesky with ridge; a column without weight gets coefficient 0. `gram` and `right` stay as they are. */
export function solve(
  gram: Float64Array,
  right: Float64Array,
  p: number,
  ridge: number,
  factor: Float64Array,
  out: Float64Array,
): void {
  let trace = 0
  for (let j = 0; j < p; j++) trace += gram[j * p + j]!
  const floor = (1e-9 * trace) / p + Number.MIN_VALUE
  for (let j = 0; j < p; j++) {
    const row = j * p
    for (let i = 0; i <= j; i++) {
      let sum = gram[row + i]!
      if (i === j) sum += floor + (j === 0 ? 0 : ridge * sum)
      const other = i * p
      for (let k = 0; k < i; k++) sum -= factor[row + k]! * factor[other + k]!
      factor[row + i] = i === j ? Math.sqrt(Math.max(sum, floor)) : sum / factor[other + i]!
    }
  }
  for (let i = 0; i < p; i++) {
    let sum = right[i]!
    for (let k = 0; k < i; k++) sum -= factor[i * p + k]! * out[k]!
    out[i] = sum / factor[i * p + i]!
  }
  for (let i = p - 1; i >= 0; i--) {
    let sum = out[i]!
    for (let k = i + 1; k < p; k++) sum -= factor[k * p + i]! * out[k]!
    out[i] = sum / factor[i * p + i]!
  }
}
