/** The pages behind the tab of scaling: how it stands, one decision, one policy. */
import type { ScalingPage } from '../address.ts'
import { DecisionPage } from './decision.tsx'
import { PolicyPage } from './policy.tsx'
import { Standing } from './standing.tsx'

export function Pages({ page, id }: { page: ScalingPage; id: string | null }) {
  return (
    <main id="main" class="page scaling">
      {page === 'scaling' && <Standing />}
      {page === 'decisions' && id !== null && <DecisionPage id={id} key={id} />}
      {page === 'policies' && <PolicyPage name={id} key={id} />}
    </main>
  )
}
