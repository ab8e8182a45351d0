/** What a person does: so many instances by hand, a pause. Reason first. */
import { useSignal } from '@preact/signals'
import { deeds } from '../alerts/act.tsx'
import { Ask } from '../alerts/dialog.tsx'
import { cannot } from '../anomalies.tsx'
import { call } from '../api.ts'
import { problemOf } from '../asked.tsx'
import { Icon } from '../icons.tsx'
import { now } from '../live.ts'
import { API, type Summary } from './types.ts'

const HOLDS: readonly (readonly [seconds: number, words: string])[] = [
  [0, 'not at all'],
  [300, '5 min'],
  [1800, '30 min'],
  [7200, '2 h'],
  [86_400, '1 day'],
]

interface Answer {
  readonly target_instances: number
  readonly decision_id: string
  readonly action: string
}

export function Manual({ summary, target }: { summary: Summary | null; target: string }) {
  const asked = useSignal<number | null>(null)
  const hold = useSignal(300)
  const reason = useSignal('')
  const busy = useSignal(false)
  const said = useSignal<Answer | null>(null)
  const refusal = useSignal<string | null>(null)
  const why = cannot('operator')
  const { min, max } = summary?.limits ?? { min: 0, max: 1000 }
  const wanted = asked.value ?? summary?.target_instances ?? summary?.current_instances ?? min
  const to = (n: number) => {
    asked.value = Math.min(max, Math.max(min, n))
  }
  async function send(event: Event) {
    event.preventDefault()
    if (busy.value) return
    busy.value = true
    refusal.value = null
    said.value = null
    try {
      const body = {
        target,
        target_instances: wanted,
        hold_for: hold.value,
        ...(reason.value.trim() === '' ? {} : { reason: reason.value.trim() }),
      }
      said.value = await call<Answer>('POST', `${API}/scale-manual`, body)
      asked.value = null
      reason.value = ''
      deeds.value++
    } catch (error) {
      refusal.value = problemOf(error).message
    }
    busy.value = false
  }
  return (
    <section class="panel" aria-labelledby="h-man">
      <div class="panel-head">
        <h2 id="h-man">By hand</h2>
      </div>
      <form class="panel-body manual" onSubmit={send}>
        <div class="field">
          <label for="m-n">Instances</label>
          <span class="stepper">
            <button
              type="button"
              class="icon-btn"
              aria-label="One fewer"
              disabled={wanted <= min}
              onClick={() => to(wanted - 1)}
            >
              −
            </button>
            <input
              id="m-n"
              inputMode="numeric"
              value={wanted}
              onChange={(event) => {
                const n = Number(event.currentTarget.value)
                if (Number.isInteger(n)) to(n)
                event.currentTarget.value = String(asked.peek() ?? wanted)
              }}
            />
            <button
              type="button"
              class="icon-btn"
              aria-label="One more"
              disabled={wanted >= max}
              onClick={() => to(wanted + 1)}
            >
              +
            </button>
          </span>
        </div>
        <div class="field">
          <label for="m-h">Policies may not undo it for</label>
          <select
            class="input"
            id="m-h"
            value={hold.value}
            onChange={(event) => {
              hold.value = Number(event.currentTarget.value)
            }}
          >
            {HOLDS.map(([seconds, words]) => (
              <option key={seconds} value={seconds}>
                {words}
              </option>
            ))}
          </select>
        </div>
        <div class="field full">
          <label for="m-r">Reason</label>
          <input
            class="input"
            id="m-r"
            maxLength={1000}
            placeholder="Shown with the decision"
            value={reason.value}
            onInput={(event) => {
              reason.value = event.currentTarget.value
            }}
          />
        </div>
        <div class="btns full">
          <button
            type="submit"
            class="btn"
            disabled={why !== null || summary === null}
            title={why ?? undefined}
            aria-busy={busy.value ? 'true' : undefined}
          >
            Set instances
          </button>
          {why && <span class="small quiet">{why}</span>}
          <span class="small" role="status">
            {said.value && (
              <a href={`/ops/scaling/decisions/${encodeURIComponent(said.value.decision_id)}`}>
                {said.value.action === 'maintain'
                  ? `There are ${said.value.target_instances} already.`
                  : `Goes to ${said.value.target_instances}.`}
              </a>
            )}
          </span>
        </div>
        {refusal.value && (
          <p class="note refusal full" role="alert">
            <Icon name="warning" class="s inline" /> {refusal}
          </p>
        )}
      </form>
    </section>
  )
}

const UNTIL: readonly (readonly [minutes: number, words: string])[] = [
  [30, 'for 30 minutes'],
  [120, 'for 2 hours'],
  [720, 'for 12 hours'],
  [0, 'until somebody resumes it'],
]

export function PauseDialog({ target, close }: { target: string; close: () => void }) {
  const reason = useSignal('')
  const minutes = useSignal(30)
  return (
    <Ask
      title={`Pause scaling of ${target}`}
      verb="Pause"
      close={close}
      submit={() => {
        const until = minutes.value === 0 ? null : new Date(now.peek() + minutes.value * 60_000).toISOString()
        return call('POST', `${API}/pause`, { target, reason: reason.value.trim(), ...(until ? { until } : {}) })
      }}
    >
      <p class="note soft">What runs stays. What is set by hand is still carried out.</p>
      <div class="field">
        <label for="p-r">Reason</label>
        <input
          class="input"
          id="p-r"
          required
          maxLength={1000}
          value={reason.value}
          onInput={(event) => {
            reason.value = event.currentTarget.value
          }}
        />
      </div>
      <div class="field">
        <label for="p-u">How long</label>
        <select
          class="input"
          id="p-u"
          value={minutes.value}
          onChange={(event) => {
            minutes.value = Number(event.currentTarget.value)
          }}
        >
          {UNTIL.map(([value, words]) => (
            <option key={value} value={value}>
              {words}
            </option>
          ))}
        </select>
      </div>
    </Ask>
  )
}
