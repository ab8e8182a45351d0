/** Insights: on the overview the strongest, on a page of their own all of them, each with the numbers behind it. */
import { useSignal } from '@preact/signals'
import { Fragment } from 'preact'
import { useEffect } from 'preact/hooks'
import type { DashboardInsight, DashboardState } from '../protocol.ts'
import { cannot } from './anomalies.tsx'
import { call } from './api.ts'
import { Problem, problemOf, useAsked } from './asked.tsx'
import { ago, formatExact, formatNumber, hhmm, moment } from './format.ts'
import { now, old, state } from './live.ts'

const engineOf = (current: DashboardState) => current.engines.find((one) => one.name === 'analytics')

/** On the overview; a page of 1440 × 1000 has room for these. */
const SHOWN = 4

export function Insights() {
  const current = state.value
  const insights = current?.ai_insights ?? []
  const engine = current ? engineOf(current) : undefined
  const runs = engine?.state === 'active'
  const cycle = engine?.last_activity ? Date.parse(engine.last_activity) : null
  return (
    <section class="panel" id="p-ins" aria-labelledby="h-ins">
      <div class="panel-head">
        <h2 id="h-ins">Insights</h2>
        <span class="end">
          <span class="small quiet">
            {current &&
              (old.value
                ? `as of ${moment(Date.parse(current.timestamp), now.value)}`
                : runs
                  ? cycle
                    ? `last cycle ${hhmm(cycle)}`
                    : 'the first cycle is due'
                  : 'means of the last minute')}
          </span>
          {engine && engine.state !== 'not_installed' && (
            <a href="/ops/insights">{insights.length > SHOWN ? `All ${insights.length} insights` : 'All insights'}</a>
          )}
        </span>
      </div>
      {insights.length > 0 ? (
        <div class="insights">
          {insights.slice(0, SHOWN).map((insight) => (
            <Insight key={insight.id} insight={insight} />
          ))}
        </div>
      ) : (
        <div class="empty">
          <p class="load">
            Nothing stands out. CPU, memory, hit rate and health score are looked at with every message
            {runs
              ? ', and days of history every five minutes.'
              : `; patterns over days are not, as analytics ${engine?.state === 'stopped' ? 'is stopped' : 'is not installed'}.`}
          </p>
        </div>
      )}
    </section>
  )
}

function Insight({ insight }: { insight: DashboardInsight }) {
  return (
    <article class="insight">
      <h3>{insight.title}</h3>
      <p class="said" title={insight.message}>
        {insight.message}
      </p>
      <Advice advice={insight.recommendations} />
      <p class="meta">
        <span>
          {insight.category}, {insight.impact} impact
        </span>
        <span>confidence {insight.confidence.toFixed(2)}</span>
        <a href={insight.evidence_url}>
          Evidence<span class="vh"> of {insight.title}</span>
        </a>
      </p>
    </article>
  )
}

const Advice = ({ advice }: { advice: readonly string[] }) => (
  <>
    {advice.map((one) => (
      <p class="do" key={one}>
        {one}
      </p>
    ))}
  </>
)

// ------------------------------------------------------------------------------------------------------ page

type Pair = readonly [at: number, value: number]
type Evidence = Readonly<Record<string, number | string | readonly Pair[]>>

interface ApiInsight {
  readonly id: string
  readonly insight_type: string
  readonly title: string
  readonly description: string
  readonly confidence: number
  readonly impact: string
  readonly recommendations: readonly string[]
  readonly data_points: Evidence
  readonly created_at: string
  readonly last_seen_at: string
  readonly occurrences: number
}

/** What was not seen for longer than three cycles is of the past. */
const OF_NOW_MS = 15 * 60_000

export function InsightsPage({ id }: { id: string | null }) {
  const looked = useSignal(0)
  const { asked, again } = useAsked(`insights ${looked.value}`, 10_000, (signal) =>
    call<ApiInsight[]>('GET', '/api/v1/advanced-analytics/insights?limit=200', undefined, signal),
  )
  const { answer, problem } = asked.value
  const chosen = answer?.find((one) => one.id === id) ?? (id === null ? answer?.[0] : undefined)
  return (
    <main id="main" class="page">
      <div class="headline detail-head">
        <h1>Insights</h1>
        <div class="aside">
          {id && (
            <a class="narrow-only small" href="/ops/insights">
              All insights
            </a>
          )}
          <LookAgain
            done={() => {
              looked.value++
            }}
          />
        </div>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <div class={`split${id ? ' has-detail' : ''}`}>
        <section class="panel" aria-labelledby="h-found">
          <div class="panel-head">
            <h2 id="h-found">Found in the last 24 hours</h2>
            {answer && <span class="count">{answer.length}</span>}
          </div>
          <nav class="names" aria-label="Insights">
            {(answer ?? []).map((one) => (
              <a
                key={one.id}
                class="name"
                href={`/ops/insights/${encodeURIComponent(one.id)}`}
                aria-current={one === chosen ? 'page' : undefined}
              >
                <span>
                  {one.title}
                  <span class="small quiet block-line">
                    {one.insight_type}, {one.impact} impact, {seen(one)}
                  </span>
                </span>
              </a>
            ))}
            {answer?.length === 0 && (
              <p class="empty">
                Nothing was found so far. A cycle runs every five minutes; limits, levels and patterns need hours of
                history.
              </p>
            )}
            {!answer && !problem && <p class="empty quiet">Reading</p>}
          </nav>
        </section>
        <div class="stack">
          {chosen ? (
            <Detail insight={chosen} />
          ) : (
            answer &&
            id !== null && <p class="panel empty">This insight is no longer listed: nothing saw it for a day.</p>
          )}
        </div>
      </div>
    </main>
  )
}

function seen(insight: ApiInsight): string {
  const at = Date.parse(insight.last_seen_at)
  return now.value - at < OF_NOW_MS ? 'seen in the last cycle' : `last seen ${ago(at, now.value)}`
}

/** Starts a cycle of the engine. */
function LookAgain({ done }: { done: () => void }) {
  const busy = useSignal(false)
  const said = useSignal<string | null>(null)
  const why = cannot('operator')
  useEffect(() => {
    if (said.value === null) return
    // The cycle ends some time after the answer.
    const timers = [1, 3, 10].map((s) => setTimeout(done, s * 1000))
    return () => timers.forEach(clearTimeout)
  }, [said.value])
  async function start() {
    if (busy.value) return
    busy.value = true
    try {
      await call('POST', '/api/v1/advanced-analytics/generate-insights')
      said.value = `A cycle started at ${hhmm(now.peek())}.`
    } catch (error) {
      said.value = problemOf(error).message
    }
    busy.value = false
  }
  return (
    <>
      <span class="small quiet" role="status">
        {why ?? said.value ?? ''}
      </span>
      <button
        type="button"
        class="btn"
        disabled={why !== null}
        title={why ?? undefined}
        aria-busy={busy.value ? 'true' : undefined}
        onClick={start}
      >
        Look again
      </button>
    </>
  )
}

function Detail({ insight }: { insight: ApiInsight }) {
  const numbers = Object.entries(insight.data_points).filter(
    (entry): entry is [string, number | string] => !Array.isArray(entry[1]) && entry[1] !== '',
  )
  const charts = Object.entries(insight.data_points).filter((entry): entry is [string, readonly Pair[]] =>
    Array.isArray(entry[1]),
  )
  return (
    <section class="panel" aria-labelledby="h-insight">
      <div class="panel-head">
        <h2 id="h-insight">{insight.title}</h2>
      </div>
      <div class="insight plain">
        <p>{insight.description}</p>
        <Advice advice={insight.recommendations} />
        <p class="meta">
          <span>
            {insight.insight_type}, {insight.impact} impact
          </span>
          <span>confidence {insight.confidence.toFixed(2)}</span>
          <span>
            since {moment(Date.parse(insight.created_at), now.value)} UTC, {seen(insight)}, found in{' '}
            {insight.occurrences === 1 ? 'one cycle' : `${formatExact(insight.occurrences)} cycles`}
          </span>
        </p>
      </div>
      <div class="panel-body">
        <h3 class="evidence-head">Evidence</h3>
        {charts.map(([name, points]) => (
          <Small key={name} points={points} within={within[name] ?? null} />
        ))}
        <dl class="pairs left evidence">
          {numbers.map(([name, value]) => (
            <Fragment key={name}>
              <dt>{name.replaceAll('_', ' ')}</dt>
              <dd>{shown(value)}</dd>
            </Fragment>
          ))}
        </dl>
      </div>
    </section>
  )
}

function shown(value: number | string): string {
  if (typeof value === 'number') return formatNumber(value)
  return /^\d{4}-\d\d-\d\dT.*Z$/.test(value) ? `${moment(Date.parse(value), now.value)} UTC` : value
}

const [WIDTH, HEIGHT] = [600, 120]
const two = (value: number) => String(value).padStart(2, '0')

/** Points that are no moments but places in a period. */
const within: Readonly<Record<string, string>> = { profile: 'a day', round: 'a round' }

/** The few points of the evidence as a line, with its ends in words. */
function Small({ points, within }: { points: readonly Pair[]; within: string | null }) {
  if (points.length < 2) return null
  const values = points.map(([, value]) => value)
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const [first, last] = [points[0]![0], points.at(-1)![0]]
  const x = (at: number) => ((at - first) / Math.max(1, last - first)) * WIDTH
  const y = (value: number) => 6 + (1 - (value - low) / (high - low || 1)) * (HEIGHT - 12)
  const time = (at: number) =>
    within ? `${two(Math.floor(at / 3_600_000))}:${two(Math.round(at / 60_000) % 60)}` : moment(at, now.value)
  const words = `From ${time(first)} to ${time(last)} ${within ? `of ${within}` : 'UTC'}, between ${formatNumber(low)} and ${formatNumber(high)}.`
  const path = points
    .map(([at, value], i) => `${i === 0 ? 'M' : 'L'}${x(at).toFixed(1)},${y(value).toFixed(1)}`)
    .join('')
  return (
    <figure class="small-chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={words}>
        <line class="c-grid" x1="0" x2={WIDTH} y1={y(high)} y2={y(high)} />
        <line class="c-grid" x1="0" x2={WIDTH} y1={y(low)} y2={y(low)} />
        <path class="c-line s1" d={path} vector-effect="non-scaling-stroke" />
      </svg>
      <figcaption>{words}</figcaption>
    </figure>
  )
}
