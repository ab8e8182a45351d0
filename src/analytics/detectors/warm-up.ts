/**
 * Shows V8 every branch of the detector before the first sample: what it compiles then holds, where it would otherwise
 * throw the code of the hot loop away ten times, once for each rare thing that happens first. A few milliseconds.
 */
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import { Detector } from './detector.ts'

const DAYS = 20
const START = 4 * DAY

/** Steps a detector of its own through quiet and disturbed weeks, of a gauge and a counter; leaves nothing behind. */
export function warmUp(): void {
  const detector = new Detector({ offsetOf: () => 0 })
  detector.setCounter(1)
  const rows: (readonly [series: number, at: number, value: number])[] = []
  let total = 0
  for (let k = 0; k < (DAYS * DAY) / HOUR; k++) {
    const at = START + k * HOUR
    const weekend = Math.floor(at / DAY) % 7 < 2
    const wave = Math.sin((2 * Math.PI * (k % 24)) / 24)
    // Each disturbance once it is surprising: a record, a step, a value that is wrong for its hour, a gap, a stale mark.
    const odd = k % 97 === 90 ? 80 : k % 131 === 120 ? -30 : 0
    if (k % 151 !== 150) rows.push([0, at, (weekend ? 20 : 50) + 20 * wave + (k % 5) / 3 + odd])
    if (k % 151 === 149) rows.push([0, at + MINUTE, Number.NaN])
    total = k % 200 === 199 ? 3 : total + 100 + (k % 7) + (odd > 0 ? 5000 : 0)
    rows.push([1, at, total], [1, at, total])
    // Stands still, creeps, settles on another level.
    rows.push([2, at, k < 200 ? k % 3 : k < 300 ? 1 : k < 400 ? k / 10 : 900 + (k % 3)])
  }
  const samples = {
    count: rows.length,
    series: Uint32Array.from(rows, ([series]) => series),
    times: Float64Array.from(rows, ([, at]) => at),
    values: Float64Array.from(rows, ([, , value]) => value),
    fresh: Uint8Array.from(rows, (_, i) => (i % 500 === 499 ? 0 : 1)),
  }
  detector.apply(samples, [])
}
