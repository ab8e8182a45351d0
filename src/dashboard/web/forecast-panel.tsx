/** What a metric is expected to be, and whether such forecasts can be believed: their record beside plain guesses. */
import type { ForecastPoint } from '../protocol.ts'
import { call } from './api.ts'
import { Problem, useAsked } from './asked.tsx'
import { between, formatValue, hhmm, moment, NARROW } from './format.ts'
import { now } from './live.ts'

type Labels = Readonly<Record<string, string>>

interface Prediction {
  readonly labels: Labels
  readonly predicted_value: number
  readonly confidence: number
  readonly time_horizon: number
  readonly created_at: string
  readonly target_time: string
  readonly lower: number
  readonly upper: number
  readonly coverage: number
  readonly lower_95: number
  readonly upper_95: number
  readonly model: string
}

interface Quality {
  readonly horizon: number
  readonly origins: number
  readonly mean_absolute_error: number | null
  readonly naive_error: number | null
  readonly seasonal_naive_error: number | null
  readonly coverage_80: number | null
  readonly coverage_95: number | null
  readonly in_use: string
  readonly why: string
}

interface Known {
  readonly predictions: readonly Prediction[]
  readonly quality: readonly Quality[]
  /** So many series are forecast, and none of them is what the name alone means. */
  readonly several: number
}

const API = '/api/v1/advanced-analytics'
/** A forecast made longer ago than three cycles says nothing any more. */
const LASTS_MS = 15 * 60_000

const PLATFORM: Labels = { service: 'opinion-market' }

/** The newest forecasts of a series and their record; without labels of the series that the name alone means. */
export function useForecast(name: string, labels: Labels | null) {
  const { __name__: _name, ...wanted } = labels ?? PLATFORM
  return useAsked(`forecast ${name} ${JSON.stringify(labels)}`, 15_000, async (signal): Promise<Known> => {
    const metric = new URLSearchParams({ metric_name: name })
    const series = new URLSearchParams({ metric_name: name, labels: JSON.stringify(wanted) })
    const newest = async (query: URLSearchParams, limit: number) => {
      const found = await call<Prediction[]>('GET', `${API}/predictions?${query}&limit=${limit}`, undefined, signal)
      return found.filter((one) => one.created_at === found[0]!.created_at && !tooOld(one))
    }
    let found = await newest(series, 32)
    if (found.length === 0 && labels === null) {
      found = await newest(metric, 1000)
      const texts = new Set(found.map((one) => JSON.stringify(one.labels)))
      if (texts.size > 1) return { predictions: [], quality: [], several: texts.size }
      if (found[0]) series.set('labels', JSON.stringify(found[0].labels))
    }
    const quality = await call<Quality[]>('GET', `${API}/forecast-quality?${series}`, undefined, signal)
    return { predictions: found.sort((a, b) => a.time_horizon - b.time_horizon), quality, several: 0 }
  })
}

const tooOld = (one: Prediction) => now.peek() - Date.parse(one.created_at) >= LASTS_MS

/** As the dashboard's messages have them. */
export function pointsOf(known: Known | null): ForecastPoint[] {
  return (known?.predictions ?? []).map((one) => ({
    horizon: one.time_horizon,
    target_time: one.target_time,
    value: one.predicted_value,
    lower: one.lower,
    upper: one.upper,
    coverage: one.coverage,
    confidence: one.confidence,
    withdrawn: one.model.startsWith('withdrawn')
      ? (known?.quality.find((row) => row.horizon === one.time_horizon)?.why ?? 'a plain guess does better')
      : null,
  }))
}

interface ForecastProps {
  readonly unit: string
  readonly predictions: ReturnType<typeof useForecast>
}

export function Forecast({ unit, predictions: { asked, again } }: ForecastProps) {
  const { answer, problem } = asked.value
  const predictions = answer?.predictions ?? []
  const made = predictions[0]
  return (
    <section class="panel" aria-labelledby="h-forecast">
      <div class="panel-head">
        <h2 id="h-forecast">Forecast</h2>
        {made && (
          <span class="end small quiet">
            made at {hhmm(Date.parse(made.created_at))} UTC by {made.model.replaceAll('_', ' ')}
          </span>
        )}
      </div>
      {problem && <Problem problem={problem} again={again} />}
      {!answer && !problem && <p class="empty quiet">Reading</p>}
      {answer && predictions.length === 0 && (
        <p class="empty">
          {answer.several > 0
            ? `${answer.several} series of this metric are forecast, each for itself: choose one below.`
            : 'No forecast yet: they are made every five minutes, of the series that are looked at first.'}
        </p>
      )}
      {predictions.length > 0 && <Expected predictions={predictions} quality={answer!.quality} unit={unit} />}
      {answer && answer.quality.length > 0 && <Record rows={answer.quality} unit={unit} />}
    </section>
  )
}

function Expected({ predictions, quality, unit }: Omit<Known, 'several'> & { unit: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
    <section class="table-wrap" tabIndex={0} aria-label="Forecast by horizon">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">At (UTC)</th>
            <th scope="col" class="n">
              Expected
            </th>
            <th scope="col" class="n">
              4 of 5 times
            </th>
            <th scope="col" class="n wide-col">
              19 of 20 times
            </th>
            <th scope="col" class="n wide-col">
              Confidence
            </th>
          </tr>
        </thead>
        <tbody>
          {predictions.map((one) => {
            const withdrawn = one.model.startsWith('withdrawn')
            const why = quality.find((row) => row.horizon === one.time_horizon)?.why
            return (
              <tr key={one.time_horizon}>
                <th scope="row">
                  {moment(Date.parse(one.target_time), now.value)}{' '}
                  <span class="small quiet">horizon {one.time_horizon} min</span>
                </th>
                {withdrawn ? (
                  <td colSpan={4} class="quiet">
                    Withdrawn: {why ?? 'a plain guess does better'}.
                  </td>
                ) : (
                  <>
                    <td class="n">{formatValue(one.predicted_value, unit)}</td>
                    <td class="n">{within(one.lower, one.upper, unit)}</td>
                    <td class="n wide-col">{within(one.lower_95, one.upper_95, unit)}</td>
                    <td class="n wide-col">{one.confidence.toFixed(2)}</td>
                  </>
                )}
              </tr>
            )
          })}
        </tbody>
      </table>
    </section>
  )
}

const within = (lower: number, upper: number, unit: string) =>
  between(lower, upper, unit) + (unit === '' ? '' : NARROW + unit)
const share = (value: number | null) => (value === null ? '–' : `${Math.round(100 * value)}${NARROW}%`)

/** Rolling errors beside those of the plain guesses: the smallest should be ours, or we step down. */
function Record({ rows, unit }: { rows: readonly Quality[]; unit: string }) {
  const error = (value: number | null) => (value === null ? '–' : formatValue(value, unit))
  return (
    <>
      <h3 class="sub-head">How right such forecasts were</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap" tabIndex={0} aria-label="Forecast quality by horizon">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Horizon</th>
              <th scope="col" class="n">
                Mean error
              </th>
              <th scope="col" class="n">
                “As it is now”
              </th>
              <th scope="col" class="n wide-col">
                “As yesterday”
              </th>
              <th scope="col" class="n">
                Within 80 / 95{NARROW}%
              </th>
              <th scope="col" class="wide-col">
                In use
              </th>
              <th scope="col" class="wide-col">
                Why
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.horizon}>
                <th scope="row">{row.horizon} min</th>
                <td class="n">{error(row.mean_absolute_error)}</td>
                <td class="n">{error(row.naive_error)}</td>
                <td class="n wide-col">{error(row.seasonal_naive_error)}</td>
                <td class="n">
                  {share(row.coverage_80)} / {share(row.coverage_95)}
                </td>
                <td class="wide-col">{row.in_use.replaceAll('_', ' ')}</td>
                <td class="wide-col quiet">{row.why}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </>
  )
}
