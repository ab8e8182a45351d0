/**
 * The market on PostgreSQL: each command is one transaction of whichever instance got it, decided by the same function
 * as on the embedded database.
 *
 *   BEGIN ─▶ lock the market ─▶ known key? ─▶ load its books ─▶ decide ─▶ lock the accounts that change
 *         ─▶ (changed meanwhile? decide again) ─▶ write, leave events ─▶ COMMIT ─▶ answer
 *
 * Two transactions in each other's way: one is done again from the start. What time brings (closing, expiry, payouts) is
 * done by the one instance that holds the lock of duties, market by market, and would be harmless done twice.
 */
import type pg from 'pg'
import { messageOf, unavailable } from '../../base/errors.ts'
import { risingIds } from '../../base/id.ts'
import { DAY, HOUR, MINUTE, type Millis, SECOND } from '../../base/time.ts'
import type { DecideSettings, MarketRow } from '../books.ts'
import type { Answer, Envelope, MarketCommands } from '../commands.ts'
import { decide } from '../decide.ts'
import type { MarketId, UserId } from '../model.ts'
import { Changes } from './changes.ts'
import { type Figures, marketFigures } from './figures.ts'
import type { OpenMarket, PostgresOptions } from './market.ts'
import { loadBooks, lockAccounts } from './pg-books.ts'
import { EVENTS_KEPT_MS, leaveEvents, listenToEvents } from './pg-events.ts'
import { kyselyOverPool, openPool } from './pg-pool.ts'
import { migratePostgres } from './pg-schema.ts'
import { readsOver } from './reads/reads.ts'
import * as rows from './rows.ts'
import { asAway, isCollision, prepared } from './sql.ts'
import { VOLUME_OF_A_TRADE } from './trending.ts'
import { answerFromWire, answerToWire, type Wired } from './wire.ts'

const TRIES_MAX = 12
/** Decisions over accounts that changed while they were made; then the transaction starts anew. */
const DECISIONS_MAX = 5
const COMMANDS_KEPT_MS = DAY
const TICK_MS = SECOND
const CARE_MS = 15 * SECOND
/** Commands of this process under way at once; more wait for a connection, and too many are refused. */
const CONNECTIONS = 16
const OPEN_MAX = 5_000

/** Connects, brings the tables up to date, listens. Rejects with an Error of one sentence when that cannot be. */
export async function openPostgresMarket(options: PostgresOptions): Promise<OpenMarket> {
  const { scheduler, log, telemetry } = options
  const { clock } = scheduler
  const pool = openPool(options.url, log, CONNECTIONS)
  try {
    await migratePostgres(pool)
    const { rows: found } = await pool.query<{ schema: string }>('SELECT current_schema() AS schema')
    const channel = `opinion_market_${found[0]?.schema}`
    const events = await listenToEvents({ url: options.url, channel, scheduler, log })
    const sql = kyselyOverPool(pool)
    const figures = marketFigures(telemetry, clock)
    const commands = new PostgresCommands(pool, channel, figures, options)

    let imbalance: bigint | null = null
    telemetry.gauge(
      'market_ledger_imbalance',
      'What accounts and markets hold less what was issued, in credits. Anything but 0 is a fault.',
      {},
      () => (imbalance === null ? null : Number(imbalance) / 1e6),
    )
    let openInterest: number | null = null
    telemetry.gauge('market_open_interest', 'Shares held in markets that are not paid out.', {}, () => openInterest)
    const onDuty = async (work: () => Promise<void>) => {
      try {
        if (await events.onDuty()) await work()
      } catch (error) {
        log.warn('the market’s time could not be kept', { why: messageOf(error) })
      }
    }
    const ticking = scheduler.every(TICK_MS, () => onDuty(() => commands.tick()))
    const caring = scheduler.every(CARE_MS, () =>
      onDuty(async () => {
        const state = await takeCare(pool, clock.now())
        imbalance = state.imbalance
        openInterest = Number(state.openShares) / 10_000
        figures.begin(state.lastTrades)
        if (imbalance !== 0n) log.error('the ledger does not add up', { millionths: imbalance })
      }),
    )
    return {
      reads: readsOver(sql, 'postgres'),
      commands: {
        connected: true,
        submit: (envelope) => commands.submit(envelope),
        subscribe: (listener) => events.subscribe(listener),
        close: () => commands.close(),
      },
      async close() {
        ticking.cancel()
        caring.cancel()
        await commands.close()
        await events.close()
        await sql.destroy()
      },
    }
  } catch (error) {
    await pool.end()
    const away = asAway(error)
    throw away === error ? error : new Error(`PostgreSQL cannot be reached: ${messageOf(error)}`)
  }
}

class PostgresCommands implements MarketCommands {
  readonly #pool: pg.Pool
  readonly #channel: string
  readonly #figures: Figures
  readonly #options: PostgresOptions
  readonly #newId = risingIds()
  #open = 0
  #closed = false
  #idle: () => void = () => {}

  constructor(pool: pg.Pool, channel: string, figures: Figures, options: PostgresOptions) {
    this.#pool = pool
    this.#channel = channel
    this.#figures = figures
    this.#options = options
  }

  async submit(envelope: Envelope): Promise<Answer> {
    const { scheduler, log } = this.#options
    const { clock } = scheduler
    if (this.#closed) throw unavailable('The market is being stopped.', 2)
    if (this.#open >= OPEN_MAX) throw unavailable('The market has more to do than it can.', 1, 'market_overloaded')
    this.#open++
    const started = clock.monotonic()
    const { type } = envelope.command
    try {
      const answer = await this.#untilDone(envelope)
      this.#figures.answered(type, answer.ok ? 'done' : 'refused', (clock.monotonic() - started) / 1000)
      return answer
    } catch (error) {
      this.#figures.answered(type, 'failed', (clock.monotonic() - started) / 1000)
      const away = asAway(error)
      log.warn('a command to the market failed', { why: messageOf(error), command: type })
      throw away
    } finally {
      this.#open--
      if (this.#open === 0) this.#idle()
    }
  }

  async #untilDone(envelope: Envelope): Promise<Answer> {
    const { scheduler, random } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        return await this.#transaction(envelope)
      } catch (error) {
        if (!isCollision(error) && !(error instanceof Crossed)) throw error
        if (tries === TRIES_MAX) throw unavailable('The market has too much to do at this place. Try again.', 1)
        await scheduler.sleep(random.next() * 5 * 2 ** Math.min(tries, 6))
      }
    }
  }

  async #transaction(envelope: Envelope): Promise<Answer> {
    const client = await this.#pool.connect()
    try {
      await client.query('BEGIN')
      const answer = await this.#inTransaction(client, envelope)
      client.release()
      return answer
    } catch (error) {
      // A connection whose transaction cannot be ended is no use to anybody.
      const ended = await client.query('ROLLBACK').then(
        () => true,
        () => false,
      )
      client.release(!ended)
      throw error
    }
  }

  async #inTransaction(client: pg.PoolClient, envelope: Envelope): Promise<Answer> {
    const { clock } = this.#options.scheduler
    const { key, fingerprint } = envelope
    const now = clock.now()
    const books = await loadBooks(client, envelope, now)
    if (key !== '') {
      const { rows: known } = await client.query<{ fingerprint: string; answer: string }>(
        prepared('SELECT fingerprint, answer FROM commands WHERE key = $1 AND at >= $2', [key, now - COMMANDS_KEPT_MS]),
      )
      if (known[0] !== undefined) {
        await client.query('ROLLBACK')
        return known[0].fingerprint === fingerprint
          ? answerFromWire(JSON.parse(known[0].answer) as Wired<Answer>)
          : { ok: false, refusal: CLASH }
      }
    }
    const settings: DecideSettings = { ...this.#options.settings(), newId: this.#newId }
    for (let decisions = 1; decisions <= DECISIONS_MAX; decisions++) {
      const decision = decide(books, envelope, settings, now)
      if (!decision.ok) {
        await client.query('ROLLBACK')
        return decision
      }
      const { effects } = decision
      const before = effects.accounts.filter((row) => books.account(row.userId) !== undefined)
      const same = await lockAccounts(
        client,
        books,
        before.map((row) => row.userId),
      )
      if (!same) continue
      const changes = new Changes()
      changes.add(effects, books)
      const answer: Answer = { ok: true, done: effects.done }
      if (key !== '') changes.commands.push({ key, fingerprint, answer: JSON.stringify(answerToWire(answer)), at: now })
      if (changes.isEmpty) {
        await client.query('ROLLBACK')
        return answer
      }
      await write(client, changes)
      if (changes.events.length > 0) {
        const { text, values } = leaveEvents(changes.events, this.#channel, now)
        await client.query(prepared(text, values))
      }
      const started = clock.monotonic()
      await client.query('COMMIT')
      this.#figures.committed(changes, (clock.monotonic() - started) / 1000)
      return answer
    }
    throw new Crossed('accounts changed again and again')
  }

  /** Closes, expires and pays what is due, a transaction for each market. */
  async tick(): Promise<void> {
    const now = this.#options.scheduler.clock.now()
    const { rows: due } = await this.#pool.query<{ id: MarketId }>(
      `SELECT id FROM markets WHERE state IN ('open', 'suspended') AND closes_at <= $1
       UNION SELECT id FROM markets WHERE paid_at IS NULL AND final_at IS NOT NULL AND final_at <= $1
         AND state = 'resolved'
       UNION SELECT market_id FROM orders WHERE state IN ('pending', 'partially_filled') AND expires_at IS NOT NULL
         AND expires_at <= $1`,
      [now],
    )
    for (const { id } of due) {
      if (this.#closed) return
      await this.submit({
        key: '',
        fingerprint: '',
        actor: { userId: null, kind: 'system' },
        command: { type: 'tick', marketId: id },
      }).catch((error: unknown) => {
        this.#options.log.warn('a tick of a market failed', { why: messageOf(error), market: id })
      })
    }
  }

  /** Resolves when what was taken is answered. */
  async close(): Promise<void> {
    this.#closed = true
    if (this.#open > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
  }
}

/** Books changed under a decision; the transaction is done again. */
class Crossed extends Error {}

const CLASH = {
  code: 'idempotency_clash',
  detail: 'This Idempotency-Key was used for another request.',
} as const

/** All rows of a transaction in one statement; then, where a market was void, what was counted of it is taken out. */
async function write(client: pg.PoolClient, changes: Changes): Promise<void> {
  const parts: string[] = []
  const values: unknown[] = []
  const put = <Row>(m: rows.Mapping<Row>, list: Iterable<Row>) => {
    const all = [...list]
    if (all.length === 0) return
    const offset = values.length
    parts.push(rows.writing(m, 'postgres').replace(/\$(\d+)/g, (_, n: string) => `$${Number(n) + offset}`))
    for (const column of m.columns) values.push(all.map((row) => column.of(row)))
  }
  put(rows.accounts, changes.accounts.values())
  put(rows.markets, changes.markets.values())
  put(rows.marketTexts, changes.texts.values())
  put(rows.orders, changes.orders.values())
  put(rows.holdings, changes.holdings.values())
  put(rows.disputes, changes.disputes.values())
  put(rows.trades, changes.trades)
  put(rows.transfers, changes.transfers)
  put(rows.profits, changes.profits)
  put(rows.scores, changes.scores)
  put(rows.commands, changes.commands)
  put(rows.marketBuckets, changes.marketBuckets.values())
  // Rows that several markets share come last and in one order: two transactions wait for each other, never in a ring.
  put(rows.categoryBuckets, [...changes.categoryBuckets.values()].sort(byKey((b) => `${b.category}/${b.at}`)))
  put(rows.userBuckets, [...changes.userBuckets.values()].sort(byKey((b) => `${b.userId}/${b.step}/${b.at}`)))
  put(rows.standings, [...changes.standings].sort(byKey(([userId]) => userId)))
  const named = parts.map((part, i) => `w${i} AS (${part})`)
  await client.query(prepared(`WITH ${named.join(', ')} SELECT 1`, values))
  for (const market of changes.voided) await takeOut(client, market)
}

const byKey =
  <T>(key: (item: T) => string) =>
  (a: T, b: T) =>
    key(a) < key(b) ? -1 : 1

async function takeOut(client: pg.PoolClient, market: MarketRow) {
  const all = { market: market.id, creator: market.creatorId, created: market.createdAt }
  for (const text of rows.takeOut) {
    const values: unknown[] = []
    const spoken = text.replace(/\$(market|creator|created)\b/g, (_, name: keyof typeof all) => {
      values.push(all[name])
      return `$${values.length}${name === 'created' ? '::int8' : '::text'}`
    })
    await client.query(spoken, values)
  }
}

/** What one instance does for all now and then: cleaning, trending scores, a look at the ledger. */
async function takeCare(pool: pg.Pool, now: Millis) {
  await pool.query('DELETE FROM events WHERE at < $1', [now - EVENTS_KEPT_MS])
  await pool.query('DELETE FROM commands WHERE at < $1 AND seq < (SELECT min(seq) + 50000 FROM commands)', [
    now - COMMANDS_KEPT_MS,
  ])
  await pool.query(`DELETE FROM market_buckets WHERE step = ${MINUTE} AND at < $1`, [now - 9 * DAY])
  await pool.query('DELETE FROM category_buckets WHERE at < $1', [now - 9 * DAY])
  await pool.query(`DELETE FROM user_buckets WHERE step = ${HOUR} AND at < $1`, [now - 40 * DAY])
  await pool.query(
    `UPDATE markets SET trending = fresh.score FROM (
       SELECT markets.id, floor(100 * coalesce(activity, 0) / (coalesce(activity, 0) + 50))::int8 AS score
       FROM markets LEFT JOIN (
         SELECT market_id, sum(greatest(0, least(1, 1 - ($1::float8 - at) / ${DAY}))
           * (trades + volume / ${VOLUME_OF_A_TRADE}.0)) AS activity
         FROM market_buckets WHERE step = ${HOUR} AND at > $2 GROUP BY market_id
       ) AS lively ON lively.market_id = markets.id
       WHERE markets.trending > 0 OR activity IS NOT NULL
     ) AS fresh WHERE fresh.id = markets.id AND markets.trending <> fresh.score`,
    [now, now - DAY - HOUR],
  )
  const { rows: sums } = await pool.query<{ off: bigint; open_shares: string }>(
    `SELECT ((SELECT coalesce(sum(available + reserved - granted), 0) FROM accounts)
           + (SELECT coalesce(sum(pool + escrow + fees), 0) FROM markets))::int8 AS off,
       (SELECT coalesce(sum(shares), 0) FROM holdings WHERE shares > 0)::int8 AS open_shares`,
  )
  const { rows: last } = await pool.query<{ user_id: UserId; at: bigint }>(
    `SELECT active.user_id, max(trades.created_at)::int8 AS at
     FROM (SELECT DISTINCT user_id FROM user_buckets WHERE step = ${HOUR} AND at > $1 AND trades > 0) AS active
     CROSS JOIN LATERAL (
       SELECT created_at FROM trades WHERE trades.user_id = active.user_id ORDER BY id DESC LIMIT 1
     ) AS trades GROUP BY active.user_id`,
    [now - DAY - HOUR],
  )
  return {
    imbalance: sums[0]!.off,
    openShares: sums[0]!.open_shares,
    lastTrades: new Map(last.map((row) => [row.user_id, Number(row.at)])),
  }
}
