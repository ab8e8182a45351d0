/**
 * All metrics: their names with a search, what was odd lately, and where samples come from. One metric: over time with
 * its forecast and its anomalies, how well it could be forecast, its series.
 */
import type { Signal } from '@preact/signals'
import { useComputed, useSignal } from '@preact/signals'
import type { Range } from '../protocol.ts'
import { RANGE_NAMES, RANGES } from '../protocol.ts'
import { range, setRange } from './address.ts'
import { AnomalyEvents, labelText, MetricAnomalies, useAnomalies } from './anomalies.tsx'
import { call, raw } from './api.ts'
import { Problem, useAsked } from './asked.tsx'
import type { Line, Mark } from './chart.tsx'
import { Chart } from './chart.tsx'
import { aheadOf, withdrawnWhy } from './forecast.ts'
import { Forecast, pointsOf, useForecast } from './forecast-panel.tsx'
import { formatExact, formatValue, moment } from './format.ts'
import { Icon } from './icons.tsx'
import { line, now } from './live.ts'
import type { Track } from './series.ts'

/** Names shown at once; the search narrows them. */
const SHOWN_MAX = 300

export function Metrics({ name }: { name: string | null }) {
  return (
    <main id="main" class="page">
      <div class="headline detail-head">
        <h1>{name ?? 'Metrics'}</h1>
        <div class="aside">
          {name && (
            <fieldset class="seg">
              <legend class="vh">Time range</legend>
              {RANGE_NAMES.map((each) => (
                <button key={each} type="button" aria-pressed={range.value === each} onClick={() => setRange(each)}>
                  {each.replace(/(\d+)/, '$1 ')}
                </button>
              ))}
            </fieldset>
          )}
        </div>
      </div>
      <div class={`split${name ? ' has-detail' : ''}`}>
        <Names current={name} />
        <div class="stack">
          {name ? (
            <Metric name={name} />
          ) : (
            <>
              <AnomalyEvents />
              <Sources />
            </>
          )}
        </div>
      </div>
    </main>
  )
}

// ----------------------------------------------------------------------------------------------------- names

function Names({ current }: { current: string | null }) {
  const wanted = useSignal('')
  const { asked, again } = useAsked('names', 30_000, async (signal) => {
    const answer = (await raw('GET', '/api/v1/label/__name__/values', undefined, signal)) as { data: string[] }
    return answer.data
  })
  const found = useComputed(() => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean)
    return (asked.value.answer ?? []).filter((name) => words.every((word) => name.toLowerCase().includes(word)))
  })
  const { answer, problem } = asked.value
  return (
    <section class="panel" aria-labelledby="h-names">
      <div class="panel-head">
        <h2 id="h-names">Names</h2>
        {answer && <span class="count">{formatExact(found.value.length)}</span>}
      </div>
      <div class="panel-body">
        <div class="affix">
          <Icon name="search" />
          <input
            type="search"
            aria-label="Search names"
            placeholder="Search, key /"
            spellcheck={false}
            value={wanted.value}
            onInput={(event) => {
              wanted.value = event.currentTarget.value
            }}
          />
        </div>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <nav class="names" aria-label="Metrics">
        {found.value.slice(0, SHOWN_MAX).map((name) => (
          <a
            key={name}
            class="name"
            href={`/ops/metrics/${encodeURIComponent(name)}`}
            aria-current={name === current || name === current?.replaceAll('.', '_') ? 'page' : undefined}
          >
            {name}
          </a>
        ))}
        {found.value.length > SHOWN_MAX && (
          <p class="empty">{formatExact(found.value.length - SHOWN_MAX)} more; search to narrow them.</p>
        )}
        {answer && found.value.length === 0 && (
          <p class="empty">{answer.length === 0 ? 'Nothing is stored yet.' : 'No name holds these words.'}</p>
        )}
      </nav>
    </section>
  )
}

// ------------------------------------------------------------------------------------------------ one metric

interface ChartPoint {
  readonly t: string
  readonly v: number
  readonly min: number
  readonly max: number
  readonly count: number
}

interface SeriesAnswer {
  readonly metric_name: string
  readonly unit: string
  readonly step: number
  readonly points: readonly ChartPoint[]
  readonly series: readonly {
    readonly labels: Readonly<Record<string, string>>
    readonly points: readonly ChartPoint[]
  }[]
  readonly matched_series: number
}

const MERGED = -1

function Metric({ name }: { name: string }) {
  const chosen = useSignal(MERGED)
  const shown: Range = range.value
  const { seconds, step } = RANGES[shown]
  const { asked, again } = useAsked(shown, Math.max(5_000, (step * 1000) / 2), async (signal) => {
    const until = now.peek()
    const query = new URLSearchParams({
      metric_name: name,
      since: new Date(until - seconds * 1000).toISOString(),
      until: new Date(until).toISOString(),
      step: String(step),
    })
    const answer = await call<SeriesAnswer>('GET', `/api/v1/advanced-analytics/series?${query}`, undefined, signal)
    return { answer, until }
  })
  const { answer: held, problem } = asked.value
  const answer = held?.answer ?? null
  const rows = answer?.series ?? []
  const points = (chosen.value === MERGED ? answer?.points : rows[chosen.value]?.points) ?? []
  const unit = answer?.unit ?? ''
  const track = held && answer ? trackFrom(points, held.until, seconds, answer.step) : null
  const lines: Line[] = [{ key: 'mean', name: 'Mean', unit, axis: 'left' }]
  const list = useAnomalies(name)
  const predictions = useForecast(name, chosen.value === MERGED ? null : (rows[chosen.value]?.labels ?? null))
  const chosenLabels = chosen.value === MERGED ? null : labelText(rows[chosen.value]?.labels ?? {})
  const marks = (list.asked.value.answer ?? [])
    .filter((one) => one.hidden_by === null && (chosenLabels === null || labelText(one.labels) === chosenLabels))
    .map((anomaly): Mark => ({ line: 'mean', anomaly }))
    .reverse()
  const expected = pointsOf(predictions.asked.value.answer)
  const why = withdrawnWhy(expected, now.value)
  return (
    <>
      <section class="panel tall">
        <Chart
          title={chosen.value === MERGED ? 'Over time' : `Series ${chosen.value + 1} over time`}
          lines={lines}
          band={{ lower: 'min', upper: 'max', name: 'Lowest to highest' }}
          track={track}
          now={held?.until ?? now.value}
          gapMs={3 * step * 1000}
          ahead={{ mean: aheadOf(expected, now.value, seconds * 1000) }}
          marks={marks}
          note={why && `no forecast: ${why}`}
          left={{ unit, base: 0, top: unit === '%' && points.every((point) => point.max <= 100) ? 100 : null }}
          stale={problem !== null || line.value.kind === 'disconnected'}
        />
        {problem && <Problem problem={problem} again={again} />}
        {answer && answer.matched_series === 0 && (
          <p class="empty">Nothing was stored under this name in the last {shown.replace(/(\d+)/, '$1 ')}.</p>
        )}
      </section>
      {/* All at once, below what stands already: nothing is pushed down when the slowest answer comes. */}
      {[asked, list.asked, predictions.asked].every(({ value }) => value.answer || value.problem) && (
        <>
          <MetricAnomalies name={name} list={list} />
          <Forecast unit={unit} predictions={predictions} />
          <SeriesTable answer={answer} unit={unit} chosen={chosen} />
        </>
      )}
    </>
  )
}

function SeriesTable({ answer, unit, chosen }: SeriesTableProps) {
  const rows = answer?.series ?? []
  return (
    <section class="panel" aria-labelledby="h-series">
      <div class="panel-head">
        <h2 id="h-series">Series</h2>
        {answer && <span class="count">{formatExact(answer.matched_series)}</span>}
        {answer && answer.matched_series > rows.length && (
          <span class="end small quiet">the first {rows.length} are shown</span>
        )}
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap" tabIndex={0} aria-label="Series of this metric">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Labels</th>
              <th scope="col" class="n">
                Newest mean
              </th>
              <th scope="col" class="n wide-col">
                At
              </th>
            </tr>
          </thead>
          <tbody>
            {answer && rows.length !== 1 && (
              <Row
                name="as the name alone means it"
                points={answer.points}
                unit={unit}
                selected={chosen.value === MERGED}
                choose={() => {
                  chosen.value = MERGED
                }}
              />
            )}
            {rows.map((series, i) => (
              <Row
                key={labelText(series.labels)}
                name={labelText(series.labels)}
                points={series.points}
                unit={unit}
                selected={rows.length === 1 || chosen.value === i}
                choose={() => {
                  chosen.value = i
                }}
              />
            ))}
          </tbody>
        </table>
      </section>
    </section>
  )
}

interface SeriesTableProps {
  readonly answer: SeriesAnswer | null
  readonly unit: string
  readonly chosen: Signal<number>
}

function Row(props: {
  name: string
  points: readonly ChartPoint[]
  unit: string
  selected: boolean
  choose: () => void
}) {
  const last = props.points.at(-1)
  return (
    <tr aria-selected={props.selected}>
      <th scope="row">
        <button type="button" class="link plain-text" aria-pressed={props.selected} onClick={props.choose}>
          {props.name}
        </button>
      </th>
      <td class="n">{last ? formatValue(last.v, props.unit) : 'no data'}</td>
      <td class="n wide-col">{last ? `${moment(Date.parse(last.t), now.value)} UTC` : ''}</td>
    </tr>
  )
}

function trackFrom(points: readonly ChartPoint[], until: number, seconds: number, step: number): Track {
  const stepMs = step * 1000
  const from = Math.floor((until - seconds * 1000) / stepMs) * stepMs + stepMs
  const length = Math.max(1, Math.floor((until - from) / stepMs) + 1)
  const mean = new Array<number | null>(length).fill(null)
  const min = [...mean]
  const max = [...mean]
  for (const point of points) {
    const place = Math.round((Date.parse(point.t) - from) / stepMs)
    if (place < 0 || place >= length) continue
    mean[place] = point.v
    min[place] = point.min
    max[place] = point.max
  }
  return { from, stepMs, length, series: { mean, min, max } }
}

// --------------------------------------------------------------------------------------------------- sources

interface Source {
  readonly source: string
  readonly accepted: number
  readonly duplicates: number
  readonly late: number
  readonly refused: Readonly<Record<string, number>>
}

const REASONS: Readonly<Record<string, string>> = {
  conflict: 'another value was stored for that time',
  too_old: 'older than retention',
  too_far_ahead: 'more than ten minutes ahead',
  cardinality: 'too many series',
  labels: 'labels break a rule',
}

function Sources() {
  const { asked, again } = useAsked('sources', 5_000, (signal) =>
    call<Source[]>('GET', '/api/v1/metrics/sources', undefined, signal),
  )
  const { answer, problem } = asked.value
  return (
    <section class="panel" aria-labelledby="h-sources">
      <div class="panel-head">
        <h2 id="h-sources">Where samples come from</h2>
        <span class="end small quiet">counted since the platform started</span>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap reserve" tabIndex={0} aria-label="Sources of samples">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Source</th>
              <th scope="col" class="n">
                Accepted
              </th>
              <th scope="col" class="n wide-col">
                Duplicates
              </th>
              <th scope="col" class="n">
                Late
              </th>
              <th scope="col" class="n">
                Refused
              </th>
              <th scope="col" class="wide-col">
                Why refused
              </th>
            </tr>
          </thead>
          <tbody>
            {(answer ?? []).map((source) => (
              <tr key={source.source}>
                <th scope="row">{source.source.replaceAll('_', ' ')}</th>
                <td class="n">{formatExact(source.accepted)}</td>
                <td class="n wide-col">{formatExact(source.duplicates)}</td>
                <td class="n">{formatExact(source.late)}</td>
                <td class="n">{formatExact(Object.values(source.refused).reduce((sum, n) => sum + n, 0))}</td>
                <td class="wide-col quiet">
                  {Object.entries(source.refused)
                    .filter(([, n]) => n > 0)
                    .map(([reason, n]) => `${formatExact(n)} ${REASONS[reason] ?? reason.replaceAll('_', ' ')}`)
                    .join('; ')}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {answer?.length === 0 && <p class="empty">No sample has come in yet.</p>}
      </section>
    </section>
  )
}
