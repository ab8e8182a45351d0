/**
 * Alerting as control composes it: the watcher's end in the pipeline thread, the engine and timed rules here, and in
 * between one port.
 *
 *   const alerting = startAlerting({ … })                        rules, watches and position are read
 *   startMetrics({ consumers: { … alerting.forPipeline } })      there: new Watcher({ start, port, … })
 *   alerting.attach({ evaluate, … })                             timed rules begin
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { unavailable } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import { DAY, MINUTE, type Millis, SECOND } from '../base/time.ts'
import type { Database } from '../storage/database.ts'
import { type Backtest, type BacktestRequest, backtest, type Suggestion, suggest, verdictFrom } from './backtest.ts'
import type { AlertingConfig } from './config.ts'
import { Engine, type EngineSettings, isWatched } from './engine.ts'
import { type CorrelatedChange, type Explanation, explain } from './explain.ts'
import type { Evaluate } from './history.ts'
import type { Alert } from './record.ts'
import { SEVERITIES } from './rule.ts'
import { defaultRules } from './rules/defaults.ts'
import { RuleFiles } from './rules/files.ts'
import type { FileProblem } from './rules/prometheus.ts'
import { Rules } from './rules/rules.ts'
import { type Oracles, TimedRules } from './rules/timed.ts'
import type { ChannelFacts } from './stages.ts'
import { AlertStore } from './store.ts'
import type { FromWatcher, ToWatcher, WatcherStart } from './wire.ts'

export interface AlertingOptions {
  /** ops.db. */
  readonly db: Database
  readonly scheduler: Scheduler
  readonly log: Log
  readonly telemetry: Telemetry
  readonly config: () => AlertingConfig
  readonly channel: (id: string) => ChannelFacts | null
  /** The folder of rule files. */
  readonly rulesDir: string
  /** Notices were put into the outbox. */
  readonly onNotices: () => void
  /** Alerts changed, and that is durable. */
  readonly onAlerts?: (ids: readonly string[]) => void
}

export interface Alerting {
  readonly engine: Engine
  readonly store: AlertStore
  readonly rules: Rules
  /** For the pipeline thread: goes with `workerData`, `port` in the transfer list. */
  readonly forPipeline: { readonly start: WatcherStart; readonly port: MessagePort }
  /** Timed rules begin, and history can be asked for. */
  attach(sources: Sources): void
  /** Why an alert fired. */
  explain(alert: Alert): Promise<Explanation>
  /** Throws `AppError` 422 for modes without history, and for too many samples. */
  backtest(request: BacktestRequest): Promise<Backtest>
  suggest(request: Omit<BacktestRequest, 'stored'>): Promise<Suggestion>
  /** Why an expression cannot be read; null when it can. */
  checkExpr(expr: string): Promise<string | null>
  timed(): TimedRules | null
  /** What is wrong with the rule files as they are. */
  fileProblems(): readonly FileProblem[]
  /** Why alerting would miss something just now; null: it would not. */
  ailment(): string | null
  /** Settings of alerting have changed: `enabled` switches the engine, the rest is read when it is needed. */
  configurationChanged(): void
  /** Ends timers; groups of the watcher are still taken until `close`. */
  stop(): void
  close(): void
}

/** What alerting asks of the rooms before it; a part that is absent keeps its rules still, or leaves its answer out. */
export interface Sources extends Omit<Oracles, 'evaluate'> {
  readonly evaluate: Evaluate
  /** Why an expression cannot be read; null when it can. */
  checkExpr(expr: string): Promise<string | null>
  correlated?(alert: Alert, from: Millis, until: Millis): Promise<readonly CorrelatedChange[]>
}

/** A watcher that says nothing for so long is stuck. */
const SILENT_MS = MINUTE

export function startAlerting(options: AlertingOptions): Alerting {
  const { db, scheduler, log, telemetry, config } = options
  const { clock } = scheduler
  const store = new AlertStore(db)
  const rules = new Rules(db)
  const { port1: port, port2: portOfWatcher } = new MessageChannel()
  let timed: TimedRules | null = null
  let { enabled } = config()
  let sources: Sources | null = null
  let files: RuleFiles | null = null
  const asked = (): Sources => {
    if (!sources) throw unavailable('History cannot be read yet.')
    return sources
  }
  let heardAt = clock.monotonic()

  const settings = (): EngineSettings => {
    const { escalationTimeout, suppressionWindow, maxAlertsPerMetric, retentionDays } = config()
    return {
      escalationMs: escalationTimeout * SECOND,
      groupWindowMs: Math.round(suppressionWindow * SECOND),
      singles: maxAlertsPerMetric,
      retentionMs: retentionDays * DAY,
    }
  }
  const stored = store.switch('active')
  const engine = new Engine(
    {
      db,
      store,
      rules,
      scheduler,
      log,
      settings,
      channel: options.channel,
      toWatcher: (message: ToWatcher) => port.postMessage(message),
      onTimedRule: (id, rule) => timed?.setRule(id, rule),
      onTimedWatch: (watch) => timed?.setWatch(watch),
      onNotices: options.onNotices,
      onAlerts: (ids) => options.onAlerts?.(ids),
    },
    stored === null ? config().enabled : stored === '1',
  )
  if (store.switch('defaults') === null) {
    for (const draft of defaultRules) {
      if (rules.get(draft.id)) continue
      engine.createRule({ ...draft, provenance: 'default' }, { by: 'platform', claim: null })
    }
    store.setSwitch('defaults', '1')
  }

  const evaluations = telemetry.counter('alerting_evaluations_total', 'Evaluations of watches as samples arrived.')
  let watches = 0
  let counted = 0
  telemetry.gauge('alerting_watches', 'Series that rules watch, each for itself.', {}, () => watches)
  for (const severity of SEVERITIES) {
    telemetry.gauge('alerting_alerts', 'Alerts that are not resolved.', { severity }, () => {
      const { active, acknowledged, suppressed } = store.counts
      return active[severity] + acknowledged[severity] + suppressed[severity]
    })
  }
  port.on('message', (message: FromWatcher) => {
    heardAt = clock.monotonic()
    if (message.kind === 'group') engine.receive(message)
    else {
      if (engine.active) engine.lastEvaluation = message.at
      evaluations.add(message.evaluations - counted)
      counted = message.evaluations
      watches = message.watches
    }
  })
  engine.start()

  const all = rules.all()
  const watched = all.filter((rule) => rule.enabled && isWatched(rule))
  const ids = new Set(watched.map((rule) => rule.id))
  const start: WatcherStart = {
    position: store.position(),
    rules: watched,
    watches: store.watches().filter((watch) => ids.has(watch.rule)),
    enabled: engine.active,
  }

  return {
    engine,
    store,
    rules,
    forPipeline: { start, port: portOfWatcher },
    attach(given) {
      sources = given
      timed = new TimedRules({
        oracles: { ...given, evaluate: (expr, at) => given.evaluate(expr, at, at, 0) },
        scheduler,
        log,
        intervalMs: () => config().evaluationInterval * SECOND,
        active: () => engine.active,
        watchesOf: (id) => store.watchesOf(id),
        apply: (changes) => engine.applyTimed(changes),
        onEvaluated: (at) => {
          engine.lastEvaluation = at
        },
      })
      for (const rule of rules.all()) if (rule.enabled && !isWatched(rule)) timed.setRule(rule.id, rule)
      files = new RuleFiles({
        dir: options.rulesDir,
        scheduler,
        log,
        checkExpr: (expr) => given.checkExpr(expr),
        taken: () => rules.all().flatMap((rule) => (rule.provenance === 'file' ? [] : [rule.id])),
        apply: (drafts, kept, remembered) => engine.applyFiles(drafts, kept, remembered),
        given: () => store.switch('rule_files'),
      })
    },
    explain: (alert) =>
      explain(alert, {
        ...asked(),
        timeline: store.timeline(alert.id),
        versions: rules.versions(alert.ruleId),
        now: clock.now(),
      }),
    backtest: (request) =>
      backtest(request, {
        evaluate: asked().evaluate,
        channel: options.channel,
        escalationMs: settings().escalationMs,
        limits: { windowMs: settings().groupWindowMs, singles: settings().singles },
        intervalMs: config().evaluationInterval * SECOND,
        verdictOf: (key, from, until) => verdictFrom(store.verdicts(key, from, until)),
      }),
    suggest: (request) => suggest(request, asked().evaluate),
    checkExpr: (expr) => asked().checkExpr(expr),
    timed: () => timed,
    fileProblems: () => files?.problems ?? [],
    ailment() {
      if (!engine.active) return 'alerting is switched off'
      const silent = clock.monotonic() - heardAt
      return silent > SILENT_MS ? `the watcher has not been heard for ${Math.round(silent / SECOND)} s` : null
    },
    configurationChanged() {
      if (config().enabled === enabled) return
      enabled = config().enabled
      engine.setActive(enabled, 'configuration')
    },
    stop() {
      timed?.stop()
      files?.stop()
    },
    close() {
      engine.stop()
      port.close()
    },
  }
}
