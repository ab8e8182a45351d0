/** How scaling stands: the sentence, the figures, demand against capacity, decisions, instances, policies, by hand. */
import { useSignal } from '@preact/signals'
import { RANGES } from '../../protocol.ts'
import { address, range } from '../address.ts'
import { Act, deeds } from '../alerts/act.tsx'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { Chart } from '../chart.tsx'
import { formatNumber, hhmmss, moment, NARROW, short } from '../format.ts'
import type { IconName } from '../icons.tsx'
import { Icon } from '../icons.tsx'
import { events, line, now } from '../live.ts'
import { Manual, PauseDialog } from './acting.tsx'
import { DecisionRow } from './decision.tsx'
import { API, type Decision, type Instance, type Summary, type Timeline } from './types.ts'

const LOOK_MS = 2_000
const BLOCKS_MAX = 40

export function Standing() {
  const wished = address.value.searchParams.get('target') ?? 'market'
  const query = `target=${encodeURIComponent(wished)}`
  const summary = useAsked(`scaling ${wished} ${deeds.value}`, LOOK_MS, (signal) =>
    call<Summary>('GET', `${API}/summary?${query}`, undefined, signal),
  )
  const { answer, problem } = summary.asked.value
  const pausing = useSignal(false)
  if (!answer && problem) {
    return (
      <section class="panel">
        <Problem problem={problem} again={summary.again} />
      </section>
    )
  }
  return (
    <>
      {/* There from the start, so that nothing moves when the others come. */}
      <nav class="seg parts" aria-label="Target">
        {(answer?.targets.map(({ name }) => name) ?? [wished]).map((name) => (
          <a
            key={name}
            href={`/ops/scaling?target=${encodeURIComponent(name)}`}
            aria-current={name === wished ? 'page' : undefined}
          >
            {name}
          </a>
        ))}
      </nav>
      <Headline summary={answer} pause={() => (pausing.value = true)} />
      <Facts summary={answer} />
      <div class="cols">
        <div class="stack">
          <Charts target={wished} query={query} summary={answer} />
          <Decisions query={query} />
        </div>
        <div class="stack">
          <Instances query={query} provider={answer?.provider.kind ?? ''} />
          <Policies summary={answer} />
          <Recommendations query={query} currency={answer?.currency ?? null} />
          <Manual key={wished} summary={answer} target={wished} />
        </div>
      </div>
      {pausing.value && <PauseDialog target={wished} close={() => (pausing.value = false)} />}
    </>
  )
}

// --------------------------------------------------------------------------------------------------- headline

const plural = (n: number) => `${n} ${n === 1 ? 'instance' : 'instances'}`

function sentenceOf(summary: Summary): { icon: IconName; colour: string; text: string } {
  const { current_instances: ready, target_instances: wanted, pause, provider } = summary
  if (ready === null) {
    const why = provider.detail ?? 'The provider has not told yet how many instances there are.'
    return { icon: 'nodata', colour: 'sev-none', text: why }
  }
  if (!summary.scaling_active) {
    return {
      icon: 'nodata',
      colour: 'sev-none',
      text: `Scaling is stopped; ${plural(ready)} stay${ready === 1 ? 's' : ''}.`,
    }
  }
  if (provider.state === 'degraded') {
    const why = provider.detail ?? 'The provider does not answer'
    const text = `${why.charAt(0).toUpperCase()}${why.slice(1)}${why.endsWith('.') ? '' : '.'}`
    return { icon: 'warning', colour: 'sev-warning', text }
  }
  if (wanted !== null && ready < wanted) {
    const soon = !summary.ready_in || summary.ready_in < 1 ? '' : `; ready in about ${short(summary.ready_in * 1000)}`
    return { icon: 'info', colour: 'sev-info', text: `Growing from ${ready} to ${plural(wanted)}${soon}.` }
  }
  if (wanted !== null && ready > wanted) {
    return { icon: 'info', colour: 'sev-info', text: `Shrinking from ${ready} to ${plural(wanted)}.` }
  }
  if (pause !== null) {
    const until = pause.until ? ` until ${moment(Date.parse(pause.until), now.value)}` : ''
    return { icon: 'info', colour: 'sev-info', text: `Scaling is paused${until}; ${plural(ready)} ready.` }
  }
  return { icon: 'ok', colour: 'sev-ok', text: `${plural(ready)} ready, as many as are wanted.` }
}

function Headline({ summary, pause }: { summary: Summary | null; pause: () => void }) {
  if (!summary) {
    return (
      <div class="headline load" aria-busy="true">
        <Icon name="nodata" class="l sev-none" />
        <h1>Looking at the instances.</h1>
        <p>{NARROW}</p>
      </div>
    )
  }
  const { icon, colour, text } = sentenceOf(summary)
  const why = cannot('operator')
  return (
    <div class="headline">
      <Icon name={icon} class={`l ${colour}`} />
      <h1>{text}</h1>
      <div class="aside">
        {summary.pause ? (
          <Act needs="operator" act={() => call('POST', `${API}/resume`, {})}>
            Resume
          </Act>
        ) : (
          <button type="button" class="btn" disabled={why !== null} title={why ?? undefined} onClick={pause}>
            Pause…
          </button>
        )}
      </div>
      <p>{secondLine(summary)}</p>
    </div>
  )
}

function secondLine({ pause, hold, last_change: last, last_decision: newest }: Summary): string {
  const parts: string[] = []
  if (pause) parts.push(`Paused by ${pause.by}: ${pause.reason}.`)
  if (hold) {
    const until = moment(Date.parse(hold.until), now.value)
    parts.push(`${hold.by} holds ${plural(hold.target_instances)} until ${until}: ${hold.reason}.`)
  }
  const said = newest && newest.action === 'maintain' && newest.constraints.some(({ from, to }) => from !== to)
  if (said) parts.push(newest.reason)
  else if (last) parts.push(`Last change at ${moment(Date.parse(last.created_at), now.value)}: ${last.reason}`)
  if (parts.length === 0) parts.push('Nothing was changed yet; every evaluation is in the list below.')
  return parts.join(' ')
}

// ------------------------------------------------------------------------------------------------------ facts

function Facts({ summary }: { summary: Summary | null }) {
  const target = summary?.targets.find(({ name }) => name === summary.target)
  const ready = summary?.current_instances ?? null
  const capacity = summary?.capacity_per_instance.value ?? null
  const demand = summary?.demand.value ?? null
  const held = capacity === null || ready === null ? null : capacity * ready
  const wanted = summary?.target_instances ?? null
  const { today, yesterday, period } = summary?.usage ?? { today: null, yesterday: null, period: null }
  const metrics = summary?.metrics
  const ended = metrics ? metrics.successful_scales + metrics.failed_scales : 0
  return (
    <section class="facts" aria-label="Key figures">
      <div class="fact">
        <b>
          {ready ?? '–'}{' '}
          <small>
            ready of {wanted ?? '–'} wanted
            {summary && `, limits ${summary.limits.min} to ${summary.limits.max}`}
          </small>
        </b>
        {summary && target && <Blocks summary={summary} draining={target.draining} failed={target.failed} />}
      </div>
      <div class="fact">
        <b>
          {demand === null ? 'No data' : formatNumber(demand, 'req/s')}{' '}
          <small>
            {demand === null ? 'of demand' : 'req/s'}
            {held !== null && `, ${formatNumber(held, 'req/s')} held well`}
          </small>
        </b>
        <span>
          {held === null
            ? 'what one instance holds is being learnt'
            : demand === null
              ? 'no fresh sample of it'
              : held > 0
                ? `${formatNumber((100 * demand) / held, '%')}${NARROW}% of measured capacity`
                : 'nothing is ready'}
        </span>
      </div>
      <div class="fact">
        <b>
          {today ? today.instance_hours.toFixed(1) : '–'} <small>instance-hours today</small>
        </b>
        <span>
          {yesterday && yesterday.instance_hours > 0
            ? `yesterday ${yesterday.instance_hours.toFixed(1)} by this time`
            : 'nothing of yesterday'}
        </span>
      </div>
      <div class="fact">
        <b>
          {period?.saved_percent == null ? '–' : `${Math.round(period.saved_percent)}${NARROW}%`}{' '}
          <small>saved in 7 days</small>
        </b>
        <span>
          {period?.cost != null && period.baseline_cost !== null && summary?.currency
            ? `${(period.baseline_cost - period.cost).toFixed(2)} ${summary.currency} less than the maximum all the time`
            : `against ${summary?.limits.max ?? 'the most'} instances all the time`}
        </span>
      </div>
      <div class="fact">
        <b>
          {metrics && metrics.successful_scales > 0 ? short(metrics.average_scale_time * 1000) : '–'}{' '}
          <small>from decision to ready</small>
        </b>
        <span>
          {metrics && ended > 0
            ? `${metrics.successful_scales} of ${ended} actions worked in 7 days`
            : 'no action in 7 days'}
        </span>
      </div>
    </section>
  )
}

/** A block for each instance that is or may be: told by shape, and in words to those who do not see it. */
function Blocks({ summary, draining, failed }: { summary: Summary; draining: number; failed: number }) {
  const ready = summary.current_instances ?? 0
  const wanted = summary.target_instances ?? ready
  const starting = Math.max(0, wanted - ready - failed)
  const free = Math.max(0, summary.limits.max - ready - starting - draining - failed)
  const kinds = [
    ['', ready, 'ready'],
    ['starting', starting, 'starting'],
    ['draining', draining, 'draining'],
    ['failed', failed, 'failed'],
    ['none', free, 'free'],
  ] as const
  const words = kinds.flatMap(([, count, word]) => (count > 0 ? [`${count} ${word}`] : [])).join(', ')
  const all = kinds.flatMap(([kind, count]) => Array.from({ length: count }, () => kind))
  return (
    <div class="blocks" role="img" aria-label={words}>
      {all.slice(0, BLOCKS_MAX).map((kind, i) => (
        <i key={i} class={`block ${kind}`} />
      ))}
    </div>
  )
}

// ----------------------------------------------------------------------------------------------------- charts

function Charts({ target, query, summary }: { target: string; query: string; summary: Summary | null }) {
  const backMs = RANGES[range.value].seconds * 1000
  const { asked, again } = useAsked(`timeline ${target} ${backMs}`, 15_000, async (signal) => {
    const until = Date.now()
    const since = new Date(until - backMs).toISOString()
    const answer = await call<Timeline>('GET', `${API}/timeline?${query}&since=${since}`, undefined, signal)
    return { answer, until }
  })
  const { answer: held, problem } = asked.value
  const points = held?.answer.points ?? []
  const stepMs = (held?.answer.step ?? 60) * 1000
  const track = held && {
    from: Date.parse(points[0]?.t ?? new Date(held.until).toISOString()),
    stepMs,
    length: points.length,
    series: {
      demand: points.map((point) => point.demand),
      capacity: points.map((point) => point.capacity),
      ready: points.map((point) => point.ready),
      wanted: points.map((point) => point.wanted),
    },
  }
  const ahead = (held?.answer.forecast ?? [])
    .map(({ target_time, value, lower, upper }) => ({ at: Date.parse(target_time), value, lower, upper }))
    .filter(({ at }) => held !== null && at > held.until && at - held.until <= backMs / 2)
  const marks = events.value.filter(({ type, subject }) => type === 'scaling' && subject === target)
  const stale = problem !== null || line.value.kind === 'disconnected'
  const end = held?.until ?? now.value
  const each = summary?.capacity_per_instance.value ?? null
  return (
    <section class="panel" aria-label="Demand, forecast and capacity">
      <Chart
        title="Demand, forecast and capacity"
        lines={[
          { key: 'demand', name: 'Demand', unit: 'req/s', axis: 'left' },
          { key: 'capacity', name: 'Capacity', unit: 'req/s', axis: 'left', or: 'demand', nothing: 'not learnt yet' },
        ]}
        track={track}
        now={end}
        gapMs={Math.max(3 * stepMs, 180_000)}
        left={{ unit: 'req/s', base: 0, top: points.some((point) => point.demand !== null) ? null : 1 }}
        ahead={{ demand: ahead }}
        events={marks}
        stale={stale}
        note={
          each === null
            ? 'what one instance holds is being learnt from load, CPU and response time'
            : `one instance holds ${formatNumber(each, 'req/s')} req/s at p95 under ${summary?.limit_ms ?? '–'} ms`
        }
      />
      <Chart
        title="Instances"
        lines={[
          { key: 'ready', name: 'Ready', unit: '', axis: 'left' },
          { key: 'wanted', name: 'Wanted', unit: '', axis: 'left' },
        ]}
        track={track}
        now={end}
        gapMs={Math.max(3 * stepMs, 180_000)}
        left={{ unit: '', base: 0, top: summary ? summary.limits.max : 10 }}
        stale={stale}
      />
      {problem && <Problem problem={problem} again={again} />}
    </section>
  )
}

// -------------------------------------------------------------------------------------------------- decisions

const SHOWN = { changes: 'Changes', all: 'All', held: 'Held back' } as const

function Decisions({ query }: { query: string }) {
  const which = useSignal<keyof typeof SHOWN>('changes')
  const only = which.value === 'all' ? '' : `&only=${which.value}`
  const { asked, again } = useAsked(`decisions ${query} ${which.value} ${deeds.value}`, 5_000, (signal) =>
    call<Decision[]>('GET', `${API}/decisions?${query}&limit=30${only}`, undefined, signal),
  )
  const { answer, problem } = asked.value
  return (
    <section class="panel" aria-labelledby="h-dec">
      <div class="panel-head">
        <h2 id="h-dec">Decisions</h2>
        <span class="end">
          {/* biome-ignore lint/a11y/useSemanticElements: a fieldset cannot stand in a head of a panel */}
          <span class="seg" role="group" aria-label="Filter decisions">
            {(Object.keys(SHOWN) as (keyof typeof SHOWN)[]).map((name) => (
              <button
                key={name}
                type="button"
                aria-pressed={which.value === name}
                onClick={() => {
                  which.value = name
                }}
              >
                {SHOWN[name]}
              </button>
            ))}
          </span>
        </span>
      </div>
      <div class="rows decisions">
        {(answer ?? []).map((decision, i) => (
          <DecisionRow key={decision.id} decision={decision} open={i === 0} />
        ))}
        {answer?.length === 0 && (
          <p class="empty">
            {which.value === 'changes'
              ? 'Nothing was changed yet. Every evaluation stands under All.'
              : which.value === 'held'
                ? 'Nothing was held back.'
                : 'No evaluation yet; the first comes with the next cycle.'}
          </p>
        )}
        {problem && <Problem problem={problem} again={again} />}
      </div>
    </section>
  )
}

// -------------------------------------------------------------------------------------------------- instances

const STATE: Readonly<Record<Instance['state'], { word: string; icon: IconName; colour: string }>> = {
  ready: { word: 'ready', icon: 'check', colour: 'sev-ok' },
  starting: { word: 'starting', icon: 'clock', colour: '' },
  draining: { word: 'draining', icon: 'down', colour: '' },
  backing_off: { word: 'waits to start again', icon: 'warning', colour: 'sev-warning' },
  failed: { word: 'failed', icon: 'critical', colour: 'sev-critical' },
  stopped: { word: 'stopped', icon: 'off', colour: 'sev-none' },
}

const MIB = 1024 * 1024

function Instances({ query, provider }: { query: string; provider: string }) {
  const { asked, again } = useAsked(`instances ${query} ${deeds.value}`, 2_000, (signal) =>
    call<Instance[]>('GET', `${API}/instances?${query}`, undefined, signal),
  )
  const { answer, problem } = asked.value
  const rows = answer ?? []
  return (
    <section class="panel" aria-labelledby="h-inst">
      <div class="panel-head">
        <h2 id="h-inst">Instances</h2>
        <span class="end small quiet">{provider === 'process' ? 'local processes' : provider}</span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap" tabIndex={0} aria-label="Each instance">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Id</th>
              <th scope="col">State</th>
              <th scope="col" class="n">
                CPU
              </th>
              <th scope="col" class="n">
                Memory
              </th>
              <th scope="col" class="n">
                In flight
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((one) => {
              const { word, icon, colour } = STATE[one.state]
              const since = one.started_at ? Date.parse(one.started_at) : null
              return (
                <tr key={one.id}>
                  <td class="mono">{one.id}</td>
                  <td>
                    <span class={`tag plain ${colour}`} title={since ? `since ${hhmmss(since)} UTC` : undefined}>
                      <Icon name={icon} /> {word}
                    </span>
                  </td>
                  <td class="n">{one.cpu === null ? '–' : `${Math.round(one.cpu)}${NARROW}%`}</td>
                  <td class="n">{one.memory === null ? '–' : `${Math.round(one.memory / MIB)}${NARROW}MiB`}</td>
                  <td class="n">{one.in_flight ?? '–'}</td>
                </tr>
              )
            })}
            {answer && rows.length === 0 && (
              <tr>
                <td colSpan={5} class="quiet">
                  The provider lists none.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </section>
      {problem && <Problem problem={problem} again={again} />}
    </section>
  )
}

// --------------------------------------------------------------------------------------------------- policies

const UNITS: Readonly<Record<string, string>> = {
  'system.cpu_usage': '%',
  'system.memory_usage': '%',
  'application.api_response_time': 'ms',
  'application.requests_per_second': 'req/s',
}

function Policies({ summary }: { summary: Summary | null }) {
  const policies = Object.entries(summary?.policies ?? {})
  const wants = new Map((summary?.last_decision?.proposals ?? []).map(({ by, wanted }) => [by, wanted]))
  const most = Math.max(...wants.values(), 0)
  return (
    <section class="panel" aria-labelledby="h-pol">
      <div class="panel-head">
        <h2 id="h-pol">Policies</h2>
        <span class="end">
          <a href="/ops/scaling/policies">New policy</a>
        </span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap" tabIndex={0} aria-label="Each policy">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Policy</th>
              <th scope="col" class="n">
                Now
              </th>
              <th scope="col">Down and up</th>
              <th scope="col" class="n">
                Wants
              </th>
            </tr>
          </thead>
          <tbody>
            {policies.map(([name, policy]) => {
              const { current_value: value, scale_down_threshold: down, scale_up_threshold: up } = policy
              const unit = UNITS[policy.metric_name] ?? ''
              const wanted = wants.get(name)
              const span = Math.max(up * 1.25, value ?? 0, 1e-9)
              const at = (x: number) => `${Math.min(100, Math.max(0, (100 * x) / span)).toFixed(1)}%`
              return (
                <tr key={name}>
                  <td>
                    <a href={`/ops/scaling/policies/${encodeURIComponent(name)}`}>{name}</a>
                    {!policy.enabled && <span class="quiet"> off</span>}
                  </td>
                  <td class="n">
                    {value === null ? (
                      <span class="quiet">no data</span>
                    ) : (
                      `${formatNumber(value, unit)}${unit ? NARROW + unit : ''}`
                    )}
                  </td>
                  <td>
                    <Gauge down={at(down)} up={at(up)} value={value === null ? null : at(value)}>
                      {`${value === null ? 'no data' : formatNumber(value, unit)}, limits ${down} and ${up}`}
                    </Gauge>
                  </td>
                  <td class="n">
                    {wanted === undefined ? '–' : wanted === most ? <b class="strong">{wanted}</b> : wanted}
                  </td>
                </tr>
              )
            })}
            {summary && policies.length === 0 && (
              <tr>
                <td colSpan={4} class="quiet">
                  This target has no policy: it stays as it is.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </section>
      <div class="panel-foot">
        <span>Between the two marks nothing changes. Forecasts may add, never remove.</span>
      </div>
    </section>
  )
}

interface Recommendation {
  readonly type: string
  readonly policy: string
  readonly recommended_instances: number
  readonly reason: string
  readonly priority: string
  readonly evidence: readonly string[]
  readonly expected_saving_per_hour: number | null
}

function Recommendations({ query, currency }: { query: string; currency: string | null }) {
  const { asked } = useAsked(`recommendations ${query} ${deeds.value}`, 30_000, (signal) =>
    call<{ recommendations: readonly Recommendation[] }>('GET', `${API}/recommendations?${query}`, undefined, signal),
  )
  const found = asked.value.answer?.recommendations ?? []
  const saves = (amount: number | null) => {
    if (amount === null || amount === 0) return ''
    const unit = currency ?? 'instance-hours'
    return ` ${amount > 0 ? 'Saves' : 'Costs'} ${Math.abs(amount).toFixed(2)} ${unit} an hour.`
  }
  return (
    <section class="panel" aria-labelledby="h-rec">
      <div class="panel-head">
        <h2 id="h-rec">Recommendations</h2>
      </div>
      <ul class="panel-body recommendations">
        {found.map((one) => (
          <li key={`${one.type} ${one.policy}`} class="note soft">
            <b class="strong">
              {one.type === 'scale_up' ? 'Up' : 'Down'} to {one.recommended_instances}.
            </b>{' '}
            {[one.reason, ...one.evidence.map((said) => `${said.charAt(0).toUpperCase()}${said.slice(1)}.`)].join(' ')}
            {saves(one.expected_saving_per_hour)}
          </li>
        ))}
        {found.length === 0 && <li class="note soft">Nothing to recommend: what is there fits what is asked.</li>}
      </ul>
    </section>
  )
}

function Gauge({ down, up, value, children }: { down: string; up: string; value: string | null; children: string }) {
  return (
    <svg class="gauge" role="img" aria-label={children} width="100%" height="10" preserveAspectRatio="none">
      <rect class="ground" y="2" width="100%" height="6" rx="3" />
      <rect class="free" x={down} y="2" width={`${Number.parseFloat(up) - Number.parseFloat(down)}%`} height="6" />
      {value !== null && <rect class="at" x={value} width="3" height="10" rx="1.5" />}
    </svg>
  )
}
