/**
 * The running dashboard: reads the sources once a period while somebody looks, steps the feed, hands the message to
 * the hub. One producer, however many sockets. While nobody looks there is no timer and no reading; the first one who
 * comes gets trends from stored history.
 */
import { messageOf } from '../base/errors.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Millis } from '../base/time.ts'
import { DAY, HOUR, MINUTE, SECOND, toIso } from '../base/time.ts'
import type { DashboardConfig } from './config.ts'
import type { FeedInput, FeedState, Refill } from './feed.ts'
import { COARSE_STEP_MS, emptyFeed, FINE_STEP_MS, step } from './feed.ts'
import { limitsOf, MEANING } from './figures.ts'
import { createHistory } from './history.ts'
import type { ClientSocket, Encoded } from './hub.ts'
import { createHub } from './hub.ts'
import type { DashboardEvent, DashboardSummary, MetricKey, Range, Snapshot, Update } from './protocol.ts'
import { ANOMALIES_MAX, FIGURE_KEYS, METRIC_KEYS, RANGES, RECENT_ANOMALIES_MAX } from './protocol.ts'
import type { DashboardSources, EventView, Point } from './sources.ts'

export interface DashboardDeps {
  readonly sources: DashboardSources
  readonly scheduler: Scheduler
  /** The configuration now: keys of the room are live. */
  readonly config: () => DashboardConfig
  readonly log: Log
  readonly telemetry: Telemetry
}

export interface Dashboard {
  summary(): Promise<DashboardSummary>
  /** Oldest first. */
  events(since: Millis, until: Millis, type: string | null): DashboardEvent[]
  connect(socket: ClientSocket, range: Range): void
  /** Closes every socket. */
  stop(): void
}

const NAMES = FIGURE_KEYS.map((key) => MEANING[key].name)
/** A pause after which history is read anew. */
const PAUSE_MS = 30 * SECOND
/** Steps on the way: listed among the events, but the charts mark only where they led. */
const MINOR = new Set(['started', 'restarting'])
const REFILL_EVERY_MS = 5 * MINUTE
/** How long a message or a snapshot waits for history before it goes without. */
const PATIENCE_MS = SECOND

export function createDashboard(deps: DashboardDeps): Dashboard {
  const { sources, scheduler, config, log, telemetry } = deps
  const { clock } = scheduler
  const history = createHistory(sources, clock)
  let state: FeedState = emptyFeed
  let message: Update | null = null
  let refilledAt = Number.NEGATIVE_INFINITY
  let refilling: Promise<void> | null = null
  let refilled: Refill | null = null
  let ticking: Promise<Update> | null = null
  let timer: Cancel | null = null
  let stopped = false
  const encodings = new Map<Range, Encoded & { complete: true }>()

  const hub = createHub({
    scheduler,
    log,
    clientsMax: () => config().clientsMax,
    snapshot,
    sent: telemetry.counter('dashboard_messages_sent_total', 'Messages sent to dashboards.'),
    skipped: telemetry.counter('dashboard_messages_skipped_total', 'Messages not sent because a dashboard was slow.'),
    closed: telemetry.counter('dashboard_clients_closed_total', 'Dashboards closed because they read too slowly.'),
    watched(watched) {
      timer?.cancel()
      timer = watched && !stopped ? scheduler.after(0, () => void beat()) : null
    },
  })
  telemetry.gauge('dashboard_clients', 'Open dashboards.', {}, () => hub.size)

  /** One period: read, step, send; the next beat keeps the rhythm however long this one took. */
  async function beat() {
    const started = clock.monotonic()
    try {
      const update = await tick()
      await hub.broadcast({ seq: update.seq, text: JSON.stringify(update) })
    } catch (error) {
      log.error('the dashboard could not make its message', { error })
    }
    const rest = config().period * SECOND - (clock.monotonic() - started)
    if (hub.size > 0 && !stopped) timer = scheduler.after(Math.max(1, rest), () => void beat())
  }

  function tick(): Promise<Update> {
    ticking ??= makeMessage().finally(() => {
      ticking = null
    })
    return ticking
  }

  async function makeMessage(): Promise<Update> {
    const { trendWindow } = config()
    const settings = {
      windowMs: trendWindow * SECOND,
      intervalMs: sources.intervalMs(),
      limits: limitsOf(config()),
    }
    const input = await read(settings.windowMs)
    const next = step(state, input, settings, clock.now())
    if (input.problem !== null && message?.problem !== input.problem) log.warn(`dashboard: ${input.problem}`)
    state = next.state
    message = next.message
    return next.message
  }

  async function read(windowMs: number): Promise<FeedInput> {
    const now = clock.now()
    const paused = state.at === null || now < state.at || now - state.at > PAUSE_MS
    if ((paused || clock.monotonic() - refilledAt > REFILL_EVERY_MS) && !refilling) startRefill(now, windowMs)
    try {
      const latest = await sources.latest(METRIC_KEYS.map((key) => MEANING[key].name))
      if (paused && refilling) await Promise.race([refilling, scheduler.sleep(PATIENCE_MS)])
      const samples: Partial<Record<MetricKey, Point>> = {}
      for (const key of METRIC_KEYS) {
        const sample = latest.get(MEANING[key].name)
        if (sample) samples[key] = sample
      }
      const refill = refilled
      refilled = null
      return { samples, refill, ...others(now), problem: null }
    } catch (error) {
      log.debug('dashboard: reading failed', { error: messageOf(error) })
      const problem = 'the store of metrics does not answer.'
      return { samples: {}, refill: null, ...others(now), problem }
    }
  }

  const others = (now: Millis) => ({
    processes: sources.processes(),
    engines: sources.engines?.() ?? {},
    forecasts: orNone(() => sources.forecasts?.(NAMES)),
    anomalies: anomalies(now - HOUR, now, RECENT_ANOMALIES_MAX),
    insights: orNone(() => sources.insights?.()),
    alerts: orNone(() => sources.alerts?.()),
    alertCounts: orNone(() => (sources.alertCounts ? [sources.alertCounts()] : []))[0] ?? null,
    instances: orNone(() => (sources.instances ? [sources.instances()] : []))[0] ?? null,
  })

  const anomalies = (since: Millis, until: Millis, limit: number) =>
    orNone(() => sources.anomalies?.(NAMES, since, until, limit))

  /** What analytics and alerting know is beside the figures: where their databases fail, they go on without. */
  function orNone<T>(read: () => readonly T[] | undefined): readonly T[] {
    try {
      return read() ?? []
    } catch (error) {
      log.debug('dashboard: a room could not be read', { error: messageOf(error) })
      return []
    }
  }

  /** Beside the beat: a reader that is busy with somebody's long query must not hold back the newest values. */
  function startRefill(now: Millis, windowMs: number) {
    refilling = readRefill(now, windowMs)
      .then(
        (refill) => {
          refilled = refill
          refilledAt = clock.monotonic()
        },
        (error: unknown) => log.debug('dashboard: history could not be read', { error: messageOf(error) }),
      )
      .finally(() => {
        refilling = null
      })
  }

  async function readRefill(now: Millis, windowMs: number): Promise<Refill> {
    const rows = await Promise.all(
      METRIC_KEYS.map(async (key) => {
        const { name } = MEANING[key]
        const [fine, coarse] = await Promise.all([
          sources.range(name, now - Math.max(HOUR, 2 * windowMs), now, FINE_STEP_MS),
          sources.range(name, now - DAY, now, COARSE_STEP_MS),
        ])
        return [key, { fine, coarse }] as const
      }),
    )
    return Object.fromEntries(rows) as Refill
  }

  /** The newest message, made now when the last one is older than a period. */
  async function current(): Promise<Update> {
    const age = message && state.at !== null ? clock.now() - state.at : Number.POSITIVE_INFINITY
    return message && age >= 0 && age < config().period * SECOND ? message : tick()
  }

  async function snapshot(range: Range): Promise<Encoded & { complete: boolean }> {
    if (!message) await tick()
    const [chart, recent] = await Promise.all([
      inTime(() => history.chart(range)),
      inTime(() => history.recent(limitsOf(config()), usual())),
    ])
    // From here on nothing waits: what is encoded is the newest state there is.
    const now = message!
    const complete = chart !== null && recent !== null
    const known = encodings.get(range)
    if (known?.seq === now.seq && complete) return known
    const whole: Snapshot = {
      ...now,
      type: 'snapshot',
      range,
      history: chart ?? { from: now.timestamp, step: RANGES[range].step, series: {} },
      recent: recent ?? { from: now.timestamp, step: 60, series: {} },
      anomalies: anomalies(clock.now() - RANGES[range].seconds * SECOND, clock.now(), ANOMALIES_MAX),
      events: marked(clock.now() - RANGES[range].seconds * SECOND, clock.now()),
    }
    const encoded = { seq: now.seq, text: JSON.stringify(whole) }
    if (complete) encodings.set(range, { ...encoded, complete })
    return { ...encoded, complete }
  }

  /** History, or null when it cannot be read soon: the live part of the page goes on without it. */
  function inTime<T>(read: () => Promise<T>): Promise<T | null> {
    return Promise.race([read().catch(() => null), scheduler.sleep(PATIENCE_MS).then(() => null)])
  }

  const usual = () => Object.fromEntries(METRIC_KEYS.map((key) => [key, state.normals[key]?.median ?? null]))

  function marked(since: Millis, until: Millis): DashboardEvent[] {
    const events = sources.events(since, until).filter((event) => !MINOR.has(event.action))
    return events.slice(-200).map(shown)
  }

  return {
    async summary() {
      const { type: _type, seq: _seq, ...body } = await current()
      return { ...body, active_connections: hub.size }
    },
    events: (since, until, type) =>
      sources
        .events(since, until)
        .filter((event) => type === null || event.type === type)
        .map(shown),
    connect: (socket, range) => hub.join(socket, range),
    stop() {
      stopped = true
      timer?.cancel()
      hub.close()
    },
  }
}

function shown(event: EventView): DashboardEvent {
  return {
    id: `${event.type}:${event.subject}:${event.action}:${event.at}`,
    timestamp: toIso(event.at),
    type: event.type,
    title: `${event.subject} ${event.action}`,
    detail: event.detail,
    subject: event.subject,
  }
}
