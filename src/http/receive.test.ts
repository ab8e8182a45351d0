/** Receiving bodies over real sockets: limits, the budget that all share, and that all of it is given back. */
import http from 'node:http'
import net from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { AppError } from '../base/errors.ts'
import { type BodyBudget, createBodyBudget, receiveBody } from './receive.ts'

const LIMIT = 300_000
let budget: BodyBudget
let server: http.Server
let port: number

beforeEach(async () => {
  budget = createBodyBudget(500_000)
  server = http.createServer((request, response) => {
    receiveBody(request, LIMIT, budget).then(
      (body) => response.end(String(body.byteLength)),
      (error: AppError) => response.writeHead(error.status, { connection: 'close' }).end(error.code),
    )
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  port = (server.address() as net.AddressInfo).port
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
})

const post = async (body: Uint8Array | ReadableStream) => {
  const answer = await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body, duplex: 'half' } as RequestInit)
  return `${answer.status} ${await answer.text()}`
}

/** Sends half of a body and waits. */
async function stall(bytes: number): Promise<net.Socket> {
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${2 * bytes}\r\n\r\n`)
  socket.write(Buffer.alloc(bytes))
  return socket
}

const until = async (holds: () => boolean) => {
  while (!holds()) await new Promise((done) => setTimeout(done, 5))
}

test.each([0, 1, 16_384, 100_001, LIMIT])('a body of %i bytes arrives whole', async (bytes) => {
  expect(await post(Buffer.alloc(bytes, 7))).toBe(`200 ${bytes}`)
  await until(() => budget.taken === 0)
})

test('a chunked body too, and one beyond the limit is refused', async () => {
  const parts = (n: number) =>
    new ReadableStream({
      start(controller) {
        for (let i = 0; i < n; i++) controller.enqueue(new Uint8Array(10_000))
        controller.close()
      },
    })
  expect(await post(parts(20))).toBe('200 200000')
  expect(await post(parts(31))).toBe('413 body_too_large')
  await until(() => budget.taken === 0)
})

test('senders that stall together get no more than the budget; what they leave is there again', async () => {
  const first = await stall(140_000)
  await until(() => budget.taken >= 140_000)
  const second = await stall(140_000)
  await until(() => budget.taken >= 280_000)
  expect(await post(Buffer.alloc(290_000))).toBe('503 overloaded')
  expect(budget.taken).toBeLessThanOrEqual(500_000)
  expect(await post(Buffer.alloc(1_000))).toBe('200 1000')
  first.destroy()
  second.destroy()
  await until(() => budget.taken === 0)
  expect(await post(Buffer.alloc(290_000))).toBe('200 290000')
})
