/**
 * What a process or thread knows of its own run: lag of its event loop, garbage collections, memory. Written into its
 * telemetry under the label `process`, in the units of the platform's metric table.
 */
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { isMainThread } from 'node:worker_threads'
import type { Cancel, Scheduler } from './scheduler.ts'
import type { Telemetry } from './telemetry.ts'
import { MINUTE } from './time.ts'

/**
 * Time between two looks of the timer that measures the lag: it is part of each measurement, and taken off again. A
 * hundred looks in a window of five seconds are what a 99th percentile needs; at 20 ms the looks were nearly all that a
 * process cost while nothing happened (0.2 % of a core each).
 */
const RESOLUTION_MS = 50

/** `process`: `front`, `control`, `control/pipeline`. Windows of five seconds; the first figures come after one. */
export function measureRuntime(telemetry: Telemetry, scheduler: Scheduler, process: string): Cancel {
  const labels = { process }
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const lag = telemetry.gauge('runtime_event_loop_lag', 'Lag of the event loop, 99th percentile, in ms.', labels)

  const collections: number[] = []
  const pauses = telemetry.counter('runtime_gc_pause_seconds_total', 'Time spent in garbage collections.', labels)
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      collections.push(scheduler.clock.monotonic())
      pauses.add(entry.duration / 1000)
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  const frequency = telemetry.gauge('runtime_gc_frequency', 'Garbage collections in the last minute.', labels)

  const started = scheduler.clock.monotonic()
  const memory = () => globalThis.process.memoryUsage()
  telemetry.gauge('runtime_heap_used_bytes', 'Heap of JavaScript in use.', labels, () => memory().heapUsed)
  telemetry.gauge('runtime_external_bytes', 'Buffers outside the heap.', labels, () => memory().external)
  let cpuSeen = 0
  let measureProcess = () => {}
  if (isMainThread) {
    const cpu = telemetry.counter('process_cpu_seconds_total', 'CPU time used by the process.', labels)
    const resident = () => globalThis.process.memoryUsage.rss()
    telemetry.gauge('process_resident_memory_bytes', 'Memory that the process holds (RSS).', labels, resident)
    measureProcess = () => {
      const { user, system } = globalThis.process.cpuUsage()
      cpu.add((user + system - cpuSeen) / 1e6)
      cpuSeen = user + system
    }
  }

  const timer = scheduler.every(5000, () => {
    measureProcess()
    if (delay.count > 0) lag.set(Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS))
    delay.reset()
    const now = scheduler.clock.monotonic()
    while (collections.length > 0 && collections[0]! <= now - MINUTE) collections.shift()
    // In the first minute of a run, the rate so far.
    const seen = Math.min(MINUTE, now - started)
    if (seen > 0) frequency.set((collections.length * MINUTE) / seen)
  })
  return {
    cancel() {
      timer.cancel()
      delay.disable()
      observer.disconnect()
    },
  }
}
