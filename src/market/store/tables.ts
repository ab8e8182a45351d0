/**
 * The market's tables, the same on SQLite and PostgreSQL: money, shares, prices and times are whole numbers of 64 bits,
 * lists are JSON texts, never a floating-point number. What is written and by whom:
 *
 *   rows of books.ts      accounts · markets (numbers, changed by each trade) · market_texts (what the creator wrote) ·
 *                         orders · holdings · disputes                       inserted or replaced by their id
 *   what happened         trades · transfers · profits · scores              only ever added
 *   sums for reading      standings (a user, all time) · user_buckets (a user's hours and days) · market_buckets (a
 *                         market's minutes and hours: volume, last prices) · category_buckets (a category's minutes)
 *   answered commands     commands, for a day
 *
 * A window such as "the last 24 hours" is its whole buckets and, at its beginning, the single rows of a part of one: true
 * to the millisecond, and never a scan of all trades. Sums leave void markets out: paying one takes its part out again.
 */
export interface Tables {
  accounts: AccountsTable
  markets: MarketsTable
  market_texts: MarketTextsTable
  orders: OrdersTable
  holdings: HoldingsTable
  disputes: DisputesTable
  trades: TradesTable
  transfers: TransfersTable
  profits: ProfitsTable
  scores: ScoresTable
  standings: StandingsTable
  user_buckets: UserBucketsTable
  market_buckets: MarketBucketsTable
  category_buckets: CategoryBucketsTable
  commands: CommandsTable
  events: EventsTable
}

export interface AccountsTable {
  user_id: string
  username: string
  available: bigint
  reserved: bigint
  granted: bigint
  open_orders: bigint
  trades: bigint
  volume: bigint
  profit: bigint
  resolved_markets: bigint
  won_markets: bigint
  created_at: bigint
}

export interface MarketsTable {
  id: string
  creator_id: string
  category: string
  closes_at: bigint
  liquidity: bigint
  fee_rate: bigint
  min_trade: bigint
  max_trade: bigint
  state: string
  version: bigint
  sold: string
  prices: string
  pool: bigint
  escrow: bigint
  fees: bigint
  volume: bigint
  trades: bigint
  traders: bigint
  open_orders: bigint
  created_at: bigint
  closed_at: bigint | null
  /** The outcome, -1 for void. */
  resolution: bigint | null
  resolution_source: string | null
  resolved_at: bigint | null
  final_at: bigint | null
  paid_at: bigint | null
  /** 0 to 100; kept by the store, not by decisions. */
  trending: bigint
}

export interface MarketTextsTable {
  /** What full-text search on SQLite knows it by. */
  seq: bigint
  id: string
  title: string
  question: string
  description: string | null
  outcomes: string
  tags: string
  image_url: string | null
  resolution_rules: string | null
  intended_source: string | null
  binding: string | null
}

export interface OrdersTable {
  id: string
  market_id: string
  user_id: string
  order_type: string
  side: string
  outcome: bigint
  original_shares: bigint
  remaining_shares: bigint
  average_price: bigint | null
  limit_price: bigint | null
  time_in_force: string
  expires_at: bigint | null
  client_order_id: string | null
  state: string
  created_at: bigint
  updated_at: bigint
  priority: bigint
  reserved_money: bigint
  filled_value: bigint
  fees_paid: bigint
}

export interface HoldingsTable {
  id: string
  user_id: string
  market_id: string
  outcome: bigint
  shares: bigint
  reserved: bigint
  cost: bigint
  realized: bigint
  bought: bigint
  sold: bigint
  paid: bigint
  received: bigint
  fees: bigint
  payout: bigint
  trades: bigint
  created_at: bigint
  updated_at: bigint
}

export interface DisputesTable {
  id: string
  market_id: string
  user_id: string
  dispute_type: string
  reason: string
  evidence: string | null
  state: string
  note: string | null
  created_at: bigint
  decided_at: bigint | null
}

export interface TradesTable {
  id: string
  role: string
  market_id: string
  user_id: string
  order_id: string | null
  side: string
  outcome: bigint
  shares: bigint
  value: bigint
  fee: bigint
  average_price: bigint
  price_after: bigint
  prices: string
  fills: string
  created_at: bigint
  version: bigint
}

export interface TransfersTable {
  seq: bigint
  asset: string
  market_id: string | null
  outcome: bigint | null
  from_account: string
  from_id: string | null
  to_account: string
  to_id: string | null
  amount: bigint
  reason: string
  trade_id: string | null
  order_id: string | null
  at: bigint
}

export interface ProfitsTable {
  seq: bigint
  user_id: string
  market_id: string
  outcome: bigint
  kind: string
  amount: bigint
  trade_id: string | null
  at: bigint
}

export interface ScoresTable {
  user_id: string
  market_id: string
  profit: bigint
  won: bigint
  brier: bigint
  trades: bigint
  at: bigint
}

/** Sums of a user; the same in a bucket of time as over all of it. */
export interface UserSums {
  profit: bigint
  volume: bigint
  trades: bigint
  markets: bigint
  scored: bigint
  won: bigint
  brier: bigint
}
export interface StandingsTable extends UserSums {
  user_id: string
}
export interface UserBucketsTable extends UserSums {
  step: bigint
  at: bigint
  user_id: string
}

export interface MarketBucketsTable {
  market_id: string
  step: bigint
  at: bigint
  volume: bigint
  trades: bigint
  /** After the last trade in it. */
  prices: string
}

export interface CategoryBucketsTable {
  category: string
  at: bigint
  volume: bigint
  trades: bigint
}

export interface CommandsTable {
  seq: bigint
  key: string
  fingerprint: string
  answer: string
  at: bigint
}

/** PostgreSQL alone: what was committed, for instances that were away for a moment. */
export interface EventsTable {
  id: bigint
  body: string
  at: bigint
}

/** Released migrations never change; new ones go to the end. `INT` and `STRICT` mean what each database calls so. */
const first = `
CREATE TABLE accounts (
  user_id TEXT PRIMARY KEY, username TEXT NOT NULL,
  available INT NOT NULL CHECK (available >= 0), reserved INT NOT NULL CHECK (reserved >= 0), granted INT NOT NULL,
  open_orders INT NOT NULL, trades INT NOT NULL, volume INT NOT NULL, profit INT NOT NULL,
  resolved_markets INT NOT NULL, won_markets INT NOT NULL, created_at INT NOT NULL
) CLUSTERED;

CREATE TABLE markets (
  id TEXT PRIMARY KEY, creator_id TEXT NOT NULL, category TEXT NOT NULL, closes_at INT NOT NULL, liquidity INT NOT NULL,
  fee_rate INT NOT NULL, min_trade INT NOT NULL, max_trade INT NOT NULL, state TEXT NOT NULL, version INT NOT NULL,
  sold TEXT NOT NULL, prices TEXT NOT NULL, pool INT NOT NULL CHECK (pool >= 0), escrow INT NOT NULL CHECK (escrow >= 0),
  fees INT NOT NULL, volume INT NOT NULL, trades INT NOT NULL, traders INT NOT NULL, open_orders INT NOT NULL,
  created_at INT NOT NULL, closed_at INT, resolution INT, resolution_source TEXT, resolved_at INT, final_at INT,
  paid_at INT, trending INT NOT NULL DEFAULT 0
) CLUSTERED;
CREATE INDEX markets_closing ON markets (closes_at, id);
CREATE INDEX markets_volume ON markets (volume DESC, id DESC);
CREATE INDEX markets_trending ON markets (trending DESC, id DESC);
CREATE INDEX markets_state ON markets (state, category, closes_at);
CREATE INDEX markets_category ON markets (category, id);
CREATE INDEX markets_creator ON markets (creator_id, id);
CREATE INDEX markets_due ON markets (closes_at) WHERE state IN ('open', 'suspended');
CREATE INDEX markets_final ON markets (final_at) WHERE paid_at IS NULL AND final_at IS NOT NULL;

CREATE TABLE market_texts (
  seq SERIAL, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, question TEXT NOT NULL, description TEXT,
  outcomes TEXT NOT NULL, tags TEXT NOT NULL, image_url TEXT, resolution_rules TEXT, intended_source TEXT, binding TEXT
) STRICT;

CREATE TABLE orders (
  id TEXT PRIMARY KEY, market_id TEXT NOT NULL, user_id TEXT NOT NULL, order_type TEXT NOT NULL, side TEXT NOT NULL,
  outcome INT NOT NULL, original_shares INT NOT NULL, remaining_shares INT NOT NULL CHECK (remaining_shares >= 0),
  average_price INT, limit_price INT, time_in_force TEXT NOT NULL, expires_at INT, client_order_id TEXT,
  state TEXT NOT NULL, created_at INT NOT NULL, updated_at INT NOT NULL, priority INT NOT NULL,
  reserved_money INT NOT NULL CHECK (reserved_money >= 0), filled_value INT NOT NULL, fees_paid INT NOT NULL
) CLUSTERED;
CREATE INDEX orders_user ON orders (user_id, id);
CREATE INDEX orders_user_state ON orders (user_id, state, id);
CREATE INDEX orders_user_market ON orders (user_id, market_id, id);
CREATE UNIQUE INDEX orders_client ON orders (user_id, client_order_id) WHERE client_order_id IS NOT NULL;
CREATE INDEX orders_book ON orders (market_id, outcome, side, limit_price, priority)
  WHERE state IN ('pending', 'partially_filled');
CREATE INDEX orders_expiring ON orders (expires_at)
  WHERE state IN ('pending', 'partially_filled') AND expires_at IS NOT NULL;

CREATE TABLE holdings (
  id TEXT NOT NULL UNIQUE, user_id TEXT NOT NULL, market_id TEXT NOT NULL, outcome INT NOT NULL,
  shares INT NOT NULL CHECK (shares >= 0), reserved INT NOT NULL CHECK (reserved >= 0 AND reserved <= shares),
  cost INT NOT NULL, realized INT NOT NULL, bought INT NOT NULL, sold INT NOT NULL, paid INT NOT NULL,
  received INT NOT NULL, fees INT NOT NULL, payout INT NOT NULL, trades INT NOT NULL, created_at INT NOT NULL,
  updated_at INT NOT NULL, PRIMARY KEY (user_id, market_id, outcome)
) CLUSTERED;

CREATE TABLE disputes (
  id TEXT PRIMARY KEY, market_id TEXT NOT NULL, user_id TEXT NOT NULL, dispute_type TEXT NOT NULL, reason TEXT NOT NULL,
  evidence TEXT, state TEXT NOT NULL, note TEXT, created_at INT NOT NULL, decided_at INT
) STRICT;
CREATE INDEX disputes_market ON disputes (market_id, id);

CREATE TABLE trades (
  id TEXT PRIMARY KEY, role TEXT NOT NULL, market_id TEXT NOT NULL, user_id TEXT NOT NULL, order_id TEXT,
  side TEXT NOT NULL, outcome INT NOT NULL, shares INT NOT NULL, value INT NOT NULL, fee INT NOT NULL,
  average_price INT NOT NULL, price_after INT NOT NULL, prices TEXT NOT NULL, fills TEXT NOT NULL,
  created_at INT NOT NULL, version INT NOT NULL
) CLUSTERED;
CREATE INDEX trades_market ON trades (market_id, id);
CREATE INDEX trades_user ON trades (user_id, id);

CREATE TABLE transfers (
  seq SERIAL, asset TEXT NOT NULL, market_id TEXT, outcome INT, from_account TEXT NOT NULL, from_id TEXT,
  to_account TEXT NOT NULL, to_id TEXT, amount INT NOT NULL CHECK (amount > 0), reason TEXT NOT NULL, trade_id TEXT,
  order_id TEXT, at INT NOT NULL
) STRICT;

CREATE TABLE profits (
  seq SERIAL, user_id TEXT NOT NULL, market_id TEXT NOT NULL, outcome INT NOT NULL, kind TEXT NOT NULL,
  amount INT NOT NULL, trade_id TEXT, at INT NOT NULL
) STRICT;
CREATE INDEX profits_at ON profits (at);
CREATE INDEX profits_market ON profits (market_id);

CREATE TABLE scores (
  user_id TEXT NOT NULL, market_id TEXT NOT NULL, profit INT NOT NULL, won INT NOT NULL, brier INT NOT NULL,
  trades INT NOT NULL, at INT NOT NULL, PRIMARY KEY (market_id, user_id)
) CLUSTERED;
CREATE INDEX scores_at ON scores (at);

CREATE TABLE standings (
  user_id TEXT PRIMARY KEY, profit INT NOT NULL, volume INT NOT NULL, trades INT NOT NULL, markets INT NOT NULL,
  scored INT NOT NULL, won INT NOT NULL, brier INT NOT NULL
) CLUSTERED;
CREATE INDEX standings_profit ON standings (profit DESC, user_id);
CREATE INDEX standings_volume ON standings (volume DESC, user_id);
CREATE INDEX standings_markets ON standings (markets DESC, user_id);

CREATE TABLE user_buckets (
  step INT NOT NULL, at INT NOT NULL, user_id TEXT NOT NULL, profit INT NOT NULL, volume INT NOT NULL,
  trades INT NOT NULL, markets INT NOT NULL, scored INT NOT NULL, won INT NOT NULL, brier INT NOT NULL,
  PRIMARY KEY (step, at, user_id)
) CLUSTERED;

CREATE TABLE market_buckets (
  market_id TEXT NOT NULL, step INT NOT NULL, at INT NOT NULL, volume INT NOT NULL, trades INT NOT NULL,
  prices TEXT NOT NULL, PRIMARY KEY (market_id, step, at)
) CLUSTERED;
CREATE INDEX market_buckets_at ON market_buckets (step, at);

CREATE TABLE category_buckets (
  category TEXT NOT NULL, at INT NOT NULL, volume INT NOT NULL, trades INT NOT NULL, PRIMARY KEY (category, at)
) CLUSTERED;
CREATE INDEX category_buckets_at ON category_buckets (at);

CREATE TABLE commands (
  seq SERIAL, key TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL, answer TEXT NOT NULL, at INT NOT NULL
) STRICT;
`

function spoken(sql: string, words: Readonly<Record<'INT' | 'SERIAL' | 'CLUSTERED' | 'STRICT', string>>): string {
  return sql
    .replace(/\bINT\b/g, words.INT)
    .replace(/\bSERIAL\b/g, words.SERIAL)
    .replace(/\) CLUSTERED;/g, `) ${words.CLUSTERED};`)
    .replace(/\) STRICT;/g, `) ${words.STRICT};`)
}

/** Full-text search: an index of its own on SQLite, a column with one on PostgreSQL. */
const sqliteSearch = `
CREATE VIRTUAL TABLE market_search USING fts5 (
  title, question, description, tags, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2'
);`
const postgresSearch = `
ALTER TABLE market_texts ADD COLUMN words tsvector GENERATED ALWAYS AS (
  to_tsvector('simple', title || ' ' || question || ' ' || coalesce(description, '') || ' ' || tags)
) STORED;
CREATE INDEX market_search ON market_texts USING gin (words);
CREATE INDEX holdings_market ON holdings (market_id);
CREATE TABLE events (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX events_at ON events (at);`

export const sqliteMigrations: readonly string[] = [
  spoken(first, {
    INT: 'INTEGER',
    SERIAL: 'INTEGER PRIMARY KEY',
    CLUSTERED: 'STRICT, WITHOUT ROWID',
    STRICT: 'STRICT',
  }) + sqliteSearch,
]

export const postgresMigrations: readonly string[] = [
  spoken(first, {
    INT: 'BIGINT',
    SERIAL: 'BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY',
    CLUSTERED: '',
    STRICT: '',
  }) + postgresSearch,
]
