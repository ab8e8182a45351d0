/** One alert: what it is and who has it, why it fired, who was told with what answer, and what happened when. */
import type { Signal } from '@preact/signals'
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import type { DashboardEvent } from '../../protocol.ts'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { Chart } from '../chart.tsx'
import { hhmmss, moment } from '../format.ts'
import { Icon, type IconName } from '../icons.tsx'
import { line, now } from '../live.ts'
import { Act, acknowledge, deeds } from './act.tsx'
import { Attempts, DeliveryState } from './deliveries.tsx'
import { Ask } from './dialog.tsx'
import { rises } from './panel.tsx'
import { SilenceDialog } from './silences.tsx'
import { useSeries } from './track.ts'
import type { AlertDetail, DeliveriesAnswer, Explanation, Severity, TimelineEntry } from './types.ts'
import { API } from './types.ts'
import { ABOVE, ended, figure, isBelow, isOwn, lasting, limit, sourceOf, suppressor } from './words.ts'

interface Known {
  readonly alert: AlertDetail
  readonly deliveries: DeliveriesAnswer
}

export function Detail({ id, silencing }: { id: string; silencing: Signal<boolean> }) {
  const resolving = useSignal(false)
  const { asked, again } = useAsked(`alert ${id} ${deeds.value}`, 3_000, async (signal) => {
    const [alert, deliveries] = await Promise.all([
      call<AlertDetail>('GET', `${API}/alerts/${encodeURIComponent(id)}`, undefined, signal),
      call<DeliveriesAnswer>(
        'GET',
        `${API}/deliveries?alert_id=${encodeURIComponent(id)}&limit=200`,
        undefined,
        signal,
      ),
    ])
    return { alert, deliveries } satisfies Known
  })
  const { answer, problem } = asked.value
  if (!answer) {
    return (
      <section class="panel">
        {problem ? <Problem problem={problem} again={again} /> : <p class="empty quiet">Reading</p>}
      </section>
    )
  }
  const { alert, deliveries } = answer
  return (
    <>
      <p class="crumb">
        <a href="/ops/alerts">All alerts</a>
      </p>
      {problem && <Problem problem={problem} again={again} />}
      <Head
        alert={alert}
        silence={() => {
          silencing.value = true
        }}
        resolve={() => {
          resolving.value = true
        }}
      />
      <Why alert={alert} />
      <div class="two">
        <Told alert={alert} deliveries={deliveries} />
        <Timeline alert={alert} />
      </div>
      {silencing.value && cannot('operator') === null && alert.status !== 'resolved' && (
        <SilenceDialog
          alert={alert}
          close={() => {
            silencing.value = false
          }}
        />
      )}
      {resolving.value && (
        <ResolveDialog
          alert={alert}
          close={() => {
            resolving.value = false
          }}
        />
      )}
    </>
  )
}

/** The page's first lines: at three in the morning they and the button beside them are enough. */
function Head({ alert, silence, resolve }: { alert: AlertDetail; silence: () => void; resolve: () => void }) {
  const over = alert.status === 'resolved'
  const why = cannot('operator')
  const fired = Date.parse(alert.triggered_at)
  const until = over ? Date.parse(alert.resolved_at!) : now.value
  const peak =
    alert.peak_value === null ? null : `${isBelow(alert) ? 'Lowest' : 'Peak'} ${figure(alert.peak_value, alert.unit)}.`
  const icon: IconName = over ? 'ok' : alert.status === 'suppressed' ? 'silence' : alert.severity
  const colour = over ? 'sev-ok' : alert.status === 'suppressed' ? 'sev-none' : `sev-${alert.severity}`
  return (
    <div class={`headline${alert.severity === 'emergency' && !over ? ' emergency' : ''}`}>
      <Icon name={icon} class={`l ${colour}`} />
      <h1>{alert.title}</h1>
      {!over && (
        <div class="aside">
          {alert.status === 'active' && (
            <Act needs="operator" class="primary" act={() => acknowledge(alert.id)}>
              Acknowledge
            </Act>
          )}
          <button type="button" class="btn" disabled={why !== null} title={why ?? 'Key s'} onClick={silence}>
            Silence…
          </button>
          <button type="button" class="btn" disabled={why !== null} title={why ?? undefined} onClick={resolve}>
            Resolve…
          </button>
        </div>
      )}
      <p>
        {over
          ? `Resolved at ${moment(Date.parse(alert.resolved_at!), now.value)} ${ended(alert)}; ${alert.severity} for ${lasting(until - fired)}.`
          : `${capital(alert.severity)} since ${stamp(fired)}, ${lasting(until - fired)}.`}{' '}
        {peak} {alert.flapping && 'It comes and goes; it is held open until it has been calm for ten minutes.'}{' '}
        {who(alert)}{' '}
        {alert.suppressed_by && (
          <>
            <a href={suppressor(alert.suppressed_by).href}>{capital(suppressor(alert.suppressed_by).words)}</a>
            {': nobody is told. '}
          </>
        )}
        {alert.resolution_notes && `“${alert.resolution_notes}” `}
        {alert.false_positive && 'Marked as noise. '}
        {alert.runbook_url && (
          <>
            <a href={alert.runbook_url} rel="noreferrer" target="_blank">
              Runbook
            </a>
            <span class="sep" />
          </>
        )}
        {alert.owner && (
          <>
            owner <b class="strong">{alert.owner}</b>
          </>
        )}
        {alert.is_test && 'This is a test: nothing is wrong.'}
      </p>
    </div>
  )
}

const capital = (text: string) => text[0]!.toUpperCase() + text.slice(1)
const stamp = (at: number) => (now.value - at < 86_400_000 ? hhmmss(at) : moment(at, now.value))

function who(alert: AlertDetail): ComponentChildren {
  if (alert.acknowledged_by) {
    const at = stamp(Date.parse(alert.acknowledged_at!))
    return alert.status === 'resolved'
      ? `${alert.acknowledged_by} had it since ${at}.`
      : `${alert.acknowledged_by} has it since ${at}.`
  }
  if (alert.status !== 'active') return null
  const next = rises(alert)
  return `Nobody has acknowledged it${next ? `; it ${next.replace(' unless acknowledged', '')}` : ''}.`
}

// ----------------------------------------------------------------------------------------------------- why

interface Verdict {
  readonly stage: string
  readonly passed: boolean
  readonly reason: string
}

const STAGES: Readonly<Record<string, readonly [passed: string, held: string]>> = {
  inhibited: ['Not suppressed', 'Suppressed by another rule'],
  silenced: ['Not silenced', 'Silenced'],
  grouped: ['Told by itself', 'Held for a digest'],
  deduplicated: ['Not said before', 'Said before'],
  routed: ['Somebody is told', 'Nobody is told'],
}

function Why({ alert }: { alert: AlertDetail }) {
  const since = Date.parse(alert.since)
  const fired = Date.parse(alert.triggered_at)
  const verdicts = alert.timeline.flatMap(({ detail }) =>
    Array.isArray(detail.verdicts) ? [detail.verdicts as Verdict[]] : [],
  )[0]
  const opened = alert.timeline.find((entry) => entry.kind === 'opened')?.detail
  const rule = isOwn(alert) ? (
    <a href={`/ops/rules/${encodeURIComponent(alert.rule_id)}`}>{alert.rule_id}</a>
  ) : (
    <b class="strong">{alert.metadata.rule_name}</b>
  )
  return (
    <section class="panel" aria-labelledby="h-why">
      <div class="panel-head">
        <h2 id="h-why">Why it fired</h2>
        <span class="end small quiet">{labelsText(alert.labels)}</span>
      </div>
      <div class="panel-body why">
        <p class="lead">
          {alert.threshold_value !== null && alert.metric_name !== '' && opened?.why === 'breach' ? (
            <>
              {alert.metric_name} was {ABOVE[alert.metadata.condition]} {limit(alert.threshold_value, alert.unit)}
              {alert.metadata.condition === 'change_rate' && ' a minute'}
              {fired - since >= 1000
                ? ` for ${lasting(fired - since)}, from ${stamp(since)} to ${stamp(fired)}.`
                : ` at ${stamp(fired)}.`}{' '}
              That is what {rule} waits for.
            </>
          ) : (
            <>
              {alert.message} {isOwn(alert) ? <>Rule {rule}.</> : sourceOf(alert)}
            </>
          )}
        </p>
        <div class="why-chart">{alert.metric_name !== '' && <AlertChart alert={alert} />}</div>
        <div>
          <h3 class="cap">Checked before anyone was told</h3>
          <ul class="checks">
            {(verdicts ?? []).map(({ stage, passed, reason }) => (
              <li key={stage}>
                <Icon name={passed ? 'check' : 'silence'} class={`s ${passed ? 'sev-ok' : 'sev-none'}`} />
                <span>
                  {STAGES[stage]?.[passed ? 0 : 1] ?? stage}
                  <small>{reason}</small>
                </span>
              </li>
            ))}
            {!verdicts && <li class="quiet">{alert.is_test ? 'A test passes all stages.' : 'Not yet.'}</li>}
          </ul>
        </div>
      </div>
      <ChangedWithIt alert={alert} />
    </section>
  )
}

/** Other series that moved at that time, where analytics saw any. */
function ChangedWithIt({ alert }: { alert: AlertDetail }) {
  const { asked } = useAsked(`explain ${alert.id}`, 60_000, (signal) =>
    call<Explanation>('GET', `${API}/alerts/${encodeURIComponent(alert.id)}/explain`, undefined, signal),
  )
  const rows = asked.value.answer?.correlated ?? []
  if (rows.length === 0) return null
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
    <section class="table-wrap" tabIndex={0} aria-label="What changed with it">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">Changed with it</th>
            <th scope="col">How</th>
            <th scope="col" class="n">
              Began
            </th>
            <th scope="col" class="n wide-col">
              Before the breach
            </th>
            <th scope="col" class="n">
              Strength
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.metric_name + row.started_at + labelsText(row.labels)}>
              <td>
                <a class="row" href={`/ops/metrics/${encodeURIComponent(row.metric_name)}`}>
                  {row.metric_name}
                </a>
              </td>
              <td>{row.description}</td>
              <td class="n">{stamp(Date.parse(row.started_at))}</td>
              <td class="n wide-col">{row.seconds_before > 0 ? lasting(row.seconds_before * 1000) : '–'}</td>
              <td class="n">{row.strength.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}

const labelsText = (labels: Readonly<Record<string, string>>) =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(', ')

const MINUTE = 60_000

/** The series around the alert: an hour before, up to its end. */
function AlertChart({ alert }: { alert: AlertDetail }) {
  const since = Date.parse(alert.since)
  const fired = Date.parse(alert.triggered_at)
  const end = alert.resolved_at ? Date.parse(alert.resolved_at) : null
  const over = end !== null && now.peek() - end > 10 * MINUTE
  const { asked, again } = useSeries({
    metric: alert.metric_name,
    labels: alert.labels,
    from: () => since - 40 * MINUTE,
    to: () => (over ? end + 10 * MINUTE : now.peek()),
    everyMs: over ? 600_000 : 5_000,
  })
  const { answer, problem } = asked.value
  if (problem) return <Problem problem={problem} again={again} />
  const { unit, threshold_value: threshold } = alert
  const clears = alert.clears_below ?? alert.clears_above
  const below = isBelow(alert)
  const mark = (at: string, title: string): DashboardEvent => ({
    id: at + title,
    timestamp: at,
    title,
    type: 'alert',
    detail: '',
    subject: '',
  })
  return (
    <Chart
      title={alert.metric_name}
      lines={[{ key: 'mean', name: alert.metric_name, unit, axis: 'left' }]}
      track={answer?.track ?? null}
      now={over ? end! + 10 * MINUTE : (answer?.until ?? now.value)}
      gapMs={3 * (answer?.track.stepMs ?? 60_000)}
      left={{ unit, base: 0, top: unit === '%' ? 100 : null }}
      limits={[
        ...(threshold === null || alert.metadata.condition === 'change_rate'
          ? []
          : [
              {
                value: threshold,
                axis: 'left' as const,
                text: `fires ${ABOVE[alert.metadata.condition]} ${limit(threshold, unit)}`,
              },
            ]),
        ...(clears === null || clears === threshold
          ? []
          : [
              {
                value: clears,
                axis: 'left' as const,
                text: `clears ${below ? 'above' : 'below'} ${limit(clears, unit)}`,
                soft: true,
              },
            ]),
      ]}
      spans={[
        ...(fired > since ? [{ from: since, to: fired, kind: 'pending' as const }] : []),
        { from: fired, to: end ?? answer?.until ?? now.value, kind: 'firing' as const },
      ]}
      events={[
        mark(alert.triggered_at, 'fired'),
        ...(alert.acknowledged_at ? [mark(alert.acknowledged_at, 'acknowledged')] : []),
        ...(alert.resolved_at ? [mark(alert.resolved_at, 'over')] : []),
      ]}
      stale={line.value.kind === 'disconnected'}
    />
  )
}

// ------------------------------------------------------------------------------------- deliveries, timeline

function Told({ alert, deliveries: { deliveries } }: { alert: AlertDetail; deliveries: DeliveriesAnswer }) {
  const reached = new Set(deliveries.filter((d) => d.status === 'delivered').map((d) => d.channel_id))
  const channels = new Set(deliveries.map((d) => d.channel_id))
  return (
    <section class="panel" aria-labelledby="h-told">
      <div class="panel-head">
        <h2 id="h-told">Deliveries</h2>
        {channels.size > 0 && (
          <span class="end small quiet">
            {reached.size} of {channels.size} channels reached
          </span>
        )}
      </div>
      {deliveries.length === 0 ? (
        <p class="empty">
          No notice was sent. {alert.status === 'suppressed' ? 'It is hidden.' : 'The checks above say why.'}
        </p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
        <section class="table-wrap" tabIndex={0} aria-label="Deliveries of this alert">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Channel</th>
                <th scope="col">Event</th>
                <th scope="col">Answer</th>
                <th scope="col" class="n">
                  Time
                </th>
              </tr>
            </thead>
            <tbody>
              {deliveries.map((delivery) => (
                <tr key={delivery.id}>
                  <td>{delivery.channel_id}</td>
                  <td>{delivery.event}</td>
                  <td>
                    <DeliveryState delivery={delivery} />
                    <Attempts delivery={delivery} />
                  </td>
                  <td class="n">{stamp(Date.parse(delivery.attempts.at(-1)?.at ?? delivery.created_at))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      {alert.status !== 'resolved' && alert.notifications.length > 0 && (
        <div class="panel-foot">
          <span>Its end will be told to {alert.notifications.join(', ')}</span>
        </div>
      )}
    </section>
  )
}

function Timeline({ alert }: { alert: AlertDetail }) {
  const since = Date.parse(alert.since)
  const waited = Date.parse(alert.triggered_at) - since >= 1000
  return (
    <section class="panel" aria-labelledby="h-timeline">
      <div class="panel-head">
        <h2 id="h-timeline">Timeline</h2>
      </div>
      <div class="panel-body">
        <ol class="timeline">
          {waited && (
            <Moment at={alert.since} icon="clock" colour="sev-none">
              Breach begins
            </Moment>
          )}
          {alert.timeline.map((entry, i) => (
            <Moment key={`${entry.at} ${i}`} at={entry.at} {...told(entry, alert)} />
          ))}
          {alert.next_escalation_at && (
            <Moment
              at={alert.next_escalation_at}
              icon={nextOf(alert.severity)}
              colour={`sev-${nextOf(alert.severity)}`}
              next
            >
              {alert.severity === 'emergency' ? 'Told again' : `Becomes ${nextOf(alert.severity)}`} unless acknowledged
            </Moment>
          )}
        </ol>
      </div>
    </section>
  )
}

const nextOf = (severity: Severity): Severity => (severity === 'warning' ? 'critical' : 'emergency')

interface MomentProps {
  readonly at: string
  readonly icon: IconName
  readonly colour: string
  readonly next?: boolean
  readonly children: ComponentChildren
}

function Moment({ at, icon, colour, next, children }: MomentProps) {
  return (
    <li class={next ? 'next' : undefined}>
      <Icon name={icon} class={`s ${colour}`} />
      <time dateTime={at} title={`${at}`}>
        {now.value - Date.parse(at) < 86_400_000 ? hhmmss(Date.parse(at)) : `${moment(Date.parse(at), now.value)}`}
      </time>
      <span>{children}</span>
    </li>
  )
}

function told({ kind, detail }: TimelineEntry, alert: AlertDetail): Omit<MomentProps, 'at'> {
  const channels = Array.isArray(detail.channels) ? (detail.channels as string[]).join(', ') : ''
  const severity = (detail.to ?? alert.severity) as Severity
  switch (kind) {
    case 'opened':
      return {
        icon: 'warning',
        colour: 'sev-warning',
        children: <b class="strong">{detail.why === 'no_data' ? 'Fired: no data' : 'Fired'}</b>,
      }
    case 'told':
      return {
        icon: 'send',
        colour: 'sev-ok',
        children: `${detail.event === 'resolved' ? 'End told' : detail.event === 'escalated' ? 'Rise told' : 'Told'} to ${channels || 'nobody'}${detail.digest ? ' in a digest' : ''}`,
      }
    case 'held_back': {
      const last = Array.isArray(detail.verdicts) ? (detail.verdicts as Verdict[]).at(-1)?.reason : undefined
      return { icon: 'silence', colour: 'sev-none', children: `Not told: ${last ?? ''}` }
    }
    case 'suppressed':
      return { icon: 'silence', colour: 'sev-none', children: capital(suppressor(String(detail.by)).words) }
    case 'released':
      return { icon: 'send', colour: 'sev-none', children: 'Not hidden any more' }
    case 'escalated':
      return {
        icon: severity,
        colour: `sev-${severity}`,
        children: (
          <b class="strong">{detail.from === detail.to ? 'Still an emergency, told again' : `Became ${severity}`}</b>
        ),
      }
    case 'acknowledged':
      return { icon: 'check', colour: 'sev-ok', children: `Acknowledged by ${String(detail.by)}` }
    case 'closed':
      return { icon: 'ok', colour: 'sev-ok', children: `Over, ${ended({ ...alert, resolution: String(detail.why) })}` }
    default:
      return { icon: 'info', colour: 'sev-none', children: kind }
  }
}

function ResolveDialog({ alert, close }: { alert: AlertDetail; close: () => void }) {
  const notes = useSignal('')
  const noise = useSignal(false)
  return (
    <Ask
      title={`Resolve ${alert.title}`}
      verb="Resolve"
      close={close}
      submit={() =>
        call('POST', `${API}/alerts/${encodeURIComponent(alert.id)}/resolve`, {
          resolution_notes: notes.value,
          false_positive: noise.value,
        })
      }
    >
      <p class="note soft">
        It ends for everybody who was told. If the condition still holds, it fires again after its pause.
      </p>
      <div class="field">
        <label for="resolve-notes">What was it, what was done</label>
        <textarea
          id="resolve-notes"
          class="input"
          rows={3}
          maxLength={4000}
          value={notes.value}
          onInput={(event) => {
            notes.value = event.currentTarget.value
          }}
        />
      </div>
      <label class="check">
        <input
          type="checkbox"
          checked={noise.value}
          onChange={(event) => {
            noise.value = event.currentTarget.checked
          }}
        />
        It was noise: nobody had to be told
      </label>
    </Ask>
  )
}
