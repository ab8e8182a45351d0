/**
 * The dashboard's sources over the store of metrics: the platform's own series, read where others read them. What front
 * tells of processes is handed through.
 */
import type { Millis } from '../base/time.ts'
import type { Labels, PointsAnswer, PointsRequest } from '../metrics/index.ts'
import { labelsOf, PLATFORM_LABEL, storedName } from '../metrics/index.ts'
import type { DashboardSources, EventView, Point } from './sources.ts'

export interface MetricsSourcesDeps extends Pick<DashboardSources, 'processes' | 'events' | 'intervalMs'> {
  /** The newest sample of exactly these labels. */
  latest(labels: Labels): Promise<{ readonly time: Millis; readonly value: number } | null>
  points(request: PointsRequest): Promise<PointsAnswer>
}

const OWN = { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] }

export function metricsSources(deps: MetricsSourcesDeps): DashboardSources {
  return {
    async latest(names) {
      const found = await Promise.all(names.map((name) => deps.latest(labelsOf(storedName(name), OWN))))
      const points = new Map<string, Point>()
      names.forEach((name, i) => {
        const sample = found[i]
        if (sample && Number.isFinite(sample.value)) points.set(name, { at: sample.time, value: sample.value })
      })
      return points
    },
    async range(name, from, to, stepMs) {
      const request = { name: storedName(name), labels: OWN, from, until: to, stepMs, seriesMax: 1 }
      const { points } = await deps.points(request)
      return { times: points.times, values: points.mean }
    },
    processes: deps.processes,
    events: deps.events,
    intervalMs: deps.intervalMs,
  }
}

/** What happened lately, oldest first; the oldest make room. */
export interface EventLog {
  add(event: EventView): void
  between(since: Millis, until: Millis): readonly EventView[]
}

export function createEventLog(max = 1000): EventLog {
  let events: readonly EventView[] = []
  return {
    add(event) {
      events = [...events, event].sort((a, b) => a.at - b.at).slice(-max)
    },
    between: (since, until) => events.filter((event) => event.at >= since && event.at <= until),
  }
}

/** What front tells of a process, as an event. Steps on the way are minor: the charts mark only where they lead. */
export function processEvent(event: {
  readonly at: Millis
  readonly process: string
  readonly type: string
  readonly detail: string
}): EventView {
  return {
    at: event.at,
    type: 'process',
    subject: event.process,
    action: event.type,
    detail: event.detail,
    minor: event.type === 'started' || event.type === 'restarting',
  }
}
