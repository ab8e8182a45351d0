/**
 * The log as rooms see it: a message for a person, fields for a machine. `app/` builds the real one (pino) and hands
 * it in. Never put a secret, a request body or an outgoing address into a field.
 */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export interface Log {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  /** A field named `error` may hold what was thrown. */
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
  /** A log that adds these fields to every line. */
  with(fields: Readonly<Record<string, unknown>>): Log
}

const nothing = () => {}

/** For tests and for tools that report otherwise. */
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, with: () => silentLog }
