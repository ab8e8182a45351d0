/** The market-writer when things go wrong: full disk, a ledger that does not add up, an instance that does not read. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import { afterEach, expect, test } from 'vitest'
import {
  draft,
  shiftedScheduler,
  startWriterProcess,
  testSettings,
  writerInProcess,
} from '../../../test/support/market-store.ts'
import { silentLog } from '../../base/log.ts'
import { systemRandom } from '../../base/random.ts'
import { createTelemetry } from '../../base/telemetry.ts'
import type { Answer, Command } from '../commands.ts'
import { audit } from '../ledger/audit.ts'
import type { MarketId, UserId } from '../model.ts'
import { connectWriter } from './client.ts'
import { openMarketReads } from './embedded.ts'
import { lineReader } from './lines.ts'
import { Writer } from './writer.ts'
import { startMarketWriter } from './writer-process.ts'

const dirs: string[] = []
const ending: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of ending.splice(0).reverse()) await end()
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true })
})
function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'om-writer-'))
  dirs.push(dir)
  return dir
}

type Submit = { submit(envelope: Parameters<Writer['submit']>[0]): Promise<Answer> }
let n = 0
const ask = (commands: Submit, userId: string, command: Command, key = `k${++n}`) =>
  commands.submit({ key, fingerprint: command.type, actor: { userId: userId as UserId, kind: 'trader' }, command })
const account = (commands: Submit, userId: string) =>
  ask(commands, userId, { type: 'open_account', userId: userId as UserId, username: userId })
async function market(commands: Submit, userId: string, now: number, title = 'Will it rain?'): Promise<MarketId> {
  const answer = await ask(commands, userId, { type: 'create_market', draft: draft(now + 1e9, { title }) })
  if (!answer.ok || answer.done.type !== 'market') throw new Error(JSON.stringify(answer))
  return answer.done.marketId
}
const buy = (marketId: MarketId, shares = 1): Command => ({
  type: 'trade',
  marketId,
  side: 'buy',
  outcome: 0,
  shares: BigInt(shares) * 10_000n,
  limit: null,
  version: null,
})

test('a full disk: nothing of the batch has happened, 503, and it goes on when there is room', async () => {
  const dir = folder()
  const path = join(dir, 'market.db')
  const scheduler = shiftedScheduler()
  const writer = new Writer({
    path,
    scheduler,
    log: silentLog,
    telemetry: createTelemetry(),
    settings: testSettings,
    onFailure: (error) => {
      throw error
    },
  })
  ending.push(() => writer.close())
  const reads = openMarketReads(path)
  await Promise.all(['a', 'b', 'c', 'd'].map((user) => account(writer, user)))
  const id = await market(writer, 'a', scheduler.clock.now())
  await ask(writer, 'b', buy(id))

  // SQLite itself says that the disk is full once the file may not grow.
  const pages = writer.database.pragma('page_count', { simple: true }) as number
  writer.database.pragma(`max_page_count = ${pages + 4}`)
  let refused = 0
  let answered = 0
  const keys = Array.from({ length: 400 }, (_, i) => `full-${i}`)
  const told = await Promise.all(
    keys.map((key, i) =>
      ask(writer, ['b', 'c', 'd'][i % 3]!, buy(id), key).then(
        (answer) => {
          answered++
          return answer
        },
        (error: { status: number; retryAfterSeconds: number }) => {
          expect([error.status, error.retryAfterSeconds]).toEqual([503, 10])
          refused++
          return null
        },
      ),
    ),
  )
  expect(refused).toBeGreaterThan(0)
  await expect(
    ask(writer, 'b', {
      type: 'create_market',
      draft: draft(scheduler.clock.now() + 1e9, { description: 'x'.repeat(60_000) }),
    }),
  ).rejects.toMatchObject({ status: 503 })
  // What memory says is what the disk says: the next version continues where the disk is.
  const seen = (await reads.market(id, scheduler.clock.now()))!
  expect(seen.trades).toBe(1 + answered)

  writer.database.pragma(`max_page_count = ${1 << 30}`)
  const again = await Promise.all(keys.map((key, i) => ask(writer, ['b', 'c', 'd'][i % 3]!, buy(id), key)))
  told.forEach((answer, i) => void (answer === null || expect(again[i]).toEqual(answer)))
  expect(again.every((answer) => answer.ok)).toBe(true)
  expect((await reads.market(id, scheduler.clock.now()))!.trades).toBe(401)
  expect(writer.audit().faults).toEqual([])
  reads.close()
})

test('a ledger that does not add up: it does not start, and says so in one sentence', async () => {
  const dir = folder()
  const store = await writerInProcess(dir)
  await account(store.commands, 'a')
  await store.commands.close()
  const db = new Sqlite(join(dir, 'market.db'))
  db.exec('UPDATE accounts SET available = available + 1')
  db.close()
  await expect(startWriterProcess(dir)).rejects.toThrow(
    /the ledger of market.db does not add up: 1000000001 are there, 1000000000 were issued\. Nothing is traded on it: restore a backup/,
  )
})

test('an instance that does not read is cut off; nobody else waits for it', async () => {
  const dir = folder()
  const socketPath = join(dir, 'w.sock')
  const scheduler = shiftedScheduler()
  const telemetry = createTelemetry()
  const writer = await startMarketWriter({
    path: join(dir, 'market.db'),
    socketPath,
    scheduler,
    log: silentLog,
    telemetry,
    settings: testSettings,
    onFailure: (error) => {
      throw error
    },
  })
  ending.push(() => writer.stop())
  expect(statSync(socketPath).mode & 0o777).toBe(0o600)
  const client = connectWriter({ socketPath, name: 'quick', scheduler, random: systemRandom, log: silentLog })
  ending.push(() => client.close())
  await account(client, 'a')
  const id = await market(client, 'a', scheduler.clock.now())

  const deaf = createConnection(socketPath)
  const gone = new Promise<void>((done) => deaf.on('close', () => done()))
  deaf.on('error', () => {})
  deaf.write(`${JSON.stringify({ hello: 1, name: 'deaf' })}\n`)
  await new Promise((done) => deaf.once('data', done))
  deaf.pause()
  let sent = 0
  // It asks and asks for answers of some kilobytes, and never reads one.
  const question = `${Array.from({ length: 200 }, (_, i) => JSON.stringify({ id: i, telemetry: true })).join('\n')}\n`
  const flood = scheduler.every(5, () => {
    if (!deaf.destroyed && deaf.writableLength < 1 << 20) deaf.write(question)
  })
  while (!deaf.destroyed && sent < 2_000) {
    const answer = await ask(client, 'a', buy(id))
    expect(answer.ok || answer.refusal.code === 'insufficient_funds').toBe(true)
    sent++
    if (deaf.readableEnded) break
    const cut = telemetry.snapshot().find((family) => family.name === 'market_writer_cut_off_total')
    if ((cut?.samples[0]?.value ?? 0) > 0) break
  }
  flood.cancel()
  expect(telemetry.snapshot().find((f) => f.name === 'market_writer_cut_off_total')?.samples[0]?.value).toBe(1)
  deaf.destroy()
  await gone
})

test('what is no line of the protocol ends its connection, not the writer', async () => {
  const dir = folder()
  const socketPath = join(dir, 'w.sock')
  const scheduler = shiftedScheduler()
  const writer = await startMarketWriter({
    path: join(dir, 'market.db'),
    socketPath,
    scheduler,
    log: silentLog,
    telemetry: createTelemetry(),
    settings: testSettings,
    onFailure: (error) => {
      throw error
    },
  })
  ending.push(() => writer.stop())
  for (const bad of [
    '{',
    'null\n',
    '[]\n',
    '{"id":1}\n',
    '{"id":1,"ask":{"command":{"type":"trade","shares":"x"}}}\n',
    '{"hello":99}\n',
    `${'x'.repeat(2 << 20)}`,
  ]) {
    const socket = createConnection(socketPath)
    socket.on('error', () => {})
    const closed = new Promise<void>((done) => socket.on('close', () => done()))
    socket.write(bad)
    if (bad === '{') socket.end()
    socket.resume()
    await closed
  }
  const client = connectWriter({ socketPath, name: 'good', scheduler, random: systemRandom, log: silentLog })
  ending.push(() => client.close())
  expect((await account(client, 'a')).ok).toBe(true)
  expect((await client.telemetry()).some((family) => family.name === 'market_ledger_imbalance')).toBe(true)
})

test('without a writer: 503 with Retry-After, then it is found when it comes', async () => {
  const dir = folder()
  const socketPath = join(dir, 'w.sock')
  const scheduler = shiftedScheduler()
  const client = connectWriter({
    socketPath,
    name: 'early',
    scheduler,
    random: systemRandom,
    log: silentLog,
    patienceMs: 300,
  })
  ending.push(() => client.close())
  await expect(account(client, 'a')).rejects.toMatchObject({ status: 503, retryAfterSeconds: 2 })
  expect(client.connected).toBe(false)
  const reads = openMarketReads(join(dir, 'market.db'))
  await expect(reads.stats(0)).rejects.toMatchObject({ status: 503 })
  const writer = await startMarketWriter({
    path: join(dir, 'market.db'),
    socketPath,
    scheduler,
    log: silentLog,
    telemetry: createTelemetry(),
    settings: testSettings,
    onFailure: (error) => {
      throw error
    },
  })
  ending.push(() => writer.stop())
  await expect.poll(() => client.connected).toBe(true)
  expect((await account(client, 'a')).ok).toBe(true)
  expect((await reads.stats(0)).total).toBe(0)
  reads.close()
})

test('lines are whole however the stream was cut', () => {
  const seen: string[] = []
  const read = lineReader(10, (line) => void seen.push(line))
  for (const chunk of ['ab', 'c\nde', '\n\nf', 'g', '\n']) read(chunk)
  expect(seen).toEqual(['abc', 'de', '', 'fg'])
  expect(() => read('x'.repeat(11))).toThrow('too long')
})

test('the audit of what is stored finds nothing after all kinds of commands', async () => {
  const store = await writerInProcess(folder())
  await account(store.commands, 'a')
  await account(store.commands, 'b')
  const id = await market(store.commands, 'a', store.now())
  await ask(store.commands, 'b', buy(id, 10))
  expect(audit(await store.rows()).faults).toEqual([])
  await store.commands.close()
})

test('a market that nobody trades for long keeps its price in its history', async () => {
  const dir = folder()
  const store = await writerInProcess(dir)
  ending.push(() => store.close())
  await account(store.commands, 'creator')
  await account(store.commands, 'trader')
  const id = await market(store.commands, 'creator', store.now())
  await ask(store.commands, 'trader', buy(id, 20))
  const { prices } = (await store.reads.market(id, store.now()))!
  // Of a young market the whole life is shown by minutes.
  const young = await store.reads.priceHistory(id, null, 300, store.now() + 180_000)
  expect(young.at(-1)!.at - young[0]!.at).toBeLessThanOrEqual(120_000)
  store.shift(12 * 86_400_000)
  // As cleaning does: of old times the hours alone are kept.
  const file = new Sqlite(join(dir, 'market.db'))
  expect(file.prepare('DELETE FROM market_buckets WHERE step = 60000').run().changes).toBe(1)
  file.close()
  expect((await store.reads.priceHistory(id, 24, 300, store.now()))[0]!.prices).toEqual(prices)
  expect((await store.reads.priceHistory(id, null, 300, store.now())).at(-1)!.prices).toEqual(prices)
})
