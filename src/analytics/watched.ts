/** The platform's own metrics that are always forecast and looked at for insights, and where their limits stand. */
import { type KnownMetric, knownMetrics } from '../metrics/index.ts'

export interface Limit {
  readonly value: number
  readonly side: 'above' | 'below'
}

/** Where the default alert rules fire; what has no rule, where it ends. */
const limits = new Map<string, Limit>(
  Object.entries({
    'system.cpu_usage': { value: 80, side: 'above' },
    'system.memory_usage': { value: 85, side: 'above' },
    'system.disk_usage': { value: 90, side: 'above' },
    'system.memory_available': { value: 0, side: 'below' },
    'system.disk_free': { value: 0, side: 'below' },
    'application.api_response_time': { value: 200, side: 'above' },
    'cache.hit_rate': { value: 70, side: 'below' },
  }),
)

/** Counters say little as they stand; their rates are series of their own. */
const counters = new Set(['system.network_bytes_sent', 'system.network_bytes_recv'])

export const watchedMetrics: readonly KnownMetric[] = knownMetrics.filter((metric) => !counters.has(metric.name))

export const limitOf = (name: string): Limit | null => limits.get(name) ?? null
