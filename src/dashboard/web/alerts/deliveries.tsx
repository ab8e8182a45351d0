/** The outbox: every notice, each attempt with the provider's answer, the next try; dead letters can be sent again. */
import { useSignal } from '@preact/signals'
import { call } from '../api.ts'
import { Problem, useAsked } from '../asked.tsx'
import { ago, hhmmss, moment, short } from '../format.ts'
import { Icon, type IconName } from '../icons.tsx'
import { now } from '../live.ts'
import { Act, deeds } from './act.tsx'
import type { DeliveriesAnswer, Delivery } from './types.ts'
import { API } from './types.ts'
import { plural } from './words.ts'

const STATES: Readonly<Record<Delivery['status'], readonly [icon: IconName, look: string, words: string]>> = {
  delivered: ['check', 'ok', 'delivered'],
  waiting: ['retry', 'warning', 'waiting'],
  dead: ['critical', 'critical', 'given up'],
  cancelled: ['nodata', '', 'cancelled'],
}

export function DeliveryState({ delivery }: { delivery: Delivery }) {
  const [icon, look, words] = STATES[delivery.status]
  return (
    <span class={`tag ${look}`}>
      <Icon name={icon} /> {words}
    </span>
  )
}

/** What the provider said last, and what comes next. */
export function Attempts({ delivery }: { delivery: Delivery }) {
  const { attempts, next_at, status } = delivery
  const last = attempts.at(-1)
  const late = last ? Date.parse(last.at) - Date.parse(delivery.created_at) : 0
  return (
    <span class="small quiet answer">
      {' '}
      {last ? `${last.answer}, ${Math.round(last.ms)} ms` : 'no attempt yet'}
      {attempts.length > 1 && `, try ${attempts.length}`}
      {status === 'delivered' && late > 60_000 && `, ${short(late)} late`}
      {status === 'waiting' &&
        next_at &&
        `, next ${Date.parse(next_at) <= now.value ? 'now' : `at ${hhmmss(Date.parse(next_at))}`}`}
    </span>
  )
}

const FILTERS = ['all', 'waiting', 'dead', 'delivered', 'cancelled'] as const

export function Deliveries() {
  const chosen = useSignal<(typeof FILTERS)[number]>('all')
  const pages = useSignal(1)
  const limit = Math.min(1000, pages.value * 100)
  const what = `deliveries ${chosen.value} ${limit} ${deeds.value}`
  const { asked, again } = useAsked(what, 3_000, (signal) => {
    const status = chosen.value === 'all' ? '' : `&status=${chosen.value}`
    return call<DeliveriesAnswer>('GET', `${API}/deliveries?limit=${limit}${status}`, undefined, signal)
  })
  const { answer, problem } = asked.value
  const rows = answer?.deliveries ?? []
  return (
    <>
      <div class="headline detail-head">
        <h1>Deliveries</h1>
        <div class="aside">
          <fieldset class="seg">
            <legend class="vh">Which</legend>
            {FILTERS.map((name) => (
              <button
                key={name}
                type="button"
                aria-pressed={chosen.value === name}
                onClick={() => {
                  chosen.value = name
                  pages.value = 1
                }}
              >
                {name === 'dead' ? 'given up' : name}
              </button>
            ))}
          </fieldset>
        </div>
        <p>
          {answer &&
            (answer.waiting === 0
              ? 'Nothing waits: every notice has an answer.'
              : `${plural(answer.waiting, 'notice waits', 'notices wait')}, the oldest for ${short(now.value - Date.parse(answer.oldest_waiting_at!))}.`)}
          {answer?.resting.map((channel) => (
            <span key={channel.channel_id}>
              {' '}
              {channel.channel_id} {channel.failing ? 'fails' : 'asked for patience'}; next try at{' '}
              {hhmmss(Date.parse(channel.next_try_at))}.
            </span>
          ))}
        </p>
      </div>
      <section class="panel" aria-label="Notices, newest first">
        {problem && <Problem problem={problem} again={again} />}
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
        <section class="table-wrap" tabIndex={0} aria-label="Notices">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Made (UTC)</th>
                <th scope="col">Notice</th>
                <th scope="col">Channel</th>
                <th scope="col">Event</th>
                <th scope="col">Answer</th>
                <th scope="col">
                  <span class="vh">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {rows.map((delivery) => (
                <tr key={delivery.id}>
                  <td>
                    <time dateTime={delivery.created_at} title={ago(Date.parse(delivery.created_at), now.value)}>
                      {moment(Date.parse(delivery.created_at), now.value)}
                    </time>
                  </td>
                  <td>
                    {delivery.alert_ids[0] && !delivery.is_test ? (
                      <a class="row" href={`/ops/alerts/${encodeURIComponent(delivery.alert_ids[0])}`}>
                        {delivery.title}
                      </a>
                    ) : (
                      delivery.title
                    )}
                    {delivery.count > 1 && <span class="small quiet"> and {delivery.count - 1} more</span>}
                  </td>
                  <td>{delivery.channel_id}</td>
                  <td>{delivery.event}</td>
                  <td>
                    <DeliveryState delivery={delivery} />
                    <Attempts delivery={delivery} />
                  </td>
                  <td>
                    {delivery.status === 'dead' && (
                      <Act
                        needs="operator"
                        about={`${delivery.title} over ${delivery.channel_id}`}
                        act={() => call('POST', `${API}/deliveries/${encodeURIComponent(delivery.id)}/retry`)}
                      >
                        Send again
                      </Act>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
        {answer && rows.length === 0 && (
          <p class="empty">{chosen.value === 'all' ? 'No notice was made yet.' : 'None of this kind.'}</p>
        )}
        {!answer && !problem && <p class="empty quiet">Reading</p>}
        {answer?.next_cursor && limit < 1000 && (
          <div class="panel-foot">
            <button type="button" class="link" onClick={() => pages.value++}>
              Older ones
            </button>
          </div>
        )}
      </section>
    </>
  )
}
