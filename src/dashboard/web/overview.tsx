/** The overview: the state of the world in one sentence, six figures, two charts, and what needs somebody. */
import type { DashboardState, FigureKey } from '../protocol.ts'
import { FIGURE_NAMES, formatLimit, RANGES } from '../protocol.ts'
import { range } from './address.ts'
import { Alerts } from './alerts/panel.tsx'
import { Cards } from './cards.tsx'
import type { Limit, Mark } from './chart.tsx'
import { Chart } from './chart.tsx'
import { aheadOf, withdrawnWhy } from './forecast.ts'
import { Insights } from './insights.tsx'
import { anomalies, chart, events, now, old, state } from './live.ts'
import { Engines, Headline, Instances } from './panels.tsx'

export function Overview() {
  const current = state.value
  const track = chart.value?.track ?? null
  // Nothing shorter than one bucket can be seen as a gap.
  const gapMs = Math.max((current?.fresh_for ?? 15) * 1000, track?.stepMs ?? 0)
  const shared = { track, now: now.value, gapMs, stale: old.value }
  return (
    <main
      id="main"
      class={`page${current ? '' : ' is-loading'}${old.value ? ' is-stale' : ''}`}
      aria-busy={current ? undefined : 'true'}
    >
      <Headline />
      <div class="board">
        <div class="rail">
          <Alerts />
          <Instances />
        </div>
        <Cards />
        <section class="panel" id="p-c1">
          <Chart
            {...shared}
            {...looks(current, ['cpu_usage', 'memory_usage'])}
            title="System performance over time"
            lines={[
              { key: 'cpu_usage', name: 'CPU', unit: '%', axis: 'left' },
              { key: 'memory_usage', name: 'Memory', unit: '%', axis: 'left' },
            ]}
            left={{ unit: '%', base: 0, top: 100 }}
            limits={limit(current, 'cpu_usage', 'left', 'CPU limit')}
            events={events.value}
          />
        </section>
        <section class="panel" id="p-c2">
          <Chart
            {...shared}
            {...looks(current, ['cache_hit_rate', 'response_time'])}
            title="Cache performance analysis"
            lines={[
              { key: 'cache_hit_rate', name: 'Hit rate', unit: '%', axis: 'left' },
              {
                key: 'response_time',
                name: 'Response time',
                unit: 'ms',
                axis: 'right',
                or: 'throughput',
                nothing: 'no requests',
              },
            ]}
            left={{ unit: '%', base: null, top: 100 }}
            right={{ unit: 'ms' }}
            limits={limit(current, 'response_time', 'right', 'limit')}
            events={events.value}
          />
        </section>
        <Insights />
      </div>
      <Engines />
    </main>
  )
}

const WORDS: Readonly<Partial<Record<FigureKey, string>>> = {
  cpu_usage: 'CPU',
  memory_usage: 'memory',
  cache_hit_rate: 'hit rate',
  response_time: 'response time',
}

/** What analytics has to say of the lines of a chart: their forecasts, why one is withdrawn, their anomalies. */
function looks(current: DashboardState | null, keys: readonly FigureKey[]) {
  const rangeMs = RANGES[chart.value?.range ?? range.value].seconds * 1000
  const forecast = (key: FigureKey) => current?.forecast[key] ?? []
  const withdrawn = keys.filter((key) => withdrawnWhy(forecast(key), now.value) !== null)
  const marks = keys.flatMap((key): Mark[] =>
    anomalies.value.filter((one) => one.metric_name === FIGURE_NAMES[key]).map((anomaly) => ({ line: key, anomaly })),
  )
  return {
    ahead: Object.fromEntries(keys.map((key) => [key, aheadOf(forecast(key), now.value, rangeMs)])),
    marks: marks.sort((a, b) => (a.anomaly.timestamp < b.anomaly.timestamp ? -1 : 1)),
    note:
      withdrawn.length === 0
        ? null
        : `no forecast of ${withdrawn.map((key) => WORDS[key]).join(' and ')}: a plain guess does better`,
  }
}

/** The limit that is next: the warning, or the critical one once the warning is passed. */
function limit(
  current: DashboardState | null,
  key: 'cpu_usage' | 'response_time',
  axis: Limit['axis'],
  name: string,
): Limit[] {
  const figure = current?.figures[key]
  if (!figure?.limits) return []
  const value = figure.threshold_state === 'critical' ? figure.limits.critical : figure.limits.warning
  return [{ value, axis, text: `${name} ${formatLimit(value, figure.unit)}` }]
}
