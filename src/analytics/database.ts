/**
 * analytics.db: what the engine has seen and learnt. Two writers, each on tables of its own:
 *
 *   pipeline thread   anomalies (the detector's state is a file of its own, state-file.ts)
 *   main thread       feedback, insights, predictions, records, engine
 *
 * Anomalies have ids made from series, time and view, so that samples fed again after a crash raise the same rows, and
 * none twice.
 */
import { type Database, openDatabase } from '../storage/database.ts'

export function openAnalytics(path: string): Database {
  return openDatabase(path, { synchronous: 'FULL', migrations: [tables, indexes, seriesOfForecasts] })
}

const tables = `
  CREATE TABLE anomalies (
    id TEXT PRIMARY KEY, event TEXT NOT NULL, series INTEGER NOT NULL, metric TEXT NOT NULL, labels TEXT NOT NULL,
    at INTEGER NOT NULL, view TEXT NOT NULL, season TEXT NOT NULL, value REAL NOT NULL, expected REAL NOT NULL,
    lower REAL NOT NULL, upper REAL NOT NULL, deviations REAL NOT NULL, score REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX anomalies_at ON anomalies (at);
  CREATE INDEX anomalies_metric ON anomalies (metric, at);
  CREATE INDEX anomalies_event ON anomalies (event, at);
  CREATE TABLE feedback (
    anomaly TEXT PRIMARY KEY, verdict TEXT NOT NULL, note TEXT, who TEXT NOT NULL, at INTEGER NOT NULL,
    pattern TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE insights (
    key TEXT PRIMARY KEY, last_seen INTEGER NOT NULL, insight TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE predictions (
    metric TEXT NOT NULL, labels TEXT NOT NULL, horizon INTEGER NOT NULL, made_at INTEGER NOT NULL,
    target INTEGER NOT NULL, prediction TEXT NOT NULL, PRIMARY KEY (metric, labels, made_at, horizon)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX predictions_made ON predictions (made_at);
  CREATE TABLE records (
    metric TEXT NOT NULL, labels TEXT NOT NULL, updated_at INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (metric, labels)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE engine (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
`

const indexes = `
  CREATE INDEX anomalies_series ON anomalies (series, at);
  CREATE INDEX predictions_due ON predictions (metric, target);
  CREATE INDEX predictions_horizon ON predictions (horizon, made_at);
`

/** Forecasts are of series, not of metrics: what was kept by the metric alone is made again within a cycle. */
const seriesOfForecasts = `
  DELETE FROM predictions;
  DELETE FROM records;
  DROP INDEX predictions_due;
  CREATE INDEX predictions_due ON predictions (metric, labels, target);
`
