/**
 * Rules that samples alone do not move, evaluated by timer in the main thread: expressions, anomalies, forecasts. Each
 * series of an answer is a watch, moved by the same `step` as any other.
 *
 *   expression   a series that is in the answer breaches
 *   anomaly      breaches from a score of 0.5 on
 *   forecast     breaches while the near edge of an earned forecast's interval does
 *
 * A series that is not in the answer is clear; but an expression that has lost the samples it was made of says nothing
 * (unless the rule's `no_data` is `resolve`). An evaluation that fails moves nothing, and for a while after a start
 * nothing clears: sources have to come back first.
 */
import { messageOf } from '../../base/errors.ts'
import { newId } from '../../base/id.ts'
import type { Log } from '../../base/log.ts'
import { afterInput, type Cancel, type Scheduler } from '../../base/scheduler.ts'
import type { Millis } from '../../base/time.ts'
import { MINUTE } from '../../base/time.ts'
import { type Evaluated, type Labels, labelValue, METRIC_NAME, sortLabels, toObject } from '../../metrics/index.ts'
import { idle, step, type Watch } from '../alert.ts'
import { ANOMALY_ALARM, breaches, type Level, type Rule } from '../rule.ts'
import { isPlatform, labelTest, seriesKey, storedMetric } from '../series.ts'
import type { Change, StoredWatch } from '../wire.ts'
import { asks, renderAll } from './template.ts'

/** A score of 0 to 1 for a series; 0.5 is the alarm. */
export interface AnomalyScore {
  readonly labels: Labels
  readonly score: number
}

/** The interval of a forecast; `earned` while the record of its forecasts allows an alert. */
export interface ForecastEdge {
  readonly labels: Labels
  readonly lower: number
  readonly upper: number
  readonly earned: boolean
}

/** What rules ask of the rooms before; a part that is absent keeps its rules still. Names are stored names. */
export interface Oracles {
  evaluate(expr: string, at: Millis): Promise<Evaluated>
  /** The selectors in an expression, each as a text. */
  selectors(expr: string): Promise<readonly string[]>
  anomalies?(metric: string): Promise<readonly AnomalyScore[]>
  forecasts?(metric: string, horizonMinutes: number): Promise<readonly ForecastEdge[]>
}

export interface TimedOptions {
  readonly oracles: Oracles
  readonly scheduler: Scheduler
  readonly log: Log
  readonly intervalMs: () => number
  readonly active: () => boolean
  readonly watchesOf: (ruleId: string) => readonly StoredWatch[]
  /** Makes changes durable, or throws; then they did not happen. */
  readonly apply: (changes: readonly Change[]) => void
  readonly onEvaluated: (at: Millis) => void
}

/** Most series of one rule's answer; the rest is left out, and said in the rule's health. */
const SERIES_MAX = 10_000
/** Most alerts of one evaluation whose annotations may ask; those of the others are said without answers. */
const WRITTEN_MAX = 200
const GRACE_MS = 2 * MINUTE
const LOOK_MS = 1000
/** Rules that are evaluated side by side. */
const RULES_AT_ONCE = 3

interface Standing {
  readonly labels: Labels
  watch: Watch
  generation: number
  value: number
}

export interface RuleHealth {
  readonly lastEvaluation: Millis | null
  readonly lastError: string | null
  readonly seconds: number
}

interface Timed {
  readonly rule: Rule
  readonly standings: Map<string, Standing>
  dueAt: number
  busy: boolean
  health: RuleHealth
}

/** One series as a rule sees it now. */
interface Seen {
  readonly labels: Labels
  readonly value: number
  readonly level: Level
}

export class TimedRules {
  readonly #options: TimedOptions
  readonly #rules = new Map<string, Timed>()
  readonly #startedAt: number
  readonly #timer: Cancel
  #lanes = 0
  /** Rules that were due at the last look, the first of them last. */
  #waiting: Timed[] = []

  constructor(options: TimedOptions) {
    this.#options = options
    const { scheduler } = options
    this.#startedAt = scheduler.clock.monotonic()
    this.#timer = scheduler.every(LOOK_MS, () => this.run())
  }

  stop(): void {
    this.#timer.cancel()
  }

  /** Takes a rule over with its stored watches; null lets it go. */
  setRule(id: string, rule: Rule | null): void {
    if (!rule) {
      this.#rules.delete(id)
      return
    }
    const standings = new Map(
      this.#options
        .watchesOf(id)
        .map(({ key, labels, watch, generation }) => [key, { labels, watch, generation, value: Number.NaN }]),
    )
    const health = { lastEvaluation: null, lastError: null, seconds: 0 }
    this.#rules.set(id, { rule, standings, dueAt: 0, busy: false, health })
  }

  setWatch({ rule, key, labels, watch, generation }: StoredWatch): void {
    this.#rules.get(rule)?.standings.set(key, { labels, watch, generation, value: Number.NaN })
  }

  health(id: string): RuleHealth | null {
    return this.#rules.get(id)?.health ?? null
  }

  /** Evaluates what is due, a few rules side by side: one whose query takes long holds up no other. */
  async run(): Promise<void> {
    const lanes: Promise<void>[] = []
    while (this.#lanes < RULES_AT_ONCE) {
      const first = this.#due()
      if (!first) break
      this.#lanes++
      lanes.push(this.#lane(first))
    }
    // Nobody waits for a query: the next look takes what is due then.
    await Promise.race([Promise.all(lanes), new Promise<void>((go) => afterInput(go))])
  }

  /** The rule that has been due for longest. */
  #due(): Timed | null {
    const { scheduler, active } = this.#options
    if (!active()) return null
    const now = scheduler.clock.monotonic()
    if (this.#waiting.length === 0) {
      this.#waiting = [...this.#rules.values()]
        .filter((timed) => !timed.busy && timed.dueAt <= now)
        .sort((a, b) => b.dueAt - a.dueAt)
    }
    for (;;) {
      const timed = this.#waiting.pop()
      if (!timed) return null
      if (!timed.busy && timed.dueAt <= now && this.#rules.get(timed.rule.id) === timed) return timed
    }
  }

  async #lane(first: Timed): Promise<void> {
    const { scheduler, intervalMs, onEvaluated } = this.#options
    const { clock } = scheduler
    try {
      for (let timed: Timed | null = first; timed; timed = this.#due()) {
        const started = clock.monotonic()
        timed.busy = true
        await this.#evaluate(timed)
        timed.busy = false
        // One that takes long rests as long, and leaves room for the others.
        const ended = clock.monotonic()
        timed.dueAt = Math.max(started + everyOf(timed.rule, intervalMs()), ended + (ended - started))
        onEvaluated(clock.now())
      }
    } finally {
      this.#lanes--
    }
  }

  async #evaluate(timed: Timed): Promise<void> {
    const { scheduler, log, apply } = this.#options
    const { clock } = scheduler
    const { rule } = timed
    const started = clock.monotonic()
    const at = clock.now()
    const done = (lastError: string | null) => {
      timed.health = { lastEvaluation: at, lastError, seconds: (clock.monotonic() - started) / 1000 }
    }
    try {
      const seen = await this.#see(rule, at)
      if (this.#rules.get(rule.id) !== timed) return // edited meanwhile
      if (seen) {
        const blind = await this.#blind(timed, seen, at)
        const written = await this.#written(timed, seen, at, blind)
        if (this.#rules.get(rule.id) !== timed) return
        const { changes, settle } = this.#moves(timed, seen, at, blind)
        apply(
          changes.map((change) => {
            const annotations = written.get(change.key)
            return annotations ? { ...change, annotations } : change
          }),
        )
        settle()
      }
      done(null)
    } catch (error) {
      if (timed.health.lastError === null) {
        log.warn('A rule could not be evaluated.', { rule: rule.id, why: messageOf(error) })
      }
      done(messageOf(error))
    }
  }

  /** Annotations of alerts that are about to open, by key, where they ask something. */
  async #written(timed: Timed, seen: readonly Seen[], at: Millis, blind: ReadonlySet<string>) {
    const { rule } = timed
    const written = new Map<string, Readonly<Record<string, string>>>()
    if (!asks(rule.annotations)) return written
    const ask = async (expr: string) => {
      const { series } = await this.#options.oracles.evaluate(expr, at)
      return series.map(({ labels, values }) => ({ labels: toObject(labels), value: values.at(-1) ?? Number.NaN }))
    }
    const opening = this.#moves(timed, seen, at, blind).changes.filter(({ deeds }) =>
      deeds.some(({ kind }) => kind === 'opened'),
    )
    for (const { key, labels, deeds } of opening.slice(0, WRITTEN_MAX)) {
      const value = deeds.find((deed) => deed.kind === 'opened')!.value
      written.set(key, await renderAll(rule.annotations, { labels: toObject(labels), value, now: at }, ask))
    }
    return written
  }

  /** What the rule sees now; null where nobody can say. */
  async #see(rule: Rule, at: Millis): Promise<readonly Seen[] | null> {
    const { oracles } = this.#options
    const { source } = rule
    switch (source.kind) {
      case 'expr': {
        const { series } = await oracles.evaluate(source.expr, at)
        return series.slice(0, SERIES_MAX).map(({ labels, values }) => ({
          labels: sortLabels([...labels]),
          value: values.at(-1) ?? Number.NaN,
          level: 'breach',
        }))
      }
      case 'anomaly': {
        if (!oracles.anomalies) return null
        const scores = watchedOf(rule, await oracles.anomalies(storedMetric(rule)))
        return scores.map(({ labels, score }) => ({
          labels,
          value: score,
          level: score >= ANOMALY_ALARM ? 'breach' : 'clear',
        }))
      }
      case 'forecast': {
        if (!oracles.forecasts) return null
        const edges = watchedOf(rule, await oracles.forecasts(storedMetric(rule), source.horizonMinutes))
        return edges.map(({ labels, lower, upper, earned }) => {
          const value = nearEdge(rule, lower, upper)
          return {
            labels,
            value,
            level: earned && breaches(rule.condition, value, rule.threshold) ? 'breach' : 'clear',
          }
        })
      }
      case 'threshold':
        return null
    }
  }

  /** Keys of watches of an expression that are not in the answer because the samples behind them have stopped. */
  async #blind({ rule, standings }: Timed, seen: readonly Seen[], at: Millis): Promise<ReadonlySet<string>> {
    const { oracles } = this.#options
    const blind = new Set<string>()
    if (rule.source.kind !== 'expr' || rule.noData === 'resolve') return blind
    const present = new Set(seen.map(({ labels }) => seriesKey(labels)))
    const gone = [...standings].filter(([key, { watch }]) => watch.kind === 'firing' && !present.has(key))
    if (gone.length === 0) return blind
    const selectors = await oracles.selectors(rule.source.expr)
    const sources: Labels[] = []
    for (const selector of selectors) {
      for (const { labels } of (await oracles.evaluate(selector, at)).series) sources.push(labels as Labels)
    }
    for (const [key, { labels }] of gone) {
      // A source of this watch agrees with it in every label that both have.
      const alive = sources.some((source) => labels.every(([name, value]) => agrees(source, name, value)))
      if (!alive && selectors.length > 0) blind.add(key)
    }
    return blind
  }

  #moves(
    timed: Timed,
    seen: readonly Seen[],
    at: Millis,
    blind: ReadonlySet<string>,
  ): { changes: Change[]; settle: () => void } {
    const { rule, standings } = timed
    const { clock } = this.#options.scheduler
    const changes: Change[] = []
    const moved: [string, Standing][] = []
    const move = (key: string, standing: Standing, level: Level, value: number) => {
      // An expression's NaN is there like any other value.
      const input = { kind: 'value', at, value: Number.isNaN(value) ? 0 : value, level } as const
      const { watch, deeds } = step(rule, standing.watch, input, at, () => newId(clock.now()))
      moved.push([key, { ...standing, watch, value }])
      if (watch === standing.watch) return
      const { labels, generation } = standing
      changes.push({ rule: rule.id, version: rule.version, labels, key, generation, watch, deeds })
    }
    const present = new Set<string>()
    for (const { labels, value, level } of seen) {
      const key = seriesKey(labels)
      if (present.has(key)) continue
      present.add(key)
      const standing = standings.get(key)
      if (standing || level !== 'clear') {
        move(key, standing ?? { labels, watch: idle, generation: 0, value }, level, value)
      }
    }
    const settling = clock.monotonic() - this.#startedAt < Math.max(GRACE_MS, 2 * this.#options.intervalMs())
    if (!settling) {
      for (const [key, standing] of standings) {
        if (!present.has(key) && !blind.has(key) && standing.watch.kind !== 'idle')
          move(key, standing, 'clear', standing.value)
      }
    }
    return {
      changes,
      settle() {
        for (const [key, standing] of moved) {
          const { watch, generation } = standing
          const pristine = watch.kind === 'idle' && watch.endedAt === null && watch.opens.length === 0
          if (pristine && generation === 0) standings.delete(key)
          else standings.set(key, standing)
        }
      },
    }
  }
}

function everyOf({ source }: Rule, intervalMs: number): number {
  return source.kind === 'expr' && source.everyMs !== undefined ? Math.min(source.everyMs, intervalMs) : intervalMs
}

function agrees(source: Labels, name: string, value: string): boolean {
  const own = labelValue(source, name)
  return name === METRIC_NAME || own === '' || own === value
}

/** Of a forecast's interval, the edge that is least likely to breach. */
export function nearEdge({ condition, threshold }: Rule, lower: number, upper: number): number {
  if (condition === 'lt' || condition === 'lte') return upper
  if (condition === 'eq') return threshold >= lower && threshold <= upper ? threshold : lower
  return lower
}

/** The series that a rule watches: those that its labels match, or the platform's own where there are such. */
export function watchedOf<S extends { readonly labels: Labels }>(rule: Rule, series: readonly S[]): S[] {
  if (rule.labels.length > 0) {
    const matches = labelTest(rule.labels)
    return series.filter(({ labels }) => matches(labels))
  }
  const own = series.filter(({ labels }) => isPlatform(labels))
  return own.length > 0 ? own : [...series]
}
