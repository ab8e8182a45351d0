/**
 * market.db as its writer uses it: everything is read into the books once, at the start; then changes are written, one
 * transaction a batch, synchronised to the disk (FULL) before anybody is answered. One process writes; instances read.
 */
import { DAY, HOUR, MINUTE, type Millis } from '../../base/time.ts'
import { type Database, openDatabase, type Statement, tx } from '../../storage/database.ts'
import type { MarketRow, OrderRow } from '../books.ts'
import { type BookRows, MemoryBooks, type PastOrders } from '../memory-books.ts'
import type { OrderId, UserId } from '../model.ts'
import type { Changes } from './changes.ts'
import * as rows from './rows.ts'
import { sqliteMigrations, type Tables } from './tables.ts'
import { activityWeight, trendingOf, VOLUME_OF_A_TRADE } from './trending.ts'

/** How long an answer is found by its key. */
const COMMANDS_KEPT_MS = DAY
/** Old answers removed with each batch, for each one added: more than one, so that the table shrinks. */
const CLEANED_FOR_EACH = 2
/** Minutes are kept for price history of a week; hours stay. */
const MINUTES_KEPT_MS = 9 * DAY
const CLEANED_AT_ONCE = 500
const ROWS_AT_ONCE = 16

export interface Known {
  readonly fingerprint: string
  readonly answer: string
}

export class SqliteStore {
  readonly db: Database
  readonly #statements = new Map<string, Statement>()
  readonly #find: Statement
  readonly #put: ReturnType<typeof prepareAll>

  /** Opens or creates the file. Throws an Error with one sentence for an operator. */
  constructor(path: string) {
    this.db = openDatabase(path, { synchronous: 'FULL', migrations: sqliteMigrations })
    this.db.pragma('cache_size = -65536')
    // The log is put into the file often enough that no single time is long.
    this.db.pragma('wal_autocheckpoint = 2000')
    this.#find = this.db.prepare('SELECT fingerprint, answer FROM commands WHERE key = ? AND at >= ?')
    this.#put = prepareAll(this.db)
  }

  #sql(text: string): Statement {
    let statement = this.#statements.get(text)
    if (statement === undefined) {
      statement = this.db.prepare(text).safeIntegers(true)
      this.#statements.set(text, statement)
    }
    return statement
  }

  /** The answer that was committed for `key`, if that is not too long ago. */
  known(key: string, now: Millis): Known | undefined {
    return this.#find.get(key, now - COMMANDS_KEPT_MS) as Known | undefined
  }

  /** All that decisions may ask of: accounts, markets, what is open and held. What is past is asked of `past`. */
  load(past: PastOrders): MemoryBooks {
    const books = new MemoryBooks(past)
    const none: BookRows = { accounts: [], markets: [], orders: [], holdings: [], disputes: [] }
    const each = <T>(text: string, take: (record: T) => void) => {
      for (const record of this.db.prepare(text).safeIntegers(true).iterate()) take(record as T)
    }
    each<Tables['accounts']>('SELECT * FROM accounts', (t) => books.apply({ ...none, accounts: [rows.accountFrom(t)] }))
    each<rows.MarketRecord>('SELECT * FROM markets JOIN market_texts USING (id)', (t) =>
      books.apply({ ...none, markets: [rows.marketFrom(t)] }),
    )
    const unpaid = 'market_id IN (SELECT id FROM markets WHERE paid_at IS NULL)'
    each<Tables['orders']>("SELECT * FROM orders WHERE state IN ('pending', 'partially_filled')", (t) =>
      books.apply({ ...none, orders: [rows.orderFrom(t)] }),
    )
    each<Tables['holdings']>(`SELECT * FROM holdings WHERE ${unpaid}`, (t) =>
      books.apply({ ...none, holdings: [rows.holdingFrom(t)] }),
    )
    each<Tables['disputes']>(`SELECT * FROM disputes WHERE ${unpaid}`, (t) =>
      books.apply({ ...none, disputes: [rows.disputeFrom(t)] }),
    )
    return books
  }

  order(id: OrderId): OrderRow | undefined {
    const record = this.#sql('SELECT * FROM orders WHERE id = ?').get(id) as Tables['orders'] | undefined
    return record && rows.orderFrom(record)
  }

  clientOrder(userId: UserId, clientOrderId: string): OrderRow | undefined {
    const record = this.#sql('SELECT * FROM orders WHERE user_id = ? AND client_order_id = ?').get(
      userId,
      clientOrderId,
    ) as Tables['orders'] | undefined
    return record && rows.orderFrom(record)
  }

  /** When each user who traded within the last day did so last. */
  lastTrades(now: Millis): Map<UserId, Millis> {
    const records = this.#sql(
      `SELECT user_id, (SELECT max(id) FROM trades WHERE trades.user_id = active.user_id) AS trade_id
       FROM (SELECT DISTINCT user_id FROM user_buckets WHERE step = ${HOUR} AND at > ? AND trades > 0) AS active`,
    ).all(now - DAY - HOUR) as { user_id: UserId; trade_id: string | null }[]
    const at = this.#sql('SELECT created_at FROM trades WHERE id = ?')
    const last = new Map<UserId, Millis>()
    for (const { user_id, trade_id } of records) {
      const trade = at.get(trade_id) as { created_at: bigint } | undefined
      if (trade !== undefined) last.set(user_id, Number(trade.created_at))
    }
    return last
  }

  /** Writes a batch in one transaction and synchronises it. Throws what went wrong; then nothing of it is written. */
  commit(changes: Changes, now: Millis): void {
    const put = this.#put
    tx(this.db, () => {
      put.accounts(changes.accounts.values())
      const trade = this.#sql(rows.tradeMarket)
      for (const row of changes.markets.values()) {
        if (changes.remade.has(row.id)) put.markets([row])
        else trade.run(rows.marketTrading.columns.map((column) => column.of(row)))
      }
      for (const row of changes.texts.values()) this.#putTexts(row)
      put.orders(changes.orders.values())
      put.holdings(changes.holdings.values())
      put.disputes(changes.disputes.values())
      put.trades(changes.trades)
      put.transfers(changes.transfers)
      put.profits(changes.profits)
      put.scores(changes.scores)
      put.commands(changes.commands)
      this.#putStandings(changes)
      put.userBuckets(changes.userBuckets.values())
      put.marketBuckets(changes.marketBuckets.values())
      put.categoryBuckets(changes.categoryBuckets.values())
      for (const market of changes.voided) this.#takeOut(market)
      const until = now - COMMANDS_KEPT_MS
      const oldest = this.#sql('SELECT at FROM commands ORDER BY seq LIMIT 1').get() as { at: bigint } | undefined
      if (oldest !== undefined && oldest.at < until) {
        this.#sql('DELETE FROM commands WHERE seq IN (SELECT seq FROM commands ORDER BY seq LIMIT ?) AND at < ?').run(
          changes.commands.length * CLEANED_FOR_EACH,
          until,
        )
      }
    })
  }

  #putStandings(changes: Changes) {
    const trade = this.#sql(rows.tradeStanding)
    for (const standing of changes.standings) {
      const [userId, { profit, volume, trades, markets, scored }] = standing
      const traded = profit === 0n && markets === 0 && scored === 0 && trade.run(volume, trades, userId).changes > 0
      if (!traded) this.#put.standings([standing])
    }
  }

  #putTexts(row: MarketRow) {
    const record = this.#sql(`${rows.writing(rows.marketTexts, 'sqlite')} RETURNING seq`).get(
      rows.marketTexts.columns.map((c) => c.of(row)),
    ) as { seq: bigint }
    const { title, question, description, tags } = row.draft
    this.#sql(
      'INSERT OR REPLACE INTO market_search (rowid, title, question, description, tags) VALUES (?, ?, ?, ?, ?)',
    ).run(record.seq, title, question, description ?? '', tags.join(' '))
  }

  #takeOut(market: MarketRow) {
    const values = { market: market.id, creator: market.creatorId, created: BigInt(market.createdAt) }
    for (const text of rows.takeOut) {
      const used = Object.entries(values).filter(([name]) => text.includes(`$${name}`))
      this.#sql(text).run(Object.fromEntries(used))
    }
  }

  /**
   * By how much the ledger is off, in millionths of a credit: what accounts and markets hold, less what was issued. Zero,
   * or something is broken.
   */
  imbalance(): bigint {
    const { off } = this.#sql(
      `SELECT (SELECT coalesce(sum(available + reserved - granted), 0) FROM accounts)
            + (SELECT coalesce(sum(pool + escrow + fees), 0) FROM markets) AS off`,
    ).get() as { off: bigint }
    return off
  }

  /** Removes a little of what nobody asks for any more. */
  clean(now: Millis): void {
    tx(this.db, () => {
      this.#sql(
        `DELETE FROM market_buckets WHERE (market_id, step, at) IN
           (SELECT market_id, step, at FROM market_buckets WHERE step = ${MINUTE} AND at < ? LIMIT ?)`,
      ).run(now - MINUTES_KEPT_MS, CLEANED_AT_ONCE)
      this.#sql(
        `DELETE FROM category_buckets WHERE (category, at) IN
           (SELECT category, at FROM category_buckets WHERE at < ? LIMIT ?)`,
      ).run(now - MINUTES_KEPT_MS, CLEANED_AT_ONCE)
      this.#sql(
        `DELETE FROM user_buckets WHERE (step, at, user_id) IN
           (SELECT step, at, user_id FROM user_buckets WHERE step = ${HOUR} AND at < ? LIMIT ?)`,
      ).run(now - 40 * DAY, CLEANED_AT_ONCE)
    })
  }

  /** Markets whose trending score is not what it was: those with trades in the last day, and those that had some. */
  lively(now: Millis): string[] {
    const records = this.#sql(
      `SELECT DISTINCT market_id AS id FROM market_buckets WHERE step = ${HOUR} AND at > ?
       UNION SELECT id FROM markets WHERE trending > 0`,
    ).all(now - DAY - HOUR) as { id: string }[]
    return records.map((record) => record.id)
  }

  /** Brings the trending scores of these markets up to date. */
  refreshTrending(ids: readonly string[], now: Millis): void {
    const buckets = this.#sql(
      `SELECT at, volume, trades FROM market_buckets WHERE market_id = ? AND step = ${HOUR} AND at > ?`,
    )
    const update = this.#sql('UPDATE markets SET trending = ? WHERE id = ? AND trending <> ?')
    tx(this.db, () => {
      for (const id of ids) {
        let activity = 0
        for (const b of buckets.all(id, now - DAY - HOUR) as Pick<
          Tables['market_buckets'],
          'at' | 'volume' | 'trades'
        >[]) {
          activity += activityWeight(Number(b.at), now) * (Number(b.trades) + Number(b.volume) / VOLUME_OF_A_TRADE)
        }
        const score = trendingOf(activity)
        update.run(score, id, score)
      }
    })
  }

  close(): void {
    this.db.close()
  }
}

function prepareAll(db: Database) {
  /** Writes rows, many with one statement: less of it is spent on calling. */
  const put = <Row>(m: rows.Mapping<Row>) => {
    const one = db.prepare(rows.writing(m, 'sqlite'))
    const many = db.prepare(rows.writing(m, 'sqlite', ROWS_AT_ONCE))
    const { columns } = m
    return (list: Iterable<Row>) => {
      const cells: rows.Cell[] = []
      for (const row of list) {
        for (let i = 0; i < columns.length; i++) cells.push(columns[i]!.of(row))
        if (cells.length < ROWS_AT_ONCE * columns.length) continue
        many.run(cells)
        cells.length = 0
      }
      for (let from = 0; from < cells.length; from += columns.length) one.run(cells.slice(from, from + columns.length))
    }
  }
  return {
    accounts: put(rows.accounts),
    markets: put(rows.markets),
    orders: put(rows.orders),
    holdings: put(rows.holdings),
    disputes: put(rows.disputes),
    trades: put(rows.trades),
    transfers: put(rows.transfers),
    profits: put(rows.profits),
    scores: put(rows.scores),
    commands: put(rows.commands),
    standings: put(rows.standings),
    userBuckets: put(rows.userBuckets),
    marketBuckets: put(rows.marketBuckets),
    categoryBuckets: put(rows.categoryBuckets),
  }
}
