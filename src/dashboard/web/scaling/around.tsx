/** The picture of a decision: demand against capacity around it, and what was forecast beside what came. */
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { Chart } from '../chart.tsx'
import { formatNumber } from '../format.ts'
import { API, type Forecast, type Timeline, type Trace } from './types.ts'

const BEFORE_MS = 20 * 60_000
const AFTER_MS = 40 * 60_000
const STEP_S = 15

export function Around({ trace }: { trace: Trace }) {
  const at = Date.parse(trace.created_at)
  const { asked, again } = useAsked(`around ${trace.id}`, 15_000, async (signal) => {
    const until = Math.min(Date.now(), at + AFTER_MS)
    const query = new URLSearchParams({
      target: trace.target,
      since: new Date(at - BEFORE_MS).toISOString(),
      until: new Date(until).toISOString(),
      step: String(STEP_S),
    })
    return { answer: await call<Timeline>('GET', `${API}/timeline?${query}`, undefined, signal), until }
  })
  const { answer: held, problem } = asked.value
  const points = held?.answer.points ?? []
  const forecast = trace.forecast.map((one) => ({ ...one, at: Date.parse(one.target_time) }))
  const end = held?.until ?? at
  const from = Date.parse(points[0]?.t ?? trace.created_at)
  const track = held && {
    from,
    stepMs: STEP_S * 1000,
    length: points.length,
    series: {
      demand: points.map((point) => point.demand),
      capacity: points.map((point) => point.capacity),
      forecast: points.map((point) => expected(forecast, Date.parse(point.t), 'value')),
      lower: points.map((point) => expected(forecast, Date.parse(point.t), 'lower')),
      upper: points.map((point) => expected(forecast, Date.parse(point.t), 'upper')),
    },
  }
  const mark = {
    id: trace.id,
    timestamp: trace.created_at,
    type: 'scaling' as const,
    title: trace.action === 'maintain' ? 'decided' : `to ${trace.target_instances}`,
    detail: trace.reason,
    subject: trace.target,
  }
  const shared = {
    track,
    now: end,
    gapMs: 180_000,
    left: { unit: 'req/s', base: 0, top: points.some((point) => point.demand !== null) ? null : 1 },
    events: [mark],
    stale: problem !== null,
  }
  const each = trace.capacity_per_instance
  const last = forecast.at(-1)
  return (
    <section class="panel" aria-label="Demand and capacity around it">
      <Chart
        title="Demand and capacity around it"
        lines={[
          { key: 'demand', name: 'Demand', unit: 'req/s', axis: 'left' },
          { key: 'capacity', name: 'Capacity', unit: 'req/s', axis: 'left', or: 'demand', nothing: 'not learnt yet' },
        ]}
        {...shared}
        note={each === null ? null : `one instance held ${formatNumber(each, 'req/s')} req/s, as learnt by then`}
      />
      {last && (
        <Chart
          title="What was forecast, and what came"
          lines={[
            { key: 'forecast', name: 'Forecast', unit: 'req/s', axis: 'left' },
            { key: 'demand', name: 'Demand', unit: 'req/s', axis: 'left' },
          ]}
          band={{ lower: 'lower', upper: 'upper', name: 'Interval of the forecast' }}
          {...shared}
          ahead={{ forecast: forecast.filter((one) => one.at > end) }}
          note={`the interval at its end: ${formatNumber(last.lower, 'req/s')} to ${formatNumber(last.upper, 'req/s')} req/s`}
        />
      )}
      {problem && <Problem problem={problem} again={again} />}
    </section>
  )
}

/** The forecast at a moment, straight between its points; null outside of them. */
function expected(
  forecast: readonly (Forecast & { readonly at: number })[],
  at: number,
  what: 'value' | 'lower' | 'upper',
): number | null {
  const i = forecast.findIndex((one) => one.at >= at)
  const [before, after] = [forecast[i - 1], forecast[i]]
  if (!after || (!before && after.at !== at)) return null
  if (!before) return after[what]
  return before[what] + ((after[what] - before[what]) * (at - before.at)) / (after.at - before.at)
}
