/**
 * The platform's own instances: front starts and drains them, and tells how they are. What is wanted goes to front and
 * comes back from it as an echo; only the echo says that it was taken. Front keeps the number while control is away.
 */
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import { type Millis, SECOND } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'
import { checkWanted, countsOf, type Driver, Fenced } from './driver.ts'
import { type Use, UseMeter } from './proc.ts'

/** A process of front that takes requests. */
export interface PlatformInstance {
  readonly id: string
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped'
  readonly startedAt: Millis | null
  readonly readyAt: Millis | null
  readonly inFlight: number | null
  /** On this machine, where it is measured. */
  readonly pid: number | null
}

export interface Told {
  readonly wanted: number
  readonly fence: number
}

/** Front, as control hands it in. */
export interface PlatformPort {
  instances(): readonly PlatformInstance[]
  /** What front was last told, by its own word; null until it has said so. */
  told(): Told | null
  /** Hears of every change of `told`. */
  onTold(listener: (told: Told) => void): Cancel
  send(told: Told): void
}

const ECHO_WITHIN_MS = 5 * SECOND

export function platformDriver(port: PlatformPort, scheduler: Scheduler): Driver {
  const meter = new UseMeter()
  return {
    kind: 'platform',
    async observe() {
      const instances = port
        .instances()
        .filter(({ state }) => state !== 'stopped')
        .map((instance) => viewOf(instance, useOf(meter, instance, scheduler.clock.monotonic())))
      meter.keep(new Set(instances.map(({ id }) => id)))
      const told = port.told()
      if (told === null) throw new Error('front has not told yet how many instances it keeps')
      // Front that was never told keeps a number of its own: not a wish of anybody.
      const wanted = told.fence === 0 ? null : told.wanted
      return { at: scheduler.clock.now(), ...countsOf(instances), wanted, conflict: null, trouble: null }
    },
    async scale(wanted, fence) {
      checkWanted(wanted, fence, port.told()?.fence ?? 0)
      await new Promise<void>((resolve, reject) => {
        const end = (settle: () => void) => {
          listening.cancel()
          limit.cancel()
          settle()
        }
        const listening = port.onTold((told) => {
          if (told.fence > fence) end(() => reject(new Fenced(told.fence, fence)))
          else if (told.fence === fence && told.wanted === wanted) end(resolve)
        })
        const limit = scheduler.after(ECHO_WITHIN_MS, () => {
          end(() => reject(new Error(`front did not take the number of instances within ${ECHO_WITHIN_MS / SECOND} s`)))
        })
        port.send({ wanted, fence })
      })
    },
    async close() {},
  }
}

const useOf = (meter: UseMeter, { id, pid }: PlatformInstance, monotonicMs: number): Use =>
  pid === null ? { cpu: null, memory: null } : meter.read(id, pid, monotonicMs)

const viewOf = ({ id, state, startedAt, readyAt, inFlight }: PlatformInstance, use: Use): InstanceView => ({
  id,
  provider: 'platform',
  state,
  startedAt,
  readyAt,
  inFlight,
  ...use,
})
