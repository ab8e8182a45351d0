/** The editor of a policy. What changed says what it was; versions stand below. */
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { go } from '../address.ts'
import { deeds } from '../alerts/act.tsx'
import { cannot } from '../anomalies.tsx'
import { ApiError, call } from '../api.ts'
import { Problem, problemOf, useAsked } from '../asked.tsx'
import { moment } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { Replay } from './replay.tsx'
import { API, type Policy, type Summary } from './types.ts'

const NEW: Omit<Policy, 'last_action_time' | 'version'> = {
  name: '',
  target: 'market',
  metric_name: '',
  scale_up_threshold: 80,
  scale_down_threshold: 30,
  min_instances: 1,
  max_instances: 10,
  cooldown_period: 300,
  enabled: true,
  breach_for: 0,
  clear_for: 300,
  max_step_up: '50%',
  max_step_down: '50%',
  predictive: 'forecast_only',
  on_missing_metric: 'hold',
  fallback_instances: null,
}

type Draft = typeof NEW

interface Version {
  readonly version: number
  readonly at: string
  readonly by: string
  readonly policy: Policy | null
}

export function PolicyPage({ name }: { name: string | null }) {
  const { asked, again } = useAsked(`policy ${name} ${deeds.value}`, 60_000, async (signal) => {
    const { targets } = await call<Summary>('GET', `${API}/summary`, undefined, signal)
    if (name === null) return { policy: null, versions: [], targets: targets.map((one) => one.name) }
    const path = `${API}/policies/${encodeURIComponent(name)}`
    const policy = await call<Policy>('GET', path, undefined, signal)
    const { versions } = await call<{ versions: Version[] }>('GET', `${path}/versions`, undefined, signal)
    return { policy, versions, targets: targets.map((one) => one.name) }
  })
  const { answer, problem } = asked.value
  if (!answer) {
    return (
      <section class="panel" aria-busy={problem ? undefined : 'true'}>
        {problem ? <Problem problem={problem} again={again} /> : <p class="empty">Looking it up.</p>}
      </section>
    )
  }
  return (
    <>
      <p class="crumb">
        <a href="/ops/scaling">Scaling</a>
      </p>
      <h1>{name ?? 'New policy'}</h1>
      <Editor key={answer.policy?.version ?? 0} stored={answer.policy} targets={answer.targets} />
      {answer.policy && <Versions versions={answer.versions} />}
    </>
  )
}

function Editor({ stored, targets }: { stored: Policy | null; targets: readonly string[] }) {
  const draft = useSignal<Draft>(stored ?? NEW)
  const busy = useSignal(false)
  const refusal = useSignal<string | null>(null)
  const d = draft.value
  const why = cannot('admin')
  const set = (patch: Partial<Draft>) => {
    draft.value = { ...draft.peek(), ...patch }
  }
  useEffect(() => {
    if (stored) return
    document.querySelector<HTMLInputElement>('#f-name')?.focus()
  }, [])
  const changed = (Object.keys(NEW) as (keyof Draft)[]).filter((key) => !stored || d[key] !== stored[key])

  async function act(work: () => Promise<unknown>, after: string) {
    if (busy.value) return
    busy.value = true
    refusal.value = null
    try {
      await work()
      deeds.value++
      go(after)
    } catch (error) {
      const problem = problemOf(error)
      refusal.value =
        problem instanceof ApiError && problem.status === 412
          ? `${problem.message} Load the page anew to see that version.`
          : problem.message
    }
    busy.value = false
  }
  const save = (event: Event) => {
    event.preventDefault()
    const body = Object.fromEntries(changed.filter((key) => key !== 'name' || !stored).map((key) => [key, d[key]]))
    const path = `${API}/policies`
    return stored
      ? act(
          () => call('PUT', `${path}/${encodeURIComponent(stored.name)}`, { ...body, version: stored.version }),
          `/ops/scaling/policies/${encodeURIComponent(stored.name)}`,
        )
      : act(() => call('POST', path, body), `/ops/scaling/policies/${encodeURIComponent(d.name)}`)
  }
  const number = (key: keyof Draft, label: string, unit = '') => (
    <Field key={key} id={key} label={label} was={stored && stored[key] !== d[key] ? String(stored[key]) : null}>
      <span class="with-unit">
        <input
          class="input"
          id={`f-${key}`}
          type="number"
          step="any"
          required
          value={String(d[key] ?? '')}
          onInput={(event) => set({ [key]: event.currentTarget.valueAsNumber })}
        />
        {unit && <span class="small quiet">{unit}</span>}
      </span>
    </Field>
  )
  const step = (key: 'max_step_up' | 'max_step_down', label: string) => (
    <Field id={key} label={label} was={stored && stored[key] !== d[key] ? String(stored[key]) : null}>
      <input
        class="input"
        id={`f-${key}`}
        required
        pattern="[0-9]+(\.[0-9]+)?%?"
        value={String(d[key])}
        onInput={(event) => {
          const text = event.currentTarget.value.trim()
          set({ [key]: /^\d+$/.test(text) ? Number(text) : text })
        }}
      />
    </Field>
  )
  const choice = (key: keyof Draft, label: string, options: readonly (readonly [string, string])[]) => (
    <Field id={key} label={label} was={stored && stored[key] !== d[key] ? String(stored[key]) : null}>
      <select
        class="input"
        id={`f-${key}`}
        value={String(d[key])}
        onChange={(event) => set({ [key]: event.currentTarget.value })}
      >
        {options.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </Field>
  )
  const meant = Object.fromEntries(
    (Object.keys(NEW) as (keyof Draft)[]).filter((key) => key !== 'name' || stored).map((key) => [key, d[key]]),
  )
  return (
    <>
      <section class="panel" aria-label="Policy">
        <form class="panel-body policy" onSubmit={save}>
          {!stored && (
            <Field id="name" label="Name" was={null}>
              <input
                class="input"
                id="f-name"
                required
                pattern="[a-z0-9_\-]{1,64}"
                value={d.name}
                onInput={(event) => set({ name: event.currentTarget.value })}
              />
            </Field>
          )}
          {choice(
            'target',
            'Target',
            targets.map((name) => [name, name] as const),
          )}
          <Field
            id="metric_name"
            label="Metric"
            was={stored && stored.metric_name !== d.metric_name ? stored.metric_name : null}
          >
            <input
              class="input"
              id="f-metric_name"
              required
              value={d.metric_name}
              onInput={(event) => set({ metric_name: event.currentTarget.value })}
            />
          </Field>
          {number('scale_up_threshold', 'Grow above')}
          {number('breach_for', 'for at least', 's')}
          {step('max_step_up', 'at most by')}
          {number('scale_down_threshold', 'Shrink below')}
          {number('clear_for', 'for at least', 's')}
          {step('max_step_down', 'at most by')}
          {number('min_instances', 'Fewest instances')}
          {number('max_instances', 'Most instances')}
          {number('cooldown_period', 'Wait after an action', 's')}
          {choice('predictive', 'Forecast', [
            ['off', 'not used'],
            ['forecast_only', 'shown only'],
            ['scale', 'may add instances'],
          ])}
          {choice('on_missing_metric', 'Without data', [
            ['hold', 'keep what is there'],
            ['fallback', 'at least a number'],
          ])}
          {d.on_missing_metric === 'fallback' && number('fallback_instances', 'That number')}
          <label class="check full">
            <input
              type="checkbox"
              checked={d.enabled}
              onChange={(event) => set({ enabled: event.currentTarget.checked })}
            />
            Enabled
          </label>
          {refusal.value && (
            <p class="note refusal full" role="alert">
              <Icon name="warning" class="s inline" /> {refusal}
            </p>
          )}
          <div class="btns full">
            <button
              type="submit"
              class="btn primary"
              disabled={why !== null || changed.length === 0}
              title={why ?? undefined}
              aria-busy={busy.value ? 'true' : undefined}
            >
              Save
            </button>
            {stored && (
              <button
                type="button"
                class="btn danger"
                disabled={why !== null}
                title={why ?? undefined}
                onClick={() =>
                  act(() => call('DELETE', `${API}/policies/${encodeURIComponent(stored.name)}`), '/ops/scaling')
                }
              >
                Delete
              </button>
            )}
            {why && <span class="small quiet">{why}</span>}
          </div>
        </form>
      </section>
      <Replay policy={meant} />
    </>
  )
}

function Field({
  id,
  label,
  was,
  children,
}: {
  id: string
  label: string
  was: string | null
  children: ComponentChildren
}) {
  return (
    <div class={`field${was === null ? '' : ' changed'}`}>
      <label for={`f-${id}`}>{label}</label>
      {children}
      {was !== null && <span class="hint">was {was}</span>}
    </div>
  )
}

function Versions({ versions }: { versions: readonly Version[] }) {
  return (
    <section class="panel" aria-labelledby="h-versions">
      <div class="panel-head">
        <h2 id="h-versions">History of the policy</h2>
      </div>
      <ol class="versions note">
        {versions.map((one, i) => (
          <li key={one.version}>
            <b class="strong">Version {one.version}</b>, {moment(Date.parse(one.at), now.value)} UTC by {one.by}:{' '}
            {one.policy ? difference(one.policy, versions[i + 1]?.policy ?? null) : 'deleted'}
          </li>
        ))}
      </ol>
    </section>
  )
}

function difference(policy: Policy, before: Policy | null): string {
  if (!before)
    return `${policy.metric_name}, grows above ${policy.scale_up_threshold}, shrinks below ${policy.scale_down_threshold}`
  const keys = (Object.keys(NEW) as (keyof Draft)[]).filter((key) => policy[key] !== before[key])
  return keys.map((key) => `${key.replaceAll('_', ' ')} ${before[key]} → ${policy[key]}`).join('; ') || 'nothing'
}
