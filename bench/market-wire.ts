/**
 * A load generator for the market that costs as little as it can: bare sockets, one request under way on each, answers
 * read by their Content-Length. Good for the platform's own answers alone.
 */
import net from 'node:net'

export interface Shot {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly token: string | null
  readonly body: string | null
}

export interface Tally {
  /** Milliseconds of each answer, in the order they came. */
  readonly ms: number[]
  readonly statuses: Map<number, number>
  /** The first body of each status that is no success. */
  readonly samples: Map<number, string>
  readonly seconds: number
}

/** Keeps `connections` busy for `seconds`; `next` makes the request of a connection, or null to rest a moment. */
export async function fire(
  port: number,
  connections: number,
  seconds: number,
  next: (connection: number) => Shot,
): Promise<Tally> {
  const ms: number[] = []
  const statuses = new Map<number, number>()
  const samples = new Map<number, string>()
  const started = performance.now()
  const until = started + seconds * 1000
  await Promise.all(Array.from({ length: connections }, (_, i) => one(i)))
  return { ms, statuses, samples, seconds: (performance.now() - started) / 1000 }

  function one(connection: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
      let sent = 0
      let got: Buffer = Buffer.alloc(0)
      const send = () => {
        if (performance.now() >= until) {
          socket.end()
          return resolve()
        }
        const { method, path, token, body } = next(connection)
        sent = performance.now()
        socket.write(
          `${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${token === null ? '' : `authorization: Bearer ${token}\r\n`}${
            body === null ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
          }\r\n${body ?? ''}`,
        )
      }
      socket.on('connect', send)
      socket.on('error', reject)
      socket.on('close', () => resolve())
      socket.on('data', (chunk: Buffer) => {
        got = got.length === 0 ? chunk : Buffer.concat([got, chunk])
        const head = got.indexOf('\r\n\r\n')
        if (head < 0) return
        const text = got.toString('latin1', 0, head)
        const length = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0)
        if (got.length < head + 4 + length) return
        const status = Number(text.slice(9, 12))
        ms.push(performance.now() - sent)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
        if (status >= 300 && !samples.has(status)) samples.set(status, got.toString('utf8', head + 4, head + 400))
        got = Buffer.alloc(0)
        send()
      })
    })
  }
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}
