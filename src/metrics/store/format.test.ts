/** Files of every format version that was ever released are read, and written on. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { HOURS, KINDS, labelsOfKind, START, timeOf } from '../../../test/support/store-fixture.ts'
import { fakeClock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { silentLog } from '../../base/log.ts'
import { DAY, HOUR, MINUTE } from '../../base/time.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf, labelValue } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import { openReader } from './reader.ts'
import { Store, storeDefaults } from './store.ts'

const fixtures = new URL('./fixtures/', import.meta.url)

test.each(fs.readdirSync(fixtures))('%s', async (version) => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-format-'))
  fs.cpSync(new URL(version, fixtures), dir, { recursive: true })
  const clock = fakeClock(START + HOURS * HOUR)
  const errors: string[] = []
  const log: Log = { ...silentLog, error: (message) => void errors.push(message), with: () => log }
  try {
    const indexes = Array.from({ length: HOURS * 60 }, (_, i) => i)
    for (let round = 0; round < 2; round++) {
      const store = new Store({ ...storeDefaults, dir }, clock, log)
      const reader = openReader(store.share, clock)
      const series = reader.readColumns([], 0, Infinity)
      expect(series.map(({ labels }) => labelValue(labels, 'kind')).sort()).toEqual(Object.keys(KINDS).sort())
      const buffer = sampleBuffer()
      for (const one of series) {
        const valueAt = KINDS[labelValue(one.labels, 'kind')]!
        expect(one.labels).toEqual(labelsOfKind(labelValue(one.labels, 'kind')))
        one.read(START, START + HOURS * HOUR - 1, buffer)
        expect([...buffer.times.subarray(0, buffer.length)]).toEqual(indexes.map(timeOf))
        expect([...buffer.values.subarray(0, buffer.length)]).toEqual(indexes.map(valueAt))
      }
      const whole = series.find(({ labels }) => labelValue(labels, 'kind') === 'whole')!
      const rollup = reader.readRollup(whole, HOUR, START, START + DAY - 1)!
      expect([rollup.length, rollup.min[1], rollup.max[1], rollup.count[1]]).toEqual([24, 180, 357, 60])
      expect(reader.readRollup(whole, 5 * MINUTE, START, START + DAY - 1)!.length).toBe(288)
      const columns = () =>
        new ColumnBuilder()
          .series(labelsOf('new'))
          .sample(clock.now() + round, 1)
          .finish()
      const claimed = (key: string) =>
        store.append(columns(), { source: 'x', claim: { key, fingerprint: 'f', answer: '' } })
      expect(claimed('k12')).toEqual({ kind: 'repeated', answer: 'a12' })
      expect(claimed('k29')).toEqual({ kind: 'repeated', answer: 'a29' })
      store.append(
        new ColumnBuilder()
          .series(labelsOfKind('whole'))
          .sample(clock.now() + round, round)
          .finish(),
        {
          source: 'x',
        },
      )
      await store.close()
    }
    expect(errors).toEqual([])
  } finally {
    fs.rmSync(dir, { recursive: true })
  }
})
