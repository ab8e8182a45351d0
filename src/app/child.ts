/**
 * A child's side of the channel to front: what any process that front forks (`control`, `instance`,
 * `market-writer`) starts with.
 *
 *   const child = connectToParent(process.argv)      argv: … --process control --id control --socket /…/control.sock …
 *   child.onStop(() => server.close())               hooks run last registered first, each waited for
 *   child.listening(); child.ready(true)
 *
 * A child obeys its parent alone: Ctrl-C reaches the whole process group, so SIGINT, SIGTERM and SIGHUP are left to
 * front, which sends `stop`. When the channel closes the parent is gone (killed, crashed): the child stops by the same
 * hooks, so that what was answered is durable, and exits; nothing outlives a killed front.
 */
import { messageOf } from '../base/errors.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import { systemScheduler } from '../base/scheduler.ts'
import type { TelemetryFamily } from '../base/telemetry.ts'
import type { EdgeWindow, FromChild, ProcessEvent, ProcessKind, ProcessStatus, ToChild } from './ipc.ts'

export interface Child {
  readonly kind: ProcessKind
  /** `control`, `instance-2`: the name in logs, statuses and events. */
  readonly id: string
  /** The Unix socket to listen on. A file of that name left by a former run is removed already. */
  readonly socketPath: string
  /** Where front listens for clients: `http://127.0.0.1:8000`. */
  readonly address: string

  /**
   * Adds a step of stopping: finish open requests, make all durable. Steps run last registered first, each waited
   * for; then the process exits 0. A step that throws is logged and the others still run (exit 1).
   */
  onStop(step: () => void | Promise<void>): void
  /** The whole snapshot of configuration, each time that it changed. */
  onConfig(listener: (snapshot: unknown) => void): void
  onProcesses(listener: (processes: readonly ProcessStatus[]) => void): void
  onEvent(listener: (event: ProcessEvent) => void): void
  onEdge(listener: (window: EdgeWindow, telemetry: readonly TelemetryFamily[]) => void): void
  /** How many instances front keeps, by which fence: after each change, and when this process starts. To control alone. */
  onInstances(listener: (wanted: number, fence: number) => void): void

  /** The server listens on `socketPath`: front may send requests. */
  listening(): void
  /** Whether the process can do its work. Requests reach it either way once it listens. */
  ready(ready: boolean): void
  /** From control alone: front hands it to every process. */
  config(snapshot: unknown): void
  /** From control alone: so many instances are wanted. One with a smaller fence than front has seen is left alone. */
  instances(wanted: number, fence: number): void
  /** Lines that front prints on its console for the person who started the platform (a login link). Never logged. */
  notice(lines: readonly string[]): void
}

/** The arguments that front gives a child; null when this process is not one. */
export function childArguments(argv: readonly string[]): Pick<Child, 'kind' | 'id' | 'socketPath' | 'address'> | null {
  const value = (name: string): string | undefined => {
    const at = argv.indexOf(name)
    return at < 0 ? undefined : argv[at + 1]
  }
  const kind = value('--process')
  const socketPath = value('--socket')
  if (kind !== 'control' && kind !== 'instance' && kind !== 'market-writer') return null
  return socketPath ? { kind, id: value('--id') ?? kind, socketPath, address: value('--address') ?? '' } : null
}

/** What a process that is stopping may take in all before it leaves anyhow; front sends SIGKILL a little later. */
const STOP_LIMIT_MS = 9_000

export function connectToParent(argv: readonly string[], scheduler: Scheduler = systemScheduler(report)): Child {
  const given = childArguments(argv)
  if (!given || !process.send) throw new Error('this process has to be started by `opinion-market serve`')

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {})
  // A dead parent does not read our log: losing lines then is right, crashing on them is not.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

  const steps: (() => void | Promise<void>)[] = []
  const config = listeners<[unknown]>()
  const processes = listeners<[readonly ProcessStatus[]]>()
  const events = listeners<[ProcessEvent]>()
  const edge = listeners<[EdgeWindow, readonly TelemetryFamily[]]>()
  const instances = listeners<[number, number]>()

  let stopping: Cancel | null = null
  async function stop() {
    if (stopping) return
    stopping = scheduler.after(STOP_LIMIT_MS, () => process.exit(1))
    let code = 0
    for (let step = steps.pop(); step; step = steps.pop()) {
      try {
        await step()
      } catch (error) {
        report(error)
        code = 1
      }
    }
    process.exit(code)
  }

  process.on('disconnect', stop)
  process.on('message', (message: ToChild) => {
    if (message.kind === 'stop') stop()
    else if (message.kind === 'config') config.tell(message.snapshot)
    else if (message.kind === 'processes') processes.tell(message.processes)
    else if (message.kind === 'event') events.tell(message.event)
    else if (message.kind === 'edge') edge.tell(message.window, message.telemetry)
    else if (message.kind === 'instances') instances.tell(message.wanted, message.fence)
  })
  const send = (message: FromChild) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => {})
  }

  return {
    ...given,
    onStop: (step) => void steps.push(step),
    onConfig: config.add,
    onProcesses: processes.add,
    onEvent: events.add,
    onEdge: edge.add,
    onInstances: instances.add,
    listening: () => send({ kind: 'listening' }),
    ready: (ready) => send({ kind: 'ready', ready }),
    config: (snapshot) => send({ kind: 'config', snapshot }),
    instances: (wanted, fence) => send({ kind: 'instances', wanted, fence }),
    notice: (lines) => send({ kind: 'notice', lines }),
  }
}

/** Messages that come before somebody listens are kept (the last 100), and handed over then. */
function listeners<A extends unknown[]>() {
  const all: ((...args: A) => void)[] = []
  let early: A[] = []
  return {
    add(listener: (...args: A) => void) {
      all.push(listener)
      for (const args of early) listener(...args)
      early = []
    },
    tell(...args: A) {
      if (all.length === 0) early = [...early.slice(-99), args]
      for (const listener of all) listener(...args)
    },
  }
}

function report(error: unknown) {
  const text = error instanceof Error && error.stack ? error.stack : messageOf(error)
  process.stderr.write(`${text}\n`)
}
