/**
 * The tables of scaling in ops.db, a migration. Times are milliseconds since the epoch; columns named as JSON hold the
 * types of this room as they are.
 *
 *   scaling_policies, scaling_policy_versions    what is wanted of a target; versions are append-only
 *   scaling_decisions                            each with everything it was made from; never changed
 *   scaling_steps                                what became of them, step by step; append-only
 *   scaling_targets                              where each target stands: what was learnt, what is wanted, by which fence
 *   scaling_checkpoints                          what had been learnt, hour by hour, for a replay
 *   scaling_usage                                instance-hours by the hour
 *   scaling_processes, scaling_processes_wanted  the ledger of the process driver
 *   scaling_switches                             on or off, pauses, manual holds, the fence
 */
export const scalingTables = `
  CREATE TABLE scaling_policies (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL, policy TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE scaling_policy_versions (
    name TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, who TEXT NOT NULL,
    policy TEXT, -- JSON Policy; null: deleted
    PRIMARY KEY (name, version)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE scaling_decisions (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, at INTEGER NOT NULL, action TEXT NOT NULL, held INTEGER NOT NULL,
    record TEXT NOT NULL -- JSON: decision, observation, versions of the policies, engine
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX scaling_decisions_action ON scaling_decisions (action, id);
  CREATE INDEX scaling_decisions_target ON scaling_decisions (target, id);
  CREATE INDEX scaling_decisions_held ON scaling_decisions (id) WHERE held = 1;
  CREATE TABLE scaling_steps (
    id INTEGER PRIMARY KEY, decision TEXT NOT NULL, at INTEGER NOT NULL, status TEXT NOT NULL, detail TEXT
  ) STRICT;
  CREATE INDEX scaling_steps_decision ON scaling_steps (decision, id);
  CREATE INDEX scaling_steps_at ON scaling_steps (at, status);
  CREATE TABLE scaling_grades (
    decision TEXT PRIMARY KEY, at INTEGER NOT NULL, grade TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE scaling_targets (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, -- JSON ScalerState
    wanted INTEGER, fence INTEGER NOT NULL, decision TEXT, -- what is to be, by which decision
    settled INTEGER NOT NULL, -- 0: it has still to be carried out
    cycle_at INTEGER
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE scaling_checkpoints (
    target TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (target, at)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE scaling_usage (
    target TEXT NOT NULL, hour INTEGER NOT NULL, -- its start
    instance_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL, max_ms INTEGER NOT NULL,
    PRIMARY KEY (target, hour)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE scaling_processes (
    id TEXT PRIMARY KEY, target TEXT NOT NULL, row TEXT NOT NULL -- JSON LedgerRow
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE scaling_processes_wanted (
    target TEXT PRIMARY KEY, wanted INTEGER NOT NULL, fence INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE scaling_switches (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;`
