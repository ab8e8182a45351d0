/**
 * A process that appends to a store as fast as it can and says after each commit how far it is, until it is killed.
 *   node store-child.ts DIR FIRST_TICK
 */
import fs from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { ColumnBuilder } from '../../src/metrics/columns.ts'
import { labelsOf } from '../../src/metrics/labels.ts'
import { Store, storeDefaults } from '../../src/metrics/store/store.ts'

const [dir = '', first = '0'] = process.argv.slice(2)
const store = new Store({ ...storeDefaults, dir }, systemClock, silentLog)
const start = Math.floor(systemClock.now() / 3_600_000) * 3_600_000 - 24 * 3_600_000
const keys = Array.from({ length: 50 }, (_, i) => labelsOf('m', { i: String(i) }))
let flushing: Promise<void> | null = null
for (let tick = Number(first); ; tick++) {
  const builder = new ColumnBuilder()
  for (const [i, labels] of keys.entries()) builder.series(labels).sample(start + tick * 1000, i * 1_000_000 + tick)
  const outcome = store.append(builder.finish(), { source: 'test' })
  store.commit()
  if (outcome.kind !== 'appended' || outcome.report.accepted !== keys.length) throw new Error(JSON.stringify(outcome))
  fs.writeSync(1, `${start} ${tick}\n`)
  if (tick % 40 === 0 && !flushing) {
    flushing = store
      .flush(() => new Promise((resolve) => setTimeout(resolve, 1)))
      .finally(() => {
        flushing = null
      })
  }
  await new Promise((resolve) => setImmediate(resolve))
}
