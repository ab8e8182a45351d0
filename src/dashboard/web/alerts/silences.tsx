/** Silences, and what they hid. A new one says why and until when. */
import { useSignal } from '@preact/signals'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { moment, short } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { Act, deeds } from './act.tsx'
import { Ask } from './dialog.tsx'
import type { Alert, Silence } from './types.ts'
import { API } from './types.ts'
import { lasting, matcherText, plural, seconds } from './words.ts'

export function Silences() {
  const making = useSignal(false)
  const why = cannot('operator')
  const { asked, again } = useAsked(`silences ${deeds.value}`, 5_000, (signal) =>
    call<{ silences: readonly Silence[] }>('GET', `${API}/silences?limit=200`, undefined, signal),
  )
  const { answer, problem } = asked.value
  const all = answer?.silences ?? []
  const open = all.filter((silence) => silence.state !== 'expired')
  const over = all.filter((silence) => silence.state === 'expired')
  const hiding = open.reduce((sum, silence) => sum + (silence.state === 'active' ? silence.hidden.open : 0), 0)
  return (
    <>
      <div class="headline detail-head">
        <h1>Silences</h1>
        <div class="aside">
          <button
            type="button"
            class="btn primary"
            disabled={why !== null}
            title={why ?? undefined}
            onClick={() => {
              making.value = true
            }}
          >
            New silence…
          </button>
        </div>
        <p>
          {answer &&
            (open.length === 0
              ? 'Nothing is silenced.'
              : `${plural(open.length, 'silence')} in effect or planned; ${hiding === 0 ? `nothing fires under ${open.length === 1 ? 'it' : 'them'}` : `${plural(hiding, 'alert fires', 'alerts fire')} under ${open.length === 1 ? 'it' : 'them'}, and nobody is told`}.`)}
          {why && <span class="quiet"> {why} to make or end one.</span>}
        </p>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <section class="panel" aria-label="Silences in effect or planned">
        <div class="rows">
          {open.map((silence) => (
            <Item key={silence.id} silence={silence} />
          ))}
          {answer && open.length === 0 && (
            <p class="empty">None. The button Silence… of an alert makes one that fits it.</p>
          )}
          {!answer && !problem && <p class="empty quiet">Reading</p>}
        </div>
      </section>
      {over.length > 0 && (
        <section class="panel" aria-labelledby="h-over">
          <div class="panel-head">
            <h2 id="h-over">Ended</h2>
            <span class="count">{over.length}</span>
          </div>
          <div class="rows">
            {over.map((silence) => (
              <Item key={silence.id} silence={silence} />
            ))}
          </div>
        </section>
      )}
      {making.value && (
        <SilenceDialog
          alert={null}
          close={() => {
            making.value = false
          }}
        />
      )}
    </>
  )
}

function Item({ silence }: { silence: Silence }) {
  const { hidden, schedule } = silence
  const starts = Date.parse(silence.starts_at)
  const ends = silence.ended_at ?? silence.ends_at
  const period =
    silence.state === 'expired'
      ? `from ${moment(starts, now.value)} to ${ends ? moment(Date.parse(ends), now.value) : 'its end'}`
      : schedule
        ? `${schedule.cron} for ${seconds(schedule.duration)}, ${schedule.time_zone}`
        : silence.until_resolved
          ? 'until all it hides is resolved'
          : `until ${moment(Date.parse(silence.ends_at!), now.value)}, ${short(Date.parse(silence.ends_at!) - now.value)} more`
  return (
    <article class="item" id={silence.id}>
      <Icon name="silence" class={silence.state === 'active' ? '' : 'sev-none'} />
      <div>
        <div class="item-head">
          <h2>{silence.comment}</h2>
          <span class="when">
            {silence.state}, {period}
          </span>
        </div>
        <p>
          {silence.matchers.map((matcher) => (
            <code key={matcher.name + matcher.value} class="matcher">
              {matcherText(matcher)}
            </code>
          ))}
        </p>
        <p class="meta">
          <span>by {silence.created_by}</span>
          <span>
            {hidden.total === 0
              ? 'hid nothing'
              : `hid ${plural(hidden.total, 'alert')}${hidden.open > 0 ? `, ${hidden.open} of them ${hidden.open === 1 ? 'fires' : 'fire'} now` : ''}`}
          </span>
        </p>
        {hidden.alerts.length > 0 && (
          <ul class="hid">
            {hidden.alerts.map((alert) => (
              <li key={alert.id}>
                <a href={`/ops/alerts/${encodeURIComponent(alert.id)}`}>{alert.title}</a>{' '}
                <span class="small quiet">
                  {moment(Date.parse(alert.at), now.value)}, {alert.status}
                </span>
              </li>
            ))}
            {hidden.total > hidden.alerts.length && (
              <li class="small quiet">and {hidden.total - hidden.alerts.length} before</li>
            )}
          </ul>
        )}
        {silence.state !== 'expired' && (
          <div class="btns">
            <Act
              needs="operator"
              about={silence.comment}
              act={() => call('DELETE', `${API}/silences/${encodeURIComponent(silence.id)}`)}
            >
              End now
            </Act>
          </div>
        )}
      </div>
    </article>
  )
}

// --------------------------------------------------------------------------------------------------- dialog

const LENGTHS = [
  ['30 min', 30],
  ['2 h', 120],
  ['8 h', 480],
  ['24 h', 1440],
  ['until resolved', 0],
] as const

interface Row {
  readonly name: string
  readonly value: string
  readonly on: boolean
}

/** For an alert: its rule and labels, each of which can be left out. Without one: what is written. */
export function SilenceDialog({ alert, close }: { alert: Alert | null; close: () => void }) {
  const rows = useSignal<readonly Row[]>(alert ? rowsOf(alert) : [{ name: 'rule_id', value: '', on: true }])
  const minutes = useSignal<number>(120)
  const comment = useSignal('')
  const change = (i: number, more: Partial<Row>) => {
    rows.value = rows.value.map((row, k) => (k === i ? { ...row, ...more } : row))
  }
  const chosen = rows.value.filter((row) => row.on && row.name !== '')
  return (
    <Ask
      title={alert ? `Silence ${alert.metadata.rule_name}` : 'New silence'}
      verb="Silence"
      close={close}
      submit={() => {
        if (chosen.length === 0) throw new Error('Choose at least one label.')
        const until =
          minutes.value === 0
            ? { until_resolved: true }
            : { ends_at: new Date(Date.now() + minutes.value * 60_000).toISOString() }
        return call('POST', `${API}/silences`, {
          matchers: chosen.map(({ name, value }) => ({ name, value })),
          comment: comment.value,
          ...until,
        })
      }}
    >
      <div class="field">
        <label for="silence-why">Why</label>
        <input
          id="silence-why"
          class="input"
          required
          maxLength={1000}
          value={comment.value}
          onInput={(event) => {
            comment.value = event.currentTarget.value
          }}
        />
      </div>
      <fieldset>
        <legend class="label">How long</legend>
        <div class="seg wide wrap">
          {LENGTHS.map(([words, value]) => (
            <label key={words}>
              <input
                class="vh"
                type="radio"
                name="silence-length"
                checked={minutes.value === value}
                onChange={() => {
                  minutes.value = value
                }}
              />
              {words}
            </label>
          ))}
        </div>
        <p class="small quiet">
          {minutes.value === 0
            ? 'It ends when everything it hides is resolved.'
            : `It ends at ${moment(now.value + minutes.value * 60_000, now.value)} UTC, in ${lasting(minutes.value * 60_000)}; what still fires then is told.`}
        </p>
      </fieldset>
      <fieldset>
        <legend class="label">What: alerts that match all of these</legend>
        {rows.value.map((row, i) => (
          <div class="matcher-row" key={i}>
            {alert ? (
              <label class="check">
                <input
                  type="checkbox"
                  checked={row.on}
                  onChange={(event) => change(i, { on: event.currentTarget.checked })}
                />
                <code>
                  {row.name}={JSON.stringify(row.value)}
                </code>
              </label>
            ) : (
              <>
                <input
                  class="input"
                  aria-label={`Label ${i + 1}`}
                  list="silence-names"
                  required
                  value={row.name}
                  onInput={(event) => change(i, { name: event.currentTarget.value })}
                />
                <span>=</span>
                <input
                  class="input"
                  aria-label={`Value ${i + 1}`}
                  required
                  value={row.value}
                  onInput={(event) => change(i, { value: event.currentTarget.value })}
                />
              </>
            )}
          </div>
        ))}
        {!alert && (
          <>
            <datalist id="silence-names">
              {['rule_id', 'alertname', 'metric_name', 'severity', 'instance', 'job', 'service'].map((name) => (
                <option key={name} value={name} />
              ))}
            </datalist>
            <button
              type="button"
              class="link"
              onClick={() => {
                rows.value = [...rows.value, { name: '', value: '', on: true }]
              }}
            >
              One more label
            </button>
          </>
        )}
      </fieldset>
    </Ask>
  )
}

function rowsOf(alert: Alert): Row[] {
  const labels = Object.entries(alert.labels).map(([name, value]) => ({ name, value, on: true }))
  if (alert.rule_id.startsWith('posted:')) return labels
  return [{ name: 'rule_id', value: alert.rule_id, on: true }, ...labels.filter((row) => row.name !== 'rule_id')]
}
