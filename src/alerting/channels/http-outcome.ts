/** What the answer of a provider over HTTP, or the want of one, means for the message. */

import { AddressRefused } from '../../base/address.ts'
import { messageOf } from '../../base/errors.ts'
import type { HttpAnswer } from '../../base/http-client.ts'
import type { Millis } from '../../base/time.ts'
import type { SendOutcome } from './channel.ts'

/** 2xx is success; what may pass (408, 425, 429, 5xx) is tried again; all else will not mend itself. */
export function outcomeOfAnswer(answer: HttpAnswer, now: Millis): SendOutcome {
  const { status } = answer
  const words = `${status} ${answer.statusText} ${readable(answer)}`.trim()
  if (status >= 200 && status < 300) return { kind: 'accepted', answer: words }
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return { kind: 'try_later', answer: words, retryAfterMs: retryAfter(answer.headers['retry-after'], now) }
  }
  const why = status >= 300 && status < 400 ? `${words} (redirects are not followed)` : words
  return { kind: 'refused', answer: why }
}

/** What an error on the way means for the message. */
export function outcomeOfError(error: unknown): SendOutcome {
  if (error instanceof AddressRefused) return { kind: 'refused', answer: error.message }
  return { kind: 'try_later', answer: messageOf(error) || 'the connection failed', retryAfterMs: null }
}

/** Seconds or a date (RFC 9110, section 10.2.3) as milliseconds from now; null where there is none. */
export function retryAfter(header: string | undefined, now: Millis): number | null {
  if (header === undefined) return null
  const text = header.trim()
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return Number.isFinite(ms) ? Math.max(0, ms) : null
}

/** A web page says nothing in one line. */
function readable(answer: HttpAnswer): string {
  return /html/.test(answer.headers['content-type'] ?? '') ? '' : answer.body
}
