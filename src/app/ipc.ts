/**
 * What front and its children say to each other over the IPC channel of `fork`. Requests never travel here: they go
 * through the Unix sockets. A child whose channel closes has lost its parent: it finishes what is answered, and exits.
 */
import type { TelemetryFamily } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'

export type ProcessKind = 'control' | 'instance' | 'market-writer'

/** A process as `/health` and the dashboard show it. */
export interface ProcessStatus {
  readonly id: string
  readonly kind: ProcessKind
  readonly pid: number | null
  readonly state: 'starting' | 'ready' | 'draining' | 'backing_off' | 'stopped'
  readonly startedAt: Millis | null
  /** Since when it is ready; null while it is not. */
  readonly readyAt: Millis | null
  /** Requests under way at front; null for what takes none. */
  readonly inFlight: number | null
  readonly restarts: number
  /** Why the last one ended: `exit 1`, `signal SIGKILL`. */
  readonly lastExit: string | null
}

/** Something that happened to a process; becomes an event on the charts, and alerting sees it. */
export interface ProcessEvent {
  readonly at: Millis
  readonly process: string
  readonly type: 'started' | 'ready' | 'exited' | 'restarting' | 'draining' | 'drained'
  readonly detail: string
}

/** Rate, errors and duration of one window, as clients of front saw them. A window without requests has null quantiles. */
export interface EdgeWindow {
  /** End of the window. */
  readonly at: Millis
  readonly seconds: number
  readonly requests: number
  /** Answers with status 5xx. */
  readonly errors: number
  readonly p50Ms: number | null
  readonly p95Ms: number | null
  readonly p99Ms: number | null
  /** Open client connections at the end. */
  readonly connections: number
}

export type ToChild =
  /** Values of configuration that changed; the whole snapshot as plain data. */
  | { readonly kind: 'config'; readonly snapshot: unknown }
  | { readonly kind: 'processes'; readonly processes: readonly ProcessStatus[] }
  /** After each change, and when control starts: what front was last told, 0 fence when nothing. */
  | { readonly kind: 'instances'; readonly wanted: number; readonly fence: number }
  | { readonly kind: 'event'; readonly event: ProcessEvent }
  /** Every 5 s. */
  | { readonly kind: 'edge'; readonly window: EdgeWindow; readonly telemetry: readonly TelemetryFamily[] }
  /** Finish open requests, make all durable, exit 0. */
  | { readonly kind: 'stop' }

export type FromChild =
  /** The child listens on its socket; it may still be replaying. */
  | { readonly kind: 'listening' }
  | { readonly kind: 'ready'; readonly ready: boolean }
  /** From control alone: configuration was changed through the API, hand it to everyone. */
  | { readonly kind: 'config'; readonly snapshot: unknown }
  /**
   * From control alone: so many instances are wanted. Front starts what is missing and drains what is too many, and keeps
   * the number while control is away. A fence smaller than the largest it has seen is left alone.
   */
  | { readonly kind: 'instances'; readonly wanted: number; readonly fence: number }
  /** Lines for the person at the console of front: never logged. */
  | { readonly kind: 'notice'; readonly lines: readonly string[] }
