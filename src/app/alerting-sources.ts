/** What alerting asks of metrics and analytics: expressions and samples, anomalies, forecasts, what else moved. */
import type { Sources } from '../alerting/index.ts'
import type { Analytics, Prediction } from '../analytics/index.ts'
import type { Clock } from '../base/clock.ts'
import { MINUTE } from '../base/time.ts'
import { apiName, type Labels, labelsOf, type QueryService } from '../metrics/index.ts'

export interface AlertingSourcesDeps {
  readonly queries: QueryService
  /** Built after alerting. */
  readonly analytics: () => Pick<Analytics, 'anomalies' | 'forecasts' | 'asked'>
  readonly clock: Clock
}

/** An onset counts as a present anomaly for so long: detection raises one, and another when it goes on. */
const ANOMALOUS_MS = 5 * MINUTE
const ANOMALIES_MAX = 1000
const CORRELATED_MAX = 20

export function alertingSources({ queries, analytics, clock }: AlertingSourcesDeps): Sources {
  return {
    evaluate(text, start, end, step, signal) {
      const args = { text, start, end, step, limit: 0, lookbackMs: null, stats: false }
      return queries.call('evaluate', args, signal ? { signal } : {})
    },
    selectors: (expr) => queries.call('selectors', expr),
    async checkExpr(expr) {
      const { status, body } = await queries.call('format', expr)
      return status === 200 ? null : (JSON.parse(new TextDecoder().decode(body)) as { error: string }).error
    },
    async anomalies(metric) {
      const since = clock.now() - ANOMALOUS_MS
      const found = analytics().anomalies.list({ metricName: apiName(metric), since, limit: ANOMALIES_MAX })
      const strongest = new Map<string, { labels: Labels; score: number }>()
      for (const { labels: pairs, score } of found) {
        const labels = labelsOf(metric, pairs)
        const key = JSON.stringify(labels)
        if (score > (strongest.get(key)?.score ?? -1)) strongest.set(key, { labels, score })
      }
      return [...strongest.values()]
    },
    async forecasts(metric, horizonMinutes) {
      analytics().asked(apiName(metric))
      const bySeries = new Map<string, Prediction[]>()
      for (const one of analytics().forecasts.latestOfAll(apiName(metric))) {
        const key = JSON.stringify(one.labels)
        bySeries.set(key, [...(bySeries.get(key) ?? []), one])
      }
      return [...bySeries.values()].flatMap((all) => {
        // The rule's own horizon, or the next one that is forecast.
        const one = all
          .filter(({ horizon }) => horizon >= horizonMinutes)
          .reduce<Prediction | null>((a, b) => (a === null || b.horizon < a.horizon ? b : a), null)
        if (!one) return []
        const { lower80, upper80, standing } = one
        return [{ labels: labelsOf(metric, one.labels), lower: lower80, upper: upper80, earned: standing === 'in_use' }]
      })
    },
    async correlated(alert, since, until) {
      const own = JSON.stringify(alert.labels)
      const metrics = new Set<string>()
      return (
        analytics()
          .anomalies.list({ since, until, limit: ANOMALIES_MAX })
          .filter(({ metricName }) => !metricName.endsWith('_bucket'))
          .map((one) => ({
            metricName: one.metricName,
            labels: labelsOf(one.metricName.replaceAll('.', '_'), one.labels),
            startedAt: one.at,
            strength: one.score,
            description: one.description,
          }))
          .filter(({ labels }) => JSON.stringify(labels) !== own)
          .sort((a, b) => b.strength - a.strength)
          // Of each metric the series that moved most: a metric of many series is still one thing that moved.
          .filter(({ metricName }) => !metrics.has(metricName) && metrics.add(metricName))
          .slice(0, CORRELATED_MAX)
      )
    },
  }
}
