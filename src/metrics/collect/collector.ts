/**
 * The collector: asks every source at its interval and appends what it answers, as series of the platform
 * (`service="opinion-market"`).
 *
 *   source ──collect──▶ readings ──▶ columns ──append──▶ pipeline
 *
 * Sources are independent: one that hangs is given up after its timeout, and not asked again before its call has
 * ended; one that fails is counted, and logged when it starts and stops failing. Nothing here waits for another
 * source, and nothing is kept for later: a reading that could not be stored is gone.
 */
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import type { Telemetry } from '../../base/telemetry.ts'
import { ColumnBuilder } from '../columns.ts'
import { encodeLabels, labelsOf } from '../labels.ts'
import type { Appender } from '../metrics.ts'
import { PLATFORM_LABEL } from '../names.ts'

/** One value, in the stored form of the name, without the platform's own label. */
export interface Reading {
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

export interface Source {
  /** `host`, `runtime`, `edge`: for the counters of sources. */
  readonly name: string
  collect(): readonly Reading[] | Promise<readonly Reading[]>
}

export interface CollectorOptions {
  readonly appender: Appender
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly log: Log
  readonly intervalMs: number
  /** How long a source may take; its interval when absent. */
  readonly timeoutMs?: number
}

export class Collector {
  readonly #options: CollectorOptions
  /** Label bytes by series, made once: the names and labels of the platform are fixed in its code. */
  readonly #keys = new Map<string, Uint8Array>()
  readonly #timers: Cancel[] = []

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  /** Asks `source` at once and then at every interval, until `stop`. */
  add(source: Source): void {
    const { scheduler, telemetry, log, intervalMs, timeoutMs = intervalMs } = this.#options
    const failures = telemetry.counter('collect_failures_total', 'Rounds of a source that gave nothing.', {
      source: source.name,
    })
    let open = false
    let failing = false
    const round = async () => {
      if (open) return
      open = true
      const call = this.#collect(source).finally(() => {
        open = false
      })
      const failure = await new Promise<string | null>((resolve) => {
        const limit = scheduler.after(timeoutMs, () => resolve('no answer in time'))
        call.then(
          () => resolve(null),
          (error) => resolve(messageOf(error)),
        )
        call.catch(() => {}).finally(() => limit.cancel())
      })
      if (failure !== null) failures.add()
      if (failing !== (failure !== null)) {
        failing = failure !== null
        if (failing) log.warn('A source of metrics gives nothing.', { source: source.name, reason: failure })
        else log.info('A source of metrics is back.', { source: source.name })
      }
    }
    const start = () => void round()
    this.#timers.push(scheduler.after(0, start), scheduler.every(intervalMs, start))
  }

  /** Appends readings that came on their own (front's windows), at the time they are of. */
  async record(source: string, at: number, readings: readonly Reading[]): Promise<void> {
    if (readings.length === 0) return
    const builder = new ColumnBuilder()
    for (const reading of readings) {
      if (!Number.isFinite(reading.value)) continue
      builder.seriesBytes(this.#key(reading)).sample(at, reading.value)
    }
    await this.#options.appender.append(builder.finish(), { source })
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel()
  }

  async #collect(source: Source): Promise<void> {
    const at = this.#options.scheduler.clock.now()
    await this.record(source.name, Math.floor(at), await source.collect())
  }

  #key(reading: Reading): Uint8Array {
    const labels = reading.labels ?? {}
    let text = reading.name
    for (const name in labels) text += `\n${name}\n${labels[name]}`
    let key = this.#keys.get(text)
    if (!key) {
      key = encodeLabels(labelsOf(reading.name, { ...labels, [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }))
      this.#keys.set(text, key)
    }
    return key
  }
}
