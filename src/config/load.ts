/**
 * Configuration: every value of the platform, where it came from, and its changes.
 *
 *   default ◀ config/*.yaml ◀ .env ◀ environment ◀ change through the API          the rightmost wins
 *
 * A snapshot is immutable; a change makes the next one and tells the subscribers. This room keeps nothing on disk: who
 * stores the versions hands them in as `Override`s.
 */
import { join, resolve } from 'node:path'
import type { ConfigKey } from '../base/config-key.ts'
import type { FieldError } from '../base/errors.ts'
import { invalid } from '../base/errors.ts'
import { nearest } from '../base/nearest.ts'
import type { Values } from './rooms.ts'
import { contradictions, keys, rooms } from './rooms.ts'
import type { Found, Problem, Source } from './sources.ts'
import { readDotEnv, readEnvironment, readFiles, strayFiles } from './sources.ts'

export class ConfigError extends Error {
  readonly problems: readonly Problem[]
  constructor(problems: readonly Problem[]) {
    super(problems.map((p) => `${p.where}: ${p.key} ${p.message}`).join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

export interface Snapshot {
  /** 0 before any change through the API. */
  readonly version: number
  readonly values: Values
}

/** A value set through the API; `version` is the change that set it. */
export interface Override {
  readonly path: string
  readonly value: unknown
  readonly version: number
}

/** An effective value as `/api/v1/config` shows it. */
export interface ValueView {
  readonly path: string
  /** Secrets are "***", or null when there is none. */
  readonly value: unknown
  /** For secrets alone: whether there is one. */
  readonly value_set?: boolean
  readonly source: Source
  readonly detail: string
  readonly default: unknown
  readonly expected: string
  readonly help: string
  /** Whether it can be changed through the API, without a restart. */
  readonly live: boolean
  readonly secret: boolean
  readonly variable: string | null
  readonly file: string
}

export interface Config {
  readonly current: Snapshot
  /** Told after each change. */
  subscribe(listener: (snapshot: Snapshot) => void): () => void
  /**
   * Checks changes by path (`null` takes a change back, "***" keeps a secret) against all that is known: the path, the
   * form, the other values. Throws `AppError` 422. Returns the complete overrides after the change.
   */
  plan(changes: Readonly<Record<string, unknown>>, version: number): Override[]
  /** Takes these as all the overrides there are. Those that no longer hold are left out and returned. */
  apply(version: number, overrides: readonly Override[]): Problem[]
  readonly overrides: readonly Override[]
  describe(): ValueView[]
  /** Variables that nobody reads and that look like misspelt ones; each a sentence. */
  readonly hints: readonly string[]
}

export interface LoadOptions {
  /** The folder that holds `.env` and `config/`, and from which relative folders are meant; the working directory. */
  readonly cwd?: string
  /** `process.env` when absent. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Finds and checks every value. Throws `ConfigError` with all that is wrong. */
export function loadConfig({ cwd = process.cwd(), env = process.env }: LoadOptions = {}): Config {
  const problems: Problem[] = []
  const dotEnv = readDotEnv(join(cwd, '.env'), problems)
  const files = readFiles(join(cwd, 'config'), keys, { ...dotEnv.values, ...env }, problems)
  const environment = readEnvironment(keys, env, dotEnv)
  const base = new Map([...files, ...environment])
  // What is wrong in a file is wrong also while the environment stands over it.
  problems.push(...evaluate(new Map([...files].filter(([path]) => environment.has(path))), cwd, false).problems)
  const checked = evaluate(base, cwd)
  problems.push(...checked.problems)
  if (problems.length > 0) throw new ConfigError(problems)

  let found = base
  let overrides: readonly Override[] = []
  let current: Snapshot = deepFreeze({ version: 0, values: checked.values })
  const listeners = new Set<(snapshot: Snapshot) => void>()
  const over = (list: readonly Override[]) => new Map([...base, ...list.map((o) => [o.path, foundOf(o)] as const)])

  return {
    hints: [...misspelt([...Object.keys(env), ...Object.keys(dotEnv.values)]), ...strayFiles(join(cwd, 'config'))],
    get current() {
      return current
    },
    get overrides() {
      return overrides
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    plan(changes, version) {
      const planned = new Map(overrides.map((o) => [o.path, o]))
      const wrong: FieldError[] = []
      for (const [path, value] of Object.entries(changes)) {
        const key = keys.get(path)
        if (!key) {
          const guess = nearest(path, keys.keys())
          wrong.push({ path, message: guess ? `is not known; did you mean "${guess}"?` : 'is not known' })
        } else if (!key.live) {
          wrong.push({
            path,
            message: `takes effect at a start alone: set it in config/${key.file}${variableHint(key)}`,
          })
        } else if (value === null) planned.delete(path)
        else if (!(key.secret && value === '***')) planned.set(path, { path, value, version })
      }
      const next = [...planned.values()]
      if (wrong.length === 0) {
        wrong.push(...evaluate(over(next), cwd).problems.map((p) => ({ path: p.key, message: p.message })))
      }
      if (wrong.length > 0) throw invalid(wrong)
      return next
    },
    apply(version, list) {
      const dropped: Problem[] = []
      let kept = [...list]
      for (;;) {
        const unknown = kept.filter((o) => !keys.get(o.path)?.live)
        const wrong = [
          ...unknown.map((o) => ({
            key: o.path,
            where: `version ${o.version}`,
            message: 'cannot be changed while running',
          })),
          ...evaluate(over(kept), cwd).problems,
        ]
        if (wrong.length === 0) break
        dropped.push(...wrong)
        const left = kept.filter((o) => !wrong.some((w) => w.key === o.path))
        if (left.length === kept.length) left.pop()
        kept = left
      }
      overrides = kept
      found = over(kept)
      current = deepFreeze({ version, values: evaluate(found, cwd).values })
      for (const listener of listeners) listener(current)
      return dropped
    },
    describe() {
      return Object.entries(rooms).flatMap(([room, roomKeys]) =>
        Object.entries(roomKeys).map(([name, key]) => {
          const values = current.values[room as keyof Values] as Readonly<Record<string, unknown>>
          return viewOf(key as ConfigKey<unknown>, values[name], found.get(key.path))
        }),
      )
    },
  }
}

/** What may travel to other processes: the values without secrets, as plain data. */
export function withoutSecrets(snapshot: Snapshot): Snapshot {
  const values = Object.entries(rooms).map(([room, roomKeys]) => {
    const all = snapshot.values[room as keyof Values] as Readonly<Record<string, unknown>>
    const shown = Object.entries(roomKeys).map(([name, key]) => [name, key.secret ? null : all[name]])
    return [room, Object.fromEntries(shown)]
  })
  return deepFreeze({ version: snapshot.version, values: Object.fromEntries(values) as Values })
}

const PASSED_ON = ['PATH', 'HOME', 'USER', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE']

/** What of the environment a program that the platform starts for its user gets: never a setting or a secret of ours. */
export function passedOn(env: LoadOptions['env'] = process.env): Record<string, string> {
  return Object.fromEntries(PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])))
}

/** OM_TOKEN: what commands that speak to a running platform show it. */
export const tokenGiven = (env: LoadOptions['env'] = process.env): string | null => env.OM_TOKEN || null

/** The environment for a process of ours; what is set already wins over `defaults`. */
export const environmentWith = (defaults: Record<string, string>): NodeJS.ProcessEnv => ({
  ...defaults,
  ...process.env,
})

/** OM_DEBUG=1: errors of the command line show where they came from. */
export const debugWanted = (env: LoadOptions['env'] = process.env) => (env.OM_DEBUG ?? '') !== ''

const foundOf = (o: Override): Found => ({ raw: o.value, source: 'api', detail: `version ${o.version}` })

function evaluate(
  found: ReadonlyMap<string, Found>,
  cwd: string,
  together = true,
): { values: Values; problems: Problem[] } {
  const problems: Problem[] = []
  const values = Object.fromEntries(
    Object.entries(rooms).map(([room, roomKeys]) => {
      const entries = Object.entries(roomKeys).map(([name, key]) => {
        const given = found.get(key.path)
        if (given === undefined) return [name, key.fallback]
        const parsed = key.parse(given.raw)
        if (parsed.ok) return [name, parsed.value]
        const got = key.secret ? ', it is something else' : key.structured ? '' : `, got ${JSON.stringify(given.raw)}`
        problems.push({ key: key.path, where: placeOf(given), message: `expected ${parsed.error}${got}` })
        return [name, key.fallback]
      })
      return [room, Object.fromEntries(entries)]
    }),
  ) as Values
  if (together && problems.length === 0) {
    for (const { path, expected } of contradictions(values)) {
      const given = found.get(path)
      problems.push({ key: path, where: given ? placeOf(given) : 'default', message: `has to be ${expected}` })
    }
  }
  const { platform } = values
  const at = { dataDir: resolve(cwd, platform.dataDir), logDir: resolve(cwd, platform.logDir) }
  return { values: { ...values, platform: { ...platform, ...at } }, problems }
}

function misspelt(names: readonly string[]): string[] {
  const known = [...keys.values()].flatMap((key) => (key.env === null ? [] : [key.env]))
  return names.flatMap((name) => {
    // Short names (HOME, PATH) are near to anything.
    const guess = known.includes(name) || name.length < 7 ? null : nearest(name, known, 2)
    return guess === null ? [] : [`The environment variable ${name} is not known; did you mean ${guess}?`]
  })
}

function placeOf(found: Found): string {
  return found.source === 'environment' ? `environment variable ${found.detail}` : found.detail
}

const variableHint = (key: ConfigKey<unknown>) => (key.env === null ? '' : ` or ${key.env}`)

function viewOf(key: ConfigKey<unknown>, value: unknown, found: Found | undefined): ValueView {
  const isSet = value !== null && value !== '' && !(Array.isArray(value) && value.length === 0)
  return {
    path: key.path,
    value: key.secret && isSet ? '***' : key.shown(value),
    ...(key.secret ? { value_set: isSet } : {}),
    source: found?.source ?? 'default',
    detail: found?.detail ?? '',
    default: key.fallback,
    expected: key.expected,
    help: key.help,
    live: key.live,
    secret: key.secret,
    variable: key.env,
    file: `config/${key.file}`,
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}
