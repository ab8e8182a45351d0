/**
 * What the detector costs: CPU time a sample and bytes a series, on made series of the kinds a host sends.
 *
 *   node bench/detect.ts [series] [samples a series]
 *
 * Samples arrive as scrapes do: one of every series, then the next of every series, so that each step meets state that
 * the cache has long forgotten.
 */
import { Detector, ROW_BYTES } from '../src/analytics/detectors/detector.ts'
import type { Onset } from '../src/analytics/detectors/onset.ts'
import { SEASON_BYTES } from '../src/analytics/detectors/seasons.ts'

const series = Number(process.argv[2] ?? 50_000)
const samples = Number(process.argv[3] ?? 120)
const STEP_MS = 15_000
const START = Date.UTC(2026, 0, 5)

let state = 1
function random(): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) / 0x1_0000_0000
}

function measure(name: string, seasonBytesMax: number): void {
  const detector = new Detector({ seasonBytesMax })
  const ids = Uint32Array.from({ length: series }, (_, i) => i)
  const times = new Float64Array(series)
  const values = new Float64Array(series)
  const onsets: Onset[] = []
  let micros = 0
  for (let round = 0; round < samples; round++) {
    times.fill(START + round * STEP_MS)
    for (let i = 0; i < series; i++) {
      const noise = random() + random() + random()
      // A third gauges with a slow wave, a third counts, a third mostly idle.
      values[i] =
        i % 3 === 0 ? 100 + 10 * Math.sin(round / 60 + i) + noise : i % 3 === 1 ? Math.floor(noise * 5) : +(noise > 2.7)
    }
    const before = process.cpuUsage()
    detector.apply({ count: series, series: ids, times, values }, onsets)
    const used = process.cpuUsage(before)
    if (round >= samples / 4) micros += used.user + used.system
  }
  const measured = series * (samples - Math.ceil(samples / 4))
  const before = process.cpuUsage()
  const bytes = detector.save()
  const saved = process.cpuUsage(before)
  process.stdout.write(
    `${name.padEnd(28)} ${(micros / measured).toFixed(3)} µs a sample   ${onsets.length} onsets   ` +
      `save ${(bytes.length / 1e6).toFixed(1)} MB in ${((saved.user + saved.system) / 1e3).toFixed(0)} ms\n`,
  )
}

process.stdout.write(
  `${series} series, ${samples} samples each; a row ${ROW_BYTES} B, with seasons ${ROW_BYTES + SEASON_BYTES} B\n`,
)
measure('first stage', 0)
measure('first and second stage', Number.MAX_SAFE_INTEGER)
