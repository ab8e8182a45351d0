/**
 * The OpenAPI 3.1 document, made from the schemas that validate: it cannot say anything that the server does not do.
 */
import type { ForeignShape, Route, RouteShape, SocketShape } from './route.ts'
import type { JsonSchema } from './schema.ts'
import { strict } from './schema.ts'

type AnyShape = RouteShape<never, never, never, never>

/** `routes` as they are served; those with `documented: false` are left out. */
export function openApi(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const shape of routes) {
    if ('documented' in shape && shape.documented === false) continue
    const path = shape.path.replace(/:(\w+)/g, '{$1}')
    const method = shape.method === 'SOCKET' ? 'get' : shape.method.toLowerCase()
    paths[path] = { ...paths[path], [method]: operation(shape as AnyShape | ForeignShape | SocketShape) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Opinion Market Platform',
      version,
      description:
        'Every answer of 2xx is `{success, data, message, timestamp}`, every other one has the schema `Error`. ' +
        'Roles: admin includes operator, operator includes viewer; trader stands beside them.',
    },
    servers: [{ url: '/' }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: 'om_session',
          description: 'On another port than 80 or 443: om_session_PORT.',
        },
      },
      schemas: { Error: errorSchema },
    },
  }
}

/** The one shape of errors, as the tests check it. */
export const errorSchema: JsonSchema = {
  type: 'object',
  required: ['success', 'detail', 'error', 'timestamp'],
  additionalProperties: false,
  properties: {
    success: { const: false },
    detail: { type: 'string', description: 'One plain sentence, safe to show.' },
    error: {
      type: 'object',
      required: ['code', 'fields', 'request_id'],
      additionalProperties: false,
      properties: {
        code: { type: 'string', description: 'A stable code for machines.' },
        fields: {
          type: 'array',
          items: {
            type: 'object',
            required: ['path', 'message'],
            properties: { path: { type: 'string' }, message: { type: 'string' } },
          },
        },
        request_id: { type: 'string' },
      },
    },
    timestamp: { type: 'number', description: 'Unix seconds.' },
  },
}

function envelope(data: JsonSchema | undefined): JsonSchema {
  return {
    type: 'object',
    required: ['success', 'timestamp', ...(data ? ['data'] : [])],
    additionalProperties: false,
    properties: {
      success: { const: true },
      ...(data ? { data } : {}),
      message: { type: 'string' },
      timestamp: { type: 'number', description: 'Unix seconds at which the answer was made.' },
    },
  }
}

const REFUSALS: Readonly<Record<number, string>> = {
  400: 'The body is not JSON, or a parameter cannot be read',
  401: 'No token, or one that does not hold',
  403: 'The role does not reach',
  404: 'There is no such thing',
  409: 'The state does not allow it, or the idempotency key was used for another request',
  412: 'If-Match is stale',
  413: 'The body is too large',
  415: 'The body is not JSON',
  422: 'A field is missing, unknown, of the wrong type or out of range',
  429: 'Too many requests',
  503: 'A part that is needed is down',
}

function operation(shape: AnyShape | ForeignShape | SocketShape): object {
  const write = shape.method !== 'GET' && shape.method !== 'SOCKET'
  // An open write (log-in) may still refuse what it is shown.
  const codes = [
    400,
    ...(shape.access === 'open' && !write ? [] : [401, 403]),
    404,
    ...(write ? [409, 412, 413, 415] : []),
    422,
    429,
    503,
  ]
  const refusals = Object.fromEntries(
    codes.map((code) => [code, { description: REFUSALS[code], content: json({ $ref: '#/components/schemas/Error' }) }]),
  )
  const common = {
    tags: [shape.tag],
    summary: shape.summary,
    description: roleSentence(shape.access),
    operationId: `${shape.method.toLowerCase()}_${shape.path.replace(/^\/(api\/v1\/)?/, '').replace(/\W+/g, '_')}`,
    security: shape.access === 'open' ? [] : [{ token: [] }, { session: [] }],
    'x-role': shape.access,
  }
  const names = [...shape.path.matchAll(/:(\w+)/g)].map((m) => m[1]!)
  const inPath = names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
  if ('socket' in shape) {
    return {
      ...common,
      parameters: [
        ...inPath,
        ...Object.entries({
          ...(shape.access === 'open' ? {} : { ticket: 'One of `ws-ticket`, where no header can be set' }),
          ...shape.inQuery,
        }).map(([name, description]) => ({
          name,
          in: 'query',
          required: false,
          description,
          schema: { type: 'string' },
        })),
      ],
      responses: { 101: { description: 'A WebSocket' }, 426: { description: 'Not asked to upgrade' } },
    }
  }
  if ('foreign' in shape) {
    return {
      ...common,
      parameters: inPath,
      ...(shape.consumes?.length
        ? { requestBody: { content: Object.fromEntries(shape.consumes.map((type) => [type, {}])) } }
        : {}),
      responses: { default: { description: 'As the protocol has it' } },
    }
  }
  const params = shape.params ? strict(shape.params as JsonSchema) : undefined
  const query = shape.query ? strict(shape.query as JsonSchema) : undefined
  const header = (name: string, schema: object) => ({ name, in: 'header', required: false, schema })
  return {
    ...common,
    parameters: [
      ...names.map((name) => ({
        name,
        in: 'path',
        required: true,
        schema: propertiesOf(params)[name] ?? { type: 'string' },
      })),
      ...Object.entries(propertiesOf(query)).map(([name, schema]) => ({
        name,
        in: 'query',
        required: ((query?.required as string[] | undefined) ?? []).includes(name),
        schema,
      })),
      ...(shape.idempotent ? [header('Idempotency-Key', { type: 'string', minLength: 1, maxLength: 255 })] : []),
      ...(shape.method === 'PUT' || shape.method === 'DELETE' ? [header('If-Match', { type: 'string' })] : []),
    ],
    ...(shape.body ? { requestBody: { content: bodies(strict(shape.body as JsonSchema), shape.form) } } : {}),
    responses: {
      [shape.status ?? 200]: {
        description: 'Done',
        content: json(envelope(shape.data ? strict(shape.data as JsonSchema) : undefined)),
      },
      ...refusals,
    },
  }
}

const json = (schema: object) => ({ 'application/json': { schema } })

const bodies = (schema: object, form?: boolean) =>
  form ? { ...json(schema), 'application/x-www-form-urlencoded': { schema } } : json(schema)

const propertiesOf = (schema: JsonSchema | undefined) => (schema?.properties ?? {}) as Record<string, JsonSchema>

function roleSentence(access: string): string {
  if (access === 'open') return 'Open: needs no token.'
  return access === 'authenticated' ? 'Needs any token.' : `Needs the role ${access.replaceAll('_', ' ')}.`
}
