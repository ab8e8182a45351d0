/**
 * The line to the platform: one WebSocket, its state, and what it brought.
 *
 *   connecting ─▶ live ──6 s silent──▶ stale ──15 s silent──▶ disconnected ──back-off──▶ connecting …
 *                   ▲────message─────────┘                        ▲ closed at any time
 *
 * What was shown stays while the line is down, and says how old it is.
 */
import { batch, computed, effect, signal } from '@preact/signals'
import type {
  ClientMessage,
  DashboardAnomaly,
  DashboardEvent,
  DashboardState,
  Range,
  ServerMessage,
  Snapshot,
} from '../protocol.ts'
import { CLOSE, FIGURE_KEYS, STALE_AFTER_S } from '../protocol.ts'
import { defaultRange, range, toLogin } from './address.ts'
import { ApiError, call, type Me } from './api.ts'
import { backOff } from './back-off.ts'
import { renewed } from './forecast.ts'
import type { Sample, Track } from './series.ts'
import { extended, trackOf } from './series.ts'

const PATH = '/api/v1/advanced-dashboard/ws'
const DEAD_AFTER_MS = 15_000
/** Charts are read anew this often, so that means of growing buckets become exact. */
const SNAPSHOT_EVERY_MS = 5 * 60_000

export type Line =
  | { readonly kind: 'connecting'; readonly attempt: number }
  | { readonly kind: 'live' }
  | { readonly kind: 'stale' }
  /** `nextAt` in the time of this machine. */
  | { readonly kind: 'disconnected'; readonly attempt: number; readonly nextAt: number; readonly why: string | null }
  /** The role does not permit it: there is no use in trying again. */
  | { readonly kind: 'refused'; readonly why: string }

export const line = signal<Line>({ kind: 'connecting', attempt: 0 })
export const state = signal<DashboardState | null>(null)
export const chart = signal<{ readonly range: Range; readonly track: Track } | null>(null)
export const recent = signal<Track | null>(null)
export const events = signal<readonly DashboardEvent[]>([])
/** Of the charts' range, newest first. */
export const anomalies = signal<readonly DashboardAnomaly[]>([])
export const me = signal<Me | null>(null)
/** The platform's time: of the last message while it is live, moved on by this machine's clock while it is not. */
export const now = signal(Date.now())
/** Anything but live: what is shown is old. */
export const old = computed(() => line.value.kind !== 'live' && state.value !== null)

let socket: WebSocket | null = null
let attempt = 0
let seq = -1
let heardAt = 0
/** Platform's time less this machine's. */
let offset = 0
let retry: ReturnType<typeof setTimeout> | undefined
let askedAt = 0

export function startLive(): void {
  connect()
  whoAmI()
  setInterval(watch, 1000)
  addEventListener('online', tryNow)
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && line.peek().kind === 'disconnected') tryNow()
  })
  let before = range.peek()
  effect(() => {
    const wanted = range.value
    if (wanted !== before) ask(wanted)
    before = wanted
  })
}

/** Who looks at the page; asked again with the line's next message when the platform did not answer. */
function whoAmI() {
  call<Me>('GET', '/api/v1/session').then(
    (who) => {
      me.value = who
    },
    (error) => {
      if (error instanceof ApiError && error.status === 401) toLogin()
    },
  )
}

export function tryNow(): void {
  if (socket || line.peek().kind === 'refused') return
  clearTimeout(retry)
  connect()
}

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws'
  const mine = new WebSocket(`${scheme}://${location.host}${PATH}?range=${range.peek()}`)
  socket = mine
  askedAt = Date.now()
  heardAt = Date.now()
  if (line.peek().kind !== 'disconnected') line.value = { kind: 'connecting', attempt }
  mine.addEventListener('message', (event) => {
    if (socket === mine && typeof event.data === 'string') hear(event.data)
  })
  mine.addEventListener('close', (event) => {
    if (socket === mine) lost(event.code, event.reason)
  })
}

function lost(code: number, reason: string) {
  socket = null
  seq = -1
  if (code === CLOSE.notAuthenticated) return toLogin()
  if (code === CLOSE.role) {
    line.value = { kind: 'refused', why: 'Needs the role viewer.' }
    return
  }
  attempt++
  const wait = backOff(attempt, Math.random())
  clearTimeout(retry)
  retry = setTimeout(connect, wait)
  const why = code === CLOSE.tryLater && reason ? reason : null
  line.value = { kind: 'disconnected', attempt, nextAt: Date.now() + wait, why }
}

function hear(text: string) {
  let message: ServerMessage
  try {
    message = JSON.parse(text)
  } catch {
    return
  }
  heardAt = Date.now()
  attempt = 0
  if (message.type === 'snapshot') {
    if (seq >= 0 && message.seq < seq) return
    batch(() => {
      seq = message.seq
      accept(message)
      chart.value = { range: message.range, track: trackOf(message.history) }
      recent.value = trackOf(message.recent)
      events.value = message.events
      anomalies.value = message.anomalies
      line.value = { kind: 'live' }
    })
    if (me.peek() === null) whoAmI()
    if (young(message)) defaultRange.value = '1h'
    return
  }
  if (message.type !== 'update' || message.seq <= seq) return
  const gap = seq >= 0 && message.seq !== seq + 1
  const due = Date.now() - askedAt > SNAPSHOT_EVERY_MS
  batch(() => {
    seq = message.seq
    const samples = freshSamples(message, state.peek())
    accept(message)
    anomalies.value = renewed(anomalies.peek(), message.anomalies, Date.parse(message.timestamp))
    extend(Date.parse(message.timestamp), samples)
    line.value = { kind: 'live' }
  })
  if (gap || due) ask(range.peek())
}

/** With less than an hour of history, three hours would be an empty chart. */
function young(message: Snapshot): boolean {
  const track = trackOf(message.history)
  const first = Object.values(track.series).map((values) => values.findIndex((value) => value !== null))
  const at = Math.min(...first.filter((i) => i >= 0))
  return Number.isFinite(at) && track.from + at * track.stepMs > Date.parse(message.timestamp) - 3_600_000
}

function accept(message: DashboardState) {
  const at = Date.parse(message.timestamp)
  offset = at - Date.now()
  now.value = at
  state.value = message
}

/** Samples that the former message did not have. */
function freshSamples(message: DashboardState, before: DashboardState | null) {
  const samples: Record<string, Sample> = {}
  for (const key of FIGURE_KEYS) {
    const value = key === 'health_score' ? message.performance_score : message.metrics[key]
    const at = message.figures[key].last_sample_at
    if (value === null || at === null || at === before?.figures[key].last_sample_at) continue
    samples[key] = { at: Date.parse(at), value }
  }
  return samples
}

function extend(at: number, samples: Record<string, Sample>) {
  const interval = (state.peek()?.interval ?? 5) * 1000
  const shown = chart.peek()
  if (shown) chart.value = { ...shown, track: extended(shown.track, at, samples, interval) }
  const hour = recent.peek()
  if (hour) recent.value = extended(hour, at, samples, interval)
}

/** A snapshot now: what it shows was changed from this page. */
export function askAgain(): void {
  ask(range.peek())
}

function ask(wanted: Range) {
  if (socket?.readyState !== WebSocket.OPEN) return
  askedAt = Date.now()
  const message: ClientMessage = { type: 'snapshot', range: wanted }
  socket.send(JSON.stringify(message))
}

/** Once a second: is the line still alive, and how old is what is shown? */
function watch() {
  const silence = Date.now() - heardAt
  const { kind } = line.peek()
  if (kind === 'live' && silence > STALE_AFTER_S * 1000) line.value = { kind: 'stale' }
  if (socket && silence > DEAD_AFTER_MS) {
    const dead = socket
    lost(1006, '')
    dead.close()
  }
  if (line.peek().kind !== 'live' && state.peek()) {
    batch(() => {
      now.value = Date.now() + offset
      extend(now.value, {})
    })
  } else if (line.peek().kind !== 'live') now.value = Date.now() + offset
}
