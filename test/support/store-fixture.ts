/**
 * What the store of `src/metrics/store/fixtures/` holds: written once by the code of its format version, read by every
 * later one. When the format changes, make a folder for the new version and keep the old ones:
 *
 *   node test/support/store-fixture.ts src/metrics/store/fixtures/v2
 */
import fs from 'node:fs'
import { fakeClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { HOUR, MINUTE } from '../../src/base/time.ts'
import { ColumnBuilder } from '../../src/metrics/columns.ts'
import { labelsOf } from '../../src/metrics/labels.ts'
import { doWork, seriesOf } from '../../src/metrics/store/compaction.ts'
import { Store, storeDefaults } from '../../src/metrics/store/store.ts'

export const START = Date.UTC(2026, 0, 1)
export const HOURS = 30
export const timeOf = (i: number): number => START + i * MINUTE + (i % 50 === 0 ? 7 : 0)
/** One series for each form of values. */
export const KINDS: Readonly<Record<string, (i: number) => number>> = {
  whole: (i) => i * 3,
  decimal: (i) => Math.round(Math.sin(i) * 1000) / 1000,
  bits: (i) => Math.sin(i),
  constant: () => 7,
  odd: (i) => (i % 9 === 4 ? (i % 2 ? Number.NaN : -Infinity) : i % 10),
}
export const labelsOfKind = (kind: string) => labelsOf('fixture', { kind, 'utf8.ß': 'Ω' })

if (import.meta.main) {
  const dir = process.argv[2]!
  fs.mkdirSync(dir)
  const clock = fakeClock(START)
  const store = new Store({ ...storeDefaults, dir }, clock, silentLog)
  for (let hour = 0; hour < HOURS; hour++) {
    clock.jumpTo(START + (hour + 1) * HOUR)
    const builder = new ColumnBuilder()
    for (const [kind, valueAt] of Object.entries(KINDS)) {
      builder.series(labelsOfKind(kind))
      for (let i = hour * 60; i < (hour + 1) * 60; i++) builder.sample(timeOf(i), valueAt(i))
    }
    store.append(builder.finish(), { source: 'x', claim: { key: `k${hour}`, fingerprint: 'f', answer: `a${hour}` } })
    if (hour % 4 === 3) await store.flush(async () => {})
    for (let work = store.nextWork(); work; ) {
      work = store.worked(work, await doWork(work, seriesOf(store.share), () => undefined))
    }
  }
  store.append(new ColumnBuilder().series(labelsOf('deleted')).sample(clock.now(), 1).finish(), { source: 'x' })
  store.deleteSeries([Object.keys(KINDS).length])
  store.commit() // and left as a crash would leave it: the last hours are in the WAL alone
}
