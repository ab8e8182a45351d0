/** The way in, with real sockets on both sides: clients that behave in every way, processes that do as well. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import type { IncomingMessage, RequestListener, Server } from 'node:http'
import { createServer, request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { silentLog } from '../base/log.ts'
import { systemScheduler } from '../base/scheduler.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { createBalancer } from './balancer.ts'
import { type EdgeConfig, edgeKeys } from './config.ts'
import { createEdge } from './server.ts'
import { routeTable } from './table.ts'

const folder = mkdtempSync(join(tmpdir(), 'edge-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const closers: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const defaults = Object.fromEntries(Object.entries(edgeKeys).map(([name, key]) => [name, key.fallback]))
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 3000 && !what(); i++) await sleep(10)
  expect(what()).toBe(true)
}

async function edgeWith(config: Partial<EdgeConfig> = {}) {
  const scheduler = systemScheduler((error) => {
    throw error
  })
  const balancer = createBalancer(scheduler)
  const telemetry = createTelemetry()
  const table = routeTable([
    { prefix: '/', kind: 'control' },
    { prefix: '/write', kind: 'control', body: 'ingest' },
    { prefix: '/health', kind: 'control', monitoring: true },
    { prefix: '/ready', kind: 'control', monitoring: true },
  ])
  const full = { ...defaults, bodyBytesMax: 100_000, ...config } as EdgeConfig
  const warnings: Readonly<Record<string, unknown>>[] = []
  const log = { ...silentLog, warn: (_: string, fields = {}) => void warnings.push(fields) }
  const edge = createEdge({ config: full, table, balancer, telemetry, scheduler, log })
  const port = await edge.listen('127.0.0.1', 0)
  closers.push(() => edge.stop(0))

  let count = 0
  /** A process of the platform: its server on a Unix socket, known to the balancer. */
  async function backend(listener: RequestListener, kind = 'control'): Promise<{ id: string; server: Server }> {
    const id = `${kind}-${++count}`
    const path = join(folder, `${id}-${port}.sock`)
    const server = createServer(listener)
    await new Promise<void>((done) => server.listen(path, done))
    balancer.add(id, kind, path)
    balancer.setReady(id, true)
    closers.push(async () => {
      balancer.remove(id)
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    })
    return { id, server }
  }
  return { edge, port, balancer, backend, telemetry, warnings }
}

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

function ask(
  port: number,
  options: { path?: string; method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        port,
        path: options.path ?? '/',
        method: options.method ?? 'GET',
        headers: options.headers ?? {},
        agent: false,
      },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk) => chunks.push(chunk))
        answer.on('error', reject)
        answer.on('end', () =>
          resolve({ status: answer.statusCode!, headers: answer.headers, text: Buffer.concat(chunks).toString() }),
        )
      },
    )
    request.on('error', reject)
    request.end(options.body)
  })
}

/** A connection that speaks bytes. */
function raw(port: number): { socket: Socket; received(): string; ended: Promise<void> } {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  socket.on('error', () => {})
  closers.push(() => void socket.destroy())
  return { socket, received: () => text, ended: new Promise((done) => socket.on('close', () => done())) }
}

/** Answers with what it was asked. */
const mirror: RequestListener = (request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const body = Buffer.concat(chunks)
    const sha = createHash('sha256').update(body).digest('hex')
    response.setHeader('Content-Type', 'application/json')
    response.setHeader('Connection', 'X-Private')
    response.setHeader('X-Private', 'for front alone')
    const { method, url, headers } = request
    response.end(JSON.stringify({ method, url, headers, bytes: body.length, sha }))
  })
}

describe('a request', () => {
  test('arrives as it was sent, with true forwarding headers and without hop-by-hop ones', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const answer = await ask(port, {
      path: '/a%20b?x=1&x=2',
      method: 'POST',
      headers: {
        'X-Forwarded-For': '6.6.6.6',
        'X-Forwarded-Proto': 'https',
        'X-Forwarded-Host': 'evil.example',
        'X-Real-IP': '6.6.6.6',
        Forwarded: 'for=6.6.6.6',
        Connection: 'X-Hop, close',
        'X-Hop': 'gone',
        TE: 'trailers',
        Cookie: 'a=b',
      },
      body: 'hello',
    })
    const seen = JSON.parse(answer.text)
    expect(seen).toMatchObject({ method: 'POST', url: '/a%20b?x=1&x=2', bytes: 5 })
    expect(seen.headers).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `localhost:${port}`,
      cookie: 'a=b',
    })
    for (const name of ['x-real-ip', 'forwarded', 'x-hop', 'te']) expect(seen.headers).not.toHaveProperty(name)
    expect(answer.headers).not.toHaveProperty('x-private')
  })

  test.each([
    ['given', 'my-id.1:2_3', true],
    ['too long', 'x'.repeat(129), false],
    ['with a space', 'a b', false],
    ['with markup', '<script>', false],
  ])('keeps its id when that is sane, and gets one otherwise: %s', async (_, id, kept) => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const answer = await ask(port, { headers: { 'X-Request-Id': id } })
    const echoed = answer.headers['x-request-id']
    expect(echoed === id).toBe(kept)
    expect(echoed).toMatch(/^[A-Za-z0-9._:-]{1,128}$/)
    expect(JSON.parse(answer.text).headers['x-request-id']).toBe(echoed)
  })

  test('carries large bodies both ways, chunked or of known length', async () => {
    const { port, backend } = await edgeWith()
    const body = randomBytes(5_000_000)
    const sha = createHash('sha256').update(body).digest('hex')
    await backend((request, response) => {
      const length = request.headers['content-length']
      if (length) response.setHeader('Content-Length', length)
      request.pipe(response)
    })
    for (const headers of [{ 'Content-Length': String(body.length) }, { 'Transfer-Encoding': 'chunked' }]) {
      const back = await new Promise<Buffer>((resolve, reject) => {
        const request = httpRequest({ port, path: '/write', method: 'POST', headers }, (answer) => {
          const chunks: Buffer[] = []
          answer.on('data', (chunk) => chunks.push(chunk))
          answer.on('end', () => resolve(Buffer.concat(chunks)))
        })
        request.on('error', reject)
        for (let at = 0; at < body.length; at += 300_000) request.write(body.subarray(at, at + 300_000))
        request.end()
      })
      expect(createHash('sha256').update(back).digest('hex')).toBe(sha)
    }
  })

  test('comes back for HEAD, 204 and 304 without a body', async () => {
    const { port, backend } = await edgeWith()
    await backend((request, response) => {
      response.statusCode = Number(request.url!.slice(1))
      response.setHeader('ETag', '"1"')
      response.end(response.statusCode === 200 ? 'text' : undefined)
    })
    expect(await ask(port, { path: '/200', method: 'HEAD' })).toMatchObject({ status: 200, text: '' })
    expect(await ask(port, { path: '/204' })).toMatchObject({ status: 204, text: '' })
    expect((await ask(port, { path: '/304' })).headers.etag).toBe('"1"')
  })

  test('without a body is passed on without one, as `curl -X POST` sends it', async () => {
    const { port, backend } = await edgeWith()
    await backend((request, response) => response.end(JSON.stringify(request.headers)))
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString()
    })
    socket.write('POST /start HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    await new Promise((done) => socket.on('close', done))
    expect(text).toContain('"content-length":"0"')
    expect(text).not.toContain('transfer-encoding":"chunked')
  })

  test('of HTTP/1.0, which names no host, is answered', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const client = raw(port)
    client.socket.write('GET /old HTTP/1.0\r\n\r\n')
    await client.ended
    expect(client.received()).toMatch(/^HTTP\/1\.1 200 /)
    expect(client.received()).toContain('"url":"/old"')
  })

  test('may be pipelined: answers come in order', async () => {
    const { port, backend } = await edgeWith()
    await backend(async (request, response) => {
      const ms = Number(new URL(request.url!, 'http://x').searchParams.get('ms'))
      await sleep(ms)
      response.end(`<${ms}>`)
    })
    const client = raw(port)
    const one = (ms: number) => `GET /?ms=${ms} HTTP/1.1\r\nHost: x\r\n\r\n`
    client.socket.write(one(80) + one(1) + one(30))
    await until(() => client.received().includes('<30>'))
    expect(client.received().match(/<\d+>/g)).toEqual(['<80>', '<1>', '<30>'])
  })

  test('cannot hide another one in its body', async () => {
    const { port, backend } = await edgeWith()
    const seen: string[] = []
    await backend((request, response) => {
      seen.push(request.url!)
      mirror(request, response)
    })
    const hidden = 'GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n'
    for (const framing of [
      `Content-Length: ${hidden.length}\r\nConnection: content-length`,
      `Content-Length: ${hidden.length}\r\nConnection: keep-alive, Content-Length, host`,
      `Content-Length: ${hidden.length}\r\nTransfer-Encoding: chunked`,
      `Transfer-Encoding: identity`,
    ]) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        const client = raw(port)
        client.socket.end(`${method} /seen HTTP/1.1\r\nHost: x\r\n${framing}\r\n\r\n${hidden}`)
        await client.ended
      }
    }
    await ask(port, { path: '/last' })
    expect(seen.filter((url) => url === '/seen').length).toBeGreaterThanOrEqual(6)
    expect(seen).not.toContain('/hidden')
    expect(seen.at(-1)).toBe('/last')
  })

  test.each([
    ['GET http://other.example/a?b HTTP/1.1', 200, '/a?b'],
    ['GET http://other.example HTTP/1.1', 200, '/'],
    ['OPTIONS * HTTP/1.1', 400, ''],
    ['GET nonsense HTTP/1.1', 400, ''],
    ['CONNECT other.example:443 HTTP/1.1', 0, ''],
    ['NONSENSE / HTTP/1.1', 400, ''],
    ['GET /a\tb HTTP/1.1', 400, ''],
    ['GET / HTTP/9.9', 400, ''],
  ])('%s is answered with %i', async (line, status, url) => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const client = raw(port)
    client.socket.write(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`)
    await client.ended
    expect(Number(/^HTTP\/1\.1 (\d+)/.exec(client.received())?.[1] ?? 0)).toBe(status)
    if (url) expect(client.received()).toContain(`"url":"${url}"`)
  })
})

test('a request without Host is refused as every other bad request is; HTTP/1.0 needs none', async () => {
  const { port, backend } = await edgeWith()
  await backend(mirror)
  const ask = async (version: string) => {
    const client = raw(port)
    client.socket.write(`GET / HTTP/${version}\r\nConnection: close\r\n\r\n`)
    await client.ended
    return client.received()
  }
  const answer = await ask('1.1')
  expect(answer).toMatch(/^HTTP\/1\.1 400 /)
  expect(JSON.parse(answer.slice(answer.indexOf('{')))).toMatchObject({
    success: false,
    error: { code: 'bad_request' },
  })
  expect(await ask('1.0')).toMatch(/^HTTP\/1\.1 200 /)
})

describe('whatever a client sends', () => {
  const methods = ['GET', 'POST', 'HEAD', 'OPTIONS', 'PUT', 'TRACE', 'QUERY', 'get', 'CONNECT', '']
  const paths = ['/', '/a\tb', '/\f', '//', '/\x7f', '/ü', '/%', '/\u0000', '*', 'x', 'http://a/b\tc', '/health']
  const lines = [
    'Content-Length: 3',
    'Content-Length: -1',
    'Content-Length: 3, 3',
    'Content-Length: 99999999999999999999',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: gzip, chunked',
    'Transfer-Encoding : chunked',
    'Connection: upgrade',
    'Connection: close',
    'Connection: content-length, host',
    'Upgrade: websocket',
    'Expect: 100-continue',
    'Expect: something',
    'Host: other',
    'X-Request-Id: \u0001',
    'Idempotency-Key: k',
    'A: \tb\xff',
    'Bad Name: x',
    ': x',
    '\u0000: x',
  ]
  const bodies = ['', 'abc', '3\r\nabc\r\n0\r\n\r\n', 'zz\r\n', 'GET / HTTP/1.1\r\n\r\n', '\u0000\u0001']
  const anything = fc
    .tuple(
      fc.constantFrom(...methods),
      fc.constantFrom(...paths),
      fc.subarray(lines, { maxLength: 5 }),
      fc.constantFrom(...bodies),
      fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', ''),
    )
    .map(([method, path, headers, body, version]) => {
      return `${method} ${path} ${version}\r\nHost: x\r\n${headers.map((h) => `${h}\r\n`).join('')}\r\n${body}`
    })

  test('it is answered or cut off, never 5xx; nothing throws, nothing stays behind', { timeout: 60_000 }, async () => {
    const { port, backend, edge, balancer } = await edgeWith()
    await backend(mirror)
    await fc.assert(
      fc.asyncProperty(anything, async (bytes) => {
        const client = raw(port)
        client.socket.end(Buffer.from(bytes, 'latin1'))
        await client.ended
        expect(client.received()).not.toMatch(/^HTTP\/1\.1 5/m)
      }),
      { numRuns: 400 },
    )
    await until(() => edge.figures().requests_in_flight === 0 && edge.figures().connections === 0)
    expect(balancer.targets()[0]!.inFlight).toBe(0)
    expect((await ask(port)).status).toBe(200)
  })
})

describe('limits', () => {
  const shape = (text: string, code: string) => {
    const body = JSON.parse(text)
    expect(body).toMatchObject({ success: false, error: { code, fields: [] } })
    expect(body.error.request_id).toMatch(/\S/)
    expect(body.timestamp).toBeGreaterThan(1e9)
    expect(body.detail).toMatch(/\.$/)
  }

  test('a body over its limit is refused, told before it is sent or not', async () => {
    const { port, backend } = await edgeWith({ ingestBodyBytesMax: 500_000 })
    await backend(mirror)
    const known = await ask(port, { method: 'POST', body: 'x'.repeat(100_001) })
    expect(known.status).toBe(413)
    shape(known.text, 'body_too_large')
    const chunked = await ask(port, {
      method: 'POST',
      headers: { 'Transfer-Encoding': 'chunked' },
      body: 'x'.repeat(100_001),
    })
    expect(chunked.status).toBe(413)
    shape(chunked.text, 'body_too_large')
    expect((await ask(port, { method: 'POST', body: 'x'.repeat(100_000) })).status).toBe(200)
    expect((await ask(port, { method: 'POST', path: '/write', body: 'x'.repeat(500_000) })).status).toBe(200)
    expect((await ask(port, { method: 'POST', path: '/write', body: 'x'.repeat(500_001) })).status).toBe(413)
  })

  test('headers over their limit are refused with 431', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const answer = await ask(port, { headers: { 'X-Big': 'x'.repeat(20_000) } })
    expect(answer.status).toBe(431)
    shape(answer.text, 'headers_too_large')
  })

  test('a client that dribbles its headers is refused with 408', async () => {
    const { port } = await edgeWith({ headersTimeout: 1, requestTimeout: 1 })
    const client = raw(port)
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n')
    const dribble = setInterval(() => client.socket.write('X: y\r\n'), 200)
    await client.ended
    clearInterval(dribble)
    expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
    shape(client.received().split('\r\n\r\n')[1]!, 'request_too_slow')
  })

  test('a connection that says nothing is closed', async () => {
    const { port } = await edgeWith({ headersTimeout: 1, requestTimeout: 1 })
    await raw(port).ended
  })

  test('a client that stops within its body is refused, and the process is rid of it', async () => {
    const { port, backend } = await edgeWith({ bodyIdleTimeout: 1 })
    let aborted = false
    await backend((request) => {
      request.resume()
      request.on('close', () => {
        aborted = !request.complete
      })
    })
    const client = raw(port)
    client.socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nabc')
    await until(() => client.received().includes('body_too_slow'))
    expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
    await until(() => aborted)
  })

  test('a small body that does not become whole is refused, and no process hears of it', async () => {
    const { port, backend } = await edgeWith({ bodyIdleTimeout: 1 })
    let asked = 0
    await backend((_, response) => {
      asked++
      response.end()
    })
    const client = raw(port)
    client.socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc')
    await until(() => client.received().includes('body_too_slow'))
    expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
    expect(asked).toBe(0)
  })

  test('a client that does not read its answer is cut off', async () => {
    const { port, backend, edge } = await edgeWith({ bodyIdleTimeout: 1 })
    await backend((_, response) => {
      response.on('error', () => {})
      response.end(Buffer.alloc(50_000_000))
    })
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => edge.figures().requests_in_flight === 1)
    await until(() => edge.figures().requests_in_flight === 0)
    socket.destroy()
  })

  test('a process that does not answer is given up with 504', async () => {
    const { port, backend } = await edgeWith({ answerTimeout: 1 })
    await backend(() => {})
    const answer = await ask(port)
    expect(answer.status).toBe(504)
    shape(answer.text, 'answer_too_slow')
  })

  test('connections over the limit are refused, the others go on', async () => {
    const { port, backend, edge } = await edgeWith({ connectionsMax: 10 })
    await backend(mirror)
    const held = Array.from({ length: 10 }, () => raw(port))
    await until(() => edge.figures().connections === 10)
    await expect(ask(port)).rejects.toThrow()
    held[0]!.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => held[0]!.received().includes('200 OK'))
  })
})

describe('Expect: 100-continue', () => {
  const head = (length: number) =>
    `POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`

  test('the client is asked for its body, which arrives', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const client = raw(port)
    client.socket.write(head(5))
    await until(() => client.received().startsWith('HTTP/1.1 100 Continue'))
    client.socket.write('hello')
    await until(() => client.received().includes('"bytes":5'))
    expect(client.received()).not.toContain('"expect"')
  })

  test('a body that is too large is refused before it is sent', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const client = raw(port)
    client.socket.write(head(100_001))
    await client.ended
    expect(client.received()).toMatch(/^HTTP\/1\.1 413 /)
    expect(client.received()).not.toContain('100 Continue')
  })
})

describe('a client that goes away', () => {
  test('takes its request to the process with it', async () => {
    const { port, backend } = await edgeWith()
    let state = 'none'
    await backend((_, response) => {
      state = 'asked'
      response.on('close', () => {
        state = response.writableFinished ? 'answered' : 'aborted'
      })
    })
    const client = raw(port)
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => state === 'asked')
    client.socket.destroy()
    await until(() => state === 'aborted')
  })

  test('in the middle of its body or its answer harms nobody', async () => {
    const { port, backend, edge } = await edgeWith()
    await backend((request, response) => {
      request.resume()
      response.on('error', () => {})
      if (request.url === '/long') response.end(Buffer.alloc(20_000_000))
      else request.on('end', () => response.end('ok'))
    })
    for (const start of [
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc',
      'GET /long HTTP/1.1\r\nHost: x\r\n\r\n',
    ]) {
      const client = raw(port)
      client.socket.write(start)
      await until(() => edge.figures().requests_in_flight === 1)
      await sleep(30)
      client.socket.destroy()
      await until(() => edge.figures().requests_in_flight === 0)
    }
    expect((await ask(port)).text).toBe('ok')
  })
})

describe('a process that fails', () => {
  const dying: RequestListener = (request) => request.socket.destroy()

  test('an idempotent request, or one with a key, is sent to another', async () => {
    const { port, backend } = await edgeWith()
    let deaths = 0
    await backend((request, response) => {
      deaths++
      dying(request, response)
    })
    await backend(mirror)
    for (const options of [
      { method: 'GET' },
      { method: 'PUT', body: 'abc' },
      { method: 'POST', body: 'abc', headers: { 'Idempotency-Key': 'k' } },
    ]) {
      // Twice, so that the failing one is asked first at least once.
      for (let i = 0; i < 2; i++) {
        const answer = await ask(port, options)
        expect(answer.status).toBe(200)
        expect(JSON.parse(answer.text).bytes).toBe(options.body?.length ?? 0)
      }
    }
    expect(deaths).toBeGreaterThanOrEqual(3)
  })

  test('a request that may have been carried out is not sent again: 503 with Retry-After', async () => {
    const { port, backend } = await edgeWith()
    let asked = 0
    await backend((request, response) => {
      asked++
      dying(request, response)
    })
    for (const body of ['abc', '']) {
      const answer = await ask(port, { method: 'POST', body })
      expect(answer.status).toBe(503)
      expect(answer.headers['retry-after']).toBe('1')
      expect(JSON.parse(answer.text).error.code).toBe('unavailable')
    }
    expect(asked).toBe(2)
  })

  test('one that is gone, its end not yet known, costs no request of any kind', async () => {
    const { port, backend, balancer } = await edgeWith()
    const { id, server } = await backend(mirror)
    await new Promise((done) => server.close(done))
    const asked = [
      ask(port),
      ask(port, { method: 'POST', body: 'abc' }),
      ask(port, { method: 'POST', path: '/write', body: Buffer.alloc(200_000) }),
      ask(port, { method: 'POST', headers: { 'Transfer-Encoding': 'chunked' }, body: 'abc' }),
    ]
    await sleep(200)
    balancer.remove(id)
    await backend(mirror)
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200)
  })

  test('an answer that breaks off reaches the client as broken, and counts as an error', async () => {
    const { port, backend, edge } = await edgeWith()
    await backend((_, response) => {
      response.writeHead(200, { 'Content-Length': '100' })
      response.write('half')
      setTimeout(() => response.destroy(), 20)
    })
    await expect(ask(port)).rejects.toThrow()
    await until(() => edge.figures().requests_in_flight === 0)
    expect(edge.closeWindow()).toMatchObject({ requests: 1, errors: 1 })
  })

  test('one that answers before it has the body is heard', async () => {
    const { port, backend } = await edgeWith()
    await backend((_, response) => {
      response.writeHead(401, { 'Content-Type': 'text/plain' })
      response.end('no')
    })
    const answer = await ask(port, { path: '/write', method: 'POST', body: Buffer.alloc(3_000_000) })
    expect(answer).toMatchObject({ status: 401, text: 'no' })
  })
})

describe('while nobody is there', () => {
  test('a request waits for the process to come back', async () => {
    const { port, backend } = await edgeWith()
    const asked = [ask(port), ask(port, { method: 'POST', body: 'abc' })]
    await sleep(300)
    await backend(mirror)
    for (const answer of await Promise.all(asked)) expect(answer.status).toBe(200)
  })

  test('it is told so after two seconds, and the log has one line of it, without the query', async () => {
    const { port, balancer, warnings } = await edgeWith()
    const asked = Array.from({ length: 5 }, () => ask(port, { method: 'POST', path: '/a?secret=1', body: 'abc' }))
    const [answer] = (await Promise.all(asked)) as [Answer]
    await until(() => warnings.length > 0)
    expect(warnings[0]).toMatchObject({ status: 503, method: 'POST', path: '/a' })
    expect(warnings.reduce((sum, { count }) => sum + Number(count), 0)).toBeLessThanOrEqual(5)
    expect(answer.status).toBe(503)
    expect(answer.headers['retry-after']).toBe('1')
    expect(balancer.waiting).toBe(0)
  })

  test('a client that leaves meanwhile waits no longer', async () => {
    const { port, balancer } = await edgeWith()
    const client = raw(port)
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => balancer.waiting === 1)
    client.socket.destroy()
    await until(() => balancer.waiting === 0)
  })

  test('monitoring is told at once', async () => {
    const { port, balancer } = await edgeWith()
    expect(await ask(port, { path: '/health' })).toMatchObject({ status: 503, text: '{"status":"unhealthy"}' })
    expect(await ask(port, { path: '/ready?x' })).toMatchObject({ status: 503, text: '{"status":"not_ready"}' })
    expect(balancer.waiting).toBe(0)
  })
})

describe('a WebSocket', () => {
  const handshake =
    'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n'

  async function opened(port: number) {
    const client = raw(port)
    client.socket.write(handshake)
    await until(() => client.received().includes('\r\n\r\n'))
    return client
  }

  /** Accepts, then sends everything back. */
  const echo = (server: Server, sockets: Socket[] = []) =>
    server.on('upgrade', (_request, socket) => {
      sockets.push(socket as Socket)
      socket.on('error', () => {})
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: b\r\n\r\n',
      )
      socket.pipe(socket)
    })

  test('opens, carries bytes both ways, and ends with its client', async () => {
    const { port, backend, balancer } = await edgeWith()
    const { server } = await backend(mirror)
    const sockets: Socket[] = []
    echo(server, sockets)
    const client = await opened(port)
    expect(client.received()).toMatch(/^HTTP\/1\.1 101 /)
    expect(client.received()).toContain('Sec-WebSocket-Accept: b')
    const sent = randomBytes(3_000_000)
    let back = 0
    client.socket.on('data', (chunk) => {
      back += chunk.length
    })
    client.socket.write(sent)
    await until(() => back === sent.length)
    client.socket.destroy()
    await until(() => sockets[0]!.destroyed && balancer.targets()[0]!.sockets.size === 0)
  })

  test('lives on in silence, also on a connection that had been kept for a while', async () => {
    const { port, backend } = await edgeWith({
      keepAliveTimeout: 1,
      headersTimeout: 1,
      requestTimeout: 1,
      bodyIdleTimeout: 1,
    })
    echo((await backend(mirror)).server)
    const client = raw(port)
    client.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => client.received().includes('"url":"/"'))
    client.socket.write(handshake)
    await until(() => client.received().includes('101'))
    await sleep(3_000)
    client.socket.write('still here')
    await until(() => client.received().endsWith('still here'))
  })

  test('a client that does not read slows the process down instead of filling memory', async () => {
    const { port, backend } = await edgeWith()
    const { server } = await backend(mirror)
    let accepted = 0
    let blocked = false
    server.on('upgrade', (_request, socket) => {
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
      const chunk = Buffer.alloc(65_536)
      while (accepted < 2_000 && socket.write(chunk)) accepted++
      blocked = socket.writableNeedDrain
      socket.on('drain', () => {
        while (accepted < 2_000 && socket.write(chunk)) accepted++
      })
    })
    const socket = connect(port, '127.0.0.1')
    closers.push(() => void socket.destroy())
    socket.on('error', () => {})
    socket.pause()
    socket.write(handshake)
    await until(() => blocked)
    await sleep(300)
    expect(accepted).toBeLessThan(1_000)
  })

  test('gets 1012 when its process is gone', async () => {
    const { port, backend, balancer } = await edgeWith()
    const { server, id } = await backend(mirror)
    const sockets: Socket[] = []
    echo(server, sockets)
    for (const leave of [() => sockets.at(-1)!.destroy(), () => balancer.remove(id)]) {
      const client = await opened(port)
      const before = client.received().length
      leave()
      await client.ended
      const frame = Buffer.from(client.received().slice(before), 'latin1')
      expect([frame[0], frame.readUInt16BE(2)]).toEqual([0x88, 1012])
    }
  })

  test('hears the refusal of the process', async () => {
    const { port, backend } = await edgeWith()
    const { server } = await backend(mirror)
    server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno'))
    const client = await opened(port)
    await client.ended
    expect(client.received()).toMatch(/^HTTP\/1\.1 401 Unauthorized[\s\S]*\r\n\r\nno$/)
  })

  test('is refused with 503 while nobody is there, and waits before', async () => {
    const { port, backend } = await edgeWith()
    const refused = raw(port)
    refused.socket.write(handshake)
    await refused.ended
    expect(refused.received()).toMatch(/^HTTP\/1\.1 503 /)
    const waiting = raw(port)
    waiting.socket.write(handshake)
    await sleep(200)
    echo((await backend(mirror)).server)
    await until(() => waiting.received().includes('101'))
  })

  test('many at once all open, more than a process takes in one go', { timeout: 60_000 }, async () => {
    const { port, backend, balancer } = await edgeWith()
    const { server, id } = await backend(mirror)
    const path = balancer.targets()[0]!.socketPath
    // A queue of one: the system refuses what comes beside it.
    await new Promise((done) => server.close(done))
    await new Promise<void>((done) => server.listen({ path, backlog: 1 }, done))
    echo(server)
    const clients = Array.from({ length: 300 }, () => raw(port))
    for (const client of clients) client.socket.write(handshake)
    await until(() => clients.every((client) => client.received().includes('101 Switching')))
    expect(balancer.targets().find((target) => target.id === id)!.sockets.size).toBe(300)
  })

  test('another protocol to upgrade to is ignored', async () => {
    const { port, backend } = await edgeWith()
    await backend(mirror)
    const client = raw(port)
    client.socket.write(
      'GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n\r\n',
    )
    await until(() => client.received().includes('"url":"/a"'))
    expect(client.received()).not.toContain('http2-settings')
  })
})

describe('rate, errors and duration', () => {
  test('count what clients got; monitoring and WebSockets are left out', async () => {
    const { port, backend, edge, telemetry } = await edgeWith()
    await backend(async (request, response) => {
      if (request.url === '/slow') await sleep(60)
      response.statusCode = request.url === '/bad' ? 500 : 200
      response.end('x')
    })
    edge.closeWindow()
    for (const path of ['/', '/', '/bad', '/slow', '/health', '/ready', '/health']) await ask(port, { path })
    await until(() => edge.figures().requests_in_flight === 0)
    const window = edge.closeWindow()
    expect(window).toMatchObject({ requests: 4, errors: 1 })
    expect(window.p99Ms!).toBeGreaterThanOrEqual(59)
    expect(window.p50Ms!).toBeLessThan(59)
    expect(window.seconds).toBeGreaterThan(0)
    expect(edge.closeWindow()).toMatchObject({ requests: 0, errors: 0, p50Ms: null, p95Ms: null, p99Ms: null })
    const total = telemetry.snapshot().find((family) => family.name === 'edge_requests_total')!
    const of = (group: string, status: string) =>
      total.samples.find((s) => s.labels.group === group && s.labels.status === status)!.value
    expect([of('service', '2xx'), of('service', '5xx'), of('monitoring', '2xx')]).toEqual([3, 1, 3])
  })
})

describe('stopping', () => {
  test('finishes what is under way, takes nothing new, and says so on kept connections', async () => {
    const { port, backend, edge } = await edgeWith()
    await backend(async (_, response) => {
      await sleep(300)
      response.end('done')
    })
    const asked = [ask(port), ask(port, { method: 'POST', body: 'abc' })]
    await until(() => edge.figures().requests_in_flight === 2)
    const stopping = edge.stop(4_000)
    await expect(ask(port)).rejects.toThrow()
    for (const answer of await Promise.all(asked)) {
      expect(answer).toMatchObject({ status: 200, text: 'done' })
      expect(answer.headers.connection).toBe('close')
    }
    await stopping
    expect(edge.figures().connections).toBe(0)
  })

  test('waits no longer than it was told', async () => {
    const { port, backend, edge } = await edgeWith()
    await backend(() => {})
    const asked = ask(port).catch(() => 'cut')
    await until(() => edge.figures().requests_in_flight === 1)
    await edge.stop(200)
    expect(await asked).toBe('cut')
  })
})
