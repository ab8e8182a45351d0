/** A decision: in one line, and whole with each policy's wish, what held it back, and what became of it. */
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { formatExact, formatNumber, hhmmss, moment, short } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { Around } from './around.tsx'
import { API, type Decision, type Trace } from './types.ts'

const ICON = { scale_up: 'up', scale_down: 'down', maintain: 'flat' } as const

/** `4 to 6`, `keep 4`. */
export function change(decision: Pick<Decision, 'action' | 'current_instances' | 'target_instances'>): string {
  if (decision.action === 'maintain') return `keep ${decision.target_instances}`
  return `${decision.current_instances} to ${decision.target_instances}`
}

const HELD: Readonly<Record<string, string>> = {
  cooldown: 'cooling down',
  stabilization: 'too short',
  min: 'minimum',
  max: 'maximum',
  max_step: 'one step at a time',
  missing_metric: 'no data',
  paused: 'paused',
  manual_hold: 'held by hand',
  proof_failed: 'would not hold',
  driver: 'provider',
}

export function StatusTag({ decision }: { decision: Decision }) {
  const held = decision.constraints.find(({ from, to }) => from !== to)
  if (decision.status === 'failed') {
    return (
      <span class="tag">
        <Icon name="critical" class="sev-critical" /> failed
      </span>
    )
  }
  if (decision.action === 'maintain') {
    if (held) return <span class="tag">held back: {HELD[held.constraint] ?? held.constraint}</span>
    const blind = decision.constraints.some(({ constraint }) => constraint === 'missing_metric')
    return blind ? <span class="tag">no data</span> : <span class="tag">no change</span>
  }
  if (decision.status === 'done') {
    const ms = decision.ready_at ? Date.parse(decision.ready_at) - Date.parse(decision.created_at) : null
    return (
      <span class="tag ok">
        <Icon name="check" /> {ms === null ? 'done' : `done in ${short(ms)}`}
      </span>
    )
  }
  return (
    <span class={`tag${decision.status === 'suppressed' ? '' : ' accent'}`}>
      {decision.status === 'suppressed' ? 'superseded' : decision.status}
    </span>
  )
}

export function DecisionRow({ decision, open }: { decision: Decision; open?: boolean }) {
  const at = Date.parse(decision.created_at)
  return (
    <article class="decision" data-decision={decision.id}>
      <time dateTime={decision.created_at}>{now.value - at < 86_400_000 ? hhmmss(at) : moment(at, now.value)}</time>
      <b>
        <Icon name={ICON[decision.action]} class="s" />{' '}
        <a href={`/ops/scaling/decisions/${encodeURIComponent(decision.id)}`}>{change(decision)}</a>
      </b>
      <p>{decision.reason}</p>
      <StatusTag decision={decision} />
      {open && <Explained decision={decision} />}
    </article>
  )
}

/** What each wanted, and how the wishes became one number. */
/** A long name may go on in the next line after each `_`. */
const breakable = (name: string) =>
  name.split(/(?<=_)/).map((part) => (
    <>
      {part}
      <wbr />
    </>
  ))

export function Explained({ decision }: { decision: Decision }) {
  const largest = Math.max(...decision.proposals.filter((one) => one.counted).map((one) => one.wanted), 0)
  return (
    <div class="trace">
      <div>
        <h3>What each policy wanted</h3>
        <table class="table">
          <thead class="vh">
            <tr>
              <th scope="col">Policy</th>
              <th scope="col">Why</th>
              <th scope="col">Wanted</th>
            </tr>
          </thead>
          <tbody>
            {decision.proposals.map((one) => (
              <tr key={one.by}>
                <td>{breakable(one.by)}</td>
                <td class="soft">
                  {one.reason}
                  {!one.counted && !one.reason.includes('for show') && ' (shown only)'}
                </td>
                <td class="n">
                  {one.wanted === largest && one.counted ? <b class="strong">{one.wanted}</b> : one.wanted}
                </td>
              </tr>
            ))}
            {decision.proposals.length === 0 && (
              <tr>
                <td colSpan={3} class="quiet">
                  No policy is enabled.
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
      <div>
        <h3>From wish to target</h3>
        <ol class="steps">
          <li>
            <span>Largest wish</span>
            <span>{decision.proposals.length === 0 ? '–' : largest}</span>
          </li>
          {decision.constraints.map((held, i) => (
            <li key={`${held.constraint} ${i}`}>
              <span>
                {held.from !== held.to && <span class="vh">held back: </span>}
                {held.detail}
              </span>
              <span>{held.from === held.to ? 'free' : held.to}</span>
            </li>
          ))}
          <li>
            <b>Target</b>
            <b>{decision.target_instances}</b>
          </li>
        </ol>
      </div>
    </div>
  )
}

const STEP: Readonly<Record<string, string>> = {
  planned: 'decided and written down',
  executing: 'taken by the provider',
  done: 'all are there',
  failed: 'failed',
  suppressed: 'not carried out',
}

export function DecisionPage({ id }: { id: string }) {
  const { asked, again } = useAsked(`decision ${id}`, 5_000, (signal) =>
    call<Trace>('GET', `${API}/decisions/${encodeURIComponent(id)}`, undefined, signal),
  )
  const { answer: trace, problem } = asked.value
  if (!trace) {
    return (
      <section class="panel" aria-busy={problem ? undefined : 'true'}>
        {problem ? <Problem problem={problem} again={again} /> : <p class="empty">Looking it up.</p>}
      </section>
    )
  }
  const created = Date.parse(trace.created_at)
  const inputs = Object.entries(trace.inputs)
  return (
    <>
      <p class="crumb">
        <a href={`/ops/scaling?target=${encodeURIComponent(trace.target)}`}>Scaling</a>
      </p>
      <div class="headline">
        <Icon name={ICON[trace.action]} class="l" />
        <h1>
          {trace.target}: {change(trace)}
        </h1>
        <p>
          {trace.reason} <time dateTime={trace.created_at}>{moment(created, now.value)} UTC</time>, by {trace.policy} (
          {trace.trigger}).
        </p>
      </div>
      <section class="panel" aria-labelledby="h-why">
        <div class="panel-head">
          <h2 id="h-why">Why</h2>
          <span class="end">
            <StatusTag decision={trace} />
          </span>
        </div>
        <Explained decision={trace} />
      </section>
      <Around trace={trace} />
      <div class="cols even">
        <section class="panel" aria-labelledby="h-became">
          <div class="panel-head">
            <h2 id="h-became">What became of it</h2>
          </div>
          <ol class="panel-body steps">
            {trace.steps.map((step) => (
              <li key={`${step.at} ${step.status}`}>
                <span>
                  {STEP[step.status] ?? step.status}
                  {step.detail && <span class="quiet">: {step.detail}</span>}
                </span>
                <time dateTime={step.at}>{hhmmss(Date.parse(step.at))}</time>
              </li>
            ))}
          </ol>
          {trace.grade && <p class="note">{trace.grade.sentence}</p>}
          <div class="panel-foot">
            <span>
              {trace.capacity_per_instance === null
                ? 'What one instance holds was not learnt yet'
                : `One instance held ${formatNumber(trace.capacity_per_instance, 'req/s')} req/s, as learnt by then`}
              ; a start took {short(trace.start_up * 1000)}
            </span>
          </div>
        </section>
        <section class="panel" aria-labelledby="h-inputs">
          <div class="panel-head">
            <h2 id="h-inputs">What it was made from</h2>
          </div>
          <table class="table">
            <thead class="vh">
              <tr>
                <th scope="col">Input</th>
                <th scope="col">Value</th>
              </tr>
            </thead>
            <tbody>
              {inputs.map(([name, value]) => (
                <tr key={name}>
                  <td class="mono">{name}</td>
                  <td class="n">{value === null ? 'no data' : formatExact(Number(value.toPrecision(6)))}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <div class="panel-foot">
            <span>
              {Object.entries(trace.policy_versions)
                .map(([name, version]) => `${name} version ${version}`)
                .join(', ') || 'no policy'}
              ; platform {trace.engine}
            </span>
          </div>
        </section>
      </div>
    </>
  )
}
