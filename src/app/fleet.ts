/**
 * The instances that front keeps: as many as were last wanted, whoever of front's children is away meanwhile.
 *
 *   (absent) ──want more──▶ starting ▶ ready ──want fewer, newest first──▶ draining ──nothing under way──▶ stopped ▶ gone
 *
 * A draining instance gets no new request and finishes what it has; its WebSockets are closed with 1012 after a while.
 * Orders carry a fence: one that is smaller than the largest seen comes from an owner of this duty that no longer is.
 * How a process is started, drained and stopped is handed in.
 */
export interface FleetOptions {
  /** Starts `instance-N`. */
  start(id: string): void
  /** Lets the instance finish, and stops it for good; resolves when it has ended. */
  drain(id: string): Promise<void>
  /** After each change of the number. */
  onWanted(wanted: number, fence: number): void
}

export interface Fleet {
  readonly wanted: number
  readonly fence: number
  /** False when the fence is too old, or the number none. */
  want(wanted: number, fence: number): boolean
}

/** A slip of the one who asks must not fill the machine. */
export const INSTANCES_MAX = 1_000

export function createFleet(initial: number, options: FleetOptions): Fleet {
  /** In the order of their start; the last is the first to leave. */
  const running: string[] = []
  const leaving = new Set<string>()
  let wanted = 0
  let fence = 0

  function freeId(): string {
    for (let n = 1; ; n++) {
      const id = `instance-${n}`
      if (!running.includes(id) && !leaving.has(id)) return id
    }
  }

  function settle() {
    while (running.length < wanted) {
      const id = freeId()
      running.push(id)
      options.start(id)
    }
    while (running.length > wanted) {
      const id = running.pop()!
      leaving.add(id)
      options.drain(id).finally(() => leaving.delete(id))
    }
  }

  const fleet: Fleet = {
    get wanted() {
      return wanted
    },
    get fence() {
      return fence
    },
    want(number, by) {
      if (by < fence || !Number.isInteger(number)) return false
      fence = by
      const next = Math.min(INSTANCES_MAX, Math.max(1, number))
      if (next === wanted) return true
      wanted = next
      settle()
      options.onWanted(wanted, fence)
      return true
    },
  }
  fleet.want(initial, 0)
  return fleet
}
