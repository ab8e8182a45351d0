/** The pages of scaling come when they are first opened: the overview does not wait for them. */
import { signal } from '@preact/signals'
import type { ComponentType } from 'preact'
import { useEffect } from 'preact/hooks'
import type { ScalingPage } from '../address.ts'

interface PagesProps {
  readonly page: ScalingPage
  readonly id: string | null
}

const pages = signal<ComponentType<PagesProps> | null>(null)
const failed = signal(false)

function load() {
  failed.value = false
  import('./pages.tsx').then(
    (module) => {
      pages.value = module.Pages
    },
    () => {
      failed.value = true
    },
  )
}

export function Scaling(props: PagesProps) {
  useEffect(() => {
    if (!pages.peek()) load()
  }, [])
  const Pages = pages.value
  if (Pages) return <Pages {...props} />
  return (
    <main id="main" class="page" aria-busy={failed.value ? undefined : 'true'}>
      {failed.value && (
        <div class="panel empty" role="alert">
          <p>This page could not be loaded; the platform may have been updated or not answer.</p>
          <button type="button" class="btn" onClick={() => location.reload()}>
            Load it anew
          </button>
        </div>
      )}
    </main>
  )
}
