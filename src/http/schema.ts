/**
 * Validation with the schemas of routes, in words for a person.
 *
 * What a client sends is checked strictly: unknown fields are refused at every depth, nothing is converted in a body,
 * and query parameters (always text) are converted to the type their schema names. A property with a `default` may be
 * left out, and is filled in.
 */
import { Compile } from 'typebox/schema'
import type { FieldError } from '../base/errors.ts'
import { AppError } from '../base/errors.ts'
import { lazy } from '../base/lazy.ts'
import { nearest } from '../base/nearest.ts'

/** JSON Schema as plain data; what a typebox schema is. */
export type JsonSchema = { readonly [keyword: string]: unknown }

export interface Check {
  /** The strict schema that is checked, for the documentation. */
  readonly schema: JsonSchema
  /** Problems of the value; empty when it is right. */
  problems(value: unknown): FieldError[]
}

/** A check that is made and compiled at its first use: a server has more routes than it is asked for. */
export function checkOf(loose: object): Check {
  const schema = lazy(() => strict(loose as JsonSchema))
  const compiled = lazy(() => Compile(schema()))
  return {
    get schema() {
      return schema()
    },
    problems: (value) => (compiled().Check(value) ? [] : describe(compiled().Errors(value)[1], schema())),
  }
}

/** The schema with objects closed, and with properties that have a default left out of `required`. */
export function strict(schema: JsonSchema, closed = true): JsonSchema {
  const out: Record<string, unknown> = { ...schema }
  const each = (value: unknown, close = true) =>
    Object.fromEntries(Object.entries(value as object).map(([k, v]) => [k, strict(v as JsonSchema, close)]))
  if (isObject(schema.properties)) {
    out.properties = each(schema.properties)
    if (Array.isArray(schema.required)) {
      const properties = schema.properties as Record<string, JsonSchema>
      out.required = schema.required.filter((name: string) => properties[name]?.default === undefined)
    }
  }
  if (isObject(schema.patternProperties)) {
    const patterns = each(schema.patternProperties)
    // A record with any text as key: its pattern would not see a key with a line break.
    if (patterns['^.*$'] && Object.keys(patterns).length === 1) {
      out.additionalProperties = patterns['^.*$']
      delete out.patternProperties
    } else out.patternProperties = patterns
  } else if (isObject(schema.additionalProperties)) {
    out.additionalProperties = strict(schema.additionalProperties)
  }
  if (closed && schema.type === 'object' && out.additionalProperties === undefined) {
    if (out.properties || out.patternProperties) out.additionalProperties = false
  }
  if (isObject(schema.items)) out.items = strict(schema.items)
  for (const key of ['anyOf', 'oneOf', 'prefixItems'] as const) {
    if (Array.isArray(schema[key])) out[key] = schema[key].map((s: JsonSchema) => strict(s, closed))
  }
  if (Array.isArray(schema.allOf)) {
    out.allOf = schema.allOf.map((s: JsonSchema) => strict(s, false))
    if (closed) out.unevaluatedProperties = false
  }
  return out
}

const isObject = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Fills properties that are missing and have a default, at every depth that is there. Changes `value`. */
export function fillDefaults(value: unknown, schema: JsonSchema): void {
  if (Array.isArray(value)) {
    if (isObject(schema.items)) for (const item of value) fillDefaults(item, schema.items)
    return
  }
  if (!isObject(value) || !isObject(schema.properties)) return
  const record = value as Record<string, unknown>
  for (const [name, inner] of Object.entries(schema.properties as Record<string, JsonSchema>)) {
    if (Object.hasOwn(record, name)) fillDefaults(record[name], inner)
    else if (inner.default !== undefined) record[name] = structuredClone(inner.default)
  }
}

/** Query parameters or path parameters by their schema. What cannot be read as its type at all is a 400. */
export function convertTexts(
  entries: Iterable<readonly [string, string]>,
  schema: JsonSchema,
): Record<string, unknown> {
  const properties = (schema.properties ?? {}) as Record<string, JsonSchema>
  const out: Record<string, unknown> = Object.create(null)
  for (const [name, text] of entries) {
    const kind = Object.hasOwn(properties, name) ? properties[name] : undefined
    if (kind?.type === 'array') {
      const items = isObject(kind.items) ? kind.items : {}
      out[name] = [...((out[name] as unknown[] | undefined) ?? []), convertText(name, text, items)]
    } else if (name in out) {
      throw new AppError(400, 'parameter_twice', `The parameter ${name} is given more than once.`)
    } else out[name] = convertText(name, text, kind ?? {})
  }
  return out
}

function convertText(name: string, text: string, schema: JsonSchema): unknown {
  const unreadable = (expected: string) =>
    new AppError(400, 'parameter_unreadable', `The parameter ${name} is not ${expected}.`, {
      fields: [{ path: name, message: `expected ${expected}` }],
    })
  if (schema.type === 'number' || schema.type === 'integer') {
    const n = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN
    if (!Number.isFinite(n)) throw unreadable('a number')
    return n
  }
  if (schema.type === 'boolean') {
    if (text === 'true' || text === '1') return true
    if (text === 'false' || text === '0') return false
    throw unreadable('true or false')
  }
  // Not every database can store it.
  if (text.includes('\0')) throw unreadable('text without the character NUL')
  return text
}

// ------------------------------------------------------------------------------------------- errors in words

interface SchemaError {
  readonly keyword: string
  readonly schemaPath: string
  readonly instancePath: string
  readonly params: object
  readonly message: string
}

function describe(errors: readonly SchemaError[], schema: JsonSchema): FieldError[] {
  const unions = errors.filter((e) => e.keyword === 'anyOf' || e.keyword === 'oneOf')
  const fields: FieldError[] = []
  for (const error of errors) {
    // The members of a union that do not fit are told by the union itself.
    if (unions.some((u) => u !== error && error.schemaPath.startsWith(`${u.schemaPath}/${u.keyword}/`))) continue
    const path = error.instancePath.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~')
    const p = error.params as Record<string, unknown>
    const inner = (name: string) => (path === '' ? name : `${path}.${name}`)
    const add = (message: string, at = path) => fields.push({ path: at, message })
    const place = () => schemaAt(schema, error.schemaPath)
    switch (error.keyword) {
      case 'boolean':
        break // said by additionalProperties
      case 'required':
        for (const name of p.requiredProperties as string[]) add('is required', inner(name))
        break
      case 'additionalProperties': {
        const known = Object.keys((place().properties ?? {}) as object)
        for (const name of (p.additionalProperties as string[]).slice(0, 10)) {
          const guess = nearest(name, known)
          add(guess ? `is not known; did you mean "${guess}"?` : 'is not known', inner(name))
        }
        break
      }
      case 'unevaluatedProperties':
        for (const name of (p.unevaluatedProperties as string[]).slice(0, 10)) add('is not known', inner(name))
        break
      case 'anyOf':
      case 'oneOf': {
        const members = (place()[error.keyword] ?? []) as JsonSchema[]
        add(`expected ${[...new Set(members.map(kindOf))].join(' or ')}`)
        break
      }
      case 'type':
      case 'const':
      case 'enum':
        add(`expected ${kindOf(place())}`)
        break
      case 'minimum':
        add(`must be at least ${p.limit}`)
        break
      case 'maximum':
        add(`must be at most ${p.limit}`)
        break
      case 'exclusiveMinimum':
        add(`must be more than ${p.limit}`)
        break
      case 'exclusiveMaximum':
        add(`must be less than ${p.limit}`)
        break
      case 'minLength':
      case 'maxLength':
        add(`must have at ${error.keyword === 'minLength' ? 'least' : 'most'} ${p.limit} characters`)
        break
      case 'minItems':
      case 'maxItems':
        add(`must have at ${error.keyword === 'minItems' ? 'least' : 'most'} ${p.limit} entries`)
        break
      case 'minProperties':
      case 'maxProperties':
        add(`must have at ${error.keyword === 'minProperties' ? 'least' : 'most'} ${p.limit} fields`)
        break
      case 'format':
        add(place().format === 'date-time' ? `must be ${TIME}` : error.message)
        break
      case 'pattern':
        add(`must match ${place().pattern}`)
        break
      default:
        add(error.message)
    }
  }
  return fields.length > 0 ? fields.slice(0, 20) : [{ path: '', message: 'does not have the expected form' }]
}

const KINDS: Readonly<Record<string, string>> = {
  number: 'a number',
  integer: 'a whole number',
  string: 'a text',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'null',
}

const TIME = 'a time such as 2026-01-05T09:41:02Z'

function kindOf(schema: JsonSchema): string {
  if (schema.format === 'date-time') return TIME
  if ('const' in schema) return JSON.stringify(schema.const)
  if (Array.isArray(schema.enum)) return schema.enum.map((v) => JSON.stringify(v)).join(' or ')
  if (Array.isArray(schema.type)) return schema.type.map((t) => KINDS[t]).join(' or ')
  return KINDS[String(schema.type)] ?? 'another form'
}

function schemaAt(schema: JsonSchema, pointer: string): JsonSchema {
  let at: unknown = schema
  for (const part of pointer.split('/').slice(1)) {
    at = (at as Record<string, unknown> | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')]
  }
  return isObject(at) ? at : {}
}
