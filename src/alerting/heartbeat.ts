/**
 * The heartbeat: a request to an address outside, again and again while the platform can alert. A service there that
 * hears nothing for some intervals tells somebody that the platform is dead. When the platform lives but cannot alert,
 * the heart stops as well: silence is the alarm.
 */

import { AddressRefused } from '../base/address.ts'
import type { HttpClient } from '../base/http-client.ts'
import type { Log } from '../base/log.ts'
import type { Cancel, Scheduler } from '../base/scheduler.ts'
import type { Millis } from '../base/time.ts'
import { SECOND } from '../base/time.ts'

export interface HeartbeatOptions {
  readonly http: HttpClient
  readonly scheduler: Scheduler
  readonly log: Log
  /** Null: none is wanted. Asked before each beat. */
  readonly target: () => { readonly url: string; readonly intervalMs: number } | null
  /** Null while the platform can alert; otherwise why not. */
  readonly ailment: () => string | null
}

export interface HeartbeatState {
  readonly wanted: boolean
  readonly lastBeatAt: Millis | null
  /** Why the last beat failed or was left out; null when it was heard. */
  readonly problem: string | null
}

export interface Heartbeat {
  state(): HeartbeatState
  /** The address or the interval may have changed. */
  configurationChanged(): void
  stop(): void
}

const TIMEOUT_MS = 10 * SECOND

export function startHeartbeat({ http, scheduler, log, target, ailment }: HeartbeatOptions): Heartbeat {
  const stopped = new AbortController()
  let timer: Cancel | null = null
  let lastBeatAt: Millis | null = null
  let problem: string | null = null
  let current = ''

  function plan(): void {
    const wanted = target()
    const next = JSON.stringify(wanted)
    if (next === current) return
    current = next
    timer?.cancel()
    timer = null
    problem = null
    if (wanted === null) return
    // The first at once, but after whoever starts this has built the rest.
    timer = scheduler.after(0, () => {
      timer = scheduler.every(wanted.intervalMs, beat)
      return beat()
    })
  }

  async function beat(): Promise<void> {
    const wanted = target()
    if (wanted === null || stopped.signal.aborted) return
    const failed = ailment() ?? (await ask(wanted.url))
    if (failed === null) lastBeatAt = scheduler.clock.now()
    if (failed !== problem && !stopped.signal.aborted) {
      if (failed !== null) log.warn('the heartbeat is not heard', { why: failed })
      else log.info('the heartbeat is heard again')
    }
    problem = failed
  }

  /** Null when it was heard. The address is a secret: no word of it goes into the answer. */
  async function ask(url: string): Promise<string | null> {
    const request = { method: 'GET', headers: {}, body: '', timeoutMs: TIMEOUT_MS, signal: stopped.signal } as const
    try {
      const { status } = await http.request(new URL(url), request)
      return status >= 200 && status < 300 ? null : `answered ${status}`
    } catch (error) {
      return error instanceof AddressRefused ? error.message : 'no answer'
    }
  }

  plan()
  return {
    state: () => ({ wanted: target() !== null, lastBeatAt, problem }),
    configurationChanged: plan,
    stop() {
      timer?.cancel()
      stopped.abort()
    },
  }
}
