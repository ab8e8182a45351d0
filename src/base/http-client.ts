/**
 * HTTP as messages need it: one small request to an address that the guard passes, over connections that are kept, with
 * one limit for the whole exchange. Redirects are not followed: a redirect could lead behind the firewall. Of an answer
 * no more than its first bytes are read.
 */
import http from 'node:http'
import https from 'node:https'
import type { AddressGuard } from './address.ts'
import type { Scheduler } from './scheduler.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly timeoutMs: number
  readonly signal: AbortSignal
  /** How much of the answer's body is read; 2 KiB when absent. */
  readonly bodyBytesMax?: number
}

export interface HttpAnswer {
  readonly status: number
  readonly statusText: string
  readonly headers: http.IncomingHttpHeaders
  /** The first bytes of the body, as text. */
  readonly body: string
}

export interface HttpClient {
  /** Rejects with an Error where no answer comes, with `AddressRefused` where none may be asked for. */
  request(url: URL, request: HttpRequest): Promise<HttpAnswer>
  close(): void
}

const BODY_BYTES = 2048

/** `trust`: certificates of authorities (PEM) in place of the system's. */
export function createHttpClient(guard: AddressGuard, scheduler: Scheduler, trust?: string): HttpClient {
  const options = { keepAlive: true, scheduling: 'lifo', maxFreeSockets: 64, timeout: 55_000 } as const
  const agents = {
    'http:': new http.Agent(options),
    'https:': new https.Agent({ ...options, ...(trust === undefined ? {} : { ca: trust }) }),
  }

  function once(
    url: URL,
    { method, headers, body, timeoutMs, signal, bodyBytesMax = BODY_BYTES }: HttpRequest,
  ): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      guard.check(url.hostname)
      const secure = url.protocol === 'https:'
      const { request: make } = secure ? https : http
      const bytes = Buffer.from(body)
      const length = method === 'GET' ? {} : { 'content-length': String(bytes.length) }
      const request = make(url, {
        method,
        agent: agents[secure ? 'https:' : 'http:'],
        lookup: guard.lookup,
        headers: { 'user-agent': 'opinion-market', ...headers, ...length },
        signal,
      })
      const limit = scheduler.after(timeoutMs, () => {
        request.destroy(new Error(`no answer within ${timeoutMs / 1000} s`))
      })
      const end = (settle: () => void) => {
        limit.cancel()
        settle()
      }
      request.on('error', (error) => {
        const stale = request.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
        end(() => reject(stale ? new StaleConnection() : error))
      })
      request.on('response', (response) => {
        const chunks: Buffer[] = []
        let size = 0
        // The status line is the answer; a body that breaks off or never ends changes nothing in it.
        const answered = () =>
          end(() =>
            resolve({
              status: response.statusCode ?? 0,
              statusText: response.statusMessage ?? '',
              headers: response.headers,
              body: Buffer.concat(chunks).subarray(0, bodyBytesMax).toString(),
            }),
          )
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk)
          size += chunk.length
          if (size >= bodyBytesMax) request.destroy()
        })
        response.on('error', answered)
        response.on('close', answered)
      })
      request.end(method === 'GET' ? undefined : bytes)
    })
  }

  return {
    // A kept connection that the other side had closed in the meantime: the request goes again, over a new one.
    async request(url, request) {
      for (let more = 3; ; more--) {
        try {
          return await once(url, request)
        } catch (error) {
          if (!(error instanceof StaleConnection) || more === 0) throw error
        }
      }
    },
    close() {
      agents['http:'].destroy()
      agents['https:'].destroy()
    },
  }
}

class StaleConnection extends Error {
  constructor() {
    super('the connection was closed by the other side')
  }
}
