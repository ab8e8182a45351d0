/** What can be configured of the way in: limits that hold before a request reaches any process of the platform. */
import type { ConfigOf } from '../base/config-key.ts'
import { integer, seconds } from '../base/config-key.ts'

const MIB = 1024 * 1024

export const edgeKeys = {
  connectionsMax: integer('edge.connections_max', 10_000, {
    help: 'Most client connections open at once; more are refused.',
    min: 10,
    max: 1_000_000,
    unit: 'connections',
    live: true,
  }),
  headerBytesMax: integer('edge.header_bytes_max', 16_384, {
    help: 'Most bytes of request line and headers together; more is answered 431.',
    min: 4_096,
    max: MIB,
    unit: 'bytes',
  }),
  ingestBodyBytesMax: integer('edge.ingest_body_bytes_max', 64 * MIB, {
    help: 'Most bytes of a body of metrics (remote write, OTLP, imports, batches of points), as sent; more is answered 413.',
    min: 1_024,
    max: 1024 * MIB,
    unit: 'bytes',
    live: true,
  }),
  headersTimeout: seconds('edge.headers_timeout', 10, {
    help: 'How long a client may take to send its headers.',
    min: 1,
    max: 600,
  }),
  bodyIdleTimeout: seconds('edge.body_idle_timeout', 20, {
    help: 'How long a client may pause within a request body, or while it reads an answer.',
    min: 1,
    max: 3_600,
    live: true,
  }),
  requestTimeout: seconds('edge.request_timeout', 300, {
    help: 'How long a client may take to send a whole request.',
    min: 1,
    max: 86_400,
  }),
  answerTimeout: seconds('edge.answer_timeout', 120, {
    help: 'How long a process of the platform may take to start its answer; then the client gets 504.',
    min: 1,
    max: 3_600,
    live: true,
  }),
  keepAliveTimeout: seconds('edge.keep_alive_timeout', 75, {
    help: 'How long an idle connection of a client is kept.',
    min: 1,
    max: 3_600,
  }),
}

export type EdgeConfig = ConfigOf<typeof edgeKeys> & {
  /** Most bytes of any other body: `limits.body_bytes`. */
  readonly bodyBytesMax: number
}
