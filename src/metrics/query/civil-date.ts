/**
 * The date of a number of seconds since 1970, in UTC. Prometheus answers for every value, NaN and the infinities
 * included: they become the least 64-bit integer, as Go's conversion has it, and so the end of its calendar.
 */
export interface CivilDate {
  readonly year: number
  /** From 1. */
  readonly month: number
  readonly day: number
  /** Sunday is 0. */
  readonly weekday: number
  /** From 1. */
  readonly dayOfYear: number
  readonly hour: number
  readonly minute: number
}

const DAY = 86_400
/** Beyond this JavaScript's own dates end. */
const DATE_MAX = 8_640_000_000_000

export function civilDate(seconds: number): CivilDate {
  const whole = Math.trunc(seconds)
  if (Math.abs(whole) < DATE_MAX) {
    const days = Math.floor(whole / DAY)
    return dateOf(days, whole - days * DAY)
  }
  const { days, rest } = farDays(whole)
  return dateOf(days, rest)
}

const FROM_ABSOLUTE_ZERO = 62_135_596_800n + 9_223_371_966_579_724_800n
const LEAST = -(2n ** 63n)

/** Days since 1970 as Go counts them: from the year -292277022399 on, in 64 bits without sign, which wrap. */
function farDays(whole: number): { days: number; rest: number } {
  const inRange = whole >= -(2 ** 63) && whole < 2 ** 63
  const seconds = inRange ? BigInt(whole) : LEAST
  const absolute = BigInt.asUintN(64, seconds + FROM_ABSOLUTE_ZERO)
  const day = BigInt(DAY)
  const rest = Number(absolute % day)
  return { days: Number(absolute / day - FROM_ABSOLUTE_ZERO / day), rest }
}

/** H. Hinnant's days-to-civil algorithm: years begin in March, eras are of 400 years. */
function dateOf(days: number, rest: number): CivilDate {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const marchDay = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const marchMonth = Math.floor((5 * marchDay + 2) / 153)
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const day = marchDay - Math.floor((153 * marchMonth + 2) / 5) + 1
  let dayOfYear = day
  for (let before = 1; before < month; before++) dayOfYear += daysInMonth(year, before)
  return {
    year,
    month,
    day,
    weekday: (((days + 4) % 7) + 7) % 7,
    dayOfYear,
    hour: Math.floor(rest / 3600),
    minute: Math.floor((rest % 3600) / 60),
  }
}

export function daysInMonth(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}
