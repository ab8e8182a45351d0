/** What the dashboard reads, made from the metrics façade, the query worker, and what front tells of its processes. */
import type { Clock } from '../base/clock.ts'
import { DAY } from '../base/time.ts'
import type { DashboardSources } from '../dashboard/index.ts'
import type { Metrics, QueryService } from '../metrics/index.ts'
import { labelsOf, PLATFORM_LABEL, storedName } from '../metrics/index.ts'
import type { Events } from './events.ts'
import type { Health } from './health.ts'

export interface DashboardSourcesDeps {
  readonly metrics: Pick<Metrics, 'latest'>
  readonly queries: Pick<QueryService, 'call'>
  readonly health: Health
  readonly events: Events
  readonly clock: Clock
  intervalMs(): number
}

const platform = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }

export function dashboardSources(deps: DashboardSourcesDeps): DashboardSources {
  const { metrics, queries, health, events, clock, intervalMs } = deps
  return {
    async latest(names) {
      const found = await Promise.all(names.map((name) => metrics.latest(labelsOf(storedName(name), platform))))
      const fresh = names.flatMap((name, i) => {
        const sample = found[i]
        if (!sample || !Number.isFinite(sample.value) || sample.time < clock.now() - DAY) return []
        return [[name, { at: sample.time, value: sample.value }] as const]
      })
      return new Map(fresh)
    },
    async range(name, from, to, stepMs) {
      const request = { name: storedName(name), labels: platform, from, until: to, stepMs, seriesMax: 0 }
      const { points } = await queries.call('points', request)
      return { times: points.times, values: points.mean }
    },
    processes: () => health.processes,
    events: (since, until) => events.between(since, until),
    intervalMs,
  }
}
