/** Alerts on the overview: those that need somebody first, each with its one primary button. */

import type { DashboardAlert } from '../../protocol.ts'
import { New, useHeld } from '../anomalies.tsx'
import { hhmm, short } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now, state } from '../live.ts'
import { Act, acknowledge } from './act.tsx'
import { figure } from './words.ts'

/** On the overview; the page of alerts has all. */
const SHOWN = 3

export function Alerts() {
  const current = state.value
  const counts = current?.alert_counts ?? null
  const engine = current?.engines.find((one) => one.name === 'alerting')?.state
  const { box, shown, added, show } = useHeld(current ? current.alerts.slice(0, SHOWN) : null, (alert) => alert.id)
  const open = counts ? counts.active + counts.acknowledged : 0
  return (
    <section class="panel" id="p-alerts" aria-labelledby="h-alerts" ref={box}>
      <div class="panel-head">
        <h2 id="h-alerts">Active alerts</h2>
        {counts && <span class={`count${counts.active > 0 ? ' warning' : ''}`}>{open}</span>}
        <span class="end">
          <New added={added} show={show} />
          {counts && <a href="/ops/alerts">{open > SHOWN ? `All ${open} alerts` : 'All alerts'}</a>}
        </span>
      </div>
      <div class="rows">
        {(shown ?? []).map((alert) => (
          <Item key={alert.id} alert={alert} />
        ))}
        {(shown ?? []).length === 0 && (
          <div class="empty">
            <p class="load">
              {!current || !counts
                ? 'Alerting does not run in this process.'
                : engine === 'stopped'
                  ? 'Alerting is stopped: no rule is evaluated and nobody is told.'
                  : `Nothing needs you. ${counts.rules} ${counts.rules === 1 ? 'rule is' : 'rules are'} watching; ${counts.resolved_today === 0 ? 'nothing fired' : `${counts.resolved_today} resolved`} in the last 24 hours${counts.silenced > 0 ? `, ${counts.silenced} hidden now` : ''}.`}
            </p>
          </div>
        )}
      </div>
    </section>
  )
}

function Item({ alert }: { alert: DashboardAlert }) {
  const href = `/ops/alerts/${encodeURIComponent(alert.id)}`
  const seen = alert.status === 'acknowledged'
  return (
    <article class="item" data-alert={alert.id}>
      <Icon name={alert.severity} class={`sev-${alert.severity}`} />
      <div>
        <div class="item-head">
          <h3>
            <a href={href}>{alert.title}</a>
          </h3>
          <span class="when">
            {alert.severity}, {short(now.value - Date.parse(alert.timestamp))}
          </span>
        </div>
        {/* A line of its own: what it says changes, and nothing may move by it. */}
        <p class="meta">
          {alert.current_value === null ? 'no data now' : `now ${figure(alert.current_value, alert.unit)}`}
          {alert.flapping && ', comes and goes'}
        </p>
        <p class="meta">
          {seen ? (
            <span>
              <Icon name="check" class="s inline" /> {alert.acknowledged_by} since{' '}
              {hhmm(Date.parse(alert.acknowledged_at ?? alert.timestamp))}
            </span>
          ) : (
            alert.next_escalation_at && <span>{rises(alert)}</span>
          )}
        </p>
        {!seen && (
          <div class="btns">
            <Act needs="operator" class="primary" about={alert.title} act={() => acknowledge(alert.id)}>
              Acknowledge
            </Act>
            <a class="btn" href={`${href}?silence`}>
              Silence…<span class="vh"> {alert.title}</span>
            </a>
          </div>
        )}
      </div>
    </article>
  )
}

const NEXT: Readonly<Record<string, string>> = { warning: 'critical', critical: 'emergency' }

/** What happens while nobody acknowledges. */
export function rises({
  severity,
  next_escalation_at,
}: Pick<DashboardAlert, 'severity' | 'next_escalation_at'>): string {
  if (next_escalation_at === null) return ''
  const at = hhmm(Date.parse(next_escalation_at))
  const next = NEXT[severity]
  return next ? `becomes ${next} at ${at} unless acknowledged` : `told again at ${at} unless acknowledged`
}
