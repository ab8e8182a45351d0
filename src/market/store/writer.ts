/**
 * The embedded database's one decider: commands come in, are decided one after the other in memory, and what they change
 * is written as one transaction a batch before anybody is answered.
 *
 *   take ─▶ queue ─▶ [ known key? │ decide ─▶ changes ─▶ books ]* ─▶ commit (FULL) ─▶ events, answers
 *                     └ refused: nothing is stored, asking again decides again
 *
 * A batch is what has arrived by the time the last one was done. When a commit fails (full disk), nothing of the batch
 * has happened: everyone in it is told 503, the books are read from disk again, and until a commit works each command is
 * written before the books are changed. Memory never says what the disk does not.
 */
import { basename } from 'node:path'
import { AppError, messageOf } from '../../base/errors.ts'
import { risingIds } from '../../base/id.ts'
import type { Log } from '../../base/log.ts'
import type { Cancel, Scheduler } from '../../base/scheduler.ts'
import { afterInput } from '../../base/scheduler.ts'
import type { Telemetry } from '../../base/telemetry.ts'
import type { Millis } from '../../base/time.ts'
import { asUnavailable, type Database } from '../../storage/database.ts'
import type { DecideSettings } from '../books.ts'
import type { Answer, Envelope, MarketCommands, Refusal } from '../commands.ts'
import { decide } from '../decide.ts'
import { type Audit, audit } from '../ledger/audit.ts'
import type { MemoryBooks } from '../memory-books.ts'
import { Changes } from './changes.ts'
import type { MarketListener } from './client.ts'
import { type Figures, marketFigures } from './figures.ts'
import type { MarketSettings } from './market.ts'
import { type Known, SqliteStore } from './sqlite-store.ts'
import { answerFromWire, answerToWire, eventToWire, type Failure, type Wired } from './wire.ts'

export interface WriterOptions {
  /** market.db. */
  readonly path: string
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  /** Asked for each batch. */
  settings(): MarketSettings
  /** Memory and disk cannot be brought together again: the process has to end. */
  onFailure(error: Error): void
}

/** How a command ended: the answer as JSON text, or why nobody can say. */
export type Outcome = { readonly answer: string } | { readonly failure: Failure }

interface Asked {
  readonly envelope: Envelope
  readonly since: number
  done(outcome: Outcome): void
}

const BATCH_MAX = 2_000
/** A batch is closed after so much deciding: those in it wait for all of it. */
const BATCH_MS = 10
const TICK_MS = 250
const CLEAN_MS = 10_000
const TRENDING_MS = 1_000
const TRENDING_AT_ONCE = 200
const BALANCE_MS = 60_000

export class Writer implements MarketCommands {
  readonly #options: WriterOptions
  readonly #store: SqliteStore
  #books: MemoryBooks
  /** What is decided and not yet on disk. */
  #changes = new Changes()
  /** Keys of the batch under way. */
  readonly #fresh = new Map<string, Known>()
  #queue: Asked[] = []
  #waiting = false
  /** The last commit failed: nothing is changed in memory before it is on disk. */
  #cautious = false
  /** While cautious: whether the last command could be written. */
  #writes = false
  #closed = false
  readonly #timers: Cancel[] = []
  readonly #newId = risingIds()
  readonly #listeners = new Set<MarketListener>()
  readonly figures: Figures
  #imbalance: bigint
  #lively: string[] = []
  /** Gets the events of each transaction as one line of the protocol, before the answers of its commands. */
  onEvents: (line: string) => void = () => {}
  /** All of a batch are answered. */
  afterBatch: () => void = () => {}

  /** Throws an Error with one sentence when the file cannot be opened or its ledger does not add up. */
  constructor(options: WriterOptions) {
    this.#options = options
    this.#store = new SqliteStore(options.path)
    try {
      this.#books = this.#load()
      const { imbalance, faults } = auditOf(this.#books)
      this.#imbalance = imbalance
      if (faults.length > 0) {
        const more = faults.length === 1 ? '' : ` (and ${faults.length - 1} more)`
        throw new Error(
          `the ledger of ${basename(options.path)} does not add up: ${faults[0]}${more}. ` +
            'Nothing is traded on it: restore a backup',
        )
      }
    } catch (error) {
      this.#store.close()
      throw error
    }
    const { scheduler, telemetry } = options
    this.figures = marketFigures(telemetry, scheduler.clock)
    this.figures.begin(this.#store.lastTrades(scheduler.clock.now()))
    telemetry.gauge(
      'market_ledger_imbalance',
      'What accounts and markets hold less what was issued, in credits. Anything but 0 is a fault.',
      {},
      () => Number(this.#imbalance) / 1e6,
    )
    telemetry.gauge('market_open_interest', 'Shares held in markets that are not paid out.', {}, () => {
      let shares = 0n
      for (const market of this.#books.markets.values()) {
        if (market.paidAt === null) for (const sold of market.sold) shares += sold
      }
      return Number(shares) / 10_000
    })
    telemetry.gauge('market_queue_length', 'Commands that wait to be decided.', {}, () => this.#queue.length)
    this.#timers.push(
      scheduler.every(TICK_MS, () => this.tick()),
      scheduler.every(CLEAN_MS, () => this.#store.clean(scheduler.clock.now())),
      scheduler.every(TRENDING_MS, () => this.#refreshTrending()),
      scheduler.every(BALANCE_MS, () => {
        this.#imbalance = this.#store.imbalance()
        if (this.#imbalance !== 0n) options.log.error('the ledger does not add up', { millionths: this.#imbalance })
      }),
    )
  }

  #load(): MemoryBooks {
    const store = this.#store
    // Orders that ended in the batch under way are not on disk yet.
    return store.load({
      order: (id) => this.#changes.orders.get(id) ?? store.order(id),
      clientOrder: (userId, name) => this.#changes.clientOrder(userId, name) ?? store.clientOrder(userId, name),
    })
  }

  /** Hands a command over; `done` is called once, after what it did is on disk. */
  take(envelope: Envelope, done: (outcome: Outcome) => void): void {
    if (this.#closed) {
      done(failed('The market is being stopped.'))
      return
    }
    this.#queue.push({ envelope, since: this.#options.scheduler.clock.monotonic(), done })
    this.#wake()
  }

  submit(envelope: Envelope): Promise<Answer> {
    return new Promise((resolve, reject) =>
      this.take(envelope, (outcome) => {
        if ('answer' in outcome) return resolve(answerFromWire(JSON.parse(outcome.answer) as Wired<Answer>))
        const { status, code, detail, retryAfterSeconds } = outcome.failure
        reject(new AppError(status, code, detail, retryAfterSeconds === null ? {} : { retryAfterSeconds }))
      }),
    )
  }

  subscribe(listener: MarketListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /** Closes, expires and pays what is due; by timer, and harmless at any time. */
  tick(): void {
    const { scheduler, log } = this.#options
    const now = scheduler.clock.now()
    const due = this.#books.due(now, null)
    if (due.closing.length + due.paying.length + due.expiring.length === 0) return
    const envelope: Envelope = {
      key: '',
      fingerprint: '',
      actor: { userId: null, kind: 'system' },
      command: { type: 'tick', marketId: null },
    }
    this.take(envelope, (outcome) => {
      if ('failure' in outcome) log.warn('a tick of the market failed', { why: outcome.failure.detail })
    })
  }

  #wake() {
    if (this.#waiting) return
    this.#waiting = true
    afterInput(() => {
      this.#waiting = false
      this.#runBatch()
      if (this.#queue.length > 0) this.#wake()
    })
  }

  #runBatch() {
    const { clock } = this.#options.scheduler
    const started = clock.monotonic()
    const now = clock.now()
    const settings: DecideSettings = { ...this.#options.settings(), newId: this.#newId }
    const outcomes: { asked: Asked; outcome: Outcome }[] = []
    let count = 0
    while (count < this.#queue.length && count < BATCH_MAX) {
      const asked = this.#queue[count++]!
      outcomes.push({ asked, outcome: this.#decide(asked.envelope, settings, now) })
      if (clock.monotonic() - started > BATCH_MS) break
    }
    this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count)
    const failure = this.#cautious ? null : this.#commit(now)
    if (this.#cautious && this.#writes) {
      this.#cautious = false
      this.#options.log.info('the market can write again')
    }
    const ended = clock.monotonic()
    for (const { asked, outcome } of outcomes) {
      asked.done(failure ?? outcome)
      const how =
        failure !== null || 'failure' in outcome ? 'failed' : outcome.answer.startsWith(DONE) ? 'done' : 'refused'
      this.figures.answered(asked.envelope.command.type, how, (ended - asked.since) / 1000)
    }
    this.afterBatch()
  }

  /** Writes what is gathered and tells of it. Answers why not, when it cannot: then the books are read again. */
  #commit(now: Millis): { failure: Failure } | null {
    const changes = this.#changes
    if (changes.isEmpty) return null
    const { log, scheduler, onFailure } = this.#options
    const started = scheduler.clock.monotonic()
    try {
      this.#store.commit(changes, now)
    } catch (error) {
      log.error('the market could not write', { error })
      this.#forget()
      this.#cautious = true
      this.#writes = false
      try {
        this.#books = this.#load()
      } catch (worse) {
        onFailure(new Error(`the market cannot read its database: ${messageOf(worse)}`))
      }
      return failureOf(asUnavailable(error))
    }
    this.#forget()
    this.figures.committed(changes, (scheduler.clock.monotonic() - started) / 1000)
    this.#publish(changes)
    return null
  }

  #forget() {
    this.#changes = new Changes()
    this.#fresh.clear()
  }

  #publish(changes: Changes) {
    if (changes.events.length === 0) return
    this.onEvents(`{"events":${JSON.stringify(changes.events.map(eventToWire))}}\n`)
    for (const listener of this.#listeners) {
      try {
        for (const event of changes.events) listener.event(event)
      } catch (error) {
        this.#options.log.error('a listener to the market failed', { error })
      }
    }
  }

  #decide(envelope: Envelope, settings: DecideSettings, now: Millis): Outcome {
    const { log } = this.#options
    const { key, fingerprint } = envelope
    try {
      const known = key === '' ? undefined : (this.#fresh.get(key) ?? this.#store.known(key, now))
      if (known !== undefined) return known.fingerprint === fingerprint ? { answer: known.answer } : CLASH
      const decision = decide(this.#books, envelope, settings, now)
      if (!decision.ok) return refused(decision.refusal)
      const { effects } = decision
      const answer = JSON.stringify(answerToWire({ ok: true, done: effects.done }))
      this.#changes.add(effects, this.#books)
      if (key !== '') {
        this.#changes.commands.push({ key, fingerprint, answer, at: now })
        this.#fresh.set(key, { fingerprint, answer })
      }
      if (this.#cautious) {
        const failure = this.#commitCautiously(now)
        if (failure !== null) return failure
      }
      this.#books.apply(effects)
      return { answer }
    } catch (error) {
      // Nothing was applied: a decision is pure, and what it gave is taken in as a whole.
      log.error('a command could not be decided', { error, command: envelope.command.type })
      return failureOf(asUnavailable(error))
    }
  }

  #commitCautiously(now: Millis): { failure: Failure } | null {
    const changes = this.#changes
    try {
      this.#store.commit(changes, now)
      this.#writes = true
    } catch (error) {
      if (this.#writes) this.#options.log.warn('the market still cannot write', { why: messageOf(error) })
      this.#writes = false
      return failureOf(asUnavailable(error))
    } finally {
      this.#forget()
    }
    this.figures.committed(changes, 0)
    this.#publish(changes)
    return null
  }

  #refreshTrending() {
    const now = this.#options.scheduler.clock.now()
    if (this.#lively.length === 0) this.#lively = this.#store.lively(now)
    const some = this.#lively.splice(0, TRENDING_AT_ONCE)
    if (some.length > 0 && !this.#cautious) this.#store.refreshTrending(some, now)
  }

  /** What the books say of themselves now. */
  audit(): Audit {
    return auditOf(this.#books)
  }

  /** The file, for whoever has to look at it: tests, backups. */
  get database(): Database {
    return this.#store.db
  }

  /** Decides what was taken before, then ends. */
  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#timers) timer.cancel()
    while (this.#queue.length > 0) this.#runBatch()
    this.#store.close()
  }
}

const auditOf = (books: MemoryBooks) =>
  audit({
    accounts: books.accounts.values(),
    markets: books.markets.values(),
    holdings: [...books.markets.keys()].flatMap((id) => [...books.holdings(id)]),
    orders: books.orders(),
  })

/** How the JSON of an answer begins that is not a refusal. */
const DONE = '{"ok":true'

const refused = (refusal: Refusal): Outcome => ({ answer: JSON.stringify({ ok: false, refusal }) })

const CLASH = refused({
  code: 'idempotency_clash',
  detail: 'This Idempotency-Key was used for another request.',
})

const failed = (detail: string): { failure: Failure } => ({
  failure: { status: 503, code: 'market_unavailable', detail, retryAfterSeconds: 2 },
})

function failureOf(error: unknown): { failure: Failure } {
  if (!(error instanceof AppError))
    return failed('The market cannot take this now. Ask again with the same Idempotency-Key.')
  const { status, code, message, retryAfterSeconds } = error
  return { failure: { status, code, detail: message, retryAfterSeconds: retryAfterSeconds ?? null } }
}
