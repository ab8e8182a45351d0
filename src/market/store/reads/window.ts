/** The parts of "since `from`": whole buckets where there are some, single rows at the beginning. */
import { idFloor } from '../../../base/id.ts'
import { DAY, HOUR, MINUTE, type Millis } from '../../../base/time.ts'

const ceil = (at: Millis, step: number): Millis => Math.ceil(at / step) * step

export interface Window {
  readonly from: Millis
  /** The first whole minute, hour and day. */
  readonly minute: Millis
  readonly hour: Millis
  readonly day: Millis
  /** Identifiers made at or after `from`, and before the first whole minute or hour. */
  readonly fromId: string
  readonly minuteId: string
  readonly hourId: string
}

export function since(from: Millis): Window {
  const minute = ceil(from, MINUTE)
  const hour = ceil(from, HOUR)
  return {
    from,
    minute,
    hour,
    day: ceil(from, DAY),
    fromId: idFloor(from),
    minuteId: idFloor(minute),
    hourId: idFloor(hour),
  }
}
