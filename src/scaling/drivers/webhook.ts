/**
 * Any other provider, over two requests to one address:
 *
 *   GET  → {"current": 3, "wanted": 4, "starting": 1, "draining": 0, "instances": [{"id": "a", "state": "ready"}]}
 *   POST {"target": "workers", "wanted": 4, "fence": 12}       any 2xx: taken; 409: a newer owner decides
 *
 * Of the answer only `current` (what is ready now) has to be there. Both requests carry
 * `X-Signature: t=<unix seconds>,v1=<hex>`, the HMAC-SHA-256 of "<t>.<body>" with the signing secret (of GET the body
 * is empty). The receiver should keep the largest fence it has seen and refuse smaller ones.
 */
import { createHmac } from 'node:crypto'
import { messageOf } from '../../base/errors.ts'
import type { HttpAnswer, HttpClient } from '../../base/http-client.ts'
import type { Scheduler } from '../../base/scheduler.ts'
import { fromIso, type Millis, SECOND } from '../../base/time.ts'
import type { InstanceView } from '../model.ts'
import { checkWanted, countsOf, type Driver, Fenced } from './driver.ts'

export interface WebhookSettings {
  /** The target's name, for the receiver. */
  readonly target: string
  readonly url: string
  readonly timeoutMs: number
}

const STATES = ['starting', 'ready', 'draining', 'backing_off', 'stopped', 'failed'] as const
const COUNT_MAX = 100_000
const BYTES_MAX = 256 * 1024

export function webhookDriver(
  { target, url, timeoutMs }: WebhookSettings,
  http: HttpClient,
  secret: () => string | null,
  scheduler: Scheduler,
): Driver {
  const { clock } = scheduler
  const abort = new AbortController()
  let fenceSeen = 0

  async function ask(method: 'GET' | 'POST', body: string): Promise<HttpAnswer> {
    const key = secret()
    const headers = {
      accept: 'application/json',
      ...(method === 'POST' ? { 'content-type': 'application/json' } : {}),
      ...(key === null ? {} : { 'x-signature': signature(key, body, clock.now()) }),
    }
    try {
      return await http.request(new URL(url), {
        method,
        headers,
        body,
        timeoutMs,
        signal: abort.signal,
        bodyBytesMax: BYTES_MAX,
      })
    } catch (error) {
      throw new Error(`the webhook of ${target} cannot be asked: ${messageOf(error)}`, { cause: error })
    }
  }

  return {
    kind: 'webhook',
    async observe() {
      const answer = await ask('GET', '')
      if (answer.status !== 200) throw new Error(`the webhook of ${target} answered ${answer.status}`)
      const told = readAnswer(answer.body, target)
      const listed = told.instances === null ? null : countsOf(told.instances)
      return {
        at: clock.now(),
        ready: told.current,
        starting: told.starting ?? listed?.starting ?? Math.max(0, (told.wanted ?? told.current) - told.current),
        draining: told.draining ?? listed?.draining ?? 0,
        wanted: told.wanted,
        instances: told.instances ?? [],
        conflict: null,
        trouble: null,
      }
    },
    async scale(wanted, fence) {
      checkWanted(wanted, fence, fenceSeen)
      const answer = await ask('POST', JSON.stringify({ target, wanted, fence }))
      if (answer.status === 409) throw new Fenced(null, fence)
      if (answer.status < 200 || answer.status > 299) {
        throw new Error(`the webhook of ${target} did not take the number: it answered ${answer.status}`)
      }
      fenceSeen = Math.max(fenceSeen, fence)
    },
    async close() {
      abort.abort()
    },
  }
}

/** The header of one request; `now` in milliseconds. */
export function signature(secret: string, body: string, now: Millis): string {
  const t = Math.floor(now / SECOND)
  return `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`
}

interface Answer {
  readonly current: number
  readonly wanted: number | null
  readonly starting: number | null
  readonly draining: number | null
  readonly instances: readonly InstanceView[] | null
}

/** Reads what a stranger sent: nothing of it is trusted before it was looked at. */
function readAnswer(text: string, target: string): Answer {
  const wrong = (what: string) => new Error(`the webhook of ${target} answered ${what}`)
  let raw: unknown
  try {
    raw = JSON.parse(text)
  } catch {
    throw wrong('something that is not JSON, or too much')
  }
  if (typeof raw !== 'object' || raw === null) throw wrong('no object')
  const fields = raw as Readonly<Record<string, unknown>>
  const count = (name: string): number | null => {
    const value = fields[name]
    if (value === undefined || value === null) return null
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= COUNT_MAX) return value
    throw wrong(`${name}: ${JSON.stringify(value).slice(0, 40)}, which is not a count`)
  }
  const current = count('current')
  if (current === null) throw wrong('without "current", the number that is ready')
  const list = Array.isArray(fields.instances) ? fields.instances : null
  return {
    current,
    wanted: count('wanted'),
    starting: count('starting'),
    draining: count('draining'),
    instances: list?.flatMap(instanceOf) ?? null,
  }
}

function instanceOf(raw: unknown): InstanceView[] {
  if (typeof raw !== 'object' || raw === null) return []
  const { id, state, started_at, ready_at } = raw as Readonly<Record<string, unknown>>
  const known = STATES.find((one) => one === state)
  if (typeof id !== 'string' || id === '' || !known) return []
  const time = (value: unknown) => (typeof value === 'string' ? fromIso(value) : null)
  return [
    {
      id: id.slice(0, 200),
      provider: 'webhook',
      state: known,
      startedAt: time(started_at),
      readyAt: time(ready_at),
      cpu: null,
      memory: null,
      inFlight: null,
    },
  ]
}
