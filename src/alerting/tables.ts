/**
 * The tables of alerting in ops.db, a migration. Times are milliseconds since the epoch; columns named as JSON hold the
 * types of this room as they are.
 *
 *   alert_rules, alert_rule_versions          what is watched; versions are append-only
 *   alert_watches, alert_watcher              where each watch stands, and the WAL position that this state covers
 *   alerts, alert_timeline                    what came of it
 *   alert_silences, alert_hidden              who does not want to hear, and of what
 *   alert_groups, alert_held                  what is told together, and what waits for it
 *   alert_channels, outbox, outbox_alerts     whom to tell, what, and what became of it
 *   alert_stats, alert_engine                 counters, and switches that survive a restart
 */
export const alertingTables = `
  CREATE TABLE alert_rules (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, rule TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alert_rule_versions (
    id TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL,
    rule TEXT, -- JSON Rule; null: deleted
    PRIMARY KEY (id, version)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alert_watcher (id INTEGER PRIMARY KEY CHECK (id = 0), position INTEGER NOT NULL) STRICT;
  CREATE TABLE alert_watches (
    rule TEXT NOT NULL, series TEXT NOT NULL, -- key of the series' labels
    rule_version INTEGER NOT NULL, generation INTEGER NOT NULL, labels TEXT NOT NULL, watch TEXT NOT NULL,
    PRIMARY KEY (rule, series)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alerts (
    id TEXT PRIMARY KEY, rule TEXT NOT NULL, series TEXT NOT NULL, rule_version INTEGER NOT NULL,
    status TEXT NOT NULL, severity TEXT NOT NULL, level INTEGER NOT NULL,
    metric TEXT NOT NULL, labels TEXT NOT NULL, title TEXT NOT NULL, message TEXT NOT NULL,
    value REAL, threshold REAL, peak REAL, since INTEGER NOT NULL, triggered_at INTEGER NOT NULL,
    acknowledged_at INTEGER, acknowledged_by TEXT, resolved_at INTEGER, resolution TEXT, notes TEXT,
    false_positive INTEGER NOT NULL DEFAULT 0, flapping INTEGER NOT NULL DEFAULT 0, suppressed_by TEXT,
    is_test INTEGER NOT NULL DEFAULT 0,
    escalate_at INTEGER, -- null: does not escalate
    group_key TEXT,      -- null: told by itself
    told TEXT NOT NULL,  -- JSON Told
    facts TEXT NOT NULL -- JSON AlertFacts
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX alerts_listed ON alerts (status, severity, triggered_at, id) WHERE is_test = 0;
  CREATE INDEX alerts_triggered ON alerts (triggered_at);
  CREATE INDEX alerts_series ON alerts (series, triggered_at);
  CREATE INDEX alerts_rule ON alerts (rule, status);
  CREATE INDEX alerts_open_series ON alerts (rule, series) WHERE resolved_at IS NULL;
  CREATE INDEX alerts_escalate ON alerts (escalate_at) WHERE escalate_at IS NOT NULL;
  CREATE INDEX alerts_suppressed ON alerts (suppressed_by) WHERE suppressed_by IS NOT NULL;
  CREATE INDEX alerts_resolved ON alerts (resolved_at) WHERE resolved_at IS NOT NULL;
  CREATE TABLE alert_timeline (
    id INTEGER PRIMARY KEY, alert TEXT NOT NULL, at INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
  ) STRICT;
  CREATE INDEX alert_timeline_alert ON alert_timeline (alert, id);

  CREATE TABLE alert_silences (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, ended_at INTEGER, -- null: it still counts
    silence TEXT NOT NULL -- JSON Silence
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alert_hidden (
    silence TEXT NOT NULL, alert TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (silence, alert)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alert_groups (
    key TEXT PRIMARY KEY, window_at INTEGER NOT NULL, told INTEGER NOT NULL, digest_at INTEGER,
    flush_at INTEGER -- when what is held is told; null: nothing is held
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE alert_held (
    group_key TEXT NOT NULL, alert TEXT NOT NULL, event TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (group_key, alert, event)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE alert_channels (
    id TEXT PRIMARY KEY, version INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, enabled INTEGER NOT NULL,
    config TEXT NOT NULL,          -- JSON; secrets sealed
    severity_filter TEXT NOT NULL, -- JSON
    last_success_at INTEGER, last_error TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, -- order of making
    id TEXT NOT NULL UNIQUE,               -- delivery_id
    channel TEXT NOT NULL, order_key TEXT NOT NULL, event TEXT NOT NULL,
    notice TEXT NOT NULL,                  -- JSON Notice
    is_test INTEGER NOT NULL, status TEXT NOT NULL, -- DeliveryStatus
    tries INTEGER NOT NULL DEFAULT 0, attempts TEXT NOT NULL DEFAULT '[]', -- JSON Attempt[]
    next_at INTEGER,                       -- null: no attempt will follow
    created_at INTEGER NOT NULL, done_at INTEGER
  ) STRICT;
  CREATE INDEX outbox_due ON outbox (next_at) WHERE status = 'waiting';
  CREATE INDEX outbox_order ON outbox (channel, order_key, seq) WHERE status = 'waiting';
  CREATE INDEX outbox_channel ON outbox (channel, seq);
  CREATE INDEX outbox_status ON outbox (status, seq);
  CREATE INDEX outbox_done ON outbox (done_at) WHERE done_at IS NOT NULL;
  CREATE TABLE outbox_alerts (
    alert TEXT NOT NULL, notice TEXT NOT NULL, PRIMARY KEY (alert, notice)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX outbox_alerts_notice ON outbox_alerts (notice);

  CREATE TABLE alert_stats (name TEXT PRIMARY KEY, value REAL NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE alert_engine (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
`
