/**
 * Numbers as PromQL has them: summation that keeps what rounding loses, quantiles, printing.
 */

/**
 * A running sum with Neumaier's compensation (A. Neumaier, Rundungsfehleranalyse einiger Verfahren zur Summation
 * endlicher Summen, 1974). The sum is `sum + lost`; past the largest number it is infinite and nothing is lost.
 */
export class CompensatedSum {
  sum = 0
  lost = 0
  add(value: number): void {
    const total = this.sum + value
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) this.lost = 0
    else if (Math.abs(this.sum) >= Math.abs(value)) this.lost += this.sum - total + value
    else this.lost += value - total + this.sum
    this.sum = total
  }
  get value(): number {
    return this.sum + this.lost
  }
}

/**
 * The mean of values[from, to), from < to: of the compensated sum, or, from the value on at which the sum would pass the
 * largest number, updated value by value.
 */
export function compensatedMean(values: ArrayLike<number>, from: number, to: number): number {
  let sum = values[from]!
  let lost = 0
  let mean = 0
  let incremental = false
  for (let i = from + 1; i < to; i++) {
    const value = values[i]!
    const count = i - from + 1
    let base = sum
    let addend = value
    if (!incremental) {
      const total = sum + value
      if (total !== Number.POSITIVE_INFINITY && total !== Number.NEGATIVE_INFINITY) {
        if (Math.abs(sum) >= Math.abs(value)) lost += sum - total + value
        else lost += value - total + sum
        sum = total
        continue
      }
      incremental = true
      mean = sum / (count - 1)
      lost /= count - 1
    }
    const share = (count - 1) / count
    base = share * mean
    lost *= share
    addend = value / count
    const total = base + addend
    if (total === Number.POSITIVE_INFINITY || total === Number.NEGATIVE_INFINITY) lost = 0
    else if (Math.abs(base) >= Math.abs(addend)) lost += base - total + addend
    else lost += addend - total + base
    mean = total
  }
  const count = to - from
  return incremental ? mean + lost : sum / count + lost / count
}

/** Sorts ascending with NaN first, in place, and returns the part that was sorted. */
export function sortValues(values: Float64Array, length: number): Float64Array {
  const part = values.subarray(0, length).sort()
  // Typed arrays put NaN last.
  let numbers = length
  while (numbers > 0 && Number.isNaN(part[numbers - 1]!)) numbers--
  if (numbers < length) {
    part.copyWithin(length - numbers, 0, numbers)
    part.fill(Number.NaN, 0, length - numbers)
  }
  return part
}

/** The φ-quantile by linear interpolation between closest ranks; sorts `values` in place. */
export function quantile(q: number, values: Float64Array, length: number): number {
  if (length === 0 || Number.isNaN(q)) return Number.NaN
  if (q < 0) return Number.NEGATIVE_INFINITY
  if (q > 1) return Number.POSITIVE_INFINITY
  const sorted = sortValues(values, length)
  const rank = q * (length - 1)
  const lower = Math.max(0, Math.floor(rank))
  const upper = Math.min(length - 1, lower + 1)
  const weight = rank - Math.floor(rank)
  return sorted[lower]! * (1 - weight) + sorted[upper]! * weight
}

/** The shortest decimal that reads back the same, never with an exponent: Go's FormatFloat(v, 'f', -1, 64). */
export function formatPlain(value: number): string {
  if (Number.isNaN(value)) return 'NaN'
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf'
  if (Object.is(value, -0)) return '-0'
  const text = String(value)
  const found = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text)
  if (!found) return text
  const digits = found[2]! + (found[3] ?? '')
  const point = 1 + Number(found[4])
  if (point <= 0) return `${found[1]}0.${'0'.repeat(-point)}${digits}`
  if (point >= digits.length) return found[1] + digits + '0'.repeat(point - digits.length)
  return `${found[1]}${digits.slice(0, point)}.${digits.slice(point)}`
}

/** As Prometheus' API prints values: plain from 1e-6 to 1e21, outside with an exponent of two digits or more. */
export function formatValue(value: number): string {
  if (Number.isInteger(value) && value !== 0 && value < 1e15 && value > -1e15) return String(value)
  if (Number.isNaN(value)) return 'NaN'
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  if (value === 0) return Object.is(value, -0) ? '-0' : '0'
  const text = String(value)
  const at = text.indexOf('e')
  return at >= 0 && at === text.length - 3 ? `${text.slice(0, at + 2)}0${text.slice(at + 2)}` : text
}

/** As Go's %g and %v print: an exponent below 1e-4 and from 1e21 on. */
export function formatShort(value: number): string {
  const magnitude = Math.abs(value)
  if (!Number.isFinite(value) || value === 0 || (magnitude >= 1e-4 && magnitude < 1e21)) return formatValue(value)
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string]
  const sign = exponent[0]!
  return `${mantissa}e${sign}${exponent.slice(1).padStart(2, '0')}`
}
