/**
 * Months of random samples through the real watcher, engine and database, with crashes between any two steps, against a
 * reference model of the rules that was written from the contract alone. A failing seed is printed and repeats:
 *   SEED=123 STEPS=175000 npx vitest run test/sim/alerting.test.ts
 */
import { afterEach, describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { HOUR, MINUTE, SECOND } from '../../src/base/time.ts'
import { World } from '../support/alerting-world.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1e9))
/** Each is about a quarter of a minute: eight hours by default, a month with STEPS=175000. */
const STEPS = Number(process.env.STEPS ?? 2000)

let world: World
afterEach(() => world.remove())

// ------------------------------------------------------------------------------------------- the reference

interface ModelRule {
  readonly id: string
  readonly metric: string
  readonly above: boolean
  readonly threshold: number
  readonly recovery: number
  readonly forMs: number
  readonly recoverForMs: number
  readonly cooldownMs: number
}

interface ModelAlert {
  readonly rule: string
  readonly host: string
  readonly from: number
  until: number | null
}

/** What the contract says of one rule and one series, word by word. */
class ModelWatch {
  readonly #rule: ModelRule
  readonly #host: string
  readonly #alerts: ModelAlert[]
  #badSince: number | null = null
  #goodSince: number | null = null
  #open: ModelAlert | null = null
  #lastEnd = Number.NEGATIVE_INFINITY
  #begins: number[] = []
  #flapping = false
  newest: { at: number; value: number } | null = null

  constructor(rule: ModelRule, host: string, alerts: ModelAlert[]) {
    this.#rule = rule
    this.#host = host
    this.#alerts = alerts
  }

  sample(at: number, value: number): void {
    this.newest = { at, value }
    this.#see(at, value, at)
  }

  second(now: number): void {
    if (!this.newest || now - this.newest.at > 90 * SECOND) return
    if (this.#open ? this.#goodSince === null : this.#badSince === null) return
    this.#see(this.newest.at, this.newest.value, Math.max(now, this.newest.at))
  }

  #see(at: number, value: number, upTo: number): void {
    const { above, threshold, recovery, forMs, recoverForMs, cooldownMs } = this.#rule
    const bad = above ? value > threshold : value < threshold
    const good = above ? value <= recovery : value >= recovery
    if (this.#open) {
      if (!good) this.#goodSince = null
      else {
        this.#goodSince ??= at
        const calm = this.#flapping ? Math.max(recoverForMs, 10 * MINUTE) : recoverForMs
        if (upTo - this.#goodSince < calm) return
        // A sample may be older than the second of the clock at which it opened; nothing ends before it begins.
        this.#open.until = Math.max(upTo, this.#open.from)
        this.#open = null
        this.#goodSince = null
        this.#lastEnd = upTo
      }
    } else if (!bad) this.#badSince = null
    else {
      this.#badSince ??= at
      if (upTo - this.#badSince < forMs || upTo - this.#lastEnd < cooldownMs) return
      this.#begins = [...this.#begins.filter((t) => upTo - t < HOUR), upTo].slice(-4)
      this.#flapping = this.#begins.length >= 4
      this.#open = { rule: this.#rule.id, host: this.#host, from: upTo, until: null }
      this.#alerts.push(this.#open)
      this.#badSince = null
    }
  }
}

// ------------------------------------------------------------------------------------------------ the runs

const rules: readonly ModelRule[] = [
  { id: 'plain', metric: 'a', above: true, threshold: 80, recovery: 80, forMs: 0, recoverForMs: 0, cooldownMs: 0 },
  {
    id: 'patient',
    metric: 'a',
    above: true,
    threshold: 70,
    recovery: 60,
    forMs: 5 * MINUTE,
    recoverForMs: 2 * MINUTE,
    cooldownMs: 5 * MINUTE,
  },
  {
    id: 'below',
    metric: 'b',
    above: false,
    threshold: 20,
    recovery: 30,
    forMs: 30 * SECOND,
    recoverForMs: 0,
    cooldownMs: HOUR,
  },
  {
    id: 'quick',
    metric: 'b',
    above: true,
    threshold: 50,
    recovery: 50,
    forMs: 10 * SECOND,
    recoverForMs: 45 * SECOND,
    cooldownMs: 0,
  },
]
const hosts = ['h1', 'h2', 'h3']

function begin(): void {
  world = new World()
  world.channels.set('pager', { enabled: true, configured: true, severityFilter: [] })
  for (const rule of rules) {
    const { id, metric, above, threshold, recovery, forMs, recoverForMs, cooldownMs } = rule
    world.engine.createRule(
      {
        id,
        name: id,
        description: '',
        severity: 'warning',
        metricName: metric,
        condition: above ? 'gt' : 'lt',
        threshold,
        recoveryThreshold: recovery,
        forMs,
        recoverForMs,
        cooldownMs,
        channels: ['pager'],
      },
      { by: 'test', claim: null },
    )
  }
  world.carry()
}

const modelKey = (rule: string, host: string) => `${rule} ${host}`

describe(`alerts of random samples, seed ${seed}`, () => {
  test.each([0, 1])(
    'are those of the reference, whatever crashes (run %i)',
    { timeout: 60_000 + 30 * STEPS },
    async (run) => {
      const random = seededRandom(seed + run)
      const chance = (p: number) => random.next() < p
      const upTo = (n: number) => Math.floor(random.next() * n)
      begin()
      const expected: ModelAlert[] = []
      const model = new Map<string, ModelWatch>()
      const series = hosts.flatMap((host) =>
        ['a', 'b'].map((metric) => {
          const id = world.series([
            ['__name__', metric],
            ['host', host],
          ])
          const watches = rules.filter((rule) => rule.metric === metric)
          for (const rule of watches) model.set(modelKey(rule.id, host), new ModelWatch(rule, host, expected))
          return { id, host, metric, value: 50, pace: [10, 30, 60, 200][upTo(4)]! * SECOND, due: world.now + id }
        }),
      )
      /** Each life of the platform counts its own seconds. */
      const everySecond = () =>
        world.scheduler.every(SECOND, () => {
          for (const watch of model.values()) watch.second(world.now)
        })
      let seconds = everySecond()
      /** Only what was fed again is known after a start; the rest waits for its next sample. */
      const afterCrash = (again: ReturnType<World['crash']>) => {
        seconds.cancel()
        seconds = everySecond()
        const known = new Set(again.flatMap((batch) => [...batch.series]))
        for (const { id, host, metric } of series) {
          if (known.has(id)) continue
          for (const rule of rules) if (rule.metric === metric) model.get(modelKey(rule.id, host))!.newest = null
        }
      }
      for (let step = 0; step < STEPS; step++) {
        const due = series.filter((s) => s.due <= world.now)
        const samples = due.map((s) => {
          // A walk with jumps, so that thresholds are crossed in every way.
          s.value = chance(0.05) ? upTo(100) : Math.min(100, Math.max(0, s.value + upTo(21) - 10))
          s.due = world.now + s.pace * (chance(0.01) ? 50 : 1)
          const at = world.now - upTo(400)
          return { series: s.id, at, value: s.value, host: s.host, metric: s.metric }
        })
        if (samples.length > 0) {
          world.push(samples)
          for (const { host, metric, at, value } of samples) {
            for (const rule of rules) if (rule.metric === metric) model.get(modelKey(rule.id, host))!.sample(at, value)
          }
        }
        if (chance(0.02)) world.failures = 1 + upTo(3)
        if (chance(0.7)) world.carry(1 + upTo(5))
        if (chance(0.05)) world.truncate()
        // What the clock alone has moved, and could not be written, would come out at another second after a crash.
        if (chance(0.01) && !world.stuck) {
          world.failures = 0
          afterCrash(world.crash(upTo(10)))
        }
        await world.scheduler.run(1 + upTo(30) * SECOND)
      }
      seconds.cancel()
      world.failures = 0
      await world.settle()
      await world.scheduler.run(5 * SECOND)

      const found = world.db
        .prepare(
          'SELECT rule, labels, triggered_at AS "from", resolved_at AS until FROM alerts ORDER BY triggered_at, rule, labels',
        )
        .all() as { rule: string; labels: string; from: number; until: number | null }[]
      const shown = found.map(({ labels, ...rest }) => ({ ...rest, host: JSON.parse(labels)[1][1] as string }))
      const order = (a: ModelAlert, b: ModelAlert) =>
        a.from - b.from || a.rule.localeCompare(b.rule) || a.host.localeCompare(b.host)
      expect(world.lives).toBeGreaterThan(5)
      // Enough to mean something; how many there are depends on the paces that the seed gives.
      expect(expected.length).toBeGreaterThan(20)
      expect(shown.sort(order)).toEqual(expected.sort(order))

      // Each beginning and each end was told once, in that order.
      const told = world.db
        .prepare(
          'SELECT a.alert AS id, o.event FROM outbox_alerts a JOIN outbox o ON o.id = a.notice ' +
            "WHERE o.event != 'escalated' ORDER BY o.seq",
        )
        .all() as { id: string; event: string }[]
      const byAlert = Map.groupBy(told, (row) => row.id)
      const ended = new Map(
        (world.db.prepare('SELECT id, resolved_at AS at FROM alerts').all() as { id: string; at: number | null }[]).map(
          (row) => [row.id, row.at !== null],
        ),
      )
      expect(byAlert.size).toBe(ended.size)
      for (const [id, rows] of byAlert) {
        expect(rows.map((row) => row.event)).toEqual(ended.get(id) ? ['firing', 'resolved'] : ['firing'])
      }
    },
  )
})
