/**
 * Durable commands a second of the market-writer: a process of its own, asked over its socket by one client that keeps a
 * number of commands under way. Prints commands a second, CPU time a command of the writer, and latencies.
 *   node bench/market-writer.ts [seconds] [under way] [markets] [users]
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../src/base/log.ts'
import { seededRandom, systemRandom } from '../src/base/random.ts'
import { systemScheduler } from '../src/base/scheduler.ts'
import type { Answer, Command } from '../src/market/commands.ts'
import type { MarketId, UserId } from '../src/market/model.ts'
import { connectWriter } from '../src/market/store/client.ts'
import { draft, rowsOfFile, startWriterProcess } from '../test/support/market-store.ts'

const [seconds = 10, underWay = 256, marketCount = 200, userCount = 1000] = process.argv.slice(2).map(Number)
const print = (line: string) => process.stdout.write(`${line}\n`)
const dir = mkdtempSync(join(tmpdir(), 'om-bench-'))
const writer = await startWriterProcess(dir)
const scheduler = systemScheduler((error) => {
  throw error
})
const client = connectWriter({
  socketPath: join(dir, 'market-writer.sock'),
  name: 'bench',
  scheduler,
  random: systemRandom,
  log: silentLog,
  patienceMs: 30_000,
})
const random = seededRandom(7)
let n = 0
const ask = (userId: string, command: Command): Promise<Answer> =>
  client.submit({ key: `k${++n}`, fingerprint: 'f', actor: { userId: userId as UserId, kind: 'admin' }, command })

const users = Array.from({ length: userCount }, (_, i) => `user-${i}` as UserId)
await Promise.all(users.map((userId) => ask(userId, { type: 'open_account', userId, username: userId })))
const markets: MarketId[] = []
for (let i = 0; i < marketCount; i++) {
  const answer = await ask(users[i % userCount]!, {
    type: 'create_market',
    draft: draft(Date.now() + 30 * 86_400_000, { title: `Market ${i}` }),
  })
  if (answer.ok && answer.done.type === 'market') markets.push(answer.done.marketId)
}

/** User and system time of a process, in seconds. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

const held = new Map<string, number>()
const took: number[] = []
const kinds = new Map<string, number>()
let over = false
async function one(): Promise<void> {
  while (!over) {
    const userId = users[Math.floor(random.next() * userCount)]!
    const marketId = markets[Math.floor(random.next() * marketCount)]!
    const outcome = random.next() < 0.5 ? 0 : 1
    const place = `${userId}/${marketId}/${outcome}`
    const mine = held.get(place) ?? 0
    const sells = mine > 0 && random.next() < 0.5
    const started = performance.now()
    const answer = await ask(userId, {
      type: 'trade',
      marketId,
      side: sells ? 'sell' : 'buy',
      outcome,
      shares: 10_000n,
      limit: null,
      version: null,
    })
    took.push(performance.now() - started)
    const kind = answer.ok ? 'trade' : answer.refusal.code
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    if (answer.ok) held.set(place, mine + (sells ? -1 : 1))
  }
}
const warm = 2
const clients = Array.from({ length: underWay }, one)
await scheduler.sleep(warm * 1000)
took.length = 0
const [cpu, own, at] = [cpuOf(writer.pid), process.cpuUsage(), performance.now()]
await scheduler.sleep(seconds * 1000)
const [usedCpu, usedOwn, elapsed] = [cpuOf(writer.pid) - cpu, process.cpuUsage(own), (performance.now() - at) / 1000]
const count = took.length
over = true
await Promise.all(clients)
took.sort((a, b) => a - b)
const quantile = (q: number) => took[Math.floor(took.length * q)]!.toFixed(1)
print(`${count} durable trades in ${elapsed.toFixed(1)} s: ${Math.round(count / elapsed)}/s`)
print(
  `writer: ${((usedCpu / count) * 1e6).toFixed(0)} µs CPU a trade, ${((usedCpu / elapsed) * 100).toFixed(0)} % of a core`,
)
print(`client: ${((usedOwn.user + usedOwn.system) / count).toFixed(0)} µs CPU a trade`)
print(`latency ms: p50 ${quantile(0.5)}, p95 ${quantile(0.95)}, p99 ${quantile(0.99)}`)
print(`answers: ${[...kinds].map(([kind, times]) => `${kind} ${times}`).join(', ')}`)
await client.close()
writer.child.stdin?.end()
await new Promise((done) => writer.child.on('exit', done))
const { trades } = await rowsOfFile(join(dir, 'market.db'))
print(`stored: ${trades.length} trades in ${(statSync(join(dir, 'market.db')).size / 2 ** 20).toFixed(0)} MiB`)
rmSync(dir, { recursive: true, force: true })
process.exit(0)
