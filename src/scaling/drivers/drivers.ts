/** The driver of a target, by what its configuration says. */
import { addressGuard } from '../../base/address.ts'
import { createHttpClient, type HttpClient } from '../../base/http-client.ts'
import type { Log } from '../../base/log.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import type { TargetSettings } from '../targets.ts'
import { type Driver, type ProcessLedger, Unmanaged } from './driver.ts'
import { kubernetesDriver } from './kubernetes.ts'
import { type PlatformPort, platformDriver } from './platform.ts'
import { type ProcessDriverEvent, processDriver } from './process.ts'
import { webhookDriver } from './webhook.ts'

export interface DriverTools {
  readonly scheduler: Scheduler
  readonly log: Log
  /** Front; null where there is none: then the platform's own instances cannot be scaled. */
  readonly platform: PlatformPort | null
  readonly ledger: (target: string) => ProcessLedger
  /** Variables that processes get (PATH and the like). */
  readonly environment: Readonly<Record<string, string>>
  /** Says apart the instances of two platforms on one machine. */
  readonly place: string
  readonly allowNetworks: () => readonly string[]
  readonly webhookSecret: () => string | null
  readonly onProcessEvent: (target: string, event: ProcessDriverEvent) => void
}

export function driversOf(tools: DriverTools): { make(target: TargetSettings): Driver; close(): void } {
  const { scheduler, log } = tools
  let http: HttpClient | null = null
  return {
    make(settings) {
      const target = settings.name
      if (settings.process !== null) {
        return processDriver({
          target,
          settings: settings.process,
          ledger: tools.ledger(target),
          scheduler,
          log,
          environment: tools.environment,
          place: tools.place,
          onEvent: (event) => tools.onProcessEvent(target, event),
        })
      }
      if (settings.kubernetes !== null) {
        return kubernetesDriver({ target, settings: settings.kubernetes, scheduler, log })
      }
      if (settings.webhook !== null) {
        http ??= createHttpClient(addressGuard(tools.allowNetworks, undefined, 'scaling.allow_networks'), scheduler)
        return webhookDriver({ target, ...settings.webhook }, http, tools.webhookSecret, scheduler)
      }
      if (tools.platform === null) throw new Unmanaged('front does not keep instances')
      return platformDriver(tools.platform, scheduler)
    },
    close: () => http?.close(),
  }
}
