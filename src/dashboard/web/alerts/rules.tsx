/** All rules, and the editor of one: what it would have done with the last days stands beside what is being changed. */
import type { Signal } from '@preact/signals'
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { go } from '../address.ts'
import { cannot } from '../anomalies.tsx'
import { call, raw } from '../api.ts'
import { Problem, problemOf, useAsked } from '../asked.tsx'
import { moment } from '../format.ts'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { Act, deeds } from './act.tsx'
import { Backtest } from './backtest.tsx'
import type { Channel, Condition, Outcome, Rule, Severity } from './types.ts'
import { API, CONDITIONS, SEVERITIES } from './types.ts'
import { ABOVE, limit, plural, seconds } from './words.ts'

export function Rules({ id }: { id: string | null }) {
  if (id === 'new') return <Editor rule={null} />
  return id === null ? <List /> : <One id={id} />
}

/** `cpu_usage above 80 % for 2 min`, the rule in a line. */
export function inWords(rule: Rule): string {
  const held = rule.for > 0 ? ` for ${seconds(rule.for)}` : ''
  if (rule.mode === 'expr') return `${rule.expr}${held}`
  if (rule.mode === 'anomaly') return `${rule.metric_name} behaves unlike itself${held}`
  const when = `${rule.metric_name} ${ABOVE[rule.condition]} ${limit(rule.threshold, rule.unit)}`
  if (rule.mode === 'forecast') return `${when} expected within ${rule.horizon} min`
  return rule.condition === 'change_rate' ? `${when} a minute, over ${seconds(rule.window)}${held}` : `${when}${held}`
}

function List() {
  const why = cannot('admin')
  const { asked, again } = useAsked(`rules ${deeds.value}`, 10_000, async (signal) => {
    const [rules, health] = await Promise.all([
      call<{ rules: readonly Rule[] }>('GET', `${API}/rules`, undefined, signal),
      call<{ undeliverable_rules: readonly string[]; problems: readonly string[] }>(
        'GET',
        `${API}/health`,
        undefined,
        signal,
      ),
    ])
    return { rules: rules.rules, health }
  })
  const { answer, problem } = asked.value
  const rules = answer?.rules ?? []
  const lost = new Set(answer?.health.undeliverable_rules ?? [])
  return (
    <>
      <div class="headline detail-head">
        <h1>Rules</h1>
        <div class="aside">
          {why ? (
            <span class="small quiet">{why} to make one</span>
          ) : (
            <a class="btn primary" href="/ops/rules/new">
              New rule
            </a>
          )}
        </div>
        <p>
          {answer &&
            `${plural(rules.filter((rule) => rule.enabled).length, 'rule is', 'rules are')} watching${lost.size > 0 ? `; ${lost.size} of them would reach nobody` : ''}.`}{' '}
          {answer?.health.problems.join(' ')}
        </p>
      </div>
      {problem && <Problem problem={problem} again={again} />}
      <section class="panel" aria-label="Rules">
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
        <section class="table-wrap" tabIndex={0} aria-label="Rules, scrolls sideways">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Rule</th>
                <th scope="col">Fires when</th>
                <th scope="col">Severity</th>
                <th scope="col">Tells</th>
                <th scope="col" class="wide-col">
                  From
                </th>
              </tr>
            </thead>
            <tbody>
              {rules.map((rule) => (
                <tr key={rule.id}>
                  <td>
                    <a class="row" href={`/ops/rules/${encodeURIComponent(rule.id)}`}>
                      {rule.name}
                    </a>
                    {!rule.enabled && (
                      <>
                        {' '}
                        <span class="tag">off</span>
                      </>
                    )}
                  </td>
                  <td>{inWords(rule)}</td>
                  <td class="nowrap">
                    <Icon name={rule.severity} class={`s inline sev-${rule.severity}`} /> {rule.severity}
                  </td>
                  <td>
                    {rule.notification_channels.join(', ') || 'nobody'}
                    {lost.has(rule.id) && (
                      <span class="small quiet block-line">
                        <Icon name="warning" class="s inline sev-warning" /> none of them can tell anybody now
                      </span>
                    )}
                  </td>
                  <td class="wide-col">{rule.provenance}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
        {answer && rules.length === 0 && <p class="empty">No rule watches anything.</p>}
        {!answer && !problem && <p class="empty quiet">Reading</p>}
      </section>
    </>
  )
}

function One({ id }: { id: string }) {
  // Read once: nothing changes under the hands of who edits. A save of somebody else is told by the refusal of this one.
  const { asked, again } = useAsked(`rule ${id}`, 86_400_000, (signal) =>
    call<Rule>('GET', `${API}/rules/${encodeURIComponent(id)}`, undefined, signal),
  )
  const { answer, problem } = asked.value
  if (answer) return <Editor rule={answer} key={answer.version} reread={again} />
  return (
    <section class="panel">
      {problem ? <Problem problem={problem} again={again} /> : <p class="empty quiet">Reading</p>}
    </section>
  )
}

const EMPTY: Rule = {
  id: '',
  name: '',
  description: '',
  metric_name: '',
  labels: {},
  condition: 'gt',
  threshold: 0,
  severity: 'warning',
  notification_channels: [],
  enabled: true,
  cooldown_period: 300,
  tags: [],
  suppression_rules: [],
  for: 0,
  recovery_threshold: 0,
  recover_for: 0,
  no_data: 'keep',
  mode: 'threshold',
  horizon: 30,
  expr: null,
  window: 300,
  runbook_url: null,
  owner: null,
  provenance: 'ui',
  unit: '',
  version: 0,
}

/** What the form writes, in the form's own units. */
type Draft = Record<Field, string> & { channels: readonly string[]; enabled: boolean }
type Field =
  | 'id'
  | 'name'
  | 'description'
  | 'metric_name'
  | 'labels'
  | 'mode'
  | 'condition'
  | 'threshold'
  | 'recovery_threshold'
  | 'for'
  | 'recover_for'
  | 'severity'
  | 'no_data'
  | 'cooldown_period'
  | 'window'
  | 'horizon'
  | 'expr'
  | 'suppression_rules'
  | 'runbook_url'
  | 'owner'
  | 'tags'

const minutes = (value: number) => String(Number((value / 60).toPrecision(6)))

function draftOf(rule: Rule): Draft {
  return {
    id: rule.id,
    name: rule.name,
    description: rule.description,
    metric_name: rule.metric_name,
    labels: Object.entries(rule.labels)
      .map(([name, match]) => (typeof match === 'string' ? `${name}=${match}` : `${name}=~${match.regex}`))
      .join('\n'),
    mode: rule.mode,
    condition: rule.condition,
    threshold: String(rule.threshold),
    recovery_threshold: rule.recovery_threshold === rule.threshold ? '' : String(rule.recovery_threshold),
    for: minutes(rule.for),
    recover_for: minutes(rule.recover_for),
    severity: rule.severity,
    no_data: rule.no_data,
    cooldown_period: minutes(rule.cooldown_period),
    window: minutes(rule.window),
    horizon: String(rule.horizon ?? 30),
    expr: rule.expr ?? '',
    suppression_rules: rule.suppression_rules.join(', '),
    runbook_url: rule.runbook_url ?? '',
    owner: rule.owner ?? '',
    tags: rule.tags.join(', '),
    channels: rule.notification_channels,
    enabled: rule.enabled,
  }
}

const list = (text: string) => text.split(/[\s,]+/).filter(Boolean)
const number = (text: string) => (text.trim() === '' ? Number.NaN : Number(text.trim().replace('−', '-')))

/** The rule as the API takes it; a number that is none is left to the platform to refuse in its words. */
export function ruleOf(draft: Draft): Record<string, unknown> {
  const mode = draft.mode as Rule['mode']
  const s = (text: string) => Math.round(number(text) * 60_000) / 1000
  return {
    name: draft.name,
    description: draft.description,
    severity: draft.severity,
    notification_channels: draft.channels,
    enabled: draft.enabled,
    cooldown_period: s(draft.cooldown_period),
    for: s(draft.for),
    recover_for: s(draft.recover_for),
    no_data: draft.no_data,
    mode,
    suppression_rules: list(draft.suppression_rules),
    tags: draft.tags
      .split(',')
      .map((tag) => tag.trim())
      .filter(Boolean),
    runbook_url: draft.runbook_url.trim() || null,
    owner: draft.owner.trim() || null,
    provenance: 'ui',
    ...(mode === 'expr'
      ? { expr: draft.expr }
      : {
          metric_name: draft.metric_name.trim(),
          labels: labelsOf(draft.labels),
          condition: draft.condition,
          threshold: number(draft.threshold),
          recovery_threshold: draft.recovery_threshold.trim() === '' ? null : number(draft.recovery_threshold),
          ...(draft.condition === 'change_rate' ? { window: s(draft.window) } : {}),
          ...(mode === 'forecast' ? { horizon: number(draft.horizon) } : {}),
        }),
  }
}

function labelsOf(text: string): Record<string, unknown> {
  const pairs = text.split('\n').map((row) => /^\s*([^=~\s]+)\s*(=~|=)\s*(.*?)\s*$/.exec(row))
  return Object.fromEntries(pairs.flatMap((p) => (p ? [[p[1]!, p[2] === '=~' ? { regex: p[3]! } : p[3]!]] : [])))
}

const MODES = [
  ['threshold', 'Value'],
  ['anomaly', 'Anomaly'],
  ['forecast', 'Forecast'],
  ['expr', 'Expression'],
] as const

function Editor({ rule, reread }: { rule: Rule | null; reread?: () => void }) {
  const stored = draftOf(rule ?? EMPTY)
  const draft = useSignal<Draft>(stored)
  const d = draft.value
  const busy = useSignal(false)
  const refusal = useSignal<string | null>(null)
  const saved = useSignal<string | null>(null)
  const why = cannot('admin')
  const changed = (Object.keys(stored) as (keyof Draft)[]).filter(
    (key) => JSON.stringify(stored[key]) !== JSON.stringify(d[key]),
  )
  const put = (field: Field, value: string) => {
    draft.value = { ...draft.peek(), [field]: value }
    saved.value = null
  }
  const { asked: channels } = useAsked(`channels of rules ${deeds.value}`, 30_000, (signal) =>
    call<{ channels: readonly Channel[] }>('GET', `${API}/channels`, undefined, signal),
  )
  const { asked: names } = useAsked('names for rules', 300_000, async (signal) => {
    const answer = (await raw('GET', '/api/v1/label/__name__/values', undefined, signal)) as { data: string[] }
    return answer.data
  })
  useEffect(() => {
    const warn = (event: BeforeUnloadEvent) => {
      if (JSON.stringify(draft.peek()) !== JSON.stringify(stored)) event.preventDefault()
    }
    addEventListener('beforeunload', warn)
    return () => removeEventListener('beforeunload', warn)
  }, [])

  async function save(event: Event) {
    event.preventDefault()
    if (busy.value) return
    busy.value = true
    refusal.value = null
    try {
      if (rule) {
        await call('PUT', `${API}/rules/${encodeURIComponent(rule.id)}`, { ...ruleOf(d), version: rule.version })
        reread?.()
      } else {
        await call('POST', `${API}/rules`, { id: d.id.trim(), ...ruleOf(d) })
        go(`/ops/rules/${encodeURIComponent(d.id.trim())}`)
      }
      saved.value = 'Saved: it holds from now on.'
      deeds.value++
    } catch (error) {
      const problem = problemOf(error)
      refusal.value =
        problem.status === 412
          ? `${problem.message} Somebody else saved it meanwhile; load the page anew to see how.`
          : problem.message
    }
    busy.value = false
  }

  const unit = rule?.metric_name === d.metric_name ? rule.unit : ''
  const below = d.condition === 'lt' || d.condition === 'lte'
  const isExpr = d.mode === 'expr'
  const fields = { stored: rule ? stored : null, draft, put }
  return (
    <>
      <p class="crumb always">
        <a href="/ops/rules">All rules</a>
      </p>
      <section class="panel" aria-labelledby="h-rule">
        <div class="panel-head">
          <h1 id="h-rule" class="like-h2">
            {rule ? `Rule: ${rule.id}` : 'New rule'}
          </h1>
          {rule && <span class="tag">from {rule.provenance}</span>}
          {changed.length > 0 && <span class="tag accent">{plural(changed.length, 'change')}, not saved</span>}
          {rule && <span class="end small quiet">version {rule.version}</span>}
        </div>
        <form class="panel-body rule" onSubmit={save} id="rule-form">
          <div class="form">
            {!rule && <Input field="id" label="Id" hint="Small letters, digits, - and _" full required {...fields} />}
            <Input field="name" label="Name" full required {...fields} />
            <fieldset class="full">
              <legend class="vh">Fires on</legend>
              <div class="seg wide">
                {MODES.map(([mode, words]) => (
                  <label key={mode}>
                    <input
                      class="vh"
                      type="radio"
                      name="mode"
                      checked={d.mode === mode}
                      onChange={() => put('mode', mode)}
                    />
                    {words}
                  </label>
                ))}
              </div>
            </fieldset>
            {isExpr ? (
              <Input
                field="expr"
                label="PromQL expression"
                hint="Each series of its result is in breach"
                full
                area
                {...fields}
              />
            ) : (
              <>
                <Input field="metric_name" label="Metric" full names="rule-metrics" required {...fields} />
                <datalist id="rule-metrics">
                  {(names.value.answer ?? []).map((name) => (
                    <option key={name} value={name} />
                  ))}
                </datalist>
                <Choice field="condition" label="Fires when it is" {...fields}>
                  {CONDITIONS.map((condition) => (
                    <option key={condition} value={condition}>
                      {ABOVE[condition as Condition]}
                    </option>
                  ))}
                </Choice>
                <Input
                  field="threshold"
                  label="Threshold"
                  suffix={d.condition === 'change_rate' ? `${unit} a min` : unit}
                  numeric
                  required
                  {...fields}
                />
              </>
            )}
            <Input field="for" label="For" suffix="min" numeric {...fields} />
            <Choice field="severity" label="Severity" {...fields}>
              {SEVERITIES.map((severity) => (
                <option key={severity}>{severity}</option>
              ))}
            </Choice>
            {!isExpr && d.mode === 'threshold' && (
              <Input
                field="recovery_threshold"
                label={below ? 'Clears above' : 'Clears below'}
                suffix={unit}
                hint="Empty: at the threshold"
                numeric
                {...fields}
              />
            )}
            {d.mode === 'forecast' && <Input field="horizon" label="Looks ahead" suffix="min" numeric {...fields} />}
            <Input field="recover_for" label="Clear for" suffix="min" numeric {...fields} />
            {d.condition === 'change_rate' && !isExpr && (
              <Input field="window" label="Change over" suffix="min" numeric {...fields} />
            )}
            <Tells channels={channels.value.answer?.channels ?? []} draft={draft} severity={d.severity as Severity} />
            <Choice field="no_data" label="Without data" {...fields}>
              <option value="keep">keep the state</option>
              <option value="alert">fire</option>
              <option value="resolve">resolve</option>
            </Choice>
            <Input field="cooldown_period" label="Pause after it ends" suffix="min" numeric {...fields} />
            <details class="full">
              <summary>Labels, words, links</summary>
              <div class="form">
                {!isExpr && (
                  <Input
                    field="labels"
                    label="Only series with"
                    hint="A line each: host=web-1, or host=~web-.*"
                    full
                    area
                    {...fields}
                  />
                )}
                <Input field="description" label="What it means" full area {...fields} />
                <Input field="suppression_rules" label="Hidden while these fire" hint="Ids of rules" full {...fields} />
                <Input field="runbook_url" label="Runbook" full {...fields} />
                <Input field="owner" label="Owner" {...fields} />
                <Input field="tags" label="Tags" {...fields} />
              </div>
            </details>
            <label class="check full">
              <input
                type="checkbox"
                checked={d.enabled}
                onChange={(event) => {
                  draft.value = { ...d, enabled: event.currentTarget.checked }
                }}
              />
              It watches
            </label>
          </div>
          <Backtest
            body={ruleOf(d)}
            id={rule?.id ?? null}
            stored={rule}
            unit={unit}
            use={(value) => put('threshold', String(value))}
          />
        </form>
        <div class="save">
          <button
            type="submit"
            form="rule-form"
            class="btn primary"
            disabled={why !== null || (rule !== null && changed.length === 0)}
            title={why ?? undefined}
            aria-busy={busy.value ? 'true' : undefined}
          >
            Save the rule
          </button>
          <button
            type="button"
            class="btn"
            disabled={changed.length === 0}
            onClick={() => {
              draft.value = stored
              refusal.value = null
            }}
          >
            Discard
          </button>
          {rule && <TestIt id={rule.id} />}
          {rule && (
            <Act
              needs="admin"
              class="danger"
              act={async () => {
                if (!confirm(`Delete the rule ${rule.id}? What fires by it ends.`)) return
                await call('DELETE', `${API}/rules/${encodeURIComponent(rule.id)}`)
                go('/ops/rules')
              }}
            >
              Delete…
            </Act>
          )}
          <span class="small quiet" role="status">
            {why ??
              saved.value ??
              (rule && changed.length > 0 ? 'Saving ends what fires by the rule as it is now.' : '')}
          </span>
          {refusal.value && (
            <span class="note refusal" role="alert">
              <Icon name="warning" class="s inline" /> {refusal}
            </span>
          )}
        </div>
      </section>
      {rule && <Versions id={rule.id} version={rule.version} />}
    </>
  )
}

interface FieldProps {
  readonly field: Field
  readonly label: string
  readonly stored: Draft | null
  readonly draft: Signal<Draft>
  readonly put: (field: Field, value: string) => void
}

function Label({ field, label, stored, draft }: FieldProps) {
  const was = stored && stored[field] !== draft.value[field] ? stored[field] : null
  const words = field === 'condition' && was ? ABOVE[was as Condition] : was
  return (
    <label for={`f-${field}`}>
      {label}
      {was !== null && <span class="quiet"> was {words === '' ? 'empty' : (words ?? '').slice(0, 40)}</span>}
    </label>
  )
}

interface InputProps extends FieldProps {
  readonly hint?: string
  readonly suffix?: string
  readonly full?: boolean
  readonly area?: boolean
  readonly numeric?: boolean
  readonly required?: boolean
  readonly names?: string
}

function Input(props: InputProps) {
  const { field, draft, put, hint, suffix, full, area, numeric, required, names } = props
  const value = draft.value[field]
  const shared = {
    id: `f-${field}`,
    value,
    required,
    spellcheck: false,
    onInput: (event: { currentTarget: { value: string } }) => put(field, event.currentTarget.value),
  }
  return (
    <div class={`field${full ? ' full' : ''}`}>
      <Label {...props} />
      {area ? (
        <textarea class="input" rows={3} {...shared} />
      ) : suffix ? (
        <div class="affix">
          <input inputMode={numeric ? 'decimal' : undefined} {...shared} />
          <span>{suffix}</span>
        </div>
      ) : (
        <input class="input" inputMode={numeric ? 'decimal' : undefined} list={names} {...shared} />
      )}
      {hint && <span class="hint">{hint}</span>}
    </div>
  )
}

function Choice(props: FieldProps & { children: ComponentChildren }) {
  const { field, draft, put, children } = props
  return (
    <div class="field">
      <Label {...props} />
      <select
        id={`f-${field}`}
        class="input"
        value={draft.value[field]}
        onChange={(event) => put(field, event.currentTarget.value)}
      >
        {children}
      </select>
    </div>
  )
}

interface TellsProps {
  readonly channels: readonly Channel[]
  readonly draft: Signal<Draft>
  readonly severity: Severity
}

/** Whom the rule tells, and why a channel would not be. */
function Tells({ channels, draft, severity }: TellsProps) {
  const d = draft.value
  const note = (channel: Channel) => {
    if (!channel.configured) return 'not configured: tells nobody'
    if (!channel.enabled) return 'switched off: tells nobody'
    const { severity_filter: takes } = channel
    if (takes.length === 0 || takes.includes(severity)) return null
    return `takes ${takes.join(', ')}: nothing from this rule before it escalates`
  }
  return (
    <fieldset class="full">
      <legend class="label">Tells</legend>
      {channels.map((channel) => (
        <label class="check" key={channel.id}>
          <input
            type="checkbox"
            checked={d.channels.includes(channel.id)}
            onChange={(event) => {
              const on = event.currentTarget.checked
              const rest = d.channels.filter((id) => id !== channel.id)
              draft.value = { ...draft.peek(), channels: on ? [...rest, channel.id] : rest }
            }}
          />
          <span>
            {channel.name} {note(channel) && <span class="quiet">{note(channel)}</span>}
          </span>
        </label>
      ))}
    </fieldset>
  )
}

/** All the way to the providers, and what each answered. */
function TestIt({ id }: { id: string }) {
  const outcomes = useSignal<readonly Outcome[] | null>(null)
  return (
    <>
      <Act
        needs="operator"
        act={async () => {
          outcomes.value = null
          const answer = await call<{ deliveries: readonly Outcome[] }>('POST', `${API}/test-alert`, { rule_id: id })
          outcomes.value = answer.deliveries
        }}
      >
        Test it end to end
      </Act>
      {outcomes.value && (
        <ul class="outcomes note" role="status">
          {outcomes.value.length === 0 && <li>The rule tells nobody.</li>}
          {outcomes.value.map((outcome) => (
            <li key={outcome.channel_id}>
              <Icon
                name={outcome.status === 'delivered' ? 'check' : outcome.status === 'not_sent' ? 'nodata' : 'warning'}
                class={`s inline ${outcome.status === 'delivered' ? 'sev-ok' : outcome.status === 'not_sent' ? 'sev-none' : 'sev-warning'}`}
              />{' '}
              {outcome.channel_id}: {outcome.status.replace('_', ' ')}, {outcome.answer}
              {outcome.ms !== null && `, ${Math.round(outcome.ms)} ms`}
            </li>
          ))}
        </ul>
      )}
    </>
  )
}

interface Version {
  readonly version: number
  readonly at: string
  readonly by: string
  readonly rule: Rule | null
}

function Versions({ id, version }: { id: string; version: number }) {
  const { asked } = useAsked(`versions ${id} ${version} ${deeds.value}`, 600_000, (signal) =>
    call<{ versions: readonly Version[] }>('GET', `${API}/rules/${encodeURIComponent(id)}/versions`, undefined, signal),
  )
  const versions = asked.value.answer?.versions ?? []
  return (
    <section class="panel" aria-labelledby="h-versions">
      <div class="panel-head">
        <h2 id="h-versions">History of the rule</h2>
      </div>
      <ol class="versions note">
        {versions.map((one, i) => (
          <li key={one.version}>
            <b class="strong">Version {one.version}</b>, {moment(Date.parse(one.at), now.value)} UTC by {one.by}:{' '}
            {one.rule ? (difference(one.rule, versions[i + 1]?.rule ?? null) ?? inWords(one.rule)) : 'deleted'}
          </li>
        ))}
      </ol>
    </section>
  )
}

/** What changed between two versions, in words; null for the first. */
function difference(rule: Rule, before: Rule | null): string | null {
  if (!before) return null
  const skipped = ['version', 'created_at', 'unit', 'provenance']
  const keys = (Object.keys(rule) as (keyof Rule)[]).filter(
    (key) => !skipped.includes(key) && JSON.stringify(rule[key]) !== JSON.stringify(before[key]),
  )
  const words = (value: unknown) => (typeof value === 'object' ? JSON.stringify(value) : String(value))
  return (
    keys.map((key) => `${key.replaceAll('_', ' ')} ${words(before[key])} → ${words(rule[key])}`).join('; ') || 'nothing'
  )
}
