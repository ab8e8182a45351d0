/**
 * What control has of the market: what its processes measure of themselves, their sum as the platform's own series, and
 * markets that are bound to a metric. Control does not need the market to live: whatever is away here is asked again.
 */
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import { systemRandom } from '../base/random.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry, TelemetryFamily } from '../base/telemetry.ts'
import { MINUTE, SECOND } from '../base/time.ts'
import type { Values } from '../config/index.ts'
import { labelled } from '../http/exposition.ts'
import type { Ask, MarketConnection, MarketReads } from '../market/index.ts'
import {
  connectWriter,
  openMarketReads,
  openPostgresMarket,
  startBoundMarkets,
  writerSocketBeside,
} from '../market/index.ts'
import type { QueryService, Reading } from '../metrics/index.ts'
import { toObject } from '../metrics/index.ts'
import type { Service } from './health.ts'
import type { ProcessStatus } from './ipc.ts'

export interface MarketLink {
  /** The latest of every process of the market, each sample with its `process`. */
  families(): readonly TelemetryFamily[]
  /** Asks every process, and answers the sums: `cache_hit_rate` and so on. */
  collect(): Promise<readonly Reading[]>
  health(): Service
  stop(): Promise<void>
}

export interface MarketLinkOptions {
  readonly values: () => Values
  /** Of control: the others' sockets are beside it. */
  readonly socketPath: string
  readonly processes: () => readonly ProcessStatus[]
  readonly ask: Ask
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly log: Log
}

const ANSWER_MS = 2 * SECOND
const ANSWER_BYTES_MAX = 4 << 20
const RECONNECT_MS = MINUTE / 4
const HIT_RATE_MS = MINUTE

interface Access {
  readonly commands: MarketConnection
  readonly reads: MarketReads
  /** Of the writer, where there is one. */
  telemetry(): Promise<readonly TelemetryFamily[]>
  close(): Promise<void>
}

export function startMarketLink(options: MarketLinkOptions): MarketLink {
  const { scheduler, log } = options
  const { market, platform } = options.values()
  const common = { name: 'control', scheduler, random: systemRandom, log }
  let access: Access | null = null
  let bound: Cancel | null = null
  let stopped = false
  let retry: Cancel | null = null

  function use(opened: Access) {
    access = opened
    bound = startBoundMarkets({ ...opened, ask: options.ask, scheduler, log })
  }
  async function openPostgres(url: string): Promise<void> {
    try {
      const settings = () => {
        const { disputeWindow, marketsPerDay, ordersPerUser } = options.values().market
        return { disputeWindowMs: disputeWindow * SECOND, marketsPerDay, ordersPerUser }
      }
      const opened = await openPostgresMarket({ ...common, url, telemetry: options.telemetry, settings })
      if (stopped) return opened.close()
      use({ ...opened, telemetry: async () => [] })
    } catch (error) {
      if (stopped) return
      log.warn('the market cannot be reached yet', { why: messageOf(error) })
      retry = scheduler.after(RECONNECT_MS, () => openPostgres(url))
    }
  }
  if (market.databaseUrl === null) {
    const commands = connectWriter({ ...common, socketPath: writerSocketBeside(options.socketPath), quiet: true })
    const reads = openMarketReads(join(platform.dataDir, 'market.db'))
    use({
      commands,
      reads,
      telemetry: () => commands.telemetry(),
      async close() {
        await commands.close()
        reads.close()
      },
    })
  } else void openPostgres(market.databaseUrl)

  const latest = new Map<string, readonly TelemetryFamily[]>()
  const sums = createSums()

  return {
    families: () => [...latest].flatMap(([process, families]) => labelled(families, { process })),
    async collect() {
      const up = options.processes().filter(({ kind, state }) => kind === 'instance' && /ready|draining/.test(state))
      const asked = new Map<string, Promise<readonly TelemetryFamily[]>>(
        up.map(({ id }) => [id, familiesAt(join(dirname(options.socketPath), `${id}.sock`), scheduler)]),
      )
      if (access && market.databaseUrl === null) asked.set('market-writer', access.telemetry())
      // One that is gone says nothing any more, and one that hangs does not hold up the others.
      const found = await Promise.all(
        [...asked].map(async ([id, answer]) => [id, await answer.catch(() => null)] as const),
      )
      latest.clear()
      for (const [id, families] of found) if (families !== null) latest.set(id, families)
      return sums(latest, scheduler.clock.monotonic())
    },
    health() {
      const imbalance = sumOf([...latest.values()].flat(), 'market_ledger_imbalance')
      if (imbalance !== null && imbalance !== 0) {
        return { status: 'unhealthy', detail: `the ledger does not add up: ${imbalance} credits too many` }
      }
      if (access?.commands.connected) return { status: 'healthy' }
      return { status: 'degraded', detail: 'nobody decides commands at this moment' }
    },
    async stop() {
      stopped = true
      retry?.cancel()
      bound?.cancel()
      await access?.close()
    },
  }
}

/** What the samples say at a moment, for a bound market. */
export function askQueries(queries: QueryService): Ask {
  return async (text, at) => {
    const args = { text, start: at, end: at, step: 0, limit: 0, lookbackMs: null, stats: false }
    const { series } = await queries.call('evaluate', args)
    return {
      series: series.map(({ labels, values }) => ({
        labels: labels.length === 0 ? '' : JSON.stringify(toObject(labels as never)),
        value: values.at(-1) ?? Number.NaN,
      })),
    }
  }
}

/** Asks a process for its telemetry. Rejects when it does not answer in time, or with something else. */
function familiesAt(socketPath: string, scheduler: Scheduler): Promise<readonly TelemetryFamily[]> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path: '/telemetry' }, (answer) => {
      const chunks: Buffer[] = []
      let size = 0
      answer.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > ANSWER_BYTES_MAX) asking.destroy(new Error('the answer is too large'))
        chunks.push(chunk)
      })
      answer.on('error', reject)
      answer.on('end', () => {
        limit.cancel()
        try {
          if (answer.statusCode !== 200) throw new Error(`the answer has status ${answer.statusCode}`)
          resolve(JSON.parse(Buffer.concat(chunks).toString()))
        } catch (error) {
          reject(error)
        }
      })
    })
    const limit = scheduler.after(ANSWER_MS, () => void asking.destroy(new Error('no answer in time')))
    asking.on('error', (error) => {
      limit.cancel()
      reject(error)
    })
    asking.end()
  })
}

/** Sum of a name's samples over families; null where there is none. */
function sumOf(families: readonly TelemetryFamily[], name: string): number | null {
  let sum: number | null = null
  for (const family of families) {
    for (const sample of family.samples) if (sample.name === name) sum = (sum ?? 0) + sample.value
  }
  return sum
}

/**
 * Sums over processes as series of the platform. Rates are made from what each process counted since it was last asked; a
 * process that started again counts from zero. The hit rate is that of the last minute: a few look-ups of a quiet moment
 * tell nothing. Where nothing was counted there is no sample: absent, never 0 per cent.
 */
export function createSums() {
  let seen = new Map<string, { hits: number; misses: number; commits: number; seconds: number }>()
  let at: number | null = null
  let lookups: { readonly at: number; readonly hits: number; readonly misses: number }[] = []
  return (latest: ReadonlyMap<string, readonly TelemetryFamily[]>, monotonicMs: number): Reading[] => {
    const since = { hits: 0, misses: 0, commits: 0, seconds: 0 }
    const now: typeof seen = new Map()
    for (const [process, families] of latest) {
      const counted = {
        hits: sumOf(families, 'market_cache_hits') ?? 0,
        misses: sumOf(families, 'market_cache_misses') ?? 0,
        commits: sumOf(families, 'market_commit_seconds_count') ?? 0,
        seconds: sumOf(families, 'market_commit_seconds_sum') ?? 0,
      }
      now.set(process, counted)
      const before = seen.get(process)
      if (!before) continue
      for (const name of ['hits', 'misses', 'commits', 'seconds'] as const) {
        since[name] += counted[name] >= before[name] ? counted[name] - before[name] : counted[name]
      }
    }
    const elapsed = at === null ? 0 : (monotonicMs - at) / 1000
    seen = now
    at = monotonicMs

    const readings: Reading[] = []
    const add = (name: string, value: number | null) => {
      if (value !== null) readings.push({ name, value })
    }
    const all = [...latest.values()].flat()
    lookups = lookups.filter((one) => one.at > monotonicMs - HIT_RATE_MS)
    lookups.push({ at: monotonicMs, hits: since.hits, misses: since.misses })
    const hits = lookups.reduce((n, one) => n + one.hits, 0)
    const misses = lookups.reduce((n, one) => n + one.misses, 0)
    add('cache_hit_rate', hits + misses > 0 ? (100 * hits) / (hits + misses) : null)
    add('cache_entry_count', sumOf(all, 'market_cache_entries'))
    const bytes = sumOf(all, 'market_cache_bytes')
    add('cache_memory_usage', bytes === null ? null : bytes / 2 ** 20)
    add('database_transaction_rate', elapsed > 0 && latest.size > 0 ? since.commits / elapsed : null)
    add('database_query_time', since.commits > 0 ? (1000 * since.seconds) / since.commits : null)
    return readings
  }
}
