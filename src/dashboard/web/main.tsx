/** The page of operations. Finds its view by the address; everything it shows comes over one socket. */
import 'uplot/dist/uPlot.min.css'
import './styles/tokens.css'
import './styles/components.css'
import './styles/app.css'
import './alerts/alerts.css'
import './scaling/scaling.css'
import { signal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { Component, render } from 'preact'
import { useEffect } from 'preact/hooks'
import { startAddress, view } from './address.ts'
import { Frame } from './frame.tsx'
import { InsightsPage } from './insights.tsx'
import { lazyPage } from './lazy-page.tsx'
import { startLive, state } from './live.ts'
import { Login } from './login.tsx'
import { Metrics } from './metrics.tsx'
import { Overview } from './overview.tsx'
import { startTheme } from './theme.ts'

const Alerting = lazyPage(() => import('./alerts/pages.tsx').then(({ Pages }) => Pages))
const Scaling = lazyPage(() => import('./scaling/pages.tsx').then(({ Pages }) => Pages))

/** Loading is shown only when it lasts: an answer within 300 ms should not flash grey boxes. */
const slow = signal(false)

function App() {
  const current = view.value
  useEffect(() => {
    document.title = `${titleOf()} · Opinion Market`
  })
  if (current.kind === 'login') return <Login />
  return (
    <div class={slow.value || state.value ? '' : 'is-early'}>
      <Frame>
        {current.kind === 'overview' && <Overview />}
        {current.kind === 'metrics' && <Metrics name={null} />}
        {current.kind === 'metric' && <Metrics name={current.name} key={current.name} />}
        {current.kind === 'insights' && <InsightsPage id={current.id} />}
        {current.kind === 'alerts' && <Alerting page={current.page} id={current.id} />}
        {current.kind === 'scaling' && <Scaling page={current.page} id={current.id} />}
        {current.kind === 'missing' && (
          <main id="main" class="page">
            <h1>There is no such page.</h1>
            <p>
              <a href="/ops">Overview</a>
            </p>
          </main>
        )}
      </Frame>
    </div>
  )
}

function titleOf(): string {
  const current = view.value
  if (current.kind === 'login') return 'Log in'
  if (current.kind === 'metric') return current.name
  if (current.kind === 'insights') return 'Insights'
  if (current.kind === 'alerts') return alertsTitle(current.page, current.id)
  if (current.kind === 'scaling') return scalingTitle(current.page, current.id)
  if (current.kind === 'metrics') return 'Metrics'
  const status = state.value?.headline.status
  return status === 'degraded' || status === 'critical'
    ? `${status === 'critical' ? 'Critical' : 'Degraded'}: overview`
    : 'Operations overview'
}

function alertsTitle(page: string, id: string | null): string {
  const name = page[0]!.toUpperCase() + page.slice(1)
  return page === 'rules' && id ? `${id} · ${name}` : name
}

function scalingTitle(page: string, id: string | null): string {
  if (page === 'policies') return id ? `${id} · Policies` : 'New policy'
  return page === 'decisions' ? 'Decision · Scaling' : 'Scaling'
}

/** A fault of the page itself: said, with the way out; never a blank page. */
class Guard extends Component<{ children: ComponentChildren }, { fault: string | null }> {
  override state = { fault: null as string | null }
  static override getDerivedStateFromError(error: unknown) {
    return { fault: error instanceof Error ? error.message : String(error) }
  }
  render() {
    if (this.state.fault === null) return this.props.children
    return (
      <main class="page">
        <h1>This page failed: {this.state.fault}</h1>
        <p>The platform is not affected by it; it goes on measuring.</p>
        <p>
          <button type="button" class="btn" onClick={() => location.reload()}>
            Load the page again
          </button>
        </p>
      </main>
    )
  }
}

startTheme()
startAddress()
if (view.value.kind !== 'login') startLive()
setTimeout(() => {
  slow.value = true
}, 300)
render(
  <Guard>
    <App />
  </Guard>,
  document.querySelector('#app')!,
)
