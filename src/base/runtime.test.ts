/** What a process knows of its own run: measured for real, in this one. */
import { expect, test } from 'vitest'
import { measureRuntime } from './runtime.ts'
import { fakeScheduler } from './scheduler.ts'
import { createTelemetry } from './telemetry.ts'

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a blocked event loop shows as lag, collections as a rate, and memory as it is', async () => {
  const scheduler = fakeScheduler()
  const telemetry = createTelemetry()
  const runtime = measureRuntime(telemetry, scheduler, 'test')
  const values = () =>
    Object.fromEntries(
      telemetry.snapshot().flatMap((f) => f.samples.map((s) => [`${s.name}/${s.labels.process}`, s.value])),
    )
  try {
    expect(values()).not.toHaveProperty('runtime_event_loop_lag/test')
    await sleep(200)
    const end = performance.now() + 300
    const rubbish: unknown[][] = []
    while (performance.now() < end) rubbish.push(Array.from({ length: 10_000 }, (_, i) => ({ i })))
    await sleep(200)
    await scheduler.run(5000)
    const seen = values()
    expect(seen['runtime_event_loop_lag/test']).toBeGreaterThan(100)
    expect(seen['runtime_gc_frequency/test']).toBeGreaterThan(0)
    expect(seen['runtime_gc_pause_seconds_total/test']).toBeGreaterThan(0)
    expect(seen['runtime_heap_used_bytes/test']).toBeGreaterThan(1e6)
    expect(seen['process_cpu_seconds_total/test']).toBeGreaterThan(0.1)
    expect(rubbish.length).toBeGreaterThan(0)
  } finally {
    runtime.cancel()
  }
})
