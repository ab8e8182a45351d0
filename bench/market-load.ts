/**
 * The market over HTTP, through front, with the load generator on the same cores: durable trades, limit orders beside them,
 * and reads; CPU of each process for each trade; pgbench on PostgreSQL in the same run, where there is one.
 *   node bench/market-load.ts [--seconds 15] [--connections 64] [--markets 50] [--traders 64] [--pgbench /usr/lib/postgresql/15/bin/pgbench]
 *                             [--pg postgresql://postgres@127.0.0.1:5432/test]   (the market on PostgreSQL instead)
 *                             [--profile DIRECTORY]   (a CPU profile of each process, written when it ends)
 *                             [--only trades|reads]
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { startPlatform } from '../test/support/platform.ts'
import { fire, quantile, type Shot, type Tally } from './market-wire.ts'

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '15' },
    connections: { type: 'string', default: '64' },
    markets: { type: 'string', default: '50' },
    traders: { type: 'string', default: '64' },
    pgbench: { type: 'string', default: '/usr/lib/postgresql/15/bin/pgbench' },
    pg: { type: 'string' },
    profile: { type: 'string' },
    only: { type: 'string' },
  },
})
const seconds = Number(options.seconds)
const connections = Number(options.connections)
const HZ = 100
const print = (line: string) => process.stdout.write(`${line}\n`)

const platform = await startPlatform({
  env: {
    IDENTITY_REGISTRATIONS: '100000',
    MARKET_MARKETS_PER_DAY: '100000',
    LOG_LEVEL: 'warn',
    ...(options.pg === undefined ? {} : { DATABASE_URL: options.pg }),
    ...(options.profile === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${resolve(options.profile)}` }),
  },
})
print(`ready after ${Math.round(platform.readyMs)} ms`)

async function api(method: string, path: string, token: string | null, body?: object) {
  const response = await fetch(platform.url + path, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body ? { 'content-type': 'application/json' } : {}),
    },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  const json = (await response.json()) as { data?: unknown; detail?: string }
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${json.detail}`)
  // biome-ignore lint/suspicious/noExplicitAny: the bench knows what each route answers
  return json.data as any
}

// All of it comes from one address.
const limits = { 'limits.address_requests_per_second': 1_000_000, 'limits.address_requests_burst': 1_000_000 }
const changed = await platform.request('PUT', '/api/v1/config', { changes: limits })
if (changed.status !== 200) throw new Error(`the limits cannot be changed: ${changed.text}`)
const run = Math.floor(Math.random() * 1e6).toString(36)
const tokens: string[] = []
for (let i = 0; i < Number(options.traders); i++) {
  const username = `b${run}_${i}`
  const password = `Correct-${run}-horse-${i}`
  await api('POST', '/api/v1/auth/register', null, { username, email: `${username}@bench.invalid`, password })
  tokens.push((await api('POST', '/api/v1/auth/login', null, { username, password })).access_token)
}
const markets: string[] = []
for (let i = 0; i < Number(options.markets); i++) {
  const market = await api('POST', '/api/v1/markets', tokens[i % tokens.length]!, {
    title: `Bench ${run} ${i}`,
    question: 'Does it hold?',
    outcome_a: 'Yes',
    outcome_b: 'No',
    category: 'other',
    closes_at: new Date(Date.now() + 86_400_000).toISOString(),
    total_liquidity: 100,
  })
  markets.push(market.id)
}

const cpu = (pid: number) => {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / HZ
}

async function measured(name: string, next: (connection: number) => Shot): Promise<Tally> {
  await fire(platform.port, connections, 2, next)
  const processes = platform.processes()
  const before = processes.map(({ pid }) => cpu(pid))
  const own = process.cpuUsage()
  const tally = await fire(platform.port, connections, seconds, next)
  const spent = process.cpuUsage(own)
  const good = [...tally.statuses].reduce((n, [status, times]) => n + (status < 300 ? times : 0), 0)
  print(`${name}: ${Math.round(good / tally.seconds)}/s, ${statusWords(tally)}`)
  const ms = [0.5, 0.95, 0.99, 1].map((q) => quantile(tally.ms, q).toFixed(1))
  print(`  ms: p50 ${ms[0]}, p95 ${ms[1]}, p99 ${ms[2]}, most ${ms[3]}`)
  let total = 0
  for (const [i, { pid, kind }] of processes.entries()) {
    const us = ((cpu(pid) - before[i]!) * 1e6) / good
    total += us
    const rate = kind === 'instance' ? `, ${Math.round(1e6 / us)} a CPU-second` : ''
    print(`  ${kind.padEnd(14)} ${us.toFixed(0).padStart(5)} µs CPU each${rate}`)
  }
  print(
    `  all            ${total.toFixed(0).padStart(5)} µs CPU each; the generator ${((spent.user + spent.system) / good).toFixed(0)} µs`,
  )
  for (const [status, body] of tally.samples) print(`  a ${status}: ${body.slice(0, 200)}`)
  return tally
}

const statusWords = ({ statuses }: Tally) => [...statuses].map(([status, n]) => `${n} × ${status}`).join(', ')

// Each connection buys and sells the same shares in turn, in a market and as a person of its own: nobody goes broke.
const turn = new Array<number>(connections).fill(0)
const trade = (connection: number): Shot => {
  const n = turn[connection]!++
  return {
    method: 'POST',
    path: '/api/v1/trades',
    token: tokens[connection % tokens.length]!,
    body: JSON.stringify({
      market_id: markets[(connection + (n >> 1)) % markets.length],
      trade_type: n % 2 === 0 ? 'buy' : 'sell',
      outcome: connection % 2 === 0 ? 'outcome_a' : 'outcome_b',
      amount: 1,
    }),
  }
}
if (options.only !== 'reads') await measured('trades', trade)
const read =
  (isOwn: boolean) =>
  (connection: number): Shot => {
    const n = turn[connection]!++
    const id = markets[(connection * 7 + n) % markets.length]!
    const path =
      n % 2 === 0
        ? `/api/v1/markets/${id}`
        : `/api/v1/markets/${id}/quote?outcome=outcome_a&side=buy&amount=${1 + (n % 5)}`
    return { method: 'GET', path, token: isOwn ? tokens[connection % tokens.length]! : null, body: null }
  }
if (options.only !== 'trades') {
  await measured('market reads and quotes, of nobody', read(false))
  await measured('market reads and quotes, of traders', read(true))
}

const health = await platform.request('GET', '/health')
print(`health: ${health.json.data?.status ?? health.json.status}`)
if (options.profile !== undefined) await platform.stop()
await platform.remove()

if (existsSync(options.pgbench!)) {
  const pgbench = (...args: string[]) => {
    const { stdout, stderr } = spawnSync(options.pgbench!, ['-h', '127.0.0.1', '-U', 'postgres', ...args], {
      encoding: 'utf8',
    })
    return /tps = ([\d.]+)/.exec(stdout)?.[1] ?? stderr.trim().split('\n').at(-1)
  }
  const database = `bench_${run}`
  try {
    execFileSync('createdb', ['-h', '127.0.0.1', '-U', 'postgres', database])
    pgbench('-i', '-q', '-s', '10', database)
    print(`pgbench, 16 clients: TPC-B-like ${pgbench('-c', '16', '-j', '1', '-T', '10', database)}/s`)
    print(`pgbench, 16 clients: simple update ${pgbench('-N', '-c', '16', '-j', '1', '-T', '10', database)}/s`)
    execFileSync('dropdb', ['-h', '127.0.0.1', '-U', 'postgres', database])
  } catch (error) {
    print(`pgbench: ${error instanceof Error ? error.message : String(error)}`)
  }
}
