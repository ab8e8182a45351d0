/**
 * The market-writer's side of its Unix socket (0600): reads commands of all instances, hands each to `take`, writes
 * answers and events.
 *
 * Bounded on every side: a connection with OPEN_MAX commands under way is not read until some are answered; one that
 * does not read what it is told is cut off at BEHIND_MAX, asks again by its keys when it is back, and takes a snapshot.
 * Nobody ever waits for another instance.
 */
import { chmodSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { messageOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { TelemetryFamily } from '../../base/telemetry.ts'
import type { Envelope } from '../commands.ts'
import { lineReader } from './lines.ts'
import { envelopeFromWire, LINE_MAX, PROTOCOL, type ToWriter } from './wire.ts'

/** Commands of one connection under way at once. */
const OPEN_MAX = 4_096
/** Bytes that may wait for a connection to be read. */
const BEHIND_MAX = 16 << 20
const CONNECTIONS_MAX = 1_000

export interface CommandServer {
  /** One line to everyone who listens; sent with the answers of the same turn, in order. */
  broadcast(line: string): void
  /** Sends what `reply` and `broadcast` gathered: one write a connection. */
  flush(): void
  readonly connections: number
  /** Connections that were cut off because they did not read. */
  readonly cutOff: number
  close(): Promise<void>
}

interface Connection {
  readonly socket: Socket
  name: string | null
  /** Wants no events. */
  quiet: boolean
  open: number
  lines: string[]
}

/**
 * Listens on `socketPath`. `take` gets each command with `reply`, to be called once with the line that answers it.
 * Rejects with an Error when the socket cannot be made.
 */
export async function serveCommands(options: {
  readonly socketPath: string
  readonly log: Log
  telemetry(): readonly TelemetryFamily[]
  take(envelope: Envelope, id: number, reply: (line: string) => void): void
}): Promise<CommandServer> {
  const { log } = options
  const connections = new Set<Connection>()
  let cutOff = 0

  const server = createServer((socket) => {
    const connection: Connection = { socket, name: null, quiet: false, open: 0, lines: [] }
    if (connections.size >= CONNECTIONS_MAX) return void socket.destroy()
    connections.add(connection)
    socket.setEncoding('utf8')
    socket.on('error', () => {}) // `close` follows
    socket.on('close', () => {
      connections.delete(connection)
      if (connection.name !== null) log.info('an instance left the market-writer', { instance: connection.name })
    })
    const reply = (line: string) => {
      connection.lines.push(line)
      if (connection.open-- === OPEN_MAX) socket.resume()
    }
    const read = lineReader(LINE_MAX, (line) => {
      if (socket.destroyed) return // cut off while its last words are read
      const message = JSON.parse(line) as ToWriter
      if ('hello' in message) {
        if (message.hello !== PROTOCOL) throw new Error(`it speaks protocol ${message.hello}, not ${PROTOCOL}`)
        connection.name = String(message.name).slice(0, 100)
        connection.quiet = message.quiet === true
        socket.write(`${JSON.stringify({ hello: PROTOCOL })}\n`)
        log.info('an instance joined the market-writer', { instance: connection.name })
        return
      }
      if ('telemetry' in message) {
        connection.lines.push(`${JSON.stringify({ id: message.id, telemetry: options.telemetry() })}\n`)
        return flush()
      }
      const envelope = envelopeFromWire(message.ask)
      if (++connection.open === OPEN_MAX) socket.pause()
      options.take(envelope, message.id, reply)
    })
    socket.on('data', (chunk) => {
      try {
        read(String(chunk))
      } catch (error) {
        log.error('an instance said something that is not understood', {
          instance: connection.name,
          why: messageOf(error),
        })
        socket.destroy()
      }
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.socketPath, () => {
      server.off('error', reject)
      resolve()
    })
  })
  chmodSync(options.socketPath, 0o600)
  server.on('error', (error) => log.error('the socket of the market-writer failed', { error }))

  function flush() {
    for (const connection of connections) {
      const { socket, lines, name } = connection
      if (lines.length === 0) continue
      const text = lines.join('')
      connection.lines = []
      if (socket.writableLength + text.length > BEHIND_MAX) {
        cutOff++
        connections.delete(connection)
        log.warn('an instance does not read what the market-writer tells it and is cut off', { instance: name })
        socket.destroy()
      } else if (!socket.destroyed) socket.write(text)
    }
  }

  return {
    flush,
    broadcast(line) {
      for (const { name, quiet, lines } of connections) if (name !== null && !quiet) lines.push(line)
    },
    get connections() {
      return connections.size
    },
    get cutOff() {
      return cutOff
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const { socket } of connections) socket.end()
      for (const { socket } of connections) socket.destroySoon()
      await closed
    },
  }
}
