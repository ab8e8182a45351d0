/**
 * An instance: the process that serves the market to its traders. Any instance serves everything; front adds and drains
 * them. It decides nothing of money itself: commands go to the market-writer, or into transactions of PostgreSQL.
 *
 *   identity.db (operators, accounts) ┐
 *   market (commands, reads, events) ─┼─▶ desk, cached reads, live feed ─▶ routes ─▶ Unix socket
 *
 * `/metrics`, `/health` and `/ready` on that socket are for control: front hands those paths to control alone.
 */
import { join } from 'node:path'
import { createByteCache } from '../base/cache.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { systemRandom } from '../base/random.ts'
import { measureRuntime } from '../base/runtime.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { systemScheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { createTelemetry } from '../base/telemetry.ts'
import { SECOND } from '../base/time.ts'
import type { Values } from '../config/index.ts'
import { loadConfig } from '../config/index.ts'
import { EXPOSITION_TYPE, exposition } from '../http/exposition.ts'
import type { Route } from '../http/route.ts'
import { foreignRoute } from '../http/route.ts'
import type { Server } from '../http/server.ts'
import { createServer } from '../http/server.ts'
import { createTickets } from '../http/sockets.ts'
import { openIdentity } from '../identity/index.ts'
import type { Done, MarketEvent } from '../market/index.ts'
import {
  createDesk,
  createFeed,
  createReading,
  openEmbeddedMarket,
  openPostgresMarket,
  writerSocketBeside,
} from '../market/index.ts'
import { marketRoutes } from '../market/routes.ts'
import { openSecretBox } from '../storage/secrets.ts'
import { openAccounts } from './accounts.ts'
import type { Child } from './child.ts'
import type { ProcessLog } from './log.ts'
import { childLog, performanceLine } from './log.ts'
import { limitsOf, sessionTimesOf } from './settings.ts'
import { traderRoutes } from './trader-routes.ts'
import { VERSION } from './version.ts'

export interface Instance {
  readonly server: Server
  stop(): Promise<void>
}

/** What front, or a test in its place, gives to an instance. */
export type InstanceParent = Pick<Child, 'id' | 'socketPath' | 'onConfig'>

export interface InstanceOptions {
  readonly values: Values
  readonly parent: InstanceParent
  readonly log: ProcessLog
  readonly scheduler: Scheduler
  readonly telemetry: Telemetry
  readonly listenAt: Parameters<Server['listen']>[0]
  /** Checks every answer against its schema: for tests. */
  readonly checkAnswers?: boolean
  /** Told where it listens: for tests, which take any port. */
  onAddress?(address: string): void
}

/** The process: what front forks. Ends with exit code 1 and one sentence when it cannot start. */
export async function runInstance(child: Child): Promise<void> {
  process.umask(0o077)
  const { values } = loadConfig().current
  const scheduler = systemScheduler((error) => log.error('a timer failed', { error }))
  const log = childLog(child.id, values.platform.logLevel, scheduler.clock)
  const telemetry = createTelemetry()
  measureRuntime(telemetry, scheduler, child.id)
  try {
    const instance = await startInstance({ values, parent: child, log, scheduler, telemetry, listenAt: child })
    child.onStop(() => instance.stop())
    child.listening()
    child.ready(true)
    performanceLine(log, scheduler)
    log.info('an instance is ready', { version: VERSION })
  } catch (error) {
    const fault = error instanceof AppError ? {} : { error }
    log.error('an instance cannot start', { why: messageOf(error), ...fault })
    process.exit(1)
  }
}

export async function startInstance(options: InstanceOptions): Promise<Instance> {
  const { parent, log, scheduler, telemetry } = options
  const { clock } = scheduler
  let { values } = options
  const { dataDir, secretKey } = values.platform
  // The address of the database is a secret: what control hands on does not hold it.
  const { databaseUrl } = values.market
  const inData = (name: string) => join(dataDir, name)
  const undo: (() => void | Promise<void>)[] = []
  const stop = async () => {
    for (let step = undo.pop(); step; step = undo.pop()) await step()
  }
  try {
    parent.onConfig((snapshot) => {
      values = (snapshot as { values: Values }).values
      log.setLevel(values.platform.logLevel)
    })
    const box = openSecretBox(inData('secret.key'), secretKey)
    const identity = openIdentity(inData('identity.db'), box, () => sessionTimesOf(values))
    undo.push(() => identity.close())
    const accounts = await openAccounts(databaseUrl, inData('identity.db'), () => values.identity)
    undo.push(() => accounts.close())

    const common = { name: parent.id, scheduler, random: systemRandom, log: log.with({ room: 'market' }) }
    const market =
      databaseUrl === null
        ? openEmbeddedMarket({
            ...common,
            path: inData('market.db'),
            socketPath: writerSocketBeside(parent.socketPath),
          })
        : await openPostgresMarket({
            ...common,
            url: databaseUrl,
            telemetry,
            settings: () => ({
              disputeWindowMs: values.market.disputeWindow * SECOND,
              marketsPerDay: values.market.marketsPerDay,
              ordersPerUser: values.market.ordersPerUser,
            }),
          })
    undo.push(() => market.close())

    const cache = createByteCache<unknown>(() => values.market.cacheBytes)
    measureCache(telemetry, cache)
    const reading = createReading(market.reads, cache, clock)
    const feed = createFeed({ reads: market.reads, scheduler, log: common.log, telemetry })
    undo.push(() => feed.stop())
    const unsubscribe = market.commands.subscribe({
      event(event: MarketEvent) {
        reading.heard(event)
        feed.heard(event)
      },
      missed() {
        reading.forgetAll()
        feed.missed()
      },
    })
    undo.push(unsubscribe)
    const desk = createDesk({
      commands: market.commands,
      clock,
      telemetry,
      onDone(done: Done) {
        for (const id of changedBy(done)) reading.changed(id)
      },
    })

    const server = await createServer({
      routes: [
        ...ownRoutes(telemetry, () => market.commands.connected),
        ...traderRoutes({ accounts: accounts.accounts, market: { desk, reads: market.reads }, clock, log, telemetry }),
        ...marketRoutes({ desk, reads: market.reads, reading, feed, clock, checkExpression }),
      ],
      authenticator: accounts.authenticator(identity, clock),
      tickets: createTickets(clock),
      scheduler,
      log,
      telemetry,
      version: VERSION,
      limits: () => limitsOf(values.platform),
      publicUrl: () => values.platform.publicUrl,
      ...(options.checkAnswers ? { checkAnswers: true } : {}),
    })
    undo.push(() => server.close())
    const address = await server.listen(options.listenAt)
    options.onAddress?.(address)
    return { server, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Loaded with the first market that is bound: most instances never see one. */
const checkExpression = async (text: string) => {
  const { whyNoValue } = await import('../metrics/index.ts')
  return whyNoValue(text)
}

/** Markets that are other than before. */
function changedBy(done: Done) {
  switch (done.type) {
    case 'market':
    case 'resolved':
    case 'dispute':
      return [done.marketId]
    case 'trade':
      return [done.trade.marketId]
    case 'order':
      return [done.order.marketId]
    default:
      return []
  }
}

function measureCache(telemetry: Telemetry, cache: ReturnType<typeof createByteCache>): void {
  const help = 'Look-ups of markets and prices.'
  telemetry.gauge('market_cache_hits', `${help} Found.`, {}, () => cache.hits)
  telemetry.gauge('market_cache_misses', `${help} Not found.`, {}, () => cache.misses)
  telemetry.gauge('market_cache_entries', 'Answers that are held.', {}, () => cache.entries)
  telemetry.gauge('market_cache_bytes', 'Bytes of answers that are held.', {}, () => cache.bytes)
}

/** What control asks of the process itself. */
function ownRoutes(telemetry: Telemetry, connected: () => boolean): Route[] {
  const common = { method: 'GET', access: 'open', tag: 'system', unmetered: true, documented: false } as const
  const json = { 'content-type': 'application/json; charset=utf-8' }
  return [
    foreignRoute({
      ...common,
      path: '/metrics',
      summary: 'What this process measures of itself, as Prometheus text',
      foreign: () => ({
        status: 200,
        headers: { 'content-type': EXPOSITION_TYPE },
        body: exposition(telemetry.snapshot()),
      }),
    }),
    foreignRoute({
      ...common,
      path: '/telemetry',
      summary: 'The same as JSON, for control',
      foreign: () => ({ status: 200, headers: json, body: JSON.stringify(telemetry.snapshot()) }),
    }),
    ...(['/health', '/ready'] as const).map((path) =>
      foreignRoute({
        ...common,
        path,
        summary: 'Whether commands would be decided now',
        foreign() {
          const up = connected()
          const status = path === '/health' ? (up ? 'healthy' : 'degraded') : up ? 'ready' : 'not_ready'
          return { status: up || path === '/health' ? 200 : 503, headers: json, body: JSON.stringify({ status }) }
        },
      }),
    ),
  ]
}
