/** Calls of the platform's API with the session cookie. An ended session leads to the login page. */
import { toLogin } from './address.ts'

/** A refusal in the platform's own words. */
export class ApiError extends Error {
  readonly status: number
  readonly requestId: string | null
  constructor(status: number, detail: string, requestId: string | null) {
    super(detail)
    this.status = status
    this.requestId = requestId
  }
}

export interface Me {
  readonly name: string
  readonly role: string
}

/** The `data` of the answer. Throws `ApiError`; status 0 means that nobody answered. */
export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const answer = await raw(method, path, body, signal)
  return (answer as { data: T }).data
}

/** The whole answer, for protocols with an envelope of their own. */
export async function raw(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
  let response: Response
  try {
    response = await fetch(path, {
      method,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
      ...(signal ? { signal } : {}),
    })
  } catch (error) {
    if (signal?.aborted) throw error
    throw new ApiError(0, 'The platform does not answer.', null)
  }
  const text = await response.text()
  const answer = parsed(text) as { detail?: string; error?: { request_id?: string } | string } | null
  if (response.ok) return answer
  if (response.status === 401 && path !== '/api/v1/session') toLogin()
  const id = typeof answer?.error === 'object' ? (answer.error.request_id ?? null) : null
  const said = answer?.detail ?? (typeof answer?.error === 'string' ? answer.error : null)
  throw new ApiError(response.status, said ?? `The platform answered ${response.status}.`, id)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
