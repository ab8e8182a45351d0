/** What can be configured of the market. */
import type { ConfigOf } from '../base/config-key.ts'
import { bool, integer, optionalText, seconds } from '../base/config-key.ts'

const MIB = 1024 * 1024

export const marketKeys = {
  enabled: bool('market.enabled', true, {
    env: 'MARKET_ENABLED',
    help: 'Whether the market runs: its writer and its instances. Without it the platform watches other services alone.',
  }),
  databaseUrl: optionalText('market.database_url', {
    env: 'DATABASE_URL',
    secret: true,
    pattern: /^postgres(ql)?:\/\/\S+$/,
    expected: 'an address such as postgresql://user:password@host:5432/name',
    help: 'PostgreSQL for the market and its accounts. Without it they are in the data directory.',
  }),
  disputeWindow: seconds('market.dispute_window', 7 * 86_400, {
    env: 'MARKET_DISPUTE_WINDOW',
    live: true,
    min: 0,
    max: 90 * 86_400,
    help: 'How long a resolution may be disputed; payouts are held until then. 0 pays at once.',
  }),
  marketsPerDay: integer('market.markets_per_day', 10, {
    env: 'MARKET_MARKETS_PER_DAY',
    live: true,
    min: 1,
    max: 1_000_000,
    help: 'Most markets that one user may open in 24 hours.',
  }),
  ordersPerUser: integer('market.orders_per_user', 1_000, {
    live: true,
    min: 1,
    max: 100_000,
    help: 'Most resting orders of one user.',
  }),
  cacheBytes: integer('market.cache_bytes', 32 * MIB, {
    env: 'MARKET_CACHE_BYTES',
    live: true,
    min: MIB,
    max: 4096 * MIB,
    unit: 'bytes',
    help: 'Memory of each instance for markets and prices that were read.',
  }),
} as const

export type MarketConfig = ConfigOf<typeof marketKeys>
