/** What a policy would have done with the last days, next to what happened, Kubernetes' rule and the optimum. */
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { call } from '../api.ts'
import { useAsked } from '../asked.tsx'
import { Chart } from '../chart.tsx'
import { formatNumber } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { API } from './types.ts'

interface Totals {
  readonly instance_hours: number
  readonly minutes_over_threshold: number
  readonly cost: number
  readonly actions: number
  readonly flaps: number
}

interface Simulation {
  readonly since: string
  readonly until: string
  readonly steps: number
  readonly step_seconds: number
  readonly happened_steps: number
  readonly capacity_per_instance: number
  readonly policy: Totals
  readonly happened: Totals | null
  readonly hpa: Totals
  readonly optimum: Totals
  readonly step: number
  readonly points: readonly { readonly t: string; readonly demand: number; readonly ready: number }[]
}

const PAUSE_MS = 800
const DAYS = 7

export function Replay({ policy }: { policy: Readonly<Record<string, unknown>> }) {
  const meant = JSON.stringify(policy)
  const tested = useSignal(meant)
  useEffect(() => {
    const timer = setTimeout(() => {
      tested.value = meant
    }, PAUSE_MS)
    return () => clearTimeout(timer)
  }, [meant])
  const complete = policy.metric_name !== ''
  const { asked } = useAsked(`simulate ${tested.value} ${complete}`, 3_600_000, async (signal) => {
    if (!complete) return null
    const since = new Date(now.peek() - DAYS * 86_400_000).toISOString()
    const body = { policy: JSON.parse(tested.peek()), since }
    return call<Simulation>('POST', `${API}/policies/simulate`, body, signal)
  })
  const { answer, problem } = asked.value
  const points = answer?.points ?? []
  const each = answer?.capacity_per_instance ?? 0
  const track = answer && {
    from: Date.parse(points[0]?.t ?? answer.since),
    stepMs: answer.step * 1000,
    length: points.length,
    series: { demand: points.map((point) => point.demand), held: points.map((point) => point.ready * each) },
  }
  return (
    <section class="panel" aria-label="Replay">
      <Chart
        title={`The last ${answer ? spanOf(answer) : `${DAYS} days`} with this policy`}
        lines={[
          { key: 'demand', name: 'Demand', unit: 'req/s', axis: 'left' },
          { key: 'held', name: 'Capacity', unit: 'req/s', axis: 'left' },
        ]}
        track={track}
        now={answer ? Date.parse(answer.until) : now.value}
        gapMs={10 * (answer?.step ?? 3600) * 1000}
        left={{ unit: 'req/s', base: 0, top: answer ? null : 1 }}
        stale={false}
        note={answer ? `one instance holds ${formatNumber(each, 'req/s')} req/s` : null}
      />
      {problem && (
        <p class="note refusal" role="status">
          <Icon name="nodata" class="s inline" /> {problem.message}
        </p>
      )}
      {answer && <Compared answer={answer} />}
    </section>
  )
}

/** How long the history is in fact: `40 min`, `31 hours`, `7 days`. */
function spanOf({ since, until }: Simulation): string {
  const minutes = (Date.parse(until) - Date.parse(since)) / 60_000
  if (minutes < 100) return `${Math.max(1, Math.round(minutes))} min`
  return minutes < 47.5 * 60 ? `${Math.round(minutes / 60)} hours` : `${Math.round(minutes / 1440)} days`
}

function Compared({ answer }: { answer: Simulation }) {
  const columns = [
    ['This policy', answer.policy],
    ['What happened', answer.happened],
    ["Kubernetes' rule", answer.hpa],
    ['Hindsight', answer.optimum],
  ] as const
  const rows: readonly (readonly [string, (totals: Totals) => string])[] = [
    ['Instance-hours', (t) => t.instance_hours.toFixed(1)],
    ['Minutes over the limit', (t) => t.minutes_over_threshold.toFixed(1)],
    ['Cost', (t) => t.cost.toFixed(2)],
    ['Changes', (t) => String(t.actions)],
    ['To and fro', (t) => String(t.flaps)],
  ]
  const [knownHours, hours] = [answer.happened_steps, answer.steps].map((steps) =>
    ((steps * answer.step_seconds) / 3600).toFixed(1),
  )
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
    <section class="table-wrap" tabIndex={0} aria-label="Compared">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Over {spanOf(answer)}</th>
            {columns.map(([name]) => (
              <th scope="col" class="n" key={name}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, of]) => (
            <tr key={name}>
              <td>{name}</td>
              {columns.map(([column, totals]) => (
                <td class="n" key={column}>
                  {totals === null ? '–' : of(totals)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {answer.happened !== null && answer.happened_steps < answer.steps && (
        <p class="note">
          What happened is known for {knownHours} of {hours} hours, and sums those alone.
        </p>
      )}
    </section>
  )
}
