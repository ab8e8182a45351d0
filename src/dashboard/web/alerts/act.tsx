/** What a press of a button does to an alert, and how its button shows it: busy, refused, not allowed. */
import { signal, useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { problemOf } from '../asked.tsx'
import { API } from './types.ts'

/** Counts up with everything that was done here: lists ask anew. */
export const deeds = signal(0)

interface ActProps {
  readonly needs: 'operator' | 'admin'
  readonly act: () => Promise<unknown>
  readonly class?: string
  readonly children: ComponentChildren
  /** What it is about, for those who do not see the row that it stands in. */
  readonly about?: string
  readonly id?: string
}

/** A button that does one thing. On refusal it comes back, with the reason under it. */
export function Act({ needs, act, class: extra = '', children, about, id }: ActProps) {
  const busy = useSignal(false)
  const refusal = useSignal<string | null>(null)
  const why = cannot(needs)
  async function press() {
    if (busy.value) return
    busy.value = true
    refusal.value = null
    try {
      await act()
      deeds.value++
    } catch (error) {
      refusal.value = problemOf(error).message
    }
    busy.value = false
  }
  return (
    <span class="act">
      <button
        type="button"
        id={id}
        class={`btn ${extra}`}
        disabled={why !== null}
        title={why ?? undefined}
        aria-busy={busy.value ? 'true' : undefined}
        onClick={press}
      >
        {children}
        {about && <span class="vh">: {about}</span>}
      </button>
      {why && <span class="small quiet">{why}</span>}
      {refusal.value && (
        <span class="small refusal" role="alert">
          {refusal}
        </span>
      )}
    </span>
  )
}

export const acknowledge = (id: string) => call('POST', `${API}/alerts/${encodeURIComponent(id)}/acknowledge`, {})
