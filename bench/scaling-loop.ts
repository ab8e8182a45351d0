/**
 * Scaling in a closed loop with real processes. Build first; each part by itself:
 *
 *   node bench/scaling-loop.ts ins [COUNT]       scale-ins under load: how many requests failed
 *   node bench/scaling-loop.ts kills [COUNT]     control killed while scaling: does it converge, is anything left behind
 *   node bench/scaling-loop.ts day [MINUTES]     a day's traffic, cost and violation beside those of the simulator
 */
import { type DecideSettings, type HistoryRow, simulate } from '../src/scaling/index.ts'
import { eventually, sleep } from '../test/support/platform.ts'
import { startLoad, startWorld, type World } from '../test/support/scaling/world.ts'

const [part = 'ins', amount] = process.argv.slice(2)
const say = (what: object) => process.stdout.write(`${JSON.stringify(what)}\n`)

const steady = (world: World, count: number) =>
  eventually(
    () => world.counts().catch(() => null),
    (now) => now?.ready === count && now.wanted === count && now.starting === 0 && now.draining === 0,
    60_000,
  )
const wish = (world: World, count: number) =>
  eventually(
    () => world.api('POST', '/scale-manual', { target: 'web', target_instances: count, hold_for: 600 }),
    ({ status }) => status === 200,
    30_000,
  )

async function ins(count: number): Promise<void> {
  const world = await startWorld({ workers: 2, serviceMs: 20, startMs: 0, evaluationSeconds: 5, policies: [] })
  try {
    await wish(world, 6)
    await steady(world, 6)
    const load = startLoad(world, 300)
    load.rate = 100
    await sleep(1000)
    let done = 0
    const before = process.cpuUsage()
    while (done < count) {
      // Four go one after the other while requests are under way; then they come back.
      for (const to of [5, 4, 3, 2]) {
        if (done >= count) break
        await wish(world, to)
        await steady(world, to)
        done++
      }
      await wish(world, 6)
      await steady(world, 6)
    }
    await load.stop()
    const { user, system } = process.cpuUsage(before)
    const { sent, answered, slow, failures } = load
    const cpuSeconds = (user + system) / 1e6
    say({
      part: 'ins',
      scaleIns: done,
      sent,
      answered,
      failed: failures.length,
      slow,
      first: failures[0] ?? null,
      cpuSeconds,
    })
  } finally {
    await world.remove()
  }
}

async function kills(count: number): Promise<void> {
  const world = await startWorld({ workers: 2, serviceMs: 20, startMs: 300, evaluationSeconds: 1, policies: [] })
  const seed = Date.now() % 100_000
  let state = seed
  const dice = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
  let converged = 0
  let orphans = 0
  try {
    await steady(world, 1)
    for (let i = 0; i < count; i++) {
      const wanted = 1 + Math.floor(dice() * 8)
      await wish(world, wanted)
      await sleep(dice() * 600)
      const control = world.platform.processes().find(({ kind }) => kind === 'control')
      if (control) process.kill(control.pid, 'SIGKILL')
      await steady(world, wanted)
      await eventually(
        async () => world.alive().length,
        (alive) => alive <= wanted,
        15_000,
      ).catch(() => {})
      orphans = Math.max(orphans, world.alive().length - wanted)
      converged++
    }
    await world.platform.stop()
    say({ part: 'kills', seed, kills: count, converged, orphans, leftAfterStop: world.alive().length })
  } finally {
    await world.remove()
  }
}

const policy = {
  name: 'web_cpu',
  metric_name: 'cpu_usage',
  scale_up_threshold: 70,
  scale_down_threshold: 35,
  min_instances: 1,
  max_instances: 10,
  cooldown_period: 3,
  clear_for: 6,
  predictive: 'off',
}

/** A working day: quiet night, a morning that rises, a dip at noon, an evening peak; requests/s at 0 to 1. */
const demandAt = (x: number) =>
  20 + 90 * Math.max(0, Math.sin(Math.PI * (x * 1.5 - 0.4))) ** 2 + 130 * Math.exp(-(((x - 0.8) / 0.06) ** 2))

async function day(minutes: number): Promise<void> {
  const [workers, serviceMs, startMs, cycleS, limitMs] = [4, 100, 1500, 1, 250]
  const world = await startWorld({
    workers,
    serviceMs,
    startMs,
    evaluationSeconds: cycleS,
    limitMs,
    policies: [policy],
  })
  try {
    await steady(world, 1)
    const rows: HistoryRow[] = []
    let [instanceSeconds, overSeconds] = [0, 0]
    const load = startLoad(world, limitMs, cycleS * 1000, ({ seconds, arrived, times, ready }) => {
      const mean = times.length === 0 ? 0 : times.reduce((a, b) => a + b, 0) / times.length
      const running = world.alive().length
      instanceSeconds += running * seconds
      if (mean > limitMs) overSeconds += seconds
      rows.push({ at: rows.length * cycleS * 1000, demand: arrived / seconds, cpu: null, responseMs: mean, ready })
    })
    const began = performance.now()
    const lasts = minutes * 60_000
    for (let past = 0; past < lasts; past = performance.now() - began) {
      load.rate = demandAt(past / lasts)
      await sleep(200)
    }
    await load.stop()
    const settings: DecideSettings = {
      target: {
        name: 'web',
        driver: 'process',
        minInstances: 1,
        maxInstances: 10,
        limitMs,
        demand: 'web_requests_per_second',
        cpu: 'web_cpu_usage',
        responseTime: 'web_response_time',
        economics: { pricePerInstanceHour: 0.1, slowPerMillion: 5, lostPerMillion: 50, currency: null },
        schedules: [],
        events: [],
        startUpMs: startMs,
      },
      policies: [
        {
          name: policy.name,
          target: 'web',
          metricName: 'system.cpu_usage',
          scaleUpThreshold: policy.scale_up_threshold,
          scaleDownThreshold: policy.scale_down_threshold,
          minInstances: 1,
          maxInstances: 10,
          cooldownPeriod: policy.cooldown_period,
          enabled: true,
          breachFor: 0,
          clearFor: policy.clear_for,
          maxStepUp: '50%',
          maxStepDown: '50%',
          predictive: 'off',
          onMissingMetric: 'hold',
          fallbackInstances: null,
          version: 1,
        },
      ],
      globalMin: 1,
      globalMax: 10,
      pause: null,
      hold: null,
      cycleMs: cycleS * 1000,
    }
    // What is known of the service: so many requests at once, so long each.
    const rate = (1000 * workers) / serviceMs
    const fit = { serviceMs, workers, factor: 1 }
    const service = { rate, knee: 0.9, fit, limitMs }
    const { policy: simulated } = simulate(rows, settings, { service })
    const hours = instanceSeconds / 3600
    say({
      part: 'day',
      minutes,
      requests: load.sent,
      failed: load.failures.length,
      real: { instanceHours: hours, minutesOver: overSeconds / 60, slow: load.slow },
      simulated: {
        instanceHours: simulated.instanceHours,
        minutesOver: simulated.minutesOverLimit,
        slow: simulated.slowRequests,
      },
      costRatio: hours / simulated.instanceHours,
    })
  } finally {
    await world.remove()
  }
}

if (part === 'ins') await ins(Number(amount ?? 100))
else if (part === 'kills') await kills(Number(amount ?? 20))
else if (part === 'day') await day(Number(amount ?? 10))
else throw new Error(`ins, kills or day, not ${part}`)
