/** Every key of the platform, by room, and the laws between keys. A new room is one line here. */
import { alertingKeys } from '../alerting/config.ts'
import { analyticsKeys } from '../analytics/config.ts'
import type { ConfigKey, ConfigOf } from '../base/config-key.ts'
import { dashboardKeys } from '../dashboard/config.ts'
import { edgeKeys } from '../edge/config.ts'
import { identityKeys } from '../identity/config.ts'
import { marketKeys } from '../market/config.ts'
import { metricsKeys } from '../metrics/config.ts'
import { scalingKeys } from '../scaling/config.ts'
import { platformKeys } from './platform-keys.ts'
import { optimizerKeys } from './spec-keys.ts'

export const rooms = {
  platform: platformKeys,
  identity: identityKeys,
  edge: edgeKeys,
  metrics: metricsKeys,
  dashboard: dashboardKeys,
  analytics: analyticsKeys,
  alerting: alertingKeys,
  scaling: scalingKeys,
  optimizer: optimizerKeys,
  market: marketKeys,
} as const

/** The values of every room: `config.metrics.retention`. */
export type Values = { readonly [R in keyof typeof rooms]: ConfigOf<(typeof rooms)[R]> }

/** All keys by their path. */
export const keys: ReadonlyMap<string, ConfigKey<unknown>> = new Map(
  Object.values(rooms).flatMap((room) => Object.values(room).map((key) => [key.path, key as ConfigKey<unknown>])),
)

/** Two keys that contradict each other: the one to mend, and what would be right. */
export function contradictions(values: Values): { path: string; expected: string }[] {
  const wrong: { path: string; expected: string }[] = []
  const atMost = (low: number, high: number, path: string, other: string) => {
    if (low > high) wrong.push({ path, expected: `at most ${high}, the value of ${other}` })
  }
  const { scaling, dashboard } = values
  atMost(scaling.minInstances, scaling.maxInstances, 'scaling.min_instances', 'scaling.max_instances')
  for (const [metric, warning, critical] of [
    ['cpu_usage', dashboard.cpuWarning, dashboard.cpuCritical],
    ['memory_usage', dashboard.memoryWarning, dashboard.memoryCritical],
    ['response_time', dashboard.responseWarning, dashboard.responseCritical],
  ] as const) {
    atMost(warning, critical, `thresholds.${metric}.warning`, `thresholds.${metric}.critical`)
  }
  atMost(
    dashboard.hitRateCritical,
    dashboard.hitRateWarning,
    'thresholds.cache_hit_rate.critical',
    'thresholds.cache_hit_rate.warning',
  )
  return wrong
}
