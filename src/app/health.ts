/**
 * How the platform is: the processes as front tells them, and what each room says of itself.
 *
 *   unhealthy  it cannot do its work              degraded  it works, something needs a look
 */
import type { Clock } from '../base/clock.ts'
import { messageOf } from '../base/errors.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import type { ProcessStatus } from './ipc.ts'

export type Status = 'healthy' | 'degraded' | 'unhealthy'

export interface Service {
  readonly status: Status
  readonly detail?: string
}

export interface Health {
  /** Adds a room's own check, asked at each request: it must be quick, and may throw. */
  check(name: string, ask: () => Service): void
  /** The latest that front told. */
  processes: readonly ProcessStatus[]
  /** All rooms have started. */
  ready: boolean
  report(): { status: Status; services: Record<string, Service>; uptime: number }
  /** Control, at least one instance, and every other process that front keeps are ready. */
  allReady(): boolean
}

export function createHealth(clock: Clock): Health {
  const startedAt: Millis = clock.monotonic()
  const checks = new Map<string, () => Service>()
  const health: Health = {
    processes: [],
    ready: false,
    check: (name, ask) => void checks.set(name, ask),
    report() {
      const services: Record<string, Service> = {}
      for (const process of health.processes) {
        if (process.state !== 'stopped') services[process.id] = ofProcess(process)
      }
      for (const [name, ask] of checks) {
        try {
          services[name] = ask()
        } catch (error) {
          services[name] = { status: 'unhealthy', detail: messageOf(error) }
        }
      }
      const all = Object.values(services).map((service) => service.status)
      const worst = (['unhealthy', 'degraded'] as const).find((status) => all.includes(status))
      return { status: worst ?? 'healthy', services, uptime: (clock.monotonic() - startedAt) / 1000 }
    },
    allReady() {
      // Front tells of control too, a moment later than control itself knows.
      const others = health.processes.filter((p) => p.kind !== 'control' && p.state !== 'stopped')
      // One instance serves everything: more that are on their way change nothing.
      const [instances, single] = [true, false].map((is) => others.filter((p) => (p.kind === 'instance') === is))
      const serves = instances!.length === 0 || instances!.some((p) => p.state === 'ready')
      return health.ready && serves && single!.every((p) => p.state === 'ready' || p.state === 'draining')
    },
  }
  return health
}

/** The present value of a gauge of this process; 0 when it has none. */
export function gaugeOf(telemetry: Telemetry, name: string): number {
  return telemetry.snapshot().find((family) => family.name === name)?.samples[0]?.value ?? 0
}

/** The store of metrics as its own gauges tell it. */
export function storeHealth(telemetry: Telemetry): Service {
  const gauge = (name: string) => gaugeOf(telemetry, name)
  if (gauge('metrics_disk_full') > 0) return { status: 'degraded', detail: 'the disk is full, samples are refused' }
  const damaged = gauge('metrics_damaged_files')
  return damaged > 0
    ? { status: 'degraded', detail: `${damaged} damaged files were set aside in the folder of metrics` }
    : { status: 'healthy' }
}

function ofProcess(process: ProcessStatus): Service {
  if (process.kind === 'control' || process.state === 'ready') {
    const restarted =
      process.restarts > 0 ? { detail: `restarted ${process.restarts} times, last: ${process.lastExit}` } : {}
    return { status: 'healthy', ...restarted }
  }
  // An instance that is added or leaves is what scaling does all day.
  if (process.kind === 'instance' && process.lastExit === null) return { status: 'healthy', detail: process.state }
  const why = process.lastExit === null ? '' : `, last: ${process.lastExit}`
  return { status: 'degraded', detail: `${process.state}${why}` }
}
