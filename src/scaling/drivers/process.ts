/**
 * Instances as processes of this machine: any command. The driver keeps as many as are wanted.
 *
 *   (none) ──spawn──▶ starting ──ready check 2xx──▶ ready ──too many──▶ draining ──▶ (gone)
 *                        │  not ready in time, or ended            │ check fails for long: replaced
 *                        └──▶ backing_off: 0.5 s, 1 s, 2 s … 60 s, then the next try
 *
 *   draining: out of the endpoints file, linger, drain call until it answers 200 (or a signal), SIGTERM, at last SIGKILL
 *
 * What runs outlives a killed control: every instance stands in a ledger (on disk) before it is spawned, and with its
 * process number and start time right after. The next driver of the target adopts what lives and ends what it does not
 * know: a process that was spawned but not yet written down is found by the mark in its environment.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, renameSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { messageOf } from '../../base/errors.ts'
import { newId } from '../../base/id.ts'
import type { Log } from '../../base/log.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { SECOND } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'
import type { ProcessSettings } from '../targets.ts'
import { ask } from './ask.ts'
import { checkWanted, countsOf, type Driver, type LedgerRow, type ProcessLedger, type ProcessName } from './driver.ts'
import { bootId, isAlive, leadersWith, nameOf, type ProcessUsage, usageOf } from './proc.ts'

export interface ProcessDriverOptions {
  readonly target: string
  readonly settings: ProcessSettings
  readonly ledger: ProcessLedger
  readonly scheduler: Scheduler
  readonly log: Log
  /** Variables of the environment that every instance gets (PATH and the like). */
  readonly environment: Readonly<Record<string, string>>
  /** Says apart the instances of two platforms on one machine: a name of the data directory. */
  readonly place: string
  onEvent?(event: ProcessDriverEvent): void
}

export interface ProcessDriverEvent {
  readonly instance: string
  readonly type: 'started' | 'ready' | 'ended' | 'draining' | 'adopted'
  readonly detail: string
}

interface Instance {
  row: LedgerRow
  child: ChildProcess | null
  state: 'starting' | 'ready' | 'draining'
  /** Monotonic: since when it is in `starting`. */
  since: number
  nextCheck: number
  checking: boolean
  /** Ready checks that failed in a row, of one that was ready. */
  misses: number
  lastEnd: string | null
  used: { at: number; usage: ProcessUsage } | null
  cpu: number | null
  memory: number | null
}

const TICK_MS = 100
const BACK_OFF_MS = 500
const BACK_OFF_MAX_MS = 60 * SECOND
/** Ready for this long, an end is news and no longer part of a row of failed starts. */
const STEADY_MS = 10 * SECOND
const MISSES_MAX = 3
const USAGE_EVERY_MS = 5 * SECOND
const LOG_BYTES_MAX = 8 << 20
const MARK = 'OM_INSTANCE'

/** Adopts what runs already. Throws an Error where processes cannot be told apart (no /proc). */
export function processDriver(options: ProcessDriverOptions): Driver {
  const { target, settings, ledger, scheduler, log, environment, place } = options
  const { clock } = scheduler
  const boot = bootId() ?? ''
  if (boot === '') throw new Error(`${target}: instances as processes need Linux with /proc`)
  const tell = options.onEvent ?? (() => {})
  const all = new Map<string, Instance>()
  const mark = (id: string) => `${place}/${target}/${id}`
  let failures = 0
  let blockedUntil = 0
  let starting = false
  let closed = false
  let endpoints = ''

  adopt()
  publish()
  const timer = scheduler.every(TICK_MS, tick)

  // ---------------------------------------------------------------------------------------------- adoption

  function adopt(): void {
    const marked = leadersWith(MARK)
    const ours = new Set<string>()
    for (const row of ledger.rows()) {
      ours.add(mark(row.id))
      const pid = marked.get(mark(row.id))
      const name = row.process ?? (pid === undefined ? null : nameOf(pid, boot))
      if (name === null || !isAlive(name, boot)) {
        ledger.remove(row.id)
        continue
      }
      const instance = add({ ...row, process: name }, null)
      ledger.put(instance.row)
      tell({ instance: row.id, type: 'adopted', detail: `process ${name.pid}` })
      if (row.draining) void drain(instance)
    }
    // Started by a control that died before it wrote that down, in a ledger that was lost since.
    for (const [value, pid] of marked) {
      if (!value.startsWith(`${place}/${target}/`) || ours.has(value)) continue
      log.warn('a process of this target that nobody knows is ended', { target, pid })
      signalGroup(pid, 'SIGKILL')
    }
  }

  function add(row: LedgerRow, child: ChildProcess | null): Instance {
    const now = clock.monotonic()
    const state = row.draining ? 'draining' : row.readyAt === null ? 'starting' : 'ready'
    const instance: Instance = {
      row,
      child,
      state,
      since: now,
      nextCheck: now,
      checking: false,
      misses: 0,
      lastEnd: null,
      used: null,
      cpu: null,
      memory: null,
    }
    all.set(row.id, instance)
    return instance
  }

  // ------------------------------------------------------------------------------------------------- cycle

  function tick(): void {
    if (closed) return
    const now = clock.monotonic()
    for (const instance of [...all.values()]) {
      if (!lives(instance)) ended(instance)
      else if (instance.state !== 'draining') watch(instance, now)
    }
    converge(now)
  }

  function lives({ child, row }: Instance): boolean {
    if (child !== null) return child.exitCode === null && child.signalCode === null
    return row.process !== null && isAlive(row.process, boot)
  }

  function ended(instance: Instance): void {
    const { row, child, state } = instance
    all.delete(row.id)
    // Whatever it started goes with it.
    if (row.process !== null) signalGroup(row.process.pid, 'SIGKILL')
    ledger.remove(row.id)
    const how = child?.signalCode ? `signal ${child.signalCode}` : child ? `exit ${child.exitCode}` : 'gone'
    tell({ instance: row.id, type: 'ended', detail: instance.lastEnd ?? how })
    if (state !== 'draining') {
      const steady = row.readyAt !== null && clock.now() - row.readyAt >= STEADY_MS
      failures = steady ? 1 : failures + 1
      // The first end of one that served is answered at once.
      const wait = steady ? 0 : Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** (failures - 1))
      blockedUntil = clock.monotonic() + wait
      log.warn('an instance ended by itself', { target, instance: row.id, how: instance.lastEnd ?? how, waitMs: wait })
    }
    publish()
  }

  function watch(instance: Instance, now: number): void {
    measure(instance, now)
    if (instance.checking || now < instance.nextCheck) return
    instance.checking = true
    void check(instance).finally(() => {
      instance.checking = false
    })
  }

  async function check(instance: Instance): Promise<void> {
    const { ready } = settings
    const status = ready === null ? 200 : await ask(instance.row.port, 'GET', ready.path, ready.timeoutMs, scheduler)
    if (closed || instance.state === 'draining' || !all.has(instance.row.id)) return
    const now = clock.monotonic()
    instance.nextCheck =
      now + (instance.state === 'ready' ? settings.checkEveryMs : Math.min(250, settings.checkEveryMs))
    if (status !== null && status >= 200 && status < 300) {
      instance.misses = 0
      if (instance.state === 'ready') return
      instance.state = 'ready'
      const readyAt = instance.row.readyAt ?? clock.now()
      instance.row = { ...instance.row, readyAt }
      ledger.put(instance.row)
      const seconds = ((readyAt - instance.row.startedAt) / SECOND).toFixed(1)
      tell({ instance: instance.row.id, type: 'ready', detail: `after ${seconds} s` })
      publish()
      return
    }
    if (instance.state === 'ready') {
      instance.misses++
      if (instance.misses < MISSES_MAX) return
      instance.state = 'starting'
      instance.since = now
      publish()
    } else if (now - instance.since >= settings.readyWithinMs) {
      instance.lastEnd = `not ready within ${settings.readyWithinMs / SECOND} s`
      signal(instance, 'SIGKILL')
    }
  }

  function measure(instance: Instance, now: number): void {
    const { row, used } = instance
    if (row.process === null || (used !== null && now - used.at < USAGE_EVERY_MS)) return
    const usage = usageOf(row.process.pid)
    if (usage === null) return
    if (used !== null) instance.cpu = (100 * SECOND * (usage.cpuSeconds - used.usage.cpuSeconds)) / (now - used.at)
    instance.memory = usage.memoryBytes
    instance.used = { at: now, usage }
  }

  function converge(now: number): void {
    if (failures > 0 && [...all.values()].some((one) => one.state === 'ready' && now - one.since >= STEADY_MS)) {
      if (now >= blockedUntil) failures = 0
    }
    const wanted = ledger.wanted()?.wanted ?? null
    if (wanted === null) return
    const kept = [...all.values()].filter(({ state }) => state !== 'draining')
    // Nothing is wanted: what failed before is over, and the next wish begins anew.
    if (wanted === 0 && kept.length === 0) [failures, blockedUntil] = [0, 0]
    const tooMany = kept.length - wanted
    if (tooMany > 0) for (const instance of leastUseful(kept).slice(0, tooMany)) void drain(instance)
    else if (tooMany < 0 && !starting && now >= blockedUntil) {
      starting = true
      // While starts fail, one is tried at a time.
      const count = failures > 0 ? 1 : -tooMany
      void startSome(count).finally(() => {
        starting = false
      })
    }
  }

  // ------------------------------------------------------------------------------------------------- start

  async function startSome(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      try {
        const port = await freePort([...all.values()].map(({ row }) => row.port))
        if (closed) return
        start(port)
      } catch (error) {
        failures++
        blockedUntil = clock.monotonic() + Math.min(BACK_OFF_MAX_MS, BACK_OFF_MS * 2 ** (failures - 1))
        log.warn('an instance cannot be started', { target, why: messageOf(error) })
        return
      }
    }
  }

  function start(port: number): void {
    const now = clock.now()
    const id = `${target}-${newId(now).slice(-8)}`
    const row: LedgerRow = { id, port, process: null, startedAt: now, readyAt: null, draining: false }
    ledger.put(row)
    const filled = (text: string) => text.replaceAll('{port}', String(port)).replaceAll('{id}', id)
    const [program = '', ...parameters] = settings.command.map(filled)
    const given = Object.fromEntries(Object.entries(settings.environment).map(([name, value]) => [name, filled(value)]))
    const output = settings.logFolder === null ? 'ignore' : openLog(settings.logFolder, id)
    try {
      const child = spawn(program, parameters, {
        ...(settings.folder === null ? {} : { cwd: settings.folder }),
        env: { PORT: String(port), INSTANCE_ID: id, ...environment, ...given, [MARK]: mark(id) },
        // A group and a session of its own: nothing that ends control ends it, and one signal reaches all of it.
        detached: true,
        stdio: ['ignore', output, output],
      })
      const instance = add(row, child)
      child.on('error', (error) => {
        instance.lastEnd = `cannot be started: ${messageOf(error)}`
        if (child.pid === undefined) ended(instance)
      })
      child.unref()
      if (child.pid === undefined) return
      instance.row = { ...row, process: nameOf(child.pid, boot) ?? { pid: child.pid, startTicks: -1, boot } }
      ledger.put(instance.row)
      tell({ instance: id, type: 'started', detail: `process ${child.pid}, port ${port}` })
    } catch (error) {
      all.delete(id)
      ledger.remove(id)
      throw error
    } finally {
      if (typeof output === 'number') closeSync(output)
    }
  }

  async function freePort(taken: readonly number[]): Promise<number> {
    const { ports } = settings
    if (ports === null) return probe(0)
    for (let port = ports[0]; port <= ports[1]; port++) {
      if (taken.includes(port)) continue
      const free = await probe(port).catch(() => null)
      if (free !== null) return free
    }
    throw new Error(`every port from ${ports[0]} to ${ports[1]} is taken`)
  }

  // --------------------------------------------------------------------------------------------------- end

  async function drain(instance: Instance): Promise<void> {
    const resumed = instance.state === 'draining'
    instance.state = 'draining'
    instance.row = { ...instance.row, draining: true }
    ledger.put(instance.row)
    publish()
    if (!resumed) tell({ instance: instance.row.id, type: 'draining', detail: '' })
    const { drain: how, stopWithinMs } = settings
    const until = clock.monotonic() + how.withinMs
    const served = instance.row.readyAt !== null
    if (served) await scheduler.sleep(how.lingerMs)
    if (closed || !lives(instance)) return
    if (served && how.signal !== null) signal(instance, how.signal)
    if (served && how.path !== null) {
      for (;;) {
        const left = until - clock.monotonic()
        const status =
          left <= 0 ? null : await ask(instance.row.port, 'POST', how.path, Math.min(left, 5_000), scheduler)
        if (status === 200 || status === 204 || left <= 0) break
        await scheduler.sleep(Math.min(250, Math.max(10, left)))
        if (closed || !lives(instance)) return
      }
    } else if (served && how.signal !== null) await untilGone(instance, until)
    if (closed || !lives(instance)) return
    instance.lastEnd = 'drained'
    signal(instance, 'SIGTERM')
    await untilGone(instance, clock.monotonic() + stopWithinMs)
    if (lives(instance)) {
      instance.lastEnd = `did not end within ${stopWithinMs / SECOND} s and was killed`
      signal(instance, 'SIGKILL')
    }
  }

  async function untilGone(instance: Instance, until: number): Promise<void> {
    while (lives(instance) && clock.monotonic() < until) await scheduler.sleep(25)
  }

  function signal({ row }: Instance, name: NodeJS.Signals): void {
    if (row.process === null || !isSame(row.process)) return
    signalGroup(row.process.pid, name)
  }

  // A process that ended before its start time could be read has no other name than its number.
  const isSame = (name: ProcessName) => name.startTicks < 0 || isAlive(name, boot)

  // -------------------------------------------------------------------------------------------------- tell

  /** Who takes work now, for a load balancer and for a scraper: the form of Prometheus' file_sd. */
  function publish(): void {
    if (settings.endpointsFile === null) return
    const ready = [...all.values()].filter(({ state }) => state === 'ready')
    const list = ready.map(({ row }) => ({
      targets: [`127.0.0.1:${row.port}`],
      labels: { target, instance_id: row.id },
    }))
    const text = `${JSON.stringify(list, null, 2)}\n`
    if (text === endpoints) return
    try {
      mkdirSync(dirname(settings.endpointsFile), { recursive: true })
      writeFileSync(`${settings.endpointsFile}.new`, text)
      renameSync(`${settings.endpointsFile}.new`, settings.endpointsFile)
      endpoints = text
    } catch (error) {
      log.error('the endpoints file cannot be written', { target, why: messageOf(error) })
    }
  }

  function views(): InstanceView[] {
    const wanted = ledger.wanted()?.wanted ?? 0
    const running = [...all.values()].map(({ row, state, cpu, memory }) => {
      const readyAt = state === 'ready' ? row.readyAt : null
      return { id: row.id, provider: 'process', state, startedAt: row.startedAt, readyAt, cpu, memory, inFlight: null }
    })
    const missing = failures === 0 ? 0 : wanted - running.filter(({ state }) => state !== 'draining').length
    const waiting = Array.from({ length: Math.max(0, missing) }, (_, i) => {
      const nothing = { startedAt: null, readyAt: null, cpu: null, memory: null, inFlight: null }
      return { id: `${target}-waiting-${i + 1}`, provider: 'process', state: 'backing_off' as const, ...nothing }
    })
    return [...running, ...waiting]
  }

  return {
    kind: 'process',
    async observe() {
      if (closed) throw new Error(`the driver of ${target} is closed`)
      const loop = failures >= 3 ? `instances end soon after their start (${failures} in a row)` : null
      return {
        at: clock.now(),
        ...countsOf(views()),
        wanted: ledger.wanted()?.wanted ?? null,
        conflict: null,
        trouble: loop,
      }
    },
    async scale(wanted, fence) {
      if (closed) throw new Error(`the driver of ${target} is closed`)
      const before = ledger.wanted()
      checkWanted(wanted, fence, before?.fence ?? 0)
      if (before?.wanted !== wanted || before.fence !== fence) ledger.setWanted(wanted, fence)
      tick()
    },
    async close() {
      if (closed) return
      if (settings.endWithPlatform) {
        timer.cancel()
        const limit = clock.monotonic() + settings.stopWithinMs
        for (const instance of all.values()) signal(instance, 'SIGTERM')
        for (const instance of all.values()) await untilGone(instance, limit)
        for (const instance of all.values()) {
          if (lives(instance)) signal(instance, 'SIGKILL')
          else ledger.remove(instance.row.id)
        }
      }
      closed = true
      timer.cancel()
    },
  }
}

/** Those that are missed least come first: not ready yet, then the youngest. */
function leastUseful(instances: readonly Instance[]): Instance[] {
  const rank = ({ state }: Instance) => (state === 'starting' ? 0 : 1)
  return [...instances].sort((a, b) => rank(a) - rank(b) || b.row.startedAt - a.row.startedAt)
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name)
  } catch {
    // It has ended in the meantime: what the signal was for.
  }
}

function probe(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      const got = typeof address === 'object' && address !== null ? address.port : port
      server.close(() => resolve(got))
    })
  })
}

function openLog(folder: string, id: string): number {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, `${id}.log`)
  try {
    if (statSync(path).size > LOG_BYTES_MAX) truncateSync(path)
  } catch {
    // There is none yet.
  }
  return openSync(path, 'a', 0o600)
}
