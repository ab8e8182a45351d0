/** The front door of the market. */
import type { OpenMarket, PostgresOptions } from './store/market.ts'

export type { Ask, Asked } from './bound.ts'
export { startBoundMarkets } from './bound.ts'
export type {
  Actor,
  Answer,
  Command,
  Done,
  Envelope,
  MarketCommands,
  OrderView,
  Refusal,
  RefusalCode,
  TradeDone,
} from './commands.ts'
export type { MarketConfig } from './config.ts'
export type { Desk } from './desk.ts'
export { createDesk } from './desk.ts'
export type { MarketEvent } from './events.ts'
export { createFeed } from './live/feed.ts'
export * from './model.ts'
export { createReading } from './reading.ts'
export type * from './reads.ts'
export type { MarketConnection, MarketListener, WriterConnection } from './store/client.ts'
export { connectWriter } from './store/client.ts'
export { openEmbeddedMarket, openMarketReads } from './store/embedded.ts'
export type { EmbeddedOptions, MarketSettings, OpenMarket, PostgresOptions } from './store/market.ts'
export { startMarketWriter, writerSocketBeside } from './store/writer-process.ts'
export { figuresJson } from './views.ts'

/** The market on PostgreSQL; its driver is loaded with the first call, so that the embedded market starts without it. */
export async function openPostgresMarket(options: PostgresOptions): Promise<OpenMarket> {
  const postgres = await import('./store/postgres.ts')
  return postgres.openPostgresMarket(options)
}
