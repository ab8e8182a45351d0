/** What a part of the page asks the platform by itself, beside the socket: at once, again and again, and how it fails. */
import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { ApiError } from './api.ts'
import { Icon } from './icons.tsx'

/** The state of something asked of the platform: the last answer stays while a newer one fails. */
export type Asked<T> = { readonly answer: T | null; readonly problem: ApiError | null }

/** Asks at once, every `everyMs`, and whenever `what` changes. */
export function useAsked<T>(what: string, everyMs: number, ask: (signal: AbortSignal) => Promise<T>) {
  const asked = useSignal<Asked<T>>({ answer: null, problem: null })
  const again = useRef(() => {})
  useEffect(() => {
    const abort = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const run = async () => {
      clearTimeout(timer)
      try {
        const answer = await ask(abort.signal)
        if (!abort.signal.aborted) asked.value = { answer, problem: null }
      } catch (error) {
        if (abort.signal.aborted) return
        asked.value = { ...asked.peek(), problem: problemOf(error) }
      }
      if (!abort.signal.aborted) timer = setTimeout(run, document.hidden ? 4 * everyMs : everyMs)
    }
    again.current = run
    run()
    return () => {
      abort.abort()
      clearTimeout(timer)
    }
  }, [what, everyMs])
  return { asked, again: () => again.current() }
}

export const problemOf = (error: unknown) => (error instanceof ApiError ? error : new ApiError(0, String(error), null))

/** The platform's own sentence, its request id, and the way to try again. */
export function Problem({ problem, again }: { problem: ApiError; again: () => void }) {
  return (
    <div class="empty" role="alert">
      <p>
        <Icon name="warning" class="s inline sev-warning" /> {problem.message}
        {problem.requestId && <span class="small quiet"> Request {problem.requestId}</span>}
      </p>
      <button type="button" class="btn" onClick={again}>
        <Icon name="retry" class="s" /> Try again
      </button>
    </div>
  )
}
