/** What the process driver is told of a target, and how it speaks to an instance over HTTP. */
import http from 'node:http'
import type { Scheduler } from '../../base/scheduler.ts'

/** Times in milliseconds. In `command` and `environment`, `{port}` and `{id}` are those of the instance. */
export interface ProcessSettings {
  readonly command: readonly string[]
  /** The folder it is started in; that of the platform when null. */
  readonly folder: string | null
  /** On top of PATH and the like, PORT and INSTANCE_ID. */
  readonly environment: Readonly<Record<string, string>>
  /** First and last port; null: any free one. */
  readonly ports: readonly [number, number] | null
  /** Null: ready as soon as it runs. */
  readonly ready: { readonly path: string; readonly timeoutMs: number } | null
  readonly checkEveryMs: number
  /** Not ready for so long after its start, an instance is replaced. */
  readonly readyWithinMs: number
  readonly drain: {
    /** POSTed until it answers 200 or 204. */
    readonly path: string | null
    readonly signal: NodeJS.Signals | null
    /** Between leaving the endpoints file and the call: how long balancers take to notice. */
    readonly lingerMs: number
    readonly withinMs: number
  }
  /** From SIGTERM to SIGKILL. */
  readonly stopWithinMs: number
  /** Kept with the addresses of what is ready, in the form of Prometheus' file_sd. */
  readonly endpointsFile: string | null
  /** Where instances write what they print; null: nowhere. */
  readonly logFolder: string | null
  /** Whether an orderly stop of the platform ends the instances as well. */
  readonly endWithPlatform: boolean
}

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
