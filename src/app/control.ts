/**
 * Control: the process of the operations brain. One straight function builds each part from those above it; stopping
 * walks back. ARCHITECTURE.md draws its threads.
 */
import { createHash } from 'node:crypto'
import { join, resolve } from 'node:path'
import { MessageChannel } from 'node:worker_threads'
import { alertingHealth, postedAlerts, serviceOf, startAlerting, startDelivery } from '../alerting/index.ts'
import { alertingRoutes } from '../alerting/routes.ts'
import { type AnalyticsNote, openAnalytics, pointNotes, startAnalytics, trainingThread } from '../analytics/index.ts'
import { analyticsRoutes, engineRoutes } from '../analytics/routes.ts'
import { AppError, messageOf } from '../base/errors.ts'
import { systemRandom } from '../base/random.ts'
import { measureRuntime } from '../base/runtime.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { systemScheduler } from '../base/scheduler.ts'
import type { TelemetryFamily } from '../base/telemetry.ts'
import { createTelemetry } from '../base/telemetry.ts'
import type { Config } from '../config/index.ts'
import { loadConfig, passedOn, withoutSecrets } from '../config/index.ts'
import { createDashboard, createScorer } from '../dashboard/index.ts'
import { dashboardRoutes } from '../dashboard/routes.ts'
import { labelled } from '../http/exposition.ts'
import type { Server } from '../http/server.ts'
import { createServer } from '../http/server.ts'
import { createTickets } from '../http/sockets.ts'
import { FIRST_LINK_MS, openIdentity } from '../identity/index.ts'
import { identityRoutes } from '../identity/routes.ts'
import {
  Collector,
  edgeReadings,
  hostSource,
  knownMetrics,
  Scraper,
  type Source,
  startMetrics,
  startQueries,
  storedName,
  telemetryReadings,
} from '../metrics/index.ts'
import { metricsRoutes } from '../metrics/routes.ts'
import { startScaling } from '../scaling/index.ts'
import { scalingProblems, scalingRoutes } from '../scaling/routes.ts'
import { auditRows } from '../storage/audit.ts'
import { lockDirectory } from '../storage/lock.ts'
import { openSecretBox } from '../storage/secrets.ts'
import { openAccounts } from './accounts.ts'
import { alertingSources } from './alerting-sources.ts'
import type { Child } from './child.ts'
import { configRoutes } from './config-routes.ts'
import { openConfigStore } from './config-store.ts'
import type { ConsumersData } from './consumers.ts'
import { dashboardSources } from './dashboard-sources.ts'
import { openEvents } from './events.ts'
import { createHealth, gaugeOf, storeHealth } from './health.ts'
import type { ProcessLog } from './log.ts'
import { childLog, performanceLine } from './log.ts'
import type { MarketLink } from './market-link.ts'
import { openOps } from './ops-db.ts'
import { scalingAlerts } from './scaling-alerts.ts'
import { type InstancesChannel, platformPort, scalingSources } from './scaling-sources.ts'
import { seriesList } from './series-list.ts'
import { limitsOf, sessionTimesOf } from './settings.ts'
import { systemRoutes } from './system-routes.ts'
import { loginLink } from './urls.ts'
import { VERSION } from './version.ts'

export interface Control {
  readonly server: Server
  stop(): Promise<void>
}

/** What front, or a test in its place, gives to control. */
export type ControlParent = Pick<
  Child,
  'onProcesses' | 'onEdge' | 'onEvent' | 'listening' | 'ready' | 'config' | 'notice' | 'address' | 'socketPath'
> &
  Partial<InstancesChannel>

export interface ControlOptions {
  readonly config: Config
  readonly parent: ControlParent
  readonly log: ProcessLog
  readonly scheduler: Scheduler
  readonly listenAt: Parameters<Server['listen']>[0]
  /** A part that cannot be started again alone has ended: control has to end, and front starts it anew. */
  onFailure(error: Error): void
}

/** The process: what front forks. Ends with exit code 1 and one sentence when it cannot start. */
export async function runControl(child: Child): Promise<void> {
  // What it writes is for its own user alone, whoever may look into the folder.
  process.umask(0o077)
  const config = loadConfig()
  const scheduler = systemScheduler((error) => log.error('a timer failed', { error }))
  const log = childLog(child.id, config.current.values.platform.logLevel, scheduler.clock)
  try {
    const onFailure = (error: Error) => {
      log.error('control ends', { error })
      process.exit(1)
    }
    const control = await startControl({ config, parent: child, log, scheduler, listenAt: child, onFailure })
    child.onStop(() => control.stop())
  } catch (error) {
    const fault = error instanceof AppError ? error.cause : error
    log.error('control cannot start', { why: messageOf(error), ...(fault === undefined ? {} : { error: fault }) })
    process.exit(1)
  }
}

export async function startControl(options: ControlOptions): Promise<Control> {
  const { config, parent, log, scheduler } = options
  const { clock } = scheduler
  const { values } = config.current
  const { platform } = values
  const inData = (name: string) => join(platform.dataDir, name)
  const undo: (() => void | Promise<void>)[] = []
  const stop = async () => {
    for (let step = undo.pop(); step; step = undo.pop()) await step()
  }

  try {
    const lock = await lockDirectory(inData('control.lock'), scheduler)
    undo.push(() => lock.release())
    const startedAt = clock.now()
    const telemetry = createTelemetry()
    const runtime = measureRuntime(telemetry, scheduler, 'control')
    undo.push(() => runtime.cancel())
    const health = createHealth(clock)
    for (const hint of config.hints) log.warn(hint)
    const box = openSecretBox(inData('secret.key'), platform.secretKey)

    const ops = openOps(inData('ops.db'))
    undo.push(() => void ops.close())
    const versions = openConfigStore(ops, config, box, log)
    health.check('configuration', () => {
      const keys = versions.leftOut().map((problem) => problem.key)
      if (keys.length === 0) return { status: 'healthy' }
      return { status: 'degraded', detail: `set through the API, but no longer right: ${keys.join(', ')}` }
    })
    const unsubscribe = config.subscribe((snapshot) => {
      log.setLevel(snapshot.values.platform.logLevel)
      parent.config(withoutSecrets(snapshot))
    })
    undo.push(() => void unsubscribe())
    log.setLevel(config.current.values.platform.logLevel)
    parent.config(withoutSecrets(config.current))

    const sessionTimes = () => sessionTimesOf(config.current.values)
    const publicUrl = () => config.current.values.platform.publicUrl
    const identity = openIdentity(inData('identity.db'), box, sessionTimes)
    undo.push(() => identity.close())
    if (identity.firstStart(config.current.values.identity.adminToken, clock.now())) {
      const code = identity.createLoginCode('admin', 'admin', FIRST_LINK_MS, 'first start', clock.now())
      parent.notice(welcome(loginLink(publicUrl() ?? parent.address, code)))
    }
    const tickets = createTickets(clock)
    // A trader is known here, and has no role here. Where accounts are in PostgreSQL the token is just not valid:
    // nothing of control may wait for that.
    const accounts = await openAccounts(null, inData('identity.db'), () => config.current.values.identity)
    undo.push(() => accounts.close())
    const authenticator = accounts.authenticator(identity, clock)

    const alertingConfig = () => config.current.values.alerting
    const alertingLog = log.with({ room: 'alerting' })
    const delivery = startDelivery({
      db: ops,
      box,
      config: alertingConfig,
      scheduler,
      random: systemRandom,
      log: alertingLog,
      telemetry,
      baseUrl: () => publicUrl() ?? parent.address,
      ailment: () => alerting.ailment(),
    })
    undo.push(() => delivery.stop())
    const alerting = startAlerting({
      db: ops,
      scheduler,
      log: alertingLog,
      telemetry,
      config: alertingConfig,
      channel: (id) => delivery.channels.get(id),
      rulesDir: resolve('config/rules'),
      onNotices: () => delivery.outbox.wake(),
    })
    undo.push(() => alerting.close())
    const stateOfAlerting = () => alertingHealth({ alerting, delivery, config: alertingConfig }, clock.now())
    health.check('alerting', () => serviceOf(stateOfAlerting()))
    const posted = postedAlerts({
      db: ops,
      engine: alerting.engine,
      store: alerting.store,
      scheduler,
      channels: () => delivery.channels.ids(),
      escalationMs: () => alertingConfig().escalationTimeout * 1000,
    })
    undo.push(() => posted.stop())
    const unlisten = config.subscribe(() => {
      delivery.configurationChanged()
      alerting.configurationChanged()
    })
    undo.push(() => void unlisten())

    const { port1: analyticsNotes, port2: toAnalytics } = new MessageChannel()
    undo.push(() => analyticsNotes.close())
    const consumers: ConsumersData = {
      analytics: {
        database: inData('analytics.db'),
        stateFile: inData('detector.state'),
        threshold: values.analytics.anomalyThreshold,
        timeZone: values.analytics.timeZone,
        seasonBytesMax: values.analytics.seasonMemory << 20,
        notes: toAnalytics,
      },
      alerting: alerting.forPipeline,
    }
    const metrics = await startMetrics({
      dir: inData('metrics'),
      config: values.metrics,
      clock,
      log: log.with({ room: 'metrics' }),
      telemetry,
      workers: { pipeline: beside('pipeline-worker'), compaction: beside('compaction-worker') },
      consumers: { data: consumers, transfer: [toAnalytics, alerting.forPipeline.port] },
      onFailure: options.onFailure,
    })
    undo.push(() => metrics.stop())
    health.check('metrics', () => storeHealth(telemetry))
    const queries = startQueries({
      share: metrics.share,
      worker: beside('query-worker'),
      scheduler,
      log: log.with({ room: 'query' }),
      telemetry,
      config: () => config.current.values.metrics,
    })
    undo.push(() => queries.stop())
    alerting.attach(alertingSources({ queries, analytics: () => analytics, clock }))
    undo.push(() => alerting.stop())

    let ofFront: readonly TelemetryFamily[] = []
    const families = () => [
      ...labelled(telemetry.snapshot(), { process: 'control' }),
      ...labelled(ofFront, { process: 'front' }),
      ...(market?.families() ?? []),
    ]
    const intervalMs = values.metrics.collectInterval * 1000
    const collector = new Collector({ appender: metrics, scheduler, telemetry, log, intervalMs })
    undo.push(() => collector.stop())
    /** Asked from the moment that control is ready. */
    const measured: Source[] = []
    if (values.metrics.collectHost) {
      measured.push({ name: 'host', collect: hostSource({ dataDir: platform.dataDir, clock }) })
    }
    let market: MarketLink | null = null
    if (values.market.enabled) {
      const { askQueries, startMarketLink } = await import('./market-link.ts')
      market = startMarketLink({
        values: () => config.current.values,
        socketPath: parent.socketPath,
        processes: () => health.processes,
        ask: askQueries(queries),
        scheduler,
        telemetry,
        log: log.with({ room: 'market' }),
      })
      const link = market
      undo.push(() => link.stop())
      measured.push({ name: 'market', collect: () => link.collect() })
      health.check('market', () => link.health())
    }
    measured.push({ name: 'runtime', collect: () => telemetryReadings(families()) })
    const scraper = new Scraper({ appender: metrics, scheduler, log })
    undo.push(() => scraper.stop())
    const scrape = ({ metrics }: Config['current']['values']) =>
      scraper.configure(metrics.scrapeTargets).catch((error) => log.error('targets cannot be scraped', { error }))
    void scrape(values)
    const rescrape = config.subscribe((snapshot) => void scrape(snapshot.values))
    undo.push(() => void rescrape())

    const events = openEvents(ops)
    parent.onProcesses((processes) => {
      health.processes = processes
    })
    parent.onEvent(({ at, process, type, detail }) => {
      try {
        events.add({ at, type: 'process', subject: process, action: type, detail })
      } catch (error) {
        log.warn('an event could not be kept', { why: messageOf(error), process, type, detail })
      }
    })
    parent.onEdge((window, telemetryOfFront) => {
      ofFront = telemetryOfFront
      collector.record('edge', window.at, edgeReadings(window)).catch((error: unknown) => {
        log.warn('a window of front could not be stored', { why: messageOf(error) })
      })
    })

    const analyticsDb = openAnalytics(inData('analytics.db'))
    undo.push(() => void analyticsDb.close())
    const analyticsSettings = () => config.current.values.analytics
    const analytics = startAnalytics({
      db: analyticsDb,
      scheduler,
      log: log.with({ room: 'analytics' }),
      telemetry,
      appender: metrics,
      settings: analyticsSettings,
      points: (request) => queries.call('points', request, { background: true }),
      train: trainingThread(beside('training-worker'), scheduler, log.with({ room: 'analytics' })),
      list: seriesList(queries, clock),
      samplesHeld: () => gaugeOf(telemetry, 'metrics_samples_held'),
    })
    undo.push(() => analytics.close())
    analyticsNotes.on('message', (note: AnalyticsNote) => analytics.note(note))
    health.check('analytics', () => ({ status: 'healthy', detail: analytics.active ? 'on' : 'off' }))

    const frontChannel = channelTo(parent)
    const scaling = startScaling({
      db: ops,
      sources: scalingSources({ queries, analytics: () => analytics }),
      config: () => config.current.values.scaling,
      scheduler,
      log: log.with({ room: 'scaling' }),
      telemetry,
      version: VERSION,
      platform: frontChannel && platformPort(frontChannel, health, scheduler),
      environment: passedOn(),
      simulationWorker: beside('simulation-worker'),
      place: createHash('sha256').update(resolve(platform.dataDir)).digest('hex').slice(0, 12),
      onEvent: ({ at, target, action, detail }) => events.add({ at, type: 'scaling', subject: target, action, detail }),
    })
    undo.push(() => scaling.close())
    const toldOfScaling = scalingAlerts({
      manager: scaling.manager,
      posted,
      scheduler,
      log: log.with({ room: 'scaling' }),
    })
    undo.push(() => toldOfScaling.cancel())
    health.check('scaling', () => {
      const problems = scalingProblems(scaling.manager, config.current.values.scaling, clock.now())
      if (problems.length > 0) return { status: 'degraded', detail: problems.join(' ') }
      return { status: 'healthy', detail: scaling.manager.active ? 'on' : 'off' }
    })

    const notes = pointNotes(ops)
    const sources = dashboardSources({
      metrics,
      queries,
      health,
      events,
      clock,
      analytics,
      alerting,
      scaling,
      intervalMs: () => intervalMs,
    })
    const dashboardConfig = () => config.current.values.dashboard
    const score = createScorer({ sources, clock, config: dashboardConfig })
    measured.push({
      name: 'score',
      async collect() {
        const value = await score()
        return value === null ? [] : [{ name: 'performance_score', value }]
      },
    })
    const dashboard = createDashboard({
      sources,
      scheduler,
      config: dashboardConfig,
      log: log.with({ room: 'dashboard' }),
      telemetry,
    })
    undo.push(() => dashboard.stop())

    const server = await createServer({
      routes: [
        ...systemRoutes({ clock, health, tickets, environment: platform.environment, telemetry: families }),
        ...identityRoutes({
          identity,
          clock,
          times: sessionTimes,
          secure: () => publicUrl()?.startsWith('https:') ?? false,
        }),
        ...analyticsRoutes({ clock, appender: metrics, notes, points: (request) => queries.call('points', request) }),
        ...engineRoutes({ analytics, clock, settings: analyticsSettings }),
        ...metricsRoutes({
          clock,
          metrics,
          queries,
          telemetry,
          targets: () => scraper.status(),
          metadata: () => metadataOf(families()),
          version: VERSION,
          startedAt,
          retentionDays: values.metrics.retentionDays,
        }),
        ...alertingRoutes({
          ...alerting,
          db: ops,
          delivery,
          posted,
          scheduler,
          config: alertingConfig,
          health: stateOfAlerting,
          mlEnabled: () => config.current.values.analytics.mlEnabled,
          version: VERSION,
          startedAt,
        }),
        ...scalingRoutes({ ...scaling, db: ops, config: () => config.current.values.scaling, scheduler }),
        ...dashboardRoutes({ dashboard, clock }),
        ...configRoutes({
          config,
          store: versions,
          clock,
          audit: (limit, before) =>
            [...auditRows(identity.db, limit, before), ...auditRows(ops, limit, before)]
              .sort((a, b) => (a.id < b.id ? 1 : -1))
              .slice(0, limit),
        }),
      ],
      ...(values.market.enabled
        ? { documents: async () => (await import('./market-documents.ts')).marketDocuments() }
        : {}),
      authenticator,
      tickets,
      scheduler,
      log,
      telemetry,
      version: VERSION,
      limits: () => limitsOf(config.current.values.platform),
      publicUrl,
    })
    undo.push(() => server.close())
    await server.listen(options.listenAt)
    parent.listening()
    health.ready = true
    parent.ready(true)
    undo.push(() => {
      health.ready = false
      parent.ready(false)
    })
    for (const source of measured) collector.add(source)
    queries.prepare()
    const performance = performanceLine(log, scheduler)
    undo.push(() => performance.cancel())
    log.info('control is ready', { version: VERSION })
    return { server, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** The channel over which front counts instances; a test in its place may have none. */
function channelTo({ onInstances, instances }: ControlParent): InstancesChannel | null {
  return onInstances && instances ? { onInstances, instances } : null
}

/** The file of a thread, beside this one, compiled or not. */
const beside = (name: string) => new URL(`./${name}${import.meta.url.slice(-3)}`, import.meta.url)

/** What the platform knows of its own series, by stored name. */
function metadataOf(families: readonly TelemetryFamily[]) {
  const all = new Map(
    knownMetrics.map(({ name, unit }) => [
      storedName(name),
      [{ type: /_bytes_/.test(name) ? 'counter' : 'gauge', help: '', unit }],
    ]),
  )
  for (const { name, type, help } of families) all.set(name, [{ type, help, unit: all.get(name)?.[0]?.unit ?? '' }])
  return all
}

function welcome(link: string): string[] {
  return [
    'This is the first start. Log in once with this link (24 hours, one use):',
    `  ${link}`,
    'Make a token for programs:',
    '  npx opinion-market token create --role admin --name mine --plain',
  ]
}
