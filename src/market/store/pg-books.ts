/**
 * The part of the books that one command needs, loaded in the order of locks: market rows by id are locked, which guards
 * their orders, holdings and disputes; then accounts are read. Accounts that the decision changes are locked afterwards,
 * in the order of their ids, and looked at again: many may meet in a book, few are met by one trade.
 */
import type pg from 'pg'
import type { Millis } from '../../base/time.ts'
import { DAY } from '../../base/time.ts'
import { type AccountRow, footprint } from '../books.ts'
import type { Envelope } from '../commands.ts'
import { type BookRows, MemoryBooks } from '../memory-books.ts'
import type { UserId } from '../model.ts'
import { LOCK_SPACE, LOCKS } from './pg-schema.ts'
import * as rows from './rows.ts'
import { prepared } from './sql.ts'
import type { Tables } from './tables.ts'

const OPEN = "state IN ('pending', 'partially_filled')"

/** Complete for one command alone. */
export class PartialBooks extends MemoryBooks {
  made = 0

  override marketsMade(): number {
    return this.made
  }
}

const NO_ROWS: BookRows = { accounts: [], markets: [], orders: [], holdings: [], disputes: [] }

export async function loadBooks(client: pg.PoolClient, envelope: Envelope, now: Millis): Promise<PartialBooks> {
  const { command, actor } = envelope
  const need = footprint(command, actor.userId)
  const books = new PartialBooks()
  const users = new Set<string>()
  if (need.userId !== null) users.add(need.userId)
  const select = async <T>(text: string, values: readonly unknown[]): Promise<T[]> =>
    (await client.query(prepared(text, values))).rows as T[]

  // Two that open the same account, or make markets for it, come one after the other.
  if (need.userId !== null && (command.type === 'open_account' || need.marketsMade)) {
    await client.query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [LOCK_SPACE + LOCKS.account, need.userId])
  }

  const ids = new Set<string>()
  if (need.marketId !== null) ids.add(need.marketId)
  if (need.orderId !== null) {
    const [order] = await select<{ market_id: string }>('SELECT market_id FROM orders WHERE id = $1', [need.orderId])
    if (order) ids.add(order.market_id)
  }
  if (need.ordersOfUser && need.userId !== null) {
    const found = await select<{ market_id: string }>(
      `SELECT DISTINCT market_id FROM orders WHERE user_id = $1 AND ${OPEN}`,
      [need.userId],
    )
    for (const { market_id } of found) if (need.marketId === null || need.marketId === market_id) ids.add(market_id)
  }
  const marketIds = [...ids].sort()
  if (marketIds.length > 0) {
    const found = await select<rows.MarketRecord>(
      `SELECT * FROM markets JOIN market_texts USING (id) WHERE id = ANY($1) ORDER BY id FOR UPDATE OF markets`,
      [marketIds],
    )
    books.apply({ ...NO_ROWS, markets: found.map(rows.marketFrom) })
    if (need.holders) for (const market of found) users.add(market.creator_id)

    const orders = new Map<string, Tables['orders']>()
    const take = (found: readonly Tables['orders'][]) => {
      for (const order of found) {
        orders.set(order.id, order)
        users.add(order.user_id)
      }
    }
    if (need.orderId !== null) take(await select('SELECT * FROM orders WHERE id = $1', [need.orderId]))
    if (need.book) take(await select(`SELECT * FROM orders WHERE market_id = ANY($1) AND ${OPEN}`, [marketIds]))
    if (need.ordersOfUser) {
      take(
        await select(`SELECT * FROM orders WHERE user_id = $1 AND market_id = ANY($2) AND ${OPEN}`, [
          need.userId,
          marketIds,
        ]),
      )
    }
    books.apply({ ...NO_ROWS, orders: [...orders.values()].map(rows.orderFrom) })

    const holdings = need.holders
      ? await select<Tables['holdings']>('SELECT * FROM holdings WHERE market_id = ANY($1)', [marketIds])
      : await select<Tables['holdings']>('SELECT * FROM holdings WHERE market_id = ANY($1) AND user_id = ANY($2)', [
          marketIds,
          [...users],
        ])
    if (need.holders) for (const holding of holdings) users.add(holding.user_id)
    books.apply({ ...NO_ROWS, holdings: holdings.map(rows.holdingFrom) })
    if (need.disputes) {
      const found = await select<Tables['disputes']>('SELECT * FROM disputes WHERE market_id = ANY($1) ORDER BY id', [
        marketIds,
      ])
      books.apply({ ...NO_ROWS, disputes: found.map(rows.disputeFrom) })
      for (const dispute of found) users.add(dispute.user_id)
    }
  }
  if (need.clientOrderId !== null && need.userId !== null) {
    const found = await select<Tables['orders']>('SELECT * FROM orders WHERE user_id = $1 AND client_order_id = $2', [
      need.userId,
      need.clientOrderId,
    ])
    books.apply({ ...NO_ROWS, orders: found.map(rows.orderFrom) })
  }
  if (need.marketsMade && need.userId !== null) {
    const [made] = await select<{ count: bigint }>(
      'SELECT count(*) AS count FROM markets WHERE creator_id = $1 AND created_at >= $2',
      [need.userId, now - DAY],
    )
    books.made = Number(made?.count ?? 0)
  }
  const accounts = await select<Tables['accounts']>('SELECT * FROM accounts WHERE user_id = ANY($1)', [[...users]])
  books.apply({ ...NO_ROWS, accounts: accounts.map(rows.accountFrom) })
  return books
}

/**
 * Locks these accounts, in the order of their ids. Answers whether they are still what the books say; the books have them
 * as they are now.
 */
export async function lockAccounts(
  client: pg.PoolClient,
  books: PartialBooks,
  ids: readonly UserId[],
): Promise<boolean> {
  if (ids.length === 0) return true
  const { rows: found } = await client.query<Tables['accounts']>(
    prepared('SELECT * FROM accounts WHERE user_id = ANY($1) ORDER BY user_id FOR UPDATE', [[...ids].sort()]),
  )
  let same = true
  for (const record of found) {
    const now = rows.accountFrom(record)
    const before = books.account(now.userId)
    if (before === undefined || !equal(before, now)) {
      same = false
      books.apply({ ...NO_ROWS, accounts: [now] })
    }
  }
  return same
}

function equal(a: AccountRow, b: AccountRow): boolean {
  return rows.accounts.columns.every((column) => column.of(a) === column.of(b))
}
