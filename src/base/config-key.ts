/**
 * How a room declares what can be configured: its `config.ts` lists keys with these makers, `config/` finds the
 * values (default, file, environment, change by API), checks them and hands out snapshots.
 *
 *   export const alertingKeys = {
 *     evaluationInterval: seconds('alerting.evaluation_interval', 30, { env: 'ALERTING_EVALUATION_INTERVAL', min: 1, … }),
 *   }
 *   type AlertingConfig = ConfigOf<typeof alertingKeys>
 */
import type { Result } from './result.ts'
import { err, ok } from './result.ts'

export interface ConfigKey<T> {
  /** Dotted path, in the file as in the API: `alerting.evaluation_interval`. */
  readonly path: string
  /** Which file under `config/` may hold it. */
  readonly file: 'platform.yaml' | 'alerting.yaml' | 'performance.yaml' | 'scaling.yaml'
  /** Environment variable, if any. */
  readonly env: string | null
  readonly fallback: T
  /** Never shown, never logged. */
  readonly secret: boolean
  /** Whether a change through the API takes effect without a restart. `false`: it may not be changed by API. */
  readonly live: boolean
  /** One sentence for the table of README and for `/config`. */
  readonly help: string
  /** What a right value looks like: "a whole number of seconds from 1 to 3600". */
  readonly expected: string
  /** Whether it is a structure: what is wrong with it says where, and the whole of it is never repeated. */
  readonly structured: boolean
  /** What may be seen of a value: a structure masks the secrets inside it. */
  shown(value: T): unknown
  /** From the environment (text) or from YAML and JSON (any). The error is only "what would be right". */
  parse(raw: unknown): Result<T>
}

/** The values of a record of keys. */
export type ConfigOf<K extends Record<string, ConfigKey<unknown>>> = {
  readonly [P in keyof K]: K[P] extends ConfigKey<infer T> ? T : never
}

export interface KeyOptions {
  readonly help: string
  readonly env?: string
  readonly file?: ConfigKey<unknown>['file']
  readonly secret?: boolean
  readonly live?: boolean
}

function key<T>(
  path: string,
  fallback: T,
  expected: string,
  options: KeyOptions,
  parse: (raw: unknown) => T | undefined,
): ConfigKey<T> {
  return {
    path,
    file: options.file ?? 'platform.yaml',
    env: options.env ?? null,
    fallback,
    secret: options.secret ?? false,
    live: options.live ?? false,
    help: options.help,
    structured: false,
    shown: (value) => value,
    expected,
    parse(raw) {
      const value = parse(raw)
      return value === undefined ? err(expected) : ok(value)
    },
  }
}

const toNumber = (raw: unknown): number | undefined => {
  if (typeof raw === 'number') return Number.isFinite(raw) ? raw : undefined
  if (typeof raw !== 'string' || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(raw.trim())) return undefined
  const n = Number(raw)
  return Number.isFinite(n) ? n : undefined
}

export interface NumberOptions extends KeyOptions {
  readonly min: number
  readonly max: number
  readonly unit?: string
}

export function number(path: string, fallback: number, options: NumberOptions): ConfigKey<number> {
  const unit = options.unit ? ` of ${options.unit}` : ''
  return key(path, fallback, `a number${unit} from ${options.min} to ${options.max}`, options, (raw) => {
    const n = toNumber(raw)
    return n !== undefined && n >= options.min && n <= options.max ? n : undefined
  })
}

export function integer(path: string, fallback: number, options: NumberOptions): ConfigKey<number> {
  const unit = options.unit ? ` of ${options.unit}` : ''
  return key(path, fallback, `a whole number${unit} from ${options.min} to ${options.max}`, options, (raw) => {
    const n = toNumber(raw)
    return n !== undefined && Number.isInteger(n) && n >= options.min && n <= options.max ? n : undefined
  })
}

export const seconds = (path: string, fallback: number, options: Omit<NumberOptions, 'unit'>) =>
  number(path, fallback, { ...options, unit: 'seconds' })

export function bool(path: string, fallback: boolean, options: KeyOptions): ConfigKey<boolean> {
  return key(path, fallback, 'true or false', options, (raw) => {
    if (typeof raw === 'boolean') return raw
    if (typeof raw !== 'string') return undefined
    const text = raw.trim().toLowerCase()
    if (['true', '1', 'yes', 'on'].includes(text)) return true
    if (['false', '0', 'no', 'off'].includes(text)) return false
    return undefined
  })
}

export interface TextOptions extends KeyOptions {
  readonly pattern?: RegExp
  readonly expected?: string
}

export function text(path: string, fallback: string, options: TextOptions): ConfigKey<string> {
  return key(path, fallback, options.expected ?? 'a text', options, (raw) => {
    if (typeof raw !== 'string') return undefined
    return options.pattern && !options.pattern.test(raw) ? undefined : raw
  })
}

/** A text that may be missing: `null` until somebody gives it. */
export function optionalText(path: string, options: TextOptions): ConfigKey<string | null> {
  return key<string | null>(path, null, options.expected ?? 'a text', options, (raw) => {
    if (raw === null || raw === '') return null
    if (typeof raw !== 'string') return undefined
    return options.pattern && !options.pattern.test(raw) ? undefined : raw
  })
}

export function oneOf<const V extends string>(
  path: string,
  fallback: V,
  values: readonly V[],
  options: KeyOptions,
): ConfigKey<V> {
  return key(path, fallback, `one of ${values.join(', ')}`, options, (raw) => values.find((v) => v === raw))
}

export interface ListOptions extends KeyOptions {
  readonly min: number
  readonly max: number
}

/** Whole numbers, as `15,30,60` or as a YAML list. */
export function integers(
  path: string,
  fallback: readonly number[],
  options: ListOptions,
): ConfigKey<readonly number[]> {
  const expected = `whole numbers from ${options.min} to ${options.max}, separated by commas`
  return key<readonly number[]>(path, fallback, expected, options, (raw) => {
    const parts = typeof raw === 'string' ? raw.split(',') : Array.isArray(raw) ? raw : [raw]
    const numbers = parts.map(toNumber)
    const good = numbers.every((n) => n !== undefined && Number.isInteger(n) && n >= options.min && n <= options.max)
    return good && numbers.length > 0 ? (numbers as number[]) : undefined
  })
}

/**
 * A structure with a check of its own (scrape targets). `check` throws an Error that says where and what; `shown`
 * leaves out what is secret in it.
 */
export function structure<T>(
  path: string,
  fallback: T,
  expected: string,
  check: (raw: unknown) => T,
  options: KeyOptions & { readonly shown?: (value: T) => unknown },
): ConfigKey<T> {
  return {
    ...key<T>(path, fallback, expected, options, () => undefined),
    structured: true,
    shown: options.shown ?? ((value) => value),
    parse(raw) {
      try {
        return ok(check(raw))
      } catch (error) {
        return err(error instanceof Error ? error.message : expected)
      }
    },
  }
}
