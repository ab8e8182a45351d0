/**
 * Front: the process that the operator starts. It takes the data directory, opens the port, starts the other processes
 * and starts them again when they end, and hands every request to the one it is for. It knows no domain.
 *
 *   lock ─▶ logs ─▶ listen ─▶ supervisor (fork control) ─▶ … ─▶ SIGTERM or SIGINT
 *   stop, within 10 s:  no new connection ─▶ requests under way finish ─▶ children, last started first ─▶ logs ─▶ unlock
 *
 * Everything here runs on the event loop that carries all requests: nothing may block it.
 */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import { measureRuntime } from '../base/runtime.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { SECOND } from '../base/time.ts'
import type { EdgeConfig } from '../edge/index.ts'
import { createBalancer, createEdge, routeTable } from '../edge/index.ts'
import type { Fleet } from './fleet.ts'
import { createFleet } from './fleet.ts'
import type { DirectoryLock } from './front-lock.ts'
import { DirectoryTaken, lockDirectory } from './front-lock.ts'
import type { FrontLogs, LogSettings } from './front-logs.ts'
import { openLogs } from './front-logs.ts'
import type { FromChild, ProcessEvent, ProcessKind } from './ipc.ts'
import { performanceLine } from './log.ts'
import type { ProcessHandle, ProcessListener } from './supervisor.ts'
import { createSupervisor } from './supervisor.ts'
import { platformUrl } from './urls.ts'

/** What front needs of the configuration. */
export interface FrontSettings {
  readonly host: string
  readonly port: number
  /** Where people reach it when a reverse proxy stands before it. */
  readonly publicUrl: string | null
  /** Absolute, as is `logDir`. */
  readonly dataDir: string
  readonly logDir: string
  readonly log: LogSettings
  readonly edge: EdgeConfig
}

export interface FrontOptions {
  readonly settings: FrontSettings
  /** Reads the same from a snapshot that control sent; null when it holds nothing that front knows. */
  readSnapshot(snapshot: unknown): FrontSettings | null
  /** The program that is forked with `--process KIND`: `dist/main.js`. */
  readonly entry: string
  /** Processes to start, in this order. */
  readonly processes: readonly { readonly kind: ProcessKind; readonly id: string }[]
  /** How many instances there are until control wants another number; null: this platform has none, ever. */
  readonly instances: number | null
  /** The environment of the processes; this process's own when absent. */
  readonly environment?: NodeJS.ProcessEnv
}

const STOP_MS = 10 * SECOND
/** Of those: for requests to finish, for children to make all durable. The rest is for the logs. */
const STOP_REQUESTS_MS = 3.5 * SECOND
const STOP_CHILDREN_MS = 4.5 * SECOND
const WINDOW_MS = 5 * SECOND
const MISSED_MAX = 1_000

/** How long a leaving instance may take for what it has; then its WebSockets are closed. */
const DRAIN_MS = 10 * SECOND
const REMOVE_MS = 5 * SECOND

/** What the market's instances answer; everything else is control's. */
const MARKET_PREFIXES = [
  '/api/v1/auth',
  '/api/v1/users',
  '/api/v1/markets',
  '/api/v1/trades',
  '/api/v1/orders',
  '/api/v1/positions',
  '/api/v1/leaderboard',
  '/ws/market',
]

const tableOf = (hasInstances: boolean) =>
  routeTable([
    { prefix: '/', kind: 'control' },
    { prefix: '/health', kind: 'control', monitoring: true },
    { prefix: '/ready', kind: 'control', monitoring: true },
    { prefix: '/metrics', kind: 'control', monitoring: true },
    { prefix: '/api/v1/write', kind: 'control', body: 'ingest' },
    { prefix: '/v1/metrics', kind: 'control', body: 'ingest' },
    { prefix: '/api/v1/import', kind: 'control', body: 'ingest' },
    { prefix: '/api/v1/advanced-analytics/data-points', kind: 'control', body: 'ingest' },
    ...(hasInstances ? MARKET_PREFIXES.map((prefix) => ({ prefix, kind: 'instance' })) : []),
  ])

/** Runs until the platform is stopped; answers the exit code. Says why, in one sentence, when it cannot start. */
export async function runFront(options: FrontOptions): Promise<number> {
  const { settings } = options
  const { dataDir } = settings
  const scheduler = systemScheduler((error) => logs.log.error('a task failed', { error }))
  const asked = new Promise<string>((stop) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stop(signal))
  })

  let lock: DirectoryLock
  let runDir: string
  try {
    fs.mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    lock = await lockDirectory(dataDir, scheduler, STOP_MS + 2 * SECOND)
    runDir = makeRunFolder(dataDir)
  } catch (error) {
    return refuse(error instanceof DirectoryTaken ? error.message : cannotUse('data', dataDir, error))
  }
  const logs = openLogs(settings.logDir, settings.log, scheduler)
  const { log } = logs
  // Requests cannot throw past their exchange; whatever else throws here must not end every process of the platform.
  process.on('uncaughtException', (error) => log.error('a fault in front', { error }))

  const telemetry = createTelemetry()
  const balancer = createBalancer(scheduler)
  const table = tableOf(options.instances !== null)
  const edge = createEdge({ config: settings.edge, table, balancer, telemetry, scheduler, log })
  let port: number
  try {
    port = await edge.listen(settings.host, settings.port)
  } catch (error) {
    lock.release()
    await logs.close()
    return refuse(cannotListen(settings, error))
  }
  const address = platformUrl({ ...settings, publicUrl: null, port })
  lock.listens(address)
  log.info('front listens', { address, pid: process.pid, data_dir: dataDir })

  let wasReady = false
  let lastSnapshot: unknown = null
  /** What happened while control was away: it is told when it is back, and stores it. */
  const missed: ProcessEvent[] = []
  const supervisor = createSupervisor({
    scheduler,
    start(kind, id, listener) {
      const socketPath = join(runDir, `${id}.sock`)
      fs.rmSync(socketPath, { force: true })
      const handle = forkProcess(options, kind, id, socketPath, address, listener, logs)
      if (lastSnapshot !== null && kind !== 'control') handle?.send({ kind: 'config', snapshot: lastSnapshot })
      if (kind === 'control') {
        for (const event of missed.splice(0)) handle?.send({ kind: 'event', event })
        if (fleet) handle?.send({ kind: 'instances', wanted: fleet.wanted, fence: fleet.fence })
      }
      return handle
    },
    onListening: (id, kind) => balancer.add(id, kind, join(runDir, `${id}.sock`)),
    onReady(id, ready) {
      balancer.setReady(id, ready)
      if (!ready || wasReady || id !== options.processes[0]?.id) return
      wasReady = true
      logs.notice([`The platform is ready: ${platformUrl({ ...settings, port })}   (Ctrl-C stops it)`])
    },
    onGone: (id) => balancer.remove(id),
    inFlight: (id) => balancer.targets().find((target) => target.id === id)?.inFlight ?? null,
    onStatus: (processes) => supervisor.send({ kind: 'processes', processes }),
    onEvent(event) {
      const level = event.type === 'exited' && !stopping ? 'warn' : 'info'
      log[level](`process ${event.process} ${event.type}`, { detail: event.detail })
      supervisor.send({ kind: 'event', event })
      if (isControlAway()) {
        missed.push(event)
        if (missed.length > MISSED_MAX) missed.shift()
      }
      if (event.type !== 'restarting') return
      const help = 'Times that a process was started again.'
      const name = 'process_restarts_total'
      telemetry.counter(name, help, { child: event.process }).add()
    },
    onMessage(_id, kind, message) {
      if (message.kind === 'notice') logs.notice(message.lines)
      if (kind !== 'control') return
      if (message.kind === 'instances' && fleet && !stopping && !fleet.want(message.wanted, message.fence)) {
        log.warn('a number of instances was left alone', { wanted: message.wanted, fence: message.fence })
      }
      if (message.kind !== 'config') return
      lastSnapshot = message.snapshot
      const next = options.readSnapshot(message.snapshot)
      if (next) {
        logs.configure(next.log)
        edge.configure(next.edge)
      }
      supervisor.send({ kind: 'config', snapshot: message.snapshot }, 'control')
    },
  })
  const isControlAway = () => supervisor.statuses().some(({ kind, pid }) => kind === 'control' && pid === null)
  const isControlReady = () => supervisor.statuses().some(({ kind, state }) => kind === 'control' && state === 'ready')
  let stopping = false
  let fleet: Fleet | null = null
  for (const { kind, id } of options.processes) supervisor.add(kind, id)
  if (options.instances !== null) {
    fleet = createFleet(options.instances, {
      start: (id) => supervisor.add('instance', id),
      drain: (id) => supervisor.drain(id, () => balancer.drain(id, DRAIN_MS), REMOVE_MS),
      onWanted(wanted, fence) {
        log.info('instances wanted', { wanted, fence })
        supervisor.sendTo('control', { kind: 'instances', wanted, fence })
      },
    })
  }

  const timers = [
    scheduler.every(WINDOW_MS, () => {
      // While control is away the window goes on: what clients saw then is what matters most. One that is starting may
      // end before it has heard anything.
      if (!isControlReady()) return
      supervisor.sendTo('control', { kind: 'edge', window: edge.closeWindow(), telemetry: telemetry.snapshot() })
      // Requests under way change without an event.
      supervisor.send({ kind: 'processes', processes: supervisor.statuses() })
    }),
    performanceLine(log, scheduler, () => edge.figures()),
    measureRuntime(telemetry, scheduler, 'front'),
  ]

  const signal = await asked
  stopping = true
  log.info('stopping', { signal })
  lock.leaving()
  for (const timer of timers) timer.cancel()
  await edge.stop(STOP_REQUESTS_MS)
  await supervisor.stop(STOP_CHILDREN_MS)
  const unclean = supervisor.statuses().filter((status) => status.lastExit !== 'exit 0')
  if (unclean.length === 0) log.info('stopped')
  else log.warn('stopped, not all in order', { ends: unclean.map(({ id, lastExit }) => `${id}: ${lastExit}`) })
  fs.rmSync(runDir, { recursive: true, force: true })
  lock.release()
  await logs.close()
  return unclean.length === 0 ? 0 : 1
}

/**
 * Each thread of a process may otherwise take 48 MiB for young objects before it looks for garbage. With 4 MiB a space
 * control is 30 MiB smaller when idle, and storing samples costs no more CPU.
 */
const SMALL_HEAP = ['--max-semi-space-size=4']

function forkProcess(
  { entry, environment }: FrontOptions,
  kind: ProcessKind,
  id: string,
  socketPath: string,
  address: string,
  listener: ProcessListener,
  logs: FrontLogs,
): ProcessHandle | null {
  const args = ['--process', kind, '--id', id, '--socket', socketPath, '--address', address]
  const child = fork(entry, args, {
    execArgv: [...process.execArgv, ...SMALL_HEAP],
    ...(environment && { env: environment }),
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  child.on('error', (error) => {
    if (child.pid === undefined) listener.onEnd(messageOf(error))
  })
  child.on('exit', (code, signal) => listener.onEnd(signal ? `signal ${signal}` : `exit ${code}`))
  child.on('message', (message: FromChild) => listener.onMessage(message))
  if (child.stdout && child.stderr) logs.adopt(id, child.stdout, child.stderr)
  if (child.pid === undefined) return null
  return {
    pid: child.pid,
    send(message) {
      // A child that ends meanwhile is no error: its end is told by `exit`.
      if (child.connected) child.send(message, () => {})
    },
    kill: (signal) => void child.kill(signal),
  }
}

/** Longest path of a Unix socket, of all systems (Linux 107, macOS 103). */
const SOCKET_PATH_MAX = 103
const LONGEST_NAME = 'market-writer.sock'

/** Where the Unix sockets are: in the data directory, or in a short folder of our own when that path is too long. */
function makeRunFolder(dataDir: string): string {
  let folder = join(dataDir, 'run')
  if (Buffer.byteLength(join(folder, LONGEST_NAME)) > SOCKET_PATH_MAX) {
    folder = join(tmpdir(), `opinion-market-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`)
  }
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder, { mode: 0o700 })
  return folder
}

function refuse(sentence: string): number {
  process.stderr.write(`${sentence}\n`)
  return 1
}

function cannotUse(what: string, folder: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  const why =
    code === 'EACCES' || code === 'EPERM'
      ? 'this user may not write there'
      : code === 'EROFS'
        ? 'the file system is read-only'
        : code === 'ENOSPC'
          ? 'the disk is full'
          : code === 'ENOTDIR' || code === 'EEXIST'
            ? 'something on that path is not a folder'
            : messageOf(error)
  return `The ${what} directory ${folder} cannot be used: ${why}.`
}

function cannotListen({ host, port }: FrontSettings, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') return `Port ${port} on ${host} is in use by another program; set PORT to a free one.`
  if (code === 'EACCES') return `Port ${port} on ${host} may not be opened by this user; set PORT to one above 1023.`
  if (code === 'EADDRNOTAVAIL') return `The address ${host} is not one of this machine; set HOST to one that is.`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `The host name ${host} is not known; set HOST to an address.`
  return `Port ${port} on ${host} cannot be opened: ${messageOf(error)}.`
}
