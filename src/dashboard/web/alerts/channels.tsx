/** Who can be told: each channel with its settings, its last answer, and a button that tests it to the provider. */
import { useSignal } from '@preact/signals'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { Problem, problemOf, useAsked } from '../asked.tsx'
import { ago } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { Act, deeds } from './act.tsx'
import { Ask } from './dialog.tsx'
import type { Channel, Outcome, Severity } from './types.ts'
import { API, SEVERITIES } from './types.ts'

const TYPES: Readonly<Record<Channel['type'], { word: string; fields: readonly string[] }>> = {
  email: {
    word: 'E-mail',
    fields: ['smtp_server', 'smtp_port', 'username', 'password', 'from_email', 'to_emails'],
  },
  webhook: { word: 'Webhook', fields: ['url', 'signing_secret', 'timeout', 'retry_attempts'] },
  slack: { word: 'Slack', fields: ['webhook_url', 'channel', 'username'] },
  sms: { word: 'SMS', fields: ['gateway_url', 'api_key', 'from', 'to'] },
}
const NUMBERS = ['smtp_port', 'timeout', 'retry_attempts']
const PASSWORDS = ['password', 'api_key', 'signing_secret']
const LISTS = ['to_emails', 'to']

export function Channels() {
  const editing = useSignal<Channel | 'new' | null>(null)
  const why = cannot('admin')
  const { asked, again } = useAsked(`channels ${deeds.value}`, 5_000, (signal) =>
    call<{ channels: readonly Channel[] }>('GET', `${API}/channels`, undefined, signal),
  )
  const { answer, problem } = asked.value
  const channels = answer?.channels ?? []
  const working = channels.filter((channel) => channel.enabled && channel.configured)
  return (
    <>
      <div class="headline detail-head">
        <h1>Channels</h1>
        <div class="aside">
          <button
            type="button"
            class="btn primary"
            disabled={why !== null}
            title={why ?? undefined}
            onClick={() => {
              editing.value = 'new'
            }}
          >
            New channel…
          </button>
        </div>
        <p>
          {answer &&
            (working.length === 0
              ? 'Nobody can be told: no channel is both configured and switched on.'
              : `${working.length} of ${channels.length} channels can tell somebody.`)}
          {why && <span class="quiet"> {why} to change one.</span>}
        </p>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <section class="panel" aria-label="Channels">
        <div class="rows">
          {channels.map((channel) => (
            <Item
              key={channel.id}
              channel={channel}
              edit={() => {
                editing.value = channel
              }}
            />
          ))}
          {!answer && !problem && <p class="empty quiet">Reading</p>}
        </div>
      </section>
      {editing.value && (
        <ChannelDialog
          channel={editing.value === 'new' ? null : editing.value}
          close={() => {
            editing.value = null
          }}
        />
      )}
    </>
  )
}

function Item({ channel, edit }: { channel: Channel; edit: () => void }) {
  const tested = useSignal<Outcome | string | null>(null)
  const busy = useSignal(false)
  const operator = cannot('operator')
  const admin = cannot('admin')
  const good = channel.enabled && channel.configured && channel.last_error === null
  const words = !channel.configured
    ? `not configured: ${channel.missing.join(', ')} missing`
    : !channel.enabled
      ? 'switched off'
      : channel.last_error !== null
        ? `last answer: ${channel.last_error}`
        : 'ready'
  async function test() {
    if (busy.value) return
    busy.value = true
    tested.value = null
    try {
      tested.value = await call<Outcome>('POST', `${API}/channels/${encodeURIComponent(channel.id)}/test`)
    } catch (error) {
      tested.value = problemOf(error).message
    }
    busy.value = false
  }
  const result = tested.value
  return (
    <article class="item" aria-labelledby={`channel-${channel.id}`}>
      <Icon
        name={good ? 'ok' : channel.enabled && channel.configured ? 'warning' : 'nodata'}
        class={good ? 'sev-ok' : channel.enabled && channel.configured ? 'sev-warning' : 'sev-none'}
      />
      <div>
        <div class="item-head">
          <h2 id={`channel-${channel.id}`}>
            {channel.name} <span class="small quiet">{channel.id}</span>
          </h2>
          <span class="when">
            {channel.last_success_at
              ? `last delivery ${ago(Date.parse(channel.last_success_at), now.value)}`
              : 'nothing delivered yet'}
          </span>
        </div>
        <p>
          {TYPES[channel.type].word}, {words}
        </p>
        <p class="meta">
          <span>
            takes {channel.severity_filter.length === 0 ? 'all severities' : channel.severity_filter.join(', ')}
          </span>
          {target(channel) && <span>to {target(channel)}</span>}
        </p>
        <div class="btns">
          <button
            type="button"
            class="btn"
            disabled={operator !== null || !channel.configured}
            title={operator ?? (channel.configured ? undefined : 'Its settings are not complete')}
            aria-busy={busy.value ? 'true' : undefined}
            onClick={test}
          >
            Test<span class="vh"> {channel.name}</span>
          </button>
          <button type="button" class="btn" disabled={admin !== null} title={admin ?? undefined} onClick={edit}>
            Settings…<span class="vh"> of {channel.name}</span>
          </button>
          <Act
            needs="admin"
            about={channel.name}
            act={() =>
              call('PUT', `${API}/channels/${encodeURIComponent(channel.id)}`, {
                enabled: !channel.enabled,
                version: channel.version,
              })
            }
          >
            {channel.enabled ? 'Switch off' : 'Switch on'}
          </Act>
        </div>
        {result !== null && (
          <p class="note result" role="status">
            {typeof result === 'string' ? (
              <>
                <Icon name="warning" class="s inline sev-warning" /> {result}
              </>
            ) : (
              <>
                <Icon
                  name={result.status === 'delivered' ? 'check' : 'warning'}
                  class={`s inline ${result.status === 'delivered' ? 'sev-ok' : 'sev-warning'}`}
                />{' '}
                {result.status === 'delivered' ? 'The provider took it' : 'Not delivered'}: {result.answer}
                {result.ms !== null && <span class="quiet">, {Math.round(result.ms)} ms</span>}
              </>
            )}
          </p>
        )}
      </div>
    </article>
  )
}

function target({ config }: Channel): string {
  const to = config.to_emails ?? config.to ?? config.channel
  return Array.isArray(to) ? to.join(', ') : typeof to === 'string' ? to : ''
}

/** Text fields of the type; what is secret stays as it is unless something is written. */
function ChannelDialog({ channel, close }: { channel: Channel | null; close: () => void }) {
  const type = useSignal<Channel['type']>(channel?.type ?? 'webhook')
  const id = useSignal(channel?.id ?? '')
  const name = useSignal(channel?.name ?? '')
  const filter = useSignal<readonly Severity[]>(channel?.severity_filter ?? [])
  const config = useSignal<Readonly<Record<string, string>>>({})
  const { fields } = TYPES[type.value]
  const isSecret = (field: string) =>
    `${field}_set` in (channel?.config ?? {}) ||
    ['password', 'url', 'webhook_url', 'signing_secret', 'api_key'].includes(field)
  const stands = (field: string) => {
    const value = channel?.config[field]
    if (isSecret(field) || value === null || value === undefined) return ''
    return Array.isArray(value) ? value.join(', ') : String(value)
  }
  function settings(): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(config.value)
        .filter(([field, text]) => fields.includes(field) && (text !== '' || !isSecret(field)))
        .map(([field, text]) => {
          if (text.trim() === '') return [field, null]
          if (NUMBERS.includes(field)) return [field, Number(text)]
          if (LISTS.includes(field)) return [field, text.split(/[\s,;]+/).filter(Boolean)]
          return [field, text.trim()]
        }),
    )
  }
  return (
    <Ask
      title={channel ? `Settings of ${channel.name}` : 'New channel'}
      verb={channel ? 'Save' : 'Make it'}
      close={close}
      submit={() =>
        channel
          ? call('PUT', `${API}/channels/${encodeURIComponent(channel.id)}`, {
              name: name.value,
              severity_filter: filter.value,
              config: settings(),
              version: channel.version,
            })
          : call('POST', `${API}/channels`, {
              id: id.value,
              name: name.value,
              type: type.value,
              severity_filter: filter.value,
              config: Object.fromEntries(Object.entries(settings()).filter(([, value]) => value !== null)),
            })
      }
    >
      {!channel && (
        <>
          <div class="field">
            <label for="channel-type">Kind</label>
            <select
              id="channel-type"
              class="input"
              value={type.value}
              onChange={(event) => {
                type.value = event.currentTarget.value as Channel['type']
              }}
            >
              {Object.entries(TYPES).map(([key, { word }]) => (
                <option key={key} value={key}>
                  {word}
                </option>
              ))}
            </select>
          </div>
          <Text id="channel-id" label="Id" hint="Small letters, digits, - and _" value={id} required />
        </>
      )}
      <Text id="channel-name" label="Name" value={name} required />
      {fields.map((field) => (
        <div class="field" key={field}>
          <label for={`channel-${field}`}>{field.replaceAll('_', ' ')}</label>
          <input
            id={`channel-${field}`}
            class="input"
            {...(PASSWORDS.includes(field) ? ({ type: 'password' } as const) : {})}
            autocomplete="off"
            spellcheck={false}
            placeholder={channel?.config[`${field}_set`] === true ? 'stays as it is' : ''}
            value={config.value[field] ?? stands(field)}
            onInput={(event) => {
              config.value = { ...config.value, [field]: event.currentTarget.value }
            }}
          />
        </div>
      ))}
      <fieldset>
        <legend class="label">Takes (none chosen: all)</legend>
        <div class="checks-row">
          {SEVERITIES.map((severity) => (
            <label class="check" key={severity}>
              <input
                type="checkbox"
                checked={filter.value.includes(severity)}
                onChange={(event) => {
                  const on = event.currentTarget.checked
                  filter.value = on ? [...filter.value, severity] : filter.value.filter((s) => s !== severity)
                }}
              />
              <Icon name={severity} class={`s sev-${severity}`} /> {severity}
            </label>
          ))}
        </div>
      </fieldset>
    </Ask>
  )
}

function Text(props: { id: string; label: string; hint?: string; value: { value: string }; required?: boolean }) {
  return (
    <div class="field">
      <label for={props.id}>{props.label}</label>
      <input
        id={props.id}
        class="input"
        required={props.required}
        value={props.value.value}
        onInput={(event) => {
          props.value.value = event.currentTarget.value
        }}
      />
      {props.hint && <span class="hint">{props.hint}</span>}
    </div>
  )
}
