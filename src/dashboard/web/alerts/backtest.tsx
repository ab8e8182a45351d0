/** What a rule would have done with the last days, next to the stored one: the series, when it fired, whom it told. */
import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { call } from '../api.ts'
import { problemOf, useAsked } from '../asked.tsx'
import { Chart } from '../chart.tsx'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { trackOf } from './track.ts'
import type { Rule } from './types.ts'
import { API } from './types.ts'
import { lasting, limit, plural } from './words.ts'

interface Outcome {
  readonly episodes: readonly {
    readonly from: string
    readonly until: string | null
    readonly verdict: 'real' | 'noise' | 'unknown'
    readonly time_to_notify: number
  }[]
  readonly fired: number
  readonly firing_seconds: number
  readonly flaps: number
  readonly alerts_per_week: number
  readonly notices_total: number
}

interface Answer {
  readonly since: string
  readonly until: string
  readonly samples: number
  readonly matched_series: number
  readonly rule: Outcome
  readonly stored: Outcome | null
  readonly step: number
  readonly series: readonly {
    readonly labels: Readonly<Record<string, string>>
    readonly points: readonly {
      readonly t: string
      readonly v: number
      readonly min: number
      readonly max: number
    }[]
  }[]
}

interface Suggestion {
  readonly threshold: number | null
  readonly alerts_per_week: number | null
  readonly samples: number
}

interface BacktestProps {
  readonly body: Readonly<Record<string, unknown>>
  readonly id: string | null
  readonly stored: Rule | null
  readonly unit: string
  readonly use: (threshold: number) => void
}

/** Keys that change nothing in what fires: no reason to look anew. */
const WORDS = ['name', 'description', 'tags', 'owner', 'runbook_url', 'provenance', 'enabled']
const PAUSE_MS = 500
const DAY_MS = 86_400_000
const SPANS = [1, 7, 30] as const

export function Backtest({ body, id, stored, unit, use }: BacktestProps) {
  const meant = JSON.stringify(Object.fromEntries(Object.entries(body).filter(([key]) => !WORDS.includes(key))))
  const tested = useSignal(meant)
  const span = useSignal<number>(7)
  const days = span.value
  useEffect(() => {
    const timer = setTimeout(() => {
      tested.value = meant
    }, PAUSE_MS)
    return () => clearTimeout(timer)
  }, [meant])
  const complete = body.mode === 'expr' ? body.expr !== '' : body.metric_name !== '' && Number.isFinite(body.threshold)
  const { asked } = useAsked(`backtest ${days} ${tested.value} ${complete}`, 3_600_000, async (signal) => {
    if (!complete) return null
    const rule = { ...JSON.parse(tested.peek()), ...(id === null ? {} : { id }) }
    const since = new Date(now.peek() - days * DAY_MS).toISOString()
    return call<Answer>('POST', `${API}/rules/backtest`, { rule, since }, signal)
  })
  const { answer, problem } = asked.value
  const threshold = Number(body.threshold)
  const other = stored && stored.mode === 'threshold' && stored.threshold !== threshold ? stored.threshold : null
  const drawn = answer?.series[0]
  const [from, until] = answer ? [startOf(answer), Date.parse(answer.until)] : [now.peek() - days * DAY_MS, now.peek()]
  const track = answer && drawn ? trackOf(drawn.points, from, until, answer.step * 1000) : null
  const hasLimit = body.mode === 'threshold' && body.condition !== 'change_rate'
  return (
    <div class="back">
      <fieldset class="seg">
        <legend class="vh">How far back</legend>
        {SPANS.map((one) => (
          <button
            key={one}
            type="button"
            aria-pressed={days === one}
            onClick={() => {
              span.value = one
            }}
          >
            {one === 1 ? '24 h' : `${one} d`}
          </button>
        ))}
      </fieldset>
      <Chart
        title={`${lastDays(days)} with this ${stored ? 'change' : 'rule'}`}
        lines={[{ key: 'mean', name: String(body.metric_name ?? 'expression'), unit, axis: 'left' }]}
        band={{ lower: 'low', upper: 'high', name: 'lowest to highest' }}
        track={track}
        now={until}
        gapMs={gapOf(answer)}
        left={{ unit, base: 0, top: unit === '%' ? 100 : null }}
        limits={[
          ...(hasLimit && Number.isFinite(threshold)
            ? [
                {
                  value: threshold,
                  axis: 'left' as const,
                  text: `${other === null ? '' : 'new '}${limit(threshold, unit)}`,
                },
              ]
            : []),
          ...(hasLimit && other !== null
            ? [{ value: other, axis: 'left' as const, text: `stored ${limit(other, unit)}`, soft: true }]
            : []),
        ]}
        stale={false}
        note={
          answer && answer.matched_series > 1 ? `of ${answer.matched_series} series, the one that fires most` : null
        }
      />
      {problem && (
        <p class="note refusal" role="alert">
          <Icon name="warning" class="s inline" /> {problem.message}
        </p>
      )}
      {answer?.stored && (
        <Lane name={`Stored rule fired ${times(answer.stored.fired)}`} outcome={answer.stored} span={[from, until]} />
      )}
      {answer && (
        <Lane
          name={`${stored ? 'With this change' : 'It would have fired'} ${times(answer.rule.fired)}`}
          outcome={answer.rule}
          span={[from, until]}
          fresh
        />
      )}
      {answer && <Difference answer={answer} days={days} />}
      {answer && answer.samples === 0 && (
        <p class="note soft">No sample of such a series in {lastDays(days).toLowerCase()}: nothing can be said.</p>
      )}
      {body.mode !== 'expr' && body.metric_name !== '' && <Suggest body={body} days={days} unit={unit} use={use} />}
    </div>
  )
}

const lastDays = (days: number) => (days === 1 ? 'The last 24 hours' : `The last ${days} days`)

/** Where there is something to see: the time asked for, or the first sample when that is later. */
function startOf({ since, series }: Answer): number {
  const first = series.flatMap(({ points }) => (points[0] ? [Date.parse(points[0].t)] : []))
  return Math.max(Date.parse(since), first.length > 0 ? Math.min(...first) : 0)
}

/** Longer than ten steps of the chart, and than three of the series' own. */
function gapOf(answer: Answer | null): number {
  const at = answer?.series[0]?.points.map(({ t }) => Date.parse(t)) ?? []
  const apart = at.slice(1).map((t, i) => t - at[i]!)
  const usual = apart.sort((a, b) => a - b)[apart.length >> 1] ?? 0
  return Math.max(10_000 * (answer?.step ?? 3600), 3 * usual)
}

const times = (n: number) => (n === 1 ? 'once' : `${n} times`)

const WIDTH = 1000

/** When it fired, on the time axis of the chart above. */
function Lane({
  name,
  outcome,
  span: [from, until],
  fresh,
}: {
  name: string
  outcome: Outcome
  span: readonly [number, number]
  fresh?: boolean
}) {
  const x = (at: string | null) => (((at === null ? until : Date.parse(at)) - from) / (until - from)) * WIDTH
  return (
    <div class={`lane${fresh ? ' new' : ''}`}>
      <p>
        <span>{name}</span>
        <span class="quiet">{outcome.fired === 0 ? '' : lasting(outcome.firing_seconds * 1000)}</span>
      </p>
      <svg viewBox={`0 0 ${WIDTH} 12`} preserveAspectRatio="none" aria-hidden="true">
        <rect class="ground" width={WIDTH} height="12" />
        {outcome.episodes.map((episode) => (
          <rect
            key={episode.from}
            x={x(episode.from)}
            width={Math.max(4, x(episode.until) - x(episode.from))}
            height="12"
            class={episode.verdict === 'noise' ? 'noise' : 'fired'}
          />
        ))}
      </svg>
    </div>
  )
}

function Difference({ answer, days }: { answer: Answer; days: number }) {
  const row = (name: string, of: (outcome: Outcome) => string | number) => {
    const after = of(answer.rule)
    const before = answer.stored ? of(answer.stored) : null
    return (
      <tr key={name}>
        <td>{name}</td>
        {before !== null && <td class="n">{before}</td>}
        <td class="n">{before === null || before === after ? after : <b class="strong">{after}</b>}</td>
      </tr>
    )
  }
  const verdicts = (which: 'real' | 'noise') => (outcome: Outcome) =>
    outcome.episodes.filter((e) => e.verdict === which).length
  const told = (outcome: Outcome) => {
    const waits = outcome.episodes.map((e) => e.time_to_notify).sort((a, b) => a - b)
    return waits.length === 0 ? '–' : lasting(waits[Math.floor((waits.length - 1) / 2)]! * 1000)
  }
  return (
    <table class="table diff">
      <thead>
        <tr>
          <th scope="col">{lastDays(days)}</th>
          {answer.stored && (
            <th scope="col" class="n">
              Stored
            </th>
          )}
          <th scope="col" class="n">
            {answer.stored ? 'This change' : 'This rule'}
          </th>
        </tr>
      </thead>
      <tbody>
        {row('Fired', (o) => o.fired)}
        {row('Confirmed real', verdicts('real'))}
        {row('Marked as noise', verdicts('noise'))}
        {row('Notices a week', (o) => Math.round((o.notices_total * 7) / days))}
        {row('Flaps', (o) => o.flaps)}
        {row('Told after, median', told)}
      </tbody>
    </table>
  )
}

/** A threshold from history; somebody has to take it. */
function Suggest({
  body,
  days,
  unit,
  use,
}: {
  body: Readonly<Record<string, unknown>>
  days: number
  unit: string
  use: (threshold: number) => void
}) {
  const found = useSignal<Suggestion | string | null>(null)
  const busy = useSignal(false)
  async function ask() {
    if (busy.value) return
    busy.value = true
    const query = new URLSearchParams({
      metric_name: String(body.metric_name),
      condition: body.condition === 'lt' || body.condition === 'lte' ? 'lt' : 'gt',
      for: String(body.for),
      days: String(days),
      labels: JSON.stringify(body.labels ?? {}),
    })
    try {
      found.value = await call<Suggestion>('GET', `${API}/suggested-threshold?${query}`)
    } catch (error) {
      found.value = problemOf(error).message
    }
    busy.value = false
  }
  const { value } = found
  return (
    <div class="suggest note">
      <button type="button" class="btn" aria-busy={busy.value ? 'true' : undefined} onClick={ask}>
        Suggest a threshold
      </button>
      <span role="status">
        {typeof value === 'string' && value}
        {value !== null &&
          typeof value !== 'string' &&
          value.threshold === null &&
          'There is no history to learn from.'}
        {value !== null && typeof value !== 'string' && value.threshold !== null && (
          <>
            {limit(value.threshold, unit)}, about {plural(Math.round(value.alerts_per_week ?? 0), 'alert')} a week.{' '}
            <button type="button" class="link" onClick={() => use(value.threshold!)}>
              Use it
            </button>
          </>
        )}
      </span>
    </div>
  )
}
