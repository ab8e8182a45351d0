/** A dialog that asks for what is needed before something is done. Escape closes it, and the focus goes back. */
import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { problemOf } from '../asked.tsx'
import { Icon } from '../icons.tsx'
import { deeds } from './act.tsx'

interface AskProps {
  readonly title: string
  /** What the button says. */
  readonly verb: string
  readonly danger?: boolean
  readonly children: ComponentChildren
  readonly submit: () => Promise<unknown>
  readonly close: () => void
}

export function Ask({ title, verb, danger, children, submit, close }: AskProps) {
  const id = useId()
  const box = useRef<HTMLDialogElement>(null)
  const busy = useSignal(false)
  const refusal = useSignal<string | null>(null)
  useEffect(() => {
    const from = document.activeElement as HTMLElement | null
    box.current?.showModal()
    return () => from?.focus?.()
  }, [])
  async function send(event: Event) {
    event.preventDefault()
    if (busy.value) return
    busy.value = true
    refusal.value = null
    try {
      await submit()
      deeds.value++
      close()
    } catch (error) {
      refusal.value = problemOf(error).message
    }
    busy.value = false
  }
  return (
    <dialog ref={box} class="ask" aria-labelledby={id} onClose={close}>
      <h2 id={id}>{title}</h2>
      <form class="stack" onSubmit={send}>
        {children}
        {refusal.value && (
          <p class="note refusal" role="alert">
            <Icon name="warning" class="s inline" /> {refusal}
          </p>
        )}
        <div class="btns">
          <button
            type="submit"
            class={`btn ${danger ? 'danger' : 'primary'}`}
            aria-busy={busy.value ? 'true' : undefined}
          >
            {verb}
          </button>
          <button type="button" class="btn" onClick={close}>
            Cancel
          </button>
        </div>
      </form>
    </dialog>
  )
}
