/** The overview: the state of the world in one sentence, six figures, two charts, and what needs somebody. */
import type { DashboardState } from '../protocol.ts'
import { formatLimit } from '../protocol.ts'
import { Cards } from './cards.tsx'
import type { Limit } from './chart.tsx'
import { Chart } from './chart.tsx'
import { chart, events, now, old, state } from './live.ts'
import { Alerts, Engines, Headline, Insights, Instances } from './panels.tsx'

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
