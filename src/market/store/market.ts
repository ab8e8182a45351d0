/** The market as an instance has it, on either database: what is asked of it, what is read, what is told. */
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import type { Telemetry } from '../../base/telemetry.ts'
import type { DecideSettings } from '../books.ts'
import type { MarketReads } from '../reads.ts'
import type { MarketConnection } from './client.ts'

/** What a decision needs of the configuration. */
export type MarketSettings = Omit<DecideSettings, 'newId'>

export interface OpenMarket {
  readonly commands: MarketConnection
  readonly reads: MarketReads
  close(): Promise<void>
}

interface Common {
  /** The name of this process in the logs of others: `instance-2`. */
  readonly name: string
  readonly scheduler: Scheduler
  readonly random: Random
  readonly log: Log
}

/** market.db and the market-writer: nothing has to be there yet, until then the answer is 503. */
export interface EmbeddedOptions extends Common {
  /** market.db, which the writer makes. */
  readonly path: string
  /** Where the writer listens: `writerSocketBeside(child.socketPath)`. */
  readonly socketPath: string
}

/** A PostgreSQL database: this process decides and writes by itself, as others do beside it. */
export interface PostgresOptions extends Common {
  readonly url: string
  readonly telemetry: Telemetry
  settings(): MarketSettings
}
