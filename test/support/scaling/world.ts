/**
 * The platform with a service of known capacity as its target `web`, and somebody who uses it: an open stream of
 * requests over a balancer that reads the endpoints file, as a real one would, and that tells the platform what it sees.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Platform, type PlatformOptions, startPlatform } from '../platform.ts'

const SERVICE = resolve(import.meta.dirname, 'service.mjs')
const API = '/api/v1/auto-scaling'

export interface WorldOptions {
  /** Requests at once, and how long each takes, ms: 1000 × workers ÷ serviceMs is what one instance serves a second. */
  readonly workers: number
  readonly serviceMs: number
  readonly startMs: number
  readonly evaluationSeconds: number
  readonly metricMaxAge?: number
  readonly maxInstances?: number
  readonly minInstances?: number
  readonly limitMs?: number
  readonly policies: readonly Record<string, unknown>[]
  readonly platform?: PlatformOptions
}

export interface World {
  readonly platform: Platform
  readonly dir: string
  readonly service: { readonly serviceMs: number; readonly workers: number }
  api(method: string, path: string, body?: unknown): ReturnType<Platform['request']>
  /** Of the target: what the platform says. */
  counts(): Promise<{ ready: number; wanted: number; starting: number; draining: number }>
  /** Process numbers of all instances that live on the machine, whoever knows of them. */
  alive(): number[]
  /** Starts again what was stopped or killed, on the same data. */
  restart(): Promise<void>
  /** SIGKILL to every process of the platform at once; its instances are not touched. */
  killPlatform(): Promise<void>
  remove(): Promise<void>
}

export async function startWorld(options: WorldOptions): Promise<World> {
  const dir = options.platform?.dir ?? mkdtempSync(join(tmpdir(), 'om-scaling-'))
  const endpoints = join(dir, 'endpoints.json')
  mkdirSync(join(dir, 'config'), { recursive: true })
  const scaling = {
    enabled: true,
    evaluation_interval: options.evaluationSeconds,
    metric_max_age: options.metricMaxAge ?? 5,
    max_instances: options.maxInstances ?? 10,
    targets: [
      {
        name: 'web',
        min_instances: options.minInstances ?? 1,
        max_instances: options.maxInstances ?? 10,
        limit_ms: options.limitMs ?? 200,
        demand: 'web_requests_per_second',
        cpu: 'web_cpu_usage',
        response_time: 'web_response_time',
        process: {
          command: [process.execPath, SERVICE],
          environment: {
            WORKERS: String(options.workers),
            SERVICE_MS: String(options.serviceMs),
            START_MS: String(options.startMs),
          },
          ready: { path: '/ready', every_seconds: 0.2 },
          drain: { path: '/drain', linger_seconds: 0.4, within_seconds: 10 },
          stop_seconds: 5,
          endpoints_file: endpoints,
        },
      },
    ],
  }
  // JSON is YAML.
  writeFileSync(join(dir, 'config', 'scaling.yaml'), JSON.stringify({ scaling }))
  const start = () =>
    startPlatform({ ...options.platform, dir, env: { COLLECT_HOST: 'false', ...options.platform?.env } })
  let platform = await start()
  const api: World['api'] = (method, path, body) => platform.request(method, API + path, body)
  for (const policy of options.policies) {
    const made = await api('POST', '/policies', { target: 'web', ...policy })
    if (made.status !== 201 && made.status !== 409) throw new Error(`no policy: ${made.text}`)
  }
  return {
    get platform() {
      return platform
    },
    dir,
    service: { serviceMs: options.serviceMs, workers: options.workers },
    api,
    async counts() {
      const { json } = await api('GET', '/summary?target=web')
      const web = json.data.targets.find(({ name }: { name: string }) => name === 'web')
      return {
        ready: web.current_instances ?? 0,
        wanted: web.target_instances ?? 0,
        starting: web.starting,
        draining: web.draining,
      }
    },
    alive: () => instancesOf(dir),
    async killPlatform() {
      const instances = instancesOf(dir)
      const own = platform.processes().filter(({ pid }) => !instances.includes(pid))
      for (const { pid } of own) process.kill(pid, 'SIGKILL')
      await platform.stop()
    },
    async restart() {
      platform = await start()
    },
    async remove() {
      await platform.remove()
      for (const pid of instancesOf(dir)) process.kill(pid, 'SIGKILL')
    },
  }
}

/** Everything that runs the service for this directory, found without asking the platform: by command and folder. */
function instancesOf(dir: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        if (!Number.isInteger(pid) || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(SERVICE)) return false
        // A zombie has no folder; that of a process whose folder was removed says so behind its name.
        return readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '') === dir
      } catch {
        return false
      }
    })
}

// ------------------------------------------------------------------------------------------------------ load

export interface Load {
  /** Requests/s from now on. */
  rate: number
  /** Whether the balancer tells the platform what it sees. */
  telling: boolean
  readonly sent: number
  readonly answered: number
  readonly failures: readonly string[]
  /** Requests that took longer than `limitMs`. */
  readonly slow: number
  /** Waits for what is under way. */
  stop(): Promise<void>
}

/** What the balancer saw between two moments. */
export interface Window {
  readonly seconds: number
  readonly arrived: number
  /** Response times of what was answered, ascending, ms. */
  readonly times: readonly number[]
  /** Endpoints at its end. */
  readonly ready: number
}

/** An open stream: requests are sent when they are due, whatever became of those before. */
export function startLoad(world: World, limitMs: number, tellEveryMs = 250, onWindow?: (window: Window) => void): Load {
  const file = join(world.dir, 'endpoints.json')
  let targets: string[] = []
  const inFlight = new Map<string, number>()
  let open = 0
  let due = performance.now()
  let window: number[] = []
  let arrived = 0
  let told = performance.now()
  const failures: string[] = []
  const load = { rate: 0, telling: true, sent: 0, answered: 0, failures, slow: 0, stop }

  let looked = 0
  const look = () => {
    looked = performance.now()
    const list = JSON.parse(readFileSync(file, 'utf8')) as { targets: string[] }[]
    targets = list.flatMap((one) => one.targets)
  }
  look()
  const reading = setInterval(look, 50)
  const sending = setInterval(() => {
    const now = performance.now()
    if (load.rate <= 0) due = now
    // After a stall of this process what is due is not sent to where it was due.
    if (now - looked > 50) look()
    while (load.rate > 0 && due <= now) {
      send()
      due += 1000 / load.rate
    }
  }, 5)
  const telling = setInterval(() => void tell(), tellEveryMs)

  function send() {
    const least = targets.reduce<string | null>(
      (best, one) => (best === null || (inFlight.get(one) ?? 0) < (inFlight.get(best) ?? 0) ? one : best),
      null,
    )
    load.sent++
    arrived++
    if (least === null) {
      failures.push('nobody takes requests')
      return
    }
    const [host, port] = least.split(':')
    const began = performance.now()
    inFlight.set(least, (inFlight.get(least) ?? 0) + 1)
    open++
    let over = false
    const end = (failure: string | null) => {
      if (over) return
      over = true
      open--
      inFlight.set(least, inFlight.get(least)! - 1)
      if (failure === null) {
        const ms = performance.now() - began
        load.answered++
        if (ms > limitMs) load.slow++
        window.push(ms)
      } else failures.push(`${least}: ${failure}`)
    }
    const request = http.get({ host, port, path: '/work', agent: false }, (response) => {
      response.resume()
      response.on('end', () => end(response.statusCode === 200 ? null : `status ${response.statusCode}`))
    })
    request.on('error', (error) => end(error.message))
  }

  async function tell() {
    const now = performance.now()
    const seconds = (now - told) / 1000
    told = now
    const times = window.sort((a, b) => a - b)
    window = []
    const seen = { seconds, arrived, times, ready: targets.length }
    const rate = arrived / seconds
    arrived = 0
    onWindow?.(seen)
    if (!load.telling) return
    const points = [{ metric_name: 'web_requests_per_second', value: rate }]
    // How busy the workers of an instance were, from what they answered.
    const { serviceMs, workers } = world.service
    if (targets.length > 0) {
      const busy = (100 * times.length * serviceMs) / 1000 / seconds / workers / targets.length
      points.push({ metric_name: 'web_cpu_usage', value: Math.min(100, busy) })
    }
    if (times.length > 0) {
      points.push({ metric_name: 'web_response_time', value: times[Math.floor(0.95 * (times.length - 1))]! })
    }
    await world.platform.request('POST', '/api/v1/advanced-analytics/data-points', points).catch(() => {})
  }

  async function stop() {
    clearInterval(sending)
    clearInterval(telling)
    const until = performance.now() + 30_000
    while (open > 0 && performance.now() < until) await new Promise((done) => setTimeout(done, 20))
    clearInterval(reading)
    if (open > 0) failures.push(`${open} requests were never answered`)
  }

  return load
}
