/**
 * A small service of known capacity, as a target of scaling: WORKERS requests at once, each SERVICE_MS long; others
 * wait in line. `/ready` is 503 until START_MS have passed and again once `/drain` was called.
 *
 *   GET /work    GET /ready    POST /drain (202 while requests are under way, then 200)    GET /stats
 *
 * FAIL=1 makes it end right after its start; while the file HELD_BY is there it does not get ready.
 */
import { existsSync } from 'node:fs'
import http from 'node:http'

const {
  PORT,
  INSTANCE_ID = '',
  START_MS = '0',
  SERVICE_MS = '20',
  WORKERS = '1',
  FAIL = '',
  HELD_BY = '',
} = process.env
if (FAIL !== '') process.exit(3)

const readyAt = performance.now() + Number(START_MS)
let held = HELD_BY !== ''
let draining = false
let busy = 0
let served = 0
const line = []

function next() {
  while (busy < Number(WORKERS) && line.length > 0) {
    const done = line.shift()
    busy++
    setTimeout(() => {
      busy--
      served++
      done()
      next()
    }, Number(SERVICE_MS))
  }
}

const server = http.createServer((request, response) => {
  request.resume()
  const answer = (status, body = '') => response.writeHead(status, { 'x-instance': INSTANCE_ID }).end(body)
  if (request.url === '/ready') {
    held &&= existsSync(HELD_BY)
    return answer(performance.now() >= readyAt && !draining && !held ? 200 : 503)
  }
  if (request.url === '/drain') {
    draining = true
    return answer(busy + line.length > 0 ? 202 : 200)
  }
  if (request.url === '/stats') return answer(200, JSON.stringify({ busy, waiting: line.length, served }))
  line.push(() => answer(200, 'done\n'))
  next()
})
server.keepAliveTimeout = 0
server.listen(Number(PORT), '127.0.0.1')
process.on('SIGTERM', () => {
  draining = true
  server.close(() => process.exit(0))
  if (busy + line.length === 0) process.exit(0)
})
