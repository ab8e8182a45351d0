import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { systemClock } from '../../base/clock.ts'
import { silentLog } from '../../base/log.ts'
import { createTelemetry } from '../../base/telemetry.ts'
import { ColumnBuilder } from '../columns.ts'
import { labelsOf } from '../labels.ts'
import { sampleBuffer } from '../metrics.ts'
import type { Metrics } from '../service.ts'
import { startMetrics } from '../service.ts'
import { openReader } from './reader.ts'

const dirs: string[] = []
const started: Metrics[] = []
afterEach(async () => {
  for (const metrics of started.splice(0)) await metrics.stop()
  for (const dir of dirs.splice(0)) fs.rmSync(dir, { recursive: true })
})

async function start(dir: string): Promise<Metrics> {
  const metrics = await startMetrics({
    dir,
    config: {
      retentionDays: 15,
      retentionBytes: 0,
      rollup5mDays: 90,
      rollup1hDays: 730,
      seriesMax: 1000,
      labelsMax: 64,
      labelNameBytesMax: 256,
      labelValueBytesMax: 4096,
    },
    clock: systemClock,
    log: silentLog,
    telemetry: createTelemetry(),
    workers: {
      pipeline: new URL('../../app/pipeline-worker.ts', import.meta.url),
      compaction: new URL('../../app/compaction-worker.ts', import.meta.url),
    },
    onFailure: (error) => {
      throw error
    },
  })
  started.push(metrics)
  return metrics
}

test('what the thread answered is read at once by another reader, and after a restart', async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'om-store-'))
  dirs.push(dir)
  const now = Date.now()
  const labels = labelsOf('up', { job: 'a', instance: 'x:1' })
  let metrics = await start(dir)
  const outcome = await metrics.append(
    new ColumnBuilder()
      .series(labels)
      .sample(now - 2000, 1)
      .sample(now - 1000, 2)
      .sample(now - 2000, 1)
      .finish(),
    { source: 'api' },
  )
  expect(outcome).toMatchObject({ kind: 'appended', report: { accepted: 3, duplicates: 1, late: 0, refused: {} } })
  for (let round = 0; round < 2; round++) {
    const [series] = openReader(metrics.share, systemClock).readColumns([{ name: 'job', op: '=', value: 'a' }], 0, now)
    expect(series!.labels).toEqual(labels)
    const samples = sampleBuffer(1)
    series!.read(0, now, samples)
    expect([...samples.times.subarray(0, samples.length)]).toEqual([now - 2000, now - 1000])
    expect([...samples.values.subarray(0, samples.length)]).toEqual([1, 2])
    expect(await metrics.latest(labels)).toEqual({ time: now - 1000, value: 2 })
    await metrics.stop()
    metrics = await start(dir)
  }
})
