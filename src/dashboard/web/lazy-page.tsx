/** Pages that come when they are first opened: the overview does not wait for them. */
import { signal } from '@preact/signals'
import type { ComponentType } from 'preact'
import { useEffect } from 'preact/hooks'

/** A component that fetches the one that it stands for at its first showing, and says when that fails. */
export function lazyPage<Props extends object>(fetch: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  const fetched = signal<ComponentType<Props> | null>(null)
  const failed = signal(false)

  function load() {
    failed.value = false
    fetch().then(
      (page) => {
        fetched.value = page
      },
      () => {
        failed.value = true
      },
    )
  }

  return function LazyPage(props: Props) {
    useEffect(() => {
      if (!fetched.peek()) load()
    }, [])
    const Page = fetched.value
    if (Page) return <Page {...props} />
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
}
