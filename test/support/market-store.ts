/**
 * The market's stores as tests and benches open them: the writer in this process, the writer as a process that can be
 * killed, PostgreSQL in a database of its own. All are the real thing on real files and sockets.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import { silentLog } from '../../src/base/log.ts'
import { systemRandom } from '../../src/base/random.ts'
import { type Scheduler, systemScheduler } from '../../src/base/scheduler.ts'
import { createTelemetry } from '../../src/base/telemetry.ts'
import type {
  AccountRow,
  HoldingRow,
  MarketRow,
  OrderRow,
  ProfitRow,
  TradeRow,
  Transfer,
} from '../../src/market/books.ts'
import type { MarketDraft } from '../../src/market/model.ts'
import type { MarketReads } from '../../src/market/reads.ts'
import type { MarketConnection } from '../../src/market/store/client.ts'
import { openEmbeddedMarket, openMarketReads } from '../../src/market/store/embedded.ts'
import type { MarketSettings } from '../../src/market/store/market.ts'
import { kyselyOverPool, openPool } from '../../src/market/store/pg-pool.ts'
import { openPostgresMarket } from '../../src/market/store/postgres.ts'
import * as rows from '../../src/market/store/rows.ts'
import { kyselyOver, type Sql } from '../../src/market/store/sql.ts'
import { Writer } from '../../src/market/store/writer.ts'

export interface StoredRows {
  readonly accounts: readonly AccountRow[]
  readonly markets: readonly MarketRow[]
  readonly holdings: readonly HoldingRow[]
  readonly orders: readonly OrderRow[]
  readonly trades: readonly TradeRow[]
  readonly transfers: readonly Transfer[]
  readonly profits: readonly ProfitRow[]
}

export interface TestStore {
  readonly commands: MarketConnection
  readonly reads: MarketReads
  readonly settings: { -readonly [K in keyof MarketSettings]: MarketSettings[K] }
  now(): number
  /** Lets time pass; only where this process decides. */
  shift(ms: number): void
  /** Its database, on PostgreSQL. */
  readonly database?: string
  /** Everything that is stored. */
  rows(): Promise<StoredRows>
  /** The same store after its process ended and began again. */
  again(): Promise<TestStore>
  close(): Promise<void>
}

/** A market that anybody may trade in. */
export function draft(closesAt: number, changes: Partial<MarketDraft> = {}): MarketDraft {
  return {
    title: 'Will it rain?',
    question: 'Will it rain in Hamburg on Sunday?',
    description: null,
    outcomes: ['Yes', 'No'],
    category: 'weather',
    tags: ['rain', 'hamburg'],
    imageUrl: null,
    resolutionRules: null,
    intendedSource: null,
    closesAt,
    liquidity: 100_000_000n,
    feeRate: 20_000n,
    minTrade: 10_000n,
    maxTrade: 100_000_000n,
    binding: null,
    ...changes,
  }
}

export const testSettings = () => ({ disputeWindowMs: 0, marketsPerDay: 1_000, ordersPerUser: 1_000 })

/** Real timers, and a clock that can be put forward. */
export function shiftedScheduler(by = 0): Scheduler & { shift(ms: number): void } {
  const real = systemScheduler((error) => {
    throw error
  })
  let offset = by
  const clock = { now: () => real.clock.now() + offset, monotonic: () => real.clock.monotonic() }
  return {
    ...real,
    clock,
    shift(ms) {
      offset += ms
    },
  }
}

export async function storedRows(sql: Sql): Promise<StoredRows> {
  const markets = await sql
    .selectFrom('markets')
    .innerJoin('market_texts', 'market_texts.id', 'markets.id')
    .selectAll(['markets', 'market_texts'])
    .execute()
  const [accounts, holdings, orders, trades, transfers, profits] = await Promise.all([
    sql.selectFrom('accounts').selectAll().execute(),
    sql.selectFrom('holdings').selectAll().execute(),
    sql.selectFrom('orders').selectAll().execute(),
    sql.selectFrom('trades').selectAll().orderBy('id').execute(),
    sql.selectFrom('transfers').selectAll().orderBy('seq').execute(),
    sql.selectFrom('profits').selectAll().orderBy('seq').execute(),
  ])
  return {
    accounts: accounts.map(rows.accountFrom),
    markets: markets.map(rows.marketFrom),
    holdings: holdings.map(rows.holdingFrom),
    orders: orders.map(rows.orderFrom),
    trades: trades.map(rows.tradeFrom),
    transfers: transfers.map(
      (t): Transfer => ({
        asset: t.asset as Transfer['asset'],
        marketId: t.market_id as Transfer['marketId'],
        outcome: t.outcome === null ? null : Number(t.outcome),
        from: t.from_account as Transfer['from'],
        fromId: t.from_id as Transfer['fromId'],
        to: t.to_account as Transfer['to'],
        toId: t.to_id as Transfer['toId'],
        amount: t.amount,
        reason: t.reason as Transfer['reason'],
        tradeId: t.trade_id as Transfer['tradeId'],
        orderId: t.order_id as Transfer['orderId'],
        at: Number(t.at),
      }),
    ),
    profits: profits.map(
      (t): ProfitRow => ({
        userId: t.user_id as ProfitRow['userId'],
        marketId: t.market_id as ProfitRow['marketId'],
        outcome: Number(t.outcome),
        kind: t.kind as ProfitRow['kind'],
        amount: t.amount,
        tradeId: t.trade_id as ProfitRow['tradeId'],
        at: Number(t.at),
      }),
    ),
  }
}

export async function rowsOfFile(path: string): Promise<StoredRows> {
  const db = new Sqlite(path, { readonly: true, timeout: 5000 })
  try {
    return await storedRows(kyselyOver(db))
  } finally {
    db.close()
  }
}

export async function writerInProcess(
  dir = mkdtempSync(join(tmpdir(), 'om-market-')),
  settings: TestStore['settings'] = testSettings(),
  by = 0,
): Promise<TestStore> {
  const path = join(dir, 'market.db')
  let offset = by
  const scheduler = shiftedScheduler(by)
  const writer = new Writer({
    path,
    scheduler,
    log: silentLog,
    telemetry: createTelemetry(),
    settings: () => settings,
    onFailure: (error) => {
      throw error
    },
  })
  const reads = openMarketReads(path)
  const end = async () => {
    reads.close()
    await writer.close()
  }
  return {
    commands: {
      connected: true,
      submit: (envelope) => writer.submit(envelope),
      subscribe: (listener) => writer.subscribe(listener),
      close: () => writer.close(),
    },
    reads,
    settings,
    now: () => scheduler.clock.now(),
    shift(ms) {
      offset += ms
      scheduler.shift(ms)
    },
    rows: () => rowsOfFile(path),
    async again() {
      await end()
      return writerInProcess(dir, settings, offset)
    },
    async close() {
      await end()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

export interface WriterProcess {
  readonly child: ChildProcess
  readonly pid: number
  kill(signal?: NodeJS.Signals): Promise<void>
}

/** A market-writer as a process of its own; resolves when it listens. */
export async function startWriterProcess(
  dir: string,
  settings: MarketSettings = testSettings(),
): Promise<WriterProcess> {
  const child = spawn(
    process.execPath,
    [resolve(import.meta.dirname, 'market-writer-child.ts'), dir, JSON.stringify(settings)],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  )
  let said = ''
  const ended = new Promise<void>((done) => child.on('exit', () => done()))
  await new Promise<void>((ready, failed) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      if (said.includes('ready\n')) ready()
    })
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    child.on('exit', (code) => failed(new Error(`the market-writer ended (${code}): ${said}`)))
  })
  return {
    child,
    pid: child.pid!,
    async kill(signal = 'SIGKILL') {
      child.kill(signal)
      await ended
    },
  }
}

export async function writerAsProcess(
  dir = mkdtempSync(join(tmpdir(), 'om-market-')),
  settings: TestStore['settings'] = testSettings(),
): Promise<TestStore> {
  let writer = await startWriterProcess(dir, settings)
  const path = join(dir, 'market.db')
  const scheduler = shiftedScheduler()
  const market = openEmbeddedMarket({
    path,
    socketPath: join(dir, 'market-writer.sock'),
    name: 'test',
    scheduler,
    random: systemRandom,
    log: silentLog,
  })
  const store: TestStore = {
    ...market,
    settings,
    now: () => scheduler.clock.now(),
    shift() {
      throw new Error('the time of another process cannot be put forward')
    },
    rows: () => rowsOfFile(path),
    async again() {
      await writer.kill()
      writer = await startWriterProcess(dir, settings)
      return store
    },
    async close() {
      await market.close()
      await writer.kill()
      rmSync(dir, { recursive: true, force: true })
    },
  }
  return store
}

/** A database of its own on the server at `url`, dropped at the end. */
export async function postgresStore(url: string, database?: string, by = 0): Promise<TestStore> {
  const name = database ?? `om_test_${Math.random().toString(36).slice(2, 10)}`
  const admin = async (statement: string) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query(statement)
    await client.end()
  }
  if (database === undefined) await admin(`CREATE DATABASE ${name}`)
  const own = new URL(url)
  own.pathname = `/${name}`
  const settings: TestStore['settings'] = testSettings()
  let offset = by
  const scheduler = shiftedScheduler(by)
  const market = await openPostgresMarket({
    url: own.href,
    name: 'test',
    scheduler,
    random: systemRandom,
    log: silentLog,
    telemetry: createTelemetry(),
    settings: () => settings,
  })
  const pool = openPool(own.href, silentLog, 2)
  const sql = kyselyOverPool(pool)
  const end = async () => {
    await market.close()
    await sql.destroy()
  }
  return {
    ...market,
    database: name,
    settings,
    now: () => scheduler.clock.now(),
    shift(ms) {
      offset += ms
      scheduler.shift(ms)
    },
    rows: () => storedRows(sql),
    async again() {
      await end()
      return postgresStore(url, name, offset)
    },
    async close() {
      await end()
      await admin(`DROP DATABASE ${name} WITH (FORCE)`)
    },
  }
}
