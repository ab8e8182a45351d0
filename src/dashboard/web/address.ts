/** The address is the state of the page: which view, which range. Links inside the page change it without loading. */
import { computed, signal } from '@preact/signals'
import type { Range } from '../protocol.ts'
import { DEFAULT_RANGE, isRange } from '../protocol.ts'

export const address = signal(new URL(location.href))

export type View =
  | { readonly kind: 'overview' }
  | { readonly kind: 'metrics' }
  | { readonly kind: 'metric'; readonly name: string }
  | { readonly kind: 'insights'; readonly id: string | null }
  | { readonly kind: 'alerts'; readonly page: AlertsPage; readonly id: string | null }
  | { readonly kind: 'scaling'; readonly page: ScalingPage; readonly id: string | null }
  | { readonly kind: 'login' }
  | { readonly kind: 'missing' }

export type ScalingPage = 'scaling' | 'decisions' | 'policies'
export type AlertsPage = 'alerts' | 'rules' | 'channels' | 'silences' | 'deliveries'

export const view = computed((): View => viewOf(address.value.pathname))

export function viewOf(path: string): View {
  if (path === '/' || path === '/ops' || path === '/api/v1/advanced-dashboard/dashboard/advanced')
    return { kind: 'overview' }
  if (path === '/login') return { kind: 'login' }
  if (path === '/ops/metrics') return { kind: 'metrics' }
  if (path === '/ops/insights') return { kind: 'insights', id: null }
  const alerting = /^\/ops\/(?:(alerts|rules)(?:\/([^/]+))?|(channels|silences|deliveries))$/.exec(path)
  const scaling = /^\/ops\/scaling(?:\/(policies)|\/(decisions|policies)\/([^/]+))?$/.exec(path)
  const insight = /^\/ops\/insights\/([^/]+)$/.exec(path)?.[1]
  const name = /^\/ops\/metrics\/([^/]+)$/.exec(path)?.[1]
  try {
    if (alerting) {
      const page = (alerting[1] ?? alerting[3]) as AlertsPage
      return { kind: 'alerts', page, id: alerting[2] === undefined ? null : decodeURIComponent(alerting[2]) }
    }
    if (scaling) {
      const page = (scaling[1] ?? scaling[2] ?? 'scaling') as ScalingPage
      return { kind: 'scaling', page, id: scaling[3] === undefined ? null : decodeURIComponent(scaling[3]) }
    }
    if (insight) return { kind: 'insights', id: decodeURIComponent(insight) }
    if (name) return { kind: 'metric', name: decodeURIComponent(name) }
  } catch {}
  return { kind: 'missing' }
}

/** What is shown when the address names no range. */
export const defaultRange = signal<Range>(DEFAULT_RANGE)

export const range = computed((): Range => {
  const asked = address.value.searchParams.get('range')
  return isRange(asked) ? asked : defaultRange.value
})

export function setRange(next: Range): void {
  const url = new URL(location.href)
  url.searchParams.set('range', next)
  history.replaceState(null, '', url)
  address.value = url
}

/** Goes to another view; what the query says of the range stays. */
export function go(path: string): void {
  const url = new URL(path, location.href)
  const asked = address.value.searchParams.get('range')
  if (isRange(asked) && !url.searchParams.has('range')) url.searchParams.set('range', asked)
  if (url.href === location.href) return
  history.pushState(null, '', url)
  address.value = url
  scrollTo(0, 0)
}

export function startAddress(): void {
  addEventListener('popstate', () => {
    address.value = new URL(location.href)
  })
  addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return
    const link = (event.target as Element | null)?.closest?.('a')
    if (!link || link.target || link.origin !== location.origin || link.hash) return
    if (viewOf(link.pathname).kind === 'missing') return
    event.preventDefault()
    go(link.href)
  })
}

/** Where login leads back to; only to this platform. */
export function safeReturn(text: string | null): string {
  if (!text) return '/ops'
  try {
    const url = new URL(text, location.origin)
    return url.origin === location.origin && viewOf(url.pathname).kind !== 'login' ? url.pathname + url.search : '/ops'
  } catch {
    return '/ops'
  }
}

export function toLogin(): void {
  const back = location.pathname + location.search
  location.replace(`/login?return=${encodeURIComponent(back)}`)
}
