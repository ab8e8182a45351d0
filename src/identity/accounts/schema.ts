/**
 * Tables of accounts, for both databases. A session has one access token and one refresh token at a time; refresh
 * tokens that were used are kept by their hash, so that a second use is seen. `attempts` counts what is throttled, for
 * all processes in one place.
 */
import type { Pool } from 'pg'

const tables = (strict: string, int: string, bytes: string) => `
  CREATE TABLE users (
    id TEXT PRIMARY KEY, username TEXT NOT NULL, username_key TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE, password TEXT NOT NULL, full_name TEXT, bio TEXT, avatar_url TEXT,
    created_at ${int} NOT NULL, last_login ${int}, opened_at ${int}
  )${strict};
  CREATE TABLE trader_sessions (
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users (id), created_at ${int} NOT NULL,
    access_hash ${bytes} NOT NULL UNIQUE, access_expires_at ${int} NOT NULL,
    refresh_hash ${bytes} NOT NULL UNIQUE, refresh_expires_at ${int} NOT NULL
  )${strict};
  CREATE INDEX trader_sessions_user ON trader_sessions (user_id, created_at);
  CREATE INDEX trader_sessions_end ON trader_sessions (refresh_expires_at);
  CREATE TABLE spent_refreshes (
    hash ${bytes} PRIMARY KEY, session_id TEXT NOT NULL REFERENCES trader_sessions (id) ON DELETE CASCADE
  )${strict};
  CREATE INDEX spent_refreshes_session ON spent_refreshes (session_id);
  CREATE TABLE attempts (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, at ${int} NOT NULL
  )${strict};
  CREATE INDEX attempts_subject ON attempts (kind, subject, at);
  CREATE INDEX attempts_at ON attempts (at);`

/** A migration of identity.db. */
export const accountTables = tables(' STRICT', 'INTEGER', 'BLOB')

/** What has been released never changes; new ones go to the end. */
const migrations: readonly string[] = [tables('', 'BIGINT', 'BYTEA')]

/** Any number for "the schema of accounts is being changed", the same in every process. */
const LOCK = 0x6f6d6163

/** Brings the database to the present form; several processes may do it at the same moment. */
export async function migratePostgres(pool: Pool): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock($1)', [LOCK])
    await client.query('CREATE TABLE IF NOT EXISTS identity_format (version BIGINT NOT NULL)')
    const { rows } = await client.query('SELECT version FROM identity_format')
    const version = Number(rows[0]?.version ?? 0)
    if (version > migrations.length) {
      throw new Error(
        `the accounts have format ${version}, this version knows formats up to ${migrations.length}: start the newer one`,
      )
    }
    for (const migration of migrations.slice(version)) await client.query(migration)
    await client.query(
      rows.length === 0 ? 'INSERT INTO identity_format VALUES ($1)' : 'UPDATE identity_format SET version = $1',
      [migrations.length],
    )
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK').catch(() => {})
    throw error
  } finally {
    client.release()
  }
}
