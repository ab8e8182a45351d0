/**
 * What an instance's CPU takes for reads: quotes and markets, asked on its own Unix socket over kept connections, with
 * pipelining so that the client costs little. Beside it a bare fastify that answers the same bytes, on the same machine.
 *   node bench/market-reads.ts [requests]
 */
import { fork } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { eventually, startPlatform } from '../test/support/platform.ts'

const requests = Number(process.argv[2] ?? 60_000)
const CONNECTIONS = 16
const AT_ONCE = 8
const print = (line: string) => process.stdout.write(`${line}\n`)

if (process.argv[2] === '--bare') await bare(process.argv[3]!, process.argv[4]!)
else await measure()

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Sends `count` requests and checks that each is answered 200. */
async function load(socketPath: string, paths: readonly string[], headers: string, count: number): Promise<void> {
  let left = count
  let next = 0
  const client = () =>
    new Promise<void>((resolve, reject) => {
      const socket = connect(socketPath)
      let open = 0
      let rest = ''
      const send = () => {
        let out = ''
        for (; open < AT_ONCE && left > 0; open++, left--) {
          out += `GET ${paths[next++ % paths.length]} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`
        }
        if (out !== '') socket.write(out)
        else if (open === 0) socket.end(resolve)
      }
      socket.on('connect', send)
      socket.on('error', reject)
      socket.on('data', (chunk) => {
        rest += chunk.toString('latin1')
        for (;;) {
          const end = rest.indexOf('\r\n\r\n')
          if (end < 0) break
          const head = rest.slice(0, end)
          const length = Number(/content-length: (\d+)/i.exec(head)?.[1])
          if (rest.length < end + 4 + length) break
          if (!head.startsWith('HTTP/1.1 200')) return reject(new Error(rest.slice(0, 500)))
          rest = rest.slice(end + 4 + length)
          open--
        }
        send()
      })
    })
  await Promise.all(Array.from({ length: CONNECTIONS }, client))
}

async function measured(name: string, pid: number, socketPath: string, paths: readonly string[], headers: string) {
  await load(socketPath, paths, headers, 20_000) // until the compiler has seen it
  const before = cpuSeconds(pid)
  await load(socketPath, paths, headers, requests)
  const used = cpuSeconds(pid) - before
  print(
    `${name}: ${Math.round(requests / used).toLocaleString('en')} requests a CPU-second (${((used / requests) * 1e6).toFixed(1)} µs)`,
  )
}

async function measure(): Promise<void> {
  const env = {
    IDENTITY_REGISTRATIONS: '1000',
    MARKET_MARKETS_PER_DAY: '1000',
  }
  const platform = await startPlatform({ env })
  const put = { 'limits.requests_per_second': 1_000_000, 'limits.requests_burst': 1_000_000 }
  const more = { 'limits.address_requests_per_second': 1_000_000, 'limits.address_requests_burst': 1_000_000 }
  const { version } = (await platform.request('GET', '/api/v1/config')).json.data
  const changed = await platform.request(
    'PUT',
    '/api/v1/config',
    { changes: { ...put, ...more } },
    { 'if-match': `"${version}"` },
  )
  if (changed.status !== 200) throw new Error(changed.text)
  const bearer: string[] = []
  for (const name of ['reader_one', 'reader_two']) {
    const account = { username: name, password: 'Korrekt.Pferd' }
    await platform.request('POST', '/api/v1/auth/register', { ...account, email: `${name}@example.org` })
    const { data } = (await platform.request('POST', '/api/v1/auth/login', account)).json
    bearer.push(`Bearer ${data.access_token}`)
  }
  const ids: string[] = []
  for (let i = 0; i < 9; i++) {
    const market = {
      title: `Market ${i}`,
      question: 'Will it?',
      outcome_a: 'Yes',
      outcome_b: 'No',
      category: 'science',
      closes_at: '2099-01-01T00:00:00Z',
      total_liquidity: 100,
    }
    const made = await platform.request('POST', '/api/v1/markets', market, { authorization: bearer[0]! })
    if (made.status !== 201) throw new Error(made.text)
    ids.push(made.json.data.id)
  }
  const instance = await eventually(
    async () => platform.processes().find(({ kind }) => kind === 'instance'),
    (found) => found !== undefined,
  )
  const socketPath = join(platform.dir, 'data', 'run', 'instance-1.sock')
  const token = `Authorization: ${bearer[1]}\r\nX-Request-Id: bench-1\r\n`
  const nobody = 'X-Request-Id: bench-1\r\nX-Forwarded-For: 127.0.0.1\r\n'
  const markets = ids.map((id) => `/api/v1/markets/${id}`)
  const quotes = ids.map((id) => `/api/v1/markets/${id}/quote?outcome=outcome_a&side=buy&amount=10`)
  const mixed = markets.flatMap((path, i) => [path, quotes[i]!])
  await measured('markets, nobody', instance!.pid, socketPath, markets, nobody)
  await measured('quotes, nobody', instance!.pid, socketPath, quotes, nobody)
  await measured('markets and quotes, nobody', instance!.pid, socketPath, mixed, nobody)
  await measured('quotes, a trader', instance!.pid, socketPath, quotes, token)
  await measured('markets with the own holding, a trader', instance!.pid, socketPath, markets, token)

  const answer = await fetch(`${platform.url}${markets[0]}`).then((response) => response.text())
  const bareSocket = join(platform.dir, 'bare.sock')
  const child = fork(import.meta.filename, ['--bare', bareSocket, answer])
  await new Promise((resolve) => child.once('message', resolve))
  await measured('bare fastify, the same answer', child.pid!, bareSocket, markets, nobody)
  child.kill()
  await platform.remove()
}

async function bare(socketPath: string, answer: string): Promise<void> {
  const { default: fastify } = await import('fastify')
  const app = fastify()
  app.get('/api/v1/markets/:id', async (_request, reply) => {
    reply.type('application/json; charset=utf-8')
    return answer
  })
  await app.listen({ path: socketPath })
  process.send!('up')
}
