/** Time as a plain number. Data carries milliseconds; only the edges (JSON, PromQL) speak anything else. */

/** Milliseconds since the Unix epoch; whole for samples. */
export type Millis = number

export const SECOND = 1000
export const MINUTE = 60 * SECOND
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR

/** `2025-01-31T09:30:00.000Z`, the form of every time in a data field. */
export function toIso(at: Millis): string {
  return new Date(at).toISOString()
}

const ISO = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})$/

/** Milliseconds of an ISO 8601 time with a zone, or `null` when the text is not one. */
export function fromIso(text: string): Millis | null {
  if (!ISO.test(text)) return null
  const at = Date.parse(text)
  return Number.isFinite(at) ? at : null
}
