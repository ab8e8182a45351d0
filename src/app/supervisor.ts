/**
 * Starts the platform's processes, watches them, and starts again what ends.
 *
 *   starting ──listening, ready──▶ ready ──end──▶ backing_off ──▶ starting …
 *      └──────────────end──────────────────────────▲
 *   any ──stop, or drain: finish first, then stop──▶ draining ──end──▶ stopped
 *
 * The first restart is immediate. A process that keeps ending soon after its start is started after 0.25 s, 0.5 s,
 * 1 s … up to 15 s; one that was ready waits 1 s at most, and after a while of being ready it begins at zero again.
 * Every step is a `ProcessEvent`.
 * How a process is made is handed in, so that this file knows neither fork nor sockets.
 */
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { FromChild, ProcessEvent, ProcessKind, ProcessStatus, ToChild } from './ipc.ts'

/** A running process, as the supervisor needs it. */
export interface ProcessHandle {
  readonly pid: number
  send(message: ToChild): void
  kill(signal: 'SIGTERM' | 'SIGKILL'): void
}

export interface ProcessListener {
  onMessage(message: FromChild): void
  /** Called once, also when the process could not be started at all. `exit 1`, `signal SIGKILL`. */
  onEnd(how: string): void
}

export interface SupervisorOptions {
  readonly scheduler: Scheduler
  start(kind: ProcessKind, id: string, listener: ProcessListener): ProcessHandle | null
  onEvent(event: ProcessEvent): void
  /** After each change of any status. */
  onStatus(statuses: readonly ProcessStatus[]): void
  /** Messages other than `listening` and `ready`, which the supervisor takes in itself. */
  onMessage(id: string, kind: ProcessKind, message: FromChild): void
  onListening(id: string, kind: ProcessKind): void
  onReady(id: string, ready: boolean): void
  /** The process is gone, or about to be stopped for good. */
  onGone(id: string): void
  /** Requests under way at the process; null for what takes none. */
  inFlight(id: string): number | null
}

export interface Supervisor {
  add(kind: ProcessKind, id: string): void
  /** Stops one for good: `stop`, then SIGTERM at half of `limitMs`, SIGKILL at its end. Resolves when it has ended. */
  remove(id: string, limitMs: number): Promise<void>
  /** Like `remove`, after `finish` has let it end what it has; one that ends by itself meanwhile is not started again. */
  drain(id: string, finish: () => Promise<void>, limitMs: number): Promise<void>
  send(message: ToChild, except?: ProcessKind): void
  sendTo(id: string, message: ToChild): void
  statuses(): readonly ProcessStatus[]
  /** Stops all, last added first; those of one kind together, since however many there are, the time is the same. */
  stop(limitMs: number): Promise<void>
}

const BACK_OFF_MS = [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000]
/** One that gets ready serves in between: it is back within two seconds, however often it is killed. */
const BACK_OFF_READY_MS = 1_000
/** Ready for this long, an end is news and no longer part of a row of failed starts. */
const STEADY_MS = 3_000

interface Watched {
  readonly kind: ProcessKind
  readonly id: string
  handle: ProcessHandle | null
  state: ProcessStatus['state']
  startedAt: number | null
  /** Monotonic; null while it is not ready. */
  readySince: number | null
  restarts: number
  /** Ends in a row that came too soon. */
  failures: number
  lastExit: string | null
  next: Cancel | null
  /** It was told to stop. */
  told: boolean
  ended: (() => void)[]
}

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const { scheduler } = options
  const { clock } = scheduler
  const all = new Map<string, Watched>()
  let stopping = false

  const statuses = (): ProcessStatus[] =>
    [...all.values()].map(({ id, kind, handle, state, startedAt, readySince, restarts, lastExit }) => {
      const readyAt = readySince === null ? null : Math.round(clock.now() - (clock.monotonic() - readySince))
      return {
        id,
        kind,
        pid: handle?.pid ?? null,
        state,
        startedAt,
        readyAt,
        inFlight: options.inFlight(id),
        restarts,
        lastExit,
      }
    })
  const changed = () => options.onStatus(statuses())
  const tell = (process: string, type: ProcessEvent['type'], detail: string) =>
    options.onEvent({ at: clock.now(), process, type, detail })

  function start(watched: Watched) {
    watched.next = null
    watched.state = 'starting'
    watched.startedAt = clock.now()
    watched.readySince = null
    let over = false
    watched.handle = options.start(watched.kind, watched.id, {
      onMessage(message) {
        if (!over) hear(watched, message)
      },
      onEnd(how) {
        if (over) return
        over = true
        end(watched, how)
      },
    })
    if (over) return
    tell(watched.id, 'started', `pid ${watched.handle?.pid ?? 'unknown'}`)
    changed()
  }

  function hear(watched: Watched, message: FromChild) {
    if (message.kind === 'listening') {
      // One that is to leave gets no request, also when it has only just come.
      if (watched.state !== 'draining') options.onListening(watched.id, watched.kind)
    } else if (message.kind === 'ready') {
      options.onReady(watched.id, message.ready)
      if (watched.state !== 'starting' && watched.state !== 'ready') return
      const wasReady = watched.readySince !== null
      watched.state = message.ready ? 'ready' : 'starting'
      watched.readySince = message.ready ? (watched.readySince ?? clock.monotonic()) : null
      if (message.ready && !wasReady) {
        tell(watched.id, 'ready', `after ${((clock.now() - (watched.startedAt ?? 0)) / 1000).toFixed(2)} s`)
      }
      changed()
    } else options.onMessage(watched.id, watched.kind, message)
  }

  function end(watched: Watched, how: string) {
    const wasReady = watched.readySince !== null
    const steady = watched.readySince !== null && clock.monotonic() - watched.readySince >= STEADY_MS
    watched.handle = null
    watched.lastExit = how
    watched.readySince = null
    options.onGone(watched.id)
    tell(watched.id, 'exited', how)
    if (stopping || watched.state === 'draining') {
      watched.state = 'stopped'
      for (const ended of watched.ended) ended()
      changed()
      return
    }
    const backOff = BACK_OFF_MS[Math.min(steady ? 0 : watched.failures, BACK_OFF_MS.length - 1)]!
    const wait = wasReady ? Math.min(backOff, BACK_OFF_READY_MS) : backOff
    watched.failures = steady ? 1 : watched.failures + 1
    watched.restarts++
    watched.state = 'backing_off'
    watched.next = scheduler.after(wait, () => start(watched))
    tell(
      watched.id,
      'restarting',
      wait === 0 ? 'at once' : `in ${wait / 1000} s, ended ${watched.failures} times in a row`,
    )
    changed()
  }

  async function remove(watched: Watched, limitMs: number) {
    watched.next?.cancel()
    const { handle } = watched
    if (!handle) {
      watched.state = 'stopped'
      return changed()
    }
    const ended = new Promise<void>((resolve) => watched.ended.push(resolve))
    if (watched.state !== 'draining') {
      watched.state = 'draining'
      changed()
    }
    if (!watched.told) handle.send({ kind: 'stop' })
    watched.told = true
    const term = scheduler.after(limitMs / 2, () => handle.kill('SIGTERM'))
    const kill = scheduler.after(limitMs, () => handle.kill('SIGKILL'))
    await ended
    term.cancel()
    kill.cancel()
  }

  return {
    statuses,
    add(kind, id) {
      const nothing = { handle: null, startedAt: null, readySince: null, lastExit: null, next: null }
      const watched: Watched = {
        kind,
        id,
        ...nothing,
        state: 'starting',
        restarts: 0,
        failures: 0,
        told: false,
        ended: [],
      }
      all.set(id, watched)
      start(watched)
    },
    async remove(id, limitMs) {
      const watched = all.get(id)
      if (!watched) return
      await remove(watched, limitMs)
      all.delete(id)
      changed()
    },
    async drain(id, finish, limitMs) {
      const watched = all.get(id)
      if (!watched) return
      watched.next?.cancel()
      if (watched.handle) {
        watched.state = 'draining'
        tell(id, 'draining', `${options.inFlight(id) ?? 0} requests under way`)
        changed()
        const ended = new Promise<void>((resolve) => watched.ended.push(resolve))
        await Promise.race([finish(), ended])
      }
      await remove(watched, limitMs)
      all.delete(id)
      tell(id, 'drained', watched.lastExit ?? 'it had not started')
      changed()
    },
    send(message, except) {
      for (const watched of all.values()) if (watched.kind !== except) watched.handle?.send(message)
    },
    sendTo: (id, message) => all.get(id)?.handle?.send(message),
    async stop(limitMs) {
      const until = clock.monotonic() + limitMs
      stopping = true
      for (const watched of all.values()) watched.next?.cancel()
      // Each kind has an equal share of what is left, so that a slow one does not take the time of those behind it.
      const kinds = inOrder([...all.values()].reverse())
      for (const [i, group] of kinds.entries()) {
        const share = Math.max(0, (until - clock.monotonic()) / (kinds.length - i))
        await Promise.all(group.map((watched) => remove(watched, share)))
      }
    },
  }
}

/** Neighbours of the same kind in one group. */
function inOrder(all: readonly Watched[]): Watched[][] {
  const groups: Watched[][] = []
  for (const watched of all) {
    const last = groups.at(-1)
    if (last?.[0]?.kind === watched.kind) last.push(watched)
    else groups.push([watched])
  }
  return groups
}
