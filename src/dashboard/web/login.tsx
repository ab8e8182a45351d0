/**
 * The way in. A login link brings a one-time code behind the `#`, where no server and no log sees it; it leaves the
 * address at once. Without a link, a token does.
 */
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { address, safeReturn } from './address.ts'
import { ApiError, call } from './api.ts'
import { Icon, Logo } from './icons.tsx'

/** Taken out of the address before anything else runs. */
const code = takeCode()

function takeCode(): string | null {
  if (location.pathname !== '/login' || location.hash.length < 2) return null
  const hash = location.hash.slice(1)
  history.replaceState(null, '', location.pathname + location.search)
  return new URLSearchParams(hash).get('code') ?? (hash.includes('=') ? null : hash)
}

export function Login() {
  const busy = useSignal(false)
  const problem = useSignal<string | null>(null)
  const field = useRef<HTMLInputElement>(null)
  const back = safeReturn(address.value.searchParams.get('return'))

  async function enter(proof: { code: string } | { token: string }) {
    busy.value = true
    problem.value = null
    try {
      await call('POST', '/api/v1/session', proof)
      location.replace(back)
    } catch (error) {
      busy.value = false
      problem.value =
        error instanceof ApiError
          ? 'code' in proof && error.status === 401
            ? `${error.message} A login link works once; log in with a token, or make a new link.`
            : error.message
          : String(error)
      field.current?.focus()
    }
  }

  useEffect(() => {
    if (code) enter({ code })
    else field.current?.focus()
  }, [])

  return (
    <main id="main" class="login">
      <form
        class="panel"
        onSubmit={(event) => {
          event.preventDefault()
          const token = field.current?.value.trim()
          if (token) enter({ token })
          else problem.value = 'Paste a token first.'
        }}
      >
        <p class="brand">
          <Logo />
          <span>Opinion Market</span>
        </p>
        <h1>Log in to operations</h1>
        {/* For password managers: the token is kept under this name. */}
        <input type="text" name="username" autocomplete="username" value="operations" hidden readOnly />
        <div class="field">
          <label for="token">Token</label>
          <input
            class="input"
            id="token"
            name="token"
            type="password"
            autocomplete="current-password"
            spellcheck={false}
            ref={field}
            aria-invalid={problem.value ? 'true' : undefined}
            aria-describedby="token-hint token-error"
          />
          <p class="hint" id="token-hint">
            Make one where the platform runs: <code>opinion-market token create --role viewer --name you</code>. The
            first start prints a login link.
          </p>
          <p class="error" id="token-error" role="alert">
            {problem.value && (
              <>
                <Icon name="warning" class="s" /> {problem.value}
              </>
            )}
          </p>
        </div>
        <button type="submit" class="btn primary big" aria-busy={busy.value} disabled={busy.value}>
          {busy.value ? 'Logging in' : 'Log in'}
        </button>
      </form>
    </main>
  )
}
