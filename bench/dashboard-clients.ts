/**
 * Many dashboards open at once: messages each of them gets a period, and what front and control spend on them.
 *   node bench/dashboard-clients.ts [clients] [seconds]
 */
import { readFileSync } from 'node:fs'
import { ADMIN_TOKEN, sleep, startPlatform } from '../test/support/platform.ts'

const clients = Number(process.argv[2] ?? 1000)
const seconds = Number(process.argv[3] ?? 30)
const PERIOD_S = 2
const HZ = 100
const print = (line: string) => process.stdout.write(`${line}\n`)

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / HZ
}

async function spent(during: () => Promise<void>): Promise<Map<string, number>> {
  const processes = platform.processes()
  const before = processes.map((p) => cpuSeconds(p.pid))
  const started = performance.now()
  await during()
  const took = (performance.now() - started) / 1000
  return new Map(processes.map((p, i) => [p.kind, (100 * (cpuSeconds(p.pid) - before[i]!)) / took]))
}

interface Client {
  readonly socket: WebSocket
  updates: number
  snapshots: number
  /** Messages whose `seq` did not follow. */
  jumps: number
  seq: number
  bytes: number
}

function connect(url: string): Promise<Client> {
  const options = { headers: { authorization: `Bearer ${ADMIN_TOKEN}` } }
  const socket = new WebSocket(`${url}/api/v1/advanced-dashboard/ws`, options as unknown as string[])
  const client: Client = { socket, updates: 0, snapshots: 0, jumps: 0, seq: -1, bytes: 0 }
  return new Promise((done, fail) => {
    socket.addEventListener('error', () => fail(new Error('a client could not connect')))
    socket.addEventListener('message', ({ data }) => {
      const text = String(data)
      const seq = Number(/"seq":(\d+)/.exec(text)![1])
      if (text.startsWith('{"type":"update"')) {
        client.updates++
        if (client.seq >= 0 && seq !== client.seq + 1) client.jumps++
      } else client.snapshots++
      client.seq = seq
      client.bytes = text.length
      if (client.updates + client.snapshots === 1) done(client)
    })
  })
}

const main = process.env.OM_TEST_MAIN
const platform = await startPlatform(main ? { main } : {})
await sleep(15_000)
const idle = await spent(() => sleep(seconds * 1000))
const url = platform.url.replace('http', 'ws')
const open: Client[] = []
for (let i = 0; i < clients; i += 50) {
  open.push(...(await Promise.all(Array.from({ length: Math.min(50, clients - i) }, () => connect(url)))))
}
await sleep(2 * PERIOD_S * 1000)
for (const client of open) client.updates = 0
const busy = await spent(() => sleep(seconds * 1000))
const updates = open.map((c) => c.updates).sort((a, b) => a - b)
const lag = await platform.request('GET', '/metrics')
print(`${clients} dashboards, ${seconds} s, ${open[0]!.bytes} bytes a message`)
print(
  `  updates a period: least ${(updates[0]! / (seconds / PERIOD_S)).toFixed(2)}, most ${(updates.at(-1)! / (seconds / PERIOD_S)).toFixed(2)}`,
)
print(
  `  jumps in seq: ${open.reduce((sum, c) => sum + c.jumps, 0)}, snapshots each: ${open.reduce((sum, c) => sum + c.snapshots, 0) / clients}`,
)
for (const [kind, share] of busy)
  print(
    `  ${kind.padEnd(10)} ${share.toFixed(1)} % of a core, ${(idle.get(kind) ?? 0).toFixed(1)} % without dashboards`,
  )
for (const line of lag.text.split('\n')) if (/^\w*event_loop_lag\w*(\{|\s)/.test(line)) print(`  ${line}`)
for (const { socket } of open) socket.close()
await platform.remove()
process.exit(0)
