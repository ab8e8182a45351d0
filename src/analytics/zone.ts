/** Wall-clock time of a time zone, for seasons: people's days, not those of UTC. */
import { HOUR, type Millis } from '../base/time.ts'

/**
 * Milliseconds to add to a time for the wall clock of `timeZone` (IANA name). Looked up once an hour of sample time, as
 * offsets change on the hour. Throws a RangeError for an unknown zone.
 */
export function zoneOffset(timeZone: string): (at: Millis) => number {
  if (timeZone === 'UTC') return () => 0
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
  })
  const known = new Map<number, number>()
  return (at) => {
    const hour = Math.floor(at / HOUR)
    const offset = known.get(hour)
    if (offset !== undefined) return offset
    const part = Object.fromEntries(format.formatToParts(hour * HOUR).map((p) => [p.type, Number(p.value)]))
    const wall = Date.UTC(part.year!, part.month! - 1, part.day!, part.hour!, part.minute!, part.second!)
    if (known.size > 1000) known.clear()
    known.set(hour, wall - hour * HOUR)
    return wall - hour * HOUR
  }
}

export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name })
    return true
  } catch {
    return false
  }
}
