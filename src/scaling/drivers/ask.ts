/** One request to an instance on this machine. */
import http from 'node:http'
import type { Scheduler } from '../../base/scheduler.ts'

/** The status of one request to an instance on this machine; null when none came. The answer's body is not read. */
export function ask(
  port: number,
  method: 'GET' | 'POST',
  path: string,
  timeoutMs: number,
  scheduler: Scheduler,
): Promise<number | null> {
  return new Promise((resolve) => {
    const request = http.request({
      host: '127.0.0.1',
      port,
      method,
      path,
      agent: false,
      headers: { connection: 'close' },
    })
    const limit = scheduler.after(timeoutMs, () => void request.destroy())
    const end = (status: number | null) => {
      limit.cancel()
      resolve(status)
    }
    request.on('response', (response) => {
      response.resume()
      end(response.statusCode ?? null)
    })
    request.on('error', () => end(null))
    request.on('close', () => end(null))
    request.end()
  })
}
