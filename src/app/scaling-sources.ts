/** What scaling asks of metrics, analytics and front: values and forecasts, the platform's own instances. */
import type { Analytics } from '../analytics/index.ts'
import type { Scheduler } from '../base/scheduler.ts'
import { apiName, knownMetric, PLATFORM_LABEL, type QueryService } from '../metrics/index.ts'
import type { Combine, PlatformPort, ScalingSources, Told } from '../scaling/index.ts'
import type { Health } from './health.ts'
import type { ProcessStatus } from './ipc.ts'

export interface ScalingSourcesDeps {
  readonly queries: QueryService
  readonly analytics: () => Pick<Analytics, 'forecasts'>
}

/** Series under one expression are combined; more than this many are no figure of a target. */
const SERIES_MAX = 10_000
const COVERAGE = 0.8
const READ_WITHIN_MS = 5_000

export function scalingSources({ queries, analytics }: ScalingSourcesDeps): ScalingSources {
  const evaluate = (text: string, start: number, end: number, step: number, lookbackMs: number) => {
    const args = { text, start, end, step, limit: SERIES_MAX, lookbackMs, stats: false }
    // A cycle does not wait for the store: what comes late is missing.
    return queries.call('evaluate', args, step === 0 ? { timeoutMs: READ_WITHIN_MS } : {})
  }
  return {
    async read(expr, combine, maxAgeMs, at) {
      const { series } = await evaluate(expr, at, at, 0, maxAgeMs)
      const values = chosen(series).map(({ values }) => values.at(-1)!)
      return combined(values, combine)
    },
    async range(expr, combine, from, until, stepMs) {
      const { series } = await evaluate(expr, from, until, stepMs, Math.max(stepMs, 60_000))
      const steps = Math.floor((until - from) / stepMs) + 1
      const rows: number[][] = Array.from({ length: steps }, () => [])
      for (const { times, values } of chosen(series)) {
        for (let i = 0; i < times.length; i++) rows[Math.round((times[i]! - from) / stepMs)]?.push(values[i]!)
      }
      return rows.map((values) => combined(values, combine))
    },
    forecast(name) {
      const of = knownMetric(name) ? { [PLATFORM_LABEL[0]]: PLATFORM_LABEL[1] } : null
      const mine = analytics()
        .forecasts.latest(apiName(name))
        .filter(({ labels, standing }) => {
          if (standing !== 'in_use') return false
          return of === null || labels[PLATFORM_LABEL[0]] === PLATFORM_LABEL[1]
        })
      return mine.map(({ target, value, lower80, upper80 }) => {
        return { at: target, value, lower: lower80, upper: upper80, coverage: COVERAGE }
      })
    },
  }
}

interface Answer {
  readonly labels: readonly (readonly [string, string])[]
  readonly times: Float64Array
  readonly values: Float64Array
}

/** A series without labels but the platform's stands for the name alone: its quantiles and parts are left out. */
function chosen(series: readonly Answer[]): readonly Answer[] {
  const filled = series.filter(({ values }) => values.length > 0)
  const plain = filled.find(({ labels }) =>
    labels.every(([name, value]) => name === '__name__' || (name === PLATFORM_LABEL[0] && value === PLATFORM_LABEL[1])),
  )
  return plain ? [plain] : filled
}

function combined(values: readonly number[], combine: Combine): number | null {
  const finite = values.filter(Number.isFinite)
  if (finite.length === 0) return null
  if (combine === 'max') return finite.reduce((a, b) => Math.max(a, b))
  const sum = finite.reduce((a, b) => a + b, 0)
  return combine === 'sum' ? sum : sum / finite.length
}

/** The part of the channel to front that counts instances. */
export interface InstancesChannel {
  onInstances(listener: (wanted: number, fence: number) => void): void
  instances(wanted: number, fence: number): void
}

/** Front, as the driver of the platform's own instances needs it. */
export function platformPort(
  parent: InstancesChannel,
  health: Pick<Health, 'processes'>,
  scheduler: Scheduler,
): PlatformPort {
  let told: Told | null = null
  const listeners = new Set<(told: Told) => void>()
  parent.onInstances((wanted, fence) => {
    told = { wanted, fence }
    for (const listener of listeners) listener(told)
  })
  return {
    instances: () => health.processes.filter(({ kind }) => kind === 'instance').map(instanceOf),
    told: () => told,
    onTold(listener) {
      listeners.add(listener)
      return { cancel: () => void listeners.delete(listener) }
    },
    send({ wanted, fence }) {
      // Front tells of changes alone: a number that it keeps already is taken at once.
      if (told !== null && told.wanted === wanted && fence >= told.fence) {
        const kept = { wanted, fence }
        told = kept
        scheduler.after(0, () => {
          for (const listener of listeners) listener(kept)
        })
      }
      parent.instances(wanted, fence)
    },
  }
}

const instanceOf = ({ id, state, startedAt, readyAt, inFlight, pid }: ProcessStatus) => ({
  id,
  state,
  startedAt,
  readyAt,
  inFlight,
  pid,
})
