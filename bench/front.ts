/**
 * What the hop through front costs: CPU time of the front process alone, for small requests and for bodies of remote
 * write. Behind it stands the tests' tiny child, so that nothing else is measured.
 *   node bench/front.ts [requests]
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { endFronts, startFront, until } from '../test/support/process/fronts.ts'

const requests = Number(process.argv[2] ?? 10_000)
const CLIENTS = 8
/** A body of 2,000 series, one sample each, is about 60 KB. */
const BODY_BYTES = 60_000
const SAMPLES = 2_000
const print = (line: string) => process.stdout.write(`${line}\n`)

function cpuMicroseconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

const front = await startFront()
await until(async () => (await front.ask('/').catch(() => null))?.status === 200)
const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
const body = Buffer.alloc(BODY_BYTES, 7)

function one(withBody: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${'x'.repeat(43)}`, accept: 'application/json' }
    const options = { port: front.port, agent, headers, path: '/api/v1/write', method: withBody ? 'POST' : 'GET' }
    const sent = request(options, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`))
      answer.resume().on('end', resolve)
    })
    sent.on('error', reject)
    sent.end(withBody ? body : undefined)
  })
}

async function all(count: number, withBody: boolean): Promise<void> {
  let left = count
  const client = async () => {
    while (left-- > 0) await one(withBody)
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
}

for (const withBody of [false, true]) {
  await all(2_000, withBody) // until the compiler has seen it
  const before = cpuMicroseconds(front.process.pid!)
  await all(requests, withBody)
  const each = (cpuMicroseconds(front.process.pid!) - before) / requests
  const perSample = withBody ? `, ${(each / SAMPLES).toFixed(3)} µs a sample` : ''
  print(`${withBody ? `${BODY_BYTES} bytes` : 'small request'}: ${each.toFixed(0)} µs of front${perSample}`)
}
await endFronts()
