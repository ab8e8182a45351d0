/**
 * All collecting of control in one piece: this machine, the platform's processes, front's windows, scrape targets.
 *
 *   const collecting = startCollecting({ … })
 *   parent.onEdge((window) => collecting.edge(window))          config.subscribe(() => collecting.configure())
 *   await collecting.stop()
 */
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import type { Telemetry, TelemetryFamily } from '../../base/telemetry.ts'
import type { Appender } from '../metrics.ts'
import { Collector } from './collector.ts'
import { edgeReadings, type RedWindow } from './edge.ts'
import { hostSource } from './host.ts'
import { telemetryReadings } from './runtime.ts'
import { Scraper, type TargetStatus } from './scrape.ts'
import type { ScrapeJob } from './scrape-config.ts'

export interface CollectingOptions {
  readonly appender: Appender
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly log: Log
  /** The volume whose room is watched. */
  readonly dataDir: string
  /** What all processes measure of themselves, told apart by their labels. */
  families(): readonly TelemetryFamily[]
  config(): {
    readonly collectInterval: number
    readonly collectHost: boolean
    readonly scrapeTargets: readonly ScrapeJob[]
  }
}

export interface Collecting {
  /** A window of front, at the time that it ended. */
  edge(window: RedWindow & { readonly at: number }): void
  /** Takes over what changed in the configuration. */
  configure(): void
  targets(): readonly TargetStatus[]
  stop(): Promise<void>
}

export function startCollecting(options: CollectingOptions): Collecting {
  const { appender, scheduler, telemetry, log } = options
  const intervalMs = options.config().collectInterval * 1000
  const collector = new Collector({ appender, scheduler, telemetry, log, intervalMs })
  const scraper = new Scraper({ appender, scheduler, log })
  const failed = (error: unknown) => log.warn('Scrape targets could not be taken over.', { reason: messageOf(error) })

  const host = hostSource({ dataDir: options.dataDir, clock: scheduler.clock })
  if (options.config().collectHost) collector.add({ name: 'host', collect: host })
  collector.add({ name: 'runtime', collect: () => telemetryReadings(options.families()) })
  scraper.configure(options.config().scrapeTargets).catch(failed)

  return {
    edge(window) {
      collector.record('edge', window.at, edgeReadings(window)).catch((error) => {
        log.warn("Front's measurements could not be stored.", { reason: messageOf(error) })
      })
    },
    configure: () => void scraper.configure(options.config().scrapeTargets).catch(failed),
    targets: () => scraper.status(),
    async stop() {
      collector.stop()
      await scraper.stop()
    },
  }
}
