/** A child of front for tests: a real process behind the real `child.ts`, with one small server. */
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { connectToParent } from '../../../src/app/child.ts'
import { childLog } from '../../../src/app/log.ts'
import { systemClock } from '../../../src/base/clock.ts'

const child = connectToParent(process.argv)
const log = childLog(child.id, 'info', systemClock)
let config: unknown = null
let processes: unknown = null
let edge: unknown = null
let wanted: unknown = null
const events: unknown[] = []
child.onConfig((snapshot) => {
  config = snapshot
})
child.onProcesses((all) => {
  processes = all
})
child.onInstances((number, fence) => {
  wanted = { number, fence }
})
child.onEvent((event) => void events.push(event))
child.onEdge((window, telemetry) => {
  edge = { window, telemetry }
})

const server = createServer((request, response) => {
  const url = new URL(request.url!, 'http://x')
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', async () => {
    const body = Buffer.concat(chunks)
    if (url.pathname.endsWith('/slow'))
      await new Promise((resolve) => setTimeout(resolve, Number(url.searchParams.get('ms'))))
    if (url.pathname === '/die') process.kill(process.pid, 'SIGKILL')
    if (url.pathname === '/crash') setImmediate(() => undefinedFunction())
    if (url.pathname === '/log') log.error(url.searchParams.get('message') ?? '', { error: new Error('as asked') })
    if (url.pathname === '/configure') child.config(JSON.parse(body.toString()))
    if (url.pathname === '/instances') {
      child.instances(Number(url.searchParams.get('wanted')), Number(url.searchParams.get('fence')))
    }
    if (url.pathname === '/stuck') for (;;);
    response.setHeader('content-type', 'application/json')
    const sha = createHash('sha256').update(body).digest('hex')
    response.end(
      JSON.stringify({
        pid: process.pid,
        id: child.id,
        bytes: body.length,
        sha,
        config,
        processes,
        events,
        edge,
        wanted,
      }),
    )
  })
})
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64')
  socket.on('error', () => socket.destroy())
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  )
  socket.write(Buffer.from([0x81, 2, 0x68, 0x69])) // "hi"
})
declare function undefinedFunction(): void

child.onStop(async () => {
  await new Promise<void>((resolve) => server.close(() => resolve()))
  const file = process.env.TINY_STOPPED
  if (file) appendFileSync(file, `${child.id} stopped in order\n`)
})
server.listen(child.socketPath, () => {
  child.listening()
  child.ready(true)
  log.info('tiny child is up')
})
// TINY_FAILS=control fails always; TINY_FAILS=control:FILE while the file is there.
const [fails, whileThere] = (process.env.TINY_FAILS ?? '').split(':')
if (fails === child.id && (!whileThere || existsSync(whileThere))) process.exit(3)
