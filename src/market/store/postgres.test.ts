/** Several instances on one PostgreSQL: everybody hears of everything in order, also after a connection broke. */
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { draft, postgresStore, type TestStore } from '../../../test/support/market-store.ts'
import { need } from '../../../test/support/need.ts'
import type { Command } from '../commands.ts'
import type { MarketEvent } from '../events.ts'
import type { UserId } from '../model.ts'
import { migratePostgres } from './pg-schema.ts'

const url = need('postgresql')

describe.skipIf(url === null)('instances on PostgreSQL', () => {
  let n = 0
  const ask = (store: TestStore, userId: string, command: Command) =>
    store.commands.submit({
      key: `k${++n}`,
      fingerprint: command.type,
      actor: { userId: userId as UserId, kind: 'trader' },
      command,
    })
  const buy = (marketId: never): Command => ({
    type: 'trade',
    marketId,
    side: 'buy',
    outcome: 0,
    shares: 10_000n,
    limit: null,
    version: null,
  })

  test('each hears of what all did, once and in order, also when its connection was cut', async () => {
    const name = `om_test_${Math.random().toString(36).slice(2, 10)}`
    const admin = new pg.Client({ connectionString: url! })
    await admin.connect()
    await admin.query(`CREATE DATABASE ${name}`)
    // Both come to an empty database at the same moment: one makes the tables.
    const [a, b] = await Promise.all([postgresStore(url!, name), postgresStore(url!, name)])
    const heard = new Map([a, b].map((store) => [store, [] as MarketEvent[]]))
    let missed = 0
    for (const [store, events] of heard) {
      store.commands.subscribe({ event: (event) => void events.push(event), missed: () => void missed++ })
    }
    await ask(a, 'u', { type: 'open_account', userId: 'u' as UserId, username: 'u' })
    const made = await ask(a, 'u', {
      type: 'create_market',
      draft: draft(Date.now() + 1e9, { description: 'd'.repeat(20_000) }),
    })
    if (!made.ok || made.done.type !== 'market') throw new Error(JSON.stringify(made))
    const id = made.done.marketId as never
    const round = (count: number) =>
      Promise.all(Array.from({ length: count }, (_, i) => ask(i % 2 ? a : b, 'u', buy(id))))
    await round(10)
    // The connections that listen are cut off by the server while trading goes on.
    await admin.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}' AND application_name = 'opinion-market-events'`,
    )
    await round(10)
    const version = (await a.reads.market(id, Date.now()))!.version
    for (const events of heard.values()) {
      await expect.poll(() => events.length, { timeout: 20_000 }).toBe(version)
      expect(events.map((event) => event.seq)).toEqual(events.map((_, i) => i + 1))
    }
    expect(missed).toBe(0)
    // b sees what a has committed, and the other way round.
    expect((await b.reads.market(id, Date.now()))!.version).toBe(version)
    await b.commands.close()
    await a.close()
    await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
    await admin.end()
  })

  test('a database of a newer version is left alone, with one sentence', async () => {
    const store = await postgresStore(url!)
    const own = new URL(url!)
    own.pathname = `/${store.database}`
    const pool = new pg.Pool({ connectionString: own.href })
    await pool.query('UPDATE market_format SET version = 99')
    await expect(migratePostgres(pool)).rejects.toThrow(
      /has format 99, this version of Opinion Market knows formats up to/,
    )
    await pool.end()
    await store.close()
  })
})
