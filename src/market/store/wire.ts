/**
 * Commands, answers and events as JSON: between an instance and the market-writer, in the table of answered commands and
 * in PostgreSQL's table of events. JSON has no bigint, so amounts travel as decimal strings; `Wired` makes the compiler
 * find a field that was forgotten, on either side.
 *
 *   instance ──{hello}──▶ writer     ──{id, ask}──▶     one line each, at most LINE_MAX characters
 *            ◀─{hello}──             ◀─{id, answer} | {id, failure} | {events}──
 *                                    ──{id, telemetry}──▶ ◀─{id, telemetry}──
 *
 * A line is one JSON object and a newline (JSON text never holds one). Both sides are ours and the socket is 0600, yet
 * a line that is not what is said here ends the connection, never the process.
 */
import type { TelemetryFamily } from '../../base/telemetry.ts'
import type { Answer, Command, Done, Envelope, Fill, OrderView, TradeDone } from '../commands.ts'
import type { MarketEvent } from '../events.ts'
import type { MarketDraft } from '../model.ts'

/** T with each bigint as its decimal string. */
export type Wired<T> = T extends bigint
  ? string
  : T extends string | number | boolean | null | undefined
    ? T
    : T extends readonly (infer E)[]
      ? readonly Wired<E>[]
      : { readonly [K in keyof T]: Wired<T[K]> }

export const PROTOCOL = 1
/** Longest line: a draft with every text at its limit takes less than a tenth of it. */
export const LINE_MAX = 1 << 20

export type ToWriter =
  /** `quiet`: it wants no events. */
  | { readonly hello: typeof PROTOCOL; readonly name: string; readonly quiet?: boolean }
  | { readonly id: number; readonly ask: Wired<Envelope> }
  | { readonly id: number; readonly telemetry: true }

export interface Failure {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly retryAfterSeconds: number | null
}

export type FromWriter =
  | { readonly hello: typeof PROTOCOL }
  | { readonly id: number; readonly answer: Wired<Answer> }
  | { readonly id: number; readonly failure: Failure }
  | { readonly id: number; readonly telemetry: readonly TelemetryFamily[] }
  | { readonly events: readonly Wired<MarketEvent>[] }

const maybe = (text: string | null): bigint | null => (text === null ? null : BigInt(text))
const textOf = (amount: bigint | null): string | null => (amount === null ? null : String(amount))

export function draftToWire(draft: MarketDraft): Wired<MarketDraft> {
  return {
    ...draft,
    liquidity: String(draft.liquidity),
    feeRate: String(draft.feeRate),
    minTrade: String(draft.minTrade),
    maxTrade: String(draft.maxTrade),
  }
}

export function draftFromWire(draft: Wired<MarketDraft>): MarketDraft {
  return {
    ...draft,
    liquidity: BigInt(draft.liquidity),
    feeRate: BigInt(draft.feeRate),
    minTrade: BigInt(draft.minTrade),
    maxTrade: BigInt(draft.maxTrade),
  }
}

export function commandToWire(command: Command): Wired<Command> {
  switch (command.type) {
    case 'create_market':
      return { type: command.type, draft: draftToWire(command.draft) }
    case 'trade':
    case 'place_order':
      return { ...command, shares: String(command.shares), limit: textOf(command.limit) }
    case 'amend_order':
    case 'close_position':
      return { ...command, limit: textOf(command.limit) }
    default:
      return command
  }
}

export function commandFromWire(command: Wired<Command>): Command {
  switch (command.type) {
    case 'create_market':
      return { type: command.type, draft: draftFromWire(command.draft) }
    case 'trade':
    case 'place_order':
      return { ...command, shares: BigInt(command.shares), limit: maybe(command.limit) }
    case 'amend_order':
      // JSON leaves out what is undefined: the expiry stays as it is.
      return { ...command, limit: maybe(command.limit), expiresAt: command.expiresAt }
    case 'close_position':
      return { ...command, limit: maybe(command.limit) }
    default:
      return command
  }
}

export const envelopeToWire = (envelope: Envelope): Wired<Envelope> => ({
  key: envelope.key,
  fingerprint: envelope.fingerprint,
  actor: envelope.actor,
  command: commandToWire(envelope.command),
})

export const envelopeFromWire = (envelope: Wired<Envelope>): Envelope => ({
  ...envelope,
  command: commandFromWire(envelope.command),
})

export function fillsToWire(fills: readonly Fill[]): readonly Wired<Fill>[] {
  return fills.map((fill) => ({
    ...fill,
    shares: String(fill.shares),
    value: String(fill.value),
    fee: String(fill.fee),
  }))
}

export function fillsFromWire(fills: readonly Wired<Fill>[]): readonly Fill[] {
  return fills.map((fill) => ({
    ...fill,
    shares: BigInt(fill.shares),
    value: BigInt(fill.value),
    fee: BigInt(fill.fee),
  }))
}

function tradeToWire(trade: TradeDone): Wired<TradeDone> {
  return {
    ...trade,
    shares: String(trade.shares),
    value: String(trade.value),
    fee: String(trade.fee),
    averagePrice: String(trade.averagePrice),
    priceAfter: String(trade.priceAfter),
    fills: fillsToWire(trade.fills),
  }
}

function tradeFromWire(trade: Wired<TradeDone>): TradeDone {
  return {
    ...trade,
    shares: BigInt(trade.shares),
    value: BigInt(trade.value),
    fee: BigInt(trade.fee),
    averagePrice: BigInt(trade.averagePrice),
    priceAfter: BigInt(trade.priceAfter),
    fills: fillsFromWire(trade.fills),
  }
}

function orderToWire(order: OrderView): Wired<OrderView> {
  return {
    ...order,
    originalShares: String(order.originalShares),
    remainingShares: String(order.remainingShares),
    averagePrice: textOf(order.averagePrice),
    limit: textOf(order.limit),
  }
}

function orderFromWire(order: Wired<OrderView>): OrderView {
  return {
    ...order,
    originalShares: BigInt(order.originalShares),
    remainingShares: BigInt(order.remainingShares),
    averagePrice: maybe(order.averagePrice),
    limit: maybe(order.limit),
  }
}

function doneToWire(done: Done): Wired<Done> {
  switch (done.type) {
    case 'account':
      return { ...done, available: String(done.available) }
    case 'resolved':
      return { ...done, paid: String(done.paid) }
    case 'trade':
      return { type: done.type, trade: tradeToWire(done.trade) }
    case 'order':
      return {
        type: done.type,
        order: orderToWire(done.order),
        trade: done.trade === null ? null : tradeToWire(done.trade),
      }
    default:
      return done
  }
}

function doneFromWire(done: Wired<Done>): Done {
  switch (done.type) {
    case 'account':
      return { ...done, available: BigInt(done.available) }
    case 'resolved':
      return { ...done, paid: BigInt(done.paid) }
    case 'trade':
      return { type: done.type, trade: tradeFromWire(done.trade) }
    case 'order':
      return {
        type: done.type,
        order: orderFromWire(done.order),
        trade: done.trade === null ? null : tradeFromWire(done.trade),
      }
    default:
      return done
  }
}

export const answerToWire = (answer: Answer): Wired<Answer> =>
  answer.ok ? { ok: true, done: doneToWire(answer.done) } : answer

export const answerFromWire = (answer: Wired<Answer>): Answer =>
  answer.ok ? { ok: true, done: doneFromWire(answer.done) } : answer

export function eventToWire(event: MarketEvent): Wired<MarketEvent> {
  switch (event.type) {
    case 'trade':
      return {
        ...event,
        shares: String(event.shares),
        value: String(event.value),
        fee: String(event.fee),
        prices: event.prices.map(String),
        sold: event.sold.map(String),
      }
    case 'book':
      return {
        ...event,
        levels: event.levels.map((level) => ({ ...level, price: String(level.price), shares: String(level.shares) })),
      }
    default:
      return event
  }
}

export function eventFromWire(event: Wired<MarketEvent>): MarketEvent {
  switch (event.type) {
    case 'trade':
      return {
        ...event,
        shares: BigInt(event.shares),
        value: BigInt(event.value),
        fee: BigInt(event.fee),
        prices: event.prices.map(BigInt),
        sold: event.sold.map(BigInt),
      }
    case 'book':
      return {
        ...event,
        levels: event.levels.map((level) => ({ ...level, price: BigInt(level.price), shares: BigInt(level.shares) })),
      }
    default:
      return event
  }
}
