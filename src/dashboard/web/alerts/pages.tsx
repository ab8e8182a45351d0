/** The pages of alerting behind one tab: alerts with their detail, rules, channels, silences, deliveries. */
import type { AlertsPage } from '../address.ts'
import { AlertsView } from './alerts.tsx'
import { Channels } from './channels.tsx'
import { Deliveries } from './deliveries.tsx'
import { Rules } from './rules.tsx'
import { Silences } from './silences.tsx'

const PAGES: readonly (readonly [AlertsPage, string])[] = [
  ['alerts', 'Alerts'],
  ['rules', 'Rules'],
  ['silences', 'Silences'],
  ['channels', 'Channels'],
  ['deliveries', 'Deliveries'],
]

export function Pages({ page, id }: { page: AlertsPage; id: string | null }) {
  return (
    <main id="main" class={`page alerting${id ? ' has-id' : ''}`}>
      <nav class="seg parts" aria-label="Alerting">
        {PAGES.map(([name, words]) => (
          <a key={name} href={`/ops/${name}`} aria-current={name === page ? 'page' : undefined}>
            {words}
          </a>
        ))}
      </nav>
      {page === 'alerts' && <AlertsView id={id} />}
      {page === 'rules' && <Rules id={id} key={id} />}
      {page === 'silences' && <Silences />}
      {page === 'channels' && <Channels />}
      {page === 'deliveries' && <Deliveries />}
    </main>
  )
}
