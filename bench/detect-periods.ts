/**
 * Whether a missing beat is said: made series of sixty days with a rhythm that is neither hour nor day, a wave or a
 * block, one beat missing on day 40; six of each, noise of deviation one on a height of fifty.
 *
 *   node bench/detect-periods.ts
 */

import { Detector } from '../src/analytics/detectors/detector.ts'
import type { Onset } from '../src/analytics/detectors/onset.ts'
import { seededRandom } from '../src/base/random.ts'
import { DAY, HOUR, MINUTE } from '../src/base/time.ts'

const START = Date.UTC(2026, 0, 5)
const STEP = 5 * MINUTE
const COUNT = (60 * DAY) / STEP
const SEEDS = 6

const write = (line: string) => process.stdout.write(`${line}\n`)
write(
  '| hours | missing beat said (wave, block) | onsets of a period besides, in 60 days | all others |\n|---|---|---|---|',
)
for (const hours of [5, 7.3, 8.33, 9.5, 10, 12.42, 14, 17, 20]) {
  const round = hours * HOUR
  const missing = START + Math.ceil((40 * DAY) / round) * round
  const said = [0, 0]
  let ofPeriod = 0
  let others = 0
  for (const block of [0, 1]) {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed * 7919)
      const normal = () => Math.sqrt(-2 * Math.log(random.next() + 1e-12)) * Math.cos(2 * Math.PI * random.next())
      const times = Float64Array.from({ length: COUNT }, (_, i) => START + i * STEP)
      const values = times.map((at) => {
        const phase = ((at - START) % round) / round
        const beat = block ? (phase > 0.4 && phase < 0.8 ? 50 : 0) : 25 * (1 - Math.cos(2 * Math.PI * phase))
        return 10 + (at > missing && at < missing + round ? 0 : beat) + normal()
      })
      const onsets: Onset[] = []
      new Detector().apply({ count: COUNT, series: new Uint32Array(COUNT), times, values }, onsets)
      const hits = onsets.filter(({ at }) => at > missing && at < missing + 1.3 * round)
      if (hits.length > 0) said[block]!++
      for (const onset of onsets) {
        if (hits.includes(onset)) continue
        if (onset.season === 'period') ofPeriod++
        else others++
      }
    }
  }
  const each = (sum: number) => (sum / (2 * SEEDS)).toFixed(2)
  write(`| ${hours} | ${said.join(', ')} of ${SEEDS} | ${each(ofPeriod)} | ${each(others)} |`)
}
