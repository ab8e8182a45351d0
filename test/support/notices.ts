/** A webhook receiver, and a platform whose alerts go to it: what tests and benches of delivery start from. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Answer, type Platform, type PlatformOptions, startPlatform } from './platform.ts'

export interface Received {
  /** Monotonic milliseconds of this process. */
  readonly at: number
  readonly id: string
  readonly event: string
  readonly alertId: string
  readonly severity: string
  /** The label `n` of the series. */
  readonly n: string
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
  readonly body: any
}

export interface Receiver {
  readonly url: string
  readonly received: Received[]
  /** Status of the answer; 200 unless a test says otherwise. Null: the connection is cut. */
  answer: (received: Received) => number | null
  /** Resolves as soon as `check` holds; rejects after `withinMs`. */
  until(check: () => boolean, withinMs: number): Promise<void>
  close(): Promise<void>
}

export async function startReceiver(): Promise<Receiver> {
  const received: Received[] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const at = performance.now()
      const body = JSON.parse(Buffer.concat(chunks).toString())
      const { delivery_id: id, event, alert_id: alertId, severity } = body
      const one = { at, id, event, alertId, severity, n: body.metadata?.labels?.n ?? '', body }
      received.push(one)
      const status = receiver.answer(one)
      if (status === null) request.socket.destroy()
      else response.writeHead(status).end()
      for (const look of waiting) look()
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received,
    answer: () => 200,
    until(check, withinMs) {
      return new Promise((resolve, reject) => {
        const end = (settle: () => void) => {
          clearTimeout(timer)
          waiting.delete(look)
          settle()
        }
        const look = () => {
          if (check()) end(resolve)
        }
        const why = () => new Error(`not so after ${withinMs} ms; ${received.length} notices received`)
        const timer = setTimeout(() => end(() => reject(why())), withinMs)
        waiting.add(look)
        look()
      })
    },
    close() {
      server.closeAllConnections()
      return new Promise((done) => server.close(() => done()))
    },
  }
  return receiver
}

/** What a platform needs so that its alerts reach the receiver one by one. */
export const ALERT_ENV = {
  ALERTING_ALLOW_NETWORKS: '127.0.0.1',
  COLLECT_HOST: 'false',
}

/** A platform with a channel `hook` to the receiver and a rule on `delivery_test` above 50, series by series. */
export async function startAlerting(receiver: Receiver, options: PlatformOptions = {}): Promise<Platform> {
  const platform = await startPlatform({ ...options, env: { ...ALERT_ENV, ...options.env } })
  const call = async (method: string, path: string, body: unknown) =>
    ok(await platform.request(method, path, body), `${method} ${path}`)
  const alerting = '/api/v1/intelligent-alerting'
  await call('PUT', '/api/v1/config', { changes: { 'alerting.suppression_window': 0 } })
  const channel = { id: 'hook', name: 'Hook', type: 'webhook', config: { url: receiver.url, signing_secret: 's' } }
  await call('POST', `${alerting}/channels`, channel)
  await call('POST', `${alerting}/rules`, {
    id: 'delivery_test',
    name: 'Delivery test',
    description: 'Above 50',
    metric_name: 'delivery_test',
    condition: 'gt',
    threshold: 50,
    severity: 'warning',
    cooldown_period: 0,
    notification_channels: ['hook'],
  })
  return platform
}

export function ok(answer: Answer, what: string): Answer {
  if (answer.status >= 300) throw new Error(`${what}: ${answer.status} ${answer.text.slice(0, 500)}`)
  return answer
}
