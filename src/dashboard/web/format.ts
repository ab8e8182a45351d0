/** How times, durations and changes are written. Times are UTC, 24 h. Numbers are written by `protocol.ts`. */
import type { Figure } from '../protocol.ts'
import { formatExact, formatNumber, formatValue, NARROW } from '../protocol.ts'

export { formatExact, formatNumber, formatValue, NARROW }

const iso = (at: number) => new Date(at).toISOString()

/** `09:42` */
export const hhmm = (at: number) => iso(at).slice(11, 16)
/** `09:42:14` */
export const hhmmss = (at: number) => iso(at).slice(11, 19)

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** `30 Jan` */
export function day(at: number): string {
  const date = new Date(at)
  return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`
}

/** `09:42`, or `30 Jan 09:42` when it is not of the day of `now`. */
export function moment(at: number, now: number): string {
  return iso(at).slice(0, 10) === iso(now).slice(0, 10) ? hhmm(at) : `${day(at)} ${hhmm(at)}`
}

/** `8 s`, `11 min`, `3 h`, `2 d`. */
export function short(ms: number): string {
  const s = Math.max(0, ms / 1000)
  const [n, unit] =
    s < 60
      ? [Math.round(s), 's']
      : s < 3600
        ? [Math.floor(s / 60), 'min']
        : s < 172_800
          ? [Math.floor(s / 3600), 'h']
          : [Math.floor(s / 86_400), 'd']
  return `${n}${NARROW}${unit}`
}

/** `8 s ago`, up to 24 h; then the date. */
export function ago(at: number, now: number): string {
  return now - at < 86_400_000 ? `${short(now - at)} ago` : `${day(at)} ${hhmm(at)}`
}

/** `14 minutes`, for sentences. */
export function spoken(ms: number): string {
  const s = Math.max(0, ms / 1000)
  const [n, unit] =
    s < 60
      ? [Math.max(1, Math.round(s)), 'second']
      : s < 3600
        ? [Math.floor(s / 60), 'minute']
        : s < 172_800
          ? [Math.floor(s / 3600), 'hour']
          : [Math.floor(s / 86_400), 'day']
  return `${n} ${unit}${n === 1 ? '' : 's'}`
}

/** `+31`, `−9.6`, `+62 %`: in the metric's unit, or per cent. A change that rounds to nothing is `0`. */
export function change(figure: Pick<Figure, 'change' | 'change_kind' | 'unit'>): string | null {
  if (figure.change === null) return null
  const unit = figure.change_kind === 'percent' ? '%' : figure.unit === '%' ? 'points' : ''
  const text = formatNumber(figure.change, unit)
  const sign = figure.change > 0 && /[1-9]/.test(text) ? '+' : ''
  const number = /[1-9]/.test(text) ? text : '0'
  return figure.change_kind === 'percent' ? `${sign}${number}${NARROW}%` : `${sign}${number}`
}

/** `44–61` */
export function between(lower: number, upper: number, unit = ''): string {
  const [a, b] = [formatNumber(lower, unit), formatNumber(upper, unit)]
  return a === b ? a : `${a}–${b}`
}
