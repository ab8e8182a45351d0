/**
 * Random commands of many clients while the market-writer is killed with SIGKILL and started again; then what is stored is
 * held against what was answered: everything answered is there, nothing is there twice, the ledger is exact.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AppError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom, systemRandom } from '../../src/base/random.ts'
import { systemScheduler } from '../../src/base/scheduler.ts'
import type { Answer, Command } from '../../src/market/commands.ts'
import { audit, balancesOf } from '../../src/market/ledger/audit.ts'
import type { MarketId, OrderId, UserId } from '../../src/market/model.ts'
import { connectWriter } from '../../src/market/store/client.ts'
import { draft, rowsOfFile, startWriterProcess, testSettings } from './market-store.ts'

export interface MarketKilling {
  readonly kills: number
  readonly answered: number
  readonly done: number
  readonly unanswered: number
  /** What must not be, in words; empty when all is well. */
  readonly wrong: string[]
}

export async function tradeWhileKilling(options: {
  readonly kills: number
  readonly seed: number
  readonly clients?: number
  /** Most milliseconds between being connected and the next kill. */
  readonly lifeMs?: number
  readonly onKill?: (kill: number, answered: number) => void
}): Promise<MarketKilling> {
  const random = seededRandom(options.seed)
  const dir = mkdtempSync(join(tmpdir(), 'om-kill-'))
  const settings = { ...testSettings(), disputeWindowMs: 400 }
  const scheduler = systemScheduler((error) => {
    throw error
  })
  let writer = await startWriterProcess(dir, settings)
  const client = connectWriter({
    socketPath: join(dir, 'market-writer.sock'),
    name: 'killing',
    scheduler,
    random: systemRandom,
    log: silentLog,
    patienceMs: 2_000,
  })
  const wrong: string[] = []
  const answers: { key: string; who: UserId; command: Command; answer: Answer }[] = []
  const pending: { key: string; who: UserId; command: Command }[] = []
  let n = 0
  let unanswered = 0

  /** Asks until there is an answer, always under the same key. */
  async function ask(who: UserId, command: Command): Promise<Answer> {
    const key = `${options.seed}-${++n}`
    for (;;) {
      try {
        const answer = await client.submit({
          key,
          fingerprint: command.type,
          actor: { userId: who, kind: 'admin' },
          command,
        })
        answers.push({ key, who, command, answer })
        return answer
      } catch (error) {
        if (!(error instanceof AppError) || error.status !== 503) throw error
        unanswered++
        if (over) {
          pending.push({ key, who, command })
          throw error
        }
        await scheduler.sleep(20)
      }
    }
  }

  let over = false
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random.next() * list.length)]!
  const users = Array.from({ length: options.clients ?? 16 }, (_, i) => `user-${i}` as UserId)
  const markets: MarketId[] = []
  const orders: { owner: UserId; id: OrderId }[] = []
  const open = async (creator: UserId) => {
    const answer = await ask(creator, {
      type: 'create_market',
      draft: draft(scheduler.clock.now() + (random.next() < 0.3 ? 1_500 : 3_600_000)),
    })
    if (answer.ok && answer.done.type === 'market') markets.push(answer.done.marketId)
  }
  await Promise.all(users.map((userId) => ask(userId, { type: 'open_account', userId, username: userId })))
  for (let i = 0; i < 6; i++) await open(users[i]!)

  async function act(userId: UserId): Promise<void> {
    const marketId = pick(markets)
    const outcome = random.next() < 0.5 ? 0 : 1
    const shares = BigInt(1 + Math.floor(random.next() * 5)) * 10_000n
    const dice = random.next()
    if (dice < 0.45) {
      const side = random.next() < 0.7 ? 'buy' : 'sell'
      await ask(userId, { type: 'trade', marketId, side, outcome, shares, limit: null, version: null })
    } else if (dice < 0.75) {
      const answer = await ask(userId, {
        type: 'place_order',
        marketId,
        orderType: 'limit',
        side: random.next() < 0.6 ? 'buy' : 'sell',
        outcome,
        shares,
        limit: BigInt(200_000 + Math.floor(random.next() * 600_000)),
        timeInForce: 'gtc',
        expiresAt: random.next() < 0.3 ? scheduler.clock.now() + 300 : null,
        clientOrderId: null,
      })
      if (answer.ok && answer.done.type === 'order') orders.push({ owner: userId, id: answer.done.order.id })
    } else if (dice < 0.87 && orders.length > 0) {
      const order = pick(orders)
      await ask(order.owner, { type: 'cancel_order', orderId: order.id })
    } else if (dice < 0.9) await ask(userId, { type: 'cancel_all', marketId: null })
    else if (dice < 0.94) await open(userId)
    else if (dice < 0.97 && markets.length > 4) {
      await ask(userId, { type: 'close_market', marketId })
      const resolution = random.next() < 0.3 ? ({ kind: 'void' } as const) : ({ kind: 'outcome', outcome } as const)
      await ask(userId, { type: 'resolve_market', marketId, resolution, source: 'dice' })
    } else if (dice < 0.985) {
      await ask(userId, { type: 'open_dispute', marketId, disputeType: 'other', reason: 'not so', evidence: null })
    } else {
      await ask(userId, {
        type: 'decide_disputes',
        marketId,
        resolution: { kind: 'outcome', outcome },
        note: 'so it is',
      })
    }
  }

  const clients = users.map(async (userId) => {
    while (!over)
      await act(userId).catch((error: unknown) => void (error instanceof AppError || wrong.push(String(error))))
  })
  for (let kill = 0; kill < options.kills; kill++) {
    while (!client.connected) await scheduler.sleep(5)
    await scheduler.sleep(random.next() * (options.lifeMs ?? 400))
    await writer.kill()
    options.onKill?.(kill, answers.length)
    writer = await startWriterProcess(dir, settings).catch((error: unknown) => {
      wrong.push(`start after kill ${kill}: ${error}`)
      throw error
    })
  }
  while (!client.connected) await scheduler.sleep(20)
  await scheduler.sleep(200)
  over = true
  await Promise.all(clients)

  // Every answer that was given is given again, whatever happened in between.
  const done = answers.filter(({ answer }) => answer.ok)
  for (let from = 0; from < done.length; from += 500) {
    await Promise.all(
      done.slice(from, from + 500).map(async ({ key, who, command, answer }) => {
        const again = await client.submit({
          key,
          fingerprint: command.type,
          actor: { userId: who, kind: 'admin' },
          command,
        })
        if (text(again) !== text(answer)) wrong.push(`${key} ${command.type}: ${text(answer)} became ${text(again)}`)
      }),
    )
  }
  await client.close()
  await writer.kill()
  const rows = await rowsOfFile(join(dir, 'market.db'))
  wrong.push(...audit(rows).faults)
  const balances = balancesOf(rows.transfers)
  const of = (account: string, id: string) => balances.get(`money/${account}/${id}`) ?? 0n
  for (const row of rows.accounts) {
    if (of('available', row.userId) !== row.available || of('reserved', row.userId) !== row.reserved) {
      wrong.push(`account ${row.userId} is not what its transfers say`)
    }
  }
  for (const row of rows.markets) {
    if (of('pool', row.id) !== row.pool || of('escrow', row.id) !== row.escrow || of('fees', row.id) !== row.fees) {
      wrong.push(`market ${row.id} is not what its transfers say`)
    }
  }
  // A trade that was answered is stored once, as it was answered.
  const stored = Map.groupBy(rows.trades, (trade) => trade.id)
  const told = new Set<string>()
  for (const { answer } of done) {
    if (!answer.ok) continue
    const trade = answer.done.type === 'trade' || answer.done.type === 'order' ? answer.done.trade : null
    if (trade === null) continue
    told.add(trade.id)
    const found = stored.get(trade.id) ?? []
    if (found.length !== 1) wrong.push(`trade ${trade.id} is stored ${found.length} times`)
    else if (found[0]!.value !== trade.value || found[0]!.shares !== trade.shares)
      wrong.push(`trade ${trade.id} differs`)
  }
  // And no other: whoever got no answer in the end is the only one who may have traded unheard.
  const unheard = rows.trades.filter((trade) => trade.role === 'taker' && !told.has(trade.id)).length
  if (unheard > pending.length) wrong.push(`${unheard} trades that nobody was told of`)
  // Each market is paid out once: what left its escrow is what came in.
  const payouts = new Map<string, number>()
  for (const t of rows.transfers) {
    if ((t.reason === 'payout' || t.reason === 'refund') && t.to === 'available') {
      const key = `${t.marketId}/${t.toId}/${t.outcome}`
      payouts.set(key, (payouts.get(key) ?? 0) + 1)
    }
  }
  for (const [key, times] of payouts) if (times > 1) wrong.push(`${key} was paid ${times} times`)
  rmSync(dir, { recursive: true, force: true })
  return { kills: options.kills, answered: answers.length, done: done.length, unanswered, wrong }
}

const text = (value: unknown) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? String(v) : v))
