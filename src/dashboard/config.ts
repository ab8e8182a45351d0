/** What can be configured of the dashboard, and the limits that its cards, headline and score judge by. */
import type { ConfigOf } from '../base/config-key.ts'
import { integer, number, seconds } from '../base/config-key.ts'

const limit = (path: string, fallback: number, what: string, max: number, unit: string) =>
  number(`thresholds.${path}`, fallback, {
    file: 'performance.yaml',
    help: `${what}.`,
    min: 0,
    max,
    unit,
    live: true,
  })

export const dashboardKeys = {
  period: seconds('dashboard.period', 2, {
    help: 'How often an open dashboard gets a message.',
    min: 0.2,
    max: 60,
    live: true,
  }),
  trendWindow: seconds('dashboard.trend_window', 300, {
    help: 'Trend and change compare the mean of this long with the mean of as long before.',
    min: 30,
    max: 1_800,
    live: true,
  }),
  clientsMax: integer('dashboard.clients_max', 2_000, {
    help: 'Most dashboards open at once; more are closed with 1013.',
    min: 1,
    max: 100_000,
    live: true,
  }),
  cpuWarning: limit('cpu_usage.warning', 70, 'CPU from which a card warns and the score falls', 100, '%'),
  cpuCritical: limit('cpu_usage.critical', 85, 'CPU that is critical', 100, '%'),
  memoryWarning: limit('memory_usage.warning', 75, 'Memory from which a card warns and the score falls', 100, '%'),
  memoryCritical: limit('memory_usage.critical', 90, 'Memory that is critical', 100, '%'),
  responseWarning: limit(
    'response_time.warning',
    100,
    'Response time (p95) from which a card warns and the score falls',
    600_000,
    'ms',
  ),
  responseCritical: limit('response_time.critical', 200, 'Response time (p95) that is critical', 600_000, 'ms'),
  hitRateWarning: limit(
    'cache_hit_rate.warning',
    80,
    'Cache hit rate under which a card warns and the score falls',
    100,
    '%',
  ),
  hitRateCritical: limit('cache_hit_rate.critical', 70, 'Cache hit rate that is critical', 100, '%'),
}

export type DashboardConfig = ConfigOf<typeof dashboardKeys>
