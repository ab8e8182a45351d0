/** The six figures: value, trend, the last hour, what the value should be, and what it is expected to be. */
import type { CardKey, DashboardState, Figure } from '../protocol.ts'
import { CARD_KEYS, FIGURE_NAMES, formatExact, formatNumber } from '../protocol.ts'
import type { Ahead } from './forecast.ts'
import { aheadOf } from './forecast.ts'
import { between, change, formatValue, hhmm, moment, NARROW, short } from './format.ts'
import { Icon } from './icons.tsx'
import { now, old, recent, state } from './live.ts'
import { SPARK_FUTURE_MS, Spark } from './spark.tsx'

const TITLES: Readonly<Record<CardKey, { title: string; unit: string }>> = {
  cpu_usage: { title: 'CPU', unit: '%' },
  memory_usage: { title: 'Memory', unit: '%' },
  cache_hit_rate: { title: 'Cache hit rate', unit: '%' },
  response_time: { title: 'Response time', unit: 'ms p95' },
  throughput: { title: 'Throughput', unit: 'req/s' },
  health_score: { title: 'Health score', unit: 'of 100' },
}

export function Cards() {
  const ahead = Object.fromEntries(
    CARD_KEYS.map((key) => [key, aheadOf(state.value?.forecast[key] ?? [], now.value, 2 * SPARK_FUTURE_MS)]),
  ) as Record<CardKey, Ahead[]>
  const future = Object.values(ahead).some((knots) => knots.length > 0)
  return (
    <section class="cards" aria-label="Key figures">
      {CARD_KEYS.map((key) => (
        <Card key={key} id={key} state={state.value} ahead={ahead[key]} future={future} />
      ))}
    </section>
  )
}

interface CardProps {
  readonly id: CardKey
  readonly state: DashboardState | null
  readonly ahead: readonly Ahead[]
  readonly future: boolean
}

function Card({ id, state, ahead, future }: CardProps) {
  const { title } = TITLES[id]
  const metric = FIGURE_NAMES[id]
  const figure = state?.figures[id] ?? null
  const value = state ? (id === 'health_score' ? state.performance_score : state.metrics[id]) : null
  // What is old judges nothing: figures stay, marks go.
  const beyond = !old.value && (figure?.threshold_state === 'warning' || figure?.threshold_state === 'critical')
  return (
    <article class="card" data-state={beyond ? figure?.threshold_state : undefined} data-metric={id}>
      <header>
        <h2>
          {id === 'health_score' ? (
            title
          ) : (
            <a class="card-link" href={`/ops/metrics/${metric}`}>
              {title}
            </a>
          )}
        </h2>
        {figure && !old.value && <Tag figure={figure} value={value} />}
      </header>
      <p class="value load">
        {value !== null || !state ? (
          <Value id={id} figure={figure} value={value} state={state} />
        ) : (
          <span class="nodata">No data</span>
        )}
      </p>
      <Spark
        track={recent.value}
        figure={id}
        normal={figure?.normal ?? null}
        now={now.value}
        ahead={value === null || old.value ? [] : ahead}
        future={future}
        marks={state?.anomalies.filter((one) => one.metric_name === metric) ?? []}
        steps={id === 'health_score'}
      />
      <dl class="card-rows load">
        <Rows id={id} figure={figure} value={value} state={state} next={ahead[0]} />
      </dl>
    </article>
  )
}

/** Over which limit, or how long without data. */
function Tag({ figure, value }: { figure: Figure; value: number | null }) {
  if (value === null) {
    if (!figure.last_sample_at) return null
    return (
      <span class="tag">
        <Icon name="nodata" /> {short(now.value - Date.parse(figure.last_sample_at))}
      </span>
    )
  }
  if (!figure.limit || figure.threshold_state === 'ok' || !figure.threshold_state) return null
  const limit = formatExact(figure.limit.value) + (figure.unit === '%' ? `${NARROW}%` : '')
  return (
    <span class={`tag ${figure.threshold_state}`}>
      <Icon name={figure.threshold_state} />
      <span class="word">
        {figure.limit.side} {limit}
      </span>
    </span>
  )
}

interface Shown {
  readonly id: CardKey
  readonly figure: Figure | null
  readonly value: number | null
  readonly state: DashboardState | null
}

function Value({ id, figure, value, state }: Shown) {
  const trend = state?.trends[id] ?? null
  const by = figure ? change(figure) : null
  const [icon, word] =
    trend === 'increasing'
      ? (['up', 'rising'] as const)
      : trend === 'decreasing'
        ? (['down', 'falling'] as const)
        : (['flat', 'steady'] as const)
  const since = figure?.last_sample_at
  return (
    <>
      <b title={since ? `Sample of ${since}` : undefined}>
        {value === null ? '00.0' : id === 'health_score' ? formatExact(value) : formatNumber(value, figure?.unit)}
      </b>
      <span class="unit">{TITLES[id].unit}</span>
      <span class="trend">
        {trend && by && (
          <>
            <Icon name={icon} class="s" />
            <span class="vh">{word}, </span>
            {by}
          </>
        )}
      </span>
    </>
  )
}

function Rows({ id, figure, value, state, next }: Shown & { next: Ahead | undefined }) {
  if (!figure || !state)
    return (
      <Pairs
        rows={[
          ['normal', '00–00'],
          ['limit', '00'],
        ]}
      />
    )
  if (value === null) {
    const last = figure.last_sample_at && figure.last_value !== null
    const unit = id === 'health_score' ? '' : figure.unit
    return (
      <Pairs
        rows={[
          [
            'last',
            last
              ? `${formatValue(figure.last_value!, unit)} at ${moment(Date.parse(figure.last_sample_at!), now.value)}`
              : 'none',
          ],
          ['why', figure.silence ?? ''],
        ]}
      />
    )
  }
  const asOf: [string, string] = ['as of', moment(Date.parse(state.timestamp), now.value)]
  const normal: [string, string] = [
    'normal',
    figure.normal ? between(figure.normal.lower, figure.normal.upper, figure.unit) : 'after 1 hour',
  ]
  if (id === 'health_score' && state.score_parts.length > 0) {
    const parts = state.score_parts
      .slice(0, 2)
      .map((part): [string, string, string] => [
        PART_WORDS[part.metric] ?? part.metric,
        `${formatExact(part.points)} points`,
        part.why,
      ])
    return <Pairs rows={parts.length === 1 ? [...parts, normal] : parts} asOf={asOf} />
  }
  if (next) {
    const unit = id === 'health_score' ? '' : figure.unit
    const said = `Forecast for ${hhmm(next.at)}: ${formatValue(next.value, unit)}; four of five times within ${between(next.lower, next.upper, unit)}.`
    return <Pairs rows={[normal, [hhmm(next.at), between(next.lower, next.upper, unit), said]]} asOf={asOf} />
  }
  const limits = figure.limits
  const limit: [string, string] = limits
    ? ['limits', `${formatExact(limits.warning)}, ${formatExact(limits.critical)}`]
    : ['limits', 'none']
  return <Pairs rows={[normal, limit]} asOf={asOf} />
}

const PART_WORDS: Readonly<Partial<Record<string, string>>> = {
  cpu_usage: 'CPU',
  memory_usage: 'memory',
  response_time: 'response',
  cache_hit_rate: 'hit rate',
}

type Row = readonly [name: string, value: string, title?: string]

/** Two rows, always: a card does not change its height. `asOf` takes the place of the second while the page is stale. */
function Pairs({ rows, asOf }: { rows: readonly Row[]; asOf?: Row }) {
  return (
    <>
      {rows.map(([name, value, title], i) => (
        <div key={name} class={i === 1 && asOf ? 'pair-now' : 'pair'} title={title}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
      {asOf && (
        <div class="pair-as-of">
          <dt>{asOf[0]}</dt>
          <dd>{asOf[1]}</dd>
        </div>
      )}
    </>
  )
}
