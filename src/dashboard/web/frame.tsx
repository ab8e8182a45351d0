/** What is around every page: top bar with the state of the line, the account, the keys, and what keys do. */
import { signal, useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { HeadlineStatus } from '../protocol.ts'
import { RANGE_NAMES } from '../protocol.ts'
import { go, setRange, view } from './address.ts'
import { AnomalyPopover } from './anomalies.tsx'
import { ApiError, call } from './api.ts'
import { ago, hhmmss } from './format.ts'
import type { IconName } from './icons.tsx'
import { Icon, Logo } from './icons.tsx'
import { line, me, now, state } from './live.ts'
import { keep, kept, switchTheme } from './theme.ts'

/** Shape, colour and word of each status. */
export const STATUS: Readonly<Record<HeadlineStatus, { icon: IconName; colour: string; word: string }>> = {
  healthy: { icon: 'ok', colour: 'sev-ok', word: 'healthy' },
  degraded: { icon: 'warning', colour: 'sev-warning', word: 'degraded' },
  critical: { icon: 'critical', colour: 'sev-critical', word: 'critical' },
  no_data: { icon: 'nodata', colour: 'sev-none', word: 'no data' },
}

export function Frame({ children }: { children: ComponentChildren }) {
  useEffect(() => {
    addEventListener('keydown', pressed)
    return () => removeEventListener('keydown', pressed)
  }, [])
  return (
    <>
      <a class="skip" href="#main">
        Skip to content
      </a>
      <TopBar />
      {children}
      <AnomalyPopover />
      <KeysDialog />
    </>
  )
}

function TopBar() {
  const kind = view.value.kind
  const status = state.value && line.value.kind === 'live' ? state.value.headline.status : null
  return (
    <header class="topbar">
      <a class="brand" href="/ops" aria-label="Opinion Market">
        <Logo />
        <span>Opinion Market</span>
      </a>
      <nav class="seg" aria-label="Space">
        <a href="/ops" aria-current="true">
          Operations
          <span class="shape">
            {status && status !== 'healthy' && (
              <>
                <Icon name={STATUS[status].icon} class={`s ${STATUS[status].colour}`} />
                <span class="vh">, {STATUS[status].word}</span>
              </>
            )}
          </span>
        </a>
      </nav>
      <nav class="tabs" aria-label="Operations">
        <a href="/ops" aria-current={kind === 'overview' ? 'page' : kind === 'insights' ? 'true' : undefined}>
          Overview
        </a>
        <a href="/ops/alerts" aria-current={kind === 'alerts' ? 'page' : undefined}>
          Alerts <Unacknowledged />
        </a>
        <a href="/ops/scaling" aria-current={kind === 'scaling' ? 'page' : undefined}>
          Scaling
        </a>
        <a href="/ops/metrics" aria-current={kind === 'metrics' || kind === 'metric' ? 'page' : undefined}>
          Metrics
        </a>
      </nav>
      <div class="topbar-end">
        <LineState />
        <button type="button" class="icon-btn" aria-label="Switch between light and dark" onClick={switchTheme}>
          <Icon name="theme" />
        </button>
        <Account />
      </div>
    </header>
  )
}

function Unacknowledged() {
  const count = state.value?.alert_counts?.active ?? 0
  if (count === 0) return null
  return (
    <span class="count warning">
      {count > 999 ? '999+' : count}
      <span class="vh"> unacknowledged</span>
    </span>
  )
}

/** Live, Stale, Connecting, Disconnected: only the word is announced; the time beside it is not. */
function LineState() {
  const { kind } = line.value
  const [icon, colour, word] = (
    {
      live: ['live', 'sev-ok', 'Live'],
      stale: ['live', 'sev-none', 'Stale'],
      connecting: ['live', 'sev-none', 'Connecting'],
      disconnected: ['off', 'sev-warning', 'Disconnected'],
      refused: ['off', 'sev-warning', 'Not allowed'],
    } as const
  )[kind]
  const last = state.value?.timestamp
  return (
    <p class="live">
      <Icon name={icon} class={`s ${colour}`} />
      <span role="status">{word}</span>
      {last && (
        <time dateTime={last} title={`Last update ${ago(Date.parse(last), now.value)}`}>
          {hhmmss(Date.parse(last))} UTC
        </time>
      )}
    </p>
  )
}

function Account() {
  const menu = useRef<HTMLDivElement>(null)
  const refusal = useSignal<string | null>(null)
  const who = me.value
  const initials = who ? initialsOf(who.name) : ''
  async function leave() {
    try {
      await call('DELETE', '/api/v1/session')
      location.assign('/login')
    } catch (error) {
      refusal.value = error instanceof ApiError ? error.message : String(error)
    }
  }
  return (
    <>
      <button type="button" class="avatar" popovertarget="account">
        {initials}
        <span class="vh">{who ? `, account of ${who.name}` : 'Account'}</span>
      </button>
      <div class="menu" id="account" popover="auto" ref={menu}>
        <p>
          <b class="strong">{who?.name ?? 'Not known yet'}</b>
          <span class="small quiet">{who ? `role ${who.role}` : 'the platform has not answered'}</span>
        </p>
        <button type="button" class="btn" onClick={() => keysOpen(true)}>
          Keys
        </button>
        <button type="button" class="btn" onClick={leave}>
          Log out
        </button>
        {refusal.value && <p class="small">{refusal}</p>}
      </div>
    </>
  )
}

function initialsOf(name: string): string {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean)
  const letters =
    words.length > 1 ? [words[0]!, words.at(-1)!].map((w) => [...w][0]!) : [...(words[0] ?? '?')].slice(0, 2)
  return letters.join('').toUpperCase()
}

// ------------------------------------------------------------------------------------------------------ keys

const OFF = 'om-keys-off'
const enabled = signal(kept(OFF) !== '1')

function keysOpen(open: boolean) {
  const dialog = document.querySelector<HTMLDialogElement>('#keys')
  if (open && dialog && !dialog.open) dialog.showModal()
  else dialog?.close()
}

let prefix = 0
/** After `g`. */
const GOALS: Readonly<Record<string, string>> = {
  o: '/ops',
  a: '/ops/alerts',
  s: '/ops/scaling',
  e: '/ops/metrics',
  i: '/ops/insights',
}

/** Nobody types or holds a modifier. */
function isFree(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false
  const target = event.target as HTMLElement | null
  return !target?.closest?.('input:not([type=checkbox]), textarea, select, [contenteditable]')
}

/** Whether a single key may act: keys are on, no dialog is open, `g` did not come just before. */
export function mayAct(event: KeyboardEvent): boolean {
  return isFree(event) && enabled.value && !document.querySelector('dialog[open]') && Date.now() - prefix >= 1500
}

function pressed(event: KeyboardEvent) {
  if (!isFree(event)) return
  if (event.key === '?') {
    event.preventDefault()
    return keysOpen(true)
  }
  if (!enabled.value || document.querySelector('dialog[open]')) return
  const afterG = Date.now() - prefix < 1500
  prefix = 0
  if (event.key === 'g') prefix = Date.now()
  else if (afterG && GOALS[event.key]) {
    event.preventDefault()
    go(GOALS[event.key]!)
  } else if (event.key === 't') switchTheme()
  else if (event.key === '/') {
    event.preventDefault()
    const field = document.querySelector<HTMLInputElement>('input[type=search]')
    if (field) field.focus()
    else go('/ops/metrics')
  } else {
    const range = RANGE_NAMES[Number(event.key) - 1]
    if (range && /^[1-4]$/.test(event.key)) setRange(range)
  }
}

const KEYS: readonly (readonly [keys: readonly string[], what: string])[] = [
  [['?'], 'These keys'],
  [['g', 'o'], 'Overview'],
  [['g', 'a'], 'Alerts'],
  [['g', 's'], 'Scaling'],
  [['g', 'e'], 'Metrics'],
  [['g', 'i'], 'Insights'],
  [['/'], 'Search'],
  [['j', 'k'], 'Next and previous alert'],
  [['a'], 'Acknowledge the alert'],
  [['s'], 'Silence it'],
  [['e'], 'Edit its rule'],
  [['t'], 'Light or dark'],
  [['1'], 'Last hour'],
  [['2'], 'Last 3 hours'],
  [['3'], 'Last 24 hours'],
  [['4'], 'Last 7 days'],
  [
    ['←', '→'],
    'Crosshair, while a chart has the focus; Home and End jump, Escape leaves; from ring to ring on anomalies',
  ],
]

function KeysDialog() {
  return (
    <dialog id="keys" aria-labelledby="keys-title">
      <h2 id="keys-title">Keys</h2>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={enabled.value}
          onChange={(event) => {
            enabled.value = event.currentTarget.checked
            keep(OFF, enabled.value ? '0' : '1')
          }}
        />
        Single keys act (? always opens this list)
      </label>
      <form method="dialog">
        <button type="submit" class="btn">
          Close
        </button>
      </form>
    </dialog>
  )
}
