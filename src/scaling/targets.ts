/**
 * What is scaled, as `scaling.targets` of config/scaling.yaml says it. The platform's own instances are the target
 * `market`, which is there without being named; an entry of that name changes it.
 *
 *   scaling:
 *     targets:
 *       - name: workers
 *         min_instances: 1
 *         max_instances: 20
 *         limit_ms: 100                       response time that users are to get
 *         demand: workers_requests_per_second   stored names or PromQL: requests/s,
 *         cpu: workers_cpu                      per cent of one instance,
 *         response_time: workers_p95_ms         milliseconds
 *         price_per_instance_hour: 0.12
 *         schedules:
 *           - { name: morning, cron: "0 8 * * 1-5", time_zone: Europe/Vienna, minimum: 4, lasts_seconds: 7200 }
 *         events:
 *           - { name: final, from: 2026-07-19T18:00:00Z, until: 2026-07-19T22:00:00Z, demand_factor: 3 }
 *         process:                            or kubernetes: {…}, or webhook: {…}
 *           command: [node, server.js, --port, "{port}"]
 */
import { fromIso, MINUTE, SECOND } from '../base/time.ts'
import { isSchedule } from './limits.ts'
import type { Economics, KnownEvent, Schedule, Target } from './model.ts'

/** What the process driver is told of a target. Times in milliseconds. In `command` and `environment`, `{port}` and `{id}` are those of the instance. */
export interface ProcessSettings {
  readonly command: readonly string[]
  /** The folder it is started in; that of the platform when null. */
  readonly folder: string | null
  /** On top of PATH and the like, PORT and INSTANCE_ID. */
  readonly environment: Readonly<Record<string, string>>
  /** First and last port; one that is free when null. */
  readonly ports: readonly [number, number] | null
  /** Null: ready as soon as it runs. */
  readonly ready: { readonly path: string; readonly timeoutMs: number } | null
  readonly checkEveryMs: number
  /** Not ready for so long after its start, an instance is replaced. */
  readonly readyWithinMs: number
  readonly drain: {
    /** POSTed until it answers 200 or 204. */
    readonly path: string | null
    readonly signal: NodeJS.Signals | null
    /** Between leaving the endpoints file and the call: how long balancers take to notice. */
    readonly lingerMs: number
    readonly withinMs: number
  }
  /** From SIGTERM to SIGKILL. */
  readonly stopWithinMs: number
  /** Kept with the addresses of what is ready, in the form of Prometheus' file_sd. */
  readonly endpointsFile: string | null
  /** Where instances write what they print; null: nowhere. */
  readonly logFolder: string | null
  /** Whether an orderly stop of the platform ends the instances as well. */
  readonly endWithPlatform: boolean
}

/** What the driver of Kubernetes is told of a target. */
export interface KubernetesSettings {
  readonly object: 'deployment' | 'statefulset'
  readonly name: string
  /** The namespace of the pod, or of the context of the kubeconfig, when null. */
  readonly namespace: string | null
  /** A kubeconfig file; null: the account of the pod, or else what kubectl would use. */
  readonly kubeconfig: string | null
  readonly context: string | null
  readonly timeoutMs: number
}

/** A target before the platform's own economics are filled in. */
export interface TargetSettings extends Omit<Target, 'economics'> {
  /** What this target says itself; null: as for all. */
  readonly economics: { readonly [K in keyof Economics]: Economics[K] | null }
  readonly process: ProcessSettings | null
  readonly kubernetes: KubernetesSettings | null
  readonly webhook: { readonly url: string; readonly timeoutMs: number } | null
}

export const MARKET = 'market'
const NAME = /^[a-z0-9_-]{1,64}$/
const COUNT_MAX = 1000
const TARGETS_MAX = 50

/** The platform's own instances. */
export const marketTarget: TargetSettings = {
  name: MARKET,
  driver: 'platform',
  minInstances: 1,
  maxInstances: COUNT_MAX,
  limitMs: 100,
  demand: 'application_requests_per_second',
  cpu: 'system_cpu_usage',
  responseTime: 'application_api_response_time',
  economics: { pricePerInstanceHour: null, slowPerMillion: null, lostPerMillion: null, currency: null },
  schedules: [],
  events: [],
  process: null,
  kubernetes: null,
  webhook: null,
}

/** Checks what stands in the file. Throws an Error that says where, and what would be right. */
export function parseTargets(raw: unknown): readonly TargetSettings[] {
  if (raw === null) return []
  if (!Array.isArray(raw) || raw.length > TARGETS_MAX) throw new Error(`a list of at most ${TARGETS_MAX} targets`)
  const targets = raw.map((item, i) => parseTarget(new Reader(item, `[${i}]`)))
  const names = targets.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw new Error(`every name once; "${twice}" stands twice`)
  return targets
}

/** What may be seen of targets: addresses of webhooks and the environment of processes act as credentials. */
export function shownTargets(targets: readonly TargetSettings[]): readonly unknown[] {
  return targets.map(({ process, webhook, ...rest }) => ({
    ...rest,
    process: process && {
      ...process,
      environment: Object.fromEntries(Object.keys(process.environment).map((name) => [name, '***'])),
      environment_set: Object.keys(process.environment).length > 0,
    },
    webhook: webhook && { ...webhook, url: '***', url_set: true },
  }))
}

/** Every target, the platform's own first. */
export function withMarket(targets: readonly TargetSettings[]): readonly TargetSettings[] {
  return targets.some(({ name }) => name === MARKET) ? targets : [marketTarget, ...targets]
}

function parseTarget(reader: Reader): TargetSettings {
  const name = reader.text('name')
  if (name === null || !NAME.test(name)) throw reader.wrong('name', 'small letters, digits, _ and -, at most 64')
  const own = name === MARKET
  const process = reader.object('process')
  const kubernetes = reader.object('kubernetes')
  const webhook = reader.object('webhook')
  const given = [process, kubernetes, webhook].filter((one) => one !== null).length
  if (given > 1 || (given === 0 && !own)) throw reader.wrong('', 'one of process, kubernetes, webhook')
  // Without an instance the market answers nobody, and nothing would tell that it is wanted.
  const minInstances = reader.integer('min_instances', 1, own ? 1 : 0, COUNT_MAX)
  const maxInstances = reader.integer('max_instances', own ? COUNT_MAX : 10, 1, COUNT_MAX)
  if (minInstances > maxInstances) throw reader.wrong('min_instances', `at most ${maxInstances}, its max_instances`)
  const startUpS = reader.optionalNumber('start_up_seconds', 0.1, 3600)
  const target: TargetSettings = {
    ...(startUpS === null ? {} : { startUpMs: startUpS * SECOND }),
    name,
    driver: process ? 'process' : kubernetes ? 'kubernetes' : webhook ? 'webhook' : 'platform',
    minInstances,
    maxInstances,
    limitMs: reader.number('limit_ms', marketTarget.limitMs, 1, 600_000),
    demand: reader.text('demand') ?? (own ? marketTarget.demand : `${stored(name)}_requests_per_second`),
    cpu: reader.text('cpu') ?? (own ? marketTarget.cpu : `${stored(name)}_cpu_usage`),
    responseTime: reader.text('response_time') ?? (own ? marketTarget.responseTime : `${stored(name)}_response_time`),
    economics: {
      pricePerInstanceHour: reader.optionalNumber('price_per_instance_hour', 0, 1e9),
      slowPerMillion: reader.optionalNumber('slow_per_million', 0, 1e12),
      lostPerMillion: reader.optionalNumber('lost_per_million', 0, 1e12),
      currency: reader.text('currency'),
    },
    schedules: reader.list('schedules').map(parseSchedule),
    events: reader.list('events').map(parseEvent),
    process: process && parseProcess(process),
    kubernetes: kubernetes && parseKubernetes(kubernetes),
    webhook: webhook && parseWebhook(webhook),
  }
  reader.done()
  return target
}

const stored = (name: string) => name.replaceAll('-', '_')

function parseSchedule(reader: Reader): Schedule {
  const name = reader.needed('name')
  const cron = reader.needed('cron')
  const timeZone = reader.text('time_zone') ?? 'UTC'
  const minimum = reader.integer('minimum', null, 0, COUNT_MAX)
  const lastsMs = reader.number('lasts_seconds', 3600, 1, 31 * 86_400) * SECOND
  if (!isSchedule({ cron, timeZone })) {
    throw reader.wrong(
      'cron',
      'five fields of cron (minute hour day month weekday), and a time zone such as Europe/Vienna',
    )
  }
  reader.done()
  return { name, cron, timeZone, minimum, lastsMs }
}

function parseEvent(reader: Reader): KnownEvent {
  const name = reader.needed('name')
  const from = reader.time('from')
  const until = reader.time('until')
  if (until <= from) throw reader.wrong('until', 'a time after "from"')
  const minimum = reader.optionalNumber('minimum', 0, COUNT_MAX)
  const demandFactor = reader.optionalNumber('demand_factor', 0.01, 1000)
  if (minimum === null && demandFactor === null) throw reader.wrong('minimum', 'a minimum, or a demand_factor')
  if (minimum !== null && !Number.isInteger(minimum)) throw reader.wrong('minimum', 'a whole number')
  reader.done()
  return { name, from, until, minimum, demandFactor }
}

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT'] as const

function parseProcess(reader: Reader): ProcessSettings {
  const command = reader.texts('command')
  if (command.length === 0) throw reader.wrong('command', 'the program and its arguments, as a list')
  const ports = reader.list('ports', true)
  const range = ports.length === 0 ? null : ([Number(ports[0]), Number(ports[1])] as const)
  const isPort = (n: number) => Number.isInteger(n) && n >= 1 && n <= 65_535
  if (range && (ports.length !== 2 || !range.every(isPort) || range[0] > range[1])) {
    throw reader.wrong('ports', 'the first and the last port, such as [9000, 9099]')
  }
  const ready = reader.object('ready')
  const drain = reader.object('drain')
  const signal = drain?.text('signal') ?? null
  if (signal !== null && !SIGNALS.some((one) => one === signal)) {
    throw drain!.wrong('signal', `one of ${SIGNALS.join(', ')}`)
  }
  const settings: ProcessSettings = {
    command,
    folder: reader.text('folder'),
    environment: reader.map('environment'),
    ports: range,
    ready: ready && {
      path: ready.path('path') ?? '/ready',
      timeoutMs: ready.number('timeout_seconds', 2, 0.05, 60) * SECOND,
    },
    checkEveryMs: (ready?.number('every_seconds', 2, 0.05, 600) ?? 2) * SECOND,
    readyWithinMs: (ready?.number('within_seconds', 120, 0.1, 3600) ?? 120) * SECOND,
    drain: {
      path: drain?.path('path') ?? null,
      signal: signal as ProcessSettings['drain']['signal'],
      lingerMs: (drain?.number('linger_seconds', 1, 0, 600) ?? 1) * SECOND,
      withinMs: (drain?.number('within_seconds', 30, 0, 3600) ?? 30) * SECOND,
    },
    stopWithinMs: reader.number('stop_seconds', 10, 0.1, 3600) * SECOND,
    endpointsFile: reader.text('endpoints_file'),
    logFolder: reader.text('log_folder'),
    endWithPlatform: reader.bool('end_with_platform', true),
  }
  ready?.done()
  drain?.done()
  reader.done()
  return settings
}

function parseKubernetes(reader: Reader): KubernetesSettings {
  const deployment = reader.text('deployment')
  const statefulset = reader.text('statefulset')
  const name = deployment ?? statefulset
  if (name === null || (deployment !== null && statefulset !== null)) {
    throw reader.wrong('deployment', 'the name of a deployment, or of a statefulset')
  }
  const settings: KubernetesSettings = {
    object: deployment === null ? 'statefulset' : 'deployment',
    name,
    namespace: reader.text('namespace'),
    kubeconfig: reader.text('kubeconfig'),
    context: reader.text('context'),
    timeoutMs: reader.number('timeout_seconds', 10, 0.1, 300) * SECOND,
  }
  reader.done()
  return settings
}

function parseWebhook(reader: Reader) {
  const url = reader.needed('url')
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (!parsed || !/^https?:$/.test(parsed.protocol)) throw reader.wrong('url', 'an address with http or https')
  if (parsed.username || parsed.password) throw reader.wrong('url', 'no password in it: requests are signed')
  const settings = { url, timeoutMs: reader.number('timeout_seconds', 10, 0.1, 300) * SECOND }
  reader.done()
  return settings
}

/** What stands there is not repeated when it is wrong. */
const SECRET_FIELDS = ['url', 'environment', 'command']

/** Reads an object of the file, and knows where it stands. Fields that nobody asked for are refused by `done`. */
class Reader {
  readonly #fields: Readonly<Record<string, unknown>>
  readonly #place: string
  readonly #asked = new Set<string>()

  constructor(raw: unknown, place: string) {
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Error(`${place}: an object`)
    this.#fields = raw as Readonly<Record<string, unknown>>
    this.#place = place
  }

  wrong(name: string, expected: string): Error {
    const got =
      name === '' || SECRET_FIELDS.includes(name)
        ? ''
        : `, got ${(JSON.stringify(this.#fields[name]) ?? 'nothing').slice(0, 60)}`
    return new Error(`${this.#place}${name === '' ? '' : `.${name}`}: ${expected}${got}`)
  }

  done(): void {
    const unknown = Object.keys(this.#fields).find((name) => !this.#asked.has(name))
    if (unknown !== undefined) throw new Error(`${this.#place}: "${unknown}" is not known there`)
  }

  text(name: string): string | null {
    const value = this.#take(name)
    if (value === null) return null
    if (typeof value === 'string' && value !== '' && value.length <= 10_000) return value
    throw this.wrong(name, 'a text')
  }

  needed(name: string): string {
    const value = this.text(name)
    if (value === null) throw this.wrong(name, 'a text')
    return value
  }

  path(name: string): string | null {
    const value = this.text(name)
    if (value !== null && !value.startsWith('/')) throw this.wrong(name, 'a path that begins with /')
    return value
  }

  optionalNumber(name: string, min: number, max: number): number | null {
    const value = this.#take(name)
    if (value === null) return null
    if (typeof value === 'number' && value >= min && value <= max) return value
    throw this.wrong(name, `a number from ${min} to ${max}`)
  }

  number(name: string, fallback: number, min: number, max: number): number {
    return this.optionalNumber(name, min, max) ?? fallback
  }

  /** `fallback` null: it has to be there. */
  integer(name: string, fallback: number | null, min: number, max: number): number {
    const value = this.optionalNumber(name, min, max) ?? fallback
    if (value === null || !Number.isInteger(value)) throw this.wrong(name, `a whole number from ${min} to ${max}`)
    return value
  }

  bool(name: string, fallback: boolean): boolean {
    const value = this.#take(name)
    if (value === null) return fallback
    if (typeof value === 'boolean') return value
    throw this.wrong(name, 'true or false')
  }

  time(name: string): number {
    const value = this.#take(name)
    // YAML may have read it as a date already.
    const at = value instanceof Date ? value.getTime() : typeof value === 'string' ? fromIso(value) : null
    if (at === null || !Number.isFinite(at)) throw this.wrong(name, 'a time such as 2026-07-19T18:00:00Z')
    return at
  }

  object(name: string): Reader | null {
    const value = this.#take(name)
    return value === null ? null : new Reader(value, `${this.#place}.${name}`)
  }

  list(name: string): Reader[]
  list(name: string, raw: true): unknown[]
  list(name: string, raw = false): unknown[] {
    const value = this.#take(name)
    if (value === null) return []
    if (!Array.isArray(value) || value.length > 1000) throw this.wrong(name, 'a list')
    return raw ? value : value.map((item, i) => new Reader(item, `${this.#place}.${name}[${i}]`))
  }

  texts(name: string): string[] {
    const values = this.list(name, true)
    if (!values.every((one) => typeof one === 'string')) throw this.wrong(name, 'a list of texts')
    return values as string[]
  }

  map(name: string): Record<string, string> {
    const value = this.#take(name)
    if (value === null) return {}
    if (typeof value !== 'object' || Array.isArray(value)) throw this.wrong(name, 'names with texts')
    const entries = Object.entries(value).map(
      ([key, one]) => [key, typeof one === 'number' ? String(one) : one] as const,
    )
    if (!entries.every(([key, one]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(key) && typeof one === 'string')) {
      throw this.wrong(name, 'names with texts')
    }
    return Object.fromEntries(entries) as Record<string, string>
  }

  #take(name: string): unknown {
    this.#asked.add(name)
    return this.#fields[name] ?? null
  }
}

/** The shortest time between two looks at a target while something is under way. */
export const WATCH_MS = SECOND
/** An action that is not ready after so long has failed. */
export const READY_WITHIN_MS = 15 * MINUTE
