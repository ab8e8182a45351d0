/** The headline, and the panels that tell of alerts and processes. Each is honest about what is not there. */
import type { DashboardProcess, DashboardState, Engine } from '../protocol.ts'
import { RANGE_NAMES } from '../protocol.ts'
import { range, setRange } from './address.ts'
import { ago, hhmm, hhmmss, moment, short, spoken } from './format.ts'
import { STATUS } from './frame.tsx'
import type { IconName } from './icons.tsx'
import { Icon } from './icons.tsx'
import { line, now, old, state, tryNow } from './live.ts'

// -------------------------------------------------------------------------------------------------- headline

export function Headline() {
  const kind = line.value.kind
  const current = state.value
  const { icon, colour, text, below } = words(current)
  const lost = kind === 'disconnected' || kind === 'refused'
  return (
    <div class="headline">
      <Icon name={icon} class={`l ${colour}`} />
      <h1 class={current || lost ? undefined : 'load'}>{text}</h1>
      <div class="aside">{lost ? <Retry /> : <Ranges />}</div>
      <p class={current || lost ? 'told' : 'told load'} title={below}>
        {below}
      </p>
    </div>
  )
}

function words(current: DashboardState | null): { icon: IconName; colour: string; text: string; below: string } {
  const now_ = now.value
  const at = current ? Date.parse(current.timestamp) : null
  const { value } = line
  if (value.kind === 'refused')
    return {
      icon: 'off',
      colour: 'sev-warning',
      text: 'Not allowed: this account may not see operations.',
      below: value.why,
    }
  if (value.kind === 'disconnected') {
    return {
      icon: 'off',
      colour: 'sev-none',
      text:
        at === null
          ? 'Not connected: the platform does not answer.'
          : `Not live: these figures are from ${clock(at, now_)}, ${spoken(now_ - at)} ago.`,
      below: `${value.why ? `The platform closed the connection: ${value.why}.` : 'The connection to the platform was lost.'} While it runs it goes on measuring; what was measured is shown once the line is back.`,
    }
  }
  if (!current || at === null)
    return {
      icon: 'nodata',
      colour: 'sev-none',
      text: 'Reading the state of the platform',
      below: 'Waiting for the first message.',
    }
  const { headline } = current
  const below = [headline.cause, headline.next].filter(Boolean).join(' ')
  const { icon, colour } = STATUS[headline.status]
  if (value.kind !== 'live') {
    return {
      icon: 'live',
      colour: 'sev-none',
      text: `Stale: these figures are from ${clock(at, now_)}, ${spoken(now_ - at)} ago.`,
      below: value.kind === 'stale' ? 'The line is open, but no message has come since.' : 'Connecting again.',
    }
  }
  return {
    icon,
    colour,
    text: headline.text,
    below: below || (headline.status === 'healthy' ? 'Nothing needs attention.' : 'Why is not known.'),
  }
}

/** With seconds while they matter. */
const clock = (at: number, now_: number) => (now_ - at < 120_000 ? hhmmss(at) : moment(at, now_))

function Ranges() {
  const minutes = state.value ? state.value.figures.cpu_usage.change_window / 60 : null
  return (
    <>
      <span class="small quiet wide-only">{minutes ? `change over ${Number(minutes.toPrecision(3))} min` : ''}</span>
      <fieldset class="seg">
        <legend class="vh">Time range</legend>
        {RANGE_NAMES.map((name, i) => (
          <button
            key={name}
            type="button"
            aria-pressed={range.value === name}
            title={`Key ${i + 1}`}
            onClick={() => setRange(name)}
          >
            {name.replace(/(\d+)/, '$1 ')}
          </button>
        ))}
      </fieldset>
    </>
  )
}

function Retry() {
  const { value } = line
  if (value.kind !== 'disconnected') return null
  // The countdown is by this machine's clock; `now` makes it tick.
  now.value
  const seconds = Math.ceil((value.nextAt - Date.now()) / 1000)
  return (
    <>
      <span class="note soft">
        {seconds > 0 ? `Next try in ${seconds} s` : 'Trying'}, attempt {value.attempt}
      </span>
      <button type="button" class="btn" onClick={tryNow}>
        <Icon name="retry" class="s" /> Try now
      </button>
    </>
  )
}

// ------------------------------------------------------------------------------------------------- instances

const PROCESS_STATE: Readonly<Record<DashboardProcess['state'], { word: string; block: string }>> = {
  ready: { word: 'ready', block: '' },
  starting: { word: 'starting', block: 'starting' },
  draining: { word: 'draining', block: 'draining' },
  backing_off: { word: 'failed, starts again', block: 'failed' },
  stopped: { word: 'stopped', block: 'none' },
}

/** The instances of the market as they are and as they are wanted; below, the other processes of the platform. */
export function Instances() {
  const current = state.value
  const processes = current?.processes ?? []
  const instances = processes.filter((p) => p.kind === 'instance' && p.state !== 'stopped')
  const listed = processes.filter((p) => p.kind !== 'instance' || p.restarts > 0)
  const { ready, wanted } = counted(instances, current)
  return (
    <section class="panel" id="p-scale" aria-labelledby="h-scale">
      <div class="panel-head">
        <h2 id="h-scale">Instances</h2>
        <span class="end">
          <a href="/ops/scaling">Scaling</a>
        </span>
      </div>
      <div class="panel-body">
        <div class="now load">
          <p>
            <b>{wanted === 0 && current ? 'None' : `${ready} ready`}</b>{' '}
            <span class="soft">
              of {wanted} wanted
              {current && old.value && `, as of ${moment(Date.parse(current.timestamp), now.value)}`}
            </span>
          </p>
          <div class="blocks" role="img" aria-label={spokenStates(instances)}>
            {instances.map((process) => (
              <i key={process.id} class={`block ${PROCESS_STATE[process.state].block}`} />
            ))}
          </div>
        </div>
        <p class="note soft load">{onTheWay(instances, wanted)}</p>
        <LastDecision />
        {listed.length > 0 && (
          <ul class="sub" aria-label="Processes">
            {listed.map((process) => (
              <Process key={process.id} process={process} />
            ))}
          </ul>
        )}
      </div>
    </section>
  )
}

function counted(instances: readonly DashboardProcess[], current: DashboardState | null) {
  const ready = current?.instances.current ?? instances.filter((p) => p.state === 'ready').length
  return { ready, wanted: current?.instances.target ?? instances.length }
}

/** How many are in each state, such as `4 ready, 2 starting`. */
function statesOf(instances: readonly DashboardProcess[], which: readonly DashboardProcess['state'][]): string {
  const parts = which.map((wanted) => {
    const count = instances.filter((p) => p.state === wanted).length
    return count === 0 ? '' : `${count} ${PROCESS_STATE[wanted].word}`
  })
  return parts.filter(Boolean).join(', ')
}

const spokenStates = (instances: readonly DashboardProcess[]) =>
  statesOf(instances, ['ready', 'starting', 'draining', 'backing_off']) || 'No instances'

/** What stands between the instances that are ready and those that are wanted. */
function onTheWay(instances: readonly DashboardProcess[], wanted: number): string {
  if (instances.length === 0 && wanted === 0) return 'No instances of the market run here.'
  return statesOf(instances, ['starting', 'draining', 'backing_off']) || 'No change wanted.'
}

/** What scaling changed last, and why. */
function LastDecision() {
  const last = state.value?.instances.last_decision
  if (!last) return null
  const up = last.action === 'scale_up'
  return (
    <div class="sub">
      <p class="note">
        <a href={`/ops/scaling/decisions/${encodeURIComponent(last.id)}`}>
          Last change: scale {up ? 'up' : 'down'}, {last.current_instances} to {last.target_instances}
        </a>
        <span class="sep quiet">{moment(Date.parse(last.created_at), now.value)}</span>
      </p>
      <p class="note soft">{last.reason}</p>
    </div>
  )
}

function Process({ process }: { process: DashboardProcess }) {
  const { word } = PROCESS_STATE[process.state]
  const started = process.started_at ? Date.parse(process.started_at) : null
  return (
    <li>
      <p class="note">
        <b class="strong">{process.id}</b>: {word}
        {started !== null && process.state === 'ready' && (
          <span class="sep quiet">
            since <time dateTime={process.started_at!}>{moment(started, now.value)}</time>, {short(now.value - started)}
          </span>
        )}
      </p>
      {process.restarts > 0 && (
        <p class="small quiet">
          restarted {process.restarts === 1 ? 'once' : `${process.restarts} times`}
          {process.last_exit && `, last because of ${process.last_exit}`}
        </p>
      )}
    </li>
  )
}

// ---------------------------------------------------------------------------------------------------- engines

const ENGINE: Readonly<Record<Engine['name'], string>> = {
  collection: 'Collection',
  analytics: 'Analytics',
  alerting: 'Alerting',
  scaling: 'Scaling',
  optimizer: 'Optimizer',
}

export function Engines() {
  const current = state.value
  return (
    <footer class="page-foot">
      {line.value.kind === 'disconnected' && current ? (
        <span>Engines: not known since {hhmm(Date.parse(current.timestamp))}</span>
      ) : (
        (current?.engines ?? []).map((engine) => (
          <span key={engine.name}>
            <Icon
              name={engine.state === 'active' ? 'ok' : 'nodata'}
              class={`s ${engine.state === 'active' ? 'sev-ok' : 'sev-none'}`}
            />
            {ENGINE[engine.name]},{' '}
            {engine.name === 'analytics' && engine.state === 'active' && engine.last_activity && 'cycle '}
            {engine.state === 'not_installed' || engine.state === 'stopped'
              ? engine.state.replace('_', ' ')
              : engine.last_activity
                ? ago(Date.parse(engine.last_activity), now.value)
                : 'nothing yet'}
          </span>
        ))
      )}
      <span class="push">
        <kbd>?</kbd> all keys
      </span>
    </footer>
  )
}
