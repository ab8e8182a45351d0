/**
 * Anomalies for people: the list, what moved together, and the verdict of a person. A verdict `noise` hides the pattern,
 * not the sample; what it hides is said before and after, and it can be taken back where it was given.
 */
import { signal, useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { DashboardAnomaly } from '../protocol.ts'
import { call } from './api.ts'
import { Problem, problemOf, useAsked } from './asked.tsx'
import { ago, formatExact, moment } from './format.ts'
import { askAgain, line, me, now } from './live.ts'
import { Ring } from './ring.tsx'

/** An anomaly as the API of analytics answers it. */
export interface ApiAnomaly extends DashboardAnomaly {
  readonly labels: Readonly<Record<string, string>>
  readonly hidden_by: string | null
  readonly event: { readonly id: string; readonly size: number }
}

interface Effect {
  readonly pattern: string
  /** Anomalies of the last 90 days that the verdict `noise` hides, itself among them. */
  readonly hides: readonly string[]
}

const API = '/api/v1/advanced-analytics'

/** Counts verdicts given on this page, so that lists ask anew. */
export const verdicts = signal(0)

const VIEW: Readonly<Record<string, string>> = {
  level: 'Beyond all that is remembered',
  jump: 'Sudden step',
  drift: 'Drifted',
  season: 'Unusual for the hour',
  stuck: 'Stuck',
  absent: 'Silent',
}
const view = (anomaly: DashboardAnomaly) => VIEW[anomaly.view] ?? anomaly.view

// --------------------------------------------------------------------------------------------------- verdict

/** Why this person cannot judge now; null when he can. */
export function cannot(role: string): string | null {
  if (line.value.kind === 'disconnected') return 'Not connected'
  const mine = me.value?.role
  return mine === undefined || mine === role || mine === 'admin' ? null : `Needs the role ${role}`
}

/** What was said of an anomaly, and the buttons to say it. `explain` also tells beforehand what `noise` would hide. */
export function Verdict({ anomaly, hiddenBy, explain }: VerdictProps) {
  const said = useSignal<{ readonly feedback: DashboardAnomaly['feedback'] } | null>(null)
  const hides = useSignal<number | null>(null)
  const busy = useSignal<string | null>(null)
  const refusal = useSignal<string | null>(null)
  const preview = useSignal<Effect | null>(null)
  useEffect(() => {
    said.value = null
  }, [anomaly.feedback?.at])
  useEffect(() => {
    const abort = new AbortController()
    if (explain)
      call<{ effect: Effect }>('GET', `${API}/anomalies/${anomaly.id}`, undefined, abort.signal).then(
        (answer) => {
          preview.value = answer.effect
        },
        () => {},
      )
    return () => abort.abort()
  }, [anomaly.id, explain])

  const feedback = said.value ? said.value.feedback : anomaly.feedback
  const hider = !feedback && hiddenBy && hiddenBy !== anomaly.id ? hiddenBy : null
  const why = cannot('operator')

  async function give(verdict: 'noise' | 'real' | 'undo') {
    if (busy.value) return
    busy.value = verdict
    refusal.value = null
    const path = `${API}/anomalies/${encodeURIComponent((verdict === 'undo' && hider) || anomaly.id)}/feedback`
    try {
      if (verdict === 'undo') {
        await call('DELETE', path)
        said.value = { feedback: null }
        hides.value = null
      } else {
        const answer = await call<ApiAnomaly & { effect: Effect }>('POST', path, { verdict })
        said.value = { feedback: answer.feedback }
        hides.value = verdict === 'noise' ? answer.effect.hides.length : null
      }
      verdicts.value++
      askAgain()
    } catch (error) {
      refusal.value = problemOf(error).message
    }
    busy.value = null
  }

  const button = (verdict: 'noise' | 'real' | 'undo', word: string) => (
    <button
      type="button"
      class="btn"
      disabled={why !== null}
      title={why ?? undefined}
      aria-busy={busy.value === verdict ? 'true' : undefined}
      onClick={() => give(verdict)}
    >
      {word}
      <span class="vh">
        , {anomaly.metric_name} at {moment(Date.parse(anomaly.timestamp), now.value)}
      </span>
    </button>
  )
  return (
    <div class="verdict">
      {feedback ? (
        <p class="small" role="status">
          {feedback.verdict === 'noise' ? 'Noise' : 'Real'}, said {feedback.by} at{' '}
          {moment(Date.parse(feedback.at), now.value)} UTC.
          {hides.value !== null && ` It hides ${counted(hides.value)} of the last 90 days, and those to come.`}
        </p>
      ) : hider ? (
        <p class="small">Hidden by a verdict on another one like it.</p>
      ) : (
        explain && (
          <p class="small quiet">
            {preview.value
              ? `Noise would hide ${counted(preview.value.hides.length)} of the last 90 days, and those to come: ${preview.value.pattern}. Nothing is deleted.`
              : 'Noise hides it and others of the same kind, before and after. Nothing is deleted.'}
          </p>
        )
      )}
      <div class="btns">
        {feedback || hider ? (
          button('undo', 'Undo')
        ) : (
          <>
            {button('noise', 'Noise')}
            {button('real', 'Real')}
          </>
        )}
        {hider && button('real', 'Real')}
        {why && <span class="small quiet">{why}</span>}
      </div>
      {refusal.value && (
        <p class="small" role="alert">
          {refusal.value}
        </p>
      )}
    </div>
  )
}

interface VerdictProps {
  readonly anomaly: DashboardAnomaly
  /** The anomaly whose verdict hides this one. */
  readonly hiddenBy?: string | null
  readonly explain?: boolean
}

const counted = (n: number) => (n === 1 ? 'one anomaly' : `${formatExact(n)} anomalies`)

// --------------------------------------------------------------------------------------------------- popover

const opened = signal<{ readonly anomaly: DashboardAnomaly; readonly from: HTMLElement } | null>(null)

/** Opens what is known of an anomaly beside the ring that was pressed. */
export function openAnomaly(anomaly: DashboardAnomaly, from: HTMLElement): void {
  opened.value = { anomaly, from }
}

/** One for the whole page. Escape, or a press elsewhere, closes it. */
export function AnomalyPopover() {
  const box = useRef<HTMLDivElement>(null)
  const current = opened.value
  useEffect(() => {
    const element = box.current
    if (!element || !current) return
    const ring = current.from.getBoundingClientRect()
    element.showPopover()
    const { offsetWidth: width, offsetHeight: height } = element
    const left = Math.min(innerWidth - width - 8, Math.max(8, ring.left + ring.width / 2 - width / 2))
    const below = ring.bottom + 4 + height < innerHeight
    element.style.left = `${left}px`
    element.style.top = `${below ? ring.bottom + 4 : Math.max(8, ring.top - 4 - height)}px`
    element.focus()
    const closed = (event: Event) => {
      if ((event as ToggleEvent).newState !== 'closed') return
      // A ring that the verdict took away cannot have the focus back: its chart gets it.
      const ring = current.from
      const chart = ring.closest('.chart-box')?.querySelector<HTMLElement>('.chart') ?? chartOf.get(ring)
      if (document.activeElement === document.body) (ring.isConnected ? ring : chart)?.focus()
      if (opened.peek() === current) opened.value = null
    }
    element.addEventListener('toggle', closed)
    return () => element.removeEventListener('toggle', closed)
  }, [current])
  useEffect(() => {
    const chart = current?.from.closest('.chart-box')?.querySelector<HTMLElement>('.chart')
    if (current && chart) chartOf.set(current.from, chart)
  }, [current])
  return (
    <div class="pop" id="anomaly" popover="auto" role="dialog" aria-labelledby="anomaly-title" tabIndex={-1} ref={box}>
      {current && (
        <>
          <h2 id="anomaly-title">
            <Ring level={current.anomaly.severity} /> {view(current.anomaly)}
          </h2>
          <p>{current.anomaly.description}</p>
          <p class="meta">
            <Facts anomaly={current.anomaly} />
            <a href={`/ops/metrics/${encodeURIComponent(current.anomaly.metric_name)}`} onClick={close}>
              {current.anomaly.metric_name}
            </a>
          </p>
          <Verdict anomaly={current.anomaly} explain key={current.anomaly.id} />
        </>
      )}
    </div>
  )
}

const chartOf = new WeakMap<HTMLElement, HTMLElement>()
const close = () => document.querySelector<HTMLElement>('#anomaly')?.hidePopover()

function Facts({ anomaly }: { anomaly: DashboardAnomaly }) {
  const at = Date.parse(anomaly.timestamp)
  return (
    <>
      <time dateTime={anomaly.timestamp}>{moment(at, now.value)} UTC</time>
      <span>
        {anomaly.severity}, {anomaly.anomaly_score.toFixed(1)} deviations
      </span>
    </>
  )
}

// ----------------------------------------------------------------------------------------------------- lists

/**
 * A list that does not move under the pointer or the focus: what is new waits behind a button, what vanished stays
 * until both have left.
 */
export function useHeld<T>(fresh: readonly T[] | null, idOf: (one: T) => string) {
  const box = useRef<HTMLElement>(null)
  const kept = useRef<readonly T[] | null>(null)
  const force = useSignal(0)
  force.value
  const held = kept.current !== null && (box.current?.matches(':hover, :focus-within') ?? false)
  let added = 0
  if (!held) kept.current = fresh
  else if (fresh) {
    const byId = new Map(fresh.map((one) => [idOf(one), one]))
    const known = new Set(kept.current!.map(idOf))
    kept.current = kept.current!.map((one) => byId.get(idOf(one)) ?? one)
    added = fresh.filter((one) => !known.has(idOf(one))).length
  }
  return {
    box,
    shown: kept.current,
    added,
    show() {
      kept.current = fresh
      force.value++
    },
  }
}

export function New({ added, show }: { added: number; show: () => void }) {
  if (added === 0) return null
  return (
    <button type="button" class="btn" onClick={show}>
      {added} new
    </button>
  )
}

/** One anomaly as an item. */
function Item({ anomaly, name, first }: { anomaly: ApiAnomaly; name: ComponentChildren; first?: boolean }) {
  return (
    <article class="item" data-anomaly={anomaly.id}>
      <Ring level={anomaly.severity} />
      <div>
        <div class="item-head">
          <h3>{name}</h3>
          <span class="when">
            {anomaly.severity},{' '}
            <time dateTime={anomaly.timestamp} title={anomaly.timestamp}>
              {ago(Date.parse(anomaly.timestamp), now.value)}
            </time>
          </span>
        </div>
        <p>{anomaly.description}</p>
        <p class="meta">
          <Facts anomaly={anomaly} />
          {first && <span>moved first</span>}
          <span class="labels">{labelText(anomaly.labels)}</span>
        </p>
        <Verdict anomaly={anomaly} hiddenBy={anomaly.hidden_by} />
      </div>
    </article>
  )
}

export function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).filter(([name]) => name !== '__name__')
  return pairs.length === 0 ? 'no labels' : pairs.map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(', ')
}

const LISTED = 50

/** The newest anomalies of one metric; those that a verdict hides stand apart. */
export function MetricAnomalies({ name, list }: { name: string; list: ReturnType<typeof useAnomalies> }) {
  const { answer, problem } = list.asked.value
  const visible = answer?.filter((one) => one.hidden_by === null) ?? null
  const hidden = answer?.filter((one) => one.hidden_by !== null) ?? []
  const { box, shown, added, show } = useHeld(visible, (one) => one.id)
  return (
    <section class="panel" aria-labelledby="h-anomalies" ref={box}>
      <div class="panel-head">
        <h2 id="h-anomalies">Anomalies</h2>
        {visible && <span class="count">{visible.length}</span>}
        <span class="end">
          <New added={added} show={show} />
          {answer && answer.length >= LISTED && <span class="small quiet">the newest {LISTED}</span>}
        </span>
      </div>
      {problem && <Problem problem={problem} again={list.again} />}
      <div class="rows">
        {(shown ?? []).map((anomaly) => (
          <Item key={anomaly.id} anomaly={anomaly} name={view(anomaly)} />
        ))}
        {shown?.length === 0 && <p class="empty">Nothing odd was seen: every sample of {name} is looked at.</p>}
        {!answer && !problem && <p class="empty quiet">Reading</p>}
      </div>
      {hidden.length > 0 && (
        <details class="hidden-group">
          <summary>{hidden.length} hidden by a verdict</summary>
          <div class="rows">
            {hidden.map((anomaly) => (
              <Item key={anomaly.id} anomaly={anomaly} name={view(anomaly)} />
            ))}
          </div>
        </details>
      )}
    </section>
  )
}

/** Anomalies of a metric, hidden ones among them; asked for anew after each verdict. */
export function useAnomalies(name: string) {
  return useAsked(`anomalies ${name} ${verdicts.value}`, 5_000, (signal) => {
    const query = new URLSearchParams({ metric_name: name, include_hidden: 'true', limit: String(LISTED) })
    return call<ApiAnomaly[]>('GET', `${API}/anomalies?${query}`, undefined, signal)
  })
}

interface TogetherEvent {
  readonly id: string
  readonly started_at: string
  readonly last_at: string
  readonly size: number
  readonly anomalies: readonly ApiAnomaly[]
}

/** Members of an event that are listed at once. */
const MEMBERS = 5

/** What moved together in the last 24 h, as one event each. */
export function AnomalyEvents() {
  const { asked, again } = useAsked(`events ${verdicts.value}`, 5_000, (signal) =>
    call<TogetherEvent[]>('GET', `${API}/anomaly-events?limit=20`, undefined, signal),
  )
  const { answer, problem } = asked.value
  const { box, shown, added, show } = useHeld(answer, (one) => one.id)
  return (
    <section class="panel" aria-labelledby="h-events" ref={box}>
      <div class="panel-head">
        <h2 id="h-events">Anomalies of the last 24 hours</h2>
        {answer && <span class="count">{answer.length}</span>}
        <span class="end">
          <New added={added} show={show} />
          <span class="small quiet">what came together is one event, what moved first stands first</span>
        </span>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <div class="rows reserve">
        {(shown ?? []).map((event) => (
          <EventItem key={event.id} event={event} />
        ))}
        {shown?.length === 0 && (
          <p class="empty">Nothing odd was seen. Every series is watched from its first samples on, without set-up.</p>
        )}
        {!answer && !problem && <p class="empty quiet">Reading</p>}
      </div>
    </section>
  )
}

function EventItem({ event }: { event: TogetherEvent }) {
  const all = useSignal(false)
  const members = all.value ? event.anomalies : event.anomalies.slice(0, MEMBERS)
  const series = new Set(event.anomalies.map((one) => `${one.metric_name} ${labelText(one.labels)}`)).size
  const name = ({ metric_name }: ApiAnomaly) => (
    <a href={`/ops/metrics/${encodeURIComponent(metric_name)}`}>{metric_name}</a>
  )
  return (
    <section class="event" aria-label={`Event of ${moment(Date.parse(event.started_at), now.value)} UTC`}>
      {series > 1 && (
        <p class="event-head">
          <b class="strong">{series} series moved together</b> from {moment(Date.parse(event.started_at), now.value)} to{' '}
          {moment(Date.parse(event.last_at), now.value)} UTC
        </p>
      )}
      {members.map((anomaly, i) => (
        <Item key={anomaly.id} anomaly={anomaly} name={name(anomaly)} first={series > 1 && i === 0} />
      ))}
      {(event.anomalies.length > MEMBERS || event.size > event.anomalies.length) && (
        <p class="event-foot">
          {event.anomalies.length > MEMBERS && (
            <button
              type="button"
              class="link"
              aria-expanded={all.value}
              onClick={() => {
                all.value = !all.value
              }}
            >
              {all.value ? 'Fewer' : `${event.anomalies.length - MEMBERS} more`}
            </button>
          )}
          {event.size > event.anomalies.length && (
            <span class="small quiet"> {formatExact(event.size)} in all, hidden ones among them</span>
          )}
        </p>
      )}
    </section>
  )
}
