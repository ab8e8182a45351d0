/**
 * The engine of alerting with many alerts: `node bench/alerting-engine.ts [alerts]`. Opens a storm, shows pages,
 * acknowledges, and lets all end, on a real database with synchronous commits.
 */
import { seededRandom } from '../src/base/random.ts'
import { World } from '../test/support/alerting-world.ts'

const many = Number(process.argv[2] ?? 100_000)
const world = new World()
world.db.pragma('synchronous = FULL')
world.channels.set('pager', { enabled: true, configured: true, severityFilter: [] })
const someone = { by: 'bench', claim: null }
const draft = { description: '', channels: ['pager'], condition: 'gt', threshold: 50 } as const
world.engine.createRule({ ...draft, id: 'burst', name: 'Burst', severity: 'critical', metricName: 'burst' }, someone)
world.engine.createRule({ ...draft, id: 'many', name: 'Many', severity: 'warning', metricName: 'many' }, someone)
world.carry()
const say = (what: string) => void process.stdout.write(`${what}\n`)
const random = seededRandom(1)

function timed<T>(what: string, work: () => T): T {
  const wall = performance.now()
  const before = process.cpuUsage()
  const value = work()
  const { user, system } = process.cpuUsage(before)
  say(`${what.padEnd(58)} ${(performance.now() - wall).toFixed(1)} ms, ${((user + system) / 1e3).toFixed(1)} ms of CPU`)
  return value
}

/** Each of `times` separately: the median and the worst but one in a hundred. */
function often(what: string, times: number, work: (i: number) => void): void {
  const all = Float64Array.from({ length: times }, (_, i) => {
    const began = performance.now()
    work(i)
    return performance.now() - began
  }).sort()
  const at = (q: number) => all[Math.min(times - 1, Math.floor(q * times))]!.toFixed(2)
  say(`${what.padEnd(58)} p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`)
}

const seriesOf = (metric: string, n: number) =>
  Array.from({ length: n }, (_, i) =>
    world.series([
      ['__name__', metric],
      ['host', `h${i}`],
      ['job', 'bench'],
    ]),
  )
const burst = seriesOf('burst', 1000)
world.push(burst.map((series) => ({ series, at: world.now, value: 90 })))
timed('1,000 alerts of one batch open, each told by itself', () => world.carry())
world.settings = { ...world.settings, groupWindowMs: 300_000 }
const storm = seriesOf('many', many)
for (let first = 0; first < many; first += 10_000) {
  world.push(storm.slice(first, first + 10_000).map((series) => ({ series, at: world.now, value: 90 })))
}
const wall = performance.now()
while (world.up.length > 0) world.carry(1)
await world.settle()
say(`${many} alerts open, held for digests: ${((performance.now() - wall) / many).toFixed(3)} ms each`)
await world.scheduler.run(6000)
const active = world.store.list({ sort: 'newest', limit: 1000, statuses: ['active'] })
often('first page of 50, newest first', 200, () => void world.store.list({ sort: 'newest', limit: 50 }))
often('first page of 50, those that need somebody first', 200, () => {
  world.store.list({ sort: 'needs_attention', limit: 50 })
})
often('acknowledge one', 200, (i) => void world.engine.acknowledge(active[i]!.id, 'ann', someone))
often('resolve one by hand', 200, (i) => void world.engine.resolve(active[300 + i]!.id, null, undefined, someone))
often('one alert opens, by itself', 100, (i) => {
  world.push([
    {
      series: world.series([
        ['__name__', 'burst'],
        ['host', `x${i}`],
        ['n', String(random.next())],
      ]),
      at: world.now,
      value: 90,
    },
  ])
  world.carry()
})
timed('start on this database', () => void world.crash(0))
world.remove()
