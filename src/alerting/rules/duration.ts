/** Durations as Prometheus writes them: `1h30m`, `15s`, `2w`. */
import { DAY, HOUR, MINUTE, SECOND } from '../../base/time.ts'

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND,
  m: MINUTE,
  h: HOUR,
  d: DAY,
  w: 7 * DAY,
  y: 365 * DAY,
}

/** Milliseconds; null for what is no duration. */
export function durationMs(text: string): number | null {
  if (text === '0') return 0
  if (text === '' || !/^(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$/.test(text)) return null
  let sum = 0
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|[ywdhms])/g)) sum += Number(count) * UNITS[unit!]!
  return sum
}
