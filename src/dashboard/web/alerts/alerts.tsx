/**
 * All alerts: on the left those that need somebody first, then what somebody has, what is hidden, what is over; on the
 * right the chosen one, or the history. `j` and `k` go through the list, `a`, `s` and `e` act on the chosen one.
 */
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { address, go } from '../address.ts'
import { cannot, New, useHeld } from '../anomalies.tsx'
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { hhmm, moment, short } from '../format.ts'
import { mayAct } from '../frame.tsx'
import { Icon } from '../icons.tsx'
import { now, state } from '../live.ts'
import { acknowledge, deeds } from './act.tsx'
import { Detail } from './detail.tsx'
import type { Alert, AlertsAnswer } from './types.ts'
import { API } from './types.ts'
import { ended, figure, isBelow, isOwn, lasting, limit, plural } from './words.ts'

const OPEN_MAX = 200
const OVER_MAX = 30

interface Lists {
  readonly open: AlertsAnswer
  readonly over: AlertsAnswer
}

export function AlertsView({ id }: { id: string | null }) {
  const wanted = useSignal('')
  const counts = state.value?.alert_counts
  const { asked, again } = useAsked(`alerts ${deeds.value} ${JSON.stringify(counts)}`, 4_000, async (signal) => {
    const list = (query: string) => call<AlertsAnswer>('GET', `${API}/alerts?${query}`, undefined, signal)
    const open = 'status=active&status=acknowledged&status=suppressed&sort=needs_attention'
    const [first, second] = await Promise.all([
      list(`${open}&limit=${OPEN_MAX}`),
      list(`status=resolved&limit=${OVER_MAX}`),
    ])
    const newest = [...second.alerts].sort((a, b) => (a.resolved_at! < b.resolved_at! ? 1 : -1))
    return { open: first, over: { ...second, alerts: newest } } satisfies Lists
  })
  const { answer, problem } = asked.value
  const all = answer ? [...answer.open.alerts, ...answer.over.alerts] : null
  const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean)
  const matches = (alert: Alert) => {
    const text = `${alert.title} ${alert.rule_id} ${alert.metric_name} ${alert.metadata.tags.join(' ')} ${Object.values(alert.labels).join(' ')}`
    return words.every((word) => text.toLowerCase().includes(word))
  }
  const { box, shown, added, show } = useHeld(all?.filter(matches) ?? null, (alert) => alert.id)
  const current = id
  const silencing = useSignal(false)
  useEffect(() => {
    // The address can ask for the dialog: a button elsewhere leads here.
    if (!address.value.searchParams.has('silence')) return
    silencing.value = true
    history.replaceState(null, '', location.pathname)
  }, [id])

  const listed = useRef<readonly Alert[]>([])
  listed.current = shown ?? []
  useEffect(() => {
    const keyed = (event: KeyboardEvent) => {
      if (!mayAct(event)) return
      const at = listed.current.findIndex((alert) => alert.id === id)
      const alert = listed.current[at]
      const step = { j: 1, k: -1 }[event.key]
      if (step !== undefined) {
        const next = listed.current[at < 0 ? 0 : Math.min(listed.current.length - 1, Math.max(0, at + step))]
        if (next) {
          go(`/ops/alerts/${encodeURIComponent(next.id)}`)
          document.querySelector(`[data-alert="${CSS.escape(next.id)}"]`)?.scrollIntoView({ block: 'nearest' })
        }
      } else if (id && event.key === 'a' && (!alert || needs(alert)) && cannot('operator') === null) {
        const done = () => {
          deeds.value++
        }
        acknowledge(id).then(done, done)
      } else if (id && event.key === 's' && alert?.status !== 'resolved' && cannot('operator') === null) {
        event.preventDefault()
        silencing.value = true
      } else if (event.key === 'e' && alert && isOwn(alert)) go(`/ops/rules/${encodeURIComponent(alert.rule_id)}`)
    }
    addEventListener('keydown', keyed)
    return () => removeEventListener('keydown', keyed)
  }, [id])

  const groups: readonly (readonly [string, readonly Alert[], number | undefined])[] = [
    ['Needs someone', (shown ?? []).filter(needs), answer?.open.counts.active],
    ['Acknowledged', (shown ?? []).filter((a) => a.status === 'acknowledged'), answer?.open.counts.acknowledged],
    ['Hidden', (shown ?? []).filter((a) => a.status === 'suppressed'), answer?.open.counts.suppressed],
    ['Resolved', (shown ?? []).filter((a) => a.status === 'resolved'), answer?.over.counts.resolved],
  ]
  return (
    <div class={`split list-split${id ? ' has-detail' : ''}`}>
      <section class="panel list" ref={box} aria-label="List of alerts">
        <div class="filters">
          <div class="affix">
            <Icon name="search" class="s" />
            <input
              type="search"
              aria-label="Filter alerts"
              placeholder="Rule, metric, label or tag"
              value={wanted.value}
              onInput={(event) => {
                wanted.value = event.currentTarget.value
              }}
            />
          </div>
          <New added={added} show={show} />
        </div>
        {problem && <Problem problem={problem} again={again} />}
        {!answer && !problem && <p class="empty quiet">Reading</p>}
        {answer && groups[0]![1].length === 0 && words.length === 0 && (
          <p class="empty">
            Nothing needs you. {counts ? `${plural(counts.rules, 'rule is', 'rules are')} watching.` : ''}
          </p>
        )}
        {answer && shown?.length === 0 && words.length > 0 && <p class="empty">No alert holds these words.</p>}
        {groups.map(
          ([name, alerts, total]) =>
            alerts.length > 0 && (
              <nav key={name} aria-label={name}>
                <h2>
                  {name}, {words.length > 0 ? `${alerts.length} shown` : (total ?? alerts.length)}
                </h2>
                {alerts.map((alert) => (
                  <Entry key={alert.id} alert={alert} current={alert.id === current} />
                ))}
                {words.length === 0 && total !== undefined && total > alerts.length && (
                  <p class="more small quiet">the newest {alerts.length} are listed</p>
                )}
              </nav>
            ),
        )}
      </section>
      <div class="stack">{id ? <Detail id={id} silencing={silencing} key={id} /> : <History answer={answer} />}</div>
    </div>
  )
}

const needs = (alert: Alert) => alert.status === 'active'

function Entry({ alert, current }: { alert: Alert; current: boolean }) {
  const over = alert.status === 'resolved'
  const hidden = alert.status === 'suppressed'
  const at = Date.parse(over ? alert.resolved_at! : alert.triggered_at)
  return (
    <a
      href={`/ops/alerts/${encodeURIComponent(alert.id)}`}
      aria-current={current ? 'true' : undefined}
      data-alert={alert.id}
    >
      <Icon
        name={over ? 'check' : hidden ? 'silence' : alert.severity}
        class={`s ${over ? 'sev-ok' : hidden ? 'sev-none' : `sev-${alert.severity}`}`}
      />
      <b>{alert.title.replace(/: .*$/, '')}</b>
      <span title={alert.triggered_at}>{over ? moment(at, now.value) : short(now.value - at)}</span>
      <small>
        <span class="vh">{alert.severity}, </span>
        {entryWords(alert)}
      </small>
    </a>
  )
}

function entryWords(alert: Alert): string {
  const { unit } = alert
  if (alert.status === 'resolved') {
    const lasted = Date.parse(alert.resolved_at!) - Date.parse(alert.triggered_at)
    const noise = alert.false_positive ? ', marked as noise' : ''
    const peak =
      alert.peak_value === null ? '' : `, ${isBelow(alert) ? 'lowest' : 'peak'} ${figure(alert.peak_value, unit)}`
    return `${alert.severity} for ${lasting(lasted)}${peak}, ${ended(alert)}${noise}`
  }
  const value =
    alert.threshold_value === null
      ? alert.message
      : `${figure(alert.current_value, unit)}, limit ${limit(alert.threshold_value, unit)}`
  if (alert.status === 'acknowledged')
    return `${value}, ${alert.acknowledged_by} since ${hhmm(Date.parse(alert.acknowledged_at!))}`
  if (alert.status === 'suppressed')
    return `${value}, ${alert.suppressed_by?.startsWith('rule:') ? `while ${alert.suppressed_by.slice(5)} fires` : 'silenced'}`
  return value
}

// -------------------------------------------------------------------------------------------------- history

interface Summary {
  readonly active_alerts: { readonly total: number }
  readonly recent_alerts: number
  readonly stats: {
    readonly alerts_triggered: number
    readonly alerts_resolved: number
    readonly false_positives: number
    readonly notifications_sent: number
    readonly average_resolution_time: number
  }
}

function median(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)]!
}

const told = (ms: number | null) => (ms === null ? '–' : lasting(ms))

/** What is over: how long it took until somebody had it, and until it ended. */
function History({ answer }: { answer: Lists | null }) {
  const more = useSignal<readonly Alert[]>([])
  const cursor = useSignal<string | null | undefined>(undefined)
  const { asked } = useAsked('summary', 10_000, (signal) => call<Summary>('GET', `${API}/summary`, undefined, signal))
  const first = answer?.over.alerts ?? []
  const rows = [...first, ...more.value.filter((alert) => !first.some((one) => one.id === alert.id))]
  const next = cursor.value === undefined ? (answer?.over.next_cursor ?? null) : cursor.value
  async function older() {
    const page = await call<AlertsAnswer>(
      'GET',
      `${API}/alerts?status=resolved&limit=100&cursor=${encodeURIComponent(next!)}`,
    )
    more.value = [...more.value, ...page.alerts]
    cursor.value = page.next_cursor
  }
  const acknowledgedIn = rows.flatMap((a) =>
    a.acknowledged_at ? [Date.parse(a.acknowledged_at) - Date.parse(a.triggered_at)] : [],
  )
  const resolvedIn = rows.map((a) => Date.parse(a.resolved_at!) - Date.parse(a.triggered_at))
  const stats = asked.value.answer?.stats
  return (
    <section class="panel" aria-labelledby="h-history">
      <div class="panel-head">
        <h1 id="h-history" class="like-h2">
          History
        </h1>
        <span class="end small quiet">{rows.length > 0 ? `of the ${plural(rows.length, 'alert')} below` : ''}</span>
      </div>
      <div class="panel-body facts">
        <p class="fact">
          <b>{told(median(acknowledgedIn))}</b>
          <span>until acknowledged, median of {acknowledgedIn.length}</span>
        </p>
        <p class="fact">
          <b>{told(median(resolvedIn))}</b>
          <span>until resolved, median of {resolvedIn.length}</span>
        </p>
        <p class="fact">
          <b>{stats ? stats.alerts_triggered : '–'}</b>
          <span>fired since the start, {stats ? stats.false_positives : '–'} marked as noise</span>
        </p>
        <p class="fact">
          <b>{stats ? stats.notifications_sent : '–'}</b>
          <span>notices confirmed by their receivers</span>
        </p>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <section class="table-wrap ended" tabIndex={0} aria-label="Alerts that are over">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Ended (UTC)</th>
              <th scope="col">Alert</th>
              <th scope="col">
                <span class="word">Severity</span>
              </th>
              <th scope="col" class="n wide-col">
                Acknowledged after
              </th>
              <th scope="col" class="n">
                Lasted
              </th>
              <th scope="col" class="wide-col">
                Ended
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((alert) => (
              <tr key={alert.id}>
                <td>{moment(Date.parse(alert.resolved_at!), now.value)}</td>
                <td>
                  <a class="row" href={`/ops/alerts/${encodeURIComponent(alert.id)}`}>
                    {alert.title}
                  </a>
                </td>
                <td>
                  <Icon name={alert.severity} class={`s inline sev-${alert.severity}`} />{' '}
                  <span class="word">{alert.severity}</span>
                </td>
                <td class="n wide-col">
                  {told(
                    alert.acknowledged_at ? Date.parse(alert.acknowledged_at) - Date.parse(alert.triggered_at) : null,
                  )}
                </td>
                <td class="n">{lasting(Date.parse(alert.resolved_at!) - Date.parse(alert.triggered_at))}</td>
                <td class="wide-col">
                  {ended(alert)}
                  {alert.false_positive && ', noise'}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {answer && rows.length === 0 && <p class="empty">No alert has ended yet.</p>}
      {next && (
        <div class="panel-foot">
          <button type="button" class="link" onClick={() => older().catch(() => {})}>
            Older ones
          </button>
        </div>
      )}
    </section>
  )
}
