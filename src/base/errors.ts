/**
 * Errors that a client may see. A room throws `AppError` with the HTTP status it means; `http/` turns it into the
 * one error shape of the platform. Anything else that is thrown is a fault of ours: 500, logged, nothing shown.
 */
export interface FieldError {
  /** Where: `labels.host`, `0.value`. */
  readonly path: string
  /** What was wrong and what would be right. */
  readonly message: string
}

export interface AppErrorOptions {
  readonly fields?: readonly FieldError[]
  readonly retryAfterSeconds?: number
  readonly cause?: unknown
}

export class AppError extends Error {
  readonly status: number
  /** Stable machine code: `rule_not_found`. */
  readonly code: string
  readonly fields: readonly FieldError[]
  readonly retryAfterSeconds: number | undefined

  /** `detail` is one plain sentence, safe to show. */
  constructor(status: number, code: string, detail: string, options: AppErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'AppError'
    this.status = status
    this.code = code
    this.fields = options.fields ?? []
    this.retryAfterSeconds = options.retryAfterSeconds
  }
}

export const badRequest = (detail: string, code = 'bad_request') => new AppError(400, code, detail)
export const unauthorized = (detail: string, code = 'not_authenticated') => new AppError(401, code, detail)
export const forbidden = (detail: string, code = 'role_missing') => new AppError(403, code, detail)
export const notFound = (code: string, detail: string) => new AppError(404, code, detail)
export const conflict = (code: string, detail: string) => new AppError(409, code, detail)
export const invalid = (fields: readonly FieldError[], detail = describeFields(fields)) =>
  new AppError(422, 'validation_failed', detail, { fields })
export const tooMany = (detail: string, retryAfterSeconds: number) =>
  new AppError(429, 'too_many_requests', detail, { retryAfterSeconds })
export const unavailable = (detail: string, retryAfterSeconds = 5, code = 'unavailable') =>
  new AppError(503, code, detail, { retryAfterSeconds })

function describeFields(fields: readonly FieldError[]): string {
  const first = fields[0]
  if (!first) return 'The request is not valid.'
  const more = fields.length > 1 ? ` (and ${fields.length - 1} more)` : ''
  return `${first.path || 'body'}: ${first.message}${more}`
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
