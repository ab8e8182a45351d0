/**
 * A market as its clients see it: real instances over real databases, in the process of the test. On the embedded
 * database with a real writer behind its Unix socket; on PostgreSQL in a database of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import type { Instance } from '../../src/app/instance.ts'
import { startInstance } from '../../src/app/instance.ts'
import { createLog } from '../../src/app/log.ts'
import { newId } from '../../src/base/id.ts'
import { systemScheduler } from '../../src/base/scheduler.ts'
import { createTelemetry } from '../../src/base/telemetry.ts'
import type { Values } from '../../src/config/index.ts'
import { loadConfig } from '../../src/config/index.ts'
import { openIdentity } from '../../src/identity/index.ts'
import { startMarketWriter } from '../../src/market/index.ts'
import { openSecretBox } from '../../src/storage/secrets.ts'

export interface MarketAnswer {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of an answer
  readonly json: any
  // biome-ignore lint/suspicious/noExplicitAny: the envelope's payload
  readonly data: any
  readonly code: string | undefined
}

export interface Caller {
  readonly id: string
  readonly name: string
  readonly token: string
  ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<MarketAnswer>
}

export interface MarketWorld {
  /** Of each instance: `http://127.0.0.1:PORT`. */
  readonly urls: readonly string[]
  readonly nobody: Caller
  /** Registers, logs in; a new one each time. */
  trader(name?: string): Promise<Caller>
  operator(role: 'viewer' | 'operator' | 'admin'): Caller
  /** Errors and warnings that the instances logged. */
  readonly troubles: string[]
  telemetry(): ReturnType<ReturnType<typeof createTelemetry>['snapshot']>
  stop(): Promise<void>
}

export interface WorldOptions {
  readonly instances?: number
  /** A PostgreSQL server, whose databases may be made and dropped. */
  readonly postgres?: string | null
  readonly env?: Readonly<Record<string, string>>
}

export async function startMarketWorld(options: WorldOptions = {}): Promise<MarketWorld> {
  const dir = mkdtempSync(join(tmpdir(), 'market-'))
  const undo: (() => void | Promise<void>)[] = [() => rmSync(dir, { recursive: true, force: true })]
  const troubles: string[] = []
  const scheduler = systemScheduler((error) => troubles.push(String(error)))
  const { clock } = scheduler
  const log = createLog({
    process: 'test',
    level: 'info',
    clock,
    write: (line) => {
      if (/"level":"(error|warn)"/.test(line)) troubles.push(line)
    },
  })
  let url: string | null = null
  if (options.postgres) {
    const name = `market_${newId(Date.now())}`
    const admin = new pg.Client({ connectionString: options.postgres })
    await admin.connect()
    await admin.query(`CREATE DATABASE ${name}`)
    undo.push(async () => {
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
      await admin.end()
    })
    const at = new URL(options.postgres)
    at.pathname = `/${name}`
    url = at.href
  }
  const { values } = loadConfig({
    cwd: dir,
    env: {
      DATA_DIR: dir,
      IDENTITY_REGISTRATIONS: '100000',
      MARKET_MARKETS_PER_DAY: '1000',
      ...(url === null ? {} : { DATABASE_URL: url }),
      ...options.env,
    },
  }).current
  if (url === null) {
    const writer = await startMarketWriter({
      path: join(dir, 'market.db'),
      socketPath: join(dir, 'market-writer.sock'),
      scheduler,
      log,
      telemetry: createTelemetry(),
      settings: () => settingsOf(values),
      onFailure: (error) => troubles.push(String(error)),
    })
    undo.push(() => writer.stop())
  }

  const telemetry = createTelemetry()
  const urls: string[] = []
  for (let i = 1; i <= (options.instances ?? 1); i++) {
    const instance: Instance = await startInstance({
      values,
      parent: { id: `instance-${i}`, socketPath: join(dir, `instance-${i}.sock`), onConfig: () => {} },
      log,
      scheduler,
      telemetry: i === 1 ? telemetry : createTelemetry(),
      listenAt: { port: 0 },
      checkAnswers: true,
      onAddress: (address) => urls.push(address),
    })
    undo.push(() => instance.stop())
  }
  const identity = openIdentity(join(dir, 'identity.db'), openSecretBox(join(dir, 'secret.key'), null), () => ({
    idleMs: 1e9,
    lifetimeMs: 1e9,
  }))
  undo.push(() => identity.close())

  let turn = 0
  const callerOf = (id: string, name: string, token: string): Caller => ({
    id,
    name,
    token,
    async ask(method, path, body, headers = {}) {
      const response = await fetch(`${urls[turn++ % urls.length]}/api/v1${path}`, {
        method,
        headers: {
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      })
      const json = JSON.parse(await response.text())
      return { status: response.status, headers: response.headers, json, data: json.data, code: json.error?.code }
    },
  })
  const nobody = callerOf('', '', '')
  let count = 0
  return {
    urls,
    nobody,
    troubles,
    telemetry: () => telemetry.snapshot(),
    async trader(name = `trader_${++count}`) {
      const account = { username: name, password: 'Korrekt.Pferd' }
      const made = await nobody.ask('POST', '/auth/register', { ...account, email: `${name}@example.org` })
      if (made.status !== 201) throw new Error(JSON.stringify(made.json))
      const { data } = await nobody.ask('POST', '/auth/login', account)
      return callerOf(made.data.id, name, data.access_token)
    },
    operator(role) {
      const { token, secret } = identity.createToken({ name: `${role}_${++count}`, role }, 'test', Date.now())
      return callerOf(token.id, role, secret)
    },
    async stop() {
      for (let step = undo.pop(); step; step = undo.pop()) await step()
    },
  }
}

const settingsOf = ({ market }: Values) => ({
  disputeWindowMs: market.disputeWindow * 1000,
  marketsPerDay: market.marketsPerDay,
  ordersPerUser: market.ordersPerUser,
})

/** A market that closes in a year, of `creator`. */
export async function openMarketOf(creator: Caller, more: object = {}): Promise<string> {
  const made = await creator.ask('POST', '/markets', {
    title: 'Rain on Monday',
    question: 'Will it rain on Monday?',
    outcome_a: 'Yes',
    outcome_b: 'No',
    category: 'weather',
    closes_at: new Date(Date.now() + 365 * 86_400_000).toISOString(),
    total_liquidity: 100,
    ...more,
  })
  if (made.status !== 201) throw new Error(JSON.stringify(made.json))
  return made.data.id
}
