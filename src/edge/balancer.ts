/**
 * Who takes the next request: the ready process of a kind with the least requests in flight, the longest unasked first
 * among equals.
 *
 *   (absent) ──add──▶ open ──ready──▶ open, ready ──drain──▶ draining: no new request, finishes what it has ──▶ gone
 *
 * A process that listens without being ready is asked only when no other one is ready: it knows best what to answer
 * (control says 503 with a reason while it replays). Requests that find nobody may wait a moment for somebody.
 */
import { Agent } from 'node:http'
import type { Scheduler } from '../base/scheduler.ts'

/** A WebSocket that passes through front. */
export interface Upgraded {
  /** Sends a close frame where the stream allows it, and ends the connection. */
  close(code: number, reason: string): void
}

export interface Target {
  readonly id: string
  readonly kind: string
  readonly socketPath: string
  /** Keeps connections to this process; a connection left idle is dropped before the process would drop it. */
  readonly agent: Agent
  readonly sockets: Set<Upgraded>
  inFlight: number
  ready: boolean
  draining: boolean
  lastAsked: number
}

export interface Balancer {
  /** The process listens on its socket. */
  add(id: string, kind: string, socketPath: string): void
  setReady(id: string, ready: boolean): void
  /** The process is gone: its connections are closed, its WebSockets get 1012. */
  remove(id: string): void
  /** No new request; resolves when it has none, or after `limitMs`, when its WebSockets were closed with 1012. */
  drain(id: string, limitMs: number): Promise<void>
  /** Null when nobody of this kind takes requests. The caller counts `inFlight`. */
  pick(kind: string, not?: Target): Target | null
  /** Like `pick`, waiting up to `ms` for somebody; at once null when too many wait already. */
  waitFor(kind: string, ms: number, signal: AbortSignal): Promise<Target | null>
  targets(): readonly Target[]
  readonly waiting: number
}

/** Most requests that wait for a process to come back; each holds a connection and little else. */
const WAITING_MAX = 2_000
const DRAIN_POLL_MS = 50
/** Less than any process keeps an idle connection: one that it closes must not meet a request on its way. */
const IDLE_MS = 4_000

export function createBalancer(scheduler: Scheduler): Balancer {
  const targets = new Map<string, Target>()
  const waiters = new Set<{ kind: string; wake(): void }>()
  let asked = 0

  const wake = (kind: string) => {
    for (const waiter of [...waiters]) if (waiter.kind === kind) waiter.wake()
  }

  function pick(kind: string, not?: Target): Target | null {
    let best: Target | null = null
    for (const target of targets.values()) {
      if (target.kind !== kind || target.draining || target === not) continue
      if (best === null || isBetter(target, best)) best = target
    }
    if (best) best.lastAsked = ++asked
    return best
  }

  return {
    pick,
    add(id, kind, socketPath) {
      if (targets.has(id)) return
      const agent = new Agent({ keepAlive: true, maxFreeSockets: 256, scheduling: 'lifo', timeout: IDLE_MS })
      const empty = { inFlight: 0, ready: false, draining: false, lastAsked: 0 }
      targets.set(id, { id, kind, socketPath, agent, sockets: new Set(), ...empty })
      wake(kind)
    },
    setReady(id, ready) {
      const target = targets.get(id)
      if (target) target.ready = ready
    },
    remove(id) {
      const target = targets.get(id)
      if (!target) return
      targets.delete(id)
      target.draining = true
      for (const socket of target.sockets) socket.close(1012, 'service restart')
      target.agent.destroy()
    },
    async drain(id, limitMs) {
      const target = targets.get(id)
      if (!target) return
      target.draining = true
      const until = scheduler.clock.monotonic() + limitMs
      while ((target.inFlight > 0 || target.sockets.size > 0) && scheduler.clock.monotonic() < until) {
        await scheduler.sleep(DRAIN_POLL_MS)
      }
      for (const socket of target.sockets) socket.close(1012, 'service restart')
    },
    waitFor(kind, ms, signal) {
      const now = pick(kind)
      if (now || waiters.size >= WAITING_MAX || signal.aborted) return Promise.resolve(now)
      return new Promise((resolve) => {
        const end = () => {
          waiters.delete(waiter)
          timer.cancel()
          signal.removeEventListener('abort', end)
          resolve(signal.aborted ? null : pick(kind))
        }
        const waiter = { kind, wake: end }
        const timer = scheduler.after(ms, end)
        signal.addEventListener('abort', end, { once: true })
        waiters.add(waiter)
      })
    },
    targets: () => [...targets.values()],
    get waiting() {
      return waiters.size
    },
  }
}

function isBetter(a: Target, b: Target): boolean {
  if (a.ready !== b.ready) return a.ready
  if (a.inFlight !== b.inFlight) return a.inFlight < b.inFlight
  return a.lastAsked < b.lastAsked
}
