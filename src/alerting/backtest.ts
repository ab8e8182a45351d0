/**
 * Backtest: what a rule would have done with stored history, by the code that runs live, `step`, the stages' routing,
 * escalation and grouping, with times taken from the samples. Nobody acknowledges anything in it.
 *
 *   stored samples ─▶ step (samples, and ticks between them) ─▶ episodes ─▶ grouping, escalation, routing ─▶ notices
 */
import { AppError } from '../base/errors.ts'
import { DAY, type Millis, SECOND } from '../base/time.ts'
import type { Labels } from '../metrics/index.ts'
import { type CloseReason, type Input, idle, RECENT_MS, step, type Watch } from './alert.ts'
import { escalatesAt, rise } from './escalate.ts'
import { type Evaluate, readHistory, type SeriesHistory } from './history.ts'
import { RateWindow } from './rate.ts'
import { breaches, type Level, type Rule, type Severity } from './rule.ts'
import { seriesKey } from './series.ts'
import type { ChannelFacts } from './stages.ts'
import { admit, flushed, type Group, type GroupLimits, hold, newGroup } from './suppress/group.ts'

export type EpisodeVerdict = 'real' | 'noise' | 'unknown'

/** One time that the rule would have fired. */
export interface Episode {
  readonly labels: Labels
  /** When the breach began. */
  readonly since: Millis
  readonly from: Millis
  /** Null: it fires at the end of the history. */
  readonly until: Millis | null
  readonly peak: number
  readonly flapping: boolean
  readonly resolution: CloseReason | null
  /** From the beginning of the breach to the notice. */
  readonly timeToNotifyMs: number
  /** What people said of alerts of this series at that time. */
  readonly verdict: EpisodeVerdict
}

export interface ChannelNotices {
  readonly channelId: string
  readonly firing: number
  readonly escalated: number
  readonly resolved: number
  readonly digests: number
}

export interface RuleOutcome {
  /** Oldest first; the first `EPISODES_SHOWN`. */
  readonly episodes: readonly Episode[]
  readonly episodesTotal: number
  readonly firingMs: number
  readonly flaps: number
  readonly alertsPerWeek: number
  readonly notices: readonly ChannelNotices[]
}

/** A series as a chart draws it: mean, lowest and highest of each bucket that has samples. */
export interface DrawnSeries {
  readonly labels: Labels
  readonly times: readonly Millis[]
  readonly mean: readonly number[]
  readonly min: readonly number[]
  readonly max: readonly number[]
}

export interface Backtest {
  readonly since: Millis
  readonly until: Millis
  readonly samples: number
  readonly seriesTotal: number
  readonly rule: RuleOutcome
  /** Of the stored rule with the same id; null where there is none. */
  readonly stored: RuleOutcome | null
  readonly stepMs: number
  /** Those that fire most, first. */
  readonly series: readonly DrawnSeries[]
}

export interface BacktestRequest {
  readonly rule: Rule
  readonly stored: Rule | null
  readonly since: Millis
  readonly until: Millis
  readonly signal?: AbortSignal
}

export interface BacktestWorld {
  readonly evaluate: Evaluate
  readonly channel: (id: string) => ChannelFacts | null
  readonly escalationMs: number
  readonly limits: GroupLimits
  /** How expressions are evaluated. */
  readonly intervalMs: number
  /** What people said of alerts of a series that were open between these times. */
  readonly verdictOf: (seriesKey: string, from: Millis, until: Millis) => EpisodeVerdict
}

const EPISODES_SHOWN = 500
const SERIES_SHOWN = 10
const BUCKETS = 400
const STEPS_MAX = 11_000

/** Throws `AppError` 422 for modes that history cannot answer, and for more samples than can be looked at. */
export async function backtest(request: BacktestRequest, world: BacktestWorld): Promise<Backtest> {
  const { rule, stored, since, until, signal } = request
  const history = await historyOf(rule, since, until, world, signal)
  const outcome = outcomeOf(rule, history, since, until, world)
  const same = stored && JSON.stringify(watched(stored)) === JSON.stringify(watched(rule))
  const other =
    stored && (same ? history : canLookBack(stored) ? await historyOf(stored, since, until, world, signal) : null)
  const begins = history.reduce((first, { times }) => Math.min(first, times[0] ?? first), until)
  const stepMs = Math.max(SECOND, Math.ceil((until - Math.max(since, begins)) / BUCKETS / SECOND) * SECOND)
  const busiest = new Map<string, number>()
  for (const { labels } of outcome.all) busiest.set(seriesKey(labels), (busiest.get(seriesKey(labels)) ?? 0) + 1)
  const drawn = history
    .map((series) => ({ series, episodes: busiest.get(seriesKey(series.labels)) ?? 0 }))
    .sort((a, b) => b.episodes - a.episodes)
    .slice(0, SERIES_SHOWN)
  return {
    since,
    until,
    samples: history.reduce((sum, { times }) => sum + times.length, 0),
    seriesTotal: history.length,
    rule: outcome.shown,
    stored: stored && other ? outcomeOf(stored, other, since, until, world).shown : null,
    stepMs,
    series: drawn.map(({ series }) => draw(series, stepMs)),
  }
}

const watched = ({ source, metricName, labels }: Rule) => ({ source, metricName, labels })

const canLookBack = (rule: Rule) => rule.source.kind === 'threshold' || rule.source.kind === 'expr'

/** Samples of a threshold rule; of an expression its answers, with NaN where a series was absent from one. */
async function historyOf(
  rule: Rule,
  since: Millis,
  until: Millis,
  { evaluate, intervalMs }: BacktestWorld,
  signal?: AbortSignal,
): Promise<SeriesHistory[]> {
  if (rule.source.kind === 'threshold') return readHistory(evaluate, rule, since, until, signal)
  if (rule.source.kind !== 'expr') {
    throw new AppError(
      422,
      'mode_without_history',
      `A rule of the mode ${rule.source.kind} judges by what was learnt at the time, which is not kept: it cannot be tested on history.`,
    )
  }
  const stepMs = Math.max(intervalMs, Math.ceil((until - since) / STEPS_MAX))
  const { series } = await evaluate(rule.source.expr, since, until, stepMs, signal)
  const count = Math.floor((until - since) / stepMs) + 1
  return series.map(({ labels, times, values }) => {
    const all = new Float64Array(count).fill(Number.NaN)
    times.forEach((at, i) => {
      all[Math.round((at - since) / stepMs)] = values[i]!
    })
    return { labels: labels as Labels, times: Float64Array.from(all, (_, i) => since + i * stepMs), values: all }
  })
}

function outcomeOf(
  rule: Rule,
  history: readonly SeriesHistory[],
  since: Millis,
  until: Millis,
  world: BacktestWorld,
): { shown: RuleOutcome; all: readonly Episode[] } {
  const all = history
    .flatMap((series) => episodesOf(rule, series, until))
    .map((episode) => {
      const verdict = world.verdictOf(seriesKey(episode.labels), episode.from, episode.until ?? until)
      return { ...episode, verdict }
    })
    .sort((a, b) => a.from - b.from)
  const shown: RuleOutcome = {
    episodes: all.slice(0, EPISODES_SHOWN),
    episodesTotal: all.length,
    firingMs: all.reduce((sum, { from, until: end }) => sum + (end ?? until) - from, 0),
    flaps: all.filter(({ flapping }) => flapping).length,
    alertsPerWeek: (all.length * 7 * DAY) / Math.max(until - since, SECOND),
    notices: noticesOf(rule, all, until, world),
  }
  return { shown, all }
}

/** Moves one watch through a series as the watcher would have, one tick a second where time alone may move it. */
export function episodesOf(rule: Rule, series: SeriesHistory, until: Millis): Omit<Episode, 'verdict'>[] {
  const { labels, times, values } = series
  const episodes: Omit<Episode, 'verdict'>[] = []
  const expr = rule.source.kind === 'expr'
  const rate = !expr && rule.condition === 'change_rate' ? new RateWindow(rule.windowMs) : null
  let watch: Watch = idle
  let open: { since: Millis; from: Millis; flapping: boolean } | null = null
  const move = (input: Input, now: Millis) => {
    const before = watch
    const stepped = step(rule, watch, input, now, () => 'episode')
    watch = stepped.watch
    for (const deed of stepped.deeds) {
      if (deed.kind === 'opened') open = { since: deed.since, from: deed.at, flapping: deed.flapping }
      else if (open) {
        episodes.push(episode(open, deed.at, before.kind === 'firing' ? before.peak : Number.NaN, deed.why))
        open = null
      }
    }
  }
  const episode = (from: NonNullable<typeof open>, end: Millis | null, peak: number, why: CloseReason | null) => ({
    labels,
    ...from,
    until: end,
    peak,
    resolution: why,
    timeToNotifyMs: from.from - from.since,
  })
  for (let i = 0; i < times.length; i++) {
    const at = times[i]!
    let value = values[i]!
    let level: Level | undefined
    if (expr) {
      level = Number.isNaN(value) ? 'clear' : 'breach'
      if (Number.isNaN(value)) value = 0
    } else if (rate && !Number.isNaN(value)) {
      value = rate.next(at, value)
      // As in the watcher: a window that is not full says nothing about recovery.
      if (!rate.covered && !breaches(rule.condition, value, rule.threshold)) continue
    }
    if (Number.isNaN(value)) continue
    move({ kind: 'value', at, value, ...(level === undefined ? {} : { level }) }, at)
    if (rate || expr) continue
    // A second that falls on the next sample comes before it: no sample arrives before its own time.
    const last = Math.min(times[i + 1] ?? until, at + RECENT_MS)
    for (let now = at + SECOND; now <= last && timeMoves(watch); now += SECOND) move({ kind: 'tick', at, value }, now)
  }
  if (open && watch.kind === 'firing') episodes.push(episode(open, null, watch.peak, null))
  return episodes
}

const timeMoves = (watch: Watch) => watch.kind === 'pending' || (watch.kind === 'firing' && watch.clearSince !== null)

/** The messages that each channel would have got, nobody having acknowledged anything. */
function noticesOf(rule: Rule, episodes: readonly Episode[], until: Millis, world: BacktestWorld): ChannelNotices[] {
  const { limits, escalationMs, channel } = world
  const counts = new Map(rule.channels.map((id) => [id, { firing: 0, escalated: 0, resolved: 0, digests: 0 }]))
  const takers = (severity: Severity) =>
    rule.channels.filter((id) => {
      const filter = channel(id)?.severityFilter ?? []
      return filter.length === 0 || filter.includes(severity)
    })
  type Event = { at: Millis; kind: 'firing' | 'escalated' | 'resolved'; severity: Severity; episode: number }
  const events: Event[] = []
  episodes.forEach(({ from, until: end }, episode) => {
    let { severity } = rule
    events.push({ at: from, kind: 'firing', severity, episode })
    let due = escalatesAt(severity, from, escalationMs)
    // What is due at the moment of the end was due before anybody could know of the end.
    for (let n = 0; due !== null && due <= (end ?? until) && n < 1000; n++) {
      severity = rise(severity, due, due)!.severity
      events.push({ at: due, kind: 'escalated', severity, episode })
      due = escalatesAt(severity, due, escalationMs)
    }
    if (end !== null) events.push({ at: end, kind: 'resolved', severity, episode })
  })
  events.sort((a, b) => a.at - b.at)
  let group: Group = newGroup('backtest', 0)
  const grouped = new Set<number>()
  const heard = new Map<number, Set<string>>()
  const waiting = new Set<string>()
  const flush = (now: Millis) => {
    for (const id of waiting) counts.get(id)!.digests++
    waiting.clear()
    group = flushed(group, now)
  }
  for (let i = 0; i < events.length; i++) {
    const { at, kind, severity, episode } = events[i]!
    while (group.flushAt !== null && group.flushAt <= at) flush(group.flushAt)
    if (kind === 'firing') {
      let together = 1
      while (events[i + together]?.at === at && events[i + together]!.kind === 'firing') together++
      const admitted = admit(group, grouped.has(episode) ? 0 : together, limits, at)
      group = admitted.group
      for (let n = 0; n < together; n++) {
        const one = events[i + n]!.episode
        if (admitted.held) grouped.add(one)
        tell(one, 'firing', severity, at)
      }
      i += together - 1
    } else tell(episode, kind, severity, at)
  }
  if (group.flushAt !== null) flush(group.flushAt)
  return [...counts].map(([channelId, count]) => ({ channelId, ...count }))

  function tell(episode: number, kind: Event['kind'], severity: Severity, at: Millis): void {
    const known = heard.get(episode) ?? new Set<string>()
    const to = kind === 'resolved' ? [...known] : takers(severity)
    for (const id of to) known.add(id)
    heard.set(episode, known)
    if (grouped.has(episode)) {
      for (const id of to) waiting.add(id)
      group = hold(group, severity, limits, at)
    } else for (const id of to) counts.get(id)![kind]++
  }
}

function draw({ labels, times, values }: SeriesHistory, stepMs: number): DrawnSeries {
  const drawn = { labels, times: [] as number[], mean: [] as number[], min: [] as number[], max: [] as number[] }
  let count = 0
  for (let i = 0; i < times.length; i++) {
    const value = values[i]!
    if (!Number.isFinite(value)) continue
    const bucket = Math.floor(times[i]! / stepMs) * stepMs
    const last = drawn.times.length - 1
    if (drawn.times[last] !== bucket) {
      drawn.times.push(bucket)
      drawn.mean.push(value)
      drawn.min.push(value)
      drawn.max.push(value)
      count = 1
      continue
    }
    count++
    drawn.mean[last]! += (value - drawn.mean[last]!) / count
    drawn.min[last] = Math.min(drawn.min[last]!, value)
    drawn.max[last] = Math.max(drawn.max[last]!, value)
  }
  return drawn
}

// ---------------------------------------------------------------------------------------------- suggestion

export interface Candidate {
  readonly threshold: number
  readonly alertsPerWeek: number
  readonly firingShare: number
}

export interface Suggestion {
  readonly since: Millis
  readonly until: Millis
  readonly samples: number
  /** Null: there is no history to learn from. */
  readonly threshold: number | null
  readonly alertsPerWeek: number | null
  /** From the most alerts to the fewest. */
  readonly candidates: readonly Candidate[]
}

/** Alerts a week that a person is asked to bear for one rule. */
const BEARABLE_A_WEEK = 1
const QUANTILES = [0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1]

/** A threshold for a rule's series from their history: the nearest to normal that brings at most one alert a week. */
export async function suggest(
  { rule, since, until, signal }: Omit<BacktestRequest, 'stored'>,
  evaluate: Evaluate,
): Promise<Suggestion> {
  const history = await readHistory(evaluate, rule, since, until, signal)
  const values = valuesOf(rule, history)
  const samples = history.reduce((sum, { times }) => sum + times.length, 0)
  if (values.length === 0) return { since, until, samples, threshold: null, alertsPerWeek: null, candidates: [] }
  const below = rule.condition === 'lt' || rule.condition === 'lte'
  const thresholds = new Set(
    QUANTILES.map((q) => {
      const rank = Math.min(values.length - 1, Math.floor((below ? 1 - q : q) * values.length))
      return rounded(values[rank]!, values[values.length - 1]! - values[0]!, below)
    }),
  )
  const candidates = [...thresholds]
    .sort((a, b) => (below ? b - a : a - b))
    .map((threshold): Candidate => {
      const tried = { ...rule, threshold, recoveryThreshold: threshold }
      const episodes = history.flatMap((series) => episodesOf(tried, series, until))
      const firing = episodes.reduce((sum, { from, until: end }) => sum + (end ?? until) - from, 0)
      return {
        threshold,
        alertsPerWeek: (episodes.length * 7 * DAY) / Math.max(until - since, SECOND),
        firingShare: firing / (Math.max(until - since, SECOND) * history.length),
      }
    })
  const chosen = candidates.find(({ alertsPerWeek }) => alertsPerWeek <= BEARABLE_A_WEEK) ?? candidates.at(-1)!
  return { since, until, samples, threshold: chosen.threshold, alertsPerWeek: chosen.alertsPerWeek, candidates }
}

/** What the condition compares, ascending: values, or rates of change. */
function valuesOf(rule: Rule, history: readonly SeriesHistory[]): Float64Array {
  const all: Float64Array[] = history.map(({ times, values }) => {
    if (rule.condition !== 'change_rate') return values
    const rate = new RateWindow(rule.windowMs)
    return Float64Array.from(times, (at, i) => rate.next(at, values[i]!))
  })
  const finite = all.flatMap((values) => [...values.filter(Number.isFinite)])
  return Float64Array.from(finite).sort()
}

/** To three figures of the range, away from normal. */
function rounded(value: number, range: number, below: boolean): number {
  const size = Math.max(range, Math.abs(value) * 1e-3)
  if (size === 0) return value
  const unit = 10 ** (Math.floor(Math.log10(size)) - 2)
  const whole = below ? Math.floor(value / unit) : Math.ceil(value / unit)
  return Number((whole * unit).toPrecision(12))
}

/** A person's word on alerts that were open then: one that says "noise" outweighs others. */
export function verdictFrom(alerts: readonly { falsePositive: boolean; acknowledged: boolean }[]): EpisodeVerdict {
  if (alerts.some((alert) => alert.falsePositive)) return 'noise'
  return alerts.some((alert) => alert.acknowledged) ? 'real' : 'unknown'
}
